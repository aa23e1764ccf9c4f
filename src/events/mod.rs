//! What happens to a host and how it ends: events, outcomes, errors, the exit status.

pub mod batch;
pub mod check;
pub mod event;
pub mod exit_status;
pub mod host_error;
pub mod interruption;
pub mod recorded;
pub mod remedy;
pub mod tally;
