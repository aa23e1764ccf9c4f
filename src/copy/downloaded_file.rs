//! A file on its way here: written under a temporary name, and renamed into its place once all of it is there.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::download_root::{Found, PlaceError, disk, found, in_the_way, refused, settle};
use super::kept_as;

/// A file under a temporary name in the directory where it will end.
///
/// Dropping it before it is in place removes it, unless it is kept for resuming.
#[derive(Debug)]
pub struct DownloadedFile {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) file: File,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    pub(super) length: u64,
    /// Its current name.
    pub(super) temporary: Vec<u8>,
    /// Its final name.
    pub(super) name: Vec<u8>,
    /// Its final path, for messages.
    pub(super) shown: String,
    pub(super) keep: bool,
}

impl DownloadedFile {
    /// Bytes that existed when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns its current path if it is kept for resuming.
    pub fn kept(&self) -> Option<String> {
        let directory = self.shown.rfind('/').map_or("", |slash| &self.shown[..=slash]);
        self.keep.then(|| format!("{directory}{}", String::from_utf8_lossy(&self.temporary)))
    }

    /// Turns an error into one that says where the file is now.
    fn failed(&self, mut error: PlaceError) -> PlaceError {
        if let Some(kept) = self.kept() {
            error.reason.push_str(&kept_as(&kept));
        }
        error
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), PlaceError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Keeps its first `length` bytes and cuts off the rest.
    ///
    /// # Errors
    /// The system refuses.
    pub fn truncate(&self, length: u64) -> Result<(), PlaceError> {
        self.file.set_len(length).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Fills `buffer` with the bytes written from `offset` on.
    ///
    /// # Errors
    /// There are fewer bytes, or the system refuses.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PlaceError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.failed(disk(self.shown.clone(), &error)))
    }

    /// Puts it in its place if it has `size` bytes. This is atomic: the old contents or all of the new. Its mode is
    /// `mode` within 0o777, as given; access and modification times are in seconds since 1970.
    ///
    /// # Errors
    /// Its size is wrong, something other than a file exists there, or the system refuses.
    pub fn finish(mut self, size: u64, mode: u32, times: Option<(u32, u32)>) -> Result<(), PlaceError> {
        let metadata = self.file.metadata().map_err(|error| disk(self.shown.clone(), &error))?;
        if metadata.len() != size {
            let reason = format!("{} bytes were written, not {size}", metadata.len());
            // Whatever it contains, resuming from it is wrong.
            self.keep = false;
            return Err(refused(self.shown.clone(), reason));
        }
        self.put(mode, times).map_err(|error| match error {
            Put::Failed(error) => self.failed(disk(self.shown.clone(), &error.into())),
            Put::Refused(reason) => self.failed(refused(self.shown.clone(), reason)),
            Put::Replaced => refused(self.shown.clone(), "another file replaced the temporary file".to_owned()),
        })
    }

    fn put(&mut self, mode: u32, times: Option<(u32, u32)>) -> Result<(), Put> {
        let mut mode = mode;
        match found(&self.directory, &self.name)? {
            // A replaced file keeps its mode, unless the remote mode is preserved, which comes with its times.
            Some(Found::File) if times.is_none() => {
                let stat = rustix::fs::statat(&*self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW)?;
                mode = stat.st_mode & 0o777;
            }
            None | Some(Found::File | Found::Link) => {}
            other => return Err(Put::Refused(in_the_way(other))),
        }
        settle(&self.file, Some(mode), times)?;
        // The host may know the name, and have sent a file with that name.
        let stat = rustix::fs::statat(&*self.directory, &*self.temporary, AtFlags::SYMLINK_NOFOLLOW)?;
        #[allow(clippy::unnecessary_cast, reason = "their types differ between systems")]
        if (stat.st_dev as u64, stat.st_ino as u64) != self.identity {
            self.keep = true;
            return Err(Put::Replaced);
        }
        rustix::fs::renameat(&*self.directory, &*self.temporary, &*self.directory, &*self.name)?;
        self.keep = true;
        Ok(())
    }

    /// Removes it on drop, even if it could be resumed.
    pub fn discard(mut self) {
        self.keep = false;
    }
}

impl Drop for DownloadedFile {
    fn drop(&mut self) {
        if !self.keep {
            let _ = rustix::fs::unlinkat(&*self.directory, &*self.temporary, AtFlags::empty());
        }
    }
}

/// The reason why a finished file is not in its place.
enum Put {
    Failed(Errno),
    Refused(String),
    /// Another file has its temporary name.
    Replaced,
}

impl From<Errno> for Put {
    fn from(error: Errno) -> Put {
        Put::Failed(error)
    }
}
