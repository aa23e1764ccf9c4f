//! The end of an upload of one file: it is put in its place, or fails and the written data is removed.

use super::*;
use crate::copy::sftp::packets::Extension;
use crate::copy::sftp_upload::shared::shown;

/// The reason for a refusal on a full disk.
const NO_ROOM: &str = "No space left on device";

impl File {
    /// Makes all remaining requests before the rename. The server executes them in this order.
    pub(super) fn close(&mut self, shared: &mut Shared) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        self.stage = Stage::Closing;
        let entry = &shared.upload.sources.entries()[self.entry];
        let (mode, times) = (entry.mode, (entry.accessed, entry.modified));
        if self.way == Way::Replace
            && let Some(owner) = self.existing.and_then(|existing| existing.owner)
        {
            let attributes = Attributes { owner: Some(owner), ..Attributes::default() };
            self.ask(&Request::Fsetstat(&handle, attributes), FileStep::Wish, shared);
        }
        if shared.upload.options.preserve && self.way != Way::Device {
            let attributes = Attributes { mode: Some(mode), times: Some(times), ..Attributes::default() };
            self.ask(&Request::Fsetstat(&handle, attributes), FileStep::Preserve(attributes), shared);
        } else if self.way == Way::Replace
            && let Some(mode) = self.existing_mode()
        {
            // The umask may have cleared bits.
            let attributes = Attributes::of_mode(mode);
            self.ask(&Request::Fsetstat(&handle, attributes), FileStep::Mode(attributes), shared);
        }
        if self.way != Way::Device {
            self.ask(&Request::Fstat(&handle), FileStep::Size, shared);
        }
        self.ask(&Request::Close(&handle), FileStep::Close, shared);
    }

    /// Handles a reply to the requests made with the close.
    pub(super) fn closed(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        use FileStep::{Close, Mode, Preserve, PreserveByName, Size, SizeByName, Wish};
        match (ask, reply) {
            (Size | SizeByName, Reply::Attributes(attributes)) if attributes.size == Some(self.size) => {}
            (Size | SizeByName, Reply::Attributes(attributes)) => {
                let size = attributes.size.map_or("an unknown number of".to_owned(), |size| size.to_string());
                self.fail_for_good(format!("{size} bytes arrived, of {}", self.size), shared);
            }
            (Mode(_) | Preserve(_) | PreserveByName | Close, Reply::Status(Status { code: Status::OK, .. })) => {}
            // Not every server has FSTAT and FSETSTAT. The requests now come after the close.
            (Size, Reply::Status(_)) => self.ask(&Request::Stat(&self.written), SizeByName, shared),
            (Mode(attributes), Reply::Status(_)) => {
                self.ask(&Request::Setstat(&self.written, attributes), Wish, shared);
            }
            (Preserve(attributes), Reply::Status(_)) => {
                self.ask(&Request::Setstat(&self.written, attributes), PreserveByName, shared);
            }
            (SizeByName, Reply::Status(status)) => {
                self.fail(format!("its size cannot be read: {}", status.reason()), &status, shared);
            }
            (PreserveByName, Reply::Status(status)) => {
                self.fail(format!("its mode and times cannot be set: {}", status.reason()), &status, shared);
            }
            (Close, Reply::Status(status)) => self.fail_or_full(&status, self.missing().max(TIGHT), shared),
            (_, reply) => self.refused(&reply, shared),
        }
    }

    /// Fails because the server refused a required request.
    pub(in crate::copy::sftp_upload) fn refused(&mut self, reply: &Reply, shared: &mut Shared) {
        match reply {
            Reply::Status(status) => self.fail(status.reason(), status, shared),
            // The client has checked that the reply's type fits the request.
            _ => self.give_up("the server sent an unexpected answer".to_owned(), None, shared),
        }
    }
    /// Fails because the directory takes no new file.
    pub(super) fn fail_to_begin(&mut self, status: &Status, shared: &mut Shared) {
        self.give_up(status.reason(), Some(Remedy::InPlaceForNoNewFile), shared);
    }

    /// Fails because the server does not let the file replace the old one.
    fn fail_to_place(&mut self, what: &str, status: &Status, shared: &mut Shared) {
        self.give_up(format!("{what}: {}", status.reason()), Some(Remedy::InPlaceForNoRename), shared);
    }

    /// Fails for lack of space: only `free` bytes, in addition to the written ones.
    pub(super) fn was_full(&mut self, free: u64, shared: &mut Shared) {
        let old = self.existing.and_then(|existing| existing.size).filter(|_| self.way == Way::Replace);
        let fits_alone = old.is_some_and(|old| old.saturating_add(free).saturating_add(self.acknowledged) >= self.size);
        if let Some(Some(failure)) = &mut self.given_up {
            failure.reason = NO_ROOM.to_owned();
            failure.hint = match failure.kept {
                // A kept partial file occupies the space.
                Some(_) => Some(Remedy::ResumeAfterRoom),
                None => fits_alone.then_some(Remedy::InPlaceForRoom),
            };
            shared.is_full = true;
        }
    }

    /// Handles the removal of the written data, or reports that it is left there.
    pub(super) fn tidied(&mut self, status: &Status) {
        if let Some(Some(failure)) = &mut self.given_up
            && ![Status::OK, Status::NO_SUCH_FILE].contains(&status.code)
        {
            failure.left = Some(shown(&self.written));
        }
    }

    /// Returns what remains on the host if the connection is lost now.
    pub fn left(&self) -> Option<String> {
        self.made.then(|| shown(&self.written))
    }

    /// Puts a complete file in its place.
    pub(super) fn take_place(&mut self, shared: &mut Shared) {
        if self.way != Way::Replace {
            self.made = false;
            self.stage = Stage::Done;
            return;
        }
        self.stage = Stage::Renaming;
        let (from, to) = (&self.written, &self.path);
        if shared.client.supports(Extension::PosixRename) {
            self.ask(&Request::PosixRename { from, to }, FileStep::Rename, shared);
        } else {
            self.ask(&Request::Rename { from, to }, FileStep::Rename, shared);
        }
    }

    /// Handles the reply to a rename or removal that did not put it in place.
    pub(super) fn not_placed(&mut self, ask: FileStep, status: &Status, shared: &mut Shared) {
        match ask {
            FileStep::Rename if self.may_clear(status, shared) => {
                self.ask(&Request::Remove(&self.path), FileStep::Clear, shared);
            }
            FileStep::Rename => self.fail_to_place("the new file cannot take its place", status, shared),
            FileStep::Clear if status.code == Status::OK => {
                let rename = Request::Rename { from: &self.written, to: &self.path };
                self.ask(&rename, FileStep::RenameAgain, shared);
            }
            FileStep::Clear => self.fail_to_place("the old file cannot be removed", status, shared),
            _ => {
                // Losing both the old and the new file is not acceptable.
                self.made = false;
                let reason =
                    format!("{}; the old file is gone, the new one is {}", status.reason(), shown(&self.written));
                self.fail(reason, status, shared);
            }
        }
    }

    /// Whether the replaced file may be why the server refuses the rename.
    fn may_clear(&self, status: &Status, shared: &Shared) -> bool {
        let is_vague = ![Status::PERMISSION_DENIED, Status::NO_SUCH_FILE, Status::UNSUPPORTED].contains(&status.code);
        self.existing.is_some() && is_vague && !shared.client.supports(Extension::PosixRename)
    }

    /// Fails after a refusal that may mean a full disk: `needed` bytes.
    pub(super) fn fail_or_full(&mut self, status: &Status, needed: u64, shared: &mut Shared) {
        if status.code == Status::FAILURE && shared.client.supports(Extension::Statvfs) {
            // Asked before anything is removed.
            let directory = parent_of(&self.written);
            let directory = if directory.is_empty() { b"." } else { directory }.to_vec();
            self.ask(&Request::Statvfs(&directory), FileStep::Room(needed), shared);
        }
        self.fail(status.reason(), status, shared);
    }

    /// Fails because another file found the disk full.
    pub fn fail_for_room(&mut self, shared: &mut Shared) {
        self.give_up(NO_ROOM.to_owned(), None, shared);
    }

    pub(in crate::copy::sftp_upload) fn fail(&mut self, reason: String, status: &Status, shared: &mut Shared) {
        let hint = (status.code == Status::FAILURE).then_some(Remedy::NoReasonGiven);
        self.give_up(reason, hint, shared);
    }

    /// Fails because the local file is no longer readable.
    pub(super) fn fail_here(&mut self, reason: String, shared: &mut Shared) {
        let path = shared.upload.sources.entries()[self.entry].local.display().to_string();
        self.fail_for_good(reason, shared);
        if let Some(Some(failure)) = &mut self.given_up {
            failure.path = path;
        }
    }

    /// Fails without keeping anything for resuming.
    pub(super) fn fail_for_good(&mut self, reason: String, shared: &mut Shared) {
        self.tidy_up(true, shared);
        self.give_up(reason, None, shared);
    }

    pub(in crate::copy::sftp_upload) fn give_up(&mut self, reason: String, hint: Option<Remedy>, shared: &mut Shared) {
        if self.given_up.is_none() {
            self.tidy(shared);
            let kept = self.left();
            self.given_up = Some(Some(Failure { kept, ..Failure::new(&self.path, reason, hint) }));
        }
    }

    /// Stops what is under way. A rename that is under way completes.
    pub fn abort(&mut self, shared: &mut Shared) {
        if self.stage < Stage::Renaming && self.given_up.is_none() {
            self.given_up = Some(None);
            self.tidy(shared);
        }
    }

    /// Closes the handle and removes the written data unless it is kept for resuming.
    pub(super) fn tidy(&mut self, shared: &mut Shared) {
        let continues = shared.upload.options.resume && self.way == Way::Replace && !self.is_opened_again;
        self.tidy_up(!continues, shared);
    }

    pub(super) fn tidy_up(&mut self, removes: bool, shared: &mut Shared) {
        if let Some(readback) = self.readback.take() {
            shared.unconfirmed -= readback.outstanding();
        }
        if let Some(handle) = self.handle.take() {
            self.ask(&Request::Close(&handle), FileStep::Close, shared);
        }
        if self.made && removes {
            self.made = false;
            self.ask(&Request::Remove(&self.written), FileStep::Tidy, shared);
        }
    }
}
