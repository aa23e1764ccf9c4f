//! The hosts that wait for another attempt: how many, why, and until when.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::text::sanitize::{columns, sanitize};

/// Hosts that wait for another attempt.
#[derive(Debug, Default)]
pub struct Retries {
    /// When each job is retried, and the index of its reason; by its number.
    waiting: HashMap<usize, (Instant, usize)>,
    /// The same times in their order.
    due: BTreeSet<(Instant, usize)>,
    /// The reasons, and how many wait for each. There are few.
    reasons: Vec<(String, usize)>,
}

impl Retries {
    /// Records that a job waits until then, and why its attempt failed.
    pub fn begin(&mut self, job: usize, reason: &str, until: Instant) {
        self.end(job);
        let place = self.reasons.iter().position(|(known, _)| known == reason).unwrap_or_else(|| {
            self.reasons.push((reason.to_owned(), 0));
            self.reasons.len() - 1
        });
        self.reasons[place].1 += 1;
        self.waiting.insert(job, (until, place));
        self.due.insert((until, job));
    }

    /// Records that a job no longer waits.
    pub fn end(&mut self, job: usize) {
        if let Some((until, place)) = self.waiting.remove(&job) {
            self.due.remove(&(until, job));
            self.reasons[place].1 -= 1;
        }
    }

    /// Returns `2 retrying: Connection refused, next in 4 s`; nothing if no host waits. Drops parts that do not fit in `width` columns.
    pub fn text(&self, now: Instant, width: usize) -> Option<String> {
        let count = self.waiting.len();
        let (next, _) = self.due.first()?;
        let (reason, most) = self.reasons.iter().rev().max_by_key(|(_, count)| *count)?;
        let others = if *most < count { " and others" } else { "" };
        let why = format!(": {}{others}", sanitize(reason));
        // A retry that is due waits for a free worker.
        let left = next.saturating_duration_since(now).as_secs_f64().ceil();
        let when = if left > 0.0 { format!(", next in {left} s") } else { String::new() };
        let forms = [(&why, &when), (&why, &String::new()), (&String::new(), &when)]
            .map(|(why, when)| format!("{count} retrying{why}{when}"));
        let fits = forms.into_iter().find(|form| columns(form) <= width);
        Some(fits.unwrap_or_else(|| format!("{count} retrying")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn hosts_are_counted_and_the_commonest_reason_is_told() {
        let (start, mut retries) = (Instant::now(), Retries::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(retries.text(start, 80), None);
        retries.begin(0, "Connection refused", at(9));
        retries.begin(1, "No route to host", at(5));
        retries.begin(2, "No route to host", at(7));
        let text = |retries: &Retries, seconds, width| retries.text(at(seconds), width).expect("hosts wait");
        assert_eq!(text(&retries, 1, 80), "3 retrying: No route to host and others, next in 4 s");
        assert_eq!(text(&retries, 1, 50), "3 retrying: No route to host and others");
        assert_eq!(text(&retries, 1, 30), "3 retrying, next in 4 s");
        assert_eq!(text(&retries, 1, 3), "3 retrying");
        retries.end(1);
        retries.end(1);
        assert_eq!(text(&retries, 1, 80), "2 retrying: Connection refused and others, next in 6 s");
        retries.begin(2, "Connection refused", at(20));
        assert_eq!(text(&retries, 1, 80), "2 retrying: Connection refused, next in 8 s");
        assert_eq!(text(&retries, 9, 80), "2 retrying: Connection refused", "it waits for others to end");
        retries.end(0);
        retries.end(2);
        assert_eq!((retries.text(start, 80), retries.due.len()), (None, 0));
    }
}
