//! SSH for one job: from a host to an authenticated session to the outcome of a command.

mod agent;
mod auth;
mod exec;
mod ffi;
mod identities;
mod keyboard;
mod keys;
pub mod known_hosts;
mod session;
mod tcp;
mod wait;
mod wire;

pub use ffi::is_ignored;
pub use identities::IdentityError;
pub use wait::Patience;

use std::fmt;
use std::time::Duration;

use crossbeam_channel::Sender;

use self::exec::{Command, Keepalive};
use self::identities::{Identities, Sources};
use self::known_hosts::KnownHosts;
use self::session::{Credentials, Session};
use self::wait::Watch;
use crate::cancel::Cancel;
use crate::error::reason;
use crate::event::{Event, EventKind};
use crate::jobs::Job;
use crate::pool::Attempt;
use crate::queue::Task;
use crate::secret::SecretError;
use crate::settings::{Method, Settings};
use crate::terminal::Terminal;

/// The port of SSH (RFC 4253 section 4.1).
const DEFAULT_PORT: u16 = 22;

/// A host that has vanished in mid-command is found out within two minutes. ssh(1) asks for no sign of life by default, and
/// waits as long as TCP does: for ever, if nothing is to be sent.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(30), count: 3 };

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    credentials: Credentials,
}

impl Runner {
    /// Gets the password and reads known_hosts and the identities: whatever a user has to be asked for all hosts is asked
    /// here.
    ///
    /// # Errors
    /// There is no password where one is wanted, or a private key that the user named cannot be used.
    pub fn new(settings: Settings, cancel: &Cancel) -> Result<Runner, Unprepared> {
        let terminal = Terminal::new()?;
        let password = settings.password.as_ref().map(|source| source.read(&terminal, cancel)).transpose()?;
        let sources = Sources {
            agent: settings.agent.as_deref(),
            files: &settings.identities,
            default_dir: settings.default_identities.as_deref(),
            password: password.as_ref(),
            terminal: &terminal,
        };
        let credentials = Credentials {
            identities: Identities::gather(&sources, cancel)?,
            known_hosts: KnownHosts::load(&settings.known_hosts, &settings.global_known_hosts),
            host_key_check: settings.host_key_check,
            password,
            terminal,
        };
        Ok(Runner { settings, credentials })
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
        let connected = Session::connect(&host, &task.addresses, &self.credentials, &mut watch, &mut note);
        let mut session = match connected {
            Ok(session) => session,
            Err(outcome) => return Attempt::NotSent(outcome),
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
        Attempt::Ended(exec::run(&mut session, &command, events, &mut watch))
    }
}
