//! All that is printed: one writer on the main thread, and the reports that turn events into text.

mod ci;
mod clock;
mod dry_run;
mod file;
mod gather;
mod json;
mod junit;
mod lines;
mod mux;
mod quiet;
mod sanitize;
mod store;
mod summary;
mod tail;
mod timeline;
mod transcode;
mod writer;

pub use ci::CiGroups;
pub use dry_run::commands;
pub use file::FileError;
pub use json::VERSION as JSON_VERSION;
pub use lines::{LONGEST_LINE, Lines};
pub use mux::{Report, Reports, Summary, multiplex};
pub use sanitize::sanitize;
pub use transcode::{Transcoded, encoding};
pub use writer::{Broken, Output};

use std::io::Write;
use std::sync::Arc;

use crate::cli::{Format, Opts};
use crate::jobs::Job;
use ci::Groups;
use file::ReportFile;
use gather::{Gather, Shape};
use json::Json;
use junit::Junit;
use quiet::Quiet;
use summary::{FailedTo, Failures, Times};

/// Why there are no reports.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// The command line asks for things that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A report's file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The reports that the command line asks for, on `jobs`. Those that write files come last: whoever reads a file has seen all
/// else.
///
/// # Errors
/// Options do not go together, or a file cannot be written.
pub fn reports(opts: &Opts, jobs: &Arc<[Job]>) -> Result<Box<dyn Report>, ReportsError> {
    let asked = &opts.reports;
    let format = asked.format().map_err(ReportsError::Usage)?;
    let mut reports: Vec<Box<dyn Report>> = Vec::new();
    match format {
        Format::Lines if asked.quiet => reports.push(Box::new(Quiet::new(jobs.len()))),
        Format::Lines => {
            reports.push(Box::new(Lines::new(jobs.len(), opts.verbose > 0)));
            reports.push(Box::new(Failures::new(jobs)));
        }
        Format::Json => reports.push(Box::new(Json::new(jobs))),
        Format::Gather => {}
    }
    if format == Format::Gather || asked.expect_same {
        let variable = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
        let shape = Shape {
            is_shown: format == Format::Gather,
            diff: asked.diff,
            expect_same: asked.expect_same,
            ci: asked.ci_groups.and_then(|system| Groups::new(system, variable)),
        };
        reports.push(Box::new(Gather::new(jobs, shape)));
    }
    if asked.times {
        reports.push(Box::new(Times::new(jobs)));
    }
    if let Some(path) = &asked.failed_to {
        reports.push(Box::new(FailedTo::new(ReportFile::prepare("--failed-to", path)?, jobs)));
    }
    if let Some(path) = &asked.junit {
        reports.push(Box::new(Junit::new(ReportFile::prepare("--junit", path)?, jobs)));
    }
    let reports = Reports(reports);
    Ok(match opts.encoding {
        Some(encoding) => Box::new(Transcoded::new(reports, encoding, jobs.len())),
        None => Box::new(reports),
    })
}

/// Tells the user something that is about the run as a whole, before it starts or after it has ended. May have several
/// lines.
pub fn complain(text: &str) {
    for line in text.lines() {
        raw_stderr(&format!("pssh: {}\n", sanitize(line)));
    }
}

/// Writes our own text to standard error as it is.
pub fn raw_stderr(text: &str) {
    // With standard error closed there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
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
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
