//! Reading whole files that somebody has named: no more of them than such a file ever has, so that `/dev/zero` and a pipe that
//! never ends are errors and not all of the memory.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Bytes of the largest list of hosts, of arguments for them or of host keys: 100,000 hosts with 600 bytes each.
pub const LIST: u64 = 64 << 20;
/// Bytes of the largest ssh_config, all of its files together.
pub const SSH_CONFIG: u64 = 16 << 20;
/// Bytes of the largest TOML file: what its parser makes of it can be eighty times as large.
pub const TOML: u64 = 4 << 20;
/// Bytes of the largest file with a key or certificate (MAX_KEY_FILE_SIZE of OpenSSH's authfile.c).
pub const KEY: u64 = 1 << 20;

/// Reads a file whole.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] if it has more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Of a file the size is known. One that is too large need not be read, and the others go into a single piece of memory: a buffer
    // that grows leaves copies behind, which nobody clears if it is a private key.
    let size = file.metadata().map_or(0, |about| if about.is_file() { about.len() } else { 0 });
    if size > most {
        return Err(too_large(most));
    }
    // A byte more, in which the end is found.
    read_into(Vec::with_capacity(size as usize + 1), file, most)
}

/// The same of what is open already.
///
/// # Errors
/// As of [`read`].
pub fn read_from(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    read_into(Vec::new(), file, most)
}

fn read_into(mut bytes: Vec<u8>, file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(most)) } else { Ok(bytes) }
}

fn too_large(most: u64) -> io::Error {
    let problem = format!("it has more than {} MiB, which no such file needs", most >> 20);
    io::Error::new(ErrorKind::FileTooLarge, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_allowed() {
        let two = 2 << 20;
        assert_eq!(read_from(&vec![7; two as usize][..], two).expect("just so much").len() as u64, two);
        let error = read_from(io::repeat(0), two).expect_err("endless");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(crate::error::reason(&error), "it has more than 2 MiB, which no such file needs");
        assert_eq!(read(Path::new("/dev/zero"), two).expect_err("endless").kind(), ErrorKind::FileTooLarge);
        let mut key = tempfile::NamedTempFile::new().expect("a file");
        io::Write::write_all(&mut key, &[7; 5000]).expect("a key");
        let whole = read(key.path(), two).expect("a small file");
        assert_eq!((whole.len(), whole.capacity()), (5000, 5001), "in one piece");
        let sparse = tempfile::NamedTempFile::new().expect("a file");
        sparse.as_file().set_len(1 << 40).expect("a sparse file");
        assert_eq!(read(sparse.path(), two).expect_err("huge").kind(), ErrorKind::FileTooLarge);
    }
}
