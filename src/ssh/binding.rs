//! What binds a connection to an agent to one SSH session: the `session-bind@openssh.com` of OpenSSH's PROTOCOL.agent.
//!
//! An agent that knows the server of each hop can keep a key to the hosts, and the ways to them, that its owner has allowed (`ssh-add
//! -h`). It believes the host key and the session identifier since the server has signed the one with the other.

use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use super::opening;
use super::wire::put_string;

const EXTENSION: u8 = 27;
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// The server and the first key exchange of a session, as an agent is told them.
pub struct Binding {
    /// Host key, session identifier and signature, each as a string.
    session: Vec<u8>,
}

/// What a connection to an agent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Logging in to the session's server.
    Login,
    /// The commands that run there.
    Forwarding,
}

impl Binding {
    /// That of the session with this identifier, whose server has shown `host_key` and sent `opening` first. Nothing where the server's
    /// signature is not in there.
    pub fn of_session(host_key: &[u8], identifier: &[u8], opening: &[u8]) -> Option<Binding> {
        opening::signature(opening, host_key).map(|signature| Binding::new(host_key, identifier, signature))
    }

    fn new(host_key: &[u8], identifier: &[u8], signature: &[u8]) -> Binding {
        let mut session = Vec::with_capacity(host_key.len() + identifier.len() + signature.len() + 12);
        [host_key, identifier, signature].iter().for_each(|part| put_string(&mut session, part));
        Binding { session }
    }

    /// That of a session with a server that nobody knows, which does not exist: a connection that is bound to it gets no key that is
    /// kept to some hosts. Nothing where no key can be made.
    pub fn stand_in() -> Option<&'static Binding> {
        static STAND_IN: OnceLock<Option<Binding>> = OnceLock::new();
        STAND_IN.get_or_init(|| made_up().ok()).as_ref()
    }

    /// The message to the agent.
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
