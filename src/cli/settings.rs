//! Settings from the command line and the environment; the rest comes from [`Settings::defaults`].

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::options::{self, Opts, RollingOpts};
use crate::command::sudo::Sudo;
use crate::hosts::proxy::{Hop, Proxy, Via};
use crate::hosts::{self, Origin};
use crate::plan::failure_limit::StopMode;
use crate::plan::portion::Portion;
use crate::plan::program::Program;
use crate::plan::retry::RetryPolicy;
use crate::plan::rolling::Rolling;
use crate::plan::settings::{
    AgentChoice, Environment, NODE_VARIABLES, SettingNames, Settings, SshOption, WantedVariable, expand,
};
use crate::plan::success::Success;
use crate::ssh_config;
use crate::system::password_source::Source;
use crate::text::duration;

/// Reads the variables of `--env`. The last one of a name counts.
fn variables(given: &[OsString], environment: &Environment<'_>) -> Result<Vec<WantedVariable>, String> {
    let mut variables: Vec<WantedVariable> = Vec::new();
    for text in given {
        let bytes = text.as_bytes();
        let end = bytes.iter().position(|byte| *byte == b'=');
        let name = std::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]).ok().filter(|name| !name.is_empty());
        let Some(name) = name else { return Err(format!("--env {text:?}: expected NAME=VALUE or NAME")) };
        WantedVariable::check_name(name)
            .map_err(|problem| format!("--env {name:?}: {problem}; give each variable its own --env"))?;
        let value = match end {
            Some(end) => Some(OsStr::from_bytes(&bytes[end + 1..]).to_owned()),
            None if NODE_VARIABLES.contains(&name) => None,
            None => match (environment.variable)(name) {
                Some(value) => Some(value),
                None => return Err(format!("--env {name}: not set in the local environment; use NAME=VALUE")),
            },
        };
        variables.retain(|other| other.name != name);
        variables.push(WantedVariable { name: name.to_owned(), value });
    }
    Ok(variables)
}

/// Reads the jump hosts or the proxy command.
fn proxy(opts: &Opts) -> Option<Via> {
    if let Some(via) = opts.connection.jump.as_ref().or(opts.connection.proxy_command.as_ref()) {
        return Some(via.clone());
    }
    Some(Via(Some(Proxy::Jump([proxy_host(opts)?].into()))))
}

/// Reads the jump host of `--proxy-host` and its options.
fn proxy_host(opts: &Opts) -> Option<Hop> {
    let hop = opts.connection.proxy_host.as_ref()?;
    Some(Hop {
        user: opts.connection.proxy_user.clone().or_else(|| hop.user.clone()),
        name: hop.name.clone(),
        port: opts.connection.proxy_port.or(hop.port),
    })
}

/// Reads the options of sudo.
fn sudo(opts: &Opts) -> Result<Option<Sudo>, String> {
    let wanted = opts.sudo.sudo || opts.sudo.run_as.is_some();
    if !wanted && opts.sudo.sudo_password_file.is_some() {
        return Err("--sudo-password-file needs --sudo or --run-as USER".to_owned());
    }
    Ok(wanted.then(|| Sudo { user: opts.sudo.run_as.clone() }))
}

/// Reads the list of successes. Copies have few ends that it can be about.
fn success(opts: &Opts) -> Result<Success, String> {
    let Some(success) = opts.check.success.clone() else { return Ok(Success::default()) };
    let name = opts.program.name();
    match opts.program {
        Program::Pssh | Program::Pnuke => {}
        Program::Pscp | Program::Pslurp | Program::Prsync if success.lost || success.signal => {
            let word = if success.lost { "lost" } else { "signal" };
            return Err(format!("--success {word}: a copy that was cut off is not complete, so it is never a success"));
        }
        Program::Pscp | Program::Pslurp if success != Success::default() => {
            let problem = "a copy succeeds if all files are copied, and has no exit status";
            return Err(format!("--success: with {name}, {problem}; only 0 is allowed"));
        }
        Program::Pscp | Program::Pslurp | Program::Prsync => {}
    }
    Ok(success)
}

/// Returns the source of the password. The options exclude each other and override the environment.
fn password_source(opts: &Opts, environment: &Environment<'_>, home: Option<&Path>) -> Result<Option<Source>, String> {
    Ok(match (&opts.connection.password_file, opts.connection.password_fd, &opts.connection.password_command) {
        (Some(path), _, _) => Some(Source::File(expand(path, home))),
        (_, Some(number), _) => Some(Source::Descriptor(number)),
        (_, _, Some(command)) => Some(Source::Command(command.clone())),
        _ => {
            let ask = opts.connection.askpass || environment.parsed("PSSH_ASKPASS", options::truthy)?.unwrap_or(false);
            ask.then_some(Source::Ask)
        }
    })
}

/// Options set by the user's config.toml, as `--name`, with their places in the file.
pub type Configured = HashMap<String, Origin>;

/// Returns the names of settings in messages: the option, or its place in config.toml.
fn names(opts: &Opts, user_origin: &str, configured: &Configured) -> SettingNames {
    let place = |option: &str| configured.get(option).map(|place| place.to_string().into());
    let named = |option: &str| place(option).unwrap_or_else(|| Arc::from(option));
    let user = if user_origin == USER { place("--user") } else { None };
    SettingNames {
        user: user.unwrap_or_else(|| user_origin.into()),
        connect_timeout: named("--connect-timeout"),
        num_retries: named("--num-retries"),
        command_timeout: named("--timeout"),
        silence_timeout: named("--channel-timeout"),
        host_key_check: named("--host-key-check"),
        known_hosts: named("--known-hosts"),
        identities: named("--identity"),
        agent: named(if opts.connection.no_agent { "--no-agent" } else { "--agent" }),
        ipv4_only: named("-4"),
        ipv6_only: named("-6"),
        compress: named("-C"),
        forward_agent: named("--forward-agent"),
        pty: named("--pty"),
        variables: named("--env"),
        proxy: named("--jump or --proxy-command"),
        proxy_password_file: named("--proxy-password-file"),
        ask_password: named("-A"),
    }
}

/// Makes an option of `-O`.
fn ssh_option(text: &String) -> SshOption {
    SshOption { text: text.clone(), name: format!("-O {text}") }
}

/// Reads the options of rolling runs.
fn rolling(opts: &Opts) -> Result<Rolling, String> {
    let RollingOpts { batch, pause, confirm, order, connect_par, rate, stop_on_unreached: _ } = &opts.rolling;
    let between = [("--pause", pause.is_some()), ("--confirm", confirm.is_some())];
    if let (None, Some((option, _))) = (batch, between.iter().find(|(_, is_given)| *is_given)) {
        return Err(format!("{option} is for the time between two batches; give their sizes with --batch 1,10%"));
    }
    if batch.is_some() && opts.hosts.shard.is_some() {
        return Err("--batch with --shard: each share would have batches and a limit on failures of its own, and a canary in every share; \
                    run the batches on one machine"
            .to_owned());
    }
    Ok(Rolling {
        batches: batch.clone().unwrap_or_default(),
        pause: pause.unwrap_or_default(),
        confirm: *confirm,
        order: order.unwrap_or_default(),
        connect_par: *connect_par,
        rate: *rate,
    })
}

/// The option for the login name.
const USER: &str = "-l";

impl Settings {
    /// Makes the settings of the command line, then the `PSSH_*` environment, then the defaults.
    ///
    /// # Errors
    /// A value is wrong; the message names its origin.
    pub fn resolve(opts: &Opts, environment: &Environment<'_>, configured: &Configured) -> Result<Settings, String> {
        let home = environment.home.as_deref();
        let user = match &opts.hosts.user {
            Some(user) => Some((USER, user.clone())),
            None => environment.text("PSSH_USER")?.map(|user| ("PSSH_USER", user)),
        };
        if let Some((origin, user)) = &user {
            hosts::check_login(user).map_err(|problem| format!("{origin} {user:?}: {problem}"))?;
        }
        let (user_origin, user) = user.map_or((USER, None), |(origin, user)| (origin, Some(user)));
        let login = environment.login.clone().or_else(|| user.clone());
        let login = login.ok_or("the password database has no name for you; set the login name with -l")?;
        let pool_size = opts
            .running
            .par
            .map_or_else(|| environment.parsed("PSSH_PAR", options::pool_size), |size| Ok(Some(size)))?;
        let timeout = opts
            .running
            .timeout
            .map_or_else(|| environment.parsed("PSSH_TIMEOUT", duration::parse), |time| Ok(Some(time)))?;
        let usual_agent = environment.usual_agent();
        let agent = match (&opts.connection.agent, opts.connection.no_agent) {
            (_, true) => AgentChoice::Nobody,
            (Some(socket), _) => AgentChoice::Named(expand(socket, home)),
            (None, _) => AgentChoice::Usual(usual_agent.clone()),
        };
        let config_home = home.map(|home| home.to_string_lossy()).unwrap_or_default();
        let config = opts.connection.config.as_deref().or(opts.ssh_args.config_file.as_deref());
        let defaults = Settings::defaults(environment, login);
        Ok(Settings {
            program: opts.program,
            pool_size: pool_size.unwrap_or(defaults.pool_size),
            proxy: proxy(opts),
            proxy_host: proxy_host(opts),
            proxy_password_file: opts.connection.proxy_password_file.as_deref().map(|path| expand(path, home)),
            proxy_identity: opts.connection.proxy_identity.as_deref().map(|path| expand(path, home)),
            proxy_connections: opts.connection.proxy_connections.unwrap_or(defaults.proxy_connections),
            user,
            config_files: ssh_config::Files::of(&config_home, config),
            ssh_options: opts.connection.option.iter().map(ssh_option).collect(),
            ssh_args: opts.ssh_args.clone(),
            connect_timeout: opts.connection.connect_timeout,
            retry: RetryPolicy {
                attempts: opts.connection.num_retries.unwrap_or(defaults.retry.attempts),
                delay: opts.connection.retry_delay.unwrap_or(defaults.retry.delay),
            },
            attempts_given: opts.connection.num_retries.is_some(),
            command_timeout: timeout.filter(|timeout| !timeout.is_zero()),
            silence_timeout: opts.running.channel_timeout.filter(|timeout| !timeout.is_zero()),
            total_timeout: opts.running.total_timeout.filter(|timeout| !timeout.is_zero()),
            stop_on_errors: match opts.running.stop_on_errors {
                Some(given) => given.limit,
                None => opts.rolling.batch.as_ref().map(|_| Portion::Hosts(1)),
            },
            stop_on_unreached: opts.rolling.stop_on_unreached,
            stop_mode: opts.running.stop_on_errors.and_then(|given| given.mode).unwrap_or(match opts.rolling.batch {
                Some(_) => StopMode::Wait,
                None => StopMode::Now,
            }),
            rolling: rolling(opts)?,
            host_key_check: opts.connection.host_key_check,
            known_hosts: opts.connection.known_hosts.iter().map(|path| expand(path, home)).collect(),
            identities: opts.connection.identity.iter().map(|path| expand(path, home)).collect(),
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
            success: success(opts)?,
            verbose: opts.other.verbose > 0,
            names: names(opts, user_origin, configured),
            ..defaults
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn settings(args: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let opts = options::parse(Program::Pssh, [&["pssh"], args].concat()).expect("a good command line");
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let environment =
            Environment { variable: &variable, login: Some("me".to_owned()), home: Some("/home/me".into()) };
        Settings::resolve(&opts, &environment, &Configured::new())
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
