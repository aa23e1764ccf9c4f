//! Options of reports.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::JournalOpts;

/// Options of reports.
#[derive(Debug, Default, Args)]
pub struct ReportOpts {
    /// The same as --format json
    #[arg(long = "json", help_heading = "Output", conflicts_with = "format")]
    pub json: bool,

    /// Print only failures, on stderr
    ///
    /// For each failure: the outcome, a hint and the last lines.
    #[arg(short = 'q', long = "quiet", help_heading = "Output", conflicts_with_all = ["format", "json"])]
    pub quiet: bool,

    /// Print a timing summary
    ///
    /// It comes at the end: how long the parts took, and which hosts took longest.
    #[arg(long = "times", help_heading = "Output")]
    pub times: bool,

    /// Write the hosts that failed to this hosts file
    ///
    /// If FILE is also a file of -h, its comments stay.
    #[arg(long = "failed-to", help_heading = "Output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub failed_to: Option<PathBuf>,

    /// Write a JUnit XML report, a test case per host
    #[arg(long = "junit", help_heading = "Output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,

    /// Append a Markdown summary [$GITHUB_STEP_SUMMARY]
    ///
    /// Without =FILE, the file is the one in GITHUB_STEP_SUMMARY.
    #[arg(long = "ci-summary", help_heading = "Output", value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1,
          require_equals = true)]
    pub ci_summary: Option<Option<PathBuf>>,

    /// Exit with the largest exit status of all hosts
    ///
    /// A host without one counts as 255.
    #[arg(long = "max-status", hide_short_help = true, help_heading = "Output")]
    pub max_status: bool,

    /// Options of the journal.
    #[command(flatten)]
    pub journal: JournalOpts,
}
