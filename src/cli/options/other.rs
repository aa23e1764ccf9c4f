//! Options of the program itself.

use clap::{ArgAction, Args, ValueEnum};

use crate::cli::generate::Artefact;

/// Options that replace a run, and `-v`.
#[derive(Debug, Default, Args)]
pub struct OtherOpts {
    /// Print what is done for each host
    #[arg(short = 'v', long = "verbose", help_heading = "Output", action = ArgAction::Count)]
    pub verbose: u8,

    /// Print the commands without connecting
    ///
    /// The command of each host is shown as it would be sent. No password is asked for.
    #[arg(long = "dry-run", help_heading = "Other", conflicts_with = "explain")]
    pub dry_run: bool,

    /// Print the settings of each host and their origins
    ///
    /// Nothing is connected to. Values of variables are not shown.
    #[arg(long = "explain", help_heading = "Other")]
    pub explain: bool,

    /// Print the hosts
    ///
    /// `lines` prints `[user@]host[:port]` on a line for each host; `full` adds the options of its line in a hosts file, such as
    /// alias=web1, so that -h reads back the same; `folded` prints one list for -w. Lines are in the order of --order. Nothing is
    /// connected to, and no command is needed.
    #[arg(long = "list", value_name = "FORMAT", help_heading = "Other", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "lines", conflicts_with_all = ["dry_run", "explain"])]
    pub list: Option<ListFormat>,

    /// Print one: man, config-man, bash, zsh or fish
    ///
    /// man and config-man are manual pages, the others completions for a shell.
    #[arg(
        long = "generate",
        hide_short_help = true,
        value_name = "WHAT",
        help_heading = "Other",
        value_enum,
        hide_possible_values = true
    )]
    pub generate: Option<Artefact>,

    /// Print this help
    #[arg(long = "help", help_heading = "Other", action = ArgAction::HelpShort)]
    pub help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long = "version", help_heading = "Other", action = ArgAction::Version)]
    pub version: Option<bool>,
}

/// How `--list` prints the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// As a hosts file.
    Lines,
    /// As a hosts file, with the options of each line.
    Full,
    /// As a list of -w.
    Folded,
}
