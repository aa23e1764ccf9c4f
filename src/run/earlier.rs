//! What is known of a run before it begins, from the run that it continues.

use std::sync::Arc;

use crate::events::event::Event;

/// Passes on what happened to hosts.
pub type Recall = Box<dyn FnOnce(&mut dyn FnMut(Event)) + Send>;

/// Hosts that have ended before the run begins. They are not connected to.
#[derive(Default)]
pub struct Earlier {
    /// Whether a job is one of these, by its number; empty if there are none.
    pub jobs: Arc<[bool]>,
    /// Passes on what happened to them.
    pub recall: Option<Recall>,
}
