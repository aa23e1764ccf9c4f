//! `--journal`: how hosts end, and with `--journal-output` what they print. That a command is sent is recorded where it is sent.

use std::sync::Arc;

use crate::events::event::{Event, EventKind, Outcome};
use crate::events::tally::Tally;
use crate::journal::record::Output as Printed;
use crate::journal::writer::Writer;
use crate::output::formats::json::Ends;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::clock::Clock;
use crate::text::json::Object;

/// Records a run.
pub struct Journal {
    writer: Writer,
    ends: Ends,
    /// The jobs that ended before the run, by number: the journal has them.
    known: Arc<[bool]>,
    has_output: bool,
}

impl Journal {
    /// Creates a report on `jobs` jobs without those that are `known`; `has_output` says whether their output is recorded.
    pub fn new(writer: Writer, jobs: usize, known: Arc<[bool]>, has_output: bool, clock: Clock) -> Journal {
        Journal { writer, ends: Ends::new(jobs, clock), known, has_output }
    }
}

impl Report for Journal {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        if self.known.get(job.number) == Some(&true) {
            return;
        }
        self.ends.event(event);
        let mut line = Vec::new();
        match &event.kind {
            EventKind::Output { stream, bytes } if self.has_output => {
                Printed::write(&mut line, &self.ends.clock.rfc3339(event.at), job.index(), *stream, bytes);
            }
            EventKind::Finished { outcome, attempts } => {
                let object = Object::new(&mut line, "end");
                // That it may still run has a field of its own.
                let ended = if let Outcome::Unstopped(ended) = outcome { ended } else { outcome };
                (self.ends.write(object, job, event, (outcome, *attempts), output.program))
                    .text("brief", &ended.brief())
                    .flag("sent", self.writer.was_sent(job.number))
                    .flag("unreached", outcome.is_unreached())
                    .end();
            }
            _ => return,
        }
        self.writer.write(line);
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}
}
