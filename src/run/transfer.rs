//! Copies on a session: over SFTP, or with scp if the host has no SFTP server, unless the user chose one (`-x -O`, `-x -s`).

use super::session_work::SessionWork;
use crate::copy::{Copy, Protocol};
use crate::events::event::{Event, EventKind, Outcome};
use crate::events::host_error::HostError;
use crate::ssh::channel::dialogue::Dialogue;
use crate::ssh::channel::requests::Start;
use crate::ssh::session::Session;
use crate::ssh::watch::Watch;

/// The name of the subsystem (draft-ietf-secsh-filexfer-02 section 2).
const SUBSYSTEM: &str = "sftp";
/// Runs an SFTP server as another user, for which there is no subsystem. Looks where distributions install it, and on PATH.
const SFTP_SERVER: &[u8] = b"sh -c 'for p in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec/ssh /usr/libexec /usr/lib \
                             /usr/local/libexec; do [ -x $p/sftp-server ] && exec $p/sftp-server; done; exec sftp-server'";

impl SessionWork<'_> {
    /// Copies.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    pub fn copy(
        &self,
        session: &mut Session,
        copy: &Copy,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Outcome, Outcome> {
        let wanted = self.runner.settings.ssh_args.protocol;
        if wanted != Some(Protocol::Scp) {
            let start = match self.is_other_user() {
                true => Start::Command(SFTP_SERVER),
                false => Start::Subsystem(SUBSYSTEM),
            };
            let mut dialogue = copy.over_sftp(self.job.number)?;
            let channel = self.converse(session, start, &mut *dialogue, watch, note)?;
            let is_missing = !dialogue.has_begun() && !session.is_dead() && has_no_program(&channel);
            let outcome = dialogue.conclude(channel);
            if !is_missing || wanted == Some(Protocol::Sftp) {
                self.tell_end(&*dialogue);
                return Ok(outcome);
            }
            drop(dialogue);
            note(&|| format!("no SFTP server ({outcome}); trying scp"));
        }
        let (line, mut dialogue) = copy.over_scp(self.job.number)?;
        // sudo runs a program, and `exec` is the shell's.
        let program = if self.is_other_user() { line.strip_prefix(b"exec ").unwrap_or(&line) } else { &line };
        let outcome = self.converse(session, Start::Command(program), &mut *dialogue, watch, note)?;
        let outcome = dialogue.conclude(outcome);
        self.tell_end(&*dialogue);
        Ok(outcome)
    }

    /// Returns the final progress.
    pub(super) fn tell_end(&self, dialogue: &dyn Dialogue) {
        if let Some(progress) = dialogue.progress() {
            let _ = self.events.send(Event::now(self.job.number, EventKind::Copied(progress)));
        }
    }
}

/// Whether a silent channel had no program: the subsystem was refused, or the program ended at once.
fn has_no_program(channel: &Outcome) -> bool {
    match channel {
        Outcome::Exited(_) | Outcome::Signaled { .. } => true,
        Outcome::Failed(error) => matches!(**error, HostError::Ssh { .. } | HostError::Lost { .. }),
        Outcome::Reached { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Unstopped(_)
        | Outcome::Judged { .. }
        | Outcome::CheckFailed(_)
        | Outcome::Recorded(_) => false,
    }
}
