//! One host of a run, and the lines of its output.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::hints;
use super::kept::Kept;
use crate::command::input::Writer;
use crate::events::event::{Outcome, Stream};
use crate::hosts::HostSpec;
use crate::plan::job::Job;
use crate::system::lock::lock;

/// A longer line is returned in pieces, in bytes.
const LONGEST_LINE: usize = 512 << 10;

/// One host of a run. Clones refer to the same host.
#[derive(Clone)]
pub struct Host {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    job: Job,
    /// stdout and stderr.
    pub(super) streams: [Kept; 2],
    stdin: Mutex<Option<Writer>>,
    pub(super) outcome: OnceLock<Outcome>,
    /// Where its files are copied to.
    directory: Option<PathBuf>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("label", &self.label()).field("outcome", &self.outcome()).finish_non_exhaustive()
    }
}

impl Host {
    pub(super) fn new(job: &Job, stdin: Option<Writer>, directory: Option<PathBuf>) -> Host {
        let (streams, stdin) = (Default::default(), Mutex::new(stdin));
        Host { inner: Arc::new(Inner { job: job.clone(), streams, stdin, outcome: OnceLock::new(), directory }) }
    }

    /// Returns the host's index in the list, from 0.
    pub fn number(&self) -> usize {
        self.inner.job.number
    }

    /// Returns the host as it was given.
    pub fn spec(&self) -> &HostSpec {
        &self.inner.job.spec
    }

    /// Returns the host's name in reports: the host name, or the whole entry if several entries have the same host.
    pub fn label(&self) -> &str {
        &self.inner.job.label
    }

    /// Returns the local directory into which the files of this host are copied ([`Client::download`](crate::Client::download)).
    pub fn directory(&self) -> Option<&Path> {
        self.inner.directory.as_deref()
    }

    /// Returns what may help if the host failed, in a sentence without command-line options.
    pub fn hint(&self) -> Option<String> {
        hints::of_outcome(self.outcome()?)
    }

    /// Returns the command as the login shell of the host gets it; empty for a copy.
    pub fn command(&self) -> &[u8] {
        &self.inner.job.request.line
    }

    /// Returns the lines of the command's standard output that have not been read, and waits for new ones until the output ends. Lines
    /// have no newline; their bytes are unchanged.
    pub fn stdout(&self) -> Lines {
        self.lines(Stream::Stdout)
    }

    /// Returns the lines of the command's standard error, like [`Host::stdout`].
    pub fn stderr(&self) -> Lines {
        self.lines(Stream::Stderr)
    }

    fn lines(&self, stream: Stream) -> Lines {
        Lines { host: self.clone(), stream, rest: Vec::new(), is_ended: false }
    }

    /// Returns the writer of the command's standard input, once, if the command has one ([`Command::with_stdin`](crate::Command::with_stdin)).
    pub fn stdin(&self) -> Option<Writer> {
        lock(&self.inner.stdin).take()
    }

    /// Returns whether the host has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome().is_some()
    }

    /// Returns the outcome, if the host has ended. A host has exactly one, which does not change any more.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.inner.outcome.get()
    }

    /// Returns the exit status of the command, if one was received. A command that was killed by a signal has none (`exit_code` of
    /// the reference client is -1 then).
    pub fn exit_code(&self) -> Option<u32> {
        self.outcome()?.exit_status()
    }

    /// Returns the outcome, unless the command ended with an exit status or a signal: the host was not reached, took too long or was
    /// stopped, or its connection was lost. It is what `HostOutput.exception` has in the reference client.
    ///
    /// ```no_run
    /// # use pssh::{Class, Client, Settings};
    /// # fn main() -> Result<(), pssh::Error> {
    /// let run = Client::new(["web1", "web2"], Settings::for_library()?)?.run_command("uptime")?;
    /// run.join(None)?;
    /// for host in &run {
    ///     match host.exception().map(|outcome| (outcome.class(), outcome)) {
    ///         None => println!("{}: {:?}", host.label(), host.exit_code()),
    ///         // UnknownHostException, ConnectionErrorException and AuthenticationException of the reference client.
    ///         Some((Class::Dns | Class::Connect, outcome)) => println!("{} cannot be reached: {outcome}", host.label()),
    ///         Some((Class::Auth, outcome)) => println!("{} refuses the login: {outcome}", host.label()),
    ///         Some((_, outcome)) => println!("{}: {outcome}", host.label()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn exception(&self) -> Option<&Outcome> {
        self.outcome().filter(|outcome| outcome.exit_status().is_none() && outcome.signal().is_none())
    }

    /// Discards all output that was not read, and all further output.
    pub fn discard_output(&self) {
        self.inner.streams.iter().for_each(Kept::discard);
    }
}

/// An iterator over the lines of a host's output. It waits for the next line while the command runs.
///
/// A line of more than 512 KiB comes in pieces. The reference client strips blanks and decodes the text; here the bytes are as they came.
/// An error comes from the temporary file that keeps the output, and ends the iterator.
pub struct Lines {
    host: Host,
    stream: Stream,
    rest: Vec<u8>,
    is_ended: bool,
}

impl Iterator for Lines {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Bytes already searched for a newline.
        let mut seen = 0;
        loop {
            if let Some(end) = self.rest[seen..].iter().position(|byte| *byte == b'\n').map(|place| seen + place) {
                let mut line = self.rest.split_off(end + 1);
                std::mem::swap(&mut line, &mut self.rest);
                line.truncate(end);
                return Some(Ok(line));
            }
            seen = self.rest.len();
            if self.is_ended || seen >= LONGEST_LINE {
                return (!self.rest.is_empty()).then(|| Ok(std::mem::take(&mut self.rest)));
            }
            match self.host.inner.streams[self.stream as usize].read(&mut self.rest) {
                Ok(more) => self.is_ended = !more,
                Err(error) => {
                    self.is_ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
