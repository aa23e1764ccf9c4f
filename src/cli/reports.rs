//! The options that say how a run is shown.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::output::CiGroups;

/// How a run is shown, and what else is made of it.
#[derive(Debug, Default, Args)]
pub struct ReportOpts {
    /// The same as --format json
    #[arg(long = "json", help_heading = "Output", conflicts_with_all = ["format", "print", "inline", "inline_stdout"])]
    pub json: bool,

    /// With --format gather: show how the others differ from the largest group of hosts
    #[arg(long = "diff", help_heading = "Output", conflicts_with = "json")]
    pub diff: bool,

    /// Fail, with exit status 5, if not all hosts have the same output and outcome
    #[arg(long = "expect-same", help_heading = "Output")]
    pub expect_same: bool,

    /// Show nothing of hosts that are well; of the others the outcome, a hint and the last lines, on stderr
    #[arg(short = 'q', long = "quiet", help_heading = "Output", 
          conflicts_with_all = ["format", "json", "diff", "ci_groups", "print", "inline", "inline_stdout"])]
    pub quiet: bool,

    /// Tell at the end how long the parts took, and which hosts took longest
    #[arg(long = "times", help_heading = "Output")]
    pub times: bool,

    /// Write the entries of the hosts that failed to this hosts file, to run again
    #[arg(long = "failed-to", help_heading = "Output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub failed_to: Option<PathBuf>,

    /// Write a report for CI systems to this file: JUnit's XML, a test case for each host
    #[arg(long = "junit", help_heading = "Output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,

    /// With --format gather or inline: fold what hosts print in the log of a CI system, which takes no commands from it
    #[arg(long = "ci-groups", help_heading = "Output", value_name = "SYSTEM", value_enum, conflicts_with = "json")]
    pub ci_groups: Option<CiGroups>,

    /// Exit with the largest exit status of all hosts; a host without one counts as 255
    #[arg(long = "max-status", help_heading = "Output")]
    pub max_status: bool,
}
