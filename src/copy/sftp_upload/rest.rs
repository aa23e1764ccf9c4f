//! What an earlier attempt at an upload has left behind (`--resume`): whether it is ours, and what becomes of it.
//!
//! Its name can be foreseen, so that another user could have put a file there: it would be continued, and take its place with what is in
//! it and whose it is. SFTP does not tell who we are on the host. So a file is made beside it, and both have to have the same owner.
//! Or it could be a hard link to another file of the same owner, which would be written over: it must have no other name. SFTP tells that
//! only in the lines that it lists a directory with, and where it does not, nothing is continued.

use super::file::{File, Stage};
use super::shared::{Shared, WINDOW, parent_of};
use super::step::FileStep;
use crate::copy::random_tag;
use crate::copy::sftp::packets::{Attributes, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_WRITE, Reply, Request, Status};

/// Names that are looked through for it, at most.
const NAMES: usize = 100_000;

/// Why what an earlier attempt has left is not continued.
const CLOSED: &str = "its mode denies its owner access";
const WRITABLE: &str = "others can write it";
const FOREIGN: &str = "it belongs to another user";
const LONGER: &str = "it has more bytes than the file";
const SHORT: &str = "no part of it is reliable";
const LINKED: &str = "it is a hard link to another file";
const UNTOLD: &str = "the server does not tell whether it is a hard link to another file";

impl File {
    /// Takes the answer to a question about it.
    pub(super) fn looked_at_rest(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        match (ask, reply) {
            (FileStep::LookRest, Reply::Attributes(attributes)) => self.take_rest(attributes, shared),
            // If there is one all the same, it cannot be made.
            (FileStep::LookRest, Reply::Status(_)) => self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared),
            (FileStep::LookProbe, Reply::Attributes(probe)) => self.take_probe(probe, shared),
            // Where we cannot make a file, what is there cannot be known to be ours.
            (FileStep::MakeProbe | FileStep::LookProbe, Reply::Status(_)) => self.clear_rest(FOREIGN, shared),
            (FileStep::OpenParent, Reply::Handle(handle)) => self.list_parent(handle, shared),
            (FileStep::OpenParent, Reply::Status(_)) => self.clear_rest(UNTOLD, shared),
            (FileStep::ListParent(handle), reply) => self.take_names(handle, reply, shared),
            (FileStep::LookOpened, Reply::Attributes(opened)) => self.take_opened(opened, shared),
            (FileStep::ClearRest, Reply::Status(Status { code: Status::OK | Status::NO_SUCH_FILE, .. })) => {
                self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared);
            }
            (FileStep::ClearRest, Reply::Status(status)) => {
                self.path = self.temporary();
                let reason =
                    format!("it cannot be continued, since {}, nor removed: {}", self.unusable, status.reason());
                self.fail(reason, &status, shared);
            }
            (_, reply) => self.refused(&reply, shared),
        }
    }

    fn take_rest(&mut self, rest: Attributes, shared: &mut Shared) {
        if !rest.is_file() {
            self.path = self.temporary();
            self.give_up("it is not a regular file, and cannot be continued".to_owned(), None, shared);
            return;
        }
        match rest.mode {
            // A file without these could not be opened again by anybody but root.
            Some(mode) if mode & 0o600 != 0o600 => self.clear_rest(CLOSED, shared),
            // Its name can be foreseen: what others may write need not be what an earlier copy has left.
            Some(mode) if mode & 0o022 != 0 => self.clear_rest(WRITABLE, shared),
            // It cannot be a part of this file.
            _ if rest.size.is_none_or(|size| size > self.size) => self.clear_rest(LONGER, shared),
            // All of it would be sent again.
            _ if rest.size.is_some_and(|size| size <= WINDOW) => self.clear_rest(SHORT, shared),
            _ => {
                self.rest = Some(rest);
                self.probe = self.beside(&random_tag());
                let attributes = Attributes::of_mode(0o600);
                let flags = OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE;
                self.ask(&Request::Open { path: &self.probe, flags, attributes }, FileStep::MakeProbe, shared);
            }
        }
    }

    /// Looks at the file that was made only to see whose files of ours are, and removes it.
    pub(super) fn look_at_probe(&self, handle: &[u8], shared: &mut Shared) {
        self.ask(&Request::Fstat(handle), FileStep::LookProbe, shared);
        self.ask(&Request::Close(handle), FileStep::EndProbe, shared);
        self.ask(&Request::Remove(&self.probe), FileStep::EndProbe, shared);
    }

    /// Goes on with what an earlier attempt has left, if it belongs to the owner of `probe`: a server that tells no owners tells none of
    /// either.
    fn take_probe(&mut self, probe: Attributes, shared: &mut Shared) {
        let user = |attributes: Attributes| attributes.owner.map(|(user, _)| user);
        let Some(rest) = self.rest else { return };
        if user(rest) != user(probe) {
            return self.clear_rest(FOREIGN, shared);
        }
        let parent = match parent_of(&self.path) {
            b"" => b".",
            parent => parent,
        };
        self.ask(&Request::Opendir(parent), FileStep::OpenParent, shared);
    }

    fn list_parent(&self, handle: Vec<u8>, shared: &mut Shared) {
        self.ask(&Request::Readdir(&handle), FileStep::ListParent(handle.clone()), shared);
    }

    /// Goes on with what an earlier attempt has left, if it has no other name.
    fn take_names(&mut self, handle: Vec<u8>, reply: Reply, shared: &mut Shared) {
        let path = self.temporary();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let links = match reply {
            Reply::Names(names) => {
                self.listed += names.len();
                match names.into_iter().find(|entry| entry.name == name) {
                    Some(entry) => entry.links,
                    None if self.listed < NAMES => return self.list_parent(handle, shared),
                    None => None,
                }
            }
            _ => None,
        };
        self.ask(&Request::Close(&handle), FileStep::EndProbe, shared);
        match (links, self.rest.and_then(|rest| rest.size)) {
            (Some(1), Some(size)) => {
                // A server may have written what it was sent in another order: behind a gap there is less than this.
                self.sent = size.saturating_sub(WINDOW);
                self.resumed = self.sent > 0;
                self.acknowledged = self.sent;
                shared.done += self.sent;
                self.open(0, shared);
            }
            (Some(2..), _) => self.clear_rest(LINKED, shared),
            _ => self.clear_rest(UNTOLD, shared),
        }
    }

    /// Removes what cannot be continued, to begin anew.
    fn clear_rest(&mut self, why: &'static str, shared: &mut Shared) {
        self.rest = None;
        self.unusable = why;
        self.ask(&Request::Remove(&self.temporary()), FileStep::ClearRest, shared);
    }

    /// Begins to write, once it is known that the file that was opened is the one that was looked at.
    fn take_opened(&mut self, opened: Attributes, shared: &mut Shared) {
        let identity = |attributes: Attributes| (attributes.owner, attributes.mode, attributes.size);
        if self.rest.take().is_some_and(|rest| identity(rest) != identity(opened)) {
            self.made = false;
            self.path = self.temporary();
            self.give_up("another file has taken its place".to_owned(), None, shared);
            return;
        }
        self.stage = Stage::Writing;
        self.advance(shared);
    }
}
