//! Logins with keys, passwords and answers that libssh2 does not hold.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use libssh2_sys as raw;
use ssh2::{Error, Session};

use super::state::LinkState;
use super::words;
use super::{last_error, libssh2_userauth_publickey};
use crate::ssh::wire::WireReader;
use crate::system::password_source::Secret;

/// Signs with a private key that libssh2 does not have: one that pssh decrypted, or one of an agent.
pub trait Signer {
    /// The public key blob (RFC 4253 section 6.6) that is offered to the server.
    fn public_key(&self) -> &[u8];

    /// Signs `data` with `algorithm`, such as `rsa-sha2-512`, and returns what follows the algorithm's name in the
    /// signature: the inner blob of its one string, or everything for the `sk-` types.
    ///
    /// # Errors
    /// The reason why it cannot sign, for the message to the user.
    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String>;
}

/// The result of a public key authentication, short of a failed transport.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicKeyAnswer {
    /// The user is authenticated.
    Accepted,
    /// The server refuses this key.
    Refused,
    /// The server has seen a signature by this key and is not satisfied: it refuses the signature, or wants more than
    /// one factor. libssh2 does not tell which (the "partial success" of RFC 4252 section 5.1).
    Unsettled,
    /// The server accepts the key, but it could not sign.
    NotSigned(String),
}

struct SignCall<'a> {
    signer: &'a dyn Signer,
    failure: Option<String>,
}

/// Authenticates `user` with `signer`'s key (RFC 4252 section 7). Repeat it with the same arguments while the error
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
            Ok(PublicKeyAnswer::NotSigned("the server accepts no signature algorithm that pssh has for it".to_owned()))
        }
        value => Err(last_error(session, value as isize)),
    }
}

unsafe extern "C" fn sign(
    session: *mut raw::LIBSSH2_SESSION,
    signature: *mut *mut c_uchar,
    signature_len: *mut usize,
    data: *const c_uchar,
    data_len: usize,
    context: *mut *mut c_void,
) -> c_int {
    // SAFETY: `context` is the `call` of authenticate_public_key, alive and not otherwise borrowed while libssh2 runs;
    // libssh2 gives `data_len` readable bytes at `data`.
    let (call, data) = unsafe { (&mut *context.cast::<SignCall<'_>>(), slice::from_raw_parts(data, data_len)) };
    // SAFETY: libssh2 passes the session, which is live and locked for the call that this is called from.
    unsafe {
        if let Some(state) = LinkState::of(raw::libssh2_session_abstract(session)) {
            words::show(session, &state.words);
        }
    }
    // A panic must not unwind into C.
    let signed = catch_unwind(AssertUnwindSafe(|| match signed_algorithm(data) {
        Some(algorithm) => call.signer.sign(algorithm, data),
        None => Err("libssh2 requested a signature of unexpected data".to_owned()),
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
    // SAFETY: libssh2 frees the signature with the session's allocator, whose blocks are malloc's; both out-pointers are valid for writing.
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

/// Asks for the methods that can continue (RFC 4252 section 5.2), as a list with commas. Repeat it while the error says
/// that it would block. ssh2's own function panics if the list is not UTF-8.
///
/// # Errors
/// libssh2's error if the transport failed or would block. The user may be authenticated then.
pub fn offered_methods(session: &Session, user: &str) -> Result<String, Error> {
    let (list, code) = {
        let mut session_raw = session.raw();
        let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
        // SAFETY: the session is live and locked; `user` is passed with its length, and libssh2 keeps no reference to it. The list ends
        // with a NUL byte and is the session's; it is copied before anything else is called.
        unsafe {
            let list = raw::libssh2_userauth_list(pointer, user.as_ptr().cast(), user.len() as c_uint);
            let list = (!list.is_null()).then(|| CStr::from_ptr(list).to_string_lossy().into_owned());
            (list, raw::libssh2_session_last_errno(pointer))
        }
    };
    list.ok_or_else(|| last_error(session, code as isize))
}

/// The result of a password authentication, short of a failed transport.
#[derive(Debug, PartialEq, Eq)]
pub enum PasswordAnswer {
    /// The user is authenticated.
    Accepted,
    /// The password is wrong, or not enough by itself.
    Refused,
    /// The server demands a new password first.
    Expired,
}

/// Authenticates `user` with `password` (RFC 4252 section 8). Repeat it with the same arguments while the error says
/// that it would block. ssh2's own function would leave a copy of the password in freed memory.
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
    /// Whether the answer may be echoed.
    pub echo: bool,
}

/// Answers the questions of a keyboard-interactive authentication.
pub trait Answerer {
    /// Answers one request, which may have no question. Missing answers are sent as empty ones.
    fn answer(&mut self, name: &str, instruction: &str, questions: &[Question]) -> Vec<Secret>;
}

/// Authenticates `user` with the answers of `answerer` (RFC 4256); returns whether the server accepts them. Repeat it
/// with the same arguments while the error says that it would block: libssh2 has then sent the answers, or will send
/// them first, and does not ask again.
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
        // SAFETY: the session is live and locked; `user` is passed with its length. The state of its link holds the address of
        // `answerer` during this call only, and `answer` runs only inside it.
        unsafe {
            let state = LinkState::of(raw::libssh2_session_abstract(pointer));
            if let Some(state) = state {
                state.answerer.set((&raw mut answerer).cast());
            }
            let value = raw::libssh2_userauth_keyboard_interactive_ex(
                pointer,
                user.as_ptr().cast(),
                user.len() as c_uint,
                Some(answer),
            );
            if let Some(state) = state {
                state.answerer.set(ptr::null_mut());
            }
            value
        }
    };
    match value {
        0 => Ok(true),
        // -18 means a refusal or a connection that ended while waiting for the answer.
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
    // SAFETY: libssh2 passes the address of the abstract slot; the answerer is that of authenticate_keyboard_interactive, alive
    // and not otherwise borrowed while libssh2 runs; texts with their lengths, and `count` prompts and zeroed responses, null
    // where there are none. It frees the texts of the responses with the session's allocator, whose blocks are malloc's.
    unsafe {
        let Some(state) = LinkState::of(context) else { return };
        let Some(answerer) = state.answerer.get().cast::<&mut dyn Answerer>().as_mut() else { return };
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
        if questions.is_empty() {
            state.words.keep_instruction(&name, &instruction);
        }
        // A panic must not unwind into C; the missing answers will be refused.
        let answers = catch_unwind(AssertUnwindSafe(|| answerer.answer(&name, &instruction, &questions)));
        if !questions.is_empty() {
            // Messages from here on concern the answers.
            words::show(state.session.as_ptr(), &state.words);
        }
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
    let mut reader = WireReader(data);
    let _session_id = reader.string()?;
    let _request = reader.byte()?;
    let (_user, _service, _method) = (reader.string()?, reader.string()?, reader.string()?);
    let _is_signed = reader.byte()?;
    let (algorithm, _key) = (reader.string()?, reader.string()?);
    std::str::from_utf8(algorithm).ok()
}

#[cfg(test)]
mod tests {
    use super::signed_algorithm;

    fn string(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes()[..], text].concat()
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
