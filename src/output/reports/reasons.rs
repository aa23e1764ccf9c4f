//! Shows the error output of a local program whose output is otherwise hidden, such as prsync's rsync without `-i`.

use std::io::Write;

use crate::events::event::{Class, Event, EventKind, Outcome, Stream};
use crate::events::tally::Tally;
use crate::output::formats::quiet::harmless;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// Lines to show of each host: the first ones have the reason.
const SHOWN: usize = 5;
/// Bytes of a line to show.
const LINE: usize = 1024;
/// The start of rsync's line that only says that it failed.
const SUMMARY: &[u8] = b"rsync error: ";

/// The first lines of a host's standard error.
#[derive(Clone, Debug, Default)]
struct Said {
    lines: Vec<Vec<u8>>,
    /// The incomplete line.
    open: Vec<u8>,
    /// Lines that are not shown.
    more: usize,
}

impl Said {
    fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            self.open.extend_from_slice(&text[..text.len().min(LINE - self.open.len())]);
            if text.len() < line.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.open);
        match line.trim_ascii() {
            b"" => {}
            _ if self.lines.len() == SHOWN => self.more += 1,
            _ => self.lines.push(line),
        }
    }

    /// Returns the lines, without the summary line if there are others.
    fn finish(mut self) -> (Vec<Vec<u8>>, usize) {
        self.end_line();
        if self.lines.len() > 1 {
            self.lines.retain(|line| !line.starts_with(SUMMARY));
        }
        (self.lines, self.more)
    }
}

/// Prints, on standard error, the error output of failed hosts.
pub struct Reasons(Vec<Said>);

impl Reasons {
    /// Creates a report for `jobs` jobs.
    pub fn new(jobs: usize) -> Reasons {
        Reasons(vec![Said::default(); jobs])
    }
}

impl Report for Reasons {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream: Stream::Stderr, bytes } => self.0[job.number].add(bytes),
            EventKind::Finished { outcome, .. } => {
                let (lines, more) = std::mem::take(&mut self.0[job.number]).finish();
                if outcome.class() == Class::Ok || matches!(outcome, Outcome::Cancelled { .. }) {
                    return;
                }
                let (label, buffer) = (sanitize(&job.label), output.buffer(Stream::Stderr));
                // Writing to memory never fails.
                for line in lines {
                    let _ = writeln!(buffer, "{label}: {}", harmless(&line));
                }
                if more > 0 {
                    let _ = writeln!(buffer, "{label}: ... ({more} more lines)");
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> (Vec<String>, usize) {
        let mut said = Said::default();
        pieces.iter().for_each(|piece| said.add(piece.as_bytes()));
        let (lines, more) = said.finish();
        (lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(), more)
    }

    #[test]
    fn the_first_lines_are_kept_and_the_summary_only_where_nothing_else_is() {
        let rsyncs = "rsync: link_stat failed\n\nrsync error: some files (code 23)\n";
        assert_eq!(shown(&[&rsyncs[..9], &rsyncs[9..]]), (vec!["rsync: link_stat failed".to_owned()], 0));
        assert_eq!(shown(&["rsync error: x"]), (vec!["rsync error: x".to_owned()], 0));
        let many: String = (0..20).map(|number| format!("{number}\n")).collect();
        assert_eq!(shown(&[&many]), (["0", "1", "2", "3", "4"].map(str::to_owned).to_vec(), 15));
        assert_eq!(shown(&["x".repeat(5000).as_str()]).0[0].len(), LINE);
    }
}
