//! The options that are about the program itself.

use clap::{ArgAction, Args};

use crate::cli::generate::Artefact;

/// What is told, and what is done instead of a run.
#[derive(Debug, Default, Args)]
pub struct OtherOpts {
    /// Tell what is done for each host
    #[arg(short = 'v', long = "verbose", help_heading = "Output", action = ArgAction::Count)]
    pub verbose: u8,

    /// Show the command of each host as it would be sent, connect to nothing and ask for no password
    #[arg(long = "dry-run", help_heading = "Other", conflicts_with = "explain")]
    pub dry_run: bool,

    /// Show for each host every setting but the values of variables, and where it comes from; connect to nothing
    #[arg(long = "explain", help_heading = "Other")]
    pub explain: bool,

    /// Print the manual page or the completions for a shell
    #[arg(long = "generate", value_name = "WHAT", help_heading = "Other", value_enum)]
    pub generate: Option<Artefact>,

    /// Show this help
    #[arg(long = "help", help_heading = "Other", action = ArgAction::HelpShort)]
    pub help: Option<bool>,

    /// Show the version
    #[arg(short = 'V', long = "version", help_heading = "Other", action = ArgAction::Version)]
    pub version: Option<bool>,
}
