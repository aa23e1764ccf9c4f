//! The check after a command: what is repeated on the host until it passes, and for how long.

use std::time::Duration;

use super::job::Commands;
use crate::text::duration;

/// The check of a run.
pub struct Check {
    /// The command of each host.
    pub commands: Commands,
    /// Its times.
    pub times: CheckTimes,
}

/// The times of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckTimes {
    /// The time limit for all tries together, from the end of the command.
    pub timeout: Duration,
    /// The pause from the end of a try to the start of the next one.
    pub interval: Duration,
}

impl Default for CheckTimes {
    fn default() -> CheckTimes {
        CheckTimes { timeout: Duration::from_secs(60), interval: Duration::from_secs(2) }
    }
}

/// Reads the time limit of a check.
///
/// # Errors
/// It is not a time, or leaves none for a try.
pub fn timeout(text: &str) -> Result<Duration, String> {
    positive(text, "0 leaves no time for a try; a check needs a limit, such as 5m")
}

/// Reads the pause between two tries.
///
/// # Errors
/// It is not a time, or there is no pause.
pub fn interval(text: &str) -> Result<Duration, String> {
    positive(text, "0 would repeat the check without a pause; the shortest useful one is about 0.5")
}

fn positive(text: &str, zero: &str) -> Result<Duration, String> {
    duration::parse(text).and_then(|time| if time.is_zero() { Err(zero.to_owned()) } else { Ok(time) })
}
