//! The total progress and rate of a copy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::events::event::Progress;

/// The window of the rate: long enough to be stable, short enough to show a slowdown.
const WINDOW: Duration = Duration::from_secs(4);
/// An estimate above this many seconds is not shown.
const LONGEST_LEFT: f64 = 86_400.0;
/// A rate over less time would be random.
const LEAST: Duration = Duration::from_millis(900);

/// The copy progress of one host.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    progress: Option<Progress>,
    has_ended: bool,
}

/// The copy progress of all hosts.
#[derive(Debug)]
pub struct Copied {
    /// By the number of the job.
    shares: Vec<Share>,
    /// Whether any host copies anything.
    is_any: bool,
    /// Samples of the bytes done within the window, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Copied {
    /// Creates empty counts for `jobs` jobs.
    pub fn new(jobs: usize) -> Copied {
        Copied { shares: vec![Share::default(); jobs], is_any: false, samples: VecDeque::new() }
    }

    /// Records the progress of a host.
    pub fn note(&mut self, job: usize, progress: Progress) {
        self.is_any = true;
        self.shares[job].progress = Some(progress);
    }

    /// Records the end of a host. A successful one has copied everything, whatever it reported last.
    pub fn end(&mut self, job: usize, is_well: bool) {
        let share = &mut self.shares[job];
        share.has_ended = true;
        if let Some(progress) = share.progress.as_mut().filter(|_| is_well) {
            progress.done = progress.done.max(progress.total);
        }
    }

    /// Whether any host copies anything.
    pub fn is_any(&self) -> bool {
        self.is_any
    }

    /// Returns which part of its copy a host has done, if known.
    pub fn percent(&self, job: usize) -> Option<u8> {
        let Progress { done, total } = self.shares[job].progress.filter(|progress| progress.total > 0)?;
        Some((done.min(total) as f64 / total as f64 * 100.0) as u8)
    }

    /// Returns what a host has copied and has to copy, if it reported that.
    pub fn of(&self, job: usize) -> Option<Progress> {
        self.shares[job].progress
    }

    /// Returns the bytes done and the total; 0 if unknown.
    ///
    /// Hosts that have not reported yet are assumed to have the same total as the others, if that is the same for all of them, as
    /// when files go to many hosts. What a host has not copied when it ends no longer counts.
    pub fn sum(&self) -> Progress {
        let mut sum = Progress::default();
        let (mut silent, mut common) = (0, None);
        for share in &self.shares {
            let Some(progress) = share.progress else {
                silent += u64::from(!share.has_ended);
                continue;
            };
            sum.done = sum.done.saturating_add(progress.done);
            let total = if share.has_ended { progress.done } else { progress.total.max(progress.done) };
            sum.total = sum.total.saturating_add(total);
            common = match common {
                None => Some(progress.total),
                Some(other) if other == progress.total => common,
                Some(_) => Some(0),
            };
        }
        sum.total = sum.total.saturating_add(common.unwrap_or_default().saturating_mul(silent));
        sum
    }

    /// Returns `1.2 GB of 4.0 GB, 118 MB/s, 0:24 left`; nothing if nothing is copied.
    pub fn text(&mut self, now: Instant) -> Option<String> {
        if !self.is_any {
            return None;
        }
        let sum = self.sum();
        // Of the samples from before the window, the newest stays: it is where the window begins.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sum.done));
        let mut text = bytes(sum.done);
        if sum.total > sum.done {
            text.push_str(&format!(" of {}", bytes(sum.total)));
        }
        let since = self.samples.front().map(|(at, done)| (now.saturating_duration_since(*at), *done));
        if let Some((time, before)) = since.filter(|(time, _)| *time >= LEAST) {
            let rate = sum.done.saturating_sub(before) as f64 / time.as_secs_f64();
            text.push_str(&format!(", {}/s", bytes(rate as u64)));
            let left = sum.total.saturating_sub(sum.done) as f64 / rate;
            // An estimate in days is useless.
            if left > 0.0 && left < LONGEST_LEFT {
                text.push_str(&format!(", {} left", clock(left.ceil() as u64)));
            }
        }
        Some(text)
    }
}

/// Formats seconds: `0:24`, `1:02:03`.
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Formats a number of bytes in units of 1000: `999 B`, `1.2 kB`, `99.9 MB`, `118 MB`.
pub fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut value, mut units) = (count as f64 / 1e3, ["kB", "MB", "GB", "TB", "PB", "EB"].iter());
    let mut unit = units.next();
    // What would be rounded to 1000 is 1.0 of the next unit.
    while value >= 999.5
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1e3, Some(next));
    }
    // Rounded here, 99.95 is 100, not 100.0.
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$} {}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units_of_1000() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1249, "1.2 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (118_400_000, "118 MB"),
            (4_000_000_000, "4.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    fn progress(done: u64, total: u64) -> Progress {
        Progress { done, total }
    }

    #[test]
    fn hosts_that_wait_have_as_much_to_copy_as_the_others() {
        let mut copied = Copied::new(4);
        assert_eq!(copied.sum(), progress(0, 0));
        copied.note(0, progress(100, 1000));
        copied.note(1, progress(0, 1000));
        assert_eq!(copied.sum(), progress(100, 4000));
        // An unreachable host copies nothing, a failed one no more.
        copied.end(2, false);
        copied.end(0, false);
        assert_eq!(copied.sum(), progress(100, 2100));
        copied.note(3, progress(0, 1000));
        assert_eq!(copied.sum(), progress(100, 2100));
        copied.end(3, true);
        assert_eq!(copied.sum(), progress(1100, 2100));
    }

    #[test]
    fn hosts_that_have_different_things_say_nothing_about_the_others() {
        let mut copied = Copied::new(3);
        copied.note(0, progress(100, 1000));
        copied.note(1, progress(5, 20));
        assert_eq!(copied.sum(), progress(105, 1020));
        // A host with an unknown total counts with what it has done.
        copied.note(1, progress(50, 0));
        assert_eq!(copied.sum(), progress(150, 1050));
        copied.note(0, progress(u64::MAX, u64::MAX));
        assert_eq!(copied.sum().done, u64::MAX, "whatever a host says");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut copied = Copied::new(1);
        let start = Instant::now();
        let mut after = |milliseconds: u64, done: Option<u64>| {
            if let Some(done) = done {
                copied.note(0, progress(done, 400_000_000));
            }
            copied.text(start + Duration::from_millis(milliseconds))
        };
        assert_eq!(after(0, None), None);
        assert_eq!(after(100, Some(0)).as_deref(), Some("0 B of 400 MB"));
        assert_eq!(after(600, Some(5_000_000)).as_deref(), Some("5.0 MB of 400 MB"));
        assert_eq!(after(1_100, Some(10_000_000)).as_deref(), Some("10.0 MB of 400 MB, 10.0 MB/s, 0:39 left"));
        for second in 2..=10 {
            after(100 + second * 1000, Some(10_000_000 + (second - 1) * 20_000_000));
        }
        assert_eq!(after(10_100, Some(190_000_000)).as_deref(), Some("190 MB of 400 MB, 20.0 MB/s, 0:11 left"));
        // It stalls, then ends.
        for second in 11..=16 {
            after(100 + second * 1000, None);
        }
        assert_eq!(after(16_200, None).as_deref(), Some("190 MB of 400 MB, 0 B/s"));
        assert_eq!(after(17_000, Some(400_000_000)).as_deref().map(|text| text.contains(" of ")), Some(false));
    }
}
