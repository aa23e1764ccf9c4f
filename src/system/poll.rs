//! Waiting for descriptors, a cancel and a time at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::system::cancel::Cancel;
/// The limits of a wait for something other than the host: an agent, the user, a program.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// Ends the wait when the run is cancelled.
    pub cancel: &'a Cancel,
    /// Ends the wait at this time.
    pub until: Instant,
}

impl<'a> Patience<'a> {
    /// No limit; only cancellation ends it.
    pub fn endless(cancel: &'a Cancel) -> Self {
        Patience::of(cancel, CENTURY)
    }

    /// Ends `limit` from now.
    pub fn of(cancel: &'a Cancel, limit: Duration) -> Self {
        Patience { cancel, until: Instant::now() + limit }
    }

    /// Waits until one of `fds` is ready; returns which. A ready one counts, however late it is noticed.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] if the run was cancelled, [`io::ErrorKind::TimedOut`] at the end of the time, or
    /// a system error.
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

/// The longest grace period after a deadline that was noticed too late, while received data is read.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// The shortest one, after a deadline that was noticed in time.
const LEAST_CATCHING_UP: Duration = Duration::from_millis(10);

/// Returns how long received data may be read before a deadline that was `due` counts as passed, if that was noticed at
/// `seen`: at most as long as it was late. A process that was stopped (Ctrl-Z and fg) notices deadlines, silences and
/// the end of the run late, and all data received meanwhile counts; but a host that never stops sending must not
/// suspend its deadlines.
pub fn catching_up(due: Instant, seen: Instant) -> Duration {
    seen.saturating_duration_since(due).clamp(LEAST_CATCHING_UP, CATCHING_UP)
}

/// Longer than any wait, but within the clock's range.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The ready descriptors: bit `n` means the `n`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(u64);

impl Ready {
    /// Whether none is ready.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the descriptor at `place` is ready, in error or at its end.
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// Waits for `fds`, the cancel and `end` together, each if given. Descriptors beyond `MAX_FDS` are ignored.
///
/// # Errors
/// poll(2) fails for another reason than a signal.
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

/// How many descriptors one wait can hold in addition to the cancel: more addresses than a name has in practice.
pub const MAX_FDS: usize = 63;
