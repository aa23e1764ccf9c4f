//! One connection to a jump host, as those who depend on it see it, and the ways through it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::events::event::Outcome;
use crate::events::host_error::{HostError, ProxyError};
use crate::hosts::proxy::Hop;
use crate::ssh::destination::Destination;
use crate::ssh::watch::Carrier;
use crate::system::cancel::Cancel;
use crate::system::lock::lock;

/// Gives the host that a hop names, or what is wrong with it.
pub type HostOf = Box<dyn Fn(&Hop) -> Result<Arc<Destination>, String> + Send + Sync>;

/// What all connections to jump hosts need to know.
pub struct Plan {
    /// Knows the jump hosts, or says what is wrong about one.
    pub host_of: HostOf,
    /// How many connections there may be to one jump host.
    pub connections: usize,
    /// Bytes that may be on the way to us on each channel.
    pub window: u32,
    /// Ends logins.
    pub cancel: Cancel,
}

/// One connection to a jump host.
pub struct Connection {
    dead: AtomicBool,
    /// Why it must not be used any more, if it was not only lost: what a login would have ended with.
    cause: OnceLock<ProxyError>,
    /// What it goes through itself.
    before: Option<Through>,
    /// What the jump host has said at its end.
    goodbye: OnceLock<String>,
    /// A byte makes its thread look at the queue.
    wake: UnixStream,
    /// Whether somebody wants to know until when all that has come is handed on.
    asked: AtomicBool,
    /// Until when it was when that was found out last.
    handed_on: Mutex<Instant>,
}

impl Carrier for Connection {
    fn handed_on_until(&self) -> Instant {
        let until = *lock(&self.handed_on);
        self.asked.store(true, Ordering::SeqCst);
        self.wake();
        until
    }
}

impl Connection {
    /// One that is logged in, over the one `before`, if there is one. A byte on `wake` makes its thread look at the queue.
    pub fn new(before: Option<Through>, wake: UnixStream) -> Connection {
        Connection {
            dead: AtomicBool::new(false),
            cause: OnceLock::new(),
            before,
            goodbye: OnceLock::new(),
            wake,
            asked: AtomicBool::new(false),
            handed_on: Mutex::new(Instant::now()),
        }
    }

    /// Whether somebody has asked until when all that has come is handed on, since that was told last.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Notes that all that had come until then is handed on.
    pub fn has_handed_on(&self, until: Instant) {
        self.asked.store(false, Ordering::SeqCst);
        *lock(&self.handed_on) = until;
    }

    /// What it goes through itself.
    pub fn before(&self) -> Option<&dyn Carrier> {
        self.before.as_ref().map(|before| &*before.connection as &dyn Carrier)
    }

    /// Notes that it has ended, with the jump host's words. Comes before the sessions behind it can notice.
    pub fn set_dead(&self, goodbye: Option<String>) {
        if let Some(goodbye) = goodbye {
            let _ = self.goodbye.set(goodbye);
        }
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Whether it has ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Notes why it must not be used any more. Comes before [`Connection::set_dead`].
    pub fn set_cause(&self, outcome: Outcome) {
        // It ends once.
        let _ = self.cause.set(ProxyError::login(outcome));
    }

    /// Why it must not be used any more, if it was not only lost: for its own sake, or for that of a hop before it.
    pub fn cause(&self) -> Option<ProxyError> {
        let before = || {
            let Through { connection, hop } = self.before.as_ref()?;
            let error = HostError::Proxy { hop: hop.clone(), cause: connection.cause()? };
            Some(ProxyError::login(error))
        };
        self.cause.get().cloned().or_else(before)
    }

    /// What the jump host has said at its end, if it has said anything.
    pub fn goodbye(&self) -> Option<String> {
        self.goodbye.get().cloned()
    }

    /// Makes its thread look at the queue.
    pub fn wake(&self) {
        // If it is full, there is enough to wake it.
        let _ = (&self.wake).write(&[0]);
    }
}

/// A way through a jump host: a socket whose other end is the host behind.
pub struct Way {
    /// Our end; it does not block.
    pub socket: OwnedFd,
    /// What it goes through.
    pub through: Through,
}

/// The connection that a way goes through.
pub struct Through {
    /// The connection, which may end meanwhile.
    pub connection: Arc<Connection>,
    /// The jump host's name for messages.
    pub hop: String,
}

impl Through {
    /// What became of a session over this way, seen in the light of what became of the way: a host whose jump host is gone
    /// did not fail by itself.
    pub fn explain(&self, outcome: Outcome) -> Outcome {
        if !self.connection.is_dead() {
            return outcome;
        }
        let (hop, goodbye) = (self.hop.clone(), self.connection.goodbye());
        // An end without a word of the host is none of its answers to a key.
        let is_cut = |error: &HostError| match error {
            HostError::Dropped { .. } => true,
            HostError::Auth(error) => error.is_cut,
            _ => false,
        };
        match outcome {
            Outcome::Failed(error) => match (*error, self.connection.cause()) {
                // What was done last was done through a host that is not the one that was checked.
                (error, Some(cause)) if is_cut(&error) || matches!(error, HostError::Lost { .. }) => {
                    failed_hop(hop, cause).into()
                }
                (error, None) if is_cut(&error) => HostError::Proxy { hop, cause: ProxyError::Ended(goodbye) }.into(),
                (HostError::Lost { detail, .. }, None) => {
                    let words = goodbye.map(|words| format!(": {words}")).unwrap_or_default();
                    let detail = format!("{detail}; the connection to the proxy {hop} ended{words}");
                    HostError::Lost { detail, hint: None }.into()
                }
                (error, _) => error.into(),
            },
            outcome => outcome,
        }
    }
}

/// The error of a host behind `hop`, which could not be used for this `cause`: of the hop before it, if that is what failed.
pub fn failed_hop(hop: String, cause: ProxyError) -> HostError {
    if let ProxyError::Login(outcome) = &cause
        && let Outcome::Failed(error) = &**outcome
        && let HostError::Proxy { hop, cause } = &**error
    {
        return HostError::Proxy { hop: hop.clone(), cause: cause.clone() };
    }
    HostError::Proxy { hop, cause }
}

/// Two connected sockets that do not block.
pub fn pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one, other))
}
