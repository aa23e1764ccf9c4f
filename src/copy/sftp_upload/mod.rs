//! Files and directories sent to one host over SFTP. Every file is written under a temporary name, verified and then
//! renamed. Many are in transfer at once, so that the round trip time hardly matters.

mod directories;
mod file;
mod files;
mod readback;
mod rest;
mod shared;
mod step;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::directories::Directories;
use self::files::Files;
use self::shared::{Shared, Tag, WRITE, shown};
use self::target::{Found, Target};
use super::sftp::client::ProtocolError;
use super::sftp::packets::{Extension, Reply, Request};
use super::sftp::server::{Broken, Complaint, never_began};
use crate::copy::{Upload, some_of};
use crate::events::event::{Outcome, Progress};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::channel::dialogue::{Dialogue, Say};

/// The same for a server with lower limits: at least this, so that not every small piece is confirmed one by one.
const LEAST_WRITE: u32 = 1024;
/// Waiting bytes above which no more file data is added.
const ENOUGH: usize = 8 * 1024;
/// Bytes kept of the server's standard error, to be quoted.
const QUOTED: usize = 200;

/// An upload to one host, as a dialogue with its SFTP server.
#[derive(Debug)]
pub struct Uploading {
    shared: Shared,
    phase: Phase,
    directories: Directories,
    files: Files,
    /// The server violated the protocol.
    error: Option<ProtocolError>,
    is_aborted: bool,
    complaint: Complaint,
}

/// The phase of an upload.
#[derive(Debug)]
enum Phase {
    /// The server has not sent its version yet.
    Greeting,
    /// Find the target.
    Target(Target),
    /// Create directories.
    Directories,
    /// Send files.
    Files,
    /// Set modes and times of directories.
    Finishing,
    /// Done or failed.
    Done,
}

impl Phase {
    /// Asks for the server's limits and the target.
    fn begin(shared: &mut Shared) -> Phase {
        if shared.client.supports(Extension::Limits) {
            shared.client.request(&Request::Limits, Tag::Limits);
        }
        let upload = shared.upload.clone();
        match Target::begin(&upload.target, shared) {
            Ok(target) => Phase::Target(target),
            Err((path, reason)) => {
                shared.fail_all(&path, reason);
                Phase::Done
            }
        }
    }
}

impl Uploading {
    /// Creates the upload to one host. It reads the disk when it is asked for data to send.
    pub fn new(upload: Arc<Upload>) -> Uploading {
        let entries = upload.sources.entries().len();
        Uploading {
            shared: Shared::new(upload),
            phase: Phase::Greeting,
            directories: Directories::new(entries),
            files: Files::new(),
            error: None,
            is_aborted: false,
            complaint: Complaint::new(QUOTED),
        }
    }

    /// Makes all requests that may be made now.
    fn step(&mut self) {
        let shared = &mut self.shared;
        loop {
            self.phase = match &self.phase {
                Phase::Greeting if shared.client.is_ready() => Phase::begin(shared),
                Phase::Directories if self.directories.make(shared) => Phase::Files,
                Phase::Files if self.files.step(&self.directories, shared) => Phase::Finishing,
                Phase::Finishing if self.directories.finish(shared) => Phase::Done,
                _ => return,
            };
        }
    }

    fn take(&mut self, tag: Tag, reply: Reply) {
        let shared = &mut self.shared;
        match (tag, reply) {
            (Tag::Limits, Reply::Limits(limits)) => {
                if limits.write > 0 {
                    shared.write_length =
                        u32::try_from(limits.write).map_or(WRITE, |most| most.clamp(LEAST_WRITE, WRITE));
                }
                if limits.handles > 0 {
                    shared.handles = usize::try_from(limits.handles).unwrap_or(usize::MAX);
                }
            }
            (Tag::Limits, _) => {}
            (Tag::Target(ask), reply) => {
                let Phase::Target(target) = &mut self.phase else {
                    return;
                };
                if self.is_aborted {
                    return;
                }
                match target.take(ask, reply, shared) {
                    Found::Asked => {}
                    Found::Ready(destination) => {
                        shared.destination = destination;
                        self.phase = Phase::Directories;
                    }
                    Found::Failed(path, reason) => {
                        shared.fail_all(&path, reason);
                        self.phase = Phase::Done;
                    }
                }
            }
            (Tag::Directory(entry, ask), reply) => self.directories.take(entry, ask, reply, shared),
            (Tag::File(slot, ask), reply) => self.files.take(slot, ask, reply, shared),
        }
    }

    fn is_over(&self) -> bool {
        self.error.is_some()
            || match self.phase {
                Phase::Done => true,
                _ => self.is_aborted && self.files.is_idle(),
            }
    }

    /// Returns the error for what remains when the server ended too early.
    fn ended_early(&mut self, how: &str) -> HostError {
        let shared = &mut self.shared;
        let how = self.complaint.beside(how);
        if !shared.client.is_ready() {
            return never_began(&how);
        }
        let entries = shared.upload.sources.entries().len();
        let left = entries.saturating_sub(shared.copied + shared.failures.count());
        shared.failures.skip(left);
        if let Some(error) = shared.failures.take() {
            return error;
        }
        let first = match &self.phase {
            Phase::Greeting => shown(&shared.upload.target),
            Phase::Target(target) => target.shown(),
            Phase::Directories => shown(&shared.destination.path(b".")),
            _ => match self.files.first_left(entries) {
                Some(entry) => shown(&shared.path_of(entry)),
                None => shown(&shared.destination.path(b".")),
            },
        };
        let reason = match &self.phase {
            Phase::Finishing => format!("modes and times were not all set before the SFTP server ended ({how})"),
            _ => format!("it was not copied before the SFTP server ended ({how})"),
        };
        HostError::Copy { path: first, reason, others: left.saturating_sub(1), hint: None }
    }

    /// Returns a hint about what remains on the host after a lost connection: no request could remove it.
    fn left_hint(&self) -> Option<Remedy> {
        let names = some_of(self.files.left())?;
        let options = self.shared.upload.options;
        Some(match options.resume {
            true => Remedy::KeptThere(names),
            false => Remedy::LeftThere { names, is_in_place: options.inplace },
        })
    }

    /// Describes how many of the files and directories are in place.
    fn extent(&self) -> String {
        format!(
            "{} of {} files and directories were copied",
            self.shared.copied,
            self.shared.upload.sources.entries().len()
        )
    }
}

impl Dialogue for Uploading {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        if self.error.is_some() {
            return Say::Over;
        }
        if !self.is_aborted {
            self.step();
            while self.shared.client.unsaid() < ENOUGH && self.files.send_piece(&mut self.shared) {}
        }
        if self.shared.client.say(out) {
            Say::Said
        } else if self.is_over() {
            Say::Over
        } else {
            Say::Listening
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.shared.client.hear(bytes);
        loop {
            match self.shared.client.next_reply() {
                Ok(Some((tag, reply))) => self.take(tag, reply),
                Ok(None) => return,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }

    fn overhear(&mut self, bytes: &[u8]) {
        self.complaint.overhear(bytes);
    }

    fn abort(&mut self) {
        self.is_aborted = true;
        self.files.abort(&mut self.shared);
    }

    fn has_begun(&self) -> bool {
        self.shared.client.has_answered()
    }

    fn is_done(&self) -> bool {
        true
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress { done: self.shared.done, total: self.shared.upload.sources.total() })
    }

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        let outcome = self.ending(channel);
        self.shared.upload.sources.with_skipped(outcome)
    }
}

impl Uploading {
    /// Returns the outcome of copying the readable sources.
    fn ending(&mut self, channel: Outcome) -> Outcome {
        if matches!(self.phase, Phase::Done) && self.error.is_none() {
            // Everything is confirmed: the server's last output changes nothing.
            return self.shared.failures.take().map_or(Outcome::Exited(0), Outcome::from);
        }
        match Broken::of(self.error.take(), channel) {
            Broken::Early(how) => self.ended_early(&how).into(),
            Broken::Lost(detail) => {
                HostError::Lost { detail: format!("{detail}; {}", self.extent()), hint: self.left_hint() }.into()
            }
            Broken::Otherwise(outcome) => outcome,
        }
    }
}
