//! Passwords, questions of servers, and several factors, against a real sshd where it can be made to ask, and against the
//! embedded server.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::getuid;

use crate::bin::{Env, Pssh};
use crate::embedded::{Config, Event, Key, KeyKind, Prompt, Server};
use crate::pty::Pty;
use crate::raw::{
    Raw, Script, USERAUTH_FAILURE, USERAUTH_INFO_REQUEST, USERAUTH_INFO_RESPONSE, USERAUTH_REQUEST, Wire, string,
};
use crate::sshd::{Setup, Sshd};

/// The password of all users of these tests.
pub(crate) const PASSWORD: &str = "corr3ct horse";

/// A user with a password. Only root can make one: elsewhere the tests that need one have nothing to try.
pub(crate) struct Account {
    pub(crate) name: String,
}

impl Account {
    pub(crate) fn make() -> Option<Account> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        if !getuid().is_root() {
            return None;
        }
        let name = format!("pssh-pass-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let args = ["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", &name];
        assert!(Command::new("useradd").args(args).status().expect("useradd").success());
        let account = Account { name };
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("chpasswd");
        let line = format!("{}:{PASSWORD}\n", account.name);
        chpasswd.stdin.take().expect("a pipe").write_all(line.as_bytes()).expect("chpasswd reads");
        assert!(chpasswd.wait().expect("chpasswd").success());
        Some(account)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // -f, as the last processes of the user may still be on their way out. There is nobody to tell if it fails.
        let _ = Command::new("userdel").arg("-f").arg(&self.name).output();
    }
}

/// A file that only its owner can read.
pub(crate) fn secret_file(env: &Env, name: &str, contents: &str) -> PathBuf {
    let path = env.file(name, contents);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

fn with_file(run: Pssh, path: &Path) -> Pssh {
    run.arg("--password-file").arg(path)
}

/// An embedded server that the home trusts.
fn trusted(env: &Env, config: Config) -> Server {
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    server
}

fn prompt(text: &str, answer: &str) -> Prompt {
    Prompt { text: text.to_owned(), echo: false, answer: answer.to_owned() }
}

/// How often a method was judged.
fn attempts(server: &Server, wanted: &str) -> usize {
    let judged = |event: &Event| matches!(event, Event::Auth { method, .. } if *method == wanted);
    server.logged().iter().filter(|record| judged(&record.event)).count()
}

#[test]
fn sshd_takes_a_password_from_every_source() {
    let Some(account) = Account::make() else { return };
    let env = Env::without_key();
    let sshd = Sshd::start(&env, Setup { config: "PasswordAuthentication yes\n", ..Setup::default() });
    let file = secret_file(&env, "password", &format!("{PASSWORD}\n"));
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-v", "-l", &account.name]);
    let command = format!("cat {}", file.display());
    let descriptor = format!("exec \"$@\" 3<{}", file.display());
    for run in [
        with_file(pssh(), &file),
        pssh().args(["--password-command", &command]),
        pssh().args(["--password-fd", "3"]).shell(&descriptor),
        pssh().args(["--password-fd", "0"]).stdin(PASSWORD),
    ] {
        let run = run.args(["id", "-un"]).run();
        run.exits(0).stdout_is(&format!("{}: {}\n", sshd.label(), account.name));
        run.stderr_has("with a password").stderr_lacks(PASSWORD);
    }
}

/// All other open descriptors are pssh's own: a read from one of its pipes would wait forever.
#[test]
fn descriptors_that_were_not_passed_are_not_open() {
    let env = Env::without_key();
    let pssh = || env.pssh().args(["-H", "h"]);
    // The test runner may pass some.
    let passed = |command: &mut Command| {
        let output = command.output().expect("ls of Linux").stdout;
        String::from_utf8(output).expect("numbers").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let passed = passed(Command::new("ls").arg("/proc/self/fd").stdin(Stdio::null()));
    let numbers: Vec<String> =
        (4..30).map(|number| number.to_string()).filter(|number| !passed.contains(number)).collect();
    assert!(numbers.len() > 10, "{passed:?}");
    for number in &numbers {
        let path = format!("/dev/fd/{number}");
        let begun = Instant::now();
        for (run, option) in [
            (pssh().args(["--password-fd", number]), format!("--password-fd {number}")),
            (pssh().args(["--password-file", &path]), format!("--password-file {path}")),
        ] {
            let run = run.arg("true").run();
            run.exits(1).stderr_has(&format!("{option}: this descriptor is not open\n"));
        }
        let run = pssh().args(["--known-hosts", &path, "true"]).run();
        run.exits(2).stderr_has("this descriptor is not open");
        let run = pssh().args(["--junit", &path, "true"]).run();
        run.exits(1).stderr_has("this descriptor is not open");
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not wait");
    }
    // This relies on: none of our descriptors survives exec(2).
    let password = format!("ls /proc/self/fd >{}; echo x", env.path("open").display());
    pssh()
        .args(["--password-command", &password, "-O", "ProxyCommand=false", "--num-retries", "1", "true"])
        .run()
        .exits(4);
    let open = fs::read_to_string(env.path("open")).expect("written");
    assert_eq!(open.lines().collect::<Vec<_>>(), passed, "none of ours");
}

#[test]
fn sshd_takes_the_password_of_one_host_from_that_host_alone() {
    let Some(account) = Account::make() else { return };
    let env = Env::without_key();
    let config = "PasswordAuthentication yes\n";
    let sshd = Sshd::start(&env, Setup { hosts: 2, config, ..Setup::default() });
    secret_file(&env, "password", &format!("{PASSWORD}\n"));
    let labels = sshd.labels();
    let lines = env.file("hosts", format!("{} {}\n{}\n", sshd.hosts()[0], account.name, sshd.hosts()[1]));
    let table = env.file("hosts.toml", format!("[host.'{}']\npassword-file = 'password'\n", labels[0]));
    let run = env.pssh().arg("-h").arg(&lines).arg("--host-config").arg(&table).args(["-v", "-l", &account.name]);
    let run = run.args(["id", "-un"]).run();
    run.exits(4).ends(&labels[0], "ok").ends(&labels[1], "auth: ").stderr_lacks(PASSWORD);
    let log = sshd.log();
    assert_eq!((log.matches("Accepted password").count(), log.matches("Failed password").count()), (1, 0), "{log}");
}

#[test]
fn sshd_takes_the_password_that_was_asked_for_once() {
    let Some(account) = Account::make() else { return };
    let env = Env::without_key();
    let setup = Setup { hosts: 3, config: "PasswordAuthentication yes\n", ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    for variable in [false, true] {
        let pty = Pty::new();
        let run = env.pssh().hosts(sshd.hosts()).args(["-v", "-l", &account.name]);
        let run = if variable { run.variable("PSSH_ASKPASS", "1") } else { run.arg("-A") };
        let running = pty.control(run.arg("true")).start();
        pty.wait_for("Password for all hosts: ", 1);
        assert!(!pty.echoes(), "a password is not shown");
        pty.type_in(&format!("{PASSWORD}\n"));
        let run = running.finish();
        run.exits(0).stderr_has("3 hosts: 3 ok").stderr_lacks(PASSWORD);
        assert!(pty.echoes(), "the terminal is as it was");
        assert!(!pty.shown().contains(PASSWORD), "{:?}", pty.shown());
        assert_eq!(pty.shown().matches("Password").count(), 1, "{:?}", pty.shown());
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let Some(account) = Account::make() else { return };
    let env = Env::without_key();
    let sshd = Sshd::start(&env, Setup { config: "PasswordAuthentication yes\n", ..Setup::default() });
    let file = secret_file(&env, "password", "wr0ng");
    let run = with_file(env.pssh(), &file).hosts(sshd.hosts()).args(["-v", "-l", &account.name, "true"]).run();
    run.exits(4).ends(&sshd.label(), "auth: ").stderr_has("hint: is it the right password").stderr_lacks("wr0ng");
    let outcome = run.outcome(&sshd.label());
    let told = outcome.contains("refused after trying password") && outcome.contains("the server offers publickey");
    run.check(told, "says what was tried and what is offered");
    assert_eq!(sshd.log().matches("Failed password").count(), 1, "{}", sshd.log());
    assert_eq!(sshd.connections(), 1);
}

#[test]
fn sshd_asks_by_its_modules() {
    // sshd with PAM needs its rules, which come with Debian's package.
    let Some(account) = Account::make().filter(|_| Path::new("/etc/pam.d/sshd").exists()) else { return };
    let env = Env::without_key();
    let config = "UsePAM yes\nKbdInteractiveAuthentication yes\n";
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let file = secret_file(&env, "password", PASSWORD);
    let pssh = |file: &Path| with_file(env.pssh(), file).hosts(sshd.hosts()).args(["-v", "-l", &account.name, "true"]);
    let run = pssh(&file).run();
    run.exits(0).stderr_has("with keyboard-interactive").stderr_lacks(PASSWORD);
    let run = pssh(&secret_file(&env, "wrong", "wr0ng")).run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    run.check(run.outcome(&sshd.label()).contains("after trying keyboard-interactive"), "says what was tried");
}

#[test]
fn sshd_wants_a_key_and_a_password() {
    let Some(account) = Account::make() else { return };
    for methods in ["publickey,password", "password,publickey", "publickey,publickey"] {
        let env = Env::new();
        let second = Key::generate(KeyKind::EcdsaP256);
        second.write(&env.ssh_dir(), "id_ecdsa");
        let config = format!("PasswordAuthentication yes\nAuthenticationMethods {methods}\n");
        let setup = Setup { authorized: vec![second.public_line()], config: &config, ..Setup::default() };
        let sshd = Sshd::start(&env, setup);
        let file = secret_file(&env, "password", PASSWORD);
        let pssh = || env.pssh().hosts(sshd.hosts()).args(["-l", &account.name]);
        let run = with_file(pssh(), &file).arg("true").run();
        run.check(run.status.success(), methods);
        if methods == "publickey,publickey" {
            pssh().arg("true").run().exits(0);
            continue;
        }
        let run = pssh().arg("true").run();
        run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "-A asks for a password");
        let verb = if methods == "publickey,password" { "also wants" } else { "offers" };
        run.check(run.outcome(&sshd.label()).contains(&format!("the server {verb} password")), methods);
    }
}

#[test]
fn sshd_wants_a_password_in_two_ways() {
    let Some(account) = Account::make().filter(|_| Path::new("/etc/pam.d/sshd").exists()) else { return };
    for methods in ["password,keyboard-interactive", "keyboard-interactive,password"] {
        let env = Env::without_key();
        let config = format!(
            "UsePAM yes\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\nAuthenticationMethods {methods}\n"
        );
        let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
        let pssh = |file: &Path| with_file(env.pssh(), file).hosts(sshd.hosts()).args(["-l", &account.name, "true"]);
        let run = pssh(&secret_file(&env, "password", PASSWORD)).run();
        run.check(run.status.success(), methods);
        let told = |log: &str| ["Failed", "Partial", "Accepted"].map(|word| log.matches(&format!("{word} ")).count());
        assert_eq!(told(&sshd.log()), [0, 1, 1], "{}", sshd.log());
        // What is refused by the first is not told by the second.
        let run = pssh(&secret_file(&env, "wrong", "wr0ng")).run();
        run.exits(4).ends(&sshd.label(), "auth: ");
        let first = methods.split(',').next().expect("a method");
        run.check(run.outcome(&sshd.label()).contains(&format!("refused after trying {first};")), methods);
    }
}

/// By which methods each server of a test was told the password.
static TOLD: Mutex<Vec<(SocketAddr, &str)>> = Mutex::new(Vec::new());

/// Refuses everything, or says that it was right and more has to follow; and offers the next of `lists` after each request but "none"
/// that was answered.
fn refuse(wire: &mut Wire, lists: &[&str], is_partial: bool) -> io::Result<()> {
    let address = wire.stream.local_addr()?;
    let mut answered = 0;
    loop {
        let list = lists[answered % lists.len()];
        wire.send(&[&[USERAUTH_FAILURE][..], &string(list.as_bytes()), &[is_partial.into()]].concat())?;
        let request = wire.expect(USERAUTH_REQUEST)?;
        let has = |words: &[u8]| request.windows(words.len()).any(|window| window == words);
        let method = if has(&string(b"password")) {
            "password"
        } else if has(&string(b"keyboard-interactive")) {
            let question = [string(b""), string(b""), string(b""), vec![0, 0, 0, 1], string(b"Password: "), vec![0]];
            wire.send(&[&[USERAUTH_INFO_REQUEST][..], &question.concat()].concat())?;
            let answer = wire.expect(USERAUTH_INFO_RESPONSE)?;
            assert!(answer.ends_with(PASSWORD.as_bytes()), "{answer:?}");
            "keyboard-interactive"
        } else {
            continue;
        };
        answered += 1;
        TOLD.lock().expect("no test has failed").push((address, method));
    }
}

#[test]
fn a_hostile_server_gets_the_password_once_however_it_changes_its_methods() {
    type Refusal = fn(&mut Wire) -> io::Result<()>;
    let both = ["keyboard-interactive", "password"];
    const CHANGED: [&str; 2] = ["password,keyboard-interactive", "keyboard-interactive,password,hostbased"];
    const FEWER: [&str; 2] = ["keyboard-interactive,publickey", "password,keyboard-interactive"];
    const OTHERS: [&str; 2] = ["keyboard-interactive", "password"];
    let cases: [(Refusal, &[&str]); 7] = [
        (|wire| refuse(wire, &["password,keyboard-interactive"], false), &both[..1]),
        // More methods, fewer, or others: none of them is a second factor.
        (|wire| refuse(wire, &CHANGED, false), &both[..1]),
        (|wire| refuse(wire, &FEWER, false), &both[..1]),
        (|wire| refuse(wire, &OTHERS, false), &both[..1]),
        // It says that the password was right. As long as the method is offered, it is not told again.
        (|wire| refuse(wire, &CHANGED, true), &both[..1]),
        (|wire| refuse(wire, &FEWER, true), &both[..1]),
        // A second factor, as far as can be seen: each method is tried once, however often they are offered.
        (|wire| refuse(wire, &OTHERS, true), &both),
    ];
    for (at_login, told) in cases {
        let env = Env::new();
        let raw = Raw::start(Script { at_login: Some(at_login), ..Script::default() });
        env.trust(&raw.known_hosts_line());
        let file = secret_file(&env, "password", PASSWORD);
        let run = with_file(env.pssh(), &file).hosts([raw.address]).arg("true").run();
        run.exits(4).ends("127.0.0.1", "auth: ").within(20);
        let all = TOLD.lock().expect("no test has failed");
        let own: Vec<&str> = all.iter().filter(|(to, _)| *to == raw.address).map(|(_, by)| *by).collect();
        run.check(own == told, &format!("{told:?}, not {own:?}"));
    }
}

#[test]
fn refused_keys_leave_the_password_its_turn() {
    let Some(account) = Account::make() else { return };
    let env = Env::without_key();
    let config = "PasswordAuthentication yes\nMaxAuthTries 4\n";
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let mut run = with_file(env.pssh(), &secret_file(&env, "password", PASSWORD)).hosts(sshd.hosts());
    for number in 0..3 {
        let key = Key::generate(KeyKind::Ed25519).write(&env.path(""), &format!("key{number}"));
        run = run.arg("--identity").arg(key);
    }
    run.args(["-l", &account.name, "true"]).run().exits(0);
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let env = Env::new();
    let server = trusted(&env, Config { authorised: env.public_lines(), ..Config::default() });
    let run = env.pssh().hosts([server.addr()]).args(["-A", "true"]).run();
    run.exits(2).within(10).stderr_has("-A: there is no terminal").stderr_has("--password-file");
    let run = env.pssh().hosts([server.addr()]).variable("PSSH_ASKPASS", "yes").arg("true").run();
    run.exits(2);
    env.pssh().hosts([server.addr()]).variable("PSSH_ASKPASS", "0").arg("true").run().exits(0);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_source_without_a_password_stops_everything() {
    let env = Env::new();
    let server = trusted(&env, Config { authorised: env.public_lines(), ..Config::default() });
    let pssh = || env.pssh().hosts([server.addr()]);
    let open = secret_file(&env, "open", "s3cret\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("a mode");
    let file = |path: &Path| with_file(pssh(), path).arg("true").run();
    file(&open).exits(2).stderr_has("0644 are too open").stderr_has("chmod 600");
    file(&env.path("none")).exits(1).stderr_has("No such file");
    file(&env.path("")).exits(1).stderr_has("Is a directory");
    file(&secret_file(&env, "empty", "\n")).exits(2).stderr_has("empty");
    file(&secret_file(&env, "notes", "s3cret\nurl: x\n")).exits(2).stderr_has("more than one line");
    file(&secret_file(&env, "long", &"s3cret".repeat(1000))).exits(2).stderr_has("it has more than 4096 bytes");
    let command = |command: &str| pssh().args(["--password-command", command, "true"]).run();
    command("echo s3cret; exit 3").exits(2).stderr_has("exit status: 3").stderr_lacks("s3cret");
    command("kill -9 $$").exits(2).stderr_has("signal: 9");
    command(":").exits(2).stderr_has("empty");
    pssh().args(["--password-fd", "77", "true"]).run().exits(1).stderr_has("this descriptor is not open");
    pssh().args(["-A", "--password-fd", "0", "true"]).run().exits(2);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_password_with_cr_or_nul_in_it_is_refused_with_its_place() {
    let env = Env::new();
    let server = trusted(&env, Config { authorised: env.public_lines(), ..Config::default() });
    let host = server.addr().to_string();
    let pssh = || env.pssh().args(["-H", &host]);
    let cases = [
        ("s3\rcret\n", "a carriage return (CR) as byte 3"),
        ("s3cret\r", "a carriage return (CR) as byte 7"),
        ("s3cret\r\r\n", "a carriage return (CR) as byte 7"),
        ("s3\0cret", "a NUL as byte 3"),
    ];
    for (password, words) in cases {
        let file = secret_file(&env, "bad", password);
        let path = file.display();
        let words = |source: &str| format!("{source}: the password has {words}, which cannot be sent");
        with_file(pssh(), &file).arg("true").run().exits(2).stderr_has(&words(&format!("--password-file {path}")));
        let descriptor = pssh().args(["--password-fd", "0", "true"]).stdin(password).run();
        descriptor.exits(2).stderr_has(&words("--password-fd 0")).stderr_has("LF or CR LF, may follow it");
        let command = pssh().args(["--password-command", "cat bad", "true"]).run();
        command.exits(2).stderr_has(&words("--password-command"));
        let sudo = pssh().args(["--sudo", "--sudo-password-file", "bad", "true"]).run();
        sudo.exits(2).stderr_has(&words("--sudo-password-file bad"));
        let list = env.file("list", format!("{host} password-file=bad\n"));
        let column = host.len() + 2;
        let field = env.pssh().arg("-h").arg(&list).arg("true").run();
        field.exits(2).stderr_has(&words(&format!("{}:1:{column}: password-file {path}", list.display())));
        let table = env.file("table.toml", "[host.'*']\npassword-file = 'bad'\n");
        let table = pssh().arg("--host-config").arg(&table).arg("true").run();
        table.exits(2).stderr_has(":2:1: password-file ").stderr_has("which cannot be sent");
    }
    // Literally typed, with Ctrl-V before it.
    let pty = Pty::new();
    let running = pty.control(pssh().args(["-A", "true"])).start();
    pty.wait_for("Password", 1);
    pty.type_in("s3\x16\rcret\n");
    running.finish().exits(2).stderr_has("-A: the password has a carriage return (CR) as byte 3");
    assert_eq!(server.connections(), 0);
    // The end of a line on Windows is one.
    with_file(pssh(), &secret_file(&env, "good", "s3cret\r\n")).arg("true").run().exits(0);
}

#[test]
fn ctrl_c_at_a_question_ends_it() {
    let env = Env::new();
    let server = trusted(&env, Config { authorised: env.public_lines(), ..Config::default() });
    let pty = Pty::new();
    let running = pty.control(env.pssh().hosts([server.addr()]).args(["-A", "true"])).start();
    pty.wait_for("Password", 1);
    pty.type_in("half\x03");
    running.finish().exits(130).within(10);
    assert!(pty.echoes(), "the terminal is as it was");
    let running = pty.control(env.pssh().hosts([server.addr()]).args(["-A", "true"])).start();
    pty.wait_for("Password", 2);
    // Ctrl-D.
    pty.type_in("\x04");
    running.finish().exits(2).stderr_has("nothing was entered");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_password_is_sent_to_no_host_that_is_not_known() {
    let env = Env::without_key();
    let start = || Server::start(Config { password: Some(PASSWORD.to_owned()), ..Config::default() });
    let file = secret_file(&env, "password", PASSWORD);
    let pssh = |server: &Server| with_file(env.pssh(), &file).hosts([server.addr()]).arg("-v");

    let unknown = start();
    let label = unknown.addr().ip().to_string();
    pssh(&unknown).arg("true").run().exits(4).ends(&label, "hostkey: ");
    assert_eq!(unknown.auth_attempts(), 0);
    pssh(&unknown).args(["--host-key-check", "off", "true"]).run().exits(0);

    let changed = start();
    env.trust(&(Key::generate(KeyKind::Ed25519).known_hosts_line("127.0.0.1", changed.port()) + "\n"));
    let run = pssh(&changed).args(["--host-key-check", "off", "true"]).run();
    run.exits(4).stderr_has(&format!("pssh: {label}: auth: ")).stderr_has("no password will be sent");
    run.stderr_has("password was not tried").stderr_has("the host key has CHANGED and is not checked");
    assert_eq!(changed.auth_attempts(), 0);
}

#[test]
fn the_server_is_answered_with_the_password() {
    let env = Env::without_key();
    let rounds = vec![vec![], vec![prompt("Password: ", PASSWORD)], vec![]];
    let server = trusted(&env, Config { keyboard_interactive: rounds, ..Config::default() });
    let label = server.addr().ip().to_string();
    let pssh = |contents| {
        with_file(env.pssh(), &secret_file(&env, "password", contents))
            .hosts([server.addr()])
            .args(["-v", "true"])
            .run()
    };
    pssh(PASSWORD).exits(0).stderr_has("with keyboard-interactive").stderr_lacks(PASSWORD);
    pssh("wr0ng").exits(4).ends(&label, "auth: ").stderr_has("is it the right password").stderr_lacks("wr0ng");
}

#[test]
fn a_password_that_was_refused_is_not_told_again() {
    let env = Env::without_key();
    let config = Config {
        password: Some(PASSWORD.to_owned()),
        keyboard_interactive: vec![vec![prompt("Password: ", PASSWORD)]],
        ..Config::default()
    };
    let server = trusted(&env, config);
    let file = secret_file(&env, "password", "wr0ng");
    with_file(env.pssh(), &file).hosts([server.addr()]).arg("true").run().exits(4);
    assert_eq!((attempts(&server, "keyboard-interactive"), attempts(&server, "password")), (1, 0));
}

#[test]
fn a_code_is_asked_on_the_terminal_one_host_at_a_time() {
    let env = Env::without_key();
    // It would like to look like another question, in which 200 characters are those that are shown.
    let fake = "Code \x1b[2J\u{202e}\u{61c}\u{200b}for you: \"\n(root@bank) Password:";
    let question = format!("{fake}{}end", "x".repeat(200));
    let config = || Config {
        keyboard_interactive: vec![vec![prompt("Password: ", PASSWORD)], vec![prompt(&question, "123456")]],
        ..Config::default()
    };
    let servers = [trusted(&env, config()), trusted(&env, config()), trusted(&env, config())];
    let file = secret_file(&env, "password", PASSWORD);
    let pty = Pty::new();
    let run = with_file(env.pssh(), &file).hosts(servers.iter().map(Server::addr)).args(["-v", "-l", "me", "true"]);
    let running = pty.control(run).start();
    for count in 1..=3 {
        pty.wait_for("x\"... ", count);
        assert!(!pty.echoes());
        pty.type_in("123456\n");
    }
    running.finish().exits(0).stderr_lacks("123456").stderr_lacks(PASSWORD);
    let shown = pty.shown();
    assert!(!shown.contains('\x1b') && !shown.contains("123456") && !shown.contains(PASSWORD), "{shown:?}");
    for server in &servers {
        let escaped = "Code \\u{1b}[2J\\u{202e}\\u{61c}\\u{200b}for you: \\\"\\n(root@bank) Password:";
        let asked = format!("(me@127.0.0.1:{}) \"{escaped}{}\"... ", server.port(), "x".repeat(200 - escaped.len()));
        assert_eq!(shown.matches(&asked).count(), 1, "{shown:?}");
        assert_eq!(server.auth_attempts(), 1);
    }
    assert!(pty.echoes());
}

#[test]
fn a_question_that_nobody_can_answer_is_no_attempt() {
    let env = Env::without_key();
    let config = || Config { keyboard_interactive: vec![vec![prompt("Code: ", "123456")]], ..Config::default() };
    let server = trusted(&env, config());
    let label = server.addr().ip().to_string();
    let file = secret_file(&env, "password", PASSWORD);
    let run = with_file(env.pssh(), &file).hosts([server.addr()]).arg("true").run();
    run.exits(4).within(10).ends(&label, "auth: ");
    let outcome = run.outcome(&label);
    run.check(outcome.contains("asks \"Code:\", and there is no terminal"), "says what was asked");
    // Without secrets and questions it does not even start.
    let run = env.pssh().hosts([server.addr()]).arg("true").run();
    run.exits(4).ends(&label, "auth: ").hints(&label, "-A asks for a password");
    assert_eq!(server.auth_attempts(), 0);

    // A question for a password, where there is a terminal, but nobody has given one: a hundred hosts would ask.
    let config = Config { keyboard_interactive: vec![vec![prompt("Password: ", "x")]], ..Config::default() };
    let server = trusted(&env, config);
    let pty = Pty::new();
    let run = pty.control(env.pssh().hosts([server.addr()]).arg("true")).run();
    run.exits(4).ends(&label, "auth: ").hints(&label, "-A asks for a password");
    assert_eq!((pty.shown().as_str(), server.auth_attempts()), ("", 0));
}

#[test]
fn a_code_has_to_come_within_the_limit_of_connecting() {
    let env = Env::without_key();
    let config = || Config { keyboard_interactive: vec![vec![prompt("Code: ", "123456")]], ..Config::default() };
    let servers = [trusted(&env, config()), trusted(&env, config())];
    let pty = Pty::new();
    let run = env.pssh().hosts(servers.iter().map(Server::addr)).args(["--connect-timeout", "2", "--retry-delay", "0"]);
    let run = pty.control(run.arg("true")).run();
    run.exits(3).within(20).stderr_has("2 timeout");
    assert!(pty.echoes());
    assert_eq!(servers.each_ref().map(Server::connections), [1, 1], "nobody is asked again");
    // Ctrl-C reports every host.
    let pty = Pty::new();
    let run = env.pssh().hosts(servers.iter().map(Server::addr)).arg("true");
    let running = pty.control(run).start();
    pty.wait_for("\"Code:\" ", 1);
    pty.type_in("\x03");
    running.finish().exits(130).within(10).stderr_has("2 cancelled");
    assert!(pty.echoes());
}

#[test]
fn a_second_factor_follows_the_key() {
    let env = Env::new();
    let config = || Config { authorised: env.public_lines(), second_factor: true, ..Config::default() };
    let file = secret_file(&env, "password", PASSWORD);

    let server = trusted(&env, Config { password: Some(PASSWORD.to_owned()), ..config() });
    with_file(env.pssh(), &file).hosts([server.addr()]).arg("true").run().exits(0);

    let rounds = vec![vec![prompt("Password: ", PASSWORD)]];
    let server = trusted(&env, Config { keyboard_interactive: rounds, ..config() });
    with_file(env.pssh(), &file).hosts([server.addr()]).arg("true").run().exits(0);

    let rounds = vec![vec![prompt("Code: ", "123456")]];
    let server = trusted(&env, Config { keyboard_interactive: rounds, ..config() });
    let pty = Pty::new();
    let running = pty.control(env.pssh().hosts([server.addr()]).arg("true")).start();
    pty.wait_for("\"Code:\" ", 1);
    pty.type_in("123456\n");
    running.finish().exits(0);
}
