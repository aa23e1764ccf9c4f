//! The dialogues with real scp processes over pipes, started by a login shell as a server does it.

#![expect(clippy::unwrap_used, reason = "what fails there is this machine, and the panic says where")]

mod download;
mod hostile;
mod script;
mod upload;

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use tempfile::TempDir;

use crate::copy::sources::Sources;
use crate::copy::{Options, Upload};
use crate::events::event::Outcome;
use crate::ssh::channel::dialogue::{Dialogue, Say};

/// No dialogue of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A peer that is silent for this long waits for us.
const QUIET: Duration = Duration::from_millis(60);

/// How a dialogue is driven.
#[derive(Clone, Debug)]
struct Peer {
    /// The login shell, with its options.
    shell: Vec<&'static str>,
    home: PathBuf,
    /// The connection ends after this many bytes to the host.
    cut_sent: Option<usize>,
    /// The same for bytes from the host.
    cut_heard: Option<usize>,
    /// The host's processes are signalled to end after this many bytes to them.
    told_to_end: Option<usize>,
    /// What the host sends is read only when it waits for us: each time is a round trip.
    distant: bool,
    /// The largest file that the host's processes may write.
    room: Option<u64>,
    /// The remote user, unless it is this one.
    user: Option<u32>,
}

/// The result of a dialogue.
#[derive(Debug)]
struct ChannelIo {
    outcome: Outcome,
    /// How the program ended, unless it was cut off.
    channel: Option<Outcome>,
    trips: usize,
    sent: usize,
    heard: usize,
    stderr: String,
}

impl Peer {
    fn at(home: &Path) -> Peer {
        Peer {
            shell: vec!["sh"],
            home: home.to_owned(),
            cut_sent: None,
            cut_heard: None,
            told_to_end: None,
            distant: false,
            room: None,
            user: None,
        }
    }

    fn start(&self, command: &[u8]) -> Child {
        let mut words: Vec<&OsStr> = Vec::new();
        let limit;
        if let Some(room) = self.room {
            // Without the signal, writing fails as on a full disk.
            limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", room.div_ceil(512));
            words.extend(["sh", "-c", &limit, "sh"].map(OsStr::new));
        }
        words.extend(self.shell.iter().copied().chain(["-c"]).map(OsStr::new));
        words.push(OsStr::from_bytes(command));
        let mut start = Command::new(words[0]);
        start.args(&words[1..]).current_dir(&self.home).env("HOME", &self.home);
        // fish creates directories.
        let elsewhere = self.home.with_file_name("xdg");
        start.env("XDG_CONFIG_HOME", &elsewhere).env("XDG_DATA_HOME", &elsewhere).env("XDG_RUNTIME_DIR", &elsewhere);
        start.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(user) = self.user {
            start.uid(user).gid(user);
        }
        start.spawn().unwrap()
    }

    /// Runs `dialogue` with `command` to the end.
    fn talk(&self, command: &[u8], dialogue: &mut dyn Dialogue) -> ChannelIo {
        let mut child = self.start(command);
        let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        for fd in [stdin.as_ref().unwrap().as_fd(), stdout.as_ref().unwrap().as_fd(), stderr.as_ref().unwrap().as_fd()]
        {
            rustix::io::ioctl_fionbio(fd, true).unwrap();
        }
        let begin = Instant::now();
        let mut talk = ChannelIo {
            outcome: Outcome::Exited(0),
            channel: None,
            trips: 0,
            sent: 0,
            heard: 0,
            stderr: String::new(),
        };
        let (mut out, mut arrived, mut last) = (Vec::new(), Vec::new(), Instant::now());
        let (mut cut, mut told) = (false, false);
        while stdout.is_some() || stderr.is_some() {
            assert!(begin.elapsed() < PATIENCE, "no end: {talk:?}");
            let mut listening = false;
            while stdin.is_some() && out.len() < 256 * 1024 && !listening {
                match dialogue.say(&mut out) {
                    Say::Said => {}
                    Say::Listening => listening = true,
                    Say::Over if out.is_empty() => stdin = None,
                    Say::Over => break,
                }
            }
            if let Some(pipe) = &mut stdin {
                let left = self.cut_sent.map_or(usize::MAX, |cut| cut - talk.sent);
                match pipe.write(&out[..out.len().min(left)]) {
                    Ok(count) => {
                        last = if count > 0 { Instant::now() } else { last };
                        out.drain(..count);
                        talk.sent += count;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => stdin = None,
                }
            }
            let mut buffer = [0; 64 * 1024];
            if let Some(pipe) = &mut stdout {
                let left = self.cut_heard.map_or(usize::MAX, |cut| cut - talk.heard);
                let length = buffer.len().min(left);
                match pipe.read(&mut buffer[..length]) {
                    Ok(0) if length > 0 => stdout = None,
                    Ok(count) => {
                        (talk.heard, last) = (talk.heard + count, Instant::now());
                        arrived.extend_from_slice(&buffer[..count]);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            if let Some(pipe) = &mut stderr {
                match pipe.read(&mut buffer) {
                    Ok(0) => stderr = None,
                    Ok(count) => {
                        dialogue.overhear(&buffer[..count]);
                        talk.stderr.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            let quiet = out.is_empty() && (stdout.is_none() || last.elapsed() >= QUIET);
            if !arrived.is_empty() && (!self.distant || quiet) {
                talk.trips += 1;
                // Cut anywhere.
                for piece in arrived.chunks(if arrived.len() < 4096 { 7 } else { 32 * 1024 }) {
                    dialogue.hear(piece);
                }
                arrived.clear();
                last = Instant::now();
                continue;
            }
            let is_cut = |limit: Option<usize>, count: usize| limit.is_some_and(|limit| count >= limit);
            if is_cut(self.cut_sent, talk.sent) || is_cut(self.cut_heard, talk.heard) {
                (stdin, stdout, stderr, cut) = (None, None, None, true);
                continue;
            }
            if !told && self.told_to_end.is_some_and(|limit| talk.sent >= limit) {
                told = true;
                let group = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
            }
            let mut fds = Vec::new();
            for fd in [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
            if let Some(pipe) = stdin.as_ref().filter(|_| !out.is_empty()) {
                fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT));
            }
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            rustix::event::poll(&mut fds, Some(&pause)).unwrap();
        }
        drop((stdin, stdout, stderr));
        let status = wait(&mut child, begin);
        let channel = match status.code() {
            Some(code) => Outcome::Exited(code as u32),
            None => Outcome::Signaled { name: status.signal().unwrap_or_default().to_string() },
        };
        talk.outcome = dialogue.conclude(match cut {
            true => crate::events::host_error::HostError::Lost { detail: "cut".to_owned(), hint: None }.into(),
            false => Outcome::Exited(status.code().unwrap_or(255) as u32),
        });
        talk.channel = (!cut).then_some(channel);
        talk
    }
}

/// Waits for a program whose connection has ended.
fn wait(child: &mut Child, begin: Instant) -> std::process::ExitStatus {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the program does not end with its connection");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A temporary directory with two in it: the local one and the host's home.
struct Field {
    dir: TempDir,
}

impl Field {
    fn new() -> Field {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("here")).unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        Field { dir }
    }

    fn here(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("here").join(path)
    }

    fn there(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("there").join(path)
    }

    fn peer(&self) -> Peer {
        Peer::at(&self.there(""))
    }

    /// Returns an upload from the local directory to `target`.
    fn upload(&self, sources: &[&str], target: &[u8], options: Options) -> Arc<Upload> {
        let paths: Vec<PathBuf> = sources.iter().map(|path| self.dir.path().join("here").join(path)).collect();
        let sources = Arc::new(Sources::find(&paths, options.recursive, None).unwrap());
        Arc::new(Upload { sources, target: target.to_vec(), options })
    }
}

/// Writes a file and creates its parents.
fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn read(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref())))
        .into_owned()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// Lists all paths below a directory, sorted; directories end in a slash.
fn list(directory: impl AsRef<Path>) -> Vec<String> {
    fn walk(directory: &Path, prefix: &str, paths: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                true => {
                    paths.push(format!("{path}/"));
                    walk(&entry.path(), &format!("{path}/"), paths);
                }
                false => paths.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    walk(directory.as_ref(), "", &mut paths);
    paths.sort();
    paths
}

/// Returns sh, and the other login shells that are installed.
fn shells() -> Vec<Vec<&'static str>> {
    let is_there = |name: &str| ["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(name).exists());
    let all = [&["sh"][..], &["bash"], &["dash"], &["zsh"], &["mksh"], &["busybox", "sh"], &["tcsh"], &["fish"]];
    all.into_iter().filter(|shell| shell[0] == "sh" || is_there(shell[0])).map(<[_]>::to_vec).collect()
}

/// Runs the ignored test `name` with a file system of 64 KiB at the path in `PSSH_TEST_FULL`.
fn with_little_room(name: &str) {
    let directory = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$1\" && exec \"$2\" --ignored --exact --nocapture \"$3\"";
    let ran = Command::new("unshare")
        .args(if rustix::process::geteuid().is_root() { &["-m"][..] } else { &["-r", "-m"] })
        .args(["sh", "-c", script, "sh"])
        .args([directory.path(), &std::env::current_exe().unwrap(), Path::new(name)])
        .env("PSSH_TEST_FULL", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// Returns the file system of [`with_little_room`].
fn little_room() -> PathBuf {
    PathBuf::from(std::env::var_os("PSSH_TEST_FULL").expect("run by another test"))
}
