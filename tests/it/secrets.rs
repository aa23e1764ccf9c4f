//! Secrets are told to whom they are for, and come to light nowhere else: not in what is printed in any format at the highest level of
//! detail, not in files, not in the command lines and environments of programs that we start, not in core dumps, and in memory once.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
use pssh::internal::Program;
use rustix::process::{Signal, getuid};

use crate::bin::{Env, Pssh, Run, Running, ssh_keygen, tool};
use crate::embedded::{Config, Server};
use crate::passwords::{PASSWORD, secret_file};
use crate::sshd::{Setup, Sshd};
use crate::sudo::Fleet;

/// What every secret of these tests has in its middle, whatever quotes and escapes are put around it: no form of it may be anywhere.
const CORE: &str = "Zq7xKv93mPw4";

/// A secret with characters that are quoted in different ways.
fn secret(place: &str) -> String {
    format!("é'\"\\{CORE}{place}$ %q")
}

/// Text in which no secret may be: bytes of any kind.
#[track_caller]
fn is_clean(what: &str, bytes: &[u8]) {
    let mut forms = vec![CORE.as_bytes().to_vec()];
    // In base64, a text looks different at each of three offsets; its ends depend on its neighbours.
    for offset in 0..3 {
        let text = BASE64_STANDARD_NO_PAD.encode([&b"xx"[..offset], CORE.as_bytes()].concat());
        forms.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    let hex: String = CORE.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase().into_bytes(), hex.into_bytes()]);
    // As the debug form of bytes, `[90, 113, ...`.
    forms.push(format!("{:?}", CORE.as_bytes()).trim_matches(['[', ']']).as_bytes().to_vec());
    for form in forms {
        let found = bytes.windows(form.len()).any(|window| window == form);
        assert!(!found, "{what}: {}\n{}", String::from_utf8_lossy(&form), String::from_utf8_lossy(bytes));
    }
}

/// Nothing that a run has said or written into `directory` has a secret in it.
#[track_caller]
fn run_is_clean(run: &Run, directory: &Path) {
    is_clean("stdout", &run.stdout);
    is_clean("stderr", &run.stderr);
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                // The secrets themselves are here.
                _ if entry.file_name().as_encoded_bytes().starts_with(b"secret") => {}
                _ => is_clean(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap_or_default()),
            }
        }
    }
}

/// A host that takes the password of the home, and one that does not.
struct Lab {
    env: Env,
    server: Server,
    other: Server,
}

impl Lab {
    fn new() -> Lab {
        let env = Env::without_key();
        let start = |address: &str, password: String| {
            let addresses = vec![address.parse().expect("an address")];
            let server = Server::start(Config { addresses, password: Some(password), ..Config::default() });
            env.trust(&server.known_hosts());
            server
        };
        let (server, other) = (start("127.0.0.1", secret("login")), start("127.0.0.2", "another".to_owned()));
        secret_file(&env, "secret", &secret("login"));
        Lab { env, server, other }
    }

    fn hosts(&self) -> String {
        format!("{} {}", self.server.addr(), self.other.addr())
    }

    fn pssh(&self) -> Pssh {
        self.env.pssh().args(["-H", &self.hosts(), "-vvv", "--num-retries", "1"])
    }
}

// What is said.

#[test]
fn no_format_and_no_failure_tells_a_password() {
    let lab = Lab::new();
    let files = ["--junit", "junit.xml", "--failed-to", "failed", "-o", "out", "-e", "err"];
    for format in [&["--format", "lines"][..], &["-i"], &["--format", "gather"], &["--json"], &["--format", "status"]] {
        for source in [&["--password-file", "secret"][..], &["--password-command", "cat secret; env >&2"]] {
            let run =
                lab.pssh().args(format).args(files).args(source).args(["--times", "--", "echo out; exit 3"]).run();
            run.exits(4);
            run_is_clean(&run, &lab.env.path(""));
        }
    }
    assert!(lab.server.logged().len() > 10 && lab.other.auth_attempts() == 10, "it was told to both");
    // A problem with a source is reported without its contents.
    for contents in [secret("login") + "\n" + &secret("note"), secret("login").repeat(500)] {
        secret_file(&lab.env, "secret", &contents);
        for source in [&["--password-file", "secret"][..], &["--password-command", "cat secret"]] {
            let run = lab.pssh().args(source).arg("x").run();
            run.exits(2);
            run_is_clean(&run, &lab.env.path(""));
        }
    }
}

#[test]
fn a_passphrase_is_not_told() {
    let env = Env::without_key();
    ssh_keygen(&env.path("secret-key"), &["-t", "ed25519", "-N", &secret("key")]);
    let public = fs::read_to_string(env.path("secret-key.pub")).expect("a public key");
    let sshd = Sshd::start(&env, Setup { authorized: vec![public.trim().to_owned()], ..Setup::default() });
    for (passphrase, code) in [(secret("key"), 0), (secret("wrong"), 2)] {
        secret_file(&env, "secret", &passphrase);
        let pssh = env.pssh().hosts(sshd.hosts()).args(["-vvv", "--password-file", "secret"]);
        let run = pssh.args(["--identity", "secret-key", "-o", "out", "--", "true"]).run();
        run.exits(code);
        run_is_clean(&run, &env.path(""));
    }
}

#[test]
fn sudo_s_password_is_not_told() {
    let Some(fleet) = Fleet::new(2) else { return };
    let told = |run: &Run, what: &str| {
        for (stream, bytes) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            run.check(!found, &format!("{what}: {stream}"));
        }
    };
    for format in [&["--format", "lines"][..], &["-i"], &["--json"], &["--format", "gather"]] {
        let run = fleet.pssh().args(["-vvv", "--sudo"]).args(format).args(["--", "id -u; env; cat </dev/null"]).run();
        run.exits(0);
        told(&run, &format!("{format:?}"));
    }
    // On the host it is in no command line and no environment: those of the command itself and of all that is above it.
    let climb = "p=$$; while [ $p -gt 1 ]; do tr '\\0' ' ' </proc/$p/cmdline; cat /proc/$p/environ; \
                 p=$(awk '{ print $4 }' /proc/$p/stat); done";
    let run = fleet.pssh().args(["--sudo", "--", climb]).run();
    run.exits(0).check(run.stdout_text().contains("sudo"), "it has seen sudo");
    told(&run, "processes of the host");
}

#[test]
fn values_of_variables_are_not_told() {
    let lab = Lab::new();
    let config = lab.env.ssh_dir().join("config");
    fs::write(&config, format!("Host *\n  SetEnv \"SET={CORE}\"\n")).expect("a file");
    let run = |args: &[&str]| {
        let value = format!("VALUE={}", secret("value"));
        lab.pssh().args(["--password-file", "secret", "--env", &value]).args(args).run()
    };
    let explained = run(&["--explain"]);
    explained.exits(0).check(explained.stdout_text().contains("setenv VALUE=***\t# --env\n"), "its name");
    for run in [explained, run(&["--dry-run", "x"]), run(&["--json", "true"]), run(&["true"])] {
        is_clean("stdout", &run.stdout);
        is_clean("stderr", &run.stderr);
    }
}

// Programs that we start.

#[test]
fn programs_that_are_started_see_no_secret() {
    let lab = Lab::new();
    // Everything that the processes up to pssh itself have in their command lines and environments.
    let spy = lab.env.file(
        "spy",
        "#!/bin/bash\np=$$; for level in 1 2 3 4; do cat /proc/$p/cmdline /proc/$p/environ\n\
         p=$(awk '{ print $4 }' /proc/$p/stat); [ $p -gt 1 ] || break; done >\"$HOME/seen-$$\" 2>/dev/null\n\
         for f in /proc/self/fd/*; do readlink \"$f\"; done >\"$HOME/open-$$\"\ntrue\n",
    );
    tool("chmod", &["755".as_ref(), spy.as_os_str()]);
    let proxy = format!("{} && exec 3<>/dev/tcp/%h/%p && {{ cat <&3 & cat >&3; }}", spy.display());
    let proxy = lab.env.file("proxy", format!("#!/bin/bash\n{}", proxy.replace("%h", "$1").replace("%p", "$2")));
    tool("chmod", &["755".as_ref(), proxy.as_os_str()]);
    let options = ["--password-file", "secret", "--proxy-command"];
    let run = lab.pssh().args(options).arg(format!("{} %h %p", proxy.display())).args(["--", "true"]).run();
    run.exits(4).check(run.stderr_text().contains("with a password"), "the password was used");
    run_is_clean(&run, &lab.env.path(""));
    let command = format!("{}; cat secret", spy.display());
    lab.pssh().args(["--password-command", &command, "--", "true"]).run().exits(4);
    // rsync, and the program that it starts to reach the host.
    let rsync = lab.env.path("bin");
    fs::create_dir(&rsync).expect("a directory");
    let wrapper = format!("#!/bin/bash\n{}\nPATH=${{PATH#*:}} exec rsync \"$@\"\n", spy.display());
    fs::write(rsync.join("rsync"), wrapper).expect("a file");
    tool("chmod", &["755".as_ref(), rsync.join("rsync").as_os_str()]);
    let path = format!("{}:{}", rsync.display(), std::env::var("PATH").expect("PATH"));
    fs::create_dir(lab.env.path("there")).expect("a directory");
    let pssh = lab.env.run_of(Program::Prsync).hosts([lab.server.addr()]).variable("PATH", path);
    let run = pssh.args(["-v", "--password-file", "secret"]).arg(&spy).arg(lab.env.path("there")).run();
    run.exits(0);
    let names: Vec<_> = fs::read_dir(lab.env.path("")).expect("a home").flatten().map(|entry| entry.path()).collect();
    let seen = |start: &str| {
        let of_start = |path: &&std::path::PathBuf| {
            path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(start))
        };
        names.iter().filter(of_start).map(|path| fs::read(path).expect("a file")).collect::<Vec<_>>()
    };
    assert!(seen("seen-").len() >= 4, "two proxy commands, a password command and rsync");
    run_is_clean(&run, &lab.env.path(""));
    for open in seen("open-") {
        let open = String::from_utf8_lossy(&open).into_owned();
        assert!(!open.contains("secret"), "the file of the password is not inherited: {open}");
    }
}

// Memory.

/// A run on a host that has been told the password, and whose command has begun and goes on.
fn begun(lab: &Lab, args: &[&str]) -> Running {
    let pssh = lab.env.pssh().hosts([lab.server.addr()]).args(args).args(["--", "echo begun; sleep 977"]);
    let before = lab.server.commands().len();
    let running = pssh.shell("ulimit -S -c $(ulimit -H -c); exec \"$@\"").start();
    let has_begun = lab.server.wait_until(Duration::from_secs(20), |server| server.commands().len() > before);
    assert!(has_begun, "the command runs");
    running
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let lab = Lab::new();
    for program in [&["--password-file", "secret"][..], &["--password-file", "secret", "-i"]] {
        let mut running = begun(&lab, program);
        assert!(running.is_running());
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).expect("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        // A process that may not be dumped belongs to root in /proc, and other users may not inspect or trace it.
        let owner = fs::metadata(format!("/proc/{}/environ", running.id())).expect("a file").uid();
        assert_eq!(owner, 0);
        running.signal(Signal::ABORT);
        let run = running.finish();
        run.dies_by(Signal::ABORT).check(!run.status.core_dumped(), "no core");
    }
}

#[test]
fn a_password_is_in_memory_once() {
    if !getuid().is_root() {
        // Other users cannot look, which is the other half of it.
        return;
    }
    let lab = Lab::new();
    let mut counts = Vec::new();
    for args in [&["--password-file", "secret"][..], &["--password-command", "cat secret"]] {
        let mut running = begun(&lab, args);
        running.wait_for("begun");
        // The copy that was sent is gone a moment after the answer.
        thread::sleep(Duration::from_millis(300));
        counts.push(occurrences(running.id(), CORE.as_bytes()));
        running.signal(Signal::INT);
        running.finish().dies_by(Signal::INT);
    }
    assert_eq!(counts, [1, 1], "kept for the hosts that come later, and nowhere else");
}

/// How often the bytes are in the memory of a process that it can write to.
fn occurrences(id: u32, bytes: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).expect("its maps");
    let mut memory = fs::File::open(format!("/proc/{id}/mem")).expect("its memory");
    let mut count = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().expect("a range"), words.next().expect("a mode"));
        let (start, end) = range.split_once('-').expect("two addresses");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        if !mode.starts_with("rw") || memory.seek(SeekFrom::Start(start)).is_err() {
            continue;
        }
        let mut text = vec![0; (end - start) as usize];
        // Some of it cannot be read, such as [vvar].
        if memory.read_exact(&mut text).is_ok() {
            count += text.windows(bytes.len()).filter(|window| *window == bytes).count();
        }
    }
    count
}

// Files.

#[test]
fn files_have_safe_modes() {
    let lab = Lab::new();
    let args = ["--host-key-check", "accept-new", "--known-hosts", "new/known_hosts", "--password-file", "secret"];
    let files = ["-o", "out", "-e", "err", "--junit", "junit.xml", "--failed-to", "failed"];
    let pssh = lab.env.pssh().hosts([lab.server.addr()]).args(args).args(files).args(["--", "echo x"]);
    pssh.shell("umask 027; exec \"$@\"").run().exits(0);
    let mode = |path: &str| fs::metadata(lab.env.path(path)).expect(path).permissions().mode() & 0o7777;
    // What is ours to protect is for the owner alone; for the rest the user's umask decides.
    assert_eq!((mode("new"), mode("new/known_hosts")), (0o700, 0o600));
    let host = lab.server.addr().to_string();
    for path in [format!("out/{host}"), format!("err/{host}"), "junit.xml".to_owned(), "failed".to_owned()] {
        assert_eq!(mode(&path), 0o640, "{path}");
    }
    assert_eq!((mode("out"), mode("err")), (0o750, 0o750));
}
