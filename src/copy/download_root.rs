//! The only way in which what a host sends reaches our disk: below one directory, whatever the host says.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::{kept_as, random_tag, temporary_name};
use crate::events::host_error::HostError;
use crate::system::files::run_lock::RunLock;
use crate::system::files::trusted_path;
use crate::text::message::reason;

/// Bytes that a name may have.
const NAME_MAX: usize = 255;
/// Directories that are kept open besides the place's own, so that not every file costs a walk.
const OPEN_DIRECTORIES: usize = 4;
/// How a directory is opened: never through a link.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A path below a place. Every component of it is a plain name, so that it cannot lead out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Below(Vec<u8>);

impl Below {
    /// The place itself.
    pub fn place() -> Below {
        Below::default()
    }

    /// What is called `name` in this directory.
    ///
    /// # Errors
    /// It is not a file name: why, in words.
    pub fn join(&self, name: &[u8]) -> Result<Below, &'static str> {
        check_name(name)?;
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.0.is_empty() {
            path.extend_from_slice(&self.0);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Ok(Below(path))
    }

    /// What this directory and the name in it are; nothing for the place itself.
    pub fn split(&self) -> Option<(Below, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (Below(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Below::default(), &self.0),
        })
    }

    /// Its bytes; none for the place itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether `name` is one that a file can have, and no way to elsewhere.
///
/// # Errors
/// Why it is none, in words.
pub fn check_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        b"" => Err("an empty name"),
        b"." | b".." => Err("an invalid file name"),
        _ if name.contains(&b'/') => Err("a name with a slash"),
        _ if name.contains(&0) => Err("a name with a zero byte"),
        _ if name.len() > NAME_MAX => Err("File name too long"),
        _ => Ok(()),
    }
}

/// Why something could not be put in its place.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct PlaceError {
    /// The local path.
    pub path: String,
    /// What is wrong with it, or what the system said.
    pub reason: String,
    /// What it means for the rest.
    pub trouble: Trouble,
}

/// What a failure means for the rest of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Something else is in this place already, or what was sent is not what it should be.
    Refused,
    /// Our system failed.
    Disk,
    /// Our disk is full: nothing more need be tried.
    Full,
}

impl From<PlaceError> for HostError {
    fn from(error: PlaceError) -> HostError {
        match error.trouble {
            Trouble::Refused => HostError::Copy { path: error.path, reason: error.reason, others: 0, hint: None },
            Trouble::Disk | Trouble::Full => {
                HostError::Local { doing: "writing the copied data", detail: error.to_string(), hint: None }
            }
        }
    }
}

/// What is somewhere in a place. A link is a link, wherever it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket.
    Special,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::Directory => "a directory",
            Found::File => "a file",
            Found::Link => "a symbolic link",
            Found::Special => "a device, FIFO or socket",
        })
    }
}

/// The directory of one host.
///
/// Everything below it is reached from one open directory to the next, never through a link. It holds the directory, up to four
/// more, and two descriptors for every [`Temporary`].
#[derive(Debug)]
pub struct DownloadRoot {
    root: Arc<OwnedFd>,
    /// Its path, for messages.
    directory: PathBuf,
    /// Directories that were used last, the latest at the end.
    open: VecDeque<(Below, Arc<OwnedFd>)>,
}

impl DownloadRoot {
    /// The place at `directory`. It is made if it is not there, and so are its parents.
    ///
    /// # Errors
    /// There is none, nor can it be made.
    pub fn open(directory: &Path) -> Result<DownloadRoot, PlaceError> {
        let failed = |error: io::Error| disk(directory.display().to_string(), &error);
        // This path is our user's: links in it are meant, unless another user has put them there.
        let found = trusted_path::directory(directory).map_err(failed)?;
        let root = rustix::fs::openat(found, ".", DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
        Ok(DownloadRoot { root: Arc::new(root), directory: directory.to_owned(), open: VecDeque::new() })
    }

    /// The local path of what is below it, for messages.
    pub fn shown(&self, path: &Below) -> String {
        if path.0.is_empty() {
            return self.directory.display().to_string();
        }
        self.directory.join(OsStr::from_bytes(&path.0)).display().to_string()
    }

    /// What is at `path`, if anything.
    ///
    /// # Errors
    /// The system does not tell, or something other than a directory is on the way.
    pub fn find(&mut self, path: &Below) -> Result<Option<Found>, PlaceError> {
        let Some((parent, name)) = path.split() else { return Ok(Some(Found::Directory)) };
        let directory = match self.directory(&parent) {
            Ok(directory) => directory,
            Err(Walk::Missing) => return Ok(None),
            Err(Walk::Failed(error)) => return Err(error),
        };
        found(&directory, name).map_err(|error| self.failed(path, error))
    }

    /// Makes a directory, and says whether it is new. Its parent has to be there. Only we may look into a new one before
    /// [`DownloadRoot::finish_directory`].
    ///
    /// # Errors
    /// Something else is in its place, or it cannot be made.
    pub fn make_directory(&mut self, path: &Below) -> Result<bool, PlaceError> {
        let Some((parent, name)) = path.split() else { return Ok(false) };
        let directory = self.walk(&parent)?;
        match rustix::fs::mkdirat(&*directory, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => match found(&directory, name).map_err(|error| self.failed(path, error))? {
                Some(Found::Directory) => Ok(false),
                other => Err(self.in_the_way(path, other)),
            },
            Err(error) => Err(self.failed(path, error)),
        }
    }

    /// Gives a directory that has been filled its mode (within 0o777, as it is) and its times of access and modification
    /// (seconds since 1970).
    ///
    /// # Errors
    /// It is not there any more, or the system refuses.
    pub fn finish_directory(
        &mut self,
        path: &Below,
        mode: Option<u32>,
        times: Option<(u32, u32)>,
    ) -> Result<(), PlaceError> {
        let directory = self.walk(path)?;
        settle(&directory, mode, times).map_err(|error| self.failed(path, error))
    }

    /// Begins a file that will be at `path`, under a name that nobody can foresee.
    ///
    /// # Errors
    /// Something that is no file is in its place, or it cannot be made.
    pub fn create(&mut self, path: &Below) -> Result<Temporary, PlaceError> {
        self.temporary(path, &random_tag(), false)
    }

    /// Begins a file that will be at `path`, or goes on with what an earlier copy with the same tag has left behind:
    /// [`Temporary::length`] says how much that is. It stays behind if it is not put in place.
    ///
    /// # Errors
    /// As of [`DownloadRoot::create`]; or what was left behind is not a file of ours.
    pub fn resume(&mut self, path: &Below, tag: &str) -> Result<Temporary, PlaceError> {
        self.temporary(path, tag, true)
    }

    fn temporary(&mut self, path: &Below, tag: &str, resumed: bool) -> Result<Temporary, PlaceError> {
        let Some((parent, name)) = path.split() else {
            return Err(self.in_the_way(path, Some(Found::Directory)));
        };
        let directory = self.walk(&parent)?;
        match found(&directory, name).map_err(|error| self.failed(path, error))? {
            None | Some(Found::File | Found::Link) => {}
            other => return Err(self.in_the_way(path, other)),
        }
        let temporary = temporary_name(name, tag);
        let shown = match parent.join(&temporary) {
            Ok(path) => self.shown(&path),
            Err(reason) => return Err(refused(self.shown(path), reason.to_owned())),
        };
        // Whoever might stand there instead: no FIFO makes us wait, no link is followed.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = if resumed { flags } else { flags | OFlags::EXCL };
        let file = match rustix::fs::openat(&*directory, &*temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(error) if resumed && [Errno::LOOP, Errno::NXIO, Errno::ISDIR].contains(&error) => {
                return Err(refused(shown, NOT_OURS.to_owned()));
            }
            Err(error) => return Err(disk(shown, &error.into())),
        };
        let metadata = file.metadata().map_err(|error| disk(shown.clone(), &error))?;
        // We make them for ourselves alone: what others may write need not be what an earlier copy has left.
        let ours = metadata.is_file() && metadata.nlink() == 1 && metadata.mode() & 0o022 == 0;
        if resumed && !(ours && metadata.uid() == rustix::process::geteuid().as_raw()) {
            return Err(refused(shown, NOT_OURS.to_owned()));
        }
        // Others have names that nobody can foresee.
        if resumed
            && let Err(taken) = RunLock::of_file(&file)
            // Any user who can read it can lock it, not only a run.
            && metadata.mode() & 0o077 == 0
        {
            return Err(refused(shown, taken.to_string()));
        }
        Ok(Temporary {
            directory,
            file,
            identity: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            temporary,
            name: name.to_vec(),
            shown: self.shown(path),
            keep: resumed,
        })
    }

    /// An open directory.
    fn walk(&mut self, path: &Below) -> Result<Arc<OwnedFd>, PlaceError> {
        self.directory(path).map_err(|error| match error {
            Walk::Failed(error) => error,
            Walk::Missing => self.failed(path, Errno::NOENT),
        })
    }

    fn directory(&mut self, path: &Below) -> Result<Arc<OwnedFd>, Walk> {
        if path.0.is_empty() {
            return Ok(self.root.clone());
        }
        let known = self.open.iter().position(|(open, _)| open == path);
        if let Some(known) = known.and_then(|place| self.open.remove(place)) {
            let directory = known.1.clone();
            self.open.push_back(known);
            return Ok(directory);
        }
        // From the nearest parent that is open.
        let (mut directory, mut walked) = (self.root.clone(), 0);
        for (open, descriptor) in &self.open {
            let length = open.0.len();
            if length > walked && path.0.starts_with(&open.0) && path.0.get(length) == Some(&b'/') {
                (directory, walked) = (descriptor.clone(), length + 1);
            }
        }
        for name in path.0[walked..].split(|byte| *byte == b'/') {
            walked += name.len();
            directory = match rustix::fs::openat(&*directory, name, DIRECTORY, Mode::empty()) {
                Ok(next) => Arc::new(next),
                Err(Errno::NOENT) => return Err(Walk::Missing),
                Err(error) => {
                    let here = Below(path.0[..walked].to_vec());
                    let error = match (error, found(&directory, name)) {
                        (Errno::NOTDIR | Errno::LOOP | Errno::MLINK, Ok(other)) => self.in_the_way(&here, other),
                        (error, _) => self.failed(&here, error),
                    };
                    return Err(Walk::Failed(error));
                }
            };
            walked += 1;
        }
        if self.open.len() == OPEN_DIRECTORIES {
            self.open.pop_front();
        }
        self.open.push_back((path.clone(), directory.clone()));
        Ok(directory)
    }

    fn failed(&self, path: &Below, error: Errno) -> PlaceError {
        disk(self.shown(path), &error.into())
    }

    fn in_the_way(&self, path: &Below, found: Option<Found>) -> PlaceError {
        refused(self.shown(path), in_the_way(found))
    }
}

/// Why no directory could be opened.
enum Walk {
    /// It, or one on the way, is not there.
    Missing,
    Failed(PlaceError),
}

const NOT_OURS: &str = "the partial file of an earlier copy is not a file that only you can write";

fn in_the_way(found: Option<Found>) -> String {
    match found {
        Some(found) => format!("{found} exists there"),
        None => "something else was there".to_owned(),
    }
}

fn refused(path: String, reason: String) -> PlaceError {
    PlaceError { path, reason, trouble: Trouble::Refused }
}

fn disk(path: String, error: &io::Error) -> PlaceError {
    let full = [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    PlaceError { path, reason: reason(error), trouble: if full { Trouble::Full } else { Trouble::Disk } }
}

/// What is called `name` in a directory.
fn found(directory: impl AsFd, name: &[u8]) -> Result<Option<Found>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::RegularFile => Found::File,
            FileType::Symlink => Found::Link,
            _ => Found::Special,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets mode, then times.
fn settle(file: impl AsFd, mode: Option<u32>, times: Option<(u32, u32)>) -> Result<(), Errno> {
    if let Some(mode) = mode {
        // Nothing beyond: setuid and the like do not travel.
        rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?;
    }
    if let Some((accessed, modified)) = times {
        let time = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time(accessed), last_modification: time(modified) })?;
    }
    Ok(())
}

/// A file that is on its way to its place, under a temporary name beside it.
///
/// Dropped before it is in place, it is removed, unless it is there to be resumed.
#[derive(Debug)]
pub struct Temporary {
    directory: Arc<OwnedFd>,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    length: u64,
    /// The name that it has.
    temporary: Vec<u8>,
    /// The name that it shall have.
    name: Vec<u8>,
    /// The path that it shall have, for messages.
    shown: String,
    keep: bool,
}

impl Temporary {
    /// Bytes that were there when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The path that it has, if it stays behind to be resumed.
    pub fn kept(&self) -> Option<String> {
        let directory = self.shown.rfind('/').map_or("", |slash| &self.shown[..=slash]);
        self.keep.then(|| format!("{directory}{}", String::from_utf8_lossy(&self.temporary)))
    }

    /// Why it failed, and where it is now.
    fn failed(&self, mut error: PlaceError) -> PlaceError {
        if let Some(kept) = self.kept() {
            error.reason.push_str(&kept_as(&kept));
        }
        error
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), PlaceError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Its first `length` bytes are kept, and nothing after them.
    ///
    /// # Errors
    /// The system refuses.
    pub fn truncate(&self, length: u64) -> Result<(), PlaceError> {
        self.file.set_len(length).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Fills `buffer` with what was written from `offset` on.
    ///
    /// # Errors
    /// There is not as much, or the system refuses.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PlaceError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Puts it in its place, if it has `size` bytes: at once, so that there is either what was there before, or all of it. Its mode
    /// is `mode` within 0o777, as it is; its times of access and modification are in seconds since 1970.
    ///
    /// # Errors
    /// It has not the right size, something that is no file has got in its place, or the system refuses.
    pub fn finish(mut self, size: u64, mode: u32, times: Option<(u32, u32)>) -> Result<(), PlaceError> {
        let metadata = self.file.metadata().map_err(|error| disk(self.shown.clone(), &error))?;
        if metadata.len() != size {
            let reason = format!("{} bytes were written, not {size}", metadata.len());
            // Whatever it is, it is nothing to go on with.
            self.keep = false;
            return Err(refused(self.shown.clone(), reason));
        }
        self.put(mode, times).map_err(|error| match error {
            Put::Failed(error) => self.failed(disk(self.shown.clone(), &error.into())),
            Put::Refused(reason) => self.failed(refused(self.shown.clone(), reason)),
            Put::Replaced => refused(self.shown.clone(), "another file replaced the temporary file".to_owned()),
        })
    }

    fn put(&mut self, mode: u32, times: Option<(u32, u32)>) -> Result<(), Put> {
        let mut mode = mode;
        match found(&self.directory, &self.name)? {
            // What is replaced keeps its mode, unless that of the other side is wanted, which comes with its times.
            Some(Found::File) if times.is_none() => {
                let stat = rustix::fs::statat(&*self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW)?;
                mode = stat.st_mode & 0o777;
            }
            None | Some(Found::File | Found::Link) => {}
            other => return Err(Put::Refused(in_the_way(other))),
        }
        settle(&self.file, Some(mode), times)?;
        // The name may be known to the host, and a file that it sent be called like that.
        let stat = rustix::fs::statat(&*self.directory, &*self.temporary, AtFlags::SYMLINK_NOFOLLOW)?;
        #[allow(clippy::unnecessary_cast, reason = "their types differ between systems")]
        if (stat.st_dev as u64, stat.st_ino as u64) != self.identity {
            self.keep = true;
            return Err(Put::Replaced);
        }
        rustix::fs::renameat(&*self.directory, &*self.temporary, &*self.directory, &*self.name)?;
        self.keep = true;
        Ok(())
    }

    /// Removes it when it is dropped, even if it could be resumed.
    pub fn discard(mut self) {
        self.keep = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            let _ = rustix::fs::unlinkat(&*self.directory, &*self.temporary, AtFlags::empty());
        }
    }
}

/// Why a finished file is not in its place.
enum Put {
    Failed(Errno),
    Refused(String),
    /// Its temporary name is that of another file.
    Replaced,
}

impl From<Errno> for Put {
    fn from(error: Errno) -> Put {
        Put::Failed(error)
    }
}

/// The mode that something gets here which has `mode` on the host: that without setuid and the like, and without what our user's
/// umask takes from new files, unless it is to be preserved.
pub fn local_mode(mode: u32, preserve: bool) -> u32 {
    mode & 0o777 & if preserve { !0 } else { !umask() }
}

/// The bits of a mode that our user's umask takes from new files.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        // Asking the system for it means to change it, for all threads. Linux has another way.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        if let Some(umask) = told.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()) {
            return umask & 0o777;
        }
        // What another thread makes in between is stricter than it would be, never the reverse.
        let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(umask);
        #[allow(clippy::useless_conversion, reason = "its type differs between systems")]
        u32::from(umask.as_raw_mode())
    })
}

#[cfg(test)]
mod tests;
