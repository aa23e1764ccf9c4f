//! The precedence of settings of a host: its entry or its table in a TOML file, then options for all hosts,
//! then ssh_config(5), then the defaults. Destinations use the values; `explain` prints their origins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::configured;
use super::settings::{AgentChoice, Settings};
use crate::hosts::options::{AgentUse, Given, HostKeyCheck, HostOptions, Maybe};
use crate::hosts::proxy::{Proxy, Via};
use crate::hosts::{self, HostSpec};
use crate::ssh::keepalive::{self, Keepalive};
use crate::ssh_config::{self, Resolved, StrictHostKeyChecking};

/// The default connect timeout: the reference client's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// Detects within two minutes that a host vanished during a command. ssh(1) sends no keepalives by default, and
/// waits as long as TCP does: forever, if it has nothing to send.
const KEEPALIVE: Keepalive =
    Keepalive { interval: Duration::from_secs(30), count: 3, is_configured: false, tcp: true, first: keepalive::FIRST };
/// libssh2 does not send two keepalives within two seconds.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(2);

/// The source of a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SaidBy<'a> {
    /// The host's own setting, at this place.
    Entry(&'a hosts::Origin),
    /// An option for all hosts, by this name.
    All(&'a Arc<str>),
    /// ssh_config(5).
    Config,
    /// The default.
    Default,
}

impl SaidBy<'_> {
    /// Returns the place, except for ssh_config, which has its own places, and defaults.
    pub(crate) fn origin(self) -> Option<ssh_config::Origin> {
        match self {
            SaidBy::Entry(origin) => Some(ssh_config::Origin::Option(origin.to_string().into())),
            SaidBy::All(name) => Some(ssh_config::Origin::Option(Arc::clone(name))),
            SaidBy::Config | SaidBy::Default => None,
        }
    }
}

/// An effective setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'a, T> {
    /// Its value.
    pub(crate) value: T,
    /// Its source.
    pub(crate) by: SaidBy<'a>,
}

impl<'a, T> Chosen<'a, T> {
    fn new(value: T, by: SaidBy<'a>) -> Self {
        Chosen { value, by }
    }

    /// Whether it is the host's own.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.by, SaidBy::Entry(_))
    }
}

/// Returns a host's own setting, or else the one for all hosts by `name`.
fn said<'a, T>(own: &'a Maybe<T>, all: Option<&'a T>, name: &'a Arc<str>) -> Option<Chosen<'a, &'a T>> {
    match (own, all) {
        (Some(given), _) => Some(Chosen::new(&given.value, SaidBy::Entry(&given.origin))),
        (None, Some(value)) => Some(Chosen::new(value, SaidBy::All(name))),
        (None, None) => None,
    }
}

/// Returns explicitly named files, as written.
fn files<'a>(
    own: &'a Maybe<Vec<PathBuf>>,
    all: &'a Vec<PathBuf>,
    name: &'a Arc<str>,
) -> Option<Chosen<'a, &'a [PathBuf]>> {
    let files = said(own, Some(all).filter(|files| !files.is_empty()), name)?;
    Some(Chosen::new(files.value, files.by))
}

/// Returns a limit; zero disables it.
fn limit<'a>(own: &'a Maybe<Duration>, all: Option<Duration>, name: &'a Arc<str>) -> Chosen<'a, Option<Duration>> {
    match own.as_deref() {
        Some(Given { value, origin }) => {
            Chosen::new(Some(*value).filter(|limit| !limit.is_zero()), SaidBy::Entry(origin))
        }
        None => Chosen::new(all, SaidBy::All(name)),
    }
}

/// Returns the login name and the port of an entry, for the lookup in ssh_config.
pub(crate) fn user<'a>(spec: &'a HostSpec, settings: &'a Settings) -> Option<Chosen<'a, &'a String>> {
    match &spec.user {
        Some(user) => Some(Chosen::new(user, SaidBy::Entry(&spec.origin))),
        None => said(&spec.options.user, settings.user.as_ref(), &settings.names.user),
    }
}

/// See [`user`].
pub(crate) fn port(spec: &HostSpec) -> Option<Chosen<'_, u16>> {
    let own = spec.port.map(|port| Chosen::new(port, SaidBy::Entry(&spec.origin)));
    own.or_else(|| spec.options.port.as_deref().map(|given| Chosen::new(given.value, SaidBy::Entry(&given.origin))))
}

/// The agent that holds the keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Agent<'a> {
    /// None.
    Nobody,
    /// The one with this socket.
    Named(&'a Path),
    /// The one in ssh_config, else this one.
    Usual(Option<&'a Path>),
}

/// The settings of one host.
#[derive(Clone, Copy)]
pub(crate) struct Precedence<'a> {
    settings: &'a Settings,
    options: &'a HostOptions,
    resolved: &'a Resolved,
}

impl<'a> Precedence<'a> {
    /// Creates the settings of a host from its `options` and `resolved` of ssh_config.
    pub(crate) fn new(settings: &'a Settings, options: &'a HostOptions, resolved: &'a Resolved) -> Self {
        Precedence { settings, options, resolved }
    }

    /// Returns the connect timeout.
    pub(crate) fn connect_timeout(&self) -> Chosen<'a, Duration> {
        let all = self.settings.connect_timeout.as_ref();
        if let Some(chosen) = said(&self.options.connect_timeout, all, &self.settings.names.connect_timeout) {
            return Chosen::new(*chosen.value, chosen.by);
        }
        match self.resolved.settings.connect_timeout.value.0.filter(|timeout| !timeout.is_zero()) {
            Some(timeout) => Chosen::new(timeout, SaidBy::Config),
            None => Chosen::new(CONNECT_TIMEOUT, SaidBy::Default),
        }
    }

    /// Returns the number of attempts.
    pub(crate) fn attempts(&self) -> Chosen<'a, u32> {
        let usual = &self.settings.retry.attempts;
        let all = self.settings.attempts_given.then_some(usual);
        if let Some(chosen) = said(&self.options.num_retries, all, &self.settings.names.num_retries) {
            return Chosen::new(*chosen.value, chosen.by);
        }
        match configured::value(&self.resolved.settings.connection_attempts) {
            Some(attempts) => Chosen::new(*attempts, SaidBy::Config),
            None => Chosen::new(*usual, SaidBy::Default),
        }
    }

    /// Returns the pause between two attempts, if it differs from that of all hosts.
    pub(crate) fn retry_delay(&self) -> Option<Chosen<'a, Duration>> {
        let given = self.options.retry_delay.as_deref()?;
        Some(Chosen::new(given.value, SaidBy::Entry(&given.origin)))
    }

    /// Returns the time limit of the command.
    pub(crate) fn command_timeout(&self) -> Chosen<'a, Option<Duration>> {
        limit(&self.options.timeout, self.settings.command_timeout, &self.settings.names.command_timeout)
    }

    /// Returns how long the command may be silent.
    pub(crate) fn silence_timeout(&self) -> Chosen<'a, Option<Duration>> {
        limit(&self.options.channel_timeout, self.settings.silence_timeout, &self.settings.names.silence_timeout)
    }

    /// Returns the host key check.
    pub(crate) fn host_key_check(&self) -> Chosen<'a, HostKeyCheck> {
        let all = self.settings.host_key_check.as_ref();
        if let Some(chosen) = said(&self.options.host_key_check, all, &self.settings.names.host_key_check) {
            return Chosen::new(*chosen.value, chosen.by);
        }
        let check = match self.resolved.settings.strict_host_key_checking.value {
            StrictHostKeyChecking::AcceptNew => HostKeyCheck::AcceptNew,
            StrictHostKeyChecking::No => HostKeyCheck::Off,
            // The user cannot be asked while many hosts connect at once.
            StrictHostKeyChecking::Yes | StrictHostKeyChecking::Ask => HostKeyCheck::Strict,
        };
        Chosen::new(check, SaidBy::Config)
    }

    /// Returns the keepalive settings.
    pub(crate) fn keepalive(&self) -> Keepalive {
        let set = &self.resolved.settings;
        let interval = configured::value(&set.server_alive_interval);
        Keepalive {
            interval: match interval {
                Some(interval) if !interval.is_zero() => (*interval).max(SHORTEST_KEEPALIVE),
                Some(never) => *never,
                None => KEEPALIVE.interval,
            },
            count: configured::value(&set.server_alive_count_max).copied().unwrap_or(KEEPALIVE.count),
            is_configured: interval.is_some(),
            tcp: set.tcp_keep_alive.value,
            first: keepalive::FIRST,
        }
    }

    /// Returns the known_hosts files, if they are not those of ssh_config.
    pub(crate) fn known_hosts(&self) -> Option<Chosen<'a, &'a [PathBuf]>> {
        files(&self.options.known_hosts, &self.settings.known_hosts, &self.settings.names.known_hosts)
    }

    /// Returns the private keys, if they are not those of ssh_config.
    pub(crate) fn identities(&self) -> Option<Chosen<'a, &'a [PathBuf]>> {
        files(&self.options.identities, &self.settings.identities, &self.settings.names.identities)
    }

    /// Returns the private keys of ssh_config; none if it has only its default ones.
    pub(crate) fn configured_identities(&self) -> &'a [ssh_config::Setting<ssh_config::IdentityFile>] {
        let files = &self.resolved.identity_files;
        let is_default = files.iter().all(|file| file.origin == ssh_config::Origin::Default);
        if is_default { &[] } else { files }
    }

    /// Whether the default private keys are tried: only if no key is named.
    pub(crate) fn tries_default_identities(&self) -> bool {
        self.identities().is_none_or(|files| files.value.is_empty()) && self.configured_identities().is_empty()
    }

    /// Returns the agent, if it is not the one of ssh_config, or the default one.
    pub(crate) fn agent(&self) -> Chosen<'a, Agent<'a>> {
        if let Some(Given { value, origin }) = self.options.agent.as_deref() {
            let agent = match value {
                AgentUse::Nobody => Agent::Nobody,
                AgentUse::Socket(socket) => Agent::Named(socket),
                AgentUse::Usual => Agent::Usual(self.settings.usual_agent.as_deref()),
            };
            return Chosen::new(agent, SaidBy::Entry(origin));
        }
        let by = SaidBy::All(&self.settings.names.agent);
        match &self.settings.agent {
            AgentChoice::Nobody => Chosen::new(Agent::Nobody, by),
            AgentChoice::Named(socket) => Chosen::new(Agent::Named(socket), by),
            AgentChoice::Usual(socket) => Chosen::new(Agent::Usual(socket.as_deref()), SaidBy::Default),
        }
    }

    /// Returns the route to the host, without the hosts before its jump hosts.
    pub(crate) fn proxy(&self) -> Chosen<'a, Option<Proxy>> {
        let all: Option<&Via> = self.settings.proxy.as_ref();
        match said(&self.options.proxy, all, &self.settings.names.proxy) {
            Some(chosen) => Chosen::new(chosen.value.0.clone(), chosen.by),
            None => Chosen::new(configured::proxy(self.resolved), SaidBy::Config),
        }
    }

    /// Returns the file with this host's own password; `is_named` is the jump host with its own options.
    pub(crate) fn password_file(&self, is_named: bool) -> Option<Chosen<'a, &'a PathBuf>> {
        let all = self.settings.proxy_password_file.as_ref().filter(|_| is_named);
        said(&self.options.password_file, all, &self.settings.names.proxy_password_file)
    }
}

#[cfg(test)]
mod tests {
    use super::super::destinations::Destinations;
    use super::super::retry::RetryPolicy;
    use super::super::settings::Environment;
    use super::*;
    use crate::system::cancel::Cancel;
    use crate::system::terminal::Terminal;

    /// Returns what connects, and what is explained, for combinations of entry, options for all hosts and ssh_config: timeout,
    /// attempts and host key check, the latter with their origins.
    fn told(entry: bool, all: bool, config: bool) -> ([String; 3], [String; 3]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        let text = "ConnectTimeout 7\nConnectionAttempts 7\nStrictHostKeyChecking accept-new\n";
        std::fs::write(&path, if config { text } else { "" }).expect("a file");
        let environment = Environment { variable: &|_| None, login: None, home: None };
        let defaults = Settings::defaults(&environment, "me".to_owned());
        let settings = Settings {
            config_files: ssh_config::Files::Only(path),
            logs_in: false,
            connect_timeout: all.then_some(Duration::from_secs(8)),
            retry: RetryPolicy { attempts: if all { 8 } else { 3 }, ..defaults.retry },
            attempts_given: all,
            host_key_check: all.then_some(HostKeyCheck::Strict),
            ..defaults
        };
        let line = if entry { "h connect-timeout=9s num-retries=9 host-key-check=off\n" } else { "h\n" };
        let hosts = hosts::of_text(Path::new("list"), line.as_bytes()).expect("a host");
        let (terminal, cancel) = (Terminal::new().expect("a pipe"), Cancel::new().expect("a pipe"));
        let destinations =
            Destinations::new(Arc::new(settings), None, Arc::new(terminal), &cancel).expect("good settings");
        let destination = destinations.hosts(&hosts).expect("a host").remove(0);
        let check = match destination.credentials.host_key_check {
            HostKeyCheck::Strict => "true",
            HostKeyCheck::AcceptNew => "accept-new",
            HostKeyCheck::Off => "false",
        };
        let attempts = destination.attempts.expect("a number").to_string();
        let connects = [destination.connect_timeout.as_secs().to_string(), attempts, check.to_owned()];
        let lines = destinations.explain(&hosts[0]).expect("lines");
        let explained = ["connecttimeout", "connectionattempts", "stricthostkeychecking"].map(|keyword| {
            let (_, value, origin) = lines.iter().find(|line| line.0 == keyword).expect(keyword);
            let file = dir.path().display().to_string();
            format!("{value} {}", origin.to_string().replace(&file, ""))
        });
        (connects, explained)
    }

    #[test]
    fn what_connects_is_what_is_explained_and_the_nearest_counts() {
        for said in 0..8 {
            let (entry, all, config) = (said & 1 > 0, said & 2 > 0, said & 4 > 0);
            let (connects, explained) = told(entry, all, config);
            let (number, check, origins) = if entry {
                ("9", "false", ["list:1:3", "list:1:22", "list:1:36"])
            } else if all {
                ("8", "true", ["setting connect_timeout", "setting retry", "setting host_key_check"])
            } else if config {
                ("7", "accept-new", ["/config:1", "/config:2", "/config:3"])
            } else {
                assert_eq!(connects, ["120", "3", "true"]);
                assert_eq!(explained, ["120 default", "3 default", "true default"]);
                continue;
            };
            assert_eq!(connects, [number, number, check], "{said:03b}");
            let values = [number, number, check];
            let expected: Vec<String> =
                values.iter().zip(origins).map(|(value, origin)| format!("{value} {origin}")).collect();
            assert_eq!(explained.to_vec(), expected, "{said:03b}");
        }
    }
}
