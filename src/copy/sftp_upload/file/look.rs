//! The check of what exists in the place of a file before it is written.

use super::*;
use crate::copy::sftp::packets::OPEN_APPEND;

impl File {
    /// Handles the reply about what exists.
    pub(super) fn looked(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        use FileStep::{Look, LookBehind, LookThrough, Resolve, ResolveUnseen};
        match (ask, reply) {
            (Look, Reply::Attributes(there)) => self.consider(there, true, shared),
            (LookBehind | LookThrough, Reply::Attributes(there)) => self.consider(there, false, shared),
            (Look | LookBehind, Reply::Status(status)) if status.code == Status::NO_SUCH_FILE => {
                self.look_for_rest(shared);
            }
            // Some servers answer this for a missing file, others lack LSTAT.
            (Look, Reply::Status(_)) if self.way == Way::Replace => {
                self.ask(&Request::Realpath(&self.path), ResolveUnseen, shared);
            }
            (LookBehind, Reply::Status(_)) => self.look_through(shared),
            (ResolveUnseen, reply) => {
                if let Reply::Path(path) = reply {
                    self.path = path;
                }
                self.look_through(shared);
            }
            (Look | LookThrough, Reply::Status(status)) if status.may_be_missing() => self.look_for_rest(shared),
            (Resolve, Reply::Path(path)) => {
                self.ask(&Request::Lstat(&path), LookBehind, shared);
                self.path = path;
            }
            (_, reply) => self.refused(&reply, shared),
        }
    }

    fn look_through(&self, shared: &mut Shared) {
        self.ask(&Request::Stat(&self.path), FileStep::LookThrough, shared);
    }

    /// Continues with something that exists in the place of the file.
    fn consider(&mut self, there: Attributes, may_follow: bool, shared: &mut Shared) {
        if there.is_directory() {
            self.give_up("a directory exists where the file should go".to_owned(), None, shared);
        } else if there.is_link() && may_follow {
            self.ask(&Request::Realpath(&self.path), FileStep::Resolve, shared);
        } else if there.is_link() {
            self.give_up(
                "a symbolic link exists there, and the server does not tell where it leads".to_owned(),
                None,
                shared,
            );
        } else if there.is_file() || there.mode.is_none() {
            self.existing = Some(there);
            self.look_for_rest(shared);
        } else {
            self.way = Way::Device;
            // Most have no offsets, and the server would try to seek.
            self.open(if there.is_block_device() { 0 } else { OPEN_APPEND }, shared);
        }
    }

    /// Looks for the partial file of an earlier attempt, if it may be continued.
    fn look_for_rest(&mut self, shared: &mut Shared) {
        match self.way {
            Way::Replace if shared.upload.options.resume => {
                self.ask(&Request::Lstat(&self.temporary()), FileStep::LookRest, shared);
            }
            Way::Replace => self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared),
            Way::InPlace | Way::Device => self.open(OPEN_CREATE | OPEN_TRUNCATE, shared),
        }
    }
}
