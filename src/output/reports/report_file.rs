//! Files that reports are written to: all of a file at once, at the end of the run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::copy::random_tag;
use crate::output::formats::ci_log::CiLog;
use crate::output::writer::Output;
use crate::system::files::run_lock::RunLock;
use crate::system::files::trusted_path::{self, Spot};
use crate::system::sink::Sink;
use crate::text::message::reason;

/// Flags for anything but a regular file: a FIFO without a reader is an error instead of a wait.
const SPECIAL: OFlags = OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A file for a report. Existing content stays until the report is written.
#[derive(Debug)]
pub struct ReportFile {
    option: &'static str,
    path: PathBuf,
    /// A file that cannot be replaced is open from the beginning, since a reader of a FIFO waits for its first writer.
    special: Option<File>,
    /// Held until it is written.
    _lock: Option<RunLock>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Replaced by a new file, with the owner, group and permissions of the old one, if any.
    Plain(Option<Stat>),
    /// Written in place, since it cannot be replaced, such as `/dev/stderr`.
    Special,
}

/// Why the file of a report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{option} {}: cannot write: {}", .path.display(), reason(.error))]
pub struct FileError {
    option: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    /// Creates an error about the file that `option` names.
    pub fn new(option: &'static str, path: &Path, error: io::Error) -> FileError {
        FileError { option, path: path.to_owned(), error }
    }
}

/// Files that no report may replace or add to: journals.
pub struct Untouched(Vec<(u64, u64)>);

impl Untouched {
    /// Returns those with these paths, as far as they are there.
    pub fn of(paths: &[PathBuf]) -> Untouched {
        Untouched(paths.iter().filter_map(|path| Untouched::identity(path)).collect())
    }

    /// Checks that the file of a report is none of them, whatever its name; `option` names it on the command line.
    ///
    /// # Errors
    /// It is one.
    pub fn check(&self, option: &'static str, path: &Path) -> Result<(), FileError> {
        // Asks the system for nothing in a run without a journal.
        if self.0.is_empty() || Untouched::identity(path).is_none_or(|identity| !self.0.contains(&identity)) {
            return Ok(());
        }
        Err(FileError::new(option, path, io::Error::other("it is the journal; name another file")))
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        rustix::fs::stat(path).ok().map(|about| (about.st_dev, about.st_ino))
    }
}

impl ReportFile {
    /// Checks before the run that the file can be written; `option` names it on the command line.
    ///
    /// # Errors
    /// It cannot be, or another run is about to write it.
    pub fn prepare(option: &'static str, path: &Path) -> Result<ReportFile, FileError> {
        let failed = |error| FileError::new(option, path, error);
        let mut file = ReportFile { option, path: path.to_owned(), special: None, _lock: None };
        let (spot, kind) = file.find().map_err(failed)?;
        match kind {
            Kind::Plain(old) => {
                // Two runs that replace it would lose one report.
                file._lock = RunLock::beside(&spot).map_err(|taken| failed(taken.into()))?;
                Replacement::begin(spot, old).map(drop).map_err(failed)?;
            }
            Kind::Special => file.special = Some(file.open_special().map_err(failed)?),
        }
        Ok(file)
    }

    /// The same for a file to append to, which other programs may write to as well.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prepare_to_append(option: &'static str, path: &Path) -> Result<ReportFile, FileError> {
        let flags = SPECIAL | OFlags::CREATE;
        let file = trusted_path::open(CWD, path, flags, Mode::from_raw_mode(0o666));
        let file = file.map_err(|error| FileError::new(option, path, error))?;
        Ok(ReportFile { option, path: path.to_owned(), special: Some(file), _lock: None })
    }

    /// Returns its path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_special(&self) -> io::Result<File> {
        trusted_path::open(CWD, &self.path, SPECIAL, Mode::empty())
    }

    /// Decides where and how it is written. Symbolic links stay; their target is replaced.
    fn find(&self) -> io::Result<(Spot, Kind)> {
        let spot = trusted_path::spot(CWD, &self.path)?;
        if spot.is_magic() {
            return Ok((spot, Kind::Special));
        }
        let kind = match rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
                FileType::RegularFile => Kind::Plain(Some(found)),
                _ => Kind::Special,
            },
            Err(Errno::NOENT) => Kind::Plain(None),
            Err(error) => return Err(error.into()),
        };
        Ok((spot, kind))
    }

    /// Writes the file atomically: a reader sees either the old content or all of `contents`. If that fails, the run has
    /// failed.
    pub fn write(&self, contents: &[u8], output: &mut Output) {
        let write_special = |file: File| {
            let log = if is_our_output(&file)? { output.log() } else { CiLog::default() };
            Sink::new(file).write_all(&log.harmless(contents))
        };
        let written = match &self.special {
            Some(file) => file.try_clone().and_then(write_special),
            None => self.find().and_then(|(spot, kind)| match kind {
                Kind::Plain(old) => Replacement::begin(spot, old)?.finish(contents),
                Kind::Special => self.open_special().and_then(write_special),
            }),
        };
        if let Err(error) = written {
            output.fault(format!("{} {}: cannot write: {}", self.option, self.path.display(), reason(&error)));
        }
    }
}

/// Whether a file is the process's standard output or error, such as `/dev/stderr`.
fn is_our_output(file: &File) -> io::Result<bool> {
    let about = rustix::fs::fstat(file)?;
    let same = |other: rustix::io::Result<Stat>| {
        other.is_ok_and(|other| (other.st_dev, other.st_ino) == (about.st_dev, about.st_ino))
    };
    Ok(same(rustix::fs::fstat(rustix::stdio::stdout())) || same(rustix::fs::fstat(rustix::stdio::stderr())))
}

/// A new file that replaces another. Dropping it removes it.
struct Replacement {
    spot: Spot,
    file: File,
    /// Its name until then.
    name: Option<OsString>,
}

impl Replacement {
    fn begin(spot: Spot, old: Option<Stat>) -> io::Result<Replacement> {
        let mut name = OsString::from(".");
        name.push(&spot.name);
        name.push(format!(".{}.tmp", random_tag()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Users who may not read the old file must not read the new one before its mode is set.
        let mode = Mode::from_raw_mode(if old.is_some() { 0o600 } else { 0o666 });
        let file = File::from(rustix::fs::openat(&spot.directory, &name, flags, mode)?);
        let replacement = Replacement { spot, file, name: Some(name) };
        if let Some(old) = old {
            replacement.be_like(&old)?;
        }
        Ok(replacement)
    }

    /// Gives it owner, group and permissions of `old` where allowed: only root can change the owner, others only to their own groups.
    fn be_like(&self, old: &Stat) -> io::Result<()> {
        let new = rustix::fs::fstat(&self.file)?;
        let is_given = |user, group| rustix::fs::fchown(&self.file, user, group).is_ok();
        let has_group = old.st_gid == new.st_gid || is_given(None, Some(Gid::from_raw(old.st_gid)));
        // Another group must not get the old group's permissions. A file system without permissions refuses this.
        let mode = old.st_mode & if has_group { 0o777 } else { 0o707 };
        let _ = rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode));
        if old.st_uid != new.st_uid {
            is_given(Some(Uid::from_raw(old.st_uid)), None);
        }
        Ok(())
    }

    fn finish(mut self, contents: &[u8]) -> io::Result<()> {
        self.file.write_all(contents)?;
        self.file.sync_all()?;
        let Spot { directory, name, .. } = &self.spot;
        if let Some(temporary) = &self.name {
            rustix::fs::renameat(directory, temporary, directory, name)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = rustix::fs::unlinkat(&self.spot.directory, name, AtFlags::empty());
        }
    }
}
