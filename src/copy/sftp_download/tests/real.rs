use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;
use crate::events::event::HostStage;

const D: &str = "directory";

#[test]
fn one_file_under_its_own_name_or_another() {
    let sides = Sides::new();
    sides.write("etc/motd", "Welcome");
    assert_eq!(failure(sides.copy(&["etc/motd"], None, Options::default())), "Exited(0)");
    assert_eq!(sides.arrived(), files(&[("motd", "Welcome")]));
    sides.copy(&["etc/motd"], Some("new"), Options::default());
    sides.copy(&["etc/motd"], Some("a//b/./c"), Options::default());
    sides.copy(&["etc/motd"], Some("a/b"), Options::default());
    sides.copy(&["etc/motd"], Some("d/"), Options::default());
    sides.copy(&["etc/motd"], Some("new"), Options::default());
    let expected =
        [("a", D), ("a/b", D), ("a/b/c", "Welcome"), ("a/b/motd", "Welcome"), ("d", D), ("d/motd", "Welcome")];
    let expected = [&expected[..], &[("motd", "Welcome"), ("new", "Welcome")]].concat();
    assert_eq!(sides.arrived(), files(&expected));
    let error = failure(sides.copy(&["etc/motd"], Some("../x"), Options::default()));
    assert_eq!(error, "../x: an invalid file name");
    assert_eq!(sides.arrived(), files(&expected));
}

#[test]
fn trees_with_modes_and_times() {
    let sides = Sides::new();
    sides.write("tree/a", "1");
    sides.write("tree/sub/b", "22");
    sides.write("tree/sub/deep/c", "");
    for (path, mode) in [("tree/a", 0o4751), ("tree/sub/b", 0o400), ("tree/sub", 0o555), ("tree/sub/deep", 0o2707)] {
        fs::set_permissions(sides.remote(path), PermissionsExt::from_mode(mode)).expect("mode");
    }
    let time = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    for (path, modified) in [("tree/a", 1_000_000_000), ("tree/sub", 1_100_000_000), ("tree", 1_200_000_000)] {
        let times = fs::FileTimes::new().set_modified(time(modified)).set_accessed(time(modified + 1));
        fs::File::open(sides.remote(path)).expect("there").set_times(times).expect("times");
    }
    let expected = [("t", D), ("t/a", "1"), ("t/sub", D), ("t/sub/b", "22"), ("t/sub/deep", D), ("t/sub/deep/c", "")];
    assert_eq!(failure(sides.copy(&["tree"], Some("t"), preserving())), "Exited(0)");
    assert_eq!(sides.arrived(), files(&expected));
    let of = |path| fs::metadata(sides.local(path)).expect("there");
    for (path, mode, modified) in [
        ("t/a", 0o751, Some(1_000_000_000)),
        ("t/sub/b", 0o400, None),
        ("t/sub", 0o555, Some(1_100_000_000)),
        ("t/sub/deep", 0o707, None),
        ("t", 0o755 & of("t").mode(), Some(1_200_000_000)),
    ] {
        assert_eq!(of(path).mode() & 0o7777, mode, "{path}");
        assert!(modified.is_none_or(|modified| of(path).mtime() == modified), "{path}");
    }
    // Into the directory that exists now, with the umask.
    assert_eq!(failure(sides.copy(&["tree/"], Some("t"), recursive())), "Exited(0)");
    assert_eq!(of("t/tree/a").mode() & 0o7777, local_mode(0o751, false));
    assert_eq!(of("t/tree/sub").mode() & 0o7777, local_mode(0o555, false));
    assert!(of("t/tree/a").mtime() > 1_500_000_000);
    // Once more: the existing files are replaced.
    sides.write("tree/a", "new");
    assert_eq!(failure(sides.copy(&["tree"], None, recursive())), "Exited(0)");
    assert_eq!(failure(sides.copy(&["tree"], None, recursive())), "Exited(0)");
    assert_eq!(fs::read(sides.local("tree/a")).expect("file"), b"new");
}

#[test]
fn directories_that_have_no_name() {
    for remote in [".", "sub/..", "~", ""] {
        let sides = Sides::new();
        sides.write("a", "1");
        sides.write("sub/b", "2");
        assert_eq!(failure(sides.copy(&[remote], None, recursive())), "Exited(0)", "{remote}");
        assert_eq!(sides.arrived(), files(&[("a", "1"), ("sub", D), ("sub/b", "2")]), "{remote}");
        // With a slash, its contents go into the directory, too.
        assert_eq!(failure(sides.copy(&["sub/."], Some("new"), recursive())), "Exited(0)");
        assert_eq!(fs::read(sides.local("new/b")).expect("file"), b"2");
    }
    let sides = Sides::new();
    let error = failure(sides.copy(&["/"], None, Options::default()));
    assert_eq!(error, "/: it is a directory");
}

#[test]
fn homes_are_found_by_the_server() {
    let sides = Sides::new();
    sides.write("x", "1");
    // OpenSSH's server uses its start directory as the home.
    assert_eq!(failure(sides.copy(&["~/x"], None, Options::default())), "Exited(0)");
    assert_eq!(sides.arrived(), files(&[("x", "1")]));
    let error = failure(sides.copy(&["~/?issing"], None, Options::default()));
    assert_eq!(error, "~/?issing: No such file or directory");
    let error = failure(sides.copy(&["~/missing"], None, Options::default()));
    assert_eq!(error, format!("{}: No such file or directory", sides.remote("missing").display()));
    let mut downloading = sides.downloading(&["~root", "~pssh-nobody/x"], None, Options::default());
    run(&mut downloading, &mut Server::start(&sides.remote("")));
    let Outcome::Failed(error) = downloading.conclude(Outcome::Exited(0)) else { panic!("no files are there") };
    // The home of a missing user is found out first.
    let HostError::Copy { path, reason, others, .. } = *error else { panic!("{error:?}") };
    assert_eq!((path.as_str(), others), ("~pssh-nobody/x", 1), "{reason}");

    // A server without the extension.
    let mut finding = Finding::new(&[b"~".to_vec(), b"~/a".to_vec(), b"~root/a".to_vec()], false);
    assert!(finding.ask().is_none() && finding.is_over());
    let (sources, missing) = finding.into_found();
    assert_eq!(sources[0], Source { path: b".".to_vec(), name: None });
    assert_eq!(sources[1], Source { path: b"a".to_vec(), name: Some(b"a".to_vec()) });
    assert_eq!(missing[0].path, b"~root/a");
}

#[test]
fn odd_names_are_names() {
    let sides = Sides::new();
    let names: [&[u8]; 10] =
        [b" ", b"a b", b"-r", b"\n", b"a\nb", b"\xff\xfe", b"\xc3\xa4", b"*", b"\\", b"%s$(x)`y`';"];
    for name in names {
        let path = sides.remote("odd").join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(&path).expect("directory");
        fs::write(path.join(std::ffi::OsStr::from_bytes(name)), name).expect("file");
    }
    fs::write(sides.remote("odd").join("x".repeat(255)), "long").expect("file");
    assert_eq!(failure(sides.copy(&["odd"], None, recursive())), "Exited(0)");
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        assert_eq!(fs::read(sides.local("odd").join(name).join(name)).expect("file"), name.as_bytes());
    }
    assert_eq!(tree(&sides.local("odd")), tree(&sides.remote("odd")));
    // As sources, some of which look like patterns.
    for name in ["*", "\\", "-r", "a b", "%s$(x)`y`';"] {
        let sides = Sides::new();
        sides.write(name, "1");
        sides.write("b", "2");
        assert_eq!(failure(sides.copy(&[name], None, Options::default())), "Exited(0)");
        assert_eq!(sides.arrived().len(), 1, "{name} is taken as it is");
    }
}

#[test]
fn wildcards_find_what_bash_finds() {
    let sides = Sides::new();
    for path in
        ["a/x.log", "a/y.log", "a/z.txt", "b/x.log", "b/.hidden.log", "c.log", "d e/f g.log", "[x]/x.log", "ä/x.log"]
    {
        sides.write(path, path);
    }
    symlink("a", sides.remote("link")).expect("link");
    for pattern in [
        "*.log",
        "*/*.log",
        "a/*",
        "?/x.log",
        "[ab]/*.log",
        "[!ab]*/*.log",
        "*/x.log",
        "*/",
        "a/./*.log",
        "*/../c.log",
        "d*/f*",
        r"d\ e/*",
        "*/.*.log",
        r"\[x\]/*.log",
        "[x]/*.log",
        "nothing*",
        "*/nothing",
        "*/*/*",
        "//*.nothing",
        "./*/[x-y].log",
        "a*/",
        "a//*.log",
    ] {
        let script = format!("shopt -s nullglob; printf '%s\\0' {pattern}");
        let found = Command::new("bash")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(sides.remote(""))
            .args(["-c", &script])
            .output()
            .expect("bash");
        let mut theirs: Vec<Vec<u8>> =
            found.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        theirs.sort();
        let mut downloading = sides.downloading(&[pattern], None, Options::default());
        let mut server = Server::start(&sides.remote(""));
        run_until(
            &mut downloading,
            &mut server,
            |downloading| matches!(&downloading.stage, Stage::Finding(finding) if finding.is_over()),
        );
        let mut found = Vec::new();
        // A file that matches twice is copied once.
        if let Stage::Finding(finding) = std::mem::replace(&mut downloading.stage, Stage::Stopped) {
            found = finding.into_found().0;
        }
        let ours: Vec<Vec<u8>> = found.into_iter().map(|source| source.path).collect();
        assert_eq!(ours, theirs, "{pattern}");
    }
    let error = failure(sides.copy(&["no*thing"], None, Options::default()));
    assert_eq!(error, "no*thing: No such file or directory");
    assert!(sides.arrived().is_empty());
}

#[test]
fn several_sources_go_into_a_directory_and_never_over_one_another() {
    let sides = Sides::new();
    for (path, text) in [("a/x", "ax"), ("b/x", "bx"), ("b/y", "by"), ("c", "c")] {
        sides.write(path, text);
    }
    let error = failure(sides.copy(&["a/x", "b/x", "c"], Some("t"), Options::default()));
    assert_eq!(error, "b/x: something with the same name was already copied");
    assert_eq!(sides.arrived(), files(&[("t", D), ("t/c", "c"), ("t/x", "ax")]));

    let sides2 = Sides::new();
    sides2.write("1.log", "1");
    sides2.write("2.log", "2");
    assert_eq!(failure(sides2.copy(&["*.log"], Some("t"), Options::default())), "Exited(0)");
    assert_eq!(sides2.arrived(), files(&[("t", D), ("t/1.log", "1"), ("t/2.log", "2")]));
    // A single match is a single file.
    assert_eq!(failure(sides2.copy(&["1*"], Some("new"), Options::default())), "Exited(0)");
    assert_eq!(fs::read(sides2.local("new")).expect("file"), b"1");

    // The contents of a directory without a name meet one with a name.
    let error = failure(sides.copy(&["c", "."], None, recursive()));
    assert_eq!(error, "./c: refused: something with the same name was already copied");
    assert_eq!(fs::read(sides.local("a/x")).expect("file"), b"ax");
}

#[test]
fn what_cannot_be_copied_does_not_stop_the_rest() {
    let sides = Sides::new();
    sides.write("tree/readable", "1");
    sides.write("tree/unreadable", "2");
    sides.write("tree/closed/x", "3");
    symlink("nowhere", sides.remote("tree/dangling")).expect("link");
    let fifo = sides.remote("tree/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("fifo");
    for path in ["tree/unreadable", "tree/closed"] {
        fs::set_permissions(sides.remote(path), PermissionsExt::from_mode(0o000)).expect("mode");
    }
    let mut downloading = sides.downloading(&["missing", "tree"], None, recursive());
    let mut server = Server::start_unprivileged(&sides.remote(""));
    run(&mut downloading, &mut server);
    let error = failure(downloading.conclude(Outcome::Exited(0)));
    assert_eq!(error, "missing: No such file or directory (and 4 others)");
    assert_eq!(sides.arrived(), files(&[("tree", D), ("tree/readable", "1")]));
    for (path, reason) in [
        ("tree/unreadable", "Permission denied"),
        ("tree/closed", "Permission denied"),
        ("tree/dangling", "No such file or directory"),
        ("tree/fifo", "not a regular file"),
        ("tree", "it is a directory"),
        ("tree/closed/*", "Permission denied"),
    ] {
        let options = if path == "tree" { Options::default() } else { recursive() };
        let mut downloading = sides.downloading(&[path], None, options);
        run(&mut downloading, &mut Server::start_unprivileged(&sides.remote("")));
        assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), format!("{path}: {reason}"));
    }
    fs::set_permissions(sides.remote("tree/closed"), PermissionsExt::from_mode(0o700)).expect("mode");
}

#[test]
fn links_are_followed_but_not_in_circles() {
    let sides = Sides::new();
    sides.write("tree/sub/a", "1");
    sides.write("outside/b", "2");
    for (to, link) in [
        ("sub/a", "tree/file"),
        ("../outside", "tree/directory"),
        (".", "tree/self"),
        ("../..", "tree/sub/above"),
        ("../sub", "tree/sub/again"),
        ("loop", "tree/loop"),
    ] {
        symlink(to, sides.remote(link)).expect("link");
    }
    symlink("tree", sides.remote("link")).expect("link");
    let mut downloading = sides.downloading(&["link"], None, recursive());
    run(&mut downloading, &mut Server::start(&sides.remote("")));
    let Outcome::Failed(error) = downloading.conclude(Outcome::Exited(0)) else { panic!("there are circles") };
    let HostError::Copy { reason, .. } = *error else { panic!("{error:?}") };
    assert!(reason == "it is one of its own parent directories" || reason == "No such file or directory", "{reason}");
    for (path, text) in [("file", "1"), ("sub/a", "1"), ("directory/b", "2"), ("sub/above/outside/b", "2")] {
        assert_eq!(fs::read(sides.local("link").join(path)).expect(path), text.as_bytes());
    }
    assert!(!sides.local("link/self").exists() && !sides.local("link/sub/again").exists());
    // `above` is not a parent, as only `tree` is copied; but it contains `tree` again.
    assert!(sides.local("link/sub/above").exists() && !sides.local("link/sub/above/tree").exists());
    assert!(tree(&sides.local("")).len() < 20);
}

#[test]
fn files_of_proc_are_read_to_their_end() {
    let sides = Sides::new();
    let mut downloading = sides.downloading(&["/proc/cpuinfo", "/proc/self/status"], None, Options::default());
    run(&mut downloading, &mut Server::start(&sides.remote("")));
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
    assert!(fs::read_to_string(sides.local("cpuinfo")).expect("file").contains("processor"));
    assert!(fs::read_to_string(sides.local("status")).expect("file").contains("sftp-server"));
    assert_eq!(downloading.progress.done, downloading.progress.total);
    // Compared with what it contains when it is read again.
    let options = Options { checksum: true, ..Options::default() };
    assert_eq!(failure(sides.copy(&["/proc/version", "/proc/[f]ilesystems"], None, options)), "Exited(0)");
    assert_eq!(fs::read(sides.local("version")).expect("file"), fs::read("/proc/version").expect("file"));
    let error = failure(sides.copy(&["/proc/self/io"], None, options));
    assert_eq!(error, format!("/proc/self/io: {}", transfer::DIFFERENT));
}

/// Bytes that are different in every block of a file.
pub(super) fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(size / 8 + 1).flatten().collect();
    bytes.truncate(size);
    bytes
}

#[test]
fn large_files_are_bound_by_bandwidth() {
    let sides = Sides::new();
    let bytes = noise(16 << 20);
    sides.write("large", &bytes);
    for (options, most) in [(Options::default(), 9), (Options { checksum: true, ..Options::default() }, 14)] {
        let mut downloading = sides.downloading(&["large"], None, options);
        let batches = run(&mut downloading, &mut Server::start(&sides.remote("")));
        assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
        assert!(fs::read(sides.local("large")).expect("file") == bytes);
        assert!(batches <= most, "{batches} ways there and back with {options:?}");
        assert_eq!(downloading.progress, Progress { done: 16 << 20, total: 16 << 20 });
    }
}

#[test]
fn a_file_of_64_mebibytes() {
    let sides = Sides::new();
    let bytes = noise((64 << 20) + 12_345);
    sides.write("large", &bytes);
    assert_eq!(failure(sides.copy(&["large"], None, Options::default())), "Exited(0)");
    assert!(fs::read(sides.local("large")).expect("file") == bytes);
}

#[test]
fn a_thousand_small_files_are_few_ways_there_and_back() {
    let sides = Sides::new();
    for number in 0..1_000 {
        sides.write(&format!("small/{number}"), format!("file {number}"));
    }
    let mut downloading = sides.downloading(&["small"], None, recursive());
    let batches = run(&mut downloading, &mut Server::start(&sides.remote("")));
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
    assert_eq!(tree(&sides.local("small")), tree(&sides.remote("small")));
    // Two per 64 files, and some for the start.
    assert!(batches <= 44, "{batches} ways there and back");
}

#[test]
fn trees_of_thousands_of_files_and_hundreds_of_directories() {
    let sides = Sides::new();
    for number in 0..5_000 {
        let (a, b) = (number / 500, number / 10 % 50);
        sides.write(&format!("tree/{a}/{b}/{number}"), format!("file {number}"));
    }
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let batches = run(&mut downloading, &mut Server::start(&sides.remote("")));
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
    assert_eq!(tree(&sides.local("tree")), tree(&sides.remote("tree")));
    assert!(batches <= 230, "{batches} ways there and back");
    // Seven levels.
    let sides = Sides::new();
    let (mut paths, mut count) = (vec!["deep".to_owned()], 0);
    while let Some(path) = paths.pop() {
        sides.write(&format!("{path}/file"), "");
        count += 1;
        if path.len() < 16 {
            paths.extend(["a", "b", "c"].map(|name| format!("{path}/{name}")));
        }
    }
    let mut downloading = sides.downloading(&["deep"], None, recursive());
    let batches = run(&mut downloading, &mut Server::start(&sides.remote("")));
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
    assert_eq!(tree(&sides.local("deep")), tree(&sides.remote("deep")));
    assert!(batches <= 200, "{batches} ways there and back for {count} directories");
    // All in one directory.
    let sides = Sides::new();
    for number in 0..5_000 {
        sides.write(&format!("flat/{number}"), "");
    }
    assert_eq!(failure(sides.copy(&["flat"], None, preserving())), "Exited(0)");
    assert_eq!(tree(&sides.local("flat")).len(), 5_000);
}

#[test]
fn files_of_every_size() {
    for options in [
        recursive(),
        Options { checksum: true, ..recursive() },
        Options { resume: true, checksum: true, ..recursive() },
    ] {
        let sides = Sides::new();
        let mut sizes = vec![0, 1, 2];
        for around in [32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20] {
            sizes.extend([around - 1, around, around + 1]);
        }
        for size in &sizes {
            sides.write(&format!("sizes/{size}"), noise(*size));
        }
        assert_eq!(failure(sides.copy(&["sizes"], None, options)), "Exited(0)");
        for size in sizes {
            assert!(fs::read(sides.local(&format!("sizes/{size}"))).expect("file") == noise(size), "{size}");
        }
        assert_eq!(tree(&sides.local("sizes")).len(), 21, "no temporary file is left");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    // It grows: the copy ends at the old size. It shrinks: that is reported.
    for (shrinks, expected) in [(false, "Exited(0)".to_owned()), (true, "log: it shrank while it was read".to_owned())]
    {
        let sides = Sides::new();
        let bytes = noise(5 << 20);
        sides.write("log", &bytes);
        let mut downloading = sides.downloading(&["log"], None, Options::default());
        let mut server = Server::start(&sides.remote(""));
        run_until(&mut downloading, &mut server, |downloading| downloading.progress.done > 1 << 20);
        let file = fs::OpenOptions::new().append(true).open(sides.remote("log")).expect("file");
        if shrinks {
            file.set_len(100).expect("shorter");
        } else {
            (&file).write_all(b"more").expect("longer");
        }
        run(&mut downloading, &mut server);
        assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), expected);
        if shrinks {
            assert!(sides.arrived().is_empty());
        } else {
            assert!(fs::read(sides.local("log")).expect("file") == bytes);
        }
    }
}

#[test]
fn a_file_that_was_cut_goes_on_where_it_was() {
    let sides = Sides::new();
    let bytes = noise(8 << 20);
    sides.write("large", &bytes);
    let options = Options { resume: true, ..Options::default() };
    let cut = |most: u64| {
        let mut downloading = sides.downloading(&["large"], None, options);
        let mut server = Server::start(&sides.remote(""));
        run_until(&mut downloading, &mut server, |downloading| downloading.progress.done > most);
        assert!(!matches!(downloading.conclude(crate::copy::sftp::testing::lost()), Outcome::Exited(_)));
    };
    cut(3 << 20);
    let left = sides.arrived();
    assert!(left.len() == 1 && left[0].0.starts_with(".large.pssh-"), "it is left there");
    cut(6 << 20);
    let mut downloading = sides.downloading(&["large"], None, options);
    let mut server = Server::start(&sides.remote(""));
    run(&mut downloading, &mut server);
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
    assert_eq!(downloading.progress, Progress { done: 8 << 20, total: 8 << 20 });
    assert!(server.heard < (2 << 20) + 100_000, "{} bytes", server.heard);
    assert!(fs::read(sides.local("large")).expect("file") == bytes && sides.arrived().len() == 1);

    // Another version of the file does not continue it.
    cut(3 << 20);
    sides.write("large", vec![0; 8 << 20]);
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::open(sides.remote("large")).expect("file").set_times(times).expect("times");
    assert_eq!(failure(sides.copy(&["large"], None, options)), "Exited(0)");
    assert!(fs::read(sides.local("large")).expect("file").iter().all(|byte| *byte == 0));
}

#[test]
fn a_checksum_finds_what_is_different() {
    let sides = Sides::new();
    sides.write("file", noise(3 << 20));
    let mut downloading = sides.downloading(&["file"], None, Options { checksum: true, ..Options::default() });
    let mut server = Server::start(&sides.remote(""));
    run_until(&mut downloading, &mut server, |downloading| downloading.progress.done == 3 << 20);
    // One byte of the local file was changed.
    let temporary = sides.arrived().pop().expect("temporary").0;
    let file = fs::OpenOptions::new().write(true).open(sides.local(&temporary)).expect("temporary");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0], 1_234_567).expect("written");
    run(&mut downloading, &mut server);
    let error = failure(downloading.conclude(Outcome::Exited(0)));
    assert_eq!(error, format!("file: {}", transfer::DIFFERENT));
    assert!(sides.arrived().is_empty());
}

#[test]
fn nothing_is_written_through_a_link_that_was_there_before() {
    let sides = Sides::new();
    sides.write("tree/sub/file", "new");
    sides.write("tree/secret", "new");
    let outside = sides.directory.path().join("outside");
    fs::create_dir(&outside).expect("directory");
    fs::write(outside.join("secret"), "untouched").expect("file");
    fs::create_dir_all(sides.local("tree")).expect("directory");
    symlink(&outside, sides.local("tree/sub")).expect("link");
    symlink(outside.join("secret"), sides.local("tree/secret")).expect("link");
    symlink(&outside, sides.local("target")).expect("link");
    let error = failure(sides.copy(&["tree"], None, recursive()));
    assert_eq!(error, format!("{}: a symbolic link exists there", sides.local("tree/sub").display()));
    assert_eq!(fs::read(sides.local("tree/secret")).expect("file"), b"new");
    let error = failure(sides.copy(&["tree"], Some("target/x"), recursive()));
    assert_eq!(error, format!("{}: a symbolic link exists there", sides.local("target").display()));
    assert_eq!(tree(&outside), files(&[("secret", "untouched")]));
}

/// Runs in a process of its own, see below: with room for a megabyte.
#[test]
#[ignore = "run by a_full_disk_ends_the_copy"]
fn on_a_full_disk() {
    let sides = Sides::new();
    sides.write("tree/small", "small");
    sides.write("tree/zlarge", noise(3 << 20));
    for number in 0..100 {
        sides.write(&format!("tree/{number}"), noise(100_000));
    }
    fs::create_dir_all(sides.local("")).expect("directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(sides.local("")).status();
    assert!(mounted.expect("mount(8)").success());
    let outcome = sides.copy(&["tree"], None, recursive());
    let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    let HostError::Local { detail, .. } = *error else { panic!("{error:?}") };
    assert!(detail.contains("No space left on device"), "{detail}");
    let arrived = sides.arrived();
    assert!(arrived.iter().all(|(path, _)| !path.contains(".pssh-")), "{arrived:?}");
    for (path, _) in arrived.iter().filter(|(_, what)| what != D) {
        assert!(fs::read(sides.local(path)).expect("file") == fs::read(sides.remote(path)).expect("file"), "{path}");
    }
    assert!(arrived.len() < 40, "the rest was not tried");
}

#[test]
fn a_full_disk_ends_the_copy() {
    let ran = Command::new("unshare")
        .args(if rustix::process::geteuid().is_root() { &["-m"][..] } else { &["-r", "-m"] })
        .arg(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "--nocapture", "copy::sftp_download::tests::real::on_a_full_disk"])
        .output()
        .expect("unshare(1)");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn being_stopped_leaves_nothing_behind() {
    let sides = Sides::new();
    sides.write("tree/large", noise(8 << 20));
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let mut server = Server::start(&sides.remote(""));
    run_until(&mut downloading, &mut server, |downloading| downloading.progress.done > 2 << 20);
    assert_eq!(sides.arrived().len(), 2, "a temporary file");
    downloading.abort();
    assert_eq!(said(&mut downloading), (Vec::new(), Say::Over));
    let cancelled = Outcome::Cancelled { stage: HostStage::Running, why: None };
    assert!(matches!(downloading.conclude(cancelled), Outcome::Cancelled { .. }));
    assert_eq!(sides.arrived(), files(&[("tree", D)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// The connection ends anywhere: the file is the old or the new one, and no temporary file remains except one for
    /// resuming; then another attempt completes it.
    #[test]
    fn cut_anywhere(after in 0..1_000_000_usize, resume: bool, checksum: bool) {
        let sides = Sides::new();
        let new = noise(900_000);
        sides.write("tree/file", &new);
        sides.write("tree/small", "new");
        fs::create_dir_all(sides.local("tree")).expect("directory");
        fs::write(sides.local("tree/file"), "old").expect("file");
        fs::write(sides.local("tree/small"), "old").expect("file");
        let options = Options { resume, checksum, ..recursive() };
        let mut downloading = sides.downloading(&["tree"], None, options);
        let mut server = Server::start(&sides.remote(""));
        let mut left = after;
        loop {
            let (bytes, last) = said(&mut downloading);
            if last == Say::Over || left == 0 {
                break;
            }
            server.input.as_mut().expect("input").write_all(&bytes).expect("sftp-server reads");
            for _ in 0..count(&bytes) {
                let packet = server.packets.recv_timeout(PATIENCE).expect("a reply");
                let part = packet.len().min(left);
                downloading.hear(&packet[..part]);
                left -= part;
            }
        }
        let done = matches!(downloading.stage, Stage::Over);
        let outcome = failure(downloading.conclude(Outcome::Exited(255)));
        prop_assert_eq!(outcome == "Exited(0)", done, "{}", outcome);
        drop(downloading);
        let mut partial = 0;
        for (path, _) in sides.arrived() {
            let bytes = fs::read(sides.local(&path)).unwrap_or_default();
            match path.as_str() {
                "tree" => {}
                "tree/file" => prop_assert!(bytes == new || bytes == b"old"),
                "tree/small" => prop_assert!(bytes == b"new" || bytes == b"old"),
                other => {
                    prop_assert!(resume && new.starts_with(&bytes) || checksum && bytes == b"new", "{}", other);
                    partial += bytes.len() as u64;
                }
            }
        }
        let mut downloading = sides.downloading(&["tree"], None, options);
        run(&mut downloading, &mut Server::start(&sides.remote("")));
        prop_assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
        prop_assert_eq!(downloading.progress, Progress { done: 900_003, total: 900_003 });
        prop_assert!(fs::read(sides.local("tree/file")).expect("file") == new);
        prop_assert_eq!(sides.arrived().len(), 3, "{} bytes were there", partial);
    }
}
