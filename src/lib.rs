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

pub mod askpass;
pub mod bounded;
pub mod cancel;
pub mod cli;
pub mod client;
pub mod command;
pub mod copy;
pub mod descriptors;
pub mod dialogue;
pub mod duration;
pub mod engine;
pub mod error;
pub mod event;
pub mod exit;
pub mod file_names;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
pub mod host_args;
pub mod host_config;
pub mod host_options;
pub mod hosts;
pub mod input;
pub mod jobs;
pub mod limits;
mod lock;
pub mod nodeset;
pub mod output;
pub mod panics;
pub mod pool;
pub mod program;
pub mod proxy;
pub mod queue;
pub mod redact;
pub mod request;
pub mod resolve;
pub mod retry;
pub mod rsync;
pub mod run;
pub mod run_lock;
pub mod scp;
pub mod script;
pub mod secret;
pub mod settings;
pub mod sftp;
pub mod signals;
pub mod spill;
pub mod ssh;
pub mod ssh_args;
pub mod sudo;
pub mod suggest;
pub mod template;
pub mod terminal;
pub mod tolerance;
pub mod toml_file;
pub mod trusted_file;
pub mod trusted_path;
pub mod user_config;
pub mod variables;
pub mod work;
