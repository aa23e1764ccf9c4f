//! The directories of a download: which are open on the host, what remains to be copied from them, and in which order.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::copy::download_root::Below;
use crate::copy::sftp::packets::Attributes;
use crate::copy::{MOST_DIRECTORIES, endless};

/// Levels of directories that are followed.
const DEPTH: usize = 64;
/// Pending list requests.
const LISTING: usize = 64;
/// Directories open on the host at once. Where nothing else can be done, one more per level may be.
const OPEN: usize = 64;
/// Waiting entries above which no more are requested.
const WAITING: usize = 20_000;
/// Most waiting entries, if answers are longer than those of usual servers: about 40 MiB.
const MOST_WAITING: usize = 1 << 18;
/// Waiting files of one directory above which no more of its entries are requested.
const AHEAD: usize = 256;
/// Pending list requests for one directory: the second mostly learns that there is no more.
const LISTS: usize = 2;
/// Names remembered at once, to refuse duplicates: about 40 MiB. Up to half of that, many directories may be open.
const NAMES: usize = if cfg!(test) { 1 << 14 } else { 1 << 21 };
/// Entries of one directory, good or bad, before its list counts as endless.
const ENTRIES: usize = if cfg!(test) { 1 << 16 } else { 1 << 22 };

/// Number of the directory that stands for the command line: its entries are the requested paths.
pub(super) const TOP: u64 = 0;

/// Something to copy.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its local name; `None` for the directory that the requested paths go into.
    pub(super) name: Option<Vec<u8>>,
    /// Its remote path, if that does not follow from its name.
    pub(super) path: Option<Vec<u8>>,
    /// Its attributes.
    pub(super) attributes: Attributes,
    /// The path of a directory without links, if that does not follow from its name.
    pub(super) real: Option<Vec<u8>>,
}

/// One directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) parent: Option<u64>,
    /// Its remote path.
    pub(super) remote: Vec<u8>,
    /// The same without links.
    real: Vec<u8>,
    pub(super) local: Below,
    depth: usize,
    pub(super) attributes: Attributes,
    /// Whether it is a remote directory with a local copy, not the target directory.
    pub(super) is_own: bool,
    /// Whether the local directory exists, and was created for this copy.
    pub(super) made: Option<bool>,
    pub(super) handle: Option<Vec<u8>>,
    /// Pending requests about it.
    asked: usize,
    /// The server sent the end of its list.
    ended: bool,
    /// Its list is complete, or no more is requested.
    pub(super) listed: bool,
    seen: HashSet<u64>,
    /// How many entries the server sent.
    entries: usize,
    files: VecDeque<Entry>,
    directories: VecDeque<Entry>,
    /// Entries taken from those two that are not finished.
    pending: usize,
}

impl Directory {
    /// Returns the path of an entry.
    fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
        let slash: &[u8] = if path.is_empty() || path.ends_with(b"/") { b"" } else { b"/" };
        [path, slash, name].concat()
    }

    fn is_over(&self) -> bool {
        self.listed && self.asked == 0 && self.pending == 0 && self.files.is_empty() && self.directories.is_empty()
    }
}

/// All unfinished directories.
#[derive(Debug, Default)]
pub(super) struct Directories {
    all: BTreeMap<u64, Directory>,
    next: u64,
    /// Those with waiting files, with waiting directories, or without a complete list.
    with_files: BTreeSet<u64>,
    with_directories: BTreeSet<u64>,
    unlisted: BTreeSet<u64>,
    /// Pending requests to list and open directories.
    listing: usize,
    /// Waiting entries, without those requested by name.
    waiting: usize,
    /// Remembered names.
    names: usize,
    hashing: RandomState,
    /// Directories that may be open on the host at once, without those of the levels above.
    most_open: usize,
}

impl Directories {
    /// Starts with the one that stands for the command line: `local` is the directory that it goes into.
    pub(super) fn new(local: Below) -> Directories {
        let top = Directory { local, ended: true, listed: true, ..Directory::default() };
        Directories { all: BTreeMap::from([(TOP, top)]), next: TOP + 1, most_open: OPEN, ..Directories::default() }
    }

    /// Limits the open directories to what a server with `handles` allows; half of those are for files.
    pub(super) fn limit(&mut self, handles: usize) {
        self.most_open = OPEN.min(handles / 2).max(1);
    }

    /// Returns all unfinished ones, each before its parent: they are numbered from the top.
    pub(super) fn deepest_first(self) -> impl Iterator<Item = Directory> {
        self.all.into_values().rev()
    }

    /// Returns how many directories are open on the host, or being opened.
    pub(super) fn open_there(&self) -> usize {
        self.unlisted.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Directory> {
        self.all.get(&id)
    }

    /// Returns how many entries wait, and how many directories are open on the host.
    #[cfg(test)]
    pub(super) fn load(&self) -> (usize, usize) {
        (self.waiting, self.unlisted.len())
    }

    /// Whether everything is finished.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn has_files(&self) -> bool {
        !self.with_files.is_empty()
    }

    /// Returns the remote path of an entry.
    pub(super) fn remote(&self, parent: u64, entry: &Entry) -> Vec<u8> {
        match (&entry.path, self.all.get(&parent)) {
            (Some(path), _) => path.clone(),
            (None, Some(parent)) => Directory::below(&parent.remote, entry.name.as_deref().unwrap_or_default()),
            (None, None) => Vec::new(),
        }
    }

    /// Counts received entries of a directory; returns whether the list may go on.
    pub(super) fn count(&mut self, id: u64, entries: usize) -> bool {
        let Some(directory) = self.all.get_mut(&id) else { return false };
        directory.entries += entries;
        entries > 0 && directory.entries <= ENTRIES
    }

    /// Checks that no other entry of its directory has this name, as far as names are remembered.
    ///
    /// # Errors
    /// There are more names than fit into memory.
    pub(super) fn admit(&mut self, id: u64, name: &[u8]) -> Result<bool, String> {
        // Entries that go into the same directory as all requested paths must not meet one of those there.
        let top = self.all.get(&TOP).map(|top| &top.local);
        let owner = if self.all.get(&id).map(|directory| &directory.local) == top { TOP } else { id };
        let hash = self.hashing.hash_one(name);
        let Some(directory) = self.all.get_mut(&owner) else { return Ok(false) };
        if self.names >= NAMES || self.waiting >= MOST_WAITING {
            return Err("too many files in it".to_owned());
        }
        let is_new = directory.seen.insert(hash);
        self.names += usize::from(is_new);
        Ok(is_new)
    }

    /// Adds an entry to copy.
    pub(super) fn wait(&mut self, id: u64, entry: Entry) {
        let Some(directory) = self.all.get_mut(&id) else { return };
        self.waiting += usize::from(id != TOP);
        if entry.attributes.is_directory() && (entry.path.is_none() || entry.real.is_some()) {
            directory.directories.push_back(entry);
            self.with_directories.insert(id);
        } else {
            directory.files.push_back(entry);
            self.with_files.insert(id);
        }
    }

    /// Returns the next non-directory, as far as known, of the newest directory: those that are nearly finished come
    /// first.
    pub(super) fn next_file(&mut self) -> Option<(u64, Entry)> {
        let id = *self.with_files.last()?;
        let files = &mut self.all.get_mut(&id)?.files;
        let entry = files.pop_front()?;
        if files.is_empty() {
            self.with_files.remove(&id);
        }
        self.begun(id, entry)
    }

    /// Returns the next directory to open, if one may be opened; `idle`: nothing else is in progress.
    pub(super) fn next_directory(&mut self, idle: bool) -> Option<(u64, Entry)> {
        let has_room = self.listing < LISTING
            && self.unlisted.len() < self.most_open
            && self.waiting < WAITING
            && self.names < NAMES / 2;
        if !(has_room || idle && self.listing == 0) {
            return None;
        }
        let id = *self.with_directories.last()?;
        let directories = &mut self.all.get_mut(&id)?.directories;
        let entry = directories.pop_front()?;
        if directories.is_empty() {
            self.with_directories.remove(&id);
        }
        self.begun(id, entry)
    }

    fn begun(&mut self, id: u64, entry: Entry) -> Option<(u64, Entry)> {
        self.all.get_mut(&id)?.pending += 1;
        self.waiting -= usize::from(id != TOP);
        Some((id, entry))
    }

    /// Adds a directory that is being opened. Returns its number.
    ///
    /// # Errors
    /// It, or one of its parents, is too deep; the reason in words.
    pub(super) fn open(&mut self, parent: u64, entry: Entry, local: Below) -> Result<u64, String> {
        let remote = self.remote(parent, &entry);
        let above = self.all.get(&parent).ok_or("its directory is gone")?;
        if above.depth == DEPTH {
            return Err(format!("more than {DEPTH} nested directories"));
        }
        if self.next > MOST_DIRECTORIES {
            return Err(endless());
        }
        let name = entry.name.as_deref().unwrap_or_default();
        let real = entry.real.unwrap_or_else(|| Directory::below(&above.real, name));
        if self.is_within(parent, &real) {
            return Err("it is one of its own parent directories".to_owned());
        }
        let directory = Directory {
            parent: Some(parent),
            remote,
            real,
            local,
            depth: above.depth + 1,
            attributes: entry.attributes,
            is_own: entry.name.is_some(),
            asked: 1,
            ..Directory::default()
        };
        let id = self.next;
        self.next += 1;
        self.all.insert(id, directory);
        self.unlisted.insert(id);
        self.listing += 1;
        Ok(id)
    }

    /// Counts an answered request about a directory.
    pub(super) fn answered(&mut self, id: u64) {
        self.listing = self.listing.saturating_sub(1);
        if let Some(directory) = self.all.get_mut(&id) {
            directory.asked = directory.asked.saturating_sub(1);
        }
    }

    /// Records that the remote directory is open, and that the local one exists.
    pub(super) fn opened(&mut self, id: u64, handle: Vec<u8>, is_new: bool) {
        if let Some(directory) = self.all.get_mut(&id) {
            (directory.handle, directory.made) = (Some(handle), Some(is_new));
        }
    }

    /// Returns the next directory whose list goes on, and its handle; `idle` as above.
    pub(super) fn next_list(&mut self, idle: bool) -> Option<(u64, Vec<u8>)> {
        let has_room = self.listing < LISTING && self.waiting < WAITING;
        // Without room only the newest one goes on, and only if no newer one is to be opened: so this ends.
        let oldest = if has_room {
            TOP
        } else if idle && self.listing == 0 {
            *self.unlisted.last()?.max(self.with_directories.last().unwrap_or(&TOP))
        } else {
            return None;
        };
        for id in self.unlisted.range(oldest..).rev() {
            let Some(directory) = self.all.get_mut(id) else { continue };
            let wants = directory.asked < LISTS && directory.files.len() < AHEAD && directory.directories.is_empty();
            if let (Some(handle), true) = (&directory.handle, wants && !directory.ended) {
                directory.asked += 1;
                self.listing += 1;
                return Some((*id, handle.clone()));
            }
        }
        None
    }

    /// Ends the list of a directory; entries of an answer that is under way still count.
    pub(super) fn ended(&mut self, id: u64) {
        if let Some(directory) = self.all.get_mut(&id) {
            directory.ended = true;
        }
    }

    /// Ends the list of a directory, or gives up on it.
    pub(super) fn listed(&mut self, id: u64) {
        if let Some(directory) = self.all.get_mut(&id) {
            directory.listed = true;
            self.names -= directory.seen.len();
            directory.seen = HashSet::new();
        }
        self.unlisted.remove(&id);
    }

    /// Returns the handle of a directory that is listed and can be closed.
    pub(super) fn take_handle(&mut self, id: u64) -> Option<Vec<u8>> {
        let directory = self.all.get_mut(&id).filter(|directory| directory.asked == 0)?;
        if directory.ended && !directory.listed {
            self.listed(id);
        }
        self.all.get_mut(&id).filter(|directory| directory.listed)?.handle.take()
    }

    /// Counts a finished entry of a directory.
    pub(super) fn child_over(&mut self, id: u64) {
        if let Some(directory) = self.all.get_mut(&id) {
            directory.pending = directory.pending.saturating_sub(1);
        }
    }

    /// Removes a directory if it is finished. Then its parent may be finished, too.
    pub(super) fn take_over(&mut self, id: u64) -> Option<Directory> {
        if !self.all.get(&id)?.is_over() {
            return None;
        }
        self.all.remove(&id)
    }

    /// Whether a directory with this path, without links, is `id` or one of its parents.
    fn is_within(&self, id: u64, real: &[u8]) -> bool {
        let mut next = Some(id);
        while let Some(directory) = next.and_then(|id| self.all.get(&id)) {
            if directory.parent.is_some() && directory.real == real {
                return true;
            }
            next = directory.parent;
        }
        false
    }
}
