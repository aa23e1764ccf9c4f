//! The time limits of a command, and the next due time.

use std::time::{Duration, Instant};

use super::spoken::AFTER_DONE;
use super::{BLIND_PAUSE, Running, State};
use crate::events::event::{HostStage, Outcome, Phase};
use crate::ssh::channel::agent_forward::ForwardedAgent;
use crate::ssh::watch::CARRIER_TICK;

/// How long a dialogue may take to clean up on the host when the job is stopped, from the last answer.
const PARTING: Duration = Duration::from_secs(1);
/// Its total time: data in flight goes first, up to 4 MiB, and the link may be slow.
const LONGEST_PARTING: Duration = Duration::from_secs(10);

/// A time limit: its end, phase, length, and what is missing then.
type Limit = (Instant, Phase, Duration, &'static str);

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

impl Running<'_> {
    /// Returns the limits of a running command, the most specific first: an answer of the program, the whole, and
    /// silence.
    fn limits(&self) -> [Option<Limit>; 3] {
        let answer = self.spoken.as_ref().filter(|spoken| !spoken.dialogue.has_begun() && !self.stdin.is_over());
        let answer = answer
            .map(|spoken| (spoken.answer_by, Phase::Open, spoken.answer_within, "no answer from the remote program"));
        let (phase, silent) = match self.spoken {
            Some(_) => (Phase::Transfer, "no data from the host"),
            None => (Phase::Command, "no output"),
        };
        let whole = self.deadline.map(|due| (due, phase, self.command.timeout.unwrap_or_default(), "not finished"));
        // While the local reader is slow, the command is not to blame for the silence.
        let limit = self.command.silence.filter(|_| self.undelivered.is_none());
        let silence =
            limit.and_then(|limit| Some((self.last_output.checked_add(limit)?, Phase::Silence, limit, silent)));
        [answer, whole, silence]
    }

    /// Returns the expired time limit, if any: since when, and the outcome.
    pub(super) fn over(&self) -> Option<(Instant, Outcome)> {
        if let Some(lapsed) = self.cancel.lapsed() {
            return Some((lapsed, Outcome::cancelled(self.cancel, HostStage::Running)));
        }
        if !matches!(self.state, State::Running) {
            return None;
        }
        let mut limits = self.limits().into_iter().flatten().peekable();
        let now = limits.peek().map(|_| Instant::now())?;
        let (due, phase, limit, missing) = limits.find(|(due, ..)| now >= *due)?;
        Some((due, Outcome::TimedOut { phase, limit, missing }))
    }

    /// Whether a cancel is news. Once it has begun to stop the job, waiting for it would only spin.
    pub(super) fn waits_for_cancel(&self) -> bool {
        matches!(self.state, State::Running | State::Asking(_)) && !self.cancel.is_triggered()
    }

    /// Returns when a dialogue that has been ending since `since` has used up its time.
    pub(super) fn parting_ends(&self, since: Instant) -> Instant {
        (self.last_output.max(since) + PARTING).min(since + LONGEST_PARTING)
    }

    /// Returns when there is work even if nothing arrives.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.late.is_pending() {
            // It is due, and the data to read before it may not wake us.
            return Some(Instant::now() + CARRIER_TICK);
        }
        let knock = self.agent.as_ref().and_then(ForwardedAgent::next_due);
        let done = self.spoken.as_ref().and_then(|spoken| spoken.done).map(|since| since + AFTER_DONE);
        match &self.state {
            State::Running => {
                let [answer, whole, silence] = self.limits().map(|limit| limit.map(|(due, ..)| due));
                let (refusal, pulse) = (self.unanswered.due(), self.pulse.due(self.session));
                earliest([answer, whole, silence, refusal, pulse, done, knock])
            }
            State::Asking(_) => earliest([self.pulse.due(self.session), knock]),
            State::Parting { since, .. } => earliest([Some(self.parting_ends(*since)), done, knock]),
            State::Stopping(stopping) => {
                let pause = stopping.is_pending().then(|| Instant::now() + BLIND_PAUSE);
                earliest([Some(stopping.next_due()), pause, knock])
            }
        }
    }
}
