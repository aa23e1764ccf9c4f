//! Executes the plan: queue, threads, attempts.

mod batches;
pub mod engine;
mod pace;
pub mod pool;
pub mod queue;
mod retries;
mod room;
pub(crate) mod runner;
pub(crate) mod session_work;
pub(crate) mod transfer;
