//! What is known about a session while libssh2 works on it, and the callbacks through which libssh2 sends, receives and tells.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::slice;
use std::time::Instant;

use libssh2_sys as raw;
use rustix::net::{AddressFamily, getsockname};
use ssh2::{Error, ErrorCode};

use super::exchange::must_wait;
use super::login::Login;
use super::memory::Memory;
use super::words::Words;
use super::{CALLBACK_AUTHAGENT, libssh2_session_callback_set2};
use crate::text::message::reason;

/// Bytes that a server may send before the login has ended. libssh2 keeps what it cannot use, such as banners, without a limit.
const MOST_BEFORE_LOGIN: u64 = 1 << 20;
/// Bytes that libssh2 is given before it has to come back, as if there were no more for the moment. It takes packets as long as any
/// come: a server that sends faster than they are taken would keep it, and with it our deadline and Ctrl-C, for ever.
const BURST: usize = 256 << 10;
/// The same before the login, when no more than a few packets are expected.
const BURST_BEFORE_LOGIN: usize = 64 << 10;
/// Bytes that a server may send besides what it sends for channels: answers to keepalives, new keys. What libssh2 keeps of them is
/// bounded by [`Memory`]; this bounds the work that they make.
pub(super) const MOST_BESIDES: u64 = 16 << 20;
/// Bytes of a packet with a single byte of data, with any cipher and code; so many times as much as the data may come with it.
const PACKET_PER_BYTE: u64 = 100;

/// Bytes that may wait for the socket. What we have to say stops far below that: data of channels at 128 KiB and a few packets, requests
/// at 1 MiB. The rest is answers to what the peer asks for, and a peer that goes on asking without reading any of them is not owed more.
const MOST_UNSENT: usize = 2 << 20;
/// Bytes that have gone before their room is used again.
const GONE: usize = 64 << 10;

/// Bytes of what a server says first that are kept: more than any server's lines and lists and its part of a key exchange take.
const LONGEST_OPENING: usize = 48 << 10;

/// libssh2.h: LIBSSH2_ERROR_PROTO, here for a server that sends what nobody has asked for.
pub const TOO_MUCH: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_PROTO);

/// libssh2.h: LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE.
const EXCHANGE_FAILED: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE);

/// Why a connection was given up although the peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The peer has sent more than a login takes before it has ended.
    EarlyFlood,
    /// The peer has sent far more than it had any reason to.
    Flood,
    /// What libssh2 keeps for the session takes more memory than the limit, and none of it can be given out.
    Memory,
    /// The peer goes on asking for answers and does not read any.
    Unread,
    /// The peer has shown another host key in a key re-exchange than the one that was checked.
    HostKey,
    /// A key re-exchange has failed.
    Exchange,
}

impl GivenUp {
    /// As an error of libssh2.
    pub fn error(self) -> Error {
        match self {
            GivenUp::EarlyFlood => Error::new(TOO_MUCH, "the host sent more than 1 MiB before the login"),
            GivenUp::Flood | GivenUp::Memory => Error::new(TOO_MUCH, "the host keeps sending unrequested data"),
            GivenUp::Unread => Error::new(TOO_MUCH, "the host keeps asking for answers and does not read them"),
            GivenUp::HostKey => Error::new(EXCHANGE_FAILED, "the host key changed in a key re-exchange"),
            GivenUp::Exchange => Error::new(EXCHANGE_FAILED, "the key re-exchange failed"),
        }
    }
}

/// How the socket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// By its end of file.
    Closed,
    /// Behind a jump host or a command: what these pass on is the same whether the server has closed or reset it (RFC 4254 has but one end
    /// of a channel).
    Ended,
    /// By this error of the system.
    Failed(i32),
}

impl SocketEnd {
    /// The end of `socket` that this error of the system tells of, or its end of file. The near end of a tunnel or of a command is a pair of
    /// sockets here, which says that it was reset where something that we have sent was still to be taken: that is no word of the peer.
    pub(super) fn of(socket: BorrowedFd<'_>, code: Option<i32>) -> SocketEnd {
        let is_ours = || matches!(getsockname(socket).map(|name| name.address_family()), Ok(AddressFamily::UNIX));
        match code {
            None | Some(libc::ECONNRESET) if is_ours() => SocketEnd::Ended,
            None => SocketEnd::Closed,
            Some(code) => SocketEnd::Failed(code),
        }
    }
}

impl fmt::Display for SocketEnd {
    /// What the server has done, as far as we can see.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketEnd::Closed => f.write_str("the server closed the connection"),
            SocketEnd::Ended => f.write_str("the server ended the connection"),
            SocketEnd::Failed(libc::ECONNRESET) => f.write_str("the server reset the connection"),
            SocketEnd::Failed(code) => {
                write!(f, "the connection failed: {}", reason(&io::Error::from_raw_os_error(*code)))
            }
        }
    }
}

pub(super) struct LinkState {
    /// The session, for the callbacks that are not given it.
    pub(super) session: NonNull<raw::LIBSSH2_SESSION>,
    /// Whether the login has ended well.
    pub(super) logged_in: Cell<bool>,
    /// Who answers the questions of a keyboard-interactive authentication, during a call for it.
    pub(super) answerer: Cell<*mut c_void>,
    /// What libssh2 keeps for the session.
    pub(super) memory: Memory,
    pub(super) dead: Cell<bool>,
    pub(super) given_up: Cell<Option<GivenUp>>,
    /// How the socket has ended, once a read has met that.
    pub(super) socket_end: Cell<Option<SocketEnd>>,
    /// Whether the methods of a key exchange were agreed on at some time.
    pub(super) agreed: Cell<bool>,
    /// Whether no other ciphers, codes and compressions than those of the first key exchange can be agreed on any more.
    pub(super) keeps_methods: Cell<bool>,
    /// Whether the first packet of our part of a key re-exchange was refused, and not sent since.
    pub(super) postponed: Cell<bool>,
    /// The host key that was checked.
    pub(super) host_key: RefCell<Vec<u8>>,
    /// What the peer has sent until its host key was checked.
    pub(super) opening: RefCell<Vec<u8>>,
    /// When the peer last sent anything.
    pub(super) heard: Cell<Instant>,
    /// Bytes received so far.
    pub(super) received: Cell<u64>,
    /// Bytes that may have been received for what has gone through the channels so far.
    pub(super) expected: Cell<u64>,
    /// Bytes that may have come for channels and wait to be read: their windows.
    pub(super) granted: Cell<u64>,
    /// Bytes that libssh2 was given since the socket was last empty.
    pub(super) burst: Cell<usize>,
    /// How many bytes may be read before it looks as if nothing more were there.
    pub(super) allowed: Cell<usize>,
    /// What libssh2 has sent and the socket has not taken yet.
    pub(super) unsent: RefCell<Unsent>,
    /// Whether the socket is not to get any of it at once.
    pub(super) gathers: Cell<bool>,
    /// Channels to our agent that the server has opened and nobody has taken yet.
    pub(super) agent_channels: RefCell<Vec<NonNull<raw::LIBSSH2_CHANNEL>>>,
    /// How many more of them it may open. With none left the callback is out, and libssh2 refuses.
    pub(super) agent_room: Cell<usize>,
    /// What the packets of the login have said.
    pub(super) login: Login,
    /// What the server has said in words.
    pub(super) words: Words,
}

impl LinkState {
    /// Bytes that may have been received by now if `waiting` bytes of data wait to be read.
    pub(super) fn most(&self, waiting: u64) -> u64 {
        if !self.logged_in.get() {
            return MOST_BEFORE_LOGIN;
        }
        self.expected.get().saturating_add(waiting.saturating_mul(PACKET_PER_BYTE))
    }

    /// Notes that there is one more window.
    pub(super) fn grant(&self, window: u64) {
        self.granted.set(self.granted.get().saturating_add(window));
        self.memory.grant(window);
    }

    /// Notes that a channel with this window is no more.
    pub(super) fn release(&self, window: u64) {
        self.memory.release(window);
    }

    /// Notes that so many more bytes went through a channel with this `window`: their packets were to be expected, or what is
    /// answered to them. Where all that has come for the channel `is_drained`, it shows whether the server sends what nobody has
    /// asked for.
    pub(super) fn moved(&self, bytes: u64, is_drained: bool, window: u64) {
        self.expected.set(self.expected.get().saturating_add(bytes.saturating_mul(PACKET_PER_BYTE)));
        // What has come for other channels of the session may wait for them.
        let waiting = self.granted.get().saturating_sub(window);
        if is_drained && self.received.get() > self.most(waiting) {
            self.give_up(GivenUp::Flood);
        }
    }

    pub(super) fn keep_opening(&self, bytes: &[u8]) {
        if let Ok(mut opening) = self.opening.try_borrow_mut() {
            let room = LONGEST_OPENING.saturating_sub(opening.len());
            opening.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Notes how the socket has ended. The first word counts: after an error a socket only says that it is closed.
    pub(super) fn note_end(&self, end: SocketEnd) {
        if self.socket_end.get().is_none() {
            self.socket_end.set(Some(end));
        }
    }

    pub(super) fn give_up(&self, why: GivenUp) {
        if self.given_up.get().is_none() {
            self.given_up.set(Some(why));
        }
        self.dead.set(true);
    }

    /// What a session's abstract slot holds: its state, or nothing once its link is gone.
    ///
    /// # Safety
    /// `context` is the address of the abstract slot of a live session.
    pub(super) unsafe fn of<'a>(context: *mut *mut c_void) -> Option<&'a LinkState> {
        // SAFETY: as the caller promises; the slot holds null or the state of a live Link, which is only ever accessed by shared
        // references.
        unsafe { (*context).cast::<LinkState>().as_ref() }
    }
}

#[derive(Default)]
pub(super) struct Unsent {
    pub(super) bytes: Vec<u8>,
    /// How many of them have gone.
    pub(super) sent: usize,
}

impl Unsent {
    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn push(&mut self, bytes: &[u8]) {
        // On a slow link it may be long before everything has gone at once.
        if self.sent >= GONE && self.sent >= self.waiting() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn take_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.bytes.len() {
            // Not only cleared: there is one of these per connection, and a burst may have made it large.
            *self = Unsent::default();
        }
    }
}

pub(super) type ReceiveCallback = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut *mut c_void) -> isize;

pub(super) unsafe extern "C" fn receive(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    context: *mut *mut c_void,
) -> isize {
    const AGAIN: isize = -(libc::EAGAIN as isize);
    // SAFETY: libssh2 passes the address of the session's abstract slot.
    let Some(state) = (unsafe { LinkState::of(context) }) else {
        return 0;
    };
    let length = length.min(state.allowed.get());
    let burst = if state.logged_in.get() { BURST } else { BURST_BEFORE_LOGIN };
    if state.given_up.get().is_some() || length == 0 || state.burst.get() >= burst || state.memory.is_full() {
        state.burst.set(0);
        return AGAIN;
    }
    // SAFETY: libssh2 passes a buffer of `length` writable bytes.
    let received = unsafe { libc::recv(socket, buffer, length, flags) };
    if received > 0 {
        if state.allowed.get() != usize::MAX {
            state.allowed.set(state.allowed.get() - received as usize);
        }
        if state.host_key.borrow().is_empty() {
            // SAFETY: recv(2) has written so many bytes to the buffer.
            state.keep_opening(unsafe { slice::from_raw_parts(buffer.cast::<u8>(), received as usize) });
        }
        state.heard.set(Instant::now());
        state.received.set(state.received.get().wrapping_add(received as u64));
        state.burst.set(state.burst.get() + received as usize);
        if state.received.get() > state.most(state.granted.get()) {
            state.give_up(if state.logged_in.get() { GivenUp::Flood } else { GivenUp::EarlyFlood });
            return AGAIN;
        }
        return received;
    }
    state.burst.set(0);
    let error = io::Error::last_os_error();
    let is_transient = received < 0 && [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind());
    if !is_transient {
        let code = error.raw_os_error().unwrap_or(libc::EIO);
        // SAFETY: libssh2 passes the session's socket, which is open during the call.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        state.note_end(SocketEnd::of(socket, (received != 0).then_some(code)));
    }
    match (is_transient, state.logged_in.get()) {
        (true, _) => AGAIN,
        (false, true) => {
            state.dead.set(true);
            AGAIN
        }
        // Nothing is lost before the login, and libssh2 says what it was doing.
        (false, false) if received == 0 => 0,
        (false, false) => -(error.raw_os_error().unwrap_or(libc::EIO) as isize),
    }
}

pub(super) type AgentCallback =
    unsafe extern "C" fn(*mut raw::LIBSSH2_SESSION, *mut raw::LIBSSH2_CHANNEL, *mut *mut c_void);

/// Only notes the channel: it is called from within whatever call of libssh2 has read the server's request.
pub(super) unsafe extern "C" fn agent_opened(
    session: *mut raw::LIBSSH2_SESSION,
    channel: *mut raw::LIBSSH2_CHANNEL,
    context: *mut *mut c_void,
) {
    // SAFETY: libssh2 passes the live session that is locked for the call that it is in, a channel that nobody else has,
    // and the address of the session's abstract slot, which holds null or the state of a live Link. `agent_channels` is
    // borrowed only by `Link::take_agent_channel`, which does not call libssh2. Taking a callback out only sets a pointer.
    unsafe {
        let state = LinkState::of(context);
        // A channel that is not taken is freed with its session.
        let (Some(state), Some(channel)) = (state, NonNull::new(channel)) else { return };
        if let Ok(mut channels) = state.agent_channels.try_borrow_mut() {
            channels.push(channel);
        }
        state.agent_room.set(state.agent_room.get().saturating_sub(1));
        if state.agent_room.get() == 0 {
            libssh2_session_callback_set2(session, CALLBACK_AUTHAGENT, None);
        }
    }
}

pub(super) type SendCallback = unsafe extern "C" fn(c_int, *const c_void, usize, c_int, *mut *mut c_void) -> isize;

pub(super) unsafe extern "C" fn send(
    socket: c_int,
    buffer: *const c_void,
    length: usize,
    flags: c_int,
    context: *mut *mut c_void,
) -> isize {
    const AGAIN: isize = -(libc::EAGAIN as isize);
    // SAFETY: libssh2 passes the address of the session's abstract slot and a buffer of `length` readable bytes.
    let (state, bytes) = unsafe { (LinkState::of(context), slice::from_raw_parts(buffer.cast::<u8>(), length)) };
    let mut unsent = None;
    if let Some(state) = state {
        if must_wait(state) {
            return AGAIN;
        }
        if state.given_up.get() == Some(GivenUp::Unread) {
            // The beginning of it was dropped.
            return length as isize;
        }
        unsent = state.unsent.try_borrow_mut().ok();
        if let Some(unsent) = unsent.as_mut().filter(|unsent| state.gathers.get() || !unsent.bytes.is_empty()) {
            if unsent.waiting() + length > MOST_UNSENT {
                state.give_up(GivenUp::Unread);
                **unsent = Unsent::default();
            } else {
                unsent.push(bytes);
            }
            return length as isize;
        }
    }
    // SAFETY: as above. MSG_NOSIGNAL: a closed peer is an error, not a SIGPIPE.
    let sent = unsafe { libc::send(socket, buffer, length, flags | libc::MSG_NOSIGNAL) };
    let transient = [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::OutOfMemory];
    let taken = match usize::try_from(sent) {
        Ok(sent) => sent,
        Err(_) => {
            let error = io::Error::last_os_error();
            if transient.contains(&error.kind()) {
                0
            } else {
                // The next read finds only the end.
                let code = error.raw_os_error().unwrap_or(libc::EIO);
                if let Some(state) = state.filter(|_| code != libc::EPIPE) {
                    // SAFETY: as in `receive`.
                    state.note_end(SocketEnd::of(unsafe { BorrowedFd::borrow_raw(socket) }, Some(code)));
                }
                length
            }
        }
    };
    match unsent {
        Some(mut unsent) => {
            unsent.push(&bytes[taken..]);
            length as isize
        }
        // The session is being freed.
        None if taken == 0 && length > 0 => AGAIN,
        None => taken as isize,
    }
}
