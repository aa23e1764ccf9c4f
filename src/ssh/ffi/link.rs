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
use super::{
    CALLBACK_AUTHAGENT, CALLBACK_DEBUG, CALLBACK_RECV, CALLBACK_SEND, GenericCallback, libssh2_session_callback_set2,
    would_block,
};

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

pub(super) struct LinkState {
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

    /// Notes that there is one more window.
    pub(super) fn grant(&self, window: u64) {
        self.granted.set(self.granted.get().saturating_add(window));
    }

    /// Notes that so many more bytes went through a channel with this `window`: their packets were to be expected, or what is
    /// answered to them. Where all that has come for the channel `is_drained`, it shows whether the server sends what nobody has
    /// asked for.
    pub(super) fn moved(&self, bytes: u64, is_drained: bool, window: u64) {
        self.expected.set(self.expected.get().saturating_add(bytes.saturating_mul(PACKET_PER_BYTE)));
        // What has come for other channels of the session may wait for them.
        let waiting = self.granted.get().saturating_sub(window);
        if is_drained && self.received.get() > self.most(waiting) {
            self.give_up();
        }
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
