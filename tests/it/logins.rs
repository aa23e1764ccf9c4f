//! How logins read that a server has refused: what was accepted, what was refused and by which algorithm, the server's reason, and a
//! hint that fits.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::auth::Agent;
use crate::bin::{Env, ssh_keygen, tool};
use crate::embedded::{Config, Prompt, Server};
use crate::passwords::{Account, PASSWORD, secret_file};
use crate::pty::Pty;
use crate::raw::{
    Raw, Script, USERAUTH_FAILURE, USERAUTH_INFO_REQUEST, USERAUTH_INFO_RESPONSE, USERAUTH_REQUEST, Wire, string,
};
use crate::sshd::{Setup, Sshd};

const RAW: &str = "127.0.0.1";

/// Whether there are the rules by which sshd asks PAM, which come with Debian's package.
fn has_pam() -> bool {
    Path::new("/etc/pam.d/sshd").exists()
}

const BY_QUESTIONS: &str = "UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\n";

#[test]
fn pam_says_why_an_account_may_not_be_used() {
    let Some(account) = Account::make().filter(|_| has_pam()) else { return };
    let env = Env::without_key();
    let sshd = Sshd::start(&env, Setup { config: BY_QUESTIONS, ..Setup::default() });
    let file = secret_file(&env, "password", PASSWORD);
    let pssh = || {
        let run = env.pssh().hosts(sshd.hosts()).args(["-l", &account.name, "--password-file"]).arg(&file);
        run.arg("true").run()
    };
    pssh().exits(0);
    tool("chage", &[OsStr::new("-E"), OsStr::new("0"), OsStr::new(&account.name)]);
    let run = pssh();
    run.exits(4).ends(&sshd.label(), &format!("auth: {}: refused after trying keyboard-interactive; ", account.name));
    let said = "; the server said: \"Your account has expired; please contact your system administrator.\"";
    run.check(run.outcome(&sshd.label()).contains(said), "PAM's words");
    run.check(run.hint(&sshd.label()).is_none(), "the password was right");
}

#[test]
fn a_password_that_has_to_be_changed_is_changed_elsewhere() {
    let Some(account) = Account::make().filter(|_| has_pam()) else { return };
    let env = Env::without_key();
    let sshd = Sshd::start(&env, Setup { config: BY_QUESTIONS, ..Setup::default() });
    let file = secret_file(&env, "password", PASSWORD);
    tool("chage", &[OsStr::new("-d"), OsStr::new("0"), OsStr::new(&account.name)]);
    let run = env.pssh().hosts(sshd.hosts()).args(["-l", &account.name, "--password-file"]).arg(&file);
    let run = run.arg("true").run();
    run.exits(4).ends(&sshd.label(), &format!("auth: {}: the server offers ", account.name));
    run.hints(&sshd.label(), "log in once with ssh and change the password");
    run.check(run.outcome(&sshd.label()).contains("Current password:"), "says what was asked");
}

/// Asks for the password, and then only says something, and refuses.
fn say_why(wire: &mut Wire) -> io::Result<()> {
    let request = |name: &str, instruction: &str, questions: &[u8]| {
        let texts = [string(name.as_bytes()), string(instruction.as_bytes()), string(b"")].concat();
        [&[USERAUTH_INFO_REQUEST][..], &texts, questions].concat()
    };
    wire.send(&[&[USERAUTH_FAILURE][..], &string(b"keyboard-interactive"), &[0]].concat())?;
    wire.expect(USERAUTH_REQUEST)?;
    wire.send(&request("Welcome", "to\x1b[2J all", &0_u32.to_be_bytes()))?;
    wire.expect(USERAUTH_INFO_RESPONSE)?;
    let question = [&1_u32.to_be_bytes()[..], &string(b"Password: "), &[0]].concat();
    wire.send(&request("", "", &question))?;
    wire.expect(USERAUTH_INFO_RESPONSE)?;
    wire.send(&request("Closed", "System is going\ndown.\u{202e}", &0_u32.to_be_bytes()))?;
    wire.expect(USERAUTH_INFO_RESPONSE)?;
    wire.send(&[&[USERAUTH_FAILURE][..], &string(b"keyboard-interactive"), &[0]].concat())?;
    loop {
        wire.receive()?;
    }
}

#[test]
fn what_a_server_says_after_the_password_is_its_reason() {
    let env = Env::without_key();
    let raw = Raw::start(Script { at_login: Some(say_why), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let file = secret_file(&env, "password", PASSWORD);
    let run = env.pssh().hosts([raw.address]).arg("--password-file").arg(&file).arg("true").run();
    run.exits(4).ends(RAW, "auth: ");
    let said = "; the server said: \"Closed System is going down.\\u{202e}\"; its banner: \"Welcome to\\u{1b}[2J all\"";
    run.check(run.outcome(RAW).ends_with(said), said);
    run.check(run.hint(RAW).is_none(), "it has said why");
}

#[test]
fn what_a_server_says_stands_before_its_question() {
    fn ask(wire: &mut Wire) -> io::Result<()> {
        let none = 0_u32.to_be_bytes();
        let said = [string(b"Duo"), string(b"two\nfactors"), string(b""), none.to_vec()].concat();
        wire.send(&[&[USERAUTH_FAILURE][..], &string(b"keyboard-interactive"), &[0]].concat())?;
        wire.expect(USERAUTH_REQUEST)?;
        wire.send(&[&[USERAUTH_INFO_REQUEST][..], &said].concat())?;
        wire.expect(USERAUTH_INFO_RESPONSE)?;
        let question = [string(b""), string(b"of three"), string(b""), vec![0, 0, 0, 1], string(b"Code: "), vec![1]];
        wire.send(&[&[USERAUTH_INFO_REQUEST][..], &question.concat()].concat())?;
        let answer = wire.expect(USERAUTH_INFO_RESPONSE)?;
        let is_right = answer.ends_with(b"123456");
        if is_right { wire.send(&[52]) } else { wire.send(&[&[USERAUTH_FAILURE][..], &string(b""), &[0]].concat()) }?;
        loop {
            wire.receive()?;
        }
    }
    let env = Env::without_key();
    let raw = Raw::start(Script { at_login: Some(ask), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let pty = Pty::new();
    let run = env.pssh().hosts([raw.address]).args(["-v", "-l", "me", "--connect-timeout", "9", "--num-retries", "1"]);
    let running = pty.control(run.arg("true")).start();
    pty.wait_for("\"Duo | two | factors | of three\" \"Code:\" ", 1);
    pty.type_in("123456\n");
    pty.wait_for("123456", 1);
    // The server says nothing more.
    running.finish().stderr_has("with keyboard-interactive").stderr_has("] banner: \"Duo\"\n");
}

#[test]
fn a_code_is_typed_at_a_terminal() {
    let env = Env::without_key();
    let prompt = |text: &str, answer: &str| Prompt { text: text.to_owned(), echo: false, answer: answer.to_owned() };
    let rounds = vec![vec![prompt("Password: ", PASSWORD)], vec![prompt("Verification code: ", "123456")]];
    let server = Server::start(Config { keyboard_interactive: rounds, ..Config::default() });
    env.trust(&server.known_hosts());
    let file = secret_file(&env, "password", PASSWORD);
    let run = env.pssh().hosts([server.addr()]).args(["-l", "me", "--password-file"]).arg(&file).arg("true").run();
    run.exits(4).ends(RAW, "auth: me: the server offers keyboard-interactive; keyboard-interactive: it asks \"Verif");
    run.hints(RAW, "answer at a terminal, or with the SSH_ASKPASS program");
    run.check(!run.hint(RAW).is_some_and(|hint| hint.contains("-A")), "the password is there");
}

#[test]
fn a_first_factor_that_was_accepted_is_said_to_be() {
    let Some(account) = Account::make() else { return };
    let env = Env::new();
    let config = "PasswordAuthentication yes\nAuthenticationMethods publickey,password\n";
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-l", &account.name]);
    let key = env.ssh_dir().join("id_ed25519").display().to_string();
    let accepted = format!("auth: {}: ssh-ed25519 {key} was accepted; ", account.name);
    let run = pssh().arg("true").run();
    run.exits(4).ends(&sshd.label(), &format!("{accepted}the server also wants password"));
    run.hints(&sshd.label(), "-A asks for a password");
    let run = pssh().arg("--password-file").arg(secret_file(&env, "wrong", "wr0ng")).arg("true").run();
    run.exits(4).ends(&sshd.label(), &format!("{accepted}refused after trying password; "));
    run.hints(&sshd.label(), "right password");
    // Two keys of which there is one.
    let config = "AuthenticationMethods publickey,publickey\n";
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).args(["-l", &account.name, "true"]).run();
    run.exits(4).ends(&sshd.label(), &format!("{accepted}the server also wants publickey"));
    run.hints(&sshd.label(), "another key");
    // A password, and then a method that pssh does not have.
    let run = sshd_wanting(&env, &account, "password,publickey");
    run.exits(4).ends("127.0.1.1", &format!("auth: {}: password was accepted; ", account.name));
}

/// A run with the right password and no key, on a server that wants these methods.
fn sshd_wanting(env: &Env, account: &Account, methods: &str) -> crate::bin::Run {
    let config = format!("PasswordAuthentication yes\nAuthenticationMethods {methods}\n");
    let sshd = Sshd::start(env, Setup { config: &config, ..Setup::default() });
    let file = secret_file(env, "password", PASSWORD);
    let run = env.pssh().hosts(sshd.hosts()).args(["-l", &account.name, "-O", "PubkeyAuthentication=no"]);
    run.arg("--password-file").arg(&file).arg("true").run()
}

#[test]
fn keys_with_one_comment_are_counted() {
    let env = Env::new();
    let agent = Agent::start(&env);
    for name in ["a", "b", "c"] {
        tool(
            "ssh-keygen",
            &["-q", "-N", "", "-t", "ed25519", "-C", "me@laptop", "-f"]
                .map(OsStr::new)
                .into_iter()
                .chain([env.path(name).as_os_str()])
                .collect::<Vec<_>>(),
        );
        agent.add(&env, &env.path(name));
    }
    let sshd = Sshd::start(&env, Setup { config: "AuthorizedKeysFile none\n", ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).arg("true").run();
    run.exits(4).stderr_has(": refused after trying ssh-ed25519 me@laptop (agent) (3 keys), ssh-ed25519 ");
}

#[test]
fn keys_that_may_not_be_offered_are_not_said_to_be_missing() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    for (option, hint) in [
        ("PubkeyAuthentication=no", "turned off by PubkeyAuthentication"),
        ("PreferredAuthentications=keyboard-interactive", "turned off by PubkeyAuthentication or PreferredAuth"),
        ("PubkeyAcceptedAlgorithms=rsa-sha2-512", "PubkeyAcceptedAlgorithms allows none"),
    ] {
        let run = env.pssh().hosts(sshd.hosts()).args(["-O", option, "true"]).run();
        run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), hint);
    }
}

#[test]
fn an_rsa_key_is_named_with_its_signature() {
    let env = Env::without_key();
    let authorized = vec![ssh_keygen(&env.ssh_dir().join("id_rsa"), &["-t", "rsa", "-b", "2048"])];
    let sshd =
        Sshd::start(&env, Setup { authorized, config: "PubkeyAcceptedAlgorithms ssh-rsa\n", ..Setup::default() });
    for (option, name) in
        [("Compression=no", "rsa-sha2-512"), ("PubkeyAcceptedAlgorithms=rsa-sha2-256", "rsa-sha2-256")]
    {
        let run = env.pssh().hosts(sshd.hosts()).args(["-O", option, "true"]).run();
        run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "RSA signatures with SHA-2");
        run.check(run.outcome(&sshd.label()).contains(&format!("id_rsa (signature {name}); ")), name);
    }
}

/// A server that asks these questions, in rounds.
fn asking(env: &Env, rounds: &[&[(&str, &str)]]) -> Server {
    let prompt =
        |(text, answer): &(&str, &str)| Prompt { text: (*text).to_owned(), echo: false, answer: (*answer).to_owned() };
    let rounds = rounds.iter().map(|round| round.iter().map(prompt).collect()).collect();
    let server = Server::start(Config { keyboard_interactive: rounds, ..Config::default() });
    env.trust(&server.known_hosts());
    server
}

#[test]
fn a_single_question_for_the_password_may_be_in_any_language() {
    for question in [
        "Passwort: ",
        "Mot de passe : ",
        "Пароль: ",
        "密码：",
        "(me@otp-server) Password: ",
        "me@one's password: ",
        "Passwort für me@code1: ",
        "me's Kennwort auf 127.0.0.1: ",
        "Adgangskode: ",
        "Kodeord:",
        "me@127.0.0.1的密码：",
        // The server's own name, which we do not know.
        "node-one Password:",
        "new-york password:",
        "pin-1 Password:",
        "duo1 Passwort:",
        "Passwort fuer root auf verify1:",
        "token.example.org Password:",
    ] {
        let env = Env::without_key();
        let server = asking(&env, &[&[(question, PASSWORD)]]);
        let file = secret_file(&env, "password", PASSWORD);
        let run = env.pssh().hosts([server.addr()]).args(["-l", "me", "--password-file"]).arg(&file).arg("true").run();
        run.check(run.status.success(), question);
    }
}

#[test]
fn only_a_single_question_is_taken_for_that_of_the_password_and_only_once() {
    let env = Env::without_key();
    let file = secret_file(&env, "password", PASSWORD);
    for rounds in [
        &[&[("Passwort: ", "x"), ("Kennung: ", "x")][..]][..],
        &[&[("Passwort: ", PASSWORD)], &[("Ziffern: ", "123456")]],
        &[&[("Bestätigungscode: ", "x")]],
        &[&[("Verification code: ", "x")]],
        &[&[("请输入验证码：", "x")]],
        &[&[("ワンタイムパスワード:", "x")]],
        &[&[("Einmalpasswort:", "x")]],
        &[&[("Mot de passe à usage unique :", "x")]],
        &[&[("YubiKey for `u':", "x")]],
        &[&[("SecurID:", "x")]],
        &[&[("Response:", "x")]],
        &[&[("One time password:", "x")]],
        &[&[("Neues Passwort:", "x")]],
    ] {
        let server = asking(&env, rounds);
        let run = env.pssh().hosts([server.addr()]).arg("--password-file").arg(&file).arg("true").run();
        run.exits(4).ends(RAW, "auth: ").hints(RAW, "answer at a terminal");
        run.check(run.outcome(RAW).contains("and there is no terminal to ask on"), "asks");
    }
}

/// ssh sends empty answers if it cannot ask, and goes on to the next method.
#[test]
fn a_code_that_nobody_knows_leaves_the_password_its_own_method() {
    let env = Env::without_key();
    let code = Prompt { text: "Code: ".to_owned(), echo: false, answer: "123456".to_owned() };
    let config =
        Config { password: Some(PASSWORD.to_owned()), keyboard_interactive: vec![vec![code]], ..Config::default() };
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    let pssh = |file: &Path| {
        let run = env.pssh().hosts([server.addr()]).args(["-v", "--password-file"]).arg(file);
        run.args(["--num-retries", "1"])
    };
    let file = secret_file(&env, "password", PASSWORD);
    pssh(&file).arg("true").run().exits(0).stderr_has("with a password");
    assert_eq!(server.auth_attempts(), 2, "the empty answer is one");
    let wrong = secret_file(&env, "wrong", "wr0ng");
    let run = pssh(&wrong).arg("true").run();
    run.exits(4).ends(RAW, "auth: ").stderr_has("hint: is it the right password");
    run.check(
        run.outcome(RAW).contains("keyboard-interactive: it asks \"Code:\", and there is no terminal"),
        "says why",
    );
    // If the method is turned off, no answer is needed.
    let before = server.auth_attempts();
    let run = pssh(&file).args(["-O", "PreferredAuthentications=keyboard-interactive", "true"]).run();
    run.exits(4).ends(RAW, "auth: ").stderr_has("hint: answer at a terminal");
    assert_eq!(server.auth_attempts(), before);
}

#[test]
fn questions_that_cannot_be_taken_are_not_said_to_be_about_the_password() {
    let env = Env::without_key();
    let file = secret_file(&env, "password", PASSWORD);
    let long = "x".repeat(60_000);
    let many = vec![("Password: ", "x"); 101];
    for rounds in [&[&[(&*long, "x")][..]][..], &[&many]] {
        let server = asking(&env, rounds);
        let run = env.pssh().hosts([server.addr()]).args(["--num-retries", "1", "--password-file"]).arg(&file);
        let run = run.arg("true").run();
        run.exits(4).ends(RAW, "auth: ").hints(RAW, "ssh -v shows what it asks").stderr_has("keyboard-interactive");
    }
}

#[test]
fn other_questions_for_the_password_are_named_by_a_pattern() {
    let env = Env::without_key();
    let file = secret_file(&env, "password", PASSWORD);
    let server = asking(&env, &[&[("LDAP passcode: ", PASSWORD)]]);
    let pssh = |pattern: &str| {
        let run = env.pssh().hosts([server.addr()]).arg("--password-file").arg(&file);
        run.args(["--password-prompt", pattern, "true"]).run()
    };
    pssh("^ldap PASSCODE").exits(0);
    pssh("^radius").exits(4).ends(RAW, "auth: ");
    let before = server.connections();
    pssh("(").exits(2).stderr_has("--password-prompt");
    pssh("").exits(2).stderr_has("it is empty");
    assert_eq!(server.connections(), before);
}

#[test]
fn a_program_asks_in_place_of_the_terminal_as_for_ssh() {
    let env = Env::without_key();
    let asked = env.path("asked");
    let script = format!(
        "#!/bin/sh\necho \"$1\" >>{}\ncase $1 in *Code*) echo 123456;; *assw*) echo '{PASSWORD}'; echo more;; *) exit 1;; esac\n",
        asked.display()
    );
    let program = env.file("askpass", script);
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
    let server = asking(&env, &[&[("Password: ", PASSWORD)], &[("Code: ", "123456")]]);
    let pssh = |required: &str, display: &str| {
        let run = env.pssh().hosts([server.addr()]).args(["-A", "-l", "me", "true"]);
        let run = run.variable("SSH_ASKPASS", &program).variable("SSH_ASKPASS_REQUIRE", required);
        run.variable("DISPLAY", display)
    };
    for (required, display) in [("force", ""), ("prefer", ":0"), ("", ":0")] {
        std::fs::write(&asked, "").expect("a file");
        pssh(required, display).run().exits(0).stderr_lacks(PASSWORD);
        let questions = std::fs::read_to_string(&asked).expect("asked");
        assert_eq!(questions, format!("Password for all hosts: \n(me@{}) \"Code:\" \n", server.addr()));
    }
    for (required, display) in [("never", ":0"), ("prefer", ""), ("", "")] {
        pssh(required, display).run().exits(2).stderr_has("-A: there is no terminal to ask on");
    }
    // It has a terminal: only by request.
    let pty = Pty::new();
    let running = pty.control(pssh("", ":0")).start();
    pty.wait_for("Password for all hosts: ", 1);
    pty.type_in("\x03");
    running.finish().exits(130);
    // It fails, or is not there; Ctrl-C ends it.
    env.file("askpass", "#!/bin/sh\nexit 1\n");
    pssh("force", "").run().exits(2).stderr_has("askpass gave no answer: the command ended with exit status: 1");
    let run = pssh("force", "").variable("SSH_ASKPASS", "/no/such/program").run();
    run.exits(2).stderr_has("-A: /no/such/program gave no answer: No such file or directory");
    env.file("askpass", "#!/bin/sh\nexec sleep 60\n");
    let running = pssh("force", "").start();
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.signal(rustix::process::Signal::INT);
    running.finish().dies_by(rustix::process::Signal::INT).within(20);
    // Nothing is asked in BatchMode.
    env.file("askpass", "#!/bin/sh\necho 123456\n");
    let file = secret_file(&env, "password", PASSWORD);
    let run = env.pssh().hosts([server.addr()]).args(["-O", "BatchMode=yes", "--password-file"]).arg(&file).arg("true");
    let run = run.variable("SSH_ASKPASS", &program).variable("SSH_ASKPASS_REQUIRE", "force").run();
    run.exits(4).stderr_has("BatchMode lets nothing be asked");
}

#[test]
fn a_program_opens_encrypted_keys() {
    let env = Env::without_key();
    let line = ssh_keygen(&env.path("locked"), &["-t", "ed25519", "-N", "opens it"]);
    let sshd = Sshd::start(&env, Setup { authorized: vec![line], ..Setup::default() });
    let program = env.file("askpass", "#!/bin/sh\necho 'opens it'\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
    let run = env.pssh().hosts(sshd.hosts()).args(["--identity", "locked", "true"]).variable("SSH_ASKPASS", &program);
    run.variable("SSH_ASKPASS_REQUIRE", "force").run().exits(0);
}
