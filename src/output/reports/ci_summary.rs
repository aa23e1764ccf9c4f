//! `--ci-summary`: the run in Markdown, for the summary page of a CI job.
//!
//! Text of hosts and errors is untrusted. It is written as HTML with character references, in elements that Markdown does not
//! parse, so that it cannot become markup or a link, or end its element.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::failures::{FailuresByReason, Reason, with_hint};
use super::last_lines::LastLines;
use super::report_file::ReportFile;
use crate::events::event::{Class, Event, EventKind, Outcome};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::clock::Clock;
use crate::text::duration::seconds;
use crate::text::message::reason;
use crate::text::sanitize::sanitize;

/// How many hosts are shown with their last lines.
const DETAILED: usize = 50;
/// Bytes after which no more hosts are described: GitHub accepts 1 MiB from all steps of a job.
const MOST: usize = 512 << 10;

/// Counts, a table of the reasons with the hosts of each, and the last lines of the first hosts that failed.
pub struct CiSummary {
    file: ReportFile,
    clock: Clock,
    jobs: Arc<[Job]>,
    failures: FailuresByReason,
    /// The whole outcome, with its hint.
    problems: HashMap<usize, String>,
    lines: LastLines,
}

impl CiSummary {
    /// Creates a summary of `jobs`, to append to `file`.
    pub fn new(file: ReportFile, jobs: &Arc<[Job]>, clock: Clock) -> CiSummary {
        CiSummary {
            file,
            clock,
            jobs: Arc::clone(jobs),
            failures: FailuresByReason::default(),
            problems: HashMap::new(),
            lines: LastLines::new(jobs.len()),
        }
    }

    fn end(&mut self, job: &Job, outcome: &Outcome, output: &mut Output) {
        if let Err(error) = self.lines.end(job, outcome) {
            output.fault(format!("--ci-summary: {}: cannot keep its last lines: {}", job.label, reason(&error)));
        }
        if outcome.class() != Class::Ok {
            self.failures.note(job, outcome);
            self.problems.insert(job.number, with_hint(outcome, output.program));
        }
    }

    fn table(&mut self, text: &mut String) {
        text.push_str("\n| hosts | outcome | names |\n| ---: | --- | --- |\n");
        for Reason { class, brief, jobs } in self.failures.take() {
            let names = fold(jobs.iter().map(|job| self.jobs[*job].label.as_str()));
            // Most outcomes begin with their class.
            let brief = if brief.starts_with(class.word()) { brief } else { format!("{}: {brief}", class.word()) };
            let _ = writeln!(text, "| {} | {} | {} |", jobs.len(), code(&brief), code(&names));
        }
    }

    fn details(&self, text: &mut String, output: &mut Output) {
        let failed: Vec<&Job> = self.jobs.iter().filter(|job| self.problems.contains_key(&job.number)).collect();
        let mut shown = 0;
        for job in &failed {
            if shown == DETAILED || text.len() > MOST {
                break;
            }
            shown += 1;
            let problem = &self.problems[&job.number];
            let lines = self.lines.of(job).unwrap_or_else(|error| {
                output.fault(format!("--ci-summary: {}: the last lines are lost: {}", job.label, reason(&error)));
                String::new()
            });
            let first = problem.lines().next().unwrap_or_default();
            let _ = write!(text, "\n<details><summary>{}: {}</summary>\n\n<pre>", code(&job.label), code(first));
            for line in problem.lines().skip(1).chain(lines.lines()) {
                escape(&sanitize(line), text);
                text.push('\n');
            }
            text.push_str("</pre>\n\n</details>\n");
        }
        if shown < failed.len() {
            let _ = writeln!(text, "\n{} more hosts failed; the table names them.", failed.len() - shown);
        }
    }
}

impl Report for CiSummary {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        self.lines.event(job, event);
        if let EventKind::Finished { outcome, .. } = &event.kind {
            self.end(job, outcome, output);
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        let took = self.clock.elapsed();
        let (ok, all) = (tally.total() - self.problems.len(), self.jobs.len());
        let program = output.program.name();
        let took = std::time::Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let mut text = format!("\n### {program}: {ok} of {all} hosts ok in {} s\n", seconds(&took));
        if !self.problems.is_empty() {
            self.table(&mut text);
            self.details(&mut text, output);
        }
        text.push('\n');
        self.file.write(text.as_bytes(), output);
    }
}

/// Writes text as code, in one line.
fn code(text: &str) -> String {
    let mut code = "<code>".to_owned();
    escape(&sanitize(text), &mut code);
    code + "</code>"
}

/// Writes text without HTML or Markdown syntax: everything but letters, digits and harmless characters is a character
/// reference.
fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            ' ' | '.' | ',' | '/' | '-' | '=' | '(' | ')' | '+' | '\'' | ';' | '?' | '%' => html.push(c),
            c if c.is_alphanumeric() => html.push(c),
            c => {
                let _ = write!(html, "&#{};", u32::from(c));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(code("exit 3"), "<code>exit 3</code>");
        assert_eq!(
            code("a|b `c` </code><b>\n@x #1 [y](z) *w*"),
            "<code>a&#124;b &#96;c&#96; &#60;/code&#62;&#60;b&#62;&#92;n&#64;x &#35;1 &#91;y&#93;(z) &#42;w&#42;</code>"
        );
    }
}
