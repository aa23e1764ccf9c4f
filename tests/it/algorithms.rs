//! The algorithms of the key exchange through the binary: what is agreed on with a server is what ssh agrees on, what is said where
//! nothing can be, and what is offered.

use std::io;
use std::process::{Command, Stdio};

use pssh::internal::Kind;
use serde_json::Value;

use crate::bin::{Env, Run};
use crate::embedded::{Config, Server};
use crate::raw::{Raw, Script, Wire};
use crate::sshd::{HostKey, Setup, Sshd};

const LABEL: &str = "127.0.1.1";

fn server(env: &Env, config: &'static str) -> Sshd {
    let host_keys = &[HostKey::Ed25519, HostKey::Ecdsa, HostKey::Rsa];
    Sshd::start(env, Setup { host_keys, config, ..Setup::default() })
}

/// Standard error of `ssh -v`, with these options.
fn ssh(env: &Env, sshd: &Sshd, options: &[&str]) -> String {
    let mut command = Command::new("ssh");
    command.args(["-v", "-F", "none", "-o", "BatchMode=yes", "-o"]);
    command.arg(format!("UserKnownHostsFile={}", env.known_hosts().display()));
    command.arg("-i").arg(env.ssh_dir().join("id_ed25519"));
    command.args(options.iter().flat_map(|option| ["-o", option]));
    command.args(["-p", &sshd.port().to_string(), LABEL, "true"]).stdin(Stdio::null());
    let output = command.output().expect("ssh of OpenSSH is needed for this test");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What ssh says that it has agreed on: key exchange, type of the host key, cipher, MAC and compression.
fn agreed_by_ssh(said: &str) -> Vec<&str> {
    let after = |words: &str| said.lines().find_map(|line| line.strip_prefix("debug1: kex: ")?.strip_prefix(words));
    let (Some(exchange), Some(key), Some(rest)) =
        (after("algorithm: "), after("host key algorithm: "), after("client->server cipher: "))
    else {
        return Vec::new();
    };
    let (cipher, rest) = rest.split_once(" MAC: ").expect("a MAC");
    let (mac, compression) = rest.split_once(" compression: ").expect("a compression");
    vec![exchange, key, cipher, mac, compression]
}

/// What the only `end` of a run with --json names.
fn agreed_in_json(run: &Run) -> Vec<String> {
    let text = run.stdout_text();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let end = events.into_iter().find(|event| event["event"] == "end").expect("an end");
    ["key_exchange", "host_key_type", "cipher", "mac", "compression"]
        .iter()
        .filter_map(|field| end[field].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn the_same_is_agreed_on_as_by_ssh() {
    let env = Env::new();
    // Of what ssh prefers, this build has no sntrup761 and no UMAC; OpenSSH 9.2 has no ML-KEM, and GCM comes last there.
    let ours = "KexAlgorithms=-sntrup*,mlkem*";
    let gcm = "Ciphers=^chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
    let theirs = ["KexAlgorithms=-sntrup*", "MACs=-umac*", gcm];
    let servers = [
        "",
        "Ciphers aes256-gcm@openssh.com,aes256-ctr\nMACs hmac-sha2-512,hmac-sha2-512-etm@openssh.com\n",
        "Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com\nKexAlgorithms diffie-hellman-group14-sha256,ecdh-sha2-nistp384\n",
        "HostKeyAlgorithms rsa-sha2-256,rsa-sha2-512\n",
    ];
    for (server_config, options) in servers.into_iter().map(|config| (config, &[][..])).chain([
        ("", &["Ciphers=^aes192-ctr", "MACs=^hmac-sha2-256"][..]),
        ("Ciphers aes128-cbc,aes256-ctr\n", &["Ciphers=^aes128-cbc"]),
        ("", &["HostKeyAlgorithms=^ecdsa-sha2-nistp256", "Compression=yes"]),
    ]) {
        let sshd = server(&env, server_config);
        let said = ssh(&env, &sshd, &[options, &theirs[..]].concat());
        let expected = agreed_by_ssh(&said);
        assert_eq!(expected.len(), 5, "{said}");
        let options: Vec<&str> = [options, &[ours]].concat().iter().flat_map(|option| ["-O", option]).collect();
        let run = env.pssh().hosts(sshd.hosts()).args(&options).args(["--json", "true"]).run();
        run.exits(0);
        assert_eq!(agreed_in_json(&run), expected, "{server_config:?} {options:?}");
        let run = env.pssh().hosts(sshd.hosts()).args(&options).args(["-v", "true"]).run();
        let [exchange, key, cipher, mac, compression] = expected[..] else { panic!("five: {expected:?}") };
        run.stderr_has(&format!(
            "agreed on key exchange {exchange}, host key {key}, cipher {cipher}, MAC {mac}, compression {compression}\n"
        ));
    }
}

/// A server that only has what ssh does not offer by itself is refused in the same words, and used where the algorithm is named.
#[test]
fn cbc_is_used_only_where_it_is_named() {
    let env = Env::new();
    let sshd = server(&env, "Ciphers aes128-cbc\n");
    let said = ssh(&env, &sshd, &[]);
    assert!(said.contains("no matching cipher found. Their offer: aes128-cbc"), "{said}");
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(
        LABEL,
        "ssh: key exchange: no matching cipher found: the server offers aes128-cbc; pssh offers chacha20-",
    );
    run.hints(LABEL, "-O Ciphers=+aes128-cbc");
    env.pssh().hosts(sshd.hosts()).args(["-O", "Ciphers=+aes128-cbc", "true"]).run().exits(0);
    env.pssh().hosts(sshd.hosts()).args(["-O", "Ciphers=-aes128-cbc", "true"]).run().exits(4);
    let config = env.file("config", format!("Host {LABEL}\n Ciphers aes128-ctr,aes128-cbc\n"));
    env.bare_pssh().hosts(sshd.hosts()).arg("-F").arg(config).arg("true").run().exits(0);
}

/// The options that an old server needs, and a server that has nothing else.
const OLD: (&str, &[&str]) = (
    "KexAlgorithms diffie-hellman-group14-sha1\nHostKeyAlgorithms ssh-rsa\nCiphers aes128-cbc\nMACs hmac-sha1\n",
    &[
        "KexAlgorithms=+diffie-hellman-group14-sha1",
        "HostKeyAlgorithms=+ssh-rsa",
        "Ciphers=+aes128-cbc",
        "MACs=+hmac-sha1",
    ],
);

/// Without SHA-1 in the build it is said that there is none; with it, it is used where it is named, and nowhere else.
#[test]
fn a_server_with_sha1_only() {
    let env = Env::new();
    let sshd = server(&env, OLD.0);
    let said = ssh(&env, &sshd, &[]);
    assert!(said.contains("no matching key exchange method found. Their offer: diffie-hellman-group14-sha1"), "{said}");
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(
        LABEL,
        "ssh: key exchange: no matching key exchange method found: the server offers diffie-hellman-group14-sha1; pssh offers ",
    );
    let options: Vec<&str> = OLD.1.iter().flat_map(|option| ["-O", option]).collect();
    let named = env.pssh().hosts(sshd.hosts()).args(&options).args(["--json", "true"]).run();
    if Kind::KeyExchange.supported().contains(&"diffie-hellman-group14-sha1") {
        run.hints(LABEL, "-O KexAlgorithms=+diffie-hellman-group14-sha1 offers it");
        named.exits(0);
        assert_eq!(agreed_in_json(&named)[..4], ["diffie-hellman-group14-sha1", "ssh-rsa", "aes128-cbc", "hmac-sha1"]);
        return;
    }
    run.hints(LABEL, "this build has no SHA-1 key exchanges: \"Old servers\" in docs/guide.md");
    named.exits(4);
    // One list after the other, in the order of ssh.
    for (config, noun, reason) in [
        ("HostKeyAlgorithms ssh-rsa\n", "host key type", "this build has no SHA-1 signatures"),
        ("Ciphers aes128-ctr\nMACs hmac-sha1\n", "MAC", "this build has no SHA-1 MACs"),
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com\n", "key exchange method", "this build has no sntrup761"),
        ("Ciphers aes128-ctr\nMACs umac-64@openssh.com\n", "MAC", "this build has no UMAC"),
        ("Ciphers 3des-cbc\n", "cipher", "this build has no 3DES"),
    ] {
        let sshd = server(&env, config);
        let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
        run.exits(4).ends(LABEL, &format!("ssh: key exchange: no matching {noun} found: the server offers "));
        run.hints(LABEL, reason);
    }
}

#[test]
fn what_this_build_lacks_is_told_once() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, ..Setup::default() });
    let config = env.file(
        "config",
        "Host *\n  MACs umac-64@openssh.com,hmac-sha2-256,umac-128@openssh.com\n  HostKeyAlgorithms +ssh-dss\n\
         \n  CASignatureAlgorithms ssh-ed25519,webauthn-sk-ecdsa-sha2-nistp256@openssh.com\n",
    );
    let pssh = || {
        let options = ["-O", "KexAlgorithms=^sntrup761x25519-sha512", "-O", "Ciphers=-3des-cbc"];
        env.bare_pssh().hosts(sshd.hosts()).arg("-F").arg(&config).args(options)
    };
    let run = pssh().args(["-v", "true"]).run();
    run.exits(0);
    let text = run.stderr_text();
    for line in [
        "-O KexAlgorithms=^sntrup761x25519-sha512: KexAlgorithms: this build has no sntrup761 (sntrup761x25519-sha512)",
        "config:2: MACs: this build has no UMAC (umac-64@openssh.com, umac-128@openssh.com)",
        "config:3: HostKeyAlgorithms: this build has no DSA (ssh-dss)",
        "config:5: CASignatureAlgorithms: pssh does not verify signatures of security keys (webauthn-sk-ecdsa-sha2-nistp256@openssh.com)",
    ] {
        run.check(text.matches(line).count() == 1, &format!("once: {line}"));
    }
    run.stderr_lacks("Ciphers: ");
    pssh().arg("true").run().exits(0).stderr_lacks("this build has no");
}

#[test]
fn a_list_that_leaves_nothing_is_refused_before_anything_connects() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let config = env.file("config", "Host *\n  MACs umac-64@openssh.com\n");
    let run = env.bare_pssh().hosts(sshd.hosts()).arg("-F").arg(&config).arg("true").run();
    run.exits(2).stderr_has(&format!(
        "{}:2: MACs: none of \"umac-64@openssh.com\" can be used: this build has no UMAC (umac-64@openssh.com)",
        config.display()
    ));
    for (option, reason) in [
        ("KexAlgorithms=sntrup761x25519-sha512@openssh.com", "this build has no sntrup761"),
        ("HostKeyAlgorithms=sk-ssh-ed25519@openssh.com", "pssh does not verify signatures of security keys"),
        ("HostKeyAlgorithms=ssh-dss", "this build has no DSA"),
        ("Ciphers=3des-cbc", "this build has no 3DES"),
        ("Ciphers=-*", "none of \"-*\" can be used\n"),
    ] {
        let run = env.pssh().hosts(sshd.hosts()).args(["-O", option, "true"]).run();
        run.exits(2).stderr_has(&format!("-O {option}: ")).stderr_has(reason);
    }
    let sha1 = "KexAlgorithms=diffie-hellman-group1-sha1";
    if !Kind::KeyExchange.supported().contains(&"diffie-hellman-group1-sha1") {
        let run = env.pssh().hosts(sshd.hosts()).args(["-O", sha1, "true"]).run();
        run.exits(2)
            .stderr_has("this build has no SHA-1 key exchanges")
            .stderr_has("hint: \"Old servers\" in docs/guide.md");
    }
    assert_eq!(sshd.connections(), 0);
}

/// Post-quantum key exchange: with OpenSSL 3.5 or newer, which is what comes with a build by default.
#[test]
fn post_quantum_key_exchange_is_preferred() {
    const HYBRID: &str = "mlkem768x25519-sha256";
    let env = Env::new();
    let has_it = Kind::KeyExchange.supported().contains(&HYBRID);
    assert!(has_it || !cfg!(feature = "vendored"), "the OpenSSL that is built in is older than 3.5");
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    let run = env.pssh().hosts([server.addr()]).args(["--json", "true"]).run();
    run.exits(0);
    assert_eq!(agreed_in_json(&run)[0], if has_it { HYBRID } else { "curve25519-sha256" });
    let run =
        env.pssh().hosts([server.addr()]).args(["-O", &format!("KexAlgorithms=-{HYBRID}"), "--json", "true"]).run();
    run.exits(0);
    assert_eq!(agreed_in_json(&run)[0], "curve25519-sha256");
}

/// Compression that may begin before the login is not even offered: what anybody sends would be inflated.
#[test]
fn compression_begins_after_the_login() {
    fn tell(wire: &mut Wire, channel: u32) -> io::Result<()> {
        let lists = [6, 7].map(|place| wire.proposed(place).unwrap_or(b"?").to_vec());
        wire.data(channel, &[&lists[0][..], b" ", &lists[1], b"\n"].concat())?;
        wire.end(channel, 0)
    }
    let env = Env::new();
    let raw = Raw::start(Script { command: Some(tell), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    for (options, lists) in [
        (&["-C"][..], "zlib@openssh.com,none zlib@openssh.com,none\n"),
        (&["-O", "Compression=yes"], "zlib@openssh.com,none zlib@openssh.com,none\n"),
        (&[], "none none\n"),
    ] {
        let run = env.pssh().hosts([raw.address]).args(options).arg("x").run();
        run.exits(0).stdout_is(&format!("127.0.0.1: {lists}"));
    }
    // As ssh, which offers zlib too, but not by itself.
    let sshd = Sshd::start(&env, Setup { config: "Compression yes\n", ..Setup::default() });
    assert_eq!(agreed_by_ssh(&ssh(&env, &sshd, &["Compression=yes"]))[4], "zlib@openssh.com");
    let run = env.pssh().hosts(sshd.hosts()).args(["-C", "--json", "true"]).run();
    assert_eq!(agreed_in_json(&run)[4], "zlib@openssh.com");
}
