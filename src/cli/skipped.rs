//! Sources that rsync skips with exit status 0, which would make a copy of nothing a success: directories, links and devices without the
//! option that copies them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::options::Opts;

/// The kinds of files that rsync copies, in addition to regular files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    directories: bool,
    links: bool,
    /// The targets of links.
    targets: bool,
    /// The targets of links to directories.
    linked_directories: bool,
    devices: bool,
    /// Files named in a list (`--files-from`).
    listed: bool,
}

/// The letters of rsync(1) that take a value.
const WITH_VALUE: &[u8] = b"eBTMf@";

impl Kinds {
    fn of(opts: &Opts) -> Kinds {
        let archive = opts.rsync.archive;
        let mut kinds = Kinds {
            directories: archive || opts.rsync.recursive,
            links: archive,
            devices: archive,
            ..Kinds::default()
        };
        for word in &opts.connection.extra.words {
            match word.text.as_bytes() {
                [b'-', b'-', long @ ..] => kinds.add_long(long),
                [b'-', letters @ ..] => {
                    let letters = letters.iter().take_while(|letter| !WITH_VALUE.contains(letter));
                    letters.for_each(|letter| kinds.add_letter(*letter));
                }
                _ => {}
            }
        }
        kinds
    }

    fn add_letter(&mut self, letter: u8) {
        match letter {
            b'r' | b'd' => self.directories = true,
            b'a' => (self.directories, self.links, self.devices) = (true, true, true),
            b'l' => self.links = true,
            b'L' => self.targets = true,
            b'k' => self.linked_directories = true,
            b'D' => self.devices = true,
            _ => {}
        }
    }

    fn add_long(&mut self, name: &[u8]) {
        match name {
            b"recursive" | b"dirs" | b"old-dirs" | b"old-d" => self.directories = true,
            b"no-recursive" | b"no-r" => self.directories = false,
            b"archive" => self.add_letter(b'a'),
            b"links" | b"copy-unsafe-links" => self.links = true,
            b"copy-links" => self.targets = true,
            b"copy-dirlinks" => self.linked_directories = true,
            b"devices" | b"specials" | b"copy-devices" => self.devices = true,
            _ if name.starts_with(b"files-from") => self.listed = true,
            _ => {}
        }
    }
}

/// Describes the first of `sources` that rsync would skip.
pub fn skipped(opts: &Opts, sources: &[OsString]) -> Option<String> {
    let kinds = Kinds::of(opts);
    if kinds.listed {
        return None;
    }
    sources.iter().find_map(|source| {
        let path = Path::new(source);
        let (what, way) = reason(path, kinds)?;
        Some(format!("{}: rsync skips {what}: {way}", path.display()))
    })
}

/// Returns why rsync skips a file, and the option that copies it. rsync itself reports missing files.
fn reason(path: &Path, kinds: Kinds) -> Option<(&'static str, &'static str)> {
    let mut kind = fs::symlink_metadata(path).ok()?.file_type();
    let target = || fs::metadata(path).ok().map(|about| about.file_type());
    let is_followed =
        |kinds: Kinds| kinds.targets || kinds.linked_directories && target().is_some_and(|kind| kind.is_dir());
    if kind.is_symlink() && (path.as_os_str().as_bytes().ends_with(b"/") || is_followed(kinds)) {
        kind = target()?;
    }
    let is_copied = kind.is_file()
        || kind.is_dir() && kinds.directories
        || kind.is_symlink() && kinds.links
        || !kind.is_dir() && !kind.is_symlink() && kinds.devices;
    if is_copied {
        return None;
    }
    Some(if kind.is_dir() {
        ("a directory without -r or -a", "-r copies all that is in it, -a also links, modes and times")
    } else if kind.is_symlink() {
        ("a symbolic link without -a", "-a copies the link, -X -L what it points to")
    } else {
        ("devices, FIFOs and sockets without -a", "-a makes the same on the hosts")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options;
    use crate::plan::program::Program;

    /// What rsync 3.5 says of these: skipping directory, skipping non-regular file, or nothing.
    #[test]
    fn what_rsync_would_skip_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).expect("a directory");
        fs::write(at("f"), "").expect("a file");
        for (target, name) in [("f", "lf"), ("d", "ld"), ("none", "dang")] {
            std::os::unix::fs::symlink(target, at(name)).expect("a link");
        }
        let skips = |words: &[&str], name: &str| {
            let line = [&["prsync"], words, &["x", "y"]].concat();
            let opts = options::parse(Program::Prsync, line).expect("a good command line");
            skipped(&opts, &[format!("{}/{name}", dir.path().display()).into()]).is_some()
        };
        for (words, name) in [
            (&[][..], "d"),
            (&[], "d/"),
            (&[], "lf"),
            (&[], "ld"),
            (&[], "ld/"),
            (&[], "dang"),
            (&["-r"], "lf"),
            (&["-r"], "ld"),
            (&["-X", "-k"], "ld"),
            (&["-X-L"], "ld"),
            (&["-X", "-d"], "ld"),
            (&["-x", "-e ra"], "d"),
            (&["-X-era"], "d"),
            (&["-z"], "d"),
        ] {
            assert!(skips(words, name), "{words:?} {name}");
        }
        for (words, name) in [
            (&[][..], "f"),
            (&[], "missing"),
            (&["-r"], "d"),
            (&["-a"], "d"),
            (&["-a"], "lf"),
            (&["-a"], "dang"),
            (&["-x", "-avz"], "d"),
            (&["-X-r"], "d/"),
            (&["-X", "--recursive"], "d"),
            (&["-X", "--archive"], "ld"),
            (&["-x", "-r -k"], "ld"),
            (&["-X-l"], "lf"),
            (&["-X-L"], "lf"),
            (&["-X-d"], "d"),
            (&["-X", "--files-from=x"], "d"),
            (&["-r"], "ld/"),
            (&["-x", "-z -rv"], "d"),
        ] {
            assert!(!skips(words, name), "{words:?} {name}");
        }
    }
}
