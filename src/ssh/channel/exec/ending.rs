//! The end of a command: when no more data can come, what that means, and which output is still passed on.

use std::time::Instant;

use super::spoken::AFTER_DONE;
use super::{Drained, Running, STARTING, STREAMS, State, not_started};
use crate::events::event::{Event, EventKind, HostStage, Outcome};
use crate::events::host_error::HostError;
use crate::ssh::channel::requests;
use crate::ssh::ffi::{self, Exit};
use crate::ssh::session::Stop;
use crate::system::quotation::said_names;

/// Most characters of a signal's name: those of RFC 4254 have at most 4; with `@DOMAIN` a name may be longer.
const LONGEST_SIGNAL: usize = 40;

fn signaled(name: String) -> Outcome {
    Outcome::Signaled { name: said_names(&[name], LONGEST_SIGNAL) }
}

/// Whether a command with this outcome runs no more.
fn has_ended(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Exited(_) | Outcome::Signaled { .. } => true,
        // It ended before it started.
        Outcome::Failed(error) => matches!(**error, HostError::Sudo { .. }),
        _ => false,
    }
}

impl Running<'_> {
    /// Returns the outcome if the server refuses the command later than we waited for.
    pub(super) fn refused(&mut self) -> Option<Outcome> {
        let is_refused = self.unanswered.hear(&self.channel);
        is_refused.then(|| not_started(self.session, Stop::Ssh(requests::refused()), STARTING))
    }

    /// Returns the outcome once no more data can come.
    pub(super) fn ending(&self, drained: &Drained) -> Option<Outcome> {
        let eof = self.channel.eof();
        // An error here equals a close: the transport has failed.
        let closed = eof && !matches!(self.channel.wait_closed(), Err(error) if ffi::would_block(&error));
        let over = match drained {
            Drained::Failed(message) => Some(message.clone()),
            _ if let Some(why) = self.session.link().given_up() => {
                Some(format!("pssh ended the connection: {}", why.error().message()))
            }
            _ if self.session.is_dead() => Some(self.session.end("the connection ended without an exit status")),
            _ if closed => Some("the channel was closed without an exit status".to_owned()),
            _ => None,
        };
        if let Drained::Failed(message) = drained
            && self.spoken.is_none()
            && let left @ 1.. = self.channel.queued()
        {
            // libssh2 returns no more output once it reads invalid data or a disconnect, even in the same segment. How
            // the command ended may be known, but its output is incomplete: that is not a success.
            let detail = format!("{message}, and {left} bytes of output with it");
            return Some(HostError::Lost { detail, hint: None }.into());
        }
        match self.channel.exit() {
            // The server sent the exit and the end of the output: do not wait for the close.
            Exit::Status(status) if eof || over.is_some() => Some(match &self.sudo {
                Some(sudo) if !sudo.has_begun() && !sudo.was_kept_by_guard(status) => sudo.never_began(status).into(),
                _ => Outcome::Exited(status),
            }),
            Exit::Signal(name) if eof || over.is_some() => Some(signaled(name)),
            Exit::Unknown => over.map(|detail| HostError::Lost { detail, hint: None }.into()),
            Exit::Status(_) | Exit::Signal(_) => None,
        }
    }

    /// Returns the outcome of a finished dialogue whose program does not close the channel: a process that it left
    /// behind may hold the channel open.
    pub(super) fn after_done(&mut self) -> Option<Outcome> {
        let spoken = self.spoken.as_mut().filter(|spoken| self.stdin.is_over() && spoken.dialogue.is_done())?;
        let since = *spoken.done.get_or_insert_with(Instant::now);
        match self.channel.exit() {
            Exit::Status(status) => Some(Outcome::Exited(status)),
            Exit::Signal(name) => Some(signaled(name)),
            Exit::Unknown => (since.elapsed() >= AFTER_DONE).then_some(Outcome::Exited(0)),
        }
    }

    /// Ends the channel, passes on the received output, and returns the outcome. `ended` is how the command ended, if
    /// it did; for one that we stopped the reason of the stop counts, whatever the exit says.
    pub(super) fn finish(mut self, ended: Option<Outcome>) -> Outcome {
        let mut left = 0;
        let outcome = match std::mem::replace(&mut self.state, State::Running) {
            State::Stopping(stopping) => {
                // What libssh2 holds was received and belongs to the user; further output may be endless.
                // A dialogue has no user to pass it on to.
                left = if self.spoken.is_some() { 0 } else { self.channel.queued() };
                stopping.outcome(ended.is_some_and(|outcome| has_ended(&outcome)))
            }
            State::Parting { reason, .. } => reason,
            State::Running | State::Asking(_) => {
                ended.unwrap_or_else(|| Outcome::cancelled(self.cancel, HostStage::Running))
            }
        };
        let _ = self.session.link().gathering(|| self.channel.close());
        if self.command.goes_on || self.undelivered.is_some() || left > 0 {
            self.session.flush();
        }
        loop {
            if let Some(event) = self.undelivered.take() {
                let _ = self.events.send(event);
            }
            if left == 0 || self.drain_once(&mut left) != Drained::Some {
                break;
            }
        }
        self.hand_on_rest();
        outcome
    }

    /// Reads each stream at most once, up to `left` bytes.
    fn drain_once(&mut self, left: &mut usize) -> Drained {
        for (stream, id) in STREAMS {
            let drained = self.read(stream, id);
            if drained == Drained::Some {
                if let Some(Event { kind: EventKind::Output { bytes, .. }, .. }) = &self.undelivered {
                    *left = left.saturating_sub(bytes.len());
                }
                return drained;
            }
        }
        Drained::Nothing
    }
}
