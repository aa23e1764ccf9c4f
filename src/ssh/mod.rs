//! SSH for one job: from a host to an authenticated session to the outcome of a command.

pub mod channel;
pub mod host_keys;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod proxy;
pub(crate) mod sudo;

pub mod algorithms;
pub(crate) mod destination;
#[cfg(test)]
#[path = "../../tests/embedded/mod.rs"]
mod embedded;
pub(crate) mod ffi;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod keepalive;
pub(crate) mod opening;
pub(crate) mod session;
pub(crate) mod tcp;
pub(crate) mod version;
pub(crate) mod watch;
pub(crate) mod wire;

pub use self::watch::Watch;
pub use ffi::{unusable, was_closed_at_start};
