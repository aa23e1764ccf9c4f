//! Partial files of an earlier upload (`--resume`): whether they are ours, and what happens to them.
//!
//! Its name is predictable, so another user could have created a file there: continuing it would put that file, with
//! its contents and owner, in place. SFTP does not tell our user ID on the host. So we create a probe file next to it,
//! and both must have the same owner. It could also be a hard link to another file of the same owner, which we would
//! overwrite: it must have no other name. SFTP tells this only in the long lines of a directory listing; without those,
//! nothing is continued.

use super::file::{File, Stage};
use super::shared::{Shared, WINDOW, parent_of};
use super::step::FileStep;
use crate::copy::random_tag;
use crate::copy::sftp::packets::{Attributes, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_WRITE, Reply, Request, Status};

/// Most names to search for it.
const NAMES: usize = 100_000;

/// Why a partial file is not continued.
const CLOSED: &str = "its mode denies its owner access";
const WRITABLE: &str = "others can write it";
const FOREIGN: &str = "it belongs to another user";
const LONGER: &str = "it has more bytes than the file";
const SHORT: &str = "no part of it is reliable";
const LINKED: &str = "it is a hard link to another file";
const UNTOLD: &str = "the server does not tell whether it is a hard link to another file";

impl File {
    /// Handles a reply about it.
    pub(super) fn looked_at_rest(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        match (ask, reply) {
            (FileStep::LookRest, Reply::Attributes(attributes)) => self.take_rest(attributes, shared),
            // If it exists after all, the exclusive create fails.
            (FileStep::LookRest, Reply::Status(_)) => self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared),
            (FileStep::LookProbe, Reply::Attributes(probe)) => self.take_probe(probe, shared),
            // Where we cannot create a file, we cannot tell whether a file is ours.
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
            // Without these bits only root could open the file again.
            Some(mode) if mode & 0o600 != 0o600 => self.clear_rest(CLOSED, shared),
            // Its name is predictable: a file that others can write may not be from an earlier copy.
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

    /// Looks at the probe file that shows the owner of our files, and removes it.
    pub(super) fn look_at_probe(&self, handle: &[u8], shared: &mut Shared) {
        self.ask(&Request::Fstat(handle), FileStep::LookProbe, shared);
        self.ask(&Request::Close(handle), FileStep::EndProbe, shared);
        self.ask(&Request::Remove(&self.probe), FileStep::EndProbe, shared);
    }

    /// Continues the partial file if its owner is that of `probe`: a server without owners tells neither.
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

    /// Continues the partial file if it has no other name.
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
                // A server may have written the data in another order: only this much is certainly without gaps.
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

    /// Removes a partial file that cannot be continued, and starts again.
    fn clear_rest(&mut self, why: &'static str, shared: &mut Shared) {
        self.rest = None;
        self.unusable = why;
        self.ask(&Request::Remove(&self.temporary()), FileStep::ClearRest, shared);
    }

    /// Starts writing once the opened file is known to be the one that was checked.
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
