//! The local files and directories that are copied to the hosts: found and checked before the first connection is made.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use openssl::sha::Sha256;

use crate::error::reason;

/// How many problems an error names; the rest is counted.
const NAMED: usize = 5;
/// Bytes that are read at once for a checksum.
const PIECE: usize = 256 * 1024;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its bytes.
        size: u64,
    },
}

/// One file or directory to copy.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it goes below the target, `/` between components. The first is the name of its source on the command line: the last
    /// component as it was written, or `.` where that names no entry of a directory (`.`, `..`, `/`): its contents go into
    /// the target itself, then.
    pub path: Vec<u8>,
    /// Where it is here.
    pub local: PathBuf,
    /// Its permission bits, within 0o777: setuid and the like do not travel.
    pub mode: u32,
    /// When it was last read, in seconds since 1970.
    pub accessed: u32,
    /// When it was last written, in seconds since 1970.
    pub modified: u32,
    /// What it is.
    pub kind: Kind,
    /// Which source of the command line it belongs to, from 0.
    pub source: usize,
}

/// By what a file is known to be the one that was found, unchanged.
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

/// Everything that is copied to every host.
#[derive(Debug)]
pub struct Sources {
    entries: Vec<Entry>,
    /// One for every entry.
    stamps: Vec<Stamp>,
    checksums: Vec<OnceLock<Result<[u8; 32], String>>>,
    count: usize,
    total: u64,
}

impl Sources {
    /// Finds what `paths` name, with `recursive` also directories and all that is in them. Symbolic links are followed, as scp
    /// does. Every file is opened once: what could not be read is known before the first connection.
    ///
    /// # Errors
    /// All that cannot be copied: missing, unreadable and special files, directories without `recursive`, directories that
    /// contain themselves by a link, and sources that would overwrite each other.
    pub fn find(paths: &[PathBuf], recursive: bool) -> Result<Sources, SourcesError> {
        let mut walk = Walk { recursive, ..Walk::default() };
        for (source, path) in paths.iter().enumerate() {
            walk.source = source;
            walk.take(path, name_of(path));
        }
        walk.find_collisions(paths);
        if !walk.problems.is_empty() {
            return Err(SourcesError { problems: walk.problems });
        }
        let total = walk.stamps.iter().zip(&walk.entries).map(|(stamp, entry)| match entry.kind {
            Kind::File { .. } => stamp.size,
            Kind::Directory => 0,
        });
        let total = total.fold(0, u64::saturating_add);
        let checksums = walk.entries.iter().map(|_| OnceLock::new()).collect();
        Ok(Sources { entries: walk.entries, stamps: walk.stamps, checksums, count: paths.len(), total })
    }

    /// What is copied: parents before what is in them, otherwise by name, the sources as they stand on the command line.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many sources the command line named.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes of all files.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Appends exactly `length` bytes of a file, from `offset` on.
    ///
    /// # Errors
    /// The file cannot be read, or is not the one that was found any more. Nothing is appended then.
    pub fn read(&self, entry: usize, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let file = self.open(entry)?;
        let start = out.len();
        out.resize(start + length, 0);
        let read = file.read_exact_at(&mut out[start..], offset).map_err(|error| reason(&error));
        let checked = read.and_then(|()| self.check(entry, &file));
        if checked.is_err() {
            out.truncate(start);
        }
        checked
    }

    /// The SHA-256 of a file. It is computed once for all hosts.
    ///
    /// # Errors
    /// As of [`Sources::read`].
    pub fn checksum(&self, entry: usize) -> Result<[u8; 32], String> {
        self.checksums[entry].get_or_init(|| self.compute_checksum(entry)).clone()
    }

    fn compute_checksum(&self, entry: usize) -> Result<[u8; 32], String> {
        let mut file = self.open(entry)?;
        let mut sha = Sha256::new();
        let mut buffer = vec![0; PIECE];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => sha.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        self.check(entry, &file)?;
        Ok(sha.finish())
    }

    fn open(&self, entry: usize) -> Result<File, String> {
        let file = open(&self.entries[entry].local).map_err(|error| reason(&error))?;
        self.check(entry, &file)?;
        Ok(file)
    }

    fn check(&self, entry: usize, file: &File) -> Result<(), String> {
        let metadata = file.metadata().map_err(|error| reason(&error))?;
        if Stamp::of(&metadata) == self.stamps[entry] {
            Ok(())
        } else {
            Err("it was changed while it was copied".to_owned())
        }
    }
}

/// Opens a file that should be a regular one. One that has become a FIFO meanwhile does not make us wait.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

/// The name that a source gets on the host.
fn name_of(path: &Path) -> &OsStr {
    // Path::components() would drop a `.` at the end: the bytes tell more.
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
    source: usize,
    entries: Vec<Entry>,
    stamps: Vec<Stamp>,
    problems: Vec<Problem>,
    /// Device and inode of the directories that the walk is in.
    ancestors: Vec<(u64, u64)>,
    /// Where the walk is below the target.
    path: Vec<u8>,
}

impl Walk {
    /// Takes what is at `local`, and all that is in it, as `name`.
    fn take(&mut self, local: &Path, name: &OsStr) {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        if let Err(reason) = self.enter(local) {
            self.problems.push(Problem { path: local.to_owned(), reason });
        }
        self.path.truncate(parent);
    }

    fn enter(&mut self, local: &Path) -> Result<(), String> {
        let metadata = fs::metadata(local).map_err(|error| reason(&error))?;
        if metadata.is_dir() {
            return self.enter_directory(local, &metadata);
        }
        if !metadata.is_file() {
            return Err("not a regular file".to_owned());
        }
        let mut file = open(local).map_err(|error| reason(&error))?;
        if metadata.len() == 0 && file.read(&mut [0]).is_ok_and(|count| count > 0) {
            return Err("it says that it is empty, but is not: copy what `cat` makes of it".to_owned());
        }
        self.add(local, &metadata, Kind::File { size: metadata.len() });
        Ok(())
    }

    fn enter_directory(&mut self, local: &Path, metadata: &Metadata) -> Result<(), String> {
        if !self.recursive {
            return Err("is a directory (-r copies directories)".to_owned());
        }
        let identity = (metadata.dev(), metadata.ino());
        if self.ancestors.contains(&identity) {
            return Err("a link makes this directory contain itself".to_owned());
        }
        let list = fs::read_dir(local).and_then(|list| list.map(|entry| Ok(entry?.file_name())).collect());
        let mut names: Vec<_> = list.map_err(|error| reason(&error))?;
        names.sort_unstable();
        self.add(local, metadata, Kind::Directory);
        self.ancestors.push(identity);
        for name in names {
            self.take(&local.join(&name), &name);
        }
        self.ancestors.pop();
        Ok(())
    }

    fn add(&mut self, local: &Path, metadata: &Metadata, kind: Kind) {
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
        self.stamps.push(Stamp::of(metadata));
    }

    /// Two sources with the same name: one would overwrite the other.
    fn find_collisions(&mut self, paths: &[PathBuf]) {
        if paths.len() < 2 {
            return;
        }
        let mut owners: HashMap<&[u8], usize> = HashMap::new();
        for entry in &self.entries {
            // What a source named `.` contains stands beside the other sources.
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

/// One thing that cannot be copied.
#[derive(Clone, Debug)]
struct Problem {
    path: PathBuf,
    reason: String,
}

/// Why the sources cannot be copied.
#[derive(Clone, Debug)]
pub struct SourcesError {
    problems: Vec<Problem>,
}

impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { path, reason }) in self.problems.iter().take(NAMED).enumerate() {
            let separator = if number > 0 { "\n" } else { "" };
            write!(f, "{separator}{}: {reason}", path.display())?;
        }
        match self.problems.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for SourcesError {}
