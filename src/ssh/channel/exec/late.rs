//! When something that is due is held to have come: what had arrived by then is read first.

use std::sync::Arc;
use std::time::Instant;

use crate::ssh::session::Session;
use crate::ssh::watch::{Carrier, arrived_until};
use crate::system::poll::catching_up;

/// What arrives in time counts, however late we look.
pub(super) struct Lateness {
    /// What hands on to us what the host sends.
    carrier: Option<Arc<dyn Carrier>>,
    /// Bytes that the server may send beyond what we have read.
    window: u32,
    /// Something is due, and what has come by now is to be read first.
    late: Option<Late>,
}

struct Late {
    /// When it was seen.
    since: Instant,
    /// Until when what has come is in our socket, as of the beginning of this round.
    arrived: Instant,
    /// Whether all that had come by then was read.
    is_read: bool,
    /// Bytes received when it has been read in any case, by whatever comes behind it.
    most: u64,
}

impl Lateness {
    pub(super) fn new(carrier: Option<Arc<dyn Carrier>>, window: u32) -> Lateness {
        Lateness { carrier, window, late: None }
    }

    pub(super) fn carrier(&self) -> Option<&dyn Carrier> {
        self.carrier.as_deref()
    }

    /// Whether `due` has come, and all that had come before that was seen is read. What cannot be read for the moment, or comes
    /// without end, keeps it from having come only for as long as we are late.
    pub(super) fn has_come(&mut self, due: Instant, session: &Session) -> bool {
        let now = Instant::now();
        if now < due {
            self.late = None;
            return false;
        }
        let received = session.received();
        let late = self.late.get_or_insert_with(|| {
            let there = rustix::io::ioctl_fionread(session.socket()).unwrap_or_default();
            let most = received.saturating_add(there).saturating_add(u64::from(self.window));
            Late { since: now, arrived: now, is_read: false, most }
        });
        if late.is_read || received > late.most || now >= late.since + catching_up(due, late.since) {
            self.late = None;
            return true;
        }
        late.arrived = arrived_until(self.carrier.as_deref());
        false
    }

    /// Notes that a round has found nothing more to read; what is not heard for the moment (`hears`) is left unread.
    pub(super) fn note_all_read(&mut self, hears: bool) {
        if let Some(late) = &mut self.late {
            late.is_read = late.arrived >= late.since && hears;
        }
    }

    /// Nothing is due.
    pub(super) fn forget(&mut self) {
        self.late = None;
    }

    /// Whether something is due that is not held to have come yet.
    pub(super) fn is_pending(&self) -> bool {
        self.late.is_some()
    }
}
