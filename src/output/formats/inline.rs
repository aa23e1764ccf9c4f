//! `-i`: the output of each host in one piece when it ends, as pssh has it: its line with its outcome, all of its standard output
//! byte for byte, then `Stderr: ` and all of its standard error. All of it goes to standard output; a hint follows on standard
//! error.
//!
//! Unlike pssh, what ends without a newline gets one, so that `Stderr: ` and the next host start a line. Not with `--no-headers`,
//! where a pipe or file has nothing of ours, not a byte.

use std::collections::BTreeMap;
use std::io;

use super::ci_groups::Groups;
use super::pssh_status::StatusLines;
use crate::events::event::{Class, Event, EventKind, Outcome, Stream, Tally};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::output::control_sequences::Guard;
use crate::output::multiplexer::Report;
use crate::output::style::{Face, Style};
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::files::spill::{self, Spill};
use crate::system::open_files::Held;
use crate::text::message::reason;

/// Bytes that are read back at once.
const PIECE: usize = 64 << 10;

/// Bytes that the output of all hosts may take in memory together. Beyond that, also what is less than [`spill::MEMORY`] goes to a file.
const BUDGET: usize = 64 << 20;

/// What is kept of a host until it is shown.
#[derive(Default)]
struct Kept {
    streams: [Spill; 2],
    /// Why not all of its output could be kept.
    error: Option<io::Error>,
}

/// Each host's output when it ends.
pub struct Inline {
    /// By number, for hosts that have printed something and not been shown.
    kept: BTreeMap<usize, Kept>,
    in_memory: usize,
    has_stderr: bool,
    face: Face,
    lines: StatusLines,
    /// What each host has printed is a group in the log of a CI system.
    ci: Option<Groups>,
    /// In the order of the list: the first host that was not shown, and the heads of those that have ended after it.
    waiting: Option<(usize, BTreeMap<usize, Head>)>,
}

/// What stands before and after a host's output.
struct Head {
    /// Its line, on standard output.
    line: String,
    /// What else is said of it, on standard error.
    tail: Vec<u8>,
    /// What it is called.
    label: String,
    /// Its outcome, if it failed.
    failure: Option<String>,
}

impl Inline {
    /// Each host below its line of `lines`; with standard error if it `has_stderr`; in the order of the list if it `is_sorted`.
    pub fn new(has_stderr: bool, is_sorted: bool, lines: StatusLines, style: &Style) -> Inline {
        Inline {
            kept: BTreeMap::new(),
            in_memory: 0,
            has_stderr,
            face: style.of(Stream::Stdout),
            lines,
            ci: None,
            waiting: is_sorted.then(Default::default),
        }
    }

    /// With each host's output as a group of `ci`, if there is one. The line with its outcome stays outside.
    pub fn in_groups(self, ci: Option<Groups>) -> Inline {
        Inline { ci, ..self }
    }

    /// The descriptors that it takes: a temporary file for each stream, of hosts that run, and of all that wait for others.
    pub fn held(is_sorted: bool, jobs: usize) -> Held {
        Held { per_host: 2, besides: if is_sorted { 2 * jobs as u64 } else { 0 } }
    }

    fn keep(&mut self, job: usize, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr && !self.has_stderr {
            return;
        }
        let kept = self.kept.entry(job).or_default();
        // What comes after a gap would look as if it followed on what is before it.
        if kept.error.is_none() {
            let spill = &mut kept.streams[stream as usize];
            let limit = if self.in_memory + bytes.len() <= BUDGET { spill::MEMORY } else { 0 };
            let before = spill.in_memory();
            kept.error = spill.push_within(limit, bytes).err();
            self.in_memory += spill.in_memory() - before;
        }
    }

    /// Shows a host: its line, its output, and what else is said of it.
    fn show(&mut self, job: usize, head: &Head, output: &mut Output) {
        output.buffer(Stream::Stdout).extend_from_slice(head.line.as_bytes());
        let mut kept = self.kept.remove(&job).unwrap_or_default();
        let has_printed = kept.streams.iter().any(|spill| !spill.is_empty());
        let mut group = match &mut self.ci {
            Some(ci) if has_printed => Some(ci.begin(&head.label, head.failure.is_none(), output)),
            _ => None,
        };
        let is_exact = !self.lines.has_lines() && group.is_none() && !self.face.is_terminal;
        self.in_memory -= kept.streams.iter().map(Spill::in_memory).sum::<usize>();
        for (place, spill) in kept.streams.iter_mut().enumerate().filter(|(_, spill)| !spill.is_empty()) {
            if place == Stream::Stderr as usize {
                output.buffer(Stream::Stdout).extend_from_slice(self.lines.stderr_label().as_bytes());
            }
            let mut put = |bytes: &[u8]| match (&self.ci, &mut group) {
                (Some(ci), Some(group)) => ci.show(group, bytes, output.buffer(Stream::Stdout)),
                _ => output.buffer(Stream::Stdout).extend_from_slice(bytes),
            };
            if let Err(error) = copy(spill, self.face.is_guarded, is_exact, &mut put) {
                output.fail(error);
            }
        }
        if let (Some(ci), Some(group)) = (&self.ci, &group) {
            ci.end(group, output);
        }
        if let (Some(ci), Some(failure)) = (&self.ci, &head.failure) {
            ci.failed(&head.label, failure, output);
        }
        if !head.tail.is_empty() {
            output.buffer(Stream::Stderr).extend_from_slice(&head.tail);
        }
    }
}

/// Puts all of `spill`, made harmless if it `is_guarded`; and a newline if it ends without, unless it `is_exact`.
fn copy(spill: &mut Spill, is_guarded: bool, is_exact: bool, put: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut guard = Guard::new(is_guarded);
    let mut last = None;
    loop {
        let count = spill.pop(&mut piece)?;
        if count == 0 {
            break;
        }
        last = piece[..count].last().copied();
        guard.pass(&piece[..count], put);
    }
    guard.finish(put);
    if last.is_some_and(|byte| byte != b'\n') && !is_exact {
        put(b"\n");
    }
    Ok(())
}

impl Report for Inline {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream, bytes } => self.keep(job.number, *stream, bytes),
            EventKind::Finished { outcome, attempts } => {
                let line = self.lines.head(job, outcome, *attempts);
                let tail = self.lines.tail(job, outcome, *attempts);
                let failure = (outcome.class() != Class::Ok).then(|| outcome.to_string());
                let head = Head { line, tail, label: job.label.clone(), failure };
                let Some((_, lines)) = &mut self.waiting else {
                    return self.show(job.number, &head, output);
                };
                lines.insert(job.number, head);
                while let Some((next, lines)) = &mut self.waiting
                    && let Some(head) = lines.remove(next)
                {
                    let job = *next;
                    *next += 1;
                    self.show(job, &head, output);
                }
            }
            _ => {}
        }
    }

    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        let error = self.kept.get_mut(&job.number)?.error.take()?;
        Some(HostError::Local {
            doing: "keeping its output in a temporary file",
            detail: reason(&error),
            hint: Some(Remedy::MakeRoom { directory: std::env::temp_dir(), command: outcome.to_string() }),
        })
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        self.lines.rest(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_an_end_and_the_order_none() {
        let jobs = crate::plan::job::of_list("a b c d");
        let mut inline = Inline::new(true, true, StatusLines::new(None, &Style::default()), &Style::default());
        let mut output = Output::over(None, None, &Style::default());
        let piece = vec![b'x'; 512 << 10];
        let mut tell = |inline: &mut Inline, job: usize, kind| {
            let job = &jobs[job];
            inline.event(job, &Event::now(job.number, kind), &mut output);
        };
        inline.in_memory = BUDGET - piece.len();
        for job in 0..4 {
            tell(&mut inline, job, EventKind::Output { stream: Stream::Stdout, bytes: piece.clone() });
        }
        assert_eq!(inline.in_memory, BUDGET, "the others are in files");
        for job in [3, 1, 2, 0] {
            assert_eq!(inline.kept.len(), 4, "nobody overtakes the first");
            tell(&mut inline, job, EventKind::Finished { outcome: Outcome::Exited(0), attempts: 1 });
        }
        assert_eq!((inline.kept.len(), inline.in_memory), (0, BUDGET - piece.len()));
    }
}
