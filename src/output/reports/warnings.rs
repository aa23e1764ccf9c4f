//! Warnings although the commands ran: requests that hosts did not fulfil, and new host keys. Printed at the end, each
//! once, with its hosts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use crate::events::event::{Event, EventKind, Notice, Stream};
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// Hosts to name; there may be thousands.
const NAMED: usize = 3;

/// Collects warnings, and prints them on standard error.
#[derive(Default)]
pub struct Warnings {
    missing: BTreeMap<String, Hosts>,
    /// By their file, and whether keys are checked.
    keys: BTreeMap<(PathBuf, bool), Hosts>,
}

/// The hosts of a warning.
#[derive(Default)]
struct Hosts {
    named: Vec<String>,
    others: usize,
}

impl Hosts {
    fn add(&mut self, name: &str) {
        if self.named.len() < NAMED {
            self.named.push(name.to_owned());
        } else {
            self.others += 1;
        }
    }

    fn count(&self) -> usize {
        self.named.len() + self.others
    }
}

impl Report for Warnings {
    fn event(&mut self, job: &Job, event: &Event, _output: &mut Output) {
        match &event.kind {
            EventKind::Warning(Notice::Missing(text)) => {
                self.missing.entry(text.clone()).or_default().add(&job.label);
            }
            EventKind::Warning(Notice::KeyAdded { file, is_checked, jump_host }) => {
                let name = jump_host.as_ref().map_or_else(|| job.label.clone(), |host| format!("jump host {host}"));
                self.keys.entry((file.clone(), *is_checked)).or_default().add(&name);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _tally: &Tally, output: &mut Output) {
        // Writing to memory never fails.
        let name = output.program.name();
        let mut say = |line: &str| {
            let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {}", sanitize(line));
        };
        for (text, Hosts { named, others }) in std::mem::take(&mut self.missing) {
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            say(&format!("{}{more}: {text}", named.join(", ")));
        }
        for ((file, is_checked), hosts) in std::mem::take(&mut self.keys) {
            let unchecked = if is_checked { "" } else { " without a check" };
            let keys = match hosts.count() {
                1 => format!("new host key of {}", hosts.named[0]),
                count => format!("{count} new host keys"),
            };
            say(&format!("{keys} added to {}{unchecked}", file.display()));
        }
    }
}
