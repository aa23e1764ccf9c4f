//! Runs a command on 1 to 10,000 hosts over SSH in parallel, and gives every host exactly one outcome.
//!
//! ```no_run
//! use pssh::{Client, Settings};
//!
//! # fn main() -> Result<(), pssh::Error> {
//! let client = Client::new(["web1", "root@web2:2222"], Settings::for_library()?)?;
//! let run = client.run_command("uptime")?;
//! for host in &run {
//!     for line in host.stdout() {
//!         println!("{}: {}", host.label(), String::from_utf8_lossy(&line?));
//!     }
//! }
//! println!("{}", run.join(None)?);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] has a list of hosts and the [`Settings`] to reach them. It runs a [`Command`] on all of them: a [`Run`] has a [`Host`]
//! for each, with its output and finally its [`Outcome`].
//!
//! Times are [`Duration`](std::time::Duration)s, sizes are in bytes, and text from hosts is bytes or has been made safe to print. No function
//! panics, whatever its arguments, hosts and files are; a panic is a bug. Where the documentation says "the reference client", it means
//! `ParallelSSHClient` of parallel-ssh 1.9 (paramiko edition), with whose names most of the library agrees. Keywords such as
//! `ConnectTimeout` are those of ssh_config(5).
//!
//! # Inside
//!
//! ```text
//! argv, PSSH_*, config.toml ─► cli ─► hosts, command ─► plan (jobs, destinations) ─► run (queue, pool) ─► ssh (session, channel) ─► host
//!                                        ssh_config ──────►┘                            │                  copy (sftp, scp, rsync) ◄┘
//!              exit status ◄── cli ◄── output (the only writer of a run) ◄── events ◄───┘
//! ```
//!
//! A folder imports only the folders below it; see `docs/architecture.md`. The feature `cli`, on by default, has the five programs.

// Some of what the folders offer is for the programs only.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

#[cfg(feature = "cli")]
mod cli;
mod client;
mod command;
mod copy;
mod events;
#[cfg(all(feature = "cli", any(test, fuzzing)))]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod internal;
mod journal;
#[cfg(feature = "cli")]
mod output;
mod plan;
mod run;
mod ssh;
mod ssh_config;
mod system;
mod text;

pub use crate::client::{Client, Command, Error, Events, Happening, Host, JoinTimeout, Lines, Run, RunEvent, Transfer};
pub use crate::command::host_args::{Arguments, HostArgsError};
pub use crate::command::input::Writer;
pub use crate::command::sudo::Sudo;
pub use crate::command::{CommandError, Shell};
pub use crate::copy::directories::DirectoryError;
pub use crate::events::check::{CheckFailure, CheckReport, GivenUp};
pub use crate::events::event::{Class, HostStage, Outcome, Phase, Progress, Stream};
pub use crate::events::exit_status;
pub use crate::events::host_error::{HostError, HostKeyError, LoginError, ProxyError};
pub use crate::events::recorded::Recorded;
pub use crate::events::remedy::Remedy;
pub use crate::events::tally::Tally;
pub use crate::hosts::options::{HostKeyCheck, HostOptions};
pub use crate::hosts::proxy::{Hop, Proxy, Via};
pub use crate::hosts::{HostSpec, HostsError, ListPlace, Origin, gather};
pub use crate::plan::error::Unprepared;
pub use crate::plan::failure_limit::StopMode;
pub use crate::plan::portion::Portion;
pub use crate::plan::retry::RetryPolicy;
pub use crate::plan::settings::{AgentChoice, Settings, SshOption, WantedVariable};
pub use crate::plan::success::Success;
pub use crate::run::engine::StartError;
pub use crate::ssh_config::Files as ConfigFiles;
pub use crate::system::password_source::{Secret, Source};

/// A client can be shared by threads, and everything that it returns can be moved to another one.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Client>();
    is_send_and_sync::<Settings>();
    is_send_and_sync::<Command<'_>>();
    is_send_and_sync::<Transfer<'_>>();
    is_send_and_sync::<Run>();
    is_send_and_sync::<Host>();
    is_send_and_sync::<Outcome>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<Events<'_>>();
    is_send_and_sync::<RunEvent>();
    is_send_and_sync::<Lines>();
    is_send_and_sync::<Writer>();
};
