//! The command line of a download: the remote shell expands what the user wants expanded in paths, and nothing else.

use super::{encode, split_tilde};
use crate::copy::Download;
use crate::copy::sftp::glob;

/// The script for command lines that not every login shell can express; its argument is the list of paths as words of
/// `sh`.
const SCRIPT: &str = concat!(
    "exec sh -c '",
    "command -v scp >/dev/null 2>&1 || { printf \"pssh:stop\\t\\t\\n\"; exit 1; }; ",
    "d=$(printf %b. \"$1\"); d=${d%.}; f=$2; shift 2; eval \"$d\"; LC_ALL=C; export LC_ALL; ",
    "printf \"pssh:ready\\t%s\\t\\n\" $#; exec scp $f -f -- \"$@\"'"
);

/// Returns the command that [`Receiving`](super::download::Receiving) talks to: one line for the host's login shell.
/// The host expands wildcards and a tilde at the start of a path; nothing else in a path has a meaning to any shell.
///
/// Paths without these and without unusual characters give the line that scp itself would send, which works without
/// `sh`.
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

/// Returns a path that is not an option, and that means the contents of a home directory where the path is one: only
/// the host knows that directory's name.
pub fn normal(remote: &[u8]) -> Vec<u8> {
    let (tilde, rest) = split_tilde(remote);
    match rest {
        b"" if tilde.is_empty() => b".".to_vec(),
        b"" => [tilde.as_bytes(), b"/."].concat(),
        [b'-' | b'~', ..] if tilde.is_empty() => [b"./", rest].concat(),
        _ => remote.to_vec(),
    }
}

/// Whether every shell leaves the path unchanged.
pub fn is_plain(remote: &[u8]) -> bool {
    let (_, rest) = split_tilde(remote);
    rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._/@+:,-".contains(byte))
}

/// Quotes a path as a word of `sh` (sh(1), "Quoting"), with its wildcards unquoted. The wildcard characters and what
/// has a meaning between brackets stay; a backslash quotes the next character.
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
