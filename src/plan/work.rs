//! What is done on each host once it is connected: a command is run, or files are copied.

use std::path::PathBuf;
use std::sync::Arc;

use super::job::Commands;
use crate::command::input::Inputs;
use crate::copy::rsync::Rsync;
use crate::copy::{Download, Upload};

/// What is done.
pub enum Work {
    /// Commands are run.
    Commands {
        /// Each host's.
        commands: Commands,
        /// What they read.
        inputs: Inputs,
    },
    /// Files of ours are copied to all hosts.
    Upload(Arc<Upload>),
    /// Files of the hosts are copied here.
    Download {
        /// Which, and how.
        download: Arc<Download>,
        /// The directory of each host, by the number of its job.
        directories: Vec<PathBuf>,
    },
    /// rsync copies.
    Rsync(Rsync),
}
