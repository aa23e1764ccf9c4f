//! The local files and directories of an upload: found and checked before the first connection.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openssl::sha::Sha256;

use super::blocks::{BLOCK, BUDGET, Blocks, Gate};
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::system::lock::lock;
use crate::text::message::reason;

/// How many problems an error names; the rest is counted.
const NAMED: usize = 5;
/// Files kept open; as many more may be being read.
const OPEN_FILES: usize = 16;
/// Bytes that [`Sources::hash_some`] hashes at once: milliseconds.
const HASHED_AT_ONCE: u64 = 1024 * 1024;
/// Levels of directories that are followed.
const DEPTH: usize = 256;
/// Most files and directories of a copy: links can make a small tree endless.
const ENTRIES: usize = if cfg!(test) { 1 << 14 } else { 1 << 21 };
/// Most bytes of their paths.
const PATHS: usize = 1 << 29;
/// The largest file whose size may be wrong: files of sysfs report a page.
const PAGE: u64 = 64 * 1024;
/// Most bytes of a file whose contents are generated on reading, and of all of those.
const MADE: usize = 16 << 20;
const ALL_MADE: usize = 64 << 20;
/// The error for a file that is not the one that was found.
const CHANGED: &str = "it changed while it was copied";

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
}

/// One file or directory to copy.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path below the target, `/` between components. The first is the name of its source on the command line: the
    /// last component as written, or `.` if that names no entry of a directory (`.`, `..`, `/`): then its contents go
    /// into the target itself.
    pub path: Vec<u8>,
    /// Its local path.
    pub local: PathBuf,
    /// Its permission bits, within 0o777: setuid and the like are not copied.
    pub mode: u32,
    /// Access time, in seconds since 1970.
    pub accessed: u32,
    /// Modification time, in seconds since 1970.
    pub modified: u32,
    /// Its type.
    pub kind: Kind,
    /// The number of its source on the command line, from 0.
    pub source: usize,
}

impl Entry {
    /// Returns its depth below its source.
    pub fn depth(&self) -> usize {
        self.path.iter().filter(|byte| **byte == b'/').count()
    }
}

/// Identifies a file as the one that was found, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The SHA-256 of a file so far.
#[derive(Default)]
struct Checksum {
    hashed: u64,
    sha: Option<Box<Sha256>>,
    sum: Option<[u8; 32]>,
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes hashed", self.hashed)
    }
}

/// The files and directories copied to every host.
#[derive(Debug)]
pub struct Sources {
    entries: Vec<Entry>,
    /// One per entry, like all of the following.
    stamps: Vec<Stamp>,
    parents: Vec<Option<usize>>,
    checksums: Vec<Mutex<Checksum>>,
    /// The entries that are directories, by depth.
    directories: Vec<usize>,
    /// The contents of files with a wrong size, those of procfs and sysfs, by entry.
    made: HashMap<usize, Vec<u8>>,
    /// What was found and is not copied.
    skipped: Vec<Problem>,
    count: usize,
    total: u64,
    blocks: Blocks,
    /// Open files, the most recently used at the end.
    files: Mutex<VecDeque<(usize, Arc<File>)>>,
    /// Limits how many threads read from the disk at once.
    gate: Gate,
}

impl Sources {
    /// Finds `paths`, with `recursive` also directories and all their contents. Symbolic links are followed, as in scp.
    /// Every file is opened once: unreadable files are known before the first connection. `option` is the option for
    /// `recursive`. As in scp, the rest is copied if part of a directory cannot be, and if a path names a special
    /// file, or a directory without `recursive`: see [`Sources::with_skipped`].
    ///
    /// # Errors
    /// Paths that name nothing readable, sources that would overwrite each other, or nothing left to copy.
    pub fn find(paths: &[PathBuf], recursive: bool, option: Option<&'static str>) -> Result<Sources, SourcesError> {
        let mut walk = Walk { recursive, option, ..Walk::default() };
        for (source, path) in paths.iter().enumerate() {
            walk.source = source;
            walk.take(path, name_of(path));
        }
        walk.find_collisions(paths);
        if !walk.problems.is_empty() {
            return Err(SourcesError { problems: walk.problems });
        }
        if walk.entries.is_empty() {
            return Err(SourcesError { problems: walk.skipped });
        }
        let total = walk.stamps.iter().zip(&walk.entries).map(|(stamp, entry)| match entry.kind {
            Kind::File { .. } => stamp.size,
            Kind::Directory => 0,
        });
        let total = total.fold(0, u64::saturating_add);
        let is_directory = |entry: &usize| walk.entries[*entry].kind == Kind::Directory;
        let mut directories: Vec<usize> = (0..walk.entries.len()).filter(is_directory).collect();
        directories.sort_by_key(|entry| walk.entries[*entry].depth());
        let checksums = walk.entries.iter().map(|_| Mutex::default()).collect();
        Ok(Sources {
            entries: walk.entries,
            stamps: walk.stamps,
            parents: walk.parents,
            checksums,
            directories,
            made: walk.made,
            skipped: walk.skipped,
            count: paths.len(),
            total,
            blocks: Blocks::new(BUDGET),
            files: Mutex::default(),
            gate: Gate::new(OPEN_FILES),
        })
    }

    /// Returns the entries: parents before their contents, otherwise by name, the sources in the order of the command
    /// line.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entry of an entry's parent directory; `None` for a source itself.
    pub fn parent(&self, entry: usize) -> Option<usize> {
        self.parents[entry]
    }

    /// Returns the entries that are directories, the deepest last.
    pub fn directories(&self) -> &[usize] {
        &self.directories
    }

    /// Returns a tag that another version of a file would not have: made from its size and modification time.
    pub fn version(&self, entry: usize) -> String {
        let Stamp { size, modified: (seconds, nanoseconds), .. } = self.stamps[entry];
        format!("{size:x}-{seconds:x}.{nanoseconds:x}")
    }

    /// Returns how many sources the command line named.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adjusts the `outcome` of a host that got all readable sources, or less: skipped ones were not copied to it
    /// either.
    pub fn with_skipped(&self, outcome: Outcome) -> Outcome {
        let Some(Problem { path, reason }) = self.skipped.first() else { return outcome };
        match outcome {
            Outcome::Exited(0) => {
                let named = self.skipped.len().min(NAMED);
                let more: String = self.skipped[1..named].iter().map(|problem| format!("; {problem}")).collect();
                HostError::Copy {
                    path: path.display().to_string(),
                    reason: format!("{reason}{more}"),
                    others: self.skipped.len() - named,
                    hint: None,
                }
                .into()
            }
            Outcome::Failed(mut error) => {
                if let HostError::Copy { others, .. } = &mut *error {
                    *others += self.skipped.len();
                }
                Outcome::Failed(error)
            }
            other => other,
        }
    }

    /// Describes what was found and is not copied.
    pub fn skipped(&self) -> Option<String> {
        let mut named: Vec<String> = self.skipped.iter().take(NAMED).map(Problem::to_string).collect();
        match self.skipped.len().saturating_sub(NAMED) {
            0 => {}
            more => named.push(format!("{more} more")),
        }
        (!named.is_empty()).then(|| named.join("; "))
    }

    /// Returns the most descriptors that all hosts together use to read the files.
    pub const DESCRIPTORS: u64 = 2 * OPEN_FILES as u64;

    /// Returns the total size of all files.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Appends exactly `length` bytes of a file, from `offset` on. Data that several hosts need is read from the disk
    /// once, as long as memory for that suffices.
    ///
    /// # Errors
    /// The file cannot be read, or has changed since it was found. Nothing is appended then.
    pub fn read(&self, entry: usize, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let before = out.len();
        let size = self.stamps[entry].size;
        let end = offset.checked_add(length as u64).filter(|end| *end <= size).ok_or("it has fewer bytes")?;
        if let Some(made) = self.made.get(&entry) {
            out.extend_from_slice(&made[offset as usize..end as usize]);
            return Ok(());
        }
        let mut position = offset;
        while position < end {
            let number = position / BLOCK as u64;
            let start = number * BLOCK as u64;
            // Both are within a block.
            let within = (position - start) as usize..(end - start).min(BLOCK as u64) as usize;
            let block_length = (size - start).min(BLOCK as u64) as usize;
            position = start + within.end as u64;
            let read = || self.read_block(entry, start, block_length);
            let taken =
                self.blocks.with((entry, number), block_length, read, |block| out.extend_from_slice(&block[within]));
            if let Err(error) = taken {
                out.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the SHA-256 of a file. It is computed once for all hosts; other threads that need it meanwhile wait.
    ///
    /// # Errors
    /// See [`Sources::read`].
    pub fn checksum(&self, entry: usize) -> Result<[u8; 32], String> {
        let mut checksum = lock(&self.checksums[entry]);
        self.hash_up_to(entry, self.stamps[entry].size, &mut checksum)?;
        let Checksum { sha, sum, .. } = &mut *checksum;
        Ok(*sum.get_or_insert_with(|| sha.take().unwrap_or_default().finish()))
    }

    /// Continues the SHA-256 of a file, so that no host waits long when it is needed: with a limited number of the
    /// missing bytes before `end`.
    pub fn hash_some(&self, entry: usize, end: u64) {
        let mut checksum = lock(&self.checksums[entry]);
        let end = end.min(checksum.hashed + HASHED_AT_ONCE).min(self.stamps[entry].size);
        // The thread that needs the whole meets the same error.
        let _ = self.hash_up_to(entry, end, &mut checksum);
    }

    fn hash_up_to(&self, entry: usize, end: u64, checksum: &mut Checksum) -> Result<(), String> {
        let mut piece = Vec::new();
        while checksum.hashed < end {
            // To the end of a block at most, so that no more than one is needed at once.
            let length = (end - checksum.hashed).min(BLOCK as u64 - checksum.hashed % BLOCK as u64);
            piece.clear();
            self.read(entry, checksum.hashed, length as usize, &mut piece)?;
            checksum.sha.get_or_insert_default().update(&piece);
            checksum.hashed += length;
        }
        Ok(())
    }

    fn read_block(&self, entry: usize, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let _pass = self.gate.enter();
        let file = self.open(entry)?;
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, offset).map_err(|error| cut_short(&error))?;
        // The data counts only if the file did not change meanwhile.
        self.check(entry, &file)?;
        Ok(block)
    }

    /// Opens an entry. Files with more to read are kept open, but only a few.
    fn open(&self, entry: usize) -> Result<Arc<File>, String> {
        let kept = {
            let mut files = lock(&self.files);
            let place = files.iter().position(|(owner, _)| *owner == entry);
            place.and_then(|place| {
                let file = files.remove(place)?;
                files.push_back(file.clone());
                Some(file.1)
            })
        };
        if let Some(file) = kept {
            return Ok(file);
        }
        let file = Arc::new(open(&self.entries[entry].local).map_err(|error| reason(&error))?);
        self.check(entry, &file)?;
        if self.stamps[entry].size > BLOCK as u64 {
            let mut files = lock(&self.files);
            if files.len() >= OPEN_FILES {
                files.pop_front();
            }
            files.push_back((entry, file.clone()));
        }
        Ok(file)
    }

    fn check(&self, entry: usize, file: &File) -> Result<(), String> {
        let metadata = file.metadata().map_err(|error| reason(&error))?;
        if Stamp::of(&metadata) == self.stamps[entry] { Ok(()) } else { Err(CHANGED.to_owned()) }
    }
}

fn cut_short(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof { CHANGED.to_owned() } else { reason(error) }
}

/// Opens a regular file. One that was replaced by a FIFO meanwhile does not make us wait.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

/// Returns the name of a source on the host.
fn name_of(path: &Path) -> &OsStr {
    // Path::components() would drop a `.` at the end: use the bytes.
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match &bytes[start..end] {
        b"" | b"." | b".." => OsStr::new("."),
        name => OsStr::from_bytes(name),
    }
}

/// The walk through the sources.
#[derive(Default)]
struct Walk {
    recursive: bool,
    /// The option for that.
    option: Option<&'static str>,
    source: usize,
    entries: Vec<Entry>,
    stamps: Vec<Stamp>,
    parents: Vec<Option<usize>>,
    problems: Vec<Problem>,
    skipped: Vec<Problem>,
    made: HashMap<usize, Vec<u8>>,
    /// The size of those.
    all_made: usize,
    /// The parents of the current place: device, inode, and their entry.
    ancestors: Vec<(u64, u64, usize)>,
    /// The current place below the target.
    path: Vec<u8>,
    /// Bytes of the paths of all entries.
    bytes: usize,
    /// Stop: there are too many.
    is_full: bool,
}

/// Why something is not copied.
enum Refusal {
    /// It exists, but its type is not copied.
    Kind(String),
    /// It is missing, or cannot be read.
    Unread(String),
    /// It seems endless.
    TooMuch(String),
}

impl Walk {
    /// Adds the file or tree at `local` as `name`.
    fn take(&mut self, local: &Path, name: &OsStr) {
        if self.is_full {
            return;
        }
        let parent = self.path.len();
        if parent > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        let is_named = self.ancestors.is_empty();
        let path = local.to_owned();
        match self.enter(local) {
            Ok(()) => {}
            Err(Refusal::TooMuch(reason)) => self.problems.push(Problem { path, reason }),
            Err(Refusal::Unread(reason)) if is_named => self.problems.push(Problem { path, reason }),
            Err(Refusal::Unread(reason) | Refusal::Kind(reason)) => self.skipped.push(Problem { path, reason }),
        }
        self.path.truncate(parent);
    }

    fn enter(&mut self, local: &Path) -> Result<(), Refusal> {
        self.bytes += local.as_os_str().len() + self.path.len();
        self.is_full = self.entries.len() >= ENTRIES || self.bytes > PATHS;
        if self.is_full {
            let count = self.entries.len();
            return Err(Refusal::TooMuch(format!(
                "with it there are more than {count} files: do links lead back? Copy it in parts, or with prsync"
            )));
        }
        let metadata = fs::metadata(local)?;
        if metadata.is_dir() {
            return self.enter_directory(local, &metadata);
        }
        if !metadata.is_file() {
            return Err(Refusal::Kind("not a regular file".to_owned()));
        }
        let size = match self.read_made(open(local)?, &metadata)? {
            None => metadata.len(),
            Some(made) => {
                let size = made.len() as u64;
                self.made.insert(self.entries.len(), made);
                size
            }
        };
        self.add(local, &metadata, Kind::File { size });
        Ok(())
    }

    /// Returns the contents of a file with a wrong size.
    fn read_made(&mut self, mut file: File, metadata: &Metadata) -> Result<Option<Vec<u8>>, Refusal> {
        let size = metadata.len();
        // One without blocks may consist of holes; then its size is right.
        if size > PAGE || size > 0 && metadata.blocks() > 0 {
            return Ok(None);
        }
        let mut made = Vec::new();
        let most = MADE.min(ALL_MADE - self.all_made);
        // In whole pages: some files return data only at page borders.
        let mut page = vec![0; PAGE as usize];
        while made.len() <= most {
            match file.read(&mut page) {
                Ok(0) => break,
                Ok(length) => made.extend_from_slice(&page[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if made.len() as u64 == size {
            return Ok(None);
        }
        if made.len() > most {
            return Err(Refusal::Unread(format!("its reported size is {size} bytes, but it has more than {most}")));
        }
        self.all_made += made.len();
        Ok(Some(made))
    }

    fn enter_directory(&mut self, local: &Path, metadata: &Metadata) -> Result<(), Refusal> {
        if !self.recursive {
            let advice = self.option.map(|option| format!(" ({option} copies directories)"));
            return Err(Refusal::Kind(format!("is a directory{}", advice.unwrap_or_default())));
        }
        let (device, inode) = (metadata.dev(), metadata.ino());
        if self.ancestors.iter().any(|ancestor| (ancestor.0, ancestor.1) == (device, inode)) {
            return Err(Refusal::Kind("a link makes this directory contain itself".to_owned()));
        }
        if self.ancestors.len() >= DEPTH {
            return Err(Refusal::TooMuch(format!("more than {DEPTH} nested directories")));
        }
        let list = fs::read_dir(local)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>();
        let mut names: Vec<_> = list?;
        names.sort_unstable();
        self.ancestors.push((device, inode, self.entries.len()));
        self.add(local, metadata, Kind::Directory);
        for name in names {
            self.take(&local.join(&name), &name);
        }
        self.ancestors.pop();
        Ok(())
    }

    fn add(&mut self, local: &Path, metadata: &Metadata, kind: Kind) {
        let own = usize::from(kind == Kind::Directory);
        self.parents.push(self.ancestors.iter().rev().nth(own).map(|(_, _, entry)| *entry));
        let seconds = |time: i64| u32::try_from(time).unwrap_or(if time < 0 { 0 } else { u32::MAX });
        self.entries.push(Entry {
            path: self.path.clone(),
            local: local.to_owned(),
            mode: metadata.mode() & 0o777,
            accessed: seconds(metadata.atime()),
            modified: seconds(metadata.mtime()),
            kind,
            source: self.source,
        });
        let size = if let Kind::File { size } = kind { size } else { metadata.len() };
        self.stamps.push(Stamp { size, ..Stamp::of(metadata) });
    }

    /// Finds two sources with the same name: one would overwrite the other.
    fn find_collisions(&mut self, paths: &[PathBuf]) {
        if paths.len() < 2 {
            return;
        }
        let mut owners: HashMap<&[u8], usize> = HashMap::new();
        for entry in &self.entries {
            // The contents of a source named `.` are next to the other sources.
            let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
            if path == b"." || path.contains(&b'/') {
                continue;
            }
            let owner = *owners.entry(path).or_insert(entry.source);
            if owner != entry.source {
                let reason = format!("it would overwrite {}, which has the same name", paths[owner].display());
                self.problems.push(Problem { path: entry.local.clone(), reason });
            }
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Unread(reason(&error))
    }
}

/// Something that cannot be copied.
#[derive(Clone, Debug)]
struct Problem {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// Why the sources cannot be copied.
#[derive(Clone, Debug)]
pub struct SourcesError {
    problems: Vec<Problem>,
}

impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().take(NAMED).enumerate() {
            let separator = if number > 0 { "\n" } else { "" };
            write!(f, "{separator}{problem}")?;
        }
        match self.problems.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for SourcesError {}

#[cfg(test)]
mod tests;
