//! Facts from the packets of a login that libssh2 does not report: whether a refusal is a partial success and which
//! methods can continue, with which algorithm a key was offered, and which algorithms the server accepts. Each packet
//! is read when libssh2 frees it.

use std::cell::RefCell;

use crate::ssh::wire::WireReader;

/// SSH_MSG_EXT_INFO (RFC 8308 section 2.3).
const EXT_INFO: u8 = 7;
/// SSH_MSG_USERAUTH_REQUEST (RFC 4252 section 5).
const USERAUTH_REQUEST: u8 = 50;
/// SSH_MSG_USERAUTH_FAILURE (RFC 4252 section 5.1).
const USERAUTH_FAILURE: u8 = 51;
/// Extensions that are read; libssh2 reads as many.
const MOST_EXTENSIONS: u32 = 1024;

/// A server's answer to a method that did not end the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The methods that can continue.
    pub methods: Vec<String>,
    /// Whether the method succeeded and others must follow: "partial success".
    pub is_partial: bool,
}

/// The facts so far.
#[derive(Default)]
pub(super) struct Login {
    refusal: RefCell<Option<Refusal>>,
    algorithm: RefCell<Option<String>>,
    taken: RefCell<Option<String>>,
}

impl Login {
    /// Reads the start of a packet; anything else is ignored.
    pub(super) fn see(&self, packet: &[u8]) {
        let mut reader = WireReader(packet);
        match reader.byte() {
            Some(USERAUTH_FAILURE) => put(&self.refusal, refusal(reader)),
            Some(USERAUTH_REQUEST) => put(&self.algorithm, algorithm(reader)),
            Some(EXT_INFO) => put(&self.taken, taken(reader)),
            _ => {}
        }
    }

    /// Takes the last refusal since the last call.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// Returns the algorithm with which the last key was offered.
    pub(super) fn algorithm(&self) -> Option<String> {
        self.algorithm.borrow().clone()
    }

    /// Returns the server's signature algorithms (`server-sig-algs` of RFC 8308), with commas.
    pub(super) fn taken(&self) -> Option<String> {
        self.taken.borrow().clone()
    }
}

/// Other data that starts like a packet changes nothing.
fn put<T>(cell: &RefCell<Option<T>>, found: Option<T>) {
    if let (Some(found), Ok(mut place)) = (found, cell.try_borrow_mut()) {
        *place = Some(found);
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn refusal(mut packet: WireReader<'_>) -> Option<Refusal> {
    let methods = text(packet.string()?)?.split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect();
    Some(Refusal { methods, is_partial: packet.byte()? != 0 })
}

fn algorithm(mut packet: WireReader<'_>) -> Option<String> {
    let (_user, _service, method) = (packet.string()?, packet.string()?, packet.string()?);
    let _is_signed = packet.byte()?;
    (method == b"publickey").then_some(())?;
    text(packet.string()?).map(str::to_owned)
}

fn taken(mut packet: WireReader<'_>) -> Option<String> {
    for _ in 0..packet.u32()?.min(MOST_EXTENSIONS) {
        let (name, value) = (packet.string()?, packet.string()?);
        if name == b"server-sig-algs" {
            return text(value).map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::wire::put_string;

    fn packet(start: &[u8], strings: &[&str]) -> Vec<u8> {
        let mut packet = start.to_vec();
        strings.iter().for_each(|string| put_string(&mut packet, string.as_bytes()));
        packet
    }

    #[test]
    fn a_refusal_says_what_can_continue() {
        let login = Login::default();
        let refused = packet(&[USERAUTH_FAILURE], &["publickey,password"]);
        for length in 0..=refused.len() {
            login.see(&refused[..length]);
            assert_eq!(login.take_refusal(), None, "cut to {length} bytes");
        }
        let methods = vec!["publickey".to_owned(), "password".to_owned()];
        for (byte, is_partial) in [(0, false), (1, true), (7, true)] {
            // What follows is the rest of the block.
            login.see(&[&refused[..], &[byte, 9, 9]].concat());
            assert_eq!(login.take_refusal(), Some(Refusal { methods: methods.clone(), is_partial }));
            assert_eq!(login.take_refusal(), None);
        }
    }

    #[test]
    fn algorithms_are_noted() {
        let login = Login::default();
        let mut request = packet(&[USERAUTH_REQUEST], &["user", "ssh-connection", "publickey"]);
        request.push(1);
        put_string(&mut request, b"rsa-sha2-512");
        login.see(&request);
        login.see(&packet(&[USERAUTH_REQUEST], &["user", "ssh-connection", "none"]));
        assert_eq!(login.algorithm().as_deref(), Some("rsa-sha2-512"));
        login.see(&packet(&[EXT_INFO, 0, 0, 0, 2], &["other", "x", "server-sig-algs", "ssh-rsa,ssh-ed25519"]));
        login.see(&packet(&[EXT_INFO, 255, 255, 255, 255], &["other", "x"]));
        assert_eq!(login.taken().as_deref(), Some("ssh-rsa,ssh-ed25519"));
    }
}
