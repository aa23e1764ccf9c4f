//! The one way in which a worker waits: for file descriptors, the cancel, and one absolute deadline at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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

    /// Waits until one of `fds` is ready; gives which.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if the run was cancelled, [`io::ErrorKind::TimedOut`] if the time has come, or why
    /// the system cannot wait.
    pub fn wait(self, fds: &[(BorrowedFd<'_>, PollFlags)]) -> io::Result<Ready> {
        let ready = poll_with(Some(self.cancel), fds, Some(self.until))?;
        self.check()?;
        Ok(ready)
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

/// Longer than anything is waited for, but within what the clock can count.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What bounds every wait of one job: the cancel and a deadline, with what to say when the deadline has passed.
pub struct Watch<'a> {
    cancel: &'a Cancel,
    deadline: Instant,
    limit: Duration,
    phase: Phase,
    missing: &'static str,
    milestones: Milestones,
    warnings: Vec<String>,
}

impl<'a> Watch<'a> {
    /// A watch that ends `limit` from now.
    pub fn new(cancel: &'a Cancel, limit: Duration) -> Self {
        Watch {
            cancel,
            // A limit beyond what the clock can count is as good as none.
            deadline: Instant::now() + limit.min(CENTURY),
            limit,
            phase: Phase::Connect,
            missing: "no TCP connection",
            milestones: Milestones::now(),
            warnings: Vec::new(),
        }
    }

    /// A watch that only the cancel ends.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Watch::new(cancel, CENTURY)
    }

    /// A watch that ends at `deadline`, for a part of something that may take `limit`.
    pub fn until(cancel: &'a Cancel, deadline: Instant, limit: Duration) -> Self {
        Watch { deadline, ..Watch::new(cancel, limit) }
    }

    /// The limit that was set.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The cancel that ends every wait.
    pub fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// The same bounds for a wait for somebody other than the host.
    pub fn patience(&self) -> Patience<'a> {
        Patience { cancel: self.cancel, until: self.deadline }
    }

    /// The time at which every wait ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
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
    /// # Errors
    /// The outcome of the job if the run was cancelled, the deadline has passed, or the system cannot wait.
    pub fn wait(&self, fds: &[(BorrowedFd<'_>, PollFlags)], until: Option<Instant>) -> Result<Ready, Outcome> {
        let end = until.map_or(self.deadline, |until| until.min(self.deadline));
        let ready = poll_with(Some(self.cancel), fds, Some(end)).map_err(|error| HostError::Local {
            doing: "waiting for the network",
            detail: reason(&error),
            hint: None,
        })?;
        self.check()?;
        Ok(ready)
    }

    /// Fails with the outcome of the job if it must end now.
    pub fn check(&self) -> Result<(), Outcome> {
        if self.cancel.is_triggered() {
            return Err(Outcome::cancelled(self.cancel, true));
        }
        if Instant::now() >= self.deadline {
            return Err(Outcome::TimedOut { phase: self.phase, limit: self.limit, missing: self.missing });
        }
        Ok(())
    }
}

/// Which of the polled descriptors are ready: bit `n` stands for the `n`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u64);

impl Ready {
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
