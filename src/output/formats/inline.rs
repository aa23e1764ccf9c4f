//! `-i`: the output of each host in one piece when it ends, as in pssh: its line with its outcome, all of its standard output
//! byte for byte, then `Stderr: ` and all of its standard error. All of it goes to standard output; a hint follows on standard
//! error.
//!
//! Unlike pssh, output without a newline at its end gets one, so that `Stderr: ` and the next host start a line. Not with
//! `--no-headers`, where a pipe or file gets nothing but the hosts' output.

use std::collections::BTreeMap;
use std::io;

use super::ci_groups::Groups;
use super::pssh_status::StatusLines;
use crate::events::event::{Class, Event, EventKind, Outcome, Stream};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::events::tally::Tally;
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

/// Bytes of memory for the output of all hosts. Beyond that, even less than [`spill::MEMORY`] goes to a file.
const BUDGET: usize = 64 << 20;

/// The stored output of a host.
#[derive(Default)]
struct Kept {
    streams: [Spill; 2],
    /// Why part of its output could not be stored.
    error: Option<io::Error>,
}

/// Each host's output when it ends.
pub struct Inline {
    /// By number, for hosts with output that are not shown yet.
    kept: BTreeMap<usize, Kept>,
    in_memory: usize,
    has_stderr: bool,
    face: Face,
    lines: StatusLines,
    /// Writes the output of each host as a group in the log of a CI system.
    ci: Option<Groups>,
    /// In list order: the first host that is not shown yet, and the heads of later ones that have ended.
    waiting: Option<(usize, BTreeMap<usize, Head>)>,
}

/// The text around a host's output.
struct Head {
    /// Its line, on standard output.
    line: String,
    /// Its lines on standard error.
    tail: Vec<u8>,
    /// Its label.
    label: String,
    /// Its outcome, if it failed.
    failure: Option<String>,
}

impl Inline {
    /// Shows each host below its line of `lines`; with standard error if it `has_stderr`; in list order if it `is_sorted`.
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

    /// Puts each host's output into a group of `ci`, if there is one. The line with its outcome stays outside.
    pub fn in_groups(self, ci: Option<Groups>) -> Inline {
        Inline { ci, ..self }
    }

    /// Returns the file descriptors that it needs: a temporary file for each stream of running hosts and of those that wait for others.
    pub fn held(is_sorted: bool, jobs: usize) -> Held {
        Held { per_host: 2, besides: if is_sorted { 2 * jobs as u64 } else { 0 } }
    }

    fn keep(&mut self, job: usize, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr && !self.has_stderr {
            return;
        }
        let kept = self.kept.entry(job).or_default();
        // Output after a gap would look as if it followed directly.
        if kept.error.is_none() {
            let spill = &mut kept.streams[stream as usize];
            let limit = if self.in_memory + bytes.len() <= BUDGET { spill::MEMORY } else { 0 };
            let before = spill.in_memory();
            kept.error = spill.push_within(limit, bytes).err();
            self.in_memory += spill.in_memory() - before;
        }
    }

    /// Shows a host: its line, its output, and its other lines.
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

/// Appends all of `spill`, escaped if it `is_guarded`, and a missing newline at its end unless it `is_exact`.
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
