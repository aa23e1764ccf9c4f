//! `--progress`: how far the run is, on the status line.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::copy_rate::Copied;
use crate::events::event::{Class, Event, EventKind, Tally};
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::lock::lock;
use crate::system::status_line;
use crate::text::sanitize::{columns, sanitize};

/// How long a run is shown without: most are over by then.
const QUIET: Duration = Duration::from_millis(500);
/// How long a host may take before it is named.
const SLOW: Duration = Duration::from_secs(3);
/// How many of the slowest hosts are named.
const NAMED: usize = 3;
/// The line: a bar of 12 columns, and a text that fits into the rest.
const TEMPLATE: &str = "[{bar:12}] {pos}/{len} {wide_msg}";
/// Columns of the bar.
const BAR: usize = 14;
/// The line of a terminal with fewer columns than this.
const NARROW_TEMPLATE: &str = "{pos}/{len} {wide_msg}";
const NARROW: usize = 40;

fn style(has_bar: bool) -> ProgressStyle {
    // The templates are constants; the plain bar is the one of indicatif.
    let style = ProgressStyle::with_template(if has_bar { TEMPLATE } else { NARROW_TEMPLATE });
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Counts the hosts.
pub struct Progress {
    bar: ProgressBar,
    drawn: Arc<Mutex<String>>,
    start: Instant,
    /// The hosts that run, by the time when they started, with their labels.
    running: BTreeMap<(Instant, usize), String>,
    /// When each job started, by its number.
    started: Vec<Option<Instant>>,
    /// Those that wait for another attempt.
    paused: BTreeSet<usize>,
    ended: u64,
    failed: u64,
    copied: Copied,
}

impl Progress {
    /// The progress of `jobs` jobs.
    pub fn new(jobs: usize) -> Progress {
        let drawn = Arc::new(Mutex::new(String::new()));
        let target = ProgressDrawTarget::term_like(Box::new(Paper(Arc::clone(&drawn))));
        let bar = ProgressBar::with_draw_target(Some(jobs as u64), target);
        bar.set_style(style(true));
        let (start, started) = (Instant::now(), vec![None; jobs]);
        let copied = Copied::new(jobs);
        Progress {
            bar,
            drawn,
            start,
            running: BTreeMap::new(),
            started,
            paused: BTreeSet::new(),
            ended: 0,
            failed: 0,
            copied,
        }
    }

    /// What stands behind the bar, in `width` columns: `12 running, 2 waiting to retry, 3 failed, 1:05, slowest web1 (12 s), web2 (9 s)`;
    /// before the time, where files are copied, `1.2 GB of 4.0 GB, 118 MB/s`. What has no room is left out as a whole.
    fn text(&mut self, now: Instant, width: usize) -> String {
        let mut parts = vec![format!("{} running", self.running.len())];
        if !self.paused.is_empty() {
            parts.push(format!("{} waiting to retry", self.paused.len()));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        parts.extend(self.copied.text(now));
        let seconds = now.saturating_duration_since(self.start).as_secs();
        parts.push(format!("{}:{:02}", seconds / 60, seconds % 60));
        let slow = self.running.iter().take(NAMED).filter_map(|((since, _), label)| {
            let time = now.saturating_duration_since(*since);
            (time >= SLOW).then(|| format!("{} ({} s)", sanitize(label), time.as_secs()))
        });
        let slow = slow.enumerate().map(|(place, text)| if place == 0 { format!("slowest {text}") } else { text });
        parts.extend(slow);
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

    /// It does not run any more.
    fn stop(&mut self, job: usize) {
        if let Some(since) = self.started[job] {
            self.running.remove(&(since, job));
        }
    }
}

impl Report for Progress {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        match &event.kind {
            EventKind::Started | EventKind::Resumed => {
                let since = *self.started[job.number].get_or_insert(event.at);
                self.running.insert((since, job.number), job.label.clone());
                self.paused.remove(&job.number);
            }
            EventKind::Paused => {
                self.stop(job.number);
                self.paused.insert(job.number);
            }
            EventKind::Finished { outcome, .. } => {
                self.stop(job.number);
                self.paused.remove(&job.number);
                let is_well = outcome.class() == Class::Ok;
                self.copied.end(job.number, is_well);
                self.ended += 1;
                self.failed += u64::from(!is_well);
            }
            EventKind::Copied(progress) => self.copied.note(job.number, *progress),
            EventKind::Attempted(_)
            | EventKind::Connected
            | EventKind::Output { .. }
            | EventKind::Note(_)
            | EventKind::Warning(_) => {}
        }
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}

    fn status(&mut self, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.start) < QUIET {
            return None;
        }
        let width = usize::from(status_line::width());
        let counts = format!(" {}/{} ", self.ended, self.started.len()).len();
        let bar = if width < NARROW { 0 } else { BAR };
        self.bar.set_style(style(bar > 0));
        let text = self.text(now, width.saturating_sub(bar + counts));
        self.bar.set_position(self.ended);
        self.bar.set_message(text);
        lock(&self.drawn).clear();
        self.bar.tick();
        let drawn = lock(&self.drawn);
        Some(drawn.trim_end().to_owned())
    }
}

/// What indicatif draws on, instead of on the terminal itself: only [`Output`] knows when that is free.
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

    /// The status line once this has happened to a job, so many seconds after the start.
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
        let line = shown(0, 1, EventKind::Started);
        assert!(line.ends_with(" 0/3 1 running, 0:01"), "{line}");
        let line = shown(0, 2, copied(0, 1_500_000_000));
        assert!(line.ends_with(" 1 running, 0 B of 4.5 GB, 0:02"), "{line}");
        let line = shown(0, 3, copied(118_000_000, 1_500_000_000));
        assert!(line.ends_with(" 1 running, 118 MB of 4.5 GB, 118 MB/s, 0:03"), "{line}");
        let line = shown(0, 6, EventKind::Finished { outcome: Outcome::Exited(1), attempts: 1 });
        assert!(line.ends_with(" 1/3 0 running, 1 failed, 118 MB of 3.1 GB, 29.5 MB/s, 0:06"), "{line}");
    }

    #[test]
    fn hosts_that_wait_for_another_attempt_are_counted_apart() {
        let jobs = crate::plan::job::of_list("a b c");
        let mut progress = Progress::new(jobs.len());
        let mut shown = |job, seconds, kind| line_after(&mut progress, &jobs, job, seconds, kind);
        shown(0, 1, EventKind::Started);
        shown(1, 1, EventKind::Started);
        assert!(shown(0, 2, EventKind::Paused).ends_with(" 0/3 1 running, 1 waiting to retry, 0:02"));
        // Its name was not found, so that it has never started.
        assert!(shown(2, 2, EventKind::Paused).ends_with(" 0/3 1 running, 2 waiting to retry, 0:02"));
        assert!(shown(2, 3, EventKind::Resumed).ends_with(" 0/3 2 running, 1 waiting to retry, 0:03"));
        let ended = || EventKind::Finished { outcome: Outcome::Exited(1), attempts: 3 };
        assert!(shown(0, 3, ended()).ends_with(" 1/3 2 running, 1 failed, 0:03"));
        assert!(shown(2, 3, ended()).ends_with(" 2/3 1 running, 2 failed, 0:03"));
    }

    #[test]
    fn what_has_no_room_is_left_out_as_a_whole() {
        let list = ["a-host-with-a-long-name.example.com", "\u{6771}\u{4eac}", "c"].join(" ");
        let jobs = crate::plan::job::of_list(&list);
        let mut progress = Progress::new(jobs.len());
        let mut output = Output::over(None, None, &Style::default());
        let (start, mut whole) = (progress.start, String::new());
        for job in &*jobs {
            let event = Event { job: job.number, at: start, kind: EventKind::Started };
            progress.event(job, &event, &mut output);
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
