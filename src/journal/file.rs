//! The file of a journal: who may have written it, and that only one run writes to it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Uid;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::history::{History, HistoryError};
use super::record::Run;
use crate::system::files::bounded;
use crate::system::files::run_lock::{RunLock, Taken};
use crate::system::files::trusted_file::{self, Untrusted};
use crate::system::files::trusted_path;
use crate::system::files::unread::BeforeStart;
use crate::text::message::reason;

/// How long a lock may be held by a program that only looks at the journal.
const A_LOOK: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(20);
/// How often the file may turn out to be replaced by the time it is locked.
const MOST_EXCHANGES: usize = 16;

/// Why a file cannot be the journal of a run.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A system error.
    #[error("{}: {doing}: {}", .path.display(), reason(.error))]
    System {
        /// The file.
        path: PathBuf,
        /// What failed.
        doing: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// It does not keep what is written to it.
    #[error("{}: this is a {kind}; a journal is a regular file", .path.display())]
    Special {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Others could have written it.
    #[error("{}: {why}", .path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        why: Untrusted,
    },
    /// Another run writes to it.
    #[error("{}: another run writes to it now{}", .path.display(), writer(.process, .run))]
    Taken {
        /// The file.
        path: PathBuf,
        /// Its process, if the system knows it.
        process: Option<u32>,
        /// The last run in it.
        run: Option<Box<Run>>,
    },
    /// It is not a journal.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl BeforeStart for JournalError {
    fn is_unread(&self) -> bool {
        match self {
            JournalError::System { .. } | JournalError::Taken { .. } => true,
            JournalError::Special { .. } | JournalError::Untrusted { .. } => false,
            JournalError::History(error) => error.is_unread(),
        }
    }
}

/// Returns who writes to a journal: ` (pid 4711, since 2026-11-23T16:20:46Z)`.
fn writer(process: &Option<u32>, run: &Option<Box<Run>>) -> String {
    let known = process.map(u64::from).or(run.as_ref().map(|run| run.pid));
    // Until it has begun, the last run in the file is another one.
    let since = run.as_ref().filter(|run| Some(run.pid) == known).map(|run| format!(", since {}", run.began()));
    known.map(|process| format!(" (pid {process}{})", since.unwrap_or_default())).unwrap_or_default()
}

/// A journal that this process alone writes to.
#[derive(Debug)]
pub struct JournalFile {
    /// Its path, as given.
    pub path: PathBuf,
    /// The file, locked. What is written goes to its end.
    pub file: File,
    /// What it says.
    pub history: History,
}

impl JournalFile {
    /// Opens a journal, or creates it, and locks it. A last line that was not written to its end stays until the run begins.
    ///
    /// # Errors
    /// It cannot be written, another run writes to it, others could have written it, or it is another file.
    pub fn open(path: &Path) -> Result<JournalFile, JournalError> {
        let system = |doing| move |error| JournalError::System { path: path.to_owned(), doing, error };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        for _ in 0..MOST_EXCHANGES {
            refuse_special(path)?;
            let file = trusted_path::open(CWD, path, flags, Mode::RUSR | Mode::WUSR);
            let file = file.map_err(system("cannot open the journal"))?;
            let about = file.metadata().map_err(system("cannot read the journal"))?;
            if let Some(kind) = special(FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&about))) {
                return Err(JournalError::Special { path: path.to_owned(), kind });
            }
            trusted_file::check_open(&file, &about, Uid::effective().as_raw())
                .map_err(|why| JournalError::Untrusted { path: path.to_owned(), why })?;
            lock(&file, path)?;
            // The run that had the lock may have been told to use another file, and this one is gone.
            let (ours, there) = (rustix::fs::fstat(&file), rustix::fs::stat(path));
            if let (Ok(ours), Ok(there)) = (ours, there)
                && (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
            {
                let history = History::read(&file, path)?;
                return Ok(JournalFile { path: path.to_owned(), file, history });
            }
        }
        Err(system("cannot open the journal")(Errno::STALE.into()))
    }

    /// Looks at a journal, without a change to it. `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or a run writes to it now, or it is another file.
    pub fn look(path: &Path) -> Result<Option<(File, History)>, JournalError> {
        match look(path) {
            Err(JournalError::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            looked => looked.map(Some),
        }
    }

    /// Cuts off a last line that was not written to its end, and puts the file's name on the disk: a run begins.
    ///
    /// # Errors
    /// A system error.
    pub fn prepare(&self) -> Result<(), JournalError> {
        let system = |doing| move |error| JournalError::System { path: self.path.clone(), doing, error };
        if self.history.torn.is_some() {
            self.file.set_len(self.history.length).map_err(system("cannot cut off its last line"))?;
        }
        sync_directory(&self.path).map_err(system("cannot sync its directory"))
    }
}

/// Opens a journal to read it, with what it says.
///
/// # Errors
/// See [`JournalFile::look`].
pub fn look(path: &Path) -> Result<(File, History), JournalError> {
    let system = |error| JournalError::System { path: path.to_owned(), doing: "cannot read the journal", error };
    refuse_special(path)?;
    let file = bounded::open(path).map_err(system)?;
    let about = file.metadata().map_err(system)?;
    if let Some(kind) = special(FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&about))) {
        return Err(JournalError::Special { path: path.to_owned(), kind });
    }
    RunLock::is_free(&file).map_err(|taken| self::taken(&file, path, &taken))?;
    let history = History::read(&file, path)?;
    Ok((file, history))
}

/// Refuses what is not a file before it is opened: that may have an effect.
fn refuse_special(path: &Path) -> Result<(), JournalError> {
    let kind = rustix::fs::stat(path).ok().and_then(|about| special(FileType::from_raw_mode(about.st_mode)));
    kind.map_or(Ok(()), |kind| Err(JournalError::Special { path: path.to_owned(), kind }))
}

fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile => None,
        FileType::Directory => Some("directory"),
        FileType::Fifo => Some("pipe"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("device"),
        _ => Some("special file"),
    }
}

/// Locks the file for this process.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let until = Instant::now() + A_LOOK;
    loop {
        let Err(error) = RunLock::require(file) else { return Ok(()) };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Taken>()) {
            None => {
                let doing = "cannot lock the journal, without which two runs could send the same commands";
                return Err(JournalError::System { path: path.to_owned(), doing, error });
            }
            Some(taken) if Instant::now() >= until => return Err(self::taken(file, path, taken)),
            Some(_) => thread::sleep(PAUSE),
        }
    }
}

fn taken(file: &File, path: &Path, taken: &Taken) -> JournalError {
    // It is being written, so that its last line may be incomplete.
    let run = History::read(file, path).ok().and_then(|mut history| history.runs.pop()).map(Box::new);
    JournalError::Taken { path: path.to_owned(), process: taken.process(), run }
}

/// Puts the name of a file on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let spot = trusted_path::spot(CWD, path)?;
    if spot.is_magic() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&spot.directory, ".", flags, Mode::empty())?;
    match rustix::fs::fsync(&directory) {
        // A file system whose directories need no sync.
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        synced => Ok(synced?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::record::testing::{lines, run, sent};
    use super::super::record::{Record, Run};
    use super::*;

    fn problem(path: &Path) -> String {
        JournalFile::open(path).expect_err("refused").to_string()
    }

    #[test]
    fn a_new_journal_is_for_its_user_alone_and_one_run_at_a_time() {
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("J");
        assert!(JournalFile::look(&path).expect("none").is_none() && !path.exists(), "a look makes none");
        let first = JournalFile::open(&path).expect("a journal");
        first.prepare().expect("its directory");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
        let (own, place) = (std::process::id(), path.display());
        assert_eq!(problem(&path), format!("{place}: another run writes to it now (pid {own})"));
        let begun = Run { pid: own.into(), ..run("a", None, 2) };
        fs::write(&path, lines(&[Record::Run(begun)])).expect("written");
        let since = format!("{place}: another run writes to it now (pid {own}, since 2026-11-23T16:39:59Z)");
        assert_eq!(problem(&path), since);
        assert_eq!(JournalFile::look(&path).expect_err("it is being written").to_string(), since);
        drop(first);
        assert!(JournalFile::look(&path).expect("free").is_some());
        // One that is replaced while its lock is waited for is not written to.
        let old = JournalFile::open(&path).expect("free");
        fs::remove_file(&path).expect("removed");
        let new = JournalFile::open(&path).expect("another file");
        assert!(new.history.runs.is_empty() && old.history.runs.len() == 1);
    }

    #[test]
    fn what_was_not_written_to_its_end_is_cut_off_when_a_run_begins() {
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("J");
        let whole = lines(&[Record::Run(run("a", None, 2)), sent(0)]);
        fs::write(&path, [&whole[..], b"{\"event\":\"sent\",\"ti"].concat()).expect("written");
        let journal = JournalFile::open(&path).expect("a journal");
        assert_eq!(journal.history.torn.map(|torn| (torn.line, torn.bytes)), Some((3, 19)));
        assert_ne!(fs::read(&path).expect("a file"), whole, "until then it stays");
        journal.prepare().expect("cut off");
        assert_eq!(fs::read(&path).expect("a file"), whole);
    }

    #[test]
    fn other_files_and_files_of_others_are_refused_and_stay_as_they_are() {
        let top = tempfile::tempdir().expect("a directory");
        let path = |name: &str| top.path().join(name);
        for (path, kind) in [(Path::new("/dev/null"), "device"), (top.path(), "directory")] {
            assert_eq!(problem(path), format!("{}: this is a {kind}; a journal is a regular file", path.display()));
        }
        let fifo = path("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        assert!(problem(&fifo).ends_with("this is a pipe; a journal is a regular file"));
        for text in ["web1\n", "web1", "\n"] {
            fs::write(path("hosts"), text).expect("written");
            assert!(problem(&path("hosts")).ends_with("hosts: not a journal"));
            assert_eq!(fs::read_to_string(path("hosts")).expect("a file"), text);
        }
        fs::write(path("open"), "").expect("written");
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o666)).expect("a mode");
        assert!(problem(&path("open")).contains("mode 0666 lets others write it"));
        assert!(Uid::effective().is_root(), "only root can give a file away");
        fs::write(path("theirs"), "").expect("written");
        std::os::unix::fs::chown(path("theirs"), Some(65_534), None).expect("another owner");
        assert!(problem(&path("theirs")).contains("it belongs to another user"));
        symlink(path("hosts"), path("link")).expect("a link");
        std::os::unix::fs::lchown(path("link"), Some(65_534), None).expect("another owner");
        assert!(problem(&path("link")).contains("is a symbolic link of another user"));
        assert!(problem(&path("no/directory")).contains("cannot open the journal: No such file or directory"));
    }
}
