//! Copies of files and directories between this machine and the hosts: what both directions and both protocols (SFTP
//! and SCP) share.

pub mod blocks;
pub mod directories;
pub mod download_root;
pub mod downloaded_file;
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

/// Returns the end of a reason that names the partial file at `path`, kept for resuming.
fn kept_as(path: &str) -> String {
    format!("; the received part is kept as {path}")
}

/// Files that are named when a copy was cut short.
const NAMED: usize = 3;

/// Returns the first of these files and how many more there are; `None` without any.
fn some_of(mut files: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = files.by_ref().take(NAMED).collect();
    let more = files.count();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// Longest file name in bytes on every common file system.
const NAME_MAX: usize = 255;

/// The options of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Copy directories with all their contents.
    pub recursive: bool,
    /// Keep the modes and times of the source.
    pub preserve: bool,
    /// Read the copied data back and compare its SHA-256 before the file replaces the old one.
    pub checksum: bool,
    /// Continue the partial files of a failed copy; keep the partial files of this one if it fails.
    pub resume: bool,
    /// Write into an existing file instead of replacing it once all data has arrived.
    pub inplace: bool,
}

/// An upload: what all hosts get.
#[derive(Debug)]
pub struct Upload {
    /// The files and directories.
    pub sources: Arc<Sources>,
    /// The target on the host, by the rules of scp; empty is the home directory.
    pub target: Vec<u8>,
    /// The options.
    pub options: Options,
}

/// A download: what is fetched from every host.
#[derive(Debug)]
pub struct Download {
    /// The paths on the host; they may contain wildcards and start with `~`.
    pub remotes: Vec<Vec<u8>>,
    /// The name below the host's own directory; `None` for that directory itself.
    pub target: Option<Vec<u8>>,
    /// The options.
    pub options: Options,
}

/// The files of a copy and its direction.
pub enum Copy {
    /// To the hosts.
    Upload(Arc<Upload>),
    /// From the hosts.
    Download {
        /// What of each.
        download: Arc<Download>,
        /// The target directory of each host, by its number.
        directories: Vec<PathBuf>,
    },
    /// Another copy for each host, by its number, each as if it were for a single host.
    Each(Vec<Copy>),
}

impl Copy {
    /// Describes in words what a copy would do for the host with this number.
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
            Copy::Each(copies) => copies[number].describe(0),
        }
    }

    /// Returns how many local descriptors it takes.
    pub fn held(&self) -> Held {
        match self {
            Copy::Upload(_) => Held { per_host: 0, besides: Sources::DESCRIPTORS },
            Copy::Download { .. } => Held { per_host: Downloading::DESCRIPTORS as u64, besides: 0 },
            Copy::Each(copies) => {
                // A file is open once, and perhaps once more while its first descriptor is being replaced.
                let files = |copy: &Copy| match copy {
                    Copy::Upload(upload) => Sources::DESCRIPTORS.min(2 * upload.sources.entries().len() as u64),
                    _ => 0,
                };
                Held {
                    per_host: copies.iter().map(|copy| copy.held().per_host).max().unwrap_or_default(),
                    besides: copies.iter().map(files).sum(),
                }
            }
        }
    }

    /// Returns the dialogue with an SFTP server.
    ///
    /// # Errors
    /// The outcome if the host's directory cannot be used.
    pub fn over_sftp(&self, number: usize) -> Result<Box<dyn Dialogue>, Outcome> {
        Ok(match self {
            Copy::Upload(upload) => Box::new(Uploading::new(Arc::clone(upload))),
            Copy::Download { download, directories } => {
                Box::new(Downloading::new(Arc::clone(download), root(directories, number)?))
            }
            Copy::Each(copies) => return copies[number].over_sftp(0),
        })
    }

    /// Returns the dialogue with scp, and the command that starts it.
    ///
    /// # Errors
    /// See [`Copy::over_sftp`].
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
            Copy::Each(copies) => return copies[number].over_scp(0),
        })
    }
}

/// Returns the directory of a host.
fn root(directories: &[PathBuf], number: usize) -> Result<DownloadRoot, Outcome> {
    DownloadRoot::open(&directories[number]).map_err(|error| HostError::from(error).into())
}

/// Most directories that one host may send; a larger tree counts as endless: where each directory has two more, even a
/// few levels are as good as endless.
pub const MOST_DIRECTORIES: u64 = if cfg!(test) { 1 << 13 } else { 1 << 20 };

/// Returns the message for a larger tree.
pub fn endless() -> String {
    format!("more than {MOST_DIRECTORIES} directories: an endless tree?")
}

/// Returns the name for `name` in the same directory until all of it has arrived: `.NAME.pssh-TAG`. Long names are cut
/// so that the result stays valid.
pub fn temporary_name(name: &[u8], tag: &str) -> Vec<u8> {
    let room = NAME_MAX.saturating_sub(".".len() + ".pssh-".len() + tag.len());
    // Long names that differ only at their ends must stay different.
    let sum = if name.len() > room { format!("~{:08x}", fold(name)) } else { String::new() };
    let mut kept = name.len().min(room.saturating_sub(sum.len()));
    // Some file systems accept only UTF-8: cut between characters.
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

/// Hashes a name to the same number in every run (FNV-1a).
fn fold(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Returns eight unpredictable letters and digits for a temporary name.
pub fn random_tag() -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // The keys of std's hash maps come from the system's random numbers.
    let random = RandomState::new().build_hasher().finish();
    (0..8).map(|digit| char::from(DIGITS[(random >> (5 * digit)) as usize & 31])).collect()
}

/// The protocol, if the user chose one with scp's options.
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
