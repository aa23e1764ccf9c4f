//! The target of an upload on the host, by the rules of scp.

use std::collections::VecDeque;

use super::shared::{Shared, Tag, UploadRoot, join, parent_of, shown};
use super::step::TargetStep;
use crate::copy::sftp::packets::{Attributes, Extension, Reply, Request, Status};
use crate::copy::sources::Kind;

/// Resolves the target and creates its missing parents.
#[derive(Debug)]
pub struct Target {
    /// The target, without slashes at its end.
    path: Vec<u8>,
    /// Whether it had any.
    has_slash: bool,
    /// Pending answers about parents of the target.
    waiting: usize,
    /// Missing parents, from the top.
    missing: VecDeque<Vec<u8>>,
    destination: UploadRoot,
}

/// The result so far.
pub enum Found {
    /// Undecided.
    Asked,
    /// The sources can go there.
    Ready(UploadRoot),
    /// Failed: the path and the reason.
    Failed(Vec<u8>, String),
}

impl Target {
    /// Starts by asking about `target`.
    pub fn begin(target: &[u8], shared: &mut Shared) -> Result<Target, (Vec<u8>, String)> {
        let mut path = target;
        while let [rest @ .., b'/'] = path
            && !rest.is_empty()
        {
            path = rest;
        }
        let mut found = Target {
            path: path.to_vec(),
            has_slash: path.len() < target.len(),
            waiting: 0,
            missing: VecDeque::new(),
            destination: UploadRoot::default(),
        };
        if path.first() == Some(&b'~') {
            if shared.client.supports(Extension::ExpandPath) {
                // Only this directory: the rest need not exist.
                let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                shared.client.request(&Request::ExpandPath(&path[..end]), Tag::Target(TargetStep::Expand));
                return Ok(found);
            }
            // A server starts in the home directory.
            found.path = match path {
                b"~" => Vec::new(),
                [b'~', b'/', rest @ ..] => rest.iter().copied().skip_while(|byte| *byte == b'/').collect(),
                _ => {
                    let reason = "the server does not report other users' home directories".to_owned();
                    return Err((target.to_vec(), reason));
                }
            };
        }
        found.look(shared);
        Ok(found)
    }

    fn look(&mut self, shared: &mut Shared) {
        if self.path.is_empty() {
            self.path = b".".to_vec();
        }
        shared.client.request(&Request::Stat(&self.path), Tag::Target(TargetStep::Target));
    }

    /// Handles a reply.
    pub fn take(&mut self, ask: TargetStep, reply: Reply, shared: &mut Shared) -> Found {
        match (ask, reply) {
            (TargetStep::Expand, Reply::Path(home)) => {
                if let Some(slash) = self.path.iter().position(|byte| *byte == b'/') {
                    self.path = join(&home, &self.path[slash + 1..]);
                } else {
                    self.path = home;
                }
                self.look(shared);
                Found::Asked
            }
            (TargetStep::Target, Reply::Attributes(attributes)) => self.take_existing(attributes, shared),
            (TargetStep::Target, Reply::Status(status)) if status.may_be_missing() => self.take_missing(shared),
            (TargetStep::Parent(path), reply) => {
                self.waiting -= 1;
                match reply {
                    Reply::Status(status) if status.may_be_missing() => self.missing.push_back(path),
                    Reply::Attributes(attributes) if may_be_directory(attributes) => {}
                    Reply::Status(status) => return Found::Failed(path, status.reason()),
                    _ => return Found::Failed(path, "Not a directory".to_owned()),
                }
                if self.waiting > 0 {
                    return Found::Asked;
                }
                // The answers may have come in any order.
                self.missing.make_contiguous().sort_unstable_by_key(Vec::len);
                self.make_next(shared)
            }
            (TargetStep::Make(path), Reply::Status(status)) => {
                if status.code == Status::OK {
                    self.destination.is_fresh = self.missing.is_empty();
                    return self.make_next(shared);
                }
                // It may have been created meanwhile.
                shared.client.request(&Request::Stat(&path), Tag::Target(TargetStep::Again(path.clone(), status)));
                Found::Asked
            }
            (TargetStep::Again(..), Reply::Attributes(attributes)) if may_be_directory(attributes) => {
                self.make_next(shared)
            }
            (TargetStep::Again(path, status), _) => Found::Failed(path, status.reason()),
            (_, Reply::Status(status)) => Found::Failed(self.path.clone(), status.reason()),
            // The client has checked that the reply's type fits the request.
            _ => Found::Failed(self.path.clone(), "the server sent an unexpected answer".to_owned()),
        }
    }

    fn take_existing(&mut self, attributes: Attributes, shared: &Shared) -> Found {
        let sources = &shared.upload.sources;
        let is_file = !attributes.is_directory();
        let goes_there = sources.count() == 1 && sources.entries().iter().all(|entry| entry.kind != Kind::Directory);
        if is_file && (self.has_slash || !goes_there) {
            return Found::Failed(self.path.clone(), "Not a directory".to_owned());
        }
        Found::Ready(UploadRoot { base: self.path.clone(), renames: is_file, is_fresh: false })
    }

    fn take_missing(&mut self, shared: &mut Shared) -> Found {
        let sources = &shared.upload.sources;
        let is_tree = sources.entries().first().is_some_and(|entry| entry.kind == Kind::Directory);
        // As with cp: a single directory gets the new name, even if that ends in a slash.
        let renames = sources.count() == 1 && (is_tree || !self.has_slash);
        self.destination = UploadRoot { base: self.path.clone(), renames, is_fresh: false };
        let needed = if renames { parent_of(&self.path) } else { &self.path[..] };
        let ends = needed.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| slash);
        for end in ends.chain([needed.len()]) {
            let path = &needed[..end];
            if path.last().is_none_or(|last| *last == b'/') || path == b"." {
                continue;
            }
            shared.client.request(&Request::Stat(path), Tag::Target(TargetStep::Parent(path.to_vec())));
            self.waiting += 1;
        }
        if self.waiting == 0 { self.make_next(shared) } else { Found::Asked }
    }

    /// Creates the next missing directory; with none left, the target is ready.
    fn make_next(&mut self, shared: &mut Shared) -> Found {
        match self.missing.pop_front() {
            Some(path) => {
                let ask = Tag::Target(TargetStep::Make(path.clone()));
                shared.client.request(&Request::Mkdir(&path, Attributes::of_mode(0o777)), ask);
                Found::Asked
            }
            None => Found::Ready(std::mem::take(&mut self.destination)),
        }
    }

    /// Formats the target for messages.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// Servers may omit the file type.
fn may_be_directory(attributes: Attributes) -> bool {
    attributes.is_directory() || attributes.mode.is_none()
}
