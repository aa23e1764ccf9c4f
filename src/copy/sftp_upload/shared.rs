//! State that all parts of an upload share.

use std::sync::Arc;

use super::step::{DirectoryStep, FileStep, TargetStep};
use crate::copy::failures::{CopyFailures, copy_error};
use crate::copy::sftp::client::Client;
use crate::copy::{Upload, kept_as};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;

/// Unconfirmed bytes in flight: twice the channel window of OpenSSH's server.
pub(super) const WINDOW: u64 = 4 * 1024 * 1024;
/// Bytes of one WRITE: the size that every server accepts (section 3 of the draft).
pub(super) const WRITE: u32 = 32 * 1024;

/// The request that a reply answers.
#[derive(Debug)]
pub(super) enum Tag {
    Limits,
    Target(TargetStep),
    /// By entry.
    Directory(usize, DirectoryStep),
    /// By slot.
    File(usize, FileStep),
}

/// State that all parts of an upload share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upload: Arc<Upload>,
    pub(super) client: Client<Tag>,
    pub(super) destination: UploadRoot,
    pub(super) failures: CopyFailures,
    /// Entries in their places.
    pub(super) copied: usize,
    /// Bytes that the server confirmed.
    pub(super) done: u64,
    /// Bytes in flight in both directions.
    pub(super) unconfirmed: u64,
    /// Files that are open on the host, or about to be opened.
    pub(super) open: usize,
    /// Most files that may be open on the host.
    pub(super) handles: usize,
    /// Bytes of one WRITE.
    pub(super) write_length: u32,
    /// The disk is full: no more files are tried.
    pub(super) is_full: bool,
}

impl Shared {
    pub(super) fn new(upload: Arc<Upload>) -> Shared {
        Shared {
            upload,
            client: Client::new(),
            destination: UploadRoot::default(),
            failures: CopyFailures::default(),
            copied: 0,
            done: 0,
            unconfirmed: 0,
            open: 0,
            handles: usize::MAX,
            write_length: WRITE,
            is_full: false,
        }
    }

    /// Fails the whole copy.
    pub(super) fn fail_all(&mut self, path: &[u8], reason: String) {
        self.failures.add(path, reason, None);
        self.failures.skip(self.upload.sources.entries().len().saturating_sub(1));
    }

    /// Returns the remote path of an entry.
    pub(super) fn path_of(&self, entry: usize) -> Vec<u8> {
        self.destination.path(&self.upload.sources.entries()[entry].path)
    }
}

/// A failure to copy something.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) path: String,
    pub(super) reason: String,
    pub(super) hint: Option<Remedy>,
    /// The written part that could not be removed.
    pub(super) left: Option<String>,
    /// The written part that is kept for resuming.
    pub(super) kept: Option<String>,
}

impl Failure {
    pub(super) fn new(path: &[u8], reason: String, hint: Option<Remedy>) -> Failure {
        Failure { path: shown(path), reason, hint, left: None, kept: None }
    }
}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> HostError {
        let Failure { path, mut reason, hint, left, kept } = failure;
        if let Some(kept) = kept {
            reason.push_str(&kept_as(&kept));
        }
        if let Some(left) = left {
            reason.push_str(&format!("; {left} is left there"));
        }
        copy_error(path.as_bytes(), reason, hint)
    }
}

/// The target of the sources.
#[derive(Debug, Default)]
pub struct UploadRoot {
    /// A directory, or the new name of the only source.
    pub(super) base: Vec<u8>,
    /// Whether it is the new name.
    pub(super) renames: bool,
    /// Whether we created the directory that the sources go into, so that it is empty.
    pub is_fresh: bool,
}

impl UploadRoot {
    /// Returns the remote path for `path` below the target.
    pub fn path(&self, path: &[u8]) -> Vec<u8> {
        let first = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        let (first, rest) = (&path[..first], path.get(first + 1..));
        // A source named `.` on the command line has no name of its own.
        let source = if self.renames || first == b"." { self.base.clone() } else { join(&self.base, first) };
        match rest {
            Some(rest) => join(&source, rest),
            None => source,
        }
    }
}

/// Formats a remote path for messages.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Returns `rest` below `directory`.
pub(super) fn join(directory: &[u8], rest: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => rest.to_vec(),
        [.., b'/'] => [directory, rest].concat(),
        _ => [directory, b"/", rest].concat(),
    }
}

/// Returns the directory of a path; empty for the server's current directory.
pub(super) fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => b"",
        Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}
