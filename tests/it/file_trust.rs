//! Files that can run programs here or weaken the check of host keys: others must not have been able to write them. Lists of hosts
//! may be anybody's, as long as they say nothing of that kind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use nix::unistd::getuid;

use crate::bin::Pssh;
use crate::sshd::hosts;

/// The number of a user who is neither root nor us, whether there is such a user or not.
const OTHER: u32 = 65_533;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode");
}

fn give_away(path: &Path) {
    assert!(getuid().is_root(), "only root can give a file away");
    chown(path, Some(OTHER), None).expect("another owner");
}

#[test]
fn config_toml_of_others_is_refused() {
    let (env, sshd) = hosts(1);
    let directory = env.path(".config/pssh");
    fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("config.toml");
    fs::write(&path, "[defaults]\nhost-key-check = 'off'\n").expect("a file");
    let run = || env.pssh().hosts(sshd.hosts()).arg("true").run();
    run().exits(0);
    let before = sshd.connections();
    for bits in [0o646, 0o666, 0o602] {
        mode(&path, bits);
        let words = format!("pssh: {}: bad owner or permissions: mode {bits:04o} lets others write it", path.display());
        run().exits(2).stderr_has(&words).stderr_has("chmod go-w");
    }
    mode(&path, 0o644);
    run().exits(0);
    give_away(&path);
    run().exits(2).stderr_has(&format!("bad owner or permissions: it belongs to another user (uid {OTHER})"));
    // The file counts, not the link to it.
    let real = directory.join("real");
    fs::write(&real, "").expect("a file");
    fs::remove_file(&path).expect("the file");
    symlink(&real, &path).expect("a link");
    run().exits(0);
    mode(&real, 0o646);
    run().exits(2).stderr_has("mode 0646 lets others write it");
    assert_eq!(sshd.connections(), before + 2);
}

/// What a hosts file or a `--host-config` file may not say where others can write it: the key, its value, and what it would do.
const WEAK: [(&str, &str, &str); 5] = [
    ("proxy-command", "touch planted", "run a command here"),
    ("host-key-check", "off", "weaken the check of host keys"),
    ("host-key-check", "accept-new", "weaken the check of host keys"),
    ("known-hosts", "planted", "choose the known host keys"),
    ("password-file", "secret", "choose a password file"),
];

#[test]
fn a_hosts_file_of_others_may_only_name_hosts() {
    let (env, sshd) = hosts(1);
    let host = &sshd.hosts()[0];
    let list = env.path("list");
    let write = |text: &str| {
        let _ = fs::remove_file(&list);
        fs::write(&list, text).expect("a file");
    };
    let pssh = || env.pssh().arg("-h").arg(&list).args(["echo", "x"]);
    // What weakens nothing.
    let harmless =
        format!("# a team's\n{host} timeout=1m arg.rack=r1 proxy-command=none host-key-check=strict alias=one\n");
    for owner in [0, OTHER] {
        write(&harmless);
        mode(&list, 0o666);
        chown(&list, Some(owner), None).expect("an owner");
        pssh().run().exits(0).stdout_is("one: x\n");
    }
    let before = sshd.connections();
    for (key, value, doing) in WEAK {
        write(&format!("# a team's\n{host} {key}='{value}'\n"));
        let column = host.len() + 2;
        let place = format!("{}:2:{column}: \"{key}={value}\": the file may not {doing}: ", list.display());
        mode(&list, 0o646);
        pssh().run().exits(2).stderr_has(&place).stderr_has("mode 0646 lets others write it");
        mode(&list, 0o644);
        give_away(&list);
        pssh().run().exits(2).stderr_has(&place).stderr_has(&format!("another user (uid {OTHER})"));
        // As standard input it is the same file.
        let run = env.pssh().args(["-h", "-", "true"]).shell(&format!("exec \"$@\" <{}", list.display())).run();
        run.exits(2).stderr_has("-:2:").stderr_has(doing);
    }
    assert_eq!(sshd.connections(), before, "nothing was connected to");
    assert!(!env.path("planted").exists(), "nothing was run");
    // Of a trusted one it is taken.
    write(&format!("{host} known-hosts=.ssh/known_hosts\n"));
    pssh().run().exits(0);
}

#[test]
fn a_pipe_is_as_good_as_whoever_started_us() {
    let (env, sshd) = hosts(1);
    let line = format!("{} known-hosts=.ssh/known_hosts", sshd.hosts()[0]);
    let pssh = |args: &[&str]| env.pssh().args(args).arg("true");
    for name in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        pssh(&["-h", name]).stdin(line.clone()).run().exits(0);
    }
    let substitution =
        |pssh: Pssh| pssh.shell(&format!("exec bash -c 'exec \"$@\" -h <(echo \"{line}\") true' bash \"$@\""));
    substitution(env.pssh()).run().exits(0);
    // A named FIFO has an owner.
    let script = |bits: &str| format!("mkfifo -m {bits} f{bits}; echo '{line}' >f{bits} & exec \"$@\" -h f{bits} true");
    env.pssh().shell(&script("600")).run().exits(0);
    env.pssh().shell(&script("622")).run().exits(2).stderr_has("f622:1:").stderr_has("mode 0622 lets others write it");
}

#[test]
fn a_host_config_file_of_others_may_only_say_what_weakens_nothing() {
    let (env, sshd) = hosts(1);
    let table = env.path("table.toml");
    let pssh = || env.pssh().hosts(sshd.hosts()).arg("--host-config").arg(&table).args(["echo", "x"]);
    fs::write(&table, "[host.'*']\ntimeout = '1m'\nhost-key-check = 'strict'\nalias = 'one'\n").expect("a file");
    mode(&table, 0o666);
    pssh().run().exits(0).stdout_is("one: x\n");
    let before = sshd.connections();
    for (key, value, doing) in WEAK {
        fs::write(&table, format!("[host.'*']\ntimeout = '1m'\n{key} = '{value}'\n")).expect("a file");
        let run = pssh().run();
        run.exits(2).stderr_has(&format!(
            "{}:3:{}: \"{key}\": the file may not {doing}: ",
            table.display(),
            key.len() + 4
        ));
        run.stderr_has("mode 0666 lets others write it");
    }
    assert_eq!(sshd.connections(), before, "nothing was connected to");
    assert!(!env.path("planted").exists(), "nothing was run");
    fs::write(&table, "[host.'*']\nknown-hosts = '.ssh/known_hosts'\n").expect("a file");
    mode(&table, 0o644);
    pssh().run().exits(0);
}

#[test]
fn ssh_config_of_others_is_refused_as_by_ssh() {
    let (env, sshd) = hosts(1);
    let config = env.ssh_dir().join("config");
    fs::write(&config, "Host *\n  ConnectTimeout 20\n").expect("a file");
    let run = || env.bare_pssh().hosts(sshd.hosts()).arg("true").run();
    run().exits(0);
    mode(&config, 0o646);
    let words = format!("{}: bad owner or permissions: mode 0646 lets others write it (chmod go-w)", config.display());
    run().exits(2).stderr_has(&words);
    mode(&config, 0o644);
    give_away(&config);
    run().exits(2).stderr_has(&format!("it belongs to another user (uid {OTHER})"));
}
