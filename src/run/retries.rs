//! Hosts whose last attempt failed before a command was sent, and that are tried again after a pause.

use std::collections::BTreeMap;
use std::time::Instant;

use super::queue::{Channels, Task};
use crate::events::event::{Event, EventKind, Outcome};
use crate::plan::job::Job;
use crate::plan::retry::RetryPolicy;

/// The tasks that wait for their next attempt.
#[derive(Default)]
pub(super) struct Retries {
    /// By the time of the attempt; with the outcome that stands if it is never made.
    waiting: BTreeMap<(Instant, usize), (Task, Outcome)>,
}

impl Retries {
    /// Retries `task`, an attempt of which ended with `outcome`, after a pause; or ends `job` with that where it is final.
    pub(super) fn retry(
        &mut self,
        job: &Job,
        task: Task,
        outcome: Outcome,
        policy: RetryPolicy,
        channels: &Channels<'_>,
    ) {
        let attempts = job.attempts.unwrap_or(policy.attempts);
        let delay = job.retry_delay.unwrap_or(policy.delay);
        match (RetryPolicy { attempts, delay }).pause(&outcome, task.attempt) {
            Some(pause) => {
                let (number, seconds) = (task.job, pause.as_secs_f64());
                let text = format!("attempt {} failed: {outcome}; the next one in {seconds:.1} s", task.attempt);
                let _ = channels.events.send(Event::now(number, EventKind::Note(text)));
                let until = Instant::now() + pause;
                let _ = channels.events.send(Event::now(number, EventKind::Paused { reason: outcome.reason(), until }));
                let task = Task { attempt: task.attempt + 1, ..task };
                self.waiting.insert((until, number), (task, outcome));
            }
            None => channels.finish(task.job, outcome, task.attempt),
        }
    }

    /// Takes a task whose pause is over by `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Task> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove().0)
    }

    /// When the first pause is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// How many tasks wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Ends all of them. How the last attempt went says more than that there is no other.
    pub(super) fn cancel(&mut self, channels: &Channels<'_>) {
        for (task, outcome) in std::mem::take(&mut self.waiting).into_values() {
            channels.finish(task.job, outcome, task.attempt - 1);
        }
    }
}
