//! Files, pipes and terminals for output whose readers may block a run: every wait for one of them ends once the run
//! must end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PIPE_BUF, fcntl_getpipe_size, fcntl_setpipe_size};

use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;

/// How long a reader may read nothing once the run must end.
const GRACE: Duration = Duration::from_secs(2);

/// The same limit for all readers together.
const SHORT_GRACE: Duration = Duration::from_millis(200);

/// The wanted size of a pipe. The default of 64 KiB soon lacks room for a whole batch of lines, and each batch takes
/// several writes and waits.
const ROOM: usize = 256 * 1024;

/// The cancel of the current run, and how long readers may read nothing after it.
static CANCEL: Mutex<Option<(Cancel, Duration)>> = Mutex::new(None);

/// Makes `cancel` end all waits.
pub fn heed(cancel: &Cancel) {
    *lock(&CANCEL) = Some((cancel.clone(), GRACE));
}

/// An output file.
pub(crate) struct Sink {
    file: File,
    /// Whether a write beyond the free space would block without a way to end it.
    is_blocking: bool,
}

impl Sink {
    pub(crate) fn new(file: File) -> Sink {
        let kind = rustix::fs::fstat(&file).map(|about| FileType::from_raw_mode(about.st_mode));
        let is_blocking = match kind {
            Ok(FileType::Fifo) => match without_waiting(&file) {
                Ok(file) => return Sink { file, is_blocking: false },
                Err(_) => true,
            },
            Ok(FileType::CharacterDevice) => rustix::termios::isatty(&file),
            Ok(kind) => kind == FileType::Socket,
            Err(_) => false,
        };
        Sink { file, is_blocking }
    }

    /// The file, to close it.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Writes all of `bytes`, also to a descriptor that another process made non-blocking: ssh leaves shared terminals
    /// so.
    ///
    /// # Errors
    /// The reader is gone, or does not read although the run must end; or a system error.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut piece = bytes;
            if self.is_blocking {
                wait_for(&self.file)?;
                // This much fits.
                piece = &bytes[..bytes.len().min(PIPE_BUF)];
            }
            match self.file.write(piece) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(&self.file)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens the same pipe as non-blocking. The inherited descriptor is shared with others, who may not expect that of it.
fn without_waiting(pipe: &File) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let pipe = File::from(rustix::fs::open(Path::new(&path), flags, Mode::empty())?);
    // Users have a limit for all pipes; the current size will do.
    if fcntl_getpipe_size(&pipe).is_ok_and(|size| size < ROOM) {
        let _ = fcntl_setpipe_size(&pipe, ROOM);
    }
    Ok(pipe)
}

/// Waits until `file` can be written, or `cancel` ends the run and `grace` has passed.
fn wait(file: &File, cancel: Option<&Cancel>, grace: Duration) -> io::Result<()> {
    let mut until = None;
    loop {
        let reason = cancel.and_then(Cancel::reason);
        // For any other reason the output is still wanted.
        if matches!(reason, Some(Reason::Signal(_) | Reason::TooLong(_))) {
            until.get_or_insert_with(|| Instant::now() + grace);
        }
        let mut fds = vec![PollFd::new(file, PollFlags::OUT)];
        if reason.is_none() {
            fds.extend(cancel.map(|cancel| PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)));
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read")),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for(file: &File) -> io::Result<()> {
    let stop = lock(&CANCEL).clone();
    let waited = match &stop {
        Some((cancel, grace)) => wait(file, Some(cancel), *grace),
        None => wait(file, None, GRACE),
    };
    if waited.is_err()
        && let Some((_, grace)) = &mut *lock(&CANCEL)
    {
        *grace = SHORT_GRACE;
    }
    waited
}

/// Writes to one of our own standard streams, in addition to a run's output.
///
/// # Errors
/// See [`Sink::write_all`].
pub(crate) fn write_to(stream: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    Sink::new(File::from(stream.as_fd().try_clone_to_owned()?)).write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use rustix::fs::fcntl_getfl;

    use super::*;

    fn file(end: impl Into<OwnedFd>) -> File {
        File::from(end.into())
    }

    /// What a late reader gets of more data than a pipe holds.
    fn through(mut sink: Sink, mut reader: impl Read + Send) {
        let bytes: Vec<u8> = (0..1 << 20).map(|number: u32| (number % 251) as u8).collect();
        let heard = thread::scope(|scope| {
            let heard = scope.spawn(move || {
                thread::sleep(Duration::from_millis(50));
                let mut heard = Vec::new();
                reader.read_to_end(&mut heard).map(|_| heard)
            });
            sink.write_all(&bytes).expect("written");
            drop(sink);
            heard.join().expect("a reader")
        });
        assert!(heard.expect("read") == bytes, "what was written");
    }

    #[test]
    fn late_readers_get_everything() {
        let (reader, writer) = io::pipe().expect("a pipe");
        through(Sink::new(file(writer)), reader);
        let (reader, writer) = UnixStream::pair().expect("sockets");
        through(Sink::new(file(writer)), reader);
        // If it can't be opened anew.
        let (reader, writer) = io::pipe().expect("a pipe");
        through(Sink { file: file(writer), is_blocking: true }, reader);
    }

    #[test]
    fn what_is_shared_with_others_stays_as_it_was() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let shared = file(writer);
        let flags = fcntl_getfl(&shared).expect("flags");
        let sink = Sink::new(shared.try_clone().expect("a copy"));
        assert_eq!(fcntl_getfl(&shared).expect("flags"), flags);
        assert!(fcntl_getpipe_size(&sink.file).expect("a size") >= ROOM);
        assert!(!sink.is_blocking && fcntl_getfl(&sink.file).expect("flags").contains(OFlags::NONBLOCK));
    }

    #[test]
    fn waits_end_with_the_run() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let mut sink = Sink::new(file(writer));
        while sink.file.write(&[0; PIPE_BUF]).is_ok() {}
        let grace = Duration::from_millis(100);
        for reason in [Reason::Signal(15), Reason::TooLong(grace)] {
            let cancel = Cancel::new().expect("a pipe");
            let begun = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(grace);
                    cancel.trigger(reason);
                });
                let error = wait(&sink.file, Some(&cancel), grace).expect_err("nobody reads");
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            });
            assert!(begun.elapsed() >= 2 * grace, "it waits as long as the run goes on, and for the grace");
        }
    }
}
