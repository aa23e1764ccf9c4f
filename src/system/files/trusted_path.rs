//! Paths that we write to: no symbolic link of another user is followed, neither on the way nor at the end.
//!
//! A user who can write to a directory, such as /tmp, can create a link there that leads to one of our files, which we
//! would then overwrite or fill. Links of root and our own are followed, as always. The kernel has the same rule
//! (`protected_symlinks`, proc(5)), but only for sticky directories, and only if it is turned on.
//!
//! The same holds for a non-file at the end of a path, such as a FIFO: its reader could block us. One of ours or of
//! root, such as /dev/null, is accepted.
//!
//! A path is walked one name at a time from open directory to open directory, so that no part of it can be replaced
//! between the check and the use.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Uid, User};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::system::descriptors;

/// How many links a path may lead through (MAXSYMLINKS of Linux).
const MOST_LINKS: usize = 40;
/// How often a name that was not a link may turn out to be one.
const MOST_EXCHANGES: usize = 16;
/// The open flags for a directory on the way: without the right to read it, if the system can.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What to do about missing directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Make,
    Fail,
}

/// An open directory and a name in it.
#[derive(Debug)]
pub struct Spot {
    /// The directory.
    pub directory: OwnedFd,
    /// The name: not of a link, unless the kernel must follow it.
    pub name: OsString,
    /// Whether it is a proc file system link to something open, such as a pipe: its text is not a path.
    is_magic: bool,
}

impl Spot {
    /// Whether it leads to something that is already open, such as a pipe of the shell, and can only be opened as it
    /// is.
    pub fn is_magic(&self) -> bool {
        self.is_magic
    }
}

/// Opens a directory, for [`open`] and [`check`]. It and its parents are created if they are missing.
///
/// # Errors
/// A system error, or a link of another user on the way.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    let mut walk = Walk::new(CWD, path, Missing::Make)?;
    while let Some(name) = walk.rest.pop_front() {
        walk.step(name)?;
    }
    Ok(walk.directory)
}

/// Opens a file; a relative `path` starts from `directory`. Its directory must exist.
///
/// # Errors
/// See [`directory`].
pub fn open(directory: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    for _ in 0..MOST_EXCHANGES {
        let spot = spot(&directory, path)?;
        let flags = if spot.is_magic { flags } else { flags | OFlags::NOFOLLOW };
        if !spot.is_magic
            && let Ok(about) = rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW)
        {
            refuse_planted(path, &about)?;
        }
        match rustix::fs::openat(&spot.directory, &spot.name, flags | OFlags::CLOEXEC, mode) {
            // It was replaced by a link meanwhile.
            Err(Errno::LOOP | Errno::MLINK) => {}
            opened => {
                let file = File::from(opened?);
                if !spot.is_magic {
                    // It may have been replaced by another file meanwhile.
                    refuse_planted(path, &rustix::fs::fstat(&file)?)?;
                }
                return Ok(file);
            }
        }
    }
    Err(Errno::LOOP.into())
}

/// Resolves a path: through all links, to the directory of what exists or would be created there.
///
/// # Errors
/// See [`directory`].
pub fn spot(directory: impl AsFd, path: &Path) -> io::Result<Spot> {
    descriptors::check_path(path)?;
    let mut walk = Walk::new(directory.as_fd(), path, Missing::Fail)?;
    loop {
        let name = walk.rest.pop_front().unwrap_or_else(|| ".".into());
        if !walk.rest.is_empty() {
            walk.step(name)?;
            continue;
        }
        match look(walk.directory.as_fd(), &name) {
            Ok(Found::Link(link)) if is_magic(walk.directory.as_fd()) => {
                drop(link);
                return Ok(Spot { directory: walk.directory, name, is_magic: true });
            }
            Ok(Found::Link(link)) => walk.follow(&name, &link)?,
            Ok(Found::Other) | Err(Errno::NOENT) => {
                return Ok(Spot { directory: walk.directory, name, is_magic: false });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Checks that a path leads through no link that is not followed, as far as it exists.
///
/// # Errors
/// A link of another user on the way.
pub fn check(directory: impl AsFd, path: &Path) -> io::Result<()> {
    match spot(directory, path) {
        // The caller reports all other errors.
        Err(error) if is_refusal(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Refuses a non-file of another user in place of our file: it would block the writer, or read all data.
fn refuse_planted(path: &Path, about: &Stat) -> io::Result<()> {
    let what = match FileType::from_raw_mode(about.st_mode) {
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => return Ok(()),
    };
    let owner = Uid::from_raw(about.st_uid);
    if is_trusted(owner) {
        return Ok(());
    }
    let problem = format!("{} is a {what} of another user ({}), which is not written to", path.display(), named(owner));
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

/// Whether files of this user may be used: we and root have full power over us anyway.
fn is_trusted(owner: Uid) -> bool {
    owner == Uid::from_raw(0) || owner == Uid::effective()
}

fn named(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| format!("{}, uid {uid}", user.name))
}

/// A link that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{} is a symbolic link of another user ({owner}), which is not followed", .link.display())]
struct Foreign {
    link: PathBuf,
    owner: String,
}

fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Foreign>())
}

/// A path during the walk.
struct Walk {
    directory: OwnedFd,
    /// The current place, for messages.
    walked: PathBuf,
    /// The remaining names.
    rest: VecDeque<OsString>,
    links: usize,
    missing: Missing,
}

impl Walk {
    fn new(directory: BorrowedFd<'_>, path: &Path, missing: Missing) -> io::Result<Walk> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let directory = rustix::fs::openat(directory, ".", STEP, Mode::empty())?;
        let mut walk = Walk { directory, walked: PathBuf::new(), rest: VecDeque::new(), links: 0, missing };
        walk.prepend(path)?;
        Ok(walk)
    }

    /// Inserts `path` before the remaining names.
    fn prepend(&mut self, path: &Path) -> io::Result<()> {
        if path.has_root() {
            self.directory = rustix::fs::open("/", STEP, Mode::empty())?;
            self.walked = PathBuf::from("/");
        }
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        // A path that ends in a slash names a directory.
        let is_directory = path.as_os_str().as_bytes().ends_with(b"/");
        let names: Vec<OsString> = names.chain(is_directory.then(|| ".".into())).collect();
        for name in names.into_iter().rev() {
            self.rest.push_front(name);
        }
        Ok(())
    }

    /// Enters the directory called `name`, or follows the link of that name.
    fn step(&mut self, name: OsString) -> io::Result<()> {
        let found = match look(self.directory.as_fd(), &name) {
            Err(Errno::NOENT) if self.missing == Missing::Make => {
                match rustix::fs::mkdirat(&self.directory, &name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => look(self.directory.as_fd(), &name)?,
                    Err(error) => return Err(error.into()),
                }
            }
            found => found?,
        };
        match found {
            Found::Link(link) if !is_magic(self.directory.as_fd()) => self.follow(&name, &link),
            found => {
                let follow = if matches!(found, Found::Link(_)) { OFlags::empty() } else { OFlags::NOFOLLOW };
                self.directory = rustix::fs::openat(&self.directory, &name, STEP | follow, Mode::empty())?;
                match name.as_bytes() {
                    b"." => {}
                    b".." if self.walked.file_name().is_some() => drop(self.walked.pop()),
                    _ => self.walked.push(name),
                }
                Ok(())
            }
        }
    }

    /// Continues with a link's text, if it may be followed.
    fn follow(&mut self, name: &OsStr, link: &Link) -> io::Result<()> {
        if !is_trusted(link.owner) {
            let refusal = Foreign { link: self.walked.join(name), owner: named(link.owner) };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        self.prepend(&link.target)
    }
}

/// A symbolic link: its owner and its text, both of the same one.
struct Link {
    owner: Uid,
    target: PathBuf,
}

enum Found {
    Link(Link),
    Other,
}

/// Returns what exists as `name` in a directory.
fn look(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Found, Errno> {
    let is_link = |about: &Stat| FileType::from_raw_mode(about.st_mode) == FileType::Symlink;
    #[cfg(target_os = "linux")]
    let (about, target) = {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        let about = rustix::fs::fstat(&found)?;
        (about, move || rustix::fs::readlinkat(found, "", Vec::new()))
    };
    #[cfg(not(target_os = "linux"))]
    let (about, target) = {
        let about = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        (about, move || rustix::fs::readlinkat(directory, name, Vec::new()))
    };
    if !is_link(&about) {
        return Ok(Found::Other);
    }
    let target = PathBuf::from(OsString::from_vec(target()?.into_bytes()));
    Ok(Found::Link(Link { owner: Uid::from_raw(about.st_uid), target }))
}

/// Whether the kernel creates the links in this directory: users cannot, and their text need not be a path.
#[cfg(target_os = "linux")]
fn is_magic(directory: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|about| about.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_magic(_: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    const WRITE: OFlags = OFlags::WRONLY.union(OFlags::CREATE);

    fn write(path: &Path) -> io::Result<()> {
        open(CWD, path, WRITE, Mode::RUSR | Mode::WUSR).and_then(|mut file| file.write_all(b"new"))
    }

    #[test]
    fn links_of_ours_lead_where_they_say() {
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        drop(directory(&at("a/b/c")).expect("made"));
        assert!(at("a/b/c").is_dir());
        symlink("b/c", at("a/down")).expect("a link");
        symlink("../../../file", at("a/b/c/up")).expect("a link");
        symlink(at("a/down/up"), at("absolute")).expect("a link");
        symlink("nowhere/yet", at("dangling")).expect("a link");
        symlink("loop", at("loop")).expect("a link");
        write(&at("absolute")).expect("through four links");
        assert_eq!(fs::read(at("file")).expect("there"), b"new");
        assert_eq!(write(&at("dangling")).expect_err("no such directory").kind(), io::ErrorKind::NotFound);
        drop(directory(&at("nowhere")).expect("made"));
        write(&at("dangling")).expect("a link to a new file");
        assert!(at("nowhere/yet").is_file());
        assert_eq!(write(&at("loop")).expect_err("a loop").raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(write(&at("file/x")).is_err() && write(&at("a/")).is_err() && write(Path::new("")).is_err());
        let base = directory(&at("a/./b/..")).expect("there");
        open(&base, Path::new("down/../x"), WRITE, Mode::RUSR).expect("as the kernel reads it");
        assert!(at("a/b/x").is_file());
    }

    #[test]
    fn what_the_kernel_links_is_open_already() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        // As if the shell had passed it: our own are not opened by number.
        rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).expect("a flag");
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        open(CWD, Path::new(&path), OFlags::WRONLY, Mode::empty()).expect("a pipe").write_all(b"x").expect("room");
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("a byte");
        assert_eq!(&byte, b"x");
        check(CWD, Path::new("/proc/self/cwd/x")).expect("no such path, and no link");
    }

    #[test]
    fn fifos_of_others_are_not_written_to() {
        assert!(Uid::effective().is_root(), "only root can make a FIFO that belongs to another user");
        let top = tempfile::tempdir().expect("a directory");
        let path = top.path().join("fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
        let flags = OFlags::RDWR | OFlags::NONBLOCK;
        open(CWD, &path, flags, Mode::empty()).expect("one of ours");
        lchown(&path, Some(65534), None).expect("another owner");
        // Also where opening it would wait for a reader.
        for flags in [flags, OFlags::WRONLY] {
            let error = open(CWD, &path, flags, Mode::empty()).expect_err("refused");
            assert!(
                error
                    .to_string()
                    .ends_with("fifo is a FIFO of another user (nobody, uid 65534), which is not written to")
            );
        }
        open(CWD, Path::new("/dev/null"), OFlags::WRONLY, Mode::empty()).expect("one of root");
    }

    #[test]
    fn links_of_others_are_not_followed() {
        assert!(Uid::effective().is_root(), "only root can make a link that belongs to another user");
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        let link = |to: &str, name: &str, owner: u32| {
            symlink(to, at(name)).expect("a link");
            lchown(at(name), Some(owner), None).expect("another owner");
        };
        fs::create_dir(at("d")).expect("a directory");
        fs::write(at("d/file"), "old").expect("a file");
        link("d", "theirs", 65534);
        link("d/file", "their-file", 4_000_000);
        symlink("theirs/file", at("ours")).expect("a link");
        for (path, owner) in [("theirs/file", "nobody, uid 65534"), ("their-file", "uid 4000000"), ("ours", "nobody")] {
            let error = write(&at(path)).expect_err("refused");
            assert!(error.to_string().contains(&format!("is a symbolic link of another user ({owner}")), "{error}");
            assert!(check(CWD, &at(path)).is_err(), "{path}");
        }
        assert!(directory(&at("theirs/new")).is_err() && !at("d/new").exists());
        assert_eq!(fs::read(at("d/file")).expect("a file"), b"old");
        check(CWD, &at("d/missing/x")).expect("nothing is there");
    }
}
