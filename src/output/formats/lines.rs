//! The default, and `-P`: output as it comes, in whole lines that start with their host's label.
//!
//! * Remote stdout goes to standard output, remote stderr to standard error, as `LABEL: TEXT`. A last line without newline
//!   gets one. Bytes are passed on unchanged, whatever their encoding.
//! * A line that grows beyond [`LONGEST_LINE`] is cut: what follows starts a new prefixed line.

use crate::events::event::{Event, EventKind, Stream};
use crate::events::tally::Tally;
use crate::output::control_sequences::{self, LONGEST_LINE};
use crate::output::multiplexer::Report;
use crate::output::prefix::Prefixes;
use crate::output::style::Style;
use crate::output::writer::Output;
use crate::plan::job::Job;

/// Bytes for the pending lines of all hosts; beyond that, a growing line is cut early.
const PENDING_BUDGET: usize = 16 << 20;

/// Output as it comes, line by line.
pub struct Lines {
    /// The unfinished lines of each job, by number: stdout, stderr.
    pending: Vec<[Vec<u8>; 2]>,
    pending_bytes: usize,
    prefixes: Prefixes,
    style: Style,
}

impl Lines {
    /// Creates a report for `jobs` jobs.
    pub fn new(jobs: usize, prefixes: Prefixes, style: Style) -> Lines {
        let mut pending = Vec::new();
        pending.resize_with(jobs, Default::default);
        Lines { pending, pending_bytes: 0, prefixes, style }
    }

    fn text(&mut self, job: &Job, stream: Stream, bytes: &[u8], output: &mut Output) {
        let pending = &mut self.pending[job.number][stream as usize];
        // Up to the last newline everything goes out, what follows waits.
        let (whole, rest) = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.split_at(end + 1),
            None => (&[][..], bytes),
        };
        if !whole.is_empty() {
            let prefix = self.prefixes.of(job, stream);
            let is_guarded = self.style.of(stream).is_guarded;
            let buffer = output.buffer(stream);
            let mut lines = whole.split_inclusive(|byte| *byte == b'\n');
            if !pending.is_empty() {
                self.pending_bytes -= pending.len();
                pending.extend_from_slice(lines.next().unwrap_or_default());
                line(buffer, prefix, pending, is_guarded);
                pending.clear();
            }
            for whole in lines {
                line(buffer, prefix, whole, is_guarded);
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
        line(buffer, self.prefixes.of(job, stream), pending, self.style.of(stream).is_guarded);
        buffer.push(b'\n');
        pending.clear();
    }
}

impl Report for Lines {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream, bytes } => self.text(job, *stream, bytes, output),
            EventKind::Finished { .. } => {
                self.complete(job, Stream::Stdout, output);
                self.complete(job, Stream::Stderr, output);
                self.pending[job.number] = Default::default();
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}
}

fn line(buffer: &mut Vec<u8>, prefix: &[u8], line: &[u8], is_guarded: bool) {
    buffer.extend_from_slice(prefix);
    if is_guarded {
        control_sequences::append(line, buffer);
    } else {
        buffer.extend_from_slice(line);
    }
}
