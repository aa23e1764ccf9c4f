//! An authenticated session: socket, handshake, host key, authentication, in this order and under one deadline.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use ssh2::{BlockDirections, DisconnectCode, Error, ErrorCode, MethodType};

use super::auth;
use super::config::NoAlgorithm;
use super::ffi::{self, Link};
use super::host::{Algorithms, Host};
use super::identities::Identities;
use super::known_hosts::{Entries, KnownHosts, Place, RememberError, Remembered, Verdict, fingerprint, key_type};
use super::tcp;
use super::wait::{Watch, poll_with};
use super::wire::Reader;
use crate::error::{HostError, HostKeyError};
use crate::event::{Outcome, Phase};
use crate::secret::Secret;
use crate::settings::HostKeyCheck;
use crate::terminal::Terminal;

/// The host key algorithms that are asked for, best first. Certificates are left out: libssh2 would ask for them before
/// all else and then have a key that no plain known_hosts line can match.
const HOST_KEY_ALGORITHMS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// libssh2.h: LIBSSH2_ERROR_SOCKET_DISCONNECT, also for a server that says SSH_MSG_DISCONNECT.
pub const SOCKET_DISCONNECT: ErrorCode = ErrorCode::Session(-13);
/// What sshd says instead of its banner when it has too many connections to take another: MaxStartups and, since OpenSSH
/// 9.8, PerSourcePenalties of sshd_config(5).
const BUSY_WORDS: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];
/// How soon to look again when libssh2 wants to wait but does not say for which direction.
const UNDIRECTED_PAUSE: Duration = Duration::from_millis(10);

/// Why a call of libssh2 was not brought to its end.
pub enum Stop {
    /// The job is over: cancelled or out of time.
    Job(Outcome),
    /// libssh2 failed.
    Ssh(Error),
}

/// Repeats non-blocking calls of libssh2 until they are done, waiting for the socket in between.
pub struct Driver<'a> {
    session: &'a mut ssh2::Session,
    socket: BorrowedFd<'a>,
    link: Option<&'a Link>,
}

impl<'a> Driver<'a> {
    /// The session that is driven.
    pub fn session(&self) -> &ssh2::Session {
        self.session
    }

    /// Its socket.
    pub fn socket(&self) -> BorrowedFd<'a> {
        self.socket
    }

    /// Calls `step` until it does not want to wait any more.
    ///
    /// # Errors
    /// libssh2 failed, or the job is over.
    pub fn drive<T>(
        &mut self,
        watch: &Watch<'_>,
        mut step: impl FnMut(&mut ssh2::Session) -> Result<T, Error>,
    ) -> Result<T, Stop> {
        loop {
            match step(self.session) {
                // With a link, the end of the connection looks to libssh2 as if it had to wait.
                Err(error) if ffi::would_block(&error) && self.link.is_some_and(Link::is_dead) => {
                    return Err(Stop::Ssh(Error::new(SOCKET_DISCONNECT, "the connection ended")));
                }
                Err(error) if ffi::would_block(&error) => {
                    let flags = directions(self.session);
                    let until = flags.is_empty().then(|| Instant::now() + UNDIRECTED_PAUSE);
                    watch.wait(&[(self.socket, flags)], until).map_err(Stop::Job)?;
                }
                Err(error) => return Err(Stop::Ssh(error)),
                Ok(value) => return Ok(value),
            }
        }
    }
}

/// What the socket has to be ready for before libssh2 can go on.
fn directions(session: &ssh2::Session) -> PollFlags {
    match session.block_directions() {
        BlockDirections::None => PollFlags::empty(),
        BlockDirections::Inbound => PollFlags::IN,
        BlockDirections::Outbound => PollFlags::OUT,
        BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
    }
}

/// What all sessions of a run share: read or listed once, before the first connection.
pub struct Credentials {
    /// The known host keys.
    pub known_hosts: Arc<KnownHosts>,
    /// What to do with a key that is not among them.
    pub host_key_check: HostKeyCheck,
    /// The keys to authenticate with.
    pub identities: Arc<Identities>,
    /// The password to authenticate with.
    pub password: Option<Arc<Secret>>,
    /// Where a host's own questions are asked.
    pub terminal: Arc<Terminal>,
}

/// How far a host is trusted after the check of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may have what we have.
    Full,
    /// Its key is not the known one, and is taken only since nothing is checked: it gets no password, as with ssh(1).
    NoSecrets,
}

/// An authenticated session. Dropping it closes the connection at once.
pub struct Session {
    // Dropped before the session that it belongs to is shut down.
    link: Option<Link>,
    session: ssh2::Session,
    socket: Arc<OwnedFd>,
    trust: Trust,
}

impl Session {
    /// Connects to `host` at one of `addresses` and authenticates. What is worth knowing goes to `note`.
    ///
    /// # Errors
    /// The outcome of the job: how far it came and why no further.
    pub fn connect(
        host: &Host,
        addresses: &[IpAddr],
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Session, Outcome> {
        watch.expect(Phase::Connect, "no TCP connection");
        let (socket, address) = tcp::connect_any(addresses, host, watch)?;
        note(&|| format!("connected to {address}"));
        Session::over(Arc::new(socket), host, watch, note)
    }

    /// Makes a session of a connected, non-blocking stream socket: the end of a TCP connection or of a tunnel.
    ///
    /// # Errors
    /// As of [`Session::connect`].
    pub fn over(
        socket: Arc<OwnedFd>,
        host: &Host,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Session, Outcome> {
        let credentials = &*host.credentials;
        let mut session = ssh2::Session::new().map_err(|error| HostError::Local {
            doing: "making an SSH session",
            detail: error.message().to_owned(),
            hint: None,
        })?;
        session.set_blocking(false);
        session.set_tcp_stream(Arc::clone(&socket));
        let mut made = Session { link: None, session, socket, trust: Trust::NoSecrets };
        let known = credentials.known_hosts.lookup(&host.key_name.0, host.key_name.1);
        made.handshake(host, &known, watch)?;
        note(&|| format!("server says {}", banner(&made.session).unwrap_or("nothing")));
        let trust = made.check_host_key(host, &known, credentials, note)?;
        made.trust = trust;
        watch.expect(Phase::Auth, "not authenticated");
        let identity = auth::authenticate(&mut made.driver(), host, credentials, trust, watch)?;
        note(&|| format!("authenticated as {} with {identity}", host.user));
        made.link = Some(Link::watch(&made.session));
        Ok(made)
    }

    fn handshake(&mut self, host: &Host, known: &Entries, watch: &mut Watch<'_>) -> Result<(), Outcome> {
        self.prefer(host, known)?;
        watch.expect(Phase::Connect, "no SSH handshake");
        match self.driver().drive(watch, ssh2::Session::handshake) {
            Ok(()) => Ok(()),
            Err(Stop::Job(outcome)) => Err(self.name_silence(outcome)),
            Err(Stop::Ssh(error)) => Err(handshake_failed(&self.session, &error).into()),
        }
    }

    /// Chooses what is asked for in the key exchange.
    fn prefer(&self, host: &Host, known: &Entries) -> Result<(), Outcome> {
        let Algorithms { host_key, key_exchange, ciphers, macs, compression } = &host.algorithms;
        let host_keys = match host_key {
            None => Ok(host_key_preference(&known.key_types())),
            Some(list) => list.apply(&HOST_KEY_ALGORITHMS, &HOST_KEY_ALGORITHMS).map(|names| names.join(",")),
        };
        let mut chosen = vec![(MethodType::HostKey, host_keys)];
        let mut add = |methods: &[MethodType], apply: &dyn Fn(&[&str]) -> Result<String, NoAlgorithm>| {
            for method in methods {
                let all = self.session.supported_algs(*method).unwrap_or_default();
                chosen.push((*method, apply(&all)));
            }
        };
        if let Some(list) = key_exchange {
            add(&[MethodType::Kex], &|all| list.apply(all, all).map(|names| names.join(",")));
        }
        if let Some(list) = ciphers {
            add(&[MethodType::CryptCs, MethodType::CryptSc], &|all| list.apply(all, all).map(|names| names.join(",")));
        }
        if let Some(list) = macs {
            add(&[MethodType::MacCs, MethodType::MacSc], &|all| list.apply(all, all).map(|names| names.join(",")));
        }
        for (method, names) in chosen {
            let failed = |detail: String| HostError::Local { doing: "choosing algorithms", detail, hint: None };
            let names = names.map_err(|error| failed(error.to_string()))?;
            self.session.method_pref(method, &names).map_err(|error| failed(error.message().to_owned()))?;
        }
        if *compression {
            self.session.set_compress(true);
        }
        Ok(())
    }

    /// Tells a server that never said a word from one that stopped in the middle of the handshake.
    fn name_silence(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::TimedOut { phase, limit, .. } if banner(&self.session).is_none() => {
                Outcome::TimedOut { phase, limit, missing: "no SSH banner" }
            }
            outcome => outcome,
        }
    }

    /// Compares the server's key with the known ones. The key exchange has proved that the server holds it.
    fn check_host_key(
        &self,
        host: &Host,
        known: &Entries,
        credentials: &Credentials,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Trust, Outcome> {
        let Some((key, _)) = self.session.host_key() else {
            let detail = "the server sent no host key".to_owned();
            return Err(HostError::Ssh { doing: "key exchange", detail, hint: None }.into());
        };
        if let Some(bits) = rsa_bits(key).filter(|bits| *bits < host.rsa_bits) {
            let detail = format!("the host's RSA key has {bits} bits; at least {} are required", host.rsa_bits);
            let hint =
                Some("RequiredRSASize of ssh_config sets the least; the host should get a better key".to_owned());
            return Err(HostError::Ssh { doing: "host key", detail, hint }.into());
        }
        let offer = Offer { host, key };
        let verdict = known.check(key);
        match (&verdict, credentials.host_key_check) {
            (Verdict::Known(place), _) => {
                note(&|| format!("host key {offer} is known from {place}"));
                Ok(Trust::Full)
            }
            // Nothing goes on with a key that somebody took the trouble to revoke.
            (Verdict::Revoked(_), _) => Err(offer.refused(verdict)),
            (Verdict::Changed(_), HostKeyCheck::Off) => {
                note(&|| format!("host key {offer} has CHANGED and is NOT checked: no password will be sent"));
                Ok(Trust::NoSecrets)
            }
            (Verdict::Unknown, HostKeyCheck::Off) => {
                note(&|| format!("host key {offer} is NOT checked"));
                Ok(Trust::Full)
            }
            (Verdict::Unknown, HostKeyCheck::AcceptNew) => {
                accept_new(&offer, &credentials.known_hosts, note).map(|()| Trust::Full)
            }
            (Verdict::Unknown | Verdict::Changed(_), _) => Err(offer.refused(verdict)),
        }
    }

    /// libssh2's session.
    pub fn ssh(&self) -> &ssh2::Session {
        &self.session
    }

    /// How far the host is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// What is known of the socket of an authenticated session.
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// The driver of this session.
    pub fn driver(&mut self) -> Driver<'_> {
        Driver { session: &mut self.session, socket: self.socket.as_fd(), link: self.link.as_ref() }
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What the socket has to be ready for before libssh2 can go on.
    pub fn directions(&self) -> PollFlags {
        directions(&self.session)
    }

    /// Whether the connection has ended.
    pub fn is_dead(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_dead)
    }

    /// When the peer last sent anything.
    pub fn last_heard(&self) -> Option<Instant> {
        self.link.as_ref().map(Link::last_heard)
    }

    /// Whether the socket takes data at this moment, and nothing of libssh2's is waiting to go first.
    pub fn takes_data(&self) -> bool {
        let at_once = Some(Instant::now());
        !self.directions().contains(PollFlags::OUT)
            && self.link.as_ref().is_none_or(|link| link.unsent_bytes() == 0)
            && poll_with(None, &[(self.socket(), PollFlags::OUT)], at_once).is_ok_and(|ready| ready.has(0))
    }

    /// Asks the peer for a sign of life. Call it only when the socket takes data: libssh2 does not keep the request if it has
    /// to wait.
    pub fn ask_alive(&self) {
        // libssh2 keeps a clock of its own in whole seconds; one second at a time lets ours decide.
        self.session.set_keepalive(true, 1);
        let _ = self.session.keepalive_send();
    }

    /// Says goodbye, without waiting for anything: for the server's log, where otherwise a broken connection would stand.
    pub fn disconnect(&self) {
        let _ = self.session.disconnect(Some(DisconnectCode::ByApplication), "done", None);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // First the socket: with it open, libssh2 would want to tell the peer about every channel, would not wait for it
        // (the session does not block), and would leak the session.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        self.link = None;
    }
}

/// A host key that a server has presented.
struct Offer<'a> {
    host: &'a Host,
    key: &'a [u8],
}

impl fmt::Display for Offer<'_> {
    /// Type and fingerprint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", key_type(self.key).unwrap_or("of unknown type"), fingerprint(self.key))
    }
}

impl Offer<'_> {
    /// The outcome of a job whose host key is not accepted.
    fn refused(&self, verdict: Verdict) -> Outcome {
        let (name, port) = &self.host.key_name;
        let name = known_hosts_name(name, *port);
        let offered = self.to_string();
        let position = |place: &Place| (place.file.to_path_buf(), place.line);
        let error = match verdict {
            Verdict::Revoked(place) => {
                let (file, line) = position(&place);
                HostKeyError::Revoked { name, offered, file, line }
            }
            Verdict::Changed(places) => {
                // OpenSSH names the last too.
                let (file, line) = places.last().map(position).unwrap_or_default();
                HostKeyError::Changed { name, offered, file, line }
            }
            Verdict::Unknown | Verdict::Known(_) => {
                HostKeyError::Unknown { name, host: self.host.name.clone(), port: self.host.port, offered }
            }
        };
        HostError::from(error).into()
    }
}

/// Adds the key of a host of which nothing is known. What another job has added meanwhile decides.
fn accept_new(
    offer: &Offer<'_>,
    known_hosts: &KnownHosts,
    note: &mut dyn FnMut(&dyn Fn() -> String),
) -> Result<(), Outcome> {
    match known_hosts.remember(&offer.host.key_name.0, offer.host.key_name.1, offer.key) {
        Ok(Remembered::Added(place)) => note(&|| format!("host key {offer} is new, added to {place}")),
        Ok(Remembered::Already(Verdict::Known(place))) => note(&|| format!("host key {offer} is known from {place}")),
        Ok(Remembered::Already(verdict)) => return Err(offer.refused(verdict)),
        // As ssh: a file that cannot be written is no reason not to connect.
        Err(error @ RememberError::Write { .. }) => note(&|| format!("host key {offer} is new; {error}")),
        Err(error) => {
            let detail = error.to_string();
            return Err(HostError::Local { doing: "adding the host key", detail, hint: None }.into());
        }
    }
    Ok(())
}

/// The size of an RSA key (RFC 4253 section 6.6); nothing for other keys.
fn rsa_bits(key: &[u8]) -> Option<u32> {
    let mut reader = Reader(key);
    if reader.string()? != b"ssh-rsa" {
        return None;
    }
    let _exponent = reader.string()?;
    let modulus = reader.string()?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    let bytes = &modulus[start..];
    Some(8 * bytes.len() as u32 - bytes[0].leading_zeros())
}

/// The name under which ssh(1) looks up a host: with brackets and port if the port is not 22.
fn known_hosts_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// The host key algorithms to ask for: those of the keys known for the host first, or a server with several keys would
/// offer one that is not known (OpenSSH does the same).
fn host_key_preference(known: &[&str]) -> String {
    let is_known = |algorithm: &str| {
        let kind = if algorithm.starts_with("rsa-") { "ssh-rsa" } else { algorithm };
        known.contains(&kind)
    };
    let (first, rest): (Vec<&str>, Vec<&str>) = HOST_KEY_ALGORITHMS.iter().partition(|algorithm| is_known(algorithm));
    [first, rest].concat().join(",")
}

/// The server's identification (RFC 4253 section 4.2). libssh2 keeps lines that come before it in the same place.
fn banner(session: &ssh2::Session) -> Option<&str> {
    session.banner().filter(|banner| banner.starts_with("SSH-"))
}

fn handshake_failed(session: &ssh2::Session, error: &Error) -> HostError {
    /// libssh2.h: LIBSSH2_ERROR_KEX_FAILURE, no algorithm in common or a broken exchange.
    const KEX_FAILURE: ErrorCode = ErrorCode::Session(-5);
    if banner(session).is_none() {
        // What came instead of a banner is no SSH; nothing at all is a closed connection.
        return match session.banner() {
            Some(words) if BUSY_WORDS.iter().any(|busy| words.starts_with(busy)) => {
                let detail = format!("the server says {words:?}");
                HostError::Dropped { doing: "handshake", detail, banner_seen: false }
            }
            Some(words) => {
                let detail = format!("the server says {words:?}");
                HostError::Ssh { doing: "handshake", detail, hint: Some("is it an SSH server?".to_owned()) }
            }
            None => {
                let detail = "the server closed the connection before its SSH banner".to_owned();
                HostError::Dropped { doing: "handshake", detail, banner_seen: false }
            }
        };
    }
    if error.code() == KEX_FAILURE {
        let hint = "the server may offer only algorithms that are too old (SHA-1) or too new (post-quantum only)";
        let detail = error.message().to_owned();
        return HostError::Ssh { doing: "key exchange", detail, hint: Some(hint.to_owned()) };
    }
    dropped("key exchange", error, true)
}

/// A failure of the transport before authentication had ended: a dropped connection, unless libssh2 says something else.
pub fn dropped(doing: &'static str, error: &Error, banner_seen: bool) -> HostError {
    /// libssh2.h: SOCKET_NONE, BANNER_RECV, KEY_EXCHANGE_FAILURE, SOCKET_DISCONNECT, SOCKET_RECV, SOCKET_SEND.
    const TRANSPORT: [i32; 6] = [-1, -2, -8, -13, -43, -7];
    let detail = error.message().to_owned();
    match error.code() {
        ErrorCode::Session(code) if TRANSPORT.contains(&code) => HostError::Dropped { doing, detail, banner_seen },
        _ => HostError::Ssh { doing, detail, hint: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_are_measured() {
        let key = |kind: &[u8], modulus: &[u8]| {
            let mut blob = Vec::new();
            crate::ssh::wire::put_string(&mut blob, kind);
            crate::ssh::wire::put_mpint(&mut blob, &[1, 0, 1]);
            crate::ssh::wire::put_mpint(&mut blob, modulus);
            blob
        };
        assert_eq!(rsa_bits(&key(b"ssh-rsa", &[0xc0; 256])), Some(2048));
        assert_eq!(rsa_bits(&key(b"ssh-rsa", &[0x01; 128])), Some(1017));
        assert_eq!(rsa_bits(&key(b"ssh-ed25519", &[0xc0; 256])), None);
        assert_eq!(rsa_bits(b"\0\0\0\x07ssh-rsa"), None);
    }

    #[test]
    fn known_key_types_are_asked_for_first() {
        assert!(host_key_preference(&[]).starts_with("ssh-ed25519,"));
        assert_eq!(
            host_key_preference(&["ssh-rsa"]),
            "rsa-sha2-512,rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"
        );
        assert!(host_key_preference(&["ssh-dss"]).starts_with("ssh-ed25519,"));
    }
}
