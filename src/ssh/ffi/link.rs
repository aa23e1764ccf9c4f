//! The socket of a session, through which libssh2 sends and receives by callbacks of ours.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Instant;

use libssh2_sys as raw;
use rustix::io::Errno;
use rustix::net::SendFlags;
use ssh2::{Error, ErrorCode, Session};

use super::channel::{AGENT_WINDOW, Channel};
use super::exchange::{self, go_on, must_wait, note_failed_exchange};
use super::memory::{self, Memory};
use super::{
    CALLBACK_AUTHAGENT, CALLBACK_DEBUG, CALLBACK_RECV, CALLBACK_SEND, GenericCallback, libssh2_session_callback_set2,
    would_block,
};

/// Bytes that a server may send before the login has ended. libssh2 keeps what it cannot use, such as banners, without a limit.
const MOST_BEFORE_LOGIN: u64 = 1 << 20;
/// Bytes that libssh2 is given before it has to come back, as if there were no more for the moment. It takes packets as long as any
/// come: a server that sends faster than they are taken would keep it, and with it our deadline and Ctrl-C, for ever.
const BURST: usize = 256 << 10;
/// The same before the login, when no more than a few packets are expected.
const BURST_BEFORE_LOGIN: usize = 64 << 10;
/// Bytes that a server may send besides what it sends for channels: answers to keepalives, new keys. What libssh2 keeps of them is
/// bounded by [`Memory`]; this bounds the work that they make.
const MOST_BESIDES: u64 = 16 << 20;
/// Bytes of a packet with a single byte of data, with any cipher and code; so many times as much as the data may come with it.
const PACKET_PER_BYTE: u64 = 100;

/// libssh2.h: LIBSSH2_ERROR_PROTO, here for a server that sends what nobody has asked for.
pub const TOO_MUCH: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_PROTO);

/// libssh2.h: LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE.
const EXCHANGE_FAILED: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE);

/// Why a connection was given up although the peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The peer has sent far more than it had any reason to.
    Flood,
    /// What libssh2 keeps for the session takes more memory than the limit, and none of it can be given out.
    Memory,
    /// The peer has shown another host key in a key re-exchange than the one that was checked.
    HostKey,
    /// A key re-exchange has failed.
    Exchange,
}

impl GivenUp {
    /// As an error of libssh2.
    pub fn error(self) -> Error {
        match self {
            GivenUp::Flood => Error::new(TOO_MUCH, "the host keeps sending data that was not asked for"),
            GivenUp::Memory => Error::new(TOO_MUCH, "the host sends more unknown messages than fit in memory"),
            GivenUp::HostKey => Error::new(EXCHANGE_FAILED, "the host shows another host key in a key re-exchange"),
            GivenUp::Exchange => Error::new(EXCHANGE_FAILED, "the key re-exchange failed"),
        }
    }
}

/// What is known about the socket of a session, from the beginning of the session to its end.
///
/// * **The end of the connection.** After the login libssh2 gives up everything that it has queued for a channel when the socket
///   fails. So the end of the connection is reported to libssh2 as "nothing there yet" and noted here: what was received can still
///   be read, then the link is dead.
/// * **What waits to be sent.** libssh2 never has to wait for the socket to take a packet: what it does not take at once is kept
///   here, for [`Link::flush`]. A packet that is half sent would block every other call on the session until the one that began it
///   is repeated, for some packets with the same address on the stack (libssh2 issues 1672 and 1945). What can no longer be sent
///   counts as sent: the next read tells.
/// * **A key re-exchange.** When the peer begins one, libssh2 1.11.2_DEV starts its part from within the reader of packets, and reads
///   on there. If that reader has stored the beginning of a packet and then would block, it clears the pointer to what it has
///   stored and keeps the length: the next read copies from NULL. So the first packet of our part, recognised by the method
///   of key exchange being undecided, is refused once as if the socket were full, before anything can have been stored. Every
///   later call of libssh2 goes on with the exchange from outside of the reader, where waiting is safe; the first is
///   [`Link::go_on`], which nothing else may precede: other packets would wait behind the refused one. docs/upstream/libssh2-rekey.md
///   has the cause in full.
/// * **The host key** of a re-exchange has to be the one that was checked; see [`Link::pin_host_key`].
/// * **Memory**: see [`Memory`].
pub struct Link {
    session: Session,
    // A box, since libssh2 keeps its address; a raw pointer, since the callbacks make a reference to it while `self` may
    // be borrowed.
    state: NonNull<LinkState>,
}

pub(super) struct LinkState {
    /// The session, for the callbacks that are not given it.
    pub(super) session: NonNull<raw::LIBSSH2_SESSION>,
    /// Whether the login has ended well.
    logged_in: Cell<bool>,
    /// Who answers the questions of a keyboard-interactive authentication, during a call for it.
    pub(super) answerer: Cell<*mut c_void>,
    /// What libssh2 keeps for the session.
    pub(super) memory: Memory,
    dead: Cell<bool>,
    given_up: Cell<Option<GivenUp>>,
    /// Whether the methods of a key exchange were agreed on at some time.
    pub(super) agreed: Cell<bool>,
    /// Whether the first packet of our part of a key re-exchange was refused, and not sent since.
    pub(super) postponed: Cell<bool>,
    /// The host key that was checked.
    pub(super) host_key: RefCell<Vec<u8>>,
    /// When the peer last sent anything.
    heard: Cell<Instant>,
    /// Bytes received so far.
    received: Cell<u64>,
    /// Bytes that may have been received for what has gone through the channels so far.
    expected: Cell<u64>,
    /// Bytes that may have come for channels and wait to be read: their windows.
    granted: Cell<u64>,
    /// Bytes that libssh2 was given since the socket was last empty.
    burst: Cell<usize>,
    /// How many bytes may be read before it looks as if nothing more were there.
    pub(super) allowed: Cell<usize>,
    /// What libssh2 has sent and the socket has not taken yet.
    unsent: RefCell<Unsent>,
    /// Channels to our agent that the server has opened and nobody has taken yet.
    agent_channels: RefCell<Vec<NonNull<raw::LIBSSH2_CHANNEL>>>,
    /// How many more of them it may open. With none left the callback is out, and libssh2 refuses.
    agent_room: Cell<usize>,
    /// Whether the server has said that the user's key has a fixed command.
    forced_command: Cell<bool>,
}

impl LinkState {
    /// Bytes that may have been received by now if `waiting` bytes of data wait to be read.
    fn most(&self, waiting: u64) -> u64 {
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
struct Unsent {
    bytes: Vec<u8>,
    /// How many of them have gone.
    sent: usize,
}

impl Unsent {
    fn take_sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.bytes.len() {
            // Not only cleared: there is one of these per connection, and a burst may have made it large.
            *self = Unsent::default();
        }
    }
}

impl Link {
    /// Takes over the socket and the memory of `session`, which has just been made.
    pub fn watch(session: &Session) -> Link {
        let mut session_raw = session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        let state = NonNull::from(Box::leak(Box::new(LinkState {
            session: NonNull::from(&mut *session_raw),
            logged_in: Cell::new(false),
            answerer: Cell::new(ptr::null_mut()),
            memory: Memory::default(),
            dead: Cell::new(false),
            given_up: Cell::new(None),
            agreed: Cell::new(false),
            postponed: Cell::new(false),
            host_key: RefCell::default(),
            heard: Cell::new(Instant::now()),
            received: Cell::new(0),
            expected: Cell::new(0),
            granted: Cell::new(0),
            burst: Cell::new(0),
            allowed: Cell::new(usize::MAX),
            unsent: RefCell::default(),
            agent_channels: RefCell::default(),
            agent_room: Cell::new(0),
            forced_command: Cell::new(false),
        })));
        // SAFETY: `pointer` is a live session, locked by `session_raw`. `state` lives until Drop of the Link, which takes
        // it out of the session first. The types of `receive`, `send` and `debug` are the ones that libssh2.h gives for the
        // callbacks; libssh2 casts them back to those before calling them.
        unsafe {
            *raw::libssh2_session_abstract(pointer) = state.as_ptr().cast();
            memory::count(pointer);
            let receive: GenericCallback = std::mem::transmute::<ReceiveCallback, GenericCallback>(receive);
            libssh2_session_callback_set2(pointer, CALLBACK_RECV, Some(receive));
            let send: GenericCallback = std::mem::transmute::<SendCallback, GenericCallback>(send);
            libssh2_session_callback_set2(pointer, CALLBACK_SEND, Some(send));
            let debug: GenericCallback = std::mem::transmute::<DebugCallback, GenericCallback>(debug);
            libssh2_session_callback_set2(pointer, CALLBACK_DEBUG, Some(debug));
        }
        drop(session_raw);
        Link { session: session.clone(), state }
    }

    /// From now on `key` is the only host key: another one in a key re-exchange ends the connection, before the new keys are
    /// used (RFC 4253 section 9 lets a server change it; ssh(1) does not).
    pub fn pin_host_key(&self, key: &[u8]) {
        *self.state().host_key.borrow_mut() = key.to_vec();
    }

    /// Notes that the login has ended well. From now on what was received can be read although the connection has ended.
    pub fn log_in(&self) {
        let state = self.state();
        state.logged_in.set(true);
        state.expected.set(state.received.get() + MOST_BESIDES);
    }

    /// Goes on with a key re-exchange that the peer has just begun, see above. To be called after every call of libssh2 that may
    /// have read something.
    pub fn go_on(&self) {
        go_on(self.state());
    }

    /// Why the connection was given up, if it was.
    pub fn given_up(&self) -> Option<GivenUp> {
        self.state().given_up.get()
    }

    /// Notes that a call of libssh2 has failed that is made without a channel, and whose answer nobody awaits.
    pub fn note_failure(&self, error: &Error) {
        if let ErrorCode::Session(code) = error.code() {
            note_failed_exchange(self.state(), code as isize);
        }
    }

    /// Gives the connection up since it [is full](Link::is_full) and nothing can be given out.
    pub fn give_up_memory(&self) {
        self.state().give_up(GivenUp::Memory);
    }

    /// Whether nothing more is read until some of what is there is given out, since what is kept takes too much memory.
    pub fn is_full(&self) -> bool {
        self.state().memory.is_full()
    }

    /// Whether the connection has ended: nothing more will come after what is queued.
    pub fn is_dead(&self) -> bool {
        // SAFETY: `state` is valid until Drop and only ever accessed through shared references.
        unsafe { self.state.as_ref() }.dead.get()
    }

    /// When the peer last sent anything, be it only an answer to a keepalive.
    pub fn last_heard(&self) -> Instant {
        // SAFETY: as in `is_dead`.
        unsafe { self.state.as_ref() }.heard.get()
    }

    /// How many bytes have been taken off the socket so far. Any call for any channel may do so, and then nothing wakes
    /// those for whom something has come.
    pub fn received_bytes(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.state.as_ref() }.received.get()
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        let unsent = self.state().unsent.borrow();
        unsent.bytes.len() - unsent.sent
    }

    /// Sends what has been kept, as far as `socket`, the session's, takes it.
    pub fn flush(&self, socket: BorrowedFd<'_>) {
        let mut unsent = self.state().unsent.borrow_mut();
        while unsent.sent < unsent.bytes.len() {
            match rustix::net::send(socket, &unsent.bytes[unsent.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => unsent.take_sent(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return,
                // It can never be sent. The next read tells that the connection has ended.
                Err(_) => *unsent = Unsent::default(),
            }
        }
    }

    fn state(&self) -> &LinkState {
        // SAFETY: `state` is valid until Drop and only ever accessed through shared references.
        unsafe { self.state.as_ref() }
    }

    /// Calls `function`, in which libssh2 finds nothing to read: several requests can be sent before any of them looks for its
    /// answer.
    pub fn without_reading<R>(&self, function: impl FnOnce() -> R) -> R {
        self.allowing(0, function)
    }

    /// Reads from `channel` as [`Channel::read`], and gives all that came before the connection failed or the server said goodbye,
    /// however close together they came.
    ///
    /// libssh2 takes in all packets that there are before it gives out the first of them, and gives out nothing at all any more
    /// once one of them is a goodbye, or cannot be decrypted. So it gets what is last in the `socket` bit by bit, each too short
    /// for more than one packet to end in it.
    ///
    /// # Errors
    /// As of [`Channel::read`]. It would block, too, where there is something for another stream, which has to be read first.
    pub fn read(
        &self,
        socket: BorrowedFd<'_>,
        channel: &Channel,
        stream: i32,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        // What comes meanwhile is for the next call: a server may send faster than we read.
        let mut there = None;
        loop {
            let held = self.allowing(0, || channel.read(stream, buffer));
            // Where the channel cannot say that it takes more, a key exchange has to be finished first.
            let is_queued = channel.queued() > 0 && !channel.owes_window(buffer.len());
            if !matches!(&held, Err(error) if would_block(error)) || is_queued {
                return held;
            }
            let left =
                *there.get_or_insert_with(|| rustix::io::ioctl_fionread(socket).map_or(0, |count| count as usize));
            // Where nothing is there, it is still to be found out whether the connection has ended.
            let bit = if left > LAST_BYTES { left - LAST_BYTES } else { BIT };
            let before = self.received_bytes();
            let read = self.allowing(bit, || channel.read(stream, buffer));
            let received = self.received_bytes().wrapping_sub(before) as usize;
            let left = left.saturating_sub(received);
            if received == 0 || left == 0 || !matches!(&read, Err(error) if would_block(error)) {
                return read;
            }
            there = Some(left);
        }
    }

    /// Calls `function`, in which libssh2 finds only a bit of what there is to read.
    pub fn in_bits<R>(&self, function: impl FnOnce() -> R) -> R {
        self.allowing(BIT, function)
    }

    /// Calls `function`, in which libssh2 finds no more than so many bytes to read.
    fn allowing<R>(&self, bytes: usize, function: impl FnOnce() -> R) -> R {
        self.state().allowed.set(bytes);
        let result = function();
        self.state().allowed.set(usize::MAX);
        result
    }

    /// Whether the server has said that the key with which the user has logged in runs one command, whatever is asked for:
    /// `command=` of sshd(8)'s authorized_keys. OpenSSH says so from 7.7 on; a ForceCommand of sshd_config(5) it does not tell.
    pub fn has_forced_command(&self) -> bool {
        self.state().forced_command.get()
    }

    /// Lets the server open so many more channels to our agent, beyond those that it has opened (the `auth-agent@openssh.com`
    /// of OpenSSH's PROTOCOL.agent, draft-ietf-sshm-ssh-agent section 8). Without this, and with 0, all are refused.
    pub fn set_agent_room(&self, room: usize) {
        self.state().agent_room.set(room);
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked, and `agent_opened` has the type that libssh2.h gives for this callback;
        // libssh2 casts it back to that before calling it.
        unsafe {
            let opened: GenericCallback = std::mem::transmute::<AgentCallback, GenericCallback>(agent_opened);
            let callback = (room > 0).then_some(opened);
            libssh2_session_callback_set2(&mut *session_raw, CALLBACK_AUTHAGENT, callback);
        }
    }

    /// The next channel that the server has opened to our agent.
    pub fn take_agent_channel(&self) -> Option<Channel> {
        let mut channels = self.state().agent_channels.borrow_mut();
        let channel = (!channels.is_empty()).then(|| channels.remove(0))?;
        Some(Channel::adopt(&self.session, channel, AGENT_WINDOW))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut session_raw = self.session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        // SAFETY: the session is live and locked, so `receive` is not running. Afterwards the callback finds no state and
        // says "closed", which lets channels be freed without waiting for a peer; then nothing refers to the box, which
        // came from Box::leak and is freed once, here.
        unsafe {
            *raw::libssh2_session_abstract(pointer) = ptr::null_mut();
            let was_refused = self.state.as_ref().given_up.get() == Some(GivenUp::HostKey);
            drop(Box::from_raw(self.state.as_ptr()));
            if was_refused {
                // A packet still waits to be sent. libssh2 would not free the session before it is.
                exchange::let_end(pointer);
            }
        }
    }
}

/// Bytes at the end of what is in the socket that libssh2 gets bit by bit: more than a goodbye has, and what comes with it at the
/// end of a command.
const LAST_BYTES: usize = 512;
/// Bytes of a bit. The shortest packet has 28: four of its length, 8 that are encrypted, 16 of the tag (chacha20-poly1305).
const BIT: usize = 24;

type ReceiveCallback = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int, *mut *mut c_void) -> isize;

unsafe extern "C" fn receive(
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
        state.heard.set(Instant::now());
        state.received.set(state.received.get().wrapping_add(received as u64));
        state.burst.set(state.burst.get() + received as usize);
        if state.received.get() > state.most(state.granted.get()) {
            state.give_up(GivenUp::Flood);
            return AGAIN;
        }
        return received;
    }
    state.burst.set(0);
    let error = io::Error::last_os_error();
    let is_transient = received < 0 && [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind());
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

type DebugCallback = unsafe extern "C" fn(
    *mut raw::LIBSSH2_SESSION,
    c_int,
    *const c_char,
    c_int,
    *const c_char,
    c_int,
    *mut *mut c_void,
);

unsafe extern "C" fn debug(
    _session: *mut raw::LIBSSH2_SESSION,
    _always_display: c_int,
    message: *const c_char,
    length: c_int,
    _language: *const c_char,
    _language_length: c_int,
    context: *mut *mut c_void,
) {
    // SAFETY: libssh2 passes the address of the session's abstract slot, which holds null or the state of a live Link, and a
    // text with its length, or null.
    let (state, message) = unsafe {
        let Some(state) = LinkState::of(context) else { return };
        if message.is_null() || length <= 0 {
            return;
        }
        (state, slice::from_raw_parts(message.cast::<u8>(), length as usize))
    };
    if names_forced_command(message) {
        state.forced_command.set(true);
    }
}

/// Whether this is `auth_log_authopts` of OpenSSH's auth.c telling of a fixed command: `FILE:LINE: key options: WORD...`.
fn names_forced_command(message: &[u8]) -> bool {
    let message = String::from_utf8_lossy(message);
    let options = message.split_once(": key options:").map(|(_, options)| options);
    options.is_some_and(|options| options.split(' ').any(|option| option == "command"))
}

type AgentCallback = unsafe extern "C" fn(*mut raw::LIBSSH2_SESSION, *mut raw::LIBSSH2_CHANNEL, *mut *mut c_void);

/// Only notes the channel: it is called from within whatever call of libssh2 has read the server's request.
unsafe extern "C" fn agent_opened(
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

type SendCallback = unsafe extern "C" fn(c_int, *const c_void, usize, c_int, *mut *mut c_void) -> isize;

unsafe extern "C" fn send(
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
        unsent = state.unsent.try_borrow_mut().ok();
        if let Some(unsent) = unsent.as_mut().filter(|unsent| !unsent.bytes.is_empty()) {
            unsent.bytes.extend_from_slice(bytes);
            return length as isize;
        }
    }
    // SAFETY: as above. MSG_NOSIGNAL: a closed peer is an error, not a SIGPIPE.
    let sent = unsafe { libc::send(socket, buffer, length, flags | libc::MSG_NOSIGNAL) };
    let transient = [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::OutOfMemory];
    let taken = match usize::try_from(sent) {
        Ok(sent) => sent,
        Err(_) if transient.contains(&io::Error::last_os_error().kind()) => 0,
        Err(_) => length,
    };
    match unsent {
        Some(mut unsent) => {
            unsent.bytes.extend_from_slice(&bytes[taken..]);
            length as isize
        }
        // The session is being freed.
        None if taken == 0 && length > 0 => AGAIN,
        None => taken as isize,
    }
}

#[cfg(test)]
mod tests {
    use super::names_forced_command;

    #[test]
    fn a_servers_word_of_a_fixed_command() {
        assert!(names_forced_command(b"/root/.ssh/authorized_keys:1: key options: agent-forwarding command pty"));
        assert!(!names_forced_command(b"/root/.ssh/command:1: key options: agent-forwarding pty"));
        assert!(!names_forced_command(b"command"));
    }
}
