//! The local directory of each host of a download.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use crate::hosts::HostSpec;
use crate::hosts::file_names;
use crate::system::files::trusted_path;
use crate::text::message::reason;

/// A directory of a host cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be written to: {}", .path.display(), reason(.error))]
pub struct DirectoryError {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// Returns the directory of each host in `base`.
///
/// # Errors
/// The path of a directory has a link of another user.
pub fn directories(base: &Path, hosts: &[HostSpec]) -> Result<Vec<PathBuf>, DirectoryError> {
    let names = file_names::directories(hosts.iter());
    let directory = |name: &String| {
        let path = base.join(name);
        match trusted_path::check(CWD, &path) {
            Ok(()) => Ok(path),
            Err(error) => Err(DirectoryError { path, error }),
        }
    };
    names.iter().map(directory).collect()
}
