//! The decisions that hold for a whole run. Workers see these, never the command line.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{self, Opts, Via};
use crate::duration;
use crate::hosts::{self, Origin};
use crate::proxy::{Hop, Proxy};
use crate::retry::Policy;
use crate::secret::{PromptPattern, Source};
use crate::ssh::config;
use crate::ssh_args::SshArgs;
use crate::sudo::Sudo;
use crate::tolerance::Tolerance;

/// What to do with a host key that known_hosts does not have. A revoked key is refused in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HostKeyCheck {
    /// Refuse unknown and changed keys.
    #[default]
    Strict,
    /// Add the key of a host that is not known yet; refuse changed ones.
    AcceptNew,
    /// Take any key: whoever is in the middle can read and change everything.
    Off,
}

/// A way to authenticate (RFC 4252 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// A key or certificate (RFC 4252 section 7).
    PublicKey,
    /// Questions and answers (RFC 4256).
    KeyboardInteractive,
    /// A password (RFC 4252 section 8).
    Password,
}

impl Method {
    /// The methods in the order in which they are tried: ssh(1)'s (ssh_config(5), PreferredAuthentications).
    pub const PREFERRED: [Method; 3] = [Method::PublicKey, Method::KeyboardInteractive, Method::Password];

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Method::PublicKey => "publickey",
            Method::KeyboardInteractive => "keyboard-interactive",
            Method::Password => "password",
        }
    }
}

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

/// A variable for the commands (`--env`). Its value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WantedVariable {
    /// Its name.
    pub name: String,
    /// Its value; `None` for one of [`NODE_VARIABLES`] without a value, which differs from host to host.
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
    /// How many hosts run at once, at most.
    pub pool_size: usize,
    /// The login name for hosts whose entry has none, if the user said so; before what ssh_config says.
    pub user: Option<String>,
    /// The user's own name, the login name where nobody says another.
    pub login: String,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The files of ssh_config(5).
    pub config_files: config::Files,
    /// Options in its format, which come before the files.
    pub ssh_options: Vec<String>,
    /// What ssh's own options say.
    pub ssh_args: SshArgs,
    /// How long TCP connection, banner, key exchange and authentication may take together, per host, if the user said so.
    pub connect_timeout: Option<Duration>,
    /// How failed attempts to reach a host are repeated.
    pub retry: Policy,
    /// Whether the user said how many attempts are made: then ssh_config has no say.
    pub attempts_given: bool,
    /// How long the command may run; `None` is as long as it likes.
    pub command_timeout: Option<Duration>,
    /// How long the command's output may be silent; `None` is as long as it likes.
    pub silence_timeout: Option<Duration>,
    /// How long the whole run may take; `None` is as long as it likes.
    pub total_timeout: Option<Duration>,
    /// With how many failed hosts the run is stopped; `None` is never.
    pub stop_on_errors: Option<Tolerance>,
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
    /// The options whose values are from the user's config.toml, as `--name`, and where they stand there.
    pub configured: HashMap<String, Origin>,
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
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match (self.variable)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|value| format!("{name}={value:?}: not UTF-8 text")),
        }
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
    /// use pssh::settings::Settings;
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
        Ok(Settings { may_ask: false, ..Settings::resolve(&Opts::default(), &environment)? })
    }

    /// Makes the settings of the command line, then the `PSSH_*` environment, then the defaults.
    ///
    /// # Errors
    /// A value is not what it should be; the message names where it came from.
    pub fn resolve(opts: &Opts, environment: &Environment<'_>) -> Result<Settings, String> {
        let home = environment.home.as_deref();
        let user = match &opts.hosts.user {
            Some(user) => Some(("-l", user.clone())),
            None => environment.text("PSSH_USER")?.map(|user| ("PSSH_USER", user)),
        };
        if let Some((origin, user)) = &user {
            hosts::check_login(user).map_err(|problem| format!("{origin} {user:?}: {problem}"))?;
        }
        let user = user.map(|(_, user)| user);
        let login = environment.login.clone().or_else(|| user.clone());
        let login = login.ok_or("the password database has no name for you; say who to log in as with -l")?;
        let pool_size =
            opts.running.par.map_or_else(|| environment.parsed("PSSH_PAR", cli::pool_size), |size| Ok(Some(size)))?;
        let timeout = opts
            .running
            .timeout
            .map_or_else(|| environment.parsed("PSSH_TIMEOUT", duration::parse), |time| Ok(Some(time)))?;
        let usual_agent = (environment.variable)("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from);
        let agent = match (&opts.connection.agent, opts.connection.no_agent) {
            (_, true) => AgentChoice::Nobody,
            (Some(socket), _) => AgentChoice::Named(expand(socket, home)),
            (None, _) => AgentChoice::Usual(usual_agent.clone()),
        };
        let ssh_dir = home.map(|home| home.join(".ssh"));
        let config_home = home.map(|home| home.to_string_lossy()).unwrap_or_default();
        let config = opts.connection.config.as_deref().or(opts.ssh_args.config_file.as_deref());
        Ok(Settings {
            pool_size: pool_size.unwrap_or(POOL_SIZE),
            proxy: proxy(opts),
            proxy_host: proxy_host(opts),
            proxy_password_file: opts.connection.proxy_password_file.as_deref().map(|path| expand(path, home)),
            proxy_identity: opts.connection.proxy_identity.as_deref().map(|path| expand(path, home)),
            proxy_connections: opts.connection.proxy_connections.unwrap_or(PROXY_CONNECTIONS),
            user,
            login,
            config_files: config::Files::of(&config_home, config),
            ssh_options: opts.connection.option.clone(),
            ssh_args: opts.ssh_args.clone(),
            home: home.map(Path::to_owned),
            connect_timeout: opts.connection.connect_timeout,
            retry: Policy {
                attempts: opts.connection.num_retries.unwrap_or(ATTEMPTS),
                delay: opts.connection.retry_delay.unwrap_or(RETRY_DELAY),
            },
            attempts_given: opts.connection.num_retries.is_some(),
            command_timeout: timeout.filter(|timeout| !timeout.is_zero()),
            silence_timeout: opts.running.channel_timeout.filter(|timeout| !timeout.is_zero()),
            total_timeout: opts.running.total_timeout.filter(|timeout| !timeout.is_zero()),
            stop_on_errors: opts.running.stop_on_errors,
            host_key_check: opts.connection.host_key_check,
            known_hosts: opts.connection.known_hosts.iter().map(|path| expand(path, home)).collect(),
            identities: opts.connection.identity.iter().map(|path| expand(path, home)).collect(),
            default_identities: ssh_dir,
            logs_in: true,
            agent,
            usual_agent,
            ipv4_only: opts.connection.ipv4,
            ipv6_only: opts.connection.ipv6,
            compress: opts.connection.compression,
            forward_agent: opts.command.forward_agent,
            pty: opts.command.pty,
            variables: variables(&opts.command.env, environment)?,
            password: password_source(opts, environment, home)?,
            password_prompt: opts.connection.password_prompt.clone(),
            may_ask: true,
            send_input: opts.command.send_input,
            sudo: sudo(opts)?,
            sudo_password: opts.sudo.sudo_password_file.as_deref().map(|path| Source::SudoFile(expand(path, home))),
            verbose: opts.other.verbose > 0,
            configured: HashMap::new(),
        })
    }

    /// Needs nothing to log in with any more, for runs that connect to nothing: no password is read or asked for, no key.
    pub fn forget_credentials(&mut self) {
        self.password = None;
        self.sudo_password = None;
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

/// The variables of `--env`. Of two with one name the last counts.
fn variables(given: &[OsString], environment: &Environment<'_>) -> Result<Vec<WantedVariable>, String> {
    let mut variables: Vec<WantedVariable> = Vec::new();
    for text in given {
        let bytes = text.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'=');
        let name = std::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]).ok().filter(|name| !name.is_empty());
        let Some(name) = name else { return Err(format!("--env {text:?}: NAME=VALUE or NAME is needed")) };
        if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "--env {name:?}: the name of a variable has no blanks; each variable has an --env of its own"
            ));
        }
        let value = match end {
            Some(end) => Some(OsStr::from_bytes(&bytes[end + 1..]).to_owned()),
            None if NODE_VARIABLES.contains(&name) => None,
            None => match (environment.variable)(name) {
                Some(value) => Some(value),
                None => return Err(format!("--env {name}: it is not set here; NAME=VALUE gives it a value")),
            },
        };
        variables.retain(|other| other.name != name);
        variables.push(WantedVariable { name: name.to_owned(), value });
    }
    Ok(variables)
}

/// How the command line says that hosts are reached.
fn proxy(opts: &Opts) -> Option<Via> {
    if let Some(via) = opts.connection.jump.as_ref().or(opts.connection.proxy_command.as_ref()) {
        return Some(via.clone());
    }
    Some(Via(Some(Proxy::Jump([proxy_host(opts)?].into()))))
}

/// The jump host of the options for a single one.
fn proxy_host(opts: &Opts) -> Option<Hop> {
    let hop = opts.connection.proxy_host.as_ref()?;
    Some(Hop {
        user: opts.connection.proxy_user.clone().or_else(|| hop.user.clone()),
        name: hop.name.clone(),
        port: opts.connection.proxy_port.or(hop.port),
    })
}

/// How the command line says that commands become another user's.
fn sudo(opts: &Opts) -> Result<Option<Sudo>, String> {
    let wanted = opts.sudo.sudo || opts.sudo.run_as.is_some();
    if !wanted && opts.sudo.sudo_password_file.is_some() {
        return Err("--sudo-password-file is of use only with --sudo or --run-as USER".to_owned());
    }
    Ok(wanted.then(|| Sudo { user: opts.sudo.run_as.clone() }))
}

/// Where the password comes from: the options exclude each other, and each of them overrides the environment.
fn password_source(opts: &Opts, environment: &Environment<'_>, home: Option<&Path>) -> Result<Option<Source>, String> {
    Ok(match (&opts.connection.password_file, opts.connection.password_fd, &opts.connection.password_command) {
        (Some(path), _, _) => Some(Source::File(expand(path, home))),
        (_, Some(number), _) => Some(Source::Descriptor(number)),
        (_, _, Some(command)) => Some(Source::Command(command.clone())),
        _ => {
            let ask = opts.connection.askpass || environment.parsed("PSSH_ASKPASS", cli::truthy)?.unwrap_or(false);
            ask.then_some(Source::Ask)
        }
    })
}

/// Expands a leading `~`, for where no shell has done it: `--identity=~/key`. Other users' homes stay as they are.
pub fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    let home = || home.and_then(Path::to_str);
    path.to_str().map_or_else(|| path.to_owned(), |path| shellexpand::tilde_with_context(path, home).as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    fn settings(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let opts = cli::parse(Program::Pssh, [&["pssh"], args].concat()).expect("a good command line");
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let environment =
            Environment { variable: &variable, login: Some("me".to_owned()), home: Some("/home/me".into()) };
        Settings::resolve(&opts, &environment)
    }

    #[test]
    fn the_command_line_beats_the_environment_beats_the_default() {
        let default = settings(&[], &[]).expect("defaults");
        assert_eq!((default.pool_size, default.user, default.login.as_str()), (10, None, "me"));
        assert_eq!(default.connect_timeout, None);
        assert_eq!(default.command_timeout, None);
        assert_eq!(default.host_key_check, None);
        assert_eq!(default.agent, AgentChoice::Usual(None));
        assert_eq!(default.known_hosts, [] as [PathBuf; 0]);
        let variables = [("PSSH_PAR", "7"), ("PSSH_USER", "ops"), ("PSSH_TIMEOUT", "60"), ("SSH_AUTH_SOCK", "/a")];
        let environment = settings(&[], &variables).expect("good variables");
        assert_eq!((environment.pool_size, environment.user.as_deref()), (7, Some("ops")));
        assert_eq!(environment.command_timeout, Some(Duration::from_secs(60)));
        assert_eq!(environment.agent, AgentChoice::Usual(Some("/a".into())));
        let both = settings(&["-p3", "-l", "root", "-t0", "--no-agent"], &variables).expect("good options");
        assert_eq!((both.pool_size, both.user.as_deref(), both.command_timeout), (3, Some("root"), None));
        assert_eq!(both.agent, AgentChoice::Nobody);
    }

    #[test]
    fn bad_values_name_their_origin() {
        assert!(settings(&[], &[("PSSH_PAR", "many")]).expect_err("no number").starts_with("PSSH_PAR=many: "));
        assert!(settings(&[], &[("PSSH_PAR", "")]).is_ok(), "an empty variable is as good as none");
        assert!(settings(&["--user=-x"], &[]).is_err());
    }

    #[test]
    fn variables_have_a_name_and_a_value() {
        let here = [("A", "here"), ("B", "b")];
        let variables = |args: &[&str]| settings(args, &here).map(|settings| settings.variables);
        let wanted = |name: &str, value: Option<&str>| WantedVariable {
            name: name.to_owned(),
            value: value.map(OsString::from),
        };
        assert_eq!(
            variables(&["--env", "A=1=2", "--env", "B", "--env=A=3", "--env", "C="]),
            Ok(vec![wanted("B", Some("b")), wanted("A", Some("3")), wanted("C", Some(""))])
        );
        assert_eq!(variables(&["--env", "PSSH_HOST"]), Ok(vec![wanted("PSSH_HOST", None)]));
        for bad in ["", "=x", "NOT_SET", "A B=1", "A\t=1", " A=1", "A\n=1"] {
            assert!(variables(&["--env", bad]).expect_err(bad).starts_with("--env "));
        }
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let settings = settings(&["--identity=~/key", "--known-hosts", "kh"], &[]).expect("good options");
        assert_eq!(settings.identities, [Path::new("/home/me/key")]);
        assert_eq!(settings.known_hosts, [Path::new("kh")]);
    }

    #[test]
    fn the_options_for_one_jump_host_are_a_jump() {
        let proxy = |args: &[&str]| settings(args, &[]).expect("good options").proxy;
        let jump = proxy(&["-J", "me@bastion:2222"]);
        assert!(jump.is_some());
        assert_eq!(jump, proxy(&["--proxy-host", "bastion", "--proxy-port", "2222", "--proxy-user", "me"]));
        assert_eq!(jump, proxy(&["--proxy-host", "me@bastion:2222"]));
        assert_eq!(proxy(&["-J", "none"]), Some(Via(None)));
        assert_eq!(proxy(&[]), None);
    }

    #[test]
    fn the_password_comes_from_one_place() {
        let source =
            |args: &[&str], askpass: &str| settings(args, &[("PSSH_ASKPASS", askpass)]).expect("good options").password;
        assert_eq!(source(&[], ""), None);
        assert_eq!(source(&["-A"], ""), Some(Source::Ask));
        assert_eq!(source(&[], "1"), Some(Source::Ask));
        for no in ["0", "no", "False"] {
            assert_eq!(source(&[], no), None);
            assert_eq!(source(&["-A"], no), Some(Source::Ask));
        }
        assert_eq!(source(&["--password-file=~/p"], "1"), Some(Source::File("/home/me/p".into())));
        assert_eq!(source(&["--password-fd", "3"], "1"), Some(Source::Descriptor(3)));
        assert_eq!(source(&["--password-command", "pass x"], "1"), Some(Source::Command("pass x".into())));
    }

    #[test]
    fn large_pools_share_their_windows() {
        let window = |size: &str| settings(&["-p", size], &[]).expect("a size").window();
        assert_eq!((window("1"), window("32"), window("64"), window("5000")), (2 << 20, 2 << 20, 1 << 20, 256 << 10));
    }
}
