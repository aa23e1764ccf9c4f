//! pscp over real sessions: what arrives, what is in place when something goes wrong, and servers without SFTP.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::unistd::getuid;
use pssh::internal::Program;
use rustix::process::Signal;

use crate::bin::{Env, Pssh};
use crate::sshd::{Setup, Sshd, hosts};

/// An sshd whose subsystem cannot be started: there is scp alone.
pub(crate) const NO_SFTP: &str = "Subsystem sftp /no/such/sftp-server";
/// An sshd that has no subsystem.
const REFUSED_SFTP: &str = "# there is no Subsystem here";

pub(crate) fn pscp(env: &Env, sshd: &Sshd) -> Pssh {
    env.run_of(Program::Pscp).hosts(sshd.hosts())
}

/// All that is below a directory: each path with its kind, mode and contents.
pub(crate) fn contents(root: &Path) -> Vec<(OsString, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("its kind");
            let bytes = if meta.is_file() { fs::read(&path).expect("its contents") } else { Vec::new() };
            found.push((path.strip_prefix(root).expect("below it").as_os_str().to_owned(), meta.mode(), bytes));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Names that something along the way might stumble over.
pub(crate) fn odd_names() -> Vec<OsString> {
    let names: [&[u8]; 12] = [
        b"a b",
        b"-rf",
        b"--",
        b"line\nbreak",
        b"'quote\"s`",
        b"$HOME $(id)",
        b"back\\slash",
        b"*?[x]",
        b"caf\xe9\xff",
        b"~root",
        "naïve é".as_bytes(),
        b"\x1b[31mred",
    ];
    names.iter().map(|name| OsString::from_vec(name.to_vec())).collect()
}

/// A tree with files of odd names, of no length, of exactly a packet, in directories of their own.
pub(crate) fn odd_tree(root: &Path) {
    for (place, name) in odd_names().into_iter().enumerate() {
        let directory = root.join(&name);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join(&name), vec![place as u8; [0, 1, 32_768, 100_000][place % 4]]).expect("a file");
    }
    fs::create_dir_all(root.join("empty/deeper")).expect("a directory");
    fs::write(root.join("program"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(root.join("program"), fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// A relay to `target` that closes both ends after so many bytes from the client. Gives its port.
pub(crate) fn cut_after(target: &str, bytes: u64) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let target = target.to_owned();
    thread::spawn(move || {
        let Ok((client, _)) = listener.accept() else { return };
        let server = TcpStream::connect(target).expect("the server");
        let (mut back, mut answers) = (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
        thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let (mut to, mut buffer) = (&server, vec![0; 32 << 10]);
        let mut from = (&client).take(bytes);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // What has come through is given the time to arrive.
        thread::sleep(std::time::Duration::from_millis(500));
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
    port
}

/// The names in a directory, without what a copy that was cut may have left beside.
fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<OsString> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    names.retain(|name| !name.as_bytes().windows(6).any(|part| part == b".pssh-"));
    names.sort();
    names
}

/// What is left of interrupted copies.
pub(crate) fn temporaries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count() - names(directory).len()
}

#[test]
fn a_file_goes_to_all_hosts_by_the_rules_of_scp() {
    let (env, sshd) = hosts(3);
    let file = env.file("motd", "welcome\n");
    let there = env.path("there");
    let run = pscp(&env, &sshd).arg(&file).arg(&there).run();
    run.exits(0).stderr_has("pscp: 3 hosts: 3 ok\n");
    run.check(run.stdout_text().lines().all(|line| line.contains(" [SUCCESS] 127.0.1.")), "pssh's lines");
    assert_eq!(fs::read(&there).expect("the file"), b"welcome\n");
    // Into a directory, under its own name; two need one, which is made with all above it.
    fs::create_dir(env.path("dir")).expect("a directory");
    pscp(&env, &sshd).arg(&file).arg(env.path("dir")).run().exits(0);
    assert_eq!(names(&env.path("dir")), ["motd"]);
    pscp(&env, &sshd).arg(&file).arg(&there).arg(env.path("new/deep/er")).run().exits(0);
    assert_eq!(names(&env.path("new/deep/er")), ["motd", "there"]);
    assert_eq!(temporaries(&env.path("new/deep/er")), 0);
}

#[test]
fn trees_with_odd_names_arrive_as_they_are_over_both_protocols() {
    for config in ["", NO_SFTP, REFUSED_SFTP] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
        let tree = env.path("tree");
        odd_tree(&tree);
        if !config.is_empty() {
            // The old protocol ends a name at the line.
            fs::remove_dir_all(tree.join("line\nbreak")).expect("a directory");
        }
        let run = pscp(&env, &sshd).args(["-v", "-r"]).arg(&tree).arg(env.path("copy")).run();
        run.exits(0).check(run.stderr_text().contains("trying scp") != config.is_empty(), "by which protocol");
        assert_eq!(contents(&env.path("copy")), contents(&tree));
        // Into what is there already.
        pscp(&env, &sshd).arg("-r").arg(&tree).arg(env.path("copy")).run().exits(0);
        assert_eq!(contents(&env.path("copy/tree")), contents(&tree));
    }
}

#[test]
fn five_thousand_small_files() {
    let (env, sshd) = hosts(1);
    let tree = env.path("tree");
    for directory in 0..50 {
        let directory = tree.join(format!("d{directory}"));
        fs::create_dir_all(&directory).expect("a directory");
        (0..100).for_each(|file| fs::write(directory.join(format!("f{file}")), format!("{file}")).expect("a file"));
    }
    pscp(&env, &sshd).arg("-r").arg(&tree).arg(env.path("copy")).run().exits(0);
    assert!(contents(&env.path("copy")) == contents(&tree));
}

#[test]
fn a_file_of_a_gigabyte() {
    const SIZE: u64 = 1 << 30;
    let (env, sshd) = hosts(1);
    let file = env.path("big");
    // With holes, so that it need not be written here; something at both ends and in the middle.
    let big = fs::File::create(&file).expect("a file");
    big.set_len(SIZE).expect("a length");
    for place in [0, SIZE / 2 + 1, SIZE - 8] {
        std::os::unix::fs::FileExt::write_at(&big, b"12345678", place.min(SIZE - 8)).expect("a write");
    }
    let run = pscp(&env, &sshd).arg(&file).arg(env.path("copy")).limit(180).run();
    run.exits(0).check(run.peak_kib < 100 << 10, "its blocks are not kept");
    let same = Command::new("cmp").arg(&file).arg(env.path("copy")).status().expect("cmp");
    assert!(same.success());
}

#[test]
fn modes_and_times() {
    let (env, sshd) = hosts(1);
    let file = env.file("script", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).expect("a mode");
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&file).and_then(|file| file.set_modified(past)).expect("a time");
    pscp(&env, &sshd).arg("--preserve").arg(&file).arg(env.path("kept")).run().exits(0);
    let kept = fs::metadata(env.path("kept")).expect("the copy");
    assert_eq!((kept.mode() & 0o7777, kept.mtime()), (0o750, 1_000_000_000));
    // What is replaced keeps its mode.
    fs::set_permissions(env.path("kept"), fs::Permissions::from_mode(0o604)).expect("a mode");
    pscp(&env, &sshd).arg(&file).arg(env.path("kept")).run().exits(0);
    assert_eq!(fs::metadata(env.path("kept")).expect("the copy").mode() & 0o7777, 0o604);
}

#[test]
fn links_are_written_through_and_devices_stay_devices() {
    let (env, sshd) = hosts(1);
    let file = env.file("new", "new\n");
    let real = env.file("real", "old\n");
    symlink(&real, env.path("link")).expect("a link");
    pscp(&env, &sshd).arg(&file).arg(env.path("link")).run().exits(0);
    assert_eq!(fs::read(&real).expect("what it leads to"), b"new\n");
    assert!(env.path("link").is_symlink());
    pscp(&env, &sshd).arg(&file).arg("/dev/null").run().exits(0);
    assert!(!fs::metadata("/dev/null").expect("it").is_file());
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_copied() {
    let (env, sshd) = hosts(1);
    let (one, two) = (env.file("one", "1"), env.file("two", "2"));
    fs::create_dir_all(env.path("there/one")).expect("a directory in the way");
    let run = pscp(&env, &sshd).arg(&one).arg(&two).arg(env.path("there")).run();
    run.exits(4).check(run.stdout_text().contains("[FAILURE] 127.0.1.1:"), "pssh's line");
    run.check(run.stdout_text().contains("copy: "), "the word of the outcome");
    assert_eq!(fs::read(env.path("there/two")).expect("the other"), b"2");
    let run = pscp(&env, &sshd).arg(&one).arg("/proc/no/where").run();
    run.exits(4).check(run.stdout_text().contains("/proc"), "the path");
}

#[test]
fn a_connection_that_is_cut_leaves_the_old_file_and_resume_goes_on() {
    let (env, sshd) = hosts(1);
    let file = env.file("data", (0..16_000_000_u32).map(|place| (place / 251) as u8).collect::<Vec<_>>());
    let there = env.path("there");
    fs::create_dir(&there).expect("a directory");
    fs::write(there.join("data"), "old\n").expect("a file");
    let known = sshd.known_hosts().replace(&format!("[{}]:{}", sshd.label(), sshd.port()), "cut");
    env.trust(&known);
    let run = |options: &[&str], bytes: u64| {
        let port = cut_after(&sshd.hosts()[0], bytes);
        let run = env.run_of(Program::Pscp).args(["-O", "HostKeyAlias=cut", "-H", &format!("127.0.0.1:{port}")]);
        run.args(options).arg(&file).arg(&there).run()
    };
    let cut = run(&[], 2_000_000);
    cut.exits(4).check(cut.stdout_text().contains(" lost: "), "the outcome");
    assert_eq!(fs::read(there.join("data")).expect("the old file"), b"old\n");
    let left = fs::read_dir(&there).expect("a directory").map(|entry| entry.expect("an entry").path());
    let left = left.map(|path| path.display().to_string()).find(|path| path.contains("/.data.pssh-")).expect("a rest");
    cut.stderr_has(&format!("hint: left there, unfinished: remove {left} (--resume "));
    let cut = run(&["--resume"], 12_000_000);
    cut.exits(4);
    assert_eq!(fs::read(there.join("data")).expect("the old file"), b"old\n");
    // The rest, and a window more than that, is all that goes through now.
    let rest = run(&["--resume", "--checksum"], 10_000_000);
    rest.exits(0);
    assert!(fs::read(there.join("data")).expect("the new file") == fs::read(&file).expect("the file"));
}

#[test]
fn a_planted_file_is_not_gone_on_with() {
    assert!(getuid().is_root(), "only root can give a file away");
    let (env, sshd) = hosts(1);
    let bytes: Vec<u8> = (0..16_000_000_u32).map(|place| (place / 251) as u8).collect();
    let file = env.file("data", &bytes);
    let there = env.path("there");
    fs::create_dir(&there).expect("a directory");
    let known = sshd.known_hosts().replace(&format!("[{}]:{}", sshd.label(), sshd.port()), "cut");
    env.trust(&known);
    let run = |bytes: u64| {
        let port = cut_after(&sshd.hosts()[0], bytes);
        let run = env.run_of(Program::Pscp).args(["-O", "HostKeyAlias=cut", "-H", &format!("127.0.0.1:{port}")]);
        run.args(["--resume", "--num-retries", "1"]).arg(&file).arg(&there).run()
    };
    let planted = || {
        let mut entries = fs::read_dir(&there).expect("a directory").map(|entry| entry.expect("an entry").path());
        entries.find(|path| path.as_os_str().as_bytes().windows(6).any(|part| part == b".pssh-"))
    };
    for (owner, mode, goes_on) in [(0, 0o644, true), (65_533, 0o644, false), (0, 0o646, false), (0, 0o664, false)] {
        let _ = fs::remove_file(there.join("data"));
        run(12_000_000).exits(4);
        let path = planted().expect("what has arrived");
        std::os::unix::fs::chown(&path, Some(owner), None).expect("an owner");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the mode");
        let inode = fs::metadata(&path).expect("it").ino();
        // Less than the whole goes through: enough only to go on.
        let rest = run(10_000_000);
        if goes_on {
            rest.exits(0);
        } else {
            rest.exits(4);
            let anew = fs::metadata(planted().expect("a new one")).expect("it");
            assert!(anew.ino() != inode || anew.uid() == 0 && anew.mode() & 0o022 == 0, "it was begun anew");
            run(40_000_000).exits(0);
        }
        let copy = fs::metadata(there.join("data")).expect("the copy");
        assert_eq!((copy.uid(), copy.mode() & 0o022), (0, 0));
        assert!(fs::read(there.join("data")).expect("the copy") == bytes);
        let left = (names(&there).len(), temporaries(&there));
        assert_eq!(left, (1, 0), "neither it nor what was made to look at is left");
    }
}

#[test]
fn a_copy_that_is_stopped_leaves_nothing_behind() {
    let (env, sshd) = hosts(1);
    let there = env.path("there");
    fs::create_dir(&there).expect("a directory");
    // It has no reader: the server waits in the middle of its open.
    let fifo = env.path("slow");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("a FIFO");
    let file = env.file("data", vec![1; 64 << 20]);
    let running = pscp(&env, &sshd).args(["-p", "1"]).arg(&file).arg(&there).start();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while temporaries(&there) == 0 && names(&there).is_empty() && std::time::Instant::now() < deadline {
        thread::sleep(std::time::Duration::from_millis(1));
    }
    running.signal(Signal::INT);
    let run = running.finish();
    if names(&there).is_empty() {
        run.check(run.stdout_text().contains(" Interrupted"), "pssh's words");
        assert_eq!(temporaries(&there), 0);
    }
    sshd.wait_for_processes("sftp-server", 0);
    let run = pscp(&env, &sshd).args(["-t", "1"]).arg(&file).arg(&fifo).run();
    run.exits(3).check(run.stdout_text().contains(" Timed out"), "pssh's words");
    run.stderr_lacks("the command");
    sshd.wait_for_processes("sftp-server", 0);
    let run = pscp(&env, &sshd).args(["--channel-timeout", "1"]).arg(&file).arg(&fifo).run();
    run.exits(3).check(run.stdout_text().contains(" Timed out, no data from the host within 1 s"), "what was awaited");
    run.stderr_lacks("the command").stderr_has("a longer --channel-timeout allows longer silences");
}

#[test]
fn what_is_wrong_is_told_before_anything_connects() {
    let (env, sshd) = hosts(1);
    env.file("one", "1");
    fs::create_dir(env.path("dir")).expect("a directory");
    pscp(&env, &sshd).args(["one"]).run().exits(2).stderr_has("TARGET is missing: give SOURCE... TARGET");
    pscp(&env, &sshd).run().exits(2).stderr_has("no path is given");
    pscp(&env, &sshd)
        .args(["no-such-file", "x"])
        .run()
        .exits(1)
        .stderr_has("pscp: no-such-file: No such file or directory");
    pscp(&env, &sshd).args(["dir", "x"]).run().exits(1).stderr_has("-r");
    pscp(&env, &sshd).args(["one", "dir/../one", "x"]).run().exits(1).stderr_has("one");
    assert_eq!(sshd.connections(), 0);
    let run = env.run_of(Program::Pscp).args(["-H", "a b", "--dry-run", "one", "/srv/"]).run();
    run.exits(0).stdout_is("a: copy 1 file, 1 bytes, to /srv/\nb: copy 1 file, 1 bytes, to /srv/\n");
}

#[test]
fn downloads_go_into_the_directory_of_each_host() {
    for config in ["", NO_SFTP] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { config, hosts: 2, ..Setup::default() });
        let tree = env.path("tree");
        odd_tree(&tree);
        if !config.is_empty() {
            fs::remove_dir_all(tree.join("line\nbreak")).expect("a directory");
        }
        let single = env.file("single", "1\n");
        let run = pscp(&env, &sshd).args(["--download", "-r"]).arg(&tree).arg(&single).arg("out").run();
        run.exits(0);
        for host in sshd.hosts() {
            let place = env.path("out").join(&host);
            assert_eq!(contents(&place.join("tree")), contents(&tree), "{config}");
            assert_eq!(names(&place), [OsStr::new("single"), OsStr::new("tree")]);
        }
    }
}

#[test]
fn copies_go_through_jump_hosts() {
    let (env, sshd) = hosts(4);
    let file = env.file("data", vec![9; 1 << 20]);
    let (jump, rest) = sshd.hosts().split_first().map(|(jump, rest)| (jump.clone(), rest.to_vec())).expect("hosts");
    let run = env.run_of(Program::Pscp).hosts(&rest).args(["-J", &jump]).arg(&file).arg(env.path("copy")).run();
    run.exits(0).stderr_has("pscp: 3 hosts: 3 ok\n");
    assert_eq!(fs::read(env.path("copy")).expect("the copy").len(), 1 << 20);
    let run = env.run_of(Program::Pslurp).hosts(&rest).args(["-J", &jump]).arg(&file).arg("back").run();
    run.exits(0);
    for host in rest {
        assert_eq!(fs::read(env.path(&host).join("back")).expect("the copy").len(), 1 << 20);
    }
}

#[test]
fn without_sftp_there_is_no_way_to_compare_or_to_go_on() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: REFUSED_SFTP, ..Setup::default() });
    let file = env.file("data", "x");
    for option in ["--checksum", "--resume"] {
        let run = pscp(&env, &sshd).arg(option).arg(&file).arg(env.path("copy")).run();
        run.exits(4).check(run.stdout_text().contains("[FAILURE]"), option);
        assert!(!env.path("copy").exists());
    }
}

#[test]
fn servers_that_say_nothing_or_never_stop_are_left() {
    let env = Env::new();
    let file = env.file("data", "x");
    let run = |script: &str, program| {
        let server = env.file("sftp-is-none", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).expect("a mode");
        let config = format!("Subsystem sftp {}", server.display());
        let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
        let target = if program == Program::Pscp { env.path("copy") } else { "x".into() };
        let run = env.run_of(program).hosts(sshd.hosts()).args(["--connect-timeout", "3"]).arg(&file).arg(target);
        let run = run.limit(30).run();
        sshd.wait_for_processes("sftp-is-none", 0);
        run
    };
    // Everything has arrived, and something that the server has left behind holds the channel.
    let server = crate::sshd::sftp_server();
    let late = run(&format!("{}; sleep 8", server.display()), Program::Pslurp);
    late.exits(0).within(7);
    for program in [Program::Pscp, Program::Pslurp] {
        let mute = run("while :; do sleep 1; done", program);
        mute.exits(3)
            .check(mute.stdout_text().contains("no answer from the remote program within 3 s"), "what was missing");
        let babbling = run("yes", program);
        babbling.exits(4).check(babbling.stdout_text().contains(" ssh: SFTP: "), "that it is no SFTP");
    }
    assert!(!env.path("copy").exists());
}

#[test]
fn what_cannot_be_copied_is_skipped_and_named_as_by_scp() {
    let tree = |env: &Env| {
        let tree = env.path("tree");
        fs::create_dir_all(tree.join("sub")).expect("a directory");
        fs::write(tree.join("sub/file"), "x").expect("a file");
        fs::write(tree.join("zlast"), "y").expect("a file");
        symlink("nowhere", tree.join("dangling")).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("fifo"), 0o600.into()).expect("a FIFO");
        tree
    };
    for config in ["", NO_SFTP] {
        let env = Env::new();
        // Two hosts with the same files get in each other's way where directories are moved.
        let count = if config.is_empty() { 2 } else { 1 };
        let sshd = Sshd::start(&env, Setup { config, hosts: count, ..Setup::default() });
        let tree = tree(&env);
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("sub/socket")).expect("a socket");
        ["copy", "scps", "dir"].iter().for_each(|name| fs::create_dir(env.path(name)).expect("a directory"));
        let run = pscp(&env, &sshd).arg("-r").args(["tree", "copy"]).shell(&there(&env)).run();
        run.exits(4);
        let told = "copy: tree/dangling: No such file or directory; tree/fifo: not a regular file; \
                    tree/sub/socket: not a regular file";
        let told = run.stdout_text().matches(told).count();
        run.check(told == count, "each host ends in copy, with the names");
        // As scp itself: the same is there, and it fails, too.
        let options: &[&str] = if config.is_empty() { &["-r"] } else { &["-r", "-O"] };
        let target = format!("{}:{}", sshd.label(), env.path("scps").display());
        let scp = scp(&env, &sshd, options, &tree.display().to_string(), &target);
        assert_eq!(scp.status.code(), Some(1), "{}", String::from_utf8_lossy(&scp.stderr));
        assert_eq!(contents(&env.path("copy")), contents(&env.path("scps")));
        assert_eq!(names(&env.path("copy/tree")), ["sub", "zlast"]);
        let run = pscp(&env, &sshd).args(["--dry-run", "-r", "tree/sub", "x"]).run();
        run.exits(0)
            .check(run.stdout_text().contains("; not tree/sub/socket: not a regular file\n"), "what is skipped");
        // A directory without -r, and what the user has named: there, but of no kind that is copied.
        env.file("one", "1");
        let run = pscp(&env, &sshd).args(["tree", "one", "tree/fifo", "dir"]).shell(&there(&env)).run();
        run.exits(4).check(
            run.stdout_text().contains("copy: tree: is a directory (-r copies directories); tree/fifo: not"),
            "",
        );
        assert_eq!(names(&env.path("dir")), ["one"]);
        // A missing file is reported before anything connects.
        let before = sshd.connections();
        for missing in ["missing", "tree/dangling"] {
            let run = pscp(&env, &sshd).args(["one", missing, "dir"]).shell(&there(&env)).run();
            run.exits(1).stderr_has(&format!("pscp: {missing}: No such file or directory"));
        }
        assert_eq!(sshd.connections(), before);
    }
}

/// Runs in the home, with the last argument as a path in it.
fn there(env: &Env) -> String {
    let home = env.path("").display().to_string();
    format!(
        "cd {home} && n=$#; for a do shift; n=$((n-1)); [ $n = 0 ] && a={home}/$a; set -- \"$@\" \"$a\"; done; exec \"$@\""
    )
}

/// scp itself, over the same server, with `options`.
fn scp(env: &Env, sshd: &Sshd, options: &[&str], from: &str, to: &str) -> std::process::Output {
    let known_hosts = format!("UserKnownHostsFile={}", env.known_hosts().display());
    let mut scp = Command::new("scp");
    scp.args(["-q", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", &known_hosts, "-i"]);
    scp.arg(env.ssh_dir().join("id_ed25519")).arg("-P").arg(sshd.port().to_string()).args(options);
    scp.arg(from).arg(to).output().expect("scp")
}

#[test]
fn files_whose_size_is_not_what_it_seems_and_servers_without_fstat_as_with_scp() {
    let server = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
    let server = server.into_iter().find(|path| Path::new(path).exists()).expect("OpenSSH's sftp-server");
    // It refuses what other servers do not have.
    let lacking = format!("Subsystem sftp {server} -P lstat,fstat,fsetstat");
    for config in ["", &lacking] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
        let files = ["/sys/devices/system/cpu/online", "/proc/version"];
        for name in ["ours", "scps"] {
            fs::create_dir(env.path(name)).expect("a directory");
            fs::write(env.path(name).join("version"), "old\n").expect("a file");
            fs::set_permissions(env.path(name).join("version"), fs::Permissions::from_mode(0o604)).expect("a mode");
        }
        let there = |name: &str| format!("{}:{}/", sshd.label(), env.path(name).display());
        for options in [&[][..], &["--checksum"]] {
            pscp(&env, &sshd).args(options).args(files).arg(env.path("ours")).run().exits(0);
        }
        files.iter().for_each(|file| assert!(scp(&env, &sshd, &[], file, &there("scps")).status.success()));
        assert_eq!(contents(&env.path("ours")), contents(&env.path("scps")), "{config}");
        assert_eq!(fs::read(env.path("ours/online")).ok(), fs::read(files[0]).ok());
        // Modes and times by the name of the file.
        let file = env.file("kept", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
        let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(&file).and_then(|file| file.set_modified(past)).expect("a time");
        pscp(&env, &sshd).arg("--preserve").arg(&file).arg(env.path("ours")).run().exits(0);
        let kept = fs::metadata(env.path("ours/kept")).expect("the copy");
        assert_eq!((kept.mode() & 0o7777, kept.mtime()), (0o640, 1_000_000_000), "{config}");
        // A link is written through also where the server does not say that it is one.
        let real = env.file("real", "old\n");
        symlink(&real, env.path("ours/link")).expect("a link");
        pscp(&env, &sshd).arg(&file).arg(env.path("ours/link")).run().exits(0);
        assert_eq!(fs::read(&real).expect("what it leads to"), b"x", "{config}");
        // And back.
        let run =
            env.run_of(Program::Pscp).hosts(sshd.hosts()).arg("--download").args(files).arg(env.path("back")).run();
        run.exits(0);
        let back = env.path("back").join(&sshd.hosts()[0]);
        for file in files {
            let name = Path::new(file).file_name().expect("a name");
            assert_eq!(fs::read(back.join(name)).ok(), fs::read(file).ok(), "{config} {file}");
        }
    }
}
