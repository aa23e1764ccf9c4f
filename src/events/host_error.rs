//! Errors of one host: the facts, the message, and the remedy, as data.

mod login;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Class, Outcome};
use super::remedy::Remedy;
use crate::system::redact;
use crate::text::message::reason;

pub use self::login::LoginError;

/// Why a host did not get as far as an exit status.
///
/// The message reads after the word of the class: `connect: 10.0.0.3 port 22: Connection refused`.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The name could not be resolved.
    #[error("{name}: {reason}")]
    Dns {
        /// The name that was looked up.
        name: String,
        /// What the resolver said.
        reason: String,
        /// Whether the resolver answered that the name does not exist.
        is_final: bool,
        /// The place of the name, if known: `hosts.txt:12:1`.
        origin: Option<String>,
    },
    /// No address accepted the connection.
    #[error("{}", Attempts(.tried))]
    Connect {
        /// Every address tried, with the system's error.
        tried: Vec<(SocketAddr, String)>,
    },
    /// The proxy works, but could not connect to the host.
    #[error("{target}: {reason} (seen from {hop})")]
    Behind {
        /// The proxy.
        hop: String,
        /// Name and port of the host.
        target: String,
        /// What the proxy said.
        reason: String,
    },
    /// The proxy could not be used.
    #[error("{hop}: {cause}")]
    Proxy {
        /// The jump host, or the command.
        hop: String,
        /// What is wrong.
        cause: ProxyError,
    },
    /// The host key was not accepted; nothing secret was sent.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The server refused every authentication method that pssh has.
    #[error("{0}")]
    Auth(Box<LoginError>),
    /// sudo did not start the command.
    #[error("sudo: {detail}")]
    Sudo {
        /// Why not.
        detail: String,
        /// The remedy, if known.
        hint: Option<Remedy>,
    },
    /// The SSH protocol failed before the command was running.
    #[error("{doing}: {detail}")]
    Ssh {
        /// What was being done, such as "key exchange".
        doing: &'static str,
        /// What libssh2 or the server said.
        detail: String,
        /// The remedy, if known.
        hint: Option<Remedy>,
    },
    /// The server dropped the connection before authentication had ended.
    #[error("{doing}: {detail}")]
    Dropped {
        /// What was being done, such as "key exchange".
        doing: &'static str,
        /// What libssh2 said.
        detail: String,
        /// Whether it had sent its banner.
        banner_seen: bool,
    },
    /// The connection or channel ended without an exit status: the command may or may not have run to its end.
    #[error("{detail}")]
    Lost {
        /// How it ended.
        detail: String,
        /// The remedy, if there is one specific to this case.
        hint: Option<Remedy>,
    },
    /// Files could not be copied, since the host refuses them or has no space.
    #[error("{path}: {reason}{}", Others(*.others))]
    Copy {
        /// The first of them, remote or local.
        path: String,
        /// What the host said.
        reason: String,
        /// How many more were not copied.
        others: usize,
        /// The remedy, if known.
        hint: Option<Remedy>,
    },
    /// pssh itself failed.
    #[error("{doing}: {detail}")]
    Local {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        detail: String,
        /// The remedy, if known.
        hint: Option<Remedy>,
    },
}

impl HostError {
    /// Creates an error for a refusal of the local system.
    pub(crate) fn local(doing: &'static str, error: &io::Error) -> HostError {
        HostError::Local { doing, detail: reason(error), hint: None }
    }

    /// Returns the class of this error's outcome.
    pub fn class(&self) -> Class {
        match self {
            HostError::Dns { .. } => Class::Dns,
            HostError::Connect { .. } | HostError::Behind { .. } => Class::Connect,
            HostError::Proxy { .. } => Class::Proxy,
            HostError::HostKey(_) => Class::HostKey,
            HostError::Auth(_) | HostError::Sudo { .. } => Class::Auth,
            HostError::Ssh { .. } | HostError::Dropped { .. } => Class::Ssh,
            HostError::Lost { .. } => Class::Lost,
            HostError::Copy { .. } => Class::Copy,
            HostError::Local { .. } => Class::Local,
        }
    }

    /// Redacts passwords in text from servers, their programs, and local programs.
    pub(crate) fn redact(&mut self) {
        match self {
            HostError::Dns { .. } | HostError::Connect { .. } => {}
            HostError::Behind { reason, .. } => redact::redact(reason),
            HostError::Proxy { cause, .. } => cause.redact(),
            HostError::HostKey(error) => error.redact(),
            HostError::Auth(error) => error.redact(),
            HostError::Sudo { detail, .. } => redact::redact(detail),
            HostError::Dropped { detail, .. } | HostError::Lost { detail, .. } => redact::redact_quotations(detail),
            HostError::Ssh { detail, hint, .. } | HostError::Local { detail, hint, .. } => {
                redact::redact_quotations(detail);
                hint.iter_mut().for_each(Remedy::redact);
            }
            HostError::Copy { path, reason, .. } => {
                [path, reason].into_iter().for_each(redact::redact);
            }
        }
    }

    /// Returns the message without the host's name, addresses and key.
    pub fn brief(&self) -> String {
        match self {
            HostError::Dns { reason, .. } => reason.clone(),
            HostError::Connect { tried } => {
                let mut reasons: Vec<&str> = Vec::new();
                for (_, reason) in tried {
                    if !reasons.contains(&reason.as_str()) {
                        reasons.push(reason);
                    }
                }
                reasons.join("; ")
            }
            HostError::Behind { hop, reason, .. } => format!("{reason} (seen from {hop})"),
            HostError::HostKey(error) => error.brief(),
            error => error.to_string(),
        }
    }
}

/// The start of the reason if an address cannot be reached from BindAddress.
pub const FROM_ADDRESS: &str = "from BindAddress ";

/// Why a proxy could not be used. All hosts behind it share one failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The login failed: its outcome, in the words for a host.
    #[error("{0}")]
    Login(Arc<Outcome>),
    /// The login has not finished, and the host's time is over.
    #[error("not logged in within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// It refuses to connect to hosts, or to this one.
    #[error("it refuses to forward connections: {0}")]
    Forbidden(String),
    /// It cannot take another connection.
    #[error("it cannot forward another connection: {0}")]
    Full(String),
    /// The connection to it ended before it connected to the host; with its own message, if any.
    #[error("the connection to it ended{}", .0.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Ended(Option<String>),
    /// The command ended before there was a session.
    #[error("{0}")]
    Command(String),
}

impl ProxyError {
    fn redact(&mut self) {
        match self {
            // Redacted when it was shared.
            ProxyError::Login(_) | ProxyError::Late(_) => {}
            ProxyError::Forbidden(text) | ProxyError::Full(text) | ProxyError::Command(text) => redact::redact(text),
            ProxyError::Ended(text) => text.iter_mut().for_each(redact::redact),
        }
    }

    /// Creates the error of a failed login to a jump host, for all hosts behind it.
    pub(crate) fn login(outcome: impl Into<Outcome>) -> ProxyError {
        let mut outcome = outcome.into();
        outcome.redact();
        ProxyError::Login(Arc::new(outcome))
    }
}

/// Why a host key was not accepted (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// No known_hosts file has a key for the host.
    #[error("{name} is not in known_hosts; it offers {offered}")]
    Unknown {
        /// The name that was looked up: `host`, or `[host]:port` for a port other than 22.
        name: String,
        /// Host and port for ssh-keyscan, unless only a proxy reaches it, or the key has another name.
        scan: Option<(String, u16)>,
        /// The file for the key.
        file: Option<PathBuf>,
        /// Type and fingerprint of the key that the host offers, as ssh prints them.
        offered: String,
    },
    /// The host offers another key than the known one, which may be a man-in-the-middle attack.
    #[error("the key of {name} has CHANGED: it offers {offered}, but {}:{line} has {known}", .file.display())]
    Changed {
        /// The name that was looked up.
        name: String,
        /// Type and fingerprint of the key that the host offers, as ssh prints them.
        offered: String,
        /// The file that has the known key.
        file: PathBuf,
        /// The line of the known key, from 1.
        line: u64,
        /// The known key, as messages call it.
        known: String,
    },
    /// The offered key is marked `@revoked`.
    #[error("the key of {name}, {offered}, is REVOKED by {}:{line}", .file.display())]
    Revoked {
        /// The name that was looked up.
        name: String,
        /// Type and fingerprint of the key that the host offers, as ssh prints them.
        offered: String,
        /// The file that revokes it.
        file: PathBuf,
        /// The line that revokes it, from 1.
        line: u64,
    },
    /// The host showed another key in a key re-exchange than the checked one.
    #[error("{name} shows another key in a key re-exchange, {offered}, than the one that was checked")]
    Replaced {
        /// The name that was looked up.
        name: String,
        /// Type and fingerprint of the other key, as ssh prints them.
        offered: String,
    },
    /// The offered key, or its certificate, is in a file of RevokedHostKeys.
    #[error("the key of {name}, {offered}, is REVOKED by {by}")]
    Listed {
        /// The name that was looked up.
        name: String,
        /// The key or its certificate.
        offered: String,
        /// The file, and what in it.
        by: String,
    },
    /// KnownHostsCommand failed, so the key cannot be checked.
    #[error("the key of {name} cannot be checked: KnownHostsCommand {}: {problem}", .program.display())]
    Command {
        /// The name that was looked up.
        name: String,
        /// The program.
        program: PathBuf,
        /// How it ended, or why it cannot be started.
        problem: String,
        /// Whether it has started.
        has_started: bool,
    },
    /// The offered key or certificate is malformed.
    #[error("the host key of {name} ({kind}) is malformed: {problem}")]
    Malformed {
        /// The name that was looked up.
        name: String,
        /// The type that it claims.
        kind: String,
        /// What is wrong.
        problem: String,
    },
    /// Neither the certificate nor the plain key is accepted.
    #[error("{plain}; its certificate is not accepted: {problem}")]
    Certificate {
        /// Why the plain key is not accepted.
        plain: Box<HostKeyError>,
        /// What is wrong with the certificate.
        problem: String,
    },
}

/// The start of the name for the output of KnownHostsCommand, in place of a file name. What the command was run for follows.
pub const KNOWN_HOSTS_COMMAND: &str = "KnownHostsCommand-";

impl HostKeyError {
    fn redact(&mut self) {
        match self {
            HostKeyError::Command { problem, .. } => redact::redact(problem),
            HostKeyError::Malformed { kind, problem, .. } => [kind, problem].into_iter().for_each(redact::redact),
            HostKeyError::Certificate { plain, problem } => {
                redact::redact(problem);
                plain.redact();
            }
            // Only names from the user, key types and fingerprints.
            HostKeyError::Unknown { .. }
            | HostKeyError::Changed { .. }
            | HostKeyError::Revoked { .. }
            | HostKeyError::Replaced { .. }
            | HostKeyError::Listed { .. } => {}
        }
    }

    fn brief(&self) -> String {
        match self {
            HostKeyError::Unknown { .. } => "not in known_hosts".to_owned(),
            HostKeyError::Changed { .. } => "the key has CHANGED".to_owned(),
            HostKeyError::Revoked { .. } | HostKeyError::Listed { .. } => "the key is REVOKED".to_owned(),
            HostKeyError::Command { problem, .. } => format!("KnownHostsCommand failed: {problem}"),
            HostKeyError::Replaced { .. } => "it shows another key in a key re-exchange".to_owned(),
            HostKeyError::Malformed { .. } => "the key is malformed".to_owned(),
            HostKeyError::Certificate { plain, .. } => {
                format!("{}, and its certificate is not accepted", plain.brief())
            }
        }
    }
}

struct Others(usize);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (and another one)"),
            count => write!(f, " (and {count} others)"),
        }
    }
}

/// Returns an address without its port; a link-local one with its zone.
pub fn without_port(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => format!("{}%{}", address.ip(), address.scope_id()),
        address => address.ip().to_string(),
    }
}

struct Attempts<'a>(&'a [(SocketAddr, String)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (address, reason)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{} port {}: {reason}", without_port(address), address.port())?;
        }
        Ok(())
    }
}
