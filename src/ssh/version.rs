//! The check of the server's protocol version before libssh2 reads it: libssh2 accepts any.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::ffi::Link;
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::system::quotation::said;

/// Bytes read of a server's first data.
const LOOKED_AT: usize = 4096;

/// Refuses a server whose identification has arrived and names another protocol version. The data stays in the socket.
///
/// # Errors
/// The server speaks another version of the protocol.
pub fn check_arrived(socket: BorrowedFd<'_>, link: &Link) -> Result<(), HostError> {
    let mut buffer = [0; LOOKED_AT];
    let count = match recv(socket, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((count, _)) => count,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(error) => {
            // The next read finds only the end.
            link.note_socket_error(socket, error);
            0
        }
    };
    // Other lines may come before it (RFC 4253 section 4.2).
    let lines = buffer[..count].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    match lines.into_iter().find(|line| line.starts_with(b"SSH-")) {
        Some(line) => check(&String::from_utf8_lossy(line.trim_ascii_end())),
        None => Ok(()),
    }
}

/// Refuses a server whose identification names another protocol version.
///
/// # Errors
/// The server speaks another version of the protocol.
pub fn check(identification: &str) -> Result<(), HostError> {
    if speaks_version_2(identification) {
        return Ok(());
    }
    let detail = format!("the server says {}, which is not version 2 of the SSH protocol", said(identification));
    let hint = Some(Remedy::NewerServer);
    Err(HostError::Ssh { doing: "handshake", detail, hint })
}

/// As `kex_exchange_identification` in kex.c: 1.99 means a server that supports both (RFC 4253 section 5.1).
fn speaks_version_2(identification: &str) -> bool {
    let version = identification.strip_prefix("SSH-").and_then(|rest| rest.split_once('-'));
    match version.and_then(|(version, _)| version.split_once('.')) {
        Some(("2", minor)) => !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()),
        Some(version) => version == ("1", "99"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_2_is_spoken() {
        for good in ["SSH-2.0-OpenSSH_9.2p1 Debian", "SSH-1.99-Cisco-1.25", "SSH-2.0-", "SSH-2.1-x"] {
            assert!(speaks_version_2(good), "{good}");
        }
        for bad in [
            "SSH-1.5-Cisco-1.25",
            "SSH-1.9-x",
            "SSH-1.990-x",
            "SSH-3.0-x",
            "SSH-2",
            "SSH-",
            "SSH-2.0",
            "SSH-2.-x",
            "SSH-x.0-y",
        ] {
            assert!(!speaks_version_2(bad), "{bad}");
        }
    }
}
