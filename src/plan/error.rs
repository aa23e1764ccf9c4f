//! Why a run cannot start.

use crate::command::host_args::HostArgsError;
use crate::plan::exec_request::CompleteError;
use crate::ssh::keys::identities::IdentityError;
use crate::ssh_config::ConfigError;
use crate::system::files::unread::BeforeStart;
use crate::system::password_source::SecretError;
use crate::text::message::reason;

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// The libssh2 of this system lacks something (feature `system-libssh2`).
    #[error("{0}")]
    Libssh2(String),
    /// ssh_config or an option for it is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting of ssh_config is not possible.
    #[error("{0}")]
    Setting(String),
    /// A file that the user named for a host cannot be used; with its place.
    #[error("{text}")]
    File {
        /// What is wrong, and where.
        text: String,
        /// Whether it cannot be read.
        is_unread: bool,
    },
    /// A known_hosts file cannot be read; with its place.
    #[error("{text}")]
    KnownHosts {
        /// What is wrong, and where.
        text: String,
        /// Whether it is a directory.
        is_directory: bool,
    },
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// A private key that the user named cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The command cannot be sent to a host.
    #[error(transparent)]
    Command(#[from] HostArgsError),
    /// The same, because of its length.
    #[error(transparent)]
    Length(#[from] CompleteError),
    /// Batches are to be confirmed, but the user cannot be asked.
    #[error("there is no terminal to confirm batches on")]
    Unconfirmed,
    /// The system is out of a resource.
    #[error("cannot make a pipe: {}", reason(.0))]
    System(#[from] std::io::Error),
}

impl BeforeStart for Unprepared {
    fn is_unread(&self) -> bool {
        match self {
            Unprepared::Config(error) => error.is_unread(),
            Unprepared::File { is_unread, .. } => *is_unread,
            Unprepared::Password(error) => error.is_unread(),
            Unprepared::Identity(error) => error.is_unread(),
            Unprepared::Command(error) => error.is_unread(),
            Unprepared::Setting(_)
            | Unprepared::KnownHosts { .. }
            | Unprepared::Length(_)
            | Unprepared::Unconfirmed => false,
            Unprepared::Libssh2(_) | Unprepared::System(_) => true,
        }
    }
}
