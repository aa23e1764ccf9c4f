//! The default report: output as it comes, in whole lines that start with their host's label, and a line per outcome.
//!
//! * Remote stdout goes to standard output, remote stderr to standard error, as `LABEL: TEXT`. A last line without newline
//!   is completed. Bytes are passed on as they are, whatever their encoding.
//! * A line that grows beyond [`LONGEST_LINE`] is cut: what follows starts a new prefixed line.
//! * Our own lines go to standard error and start with `pssh: `: one per host with its outcome, then, for a failure, one
//!   `hint: ` line where something would help; at the end, for more than one host, how many ended how.

use std::io::Write;
use std::time::Instant;

use super::mux::Report;
use super::sanitize::sanitize;
use super::writer::Output;
use crate::event::{Event, EventKind, Outcome, Stream, Tally};
use crate::jobs::Job;

/// Bytes of the longest line that is kept whole. Every host may have one of them pending in each stream.
pub const LONGEST_LINE: usize = 512 << 10;
/// Bytes that the pending lines of all hosts may have together before the one that grows is cut early.
const PENDING_BUDGET: usize = 16 << 20;

/// Output as it comes, line by line.
pub struct Lines {
    /// The unfinished lines of each job, by number: stdout, stderr.
    pending: Vec<[Vec<u8>; 2]>,
    pending_bytes: usize,
    verbose: bool,
    start: Instant,
}

impl Lines {
    /// A report for `jobs` jobs; `verbose` shows notes too.
    pub fn new(jobs: usize, verbose: bool) -> Lines {
        let mut pending = Vec::new();
        pending.resize_with(jobs, Default::default);
        Lines { pending, pending_bytes: 0, verbose, start: Instant::now() }
    }

    fn text(&mut self, job: &Job, stream: Stream, bytes: &[u8], output: &mut Output) {
        let pending = &mut self.pending[job.number][stream as usize];
        // Up to the last newline everything goes out, what follows waits.
        let (whole, rest) = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.split_at(end + 1),
            None => (&[][..], bytes),
        };
        if !whole.is_empty() {
            let buffer = output.buffer(stream);
            let mut lines = whole.split_inclusive(|byte| *byte == b'\n');
            if !pending.is_empty() {
                self.pending_bytes -= pending.len();
                prefix(buffer, job);
                buffer.append(pending);
                buffer.extend_from_slice(lines.next().unwrap_or_default());
            }
            for line in lines {
                prefix(buffer, job);
                buffer.extend_from_slice(line);
            }
        }
        // Cut before the line outgrows its limit, or the buffer would double beyond it.
        if pending.len() + rest.len() > LONGEST_LINE || self.pending_bytes + rest.len() > PENDING_BUDGET {
            self.complete(job, stream, output);
        }
        self.pending[job.number][stream as usize].extend_from_slice(rest);
        self.pending_bytes += rest.len();
    }

    /// Writes what is pending of a stream as a line.
    fn complete(&mut self, job: &Job, stream: Stream, output: &mut Output) {
        let pending = &mut self.pending[job.number][stream as usize];
        if pending.is_empty() {
            return;
        }
        self.pending_bytes -= pending.len();
        let buffer = output.buffer(stream);
        prefix(buffer, job);
        buffer.append(pending);
        buffer.push(b'\n');
    }

    fn outcome(&mut self, job: &Job, outcome: &Outcome, attempts: u32, output: &mut Output) {
        self.complete(job, Stream::Stdout, output);
        self.complete(job, Stream::Stderr, output);
        self.pending[job.number] = Default::default();
        let tried = if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
        message(output, &format!("{}: {outcome}{tried}", job.label));
        if let Some(hint) = outcome.hint() {
            let hint = sanitize(&hint).into_owned();
            let _ = writeln!(output.buffer(Stream::Stderr), "  hint: {hint}");
        }
    }
}

impl Report for Lines {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream, bytes } => self.text(job, *stream, bytes, output),
            EventKind::Finished { outcome, attempts } => self.outcome(job, outcome, *attempts, output),
            EventKind::Note(note) if self.verbose => {
                let at = event.at.saturating_duration_since(self.start).as_secs_f64();
                message(output, &format!("{}: [{at:.3}] {note}", job.label));
            }
            EventKind::Started | EventKind::Attempted(_) | EventKind::Connected | EventKind::Note(_) => {}
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        if tally.total() > 1 {
            message(output, &tally.to_string());
        }
    }
}

fn prefix(buffer: &mut Vec<u8>, job: &Job) {
    buffer.extend_from_slice(job.label.as_bytes());
    buffer.extend_from_slice(b": ");
}

fn message(output: &mut Output, text: &str) {
    let text = sanitize(text);
    let _ = writeln!(output.buffer(Stream::Stderr), "pssh: {text}");
}
