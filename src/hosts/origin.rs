//! Places of entries, and invalid entries.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::problem::Problem;
use crate::text::message::excerpt;

/// The place of a host entry, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a string, as messages call it.
    Text(&'static str),
    /// In a list.
    List {
        /// As messages call the list.
        name: &'static str,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a hosts file.
    File {
        /// The file, `-` for standard input.
        file: Arc<Path>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In the output of a command.
    Output {
        /// As messages call the output.
        of: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
}

impl Origin {
    /// Returns line and column, to sort places of one file.
    pub(super) fn place(&self) -> (usize, usize) {
        match self {
            Origin::Text(_) => (0, 0),
            Origin::List { column, .. } => (0, *column),
            Origin::File { line, column, .. } | Origin::Output { line, column, .. } => (*line, *column),
        }
    }

    /// Returns the place some characters further in the same line. Places in strings have no column.
    pub(super) fn after(&self, characters: usize) -> Origin {
        let mut place = self.clone();
        match &mut place {
            Origin::Text(_) => {}
            Origin::List { column, .. } | Origin::File { column, .. } | Origin::Output { column, .. } => {
                *column += characters;
            }
        }
        place
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Text(name) => f.write_str(name),
            Origin::List { name, column } => write!(f, "{name}:{column}"),
            Origin::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Origin::Output { of, line, column } => write!(f, "{of}, line {line}, column {column}"),
        }
    }
}

/// An entry that is not a host.
#[derive(Debug)]
pub struct BadEntry {
    /// Its place.
    pub origin: Origin,
    /// The entry.
    pub text: String,
    /// What is wrong with it, and what was expected.
    pub problem: Problem,
}

/// The most bad entries to list: the first ones show what kind of file it is.
const BAD_ENTRIES_SHOWN: usize = 10;

/// Stops after this many bad entries: it is another kind of file, and each costs memory.
pub(super) const MOST_BAD_ENTRIES: usize = 1000;

/// Bad entries in a message.
pub struct Bad<'a>(pub &'a [BadEntry]);

impl fmt::Display for Bad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, bad) in self.0.iter().take(BAD_ENTRIES_SHOWN).enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {:?}: {}", bad.origin, excerpt(&bad.text), bad.problem)?;
        }
        match self.0.len().saturating_sub(BAD_ENTRIES_SHOWN) {
            0 => Ok(()),
            _ if self.0.len() >= MOST_BAD_ENTRIES => f.write_str("\n... and many more: this is not a hosts file"),
            more => write!(f, "\n... and {more} more bad entries"),
        }
    }
}
