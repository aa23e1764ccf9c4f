//! Key re-exchanges: keeps libssh2 from crashing in them, and from accepting another host key; see
//! [`Link`](super::Link).

use std::ffi::c_int;
use std::slice;

use libssh2_sys as raw;

use super::ssh2_transport_read;
use super::state::{GivenUp, LinkState};

/// Whether a packet must wait: the first of a key re-exchange that started within the packet reader, and every packet
/// once the peer has shown an unchecked host key.
pub(super) fn must_wait(state: &LinkState) -> bool {
    // SAFETY: the session is live and locked by the caller of libssh2, which calls this. Asking for a method only reads the
    // session, and sets its last error where there is none.
    let undecided =
        unsafe { raw::libssh2_session_methods(state.session.as_ptr(), raw::LIBSSH2_METHOD_KEX as c_int).is_null() };
    if !undecided {
        state.agreed.set(true);
    } else if state.agreed.get() {
        // Nothing but KEXINIT is sent until the methods are agreed on again.
        keep_methods(state);
        return !state.postponed.replace(!state.postponed.get());
    }
    if !shows_checked_key(state) {
        state.give_up(GivenUp::HostKey);
        return true;
    }
    false
}

/// Keeps libssh2 from agreeing on another cipher, MAC or compression in a key re-exchange than those in use: it would
/// send with the new ones at once, on the context and keys of the old ones, with memory that is not their key. A server
/// with an unchanged configuration chooses the same again; otherwise the exchange fails.
fn keep_methods(state: &LinkState) {
    if state.keeps_methods.replace(true) {
        return;
    }
    let session = state.session.as_ptr();
    for kind in [
        raw::LIBSSH2_METHOD_CRYPT_CS,
        raw::LIBSSH2_METHOD_CRYPT_SC,
        raw::LIBSSH2_METHOD_MAC_CS,
        raw::LIBSSH2_METHOD_MAC_SC,
        raw::LIBSSH2_METHOD_COMP_CS,
        raw::LIBSSH2_METHOD_COMP_SC,
    ] {
        // SAFETY: as in `must_wait`. The name is libssh2's own and lives as long as the process; libssh2 copies it, and no code uses the
        // list that it replaces: our KEXINIT, in which that is, has been made before it is sent. The code of a cipher that has its own
        // is refused as a preference, which does not matter: it is that of the cipher.
        unsafe {
            let name = raw::libssh2_session_methods(session, kind as c_int);
            if !name.is_null() {
                raw::libssh2_session_method_pref(session, kind as c_int, name);
            }
        }
    }
}

/// Whether the host key of the last key exchange is the checked one.
fn shows_checked_key(state: &LinkState) -> bool {
    let checked = state.host_key.borrow();
    if checked.is_empty() {
        // It is not checked yet, and only keys were exchanged.
        return true;
    }
    let mut length = 0;
    // SAFETY: as in `must_wait`; the out-pointers are valid, and the key is the session's until the next call of libssh2 that reads.
    unsafe {
        let key = raw::libssh2_session_hostkey(state.session.as_ptr(), &mut length, &mut 0);
        !key.is_null() && slice::from_raw_parts(key.cast::<u8>(), length) == checked.as_slice()
    }
}

/// See `Link::go_on`.
pub(super) fn go_on(state: &LinkState) {
    if !state.postponed.get() {
        return;
    }
    // For sending only: data from before the exchange is returned before anything more is read.
    let allowed = state.allowed.replace(0);
    // SAFETY: the session is live, and has no other lock holder: a session is used by one thread. The function is libssh2's own reader
    // of packets, which every call that waits for one begins with.
    let value = unsafe { ssh2_transport_read(state.session.as_ptr()) };
    state.allowed.set(allowed);
    if value < 0 && value != raw::LIBSSH2_ERROR_EAGAIN {
        state.give_up(GivenUp::Exchange);
    }
}

/// Gives the connection up if `value`, returned by a call of libssh2, says that a key re-exchange failed: libssh2
/// forgets the exchange and would go on as if the peer had never started one. Any call may go on with an exchange and
/// return this.
pub(super) fn note_failed_exchange(state: &LinkState, value: isize) {
    let failures = [raw::LIBSSH2_ERROR_KEX_FAILURE, raw::LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE];
    if failures.iter().any(|failure| value == *failure as isize) {
        state.give_up(GivenUp::Exchange);
    }
}

/// Lets a refused exchange end in libssh2, once the session is no longer read.
///
/// # Safety
/// The session is live and locked, has no link any more, and its socket is shut down: nothing is sent or received.
pub(super) unsafe fn let_end(session: *mut raw::LIBSSH2_SESSION) {
    // SAFETY: as the caller promises, and as in `go_on`. Whether it fails does not matter.
    unsafe {
        ssh2_transport_read(session);
    }
}
