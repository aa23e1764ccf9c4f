//! Where and how to connect to a host: its entry in the list, completed by the command line, ssh_config(5) and the defaults.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::config::{
    self, CommandLineOption, Config, ConfigError, PubkeyAuthentication, Query, Resolved, StrictHostKeyChecking,
};
use super::exec::Keepalive;
use super::identities::{Identities, Sources};
use super::keyring::Keyring;
use super::known_hosts::KnownHosts;
use super::pubkey_algorithms::PubkeyAlgorithms;
use super::session::Credentials;
use super::tunnel::lock;
use super::{DEFAULT_PORT, Unprepared, host_certificate, revoked_keys};
use crate::cancel::Cancel;
use crate::hosts::{HostSpec, write_entry};
use crate::proxy::{Hop, Proxy};
use crate::secret::Secret;
use crate::settings::{AgentChoice, HostKeyCheck, Method, Settings};
use crate::terminal::Terminal;

/// How long connecting may take unless told otherwise: the reference client's default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// A host that has vanished in mid-command is found out within two minutes. ssh(1) asks for no sign of life by default, and
/// waits as long as TCP does: for ever, if nothing is to be sent.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(30), count: 3 };

/// The most jump hosts in a row: more are a loop in ssh_config rather than a network.
const LONGEST_CHAIN: usize = 16;
/// libssh2 does not ask twice within two seconds.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(2);

/// Where and how to connect.
pub struct Host {
    /// The name or address to connect to (HostName).
    pub name: String,
    /// The port.
    pub port: u16,
    /// The login name.
    pub user: String,
    /// The name and port under which the host's key is known (HostKeyAlias, which has no port of its own).
    pub key_name: (String, u16),
    /// The methods of authentication that are tried, in this order.
    pub methods: Vec<Method>,
    /// What its key is checked with, and what there is to log in with.
    pub credentials: Arc<Credentials>,
    /// How long TCP connection, banner, key exchange and authentication may take together.
    pub connect_timeout: Duration,
    /// How it is found out that the host has vanished.
    pub keepalive: Keepalive,
    /// The fewest bits that an RSA host key may have (RequiredRSASize).
    pub rsa_bits: u32,
    /// Which addresses of the name are connected to.
    pub family: config::AddressFamily,
    /// The address to connect from.
    pub bind: Option<IpAddr>,
    /// Whether the system looks after an idle connection (TCPKeepAlive).
    pub tcp_keepalive: bool,
    /// How often the host is tried, in all, if that is configured (ConnectionAttempts).
    pub attempts: Option<u32>,
    /// What is to be agreed on in the key exchange, where that is configured.
    pub algorithms: Algorithms,
    /// How the host is reached, if not directly.
    pub proxy: Option<Proxy>,
}

/// Lists of algorithms as ssh_config(5) has them.
pub struct Algorithms {
    /// HostKeyAlgorithms.
    pub host_key: Option<config::Algorithms<config::KeyTypes>>,
    /// CASignatureAlgorithms, by name.
    pub authorities: Vec<&'static str>,
    /// KexAlgorithms.
    pub key_exchange: Option<config::Algorithms<config::KeyExchanges>>,
    /// Ciphers.
    pub ciphers: Option<config::Algorithms<config::Ciphers>>,
    /// MACs.
    pub macs: Option<config::Algorithms<config::Macs>>,
    /// Compression.
    pub compression: bool,
}

impl fmt::Display for Host {
    /// `user@host[:port]`, the port if it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_entry(f, Some(&self.user), &self.name, self.unusual_port())
    }
}

impl Host {
    /// The port, if it is not the usual one.
    pub fn unusual_port(&self) -> Option<u16> {
        (self.port != DEFAULT_PORT).then_some(self.port)
    }
}

/// A keyword of `ssh -G`, its value, and where that comes from.
pub type Explained = (&'static str, String, config::Origin);

/// Completes hosts. Files are read once for all hosts that share them.
pub struct Directory {
    settings: Arc<Settings>,
    config: Config,
    options: Vec<CommandLineOption>,
    password: Option<Arc<Secret>>,
    terminal: Arc<Terminal>,
    /// For hosts with BatchMode.
    mute: Arc<Terminal>,
    cancel: Cancel,
    known_hosts: Mutex<HashMap<KnownHostsFiles, Arc<KnownHosts>>>,
    identities: Mutex<HashMap<IdentitySources, Arc<Identities>>>,
    keyring: Keyring,
    revoked: revoked_keys::Files,
    hops: Mutex<HashMap<Hop, Arc<Host>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct KnownHostsFiles {
    user: Vec<PathBuf>,
    global: Vec<PathBuf>,
    hash_names: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct IdentitySources {
    agent: Option<PathBuf>,
    /// Those of ssh_config; `None` stands for the default ones.
    configured: Option<Vec<PathBuf>>,
    certificates: Vec<PathBuf>,
    only: bool,
    /// PubkeyAcceptedAlgorithms as it is written.
    algorithms: Option<String>,
    /// Why no passphrase is asked for, if none is.
    silent: Option<String>,
    is_hop: bool,
}

impl Directory {
    /// A directory of hosts; `password` is what all of them may be told.
    ///
    /// # Errors
    /// ssh_config or an option for it is wrong.
    pub fn new(
        settings: Arc<Settings>,
        password: Option<Arc<Secret>>,
        terminal: Arc<Terminal>,
        cancel: &Cancel,
    ) -> Result<Directory, Unprepared> {
        let config = Config::load(&config_sources(&settings))?;
        let named: Vec<_> = settings.ssh_options.iter().map(|text| (text.clone(), format!("-O {text}"))).collect();
        let options = config.options(&named)?;
        Ok(Directory {
            settings,
            config,
            options,
            password,
            terminal,
            mute: Arc::new(Terminal::mute()?),
            cancel: cancel.clone(),
            known_hosts: Mutex::default(),
            identities: Mutex::default(),
            keyring: Keyring::default(),
            revoked: revoked_keys::Files::default(),
            hops: Mutex::default(),
        })
    }

    /// The host of an entry of the list.
    ///
    /// # Errors
    /// ssh_config is wrong about it, or a private key that the user named cannot be used.
    pub fn host(&self, spec: &HostSpec) -> Result<Host, Unprepared> {
        let resolved = self.resolve(spec)?;
        let proxy = match &self.settings.proxy {
            Some(via) => via.0.clone(),
            None => configured_proxy(&resolved),
        };
        let proxy = match proxy {
            Some(Proxy::Jump(hops)) => Some(Proxy::Jump(self.whole_chain(&hops)?)),
            other => other,
        };
        self.complete(&resolved, proxy, false)
    }

    /// What ssh_config and its options say about a host of the list.
    fn resolve(&self, spec: &HostSpec) -> Result<Resolved, ConfigError> {
        let user = spec.user.clone().or_else(|| self.settings.user.clone());
        self.config.resolve(&Query { host: &spec.name, user, port: spec.port, options: &self.options })
    }

    /// What ssh_config says about a jump host: as with ssh, without the options of the command line.
    fn resolve_hop(&self, hop: &Hop) -> Result<Resolved, ConfigError> {
        self.config.resolve(&Query { host: &hop.name, user: hop.user.clone(), port: hop.port, options: &[] })
    }

    /// A chain of jump hosts with those before it through which ssh_config reaches its first one. The ProxyJump of the others
    /// does not count, as for ssh.
    fn whole_chain(&self, hops: &[Hop]) -> Result<Arc<[Hop]>, Unprepared> {
        let mut chain = hops.to_vec();
        for _ in 0..LONGEST_CHAIN {
            let Some(first) = chain.first() else { break };
            let resolved = self.resolve_hop(first)?;
            let origin = &resolved.proxy.origin;
            match configured_proxy(&resolved) {
                None => break,
                Some(Proxy::Jump(before)) => chain = [&*before, &*chain].concat(),
                Some(Proxy::Command(_)) => {
                    let problem = format!("{origin}: the jump host {first} has a ProxyCommand; that is not supported");
                    return Err(Unprepared::Setting(problem));
                }
            }
            if chain.len() > LONGEST_CHAIN {
                let problem = format!("{origin}: more than {LONGEST_CHAIN} jump hosts in a row");
                return Err(Unprepared::Setting(problem));
            }
        }
        Ok(chain.into())
    }

    /// A jump host, which like ssh's has a configuration of its own.
    ///
    /// # Errors
    /// As of [`Directory::host`].
    pub fn hop(&self, hop: &Hop) -> Result<Arc<Host>, Unprepared> {
        if let Some(host) = lock(&self.hops).get(hop) {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(self.complete(&self.resolve_hop(hop)?, None, true)?);
        lock(&self.hops).insert(hop.clone(), Arc::clone(&host));
        Ok(host)
    }

    /// Every effective setting of a host in the keywords of `ssh -G`, each with its origin (`--explain`).
    ///
    /// # Errors
    /// ssh_config is wrong about it.
    pub fn explain(&self, spec: &HostSpec) -> Result<Vec<Explained>, Unprepared> {
        let mut lines = self.resolve(spec)?.explain();
        let settings = &self.settings;
        // Where nobody says anything, our defaults are not all ssh's.
        let own = [
            ("connecttimeout", CONNECT_TIMEOUT.as_secs().to_string()),
            ("connectionattempts", settings.retry.attempts.to_string()),
            ("serveraliveinterval", KEEPALIVE.interval.as_secs().to_string()),
            ("stricthostkeychecking", "true".to_owned()),
        ];
        for (keyword, value) in own {
            let line = lines.iter_mut().find(|line| line.0 == keyword && line.2 == config::Origin::Default);
            line.into_iter().for_each(|line| line.1.clone_from(&value));
        }
        let mut say = |keywords: &[&'static str], values: Vec<String>, option: &str| {
            // An identity that is named comes before the configured ones, and instead of the default ones.
            let is_default = |origin: &config::Origin| *origin == config::Origin::Default;
            let adds = keywords == ["identityfile"];
            lines.retain(|(keyword, _, origin)| !keywords.contains(keyword) || adds && !is_default(origin));
            for value in values.into_iter().rev() {
                lines.insert(1, (keywords[0], value, config::Origin::Option(option.into())));
            }
        };
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        if let Some(timeout) = settings.connect_timeout {
            say(&["connecttimeout"], vec![timeout.as_secs_f64().to_string()], "--connect-timeout");
        }
        if let Some(check) = settings.host_key_check {
            let word = match check {
                HostKeyCheck::Strict => "true",
                HostKeyCheck::AcceptNew => "accept-new",
                HostKeyCheck::Off => "false",
            };
            say(&["stricthostkeychecking"], vec![word.to_owned()], "--host-key-check");
        }
        if !settings.known_hosts.is_empty() {
            let files = vec![paths(&settings.known_hosts).join(" ")];
            say(&["userknownhostsfile", "globalknownhostsfile"], files, "--known-hosts");
        }
        if !settings.identities.is_empty() {
            say(&["identityfile"], paths(&settings.identities), "--identity");
        }
        match &settings.agent {
            AgentChoice::Nobody => say(&["identityagent"], vec!["none".to_owned()], "--no-agent"),
            AgentChoice::Named(socket) => say(&["identityagent"], vec![socket.display().to_string()], "--agent"),
            AgentChoice::Usual(_) => {}
        }
        if let Some(via) = &settings.proxy {
            let keywords = match &via.0 {
                Some(Proxy::Command(_)) => ["proxycommand", "proxyjump"],
                _ => ["proxyjump", "proxycommand"],
            };
            let value = via.0.as_ref().map_or_else(|| "none".to_owned(), Proxy::to_string);
            say(&keywords, vec![value], "--jump or --proxy-command");
        }
        Ok(lines)
    }

    /// What of the inputs could not be used, a line each, for `-v`.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.config.notes().iter().map(ToString::to_string).collect();
        for identities in lock(&self.identities).values() {
            notes.extend(identities.unusable().iter().cloned());
        }
        for known_hosts in lock(&self.known_hosts).values() {
            notes.extend(known_hosts.notes().iter().map(ToString::to_string));
        }
        notes.sort();
        notes.dedup();
        notes
    }

    fn complete(&self, resolved: &Resolved, proxy: Option<Proxy>, is_hop: bool) -> Result<Host, Unprepared> {
        let set = &resolved.settings;
        let revoked_host_keys = match &set.revoked_host_keys {
            config::Setting { value: Some(file), origin } => {
                let refused = |error| Unprepared::Setting(format!("{origin}: RevokedHostKeys {file}: {error}"));
                Some(self.revoked.load(&PathBuf::from(file)).map_err(refused)?)
            }
            config::Setting { value: None, .. } => None,
        };
        let key_name = match &set.host_key_alias.value {
            Some(alias) => (alias.clone(), DEFAULT_PORT),
            None => (set.host_name.value.clone(), set.port.value),
        };
        let credentials = Arc::new(Credentials {
            known_hosts: self.known_hosts_of(resolved),
            host_key_check: self.settings.host_key_check.unwrap_or(match set.strict_host_key_checking.value {
                StrictHostKeyChecking::AcceptNew => HostKeyCheck::AcceptNew,
                StrictHostKeyChecking::No => HostKeyCheck::Off,
                // There is nobody to ask while many hosts connect at once.
                StrictHostKeyChecking::Yes | StrictHostKeyChecking::Ask => HostKeyCheck::Strict,
            }),
            revoked_host_keys,
            identities: self.identities_of(resolved, is_hop)?,
            password: self.password.clone(),
            terminal: Arc::clone(if set.batch_mode.value { &self.mute } else { &self.terminal }),
        });
        let keepalive = Keepalive {
            interval: match configured(&set.server_alive_interval) {
                Some(interval) if !interval.is_zero() => (*interval).max(SHORTEST_KEEPALIVE),
                Some(never) => *never,
                None => KEEPALIVE.interval,
            },
            count: configured(&set.server_alive_count_max).copied().unwrap_or(KEEPALIVE.count),
        };
        let configured_timeout = set.connect_timeout.value.0.filter(|timeout| !timeout.is_zero());
        Ok(Host {
            name: set.host_name.value.clone(),
            port: set.port.value,
            user: set.user.value.clone(),
            key_name,
            methods: methods(resolved),
            credentials,
            connect_timeout: self.settings.connect_timeout.or(configured_timeout).unwrap_or(CONNECT_TIMEOUT),
            keepalive,
            rsa_bits: set.required_rsa_size.value,
            family: set.address_family.value,
            bind: bind_address(resolved)?,
            tcp_keepalive: set.tcp_keep_alive.value,
            attempts: configured(&set.connection_attempts).copied().filter(|_| !self.settings.attempts_given),
            algorithms: Algorithms {
                host_key: set.host_key_algorithms.value.clone(),
                authorities: host_certificate::algorithms(set.ca_signature_algorithms.value.as_ref()),
                key_exchange: set.kex_algorithms.value.clone(),
                ciphers: set.ciphers.value.clone(),
                macs: set.macs.value.clone(),
                compression: set.compression.value == config::Compression::Yes,
            },
            proxy,
        })
    }

    fn known_hosts_of(&self, resolved: &Resolved) -> Arc<KnownHosts> {
        let set = &resolved.settings;
        let paths = |files: &config::FileList| files.0.iter().map(PathBuf::from).collect();
        let files = if self.settings.known_hosts.is_empty() {
            KnownHostsFiles {
                user: paths(&set.user_known_hosts_file.value),
                global: paths(&set.global_known_hosts_file.value),
                hash_names: set.hash_known_hosts.value,
            }
        } else {
            let user = self.settings.known_hosts.clone();
            KnownHostsFiles { user, global: Vec::new(), hash_names: set.hash_known_hosts.value }
        };
        let mut known = lock(&self.known_hosts);
        let load = || Arc::new(KnownHosts::load(&files.user, &files.global).hash_names(files.hash_names));
        Arc::clone(known.entry(files.clone()).or_insert_with(load))
    }

    fn identities_of(&self, resolved: &Resolved, is_hop: bool) -> Result<Arc<Identities>, Unprepared> {
        let settings = &self.settings;
        let files = &resolved.identity_files;
        let is_default = files.iter().all(|file| file.origin == config::Origin::Default);
        let paths = |files: &[config::Setting<config::IdentityFile>]| -> Vec<PathBuf> {
            files.iter().filter_map(|file| file.value.path.clone()).collect()
        };
        let configured = (!is_default).then(|| paths(files));
        let agent = match (&settings.agent, &resolved.agent) {
            (AgentChoice::Named(socket), _) => Some(socket.clone()),
            (AgentChoice::Nobody, _) | (_, config::Agent::None) => None,
            (AgentChoice::Usual(socket), config::Agent::Environment) => socket.clone(),
            (AgentChoice::Usual(_), config::Agent::Socket(socket)) => Some(socket.clone()),
        };
        let only = resolved.settings.identities_only.value;
        let is_hop = is_hop && settings.proxy_identity.is_some();
        let config::Setting { value: list, origin } = &resolved.settings.pubkey_accepted_algorithms;
        let algorithms = PubkeyAlgorithms::of(list.as_ref())
            .map_err(|error| Unprepared::Setting(format!("{origin}: PubkeyAcceptedAlgorithms: {error}")))?;
        let batch = &resolved.settings.batch_mode;
        let silent = if settings.explain {
            Some("nothing is asked to explain it".to_owned())
        } else if batch.value {
            Some(format!("BatchMode lets nothing be asked ({})", batch.origin))
        } else {
            let is_useless = !methods(resolved).contains(&Method::PublicKey);
            is_useless.then(|| "no key is to be tried".to_owned())
        };
        let key = IdentitySources {
            agent,
            configured,
            certificates: paths(&resolved.certificate_files),
            only,
            algorithms: list.as_ref().map(|list| list.spec().to_owned()),
            silent,
            is_hop,
        };
        if let Some(identities) = lock(&self.identities).get(&key) {
            return Ok(Arc::clone(identities));
        }
        let named: Vec<PathBuf> = match &settings.proxy_identity {
            Some(file) if is_hop => [std::slice::from_ref(file), &settings.identities].concat(),
            _ => settings.identities.clone(),
        };
        let sources = Sources {
            agent: key.agent.as_deref(),
            files: &named,
            configured: key.configured.as_deref().unwrap_or_default(),
            default_dir: settings
                .default_identities
                .as_deref()
                .filter(|_| settings.identities.is_empty() && key.configured.is_none()),
            certificates: &key.certificates,
            only,
            algorithms: Arc::new(algorithms),
            keyring: &self.keyring,
            password: self.password.as_deref(),
            ask: key.silent.as_deref().map_or(Ok(&*self.terminal), Err),
            cancel: &self.cancel,
        };
        let identities = Arc::new(Identities::gather(&sources)?);
        lock(&self.identities).insert(key, Arc::clone(&identities));
        Ok(identities)
    }
}

/// A value that somebody has given.
fn configured<T>(setting: &config::Setting<T>) -> Option<&T> {
    (setting.origin != config::Origin::Default).then_some(&setting.value)
}

/// The address to connect from.
fn bind_address(resolved: &Resolved) -> Result<Option<IpAddr>, Unprepared> {
    let config::Setting { value, origin } = &resolved.settings.bind_address;
    let Some(text) = value else { return Ok(None) };
    let refused = || Unprepared::Setting(format!("{origin}: BindAddress {text}: an IP address is needed"));
    text.parse().map(Some).map_err(|_| refused())
}

/// The methods that the configuration leaves, in its order.
fn methods(resolved: &Resolved) -> Vec<Method> {
    let set = &resolved.settings;
    let allowed = |method: &Method| match method {
        Method::PublicKey => set.pubkey_authentication.value != PubkeyAuthentication::No,
        Method::KeyboardInteractive => set.kbd_interactive_authentication.value,
        Method::Password => set.password_authentication.value,
    };
    let preferred = match &set.preferred_authentications.value {
        None => Method::PREFERRED.to_vec(),
        Some(names) => names
            .split(',')
            .filter_map(|name| Method::PREFERRED.into_iter().find(|method| method.name() == name.trim()))
            .collect(),
    };
    preferred.into_iter().filter(allowed).collect()
}

/// The proxy that ssh_config has for a host.
fn configured_proxy(resolved: &Resolved) -> Option<Proxy> {
    let hop = |hop: &config::Hop| Hop { user: hop.user.clone(), name: hop.host.clone(), port: hop.port };
    match &resolved.proxy.value {
        config::Proxy::Direct => None,
        config::Proxy::Command(command) => Some(Proxy::literal_command(command)),
        config::Proxy::Jump(hops) => Some(Proxy::Jump(hops.iter().map(hop).collect())),
    }
}

/// Where ssh_config comes from, and what it needs to know of this machine.
fn config_sources(settings: &Settings) -> config::Sources {
    let home_of = |name: &str| {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(user.dir.to_string_lossy().into_owned())
    };
    let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    config::Sources {
        files: settings.config_files.clone(),
        local: config::Local {
            user: settings.login.clone(),
            uid: rustix::process::getuid().as_raw(),
            home: settings.home.as_deref().map(|home| home.to_string_lossy().into_owned()).unwrap_or_default(),
            host_name: host_name.unwrap_or_default(),
            variable: Arc::new(|name| std::env::var(name).ok()),
            home_of: Arc::new(home_of),
        },
        ssh: PathBuf::from("ssh"),
    }
}
