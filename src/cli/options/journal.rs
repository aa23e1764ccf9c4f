//! Options of the journal.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::journal::rerun::Set;

/// Options of the journal, in all programs.
#[derive(Debug, Default, Args)]
pub struct JournalOpts {
    /// Record in FILE what is sent and how hosts end
    ///
    /// The record that a host's command is sent is on the disk before the command is sent. Runs follow one another in the file. It
    /// has no passwords and no values of variables, and of the command only a hash.
    #[arg(long = "journal", value_name = "FILE", help_heading = "Journal", value_hint = ValueHint::FilePath)]
    pub journal: Option<PathBuf>,

    /// Record what hosts print, too
    #[arg(long = "journal-output", hide_short_help = true, help_heading = "Journal", requires = "journal")]
    pub journal_output: bool,

    /// Run hosts that ended so: unreached, failed, lost
    ///
    /// Several words are separated by commas: unreached, failed, or an outcome, such as exit, timeout, lost, cancelled or ok. failed
    /// leaves out lost hosts and hosts whose command may still run. The list of hosts must be the same, the command need not be.
    #[arg(long = "rerun", value_name = "SET", help_heading = "Journal", requires = "journal", value_parser = Set::parse)]
    pub rerun: Option<Set>,

    /// Show the runs in journals; connect to nothing
    ///
    /// The journals of all shards of a run are shown as one run. All formats and reports work as for a run.
    #[arg(long = "replay", value_name = "FILE", help_heading = "Journal", num_args = 1..,
          conflicts_with_all = ["journal", "dry_run", "explain"], value_hint = ValueHint::FilePath)]
    pub replay: Vec<PathBuf>,
}

/// `--resume` of the programs in which it does not continue partial files, too.
#[derive(Debug, Default, Args)]
pub struct ResumeOpt {
    /// Continue the run in the journal; send nothing twice
    ///
    /// Hosts, command and values must be the same. Hosts that have ended keep their outcome. A host whose command was sent and whose end
    /// is not known is lost, and is not repeated. Without a journal, a new run begins.
    #[arg(long = "resume", help_heading = "Journal", requires = "journal", conflicts_with = "rerun")]
    pub resume: bool,
}
