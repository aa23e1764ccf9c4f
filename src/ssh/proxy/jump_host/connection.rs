//! One connection to a jump host, as those who depend on it see it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use crate::events::event::Outcome;
use crate::events::host_error::{HostError, ProxyError};
use crate::ssh::proxy::chain::Through;
use crate::ssh::watch::Carrier;
use crate::system::lock::lock;

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
