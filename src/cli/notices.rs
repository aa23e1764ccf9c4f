//! Messages of the program itself, outside of a run.

use crate::output::CiLog;
use crate::plan::program::Program;
use crate::system::redact::redact_quotations;
use crate::system::sink;
use crate::text::sanitize::sanitize;

/// Prints a message about the whole run, before it starts or after it has ended. It may have several lines.
pub fn complain(program: Program, text: &str) {
    let log = CiLog::of_process();
    let mut text = text.to_owned();
    redact_quotations(&mut text);
    for line in text.lines() {
        let line = format!("{}: {}\n", program.name(), sanitize(line));
        raw_stderr(&String::from_utf8_lossy(&log.harmless(line.as_bytes())));
    }
}

/// Writes text to standard error as it is.
pub fn raw_stderr(text: &str) {
    // A closed standard error has no reader.
    let _ = sink::write_to(std::io::stderr(), text.as_bytes());
}

/// Makes a line harmless for a terminal, except its tabs, and adds the newline.
pub fn sanitize_line(line: &str) -> String {
    let cells: Vec<_> = line.split('\t').map(sanitize).collect();
    cells.join("\t") + "\n"
}

/// Writes text to standard output as it is.
///
/// # Errors
/// It cannot be written.
pub fn raw_stdout(text: &str) -> std::io::Result<()> {
    sink::write_to(std::io::stdout(), text.as_bytes())
}
