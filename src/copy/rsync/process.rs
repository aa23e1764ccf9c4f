//! The local rsync: a process group of its own, which does not outlive the job, and its output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::process::{Pid, Signal};

use crate::events::event::{Event, EventKind, Outcome, Stream};
use crate::system::child::{ProcessGroup, TICK};
use crate::system::poll::poll_with;
use crate::system::redact::Filter;

/// How long rsync may take to end after TERM before it is killed. It removes its temporary files.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long processes left by an ended rsync may take to end too, and the last output to arrive.
const REST_GRACE: Duration = Duration::from_millis(200);
/// Stack size in bytes of the thread that reads its output.
const STACK: usize = 128 * 1024;
/// Bytes of one read, as large as those of a channel.
const READ_SIZE: usize = 32 * 1024;
/// Reads from one stream in a row before the other has its turn.
const BURST: usize = 8;
/// Bytes still read from processes that escaped from the group.
const LAST_WORDS: usize = 1 << 20;

/// A running rsync. Dropping it ends its process group and waits for it.
pub struct Process {
    group: ProcessGroup,
    reader: Option<thread::JoinHandle<()>>,
    /// The reader ends when this is closed.
    stop: UnixStream,
    /// Its output is no longer reported.
    muted: Arc<AtomicBool>,
}

/// Starts `program -e SHELL WORDS..`. Its output becomes output of `job`.
pub fn start(
    program: &Path,
    shell: &OsStr,
    words: Vec<OsString>,
    variables: [(&str, String); 3],
    job: usize,
    events: &Sender<Event>,
) -> io::Result<Process> {
    let (stop, stopped) = UnixStream::pair()?;
    let mut command = Command::new(program);
    command.arg("-e").arg(shell).args(words);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command.envs(variables);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = ProcessGroup::spawn(&mut command)?;
    let child = group.child();
    let streams = [
        (Stream::Stderr, child.stderr.take().map(OwnedFd::from)),
        (Stream::Stdout, child.stdout.take().map(OwnedFd::from)),
    ];
    let muted = Arc::new(AtomicBool::new(false));
    let mut process = Process { group, reader: None, stop, muted: Arc::clone(&muted) };
    for stream in streams.iter().filter_map(|(_, stream)| stream.as_ref()) {
        ioctl_fionbio(stream, true)?;
    }
    let reader = OutputReader { streams, complaints: Filter::default(), stopped, muted, job, events: events.clone() };
    let thread = thread::Builder::new().name("pssh-rsync".to_owned()).stack_size(STACK);
    // A failure drops the process and so ends it.
    process.reader = Some(thread.spawn(move || reader.run())?);
    Ok(process)
}

impl Process {
    /// Whether it has ended.
    pub fn has_exited(&self) -> bool {
        self.group.has_exited()
    }

    /// Waits until it ends by itself, at most until `deadline`; returns whether it did.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.group.wait_until(deadline)
    }

    /// Ends its whole group. Its exit counts only if it ended by itself.
    pub fn finish(&mut self) -> Option<Outcome> {
        self.end();
        let status = self.group.status()?;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => Outcome::Exited(code.unsigned_abs()),
            (None, signal) => Outcome::Signaled { name: signal_name(signal.unwrap_or_default()) },
        })
    }

    /// Ends it and reports no more output: rsync would only say that it was stopped.
    pub fn stop(&mut self) {
        self.muted.store(true, Ordering::Relaxed);
        self.end();
    }

    /// Its process ID, which is also its group's.
    pub fn group(&self) -> Pid {
        self.group.id()
    }

    /// Ends the group. All members are gone when no process holds the output any more; until the first process is
    /// waited for, its ID cannot name another group.
    fn end(&mut self) {
        if self.group.status().is_none() {
            // rsync's processes end one after the other, and the last removes its temporary file.
            if !self.has_exited() || !self.is_silent_until(Instant::now() + REST_GRACE) {
                let deadline = Instant::now() + TERM_GRACE;
                self.group.terminate();
                let _ = self.wait_until(deadline) && self.is_silent_until(deadline);
            }
            self.group.kill();
        }
        if self.reader.is_some() {
            // The output has ended, unless a process left the group and keeps the pipes.
            self.is_silent_until(Instant::now() + REST_GRACE);
            let _ = self.stop.shutdown(Shutdown::Both);
            let _ = self.reader.take().map(thread::JoinHandle::join);
        }
    }

    /// Waits until no process holds the output, at most until `deadline`; returns whether that happened.
    fn is_silent_until(&self, deadline: Instant) -> bool {
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Passes on rsync's output.
struct OutputReader {
    streams: [(Stream, Option<OwnedFd>); 2],
    /// rsync's errors, without passwords.
    complaints: Filter,
    stopped: UnixStream,
    muted: Arc<AtomicBool>,
    job: usize,
    events: Sender<Event>,
}

impl OutputReader {
    fn run(mut self) {
        let mut buffer = vec![0; READ_SIZE];
        let mut left = LAST_WORDS;
        let mut stopping = false;
        while self.streams.iter().any(|(_, stream)| stream.is_some()) {
            if !stopping {
                stopping = self.wait();
            }
            let count: usize = (0..self.streams.len()).map(|place| self.read(place, &mut buffer)).sum();
            left = left.saturating_sub(if stopping { count } else { 0 });
            if stopping && (count == 0 || left == 0) {
                break;
            }
        }
        let rest = self.complaints.rest();
        self.tell(Stream::Stderr, rest);
    }

    fn tell(&self, stream: Stream, bytes: Vec<u8>) {
        if !bytes.is_empty() && !self.muted.load(Ordering::Relaxed) {
            // Without a receiver the run is being abandoned.
            let _ = self.events.send(Event::now(self.job, EventKind::Output { stream, bytes }));
        }
    }

    /// Waits for data; returns whether to end.
    fn wait(&self) -> bool {
        let open = self.streams.iter().filter_map(|(_, stream)| stream.as_ref());
        let mut fds = vec![(self.stopped.as_fd(), PollFlags::IN)];
        fds.extend(open.map(|stream| (stream.as_fd(), PollFlags::IN)));
        match poll_with(None, &fds, None) {
            Ok(ready) => ready.has(0),
            Err(_) => {
                // Out of kernel memory.
                thread::sleep(TICK);
                false
            }
        }
    }

    /// Reads from one stream; returns how much.
    fn read(&mut self, place: usize, buffer: &mut [u8]) -> usize {
        let mut total = 0;
        for _ in 0..BURST {
            let (stream, pipe) = &mut self.streams[place];
            let Some(open) = pipe else { break };
            match read(open, &mut *buffer) {
                Ok(0) => *pipe = None,
                Ok(count) => {
                    total += count;
                    let (stream, mut bytes) = (*stream, buffer[..count].to_vec());
                    if stream == Stream::Stderr {
                        bytes = self.complaints.pass(bytes);
                    }
                    self.tell(stream, bytes);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => *pipe = None,
            }
        }
        total
    }
}

/// Returns the name of a signal without `SIG`, as a server would send it.
fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::ABORT, "ABRT"),
        (Signal::ALARM, "ALRM"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::HUP, "HUP"),
        (Signal::ILL, "ILL"),
        (Signal::INT, "INT"),
        (Signal::KILL, "KILL"),
        (Signal::PIPE, "PIPE"),
        (Signal::QUIT, "QUIT"),
        (Signal::SEGV, "SEGV"),
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
    ];
    let known = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// Whether an environment variable is pssh's own: it may be secret, or mean something else to a copy of pssh.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.as_bytes().starts_with(b"PSSH_")
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn what_is_ours_in_the_environment() {
        assert!(is_ours("PSSH_USER".as_ref()));
        assert!(!is_ours("RSYNC_PASSWORD".as_ref()));
        assert!(!is_ours("PSSH".as_ref()));
    }
}
