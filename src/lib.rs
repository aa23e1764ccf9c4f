//! Runs a command on 1 to 10,000 hosts over SSH in parallel, and gives every host exactly one outcome.
//!
//! ```text
//! argv, PSSH_*, config.toml ─► cli ─► hosts, command ─► plan (jobs, destinations) ─► run (queue, pool) ─► ssh (session, channel) ─► host
//!                                        ssh_config ──────►┘                            │                  copy (sftp, scp, rsync) ◄┘
//!              exit status ◄── cli ◄── output (the only writer of a run) ◄── events ◄───┘
//! ```
//!
//! A folder imports only those below it; `docs/architecture.md` says which and what is in them. Programs begin with [`client`].

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
