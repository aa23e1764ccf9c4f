//! The outcome of each host, on standard error, for every output format.
//!
//! pssh's own lines start with `pssh: `: one per host with its outcome, then, for a failure, one `hint: ` line if one is
//! known (with the first few hosts that it applies to); at the end, for more than one host, the tally. With `-v`
//! also the notes of each host.

use std::io::Write;
use std::time::Instant;

use crate::events::event::{Class, Event, EventKind, Outcome, Stream};
use crate::events::tally::Tally;
use crate::output::hints::Hints;
use crate::output::multiplexer::Report;
use crate::output::reports::summary::is_for_recap;
use crate::output::style::{Face, Style};
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// The outcome of every host as soon as it ends, and the tally.
pub struct Outcomes {
    /// Whether each host has a line here; otherwise another report shows them.
    has_lines: bool,
    start: Instant,
    /// How many hosts the run has.
    hosts: usize,
    face: Face,
    hints: Hints,
}

impl Outcomes {
    /// Shows lines, the notes of verbose jobs, and the tally.
    pub fn new(hosts: usize, style: &Style) -> Outcomes {
        let hints = Hints::new(style.program);
        Outcomes { has_lines: true, start: Instant::now(), hosts, face: style.of(Stream::Stderr), hints }
    }

    /// Shows notes and tally only, for use with a report that shows the outcomes itself.
    pub fn without_lines(hosts: usize, style: &Style) -> Outcomes {
        Outcomes { has_lines: false, ..Outcomes::new(hosts, style) }
    }
}

impl Report for Outcomes {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Finished { outcome, attempts } if self.has_lines && !is_for_recap(outcome, self.hosts) => {
                write_outcome(job, outcome, *attempts, self.face, &mut self.hints, output.buffer(Stream::Stderr));
            }
            EventKind::Note(note) if job.is_verbose => {
                let at = event.at.saturating_duration_since(self.start).as_secs_f64();
                message(output, &format!("{}: [{at:.3}] {note}", job.label));
            }
            _ => {}
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        self.hints.rest(output);
        if tally.total() > 1 {
            message(output, &tally.to_string());
        }
    }
}

/// Appends the line of a host that ended, and its hint if one is due.
pub fn write_outcome(job: &Job, outcome: &Outcome, attempts: u32, face: Face, hints: &mut Hints, buffer: &mut Vec<u8>) {
    let tried = if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
    let text = format!("{outcome}{tried}");
    let line = format!("{}: {}: {}", hints.program.name(), sanitize(&job.label), sanitize(&text));
    // Writing to memory never fails.
    let _ = writeln!(buffer, "{}", face.outcome(outcome.class() == Class::Ok, &line));
    if let Some(hint) = hints.due(job, outcome) {
        let _ = writeln!(buffer, "  hint: {}", sanitize(&hint));
    }
}

fn message(output: &mut Output, text: &str) {
    let text = sanitize(text);
    let name = output.program.name();
    let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {text}");
}
