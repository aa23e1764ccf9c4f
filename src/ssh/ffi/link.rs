//! The socket of a session, through which libssh2 sends and receives by callbacks of ours.

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
    AgentCallback, GivenUp, LinkState, MOST_BESIDES, ReceiveCallback, SendCallback, SocketEnd, Unsent, agent_opened,
    receive, send,
};
use super::words::{self, Goodbye, Words};
use super::{
    CALLBACK_AUTHAGENT, CALLBACK_RECV, CALLBACK_SEND, GenericCallback, is_answer, libssh2_session_callback_set2,
    ssh2_transport_read, take_packet, would_block,
};

/// What is known about the socket of a session, from the beginning of the session to its end.
///
/// * **The end of the connection.** After the login libssh2 gives up everything that it has queued for a channel when the socket
///   fails. So the end of the connection is reported to libssh2 as "nothing there yet" and noted here: what was received can still
///   be read, then the link is dead.
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
/// * **The host key** of a re-exchange has to be the one that was checked; see [`Link::pin_host_key`].
/// * **Memory**: see [`Memory`].
pub struct Link {
    session: Session,
    // A box, since libssh2 keeps its address; a raw pointer, since the callbacks make a reference to it while `self` may
    // be borrowed.
    state: NonNull<LinkState>,
}

impl Link {
    /// Takes over the socket and the memory of `session`, which has just been made.
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
            unsent: RefCell::default(),
            gathers: Cell::new(false),
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

    /// From now on `key` is the only host key: another one in a key re-exchange ends the connection, before the new keys are
    /// used (RFC 4253 section 9 lets a server change it; ssh(1) does not).
    pub fn pin_host_key(&self, key: &[u8]) {
        *self.state().host_key.borrow_mut() = key.to_vec();
        *self.state().opening.borrow_mut() = Vec::new();
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

    /// The identifier of the session (RFC 4253 section 7.2): the hash of its first key exchange. Nothing before that, and where it could
    /// not be found.
    pub fn session_identifier(&self) -> Option<Vec<u8>> {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { self.state().memory.session_identifier(NonNull::from(&mut *session_raw)) }
    }

    /// Calls `function` with what the peer has sent so far, as far as it is kept, which ends with the check of its host key.
    pub fn with_opening<R>(&self, function: impl FnOnce(&[u8]) -> R) -> R {
        function(&self.state().opening.borrow())
    }

    /// Takes the answers to keepalives that have come; says whether there were any. libssh2 would keep them.
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

    /// The end of the connection as the server has announced it, if it has.
    pub fn goodbye(&self) -> Option<Goodbye> {
        self.state().words.goodbye()
    }

    /// Why `error` has come: in the words of the server, if it has ended the connection in words, or else how the connection has ended,
    /// if it has; or else in words of ours for those of libssh2.
    pub fn explain(&self, error: &Error) -> String {
        match (self.goodbye(), self.socket_end()) {
            (Some(goodbye), _) => goodbye.to_string(),
            (None, Some(end)) if !is_answer(error) => end.to_string(),
            (None, _) => damage(error).unwrap_or_else(|| words::in_our_words(error.message())).to_owned(),
        }
    }

    /// How the socket has ended, as far as that was met.
    pub fn socket_end(&self) -> Option<SocketEnd> {
        self.state().socket_end.get()
    }

    /// Notes that something else than libssh2 has met this error of `socket`, the session's, which no other read meets then.
    pub fn note_socket_error(&self, socket: BorrowedFd<'_>, error: Errno) {
        self.state().note_end(SocketEnd::of(socket, Some(error.raw_os_error())));
    }

    /// The server's banners so far (RFC 4252 section 5.4): those that came before it has judged the last key or password that it was
    /// shown, and those that came after it.
    pub fn banners(&self) -> (Vec<String>, Vec<String>) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { words::hear_banners(&mut *session_raw, &self.state().words) };
        self.state().words.banners()
    }

    /// Notes that the server is now told a password, or answers. (That it is shown a key is noted when that signs.)
    pub fn show_secret(&self) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        unsafe { words::show(&mut *session_raw, &self.state().words) };
    }

    /// How the server has refused the last method, if that was seen since the last call of this.
    pub fn take_refusal(&self) -> Option<Refusal> {
        self.state().login.take_refusal()
    }

    /// The signature algorithm with which the last key was offered.
    pub fn offered_algorithm(&self) -> Option<String> {
        self.state().login.algorithm()
    }

    /// The signature algorithms that the server says it takes, with commas.
    pub fn taken_algorithms(&self) -> Option<String> {
        self.state().login.taken()
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
        self.state().unsent.borrow().waiting()
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

    /// Drops data of `channel` that nobody reads: of the streams other than `read`, which goes before. They would use up the window,
    /// and libssh2 tells no end of the channel before they are gone. Gives how many bytes; `buffer` is for them.
    ///
    /// # Errors
    /// As of [`Channel::read`].
    pub fn drop_unread(&self, channel: &Channel, read: &[i32], buffer: &mut [u8]) -> Result<usize, Error> {
        self.allowing(0, || {
            // Afterwards all that has come for the streams in `read` can be seen, and the call that drops finds nothing new.
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

    /// Calls `function`, in which libssh2 finds nothing to read, and what it sends waits for [`Link::flush`]: several messages take one
    /// system call, and one packet of the network.
    pub fn gathering<R>(&self, function: impl FnOnce() -> R) -> R {
        self.state().gathers.set(true);
        let result = self.allowing(0, function);
        self.state().gathers.set(false);
        result
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
        self.state().words.forced_command.get()
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

/// What libssh2 says where only the code tells what has happened to the transport.
const NO_WORDS: [&str; 3] = ["Unexpected error", "ssh2_transport_read() bailed out", "transport read"];

/// What `error` says of a packet that was changed on its way. libssh2 keeps the code and says "Unexpected error" with it.
pub fn damage(error: &Error) -> Option<&'static str> {
    match error.code() {
        ErrorCode::Session(raw::LIBSSH2_ERROR_INVALID_MAC) => {
            Some("a packet was changed in transit: its message authentication code is incorrect")
        }
        ErrorCode::Session(raw::LIBSSH2_ERROR_DECRYPT) => {
            Some("a packet was changed in transit: it cannot be decrypted")
        }
        // The code has other meanings too, with words of their own.
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

/// Bytes at the end of what is in the socket that libssh2 gets bit by bit: more than a goodbye has, and what comes with it at the
/// end of a command.
const LAST_BYTES: usize = 512;
/// Bytes of a bit. The shortest packet has 28: four of its length, 8 that are encrypted, 16 of the tag (chacha20-poly1305).
const BIT: usize = 24;
