//! How many failures stop the run (`--stop-on-errors`).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::events::event::{Class, Outcome};
use crate::system::cancel::{Cancel, Reason};

/// The number of failed hosts that stops a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureLimit {
    /// This many, at least 1.
    Hosts(usize),
    /// This percentage of all hosts, above 0 and at most 100.
    Percent(f64),
}

impl FailureLimit {
    /// Reads `3` or `10%`.
    ///
    /// # Errors
    /// Neither, or 0 hosts; with the expected form.
    pub fn parse(text: &str) -> Result<FailureLimit, String> {
        let expected = || "expected a number of hosts, such as 3, or a percentage, such as 10%".to_owned();
        if let Some(number) = text.strip_suffix('%') {
            return match number.parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(FailureLimit::Percent(percent)),
                Ok(_) => Err("expected a percentage above 0 and at most 100".to_owned()),
                Err(_) => Err(expected()),
            };
        }
        match text.parse::<usize>() {
            Ok(0) => Err("0 would stop the run before it starts; 1 stops it at the first failure".to_owned()),
            Ok(count) => Ok(FailureLimit::Hosts(count)),
            Err(_) => Err(expected()),
        }
    }

    /// Returns the number of failed hosts out of `all` that stops the run: for a percentage the first number that reaches it.
    pub fn hosts(self, all: usize) -> usize {
        match self {
            FailureLimit::Hosts(count) => count,
            FailureLimit::Percent(percent) => ((all as f64 * percent / 100.0).ceil() as usize).max(1),
        }
    }
}

/// Counts failed hosts, and stops the run when there are too many.
pub struct FailureCount {
    count: AtomicUsize,
    limit: Option<usize>,
    cancel: Cancel,
}

impl FailureCount {
    /// Stops a run by `cancel` when `limit` hosts have failed.
    pub fn new(limit: Option<usize>, cancel: &Cancel) -> FailureCount {
        FailureCount { count: AtomicUsize::new(0), limit, cancel: cancel.clone() }
    }

    /// Counts the outcome of a host. Anything but exit status 0 is a failure, except a cancel.
    pub fn note(&self, outcome: &Outcome) {
        let Some(limit) = self.limit else { return };
        if matches!(outcome.class(), Class::Ok | Class::Cancelled) {
            return;
        }
        let failed = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if failed >= limit {
            self.cancel.trigger(Reason::TooManyFailed(failed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_percentages() {
        assert_eq!(FailureLimit::parse("3"), Ok(FailureLimit::Hosts(3)));
        assert_eq!(FailureLimit::parse("2.5%"), Ok(FailureLimit::Percent(2.5)));
        for bad in ["", "0", "-1", "x", "%", "0%", "101%", "NaN%", "inf%", "1 2"] {
            assert!(FailureLimit::parse(bad).is_err(), "{bad:?} was taken");
        }
        let hosts = |text: &str, all| FailureLimit::parse(text).expect("a limit").hosts(all);
        assert_eq!((hosts("10%", 100), hosts("10%", 101), hosts("10%", 1), hosts("100%", 7)), (10, 11, 1, 7));
        assert_eq!(hosts("5", 2), 5);
    }
}
