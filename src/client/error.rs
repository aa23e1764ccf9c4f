//! The one error of the library.

use std::io;
use std::path::PathBuf;

use super::JoinTimeout;
use crate::command::CommandError;
use crate::command::host_args::HostArgsError;
use crate::copy::directories::DirectoryError;
use crate::copy::sources::SourcesError;
use crate::hosts::HostsError;
use crate::plan::error::Unprepared;
use crate::run::engine::StartError;
use crate::text::message::reason;

/// Why something could not be started on any host, or not be waited for. How a single host ended is its
/// [`Outcome`](crate::Outcome). Unless it is a [`JoinTimeout`], no host was connected to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry of the list is not a host.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// There are no hosts.
    #[error("the list of hosts is empty")]
    NoHosts,
    /// The command cannot be sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The name is not a valid user name for sudo.
    #[error("{0:?}: {1}")]
    User(String, &'static str),
    /// The per-host arguments do not fit the command.
    #[error(transparent)]
    Arguments(#[from] HostArgsError),
    /// Per-host names of a copy: so many, for so many hosts.
    #[error("{0} names for {1} hosts")]
    Names(usize, usize),
    /// A path of a copy is not possible.
    #[error("{path}: {1}", path = .0.display())]
    Path(PathBuf, &'static str),
    /// Local files cannot be read.
    #[error("{0}")]
    Sources(String),
    /// The local directory of a host cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Something needed to connect is missing or wrong: ssh_config, a key, a password.
    #[error(transparent)]
    Unprepared(#[from] Unprepared),
    /// The system lacks resources for the run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The time for waiting is over.
    #[error(transparent)]
    Join(#[from] JoinTimeout),
    /// A system call failed, or kept output cannot be read.
    #[error("{}", reason(.0))]
    System(#[from] io::Error),
}

impl From<SourcesError> for Error {
    fn from(error: SourcesError) -> Error {
        Error::Sources(error.to_string())
    }
}
