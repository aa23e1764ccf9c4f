//! One file that is uploaded: written under a temporary name, verified, and renamed.

mod step;

/// How it takes its place, or is given up.
mod ending;

pub use self::step::FileStep;
use super::readback::ReadBack;
use super::rest::{FOREIGN, UNTOLD};
use super::{Failure, Shared, Tag, WINDOW, join, parent_of, shown};
use crate::copy::sftp::packets::{
    Attributes, Extension, OPEN_APPEND, OPEN_CREATE, OPEN_EXCLUSIVE, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE, Reply,
    Request, Status,
};
use crate::copy::{random_tag, temporary_name};
use crate::events::remedy::Remedy;

/// With less room than this on the file system, a refusal to make or write a file is for lack of room.
const TIGHT: u64 = 64 * 1024;
/// What is said about that.
const NO_ROOM: &str = "No space left on device";

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is found out what is there, and then opened.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Under a temporary name, then renamed.
    Replace,
    /// Written where it is.
    InPlace,
    /// Written to what is no file at all, such as a device.
    Device,
}

/// One file that is under way.
#[derive(Debug)]
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
    pending: usize,
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
            stage: Stage::Opening,
            way: if shared.upload.options.inplace { Way::InPlace } else { Way::Replace },
            path: shared.path_of(entry),
            tag,
            rest: None,
            unusable: "",
            listed: 0,
            probe: Vec::new(),
            written: Vec::new(),
            existing: None,
            handle: None,
            made: false,
            sent: 0,
            resumed: false,
            acknowledged: 0,
            pending: 0,
            readback: None,
            given_up: None,
            reserved: false,
            through_link: false,
            is_opened_again: false,
        };
        // From the beginning, so that as many as are found out about may also be opened.
        file.reserve(shared);
        let path = file.path.clone();
        if is_fresh {
            file.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared);
        } else if file.way == Way::InPlace {
            // What is written goes through a link.
            file.ask(&Request::Stat(&path), FileStep::Look, shared);
        } else {
            file.ask(&Request::Lstat(&path), FileStep::Look, shared);
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
        self.pending == 0 && (self.given_up.is_some() || self.stage == Stage::Done)
    }

    /// Why it was not copied, if that is not known elsewhere; how far it came, if it was not given up.
    pub fn into_failure(self) -> Result<Option<Failure>, Stage> {
        self.given_up.ok_or(self.stage)
    }

    pub(super) fn ask(&mut self, request: &Request<'_>, ask: FileStep, shared: &mut Shared) {
        self.pending += 1;
        shared.client.request(request, Tag::File(self.slot, ask));
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
            let request = Request::Read { handle, offset, length };
            shared.client.request(&request, Tag::File(self.slot, FileStep::Read { offset, length }));
            self.pending += 1;
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
        self.pending += 1;
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
        self.pending -= 1;
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
                } else if let (Some(_), Some(handle)) = (self.rest, self.handle.clone()) {
                    self.ask(&Request::Fstat(&handle), FileStep::LookOpened, shared);
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
        if self.pending == 0 && self.stage == Stage::Closing && self.given_up.is_none() {
            self.take_place(shared);
        }
    }

    /// Takes the reply to a question about a file that was not given up.
    fn go_on(&mut self, ask: FileStep, reply: Reply, shared: &mut Shared) {
        match (ask, reply) {
            (FileStep::Look, Reply::Attributes(attributes)) => self.consider(attributes, true, shared),
            (FileStep::LookBehind, Reply::Attributes(attributes)) => self.consider(attributes, false, shared),
            (FileStep::Look | FileStep::LookBehind, Reply::Status(status)) if status.code == Status::NO_SUCH_FILE => {
                self.look_for_rest(shared);
            }
            // Some servers say so of what is missing, others have no LSTAT.
            (FileStep::Look, Reply::Status(_)) if self.way == Way::Replace => {
                let path = self.path.clone();
                self.ask(&Request::Realpath(&path), FileStep::ResolveUnseen, shared);
            }
            (FileStep::LookBehind, Reply::Status(_)) => self.look_through(shared),
            (FileStep::ResolveUnseen, reply) => {
                if let Reply::Path(path) = reply {
                    self.path = path;
                }
                self.look_through(shared);
            }
            (FileStep::LookThrough, Reply::Attributes(attributes)) => self.consider(attributes, false, shared),
            (FileStep::Look | FileStep::LookThrough, Reply::Status(status)) if status.may_be_missing() => {
                self.look_for_rest(shared);
            }
            (FileStep::Resolve, Reply::Path(path)) => {
                self.ask(&Request::Lstat(&path), FileStep::LookBehind, shared);
                self.path = path;
            }
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
            (FileStep::ClearRest, Reply::Status(status))
                if [Status::OK, Status::NO_SUCH_FILE].contains(&status.code) =>
            {
                self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared);
            }
            (FileStep::ClearRest, Reply::Status(status)) => {
                self.path = self.temporary();
                let reason =
                    format!("it cannot be continued, since {}, nor removed: {}", self.unusable, status.reason());
                self.fail(reason, &status, shared);
            }
            (FileStep::Write(length), Reply::Status(status)) if status.code == Status::OK => {
                self.acknowledged += u64::from(length);
                shared.done += u64::from(length);
                self.advance(shared);
            }
            (FileStep::Read { offset, length }, Reply::Data(data)) => {
                if let Some(readback) = &mut self.readback {
                    shared.unconfirmed -= readback.take(offset, length, data);
                }
                self.advance(shared);
            }
            (FileStep::Read { .. }, Reply::Status(status)) => {
                let reason = format!("it cannot be read back: {}", status.reason());
                self.fail_for_good(reason, shared);
            }
            (FileStep::Size | FileStep::SizeByName, Reply::Attributes(attributes))
                if attributes.size != Some(self.size) =>
            {
                let size = attributes.size.map_or("an unknown number of".to_owned(), |size| size.to_string());
                self.fail_for_good(format!("{size} bytes have arrived, of {}", self.size), shared);
            }
            (
                FileStep::Mode(_) | FileStep::Preserve(_) | FileStep::PreserveByName | FileStep::Close,
                Reply::Status(Status { code: Status::OK, .. }),
            )
            | (FileStep::Size | FileStep::SizeByName, Reply::Attributes(_))
            | (FileStep::Wish | FileStep::Tidy | FileStep::EndProbe, _) => {}
            // Not every server has FSTAT and FSETSTAT. What is asked for now comes after the file is closed.
            (FileStep::Size, Reply::Status(_)) => {
                let path = self.written.clone();
                self.ask(&Request::Stat(&path), FileStep::SizeByName, shared);
            }
            (FileStep::Mode(attributes), Reply::Status(_)) => {
                let path = self.written.clone();
                self.ask(&Request::Setstat(&path, attributes), FileStep::Wish, shared);
            }
            (FileStep::SizeByName, Reply::Status(status)) => {
                self.fail(format!("its size cannot be read: {}", status.reason()), &status, shared);
            }
            (FileStep::Preserve(attributes), Reply::Status(_)) => {
                let path = self.written.clone();
                self.ask(&Request::Setstat(&path, attributes), FileStep::PreserveByName, shared);
            }
            (FileStep::PreserveByName, Reply::Status(status)) => {
                self.fail(format!("its mode and times cannot be set: {}", status.reason()), &status, shared);
            }
            (FileStep::Open, Reply::Status(status))
                if status.code == Status::PERMISSION_DENIED && self.way == Way::Replace && self.existing.is_some() =>
            {
                self.fail_to_begin(&status, shared);
            }
            // Linux refuses to make what is another's file in a sticky directory, even where it may be written (protected_regular).
            (FileStep::Open, Reply::Status(status))
                if status.code == Status::PERMISSION_DENIED
                    && self.way == Way::InPlace
                    && self.existing.is_some()
                    && !self.is_opened_again =>
            {
                self.is_opened_again = true;
                self.reserve(shared);
                self.open(OPEN_TRUNCATE, shared);
            }
            (FileStep::Open, Reply::Status(status))
                if self.way == Way::InPlace
                    && [Status::FAILURE, Status::UNSUPPORTED].contains(&status.code)
                    && self.existing.is_none()
                    && !self.through_link =>
            {
                // A link that leads nowhere is written through, and what it makes is its own.
                self.through_link = true;
                self.reserve(shared);
                self.open(OPEN_CREATE, shared);
            }
            // Servers that cannot see to it that the file is new say no more than that. Nobody can foresee its name; where somebody can,
            // another may have made it, so that it gets another name, and nothing of it is gone on with.
            (FileStep::Open, Reply::Status(status))
                if self.way == Way::Replace
                    && [Status::FAILURE, Status::UNSUPPORTED].contains(&status.code)
                    && !self.is_opened_again =>
            {
                self.is_opened_again = true;
                if shared.upload.options.resume {
                    self.tag = random_tag();
                }
                self.reserve(shared);
                self.open(OPEN_CREATE | OPEN_TRUNCATE, shared);
            }
            (FileStep::Open, Reply::Status(status)) => self.fail_or_full(&status, TIGHT, shared),
            (FileStep::Write(_) | FileStep::Close, Reply::Status(status)) => {
                let needed = (self.size - self.acknowledged).max(TIGHT);
                self.fail_or_full(&status, needed, shared);
            }
            (FileStep::Rename, Reply::Status(status)) if self.may_clear(&status, shared) => {
                let path = self.path.clone();
                self.ask(&Request::Remove(&path), FileStep::Clear, shared);
            }
            (FileStep::Clear, Reply::Status(status)) if status.code == Status::OK => {
                let (from, to) = (self.written.clone(), self.path.clone());
                self.ask(&Request::Rename { from: &from, to: &to }, FileStep::RenameAgain, shared);
            }
            (FileStep::RenameAgain, Reply::Status(status)) => {
                // Both must not be lost.
                self.made = false;
                let reason =
                    format!("{}; the old file is gone, the new one is {}", status.reason(), shown(&self.written));
                self.fail(reason, &status, shared);
            }
            (FileStep::Rename, Reply::Status(status)) => {
                self.fail_to_place("the new file cannot take its place", &status, shared)
            }
            (FileStep::Clear, Reply::Status(status)) => {
                self.fail_to_place("the old file cannot be removed", &status, shared)
            }
            (_, Reply::Status(status)) => self.fail(status.reason(), &status, shared),
            // The client has made sure that replies are of the type that belongs to the request.
            _ => self.give_up("the server gave another answer than was asked for".to_owned(), None, shared),
        }
    }

    fn look_through(&mut self, shared: &mut Shared) {
        let path = self.path.clone();
        self.ask(&Request::Stat(&path), FileStep::LookThrough, shared);
    }

    /// Goes on as there is something in the place of the file.
    fn consider(&mut self, there: Attributes, may_follow: bool, shared: &mut Shared) {
        if there.is_directory() {
            self.give_up("a directory is there, where a file should go".to_owned(), None, shared);
        } else if there.is_link() && may_follow {
            let path = self.path.clone();
            self.ask(&Request::Realpath(&path), FileStep::Resolve, shared);
        } else if there.is_link() {
            self.give_up(
                "a symbolic link is there, and the server cannot tell where it leads".to_owned(),
                None,
                shared,
            );
        } else if there.is_file() || there.mode.is_none() {
            self.existing = Some(there);
            self.look_for_rest(shared);
        } else {
            self.way = Way::Device;
            // Most have no offsets, and the server would try to go to one.
            self.open(if there.is_block_device() { 0 } else { OPEN_APPEND }, shared);
        }
    }

    /// Looks for what an earlier attempt has left behind, if that is to be continued.
    fn look_for_rest(&mut self, shared: &mut Shared) {
        match self.way {
            Way::Replace if shared.upload.options.resume => {
                let temporary = self.temporary();
                self.ask(&Request::Lstat(&temporary), FileStep::LookRest, shared);
            }
            Way::Replace => self.open(OPEN_CREATE | OPEN_EXCLUSIVE, shared),
            Way::InPlace | Way::Device => self.open(OPEN_CREATE | OPEN_TRUNCATE, shared),
        }
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
        let path = self.written.clone();
        self.ask(&Request::Open { path: &path, flags, attributes }, FileStep::Open, shared);
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
                Ok(_) => self.fail_for_good("what has arrived is not what was sent (SHA-256)".to_owned(), shared),
            }
        }
    }

    /// Asks for everything that is left to do before it may be renamed. The server does it in this order.
    fn close(&mut self, shared: &mut Shared) {
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
            // The umask may have taken something away.
            let attributes = Attributes::of_mode(mode);
            self.ask(&Request::Fsetstat(&handle, attributes), FileStep::Mode(attributes), shared);
        }
        if self.way != Way::Device {
            self.ask(&Request::Fstat(&handle), FileStep::Size, shared);
        }
        self.ask(&Request::Close(&handle), FileStep::Close, shared);
    }
}
