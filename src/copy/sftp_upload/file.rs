//! The upload of one file: written under a temporary name, verified, and renamed.

mod ending;
mod look;

use std::cell::Cell;

use super::readback::ReadBack;
use super::shared::{Failure, Shared, Tag, WINDOW, join, parent_of};
use super::step::FileStep;
use crate::copy::sftp::packets::{
    Attributes, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE, Reply, Request, Status,
};
use crate::copy::{random_tag, temporary_name};
use crate::events::remedy::Remedy;

/// With less free space than this, a refusal to create or write a file means that the disk is full.
const TIGHT: u64 = 64 * 1024;

/// The stage of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Look at what exists, then open.
    #[default]
    Opening,
    /// Send data.
    Writing,
    /// Read data back.
    Reading,
    /// Everything is sent, including the close.
    Closing,
    /// Put it in its place.
    Renaming,
    /// In place.
    Done,
}

/// How a file reaches its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Under a temporary name, then renamed.
    #[default]
    Replace,
    /// Written where it is.
    InPlace,
    /// Written to a non-file, such as a device.
    Device,
}

/// A file in transfer.
#[derive(Debug, Default)]
pub struct File {
    slot: usize,
    entry: usize,
    pub(super) size: u64,
    pub(super) stage: Stage,
    way: Way,
    /// Its final path.
    pub(super) path: Vec<u8>,
    /// The suffix of its temporary name.
    tag: String,
    /// The partial file of an earlier attempt, while it may be continued.
    pub(super) rest: Option<Attributes>,
    /// Why it may not be continued.
    pub(super) unusable: &'static str,
    /// How many names of its directory were listed.
    pub(super) listed: usize,
    /// The probe file that shows the owner of our files.
    pub(super) probe: Vec<u8>,
    /// The path that is written to, once known.
    written: Vec<u8>,
    /// The existing regular file.
    existing: Option<Attributes>,
    handle: Option<Vec<u8>>,
    /// Whether we created `written`, which is removed on failure.
    pub(super) made: bool,
    pub(super) sent: u64,
    /// Whether part of it is from an earlier copy, which only size and time identify.
    pub(super) resumed: bool,
    pub(super) acknowledged: u64,
    /// Pending requests.
    pending: Cell<usize>,
    readback: Option<ReadBack>,
    /// It failed; the reason, unless reported elsewhere.
    given_up: Option<Option<Failure>>,
    /// It counts as open on the host.
    reserved: bool,
    /// With [`Way::InPlace`]: something other than a file exists there, such as a dangling link.
    through_link: bool,
    /// It was opened in another way, since the server refused the usual one.
    is_opened_again: bool,
}

impl File {
    /// Starts entry `entry` in slot `slot`. `is_fresh`: nothing can exist in its place.
    pub fn begin(slot: usize, entry: usize, size: u64, tag: String, is_fresh: bool, shared: &mut Shared) -> File {
        let mut file = File {
            slot,
            entry,
            size,
            way: if shared.upload.options.inplace { Way::InPlace } else { Way::Replace },
            path: shared.path_of(entry),
            tag,
            ..File::default()
        };
        // From the start, so that no more are prepared than may be open.
        file.reserve(shared);
        if is_fresh {
            file.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared);
        } else if file.way == Way::InPlace {
            // Writing follows a link.
            file.ask(&Request::Stat(&file.path), FileStep::Look, shared);
        } else {
            file.ask(&Request::Lstat(&file.path), FileStep::Look, shared);
        }
        file
    }

    /// Counts it as open on the host from now on.
    fn reserve(&mut self, shared: &mut Shared) {
        if !std::mem::replace(&mut self.reserved, true) {
            shared.open += 1;
        }
    }

    /// Counts it as closed: another file may be opened.
    pub fn release(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut self.reserved) {
            shared.open -= 1;
        }
    }

    /// Returns its entry.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Returns how many bytes are left to send.
    pub fn unsent(&self) -> u64 {
        if self.given_up.is_some() || self.stage > Stage::Writing { 0 } else { self.size - self.sent }
    }

    /// Whether it has failed.
    pub fn is_over(&self) -> bool {
        self.pending.get() == 0 && (self.given_up.is_some() || self.stage == Stage::Done)
    }

    /// Returns the reason why it was not copied, unless reported elsewhere, or how far it came if it did not fail.
    pub fn into_failure(self) -> Result<Option<Failure>, Stage> {
        self.given_up.ok_or(self.stage)
    }

    pub(super) fn ask(&self, request: &Request<'_>, ask: FileStep, shared: &mut Shared) {
        self.count_asked();
        shared.client.request(request, Tag::File(self.slot, ask));
    }

    fn count_asked(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// Sends a piece, or requests one to read back; returns whether there was one with room for it.
    pub fn send_piece(&mut self, shared: &mut Shared) -> bool {
        let Some(handle) = self.handle.as_ref().filter(|_| self.given_up.is_none()) else {
            return false;
        };
        if self.stage == Stage::Reading {
            let room = WINDOW.saturating_sub(shared.unconfirmed);
            let Some((offset, length, new)) = self.readback.as_mut().and_then(|readback| readback.next(room)) else {
                return false;
            };
            shared.unconfirmed += new;
            // Compute the local checksum before it is needed, so that no host waits for it.
            shared.upload.sources.hash_some(self.entry, self.size);
            self.ask(&Request::Read { handle, offset, length }, FileStep::Read { offset, length }, shared);
            return true;
        }
        let length = (self.size - self.sent).min(u64::from(shared.write_length)) as u32;
        if self.stage != Stage::Writing || length == 0 || shared.unconfirmed + u64::from(length) > WINDOW {
            return false;
        }
        let (tag, sources, offset) = (Tag::File(self.slot, FileStep::Write(length)), &shared.upload.sources, self.sent);
        let read = |out: &mut Vec<u8>| sources.read(self.entry, offset, length as usize, out);
        if let Err(reason) = shared.client.write(handle, offset, length, tag, read) {
            self.fail_here(reason, shared);
            return true;
        }
        self.count_asked();
        self.sent += u64::from(length);
        shared.unconfirmed += u64::from(length);
        if shared.upload.options.checksum {
            // While its block is in memory.
            shared.upload.sources.hash_some(self.entry, self.sent);
        }
        self.advance(shared);
        true
    }

    /// Handles the reply to a request.
    pub fn take(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        self.pending.set(self.pending.get() - 1);
        // Counters change even for a failed file.
        match (&ask, &reply) {
            (FileStep::Write(length), _) => shared.unconfirmed -= u64::from(*length),
            (FileStep::Open, Reply::Status(_)) | (FileStep::Close, _) => self.release(shared),
            _ => {}
        }
        match (ask, reply) {
            (FileStep::Room(needed), Reply::Space(space)) => {
                if space.bytes < needed || space.files == 0 {
                    self.was_full(space.bytes, shared);
                }
            }
            (FileStep::Tidy, Reply::Status(status)) => self.tidied(&status),
            (FileStep::Open, Reply::Handle(handle)) => {
                self.handle = Some(handle);
                let is_new = self.existing.is_none() && !self.through_link;
                self.made = self.way == Way::Replace || self.way == Way::InPlace && is_new;
                if self.given_up.is_some() {
                    self.tidy(shared);
                } else if let (Some(_), Some(handle)) = (self.rest, &self.handle) {
                    self.ask(&Request::Fstat(handle), FileStep::LookOpened, shared);
                } else {
                    self.stage = Stage::Writing;
                    self.advance(shared);
                }
            }
            (FileStep::MakeProbe, Reply::Handle(handle)) => self.look_at_probe(&handle, shared),
            (FileStep::Rename | FileStep::RenameAgain, Reply::Status(status)) if status.code == Status::OK => {
                self.made = false;
                self.stage = Stage::Done;
                self.given_up = None;
            }
            _ if self.given_up.is_some() => {}
            (ask, reply) => self.go_on(ask, reply, shared),
        }
        if self.pending.get() == 0 && self.stage == Stage::Closing && self.given_up.is_none() {
            self.take_place(shared);
        }
    }

    /// Handles the reply to a request about a file that has not failed.
    fn go_on(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        use FileStep::*;
        match (ask, reply) {
            (ask @ (Look | LookBehind | LookThrough | Resolve | ResolveUnseen), reply) => {
                self.looked(ask, reply, shared);
            }
            (ask @ (LookRest | MakeProbe | LookProbe | OpenParent | ListParent(_) | ClearRest | LookOpened), reply) => {
                self.looked_at_rest(ask, reply, shared)
            }
            (Open, Reply::Status(status)) => self.open_otherwise(&status, shared),
            (Write(length), Reply::Status(status)) if status.code == Status::OK => {
                self.acknowledged += u64::from(length);
                shared.done += u64::from(length);
                self.advance(shared);
            }
            (Write(_), Reply::Status(status)) => self.fail_or_full(&status, self.missing().max(TIGHT), shared),
            (Read { offset, length }, Reply::Data(data)) => {
                if let Some(readback) = &mut self.readback {
                    shared.unconfirmed -= readback.take(offset, length, data);
                }
                self.advance(shared);
            }
            (Read { .. }, Reply::Status(status)) => {
                self.fail_for_good(format!("it cannot be read back: {}", status.reason()), shared);
            }
            (ask @ (Size | SizeByName | Mode(_) | Preserve(_) | PreserveByName | Close), reply) => {
                self.closed(ask, reply, shared);
            }
            (ask @ (Rename | Clear | RenameAgain), Reply::Status(status)) => self.not_placed(ask, &status, shared),
            (Wish | Tidy | EndProbe, _) => {}
            (_, reply) => self.refused(&reply, shared),
        }
    }

    /// Opens the target in another way, if the server may refuse only the usual one.
    fn open_otherwise(&mut self, status: &Status, shared: &mut Shared) {
        let is_denied = status.code == Status::PERMISSION_DENIED;
        let is_vague = [Status::FAILURE, Status::UNSUPPORTED].contains(&status.code);
        let is_there = self.existing.is_some();
        let flags = match self.way {
            Way::Replace if is_denied && is_there => return self.fail_to_begin(status, shared),
            // Linux refuses O_CREAT on another user's file in a sticky directory, even if it is writable
            // (protected_regular).
            Way::InPlace if is_denied && is_there && !self.is_opened_again => {
                self.is_opened_again = true;
                OPEN_TRUNCATE
            }
            // Writing through a dangling link creates the link's target.
            Way::InPlace if is_vague && !is_there && !self.through_link => {
                self.through_link = true;
                OPEN_CREATE
            }
            // Servers that cannot guarantee a new file report nothing more specific. A random name is unpredictable;
            // where the name is predictable, another user may have created the file, so it gets another name, and
            // nothing of it is continued.
            Way::Replace if is_vague && !self.is_opened_again => {
                self.is_opened_again = true;
                if shared.upload.options.resume {
                    self.tag = random_tag();
                }
                OPEN_CREATE | OPEN_TRUNCATE
            }
            _ => return self.fail_or_full(status, TIGHT, shared),
        };
        self.reserve(shared);
        self.open(flags, shared);
    }

    /// Returns how many bytes the server has not confirmed.
    fn missing(&self) -> u64 {
        self.size - self.acknowledged
    }

    pub(super) fn temporary(&self) -> Vec<u8> {
        self.beside(&self.tag)
    }

    /// Returns the path of a temporary file with this tag.
    pub(super) fn beside(&self, tag: &str) -> Vec<u8> {
        let parent = parent_of(&self.path);
        let name = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        join(parent, &temporary_name(name, tag))
    }

    pub(super) fn open(&mut self, flags: u32, shared: &mut Shared) {
        let options = shared.upload.options;
        let mut flags = flags | OPEN_WRITE;
        match self.way {
            Way::Replace => self.written = self.temporary(),
            Way::InPlace => {
                // A file that we create is removed on failure: so its creator must be certain.
                let may_be_new = self.existing.is_none() && !self.through_link;
                let create = if self.is_opened_again { 0 } else { OPEN_CREATE };
                flags = OPEN_WRITE | create | if may_be_new { OPEN_EXCLUSIVE } else { OPEN_TRUNCATE };
                self.written = self.path.clone();
            }
            Way::Device => self.written = self.path.clone(),
        }
        if self.reads_back(shared) {
            flags |= OPEN_READ;
        }
        let attributes = Attributes::of_mode(match self.existing_mode().filter(|_| !options.preserve) {
            Some(mode) => mode,
            None => shared.upload.sources.entries()[self.entry].mode,
        });
        self.ask(&Request::Open { path: &self.written, flags, attributes }, FileStep::Open, shared);
    }

    /// Whether the uploaded data is compared before it is put in place.
    fn reads_back(&self, shared: &Shared) -> bool {
        (shared.upload.options.checksum || self.resumed) && self.way != Way::Device
    }

    /// Returns the mode of the replaced file. Like those of the sources, without setuid and the like.
    fn existing_mode(&self) -> Option<u32> {
        self.existing.and_then(|existing| existing.mode).map(|mode| mode & 0o777)
    }

    /// Continues once everything is sent, or read back.
    pub(super) fn advance(&mut self, shared: &mut Shared) {
        let is_sent = self.stage == Stage::Writing && self.sent == self.size;
        if is_sent && self.reads_back(shared) {
            if self.acknowledged == self.size {
                self.stage = Stage::Reading;
                self.readback = Some(ReadBack::new(self.size));
            }
        } else if is_sent {
            self.close(shared);
        }
        if self.stage == Stage::Reading
            && let Some(readback) = self.readback.take_if(|readback| readback.is_complete())
        {
            match shared.upload.sources.checksum(self.entry) {
                Err(reason) => self.fail_here(reason, shared),
                Ok(checksum) if checksum == readback.finish() => self.close(shared),
                Ok(_) => {
                    self.fail_for_good("the received file differs from the local one (SHA-256)".to_owned(), shared)
                }
            }
        }
    }
}
