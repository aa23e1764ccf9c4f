//! The standard input of a command: sent as fast as the server accepts it, then the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::dialogue::{Dialogue, Say};
use crate::command::input::{InputReader, Piece};
use crate::ssh::ffi::{self, Channel};
use crate::system::password_source::Secret;

/// Bytes of one piece: what libssh2 sends in one packet.
const PIECE: usize = 32_700;
/// Pieces sent before the command's output has its turn.
const BURST: usize = 8;

/// The input of one command.
#[derive(Default)]
pub struct StdinSender {
    state: SenderState,
    /// Whether the input is held back: sudo is reading.
    held: bool,
    /// The answers to sudo.
    answer: Zeroizing<Vec<u8>>,
    /// The piece that is being sent.
    piece: Vec<u8>,
    /// How much of it was sent.
    sent: usize,
    /// Whether libssh2 did not accept the last of it, as during a key exchange.
    blocked: bool,
    /// The descriptor to wait for while the local input is empty.
    later: Option<Arc<OwnedFd>>,
    /// Whether the dialogue had nothing to send when last asked.
    listening: bool,
    /// Bytes that libssh2 has accepted.
    bytes: u64,
}

#[derive(Default)]
enum SenderState {
    /// There may be more.
    Open(InputReader),
    /// A dialogue, which may send more.
    Spoken,
    /// Send the end after the piece.
    Ending,
    /// Nothing more is sent.
    #[default]
    Ended,
}

/// Why the rest of the input cannot be sent, in words.
pub struct Broken(pub String);

impl StdinSender {
    /// Sends the input of `reader`, or only the end without one.
    pub fn new(reader: Option<InputReader>) -> StdinSender {
        let state = reader.map_or(SenderState::Ending, SenderState::Open);
        StdinSender::of(state)
    }

    /// Sends the data of a dialogue.
    pub fn spoken() -> StdinSender {
        StdinSender::of(SenderState::Spoken)
    }

    fn of(state: SenderState) -> StdinSender {
        StdinSender { state, ..StdinSender::default() }
    }

    /// Holds back the input and its end until [`StdinSender::release`].
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Sends an answer, on a line of its own, to what reads before the command. Only while the input is held back.
    pub fn answer(&mut self, secret: &Secret) {
        // With its final capacity: a growing vector would leave a copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(secret.expose().len() + 1));
        line.extend_from_slice(secret.expose());
        line.push(b'\n');
        (self.answer, self.sent) = (line, 0);
    }

    /// Releases the input.
    pub fn release(&mut self) {
        (self.held, self.answer, self.sent) = (false, Zeroizing::default(), 0);
    }

    /// Stops sending.
    pub fn stop(&mut self) {
        self.release();
        self.state = SenderState::Ended;
        (self.piece, self.blocked, self.later) = (Vec::new(), false, None);
    }

    /// Sends only the end of the input, if it was held back until now: a program that waits for an answer sees the end
    /// instead.
    pub fn give_up(&mut self) {
        let was_held = self.held;
        self.stop();
        if was_held {
            self.state = SenderState::Ending;
        }
    }

    /// Returns what to wait for before there is more to send.
    pub fn awaits(&self) -> Option<BorrowedFd<'_>> {
        self.later.as_ref().map(|wait| wait.as_fd())
    }

    /// Whether data could be sent at once if the server accepts it.
    pub fn has_more(&self) -> bool {
        match self.state {
            _ if self.held => self.sent < self.answer.len() && !self.blocked,
            SenderState::Open(_) => self.later.is_none() && !self.blocked,
            SenderState::Spoken => (self.sent < self.piece.len() || !self.listening) && !self.blocked,
            SenderState::Ending => self.sent < self.piece.len() && !self.blocked,
            SenderState::Ended => false,
        }
    }

    /// Returns how many bytes of the input were sent.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing more will be sent.
    pub fn is_over(&self) -> bool {
        matches!(self.state, SenderState::Ending | SenderState::Ended)
    }

    /// Whether to call libssh2 again, with nothing to wait for.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Sends the end if that is all there is to send, as the request to start the command goes out.
    pub fn end_at_once(&mut self, channel: &Channel) {
        if matches!(self.state, SenderState::Ending) && !self.held && self.piece.is_empty() {
            self.end(channel);
        }
    }

    fn end(&mut self, channel: &Channel) {
        match channel.send_eof() {
            Err(error) if ffi::would_block(&error) => self.blocked = true,
            // The channel is closed, or the connection has ended: reading will tell.
            Ok(()) | Err(_) => self.stop(),
        }
    }

    /// Sends input that the server accepts now. Returns whether it may accept more.
    ///
    /// # Errors
    /// The input cannot be read further. The command must not take the part it has for the whole.
    pub fn send(&mut self, channel: &Channel, mut dialogue: Option<&mut dyn Dialogue>) -> Result<bool, Broken> {
        self.blocked = false;
        if self.held {
            if self.sent < self.answer.len() && channel.write_window() > 0 {
                match channel.write(&self.answer[self.sent..]) {
                    Ok(count) => self.sent += count,
                    // A lasting error is one of the channel: reading will tell.
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
                self.end(channel);
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

    /// Reads the next piece; an empty one is the end. Returns whether there is work to do.
    fn next_piece(&mut self, dialogue: Option<&mut (dyn Dialogue + '_)>) -> Result<bool, Broken> {
        let reader = match (&mut self.state, dialogue) {
            (SenderState::Spoken, Some(dialogue)) => {
                (self.sent, self.listening) = (0, false);
                self.piece.clear();
                match dialogue.say(&mut self.piece) {
                    // An empty piece would mean the end.
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
