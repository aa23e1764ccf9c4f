//! The batches of a rolling run, on standard error.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use crate::events::batch::{Batch, BatchNews};
use crate::events::event::{Event, EventKind, HostStage, Outcome, Stream};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::message::hosts;
use crate::text::sanitize::sanitize;

/// A line when a batch starts, `pssh: batch 2 of 5: 4 hosts: web[2-5]`, and at the end one if not all hosts have started.
pub struct Batches {
    jobs: Arc<[Job]>,
    /// The last one that has started.
    last: Option<Batch>,
    /// The jobs whose command was not sent, since the run was stopped.
    left: HashSet<usize>,
}

impl Batches {
    /// Creates a report on `jobs`.
    pub fn new(jobs: &Arc<[Job]>) -> Batches {
        Batches { jobs: Arc::clone(jobs), last: None, left: HashSet::new() }
    }
}

impl Report for Batches {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        if let EventKind::Finished { outcome: Outcome::Cancelled { stage, .. }, .. } = &event.kind
            && matches!(stage, HostStage::Waiting | HostStage::Connecting)
        {
            self.left.insert(job.number);
        }
    }

    fn batch(&mut self, news: &BatchNews, _: &Tally, output: &mut Output) {
        let BatchNews::Started { batch } = news else { return };
        let Batch { number, of, jobs } = batch;
        let names = fold(jobs.iter().map(|job| self.jobs[*job].label.as_str()));
        let (program, count) = (output.program.name(), hosts(jobs.len()));
        let buffer = output.buffer(Stream::Stderr);
        let _ = writeln!(buffer, "{program}: batch {number} of {of}: {count}: {}", sanitize(&names));
        self.last = Some(batch.clone());
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        let Some(Batch { number, of, jobs }) = &self.last else { return };
        let (program, left) = (output.program.name(), jobs.iter().filter(|job| self.left.contains(job)).count());
        let buffer = output.buffer(Stream::Stderr);
        if left > 0 {
            let rest = format!("{left} of its {} did not run", hosts(jobs.len()));
            let _ = writeln!(buffer, "{program}: stopped in batch {number} of {of}: {rest}");
        } else if number < of {
            let _ = writeln!(buffer, "{program}: stopped after batch {number} of {of}");
        }
    }
}
