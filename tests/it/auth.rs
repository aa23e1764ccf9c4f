//! Authentication against a real sshd: key files of every type and format, agents, and what is refused before connecting.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::PKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::bin::{Env, INSTALL, ssh_keygen};
use crate::embedded::{Config, Event, Key, KeyKind, Server};
use crate::sshd::{Setup, Sshd};

/// Of all encrypted keys.
pub(crate) const PASSPHRASE: &str = "opens it";

/// A server that lets these keys in.
fn server(env: &Env, authorized: Vec<String>) -> Sshd {
    Sshd::start(env, Setup { authorized, ..Setup::default() })
}

/// A running ssh-agent.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    pub(crate) fn start(env: &Env) -> Agent {
        let socket = env.path("agent");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("ssh-agent: {error}; {INSTALL}"));
        let agent = Agent { child, socket };
        let deadline = Instant::now() + Duration::from_secs(20);
        // The socket is there before anybody listens at it.
        while UnixStream::connect(&agent.socket).is_err() {
            assert!(Instant::now() < deadline, "ssh-agent does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    /// Loads a private key file, with [`PASSPHRASE`] if it is encrypted.
    pub(crate) fn add(&self, env: &Env, key: &Path) {
        let askpass = env.file("askpass", format!("#!/bin/sh\necho '{PASSPHRASE}'\n"));
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).expect("a mode");
        let output = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", "none")
            .stdin(Stdio::null())
            .output()
            .expect("ssh-add");
        assert!(output.status.success(), "ssh-add: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// An Ed25519 key as OpenSSL writes it; gives its line for authorized_keys.
fn pkcs8_ed25519(path: &Path) -> String {
    let key = PKey::generate_ed25519().expect("a key");
    fs::write(path, key.private_key_to_pem_pkcs8().expect("PEM")).expect("a key file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
    let public = key.raw_public_key().expect("the public half");
    let blob = [string(b"ssh-ed25519"), string(&public)].concat();
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

#[test]
fn key_files_of_every_type_and_format() {
    let env = Env::without_key();
    let kinds: [(&str, &[&str]); 11] = [
        ("ed25519", &["-t", "ed25519"]),
        ("ecdsa256", &["-t", "ecdsa", "-b", "256"]),
        ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
        ("ecdsa521", &["-t", "ecdsa", "-b", "521"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("ecdsa256.pem", &["-t", "ecdsa", "-b", "256", "-m", "PEM"]),
        ("ecdsa521.pem", &["-t", "ecdsa", "-b", "521", "-m", "PEM"]),
        ("rsa.pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("ecdsa384.pkcs8", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]),
        ("rsa.pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("rsa4096", &["-t", "rsa", "-b", "4096"]),
    ];
    let mut keys: Vec<(PathBuf, String)> =
        kinds.into_iter().map(|(name, args)| (env.path(name), ssh_keygen(&env.path(name), args))).collect();
    let path = env.path("ed25519.pkcs8");
    let line = pkcs8_ed25519(&path);
    keys.push((path, line));

    let sshd = server(&env, keys.iter().map(|(_, line)| line.clone()).collect());
    for (path, line) in &keys {
        let run = env.pssh().hosts(sshd.hosts()).arg("-v").arg("--identity").arg(path).args(["echo", "in"]).run();
        run.check(run.status.success(), &format!("let in with {}", path.display()));
        let kind = line.split(' ').next().expect("a type");
        run.stderr_has(&format!("with {kind} {}", path.display()));
    }
}

#[test]
fn p521_keys_whatever_their_numbers_begin_with() {
    // One in two has a number that begins with zero bits enough to be a byte shorter.
    let env = Env::without_key();
    let keys: Vec<Key> = (0..8).map(|_| Key::generate(KeyKind::EcdsaP521)).collect();
    let sshd = server(&env, keys.iter().map(Key::public_line).collect());
    for (number, key) in keys.iter().enumerate() {
        let path = key.write(&env.path(""), &format!("key{number}"));
        env.pssh().hosts(sshd.hosts()).arg("--identity").arg(path).arg("true").run().exits(0);
    }
}

#[test]
fn rsa_never_signs_with_sha1() {
    let env = Env::without_key();
    let path = env.path("rsa");
    let line = ssh_keygen(&path, &["-t", "rsa", "-b", "2048"]);
    let agent = Agent::start(&env);
    agent.add(&env, &path);
    let setup = Setup { authorized: vec![line], config: "PubkeyAcceptedAlgorithms rsa-sha2-512\n", ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    env.pssh().hosts(sshd.hosts()).args(["--no-agent", "--identity"]).arg(&path).arg("true").run().exits(0);
    env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).arg("true").run().exits(0);
}

#[test]
fn default_identities_of_the_home() {
    for (name, args) in [
        ("id_ed25519", &["-t", "ed25519"][..]),
        ("id_ecdsa", &["-t", "ecdsa"]),
        ("id_rsa", &["-t", "rsa", "-b", "2048"]),
    ] {
        let env = Env::without_key();
        let line = ssh_keygen(&env.ssh_dir().join(name), args);
        let sshd = server(&env, vec![line]);
        let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
        run.check(run.status.success(), name);
    }
}

#[test]
fn all_default_identities_are_tried() {
    let env = Env::new();
    let line = ssh_keygen(&env.ssh_dir().join("id_rsa"), &["-t", "rsa", "-b", "2048"]);
    ssh_keygen(&env.ssh_dir().join("id_ecdsa"), &["-t", "ecdsa"]);
    let other = Env::without_key();
    let sshd = server(&other, vec![line]);
    env.trust(&sshd.known_hosts());
    env.pssh().hosts(sshd.hosts()).arg("true").run().exits(0);
}

#[test]
fn named_identities_replace_the_default_ones_and_are_tried_in_turn() {
    let env = Env::new();
    let (wrong, right) = (env.path("wrong"), env.path("right"));
    ssh_keygen(&wrong, &["-t", "ed25519"]);
    let line = ssh_keygen(&right, &["-t", "ecdsa"]);
    let sshd = server(&env, vec![line]);
    let with = |paths: &[&Path]| {
        let pssh = paths.iter().fold(env.pssh(), |pssh, path| pssh.arg("--identity").arg(path));
        pssh.hosts(sshd.hosts()).arg("true").run()
    };
    with(&[&wrong, &right]).exits(0);
    // The home's own key would be let in.
    let run = with(&[&wrong]);
    run.exits(4).ends(&sshd.label(), "auth: ").stderr_lacks("id_ed25519");
    run.stderr_has(&wrong.display().to_string()).stderr_has("the server offers publickey");
}

#[test]
fn a_tilde_is_the_home() {
    let env = Env::without_key();
    let line = ssh_keygen(&env.path("mine"), &["-t", "ed25519"]);
    let sshd = server(&env, vec![line]);
    env.pssh().hosts(sshd.hosts()).args(["--identity=~/mine", "true"]).run().exits(0);
}

#[test]
fn without_any_key() {
    let env = Env::without_key();
    let sshd = server(&env, Vec::new());
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "--identity");
    run.check(run.outcome(&sshd.label()).contains("no identity to offer"), "says what is missing");
}

#[test]
fn a_server_that_lets_everybody_in() {
    let env = Env::without_key();
    let server = Server::start(Config { allow_none: true, ..Config::default() });
    env.trust(&server.known_hosts());
    env.pssh().hosts([server.addr()]).arg("true").run().exits(0);
}

#[test]
fn a_server_that_takes_no_keys() {
    let env = Env::new();
    let sshd = Sshd::start(
        &env,
        Setup { config: "PubkeyAuthentication no\nPasswordAuthentication yes\n", ..Setup::default() },
    );
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "accepts no public keys");
    run.check(run.outcome(&sshd.label()).contains("the server offers password"), "says what it takes");
}

/// Fails unless a run with `--identity path` is refused with this exit status before anything connects.
#[track_caller]
fn refused(env: &Env, path: &Path, status: i32, words: &[&str]) {
    let server = Server::start(Config::default());
    env.trust(&server.known_hosts());
    let run = env.pssh().hosts([server.addr()]).arg("--identity").arg(path).arg("true").run();
    run.exits(status).stderr_has(&format!("pssh: {}: ", path.display())).stderr_lacks("os error");
    words.iter().for_each(|words| {
        run.stderr_has(words);
    });
    run.check(server.connections() == 0, "nothing was connected to");
}

#[test]
fn identities_that_cannot_be_used_are_refused_before_connecting() {
    let env = Env::new();
    refused(&env, &env.path("missing"), 1, &["No such file or directory"]);

    let open = env.path("open");
    ssh_keygen(&open, &["-t", "ed25519"]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("a mode");
    refused(&env, &open, 2, &["0644", "too open", "chmod 600"]);

    let public = env.path("open.pub");
    fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).expect("a mode");
    refused(&env, &public, 2, &["public key"]);

    let nonsense = env.file("nonsense", "hello\n");
    fs::set_permissions(&nonsense, fs::Permissions::from_mode(0o600)).expect("a mode");
    refused(&env, &nonsense, 2, &["not a readable private key"]);

    let broken = env.path("broken");
    let text = fs::read_to_string(&open).expect("a key");
    fs::write(&broken, text.replace("b3BlbnNzaC1rZXk", "b3BlbnNzaC1rZXl")).expect("a file");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o600)).expect("a mode");
    refused(&env, &broken, 2, &["not a readable private key"]);

    refused(&env, &env.path(""), 1, &[]);
}

#[test]
fn an_encrypted_identity_needs_an_agent() {
    let env = Env::without_key();
    let key = Key::generate(KeyKind::Ed25519);
    let openssh = key.write_encrypted(&env.path(""), "openssh", PASSPHRASE);
    let pem = env.path("pem");
    let pem_line = ssh_keygen(&pem, &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", PASSPHRASE]);
    refused(&env, &openssh, 2, &["encrypted", "ssh-add"]);
    refused(&env, &pem, 2, &["encrypted", "ssh-add"]);

    let agent = Agent::start(&env);
    let sshd = server(&env, vec![key.public_line(), pem_line]);
    for path in [&openssh, &pem] {
        agent.add(&env, path);
        let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
        run.arg("--identity").arg(path).arg("true").run().exits(0);
    }
}

#[test]
fn default_identities_that_cannot_be_used_are_passed_over() {
    let env = Env::without_key();
    let encrypted = Key::generate(KeyKind::Ed25519);
    encrypted.write_encrypted(&env.ssh_dir(), "id_ed25519", PASSPHRASE);
    ssh_keygen(&env.ssh_dir().join("id_ecdsa"), &["-t", "ecdsa"]);
    fs::set_permissions(env.ssh_dir().join("id_ecdsa"), fs::Permissions::from_mode(0o640)).expect("a mode");
    let rsa = env.ssh_dir().join("id_rsa");
    let line = ssh_keygen(&rsa, &["-t", "rsa", "-b", "2048"]);
    let sshd = server(&env, vec![line]);
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "true"]).run();
    run.exits(0).stderr_has("id_ed25519: the key is encrypted, and no agent holds it").stderr_has("too open");
    fs::remove_file(&rsa).expect("a key");
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    let outcome = run.outcome(&sshd.label());
    run.check(outcome.contains("encrypted") && outcome.contains("too open"), "says why there is none");
}

#[test]
fn the_keys_of_an_agent() {
    let env = Env::without_key();
    let agent = Agent::start(&env);
    let mut lines = Vec::new();
    for (name, args) in [("a", &["-t", "ed25519"][..]), ("b", &["-t", "ecdsa", "-b", "384"]), ("c", &["-t", "rsa"])] {
        let path = env.path(name);
        lines.push(ssh_keygen(&path, args));
        agent.add(&env, &path);
        // Only the agent has it now.
        fs::remove_file(path).expect("a key file");
    }
    for line in lines {
        let kind = line.split(' ').next().expect("a type").to_owned();
        let sshd = server(&env, vec![line]);
        let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).args(["-v", "true"]).run();
        run.exits(0).stderr_has(&format!("with {kind} ")).stderr_has(" (agent)");
        env.pssh().hosts(sshd.hosts()).arg("--agent").arg(&agent.socket).arg("true").run().exits(0);
        let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
        run.args(["--no-agent", "true"]).run().exits(4).ends(&sshd.label(), "auth: ");
    }
}

#[test]
fn a_named_identity_comes_before_the_keys_of_the_agent() {
    // The server hangs up after two refused keys, and the agent has more.
    let env = Env::without_key();
    let agent = Agent::start(&env);
    for number in 0..4 {
        let path = Key::generate(KeyKind::Ed25519).write(&env.path(""), &format!("other{number}"));
        agent.add(&env, &path);
    }
    let named = env.path("named");
    let line = ssh_keygen(&named, &["-t", "ed25519"]);
    let setup = Setup { authorized: vec![line], config: "MaxAuthTries 2\n", ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    let pssh = || env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
    pssh().arg("--identity").arg(&named).arg("true").run().exits(0);
    // The same where the agent holds the named one too, as its last.
    agent.add(&env, &named);
    pssh().arg("--identity").arg(&named).arg("true").run().exits(0);
    let run = pssh().arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    let said = "; the server said: \"Too many authentication failures\"";
    run.check(run.outcome(&sshd.label()).ends_with(said), "says how it ended");
}

#[test]
fn one_agent_signs_for_many_hosts_at_once() {
    let env = Env::without_key();
    let agent = Agent::start(&env);
    let path = env.path("key");
    let line = ssh_keygen(&path, &["-t", "rsa", "-b", "2048"]);
    agent.add(&env, &path);
    fs::remove_file(&path).expect("a key file");
    let setup = Setup { hosts: 32, authorized: vec![line], ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).args(["-p", "32", "true"]).run();
    run.exits(0).stderr_has("pssh: 32 hosts: 32 ok\n");
}

#[test]
fn an_agent_that_is_gone() {
    let env = Env::new();
    let sshd = server(&env, Vec::new());
    // A socket without a listener, and a missing one.
    let dead = env.path("dead");
    drop(UnixListener::bind(&dead).expect("a socket"));
    for socket in [&dead, &env.path("none")] {
        let pssh = || env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", socket);
        pssh().arg("true").run().exits(0);
        let run = pssh().args(["-l", "nobody-of-that-name", "true"]).run();
        run.exits(4).ends(&sshd.label(), "auth: ");
        let outcome = run.outcome(&sshd.label());
        run.check(outcome.contains(&format!("agent {}: ", socket.display())), "says what is wrong with the agent");
        run.stderr_lacks("os error");
    }
}

#[test]
fn an_agent_that_never_answers() {
    let env = Env::new();
    let sshd = server(&env, Vec::new());
    let socket = env.path("mute");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &socket).arg("true").run();
    run.exits(0).within(30);
}

#[test]
fn the_login_name() {
    let env = Env::new();
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    let address = server.addr();
    let file = env.file("hosts", format!("{address} second # a comment\nfirst@{address}\n{address}\n"));
    let args = [OsStr::new("-p"), "1".as_ref(), "-h".as_ref(), file.as_os_str()];
    env.pssh().args(args).args(["-l", "third", "true"]).run().exits(0);
    env.pssh().args(args).variable("PSSH_USER", "fourth").arg("true").run().exits(0);
    env.pssh().hosts([address]).arg("true").run().exits(0);
    let users = server.logged().into_iter().filter_map(|record| match record.event {
        Event::LoggedIn { user } => Some(user),
        _ => None,
    });
    let users: Vec<String> = users.collect();
    let own = crate::sshd::current_user();
    assert_eq!(users, ["second", "first", "third", "second", "first", "fourth", &own]);
}
