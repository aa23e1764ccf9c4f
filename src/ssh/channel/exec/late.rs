//! Decides when a due event takes effect: data that arrived before it is read first.

use std::sync::Arc;
use std::time::Instant;

use crate::ssh::session::Session;
use crate::ssh::watch::{Carrier, arrived_until};
use crate::system::poll::catching_up;

/// Data that arrives in time counts, however late we read it.
pub(super) struct Lateness {
    /// The program that passes on the host's data to us.
    carrier: Option<Arc<dyn Carrier>>,
    /// Bytes that the server may send beyond what we have read.
    window: u32,
    /// Something is due; data received by now is read first.
    late: Option<Late>,
}

struct Late {
    /// When it was noticed.
    since: Instant,
    /// Until when arrived data is in our socket, at the start of this round.
    arrived: Instant,
    /// Whether all data from before it was read.
    is_read: bool,
    /// The number of received bytes after which it was certainly read, by what arrives behind it.
    most: u64,
}

impl Lateness {
    pub(super) fn new(carrier: Option<Arc<dyn Carrier>>, window: u32) -> Lateness {
        Lateness { carrier, window, late: None }
    }

    pub(super) fn carrier(&self) -> Option<&dyn Carrier> {
        self.carrier.as_deref()
    }

    /// Whether `due` has passed and all data that arrived before we noticed it is read. Data that cannot be read for
    /// the moment, or that never ends, delays this only for as long as we were late.
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

    /// Notes that a round found no more data; data that is not accepted for the moment (`hears`) stays unread.
    pub(super) fn note_all_read(&mut self, hears: bool) {
        if let Some(late) = &mut self.late {
            late.is_read = late.arrived >= late.since && hears;
        }
    }

    /// Resets it: nothing is due.
    pub(super) fn forget(&mut self) {
        self.late = None;
    }

    /// Whether something is due that has not taken effect yet.
    pub(super) fn is_pending(&self) -> bool {
        self.late.is_some()
    }
}
