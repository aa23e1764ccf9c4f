//! All that is printed: one writer on the main thread, and the reports that turn events into text.

mod dry_run;
mod lines;
mod mux;
mod sanitize;
mod transcode;
mod writer;

pub use dry_run::commands;
pub use lines::{LONGEST_LINE, Lines};
pub use mux::{Report, Reports, Summary, multiplex};
pub use sanitize::sanitize;
pub use transcode::{Transcoded, encoding};
pub use writer::{Broken, Output};

use std::io::Write;

use crate::cli::Opts;

/// The reports that the command line asks for, on `jobs` jobs.
pub fn reports(opts: &Opts, jobs: usize) -> Box<dyn Report> {
    let reports = Reports(vec![Box::new(Lines::new(jobs, opts.verbose > 0))]);
    match opts.encoding {
        Some(encoding) => Box::new(Transcoded::new(reports, encoding, jobs)),
        None => Box::new(reports),
    }
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
