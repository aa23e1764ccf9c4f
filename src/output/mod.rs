//! All that is printed: one writer on the main thread, and the reports that turn events into text.

mod ci;
mod ci_log;
mod ci_paths;
mod clock;
mod copied;
mod dry_run;
mod failed_to;
mod file;
mod files;
mod format;
mod gather;
mod heads;
mod hints;
mod inline;
mod json;
mod junit;
mod lines;
mod mux;
mod outcomes;
mod prefix;
mod progress;
mod quiet;
mod reasons;
mod sanitize;
mod sink;
mod status_line;
mod store;
mod style;
mod summary;
mod tail;
mod timeline;
mod transcode;
pub(crate) mod visible;
mod warnings;
mod writer;

pub use ci::CiGroups;
pub use dry_run::commands;
pub use file::FileError;
pub use files::{Directories, DirectoryError, Files};
pub use format::{Endings, Format, Looks};
pub use heads::Heads;
pub use inline::Inline;
pub use json::VERSION as JSON_VERSION;
pub use lines::{LONGEST_LINE, Lines};
pub use mux::{Report, Reports, Summary, multiplex};
pub use outcomes::Outcomes;
pub use prefix::{Prefixes, Template};
pub use progress::Progress;
pub use sanitize::{cut, escaped, quoted, said, said_bytes, said_names, said_reason, sanitize};
pub use sink::heed;
pub use status_line::{Hold, hold as hold_terminal, leave as leave_terminal};
pub use style::{Face, Style, When, Wishes};
pub use transcode::{Transcoded, encoding};
pub use writer::{Broken, Output};

use std::sync::Arc;

use crate::cli::Opts;
use crate::event::Stream;
use crate::jobs::Job;
use crate::program::Program;
use crate::redact::redact_quotations;
use ci::Groups;
use ci_log::CiLog;
use failed_to::FailedTo;
use file::ReportFile;
use gather::{Gather, Shape};
use json::Json;
use junit::Junit;
use quiet::Quiet;
use reasons::Reasons;
use summary::{Failures, Times};

/// Why there are no reports.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// A directory for the files of hosts cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A report's file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The reports that the command line asks for, on `jobs`. `user` is the login name of hosts whose entry has none, if the user said
/// so. Reports that write files come last: whoever reads a file has seen all else.
///
/// # Errors
/// A file or a directory for files cannot be used.
pub fn reports(
    opts: &Opts,
    looks: &Looks,
    jobs: &Arc<[Job]>,
    user: Option<&str>,
) -> Result<Box<dyn Report>, ReportsError> {
    let (style, asked) = (&looks.style, &opts.reports);
    let variable = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
    let groups = opts.streams.ci_groups.and_then(|system| Groups::new(system, variable));
    let mut reports: Vec<Box<dyn Report>> = Vec::new();
    if !asked.quiet {
        reports.push(Box::new(warnings::Warnings::default()));
    }
    let heads = match looks.endings {
        Endings::Failures => Heads::without_lines(style),
        Endings::Headers | Endings::Own => Heads::new(user, style),
    };
    match looks.format {
        Format::Lines => {
            let prefixes = Prefixes::new(&looks.prefix, looks.is_aligned, jobs, style);
            reports.push(Box::new(Lines::new(jobs.len(), prefixes, *style)));
            if looks.endings == Endings::Own {
                reports.push(Box::new(Outcomes::new(style)));
            } else {
                reports.extend([Box::new(heads) as Box<dyn Report>, Box::new(Outcomes::without_lines(style))]);
            }
        }
        Format::Inline => {
            let inline = Inline::new(looks.has_stderr, looks.is_sorted, heads, style);
            reports.push(Box::new(inline.in_groups(groups)));
            reports.push(Box::new(Outcomes::without_lines(style)));
        }
        Format::Status => {
            reports.extend([Box::new(heads) as Box<dyn Report>, Box::new(Outcomes::without_lines(style))]);
            if opts.program == Program::Prsync {
                reports.push(Box::new(Reasons::new(jobs.len())));
            }
        }
        Format::Json => reports.push(Box::new(Json::new(jobs))),
        Format::None if asked.quiet => reports.push(Box::new(Quiet::new(jobs.len()))),
        Format::Gather | Format::None => {}
    }
    if looks.format == Format::Gather || opts.streams.expect_same {
        let shape = Shape {
            is_shown: looks.format == Format::Gather,
            face: style.of(Stream::Stdout),
            diff: opts.streams.diff,
            expect_same: opts.streams.expect_same,
            ci: groups,
        };
        reports.push(Box::new(Gather::new(jobs, shape)));
    }
    if looks.format == Format::Gather {
        reports.push(Box::new(Outcomes::without_lines(style)));
    }
    if matches!(looks.format, Format::Lines | Format::Inline | Format::Status) {
        reports.push(Box::new(Failures::new(jobs)));
    }
    if asked.times {
        reports.push(Box::new(Times::new(jobs)));
    }
    if let Some(path) = &asked.failed_to {
        let file = ReportFile::prepare("--failed-to", path)?;
        let failed_to = FailedTo::new(file, &opts.hosts.hosts, opts.hosts.are_chosen(), jobs);
        reports.push(Box::new(failed_to.map_err(|error| FileError::new("--failed-to", path, error))?));
    }
    if let Some(path) = &asked.junit {
        reports.push(Box::new(Junit::new(ReportFile::prepare("--junit", path)?, jobs)));
    }
    if let Some(encoding) = opts.streams.encoding {
        reports = vec![Box::new(Transcoded::new(Reports(reports), encoding, jobs.len()))];
    }
    // Files have the bytes as they came.
    if !looks.directories.is_empty() {
        reports.push(Box::new(Files::new(looks.directories.clone(), jobs, user)?));
    }
    if style.has_progress {
        reports.push(Box::new(Progress::new(jobs.len())));
    }
    Ok(Box::new(Reports(reports)))
}

/// What our own lines start with.
fn name() -> &'static str {
    Program::current().name()
}

/// Tells the user something that is about the run as a whole, before it starts or after it has ended. May have several
/// lines.
pub fn complain(text: &str) {
    let log = CiLog::of_process();
    let mut text = text.to_owned();
    redact_quotations(&mut text);
    for line in text.lines() {
        let line = format!("{}: {}\n", name(), sanitize(line));
        raw_stderr(&String::from_utf8_lossy(&log.harmless(line.as_bytes())));
    }
}

/// Writes our own text to standard error as it is.
pub fn raw_stderr(text: &str) {
    // With standard error closed there is nobody to tell.
    let _ = sink::write_to(std::io::stderr(), text.as_bytes());
}

/// A line of our own, harmless but for its tabs, with its newline.
pub fn sanitize_line(line: &str) -> String {
    let cells: Vec<_> = line.split('\t').map(sanitize).collect();
    cells.join("\t") + "\n"
}

/// Writes our own text to standard output as it is.
///
/// # Errors
/// It cannot be written.
pub fn raw_stdout(text: &str) -> std::io::Result<()> {
    sink::write_to(std::io::stdout(), text.as_bytes())
}
