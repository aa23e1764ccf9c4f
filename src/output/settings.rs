//! How output is shown: what the command line and the environment say about it, checked before the first connection.

use std::path::PathBuf;

use encoding_rs::Encoding;

use super::formats::ci_groups::CiGroups;
use super::formats::inline::Inline;
use super::prefix::Template;
use super::reports::copy_total::CopySettings;
use super::reports::host_files::Directories;
use super::style::Style;
use crate::plan::program::Program;
use crate::system::open_files::Held;

/// The formats of what hosts print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines as they come, with their host in front
    #[default]
    Lines,
    /// The output of each host in one piece when it ends
    Inline,
    /// pssh's line for each host that has ended, and no output
    Status,
    /// One block for all hosts with the same output
    Gather,
    /// A JSON object a line for all that happens
    Json,
    /// Nothing: only the exit status
    None,
}

/// How it is told that a host has ended, by the formats that show hosts one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endings {
    /// By our line on standard error: `pssh: web1: exit 3`.
    Own,
    /// By pssh's line on standard output: `[1] 16:32:33 [FAILURE] web1 Exited with error code 3`.
    Headers,
    /// Not at all if it is well, else by our line (`--no-headers`).
    Failures,
}

/// How output is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    /// The program whose run it is.
    pub program: Program,
    /// How what hosts print is shown.
    pub format: Format,
    /// How it is told that a host has ended. Never [`Endings::Own`] for `inline` and `status`.
    pub endings: Endings,
    /// Whether `inline` shows standard error too.
    pub has_stderr: bool,
    /// Whether hosts are shown in the order of the list.
    pub is_sorted: bool,
    /// What `lines` start with.
    pub prefix: Template,
    /// Whether what follows the prefixes is aligned.
    pub is_aligned: bool,
    /// Whether only failures are told.
    pub is_quiet: bool,
    /// Whether it is told how long hosts have taken.
    pub has_times: bool,
    /// Whether `gather` shows how outputs differ from the most common one.
    pub diff: bool,
    /// Whether it is a failure if hosts differ.
    pub expect_same: bool,
    /// The CI system in whose log hosts are folded.
    pub ci: Option<CiGroups>,
    /// The encoding of what hosts print, if it is not UTF-8.
    pub encoding: Option<&'static Encoding>,
    /// The file for a JUnit report.
    pub junit: Option<PathBuf>,
    /// The file that a summary for a CI system is added to.
    pub ci_summary: Option<PathBuf>,
    /// The file for a list of the hosts that have failed.
    pub failed_to: Option<PathBuf>,
    /// What is told of copies, where files are copied.
    pub copies: Option<CopySettings>,
    /// Files besides.
    pub directories: Directories,
    /// What the terminal decides.
    pub style: Style,
}

impl OutputSettings {
    /// The descriptors that showing it takes, for `jobs` jobs.
    pub fn held(&self, jobs: usize) -> Held {
        let shown = match self.format {
            Format::Inline => Inline::held(self.is_sorted, jobs),
            _ => Held::default(),
        };
        shown.and(self.directories.held())
    }
}
