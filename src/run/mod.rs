//! Carries the plan out: queue, threads, attempts.

pub(crate) mod attempt;
pub mod engine;
mod files;
pub mod pool;
pub mod queue;
pub(crate) mod runner;
pub(crate) mod transfer;
