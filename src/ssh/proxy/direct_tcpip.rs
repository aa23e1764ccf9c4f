//! One connection to a jump host: a thread that owns its session and connects the sockets of the sessions behind it to
//! direct-tcpip channels (RFC 4254 section 7.2).
//!
//! * libssh2 never waits for the socket to take a packet (see `Link`), so no channel can block another, and
//!   any can be closed at any time.
//! * A channel is read only when its socket has taken everything before: a slow reader closes the window of its own channel,
//!   and of no other. What libssh2 queues is bounded by the windows.
//! * libssh2 opens one channel at a time. An open that takes long while others wait gives way to them, and is begun anew
//!   later: of a hundred hosts there are always some that do not answer.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::connection::{Connection, Plan, pair};
use super::jump_host::{Failed, ForwardRequest, JumpHost};
use crate::events::host_error::ProxyError;
use crate::ssh::channel::relay::{self, Dead, Line, READ_SIZE, UNSENT};
use crate::ssh::ffi::{self, Channel, OPEN_REFUSED, OPEN_TIMEOUT};
use crate::ssh::keepalive::Pulse;
use crate::ssh::session::Session;
use crate::ssh::watch::arrived_until;
use crate::system::poll::poll_with;
use crate::text::message::reason;

/// Most channels of one connection. Each is a file of the jump host's sshd, which may have 1024 open by default.
const CHANNELS: usize = 500;
/// The least age at which an open can be given up: libssh2 counts in whole seconds.
const LEAST_AGE: Duration = Duration::from_millis(1100);
/// How soon to check again while opens wait, for what no descriptor reports: the age of an open, a session that has
/// given up.
const TICK: Duration = Duration::from_millis(100);
/// How long the channels may take to be closed when the connection is no longer needed.
const LEAVING: Duration = Duration::from_millis(200);
/// How long an ended connection may take to pass on its received data.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The thread's state.
pub struct DirectTcpip<'a> {
    session: Session,
    host: &'a Arc<JumpHost>,
    connection: Arc<Connection>,
    wake: UnixStream,
    window: u32,
    pulse: Pulse,
    opening: Option<Opening>,
    lines: Vec<Line>,
    buffer: Vec<u8>,
    /// Whether the session's socket may have data.
    readable: bool,
    /// Until when it leaves the jump host, which no job needs any more.
    leaves: Option<Instant>,
}

/// A channel that is being opened.
struct Opening {
    request: ForwardRequest,
    message: Vec<u8>,
    since: Instant,
}

impl<'a> DirectTcpip<'a> {
    /// Creates a pump on an authenticated session. Data on `wake` makes it check for requests.
    pub fn new(
        session: Session,
        host: &'a Arc<JumpHost>,
        connection: Arc<Connection>,
        wake: UnixStream,
        plan: &Plan,
    ) -> Self {
        ffi::set_open_limit(session.ssh(), i32::MAX);
        DirectTcpip {
            session,
            host,
            connection,
            wake,
            window: plan.window,
            pulse: Pulse::new(host.keepalive()),
            opening: None,
            lines: Vec::new(),
            buffer: vec![0; READ_SIZE],
            readable: true,
            leaves: None,
        }
    }

    /// Serves until the connection ends or the run does.
    pub fn run(mut self) {
        let ended = loop {
            if self.host.is_closed() {
                // The sessions behind it may have disconnected just before, and a jump host that we leave passes nothing on.
                let end = *self.leaves.get_or_insert_with(|| Instant::now() + LEAVING);
                self.lines.iter_mut().for_each(|line| line.wake(PollFlags::IN, true));
                if self.lines.is_empty() || Instant::now() >= end {
                    break Ok(());
                }
            }
            match self.round() {
                Ok(true) => {}
                Ok(false) if self.has_more_for_a_reader() => {}
                Ok(false) => match self.wait() {
                    Ok(()) => {}
                    Err(Dead) => break Err(Dead),
                },
                Err(Dead) => break Err(Dead),
            }
        };
        // Before any session can see its end: its message then depends on it.
        if let Some(outcome) = self.session.replaced_key(&self.host.host()) {
            self.connection.set_cause(outcome);
        }
        self.note_death();
        match ended {
            Ok(()) => {
                self.session.disconnect();
                self.session.flush();
            }
            Err(Dead) => self.say_last_words(),
        }
        if let Some(opening) = self.opening.take() {
            self.host.again(opening.request);
        }
    }

    /// Does what is possible without waiting; returns whether there may be more.
    fn round(&mut self) -> Result<bool, Dead> {
        self.session.flush();
        if std::mem::take(&mut self.readable) {
            self.receive()?;
        }
        if self.is_dead() {
            // A channel that ended with the connection was not closed by the host behind it.
            self.note_death();
        }
        self.feel_pulse()?;
        let received = self.session.received();
        let opened = self.open()?;
        let moved = self.relay()?;
        self.session.flush();
        // Data received on the way may be for a line that has had its turn, or wait within libssh2, which stops once it
        // has what it was asked for, such as the answer to an open: nothing would wake us for it.
        self.readable = opened || self.session.received() != received;
        if self.session.link().is_full() && !moved && !self.lines.iter().any(Line::is_behind) {
            self.session.link().give_up_memory();
        }
        if self.is_dead() { Err(Dead) } else { Ok(moved || self.readable) }
    }

    fn is_dead(&self) -> bool {
        self.session.link().is_dead()
    }

    /// Notes that the connection has ended, and why, as far as known.
    fn note_death(&self) {
        let link = self.session.link();
        let goodbye = link.goodbye().map(|goodbye| goodbye.to_string());
        self.connection.set_dead(goodbye.or_else(|| link.given_up().map(|why| why.error().message().to_owned())));
    }

    /// Whether there is data to read before answering that all received data is passed on. Comes after a round without
    /// further work.
    fn has_more_for_a_reader(&mut self) -> bool {
        if !self.connection.is_asked() {
            return false;
        }
        let arrived = arrived_until(self.connection.before());
        let at_once = Some(Instant::now());
        let ready = poll_with(None, &[(self.session.socket(), PollFlags::IN)], at_once);
        let is_there = self.session.link().has_data_ahead() || ready.is_ok_and(|ready| ready.has(0));
        self.readable = is_there && !self.is_idle() && !self.session.link().is_full();
        if !self.readable {
            self.connection.has_handed_on(arrived);
        }
        self.readable
    }

    /// Reads everything that has arrived from the socket. An open under way does the same.
    fn receive(&mut self) -> Result<(), Dead> {
        for line in &self.lines {
            match line.channel().receive() {
                // This channel has seen its end and reads no more.
                Ok(()) => {}
                Err(error) if ffi::would_block(&error) => return Ok(()),
                Err(_) => return Err(Dead),
            }
        }
        Ok(())
    }

    /// Sends a keepalive to a jump host that has been silent for long, and gives it up if it does not answer.
    fn feel_pulse(&mut self) -> Result<(), Dead> {
        if self.is_idle() {
            self.pulse.rest();
        }
        self.pulse.vanished(&self.session, self.connection.before()).map_or(Ok(()), |_| Err(Dead))
    }

    /// Whether the connection is unused. Without a channel nothing would read from the socket.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.opening.is_none()
    }

    /// Continues the open that is under way, or starts the next.
    fn open(&mut self) -> Result<bool, Dead> {
        if self.opening.is_none() && self.lines.len() >= CHANNELS {
            self.host.full(&self.connection);
            return Ok(false);
        }
        if self.opening.is_none() {
            self.opening = self.host.next(&self.connection).map(|request| Opening {
                message: ffi::direct_tcpip(&request.name, request.port),
                since: Instant::now(),
                request,
            });
        }
        let Some(opening) = self.opening.take() else { return Ok(false) };
        let age = opening.since.elapsed();
        let unwanted = !opening.request.is_wanted();
        let give_up = age >= LEAST_AGE && (unwanted || self.host.must_give_way(&opening.request, age));
        if give_up {
            ffi::set_open_limit(self.session.ssh(), 1);
        }
        let opened = Channel::open_direct(self.session.ssh(), &opening.message, self.window);
        if give_up {
            ffi::set_open_limit(self.session.ssh(), i32::MAX);
        }
        let error = match opened {
            Ok(channel) => {
                self.host.opened(&self.connection, Some(age));
                self.join(channel, opening.request);
                return Ok(true);
            }
            Err(error) => error,
        };
        match error.code() {
            _ if ffi::would_block(&error) => {
                self.opening = Some(opening);
                return Ok(false);
            }
            OPEN_TIMEOUT => {
                self.host.opened(&self.connection, None);
                if !unwanted {
                    self.host.again_later(opening.request);
                }
            }
            OPEN_REFUSED => {
                self.host.opened(&self.connection, Some(age));
                opening.request.answer(Err(refusal(error.message())));
            }
            _ => {
                self.opening = Some(opening);
                return Err(Dead);
            }
        }
        Ok(true)
    }

    /// Gives one end of a socket pair to the session that asked, and connects the other to `channel`.
    fn join(&mut self, channel: Channel, request: ForwardRequest) {
        let (socket, answer) = match pair() {
            Ok((ours, theirs)) => (Some(ours.into()), Ok((theirs.into(), Arc::clone(&self.connection)))),
            Err(error) => (None, Err(Failed::Local(reason(&error)))),
        };
        self.lines.push(Line::new(channel, socket));
        request.answer(answer);
    }

    /// Moves data both ways; returns whether any line may have more.
    fn relay(&mut self) -> Result<bool, Dead> {
        relay::relay(&mut self.lines, self.session.link(), &mut self.buffer)
    }

    /// Passes on data received before the connection ended, as far as it is accepted soon.
    fn say_last_words(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        loop {
            for line in &mut self.lines {
                // After any failure no more data can be had from it.
                while matches!(line.deliver(self.session.link(), &mut self.buffer), Ok(true)) {}
            }
            self.lines.retain(Line::is_behind);
            let left = end.saturating_duration_since(Instant::now());
            if self.lines.is_empty() || left.is_zero() {
                return;
            }
            let sockets = self.lines.iter().filter_map(Line::socket);
            let mut polled: Vec<PollFd<'_>> =
                sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::OUT)).collect();
            if poll(&mut polled, Some(&timespec(left))).is_err_and(|error| error != Errno::INTR) {
                return;
            }
        }
    }

    /// Waits until there is work.
    fn wait(&mut self) -> Result<(), Dead> {
        let unsent = self.session.unsent();
        // When idle, only the end is of interest.
        let mut flags = if self.is_idle() || self.session.link().is_full() { PEER_CLOSED } else { PollFlags::IN };
        flags.set(PollFlags::OUT, unsent > 0);
        let now = Instant::now();
        let mut until = self.pulse.due(&self.session).filter(|_| !self.is_idle());
        if self.opening.is_some() || self.host.has_waiting() {
            until = Some(now + TICK);
        }
        let is_there = flags.contains(PollFlags::IN) && self.session.link().has_data_ahead();
        until = until.into_iter().chain(self.leaves).chain(is_there.then_some(now)).min();
        let mut polled =
            vec![PollFd::from_borrowed_fd(self.session.socket(), flags), PollFd::new(&self.wake, PollFlags::IN)];
        let mut places = Vec::with_capacity(self.lines.len());
        for (place, line) in self.lines.iter().enumerate() {
            let Some(socket) = line.socket() else { continue };
            if let Some(due) = line.lingers_until() {
                until = Some(until.map_or(due, |until| until.min(due)));
                continue;
            }
            polled.push(PollFd::from_borrowed_fd(socket, line.interest(unsent <= UNSENT)));
            places.push(place);
        }
        let timeout = until.map(|until| timespec(until.saturating_duration_since(now)));
        if let Err(error) = poll(&mut polled, timeout.as_ref()) {
            if error != Errno::INTR {
                // The kernel is out of memory: check again a little later rather than give up all the sessions.
                std::thread::sleep(TICK);
            }
            return Ok(());
        }
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        drop(polled);
        self.readable = is_there || ready[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if flags.contains(PEER_CLOSED) && ready[0].intersects(PEER_CLOSED | PollFlags::HUP | PollFlags::ERR) {
            return Err(Dead);
        }
        if !ready[1].is_empty() {
            let mut bytes = [0; 64];
            while matches!(recv(&self.wake, &mut bytes, RecvFlags::empty()), Ok((1.., _))) {}
        }
        for (place, ready) in places.into_iter().zip(&ready[2..]) {
            self.lines[place].wake(*ready, unsent <= UNSENT);
        }
        Ok(())
    }
}

/// Explains the jump host's refusal to open a channel (RFC 4254 section 5.1). libssh2 keeps its reason code, in words
/// of its own, but not its description.
fn refusal(message: &str) -> Failed {
    let words = message.split_once('(').and_then(|(_, words)| words.strip_suffix(')')).unwrap_or(message).to_owned();
    match words.as_str() {
        "administratively prohibited" | "unknown channel type" => Failed::Proxy(ProxyError::Forbidden(words)),
        "resource shortage" => Failed::Proxy(ProxyError::Full(words)),
        _ => Failed::Unreachable(words),
    }
}

/// poll(2)'s flags when the peer has closed its end.
#[cfg(target_os = "linux")]
const PEER_CLOSED: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const PEER_CLOSED: PollFlags = PollFlags::empty();

/// Converts a time for poll(2), rounded up by a millisecond so as not to wake just before it.
fn timespec(time: Duration) -> Timespec {
    let time = time + Duration::from_millis(1);
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}
