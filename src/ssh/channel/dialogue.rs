//! Protocols with the remote program, such as an SFTP server, over its standard input and output, instead of output for
//! the user.

use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;

use crate::events::event::{Outcome, Progress};

/// Approximate bytes per call: what libssh2 sends in one packet.
pub const PIECE: usize = 32_700;

/// A protocol driver on one channel. It is a state machine: it does no input or output on the connection and never
/// waits, so that the deadline, the cancel and the keepalive of `ssh/exec` are the only ones. Its output goes to the
/// program's standard input; the program's standard error is output like any other.
pub trait Dialogue {
    /// Appends to `out` what to send next, not much more than `PIECE` bytes. Called repeatedly while the connection
    /// accepts more, and after all received data.
    fn say(&mut self, out: &mut Vec<u8>) -> Say;

    /// Takes data of the program's standard output, in any pieces.
    fn hear(&mut self, bytes: &[u8]);

    /// Takes data of the program's standard error, to quote it; the user sees it in addition.
    fn overhear(&mut self, _bytes: &[u8]) {}

    /// Whether it accepts more data now. Otherwise nothing is read, which slows the program down.
    fn hears(&self) -> bool {
        true
    }

    /// Local descriptors to wait for: after [`Say::Listening`], or while it accepts no data.
    fn awaits(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 2] {
        [None, None]
    }

    /// Ends the dialogue because the job is being stopped: from now on it sends only what cleans up on the host, for
    /// about a second, and then [`Say::Over`].
    fn abort(&mut self);

    /// Whether the program has answered, even with invalid data. Without any answer the program does not exist: another
    /// way may be tried.
    fn has_begun(&self) -> bool {
        true
    }

    /// Whether the local side is gone, as when a local program that reads the data has died. Then the remote program is
    /// told to stop instead of being waited for, and its end does not matter.
    fn is_abandoned(&self) -> bool {
        false
    }

    /// Whether its result is known once it is over ([`Say::Over`]): then what the program does afterwards changes
    /// nothing.
    fn is_done(&self) -> bool {
        false
    }

    /// Returns the progress.
    fn progress(&self) -> Option<Progress> {
        None
    }

    /// Returns the outcome of the job, given that of its channel: the program's exit status, whatever that means here,
    /// or why the job was stopped (timeout, cancel, lost connection). Called once, at the end.
    fn conclude(&mut self, channel: Outcome) -> Outcome;
}

/// The result of [`Dialogue::say`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Data was sent, and there may be more.
    Said,
    /// No data until something is received, or a descriptor is ready.
    Listening,
    /// No more data: the program's input ends.
    Over,
}
