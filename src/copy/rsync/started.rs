//! One job's rsync from its start to its outcome.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, Uid, geteuid};
use tempfile::TempDir;

use super::call::{Call, Message, Received};
use super::process::Process;
use super::remote_shell::NO_CONNECTION;
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::ssh::Watch;
use crate::ssh::channel::dialogue::Dialogue;

/// The first and the longest pause between two checks whether rsync ended. Its remote shell is noticed at once.
const PAUSES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
/// How long rsync may take to end after it loses its connection, so that it keeps partial files (`--partial`) and
/// prints its errors.
const END_GRACE: Duration = Duration::from_secs(2);
/// The file name of the socket, as short as possible: its path may have about a hundred bytes.
const SOCKET: &str = "s";

/// A socket in a private directory for the remote shell of one rsync. Dropping it removes the directory.
pub(super) struct ShellSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Removed on drop.
    _directory: TempDir,
}

impl ShellSocket {
    pub fn open() -> io::Result<ShellSocket> {
        // The usual reasons: a path that is too long, or a directory that cannot be written.
        ShellSocket::open_in(&std::env::temp_dir()).or_else(|_| ShellSocket::open_in(Path::new("/tmp")))
    }

    fn open_in(place: &Path) -> io::Result<ShellSocket> {
        let private = std::fs::Permissions::from_mode(0o700);
        // rsync gets the path, and may work in another directory.
        let place = std::path::absolute(place)?;
        let directory = tempfile::Builder::new().prefix("pssh-").permissions(private).tempdir_in(place)?;
        let path = directory.path().join(SOCKET);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(ShellSocket { listener, path, _directory: directory })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the next connection, if any, from a process of the same user that `rsync` started. Others are closed.
    fn accept(&self, rsync: Pid) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(true)?;
                Ok(is_of(&connection, geteuid(), rsync).then_some(connection))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

/// Whether the peer is a process of this user that descends from `rsync`. The mode of the directory already keeps other
/// users out; but root, users let in by a changed mode, and other programs of our user must not act for us either.
#[cfg(target_os = "linux")]
fn is_of(connection: &UnixStream, user: Uid, rsync: Pid) -> bool {
    rustix::net::sockopt::socket_peercred(connection)
        .is_ok_and(|peer| peer.uid == user && descends(peer.pid.as_raw_nonzero().get(), rsync.as_raw_nonzero().get()))
}

/// Elsewhere the mode of the directory must be enough.
#[cfg(not(target_os = "linux"))]
fn is_of(_: &UnixStream, _: Uid, _: Pid) -> bool {
    true
}

/// Whether a process is a descendant of another. The process waits for our answer, so that its ID is its own. Without
/// /proc this is unknown, and the user ID must be enough.
#[cfg(target_os = "linux")]
fn descends(mut process: i32, ancestor: i32) -> bool {
    // An upper bound on generations, in case IDs are reused meanwhile.
    const MOST: usize = 1000;
    let parent = |process: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, which may contain anything, is in brackets; the parent is the second field after it.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    for _ in 0..MOST {
        if process == ancestor {
            return true;
        }
        match parent(process) {
            Some(next) if next > 0 => process = next,
            Some(_) => return false,
            None => return !Path::new("/proc/self/stat").exists(),
        }
    }
    false
}

/// A running rsync. Dropping it ends it with all its processes.
pub struct Started {
    process: Process,
    /// Until its remote shell connects.
    socket: Option<ShellSocket>,
}

impl Started {
    pub(super) fn new(process: Process, socket: ShellSocket) -> Started {
        Started { process, socket: Some(socket) }
    }

    /// Runs it to its end. `converse` runs a command on the job's session and connects it to the dialogue until the
    /// channel ends, and returns how that ended. It is called when rsync starts its remote shell: once, or never if
    /// rsync finds out first that there is nothing to do. `watch` bounds everything else.
    ///
    /// Returns how rsync itself ended ([`Outcome::Exited`], [`Outcome::Signaled`]), unless the channel did not end by
    /// itself: then a lost connection, a deadline or the signal that killed the remote rsync counts, whatever the local
    /// one reports.
    pub fn run(mut self, watch: &Watch<'_>, mut converse: impl FnMut(&[u8], &mut dyn Dialogue) -> Outcome) -> Outcome {
        let mut channel = None;
        loop {
            let call = match self.next_call(watch) {
                Ok(Some(call)) => call,
                Ok(None) => break,
                Err(outcome) => return self.stop(outcome),
            };
            let mut pipes = call.pipes();
            let outcome = converse(&call.command, &mut pipes);
            let was_abandoned = pipes.was_abandoned();
            drop(pipes);
            match outcome {
                // rsync has ended already, whatever happened to its connection after that.
                _ if was_abandoned => call.answer(NO_CONNECTION),
                Outcome::Exited(_) | Outcome::Signaled { .. } => {
                    if let Err(outcome) = self.deliver(&call, watch) {
                        return self.stop(outcome);
                    }
                    call.answer(answer(&outcome));
                    channel = Some(outcome);
                }
                Outcome::Failed(_) => {
                    call.answer(NO_CONNECTION);
                    self.process.wait_until(watch.deadline().min(Instant::now() + END_GRACE));
                    return self.stop(outcome);
                }
                // Stop it while it still has its connection, or it would report a lost connection.
                _ => return self.stop(outcome),
            }
        }
        let own = self.process.finish();
        match (channel, own) {
            // rsync only saw that the remote one was gone.
            (Some(Outcome::Exited(status @ (126 | 127))), Some(Outcome::Exited(12))) => Outcome::Exited(status),
            (Some(killed @ Outcome::Signaled { .. }), Some(Outcome::Exited(1..))) => killed,
            (_, Some(own)) => own,
            (_, None) => HostError::local("waiting for rsync", &io::Error::other("its exit status is unknown")).into(),
        }
    }

    /// Waits until rsync starts its remote shell; `None` if it ends first.
    ///
    /// # Errors
    /// The outcome of the job: it must end now, or the remote shell's request fails.
    fn next_call(&mut self, watch: &Watch<'_>) -> Result<Option<Call>, Outcome> {
        const DOING: &str = "accepting rsync's connection";
        let mut pause = PAUSES[0];
        let mut begun: Option<Message> = None;
        loop {
            if let (None, Some(socket)) = (&begun, &self.socket) {
                let accepted = socket.accept(self.process.group());
                begun = accepted.map_err(|error| HostError::local(DOING, &error))?.map(Message::new);
            }
            if let Some(message) = begun.take() {
                match message.read().map_err(|error| HostError::local(DOING, &error))? {
                    Received::All(call) => {
                        // rsync has one remote shell: no other connection is accepted after it.
                        self.socket = None;
                        return Ok(Some(call));
                    }
                    Received::Some(message) => begun = Some(message),
                    // The next connection may be waiting already.
                    Received::Nothing => {
                        watch.check()?;
                        continue;
                    }
                }
            }
            if self.process.has_exited() {
                return Ok(None);
            }
            let listener = || self.socket.as_ref().map(|socket| socket.listener.as_fd());
            let awaited = begun.as_ref().map(AsFd::as_fd).or_else(listener);
            let awaited: Vec<_> = awaited.map(|awaited| (awaited, PollFlags::IN)).into_iter().collect();
            watch.wait(&awaited, Some(Instant::now() + pause))?;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Waits until rsync has read all data from the host.
    ///
    /// # Errors
    /// The outcome of the job: it must end now.
    fn deliver(&self, call: &Call, watch: &Watch<'_>) -> Result<(), Outcome> {
        while !call.flush() && !self.process.has_exited() {
            let (to, flags): (BorrowedFd<'_>, _) = call.awaits();
            watch.wait(&[(to, flags)], Some(Instant::now() + PAUSES[1]))?;
        }
        Ok(())
    }

    fn stop(mut self, outcome: Outcome) -> Outcome {
        self.process.stop();
        outcome
    }
}

/// Returns the exit status of the remote shell, as ssh(1) would.
fn answer(channel: &Outcome) -> u8 {
    match channel {
        Outcome::Exited(status) => u8::try_from(*status).unwrap_or(NO_CONNECTION),
        _ => NO_CONNECTION,
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_door_is_private_and_leaves_nothing() {
        let socket = ShellSocket::open().expect("a socket");
        let (path, directory) = (socket.path().to_owned(), socket.path().parent().expect("a directory").to_owned());
        let mode = std::fs::metadata(&directory).expect("the directory").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        let (own, init) = (getpid(), Pid::INIT);
        assert!(socket.accept(own).expect("nobody").is_none());
        let _connection = UnixStream::connect(&path).expect("it listens");
        assert!(socket.accept(own).expect("a connection").is_some());
        let mut connection = UnixStream::connect(&path).expect("it listens");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let sibling = Pid::from_child(&child);
        assert!(socket.accept(sibling).expect("a connection").is_none(), "a process that it has not started");
        assert_eq!(std::io::Read::read(&mut connection, &mut [0]).expect("the end"), 0, "it is hung up on");
        assert!(descends(sibling.as_raw_nonzero().get(), own.as_raw_nonzero().get()) && own != init);
        child.kill().and_then(|()| child.wait()).expect("our child");
        drop(socket);
        assert!(!directory.exists());
    }

    #[test]
    fn a_long_path_is_no_place_for_a_socket() {
        let home = tempfile::tempdir().expect("a directory");
        let long = home.path().join("x".repeat(120));
        std::fs::create_dir(&long).expect("a directory");
        assert!(ShellSocket::open_in(&long).is_err());
        let left = std::fs::read_dir(&long).expect("the directory").count();
        assert_eq!(left, 0, "what was made for it has to go");
        assert!(ShellSocket::open_in(home.path()).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_our_own_user_is_let_in() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(is_of(&one, geteuid(), getpid()));
        assert!(!is_of(&one, Uid::from_raw(geteuid().as_raw() + 1), getpid()));
    }

    #[test]
    fn what_a_remote_shell_ends_with() {
        for (outcome, status) in [
            (Outcome::Exited(0), 0),
            (Outcome::Exited(12), 12),
            (Outcome::Exited(256), NO_CONNECTION),
            (Outcome::Signaled { name: "KILL".to_owned() }, NO_CONNECTION),
        ] {
            assert_eq!(answer(&outcome), status, "{outcome}");
        }
    }
}
