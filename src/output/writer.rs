//! Standard output and standard error as one writer: buffered, in order, and able to tell a reader that has gone away.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

use crate::event::Stream;

/// Bytes that are gathered before they are written although more is coming: a pipe's capacity on Linux.
const FULL: usize = 64 * 1024;

/// What has become of standard output.
#[derive(Debug)]
pub enum Broken {
    /// Its reader has gone away.
    Closed,
    /// It cannot be written, for example because the disk is full.
    Failed(io::Error),
}

/// Standard output and standard error.
///
/// Only one of the two buffers holds something at a time, so that on a terminal, or in a file that takes both, everything
/// appears in the order in which it was written.
pub struct Output {
    stdout: Target,
    stderr: Target,
    faults: Vec<String>,
    differ: bool,
}

struct Target {
    file: Option<File>,
    buffer: Vec<u8>,
    broken: Option<Broken>,
}

impl Output {
    /// The program's own standard output and error. One that is closed takes everything and keeps nothing.
    pub fn standard() -> Output {
        let target = |fd: io::Result<std::os::fd::OwnedFd>| Target {
            file: fd.ok().map(File::from),
            buffer: Vec::with_capacity(FULL + FULL / 2),
            broken: None,
        };
        Output {
            stdout: target(io::stdout().as_fd().try_clone_to_owned()),
            stderr: target(io::stderr().as_fd().try_clone_to_owned()),
            faults: Vec::new(),
            differ: false,
        }
    }

    /// The buffer of `stream`, to append to; what the other one holds is written first.
    pub fn buffer(&mut self, stream: Stream) -> &mut Vec<u8> {
        let (target, other) = match stream {
            Stream::Stdout => (&mut self.stdout, &mut self.stderr),
            Stream::Stderr => (&mut self.stderr, &mut self.stdout),
        };
        other.flush();
        if target.buffer.len() >= FULL {
            target.flush();
        }
        &mut target.buffer
    }

    /// Takes everything from now on and keeps nothing: nobody reads any more.
    pub fn mute(&mut self) {
        (self.stdout.file, self.stderr.file) = (None, None);
    }

    /// Something of ours has failed that is no host's fault: the program is to say so at its end, and to fail.
    pub fn fault(&mut self, problem: String) {
        self.faults.push(problem);
    }

    /// The hosts were expected to be the same, and are not.
    pub fn differ(&mut self) {
        self.differ = true;
    }

    /// What has failed of ours, and whether the hosts differ where they were expected not to.
    pub fn verdict(&mut self) -> (Vec<String>, bool) {
        (std::mem::take(&mut self.faults), self.differ)
    }

    /// Writes everything that is buffered.
    pub fn flush(&mut self) {
        self.stdout.flush();
        self.stderr.flush();
    }

    /// What has become of standard output, once it is broken; tells it once.
    pub fn take_broken(&mut self) -> Option<Broken> {
        self.stdout.broken.take()
    }
}

impl Target {
    /// Writes the buffer. A target that cannot be written is closed for good: what follows has nowhere to go.
    fn flush(&mut self) {
        if let (Some(file), false) = (&mut self.file, self.buffer.is_empty())
            && let Err(error) = write_all(file, &self.buffer)
        {
            self.file = None;
            self.broken = Some(match error.kind() {
                io::ErrorKind::BrokenPipe => Broken::Closed,
                _ => Broken::Failed(error),
            });
        }
        self.buffer.clear();
    }
}

/// Writes all of `bytes`, also to a descriptor that somebody has made non-blocking: ssh leaves shared terminals so.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(file, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
