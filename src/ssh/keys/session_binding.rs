//! The binding of an agent connection to one SSH session: the `session-bind@openssh.com` of OpenSSH's PROTOCOL.agent.
//!
//! An agent that knows the server of each hop can limit a key to the hosts, and the ways to them, that its owner has
//! allowed (`ssh-add -h`). It trusts host key and session identifier because the server has signed the identifier with
//! the key.

use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use super::algorithms::CERTIFICATE;
use crate::ssh::opening;
use crate::ssh::wire::{WireReader, put_string};

const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// The login method that names the server's key. For a constrained key, an agent signs no other on a connection with
/// several bindings, which comes from a host that it was forwarded to.
const HOST_BOUND: &[u8] = b"publickey-hostbound-v00@openssh.com";
/// The number of SSH_MSG_USERAUTH_REQUEST (RFC 4252 section 5).
const USERAUTH_REQUEST: u8 = 50;

/// The server and the first key exchange of a session, as sent to an agent.
pub struct Binding {
    /// Host key, session identifier and signature, each as a string.
    session: Vec<u8>,
}

/// A public key login that also names the server's key.
pub struct HostBoundLogin {
    /// The data to sign.
    pub data: Vec<u8>,
    /// Where the message to the server starts in it.
    message: usize,
    /// The algorithm, as named in a signature.
    algorithm: Vec<u8>,
}

impl HostBoundLogin {
    /// Returns the message to the server with the signature, whose `inner` part follows the algorithm's name.
    pub fn message(&self, inner: &[u8]) -> Vec<u8> {
        let mut signature = Vec::new();
        put_string(&mut signature, &self.algorithm);
        if self.algorithm.starts_with(b"sk-") {
            signature.extend_from_slice(inner);
        } else {
            put_string(&mut signature, inner);
        }
        let mut message = self.data[self.message..].to_vec();
        put_string(&mut message, &signature);
        message
    }
}

/// The purpose of a connection to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A login to the session's server.
    Login,
    /// Forwarding to the commands that run there.
    Forwarding,
}

impl Binding {
    /// Returns the binding of the session with this identifier, whose server has shown `host_key` and started with
    /// `opening`. `None` if the server's signature is not in `opening`.
    pub fn of_session(host_key: &[u8], identifier: &[u8], opening: &[u8]) -> Option<Binding> {
        opening::signature(opening, host_key).map(|signature| Binding::new(host_key, identifier, signature))
    }

    fn new(host_key: &[u8], identifier: &[u8], signature: &[u8]) -> Binding {
        let mut session = Vec::with_capacity(host_key.len() + identifier.len() + signature.len() + 12);
        [host_key, identifier, signature].iter().for_each(|part| put_string(&mut session, part));
        Binding { session }
    }

    /// Returns the binding of an invented session with an unknown server: a connection bound to it gets no constrained
    /// key. `None` if no key can be generated.
    pub fn stand_in() -> Option<&'static Binding> {
        static STAND_IN: OnceLock<Option<Binding>> = OnceLock::new();
        STAND_IN.get_or_init(|| made_up().ok()).as_ref()
    }

    /// Starts a login as `user` with the key of this blob and algorithm.
    pub fn login(&self, user: &str, public_key: &[u8], algorithm: &str) -> Option<HostBoundLogin> {
        let mut session = WireReader(&self.session);
        let (host_key, identifier) = (session.string()?, session.string()?);
        let mut data = Vec::new();
        put_string(&mut data, identifier);
        let message = data.len();
        data.push(USERAUTH_REQUEST);
        [user.as_bytes(), b"ssh-connection", HOST_BOUND].iter().for_each(|text| put_string(&mut data, text));
        data.push(1);
        [algorithm.as_bytes(), public_key, host_key].iter().for_each(|text| put_string(&mut data, text));
        // A certificate's key signs like a plain one.
        let algorithm = algorithm.strip_suffix(CERTIFICATE).map_or_else(
            || algorithm.to_owned(),
            |name| {
                if name.starts_with("sk-") { format!("{name}@openssh.com") } else { name.to_owned() }
            },
        );
        Some(HostBoundLogin { data, message, algorithm: algorithm.into_bytes() })
    }

    /// Returns the message to the agent.
    pub fn message(&self, purpose: Purpose) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.session.len() + SESSION_BIND.len() + 6);
        message.push(EXTENSION);
        put_string(&mut message, SESSION_BIND);
        message.extend_from_slice(&self.session);
        message.push(u8::from(purpose == Purpose::Forwarding));
        message
    }
}

fn made_up() -> Result<Binding, ErrorStack> {
    const KIND: &[u8] = b"ssh-ed25519";
    let tagged = |bytes: &[u8]| {
        let mut blob = Vec::new();
        put_string(&mut blob, KIND);
        put_string(&mut blob, bytes);
        blob
    };
    let key = PKey::generate_ed25519()?;
    let mut identifier = [0; 32];
    rand_bytes(&mut identifier)?;
    let signature = Signer::new_without_digest(&key)?.sign_oneshot_to_vec(&identifier)?;
    Ok(Binding::new(&tagged(&key.raw_public_key()?), &identifier, &tagged(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_names_its_algorithm_without_the_certificate() {
        let binding = Binding::new(b"host key", b"identifier", b"signature");
        for (algorithm, named, inner) in [
            ("ssh-ed25519", "ssh-ed25519", &b"\0\0\0\x02xy"[..]),
            ("rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-512", b"\0\0\0\x02xy"),
            ("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", b"xy"),
            ("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com", b"xy"),
        ] {
            let login = binding.login("me", b"key", algorithm).expect("a login");
            let message = login.message(b"xy");
            let mut expected = Vec::new();
            put_string(&mut expected, b"identifier");
            expected.extend_from_slice(&message);
            assert!(expected.starts_with(&login.data), "the message is what was signed, and the signature");
            let mut signature = Vec::new();
            put_string(&mut signature, named.as_bytes());
            signature.extend_from_slice(inner);
            let mut end = Vec::new();
            put_string(&mut end, &signature);
            assert_eq!(expected[login.data.len()..], end, "{algorithm}");
        }
    }
}
