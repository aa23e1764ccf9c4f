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
    run.hints(RAW, "typed at a terminal");
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
    // A password, and then a method that is none of ours.
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
