//! SFTP, version 3 of the protocol (draft-ietf-secsh-filexfer-02) with the extensions of OpenSSH: the client's side, over any pair of
//! byte streams.

pub mod client;
pub mod download;
mod find;
pub mod glob;
#[cfg(test)]
pub mod testing;
pub mod upload;
pub mod wire;
