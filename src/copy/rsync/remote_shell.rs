//! The remote shell that rsync starts: passes its command, standard input and standard output to the job that waits at
//! a socket, and exits with the status that comes back.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use crate::text::message::reason;

/// The argument that marks a process as remote shell.
pub(super) const OPTION: &str = "--remote-shell";
/// The exit status of a remote shell without a connection, as in ssh(1).
pub const NO_CONNECTION: u8 = 255;

/// Runs as remote shell if rsync started this process as one, and returns the exit status. Every program whose
/// [`Rsync`](super::Rsync) starts copies of itself must call this first, with all of its arguments.
///
/// # Errors
/// What failed; the exit status is [`NO_CONNECTION`] then.
pub fn as_remote_shell(arguments: impl IntoIterator<Item = OsString>) -> Option<Result<u8, String>> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != OPTION {
        return None;
    }
    let Some(socket) = arguments.next() else {
        return Some(Err(refused("the socket is missing")));
    };
    let command = match command_of(arguments) {
        Ok(command) => command,
        Err(problem) => return Some(Err(refused(&problem))),
    };
    Some(match converse(Path::new(&socket), &command, stdin(), stdout()) {
        Ok(status) => Ok(status),
        // The run has ended, and says why.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(NO_CONNECTION),
        Err(error) => Err(refused(&format!("cannot reach the run: {}", reason(&error)))),
    })
}

fn refused(problem: &str) -> String {
    format!("{OPTION} (which only rsync uses): {problem}")
}

/// Returns the command for the host from the arguments of a remote shell: `[-l USER] HOST WORD..`. The words are joined
/// by blanks as in ssh; the session already knows user and host.
fn command_of(arguments: impl Iterator<Item = OsString>) -> Result<Vec<u8>, String> {
    let mut arguments = arguments.peekable();
    while let Some(option) = arguments.next_if(|word| word.as_bytes().starts_with(b"-")) {
        if option != "-l" || arguments.next().is_none() {
            return Err(format!("unexpected {}", option.display()));
        }
    }
    arguments.next().ok_or("the host is missing")?;
    let words: Vec<Vec<u8>> = arguments.map(OsString::into_vec).collect();
    if words.is_empty() {
        return Err("the command is missing".to_owned());
    }
    Ok(words.join(&b' '))
}

/// Sends the call and waits for the exit status.
fn converse(socket: &Path, command: &[u8], input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<u8> {
    // A killed rsync would leave this process behind, and the job would not know. Elsewhere rsync's end of file must
    // tell.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let mut socket = UnixStream::connect(socket)?;
    hand_over(&mut socket, command, [input, output])?;
    // rsync must see the end of both streams when the job closes them.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(nothing.as_fd())?;
    dup2_stdout(nothing.as_fd())?;
    let mut status = [0];
    socket.read_exact(&mut status)?;
    Ok(status[0])
}

/// Encodes the message: the length of the command in four bytes, with the descriptors; then the command.
pub(super) fn hand_over(socket: &mut UnixStream, command: &[u8], ends: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let length = u32::try_from(command.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&ends));
    let sent = sendmsg(&*socket, &[IoSlice::new(&length.to_be_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&length.to_be_bytes()[sent..])?;
    socket.write_all(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(arguments: &[&str]) -> Result<String, String> {
        let command = command_of(arguments.iter().map(OsString::from))?;
        Ok(String::from_utf8(command).expect("text"))
    }

    #[test]
    fn the_command_is_what_follows_the_host() {
        assert_eq!(command(&["web1", "rsync", "--server", ".", "/x\\ y"]).as_deref(), Ok("rsync --server . /x\\ y"));
        assert_eq!(command(&["-l", "joe", "::1", "rsync", "-l", "x"]).as_deref(), Ok("rsync -l x"));
        assert_eq!(command(&["-l", "-odd", "web1", "rsync"]).as_deref(), Ok("rsync"));
        assert_eq!(command(&["web1", "-odd", ""]).as_deref(), Ok("-odd "));
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for (arguments, problem) in [
            (&["-4", "web1", "rsync"][..], "unexpected -4"),
            (&["-l"], "unexpected -l"),
            (&["-p", "22", "web1", "rsync"], "unexpected -p"),
            (&[], "the host is missing"),
            (&["-l", "joe"], "the host is missing"),
            (&["web1"], "the command is missing"),
        ] {
            assert_eq!(command(arguments), Err(problem.to_owned()), "{arguments:?}");
        }
    }

    #[test]
    fn only_its_own_option_makes_it_a_remote_shell() {
        let asked = |arguments: &[&str]| as_remote_shell(arguments.iter().map(OsString::from)).is_some();
        assert!(!asked(&[]));
        assert!(!asked(&["prsync"]));
        assert!(!asked(&["prsync", "-h", "hosts", OPTION]));
        assert!(!asked(&[OPTION, "prsync"]));
        assert!(asked(&["prsync", OPTION]));
        assert!(asked(&["prsync", OPTION, "/no/such/socket", "web1", "rsync"]));
    }
}
