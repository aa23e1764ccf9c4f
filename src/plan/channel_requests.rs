//! Channel requests before a command: agent forwarding, pty, variables; from the environment, the local terminal, and the user's options.

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::termios::tcgetwinsize;

use super::settings::{AgentChoice, NODE_VARIABLES, Settings, WantedVariable};
use crate::hosts::ListPlace;
use crate::ssh::channel::requests::{Forwarding, PseudoTerminal, Requests, Variable};
use crate::ssh_config::{ForwardedAgent as ConfiguredAgent, RequestTty, Resolved};

/// The sources of requests: the environment, the local terminal, and the command line.
pub struct ChannelRequests {
    /// The variables that SendEnv may select. Names that are not text match no pattern.
    environment: Vec<(String, OsString)>,
    /// [`Settings::variables`].
    wanted: Vec<WantedVariable>,
    /// Whether no agent is used.
    no_agent: bool,
    term: OsString,
    size: (u16, u16),
}

impl ChannelRequests {
    /// Reads those of this process.
    pub fn of_process(settings: &Settings) -> ChannelRequests {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        ChannelRequests {
            environment: std::env::vars_os().filter_map(named).collect(),
            wanted: settings.variables.clone(),
            no_agent: settings.agent == AgentChoice::Nobody,
            term: std::env::var_os("TERM").unwrap_or_default(),
            size: window_size(),
        }
    }

    /// Returns the requests for the host that is `node` of the list. `agent` is the one that holds its keys.
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
                notes.push("no pty is requested, because stdin of the command is not a terminal (RequestTTY force requests one)");
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

    /// Returns those that SendEnv selects, then SetEnv, then the command line. The last one of a name wins.
    fn variables(&self, resolved: &Resolved, node: Node<'_>) -> Vec<Variable> {
        let of_node = |name: &str| {
            let place = NODE_VARIABLES.iter().position(|known| *known == name)?;
            let ListPlace { index, count, .. } = node.place;
            Some(OsString::from([index.to_string(), count.to_string(), node.name.to_owned()][place].as_str()))
        };
        let mut variables: Vec<Variable> = Vec::new();
        let mut set = |name: &str, value: OsString, is_named: bool| {
            variables.retain(|other| other.name != name);
            variables.push(Variable { name: name.to_owned(), value, is_named });
        };
        if !resolved.send_env.is_empty() {
            for (name, value) in self.environment.iter().filter(|(name, _)| resolved.sends(name)) {
                set(name, value.clone(), false);
            }
            for name in NODE_VARIABLES.into_iter().filter(|name| resolved.sends(name)) {
                set(name, of_node(name).unwrap_or_default(), false);
            }
        }
        for variable in &resolved.set_env {
            let (name, value) = variable.value.split_once('=').unwrap_or((&variable.value, ""));
            set(name, value.into(), false);
        }
        for WantedVariable { name, value } in &self.wanted {
            set(name, value.clone().or_else(|| of_node(name)).unwrap_or_default(), true);
        }
        variables
    }
}

/// Returns columns and rows of the local terminal, on whichever descriptor.
fn window_size() -> (u16, u16) {
    /// The size without a local terminal.
    const USUAL: (u16, u16) = (80, 24);
    let sizes = [tcgetwinsize(std::io::stdout()), tcgetwinsize(std::io::stderr()), tcgetwinsize(std::io::stdin())];
    let known = sizes.into_iter().flatten().find(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(USUAL, |size| (size.ws_col, size.ws_row))
}

/// The place of a host in the list.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// Its place.
    pub place: ListPlace,
    /// Its name in the list.
    pub name: &'a str,
}
