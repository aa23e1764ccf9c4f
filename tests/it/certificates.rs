//! User certificates and encrypted keys, against a real sshd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::auth::{Agent, PASSPHRASE};
use crate::bin::{Env, ssh_keygen, tool};
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd, current_user};

/// A certificate authority for users, and the server that trusts it and no key.
struct Authority {
    key: PathBuf,
    sshd: Sshd,
}

impl Authority {
    fn start(env: &Env) -> Authority {
        let key = env.path("authority");
        let line = ssh_keygen(&key, &["-t", "ed25519"]);
        let authorized = vec![format!("cert-authority {line}")];
        let sshd = Sshd::start(env, Setup { authorized, ..Setup::default() });
        Authority { key, sshd }
    }

    /// Writes the certificate of `key` beside it.
    fn certify(&self, key: &Path, args: &[&str]) {
        let public = format!("{}.pub", key.display());
        let authority = self.key.display().to_string();
        let mut all = vec!["-q", "-s", &authority, "-I", "test", "-n"];
        let user = current_user();
        all.push(&user);
        all.extend(args);
        all.push(&public);
        tool("ssh-keygen", &all.iter().map(std::ffi::OsStr::new).collect::<Vec<_>>());
    }
}

const KINDS: [(&str, &[&str]); 4] = [
    ("ed25519", &["-t", "ed25519"]),
    ("ecdsa", &["-t", "ecdsa", "-b", "384"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
    ("rsa.pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
];

#[test]
fn a_certificate_beside_a_named_key() {
    let env = Env::without_key();
    let authority = Authority::start(&env);
    for (name, args) in KINDS {
        let path = env.path(name);
        ssh_keygen(&path, args);
        let pssh = || env.pssh().hosts(authority.sshd.hosts()).arg("-v").arg("--identity").arg(&path).arg("true").run();
        pssh().exits(4).ends(&authority.sshd.label(), "auth: ");
        authority.certify(&path, &[]);
        let run = pssh();
        run.check(run.status.success(), name);
        run.stderr_has("-cert-v01@openssh.com ").stderr_has(&format!("{name}-cert.pub"));
    }
    assert!(authority.sshd.log().contains("RSA-CERT"), "{}", authority.sshd.log());
}

/// Where `ssh-keygen -s` was run on a copy, or its certificate was moved, `key.pub` is the certificate. ssh offers that.
#[test]
fn a_certificate_in_place_of_the_public_half() {
    for by_agent in [false, true] {
        let env = Env::without_key();
        let authority = Authority::start(&env);
        for (name, args) in KINDS {
            let path = env.path(name);
            ssh_keygen(&path, args);
            authority.certify(&path, &[]);
            let agent = Agent::start(&env);
            if by_agent {
                agent.add(&env, &path);
            }
            let public = PathBuf::from(format!("{}.pub", path.display()));
            let plain = fs::read(&public).expect("the public half");
            fs::rename(env.path(&format!("{name}-cert.pub")), &public).expect("the certificate");
            let pssh = || {
                let pssh = env.pssh().hosts(authority.sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
                pssh.args(["-v", "-O", "IdentitiesOnly=yes", "--identity"]).arg(&path).arg("true").run()
            };
            let run = pssh();
            run.check(run.status.success(), name);
            run.stderr_has(&format!("-cert-v01@openssh.com {}", public.display()));
            fs::write(&public, plain).expect("the public half");
            // An agent that was given the certificate has it still.
            if !by_agent {
                pssh().exits(4).ends(&authority.sshd.label(), "auth: ");
            }
        }
    }
}

/// As OpenSSH's multipubkey.sh: a server that wants two keys is content with a certificate and the plain key of another.
#[test]
fn a_certificate_and_a_plain_key_are_two_factors() {
    let env = Env::without_key();
    let (authority, first, second) = (env.path("authority"), env.path("first"), env.path("second"));
    let line = ssh_keygen(&authority, &["-t", "ed25519"]);
    ssh_keygen(&first, &["-t", "ed25519"]);
    let plain = ssh_keygen(&second, &["-t", "ed25519"]);
    let user = current_user();
    let first_public = format!("{}.pub", first.display());
    let by = authority.display().to_string();
    let args = ["-q", "-s", &by, "-I", "test", "-n", &user, &first_public].map(std::ffi::OsStr::new);
    tool("ssh-keygen", &args);
    let pssh = |sshd: &Sshd| {
        let pssh = env.pssh().hosts(sshd.hosts()).args(["-O", "IdentitiesOnly=yes", "--identity"]).arg(&first);
        pssh.arg("--identity").arg(&second).arg("true").run()
    };
    let config = "AuthenticationMethods publickey,publickey\n";
    for place in ["beside", "in place"] {
        let authorized = vec![format!("cert-authority {line}"), plain.clone()];
        let sshd = Sshd::start(&env, Setup { authorized, config, ..Setup::default() });
        pssh(&sshd).exits(0);
        // The plain key of the certificate is the same key once more.
        let authorized = vec![format!("cert-authority {line}"), ssh_keygen_line(&first)];
        let sshd = Sshd::start(&env, Setup { authorized, config, ..Setup::default() });
        let run = pssh(&sshd);
        run.exits(4).ends(&sshd.label(), "auth: ");
        if place == "beside" {
            fs::rename(env.path("first-cert.pub"), &first_public).expect("the certificate");
        }
    }
}

/// The public key of a private key file.
fn ssh_keygen_line(path: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(path).output().expect("ssh-keygen");
    String::from_utf8(output.stdout).expect("a public key").trim_end().to_owned()
}

#[test]
fn a_certificate_of_a_default_key() {
    let env = Env::without_key();
    let authority = Authority::start(&env);
    let path = env.ssh_dir().join("id_ed25519");
    ssh_keygen(&path, &["-t", "ed25519"]);
    authority.certify(&path, &[]);
    env.pssh().hosts(authority.sshd.hosts()).arg("true").run().exits(0);
}

#[test]
fn certificates_of_an_agent() {
    let env = Env::without_key();
    let authority = Authority::start(&env);
    for (name, args) in KINDS {
        let agent = Agent::start(&env);
        let path = env.path(name);
        ssh_keygen(&path, args);
        authority.certify(&path, &[]);
        // The certificate comes along.
        agent.add(&env, &path);
        let pssh = || env.pssh().hosts(authority.sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket);
        let run = pssh().args(["-v", "true"]).run();
        run.check(run.status.success(), name);
        run.stderr_has("-cert-v01@openssh.com ").stderr_has("(agent)");
        // The certificate is in a file, the key only in the agent.
        let output = Command::new("ssh-add").args(["-q", "-D"]).env("SSH_AUTH_SOCK", &agent.socket).output();
        assert!(output.expect("ssh-add").status.success());
        let certificate = env.path(&format!("{name}-cert.pub"));
        fs::rename(&certificate, env.path("elsewhere")).expect("a certificate");
        agent.add(&env, &path);
        fs::rename(env.path("elsewhere"), &certificate).expect("a certificate");
        let run = pssh().arg("-v").arg("--identity").arg(&path).arg("true").run();
        run.check(run.status.success(), name);
        run.stderr_has(&format!("{name}-cert.pub (agent)"));
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_passed_over() {
    let env = Env::without_key();
    let authority = Authority::start(&env);
    let path = env.path("key");
    let line = ssh_keygen(&path, &["-t", "ed25519"]);
    let other = env.path("other");
    ssh_keygen(&other, &["-t", "ed25519"]);
    let sshd = Sshd::start(&env, Setup { authorized: vec![line], ..Setup::default() });
    let certificate = env.path("key-cert.pub");
    let passes = |problem: &str| {
        let run = env.pssh().hosts(sshd.hosts()).arg("-v").arg("--identity").arg(&path).arg("true").run();
        run.exits(0).stderr_has(&format!("pssh: {}: {problem}", certificate.display()));
    };
    fs::write(&certificate, "nonsense\n").expect("a file");
    passes("not a certificate");
    fs::copy(env.path("key.pub"), &certificate).expect("a file");
    passes("not a readable certificate");
    authority.certify(&other, &[]);
    fs::copy(env.path("other-cert.pub"), &certificate).expect("a file");
    passes("a certificate for another key");
    authority.certify(&path, &["-h"]);
    passes("a host certificate, not a user certificate");
    // One that is over, or whose authority the server does not know, is offered and refused; then it is the key's turn.
    authority.certify(&path, &["-V", "20200101:20200102"]);
    env.pssh().hosts(sshd.hosts()).arg("--identity").arg(&path).arg("true").run().exits(0);
    let run = env.pssh().hosts(authority.sshd.hosts()).arg("--identity").arg(&path).arg("true").run();
    run.exits(4).ends(&authority.sshd.label(), "auth: ");
    run.check(run.outcome(&authority.sshd.label()).contains("key-cert.pub"), "says what was tried");
}

/// Encrypted keys in every format, and a server that lets them in.
fn encrypted(env: &Env) -> (Vec<PathBuf>, Sshd) {
    let kinds: [(&str, &[&str]); 6] = [
        ("openssh", &["-t", "ed25519"]),
        ("openssh-rsa", &["-t", "rsa", "-b", "2048", "-Z", "aes256-gcm@openssh.com"]),
        ("openssh-chacha", &["-t", "ecdsa", "-Z", "chacha20-poly1305@openssh.com"]),
        ("openssh-cbc", &["-t", "ed25519", "-Z", "aes256-cbc"]),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
    ];
    let mut lines = Vec::new();
    let mut paths = Vec::new();
    for (name, args) in kinds {
        let path = env.path(name);
        lines.push(ssh_keygen(&path, &[args, &["-N", PASSPHRASE]].concat()));
        paths.push(path);
    }
    (paths, Sshd::start(env, Setup { authorized: lines, hosts: 3, ..Setup::default() }))
}

#[test]
fn a_passphrase_is_asked_for_once() {
    let env = Env::without_key();
    let (paths, sshd) = encrypted(&env);
    for path in paths {
        let pty = Pty::new();
        let run = env.pssh().hosts(sshd.hosts()).arg("-v").arg("--identity").arg(&path).arg("true");
        let running = pty.control(run).start();
        pty.wait_for(&format!("Passphrase for key {}: ", path.display()), 1);
        assert!(!pty.echoes());
        pty.type_in("wrong\n");
        pty.wait_for("Wrong passphrase. Try again: ", 1);
        pty.type_in(&format!("{PASSPHRASE}\n"));
        let run = running.finish();
        run.exits(0).stderr_has("3 hosts: 3 ok").stderr_lacks(PASSPHRASE);
        assert_eq!(pty.shown().matches("Passphrase").count(), 1, "{:?}", pty.shown());
        assert!(pty.echoes() && !pty.shown().contains(PASSPHRASE));
    }
}

#[test]
fn a_passphrase_is_asked_for_once_though_the_hosts_differ_in_their_keys() {
    let env = Env::without_key();
    let (paths, sshd) = encrypted(&env);
    // Each host has another key of its own in addition, so that all are offered different ones.
    let block = |host: &String| {
        let address = host.split(':').next().expect("an address");
        format!("Host {address}\n IdentityFile {}\n", env.path(&format!("none-{address}")).display())
    };
    let config = env.file("config", sshd.hosts().iter().map(block).collect::<String>());
    let pty = Pty::new();
    let run = env.pssh().hosts(sshd.hosts()).arg("-F").arg(config).arg("--identity").arg(&paths[0]).arg("true");
    let running = pty.control(run).start();
    pty.wait_for("Passphrase for key ", 1);
    pty.type_in(&format!("{PASSPHRASE}\n"));
    running.finish().exits(0).stderr_has("3 hosts: 3 ok");
    assert_eq!(pty.shown().matches("Passphrase").count(), 1, "{:?}", pty.shown());
}

#[test]
fn a_passphrase_can_be_wrong_three_times() {
    let env = Env::without_key();
    let (paths, sshd) = encrypted(&env);
    let pty = Pty::new();
    let running = pty.control(env.pssh().hosts(sshd.hosts()).arg("--identity").arg(&paths[0]).arg("true")).start();
    for count in 1..=3 {
        pty.wait_for("assphrase", count);
        pty.type_in("wrong\n");
    }
    running.finish().exits(2).stderr_has("wrong 3 times");
    assert_eq!(pty.shown().matches("Wrong passphrase. Try again: ").count(), 2, "{:?}", pty.shown());
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn the_password_of_the_run_opens_keys() {
    let env = Env::without_key();
    let (paths, sshd) = encrypted(&env);
    let file = env.file("password", PASSPHRASE);
    tool("chmod", &["600".as_ref(), file.as_os_str()]);
    let pssh = || env.pssh().hosts(sshd.hosts()).arg("--password-file").arg(&file).arg("-v");
    for path in &paths {
        let run = pssh().arg("--identity").arg(path).arg("true").run();
        run.check(run.status.success(), &path.display().to_string());
        run.stderr_lacks(PASSPHRASE);
    }
    // A default one too, which is not asked for where there is a password.
    let default = env.ssh_dir().join("id_ed25519");
    fs::rename(&paths[0], &default).expect("a key");
    pssh().arg("true").run().exits(0);
    fs::write(&file, "another").expect("a password");
    let pty = Pty::new();
    let run = pty.control(pssh().arg("true")).run();
    run.exits(4).ends(&sshd.label(), "auth: ");
    run.stderr_has(&format!("{}: the key is encrypted, with another passphrase", default.display()));
    assert_eq!(pty.shown(), "");

    let run = pssh().arg("--identity").arg(&paths[1]).arg("true").run();
    run.exits(2).stderr_has("encrypted, with another passphrase").stderr_has("ssh-add");
}

#[test]
fn no_passphrase_is_asked_for_where_the_agent_holds_the_key() {
    let env = Env::without_key();
    let (paths, sshd) = encrypted(&env);
    let agent = Agent::start(&env);
    agent.add(&env, &paths[0]);
    let pty = Pty::new();
    let run = env.pssh().hosts(sshd.hosts()).variable("SSH_AUTH_SOCK", &agent.socket).arg("--identity").arg(&paths[0]);
    pty.control(run.arg("true")).run().exits(0);
    assert_eq!(pty.shown(), "");
}
