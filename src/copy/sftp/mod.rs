//! SFTP, version 3 of the protocol (draft-ietf-secsh-filexfer-02) with the extensions of OpenSSH: the client's side, over any pair of
//! byte streams.

pub mod client;
pub(crate) mod find;
pub mod glob;
pub mod packets;
pub(crate) mod server;
#[cfg(test)]
pub mod testing;
