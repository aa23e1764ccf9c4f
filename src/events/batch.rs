//! Batches of a rolling run.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::tally::Tally;

/// A batch of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number, from 1.
    pub number: usize,
    /// How many batches there are.
    pub of: usize,
    /// The numbers of its jobs, in the order in which they start.
    pub jobs: Arc<[usize]>,
}

/// What happens to a batch.
#[derive(Debug)]
pub enum BatchNews {
    /// Its hosts may start.
    Started {
        /// The batch.
        batch: Batch,
    },
    /// All its hosts have ended.
    Ended {
        /// The batch.
        batch: Batch,
        /// Takes the tally of its hosts from the output, once that has shown them.
        tally: Sender<Tally>,
    },
    /// The run pauses.
    Paused {
        /// Until then.
        until: Instant,
        /// The batch that follows.
        next: Batch,
    },
}
