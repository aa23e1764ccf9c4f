//! A channel as libssh2 has it: opening, requests, data, and how the command ended.

use std::ffi::{c_char, c_int, c_uint, c_ulong};
use std::ptr::{self, NonNull};
use std::slice;

use libssh2_sys as raw;
use ssh2::{Error, ErrorCode, Session};

use super::exchange::go_on;
use super::state::LinkState;
use super::{
    TOO_LONG, check, last_error, libssh2_channel_has_exit_status, libssh2_channel_signal_ex, libssh2_poll_channel_read,
    ssh2_channel_packet_data_len, ssh2_transport_send, take_packet,
};

/// A session channel of libssh2 (RFC 4254 section 6). Freed on drop.
pub struct Channel {
    session: Session,
    channel: NonNull<raw::LIBSSH2_CHANNEL>,
    /// Receive window in bytes.
    window: u64,
    /// Its numbers, unless the server has opened it.
    numbers: Option<Numbers>,
}

/// The numbers of a channel in its messages (RFC 4254 section 5.1), in network byte order: ours in those that we get, the server's in
/// those that it gets.
#[derive(Clone, Copy)]
struct Numbers {
    ours: [u8; 4],
    theirs: [u8; 4],
}

impl Numbers {
    /// Those of an SSH_MSG_CHANNEL_OPEN_CONFIRMATION.
    fn of(confirmation: [u8; 9]) -> Option<Numbers> {
        let [OPEN_CONFIRMATION, a, b, c, d, e, f, g, h] = confirmation else { return None };
        Some(Numbers { ours: [a, b, c, d], theirs: [e, f, g, h] })
    }
}

// Messages of RFC 4254.
const OPEN_CONFIRMATION: u8 = 91;
const REQUEST: u8 = 98;
const SUCCESS: u8 = 99;
const FAILURE: u8 = 100;

/// libssh2.h: LIBSSH2_CHANNEL_WINDOW_DEFAULT, that of channels which the server opens.
pub(super) const AGENT_WINDOW: u64 = 2 << 20;

/// How a remote command ended, as far as the server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// `exit-status`.
    Status(u32),
    /// `exit-signal`, with the name that the server gave.
    Signal(String),
    /// None was received.
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
    /// Opens a `session` channel with a receive window of `window` bytes. Repeat it while it would block.
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
        let (channel, code, confirmation) = {
            let mut session_raw = session.raw();
            let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
            // SAFETY: the session is live and locked; `kind` and `message` are passed with their lengths. libssh2 copies the
            // kind, and reads the message only within this call. The last that it frees in a call that gives a channel is the
            // server's confirmation, which it has read.
            unsafe {
                let state = LinkState::of(raw::libssh2_session_abstract(pointer));
                if let Some(state) = state {
                    state.memory.note_freed();
                }
                let channel = raw::libssh2_channel_open_ex(
                    pointer,
                    kind.as_ptr().cast(),
                    kind.len() as c_uint,
                    window,
                    PACKET_SIZE,
                    message.as_ptr().cast(),
                    message.len() as c_uint,
                );
                let code = raw::libssh2_session_last_errno(pointer);
                let mut confirmation = None;
                if let Some(state) = state {
                    confirmation = if channel.is_null() { None } else { state.memory.last_freed() };
                    state.memory.forget_freed();
                    go_on(state);
                }
                (channel, code, confirmation)
            }
        };
        match NonNull::new(channel) {
            Some(channel) => {
                let mut channel = Channel::adopt(session, channel, u64::from(window));
                channel.numbers = confirmation.and_then(Numbers::of);
                Ok(channel)
            }
            None => Err(last_error(session, code as isize)),
        }
    }

    /// Wraps a channel that libssh2 has opened, with a receive window of `window` bytes. It must have no other owner.
    pub(super) fn adopt(session: &Session, channel: NonNull<raw::LIBSSH2_CHANNEL>, window: u64) -> Channel {
        let channel = Channel { session: session.clone(), channel, window, numbers: None };
        channel.on_link(|state| state.grant(window));
        channel
    }

    /// Tells the link that this many more bytes went through the channel, see [`LinkState::moved`].
    fn moved(&self, bytes: u64, is_drained: bool) {
        self.on_link(|state| state.moved(bytes, is_drained, self.window));
    }

    /// Calls `function` with the state of the session's link, if there is one.
    fn on_link(&self, function: impl FnOnce(&LinkState)) {
        let mut session_raw = self.session.raw();
        // SAFETY: the session is live and locked.
        let state = unsafe { LinkState::of(raw::libssh2_session_abstract(&mut *session_raw)) };
        if let Some(state) = state {
            function(state);
        }
    }

    /// Calls libssh2 with the raw channel while the session is locked.
    fn call<R>(&self, function: impl FnOnce(*mut raw::LIBSSH2_CHANNEL) -> R) -> R {
        self.call_session(|_| function(self.channel.as_ptr()))
    }

    /// Calls libssh2 with the raw session, which is locked.
    fn call_session<R>(&self, function: impl FnOnce(*mut raw::LIBSSH2_SESSION) -> R) -> R {
        let mut session_raw = self.session.raw();
        let value = function(&mut *session_raw);
        // SAFETY: the session is live and locked.
        if let Some(state) = unsafe { LinkState::of(raw::libssh2_session_abstract(&mut *session_raw)) } {
            go_on(state);
        }
        value
    }

    /// Asks the server to run `command` (RFC 4254 section 6.5) and waits for its answer. Repeat it with the same
    /// argument while it would block.
    ///
    /// # Errors
    /// libssh2's error if the server refuses, the transport fails or would block.
    pub fn exec(&self, command: &[u8]) -> Result<(), Error> {
        const KIND: &[u8] = b"exec";
        // SAFETY: the channel is live until Drop; both byte strings outlive the call and are passed with their lengths.
        let value = self.call(|channel| unsafe {
            raw::libssh2_channel_process_startup(
                channel,
                KIND.as_ptr().cast(),
                KIND.len() as c_uint,
                command.as_ptr().cast(),
                command.len() as c_uint,
            )
        });
        check(&self.session, value as isize).map(drop)
    }

    /// Asks the server for a pseudo-terminal for the command (RFC 4254 section 6.2), with the type `term`, the encoded
    /// `modes`, and columns and rows. Repeat it with the same arguments while it would block.
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

    /// Sends a request of this `kind` (RFC 4254 section 5.4), with what follows the common part of its message, without
    /// waiting. Repeat it with the same arguments while it would block, which happens only during a key exchange. With
    /// `wants_reply`, [`Channel::take_answer`] returns whether the server accepts it.
    ///
    /// # Errors
    /// libssh2's error: [`TOO_LONG`], the transport failed or would block.
    pub fn request(&self, kind: &str, wants_reply: bool, details: &[u8]) -> Result<(), Error> {
        let Some(numbers) = self.numbers else {
            return Err(Error::new(ErrorCode::Session(raw::LIBSSH2_ERROR_BAD_USE), "the channel has no number"));
        };
        let mut head = vec![REQUEST];
        head.extend_from_slice(&numbers.theirs);
        head.extend_from_slice(&(kind.len() as u32).to_be_bytes());
        head.extend_from_slice(kind.as_bytes());
        head.push(u8::from(wants_reply));
        // SAFETY: the session is live and locked; both pieces are passed with their lengths.
        let value = self.call_session(|session| unsafe {
            ssh2_transport_send(session, head.as_ptr(), head.len(), details.as_ptr(), details.len())
        });
        match value {
            // libssh2 leaves the message of another error then.
            raw::LIBSSH2_ERROR_INVAL => Err(Error::new(TOO_LONG, "it does not fit into one packet")),
            value => check(&self.session, value as isize).map(drop),
        }
    }

    /// Takes the server's next answer to a request that wanted one: whether the server accepts it. Reads nothing. Of
    /// several answers, those of either kind keep their order, but acceptances come first.
    pub fn take_answer(&self) -> Option<bool> {
        let numbers = self.numbers?;
        [SUCCESS, FAILURE].into_iter().find_map(|kind| {
            // SAFETY: the session is live and locked.
            let packet = self.call_session(|session| unsafe { take_packet(session, kind, &numbers.ours) });
            packet.map(|_| kind == SUCCESS)
        })
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

    /// Reads from all streams at once, as they came. The same as [`Channel::read`] otherwise.
    ///
    /// # Errors
    /// The same.
    pub(super) fn read_merged(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.set_extended_data(raw::LIBSSH2_CHANNEL_EXTENDED_DATA_MERGE);
        let read = self.read(0, buffer);
        self.set_extended_data(raw::LIBSSH2_CHANNEL_EXTENDED_DATA_NORMAL);
        read
    }

    fn set_extended_data(&self, mode: c_int) {
        // SAFETY: the channel is live until Drop. Of these modes none sends anything.
        self.call(|channel| unsafe { raw::libssh2_channel_handle_extended_data2(channel, mode) });
    }

    /// Whether this stream has data to read. Reads nothing from the socket.
    pub(super) fn has_data_of(&self, stream: i32) -> bool {
        // SAFETY: the channel is live until Drop.
        self.call(|channel| unsafe { ssh2_channel_packet_data_len(channel, stream) }) > 0
    }

    /// Whether any stream may have data, even 0 bytes: such packets delay the end of the channel. Reads nothing from
    /// the socket.
    pub fn may_have_data(&self) -> bool {
        // SAFETY: the channel is live until Drop. 1 asks for all streams; an error says that a short packet is in the way.
        self.call(|channel| unsafe { libssh2_poll_channel_read(channel, 1) }) != 0
    }

    /// Sends at most one packet of `bytes` on stream 0; returns how many bytes. 0 if the server's window is full.
    /// Repeat it with the same bytes, or more, while it would block.
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

    /// Returns how many bytes the server would accept now.
    pub fn write_window(&self) -> usize {
        // SAFETY: the channel is live until Drop; null is allowed for the initial size.
        self.call(|channel| unsafe { raw::libssh2_channel_window_write_ex(channel, ptr::null_mut()) }) as usize
    }

    /// Reads everything that has arrived from the socket, for any channel; it stays queued in libssh2.
    ///
    /// # Errors
    /// libssh2's error if the transport fails or would block, which means that all data was read.
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

    /// Whether the server sent the end of the output and all of it was read.
    pub fn eof(&self) -> bool {
        // SAFETY: the channel is live until Drop.
        self.call(|channel| unsafe { raw::libssh2_channel_eof(channel) }) > 0
    }

    /// Returns how many bytes of output are queued in libssh2, of both streams.
    pub fn queued(&self) -> usize {
        let mut available: c_ulong = 0;
        // SAFETY: the channel is live until Drop; the out-pointer is valid, and null is allowed for the other.
        self.call(|channel| unsafe { raw::libssh2_channel_window_read_ex(channel, &mut available, ptr::null_mut()) });
        available as usize
    }

    /// Whether the next read of `length` bytes must first enlarge the server's window. libssh2 reads nothing before
    /// that is sent, and sends it only outside of a key exchange.
    pub fn owes_window(&self, length: usize) -> bool {
        let mut initial: c_ulong = 0;
        // SAFETY: the channel is live until Drop; the out-pointer is valid, and null is allowed for the other.
        let window =
            self.call(|channel| unsafe { raw::libssh2_channel_window_read_ex(channel, ptr::null_mut(), &mut initial) });
        // As in ssh2_channel_read() of libssh2.
        (window as usize) < initial as usize / 4 * 3 + length
    }

    /// Sends the end of the command's input.
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

    /// Returns how the command ended, as far as the server has sent it.
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
        self.on_link(|state| state.release(self.window));
    }
}
