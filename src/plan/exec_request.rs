//! The exec request of a command: a line for the login shell and, if that is too long, the rest of it over standard
//! input.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::command::LONGEST;
use crate::command::script::Script;
use crate::command::sudo::{Form, Sudo};
use crate::command::{MAX_COMMAND, guarded};
use crate::hosts::HostSpec;

/// Runs a command from standard input, with the same shell as any other. The command's programs find standard input
/// at its end, as they do without input. The POSIX shells, zsh and fish support it; csh does not.
const FROM_INPUT: &[u8] = br#"eval "$(cat)""#;

/// An exec request. Hosts with the same request share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The line for the login shell.
    pub line: Arc<[u8]>,
    /// Sent over its standard input in place of the user's: the rest of a command that is too long for a line.
    pub input: Option<Arc<[u8]>>,
    /// The script and its arguments, for display.
    pub shown: Option<Arc<[u8]>>,
}

/// Why a command cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It would need standard input, which the user's input occupies.
    #[error(
        "{what} has {length} bytes: what does not fit into {MAX_COMMAND} is sent over standard input, which is in use"
    )]
    InputTaken {
        /// The command or the script.
        what: String,
        /// Its bytes, with its wrappers.
        length: usize,
    },
    /// The script's interpreter reads it from standard input.
    #[error("the interpreter of {0} can only read it from standard input, which is in use")]
    ReadsInput(String),
    /// It is too long for any request.
    #[error("{what} has {length} bytes; at most {most} can be sent (put it into a file on the hosts)")]
    TooLong {
        /// The command, the script or its arguments.
        what: String,
        /// Its bytes.
        length: usize,
        /// How many it may have.
        most: usize,
    },
}

/// Settings that all requests of a run share.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// How commands run as another user.
    pub sudo: Option<&'a Sudo>,
    /// Whether local standard input goes to the commands.
    pub input_taken: bool,
    /// What the user calls the command in messages.
    pub what: &'static str,
}

impl Terms<'_> {
    /// Returns whether `line` can be sent, and its length with all wrappers.
    fn fits(self, line: &[u8], form: Form) -> (bool, usize) {
        let length = match (self.sudo, form) {
            (Some(sudo), _) => sudo.length(line, form),
            (None, Form::Program) => guarded(line.to_vec()).len(),
            (None, Form::Text) => line.len(),
        };
        (length <= MAX_COMMAND, length)
    }

    /// Returns the request for a command that the login shell runs.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn command(self, command: &Arc<[u8]>) -> Result<ExecRequest, RequestError> {
        let what = || self.what.to_owned();
        let (fits, length) = self.fits(command, Form::Text);
        if fits {
            return Ok(ExecRequest { line: Arc::clone(command), ..ExecRequest::default() });
        }
        if self.input_taken {
            return Err(RequestError::InputTaken { what: what(), length });
        }
        if command.len() > LONGEST {
            return Err(RequestError::TooLong { what: what(), length: command.len(), most: LONGEST });
        }
        Ok(ExecRequest { line: FROM_INPUT.into(), input: Some(Arc::clone(command)), shown: None })
    }

    /// Returns the request for a script with its arguments.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn script(self, script: &Script, arguments: &[u8]) -> Result<ExecRequest, RequestError> {
        let shown = Some(script.shown(arguments).into());
        let within = script.within(arguments);
        let (fits, length) = within.as_deref().map_or((false, 0), |line| self.fits(line, Form::Program));
        if let (true, Some(line)) = (fits, within) {
            // With sudo it is part of sudo's line.
            let line = if self.sudo.is_some() { line } else { guarded(line) };
            return Ok(ExecRequest { line: line.into(), input: None, shown });
        }
        match (self.input_taken, length) {
            (true, 0) => return Err(RequestError::ReadsInput(script.to_string())),
            (true, _) => return Err(RequestError::InputTaken { what: script.to_string(), length }),
            (false, _) => {}
        }
        let line = script.over_input(arguments);
        let (fits, length) = self.fits(&line, Form::Program);
        if !fits {
            let what = format!("the command line of {script}, with its arguments,");
            return Err(RequestError::TooLong { what, length, most: MAX_COMMAND });
        }
        let line = if self.sudo.is_some() { line } else { guarded(line) };
        Ok(ExecRequest { line: line.into(), input: Some(script.text()), shown })
    }
}

/// Why the command of a host cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default())]
pub struct CompleteError {
    /// The host, if hosts differ.
    pub host: Option<String>,
    /// Why.
    pub error: RequestError,
}

/// Returns the request of each of `hosts`, from its line in `lines`, which are the arguments of `script` if there is one. Hosts that share a
/// line share the request.
///
/// # Errors
/// A command cannot be sent.
pub fn requests(
    hosts: &[HostSpec],
    lines: &[Arc<[u8]>],
    script: Option<&Script>,
    terms: Terms<'_>,
) -> Result<Vec<ExecRequest>, CompleteError> {
    let mut known: HashMap<*const u8, ExecRequest> = HashMap::new();
    let mut requests = Vec::with_capacity(lines.len());
    for (host, line) in hosts.iter().zip(lines) {
        let is_first = known.is_empty();
        let request = match known.entry(line.as_ptr()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let request = match script {
                    Some(script) => terms.script(script, line),
                    None => terms.command(line),
                };
                let host = || (!is_first).then(|| host.to_string());
                entry.insert(request.map_err(|error| CompleteError { host: host(), error })?)
            }
        };
        requests.push(request.clone());
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terms<'static> = Terms { sudo: None, input_taken: false, what: "the command" };

    fn bytes(length: usize) -> Arc<[u8]> {
        vec![b'x'; length].into()
    }

    #[test]
    fn only_what_is_too_long_goes_over_standard_input() {
        let short = PLAIN.command(&bytes(MAX_COMMAND)).expect("it fits");
        assert_eq!((short.line.len(), short.input), (MAX_COMMAND, None));
        let long = PLAIN.command(&bytes(MAX_COMMAND + 1)).expect("it is sent otherwise");
        assert_eq!((&*long.line, long.input.map(|input| input.len())), (FROM_INPUT, Some(MAX_COMMAND + 1)));
        assert!(PLAIN.command(&bytes(LONGEST)).is_ok());
        assert!(matches!(PLAIN.command(&bytes(LONGEST + 1)), Err(RequestError::TooLong { most: LONGEST, .. })));
        let taken = Terms { input_taken: true, ..PLAIN };
        assert!(taken.command(&bytes(MAX_COMMAND)).is_ok());
        assert!(matches!(taken.command(&bytes(MAX_COMMAND + 1)), Err(RequestError::InputTaken { .. })));
    }

    #[test]
    fn what_surrounds_the_command_counts() {
        let sudo = Sudo { user: None };
        let terms = Terms { sudo: Some(&sudo), ..PLAIN };
        assert!(terms.command(&bytes(MAX_COMMAND)).expect("otherwise").input.is_some());
        assert!(terms.command(&bytes(MAX_COMMAND - 500)).expect("in line").input.is_none());
        // Quoting makes it four times as long.
        let quotes: Arc<[u8]> = vec![b'\''; MAX_COMMAND / 2 + 1].into();
        assert!(terms.command(&quotes).expect("otherwise").input.is_some());
    }
}
