//! How the hosts of a run ended, counted.

use std::fmt;

use super::event::{Class, Outcome};
use crate::text::message::hosts;

/// What ssh(1) exits with if there is no exit status of the command ("EXIT STATUS").
pub const NO_STATUS: u32 = 255;

/// How many jobs ended in which class: the only source of the program's exit status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: std::collections::BTreeMap<Class, usize>,
    /// The largest exit status that was received; 0 of a host that succeeded in any way, [`NO_STATUS`] of one that failed with 0.
    largest: Option<u32>,
}

impl Tally {
    /// Counts one more job.
    pub(crate) fn add(&mut self, class: Class) {
        *self.counts.entry(class).or_default() += 1;
    }

    /// Counts one more job, with its exit status.
    pub(crate) fn add_outcome(&mut self, outcome: &Outcome) {
        self.add(outcome.class());
        let status = match outcome.class() {
            Class::Ok => Some(0),
            Class::Exit => outcome.exit_status().map(|status| if status == 0 { NO_STATUS } else { status }),
            _ => None,
        };
        self.largest = self.largest.max(status);
    }

    /// Returns the largest exit status of hosts that have one, if any.
    pub fn largest_status(&self) -> Option<u32> {
        self.largest
    }

    /// Returns how many jobs ended in `class`.
    pub fn count(&self, class: Class) -> usize {
        self.counts.get(&class).copied().unwrap_or(0)
    }

    /// Returns the number of all jobs.
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Returns the classes that occurred, with their counts, in the order of [`Class`].
    pub fn iter(&self) -> impl Iterator<Item = (Class, usize)> + '_ {
        self.counts.iter().map(|(class, count)| (*class, *count))
    }
}

impl fmt::Display for Tally {
    /// Writes `6 hosts: 4 ok, 1 exit, 1 connect`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", hosts(self.total()))?;
        for (place, (class, count)) in self.iter().enumerate() {
            write!(f, "{} {count} {}", if place == 0 { "" } else { "," }, class.word())?;
        }
        Ok(())
    }
}
