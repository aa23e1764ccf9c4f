//! The result of a run that copies files: how much, in what time, and what `--resume` kept.

use std::collections::HashSet;
use std::io::Write;
use std::time::Instant;

use super::copy_rate::{Copied, bytes, clock};
use crate::events::event::{Class, Event, EventKind, Stream};
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::message::hosts;

/// Seconds below which a time has a decimal.
const SHORT: f64 = 60.0;

/// The direction of a copy, and whether incomplete files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopySettings {
    /// From the hosts.
    pub is_download: bool,
    /// Incomplete files are kept (`--resume`).
    pub keeps: bool,
}

/// Prints at the end, on standard error, how much was copied: `pscp: transferred 4.0 GB to 3 hosts in 34.2 s (118 MB/s)`. For a single host, only
/// on a terminal, like the tally.
pub struct CopyTotal {
    settings: CopySettings,
    copied: Copied,
    start: Instant,
    hosts: usize,
    well: usize,
    /// The hosts whose copy is complete, while their check runs.
    checking: HashSet<usize>,
    /// What failed hosts have of their copies, what they should have, and how many hosts have anything.
    kept: (u64, u64, usize),
    is_terminal: bool,
}

impl CopyTotal {
    /// Creates a report for `hosts` of `jobs` jobs, in a run that begins now, with its standard error on a terminal or not.
    pub fn new(settings: CopySettings, (jobs, hosts): (usize, usize), is_terminal: bool) -> CopyTotal {
        CopyTotal {
            settings,
            copied: Copied::new(jobs),
            start: Instant::now(),
            hosts,
            well: 0,
            checking: HashSet::new(),
            kept: (0, 0, 0),
            is_terminal,
        }
    }

    /// Returns the lines, after a run that ends now.
    fn lines(&self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        let done = self.copied.sum().done;
        if self.copied.is_any() && (done > 0 || self.well > 0) {
            let seconds = now.saturating_duration_since(self.start).as_secs_f64();
            let time = if seconds < SHORT { format!("{seconds:.1} s") } else { clock(seconds as u64) };
            let direction = if self.settings.is_download { "from" } else { "to" };
            let of = if self.well < self.hosts { format!("{} of ", self.well) } else { String::new() };
            // Bytes that an earlier run copied are included.
            let rate = if self.settings.keeps || seconds <= 0.0 {
                String::new()
            } else {
                format!(" ({}/s)", bytes((done as f64 / seconds) as u64))
            };
            let amount = bytes(done);
            lines.push(format!("transferred {amount} {direction} {of}{} in {time}{rate}", hosts(self.hosts)));
        }
        let (kept, total, count) = self.kept;
        if self.settings.keeps && kept > 0 {
            let of = if total > kept { format!(" of {}", bytes(total)) } else { String::new() };
            lines.push(format!(
                "--resume kept {}{of} for {}: the same command goes on from there",
                bytes(kept),
                hosts(count)
            ));
        }
        lines
    }
}

impl Report for CopyTotal {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        match &event.kind {
            EventKind::Copied(progress) => self.copied.note(job.number, *progress),
            EventKind::Checking => drop(self.checking.insert(job.number)),
            EventKind::Finished { outcome, .. } => {
                // A check runs once all is copied, and whatever it finds, the files are there.
                let is_checked = self.checking.remove(&job.number) || outcome.class() == Class::Check;
                let is_well = outcome.class() == Class::Ok || is_checked;
                self.copied.end(job.number, is_well);
                self.well += usize::from(is_well);
                if let Some(progress) = self.copied.of(job.number).filter(|progress| !is_well && progress.done > 0) {
                    let (kept, total, hosts) = self.kept;
                    self.kept = (kept.saturating_add(progress.done), total.saturating_add(progress.total), hosts + 1);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        if self.hosts == 1 && !self.is_terminal && self.kept.0 == 0 {
            return;
        }
        let name = output.program.name();
        for line in self.lines(Instant::now()) {
            // Writing to memory never fails.
            let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::event::{HostStage, Outcome, Progress};
    use crate::output::style::Style;

    /// Returns the lines after a run on three hosts, each with its part of 1 MB copied and its outcome.
    fn lines(settings: CopySettings, ends: [(u64, Outcome); 3], seconds: u64) -> Vec<String> {
        let jobs = crate::plan::job::of_list("a b c");
        let mut total = CopyTotal::new(settings, (jobs.len(), jobs.len()), false);
        let mut output = Output::over(None, None, &Style::default());
        for (job, (done, outcome)) in jobs.iter().zip(ends) {
            let progress = Progress { done, total: 1_000_000 };
            for kind in [EventKind::Copied(progress), EventKind::Finished { outcome, attempts: 1 }] {
                total.event(job, &Event::now(job.number, kind), &mut output);
            }
        }
        total.lines(total.start + Duration::from_secs(seconds))
    }

    #[test]
    fn amount_time_and_rate_are_told() {
        let well = || Outcome::Exited(0);
        let stopped = || Outcome::Cancelled { stage: HostStage::Running, why: None };
        let upload = CopySettings { is_download: false, keeps: false };
        let all = [(1_000_000, well()), (999_999, well()), (1_000_000, well())];
        assert_eq!(lines(upload, all, 2), ["transferred 3.0 MB to 3 hosts in 2.0 s (1.5 MB/s)"]);
        let download = CopySettings { is_download: true, keeps: true };
        let some = || [(1_000_000, well()), (400_000, stopped()), (0, stopped())];
        assert_eq!(
            lines(download, some(), 3700),
            [
                "transferred 1.4 MB from 1 of 3 hosts in 1:01:40",
                "--resume kept 400 kB of 1.0 MB for 1 host: the same command goes on from there"
            ]
        );
        assert_eq!(lines(upload, some(), 70), ["transferred 1.4 MB to 1 of 3 hosts in 1:10 (20.0 kB/s)"]);
        assert_eq!(lines(upload, [(0, stopped()), (0, stopped()), (0, stopped())], 1), [] as [&str; 0]);
    }
}
