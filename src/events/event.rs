//! Events from the workers to the output: what happened to which job, and how it ended.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::batch::BatchNews;
use super::check::{CheckFailure, CheckReport};
use super::host_error::{HostError, HostKeyError};
use super::recorded::Recorded;
use crate::system::cancel::{Cancel, Reason};
use crate::system::redact;

/// Something that happened to one job. Events of one job arrive in the order in which they happened.
#[derive(Debug)]
pub struct Event {
    /// Number of the job: its place in the list of hosts, from 0.
    pub job: usize,
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// Creates an event of `job` that happens now, with passwords redacted in text from others.
    pub fn now(job: usize, mut kind: EventKind) -> Self {
        match &mut kind {
            EventKind::Note(text) | EventKind::Warning(Notice::Missing(text)) => redact::redact_quotations(text),
            EventKind::Warning(Notice::KeyAdded { .. }) => {}
            EventKind::Paused { reason, .. } => redact::redact_quotations(reason),
            EventKind::Checked(report) => report.redact(),
            EventKind::Finished { outcome, .. } => outcome.redact(),
            EventKind::Batch(_)
            | EventKind::Started
            | EventKind::Attempted(_)
            | EventKind::Connected
            | EventKind::Output { .. }
            | EventKind::Resumed
            | EventKind::Checking
            | EventKind::Copied(_) => {}
        }
        Event { job, at: Instant::now(), kind }
    }
}

/// What can happen to a job.
#[derive(Debug)]
pub enum EventKind {
    /// A worker took the job; connecting starts.
    Started,
    /// An attempt to connect has ended, well or not.
    Attempted(Box<Milestones>),
    /// An attempt has failed, and the job waits for the next one.
    Paused {
        /// Why it failed, in words that are the same for all such hosts.
        reason: String,
        /// When the next attempt begins.
        until: Instant,
    },
    /// The next attempt begins.
    Resumed,
    /// The session is authenticated; the command is about to be sent.
    Connected,
    /// Bytes of the remote command, exactly as they came, at most one read's worth.
    Output {
        /// Which of the command's two streams.
        stream: Stream,
        /// The bytes; never empty.
        bytes: Vec<u8>,
    },
    /// How far a copy has come; now and then.
    Copied(Progress),
    /// The command has succeeded, and its check begins.
    Checking,
    /// The check is over.
    Checked(Box<CheckReport>),
    /// A note for `-v`. May quote the remote side: sanitize it before printing.
    Note(String),
    /// A warning although the host was reached.
    Warning(Notice),
    /// A batch of hosts, of which this job is the first.
    Batch(BatchNews),
    /// The job is over. The last event of every job, exactly once.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// How many attempts were made, 0 if it never started.
        attempts: u32,
    },
}

/// A warning about a host that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something that the user asked for was not done. May quote the remote side.
    Missing(String),
    /// The host key was not known, and is now.
    KeyAdded {
        /// The known_hosts file that has it.
        file: PathBuf,
        /// Whether keys are checked: not with `--host-key-check off`.
        is_checked: bool,
        /// The jump host whose key it is; otherwise it is that of the host itself.
        jump_host: Option<String>,
    },
}

impl Notice {
    /// Attributes the notice to `jump_host`, through which a host is reached.
    pub fn of_jump_host(self, jump_host: &str) -> Notice {
        match self {
            Notice::Missing(text) => Notice::Missing(format!("proxy {jump_host}: {text}")),
            Notice::KeyAdded { file, is_checked, .. } => {
                Notice::KeyAdded { file, is_checked, jump_host: Some(jump_host.to_owned()) }
            }
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Missing(text) => f.write_str(text),
            Notice::KeyAdded { file, is_checked, .. } => {
                let unchecked = if *is_checked { "" } else { " without a check" };
                write!(f, "new host key added to {}{unchecked}", file.display())
            }
        }
    }
}

/// How far an attempt to connect has come, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestones {
    /// The attempt began.
    pub begun: Instant,
    /// What was connected to, or tried first; unknown behind a proxy.
    pub address: Option<SocketAddr>,
    /// There was a connection, by TCP or through a proxy.
    pub reached: Option<Instant>,
    /// What was agreed on in the key exchange.
    pub agreed: Option<Agreed>,
    /// The keys were exchanged and the host key was accepted; authentication began.
    pub secured: Option<Instant>,
}

/// The algorithms that a key exchange agreed on. Of two, the first is for data to the host, the second for data from
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The method of key exchange.
    pub key_exchange: &'static str,
    /// The type of the host key and of its signature.
    pub host_key: &'static str,
    /// The ciphers.
    pub ciphers: [&'static str; 2],
    /// The MACs: `<implicit>` where the cipher has its own.
    pub macs: [&'static str; 2],
    /// The compressions.
    pub compression: [&'static str; 2],
}

impl Agreed {
    /// Joins the names of both directions: one if they are the same, else both with a comma.
    pub fn word(names: [&'static str; 2]) -> Cow<'static, str> {
        if names[0] == names[1] { names[0].into() } else { names.join(",").into() }
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Agreed { key_exchange, host_key, ciphers, macs, compression } = *self;
        let [cipher, mac, compression] = [ciphers, macs, compression].map(Agreed::word);
        write!(
            f,
            "key exchange {key_exchange}, host key {host_key}, cipher {cipher}, MAC {mac}, compression {compression}"
        )
    }
}

impl Milestones {
    /// Starts an attempt now.
    pub fn now() -> Milestones {
        Milestones { begun: Instant::now(), address: None, reached: None, agreed: None, secured: None }
    }
}

/// One of the two output streams of a remote command (RFC 4254 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Channel data.
    Stdout,
    /// Extended data of type 1, SSH_EXTENDED_DATA_STDERR.
    Stderr,
}

/// The part of a job that a deadline can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP connection, banner, key exchange and host key.
    Connect,
    /// The same, while KnownHostsCommand runs.
    KnownHostsCommand,
    /// After authentication, opening the channel and starting what runs on it.
    Open,
    /// User authentication.
    Auth,
    /// The same, once a password was sent or a question asked: neither is repeated.
    Secret,
    /// The command itself.
    Command,
    /// The command's output: it was silent for too long.
    Silence,
    /// Files being copied.
    Transfer,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connect | Phase::KnownHostsCommand | Phase::Open => "connect",
            Phase::Auth | Phase::Secret => "auth",
            Phase::Command => "command",
            Phase::Silence => "silence",
            Phase::Transfer => "transfer",
        })
    }
}

/// How far a host has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStage {
    /// No connection to it was begun.
    Waiting,
    /// It is being connected to, or it waits for the next attempt.
    Connecting,
    /// It is logged in to: the command may have been sent.
    Running,
    /// The command has succeeded, and its check has not yet passed.
    Checking,
}

impl From<Phase> for HostStage {
    fn from(phase: Phase) -> HostStage {
        match phase {
            Phase::Connect | Phase::KnownHostsCommand | Phase::Open | Phase::Auth | Phase::Secret => {
                HostStage::Connecting
            }
            Phase::Command | Phase::Silence | Phase::Transfer => HostStage::Running,
        }
    }
}

/// How a job ended. Every host of the list ends in exactly one of these.
#[derive(Debug)]
pub enum Outcome {
    /// An exit status was received (RFC 4254 section 6.10). Only status 0 is success, unless it is [`Outcome::Judged`].
    Exited(u32),
    /// The login succeeded, and nothing was to run. Both times count from the beginning.
    Reached {
        /// When there was a connection.
        connected: Duration,
        /// When the login was done.
        logged_in: Duration,
    },
    /// An exit-signal was received: the command died by a signal.
    Signaled {
        /// The name without `SIG`, as the server sent it: `KILL` (RFC 4254 section 6.10).
        name: String,
    },
    /// A deadline passed.
    TimedOut {
        /// In which part of the job.
        phase: Phase,
        /// The limit that was set for that part.
        limit: Duration,
        /// What had not happened by then, such as "no SSH banner".
        missing: &'static str,
    },
    /// Stopped by pssh before it ended by itself.
    Cancelled {
        /// How far it had come.
        stage: HostStage,
        /// Why the run was stopped.
        why: Option<Reason>,
    },
    /// The inner outcome, after which the command was asked to stop, but did not confirm its end.
    Unstopped(Box<Outcome>),
    /// The inner outcome, which the user's list of successes judges otherwise than usual: an accepted failure, or a refused
    /// exit status 0.
    Judged {
        /// Whether it counts as success.
        is_success: bool,
        /// How the host ended.
        outcome: Box<Outcome>,
    },
    /// The command succeeded, but the check after it did not pass.
    CheckFailed(Box<CheckFailure>),
    /// It did not get as far as running the command, or the connection was lost on the way.
    Failed(Box<HostError>),
    /// How it ended in an earlier run, where that is all that is known.
    Recorded(Box<Recorded>),
}

impl From<HostKeyError> for Outcome {
    fn from(error: HostKeyError) -> Outcome {
        HostError::from(error).into()
    }
}

impl From<HostError> for Outcome {
    fn from(error: HostError) -> Self {
        Outcome::Failed(Box::new(error))
    }
}

/// The class of an outcome: the word that names it everywhere, and what it means for the exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Exit status 0 was received, or the host ended in another way that the user counts as success.
    Ok,
    /// A non-zero exit status was received, or one that the user does not count as success.
    Exit,
    /// The command died by a signal.
    Signal,
    /// A deadline passed.
    Timeout,
    /// Stopped by pssh.
    Cancelled,
    /// The name could not be resolved.
    Dns,
    /// No TCP connection.
    Connect,
    /// The proxy could not be used.
    Proxy,
    /// The host key is unknown, changed or revoked.
    HostKey,
    /// No authentication method succeeded.
    Auth,
    /// The SSH protocol failed before the command was running.
    Ssh,
    /// The connection or channel ended without an exit status.
    Lost,
    /// The check after the command did not pass.
    Check,
    /// Files could not be copied.
    Copy,
    /// pssh itself failed.
    Local,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 15] = [
        Class::Ok,
        Class::Exit,
        Class::Signal,
        Class::Timeout,
        Class::Cancelled,
        Class::Dns,
        Class::Connect,
        Class::Proxy,
        Class::HostKey,
        Class::Auth,
        Class::Ssh,
        Class::Lost,
        Class::Check,
        Class::Copy,
        Class::Local,
    ];

    /// Returns the class with this word.
    pub fn of_word(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.word() == word)
    }

    /// Returns the word of the outcome, the same in text and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Class::Ok => "ok",
            Class::Exit => "exit",
            Class::Signal => "signal",
            Class::Timeout => "timeout",
            Class::Cancelled => "cancelled",
            Class::Dns => "dns",
            Class::Connect => "connect",
            Class::Proxy => "proxy",
            Class::HostKey => "hostkey",
            Class::Auth => "auth",
            Class::Ssh => "ssh",
            Class::Lost => "lost",
            Class::Check => "check",
            Class::Copy => "copy",
            Class::Local => "local",
        }
    }
}

impl Outcome {
    /// Returns the outcome of a job that `cancel` stopped.
    #[doc(hidden)]
    pub fn cancelled(cancel: &Cancel, stage: HostStage) -> Outcome {
        Outcome::Cancelled { stage, why: cancel.reason() }
    }

    /// Redacts passwords in text from others.
    pub(crate) fn redact(&mut self) {
        match self {
            Outcome::Signaled { name } => redact::redact(name),
            Outcome::Unstopped(outcome) | Outcome::Judged { outcome, .. } => outcome.redact(),
            Outcome::CheckFailed(failure) => {
                failure.report.redact();
                failure.command.redact();
            }
            Outcome::Failed(error) => error.redact(),
            Outcome::Recorded(recorded) => recorded.redact(),
            Outcome::Exited(_) | Outcome::Reached { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled { .. } => {}
        }
    }

    /// Returns the class of this outcome.
    pub fn class(&self) -> Class {
        match self {
            Outcome::Exited(0) | Outcome::Reached { .. } => Class::Ok,
            Outcome::Exited(_) => Class::Exit,
            Outcome::Signaled { .. } => Class::Signal,
            Outcome::TimedOut { .. } => Class::Timeout,
            Outcome::Cancelled { .. } => Class::Cancelled,
            Outcome::Unstopped(outcome) => outcome.class(),
            Outcome::Judged { is_success: true, .. } => Class::Ok,
            Outcome::Judged { is_success: false, outcome } => match outcome.class() {
                Class::Ok => Class::Exit,
                class => class,
            },
            Outcome::CheckFailed(_) => Class::Check,
            Outcome::Failed(error) => error.class(),
            Outcome::Recorded(recorded) => recorded.class,
        }
    }

    /// Returns the outcome as it was before it was judged.
    pub fn unjudged(&self) -> &Outcome {
        match self {
            Outcome::Judged { outcome, .. } => outcome,
            outcome => outcome,
        }
    }

    /// Returns the word for how the host ended. It differs from that of the class for an accepted failure.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Judged { is_success: true, outcome } => outcome.word(),
            outcome => outcome.class().word(),
        }
    }

    /// Returns the outcome in words that are the same, where possible, for all hosts that ended in the same way.
    pub fn brief(&self) -> String {
        match self {
            Outcome::Reached { .. } => Class::Ok.word().to_owned(),
            Outcome::Unstopped(outcome) => format!("{}, and may still be running", outcome.brief()),
            Outcome::CheckFailed(failure) => format!("{}: {}", Class::Check.word(), failure.brief()),
            Outcome::Failed(error) => format!("{}: {}", error.class().word(), error.brief()),
            Outcome::Recorded(recorded) => recorded.brief.clone(),
            Outcome::Judged { outcome, .. } if outcome.exit_status().is_none() => outcome.brief(),
            outcome => outcome.to_string(),
        }
    }

    /// Returns the reason of a failure: [`Outcome::brief`] without the class, such as `Connection refused`.
    pub fn reason(&self) -> String {
        match self {
            Outcome::Failed(error) => error.brief(),
            Outcome::CheckFailed(failure) => failure.brief(),
            Outcome::Judged { outcome, .. } if outcome.exit_status().is_none() => outcome.reason(),
            outcome => outcome.brief(),
        }
    }

    /// Whether the connection was dropped before any request that could have an effect.
    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self, Outcome::Failed(error) if matches!(**error, HostError::Dropped { .. }))
    }

    /// Whether the host was not reached: no command was sent, and neither pssh nor its user stopped it.
    pub fn is_unreached(&self) -> bool {
        match self {
            Outcome::TimedOut { phase, .. } => HostStage::from(*phase) == HostStage::Connecting,
            Outcome::Failed(error) => match error.class() {
                Class::Auth => !matches!(**error, HostError::Sudo { .. }),
                // It was reached before, and the command may have run.
                Class::HostKey => !matches!(**error, HostError::HostKey(HostKeyError::Replaced { .. })),
                Class::Dns | Class::Connect | Class::Proxy | Class::Ssh => true,
                _ => false,
            },
            Outcome::Recorded(recorded) => recorded.is_unreached,
            _ => false,
        }
    }

    /// Returns the exit status of the command, if one was received.
    pub fn exit_status(&self) -> Option<u32> {
        match self {
            Outcome::Exited(status) => Some(*status),
            Outcome::Judged { outcome, .. } => outcome.exit_status(),
            Outcome::CheckFailed(failure) => failure.command.exit_status(),
            Outcome::Recorded(recorded) => recorded.exit_status,
            _ => None,
        }
    }

    /// Returns the signal that killed the command, without `SIG`.
    pub fn signal(&self) -> Option<&str> {
        match self {
            Outcome::Signaled { name } => Some(name),
            Outcome::Judged { outcome, .. } => outcome.signal(),
            Outcome::CheckFailed(failure) => failure.command.signal(),
            Outcome::Recorded(recorded) => recorded.signal.as_deref(),
            _ => None,
        }
    }

    /// Returns the part of the job whose deadline passed.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Outcome::TimedOut { phase, .. } => Some(*phase),
            Outcome::Unstopped(outcome) => outcome.phase(),
            Outcome::Recorded(recorded) => recorded.phase,
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    /// Writes the outcome in words, starting with the word of its class.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exited(0) => f.write_str("ok (exit 0)"),
            Outcome::Reached { connected, logged_in } => {
                let (connected, logged_in) = (connected.as_secs_f64(), logged_in.as_secs_f64());
                write!(f, "ok (connected after {connected:.3} s, logged in after {logged_in:.3} s)")
            }
            Outcome::Exited(status) => write!(f, "exit {status}"),
            Outcome::Signaled { name } => write!(f, "signal {name}"),
            Outcome::TimedOut { phase, limit, missing } => {
                write!(f, "timeout {phase}: {missing} within {} s", limit.as_secs_f64())
            }
            Outcome::Cancelled { stage, why } => {
                f.write_str(match stage {
                    HostStage::Waiting => "cancelled: never started",
                    HostStage::Connecting => "cancelled: stopped while connecting",
                    HostStage::Running => "cancelled: stopped while running",
                    HostStage::Checking => "cancelled: stopped while checking, after the command had succeeded",
                })?;
                why.map_or(Ok(()), |why| why.fmt(f))
            }
            Outcome::Unstopped(outcome) => outcome.fmt(f),
            Outcome::Judged { is_success, outcome } => {
                match outcome.exit_status() {
                    // Not "ok" if it is refused.
                    Some(status) => write!(f, "exit {status}")?,
                    None => outcome.fmt(f)?,
                }
                f.write_str(if *is_success { " (a success)" } else { "" })
            }
            Outcome::CheckFailed(failure) => write!(f, "{}: {failure}", Class::Check.word()),
            Outcome::Failed(error) => write!(f, "{}: {error}", error.class().word()),
            Outcome::Recorded(recorded) => recorded.fmt(f),
        }
    }
}

/// How much of a copy is done, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes to copy, as far as known.
    pub total: u64,
}
