//! What is to be run next: jobs wait here, without a slot of the pool, until their host's name is looked up, and are handed
//! out in the order of the list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Select, Sender};

use crate::cancel::Cancel;
use crate::error::HostError;
use crate::event::{Event, EventKind, Outcome};
use crate::jobs::Job;
use crate::resolve::{Answer, Resolver};

/// A job that can start: its number and where to connect.
pub struct Task {
    /// Number of the job.
    pub job: usize,
    /// The addresses of its host, never empty.
    pub addresses: Vec<IpAddr>,
}

/// How many jobs are looked up ahead of the one that is handed out next: enough to keep any pool busy, without asking a
/// name server for ten thousand names at once.
const LOOK_AHEAD: usize = 256;
/// How long later hosts wait for an earlier one's name, so that hosts start in the order of the list as long as the name
/// server answers as it should.
const ORDER_PATIENCE: Duration = Duration::from_millis(200);

/// Jobs that wait.
pub struct Queue {
    jobs: Arc<[Job]>,
    /// The first job that has not been admitted yet.
    next: usize,
    /// Admitted, name being looked up, since when.
    asked: BTreeMap<usize, Instant>,
    ready: BTreeMap<usize, Vec<IpAddr>>,
    resolver: Resolver,
    lookup_limit: Duration,
}

impl Queue {
    /// A queue of all `jobs`. A lookup may take `lookup_limit`.
    pub fn new(jobs: Arc<[Job]>, lookup_limit: Duration) -> Queue {
        Queue {
            jobs,
            next: 0,
            asked: BTreeMap::new(),
            ready: BTreeMap::new(),
            resolver: Resolver::default(),
            lookup_limit,
        }
    }

    /// Hands every job out on `tasks`, as fast as they are taken, or says on `events` how it ended without being started.
    /// Returns when that is done.
    pub fn run(mut self, tasks: &Sender<Task>, events: &Sender<Event>, cancel: &Cancel) {
        let answers = self.resolver.answers();
        loop {
            self.admit();
            self.give_up_late_lookups(events);
            if self.asked.is_empty() && self.ready.is_empty() {
                return;
            }
            let now = Instant::now();
            let first =
                self.ready.keys().next().copied().filter(|first| self.turn_of(*first).is_none_or(|turn| turn <= now));
            let due = self.next_due(now);

            let mut select = Select::new();
            let cancelled = select.recv(cancel.channel());
            let answered = select.recv(&answers);
            let taken = first.map(|_| select.send(tasks));
            let operation = match due {
                Some(due) => select.select_deadline(due).ok(),
                None => Some(select.select()),
            };
            let Some(operation) = operation else { continue };
            let index = operation.index();
            if index == cancelled {
                let _ = operation.recv(cancel.channel());
                return self.cancel_rest(events);
            } else if index == answered {
                if let Ok(answer) = operation.recv(&answers) {
                    self.take_answer(answer, events);
                }
            } else if let (true, Some(job)) = (Some(index) == taken, first) {
                let addresses = self.ready.remove(&job).unwrap_or_default();
                if operation.send(tasks, Task { job, addresses }).is_err() {
                    // No worker is left to take it.
                    finish(events, job, Outcome::Cancelled { started: false });
                    return self.cancel_rest(events);
                }
            }
        }
    }

    /// Takes in jobs from the list while few enough are waiting.
    fn admit(&mut self) {
        while self.next < self.jobs.len() && self.asked.len() + self.ready.len() < LOOK_AHEAD {
            let job = self.next;
            self.next += 1;
            let name = &self.jobs[job].spec.name;
            if let Ok(address) = name.parse::<IpAddr>() {
                self.ready.insert(job, vec![address]);
            } else {
                self.asked.insert(job, Instant::now());
                self.resolver.ask(job, name.clone());
            }
        }
    }

    /// When `job` may be handed out: at once if no earlier job is being looked up, else when those have had their chance.
    fn turn_of(&self, job: usize) -> Option<Instant> {
        self.asked.range(..job).map(|(_, asked)| *asked + ORDER_PATIENCE).max()
    }

    /// When there is something to do even if nothing happens: a job's turn comes, or a lookup takes too long.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let turn = self.ready.keys().next().and_then(|first| self.turn_of(*first)).filter(|turn| *turn > now);
        let late = self.asked.values().min().and_then(|asked| asked.checked_add(self.lookup_limit));
        turn.into_iter().chain(late).min()
    }

    fn take_answer(&mut self, answer: Answer, events: &Sender<Event>) {
        // An answer after its time belongs to a job that is over.
        if self.asked.remove(&answer.job).is_none() {
            return;
        }
        match answer.addresses {
            Ok(addresses) => {
                self.ready.insert(answer.job, addresses);
            }
            Err(reason) => self.unresolved(answer.job, reason, events),
        }
    }

    fn give_up_late_lookups(&mut self, events: &Sender<Event>) {
        let late: Vec<usize> =
            self.asked.iter().filter(|(_, asked)| asked.elapsed() >= self.lookup_limit).map(|(job, _)| *job).collect();
        for job in late {
            self.asked.remove(&job);
            let reason = format!("no answer from the resolver within {} s", self.lookup_limit.as_secs_f64());
            self.unresolved(job, reason, events);
        }
    }

    fn unresolved(&self, job: usize, reason: String, events: &Sender<Event>) {
        let name = self.jobs[job].spec.name.clone();
        finish(events, job, HostError::Dns { name, reason }.into());
    }

    fn cancel_rest(self, events: &Sender<Event>) {
        let waiting: BTreeSet<usize> = self.asked.into_keys().chain(self.ready.into_keys()).collect();
        for job in waiting.into_iter().chain(self.next..self.jobs.len()) {
            finish(events, job, Outcome::Cancelled { started: false });
        }
    }
}

fn finish(events: &Sender<Event>, job: usize, outcome: Outcome) {
    let _ = events.send(Event::now(job, EventKind::Finished(outcome)));
}
