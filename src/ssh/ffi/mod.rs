//! The part of libssh2 that the ssh2 crate does not reach, and the only unsafe code of the project. (`at_start` is not about libssh2:
//! it notes which standard streams are closed, before Rust's runtime hides it, and tells inherited descriptors from our own.)
//!
//! ssh2 0.9.6 hides what a truthful outcome needs: whether an exit status was received at all (its `exit_status()` is 0
//! when there was none), output that is still queued when a connection dies, signal requests, authentication with a
//! signer of one's own, and passwords that leave no copies behind. The functions in `beyond` are in the libssh2 that libssh2-sys 0.3.4
//! bundles, but not in its bindings; with the feature `system-libssh2` they are looked up when a run starts.
//!
//! What every block relies on:
//! * A [`Session`] is used by one thread at a time; every raw call happens while `Session::raw` holds its mutex.
//! * A [`Channel`] owns a clone of its session, so the session outlives it.
//! * libssh2 is in non-blocking mode: no call here waits.
#![expect(unsafe_code, reason = "the one folder for it: libssh2's C interface")]

pub mod at_start;
mod auth;
mod beyond;
mod blocks;
mod channel;
mod exchange;
mod link;
mod login;
mod memory;
mod own_request;
mod state;
mod tcp;
mod words;

use std::ffi::{c_int, c_long, c_uchar, c_void};
use std::slice;

use libssh2_sys as raw;
use ssh2::{Error, ErrorCode, Session};

use self::beyond::{
    libssh2_channel_has_exit_status, libssh2_channel_signal_ex, libssh2_poll_channel_read,
    libssh2_session_callback_set2, libssh2_session_set_read_timeout, libssh2_userauth_banner,
    libssh2_userauth_publickey, ssh2_channel_packet_data_len, ssh2_packet_ask, ssh2_transport_read,
    ssh2_transport_send,
};
use self::state::LinkState;

pub use self::at_start::{is_ignored, was_closed_at_start};
pub use self::auth::{
    Answerer, PasswordAnswer, PublicKeyAnswer, Question, Signer, authenticate_keyboard_interactive,
    authenticate_password, authenticate_public_key, offered_methods,
};
pub use self::beyond::unusable;
pub use self::channel::{Channel, Exit, direct_tcpip};
pub use self::link::{Link, damage};
pub use self::login::Refusal;
pub use self::own_request::OwnRequest;
pub use self::state::{GivenUp, SocketEnd, TOO_MUCH};
pub use self::tcp::tcp_silence;
pub use self::words::{Goodbye, in_our_words};
pub use crate::system::quotation::said as quoted;

/// `LIBSSH2_CALLBACK_DEBUG` of libssh2.h: told of the server's SSH_MSG_DEBUG (RFC 4253 section 11.3).
const CALLBACK_DEBUG: c_int = 1;
/// `LIBSSH2_CALLBACK_DISCONNECT` of libssh2.h: told of the server's SSH_MSG_DISCONNECT (RFC 4253 section 11.1).
const CALLBACK_DISCONNECT: c_int = 2;
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

/// Whether libssh2 must be called again when the socket is ready.
pub fn would_block(error: &Error) -> bool {
    error.code() == ErrorCode::Session(raw::LIBSSH2_ERROR_EAGAIN)
}

/// Whether the server, or libssh2, refuses the request: the connection has not failed.
pub fn is_answer(error: &Error) -> bool {
    [OPEN_REFUSED, REQUEST_DENIED, TOO_LONG].contains(&error.code())
}

/// The error of a step to be repeated.
pub fn blocked() -> Error {
    Error::new(ErrorCode::Session(raw::LIBSSH2_ERROR_EAGAIN), "would block")
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
/// system calls per host, and new pages for the next session in the same place.
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
        // SAFETY: within the block that starts at `start`, since `number` is below `pages`. The session is locked, so no code writes
        // to it meanwhile; libssh2 has initialised all of it.
        let is_blank =
            number < pages && is_blank(unsafe { slice::from_raw_parts(start.add(skipped + number * page), page) });
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

/// Whether all bytes are zero. Comparing them with zeros takes a tenth of the time of a loop that looks at each byte, which was 4 % of
/// the processor time of a run on 1,000 hosts at once.
#[cfg(target_os = "linux")]
fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
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

/// Takes the first packet of this `kind` out of those that libssh2 keeps, if `matched` follows its first byte; gives its payload. Reads
/// nothing.
///
/// # Safety
/// The session is live and locked.
unsafe fn take_packet(session: *mut raw::LIBSSH2_SESSION, kind: u8, matched: &[u8]) -> Option<Vec<u8>> {
    let (mut data, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: as the caller promises; the out-pointers are valid, and `matched` is passed with its length. A packet that was found has
    // `length` bytes made with the session's allocator, is the caller's, and is freed once, with the same.
    unsafe {
        if ssh2_packet_ask(session, kind, &mut data, &mut length, 1, matched.as_ptr(), matched.len()) != 0 {
            return None;
        }
        let payload = slice::from_raw_parts(data, length).to_vec();
        raw::libssh2_free(session, data.cast());
        Some(payload)
    }
}

/// Turns libssh2's return value into a result: the value if it is not negative, else the session's last error.
fn check(session: &Session, value: isize) -> Result<usize, Error> {
    match usize::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => {
            // SAFETY: the session is live and locked.
            if let Some(state) = unsafe { LinkState::of(raw::libssh2_session_abstract(&mut *session.raw())) } {
                exchange::note_failed_exchange(state, value);
            }
            Err(last_error(session, value))
        }
    }
}

fn last_error(session: &Session, value: isize) -> Error {
    Error::from_session_error(session, value as c_int)
}
