//! Options of output.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use encoding_rs::Encoding;

use crate::output::{self, CiGroups, Format, Template, When};

/// Output options of all programs.
#[derive(Debug, Default, Args)]
pub struct ShowOpts {
    /// Show output in this format [default: lines]
    #[arg(long = "format", value_name = "FORMAT", help_heading = "Output", value_enum)]
    pub format: Option<Format>,

    /// Also save each host's stdout as DIR/HOST
    #[arg(short = 'o', long = "outdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub outdir: Option<PathBuf>,

    /// Also save each host's stderr as DIR/HOST
    #[arg(short = 'e', long = "errdir", value_name = "DIR", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub errdir: Option<PathBuf>,

    /// Append to files in DIR instead of replacing them
    ///
    /// The files are those of --outdir and --errdir.
    #[arg(long = "fileappend", hide_short_help = true, help_heading = "Output")]
    pub fileappend: bool,

    /// Show progress on stderr [default: on a terminal]
    #[arg(long = "progress", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub progress: Option<When>,

    /// Colour output [default: on a terminal]
    ///
    /// It colours the program's own text. NO_COLOR and CLICOLOR_FORCE change the default.
    #[arg(long = "color", visible_alias = "colour", value_name = "WHEN", help_heading = "Output", value_enum)]
    pub color: Option<When>,

    /// Pass on control sequences and CI commands of hosts
    ///
    /// What hosts print is shown unchanged: control sequences on a terminal, and commands in the log of a CI system.
    #[arg(long = "raw", help_heading = "Output")]
    pub raw: bool,

    /// Leave out the status line of each host
    ///
    /// It also leaves out the word before standard error with -i. Failures are still reported, on standard error.
    #[arg(long = "no-headers", help_heading = "Output")]
    pub no_headers: bool,

    /// The default format of config.toml.
    #[arg(skip)]
    pub usual_format: Option<Format>,
}

/// Options for the output of commands.
#[derive(Debug, Default, Args)]
pub struct StreamOpts {
    /// Show lines as they come, and a status line per host
    ///
    /// It shows lines like --format lines, and status lines on standard output.
    #[arg(short = 'P', long = "print", help_heading = "Output", overrides_with_all = ["format", "inline", "inline_stdout"],
          conflicts_with_all = ["json", "quiet"])]
    pub print: bool,

    /// Show the output of each host when it ends
    ///
    /// A status line comes first. The same as --format inline.
    #[arg(short = 'i', long = "inline", help_heading = "Output", overrides_with_all = ["format", "print"],
          conflicts_with_all = ["json", "quiet"])]
    pub inline: bool,

    /// Like --inline, without standard error
    #[arg(long = "inline-stdout", hide_short_help = true, help_heading = "Output", overrides_with_all = ["format", "print"],
          conflicts_with_all = ["json", "quiet"])]
    pub inline_stdout: bool,

    /// With --format inline: show hosts in list order
    #[arg(long = "sort", help_heading = "Output")]
    pub sort: bool,

    /// Start lines with TEMPLATE [default: '{label}: ']
    ///
    /// TEMPLATE is text with {label}, {host}, {user}, {port} and {index}.
    #[arg(long = "prefix", value_name = "TEMPLATE", help_heading = "Output", value_parser = Template::parse,
          conflicts_with = "no_prefix", allow_hyphen_values = true)]
    pub prefix: Option<Template>,

    /// Show lines without their host
    #[arg(long = "no-prefix", hide_short_help = true, help_heading = "Output")]
    pub no_prefix: bool,

    /// Pad prefixes to align the output
    #[arg(long = "align", hide_short_help = true, help_heading = "Output")]
    pub align: bool,

    /// Convert output from this encoding, such as latin1
    ///
    /// It is shown as UTF-8. Without this option, bytes are shown as they come.
    #[arg(long = "encoding", hide_short_help = true, value_name = "NAME", help_heading = "Output", value_parser = output::encoding)]
    pub encoding: Option<&'static Encoding>,

    /// Show how hosts differ from the largest group
    ///
    /// Implies --format gather.
    #[arg(long = "diff", help_heading = "Output", conflicts_with_all = ["json", "quiet"])]
    pub diff: bool,

    /// Exit with 5 unless all outputs and outcomes match
    #[arg(long = "expect-same", help_heading = "Output")]
    pub expect_same: bool,

    /// Fold the output of hosts in the log of a CI system
    ///
    /// It works with --format gather and inline.
    #[arg(long = "ci-groups", hide_short_help = true, help_heading = "Output", value_name = "SYSTEM", value_enum, conflicts_with_all = ["json", "quiet"])]
    pub ci_groups: Option<CiGroups>,
}
