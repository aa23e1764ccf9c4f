#![expect(clippy::unwrap_used, reason = "a test that fails there says where")]

/// Connections that break, and continued uploads.
mod breaks;
/// Servers that lie.
mod hostile;
/// Servers that lack features of OpenSSH's.
mod lacking;
/// Servers with few handles.
mod limits;
/// Targets, and existing files.
mod targets;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::shared::WINDOW;
use super::*;
use crate::copy::Options;
use crate::copy::sftp::testing::Server;
use crate::copy::sources::Sources;

/// A local and a remote directory.
struct Pair {
    _directory: tempfile::TempDir,
    here: PathBuf,
    there: PathBuf,
}

impl Pair {
    fn new() -> Pair {
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (directory.path().join("here"), directory.path().join("there"));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&there).unwrap();
        Pair { _directory: directory, here, there }
    }

    /// Creates a local file.
    fn write(&self, name: &[u8], content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.here.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn uploading(&self, names: &[&str], target: &str, options: Options) -> Uploading {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.here.join(name)).collect();
        let sources = Arc::new(Sources::find(&paths, options.recursive, None).unwrap());
        Uploading::new(Arc::new(Upload { sources, target: target.as_bytes().to_vec(), options }))
    }

    fn server(&self) -> Server {
        Server::start(&self.there)
    }

    /// Creates an upload to a server that starts in `there`.
    fn upload(&self, names: &[&str], target: &str, options: Options) -> Outcome {
        self.server().talk(&mut self.uploading(names, target, options))
    }

    /// Reads the remote file `name`.
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.there.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Lists all remote names, sorted.
    fn names(&self) -> Vec<String> {
        names(&self.there)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

fn plain() -> Options {
    Options::default()
}

fn recursive() -> Options {
    Options { recursive: true, ..Options::default() }
}

#[track_caller]
fn assert_ok(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Exited(0)), "{outcome:?}");
}

/// Returns the first failure as reported, and how many others there were.
#[track_caller]
fn failure(outcome: Outcome) -> (String, usize) {
    match outcome {
        Outcome::Failed(error) => match *error {
            HostError::Copy { path, reason, others, .. } => (format!("{path}: {reason}"), others),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Returns pseudo-random bytes that do not repeat at the borders of blocks or packets.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let pattern: Vec<u8> = std::iter::repeat_with(next).take(length.min(65_521)).collect();
    pattern.iter().copied().cycle().take(length).collect()
}

/// Runs a dialogue in which replies come only once the client is silent and all of them have been made: every batch is
/// a round trip. Returns the number of round trips.
fn round_trips(server: &mut Server, uploading: &mut Uploading) -> (usize, Outcome) {
    let mut trips = 0;
    loop {
        let mut out = Vec::new();
        let said = loop {
            match uploading.say(&mut out) {
                Say::Said => {}
                said => break said,
            }
        };
        assert!(out.is_empty() || server.send(&out));
        if said == Say::Over {
            let ended = server.end();
            return (trips, uploading.conclude(ended));
        }
        trips += 1;
        let expected = uploading.shared.client.pending() + usize::from(!uploading.has_begun());
        let packets: Vec<Vec<u8>> = (0..expected).map(|_| server.packet().unwrap()).collect();
        uploading.hear(&packets.concat());
    }
}

#[test]
fn a_tree_of_5000_small_files_arrives() {
    let pair = Pair::new();
    for number in 0..5_000 {
        pair.write(format!("tree/{}/{}/f{number}", number % 10, number % 70).as_bytes(), format!("content {number}"));
    }
    let mut uploading = pair.uploading(&["tree"], "", recursive());
    assert_ok(&pair.server().talk(&mut uploading));
    let total = uploading.shared.upload.sources.total();
    assert_eq!(uploading.progress(), Some(Progress { done: total, total }));
    for number in 0..5_000 {
        let name = format!("tree/{}/{}/f{number}", number % 10, number % 70);
        assert_eq!(pair.read(&name), format!("content {number}").as_bytes());
    }
    let directories = uploading.shared.upload.sources.directories().len();
    let found = walk(&pair.there);
    assert_eq!(found.len(), 5_000 + directories);
    assert!(found.iter().all(|path| !path.to_string_lossy().contains(".pssh-")));
}

/// Lists all paths below a directory.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn a_large_file_arrives() {
    let pair = Pair::new();
    let content = noise(64 << 20);
    pair.write(b"large", &content);
    let mut uploading = pair.uploading(&["large"], "copy", Options { checksum: true, ..plain() });
    let mut seen = 0;
    let outcome = pair.server().talk_while(&mut uploading, |uploading| {
        let Progress { done, total } = uploading.progress().unwrap();
        assert!(seen <= done && done <= total && uploading.shared.unconfirmed <= WINDOW);
        seen = done;
        true
    });
    assert_ok(&outcome);
    assert_eq!(seen, 64 << 20);
    assert!(pair.read("copy") == content, "the content differs");
    assert_eq!(pair.names(), ["copy"]);
}

#[test]
fn distance_costs_little() {
    let pair = Pair::new();
    for number in 0..1_000 {
        pair.write(format!("small/{number}").as_bytes(), "some bytes");
    }
    pair.write(b"large", noise(16 << 20));
    // 16 times 64 files: opened and written, two round trips each; plus the renames and the start.
    let (trips, outcome) = round_trips(&mut pair.server(), &mut pair.uploading(&["small"], "", recursive()));
    assert_ok(&outcome);
    assert!(trips <= 40, "{trips} round trips for 1,000 small files");
    // Those that are there already are looked at first.
    let (trips, outcome) = round_trips(&mut pair.server(), &mut pair.uploading(&["small"], "", recursive()));
    assert_ok(&outcome);
    assert!(trips <= 45, "{trips} round trips for 1,000 small files that were there");
    // Four windows of 4 MiB.
    let (trips, outcome) = round_trips(&mut pair.server(), &mut pair.uploading(&["large"], "", plain()));
    assert_ok(&outcome);
    assert!(trips <= 10, "{trips} round trips for 16 MiB");
    assert_eq!(pair.read("large"), fs::read(pair.here.join("large")).unwrap());
}

#[test]
fn names_are_bytes() {
    let pair = Pair::new();
    let names: [&[u8]; 8] =
        [b"with blank", b"new\nline", b"-rf", b"\xff\xfe", b"~", b"*?[a]", b"quote'\"\\", "ä".as_bytes()];
    for name in names {
        pair.write(&[b"odd/", name, b"/", name].concat(), name);
    }
    assert_ok(&pair.upload(&["odd"], "", recursive()));
    for name in names {
        let path = pair.there.join("odd").join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name));
        assert_eq!(fs::read(path).unwrap(), name);
    }
    // The longest possible name, so that the temporary one must be cut.
    let long = "x".repeat(255);
    pair.write(long.as_bytes(), "long");
    assert_ok(&pair.upload(&[&long], "", plain()));
    assert_eq!(pair.read(&long), b"long");
}

#[test]
fn modes_are_those_of_scp() {
    let pair = Pair::new();
    for (name, permissions) in [("a", 0o644), ("b", 0o666), ("c", 0o755), ("d", 0o600), ("e", 0o400), ("f", 0o4777)] {
        let path = pair.write(format!("t/{name}").as_bytes(), name);
        fs::set_permissions(path, Permissions::from_mode(permissions)).unwrap();
    }
    for (name, permissions) in [("open", 0o777), ("closed", 0o500)] {
        pair.write(format!("t/{name}/in").as_bytes(), "in");
        fs::set_permissions(pair.here.join("t").join(name), Permissions::from_mode(permissions)).unwrap();
    }
    // The server's umask is 022.
    assert_ok(&pair.upload(&["t"], "plain", recursive()));
    assert_ok(&pair.upload(&["t"], "preserved", Options { preserve: true, ..recursive() }));
    for (name, plain, preserved) in [
        ("a", 0o644, 0o644),
        ("b", 0o644, 0o666),
        ("c", 0o755, 0o755),
        ("d", 0o600, 0o600),
        ("e", 0o400, 0o400),
        ("f", 0o755, 0o777),
        ("open", 0o755, 0o777),
        ("closed", 0o500, 0o500),
    ] {
        assert_eq!(mode(&pair.there.join("plain").join(name)), plain, "{name}");
        assert_eq!(mode(&pair.there.join("preserved").join(name)), preserved, "{name}");
    }
    assert_eq!((pair.read("plain/closed/in"), pair.read("preserved/closed/in")), (b"in".to_vec(), b"in".to_vec()));
}

#[test]
fn times_are_preserved_if_asked_for() {
    let pair = Pair::new();
    let file = pair.write(b"t/d/f", "x");
    let times = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.atime(), metadata.mtime())
    };
    let set = |path: &Path, accessed, modified| {
        let file = fs::File::open(path).unwrap();
        let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_times(fs::FileTimes::new().set_accessed(at(accessed)).set_modified(at(modified))).unwrap();
    };
    set(&file, 1_000_000_001, 1_000_000_002);
    set(&pair.here.join("t/d"), 1_000_000_003, 1_000_000_004);
    set(&pair.here.join("t"), 1_000_000_005, 4_000_000_006);
    let options = Options { preserve: true, checksum: true, ..recursive() };
    // Twice: existing files get them as well.
    for _ in 0..2 {
        let mut uploading = pair.uploading(&["t"], "", options);
        // Local access times since then do not count.
        let expected: Vec<(i64, i64)> = uploading
            .shared
            .upload
            .sources
            .entries()
            .iter()
            .map(|entry| (i64::from(entry.accessed), i64::from(entry.modified)))
            .collect();
        assert_ok(&pair.server().talk(&mut uploading));
        let found = ["t", "t/d", "t/d/f"].map(|name| times(&pair.there.join(name)));
        assert_eq!(found[..], expected[..]);
        assert_eq!(found[2].1, 1_000_000_002);
        assert_eq!(found[0].1, 4_000_000_006);
    }
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    assert_ok(&pair.upload(&["t"], "new", recursive()));
    assert!(fs::metadata(pair.there.join("new/d/f")).unwrap().modified().unwrap() > before);
}

#[test]
fn empty_files_and_empty_directories_arrive() {
    let pair = Pair::new();
    pair.write(b"t/empty", "");
    fs::create_dir(pair.here.join("t/hollow")).unwrap();
    for options in [recursive(), Options { checksum: true, preserve: true, ..recursive() }] {
        assert_ok(&pair.upload(&["t"], "", options));
        assert_eq!(pair.read("t/empty"), b"");
        assert_eq!(names(&pair.there.join("t/hollow")), [""; 0]);
    }
}

#[test]
fn a_server_without_extensions_is_enough() {
    let pair = Pair::new();
    pair.write(b"t/a", "new a");
    pair.write(b"t/d/b", "new b");
    for _ in 0..2 {
        let mut server = pair.server().without_extensions();
        let mut uploading = pair.uploading(&["t"], "", Options { checksum: true, ..recursive() });
        assert_ok(&server.talk(&mut uploading));
        assert!(!uploading.shared.client.supports(Extension::PosixRename));
        assert_eq!((pair.read("t/a"), pair.read("t/d/b")), (b"new a".to_vec(), b"new b".to_vec()));
        assert_eq!(names(&pair.there.join("t")), ["a", "d"]);
        fs::write(pair.there.join("t/a"), "older, and longer").unwrap();
    }
}

#[test]
fn a_server_may_take_less_at_once_than_usual() {
    let pair = Pair::new();
    let content = noise(100_000);
    pair.write(b"f", &content);
    let mut server = pair.server();
    server.rewrite = Box::new(|packet| {
        // The reply to LIMITS, the only one of its type here: 2,000 bytes a WRITE, one open file.
        if packet[4] == 201 {
            packet[9 + 16..9 + 32].copy_from_slice(&[2_000u64.to_be_bytes(), 1u64.to_be_bytes()].concat());
        }
    });
    let mut uploading = pair.uploading(&["f"], "", plain());
    assert_ok(&server.talk(&mut uploading));
    assert_eq!((uploading.shared.write_length, uploading.shared.handles), (2_000, 1));
    assert_eq!(pair.read("f"), content);
}
