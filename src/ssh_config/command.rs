//! KnownHostsCommand of ssh_config(5): a program and its arguments, some tokens of which get their values late.

use super::expand::{Part, Tokens};
use super::line;
use super::values::CommandLine;

/// A command with the tokens expanded that are the same for all uses for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTemplate {
    /// The path of the program. ssh expands nothing in it.
    program: String,
    arguments: Vec<Vec<Part>>,
}

/// The tokens of KnownHostsCommand only: the purpose of a call, and the key.
#[derive(Debug, Clone, Copy)]
pub struct LateTokens<'a> {
    /// `%I`: the purpose of the call.
    pub invocation: &'a str,
    /// `%H`: the name to look up.
    pub name: &'a str,
    /// `%t`: the type of the host's key.
    pub key_type: &'a str,
    /// `%f`: its fingerprint.
    pub fingerprint: &'a str,
    /// `%K`: the key in base64.
    pub key: &'a str,
}

impl<'a> LateTokens<'a> {
    const NAMES: [char; 5] = ['I', 'H', 't', 'f', 'K'];

    fn value(&self, token: char) -> &'a str {
        match token {
            'I' => self.invocation,
            'H' => self.name,
            't' => self.key_type,
            'f' => self.fingerprint,
            _ => self.key,
        }
    }
}

impl CommandTemplate {
    /// Splits a command into words, without a shell, and expands tokens and variables in all but the first.
    pub(super) fn new(command: &CommandLine, tokens: &Tokens<'_>) -> Result<CommandTemplate, String> {
        let wrong = |reason: &str| format!("KnownHostsCommand: {reason}");
        let words = line::split(&command.0, line::Comments::None).ok_or_else(|| wrong("a quote isn't closed"))?;
        let mut words = words.into_iter().map(|(_, word)| word);
        let program = words.next().unwrap_or_default();
        if !program.starts_with('/') {
            return Err(wrong(&format!("{program:?} is not an absolute path")));
        }
        let expand = |word: String| tokens.with_late(&word, &LateTokens::NAMES).map_err(|reason| wrong(&reason));
        Ok(CommandTemplate { program, arguments: words.map(expand).collect::<Result<_, _>>()? })
    }

    /// The path of the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns the arguments of the program.
    pub fn arguments(&self, late: &LateTokens<'_>) -> Vec<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Late(token) => late.value(*token).to_owned(),
        };
        self.arguments.iter().map(|parts| parts.iter().map(text).collect()).collect()
    }
}
