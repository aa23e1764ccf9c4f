//! Resolves hosts: the entry in the list, then `--host-config`, the command line, ssh_config(5) and the defaults. What hosts
//! share is read once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::channel_requests::{ChannelRequests, Node};
use super::configured;
use super::error::Unprepared;
use super::known_hosts_files::KnownHostsFiles;
use super::precedence::{self, Agent, Chosen, Precedence, SaidBy};
use super::settings::SshOption;
use super::settings::{Settings, expand};
use crate::hosts::HostSpec;
use crate::hosts::options::HostOptions;
use crate::hosts::proxy::{Hop, Proxy};
use crate::ssh::algorithms::{self, Algorithms};
use crate::ssh::channel::requests::Requests;
use crate::ssh::destination::{DEFAULT_PORT, Destination, Method};
use crate::ssh::host_keys::known_hosts::KnownHosts;
use crate::ssh::host_keys::revocation_list::{self, RevokedKeysError};
use crate::ssh::keys::algorithms::PubkeyAlgorithms;
use crate::ssh::keys::identities::{Identities, Sources};
use crate::ssh::keys::keyring::Keyring;
use crate::ssh::session::Credentials;
use crate::ssh_config::{self, Answer, CommandLineOption, Config, ConfigError, Query, Question, Resolved};
use crate::system::cancel::Cancel;
use crate::system::files::unread::BeforeStart;
use crate::system::lock::lock;
use crate::system::password_source::{Secret, Source};
use crate::system::terminal::Terminal;

/// The most jump hosts in a chain: more are probably a loop in ssh_config.
const LONGEST_CHAIN: usize = 16;
/// How many ssh processes run at once for each processor, if only ssh can read its configuration: some of
/// them wait for their own child processes.
const SSH_PER_PROCESSOR: usize = 4;

/// Resolves hosts. Reads files once for all hosts that share them.
pub struct Destinations {
    pub(crate) settings: Arc<Settings>,
    channel_requests: ChannelRequests,
    config: Config,
    options: Vec<CommandLineOption>,
    password: Option<Arc<Secret>>,
    terminal: Arc<Terminal>,
    /// For hosts with BatchMode.
    mute: Arc<Terminal>,
    pub(crate) cancel: Cancel,
    pub(crate) known_hosts: Mutex<HashMap<KnownHostsFiles, Arc<KnownHosts>>>,
    identities: Mutex<HashMap<IdentitySources, Arc<Identities>>>,
    pub(crate) keyring: Keyring,
    revoked: revocation_list::Files,
    passwords: Mutex<HashMap<PathBuf, Arc<Secret>>>,
    /// Messages about algorithms in hosts' lists that this build lacks.
    lacking: Mutex<BTreeSet<String>>,
    hops: Mutex<HashMap<Hop, Arc<Destination>>>,
    chains: Mutex<HashMap<Arc<[Hop]>, Chain>>,
}

/// A chain of jump hosts, including those through which ssh_config reaches its first one.
#[derive(Clone)]
pub struct Chain {
    /// All of them, the nearest first.
    pub hops: Arc<[Hop]>,
    /// The origins of those that were put before it.
    pub origins: Vec<ssh_config::Origin>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct IdentitySources {
    agent: Option<PathBuf>,
    /// Those that the user named.
    named: Vec<PathBuf>,
    /// Those of ssh_config.
    configured: Vec<PathBuf>,
    /// Whether the default ones are tried too.
    defaults: bool,
    certificates: Vec<PathBuf>,
    only: bool,
    /// PubkeyAcceptedAlgorithms as written.
    algorithms: Option<String>,
    /// Why passphrases are not asked for, if they are not.
    silent: Option<String>,
    /// Whether the host may get a password.
    has_password: bool,
}

impl Destinations {
    /// Creates a directory of hosts; all of them may get `password`.
    ///
    /// # Errors
    /// ssh_config or an option for it is wrong.
    pub fn new(
        settings: Arc<Settings>,
        password: Option<Arc<Secret>>,
        terminal: Arc<Terminal>,
        cancel: &Cancel,
    ) -> Result<Destinations, Unprepared> {
        let config = Config::load(&configured::sources(&settings))?;
        let names = &settings.names;
        let own = [
            (settings.ipv4_only, "AddressFamily=inet", &names.ipv4_only),
            (settings.ipv6_only, "AddressFamily=inet6", &names.ipv6_only),
            (settings.compress, "Compression=yes", &names.compress),
            (settings.forward_agent, "ForwardAgent=yes", &names.forward_agent),
            (settings.pty, "RequestTTY=force", &names.pty),
        ];
        let own = own.into_iter().filter(|(given, ..)| *given);
        let own = own.map(|(_, option, name)| (option.to_owned(), name.to_string()));
        let said = |options: &[SshOption]| -> Vec<(String, String)> {
            options.iter().map(|option| (option.text.clone(), option.name.clone())).collect()
        };
        let named = said(&settings.ssh_options);
        let (flags, others) = (said(&settings.ssh_args.flags), said(&settings.ssh_args.options));
        let named: Vec<_> = own.chain(flags).chain(named).chain(others).collect();
        let options = config.options(&named)?;
        Ok(Destinations {
            channel_requests: ChannelRequests::of_process(&settings),
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
            revoked: revocation_list::Files::default(),
            passwords: Mutex::default(),
            lacking: Mutex::default(),
            hops: Mutex::default(),
            chains: Mutex::default(),
        })
    }

    /// Resolves the hosts of the list, in its order.
    ///
    /// # Errors
    /// ssh_config is wrong about one, or a file that the user named for it cannot be used.
    pub fn hosts(&self, specs: &[HostSpec]) -> Result<Vec<Destination>, Unprepared> {
        self.map(specs, Ok)
    }

    /// The same, but keeps only what `keep` returns of each: a list may have a million hosts.
    ///
    /// # Errors
    /// See [`Destinations::hosts`]; or an error of `keep`.
    pub fn map<T>(
        &self,
        specs: &[HostSpec],
        mut keep: impl FnMut(Destination) -> Result<T, Unprepared>,
    ) -> Result<Vec<T>, Unprepared> {
        let (mut hosts, mut open) = (Vec::with_capacity(specs.len()), Vec::new());
        for (number, spec) in specs.iter().enumerate() {
            match self.with_query(spec, |query| self.config.look_up(query))? {
                Answer::Known(resolved) => hosts.push(keep(self.target(spec, &resolved)?)?),
                Answer::Open(question) => open.push((number, spec, question)),
            }
        }
        if open.is_empty() {
            return Ok(hosts);
        }
        let (mut known, mut hosts) = (hosts.into_iter(), Vec::new());
        for ((number, spec, _), resolved) in open.iter().zip(self.ask_ssh(&open)) {
            // Those that were cancelled are missing.
            let resolved = resolved.unwrap_or_else(|| Err(Unprepared::Setting("cancelled".to_owned())))?;
            hosts.extend(known.by_ref().take(number - hosts.len()));
            hosts.push(keep(self.target(spec, &resolved)?)?);
        }
        hosts.extend(known);
        Ok(hosts)
    }

    /// Asks ssh about hosts, a few at a time: each query is a process.
    fn ask_ssh(&self, open: &[(usize, &HostSpec, Question)]) -> Vec<Option<Result<Resolved, Unprepared>>> {
        let answers: Vec<Mutex<Option<_>>> = open.iter().map(|_| Mutex::default()).collect();
        let ask = |place: usize| {
            let (_, spec, question) = &open[place];
            if !self.cancel.is_triggered() {
                let answer = self.with_query(spec, |query| self.config.ask_ssh(query, question));
                *lock(&answers[place]) = Some(answer);
            }
        };
        // The first one alone, since its results serve the others.
        if !open.is_empty() {
            ask(0);
        }
        let next = AtomicUsize::new(1);
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            for _ in 0..(processors * SSH_PER_PROCESSOR).min(open.len().saturating_sub(1)) {
                scope.spawn(|| {
                    while let Some(place) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|place| *place < open.len())
                    {
                        ask(place);
                    }
                });
            }
        });
        answers.into_iter().map(|answer| answer.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn target(&self, spec: &HostSpec, resolved: &Resolved) -> Result<Destination, Unprepared> {
        let proxy = match self.proxy(spec, resolved) {
            Some(Proxy::Jump(hops)) => Some(Proxy::Jump(self.whole_chain(&hops)?.hops)),
            other => other,
        };
        let node = Node { place: spec.place, name: &spec.name };
        let requests = self.channel_requests.requests(resolved, self.agent_of(resolved, &spec.options), node);
        Ok(Destination { requests, ..self.complete(resolved, proxy, &spec.options, false)? })
    }

    /// Returns the route to a host of the list, without the hosts before its jump hosts.
    pub(crate) fn proxy(&self, spec: &HostSpec, resolved: &Resolved) -> Option<Proxy> {
        Precedence::new(&self.settings, &spec.options, resolved).proxy().value
    }

    /// Returns the ssh_config settings and options of a host of the list.
    pub(crate) fn resolve(&self, spec: &HostSpec) -> Result<Resolved, Unprepared> {
        self.with_query(spec, |query| self.config.resolve(query))
    }

    /// Asks ssh_config for a host of the list.
    fn with_query<T>(
        &self,
        spec: &HostSpec,
        ask: impl FnOnce(&Query<'_>) -> Result<T, ConfigError>,
    ) -> Result<T, Unprepared> {
        let user = precedence::user(spec, &self.settings).map(|user| user.value.clone());
        let port = precedence::port(spec).map(|port| port.value);
        let mut query = Query { host: &spec.name, user, port, options: &self.options };
        let Some(address) = &spec.options.address else { return Ok(ask(&query)?) };
        // The first of two values wins.
        let name = (format!("HostName={}", address.value), format!("{}: address", address.origin));
        let options = [self.config.options(&[name])?, self.options.clone()].concat();
        query.options = &options;
        Ok(ask(&query)?)
    }

    /// Returns the ssh_config settings of a jump host: as with ssh, without the options of the command line.
    fn resolve_hop(&self, hop: &Hop) -> Result<Resolved, ConfigError> {
        self.config.resolve(&Query { host: &hop.name, user: hop.user.clone(), port: hop.port, options: &[] })
    }

    /// Returns a chain of jump hosts, including those through which ssh_config reaches its first one. Ignores the ProxyJump
    /// of the others, as ssh does.
    pub(crate) fn whole_chain(&self, hops: &Arc<[Hop]>) -> Result<Chain, Unprepared> {
        if let Some(chain) = lock(&self.chains).get(hops) {
            return Ok(chain.clone());
        }
        if hops.len() > LONGEST_CHAIN {
            let problem = format!("{} jump hosts, but at most {LONGEST_CHAIN} are allowed", hops.len());
            return Err(Unprepared::Setting(problem));
        }
        let mut chain = Chain { hops: Arc::clone(hops), origins: Vec::new() };
        while let Some(first) = chain.hops.first() {
            let resolved = self.resolve_hop(first)?;
            let Some(Proxy::Jump(before)) = configured::proxy(&resolved) else { break };
            let origin = resolved.proxy.origin;
            chain.hops = [&*before, &*chain.hops].concat().into();
            if chain.hops.len() > LONGEST_CHAIN {
                let problem = format!("{origin}: more than {LONGEST_CHAIN} jump hosts");
                return Err(Unprepared::Setting(problem));
            }
            chain.origins.push(origin);
        }
        lock(&self.chains).insert(Arc::clone(hops), chain.clone());
        Ok(chain)
    }

    /// Returns the ProxyCommand of the first jump host of a chain, and its origin.
    pub(crate) fn own_command(&self, hop: &Hop) -> Result<Option<(String, ssh_config::Origin)>, Unprepared> {
        let proxy = self.resolve_hop(hop)?.proxy;
        Ok(match proxy.value {
            ssh_config::Proxy::Command(command) => Some((command, proxy.origin)),
            _ => None,
        })
    }

    /// Resolves a jump host, which has its own configuration, as with ssh.
    ///
    /// # Errors
    /// See [`Destinations::hosts`].
    pub fn hop(&self, hop: &Hop) -> Result<Arc<Destination>, Unprepared> {
        if let Some(host) = lock(&self.hops).get(hop) {
            return Ok(Arc::clone(host));
        }
        let resolved = self.resolve_hop(hop)?;
        // Its ProxyJump is already in the chain.
        let proxy = configured::proxy(&resolved).filter(|proxy| matches!(proxy, Proxy::Command(_)));
        let is_named = self.settings.proxy_host.as_ref() == Some(hop);
        let host = self.complete(&resolved, proxy, HostOptions::NONE, is_named)?;
        let host = Arc::new(Destination { hop: Some(hop.clone()), ..host });
        lock(&self.hops).insert(hop.clone(), Arc::clone(&host));
        Ok(host)
    }

    /// Returns the inputs that could not be used, a line each, for `-v`.
    pub fn notes(&self) -> Vec<String> {
        let of_options = self.options.iter().filter_map(CommandLineOption::note);
        let mut notes: Vec<String> =
            self.config.notes().iter().cloned().chain(of_options).map(|note| note.to_string()).collect();
        for identities in lock(&self.identities).values() {
            notes.extend(identities.unusable().iter().cloned());
        }
        for known_hosts in lock(&self.known_hosts).values() {
            notes.extend(known_hosts.notes().iter().map(ToString::to_string));
        }
        notes.extend(lock(&self.lacking).iter().cloned());
        notes.sort();
        notes.dedup();
        notes
    }

    /// Resolves a host with `options`, or the jump host that `is_named` with its own options.
    fn complete(
        &self,
        resolved: &Resolved,
        proxy: Option<Proxy>,
        options: &HostOptions,
        is_named: bool,
    ) -> Result<Destination, Unprepared> {
        let (set, settings) = (&resolved.settings, &self.settings);
        lock(&self.lacking).extend(algorithms::notes(set));
        let revoked_host_keys = match &set.revoked_host_keys {
            ssh_config::Setting { value: Some(file), origin } => {
                let refused = |error: RevokedKeysError| Unprepared::File {
                    is_unread: error.is_unread(),
                    text: format!("{origin}: RevokedHostKeys {file}: {error}"),
                };
                Some(self.revoked.load(&PathBuf::from(file)).map_err(refused)?)
            }
            ssh_config::Setting { value: None, .. } => None,
        };
        let key_name = match &set.host_key_alias.value {
            Some(alias) => (alias.clone(), DEFAULT_PORT),
            None => (set.host_name.value.clone(), set.port.value),
        };
        let said = Precedence::new(settings, options, resolved);
        let password = self.password_of(said.password_file(is_named))?;
        let credentials = Arc::new(Credentials {
            known_hosts: self.known_hosts_of(resolved, options)?,
            host_key_check: said.host_key_check().value,
            known_hosts_command: resolved.known_hosts_command.clone(),
            revoked_host_keys,
            identities: self.identities_of(resolved, options, is_named, password.is_some())?,
            password,
            password_prompt: settings.password_prompt.clone(),
            terminal: Arc::clone(if set.batch_mode.value { &self.mute } else { &self.terminal }),
        });
        Ok(Destination {
            name: set.host_name.value.clone(),
            port: set.port.value,
            user: set.user.value.clone(),
            key_name,
            methods: configured::methods(resolved),
            credentials,
            connect_timeout: said.connect_timeout().value,
            keepalive: said.keepalive(),
            rsa_bits: set.required_rsa_size.value,
            trusts_loopback: set.no_host_authentication_for_localhost.value && set.host_key_alias.value.is_none(),
            family: set.address_family.value,
            bind: configured::bind_address(resolved)?,
            saves_memory: settings.saves_memory(),
            attempts: Some(said.attempts().value),
            retry_delay: said.retry_delay().map(|delay| delay.value),
            is_verbose: settings.verbose || set.log_level.value.is_verbose(),
            command_timeout: said.command_timeout().value,
            silence_timeout: said.silence_timeout().value,
            algorithms: Algorithms::of(set).map_err(Unprepared::Setting)?,
            proxy,
            requests: Requests::default(),
            hop: None,
        })
    }

    /// Expands the `~` of a path in an option.
    pub(crate) fn expand(&self, path: &Path) -> PathBuf {
        expand(path, self.settings.home.as_deref())
    }

    /// Expands explicitly named paths. Those for all hosts are expanded already.
    pub(crate) fn expand_all(&self, files: Chosen<'_, &[PathBuf]>) -> Vec<PathBuf> {
        match files.is_own() {
            true => files.value.iter().map(|path| self.expand(path)).collect(),
            false => files.value.to_vec(),
        }
    }

    /// Returns the password for one host: its own, which no other host gets, or that of the run.
    fn password_of(&self, own: Option<Chosen<'_, &PathBuf>>) -> Result<Option<Arc<Secret>>, Unprepared> {
        if !self.settings.logs_in {
            return Ok(None);
        }
        let Some(own) = own else { return Ok(self.password.clone()) };
        let (path, name) = match own.by {
            SaidBy::Entry(origin) => (self.expand(own.value), format!("{origin}: password-file")),
            SaidBy::All(name) => (own.value.clone(), name.to_string()),
            SaidBy::Config | SaidBy::Default => (own.value.clone(), String::new()),
        };
        if let Some(password) = lock(&self.passwords).get(&path) {
            return Ok(Some(Arc::clone(password)));
        }
        let name = format!("{name} {}", path.display());
        let password = Arc::new(Source::File(path.clone()).read_as(name, &self.terminal, &self.cancel)?);
        lock(&self.passwords).insert(path, Arc::clone(&password));
        Ok(Some(password))
    }

    /// Whether the user can answer questions of servers.
    pub(crate) fn can_ask(&self) -> bool {
        self.terminal.is_there()
    }

    /// Returns the agent that holds the keys.
    pub(crate) fn agent_of(&self, resolved: &Resolved, options: &HostOptions) -> Option<PathBuf> {
        let chosen = Precedence::new(&self.settings, options, resolved).agent();
        match (chosen.value, &resolved.agent) {
            (Agent::Named(socket), _) if chosen.is_own() => Some(self.expand(socket)),
            (Agent::Named(socket), _) => Some(socket.to_owned()),
            (Agent::Nobody, _) | (_, ssh_config::Agent::None) => None,
            (Agent::Usual(socket), ssh_config::Agent::Environment) => socket.map(Path::to_owned),
            (Agent::Usual(_), ssh_config::Agent::Socket(socket)) => Some(socket.clone()),
        }
    }

    fn identities_of(
        &self,
        resolved: &Resolved,
        options: &HostOptions,
        is_named: bool,
        has_password: bool,
    ) -> Result<Arc<Identities>, Unprepared> {
        let settings = &self.settings;
        if !settings.logs_in {
            return Ok(Arc::default());
        }
        let agent = self.agent_of(resolved, options);
        let said = Precedence::new(settings, options, resolved);
        let named = said.identities().map(|files| self.expand_all(files)).unwrap_or_default();
        let paths = |files: &[ssh_config::Setting<ssh_config::IdentityFile>]| -> Vec<PathBuf> {
            files.iter().filter_map(|file| file.value.path.clone()).collect()
        };
        let ssh_config::Setting { value: list, origin } = &resolved.settings.pubkey_accepted_algorithms;
        let algorithms = PubkeyAlgorithms::of(list.as_ref())
            .map_err(|error| Unprepared::Setting(format!("{origin}: PubkeyAcceptedAlgorithms: {error}")))?;
        let batch = &resolved.settings.batch_mode;
        let silent = if batch.value {
            Some(format!("BatchMode lets nothing be asked ({})", batch.origin))
        } else {
            let is_useless = !configured::methods(resolved).contains(&Method::PublicKey);
            is_useless.then(|| "public keys are not tried".to_owned())
        };
        let first = settings.proxy_identity.iter().filter(|_| is_named).cloned();
        let key = IdentitySources {
            agent,
            named: first.chain(named).collect(),
            configured: paths(said.configured_identities()),
            defaults: said.tries_default_identities(),
            certificates: paths(&resolved.certificate_files),
            only: resolved.settings.identities_only.value,
            algorithms: list.as_ref().map(|list| list.spec().to_owned()),
            silent,
            has_password,
        };
        if let Some(identities) = lock(&self.identities).get(&key) {
            return Ok(Arc::clone(identities));
        }
        configured::check_key_files(resolved, &self.settings)?;
        let sources = Sources {
            agent: key.agent.as_deref(),
            files: &key.named,
            configured: &key.configured,
            default_dir: settings.default_identities.as_deref().filter(|_| key.defaults),
            certificates: &key.certificates,
            only: key.only,
            algorithms: Arc::new(algorithms),
            keyring: &self.keyring,
            // Not a host's own password: trying it on every key costs the time of a login for each.
            password: self.password.as_deref(),
            has_password: key.has_password,
            ask: key.silent.as_deref().map_or(Ok(&*self.terminal), Err),
            cancel: &self.cancel,
        };
        let identities = Identities::gather(&sources).map_err(|error| match &options.identities {
            Some(given) => {
                let is_unread = error.is_unread();
                Unprepared::File { text: format!("{}: identity {error}", given.origin), is_unread }
            }
            None => error.into(),
        })?;
        let identities = Arc::new(identities);
        lock(&self.identities).insert(key, Arc::clone(&identities));
        Ok(identities)
    }
}
