//! The server's texts: its disconnect message, its banners, and its debug messages. libssh2 drops the first and the
//! last, and keeps only one banner.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::fmt;
use std::ptr;
use std::slice;

use libssh2_sys as raw;

use super::state::LinkState;
use super::{
    CALLBACK_DEBUG, CALLBACK_DISCONNECT, GenericCallback, libssh2_session_callback_set2, libssh2_userauth_banner,
    take_packet,
};
use crate::ssh::wire::WireReader;
use crate::system::quotation::said;
use crate::system::redact;

/// Bytes kept of a text: no message shows as many.
const LONGEST: usize = 8 << 10;
/// Banners kept. OpenSSH sends one before the login, and one if PAM has a message.
const MOST_BANNERS: usize = 8;
/// The number of SSH_MSG_USERAUTH_BANNER (RFC 4252 section 6).
const USERAUTH_BANNER: c_uchar = 53;

/// The server's disconnect message (RFC 4253 section 11.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The reason code.
    reason: u32,
    /// The text, which may be empty.
    text: String,
}

impl Goodbye {
    /// Whether it answers a login rather than reporting a connection problem. (OpenSSH calls too many failures a
    /// protocol error.)
    pub fn refuses_login(&self) -> bool {
        ![4, 5, 6, 7, 10, 12].contains(&self.reason)
    }

    /// Whether another attempt may succeed: the service is not available, the connection was lost, the server is shut
    /// down, or has too many connections.
    pub fn may_pass(&self) -> bool {
        [7, 10, 11, 12].contains(&self.reason)
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// RFC 4253 section 11.1, from 1.
        const REASONS: [&str; 15] = [
            "host not allowed to connect",
            "protocol error",
            "key exchange failed",
            "reserved",
            "MAC error",
            "compression error",
            "service not available",
            "protocol version not supported",
            "host key not verifiable",
            "connection lost",
            "by application",
            "too many connections",
            "authentication cancelled by user",
            "no more authentication methods available",
            "illegal user name",
        ];
        if !self.text.trim().is_empty() {
            return write!(f, "the server said: {}", said(&self.text));
        }
        let reason = (self.reason as usize).checked_sub(1).and_then(|place| REASONS.get(place));
        match reason {
            Some(reason) => write!(f, "the server disconnected: {reason}"),
            None => write!(f, "the server disconnected with reason {}", self.reason),
        }
    }
}

/// The texts of a session's server so far.
#[derive(Default)]
pub(super) struct Words {
    goodbye: RefCell<Option<Goodbye>>,
    banners: RefCell<Vec<String>>,
    /// How many banners there were when the last key or password was sent, if any was.
    shown: Cell<Option<usize>>,
    /// The last banner that libssh2 itself has kept, which is among them.
    listed: RefCell<Vec<u8>>,
    /// Whether the server reported a forced command for the user's key.
    pub(super) forced_command: Cell<bool>,
}

impl Words {
    pub(super) fn goodbye(&self) -> Option<Goodbye> {
        self.goodbye.borrow().clone()
    }

    /// Returns the banners from before the server judged the last key or password, and those after.
    pub(super) fn banners(&self) -> (Vec<String>, Vec<String>) {
        let mut before = self.banners.borrow().clone();
        let after = self.shown.get().map(|count| before.split_off(count.min(before.len()))).unwrap_or_default();
        (before, after)
    }

    /// Keeps the text of a keyboard-interactive request without questions (RFC 4256 section 3.2): PAM explains there
    /// why an account may not be used.
    pub(super) fn keep_instruction(&self, name: &str, instruction: &str) {
        let text = format!("{name}\n{instruction}");
        if !text.trim().is_empty() {
            self.keep_banner(text.trim().as_bytes());
        }
    }

    fn keep_banner(&self, text: &[u8]) {
        let mut banners = self.banners.borrow_mut();
        if banners.len() < MOST_BANNERS {
            banners.push(text_of(text));
        }
    }
}

/// Returns the start of a text that may not be UTF-8.
fn text_of(bytes: &[u8]) -> String {
    let bytes = redact::beginning(bytes, LONGEST);
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Makes libssh2 pass on the server's disconnect and debug messages.
///
/// # Safety
/// `session` is live and locked, and its abstract slot holds the state of a link.
pub(super) unsafe fn listen(session: *mut raw::LIBSSH2_SESSION) {
    // SAFETY: as the caller promises. The types are the ones that libssh2.h gives for the callbacks; libssh2 casts them back to
    // those before calling them.
    unsafe {
        let debug: GenericCallback = std::mem::transmute::<TextCallback, GenericCallback>(debug);
        libssh2_session_callback_set2(session, CALLBACK_DEBUG, Some(debug));
        let disconnected: GenericCallback = std::mem::transmute::<TextCallback, GenericCallback>(disconnected);
        libssh2_session_callback_set2(session, CALLBACK_DISCONNECT, Some(disconnected));
    }
}

/// Takes the received banners (RFC 4252 section 5.4). libssh2 keeps one, if it answers the request for methods, and
/// leaves all others among the unexpected packets.
///
/// # Safety
/// `session` is live and locked, if not by the call of libssh2 that this is called from.
pub(super) unsafe fn hear_banners(session: *mut raw::LIBSSH2_SESSION, words: &Words) {
    // SAFETY: as the caller promises. Both out-pointers are valid. A banner of libssh2's ends with a NUL byte and is the session's; the
    // data of a packet that was found are the caller's, and freed once by the session's allocator.
    unsafe {
        let mut text: *mut c_char = ptr::null_mut();
        if libssh2_userauth_banner(session, &mut text) == 0 && !text.is_null() {
            let text = CStr::from_ptr(text).to_bytes();
            if *words.listed.borrow() != text {
                *words.listed.borrow_mut() = text.to_vec();
                words.keep_banner(text);
            }
        }
        while let Some(payload) = take_packet(session, USERAUTH_BANNER, &[]) {
            let mut packet = WireReader(&payload);
            let _kind = packet.byte();
            if let Some(text) = packet.string() {
                words.keep_banner(text);
            }
        }
    }
}

/// Notes that a key or password is sent now: later texts concern that.
///
/// # Safety
/// See [`hear_banners`].
pub(super) unsafe fn show(session: *mut raw::LIBSSH2_SESSION, words: &Words) {
    // SAFETY: as the caller promises.
    unsafe { hear_banners(session, words) };
    words.shown.set(Some(words.banners.borrow().len()));
}

/// # Safety
/// `length` bytes are readable at `text`, or it is null.
unsafe fn bytes<'a>(text: *const c_char, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as the caller promises.
        Ok(length) if !text.is_null() => unsafe { slice::from_raw_parts(text.cast(), length) },
        _ => &[],
    }
}

/// Stores the text of a disconnect or debug message: a number, a text and its language.
type TextCallback = unsafe extern "C" fn(
    *mut raw::LIBSSH2_SESSION,
    c_int,
    *const c_char,
    c_int,
    *const c_char,
    c_int,
    *mut *mut c_void,
);

unsafe extern "C" fn disconnected(
    _session: *mut raw::LIBSSH2_SESSION,
    reason: c_int,
    message: *const c_char,
    length: c_int,
    _language: *const c_char,
    _language_length: c_int,
    context: *mut *mut c_void,
) {
    // SAFETY: libssh2 passes the address of the session's abstract slot, and a text with its length, or null.
    let (state, message) = unsafe { (LinkState::of(context), bytes(message, length)) };
    if let Some(state) = state
        && let Ok(mut goodbye) = state.words.goodbye.try_borrow_mut()
    {
        *goodbye = Some(Goodbye { reason: reason as u32, text: text_of(message) });
    }
}

unsafe extern "C" fn debug(
    _session: *mut raw::LIBSSH2_SESSION,
    _always_display: c_int,
    message: *const c_char,
    length: c_int,
    _language: *const c_char,
    _language_length: c_int,
    context: *mut *mut c_void,
) {
    // SAFETY: as in `disconnected`.
    let (state, message) = unsafe { (LinkState::of(context), bytes(message, length)) };
    if let Some(state) = state
        && names_forced_command(message)
    {
        state.words.forced_command.set(true);
    }
}

/// Whether this is the report of a forced command by `auth_log_authopts` of OpenSSH's auth.c: `FILE:LINE: key options:
/// WORD...`.
fn names_forced_command(message: &[u8]) -> bool {
    let message: Cow<'_, str> = String::from_utf8_lossy(message);
    let options = message.split_once(": key options:").map(|(_, options)| options);
    options.is_some_and(|options| options.split(' ').any(|option| option == "command"))
}

/// libssh2's failure messages, which name its own functions and steps, and their meaning for a user.
const MEANINGS: [(&str, &str); 16] = [
    ("Invalid MAC received", "a packet from the server has a wrong MAC: it was damaged or changed in transit"),
    ("Failed to calculate MAC", "a packet from the server has a wrong MAC: it was damaged or changed in transit"),
    ("Unable to verify host key signature", "the server did not prove that it has the private host key"),
    ("Unable to exchange encryption keys", "the server's part of the key exchange is not valid"),
    ("Unrecoverable error exchanging keys", "the server's part of the key exchange is not valid"),
    (
        "KEXINIT was not the first packet",
        "the server sends other packets before the strict key exchange that it announces",
    ),
    ("strict KEX violation", "the server breaks the strict key exchange that it announces"),
    ("Unable to ask for ssh-userauth service", "the request to log in cannot be sent"),
    ("Failed to get response to ssh-userauth request", "the server does not answer the request to log in"),
    ("Invalid response received from server", "the server's answer to the request to log in is not valid"),
    ("decompression failure", "what the server sends cannot be decompressed"),
    ("Excessive growth in decompression phase", "what the server sends grows too much when it is decompressed"),
    ("Packet received for unknown channel", "the server sends data for a channel that is not open"),
    ("Packet too small", "the server sends a packet that is too short"),
    ("Unable to allocate", "out of memory"),
    ("Out of memory", "out of memory"),
];

/// Returns a message of libssh2 in words for users, if there are any.
pub fn in_our_words(message: &str) -> &str {
    MEANINGS.iter().find(|(theirs, _)| message.starts_with(theirs)).map_or(message, |(_, ours)| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_word_of_a_fixed_command() {
        assert!(names_forced_command(b"/root/.ssh/authorized_keys:1: key options: agent-forwarding command pty"));
        assert!(!names_forced_command(b"/root/.ssh/command:1: key options: agent-forwarding pty"));
        assert!(!names_forced_command(b"command"));
    }

    #[test]
    fn a_text_has_an_end() {
        // Cut within a character.
        assert_eq!(text_of("é".repeat(LONGEST).as_bytes()).chars().count(), LONGEST / 2);
        assert_eq!(text_of(&[b"a".repeat(LONGEST - 1), "é".into()].concat()), "a".repeat(LONGEST - 1));
    }

    #[test]
    fn a_goodbye_without_words_has_its_reason() {
        let goodbye = |reason, text: &str| Goodbye { reason, text: text.to_owned() }.to_string();
        assert_eq!(goodbye(12, " "), "the server disconnected: too many connections");
        assert_eq!(goodbye(0, ""), "the server disconnected with reason 0");
        assert_eq!(goodbye(u32::MAX, ""), "the server disconnected with reason 4294967295");
        assert_eq!(goodbye(2, "Too many"), "the server said: \"Too many\"");
    }
}
