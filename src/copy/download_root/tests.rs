use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A directory with the root `host` in it, and something next to it that must stay untouched.
fn place() -> (TempDir, DownloadRoot) {
    let directory = tempfile::tempdir().expect("directory");
    fs::create_dir(directory.path().join("outside")).expect("directory");
    fs::write(directory.path().join("outside/secret"), "untouched").expect("file");
    let place = DownloadRoot::open(&directory.path().join("hosts/host")).expect("place");
    (directory, place)
}

fn below(path: &str) -> Below {
    path.split('/').fold(Below::place(), |path, name| path.join(name.as_bytes()).expect("a name"))
}

/// Lists everything in a directory, in order: paths, kinds, and file contents.
fn tree(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("directory") {
            let path = entry.expect("entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            let what = if kind.is_dir() {
                directories.push(path.clone());
                "directory".to_owned()
            } else if kind.is_file() {
                format!("file {:?}", fs::read(&path).expect("readable"))
            } else if kind.is_symlink() {
                format!("link {:?}", fs::read_link(&path).expect("readable"))
            } else {
                "special".to_owned()
            };
            found.push((path, what));
        }
    }
    found.sort();
    found
}

fn put(place: &mut DownloadRoot, path: &str, bytes: &[u8]) -> Result<(), PlaceError> {
    let temporary = place.create(&below(path))?;
    temporary.write(0, bytes)?;
    temporary.finish(bytes.len() as u64, 0o644, None)
}

#[test]
fn names_that_are_none() {
    for name in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"/etc/passwd", b"a/", b"a\0b", &[b'x'; 256]] {
        assert!(Below::place().join(name).is_err(), "{}", String::from_utf8_lossy(name));
    }
    for name in [&b"..."[..], b"..a", b"-r", b" ", b"\n", b"\xff\xfe", b"~", b"*", b"a\\b", &[b'x'; 255]] {
        assert!(Below::place().join(name).is_ok(), "{}", String::from_utf8_lossy(name));
    }
    let path = below("a/b/c");
    assert_eq!(path.as_bytes(), b"a/b/c");
    assert_eq!(path.split(), Some((below("a/b"), &b"c"[..])));
    assert_eq!(below("a").split(), Some((Below::place(), &b"a"[..])));
    assert_eq!(Below::place().split(), None);
}

#[test]
fn a_file_gets_its_place_bytes_mode_and_times_at_once() {
    let (directory, mut place) = place();
    let host = directory.path().join("hosts/host");
    assert!(place.make_directory(&below("etc")).expect("made"));
    assert!(!place.make_directory(&below("etc")).expect("there"));
    fs::write(host.join("etc/motd"), "old").expect("file");

    let temporary = place.create(&below("etc/motd")).expect("temporary");
    assert_eq!(temporary.length(), 0);
    temporary.write(3, b"456").expect("written");
    temporary.write(0, b"123").expect("written");
    let mut read = [0; 4];
    temporary.read(2, &mut read).expect("readable");
    assert_eq!(&read, b"3456");
    temporary.read(3, &mut read).expect_err("there is not so much");
    // Still the old one, and only our user can access the new one.
    assert_eq!(fs::read(host.join("etc/motd")).expect("file"), b"old");
    let written: Vec<_> =
        tree(&host).into_iter().filter(|(path, _)| path.to_string_lossy().contains(".pssh-")).collect();
    assert_eq!(written.len(), 1);
    assert!(written[0].0.file_name().expect("name").to_string_lossy().starts_with(".motd.pssh-"));
    assert_eq!(fs::metadata(&written[0].0).expect("file").permissions().mode() & 0o7777, 0o600);

    temporary.finish(6, 0o4751, Some((1_000_000_000, 2_000_000_000))).expect("in place");
    let metadata = fs::metadata(host.join("etc/motd")).expect("file");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751, "nothing setuid");
    assert_eq!((metadata.atime(), metadata.mtime()), (1_000_000_000, 2_000_000_000));
    assert_eq!(fs::read(host.join("etc/motd")).expect("file"), b"123456");
    assert_eq!(tree(&host).len(), 2, "nothing else is left");

    place.finish_directory(&below("etc"), Some(0o2555), Some((5, 6))).expect("finished");
    let metadata = fs::metadata(host.join("etc")).expect("directory");
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.atime(), metadata.mtime()), (0o555, 5, 6));
}

#[test]
fn what_is_not_finished_is_removed_and_never_in_place() {
    let (directory, mut place) = place();
    let before = tree(directory.path());
    let temporary = place.create(&below("file")).expect("temporary");
    temporary.write(0, b"half").expect("written");
    drop(temporary);
    assert_eq!(tree(directory.path()), before);

    let temporary = place.create(&below("file")).expect("temporary");
    temporary.write(0, b"half").expect("written");
    let error = temporary.finish(5, 0o644, None).expect_err("too short");
    assert_eq!((error.reason.as_str(), error.trouble), ("4 bytes were written, not 5", Trouble::Refused));
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn a_file_can_be_continued() {
    let (directory, mut place) = place();
    let host = directory.path().join("hosts/host");
    let temporary = place.resume(&below("file"), "1-2").expect("temporary");
    temporary.write(0, b"first ").expect("written");
    drop(temporary);
    assert!(host.join(".file.pssh-1-2").exists(), "it is left there");

    let temporary = place.resume(&below("file"), "1-2").expect("temporary");
    assert_eq!(temporary.length(), 6);
    temporary.write(6, b"second").expect("written");
    temporary.finish(12, 0o600, None).expect("in place");
    assert_eq!(fs::read(host.join("file")).expect("file"), b"first second");
    assert!(!host.join(".file.pssh-1-2").exists());

    let temporary = place.resume(&below("file"), "1-2").expect("temporary");
    temporary.write(0, b"too long").expect("written");
    temporary.truncate(3).expect("cut");
    temporary.discard();
    assert_eq!(tree(&host).len(), 1);
}

#[test]
fn only_a_file_of_ours_is_continued() {
    let (directory, mut place) = place();
    let host = directory.path().join("hosts/host");
    let outside = directory.path().join("outside/secret");
    let left = host.join(".file.pssh-t");
    let fifo = || rustix::fs::mknodat(rustix::fs::CWD, &left, FileType::Fifo, Mode::RWXU, 0).expect("fifo");
    let plant: [(&str, &dyn Fn()); 4] = [
        ("link", &|| symlink(&outside, &left).expect("link")),
        ("hard link", &|| fs::hard_link(&outside, &left).expect("link")),
        ("directory", &|| fs::create_dir(&left).expect("directory")),
        ("fifo", &fifo),
    ];
    for (what, plant) in plant {
        plant();
        let error = place.resume(&below("file"), "t").expect_err(what);
        assert_eq!((error.reason.as_str(), error.trouble), (NOT_OURS, Trouble::Refused), "{what}");
        assert!(error.path.ends_with("hosts/host/.file.pssh-t"), "{what}: {}", error.path);
        fs::remove_file(&left).or_else(|_| fs::remove_dir(&left)).expect("removed");
    }
    assert_eq!(fs::read(outside).expect("file"), b"untouched");
    // A file that others can write, or of another user, which only root can create.
    for (mode, owner) in [(0o622, None), (0o620, None), (0o600, Some(65_533))] {
        fs::write(&left, "planted").expect("file");
        fs::set_permissions(&left, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("mode");
        assert!(owner.is_none() || rustix::process::geteuid().is_root(), "only root can give a file away");
        std::os::unix::fs::chown(&left, owner, None).expect("owner");
        let error = place.resume(&below("file"), "t").expect_err("planted");
        assert_eq!((error.reason.as_str(), error.trouble), (NOT_OURS, Trouble::Refused), "{mode:o} {owner:?}");
        fs::remove_file(&left).expect("removed");
    }
    // A file that another run is writing.
    let first = place.resume(&below("file"), "t").expect("ours");
    let error = place.resume(&below("file"), "t").expect_err("taken");
    assert!(error.reason.contains("writes to it"), "{}", error.reason);
    drop(first);
    place.resume(&below("file"), "t").expect("ours").discard();
}

#[test]
fn nothing_is_followed_or_replaced_that_is_no_file() {
    let (directory, mut place) = place();
    let host = directory.path().join("hosts/host");
    symlink("../../outside", host.join("link")).expect("link");
    symlink("../../outside/secret", host.join("secret")).expect("link");
    fs::create_dir(host.join("directory")).expect("directory");
    rustix::fs::mknodat(rustix::fs::CWD, host.join("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("fifo");
    fs::write(host.join("file"), "").expect("file");

    // A parent is a link.
    for result in [
        put(&mut place, "link/secret", b"overwritten"),
        place.make_directory(&below("link/new")).map(drop),
        place.make_directory(&below("link")).map(drop),
        place.finish_directory(&below("link"), Some(0), None),
        place.find(&below("link/secret")).map(drop),
    ] {
        let error = result.expect_err("a link");
        assert_eq!((error.reason.as_str(), error.trouble), ("a symbolic link exists there", Trouble::Refused));
        assert!(error.path.ends_with("hosts/host/link"), "{}", error.path);
    }
    for (name, what) in [("directory", "a directory"), ("fifo", "a device, FIFO or socket")] {
        let error = put(&mut place, name, b"new").expect_err(what);
        assert_eq!(error.reason, format!("{what} exists there"));
        assert_eq!(error.trouble, Trouble::Refused);
    }
    for name in ["file", "fifo", "secret"] {
        place.make_directory(&below(name)).expect_err("something else");
    }
    // As the last component a link is a name like any other.
    put(&mut place, "secret", b"new").expect("in place");
    assert!(fs::symlink_metadata(host.join("secret")).expect("there").is_file());
    assert!(fs::symlink_metadata(host.join("fifo")).expect("there").file_type().is_fifo());
    assert_eq!(fs::read(host.join("secret")).expect("file"), b"new");
    assert_eq!(fs::read(directory.path().join("outside/secret")).expect("file"), b"untouched");
    assert_eq!(fs::read_dir(directory.path().join("outside")).expect("directory").count(), 1);

    let kinds = ["link", "directory", "fifo", "file", "missing", "missing/too"]
        .map(|path| place.find(&below(path)).expect("found"));
    let files = [Some(Found::Link), Some(Found::Directory), Some(Found::Special), Some(Found::File), None, None];
    assert_eq!(kinds, files);
}

#[test]
fn what_takes_the_place_meanwhile_is_kept() {
    let (directory, mut place) = place();
    let host = directory.path().join("hosts/host");
    let temporary = place.create(&below("file")).expect("temporary");
    fs::create_dir(host.join("file")).expect("directory");
    let error = temporary.finish(0, 0o644, None).expect_err("a directory");
    assert_eq!(error.reason, "a directory exists there");

    // A host that knows the temporary name sends a file with that name.
    let temporary = place.resume(&below("other"), "t").expect("temporary");
    put(&mut place, ".other.pssh-t", b"another").expect("in place");
    let error = temporary.finish(0, 0o644, None).expect_err("another file");
    assert_eq!(error.reason, "another file replaced the temporary file");
    assert!(!host.join("other").exists());
}

#[test]
fn many_directories_take_few_descriptors() {
    let (directory, mut place) = place();
    let mut deep = Below::place();
    for level in 0..200 {
        deep = deep.join(format!("{:0>250}", level).as_bytes()).expect("name");
        assert!(place.make_directory(&deep).expect("made"), "deeper than PATH_MAX");
    }
    for number in 0..100 {
        place.make_directory(&below(&format!("{number}"))).expect("made");
        put(&mut place, &format!("{number}/file"), b"x").expect("in place");
    }
    assert!(place.open.len() <= OPEN_DIRECTORIES);
    assert_eq!(place.find(&deep).expect("found"), Some(Found::Directory));
    // Too deep for remove_dir_all of a path, which the directory's destructor uses.
    drop(place);
    let removed = Command::new("rm").arg("-rf").arg(directory.path().join("hosts")).status().expect("rm");
    assert!(removed.success());
}

#[test]
fn a_place_is_a_directory() {
    let (directory, _place) = place();
    let error = DownloadRoot::open(&directory.path().join("outside/secret")).expect_err("a file");
    assert_eq!(error.trouble, Trouble::Disk);
    assert!(matches!(HostError::from(error), HostError::Local { .. }));
    // The user's own path may contain links.
    symlink("outside", directory.path().join("link")).expect("link");
    let mut place = DownloadRoot::open(&directory.path().join("link/host")).expect("place");
    put(&mut place, "file", b"x").expect("in place");
    assert!(directory.path().join("outside/host/file").exists());
}

#[test]
fn the_umask_is_that_of_the_process() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("file");
    fs::File::create(&path).expect("file");
    assert_eq!(fs::metadata(path).expect("file").permissions().mode() & 0o777, 0o666 & !umask());
}

/// Runs in a process of its own, see below: with room for 64 KiB.
#[test]
#[ignore = "run by a_full_disk_is_told"]
fn on_a_full_disk() {
    let directory = std::env::var_os("PSSH_TEST_FULL").expect("run by a_full_disk_is_told");
    let directory = Path::new(&directory);
    let mut place = DownloadRoot::open(directory).expect("place");
    put(&mut place, "file", b"old").expect("room for it");
    let temporary = place.create(&below("file")).expect("temporary");
    let error = (0..64).find_map(|piece| temporary.write(piece * 4096, &[1; 4096]).err()).expect("full");
    assert_eq!((error.reason.as_str(), error.trouble), ("No space left on device", Trouble::Full));
    assert!(
        matches!(HostError::from(error), HostError::Local { detail, .. } if detail.ends_with("/file: No space left on device"))
    );
    drop(temporary);
    assert_eq!(tree(directory), [(directory.join("file"), format!("file {:?}", b"old"))]);
}

#[test]
fn a_full_disk_is_told() {
    let directory = tempfile::tempdir().expect("directory");
    let test = std::env::current_exe().expect("this test");
    let script = r#"mount -t tmpfs -o size=64k none "$1" && exec "$2" --ignored --exact --nocapture copy::download_root::tests::on_a_full_disk"#;
    let ran = Command::new("unshare")
        .args(if rustix::process::geteuid().is_root() { &["-m"][..] } else { &["-r", "-m"] })
        .args(["sh", "-c", script, "sh"])
        .args([directory.path(), &test])
        .env("PSSH_TEST_FULL", directory.path())
        .output()
        .expect("unshare(1)");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(vec![
        "",
        ".",
        "..",
        "/",
        "a/b",
        "../outside/secret",
        "/tmp",
        "link",
        "secret",
        "a",
        "b",
        "directory",
        "..\0",
        "a\0",
    ]);
    prop_oneof![odd.prop_map(|name| name.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any names from a host, and anything in its directory.
    #[test]
    fn nothing_outside_changes(paths in prop::collection::vec((prop::collection::vec(name(), 1..4), 0..4), 1..12)) {
        let (directory, mut place) = place();
        let host = directory.path().join("hosts/host");
        symlink("../../outside", host.join("link")).expect("link");
        symlink("../../outside/secret", host.join("secret")).expect("link");
        let outside = tree(&directory.path().join("outside"));
        for (names, what) in paths {
            let path = names.iter().try_fold(Below::place(), |path, name| path.join(name));
            let Ok(path) = path else { continue };
            match what {
                0 => drop(place.make_directory(&path)),
                1 => drop(place.create(&path).map(|file| file.write(0, b"x").and_then(|()| file.finish(1, 0o7777, None)))),
                2 => drop(place.resume(&path, "t").map(|file| file.write(0, b"x"))),
                _ => drop(place.finish_directory(&path, Some(0o700), Some((1, 1)))),
            }
        }
        prop_assert_eq!(tree(&directory.path().join("outside")), outside);
        let beside: Vec<_> = fs::read_dir(directory.path()).expect("directory").map(|entry| entry.expect("entry").file_name()).collect();
        prop_assert_eq!(beside.len(), 2);
    }
}
