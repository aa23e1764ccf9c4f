//! The Rust API: a client for many hosts, shaped like the Python `ParallelSSHClient`, without its traps.
//!
//! ```no_run
//! use pssh::Client;
//! use pssh::Settings;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["web1", "root@web2:2222"], Settings::for_library()?)?;
//! let run = client.run_command("uptime")?;
//! for host in &run {
//!     for line in host.stdout() {
//!         println!("{}: {}", host.label(), String::from_utf8_lossy(&line?));
//!     }
//! }
//! println!("{}", run.join(None)?);
//! # Ok(())
//! # }
//! ```
//!
//! Each host runs on its own thread. Its output is kept until it is read: in memory, and beyond 1 MiB per host and stream in an
//! unnamed temporary file. So the order of reading does not matter: a run ends whether or not its output is read, and the output
//! can be read afterwards.

mod kept;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use self::kept::Kept;
use crate::command::host_args::{self, Arguments, HostArgsError};
use crate::command::input::{Hangup, Input, Inputs, Writer};
use crate::command::sudo::{self, Sudo};
use crate::command::{self, CommandError, CommandLine, Shell, Wrapping};
use crate::events::event::{Event, EventKind, Outcome, Stream};
use crate::events::host_error::HostError;
use crate::events::tally::Tally;
use crate::hosts::{self, HostSpec, HostsError, ListPlace};
use crate::plan::error::Unprepared;
use crate::plan::job::{Commands, Job};
use crate::plan::portion::Portion;
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::earlier::Earlier;
use crate::run::engine::{Engine, StartError};
use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;
use crate::system::open_files::Held;
use crate::text::message::reason;

/// A longer line is returned in pieces, in bytes.
const LONGEST_LINE: usize = 512 << 10;

/// A list of hosts and the settings to reach them.
#[derive(Clone)]
pub struct Client {
    hosts: Vec<HostSpec>,
    settings: Settings,
}

/// The reason why a command was not started on any host. No host was connected to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An entry of the list is not a host.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// There are no hosts.
    #[error("the list of hosts is empty")]
    NoHosts,
    /// The command cannot be sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The name is not a valid user name for sudo.
    #[error("{0:?}: {1}")]
    User(String, &'static str),
    /// The per-host arguments do not fit the command.
    #[error(transparent)]
    Arguments(#[from] HostArgsError),
    /// Something needed to connect is missing or wrong: ssh_config, a key, a password.
    #[error(transparent)]
    Unprepared(#[from] Unprepared),
    /// The system lacks resources for the run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A system call failed.
    #[error("{}", reason(.0))]
    System(#[from] io::Error),
}

impl Client {
    /// Makes a client for these hosts. Each string is `[user@]host[:port]`, a range, `web[1-9]`, or several of them separated by
    /// blanks. A host may be listed more than once; each entry runs separately. It connects to no host yet.
    ///
    /// # Errors
    /// An entry is not a host, or the list is empty.
    ///
    /// ```
    /// use pssh::Client;
    /// use pssh::Settings;
    ///
    /// let settings = Settings::for_library()?;
    /// assert!(Client::new(["web1 web2", "root@[::1]:2222"], settings.clone()).is_ok());
    /// let error = Client::new(["web1,web2"], settings).err().expect("not a host");
    /// assert!(error.to_string().contains("separated by blanks"));
    /// # Ok::<(), String>(())
    /// ```
    pub fn new<I>(hosts: I, settings: Settings) -> Result<Client, ClientError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let strings: Vec<String> = hosts.into_iter().map(Into::into).collect();
        Client::of(hosts::gather(&[], &strings)?, settings)
    }

    /// Makes a client for hosts that were read elsewhere, for example by [`hosts::gather`] from files.
    ///
    /// # Errors
    /// The list is empty.
    pub fn of(mut hosts: Vec<HostSpec>, settings: Settings) -> Result<Client, ClientError> {
        ListPlace::set(&mut hosts);
        if hosts.is_empty() { Err(ClientError::NoHosts) } else { Ok(Client { hosts, settings }) }
    }

    /// Returns the hosts, in the order of the list.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// Starts `command` on all hosts, at most [`Settings::pool_size`] at once, and returns without waiting for them.
    /// Each host's login shell runs it, as with ssh(1); its standard input is empty.
    ///
    /// # Errors
    /// The command cannot be started on any host.
    ///
    /// ```no_run
    /// # use pssh::{Client, Settings};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let run = client.run_command("systemctl is-active nginx")?;
    /// let tally = run.join(None)?;
    /// println!("{tally}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_command(&self, command: impl Into<Vec<u8>>) -> Result<Run, ClientError> {
        self.command(command).run()
    }

    /// Makes a command with more options than [`Client::run_command`] has.
    pub fn command(&self, command: impl Into<Vec<u8>>) -> Command<'_> {
        Command {
            client: self,
            command: command.into(),
            shell: Shell::Login,
            sudo: self.settings.sudo.clone(),
            host_args: None,
            has_stdin: false,
            stop_on_errors: self.settings.stop_on_errors,
            timeout: self.settings.command_timeout,
        }
    }
}

/// A command and its options, before it runs.
///
/// ```no_run
/// # use pssh::{Client, Settings};
/// # use std::io::Write;
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
/// let run = client.command("cat > motd").with_stdin().timeout(Duration::from_secs(60)).run()?;
/// for host in &run {
///     if let Some(mut stdin) = host.stdin() {
///         writeln!(stdin, "Welcome to {}", host.label())?;
///     }
/// }
/// run.join(None)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until it is run"]
pub struct Command<'a> {
    client: &'a Client,
    command: Vec<u8>,
    shell: Shell,
    sudo: Option<Sudo>,
    host_args: Option<Vec<Arguments>>,
    has_stdin: bool,
    stop_on_errors: Option<Portion>,
    timeout: Option<Duration>,
}

impl Command<'_> {
    /// Fills in values for each host: one [`Arguments`] per host, in the order of the list. They replace `%q` in the command, quoted as
    /// one word for the shell, `%s`, which the shell interprets, and `%(name)q` and `%(name)s` by name; `%%` is a percent sign. Without
    /// values, `%` is an ordinary character.
    ///
    /// ```no_run
    /// # use pssh::{Arguments, Client, Settings};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let versions = ["1.2", "1.3 (beta)"].map(|version| Arguments::in_order([version]));
    /// client.command("deploy %q").host_args(versions).run()?.join(None)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn host_args(mut self, arguments: impl IntoIterator<Item = Arguments>) -> Self {
        self.host_args = Some(arguments.into_iter().collect());
        self
    }

    /// Sets the shell that runs the command instead of the login shell.
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// Runs the command with sudo as `user`, or as sudo's default (root). The password is [`Settings::sudo_password`].
    pub fn sudo(mut self, user: Option<&str>) -> Self {
        self.sudo = Some(Sudo { user: user.map(str::to_owned) });
        self
    }

    /// Lets the program write to the standard input of each host's command ([`Host::stdin`]). The input ends when its writer is
    /// dropped; until then, a command that reads it waits.
    pub fn with_stdin(mut self) -> Self {
        self.has_stdin = true;
        self
    }

    /// Stops the run once this many hosts have failed: running commands are stopped, and other hosts are not started. The
    /// reference client raises the error instead, and continues on all hosts.
    pub fn stop_on_errors(mut self, limit: Portion) -> Self {
        self.stop_on_errors = Some(limit);
        self
    }

    /// Limits the time that the command may run on each host.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Starts the command like [`Client::run_command`].
    ///
    /// # Errors
    /// The command cannot be started on any host.
    pub fn run(self) -> Result<Run, ClientError> {
        if let Some(user) = self.sudo.as_ref().and_then(|sudo| sudo.user.as_deref()) {
            sudo::check_user(user).map_err(|problem| ClientError::User(user.to_owned(), problem))?;
        }
        let (words, wrapping) = ([OsString::from_vec(self.command)], Wrapping { shell: self.shell });
        let commands = match self.host_args {
            None => Commands::All(command::literal(&words, &wrapping)?.into()),
            Some(arguments) => {
                let line = CommandLine::with_places(&words, wrapping)?;
                host_args::check(&arguments, &self.client.hosts, &line)?;
                Commands::Each(line, arguments)
            }
        };
        let (writers, inputs): (Vec<_>, Vec<_>) = match self.has_stdin {
            true => self.client.hosts.iter().map(|_| Input::written()).unzip(),
            false => (Vec::new(), Vec::new()),
        };
        let hangups: Vec<Hangup> = writers.iter().map(Writer::hangup).collect();
        let inputs = if self.has_stdin { Inputs::Each(inputs) } else { Inputs::Nothing };
        let settings = Settings {
            stop_on_errors: self.stop_on_errors,
            sudo: self.sudo,
            command_timeout: self.timeout,
            verbose: false,
            ..self.client.settings.clone()
        };
        let cancel = Cancel::new()?;
        let engine =
            Engine::new(settings, self.client.hosts.clone(), Work::Commands { commands, inputs }, None, &cancel)?;
        let started = engine.start(Held::default(), Earlier::default(), None)?;
        let mut writers = writers.into_iter();
        let hosts = engine.jobs().iter().map(|job| Host::new(job, writers.next())).collect::<Arc<[Host]>>();
        let shared = Arc::new(Shared { hosts, open: Mutex::new(engine.jobs().len()), changed: Condvar::new() });
        let all = Arc::clone(&shared);
        thread::Builder::new().name("pssh-output".to_owned()).spawn(move || {
            all.keep(&started.events, &hangups);
            engine.close();
        })?;
        Ok(Run { shared, cancel })
    }
}

/// A command that is running or has run on all hosts.
///
/// Its hosts are in the order of the list. Dropping the run stops all commands that still run, and waits until they have stopped,
/// which takes a few seconds.
#[must_use = "dropping it stops the command"]
pub struct Run {
    shared: Arc<Shared>,
    cancel: Cancel,
}

/// State shared by the run and the thread that keeps its output.
struct Shared {
    hosts: Arc<[Host]>,
    /// Number of hosts that have not ended.
    open: Mutex<usize>,
    changed: Condvar,
}

/// The time limit of [`Run::join`] passed before all hosts ended. The hosts continue.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} hosts have not finished within {} s", .unfinished.len(), .unfinished.len() + .finished.len(), .limit.as_secs_f64())]
pub struct JoinTimeout {
    /// The time limit.
    pub limit: Duration,
    /// The indexes of the hosts that have ended.
    pub finished: Vec<usize>,
    /// The indexes of the hosts that have not.
    pub unfinished: Vec<usize>,
}

impl Run {
    /// Returns the hosts, in the order of the list.
    pub fn hosts(&self) -> &[Host] {
        &self.shared.hosts
    }

    /// Returns whether all hosts have ended, even if their output has not been read.
    pub fn finished(&self) -> bool {
        *lock(&self.shared.open) == 0
    }

    /// Waits at most `timeout` until all hosts have ended, and returns the number of hosts per outcome. Output need not be read before;
    /// it can be read afterwards.
    ///
    /// # Errors
    /// The time limit passed.
    pub fn join(&self, timeout: Option<Duration>) -> Result<Tally, JoinTimeout> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut open = lock(&self.shared.open);
        while *open > 0 {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            open = match left {
                None => self.shared.changed.wait(open).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    drop(open);
                    let (finished, unfinished) =
                        (0..self.hosts().len()).partition(|place| self.hosts()[*place].is_finished());
                    return Err(JoinTimeout { limit: timeout.unwrap_or_default(), finished, unfinished });
                }
                Some(left) => self.shared.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        drop(open);
        let mut tally = Tally::default();
        self.hosts().iter().filter_map(Host::outcome).for_each(|outcome| tally.add(outcome.class()));
        Ok(tally)
    }

    /// Discards all output that was not read, and then waits like [`Run::join`] (the reference client's `consume_output`).
    ///
    /// # Errors
    /// See [`Run::join`].
    pub fn join_discarding_output(&self, timeout: Option<Duration>) -> Result<Tally, JoinTimeout> {
        self.hosts().iter().for_each(Host::discard_output);
        self.join(timeout)
    }

    /// Stops the run and returns at once: running commands get TERM and after two seconds KILL, and other hosts are not started.
    pub fn cancel(&self) {
        self.cancel.trigger(Reason::Program);
    }

    /// Returns the first host, in the order of the list, that ended without an exit status or signal.
    pub fn first_exception(&self) -> Option<(&Host, &Outcome)> {
        self.hosts().iter().find_map(|host| host.exception().map(|outcome| (host, outcome)))
    }
}

impl<'a> IntoIterator for &'a Run {
    type Item = &'a Host;
    type IntoIter = std::slice::Iter<'a, Host>;

    fn into_iter(self) -> Self::IntoIter {
        self.hosts().iter()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel();
        // Bounded by the time that stopping a command takes.
        let _ = self.join(None);
    }
}

impl Shared {
    /// Keeps the output of the hosts until all of them have ended.
    fn keep(&self, events: &Receiver<Event>, hangups: &[Hangup]) {
        for Event { job, kind, .. } in events {
            match kind {
                EventKind::Output { stream, bytes } => self.hosts[job].inner.streams[stream as usize].push(&bytes),
                EventKind::Finished { outcome, .. } => self.end(job, outcome, hangups),
                // Without the tally, the run goes on.
                EventKind::Batch(_)
                | EventKind::Started
                | EventKind::Attempted(_)
                | EventKind::Connected
                | EventKind::Note(_)
                | EventKind::Warning(_)
                | EventKind::Paused { .. }
                | EventKind::Resumed
                | EventKind::Checking
                | EventKind::Checked(_)
                | EventKind::Copied(_) => {}
            }
        }
        // Every host gets an outcome, even if its worker panicked.
        for job in 0..self.hosts.len() {
            let detail = "the job ended without an outcome".to_owned();
            self.end(job, HostError::Local { doing: "a fault in pssh itself", detail, hint: None }.into(), hangups);
        }
    }

    fn end(&self, job: usize, outcome: Outcome, hangups: &[Hangup]) {
        if let Some(hangup) = hangups.get(job) {
            hangup.hang_up();
        }
        let host = &self.hosts[job].inner;
        if host.outcome.set(outcome).is_err() {
            return;
        }
        host.streams.iter().for_each(Kept::end);
        *lock(&self.open) -= 1;
        self.changed.notify_all();
    }
}

/// One host of a run. Clones refer to the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    job: Job,
    /// stdout and stderr.
    streams: [Kept; 2],
    stdin: Mutex<Option<Writer>>,
    outcome: OnceLock<Outcome>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("label", &self.label()).field("outcome", &self.outcome()).finish_non_exhaustive()
    }
}

impl Host {
    fn new(job: &Job, stdin: Option<Writer>) -> Host {
        let streams = Default::default();
        Host {
            inner: Arc::new(Inner { job: job.clone(), streams, stdin: Mutex::new(stdin), outcome: OnceLock::new() }),
        }
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

    /// Returns the command as its shell gets it.
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

    /// Returns the writer of the command's standard input, once, if the command has one ([`Command::with_stdin`]).
    pub fn stdin(&self) -> Option<Writer> {
        lock(&self.inner.stdin).take()
    }

    /// Returns whether the host has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome().is_some()
    }

    /// Returns the outcome, if the host has ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.inner.outcome.get()
    }

    /// Returns the exit status of the command, if one was received. A command that was killed by a signal has none.
    pub fn exit_code(&self) -> Option<u32> {
        self.outcome()?.exit_status()
    }

    /// Returns the outcome, unless the command ended with an exit status or a signal: the host was not reached, took too long or was
    /// stopped, or its connection was lost.
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
/// A line of more than 512 KiB comes in pieces. An error comes from the temporary file that keeps the output, and ends the iterator.
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
