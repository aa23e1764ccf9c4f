//! Items for the programs and the tests of this package only. They may change at any time.

pub use crate::cli::generate::Artefact;
pub use crate::cli::process::main;
pub use crate::cli::ssh_args::split::shell_words;
pub use crate::cli::ssh_args::{Tool, Word, understand};
pub use crate::copy::rsync::{Direction, Rsync, Transfer, meaning as meaning_of_rsync};
pub use crate::events::event::{Event, EventKind, Stream};
pub use crate::hosts::options::KEYS as HOST_KEYS;
pub use crate::plan::program::Program;
pub use crate::ssh::Watch;
pub use crate::ssh::algorithms::{Kind, offered};
pub use crate::ssh::channel::dialogue::{Dialogue, Say};
pub use crate::ssh::host_keys::known_hosts::{KnownHosts, Remembered, Verdict, fingerprint, key_type};
pub use crate::ssh_config::{Config, ConfigError, Files, Local, Origin as ConfigOrigin, Query, Resolved, Sources};
pub use crate::system::cancel::{Cancel, Reason};
pub use crate::system::poll::poll_with;
