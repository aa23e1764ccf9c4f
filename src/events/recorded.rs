//! How a host ended in an earlier run, in the words of that run.

use std::fmt;

use super::event::{Class, Phase};
use crate::system::redact;

/// How a host ended in an earlier run, as its journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The class of the outcome.
    pub class: Class,
    /// The outcome in words, starting with the word of its class.
    pub message: String,
    /// The same in words that other hosts may share.
    pub brief: String,
    /// What failed, if anything did.
    pub error: Option<String>,
    /// What would have helped.
    pub hint: Option<String>,
    /// The exit status of the command, if one was received.
    pub exit_status: Option<u32>,
    /// The signal that killed the command.
    pub signal: Option<String>,
    /// The part of the job whose deadline passed.
    pub phase: Option<Phase>,
    /// Whether the host was not reached.
    pub is_unreached: bool,
}

impl Recorded {
    /// Redacts passwords: the file may be older than they are.
    pub(crate) fn redact(&mut self) {
        let Recorded { message, brief, error, hint, .. } = self;
        [message, brief].into_iter().chain(error).chain(hint).for_each(redact::redact_quotations);
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
