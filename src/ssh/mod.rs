//! SSH for one job: from a host to an authenticated session to the outcome of a command.

mod agent;
mod auth;
#[cfg(test)]
#[path = "../../tests/embedded/mod.rs"]
mod embedded;
mod exec;
mod ffi;
mod identities;
mod jump;
mod keyboard;
mod keys;
pub mod known_hosts;
mod proxy_command;
mod pump;
mod session;
mod tcp;
mod tunnel;
mod wait;
mod wire;

pub use ffi::is_ignored;
pub use identities::IdentityError;
pub use wait::Patience;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use self::exec::{Command, Keepalive};
use self::identities::{Identities, Sources};
use self::known_hosts::KnownHosts;
use self::proxy_command::ProxyCommand;
use self::session::{Credentials, Session};
use self::tunnel::{Plan, Proxies, Through, Way};
use self::wait::Watch;
use crate::cancel::Cancel;
use crate::error::{HostError, reason};
use crate::event::{Event, EventKind, Outcome};
use crate::jobs::Job;
use crate::pool::Attempt;
use crate::proxy::Proxy;
use crate::queue::{Route, Task};
use crate::secret::SecretError;
use crate::settings::{Method, Settings};
use crate::terminal::Terminal;

/// The port of SSH (RFC 4253 section 4.1).
const DEFAULT_PORT: u16 = 22;

/// A host that has vanished in mid-command is found out within two minutes. ssh(1) asks for no sign of life by default, and
/// waits as long as TCP does: for ever, if nothing is to be sent.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(30), count: 3 };

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// The name under which its host key is known.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The login name.
    pub user: String,
    /// The methods of authentication that are tried, in this order.
    pub methods: Vec<Method>,
}

impl Host {
    /// The host of `job`: its entry, completed by the settings of the run.
    fn of(job: &Job, settings: &Settings) -> Host {
        Host {
            name: job.spec.name.clone(),
            port: job.spec.port.unwrap_or(DEFAULT_PORT),
            user: job.spec.user.clone().unwrap_or_else(|| settings.user.clone()),
            methods: settings.methods.clone(),
        }
    }
}

impl fmt::Display for Host {
    /// `user@host[:port]`, the port if it is not the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { name, port, user, .. } = self;
        match *port {
            DEFAULT_PORT => write!(f, "{user}@{name}"),
            port if name.contains(':') => write!(f, "{user}@[{name}]:{port}"),
            port => write!(f, "{user}@{name}:{port}"),
        }
    }
}

/// Why nothing can be connected to.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// The password cannot be had.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// A private key that the user named cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The system is out of something.
    #[error("cannot make a pipe: {}", reason(.0))]
    System(#[from] std::io::Error),
}

/// Runs jobs, and holds what they share: known host keys and identities, read once.
pub struct Runner {
    settings: Settings,
    credentials: Arc<Credentials>,
    proxies: Proxies,
}

/// What a session's connection goes through, and lives no longer than: dropped after the session.
enum Path {
    Direct,
    Through(Through),
    Command(ProxyCommand),
}

impl Path {
    /// A failure in the light of what became of the path.
    fn explain(&mut self, outcome: Outcome) -> Outcome {
        match self {
            Path::Direct => outcome,
            Path::Through(through) => through.explain(outcome),
            Path::Command(command) => command.explain(outcome),
        }
    }
}

impl Runner {
    /// Gets the password and reads known_hosts and the identities: whatever a user has to be asked for all hosts is asked
    /// here.
    ///
    /// # Errors
    /// There is no password where one is wanted, or a private key that the user named cannot be used.
    pub fn new(settings: Settings, cancel: &Cancel) -> Result<Runner, Unprepared> {
        let terminal = Arc::new(Terminal::new()?);
        let password = settings.password.as_ref().map(|source| source.read(&terminal, cancel)).transpose()?;
        let password = password.map(Arc::new);
        let gather = |files: &[PathBuf]| {
            let sources = Sources {
                agent: settings.agent.as_deref(),
                files,
                default_dir: settings.default_identities.as_deref(),
                password: password.as_deref(),
                terminal: &terminal,
            };
            Identities::gather(&sources, cancel)
        };
        let identities = Arc::new(gather(&settings.identities)?);
        let proxy_identities = match &settings.proxy_identity {
            None => Arc::clone(&identities),
            Some(file) => Arc::new(gather(std::slice::from_ref(file))?.followed_by(&identities)),
        };
        let known_hosts = Arc::new(KnownHosts::load(&settings.known_hosts, &settings.global_known_hosts));
        let with = |identities| {
            Arc::new(Credentials {
                known_hosts: Arc::clone(&known_hosts),
                host_key_check: settings.host_key_check,
                identities,
                password: password.clone(),
                terminal: Arc::clone(&terminal),
            })
        };
        let (credentials, proxy_credentials) = (with(identities), with(proxy_identities));
        let proxies = Proxies::new(Plan {
            credentials: proxy_credentials,
            user: settings.proxy_user.clone(),
            methods: settings.methods.clone(),
            connect_timeout: settings.connect_timeout,
            connections: settings.proxy_connections,
            keepalive: KEEPALIVE,
            window: settings.window(),
            cancel: cancel.clone(),
        });
        Ok(Runner { settings, credentials, proxies })
    }

    /// Ends what jobs have shared, once all have ended.
    pub fn close(&self) {
        self.proxies.close();
    }

    /// What of the inputs could not be used, a line each, for `-v`.
    pub fn notes(&self) -> Vec<String> {
        let identities = self.credentials.identities.unusable().iter().cloned();
        identities.chain(self.credentials.known_hosts.notes().iter().map(ToString::to_string)).collect()
    }

    /// Makes one attempt at a job.
    pub fn run(&self, job: &Job, task: &Task, events: &Sender<Event>, cancel: &Cancel) -> Attempt {
        let send = |kind| {
            let _ = events.send(Event::now(job.number, kind));
        };
        let mut note = |text: &dyn Fn() -> String| {
            if self.settings.verbose {
                send(EventKind::Note(text()));
            }
        };
        let host = Host::of(job, &self.settings);
        let mut watch = Watch::new(cancel, self.settings.connect_timeout);
        let (mut path, connected) = self.connect(job, task, &host, events, &mut watch, &mut note);
        let mut session = match connected {
            Ok(session) => session,
            Err(outcome) => return Attempt::NotSent(path.explain(outcome)),
        };
        send(EventKind::Connected);
        let command = Command {
            job: job.number,
            bytes: &job.command,
            timeout: self.settings.command_timeout,
            silence: self.settings.silence_timeout,
            keepalive: KEEPALIVE,
            window: self.settings.window(),
        };
        let outcome = exec::run(&mut session, &command, events, &mut watch);
        drop(session);
        Attempt::Ended(path.explain(outcome))
    }

    /// An authenticated session with `host`, by whatever path, and that path, also where there is no session.
    fn connect(
        &self,
        job: &Job,
        task: &Task,
        host: &Host,
        events: &Sender<Event>,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> (Path, Result<Session, Outcome>) {
        match (&job.proxy, &task.route) {
            (Some(Proxy::Jump(hops)), _) => {
                let Some(jump_host) = self.proxies.reach(hops) else {
                    return (Path::Direct, Err(HostError::Connect { tried: Vec::new() }.into()));
                };
                let way = jump_host.connect(host, task.attempt, watch);
                jump_host.take_notes().iter().for_each(|text| note(&|| text.clone()));
                match way {
                    Ok(Way { socket, through }) => {
                        note(&|| format!("connected through {jump_host}"));
                        let made = Session::over(Arc::new(socket), host, &self.credentials, watch, note);
                        (Path::Through(through), made)
                    }
                    Err(outcome) => (Path::Direct, Err(outcome)),
                }
            }
            (Some(Proxy::Command(template)), _) => {
                let text = template.fill(&host.name, host.port, &host.user);
                let news = self.settings.verbose.then(|| (job.number, events.clone()));
                match ProxyCommand::start(&text, news) {
                    Ok((command, socket)) => {
                        note(&|| format!("connected by {text}"));
                        let made = Session::over(Arc::new(socket), host, &self.credentials, watch, note);
                        (Path::Command(command), made)
                    }
                    Err(outcome) => (Path::Direct, Err(outcome)),
                }
            }
            (None, Route::Direct(addresses)) => {
                (Path::Direct, Session::connect(host, addresses, &self.credentials, watch, note))
            }
            (None, Route::Proxied | Route::Unresolved) => {
                (Path::Direct, Err(HostError::Connect { tried: Vec::new() }.into()))
            }
        }
    }
}
