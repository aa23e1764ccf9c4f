//! What the remote shell of rsync passes on: the command for the host, and both ends of rsync's data streams.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recv, recvmsg, send};

use crate::command::MAX_COMMAND;
use crate::events::event::{Outcome, Progress};
use crate::ssh::channel::dialogue::{Dialogue, PIECE, Say};
use crate::system::lock::lock;

/// Bytes of the length before the command.
const HEAD: usize = 4;

/// A remote shell that waits for the end of its command.
pub(super) struct Call {
    /// The command for the host's shell.
    pub command: Vec<u8>,
    ends: Arc<Ends>,
    /// The connection to the remote shell.
    connection: Arc<UnixStream>,
}

impl Call {
    /// The dialogue for the channel.
    pub fn pipes(&self) -> Pipes {
        Pipes {
            ends: Arc::clone(&self.ends),
            shell: Arc::clone(&self.connection),
            listening: false,
            over: false,
            abandoned: Cell::new(false),
            moved: 0,
        }
    }

    /// Writes the rest of the received data to rsync, as far as it accepts it; returns whether none is left.
    pub fn flush(&self) -> bool {
        self.ends.flush()
    }

    /// Returns what to wait for while data is left.
    pub fn awaits(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.ends.to.as_fd(), PollFlags::OUT)
    }

    /// Closes rsync's data streams and sends the remote shell its exit status.
    pub fn answer(self, status: u8) {
        // rsync must see the end of the host's data before its remote shell exits.
        drop(self.ends);
        // A killed one needs no answer.
        let _ = send(&*self.connection, &[status], SendFlags::NOSIGNAL);
    }
}

/// A message of a remote shell while it is read.
pub(super) struct Message {
    connection: UnixStream,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// The state of a message.
pub(super) enum Received {
    /// More bytes are missing.
    Some(Message),
    /// It is complete.
    All(Call),
    /// The remote shell has gone.
    Nothing,
}

impl Message {
    /// Starts with nothing read. The connection must not block.
    pub fn new(connection: UnixStream) -> Message {
        Message { connection, bytes: Vec::new(), descriptors: Vec::new() }
    }

    /// Reads the available bytes.
    ///
    /// # Errors
    /// No descriptors are left, or the command is too long.
    pub fn read(mut self) -> io::Result<Received> {
        loop {
            let missing = match self.missing()? {
                0 => return self.finish().map(Received::All),
                missing => missing,
            };
            match self.read_piece(missing) {
                Ok(0) => return Ok(Received::Nothing),
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(Received::Some(self)),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(Received::Nothing),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns how many bytes are missing, as far as that is known.
    fn missing(&self) -> io::Result<usize> {
        let Some(head) = self.bytes.first_chunk::<HEAD>() else {
            return Ok(HEAD - self.bytes.len());
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_COMMAND {
            let problem = format!("its remote command has {length} bytes; the limit is {MAX_COMMAND}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        Ok((HEAD + length).saturating_sub(self.bytes.len()))
    }

    fn read_piece(&mut self, length: usize) -> Result<usize, Errno> {
        let read = self.bytes.len();
        self.bytes.resize(read + length, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slice = &mut [IoSliceMut::new(&mut self.bytes[read..])];
        let received = recvmsg(&self.connection, slice, &mut control, FLAGS);
        let count = received.as_ref().map_or(0, |received| received.bytes);
        self.bytes.truncate(read + count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // The system closed what did not fit: the limit on open files is reached.
        if received?.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Errno::MFILE);
        }
        Ok(count)
    }

    fn finish(mut self) -> io::Result<Call> {
        let mut descriptors = std::mem::take(&mut self.descriptors).into_iter();
        let (Some(from), Some(to), None) = (descriptors.next(), descriptors.next(), descriptors.next()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its remote shell has no standard input and output",
            ));
        };
        for end in [&from, &to] {
            // The other end is another open file description and keeps rsync's flags.
            ioctl_fionbio(end, true)?;
            #[cfg(not(target_os = "linux"))]
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        let ends = Arc::new(Ends { from, to, rest: Mutex::default() });
        Ok(Call { command: self.bytes.split_off(HEAD), ends, connection: Arc::new(self.connection) })
    }
}

impl AsFd for Message {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

#[cfg(target_os = "linux")]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const FLAGS: RecvFlags = RecvFlags::empty();

/// rsync's descriptors; both are non-blocking.
struct Ends {
    /// The data from rsync to the host.
    from: OwnedFd,
    /// The data from the host to rsync.
    to: OwnedFd,
    rest: Mutex<Rest>,
}

/// Data from the host that rsync has not read yet.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    /// How many bytes of it rsync has read.
    taken: usize,
    /// Discard everything from now on.
    deaf: bool,
    /// rsync closed its end.
    closed: bool,
}

impl Ends {
    fn flush(&self) -> bool {
        let mut rest = lock(&self.rest);
        while rest.taken < rest.bytes.len() {
            match write(&self.to, &rest.bytes[rest.taken..]) {
                Ok(count) => rest.taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(_) => {
                    rest.closed = true;
                    rest.silence();
                }
            }
        }
        (rest.bytes, rest.taken) = (Vec::new(), 0);
        true
    }

    fn push(&self, bytes: &[u8]) {
        let mut rest = lock(&self.rest);
        if !rest.deaf {
            rest.bytes.extend_from_slice(bytes);
        }
    }
}

impl Rest {
    fn silence(&mut self) {
        (self.bytes, self.taken, self.deaf) = (Vec::new(), 0, true);
    }
}

/// Connects rsync to the rsync on the host. Data from the host waits here until rsync reads it, at most one piece.
pub struct Pipes {
    ends: Arc<Ends>,
    /// The connection to the remote shell, which sends nothing and does not outlive rsync.
    shell: Arc<UnixStream>,
    /// rsync had no data at the last read.
    listening: bool,
    /// rsync sent its end of file.
    over: bool,
    /// rsync is known to be gone.
    abandoned: Cell<bool>,
    /// Bytes transferred, both ways.
    moved: u64,
}

impl Pipes {
    /// Whether the remote program had to stop because rsync is gone.
    pub(super) fn was_abandoned(&self) -> bool {
        self.abandoned.get()
    }
}

impl Dialogue for Pipes {
    fn say(&mut self, out: &mut Vec<u8>) -> Say {
        if self.over {
            return Say::Over;
        }
        let length = out.len();
        out.resize(length + PIECE, 0);
        let count = loop {
            match read(&self.ends.from, &mut out[length..]) {
                Err(Errno::INTR) => {}
                count => break count,
            }
        };
        out.truncate(length + count.unwrap_or(0));
        self.moved += count.unwrap_or(0) as u64;
        self.listening = count == Err(Errno::AGAIN);
        match count {
            Ok(1..) => Say::Said,
            Err(Errno::AGAIN) => Say::Listening,
            // Its end of file, or an equivalent error.
            Ok(0) | Err(_) => {
                self.over = true;
                Say::Over
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.moved += bytes.len() as u64;
        self.ends.push(bytes);
        self.ends.flush();
    }

    /// Sends pending data first: a host that reads nothing until its own output is taken would otherwise wait forever.
    fn hears(&self) -> bool {
        self.ends.flush()
    }

    fn awaits(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 2] {
        let waits = !lock(&self.ends.rest).bytes.is_empty();
        let from = if self.listening { self.ends.from.as_fd() } else { self.shell.as_fd() };
        [
            (self.listening || !self.abandoned.get()).then_some((from, PollFlags::IN)),
            waits.then(|| (self.ends.to.as_fd(), PollFlags::OUT)),
        ]
    }

    /// rsync's sender does not read its input before the end of a file, and its receiver may hang for other reasons.
    fn is_abandoned(&self) -> bool {
        let is_gone = || {
            let peeked = recv(&*self.shell, &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            matches!(peeked, Ok((0, _)) | Err(Errno::CONNRESET))
        };
        if lock(&self.ends.rest).closed || is_gone() {
            self.abandoned.set(true);
        }
        self.abandoned.get()
    }

    /// The remote rsync removes its temporary file when its input ends.
    fn abort(&mut self) {
        self.over = true;
        self.listening = false;
        lock(&self.ends.rest).silence();
    }

    /// Bytes of rsync's protocol so far; the total is unknown.
    fn progress(&self) -> Option<Progress> {
        Some(Progress { done: self.moved, total: 0 })
    }

    /// The channel's own outcome: the local rsync decides what it means once it has ended as well.
    fn conclude(&mut self, channel: Outcome) -> Outcome {
        channel
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::copy::rsync::remote_shell::hand_over;

    /// The remote shell's side of the connection, and ours.
    fn connection() -> (UnixStream, Message) {
        let (theirs, ours) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        (theirs, Message::new(ours))
    }

    /// Returns the call of a remote shell with rsync's ends of its standard input and output.
    fn call(command: &[u8]) -> (UnixStream, Call, [UnixStream; 2]) {
        let (mut shell, message) = connection();
        let (rsync_says, input) = UnixStream::pair().expect("a pair");
        let (rsync_hears, output) = UnixStream::pair().expect("a pair");
        hand_over(&mut shell, command, [input.as_fd(), output.as_fd()]).expect("it is sent");
        match message.read().expect("it is read") {
            Received::All(call) => (shell, call, [rsync_says, rsync_hears]),
            Received::Some(_) | Received::Nothing => panic!("not all of it was read"),
        }
    }

    #[test]
    fn a_call_brings_the_command_and_the_descriptors() {
        let (mut shell, call, [mut rsync_says, mut rsync_hears]) = call(b"rsync --server . /x\xff");
        assert_eq!(call.command, b"rsync --server . /x\xff");
        let (mut pipes, mut out) = (call.pipes(), Vec::new());
        assert_eq!(pipes.say(&mut out), Say::Listening);
        assert!(pipes.awaits()[0].is_some(), "it listens to rsync");
        rsync_says.write_all(b"hello").expect("a socket");
        assert_eq!(pipes.say(&mut out), Say::Said);
        assert_eq!(out, b"hello");
        pipes.hear(b"world");
        let mut heard = [0; 5];
        rsync_hears.read_exact(&mut heard).expect("a socket");
        assert_eq!(&heard, b"world");
        drop(rsync_says);
        assert_eq!(pipes.say(&mut out), Say::Over);
        assert_eq!(pipes.say(&mut out), Say::Over);
        assert!(!pipes.is_abandoned(), "its remote shell is still there");
        drop(pipes);
        call.answer(23);
        assert_eq!(rsync_hears.read(&mut heard).expect("its end"), 0);
        let mut status = [0];
        shell.read_exact(&mut status).expect("the answer");
        assert_eq!(status, [23]);
    }

    #[test]
    fn a_slow_rsync_is_waited_for_and_a_dead_one_is_not() {
        let (_shell, call, [_rsync_says, mut rsync_hears]) = call(b"x");
        let mut pipes = call.pipes();
        let mut sent = 0;
        while pipes.hears() {
            pipes.hear(&[7; 10_000]);
            sent += 10_000;
            assert!(sent < 1 << 26, "no socket holds that much");
        }
        assert!(pipes.awaits()[1].is_some(), "it waits for rsync to take more");
        assert!(!call.flush());
        let mut all = vec![0; sent];
        rsync_hears.set_nonblocking(true).expect("a socket");
        let mut read = 0;
        while read < sent {
            match rsync_hears.read(&mut all[read..]) {
                Ok(count) => read += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    // Polling it is enough to move it on.
                    let _ = pipes.hears();
                }
            }
        }
        assert!(all.iter().all(|byte| *byte == 7));
        assert!(pipes.hears() && pipes.awaits()[1].is_none());
        drop(rsync_hears);
        for _ in 0..100 {
            pipes.hear(&[7; 10_000]);
            assert!(pipes.hears(), "a dead process leaves its data unread");
        }
        assert!(pipes.is_abandoned() && pipes.was_abandoned());
    }

    #[test]
    fn nothing_is_said_or_kept_after_an_abort() {
        let (_shell, call, [mut rsync_says, rsync_hears]) = call(b"x");
        let mut pipes = call.pipes();
        rsync_says.write_all(b"hello").expect("a socket");
        while pipes.hears() {
            pipes.hear(&[7; 10_000]);
        }
        pipes.abort();
        let mut out = Vec::new();
        assert_eq!(pipes.say(&mut out), Say::Over);
        assert_eq!(out, b"");
        pipes.hear(b"more");
        assert!(pipes.hears() && pipes.awaits()[1].is_none());
        assert!(!pipes.is_abandoned(), "that it is being stopped is not rsync's doing");
        drop(rsync_hears);
    }

    #[test]
    fn a_remote_shell_that_is_gone_is_noticed_once() {
        let (shell, call, _ends) = call(b"x");
        let mut pipes = call.pipes();
        assert_eq!(pipes.say(&mut Vec::new()), Say::Listening);
        drop(shell);
        pipes.abort();
        assert!(pipes.awaits()[0].is_some(), "it wakes the waiting thread");
        assert!(pipes.is_abandoned());
        assert!(pipes.awaits()[0].is_none(), "but not again and again");
        // There is no remote shell to answer.
        drop(pipes);
        call.answer(0);
    }

    #[test]
    fn a_message_may_come_in_pieces() {
        let (mut shell, mut message) = connection();
        let (one, other) = UnixStream::pair().expect("a pair");
        hand_over(&mut shell, b"", [one.as_fd(), other.as_fd()]).expect("it is sent");
        match message.read().expect("it is read") {
            Received::All(call) => assert_eq!(call.command, b""),
            Received::Some(_) | Received::Nothing => panic!("not all of it was read"),
        }
        (shell, message) = connection();
        // Without descriptors it is useless, but that is known only at its end.
        for (place, byte) in [0, 0, 0, 2, b'i', b'd'].into_iter().enumerate() {
            shell.write_all(&[byte]).expect("a socket");
            message = match (message.read(), place) {
                (Ok(Received::Some(message)), 0..5) => message,
                (Err(error), 5) => return assert_eq!(error.kind(), io::ErrorKind::InvalidData),
                _ => panic!("unexpected at byte {place}"),
            };
        }
        panic!("it has no descriptors");
    }

    #[test]
    fn a_message_that_is_wrong() {
        let (mut shell, message) = connection();
        shell.write_all(&u32::MAX.to_be_bytes()).expect("a socket");
        let problem = message.read().err().expect("it is too long").to_string();
        assert!(problem.starts_with("its remote command has 4294967295 bytes; the limit is 34000"), "{problem}");

        let (mut shell, message) = connection();
        shell.write_all(&[0, 0]).expect("a socket");
        drop(shell);
        assert!(matches!(message.read(), Ok(Received::Nothing)));

        let (shell, message) = connection();
        let ends = [shell.as_fd(); 3];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&ends)));
        let bytes = [io::IoSlice::new(&[0, 0, 0, 0])];
        rustix::net::sendmsg(&shell, &bytes, &mut control, SendFlags::empty()).expect("it is sent");
        assert!(message.read().is_err(), "one descriptor too many");
    }
}
