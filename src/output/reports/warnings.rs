//! What the user has asked for and some hosts have not got, although their commands ran: told at the end, each once, with its hosts.

use std::collections::BTreeMap;
use std::io::Write;

use crate::events::event::{Event, EventKind, Stream, Tally};
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// Hosts that are named; there may be thousands.
const NAMED: usize = 3;

/// Collects warnings, and prints them on standard error.
#[derive(Default)]
pub struct Warnings {
    hosts: BTreeMap<String, Hosts>,
}

/// To whom a warning applies.
#[derive(Default)]
struct Hosts {
    named: Vec<String>,
    others: usize,
}

impl Report for Warnings {
    fn event(&mut self, job: &Job, event: &Event, _output: &mut Output) {
        let EventKind::Warning(text) = &event.kind else { return };
        let hosts = self.hosts.entry(text.clone()).or_default();
        if hosts.named.len() < NAMED {
            hosts.named.push(job.label.clone());
        } else {
            hosts.others += 1;
        }
    }

    fn finish(&mut self, _tally: &Tally, output: &mut Output) {
        for (text, Hosts { named, others }) in std::mem::take(&mut self.hosts) {
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            let line = format!("{}{more}: {text}", named.join(", "));
            // Writing to memory never fails.
            let name = output.program.name();
            let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {}", sanitize(&line));
        }
    }
}
