//! Output settings from the command line and the environment, checked before the first connection.

use std::path::PathBuf;

use encoding_rs::Encoding;

use super::formats::ci_groups::CiGroups;
use super::formats::inline::Inline;
use super::prefix::Template;
use super::reports::copy_total::CopySettings;
use super::reports::host_files::Directories;
use super::style::Style;
use crate::plan::program::Program;
use crate::plan::rolling::Order;
use crate::system::open_files::Held;

/// The output formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines as they arrive, prefixed with their host
    #[default]
    Lines,
    /// The output of each host in one piece when it ends
    Inline,
    /// One line for each finished host, and no output
    Status,
    /// One block for all hosts with the same output
    Gather,
    /// One JSON object a line for each event
    Json,
    /// Nothing but the exit status
    None,
}

/// How formats that show hosts one by one report the end of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endings {
    /// A line on standard error: `pssh: web1: exit 3`.
    Own,
    /// A line on standard output: `[1] 16:32:33 [FAILURE] web1 Exited with error code 3`.
    Headers,
    /// Only failures, on standard error (`--no-headers`).
    Failures,
}

/// Output settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    /// The program that runs.
    pub program: Program,
    /// The format.
    pub format: Format,
    /// The order in which hosts start.
    pub order: Order,
    /// How the end of a host is reported. Never [`Endings::Own`] for `inline` and `status`.
    pub endings: Endings,
    /// Whether `inline` shows standard error too.
    pub has_stderr: bool,
    /// Whether hosts appear in list order.
    pub is_sorted: bool,
    /// The prefix of `lines`.
    pub prefix: Template,
    /// Whether text after the prefixes is aligned.
    pub is_aligned: bool,
    /// Whether only failures are reported.
    pub is_quiet: bool,
    /// Whether a timing summary is printed.
    pub has_times: bool,
    /// Whether `gather` shows how outputs differ from the most common one.
    pub diff: bool,
    /// Whether differences between hosts are a failure.
    pub expect_same: bool,
    /// The CI system in whose log hosts are folded.
    pub ci: Option<CiGroups>,
    /// The encoding of the hosts' output, if it is not UTF-8.
    pub encoding: Option<&'static Encoding>,
    /// The file for a JUnit report.
    pub junit: Option<PathBuf>,
    /// The file that the CI summary is appended to.
    pub ci_summary: Option<PathBuf>,
    /// The file for the list of failed hosts.
    pub failed_to: Option<PathBuf>,
    /// The direction of copies, where files are copied.
    pub copies: Option<CopySettings>,
    /// Output files per host.
    pub directories: Directories,
    /// What depends on the terminal.
    pub style: Style,
}

impl OutputSettings {
    /// Returns the file descriptors that output needs for `jobs` jobs.
    pub fn held(&self, jobs: usize) -> Held {
        let shown = match self.format {
            Format::Inline => Inline::held(self.is_sorted, jobs),
            _ => Held::default(),
        };
        shown.and(self.directories.held())
    }
}
