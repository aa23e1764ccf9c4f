//! The decisions that hold for a whole run. Workers see these, never the command line.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::failure_limit::FailureLimit;
use super::program::Program;
use super::retry::RetryPolicy;
use crate::command::sudo::Sudo;
use crate::copy::Protocol;
use crate::hosts::options::HostKeyCheck;
use crate::hosts::proxy::{Hop, Via};
use crate::ssh_config;
use crate::system::password_source::{PromptPattern, Source};

/// Which agent is asked for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentChoice {
    /// None.
    Nobody,
    /// The one that the user named.
    Named(PathBuf),
    /// The one that ssh_config has, else that of `SSH_AUTH_SOCK`, if there is one.
    Usual(Option<PathBuf>),
}

/// A variable for the commands. Its value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WantedVariable {
    /// Its name.
    pub name: String,
    /// Its value; `None` for one of `NODE_VARIABLES` without a value, which differs from host to host.
    pub value: Option<OsString>,
}

impl fmt::Debug for WantedVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedVariable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// pssh's variables that tell each host which it is: its number in the list from 0, how many there are, and its name there.
pub const NODE_VARIABLES: [&str; 3] = ["PSSH_NODENUM", "PSSH_NUMNODES", "PSSH_HOST"];

/// Run-wide decisions, made from the command line, the environment and defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program whose run it is.
    pub program: Program,
    /// How many hosts run at once, at most.
    pub pool_size: usize,
    /// The login name for hosts whose entry has none, if the user said so; before what ssh_config says.
    pub user: Option<String>,
    /// The user's own name, the login name where nobody says another.
    pub login: String,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The files of ssh_config(5).
    pub config_files: ssh_config::Files,
    /// Options in its format, which come before the files.
    pub ssh_options: Vec<SshOption>,
    /// What ssh's own options say.
    pub ssh_args: SshArgs,
    /// How long TCP connection, banner, key exchange and authentication may take together, per host, if the user said so.
    pub connect_timeout: Option<Duration>,
    /// How failed attempts to reach a host are repeated.
    pub retry: RetryPolicy,
    /// Whether the user said how many attempts are made: then ssh_config has no say.
    pub attempts_given: bool,
    /// How long the command may run; `None` is as long as it likes.
    pub command_timeout: Option<Duration>,
    /// How long the command's output may be silent; `None` is as long as it likes.
    pub silence_timeout: Option<Duration>,
    /// How long the whole run may take; `None` is as long as it likes.
    pub total_timeout: Option<Duration>,
    /// With how many failed hosts the run is stopped; `None` is never.
    pub stop_on_errors: Option<FailureLimit>,
    /// What to do with unknown host keys, if the user said so.
    pub host_key_check: Option<HostKeyCheck>,
    /// The known_hosts files that the user named, instead of the configured ones; new keys go into the first.
    pub known_hosts: Vec<PathBuf>,
    /// Private key files that the user named.
    pub identities: Vec<PathBuf>,
    /// Where the default identities are looked for when none is named, usually `~/.ssh`.
    pub default_identities: Option<PathBuf>,
    /// Whether there is anything to log in for: not if nothing is connected to.
    pub logs_in: bool,
    /// The agent that is asked for keys.
    pub agent: AgentChoice,
    /// The usual agent, for hosts that are to ask it whatever `agent` says.
    pub usual_agent: Option<PathBuf>,
    /// Whether only IPv4 addresses are connected to.
    pub ipv4_only: bool,
    /// Whether only IPv6 addresses are connected to.
    pub ipv6_only: bool,
    /// Whether what is sent and received is compressed, if the user said so.
    pub compress: bool,
    /// Whether the user wants that agent forwarded.
    pub forward_agent: bool,
    /// Whether the user wants commands to have a terminal.
    pub pty: bool,
    /// The variables that the user wants commands to have, no name twice.
    pub variables: Vec<WantedVariable>,
    /// How hosts are reached, if the user said so.
    pub proxy: Option<Via>,
    /// The jump host that the user named alone, for which the following are.
    pub proxy_host: Option<Hop>,
    /// A private key for this jump host alone.
    pub proxy_identity: Option<PathBuf>,
    /// The file with the password for this jump host alone, which gets no other then.
    pub proxy_password_file: Option<PathBuf>,
    /// How many connections there may be to one jump host.
    pub proxy_connections: usize,
    /// Where the password comes from, if there is to be one.
    pub password: Option<Source>,
    /// Which questions it answers, besides those that are known to ask for it.
    pub password_prompt: Option<PromptPattern>,
    /// Whether somebody may be asked on the terminal, for passwords, passphrases and what servers want to know.
    pub may_ask: bool,
    /// Whether our standard input goes to every command.
    pub send_input: bool,
    /// How commands become another user's, if they are to.
    pub sudo: Option<Sudo>,
    /// Where sudo's password comes from, if not from the user when a host wants it.
    pub sudo_password: Option<Source>,
    /// Whether jobs tell what they do.
    pub verbose: bool,
    /// What messages call the settings.
    pub names: SettingNames,
}

/// What messages and `--explain` call settings that hold for all hosts: the names by which whoever gave them knows them.
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
    /// What has a password asked for: [`Source::Ask`].
    pub ask_password: Arc<str>,
}

impl Default for SettingNames {
    /// Those of the fields of [`Settings`].
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

/// How many hosts run at once unless told otherwise: the reference client's default.
const POOL_SIZE: usize = 10;
/// How often a host is tried unless told otherwise: the reference client's `num_retries`, which counts attempts.
const ATTEMPTS: u32 = 3;
/// How many connections to a jump host there may be unless told otherwise: with 8, a hundred hosts behind a link with a
/// round trip of 100 ms are open after 1.3 s instead of 10 s, and sshd's MaxStartups (10) is not reached.
const PROXY_CONNECTIONS: usize = 8;
/// The pause between two attempts unless told otherwise: the reference client's default.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// What the settings need to know of the world, so that making them is a pure function.
pub struct Environment<'a> {
    /// The environment variables.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user's name in the password database.
    pub login: Option<String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl Environment<'static> {
    /// The process's own. The home directory is $HOME, else the password database's.
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
    /// A variable that is set and not empty, as text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, String> {
        match (self.variable)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|value| format!("{name}={value:?}: not UTF-8 text")),
        }
    }

    /// The agent of SSH_AUTH_SOCK.
    pub(crate) fn usual_agent(&self) -> Option<PathBuf> {
        (self.variable)("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub(crate) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|problem| format!("{name}={text}: {problem}"))
    }
}

impl Settings {
    /// The settings of a program that uses the library: the defaults, for the user whom the process belongs to. The
    /// environment counts for the agent alone (`SSH_AUTH_SOCK`), not for what is ours (`PSSH_*`). Nobody is asked for
    /// anything: a password is given as [`Source::Given`]. Change what you like.
    ///
    /// # Errors
    /// The password database does not know the user.
    ///
    /// ```
    /// use pssh::Settings;
    ///
    /// let mut settings = Settings::for_library()?;
    /// assert_eq!(settings.pool_size, 10);
    /// settings.pool_size = 64;
    /// settings.user = Some("deploy".to_owned());
    /// # Ok::<(), String>(())
    /// ```
    pub fn for_library() -> Result<Settings, String> {
        let process = Environment::of_process();
        let agent = |name: &str| if name == "SSH_AUTH_SOCK" { (process.variable)(name) } else { None };
        let environment = Environment { variable: &agent, login: process.login.clone(), home: process.home.clone() };
        let login = environment.login.clone().ok_or("the password database has no name for you")?;
        let mut settings = Settings { may_ask: false, ..Settings::defaults(&environment, login) };
        settings.usual_agent = environment.usual_agent();
        settings.agent = AgentChoice::Usual(settings.usual_agent.clone());
        Ok(settings)
    }

    /// What holds where nobody has said anything, for the user with this login name.
    pub fn defaults(environment: &Environment<'_>, login: String) -> Settings {
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
            verbose: false,
            names: SettingNames::default(),
        }
    }

    /// Needs nothing to log in with any more, for runs that connect to nothing: no password is read or asked for, no key.
    pub fn forget_credentials(&mut self) {
        self.logs_in = false;
    }

    /// Bytes that each host may send ahead of what we have read: its channel's receive window.
    ///
    /// libssh2's own 2 MiB keep a 100 ms path as busy as OpenSSH does. All windows together are what a stalled reader of our
    /// output can make us hold, so they share a budget in large pools.
    pub fn window(&self) -> u32 {
        const BUDGET: usize = 64 << 20;
        const LARGEST: usize = 2 << 20;
        const SMALLEST: usize = 256 << 10;
        (BUDGET / self.pool_size.max(1)).clamp(SMALLEST, LARGEST) as u32
    }

    /// Whether so many hosts run at once that what each of them keeps in memory counts more than 50 us of processor time.
    pub fn saves_memory(&self) -> bool {
        /// Their sessions take 10 MB as libssh2 makes them.
        const FEW: usize = 128;
        self.pool_size > FEW
    }
}

/// Expands a leading `~`, for where no shell has done it: `--identity=~/key`. Other users' homes stay as they are.
pub fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    let home = || home.and_then(Path::to_str);
    path.to_str().map_or_else(|| path.to_owned(), |path| shellexpand::tilde_with_context(path, home).as_ref().into())
}

/// An option in the format of ssh_config(5), and the words in which the user knows it, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshOption {
    /// `Keyword=value`.
    pub text: String,
    /// Such as `-x -p 2222`.
    pub name: String,
}

impl From<&str> for SshOption {
    /// One of a program that uses the library.
    fn from(text: &str) -> SshOption {
        SshOption { text: text.to_owned(), name: format!("ssh option {text}") }
    }
}

/// What ssh's options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshArgs {
    /// What ssh takes from its flags whatever `-o` says, before or behind them: these come before the options of `-O`.
    pub flags: Vec<SshOption>,
    /// The others, which come behind the options of `-O`; of two for a keyword the first one counts.
    pub options: Vec<SshOption>,
    /// Another ssh_config (`-F`).
    pub config_file: Option<OsString>,
    /// Directories with all that is in them (scp's `-r`).
    pub recursive: bool,
    /// Times and modes (scp's `-p`).
    pub preserve: bool,
    /// The protocol for copies (scp's `-O` and `-s`).
    pub protocol: Option<Protocol>,
}
