//! What a command reads on its standard input: sent as fast as the server takes it, then the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::dialogue::{Dialogue, Say};
use crate::command::input::{InputReader, Piece};
use crate::ssh::ffi::{self, Channel};
use crate::system::password_source::Secret;

/// Bytes of one piece: what libssh2 sends in one packet.
const PIECE: usize = 32_700;
/// Pieces that are sent before the command's output has its turn.
const BURST: usize = 8;

/// The input of one command.
#[derive(Default)]
pub struct StdinSender {
    state: SenderState,
    /// Whether the input has to wait: something else is reading.
    held: bool,
    /// What that is told.
    answer: Zeroizing<Vec<u8>>,
    /// The piece that is being sent.
    piece: Vec<u8>,
    /// How much of it has gone.
    sent: usize,
    /// Whether libssh2 would not take the last of it, as in the middle of a key exchange.
    blocked: bool,
    /// What to wait for where our own input has nothing yet.
    later: Option<Arc<OwnedFd>>,
    /// Whether the dialogue had nothing to say when it was last asked.
    listening: bool,
    /// Bytes that libssh2 has taken so far.
    bytes: u64,
}

#[derive(Default)]
enum SenderState {
    /// There may be more.
    Open(InputReader),
    /// A dialogue is held, which may have more to say.
    Spoken,
    /// The end is to be told once the piece has gone.
    Ending,
    /// Nothing more is sent.
    #[default]
    Ended,
}

/// Why the rest of the input cannot be sent, in words.
pub struct Broken(pub String);

impl StdinSender {
    /// The input of `reader`, or none, which is its end at once.
    pub fn new(reader: Option<InputReader>) -> StdinSender {
        let state = reader.map_or(SenderState::Ending, SenderState::Open);
        StdinSender::of(state)
    }

    /// What a dialogue says.
    pub fn spoken() -> StdinSender {
        StdinSender::of(SenderState::Spoken)
    }

    fn of(state: SenderState) -> StdinSender {
        StdinSender { state, ..StdinSender::default() }
    }

    /// Sends no input, and not its end either, before [`StdinSender::release`].
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Sends an answer, on a line of its own, to what reads before the command. Only while the input is held.
    pub fn answer(&mut self, secret: &Secret) {
        // Of the right size at once: a vector that grows would leave a copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(secret.expose().len() + 1));
        line.extend_from_slice(secret.expose());
        line.push(b'\n');
        (self.answer, self.sent) = (line, 0);
    }

    /// Lets the input go.
    pub fn release(&mut self) {
        (self.held, self.answer, self.sent) = (false, Zeroizing::default(), 0);
    }

    /// Sends nothing more.
    pub fn stop(&mut self) {
        self.release();
        self.state = SenderState::Ended;
        (self.piece, self.blocked, self.later) = (Vec::new(), false, None);
    }

    /// Sends nothing more but the end of the input, if it was held until now: whoever waits for an answer sees that there is
    /// none.
    pub fn give_up(&mut self) {
        let was_held = self.held;
        self.stop();
        if was_held {
            self.state = SenderState::Ending;
        }
    }

    /// What to wait for before there is more to send.
    pub fn awaits(&self) -> Option<BorrowedFd<'_>> {
        self.later.as_ref().map(|wait| wait.as_fd())
    }

    /// Whether something could be sent at once if the server takes it.
    pub fn has_more(&self) -> bool {
        match self.state {
            _ if self.held => self.sent < self.answer.len() && !self.blocked,
            SenderState::Open(_) => self.later.is_none() && !self.blocked,
            SenderState::Spoken => (self.sent < self.piece.len() || !self.listening) && !self.blocked,
            SenderState::Ending => self.sent < self.piece.len() && !self.blocked,
            SenderState::Ended => false,
        }
    }

    /// How many bytes of the input have been sent so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing more will be sent.
    pub fn is_over(&self) -> bool {
        matches!(self.state, SenderState::Ending | SenderState::Ended)
    }

    /// Whether libssh2 has to be asked again, with nothing to wait for.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Sends some of what the server takes now. Says whether there may be more that it takes.
    ///
    /// # Errors
    /// The input cannot be read on. The command must not take what it has got for all of it.
    pub fn send(&mut self, channel: &Channel, mut dialogue: Option<&mut dyn Dialogue>) -> Result<bool, Broken> {
        self.blocked = false;
        if self.held {
            if self.sent < self.answer.len() && channel.write_window() > 0 {
                match channel.write(&self.answer[self.sent..]) {
                    Ok(count) => self.sent += count,
                    // An error that lasts is one of the channel: reading will tell.
                    Err(error) => self.blocked = ffi::would_block(&error),
                }
            }
            return Ok(false);
        }
        for _ in 0..BURST {
            if self.sent == self.piece.len() && !self.next_piece(dialogue.as_deref_mut())? {
                return Ok(false);
            }
            if self.sent == self.piece.len() {
                match channel.send_eof() {
                    Err(error) if ffi::would_block(&error) => self.blocked = true,
                    // The channel is closed, or the connection is at its end: reading will tell.
                    Ok(()) | Err(_) => self.stop(),
                }
                return Ok(false);
            }
            if channel.write_window() == 0 {
                return Ok(false);
            }
            match channel.write(&self.piece[self.sent..]) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.sent += count;
                    self.bytes += count as u64;
                }
                Err(error) if ffi::would_block(&error) => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(_) => self.stop(),
            }
        }
        Ok(true)
    }

    /// Gets the next piece; an empty one is the end. Says whether there is anything to do.
    fn next_piece(&mut self, dialogue: Option<&mut (dyn Dialogue + '_)>) -> Result<bool, Broken> {
        let reader = match (&mut self.state, dialogue) {
            (SenderState::Spoken, Some(dialogue)) => {
                (self.sent, self.listening) = (0, false);
                self.piece.clear();
                match dialogue.say(&mut self.piece) {
                    // An empty piece would be the end.
                    Say::Said => self.listening = self.piece.is_empty(),
                    Say::Listening => self.listening = true,
                    Say::Over => self.state = SenderState::Ending,
                }
                return Ok(!self.listening || !self.piece.is_empty());
            }
            (SenderState::Open(reader), _) => reader,
            (SenderState::Ending, _) => return Ok(true),
            (SenderState::Spoken | SenderState::Ended, _) => return Ok(false),
        };
        self.piece.resize(PIECE, 0);
        let read = reader.read(&mut self.piece);
        self.sent = 0;
        self.piece.truncate(if let Ok(Piece::Bytes(count)) = read { count } else { 0 });
        self.later = None;
        match read {
            Ok(Piece::Bytes(_)) => {}
            Ok(Piece::Later(wait)) => {
                self.later = Some(wait);
                return Ok(false);
            }
            Ok(Piece::End) => self.state = SenderState::Ending,
            Err(problem) => {
                self.stop();
                return Err(Broken(problem));
            }
        }
        Ok(true)
    }
}
