//! Waiting in a worker: for file descriptors, the cancel, and one absolute deadline at once.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::events::event::{Milestones, Notice, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::system::cancel::Cancel;
use crate::system::poll::{CENTURY, Patience, Ready, catching_up, poll_with};

/// A deadline noticed this much too late was missed by us, not by the host.
const STOPPED: Duration = Duration::from_millis(500);
/// How soon to check again whether a [`Carrier`] has passed everything on.
pub const CARRIER_TICK: Duration = Duration::from_millis(2);

/// The receiver of a job's notes; the text is made only if it is wanted.
pub type Notes<'n> = dyn FnMut(&dyn Fn() -> String) + 'n;

/// Passes received data on to a socket of ours: a connection to a jump host.
pub trait Carrier: Send + Sync {
    /// Returns until when all received data is passed on. Asking makes the carrier find out anew, which takes it a
    /// moment.
    fn handed_on_until(&self) -> Instant;
}

/// Returns until when all received data is in our sockets, if there is a `carrier` on the way.
pub fn arrived_until(carrier: Option<&dyn Carrier>) -> Instant {
    carrier.map_or_else(Instant::now, Carrier::handed_on_until)
}

/// The limits of every wait of one job: the cancel and a deadline, with the outcome when the deadline has passed.
pub struct Watch<'a> {
    cancel: &'a Cancel,
    deadline: Cell<Instant>,
    limit: Duration,
    phase: Phase,
    missing: &'static str,
    milestones: Milestones,
    /// The carrier on the way to the host.
    carrier: Option<Arc<dyn Carrier>>,
    /// The start of the last wait that began in time.
    begun: Cell<Instant>,
    /// When the end of the time was first noticed.
    late: Cell<Option<Instant>>,
    /// The rest of the time was granted after a stop although nothing had arrived. It is not granted again before
    /// something arrives.
    is_granted: Cell<bool>,
    notices: Vec<Notice>,
}

impl<'a> Watch<'a> {
    /// Creates a watch that ends `limit` from now.
    pub fn new(cancel: &'a Cancel, limit: Duration) -> Self {
        let now = Instant::now();
        Watch {
            cancel,
            // A limit beyond the clock's range equals no limit.
            deadline: Cell::new(now + limit.min(CENTURY)),
            limit,
            phase: Phase::Connect,
            missing: "no TCP connection",
            milestones: Milestones::now(),
            carrier: None,
            begun: Cell::new(now),
            late: Cell::new(None),
            is_granted: Cell::new(false),
            notices: Vec::new(),
        }
    }

    /// Creates a watch that only the cancel ends.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Watch::new(cancel, CENTURY)
    }

    /// Creates a watch that ends `time` from now, for a part of something that may take `limit`.
    pub fn within(cancel: &'a Cancel, time: Duration, limit: Duration) -> Self {
        Watch { limit, ..Watch::new(cancel, time) }
    }

    /// Returns the limit that was set.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns the cancel that ends every wait.
    pub fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// Sets the carrier on the way to the host.
    pub fn carried_by(&mut self, carrier: Arc<dyn Carrier>) {
        self.carrier = Some(carrier);
    }

    /// Returns the carrier on the way to the host, if any.
    pub fn carrier(&self) -> Option<&Arc<dyn Carrier>> {
        self.carrier.as_ref()
    }

    /// Returns the same limits for a wait for something other than the host.
    pub fn patience(&self) -> Patience<'a> {
        Patience { cancel: self.cancel, until: self.deadline.get() }
    }

    /// Returns the time at which every wait ends.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Notes how far connecting has come, for the report.
    pub fn milestones(&mut self) -> &mut Milestones {
        &mut self.milestones
    }

    /// Notes a request of the user that failed, although the host is reached.
    pub fn warn(&mut self, text: String) {
        self.tell(Notice::Missing(text));
    }

    /// Notes a notice for the user.
    pub fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Returns the notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Names what is being waited for from now on, for the outcome if the deadline passes.
    pub fn expect(&mut self, phase: Phase, missing: &'static str) {
        self.phase = phase;
        self.missing = missing;
    }

    /// Waits until one of `fds` is ready, at most until `until`; returns the ready ones, none at `until`.
    ///
    /// A deadline counts as passed only in a wait that started after it and found nothing: received data is read first,
    /// however late the end of the time is noticed. If it is noticed so late that the process was stopped (Ctrl-Z and
    /// fg), the remaining time is granted once more, and the wait may return nothing.
    ///
    /// # Errors
    /// The outcome of the job if the run was cancelled, the deadline has passed, or the system cannot wait.
    pub fn wait(&self, fds: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> Result<Ready, Outcome> {
        let mut arrived = Instant::now();
        let due = self.due(arrived);
        let mut end = until.map_or(self.deadline(), |until| until.min(self.deadline()));
        match (due, &self.carrier) {
            (None, _) => self.begun.set(arrived),
            (Some(due), Some(carrier)) => {
                // Asking it has a cost, which is worth it only at the end.
                arrived = carrier.handed_on_until();
                // It does not wake us.
                end = if arrived < due { Instant::now() + CARRIER_TICK } else { arrived };
            }
            // Only data that has arrived already is taken: the time of the run may end long before that of the job.
            (Some(_), None) => end = arrived,
        }
        let cancel = Some(self.cancel).filter(|cancel| cancel.lapsed().is_none());
        let ready = poll_with(cancel, fds, Some(end));
        let ready = ready.map_err(|error| HostError::local("waiting for the network", &error))?;
        if self.cancel.is_triggered() && self.cancel.lapsed().is_none() {
            return Err(Outcome::cancelled(self.cancel, self.phase.into()));
        }
        let now = Instant::now();
        let Some(due) = self.due(now) else {
            self.late.set(None);
            return Ok(ready);
        };
        let seen = self.late.get().unwrap_or(now);
        self.late.set(Some(seen));
        if self.leave_rest(!ready.is_none()) {
            return Ok(ready);
        }
        if arrived >= due && ready.is_none() || now >= seen + catching_up(due, seen) {
            self.check()?;
        }
        Ok(ready)
    }

    /// Handles awaited data that may have arrived in time: if it was noticed far too late, since the process was
    /// stopped meanwhile, the time that was left at the start of the wait is granted for the rest.
    pub fn go_on(&self) -> bool {
        self.leave_rest(true)
    }

    /// Notes the start of a wait outside of [`Watch::wait`].
    pub fn begin(&self) {
        let now = Instant::now();
        if self.due(now).is_none() {
            self.begun.set(now);
        }
    }

    /// Whether the time is not over after all, since the process was stopped: then the time left at the last start of a
    /// wait in time is granted.
    ///
    /// Without received data (`has_come`) this happens once: we may wait for another thread of ours, which was stopped
    /// as well, or for the answer to data that was not sent yet, perhaps by a jump host's thread.
    fn leave_rest(&self, has_come: bool) -> bool {
        let now = Instant::now();
        let left = self.deadline().saturating_duration_since(self.begun.get());
        let was_stopped = now.saturating_duration_since(self.deadline()) >= STOPPED;
        if !was_stopped || left.is_zero() || self.cancel.is_triggered() || !has_come && self.is_granted.get() {
            return false;
        }
        self.is_granted.set(!has_come);
        self.deadline.set(now + left);
        self.begun.set(now);
        self.late.set(None);
        true
    }

    /// Returns when the time ended, if it has by `now`: that of the job or that of the whole run.
    fn due(&self, now: Instant) -> Option<Instant> {
        let own = Some(self.deadline()).filter(|deadline| now >= *deadline);
        own.into_iter().chain(self.cancel.lapsed()).min()
    }

    /// Checks whether the job may go on. After a stop it still may, see [`Watch::wait`].
    ///
    /// # Errors
    /// The outcome of the job, if it must end now.
    pub fn check(&self) -> Result<(), Outcome> {
        if self.cancel.is_triggered() {
            return Err(Outcome::cancelled(self.cancel, self.phase.into()));
        }
        if Instant::now() >= self.deadline() && !self.leave_rest(false) {
            return Err(Outcome::TimedOut { phase: self.phase, limit: self.limit, missing: self.missing });
        }
        Ok(())
    }
}
