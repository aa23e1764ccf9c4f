//! What is done on each host once it is connected: a command is run, or files are copied.

use super::job::Commands;
use crate::command::input::Inputs;
use crate::copy::Copy;
use crate::copy::rsync::Rsync;

/// What is done.
pub enum Work {
    /// Commands are run.
    Commands {
        /// Each host's.
        commands: Commands,
        /// What they read.
        inputs: Inputs,
    },
    /// Nothing: the host is connected to and logged in on.
    Ping,
    /// Files are copied on the session.
    Copy(Copy),
    /// rsync copies them.
    Rsync(Rsync),
}
