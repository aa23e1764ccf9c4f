//! `-o` and `-e`: a file for each host, with the bytes that it printed, exactly as they came and when they came.
//!
//! Names are pssh's: `[user@]host[:port]`, IPv6 addresses in brackets, the user only if it is not that of `-l`; hosts that are listed
//! again get `.1`, `.2` and so on, in list order. Unlike pssh, a host without output gets an empty file instead
//! of an old one from an earlier run. A host that was not reached gets none; its old file stays.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat};

use crate::events::event::{Event, EventKind, Outcome, Stream};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::events::tally::Tally;
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::files::run_lock::{DIRECTORY_LOCK, RunLock};
use crate::system::files::trusted_path;
use crate::system::open_files::Held;
use crate::system::sink::Sink;
use crate::text::message::reason;

/// Where the files go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directories {
    /// `--outdir` and `--errdir`, by the number of the [`Stream`].
    pub of: [Option<PathBuf>; 2],
    /// `--fileappend`: append to existing files.
    pub append: bool,
    /// Whether hosts without output get no file: copies print nothing.
    pub only_printed: bool,
}

impl Directories {
    /// Whether there are any files to write.
    pub fn is_empty(&self) -> bool {
        self.of.iter().all(Option::is_none)
    }

    /// Returns the file descriptors for the directories, their locks and the files of running hosts.
    pub fn held(&self) -> Held {
        let count = self.of.iter().flatten().count() as u64;
        Held { per_host: count, besides: 3 * count }
    }
}

/// Why a directory for files of hosts cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option} {}: {doing}: {}", .path.display(), reason(.error))]
pub struct DirectoryError {
    option: &'static str,
    path: PathBuf,
    doing: &'static str,
    error: io::Error,
}

/// The files of all hosts.
pub struct Files {
    directories: Directories,
    /// The directories themselves, open, by the number of the [`Stream`].
    places: [Option<OwnedFd>; 2],
    /// Keeps other runs out of them.
    _locks: Vec<RunLock>,
    /// By the number of the job.
    names: Vec<String>,
    /// By the number of the job: its open files, or why they cannot be written.
    open: Vec<[HostFileState; 2]>,
}

#[derive(Default)]
enum HostFileState {
    /// Nothing was written yet. Holds no descriptor, since a host may wait long for a retry.
    #[default]
    Idle,
    Open(Sink),
    /// What failed, with the file.
    Failed(PathBuf, io::Error),
}

impl Files {
    /// Creates the directories for files of these names, by the number of the job.
    ///
    /// # Errors
    /// A directory or files in it cannot be created, or another run uses it.
    pub fn new(directories: Directories, names: Vec<String>) -> Result<Files, DirectoryError> {
        let (mut places, mut locks, mut locked) = ([None, None], Vec::new(), Vec::new());
        for ((option, path), place) in ["--outdir", "--errdir"].iter().zip(&directories.of).zip(&mut places) {
            let Some(path) = path else { continue };
            let wrong = |doing, error| DirectoryError { option, path: path.clone(), doing, error };
            let directory = trusted_path::directory(path).map_err(|error| wrong("cannot be created", error))?;
            let access = accessat(&directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
            access.map_err(|error| wrong("files cannot be created in it", error.into()))?;
            // Both may be the same.
            let identity = rustix::fs::fstat(&directory).map(|about| (about.st_dev, about.st_ino)).ok();
            // A host may have this file name.
            if !locked.contains(&identity) && !names.iter().any(|name| name == DIRECTORY_LOCK) {
                locked.push(identity);
                locks.extend(RunLock::of_directory(&directory).map_err(|taken| wrong("cannot be used", taken.into()))?);
            }
            for name in &names {
                let checked = trusted_path::check(&directory, Path::new(name));
                checked.map_err(|error| wrong("a file in it cannot be written", error))?;
            }
            *place = Some(directory);
        }
        let mut open = Vec::new();
        open.resize_with(names.len(), Default::default);
        Ok(Files { directories, places, _locks: locks, names, open })
    }

    /// Creates the file, or truncates that of an earlier run.
    fn create(&mut self, job: usize, stream: Stream) {
        let Some(directory) = &self.places[stream as usize] else { return };
        if matches!(self.open[job][stream as usize], HostFileState::Idle)
            && let Err(error) = open(directory, &self.names[job], !self.directories.append)
        {
            self.open[job][stream as usize] = HostFileState::Failed(self.path(job, stream), error);
        }
    }

    fn write(&mut self, job: usize, stream: Stream, bytes: &[u8]) {
        let Some(directory) = &self.places[stream as usize] else { return };
        let state = &mut self.open[job][stream as usize];
        let written = match state {
            HostFileState::Failed(..) => Ok(()),
            HostFileState::Open(sink) => sink.write_all(bytes),
            HostFileState::Idle => open(directory, &self.names[job], false).and_then(|file| {
                let mut sink = Sink::new(file);
                let written = sink.write_all(bytes);
                *state = HostFileState::Open(sink);
                written
            }),
        };
        if let Err(error) = written {
            // Output after a gap would look as if it followed directly.
            self.open[job][stream as usize] = HostFileState::Failed(self.path(job, stream), error);
        }
    }

    /// Returns the path of a file, for messages.
    fn path(&self, job: usize, stream: Stream) -> PathBuf {
        let directory = self.directories.of[stream as usize].as_deref();
        directory.unwrap_or(Path::new("")).join(&self.names[job])
    }

    /// Closes a file and returns its error. Network file systems may report a full disk only now.
    fn close(&mut self, job: usize, stream: Stream) -> Option<(PathBuf, io::Error)> {
        match std::mem::take(&mut self.open[job][stream as usize]) {
            HostFileState::Idle => None,
            HostFileState::Open(sink) => {
                let error = nix::unistd::close(OwnedFd::from(sink.into_file())).err()?;
                Some((self.path(job, stream), error.into()))
            }
            HostFileState::Failed(path, error) => Some((path, error)),
        }
    }
}

/// Opens a file to append to it, since both streams may share a directory and file. A FIFO without a reader is an error
/// instead of a wait.
fn open(directory: &OwnedFd, name: &str, is_emptied: bool) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if is_emptied { flags | OFlags::TRUNC } else { flags };
    trusted_path::open(directory, Path::new(name), flags, Mode::from_raw_mode(0o666))
}

impl Report for Files {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        match &event.kind {
            EventKind::Connected if !self.directories.only_printed => {
                self.create(job.number, Stream::Stdout);
                self.create(job.number, Stream::Stderr);
            }
            EventKind::Output { stream, bytes } => self.write(job.number, *stream, bytes),
            _ => {}
        }
    }

    fn verdict(&mut self, job: &Job, outcome: &Outcome) -> Option<HostError> {
        let stdout = self.close(job.number, Stream::Stdout);
        let (path, error) = self.close(job.number, Stream::Stderr).or(stdout)?;
        Some(HostError::Local {
            doing: "writing its output",
            detail: format!("{}: {}", path.display(), reason(&error)),
            hint: Some(Remedy::OutputIncomplete { command: outcome.to_string() }),
        })
    }

    fn finish(&mut self, _: &Tally, _: &mut Output) {}
}
