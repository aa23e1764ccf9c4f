//! Files and directories sent to one host over SFTP. Every file is written under a temporary name, verified and then renamed, many at
//! once, so that the distance to the host costs little.

mod directories;
mod file;
mod files;
mod readback;
mod rest;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::directories::Directories;
use self::files::Files;
use self::target::{Found, Target, UploadRoot};
use super::sftp::client::{Client, ProtocolError};
use super::sftp::packets::{Extension, Reply, Request};
use crate::copy::{Upload, kept_as};
use crate::events::event::{Outcome, Progress};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::channel::dialogue::{Dialogue, Say};
use crate::system::quotation::said;

/// Bytes that may be on their way without the server having confirmed them: twice the window of a channel of OpenSSH's server.
const WINDOW: u64 = 4 * 1024 * 1024;
/// Bytes of one WRITE: what every server takes (section 3 of the draft).
const WRITE: u32 = 32 * 1024;
/// The same for a server that says that it takes less: no less than this, so that little waits to be confirmed one by one.
const LEAST_WRITE: u32 = 1024;
/// Bytes that wait to be said, from which on no piece of a file is added to them.
const ENOUGH: usize = 8 * 1024;
/// Bytes of the server's standard error that are kept to be quoted.
const QUOTED: usize = 200;
/// Files that are named as left there.
const LEFT_NAMED: usize = 3;

/// An upload to one host, as a dialogue with its SFTP server.
#[derive(Debug)]
pub struct Uploading {
    shared: Shared,
    phase: Phase,
    directories: Directories,
    files: Files,
    /// The server has broken the protocol.
    error: Option<ProtocolError>,
    is_aborted: bool,
    /// The end of what the server has said on its standard error.
    complaint: Vec<u8>,
}

/// What the upload is at.
#[derive(Debug)]
enum Phase {
    /// The server has not told its version yet.
    Greeting,
    /// It is found out where the sources go.
    Target(Target),
    /// Directories are made.
    Directories,
    /// Files are sent.
    Files,
    /// Directories get their modes and times.
    Finishing,
    /// Everything is done, or has failed.
    Done,
}

/// What a reply belongs to.
#[derive(Debug)]
enum Tag {
    Limits,
    Target(target::TargetStep),
    /// By entry.
    Directory(usize, directories::DirectoryStep),
    /// By slot.
    File(usize, file::FileStep),
}

/// What all parts of an upload work with.
#[derive(Debug)]
struct Shared {
    upload: Arc<Upload>,
    client: Client<Tag>,
    destination: UploadRoot,
    failures: UploadFailures,
    /// Entries that are in their places.
    copied: usize,
    /// Bytes that the server has confirmed.
    done: u64,
    /// Bytes that are on their way to the server or from it.
    unconfirmed: u64,
    /// Files that are open there, or are to be opened.
    open: usize,
    /// Files that may be open there.
    handles: usize,
    /// Bytes of one WRITE.
    write_length: u32,
    /// There is no room left: nothing more is tried.
    is_full: bool,
}

impl Shared {
    /// Where an entry goes.
    fn path_of(&self, entry: usize) -> Vec<u8> {
        self.destination.path(&self.upload.sources.entries()[entry].path)
    }
}

/// Why something was not copied.
#[derive(Clone, Debug)]
struct Failure {
    path: String,
    reason: String,
    hint: Option<Remedy>,
    /// What was written of it and could not be removed.
    left: Option<String>,
    /// What was written of it and is kept, to go on with.
    kept: Option<String>,
}

impl Failure {
    fn new(path: &[u8], reason: String, hint: Option<Remedy>) -> Failure {
        Failure { path: shown(path), reason, hint, left: None, kept: None }
    }

    /// The error of the host, of whose files `others` have failed besides.
    fn into_error(self, others: usize) -> HostError {
        let Failure { path, mut reason, hint, left, kept } = self;
        if let Some(kept) = kept {
            reason.push_str(&kept_as(&kept));
        }
        if let Some(left) = left {
            reason.push_str(&format!("; {left} is left there"));
        }
        HostError::Copy { path, reason, others, hint }
    }
}

/// What was not copied: the first of them, and how many.
#[derive(Debug, Default)]
struct UploadFailures {
    first: Option<Failure>,
    count: usize,
}

impl UploadFailures {
    fn add(&mut self, failure: Failure) {
        self.first.get_or_insert(failure);
        self.count += 1;
    }

    /// Counts those that fail with another one that was told.
    fn skip(&mut self, count: usize) {
        self.count += count;
    }
}

impl Uploading {
    /// The upload to one host. Everything that it needs of the disk it reads when it is asked what to say.
    pub fn new(upload: Arc<Upload>) -> Uploading {
        let entries = upload.sources.entries().len();
        let shared = Shared {
            upload,
            client: Client::new(),
            destination: UploadRoot::default(),
            failures: UploadFailures::default(),
            copied: 0,
            done: 0,
            unconfirmed: 0,
            open: 0,
            handles: usize::MAX,
            write_length: WRITE,
            is_full: false,
        };
        Uploading {
            shared,
            phase: Phase::Greeting,
            directories: Directories::new(entries),
            files: Files::new(),
            error: None,
            is_aborted: false,
            complaint: Vec::new(),
        }
    }

    /// Asks for whatever may be asked for now.
    fn step(&mut self) {
        let shared = &mut self.shared;
        loop {
            self.phase = match &self.phase {
                Phase::Greeting if shared.client.is_ready() => {
                    if shared.client.supports(Extension::Limits) {
                        shared.client.request(&Request::Limits, Tag::Limits);
                    }
                    let upload = shared.upload.clone();
                    match Target::begin(&upload.target, shared) {
                        Ok(target) => Phase::Target(target),
                        Err((path, reason)) => {
                            fail_all(&path, reason, shared);
                            Phase::Done
                        }
                    }
                }
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
                        fail_all(&path, reason, shared);
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

    /// What a server that ended too early has left undone.
    fn ended_early(&self, how: &str) -> HostError {
        let shared = &self.shared;
        let complaint = String::from_utf8_lossy(&self.complaint);
        let complaint = complaint.lines().map(str::trim).rfind(|line| !line.is_empty());
        let how = complaint.map_or_else(|| how.to_owned(), |complaint| format!("{how}: {}", said(complaint)));
        if !shared.client.is_ready() {
            let reason = format!("the server ended before it had begun ({how})");
            return HostError::Copy { path: "SFTP".to_owned(), reason, others: 0, hint: Some(Remedy::IsSftpThere) };
        }
        let entries = shared.upload.sources.entries();
        let left = entries.len().saturating_sub(shared.copied + shared.failures.count);
        if let Some(failure) = shared.failures.first.clone() {
            return failure.into_error(shared.failures.count - 1 + left);
        }
        let first = match &self.phase {
            Phase::Greeting => shown(&shared.upload.target),
            Phase::Target(target) => target.shown(),
            Phase::Directories => shown(&shared.destination.path(b".")),
            _ => match self.files.first_left(entries.len()) {
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

    /// What is left there of a copy whose connection was lost: nobody could be told to remove it.
    fn left_hint(&self) -> Option<Remedy> {
        let mut left = self.files.left();
        let mut names: Vec<String> = left.by_ref().take(LEFT_NAMED).collect();
        let more = left.count();
        if names.is_empty() {
            return None;
        }
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let names = names.join(", ");
        let options = self.shared.upload.options;
        Some(match options.resume {
            true => Remedy::KeptThere(names),
            false => Remedy::LeftThere { names, is_in_place: options.inplace },
        })
    }

    /// How many files and directories are in their places, of how many.
    fn extent(&self) -> String {
        format!(
            "{} of {} files and directories were copied",
            self.shared.copied,
            self.shared.upload.sources.entries().len()
        )
    }
}

/// Nothing can be copied at all.
fn fail_all(path: &[u8], reason: String, shared: &mut Shared) {
    shared.failures.add(Failure::new(path, reason, None));
    shared.failures.skip(shared.upload.sources.entries().len().saturating_sub(1));
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
        self.complaint.extend_from_slice(&bytes[bytes.len().saturating_sub(QUOTED)..]);
        let surplus = self.complaint.len().saturating_sub(QUOTED);
        self.complaint.drain(..surplus);
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
    /// How the copy of what could be read here has ended.
    fn ending(&mut self, channel: Outcome) -> Outcome {
        if matches!(self.phase, Phase::Done) && self.error.is_none() {
            // Everything is confirmed: what the server says at its end, or that it says nothing, changes nothing.
            return match self.shared.failures.first.clone() {
                None => Outcome::Exited(0),
                Some(failure) => failure.into_error(self.shared.failures.count - 1).into(),
            };
        }
        match (self.error.take(), channel) {
            (Some(error), Outcome::Exited(_) | Outcome::Signaled { .. }) => HostError::from(error).into(),
            (None, Outcome::Exited(status)) => self.ended_early(&format!("exit status {status}")).into(),
            (None, Outcome::Signaled { name }) => self.ended_early(&format!("signal {name}")).into(),
            (error, Outcome::Failed(failure)) => match (error, *failure) {
                (Some(error), HostError::Lost { .. }) => HostError::from(error).into(),
                (None, HostError::Lost { detail, .. }) => {
                    HostError::Lost { detail: format!("{detail}; {}", self.extent()), hint: self.left_hint() }.into()
                }
                (_, other) => other.into(),
            },
            (_, other) => other,
        }
    }
}

/// A path there, for messages.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// What has the relative path `rest` below `directory`.
fn join(directory: &[u8], rest: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => rest.to_vec(),
        [.., b'/'] => [directory, rest].concat(),
        _ => [directory, b"/", rest].concat(),
    }
}

/// The directory that a path is in; empty for the one where the server is.
fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => b"",
        Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}
