//! The only way from what a host sends to the local disk: below one directory, whatever the host says.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::downloaded_file::DownloadedFile;
use super::{random_tag, temporary_name};
use crate::events::host_error::HostError;
use crate::system::files::run_lock::RunLock;
use crate::system::files::trusted_path;
use crate::text::message::reason;

/// Longest file name in bytes.
const NAME_MAX: usize = 255;
/// Directories kept open in addition to the root, so that not every file costs a walk.
const OPEN_DIRECTORIES: usize = 4;
/// How a directory is opened: never through a link.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A path below a root. Every component is a plain name, so that it cannot lead out of the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Below(Vec<u8>);

impl Below {
    /// Returns the root itself.
    pub fn place() -> Below {
        Below::default()
    }

    /// Returns the path of `name` in this directory.
    ///
    /// # Errors
    /// `name` is not a file name; the reason in words.
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

    /// Returns the directory and the name in it; `None` for the root.
    pub fn split(&self) -> Option<(Below, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (Below(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Below::default(), &self.0),
        })
    }

    /// Returns its bytes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks that `name` is a file name that cannot lead elsewhere.
///
/// # Errors
/// The reason in words.
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

/// A failure to put something in its place.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct PlaceError {
    /// The local path.
    pub path: String,
    /// What is wrong with it, or the system's error.
    pub reason: String,
    /// The consequence for the rest of the copy.
    pub trouble: Trouble,
}

/// The consequence of a failure for the rest of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Something else exists there already, or the data is not what it should be.
    Refused,
    /// The local system failed.
    Disk,
    /// The local disk is full: trying more files is useless.
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

/// What exists at a path. A link is a link, wherever it leads.
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
/// It reaches everything below it from one open directory to the next, never through a link. It holds the directory, up
/// to four more, and two descriptors per [`DownloadedFile`].
#[derive(Debug)]
pub struct DownloadRoot {
    root: Arc<OwnedFd>,
    /// Its path, for messages.
    directory: PathBuf,
    /// Recently used directories, the latest at the end.
    open: VecDeque<(Below, Arc<OwnedFd>)>,
}

impl DownloadRoot {
    /// Opens the root at `directory`, and creates it and its parents if they are missing.
    ///
    /// # Errors
    /// It does not exist and cannot be created.
    pub fn open(directory: &Path) -> Result<DownloadRoot, PlaceError> {
        let failed = |error: io::Error| disk(directory.display().to_string(), &error);
        // This path is the user's: its links are intended, unless another user created them.
        let found = trusted_path::directory(directory).map_err(failed)?;
        let root = rustix::fs::openat(found, ".", DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
        Ok(DownloadRoot { root: Arc::new(root), directory: directory.to_owned(), open: VecDeque::new() })
    }

    /// Returns the local path of `path`, for messages.
    pub fn shown(&self, path: &Below) -> String {
        if path.0.is_empty() {
            return self.directory.display().to_string();
        }
        self.directory.join(OsStr::from_bytes(&path.0)).display().to_string()
    }

    /// Returns what exists at `path`, if anything.
    ///
    /// # Errors
    /// The system does not tell, or a parent is not a directory.
    pub fn find(&mut self, path: &Below) -> Result<Option<Found>, PlaceError> {
        let Some((parent, name)) = path.split() else { return Ok(Some(Found::Directory)) };
        let directory = match self.directory(&parent) {
            Ok(directory) => directory,
            Err(Walk::Missing) => return Ok(None),
            Err(Walk::Failed(error)) => return Err(error),
        };
        found(&directory, name).map_err(|error| self.failed(path, error))
    }

    /// Creates a directory and returns whether it is new. Its parent must exist. A new one is closed to others until
    /// [`DownloadRoot::finish_directory`].
    ///
    /// # Errors
    /// Something else exists there, or it cannot be created.
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

    /// Sets the mode (within 0o777, as given) and the access and modification times (seconds since 1970) of a directory
    /// whose contents are complete.
    ///
    /// # Errors
    /// It is gone, or the system refuses.
    pub fn finish_directory(
        &mut self,
        path: &Below,
        mode: Option<u32>,
        times: Option<(u32, u32)>,
    ) -> Result<(), PlaceError> {
        let directory = self.walk(path)?;
        settle(&directory, mode, times).map_err(|error| self.failed(path, error))
    }

    /// Starts a file for `path` under an unpredictable temporary name.
    ///
    /// # Errors
    /// Something other than a file exists there, or it cannot be created.
    pub fn create(&mut self, path: &Below) -> Result<DownloadedFile, PlaceError> {
        self.temporary(path, &random_tag(), false)
    }

    /// Starts a file for `path`, or continues the partial file of an earlier copy with the same tag:
    /// [`DownloadedFile::length`] is its size. It is kept if it does not reach its place.
    ///
    /// # Errors
    /// See [`DownloadRoot::create`]; or the partial file is not ours.
    pub fn resume(&mut self, path: &Below, tag: &str) -> Result<DownloadedFile, PlaceError> {
        self.temporary(path, tag, true)
    }

    fn temporary(&mut self, path: &Below, tag: &str, resumed: bool) -> Result<DownloadedFile, PlaceError> {
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
        // Another user's file may exist under that name: no FIFO makes us wait, no link is followed.
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
        // We create them for our user only: a file that others can write may not be from an earlier copy.
        let ours = metadata.is_file() && metadata.nlink() == 1 && metadata.mode() & 0o022 == 0;
        if resumed && !(ours && metadata.uid() == rustix::process::geteuid().as_raw()) {
            return Err(refused(shown, NOT_OURS.to_owned()));
        }
        // Others have unpredictable names.
        if resumed
            && let Err(taken) = RunLock::of_file(&file)
            // Any user who can read it can lock it, not only a run of pssh.
            && metadata.mode() & 0o077 == 0
        {
            return Err(refused(shown, taken.to_string()));
        }
        Ok(DownloadedFile {
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
        // Start at the nearest open parent.
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

/// The reason why a directory could not be opened.
enum Walk {
    /// It, or a parent, does not exist.
    Missing,
    Failed(PlaceError),
}

const NOT_OURS: &str = "the partial file of an earlier copy is not a file that only you can write";

pub(super) fn in_the_way(found: Option<Found>) -> String {
    match found {
        Some(found) => format!("{found} exists there"),
        None => "something else was there".to_owned(),
    }
}

pub(super) fn refused(path: String, reason: String) -> PlaceError {
    PlaceError { path, reason, trouble: Trouble::Refused }
}

pub(super) fn disk(path: String, error: &io::Error) -> PlaceError {
    let full = [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    PlaceError { path, reason: reason(error), trouble: if full { Trouble::Full } else { Trouble::Disk } }
}

/// Returns what exists as `name` in a directory.
pub(super) fn found(directory: impl AsFd, name: &[u8]) -> Result<Option<Found>, Errno> {
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
pub(super) fn settle(file: impl AsFd, mode: Option<u32>, times: Option<(u32, u32)>) -> Result<(), Errno> {
    if let Some(mode) = mode {
        // Nothing beyond that: setuid and the like are not copied.
        rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?;
    }
    if let Some((accessed, modified)) = times {
        let time = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time(accessed), last_modification: time(modified) })?;
    }
    Ok(())
}

/// Returns the local mode for a remote `mode`: without setuid and the like, and without the bits of the user's umask
/// unless the mode is preserved.
pub fn local_mode(mode: u32, preserve: bool) -> u32 {
    mode & 0o777 & if preserve { !0 } else { !umask() }
}

/// Returns the mode bits that the user's umask clears.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        // Asking the system for the umask means changing it for all threads. Linux has another way.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        if let Some(umask) = told.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()) {
            return umask & 0o777;
        }
        // A file that another thread creates meanwhile gets a stricter mode, never a looser one.
        let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(umask);
        #[allow(clippy::useless_conversion, reason = "its type differs between systems")]
        u32::from(umask.as_raw_mode())
    })
}

#[cfg(test)]
mod tests;
