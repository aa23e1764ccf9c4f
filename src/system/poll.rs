//! The one way to wait: for descriptors, a cancel and a time at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::system::cancel::Cancel;
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

/// How long what has come may be read before a deadline that was `due` is held to have passed, if that was seen at `seen`: at most as
/// long as it was seen too late. A process that was stopped (Ctrl-Z and fg) sees deadlines, silences and the end of the run late, and
/// whatever has come meanwhile counts; but a host that sends without end is not to keep them from passing.
pub fn catching_up(due: Instant, seen: Instant) -> Duration {
    seen.saturating_duration_since(due).clamp(LEAST_CATCHING_UP, CATCHING_UP)
}

/// Longer than anything is waited for, but within what the clock can count.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

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

/// Waits for `fds`, the cancel and `end` together, each where there is one. Descriptors beyond `MAX_FDS` are not waited for.
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

/// How many descriptors one wait can hold besides the cancel: more addresses than a name has in practice.
pub const MAX_FDS: usize = 63;
