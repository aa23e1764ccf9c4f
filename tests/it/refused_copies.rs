//! Copies that the host or the disk refuses: the report, the hint, and what remains.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::getuid;
use pssh::internal::Program;

use crate::bin::Env;
use crate::passwords::Account;
use crate::pscp::{NO_SFTP, cut_after, pscp, temporaries};
use crate::sshd::{Setup, Sshd, hosts};

#[test]
fn a_full_disk_is_named_and_leaves_the_old_file() {
    if !getuid().is_root() {
        // Only root can make a small file system.
        return;
    }
    /// A file system of one megabyte.
    struct Small(PathBuf);
    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let (env, sshd) = hosts(1);
    let old = Sshd::start(&env, Setup { config: NO_SFTP, ..Setup::default() });
    fs::create_dir(env.path("small")).expect("a directory");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(env.path("small")).status();
    assert!(mount.expect("mount").success());
    let small = Small(env.path("small"));
    fs::write(small.0.join("data"), "old\n").expect("a file");
    let file = env.file("data", vec![1; 3 << 20]);
    let data = small.0.join("data");
    for (sshd, options) in [(&sshd, &["-O", "Compression=no"][..]), (&sshd, &["--checksum"]), (&old, &[])] {
        let run = pscp(&env, sshd).args(options).arg(&file).arg(&small.0).run();
        let reason = format!("{}: No space left on device\n", data.display());
        run.exits(4).check(run.stdout_text().contains(&reason), "the path and the reason");
        assert_eq!(fs::read(small.0.join("data")).expect("the old file"), b"old\n");
        assert_eq!(temporaries(&small.0), 0, "the disk is not left full");
        run.stderr_lacks("--inplace");
    }
    // There is room for the new file, but not while the old one is there.
    fs::write(small.0.join("data"), vec![2; 600 << 10]).expect("a file");
    let file = env.file("data", vec![1; 700 << 10]);
    let run = pscp(&env, &sshd).arg(&file).arg(&small.0).run();
    let hint = "hint: the old file stays until the new one is complete; --inplace does not need space for both";
    run.exits(4).stderr_has(hint);
    assert_eq!((fs::read(&data).expect("it").len(), temporaries(&small.0)), (600 << 10, 0));
    // What is kept to go on with is named, since it fills the disk.
    let run = pscp(&env, &sshd).arg("--resume").arg(&file).arg(&small.0).run();
    run.exits(4).stderr_lacks("--inplace").stderr_has("hint: --resume continues the kept file once there is space");
    let said = run.stdout_text();
    let (_, kept) = said.split_once("No space left on device; the received part is kept as ").expect("its name");
    let kept = kept.lines().next().expect("a path");
    assert!(kept.starts_with(&format!("{}/.data.pssh-", small.0.display())) && Path::new(kept).exists(), "{kept}");
    fs::remove_file(kept).expect("what is kept");
    pscp(&env, &sshd).arg("--inplace").arg(&file).arg(&small.0).run().exits(0);
    assert_eq!(fs::read(&data).expect("it"), vec![1; 700 << 10]);
    // The old protocol knows only that what is there is as large.
    let run = pscp(&env, &old).arg(&file).arg(&data).run();
    run.exits(4).stderr_has(hint).check(run.stdout_text().contains(&format!("{}: No sp", data.display())), "the path");
    assert_eq!((fs::read(&data).expect("it").len(), temporaries(&small.0)), (700 << 10, 0));
    fs::write(&data, "small\n").expect("a file");
    let run = pscp(&env, &old).arg(env.file("data", vec![1; 3 << 20])).arg(&data).run();
    run.exits(4).stderr_lacks("--inplace");
    // Downloads keep it here.
    let run = env.run_of(Program::Pslurp).hosts(sshd.hosts()).arg("--resume").arg("-L").arg(&small.0);
    let run = run.arg(&file).arg("back").run();
    let name = sshd.hosts()[0].clone();
    let kept =
        format!("No space left on device; the received part is kept as {}/{name}/.back.pssh-", small.0.display());
    run.check(run.stdout_text().contains(&kept), "the name of what is kept");
}

#[test]
fn what_a_lost_download_keeps_to_go_on_with_is_named() {
    let (env, sshd) = hosts(1);
    let file = env.file("data", (0..16_000_000_u32).map(|place| (place / 251) as u8).collect::<Vec<_>>());
    env.trust(&sshd.known_hosts().replace(&format!("[{}]:{}", sshd.label(), sshd.port()), "cut"));
    let run = |bytes: u64, options: &[&str]| {
        let host = format!("127.0.0.1:{}", cut_after(&sshd.hosts()[0], bytes));
        let run = env.run_of(Program::Pscp).args(["-O", "HostKeyAlias=cut", "-H", &host, "--download"]);
        (host, run.args(options).arg(&file).arg("back").run())
    };
    // Requests for a part of the file.
    let (_, cut) = run(12_000, &[]);
    cut.exits(4).stderr_lacks("kept");
    let (host, cut) = run(12_000, &["--resume"]);
    let hint = "hint: partial files are kept here, and the same command continues them: ";
    cut.exits(4).stderr_has(hint).check(cut.stdout_text().contains(" lost: "), "the outcome");
    let said = cut.stderr_text();
    let kept = said.split_once(hint).and_then(|(_, rest)| rest.lines().next()).expect("a path");
    assert!(kept.contains(&format!("{host}/.data.pssh-")) && env.path(kept).exists(), "{kept}");
}

#[test]
fn files_that_the_system_makes_up_are_told_where_they_cannot_be_copied() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: NO_SFTP, ..Setup::default() });
    // It says that it is empty, has gigabytes, and gives them in multiples of eight bytes.
    let run = pscp(&env, &sshd).arg("/proc/self/pagemap").arg(env.path("x")).run();
    run.exits(1).stderr_has("/proc/self/pagemap: its reported size is 0 bytes, but it has more than 16777216");
    assert_eq!(sshd.connections(), 0);
    // The old protocol cannot send fewer bytes than it has announced.
    let run = env.run_of(Program::Pslurp).hosts(sshd.hosts()).args(["/sys/devices/system/cpu/online", "x"]).run();
    let words = "copy: /sys/devices/system/cpu/online: it has fewer bytes than its size";
    run.exits(5).check(run.stdout_text().contains(words), "the path on the host");
    assert!(!env.path(&sshd.hosts()[0]).join("x").exists());
}

#[test]
fn a_rename_that_is_refused_is_told_and_leaves_nothing() {
    for config in ["", NO_SFTP] {
        renames_are_refused(config);
    }
}

fn renames_are_refused(config: &'static str) {
    struct Undo(&'static str, Vec<PathBuf>);
    impl Drop for Undo {
        fn drop(&mut self) {
            let mut words = self.0.split(' ');
            let _ = Command::new(words.next().unwrap_or_default()).args(words).args(&self.1).status();
        }
    }
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let file = env.file("data", "new\n");
    let (there, target) = (env.path("there"), env.path("there/data"));
    fs::create_dir(&there).expect("a directory");
    let behind = env.file("behind", "old\n");
    fs::write(&target, "").expect("a file");
    // What a container has for a single file.
    let mounted = Command::new("mount").arg("--bind").arg(&behind).arg(&target).status();
    assert!(mounted.expect("mount").success());
    let mount = Undo("umount", vec![target.clone()]);
    let run = pscp(&env, &sshd).arg(&file).arg(&target).run();
    let refused = |target: &Path| format!("{}: the new file cannot take its place: ", target.display());
    run.exits(4).check(run.stdout_text().contains(&refused(&target)), "what was refused");
    run.stderr_has("hint: --inplace writes into the file itself, without a rename");
    assert_eq!((fs::read(&behind).expect("it"), temporaries(&there)), (b"old\n".to_vec(), 0));
    pscp(&env, &sshd).arg("--inplace").arg(&file).arg(&target).run().exits(0);
    assert_eq!(fs::read(&behind).expect("it"), b"new\n");
    drop(mount);
    // A directory where users cannot replace each other's files.
    let account = Account::make().expect("only root can make an account, as this test has to");
    let sticky = tempfile::tempdir().expect("a directory");
    let data = sticky.path().join("data");
    fs::set_permissions(sticky.path(), fs::Permissions::from_mode(0o1777)).expect("a mode");
    fs::write(&data, "old\n").expect("a file");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o666)).expect("a mode");
    let run = pscp(&env, &sshd).args(["-l", &account.name]).arg(&file).arg(sticky.path()).run();
    run.exits(4).check(run.stdout_text().contains(&refused(&data)), "what was refused");
    run.stderr_has("hint: --inplace writes into the file itself, without a rename");
    assert_eq!((fs::read(&data).expect("it"), temporaries(sticky.path())), (b"old\n".to_vec(), 0));
    pscp(&env, &sshd).args(["-l", &account.name, "--inplace"]).arg(&file).arg(sticky.path()).run().exits(0);
    assert_eq!(fs::read(&data).expect("it"), b"new\n");
    // A directory that takes no new file: --inplace helps for the file alone.
    fs::set_permissions(sticky.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let run = pscp(&env, &sshd).args(["-l", &account.name]).arg(&file).arg(&data).run();
    run.exits(4).stderr_has("hint: the directory accepts no new file; --inplace writes into the existing one");
    fs::remove_file(&data).expect("a file");
    for target in [sticky.path(), &data] {
        let run = pscp(&env, &sshd).args(["-l", &account.name]).arg(&file).arg(target).run();
        run.exits(4).stderr_lacks("--inplace").check(run.stdout_text().contains("Permission denied"), "the reason");
    }
}
