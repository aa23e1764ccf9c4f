//! The command line of a download: paths of the host, of which its shell expands what is meant to be, and nothing else.

use super::{encode, split_tilde};
use crate::copy::Download;
use crate::copy::sftp::glob;

/// The script for what a plain command line cannot say in every login shell; its argument is the list of paths as words of `sh`.
const SCRIPT: &str = concat!(
    "exec sh -c '",
    "command -v scp >/dev/null 2>&1 || { printf \"pssh:stop\\t\\t\\n\"; exit 1; }; ",
    "d=$(printf %b. \"$1\"); d=${d%.}; f=$2; shift 2; eval \"$d\"; LC_ALL=C; export LC_ALL; ",
    "printf \"pssh:ready\\t%s\\t\\n\" $#; exec scp $f -f -- \"$@\"'"
);

/// The command that [`Receiving`](super::download::Receiving) speaks with: one line for the host's login shell. Wildcards are the host's to expand, and a tilde
/// at the beginning of a path; nothing else in a path means anything to any shell.
///
/// As long as there are none, and nothing odd is in a path, the line is the one that scp itself would send, so that it does
/// without `sh`.
pub fn command(download: &Download) -> Vec<u8> {
    let flags = match (download.options.recursive, download.options.preserve) {
        (true, true) => "-r -p",
        (true, false) => "-r",
        (false, true) => "-p",
        (false, false) => "",
    };
    let remotes: Vec<Vec<u8>> = download.remotes.iter().map(|remote| normal(remote)).collect();
    if remotes.iter().all(|remote| is_plain(remote)) {
        let words = ["scp", flags, "-f"].into_iter().filter(|word| !word.is_empty()).map(str::as_bytes);
        return words.chain(remotes.iter().map(Vec::as_slice)).collect::<Vec<_>>().join(&b' ');
    }
    let mut words = Vec::new();
    for remote in &remotes {
        let (tilde, rest) = split_tilde(remote);
        let slash: &[u8] = if tilde.is_empty() { b"" } else { b"/" };
        let literal = [tilde.as_bytes(), slash, &quote(rest, false)].concat();
        if glob::is_special(rest) {
            let pattern = [tilde.as_bytes(), slash, &quote(rest, true)].concat();
            let (add, test) = (b"set -- \"$@\" ", b"if [ -e ");
            let parts: [&[u8]; 9] =
                [test, &literal, b" ] || [ -h ", &literal, b" ]; then ", add, &literal, b"; else ", add];
            words.extend_from_slice(&parts.concat());
            words.extend_from_slice(&[&pattern, &b"; fi; "[..]].concat());
        } else {
            words.extend_from_slice(&[b"set -- \"$@\" ", &literal[..], b"; "].concat());
        }
    }
    format!("{SCRIPT} pssh '{}' '{flags}'", encode(&words)).into_bytes()
}

/// A path that is no option, and that names what is in a home directory, where that itself is meant: the name of that is known only
/// on the host.
pub fn normal(remote: &[u8]) -> Vec<u8> {
    let (tilde, rest) = split_tilde(remote);
    match rest {
        b"" if tilde.is_empty() => b".".to_vec(),
        b"" => [tilde.as_bytes(), b"/."].concat(),
        [b'-' | b'~', ..] if tilde.is_empty() => [b"./", rest].concat(),
        _ => remote.to_vec(),
    }
}

/// Whether every shell takes the path as it is.
pub fn is_plain(remote: &[u8]) -> bool {
    let (_, rest) = split_tilde(remote);
    rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._/@+:,-".contains(byte))
}

/// A path as a word of `sh` (sh(1), "Quoting"): as it is, or with what wildcards it has. The wildcards' own characters are left, and
/// what has a meaning between brackets; a backslash quotes what comes after it.
fn quote(path: &[u8], wild: bool) -> Vec<u8> {
    let mut word = Vec::new();
    let (mut bytes, mut in_class, mut class_begins) = (path.iter().copied(), false, false);
    while let Some(byte) = bytes.next() {
        let begins = std::mem::take(&mut class_begins);
        let (byte, quoted) = match byte {
            b'\\' if wild => (bytes.next().unwrap_or(b'\\'), true),
            byte => (byte, !wild),
        };
        let bare = match byte {
            _ if byte.is_ascii_alphanumeric() || b"._/:".contains(&byte) => true,
            _ if quoted => false,
            b'*' | b'?' => true,
            b'[' => {
                (in_class, class_begins) = (true, !in_class);
                true
            }
            b']' => {
                in_class = false;
                true
            }
            b'!' | b'^' => begins,
            b'-' => in_class,
            _ => false,
        };
        match (bare, byte) {
            (true, _) => word.push(byte),
            (false, b'\'') => word.extend_from_slice(b"\"'\""),
            (false, _) => word.extend_from_slice(&[b'\'', byte, b'\'']),
        }
    }
    if word.is_empty() { b"''".to_vec() } else { word }
}
