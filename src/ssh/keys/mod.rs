//! A user's keys, in files and in agents.

pub(crate) mod agent;
pub(crate) mod algorithms;
pub(crate) mod identities;
pub(crate) mod keyring;
pub(crate) mod private_key;
pub(crate) mod public_key;
pub(crate) mod session_binding;
