//! Runs a command on 1 to 10,000 hosts over SSH in parallel, and gives every host exactly one outcome.
//!
//! ```text
//! argv, PSSH_*, config.toml ── cli ─► Settings ───┐
//! COMMAND, --host-args ── command, host_args ─┐   │
//! --host-config ─ host_config ─┐                  │
//! -h -H -w ────── hosts ─► HostSpec ─ jobs ─► Job ┴─► queue (names looked up, list order) ─► pool (rayon)
//!                                                       │ on one thread, per job:
//!                                                       │   ssh/session  (socket or tunnel → handshake → host key → auth)
//!                                                       │   ssh/exec     (one poll loop: stdin, stdout, stderr, deadline, cancel)
//!                                                       ▼
//!                        Event over a bounded channel ──► output (main thread, the only writer)
//!  signals ─ Cancel ─► ends every wait                       reports; Tally ─► exit status
//! ```

pub mod cli;
pub mod client;
pub mod command;
pub mod copy;
pub mod events;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hosts;
pub mod output;
pub mod plan;
pub mod run;
pub mod ssh;
pub mod ssh_config;
pub mod system;
pub mod text;
