//! Downloads from the system's server, and from fake ones.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::copy::Options;
use crate::copy::sftp::testing::program;

/// Servers that break the protocol, lie or never end.
mod hostile;
/// Servers that lack features of OpenSSH's.
mod lacking;
/// Servers with low limits.
mod limits;
/// OpenSSH's server.
mod real;

/// No test waits longer than this for a single reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system's server.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    packets: Receiver<Vec<u8>>,
    /// Pending replies.
    expected: usize,
    /// Bytes of the incomplete replies.
    heard: usize,
}

impl Server {
    fn start(directory: &Path) -> Server {
        Server::of(Command::new(program()).current_dir(directory))
    }

    /// Starts one that may not read everything.
    fn start_unprivileged(directory: &Path) -> Server {
        let mut command = Command::new(program());
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        Server::of(command.current_dir(directory))
    }

    fn of(command: &mut Command) -> Server {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sftp-server");
        let (input, mut output) = (child.stdin.take(), child.stdout.take().expect("output"));
        let (sender, packets) = channel();
        std::thread::spawn(move || {
            let mut length = [0; 4];
            while output.read_exact(&mut length).is_ok() {
                let mut packet = vec![0; 4 + u32::from_be_bytes(length) as usize];
                packet[..4].copy_from_slice(&length);
                if output.read_exact(&mut packet[4..]).is_err() || sender.send(packet).is_err() {
                    break;
                }
            }
        });
        Server { child, input, packets, expected: 0, heard: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns how many packets there are.
fn count(mut bytes: &[u8]) -> usize {
    let mut packets = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        bytes = &rest[u32::from_be_bytes(*length) as usize..];
        packets += 1;
    }
    packets
}

/// Returns everything that is sent now.
fn said(downloading: &mut Downloading) -> (Vec<u8>, Say) {
    let mut said = Vec::new();
    loop {
        match downloading.say(&mut said) {
            Say::Said => {}
            last => return (said, last),
        }
    }
}

/// Copies over a connection where all replies come at once, after everything was sent; returns the number of such round
/// trips: the cost of a long distance.
fn run(downloading: &mut Downloading, server: &mut Server) -> usize {
    run_until(downloading, server, |_| false)
}

/// The same, until `stop` returns true after a reply.
fn run_until(downloading: &mut Downloading, server: &mut Server, mut stop: impl FnMut(&Downloading) -> bool) -> usize {
    for batches in 0.. {
        while server.expected > 0 {
            let packet = server.packets.recv_timeout(PATIENCE).expect("a reply");
            server.expected -= 1;
            server.heard += packet.len();
            downloading.hear(&packet);
            assert!(downloading.files.values().filter(|file| file.is_open()).count() <= OPEN_HERE);
            assert!(downloading.held() <= WINDOW + FILES * transfer::READ as usize, "{}", downloading.held());
            if stop(downloading) {
                return batches;
            }
        }
        let (bytes, last) = said(downloading);
        if last == Say::Over {
            return batches;
        }
        server.input.as_mut().expect("input").write_all(&bytes).expect("sftp-server reads");
        server.expected = count(&bytes);
        assert!(server.expected > 0, "neither side says anything");
    }
    unreachable!("it ends")
}

fn recursive() -> Options {
    Options { recursive: true, ..Options::default() }
}

fn preserving() -> Options {
    Options { preserve: true, ..recursive() }
}

/// Directories for both sides.
struct Sides {
    directory: tempfile::TempDir,
}

impl Sides {
    fn new() -> Sides {
        let directory = tempfile::tempdir().expect("directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("permissions");
        fs::create_dir(directory.path().join("remote")).expect("directory");
        Sides { directory }
    }

    fn remote(&self, path: &str) -> PathBuf {
        self.directory.path().join("remote").join(path)
    }

    fn local(&self, path: &str) -> PathBuf {
        self.directory.path().join("host").join(path)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.remote(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, bytes).expect("file");
    }

    fn downloading(&self, remotes: &[&str], target: Option<&str>, options: Options) -> Downloading {
        let remotes = remotes.iter().map(|remote| remote.as_bytes().to_vec()).collect();
        let target = target.map(|target| target.as_bytes().to_vec());
        let place = DownloadRoot::open(&self.local("")).expect("place");
        Downloading::new(Arc::new(Download { remotes, target, options }), place)
    }

    fn copy(&self, remotes: &[&str], target: Option<&str>, options: Options) -> Outcome {
        let mut downloading = self.downloading(remotes, target, options);
        let mut server = Server::start(&self.remote(""));
        run(&mut downloading, &mut server);
        downloading.conclude(Outcome::Exited(0))
    }

    /// Lists what has arrived: paths and types, in order.
    fn arrived(&self) -> Vec<(String, String)> {
        tree(&self.local(""))
    }
}

/// Lists paths and types below a directory, in order.
fn tree(top: &Path) -> Vec<(String, String)> {
    let (mut found, mut directories) = (Vec::new(), vec![top.to_owned()]);
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("directory") {
            let path = entry.expect("entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            let what = if kind.is_dir() {
                directories.push(path.clone());
                "directory".to_owned()
            } else if kind.is_file() {
                String::from_utf8_lossy(&fs::read(&path).expect("file")).into_owned()
            } else {
                format!("{kind:?}")
            };
            let below = path.strip_prefix(top).expect("below");
            found.push((format!("{:?}", below.as_os_str()).trim_matches('"').to_owned(), what));
        }
    }
    found.sort();
    found
}

fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

/// Returns the single file failure in words.
fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(error) => match *error {
            HostError::Copy { .. } => error.to_string(),
            error => format!("{:?}: {error}", error.class()),
        },
        outcome => format!("{outcome:?}"),
    }
}
