//! Descriptors that the user names by number: `--password-fd 3`, `/dev/fd/3`. Only those count that were open when the
//! program started: any other number may be one of our own by now, such as a pipe that is never written to.

use std::io;
use std::path::{Component, Path};

use crate::ssh::ffi::at_start::was_inherited;

/// Most names in a path of a descriptor, and one more: `/proc/self/task/1/fd/3/x`.
const MOST_NAMES: usize = 7;

/// Checks that the descriptor was passed to us, and is open.
///
/// # Errors
/// It was not.
pub fn check(number: u32) -> io::Result<()> {
    if was_inherited(number) { Ok(()) } else { Err(io::Error::other("this descriptor is not open")) }
}

/// The same for a path to a descriptor, such as `/dev/fd/3`, or below a directory that it is. All other paths are
/// accepted.
///
/// # Errors
/// See [`check`].
pub fn check_path(path: &Path) -> io::Result<()> {
    named(path).map_or(Ok(()), |(number, _)| check(number))
}

/// Returns the descriptor of a path: `/dev/stdin`, `/dev/fd/63`, `/proc/self/fd/63`.
pub fn number(path: &Path) -> Option<u32> {
    named(path).filter(|(_, is_all)| *is_all).map(|(number, _)| number)
}

/// Returns the descriptor at the start of a path, and whether that is the whole path.
fn named(path: &Path) -> Option<(u32, bool)> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_str().unwrap_or_default()),
        Component::ParentDir => Some(".."),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    let names: Vec<&str> = path.components().filter_map(name).take(MOST_NAMES).collect();
    let own = std::process::id().to_string();
    let (number, rest) = match &names[..] {
        _ if !path.is_absolute() => return None,
        ["dev", "stdin", rest @ ..] => ("0", rest),
        ["dev", "fd", number, rest @ ..] => (*number, rest),
        ["proc", process, "fd", number, rest @ ..] if is_ours(process, &own) => (*number, rest),
        ["proc", process, "task", _, "fd", number, rest @ ..] if is_ours(process, &own) => (*number, rest),
        _ => return None,
    };
    Some((number.parse().ok()?, rest.is_empty()))
}

fn is_ours(process: &str, own: &str) -> bool {
    ["self", "thread-self", own].contains(&process)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn paths_that_name_descriptors() {
        let own = std::process::id();
        for (path, expected) in [
            ("/dev/stdin", Some((0, true))),
            ("/dev/./stdin", Some((0, true))),
            ("//dev//fd/./63", Some((63, true))),
            ("/proc/self/fd/0", Some((0, true))),
            (&format!("/proc/{own}/fd/3"), Some((3, true))),
            (&format!("/proc/{own}/task/{own}/fd/3"), Some((3, true))),
            ("/proc/self/task/1/fd/3/x", Some((3, false))),
            ("/proc/thread-self/fd/12/x", Some((12, false))),
            ("/dev/fd/12/../3", Some((12, false))),
            ("/dev/fd", None),
            ("/dev/fd/x", None),
            ("/dev/fd/-1", None),
            ("/dev/fd/../null", None),
            ("/tmp/dev/fd/3", None),
            ("/proc/1/fd/0", None),
            ("fd/3", None),
            ("dev/stdin", None),
        ] {
            assert_eq!(named(Path::new(path)), expected, "{path}");
            assert_eq!(number(Path::new(path)), expected.filter(|(_, all)| *all).map(|(number, _)| number), "{path}");
        }
    }

    #[test]
    fn our_own_descriptors_do_not_count() {
        let own = tempfile::tempfile().expect("a file");
        let number = own.as_raw_fd() as u32;
        assert!(check(number).is_err());
        assert!(check_path(Path::new(&format!("/dev/fd/{number}"))).is_err());
        assert!(check(u32::MAX).is_err(), "no descriptor at all");
    }
}
