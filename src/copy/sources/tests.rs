#![expect(clippy::unwrap_used, reason = "a test that fails there says where")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;

use super::*;

fn find(directory: &Path, names: &[&str], recursive: bool) -> Result<Sources, SourcesError> {
    let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
    Sources::find(&paths, recursive, None)
}

fn paths(sources: &Sources) -> Vec<String> {
    sources.entries().iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn trees_are_found_with_parents_first_and_links_followed() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    fs::create_dir_all(top.join("t/b/c")).unwrap();
    fs::write(top.join("t/b/c/deep"), "12345").unwrap();
    fs::write(top.join("t/a"), "1").unwrap();
    fs::set_permissions(top.join("t/a"), Permissions::from_mode(0o4751)).unwrap();
    fs::write(top.join(OsStr::from_bytes(b"t/\xff\n")), "").unwrap();
    symlink("b", top.join("t/link")).unwrap();
    let sources = find(top, &["t"], true).unwrap();
    let expected = ["t", "t/a", "t/b", "t/b/c", "t/b/c/deep", "t/link", "t/link/c", "t/link/c/deep", "t/\u{fffd}\n"];
    assert_eq!(paths(&sources), expected);
    assert_eq!(sources.directories(), [0, 2, 5, 3, 6]);
    let parents: Vec<_> = (0..9).map(|entry| sources.parent(entry)).collect();
    assert_eq!(parents, [None, Some(0), Some(0), Some(2), Some(3), Some(0), Some(5), Some(6), Some(0)]);
    assert_eq!(sources.total(), 11);
    assert_eq!((sources.count(), sources.entries()[0].kind), (1, Kind::Directory));
    let a = &sources.entries()[1];
    assert_eq!((a.mode, a.kind, a.source), (0o751, Kind::File { size: 1 }, 0));
    assert!(a.modified > 1_600_000_000 && a.accessed > 1_600_000_000);
}

#[test]
fn sources_are_named_by_their_last_component() {
    for (path, name) in [
        ("a", "a"),
        ("x/a", "a"),
        ("/x/a///", "a"),
        ("-a", "-a"),
        (".", "."),
        ("..", "."),
        ("/", "."),
        ("x/.", "."),
        ("x/../", "."),
        ("...", "..."),
        (".a", ".a"),
    ] {
        assert_eq!(name_of(Path::new(path)), name, "{path}");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    fs::write(directory.path().join("d/f"), "").unwrap();
    assert_eq!(paths(&find(directory.path(), &["d/."], true).unwrap()), [".", "./f"]);
}

#[test]
fn what_the_user_names_must_be_there_and_of_the_rest_what_can_be_is_copied() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    fs::create_dir_all(top.join("loop/in")).unwrap();
    fs::write(top.join("loop/file"), "x").unwrap();
    symlink("..", top.join("loop/in/out")).unwrap();
    symlink("nowhere", top.join("loop/dangling")).unwrap();
    symlink("nowhere", top.join("named")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("loop/socket")).unwrap();
    let error = find(top, &["missing", "loop", "named", "fifo"], true).unwrap_err().to_string();
    let error = error.replace(&format!("{}/", top.display()), "");
    assert_eq!(error, "missing: No such file or directory\nnamed: No such file or directory");
    let missing: Vec<String> = (0..9).map(|number| format!("missing{number}")).collect();
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let error = find(top, &missing, false).unwrap_err().to_string();
    assert_eq!((error.lines().count(), error.lines().last()), (6, Some("and 4 more")));
    // Nothing is left.
    let error = find(top, &["loop"], false).unwrap_err().to_string();
    assert!(error.ends_with("loop: is a directory"), "{error}");
    let error = find(top, &["fifo"], false).unwrap_err().to_string();
    assert!(error.ends_with("fifo: not a regular file"), "{error}");

    let sources = find(top, &["loop", "fifo"], true).unwrap();
    assert_eq!(paths(&sources), ["loop", "loop/file", "loop/in"]);
    let told = |outcome| sources.with_skipped(outcome).to_string().replace(&format!("{}/", top.display()), "");
    assert_eq!(
        told(Outcome::Exited(0)),
        "copy: loop/dangling: No such file or directory; loop/in/out: a link makes this directory contain itself; \
         loop/socket: not a regular file; fifo: not a regular file"
    );
    let failed = HostError::Copy { path: "x".to_owned(), reason: "y".to_owned(), others: 1, hint: None };
    assert_eq!(told(failed.into()), "copy: x: y (and 5 others)");
    assert_eq!(told(Outcome::Exited(1)), "exit 1");
    let sources = find(top, &["loop/in", "loop/file"], false).unwrap();
    assert_eq!(paths(&sources), ["file"]);
}

#[test]
fn what_the_system_makes_has_the_size_that_it_is_read_with() {
    // stat(2) reports 0 bytes for one, and a page for the other.
    for path in ["/proc/version", "/sys/devices/system/cpu/online"] {
        let content = fs::read(path).unwrap();
        let sources = Sources::find(&[path.into()], false, None).unwrap();
        assert_eq!(
            (sources.entries()[0].kind, sources.total()),
            (Kind::File { size: content.len() as u64 }, content.len() as u64)
        );
        let mut read = Vec::new();
        sources.read(0, 0, content.len(), &mut read).unwrap();
        assert_eq!(read, content, "{path}");
        assert!(sources.checksum(0).is_ok());
    }
    assert!(fs::metadata("/proc/version").unwrap().len() == 0);
    // One that consists of holes has its reported size.
    let directory = tempfile::tempdir().unwrap();
    fs::File::create(directory.path().join("holes")).unwrap().set_len(4096).unwrap();
    let sources = find(directory.path(), &["holes"], false).unwrap();
    assert_eq!((sources.total(), sources.made.len()), (4096, 0));
}

#[test]
fn sources_must_not_overwrite_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    for name in ["a", "b"] {
        fs::create_dir(top.join(name)).unwrap();
        fs::write(top.join(name).join("f"), name).unwrap();
    }
    for (names, clashing) in [
        (["a/f", "b/f"], Some("b/f")),
        (["a/f", "a/f"], Some("a/f")),
        (["a/.", "b/f"], Some("b/f")),
        (["a/f", "b/."], Some("b/./f")),
        (["a", "b"], None),
        (["a", "b/f"], None),
    ] {
        match (find(top, &names, true), clashing) {
            (Ok(sources), None) => assert_eq!(sources.count(), 2),
            (Err(error), Some(clashing)) => {
                let expected = format!("{}: it would overwrite ", top.join(clashing).display());
                assert!(error.to_string().starts_with(&expected), "{error}");
                assert_eq!(error.problems.len(), 1);
            }
            (result, _) => panic!("{names:?}: {result:?}"),
        }
    }
}

#[test]
fn bytes_are_those_of_the_file_wherever_blocks_begin() {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3 * BLOCK + 1_234).map(|number| (number * 7 / 3) as u8).collect();
    fs::write(directory.path().join("f"), &content).unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    let sources = find(directory.path(), &["f", "empty"], false).unwrap();
    let read = |entry, offset: usize, length| {
        let mut out = b"before".to_vec();
        sources.read(entry, offset as u64, length, &mut out).map(|()| out.split_off(6))
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            let content = &content;
            scope.spawn(move || {
                for (offset, length) in [
                    (0, 32_768),
                    (BLOCK - 1, 2),
                    (BLOCK, BLOCK),
                    (7, 3 * BLOCK),
                    (3 * BLOCK, 1_234),
                    (content.len(), 0),
                ] {
                    assert_eq!(read(0, offset, length).unwrap(), content[offset..offset + length], "{thread} {offset}");
                }
            });
        }
    });
    assert_eq!(read(1, 0, 0), Ok(Vec::new()));
    assert!(read(1, 0, 1).is_err() && read(0, 3 * BLOCK, 1_235).is_err());
    assert!(sources.read(0, u64::MAX, 2, &mut Vec::new()).is_err());
    // Step by step, by several threads at once.
    thread::scope(|scope| {
        for end in [10, BLOCK, 2 * BLOCK + 7, 9 * BLOCK] {
            let sources = &sources;
            scope.spawn(move || sources.hash_some(0, end as u64));
        }
    });
    let hashed = lock(&sources.checksums[0]).hashed;
    assert!((10..=content.len() as u64).contains(&hashed), "{hashed}");
    for _ in 0..2 {
        assert_eq!(sources.checksum(0), Ok(openssl::sha::sha256(&content)));
        sources.hash_some(0, u64::MAX);
    }
    assert_eq!(sources.checksum(1), Ok(openssl::sha::sha256(b"")));
    assert_eq!(lock(&sources.files).len(), 1);
}

#[test]
fn a_file_that_was_changed_is_never_mixed() {
    let directory = tempfile::tempdir().unwrap();
    type Change = fn(&Path);
    let change: [(&str, Change); 4] = [
        ("grown", |path| fs::write(path, vec![1; 2 * BLOCK + 1]).unwrap()),
        ("shorter", |path| fs::write(path, "short").unwrap()),
        ("replaced", |path| {
            fs::write(path.with_extension("new"), vec![0; 2 * BLOCK]).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, change) in change {
        let path = directory.path().join(name);
        fs::write(&path, vec![0; 2 * BLOCK]).unwrap();
        for is_open in [true, false] {
            fs::write(&path, vec![0; 2 * BLOCK]).unwrap();
            let sources = find(directory.path(), &[name], false).unwrap();
            if is_open {
                sources.read(0, 0, 10, &mut Vec::new()).unwrap();
            }
            change(&path);
            let (mut out, offset) = (vec![7], BLOCK as u64);
            let result = sources.read(0, offset, 10, &mut out);
            // What was opened before it was replaced or removed is still the file that was found.
            if is_open && ["replaced", "removed"].contains(&name) {
                assert_eq!((result, out.len()), (Ok(()), 11), "{name}");
            } else {
                let error = if name == "removed" { "No such file or directory" } else { CHANGED };
                assert_eq!((result, out), (Err(error.to_owned()), vec![7]), "{name} {is_open}");
                assert_eq!(sources.checksum(0), Err(error.to_owned()));
            }
        }
    }
}

#[test]
fn few_files_are_open_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..3 * OPEN_FILES).map(|number| format!("f{number}")).collect();
    for name in &names {
        let file = File::create(directory.path().join(name)).unwrap();
        file.set_len(2 * BLOCK as u64).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sources = find(directory.path(), &names, false).unwrap();
    for entry in 0..names.len() {
        sources.read(entry, 0, 1, &mut Vec::new()).unwrap();
        assert!(lock(&sources.files).len() <= OPEN_FILES);
    }
}

#[test]
fn trees_without_an_end_are_refused() {
    // No link leads back, and yet there are 2^30 paths to the last directory.
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path();
    for level in 0..30 {
        fs::create_dir(top.join(level.to_string())).unwrap();
        for name in ["a", "b"] {
            symlink(format!("../{}", level + 1), top.join(level.to_string()).join(name)).unwrap();
        }
    }
    fs::create_dir(top.join("30")).unwrap();
    let error = find(top, &["0"], true).unwrap_err().to_string();
    assert!(error.contains(": with it there are more than 16384 files: do links lead back?"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    // Nested directories.
    let deep: PathBuf = std::iter::once("deep").chain(std::iter::repeat_n("d", 300)).collect();
    fs::create_dir_all(top.join(deep)).unwrap();
    let error = find(top, &["deep"], true).unwrap_err().to_string();
    assert!(error.ends_with("/d: more than 256 nested directories"), "{error}");
}
