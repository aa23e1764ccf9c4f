//! How many failures stop the run (`--stop-on-errors`, `--stop-on-unreached`), and how it stops.

use std::convert::Infallible;
use std::sync::{Mutex, OnceLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::portion::{EXPECTED, Portion};
use crate::events::event::{Class, Outcome};
use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;

/// What happens to running hosts once too many have failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopMode {
    /// They are stopped.
    #[default]
    Now,
    /// They end by themselves. Nothing more is started, and no command is sent to a host that is still being connected to.
    Wait,
}

/// Reads the value of `--stop-on-unreached`: `3`, `10%`, or `none`, with which these hosts never stop the run.
///
/// # Errors
/// None of these, with the expected form.
pub fn unreached(text: &str) -> Result<Portion, String> {
    if text == "none" {
        return Ok(Portion::Hosts(usize::MAX));
    }
    let zero = "0 would stop the run before it starts; 1 stops it at the first host that is not reached";
    Portion::parse(text, zero).map_err(|problem| problem.replace(EXPECTED, &format!("{EXPECTED}, or none")))
}

/// The value of `--stop-on-errors`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopOnErrors {
    /// The number of failures that stops the run; `None` for any number.
    pub limit: Option<Portion>,
    /// How it stops, if given.
    pub mode: Option<StopMode>,
}

impl StopOnErrors {
    /// Reads `3`, `10%` or `none`, with `:now` or `:wait` after a number.
    ///
    /// # Errors
    /// None of these, with the expected form.
    pub fn parse(text: &str) -> Result<StopOnErrors, String> {
        let (limit, mode) = match text.split_once(':') {
            None => (text, None),
            Some((limit, "now")) => (limit, Some(StopMode::Now)),
            Some((limit, "wait")) => (limit, Some(StopMode::Wait)),
            Some((_, mode)) => {
                return Err(format!("{mode:?} after the colon: expected now, which also stops running hosts, or wait"));
            }
        };
        match (limit, mode) {
            ("none", None) => Ok(StopOnErrors { limit: None, mode: None }),
            ("none", Some(_)) => Err("none never stops the run, neither now nor later".to_owned()),
            _ => {
                let zero = "0 would stop the run before it starts; 1 stops it at the first failure";
                let limit = Portion::parse(limit, zero);
                // A mode alone has no number.
                let forms =
                    |problem: String| problem.replace(EXPECTED, &format!("{EXPECTED}; N:wait or N:now; or none"));
                Ok(StopOnErrors { limit: Some(limit.map_err(forms)?), mode })
            }
        }
    }
}

/// The numbers of failed hosts that stop a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Failed hosts; `None` for any number.
    pub errors: Option<usize>,
    /// Hosts that were not reached; `None` if they count as failed.
    pub unreached: Option<usize>,
    /// How the run stops.
    pub mode: StopMode,
}

/// Counts failed hosts, and stops the run when there are too many.
pub struct FailureCount {
    limits: Limits,
    /// How many have failed, and how many of them count as not reached. Held while a start is allowed, so that none is after a failure
    /// that ends the run.
    counts: Mutex<(usize, usize)>,
    cancel: Cancel,
    /// Why nothing more is started.
    halted: OnceLock<Reason>,
    halt: Receiver<Infallible>,
    armed: Mutex<Option<Sender<Infallible>>>,
}

impl FailureCount {
    /// Stops a run by `cancel` when `limits` are reached.
    pub fn new(limits: Limits, cancel: &Cancel) -> FailureCount {
        let (sender, halt) = bounded(0);
        let (counts, armed) = (Mutex::default(), Mutex::new(Some(sender)));
        FailureCount { limits, counts, cancel: cancel.clone(), halted: OnceLock::new(), halt, armed }
    }

    /// Counts the outcome of a host. Everything that is not a success is a failure, except a cancel.
    pub fn note(&self, outcome: &Outcome) {
        let Limits { errors, unreached, mode } = self.limits;
        if errors.is_none() && unreached.is_none() || matches!(outcome.class(), Class::Ok | Class::Cancelled) {
            return;
        }
        let mut counts = lock(&self.counts);
        let (count, limit, reason): (_, _, fn(usize) -> Reason) = if unreached.is_some() && outcome.is_unreached() {
            (&mut counts.1, unreached, Reason::TooManyUnreached)
        } else {
            (&mut counts.0, errors, Reason::TooManyFailed)
        };
        *count += 1;
        if limit.is_some_and(|limit| *count >= limit) {
            let reason = reason(*count);
            match mode {
                StopMode::Now => drop(self.cancel.trigger(reason)),
                StopMode::Wait => self.halt(reason),
            }
        }
    }

    /// Allows that a job starts, or its command, or says why nothing may any more.
    ///
    /// # Errors
    /// The reason.
    pub fn may_start(&self) -> Result<(), Reason> {
        if self.limits.mode == StopMode::Now && self.halted.get().is_none() {
            return Ok(());
        }
        let _counts = lock(&self.counts);
        self.halted().map_or(Ok(()), Err)
    }

    /// Returns why nothing more is started, if so.
    pub fn halted(&self) -> Option<Reason> {
        self.halted.get().copied()
    }

    /// Disconnected when nothing more is started; never carries a message.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.halt
    }

    /// Lets nothing more start. What runs may end.
    pub fn halt(&self, reason: Reason) {
        if self.halted.set(reason).is_ok() {
            lock(&self.armed).take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::host_error::HostError;

    #[test]
    fn a_limit_has_a_mode() {
        let parsed = |text| StopOnErrors::parse(text).map(|StopOnErrors { limit, mode }| (limit, mode));
        assert_eq!(parsed("3"), Ok((Some(Portion::Hosts(3)), None)));
        assert_eq!(parsed("10%:wait"), Ok((Some(Portion::Percent(10.0)), Some(StopMode::Wait))));
        assert_eq!(parsed("1:now"), Ok((Some(Portion::Hosts(1)), Some(StopMode::Now))));
        assert_eq!(parsed("none"), Ok((None, None)));
        for bad in ["", "0", ":wait", "1:", "1:later", "none:wait", "wait", "1:now:wait", "None"] {
            assert!(parsed(bad).is_err(), "{bad:?} was taken");
        }
        for bad in ["never", "off", "wait", ":wait", "-1"] {
            let problem = parsed(bad).expect_err(bad);
            assert!(problem.ends_with("such as 10%; N:wait or N:now; or none"), "{bad}: {problem}");
        }
    }

    fn count(errors: Option<usize>, unreached: Option<usize>, mode: StopMode) -> (FailureCount, Cancel) {
        let cancel = Cancel::new().expect("a pipe");
        (FailureCount::new(Limits { errors, unreached, mode }, &cancel), cancel)
    }

    #[test]
    fn unreached_hosts_count_apart_only_if_they_have_a_limit() {
        let refused = || Outcome::from(HostError::Connect { tried: Vec::new() });
        let (both, cancel) = count(Some(2), Some(2), StopMode::Now);
        [refused(), Outcome::Exited(1), Outcome::Exited(0)].iter().for_each(|outcome| both.note(outcome));
        assert_eq!(cancel.reason(), None);
        both.note(&refused());
        assert_eq!(cancel.reason(), Some(Reason::TooManyUnreached(2)));
        let (one, cancel) = count(Some(2), None, StopMode::Now);
        [refused(), Outcome::Exited(1)].iter().for_each(|outcome| one.note(outcome));
        assert_eq!(cancel.reason(), Some(Reason::TooManyFailed(2)));
        let (other, cancel) = count(None, Some(1), StopMode::Now);
        [Outcome::Exited(1), Outcome::Exited(1)].iter().for_each(|outcome| other.note(outcome));
        assert_eq!(cancel.reason(), None);
    }

    #[test]
    fn what_halts_the_run_lets_what_runs_end_in_every_mode() {
        for mode in [StopMode::Now, StopMode::Wait] {
            let (count, cancel) = count(Some(9), None, mode);
            assert_eq!(count.may_start(), Ok(()));
            count.halt(Reason::JournalFailed);
            assert_eq!((count.may_start(), count.halted()), (Err(Reason::JournalFailed), Some(Reason::JournalFailed)));
            assert!(!cancel.is_triggered() && count.channel().recv().is_err());
        }
    }

    #[test]
    fn none_lets_unreached_hosts_count_for_nothing() {
        let limit = unreached("none").expect("none").hosts(3);
        let (count, cancel) = count(Some(1), Some(limit), StopMode::Now);
        (0..3).for_each(|_| count.note(&HostError::Connect { tried: Vec::new() }.into()));
        assert_eq!(cancel.reason(), None);
        count.note(&Outcome::Exited(1));
        assert_eq!(cancel.reason(), Some(Reason::TooManyFailed(1)));
        for bad in ["", "0", "never", "1:wait"] {
            assert!(unreached(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn waiting_lets_what_runs_end() {
        let (count, cancel) = count(Some(1), None, StopMode::Wait);
        assert_eq!((count.may_start(), count.halted()), (Ok(()), None));
        count.note(&Outcome::Exited(1));
        assert_eq!(count.may_start(), Err(Reason::TooManyFailed(1)));
        count.note(&Outcome::Exited(1));
        assert_eq!(count.halted(), Some(Reason::TooManyFailed(1)), "the first reason stays");
        assert!(!cancel.is_triggered() && count.channel().recv().is_err());
    }
}
