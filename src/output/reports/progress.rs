//! `--progress`: the status line.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::copy_rate::Copied;
use super::retries::Retries;
use crate::events::batch::BatchNews;
use crate::events::event::{Class, Event, EventKind};
use crate::events::interruption::Interruption;
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::lock::lock;
use crate::system::status_line;
use crate::text::sanitize::{columns, sanitize};

/// Delay before the status line appears: most runs are over by then.
const QUIET: Duration = Duration::from_millis(500);
/// How long a host may take before the line names it.
const SLOW: Duration = Duration::from_secs(3);
/// How many of the slowest hosts to name.
const NAMED: usize = 3;
/// The line: a bar of 12 columns, and a text that fits into the rest.
const TEMPLATE: &str = "[{bar:12}] {prefix}{pos}/{len} {wide_msg}";
/// Columns of the bar.
const BAR: usize = 14;
/// The line of a terminal with fewer columns than this.
const NARROW_TEMPLATE: &str = "{prefix}{pos}/{len} {wide_msg}";
const NARROW: usize = 40;

fn style(has_bar: bool) -> ProgressStyle {
    // The templates are constants; the plain bar is the one of indicatif.
    let style = ProgressStyle::with_template(if has_bar { TEMPLATE } else { NARROW_TEMPLATE });
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// The activity of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing yet, or nothing more.
    Nothing,
    /// It is being connected to.
    Connecting,
    /// It runs its command, or copies.
    Running,
    /// It waits for another attempt.
    Retrying,
    /// Its command has succeeded, and the check is repeated.
    Checking,
}

/// Counts the hosts.
pub struct Progress {
    bar: ProgressBar,
    drawn: Arc<Mutex<String>>,
    start: Instant,
    /// What each host does, by the number of the job, and how many do so.
    doing: Vec<Doing>,
    counts: [usize; 5],
    /// The hosts that have begun and not ended, by the time since when, with their labels.
    begun: BTreeMap<(Instant, usize), String>,
    /// Start times, by the number of the job.
    since: Vec<Option<Instant>>,
    /// Those that wait for another attempt.
    retries: Retries,
    /// The current batch, and how many there are.
    batch: Option<(usize, usize)>,
    /// When the pause before it is over.
    pause: Option<Instant>,
    /// Whether a signal is stopping the run.
    is_stopping: bool,
    ended: u64,
    failed: u64,
    copied: Copied,
}

impl Progress {
    /// Creates the progress of `jobs` jobs.
    pub fn new(jobs: usize) -> Progress {
        let drawn = Arc::new(Mutex::new(String::new()));
        let target = ProgressDrawTarget::term_like(Box::new(Paper(Arc::clone(&drawn))));
        let bar = ProgressBar::with_draw_target(Some(jobs as u64), target);
        bar.set_style(style(true));
        let mut counts = [0; 5];
        counts[Doing::Nothing as usize] = jobs;
        let copied = Copied::new(jobs);
        Progress {
            bar,
            drawn,
            start: Instant::now(),
            doing: vec![Doing::Nothing; jobs],
            counts,
            begun: BTreeMap::new(),
            since: vec![None; jobs],
            retries: Retries::default(),
            batch: None,
            pause: None,
            is_stopping: false,
            ended: 0,
            failed: 0,
            copied,
        }
    }

    /// Returns the text after the bar, in `width` columns: `2 connecting, 10 running, 2 retrying: Connection refused, next in 4 s, 3 failed,
    /// 1:05, slowest web1 (12 s), web2 (9 s, connecting)`; before the time, where files are copied, `1.2 GB of 4.0 GB, 118 MB/s, 0:24 left`.
    /// In a rolling run, it starts with `hosts`, after the counts, and says when a pause is over.
    /// Drops whole parts that do not fit: first the names, then the reason and time of retries.
    fn text(&mut self, now: Instant, width: usize) -> String {
        let mut counts = Vec::new();
        counts.extend(self.batch.map(|_| "hosts".to_owned()));
        let doing = [Doing::Connecting, Doing::Running, Doing::Checking];
        let [connecting, running, checking] = doing.map(|doing| self.counts[doing as usize]);
        if let (Some(until), false) = (self.pause, self.is_stopping) {
            let left = until.saturating_duration_since(now).as_millis().div_ceil(1000);
            counts.push(format!("next batch in {}:{:02}", left / 60, left % 60));
        } else if self.is_stopping {
            counts.push(format!("{} stopping", connecting + running + checking));
        } else {
            if connecting > 0 {
                counts.push(format!("{connecting} connecting"));
            }
            if running > 0 || connecting + checking + self.counts[Doing::Retrying as usize] == 0 {
                counts.push(format!("{running} running"));
            }
            if checking > 0 {
                counts.push(format!("{checking} checking"));
            }
        }
        let mut others = Vec::new();
        if self.failed > 0 {
            others.push(format!("{} failed", self.failed));
        }
        others.extend(self.copied.text(now));
        let seconds = now.saturating_duration_since(self.start).as_secs();
        others.push(format!("{}:{:02}", seconds / 60, seconds % 60));
        let taken: usize = counts.iter().chain(&others).map(|part| columns(part) + ", ".len()).sum();
        counts.extend(self.retries.text(now, width.saturating_sub(taken)));
        fitting(counts.into_iter().chain(others).chain(self.slowest(now)), width)
    }

    /// Returns the slowest hosts, `slowest web1 (12 s)`: those that take longest, or have copied least.
    fn slowest(&self, now: Instant) -> Vec<String> {
        let slow = self.begun.iter().map(|((since, job), label)| (now.saturating_duration_since(*since), *job, label));
        let slow = slow.take_while(|(time, ..)| *time >= SLOW);
        let mut named: Vec<String> = Vec::new();
        if self.copied.is_any() {
            let mut shares: Vec<(u8, &String)> =
                slow.clone().filter_map(|(_, job, label)| Some((self.copied.percent(job)?, label))).collect();
            shares.sort_by_key(|(percent, _)| *percent);
            named
                .extend(shares.iter().take(NAMED).map(|(percent, label)| format!("{} ({percent} %)", sanitize(label))));
        }
        if named.is_empty() {
            named.extend(slow.take(NAMED).map(|(time, job, label)| {
                let doing = match self.doing[job] {
                    Doing::Connecting if !self.is_stopping => ", connecting",
                    Doing::Retrying => ", retrying",
                    Doing::Checking if !self.is_stopping => ", checking",
                    _ => "",
                };
                format!("{} ({} s{doing})", sanitize(label), time.as_secs())
            }));
        }
        if let Some(first) = named.first_mut() {
            first.insert_str(0, "slowest ");
        }
        named
    }

    /// Records what a host does from now on.
    fn set(&mut self, job: &Job, doing: Doing, at: Instant) {
        let before = std::mem::replace(&mut self.doing[job.number], doing);
        self.counts[before as usize] -= 1;
        self.counts[doing as usize] += 1;
        if before == Doing::Retrying {
            self.retries.end(job.number);
        }
        if doing == Doing::Nothing {
            if let Some(since) = self.since[job.number] {
                self.begun.remove(&(since, job.number));
            }
        } else if self.since[job.number].is_none() {
            self.since[job.number] = Some(at);
            self.begun.insert((at, job.number), job.label.clone());
        }
    }
}

/// Joins as many of `parts` with commas as fit in `width` columns.
fn fitting(parts: impl Iterator<Item = String>, width: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let comma = if text.is_empty() { "" } else { ", " };
        if columns(&text) + comma.len() + columns(&part) > width {
            break;
        }
        text.push_str(comma);
        text.push_str(&part);
    }
    text
}

impl Report for Progress {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        match &event.kind {
            EventKind::Started | EventKind::Resumed => self.set(job, Doing::Connecting, event.at),
            EventKind::Connected => self.set(job, Doing::Running, event.at),
            EventKind::Checking => self.set(job, Doing::Checking, event.at),
            EventKind::Paused { reason, until } => {
                self.set(job, Doing::Retrying, event.at);
                self.retries.begin(job.number, reason, *until);
            }
            EventKind::Finished { outcome, .. } => {
                self.set(job, Doing::Nothing, event.at);
                let is_well = outcome.class() == Class::Ok;
                self.copied.end(job.number, is_well);
                self.ended += 1;
                self.failed += u64::from(!is_well);
            }
            EventKind::Copied(progress) => self.copied.note(job.number, *progress),
            EventKind::Batch(_)
            | EventKind::Attempted(_)
            | EventKind::Output { .. }
            | EventKind::Checked(_)
            | EventKind::Note(_)
            | EventKind::Warning(_) => {}
        }
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}

    fn batch(&mut self, news: &BatchNews, _: &Tally, _: &mut Output) {
        match news {
            BatchNews::Started { batch } => (self.batch, self.pause) = (Some((batch.number, batch.of)), None),
            BatchNews::Paused { until, next } => {
                (self.batch, self.pause) = (Some((next.number, next.of)), Some(*until));
            }
            BatchNews::Ended { .. } => {}
        }
    }

    fn interrupted(&mut self, _: &Interruption, _: &mut Output) {
        self.is_stopping = true;
    }

    fn status(&mut self, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.start) < QUIET {
            return None;
        }
        let width = usize::from(status_line::width());
        let batch = self.batch.map_or_else(String::new, |(number, of)| format!("batch {number}/{of} \u{b7} "));
        let counts = columns(&format!(" {batch}{}/{} ", self.ended, self.doing.len()));
        let bar = if width < NARROW { 0 } else { BAR };
        self.bar.set_style(style(bar > 0));
        let text = self.text(now, width.saturating_sub(bar + counts));
        self.bar.set_position(self.ended);
        self.bar.set_prefix(batch);
        self.bar.set_message(text);
        lock(&self.drawn).clear();
        self.bar.tick();
        let drawn = lock(&self.drawn);
        Some(drawn.trim_end().to_owned())
    }
}

/// The target that indicatif draws on instead of the terminal: only [`Output`] knows when that is free.
#[derive(Debug)]
struct Paper(Arc<Mutex<String>>);

impl TermLike for Paper {
    fn width(&self) -> u16 {
        status_line::width()
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    // There is one line, and it is cleared as a whole.
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::Outcome;
    use crate::output::style::Style;

    #[test]
    fn hosts_are_counted_and_the_slowest_named() {
        let list = (1..=6).map(|number| format!("web{number}")).collect::<Vec<_>>().join(" ");
        let jobs = crate::plan::job::of_list(&list);
        let mut progress = Progress::new(jobs.len());
        let mut output = Output::over(None, None, &Style::default());
        let start = progress.start;
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(progress.status(after(100)), None);
        let mut tell = |progress: &mut Progress, job: usize, milliseconds, kind| {
            progress.event(&jobs[job], &Event { job, at: after(milliseconds), kind }, &mut output);
        };
        for job in 0..5 {
            tell(&mut progress, job, 100 * job as u64, EventKind::Started);
        }
        assert!(progress.status(after(600)).is_some_and(|line| line.ends_with(" 0/6 5 connecting, 0:00")));
        for job in 0..5 {
            tell(&mut progress, job, 600, EventKind::Connected);
        }
        let shown = |progress: &mut Progress, milliseconds| progress.status(after(milliseconds)).expect("a line");
        assert_eq!(shown(&mut progress, 600), format!("[{:12}] 0/6 5 running, 0:00", ""));
        let finished = |status| EventKind::Finished { outcome: Outcome::Exited(status), attempts: 1 };
        tell(&mut progress, 0, 700, finished(0));
        tell(&mut progress, 5, 800, EventKind::Started);
        tell(&mut progress, 5, 900, finished(3));
        let line = shown(&mut progress, 3_250);
        assert!(line.starts_with("[====>"), "{line}");
        assert!(line.ends_with(" 2/6 4 running, 1 failed, 0:03, slowest web2 (3 s), web3 (3 s)"), "{line}");
        let line = shown(&mut progress, 65_000);
        assert!(line.chars().count() < 80 && line.contains("1:05, slowest web2 (64 s), web3"), "{line}");
    }

    /// Returns the status line after this event, that many seconds after the start.
    fn line_after(progress: &mut Progress, jobs: &[Job], job: usize, seconds: u64, kind: EventKind) -> String {
        let at = progress.start + Duration::from_secs(seconds);
        progress.event(&jobs[job], &Event { job, at, kind }, &mut Output::over(None, None, &Style::default()));
        progress.status(at).expect("a line")
    }

    #[test]
    fn what_is_copied_stands_before_the_time() {
        let jobs = crate::plan::job::of_list("a b c");
        let mut progress = Progress::new(jobs.len());
        let mut shown = |job, seconds, kind| line_after(&mut progress, &jobs, job, seconds, kind);
        let copied = |done, total| EventKind::Copied(crate::events::event::Progress { done, total });
        shown(0, 1, EventKind::Started);
        let line = shown(0, 1, EventKind::Connected);
        assert!(line.ends_with(" 0/3 1 running, 0:01"), "{line}");
        let line = shown(0, 2, copied(0, 1_500_000_000));
        assert!(line.ends_with(" 1 running, 0 B of 4.5 GB, 0:02"), "{line}");
        let line = shown(0, 3, copied(118_000_000, 1_500_000_000));
        assert!(line.ends_with(" 1 running, 118 MB of 4.5 GB, 118 MB/s, 0:38 left, 0:03"), "{line}");
        let line = shown(0, 6, EventKind::Finished { outcome: Outcome::Exited(1), attempts: 1 });
        assert!(line.ends_with(" 1/3 0 running, 1 failed, 118 MB of 3.1 GB, 29.5 MB/s, 1:42 left"), "{line}");
    }

    #[test]
    fn hosts_whose_check_is_repeated_are_counted_apart() {
        let jobs = crate::plan::job::of_list("a b c");
        let mut progress = Progress::new(jobs.len());
        let mut shown = |job, seconds, kind| line_after(&mut progress, &jobs, job, seconds, kind);
        for job in 0..2 {
            shown(job, 1, EventKind::Started);
            shown(job, 1, EventKind::Connected);
        }
        let line = shown(0, 2, EventKind::Checking);
        assert!(line.ends_with(" 0/3 1 running, 1 checking, 0:02"), "{line}");
        let line = shown(1, 5, EventKind::Checking);
        assert!(line.ends_with(" 0/3 2 checking, 0:05, slowest a (4 s, checking)"), "{line}");
        let line = shown(1, 5, EventKind::Finished { outcome: Outcome::Exited(0), attempts: 1 });
        assert!(line.ends_with(" 1/3 1 checking, 0:05, slowest a (4 s, checking)"), "{line}");
    }

    #[test]
    fn hosts_that_wait_for_another_attempt_are_counted_apart() {
        let jobs = crate::plan::job::of_list("a b c");
        let mut progress = Progress::new(jobs.len());
        let start = progress.start;
        let mut shown = |job, seconds, kind| line_after(&mut progress, &jobs, job, seconds, kind);
        shown(0, 1, EventKind::Started);
        shown(1, 1, EventKind::Started);
        let paused = || EventKind::Paused { reason: "No route".to_owned(), until: start + Duration::from_secs(6) };
        let line = shown(0, 2, paused());
        assert!(line.ends_with(" 0/3 1 connecting, 1 retrying: No route, next in 4 s, 0:02"), "{line}");
        // Its name was not found, so that it has never started.
        let line = shown(2, 2, paused());
        assert!(line.ends_with(" 0/3 1 connecting, 2 retrying: No route, next in 4 s, 0:02"), "{line}");
        assert!(shown(1, 3, EventKind::Connected).ends_with(" 0/3 1 running, 2 retrying: No route, next in 3 s, 0:03"));
        let line = shown(2, 3, EventKind::Resumed);
        assert!(
            line.ends_with(" 0/3 1 connecting, 1 running, 1 retrying: No route, 0:03"),
            "cut between words: {line}"
        );
        let ended = || EventKind::Finished { outcome: Outcome::Exited(1), attempts: 3 };
        let line = shown(0, 3, ended());
        assert!(line.ends_with(" 1/3 1 connecting, 1 running, 1 failed, 0:03"), "{line}");
        assert!(shown(2, 3, ended()).ends_with(" 2/3 1 running, 2 failed, 0:03"));
        // The longest wait is named, whatever its reason.
        shown(1, 9, EventKind::Paused { reason: "No route".to_owned(), until: start });
        let text = progress.text(start + Duration::from_secs(9), 100);
        assert_eq!(text, "1 retrying: No route, 2 failed, 0:09, slowest b (8 s, retrying)");
    }

    #[test]
    fn what_has_no_room_is_left_out_as_a_whole() {
        let list = ["a-host-with-a-long-name.example.com", "\u{6771}\u{4eac}", "c"].join(" ");
        let jobs = crate::plan::job::of_list(&list);
        let mut progress = Progress::new(jobs.len());
        let mut output = Output::over(None, None, &Style::default());
        let (start, mut whole) = (progress.start, String::new());
        for job in &*jobs {
            for kind in [EventKind::Started, EventKind::Connected] {
                progress.event(job, &Event { job: job.number, at: start, kind }, &mut output);
            }
        }
        let at = start + Duration::from_secs(9);
        for width in 0..200 {
            let text = progress.text(at, width);
            assert!(columns(&text) <= width, "{text:?} in {width}");
            assert!(text.len() >= whole.len() && text.starts_with(&whole), "{text:?} after {whole:?}");
            let ends = ["", "running", ":09", " s)"];
            assert!(ends.iter().any(|end| text.ends_with(end) && (text.is_empty() == end.is_empty())), "{text:?}");
            whole = text;
        }
        assert!(
            whole.ends_with("slowest a-host-with-a-long-name.example.com (9 s), \u{6771}\u{4eac} (9 s), c (9 s)"),
            "{whole}"
        );
    }
}
