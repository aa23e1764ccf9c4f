//! The options that say how a run is shown.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::output::CiGroups;

/// How output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines as they come, each with its host
    Lines,
    /// The same output and outcome once, for all hosts that have it
    Gather,
    /// Events for programs, one JSON object a line
    Json,
}

/// How a run is shown, and what else is made of it.
#[derive(Debug, Default, Args)]
pub struct ReportOpts {
    /// How output is shown [default: lines]
    #[arg(long = "format", help_heading = "Output", value_name = "FORMAT", value_enum)]
    pub format: Option<Format>,

    /// The same as --format json
    #[arg(long = "json", help_heading = "Output", conflicts_with = "format")]
    pub json: bool,

    /// With --format gather: show how the others differ from the largest group of hosts
    #[arg(long = "diff", help_heading = "Output", conflicts_with = "json")]
    pub diff: bool,

    /// Fail, with exit status 5, if not all hosts have the same output and outcome
    #[arg(long = "expect-same", help_heading = "Output")]
    pub expect_same: bool,

    /// Show nothing of hosts that are well; of the others the outcome, a hint and the last lines, on stderr
    #[arg(short = 'q', long = "quiet", help_heading = "Output", conflicts_with_all = ["format", "json", "diff", "ci_groups"])]
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

    /// With --format gather: fold what hosts print in the log of a CI system, which takes no commands from it
    #[arg(long = "ci-groups", help_heading = "Output", value_name = "SYSTEM", value_enum, conflicts_with = "json")]
    pub ci_groups: Option<CiGroups>,

    /// Exit with the largest exit status of all hosts; a host without one counts as 255
    #[arg(long = "max-status", help_heading = "Output")]
    pub max_status: bool,
}

impl ReportOpts {
    /// How output is shown.
    ///
    /// # Errors
    /// An option does not go with the format that is asked for.
    pub fn format(&self) -> Result<Format, String> {
        let wants = [("--diff", self.diff), ("--ci-groups", self.ci_groups.is_some())];
        let wants = wants.into_iter().find(|(_, is_given)| *is_given);
        match (self.format, wants) {
            (Some(Format::Gather) | None, Some(_)) => Ok(Format::Gather),
            (Some(format), Some((option, _))) => {
                let name = format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
                Err(format!("{option} goes with --format gather, not with {name}"))
            }
            (Some(format), None) => Ok(format),
            (None, None) if self.json => Ok(Format::Json),
            (None, None) => Ok(Format::Lines),
        }
    }
}
