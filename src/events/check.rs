//! The check after a command: how it went, and how it failed.

use std::fmt;
use std::time::Duration;

use super::event::Outcome;
use crate::system::quotation::said;
use crate::system::redact;

/// What is known of a check at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How often it was tried.
    pub tries: u32,
    /// Whether it passed.
    pub is_passed: bool,
    /// The exit status of the last try, if one was received.
    pub exit_status: Option<u32>,
    /// The signal that killed the last try, without `SIG`.
    pub signal: Option<String>,
    /// How the last try ended.
    pub message: String,
    /// The same in words that are the same, where possible, for all hosts.
    pub brief: String,
    /// The last lines that the last try printed.
    pub output: String,
}

impl CheckReport {
    /// Redacts passwords in text from others.
    pub(crate) fn redact(&mut self) {
        [&mut self.message, &mut self.brief].into_iter().for_each(redact::redact_quotations);
        self.signal.iter_mut().chain([&mut self.output]).for_each(redact::redact);
    }

    /// Returns how the last try ended and the last line that it printed, in one line.
    pub fn last(&self) -> String {
        let line = self.output.lines().rfind(|line| !line.trim().is_empty());
        let line = line.map(|line| format!(": {}", said(line))).unwrap_or_default();
        format!("{}{line}", self.message)
    }
}

/// Why a check is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// A password may have been refused.
    Secret,
    /// The host has another key.
    HostKey,
}

/// A check that did not pass after a command that succeeded.
#[derive(Debug)]
pub struct CheckFailure {
    /// How it went.
    pub report: CheckReport,
    /// Its time limit.
    pub limit: Duration,
    /// Why it was given up before, if it was.
    pub given_up: Option<GivenUp>,
    /// How the command ended.
    pub command: Outcome,
}

impl CheckFailure {
    /// Returns it in words that are the same, where possible, for all hosts.
    pub fn brief(&self) -> String {
        self.report.brief.clone()
    }
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { tries, .. } = self.report;
        let (word, last) = (if tries == 1 { "try" } else { "tries" }, self.report.last());
        if self.given_up.is_some() {
            return write!(f, "not repeated after {tries} {word}: {last}");
        }
        write!(f, "not passed within {} s, {tries} {word}: {last}", self.limit.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(tries: u32, message: &str, output: &str) -> CheckFailure {
        let (message, output) = (message.to_owned(), output.to_owned());
        let report = CheckReport { tries, brief: message.clone(), message, output, ..CheckReport::default() };
        CheckFailure { report, limit: Duration::from_secs(60), given_up: None, command: Outcome::Exited(0) }
    }

    #[test]
    fn a_failure_has_the_last_line_of_the_last_try() {
        let told = |failure: CheckFailure| Outcome::CheckFailed(Box::new(failure)).to_string();
        assert_eq!(
            told(failure(30, "exit 1", "one\nnot yet\n\n")),
            "check: not passed within 60 s, 30 tries: exit 1: \"not yet\""
        );
        assert_eq!(told(failure(1, "exit 3", " \n")), "check: not passed within 60 s, 1 try: exit 3");
        let refused = CheckFailure { given_up: Some(GivenUp::Secret), ..failure(2, "auth: me: refused", "") };
        assert_eq!(told(refused), "check: not repeated after 2 tries: auth: me: refused");
        let hostile = told(failure(2, "exit 1", "\u{1b}[2J\"; ok"));
        assert_eq!(hostile, "check: not passed within 60 s, 2 tries: exit 1: \"\\u{1b}[2J\\\"; ok\"");
        let outcome = Outcome::CheckFailed(Box::new(failure(2, "exit 1", "x")));
        assert_eq!((outcome.brief().as_str(), outcome.exit_status()), ("check: exit 1", Some(0)));
    }
}
