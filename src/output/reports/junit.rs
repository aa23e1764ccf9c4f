//! `--junit`: the run as a test report, for CI systems.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report_file::ReportFile;
use super::timeline::Timeline;
use crate::events::event::{Class, Event, EventKind, Outcome, Tally};
use crate::output::clock::Clock;
use crate::output::formats::quiet::SHOWN_LINES;
use crate::output::multiplexer::Report;
use crate::output::store::{Store, Text};
use crate::output::tail::Tail;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::message::reason;
use crate::text::sanitize::is_harmful;

/// JUnit's XML: a test suite with a test case for each host, in the order of the list; named by its label, with the seconds
/// from its start to its end.
///
/// A command that did not end well is a `failure`, all else that is not ok an `error`; `type` is the word of the outcome, the
/// text says it with a hint, and `system-out` has the last lines of both streams. What XML has no place for, such as control
/// characters, is written as `\u{1b}`.
pub struct Junit {
    file: ReportFile,
    clock: Clock,
    jobs: Arc<[Job]>,
    cases: Vec<Case>,
    store: Store,
}

#[derive(Default)]
struct Case {
    timeline: Timeline,
    tail: Tail,
    /// What went wrong.
    problem: Option<(Class, String)>,
    /// The last lines.
    lines: Text,
}

impl Junit {
    /// A report on `jobs`.
    pub fn new(file: ReportFile, jobs: &Arc<[Job]>) -> Junit {
        let mut cases = Vec::new();
        cases.resize_with(jobs.len(), Case::default);
        Junit { file, clock: Clock::now(), jobs: Arc::clone(jobs), cases, store: Store::default() }
    }

    fn end(&mut self, job: &Job, outcome: &Outcome, output: &mut Output) {
        let case = &mut self.cases[job.number];
        let (lines, dropped) = std::mem::take(&mut case.tail).finish(SHOWN_LINES);
        if outcome.class() == Class::Ok {
            return;
        }
        let hint = outcome.hint(output.program).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        case.problem = Some((outcome.class(), format!("{outcome}{hint}")));
        let mut kept = if dropped > 0 { format!("... ({dropped} lines before)\n").into_bytes() } else { Vec::new() };
        for (_, line) in lines {
            kept.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(&line));
            kept.push(b'\n');
        }
        if let Err(error) = self.store.append(&mut case.lines, &kept) {
            output.fault(format!("--junit: the last lines of {} could not be kept: {}", job.label, reason(&error)));
        }
    }

    fn case(&self, job: &Job, xml: &mut String) -> std::io::Result<()> {
        let case = &self.cases[job.number];
        let time = case.timeline.phases(self.clock.start).total.unwrap_or_default();
        xml.push_str("    <testcase classname=\"pssh\" name=\"");
        escape(&job.label, xml);
        let _ = write!(xml, "\" time=\"{}\"", seconds(time));
        let Some((class, problem)) = &case.problem else {
            xml.push_str("/>\n");
            return Ok(());
        };
        let element = element(*class);
        let _ = write!(xml, ">\n      <{element} type=\"{}\" message=\"", class.word());
        escape(problem.lines().next().unwrap_or_default(), xml);
        xml.push_str("\">");
        escape(problem, xml);
        let _ = writeln!(xml, "</{element}>");
        if !case.lines.is_empty() {
            let mut lines = Vec::new();
            self.store.read(&case.lines, |piece| lines.extend_from_slice(piece))?;
            xml.push_str("      <system-out>");
            escape(&String::from_utf8_lossy(&lines), xml);
            xml.push_str("</system-out>\n");
        }
        xml.push_str("    </testcase>\n");
        Ok(())
    }
}

impl Report for Junit {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        let case = &mut self.cases[job.number];
        case.timeline.event(event);
        match &event.kind {
            EventKind::Output { stream, bytes } => case.tail.add(*stream, bytes, SHOWN_LINES),
            EventKind::Finished { outcome, .. } => self.end(job, outcome, output),
            EventKind::Started
            | EventKind::Attempted(_)
            | EventKind::Connected
            | EventKind::Note(_)
            | EventKind::Warning(_)
            | EventKind::Paused { .. }
            | EventKind::Resumed
            | EventKind::Copied(_) => {}
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        let count = |wanted: &str| {
            let bad = tally.iter().filter(|(class, _)| *class != Class::Ok && element(*class) == wanted);
            bad.map(|(_, count)| count).sum::<usize>()
        };
        let time = seconds(Instant::now().saturating_duration_since(self.clock.start));
        let (tests, failures, errors) = (tally.total(), count("failure"), count("error"));
        let counts =
            format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{time}\"");
        // The schema has no place for a zone or parts of a second.
        let stamp = self.clock.rfc3339(self.clock.start);
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"pssh\" {counts}>\n  <testsuite name=\"pssh\" {counts} timestamp=\"{}\">\n",
            &stamp[..19]
        );
        for job in &*self.jobs {
            if let Err(error) = self.case(job, &mut xml) {
                output.fault(format!("--junit: {}: the last lines are lost: {}", job.label, reason(&error)));
            }
        }
        xml.push_str("  </testsuite>\n</testsuites>\n");
        self.file.write(xml.as_bytes(), output);
    }
}

/// What a test that ended so is to JUnit: a failure is what the test itself found, an error is all else.
fn element(class: Class) -> &'static str {
    match class {
        Class::Ok | Class::Exit | Class::Signal | Class::Copy => "failure",
        Class::Timeout
        | Class::Cancelled
        | Class::Dns
        | Class::Connect
        | Class::Proxy
        | Class::HostKey
        | Class::Auth
        | Class::Ssh
        | Class::Lost
        | Class::Local => "error",
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Writes text as XML 1.0 has it, in elements and in attributes (sections 2.2 and 2.4).
fn escape(text: &str, xml: &mut String) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' | '\t' => xml.push(c),
            c if is_harmful(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => xml.extend(c.escape_unicode()),
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_xml_has_no_place_for_is_shown() {
        let mut xml = String::new();
        escape("a<b>&\"]]>\t\u{1b}[31m\0\u{fffe}\r\u{202e}é\n", &mut xml);
        assert_eq!(xml, "a&lt;b&gt;&amp;&quot;]]&gt;\t\\u{1b}[31m\\u{0}\\u{fffe}\\u{d}\\u{202e}é\n");
    }
}
