//! The multiplexer: the one receiver of all events and the only writer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use super::style::Style;
use super::writer::{Broken, Output};
use crate::events::batch::BatchNews;
use crate::events::event::{Class, Event, EventKind, Outcome};
use crate::events::host_error::HostError;
use crate::events::interruption::{Interruption, Listener};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::system::cancel::{Cancel, Reason};
use crate::system::status_line;
use crate::text::sanitize::sanitize;

/// How often the status line is redrawn: fast enough to look alive, without load on a slow link.
const REDRAW: Duration = Duration::from_millis(100);
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A way to show a run. Reports append to the output's buffers but do not decide when they are written.
pub trait Report {
    /// The run begins.
    fn begin(&mut self, _output: &mut Output) {}
    /// Something happened to `job`.
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output);
    /// All jobs have ended.
    fn finish(&mut self, tally: &Tally, output: &mut Output);
    /// `job` is about to end with `outcome`. A local error, such as a full disk, replaces the outcome: for
    /// all reports, the tally and the exit status.
    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        let _ = (job, outcome);
        None
    }
    /// Returns the text of the status line.
    fn status(&mut self, now: Instant) -> Option<String> {
        let _ = now;
        None
    }
    /// Something happens to a batch of a rolling run. `tally` is that of its hosts that have ended.
    fn batch(&mut self, news: &BatchNews, tally: &Tally, output: &mut Output) {
        let _ = (news, tally, output);
    }
    /// A signal stops the run, and the user has been told.
    fn interrupted(&mut self, interruption: &Interruption, output: &mut Output) {
        let _ = (interruption, output);
    }
}

/// Several reports on the same run, called in this order.
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

    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        // Calls all, so that each closes its files.
        let verdicts = self.0.iter_mut().filter_map(|report| report.verdict(job, outcome));
        verdicts.reduce(|first, _| first)
    }

    fn status(&mut self, now: Instant) -> Option<String> {
        self.0.iter_mut().find_map(|report| report.status(now))
    }

    fn batch(&mut self, news: &BatchNews, tally: &Tally, output: &mut Output) {
        self.0.iter_mut().for_each(|report| report.batch(news, tally, output));
    }

    fn interrupted(&mut self, interruption: &Interruption, output: &mut Output) {
        self.0.iter_mut().for_each(|report| report.interrupted(interruption, output));
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// How many jobs ended in which class; its total is the number of jobs.
    pub tally: Tally,
    /// Why standard output could not be written to the end.
    pub broken: Option<Broken>,
    /// Local failures, such as a file that could not be written.
    pub faults: Vec<String>,
    /// Whether hosts differ that should be the same.
    pub differ: bool,
}

/// Passes all events of a run to `report` until every sender is gone. Counts each of `jobs` exactly once.
///
/// If standard output breaks, cancels the run and receives its events to the end, so that no worker hangs. If its
/// reader has gone, as in `pssh ... | head -1`, standard error stays silent too. Reports that write elsewhere
/// continue.
///
/// `failed` gets hosts that succeeded but whose output was not stored. Signals from `listener` are reported at once.
pub fn multiplex(
    jobs: &[Job],
    events: &Receiver<Event>,
    listener: &Listener,
    failed: &dyn Fn(&Outcome),
    report: &mut dyn Report,
    style: &Style,
    cancel: &Cancel,
) -> Summary {
    let mut shown = Multiplexer {
        jobs,
        failed,
        report,
        output: Output::standard(style),
        ended: vec![false; jobs.len()],
        tally: Tally::default(),
        batches: Batches::default(),
        broken: None,
        next_status: style.has_progress.then(Instant::now),
    };
    shown.report.begin(&mut shown.output);
    loop {
        let now = match shown.receive(events, listener, cancel) {
            Ok(event) => {
                let at = event.at;
                shown.take(event);
                at
            }
            Err(RecvTimeoutError::Timeout) => Instant::now(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if shown.next_status.is_some_and(|at| at <= now) {
            shown.next_status = Some(now + REDRAW);
            shown.output.set_status(shown.report.status(now));
        }
    }
    shown.finish()
}

/// The reports, and what they received so far.
struct Multiplexer<'a> {
    jobs: &'a [Job],
    failed: &'a dyn Fn(&Outcome),
    report: &'a mut dyn Report,
    output: Output,
    /// Which jobs have ended.
    ended: Vec<bool>,
    tally: Tally,
    batches: Batches,
    broken: Option<Broken>,
    /// When the status line is redrawn, if there is one.
    next_status: Option<Instant>,
}

impl Multiplexer<'_> {
    /// Returns the next event, or that the status line is due. Reports a signal at once; a broken output ends the run.
    fn receive(
        &mut self,
        events: &Receiver<Event>,
        listener: &Listener,
        cancel: &Cancel,
    ) -> Result<Event, RecvTimeoutError> {
        let waiting = events.try_recv();
        if waiting.is_err() {
            // Flush before waiting.
            self.output.flush();
        }
        if let Some(news) = self.output.take_broken() {
            cancel.trigger(match news {
                Broken::Closed => Reason::OutputClosed,
                Broken::Failed(_) => Reason::OutputFailed,
            });
            if matches!(news, Broken::Closed) {
                self.output.close();
                self.next_status = None;
            }
            self.broken = Some(news);
        }
        let interruptions = &listener.interruptions;
        let mut interruption = interruptions.try_recv().ok();
        let received = match waiting {
            Ok(event) => Ok(event),
            Err(_) if interruption.is_some() => Err(RecvTimeoutError::Timeout),
            Err(_) => {
                let left = self.next_status.map_or(NEVER, |at| at.saturating_duration_since(Instant::now()));
                select! {
                    recv(events) -> event => event.map_err(|_| RecvTimeoutError::Disconnected),
                    recv(interruptions) -> heard => {
                        interruption = heard.ok();
                        Err(RecvTimeoutError::Timeout)
                    }
                    default(left) => Err(RecvTimeoutError::Timeout),
                }
            }
        };
        if let Some(interruption) = interruption {
            tell(&interruption, listener, self.jobs, self.report, &mut self.output);
        }
        received
    }

    /// Passes an event to the reports. Each job ends once.
    fn take(&mut self, mut event: Event) {
        if let EventKind::Batch(news) = &event.kind {
            return self.take_batch(news);
        }
        let job = &self.jobs[event.job];
        if let EventKind::Finished { outcome, .. } = &mut event.kind {
            if std::mem::replace(&mut self.ended[event.job], true) {
                return;
            }
            if let Some(error) = self.report.verdict(job, outcome) {
                let was_well = outcome.class() == Class::Ok;
                *outcome = error.into();
                // Failures are counted already.
                if was_well {
                    (self.failed)(outcome);
                }
            }
            self.tally.add_outcome(outcome);
            self.batches.note(event.job, outcome);
        }
        self.report.event(job, &event, &mut self.output);
    }

    /// Passes what happens to a batch to the reports. At its end, the run goes on once all of it is written.
    fn take_batch(&mut self, news: &BatchNews) {
        self.batches.take(news);
        self.report.batch(news, &self.batches.tally, &mut self.output);
        if let BatchNews::Ended { tally, .. } = news {
            self.output.flush();
            let _ = tally.send(self.batches.tally.clone());
        }
    }

    fn finish(mut self) -> Summary {
        self.output.set_status(None);
        // A host whose worker vanished still gets an outcome.
        for job in self.jobs {
            let doing = "a fault in pssh itself";
            let detail = "the job ended without an outcome".to_owned();
            let outcome = Outcome::from(HostError::Local { doing, detail, hint: None });
            self.take(Event::now(job.number, EventKind::Finished { outcome, attempts: 1 }));
        }
        self.report.finish(&self.tally, &mut self.output);
        self.output.flush();
        let (faults, differ) = self.output.verdict();
        Summary { tally: self.tally, broken: self.broken.or_else(|| self.output.take_broken()), faults, differ }
    }
}

/// Counts the outcomes of the current batch.
#[derive(Default)]
struct Batches {
    /// Its jobs; empty if the run is not divided.
    jobs: HashSet<usize>,
    tally: Tally,
}

impl Batches {
    fn take(&mut self, news: &BatchNews) {
        if let BatchNews::Started { batch } = news {
            self.tally = Tally::default();
            self.jobs = batch.jobs.iter().copied().collect();
        }
    }

    fn note(&mut self, job: usize, outcome: &Outcome) {
        if self.jobs.contains(&job) {
            self.tally.add_outcome(outcome);
        }
    }
}

/// Tells the user that a signal stops the run, unless another thread did so already.
fn tell(
    interruption: &Arc<Interruption>,
    listener: &Listener,
    jobs: &[Job],
    report: &mut dyn Report,
    output: &mut Output,
) {
    // If a reader blocks this, the signal thread prints it.
    output.flush();
    status_line::await_question();
    if !interruption.claim() {
        return;
    }
    let line = sentence(interruption, jobs, output.program);
    output.announce(&line);
    listener.done();
    report.interrupted(interruption, output);
    output.flush();
}

/// Returns the line about an interruption, with its newline.
pub fn sentence(interruption: &Interruption, jobs: &[Job], program: Program) -> String {
    let names = |numbers: &[usize]| fold(numbers.iter().map(|number| jobs[*number].label.as_str()));
    format!("{}: {}\n", program.name(), sanitize(&interruption.text(program.task(), names)))
}
