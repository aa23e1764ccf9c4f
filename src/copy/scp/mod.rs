//! Copies by the old SCP protocol, for hosts whose server has no SFTP.
//!
//! ```text
//! we ──► T1700000000 0 1700000000 0     times of what follows, with -p
//!    ──► C0644 5 motd                   a file: mode, size, name
//!    ◄── \0                             go on; or \1 or \2, a message, and the end of the line
//!    ──► hello\0                        its bytes, and that they are all well
//!    ◄── \0
//!    ──► D0755 0 conf.d  ...  E         a directory: what is in it, and its end
//! ```
//!
//! The peer is `scp -t` (receives files) or `scp -f` (sends them), as every scp has them. scp itself writes into the
//! file that it replaces; so both run below a small script for `sh`, which decides where files go and when. The
//! script's own lines start with `MARK`, since startup files of a login shell may print before it.

pub mod download;
pub(crate) mod names;
mod paths;
pub(crate) mod records;
mod script;
pub mod upload;

#[cfg(test)]
mod tests;

use crate::copy::Options;
use crate::copy::failures::copy_error;
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::system::quotation::{said_bytes, said_reason};
use crate::system::redact;

/// The start of a line of our scripts.
const MARK: &[u8] = b"pssh:";
/// The longest line accepted from a peer, in bytes: a path of Linux and some words.
const LINE: usize = 8 * 1024;
/// Bytes of other output that are accepted before the protocol starts, and kept of standard error.
const NOISE: usize = 64 * 1024;

/// Encodes `bytes` as an argument that every login shell passes on unchanged; `printf %b` decodes it.
///
/// Backslashes occur only before a digit, where sh, csh and fish leave them alone between single quotes.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-' => text.push(char::from(byte)),
            byte => text.push_str(&format!("\\0{byte:03o}")),
        }
    }
    text
}

/// Splits `~` or `~user` off the start of a path, with the following slash. A name with any other character is a file,
/// not a user: only a tilde is ever expanded.
fn split_tilde(path: &[u8]) -> (&str, &[u8]) {
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let is_user = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    match path.first() {
        Some(b'~') if is_user(&path[1..end]) => {
            let tilde = std::str::from_utf8(&path[..end]).unwrap_or_default();
            (tilde, path.get(end + 1..).unwrap_or_default())
        }
        _ => ("", path),
    }
}

/// Returns why this protocol cannot do the copy, if so.
fn impossible(options: Options, path: &[u8]) -> Option<HostError> {
    let hint = Some(Remedy::InstallSftp);
    if options.checksum {
        Some(copy_error(path, "the host has no SFTP, and checksums need it", hint))
    } else if options.resume {
        Some(copy_error(path, "the host has no SFTP, and a copy can be resumed only with it", hint))
    } else if path.contains(&0) {
        Some(copy_error(path, "a path cannot contain a zero byte", None))
    } else {
        None
    }
}

/// Splits a line of our scripts into word, path and reason.
fn split_line(line: &[u8]) -> Option<(&[u8], &[u8], String)> {
    let line = line.strip_prefix(MARK)?;
    let first = line.iter().position(|byte| *byte == b'\t')?;
    let last = line.iter().rposition(|byte| *byte == b'\t').filter(|last| *last > first)?;
    Some((&line[..first], &line[first + 1..last], said_reason(&line[last + 1..])))
}

/// Formats a message of scp that names no file.
fn said(message: &[u8]) -> String {
    let message = message.strip_prefix(b"scp: ").unwrap_or(message);
    format!("its scp says: {}", said_bytes(message))
}

/// Splits a message of scp into path and reason: `scp: conf.d/x: Permission denied`.
fn split_message(line: &[u8]) -> (Vec<u8>, String) {
    let line = line.strip_prefix(b"scp: ").unwrap_or(line).trim_ascii_end();
    let hidden = redact::redacted_bytes(line);
    match line.windows(2).rposition(|pair| pair == b": ") {
        // Not within a password that it repeats.
        Some(colon) if *hidden == [&line[..colon], b": ", &line[colon + 2..]].map(redact::redacted_bytes).concat() => {
            (line[..colon].to_vec(), said_reason(&line[colon + 2..]))
        }
        _ => (Vec::new(), said_reason(&hidden)),
    }
}

/// Returns the first line in `bytes` that is not empty, for a message.
fn first_line(bytes: &[u8]) -> Option<String> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find(|line| !line.is_empty()).map(said_bytes)
}

/// Returns the outcome where neither scp nor our script answered, and how the command ended instead.
fn never_began(path: &[u8], channel: Outcome, printed: &[u8]) -> Outcome {
    let status = match &channel {
        Outcome::Exited(status) => *status,
        Outcome::Signaled { .. } => 1,
        // The host is not the cause.
        _ => return channel,
    };
    let quoted = first_line(printed).map(|line| format!(": {line}")).unwrap_or_default();
    let error = match status {
        126 | 127 => {
            copy_error(path, format!("the host has neither SFTP nor scp{quoted}"), Some(Remedy::InstallSftpOrScp))
        }
        _ => {
            let reason = format!("neither SFTP nor scp answers (exit {status}){quoted}");
            copy_error(path, reason, Some(Remedy::IsThereAShell))
        }
    };
    error.into()
}
