//! KnownHostsCommand of ssh_config(5): a local program that prints lines of known_hosts for one host, as
//! `load_hostkeys_command` in sshconnect.c runs it. Without a shell, with our environment, and within the time that the host
//! has for connecting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, read};

use crate::events::event::{Outcome, Phase};
use crate::ssh::watch::{Notes, Watch};
use crate::ssh_config::{CommandTemplate, LateTokens};
use crate::system::child::{ProcessGroup, TICK};
use crate::system::files::bounded;
use crate::system::open_files::Held;
use crate::system::redact::{self, Filter};
use crate::text::message::{excerpt, reason};

/// Bytes kept of standard error.
const LONGEST_COMPLAINT: usize = 64 << 10;
/// Descriptors of a command while it starts: both ends of two pipes, std's start pipe, and `/dev/null`.
pub const HELD: Held = Held { per_host: 7, besides: 0 };
/// Read size.
const READ_SIZE: usize = 16 << 10;

/// Why there are no lines.
pub enum Failure {
    /// The job is over: cancelled or out of time.
    Job(Outcome),
    /// It cannot be started; the reason in words.
    Start(String),
    /// The command failed, in words.
    Command(String),
}

impl From<Outcome> for Failure {
    fn from(outcome: Outcome) -> Failure {
        Failure::Job(outcome)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Command(reason(&error))
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        io::Error::from(error).into()
    }
}

/// Runs a command; returns its output. Its standard error goes to `note`.
///
/// # Errors
/// It cannot be started, does not exit with 0, prints too much, or the job ends first.
pub fn run(
    template: &CommandTemplate,
    late: &LateTokens<'_>,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<Vec<u8>, Failure> {
    watch.expect(Phase::KnownHostsCommand, "KnownHostsCommand has not ended");
    let mut command = Command::new(template.program());
    command.args(template.arguments(late)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = ProcessGroup::spawn(&mut command).map_err(|error| Failure::Start(reason(&error)))?;
    let (stdout, stderr) = (group.child().stdout.take(), group.child().stderr.take());
    let mut output = Pipe::new(stdout.map(OwnedFd::from), bounded::LIST as usize, None)?;
    let mut complaint = Pipe::new(stderr.map(OwnedFd::from), LONGEST_COMPLAINT, Some(Filter::default()))?;
    // Processes that it left behind may keep its standard error open.
    while output.fd.is_some() {
        let open = |pipe: &Pipe| pipe.fd.is_some();
        let pipes: Vec<&mut Pipe> = [&mut output, &mut complaint].into_iter().filter(|pipe| open(pipe)).collect();
        let fds: Vec<_> = pipes.iter().filter_map(|pipe| Some((pipe.fd.as_ref()?.as_fd(), PollFlags::IN))).collect();
        watch.wait(&fds, None)?;
        for pipe in pipes {
            pipe.drain()?;
        }
        if output.is_full {
            return Err(Failure::Command(format!("it printed more than {} MiB", bounded::LIST >> 20)));
        }
    }
    while !group.has_exited() {
        watch.wait(&[], Some(Instant::now() + TICK))?;
    }
    complaint.drain()?;
    complaint.cut();
    let complaint = String::from_utf8_lossy(&complaint.bytes).into_owned();
    let lines = || complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines() {
        note(&|| format!("KnownHostsCommand: {}", redact::redacted(line)));
    }
    let how = match group.end() {
        Some(status) if status.success() => return Ok(output.bytes),
        Some(status) => ended(status),
        None => "it ended".to_owned(),
    };
    Err(Failure::Command(lines().next_back().map_or(how.clone(), |line| format!("{how}: {}", excerpt(line)))))
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, signal) => format!("it died by signal {}", signal.unwrap_or_default()),
    }
}

/// The output of a command.
struct Pipe {
    /// Until its end of file.
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
    most: usize,
    /// Hides passwords in what is shown.
    filter: Option<Filter>,
    /// More than `most` bytes came; the rest is dropped.
    is_full: bool,
}

impl Pipe {
    fn new(fd: Option<OwnedFd>, most: usize, filter: Option<Filter>) -> Result<Pipe, Errno> {
        if let Some(fd) = &fd {
            ioctl_fionbio(fd, true)?;
        }
        Ok(Pipe { fd, bytes: Vec::new(), most, filter, is_full: false })
    }

    /// Reads the available data.
    fn drain(&mut self) -> Result<(), Errno> {
        let mut buffer = [0; READ_SIZE];
        while let Some(fd) = &self.fd {
            match read(fd, &mut buffer) {
                Ok(0) => self.fd = None,
                Ok(count) => {
                    let new = match &mut self.filter {
                        Some(filter) => filter.pass(buffer[..count].to_vec()),
                        None => buffer[..count].to_vec(),
                    };
                    self.keep(&new);
                    if self.is_full {
                        // A command that never stops printing would otherwise keep us from checking the time.
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn keep(&mut self, new: &[u8]) {
        let kept = new.len().min(self.most - self.bytes.len());
        self.bytes.extend(&new[..kept]);
        self.is_full |= kept < new.len();
    }

    /// Keeps the held-back data: no more is read.
    fn cut(&mut self) {
        if !self.is_full
            && let Some(filter) = &mut self.filter
        {
            let rest = filter.cut();
            self.keep(&rest);
        }
    }
}
