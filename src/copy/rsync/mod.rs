//! rsync for each host: pssh runs the local `rsync`, and its remote shell is a channel of the job's own session. So
//! jump hosts, host keys and passwords work as for commands.
//!
//! ```text
//!  rsync ── starts ─► this program as --remote-shell ── command, descriptors 0 and 1 ─► socket ─► Started (the job's worker)
//!    ▲                                                                                               │ Pipes, a Dialogue
//!    └──────────── the very sockets that rsync has made for its remote shell ◄───────────────────────┴─► channel ─► rsync there
//! ```

mod call;
pub(crate) mod command_line;
mod process;
mod remote_shell;
mod started;

pub use self::command_line::{Direction, Transfer};
pub use remote_shell::{NO_CONNECTION, as_remote_shell};
pub use started::Started;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use rustix::fs::{Access, access};

use self::started::ShellSocket;
use crate::events::event::{Event, Outcome};
use crate::events::host_error::HostError;
use crate::hosts::HostSpec;
use crate::system::files::trusted_path;
use crate::text::message::reason;

/// Descriptors of one running job in addition to those of its session: the listening socket, rsync's standard output
/// and error, a pair to end their reader, the connection of the remote shell, and both of its descriptors. Starting a
/// process takes two more while the last three do not exist yet.
pub const FILES_PER_JOB: u64 = 10;
/// Threads and processes of one running job: the reader of rsync's output, rsync's two processes, and the remote shell.
pub const THREADS_PER_JOB: usize = 4;

/// Where programs are without PATH, see execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The rsync settings that all hosts of a run share.
#[derive(Clone, Debug)]
pub struct Rsync {
    /// The program, with its path.
    program: PathBuf,
    /// The path of this program, which calls [`as_remote_shell`] first.
    ourselves: PathBuf,
    transfer: Transfer,
}

/// rsync cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RsyncError {
    /// rsync is not on PATH.
    #[error(
        "rsync is not installed here, or not on PATH; install it with: apt install rsync, dnf install rsync, apk add rsync, or \
         brew install rsync"
    )]
    Missing,
    /// The path of this program is unknown.
    #[error("cannot find the program file of pssh, which rsync must start: {}", reason(.0))]
    Ourselves(#[source] std::io::Error),
}

impl Rsync {
    /// Looks for rsync on PATH, and for this program's file.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn find(transfer: Transfer) -> Result<Rsync, RsyncError> {
        let ourselves = std::env::current_exe().map_err(RsyncError::Ourselves)?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let program = find_on(&path, "rsync").ok_or(RsyncError::Missing)?;
        Ok(Rsync::new(program, ourselves, transfer))
    }

    /// Uses these programs: an rsync, and one that calls [`as_remote_shell`].
    pub fn new(program: PathBuf, ourselves: PathBuf, transfer: Transfer) -> Rsync {
        Rsync { program, ourselves, transfer }
    }

    /// Returns the command line for `job` as a dry run shows it: rsync's words without the internal ones.
    pub fn command_line(&self, number: usize, host: &HostSpec) -> Vec<OsString> {
        let mut words = vec!["rsync".into()];
        words.extend(self.transfer.words(number, host));
        words
    }

    /// Starts rsync for `job`, whose session is authenticated. Its output goes to `events` as the job's output.
    ///
    /// # Errors
    /// The outcome of the job: no room for the socket or the files, or rsync cannot be started.
    pub fn start(&self, number: usize, host: &HostSpec, events: &Sender<Event>) -> Result<Started, Outcome> {
        if let Some(directory) = self.transfer.directory(number) {
            make_directory(directory)?;
        }
        let socket = ShellSocket::open().map_err(|error| HostError::local("creating a socket for rsync", &error))?;
        let shell = self::command_line::remote_shell(&self.ourselves, socket.path());
        let words = self.transfer.words(number, host);
        let process = process::start(&self.program, &shell, words, Transfer::variables(host), number, events)
            .map_err(|error| HostError::local("starting rsync", &error))?;
        Ok(Started::new(process, socket))
    }
}

/// Creates the directory for a host's files. Unlike with pslurp it may exist already: rsync updates what an earlier run
/// fetched. rsync gets the path.
fn make_directory(directory: &Path) -> Result<(), Outcome> {
    trusted_path::directory(directory).map(drop).map_err(|error| {
        let detail = format!("{}: {}", directory.display(), reason(&error));
        HostError::Local { doing: "creating the host's directory", detail, hint: None }.into()
    })
}

/// Returns the first program called `name` in the directories of `path`.
fn find_on(path: &std::ffi::OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).find_map(|directory| {
        // An empty one means the current directory.
        let program = std::path::absolute(directory.join(name)).ok()?;
        let is_program = program.is_file() && access(&program, Access::EXEC_OK).is_ok();
        is_program.then_some(program)
    })
}

/// Returns the meaning of an exit status of rsync (rsync(1), "EXIT VALUES"), as words after the status.
pub fn meaning(status: u32) -> Option<&'static str> {
    Some(match status {
        1 => "rsync found a syntax or usage error",
        2 => "the local and the remote rsync have incompatible protocols",
        3 => "rsync cannot use the given files or directories",
        4 => "one of the rsyncs does not support the requested action",
        5 => "the rsync server refused",
        6 => "rsync cannot write its log",
        10 => "the connection failed",
        11 => "a file could not be read or written",
        12 => "the remote rsync ended too soon, or something else answered",
        13 => "rsync could not print its messages",
        14 => "rsync could not start its processes or communicate with them",
        15 => "a process of rsync crashed",
        16 => "a process of rsync was killed",
        19 | 20 => "a signal stopped rsync",
        21 => "rsync lost track of a child process",
        22 => "out of memory",
        23 => "some files could not be transferred",
        24 => "some files vanished before they were transferred",
        25 => "the --max-delete limit stopped the deletions",
        30 => "no data within rsync's --timeout",
        35 => "the rsync server did not answer in time",
        124 => "the command on the host failed",
        125 => "the command on the host was killed",
        126 => "the command on the host cannot be run",
        127 => "rsync was not found on the host",
        255 => "the remote shell failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_program_is_looked_for_in_the_order_of_path() {
        let home = tempfile::tempdir().expect("a directory");
        let place = |name: &str| home.path().join(name);
        for (name, mode) in [("one", 0o644), ("two", 0o755), ("three", 0o755)] {
            fs::create_dir(place(name)).expect("a directory");
            let program = place(name).join("rsync");
            fs::write(&program, "").expect("a file");
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("the mode");
        }
        fs::create_dir_all(place("four").join("rsync")).expect("a directory of that name");
        let path = std::env::join_paths(["none", "four", "one", "two", "three"].map(place)).expect("a path");
        // root may execute only files with some execute permission.
        assert_eq!(find_on(&path, "rsync"), Some(place("two").join("rsync")));
        assert_eq!(find_on(place("one").as_os_str(), "rsync"), None);
        assert_eq!(find_on(std::ffi::OsStr::new(""), "no such program"), None);
    }
}
