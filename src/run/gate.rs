//! What every host passes just before its command is sent: the run may have been stopped, and the journal must have the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::event::{HostStage, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::journal::record::{self, Sent};
use crate::journal::writer::{Unwritten, Writer};
use crate::plan::failure_limit::FailureCount;
use crate::plan::job::Job;
use crate::system::cancel::{Cancel, Reason};

/// Whether commands may be sent.
pub struct Gate {
    /// Whether too many hosts have failed.
    pub failures: Arc<FailureCount>,
    /// The journal, if there is one.
    pub journal: Option<Writer>,
    /// Whether the run is stopped.
    pub cancel: Cancel,
}

impl Gate {
    /// Lets a job send its command, in this attempt. If there is a journal, it has the host by then: on the disk, so that nobody who
    /// continues the run sends the command again, whatever happens to this process. The disk has time up to `until`, the end of the
    /// `limit` for connecting.
    ///
    /// # Errors
    /// The outcome of the job; nothing may be sent.
    pub fn pass(&self, job: &Job, attempt: u32, until: Instant, limit: Duration) -> Result<(), Outcome> {
        self.is_open()?;
        let Some(journal) = &self.journal else { return Ok(()) };
        let sent = Sent {
            index: job.index(),
            time: record::now(),
            host: job.spec.name.clone(),
            user: job.user.to_string(),
            port: job.port,
            attempt,
        };
        let mut line = Vec::new();
        sent.write(&mut line);
        journal.commit(line, until).map_err(|unwritten| match unwritten {
            Unwritten::Cancelled => Outcome::cancelled(&self.cancel, HostStage::Connecting),
            Unwritten::Late => {
                Outcome::TimedOut { phase: Phase::Open, limit, missing: "the journal is not on the disk" }
            }
            Unwritten::Failed(detail) => HostError::Local { doing: "writing the journal", detail, hint: None }.into(),
        })?;
        // That may have taken a while.
        self.is_open()?;
        journal.note_sent(job.number);
        Ok(())
    }

    fn is_open(&self) -> Result<(), Outcome> {
        let stage = HostStage::Connecting;
        if self.cancel.is_triggered() {
            return Err(Outcome::cancelled(&self.cancel, stage));
        }
        self.failures.may_start().map_err(|why: Reason| Outcome::Cancelled { stage, why: Some(why) })
    }
}
