//! Descriptors that the user names by their number: `--password-fd 3`, `/dev/fd/3`. Only those count that were open when the program
//! was started: any other number may be one of our own by now, such as a pipe that nobody will ever write to.

use std::io;
use std::path::{Component, Path};

use crate::ssh::ffi::at_start::was_inherited;

/// The directories whose entries are the descriptors of this process.
const DIRECTORIES: [&str; 3] = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];

/// Whether the descriptor was passed to us, and is open.
///
/// # Errors
/// It was not.
pub fn check(number: u32) -> io::Result<()> {
    if was_inherited(number) { Ok(()) } else { Err(io::Error::other("no such descriptor is open")) }
}

/// The same for a path that names a descriptor, such as `/dev/fd/3`. All other paths are well.
///
/// # Errors
/// As of [`check`].
pub fn check_path(path: &Path) -> io::Result<()> {
    number_in(path).map_or(Ok(()), check)
}

fn number_in(path: &Path) -> Option<u32> {
    let directory = DIRECTORIES.iter().find_map(|directory| path.strip_prefix(directory).ok())?;
    match directory.components().next()? {
        Component::Normal(name) => name.to_str()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn paths_that_name_descriptors() {
        for (path, number) in [
            ("/dev/fd/3", Some(3)),
            ("/dev//fd/./63", Some(63)),
            ("/proc/self/fd/0", Some(0)),
            ("/proc/thread-self/fd/12/x", Some(12)),
            ("/dev/fd", None),
            ("/dev/fd/x", None),
            ("/dev/fd/-1", None),
            ("/tmp/dev/fd/3", None),
            ("fd/3", None),
        ] {
            assert_eq!(number_in(Path::new(path)), number, "{path}");
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
