//! What passes through the fault proxy, cut where SSH cuts it: the identification string, packets in plain text, and packets
//! of aes256-gcm@openssh.com, the length of which can be read without the keys (RFC 5647 section 7.3).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::raw::NEWKEYS;

/// SSH_MSG_DISCONNECT.
pub(super) const DISCONNECT: u8 = 1;

/// Bytes of the length that every packet begins with.
const LENGTH: usize = 4;
/// Bytes of the authentication tag of GCM.
const TAG: usize = 16;
/// More than any packet has that is sent here.
const LONGEST: usize = 1 << 20;

/// What one piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line that ends the plain identification.
    Banner,
    /// A packet in plain text, with its message number.
    Plain(u8),
    /// An encrypted packet.
    Sealed,
}

/// One piece, exactly as it came.
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// What the command of a cell prints first. It makes a packet that is as long as no other one.
pub(super) const BEGUN: &str =
    "begun ..........................................................................................";

impl Piece {
    /// Whether an encrypted packet has the length of that which carries [`BEGUN`] and a newline.
    pub(super) fn is_as_long_as_the_beginning(&self) -> bool {
        let carried = (1 + 1 + 4 + 4 + BEGUN.len() + 1 + 4).next_multiple_of(16);
        self.kind == Kind::Sealed && self.bytes.len() == LENGTH + carried + TAG
    }

    /// Whether an encrypted packet has the length of that which carries an exit status: 25 bytes, and so 32 with padding.
    /// What else a server sends at the end of a command is shorter.
    pub(super) fn is_as_long_as_an_exit_status(&self) -> bool {
        self.kind == Kind::Sealed && self.bytes.len() == LENGTH + 32 + TAG
    }
}

/// Reads one direction of a connection piece by piece.
pub(super) struct Pieces<R> {
    from: R,
    seen_banner: bool,
    is_sealed: bool,
    /// What was read and belongs to no whole piece yet.
    held: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pieces<R> {
    pub(super) fn new(from: R) -> Pieces<R> {
        Pieces { from, seen_banner: false, is_sealed: false, held: Vec::new() }
    }

    /// The next piece; nothing at the end. May be dropped while it waits: what was read so far is kept.
    pub(super) async fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.take() {
                return Ok(Some(piece));
            }
            if self.from.read_buf(&mut self.held).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Piece> {
        let (kind, length) = if !self.seen_banner {
            (Kind::Banner, self.held.iter().position(|byte| *byte == b'\n')? + 1)
        } else {
            let length = u32::from_be_bytes(*self.held.first_chunk::<LENGTH>()?) as usize;
            assert!(length < LONGEST, "a packet of {length} bytes: the cipher is not aes256-gcm");
            let kind = if self.is_sealed { Kind::Sealed } else { Kind::Plain(*self.held.get(LENGTH + 1)?) };
            (kind, LENGTH + length + if self.is_sealed { TAG } else { 0 })
        };
        if self.held.len() < length {
            return None;
        }
        self.seen_banner = true;
        // Everything after it is encrypted.
        self.is_sealed |= kind == Kind::Plain(NEWKEYS);
        let rest = self.held.split_off(length);
        Some(Piece { kind, bytes: std::mem::replace(&mut self.held, rest) })
    }
}
