//! Settings one after the other, for programs that use the library.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use crate::hosts::options::HostKeyCheck;
use crate::hosts::proxy::{Proxy, Via};
use crate::plan::error::Unprepared;
use crate::plan::retry::RetryPolicy;
use crate::system::password_source::{Secret, Source};

/// Each changes one setting; all others are fields.
///
/// ```
/// use std::time::Duration;
///
/// let settings = pssh::Settings::for_library()?
///     .user("deploy")
///     .identity("/etc/deploy/id_ed25519")
///     .jump_host("bastion.example.org")?
///     .pool_size(64)
///     .connect_timeout(Duration::from_secs(10))
///     .retry(2, Duration::from_secs(1));
/// assert_eq!((settings.pool_size, settings.retry.attempts), (64, 2));
/// # Ok::<(), pssh::Error>(())
/// ```
///
/// The other parameters of the reference client's `ParallelSSHClient` are fields:
///
/// ```
/// use std::time::Duration;
/// use pssh::{AgentChoice, Client, HostKeyCheck, Settings, SshOption};
///
/// # let directory = std::env::temp_dir();
/// let mut settings = Settings::for_library()?.password("secret").silence_timeout(Duration::from_secs(30));
/// // forward_ssh_agent and use_pty, which the reference client has on by default.
/// settings.forward_agent = true;
/// settings.pty = true;
/// // allow_agent=False; with agent=..., AgentChoice::Named(socket).
/// settings.agent = AgentChoice::Nobody;
/// // proxy_pkey and proxy_password: no host gets them but the jump host.
/// settings = settings.jump_host("admin@bastion.example.org:2222")?;
/// settings.proxy_identity = Some(directory.join("id_bastion"));
/// settings.proxy_password_file = Some(directory.join("bastion-password"));
/// // **paramiko_kwargs: any option of ssh_config(5).
/// settings.ssh_options = vec![SshOption::from("ServerAliveInterval=15")];
/// // The reference client accepts every host key, like HostKeyCheck::Off.
/// settings = settings.host_key_check(HostKeyCheck::AcceptNew);
/// let client = Client::new(["web[1-3]"], settings)?;
/// assert_eq!(client.hosts().len(), 3);
/// # Ok::<(), pssh::Error>(())
/// ```
impl Settings {
    /// Sets the login name of hosts whose entry has none; without it, ssh_config and then the user of the process decide.
    pub fn user(mut self, name: impl Into<String>) -> Settings {
        self.user = Some(name.into());
        self
    }

    /// Sets the password for the hosts, also for encrypted keys. It is sent only to hosts whose key is known.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Settings {
        self.password = Some(Source::Given(Arc::new(Secret::new(password.as_ref()))));
        self
    }

    /// Sets the password that sudo gets; without it, sudo gets that of the login.
    pub fn sudo_password(mut self, password: impl AsRef<[u8]>) -> Settings {
        self.sudo_password = Some(Source::Given(Arc::new(Secret::new(password.as_ref()))));
        self
    }

    /// Adds a private key file.
    pub fn identity(mut self, file: impl Into<PathBuf>) -> Settings {
        self.identities.push(file.into());
        self
    }

    /// Adds a known_hosts file. The first replaces those of ssh_config.
    pub fn known_hosts(mut self, file: impl Into<PathBuf>) -> Settings {
        self.known_hosts.push(file.into());
        self
    }

    /// Sets what happens to unknown host keys. The default is that of ssh_config, else [`HostKeyCheck::Strict`].
    pub fn host_key_check(mut self, check: HostKeyCheck) -> Settings {
        self.host_key_check = Some(check);
        self
    }

    /// Reaches all hosts through `[user@]host[:port]`, or several of these with commas between them, the nearest first.
    ///
    /// # Errors
    /// [`Unprepared::Setting`]: it is not such a list.
    pub fn jump_host(mut self, hops: &str) -> Result<Settings, Unprepared> {
        let proxy =
            Proxy::jump(hops).map_err(|problem| Unprepared::Setting(format!("jump host {hops:?}: {problem}")))?;
        self.proxy = Some(Via(proxy));
        Ok(self)
    }

    /// Sets how many hosts run at once, at most; at least 1. The default is 10.
    pub fn pool_size(mut self, hosts: usize) -> Settings {
        self.pool_size = hosts;
        self
    }

    /// Limits the time of each attempt to connect and log in. The default is that of ssh_config, else 120 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Settings {
        self.connect_timeout = Some(limit);
        self
    }

    /// Limits the time of a command on each host. By default there is no limit.
    pub fn command_timeout(mut self, limit: Duration) -> Settings {
        self.command_timeout = Some(limit);
        self
    }

    /// Limits how long a command may print nothing. By default there is no limit.
    pub fn silence_timeout(mut self, limit: Duration) -> Settings {
        self.silence_timeout = Some(limit);
        self
    }

    /// Limits the time of each run as a whole. By default there is no limit.
    pub fn total_timeout(mut self, limit: Duration) -> Settings {
        self.total_timeout = Some(limit);
        self
    }

    /// Sets how often a host is tried, including the first attempt, and the pause between two attempts. The default is 3 times, with 5
    /// seconds between them. Nothing is repeated once a command may have been sent.
    pub fn retry(mut self, attempts: u32, delay: Duration) -> Settings {
        (self.retry, self.attempts_given) = (RetryPolicy { attempts: attempts.max(1), delay }, true);
        self
    }

    /// Sets how long an unused session stays connected; `None` for no limit. The default is 60 seconds.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Settings {
        self.idle_timeout = limit.into();
        self
    }

    /// Limits how many unused sessions stay connected; with 0, every command connects anew. The default is the limit on open files.
    pub fn kept_sessions(mut self, sessions: usize) -> Settings {
        self.kept_sessions = Some(sessions);
        self
    }
}
