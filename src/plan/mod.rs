//! Decisions before the first connection: settings, jobs, destinations.

pub(crate) mod channel_requests;
pub mod check;
pub(crate) mod configured;
pub(crate) mod destinations;
pub mod error;
pub mod exec_request;
pub(crate) mod explain;
pub mod failure_limit;
pub mod job;
mod known_hosts_files;
pub mod portion;
pub(crate) mod precedence;
pub mod program;
pub mod retry;
pub mod rolling;
pub mod settings;
pub mod success;
pub mod work;
