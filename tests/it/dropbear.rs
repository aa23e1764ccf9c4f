//! dropbear, the server of small machines: one pass over what differs between servers. It reads the keys of its users from their
//! homes alone, so that only root can run these tests: they make a user with a home for it.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{User, getuid};
use pssh::internal::Program;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::auth::Agent;
use crate::bin::{Env, Pssh, Run, ssh_keygen};
use crate::pscp::{contents, odd_tree};
use crate::sshd::{Setup, Sshd, marked};

/// Where it listens; the tests' other servers do not.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const PASSWORD: &str = "corr3ct horse";

/// A running dropbear with a user of its own, who lets the key of a home in.
struct Dropbear {
    child: Child,
    port: u16,
    mark: String,
    user: String,
    _dir: TempDir,
}

/// Its programs.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed, and these tests need it: apt-get install dropbear-bin"))
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program that can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Dropbear {
    /// Nothing where the tests are not run by root.
    fn start(env: &Env) -> Option<Dropbear> {
        Dropbear::start_by(env, |server| Command::new(server))
    }

    /// One that finds no SFTP server, as on most machines that have dropbear.
    fn start_without_sftp(env: &Env) -> Option<Dropbear> {
        Dropbear::start_by(env, |server| {
            // Debian's has one path for it. Only this process and what it starts see nothing there.
            let script =
                "[ -e /usr/lib/sftp-server ] && { mount --bind /dev/null /usr/lib/sftp-server || exit; }; exec \"$@\"";
            let mut command = Command::new("/usr/bin/unshare");
            command.args(["-m", "/bin/sh", "-c", script, "sh"]).arg(server);
            command
        })
    }

    fn start_by(env: &Env, by: impl Fn(&Path) -> Command) -> Option<Dropbear> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (server, keys) = (program("dropbear"), program("dropbearkey"));
        if !getuid().is_root() {
            return None;
        }
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (user, mark) = (format!("pssh-db-{name}"), format!("PSSH_TEST_DROPBEAR={name}"));
        let dir = TempDir::new().expect("a temporary directory");
        let home = dir.path().join("home");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::create_dir_all(home.join(".ssh")).expect("a home");
        fs::write(home.join(".ssh/authorized_keys"), env.public_lines().join("\n") + "\n").expect("authorized_keys");
        run(Command::new("useradd")
            .args(["--no-create-home", "--shell", "/bin/sh", "--home-dir"])
            .arg(&home)
            .arg(&user));
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("chpasswd");
        let line = format!("{user}:{PASSWORD}\n");
        chpasswd.stdin.take().expect("a pipe").write_all(line.as_bytes()).expect("chpasswd reads");
        assert!(chpasswd.wait().expect("chpasswd").success());
        let uid = User::from_name(&user).ok().flatten().expect("the user was made").uid.as_raw();
        for path in [home.clone(), home.join(".ssh"), home.join(".ssh/authorized_keys")] {
            chown(&path, Some(uid), None).expect("an owner");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        let key = dir.path().join("host_key");
        run(Command::new(&keys).args(["-t", "ed25519", "-f"]).arg(&key));
        let public = run(Command::new(&keys).arg("-y").arg("-f").arg(&key));
        let public = public.lines().find(|line| line.starts_with("ssh-")).expect("its public key");

        let port = TcpListener::bind((ADDRESS, 0)).and_then(|it| it.local_addr()).expect("a free port").port();
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let (variable, value) = mark.split_once('=').expect("a variable");
        let child = by(&server)
            .args(["-F", "-E", "-e", "-m", "-p", &format!("{ADDRESS}:{port}"), "-P", "/dev/null", "-r"])
            .arg(&key)
            .env_clear()
            .env(variable, value)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dropbear can be started");
        let dropbear = Dropbear { child, port, mark, user, _dir: dir };
        env.trust(&format!("[{ADDRESS}]:{port} {public}\n"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((ADDRESS, port)).is_err() {
            assert!(Instant::now() < deadline, "dropbear does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Some(dropbear)
    }

    fn pssh(&self, env: &Env) -> Pssh {
        self.run_of(env, Program::Pssh)
    }

    fn run_of(&self, env: &Env, program: Program) -> Pssh {
        env.run_of(program).hosts([format!("{}@{ADDRESS}:{}", self.user, self.port)])
    }

    /// The command lines of its commands that are alive.
    fn processes(&self) -> Vec<String> {
        let all = marked(&self.mark).into_iter().map(|(_, command)| command);
        all.filter(|command| !command.contains("dropbear")).collect()
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        for (pid, _) in marked(&self.mark) {
            // It fails if the process has just ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        let _ = Command::new("userdel").arg("-f").arg(&self.user).output();
    }
}

fn label() -> String {
    ADDRESS.to_string()
}

#[test]
fn commands_end_as_they_end() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let outcome = |line: &str| -> Run { dropbear.pssh(&env).args(["-v", "--", line]).run() };
    let run = outcome("echo out; echo err >&2; exit 3");
    run.exits(5).ends(&label(), "exit 3").stderr_has("server says \"SSH-2.0-dropbear");
    run.check(run.stdout_of(&label()) == b"out\n" && run.stderr_text().contains("err\n"), "both streams");
    outcome("true").exits(0).ends(&label(), "ok");
    outcome("kill -KILL $$").exits(3).ends(&label(), "signal KILL");
    outcome("cat; echo end").exits(0).ends(&label(), "ok");
}

#[test]
fn five_megabytes_come_as_they_are() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let run = dropbear.pssh(&env).args(["--", "seq 700000; seq 700000 >&2"]).run();
    run.exits(0);
    let expected: String = (1..=700_000).map(|number| format!("{number}\n")).collect();
    assert!(expected.len() > 4_500_000);
    assert!(run.stdout_of(&label()) == expected.as_bytes(), "stdout");
    assert!(run.stderr_of(&label()) == expected.as_bytes()[..], "stderr");
}

#[test]
fn a_password_opens_it() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let file = env.file("password", PASSWORD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let run = dropbear.pssh(&env).args(["-v", "-O", "PubkeyAuthentication=no", "--password-file"]).arg(&file);
    let run = run.args(["id", "-un"]).run();
    run.exits(0).stderr_has("with a password");
    run.check(run.stdout_of(&label()) == format!("{}\n", dropbear.user).as_bytes(), "the user");
}

#[test]
fn the_agent_can_be_asked() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let key = env.path("agents_key");
    let public = ssh_keygen(&key, &["-t", "ed25519"]);
    let agent = Agent::start(&env);
    agent.add(&env, &key);
    let line = "for i in 1 2 3 4 5; do ssh-add -L & done; wait";
    let run = dropbear.pssh(&env).variable("SSH_AUTH_SOCK", &agent.socket).args(["--forward-agent", "--", line]).run();
    run.exits(0);
    let keys = String::from_utf8_lossy(&run.stdout_of(&label())).into_owned();
    run.check(keys.lines().filter(|line| line.starts_with(&public)).count() == 5, "five answers");
}

#[test]
fn it_serves_as_a_jump_host() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let sshd = Sshd::start(&env, Setup { hosts: 10, ..Setup::default() });
    let jump = format!("{}@{ADDRESS}:{}", dropbear.user, dropbear.port);
    let run = env.pssh().hosts(sshd.hosts()).args(["-J", &jump, "-p", "10", "--", "seq 50000"]).run();
    run.exits(0);
    let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    for label in sshd.labels() {
        assert!(run.stdout_of(&label) == expected.as_bytes(), "{label}");
    }
}

#[test]
fn a_timeout_leaves_nothing() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    for line in [
        "sleep 300",
        "echo begun; sleep 300; echo",
        "sleep 300 & sleep 300; echo",
        "trap '' TERM; sleep 300; sleep 300",
    ] {
        let run = dropbear.pssh(&env).args(["-t", "1", "--", line]).run();
        run.exits(3).within(8).ends(&label(), "timeout command");
        let deadline = Instant::now() + Duration::from_secs(1);
        while !dropbear.processes().is_empty() {
            run.check(Instant::now() < deadline, &format!("left of {line:?}: {:?}", dropbear.processes()));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn files_go_there_and_back() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start(&env) else { return };
    let host = format!("{}@{ADDRESS}:{}", dropbear.user, dropbear.port);
    let tree = env.path("tree");
    fs::create_dir_all(tree.join("sub dir")).expect("a directory");
    fs::write(tree.join("sub dir/a'b"), vec![5; 300_000]).expect("a file");
    fs::write(tree.join("-x"), "").expect("a file");
    env.run_of(Program::Pscp).args(["-H", &host, "-r"]).arg(&tree).arg("copy").run().exits(0);
    let run = env.run_of(Program::Pslurp).args(["-H", &host, "-r", "copy", "back"]).run();
    run.exits(0);
    let back = env.path(&format!("{ADDRESS}:{}/back", dropbear.port));
    let names = |path: &Path| contents(path).into_iter().map(|(name, _, bytes)| (name, bytes)).collect::<Vec<_>>();
    assert_eq!(names(&back), names(&tree));
}

#[test]
fn scp_copies_where_there_is_no_sftp() {
    let env = Env::new();
    let Some(dropbear) = Dropbear::start_without_sftp(&env) else { return };
    let tree = env.path("tree");
    odd_tree(&tree);
    fs::remove_dir_all(tree.join("line\nbreak")).expect("a directory");
    let pscp = || dropbear.run_of(&env, Program::Pscp).arg("-v");
    // New, and over what is there then.
    for _ in 0..2 {
        pscp().args(["-r", "--preserve"]).arg(&tree).arg("copies/").run().exits(0).stderr_has("trying scp");
    }
    pscp().args(["--download", "-r", "--preserve", "copies/tr*"]).arg("back").run().exits(0).stderr_has("trying scp");
    let places: Vec<PathBuf> =
        fs::read_dir(env.path("back")).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    assert!(contents(&places[0].join("tree")) == contents(&tree), "{:?}", contents(&places[0]));
    let run = pscp().args(["--download", "copies/nothing"]).arg("back").run();
    run.exits(4).check(run.stdout_text().contains("copy: copies/nothing: No such file or directory"), "why");
}
