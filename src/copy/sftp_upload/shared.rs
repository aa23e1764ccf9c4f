//! What all parts of an upload work with.

use std::sync::Arc;

use super::step::{DirectoryStep, FileStep, TargetStep};
use crate::copy::failures::{CopyFailures, copy_error};
use crate::copy::sftp::client::Client;
use crate::copy::{Upload, kept_as};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;

/// Bytes that may be on their way without the server having confirmed them: twice the window of a channel of OpenSSH's server.
pub(super) const WINDOW: u64 = 4 * 1024 * 1024;
/// Bytes of one WRITE: what every server takes (section 3 of the draft).
pub(super) const WRITE: u32 = 32 * 1024;

/// What a reply belongs to.
#[derive(Debug)]
pub(super) enum Tag {
    Limits,
    Target(TargetStep),
    /// By entry.
    Directory(usize, DirectoryStep),
    /// By slot.
    File(usize, FileStep),
}

/// What all parts of an upload work with.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upload: Arc<Upload>,
    pub(super) client: Client<Tag>,
    pub(super) destination: UploadRoot,
    pub(super) failures: CopyFailures,
    /// Entries that are in their places.
    pub(super) copied: usize,
    /// Bytes that the server has confirmed.
    pub(super) done: u64,
    /// Bytes that are on their way to the server or from it.
    pub(super) unconfirmed: u64,
    /// Files that are open there, or are to be opened.
    pub(super) open: usize,
    /// Files that may be open there.
    pub(super) handles: usize,
    /// Bytes of one WRITE.
    pub(super) write_length: u32,
    /// There is no room left: nothing more is tried.
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

    /// Nothing can be copied at all.
    pub(super) fn fail_all(&mut self, path: &[u8], reason: String) {
        self.failures.add(path, reason, None);
        self.failures.skip(self.upload.sources.entries().len().saturating_sub(1));
    }

    /// Where an entry goes.
    pub(super) fn path_of(&self, entry: usize) -> Vec<u8> {
        self.destination.path(&self.upload.sources.entries()[entry].path)
    }
}

/// Why something was not copied.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) path: String,
    pub(super) reason: String,
    pub(super) hint: Option<Remedy>,
    /// What was written of it and could not be removed.
    pub(super) left: Option<String>,
    /// What was written of it and is kept, to go on with.
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

/// Where the sources go.
#[derive(Debug, Default)]
pub struct UploadRoot {
    /// A directory, or the new name of the only source.
    pub(super) base: Vec<u8>,
    /// Whether it is the new name.
    pub(super) renames: bool,
    /// Whether we have made what the sources go into, so that nothing is in it.
    pub is_fresh: bool,
}

impl UploadRoot {
    /// The path on the host of what has `path` below the target.
    pub fn path(&self, path: &[u8]) -> Vec<u8> {
        let first = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
        let (first, rest) = (&path[..first], path.get(first + 1..));
        // What the command line called `.` has no name of its own.
        let source = if self.renames || first == b"." { self.base.clone() } else { join(&self.base, first) };
        match rest {
            Some(rest) => join(&source, rest),
            None => source,
        }
    }
}

/// A path there, for messages.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// What has the relative path `rest` below `directory`.
pub(super) fn join(directory: &[u8], rest: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => rest.to_vec(),
        [.., b'/'] => [directory, rest].concat(),
        _ => [directory, b"/", rest].concat(),
    }
}

/// The directory that a path is in; empty for the one where the server is.
pub(super) fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None => b"",
        Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}
