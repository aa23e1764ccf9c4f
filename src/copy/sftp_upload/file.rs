//! One file that is uploaded: written under a temporary name, verified, and renamed.

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

/// With less room than this on the file system, a refusal to make or write a file is for lack of room.
const TIGHT: u64 = 64 * 1024;

/// How far a file has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is found out what is there, and then opened.
    #[default]
    Opening,
    /// Bytes are sent.
    Writing,
    /// Bytes are read back.
    Reading,
    /// Everything is sent, also that it is to be closed.
    Closing,
    /// It takes its place.
    Renaming,
    /// It is in its place.
    Done,
}

/// How a file gets into its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Under a temporary name, then renamed.
    #[default]
    Replace,
    /// Written where it is.
    InPlace,
    /// Written to what is no file at all, such as a device.
    Device,
}

/// One file that is under way.
#[derive(Debug, Default)]
pub struct File {
    slot: usize,
    entry: usize,
    pub(super) size: u64,
    pub(super) stage: Stage,
    way: Way,
    /// Where it is to be in the end.
    pub(super) path: Vec<u8>,
    /// What its temporary name ends in.
    tag: String,
    /// What an earlier attempt has left behind, as long as it may be continued.
    pub(super) rest: Option<Attributes>,
    /// Why it may not.
    pub(super) unusable: &'static str,
    /// Names that were listed where it is.
    pub(super) listed: usize,
    /// The file that shows whose files of ours are.
    pub(super) probe: Vec<u8>,
    /// What is written to, once that is known.
    written: Vec<u8>,
    /// The regular file that is there already.
    existing: Option<Attributes>,
    handle: Option<Vec<u8>>,
    /// Whether `written` was made by us, and is to be removed if this fails.
    pub(super) made: bool,
    pub(super) sent: u64,
    /// Whether some of it is from an earlier copy, of which only size and time say that it is the same.
    pub(super) resumed: bool,
    pub(super) acknowledged: u64,
    /// Requests without a reply.
    pending: Cell<usize>,
    readback: Option<ReadBack>,
    /// It will not be copied; why, unless that is known elsewhere.
    given_up: Option<Option<Failure>>,
    /// It counts among the files that are open there.
    reserved: bool,
    /// With [`Way::InPlace`]: there is something in its place that is no file, such as a link to nowhere.
    through_link: bool,
    /// It was asked for in another way, since the server refused the usual one.
    is_opened_again: bool,
}

impl File {
    /// Begins with entry `entry` in slot `slot`. `is_fresh`: nothing can be in its place.
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
        // From the beginning, so that as many as are found out about may also be opened.
        file.reserve(shared);
        if is_fresh {
            file.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared);
        } else if file.way == Way::InPlace {
            // What is written goes through a link.
            file.ask(&Request::Stat(&file.path), FileStep::Look, shared);
        } else {
            file.ask(&Request::Lstat(&file.path), FileStep::Look, shared);
        }
        file
    }

    /// It counts as open there from now on.
    fn reserve(&mut self, shared: &mut Shared) {
        if !std::mem::replace(&mut self.reserved, true) {
            shared.open += 1;
        }
    }

    /// It is not open there, and will not be: another file may be.
    pub fn release(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut self.reserved) {
            shared.open -= 1;
        }
    }

    /// Which entry it is.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Bytes that will still be sent.
    pub fn unsent(&self) -> u64 {
        if self.given_up.is_some() || self.stage > Stage::Writing { 0 } else { self.size - self.sent }
    }

    /// Whether nothing is to come of it any more.
    pub fn is_over(&self) -> bool {
        self.pending.get() == 0 && (self.given_up.is_some() || self.stage == Stage::Done)
    }

    /// Why it was not copied, if that is not known elsewhere; how far it came, if it was not given up.
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

    /// Sends a piece, or asks for one to be read back; says whether there was one for which there is room.
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
            // What the whole is compared with: ready before it is needed, so that no host has to wait for it.
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

    /// Takes the reply to a question.
    pub fn take(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        self.pending.set(self.pending.get() - 1);
        // What is counted is counted whatever became of the file.
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

    /// Takes the reply to a question about a file that was not given up.
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

    /// Opens what is written in another way, if the server may refuse only the usual one.
    fn open_otherwise(&mut self, status: &Status, shared: &mut Shared) {
        let is_denied = status.code == Status::PERMISSION_DENIED;
        let is_vague = [Status::FAILURE, Status::UNSUPPORTED].contains(&status.code);
        let is_there = self.existing.is_some();
        let flags = match self.way {
            Way::Replace if is_denied && is_there => return self.fail_to_begin(status, shared),
            // Linux refuses to make what is another's file in a sticky directory, even where it may be written (protected_regular).
            Way::InPlace if is_denied && is_there && !self.is_opened_again => {
                self.is_opened_again = true;
                OPEN_TRUNCATE
            }
            // A link that leads nowhere is written through, and what it makes is its own.
            Way::InPlace if is_vague && !is_there && !self.through_link => {
                self.through_link = true;
                OPEN_CREATE
            }
            // Servers that cannot see to it that the file is new say no more than that. Nobody can foresee its name; where somebody can,
            // another may have made it, so that it gets another name, and nothing of it is gone on with.
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

    /// Bytes that the server has not confirmed.
    fn missing(&self) -> u64 {
        self.size - self.acknowledged
    }

    pub(super) fn temporary(&self) -> Vec<u8> {
        self.beside(&self.tag)
    }

    /// The path of a temporary file with this tag.
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
                // What is made by us is removed if this fails: so it must be clear who has made it.
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

    /// Whether what has arrived is compared before it takes its place.
    fn reads_back(&self, shared: &Shared) -> bool {
        (shared.upload.options.checksum || self.resumed) && self.way != Way::Device
    }

    /// The mode of what is replaced. Like those of the sources, without setuid and its like.
    fn existing_mode(&self) -> Option<u32> {
        self.existing.and_then(|existing| existing.mode).map(|mode| mode & 0o777)
    }

    /// Goes on once everything is sent, or read back.
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
