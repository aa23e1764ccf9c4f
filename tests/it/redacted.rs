//! What others repeat of a password that they were told: a server in its banner, its goodbye and its questions, a sudo, an SFTP server,
//! a program here. No message, report, JSON or JUnit has it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use pssh::internal::Program;

use crate::bin::{Env, Pssh, Run};
use crate::passwords::{PASSWORD, secret_file};
use crate::pscp::NO_SFTP;
use crate::pty::Pty;
use crate::raw::{
    Act, Raw, Script, USERAUTH_BANNER, USERAUTH_FAILURE, USERAUTH_INFO_REQUEST, USERAUTH_INFO_RESPONSE,
    USERAUTH_REQUEST, Wire, string,
};
use crate::sshd::{Setup, Sshd};

/// A password that messages write with escapes.
const ODD: &str = "tr0ub\"4\\do r";

/// No output of a run contains the password, although it was repeated: the mask replaces it.
#[track_caller]
fn is_masked(env: &Env, run: &Run, password: &str) {
    let core = password.split(['"', '\\', ' ']).next().expect("its beginning");
    let junit = fs::read_to_string(env.path("junit.xml")).expect("a report");
    for (what, text) in [("stdout", run.stdout_text()), ("stderr", run.stderr_text()), ("JUnit", junit)] {
        run.check(!text.contains(core), &format!("{what} has no password\n{text}"));
    }
    let all = run.stdout_text() + &run.stderr_text();
    run.check(all.contains("***"), "it was repeated");
}

/// The runs that print everything.
fn formats(pssh: impl Fn() -> Pssh) -> impl Iterator<Item = Run> {
    const FORMATS: [&[&str]; 4] = [&["-vvv"], &["-vvv", "--json"], &["-q"], &["-vvv", "--format", "gather"]];
    FORMATS
        .into_iter()
        .map(move |format| pssh().args(format).args(["--num-retries", "1", "--junit", "junit.xml", "--", "true"]).run())
}

/// Checks the runs with this password on a server that does this at the login and refuses all users.
fn refused_by(at_login: Act, password: &str, check: impl Fn(&Env, &Run)) {
    let env = Env::without_key();
    let raw = Raw::start(Script { at_login: Some(at_login), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    secret_file(&env, "password", password);
    for run in formats(|| env.pssh().hosts([raw.address]).args(["--password-file", "password"])) {
        run.exits(4);
        check(&env, &run);
    }
}

/// The password in a request for the method `password`.
fn told(request: &[u8]) -> Option<Vec<u8>> {
    let method = string(b"password");
    let at = request.windows(method.len()).rposition(|window| window == method)?;
    Some(request.get(at + method.len() + 1 + 4..)?.to_vec())
}

/// Offers `methods` and reads until the password comes.
fn wait_for_password(wire: &mut Wire, methods: &str) -> io::Result<Vec<u8>> {
    loop {
        wire.send(&[&[USERAUTH_FAILURE][..], &string(methods.as_bytes()), &[0]].concat())?;
        if let Some(password) = told(&wire.expect(USERAUTH_REQUEST)?) {
            return Ok(password);
        }
    }
}

/// Refuses everything from then on.
fn refuse(wire: &mut Wire, methods: &[u8]) -> io::Result<()> {
    loop {
        wire.send(&[&[USERAUTH_FAILURE][..], &string(methods), &[0]].concat())?;
        wire.expect(USERAUTH_REQUEST)?;
    }
}

fn banner(wire: &mut Wire, text: &[u8]) -> io::Result<()> {
    wire.send(&[&[USERAUTH_BANNER][..], &string(text), &string(b"")].concat())
}

fn question(wire: &mut Wire, text: &[u8]) -> io::Result<Vec<u8>> {
    let parts = [string(text), string(text), string(b""), vec![0, 0, 0, 1], string(text), vec![0]];
    wire.send(&[&[USERAUTH_INFO_REQUEST][..], &parts.concat()].concat())?;
    wire.expect(USERAUTH_INFO_RESPONSE)
}

#[test]
fn a_server_that_repeats_the_password_is_not_quoted() {
    let ways: [Act; 5] = [
        |wire| {
            let password = wait_for_password(wire, "password")?;
            banner(wire, &[b"You said ", &password[..], b"; really?"].concat())?;
            refuse(wire, b"publickey")
        },
        |wire| {
            let password = wait_for_password(wire, "password")?;
            wire.disconnect(14, &[b"no: ", &password[..]].concat())
        },
        // Cut at 200 characters, in the middle of it.
        |wire| {
            let password = wait_for_password(wire, "password")?;
            wire.disconnect(14, &[&[b'x'; 196][..], &password, &password].concat())
        },
        // As the name of a method.
        |wire| {
            let password = wait_for_password(wire, "password")?;
            refuse(wire, &password)
        },
        // As a question that cannot be answered, without a terminal.
        |wire| {
            wire.send(&[&[USERAUTH_FAILURE][..], &string(b"keyboard-interactive"), &[0]].concat())?;
            wire.expect(USERAUTH_REQUEST)?;
            let answer = question(wire, b"Password: ")?;
            question(wire, &[b"Not ", &answer[9..], b"? Code: "].concat()).map(drop)
        },
    ];
    for (number, at_login) in ways.into_iter().enumerate() {
        for password in [PASSWORD, ODD] {
            refused_by(at_login, password, |env, run| {
                if run.stdout_text().contains("***") || run.stderr_text().contains("***") {
                    is_masked(env, run, password);
                } else {
                    // In quotes that were cut before it.
                    run.check(number == 2, &format!("case {number}: it was repeated"));
                }
            });
        }
    }
}

#[test]
fn a_short_password_does_not_hide_ordinary_words() {
    let at_login: Act = |wire| {
        let password = wait_for_password(wire, "password")?;
        wire.disconnect(14, &[b"there is no way: '", &password[..], b"'"].concat())
    };
    let env = Env::without_key();
    let raw = Raw::start(Script { at_login: Some(at_login), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    secret_file(&env, "password", "no");
    let run = env.pssh().hosts([raw.address]).args(["--password-file", "password", "--num-retries", "1", "true"]).run();
    run.exits(4).stderr_has("there is no way: '***'");
}

#[test]
fn an_answer_on_the_terminal_is_not_repeated() {
    let at_login: Act = |wire| {
        wire.send(&[&[USERAUTH_FAILURE][..], &string(b"keyboard-interactive"), &[0]].concat())?;
        wire.expect(USERAUTH_REQUEST)?;
        let answer = question(wire, b"Code: ")?;
        let answer = question(wire, &[b"Not ", &answer[9..], b". Code: "].concat())?;
        wire.disconnect(14, &[b"wrong: ", &answer[9..]].concat())
    };
    let env = Env::without_key();
    let raw = Raw::start(Script { at_login: Some(at_login), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let pty = Pty::new();
    let pssh = env.pssh().hosts([raw.address]).args(["-vv", "--num-retries", "1", "--junit", "junit.xml", "true"]);
    let running = pty.control(pssh).start();
    pty.wait_for("\"Code:\"", 1);
    pty.type_in("491823\n");
    pty.wait_for("Not ***.", 1);
    pty.type_in("771204\n");
    let run = running.finish();
    run.exits(4).stderr_has("wrong: ***");
    for code in ["491823", "771204"] {
        run.stderr_lacks(code);
        let junit = fs::read_to_string(env.path("junit.xml")).expect("a report");
        assert!(!pty.shown().contains(code) && !junit.contains(code), "{}", pty.shown());
    }
}

/// A host whose sudo does what `script` says with the password in `$pw`.
fn with_sudo(env: &Env, script: &str) -> Sshd {
    let directory = env.path("bin");
    fs::create_dir_all(&directory).expect("a directory");
    let sudo = directory.join("sudo");
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -p ]; do shift; done\n\
         printf %s \"$2\" | sed s/%%/%/ >&2; IFS= read -r pw\n{script}\n"
    );
    fs::write(&sudo, text).expect("a file");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).expect("the mode");
    let config = format!("SetEnv PATH={}:/usr/bin:/bin\n", directory.display());
    Sshd::start(env, Setup { config: &config, ..Setup::default() })
}

#[test]
fn a_sudo_that_repeats_the_password_is_not_quoted() {
    let scripts = [
        "echo \"sudo: $pw is wrong\" >&2; exit 1",
        "printf 'sudo: %s' \"$pw\" >&2; sleep 0.2; echo \" is wrong\" >&2; exit 1",
        // Letter by letter, on the other stream, and twice.
        "echo \"$pw\" | fold -w 1 | while IFS= read -r c; do printf %s \"$c\"; sleep 0.02; done; echo \" $pw\"; exit 1",
    ];
    for script in scripts {
        for password in [PASSWORD, ODD] {
            let env = Env::new();
            let sshd = with_sudo(&env, script);
            secret_file(&env, "password", password);
            for run in formats(|| env.pssh().hosts(sshd.hosts()).args(["--sudo", "--sudo-password-file", "password"])) {
                run.exits(4);
                is_masked(&env, &run, password);
            }
        }
    }
}

#[test]
fn a_program_that_repeats_the_password_is_not_quoted() {
    // The program knows it from elsewhere.
    let env = Env::without_key();
    secret_file(&env, "password", PASSWORD);
    let command = "sh -c 'echo cannot log in with $(cat password) >&2; exit 3'";
    for run in formats(|| env.pssh().hosts(["web1"]).args(["--password-file", "password", "--proxy-command", command]))
    {
        run.exits(4);
        is_masked(&env, &run, PASSWORD);
    }
}

/// Checks that no part of a password is printed, however it was cut.
#[track_caller]
fn has_no_part(env: &Env, run: &Run, password: &str) {
    let junit = fs::read_to_string(env.path("junit.xml")).unwrap_or_default();
    for (what, text) in [("stdout", run.stdout_text()), ("stderr", run.stderr_text()), ("JUnit", junit)] {
        for part in password.as_bytes().windows(6) {
            let part = std::str::from_utf8(part).expect("ASCII");
            run.check(!text.contains(part), &format!("{what} has no {part:?}\n{text}"));
        }
    }
}

/// One without blanks, every part of which differs from other words.
const LONG: &str = "Zq7vXk2wJp9mBt4nRc6y";

#[test]
fn what_is_cut_within_the_password_is_not_half_of_it() {
    let script = "import sys, time\npassword = open('password').read().strip()\nlength, times = map(int, sys.argv[1:3])\n\
                  sys.stderr.write('n' * length + password * times)\n\
                  time.sleep(0.1)\nsys.stderr.write(' refused\\n')\nsys.exit(1)\n";
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    secret_file(&env, "password", LONG);
    let script = env.file("script.py", script);
    // Where a line of a proxy command is cut, where the text of a known hosts command is, and where messages are.
    for (length, times) in [(990, 1), (0, 300), (7, 300), ((64 << 10) - 10, 1), (3, 4000), (110, 1), (190, 1)] {
        let command = format!("{} {length} {times}", script.display());
        let ways = [
            vec!["--proxy-command".to_owned(), format!("exec python3 {command}")],
            vec!["-O".to_owned(), format!("KnownHostsCommand=/usr/bin/env python3 {command}")],
        ];
        for way in ways {
            let pssh = || env.pssh().hosts(sshd.hosts()).args(&way).args(["--password-file", "password"]);
            for run in formats(pssh) {
                run.exits(4);
                has_no_part(&env, &run, LONG);
            }
        }
    }
}

#[test]
fn a_banner_that_is_cut_within_the_password_has_no_half_of_it() {
    // Where a text of a server is cut, with controls that a message shows as eight characters; and the list of methods at a comma.
    let at_login: Act = |wire| {
        let password = wait_for_password(wire, "password")?;
        banner(wire, &[&[b' '; (8 << 10) - 110][..], &[b'x'; 100][..], &password].concat())?;
        wire.disconnect(14, &[&[b' '; (8 << 10) - 10][..], &password].concat())
    };
    let as_methods: Act = |wire| {
        let password = wait_for_password(wire, "password")?;
        refuse(wire, &[b"keyboard-", &password[..]].concat())
    };
    for (at_login, password) in [(at_login, LONG), (as_methods, "Zq7vXk2w,Jp9mBt4n")] {
        refused_by(at_login, password, |env, run| has_no_part(env, run, password));
    }
}

#[test]
fn a_sudo_whose_line_is_cut_within_the_password_is_not_quoted() {
    // As a message of ours would quote it, so that it is not what sudo was told, byte for byte: the message has no part of it.
    let script = "printf '%0190d%s\\n' 0 'Zq7v\\\"Xk2wJp9mBt4nRc6y' >&2; exit 1";
    let env = Env::new();
    let sshd = with_sudo(&env, script);
    secret_file(&env, "password", "Zq7v\"Xk2wJp9mBt4nRc6y");
    for run in formats(|| env.pssh().hosts(sshd.hosts()).args(["--sudo", "--sudo-password-file", "password"])) {
        run.exits(4);
        let told = run.stdout_text() + &run.stderr_text();
        let (_, message) = told.split_once("(exit status 1)").expect("the message");
        run.check(message.contains("0***"), "the mask stands there");
    }
}

#[test]
fn what_the_other_end_of_a_copy_repeats_is_not_told() {
    let env = Env::new();
    secret_file(&env, "password", LONG);
    env.file("file", "x");
    let program = |name: &str, text: &str| {
        let path = env.file(name, format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the mode");
    };
    let (half, rest) = LONG.split_at(9);
    let repeat = format!("echo 'one {LONG} two' >&2; printf 'and {half}' >&2; sleep 0.2; echo '{rest}.' >&2");
    let copy = |program: Program, sshd: &Sshd, path: &str, more: &[&str]| {
        let words: &[&str] = match program {
            Program::Pslurp => &["-L", "out", "file", "here"],
            _ => &["file", "there"],
        };
        for format in [&["-vvv"][..], &["--json"], &["-q"]] {
            let run = env.run_of(program).hosts(sshd.hosts()).variable("PATH", path).args(format).args(more);
            let run = run.args(["--junit", "junit.xml", "--password-file", "password"]).args(words).run();
            has_no_part(&env, &run, LONG);
            if format == ["--json"] {
                run.check(run.stdout_text().contains("***."), "it was repeated");
            }
        }
    };
    let path = "/usr/bin:/bin";
    // sshd drops what a subsystem complains of, but not what a program does that sudo starts.
    let sshd = with_sudo(&env, "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"");
    program("bin/sh", &format!("case $2 in for*) {repeat};; esac; exec /bin/sh \"$@\""));
    let sudo = ["--sudo", "--sudo-password-file", "password"];
    copy(Program::Pscp, &sshd, path, &sudo);
    copy(Program::Pslurp, &sshd, path, &sudo);
    let config = format!("{NO_SFTP}\nSetEnv PATH={}:{path}\n", env.path("").display());
    let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
    program("scp", &format!("{repeat}; exec /usr/bin/scp \"$@\""));
    copy(Program::Pscp, &sshd, path, &[]);
    copy(Program::Pslurp, &sshd, path, &[]);
    program("rsync", &format!("{repeat}; exec /usr/bin/rsync \"$@\""));
    copy(Program::Prsync, &sshd, path, &[]);
    // The local rsync, in place of the real one.
    program("rsync", &format!("{repeat}; exit 3"));
    copy(Program::Prsync, &sshd, &format!("{}:{path}", env.path("").display()), &[]);
}

#[test]
fn a_file_server_that_repeats_the_password_is_not_quoted() {
    let env = Env::new();
    secret_file(&env, "password", PASSWORD);
    let script = |name: &str, text: &str| {
        let path = env.file(name, format!("#!/bin/sh\n{text}\nexit 9\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the mode");
        path
    };
    let server = script("server", &format!("echo 'sftp-server: bad password {PASSWORD}' >&2"));
    script("scp", &format!("printf '\\001scp: bad password {PASSWORD}\\n'"));
    let config = format!("Subsystem sftp {}\nSetEnv PATH={}:/usr/bin:/bin\n", server.display(), env.path("").display());
    let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
    let file = env.file("file", "x");
    for format in ["-vvv", "--json"] {
        let pscp = env.run_of(Program::Pscp).hosts(sshd.hosts()).args([format, "--junit", "junit.xml"]);
        let run = pscp.args(["--password-file", "password"]).arg(&file).arg("there").run();
        run.exits(4);
        is_masked(&env, &run, PASSWORD);
    }
}
