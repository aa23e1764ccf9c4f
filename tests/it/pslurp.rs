//! pslurp over real sessions: each host's files in a directory of its own, and nothing anywhere else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use pssh::internal::Program;

use crate::bin::{Env, Pssh};
use crate::pscp::{NO_SFTP, contents, cut_after, odd_tree};
use crate::sshd::{Setup, Sshd, hosts};

fn pslurp(env: &Env, sshd: &Sshd) -> Pssh {
    env.run_of(Program::Pslurp).hosts(sshd.hosts())
}

#[test]
fn each_host_has_its_directory_and_never_none() {
    let (env, sshd) = hosts(3);
    let log = env.file("app.log", "line\n");
    let run = pslurp(&env, &sshd).args(["-L", "logs"]).arg(&log).arg("log").run();
    run.exits(0).stderr_has("pslurp: 3 hosts: 3 ok\n");
    for host in sshd.hosts() {
        assert_eq!(fs::read(env.path("logs").join(&host).join("log")).expect("its file"), b"line\n");
    }
    // Without a port the name alone; the same host twice has two.
    let port = format!("Port={}", sshd.port());
    let run = env.run_of(Program::Pslurp).args(["-O", &port, "-H", "127.0.1.1 127.0.1.1"]).arg(&log).arg("a/b").run();
    run.exits(0);
    assert!(env.path("127.0.1.1/a/b").is_file() && env.path("127.0.1.1.1/a/b").is_file());
}

#[test]
fn trees_wildcards_and_links() {
    for config in ["", NO_SFTP] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
        let tree = env.path("tree");
        odd_tree(&tree);
        if !config.is_empty() {
            // The old protocol ends a name at the line.
            fs::remove_dir_all(tree.join("line\nbreak")).expect("a directory");
        }
        let place = env.path(&sshd.hosts()[0]);
        pslurp(&env, &sshd).arg("-r").arg(&tree).arg("copy").run().exits(0);
        assert_eq!(contents(&place.join("copy")), contents(&tree));
        fs::create_dir(env.path("logs")).expect("a directory");
        for name in ["a.gz", "b.gz", "c.txt"] {
            fs::write(env.path("logs").join(name), name).expect("a file");
        }
        symlink(env.path("logs/c.txt"), env.path("logs/l.gz")).expect("a link");
        let pattern = env.path("logs").display().to_string() + "/*.gz";
        pslurp(&env, &sshd).args([&pattern, "old"]).run().exits(0);
        let names: Vec<_> = contents(&place.join("old")).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
        let expected = [("a.gz", "a.gz"), ("b.gz", "b.gz"), ("l.gz", "c.txt")];
        assert_eq!(names, expected.map(|(name, bytes)| (name.into(), bytes.as_bytes().to_vec())), "links are followed");
        let run = pslurp(&env, &sshd).args([&(pattern + "x"), "old"]).run();
        run.exits(5).check(run.stdout_text().contains("[FAILURE] 127.0.1.1:"), "pssh's line");
    }
}

#[test]
fn links_in_the_directory_are_not_followed() {
    let (env, sshd) = hosts(1);
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    let tree = env.path("tree");
    fs::create_dir_all(tree.join("sub")).expect("a directory");
    fs::write(tree.join("sub/file"), "x").expect("a file");
    fs::write(tree.join("other"), "y").expect("a file");
    let place = env.path(&sshd.hosts()[0]);
    fs::create_dir_all(place.join("copy/tree")).expect("a directory");
    symlink(&outside, place.join("copy/tree/sub")).expect("a link");
    let run = pslurp(&env, &sshd).arg("-r").arg(&tree).arg("copy").run();
    run.exits(5).check(run.stdout_text().contains("copy: "), "the word of the outcome");
    assert_eq!(fs::read(place.join("copy/tree/other")).expect("the rest"), b"y");
    assert!(contents(&outside).is_empty());
}

#[test]
fn what_is_missing_forbidden_or_a_directory_is_told() {
    let (env, sshd) = hosts(1);
    let run = pslurp(&env, &sshd).args(["/no/such/file", "x"]).run();
    run.exits(5).check(run.stdout_text().contains("/no/such/file: No such file"), "the path and the reason");
    let run = pslurp(&env, &sshd).args(["/etc", "x"]).run();
    run.exits(5).check(run.stdout_text().contains("/etc"), "no directory without -r");
    pslurp(&env, &sshd).args(["a", "../x"]).run().exits(2).stderr_has("leads out of each host's directory");
    pslurp(&env, &sshd).args(["a"]).run().exits(2).stderr_has("LOCAL is missing: give REMOTE LOCAL");
    pslurp(&env, &sshd).args(["a", "b", "c"]).run().exits(2).stderr_has("too many paths");
}

#[test]
fn files_of_no_known_size_and_of_no_size() {
    let (env, sshd) = hosts(1);
    let place = env.path(&sshd.hosts()[0]);
    pslurp(&env, &sshd).args(["/proc/version", "version"]).run().exits(0);
    assert_eq!(fs::read(place.join("version")).ok(), fs::read("/proc/version").ok());
    let empty = env.file("empty", "");
    pslurp(&env, &sshd).arg(&empty).arg("empty").run().exits(0);
    assert_eq!(fs::read(place.join("empty")).expect("it"), b"");
}

#[test]
fn a_connection_that_is_cut_leaves_the_old_file() {
    let (env, sshd) = hosts(1);
    let file = env.file("data", vec![3; 8 << 20]);
    env.trust(&sshd.known_hosts().replace(&format!("[{}]:{}", sshd.label(), sshd.port()), "cut"));
    let port = cut_after(&sshd.hosts()[0], 6_000);
    let place = env.path(&format!("127.0.0.1:{port}"));
    fs::create_dir(&place).expect("a directory");
    fs::write(place.join("data"), "old\n").expect("a file");
    let run = env.run_of(Program::Pslurp).args(["-O", "HostKeyAlias=cut", "-H", &format!("127.0.0.1:{port}")]);
    let run = run.arg(&file).arg("data").run();
    run.exits(4).check(run.stdout_text().contains(" lost: "), "the outcome");
    assert_eq!(fs::read(place.join("data")).expect("the old file"), b"old\n");
    assert_eq!(fs::read_dir(&place).expect("a directory").count(), 1, "what had arrived is removed");
}

#[test]
fn modes_without_and_with_preserve() {
    let (env, sshd) = hosts(1);
    let file = env.file("tool", "#!/bin/sh\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4777)).expect("a mode");
    let mode = |name: &str| {
        let meta = fs::metadata(env.path(&sshd.hosts()[0]).join(name)).expect("the file");
        meta.permissions().mode() & 0o7777
    };
    pslurp(&env, &sshd).arg(&file).arg("plain").shell("umask 027; exec \"$@\"").run().exits(0);
    assert_eq!(mode("plain"), 0o750);
    pslurp(&env, &sshd).arg("--preserve").arg(&file).arg("kept").run().exits(0);
    assert_eq!(mode("kept"), 0o777, "and never setuid");
}
