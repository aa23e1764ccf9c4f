//! The Rust API: a client for many hosts, shaped like the Python `ParallelSSHClient`, without its traps.
//!
//! ```no_run
//! use pssh::Client;
//! use pssh::Settings;
//!
//! # fn main() -> Result<(), pssh::Error> {
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

mod command;
mod error;
mod hints;
mod host;
mod kept;
mod live;
mod transfer;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

pub use self::command::Command;
pub use self::error::Error;
pub use self::host::{Host, Lines};
use self::kept::Kept;
use self::live::Log;
pub use self::live::{Events, Happening, RunEvent};
pub use self::transfer::Transfer;
use self::transfer::Way;
use crate::command::Shell;
use crate::command::input::{Hangup, Writer};
use crate::events::event::{Event, EventKind, Outcome};
use crate::events::host_error::HostError;
use crate::events::tally::Tally;
use crate::hosts::{self, HostSpec, ListPlace};
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::earlier::Earlier;
use crate::run::engine::Engine;
use crate::run::sessions::Sessions;
use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;
use crate::system::open_files::Held;

/// A list of hosts and the settings to reach them.
///
/// It stays connected: a host's session is used for the next command as well, and the commands on one host run one after the other. A
/// session that has ended before a command was sent on it is replaced by a new one; a command is never sent twice. Sessions without a
/// command are closed after [`Settings::idle_timeout`], beyond [`Settings::kept_sessions`], by [`Client::close`], and once the client and
/// its clones, which share them, are dropped.
#[derive(Clone)]
pub struct Client {
    hosts: Vec<HostSpec>,
    settings: Settings,
    sessions: Option<Arc<Lease>>,
}

/// The sessions of a client and its clones. A run may have them for longer.
struct Lease(Arc<Sessions>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.retire();
    }
}

impl Client {
    /// Makes a client for these hosts. Each string is `[user@]host[:port]`, a range, `web[1-9]`, or several of them separated by
    /// blanks. A host may be listed more than once; each entry runs separately. It connects to no host yet.
    ///
    /// # Errors
    /// [`Error::Hosts`]: an entry is not a host. [`Error::NoHosts`]: the list is empty. [`Error::System`]: the system has no pipe.
    ///
    /// ```
    /// use pssh::Client;
    /// use pssh::Settings;
    ///
    /// let settings = Settings::for_library()?;
    /// assert!(Client::new(["web1 web2", "root@[::1]:2222"], settings.clone()).is_ok());
    /// let error = Client::new(["web1,web2"], settings).err().expect("not a host");
    /// assert!(error.to_string().contains("separated by blanks"));
    /// # Ok::<(), pssh::Error>(())
    /// ```
    pub fn new<I>(hosts: I, settings: Settings) -> Result<Client, Error>
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
    /// [`Error::NoHosts`]: the list is empty. [`Error::System`]: the system has no pipe.
    pub fn of(mut hosts: Vec<HostSpec>, settings: Settings) -> Result<Client, Error> {
        ListPlace::set(&mut hosts);
        if hosts.is_empty() {
            return Err(Error::NoHosts);
        }
        let sessions = Sessions::new(hosts.len(), &settings)?.map(|sessions| Arc::new(Lease(sessions)));
        Ok(Client { hosts, settings, sessions })
    }

    /// Disconnects from all hosts without a command, and from jump hosts that are not in use. Commands that run are not touched; their
    /// sessions are closed when they end. The client can still be used: the next command connects anew.
    pub fn close(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.0.close();
        }
    }

    /// Returns the hosts, in the order of the list.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// Starts `command` on all hosts, at most [`Settings::pool_size`] at once, and returns without waiting for them.
    /// Each host's login shell runs it, as with ssh(1); its standard input is empty. `ParallelSSHClient.run_command` returns once every
    /// host runs the command, has a terminal and changes the quotes; here the command is sent as it is.
    ///
    /// # Errors
    /// See [`Command::run`].
    ///
    /// ```no_run
    /// # use pssh::{Client, Settings};
    /// # fn main() -> Result<(), pssh::Error> {
    /// let client = Client::new(["web1", "web2"], Settings::for_library()?)?;
    /// let run = client.run_command("systemctl is-active nginx")?;
    /// let tally = run.join(None)?;
    /// println!("{tally}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_command(&self, command: impl Into<Vec<u8>>) -> Result<Run, Error> {
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

    /// Copies the file or directory `local` to `remote` on all hosts: [`Client::upload`] with directories and without other options.
    ///
    /// # Errors
    /// See [`Transfer::run`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), pssh::Error> {
    /// let client = pssh::Client::new(["web1", "web2"], pssh::Settings::for_library()?)?;
    /// client.copy_file("motd", "/etc/motd")?.join(None)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy_file(&self, local: impl Into<PathBuf>, remote: impl Into<PathBuf>) -> Result<Run, Error> {
        self.upload(local, remote).recursive().run()
    }

    /// Copies the file or directory `remote` of each host below the local directory `directory`, as `directory/HOST/NAME`:
    /// [`Client::download`] with directories and without other options. (The reference client makes `directory_HOST`.)
    ///
    /// # Errors
    /// See [`Transfer::run`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), pssh::Error> {
    /// let client = pssh::Client::new(["web1", "web2"], pssh::Settings::for_library()?)?;
    /// let run = client.copy_remote_file("/var/log/syslog", "logs")?;
    /// run.join(None)?;
    /// for host in &run {
    ///     println!("{}: {:?}", host.label(), host.directory());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy_remote_file(&self, remote: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Result<Run, Error> {
        self.download(remote, directory).recursive().run()
    }

    /// Makes a copy of `local` to `remote` on all hosts, with the rules of scp and the guarantees of pscp(1): a file is in its place only
    /// once all of its data has arrived. Directories of `remote` that are missing are created, as by the reference client.
    pub fn upload(&self, local: impl Into<PathBuf>, remote: impl Into<PathBuf>) -> Transfer<'_> {
        Transfer::new(self, local.into(), remote.into(), Way::Up)
    }

    /// Makes a copy of `remote`, which may have wildcards, of each host to `directory/HOST/NAME`, with the guarantees of pslurp(1): the
    /// host decides nothing outside of its own directory.
    pub fn download(&self, remote: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Transfer<'_> {
        Transfer::new(self, directory.into(), remote.into(), Way::Down)
    }

    /// Starts work on all hosts.
    fn start(
        &self,
        settings: Settings,
        work: Work,
        writers: Vec<Writer>,
        directories: Vec<PathBuf>,
    ) -> Result<Run, Error> {
        let hangups: Vec<Hangup> = writers.iter().map(Writer::hangup).collect();
        let cancel = Cancel::new()?;
        let sessions = self.sessions.as_ref().map(|sessions| Arc::clone(&sessions.0));
        let engine = Engine::new(settings, self.hosts.clone(), work, None, sessions, &cancel)?;
        // Before anything can be sent: there may be no thread left.
        let (give, given) = bounded::<(Arc<Shared>, Receiver<Event>, Engine)>(1);
        thread::Builder::new().name("pssh-output".to_owned()).spawn(move || {
            if let Ok((shared, events, engine)) = given.recv() {
                shared.keep(&events, &hangups);
                engine.close();
            }
        })?;
        let started = engine.start(Held::default(), Earlier::default(), None)?;
        let (mut writers, mut directories) = (writers.into_iter(), directories.into_iter());
        let host = |job| Host::new(job, writers.next(), directories.next());
        let hosts = engine.jobs().iter().map(host).collect::<Arc<[Host]>>();
        let (open, events) = (Mutex::new(hosts.len()), Log::new(hosts.len()));
        let shared = Arc::new(Shared { hosts, open, changed: Condvar::new(), events });
        // It waits for them.
        let _ = give.send((Arc::clone(&shared), started.events, engine));
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
    events: Log,
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

    /// Returns what happens on all hosts, as it happens, from the beginning of the run; the iterator waits for the next event, and ends
    /// once all hosts have ended and everything was returned. Events are returned once, to one of the iterators of a run. Output that an
    /// event returns is not returned by [`Host::stdout`] and [`Host::stderr`] again, and the other way round.
    ///
    /// ```no_run
    /// use pssh::{Client, Happening, Settings};
    ///
    /// # fn main() -> Result<(), pssh::Error> {
    /// let run = Client::new(["web1", "web2"], Settings::for_library()?)?.run_command("apt-get -y upgrade")?;
    /// for event in run.events() {
    ///     match event.what {
    ///         Happening::Output { bytes, .. } => println!("{}: {}", event.host.label(), String::from_utf8_lossy(&bytes)),
    ///         Happening::Ended => println!("{}: {:?}", event.host.label(), event.host.outcome()),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.shared.events, &self.shared.hosts)
    }

    /// Returns whether all hosts have ended, even if their output has not been read (`ParallelSSHClient.finished`).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), pssh::Error> {
    /// # let client = pssh::Client::new(["web1", "web2"], pssh::Settings::for_library()?)?;
    /// let run = client.run_command("make -C /srv/site")?;
    /// while !run.finished() {
    ///     std::thread::sleep(Duration::from_secs(1));
    ///     let left = run.hosts().iter().filter(|host| !host.is_finished());
    ///     println!("{} hosts left", left.count());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn finished(&self) -> bool {
        *lock(&self.shared.open) == 0
    }

    /// Waits at most `timeout` until all hosts have ended, and returns the number of hosts per outcome; `None` waits as long as it takes.
    /// Output need not be read before, unlike with `ParallelSSHClient.join`; it can be read afterwards.
    ///
    /// # Errors
    /// The time limit passed; the run goes on, and can be joined again.
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

    /// Returns the first host, in the order of the list, that ended without an exit status or signal: the error that
    /// `ParallelSSHClient.run_command` raises with `stop_on_errors`.
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
                EventKind::Output { stream, bytes } => {
                    self.hosts[job].inner.streams[stream as usize].push(&bytes);
                    self.events.output(job, stream);
                }
                EventKind::Finished { outcome, .. } => self.end(job, outcome, hangups),
                EventKind::Started => self.events.add(job, Happening::Started),
                EventKind::Connected => self.events.add(job, Happening::Connected),
                EventKind::Warning(notice) => self.events.add(job, Happening::Warning(notice.to_string())),
                EventKind::Paused { reason, until } => self.events.add(job, Happening::Retrying { reason, until }),
                EventKind::Copied(progress) => self.events.progress(job, progress),
                // Without the tally, the run goes on.
                EventKind::Batch(_)
                | EventKind::Attempted(_)
                | EventKind::Note(_)
                | EventKind::Resumed
                | EventKind::Checking
                | EventKind::Checked(_) => {}
            }
        }
        // Every host gets an outcome, even if its worker panicked.
        for job in 0..self.hosts.len() {
            let detail = "the job ended without an outcome".to_owned();
            self.end(job, HostError::Local { doing: "a fault in pssh itself", detail, hint: None }.into(), hangups);
        }
        self.events.close();
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
        self.events.add(job, Happening::Ended);
        let mut open = lock(&self.open);
        *open -= 1;
        if *open == 0 {
            self.changed.notify_all();
        }
    }
}
