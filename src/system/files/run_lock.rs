//! Locks against two runs that write to the same place: the directories of `-o` and `-e`, and the report files. The
//! lock is the kernel's (flock(2)), on a file in the directory or next to the report: it ends with the process, however
//! that ends. The file is accessible only to its owner, since every user who can open a file for reading can lock it:
//! another user could lock every run out of a directory.
//!
//! File systems without such locks get none.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::trusted_path::Spot;

/// How often the lock file may turn out to be replaced by the time it is locked.
const MOST_EXCHANGES: usize = 16;

/// The file that locks a directory.
pub const DIRECTORY_LOCK: &str = ".pssh-lock";

/// Another process has the lock.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Taken {
    /// Its process ID, if the system knows it.
    process: Option<u32>,
}

impl Taken {
    /// Returns the process that has the lock, if the system knows it.
    pub fn process(&self) -> Option<u32> {
        self.process
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) if process == std::process::id() => f.write_str("this run writes to it twice"),
            Some(process) => {
                let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                let name = if name.trim().is_empty() { "process" } else { name.trim() };
                write!(f, "another run writes to it now ({name}, pid {process}); wait for it, or name another place")
            }
            None => f.write_str("another run writes to it now; wait for it, or name another place"),
        }
    }
}

impl From<Taken> for std::io::Error {
    fn from(taken: Taken) -> Self {
        std::io::Error::new(std::io::ErrorKind::WouldBlock, taken)
    }
}

/// A lock. It ends when it is dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    /// The path of its file.
    directory: OwnedFd,
    name: OsString,
}

/// Locks an open file.
///
/// # Errors
/// Another process has locked it.
fn lock(file: BorrowedFd<'_>) -> Result<bool, Taken> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Err(Taken { process: holder(file) }),
        Err(_) => Ok(false),
    }
}

impl RunLock {
    /// Locks a directory, by a file in it; `None` if that is impossible.
    ///
    /// # Errors
    /// Another process has locked it.
    pub fn of_directory(directory: impl AsFd) -> Result<Option<RunLock>, Taken> {
        let Ok(directory) = directory.as_fd().try_clone_to_owned() else { return Ok(None) };
        RunLock::by(directory, OsString::from(DIRECTORY_LOCK))
    }

    /// Locks a file that is open anyway; closing it ends the lock.
    ///
    /// # Errors
    /// Another process has locked it.
    pub fn of_file(file: impl AsFd) -> Result<(), Taken> {
        lock(file.as_fd()).map(drop)
    }

    /// The same, but a file system without locks is an error.
    ///
    /// # Errors
    /// Another process has locked it, or it cannot be locked.
    pub fn require(file: impl AsFd) -> std::io::Result<()> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(Taken { process: holder(file.as_fd()) }.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether no other process has locked a file. A file system without locks never tells.
    pub fn is_free(file: impl AsFd) -> Result<(), Taken> {
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Err(Taken { process: holder(file.as_fd()) }),
            _ => {
                let _ = flock(&file, FlockOperation::Unlock);
                Ok(())
            }
        }
    }

    /// Locks a file that is replaced as a whole, by a file next to it, which is removed with the lock; `None` if that
    /// is impossible.
    ///
    /// # Errors
    /// Another process has locked it.
    pub fn beside(spot: &Spot) -> Result<Option<RunLock>, Taken> {
        let Ok(directory) = spot.directory.try_clone() else { return Ok(None) };
        let mut name = OsString::from(".");
        name.push(&spot.name);
        name.push(".pssh-lock");
        RunLock::by(directory, name)
    }

    fn by(directory: OwnedFd, name: OsString) -> Result<Option<RunLock>, Taken> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for _ in 0..MOST_EXCHANGES {
            let Ok(file) = openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR) else { return Ok(None) };
            if !lock(file.as_fd())? {
                return Ok(None);
            }
            // Its previous owner has removed it, perhaps just after we opened it.
            let (ours, there) = (fstat(&file), statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW));
            if let (Ok(ours), Ok(there)) = (ours, there)
                && (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
            {
                return Ok(Some(RunLock { file: File::from(file), directory, name }));
            }
        }
        Ok(None)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // While it is still locked: the next owner of the lock finds that it is another file.
        let _ = unlinkat(&self.directory, Path::new(&self.name), AtFlags::empty());
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Returns the process that locked a file, from proc_locks(5): `1: FLOCK  ADVISORY  WRITE 4711 08:01:131090 0 EOF`.
fn holder(file: BorrowedFd<'_>) -> Option<u32> {
    let about = fstat(file).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| of_line(line, about.st_ino))
}

/// Returns the process of a line, if it locked the file with this inode number. The device number depends on the file
/// system.
fn of_line(line: &str, inode: u64) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(1);
    let (kind, _, mode) = (fields.next()?, fields.next()?, fields.next()?);
    let (process, file) = (fields.next()?, fields.next()?);
    let is_ours = kind == "FLOCK" && mode == "WRITE" && file.rsplit(':').next()?.parse() == Ok(inode);
    process.parse().ok().filter(|process| is_ours && *process > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::trusted_path;

    #[test]
    fn a_lock_keeps_others_out_and_leaves_nothing() {
        let top = tempfile::tempdir().expect("a directory");
        let spot = || trusted_path::spot(rustix::fs::CWD, &top.path().join("report")).expect("a place");
        let directory = || File::open(top.path()).expect("a directory");
        let first = RunLock::of_directory(directory()).expect("free").expect("a lock");
        let beside = RunLock::beside(&spot()).expect("free").expect("a lock");
        assert!(top.path().join(".report.pssh-lock").exists());
        let own = Taken { process: Some(std::process::id()) };
        assert_eq!(own.to_string(), "this run writes to it twice");
        assert_eq!(RunLock::of_directory(directory()).expect_err("taken"), own);
        assert_eq!(RunLock::beside(&spot()).expect_err("taken"), own);
        drop((first, beside));
        assert_eq!(fs::read_dir(top.path()).expect("a directory").count(), 0);
        // A file left by a killed run does not matter.
        fs::write(top.path().join(".report.pssh-lock"), "").expect("a file");
        drop(RunLock::beside(&spot()).expect("free").expect("a lock"));
        assert_eq!(fs::read_dir(top.path()).expect("a directory").count(), 0);
        // A user who can only read the directory cannot lock it.
        let (reader, lock) = (directory(), || RunLock::of_directory(directory()).expect("free").expect("a lock"));
        flock(&reader, FlockOperation::LockExclusive).expect("a lock");
        let held = lock();
        let about = fs::metadata(top.path().join(DIRECTORY_LOCK)).expect("its file");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o600);
        drop(held);
    }

    #[test]
    fn lines_of_the_kernel() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 fd:01:131090 0 EOF";
        assert_eq!((of_line(line, 131_090), of_line(line, 13)), (Some(4711), None));
        assert_eq!(of_line("3: POSIX  ADVISORY  WRITE 4711 fd:01:131090 0 EOF", 131_090), None);
        assert_eq!(of_line("3: -> FLOCK  ADVISORY  WRITE 4711 fd:01:131090 0 EOF", 131_090), None);
        assert_eq!(of_line("3: FLOCK  ADVISORY  WRITE 0 fd:01:131090 0 EOF", 131_090), None, "of another namespace");
    }
}
