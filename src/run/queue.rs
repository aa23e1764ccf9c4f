//! The queue: jobs wait here, without a slot of the pool, until their host's name is looked up or the pause
//! before another attempt is over, and are handed out in their order, batch by batch.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, never};

use super::batches::{Batches, Next};
use super::pace::{Grant, LoginGate, LoginSlot, Pace};
use super::pool::Plan;
use super::retries::Retries;
use crate::events::event::{Event, EventKind, HostStage, Outcome};
use crate::events::host_error::HostError;
use crate::events::tally::Tally;
use crate::plan::failure_limit::FailureCount;
use crate::plan::job::Job;
use crate::system::cancel::{Cancel, Reason};
use crate::system::poll::{CENTURY, Patience, catching_up};
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
    /// The right to log in, if logins are limited.
    pub login: Option<LoginSlot>,
    /// Where to wait before another login on the same attempt, if logins or starts are limited.
    pub gate: Option<LoginGate>,
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

/// What has been stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The whole run.
    All,
    /// The start of further hosts.
    Starts,
}

/// The channels that the queue itself listens to.
struct Sources {
    answers: Receiver<Answer>,
    login_over: Receiver<()>,
    login_asked: Receiver<Grant>,
    never: Receiver<Infallible>,
}

/// Why a wait ended.
enum Woken {
    /// A timer is due.
    Due,
    /// The run was stopped, or the start of further hosts.
    Stopped,
    /// The output has shown a batch.
    Shown(Option<Tally>),
    /// A login is over.
    LoginOver,
    /// A host that runs asks to log in once more.
    LoginAsked(Grant),
    /// A name was looked up.
    Answered(Answer),
    /// A worker has finished a task.
    Reported(Report),
    /// A worker has taken a task.
    Sent,
    /// The workers are gone.
    Abandoned,
}

/// Waiting jobs.
pub struct Queue {
    jobs: Arc<[Job]>,
    batches: Batches,
    pace: Pace,
    /// The place of the first job that has not been admitted yet, in the order in which they start.
    next: usize,
    /// The place of each job.
    places: Vec<usize>,
    /// By place: the name is being looked up, since when, for which attempt.
    asked: BTreeMap<usize, (Instant, u32)>,
    /// By place.
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
    /// Creates a queue of all `jobs` but those that have ended, handed out by `plan`, whose time begins now.
    pub fn new(jobs: Arc<[Job]>, plan: Plan, ended: &[bool]) -> Queue {
        let batches = Batches::new(&jobs, ended, &plan.rolling, plan.terminal.clone());
        let mut places = vec![0; jobs.len()];
        (0..batches.len()).for_each(|place| places[batches.job(place)] = place);
        Queue {
            jobs,
            batches,
            pace: Pace::new(&plan.rolling),
            next: 0,
            places,
            asked: BTreeMap::new(),
            ready: BTreeMap::new(),
            retries: Retries::default(),
            handed_out: 0,
            resolver: Resolver::default(),
            deadline: plan.total_limit.and_then(|limit| Instant::now().checked_add(limit)),
            plan,
            late: None,
        }
    }

    /// Hands out every job as fast as workers take tasks, or reports how it ended without a start. Returns when every job
    /// has ended.
    pub fn run(mut self, channels: &Channels<'_>, cancel: &Cancel) {
        let sources = Sources {
            answers: self.resolver.answers(),
            login_over: self.pace.over().clone(),
            login_asked: self.pace.asked().clone(),
            never: never(),
        };
        loop {
            let now = Instant::now();
            let stopped = self.heed_stop(now, channels, cancel);
            // Results that have arrived count, even if they are read late.
            sources.answers.try_iter().for_each(|answer| self.take_answer(answer, channels));
            self.give_up_late_lookups(now, channels);
            self.end_pauses(now);
            self.admit();
            if self.is_idle() {
                let patience = Patience { cancel, until: self.deadline.unwrap_or(now + CENTURY) };
                match self.batches.advance(stopped.is_some(), channels, patience) {
                    Next::Over => return,
                    Next::Admit => continue,
                    Next::Stop(why) => return self.cancel_waiting(Some(why), channels),
                    Next::Wait => {}
                }
            }
            self.pace.serve(now);
            match self.wait(&sources, channels, stopped, now, cancel) {
                // The loop looks at these itself.
                Woken::Due | Woken::Stopped | Woken::Sent => {}
                Woken::Shown(tally) => self.batches.take_shown(tally, channels),
                Woken::LoginOver => self.pace.note_end(),
                Woken::LoginAsked(grant) => self.pace.take(grant),
                Woken::Answered(answer) => self.take_answer(answer, channels),
                Woken::Reported(report) => self.take_report(report, channels),
                // Nothing can be run any more. The multiplexer accounts for what is open.
                Woken::Abandoned => return,
            }
        }
    }

    /// Waits for the next thing that happens, or hands out the first task, if it may start now.
    fn wait(
        &mut self,
        sources: &Sources,
        channels: &Channels<'_>,
        stopped: Option<Stopped>,
        now: Instant,
        cancel: &Cancel,
    ) -> Woken {
        let first = self.ready.keys().next().copied().filter(|first| self.may_start(*first, now));
        let shown = self.batches.shown().cloned();
        let mut select = Select::new();
        // Once heeded, these stay readable and would make this spin.
        let is_cancelled = stopped == Some(Stopped::All);
        let alarm = select.recv(if is_cancelled { &sources.never } else { cancel.channel() });
        let halt = select.recv(if stopped.is_some() { &sources.never } else { channels.failures.channel() });
        let answered = select.recv(&sources.answers);
        let reported = select.recv(channels.reports);
        // Every channel costs a little each time.
        let is_bounded = self.pace.is_bounded();
        let login_over = is_bounded.then(|| select.recv(&sources.login_over));
        let login_asked = is_bounded.then(|| select.recv(&sources.login_asked));
        let told = shown.as_ref().map(|shown| select.recv(shown));
        let taken = first.map(|place| (select.send(channels.tasks), place));
        let operation = match self.next_due(now) {
            Some(due) => select.select_deadline(due).ok(),
            None => Some(select.select()),
        };
        let Some(operation) = operation else { return Woken::Due };
        match (operation.index(), &shown) {
            (index, _) if index == alarm => {
                let _ = operation.recv(cancel.channel());
                Woken::Stopped
            }
            (index, _) if index == halt => {
                let _ = operation.recv(channels.failures.channel());
                Woken::Stopped
            }
            (index, _) if index == answered => {
                operation.recv(&sources.answers).map_or(Woken::Abandoned, Woken::Answered)
            }
            (index, _) if index == reported => {
                operation.recv(channels.reports).map_or(Woken::Abandoned, Woken::Reported)
            }
            (index, _) if Some(index) == login_over => {
                let _ = operation.recv(&sources.login_over);
                Woken::LoginOver
            }
            (index, _) if Some(index) == login_asked => {
                operation.recv(&sources.login_asked).map_or(Woken::Abandoned, Woken::LoginAsked)
            }
            (index, Some(shown)) if Some(index) == told => Woken::Shown(operation.recv(shown).ok()),
            _ => {
                let task = taken.and_then(|(_, place)| self.ready.remove(&place));
                let (login, gate) = (self.pace.start(Instant::now()), self.pace.gate());
                match task.map(|task| operation.send(channels.tasks, Task { login, gate, ..task })) {
                    Some(Ok(())) => {
                        self.handed_out += 1;
                        Woken::Sent
                    }
                    _ => Woken::Abandoned,
                }
            }
        }
    }

    /// Whether the job at `place` may start now. Hosts that run already and log in once more come first.
    fn may_start(&self, place: usize, now: Instant) -> bool {
        !self.pace.is_asked() && self.start_of(place, now).is_some_and(|start| start <= now)
    }

    /// Ends what waits once the run is stopped or has taken too long, or too many hosts have failed.
    fn heed_stop(&mut self, now: Instant, channels: &Channels<'_>, cancel: &Cancel) -> Option<Stopped> {
        if let (Some(limit), Some(deadline)) = (self.plan.total_limit, self.deadline)
            && now >= deadline
        {
            cancel.trigger(Reason::TooLong(limit));
        }
        let (cancelled, halted) = (cancel.reason(), channels.failures.halted());
        if cancelled.is_some() {
            self.deadline = None;
        }
        let why = cancelled.or(halted)?;
        self.cancel_waiting(Some(why), channels);
        Some(if cancelled.is_some() { Stopped::All } else { Stopped::Starts })
    }

    /// Whether no job of the batch waits or runs.
    fn is_idle(&self) -> bool {
        let waiting = self.asked.len() + self.ready.len() + self.retries.len() + self.handed_out;
        waiting == 0 && self.next >= self.batches.end()
    }

    /// Admits jobs of the batch while few enough are waiting.
    fn admit(&mut self) {
        while self.next < self.batches.end() && self.asked.len() + self.ready.len() < LOOK_AHEAD {
            let job = self.batches.job(self.next);
            self.next += 1;
            self.locate(job, 1);
        }
    }

    /// Makes a job ready, after a lookup if its host is a name.
    fn locate(&mut self, job: usize, attempt: u32) {
        let name = &self.jobs[job].address;
        let route = if self.jobs[job].proxy.is_some() {
            Route::Proxied
        } else if let Some(address) = resolver::literal(name) {
            Route::Direct(vec![address])
        } else {
            self.asked.insert(self.places[job], (Instant::now(), attempt));
            self.resolver.ask(job, name.clone());
            return;
        };
        self.make_ready(Task { job, attempt, route, login: None, gate: None });
    }

    fn make_ready(&mut self, task: Task) {
        self.ready.insert(self.places[task.job], task);
    }

    /// Makes those jobs ready whose pause is over.
    fn end_pauses(&mut self, now: Instant) {
        while let Some(task) = self.retries.take_due(now) {
            if task.route == Route::Unresolved {
                self.locate(task.job, task.attempt);
            } else {
                self.make_ready(task);
            }
        }
    }

    /// Returns when the job at `place` may be handed out: when no earlier job is being looked up any more, or those had their time; and
    /// not before the pace allows it. `None` if a login must end before.
    fn start_of(&self, place: usize, now: Instant) -> Option<Instant> {
        let turn = self.asked.range(..place).map(|(_, (asked, _))| *asked + ORDER_PATIENCE).max();
        self.pace.opens(now).map(|opens| turn.map_or(opens, |turn| turn.max(opens)))
    }

    /// Returns the next timer: a job's turn comes, a pause ends, a lookup or the run takes too
    /// long.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let start = self.ready.keys().next().and_then(|first| self.start_of(*first, now)).filter(|start| *start > now);
        let others = [
            self.lookup_ends(),
            self.retries.next_due(),
            self.batches.next_due(),
            self.pace.next_due(now),
            self.deadline,
        ];
        start.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn take_answer(&mut self, answer: Answer, channels: &Channels<'_>) {
        // An answer after its time belongs to a lookup that was given up.
        let Some((_, attempt)) = self.asked.remove(&self.places[answer.job]) else { return };
        match answer.addresses {
            Ok(addresses) => {
                self.make_ready(Task {
                    job: answer.job,
                    attempt,
                    route: Route::Direct(addresses),
                    login: None,
                    gate: None,
                });
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
        for (place, attempt) in late.map(|(place, (_, attempt))| (*place, *attempt)).collect::<Vec<_>>() {
            self.asked.remove(&place);
            let job = self.batches.job(place);
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
        let task = Task { job, attempt, route: Route::Unresolved, login: None, gate: None };
        let LookupError { reason, is_final } = error;
        self.failed(task, HostError::Dns { name, reason, is_final, origin }.into(), channels);
    }

    fn take_report(&mut self, report: Report, channels: &Channels<'_>) {
        self.handed_out -= 1;
        match report {
            Report::Ended => {}
            Report::Failed(task, outcome) => self.failed(task, outcome, channels),
            Report::Unwanted(task) => self.make_ready(task),
        }
    }

    /// Handles an attempt that failed before the command was sent: the job is retried or ends.
    fn failed(&mut self, task: Task, outcome: Outcome, channels: &Channels<'_>) {
        self.retries.retry(&self.jobs[task.job], task, outcome, self.plan.retry, channels);
    }

    /// Ends every job that no worker has, also those of later batches.
    fn cancel_waiting(&mut self, why: Option<Reason>, channels: &Channels<'_>) {
        self.retries.cancel(channels);
        let asked = std::mem::take(&mut self.asked).into_iter().map(|(place, (_, attempt))| (place, attempt));
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(place, task)| (place, task.attempt));
        let unseen = (self.next..self.batches.len()).map(|place| (place, 1));
        let waiting = asked.chain(ready).chain(unseen).map(|(place, attempt)| (self.batches.job(place), attempt));
        let mut waiting: Vec<(usize, u32)> = waiting.collect();
        self.next = self.batches.len();
        waiting.sort_unstable();
        for (job, attempt) in waiting {
            let stage = if attempt > 1 { HostStage::Connecting } else { HostStage::Waiting };
            channels.finish(job, Outcome::Cancelled { stage, why }, attempt - 1);
        }
    }
}

impl Channels<'_> {
    pub(super) fn finish(&self, job: usize, outcome: Outcome, attempts: u32) {
        self.failures.note(&outcome);
        let _ = self.events.send(Event::now(job, EventKind::Finished { outcome, attempts }));
    }
}

#[cfg(test)]
mod tests;
