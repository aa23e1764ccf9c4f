//! The one way in which a worker waits: for file descriptors, the cancel, and one absolute deadline at once.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::events::event::{Milestones, Notice, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::system::cancel::Cancel;
use crate::system::poll::{CENTURY, Patience, Ready, catching_up, poll_with};

/// A deadline that is seen so much too late was missed by us, not by the host.
const STOPPED: Duration = Duration::from_millis(500);
/// How soon to look again whether a [`Carrier`] has handed everything on.
pub const CARRIER_TICK: Duration = Duration::from_millis(2);

/// Takes what is worth knowing of one job, in words that are made only where somebody wants them.
pub type Notes<'n> = dyn FnMut(&dyn Fn() -> String) + 'n;

/// Hands on to a socket of ours what has come for it: a connection to a jump host.
pub trait Carrier: Send + Sync {
    /// Until when all that had come for us is handed on. Asking makes the carrier find out anew, which takes it a moment.
    fn handed_on_until(&self) -> Instant;
}

/// Until when all that has come for us is in our sockets, if there is a `carrier` on the way.
pub fn arrived_until(carrier: Option<&dyn Carrier>) -> Instant {
    carrier.map_or_else(Instant::now, Carrier::handed_on_until)
}

/// What bounds every wait of one job: the cancel and a deadline, with what to say when the deadline has passed.
pub struct Watch<'a> {
    cancel: &'a Cancel,
    deadline: Cell<Instant>,
    limit: Duration,
    phase: Phase,
    missing: &'static str,
    milestones: Milestones,
    /// What hands on to us what the host sends.
    carrier: Option<Arc<dyn Carrier>>,
    /// When the last wait has begun that began in time.
    begun: Cell<Instant>,
    /// When it was first seen that the time is over.
    late: Cell<Option<Instant>>,
    /// The rest of the time was left after a stop although nothing had come. It is not left again before something comes.
    is_granted: Cell<bool>,
    notices: Vec<Notice>,
}

impl<'a> Watch<'a> {
    /// A watch that ends `limit` from now.
    pub fn new(cancel: &'a Cancel, limit: Duration) -> Self {
        let now = Instant::now();
        Watch {
            cancel,
            // A limit beyond what the clock can count is as good as none.
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

    /// A watch that only the cancel ends.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Watch::new(cancel, CENTURY)
    }

    /// A watch that ends `time` from now, for a part of something that may take `limit`.
    pub fn within(cancel: &'a Cancel, time: Duration, limit: Duration) -> Self {
        Watch { limit, ..Watch::new(cancel, time) }
    }

    /// The limit that was set.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The cancel that ends every wait.
    pub fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// Notes what hands on to us what the host sends.
    pub fn carried_by(&mut self, carrier: Arc<dyn Carrier>) {
        self.carrier = Some(carrier);
    }

    /// What hands on to us what the host sends, if anything does.
    pub fn carrier(&self) -> Option<&Arc<dyn Carrier>> {
        self.carrier.as_ref()
    }

    /// The same bounds for a wait for somebody other than the host.
    pub fn patience(&self) -> Patience<'a> {
        Patience { cancel: self.cancel, until: self.deadline.get() }
    }

    /// The time at which every wait ends.
    pub fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// How far connecting has come, for the report.
    pub fn milestones(&mut self) -> &mut Milestones {
        &mut self.milestones
    }

    /// Notes something that the user has asked for and that was not done, although the host is reached.
    pub fn warn(&mut self, text: String) {
        self.tell(Notice::Missing(text));
    }

    /// Notes what the user should know.
    pub fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// What was noted since the last call of this.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Names what is being waited for from now on, for the outcome should the deadline pass.
    pub fn expect(&mut self, phase: Phase, missing: &'static str) {
        self.phase = phase;
        self.missing = missing;
    }

    /// Waits until one of `fds` is ready, at the latest until `until`; gives those that are, none at `until`.
    ///
    /// A deadline is held to have passed only by a wait that began after it and found nothing: what has come is read before, however
    /// late it is seen that the time is over. If it is seen so late that we were stopped (Ctrl-Z and fg), what was left of the time is left
    /// once more, and the wait may give nothing.
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
                // Asking it costs something, which is worth it only at the end.
                arrived = carrier.handed_on_until();
                // It does not wake us.
                end = if arrived < due { Instant::now() + CARRIER_TICK } else { arrived };
            }
            // Only what has come already is taken: the time of the run may be over long before that of the job.
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

    /// What was awaited has come, and may have come in time: if that was seen far too late, since we were stopped meanwhile, what was
    /// left of the time when the wait began is left for the rest.
    pub fn go_on(&self) -> bool {
        self.leave_rest(true)
    }

    /// A wait begins that is not one of [`Watch::wait`].
    pub fn begin(&self) {
        let now = Instant::now();
        if self.due(now).is_none() {
            self.begun.set(now);
        }
    }

    /// Whether the time is not over after all, since we were stopped: what was left of it when the last wait began in time is left then.
    ///
    /// Without anything that `has_come` it is so once: what we wait for may be the work of another thread of ours, which was stopped as well,
    /// or the answer to what we had not sent yet, be it that a jump host's thread had it.
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

    /// When the time was over, if it is by `now`: that of the job or that of the whole run.
    fn due(&self, now: Instant) -> Option<Instant> {
        let own = Some(self.deadline()).filter(|deadline| now >= *deadline);
        own.into_iter().chain(self.cancel.lapsed()).min()
    }

    /// Fails with the outcome of the job if it must end now. After a stop it need not, see [`Watch::wait`].
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
