//! What is asked of the server on a command's channel before the command: our agent, a terminal, variables. A server that
//! refuses any of it runs the command all the same, as with ssh(1); a note says so.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::termios::tcgetwinsize;

use super::agent;
use super::agent_forward::ForwardedAgent;
use super::config::{ForwardedAgent as ConfiguredAgent, RequestTty, Resolved};
use super::ffi::{self, Channel, Link, REQUEST_DENIED};
use super::host::Node;
use super::host_key::Trust;
use super::session::{Session, Stop};
use super::wait::Watch;
use crate::error::reason;
use crate::settings::{AgentChoice, NODE_VARIABLES, Settings, WantedVariable};

/// The encoded terminal modes of a terminal that is like nobody's in particular: TTY_OP_END (RFC 4254 section 8).
pub const NO_MODES: &[u8] = &[0];

/// What is asked for on one host, before its command.
#[derive(Default)]
pub struct Requests {
    /// Whose agent the host may ask.
    pub agent: Forwarding,
    /// The terminal that the command gets.
    pub terminal: Option<PseudoTerminal>,
    /// The variables that the command gets.
    pub variables: Vec<Variable>,
    /// What of the configuration cannot be done here, for `-v`.
    pub notes: Vec<&'static str>,
}

/// Whether the host may ask an agent of ours (ForwardAgent).
#[derive(Default)]
pub enum Forwarding {
    /// It may not.
    #[default]
    Off,
    /// It might, but there is none.
    NoAgent,
    /// The one at this socket.
    Agent(PathBuf),
}

/// A terminal for the command (RequestTTY). What the command writes to its stderr comes with its stdout then.
#[derive(Clone)]
pub struct PseudoTerminal {
    /// Its type, for `TERM`; empty if nobody says which, as with ssh(1).
    pub term: OsString,
    /// Columns and rows.
    pub size: (u16, u16),
}

/// A variable for the command.
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: OsString,
}

/// What this process has to ask with: our environment, our terminal, and what the command line says.
pub struct Wishes {
    /// The variables that a SendEnv may pick. Names that are not text match no pattern.
    environment: Vec<(String, OsString)>,
    /// `--env`.
    wanted: Vec<WantedVariable>,
    /// Whether no agent is to be asked for anything (`--no-agent`).
    no_agent: bool,
    term: OsString,
    size: (u16, u16),
}

impl Wishes {
    /// Those of this process.
    pub fn of_process(settings: &Settings) -> Wishes {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Wishes {
            environment: std::env::vars_os().filter_map(named).collect(),
            wanted: settings.variables.clone(),
            no_agent: settings.agent == AgentChoice::Nobody,
            term: std::env::var_os("TERM").unwrap_or_default(),
            size: window_size(),
        }
    }

    /// What is asked of the host that is `node` of the list. `agent` is the one that is asked for keys.
    pub fn requests(&self, resolved: &Resolved, agent: Option<PathBuf>, node: Node<'_>) -> Requests {
        let mut notes = Vec::new();
        let variables = self.variables(resolved, node);
        let terminal = match resolved.settings.request_tty.value {
            RequestTty::Force => {
                let term = variables.iter().find(|variable| variable.name == "TERM" && !variable.value.is_empty());
                let term = term.map_or(&self.term, |variable| &variable.value).clone();
                Some(PseudoTerminal { term, size: self.size })
            }
            RequestTty::Yes => {
                notes.push("no terminal is asked for, since the command's input is none (RequestTTY force does)");
                None
            }
            RequestTty::Auto | RequestTty::No => None,
        };
        let agent = match (&resolved.forwarded_agent, agent) {
            (ConfiguredAgent::None, _) if !resolved.settings.forward_agent.value => Forwarding::Off,
            _ if self.no_agent => Forwarding::NoAgent,
            (ConfiguredAgent::Socket(socket), _) => Forwarding::Agent(socket.clone()),
            (ConfiguredAgent::Own, Some(socket)) => Forwarding::Agent(socket),
            (ConfiguredAgent::None, _) | (ConfiguredAgent::Own, None) => Forwarding::NoAgent,
        };
        Requests { agent, terminal, variables, notes }
    }

    /// Those that SendEnv picks, then those of SetEnv, then those of the command line. Of two with one name the last counts.
    fn variables(&self, resolved: &Resolved, node: Node<'_>) -> Vec<Variable> {
        let of_node = |name: &str| {
            let place = NODE_VARIABLES.iter().position(|known| *known == name)?;
            Some(OsString::from(
                [node.number.to_string(), node.count.to_string(), node.name.to_owned()][place].as_str(),
            ))
        };
        let mut variables: Vec<Variable> = Vec::new();
        let mut set = |name: &str, value: OsString| {
            variables.retain(|other| other.name != name);
            variables.push(Variable { name: name.to_owned(), value });
        };
        if !resolved.send_env.is_empty() {
            for (name, value) in self.environment.iter().filter(|(name, _)| resolved.sends(name)) {
                set(name, value.clone());
            }
            for name in NODE_VARIABLES.into_iter().filter(|name| resolved.sends(name)) {
                set(name, of_node(name).unwrap_or_default());
            }
        }
        for variable in &resolved.set_env {
            let (name, value) = variable.value.split_once('=').unwrap_or((&variable.value, ""));
            set(name, value.into());
        }
        for WantedVariable { name, value } in &self.wanted {
            set(name, value.clone().or_else(|| of_node(name)).unwrap_or_default());
        }
        variables
    }
}

/// Columns and rows of our terminal, wherever we have one.
fn window_size() -> (u16, u16) {
    /// What a terminal has whose size nobody knows.
    const USUAL: (u16, u16) = (80, 24);
    let sizes = [tcgetwinsize(std::io::stdout()), tcgetwinsize(std::io::stderr()), tcgetwinsize(std::io::stdin())];
    let known = sizes.into_iter().flatten().find(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(USUAL, |size| (size.ws_col, size.ws_row))
}

impl Requests {
    /// Makes the requests on `channel`, and then has the server start `program`; gives the agent that the server may now ask.
    ///
    /// The agent costs a round trip, and so does each variable but the last. The last one and the terminal go along with the
    /// command: libssh2 knows no more than one request of a kind on its way.
    ///
    /// # Errors
    /// The server does not run the command, the connection has ended, or the job is over.
    pub fn make(
        &self,
        session: &mut Session,
        channel: &Channel,
        program: Start<'_>,
        watch: &Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Option<ForwardedAgent>, Stop> {
        self.notes.iter().for_each(|text| note(&|| (*text).to_owned()));
        let agent = self.offer_agent(session, channel, watch, note)?;
        let mut asked: Vec<Request<'_>> = self.variables.iter().map(Request::Variable).collect();
        let last = asked.pop();
        for request in asked {
            let answer = session.driver().drive(watch, |_| request.make(channel));
            if let Some(why) = refused(answer, session.is_dead())? {
                note(&|| format!("{request}: {why}"));
            }
        }
        let together: Vec<Request<'_>> = self.terminal.iter().map(Request::Terminal).chain(last).collect();
        for text in start(session, channel, &together, program, watch)? {
            note(&|| text.clone());
        }
        Ok(agent)
    }

    fn offer_agent(
        &self,
        session: &mut Session,
        channel: &Channel,
        watch: &Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Option<ForwardedAgent>, Stop> {
        let socket = match &self.agent {
            Forwarding::Off => return Ok(None),
            Forwarding::NoAgent => {
                note(&|| "the agent is not forwarded: there is none".to_owned());
                return Ok(None);
            }
            Forwarding::Agent(socket) => socket,
        };
        if session.trust() == Trust::NoSecrets {
            note(&|| "the agent is NOT forwarded, since the host key has changed".to_owned());
            return Ok(None);
        }
        // As ssh: an agent that nobody could reach is not offered.
        if let Err(error) = agent::knock(socket) {
            note(&|| format!("the agent is not forwarded: {}: {}", socket.display(), reason(&error)));
            return Ok(None);
        }
        let asked = session.driver().drive(watch, |_| channel.request_agent());
        if let Some(why) = refused(asked, session.is_dead())? {
            note(&|| format!("the server does not take the agent: {why}"));
            return Ok(None);
        }
        note(&|| format!("the agent {} is forwarded", socket.display()));
        let admit = |link: &Link| ForwardedAgent::admit(socket.clone(), link);
        Ok(Some(admit(session.link())))
    }
}

/// What a channel is for.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// A command, as the remote shell gets it.
    Command(&'a [u8]),
    /// A subsystem, by its name.
    Subsystem(&'static str),
}

impl Start<'_> {
    /// To be repeated while it would block.
    fn make(self, channel: &Channel) -> Result<(), ssh2::Error> {
        match self {
            Start::Command(command) => channel.exec(command),
            Start::Subsystem(name) => channel.subsystem(name),
        }
    }
}

/// A request that the server may refuse.
enum Request<'a> {
    Terminal(&'a PseudoTerminal),
    Variable(&'a Variable),
}

impl Request<'_> {
    /// To be repeated while it would block.
    fn make(&self, channel: &Channel) -> Result<(), ssh2::Error> {
        match self {
            Request::Terminal(PseudoTerminal { term, size }) => channel.request_pty(term.as_bytes(), NO_MODES, *size),
            Request::Variable(Variable { name, value }) => channel.set_variable(name.as_bytes(), value.as_bytes()),
        }
    }
}

impl fmt::Display for Request<'_> {
    /// What is missing if it is refused. Never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Terminal(_) => write!(f, "the server gives the command no terminal"),
            Request::Variable(Variable { name, .. }) => write!(f, "the server does not set {name} (see its AcceptEnv)"),
        }
    }
}

/// Makes `requests`, no two of one kind, and has the server start `program`, all in one round trip; gives what is to be noted.
fn start(
    session: &mut Session,
    channel: &Channel,
    requests: &[Request<'_>],
    program: Start<'_>,
    watch: &Watch<'_>,
) -> Result<Vec<String>, Stop> {
    let mut notes = Vec::new();
    let mut unanswered: Vec<&Request<'_>> = requests.iter().collect();
    if !requests.is_empty() {
        // Each takes the first answer that it finds for its own: none must look before all are sent.
        let sent = session.link().without_reading(|| {
            unanswered.retain(|request| match request.make(channel) {
                Err(error) if !ffi::would_block(&error) => {
                    notes.push(format!("{request}: {}", error.message()));
                    false
                }
                _ => true,
            });
            program.make(channel)
        });
        if let Err(error) = sent
            && !ffi::would_block(&error)
        {
            return Err(Stop::Ssh(error));
        }
    }
    for request in unanswered {
        let answer = session.driver().in_bits().drive(watch, |_| request.make(channel));
        if let Some(why) = refused(answer, session.is_dead())? {
            notes.push(format!("{request}: {why}"));
        }
    }
    // Its first output may come along with the answer.
    session.driver().in_bits().drive(watch, |_| program.make(channel))?;
    Ok(notes)
}

/// Why the server did not do what it was asked for, if it did not.
fn refused(answer: Result<(), Stop>, is_dead: bool) -> Result<Option<String>, Stop> {
    match answer {
        Ok(()) => Ok(None),
        Err(Stop::Ssh(error)) if error.code() == REQUEST_DENIED => Ok(Some("it refuses".to_owned())),
        // Such as a value that is longer than a packet.
        Err(Stop::Ssh(error)) if !is_dead => Ok(Some(error.message().to_owned())),
        Err(stop) => Err(stop),
    }
}
