//! Executes the plan: queue, threads, attempts.

mod batches;
mod check;
pub mod earlier;
pub mod engine;
mod gate;
mod pace;
pub mod pool;
mod prepared;
pub mod queue;
mod retries;
mod room;
pub(crate) mod runner;
pub(crate) mod session_work;
pub mod sessions;
pub(crate) mod transfer;
pub mod workers;
