//! The problem of an entry, and advice as data: the code that shows it writes the sentence, in the words of the program that
//! runs.

use std::fmt;
use std::ops::Deref;

use super::other_formats::OtherFormat;

/// The problem of an entry, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    text: String,
    /// Advice, if known. Boxed, since most bad entries have none.
    pub advice: Option<Box<Advice>>,
}

/// Advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The entry is a list with commas, which another option takes.
    ListWithCommas,
    /// The entry has wildcards, which choose among hosts but do not name any.
    ChooseByPattern,
    /// The item is a pattern where host names are required.
    PatternChooses,
    /// The list begins by excluding hosts, as if from the whole run.
    LeaveOutOfRun,
    /// The item means standard input elsewhere.
    StandardInput,
    /// The item names this file in other programs.
    NameFile(String),
    /// The file is a list of another program, which this command converts to a hosts file.
    Convert {
        /// Its format.
        format: OtherFormat,
        /// The shell command that prints the hosts.
        recipe: String,
    },
}

impl Problem {
    /// Creates a problem with advice.
    pub fn with(text: impl Into<String>, advice: Advice) -> Problem {
        Problem { text: text.into(), advice: Some(Box::new(advice)) }
    }

    /// Prefixes the problem.
    #[must_use]
    pub fn of(self, prefix: &str) -> Problem {
        Problem { text: format!("{prefix}: {}", self.text), ..self }
    }

    /// Appends to the problem.
    #[must_use]
    pub fn and(self, end: &str) -> Problem {
        Problem { text: self.text + end, ..self }
    }
}

impl Deref for Problem {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { text, advice: None }
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Problem {
        text.to_owned().into()
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> String {
        problem.text
    }
}
