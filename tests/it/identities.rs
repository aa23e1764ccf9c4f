//! What ssh_config(5) says about the keys to log in with: CertificateFile, PubkeyAcceptedAlgorithms, passphrases, BatchMode;
//! what ssh says too is compared with it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::auth::{Agent, PASSPHRASE};
use crate::bin::{Env, Pssh, Run, public_line, ssh_keygen, tool};
use crate::embedded::{Config, Prompt, Server};
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd, current_user};

/// Who signs the users' certificates.
fn certify(env: &Env, authority: &str, key: &Path, to: &Path, args: &[&str]) {
    let user = current_user();
    let public = to.with_extension("pub");
    let source = PathBuf::from(format!("{}.pub", key.display()));
    if source != public {
        fs::copy(source, &public).expect("a key");
    }
    let authority = env.path(authority).display().to_string();
    let public = public.display().to_string();
    let all = [&["-q", "-s", &authority, "-I", "test", "-n", &user][..], args, &[&public]].concat();
    tool("ssh-keygen", &all.iter().map(OsStr::new).collect::<Vec<_>>());
}

/// What is configured, and what the agent holds.
struct Case {
    name: &'static str,
    /// `{NAME}` stands for a path in the home.
    config: &'static str,
    agent: &'static [&'static str],
    /// Whether the server takes the plain keys too.
    plain: bool,
    /// What pssh logs in with instead, and why; empty if it is the same as with ssh.
    ours: &'static str,
}

const fn case(name: &'static str, config: &'static str) -> Case {
    Case { name, config, agent: &[], plain: false, ours: "" }
}

const fn plain(name: &'static str, config: &'static str) -> Case {
    Case { plain: true, ..case(name, config) }
}

const fn agent(name: &'static str, held: &'static [&'static str], config: &'static str) -> Case {
    Case { agent: held, ..case(name, config) }
}

/// `ed` and `rsa` are keys without, `with` is one with a certificate beside it; `x-cert.pub` are certificates of `ed`, but
/// for `rsa_x-cert.pub`.
#[rustfmt::skip]
static CASES: &[Case] = &[
    case("certificate named", "IdentityFile {ed}\nCertificateFile {x-cert.pub}\n"),
    case("no certificate", "IdentityFile {ed}\n"),
    case("certificate of another key", "IdentityFile {with}\nCertificateFile {x-cert.pub}\n"),
    case("certificate beside the key", "IdentityFile {with}\n"),
    case("certificate without key", "IdentityFile none\nCertificateFile {x-cert.pub}\n"),
    case("certificate of a host", "IdentityFile {ed}\nCertificateFile {host-cert.pub}\n"),
    case("certificate that is a key", "IdentityFile {ed}\nCertificateFile {ed.pub}\n"),
    case("missing certificate", "IdentityFile {ed}\nCertificateFile {nowhere}\n"),
    case("second certificate", "IdentityFile {ed}\nCertificateFile {stranger-cert.pub}\nCertificateFile {x-cert.pub}\n"),
    case("certificate of the second key", "IdentityFile {with}\nIdentityFile {ed}\nCertificateFile {x-cert.pub}\n"),
    case("tokens", "IdentityFile {ed}\nCertificateFile {}%n-%p-cert.pub\n"),
    case("RSA", "IdentityFile {rsa}\nCertificateFile {rsa_x-cert.pub}\n"),
    plain("certificate or key", "IdentityFile {ed}\nCertificateFile {x-cert.pub}\n"),
    plain("stranger's certificate, key", "IdentityFile {ed}\nCertificateFile {stranger-cert.pub}\n"),
    plain("missing certificate, key", "IdentityFile {ed}\nCertificateFile {nowhere}\n"),
    agent("key in the agent", &["ed"], "IdentityFile none\nCertificateFile {x-cert.pub}\n"),
    agent("key in the agent and in a file", &["ed"], "IdentityFile {ed}\nCertificateFile {x-cert.pub}\n"),
    agent("agent's key is not configured", &["ed"], "IdentitiesOnly yes\nIdentityFile {with}\nCertificateFile {x-cert.pub}\n"),
    agent("agent's key is configured", &["ed"], "IdentitiesOnly yes\nIdentityFile {ed}\nCertificateFile {x-cert.pub}\n"),
    agent("agent holds the certificate", &["with"], "IdentityFile none\n"),
    agent("agent holds the certificate that is named", &["with"], "IdentityFile none\nCertificateFile {with-cert.pub}\n"),
    agent("RSA in the agent", &["rsa"], "IdentityFile none\nCertificateFile {rsa_x-cert.pub}\n"),
    // The private half is nowhere else but in the agent: `half.pub` and `certified-cert.pub` are of `ed`, `open` is `ed` for all to read.
    agent("public file named", &["rsa", "ed"], "IdentityFile {ed.pub}\nIdentitiesOnly yes\nCertificateFile {x-cert.pub}\n"),
    Case { plain: true, ..agent("public file beside nothing, named", &["rsa", "ed"], "IdentityFile {half.pub}\nIdentitiesOnly yes\n") },
    Case { plain: true, ..agent("public file beside nothing", &["rsa", "ed"], "IdentityFile {half}\nIdentitiesOnly yes\n") },
    Case { plain: true, ..agent("public files order the agent's keys", &["rsa", "ed"], "IdentityFile {half}\n") },
    Case { plain: true, ours: "key: ssh takes them in the agent's order", ..agent("public files in their order", &["ed", "rsa"], "IdentityFile {rsahalf}\nIdentityFile {half}\n") },
    Case { plain: true, ..agent("private file for all to read", &["rsa", "ed"], "IdentityFile {open}\nIdentitiesOnly yes\n") },
    Case { plain: true, ..agent("public file whose key is not held", &["rsa"], "IdentityFile {half}\nIdentitiesOnly yes\n") },
    Case { plain: true, ..agent("public file beside nothing, no agent", &[], "IdentityFile {half}\n") },
    agent("certificate beside nothing, held", &["with"], "IdentityFile {withhalf}\nIdentitiesOnly yes\n"),
    agent("certificate named as identity, held", &["with"], "IdentityFile {with-cert.pub}\nIdentitiesOnly yes\n"),
    // Which algorithms are accepted.
    plain("no certificates accepted", "IdentityFile {with}\nPubkeyAcceptedAlgorithms ssh-ed25519\n"),
    plain("certificates removed", "IdentityFile {with}\nPubkeyAcceptedAlgorithms -*-cert-v01@openssh.com\n"),
    case("no certificates accepted, none taken", "IdentityFile {with}\nPubkeyAcceptedAlgorithms -*cert*\n"),
    plain("only certificates accepted", "IdentityFile {with}\nPubkeyAcceptedAlgorithms *-cert-v01@openssh.com\n"),
    Case { ours: "certificate: ssh loses the key of it", ..plain("only certificates accepted, one named", "IdentityFile {ed}\nCertificateFile {x-cert.pub}\nPubkeyAcceptedAlgorithms *-cert-v01@openssh.com\n") },
    plain("only other types accepted", "IdentityFile {ed}\nPubkeyAcceptedAlgorithms ecdsa-*\n"),
    plain("type removed", "IdentityFile {ed}\nPubkeyAcceptedAlgorithms -ssh-ed25519\n"),
    plain("type added", "IdentityFile {ed}\nPubkeyAcceptedAlgorithms +ssh-rsa\n"),
    plain("RSA by SHA-256", "IdentityFile {rsa}\nPubkeyAcceptedAlgorithms rsa-sha2-256\n"),
    plain("RSA by its signature's name", "IdentityFile {rsa}\nPubkeyAcceptedAlgorithms rsa-sha2-*\n"),
    plain("RSA not accepted", "IdentityFile {rsa}\nPubkeyAcceptedAlgorithms ssh-ed25519\n"),
    case("RSA certificate by SHA-256", "IdentityFile {rsa}\nCertificateFile {rsa_x-cert.pub}\nPubkeyAcceptedAlgorithms rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-256\n"),
    Case { plain: true, ..agent("agent's key not accepted", &["ed"], "IdentityFile none\nPubkeyAcceptedAlgorithms rsa-*\n") },
    Case { plain: true, ..agent("agent's second key accepted", &["ed", "rsa"], "IdentityFile none\nPubkeyAcceptedAlgorithms rsa-*\n") },
    Case { plain: true, ..agent("RSA of the agent by SHA-256", &["rsa"], "IdentityFile none\nPubkeyAcceptedAlgorithms rsa-sha2-256\n") },
];

#[test]
fn the_same_identity_as_with_ssh() {
    let env = Env::without_key();
    for authority in ["authority", "stranger"] {
        ssh_keygen(&env.path(authority), &["-t", "ed25519"]);
    }
    let mut authorized = vec![format!("cert-authority {}", public_line(&env.path("authority")))];
    let certified =
        Sshd::start(&env, Setup { authorized: authorized.clone(), config: "LogLevel DEBUG2\n", ..Setup::default() });
    for (name, args) in
        [("ed", &["-t", "ed25519"][..]), ("rsa", &["-t", "rsa", "-b", "2048"]), ("with", &["-t", "ed25519"])]
    {
        authorized.push(ssh_keygen(&env.path(name), args));
    }
    let both = Sshd::start(&env, Setup { authorized, config: "LogLevel DEBUG2\n", ..Setup::default() });
    let (ed, rsa, with) = (env.path("ed"), env.path("rsa"), env.path("with"));
    certify(&env, "authority", &ed, &env.path("x"), &[]);
    certify(&env, "authority", &ed, &env.path(&format!("127.0.1.1-{}", certified.port())), &[]);
    // The extension is all that follows the last dot.
    let tokens = env.path(&format!("127.0.1.1-{}-cert.pub", certified.port()));
    fs::copy(env.path("x-cert.pub"), tokens).expect("a certificate");
    certify(&env, "authority", &rsa, &env.path("rsa_x"), &[]);
    certify(&env, "authority", &with, &with, &[]);
    certify(&env, "stranger", &ed, &env.path("stranger_of_ed"), &[]);
    fs::copy(env.path("stranger_of_ed-cert.pub"), env.path("stranger-cert.pub")).expect("a certificate");
    certify(&env, "authority", &ed, &env.path("host"), &["-h"]);
    for (from, to) in
        [("ed.pub", "half.pub"), ("rsa.pub", "rsahalf.pub"), ("with-cert.pub", "withhalf-cert.pub"), ("ed", "open")]
    {
        fs::copy(env.path(from), env.path(to)).expect("a copy");
    }
    fs::set_permissions(env.path("open"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let mut failures = Vec::new();
    for case in CASES {
        let sshd = if case.plain { &both } else { &certified };
        let held = (!case.agent.is_empty()).then(|| Agent::start(&env));
        for key in case.agent {
            held.iter().for_each(|agent| agent.add(&env, &env.path(key)));
        }
        let mut text = case.config.replace("{}", &format!("{}/", env.path("").display()));
        while let Some((before, rest)) = text.split_once('{') {
            let (name, after) = rest.split_once('}').expect("closing brace");
            text = format!("{before}{}{after}", env.path(name).display());
        }
        text += &format!(
            "UserKnownHostsFile {}\nBatchMode yes\nKexAlgorithms curve25519-sha256\n",
            env.known_hosts().display()
        );
        let config = env.file("config", text);
        // What the server was shown last, with the algorithm of the signature.
        let login = |run: &mut dyn FnMut() -> bool| {
            let before = sshd.log().len();
            if !run() {
                return "refused".to_owned();
            }
            let log = sshd.log().split_off(before);
            let line = log.lines().rfind(|line| line.contains("Accepted publickey")).expect("a line of the log");
            let kind = if line.contains("-CERT") { "certificate" } else { "key" };
            let algorithm = log.split(" pkalg ").last().and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            format!("{kind} {algorithm}")
        };
        let ssh = login(&mut || {
            let mut command = Command::new("ssh");
            command.arg("-F").arg(&config).args(["-p", &sshd.port().to_string(), "127.0.1.1", "true"]);
            command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).stderr(Stdio::null());
            if let Some(agent) = &held {
                command.env("SSH_AUTH_SOCK", &agent.socket);
            }
            command.status().expect("ssh of OpenSSH is needed for this test").success()
        });
        let ours = login(&mut || {
            let mut run = env.bare_pssh().arg("-F").arg(&config).hosts(sshd.hosts()).args(["-v", "true"]);
            if let Some(agent) = &held {
                run = run.variable("SSH_AUTH_SOCK", &agent.socket);
            }
            run.run().status.success()
        });
        let same =
            if case.ours.is_empty() { ssh == ours } else { ours.split(' ').next() == case.ours.split(':').next() };
        if !same {
            failures.push(format!("{}: ssh: {ssh}, pssh: {ours}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), CASES.len(), failures.join("\n"));
}

#[test]
fn what_cannot_be_used_of_certificate_files_is_said() {
    let env = Env::without_key();
    ssh_keygen(&env.path("authority"), &["-t", "ed25519"]);
    let line = ssh_keygen(&env.path("key"), &["-t", "ed25519"]);
    ssh_keygen(&env.path("other"), &["-t", "ed25519"]);
    let sshd = Sshd::start(&env, Setup { authorized: vec![line], ..Setup::default() });
    certify(&env, "authority", &env.path("other"), &env.path("other"), &[]);
    certify(&env, "authority", &env.path("key"), &env.path("host"), &["-h"]);
    let path = |name: &str| env.path(name).display().to_string();
    for (name, words) in [
        ("nowhere", "there is no such file"),
        ("key.pub", "not a readable certificate"),
        ("host-cert.pub", "a host certificate, not a user certificate"),
        ("other-cert.pub", "there is no private key for this certificate"),
    ] {
        let config = env.file("config", format!("IdentityFile {}\nCertificateFile {}\n", path("key"), path(name)));
        let run = env.bare_pssh().arg("-F").arg(config).hosts(sshd.hosts()).args(["-v", "true"]).run();
        run.exits(0).stderr_has(&format!("pssh: {}: {words}", path(name)));
    }
    let run = env.pssh().hosts(sshd.hosts()).arg("--identity").arg(path("key"));
    let run = run.args(["-O", "PubkeyAcceptedAlgorithms=rsa-*", "true"]).run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    run.check(run.outcome(&sshd.label()).contains("PubkeyAcceptedAlgorithms does not allow it"), "says why");
    let run = env.pssh().hosts(sshd.hosts()).args(["-O", "PubkeyAcceptedAlgorithms=ssh-dss", "true"]).run();
    run.exits(2).stderr_has("-O PubkeyAcceptedAlgorithms=ssh-dss: PubkeyAcceptedAlgorithms: none of");
}

/// More keys than a server lets be tried, as with a password manager's agent.
#[test]
fn ten_keys_in_the_agent_and_one_that_is_named() {
    let env = Env::without_key();
    let agent = Agent::start(&env);
    let names: Vec<String> = (0..10).map(|number| format!("key{number}")).collect();
    let lines: Vec<String> = names.iter().map(|name| ssh_keygen(&env.path(name), &["-t", "ed25519"])).collect();
    names.iter().for_each(|name| agent.add(&env, &env.path(name)));
    ssh_keygen(&env.path("authority"), &["-t", "ed25519"]);
    certify(&env, "authority", &env.path("key9"), &env.path("certified"), &[]);
    // Only public halves are left, and one file that anybody can read.
    for name in &names {
        fs::rename(env.path(name), env.path("open")).expect("a key");
    }
    fs::set_permissions(env.path("open"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::remove_file(env.path("certified.pub")).expect("a public key");
    let sshd = Sshd::start(&env, Setup { authorized: lines[9..].to_vec(), ..Setup::default() });
    let pssh = || env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
    let run = pssh().arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ").hints(&sshd.label(), "offer only the right key");
    for name in ["key9.pub", "key9", "certified", "certified-cert.pub", "open"] {
        let path = env.path(name);
        pssh().arg("--identity").arg(&path).arg("true").run().exits(0);
        for only in ["yes", "no"] {
            let config = env.file("config", format!("IdentityFile {}\nIdentitiesOnly {only}\n", path.display()));
            let run = env.bare_pssh().arg("-F").arg(&config).args(["--known-hosts"]).arg(env.known_hosts());
            let run = run.hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).args(["-v", "true"]).run();
            run.exits(0).stderr_has(&format!("with ssh-ed25519 {} (agent)", path.display()));
        }
        // Without the agent it is of no use, and named it is an error before anything connects.
        let before = sshd.connections();
        let run = env.pssh().hosts(sshd.hosts()).args(["--no-agent", "--identity"]).arg(&path).arg("true").run();
        let status = if path.exists() { 2 } else { 1 };
        run.exits(status).stderr_has(&format!("pssh: {}: ", path.display()));
        assert_eq!(sshd.connections(), before);
    }
}

/// A home with encrypted keys in `.ssh` and elsewhere, and a server for three hosts that lets all of them in.
struct Locked {
    env: Env,
    sshd: Sshd,
}

impl Locked {
    fn new(names: &[&str]) -> Locked {
        let env = Env::without_key();
        let key = |name: &&str| ssh_keygen(&env.path(name), &["-t", "ed25519", "-N", PASSPHRASE]);
        let authorized = names.iter().map(key).collect();
        let sshd = Sshd::start(&env, Setup { authorized, hosts: 3, ..Setup::default() });
        Locked { env, sshd }
    }

    /// A run with this ssh_config, to which the known hosts are added.
    fn pssh(&self, config: &str) -> Pssh {
        let path = self.env.file("config", config);
        self.env.bare_pssh().arg("-F").arg(path).hosts(self.sshd.hosts())
    }

    fn path(&self, name: &str) -> String {
        self.env.path(name).display().to_string()
    }

    fn prompt(&self, name: &str) -> String {
        format!("Passphrase for key {}: ", self.path(name))
    }
}

fn type_in(pty: &Pty, run: Pssh, dialogue: &[(&str, &str)]) -> Run {
    let running = pty.control(run).start();
    let mut shown: Vec<&str> = Vec::new();
    for (prompt, answer) in dialogue {
        shown.push(prompt);
        pty.wait_for(prompt, shown.iter().filter(|before| *before == prompt).count());
        pty.type_in(&format!("{answer}\n"));
    }
    let run = running.finish();
    assert_eq!(pty.shown().matches("assphrase").count(), dialogue.len(), "{:?}", pty.shown());
    assert!(!pty.shown().contains(PASSPHRASE), "{:?}", pty.shown());
    run
}

#[test]
fn the_passphrase_of_a_configured_key_is_asked_for_once() {
    let lab = Locked::new(&["key", "other"]);
    let (key, other) = (lab.path("key"), lab.path("other"));
    let all = [
        format!("IdentityFile {key}\n"),
        // Hosts differ in what they are offered.
        format!("Host 127.0.1.1\nIdentityFile {other}-none\nHost *\nIdentityFile {key}\n"),
        format!("Host 127.0.1.1\nPubkeyAcceptedAlgorithms +ssh-rsa\nHost *\nIdentityFile {key}\n"),
    ];
    let ask = lab.prompt("key");
    for config in &all {
        let run = type_in(&Pty::new(), lab.pssh(config).arg("true"), &[(&ask, PASSPHRASE)]);
        run.exits(0).stderr_has("3 hosts: 3 ok");
    }
    // Two keys: one question each, in order.
    let config = format!("Host 127.0.1.1\nIdentityFile {other}\nHost 127.0.1.2\nIdentityFile {key}\n");
    let prompt = lab.prompt("other");
    let run = lab.pssh(&config).args(["-O", "ConnectTimeout=5", "true"]);
    let run = type_in(&Pty::new(), run, &[(&prompt, PASSPHRASE), (&ask, PASSPHRASE)]);
    run.exits(4).ends("127.0.1.1", "ok").ends("127.0.1.2", "ok").ends("127.0.1.3", "auth: ");
}

#[test]
fn a_configured_key_whose_passphrase_nobody_knows_is_passed_over() {
    let lab = Locked::new(&["key", "other"]);
    let config = format!("IdentityFile {}\nIdentityFile {}\n", lab.path("key"), lab.path("other"));
    let (first, second) = (lab.prompt("key"), lab.prompt("other"));
    // Nothing is entered: as with ssh, the next key.
    let run = type_in(&Pty::new(), lab.pssh(&config).args(["-v", "true"]), &[(&first, ""), (&second, PASSPHRASE)]);
    run.exits(0).stderr_has(&format!("{}: the key is encrypted, and no passphrase was entered", lab.path("key")));
    let again = "Wrong passphrase. Try again: ";
    let wrong = [(first.as_str(), "wrong"), (again, "wrong"), (again, "wrong"), (&second, PASSPHRASE)];
    let run = type_in(&Pty::new(), lab.pssh(&config).args(["-v", "true"]), &wrong);
    run.exits(0).stderr_has(&format!("{}: the passphrase was wrong 3 times", lab.path("key")));
    // No terminal: no questions, and the reason where logging in fails.
    let run = lab.pssh(&config).arg("true").run();
    run.exits(4).ends(&lab.sshd.label(), "auth: ");
    let outcome = run.outcome(&lab.sshd.label());
    run.check(
        outcome.contains("the key is encrypted, and there is no terminal to ask on; load it into an agent"),
        "says why",
    );
}

#[test]
fn no_passphrase_is_asked_for_that_is_not_needed() {
    let lab = Locked::new(&["key"]);
    let config = format!("IdentityFile {}\n", lab.path("key"));
    let agent = Agent::start(&lab.env);
    agent.add(&lab.env, &lab.env.path("key"));
    let run = lab.pssh(&config).variable("SSH_AUTH_SOCK", &agent.socket).arg("true");
    type_in(&Pty::new(), run, &[]).exits(0);
    // Of no use.
    for option in ["PubkeyAuthentication=no", "PubkeyAcceptedAlgorithms=rsa-*", "BatchMode=yes"] {
        let run = lab.pssh(&config).args(["-O", option, "true"]);
        type_in(&Pty::new(), run, &[]).exits(4).ends(&lab.sshd.label(), "auth: ");
    }
    let run = lab.pssh(&format!("{config}BatchMode yes\n")).arg("true");
    let run = type_in(&Pty::new(), run, &[]);
    run.check(run.outcome(&lab.sshd.label()).contains("BatchMode lets nothing be asked ("), "says why");
    // Only to be explained.
    let run = lab.pssh(&config).arg("--explain");
    type_in(&Pty::new(), run, &[]).exits(0);
    // A named key must be usable, or the user learns it at once.
    let run = lab.pssh("BatchMode yes\n").arg("--identity").arg(lab.path("key")).arg("true");
    type_in(&Pty::new(), run, &[]).exits(2).stderr_has("BatchMode lets nothing be asked (");
}

#[test]
fn a_default_key_is_asked_for_where_there_is_nothing_else() {
    let lab = Locked::new(&[".ssh/id_ed25519", ".ssh/id_ecdsa"]);
    let (first, second) = (lab.prompt(".ssh/id_ed25519"), lab.prompt(".ssh/id_ecdsa"));
    let pssh = || lab.pssh("").args(["-v", "true"]);
    type_in(&Pty::new(), pssh(), &[(&first, PASSPHRASE)]).exits(0);
    type_in(&Pty::new(), pssh(), &[(&first, ""), (&second, PASSPHRASE)]).exits(0);
    // Another key, which the server does not take even so.
    ssh_keygen(&lab.env.path(".ssh/id_rsa"), &["-t", "rsa", "-b", "2048"]);
    let run = type_in(&Pty::new(), pssh(), &[]);
    run.exits(4).ends(&lab.sshd.label(), "auth: ");
    run.check(run.outcome(&lab.sshd.label()).contains("the key is encrypted, and no agent holds it"), "says why");
    fs::remove_file(lab.env.path(".ssh/id_rsa")).expect("a key");
    let agent = Agent::start(&lab.env);
    ssh_keygen(&lab.env.path("held"), &["-t", "ed25519"]);
    agent.add(&lab.env, &lab.env.path("held"));
    type_in(&Pty::new(), pssh().variable("SSH_AUTH_SOCK", &agent.socket), &[]).exits(4);
    // Ctrl-C at the question ends the run.
    let pty = Pty::new();
    let running = pty.control(pssh()).start();
    pty.wait_for(&first, 1);
    pty.type_in("\x03");
    running.finish().exits(130);
    assert!(pty.echoes());
}

#[test]
fn batch_mode_lets_no_server_ask() {
    let env = Env::without_key();
    let code = Prompt { text: "Code: ".to_owned(), echo: false, answer: "123456".to_owned() };
    let config = Config { keyboard_interactive: vec![vec![code]], ..Config::default() };
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    let label = server.addr().ip().to_string();
    let pty = Pty::new();
    let run = pty.control(env.pssh().hosts([server.addr()]).args(["-O", "BatchMode=yes", "true"])).run();
    run.exits(4).ends(&label, "auth: ");
    assert_eq!((pty.shown().as_str(), server.auth_attempts()), ("", 0));
    let pty = Pty::new();
    let running = pty.control(env.pssh().hosts([server.addr()]).args(["-O", "BatchMode=no", "true"])).start();
    pty.wait_for("\"Code:\" ", 1);
    pty.type_in("123456\n");
    running.finish().exits(0);
}

/// An agent that counts how often it is asked for its keys.
fn counting(env: &Env, agent: &Agent) -> (PathBuf, Arc<AtomicUsize>) {
    let (socket, count) = (env.path("counting"), Arc::new(AtomicUsize::new(0)));
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (real, counted) = (agent.socket.clone(), Arc::clone(&count));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (real, counted) = (real.clone(), Arc::clone(&counted));
            // An error once either side has closed.
            thread::spawn(move || serve(client, &real, &counted));
        }
    });
    (socket, count)
}

fn serve(mut client: UnixStream, agent: &Path, count: &AtomicUsize) -> std::io::Result<()> {
    const REQUEST_IDENTITIES: u8 = 11;
    let message = |from: &mut UnixStream| {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut body)?;
        std::io::Result::Ok([&length[..], &body].concat())
    };
    let mut agent = UnixStream::connect(agent)?;
    loop {
        let request = message(&mut client)?;
        if request[4] == REQUEST_IDENTITIES {
            count.fetch_add(1, Ordering::SeqCst);
        }
        agent.write_all(&request)?;
        client.write_all(&message(&mut agent)?)?;
    }
}

#[test]
fn agents_are_listed_and_files_read_once_though_the_hosts_differ() {
    let env = Env::without_key();
    let held = ssh_keygen(&env.path("held"), &["-t", "ed25519"]);
    let line = ssh_keygen(&env.path("key"), &["-t", "ed25519"]);
    let sshd = Sshd::start(&env, Setup { authorized: vec![line, held], hosts: 3, ..Setup::default() });
    let agent = Agent::start(&env);
    agent.add(&env, &env.path("held"));
    let (socket, count) = counting(&env, &agent);
    // A pipe gives its contents away once; reading it again would wait for ever.
    let pipe = env.path("pipe");
    tool("mkfifo", &["-m".as_ref(), "600".as_ref(), pipe.as_os_str()]);
    let text = fs::read(env.path("key")).expect("a key");
    let writer = thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, text)
    });
    let block = |host: &String| {
        let address = host.split(':').next().expect("an address");
        format!(
            "Host {address}\nIdentityFile {}\nIdentityFile {}\n",
            env.path(&format!("none-{address}")).display(),
            pipe.display()
        )
    };
    let config = env.file("config", sshd.hosts().iter().map(block).collect::<String>());
    let run = env.bare_pssh().arg("-F").arg(config).hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &socket).arg("true");
    run.run().exits(0).stderr_has("3 hosts: 3 ok");
    writer.join().expect("a thread").expect("a pipe that was read");
    // For all hosts, and once more to see which keys are for certain hosts only.
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert!(fs::metadata(&pipe).expect("a pipe").permissions().mode() & 0o77 == 0);
}

/// Ten keys in the agent, and the server accepts a default one: that comes first, as in ssh.
#[test]
fn default_keys_that_the_agent_holds_are_offered_first() {
    let env = Env::without_key();
    let agent = Agent::start(&env);
    let names: Vec<String> = (0..10).map(|number| format!("key{number}")).collect();
    let lines: Vec<String> = names.iter().map(|name| ssh_keygen(&env.path(name), &["-t", "ed25519"])).collect();
    names.iter().for_each(|name| agent.add(&env, &env.path(name)));
    let sshd = Sshd::start(&env, Setup { authorized: lines[7..8].to_vec(), ..Setup::default() });
    let directory = env.path(".ssh");
    let (public, private) = (env.path("key7.pub"), env.path("key7"));
    // ssh goes by the name alone, and not by the kind of the key.
    for (from, name) in [
        (&private, "id_ed25519"),
        (&public, "id_ed25519.pub"),
        (&public, "id_rsa.pub"),
        (&public, "id_ecdsa.pub"),
        (&public, "id_ecdsa_sk.pub"),
        (&public, "id_ed25519_sk.pub"),
        (&public, "id_dsa.pub"),
    ] {
        let to = directory.join(name);
        fs::copy(from, &to).expect("a copy");
        for only in ["no", "yes"] {
            let pssh = || {
                let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
                run.args(["-v", "-O", &format!("IdentitiesOnly={only}")])
            };
            let shown = directory.join(name.trim_end_matches(".pub"));
            let run = pssh().arg("true").run();
            run.exits(0).stderr_has(&format!("with ssh-ed25519 {} (agent)", shown.display()));
            let explained = pssh().arg("--explain").run();
            let text = String::from_utf8_lossy(&explained.stdout).into_owned();
            let place = |words: &str| text.find(words);
            let own = place(&format!("\nidentityfile ~/.ssh/{}\t", name.trim_end_matches(".pub")));
            let is_first = own.is_some_and(|own| place("\nagentkey ").is_none_or(|other| own < other));
            explained.check(is_first, &format!("{name}, IdentitiesOnly {only}"));
        }
        fs::remove_file(&to).expect("the copy");
    }
    let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).arg("true").run();
    run.exits(4).ends(&sshd.label(), "auth: ");
}

/// The forms of public key files that ssh takes, and what is said of those that it does not take.
#[test]
fn public_key_files_are_read_as_by_ssh() {
    let env = Env::without_key();
    let agent = Agent::start(&env);
    let line = ssh_keygen(&env.path("key"), &["-t", "ed25519"]);
    let other = ssh_keygen(&env.path("other"), &["-t", "ed25519"]);
    agent.add(&env, &env.path("key"));
    ssh_keygen(&env.path("authority"), &["-t", "ed25519"]);
    certify(&env, "authority", &env.path("key"), &env.path("certified"), &[]);
    let certificate = fs::read_to_string(env.path("certified-cert.pub")).expect("a certificate");
    let rfc4716 = Command::new("ssh-keygen").args(["-e", "-f"]).arg(env.path("key.pub")).output().expect("ssh-keygen");
    let sshd = Sshd::start(&env, Setup { authorized: vec![line.clone()], ..Setup::default() });
    let mut words = line.split_whitespace();
    let (kind, base64) = (words.next().expect("a kind"), words.next().expect("a key"));
    let public = format!("{kind} {base64}");
    for (text, problem) in [
        (format!("{public} me\n{other}\n").into_bytes(), None),
        ([public.as_bytes(), b" caf\xe9\n"].concat(), None),
        (format!("{kind}\t{base64}\tme\n").into_bytes(), None),
        (format!("{kind} \t {base64}").into_bytes(), None),
        (format!("# of the laptop\n{public}\n").into_bytes(), None),
        (format!("\n\n{public}\n").into_bytes(), None),
        (format!("  {public}\n").into_bytes(), None),
        (format!("{public} me\r\n").into_bytes(), None),
        (format!("no key\nssh-ed25519 AAAA\n{public}\n").into_bytes(), None),
        (rfc4716.stdout, Some("a public key in the format of RFC 4716")),
        (format!("\u{feff}{public}\n").into_bytes(), Some("it starts with a byte order mark")),
        (Vec::new(), Some("the file is empty")),
        (b"\n \n".to_vec(), Some("the file is empty")),
        (format!("{other}\n{public}\n").into_bytes(), Some("this is a public key, and no agent holds the private one")),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n".to_vec(), Some("a PuTTY key: puttygen")),
        (b"what is this?\n".to_vec(), Some("no PRIVATE KEY block and no public key in it")),
    ] {
        let shown = String::from_utf8_lossy(&text).into_owned();
        let path = env.file("identity", text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        let options = ["BatchMode=yes", "IdentitiesOnly=yes"];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none"]).args(options.iter().flat_map(|option| ["-o", option]));
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", env.known_hosts().display())).arg("-i").arg(&path);
        ssh.args(["-p", &sshd.port().to_string(), "127.0.1.1", "true"]);
        ssh.env("SSH_AUTH_SOCK", &agent.socket).stdin(Stdio::null()).stderr(Stdio::null());
        let by_ssh = ssh.status().expect("ssh of OpenSSH is needed for this test").success();
        assert_eq!(by_ssh, problem.is_none(), "{shown:?}");
        let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
        let run = run.args(["-O", "IdentitiesOnly=yes", "--identity"]).arg(&path).arg("true").run();
        match problem {
            None => run.exits(0).check(true, &shown),
            Some(problem) => run
                .exits(2)
                .stderr_has(&format!("pssh: {}: ", path.display()))
                .stderr_has(problem)
                .stderr_lacks("too open"),
        };
    }
    // A private key that others can read is another matter, and so is one that begins with a byte order mark.
    let private = fs::read(env.path("other")).expect("a key");
    for (text, mode, problem) in [
        (private.clone(), 0o644, "permissions 0644 are too open"),
        ([&b"\xef\xbb\xbf"[..], &private].concat(), 0o600, "it starts with a byte order mark"),
    ] {
        let path = env.file("identity", text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        env.pssh().hosts(sshd.hosts()).arg("--identity").arg(&path).arg("true").run().exits(2).stderr_has(problem);
    }
    // The same forms of a certificate that is named as one.
    let config =
        format!("IdentityFile {}\nCertificateFile {}\n", env.path("key").display(), env.path("cert").display());
    env.file("cert", format!("# signed today\n\n\t{certificate}"));
    let authority = vec![format!("cert-authority {}", public_line(&env.path("authority")))];
    let certified = Sshd::start(&env, Setup { authorized: authority, ..Setup::default() });
    let run = env.bare_pssh().arg("-F").arg(env.file("config", config)).arg("--known-hosts").arg(env.known_hosts());
    run.hosts(certified.hosts()).args(["-v", "true"]).run().exits(0).stderr_has("ssh-ed25519-cert-v01@openssh.com");
}
