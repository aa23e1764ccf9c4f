//! Files here that we write to: links of another user, and limits on their size.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::unistd::getuid;
use pssh::internal::Program;
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::Signal;

use crate::bin::{Env, Pssh};
use crate::sshd::{Sshd, hosts};

/// The number of a user who is neither root nor us, whether there is such a user or not.
const OTHER: u32 = 65_533;

/// Makes a link that belongs to `owner`.
fn link(to: &Path, from: &Path, owner: u32) {
    assert!(getuid().is_root(), "only root can make a link that belongs to another user");
    symlink(to, from).expect("a link");
    lchown(from, Some(owner), None).expect("another owner");
}

/// A run of `program` that copies from the hosts.
fn download(env: &Env, sshd: &Sshd, program: Program) -> Pssh {
    env.run_of(program).hosts(sshd.hosts())
}

#[test]
fn links_of_other_users_are_refused_before_anything_connects() {
    let (env, sshd) = hosts(2);
    let host = &sshd.hosts()[1];
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("file"), "old").expect("a file");
    // As it would be in /tmp: the last name, a directory on the way, or the file of the second host.
    let shared = env.path("shared");
    fs::create_dir(&shared).expect("a directory");
    link(&outside.join("file"), &shared.join("report"), OTHER);
    link(&outside, &shared.join("logs"), OTHER);
    link(Path::new("logs"), &shared.join("mine"), 0);
    for directory in ["files", "hosts"] {
        fs::create_dir(shared.join(directory)).expect("a directory");
    }
    link(&outside.join("file"), &shared.join("files").join(host), OTHER);
    link(&outside, &shared.join("hosts").join(host), OTHER);
    let (log, before) = (env.file("log", "x"), sshd.connections());
    let pssh = || env.pssh().hosts(sshd.hosts());
    let copy = |program: Program, target: &str| {
        let run = download(&env, &sshd, program);
        match program {
            Program::Pslurp => run.args(["-L", target]).arg(&log).arg("log"),
            _ => run.arg("--download").arg(&log).arg(target),
        }
    };
    let cases = [
        (pssh().args(["--junit", "shared/report", "echo", "x"]), "--junit shared/report", "shared/report"),
        (pssh().args(["--failed-to", "shared/report", "echo", "x"]), "--failed-to shared/report", "shared/report"),
        (pssh().args(["--junit", "shared/logs/new", "echo", "x"]), "--junit shared/logs/new", "shared/logs"),
        (pssh().args(["-o", "shared/logs", "echo", "x"]), "--outdir shared/logs", "shared/logs"),
        (pssh().args(["-o", "shared/mine/new", "echo", "x"]), "--outdir shared/mine/new", "shared/logs"),
        (pssh().args(["-e", "shared/files", "echo", "x"]), "--errdir shared/files", host),
        (copy(Program::Pslurp, "shared/logs"), "shared/logs/", "shared/logs"),
        (copy(Program::Pslurp, "shared/hosts"), "shared/hosts/", &format!("shared/hosts/{host}")),
        (copy(Program::Pscp, "shared/hosts"), "shared/hosts/", &format!("shared/hosts/{host}")),
        (copy(Program::Prsync, "shared/mine"), "shared/mine/", "shared/logs"),
        (copy(Program::Prsync, "shared/hosts"), "shared/hosts/", &format!("shared/hosts/{host}")),
    ];
    for (pssh, place, link) in cases {
        let run = pssh.run();
        run.exits(1).stdout_is("").stderr_has(place);
        run.stderr_has(&format!("{link} is a symbolic link of another user (uid {OTHER}), which is not followed"));
    }
    assert_eq!(sshd.connections(), before, "nothing was connected to");
    assert_eq!(fs::read(outside.join("file")).expect("a file"), b"old");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 1, "nothing was made there");
}

#[test]
fn links_of_ours_and_of_root_are_followed() {
    let (env, sshd) = hosts(1);
    let host = &sshd.hosts()[0];
    for directory in ["there", "there/hosts"] {
        fs::create_dir(env.path(directory)).expect("a directory");
    }
    link(&env.path("there"), &env.path("logs"), 0);
    link(Path::new("elsewhere"), &env.path("there").join(host), 0);
    link(Path::new("there/report"), &env.path("report"), 0);
    let log = env.file("log", "x");
    env.pssh().hosts([host]).args(["-o", "logs", "--junit", "report", "echo", "out"]).run().exits(0);
    assert_eq!(fs::read(env.path("there/elsewhere")).expect("its output"), b"out\n");
    assert!(fs::read_to_string(env.path("there/report")).expect("a report").starts_with("<?xml"));
    assert!(fs::symlink_metadata(env.path("report")).expect("there").is_symlink(), "the link stays");
    download(&env, &sshd, Program::Pslurp).args(["-L", "logs/hosts"]).arg(&log).arg("log").run().exits(0);
    assert_eq!(fs::read(env.path("there/hosts").join(host).join("log")).expect("a copy"), b"x");
}

#[test]
fn known_hosts_is_not_added_to_through_a_link_of_another_user() {
    let (env, sshd) = hosts(1);
    let outside = env.file("outside", "");
    for (owner, is_added) in [(OTHER, false), (0, true)] {
        let known = env.path(&format!("known-{owner}"));
        link(&outside, &known, owner);
        let pssh = env.pssh().hosts(sshd.hosts()).args(["--host-key-check", "accept-new", "-v", "--known-hosts"]);
        let run = pssh.arg(&known).arg("true").run();
        run.exits(0).check(run.stderr_text().contains("is a symbolic link of another user") != is_added, "it is told");
        assert_eq!(!fs::read(&outside).expect("a file").is_empty(), is_added);
    }
}

#[test]
fn a_link_that_is_put_there_during_the_run_is_an_error_of_its_host() {
    let (env, sshd) = hosts(2);
    let outside = env.file("outside", "old");
    let line = format!("echo begun; while [ ! -e {} ]; do sleep 0.1; done", env.path("go").display());
    let mut running = env.pssh().hosts(sshd.hosts()).args(["-p1", "-o", "d", "--", &line]).start();
    running.wait_for("begun");
    link(&outside, &env.path("d").join(&sshd.hosts()[1]), OTHER);
    env.file("go", "");
    let run = running.finish();
    run.exits(1).ends("127.0.1.1", "ok (exit 0)");
    run.ends("127.0.1.2", "local: writing its output: ");
    run.stderr_has("is a symbolic link of another user");
    assert_eq!(fs::read(outside).expect("a file"), b"old");
}

/// Makes a FIFO that belongs to `owner`, and holds it open without reading a byte.
fn fifo(path: &Path, owner: u32) -> File {
    assert!(getuid().is_root(), "only root can make a FIFO that belongs to another user");
    mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    lchown(path, Some(owner), None).expect("another owner");
    File::options().read(true).write(true).open(path).expect("a reader")
}

#[test]
fn fifos_of_other_users_are_not_written_to() {
    let (env, sshd) = hosts(2);
    let host = &sshd.hosts()[0];
    fs::create_dir(env.path("d")).expect("a directory");
    let reader = fifo(&env.path("d").join(host), OTHER);
    let run = env.pssh().hosts(sshd.hosts()).args(["-o", "d", "--", "echo x"]).run();
    run.exits(1).within(20).ends("127.0.1.2", "ok (exit 0)");
    run.ends("127.0.1.1", "local: writing its output: ");
    run.stderr_has(&format!("{host} is a FIFO of another user (uid {OTHER}), which is not written to"));
    let run = env.pssh().hosts(sshd.hosts()).args(["--junit", &format!("d/{host}"), "true"]).run();
    run.exits(1).stderr_has("is a FIFO of another user");
    assert_eq!(rustix::io::ioctl_fionread(&reader).expect("its bytes"), 0, "nothing was written");
}

#[test]
fn a_fifo_of_ours_cannot_hold_the_end_up() {
    let (env, sshd) = hosts(1);
    fs::create_dir(env.path("d")).expect("a directory");
    let _reader = fifo(&env.path("d").join(&sshd.hosts()[0]), 0);
    let line = "yes | head -c 1000000; exec sleep 977";
    let running = env.pssh().hosts(sshd.hosts()).args(["-o", "d", "--", line]).start();
    sshd.wait_for_processes("sleep 977", 1);
    thread::sleep(Duration::from_secs(1));
    running.signal(Signal::TERM);
    let run = running.finish();
    run.dies_by(Signal::TERM).within(20);
    run.ends("127.0.1.1", "local: writing its output: ").hints("127.0.1.1", "the command itself: cancelled");
    run.stderr_has("its reader does not read");
    sshd.wait_for_processes("", 0);
}

/// A reader that waits for the first writer of a FIFO, as a shell's `<` does, gets the report of that one.
#[test]
fn a_report_goes_to_the_reader_that_waits_for_it() {
    let (env, sshd) = hosts(1);
    for (option, text) in [("--junit", "<?xml"), ("--failed-to", "127.0.1.1")] {
        let path = env.path(option.trim_start_matches('-'));
        drop(fifo(&path, 0));
        let waiting = path.clone();
        let reader = thread::spawn(move || fs::read_to_string(waiting));
        // It has to be there first; one that writes and has no reader is told so.
        thread::sleep(Duration::from_millis(500));
        let run = env.pssh().hosts(sshd.hosts()).arg(option).arg(&path).args(["--", "sleep 1; exit 3"]).run();
        run.exits(5).stderr_lacks("cannot write");
        let report = reader.join().expect("a reader").expect("a report");
        assert!(report.contains(text), "{report}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_of_one_host() {
    let (env, sshd) = hosts(3);
    // In units of 512 bytes.
    const LIMIT: &str = "ulimit -f 200; exec \"$@\"";
    let line = "set -- $SSH_CONNECTION; case $3 in *.2) head -c 300000 /dev/zero;; *) echo small;; esac";
    let run = env.pssh().hosts(sshd.hosts()).args(["-o", "d", "--", line]).shell(LIMIT).count().run();
    run.exits(1).ends("127.0.1.1", "ok (exit 0)").ends("127.0.1.3", "ok (exit 0)");
    run.ends("127.0.1.2", "local: writing its output: ").stderr_has("File too large");
    for number in [0, 2] {
        assert_eq!(fs::read(env.path("d").join(&sshd.hosts()[number])).expect("its output"), b"small\n");
    }
    // What is copied from the hosts.
    let big = env.file("big", vec![7; 300_000]);
    let run = download(&env, &sshd, Program::Pslurp).arg(&big).arg("big").shell(LIMIT).run();
    run.exits(1).check(run.stdout_text().contains("File too large"), "it is told why");
    // Our own output.
    let out = File::create(env.path("out")).expect("a file");
    let run = env.pssh().hosts(sshd.hosts()).args(["--", line]).shell(LIMIT).stdout_to(out).run();
    run.exits(1).stderr_has("cannot write to standard output: File too large");
}

#[test]
fn two_runs_do_not_write_to_the_same_place() {
    let (env, sshd) = hosts(1);
    let host = &sshd.hosts()[0];
    let line = format!("echo first; while [ ! -e {} ]; do sleep 0.1; done", env.path("go").display());
    let pssh = || env.pssh().hosts([host]);
    let first = ["-o", "out", "-e", "err", "--junit", "report", "--failed-to", "failed", "--", &line];
    let mut running = pssh().args(first).start();
    running.wait_for("first");
    let before = sshd.connections();
    for (args, place) in [
        (&["-o", "out"][..], "--outdir out: cannot be used: "),
        (&["-o", "./out/../out"], "--outdir ./out/../out: cannot be used: "),
        (&["-e", "out"], "--errdir out: cannot be used: "),
        (&["-e", "err"], "--errdir err: cannot be used: "),
        (&["--junit", "report"], "--junit report: cannot write: "),
        (&["--failed-to", "report"], "--failed-to report: cannot write: "),
        (&["--junit", "failed"], "--junit failed: cannot write: "),
    ] {
        let run = pssh().args(args).args(["echo", "second"]).run();
        run.exits(1).stdout_is("").stderr_has(&format!(
            "pssh: {place}another run writes to it now (pssh, pid {}); wait for it, or name another place",
            running.id()
        ));
    }
    assert_eq!(sshd.connections(), before, "nothing was connected to");
    // Elsewhere there is room, also for both streams in one place.
    pssh().args(["-o", "other", "-e", "other", "--junit", "other-report", "echo", "x"]).run().exits(0);
    pssh().args(["--junit", "twice", "--failed-to", "twice", "true"]).run().exits(1).stderr_has("writes to it twice");
    env.file("go", "");
    running.finish().exits(0);
    assert_eq!(fs::read(env.path("out").join(host)).expect("its output"), b"first\n");
    // A lock on the directory itself, which everybody can take who can read it, is no run's: neither ours nor of somebody else.
    for script in ["exec flock out \"$@\"", "exec 9<out; flock 9; exec \"$@\""] {
        pssh().args(["-o", "out", "echo", "first"]).shell(script).run().exits(0);
    }
    fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o755)).expect("the mode");
    let mut reader = Command::new("setpriv");
    reader
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock", "-F"])
        .arg(env.path("out"))
        .args(["sleep", "60"]);
    let mut reader = reader.spawn().expect("setpriv");
    let is_locked =
        || fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains(&format!(" {} ", reader.id())));
    while !is_locked() {
        thread::sleep(Duration::from_millis(5));
    }
    pssh().args(["-o", "out", "echo", "first"]).run().exits(0);
    reader.kill().and_then(|()| reader.wait()).expect("it ends");
    assert!(fs::read_to_string(env.path("report")).expect("a report").starts_with("<?xml"));
    // Nothing stays behind, neither of a run that has ended nor of one that was killed.
    fs::remove_file(env.path("go")).expect("the file");
    let mut killed = pssh().args(first).start();
    killed.wait_for("first");
    killed.signal(rustix::process::Signal::KILL);
    drop(killed);
    env.file("go", "");
    pssh().args(first).run().exits(0);
    let names = fs::read_dir(env.path("")).expect("a directory").flatten().map(|entry| entry.file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with("-lock")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(env.path("out")).expect("a directory").count(), 1);
}
