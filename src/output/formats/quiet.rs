//! `-q`: prints nothing if all hosts succeed; for cron, which mails all output.

use std::io::Write;

use crate::events::event::{Class, Event, EventKind, Stream};
use crate::events::tally::Tally;
use crate::output::hints::Hints;
use crate::output::multiplexer::Report;
use crate::output::prefix::STDERR_MARK;
use crate::output::reports::summary::is_for_recap;
use crate::output::style::Style;
use crate::output::tail::Tail;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// Last lines to show of a failed host.
pub const SHOWN_LINES: usize = 15;

/// Prints only failures, on standard error, when they happen: the outcome, a hint where there is one, and the last
/// [`SHOWN_LINES`] lines of the host, of both streams, each with its label and sanitized. After a run with failures the
/// tally.
pub struct Quiet {
    tails: Vec<Tail>,
    hints: Hints,
    /// The prefix for lines of standard error.
    stderr_mark: String,
}

impl Quiet {
    /// Creates a report for `jobs` jobs.
    pub fn new(jobs: usize, style: &Style) -> Quiet {
        let face = style.of(Stream::Stderr);
        let stderr_mark = if face.is_terminal { face.paint(false, STDERR_MARK) } else { String::new() };
        Quiet { tails: vec![Tail::default(); jobs], hints: Hints::new(style.program), stderr_mark }
    }
}

impl Report for Quiet {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream, bytes } => self.tails[job.number].add(*stream, bytes, SHOWN_LINES),
            EventKind::Finished { outcome, attempts } => {
                let (lines, dropped) = std::mem::take(&mut self.tails[job.number]).finish(SHOWN_LINES);
                if outcome.class() == Class::Ok || is_for_recap(outcome, self.tails.len()) {
                    return;
                }
                let name = output.program.name();
                let buffer = output.buffer(Stream::Stderr);
                let tried = if *attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
                let told = format!("{}: {outcome}{tried}", job.label);
                let _ = writeln!(buffer, "{name}: {}", sanitize(&told));
                if let Some(hint) = self.hints.due(job, outcome) {
                    let _ = writeln!(buffer, "  hint: {}", sanitize(&hint));
                }
                let label = sanitize(&job.label);
                if dropped > 0 {
                    let _ = writeln!(buffer, "{label}: ... ({dropped} lines before)");
                }
                for (stream, line) in lines {
                    let mark = if stream == Stream::Stderr { &*self.stderr_mark } else { "" };
                    let _ = writeln!(buffer, "{label}: {mark}{}", harmless(&line));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        self.hints.rest(output);
        if tally.total() > 1 && tally.count(Class::Ok) < tally.total() {
            let name = output.program.name();
            let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {tally}");
        }
    }
}

/// Returns a line of a host without control sequences; keeps tabs, and a carriage return at its end.
pub fn harmless(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let cells: Vec<_> = text.split('\t').map(sanitize).collect();
    cells.join("\t")
}
