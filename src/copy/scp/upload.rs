//! Uploads: the side of the SCP protocol that sends.

use std::collections::VecDeque;
use std::sync::Arc;

use super::script::SCRIPT;
use super::{LINE, NOISE, encode, impossible, never_began, said, split_line, split_message, split_tilde};
use crate::copy::failures::{CopyFailures, copy_error};
use crate::copy::sources::{Entry, Kind};
use crate::copy::{Upload, temporary_name};
use crate::events::event::{Outcome, Progress};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::channel::dialogue::{Dialogue, PIECE, Say};

/// The longest name that is sent without waiting for the host's answer. Some file systems allow little more.
const SAFE_NAME: usize = 100;
/// The same limit for a path below the target.
const SAFE_PATH: usize = 1_000;
/// The host's messages for a full disk end in one of these.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// The message for a directory that takes no new file ends in this.
const DENIED: &str = "Permission denied";
/// The messages for a file that may be written but not renamed end in one of these.
const NOT_ALLOWED: [&str; 3] = [DENIED, "Operation not permitted", "Device or resource busy"];

/// Returns the command that [`Sending`] talks to: one line for the host's login shell. `tag` makes its temporary names
/// unpredictable.
pub fn command(upload: &Upload, tag: &str) -> Vec<u8> {
    let options = upload.options;
    let entries = upload.sources.entries();
    let (tilde, rest) = split_tilde(&upload.target);
    // Never an option of a command, and empty only for a home directory.
    let mut target = if rest.first() == Some(&b'-') { b"./".to_vec() } else { Vec::new() };
    target.extend_from_slice(if rest.is_empty() && tilde.is_empty() { b"." } else { rest });
    let contents = entries.iter().any(|entry| entry.path == b".");
    let single = match entries.first() {
        Some(entry) if upload.sources.count() == 1 && !contents => Some(entry),
        _ => None,
    };
    let mut letters = String::new();
    for (letter, is_set) in [
        ('p', options.preserve),
        ('i', options.inplace),
        ('n', single.is_none()),
        ('d', single.is_some_and(|entry| entry.kind == Kind::Directory)),
    ] {
        if is_set {
            letters.push(letter);
        }
    }
    let flags = match (options.recursive, options.preserve) {
        (true, true) => "-r -p",
        (true, false) => "-r",
        (false, true) => "-p",
        (false, false) => "",
    };
    let beside = temporary_name(single.map_or(b"copy", |entry| &entry.path), tag);
    let renamed = temporary_name(target.rsplit(|byte| *byte == b'/').next().unwrap_or_default(), tag);
    // Another tag: different from the names of the directories.
    let elsewhere = temporary_name(b"file", &format!("{tag}-1"));
    let [target, beside, elsewhere, renamed] = [&target, &beside, &elsewhere, &renamed].map(|bytes| encode(bytes));
    format!("{SCRIPT} pssh '{target}' '{tilde}' '{letters}' '{flags}' '{beside}' '{elsewhere}' '{renamed}'")
        .into_bytes()
}

/// Sends the sources of an [`Upload`] to the `scp -t` of [`command`].
pub struct Sending {
    upload: Arc<Upload>,
    state: UploadState,
    /// Unanswered messages, in the order of the answers.
    pending: VecDeque<Sent>,
    /// Whether to wait for the answer to the last record.
    gated: bool,
    /// Whether scp writes into a private directory of this copy.
    private: bool,
    /// Whether the target is a directory that the sources go into.
    is_into: bool,
    /// The size of the existing target file.
    existing: Option<u64>,
    /// The next entry.
    next: usize,
    /// The open directories of scp, as entries.
    open: Vec<usize>,
    /// The file whose data is being sent.
    file: Option<usize>,
    /// How much of it was sent.
    offset: u64,
    /// Why its data is wrong.
    spoilt: bool,
    /// The first piece of the next file, read before its record is sent.
    head: Vec<u8>,
    /// An incomplete line.
    line: Vec<u8>,
    /// Output before the first line of the script, or standard error.
    noise: Vec<u8>,
    heard: usize,
    /// Whether the script has answered.
    begun: bool,
    failures: CopyFailures,
    /// Files that must not be moved into place.
    dropped: Vec<usize>,
    /// Why nothing is copied.
    fatal: Option<HostError>,
    done: u64,
}

/// The state of the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadState {
    /// No answer from the script yet.
    Calling,
    /// The script is ready; scp's first answer is missing.
    Greeting,
    /// Files are being sent.
    Copying,
    /// All is sent and answered; the script must report the end of scp.
    Ending,
    /// The received files may be moved into place.
    Deciding,
    /// The script must report that it is done.
    Settling,
    /// All files are in place.
    Done,
    /// The dialogue is over.
    Over,
}

/// A message that scp answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Times of the next record.
    Times,
    /// The record of an entry.
    Record(usize),
    /// The data of a file.
    Data(usize),
    /// The end of a directory, or of all files.
    End,
}

impl Sending {
    /// Creates the dialogue for `upload`.
    pub fn new(upload: Arc<Upload>) -> Sending {
        let fatal = impossible(upload.options, &upload.target);
        let is_into = upload.sources.count() != 1;
        Sending {
            state: if fatal.is_some() { UploadState::Over } else { UploadState::Calling },
            upload,
            pending: VecDeque::new(),
            gated: false,
            private: false,
            is_into,
            existing: None,
            next: 0,
            open: Vec::new(),
            file: None,
            offset: 0,
            spoilt: false,
            head: Vec::new(),
            line: Vec::new(),
            noise: Vec::new(),
            heard: 0,
            begun: false,
            failures: CopyFailures::default(),
            dropped: Vec::new(),
            fatal,
            done: 0,
        }
    }

    fn entry(&self, number: usize) -> &Entry {
        &self.upload.sources.entries()[number]
    }

    /// Returns the remote path of the source `path`.
    fn there(&self, path: &[u8]) -> Vec<u8> {
        let target = &self.upload.target;
        // Its first name is replaced by the target's.
        let inside = path.iter().position(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[slash + 1..]);
        let inside = if self.is_into { path } else { inside };
        let slash: &[u8] = if target.is_empty() || target.ends_with(b"/") || inside.is_empty() { b"" } else { b"/" };
        [target, slash, inside].concat()
    }

    /// Counts the source `path` as not copied.
    fn add_failure(&mut self, path: &[u8], reason: &str) {
        // The existing file takes as much room as the new one: overwriting it needs none.
        let is_full = FULL.contains(&reason) && self.private;
        let size = self.upload.sources.total();
        let hint =
            (is_full && self.existing.is_some_and(|existing| existing >= size)).then_some(Remedy::InPlaceForRoom);
        let path = self.there(path);
        self.failures.add(&path, reason, hint);
    }

    /// Ends the dialogue: nothing is moved into place.
    fn give_up(&mut self, reason: &str) {
        if self.fatal.is_none() {
            self.fatal = Some(copy_error(&self.upload.target, reason, None));
        }
        self.state = UploadState::Over;
    }

    /// The same because of one entry, whose failure fails all others.
    fn give_up_all(&mut self, path: &[u8], reason: &str) {
        self.add_failure(path, reason);
        let entries = self.upload.sources.entries().iter();
        let files = entries.filter(|entry| entry.kind != Kind::Directory).count();
        self.failures.skip(files.saturating_sub(self.failures.count()));
        self.state = UploadState::Over;
    }

    /// Sends the next record, or the next piece of a file; returns whether there was one.
    fn copy(&mut self, out: &mut Vec<u8>) -> bool {
        if self.gated {
            return false;
        }
        if let Some(number) = self.file {
            self.send_piece(number, out);
            return true;
        }
        if self.next < self.upload.sources.entries().len() {
            self.send_record(out);
            return true;
        }
        // An end without a start also ends scp.
        out.extend_from_slice(b"E\n");
        self.pending.push_back(Sent::End);
        if self.open.pop().is_none() {
            self.state = UploadState::Ending;
        }
        true
    }

    /// Sends the record of the next entry, or ends the directory before it.
    fn send_record(&mut self, out: &mut Vec<u8>) {
        let number = self.next;
        let entry = self.entry(number).clone();
        let path = below(&entry.path);
        if path == b"." {
            self.next += 1;
            return;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let parent = &path[..slash.unwrap_or(0)];
        if self.open.last().is_some_and(|open| below(&self.entry(*open).path) != parent) {
            out.extend_from_slice(b"E\n");
            self.pending.push_back(Sent::End);
            self.open.pop();
            return;
        }
        let name = &path[slash.map_or(0, |slash| slash + 1)..];
        if name.contains(&b'\n') {
            return self.skip(number, "its name has a line break, which the SCP protocol cannot send");
        }
        let (letter, size) = match entry.kind {
            Kind::Directory => ('D', 0),
            Kind::File { size } => ('C', size),
        };
        self.head.clear();
        let piece = usize::try_from(size).map_or(PIECE, |size| size.min(PIECE));
        // An unreadable file is not started.
        if let (Kind::File { .. }, sources) = (entry.kind, &self.upload.sources)
            && let Err(reason) = sources.read(number, 0, piece, &mut self.head)
        {
            return self.skip(number, &reason);
        }
        if self.upload.options.preserve {
            out.extend_from_slice(format!("T{} 0 {} 0\n", entry.modified, entry.accessed).as_bytes());
            self.pending.push_back(Sent::Times);
        }
        out.extend_from_slice(format!("{letter}{:04o} {size} ", entry.mode).as_bytes());
        out.extend_from_slice(name);
        out.push(b'\n');
        self.pending.push_back(Sent::Record(number));
        // scp would take the data of a refused file for records.
        self.gated = !(self.private && size <= PIECE as u64 && is_safe(name) && path.len() <= SAFE_PATH);
        self.next += 1;
        match entry.kind {
            Kind::Directory => self.open.push(number),
            Kind::File { .. } => self.file = Some(number),
        }
        (self.offset, self.spoilt) = (0, false);
    }

    /// Sends the next piece of the file `number`, and its end.
    fn send_piece(&mut self, number: usize, out: &mut Vec<u8>) {
        let Kind::File { size } = self.entry(number).kind else { return };
        let left = size - self.offset;
        let piece = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        if self.offset == 0 {
            out.append(&mut self.head);
        } else if self.spoilt {
            out.resize(out.len() + piece, 0);
        } else if let Err(reason) = self.upload.sources.read(number, self.offset, piece, out) {
            // scp waits for as many bytes as announced.
            out.resize(out.len() + piece, 0);
            self.spoilt = true;
            self.fail(number, &reason);
        }
        self.offset += piece as u64;
        self.done += piece as u64;
        if self.offset == size {
            let end: &[u8] = if self.spoilt { b"\x01the file could not be read\n" } else { b"\0" };
            out.extend_from_slice(end);
            self.pending.push_back(Sent::Data(number));
            self.file = None;
        }
    }

    /// Sends which files may be moved into place, now that scp has ended.
    fn decide(&mut self, out: &mut Vec<u8>) -> bool {
        for number in std::mem::take(&mut self.dropped) {
            let path = encode(below(&self.entry(number).path));
            out.extend_from_slice(format!("drop {path}\n").as_bytes());
        }
        out.extend_from_slice(b"keep\n");
        self.state = UploadState::Settling;
        false
    }

    /// Counts the entry `number` as failed and drops its received data.
    fn fail(&mut self, number: usize, reason: &str) {
        let path = below(&self.entry(number).path).to_vec();
        self.add_failure(&path, reason);
        self.dropped.push(number);
    }

    /// Counts the entry `number` and everything in it as failed, without sending any of it.
    fn skip(&mut self, number: usize, reason: &str) {
        let path = below(&self.entry(number).path).to_vec();
        self.add_failure(&path, reason);
        self.next = number + 1;
        let inside = [&path[..], b"/"].concat();
        while self.next < self.upload.sources.entries().len() {
            if !below(&self.entry(self.next).path).starts_with(&inside) {
                break;
            }
            self.next += 1;
            self.failures.skip(1);
        }
    }

    /// Sends none of the remaining files: the host's disk is full.
    fn skip_rest(&mut self) {
        self.failures.skip(self.upload.sources.entries().len() - self.next);
        self.next = self.upload.sources.entries().len();
    }

    /// Takes an answer of scp: OK, or its message.
    fn answered(&mut self, message: Option<&[u8]>) {
        let (path, reason) = message.map(split_message).unwrap_or_default();
        // scp reports this about an ended directory in addition to the answer.
        if message.is_some()
            && (path.ends_with(b": set times") || path.ends_with(b": set mode"))
            && !matches!(self.pending.front(), Some(Sent::Data(_)))
        {
            return self.failures.add(&path, reason, None);
        }
        let Some(sent) = self.pending.pop_front() else {
            return self.give_up(&match message {
                Some(_) => reason,
                None => "the host sends more answers than requests".to_owned(),
            });
        };
        let was_gate = self.pending.is_empty() && std::mem::take(&mut self.gated);
        if message.is_none() {
            return;
        }
        match sent {
            Sent::Data(number) => {
                if self.dropped.last() != Some(&number) {
                    self.fail(number, &reason);
                }
                if FULL.contains(&reason.as_str()) && self.file.is_none() && !self.gated {
                    self.skip_rest();
                }
            }
            Sent::Record(number) if was_gate => {
                if self.entry(number).kind == Kind::Directory {
                    self.open.pop();
                }
                self.file = None;
                self.skip(number, &reason);
                if FULL.contains(&reason.as_str()) {
                    self.skip_rest();
                }
            }
            // The data after it was not meant for records.
            Sent::Record(number) => {
                let path = below(&self.entry(number).path).to_vec();
                self.give_up_all(&path, &reason);
            }
            Sent::Times | Sent::End => self.give_up(&reason),
        }
    }

    /// Handles a line of the script.
    fn told(&mut self, word: &[u8], path: &[u8], reason: &str) {
        self.begun = true;
        match (word, self.state) {
            (b"ready", UploadState::Calling) => {
                let mut words = path.split(|byte| *byte == b' ').map(|word| str::from_utf8(word).unwrap_or_default());
                self.private = words.next() == Some("new");
                let there = words.next().unwrap_or_default();
                self.is_into |= there == "in";
                self.existing = there.parse().ok();
                self.state = UploadState::Greeting;
            }
            (b"shut", UploadState::Calling) => {
                let reason = if reason.is_empty() { "the host refuses it without a reason" } else { reason };
                let hint = (reason == DENIED).then_some(Remedy::InPlaceForNoNewFile);
                self.fatal = Some(copy_error(path, reason, hint));
                self.state = UploadState::Over;
            }
            (b"stop", UploadState::Calling) => {
                self.fatal = Some(match path {
                    b"" => copy_error(
                        &self.upload.target,
                        "the host has neither SFTP nor scp",
                        Some(Remedy::InstallSftpOrScp),
                    ),
                    _ if reason.is_empty() => copy_error(path, "the host refuses it without a reason", None),
                    _ => copy_error(path, reason, None),
                });
                self.state = UploadState::Over;
            }
            (b"end", UploadState::Ending) if self.private => self.state = UploadState::Deciding,
            (b"end", UploadState::Ending) => self.state = UploadState::Settling,
            (b"fail", UploadState::Settling) => {
                let path = if path.is_empty() { self.upload.target.clone() } else { self.there(path) };
                let reason = if reason.is_empty() { "it cannot be moved into place" } else { reason };
                self.failures.add(&path, reason, None);
            }
            (b"held", UploadState::Settling) => {
                let hint = NOT_ALLOWED.contains(&reason).then_some(Remedy::InPlaceForNoRename);
                let reason = match FULL.contains(&reason) {
                    true => reason.to_owned(),
                    false => format!("the new file cannot take its place: {reason}"),
                };
                self.failures.add(&self.there(path), reason, hint);
            }
            (b"done", UploadState::Settling) => self.state = UploadState::Done,
            _ => self.give_up("the host sends an unexpected answer"),
        }
    }

    /// Handles a line of text: one of the script, or something else.
    fn read_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match split_line(&line) {
            Some((word, path, reason)) => self.told(word, path, &reason),
            None if self.state == UploadState::Calling && self.noise.len() < NOISE => {
                self.noise.extend_from_slice(&line);
                self.noise.push(b'\n');
            }
            // Output of a command of the script.
            None => {}
        }
    }

    /// Whether scp is the peer now, and not the script.
    fn hears_scp(&self) -> bool {
        matches!(self.state, UploadState::Greeting | UploadState::Copying)
            || (self.state == UploadState::Ending && !self.pending.is_empty())
    }
}

impl Dialogue for Sending {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        let start = out.len();
        while out.len() - start < PIECE {
            let more = match self.state {
                UploadState::Copying => self.copy(out),
                UploadState::Deciding => self.decide(out),
                _ => false,
            };
            if !more {
                break;
            }
        }
        match self.state {
            _ if out.len() > start => Say::Said,
            UploadState::Done | UploadState::Over => Say::Over,
            _ => Say::Listening,
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if matches!(self.state, UploadState::Calling) {
            self.heard = self.heard.saturating_add(bytes.len());
        }
        for &byte in bytes {
            if self.state == UploadState::Over {
                return;
            }
            if self.hears_scp() && self.line.is_empty() && byte == 0 {
                match self.state {
                    UploadState::Greeting => self.state = UploadState::Copying,
                    _ => self.answered(None),
                }
            } else if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > LINE || self.heard > NOISE {
                    self.give_up("the host prints something other than answers");
                }
            } else if !self.hears_scp() {
                self.read_line();
            } else {
                let line = std::mem::take(&mut self.line);
                match line.split_first() {
                    Some((1, message)) if self.state == UploadState::Copying || self.state == UploadState::Ending => {
                        self.answered(Some(message));
                    }
                    Some((1 | 2, message)) => self.give_up(&said(message)),
                    _ if split_line(&line).is_some() => self.give_up("its scp ended too early"),
                    _ => self.give_up(&said(&line)),
                }
            }
        }
    }

    fn overhear(&mut self, bytes: &[u8]) {
        if self.state == UploadState::Calling {
            let room = NOISE.saturating_sub(self.noise.len());
            self.noise.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn abort(&mut self) {
        // The end of the input makes the script remove its files. Files that may be moved are being moved already.
        if !matches!(self.state, UploadState::Settling | UploadState::Done) {
            self.state = UploadState::Over;
        }
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress { done: self.done, total: self.upload.sources.total() })
    }

    fn conclude(&mut self, channel: Outcome) -> Outcome {
        let outcome = self.ending(channel);
        self.upload.sources.with_skipped(outcome)
    }
}

impl Sending {
    /// Returns the outcome of copying the readable sources.
    fn ending(&mut self, channel: Outcome) -> Outcome {
        if self.state == UploadState::Done {
            return self.failures.take().map_or(Outcome::Exited(0), Outcome::from);
        }
        if !matches!(channel, Outcome::Exited(_) | Outcome::Signaled { .. } | Outcome::Failed(_)) {
            // Stopped from outside.
            return channel;
        }
        if let Some(error) = self.fatal.take().or_else(|| self.failures.take()) {
            return error.into();
        }
        if !self.begun {
            return never_began(&self.upload.target, channel, &self.noise);
        }
        if matches!(channel, Outcome::Failed(_)) {
            return channel;
        }
        let reason = format!("the host ended the copy too early ({channel})");
        copy_error(&self.upload.target, reason, None).into()
    }
}

/// Returns the path of an entry below scp's directory: the contents of a source named `.` are directly in it.
fn below(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"./").unwrap_or(path)
}

/// Whether every file system allows this name.
fn is_safe(name: &[u8]) -> bool {
    name.len() <= SAFE_NAME
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b" ._-+=@,~".contains(byte))
        && !name.starts_with(b" ")
        && !name.ends_with(b" ")
        && !name.ends_with(b".")
}
