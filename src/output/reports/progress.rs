//! `--progress`: how far the run is, on the status line.

use std::collections::BTreeMap;
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
use crate::text::sanitize::sanitize;

/// How long a run is shown without: most are over by then.
const QUIET: Duration = Duration::from_millis(500);
/// How long a host may take before it is named.
const SLOW: Duration = Duration::from_secs(3);
/// How many of the slowest hosts are named.
const NAMED: usize = 3;
/// The line: a bar of 12 columns, and a text that is cut where the terminal ends.
const TEMPLATE: &str = "[{bar:12}] {pos}/{len} {wide_msg}";

/// Counts the hosts.
pub struct Progress {
    bar: ProgressBar,
    drawn: Arc<Mutex<String>>,
    start: Instant,
    /// The hosts that run, by the time when they started, with their labels.
    running: BTreeMap<(Instant, usize), String>,
    /// When each job started, by its number.
    started: Vec<Option<Instant>>,
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
        // The template is a constant; the plain bar is the one of indicatif.
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        let (start, started) = (Instant::now(), vec![None; jobs]);
        let copied = Copied::new(jobs);
        Progress { bar, drawn, start, running: BTreeMap::new(), started, ended: 0, failed: 0, copied }
    }

    /// What stands behind the bar: `12 running, 3 failed, 1:05, slowest web1 (12 s), web2 (9 s)`; before the time, where files are
    /// copied, `1.2 GB of 4.0 GB, 118 MB/s`.
    fn text(&mut self, now: Instant) -> String {
        let mut text = format!("{} running", self.running.len());
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if let Some(copied) = self.copied.text(now) {
            text.push_str(&format!(", {copied}"));
        }
        let seconds = now.saturating_duration_since(self.start).as_secs();
        text.push_str(&format!(", {}:{:02}", seconds / 60, seconds % 60));
        let slow = self.running.iter().take(NAMED).filter_map(|((since, _), label)| {
            let time = now.saturating_duration_since(*since);
            (time >= SLOW).then(|| format!("{} ({} s)", sanitize(label), time.as_secs()))
        });
        let slow: Vec<String> = slow.collect();
        if !slow.is_empty() {
            text.push_str(&format!(", slowest {}", slow.join(", ")));
        }
        text
    }
}

impl Report for Progress {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        match &event.kind {
            EventKind::Started => {
                self.started[job.number] = Some(event.at);
                self.running.insert((event.at, job.number), job.label.clone());
            }
            EventKind::Finished { outcome, .. } => {
                if let Some(at) = self.started[job.number] {
                    self.running.remove(&(at, job.number));
                }
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
        let text = self.text(now);
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
    use crate::hosts::gather;
    use crate::output::style::Style;

    #[test]
    fn hosts_are_counted_and_the_slowest_named() {
        let list = (1..=6).map(|number| format!("web{number}")).collect::<Vec<_>>().join(" ");
        let jobs = crate::plan::job::make(gather(&[], &[list]).expect("hosts"));
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

    #[test]
    fn what_is_copied_stands_before_the_time() {
        let jobs = crate::plan::job::make(gather(&[], &["a b c".to_owned()]).expect("hosts"));
        let mut progress = Progress::new(jobs.len());
        let mut output = Output::over(None, None, &Style::default());
        let start = progress.start;
        let mut shown = |job: usize, seconds, kind| {
            let at = start + Duration::from_secs(seconds);
            progress.event(&jobs[job], &Event { job, at, kind }, &mut output);
            progress.status(at).expect("a line")
        };
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
}
