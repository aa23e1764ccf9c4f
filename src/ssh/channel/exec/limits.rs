//! The limits of time of a command, and when there is something to do next.

use std::time::{Duration, Instant};

use super::spoken::AFTER_DONE;
use super::{BLIND_PAUSE, Running, State};
use crate::events::event::{HostStage, Outcome, Phase};
use crate::ssh::channel::agent_forward::ForwardedAgent;
use crate::ssh::watch::CARRIER_TICK;

/// How long a dialogue may take to leave the host tidy when the job is stopped, from the last answer that it has got.
const PARTING: Duration = Duration::from_secs(1);
/// How long it may take in all: what was under way goes before, which is up to 4 MiB, and the link may be slow.
const LONGEST_PARTING: Duration = Duration::from_secs(10);

/// A limit of time: when it is over, of what, how long it is, and what is missing then.
type Limit = (Instant, Phase, Duration, &'static str);

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

impl Running<'_> {
    /// The limits that hold while it runs, the most telling first: for an answer of the program, for the whole, and for silence.
    fn limits(&self) -> [Option<Limit>; 3] {
        let answer = self.spoken.as_ref().filter(|spoken| !spoken.dialogue.has_begun() && !self.stdin.is_over());
        let answer = answer
            .map(|spoken| (spoken.answer_by, Phase::Open, spoken.answer_within, "no answer from the remote program"));
        let (phase, silent) = match self.spoken {
            Some(_) => (Phase::Transfer, "no data from the host"),
            None => (Phase::Command, "no output"),
        };
        let whole = self.deadline.map(|due| (due, phase, self.command.timeout.unwrap_or_default(), "not finished"));
        // As long as our own reader is slow, the silence is not the command's.
        let limit = self.command.silence.filter(|_| self.undelivered.is_none());
        let silence =
            limit.and_then(|limit| Some((self.last_output.checked_add(limit)?, Phase::Silence, limit, silent)));
        [answer, whole, silence]
    }

    /// The limit of time that is over, if one is: since when, and the outcome.
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

    /// Whether the cancel is news. Once it has begun to stop the job, it would only make this spin.
    pub(super) fn waits_for_cancel(&self) -> bool {
        matches!(self.state, State::Running | State::Asking(_)) && !self.cancel.is_triggered()
    }

    /// When a dialogue that has been parting `since` then has had its time to leave the host tidy.
    pub(super) fn parting_ends(&self, since: Instant) -> Instant {
        (self.last_output.max(since) + PARTING).min(since + LONGEST_PARTING)
    }

    /// When there is something to do even if nothing comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.late.is_pending() {
            // It has come, and what is still to be read before may not wake us.
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
