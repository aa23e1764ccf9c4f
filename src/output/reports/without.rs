//! A report that leaves out some hosts.

use std::sync::Arc;
use std::time::Instant;

use crate::events::batch::BatchNews;
use crate::events::event::{Event, Outcome};
use crate::events::host_error::HostError;
use crate::events::interruption::Interruption;
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;

/// A report that gets nothing about hosts that ended before the run: nothing is known of what they printed, or it was stored then.
pub struct Without {
    /// The report.
    pub report: Box<dyn Report>,
    /// These hosts, by the number of their job.
    pub jobs: Arc<[bool]>,
}

impl Without {
    fn has(&self, job: &Job) -> bool {
        self.jobs.get(job.number) == Some(&true)
    }
}

impl Report for Without {
    fn begin(&mut self, output: &mut Output) {
        self.report.begin(output);
    }

    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        if !self.has(job) {
            self.report.event(job, event, output);
        }
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        self.report.finish(tally, output);
    }

    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        if self.has(job) { None } else { self.report.verdict(job, outcome) }
    }

    fn status(&mut self, now: Instant) -> Option<String> {
        self.report.status(now)
    }

    fn batch(&mut self, news: &BatchNews, tally: &Tally, output: &mut Output) {
        self.report.batch(news, tally, output);
    }

    fn interrupted(&mut self, interruption: &Interruption, output: &mut Output) {
        self.report.interrupted(interruption, output);
    }
}
