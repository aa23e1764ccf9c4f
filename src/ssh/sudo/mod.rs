//! The dialogue with sudo on a host.

pub(crate) mod conversation;
pub(crate) mod password;
pub(crate) mod stop;
