//! What is wrong with an entry, and what would help as data: whoever shows it makes the sentence, in the words of the program that
//! the user has called.

use std::fmt;
use std::ops::Deref;

use super::other_formats::OtherFormat;

/// What is wrong with an entry, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    text: String,
    /// What would help, where that is known. Boxed, as most entries that are bad have none.
    pub advice: Option<Box<Advice>>,
}

/// What would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The entry is a list with commas, which has a place of its own.
    ListWithCommas,
    /// The entry has wildcards, which choose among hosts and name none.
    ChooseByPattern,
    /// The item is a pattern where hosts have to be named.
    PatternChooses,
    /// The list begins by leaving hosts out, as if of the whole run.
    LeaveOutOfRun,
    /// The item stands for standard input elsewhere.
    StandardInput,
    /// The list has what names this file for other programs.
    NameFile(String),
    /// The file is a list of another program, of which this makes a hosts file.
    Convert {
        /// What it looks like.
        format: OtherFormat,
        /// The line for a shell that prints the hosts.
        recipe: String,
    },
}

impl Problem {
    /// One against which something helps.
    pub fn with(text: impl Into<String>, advice: Advice) -> Problem {
        Problem { text: text.into(), advice: Some(Box::new(advice)) }
    }

    /// The same about what `prefix` names.
    #[must_use]
    pub fn of(self, prefix: &str) -> Problem {
        Problem { text: format!("{prefix}: {}", self.text), ..self }
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
