//! Failures, as the reports at the end of a run show them.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::events::event::{Class, HostStage, Outcome};
use crate::plan::job::Job;
use crate::plan::program::Program;

/// Hosts that failed for the same reason.
pub struct Reason {
    /// The class of their outcomes.
    pub class: Class,
    /// The reason, in the same words for all of them.
    pub brief: String,
    /// The numbers of their jobs, in the order of the list.
    pub jobs: Vec<usize>,
}

/// The hosts that failed, by reason.
#[derive(Default)]
pub struct FailuresByReason(HashMap<(Class, String), Vec<usize>>);

impl FailuresByReason {
    /// Counts the outcome of a host, if it failed.
    pub fn note(&mut self, job: &Job, outcome: &Outcome) {
        if outcome.class() != Class::Ok {
            self.0.entry((outcome.class(), outcome.brief())).or_default().push(job.number);
        }
    }

    /// Takes the reasons, the most frequent first; but hosts that were stopped come after those that failed by themselves.
    pub fn take(&mut self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = (self.0.drain())
            .map(|((class, brief), mut jobs)| {
                jobs.sort_unstable();
                Reason { class, brief, jobs }
            })
            .collect();
        reasons.sort_by_key(|reason| (reason.class == Class::Cancelled, Reverse(reason.jobs.len()), reason.jobs[0]));
        reasons
    }
}

/// Whether a host was not even started, since the run was stopped before its turn.
pub fn was_never_started(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Cancelled { stage, .. } => *stage == HostStage::Waiting,
        Outcome::Recorded(recorded) if recorded.class == Class::Cancelled => {
            let never = Outcome::Cancelled { stage: HostStage::Waiting, why: None };
            recorded.message.starts_with(&never.to_string())
        }
        _ => false,
    }
}

/// Returns the outcome, with its hint on a line of its own.
pub fn with_hint(outcome: &Outcome, program: Program) -> String {
    let hint = outcome.hint(program).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{outcome}{hint}")
}
