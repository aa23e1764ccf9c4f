//! The part of libssh2 that the ssh2 crate does not reach, and the only unsafe code of the project. (The last lines are not about
//! libssh2: they note which standard streams are closed, before Rust's runtime hides it.)
//!
//! ssh2 0.9.6 hides what a truthful outcome needs: whether an exit status was received at all (its `exit_status()` is 0
//! when there was none), output that is still queued when a connection dies, signal requests, authentication with a
//! signer of one's own, and passwords that leave no copies behind. The functions declared here are in the libssh2 that libssh2-sys 0.3.4 bundles, but not in its
//! bindings; a libssh2 older than 1.11.1 lacks them and does not link.
//!
//! What every block relies on:
//! * A [`Session`] is used by one thread at a time; every raw call happens while `Session::raw` holds its mutex.
//! * A [`Channel`] owns a clone of its session, so the session outlives it.
//! * libssh2 is in non-blocking mode: no call here waits.
#![expect(unsafe_code, reason = "the one file for it: libssh2's C interface")]

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use libssh2_sys as raw;
use rustix::io::Errno;
use rustix::net::SendFlags;
use ssh2::{Error, ErrorCode, Session};

use super::wire::Reader;
use crate::secret::Secret;

/// `LIBSSH2_CALLBACK_DEBUG` of libssh2.h: told of the server's SSH_MSG_DEBUG (RFC 4253 section 11.3).
const CALLBACK_DEBUG: c_int = 1;
/// `LIBSSH2_CALLBACK_SEND` of libssh2.h: replaces send(2) on the session's socket.
const CALLBACK_SEND: c_int = 5;
/// `LIBSSH2_CALLBACK_RECV` of libssh2.h: replaces recv(2) on the session's socket.
const CALLBACK_RECV: c_int = 6;
/// `LIBSSH2_CALLBACK_AUTHAGENT` of libssh2.h: told of channels that the server opens to our agent.
const CALLBACK_AUTHAGENT: c_int = 7;

type GenericCallback = unsafe extern "C" fn();
type SignCallback = unsafe extern "C" fn(
    session: *mut raw::LIBSSH2_SESSION,
    signature: *mut *mut c_uchar,
    signature_len: *mut usize,
    data: *const c_uchar,
    data_len: usize,
    context: *mut *mut c_void,
) -> c_int;

unsafe extern "C" {
    fn libssh2_session_callback_set2(
        session: *mut raw::LIBSSH2_SESSION,
        kind: c_int,
        callback: Option<GenericCallback>,
    ) -> Option<GenericCallback>;
    fn libssh2_channel_has_exit_status(channel: *mut raw::LIBSSH2_CHANNEL) -> c_int;
    fn libssh2_channel_signal_ex(channel: *mut raw::LIBSSH2_CHANNEL, name: *const c_char, len: usize) -> c_int;
    fn libssh2_session_set_read_timeout(session: *mut raw::LIBSSH2_SESSION, seconds: c_long);
    fn libssh2_userauth_publickey(
        session: *mut raw::LIBSSH2_SESSION,
        username: *const c_char,
        key: *const c_uchar,
        key_len: usize,
        sign: SignCallback,
        context: *mut *mut c_void,
    ) -> c_int;
}

/// Bytes that a server may send before the login has ended. libssh2 keeps what it cannot use, such as banners, without a limit.
const MOST_BEFORE_LOGIN: u64 = 1 << 20;
/// Bytes that libssh2 is given before it has to come back, as if there were no more for the moment. It takes packets as long as any
/// come: a server that sends faster than they are taken would keep it, and with it our deadline and Ctrl-C, for ever.
const BURST: usize = 256 << 10;
/// Bytes that a server may send besides what it sends for channels: answers to keepalives, new keys. libssh2 keeps messages that it
/// does not know without a limit.
const MOST_BESIDES: u64 = 16 << 20;
/// Bytes of a packet with a single byte of data, with any cipher and code; so many times as much as the data may come with it.
const PACKET_PER_BYTE: u64 = 100;

thread_local! {
    /// What the socket has given to libssh2 since [`early_bytes`] was asked.
    static EARLY: Cell<usize> = const { Cell::new(0) };
}

/// Bounds what libssh2 takes off the socket of a new session in one call, until [`Link::watch`] does: the slot of the session with
/// which the callbacks of a link find their state is needed for other things before.
pub fn guard_reading(session: &Session) {
    let mut session_raw = session.raw();
    // SAFETY: the session is live and locked, and `receive_early` has the type that libssh2.h gives for this callback; libssh2 casts
    // it back to that before calling it.
    unsafe {
        let receive: GenericCallback = std::mem::transmute::<ReceiveCallback, GenericCallback>(receive_early);
        libssh2_session_callback_set2(&mut *session_raw, CALLBACK_RECV, Some(receive));
    }
}

/// How many bytes the sessions of this thread that have no [`Link`] have received since the last question.
pub fn early_bytes() -> u64 {
    EARLY.replace(0) as u64
}

/// What is wrong with a server that has sent so many bytes before the login has ended, if that is too much.
pub fn too_much_before_login(bytes: u64) -> Option<Error> {
    (bytes > MOST_BEFORE_LOGIN).then(|| Error::new(TOO_MUCH, "it has sent more than 1 MiB before the login"))
}

/// libssh2.h: LIBSSH2_ERROR_PROTO.
pub const TOO_MUCH: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_PROTO);

unsafe extern "C" fn receive_early(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    _context: *mut *mut c_void,
) -> isize {
    const PIECE: usize = 64 << 10;
    let taken = EARLY.get();
    if taken >= PIECE {
        return -(libc::EAGAIN as isize);
    }
    // SAFETY: libssh2 passes a buffer of `length` writable bytes.
    let received = unsafe { libc::recv(socket, buffer, length, flags) };
    if received >= 0 {
        EARLY.set(taken + received as usize);
        return received;
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => -(libc::EAGAIN as isize),
        _ => -(error.raw_os_error().unwrap_or(libc::EIO) as isize),
    }
}

/// Whether libssh2 only wants to be called again when the socket is ready.
pub fn would_block(error: &Error) -> bool {
    error.code() == ErrorCode::Session(raw::LIBSSH2_ERROR_EAGAIN)
}

/// Sets how long an open of a channel may go on, in whole seconds from its beginning, at least 1. It counts from the next
/// call of libssh2 on, also for an open that has begun before; libssh2 gives up with [`OPEN_TIMEOUT`] then, and what the
/// server answers later is ignored.
pub fn set_open_limit(session: &Session, seconds: i32) {
    let mut session_raw = session.raw();
    // SAFETY: the session is live and locked.
    unsafe { libssh2_session_set_read_timeout(&mut *session_raw, c_long::from(seconds)) }
}

/// Gives the pages of `session` that hold nothing but zeros back to the system, until they are written to. For a session that has
/// just been made.
///
/// libssh2's session is 81 KB, of which 70 KB are one buffer for the largest packet in each direction. It clears all of that when
/// it makes the session, so that it is all in memory, and a host that says a line or two uses the first page of each. It costs two
/// system calls per host, and the pages that the next session in the same place has to be given anew.
#[cfg(target_os = "linux")]
pub fn release_blank_pages(session: &Session) {
    let page = rustix::param::page_size();
    let mut session_raw = session.raw();
    let session: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
    let start: *mut u8 = session.cast();
    // SAFETY: ssh2 makes its sessions with libssh2's default allocator, so this is what malloc(3) has returned.
    let size = unsafe { libc::malloc_usable_size(start.cast()) };
    let skipped = start.align_offset(page);
    let pages = size.saturating_sub(skipped) / page;
    let mut blank = 0..0;
    for number in 0..=pages {
        // SAFETY: within the block that starts at `start`, since `number` is below `pages`. The session is locked, so nobody writes
        // to it meanwhile; libssh2 has initialised all of it.
        let is_blank = number < pages
            && unsafe { slice::from_raw_parts(start.add(skipped + number * page), page) }.iter().all(|byte| *byte == 0);
        if is_blank {
            blank.end = number + 1;
            continue;
        }
        if !blank.is_empty() {
            // SAFETY: these pages are the session's own, private and without a file behind them, as all that malloc(3) returns. They
            // hold zeros, and after this call they read as zeros: nothing that libssh2 could see has changed. Where the system
            // does not want to (locked memory, huge pages), nothing happens.
            unsafe {
                let from = start.add(skipped + blank.start * page);
                libc::madvise(from.cast(), blank.len() * page, libc::MADV_DONTNEED);
            }
        }
        blank = number + 1..number + 1;
    }
}

/// Elsewhere the session stays as it is.
#[cfg(not(target_os = "linux"))]
pub fn release_blank_pages(_session: &Session) {}

/// libssh2.h: LIBSSH2_ERROR_TIMEOUT.
pub const OPEN_TIMEOUT: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_TIMEOUT);
/// libssh2.h: LIBSSH2_ERROR_CHANNEL_FAILURE, the server does not open the channel; the message has its reason.
pub const OPEN_REFUSED: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_CHANNEL_FAILURE);
/// libssh2.h: LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED, the server does not do what a request on a channel asks for.
pub const REQUEST_DENIED: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED);

/// libssh2.h: LIBSSH2_ERROR_INVAL, a request does not fit into a packet; it was not sent.
pub const TOO_LONG: ErrorCode = ErrorCode::Session(raw::LIBSSH2_ERROR_INVAL);

/// Turns libssh2's return value into a result: the value if it is not negative, else the session's last error.
fn check(session: &Session, value: isize) -> Result<usize, Error> {
    match usize::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => Err(last_error(session, value)),
    }
}

fn last_error(session: &Session, value: isize) -> Error {
    Error::from_session_error(session, value as c_int)
}

/// What is known about the socket of a session once [`Link::watch`] reads it.
///
/// libssh2 gives up everything it has queued for a channel when the socket fails. So the end of the connection is reported
/// to libssh2 as "nothing there yet" and noted here: what was received can still be read, then the link is dead. Likewise,
/// what can no longer be sent counts as sent: the next read tells.
pub struct Link {
    session: Session,
    // A box, since libssh2 keeps its address; a raw pointer, since the callback makes a reference to it while `self` may
    // be borrowed.
    state: NonNull<LinkState>,
}

struct LinkState {
    dead: Cell<bool>,
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
    /// Whether the peer has sent more than is expected.
    flooded: Cell<bool>,
    /// How many bytes may be read before it looks as if nothing more were there.
    allowed: Cell<usize>,
    /// What libssh2 has sent and the socket has not taken yet, if libssh2 is not to know; see [`Link::hold_unsent`].
    unsent: RefCell<Option<Unsent>>,
    /// Channels to our agent that the server has opened and nobody has taken yet.
    agent_channels: RefCell<Vec<NonNull<raw::LIBSSH2_CHANNEL>>>,
    /// How many more of them it may open. With none left the callback is out, and libssh2 refuses.
    agent_room: Cell<usize>,
    /// Whether the server has said that the user's key has a fixed command.
    forced_command: Cell<bool>,
}

impl LinkState {
    /// Bytes that may have been received by now if `waiting` bytes of data wait to be read. Who sends more fills our memory.
    fn most(&self, waiting: u64) -> u64 {
        self.expected.get().saturating_add(waiting.saturating_mul(PACKET_PER_BYTE))
    }

    fn give_up(&self) {
        self.flooded.set(true);
        self.dead.set(true);
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
    /// Takes over reading the socket of `session`. Call it after authentication: ssh2's keyboard-interactive
    /// authentication uses the same slot of the session.
    pub fn watch(session: &Session) -> Link {
        let state = NonNull::from(Box::leak(Box::new(LinkState {
            dead: Cell::new(false),
            heard: Cell::new(Instant::now()),
            received: Cell::new(0),
            expected: Cell::new(MOST_BESIDES),
            granted: Cell::new(0),
            burst: Cell::new(0),
            flooded: Cell::new(false),
            allowed: Cell::new(usize::MAX),
            unsent: RefCell::new(None),
            agent_channels: RefCell::default(),
            agent_room: Cell::new(0),
            forced_command: Cell::new(false),
        })));
        let mut session_raw = session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        // SAFETY: `pointer` is a live session, locked by `session_raw`. `state` lives until Drop of the Link, which takes
        // it out of the session first. The types of `receive`, `send` and `debug` are the ones that libssh2.h gives for the
        // callbacks; libssh2 casts them back to those before calling them.
        unsafe {
            *raw::libssh2_session_abstract(pointer) = state.as_ptr().cast();
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

    /// Whether the connection has ended: nothing more will come after what is queued.
    pub fn is_dead(&self) -> bool {
        // SAFETY: `state` is valid until Drop and only ever accessed through shared references.
        unsafe { self.state.as_ref() }.dead.get()
    }

    /// Whether the connection was given up since the peer has sent far more than it had any reason to.
    pub fn is_flooded(&self) -> bool {
        self.state().flooded.get()
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

    /// From now on libssh2 never has to wait for the socket to take a packet: what it does not take at once is kept here,
    /// for [`Link::flush`].
    ///
    /// A packet that is half sent blocks every other channel of a session until the call that began it is repeated, for
    /// some packets with the same address on the stack (libssh2 issues 1672 and 1945). With many channels on one session,
    /// which come and go, nobody could keep to that.
    pub fn hold_unsent(&self) {
        *self.unsent().borrow_mut() = Some(Unsent::default());
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent().borrow().as_ref().map_or(0, |unsent| unsent.bytes.len() - unsent.sent)
    }

    /// Sends what has been kept, as far as `socket`, the session's, takes it.
    pub fn flush(&self, socket: BorrowedFd<'_>) {
        let mut unsent = self.unsent().borrow_mut();
        let Some(unsent) = unsent.as_mut() else { return };
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

    fn unsent(&self) -> &RefCell<Option<Unsent>> {
        &self.state().unsent
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
            if !matches!(&held, Err(error) if would_block(error)) || channel.queued() > 0 {
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
        let channel = Channel { session: self.session.clone(), channel, window: AGENT_WINDOW };
        channel.grant();
        Some(channel)
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
            drop(Box::from_raw(self.state.as_ptr()));
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
    // SAFETY: libssh2 passes the address of the session's abstract slot, which holds null or the state of a live Link,
    // and a buffer of `length` writable bytes.
    unsafe {
        let Some(state) = (*context).cast::<LinkState>().as_ref() else {
            return 0;
        };
        let length = length.min(state.allowed.get());
        if state.flooded.get() || length == 0 || state.burst.get() >= BURST {
            state.burst.set(0);
            return -(libc::EAGAIN as isize);
        }
        let received = libc::recv(socket, buffer, length, flags);
        if received > 0 {
            if state.allowed.get() != usize::MAX {
                state.allowed.set(state.allowed.get() - received as usize);
            }
            state.heard.set(Instant::now());
            state.received.set(state.received.get().wrapping_add(received as u64));
            state.burst.set(state.burst.get() + received as usize);
            if state.received.get() > state.most(state.granted.get()) {
                state.give_up();
                return -(libc::EAGAIN as isize);
            }
            return received;
        }
        state.burst.set(0);
        let transient = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
        if received == 0 || !transient.contains(&io::Error::last_os_error().kind()) {
            state.dead.set(true);
        }
    }
    -(libc::EAGAIN as isize)
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
        let Some(state) = (*context).cast::<LinkState>().as_ref() else { return };
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
        let state = (*context).cast::<LinkState>().as_ref();
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
    // SAFETY: libssh2 passes the address of the session's abstract slot, which holds null or the state of a live Link, and
    // a buffer of `length` readable bytes. The state is only borrowed by `Link::flush`, which does not call libssh2.
    let (state, bytes) = unsafe {
        let state = (*context).cast::<LinkState>().as_ref();
        (state, slice::from_raw_parts(buffer.cast::<u8>(), length))
    };
    let mut unsent = state.and_then(|state| state.unsent.try_borrow_mut().ok());
    let mut unsent = unsent.as_mut().and_then(|unsent| unsent.as_mut());
    if let Some(unsent) = &mut unsent
        && !unsent.bytes.is_empty()
    {
        unsent.bytes.extend_from_slice(bytes);
        return length as isize;
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
        Some(unsent) => {
            unsent.bytes.extend_from_slice(&bytes[taken..]);
            length as isize
        }
        None if taken == 0 && length > 0 => -(libc::EAGAIN as isize),
        None => taken as isize,
    }
}

/// Signs with a private key that is not libssh2's: one decrypted by us, or held by an agent.
pub trait Signer {
    /// The public key blob (RFC 4253 section 6.6) that is offered to the server.
    fn public_key(&self) -> &[u8];

    /// Signs `data` with `algorithm`, such as `rsa-sha2-512`, and returns what follows the algorithm's name in the
    /// signature: the inner blob of its one string, or everything for the `sk-` types.
    ///
    /// # Errors
    /// Why it cannot sign, for the message to the user.
    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String>;
}

/// How a public key authentication can end, short of a failed transport.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicKeyAnswer {
    /// The user is authenticated.
    Accepted,
    /// The server does not take this key.
    Refused,
    /// The server has seen a signature by this key and is not satisfied: it refuses the signature, or wants more than
    /// one factor. libssh2 does not tell which (the "partial success" of RFC 4252 section 5.1).
    Unsettled,
    /// The server would take the key, but it could not sign.
    NotSigned(String),
}

struct SignCall<'a> {
    signer: &'a dyn Signer,
    failure: Option<String>,
}

/// Authenticates `user` with `signer`'s key (RFC 4252 section 7). To be repeated with the same arguments while the error
/// says that it would block.
///
/// # Errors
/// libssh2's error if the transport failed or would block.
pub fn authenticate_public_key(session: &Session, user: &str, signer: &dyn Signer) -> Result<PublicKeyAnswer, Error> {
    let Ok(user) = std::ffi::CString::new(user) else {
        return Ok(PublicKeyAnswer::Refused);
    };
    let key = signer.public_key();
    let mut call = SignCall { signer, failure: None };
    let value = {
        let mut session_raw = session.raw();
        // SAFETY: the session is live and locked; `user` and `key` outlive the call, and libssh2 keeps no reference to
        // them. `call` is passed through to `sign`, which runs only inside this very call.
        unsafe {
            libssh2_userauth_publickey(
                &mut *session_raw,
                user.as_ptr(),
                key.as_ptr(),
                key.len(),
                sign,
                (&raw mut call).cast(),
            )
        }
    };
    if let Some(failure) = call.failure {
        return Ok(PublicKeyAnswer::NotSigned(failure));
    }
    match value {
        0 => Ok(PublicKeyAnswer::Accepted),
        raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED => Ok(PublicKeyAnswer::Refused),
        // -19 stands for a refused signature and for a connection that ended while waiting for the answer.
        raw::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED => {
            let error = last_error(session, value as isize);
            if error.message().starts_with("Waiting for") { Err(error) } else { Ok(PublicKeyAnswer::Unsettled) }
        }
        // Of the server's algorithms for RSA keys none is among libssh2's, which has no SHA-1; nothing was sent.
        raw::LIBSSH2_ERROR_METHOD_NONE => {
            Ok(PublicKeyAnswer::NotSigned("the server takes no signature algorithm that we have for it".to_owned()))
        }
        value => Err(last_error(session, value as isize)),
    }
}

unsafe extern "C" fn sign(
    _session: *mut raw::LIBSSH2_SESSION,
    signature: *mut *mut c_uchar,
    signature_len: *mut usize,
    data: *const c_uchar,
    data_len: usize,
    context: *mut *mut c_void,
) -> c_int {
    // SAFETY: `context` is the `call` of authenticate_public_key, alive and not otherwise borrowed while libssh2 runs;
    // libssh2 gives `data_len` readable bytes at `data`.
    let (call, data) = unsafe { (&mut *context.cast::<SignCall<'_>>(), slice::from_raw_parts(data, data_len)) };
    // A panic must not unwind into C.
    let signed = catch_unwind(AssertUnwindSafe(|| match signed_algorithm(data) {
        Some(algorithm) => call.signer.sign(algorithm, data),
        None => Err("libssh2 asked for a signature of something unexpected".to_owned()),
    }));
    let bytes = match signed {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(failure)) => {
            call.failure = Some(failure);
            return -1;
        }
        Err(_) => {
            call.failure = Some("the signer panicked".to_owned());
            return -1;
        }
    };
    // SAFETY: libssh2 frees the signature with the session's allocator, which is malloc's since ssh2 makes its sessions
    // without allocator functions; both out-pointers are valid for writing.
    unsafe {
        let copy = libc::malloc(bytes.len().max(1)).cast::<c_uchar>();
        if copy.is_null() {
            return -1;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        *signature = copy;
        *signature_len = bytes.len();
    }
    0
}

/// How a password authentication can end, short of a failed transport.
#[derive(Debug, PartialEq, Eq)]
pub enum PasswordAnswer {
    /// The user is authenticated.
    Accepted,
    /// The password is wrong, or not enough by itself.
    Refused,
    /// The server wants a new password first.
    Expired,
}

/// Authenticates `user` with `password` (RFC 4252 section 8). To be repeated with the same arguments while the error says
/// that it would block. ssh2's own would leave a copy of the password in memory that it has freed.
///
/// # Errors
/// libssh2's error if the transport failed or would block.
pub fn authenticate_password(session: &Session, user: &str, password: &Secret) -> Result<PasswordAnswer, Error> {
    let password = password.expose();
    let value = {
        let mut session_raw = session.raw();
        // SAFETY: the session is live and locked; both byte strings are passed with their lengths, outlive the call, and
        // libssh2 keeps no reference to them. A callback is not needed for a password that is not to be changed.
        unsafe {
            raw::libssh2_userauth_password_ex(
                &mut *session_raw,
                user.as_ptr().cast(),
                user.len() as c_uint,
                password.as_ptr().cast(),
                password.len() as c_uint,
                None,
            )
        }
    };
    match value {
        0 => Ok(PasswordAnswer::Accepted),
        raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED => Ok(PasswordAnswer::Refused),
        raw::LIBSSH2_ERROR_PASSWORD_EXPIRED => Ok(PasswordAnswer::Expired),
        value => Err(last_error(session, value as isize)),
    }
}

/// A question of a keyboard-interactive authentication (RFC 4256 section 3.2).
#[derive(Debug)]
pub struct Question {
    /// The text, as the server sent it.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}

/// Answers the questions of a keyboard-interactive authentication.
pub trait Answerer {
    /// Answers one request, which may have no question at all. Answers that are missing are sent as empty ones.
    fn answer(&mut self, name: &str, instruction: &str, questions: &[Question]) -> Vec<Secret>;
}

/// Authenticates `user` by the answers of `answerer` (RFC 4256); gives whether the server is satisfied. To be repeated with
/// the same arguments while the error says that it would block: libssh2 has then sent what was answered so far, or will do so
/// first, and does not ask again.
///
/// # Errors
/// libssh2's error if the transport failed or would block.
pub fn authenticate_keyboard_interactive(
    session: &Session,
    user: &str,
    mut answerer: &mut dyn Answerer,
) -> Result<bool, Error> {
    let value = {
        let mut session_raw = session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        // SAFETY: the session is live and locked; `user` is passed with its length. The abstract slot is ours: no Link is
        // installed before authentication has ended. It holds the address of `answerer` during this call only, and
        // `answer` runs only inside it.
        unsafe {
            let slot = raw::libssh2_session_abstract(pointer);
            *slot = (&raw mut answerer).cast();
            let value = raw::libssh2_userauth_keyboard_interactive_ex(
                pointer,
                user.as_ptr().cast(),
                user.len() as c_uint,
                Some(answer),
            );
            *slot = ptr::null_mut();
            value
        }
    };
    match value {
        0 => Ok(true),
        // -18 stands for a refusal and for a connection that ended while waiting for the answer.
        raw::LIBSSH2_ERROR_AUTHENTICATION_FAILED => {
            let error = last_error(session, value as isize);
            if error.message().starts_with("Waiting for") { Err(error) } else { Ok(false) }
        }
        value => Err(last_error(session, value as isize)),
    }
}

extern "C" fn answer(
    name: *const c_char,
    name_len: c_int,
    instruction: *const c_char,
    instruction_len: c_int,
    count: c_int,
    prompts: *const raw::LIBSSH2_USERAUTH_KBDINT_PROMPT,
    responses: *mut raw::LIBSSH2_USERAUTH_KBDINT_RESPONSE,
    context: *mut *mut c_void,
) {
    /// Text of the server, which need not be UTF-8.
    ///
    /// # Safety
    /// `length` bytes are readable at `text`, or it is null.
    unsafe fn text(text: *const c_char, length: usize) -> String {
        if text.is_null() {
            return String::new();
        }
        // SAFETY: as the caller promises.
        String::from_utf8_lossy(unsafe { slice::from_raw_parts(text.cast(), length) }).into_owned()
    }
    // SAFETY: libssh2 passes the address of the abstract slot, which holds the address of the answerer of
    // authenticate_keyboard_interactive, alive and not otherwise borrowed while libssh2 runs; texts with their lengths, and
    // `count` prompts and zeroed responses, null where there are none. It frees the texts of the responses with the
    // session's allocator, which is malloc's since ssh2 makes its sessions without allocator functions.
    unsafe {
        let answerer = &mut **(*context).cast::<&mut dyn Answerer>();
        let (name, instruction) = (text(name, name_len as usize), text(instruction, instruction_len as usize));
        let (prompts, responses) = if prompts.is_null() || responses.is_null() {
            (&[][..], &mut [][..])
        } else {
            (slice::from_raw_parts(prompts, count as usize), slice::from_raw_parts_mut(responses, count as usize))
        };
        let questions: Vec<Question> = prompts
            .iter()
            .map(|prompt| Question { text: text(prompt.text.cast(), prompt.length), echo: prompt.echo != 0 })
            .collect();
        // A panic must not unwind into C; the missing answers will be refused.
        let answers = catch_unwind(AssertUnwindSafe(|| answerer.answer(&name, &instruction, &questions)));
        for (response, answer) in responses.iter_mut().zip(answers.unwrap_or_default()) {
            let bytes = answer.expose();
            let copy = libc::malloc(bytes.len().max(1)).cast::<c_char>();
            if copy.is_null() {
                return;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), copy, bytes.len());
            response.text = copy;
            response.length = bytes.len() as c_uint;
        }
    }
}

/// The algorithm name within the data to be signed (RFC 4252 section 7): string session id, byte 50, string user, string
/// service, string "publickey", boolean, string algorithm, string key.
fn signed_algorithm(data: &[u8]) -> Option<&str> {
    let mut reader = Reader(data);
    let _session_id = reader.string()?;
    let _request = reader.byte()?;
    let (_user, _service, _method) = (reader.string()?, reader.string()?, reader.string()?);
    let _is_signed = reader.byte()?;
    let (algorithm, _key) = (reader.string()?, reader.string()?);
    std::str::from_utf8(algorithm).ok()
}

/// A session channel of libssh2 (RFC 4254 section 6). Freed on drop.
pub struct Channel {
    session: Session,
    channel: NonNull<raw::LIBSSH2_CHANNEL>,
    /// Bytes that the server may send before they are read.
    window: u64,
}

/// libssh2.h: LIBSSH2_CHANNEL_WINDOW_DEFAULT, that of channels which the server opens.
const AGENT_WINDOW: u64 = 2 << 20;

/// How a remote command ended, as far as the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// `exit-status`.
    Status(u32),
    /// `exit-signal`, with the name that the server gave.
    Signal(String),
    /// Neither was received.
    Unknown,
}

/// The largest packet that we accept on a channel: libssh2's own default, and what every server must be able to send
/// (RFC 4253 section 6.1).
const PACKET_SIZE: c_uint = 32_768;

/// What follows the common part of SSH_MSG_CHANNEL_OPEN for a `direct-tcpip` channel (RFC 4254 section 7.2): where to
/// connect to, and where the connection comes from, which servers only log.
pub fn direct_tcpip(host: &str, port: u16) -> Vec<u8> {
    const ORIGINATOR: (&str, u16) = ("127.0.0.1", 0);
    let mut message = Vec::with_capacity(host.len() + ORIGINATOR.0.len() + 16);
    for (address, port) in [(host, port), ORIGINATOR] {
        message.extend_from_slice(&(address.len() as u32).to_be_bytes());
        message.extend_from_slice(address.as_bytes());
        message.extend_from_slice(&u32::from(port).to_be_bytes());
    }
    message
}

impl Channel {
    /// Opens a `session` channel with a receive window of `window` bytes. To be repeated while it would block.
    ///
    /// # Errors
    /// libssh2's error if the server refuses, the transport fails or would block.
    pub fn open(session: &Session, window: u32) -> Result<Channel, Error> {
        Channel::open_kind(session, b"session", &[], window)
    }

    /// Opens a `direct-tcpip` channel: asks the server to connect to the target in `message`, made by
    /// [`direct_tcpip`]. To be repeated with the same message while it would block. libssh2 has one open under way per
    /// session, so another must not be begun before.
    ///
    /// # Errors
    /// libssh2's error: [`OPEN_REFUSED`], [`OPEN_TIMEOUT`], the transport failed or would block.
    pub fn open_direct(session: &Session, message: &[u8], window: u32) -> Result<Channel, Error> {
        Channel::open_kind(session, b"direct-tcpip", message, window)
    }

    fn open_kind(session: &Session, kind: &[u8], message: &[u8], window: u32) -> Result<Channel, Error> {
        let (channel, code) = {
            let mut session_raw = session.raw();
            let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
            // SAFETY: the session is live and locked; `kind` and `message` are passed with their lengths. libssh2 copies the
            // kind, and reads the message only within this call.
            unsafe {
                let channel = raw::libssh2_channel_open_ex(
                    pointer,
                    kind.as_ptr().cast(),
                    kind.len() as c_uint,
                    window,
                    PACKET_SIZE,
                    message.as_ptr().cast(),
                    message.len() as c_uint,
                );
                (channel, raw::libssh2_session_last_errno(pointer))
            }
        };
        match NonNull::new(channel) {
            Some(channel) => {
                let channel = Channel { session: session.clone(), channel, window: u64::from(window) };
                channel.grant();
                Ok(channel)
            }
            None => Err(last_error(session, code as isize)),
        }
    }

    /// Notes that there is one more window.
    fn grant(&self) {
        self.on_link(|state| state.granted.set(state.granted.get().saturating_add(self.window)));
    }

    /// Notes that so many more bytes went through the channel: their packets were to be expected, or what is answered to them. Where
    /// all that has come for the channel `is_drained`, it shows whether the server sends what nobody has asked for.
    fn moved(&self, bytes: u64, is_drained: bool) {
        self.on_link(|state| {
            state.expected.set(state.expected.get().saturating_add(bytes.saturating_mul(PACKET_PER_BYTE)));
            // What has come for other channels of the session may wait for them.
            let waiting = state.granted.get().saturating_sub(self.window);
            if is_drained && state.received.get() > state.most(waiting) {
                state.give_up();
            }
        });
    }

    /// Calls `function` with the state of the session's link, if there is one.
    fn on_link(&self, function: impl FnOnce(&LinkState)) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked. Its abstract slot holds null or the state of a live Link: channels are made after
        // the login.
        let state = unsafe { (*raw::libssh2_session_abstract(&mut *session_raw)).cast::<LinkState>().as_ref() };
        if let Some(state) = state {
            function(state);
        }
    }

    /// Calls libssh2 with the raw channel while the session is locked.
    fn call<R>(&self, function: impl FnOnce(*mut raw::LIBSSH2_CHANNEL) -> R) -> R {
        let _locked = self.session.raw();
        function(self.channel.as_ptr())
    }

    /// Asks the server to run `command` (RFC 4254 section 6.5) and waits for its consent. To be repeated with the same
    /// argument while it would block.
    ///
    /// # Errors
    /// libssh2's error if the server refuses, the transport fails or would block.
    pub fn exec(&self, command: &[u8]) -> Result<(), Error> {
        self.start(b"exec", command)
    }

    /// The same for a subsystem, such as `sftp` (RFC 4254 section 6.5).
    ///
    /// # Errors
    /// The same.
    pub fn subsystem(&self, name: &str) -> Result<(), Error> {
        self.start(b"subsystem", name.as_bytes())
    }

    fn start(&self, request: &[u8], message: &[u8]) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop; both byte strings outlive the call and are passed with their lengths.
        let value = self.call(|channel| unsafe {
            raw::libssh2_channel_process_startup(
                channel,
                request.as_ptr().cast(),
                request.len() as c_uint,
                message.as_ptr().cast(),
                message.len() as c_uint,
            )
        });
        check(&self.session, value as isize).map(drop)
    }

    /// Asks the server to offer our agent to the command. To be repeated while it would block.
    ///
    /// # Errors
    /// libssh2's error: [`REQUEST_DENIED`], the transport failed or would block.
    pub fn request_agent(&self) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop.
        let value = self.call(|channel| unsafe { raw::libssh2_channel_request_auth_agent(channel) });
        check(&self.session, value as isize).map(drop)
    }

    /// Asks the server for a pseudo-terminal for the command (RFC 4254 section 6.2), with the type `term`, the encoded `modes`
    /// and so many columns and rows. To be repeated with the same arguments while it would block.
    ///
    /// # Errors
    /// libssh2's error: [`REQUEST_DENIED`], the transport failed or would block.
    pub fn request_pty(&self, term: &[u8], modes: &[u8], (columns, rows): (u16, u16)) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop; both byte strings are passed with their lengths, and libssh2 copies them.
        let value = self.call(|channel| unsafe {
            raw::libssh2_channel_request_pty_ex(
                channel,
                term.as_ptr().cast(),
                term.len() as c_uint,
                modes.as_ptr().cast(),
                modes.len() as c_uint,
                c_int::from(columns),
                c_int::from(rows),
                0,
                0,
            )
        });
        check(&self.session, value as isize).map(drop)
    }

    /// Asks the server to set a variable for the command (RFC 4254 section 6.4). To be repeated with the same arguments while it
    /// would block.
    ///
    /// # Errors
    /// libssh2's error: [`REQUEST_DENIED`], the transport failed or would block.
    pub fn set_variable(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop; both byte strings are passed with their lengths, and libssh2 copies them.
        let value = self.call(|channel| unsafe {
            raw::libssh2_channel_setenv_ex(
                channel,
                name.as_ptr().cast(),
                name.len() as c_uint,
                value.as_ptr().cast(),
                value.len() as c_uint,
            )
        });
        check(&self.session, value as isize).map(drop)
    }

    /// Reads what there is of stdout (stream 0) or stderr (stream 1) into `buffer`. 0 means that nothing more will come
    /// only if [`Channel::eof`] agrees.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block.
    pub fn read(&self, stream: i32, buffer: &mut [u8]) -> Result<usize, Error> {
        // SAFETY: the channel is live until Drop; `buffer` is writable for the length passed.
        let value = self.call(|channel| unsafe {
            raw::libssh2_channel_read_ex(channel, stream, buffer.as_mut_ptr().cast(), buffer.len())
        });
        let is_drained = value == raw::LIBSSH2_ERROR_EAGAIN as isize && self.queued() == 0;
        self.moved(u64::try_from(value).unwrap_or(0), is_drained);
        check(&self.session, value)
    }

    /// Sends at most one packet of `bytes` on stream 0; gives how many. 0 where the server's window is full. To be repeated
    /// with the same bytes, and maybe more, while it would block.
    ///
    /// # Errors
    /// libssh2's error if the channel is closed, the transport fails or would block.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Error> {
        // SAFETY: the channel is live until Drop; `bytes` is passed with its length.
        let value = self
            .call(|channel| unsafe { raw::libssh2_channel_write_ex(channel, 0, bytes.as_ptr().cast(), bytes.len()) });
        self.moved(u64::try_from(value).unwrap_or(0), false);
        check(&self.session, value)
    }

    /// How many bytes the server would take now.
    pub fn write_window(&self) -> usize {
        // SAFETY: the channel is live until Drop; null is allowed for the initial size.
        self.call(|channel| unsafe { raw::libssh2_channel_window_write_ex(channel, ptr::null_mut()) }) as usize
    }

    /// Takes all that has arrived off the socket, for whichever channel; it stays queued in libssh2.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block, which means that all has been taken.
    pub fn receive(&self) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop. Both calls read until the channel's end is there or the socket is empty;
        // the second may be used once the first has seen that end.
        let value = self.call(|channel| unsafe {
            match raw::libssh2_channel_wait_eof(channel) {
                0 => raw::libssh2_channel_wait_closed(channel),
                value => value,
            }
        });
        check(&self.session, value as isize).map(drop)
    }

    /// Whether the server has said that no more output comes and all of it has been read.
    pub fn eof(&self) -> bool {
        // SAFETY: the channel is live until Drop.
        self.call(|channel| unsafe { raw::libssh2_channel_eof(channel) }) > 0
    }

    /// How many bytes of output are queued in libssh2, of both streams.
    pub fn queued(&self) -> usize {
        let mut available: c_ulong = 0;
        // SAFETY: the channel is live until Drop; the out-pointer is valid, and null is allowed for the other.
        self.call(|channel| unsafe { raw::libssh2_channel_window_read_ex(channel, &mut available, ptr::null_mut()) });
        available as usize
    }

    /// Tells the command that its input has ended.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block.
    pub fn send_eof(&self) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop.
        let value = self.call(|channel| unsafe { raw::libssh2_channel_send_eof(channel) });
        check(&self.session, value as isize).map(drop)
    }

    /// Asks the server to send the signal `name`, such as "TERM", to the command (RFC 4254 section 6.9). There is no
    /// answer; OpenSSH ignores it for root.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block.
    pub fn signal(&self, name: &str) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop; `name` is passed with its length.
        let value =
            self.call(|channel| unsafe { libssh2_channel_signal_ex(channel, name.as_ptr().cast(), name.len()) });
        check(&self.session, value as isize).map(drop)
    }

    /// Closes our side of the channel.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block.
    pub fn close(&self) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop.
        let value = self.call(|channel| unsafe { raw::libssh2_channel_close(channel) });
        check(&self.session, value as isize).map(drop)
    }

    /// Reads on until the server has closed the channel; only after [`Channel::eof`].
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block.
    pub fn wait_closed(&self) -> Result<(), Error> {
        // SAFETY: the channel is live until Drop.
        let value = self.call(|channel| unsafe { raw::libssh2_channel_wait_closed(channel) });
        self.moved(0, value == raw::LIBSSH2_ERROR_EAGAIN && self.queued() == 0);
        check(&self.session, value as isize).map(drop)
    }

    /// How the command ended, as far as the server has said by now.
    pub fn exit(&self) -> Exit {
        // SAFETY: the channel is live until Drop.
        let status = self.call(|channel| unsafe {
            (libssh2_channel_has_exit_status(channel) > 0).then(|| raw::libssh2_channel_get_exit_status(channel))
        });
        match (status, self.exit_signal()) {
            (_, Some(name)) => Exit::Signal(name),
            (Some(status), None) => Exit::Status(status as u32),
            (None, None) => Exit::Unknown,
        }
    }

    fn exit_signal(&self) -> Option<String> {
        let mut session_raw = self.session.raw();
        let session: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        let mut name: *mut c_char = ptr::null_mut();
        let mut length: usize = 0;
        // SAFETY: session and channel are live and locked. The name is a copy of `length` bytes made with the session's
        // allocator, which we free with the same; the parts that are not wanted may be null.
        unsafe {
            raw::libssh2_channel_get_exit_signal(
                self.channel.as_ptr(),
                &mut name,
                &mut length,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            );
            if name.is_null() {
                return None;
            }
            let copy = String::from_utf8_lossy(slice::from_raw_parts(name.cast(), length)).into_owned();
            raw::libssh2_free(session, name.cast());
            Some(copy)
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: freed once, here. If libssh2 would rather wait for the socket first, the channel stays with its
        // session, which frees it in its own end.
        self.call(|channel| unsafe { raw::libssh2_channel_free(channel) });
    }
}

/// Whether the program was started with `signal` ignored, as nohup(1) does with SIGHUP: then it must stay so.
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: sigaction with a null new action only fills `old`, for which all-zero bytes are a valid value.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

/// The standard streams that were closed when the process was started, a bit for each number. Rust's runtime opens /dev/null in
/// their place before `main`; from then on nothing tells them from a /dev/null that the user has chosen.
static CLOSED_AT_START: AtomicU8 = AtomicU8::new(0);

/// Whether standard input (0), output (1) or error (2) was closed when the process was started. What is written there since is
/// lost without an error.
pub fn was_closed_at_start(stream: u8) -> bool {
    stream < 3 && CLOSED_AT_START.load(Ordering::Relaxed) & (1 << stream) != 0
}

// SAFETY: the section has the addresses of functions that the loader calls before `main`, with C's calling convention. This one
// needs nothing of Rust's runtime, which is not there yet: it calls fcntl(2), stores a number, and cannot panic.
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[used]
static AT_START: extern "C" fn() = note_closed_streams;

extern "C" fn note_closed_streams() {
    for stream in 0..3 {
        // SAFETY: F_GETFD reads and writes no memory of ours; a number that is no open descriptor is an error and nothing else.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            CLOSED_AT_START.fetch_or(1 << stream, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{names_forced_command, signed_algorithm};

    fn string(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes()[..], text].concat()
    }

    #[test]
    fn a_servers_word_of_a_fixed_command() {
        assert!(names_forced_command(b"/root/.ssh/authorized_keys:1: key options: agent-forwarding command pty"));
        assert!(!names_forced_command(b"/root/.ssh/command:1: key options: agent-forwarding pty"));
        assert!(!names_forced_command(b"command"));
    }

    #[test]
    fn finds_the_algorithm_in_the_data_to_be_signed() {
        let data = [
            string(b"session id"),
            vec![50],
            string(b"root"),
            string(b"ssh-connection"),
            string(b"publickey"),
            vec![1],
            string(b"rsa-sha2-512"),
            string(b"blob"),
        ]
        .concat();
        assert_eq!(signed_algorithm(&data), Some("rsa-sha2-512"));
        for length in 0..data.len() {
            assert_eq!(signed_algorithm(&data[..length]), None, "cut to {length} bytes");
        }
    }
}
