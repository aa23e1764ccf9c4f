//! The state of a session that libssh2's callbacks share: sending, receiving and messages.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Instant;
use std::{ptr, slice};

use libssh2_sys as raw;
use rustix::net::{AddressFamily, getsockname};
use ssh2::{Error, ErrorCode};

use super::exchange::must_wait;
use super::login::Login;
use super::memory::Memory;
use super::words::Words;
use super::{CALLBACK_AUTHAGENT, libssh2_session_callback_set2};
use crate::text::message::reason;

/// Bytes that a server may send before the login has ended. libssh2 keeps unusable data, such as banners, without a
/// limit.
const MOST_BEFORE_LOGIN: u64 = 1 << 20;
/// Bytes that libssh2 may read before it must return. It reads packets as long as any arrive: a server that sends
/// faster than they are read would otherwise hold our deadline and Ctrl-C up forever.
const BURST: usize = 256 << 10;
/// The same before the login, when only a few packets are expected.
const BURST_BEFORE_LOGIN: usize = 64 << 10;
/// Bytes that a server may send in addition to channel data: answers to keepalives, new keys. [`Memory`] limits what
/// libssh2 keeps of them; this limits the work.
pub(super) const MOST_BESIDES: u64 = 16 << 20;
/// Bytes of a packet with a single byte of data, with any cipher and code; so many times as much as the data may come with it.
const PACKET_PER_BYTE: u64 = 100;

/// Bytes that may wait for the socket. What we have to say stops far below that: data of channels at 128 KiB and a few packets, requests
/// at 1 MiB. The rest is answers to what the peer asks for, and a peer that goes on asking without reading any of them is not owed more.
const MOST_UNSENT: usize = 2 << 20;
/// Sent bytes after which their space is reused.
const GONE: usize = 64 << 10;

/// Bytes that are read at once where libssh2 gets fewer: it reads the server's identification byte by byte, which took 20 system calls of
/// each host, and gets the end of a command's data in bits.
const AHEAD: usize = 512;

/// Bytes kept of the server's first data: more than any server's lines, lists and part of a key exchange need.
const LONGEST_OPENING: usize = 48 << 10;

/// libssh2.h: LIBSSH2_ERROR_PROTO, here for a server that sends unrequested data.
pub const TOO_MUCH: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_PROTO);

/// libssh2.h: LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE.
const EXCHANGE_FAILED: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE);

/// Why pssh gave a connection up that the peer had not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The peer sent more before the login than a login needs.
    EarlyFlood,
    /// The peer sent far more than requested.
    Flood,
    /// What libssh2 holds for the session exceeds the memory limit, and none of it can be returned.
    Memory,
    /// The peer keeps sending requests and reads none of the answers.
    Unread,
    /// The peer showed another host key in a key re-exchange than the checked one.
    HostKey,
    /// A key re-exchange has failed.
    Exchange,
}

impl GivenUp {
    /// Returns the libssh2 error for it.
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
    /// Returns the end of `socket` for this system error, or for its end of file. The local end of a tunnel or command
    /// is a socket pair, which reports a reset if some of our data was still unread: the peer did not send that.
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
    /// Says what the server did, as far as we can see.
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
    /// The session, for callbacks that do not get it.
    pub(super) session: NonNull<raw::LIBSSH2_SESSION>,
    /// Whether the login succeeded.
    pub(super) logged_in: Cell<bool>,
    /// The answerer of a keyboard-interactive authentication, during a call for it.
    pub(super) answerer: Cell<*mut c_void>,
    /// The memory of libssh2 for the session.
    pub(super) memory: Memory,
    pub(super) dead: Cell<bool>,
    pub(super) given_up: Cell<Option<GivenUp>>,
    /// How the socket ended, once a read has noticed.
    pub(super) socket_end: Cell<Option<SocketEnd>>,
    /// Whether a key exchange has agreed on methods.
    pub(super) agreed: Cell<bool>,
    /// Whether only the ciphers, MACs and compressions of the first key exchange can be agreed on.
    pub(super) keeps_methods: Cell<bool>,
    /// Whether the first packet of our part of a key re-exchange was held back, and not sent since.
    pub(super) postponed: Cell<bool>,
    /// The checked host key.
    pub(super) host_key: RefCell<Vec<u8>>,
    /// The peer's data up to the check of its host key.
    pub(super) opening: RefCell<Vec<u8>>,
    /// When the peer last sent anything.
    pub(super) heard: Cell<Instant>,
    /// Bytes received so far.
    pub(super) received: Cell<u64>,
    /// Bytes that the data of all channels justifies.
    pub(super) expected: Cell<u64>,
    /// Bytes that may wait to be read for channels: their windows.
    pub(super) granted: Cell<u64>,
    /// Bytes passed to libssh2 since the socket was last empty.
    pub(super) burst: Cell<usize>,
    /// How many bytes may be read before the socket looks empty.
    pub(super) allowed: Cell<usize>,
    /// Data from the socket that libssh2 has not asked for yet. It gets all of it before it finds that nothing more is there.
    pub(super) ahead: RefCell<Ahead>,
    /// Data from libssh2 that the socket has not accepted yet.
    pub(super) unsent: RefCell<Unsent>,
    /// Whether to hold it all back from the socket.
    pub(super) gathers: Cell<bool>,
    /// What a driver's step has done so far; `None` outside of a step.
    pub(super) step: Cell<Option<Step>>,
    /// Channels to the agent that the server opened and the relay has not taken yet.
    pub(super) agent_channels: RefCell<Vec<NonNull<raw::LIBSSH2_CHANNEL>>>,
    /// How many more of them it may open. At 0 the callback is removed, and libssh2 refuses.
    pub(super) agent_room: Cell<usize>,
    /// Facts from the packets of the login.
    pub(super) login: Login,
    /// The server's texts.
    pub(super) words: Words,
}

impl LinkState {
    /// Returns the bytes that may have been received by now if `waiting` bytes of data wait to be read.
    pub(super) fn most(&self, waiting: u64) -> u64 {
        if !self.logged_in.get() {
            return MOST_BEFORE_LOGIN;
        }
        self.expected.get().saturating_add(waiting.saturating_mul(PACKET_PER_BYTE))
    }

    /// Adds a window.
    pub(super) fn grant(&self, window: u64) {
        self.granted.set(self.granted.get().saturating_add(window));
        self.memory.grant(window);
    }

    /// Removes a channel with this window.
    pub(super) fn release(&self, window: u64) {
        self.memory.release(window);
    }

    /// Counts this many more bytes through a channel with this `window`: they justify their packets and our answers. If
    /// all data for the channel `is_drained`, it shows whether the server sends unrequested data.
    pub(super) fn moved(&self, bytes: u64, is_drained: bool, window: u64) {
        self.expected.set(self.expected.get().saturating_add(bytes.saturating_mul(PACKET_PER_BYTE)));
        // Data for other channels of the session may wait for them.
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

    /// Notes how the socket ended. The first report counts: after an error a socket only reports that it is closed.
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

    /// Returns what a session's abstract slot holds: its state, or `None` once its link is gone.
    ///
    /// # Safety
    /// `context` is the address of the abstract slot of a live session.
    pub(super) unsafe fn of<'a>(context: *mut *mut c_void) -> Option<&'a LinkState> {
        // SAFETY: as the caller promises; the slot holds null or the state of a live Link, which is only ever accessed by shared
        // references.
        unsafe { (*context).cast::<LinkState>().as_ref() }
    }
}

/// What a driver's step has done so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It has sent nothing yet.
    Begun,
    /// It has sent something, and no answer can be there yet: it finds nothing to read.
    HasSent,
}

/// Data that was read before libssh2 asked for it.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    /// How many of them libssh2 has.
    taken: usize,
}

impl Ahead {
    /// Returns how many bytes there are.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Moves at most `most` bytes to `buffer`, and returns how many.
    ///
    /// # Safety
    /// The buffer has `most` writable bytes.
    unsafe fn take(&mut self, buffer: *mut u8, most: usize) -> usize {
        let rest = &self.bytes[self.taken..];
        let count = rest.len().min(most);
        // SAFETY: both have `count` bytes, and the vector is not the caller's buffer.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), buffer, count) };
        self.taken += count;
        if self.taken == self.bytes.len() {
            *self = Ahead::default();
        }
        count
    }
}

#[derive(Default)]
pub(super) struct Unsent {
    pub(super) bytes: Vec<u8>,
    /// How many of them were sent.
    pub(super) sent: usize,
}

impl Unsent {
    /// Returns how many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn push(&mut self, bytes: &[u8]) {
        // On a slow link it may take long until everything is sent at once.
        if self.sent >= GONE && self.sent >= self.waiting() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn take_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.bytes.len() {
            // Freed, not only cleared: there is one per connection, and a burst may have made it large.
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
    // SAFETY: libssh2 passes a buffer of at least `length` writable bytes.
    let ahead = state.ahead.try_borrow_mut().map_or(0, |mut ahead| unsafe { ahead.take(buffer.cast(), length) });
    if ahead > 0 {
        return passed_on(state, ahead);
    }
    if state.step.get() == Some(Step::HasSent) {
        state.burst.set(0);
        return AGAIN;
    }
    let is_bit = state.allowed.get() <= AHEAD || length == 1 && !state.logged_in.get();
    let reads_ahead = is_bit && length < AHEAD;
    let mut bytes = if reads_ahead { vec![0; AHEAD] } else { Vec::new() };
    let (into, most) = if reads_ahead { (bytes.as_mut_ptr().cast(), AHEAD) } else { (buffer, length) };
    // SAFETY: the buffer has `most` writable bytes.
    let received = unsafe { libc::recv(socket, into, most, flags) };
    if received > 0 {
        if state.host_key.borrow().is_empty() {
            // SAFETY: recv(2) has written so many bytes to the buffer.
            state.keep_opening(unsafe { slice::from_raw_parts(into.cast::<u8>(), received as usize) });
        }
        state.heard.set(Instant::now());
        if reads_ahead && let Ok(mut ahead) = state.ahead.try_borrow_mut() {
            bytes.truncate(received as usize);
            *ahead = Ahead { bytes, taken: 0 };
            // SAFETY: as above.
            let taken = unsafe { ahead.take(buffer.cast(), length) };
            drop(ahead);
            return passed_on(state, taken);
        }
        return passed_on(state, received as usize);
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
        // Nothing is lost before the login, and libssh2 reports what it was doing.
        (false, false) if received == 0 => 0,
        (false, false) => -(error.raw_os_error().unwrap_or(libc::EIO) as isize),
    }
}

/// Counts bytes that libssh2 gets, and returns what to tell it.
fn passed_on(state: &LinkState, bytes: usize) -> isize {
    if state.allowed.get() != usize::MAX {
        state.allowed.set(state.allowed.get() - bytes);
    }
    state.received.set(state.received.get().wrapping_add(bytes as u64));
    state.burst.set(state.burst.get() + bytes);
    if state.received.get() > state.most(state.granted.get()) {
        state.give_up(if state.logged_in.get() { GivenUp::Flood } else { GivenUp::EarlyFlood });
        return -(libc::EAGAIN as isize);
    }
    bytes as isize
}

pub(super) type AgentCallback =
    unsafe extern "C" fn(*mut raw::LIBSSH2_SESSION, *mut raw::LIBSSH2_CHANNEL, *mut *mut c_void);

/// Only records the channel: it is called from within any call of libssh2 that has read the server's request.
pub(super) unsafe extern "C" fn agent_opened(
    session: *mut raw::LIBSSH2_SESSION,
    channel: *mut raw::LIBSSH2_CHANNEL,
    context: *mut *mut c_void,
) {
    // SAFETY: libssh2 passes the live session that is locked for the call that it is in, a channel without another owner,
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
        let is_step = state.step.get().is_some();
        if is_step {
            state.step.set(Some(Step::HasSent));
        }
        if let Some(unsent) =
            unsent.as_mut().filter(|unsent| is_step || state.gathers.get() || !unsent.bytes.is_empty())
        {
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
