//! Which host keys are trusted: known_hosts, certificates, revocation.

pub(crate) mod certificate;
pub mod known_hosts;
pub(crate) mod known_hosts_command;
pub(crate) mod known_hosts_file;
pub(crate) mod revocation_list;
