//! The end of a run: failures by reason, and timings.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failures::{FailuresByReason, Reason, was_never_started};
use super::timeline::{Phases, Timeline};
use crate::events::event::{Class, Event, EventKind, Outcome, Stream};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::output::multiplexer::Report;
use crate::output::style::Face;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::{columns, filling, sanitize};

/// In runs of more hosts, single failures are easily overlooked and many failures hide the rest.
const FEW_HOSTS: usize = 10;
/// The most reasons to print, the most frequent ones.
const REASONS: usize = 20;
/// How many of the slowest hosts to name.
const SLOWEST: usize = 5;
/// Columns of the title: `prsync: seconds`.
const TITLE: usize = 15;
/// Columns of the longest aligned label: the numbers after it fit in a line of 80.
const LONGEST_LABEL: usize = 48;

/// From this many hosts on that were never started, the recap names them together.
const MANY_NOT_STARTED: usize = 3;

/// Whether the end of a host in a run of `hosts` has no line of its own: thousands of stopped hosts
/// would print the same one. The recap has them, or [`NotStarted`]. A host that may still run its command gets its line.
pub fn is_for_recap(outcome: &Outcome, hosts: usize) -> bool {
    let was_stopped = match outcome {
        Outcome::Cancelled { .. } => true,
        Outcome::Recorded(recorded) => recorded.class == Class::Cancelled,
        _ => false,
    };
    hosts > FEW_HOSTS && was_stopped || was_never_started(outcome)
}

/// The lines of hosts that were never started, at the end of a run whose recap does not have them, on standard error.
pub struct NotStarted {
    /// How many hosts the run has.
    hosts: usize,
    face: Face,
    /// The lines of the first of them.
    lines: Vec<String>,
    count: usize,
}

impl NotStarted {
    /// Creates a report for a run of `hosts` hosts.
    pub fn new(hosts: usize, face: Face) -> NotStarted {
        NotStarted { hosts, face, lines: Vec::new(), count: 0 }
    }
}

impl Report for NotStarted {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        if let EventKind::Finished { outcome, .. } = &event.kind
            && was_never_started(outcome)
        {
            self.count += 1;
            if self.count < MANY_NOT_STARTED {
                let (name, text) = (output.program.name(), outcome.to_string());
                self.lines.push(format!("{name}: {}: {}", sanitize(&job.label), sanitize(&text)));
            }
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        if self.hosts > FEW_HOSTS || self.count >= MANY_NOT_STARTED {
            return;
        }
        for line in &self.lines {
            let _ = writeln!(output.buffer(Stream::Stderr), "{}", self.face.outcome(false, line));
        }
    }
}

/// The recap: the hosts that failed, folded, by reason, in the order of [`FailuresByReason`]: `  38 auth: deploy: refused after ...: web[01-38]`.
/// On standard error, if the run had more than [`FEW_HOSTS`] or more output than a screen shows, or if hosts that were never started have
/// no lines of their own.
pub struct FailureReport {
    jobs: Arc<[Job]>,
    failures: FailuresByReason,
    /// Whether hosts that were never started have no other line.
    has_not_started: bool,
    not_started: usize,
}

impl FailureReport {
    /// Creates a report on `jobs`, alone with those that were never started or not.
    pub fn new(jobs: &Arc<[Job]>, has_not_started: bool) -> FailureReport {
        FailureReport { jobs: Arc::clone(jobs), failures: FailuresByReason::default(), has_not_started, not_started: 0 }
    }
}

impl Report for FailureReport {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        if let EventKind::Finished { outcome, .. } = &event.kind {
            self.failures.note(job, outcome);
            self.not_started += usize::from(was_never_started(outcome));
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        let reasons = self.failures.take();
        let is_long = self.jobs.len() > FEW_HOSTS || self.jobs.len() > 1 && output.fills_screen();
        let is_needed = self.has_not_started && self.not_started >= MANY_NOT_STARTED;
        if reasons.is_empty() || !is_long && !is_needed {
            return;
        }
        let most = reasons.iter().map(|reason| reason.jobs.len()).max().unwrap_or_default();
        let width = most.to_string().len();
        let buffer = output.buffer(Stream::Stderr);
        for Reason { brief, jobs, .. } in reasons.iter().take(REASONS) {
            let names = fold(jobs.iter().map(|number| self.jobs[*number].label.as_str()));
            let _ = writeln!(buffer, "  {:>width$} {}: {}", jobs.len(), sanitize(brief), sanitize(&names));
        }
        let more = reasons.iter().skip(REASONS);
        let (count, others) = more.fold((0, 0), |(count, others), reason| (count + reason.jobs.len(), others + 1));
        if others > 0 {
            let _ = writeln!(buffer, "  {count} for {others} other reasons");
        }
    }
}

/// `--times`: a table of how long the parts took, and the slowest hosts, on standard error.
pub struct Times {
    start: Instant,
    jobs: Arc<[Job]>,
    timelines: Vec<Timeline>,
}

impl Times {
    /// Creates a report on `jobs`, in a run that began at `start`.
    pub fn new(jobs: &Arc<[Job]>, start: Instant) -> Times {
        let timelines = vec![Timeline::default(); jobs.len()];
        Times { start, jobs: Arc::clone(jobs), timelines }
    }
}

impl Report for Times {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        self.timelines[job.number].event(event);
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        let all: Vec<Phases> = self.timelines.iter().map(|timeline| timeline.phases(self.start)).collect();
        let name = output.program.name();
        let buffer = output.buffer(Stream::Stderr);
        let title = format!("{}: seconds", name);
        let _ = writeln!(buffer, "{title:<TITLE$}{:>8}{:>10}{:>10}{:>10}", "hosts", "p50", "p95", "max");
        let names = Phases::default().parts().map(|(name, _)| name);
        let rows = names.iter().enumerate().map(|(place, name)| {
            (*name, all.iter().filter_map(|phases| phases.parts()[place].1).collect::<Vec<Duration>>())
        });
        let total = ("total", all.iter().filter_map(|phases| phases.total).collect::<Vec<Duration>>());
        for (name, mut times) in rows.chain([total]) {
            times.sort_unstable();
            // No line if nothing was retried.
            let Some(max) = times.last().filter(|max| name != "retries" || max.as_secs_f64() >= 0.01) else { continue };
            let [p50, p95, max] = [percentile(&times, 50), percentile(&times, 95), *max].map(|time| time.as_secs_f64());
            let _ =
                writeln!(buffer, "{:<TITLE$}{:>8}{p50:>10.3}{p95:>10.3}{max:>10.3}", format!("  {name}"), times.len());
        }
        let mut slowest: Vec<(usize, Duration)> =
            all.iter().enumerate().filter_map(|(number, phases)| Some((number, phases.total?))).collect();
        slowest.sort_by_key(|(number, total)| (std::cmp::Reverse(*total), *number));
        slowest.truncate(if slowest.len() > 1 { SLOWEST } else { 0 });
        let label = |number: usize| format!("  {}", sanitize(&self.jobs[number].label));
        let title = format!("{}: slowest", name);
        let labels = slowest.iter().map(|(number, _)| columns(&label(*number)));
        // A longer label shifts only its own line.
        let width = labels.filter(|width| *width <= LONGEST_LABEL).max().unwrap_or(0).max(TITLE);
        if !slowest.is_empty() {
            let _ = writeln!(buffer, "{title}{}{:>10}{:>10} part", filling(&title, width), "total", "longest");
        }
        for (number, total) in &slowest {
            let longest = all[*number].parts().into_iter().skip(1).max_by_key(|(_, time)| *time);
            let (part, time) = longest.map_or(("", Duration::ZERO), |(part, time)| (part, time.unwrap_or_default()));
            let (total, time) = (total.as_secs_f64(), time.as_secs_f64());
            let label = label(*number);
            let _ = writeln!(buffer, "{label}{}{total:>10.3}{time:>10.3} {part}", filling(&label, width));
        }
    }
}

/// Returns a percentile of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<Duration> = (1..=20).map(Duration::from_secs).collect();
        assert_eq!(percentile(&times, 50), Duration::from_secs(10));
        assert_eq!(percentile(&times, 95), Duration::from_secs(19));
        assert_eq!(percentile(&times[..1], 50), Duration::from_secs(1));
        assert_eq!(percentile(&times[..2], 95), Duration::from_secs(2));
    }
}
