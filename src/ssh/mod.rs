//! SSH for one job: from a host to an authenticated session to the outcome of a command.

mod agent;
mod auth;
#[cfg(test)]
#[path = "../../tests/embedded/mod.rs"]
mod embedded;
mod exec;
mod ffi;
mod jump;
mod keys;
pub mod known_hosts;
mod proxy_command;
mod pump;
mod session;
mod tcp;
mod tunnel;
mod wait;
mod wire;

pub use auth::IdentityError;
pub use ffi::is_ignored;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use self::auth::{Identities, Sources};
use self::exec::Command;
use self::known_hosts::KnownHosts;
use self::proxy_command::ProxyCommand;
use self::session::{Credentials, Session};
use self::tunnel::{Plan, Proxies, Through, Way};
use self::wait::Watch;
use crate::cancel::Cancel;
use crate::error::HostError;
use crate::event::{Event, EventKind, Outcome};
use crate::jobs::Job;
use crate::pool::Attempt;
use crate::proxy::Proxy;
use crate::queue::{Route, Task};
use crate::settings::Settings;

/// The port of SSH (RFC 4253 section 4.1).
const DEFAULT_PORT: u16 = 22;

/// How long a jump host may be silent before it is asked whether it is there. Many hosts depend on it.
const PROXY_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// The name under which its host key is known.
    pub name: String,
    /// The port.
    pub port: u16,
    /// The login name.
    pub user: String,
}

impl Host {
    /// The host of `job`: its entry, completed by the settings of the run.
    fn of(job: &Job, settings: &Settings) -> Host {
        Host {
            name: job.spec.name.clone(),
            port: job.spec.port.unwrap_or(DEFAULT_PORT),
            user: job.spec.user.clone().unwrap_or_else(|| settings.user.clone()),
        }
    }
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
    /// Reads known_hosts and the identities.
    ///
    /// # Errors
    /// A private key that the user named cannot be used.
    pub fn new(settings: Settings, cancel: &Cancel) -> Result<Runner, IdentityError> {
        // With an identity that the user names, the default ones are not tried.
        let default_dir = settings.default_identities.as_deref().filter(|_| settings.identities.is_empty());
        let gather = |files: &[PathBuf]| {
            Identities::gather(&Sources { agent: settings.agent.as_deref(), files, default_dir }, cancel)
        };
        let known_hosts = Arc::new(KnownHosts::load(&settings.known_hosts, &settings.global_known_hosts));
        let with = |identities| {
            let (known_hosts, host_key_check) = (Arc::clone(&known_hosts), settings.host_key_check);
            Arc::new(Credentials { identities, known_hosts, host_key_check })
        };
        let credentials = with(gather(&settings.identities)?);
        let proxy_credentials = match &settings.proxy_identity {
            None => Arc::clone(&credentials),
            Some(file) => with(gather(&[std::slice::from_ref(file), &settings.identities].concat())?),
        };
        let proxies = Proxies::new(Plan {
            credentials: proxy_credentials,
            user: settings.proxy_user.clone(),
            connect_timeout: settings.connect_timeout,
            connections: settings.proxy_connections,
            alive_interval: PROXY_ALIVE_INTERVAL,
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
