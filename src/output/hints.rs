//! Hints: each is printed with the first few hosts that it applies to, and once at the end for all others. A thousand hosts that
//! fail in the same way would otherwise hide the rest.

use std::io::Write;

use super::writer::Output;
use crate::events::event::{Outcome, Stream};
use crate::hosts::nodeset::fold;
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::text::sanitize::sanitize;

/// Hosts that the same hint is printed with.
const SHOWN: usize = 3;

/// The hints of a run.
#[derive(Debug)]
pub struct Hints {
    /// The program that runs.
    pub(super) program: Program,
    known: Vec<Hint>,
}

#[derive(Debug)]
struct Hint {
    kind: String,
    /// The text for several hosts.
    shared: String,
    shown: usize,
    /// The labels of the others.
    more: Vec<String>,
}

impl Hints {
    /// Creates an empty list for a run of `program`.
    pub fn new(program: Program) -> Hints {
        Hints { program, known: Vec::new() }
    }

    /// Returns the hint to print with a host that ended with `outcome`, if any.
    pub fn due(&mut self, job: &Job, outcome: &Outcome) -> Option<String> {
        let (text, kind) = (outcome.hint(self.program)?, outcome.hint_kind(self.program)?);
        let Some(hint) = self.known.iter_mut().find(|hint| hint.kind == kind) else {
            let shared = outcome.shared_hint(self.program).unwrap_or_else(|| text.clone());
            self.known.push(Hint { kind, shared, shown: 1, more: Vec::new() });
            return Some(text);
        };
        if hint.shown < SHOWN {
            hint.shown += 1;
            return Some(text);
        }
        hint.more.push(job.label.clone());
        None
    }

    /// Prints, at the end of the run, the hints with the hosts that they also apply to.
    pub fn rest(&mut self, output: &mut Output) {
        for Hint { shared, more, .. } in self.known.drain(..).filter(|hint| !hint.more.is_empty()) {
            let names = fold(more.iter().map(String::as_str));
            let hosts = if more.len() == 1 { "1 more host".to_owned() } else { format!("{} more hosts", more.len()) };
            let buffer = output.buffer(Stream::Stderr);
            // Writing to memory never fails.
            let _ = writeln!(
                buffer,
                "{}: hint for {hosts}: {}: {}",
                self.program.name(),
                sanitize(&shared),
                sanitize(&names)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::events::host_error::{HostError, HostKeyError};

    #[test]
    fn a_hint_is_said_with_a_few_hosts_and_kinds_are_told_apart() {
        let jobs = crate::plan::job::of_list("a b c d e f");
        let unknown = |name: &str| -> Outcome {
            let (scan, file) = (Some((name.to_owned(), 22)), Some(PathBuf::from("known_hosts")));
            HostKeyError::Unknown { name: name.to_owned(), scan, file, offered: "x".to_owned() }.into_outcome()
        };
        let lost = || -> Outcome { HostError::Lost { detail: "gone".to_owned(), hint: None }.into() };
        let mut hints = Hints::new(Program::Pssh);
        let said: Vec<bool> = jobs[..5].iter().map(|job| hints.due(job, &unknown(&job.label)).is_some()).collect();
        assert_eq!(said, [true, true, true, false, false], "the names in them do not matter");
        assert!(hints.due(&jobs[5], &lost()).is_some(), "another one");
        assert_eq!(hints.due(&jobs[5], &Outcome::Exited(1)), None);
        assert_eq!(hints.known.iter().map(|hint| hint.more.clone()).collect::<Vec<_>>(), [vec!["d", "e"], vec![]]);
    }

    impl HostKeyError {
        fn into_outcome(self) -> Outcome {
            HostError::from(self).into()
        }
    }
}
