//! An authenticated session: socket, handshake, host key, authentication, in this order and under one deadline.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use ssh2::{BlockDirections, DisconnectCode, Error, ErrorCode, MethodType};

use super::algorithms::{self, Algorithms, Disagreement};
use super::destination::Destination;
use super::ffi::{self, GivenUp, Link, SocketEnd};
use super::host_keys::known_hosts::KnownHosts;
use super::host_keys::revocation_list::RevokedKeys;
use super::keys::identities::Identities;
use super::keys::session_binding::Binding;
use super::login::auth;
use super::login::host_key_check::{self, Known, Trust};
use super::tcp;
use super::version;
use super::watch::{Notes, Watch};
use crate::events::event::{Outcome, Phase};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::hosts::options::HostKeyCheck;
use crate::ssh_config::CommandTemplate;
use crate::system::password_source::{PromptPattern, Secret};
use crate::system::poll::poll_with;
use crate::system::quotation::said;
use crate::system::terminal::Terminal;

/// libssh2.h: LIBSSH2_ERROR_SOCKET_DISCONNECT, also for a server that says SSH_MSG_DISCONNECT.
pub const SOCKET_DISCONNECT: ErrorCode = ErrorCode::Session(-13);
/// sshd's line instead of its banner when it has too many connections to accept another: MaxStartups and, since OpenSSH
/// 9.8, PerSourcePenalties of sshd_config(5).
const BUSY_WORDS: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];
/// Lines of a server's banners that are reported.
const MOST_BANNER_LINES: usize = 40;
/// How soon to try again when libssh2 would block but does not say for which direction.
const UNDIRECTED_PAUSE: Duration = Duration::from_millis(10);

/// Why a call of libssh2 was interrupted.
pub enum Stop {
    /// The job has ended: cancelled or out of time.
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
    /// How often a step is repeated although nothing was received.
    pause: Option<Duration>,
}

impl<'a> Driver<'a> {
    /// Reads no more than the awaited answer, and perhaps the start of what follows: see [`Link::read`].
    pub fn in_bits(self) -> Driver<'a> {
        Driver { in_bits: true, ..self }
    }

    /// Repeats a step this often although nothing was received.
    pub fn waking_every(self, pause: Duration) -> Driver<'a> {
        Driver { pause: Some(pause), ..self }
    }

    /// The session that is driven.
    pub fn session(&self) -> &ssh2::Session {
        self.session
    }

    /// Returns the state of its socket.
    pub fn link(&self) -> &'a Link {
        self.link
    }

    /// Its socket.
    pub fn socket(&self) -> BorrowedFd<'a> {
        self.socket
    }

    /// Calls `step` until it no longer would block.
    ///
    /// # Errors
    /// libssh2 failed, or the job has ended.
    pub fn drive<T>(
        &mut self,
        watch: &Watch<'_>,
        mut step: impl FnMut(&mut ssh2::Session) -> Result<T, Error>,
    ) -> Result<T, Stop> {
        loop {
            let before = self.link.received_bytes();
            let done = self.link.stepping(|| match self.in_bits {
                true => self.link.in_bits(|| step(self.session)),
                false => step(self.session),
            });
            self.link.go_on();
            self.link.flush(self.socket);
            match done {
                Err(error) if ffi::would_block(&error) => {
                    if self.link.is_full() {
                        // No data is returned here that would make room.
                        self.link.give_up_memory();
                    }
                    if let Some(why) = self.link.given_up() {
                        return Err(Stop::Ssh(why.error()));
                    }
                    if self.link.is_dead() {
                        // To libssh2 it looks like waiting.
                        return Err(Stop::Ssh(Error::new(SOCKET_DISCONNECT, "the connection ended")));
                    }
                    let has_more = self.link.has_data_ahead();
                    if has_more && self.link.received_bytes() != before {
                        continue;
                    }
                    let mut flags = directions(self.session);
                    flags.set(PollFlags::OUT, flags.contains(PollFlags::OUT) || self.link.unsent_bytes() > 0);
                    let pause = match flags {
                        _ if flags.contains(PollFlags::IN) && has_more => Some(Duration::ZERO),
                        _ if flags.is_empty() => Some(UNDIRECTED_PAUSE),
                        _ => self.pause,
                    };
                    let until = pause.map(|pause| Instant::now() + pause);
                    watch.wait(&[(self.socket, flags)], until).map_err(Stop::Job)?;
                }
                Err(error) => return Err(Stop::Ssh(error)),
                Ok(value) => return Ok(value),
            }
        }
    }
}

/// Returns what libssh2 waits for on the socket.
fn directions(session: &ssh2::Session) -> PollFlags {
    match session.block_directions() {
        BlockDirections::None => PollFlags::empty(),
        BlockDirections::Inbound => PollFlags::IN,
        BlockDirections::Outbound => PollFlags::OUT,
        BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
    }
}

/// State that all sessions of a run share: read or listed once, before the first connection.
pub struct Credentials {
    /// The known host keys.
    pub known_hosts: Arc<KnownHosts>,
    /// The command for further ones (KnownHostsCommand).
    pub known_hosts_command: Option<CommandTemplate>,
    /// What to do with an unknown key.
    pub host_key_check: HostKeyCheck,
    /// Host keys that are refused even if known (RevokedHostKeys).
    pub revoked_host_keys: Option<Arc<RevokedKeys>>,
    /// The keys to authenticate with.
    pub identities: Arc<Identities>,
    /// The password to authenticate with.
    pub password: Option<Arc<Secret>>,
    /// Questions that it answers in addition to those known to ask for it.
    pub password_prompt: Option<PromptPattern>,
    /// The terminal for a host's own questions.
    pub terminal: Arc<Terminal>,
}

/// An authenticated session. Dropping it closes the connection at once.
pub struct Session {
    // Dropped before the session that it belongs to: the order of the fields.
    link: Link,
    session: ssh2::Session,
    socket: Arc<OwnedFd>,
    trust: Trust,
    binding: Option<Binding>,
}

impl Session {
    /// Connects to `host` at one of `addresses` and authenticates. Notes for `-v` go to `note`.
    ///
    /// # Errors
    /// The outcome of the job: how far it came and why no further.
    pub fn connect(
        host: &Destination,
        addresses: &[SocketAddr],
        watch: &mut Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Session, Outcome> {
        watch.expect(Phase::Connect, "no TCP connection");
        watch.milestones().address = addresses.first().map(|address| tcp::at_port(*address, host.port));
        let (socket, address) = tcp::connect_any(addresses, host, watch)?;
        note(&|| format!("connected to {address}"));
        watch.milestones().address = Some(address);
        Session::over(Arc::new(socket), host, watch, note)
    }

    /// Makes a session of a connected, non-blocking stream socket: the end of a TCP connection or of a tunnel.
    ///
    /// # Errors
    /// See [`Session::connect`].
    pub fn over(
        socket: Arc<OwnedFd>,
        host: &Destination,
        watch: &mut Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Session, Outcome> {
        watch.milestones().reached = Some(Instant::now());
        let mut session = ssh2::Session::new().map_err(|error| HostError::Local {
            doing: "creating an SSH session",
            detail: error.message().to_owned(),
            hint: None,
        })?;
        if host.saves_memory {
            ffi::release_blank_pages(&session);
        }
        session.set_blocking(false);
        session.set_tcp_stream(Arc::clone(&socket));
        let link = Link::watch(&session);
        let mut made = Session { link, session, socket, trust: Trust::NoSecrets, binding: None };
        let known = Known::of(host, watch, note)?;
        made.handshake(host, &known, watch)?;
        note(&|| format!("server says {}", banner(&made.session).map_or("nothing".to_owned(), |words| said(&words))));
        watch.milestones().agreed = algorithms::agreed(&made.session);
        if let Some(agreed) = watch.milestones().agreed {
            note(&|| format!("agreed on {agreed}"));
        }
        let Some((key, _)) = made.session.host_key() else {
            let detail = "the server sent no host key".to_owned();
            return Err(HostError::Ssh { doing: "key exchange", detail, hint: None }.into());
        };
        let trust = host_key_check::check(host, known, key, made.socket(), watch, note)?;
        let identifier = made.link.session_identifier();
        let binding = identifier
            .and_then(|identifier| made.link.with_opening(|opening| Binding::of_session(key, &identifier, opening)));
        made.link.pin_host_key(key);
        made.trust = trust;
        watch.expect(Phase::Auth, "not authenticated");
        watch.milestones().secured = Some(Instant::now());
        let login = auth::authenticate(&mut made.driver(), host, trust, binding.as_ref(), watch, note);
        made.binding = binding;
        made.note_banners(note);
        let identity = login.map_err(|outcome| made.replaced_key(host).unwrap_or(outcome))?;
        note(&|| format!("authenticated as {} with {identity}", host.user));
        made.link.log_in();
        Ok(made)
    }

    fn handshake(&mut self, host: &Destination, known: &Known, watch: &mut Watch<'_>) -> Result<(), Outcome> {
        let host_keys = host_key_check::preference(host, known);
        self.offer(&host.algorithms, &host_keys)?;
        watch.expect(Phase::Connect, "no SSH handshake");
        let (socket, mut refused) = (Arc::clone(&self.socket), None);
        let mut driver = self.driver();
        let link = driver.link();
        let done = driver.drive(watch, |session| {
            let is_new = banner(session).is_none();
            let arrived = if is_new { version::check_arrived(socket.as_fd(), link) } else { Ok(()) };
            let step = arrived.map(|()| session.handshake());
            // A change in pieces has evaded the check of arrived data.
            let checked =
                step.and_then(|step| banner(session).map_or(Ok(()), |words| version::check(&words)).map(|()| step));
            checked.unwrap_or_else(|error| {
                refused = Some(error);
                Err(Error::new(SOCKET_DISCONNECT, "another protocol version"))
            })
        });
        match refused.map_or(done, |error| Err(Stop::Job(error.into()))) {
            Ok(()) => Ok(()),
            Err(Stop::Job(outcome)) => Err(self.name_silence(outcome)),
            Err(Stop::Ssh(error)) if error.code() == ffi::TOO_MUCH => {
                let detail = error.message().to_owned();
                Err(HostError::Ssh { doing: "handshake", detail, hint: Some(Remedy::IsItSsh) }.into())
            }
            Err(Stop::Ssh(error)) => {
                let disagreement = || {
                    self.link.with_opening(|opening| algorithms::disagreement(&host.algorithms, &host_keys, opening))
                };
                Err(handshake_failed(&self.session, &self.link, &error, &disagreement).into())
            }
        }
    }

    /// Sets the algorithms offered to the host in the key exchange.
    fn offer(&self, algorithms: &Algorithms, host_keys: &[&str]) -> Result<(), Outcome> {
        let Algorithms { key_exchanges, ciphers, macs, compression, .. } = algorithms;
        let [key_exchanges, host_keys, ciphers, macs] =
            [key_exchanges, host_keys, ciphers, macs].map(|names| names.join(","));
        let mut offered = vec![
            (MethodType::Kex, &*key_exchanges),
            (MethodType::HostKey, &host_keys),
            (MethodType::CryptCs, &ciphers),
            (MethodType::CryptSc, &ciphers),
            (MethodType::MacCs, &macs),
            (MethodType::MacSc, &macs),
        ];
        if *compression {
            // libssh2's own list starts with zlib, which inflates data from before the login.
            self.session.set_compress(true);
            offered.extend([MethodType::CompCs, MethodType::CompSc].map(|method| (method, algorithms::COMPRESSION)));
        }
        for (method, names) in offered {
            self.session.method_pref(method, names).map_err(|error| {
                let detail = error.message().to_owned();
                HostError::Local { doing: "choosing algorithms", detail, hint: None }
            })?;
        }
        Ok(())
    }

    /// Reports the server's banners.
    fn note_banners(&self, note: &mut Notes<'_>) {
        let (before, after) = self.link.banners();
        let lines =
            before.iter().chain(&after).flat_map(|banner| banner.lines()).filter(|line| !line.trim().is_empty());
        for line in lines.take(MOST_BANNER_LINES) {
            note(&|| format!("banner: {}", ffi::quoted(line)));
        }
    }

    /// Describes the end of the connection: by the server's message, if there is one, or else by these words.
    pub fn end(&self, otherwise: &str) -> String {
        self.link.goodbye().map_or_else(|| otherwise.to_owned(), |goodbye| goodbye.to_string())
    }

    /// Distinguishes a server that never sent a banner from one that stopped during the handshake.
    fn name_silence(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::TimedOut { phase, limit, .. } if banner(&self.session).is_none() => {
                Outcome::TimedOut { phase, limit, missing: "no SSH banner" }
            }
            outcome => outcome,
        }
    }

    /// Returns libssh2's session.
    pub fn ssh(&self) -> &ssh2::Session {
        &self.session
    }

    /// Returns how far the host is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Returns the binding for agent connections, if its server's data allows one.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// Returns the server's identification (RFC 4253 section 4.2).
    pub fn banner(&self) -> Option<Cow<'_, str>> {
        banner(&self.session)
    }

    /// Whether the server reported a forced command for the user's key.
    pub fn has_forced_command(&self) -> bool {
        self.link.has_forced_command()
    }

    /// Returns the state of the session's socket.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Sends data that the socket did not accept before.
    pub fn flush(&self) {
        self.link.flush(self.socket());
    }

    /// Returns the bytes that the socket has not accepted yet.
    pub fn unsent(&self) -> usize {
        self.link.unsent_bytes()
    }

    /// Returns how many bytes were read from the socket, for any channel.
    pub fn received(&self) -> u64 {
        self.link.received_bytes()
    }

    /// Returns the outcome of `host`, whose session this is, if it has shown another key than the checked one.
    pub fn replaced_key(&self, host: &Destination) -> Option<Outcome> {
        let is_replaced = self.link.given_up() == Some(GivenUp::HostKey);
        is_replaced.then(|| host_key_check::replaced(host, self.session.host_key().map(|(key, _)| key)).into())
    }

    /// Returns the driver of this session.
    pub fn driver(&mut self) -> Driver<'_> {
        Driver {
            session: &mut self.session,
            socket: self.socket.as_fd(),
            link: &self.link,
            in_bits: false,
            pause: None,
        }
    }

    /// Returns the socket to wait for.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns what libssh2 waits for on the socket.
    pub fn directions(&self) -> PollFlags {
        directions(&self.session)
    }

    /// Whether the connection has ended.
    pub fn is_dead(&self) -> bool {
        self.link.is_dead()
    }

    /// Returns when the peer last sent anything.
    pub fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }

    /// Returns how long ago TCP last heard the peer, if there is a TCP connection with it.
    pub fn tcp_silence(&self) -> Option<Duration> {
        ffi::tcp_silence(self.socket())
    }

    /// Whether the socket accepts data now, and no data of libssh2 waits to go first.
    pub fn takes_data(&self) -> bool {
        let at_once = Some(Instant::now());
        !self.directions().contains(PollFlags::OUT)
            && self.link.unsent_bytes() == 0
            && poll_with(None, &[(self.socket(), PollFlags::OUT)], at_once).is_ok_and(|ready| ready.has(0))
    }

    /// Sends a keepalive. Call it only when the socket accepts data: libssh2 does not keep the request if it would
    /// block.
    pub fn ask_alive(&self) {
        // libssh2 keeps a clock of its own in whole seconds; one second at a time lets ours decide.
        self.session.set_keepalive(true, 1);
        if let Err(error) = self.session.keepalive_send() {
            self.link.note_failure(&error);
        }
    }

    /// Reads what the server of a session without a command has sent, and answers what it asks; returns whether the session can still be
    /// used.
    pub fn attend(&self) -> bool {
        let is_usable = self.link.attend();
        self.link.flush(self.socket());
        self.link.take_answers();
        is_usable
    }

    /// Forgets the agent of the last command: its processes may not use it any more.
    pub fn rest(&self) {
        self.link.set_agent_room(0);
        while self.link.take_agent_channel().is_some() {}
    }

    /// Prepares for another command on the session, which has no channel any more.
    pub fn renew(&self) {
        self.link.renew();
    }

    /// Disconnects without waiting, so that the server does not log a broken connection.
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
        // First the socket: if it is open, libssh2 would try to close every channel, would not wait for it (the session
        // does not block), and would leak the session.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

/// Returns the server's identification (RFC 4253 section 4.2). libssh2 keeps lines before it in the same place. It may
/// not be UTF-8.
fn banner(session: &ssh2::Session) -> Option<Cow<'_, str>> {
    session.banner_bytes().map(String::from_utf8_lossy).filter(|banner| banner.starts_with("SSH-"))
}

/// Returns the first non-empty line of a server, and whether it is complete; libssh2 keeps only the last. Data with a
/// NUL byte is not a line.
fn first_line(opening: &[u8]) -> Option<(String, bool)> {
    let line = opening.split_inclusive(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    if line.contains(&0) {
        return None;
    }
    Some((String::from_utf8_lossy(line.trim_ascii()).into_owned(), line.ends_with(b"\n")))
}

fn handshake_failed(
    session: &ssh2::Session,
    link: &Link,
    error: &Error,
    disagreement: &dyn Fn() -> Option<Disagreement>,
) -> HostError {
    /// libssh2.h: LIBSSH2_ERROR_KEX_FAILURE, no algorithm in common or a broken exchange.
    const KEX_FAILURE: ErrorCode = ErrorCode::Session(-5);
    const DOING: &str = "handshake";
    let is_no_server = |detail| HostError::Ssh { doing: DOING, detail, hint: Some(Remedy::IsItSsh) };
    if banner(session).is_none() {
        // Data that is not a banner is not SSH; no data, or a part of a line, means that the connection has ended.
        let is_banner = |line: &str| line.starts_with("SSH-") || "SSH-".starts_with(line);
        let first = link.with_opening(first_line).filter(|(line, _)| !is_banner(line));
        return match (first, link.socket_end()) {
            (Some((words, is_whole)), _) if !is_whole || BUSY_WORDS.iter().any(|busy| words.starts_with(busy)) => {
                let detail = format!("the server says {}", ffi::quoted(&words));
                HostError::Dropped { doing: DOING, detail, banner_seen: false }
            }
            (
                Some((words, _)),
                Some(end @ (SocketEnd::Closed | SocketEnd::Ended | SocketEnd::Failed(libc::ECONNRESET))),
            ) => {
                let how = match end {
                    SocketEnd::Closed => "closed",
                    SocketEnd::Ended => "ended",
                    SocketEnd::Failed(_) => "reset",
                };
                is_no_server(format!("the server says {}, and {how} the connection", ffi::quoted(&words)))
            }
            (Some((words, _)), None) => is_no_server(format!("the server says {}", ffi::quoted(&words))),
            (_, Some(end)) => {
                let detail = format!("{end} before its SSH banner");
                HostError::Dropped { doing: DOING, detail, banner_seen: false }
            }
            (None, None) => is_no_server("the server sends something other than an SSH banner".to_owned()),
        };
    }
    if error.code() == KEX_FAILURE
        && let Some(Disagreement { detail, hint }) = disagreement()
    {
        return HostError::Ssh { doing: "key exchange", detail, hint: Some(hint) };
    }
    dropped("key exchange", error, true, link)
}

/// Returns the error for a transport failure before the end of authentication: a dropped connection if the connection
/// has ended, whatever libssh2 reports, which only knows what it was waiting for.
pub fn dropped(doing: &'static str, error: &Error, banner_seen: bool, link: &Link) -> HostError {
    /// libssh2.h: SOCKET_NONE, BANNER_RECV, KEY_EXCHANGE_FAILURE, SOCKET_DISCONNECT: the codes of a disconnect.
    const GOODBYES: [i32; 4] = [-1, -2, -8, -13];
    let detail = match link.explain(error) {
        // What libssh2 was waiting for means nothing to a user.
        waiting if waiting.starts_with("Waiting for") => "the server ended the connection".to_owned(),
        detail => detail,
    };
    let has_ended = match (link.goodbye(), link.socket_end()) {
        (Some(goodbye), _) => {
            let is_usual = matches!(error.code(), ErrorCode::Session(code) if GOODBYES.contains(&code));
            is_usual || goodbye.may_pass()
        }
        (None, end) => end.is_some() || link.is_dead() && link.given_up().is_none(),
    };
    if has_ended {
        HostError::Dropped { doing, detail, banner_seen }
    } else {
        HostError::Ssh { doing, detail, hint: None }
    }
}
