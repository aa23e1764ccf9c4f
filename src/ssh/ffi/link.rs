//! The socket of a session: libssh2 sends and receives through our callbacks.

use std::cell::{Cell, RefCell};
use std::ffi::c_uchar;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::time::Instant;

use libssh2_sys as raw;
use rustix::io::Errno;
use rustix::net::SendFlags;
use ssh2::{Error, ErrorCode, Session};

use super::blocks;
use super::channel::{AGENT_WINDOW, Channel};
use super::exchange::{self, go_on, note_failed_exchange};
use super::login::{Login, Refusal};
use super::memory::{self, Memory};
use super::state::{
    AgentCallback, GivenUp, LinkState, MOST_BESIDES, ReceiveCallback, SendCallback, SocketEnd, Step, Unsent,
    agent_opened, receive, send,
};
use super::words::{self, Goodbye, Words};
use super::{
    CALLBACK_AUTHAGENT, CALLBACK_RECV, CALLBACK_SEND, GenericCallback, is_answer, libssh2_session_callback_set2,
    ssh2_transport_read, take_packet, would_block,
};

/// The state of a session's socket, from the start of the session to its end.
///
/// * **The end of the connection.** After the login libssh2 drops everything queued for a channel when the socket
///   fails. So the end of the connection is reported to libssh2 as "nothing there yet" and noted here: received data can
///   still be read, then the link is dead.
/// * **What waits to be sent.** libssh2 never has to wait for the socket to take a packet: what it does not take at once is kept
///   here, for [`Link::flush`]. A packet that is half sent would block every other call on the session until the one that began it
///   is repeated, for some packets with the same address on the stack (libssh2 issues 1672 and 1945). What can no longer be sent
///   counts as sent: the next read tells.
///   How much may wait is bounded: a peer that goes on asking without reading the answers is given up.
/// * **A key re-exchange.** When the peer begins one, libssh2 1.11.2_DEV starts its part from within the reader of packets, and reads
///   on there. If that reader has stored the beginning of a packet and then would block, it clears the pointer to what it has
///   stored and keeps the length: the next read copies from NULL. So the first packet of our part, recognised by the method
///   of key exchange being undecided, is refused once as if the socket were full, before anything can have been stored. Every
///   later call of libssh2 goes on with the exchange from outside of the reader, where waiting is safe; the first is
///   [`Link::go_on`], which nothing else may precede: other packets would wait behind the refused one. docs/upstream/libssh2-rekey.md
///   has the cause in full.
/// * **The host key** of a re-exchange must be the checked one; see [`Link::pin_host_key`].
/// * **Memory**: see [`Memory`].
pub struct Link {
    session: Session,
    // A box, since libssh2 keeps its address; a raw pointer, since the callbacks make a reference to it while `self` may
    // be borrowed.
    state: NonNull<LinkState>,
}

// SAFETY: the state is reached only through this value and by callbacks, which run only within calls of libssh2 on this session. It is
// not shared (`Link` is not `Sync`), nothing of it belongs to a thread, and all channels and clones of the session are gone when a
// session changes its thread, which takes the exclusive ownership of its `Session`.
unsafe impl Send for Link {}

impl Link {
    /// Takes over the socket and the memory of the new `session`.
    pub fn watch(session: &Session) -> Link {
        blocks::check();
        let mut session_raw = session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        let state = NonNull::from(Box::leak(Box::new(LinkState {
            session: NonNull::from(&mut *session_raw),
            logged_in: Cell::new(false),
            answerer: Cell::new(ptr::null_mut()),
            memory: Memory::default(),
            dead: Cell::new(false),
            given_up: Cell::new(None),
            socket_end: Cell::new(None),
            agreed: Cell::new(false),
            keeps_methods: Cell::new(false),
            postponed: Cell::new(false),
            host_key: RefCell::default(),
            opening: RefCell::default(),
            heard: Cell::new(Instant::now()),
            received: Cell::new(0),
            expected: Cell::new(0),
            granted: Cell::new(0),
            burst: Cell::new(0),
            allowed: Cell::new(usize::MAX),
            ahead: RefCell::default(),
            unsent: RefCell::default(),
            gathers: Cell::new(false),
            step: Cell::new(None),
            agent_channels: RefCell::default(),
            agent_room: Cell::new(0),
            login: Login::default(),
            words: Words::default(),
        })));
        // SAFETY: `pointer` is a live session, locked by `session_raw`. `state` lives until Drop of the Link, which takes
        // it out of the session first. The types of `receive` and `send` are the ones that libssh2.h gives for the
        // callbacks; libssh2 casts them back to those before calling them.
        unsafe {
            *raw::libssh2_session_abstract(pointer) = state.as_ptr().cast();
            memory::count(pointer);
            let receive: GenericCallback = std::mem::transmute::<ReceiveCallback, GenericCallback>(receive);
            libssh2_session_callback_set2(pointer, CALLBACK_RECV, Some(receive));
            let send: GenericCallback = std::mem::transmute::<SendCallback, GenericCallback>(send);
            libssh2_session_callback_set2(pointer, CALLBACK_SEND, Some(send));
            words::listen(pointer);
        }
        drop(session_raw);
        Link { session: session.clone(), state }
    }

    /// Makes `key` the only host key: another one in a key re-exchange ends the connection before the new keys are used
    /// (RFC 4253 section 9 lets a server change it; ssh(1) does not).
    pub fn pin_host_key(&self, key: &[u8]) {
        *self.state().host_key.borrow_mut() = key.to_vec();
        *self.state().opening.borrow_mut() = Vec::new();
    }

    /// Notes that the login succeeded. From now on received data can be read even after the connection has ended.
    pub fn log_in(&self) {
        let state = self.state();
        state.logged_in.set(true);
        state.expected.set(state.received.get() + MOST_BESIDES);
    }

    /// Goes on with a key re-exchange that the peer has just started, see above. Call it after every call of libssh2
    /// that may have read data.
    pub fn go_on(&self) {
        go_on(self.state());
    }

    /// Returns the session identifier (RFC 4253 section 7.2): the hash of its first key exchange. `None` before that,
    /// and if it could not be found.
    pub fn session_identifier(&self) -> Option<Vec<u8>> {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { self.state().memory.session_identifier(NonNull::from(&mut *session_raw)) }
    }

    /// Calls `function` with the kept start of the peer's data, which ends with the check of its host key.
    pub fn with_opening<R>(&self, function: impl FnOnce(&[u8]) -> R) -> R {
        function(&self.state().opening.borrow())
    }

    /// Takes the received answers to keepalives; returns whether there were any. libssh2 would keep them.
    pub fn take_answers(&self) -> bool {
        /// SSH_MSG_REQUEST_SUCCESS and SSH_MSG_REQUEST_FAILURE (RFC 4254 section 4).
        const ANSWERS: [c_uchar; 2] = [81, 82];
        let mut session_raw = self.session.raw();
        let session: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        let mut any = false;
        for kind in ANSWERS {
            // SAFETY: the session is live and locked.
            while unsafe { take_packet(session, kind, &[]) }.is_some() {
                any = true;
            }
        }
        any
    }

    /// Returns the server's disconnect message, if any.
    pub fn goodbye(&self) -> Option<Goodbye> {
        self.state().words.goodbye()
    }

    /// Explains `error`: by the server's disconnect message, or by how the connection ended, or else by our words for
    /// libssh2's.
    pub fn explain(&self, error: &Error) -> String {
        match (self.goodbye(), self.socket_end()) {
            (Some(goodbye), _) => goodbye.to_string(),
            (None, Some(end)) if !is_answer(error) => end.to_string(),
            (None, _) => damage(error).unwrap_or_else(|| words::in_our_words(error.message())).to_owned(),
        }
    }

    /// Returns how the socket ended, as far as that is known.
    pub fn socket_end(&self) -> Option<SocketEnd> {
        self.state().socket_end.get()
    }

    /// Notes an error of the session's `socket` that other code than libssh2 met, and that no later read reports.
    pub fn note_socket_error(&self, socket: BorrowedFd<'_>, error: Errno) {
        self.state().note_end(SocketEnd::of(socket, Some(error.raw_os_error())));
    }

    /// Returns the server's banners (RFC 4252 section 5.4): those before it judged the last key or password, and those
    /// after.
    pub fn banners(&self) -> (Vec<String>, Vec<String>) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { words::hear_banners(&mut *session_raw, &self.state().words) };
        self.state().words.banners()
    }

    /// Notes that a password or answers are sent now. (For a key, signing notes it.)
    pub fn show_secret(&self) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { words::show(&mut *session_raw, &self.state().words) };
    }

    /// Returns how the server refused the last method, if seen since the last call.
    pub fn take_refusal(&self) -> Option<Refusal> {
        self.state().login.take_refusal()
    }

    /// Returns the signature algorithm with which the last key was offered.
    pub fn offered_algorithm(&self) -> Option<String> {
        self.state().login.algorithm()
    }

    /// Returns the signature algorithms that the server accepts, with commas.
    pub fn taken_algorithms(&self) -> Option<String> {
        self.state().login.taken()
    }

    /// Returns why the connection was given up, if it was.
    pub fn given_up(&self) -> Option<GivenUp> {
        self.state().given_up.get()
    }

    /// Notes the failure of a libssh2 call that has no channel, and whose answer no caller awaits.
    pub fn note_failure(&self, error: &Error) {
        if let ErrorCode::Session(code) = error.code() {
            note_failed_exchange(self.state(), code as isize);
        }
    }

    /// Gives the connection up because it [is full](Link::is_full) and no data can be returned.
    pub fn give_up_memory(&self) {
        self.state().give_up(GivenUp::Memory);
    }

    /// Reads what the peer of a session without a channel has sent, and answers what it asks (RFC 4254 section 4); returns whether the
    /// session can still be used.
    pub fn attend(&self) -> bool {
        let value = loop {
            // SAFETY: as in `go_on`.
            let value = unsafe { ssh2_transport_read(self.state().session.as_ptr()) };
            if value <= 0 {
                break value;
            }
        };
        self.go_on();
        let is_well = value == 0 || value == raw::LIBSSH2_ERROR_EAGAIN;
        is_well && !self.is_dead() && self.given_up().is_none() && !self.is_full()
    }

    /// Counts what the peer sends from here on, as for a new session: no channel is left of the last job.
    pub fn renew(&self) {
        let state = self.state();
        state.expected.set(state.received.get() + MOST_BESIDES);
        state.granted.set(0);
    }

    /// Whether reading must pause until data is returned, since the kept data takes too much memory.
    pub fn is_full(&self) -> bool {
        self.state().memory.is_full()
    }

    /// Whether the connection has ended: nothing more comes after the queued data.
    pub fn is_dead(&self) -> bool {
        // SAFETY: `state` is valid until Drop and only ever accessed through shared references.
        unsafe { self.state.as_ref() }.dead.get()
    }

    /// Returns when the peer last sent anything, even only an answer to a keepalive.
    pub fn last_heard(&self) -> Instant {
        // SAFETY: as in `is_dead`.
        unsafe { self.state.as_ref() }.heard.get()
    }

    /// Returns how many bytes were read from the socket. Any call for any channel may read, and then nothing wakes
    /// those whose data has come.
    pub fn received_bytes(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.state.as_ref() }.received.get()
    }

    /// Returns the bytes that the socket has not accepted yet.
    pub fn unsent_bytes(&self) -> usize {
        self.state().unsent.borrow().waiting()
    }

    /// Sends the kept data, as far as the session's `socket` accepts it.
    pub fn flush(&self, socket: BorrowedFd<'_>) {
        let mut unsent = self.state().unsent.borrow_mut();
        while unsent.sent < unsent.bytes.len() {
            match rustix::net::send(socket, &unsent.bytes[unsent.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => unsent.take_sent(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return,
                // It can never be sent. The next read reports that the connection has ended.
                Err(error) => {
                    if error != Errno::PIPE {
                        self.note_socket_error(socket, error);
                    }
                    *unsent = Unsent::default();
                }
            }
        }
    }

    fn state(&self) -> &LinkState {
        // SAFETY: `state` is valid until Drop and only ever accessed through shared references.
        unsafe { self.state.as_ref() }
    }

    /// Reads from `channel` like [`Channel::read`], and returns all data from before the connection failed or the
    /// server disconnected, however close together they came.
    ///
    /// libssh2 reads all available packets before it returns the first of them, and returns nothing once one of them is
    /// a disconnect, or cannot be decrypted. So it gets the last data of the `socket` in bits, each too short for more
    /// than one packet to end in it.
    ///
    /// # Errors
    /// See [`Channel::read`]. It also would block if another stream has data, which must be read first.
    pub fn read(
        &self,
        socket: BorrowedFd<'_>,
        channel: &Channel,
        stream: i32,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        // Data that comes meanwhile is for the next call: a server may send faster than we read.
        let mut there = None;
        loop {
            let held = self.allowing(0, || channel.read(stream, buffer));
            // If the channel cannot enlarge the window, a key exchange must finish first.
            let is_queued = channel.queued() > 0 && !channel.owes_window(buffer.len());
            if !matches!(&held, Err(error) if would_block(error)) || is_queued {
                return held;
            }
            let left = *there.get_or_insert_with(|| {
                let ahead = self.state().ahead.borrow().waiting();
                ahead + rustix::io::ioctl_fionread(socket).map_or(0, |count| count as usize)
            });
            // Without data, the end of the connection may still be unnoticed.
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

    /// Drops data of `channel` that has no reader: of the streams other than `read`, whose data goes before. It would
    /// use up the window, and libssh2 reports no end of the channel before it is gone. Returns how many bytes; `buffer`
    /// is for them.
    ///
    /// # Errors
    /// See [`Channel::read`].
    pub fn drop_unread(&self, channel: &Channel, read: &[i32], buffer: &mut [u8]) -> Result<usize, Error> {
        self.allowing(0, || {
            // Afterwards all data for the streams in `read` is visible, and the call that drops finds nothing new.
            // SAFETY: as in `go_on`.
            while unsafe { ssh2_transport_read(self.state().session.as_ptr()) } > 0 {}
            if !channel.may_have_data() || read.iter().any(|stream| channel.has_data_of(*stream)) {
                return Ok(0);
            }
            match channel.read_merged(buffer) {
                Err(error) if would_block(&error) => Ok(0),
                dropped => dropped,
            }
        })
    }

    /// Calls `function`, in which libssh2 finds nothing to read, and what it sends waits for [`Link::flush`]: several
    /// messages take one system call and one network packet.
    pub fn gathering<R>(&self, function: impl FnOnce() -> R) -> R {
        let before = self.state().gathers.replace(true);
        let result = self.allowing(0, function);
        self.state().gathers.set(before);
        result
    }

    /// Calls `function`, a step that is repeated until it no longer would block. What libssh2 sends in it waits for
    /// [`Link::flush`], and once it has sent anything, it finds nothing to read until the next step: no answer can be there yet.
    pub fn stepping<R>(&self, function: impl FnOnce() -> R) -> R {
        self.state().step.set(Some(Step::Begun));
        let result = function();
        self.state().step.set(None);
        result
    }

    /// Whether data was read from the socket that libssh2 has not got yet. To libssh2 it is still there, but no poll would tell.
    pub fn has_data_ahead(&self) -> bool {
        self.state().ahead.borrow().waiting() > 0
    }

    /// Calls `function`, in which libssh2 finds only a bit of the available data.
    pub fn in_bits<R>(&self, function: impl FnOnce() -> R) -> R {
        self.allowing(BIT, function)
    }

    /// Calls `function`, in which libssh2 finds at most this many bytes to read.
    fn allowing<R>(&self, bytes: usize, function: impl FnOnce() -> R) -> R {
        let before = self.state().allowed.replace(bytes);
        let result = function();
        self.state().allowed.set(before);
        result
    }

    /// Whether the server reported that the key of the login forces a command: `command=` of sshd(8)'s authorized_keys.
    /// OpenSSH reports it from 7.7 on, but not a ForceCommand of sshd_config(5).
    pub fn has_forced_command(&self) -> bool {
        self.state().words.forced_command.get()
    }

    /// Allows the server to open this many more channels to the agent (the `auth-agent@openssh.com` of OpenSSH's
    /// PROTOCOL.agent, draft-ietf-sshm-ssh-agent section 8). Without this call, and with 0, all are refused.
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

    /// Returns the next channel to the agent that the server opened.
    pub fn take_agent_channel(&self) -> Option<Channel> {
        let mut channels = self.state().agent_channels.borrow_mut();
        let channel = (!channels.is_empty()).then(|| channels.remove(0))?;
        Some(Channel::adopt(&self.session, channel, AGENT_WINDOW))
    }
}

/// libssh2's messages where only the code tells what happened to the transport.
const NO_WORDS: [&str; 3] = ["Unexpected error", "ssh2_transport_read() bailed out", "transport read"];

/// Explains an `error` about a packet that was changed in transit. libssh2 keeps the code, with the text "Unexpected
/// error".
pub fn damage(error: &Error) -> Option<&'static str> {
    match error.code() {
        ErrorCode::Session(raw::LIBSSH2_ERROR_INVALID_MAC) => {
            Some("a packet was changed in transit: its message authentication code is incorrect")
        }
        ErrorCode::Session(raw::LIBSSH2_ERROR_DECRYPT) => {
            Some("a packet was changed in transit: it cannot be decrypted")
        }
        // The code has other meanings too, with texts of their own.
        ErrorCode::Session(raw::LIBSSH2_ERROR_OUT_OF_BOUNDARY) if NO_WORDS.contains(&error.message()) => {
            Some("a packet was changed in transit: it has an impossible length")
        }
        _ => None,
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

/// Bytes at the end of the socket's data that libssh2 gets in bits: more than a disconnect and the data around it at
/// the end of a command.
const LAST_BYTES: usize = 512;
/// Bytes of a bit. The shortest packet has 28: four of its length, 8 encrypted, 16 of the tag (chacha20-poly1305).
const BIT: usize = 24;
