//! Settings of a whole run. Workers see these, never the command line.

mod builder;
mod check;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::Unprepared;
use super::failure_limit::{Limits, StopMode};
use super::portion::Portion;
use super::program::Program;
use super::retry::RetryPolicy;
use super::rolling::Rolling;
use super::success::Success;
use crate::command::sudo::Sudo;
use crate::copy::Protocol;
use crate::hosts::options::HostKeyCheck;
use crate::hosts::proxy::{Hop, Via};
use crate::ssh_config;
use crate::system::password_source::{PromptPattern, Source};

/// The agent that holds the keys (ssh-agent(1)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentChoice {
    /// No agent: `allow_agent=False` of the reference client, `IdentityAgent none`.
    Nobody,
    /// The one at this socket.
    Named(PathBuf),
    /// The one of `IdentityAgent`, else the one at this socket, which is that of `SSH_AUTH_SOCK`, if set.
    Usual(Option<PathBuf>),
}

/// A variable for the commands (RFC 4254 section 6.4, `SetEnv`). The server decides which ones it accepts (`AcceptEnv` of sshd_config(5)).
/// Its value may be a secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct WantedVariable {
    /// Its name, without blanks and without `=`.
    pub name: String,
    /// Its value; `None` only for `PSSH_NODENUM`, `PSSH_NUMNODES` and `PSSH_HOST`, which get the host's number from 0, the number of hosts,
    /// and the name of the host in the list.
    pub value: Option<OsString>,
}

impl fmt::Debug for WantedVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedVariable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// pssh's variables for each host: its number in the list from 0, the number of hosts, and its name in the list.
pub const NODE_VARIABLES: [&str; 3] = ["PSSH_NODENUM", "PSSH_NUMNODES", "PSSH_HOST"];

/// How all hosts are reached and how all commands run. [`Settings::for_library`] has the defaults; change a field, or use the methods.
///
/// What a host's own entry says ([`HostOptions`](crate::HostOptions)) beats these settings, which beat ssh_config(5).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that runs.
    pub(crate) program: Program,
    /// How many hosts run at once, at most; by default 10. The reference client's `pool_size` limits only connecting.
    pub pool_size: usize,
    /// The login name of hosts whose entry has none; with `None`, `User` and then [`Settings::login`] decide. (`user`, `-l` of ssh(1).)
    pub user: Option<String>,
    /// The name of the process's user in the password database: the default login name, and `%u` of ssh_config.
    pub login: String,
    /// The user's home directory, for `~`: `$HOME`, else that in the password database.
    pub home: Option<PathBuf>,
    /// The files of ssh_config(5).
    pub config_files: ssh_config::Files,
    /// Options in the format of ssh_config(5), which beat its files: `-o` of ssh(1), `paramiko_kwargs` of the reference client.
    pub ssh_options: Vec<SshOption>,
    /// Values of ssh's own options.
    pub(crate) ssh_args: SshArgs,
    /// Time limit of each attempt at a host, for TCP connection, banner, key exchange and login together. With `None`, `ConnectTimeout`
    /// decides, else it is 120 s. (The reference client's `timeout` limits the TCP connection only.)
    pub connect_timeout: Option<Duration>,
    /// How failed connection attempts are retried (`num_retries`, `retry_delay`).
    pub retry: RetryPolicy,
    /// Whether the attempts of [`Settings::retry`] beat `ConnectionAttempts`. The method of that name sets it; a program that sets the field
    /// sets this one, too.
    pub attempts_given: bool,
    /// Time limit of the command on each host (`-t` of pssh 2.3.6, there with connecting); `None` for no limit.
    pub command_timeout: Option<Duration>,
    /// How long the command may print nothing (`channel_timeout` of the reference client); `None` for no limit.
    pub silence_timeout: Option<Duration>,
    /// Time limit of a whole run; `None` for no limit. When it is over, the run is stopped as by [`Run::cancel`](crate::Run::cancel).
    pub total_timeout: Option<Duration>,
    /// The number of failed hosts that stops the run; `None` for any number, which is the default. (The reference client's `stop_on_errors`
    /// raises an error instead, and all commands go on.)
    pub stop_on_errors: Option<Portion>,
    /// The number of hosts not reached that stops the run; `None` if they count as failed.
    pub stop_on_unreached: Option<Portion>,
    /// What happens to the hosts that run when [`Settings::stop_on_errors`] or [`Settings::stop_on_unreached`] stops the run.
    pub stop_mode: StopMode,
    /// Batches, order and pace.
    pub(crate) rolling: Rolling,
    /// What to do with unknown host keys; with `None`, `StrictHostKeyChecking` decides, else it is [`HostKeyCheck::Strict`]. (The reference
    /// client accepts all keys.)
    pub host_key_check: Option<HostKeyCheck>,
    /// known_hosts files that are read in place of those of `UserKnownHostsFile` and `GlobalKnownHostsFile`; new keys go into the first. The one
    /// path `none` means no file.
    pub known_hosts: Vec<PathBuf>,
    /// Private key files (`pkey`, `-i` of ssh(1)). A run does not start if one of them cannot be used.
    pub identities: Vec<PathBuf>,
    /// The directory of the default identities, usually `~/.ssh`.
    pub default_identities: Option<PathBuf>,
    /// Whether the run logs in to hosts.
    pub(crate) logs_in: bool,
    /// The agent that holds the keys (`allow_agent`, `agent`).
    pub agent: AgentChoice,
    /// The default agent, for hosts that use it whatever `agent` says.
    pub usual_agent: Option<PathBuf>,
    /// Whether to use only IPv4 addresses (`AddressFamily inet`).
    pub ipv4_only: bool,
    /// Whether to use only IPv6 addresses (`AddressFamily inet6`).
    pub ipv6_only: bool,
    /// Whether to ask for compression; with `false`, `Compression` decides.
    pub compress: bool,
    /// Whether to forward the agent (`forward_ssh_agent`, on by default in the reference client); with `false`, `ForwardAgent` decides.
    pub forward_agent: bool,
    /// Whether commands get a pty (`use_pty`, on by default in the reference client; RFC 4254 section 6.2); with `false`, `RequestTTY` decides.
    pub pty: bool,
    /// The variables for commands, without duplicates.
    pub variables: Vec<WantedVariable>,
    /// The jump hosts or the proxy command; with `None`, `ProxyJump` and `ProxyCommand` decide. (`proxy_host`.)
    pub proxy: Option<Via>,
    /// The jump host in [`Settings::proxy`] for which [`Settings::proxy_identity`] and [`Settings::proxy_password_file`] are.
    pub proxy_host: Option<Hop>,
    /// A private key file for this jump host only (`proxy_pkey`).
    pub proxy_identity: Option<PathBuf>,
    /// The file with the password for this jump host, which then gets no other (`proxy_password`).
    pub proxy_password_file: Option<PathBuf>,
    /// How many connections there may be to one jump host, at most; by default 8. Hosts share them.
    pub proxy_connections: usize,
    /// The source of the password of the hosts, also for encrypted keys (`password`); `None` for no password.
    pub password: Option<Source>,
    /// Extra questions that it answers, beyond the known ones.
    pub(crate) password_prompt: Option<PromptPattern>,
    /// Whether the user may be asked on the terminal, for passwords, passphrases and questions of servers. [`Settings::for_library`] says no.
    pub may_ask: bool,
    /// Whether local standard input goes to every command.
    pub(crate) send_input: bool,
    /// The user as whom commands run by sudo(8); `None` for the login user. [`Command::sudo`](crate::Command::sudo) overrides it.
    pub sudo: Option<Sudo>,
    /// The source of sudo's password; without it the user is asked when a host needs it.
    pub sudo_password: Option<Source>,
    /// How a command may end to count as a success; by default only with exit status 0.
    pub success: Success,
    /// How long a session of a [`Client`](crate::Client) stays connected after a command; `None` for no limit, zero for no time at all.
    pub idle_timeout: Option<Duration>,
    /// How many sessions without a command may stay connected, at most; `None` for as many as the limit on open files allows. The longest
    /// unused one is closed first.
    pub kept_sessions: Option<usize>,
    /// Whether jobs are verbose.
    pub(crate) verbose: bool,
    /// The names of the settings in messages.
    pub(crate) names: SettingNames,
}

/// The names of settings for all hosts in messages and `--explain`, as the caller knows them.
#[derive(Clone, Debug)]
pub struct SettingNames {
    /// See [`Settings::user`].
    pub user: Arc<str>,
    /// See [`Settings::connect_timeout`].
    pub connect_timeout: Arc<str>,
    /// The attempts of [`Settings::retry`].
    pub num_retries: Arc<str>,
    /// See [`Settings::command_timeout`].
    pub command_timeout: Arc<str>,
    /// See [`Settings::silence_timeout`].
    pub silence_timeout: Arc<str>,
    /// See [`Settings::host_key_check`].
    pub host_key_check: Arc<str>,
    /// See [`Settings::known_hosts`].
    pub known_hosts: Arc<str>,
    /// See [`Settings::identities`].
    pub identities: Arc<str>,
    /// See [`Settings::agent`].
    pub agent: Arc<str>,
    /// See [`Settings::ipv4_only`].
    pub ipv4_only: Arc<str>,
    /// See [`Settings::ipv6_only`].
    pub ipv6_only: Arc<str>,
    /// See [`Settings::compress`].
    pub compress: Arc<str>,
    /// See [`Settings::forward_agent`].
    pub forward_agent: Arc<str>,
    /// See [`Settings::pty`].
    pub pty: Arc<str>,
    /// See [`Settings::variables`].
    pub variables: Arc<str>,
    /// See [`Settings::proxy`].
    pub proxy: Arc<str>,
    /// See [`Settings::proxy_password_file`].
    pub proxy_password_file: Arc<str>,
    /// What makes pssh ask for a password: [`Source::Ask`].
    pub ask_password: Arc<str>,
}

impl Default for SettingNames {
    /// Uses the names of the fields of [`Settings`].
    fn default() -> Self {
        SettingNames {
            user: "setting user".into(),
            connect_timeout: "setting connect_timeout".into(),
            num_retries: "setting retry".into(),
            command_timeout: "setting command_timeout".into(),
            silence_timeout: "setting silence_timeout".into(),
            host_key_check: "setting host_key_check".into(),
            known_hosts: "setting known_hosts".into(),
            identities: "setting identities".into(),
            agent: "setting agent".into(),
            ipv4_only: "setting ipv4_only".into(),
            ipv6_only: "setting ipv6_only".into(),
            compress: "setting compress".into(),
            forward_agent: "setting forward_agent".into(),
            pty: "setting pty".into(),
            variables: "setting variables".into(),
            proxy: "setting proxy".into(),
            proxy_password_file: "setting proxy_password_file".into(),
            ask_password: "Source::Ask".into(),
        }
    }
}

/// The default number of hosts that run at once: the reference client's.
const POOL_SIZE: usize = 10;
/// The default number of attempts: the reference client's `num_retries`, which counts attempts.
const ATTEMPTS: u32 = 3;
/// The default limit of connections to a jump host: with 8, a hundred hosts behind a link with a
/// round trip of 100 ms are open after 1.3 s instead of 10 s, and sshd's MaxStartups (10) is not reached.
const PROXY_CONNECTIONS: usize = 8;
/// How long unused sessions stay connected by default: most firewalls forget a silent connection after five minutes or more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The default pause between two attempts: the reference client's.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// The process environment of the settings, passed in so that creating them is a pure function.
pub struct Environment<'a> {
    /// The environment variables.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user's name in the password database.
    pub login: Option<String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl Environment<'static> {
    /// Reads the process's own. The home directory is $HOME, else the password database's.
    pub fn of_process() -> Self {
        let entry = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Environment {
            variable: &|name| std::env::var_os(name),
            home: home.or_else(|| entry.as_ref().map(|entry| entry.dir.clone())),
            login: entry.map(|entry| entry.name),
        }
    }
}

impl Environment<'_> {
    /// Returns a variable that is set and not empty, as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, String> {
        match (self.variable)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|value| format!("{name}={value:?}: not UTF-8 text")),
        }
    }

    /// Returns the agent of SSH_AUTH_SOCK.
    pub(crate) fn usual_agent(&self) -> Option<PathBuf> {
        (self.variable)("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub(crate) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|problem| format!("{name}={text}: {problem}"))
    }
}

impl Settings {
    /// Returns the numbers of failed hosts that stop a run of `hosts` hosts.
    pub(crate) fn limits(&self, hosts: usize) -> Limits {
        let of = |limit: Option<Portion>| limit.map(|limit| limit.hosts(hosts));
        Limits { errors: of(self.stop_on_errors), unreached: of(self.stop_on_unreached), mode: self.stop_mode }
    }

    /// Returns the settings for a program that uses the library: the defaults, for the user of the process. The
    /// environment counts only for the agent (`SSH_AUTH_SOCK`), not for `PSSH_*`. The user is never asked for
    /// anything: give a password as [`Source::Given`]. Change what you like.
    ///
    /// # Errors
    /// [`Unprepared::Setting`]: the user is not in the password database.
    ///
    /// ```
    /// use pssh::Settings;
    ///
    /// let mut settings = Settings::for_library()?;
    /// assert_eq!(settings.pool_size, 10);
    /// settings.pool_size = 64;
    /// settings.user = Some("deploy".to_owned());
    /// # Ok::<(), pssh::Error>(())
    /// ```
    pub fn for_library() -> Result<Settings, Unprepared> {
        let process = Environment::of_process();
        let agent = |name: &str| if name == "SSH_AUTH_SOCK" { (process.variable)(name) } else { None };
        let environment = Environment { variable: &agent, login: process.login.clone(), home: process.home.clone() };
        let nameless = || Unprepared::Setting("the password database has no name for you".to_owned());
        let login = environment.login.clone().ok_or_else(nameless)?;
        let mut settings = Settings { may_ask: false, ..Settings::defaults(&environment, login) };
        settings.usual_agent = environment.usual_agent();
        settings.agent = AgentChoice::Usual(settings.usual_agent.clone());
        Ok(settings)
    }

    /// Returns the defaults for the user with this login name.
    pub(crate) fn defaults(environment: &Environment<'_>, login: String) -> Settings {
        let home = environment.home.as_deref();
        let config_home = home.map(|home| home.to_string_lossy()).unwrap_or_default();
        Settings {
            program: Program::default(),
            pool_size: POOL_SIZE,
            proxy: None,
            proxy_host: None,
            proxy_password_file: None,
            proxy_identity: None,
            proxy_connections: PROXY_CONNECTIONS,
            user: None,
            login,
            config_files: ssh_config::Files::of(&config_home, None),
            ssh_options: Vec::new(),
            ssh_args: SshArgs::default(),
            home: home.map(Path::to_owned),
            connect_timeout: None,
            retry: RetryPolicy { attempts: ATTEMPTS, delay: RETRY_DELAY },
            attempts_given: false,
            command_timeout: None,
            silence_timeout: None,
            total_timeout: None,
            stop_on_errors: None,
            stop_on_unreached: None,
            stop_mode: StopMode::Now,
            rolling: Rolling::default(),
            host_key_check: None,
            known_hosts: Vec::new(),
            identities: Vec::new(),
            default_identities: home.map(|home| home.join(".ssh")),
            logs_in: true,
            agent: AgentChoice::Usual(None),
            usual_agent: None,
            ipv4_only: false,
            ipv6_only: false,
            compress: false,
            forward_agent: false,
            pty: false,
            variables: Vec::new(),
            password: None,
            password_prompt: None,
            may_ask: true,
            send_input: false,
            sudo: None,
            sudo_password: None,
            success: Success::default(),
            idle_timeout: Some(IDLE_TIMEOUT),
            kept_sessions: None,
            verbose: false,
            names: SettingNames::default(),
        }
    }

    /// Drops everything for logging in, for runs that do not connect: reads and asks for no password or key.
    pub(crate) fn forget_credentials(&mut self) {
        self.logs_in = false;
    }

    /// Returns the bytes that each host may send ahead: its channel's receive window.
    ///
    /// libssh2's own 2 MiB keep a 100 ms path as busy as OpenSSH does. All windows together are what a stalled reader of pssh's
    /// output can make pssh hold, so they share a budget in large pools.
    pub(crate) fn window(&self) -> u32 {
        const BUDGET: usize = 64 << 20;
        const LARGEST: usize = 2 << 20;
        const SMALLEST: usize = 256 << 10;
        (BUDGET / self.pool_size.max(1)).clamp(SMALLEST, LARGEST) as u32
    }

    /// Whether so many hosts run at once that memory per host matters more than 50 us of processor time.
    pub(crate) fn saves_memory(&self) -> bool {
        /// Their sessions take 10 MB as libssh2 makes them.
        const FEW: usize = 128;
        self.pool_size > FEW
    }
}

/// Expands a leading `~` that no shell has expanded: `--identity=~/key`. Leaves other users' homes.
pub fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    let home = || home.and_then(Path::to_str);
    path.to_str().map_or_else(|| path.to_owned(), |path| shellexpand::tilde_with_context(path, home).as_ref().into())
}

/// An option in the format of ssh_config(5), and its name for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshOption {
    /// `Keyword=value`.
    pub text: String,
    /// Such as `-x -p 2222`.
    pub name: String,
}

impl From<&str> for SshOption {
    /// Creates an option for a program that uses the library.
    fn from(text: &str) -> SshOption {
        SshOption { text: text.to_owned(), name: format!("ssh option {text}") }
    }
}

/// Values of ssh's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshArgs {
    /// Flags of ssh that beat `-o` in any order: these come before the options of `-O`.
    pub flags: Vec<SshOption>,
    /// The others, which come after the options of `-O`; the first one of a keyword wins.
    pub options: Vec<SshOption>,
    /// Another ssh_config (`-F`).
    pub config_file: Option<OsString>,
    /// Copy directories recursively (scp's `-r`).
    pub recursive: bool,
    /// Preserve times and modes (scp's `-p`).
    pub preserve: bool,
    /// The protocol for copies (scp's `-O` and `-s`).
    pub protocol: Option<Protocol>,
}
