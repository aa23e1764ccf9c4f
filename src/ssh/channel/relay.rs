//! Connections between sockets and channels: for sessions behind a jump host, and for the forwarded agent.
//!
//! The session buffers what its socket does not accept at once (see `Link`): no channel can block another, and any can
//! be closed at any time. A channel is read only when its socket has taken everything before: a slow reader closes only
//! the window of its own channel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use ssh2::ErrorCode;

use crate::ssh::ffi::{self, Channel, Link};

/// Read size of a channel: the largest packet that we accept.
pub const READ_SIZE: usize = 32 * 1024;
/// Read size in the other direction: what libssh2 sends in one packet.
const WRITE_SIZE: usize = 32_700;
/// Reads of one channel, each way, before the others have their turn.
const BURST: usize = 8;
/// Bytes that may wait for the session's socket before the sockets are no longer read.
pub const UNSENT: usize = 128 * 1024;
/// How long a closed socket may take to deliver its last data.
const LINGER: Duration = Duration::from_secs(5);

/// The connection has ended.
pub struct Dead;

/// A channel and its socket.
pub struct Line {
    channel: Channel,
    /// Our end of the pair, or the agent. `None` once the channel is being closed.
    socket: Option<OwnedFd>,
    /// Data for the socket.
    inbound: Vec<u8>,
    /// Data from the socket, to be sent.
    outbound: Vec<u8>,
    /// The socket may be readable.
    readable: bool,
    /// The socket's peer closed it, since when.
    gone: Option<Instant>,
    /// The socket's end of file was read.
    ended: bool,
    introduction: Option<Introduction>,
    /// The peer refused the preamble.
    disagrees: bool,
}

/// A message to the socket's peer, and its answer, before the channel's data may follow; both start with their lengths.
/// (Some agents read one message of their input, and the next only when more arrives.)
struct Introduction {
    /// The answer so far.
    answer: Vec<u8>,
    /// The first byte of an answer that accepts.
    consent: u8,
    /// The message to send after a refusal.
    otherwise: Option<Vec<u8>>,
    /// Data of the channel meanwhile. It shows whether the channel is closed, so that this does not wait for the
    /// answer.
    waiting: Vec<u8>,
}

/// The longest answer to a preamble, in bytes.
const LONGEST_ANSWER: usize = 256;

impl Introduction {
    /// Returns how many bytes of the answer are missing; `None` for an invalid one.
    fn missing(&self) -> Option<usize> {
        let Some((length, rest)) = self.answer.split_first_chunk::<4>() else { return Some(4 - self.answer.len()) };
        let length = u32::from_be_bytes(*length) as usize;
        (1..=LONGEST_ANSWER).contains(&length).then(|| length.saturating_sub(rest.len()))
    }
}

/// Moves data both ways; returns whether any line may have more. Finished lines are removed.
///
/// # Errors
/// The connection has ended.
pub fn relay(lines: &mut Vec<Line>, link: &Link, buffer: &mut [u8]) -> Result<bool, Dead> {
    let mut more = false;
    let mut full = link.unsent_bytes() > UNSENT;
    let mut place = 0;
    while let Some(line) = lines.get_mut(place) {
        more |= line.deliver(link, buffer)?;
        if !full {
            more |= line.collect(buffer)?;
            full = link.unsent_bytes() > UNSENT;
        }
        if line.is_over()? {
            lines.swap_remove(place);
        } else {
            place += 1;
        }
    }
    Ok(more)
}

impl Line {
    /// Connects `channel` to a non-blocking socket; without one it is only closed.
    pub fn new(channel: Channel, socket: Option<OwnedFd>) -> Line {
        let ended = socket.is_none();
        let (inbound, outbound) = (Vec::new(), Vec::new());
        let (introduction, disagrees) = (None, false);
        Line { channel, socket, inbound, outbound, readable: true, gone: None, ended, introduction, disagrees }
    }

    /// Sends the socket's peer `message` first. If its answer does not start with `consent`, sends the message
    /// `otherwise`; whatever it answers to that, the channel's data follows.
    pub fn introduced(mut self, message: Vec<u8>, consent: u8, otherwise: Option<Vec<u8>>) -> Line {
        self.inbound = message;
        self.introduction = Some(Introduction { answer: Vec::new(), consent, otherwise, waiting: Vec::new() });
        self
    }

    /// Whether the peer refused the preamble.
    pub fn disagrees(&self) -> bool {
        self.disagrees
    }

    /// Its channel.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Its socket, unless the channel is being closed.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether received data waits for the socket.
    pub fn is_behind(&self) -> bool {
        self.socket.is_some() && !self.inbound.is_empty()
    }

    /// Returns when a line whose peer is closed is given up. Its descriptor would be ready all the time; the remaining
    /// data waits for the session.
    pub fn lingers_until(&self) -> Option<Instant> {
        self.gone.map(|gone| gone + LINGER)
    }

    /// Returns what to poll the socket for. `room`: the session's socket accepts more.
    pub fn interest(&self, room: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.ended && self.outbound.is_empty() && room);
        flags.set(PollFlags::OUT, !self.inbound.is_empty());
        flags
    }

    /// Notes what the socket is ready for.
    pub fn wake(&mut self, ready: PollFlags, room: bool) {
        self.readable |= ready.intersects(PollFlags::IN | PollFlags::HUP);
        let pending = !self.outbound.is_empty() || !self.inbound.is_empty() || !room;
        if ready.contains(PollFlags::HUP) && pending {
            self.gone = Some(Instant::now());
        }
    }

    /// Moves received data to the socket; returns whether there may be more.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn deliver(&mut self, link: &Link, buffer: &mut [u8]) -> Result<bool, Dead> {
        let Some(socket) = &self.socket else { return Ok(false) };
        for _ in 0..BURST {
            if !self.inbound.is_empty() {
                match send(socket, &self.inbound, SendFlags::NOSIGNAL) {
                    Ok(count) => drop(self.inbound.drain(..count)),
                    Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => return Ok(false),
                    // The session is gone, so drop the data.
                    Err(_) => self.close(),
                }
                if self.inbound.is_empty() {
                    self.inbound = Vec::new();
                }
                return Ok(self.socket.is_some() && self.inbound.is_empty());
            }
            let waits = self.introduction.as_ref().is_some_and(|introduction| !introduction.waiting.is_empty());
            if waits || !self.channel.may_have_data() {
                return Ok(false);
            }
            let count = match self.channel.read(0, buffer) {
                Ok(count @ 1..) => count,
                Err(error) if !ffi::would_block(&error) => return Err(Dead),
                // A tunnel and an agent have no stderr: drop such data.
                Ok(_) | Err(_) => match link.drop_unread(&self.channel, &[0], buffer) {
                    Ok(0) => return Ok(false),
                    Ok(_) => continue,
                    Err(_) => return Err(Dead),
                },
            };
            if let Some(introduction) = &mut self.introduction {
                introduction.waiting = buffer[..count].to_vec();
                return Ok(false);
            }
            match send(socket, &buffer[..count], SendFlags::NOSIGNAL) {
                Ok(sent) if sent == count => {}
                Ok(sent) => self.inbound = buffer[sent..count].to_vec(),
                Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => self.inbound = buffer[..count].to_vec(),
                Err(_) => {
                    self.close();
                    return Ok(false);
                }
            }
            if !self.inbound.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves the socket's data to the channel; returns whether there may be more.
    fn collect(&mut self, buffer: &mut [u8]) -> Result<bool, Dead> {
        for _ in 0..BURST {
            if !self.outbound.is_empty() {
                if self.channel.write_window() == 0 {
                    return Ok(false);
                }
                match self.write_outbound()? {
                    0 => return Ok(false),
                    count => drop(self.outbound.drain(..count)),
                }
                if self.outbound.is_empty() {
                    self.outbound = Vec::new();
                }
                continue;
            }
            let Some(socket) = self.socket.as_ref().filter(|_| self.readable && !self.ended) else { return Ok(false) };
            let missing = self.introduction.as_ref().map(Introduction::missing);
            let most = match missing {
                None => WRITE_SIZE,
                Some(Some(missing)) => missing,
                Some(None) => {
                    self.close();
                    return Ok(true);
                }
            };
            match recv(socket, &mut buffer[..most], RecvFlags::empty()) {
                Ok((0, _)) => self.ended = true,
                Ok((count, _)) if missing.is_some() => {
                    self.hear_answer(&buffer[..count]);
                    return Ok(true);
                }
                Ok((count, _)) => self.outbound = buffer[..count].to_vec(),
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.readable = false;
                    return Ok(false);
                }
                Err(_) => self.ended = true,
            }
        }
        Ok(true)
    }

    /// Reads a part of the answer to the preamble.
    fn hear_answer(&mut self, bytes: &[u8]) {
        let Some(introduction) = &mut self.introduction else { return };
        introduction.answer.extend_from_slice(bytes);
        if introduction.answer.len() <= 4 || introduction.missing() != Some(0) {
            return;
        }
        let agrees = introduction.answer[4] == introduction.consent;
        self.disagrees |= !agrees;
        match introduction.otherwise.take().filter(|_| !agrees) {
            Some(otherwise) => {
                introduction.answer.clear();
                self.inbound = otherwise;
            }
            None => {
                self.inbound = std::mem::take(&mut introduction.waiting);
                self.introduction = None;
            }
        }
    }

    fn write_outbound(&mut self) -> Result<usize, Dead> {
        /// libssh2.h: CHANNEL_CLOSED, CHANNEL_EOF_SENT; both concern only this channel.
        const CLOSED: [ErrorCode; 2] = [ErrorCode::Session(-26), ErrorCode::Session(-27)];
        match self.channel.write(&self.outbound) {
            Ok(count) => Ok(count),
            Err(error) if ffi::would_block(&error) => Ok(0),
            Err(error) if CLOSED.contains(&error.code()) => {
                self.close();
                Ok(0)
            }
            Err(_) => Err(Dead),
        }
    }

    /// Closes the socket: from here on the channel is only being closed.
    fn close(&mut self) {
        self.socket = None;
        self.inbound = Vec::new();
        self.outbound = Vec::new();
        self.introduction = None;
        self.ended = true;
    }

    /// Closes the channel when either end has, and all data is delivered; returns whether it is closed.
    fn is_over(&mut self) -> Result<bool, Dead> {
        let abandoned = self.gone.is_some_and(|gone| gone.elapsed() >= LINGER);
        let sent = self.ended && self.outbound.is_empty();
        let received = self.inbound.is_empty() && self.channel.eof();
        if self.socket.is_some() && (sent || received || abandoned) {
            if let Some(socket) = &self.socket {
                let _ = shutdown(socket, Shutdown::Both);
            }
            self.close();
        }
        if self.socket.is_some() {
            return Ok(false);
        }
        match self.channel.close() {
            Err(error) if ffi::would_block(&error) => Ok(false),
            // Closed, or unusable.
            _ => Ok(true),
        }
    }
}
