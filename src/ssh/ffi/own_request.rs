//! A login request with a method that libssh2 does not have.

use std::ffi::c_uchar;
use std::ptr;

use libssh2_sys as raw;
use ssh2::{Error, Session};

use super::auth::offered_methods;
use super::link::Link;
use super::{last_error, ssh2_transport_read, ssh2_transport_send, take_packet, would_block};

/// The number of SSH_MSG_USERAUTH_FAILURE (RFC 4252 section 5.1).
const USERAUTH_FAILURE: c_uchar = 51;

/// A login request (RFC 4252 section 5) and its state.
///
/// libssh2 does not know that a user is logged in unless one of its own questions was answered so. So it asks for the method "none", the
/// request goes along with that, and the first refusal, which is about "none", is taken away: what follows answers both for it.
pub struct OwnRequest<'a> {
    user: &'a str,
    message: &'a [u8],
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Ask,
    Send,
    Hear,
    Await,
}

impl<'a> OwnRequest<'a> {
    /// Wraps `message`, a whole SSH_MSG_USERAUTH_REQUEST for `user`.
    pub fn new(user: &'a str, message: &'a [u8]) -> OwnRequest<'a> {
        OwnRequest { user, message, step: Step::Ask }
    }

    /// Sends it on `session`, whose link is `link`; returns the methods that can continue, or `None` if the user is
    /// logged in. Repeat it while the error says that it would block.
    ///
    /// # Errors
    /// libssh2's error if the transport failed or would block.
    pub fn make(&mut self, session: &Session, link: &Link) -> Result<Option<String>, Error> {
        if let Step::Ask = self.step {
            match link.gathering(|| self.answer(session)) {
                Err(error) if would_block(&error) => self.step = Step::Send,
                answered => return answered,
            }
        }
        if let Step::Send = self.step {
            let value = link.gathering(|| {
                let mut session_raw = session.raw();
                // SAFETY: the session is live and locked. The message is passed with its length, and is the same whenever this is repeated.
                unsafe {
                    ssh2_transport_send(&mut *session_raw, self.message.as_ptr(), self.message.len(), ptr::null(), 0)
                }
            });
            if value != 0 {
                return Err(last_error(session, value as isize));
            }
            self.step = Step::Hear;
        }
        if let Step::Hear = self.step {
            if !hear_refusal(session)? {
                // Nothing is read here: it was accepted if anything has come.
                return link.gathering(|| self.answer(session));
            }
            self.step = Step::Await;
        }
        self.answer(session)
    }

    /// The answers so far.
    fn answer(&self, session: &Session) -> Result<Option<String>, Error> {
        let methods = offered_methods(session, self.user);
        if session.authenticated() { Ok(None) } else { methods.map(Some) }
    }
}

/// Removes a refusal, if one has come.
fn hear_refusal(session: &Session) -> Result<bool, Error> {
    loop {
        let value = {
            let mut session_raw = session.raw();
            let pointer: *mut raw::LIBSSH2_SESSION = &mut *session_raw;
            // SAFETY: the session is live and locked. The reader of packets is what every call of libssh2 that waits for one begins with.
            unsafe {
                if take_packet(pointer, USERAUTH_FAILURE, &[]).is_some() {
                    return Ok(true);
                }
                ssh2_transport_read(pointer)
            }
        };
        match value {
            1.. => {}
            0 | raw::LIBSSH2_ERROR_EAGAIN => return Ok(false),
            value => return Err(last_error(session, value as isize)),
        }
    }
}
