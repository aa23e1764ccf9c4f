//! Questions to the user on the terminal itself, wherever standard input and output lead.
//!
//! The rpassword crate does the same, but its read cannot be ended: Ctrl-C, which a thread of ours handles, would
//! neither wake it nor restore the echo.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use zeroize::Zeroizing;

use super::password_source::{Secret, Unfit};
use super::poll::Patience;
use super::status_line;
use crate::system::askpass;
use crate::system::redact;
use crate::text::sanitize::sanitize;

/// The longest answer in bytes: the kernel's own limit for a typed line (N_TTY_BUF_SIZE).
const LONGEST: usize = 4096;
/// A disabled key of the terminal (_POSIX_VDISABLE of Linux).
const NO_KEY: u8 = 0;

/// The terminal, which asks one question at a time.
#[derive(Debug)]
pub struct Terminal {
    /// A pipe that holds one byte, or none while a question is asked: unlike a lock it can be polled.
    turn: OwnedFd,
    hand_back: OwnedFd,
    /// Whether questions are forbidden.
    is_mute: bool,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no terminal, or we are in its background, where asking would stop us.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The user forbids questions.
    #[error("BatchMode lets nothing be asked")]
    Mute,
    /// The askpass program failed; a user who declines to answer ends it so.
    #[error("{} gave no answer: {problem}", program.to_string_lossy())]
    Program {
        /// SSH_ASKPASS.
        program: OsString,
        /// Why not.
        problem: String,
    },
    /// The user ended the input.
    #[error("nothing was entered")]
    Nothing,
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The answer has a byte that ends it early.
    #[error("{0}")]
    Unfit(#[from] Unfit),
    /// The time ended before the answer came.
    #[error("no answer was entered in time")]
    TooLate,
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => AskError::Cancelled,
            io::ErrorKind::TimedOut => AskError::TooLate,
            _ => AskError::Failed(error),
        }
    }
}

impl From<Errno> for AskError {
    fn from(error: Errno) -> Self {
        AskError::Failed(error.into())
    }
}

impl Terminal {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// No pipe can be created.
    pub fn new() -> io::Result<Terminal> {
        let (turn, hand_back) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::io::write(&hand_back, b"t")?;
        Ok(Terminal { turn, hand_back, is_mute: false })
    }

    /// Creates one that asks nothing, as without a terminal (BatchMode).
    ///
    /// # Errors
    /// See [`Terminal::new`].
    pub fn mute() -> io::Result<Terminal> {
        Ok(Terminal { is_mute: true, ..Terminal::new()? })
    }

    /// Whether questions are possible.
    pub fn is_there(&self) -> bool {
        let has_terminal = open().is_some();
        !self.is_mute && (has_terminal || askpass::program(has_terminal).is_some())
    }

    /// Whether the user can be asked on the terminal itself.
    pub fn is_at_hand(&self) -> bool {
        !self.is_mute && open().is_some()
    }

    /// Asks `prompt` on the terminal itself, never through an askpass program, and shows the answer.
    ///
    /// # Errors
    /// See [`Terminal::ask`].
    pub fn confirm(&self, prompt: &str, patience: Patience<'_>) -> Result<Secret, AskError> {
        if self.is_mute {
            return Err(AskError::Mute);
        }
        self.ask_on(&open().ok_or(AskError::NoTerminal)?, prompt, true, patience)
    }

    /// Asks `prompt`, sanitized, and reads a line. Waits first until no other question is asked.
    ///
    /// # Errors
    /// There is no terminal, no answer, or no more time.
    pub fn ask(&self, prompt: &str, echo: bool, patience: Patience<'_>) -> Result<Secret, AskError> {
        if self.is_mute {
            return Err(AskError::Mute);
        }
        let tty = open();
        if let Some(program) = askpass::program(tty.is_some()) {
            let _turn = self.take_turn(patience)?;
            return askpass::ask(&program, &sanitize(prompt), patience).map_err(|problem| match patience.check() {
                Err(error) => error.into(),
                Ok(()) => AskError::Program { program, problem },
            });
        }
        self.ask_on(&tty.ok_or(AskError::NoTerminal)?, prompt, echo, patience)
    }

    fn ask_on(&self, tty: &OwnedFd, prompt: &str, echo: bool, patience: Patience<'_>) -> Result<Secret, AskError> {
        let _turn = self.take_turn(patience)?;
        let _line = status_line::hold();
        let _quiet = Quiet::make(tty, echo)?;
        say(tty, &sanitize(prompt))?;
        let line = read_line(tty, patience);
        if line.is_err() {
            // The cursor is still after the prompt.
            say(tty, "\n")?;
        }
        let line = line?;
        line.check()?;
        if !echo {
            redact::remember(&line);
        }
        Ok(line)
    }

    fn take_turn(&self, patience: Patience<'_>) -> Result<Turn<'_>, AskError> {
        loop {
            // First, or a question would flash up for which the previous one has left no time.
            patience.check()?;
            match rustix::io::read(&self.turn, &mut [0]) {
                Ok(_) => return Ok(Turn(self)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            patience.wait(&[(self.turn.as_fd(), PollFlags::IN)])?;
        }
    }
}

/// The right to ask, returned on drop.
struct Turn<'a>(&'a Terminal);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The pipe is empty, so there is room for the byte.
        let _ = rustix::io::write(&self.0.hand_back, b"t");
    }
}

/// The terminal that controls this process, if we are in its foreground.
fn open() -> Option<OwnedFd> {
    let tty = rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    (tcgetpgrp(&tty).ok()? == getpgrp()).then_some(tty)
}

/// Whether there is a terminal, and we are in its background.
pub fn is_in_background() -> bool {
    let tty = rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    tty.is_ok_and(|tty| tcgetpgrp(&tty).is_ok_and(|group| group != getpgrp()))
}

fn say(tty: &OwnedFd, text: &str) -> Result<(), AskError> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(tty, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn read_line(tty: &OwnedFd, patience: Patience<'_>) -> Result<Secret, AskError> {
    let mut buffer = Zeroizing::new([0; LONGEST]);
    loop {
        patience.wait(&[(tty.as_fd(), PollFlags::IN)])?;
        match rustix::io::read(tty, &mut buffer[..]) {
            Ok(0) => return Err(AskError::Nothing),
            Ok(count) => {
                let line = &buffer[..count];
                return Ok(Secret::new(line.strip_suffix(b"\n").unwrap_or(line)));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A terminal during a question; dropping it restores its settings.
struct Quiet<'a> {
    tty: &'a OwnedFd,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn make(tty: &'a OwnedFd, echo: bool) -> Result<Quiet<'a>, AskError> {
        let before = tcgetattr(tty)?;
        let mut during = before.clone();
        if !echo {
            during.local_modes.remove(LocalModes::ECHO);
            // The line break is shown nevertheless.
            during.local_modes.insert(LocalModes::ECHONL);
        }
        // Ctrl-C ends the run in order; these two would leave the shell with a terminal that does not echo.
        during.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        during.special_codes[SpecialCodeIndex::VQUIT] = NO_KEY;
        // Flush: text typed before the question does not answer it.
        tcsetattr(tty, OptionalActions::Flush, &during)?;
        Ok(Quiet { tty, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cancel::{Cancel, Reason};
    use std::time::Duration;

    #[test]
    fn one_asks_at_a_time_and_the_wait_for_it_ends() {
        let terminal = Terminal::new().expect("a pipe");
        let cancel = Cancel::new().expect("a pipe");
        let soon = || Patience::of(&cancel, Duration::from_millis(20));
        let first = terminal.take_turn(soon()).map_err(|error| error.to_string()).expect("nobody else asks");
        assert!(matches!(terminal.take_turn(soon()), Err(AskError::TooLate)));
        drop(first);
        let second = terminal.take_turn(soon());
        assert!(second.is_ok());
        cancel.trigger(Reason::Signal(2));
        assert!(matches!(terminal.take_turn(soon()), Err(AskError::Cancelled)));
    }
}
