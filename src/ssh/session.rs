//! An authenticated session: socket, handshake, host key, authentication, in this order and under one deadline.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use ssh2::{BlockDirections, DisconnectCode, Error, ErrorCode, MethodType};

use super::auth;
use super::config::NoAlgorithm;
use super::ffi::{self, GivenUp, Link};
use super::host::{Algorithms, Host};
use super::host_key::{self, Trust};
use super::identities::Identities;
use super::known_hosts::{Entries, KnownHosts};
use super::revoked_keys::RevokedKeys;
use super::tcp;
use super::wait::{Watch, poll_with};
use crate::error::HostError;
use crate::event::{Outcome, Phase};
use crate::secret::Secret;
use crate::settings::HostKeyCheck;
use crate::terminal::Terminal;

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
    link: &'a Link,
    in_bits: bool,
}

impl<'a> Driver<'a> {
    /// Has no more read than the answer that is awaited, and maybe the beginning of what follows: see [`Link::read`].
    pub fn in_bits(self) -> Driver<'a> {
        Driver { in_bits: true, ..self }
    }

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
            let done = if self.in_bits { self.link.in_bits(|| step(self.session)) } else { step(self.session) };
            self.link.go_on();
            self.link.flush(self.socket);
            match done {
                Err(error) if ffi::would_block(&error) => {
                    if self.link.is_full() {
                        // Nothing is given out here that would make room.
                        self.link.give_up_memory();
                    }
                    if let Some(why) = self.link.given_up() {
                        return Err(Stop::Ssh(why.error()));
                    }
                    if self.link.is_dead() {
                        // It looks to libssh2 as if it had to wait.
                        return Err(Stop::Ssh(Error::new(SOCKET_DISCONNECT, "the connection ended")));
                    }
                    let mut flags = directions(self.session);
                    flags.set(PollFlags::OUT, flags.contains(PollFlags::OUT) || self.link.unsent_bytes() > 0);
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
    /// The host keys that are not accepted even if they are (RevokedHostKeys).
    pub revoked_host_keys: Option<Arc<RevokedKeys>>,
    /// The keys to authenticate with.
    pub identities: Arc<Identities>,
    /// The password to authenticate with.
    pub password: Option<Arc<Secret>>,
    /// Where a host's own questions are asked.
    pub terminal: Arc<Terminal>,
}

/// An authenticated session. Dropping it closes the connection at once.
pub struct Session {
    // Dropped before the session that it belongs to: the order of the fields.
    link: Link,
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
        watch.milestones().address = addresses.first().map(|ip| SocketAddr::new(*ip, host.port));
        let (socket, address) = tcp::connect_any(addresses, host, watch)?;
        note(&|| format!("connected to {address}"));
        watch.milestones().address = Some(address);
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
        watch.milestones().reached = Some(Instant::now());
        let credentials = &*host.credentials;
        let mut session = ssh2::Session::new().map_err(|error| HostError::Local {
            doing: "making an SSH session",
            detail: error.message().to_owned(),
            hint: None,
        })?;
        if host.saves_memory {
            ffi::release_blank_pages(&session);
        }
        session.set_blocking(false);
        session.set_tcp_stream(Arc::clone(&socket));
        let link = Link::watch(&session);
        let mut made = Session { link, session, socket, trust: Trust::NoSecrets };
        let known = credentials.known_hosts.lookup(&host.key_name.0, host.key_name.1);
        made.handshake(host, &known, watch)?;
        note(&|| format!("server says {}", banner(&made.session).unwrap_or("nothing")));
        let Some((key, _)) = made.session.host_key() else {
            let detail = "the server sent no host key".to_owned();
            return Err(HostError::Ssh { doing: "key exchange", detail, hint: None }.into());
        };
        let trust = host_key::check(host, &known, key, note)?;
        made.link.pin_host_key(key);
        made.trust = trust;
        watch.expect(Phase::Auth, "not authenticated");
        watch.milestones().secured = Some(Instant::now());
        let identity = auth::authenticate(&mut made.driver(), host, credentials, trust, watch)
            .map_err(|outcome| made.replaced_key(host).unwrap_or(outcome))?;
        note(&|| format!("authenticated as {} with {identity}", host.user));
        made.link.log_in();
        Ok(made)
    }

    fn handshake(&mut self, host: &Host, known: &Entries, watch: &mut Watch<'_>) -> Result<(), Outcome> {
        self.prefer(host, known)?;
        watch.expect(Phase::Connect, "no SSH handshake");
        match self.driver().drive(watch, ssh2::Session::handshake) {
            Ok(()) => Ok(()),
            Err(Stop::Job(outcome)) => Err(self.name_silence(outcome)),
            Err(Stop::Ssh(error)) if error.code() == ffi::TOO_MUCH => {
                let detail = error.message().to_owned();
                Err(HostError::Ssh { doing: "handshake", detail, hint: Some("is it an SSH server?".to_owned()) }.into())
            }
            Err(Stop::Ssh(error)) => Err(handshake_failed(&self.session, &error).into()),
        }
    }

    /// Chooses what is asked for in the key exchange.
    fn prefer(&self, host: &Host, known: &Entries) -> Result<(), Outcome> {
        let Algorithms { host_key, key_exchange, ciphers, macs, compression, .. } = &host.algorithms;
        let host_keys = host_key::preference(host_key, known).map(|names| names.join(","));
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

    /// libssh2's session.
    pub fn ssh(&self) -> &ssh2::Session {
        &self.session
    }

    /// How far the host is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The server's identification (RFC 4253 section 4.2).
    pub fn banner(&self) -> Option<&str> {
        banner(&self.session)
    }

    /// Whether the server has said that the user's key runs one fixed command, whatever is asked for.
    pub fn has_forced_command(&self) -> bool {
        self.link.has_forced_command()
    }

    /// What is known of the session's socket.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The outcome of `host`, whose session this is, if it has shown another key than the one that was checked.
    pub fn replaced_key(&self, host: &Host) -> Option<Outcome> {
        let is_replaced = self.link.given_up() == Some(GivenUp::HostKey);
        is_replaced
            .then(|| HostError::from(host_key::replaced(host, self.session.host_key().map(|(key, _)| key))).into())
    }

    /// The driver of this session.
    pub fn driver(&mut self) -> Driver<'_> {
        Driver { session: &mut self.session, socket: self.socket.as_fd(), link: &self.link, in_bits: false }
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
        self.link.is_dead()
    }

    /// When the peer last sent anything.
    pub fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }

    /// Whether the socket takes data at this moment, and nothing of libssh2's is waiting to go first.
    pub fn takes_data(&self) -> bool {
        let at_once = Some(Instant::now());
        !self.directions().contains(PollFlags::OUT)
            && self.link.unsent_bytes() == 0
            && poll_with(None, &[(self.socket(), PollFlags::OUT)], at_once).is_ok_and(|ready| ready.has(0))
    }

    /// Asks the peer for a sign of life. Call it only when the socket takes data: libssh2 does not keep the request if it has
    /// to wait.
    pub fn ask_alive(&self) {
        // libssh2 keeps a clock of its own in whole seconds; one second at a time lets ours decide.
        self.session.set_keepalive(true, 1);
        if let Err(error) = self.session.keepalive_send() {
            self.link.note_failure(&error);
        }
    }

    /// Says goodbye, without waiting for anything: for the server's log, where otherwise a broken connection would stand.
    pub fn disconnect(&self) {
        if self.link.given_up() == Some(GivenUp::HostKey) {
            // Nothing may be sent any more, and libssh2 would forget the exchange that its last packet waits for.
            return;
        }
        let _ = self.session.disconnect(Some(DisconnectCode::ByApplication), "done", None);
        self.link.flush(self.socket());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // First the socket: with it open, libssh2 would want to tell the peer about every channel, would not wait for it
        // (the session does not block), and would leak the session.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
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
