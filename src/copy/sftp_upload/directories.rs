//! The directories of an upload: created first, parents before their contents, and finished last.

use super::shared::{Shared, Tag};
use super::step::DirectoryStep;
use crate::copy::sftp::packets::{Attributes, Reply, Request, Status};

/// Pending requests about directories.
const IN_FLIGHT: usize = 256;
/// The permissions we need in a directory while it is filled.
const FILLING: u32 = 0o700;

/// The state of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectoriesState {
    Unknown,
    /// We created it: its contents are known.
    Fresh,
    Existing,
    Failed,
}

/// All directories of an upload.
#[derive(Debug)]
pub struct Directories {
    /// One for every entry.
    states: Vec<DirectoriesState>,
    /// How many were started, in the order of [`crate::copy::sources::Sources::directories`].
    begun: usize,
    /// How many were finished, in the opposite order.
    finished: usize,
    in_flight: usize,
}

impl Directories {
    /// Starts with none created.
    pub fn new(entries: usize) -> Directories {
        Directories { states: vec![DirectoriesState::Unknown; entries], begun: 0, finished: 0, in_flight: 0 }
    }

    /// Whether the directory of an entry contains only our files; `None` if it could not be created.
    pub fn is_fresh(&self, entry: usize, shared: &Shared) -> Option<bool> {
        match shared.upload.sources.parent(entry) {
            None => Some(shared.destination.is_fresh),
            Some(parent) if self.states[parent] == DirectoriesState::Failed => None,
            Some(parent) => Some(self.states[parent] == DirectoriesState::Fresh),
        }
    }

    /// Creates as many as may be created now; returns whether all exist.
    pub fn make(&mut self, shared: &mut Shared) -> bool {
        let upload = shared.upload.clone();
        let order = upload.sources.directories();
        while let Some(&entry) = order.get(self.begun)
            && self.in_flight < IN_FLIGHT
        {
            match upload.sources.parent(entry).map(|parent| self.states[parent]) {
                Some(DirectoriesState::Unknown) => break,
                Some(DirectoriesState::Failed) => {
                    self.states[entry] = DirectoriesState::Failed;
                    shared.failures.skip(1);
                }
                None | Some(DirectoriesState::Fresh | DirectoriesState::Existing) => {
                    let (path, mode) = (shared.path_of(entry), upload.sources.entries()[entry].mode | FILLING);
                    let tag = Tag::Directory(entry, DirectoryStep::Make);
                    shared.client.request(&Request::Mkdir(&path, Attributes::of_mode(mode)), tag);
                    self.in_flight += 1;
                }
            }
            self.begun += 1;
        }
        self.begun == order.len() && self.in_flight == 0
    }

    /// Sets the final mode and times of as many as possible; returns whether all have them. The deepest come first,
    /// since a parent may deny access afterwards.
    pub fn finish(&mut self, shared: &mut Shared) -> bool {
        let upload = shared.upload.clone();
        let order = upload.sources.directories();
        let mut depth = None;
        while self.finished < order.len() && self.in_flight < IN_FLIGHT {
            let entry_number = order[order.len() - 1 - self.finished];
            let entry = &upload.sources.entries()[entry_number];
            if self.in_flight > 0 && depth != Some(entry.depth()) {
                break;
            }
            depth = Some(entry.depth());
            self.finished += 1;
            let state = self.states[entry_number];
            if !matches!(state, DirectoriesState::Fresh | DirectoriesState::Existing) {
                continue;
            }
            let path = shared.path_of(entry_number);
            if upload.options.preserve {
                let attributes = Attributes {
                    mode: Some(entry.mode),
                    times: Some((entry.accessed, entry.modified)),
                    ..Attributes::default()
                };
                shared
                    .client
                    .request(&Request::Setstat(&path, attributes), Tag::Directory(entry_number, DirectoryStep::Finish));
                self.in_flight += 1;
            } else if state == DirectoriesState::Fresh && entry.mode & FILLING != FILLING {
                shared.client.request(&Request::Stat(&path), Tag::Directory(entry_number, DirectoryStep::Mode));
                self.in_flight += 1;
            }
        }
        self.finished == order.len() && self.in_flight == 0
    }

    /// Handles the reply to a request about the directory of an entry.
    pub fn take(&mut self, entry: usize, ask: DirectoryStep, reply: Reply, shared: &mut Shared) {
        self.in_flight -= 1;
        let mut fail = |reason: String| {
            let path = shared.path_of(entry);
            shared.failures.add(&path, reason, None);
        };
        match (ask, reply) {
            (DirectoryStep::Make, Reply::Status(status)) if status.code == Status::OK => {
                self.states[entry] = DirectoriesState::Fresh;
                shared.copied += 1;
            }
            (DirectoryStep::Make, Reply::Status(status)) => {
                let path = shared.path_of(entry);
                shared.client.request(&Request::Stat(&path), Tag::Directory(entry, DirectoryStep::Check(status)));
                self.in_flight += 1;
            }
            (DirectoryStep::Check(_), Reply::Attributes(attributes)) if attributes.is_directory() => {
                self.states[entry] = DirectoriesState::Existing;
                shared.copied += 1;
            }
            (DirectoryStep::Check(status), reply) => {
                self.states[entry] = DirectoriesState::Failed;
                fail(match reply {
                    Reply::Attributes(_) => "Not a directory".to_owned(),
                    _ => status.reason(),
                });
            }
            (DirectoryStep::Mode, Reply::Attributes(attributes)) => {
                // Permissions that the source lacks, and we had while it was filled.
                let added = FILLING & !shared.upload.sources.entries()[entry].mode;
                let mode = attributes.mode.map_or(0o700, |mode| mode & 0o7777) & !added;
                let path = shared.path_of(entry);
                let tag = Tag::Directory(entry, DirectoryStep::Finish);
                shared.client.request(&Request::Setstat(&path, Attributes::of_mode(mode)), tag);
                self.in_flight += 1;
            }
            (DirectoryStep::Finish, Reply::Status(status)) if status.code == Status::OK => {}
            (DirectoryStep::Mode | DirectoryStep::Finish, Reply::Status(status)) => {
                fail(format!("its mode and times cannot be set: {}", status.reason()));
            }
            _ => fail("the server sent an unexpected answer".to_owned()),
        }
    }
}
