//! Reads whole files that the user named: no more bytes than such a file ever has, so that `/dev/zero` and an endless
//! pipe are errors and do not fill the memory; and waiting for a pipe, a terminal or a device ends with the run.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use crate::system::cancel::Cancel;
use crate::system::descriptors;
use crate::system::poll::Patience;
use crate::system::sink;
use crate::text::sanitize::sanitize;

/// The largest list of hosts, of arguments for them or of host keys: 1,000,000 hosts with 67 bytes each.
pub const LIST: u64 = 64 << 20;
/// The largest ssh_config, all of its files together.
pub const SSH_CONFIG: u64 = 16 << 20;
/// The largest TOML file: its parsed form can be eighty times as large.
pub const TOML: u64 = 4 << 20;
/// The largest file with a key or certificate (MAX_KEY_FILE_SIZE of OpenSSH's authfile.c).
pub const KEY: u64 = 1 << 20;

/// The largest file with a time zone: the largest of tzdata has 4 KiB.
pub const TIME_ZONE: u64 = 1 << 20;

thread_local! {
    /// The cancel that ends the waits of this thread's reads.
    static CANCEL: RefCell<Option<Cancel>> = const { RefCell::new(None) };
}

/// Runs `work`, in which `cancel` ends every wait for a file without data.
///
/// It is set per thread, since files are opened many layers below those that know the cancel. Before the signal
/// handlers are installed no cancel is needed: a signal ends the process there.
pub fn under<T>(cancel: &Cancel, work: impl FnOnce() -> T) -> T {
    /// Restores the previous one, also after a panic.
    struct Before(Option<Cancel>);
    impl Drop for Before {
        fn drop(&mut self) {
            CANCEL.set(self.0.take());
        }
    }
    let _before = Before(CANCEL.replace(Some(cancel.clone())));
    work()
}

/// Opens a file to read it with [`read_open`]. It never waits, not even for the other end of a FIFO.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    descriptors::check_path(path)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Reads a file whole.
///
/// # Errors
/// A system error; [`ErrorKind::FileTooLarge`] if it has more than `most` bytes; or the run was cancelled before data
/// arrived.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(open(path)?, most)
}

/// Reads a file whose contents are complete: refuses anything but a regular file.
///
/// # Errors
/// See [`read`]; or it is a FIFO, a device or a socket.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    read_open(file, most)
}

/// Reads a file of [`open`].
///
/// # Errors
/// See [`read`].
pub fn read_open(file: File, most: u64) -> io::Result<Vec<u8>> {
    // A regular file's size is known. One that is too large is not read, and the others go into a single allocation: a
    // growing buffer leaves copies behind, which stay in memory even if it is a private key.
    let size = file.metadata().map_or(0, |about| if about.is_file() { about.len() } else { 0 });
    if size > most {
        return Err(too_large(most));
    }
    // One more byte, to find the end.
    read_into(Vec::with_capacity(size as usize + 1), Waiting::new(&file), most)
}

/// Reads the rest of a file of [`open`].
///
/// # Errors
/// See [`read`].
pub fn read_rest(file: &File, most: u64) -> io::Result<Vec<u8>> {
    read_into(Vec::new(), Waiting::new(file), most)
}

/// A file that is waited for while it has no data.
struct Waiting<'a> {
    file: &'a File,
    /// Whether the user knows of the wait, or need not.
    is_told: bool,
}

impl<'a> Waiting<'a> {
    fn new(file: &'a File) -> Waiting<'a> {
        let is_fifo = file.metadata().is_ok_and(|about| about.file_type().is_fifo());
        Waiting { file, is_told: !is_fifo }
    }
}

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // First, since a FIFO without a writer reads as if it were at its end.
            if !std::mem::replace(&mut self.is_told, true) {
                tell_of_wait(self.file);
            }
            wait_for(self.file)?;
            match self.file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// How long to wait for a FIFO before the user is told.
const SILENT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Tells the user at a terminal what the program waits for, after a while: there is no other sign of life.
fn tell_of_wait(file: &File) {
    let has_come = poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&SILENT)).is_ok_and(|ready| ready > 0);
    if has_come || !io::stderr().is_terminal() {
        return;
    }
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    // Lists are read before the run's name is known: use the program's.
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (program, name) = (sanitize(&program).into_owned(), name.to_string_lossy().into_owned());
    let line =
        format!("{program}: waiting for {}: no process has written to it yet (Ctrl-C ends this)\n", sanitize(&name));
    let _ = sink::write_to(io::stderr(), line.as_bytes());
}

fn wait_for(file: &File) -> io::Result<()> {
    let wait = [(file.as_fd(), PollFlags::IN)];
    CANCEL.with_borrow(|cancel| match cancel {
        Some(cancel) => Patience::endless(cancel).wait(&wait).map(drop).map_err(cancelled),
        None => crate::system::poll::poll_with(None, &wait, None).map(drop),
    })
}

/// An error of another kind: `read_to_end` retries an interrupted read.
fn cancelled(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::Interrupted { io::Error::other("cancelled") } else { error }
}

/// The same for an open reader.
///
/// # Errors
/// See [`read`].
pub fn read_from(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    read_into(Vec::new(), file, most)
}

fn read_into(mut bytes: Vec<u8>, file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

fn too_large(most: u64) -> io::Error {
    let problem = format!("it has more than {} MiB, the limit for such a file", most >> 20);
    io::Error::new(ErrorKind::FileTooLarge, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_allowed() {
        let two = 2 << 20;
        assert_eq!(read_from(&vec![7; two as usize][..], two).expect("just so much").len() as u64, two);
        let error = read_from(io::repeat(0), two).expect_err("endless");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(crate::text::message::reason(&error), "it has more than 2 MiB, the limit for such a file");
        assert_eq!(read(Path::new("/dev/zero"), two).expect_err("endless").kind(), ErrorKind::FileTooLarge);
        let mut key = tempfile::NamedTempFile::new().expect("a file");
        io::Write::write_all(&mut key, &[7; 5000]).expect("a key");
        let whole = read(key.path(), two).expect("a small file");
        assert_eq!((whole.len(), whole.capacity()), (5000, 5001), "in one piece");
        let sparse = tempfile::NamedTempFile::new().expect("a file");
        sparse.as_file().set_len(1 << 40).expect("a sparse file");
        assert_eq!(read(sparse.path(), two).expect_err("huge").kind(), ErrorKind::FileTooLarge);
    }
}
