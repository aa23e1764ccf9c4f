//! How many logins are under way at once, and how soon the next host may start (`--connect-par`, `--rate`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::plan::rolling::Rolling;
use crate::system::cancel::Cancel;

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
    /// The hosts that wait to log in once more.
    waiting: VecDeque<Grant>,
    asked: Receiver<Grant>,
    ask: Sender<Grant>,
}

/// The right to log in to one host. It is given back when it is dropped.
#[derive(Debug)]
pub struct LoginSlot(Sender<()>);

impl Drop for LoginSlot {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Where the queue sends that right, if logins are limited at all.
pub type Grant = Sender<Option<LoginSlot>>;

/// Where a host that runs already waits until it may log in once more. It comes before hosts that have not started.
#[derive(Clone, Debug)]
pub struct LoginGate(Sender<Grant>);

/// The host may not log in any more.
#[derive(Debug)]
pub struct Closed;

impl LoginGate {
    /// Waits until the host may log in. The slot is given back when it is dropped; without a limit on logins there is none.
    ///
    /// # Errors
    /// The run was stopped, or `deadline` has passed.
    pub fn pass(&self, cancel: &Cancel, deadline: Instant) -> Result<Option<LoginSlot>, Closed> {
        let (grant, granted) = bounded(1);
        self.0.send(grant).map_err(|_| Closed)?;
        crossbeam_channel::select! {
            recv(granted) -> slot => slot.map_err(|_| Closed),
            recv(cancel.channel()) -> _ => Err(Closed),
            default(deadline.saturating_duration_since(Instant::now())) => Err(Closed),
        }
    }
}

impl Pace {
    pub(super) fn new(rolling: &Rolling) -> Pace {
        let ((end, over), (ask, asked)) = (unbounded(), unbounded());
        Pace {
            most: rolling.connect_par.unwrap_or(usize::MAX),
            under_way: 0,
            interval: rolling.rate.map_or(Duration::ZERO, |rate| rate.0),
            next: None,
            over,
            end,
            waiting: VecDeque::new(),
            asked,
            ask,
        }
    }

    /// Returns when the next host may start; `None` if a login must end before.
    pub(super) fn opens(&self, now: Instant) -> Option<Instant> {
        (self.under_way < self.most).then(|| self.next.map_or(now, |next| next.max(now)))
    }

    /// Returns when a host that waits to log in once more may do so, if one does.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { self.opens(now) }
    }

    /// Whether a host waits to log in once more, before any other may start.
    pub(super) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
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

    /// Lets those log in once more for which there is room now.
    pub(super) fn serve(&mut self, now: Instant) {
        while self.opens(now).is_some_and(|opens| opens <= now)
            && let Some(grant) = self.waiting.pop_front()
        {
            let before = self.next;
            let slot = self.start(now);
            // Without its receiver, the slot returns at once, and nothing has started.
            if grant.send(slot).is_err() {
                self.next = before;
            }
        }
    }

    /// Notes a host that asks to log in once more.
    pub(super) fn take(&mut self, grant: Grant) {
        self.waiting.push_back(grant);
    }

    /// The channel of hosts that ask.
    pub(super) fn asked(&self) -> &Receiver<Grant> {
        &self.asked
    }

    /// Whether logins or starts are limited.
    pub(super) fn is_bounded(&self) -> bool {
        self.most < usize::MAX || !self.interval.is_zero()
    }

    /// The gate for further logins, if there are bounds.
    pub(super) fn gate(&self) -> Option<LoginGate> {
        self.is_bounded().then(|| LoginGate(self.ask.clone()))
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
