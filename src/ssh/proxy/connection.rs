//! One connection to a jump host, as its users see it, and the tunnels through it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::events::event::Outcome;
use crate::events::host_error::{HostError, ProxyError};
use crate::ssh::watch::Carrier;
use crate::system::cancel::Cancel;
use crate::system::lock::lock;

/// Settings that all connections to jump hosts share.
pub struct Plan {
    /// Most connections to one jump host.
    pub connections: usize,
    /// Receive window of each channel in bytes.
    pub window: u32,
    /// Ends logins.
    pub cancel: Cancel,
}

/// One connection to a jump host.
pub struct Connection {
    dead: AtomicBool,
    /// Why it must not be used any more, if it was not only lost: the outcome that a login would have had.
    cause: OnceLock<ProxyError>,
    /// The connection that it goes through.
    before: Option<Through>,
    /// The jump host's disconnect message.
    goodbye: OnceLock<String>,
    /// A byte makes its thread check the queue.
    wake: UnixStream,
    /// Whether a session wants to know until when all received data is passed on.
    asked: AtomicBool,
    /// The last answer to that.
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
    /// Creates one that is logged in, over the one `before`, if there is one. A byte on `wake` makes its thread check
    /// the queue.
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

    /// Whether a session asked until when all received data is passed on, since the last answer.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Notes that all data received until then is passed on.
    pub fn has_handed_on(&self, until: Instant) {
        self.asked.store(false, Ordering::SeqCst);
        *lock(&self.handed_on) = until;
    }

    /// Returns the connection that it goes through.
    pub fn before(&self) -> Option<&dyn Carrier> {
        self.before.as_ref().map(|before| &*before.connection as &dyn Carrier)
    }

    /// Notes that it has ended, with the jump host's message. Comes before the sessions behind it can notice.
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
        // It ends only once.
        let _ = self.cause.set(ProxyError::login(outcome));
    }

    /// Returns why it must not be used any more, if it was not only lost: because of itself, or of a hop before it.
    pub fn cause(&self) -> Option<ProxyError> {
        let before = || {
            let Through { connection, hop } = self.before.as_ref()?;
            let error = HostError::Proxy { hop: hop.clone(), cause: connection.cause()? };
            Some(ProxyError::login(error))
        };
        self.cause.get().cloned().or_else(before)
    }

    /// Returns the jump host's disconnect message, if any.
    pub fn goodbye(&self) -> Option<String> {
        self.goodbye.get().cloned()
    }

    /// Makes its thread check the queue.
    pub fn wake(&self) {
        // If it is full, there is enough to wake it.
        let _ = (&self.wake).write(&[0]);
    }
}

/// A tunnel through a jump host: a socket to the host behind it.
pub struct Way {
    /// Our end; it is non-blocking.
    pub socket: OwnedFd,
    /// The connection that it uses.
    pub through: Through,
}

/// The connection of a tunnel.
pub struct Through {
    /// The connection, which may end meanwhile.
    pub connection: Arc<Connection>,
    /// The jump host's name for messages.
    pub hop: String,
}

impl Through {
    /// Adjusts the outcome of a session over this tunnel to the state of the tunnel: a host whose jump host is gone did
    /// not fail by itself.
    pub fn explain(&self, outcome: Outcome) -> Outcome {
        if !self.connection.is_dead() {
            return outcome;
        }
        let (hop, goodbye) = (self.hop.clone(), self.connection.goodbye());
        // An end without a message of the host does not answer a key.
        let is_cut = |error: &HostError| match error {
            HostError::Dropped { .. } => true,
            HostError::Auth(error) => error.is_cut,
            _ => false,
        };
        match outcome {
            Outcome::Failed(error) => match (*error, self.connection.cause()) {
                // The last data went through a host whose key was not the checked one.
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

/// Returns the error of a host behind `hop`, which is unusable for this `cause`: the hop before it, if that failed.
pub fn failed_hop(hop: String, cause: ProxyError) -> HostError {
    if let ProxyError::Login(outcome) = &cause
        && let Outcome::Failed(error) = &**outcome
        && let HostError::Proxy { hop, cause } = &**error
    {
        return HostError::Proxy { hop: hop.clone(), cause: cause.clone() };
    }
    HostError::Proxy { hop, cause }
}

/// Creates two connected non-blocking sockets.
pub fn pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one, other))
}
