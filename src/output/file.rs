//! Files that reports are written to: all of a file at once, at the end of the run.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::writer::Output;
use crate::error::reason;

/// A file that a report will be written to. Until then, whatever stands there stays.
#[derive(Debug)]
pub struct ReportFile {
    option: &'static str,
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Replaced by a new file with these permissions.
    Plain(u32),
    /// It cannot be replaced, such as `/dev/stderr`; written as it is.
    Special,
}

/// A report's file cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{option} {}: cannot write: {}", .path.display(), reason(.error))]
pub struct FileError {
    option: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl ReportFile {
    /// Makes sure that the file can be written, before the run; `option` is what names it on the command line.
    ///
    /// # Errors
    /// It cannot be.
    pub fn prepare(option: &'static str, path: &Path) -> Result<ReportFile, FileError> {
        let failed = |error| FileError { option, path: path.to_owned(), error };
        // A link stays, and what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let kind = match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => Kind::Special,
            // The mode of the old file, or that of a new one, less the umask.
            found => Kind::Plain(found.map_or(0o666, |found| found.permissions().mode() & 0o777)),
        };
        let file = ReportFile { option, path: path.clone(), kind };
        match kind {
            Kind::Plain(mode) => file.temporary(mode).map(drop).map_err(failed)?,
            Kind::Special => OpenOptions::new().append(true).open(&path).map(drop).map_err(failed)?,
        }
        Ok(file)
    }

    /// What takes the place of a plain file.
    fn temporary(&self, mode: u32) -> io::Result<NamedTempFile> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&name).suffix(".tmp").permissions(Permissions::from_mode(mode));
        builder.tempfile_in(directory.unwrap_or(Path::new(".")))
    }

    /// Writes the file: at any moment there is either what was there before, or all of `contents`. If that fails, the run has
    /// failed.
    pub fn write(&self, contents: &[u8], output: &mut Output) {
        let written = match self.kind {
            Kind::Plain(mode) => self.temporary(mode).and_then(|mut temporary| {
                temporary.write_all(contents)?;
                temporary.as_file().sync_all()?;
                temporary.persist(&self.path).map(drop).map_err(|error| error.error)
            }),
            Kind::Special => {
                OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(contents))
            }
        };
        if let Err(error) = written {
            output.fault(format!("{} {}: cannot write: {}", self.option, self.path.display(), reason(&error)));
        }
    }
}
