//! Files and directories fetched from a host over SFTP: many at once, so that the round trip time hardly matters.

mod directories;
pub(crate) mod replies;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::directories::{Directories, Directory, Entry, TOP};
use self::transfer::{Failure, Transfer};
use super::download_root::{Below, DownloadRoot, Found, PlaceError, Trouble, check_name, local_mode};
use super::sftp::client::{Client, ProtocolError};
use super::sftp::find::{self, Finding, Source};
use super::sftp::packets::{Attributes, Extension, Name, OPEN_READ, Reply, Request, Status};
use super::sftp::server::{Broken, Complaint, never_began};
use crate::copy::failures::CopyFailures;
use crate::copy::{Download, some_of};
use crate::events::event::{Outcome, Progress};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::channel::dialogue::{Dialogue, PIECE, Say};

/// Files in transfer at once.
const FILES: usize = 64;
/// Local files open at once, since they are too large for memory.
const OPEN_HERE: usize = 8;
/// Bytes requested or kept in memory at once: what is in flight at a gigabit over 30 ms.
const WINDOW: usize = 4 << 20;
/// Bytes kept of the server program's standard error, to quote its last line.
const QUOTED: usize = 512;

/// The purpose of a request.
#[derive(Debug)]
enum Tag {
    /// To learn the server's limits.
    Limits,
    Find(find::Tag),
    /// To learn what a requested path, or the target of a link, is.
    Stat(u64, Box<Entry>),
    /// To find out where a directory is that may be one of its own parents.
    Real(u64, Box<Entry>),
    OpenDirectory(u64),
    List(u64),
    Open(u64),
    Size(u64),
    /// To stat again a file that ended before its size.
    SizeAgain(u64),
    Read {
        file: u64,
        offset: u64,
        length: u32,
    },
    Close,
}

#[derive(Debug)]
enum Stage {
    /// The server has not answered yet.
    Starting,
    Finding(Finding),
    Copying,
    /// Everything is done.
    Over,
    /// It was stopped from outside.
    Stopped,
}

/// A download from one host, as an SFTP dialogue.
///
/// It holds at most [`Downloading::DESCRIPTORS`] descriptors. In memory it keeps up to 4 MiB of files, and 2 MiB when
/// many start at once; of directories 20,000 waiting entries, and the hashes of all names of those being listed. A
/// server with an endless list causes about 100 MiB, and is stopped.
#[derive(Debug)]
pub struct Downloading {
    download: Arc<Download>,
    place: DownloadRoot,
    client: Client<Tag>,
    stage: Stage,
    directories: Directories,
    files: BTreeMap<u64, Transfer>,
    next_file: u64,
    /// Files and directories that the server keeps open at once.
    handles: usize,
    /// Pending requests about the type of a path.
    asking: usize,
    failures: CopyFailures,
    /// Files in their places.
    copied: usize,
    progress: Progress,
    error: Option<ProtocolError>,
    complaint: Complaint,
}

impl Downloading {
    /// Most descriptors of a download, without the connection: for its root, files, and the directories they are in.
    pub const DESCRIPTORS: usize = 5 + 2 * OPEN_HERE + 2;

    /// Starts a download into `place`, the host's own directory.
    pub fn new(download: Arc<Download>, place: DownloadRoot) -> Downloading {
        Downloading {
            download,
            place,
            client: Client::new(),
            stage: Stage::Starting,
            directories: Directories::new(Below::place()),
            files: BTreeMap::new(),
            next_file: 0,
            handles: usize::MAX,
            asking: 0,
            failures: CopyFailures::default(),
            copied: 0,
            progress: Progress::default(),
            error: None,
            complaint: Complaint::new(QUOTED),
        }
    }

    /// Makes the requests that can be made before more is received.
    fn step(&mut self) {
        if matches!(self.stage, Stage::Starting) && self.client.is_ready() {
            if self.client.supports(Extension::Limits) {
                // Its reply comes before those to later requests.
                self.client.request(&Request::Limits, Tag::Limits);
            }
            let knows_homes = self.client.supports(Extension::ExpandPath);
            self.stage = Stage::Finding(Finding::new(&self.download.remotes, knows_homes));
        }
        if let Stage::Finding(finding) = &mut self.stage {
            while self.client.unsaid() < PIECE
                && let Some(ask) = finding.ask()
            {
                ask.into_request(|request, tag| self.client.request(request, Tag::Find(tag)));
            }
            if finding.is_over()
                && let Stage::Finding(finding) = std::mem::replace(&mut self.stage, Stage::Copying)
            {
                let (sources, missing) = finding.into_found();
                for missing in missing {
                    self.failures.add(&missing.path, missing.reason, missing.hint);
                }
                self.begin(sources);
            }
        }
        if matches!(self.stage, Stage::Copying) {
            self.ask();
            if self.directories.is_empty() && matches!(self.stage, Stage::Copying) {
                self.stage = Stage::Over;
            }
        }
    }

    /// Ends it early; partial files are removed, or kept for resuming.
    fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.files.clear();
        let unfinished = std::mem::replace(&mut self.directories, Directories::new(Below::place()));
        // Incomplete directories still get their modes, or only their owner could see the files. A failure to set them
        // is not reported now.
        for directory in unfinished.deepest_first().filter(|directory| directory.is_own && directory.made == Some(true))
        {
            let _ = self.place.finish_directory(&directory.local, self.mode_of(&directory, true), None);
        }
    }

    /// Returns where the partial files are kept for resuming.
    fn kept_hint(&self) -> Option<Remedy> {
        some_of(self.files.values().filter_map(Transfer::kept)).map(Remedy::KeptHere)
    }

    /// Starts copying what was found.
    fn begin(&mut self, mut sources: Vec<Source>) {
        if !sources.is_empty() {
            match self.prepare(&mut sources) {
                Ok(local) => {
                    self.directories = Directories::new(local);
                    self.directories.limit(self.handles);
                }
                Err(error) => {
                    sources.clear();
                    self.failed_here(error);
                }
            }
        }
        for Source { path, name } in sources {
            if let Some(name) = &name
                && !matches!(self.directories.admit(TOP, name), Ok(true))
            {
                let reason = "something with the same name was already copied".to_owned();
                self.failures.add(&path, reason, None);
                continue;
            }
            let entry = Entry { name, path: Some(path), attributes: Attributes::default(), real: None };
            self.directories.wait(TOP, entry);
        }
        self.over(TOP);
    }

    /// Creates the directory that the sources go into, by the rules of scp, and returns it. A single source may get a
    /// new name.
    fn prepare(&mut self, sources: &mut [Source]) -> Result<Below, PlaceError> {
        let Some(target) = &self.download.target else { return Ok(Below::place()) };
        let mut paths = vec![Below::place()];
        for name in target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            let next = paths[paths.len() - 1].join(name).map_err(|reason| PlaceError {
                path: String::from_utf8_lossy(target).into_owned(),
                reason: reason.to_owned(),
                trouble: Trouble::Refused,
            })?;
            paths.push(next);
        }
        let last = paths[paths.len() - 1].clone();
        let is_several = self.download.remotes.len() > 1 || sources.len() > 1;
        let goes_into = is_several || target.ends_with(b"/") || self.place.find(&last)? == Some(Found::Directory);
        match (last.split(), sources) {
            (Some((_, name)), [source]) if !goes_into => {
                source.name = Some(name.to_vec());
                paths.pop();
            }
            _ => {}
        }
        for path in &paths {
            // As with scp, not only the owner may read the collected files.
            if self.place.make_directory(path)? {
                self.place.finish_directory(path, Some(local_mode(0o777, false)), None)?;
            }
        }
        Ok(paths.pop().unwrap_or_default())
    }

    /// Makes all requests that may be made now.
    fn ask(&mut self) {
        self.ask_for_bytes();
        while self.client.unsaid() < PIECE {
            let is_idle = self.files.is_empty() && self.asking == 0 && !self.directories.has_files();
            if let Some((id, handle)) = self.directories.next_list(is_idle) {
                self.client.request(&Request::Readdir(&handle), Tag::List(id));
            } else if let Some((parent, entry)) = self.directories.next_directory(is_idle) {
                self.open_directory(parent, entry);
            } else if self.files.len() + self.asking < self.most_files()
                && self.held() < WINDOW
                && let Some((parent, entry)) = self.directories.next_file()
            {
                self.look_at(parent, entry);
            } else {
                break;
            }
        }
    }

    /// Returns how many files may be in transfer: what the server's limit leaves after the directories.
    fn most_files(&self) -> usize {
        FILES.min(self.handles.saturating_sub(self.directories.open_there())).max(1)
    }

    /// Returns the bytes of files that are in memory, or requested.
    fn held(&self) -> usize {
        self.files.values().map(Transfer::held).sum()
    }

    /// Requests data of the open files, the oldest first.
    fn ask_for_bytes(&mut self) {
        let waiting: Vec<u64> = self.files.iter().filter(|(_, file)| file.wants_file()).map(|(id, _)| *id).collect();
        for id in waiting {
            if !self.may_open_here() {
                break;
            }
            self.settle(id);
        }
        let (mut held, mut asked) = (self.held(), self.files.values().map(Transfer::expected).sum::<usize>());
        for (id, file) in &mut self.files {
            // Data in memory may wait for earlier data: if nothing is in flight, the oldest file goes on.
            while (held < WINDOW || asked == 0)
                && self.client.unsaid() < PIECE
                && let Some((offset, length)) = file.next_read()
            {
                let handle = file.handle().unwrap_or_default();
                let tag = Tag::Read { file: *id, offset, length };
                self.client.request(&Request::Read { handle, offset, length }, tag);
                held += length as usize;
                asked += length as usize;
            }
        }
    }

    /// Whether another local file may be open.
    fn may_open_here(&self) -> bool {
        self.files.values().filter(|file| file.is_open()).count() < OPEN_HERE
    }

    /// Starts to open a directory.
    fn open_directory(&mut self, parent: u64, entry: Entry) {
        let Some((remote, local)) = self.paths(parent, &entry) else { return };
        match self.directories.open(parent, entry, local) {
            Ok(id) => self.client.request(&Request::Opendir(&remote), Tag::OpenDirectory(id)),
            Err(reason) => self.failed(parent, &remote, reason, None),
        }
    }

    /// Returns where an entry is and where it goes; `None` if its target is gone.
    fn paths(&mut self, parent: u64, entry: &Entry) -> Option<(Vec<u8>, Below)> {
        let remote = self.directories.remote(parent, entry);
        let above = self.directories.get(parent).map(|parent| &parent.local).ok_or("its directory is gone");
        match above.and_then(|above| entry.name.as_ref().map_or_else(|| Ok(above.clone()), |name| above.join(name))) {
            Ok(local) => Some((remote, local)),
            Err(reason) => {
                self.failed(parent, &remote, reason.to_owned(), None);
                None
            }
        }
    }

    /// Starts a non-directory, as far as known.
    fn look_at(&mut self, parent: u64, entry: Entry) {
        if entry.path.is_none() && entry.attributes.is_file() {
            return self.open_file(parent, entry);
        }
        let remote = self.directories.remote(parent, &entry);
        self.asking += 1;
        self.client.request(&Request::Stat(&remote), Tag::Stat(parent, Box::new(entry)));
    }

    fn open_file(&mut self, parent: u64, entry: Entry) {
        let Some((remote, local)) = self.paths(parent, &entry) else { return };
        let id = self.next_file;
        self.next_file += 1;
        let open = Request::Open { path: &remote, flags: OPEN_READ, attributes: Attributes::default() };
        self.client.request(&open, Tag::Open(id));
        let counted = entry.attributes.size.unwrap_or(0);
        let file = Transfer::new(parent, remote, local, entry.attributes, counted, self.download.options);
        self.files.insert(id, file);
    }

    /// Writes received data of a file, and puts the file in its place once it is complete.
    fn settle(&mut self, id: u64) {
        let may_open = self.may_open_here();
        let Some(file) = self.files.get_mut(&id) else { return };
        let settled = file.settle(&mut self.place, may_open).and_then(|bytes| {
            self.progress.done = self.progress.done.saturating_add(bytes);
            if bytes > 0 && file.written() > file.counted {
                self.progress.total = self.progress.total.saturating_add(file.written() - file.counted);
                file.counted = file.written();
            }
            file.finish(&mut self.place)
        });
        match settled {
            Ok(false) => {}
            Ok(true) => {
                self.copied += 1;
                if let Some(parent) = self.take_file(id).map(|file| file.parent) {
                    self.child_over(parent);
                }
            }
            Err(failure) => self.file_failed(id, failure),
        }
    }

    fn take_file(&mut self, id: u64) -> Option<Transfer> {
        let file = self.files.remove(&id)?;
        if let Some(handle) = file.handle() {
            self.client.request(&Request::Close(handle), Tag::Close);
        }
        Some(file)
    }

    fn file_failed(&mut self, id: u64, mut failure: Failure) {
        let Some(file) = self.take_file(id) else { return };
        let parent = file.parent;
        let remote = file.give_up(&mut failure);
        match failure {
            Failure::Remote(reason) => self.failed(parent, &remote, reason, None),
            Failure::Changed(reason) => self.failed(parent, &remote, reason.to_owned(), None),
            Failure::Local(error) => {
                self.failed_here(error);
                self.child_over(parent);
            }
        }
    }

    /// Counts an entry of a directory as failed.
    fn failed(&mut self, parent: u64, remote: &[u8], reason: String, hint: Option<Remedy>) {
        self.failures.add(remote, reason, hint);
        self.child_over(parent);
    }

    /// Counts an entry that failed locally.
    fn failed_here(&mut self, error: PlaceError) {
        if !self.failures.add_local(error) {
            self.end(Stage::Over);
        }
    }

    /// Counts an entry of a directory as finished.
    fn child_over(&mut self, parent: u64) {
        self.directories.child_over(parent);
        self.over(parent);
    }

    /// Finishes a directory that is complete, and then its parents.
    fn over(&mut self, mut id: u64) {
        while let Some(directory) = self.directories.take_over(id) {
            self.finish_directory(&directory);
            let Some(parent) = directory.parent else { return };
            self.directories.child_over(parent);
            id = parent;
        }
    }

    /// Counts what remains when the server ended too early.
    fn ended_early(&mut self, how: &str) -> HostError {
        let how = self.complaint.beside(how);
        if !self.client.is_ready() {
            return never_began(&how);
        }
        // How many more there were is unknown.
        let left = self.files.values().next().map(|file| &file.remote).or(self.download.remotes.first());
        let left = left.cloned().unwrap_or_default();
        self.failures.add(&left, format!("it was not copied before the SFTP server ended ({how})"), None);
        self.failures.skip(self.files.len().saturating_sub(1));
        self.failures.take().unwrap_or(HostError::Lost { detail: how, hint: None })
    }

    /// Sets the mode and times of a directory, now that nothing more is written into it.
    fn finish_directory(&mut self, directory: &Directory) {
        let Some(is_new) = directory.made.filter(|_| directory.is_own) else { return };
        let preserve = self.download.options.preserve;
        if !is_new && !preserve {
            return;
        }
        let times = directory.attributes.times.filter(|_| preserve);
        let finished = self.place.finish_directory(&directory.local, self.mode_of(directory, is_new), times);
        if let Err(error) = finished {
            self.failed_here(error);
        }
    }

    /// Returns the mode for a directory, unless it keeps its own.
    fn mode_of(&self, directory: &Directory, is_new: bool) -> Option<u32> {
        let told = directory.attributes.mode.map(|mode| local_mode(mode, self.download.options.preserve));
        told.or(is_new.then(|| local_mode(0o777, false)))
    }
}

impl Dialogue for Downloading {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        self.step();
        if self.error.is_none() && !matches!(self.stage, Stage::Stopped) && self.client.say(out) {
            return Say::Said;
        }
        match self.stage {
            Stage::Over | Stage::Stopped => Say::Over,
            _ => Say::Listening,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.client.hear(bytes);
        loop {
            match self.client.next_reply() {
                Ok(Some((tag, reply))) => self.take(tag, reply),
                Ok(None) => return,
                Err(error) => {
                    self.error.get_or_insert(error);
                    return self.end(Stage::Over);
                }
            }
        }
    }

    fn overhear(&mut self, bytes: &[u8]) {
        self.complaint.overhear(bytes);
    }

    fn abort(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.end(Stage::Stopped);
        }
    }

    fn has_begun(&self) -> bool {
        self.client.has_answered()
    }

    fn is_done(&self) -> bool {
        true
    }

    fn progress(&self) -> Option<Progress> {
        self.client.is_ready().then_some(self.progress)
    }

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        if matches!(self.stage, Stage::Over) && self.error.is_none() {
            // Everything is in place, whatever the server sends last.
            return self.failures.take().map_or(Outcome::Exited(0), Outcome::from);
        }
        let outcome = match Broken::of(self.error.take(), channel) {
            Broken::Early(how) => self.ended_early(&how).into(),
            Broken::Lost(detail) => {
                let plural = if self.copied == 1 { " was" } else { "s were" };
                let detail = format!("{detail}; {} file{plural} copied", self.copied);
                HostError::Lost { detail, hint: self.kept_hint() }.into()
            }
            Broken::Otherwise(outcome) => outcome,
        };
        self.end(Stage::Stopped);
        outcome
    }
}

#[cfg(test)]
mod tests;
