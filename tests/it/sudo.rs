//! Commands as another user (`--sudo`, `--run-as`), with the system's own sudo and a user that is made for it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;
use pssh::{AgentChoice, Client, Secret, Settings, Source};
use rustix::process::Signal;

use crate::bin::{Env, Pssh, Run, tool};
use crate::embedded::{Key, KeyKind};
use crate::passwords::{Account, PASSWORD, secret_file};
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd};

/// A user who logs in with a key, and whom sudo knows.
pub(crate) struct Fleet {
    pub(crate) env: Env,
    sshd: Sshd,
    account: Account,
    rule: Rule,
    password: PathBuf,
}

/// A file of sudoers(5), removed at the end.
struct Rule(PathBuf);

impl Rule {
    fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("only root makes accounts");
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o440)).expect("a mode");
        let output = Command::new("visudo").args(["-c", "-q"]).output().expect("visudo comes with sudo");
        assert!(output.status.success(), "{text:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Fleet {
    /// Only root can make one: elsewhere there is nothing to try.
    pub(crate) fn new(hosts: usize) -> Option<Fleet> {
        let account = Account::make()?;
        assert!(
            Command::new("sudo").arg("-V").output().is_ok_and(|output| output.status.success()),
            "sudo is not installed, and these tests need it: apt-get install sudo"
        );
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts, ..Setup::default() });
        let password = secret_file(&env, "sudo-password", &format!("{PASSWORD}\n"));
        let rule = Rule(Path::new("/etc/sudoers.d").join(&account.name));
        let fleet = Fleet { env, sshd, account, rule, password };
        fleet.rule("ALL=(ALL) ALL", "");
        Some(fleet)
    }

    /// What the user may do, and options for it.
    fn rule(&self, what: &str, defaults: &str) {
        let name = &self.account.name;
        let defaults = if defaults.is_empty() { String::new() } else { format!("Defaults:{name} {defaults}\n") };
        self.rule.write(&format!("{defaults}{name} {what}\n"));
    }

    /// A run as the user, without sudo's password.
    fn asking(&self) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts()).args(["-v", "-l", &self.account.name])
    }

    pub(crate) fn pssh(&self) -> Pssh {
        self.asking().arg("--sudo-password-file").arg(&self.password)
    }

    fn label(&self) -> String {
        self.sshd.label()
    }

    /// Returns the processes of any user that have `words` in their command lines.
    fn processes(words: &str) -> Vec<String> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        lines.filter(|line| line.contains(words) && !line.contains("/pssh ")).collect()
    }

    /// Fails unless nothing of it is left after a second.
    #[track_caller]
    fn is_gone(words: &str) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while !Fleet::processes(words).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", Fleet::processes(words));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the guard for csh says.
const NOTHING_RUN: &str = "pssh: the shell here ends quoted words at newlines, as csh and tcsh do: nothing was run";

/// Whether a host has said one of the words that tell sudo's question and the command's beginning.
fn says_token(run: &Run, label: &str) -> bool {
    String::from_utf8_lossy(&run.stderr_of(label)).contains("pssh-")
}

/// A command that a test finds again among all processes.
fn sleeper() -> (String, String) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let words = format!("sleep 97{:05}.{}", std::process::id() % 100_000, NUMBER.fetch_add(1, Ordering::Relaxed));
    (format!("echo begun; {words}; echo no"), words)
}

#[test]
fn a_command_runs_as_root_or_another_user() {
    let Some(fleet) = Fleet::new(3) else { return };
    for defaults in ["use_pty", "!use_pty", "lecture=always", "passwd_tries=1"] {
        fleet.rule("ALL=(ALL) ALL", defaults);
        let run = fleet.pssh().args(["--sudo", "--", "id -un; echo fault >&2; exit 7"]).run();
        run.exits(5).stderr_lacks(PASSWORD);
        for label in fleet.sshd.labels() {
            run.ends(&label, "exit 7");
            run.check(run.stdout_of(&label) == b"root\n", "root has run it");
            let said = String::from_utf8(run.stderr_of(&label)).expect("text");
            let own = if defaults == "lecture=always" { said.ends_with("\nfault\n") } else { said == "fault\n" };
            run.check(own && !says_token(&run, &label), "no word of ours among the command's own");
        }
    }
    let run = fleet.pssh().args(["--run-as", "nobody", "--", "id -un; kill -TERM $$"]).run();
    run.exits(3).stderr_has("3 hosts: 3 signal");
    run.check(run.stdout_of(&fleet.label()) == b"nobody\n", "nobody has run it");
    let run = fleet.pssh().args(["--run-as", "#65534", "id", "-un"]).run();
    run.exits(0).check(run.stdout_of(&fleet.label()) == b"nobody\n", "by number");
}

#[test]
fn the_password_is_told_only_to_a_sudo_that_asks() {
    let Some(fleet) = Fleet::new(1) else { return };
    // What was told by mistake would be read by the command.
    for (rule, defaults) in [("ALL=(ALL) NOPASSWD: ALL", ""), ("ALL=(ALL) ALL", "timestamp_type=global")] {
        fleet.rule(rule, defaults);
        for _ in 0..2 {
            let run = fleet.pssh().args(["--sudo", "cat; id -un"]).run();
            run.exits(0).stdout_is(&format!("{}: root\n", fleet.label()));
        }
    }
    // The second time, it was remembered.
    fleet.asking().args(["--sudo", "id"]).run().exits(0);
}

#[test]
fn input_follows_the_password_whole() {
    const BYTES: usize = 5 << 20;
    let Some(fleet) = Fleet::new(2) else { return };
    let mut input: Vec<u8> =
        (0..BYTES as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    input.push(b'!');
    let file = fleet.env.file("input", &input);
    let sum =
        Command::new("sha256sum").stdin(fs::File::open(file).expect("a file")).output().expect("sha256sum").stdout;
    for (rule, defaults) in
        [("ALL=(ALL) ALL", "use_pty"), ("ALL=(ALL) ALL", "!use_pty"), ("ALL=(ALL) NOPASSWD: ALL", "use_pty")]
    {
        fleet.rule(rule, defaults);
        let run = fleet.pssh().args(["-I", "--run-as", "nobody", "sha256sum"]).stdin(input.clone()).run();
        run.exits(0);
        for label in fleet.sshd.labels() {
            run.check(run.stdout_of(&label) == sum, defaults);
        }
    }
}

#[test]
fn a_wrong_password_is_told_once() {
    let Some(fleet) = Fleet::new(1) else { return };
    let wrong = secret_file(&fleet.env, "wrong", "wr0ng");
    let run = fleet.asking().arg("--sudo-password-file").arg(&wrong).args(["--sudo", "id"]).run();
    run.exits(4).within(15).ends(&fleet.label(), "auth: sudo: the password was refused").stderr_lacks("wr0ng");
    run.check(!says_token(&run, &fleet.label()), "no word of ours").stdout_is("");
    assert_eq!(fleet.sshd.connections(), 1, "it is not tried again");
    Fleet::is_gone(&format!("-l {}", fleet.account.name));
    // With one try, sudo itself ends.
    fleet.rule("ALL=(ALL) ALL", "passwd_tries=1");
    let run = fleet.asking().arg("--sudo-password-file").arg(&wrong).args(["--sudo", "id"]).run();
    run.exits(4).ends(
        &fleet.label(),
        "auth: sudo: ended before the command started (exit status 1): \"1 incorrect password attempt\"",
    );
}

#[test]
fn what_sudo_refuses_is_no_exit_status_of_the_command() {
    let Some(fleet) = Fleet::new(1) else { return };
    let begins = |args: &[&str], words: &str| {
        let run = fleet.pssh().args(args).args(["--", "echo ran"]).run();
        run.exits(4)
            .stdout_is("")
            .ends(&fleet.label(), "auth: sudo: ended before the command started (exit status 1): ");
        run.check(run.outcome(&fleet.label()).contains(words), words);
        run.stderr_lacks("s=0").stderr_lacks("/proc/").stderr_lacks("exec \"$@\"").stderr_lacks("bin/sh /");
    };
    begins(&["--run-as", "no-such-user"], "unknown user no-such-user");
    fleet.rule("ALL=(nobody) ALL", "");
    begins(&["--sudo"], "is not allowed to execute");
    fleet.rule("ALL=(ALL) ALL", "requiretty");
    begins(&["--sudo"], "you must have a tty");
    fleet.rule("localhost=(ALL) ALL", "");
    begins(&["--sudo"], "");
}

#[test]
fn a_server_that_runs_something_else_is_found_out() {
    let Some(fleet) = Fleet::new(1) else { return };
    let setup = Setup { config: "ForceCommand echo something else\n", ..Setup::default() };
    let sshd = Sshd::start(&fleet.env, setup);
    let run = fleet.env.pssh().hosts(sshd.hosts()).args(["-l", &fleet.account.name, "--sudo", "id"]).run();
    run.exits(4).ends(&sshd.label(), "auth: sudo: ended before the command started (exit status 0)");
}

#[test]
fn a_host_with_another_key_is_not_told_the_password() {
    let Some(fleet) = Fleet::new(1) else { return };
    let sshd = Sshd::start(&fleet.env, Setup { trusted: false, ..Setup::default() });
    fleet.env.trust(&(Key::generate(KeyKind::Ed25519).known_hosts_line("127.0.1.1", sshd.port()) + "\n"));
    let pssh = || {
        let pssh = fleet.env.pssh().hosts(sshd.hosts()).args(["-l", &fleet.account.name, "--host-key-check", "off"]);
        pssh.arg("--sudo-password-file").arg(&fleet.password).args(["--sudo", "id", "-un"])
    };
    let run = pssh().run();
    run.exits(4).stderr_has("auth: sudo: it asks for a password, but the host key has changed");
    fleet.rule("ALL=(ALL) NOPASSWD: ALL", "");
    pssh().run().exits(0);
}

#[test]
fn without_a_password_and_a_terminal_sudo_is_not_kept_waiting() {
    let Some(fleet) = Fleet::new(2) else { return };
    let run = fleet.asking().args(["--sudo", "id"]).run();
    run.exits(4)
        .within(15)
        .ends(&fleet.label(), "auth: sudo: it asks for a password, and there is no terminal to ask on");
    let quiet = fleet.env.pssh().hosts(fleet.sshd.hosts()).args(["-l", &fleet.account.name, "--sudo", "id"]).run();
    quiet.hints(&fleet.label(), "--sudo-password-file");
    Fleet::is_gone(&format!("-l {}", fleet.account.name));
}

#[test]
fn the_password_is_asked_for_once() {
    let Some(fleet) = Fleet::new(4) else { return };
    let pty = Pty::new();
    // The time limit of the command pauses while the user is asked.
    let run = fleet.asking().args(["-p", "3", "-t", "2", "--channel-timeout", "2", "--sudo", "--", "id -un; sleep 1"]);
    let running = pty.control(run).start();
    pty.wait_for("Password for sudo on all hosts: ", 1);
    assert!(!pty.echoes());
    thread::sleep(Duration::from_millis(2500));
    pty.type_in(&format!("{PASSWORD}\n"));
    let run = running.finish();
    run.exits(0).stderr_has("4 hosts: 4 ok").stderr_lacks(PASSWORD);
    assert!(pty.echoes() && !pty.shown().contains(PASSWORD), "{:?}", pty.shown());
    assert_eq!(pty.shown().matches("Password").count(), 1, "{:?}", pty.shown());

    let pty = Pty::new();
    let running = pty.control(fleet.asking().args(["--sudo", "id"])).start();
    pty.wait_for("Password for sudo on all hosts: ", 1);
    pty.type_in("\n");
    let run = running.finish();
    run.exits(4).stderr_has("4 hosts: 4 auth").stderr_has("it asks for a password, and nothing was entered");
}

#[test]
fn an_empty_answer_is_the_password_of_the_login() {
    let Some(fleet) = Fleet::new(2) else { return };
    let pty = Pty::new();
    let running = pty.control(fleet.asking().args(["-A", "--sudo", "--", "id -un"])).start();
    pty.wait_for("Password for all hosts: ", 1);
    pty.type_in(&format!("{PASSWORD}\n"));
    pty.wait_for("Password for sudo on all hosts (Enter: same as for login): ", 1);
    assert!(!pty.echoes());
    pty.type_in("\n");
    let run = running.finish();
    run.exits(0).stderr_has("2 hosts: 2 ok").stderr_lacks(PASSWORD);
    run.check(run.stdout_of(&fleet.label()) == b"root\n", "by sudo");
    assert!(pty.echoes() && !pty.shown().contains(PASSWORD), "{:?}", pty.shown());
    // Another one is another one, whichever is right.
    let pty = Pty::new();
    let running = pty.control(fleet.asking().args(["-A", "--sudo", "--", "id -un"])).start();
    pty.wait_for("Password for all hosts: ", 1);
    pty.type_in("wrong\n");
    pty.wait_for("Password for sudo on all hosts (Enter: same as for login): ", 1);
    pty.type_in(&format!("{PASSWORD}\n"));
    running.finish().exits(0).stderr_has("2 hosts: 2 ok");
}

#[test]
fn a_question_ends_with_those_who_wait_for_the_answer() {
    let Some(fleet) = Fleet::new(2) else { return };
    let pty = Pty::new();
    let running = pty.control(fleet.asking().args(["--sudo", "id"])).start();
    pty.wait_for("Password for sudo on all hosts: ", 1);
    pty.type_in("\x03");
    running.finish().exits(130).within(20).stderr_has("2 hosts: 2 cancelled");
    assert!(pty.echoes(), "the terminal is as it was");
    // sudo waits for 1.2 s.
    fleet.rule("ALL=(ALL) ALL", "passwd_timeout=0.02");
    let pty = Pty::new();
    let run = pty.control(fleet.asking().args(["--sudo", "id"])).run();
    run.exits(4).within(20).ends(&fleet.label(), "auth: sudo: ended before the command started (exit status 1): ");
    assert!(pty.echoes(), "the terminal is as it was");
    Fleet::is_gone(&format!("-l {}", fleet.account.name));
}

#[test]
fn commands_come_through_every_login_shell() {
    let Some(fleet) = Fleet::new(1) else { return };
    let command = r#"printf '%s|' "it's" 'a\b!' `echo c` é"#;
    for shell in ["/bin/sh", "/bin/bash", "/bin/dash", "/bin/zsh", "/bin/csh", "/usr/bin/fish"] {
        if !Path::new(shell).exists() {
            assert!(!shell.starts_with("/bin/sh") && !shell.starts_with("/bin/bash"), "{shell} is needed");
            continue;
        }
        tool("usermod", &["-s", shell, &fleet.account.name].map(OsStr::new));
        // The same as without sudo, whatever the shell makes of it.
        let plain = fleet.asking().arg("--").arg(command).run();
        let run = fleet.pssh().args(["--sudo", "--"]).arg(command).run();
        run.check(run.status.code() == plain.status.code() && run.stdout == plain.stdout, shell);
        if shell != "/bin/csh" && shell != "/usr/bin/fish" {
            run.exits(0).stdout_is(&format!("{}: it's|a\\b!|c|é|\n", fleet.label()));
        }
    }
}

#[test]
fn newlines_within_our_quotes_run_no_lines_of_their_own_in_any_login_shell() {
    let Some(fleet) = Fleet::new(1) else { return };
    let ran = fleet.env.path("shared").join("ran");
    fs::create_dir_all(ran.parent().expect("a directory")).expect("a directory");
    fs::set_permissions(ran.parent().expect("a directory"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    // The second line of each is data, and would be a command of its own.
    let line = format!("touch {}", ran.display());
    let value = format!("{}=a\n{line}\nb", fleet.sshd.hosts()[0]);
    let script = fleet.env.file("script.sh", format!("cat <<END\na\n{line}\nb\nEND\n"));
    let expected = format!("a\n{line}\nb\n");
    let words = ["printf", "%s\\n", &format!("a\n{line}\nb")].map(str::to_owned);
    let quoted = format!("printf '%s\\n' 'a\n{line}\nb'");
    for shell in ["/bin/sh", "/bin/bash", "/bin/dash", "/bin/zsh", "/usr/bin/fish", "/bin/bsd-csh", "/bin/tcsh"] {
        assert!(Path::new(shell).exists(), "{shell} is not installed, and this test needs it");
        tool("usermod", &["-s", shell, &fleet.account.name].map(OsStr::new));
        let runs = [
            fleet.asking().args(["--host-arg", &value, "--", "printf '%%s\\n' %q"]),
            fleet.asking().args(["--no-shell", "--"]).args(&words),
            fleet.asking().args(["--shell", "sh -c", "--", &quoted]),
            fleet.asking().arg("-I").arg("--script").arg(&script).stdin(""),
            fleet.pssh().args(["--sudo", "--no-shell", "--"]).args(&words),
            fleet.pssh().args(["--sudo", "--host-arg", &value, "--", "printf '%%s\\n' %q"]),
            fleet.pssh().args(["--sudo", "--script"]).arg(&script),
        ];
        for run in runs {
            let run = run.run();
            run.check(!ran.exists(), &format!("{shell}: no line is run by itself"));
            if shell.ends_with("csh") {
                // By sudo or not: it was never started.
                run.exits(5).ends(&fleet.label(), "exit 126").stderr_lacks("requiretty").stderr_has(NOTHING_RUN);
            } else {
                run.exits(0).check(run.stdout_of(&fleet.label()) == expected.as_bytes(), shell);
            }
        }
    }
    // The shell that reads the value may be another than the login shell: each is guarded for itself, whatever its options are.
    let shells = ["sh -uc", "zsh -uc", "fish -c", "csh -c", "tcsh -c", "env tcsh -c", "csh -fc", "su -s /bin/csh -c"];
    for login in ["/bin/bash", "/bin/zsh", "/bin/tcsh"] {
        tool("usermod", &["-s", login, &fleet.account.name].map(OsStr::new));
        for shell in shells {
            for sudo in [false, true] {
                let run = if sudo { fleet.pssh().arg("--sudo") } else { fleet.asking() };
                if shell.starts_with("su ") && !sudo {
                    continue;
                }
                let run = run.args(["--shell", shell, "--host-arg", &value, "--", "printf '%%s\\n' %q"]).run();
                let context = format!("{login}, {shell}, sudo: {sudo}");
                run.check(!ran.exists(), &format!("{context}: no line is run by itself"));
                if login.ends_with("csh") || shell.contains("csh") {
                    run.exits(5).ends(&fleet.label(), "exit 126").stderr_has(NOTHING_RUN);
                } else {
                    run.exits(0).check(run.stdout_of(&fleet.label()) == expected.as_bytes(), &context);
                }
            }
        }
    }
    // What the user quotes himself is his, as with ssh.
    let run = fleet.asking().arg("--").arg("echo a\necho b").run();
    run.exits(0).check(run.stdout_of(&fleet.label()) == b"a\nb\n", "two lines are two commands in csh, too");
}

#[test]
fn scripts_and_long_commands_run_by_sudo() {
    let Some(fleet) = Fleet::new(2) else { return };
    let shell = fleet.env.file("it's.sh", "#!/bin/bash\necho \"$(id -un)|$0|$1|$SUDO_USER\"; cat\n");
    let perl = fleet.env.file("x.pl", "#!/usr/bin/perl\nprint \"$> @ARGV\\n\", <STDIN>;\n");
    let filled = "# it's 'filled' $so `that` it is long\n".repeat(2000);
    let long = fleet.env.file("long.sh", format!("{filled}id -un; echo \"$0|$1\"; cat\n"));
    let user = &fleet.account.name;
    for (script, input, said) in [
        (&shell, true, format!("nobody|it's.sh|a 'b|{user}\nin\n")),
        (&perl, true, "65534 a 'b\nin\n".to_owned()),
        (&long, false, "nobody\nlong.sh|a 'b\n".to_owned()),
    ] {
        let run = fleet.pssh().args(["--run-as", "nobody", "--script"]).arg(script);
        let run = if input { run.arg("-I").stdin("in\n") } else { run }.arg("a 'b").run();
        run.exits(0);
        for label in fleet.sshd.labels() {
            run.check(run.stdout_of(&label) == said.as_bytes(), &said);
        }
    }
    let run = fleet.pssh().args(["--sudo", "--"]).arg(format!("{filled}id -un; cat; exit 3")).run();
    run.exits(5).check(run.stdout_of(&fleet.label()) == b"root\n", "root has run it").ends(&fleet.label(), "exit 3");
}

#[test]
fn a_command_is_stopped_with_all_that_it_has_started() {
    let Some(fleet) = Fleet::new(2) else { return };
    let (all, user) = ("ALL=(ALL) ALL", "--run-as=nobody");
    for (rule, defaults, how) in [
        (all, "use_pty", "--sudo"),
        (all, "!use_pty", "--sudo"),
        (all, "use_pty", user),
        (all, "!use_pty", user),
        ("ALL=(ALL) NOPASSWD: ALL", "use_pty", "--sudo"),
    ] {
        fleet.rule(rule, defaults);
        let (command, words) = sleeper();
        let run = fleet.pssh().args(["-t", "1", how, "--", &command]).run();
        run.exits(3)
            .within(15)
            .ends(&fleet.label(), "timeout command")
            .check(run.stdout_of(&fleet.label()) == b"begun\n", how);
        Fleet::is_gone(&words);
        // Ctrl-C, and a command that does not heed TERM and has started another.
        let (command, words) = sleeper();
        let stubborn = format!("trap '' TERM; timeout 500 {words} & {command}");
        let mut running = fleet.pssh().args([how, "--", &stubborn]).start();
        running.wait_for("127.0.1.1: begun");
        running.wait_for("127.0.1.2: begun");
        running.signal(Signal::INT);
        running.finish().dies_by(Signal::INT).within(20).stderr_has("2 hosts: 2 cancelled");
        Fleet::is_gone(&words);
    }
}

#[test]
fn a_server_with_room_for_one_channel_tells_sudo() {
    let Some(fleet) = Fleet::new(1) else { return };
    let sshd = Sshd::start(&fleet.env, Setup { config: "MaxSessions 1\n", ..Setup::default() });
    let (_, words) = sleeper();
    let pssh = fleet.env.pssh().hosts(sshd.hosts()).args(["-l", &fleet.account.name, "-t", "1"]);
    let run = pssh.arg("--sudo-password-file").arg(&fleet.password).args(["--sudo", "exec", &words]).run();
    run.exits(3).within(15).ends(&sshd.label(), "timeout command");
    Fleet::is_gone(&words);
}

#[test]
fn a_terminal_on_the_host_is_no_obstacle() {
    let Some(fleet) = Fleet::new(2) else { return };
    for defaults in ["use_pty", "!use_pty", "requiretty"] {
        fleet.rule("ALL=(ALL) ALL", defaults);
        let run = fleet.pssh().args(["--pty", "--sudo", "--", "test -t 1 && id -un; exit 7"]).run();
        run.exits(5).stderr_lacks(PASSWORD);
        for label in fleet.sshd.labels() {
            run.ends(&label, "exit 7");
            run.check(run.stdout_of(&label) == b"root\r\n", "nothing but the command's own output");
        }
        let (command, words) = sleeper();
        let run =
            fleet.pssh().args(["-t", "1", "--pty", "--sudo", "--", &format!("trap '' HUP TERM; {command}")]).run();
        run.exits(3).within(15).ends(&fleet.label(), "timeout command");
        Fleet::is_gone(&words);
    }
    fleet.rule("ALL=(ALL) ALL", "");
    let wrong = secret_file(&fleet.env, "wrong", "wr0ng");
    let run = fleet.asking().args(["--pty", "--sudo", "--sudo-password-file"]).arg(&wrong).arg("id").run();
    run.exits(4).within(15).ends(&fleet.label(), "auth: sudo: the password was refused");
    run.check(!String::from_utf8_lossy(&run.stdout).contains("wr0ng"), "the password is not echoed");
    Fleet::is_gone(&format!("-l {}", fleet.account.name));
}

#[test]
fn batch_mode_asks_nobody() {
    let Some(fleet) = Fleet::new(1) else { return };
    let pty = Pty::new();
    let run = pty.control(fleet.asking().args(["-O", "BatchMode=yes", "--sudo", "id"])).run();
    run.exits(4).ends(&fleet.label(), "auth: sudo: it asks for a password, and BatchMode lets nothing be asked");
    assert_eq!(pty.shown(), "");
}

#[test]
fn a_dry_run_shows_sudo_and_needs_no_password() {
    let env = Env::new();
    let script = env.file("x.sh", "#!/bin/sh -e\nid\n");
    let dry = |options: &[&str]| {
        let run = env.pssh().args(["-H", "web1", "--run-as", "www", "--sudo-password-file", "missing", "--dry-run"]);
        run.args(options)
    };
    let run = dry(&["--script"]).arg("x.sh").args(["--host-arg", "web1=it's", "%s", "b c"]).run();
    run.exits(0).stdout_is("web1: sudo -u 'www' --script 'x.sh' 'it'\\''s' 'b c'\n");
    dry(&["id", "-u"]).run().exits(0).stdout_is("web1: sudo -u 'www' id -u\n");
    env.pssh().args(["-H", "web1", "--sudo", "--dry-run", "id"]).run().exits(0).stdout_is("web1: sudo id\n");
    let run = dry(&["-v", "--script"]).arg(script).args(["--host-arg", "web1=it's", "%s"]).run();
    let said = run.exits(0).stdout_text();
    // The script has newlines: before it stands what keeps csh from them.
    let is_shown = said.starts_with("web1: $'test \"") && said.contains(r"\nexec sudo -S -p ");
    run.check(is_shown && said.lines().count() == 1, "the line, in one line");
    let program = r"\'/bin/sh\' \'-e\' -c \'#";
    run.check(said.contains(r"-u \'www\' -- sh -c ") && said.contains(program), "the user and the script");
    let argument = r" \'x.sh\' \'it\'\\\'\'s\''";
    run.check(said.trim_end().ends_with(argument), argument);
}

#[test]
fn options_for_sudo_are_checked() {
    let env = Env::new();
    for (args, words) in [
        (&["--sudo-password-file", "x", "id"][..], "--sudo-password-file needs --sudo or --run-as USER"),
        (&["--run-as=-u", "id"], "a user name cannot begin with -"),
        (&["--run-as", "", "id"], "the name is empty"),
    ] {
        let status = if args.contains(&"missing") { 1 } else { 2 };
        env.pssh().args(["-H", "127.0.0.1"]).args(args).run().exits(status).stderr_has(words);
    }
    let run = env.pssh().args(["-H", "127.0.0.1", "--sudo", "--sudo-password-file", "missing", "id"]).run();
    run.exits(1).stderr_has("--sudo-password-file missing: ");
    let open = env.file("open", "secret");
    let run = env.pssh().args(["-H", "127.0.0.1", "--sudo", "--sudo-password-file"]).arg(open).arg("id").run();
    run.exits(2).stderr_has("too open").stderr_lacks("secret\n");
}

#[test]
fn the_librarys_client_runs_commands_as_another_user() {
    let Some(fleet) = Fleet::new(2) else { return };
    let mut settings = Settings::for_library().expect("settings");
    settings.user = Some(fleet.account.name.clone());
    settings.known_hosts = vec![fleet.env.known_hosts()];
    settings.identities = vec![fleet.env.ssh_dir().join("id_ed25519")];
    settings.agent = AgentChoice::Nobody;
    settings.config_files = pssh::internal::Files::of("", Some("none".as_ref()));
    settings.sudo_password = Some(Source::Given(Arc::new(Secret::new(PASSWORD.as_bytes()))));
    let client = Client::new(fleet.sshd.hosts(), settings).expect("hosts");
    for (user, name) in [(None, "root"), (Some("nobody"), "nobody")] {
        let run = client.command("id -un; cat").sudo(user).with_stdin().run().expect("it starts");
        for host in &run {
            writeln!(host.stdin().expect("once"), "input").expect("somebody reads");
            let said: Vec<_> = host.stdout().map(|line| line.expect("a line")).collect();
            assert_eq!(said, [name.as_bytes(), b"input"], "{:?}", host.outcome());
        }
    }
    assert!(client.command("id").sudo(Some("-u x")).run().is_err());
}

#[test]
fn files_of_root_are_written_and_read() {
    let Some(fleet) = Fleet::new(1) else { return };
    let root = tempfile::TempDir::new().expect("a temporary directory");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(root.path(), 0o700);
    let secret = root.path().join("secret");
    fs::write(&secret, "of root\n").expect("a file");
    mode(&secret, 0o600);
    let file = fleet.env.file("new", "by sudo\n");
    let run = |program, sudo: bool| {
        let run = fleet.env.run_of(program).hosts(fleet.sshd.hosts()).args(["-v", "-l", &fleet.account.name]);
        if sudo { run.arg("--sudo").arg("--sudo-password-file").arg(&fleet.password) } else { run }
    };
    // It is root's directory: nothing without sudo.
    run(Program::Pscp, false).arg(&file).arg(root.path()).run().exits(4);
    run(Program::Pslurp, false).arg(&secret).arg("x").run().exits(5);
    run(Program::Pscp, true).arg(&file).arg(root.path()).run().exits(0).stderr_lacks(PASSWORD);
    assert_eq!(fs::read(root.path().join("new")).expect("the file"), b"by sudo\n");
    run(Program::Pslurp, true).arg(&secret).arg("x").run().exits(0);
    let host = fleet.env.path(&fleet.sshd.hosts()[0]);
    assert_eq!(fs::read(host.join("x")).expect("the file"), b"of root\n");
    // What is replaced stays what it was.
    run(Program::Pscp, true).arg(&file).arg(&secret).run().exits(0);
    assert_eq!(fs::metadata(&secret).expect("it").permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_wrong_password_copies_nothing() {
    let Some(fleet) = Fleet::new(1) else { return };
    let wrong = secret_file(&fleet.env, "wrong", "not it\n");
    let file = fleet.env.file("new", "x");
    let run = fleet.env.run_of(Program::Pscp).hosts(fleet.sshd.hosts()).args(["-l", &fleet.account.name, "--sudo"]);
    let run = run.arg("--sudo-password-file").arg(&wrong).arg(&file).arg("/root/pssh-test-nothing").run();
    run.exits(4).check(run.stdout_text().contains(" auth: sudo: "), "the outcome");
}
