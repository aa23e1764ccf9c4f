//! The work on each host once it is connected: run a command, or copy files.

use super::job::Commands;
use crate::command::input::Inputs;
use crate::copy::Copy;
use crate::copy::rsync::Rsync;

/// The work of a run.
pub enum Work {
    /// Run commands.
    Commands {
        /// Each host's.
        commands: Commands,
        /// Their input.
        inputs: Inputs,
    },
    /// Log in and run nothing.
    Ping,
    /// Copy files on the session.
    Copy(Copy),
    /// Copy files with rsync.
    Rsync(Rsync),
}
