//! The files of an upload, many at once: which are in transfer, and how much of them.

use super::directories::Directories;
use super::file::{File, Stage};
use super::shared::{Shared, WINDOW};
use super::step::FileStep;
use crate::copy::random_tag;
use crate::copy::sftp::packets::Reply;
use crate::copy::sources::Kind;

/// Files in transfer at once.
const ACTIVE: usize = 128;
/// Files that are open or about to be opened at once.
const OPEN: usize = 96;

/// All files of an upload.
#[derive(Debug)]
pub struct Files {
    slots: Vec<Option<File>>,
    /// How many slots are taken.
    active: usize,
    /// The first entry that is not started.
    next: usize,
    /// The suffix of this upload's temporary names.
    tag: String,
}

impl Files {
    /// Starts with no file in transfer.
    pub fn new() -> Files {
        Files { slots: Vec::new(), active: 0, next: 0, tag: random_tag() }
    }

    /// Starts as many as may be in transfer; returns whether all are done.
    pub fn step(&mut self, directories: &Directories, shared: &mut Shared) -> bool {
        let upload = shared.upload.clone();
        let entries = upload.sources.entries();
        if shared.is_full {
            let rest = entries[self.next..].iter().filter(|entry| entry.kind != Kind::Directory).count();
            shared.failures.skip(rest);
            self.next = entries.len();
        }
        let mut unsent: u64 = self.slots.iter().flatten().map(File::unsent).sum();
        while let Some(entry) = entries.get(self.next)
            && self.active < ACTIVE
            && shared.open < OPEN.min(shared.handles)
            && unsent < WINDOW
        {
            let number = self.next;
            self.next += 1;
            let Kind::File { size } = entry.kind else {
                continue;
            };
            let Some(is_fresh) = directories.is_fresh(number, shared) else {
                shared.failures.skip(1);
                continue;
            };
            unsent += size;
            self.active += 1;
            let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
            if slot == self.slots.len() {
                self.slots.push(None);
            }
            let tag = if upload.options.resume { upload.sources.version(number) } else { self.tag.clone() };
            self.slots[slot] = Some(File::begin(slot, number, size, tag, is_fresh, shared));
        }
        self.next == entries.len() && self.active == 0
    }

    /// Sends one piece of one file, or requests one to read back; returns whether there was one.
    pub fn send_piece(&mut self, shared: &mut Shared) -> bool {
        for slot in 0..self.slots.len() {
            if let Some(file) = &mut self.slots[slot]
                && file.send_piece(shared)
            {
                self.settle(slot, shared);
                return true;
            }
        }
        false
    }

    /// Handles the reply to a request about the file in a slot.
    pub fn take(&mut self, slot: usize, ask: FileStep, reply: Reply, shared: &mut Shared) {
        let was_full = shared.is_full;
        if let Some(file) = &mut self.slots[slot] {
            file.take(ask, reply, shared);
        }
        self.settle(slot, shared);
        if shared.is_full && !was_full {
            for slot in 0..self.slots.len() {
                if let Some(file) = &mut self.slots[slot]
                    && file.unsent() > 0
                {
                    file.fail_for_room(shared);
                    self.settle(slot, shared);
                }
            }
        }
    }

    /// Fails all that are in transfer, and removes their written data.
    pub fn abort(&mut self, shared: &mut Shared) {
        for slot in 0..self.slots.len() {
            if let Some(file) = &mut self.slots[slot] {
                file.abort(shared);
                self.settle(slot, shared);
            }
        }
    }

    /// Whether no file is in transfer.
    pub fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// Returns the first entry that is not copied yet.
    pub fn first_left(&self, entries: usize) -> Option<usize> {
        let active = self.slots.iter().flatten().map(File::entry).min();
        active.or(Some(self.next).filter(|next| *next < entries))
    }

    /// Returns the half-written files that remain on the host if the connection is lost now.
    pub fn left(&self) -> impl Iterator<Item = String> {
        self.slots.iter().flatten().filter_map(File::left)
    }

    /// Frees the slot of a finished file.
    fn settle(&mut self, slot: usize, shared: &mut Shared) {
        let Some(mut file) = self.slots[slot].take_if(|file| file.is_over()) else {
            return;
        };
        // It failed before it was opened.
        file.release(shared);
        self.active -= 1;
        match file.into_failure() {
            Ok(Some(failure)) => shared.failures.add_error(failure.into()),
            Ok(None) => {}
            Err(Stage::Done) => shared.copied += 1,
            Err(_) => debug_assert!(false, "a file is over that was neither copied nor given up"),
        }
    }
}
