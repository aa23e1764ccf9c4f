//! Copies of files and directories between here and the hosts: what both directions and both protocols (SFTP and SCP) share.

pub mod blocks;
pub mod download_root;
mod failures;
pub mod rsync;
pub mod scp;
pub mod sftp;
pub mod sftp_download;
pub mod sftp_upload;
pub mod sources;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use self::download_root::DownloadRoot;
use self::sftp_download::Downloading;
use self::sftp_upload::Uploading;
use self::sources::Sources;
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::ssh::channel::dialogue::Dialogue;
use crate::system::open_files::Held;

/// The end of a reason why something was not copied, of which `path` is kept to be gone on with.
fn kept_as(path: &str) -> String {
    format!("; the received part is kept as {path}")
}

/// Files of a copy that was cut short that are named.
const NAMED: usize = 3;

/// The first of these files, and how many more there are; nothing without any.
fn some_of(mut files: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = files.by_ref().take(NAMED).collect();
    let more = files.count();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// Bytes that the name of a file may have on every usual file system.
const NAME_MAX: usize = 255;

/// What a copy takes along, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Directories are copied with all that is in them.
    pub recursive: bool,
    /// Modes and times are those of the source, instead of what the umask and the clock say.
    pub preserve: bool,
    /// What has arrived is read back and compared by SHA-256 before it takes its place.
    pub checksum: bool,
    /// What a copy that failed has left behind is continued; a failed copy leaves it behind.
    pub resume: bool,
    /// An existing file is written into, instead of being replaced when all has arrived.
    pub inplace: bool,
}

/// What all hosts get.
#[derive(Debug)]
pub struct Upload {
    /// The files and directories.
    pub sources: Arc<Sources>,
    /// Where they go on the host, by the rules of scp; empty is the home directory.
    pub target: Vec<u8>,
    /// How.
    pub options: Options,
}

/// What is fetched from every host.
#[derive(Debug)]
pub struct Download {
    /// The paths on the host; they may have wildcards, and begin with `~`.
    pub remotes: Vec<Vec<u8>>,
    /// The name below the host's own directory, or nothing for that directory itself.
    pub target: Option<Vec<u8>>,
    /// How.
    pub options: Options,
}

/// What is copied, and which way.
pub enum Copy {
    /// To the hosts.
    Upload(Arc<Upload>),
    /// From the hosts.
    Download {
        /// What of each.
        download: Arc<Download>,
        /// Into which directory, by the number of the host.
        directories: Vec<PathBuf>,
    },
}

impl Copy {
    /// What would be done for the host with this number, in words.
    pub fn describe(&self, number: usize) -> String {
        match self {
            Copy::Upload(upload) => {
                let (files, bytes) = (upload.sources.entries().len(), upload.sources.total());
                let target = String::from_utf8_lossy(&upload.target);
                let plural = if files == 1 { "" } else { "s" };
                let target = if target.is_empty() { "~" } else { &target };
                let skipped = upload.sources.skipped().map(|skipped| format!("; not {skipped}")).unwrap_or_default();
                format!("copy {files} file{plural}, {bytes} bytes, to {target}{skipped}")
            }
            Copy::Download { download, directories } => {
                let remotes: Vec<_> = download.remotes.iter().map(|path| String::from_utf8_lossy(path)).collect();
                let name = download.target.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                format!("copy {} to {}", remotes.join(" "), directories[number].join(&*name).display())
            }
        }
    }

    /// The descriptors that it takes of ours.
    pub fn held(&self) -> Held {
        match self {
            Copy::Upload(_) => Held { per_host: 0, besides: Sources::DESCRIPTORS },
            Copy::Download { .. } => Held { per_host: Downloading::DESCRIPTORS as u64, besides: 0 },
        }
    }

    /// What is spoken with an SFTP server.
    ///
    /// # Errors
    /// The outcome, if the host's directory cannot be used.
    pub fn over_sftp(&self, number: usize) -> Result<Box<dyn Dialogue>, Outcome> {
        Ok(match self {
            Copy::Upload(upload) => Box::new(Uploading::new(Arc::clone(upload))),
            Copy::Download { download, directories } => {
                Box::new(Downloading::new(Arc::clone(download), root(directories, number)?))
            }
        })
    }

    /// What is spoken with scp, and how that is started.
    ///
    /// # Errors
    /// As of [`Copy::over_sftp`].
    pub fn over_scp(&self, number: usize) -> Result<(Vec<u8>, Box<dyn Dialogue>), Outcome> {
        Ok(match self {
            Copy::Upload(upload) => {
                let line = scp::upload::command(upload, &random_tag());
                (line, Box::new(scp::upload::Sending::new(Arc::clone(upload))))
            }
            Copy::Download { download, directories } => {
                let line = scp::download::command(download);
                (line, Box::new(scp::download::Receiving::new(Arc::clone(download), root(directories, number)?)))
            }
        })
    }
}

/// The directory of a host.
fn root(directories: &[PathBuf], number: usize) -> Result<DownloadRoot, Outcome> {
    DownloadRoot::open(&directories[number]).map_err(|error| HostError::from(error).into())
}

/// Directories that one host may send, before its tree is taken for one that never ends: where each has two more, even a few levels are
/// as good as endless.
pub const MOST_DIRECTORIES: u64 = if cfg!(test) { 1 << 13 } else { 1 << 20 };

/// What is said of a tree with more.
pub fn endless() -> String {
    format!("more than {MOST_DIRECTORIES} directories: an endless tree?")
}

/// The name under which `name` is written until all of it has arrived, in the same directory: `.NAME.pssh-TAG`. Long names are
/// cut, so that the result is still a valid one.
pub fn temporary_name(name: &[u8], tag: &str) -> Vec<u8> {
    let room = NAME_MAX.saturating_sub(".".len() + ".pssh-".len() + tag.len());
    // Long names that differ only at their ends must not become one.
    let sum = if name.len() > room { format!("~{:08x}", fold(name)) } else { String::new() };
    let mut kept = name.len().min(room.saturating_sub(sum.len()));
    // Some file systems take nothing but UTF-8: no character is cut in two.
    while kept < name.len() && kept > 0 && name[kept] & 0xc0 == 0x80 {
        kept -= 1;
    }
    let mut temporary = Vec::with_capacity(NAME_MAX);
    temporary.push(b'.');
    temporary.extend_from_slice(&name[..kept]);
    temporary.extend_from_slice(sum.as_bytes());
    temporary.extend_from_slice(b".pssh-");
    temporary.extend_from_slice(tag.as_bytes());
    temporary
}

/// A name as one number, the same in every run (FNV-1a).
fn fold(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Eight letters and digits that nobody can foresee, for a temporary name.
pub fn random_tag() -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // The keys of std's hash maps come from the system's random numbers.
    let random = RandomState::new().build_hasher().finish();
    (0..8).map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize & 31])).collect()
}

/// How files are to be copied, if the user has said so to scp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// scp's own (`-O`).
    Scp,
    /// SFTP (`-s`).
    Sftp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_stay_within_what_a_file_system_takes() {
        assert_eq!(temporary_name(b"motd", "abc"), b".motd.pssh-abc");
        assert_eq!(temporary_name(b"\xff\n", "abc"), b".\xff\n.pssh-abc");
        let long = temporary_name(&[b'x'; 255], "abcdefgh");
        assert_eq!(long.len(), 255);
        assert!(long.starts_with(b".xx") && long.ends_with(b".pssh-abcdefgh"));
        let [one, other] = [b'1', b'2'].map(|last| temporary_name(&[&[b'x'; 250][..], &[last]].concat(), "abcdefgh"));
        assert!(one != other && one.len() == 255);
        // Two bytes each, so that one would be cut in two.
        for blanks in 0..2 {
            let name = format!("{}{}", " ".repeat(blanks), "ä".repeat(127));
            let cut = temporary_name(name.as_bytes(), "abcdefgh");
            assert!(cut.len() >= 254 && cut.len() <= 255, "{}", cut.len());
            assert!(String::from_utf8(cut).is_ok());
        }
        assert!(temporary_name(&[0x80; 300], "abcdefgh").len() <= 255);
    }

    #[test]
    fn tags_differ_and_are_harmless() {
        let tags: std::collections::HashSet<String> = (0..1_000).map(|_| random_tag()).collect();
        assert_eq!(tags.len(), 1_000);
        assert!(tags.iter().all(|tag| tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }
}
