//! A client of ssh-agent(1) (draft-ietf-sshm-ssh-agent): lists its keys once per run and has it sign.
//!
//! libssh2's own client reconnects and lists again for each host, and cannot sign with RSA certificates or `sk-` keys.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::wait::{Patience, poll_with};
use super::wire::{Reader, put_string};

use crate::lock::lock;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Asks for SHA-512 instead of SHA-1 in a signature by an RSA key.
const FLAG_RSA_SHA2_512: u32 = 4;
/// Likewise SHA-256.
const FLAG_RSA_SHA2_256: u32 = 2;
/// Bytes in the largest answer that is believed; OpenSSH's own limit.
const MAX_ANSWER: usize = 256 * 1024;
/// How long to wait before knocking again at an agent whose queue of connections is full, as it is for a moment when
/// hundreds of hosts sign at once.
pub const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A running agent. Connections to it are shared by all hosts; each carries one request at a time.
pub struct Agent {
    path: PathBuf,
    idle: Mutex<Vec<OwnedFd>>,
}

/// A key that the agent holds.
#[derive(Clone, Debug)]
pub struct AgentKey {
    /// The public key blob, or that of a certificate.
    pub public_key: Vec<u8>,
    /// The comment, usually the file's name or the owner's address.
    pub comment: String,
}

impl Agent {
    /// The agent listening at `path`. Nothing is connected yet.
    pub fn new(path: &Path) -> Agent {
        Agent { path: path.to_owned(), idle: Mutex::new(Vec::new()) }
    }

    /// The keys that the agent holds, in its order.
    ///
    /// # Errors
    /// The agent cannot be reached, does not answer in time, or answers nonsense.
    pub fn list(&self, patience: Patience<'_>) -> io::Result<Vec<AgentKey>> {
        let answer = self.exchange(&[REQUEST_IDENTITIES], patience)?;
        parse_identities(&answer).ok_or_else(|| io::Error::other("the agent's list of keys cannot be understood"))
    }

    /// Has the agent sign `data` with the key of `public_key`; gives what follows the algorithm's name in the signature:
    /// the inner blob of its one string, or everything for the `sk-` types. An agent may wait for its owner's consent for ever.
    ///
    /// # Errors
    /// The agent refuses, cannot be reached, or does not answer in time.
    pub fn sign(&self, public_key: &[u8], algorithm: &str, data: &[u8], patience: Patience<'_>) -> io::Result<Vec<u8>> {
        let flags = match algorithm {
            "rsa-sha2-512" | "rsa-sha2-512-cert-v01@openssh.com" => FLAG_RSA_SHA2_512,
            "rsa-sha2-256" | "rsa-sha2-256-cert-v01@openssh.com" => FLAG_RSA_SHA2_256,
            _ => 0,
        };
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, public_key);
        put_string(&mut request, data);
        request.extend_from_slice(&flags.to_be_bytes());
        let answer = self.exchange(&request, patience)?;
        parse_signature(&answer).ok_or_else(|| io::Error::other("the agent refused to sign with it"))
    }

    fn exchange(&self, message: &[u8], patience: Patience<'_>) -> io::Result<Vec<u8>> {
        let idle = lock(&self.idle).pop();
        let mut request = Vec::with_capacity(message.len() + 4);
        put_string(&mut request, message);
        // An idle connection may have been closed by the agent meanwhile; a new one tells.
        if let Some(connection) = idle
            && let Ok(answer) = converse(&connection, &request, patience)
        {
            self.keep(connection);
            return Ok(answer);
        }
        let connection = self.connect(patience)?;
        let answer = converse(&connection, &request, patience)?;
        self.keep(connection);
        Ok(answer)
    }

    fn keep(&self, connection: OwnedFd) {
        lock(&self.idle).push(connection);
    }

    fn connect(&self, patience: Patience<'_>) -> io::Result<OwnedFd> {
        loop {
            match knock(&self.path)? {
                Some(connection) => return Ok(connection),
                // A full queue of a unix socket cannot be polled for.
                None => {
                    late(patience.check())?;
                    let pause = (Instant::now() + BUSY_PAUSE).min(patience.until);
                    poll_with(Some(patience.cancel), &[], Some(pause))?;
                }
            }
        }
    }
}

/// Connects to the agent at `path`, without waiting; nothing if it is busy at the moment, see [`BUSY_PAUSE`].
///
/// # Errors
/// There is no agent that could be connected to.
pub fn knock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) {
        Ok(socket) => socket,
        // Other hosts have all the descriptors that there are, for the moment.
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

/// `result` in words, if time is over.
fn late<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, "the agent does not answer"),
        _ => error,
    })
}

/// Sends one request and reads its answer.
fn converse(connection: &OwnedFd, request: &[u8], patience: Patience<'_>) -> io::Result<Vec<u8>> {
    let mut sent = 0;
    while sent < request.len() {
        let step = rustix::net::send(connection, &request[sent..], rustix::net::SendFlags::NOSIGNAL);
        match step {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) => wait(connection, PollFlags::OUT, patience)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut length = [0; 4];
    receive(connection, &mut length, patience)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MAX_ANSWER {
        return Err(io::Error::other(format!("the agent's answer of {length} bytes cannot be right")));
    }
    let mut answer = vec![0; length];
    receive(connection, &mut answer, patience)?;
    Ok(answer)
}

fn receive(connection: &OwnedFd, mut buffer: &mut [u8], patience: Patience<'_>) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::read(connection, &mut *buffer) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent closed the connection"));
            }
            Ok(count) => buffer = &mut buffer[count..],
            Err(Errno::AGAIN) => wait(connection, PollFlags::IN, patience)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait(connection: &OwnedFd, flags: PollFlags, patience: Patience<'_>) -> io::Result<()> {
    late(patience.wait(&[(connection.as_fd(), flags)])).map(drop)
}

/// The keys in an answer.
pub(super) fn parse_identities(answer: &[u8]) -> Option<Vec<AgentKey>> {
    let mut reader = Reader(answer);
    if reader.byte()? != IDENTITIES_ANSWER {
        return None;
    }
    let count = reader.u32()?;
    // No capacity is reserved from a number that the agent made up.
    let mut keys = Vec::new();
    for _ in 0..count {
        let public_key = reader.string()?.to_vec();
        let comment = String::from_utf8_lossy(reader.string()?).into_owned();
        keys.push(AgentKey { public_key, comment });
    }
    Some(keys)
}

/// The signature in an answer.
pub(super) fn parse_signature(answer: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(answer);
    if reader.byte()? != SIGN_RESPONSE {
        return None;
    }
    let mut signature = Reader(reader.string()?);
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
