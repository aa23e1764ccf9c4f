//! The multiplexer: the one receiver of all events and the only writer.

use crossbeam_channel::Receiver;

use super::writer::{Broken, Output};
use crate::cancel::{Cancel, Reason};
use crate::error::HostError;
use crate::event::{Event, EventKind, Outcome, Tally};
use crate::jobs::Job;

/// A way to show a run. Reports append to the output's buffers; when they are written is not theirs to decide.
pub trait Report {
    /// The run begins.
    fn begin(&mut self, _output: &mut Output) {}
    /// Something happened to `job`.
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output);
    /// All jobs have ended.
    fn finish(&mut self, tally: &Tally, output: &mut Output);
}

/// Several reports over the same run, each told of everything, in this order.
pub struct Reports(pub Vec<Box<dyn Report>>);

impl Report for Reports {
    fn begin(&mut self, output: &mut Output) {
        self.0.iter_mut().for_each(|report| report.begin(output));
    }

    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        self.0.iter_mut().for_each(|report| report.event(job, event, output));
    }

    fn finish(&mut self, tally: &Tally, output: &mut Output) {
        self.0.iter_mut().for_each(|report| report.finish(tally, output));
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// How many jobs ended in which class; its total is the number of jobs.
    pub tally: Tally,
    /// Why standard output could not be written to the end.
    pub broken: Option<Broken>,
    /// What else of ours has failed, such as a file that could not be written.
    pub faults: Vec<String>,
    /// Whether hosts differ that were expected to be the same.
    pub differ: bool,
}

/// Passes all `events` to `report` until every sender is gone. Every one of `jobs` is counted exactly once.
///
/// If standard output breaks, the run is cancelled, and goes on being received to its end so that no worker hangs. If its
/// reader has gone away, nothing more is said either: in `pssh ... | head -1` nobody wants to know. Files are written all
/// the same.
pub fn multiplex(jobs: &[Job], events: &Receiver<Event>, report: &mut dyn Report, cancel: &Cancel) -> Summary {
    let mut output = Output::standard();
    report.begin(&mut output);
    let mut ended = vec![false; jobs.len()];
    let mut tally = Tally::default();
    let mut broken = None;
    let mut take = |event: Event, output: &mut Output, tally: &mut Tally| {
        if let EventKind::Finished { outcome, .. } = &event.kind {
            if std::mem::replace(&mut ended[event.job], true) {
                return;
            }
            tally.add_outcome(outcome);
        }
        report.event(&jobs[event.job], &event, output);
    };
    loop {
        let waiting = events.try_recv();
        if waiting.is_err() {
            // Before it waits, everything is on its way to the reader.
            output.flush();
        }
        if let Some(news) = output.take_broken() {
            cancel.trigger(match news {
                Broken::Closed => {
                    output.mute();
                    Reason::OutputClosed
                }
                Broken::Failed(_) => Reason::OutputFailed,
            });
            broken = Some(news);
        }
        match waiting.or_else(|_| events.recv()) {
            Ok(event) => take(event, &mut output, &mut tally),
            Err(_) => break,
        }
    }
    // A worker that vanished must not take its host along.
    for job in jobs {
        let doing = "a fault in pssh itself";
        let detail = "the job ended without an outcome".to_owned();
        let outcome = Outcome::from(HostError::Local { doing, detail, hint: None });
        take(Event::now(job.number, EventKind::Finished { outcome, attempts: 1 }), &mut output, &mut tally);
    }
    report.finish(&tally, &mut output);
    output.flush();
    let (faults, differ) = output.verdict();
    Summary { tally, broken: broken.or_else(|| output.take_broken()), faults, differ }
}
