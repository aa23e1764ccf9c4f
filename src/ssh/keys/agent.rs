//! A client of ssh-agent(1) (draft-ietf-sshm-ssh-agent): lists its keys once per run and has it sign.
//!
//! libssh2's own client reconnects and lists again for each host, and cannot sign with RSA certificates or `sk-` keys.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::session_binding::{Binding, Purpose};
use crate::ssh::wire::{WireReader, put_string};
use crate::system::poll::{Patience, poll_with};

/// The answer SUCCESS, without data.
pub const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Requests SHA-512 instead of SHA-1 in a signature by an RSA key.
const FLAG_RSA_SHA2_512: u32 = 4;
/// Requests SHA-256 in the same way.
const FLAG_RSA_SHA2_256: u32 = 2;
/// The largest accepted answer in bytes; OpenSSH's own limit.
const MAX_ANSWER: usize = 256 * 1024;
/// How long to wait before connecting again to an agent whose queue of connections is full, as it is for a moment when
/// hundreds of hosts sign at once.
pub const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A running agent. Each request has a connection of its own, bound to the session that it serves: an agent refuses a
/// second binding on a connection that is bound for a login. None is held while a host is waited for, since agents have
/// few descriptors and hosts may hang.
pub struct Agent {
    path: PathBuf,
    /// Whether it closed the connection, or stopped answering, when it was asked to bind it. Then binding is not tried
    /// again.
    breaks_on_binding: AtomicBool,
}

/// A key that the agent holds.
#[derive(Clone, Debug)]
pub struct AgentKey {
    /// The public key blob, or that of a certificate.
    pub public_key: Vec<u8>,
    /// The comment, usually the file's name or the owner's address.
    pub comment: String,
    /// Whether the agent limits it to some hosts (`ssh-add -h`).
    pub is_restricted: bool,
}

/// An agent's answer for a session.
#[derive(Debug)]
pub struct Bound<T> {
    /// The answer.
    pub answer: T,
    /// Whether the connection was bound to the session. Most agents cannot do that.
    pub is_bound: bool,
}

impl Agent {
    /// Uses the agent at `path`. This does not connect yet.
    pub fn new(path: &Path) -> Agent {
        Agent { path: path.to_owned(), breaks_on_binding: AtomicBool::new(false) }
    }

    /// Returns the agent's keys, in its order.
    ///
    /// # Errors
    /// The agent cannot be reached, does not answer in time, or answers malformed data.
    pub fn list(&self, patience: Patience<'_>) -> io::Result<Vec<AgentKey>> {
        let connection = Connection::open(&self.path, patience)?;
        let mut keys = connection.list()?;
        // On a connection bound to an unknown host, an agent leaves constrained keys out of its list.
        if !keys.is_empty()
            && let Some(stand_in) = Binding::stand_in()
        {
            match connection.bind(stand_in, Purpose::Login) {
                Ok(true) => {
                    let free = connection.list()?;
                    for key in &mut keys {
                        key.is_restricted = !free.iter().any(|free| free.public_key == key.public_key);
                    }
                }
                Ok(false) => {}
                Err(_) => self.breaks_on_binding.store(true, Ordering::Relaxed),
            }
        }
        Ok(keys)
    }

    /// Returns the keys that the agent allows for the session of `binding`.
    ///
    /// # Errors
    /// See [`Agent::list`].
    pub fn list_for(&self, binding: Option<&Binding>, patience: Patience<'_>) -> io::Result<Bound<Vec<AgentKey>>> {
        let (connection, is_bound) = self.open(binding, patience)?;
        Ok(Bound { answer: connection.list()?, is_bound })
    }

    /// Makes the agent sign `data` with the key of `public_key`, for the session of `binding`; returns what follows the
    /// algorithm's name in the signature: the inner blob of its one string, or everything for the `sk-` types. An agent
    /// may wait for its owner's consent without a limit.
    ///
    /// # Errors
    /// The agent refuses, cannot be reached, or does not answer in time.
    pub fn sign(
        &self,
        public_key: &[u8],
        algorithm: &str,
        data: &[u8],
        binding: Option<&Binding>,
        patience: Patience<'_>,
    ) -> io::Result<Bound<Vec<u8>>> {
        let flags = match algorithm {
            "rsa-sha2-512" | "rsa-sha2-512-cert-v01@openssh.com" => FLAG_RSA_SHA2_512,
            "rsa-sha2-256" | "rsa-sha2-256-cert-v01@openssh.com" => FLAG_RSA_SHA2_256,
            _ => 0,
        };
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, public_key);
        put_string(&mut request, data);
        request.extend_from_slice(&flags.to_be_bytes());
        let (connection, is_bound) = self.open(binding, patience)?;
        let answer = connection.ask(&request)?;
        let answer = parse_signature(&answer).ok_or_else(|| io::Error::other("the agent refused to sign"))?;
        Ok(Bound { answer, is_bound })
    }

    /// Opens a connection; returns whether it is bound to the session.
    fn open<'a>(&self, binding: Option<&Binding>, patience: Patience<'a>) -> io::Result<(Connection<'a>, bool)> {
        let connection = Connection::open(&self.path, patience)?;
        let binding = binding.filter(|_| !self.breaks_on_binding.load(Ordering::Relaxed));
        let is_bound = binding.map_or(Ok(false), |binding| connection.bind(binding, Purpose::Login))?;
        Ok((connection, is_bound))
    }
}

/// A connection to an agent.
struct Connection<'a> {
    socket: OwnedFd,
    patience: Patience<'a>,
}

impl<'a> Connection<'a> {
    fn open(path: &Path, patience: Patience<'a>) -> io::Result<Connection<'a>> {
        loop {
            match knock(path)? {
                Some(socket) => return Ok(Connection { socket, patience }),
                // poll(2) cannot wait for a full queue of a unix socket.
                None => {
                    late(patience.check())?;
                    let pause = (Instant::now() + BUSY_PAUSE).min(patience.until);
                    poll_with(Some(patience.cancel), &[], Some(pause))?;
                }
            }
        }
    }

    /// Binds the connection to a session; returns whether the agent accepts that.
    fn bind(&self, binding: &Binding, purpose: Purpose) -> io::Result<bool> {
        Ok(self.ask(&binding.message(purpose))?.first() == Some(&SUCCESS))
    }

    fn list(&self) -> io::Result<Vec<AgentKey>> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        parse_identities(&answer).ok_or_else(|| io::Error::other("the agent's list of keys is malformed"))
    }

    /// Sends one request and reads its answer.
    fn ask(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut request = Vec::with_capacity(message.len() + 4);
        put_string(&mut request, message);
        let mut sent = 0;
        while sent < request.len() {
            let step = rustix::net::send(&self.socket, &request[sent..], rustix::net::SendFlags::NOSIGNAL);
            match step {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut length = [0; 4];
        self.receive(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_ANSWER {
            return Err(io::Error::other(format!("the agent's answer has an invalid length ({length} bytes)")));
        }
        let mut answer = vec![0; length];
        self.receive(&mut answer)?;
        Ok(answer)
    }

    fn receive(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent closed the connection"));
                }
                Ok(count) => buffer = &mut buffer[count..],
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        late(self.patience.wait(&[(self.socket.as_fd(), flags)])).map(drop)
    }
}

/// Connects to the agent at `path` without waiting; `None` if it is busy at the moment, see [`BUSY_PAUSE`].
///
/// # Errors
/// No agent accepts connections there.
pub fn knock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) {
        Ok(socket) => socket,
        // Other hosts use all descriptors for the moment.
        Err(Errno::MFILE | Errno::NFILE) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(Some(socket)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts a timeout of `result` into words.
fn late<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, "the agent does not answer"),
        _ => error,
    })
}

/// Parses the keys in an answer.
pub(crate) fn parse_identities(answer: &[u8]) -> Option<Vec<AgentKey>> {
    let mut reader = WireReader(answer);
    if reader.byte()? != IDENTITIES_ANSWER {
        return None;
    }
    let count = reader.u32()?;
    // Reserve no capacity for a number that the agent chose.
    let mut keys = Vec::new();
    for _ in 0..count {
        let public_key = reader.string()?.to_vec();
        let comment = String::from_utf8_lossy(reader.string()?).into_owned();
        keys.push(AgentKey { public_key, comment, is_restricted: false });
    }
    Some(keys)
}

/// Parses the signature in an answer.
pub(crate) fn parse_signature(answer: &[u8]) -> Option<Vec<u8>> {
    let mut reader = WireReader(answer);
    if reader.byte()? != SIGN_RESPONSE {
        return None;
    }
    let mut signature = WireReader(reader.string()?);
    let algorithm = signature.string()?;
    if algorithm.starts_with(b"sk-") { Some(signature.0.to_vec()) } else { Some(signature.string()?.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_from_an_agent_is_not_believed() {
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 1];
        put_string(&mut answer, b"blob");
        put_string(&mut answer, b"comment");
        assert_eq!(parse_identities(&answer).expect("complete").len(), 1);
        for length in 0..answer.len() {
            assert!(parse_identities(&answer[..length]).is_none());
        }
        assert!(parse_identities(&[IDENTITIES_ANSWER, 255, 255, 255, 255]).is_none());
        assert!(parse_identities(&[5]).is_none(), "SSH_AGENT_FAILURE");
    }

    #[test]
    fn signatures_lose_their_algorithm_name() {
        let answer = |algorithm: &[u8], rest: &[u8]| {
            let mut signature = Vec::new();
            put_string(&mut signature, algorithm);
            signature.extend_from_slice(rest);
            let mut answer = vec![SIGN_RESPONSE];
            put_string(&mut answer, &signature);
            answer
        };
        assert_eq!(parse_signature(&answer(b"ssh-ed25519", b"\0\0\0\x02xy")), Some(b"xy".to_vec()));
        let flags_and_counter = b"\0\0\0\x02xy\x01\0\0\0\x05";
        assert_eq!(
            parse_signature(&answer(b"sk-ssh-ed25519@openssh.com", flags_and_counter)),
            Some(flags_and_counter.to_vec())
        );
        assert_eq!(parse_signature(&[5]), None);
    }
}
