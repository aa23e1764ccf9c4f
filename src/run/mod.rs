//! Executes the plan: queue, threads, attempts.

pub(crate) mod attempt;
pub mod engine;
pub mod pool;
pub mod queue;
mod room;
pub(crate) mod runner;
pub(crate) mod transfer;
