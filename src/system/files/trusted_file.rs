//! Trust in files that can run local programs or weaken the check of host keys: only their user and root may be able to
//! write them.
//!
//! It is ssh's rule for `~/.ssh/config` (`read_config_file_depth` in readconf.c). It always applies to config.toml. It
//! applies to a hosts file or a `--host-config` file only if that sets something of this kind: lists of hosts often
//! belong to a team.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};
use rustix::io::Errno;

use crate::system::descriptors;
use crate::system::files::bounded;

/// Why a file is not trusted: others could have written it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It belongs to another user.
    Owner(u32),
    /// Its mode lets others write.
    Mode(u32),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::Owner(uid) => {
                let user = User::from_uid(Uid::from_raw(*uid)).ok().flatten();
                let name = user.map(|user| format!("{}, ", user.name)).unwrap_or_default();
                write!(
                    f,
                    "bad owner or permissions: it belongs to another user ({name}uid {uid}) (chown it, or copy it)"
                )
            }
            Untrusted::Mode(mode) => {
                write!(f, "bad owner or permissions: mode {:04o} lets others write it (chmod go-w)", mode & 0o7777)
            }
        }
    }
}

/// Checks that only root and the user `uid` can have written the file.
///
/// A group may write if the user is its only member, as in Debian's ssh: with the umask 002 every file is like that.
///
/// # Errors
/// Another user can.
pub fn check(file: &Metadata, uid: u32) -> Result<(), Untrusted> {
    if file.uid() != 0 && file.uid() != uid {
        return Err(Untrusted::Owner(file.uid()));
    }
    let is_private = || private(file.gid(), file.uid()).unwrap_or(false);
    if file.mode() & 0o002 != 0 || (file.mode() & 0o020 != 0 && !is_private()) {
        return Err(Untrusted::Mode(file.mode()));
    }
    Ok(())
}

/// The same for an open file. With an ACL, the group bits are those of everybody in the list, even if the group is empty.
///
/// # Errors
/// Another user can.
pub fn check_open(file: impl AsFd, about: &Metadata, uid: u32) -> Result<(), Untrusted> {
    let has_list = || rustix::fs::fgetxattr(&file, c"system.posix_acl_access", &mut [0; 256][..]) != Err(Errno::NODATA);
    match check(about, uid) {
        Ok(()) if about.mode() & 0o020 != 0 && about.is_file() && has_list() => Err(Untrusted::Mode(about.mode())),
        checked => checked,
    }
}

/// Whether `owner` is the only member of the group `gid`; `None` if the databases don't say.
fn private(gid: u32, owner: u32) -> Option<bool> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let groups = fs::read_to_string("/etc/group").ok()?;
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number = |fields: &[String], at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
    let group = groups.lines().map(fields).find(|group| number(group, 2) == Some(gid))?;
    let members: Vec<&str> = group.get(3)?.split(',').filter(|name| !name.is_empty()).collect();
    let users: Vec<Vec<String>> = users.lines().map(fields).collect();
    let owner_name = users.iter().find(|user| number(user, 2) == Some(owner))?.first()?;
    let mut primary = users.iter().filter(|user| number(user, 3) == Some(gid)).peekable();
    let any = primary.peek().is_some() || !members.is_empty();
    Some(any && primary.all(|user| number(user, 2) == Some(owner)) && members.iter().all(|name| name == owner_name))
}

/// The contents of a file, and whether they may run programs or weaken checks.
pub struct Contents {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The reason, if they may not.
    pub untrusted: Option<Untrusted>,
}

/// Reads a file whole, `-` for standard input, and determines whether it is trusted: the very file that is read.
///
/// An inherited pipe, socket or terminal (`-`, `/dev/stdin`, `<(COMMAND)`) is trusted: the user who started pssh chose
/// its contents. A redirected regular file is judged like any other.
///
/// # Errors
/// See [`bounded::read`].
pub fn read(path: &Path, most: u64) -> io::Result<Contents> {
    if path == Path::new("-") {
        let file = rustix::stdio::stdin();
        let about = file.try_clone_to_owned().and_then(|file| File::from(file).metadata());
        let about = about.ok().filter(Metadata::is_file);
        let untrusted = about.and_then(|about| check_open(file, &about, Uid::effective().as_raw()).err());
        return Ok(Contents { bytes: bounded::read_from(io::stdin().lock(), most)?, untrusted });
    }
    let (file, untrusted) = open(path)?;
    Ok(Contents { bytes: bounded::read_open(file, most)?, untrusted })
}

/// Opens a file as [`bounded::open`] does; returns also why it is not trusted, if so.
///
/// # Errors
/// See [`bounded::open`].
pub fn open(path: &Path) -> io::Result<(File, Option<Untrusted>)> {
    let file = bounded::open(path)?;
    let about = file.metadata()?;
    let untrusted = check_open(&file, &about, Uid::effective().as_raw()).err();
    Ok((file, untrusted.filter(|_| about.is_file() || descriptors::number(path).is_none())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn the_message_names_owner_and_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "x").expect("a file");
        let told = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the mode");
            read(&path, 10).expect("readable").untrusted.map(|why| why.to_string())
        };
        assert_eq!((told(0o600), told(0o644), told(0o755)), (None, None, None));
        assert_eq!(
            told(0o646).as_deref(),
            Some("bad owner or permissions: mode 0646 lets others write it (chmod go-w)")
        );
        assert!(Uid::effective().is_root(), "only root can give a file away");
        chown(&path, Some(65_534), None).expect("another owner");
        let told = told(0o644).expect("another user's");
        assert!(told.contains("it belongs to another user (nobody, uid 65534)"), "{told}");
    }

    #[test]
    fn a_pipe_is_trusted_where_it_was_inherited_and_not_by_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a FIFO");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the mode");
        let about = fs::metadata(&path).expect("a FIFO");
        assert_eq!(check(&about, Uid::effective().as_raw()), Err(Untrusted::Mode(about.mode())));
    }

    #[test]
    fn an_access_list_lets_others_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "x").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        // acl(5), as the kernel keeps it: the owner, user 65534 and the mask may write, the group and others may not.
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 6, 65534), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 4, u32::MAX)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            list.extend(tag.to_le_bytes().into_iter().chain(bits.to_le_bytes()).chain(id.to_le_bytes()));
        }
        let (_, untrusted) = open(&path).expect("a file");
        assert_eq!(untrusted, None);
        let set = rustix::fs::setxattr(&path, c"system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
        // Not every file system has ACLs.
        assert!(matches!(set, Ok(()) | Err(Errno::OPNOTSUPP)), "{set:?}");
        let (_, untrusted) = open(&path).expect("a file");
        assert_eq!(untrusted.is_some(), set.is_ok(), "{untrusted:?}");
    }
}
