//! prsync over real sessions: the local rsync with this program as its remote shell.

use std::fs;
use std::path::Path;

use pssh::internal::Program;

use crate::bin::Env;
use crate::sshd::{Setup, Sshd, hosts};

/// A small tree in the home, with names that want quoting.
fn tree(env: &Env) -> std::path::PathBuf {
    let tree = env.path("tree");
    fs::create_dir_all(tree.join("sub")).expect("a directory");
    fs::write(tree.join("a"), "first\n").expect("a file");
    fs::write(tree.join("sub/b c 'd'"), "second\n").expect("a file");
    tree
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_tree_goes_to_a_host_and_comes_back() {
    let (env, sshd) = hosts(1);
    let (tree, there) = (tree(&env), env.path("there"));
    let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).arg("-a").arg(&tree).arg(&there).run();
    run.exits(0).check(run.stdout_text().contains("[SUCCESS] 127.0.1.1:"), "pssh's line");
    assert_eq!(read(there.join("tree/a")), "first\n");
    assert_eq!(read(there.join("tree/sub/b c 'd'")), "second\n");
    let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["-r", "-d"]).arg(&there).arg("back").run();
    run.exits(0);
    let host = format!("back/127.0.1.1:{}/there/tree", sshd.port());
    assert_eq!(read(env.path(&host).join("sub/b c 'd'")), "second\n");
}

#[test]
fn many_hosts_at_once_each_into_its_own_directory() {
    let (env, sshd) = hosts(12);
    let tree = tree(&env);
    let run = env
        .run_of(Program::Prsync)
        .hosts(sshd.hosts())
        .args(["-p", "12", "-r", "-z", "-d"])
        .arg(&tree)
        .arg("out")
        .run();
    run.exits(0).stderr_has("prsync: 12 hosts: 12 ok\n");
    for label in sshd.labels() {
        assert_eq!(read(env.path(&format!("out/{label}:{}/tree/a", sshd.port()))), "first\n", "{label}");
    }
    assert_eq!(sshd.connections(), 12, "one session for each host, and no ssh");
}

#[test]
fn what_rsync_says_is_the_hosts_output() {
    let (env, sshd) = hosts(1);
    let tree = tree(&env);
    let run =
        env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["-v", "-i", "-r"]).arg(&tree).arg(env.path("x")).run();
    run.exits(0).check(run.stdout_text().contains("tree/sub/b c 'd'\n"), "the list of -v, by -i");
    let run =
        env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["-o", "o", "-e", "e"]).args(["no-such-file", "x"]).run();
    run.exits(4).stderr_has("rsync names them; -i shows all output of rsync");
    let reason = "127.0.1.1: rsync: [sender] link_stat \"";
    run.stderr_has(reason).stderr_has("no-such-file\" failed: No such file or directory (2)\n");
    run.stderr_lacks("rsync error: ");
    run.check(run.stdout_text().ends_with(" Exited with error code 23\n"), "rsync's own exit status");
    assert!(read(env.path(&format!("e/{}", sshd.hosts()[0]))).contains("no-such-file"));
}

#[test]
fn words_of_rsync_and_of_ssh() {
    let (env, sshd) = hosts(1);
    let (tree, there) = (tree(&env), env.path("there"));
    fs::create_dir_all(&there).expect("a directory");
    fs::write(there.join("old"), "").expect("a file");
    let source = format!("{}/", tree.display());
    let run = env.run_of(Program::Prsync).args(["-H", "127.0.1.1", "-S", &format!("-p {}", sshd.port())]);
    let run = run.args(["-r", "-x", "--delete --exclude=sub", "-X", "--chmod=F600", &source]).arg(&there).run();
    run.exits(0);
    assert!(there.join("a").exists() && !there.join("old").exists() && !there.join("sub").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(there.join("a")).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn hosts_that_cannot_be_reached_or_trusted_start_no_rsync() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { trusted: false, ..Setup::default() });
    let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).arg("-r").arg(tree(&env)).arg(env.path("x")).run();
    run.exits(4).check(run.stdout_text().contains("[FAILURE] 127.0.1.1:"), "pssh's line");
    run.check(run.stdout_text().contains("hostkey: "), "with the reason");
    assert!(!env.path("x").exists());
}

#[test]
fn a_host_without_rsync_says_so() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: "SetEnv PATH=/nowhere", ..Setup::default() });
    let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).arg("-r").arg(tree(&env)).arg(env.path("x")).run();
    run.exits(4).stderr_has("hint: install rsync on the host");
    let run = env
        .run_of(Program::Prsync)
        .hosts(sshd.hosts())
        .arg("-r")
        .arg(tree(&env))
        .arg("x")
        .variable("PATH", "/nowhere")
        .run();
    run.exits(1).stderr_has("prsync: rsync is not installed here, or not on PATH; install it with: apt install rsync");
    assert_eq!(sshd.connections(), 1);
}

#[test]
fn time_that_is_over_ends_rsync_on_both_sides() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let file = env.file("big", vec![7; 4 << 20]);
    // At 1 KiB/s it would take an hour.
    let run = env
        .run_of(Program::Prsync)
        .hosts(sshd.hosts())
        .args(["-t", "1", "-X", "--bwlimit=1"])
        .arg(&file)
        .arg(env.path("x"));
    let run = run.run();
    run.exits(3).check(run.stdout_text().ends_with(" Timed out\n"), "pssh's words");
    sshd.wait_for_processes("rsync", 0);
    assert!(!env.path("x").exists(), "rsync puts nothing half-written in place");
}

#[test]
fn a_dry_run_shows_the_words() {
    let env = Env::new();
    let run = env.run_of(Program::Prsync).args(["-H", "web1 root@[::1]:2222", "--dry-run", "-a", "a b", "/srv"]).run();
    run.exits(0).stdout_is("web1: 'rsync' '-a' 'a b' 'web1:/srv'\n::1: 'rsync' '-a' 'a b' 'root@[::1]:/srv'\n");
}

#[test]
fn names_are_names_whatever_they_look_like() {
    let (env, sshd) = hosts(1);
    let names = ["--remove-source-files", "-dash", "--", "-", "a:b", ":c", "host::mod", "plain"];
    let here = env.path("here");
    fs::create_dir(&here).expect("a directory");
    names.iter().for_each(|name| fs::write(here.join(name), name).expect("a file"));
    let prsync = || env.run_of(Program::Prsync).hosts(sshd.hosts()).shell("cd here && exec \"$@\"");
    let arrived = |place: &Path| {
        let mut found: Vec<_> = fs::read_dir(place).expect("a directory").map(|e| e.expect("it").file_name()).collect();
        found.sort();
        found
    };
    let all = arrived(&here);
    assert_eq!(all.len(), names.len());
    // As `*` in that directory gives them: the first is at the beginning, others stand after a path.
    let there = env.path("there");
    prsync().arg("--").args(names).arg(format!("{}/", there.display())).run().exits(0);
    assert_eq!(arrived(&there), all);
    assert_eq!(arrived(&here), all, "no name has removed the sources");
    names.iter().for_each(|name| assert_eq!(read(there.join(name)), *name));
    // There and back, by names without a directory.
    let work = env.path("work");
    fs::create_dir(&work).expect("a directory");
    let work_there = format!("--rsync-path=cd {} && rsync", work.display());
    for name in names {
        prsync().args(["-X", &work_there, "--", "plain", name]).run().exits(0);
        assert_eq!(read(work.join(name)), "plain", "{name} is no option, and no module of a daemon");
        let back = format!("-back{name}");
        prsync().args(["-X", &work_there, "-d", "--", name, &back]).run().exits(0);
        assert_eq!(read(here.join(&back).join(&sshd.hosts()[0]).join(name)), "plain", "{name} comes back");
    }
}

#[test]
fn paths_on_the_hosts_are_paths_whatever_a_shell_makes_of_them() {
    let (env, sshd) = hosts(1);
    let work = env.path("work");
    fs::create_dir(&work).expect("a directory");
    let there = format!("--rsync-path=cd {} && rsync", work.display());
    let prsync = || env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["-X", &there]);
    // What a wildcard gives may be an option.
    let names = ["--remove-source-files", "-n", "precious"];
    names.iter().for_each(|name| fs::write(work.join(name), name).expect("a file"));
    prsync().args(["-d", "*", "back"]).run().exits(0);
    for name in names {
        assert_eq!(read(env.path("back").join(&sshd.hosts()[0]).join(name)), name);
        assert!(work.join(name).exists(), "no name has removed the file {name}");
    }
    fs::write(work.join("--log-file=pwned"), "").expect("a file");
    env.file("f", "new");
    prsync().args(["f", "*pwned"]).run().exits(0);
    assert_eq!(read(work.join("--log-file=pwned")), "new");
    assert!(!work.join("pwned").exists(), "no name was an option");
    // A newline stays where it is, and nothing behind it is another argument.
    prsync().args(["--", "f", "sub\nx\n--log-file=log"]).run().exits(0);
    assert_eq!(read(work.join("sub\nx\n--log-file=log")), "new");
    assert!(!work.join("log").exists());
    prsync().args(["-d", "--", "sub\nx\n*", "lines"]).run().exits(0);
    assert_eq!(read(env.path("lines").join(&sshd.hosts()[0]).join("sub\nx\n--log-file=log")), "new");
    let before = sshd.connections();
    let run = prsync().args(["--", "f", "~/a\nb"]).run();
    run.exits(2).stderr_has("\"~/a\\nb\": rsync does not pass a path with a newline to a shell, so ~ is not expanded");
    assert_eq!(sshd.connections(), before);
}

#[test]
fn an_option_of_rsync_among_the_paths_is_told_where_it_stands() {
    let (env, sshd) = hosts(1);
    let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["a", "--delete", "/tmp/x"]).run();
    run.exits(2).stderr_has("--delete: no such file (for an option of rsync use -X before the paths: -X");
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn what_rsync_would_skip_is_no_success() {
    let (env, sshd) = hosts(1);
    let tree = tree(&env);
    std::os::unix::fs::symlink("a", tree.join("link")).expect("a link");
    let link = tree.join("link");
    let prsync = |words: &[&str], source: &Path| {
        let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).args(words).arg(source).arg(env.path("there"));
        run.run()
    };
    for (words, source, problem) in [
        (
            &[][..],
            &tree,
            "rsync skips a directory without -r or -a: -r copies all that is in it, -a also links, modes and times\n",
        ),
        (&["-z", "-X", "--delete"], &tree, "rsync skips a directory without -r or -a: "),
        (&["-r"], &link, "rsync skips a symbolic link without -a: -a copies the link, -X -L what it points to\n"),
    ] {
        prsync(words, source).exits(2).stderr_has(&format!("prsync: {}: {problem}", source.display()));
    }
    assert_eq!(sshd.connections(), 0);
    assert!(!env.path("there").exists());
    // What lets rsync copy them, wherever it stands.
    for (words, source, copied) in [
        (&["-r"][..], &tree, "there/tree/a"),
        (&["-x", "-rz"], &tree, "there/tree/a"),
        (&["-X", "--archive"], &tree, "there/tree/link"),
        (&["-a"], &link, "there"),
        (&["-X", "-L"], &link, "there"),
    ] {
        prsync(words, source).exits(0);
        let copy = env.path(copied);
        assert!(copy.symlink_metadata().is_ok(), "{words:?}: {}", copy.display());
        let _ = fs::remove_dir_all(env.path("there")).or_else(|_| fs::remove_file(env.path("there")));
    }
    let variable = env.run_of(Program::Prsync).hosts(sshd.hosts()).variable("PSSH_RECURSIVE", "1");
    variable.arg(&tree).arg(env.path("there")).run().exits(0);
    assert!(env.path("there/tree/a").exists());
}
