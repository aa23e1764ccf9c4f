//! One program under five names, and the small ones that start it.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;

use crate::bin::{path_of, tool};

const LAUNCHERS: [Program; 4] = [Program::Pscp, Program::Pslurp, Program::Prsync, Program::Pnuke];

/// Runs a program without any environment.
fn run(command: &mut Command) -> Output {
    command.env_clear().stdin(Stdio::null()).output().expect("it can be run")
}

/// Copies a program. Another process does: a child that a test starts meanwhile would inherit the open file, which could then not be run.
fn copy(from: &str, to: &Path) {
    tool("cp", &[from.as_ref(), to.as_os_str()]);
}

/// Which program says its version.
#[track_caller]
fn speaks(command: &mut Command) -> String {
    let output = run(command.arg("--version"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_launcher_finds_pssh_beside_its_own_file() {
    let dir = tempfile::tempdir().expect("a directory");
    for program in LAUNCHERS {
        let (name, file) = (program.name(), Path::new(path_of(program)));
        assert_eq!(speaks(&mut Command::new(file)), name);
        // By symbolic links in a directory without a pssh, whatever they are called.
        for link in [name, program.debian_name(), "foo"] {
            let link = dir.path().join(format!("{link} of {name}"));
            symlink(file, &link).expect("a link");
            assert_eq!(speaks(&mut Command::new(&link)), name, "{}", link.display());
        }
        let directory = file.parent().expect("a directory");
        // By a relative path, and by PATH.
        assert_eq!(speaks(Command::new(format!("./{name}")).current_dir(directory)), name);
        let shell = format!("PATH={}; exec {name} \"$@\"", directory.display());
        assert_eq!(speaks(Command::new("sh").args(["-c", &shell, "sh"]).current_dir("/")), name);
    }
}

#[test]
fn a_launcher_keeps_its_name_whatever_it_is_called_by() {
    for argv0 in ["pnuke", "pssh", "parallel-rsync", "foo", "", "/usr/bin/prsync"] {
        assert_eq!(speaks(Command::new(path_of(Program::Pscp)).arg0(argv0)), "pscp", "{argv0:?}");
    }
}

#[test]
fn pssh_is_the_program_that_it_is_called_by() {
    let dir = tempfile::tempdir().expect("a directory");
    let pssh = path_of(Program::Pssh);
    for program in Program::ALL {
        for name in [program.name(), program.debian_name()] {
            assert_eq!(speaks(Command::new(pssh).arg0(name)), program.name(), "{name}");
            assert_eq!(speaks(Command::new(pssh).arg0(format!("/no/such/{name}"))), program.name(), "{name}");
            let link = dir.path().join(name);
            symlink(pssh, &link).expect("a link");
            assert_eq!(speaks(&mut Command::new(&link)), program.name(), "{name}");
        }
    }
    let foo = dir.path().join("foo");
    symlink(pssh, &foo).expect("a link");
    assert_eq!(speaks(&mut Command::new(&foo)), "pssh");
    for argv0 in [&b""[..], b"/", b"pscp2", b"-pscp", b"\xff"] {
        assert_eq!(speaks(Command::new(pssh).arg0(OsStr::from_bytes(argv0))), "pssh", "{argv0:?}");
    }
}

#[test]
fn only_the_name_decides() {
    // Neither what a shell says of itself and of the command in the environment, nor a word that would be a name.
    let mut command = Command::new(path_of(Program::Pssh));
    command.env_clear().args(["--dry-run", "-H", "web1", "pscp"]);
    for name in ["_", "PSSH", "PSSH_PROGRAM", "PSSH_NAME", "ARGV0", "EXECUTABLE_NAME"] {
        command.env(name, "/usr/bin/pscp");
    }
    let output = command.stdin(Stdio::null()).output().expect("it can be run");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "web1: pscp\n", "{}", stderr(&output));
}

#[test]
fn without_pssh_a_launcher_says_what_is_missing() {
    for program in LAUNCHERS {
        let (name, dir) = (program.name(), tempfile::tempdir().expect("a directory"));
        let directory = dir.path().canonicalize().expect("a path");
        let (launcher, pssh) = (directory.join(name), directory.join("pssh"));
        copy(path_of(program), &launcher);
        let fails = |problem: &str| {
            let output = run(Command::new(&launcher).args(["-H", "web1", "a", "b"]));
            let expected = format!(
                "{name}: cannot run {}: {problem}\n  hint: {name} starts the pssh in its own directory; install both there, or \
                 make {name} a symbolic link to pssh\n",
                pssh.display()
            );
            assert_eq!((output.status.code(), stderr(&output)), (Some(1), expected));
        };
        fails("No such file or directory");
        // It would start itself without end.
        symlink(name, &pssh).expect("a link");
        fails("it is this launcher, not pssh");
        fs::remove_file(&pssh).expect("the link");
        fs::hard_link(&launcher, &pssh).expect("a link");
        fails("it is this launcher, not pssh");
        fs::remove_file(&pssh).expect("the link");
        fs::write(&pssh, "").expect("a file");
        fails("Permission denied");
        // The original pssh would run the names of the files as a command.
        let ran = directory.join("ran");
        fs::write(&pssh, format!("#!/bin/sh\n>{}\n", ran.display())).expect("a script");
        fs::set_permissions(&pssh, Permissions::from_mode(0o755)).expect("a program");
        fails("it is a script, not the pssh of this suite");
        assert!(!ran.exists(), "{name} ran it");
    }
}

#[test]
fn a_process_has_the_name_of_the_program_and_is_the_only_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join(Program::Prsync.debian_name());
    symlink(path_of(Program::Pssh), &link).expect("a link");
    let launchers = LAUNCHERS.map(|program| (Path::new(path_of(program)).to_owned(), program.name()));
    for (file, name) in launchers.into_iter().chain([(link, Program::Prsync.debian_name())]) {
        // It waits for hosts.
        let mut command = Command::new(&file);
        let arguments: &[&str] = if name == "pnuke" { &["-h", "-", "a"] } else { &["-h", "-", "a", "b"] };
        command.args(arguments).env_clear().stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be run");
        let proc = Path::new("/proc").join(child.id().to_string());
        let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
        let reads_hosts = || {
            let is_pssh = fs::read_link(proc.join("exe")).is_ok_and(|exe| exe.ends_with("pssh"));
            // In the middle of execve(2) there are no arguments yet.
            is_pssh && read("comm") == format!("{name}\n") && !read("cmdline").is_empty()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !reads_hosts() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let seen = (read("comm"), read("cmdline"), read(&format!("task/{}/children", child.id())));
        // No hosts at all: a wrong use, and the status is that of this process.
        drop(child.stdin.take());
        let status = child.wait().expect("it ends");
        let called = if name.starts_with("parallel-") { file.to_str().expect("text") } else { name };
        let cmdline = format!("{called}\0{}\0", arguments.join("\0"));
        assert_eq!(seen, (format!("{name}\n"), cmdline, String::new()));
        assert_eq!(status.code(), Some(2), "{name}");
    }
}

#[test]
fn a_launcher_hands_over_arguments_streams_and_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let launcher = dir.path().join("pnuke");
    copy(path_of(Program::Pnuke), &launcher);
    // What pssh gets: the process, its descriptors, each argument; and signals as they were. A shell in its place tells.
    copy("/bin/sh", &dir.path().join("pssh"));
    let script = "echo $$; printf '<%s>' \"$@\"; echo; for fd in 0 1 2 7; do [ -e /proc/$$/fd/$fd ] && echo $fd; done\n\
                  grep -o 'SigIgn:.*[0-9a-f]\\{4\\}$' /proc/$$/status | sed 's/:.*\\(....\\)$/ \\1/'; exit 42\n";
    let shell = "echo $$; trap '' HUP; exec \"$@\" 7</dev/null 2>&-";
    let mut command = Command::new("sh");
    command.args(["-c", shell, "sh"]).arg(&launcher);
    command.args(["-c", script, "sh", "", "a b", "--", "-x"]).arg(OsStr::from_bytes(b"\xff\n"));
    let output = run(command.stdin(Stdio::null()));
    let (pid, rest) = output.stdout.split_at(output.stdout.iter().position(|byte| *byte == b'\n').expect("a line") + 1);
    // SIGHUP is bit 0; SIGPIPE, which Rust ignores, is not among them. Higher bits may be signals of the C library.
    let expected = [pid, b"<><a b><--><-x><\xff\n>\n0\n1\n7\nSigIgn 0001\n"].concat();
    assert_eq!(String::from_utf8_lossy(rest), String::from_utf8_lossy(&expected));
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn closed_streams_are_closed_for_the_program_too() {
    for program in LAUNCHERS {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&-", "sh", path_of(program), "--version"]);
        let output = run(&mut command);
        let expected = format!(
            "{}: standard output is closed, so all output would be lost; to discard it use > /dev/null\n",
            program.name()
        );
        assert_eq!((output.status.code(), stderr(&output)), (Some(1), expected));
    }
}

#[test]
fn the_launchers_are_small() {
    let size = |program| fs::metadata(path_of(program)).expect("a program").len();
    for program in LAUNCHERS {
        let (launcher, pssh) = (size(program), size(Program::Pssh));
        assert!(launcher * 5 < pssh, "{}: {launcher} bytes, pssh {pssh}: it has the library in it", program.name());
    }
}

#[test]
fn only_rsync_calls_the_remote_shell_and_prsync_answers() {
    let output = run(Command::new(path_of(Program::Pssh)).arg("--remote-shell"));
    let expected = "prsync: --remote-shell (which only rsync uses): the socket is missing\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(255), expected));
}
