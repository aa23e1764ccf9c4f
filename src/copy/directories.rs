//! The local directory of each host of a download.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

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

/// Returns the directories of these names in `base`, one for each host.
///
/// # Errors
/// The path of a directory has a link of another user.
pub fn directories(base: &Path, names: &[String]) -> Result<Vec<PathBuf>, DirectoryError> {
    let directory = |name: &String| {
        let path = base.join(name);
        match trusted_path::check(CWD, &path) {
            Ok(()) => Ok(path),
            Err(error) => Err(DirectoryError { path, error }),
        }
    };
    names.iter().map(directory).collect()
}
