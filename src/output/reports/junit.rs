//! `--junit`: the run as a test report, for CI systems.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::failures::{was_never_started, with_hint};
use super::last_lines::LastLines;
use super::report_file::ReportFile;
use super::timeline::Timeline;
use crate::events::batch::BatchNews;
use crate::events::event::{Class, Event, EventKind, Outcome};
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::clock::Clock;
use crate::text::message::reason;
use crate::text::sanitize::is_harmful;

/// JUnit's XML: a test suite with a test case for each host, in the order of the list; named by its label, with the seconds
/// from its start to its end.
///
/// A failed command is a `failure`, any other failure an `error`, a host that was never started is `skipped`; `type` is the word of the outcome, the
/// text has its message and hint, and `system-out` the last lines of both streams. What XML cannot represent, such as control
/// characters, is written as `\u{1b}`.
pub struct Junit {
    file: ReportFile,
    clock: Clock,
    jobs: Arc<[Job]>,
    cases: Vec<Case>,
    lines: LastLines,
}

#[derive(Default)]
struct Case {
    timeline: Timeline,
    /// The failure: its element, the class and the text.
    problem: Option<(&'static str, Class, String)>,
    /// The number of its batch; 0 if there are none.
    batch: usize,
}

impl Junit {
    /// Creates a report on `jobs`, in a run that began with `clock`.
    pub fn new(file: ReportFile, jobs: &Arc<[Job]>, clock: Clock) -> Junit {
        let mut cases = Vec::new();
        cases.resize_with(jobs.len(), Case::default);
        Junit { file, clock, jobs: Arc::clone(jobs), cases, lines: LastLines::new(jobs.len()) }
    }

    fn end(&mut self, job: &Job, outcome: &Outcome, output: &mut Output) {
        if let Err(error) = self.lines.end(job, outcome) {
            output.fault(format!("--junit: the last lines of {} could not be kept: {}", job.label, reason(&error)));
        }
        if outcome.class() != Class::Ok {
            let element = if was_never_started(outcome) { SKIPPED } else { element(outcome.class()) };
            self.cases[job.number].problem = Some((element, outcome.class(), with_hint(outcome, output.program)));
        }
    }

    fn case(&self, job: &Job, xml: &mut String) -> std::io::Result<()> {
        let case = &self.cases[job.number];
        let time = case.timeline.phases(self.clock.start).total.unwrap_or_default();
        xml.push_str("    <testcase classname=\"pssh\" name=\"");
        escape(&job.label, xml);
        let _ = write!(xml, "\" time=\"{}\"", seconds(time));
        let properties = match case.batch {
            0 => String::new(),
            batch => {
                format!(
                    "      <properties>\n        <property name=\"batch\" value=\"{batch}\"/>\n      </properties>\n"
                )
            }
        };
        let Some((element, class, problem)) = &case.problem else {
            let rest =
                if properties.is_empty() { "/>\n".to_owned() } else { format!(">\n{properties}    </testcase>\n") };
            xml.push_str(&rest);
            return Ok(());
        };
        let _ = write!(xml, ">\n{properties}      <{element}");
        if *element == SKIPPED {
            // It has a message only.
            xml.push_str(" message=\"");
            escape(problem.lines().next().unwrap_or_default(), xml);
            xml.push_str("\"/>\n    </testcase>\n");
            return Ok(());
        }
        let _ = write!(xml, " type=\"{}\" message=\"", class.word());
        escape(problem.lines().next().unwrap_or_default(), xml);
        xml.push_str("\">");
        escape(problem, xml);
        let _ = writeln!(xml, "</{element}>");
        let lines = self.lines.of(job)?;
        if !lines.is_empty() {
            xml.push_str("      <system-out>");
            escape(&lines, xml);
            xml.push_str("</system-out>\n");
        }
        xml.push_str("    </testcase>\n");
        Ok(())
    }
}

impl Report for Junit {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        self.cases[job.number].timeline.event(event);
        self.lines.event(job, event);
        if let EventKind::Finished { outcome, .. } = &event.kind {
            self.end(job, outcome, output);
        }
    }

    fn batch(&mut self, news: &BatchNews, _: &Tally, _: &mut Output) {
        if let BatchNews::Started { batch } = news {
            batch.jobs.iter().for_each(|job| self.cases[*job].batch = batch.number);
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        let problems = || self.cases.iter().filter_map(|case| case.problem.as_ref());
        let count = |wanted: &str| problems().filter(|(element, ..)| *element == wanted).count();
        let time = seconds(self.clock.elapsed());
        let (tests, failures, errors, skipped) = (tally.total(), count("failure"), count("error"), count(SKIPPED));
        let counts = format!(
            "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{time}\""
        );
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

/// The JUnit element of a host that was never started.
const SKIPPED: &str = "skipped";

/// Returns the JUnit element of another outcome: a failure if the test itself failed, an error otherwise.
fn element(class: Class) -> &'static str {
    match class {
        Class::Ok | Class::Exit | Class::Signal | Class::Check | Class::Copy => "failure",
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
