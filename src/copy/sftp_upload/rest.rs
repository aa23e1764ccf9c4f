//! What an earlier attempt at an upload has left behind (`--resume`): whether it is ours, and what becomes of it.
//!
//! Its name can be foreseen, so that another user could have put a file there: it would be continued, and take its place with what is in
//! it and whose it is. SFTP does not tell who we are on the host. So a file is made beside it, and both have to have the same owner.

use super::file::{Ask, File, Stage};
use super::{Shared, WINDOW};
use crate::copy::random_tag;
use crate::copy::sftp::packets::{Attributes, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_WRITE, Request};

/// Why what an earlier attempt has left is not continued.
const CLOSED: &str = "its mode keeps its owner from it";
const WRITABLE: &str = "others may write it";
pub(super) const FOREIGN: &str = "it belongs to another user";
const LONGER: &str = "it has more bytes than the file";

impl File {
    pub(super) fn take_rest(&mut self, rest: Attributes, shared: &mut Shared) {
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
            _ => {
                self.rest = Some(rest);
                self.probe = self.beside(&random_tag());
                let (path, attributes) = (self.probe.clone(), Attributes::of_mode(0o600));
                let flags = OPEN_WRITE | OPEN_CREATE | OPEN_EXCLUSIVE;
                self.ask(&Request::Open { path: &path, flags, attributes }, Ask::MakeProbe, shared);
            }
        }
    }

    /// Looks at the file that was made only to see whose files of ours are, and removes it.
    pub(super) fn look_at_probe(&mut self, handle: &[u8], shared: &mut Shared) {
        let path = self.probe.clone();
        self.ask(&Request::Fstat(handle), Ask::LookProbe, shared);
        self.ask(&Request::Close(handle), Ask::EndProbe, shared);
        self.ask(&Request::Remove(&path), Ask::EndProbe, shared);
    }

    /// Goes on with what an earlier attempt has left, if it belongs to the owner of `probe`: a server that tells no owners tells none of
    /// either.
    pub(super) fn take_probe(&mut self, probe: Attributes, shared: &mut Shared) {
        let user = |attributes: Attributes| attributes.owner.map(|(user, _)| user);
        let Some(rest) = self.rest else { return };
        if user(rest) != user(probe) {
            return self.clear_rest(FOREIGN, shared);
        }
        match rest.size {
            Some(size) if size <= self.size => {
                // A server may have written what it was sent in another order: behind a gap there is less than this.
                self.sent = size.saturating_sub(WINDOW);
                self.resumed = self.sent > 0;
                self.acknowledged = self.sent;
                shared.done += self.sent;
                self.open(0, shared);
            }
            // It cannot be a part of this file.
            _ => self.clear_rest(LONGER, shared),
        }
    }

    /// Removes what cannot be continued, to begin anew.
    pub(super) fn clear_rest(&mut self, why: &'static str, shared: &mut Shared) {
        self.rest = None;
        self.unusable = why;
        let temporary = self.temporary();
        self.ask(&Request::Remove(&temporary), Ask::ClearRest, shared);
    }

    /// Begins to write, once it is known that the file that was opened is the one that was looked at.
    pub(super) fn take_opened(&mut self, opened: Attributes, shared: &mut Shared) {
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
