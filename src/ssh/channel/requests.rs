//! The requests on a command's channel before the command: agent forwarding, a terminal, variables. A server that
//! refuses one still runs the command, as with ssh(1); a note reports it.
//!
//! All requests leave together with the exec request, and none waits for an answer: none costs a round trip. Answers
//! come in the order of the requests (RFC 4254 section 5.4) and are counted. Some servers do not answer requests for
//! variables: then there are fewer answers than requests, and the last is that to the exec request. This case looks
//! like a slow server, so variables of ssh_config are requested without an answer, as by ssh(1), unless refusals are
//! reported.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ssh2::Error;

use crate::ssh::channel::agent_forward::ForwardedAgent;
use crate::ssh::channel::stdin::StdinSender;
use crate::ssh::ffi::{self, Channel, Exit, REQUEST_DENIED, TOO_LONG};
use crate::ssh::keys::agent;
use crate::ssh::login::host_key_check::Trust;
use crate::ssh::session::{Session, Stop};
use crate::ssh::watch::{Notes, Watch};
use crate::ssh::wire::put_string;
use crate::text::message::reason;

/// The encoded modes of a terminal without particular settings: TTY_OP_END (RFC 4254 section 8).
pub const NO_MODES: &[u8] = &[0];

/// The channel requests for one host, before its command.
#[derive(Default)]
pub struct Requests {
    /// The agent to forward.
    pub agent: Forwarding,
    /// The terminal of the command.
    pub terminal: Option<PseudoTerminal>,
    /// The environment variables of the command.
    pub variables: Vec<Variable>,
    /// Settings that pssh cannot carry out, for `-v`.
    pub notes: Vec<&'static str>,
}

/// Agent forwarding (ForwardAgent).
#[derive(Default)]
pub enum Forwarding {
    /// Disabled.
    #[default]
    Off,
    /// Enabled, but there is no agent.
    NoAgent,
    /// Forwards the agent at this socket.
    Agent(PathBuf),
}

/// A terminal for the command (RequestTTY). The command's stderr then comes with its stdout.
#[derive(Clone)]
pub struct PseudoTerminal {
    /// Its type, for `TERM`; empty if unset, as with ssh(1).
    pub term: OsString,
    /// Columns and rows.
    pub size: (u16, u16),
}

/// An environment variable for the command.
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: OsString,
    /// Whether the command line names it: then everybody learns of a refusal.
    pub is_named: bool,
}

/// How long after the server's last answer that counts as the one to the exec request, although some are missing. The
/// requests were sent together, and servers answer at once.
const GRACE: Duration = Duration::from_secs(1);
/// The interval of that check.
const LOOK: Duration = Duration::from_millis(100);

/// How long after its answer a refusal counts as that of the exec request, although some answers are missing. Which
/// request it answers is unknown: servers that answer all requests may start a command slowly, and those that never
/// answer some kind answer the exec request first. A running command without output would be ended by mistake, so this
/// is longer than [`GRACE`], and any output or exit status ends the wait.
const DOUBT: Duration = Duration::from_secs(5);
/// Bytes of requests that may wait for the socket before the next request is made: variables may be many and long.
const MOST_GATHERED: usize = 1 << 20;

/// The server refuses to run the command.
pub fn refused() -> Error {
    Error::new(REQUEST_DENIED, "the server refuses to run it")
}

/// The result of the requests for a command that the server runs.
pub struct Made {
    /// The agent that the server can use now.
    pub agent: Option<ForwardedAgent>,
    /// What the user named and the command does not get.
    pub missing: Vec<String>,
    /// The missing answers.
    pub unanswered: Unanswered,
}

/// Answers to requests that may still come while the command seems to run (RFC 4254 section 4: those on a channel come
/// in order). The last one would be that to the exec request.
#[derive(Debug, Default)]
pub struct Unanswered {
    left: usize,
    /// When a refusal came that may concern the exec request, with nothing received since.
    refusal: Option<Instant>,
}

impl Unanswered {
    /// Notes that the command runs: further answers concern other requests.
    pub fn forget(&mut self) {
        *self = Unanswered::default();
    }

    /// Takes the received answers; returns whether the server refused to run the command.
    pub fn hear(&mut self, channel: &Channel) -> bool {
        if self.left > 0 && channel.exit() != Exit::Unknown {
            self.forget();
        }
        while self.left > 0
            && let Some(is_done) = channel.take_answer()
        {
            self.left -= 1;
            self.refusal = (!is_done).then(Instant::now);
            if self.left == 0 {
                return !is_done;
            }
        }
        self.due().is_some_and(|due| Instant::now() >= due)
    }

    /// Returns when the wait ends.
    pub fn due(&self) -> Option<Instant> {
        self.refusal.filter(|_| self.left > 0).map(|since| since + DOUBT)
    }
}

/// The server's answers so far.
struct Answers {
    given: Vec<bool>,
    /// Whether there is a sign that the command started.
    has_begun: bool,
}

impl Requests {
    /// Tells which settings have no effect.
    pub fn tell_notes(&self, note: &mut Notes<'_>) {
        self.notes.iter().for_each(|text| note(&|| (*text).to_owned()));
    }

    /// Makes the requests on `channel`, then starts `program`. Refusals go to `note`.
    ///
    /// # Errors
    /// The server refuses to run the command, the connection ended, or the job is over.
    pub fn make(
        &self,
        session: &mut Session,
        channel: &Channel,
        program: Program<'_>,
        watch: &Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Made, Stop> {
        let socket = self.offered_agent(session, note);
        let mut made = Made {
            agent: socket.and_then(|socket| ForwardedAgent::admit(socket.clone(), session.binding(), session.link())),
            missing: Vec::new(),
            unanswered: Unanswered::default(),
        };
        if socket.is_some() && made.agent.is_none() {
            note(&|| "the agent is NOT forwarded: its connections cannot be bound to the session".to_owned());
        }
        let agent = made.agent.as_ref().map(|_| ChannelRequest::Agent);
        let terminal = self.terminal.iter().map(ChannelRequest::Terminal);
        let all: Vec<_> =
            agent.into_iter().chain(terminal).chain(self.variables.iter().map(ChannelRequest::Variable)).collect();
        let mut asked = Vec::new();
        for request in all {
            let wants_reply = request.wants_reply(program.is_verbose);
            match send(session, channel, request.kind(), wants_reply, &request.details(), watch) {
                Ok(()) => asked.extend(wants_reply.then_some(request)),
                Err(Stop::Ssh(error)) if error.code() == TOO_LONG => request.fail(error.message(), &mut made, note),
                Err(stop) => return Err(stop),
            }
        }
        let (kind, details) = program.start.message();
        send(session, channel, kind, true, &details, watch)?;
        // What does not go along is sent later.
        session.link().gathering(|| program.input.end_at_once(channel));
        let answers = hear(session, channel, asked.len() + 1, watch)?;
        if !answers.are_consent(asked.len()) {
            return Err(Stop::Ssh(refused()));
        }
        if !answers.has_begun {
            made.unanswered.left = (asked.len() + 1).saturating_sub(answers.given.len());
        }
        for (request, answer) in asked.iter().zip(answers.of(&asked)) {
            match answer {
                Some(true) => {}
                Some(false) => request.fail("it refuses", &mut made, note),
                None => note(&|| format!("{request}, or does not say so")),
            }
        }
        if made.agent.is_some() {
            note(&|| {
                format!("the agent {} is forwarded", socket.map_or_else(String::new, |it| it.display().to_string()))
            });
        } else if socket.is_some() {
            session.link().set_agent_room(0);
        }
        Ok(made)
    }

    /// Returns the socket of the agent that the server is offered.
    fn offered_agent(&self, session: &Session, note: &mut Notes<'_>) -> Option<&PathBuf> {
        let socket = match &self.agent {
            Forwarding::Off => return None,
            Forwarding::NoAgent => {
                note(&|| "the agent is not forwarded: no agent is available".to_owned());
                return None;
            }
            Forwarding::Agent(socket) => socket,
        };
        if session.trust() == Trust::NoSecrets {
            note(&|| "the agent is NOT forwarded, since the host key has changed".to_owned());
            return None;
        }
        // As in ssh: an unreachable agent is not offered.
        if let Err(error) = agent::knock(socket) {
            note(&|| format!("the agent is not forwarded: {}: {}", socket.display(), reason(&error)));
            return None;
        }
        Some(socket)
    }
}

/// A program to start on a channel.
pub struct Program<'a> {
    /// What to start.
    pub start: Start<'a>,
    /// Its input. If that is empty, its end goes along with the request.
    pub input: &'a mut StdinSender,
    /// Whether refusals of variables are of interest.
    pub is_verbose: bool,
}

/// The program of a channel.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// A command for the remote shell.
    Command(&'a [u8]),
    /// A subsystem, by name.
    Subsystem(&'static str),
}

impl Start<'_> {
    /// Returns the request (RFC 4254 section 6.5): its type, and what follows the common part of its message.
    fn message(self) -> (&'static str, Vec<u8>) {
        let (kind, what) = match self {
            Start::Command(command) => ("exec", command),
            Start::Subsystem(name) => ("subsystem", name.as_bytes()),
        };
        let mut details = Vec::with_capacity(what.len() + 4);
        put_string(&mut details, what);
        (kind, details)
    }
}

/// A request that the server may refuse.
enum ChannelRequest<'a> {
    Agent,
    Terminal(&'a PseudoTerminal),
    Variable(&'a Variable),
}

impl ChannelRequest<'_> {
    /// Returns the names of RFC 4254 section 6, and that of OpenSSH's PROTOCOL.agent.
    fn kind(&self) -> &'static str {
        match self {
            ChannelRequest::Agent => "auth-agent-req@openssh.com",
            ChannelRequest::Terminal(_) => "pty-req",
            ChannelRequest::Variable(_) => "env",
        }
    }

    /// Whether to ask for an answer. ssh(1) does not for variables.
    fn wants_reply(&self, is_verbose: bool) -> bool {
        match self {
            ChannelRequest::Agent | ChannelRequest::Terminal(_) => true,
            ChannelRequest::Variable(variable) => variable.is_named || is_verbose,
        }
    }

    /// Returns what follows the common part of the message.
    fn details(&self) -> Vec<u8> {
        let mut details = Vec::new();
        match self {
            ChannelRequest::Agent => {}
            ChannelRequest::Terminal(PseudoTerminal { term, size: (columns, rows) }) => {
                put_string(&mut details, term.as_bytes());
                // Pixels are not known.
                for number in [u32::from(*columns), u32::from(*rows), 0, 0] {
                    details.extend_from_slice(&number.to_be_bytes());
                }
                put_string(&mut details, NO_MODES);
            }
            ChannelRequest::Variable(Variable { name, value, .. }) => {
                put_string(&mut details, name.as_bytes());
                put_string(&mut details, value.as_bytes());
            }
        }
        details
    }

    /// Reports that it failed.
    fn fail(&self, why: &str, made: &mut Made, note: &mut Notes<'_>) {
        match self {
            ChannelRequest::Variable(variable) if variable.is_named => made.missing.push(format!("{self}: {why}")),
            ChannelRequest::Agent => {
                made.agent = None;
                note(&|| format!("{self}: {why}"));
            }
            _ => note(&|| format!("{self}: {why}")),
        }
    }
}

impl fmt::Display for ChannelRequest<'_> {
    /// Says what is missing after a refusal. Never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelRequest::Agent => write!(f, "the server does not accept the agent"),
            ChannelRequest::Terminal(_) => write!(f, "the server gives the command no terminal"),
            ChannelRequest::Variable(Variable { name, .. }) => {
                write!(f, "the server does not set {name} (see its AcceptEnv)")
            }
        }
    }
}

/// Sends one request, together with the next data, and waits only for the end of a key exchange.
fn send(
    session: &mut Session,
    channel: &Channel,
    kind: &str,
    wants_reply: bool,
    details: &[u8],
    watch: &Watch<'_>,
) -> Result<(), Stop> {
    if session.link().unsent_bytes() > MOST_GATHERED {
        let mut driver = session.driver();
        let link = driver.link();
        let is_too_much = || link.unsent_bytes() > MOST_GATHERED;
        driver.drive(watch, |_| if is_too_much() { Err(ffi::blocked()) } else { Ok(()) })?;
    }
    match session.link().gathering(|| channel.request(kind, wants_reply, details)) {
        Err(error) if ffi::would_block(&error) => {
            session.driver().in_bits().drive(watch, |_| channel.request(kind, wants_reply, details))
        }
        done => done.map_err(Stop::Ssh),
    }
}

/// Waits for the answers to this many requests, the last of which starts the command, or for a sign that no more will
/// come.
fn hear(session: &mut Session, channel: &Channel, requests: usize, watch: &Watch<'_>) -> Result<Answers, Stop> {
    let mut answers = Answers { given: Vec::new(), has_begun: false };
    let mut heard = Instant::now();
    // One packet at a time: their order counts, and the first output may follow an answer.
    let mut driver = session.driver().in_bits();
    if requests > 1 {
        driver = driver.waking_every(LOOK);
    }
    driver.drive(watch, |_| {
        let received = channel.receive();
        while let Some(answer) = channel.take_answer() {
            answers.given.push(answer);
            heard = Instant::now();
        }
        let is_over = channel.eof();
        answers.has_begun = channel.queued() > 0 || channel.exit() != Exit::Unknown;
        let enough = answers.given.last().map(|is_done| if *is_done { GRACE } else { DOUBT });
        let has_ceased = enough.is_some_and(|enough| heard.elapsed() >= enough);
        if answers.given.len() >= requests || answers.has_begun || is_over || has_ceased {
            return Ok(());
        }
        received.and(Err(ffi::blocked()))
    })?;
    Ok(answers)
}

impl Answers {
    /// Whether the server runs the command, which was requested after this many other requests.
    fn are_consent(&self, others: usize) -> bool {
        match self.given.get(others) {
            Some(answer) => *answer,
            // A channel that is closed without an answer is found out later.
            None => self.has_begun || self.given.last().copied().unwrap_or(true),
        }
    }

    /// Returns the answers to the requests before the exec request, as far as they can be assigned: a server answers
    /// all of a kind or none.
    fn of(&self, asked: &[ChannelRequest<'_>]) -> Vec<Option<bool>> {
        let is_variable = |request: &&ChannelRequest<'_>| matches!(request, ChannelRequest::Variable(_));
        let others = asked.iter().filter(|request| !is_variable(request)).count();
        let told = match self.given.len() {
            heard if heard > asked.len() => asked.len(),
            heard if heard == others + 1 => others,
            _ => 0,
        };
        let told = self.given[..told].iter().copied().map(Some);
        told.chain(std::iter::repeat(None)).take(asked.len()).collect()
    }
}
