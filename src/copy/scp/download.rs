//! Downloads: the side of the SCP protocol that receives, from a peer that may say anything.

mod state;

use self::state::{Base, Directory, DownloadState, Incoming, Verdict};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::names::{Wanted, decode_name};
pub use super::paths::command;
use super::paths::{is_plain, normal};
use super::records::{self, Record};
use super::{LINE, NOISE, impossible, never_began, said, split_line, split_message};
use crate::copy::download_root::{Below, DownloadRoot, Found, PlaceError, Trouble, local_mode};
use crate::copy::failures::{CopyFailures, copy_error};
use crate::copy::{Download, MOST_DIRECTORIES, endless};
use crate::events::event::{Outcome, Progress};
use crate::events::remedy::Remedy;
use crate::ssh::channel::dialogue::{Dialogue, Say};

/// Levels of directories that are followed: a loop of links on the host ends here.
const DEPTH: usize = 64;
/// The longest path of any system.
const DEEPEST: usize = 2048;
/// Records that the peer may send before we answer them, once it is known to have many. Otherwise each file would take
/// two round trips.
const AHEAD: u64 = 256;
/// Names remembered at once, of all open directories of the peer: about 20 MiB. Beyond that, a repeated name replaces
/// the first file.
const NAMES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };

/// Receives the files of a [`Download`] from the `scp -f` of [`command`] into one host's directory.
pub struct Receiving {
    download: Arc<Download>,
    place: DownloadRoot,
    state: DownloadState,
    wanted: Vec<Wanted>,
    /// Bytes to send.
    out: Vec<u8>,
    /// Answers sent that the peer waits for.
    given: u64,
    asked: u64,
    /// Answers that may be sent in advance.
    ahead: u64,
    /// Modification and access times of the next record.
    times: Option<(u32, u32)>,
    /// The target, once the first record has come.
    base: Option<Base>,
    /// The open directories of the peer.
    open: Vec<Directory>,
    /// Names at the top level.
    names: HashSet<u64>,
    hasher: RandomState,
    file: Option<Incoming>,
    /// An incomplete record.
    line: Vec<u8>,
    /// Output before the first record.
    noise: Vec<u8>,
    records: usize,
    /// Directories announced, whether copied or not.
    directories: u64,
    failures: CopyFailures,
    done: u64,
    total: u64,
}

/// scp's message for a file that ended before its size.
const SHORT: &str = "Broken pipe";

impl Receiving {
    /// Creates the dialogue for `download`, which writes below `place`.
    pub fn new(download: Arc<Download>, place: DownloadRoot) -> Receiving {
        let remotes: Vec<Vec<u8>> = download.remotes.iter().map(|remote| normal(remote)).collect();
        let by_script = !remotes.iter().all(|remote| is_plain(remote));
        let mut receiving = Receiving {
            place,
            state: DownloadState::Calling { by_script },
            wanted: remotes.iter().map(|remote| Wanted::new(remote)).collect(),
            // scp sends nothing before this.
            out: vec![0],
            given: 1,
            asked: 1,
            ahead: 0,
            times: None,
            base: None,
            open: Vec::new(),
            names: HashSet::new(),
            hasher: RandomState::new(),
            file: None,
            line: Vec::new(),
            noise: Vec::new(),
            records: 0,
            directories: 0,
            failures: CopyFailures::default(),
            done: 0,
            total: 0,
            download,
        };
        let options = receiving.download.options;
        if let Some(error) = receiving.download.remotes.iter().find_map(|remote| impossible(options, remote)) {
            receiving.failures.add_error(error);
            receiving.state = DownloadState::Over;
        }
        receiving
    }

    /// Ends the dialogue.
    fn give_up(&mut self, path: &[u8], reason: &str) {
        // This is the failure that matters most.
        self.failures.put_first(copy_error(path, reason, None));
        self.end();
    }

    fn end(&mut self) {
        (self.state, self.file) = (DownloadState::Over, None);
        self.out.clear();
        self.leave_all();
    }

    /// Gives the incomplete directories their modes, or only their owner could see the files. A failure to do so is not
    /// reported now.
    fn leave_all(&mut self) {
        let preserve = self.download.options.preserve;
        while let Some(directory) = self.open.pop() {
            if let Some(path) = directory.path.filter(|path| directory.is_new && !path.as_bytes().is_empty()) {
                let _ = self.place.finish_directory(&path, Some(local_mode(directory.mode, preserve)), None);
            }
        }
    }

    /// Counts a local failure; with no room left, the copy ends.
    fn fail_here(&mut self, error: PlaceError) {
        let full = error.trouble == Trouble::Full;
        self.failures.add_error(error.into());
        if full {
            self.end();
        }
    }

    /// Answers OK.
    fn accept(&mut self) {
        self.asked += 1;
        self.top_up();
    }

    /// Refuses a record; returns whether the peer learns it before it sends the data.
    fn refuse(&mut self) -> bool {
        let in_time = self.given == self.asked;
        if in_time {
            self.out.extend_from_slice(b"\x01pssh: refused\n");
            self.given += 1;
        }
        self.accept();
        in_time
    }

    fn top_up(&mut self) {
        let answers = (self.asked + self.ahead).saturating_sub(self.given);
        self.out.resize(self.out.len() + usize::try_from(answers).unwrap_or(0), 0);
        self.given += answers;
    }

    /// Reads a line: a record, a message, or output before the first.
    fn read_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let DownloadState::Calling { by_script: true } = self.state {
            return match split_line(&line) {
                Some((b"ready", count, _)) => {
                    self.state = DownloadState::Receiving;
                    let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
                    self.settle_base(count.unwrap_or(usize::MAX));
                }
                Some((b"stop", ..)) => {
                    self.failures.add(
                        &self.shown(),
                        "the host has neither SFTP nor scp",
                        Some(Remedy::InstallSftpOrScp),
                    );
                    self.end();
                }
                _ => self.note(&line),
            };
        }
        let record = match records::read(&line) {
            Ok(record) => record,
            // Output of a login shell's startup files.
            Err(_) if self.state != DownloadState::Receiving => return self.note(&line),
            Err(reason) => return self.give_up(&self.here(b""), reason),
        };
        if self.state != DownloadState::Receiving {
            self.state = DownloadState::Receiving;
            self.settle_base(self.download.remotes.len());
        }
        if self.state == DownloadState::Receiving {
            self.take(record);
        }
    }

    fn note(&mut self, line: &[u8]) {
        let room = NOISE.saturating_sub(self.noise.len() + 1);
        self.noise.extend_from_slice(&line[..line.len().min(room)]);
        self.noise.push(b'\n');
    }

    /// Returns `name` with the open directories of the peer before it.
    fn here(&self, name: &[u8]) -> Vec<u8> {
        let parent = self.open.last().and_then(|directory| directory.path.as_ref()).map_or(&b""[..], Below::as_bytes);
        match (parent, name) {
            (b"", b"") => self.shown(),
            (b"", name) => name.to_vec(),
            (parent, b"") => parent.to_vec(),
            (parent, name) => [parent, b"/", name].concat(),
        }
    }

    /// Returns the requested paths, for messages about all of them.
    fn shown(&self) -> Vec<u8> {
        self.download.remotes.first().cloned().unwrap_or_default()
    }

    /// Decides the target, by the rules of scp for this many sources.
    fn settle_base(&mut self, count: usize) {
        let Some(target) = &self.download.target else {
            self.base = Some(Base::Into(Below::place()));
            return;
        };
        let mut path = Below::place();
        for name in target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            match path.join(name) {
                Ok(below) => path = below,
                Err(reason) => return self.give_up(&target.clone(), reason),
            }
        }
        let is_there = match self.place.find(&path) {
            Ok(found) => found == Some(Found::Directory),
            Err(error) => {
                self.fail_here(error);
                return self.end();
            }
        };
        self.base = Some(match is_there || count > 1 || target.ends_with(b"/") {
            true => Base::Into(path),
            false => Base::New(path),
        });
    }

    /// Creates the directories that lead to `path`, which is local.
    fn make_parents(&mut self, path: &Below) -> Result<(), PlaceError> {
        let mut parents = Vec::new();
        let mut at = path.clone();
        while let Some((parent, _)) = at.split() {
            at = parent;
            parents.push(at.clone());
        }
        for parent in parents.into_iter().rev() {
            if self.place.make_directory(&parent)? {
                self.place.finish_directory(&parent, Some(local_mode(0o777, false)), None)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Message { fatal, text } => {
                // The peer will not send the file of this message.
                let (path, reason) = split_message(text);
                let wanted = self.wanted.iter_mut().find(|wanted| !wanted.seen && wanted.is_about(&path));
                if let Some(wanted) = wanted {
                    wanted.seen = true;
                }
                match fatal || path.is_empty() {
                    true => self.failures.add(&self.shown(), said(text), None),
                    false => self.failures.add(&path, reason, None),
                }
            }
            Record::Times { modified, accessed } => {
                self.times = Some((accessed, modified));
                self.accept();
            }
            Record::End => self.close(),
            Record::Entry { is_directory, mode, size, name } => self.announced(is_directory, mode, size, name),
        }
    }

    /// Handles a file or directory record.
    fn announced(&mut self, is_directory: bool, mode: u32, size: u64, name: &[u8]) {
        let name = decode_name(name);
        self.records += 1;
        let times = self.times.take().filter(|_| self.download.options.preserve);
        if self.records > 1 {
            self.ahead = AHEAD;
        }
        match self.judge(&name, is_directory) {
            Verdict::Hostile(reason) => return self.give_up(&self.here(&name), &reason),
            Verdict::Take(path) if is_directory => return self.enter(path, mode, times),
            Verdict::Take(path) => return self.begin(path, mode, size, times),
            Verdict::Fail(reason) => self.failures.add(&self.here(&name), reason, None),
            Verdict::Pass => {}
        }
        self.pass_over(is_directory, size);
    }

    /// Skips something: the peer does not send it, or we discard it.
    fn pass_over(&mut self, is_directory: bool, size: u64) {
        if self.state == DownloadState::Over || self.refuse() {
            return;
        }
        if is_directory {
            let names = HashSet::new();
            self.open.push(Directory { path: None, is_new: false, mode: 0, times: None, names });
        } else {
            self.file = Some(Incoming { path: Vec::new(), temporary: None, size, offset: 0, mode: 0, times: None });
        }
    }

    /// Returns how many names are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.names.len() + self.open.iter().map(|directory| directory.names.len()).sum::<usize>()
    }

    /// Decides what to do with `name`.
    fn judge(&mut self, name: &[u8], is_directory: bool) -> Verdict {
        if is_directory && !self.download.options.recursive {
            return Verdict::Hostile("the host sends a directory that was not requested".to_owned());
        }
        self.directories += u64::from(is_directory);
        if self.directories > MOST_DIRECTORIES {
            return Verdict::Hostile(endless());
        }
        let (hash, depth) = (self.hasher.hash_one(name), self.open.len());
        let remembered = self.remembered();
        let (names, path) = match self.open.last_mut() {
            // The contents of a discarded directory are discarded as well.
            Some(Directory { path: None, .. }) if depth >= DEEPEST => {
                return Verdict::Hostile("directories are nested too deep".to_owned());
            }
            Some(Directory { path: None, .. }) => return Verdict::Pass,
            Some(Directory { path: Some(path), names, .. }) => (names, path.join(name)),
            None => match self.judge_top(name, is_directory) {
                Ok(path) => (&mut self.names, Ok(path)),
                Err(verdict) => return verdict,
            },
        };
        match path {
            // A file system may allow longer names than the local one.
            Err(reason) if name.len() > 255 && !name.contains(&b'/') => Verdict::Fail(reason.to_owned()),
            Err(reason) => Verdict::Hostile(format!("the host sends {reason}")),
            Ok(_) if names.contains(&hash) => Verdict::Fail("the host sends this name twice".to_owned()),
            Ok(_) if is_directory && depth >= DEPTH => {
                Verdict::Fail("directories are nested too deep: does a link lead back?".to_owned())
            }
            Ok(path) => {
                if remembered < NAMES {
                    names.insert(hash);
                }
                Verdict::Take(path)
            }
        }
    }

    /// The same at the top level, where only requested names may come.
    fn judge_top(&mut self, name: &[u8], is_directory: bool) -> Result<Below, Verdict> {
        let fits = |wanted: &Wanted| wanted.fits(name);
        let wanted = self.wanted.iter().position(|wanted| !wanted.seen && fits(wanted));
        let Some(wanted) = wanted.or_else(|| self.wanted.iter().position(fits)) else {
            // A shell's `.*` matches these too.
            if matches!(name, b"." | b"..") && self.wanted.iter().any(Wanted::is_dotted) {
                return Err(Verdict::Pass);
            }
            return Err(Verdict::Hostile("the host sends this, which was not requested".to_owned()));
        };
        self.wanted[wanted].seen = true;
        let is_contents = self.wanted[wanted].is_contents();
        if is_contents && !is_directory {
            return Err(Verdict::Hostile("the host sends a file instead of a directory".to_owned()));
        }
        let path = match &self.base {
            Some(Base::New(path)) => path.clone(),
            Some(Base::Into(path)) if is_contents => path.clone(),
            Some(Base::Into(path)) => {
                path.join(name).map_err(|reason| Verdict::Hostile(format!("the host sends {reason}")))?
            }
            None => Below::place(),
        };
        match self.make_parents(&path) {
            Ok(()) => Ok(path),
            Err(error) => {
                self.fail_here(error);
                Err(Verdict::Pass)
            }
        }
    }

    /// Enters a directory.
    fn enter(&mut self, path: Below, mode: u32, times: Option<(u32, u32)>) {
        match self.place.make_directory(&path) {
            Ok(is_new) => {
                self.open.push(Directory { path: Some(path), is_new, mode, times, names: HashSet::new() });
                self.accept();
            }
            Err(error) => {
                self.fail_here(error);
                self.pass_over(true, 0);
            }
        }
    }

    /// Leaves a directory.
    fn close(&mut self) {
        let Some(directory) = self.open.pop() else {
            return self.give_up(&self.shown(), "the host ends a directory that it did not start");
        };
        let preserve = self.download.options.preserve;
        // The root itself is the user's.
        if let Some(path) = directory.path.filter(|path| !path.as_bytes().is_empty() && (directory.is_new || preserve))
            && let Err(error) =
                self.place.finish_directory(&path, Some(local_mode(directory.mode, preserve)), directory.times)
        {
            self.fail_here(error);
        }
        if self.state != DownloadState::Over {
            self.accept();
        }
    }

    /// Starts a file.
    fn begin(&mut self, path: Below, mode: u32, size: u64, times: Option<(u32, u32)>) {
        match self.place.create(&path) {
            Ok(temporary) => {
                let path = path.as_bytes().to_vec();
                self.file = Some(Incoming { path, temporary: Some(temporary), size, offset: 0, mode, times });
                self.total = self.total.saturating_add(size);
                self.accept();
            }
            Err(error) => {
                self.fail_here(error);
                self.pass_over(false, size);
            }
        }
    }

    /// Takes data of the file; returns how many bytes belong to it.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let Some(file) = &mut self.file else { return 0 };
        let left = usize::try_from(file.size - file.offset).unwrap_or(usize::MAX);
        let count = bytes.len().min(left);
        let written = file.temporary.as_ref().map(|temporary| temporary.write(file.offset, &bytes[..count]));
        file.offset += count as u64;
        match written {
            Some(Ok(())) => self.done = self.done.saturating_add(count as u64),
            Some(Err(error)) => {
                file.temporary = None;
                self.fail_here(error);
            }
            None => {}
        }
        count
    }

    /// Handles the peer's status after the data of a file.
    fn finish(&mut self, file: Incoming, message: Option<&[u8]>) {
        match (file.temporary, message) {
            (Some(_), Some(message)) => {
                let (path, reason) = split_message(message);
                let path = if path.is_empty() { file.path } else { path };
                // scp's message for a file with fewer bytes than its size, such as those of sysfs.
                let reason = if reason == SHORT { "it has fewer bytes than its size".to_owned() } else { reason };
                self.failures.add(&path, reason, None);
            }
            (Some(temporary), None) => {
                let mode = local_mode(file.mode, self.download.options.preserve);
                if let Err(error) = temporary.finish(file.size, mode, file.times) {
                    self.fail_here(error);
                }
            }
            (None, _) => {}
        }
        if self.state != DownloadState::Over {
            self.accept();
        }
    }

    /// Takes one byte that is not file data.
    fn take_byte(&mut self, byte: u8) {
        let after_file = self.file.is_some();
        if after_file && self.line.is_empty() && byte == 0 {
            if let Some(file) = self.file.take() {
                self.finish(file, None);
            }
        } else if byte != b'\n' {
            self.line.push(byte);
            if self.line.len() > LINE {
                self.give_up(&self.here(b""), "the host sends an endless line");
            }
        } else if after_file {
            let line = std::mem::take(&mut self.line);
            match (line.split_first(), self.file.take()) {
                (Some((1 | 2, message)), Some(file)) => self.finish(file, Some(message)),
                _ => self.give_up(&self.here(b""), "the host sends more than the file's size"),
            }
        } else {
            self.read_line();
        }
    }

    /// Counts what the peer did not send.
    fn find_missing(&mut self) {
        if let Some(file) = &self.file {
            let path = if file.path.is_empty() { self.shown() } else { file.path.clone() };
            self.failures.add(&path, "the host ended the copy in the middle of this", None);
        } else if !self.open.is_empty() || !self.line.is_empty() {
            self.failures.add(&self.here(b""), "the host ended the copy in the middle of this", None);
        }
        if self.failures.count() == 0 {
            for (wanted, remote) in self.wanted.iter().zip(&self.download.remotes) {
                if !wanted.seen {
                    self.failures.add(remote, "the host did not send it", None);
                }
            }
        }
    }
}

impl Dialogue for Receiving {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        if self.state == DownloadState::Over {
            return Say::Over;
        }
        if self.out.is_empty() {
            return Say::Listening;
        }
        out.append(&mut self.out);
        Say::Said
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.state != DownloadState::Over {
            let mut count = self.fill(bytes);
            if count == 0 {
                count = 1;
                self.take_byte(bytes[0]);
            }
            bytes = &bytes[count..];
            if self.noise.len() >= NOISE && self.state != DownloadState::Receiving {
                self.give_up(&self.shown(), "the host prints something other than answers");
            }
        }
    }

    fn overhear(&mut self, bytes: &[u8]) {
        if matches!(self.state, DownloadState::Calling { .. }) {
            let room = NOISE.saturating_sub(self.noise.len() + 1);
            self.noise.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn abort(&mut self) {
        self.end();
    }

    fn has_begun(&self) -> bool {
        !matches!(self.state, DownloadState::Calling { .. })
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress { done: self.done, total: self.total })
    }

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        if !matches!(channel, Outcome::Exited(_) | Outcome::Signaled { .. } | Outcome::Failed(_)) {
            // Stopped from outside. Remove incomplete files.
            self.file = None;
            self.leave_all();
            return channel;
        }
        match (self.state, &channel) {
            (DownloadState::Calling { .. }, _) => return never_began(&self.shown(), channel, &self.noise),
            (DownloadState::Receiving, Outcome::Failed(_)) => {
                self.file = None;
                self.leave_all();
                return channel;
            }
            (DownloadState::Receiving, _) => self.find_missing(),
            (DownloadState::Over, _) => {}
        }
        self.file = None;
        match (self.failures.take(), channel) {
            (Some(error), _) => error.into(),
            (None, Outcome::Exited(0)) if self.state == DownloadState::Receiving => Outcome::Exited(0),
            (None, channel) => copy_error(&self.shown(), format!("its scp ended with {channel}"), None).into(),
        }
    }
}
