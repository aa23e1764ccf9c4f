//! The queue: jobs wait here, without a slot of the pool, until their host's name is looked up or the pause
//! before another attempt is over, and are handed out in list order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};

use super::pool::Plan;
use super::retries::Retries;
use crate::events::event::{Event, EventKind, HostStage, Outcome};
use crate::events::host_error::HostError;
use crate::plan::failure_limit::FailureCount;
use crate::plan::job::Job;
use crate::system::cancel::{Cancel, Reason};
use crate::system::poll::catching_up;
use crate::system::resolver::{self, Answer, LookupError, Resolver};

/// A job that can start: its number and where to connect.
#[derive(Debug)]
pub struct Task {
    /// Number of the job.
    pub job: usize,
    /// Which attempt at it this is, from 1.
    pub attempt: u32,
    /// The way to its host.
    pub route: Route,
}

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one of these addresses, whose ports mean nothing; never empty.
    Direct(Vec<SocketAddr>),
    /// Through a proxy, which resolves the name.
    Proxied,
    /// Not known: the name could not be looked up. No worker gets this.
    Unresolved,
}

/// The result of a task.
#[derive(Debug)]
pub enum Report {
    /// The job has ended, and the worker has reported how.
    Ended,
    /// The attempt failed before the command was sent.
    Failed(Task, Outcome),
    /// The run was cancelled before the attempt began.
    Unwanted(Task),
}

/// How many jobs to look up ahead of the next one: enough to keep any pool busy, without asking a
/// name server for ten thousand names at once.
const LOOK_AHEAD: usize = 256;
/// How long later hosts wait for an earlier one's name, so that hosts start in list order as long as the name
/// server answers in time.
const ORDER_PATIENCE: Duration = Duration::from_millis(200);

/// The channels between queue and workers.
pub struct Channels<'a> {
    /// How many hosts have failed.
    pub failures: &'a FailureCount,
    /// Tasks, to the workers.
    pub tasks: &'a Sender<Task>,
    /// Their results.
    pub reports: &'a Receiver<Report>,
    /// Events, to the output.
    pub events: &'a Sender<Event>,
}

/// Waiting jobs.
pub struct Queue {
    jobs: Arc<[Job]>,
    /// The first job that has not been admitted yet.
    next: usize,
    /// The name is being looked up: since when, for which attempt.
    asked: BTreeMap<usize, (Instant, u32)>,
    ready: BTreeMap<usize, Task>,
    retries: Retries,
    /// How many tasks the workers have.
    handed_out: usize,
    resolver: Resolver,
    plan: Plan,
    /// The deadline of the whole run.
    deadline: Option<Instant>,
    /// When a lookup was seen to be over its limit.
    late: Option<Instant>,
}

impl Queue {
    /// Creates a queue of all `jobs`, handed out by `plan`, whose time begins now.
    pub fn new(jobs: Arc<[Job]>, plan: Plan) -> Queue {
        Queue {
            jobs,
            next: 0,
            asked: BTreeMap::new(),
            ready: BTreeMap::new(),
            retries: Retries::default(),
            handed_out: 0,
            resolver: Resolver::default(),
            plan,
            deadline: plan.total_limit.and_then(|limit| Instant::now().checked_add(limit)),
            late: None,
        }
    }

    /// Hands out every job as fast as workers take tasks, or reports how it ended without a start. Returns when every job
    /// has ended.
    pub fn run(mut self, channels: &Channels<'_>, cancel: &Cancel) {
        let answers = self.resolver.answers();
        let never = crossbeam_channel::never();
        loop {
            let now = Instant::now();
            let cancelled = self.heed_cancel(now, channels, cancel);
            // Results that have arrived count, even if they are read late.
            answers.try_iter().for_each(|answer| self.take_answer(answer, channels));
            self.give_up_late_lookups(now, channels);
            self.end_pauses(now);
            self.admit();
            if self.is_done() {
                return;
            }
            let first = self.ready.keys().next().copied();
            let first = first.filter(|first| self.turn_of(*first).is_none_or(|turn| turn <= now));

            let mut select = Select::new();
            // After a cancel, its channel stays readable and would make this spin.
            let alarm = select.recv(if cancelled { &never } else { cancel.channel() });
            let answered = select.recv(&answers);
            let reported = select.recv(channels.reports);
            let taken = first.map(|job| (select.send(channels.tasks), job));
            let operation = match self.next_due(now) {
                Some(due) => select.select_deadline(due).ok(),
                None => Some(select.select()),
            };
            let Some(operation) = operation else { continue };
            match operation.index() {
                index if index == alarm => {
                    let _ = operation.recv(cancel.channel());
                }
                index if index == answered => {
                    if let Ok(answer) = operation.recv(&answers) {
                        self.take_answer(answer, channels);
                    }
                }
                index if index == reported => match operation.recv(channels.reports) {
                    Ok(report) => self.take_report(report, channels),
                    // All workers are gone, so nothing can be run any more. The multiplexer accounts for what is open.
                    Err(_) => return,
                },
                _ => {
                    let task = taken.and_then(|(_, job)| self.ready.remove(&job));
                    if let Some(task) = task
                        && operation.send(channels.tasks, task).is_ok()
                    {
                        self.handed_out += 1;
                    } else {
                        return;
                    }
                }
            }
        }
    }

    /// Ends what waits once the run is stopped or has taken too long. Says whether it is.
    fn heed_cancel(&mut self, now: Instant, channels: &Channels<'_>, cancel: &Cancel) -> bool {
        if let (Some(limit), Some(deadline)) = (self.plan.total_limit, self.deadline)
            && now >= deadline
        {
            cancel.trigger(Reason::TooLong(limit));
        }
        let is_cancelled = cancel.is_triggered();
        if is_cancelled {
            self.deadline = None;
            self.cancel_waiting(channels, cancel);
        }
        is_cancelled
    }

    fn is_done(&self) -> bool {
        let waiting = self.asked.len() + self.ready.len() + self.retries.len() + self.handed_out;
        waiting == 0 && self.next == self.jobs.len()
    }

    /// Admits jobs from the list while few enough are waiting.
    fn admit(&mut self) {
        while self.next < self.jobs.len() && self.asked.len() + self.ready.len() < LOOK_AHEAD {
            let job = self.next;
            self.next += 1;
            self.locate(job, 1);
        }
    }

    /// Makes a job ready, after a lookup if its host is a name.
    fn locate(&mut self, job: usize, attempt: u32) {
        let name = &self.jobs[job].address;
        if self.jobs[job].proxy.is_some() {
            self.ready.insert(job, Task { job, attempt, route: Route::Proxied });
        } else if let Some(address) = resolver::literal(name) {
            self.ready.insert(job, Task { job, attempt, route: Route::Direct(vec![address]) });
        } else {
            self.asked.insert(job, (Instant::now(), attempt));
            self.resolver.ask(job, name.clone());
        }
    }

    /// Makes those jobs ready whose pause is over.
    fn end_pauses(&mut self, now: Instant) {
        while let Some(task) = self.retries.take_due(now) {
            if task.route == Route::Unresolved {
                self.locate(task.job, task.attempt);
            } else {
                self.ready.insert(task.job, task);
            }
        }
    }

    /// Returns when `job` may be handed out: at once if no earlier job is being looked up, else when those had their time.
    fn turn_of(&self, job: usize) -> Option<Instant> {
        self.asked.range(..job).map(|(_, (asked, _))| *asked + ORDER_PATIENCE).max()
    }

    /// Returns the next timer: a job's turn comes, a pause ends, a lookup or the run takes too
    /// long.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let turn = self.ready.keys().next().and_then(|first| self.turn_of(*first)).filter(|turn| *turn > now);
        let late = self.lookup_ends();
        turn.into_iter().chain(late).chain(self.retries.next_due()).chain(self.deadline).min()
    }

    fn take_answer(&mut self, answer: Answer, channels: &Channels<'_>) {
        // An answer after its time belongs to a lookup that was given up.
        let Some((_, attempt)) = self.asked.remove(&answer.job) else { return };
        match answer.addresses {
            Ok(addresses) => {
                self.ready.insert(answer.job, Task { job: answer.job, attempt, route: Route::Direct(addresses) });
            }
            Err(error) => self.unresolved(answer.job, attempt, error, channels),
        }
    }

    /// Returns when the first running lookup reaches its limit.
    fn lookup_due(&self) -> Option<Instant> {
        let asked = self.asked.values().map(|(asked, _)| *asked).min();
        asked.and_then(|asked| asked.checked_add(self.plan.lookup_limit))
    }

    /// The same, but later if it was seen too late, for example after SIGSTOP, since the answers may be late too.
    fn lookup_ends(&self) -> Option<Instant> {
        let due = self.lookup_due()?;
        Some(self.late.map_or(due, |seen| seen + catching_up(due, seen)))
    }

    fn give_up_late_lookups(&mut self, now: Instant, channels: &Channels<'_>) {
        let is_late = self.lookup_due().is_some_and(|due| now >= due);
        self.late = if is_late { Some(self.late.unwrap_or(now)) } else { None };
        if !is_late || self.lookup_ends().is_none_or(|ends| now < ends) {
            return;
        }
        let limit = self.plan.lookup_limit;
        let late = self.asked.iter().filter(|(_, (asked, _))| asked.elapsed() >= limit);
        for (job, attempt) in late.map(|(job, (_, attempt))| (*job, *attempt)).collect::<Vec<_>>() {
            self.asked.remove(&job);
            let reason = format!("no answer from the resolver within {} s", limit.as_secs_f64());
            self.unresolved(job, attempt, LookupError::unanswered(reason), channels);
        }
        self.late = None;
    }

    fn unresolved(&mut self, job: usize, attempt: u32, error: LookupError, channels: &Channels<'_>) {
        let Job { address, spec, .. } = &self.jobs[job];
        // ssh_config replaces names (HostName) and lowers their case.
        let of_config = if address.eq_ignore_ascii_case(&spec.name) { "" } else { ", with HostName in ssh_config" };
        let (name, origin) = (address.clone(), Some(format!("{}{of_config}", spec.origin)));
        let task = Task { job, attempt, route: Route::Unresolved };
        let LookupError { reason, is_final } = error;
        self.failed(task, HostError::Dns { name, reason, is_final, origin }.into(), channels);
    }

    fn take_report(&mut self, report: Report, channels: &Channels<'_>) {
        self.handed_out -= 1;
        match report {
            Report::Ended => {}
            Report::Failed(task, outcome) => self.failed(task, outcome, channels),
            Report::Unwanted(task) => {
                self.ready.insert(task.job, task);
            }
        }
    }

    /// Handles an attempt that failed before the command was sent: the job is retried or ends.
    fn failed(&mut self, task: Task, outcome: Outcome, channels: &Channels<'_>) {
        self.retries.retry(&self.jobs[task.job], task, outcome, self.plan.retry, channels);
    }

    /// Ends every job that no worker has.
    fn cancel_waiting(&mut self, channels: &Channels<'_>, cancel: &Cancel) {
        self.retries.cancel(channels);
        let asked = std::mem::take(&mut self.asked).into_iter().map(|(job, (_, attempt))| (job, attempt));
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(job, task)| (job, task.attempt));
        let unseen = (self.next..self.jobs.len()).map(|job| (job, 1));
        let mut waiting: Vec<(usize, u32)> = asked.chain(ready).chain(unseen).collect();
        self.next = self.jobs.len();
        waiting.sort_unstable();
        for (job, attempt) in waiting {
            let stage = if attempt > 1 { HostStage::Connecting } else { HostStage::Waiting };
            channels.finish(job, Outcome::cancelled(cancel, stage), attempt - 1);
        }
    }
}

impl Channels<'_> {
    pub(super) fn finish(&self, job: usize, outcome: Outcome, attempts: u32) {
        self.failures.note(&outcome);
        let _ = self.events.send(Event::now(job, EventKind::Finished { outcome, attempts }));
    }
}
