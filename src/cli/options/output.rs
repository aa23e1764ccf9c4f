//! The options that say what is printed, and where.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use encoding_rs::Encoding;

use crate::output::{self, CiGroups, Format, Template, When};

/// What is printed, and where.
#[derive(Debug, Default, Args)]
pub struct ShowOpts {
    /// How output is shown [default: lines]
    #[arg(long = "format", value_name = "FORMAT", help_heading = "Output", value_enum)]
    pub format: Option<Format>,

    /// Write standard output into a file for each host in this directory, besides
    #[arg(short = 'o', long = "outdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub outdir: Option<PathBuf>,

    /// Write standard error into a file for each host in this directory, besides
    #[arg(short = 'e', long = "errdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub errdir: Option<PathBuf>,

    /// Add to the files of hosts instead of replacing them
    #[arg(long = "fileappend", help_heading = "Output")]
    pub fileappend: bool,

    /// Show how far the run is on standard error [default: on a terminal]
    #[arg(long = "progress", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub progress: Option<When>,

    /// Colour what is ours [default: on a terminal]; NO_COLOR and CLICOLOR_FORCE are known
    #[arg(long = "color", visible_alias = "colour", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub color: Option<When>,

    /// Pass on what hosts print unchanged: to a terminal control sequences, to the log of a CI system its commands
    #[arg(long = "raw", help_heading = "Output")]
    pub raw: bool,

    /// Leave out the lines that say how each host has ended, and with -i the word before standard error; only failures are
    /// told, on standard error
    #[arg(long = "no-headers", help_heading = "Output")]
    pub no_headers: bool,

    /// The format where nobody says one: the user's, by config.toml.
    #[arg(skip)]
    pub usual_format: Option<Format>,
}

/// How what hosts print is shown.
#[derive(Debug, Default, Args)]
pub struct StreamOpts {
    /// Show lines as they come, as --format lines does, and pssh's line for each host that has ended on standard output
    #[arg(short = 'P', long = "print", help_heading = "Output", overrides_with_all = ["format", "inline", "inline_stdout"],
          conflicts_with_all = ["json", "quiet"])]
    pub print: bool,

    /// Show the output of each host in one piece when it ends, below pssh's line; the same as --format inline
    #[arg(short = 'i', long = "inline", help_heading = "Output", overrides_with_all = ["format", "print"],
          conflicts_with_all = ["json", "quiet"])]
    pub inline: bool,

    /// The same without standard error
    #[arg(long = "inline-stdout", help_heading = "Output", overrides_with_all = ["format", "print"],
          conflicts_with_all = ["json", "quiet"])]
    pub inline_stdout: bool,

    /// Show hosts in the order of the list, with --format inline
    #[arg(long = "sort", help_heading = "Output")]
    pub sort: bool,

    /// What lines start with: text with {label}, {host}, {user}, {port} and {index} [default: '{label}: ']
    #[arg(long = "prefix", value_name = "TEMPLATE", help_heading = "Output", value_parser = Template::parse,
          conflicts_with = "no_prefix", allow_hyphen_values = true)]
    pub prefix: Option<Template>,

    /// Show lines without their host
    #[arg(long = "no-prefix", help_heading = "Output")]
    pub no_prefix: bool,

    /// Pad prefixes, so that what follows them is aligned
    #[arg(long = "align", help_heading = "Output")]
    pub align: bool,

    /// Show output that is in this encoding as UTF-8, such as latin1 or sjis [default: bytes as they come]
    #[arg(long = "encoding", value_name = "NAME", help_heading = "Output", value_parser = output::encoding)]
    pub encoding: Option<&'static Encoding>,

    /// With --format gather: show how the others differ from the largest group of hosts
    #[arg(long = "diff", help_heading = "Output", conflicts_with_all = ["json", "quiet"])]
    pub diff: bool,

    /// Fail, with exit status 5, if not all hosts have the same output and outcome
    #[arg(long = "expect-same", help_heading = "Output")]
    pub expect_same: bool,

    /// With --format gather or inline: fold what hosts print in the log of a CI system
    #[arg(long = "ci-groups", help_heading = "Output", value_name = "SYSTEM", value_enum, conflicts_with_all = ["json", "quiet"])]
    pub ci_groups: Option<CiGroups>,
}
