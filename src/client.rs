//! The same from Rust: a client for many hosts, in the shape of the Python `ParallelSSHClient`, without its traps.
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
//! The hosts run on threads of their own, and what they print is kept until it is read, in memory or beyond 1 MiB per host
//! and stream in an unnamed temporary file. So nothing here depends on the order in which things are read: a run ends
//! whether its output is read or not, and the output can be read when it has ended.

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
use crate::events::event::{Event, EventKind, Outcome, Stream, Tally};
use crate::events::host_error::HostError;
use crate::hosts::{self, HostSpec, HostsError};
use crate::plan::error::Unprepared;
use crate::plan::failure_limit::FailureLimit;
use crate::plan::job::{Commands, Job};
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::engine::{Engine, StartError};
use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;
use crate::system::open_files::Held;
use crate::text::message::reason;

/// Bytes of a line after which it is given although its end has not come.
const LONGEST_LINE: usize = 512 << 10;

/// Hosts, and how they are reached.
#[derive(Clone)]
pub struct Client {
    hosts: Vec<HostSpec>,
    settings: Settings,
}

/// Why a command could not be started on any host. Nothing was connected to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An entry is not a host.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// There are no hosts.
    #[error("the list of hosts is empty")]
    NoHosts,
    /// The command cannot be sent.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// sudo cannot be told this user's name.
    #[error("{0:?}: {1}")]
    User(String, &'static str),
    /// The per-host arguments are not what the command needs.
    #[error(transparent)]
    Arguments(#[from] HostArgsError),
    /// What is needed to connect is not there: ssh_config, a key, a password.
    #[error(transparent)]
    Unprepared(#[from] Unprepared),
    /// The system is out of something.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system is out of something else.
    #[error("{}", reason(.0))]
    System(#[from] io::Error),
}

impl Client {
    /// A client for these hosts, each `[user@]host[:port]` or a range, `web[1-9]`, or several of them separated by blanks. A
    /// host may be there more than once: each entry is a host of its own in every run. Nothing is connected to.
    ///
    /// # Errors
    /// An entry is not a host; or there is none.
    ///
    /// ```
    /// use pssh::Client;
    /// use pssh::Settings;
    ///
    /// let settings = Settings::for_library()?;
    /// assert!(Client::new(["web1 web2", "root@[::1]:2222"], settings.clone()).is_ok());
    /// let error = Client::new(["web1,web2"], settings).err().expect("that is no host");
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

    /// A client for hosts that were read elsewhere, such as by [`hosts::gather`] from files.
    ///
    /// # Errors
    /// There are no hosts.
    pub fn of(hosts: Vec<HostSpec>, settings: Settings) -> Result<Client, ClientError> {
        if hosts.is_empty() { Err(ClientError::NoHosts) } else { Ok(Client { hosts, settings }) }
    }

    /// The hosts, in the order of the list.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// Starts `command` on all hosts, at most [`Settings::pool_size`] at once, and returns without waiting for any of them.
    /// Each host's login shell runs it, as with ssh(1); its standard input is empty.
    ///
    /// # Errors
    /// It cannot be started on any host.
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

    /// A command with more to say about it than [`Client::run_command`] has room for.
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

/// A command in the making.
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
    stop_on_errors: Option<FailureLimit>,
    timeout: Option<Duration>,
}

impl Command<'_> {
    /// Fills in each host's own values, one [`Arguments`] for each host in the order of the list. With it, the command has
    /// places for them: `%q` for a value that is to be one word whatever is in it, `%s` for one that the shell acts on,
    /// `%(name)q` and `%(name)s` by name, and `%%` for a percent sign. Without it a `%` is just that.
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

    /// What reads the command, if not the login shell.
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// Runs it by sudo, as `user`, or as sudo's default (root). sudo's password is [`Settings::sudo_password`].
    pub fn sudo(mut self, user: Option<&str>) -> Self {
        self.sudo = Some(Sudo { user: user.map(str::to_owned) });
        self
    }

    /// Lets the program write the standard input of each host's command ([`Host::stdin`]). The input ends when its writer
    /// is dropped; until then a command that reads it waits.
    pub fn with_stdin(mut self) -> Self {
        self.has_stdin = true;
        self
    }

    /// Stops the run once so many hosts have failed: what runs is told to stop, the others are not started. The reference
    /// client raises the error instead, and goes on on all hosts.
    pub fn stop_on_errors(mut self, limit: FailureLimit) -> Self {
        self.stop_on_errors = Some(limit);
        self
    }

    /// How long the command may run on each host before it is told to stop.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Starts it, as [`Client::run_command`] does.
    ///
    /// # Errors
    /// It cannot be started on any host.
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
        let engine = Engine::new(settings, self.client.hosts.clone(), Work::Commands { commands, inputs }, &cancel)?;
        let started = engine.start(Held::default())?;
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

/// A command that runs on all hosts, or has run.
///
/// Its hosts are in the order of the list. Dropping it stops what still runs, and waits for the seconds that this takes: no
/// command stays behind that nobody looks after.
#[must_use = "dropping it stops the command"]
pub struct Run {
    shared: Arc<Shared>,
    cancel: Cancel,
}

/// What the run and the thread that keeps its output share.
struct Shared {
    hosts: Arc<[Host]>,
    /// How many hosts have not ended.
    open: Mutex<usize>,
    changed: Condvar,
}

/// Hosts had not ended by the time until which they were waited for. They go on.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} hosts have not finished within {} s", .unfinished.len(), .unfinished.len() + .finished.len(), .limit.as_secs_f64())]
pub struct JoinTimeout {
    /// How long they were waited for.
    pub limit: Duration,
    /// The places of the hosts that have ended.
    pub finished: Vec<usize>,
    /// The places of those that have not.
    pub unfinished: Vec<usize>,
}

impl Run {
    /// The hosts, in the order of the list.
    pub fn hosts(&self) -> &[Host] {
        &self.shared.hosts
    }

    /// Whether all hosts have ended. Their output may not have been read.
    pub fn finished(&self) -> bool {
        *lock(&self.shared.open) == 0
    }

    /// Waits until all hosts have ended, or for `timeout`; says how many ended how. Whether output was read, and how much
    /// there is of it, does not matter; what was not read can be read after it.
    ///
    /// # Errors
    /// The time has passed.
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

    /// As [`Run::join`], and forgets all output that was not read, as it comes (the reference client's `consume_output`).
    ///
    /// # Errors
    /// As of [`Run::join`].
    pub fn join_discarding_output(&self, timeout: Option<Duration>) -> Result<Tally, JoinTimeout> {
        self.hosts().iter().for_each(Host::discard_output);
        self.join(timeout)
    }

    /// Stops the run: commands that run are told to stop, TERM and after two seconds KILL, hosts that have not started do
    /// not. Returns at once.
    pub fn cancel(&self) {
        self.cancel.trigger(Reason::Program);
    }

    /// The first host, in the order of the list, that has ended in something else than an exit status.
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
    /// Keeps what the hosts print, until all of them have ended.
    fn keep(&self, events: &Receiver<Event>, hangups: &[Hangup]) {
        for Event { job, kind, .. } in events {
            match kind {
                EventKind::Output { stream, bytes } => self.hosts[job].inner.streams[stream as usize].push(&bytes),
                EventKind::Finished { outcome, .. } => self.end(job, outcome, hangups),
                EventKind::Started
                | EventKind::Attempted(_)
                | EventKind::Connected
                | EventKind::Note(_)
                | EventKind::Warning(_)
                | EventKind::Paused { .. }
                | EventKind::Resumed
                | EventKind::Copied(_) => {}
            }
        }
        // A worker that vanished must not take its host along.
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

/// One host of a run. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    job: Job,
    /// What it has printed: stdout, stderr.
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

    /// Its place in the list, from 0.
    pub fn number(&self) -> usize {
        self.inner.job.number
    }

    /// The host as it was given.
    pub fn spec(&self) -> &HostSpec {
        &self.inner.job.spec
    }

    /// Its name in a report: the host, or all of its entry where another one has the same host.
    pub fn label(&self) -> &str {
        &self.inner.job.label
    }

    /// The command, as its shell gets it.
    pub fn command(&self) -> &[u8] {
        &self.inner.job.request.line
    }

    /// The lines of the command's standard output, from the first that was not read: those that are there, then those that
    /// come, until the end. Without their newlines; bytes are as they came.
    pub fn stdout(&self) -> Lines {
        self.lines(Stream::Stdout)
    }

    /// The same of its standard error.
    pub fn stderr(&self) -> Lines {
        self.lines(Stream::Stderr)
    }

    fn lines(&self, stream: Stream) -> Lines {
        Lines { host: self.clone(), stream, rest: Vec::new(), is_ended: false }
    }

    /// The command's standard input, once, if the run was made with it ([`Command::with_stdin`]).
    pub fn stdin(&self) -> Option<Writer> {
        lock(&self.inner.stdin).take()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome().is_some()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.inner.outcome.get()
    }

    /// The exit status of its command, if one was received. A command that died by a signal has none.
    pub fn exit_code(&self) -> Option<u32> {
        match self.outcome()? {
            Outcome::Exited(status) => Some(*status),
            _ => None,
        }
    }

    /// How it ended, if that is neither by an exit status nor by a signal to its command: it was not reached, took too long,
    /// was stopped, or its connection was lost.
    pub fn exception(&self) -> Option<&Outcome> {
        self.outcome().filter(|outcome| !matches!(outcome, Outcome::Exited(_) | Outcome::Signaled { .. }))
    }

    /// Forgets its output that was not read, and what it prints from now on.
    pub fn discard_output(&self) {
        self.inner.streams.iter().for_each(Kept::discard);
    }
}

/// The lines of a host's output. Waits for the next one where the command runs.
///
/// A line of more than 512 KiB comes in pieces. An error is one of the temporary file in which output waits; it ends the
/// lines.
pub struct Lines {
    host: Host,
    stream: Stream,
    rest: Vec<u8>,
    is_ended: bool,
}

impl Iterator for Lines {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        // What has been looked at without finding a newline.
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
