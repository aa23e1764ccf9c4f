//! What a channel may be used for instead of showing what a command prints: a conversation with the program at its other end, such as
//! an SFTP server, over the program's standard input and output.

use std::os::fd::BorrowedFd;

use rustix::event::PollFlags;

use crate::events::event::{Outcome, Progress};

/// Bytes that a dialogue says at once, about: what libssh2 sends in one packet.
pub const PIECE: usize = 32_700;

/// One conversation, on one channel. It is a state machine: it does no input or output on the connection and never waits, so that the
/// deadline, the cancel and the keepalive of `ssh/exec` are the only ones. What it says goes to the program's standard
/// input; the program's standard error is output like any other.
pub trait Dialogue {
    /// Appends to `out` what is to be sent next, not much more than `PIECE` bytes. Called again and again while the connection
    /// takes more, and after everything that was heard.
    fn say(&mut self, out: &mut Vec<u8>) -> Say;

    /// Takes bytes of the program's standard output, cut anywhere.
    fn hear(&mut self, bytes: &[u8]);

    /// Takes bytes of the program's standard error, to quote them; they are shown whatever becomes of them here.
    fn overhear(&mut self, _bytes: &[u8]) {}

    /// Whether more can be heard now. As long as it cannot, nothing is read: the program is slowed down.
    fn hears(&self) -> bool {
        true
    }

    /// Descriptors of ours to wait for: after [`Say::Listening`], or while it does not hear.
    fn awaits(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 2] {
        [None, None]
    }

    /// The job is being stopped: from now on only what leaves the host tidy is said, for about a second, and then
    /// [`Say::Over`].
    fn abort(&mut self);

    /// Whether the program has answered, be it with something that makes no sense. If it never has, it is not there: the same may
    /// be tried in another way.
    fn has_begun(&self) -> bool {
        true
    }

    /// Whether nobody is left here whom the program could serve, as when a local program has died that took what it says. It is
    /// told to stop then instead of being waited for, and how that ends is nobody's concern.
    fn is_abandoned(&self) -> bool {
        false
    }

    /// Whether it knows how it has ended once it is over ([`Say::Over`]): whatever the program does from there on changes nothing.
    fn is_done(&self) -> bool {
        false
    }

    /// How far it is.
    fn progress(&self) -> Option<Progress> {
        None
    }

    /// How the job ended, given how its channel did: an exit status of the program that was spoken with, whatever that is worth,
    /// or why the job was ended from outside (timeout, cancel, lost connection). Called once, at last.
    fn conclude(&mut self, channel: Outcome) -> Outcome;
}

/// What became of saying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Something was said, and there may be more.
    Said,
    /// There is nothing to say before something is heard, or before a descriptor is ready.
    Listening,
    /// Nothing will be said any more: the program's input ends.
    Over,
}
