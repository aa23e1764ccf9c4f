//! The one way in which a worker waits: for file descriptors, the cancel, and one absolute deadline at once.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cancel::Cancel;
use crate::error::{HostError, reason};
use crate::event::{Milestones, Outcome, Phase};

/// Bounds the wait for somebody other than the host: an agent, a person, a program.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// Ends the wait when the run is cancelled.
    pub cancel: &'a Cancel,
    /// Ends the wait at this time.
    pub until: Instant,
}

impl<'a> Patience<'a> {
    /// As long as a person takes who has all the time in the world.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Patience::of(cancel, CENTURY)
    }

    /// From now on for `limit`.
    pub fn of(cancel: &'a Cancel, limit: Duration) -> Self {
        Patience { cancel, until: Instant::now() + limit }
    }

    /// Waits until one of `fds` is ready; gives which. What is ready counts, however late it is seen.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if the run was cancelled, [`io::ErrorKind::TimedOut`] if the time has come, or why
    /// the system cannot wait.
    pub fn wait(self, fds: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<Ready> {
        loop {
            let begun = Instant::now();
            let ready = poll_with(Some(self.cancel), fds, Some(self.until))?;
            match self.check() {
                Err(error) if error.kind() == io::ErrorKind::TimedOut && (!ready.is_none() || begun < self.until) => {}
                checked => checked?,
            }
            if !ready.is_none() {
                return Ok(ready);
            }
        }
    }

    /// Fails if the wait must end now.
    ///
    /// # Errors
    /// The same as [`Patience::wait`].
    pub fn check(self) -> io::Result<()> {
        if self.cancel.is_triggered() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        if Instant::now() >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        Ok(())
    }
}

/// The longest time for which a deadline that was seen too late is not held to have passed, while what has come is read.
const CATCHING_UP: Duration = Duration::from_secs(2);
/// The shortest: of a deadline that was seen in time.
const LEAST_CATCHING_UP: Duration = Duration::from_millis(10);
/// A deadline that is seen so much too late was missed by us, not by the host.
const STOPPED: Duration = Duration::from_millis(500);
/// How soon to look again whether a [`Carrier`] has handed everything on.
pub const CARRIER_TICK: Duration = Duration::from_millis(2);

/// How long what has come may be read before a deadline that was `due` is held to have passed, if that was seen at `seen`: at most as
/// long as it was seen too late. A process that was stopped (Ctrl-Z and fg) sees deadlines, silences and the end of the run late, and
/// whatever has come meanwhile counts; but a host that sends without end is not to keep them from passing.
pub fn catching_up(due: Instant, seen: Instant) -> Duration {
    seen.saturating_duration_since(due).clamp(LEAST_CATCHING_UP, CATCHING_UP)
}

/// Hands on to a socket of ours what has come for it: a connection to a jump host.
pub trait Carrier: Send + Sync {
    /// Until when all that had come for us is handed on. Asking makes the carrier find out anew, which takes it a moment.
    fn handed_on_until(&self) -> Instant;
}

/// Until when all that has come for us is in our sockets, if there is a `carrier` on the way.
pub fn arrived_until(carrier: Option<&dyn Carrier>) -> Instant {
    carrier.map_or_else(Instant::now, Carrier::handed_on_until)
}

/// Longer than anything is waited for, but within what the clock can count.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

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
    warnings: Vec<String>,
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
            warnings: Vec::new(),
        }
    }

    /// A watch that only the cancel ends.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Watch::new(cancel, CENTURY)
    }

    /// A watch that ends at `deadline`, for a part of something that may take `limit`.
    pub fn until(cancel: &'a Cancel, deadline: Instant, limit: Duration) -> Self {
        Watch { deadline: Cell::new(deadline), ..Watch::new(cancel, limit) }
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
        self.warnings.push(text);
    }

    /// What was noted since the last call of this.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Names what is being waited for from now on, for the outcome should the deadline pass.
    pub fn expect(&mut self, phase: Phase, missing: &'static str) {
        self.phase = phase;
        self.missing = missing;
    }

    /// Waits until one of `fds` is ready, at the latest until `until`; gives those that are, none at `until`.
    ///
    /// A deadline is held to have passed only by a wait that began after it and found nothing: what has come is read before, however
    /// late it is seen that the time is over.
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
                if arrived < due {
                    // It does not wake us.
                    end = Instant::now() + CARRIER_TICK;
                }
            }
            (Some(_), None) => {}
        }
        let cancel = Some(self.cancel).filter(|cancel| cancel.lapsed().is_none());
        let ready = poll_with(cancel, fds, Some(end)).map_err(|error| HostError::Local {
            doing: "waiting for the network",
            detail: reason(&error),
            hint: None,
        })?;
        if self.cancel.is_triggered() && self.cancel.lapsed().is_none() {
            return Err(Outcome::cancelled(self.cancel, true));
        }
        let now = Instant::now();
        let Some(due) = self.due(now) else {
            self.late.set(None);
            return Ok(ready);
        };
        let seen = self.late.get().unwrap_or(now);
        self.late.set(Some(seen));
        if !ready.is_none() && self.go_on() {
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
        let now = Instant::now();
        let left = self.deadline().saturating_duration_since(self.begun.get());
        let was_stopped = now.saturating_duration_since(self.deadline()) >= STOPPED;
        if !was_stopped || left.is_zero() || self.cancel.is_triggered() {
            return false;
        }
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

    /// Fails with the outcome of the job if it must end now.
    pub fn check(&self) -> Result<(), Outcome> {
        if self.cancel.is_triggered() {
            return Err(Outcome::cancelled(self.cancel, true));
        }
        if Instant::now() >= self.deadline() {
            return Err(Outcome::TimedOut { phase: self.phase, limit: self.limit, missing: self.missing });
        }
        Ok(())
    }
}

/// Which of the polled descriptors are ready: bit `n` stands for the `n`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u64);

impl Ready {
    /// Whether none is.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the descriptor at `place` is ready, in error or at its end.
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// How many descriptors one wait can hold besides the cancel: more addresses than a name has in practice.
pub const MAX_FDS: usize = 63;

/// Waits for `fds`, the cancel and `end` together, each where there is one. Descriptors beyond [`MAX_FDS`] are not waited for.
pub fn poll_with(
    cancel: Option<&Cancel>,
    fds: &[(BorrowedFd<'_>, PollFlags)],
    end: Option<Instant>,
) -> io::Result<Ready> {
    let mut polled = Vec::with_capacity(fds.len() + 1);
    polled.extend(fds.iter().take(MAX_FDS).map(|(fd, flags)| PollFd::from_borrowed_fd(fd.as_fd(), *flags)));
    polled.extend(cancel.map(|cancel| PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)));
    loop {
        let timeout = end.map(|end| {
            let left = end.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let bits = polled.iter().take(fds.len()).enumerate().filter(|(_, fd)| !fd.revents().is_empty());
                return Ok(Ready(bits.fold(0, |bits, (place, _)| bits | 1 << place)));
            }
        }
    }
}
