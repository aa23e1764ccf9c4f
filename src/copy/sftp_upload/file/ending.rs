//! How an upload of one file ends: it takes its place, or is given up, and what was written is removed.

use super::*;

impl File {
    /// Gives up since the directory takes no new file.
    pub(super) fn fail_to_begin(&mut self, status: &Status, shared: &mut Shared) {
        self.give_up(status.reason(), Some(Remedy::InPlaceForNoNewFile), shared);
    }

    /// Gives up since the server does not let the file take its place.
    pub(super) fn fail_to_place(&mut self, what: &str, status: &Status, shared: &mut Shared) {
        self.give_up(format!("{what}: {}", status.reason()), Some(Remedy::InPlaceForNoRename), shared);
    }

    /// There was no room for it: only `free` bytes, besides what was written of it.
    pub(super) fn was_full(&mut self, free: u64, shared: &mut Shared) {
        let old = self.existing.and_then(|existing| existing.size).filter(|_| self.way == Way::Replace);
        let fits_alone = old.is_some_and(|old| old.saturating_add(free).saturating_add(self.acknowledged) >= self.size);
        if let Some(Some(failure)) = &mut self.given_up {
            failure.reason = NO_ROOM.to_owned();
            failure.hint = match failure.kept {
                // What is kept takes the room that there was.
                Some(_) => Some(Remedy::ResumeAfterRoom),
                None => fits_alone.then_some(Remedy::InPlaceForRoom),
            };
            shared.is_full = true;
        }
    }

    /// What was written has been removed, or is told to be left there.
    pub(super) fn tidied(&mut self, status: &Status) {
        if let Some(Some(failure)) = &mut self.given_up
            && ![Status::OK, Status::NO_SUCH_FILE].contains(&status.code)
        {
            failure.left = Some(shown(&self.written));
        }
    }

    /// What is left there of it if the connection is lost now.
    pub fn left(&self) -> Option<String> {
        self.made.then(|| shown(&self.written))
    }

    /// Puts what is complete into its place.
    pub(super) fn take_place(&mut self, shared: &mut Shared) {
        if self.way != Way::Replace {
            self.made = false;
            self.stage = Stage::Done;
            return;
        }
        self.stage = Stage::Renaming;
        let (from, to) = (self.written.clone(), self.path.clone());
        if shared.client.supports(Extension::PosixRename) {
            self.ask(&Request::PosixRename { from: &from, to: &to }, FileStep::Rename, shared);
        } else {
            self.ask(&Request::Rename { from: &from, to: &to }, FileStep::Rename, shared);
        }
    }

    /// Whether the file that is replaced may be what keeps the server from renaming.
    pub(super) fn may_clear(&self, status: &Status, shared: &Shared) -> bool {
        let is_vague = ![Status::PERMISSION_DENIED, Status::NO_SUCH_FILE, Status::UNSUPPORTED].contains(&status.code);
        self.existing.is_some() && is_vague && !shared.client.supports(Extension::PosixRename)
    }

    /// Gives up after a refusal, which may be for lack of room: `needed` bytes.
    pub(super) fn fail_or_full(&mut self, status: &Status, needed: u64, shared: &mut Shared) {
        if status.code == Status::FAILURE && shared.client.supports(Extension::Statvfs) {
            // Asked before anything is removed.
            let directory = parent_of(&self.written);
            let directory = if directory.is_empty() { b"." } else { directory }.to_vec();
            self.ask(&Request::Statvfs(&directory), FileStep::Room(needed), shared);
        }
        self.fail(status.reason(), status, shared);
    }

    /// Gives up since another file has found that there is no room.
    pub fn fail_for_room(&mut self, shared: &mut Shared) {
        self.give_up(NO_ROOM.to_owned(), None, shared);
    }

    pub(in crate::copy::sftp_upload) fn fail(&mut self, reason: String, status: &Status, shared: &mut Shared) {
        let hint = (status.code == Status::FAILURE).then_some(Remedy::NoReasonGiven);
        self.give_up(reason, hint, shared);
    }

    /// Gives up since the file here cannot be read any more.
    pub(super) fn fail_here(&mut self, reason: String, shared: &mut Shared) {
        let path = shared.upload.sources.entries()[self.entry].local.display().to_string();
        self.fail_for_good(reason, shared);
        if let Some(Some(failure)) = &mut self.given_up {
            failure.path = path;
        }
    }

    /// Gives up what can never be continued.
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

    /// Stops what is under way. What is just taking its place does so.
    pub fn abort(&mut self, shared: &mut Shared) {
        if self.stage < Stage::Renaming && self.given_up.is_none() {
            self.given_up = Some(None);
            self.tidy(shared);
        }
    }

    /// Closes what is open, and removes what was written unless it may be continued another time.
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
            let path = self.written.clone();
            self.ask(&Request::Remove(&path), FileStep::Tidy, shared);
        }
    }
}
