//! A host without SSH: the command that rsync has for it is run by `sh` here, and joined to the dialogue as a channel would be.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pssh::internal::{Cancel, Dialogue, Say, poll_with};
use pssh::{HostError, HostStage, Outcome};
use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::process::{Pid, Signal, kill_process_group};

/// No test waits longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Read size, as for a channel.
const READ_SIZE: usize = 32 * 1024;

/// How a host behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    /// After so many bytes of either direction the command is killed.
    pub dies_after: Option<u64>,
    /// After so many bytes the connection is lost.
    pub lost_after: Option<u64>,
    /// After so many bytes the run is cancelled.
    pub cancels_after: Option<u64>,
    /// The pause after every piece of either direction.
    pub pause: Duration,
    /// Its window is closed: it takes nothing as long as it has something to say.
    pub takes_turns: bool,
}

/// What became of one command.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub command: String,
    pub bytes: u64,
    pub complaints: String,
}

impl Behaviour {
    /// Runs `command` for `dialogue`, as `ssh/exec` would.
    pub(crate) fn converse(self, command: &[u8], dialogue: &mut dyn Dialogue, cancel: &Cancel) -> (Outcome, Seen) {
        let command = String::from_utf8_lossy(command).into_owned();
        let complaints = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(&command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen().expect("the same file"))
            .process_group(0)
            .spawn()
            .expect("sh");
        let mut seen = Seen { command, ..Seen::default() };
        let outcome = self.join(&mut child, dialogue, cancel, &mut seen.bytes);
        let outcome = dialogue.conclude(outcome);
        // The child is not waited for before this, so its number is its own.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().expect("the command");
        seen.complaints = std::fs::read_to_string(complaints.path()).expect("what it said");
        (outcome, seen)
    }

    fn join(self, child: &mut Child, dialogue: &mut dyn Dialogue, cancel: &Cancel, bytes: &mut u64) -> Outcome {
        let mut input = child.stdin.take().map(OwnedFd::from);
        let mut output = child.stdout.take().map(OwnedFd::from);
        for end in [&input, &output].into_iter().flatten() {
            ioctl_fionbio(end, true).expect("a pipe");
        }
        let (mut unsent, mut buffer) = (Vec::new(), vec![0; READ_SIZE]);
        let deadline = Instant::now() + LIMIT;
        let mut over = false;
        loop {
            assert!(Instant::now() < deadline, "the conversation hangs");
            if dialogue.is_abandoned() {
                // The caller kills the command.
                return HostError::Local { doing: "a test", detail: "abandoned".to_owned(), hint: None }.into();
            }
            let past = |limit: Option<u64>| limit.is_some_and(|limit| *bytes >= limit);
            if past(self.cancels_after) {
                cancel.trigger(pssh::internal::Reason::Program);
            }
            if cancel.is_triggered() {
                dialogue.abort();
                assert_eq!(dialogue.say(&mut unsent), Say::Over);
                return Outcome::cancelled(cancel, HostStage::Running);
            }
            if past(self.lost_after) {
                return HostError::Lost { detail: "cut by the test".to_owned(), hint: None }.into();
            }
            if past(self.dies_after) {
                kill_process_group(Pid::from_child(child), Signal::KILL).expect("the command is running");
            }
            let mut moved = 0;
            if unsent.is_empty() && !over && dialogue.say(&mut unsent) == Say::Over {
                over = true;
            }
            let busy = self.takes_turns && output.as_ref().is_some_and(|output| is_ready(output.as_fd()));
            if let Some(open) = &input
                && !unsent.is_empty()
                && !busy
            {
                match write(open, &unsent) {
                    Ok(count) => {
                        moved += count;
                        unsent.drain(..count);
                    }
                    Err(Errno::AGAIN) => {}
                    Err(_) => (input, over) = (None, true),
                }
            }
            if over && unsent.is_empty() {
                input = None;
            }
            if let Some(open) = output.as_ref().filter(|_| dialogue.hears()) {
                match read(open, &mut *buffer) {
                    Ok(0) => output = None,
                    Ok(count) => {
                        moved += count;
                        dialogue.hear(&buffer[..count]);
                    }
                    Err(Errno::AGAIN) => {}
                    Err(error) => panic!("reading what the command says: {error}"),
                }
            }
            *bytes += moved as u64;
            if moved > 0 {
                std::thread::sleep(self.pause);
                continue;
            }
            if output.is_none() {
                let status = child.wait().expect("the command");
                return match status.code() {
                    Some(code) => Outcome::Exited(code.unsigned_abs()),
                    None => Outcome::Signaled { name: status.signal().unwrap_or_default().to_string() },
                };
            }
            let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = dialogue.awaits().into_iter().flatten().collect();
            fds.extend(output.as_ref().filter(|_| dialogue.hears()).map(|end| (end.as_fd(), PollFlags::IN)));
            fds.extend(input.as_ref().filter(|_| !unsent.is_empty()).map(|end| (end.as_fd(), PollFlags::OUT)));
            let ready = poll_with(Some(cancel), &fds, Some(deadline));
            assert!(ready.map_err(|error: io::Error| error.to_string()).is_ok());
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    poll_with(None, &[(fd, PollFlags::IN)], Some(Instant::now())).is_ok_and(|ready| ready.has(0))
}
