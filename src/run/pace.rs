//! How many logins are under way at once, and how soon the next host may start (`--connect-par`, `--rate`).

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::plan::rolling::Rolling;

/// Bounds the starts of hosts.
pub(super) struct Pace {
    /// The most logins under way at once.
    most: usize,
    under_way: usize,
    /// The time from one start to the next.
    interval: Duration,
    /// When the next one may be.
    next: Option<Instant>,
    /// Receives a message from each login that is over.
    over: Receiver<()>,
    end: Sender<()>,
}

/// The right to log in to one host. It is given back when it is dropped.
#[derive(Debug)]
pub struct LoginSlot(Sender<()>);

impl Drop for LoginSlot {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Pace {
    pub(super) fn new(rolling: &Rolling) -> Pace {
        let (end, over) = unbounded();
        Pace {
            most: rolling.connect_par.unwrap_or(usize::MAX),
            under_way: 0,
            interval: rolling.rate.map_or(Duration::ZERO, |rate| rate.0),
            next: None,
            over,
            end,
        }
    }

    /// Returns when the next host may start; `None` if a login must end before.
    pub(super) fn opens(&self, now: Instant) -> Option<Instant> {
        (self.under_way < self.most).then(|| self.next.map_or(now, |next| next.max(now)))
    }

    /// A host starts now. Its login is over when the slot is dropped.
    pub(super) fn start(&mut self, now: Instant) -> Option<LoginSlot> {
        self.next = (!self.interval.is_zero()).then(|| now + self.interval);
        if self.most == usize::MAX {
            return None;
        }
        self.under_way += 1;
        Some(LoginSlot(self.end.clone()))
    }

    /// The channel that wakes when a login is over.
    pub(super) fn over(&self) -> &Receiver<()> {
        &self.over
    }

    /// Counts a login that is over.
    pub(super) fn note_end(&mut self) {
        self.under_way -= 1;
    }
}
