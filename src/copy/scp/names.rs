//! The names that a host may send: those that were requested.

use super::split_tilde;
use crate::copy::sftp::glob::{Pattern, is_special};

/// The names that one path of a download may produce.
#[derive(Debug)]
pub struct Wanted {
    name: Name,
    /// The path, for messages.
    path: Vec<u8>,
    /// Whether it has come, or was refused.
    pub seen: bool,
}

#[derive(Debug)]
enum Name {
    /// This name.
    Exact(Vec<u8>),
    /// The contents of a directory; the host sends the directory under this name.
    Contents(&'static [u8]),
    /// This name, or what these patterns match: in some shells wildcards match characters, in others bytes.
    Wild { literal: Vec<u8>, pattern: Pattern, by_bytes: Pattern },
}

impl Wanted {
    /// Returns what `remote` may produce.
    pub fn new(remote: &[u8]) -> Wanted {
        let (_, rest) = split_tilde(remote);
        let end = rest.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let start = rest[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = match &rest[start..end] {
            b"" => Name::Contents(b""),
            b"." => Name::Contents(b"."),
            b".." => Name::Contents(b".."),
            name if is_special(rest) => Name::Wild {
                literal: name.to_vec(),
                pattern: Pattern::new(name),
                by_bytes: Pattern::new(&widened(name)),
            },
            name => Name::Exact(name.to_vec()),
        };
        Wanted { name, path: remote.to_vec(), seen: false }
    }

    /// Whether the host may send `name` for this path.
    pub fn fits(&self, name: &[u8]) -> bool {
        match &self.name {
            Name::Exact(wanted) => wanted == name,
            Name::Contents(wanted) => *wanted == name,
            Name::Wild { .. } if matches!(name, b"" | b"." | b"..") => false,
            Name::Wild { literal, pattern, by_bytes } => {
                literal == name || pattern.matches(name) || by_bytes.matches(&widened(name))
            }
        }
    }

    /// Whether the contents of a directory were requested, and not the directory.
    pub fn is_contents(&self) -> bool {
        matches!(self.name, Name::Contents(_))
    }

    /// Whether a shell may expand this to `.` and `..`.
    pub fn is_dotted(&self) -> bool {
        matches!(&self.name, Name::Wild { literal, .. } if literal.first() == Some(&b'.'))
    }

    /// Whether a message about `path` concerns this path.
    pub fn is_about(&self, path: &[u8]) -> bool {
        match &self.name {
            Name::Wild { .. } => true,
            _ => path == self.path || path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| self.fits(name)),
        }
    }
}

/// Returns each byte as a character.
fn widened(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes()
}

/// Decodes the name that was sent. scp encodes a name with a newline, and everything unusual in it, as vis(3) does;
/// otherwise a backslash stays as it is.
pub fn decode_name(sent: &[u8]) -> Vec<u8> {
    if !sent.windows(3).any(|bytes| bytes == b"\\^J") {
        return sent.to_vec();
    }
    let control = |byte: u8| if byte == b'?' { 0x7f } else { byte & 0x1f };
    let (mut name, mut rest) = (Vec::with_capacity(sent.len()), sent);
    while let [first, after @ ..] = rest {
        let (byte, length) = match (first, after) {
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            (b'\\', [b'^', byte, ..]) => (control(*byte), 3),
            (b'\\', [b'M', b'-', byte, ..]) => (byte | 0x80, 4),
            (b'\\', [b'M', b'^', byte, ..]) => (control(*byte) | 0x80, 4),
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), 4)
            }
            (byte, _) => (*byte, 1),
        };
        name.push(byte);
        rest = &rest[length..];
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_line_ends_are_those_that_the_host_has() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"b\\c", b"b\\c"),
            (b"a\\^J\\\\b\tc \\M-C\\M-) \\^A", "a\n\\b\tc é \u{1}".as_bytes()),
            (b"\\^J\\240\\^?\\M^@", b"\n\xa0\x7f\x80"),
            (b"\\^J\\", b"\n\\"),
            (b"\\^J\\M-", b"\n\\M-"),
        ];
        for (sent, name) in cases {
            assert_eq!(decode_name(sent), name, "{}", String::from_utf8_lossy(sent));
        }
    }

    #[test]
    fn nothing_comes_that_was_not_asked_for() {
        let fits = |remote: &str, name: &str| Wanted::new(remote.as_bytes()).fits(name.as_bytes());
        for (remote, name) in [
            ("/etc/motd", "motd"),
            ("dir/", "dir"),
            ("~/dir//", "dir"),
            ("", ""),
            ("/", ""),
            ("x/..", ".."),
            ("~/.", "."),
            ("/var/log/*.log", "a.log"),
            ("l?g", "lög"),
            ("l??g", "lög"),
            ("[a-c]x", "bx"),
            ("*/motd", "motd"),
            ("a\\*b", "a*b"),
            ("a\\*b", "a\\*b"),
            ("a[1].txt", "a[1].txt"),
            (".*", ".profile"),
        ] {
            assert!(fits(remote, name), "{remote} {name}");
        }
        for (remote, name) in [
            ("/etc/motd", "passwd"),
            ("/etc/motd", ""),
            ("/etc/motd", "."),
            ("*", ".profile"),
            ("*", ".."),
            (".*", ".."),
            ("*.log", "a.txt"),
            ("a\\*b", "axb"),
            ("~root/x", "root"),
        ] {
            assert!(!fits(remote, name), "{remote} {name}");
        }
    }
}
