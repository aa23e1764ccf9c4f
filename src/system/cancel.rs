//! The cancel of a run: a flag, a file descriptor and a channel that every wait of every thread listens to.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::pipe::{PipeFlags, pipe_with};

use super::lock::lock;

/// Why a run was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A signal with this number; the program ends by the same signal after the report.
    Signal(i32),
    /// The reader of standard output is gone (`| head -1`).
    OutputClosed,
    /// Standard output cannot be written, for example because the disk is full.
    OutputFailed,
    /// The program that started the run stopped it.
    Program,
    /// The user declined the next batch.
    Declined,
    /// The terminal is gone on which the user confirms batches.
    TerminalGone,
    /// The run has reached this time limit.
    TooLong(Duration),
    /// This many hosts have failed, which is the limit.
    TooManyFailed(usize),
    /// This many hosts were not reached, which is the limit.
    TooManyUnreached(usize),
    /// The journal cannot be written.
    JournalFailed,
}

/// What precedes the reason in the outcome of a host that was stopped.
const SINCE: &str = ", since ";

impl Reason {
    /// Returns the reason in words, `a host has failed`; `None` if the user knows it.
    pub fn words(&self) -> Option<String> {
        Some(match self {
            Reason::TooLong(limit) => format!("the run has taken {} s", limit.as_secs_f64()),
            Reason::TooManyFailed(1) => "a host has failed".to_owned(),
            Reason::TooManyFailed(count) => format!("{count} hosts have failed"),
            Reason::TooManyUnreached(1) => "a host was not reached".to_owned(),
            Reason::TooManyUnreached(count) => format!("{count} hosts were not reached"),
            Reason::JournalFailed => "the journal cannot be written".to_owned(),
            Reason::TerminalGone => "the terminal is gone on which a batch was to be confirmed".to_owned(),
            Reason::Declined => "a batch was declined".to_owned(),
            Reason::Signal(_) | Reason::OutputClosed | Reason::OutputFailed | Reason::Program => return None,
        })
    }

    /// Returns the words in the outcome of a host that was stopped, if it has any.
    pub fn words_in(outcome: &str) -> Option<&str> {
        outcome.split_once(SINCE).map(|(_, words)| words)
    }
}

impl fmt::Display for Reason {
    /// Returns the end of a sentence about a host that was stopped: `, since a host has failed`. Empty if the user
    /// knows the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words().map_or(Ok(()), |words| write!(f, "{SINCE}{words}"))
    }
}

/// Stops everything that runs. Clones share one state; once triggered, it stays so.
#[derive(Clone, Debug)]
pub struct Cancel {
    state: Arc<CancelState>,
}

#[derive(Debug)]
struct CancelState {
    /// The reason and the time.
    reason: OnceLock<(Reason, Instant)>,
    /// Becomes readable (end of file) for good when `armed` is dropped: it is never read, so that any number of threads
    /// can poll it.
    alarm: OwnedFd,
    alarm_channel: Receiver<Infallible>,
    armed: Mutex<Option<(OwnedFd, Sender<Infallible>)>>,
}

impl Cancel {
    /// Creates one, not triggered.
    ///
    /// # Errors
    /// No pipe can be created.
    pub fn new() -> io::Result<Self> {
        let (alarm, alarm_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let (sender, alarm_channel) = bounded(0);
        let armed = Mutex::new(Some((alarm_end, sender)));
        Ok(Cancel { state: Arc::new(CancelState { reason: OnceLock::new(), alarm, alarm_channel, armed }) })
    }

    /// Stops the run. Only the first reason counts; returns whether this call was the first.
    pub fn trigger(&self, reason: Reason) -> bool {
        let first = self.state.reason.set((reason, Instant::now())).is_ok();
        lock(&self.state.armed).take();
        first
    }

    /// Returns why the run was stopped, if it was.
    pub fn reason(&self) -> Option<Reason> {
        self.state.reason.get().map(|(reason, _)| *reason)
    }

    /// Returns since when the time of the run is over, if that is why it was stopped. No user asked for it at that very
    /// moment, so data received by then is read first.
    pub fn lapsed(&self) -> Option<Instant> {
        match self.state.reason.get() {
            Some((Reason::TooLong(_), since)) => Some(*since),
            _ => None,
        }
    }

    /// Whether the run was stopped.
    pub fn is_triggered(&self) -> bool {
        self.reason().is_some()
    }

    /// Becomes readable when triggered; never read from it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.state.alarm.as_fd()
    }

    /// Disconnected when triggered; never carries a message.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.state.alarm_channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn readable(cancel: &Cancel) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") == 1
    }

    #[test]
    fn wakes_every_waiter_and_keeps_the_first_reason() {
        let cancel = Cancel::new().expect("pipe");
        assert!(!cancel.is_triggered());
        assert!(!readable(&cancel));
        assert!(cancel.trigger(Reason::Signal(2)));
        assert!(!cancel.trigger(Reason::OutputClosed));
        assert_eq!(cancel.reason(), Some(Reason::Signal(2)));
        assert!(readable(&cancel));
        assert!(readable(&cancel), "looking must not use it up");
        assert!(cancel.channel().recv().is_err());
    }
}
