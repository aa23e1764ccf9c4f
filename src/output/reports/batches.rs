//! The batches of a rolling run, on standard error.

use std::io::Write;
use std::sync::Arc;

use crate::events::event::{Batch, BatchNews, Event, Stream, Tally};
use crate::hosts::nodeset::fold;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::text::sanitize::sanitize;

/// A line when a batch starts, `pssh: batch 2 of 5: 4 hosts: web[2-5]`, and at the end one if not all have started.
pub struct Batches {
    jobs: Arc<[Job]>,
    /// The last one that has started.
    last: Option<Batch>,
}

impl Batches {
    /// Creates a report on `jobs`.
    pub fn new(jobs: &Arc<[Job]>) -> Batches {
        Batches { jobs: Arc::clone(jobs), last: None }
    }
}

/// Returns a number of hosts in words.
fn hosts(count: usize) -> String {
    format!("{count} host{}", if count == 1 { "" } else { "s" })
}

impl Report for Batches {
    fn event(&mut self, _: &Job, _: &Event, _: &mut Output) {}

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
        if let Some(Batch { number, of, .. }) = &self.last
            && number < of
        {
            let program = output.program.name();
            let _ = writeln!(output.buffer(Stream::Stderr), "{program}: stopped after batch {number} of {of}");
        }
    }
}
