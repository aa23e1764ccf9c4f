use std::io::Read;
use std::os::unix::fs::symlink;
use std::thread;

use super::*;

/// What happens to the sources a, b (files) and d (a directory that contains the file in) if the directory `dir` and
/// the file `file` exist.
#[test]
fn targets_are_those_of_scp() {
    let (one, two, tree, both) = (&["a"][..], &["a", "b"][..], &["d"][..], &["a", "d"][..]);
    for (sources, target, expected) in [
        (one, "", Ok(&["a"][..])),
        (one, ".", Ok(&["a"][..])),
        (one, "./", Ok(&["a"][..])),
        (one, "dir", Ok(&["dir/a"])),
        (one, "dir/", Ok(&["dir/a"])),
        (one, "dir//", Ok(&["dir/a"])),
        (one, "new", Ok(&["new"])),
        (one, "dir/new", Ok(&["dir/new"])),
        (one, "x/y/new", Ok(&["x/y/new"])),
        (one, "x//y/./new", Ok(&["x/y/new"])),
        (one, "new/", Ok(&["new/a"])),
        (one, "x/y/", Ok(&["x/y/a"])),
        (one, "file", Ok(&["file"])),
        (one, "file/", Err(("file: Not a directory", 0))),
        (one, "file/new", Err(("file: Not a directory", 0))),
        (two, "", Ok(&["a", "b"])),
        (two, "dir", Ok(&["dir/a", "dir/b"])),
        (two, "new", Ok(&["new/a", "new/b"])),
        (two, "x/y", Ok(&["x/y/a", "x/y/b"])),
        (two, "file", Err(("file: Not a directory", 1))),
        (tree, "", Ok(&["d/in"])),
        (tree, "dir", Ok(&["dir/d/in"])),
        (tree, "new", Ok(&["new/in"])),
        (tree, "new/", Ok(&["new/in"])),
        (tree, "x/new", Ok(&["x/new/in"])),
        (tree, "file", Err(("file: Not a directory", 1))),
        (both, "new", Ok(&["new/a", "new/d/in"])),
        (&["d/."], "", Ok(&["in"])),
        (&["d/."], "dir", Ok(&["dir/in"])),
        (&["d/."], "x/new", Ok(&["x/new/in"])),
        (&["d/.", "a"], "new", Ok(&["new/in", "new/a"])),
    ] {
        for is_absolute in [false, true] {
            let pair = Pair::new();
            for name in ["a", "b", "d/in"] {
                pair.write(name.as_bytes(), name);
            }
            fs::create_dir(pair.there.join("dir")).unwrap();
            fs::write(pair.there.join("file"), "old").unwrap();
            let before = walk(&pair.there).len();
            let case = format!("{sources:?} to {target:?}, {is_absolute}");
            let target = if is_absolute { format!("{}/{target}", pair.there.display()) } else { target.to_owned() };
            let outcome = pair.upload(sources, &target, recursive());
            match expected {
                Ok(paths) => {
                    assert!(matches!(outcome, Outcome::Exited(0)), "{case}: {outcome:?}");
                    for path in paths {
                        let content = ["d/in", "b"]
                            .into_iter()
                            .find(|content| path != &"new" && content.ends_with(&path[path.len() - 1..]));
                        assert_eq!(pair.read(path), content.unwrap_or("a").as_bytes(), "{case}");
                    }
                    let files = walk(&pair.there).into_iter().filter(|path| path.is_file());
                    let is_new = |path: &PathBuf| fs::read(path).unwrap() != b"old";
                    assert_eq!(files.filter(is_new).count(), paths.len(), "{case}");
                }
                Err((error, others)) => {
                    let (told, more) = failure(outcome);
                    assert!(told.ends_with(error) && more == others, "{case}: {told} {more}");
                    assert_eq!(pair.read("file"), b"old");
                    assert_eq!(walk(&pair.there).len(), before);
                }
            }
        }
    }
}

#[test]
fn tilde_is_the_home_directory() {
    let pair = Pair::new();
    pair.write(b"a", "a");
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    let up = "../".repeat(user.dir.components().count());
    let there = pair.there.strip_prefix("/").unwrap().display().to_string();
    // OpenSSH's server uses its start directory as the home.
    assert_ok(&pair.upload(&["a"], "~/x//one", plain()));
    assert_eq!(pair.read("x/one"), b"a");
    assert_ok(&pair.upload(&["a"], "~", plain()));
    assert_ok(&pair.upload(&["a"], &format!("~{}/{up}{there}/two", user.name), plain()));
    assert_eq!(pair.names(), ["a", "two", "x"]);
    fs::remove_file(pair.there.join("a")).unwrap();
    assert!(failure(pair.upload(&["a"], "~nobody-of-this-name/x", plain())).0.starts_with("~nobody-of-this-name/x: "));
    // Without the extension the server's own directory is the home.
    let upload = |target: &str| pair.server().without_extensions().talk(&mut pair.uploading(&["a"], target, plain()));
    assert_ok(&upload("~/three"));
    assert_ok(&upload("~"));
    assert_eq!(pair.names(), ["a", "three", "two", "x"]);
    let (told, _) = failure(upload("~root/x"));
    assert_eq!(told, "~root/x: the server does not report other users' home directories");
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_is_a_new_one() {
    let pair = Pair::new();
    let source = pair.write(b"f", "new");
    fs::set_permissions(&source, Permissions::from_mode(0o755)).unwrap();
    let target = pair.there.join("f");
    for (there, preserve, expected) in [(0o640, false, 0o640), (0o666, false, 0o666), (0o640, true, 0o755)] {
        fs::write(&target, "old, and longer than the new one").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(there)).unwrap();
        let link = pair.there.join("link");
        fs::hard_link(&target, &link).unwrap();
        assert_ok(&pair.upload(&["f"], "", Options { preserve, ..plain() }));
        assert_eq!((pair.read("f"), mode(&target)), (b"new".to_vec(), expected));
        // A process that has the old one open still has all of it.
        assert_eq!(pair.read("link"), b"old, and longer than the new one");
        fs::remove_file(link).unwrap();
    }
    assert_eq!(pair.names(), ["f"]);
}

#[test]
fn a_file_that_is_replaced_keeps_its_owner_where_that_may_be() {
    let pair = Pair::new();
    pair.write(b"f", "new");
    let target = pair.there.join("f");
    fs::write(&target, "old").unwrap();
    // Only root may give a file away; for other users the owner stays.
    let is_root = nix::unistd::getuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&target, Some(12_345), Some(54_321)).unwrap();
    }
    let before = fs::metadata(&target).unwrap();
    assert_ok(&pair.upload(&["f"], "", plain()));
    let after = fs::metadata(&target).unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino());
    assert_eq!(after.uid() == 12_345, is_root);
}

#[test]
fn links_are_written_through() {
    let pair = Pair::new();
    pair.write(b"f", "new");
    fs::create_dir(pair.there.join("d")).unwrap();
    fs::write(pair.there.join("d/real"), "old").unwrap();
    for (link, to, written) in [("link", "d/real", "d/real"), ("dangling", "d/fresh", "d/fresh")] {
        symlink(to, pair.there.join(link)).unwrap();
        for (options, target) in [(plain(), link), (Options { inplace: true, ..plain() }, link)] {
            assert_ok(&pair.upload(&["f"], target, options));
            assert_eq!(fs::read_link(pair.there.join(link)).unwrap(), Path::new(to));
            assert_eq!(pair.read(written), b"new");
            fs::write(pair.there.join(written), "old").unwrap();
        }
    }
    assert_eq!(names(&pair.there.join("d")), ["fresh", "real"]);
    // A link to a directory is one.
    symlink("d", pair.there.join("way")).unwrap();
    assert_ok(&pair.upload(&["f"], "way", plain()));
    assert_eq!(pair.read("d/f"), b"new");
}

#[test]
fn devices_and_fifos_are_written_to_and_stay() {
    let pair = Pair::new();
    pair.write(b"f", noise(100_000));
    for options in [plain(), Options { checksum: true, preserve: true, resume: true, ..plain() }] {
        symlink("/dev/null", pair.there.join("null")).unwrap();
        assert_ok(&pair.upload(&["f"], "null", options));
        assert!(fs::symlink_metadata(pair.there.join("null")).unwrap().is_symlink());
        assert_eq!(mode(Path::new("/dev/null")), 0o666);

        let fifo = pair.there.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || {
                let mut content = Vec::new();
                fs::File::open(fifo).unwrap().read_to_end(&mut content).unwrap();
                content
            }
        });
        assert_ok(&pair.upload(&["f"], "fifo", options));
        assert!(reader.join().unwrap() == noise(100_000), "the content differs");
        assert_eq!(pair.names(), ["fifo", "null"]);
        fs::remove_file(fifo).unwrap();
        fs::remove_file(pair.there.join("null")).unwrap();
    }
}

#[test]
fn what_is_in_the_way_is_told_and_the_rest_is_copied() {
    let pair = Pair::new();
    for name in ["t/a", "t/b", "t/c/one", "t/c/deep/two", "t/z"] {
        pair.write(name.as_bytes(), name);
    }
    fs::create_dir_all(pair.there.join("t/b/full")).unwrap();
    fs::write(pair.there.join("t/c"), "a file").unwrap();
    let (told, others) = failure(pair.upload(&["t"], "", recursive()));
    // t/c with three below it, and t/b.
    assert_eq!((told.as_str(), others), ("t/c: Not a directory", 4));
    assert_eq!(
        (pair.read("t/a"), pair.read("t/z"), pair.read("t/c")),
        (b"t/a".into(), b"t/z".into(), b"a file".into())
    );
    assert_eq!(names(&pair.there.join("t")), ["a", "b", "c", "z"]);
    fs::remove_file(pair.there.join("t/c")).unwrap();
    let (told, others) = failure(pair.upload(&["t"], "", recursive()));
    assert_eq!((told.as_str(), others), ("t/b: a directory exists where the file should go", 0));
}

#[test]
fn what_is_written_in_place_stays_the_same_file() {
    let pair = Pair::new();
    pair.write(b"f", "new");
    let target = pair.there.join("f");
    fs::write(&target, "old, and longer than the new one").unwrap();
    let before = fs::metadata(&target).unwrap().ino();
    for options in [plain(), Options { checksum: true, preserve: true, ..plain() }] {
        assert_ok(&pair.upload(&["f"], "", Options { inplace: true, ..options }));
        assert_eq!((pair.read("f"), fs::metadata(&target).unwrap().ino()), (b"new".to_vec(), before));
    }
    assert_ok(&pair.upload(&["f"], "fresh", Options { inplace: true, ..plain() }));
    assert_eq!(pair.read("fresh"), b"new");
}
