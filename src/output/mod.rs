//! All that is printed: one writer on the main thread, and the reports that turn events into text.

mod dry_run;
mod files;
mod format;
mod inline;
mod lines;
mod mux;
mod outcomes;
mod prefix;
mod progress;
mod sanitize;
mod status_line;
mod style;
mod transcode;
mod visible;
mod writer;

pub use dry_run::commands;
pub use files::{Directories, DirectoryError, Files};
pub use format::{Format, Looks};
pub use inline::Inline;
pub use lines::{LONGEST_LINE, Lines};
pub use mux::{Report, Reports, Summary, multiplex};
pub use outcomes::Outcomes;
pub use prefix::{Prefixes, Template};
pub use progress::Progress;
pub use sanitize::sanitize;
pub use status_line::{Hold, hold as hold_terminal, leave as leave_terminal};
pub use style::{Face, Style, When, Wishes};
pub use transcode::{Transcoded, encoding};
pub use writer::{Broken, Output};

use std::io::Write;

use crate::cli::Opts;
use crate::jobs::Job;

/// The reports that the command line asks for, on `jobs`. `user` is the login name of hosts whose entry has none, if the user said
/// so.
///
/// # Errors
/// A directory for the files of hosts cannot be used.
pub fn reports(
    opts: &Opts,
    looks: &Looks,
    jobs: &[Job],
    user: Option<&str>,
) -> Result<Box<dyn Report>, DirectoryError> {
    let (style, verbose) = (&looks.style, opts.verbose > 0);
    let mut reports: Vec<Box<dyn Report>> = match looks.format {
        Format::Lines => {
            let prefixes = Prefixes::new(&looks.prefix, looks.is_aligned, jobs, style);
            vec![Box::new(Lines::new(jobs.len(), prefixes, *style)), Box::new(Outcomes::new(verbose, style))]
        }
        Format::Inline => {
            let inline = Inline::new(looks.has_stderr, looks.is_sorted, style);
            vec![Box::new(inline), Box::new(Outcomes::without_lines(verbose, style))]
        }
        Format::Status => vec![Box::new(Outcomes::new(verbose, style))],
        Format::Gather | Format::Json | Format::None => Vec::new(),
    };
    if let Some(encoding) = opts.encoding {
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
