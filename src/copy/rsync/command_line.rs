//! The command line of rsync: `[-v] [-r] [-a] [-z] [EXTRA..] SRC.. [USER@]HOST:DEST`. Only -x and -X add options: a
//! path is written so that rsync never takes it for one, even if it starts with `-` or contains a colon.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::remote_shell::OPTION;
use crate::hosts::HostSpec;

/// The options and paths of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// `-v`.
    pub verbose: bool,
    /// `-r`.
    pub recursive: bool,
    /// `-a`.
    pub archive: bool,
    /// `-z`.
    pub compress: bool,
    /// The words of `-x` and `-X`, in their order. An `-e` among them overrides ours: rsync then starts that program,
    /// as with pssh 2.3.
    pub extra: Vec<OsString>,
    /// The source and the target.
    pub direction: Direction,
    /// The user for hosts without one of their own (`-l`).
    pub user: Option<String>,
}

/// The direction with its source and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Upload to every host.
    Upload {
        /// Local source.
        sources: Vec<OsString>,
        /// Remote target.
        target: OsString,
    },
    /// Download from every host.
    Download {
        /// Remote source.
        remote: OsString,
        /// The local directory of every host, by the number of its job. It is created if it is missing.
        directories: Vec<PathBuf>,
    },
}

impl Default for Direction {
    fn default() -> Self {
        Direction::Upload { sources: Vec::new(), target: OsString::new() }
    }
}

impl Transfer {
    /// Returns the words of the command line for `job`, without the program and the remote shell.
    pub(super) fn words(&self, number: usize, host: &HostSpec) -> Vec<OsString> {
        let switches =
            [(self.verbose, "-v"), (self.recursive, "-r"), (self.archive, "-a"), (self.compress, "-z")].into_iter();
        let mut words: Vec<OsString> = switches.filter(|(is_on, _)| *is_on).map(|(_, word)| word.into()).collect();
        words.extend(self.extra.iter().cloned());
        if self.remote().as_bytes().contains(&b'\n') {
            // Without this, rsync sends the path in the command with a backslash before the newline: most shells drop
            // both, and csh takes the rest for another command.
            words.push("-s".into());
        }
        match &self.direction {
            Direction::Upload { sources, target } => {
                words.extend(sources.iter().map(|source| local(Path::new(source))));
                words.push(self.place(host, target));
            }
            Direction::Download { remote, directories } => {
                words.push(self.place(host, remote));
                words.extend(directories.get(number).map(|directory| local(directory)));
            }
        }
        words
    }

    /// Returns the path on the hosts.
    fn remote(&self) -> &OsStr {
        match &self.direction {
            Direction::Upload { target, .. } => target,
            Direction::Download { remote, .. } => remote,
        }
    }

    /// Returns the local directory of a download.
    pub(super) fn directory(&self, number: usize) -> Option<&Path> {
        match &self.direction {
            Direction::Upload { .. } => None,
            Direction::Download { directories, .. } => directories.get(number).map(PathBuf::as_path),
        }
    }

    /// Returns the environment variables that pssh sets for the programs it starts.
    pub(super) fn variables(host: &HostSpec) -> [(&'static str, String); 3] {
        [
            ("PSSH_NODENUM", host.place.index.to_string()),
            ("PSSH_NUMNODES", host.place.count.to_string()),
            ("PSSH_HOST", host.name.clone()),
        ]
    }

    /// `[USER@]HOST:PATH`.
    fn place(&self, host: &HostSpec, path: &OsStr) -> OsString {
        let mut word = Vec::new();
        // Only for its messages: the session knows the host. With these characters rsync would see a local path.
        let user = host.user.as_ref().or(self.user.as_ref());
        if let Some(user) = user.filter(|user| !user.is_empty() && !user.starts_with('-') && !user.contains(['/', ':']))
        {
            word.extend_from_slice(user.as_bytes());
            word.push(b'@');
        }
        let name = host.name.as_str();
        let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        word.extend_from_slice(host.as_bytes());
        word.push(b':');
        // HOST::PATH names a module of an rsync daemon, older versions of rsync pass on an option, and the shell may
        // turn a wildcard into either.
        if path.as_bytes().first().is_some_and(|byte| !may_begin(*byte)) {
            word.extend_from_slice(b"./");
        }
        word.extend_from_slice(path.as_bytes());
        OsString::from_vec(word)
    }
}

/// Whether every shell leaves the start of a remote path that starts like this unchanged: a name, a directory, or
/// something that the user wants the shell to expand.
fn may_begin(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"./~_$`".contains(&byte)
}

/// Returns a local path that rsync takes neither for an option nor for a host.
fn local(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    let mut first = bytes.split(|byte| *byte == b'/');
    let is_clear = !bytes.starts_with(b"-") && !first.next().unwrap_or_default().contains(&b':');
    // Byte by byte: a slash or `.` at the end means something to rsync.
    let prefix: &[u8] = if is_clear { b"" } else { b"./" };
    OsString::from_vec([prefix, bytes].concat())
}

/// Returns the remote shell as the single word that rsync splits again: at blanks outside of quotes, with a doubled
/// quote within quotes as a literal one.
pub(super) fn remote_shell(ourselves: &Path, socket: &Path) -> OsString {
    let mut word = quote(ourselves.as_os_str());
    word.push(b' ');
    word.extend_from_slice(OPTION.as_bytes());
    word.push(b' ');
    word.extend(quote(socket.as_os_str()));
    OsString::from_vec(word)
}

fn quote(text: &OsStr) -> Vec<u8> {
    let bytes = text.as_bytes();
    if !bytes.is_empty() && !bytes.iter().any(|byte| b" '\"".contains(byte)) {
        return bytes.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        quoted.push(*byte);
        if *byte == b'\'' {
            quoted.push(b'\'');
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::gather;

    fn host(entry: &str) -> HostSpec {
        gather(&[], &[entry.to_owned()]).expect("a host").remove(0)
    }

    fn upload(sources: &[&str], target: &str) -> Direction {
        Direction::Upload { sources: sources.iter().map(Into::into).collect(), target: target.into() }
    }

    fn words(transfer: &Transfer, entry: &str) -> String {
        let words = transfer.words(1, &host(entry));
        words.iter().map(|word| word.to_str().expect("text")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_words_are_those_of_pssh_in_its_order() {
        let plain = Transfer { direction: upload(&["a"], "/tmp/b"), ..Transfer::default() };
        assert_eq!(words(&plain, "web1"), "a|web1:/tmp/b");
        assert_eq!(words(&plain, "web1:2222"), "a|web1:/tmp/b", "the port is the session's");
        let all = Transfer {
            verbose: true,
            recursive: true,
            archive: true,
            compress: true,
            extra: vec!["--delete".into(), "--exclude=a b".into()],
            user: Some("joe".to_owned()),
            ..plain
        };
        assert_eq!(words(&all, "web1"), "-v|-r|-a|-z|--delete|--exclude=a b|a|joe@web1:/tmp/b");
        assert_eq!(words(&all, "ann@web1"), "-v|-r|-a|-z|--delete|--exclude=a b|a|ann@web1:/tmp/b");
    }

    #[test]
    fn paths_are_never_options_hosts_or_modules() {
        let odd =
            ["a", "b c", "--dry-run", "-", "-d/", "--", "web2:x", "::x", "rsync://web2/x", "d/e:f", "/g:h", ":.", "~"];
        let several = Transfer { direction: upload(&odd, ""), ..Transfer::default() };
        assert_eq!(
            words(&several, "web1"),
            "a|b c|./--dry-run|./-|./-d/|./--|./web2:x|./::x|./rsync://web2/x|d/e:f|/g:h|./:.|~|web1:"
        );
        for (target, expected) in [(":mod/x", "a|web1:./:mod/x"), ("-x", "a|web1:./-x"), ("x:-", "a|web1:x:-")] {
            assert_eq!(words(&Transfer { direction: upload(&["a"], target), ..Transfer::default() }, "web1"), expected);
        }
        for pattern in ["*", "?x", "[a-z]*", "{a,-b}", "@(*)", "\\-x", "'-x'", "=ls"] {
            let plain = Transfer { direction: upload(&["a"], pattern), ..Transfer::default() };
            assert_eq!(words(&plain, "web1"), format!("a|web1:./{pattern}"));
        }
        for path in [".*", "/*", "~/*", "~joe", "x*", "_", "$HOME/x"] {
            let plain = Transfer { direction: upload(&["a"], path), ..Transfer::default() };
            assert_eq!(words(&plain, "web1"), format!("a|web1:{path}"));
        }
        let newline = Transfer { direction: upload(&["a"], "x\ny"), ..Transfer::default() };
        assert_eq!(words(&newline, "web1"), "-s|a|web1:x\ny");
    }

    #[test]
    fn addresses_stand_in_brackets() {
        let plain = Transfer { direction: upload(&["a"], "b"), ..Transfer::default() };
        assert_eq!(words(&plain, "::1"), "a|[::1]:b");
        assert_eq!(words(&plain, "ann@[fe80::1%eth0]:22"), "a|ann@[fe80::1%eth0]:b");
    }

    #[test]
    fn a_user_that_would_be_taken_for_a_path_is_left_out() {
        for user in ["DOM/joe", "a:b", ""] {
            let user = Some(user.to_owned());
            let plain = Transfer { direction: upload(&["a"], "b"), user, ..Transfer::default() };
            assert_eq!(words(&plain, "web1"), "a|web1:b");
        }
        let user = Some("DOM\\joe".to_owned());
        let plain = Transfer { direction: upload(&["a"], "b"), user, ..Transfer::default() };
        assert_eq!(words(&plain, "web1"), "a|DOM\\joe@web1:b");
    }

    #[test]
    fn a_download_goes_into_the_directory_of_its_host() {
        let into = |directory: &str| Transfer {
            direction: Direction::Download {
                remote: "/etc/x".into(),
                directories: vec!["no".into(), directory.into()],
            },
            ..Transfer::default()
        };
        assert_eq!(words(&into("/data/web1"), "web1"), "web1:/etc/x|/data/web1");
        assert_eq!(words(&into("data/::1"), "::1"), "[::1]:/etc/x|data/::1");
        assert_eq!(words(&into("::1"), "::1"), "[::1]:/etc/x|./::1");
        assert_eq!(words(&into("-data/web1"), "web1"), "web1:/etc/x|./-data/web1");
        assert_eq!(into("data/web1").directory(1), Some(Path::new("data/web1")));
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let odd = OsString::from_vec(vec![b'a', 0xff]);
        let direction = Direction::Upload { sources: vec![odd.clone()], target: odd };
        let words = Transfer { direction, ..Transfer::default() }.words(1, &host("web1"));
        assert_eq!(words[0].as_bytes(), b"a\xff");
        assert_eq!(words[1].as_bytes(), b"web1:a\xff");
    }

    #[test]
    fn the_remote_shell_is_quoted_where_it_has_to_be() {
        let made = |program: &str, socket: &str| remote_shell(Path::new(program), Path::new(socket));
        assert_eq!(made("/usr/bin/prsync", "/tmp/x/s"), "/usr/bin/prsync --remote-shell /tmp/x/s");
        assert_eq!(made("/my bin/prsync", "/t'm\"p/s"), "'/my bin/prsync' --remote-shell '/t''m\"p/s'");
    }
}
