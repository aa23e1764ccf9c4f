//! Host certificates and RevokedHostKeys through the binary, compared with the system's `ssh` on the same files.
//!
//! Both reach `sshd -i` by the same ssh_config with a ProxyCommand, so that any name and port leads to the server. Neither
//! logs in: the host key is judged first, and `-v` says how.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::bin::{Env, Run, all_hold, ssh_keygen};
use crate::sshd::{self, Setup, Sshd};

/// A server, what is known of it, and a connection. In the texts, `{NAME}` stands for a public key with its type, `{file
/// NAME}` for the path of a file.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// The server's key.
    key: &'static str,
    /// The arguments with which ssh-keygen certifies it; nothing for no certificate.
    certify: &'static str,
    known: &'static str,
    host: &'static str,
    port: u16,
    /// More lines of ssh_config.
    config: &'static str,
    /// The arguments with which ssh-keygen makes the file `revoked`, and its input; nothing for none.
    revoke: (&'static str, &'static str),
    /// What pssh says instead, and why; empty if it says the same.
    ours: &'static str,
    /// Words of pssh's about it.
    says: &'static str,
}

const CASE: Case = Case {
    name: "",
    key: "ed",
    certify: "-s ca -h -n web1.ex.org",
    known: "@cert-authority *.ex.org {ca}\n",
    host: "web1.ex.org",
    port: 22,
    config: "",
    revoke: ("", ""),
    ours: "",
    says: "",
};

const fn case(name: &'static str) -> Case {
    Case { name, ..CASE }
}

const REVOKED: &str = "RevokedHostKeys {file revoked}\n";

/// A list of revoked keys: text if there are no arguments.
const fn revoked(name: &'static str, certify: &'static str, args: &'static str, input: &'static str) -> Case {
    Case { certify, config: REVOKED, revoke: (args, input), ..case(name) }
}

const PLAIN: &str = "";

#[rustfmt::skip]
static CASES: &[Case] = &[
    // Authorities.
    Case { says: "known from", ..case("authority by a pattern") },
    Case { known: "@cert-authority web1.ex.org {ca}\n", ..case("authority by name") },
    Case { known: "@cert-authority * {ca}\n", ..case("authority of all") },
    Case { known: "@cert-authority {hash web1.ex.org} {ca}\n", ..case("authority by a hashed name") },
    Case { known: "@cert-authority *.ex.org,!web1.ex.org {ca}\n", ..case("negated") },
    Case { known: "@cert-authority *.ex.org {other}\n@cert-authority web?.ex.org {ca}\n", ..case("second authority") },
    Case { known: "@cert-authority *.ex.org {other}\n", says: "which is not the authority of", ..case("another authority") },
    Case { known: "", says: "is not in known_hosts", ..case("nothing known") },
    Case { known: "@cert-authority db1 {ca}\n", ..case("authority of another host") },
    Case { known: "web1.ex.org {ca}\n", ..case("the authority's key is known as a plain one") },
    Case { known: "@cert-authority web1.ex.org {ca_cert}\n", ..case("a certificate as authority") },
    Case { known: "@revoked * {ca}\n@cert-authority *.ex.org {ca}\n", says: "REVOKED", ..case("revoked authority") },
    Case { known: "@cert-authority *.ex.org {ca}\n@revoked db1 {ca}\n", ..case("authority revoked for another host") },
    Case { known: "@cert-authority *.ex.org {ca}\n@revoked * {ed}\n", says: "REVOKED", ..case("revoked certified key") },
    Case { known: "@cert-authority *.ex.org {ca}\n@revoked * {ca}\nweb1.ex.org {ed}\n", says: "REVOKED", ..case("revoked authority, plain key known") },
    Case { known: "@cert-authority *.ex.org {ed}\n", ..case("the host's own key as authority") },
    Case { known: "@cert-authority *.ex.org {ed}\n", certify: "-s ed -h -n web1.ex.org", ..case("certified by itself") },
    // What the certificate says.
    Case { certify: "-s ca -h -n web2.ex.org,web3", says: "it is not valid for this name, but for web2.ex.org, web3 (its authority is that of", ..case("wrong principal") },
    Case { certify: "-s ca -h -n web2.ex.org,web1.ex.org", ..case("second principal") },
    Case { certify: "-s ca -h", ours: "authority known:1 as for ssh up to OpenSSH 10.2", ..case("no principals") },
    Case { certify: "-s ca -h -n *.ex.org", ours: "refused: as by ssh up to OpenSSH 10.2", ..case("wildcard in principals") },
    Case { certify: "-s ca -h -n WEB1.ex.org", ..case("principal in upper case") },
    Case { host: "WEB1.ex.org", ..case("name typed in upper case") },
    Case { certify: "-s ca -h -n web1", ..case("short principal") },
    Case { certify: "-s ca -h -n web1.ex.org -V 20200101:20200102", says: "it expired on Jan  2 00:00:00 2020 GMT", ..case("expired") },
    Case { certify: "-s ca -h -n web1.ex.org -V 20990101:forever", says: "it is not valid before Jan  1 00:00:00 2099 GMT", ..case("not yet valid") },
    Case { certify: "-s ca -h -n web1.ex.org -V always:forever", ..case("always valid") },
    Case { certify: "-s ca -h -n web1.ex.org -V -1h:+1h", ..case("valid for an hour") },
    Case { certify: "-s ca -n web1.ex.org", ..case("a user's certificate") },
    Case { certify: "-s ca -h -n web1.ex.org -O critical:test=1", says: "it has critical options, of which none is known: test", ..case("critical option") },
    Case { certify: "-s ca -h -n web1.ex.org -O extension:test@ex.org=1", ..case("extension") },
    Case { certify: "-s ca -h -n web1.ex.org -z 18446744073709551615", ..case("largest serial number") },
    // The plain key in it.
    Case { certify: "-s ca -h -n x", known: "@cert-authority *.ex.org {ca}\nweb1.ex.org {ed}\n", ..case("wrong principal, plain key known") },
    Case { certify: "-s ca -h -n web1.ex.org -V 20200101:20200102", known: "@cert-authority * {ca}\nweb1.ex.org {ed}\n", ..case("expired, plain key known") },
    Case { certify: "-s ca -h -n web1.ex.org -V 20200101:20200102", known: "@cert-authority * {ca}\nweb1.ex.org {other}\n", says: "CHANGED", ..case("expired, plain key changed") },
    Case { known: "@cert-authority *.ex.org {ca}\nweb1.ex.org {ed}\n", ..case("good, plain key known") },
    Case { known: "@cert-authority *.ex.org {ca}\nweb1.ex.org {other}\n", ..case("good, plain key changed") },
    Case { known: "@cert-authority *.ex.org {other}\nweb1.ex.org {ed}\n", ..case("another authority, plain key known") },
    Case { known: "@cert-authority *.ex.org {other}\nweb1.ex.org {other}\n", says: "CHANGED", ..case("another authority, plain key changed") },
    Case { known: "web1.ex.org {ed}\n", ..case("no authority, plain key known") },
    Case { known: "@cert-authority *.ex.org {ca}\n", certify: PLAIN, ..case("no certificate") },
    Case { known: "@cert-authority *.ex.org {ca}\nweb1.ex.org {ed}\n", certify: PLAIN, ..case("no certificate, plain key known") },
    // Types of keys.
    Case { key: "p256", ..case("P-256") },
    Case { key: "p384", ..case("P-384") },
    Case { key: "p521", ..case("P-521") },
    Case { key: "rsa", ..case("RSA") },
    Case { key: "rsa", config: "HostKeyAlgorithms rsa-sha2-256-cert-v01@openssh.com\n", ..case("RSA with SHA-256") },
    Case { key: "p521", known: "@cert-authority *.ex.org {other}\nweb1.ex.org {p521}\n", ..case("P-521, plain key known") },
    Case { key: "rsa", known: "@cert-authority *.ex.org {other}\nweb1.ex.org {rsa}\n", ..case("RSA, plain key known") },
    Case { key: "rsa", config: "HostKeyAlgorithms rsa-*\n", ..case("RSA by a pattern") },
    Case { config: "HostKeyAlgorithms *\n", ..case("all algorithms") },
    Case { config: "HostKeyAlgorithms *\n", known: "web1.ex.org {ed}\n@cert-authority * {ca}\n", ..case("all algorithms, key known too") },
    Case { key: "rsa", config: "RequiredRSASize 3072\n", says: "has 2048 bits", ..case("RSA, too short") },
    Case { certify: "-s rsa -h -n web1.ex.org", known: "@cert-authority * {rsa}\n", ..case("authority with RSA") },
    Case { certify: "-t rsa-sha2-256 -s rsa -h -n web1.ex.org", known: "@cert-authority * {rsa}\n", ..case("authority with RSA and SHA-256") },
    Case { certify: "-t ssh-rsa -s rsa -h -n web1.ex.org", known: "@cert-authority * {rsa}\n", says: "it is signed with ssh-rsa", ..case("authority with RSA and SHA-1") },
    Case { certify: "-s p256 -h -n web1.ex.org", known: "@cert-authority * {p256}\n", ..case("authority with P-256") },
    Case { certify: "-s p384 -h -n web1.ex.org", known: "@cert-authority * {p384}\n", ..case("authority with P-384") },
    Case { certify: "-s p521 -h -n web1.ex.org", known: "@cert-authority * {p521}\n", ..case("authority with P-521") },
    // Algorithms.
    Case { config: "CASignatureAlgorithms -ssh-ed25519\n", says: "which CASignatureAlgorithms does not allow", ..case("authority's algorithm removed") },
    Case { config: "CASignatureAlgorithms rsa-*\n", ..case("authority's algorithm not there") },
    Case { certify: "-t rsa-sha2-256 -s rsa -h -n web1.ex.org", known: "@cert-authority * {rsa}\n", config: "CASignatureAlgorithms rsa-sha2-512\n", ..case("authority's hash not there") },
    Case { certify: "-t ssh-rsa -s rsa -h -n web1.ex.org", known: "@cert-authority * {rsa}\n", config: "CASignatureAlgorithms +ssh-rsa\n",
        ours: "refused: signatures with SHA-1 are not supported", says: "it is signed with ssh-rsa, which is not supported", ..case("SHA-1 allowed") },
    Case { config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n", ..case("certificates only") },
    Case { config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n", known: "web1.ex.org {ed}\n", 
        ours: "refused: OpenSSH refuses it since 9.8", says: "not allowed by HostKeyAlgorithms", ..case("certificates only, without authority") },
    Case { config: "HostKeyAlgorithms ssh-ed25519\n", ..case("plain keys only") },
    Case { config: "HostKeyAlgorithms ssh-ed25519\n", known: "@cert-authority *.ex.org {ca}\nweb1.ex.org {ed}\n", ..case("plain keys only, known") },
    Case { config: "HostKeyAlgorithms ssh-ed25519,ssh-ed25519-cert-v01@openssh.com\n", ..case("plain keys first") },
    Case { config: "HostKeyAlgorithms -*-cert-v01@openssh.com\n", ..case("certificates removed") },
    Case { config: "HostKeyAlgorithms ^ssh-ed25519-cert-v01@openssh.com\n", ..case("certificates first") },
    Case { config: "HostKeyAlgorithms +ssh-ed25519-cert-v01@openssh.com\n", ..case("certificates added") },
    // Names and ports.
    Case { port: 2222, ..case("another port") },
    Case { port: 2222, known: "@cert-authority [web1.ex.org]:2222 {ca}\n", ..case("authority of the port") },
    Case { port: 2222, known: "@cert-authority [*.ex.org]:* {ca}\n", ..case("authority of all ports") },
    Case { port: 2222, known: "@cert-authority [web1.ex.org]:2223 {ca}\n", ..case("authority of another port") },
    Case { port: 2222, known: "@cert-authority [web1.ex.org]:2222 {other}\n@cert-authority * {ca}\n", ..case("authority of the port is another") },
    Case { port: 2222, certify: "-s ca -h -n [web1.ex.org]:2222", known: "@cert-authority * {ca}\n", ..case("port in the principal") },
    Case { port: 2222, known: "@cert-authority *.ex.org {other}\nweb1.ex.org {ed}\n", ..case("another port, plain key known without") },
    Case { port: 2222, known: "@cert-authority * {ca}\n@revoked web1.ex.org {ca}\n", ..case("another port, authority revoked without") },
    Case { host: "x", config: "HostKeyAlias web1.ex.org\n", ..case("alias") },
    Case { host: "web1.ex.org", config: "HostKeyAlias web9.ex.org\n", ..case("alias that is no principal") },
    Case { host: "x", port: 2222, config: "HostKeyAlias Web1.ex.org\n", ..case("alias with another port") },
    Case { host: "web1", config: "HostName web1.ex.org\n", ..case("short name") },
    Case { host: "10.1.2.3", certify: "-s ca -h -n 10.1.2.3", known: "@cert-authority 10.1.* {ca}\n", ..case("address") },
    Case { host: "2001:0DB8::0001", certify: "-s ca -h -n 2001:db8::1", known: "@cert-authority 2001:db8:* {ca}\n", ..case("IPv6 address") },
    // New hosts.
    Case { known: "", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, nothing known") },
    Case { known: "@cert-authority *.ex.org {other}\n", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, another authority") },
    Case { known: "@cert-authority *.ex.org {other}\nweb1.ex.org {other}\n", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, another authority, changed") },
    Case { config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, good") },
    Case { certify: "-s ca -h -n web1.ex.org -V 20200101:20200102", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, expired") },
    Case { known: "@cert-authority * {ca}\n@revoked * {ed}\n", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, revoked key") },
    Case { known: "@cert-authority * {ca}\n@revoked * {ca}\n", config: "StrictHostKeyChecking accept-new\n", ..case("accept-new, revoked authority") },
    Case { known: "@cert-authority * {ca}\n@revoked * {ca}\n", config: "StrictHostKeyChecking no\n",
        ours: "refused: a revoked key is never accepted", says: "REVOKED", ..case("unchecked, revoked authority") },
    Case { host: "x", port: 2222, known: "@cert-authority * {other}\n", config: "HostKeyAlias web1.ex.org\nStrictHostKeyChecking accept-new\n", ..case("accept-new, alias") },
    // Texts of revoked keys.
    revoked("no key in the text", "-s ca -h -n web1.ex.org", "", "# none\n\n \t \n"),
    revoked("empty text", "-s ca -h -n web1.ex.org", "", ""),
    revoked("another key in the text", "-s ca -h -n web1.ex.org", "", "{other}\n"),
    Case { says: "REVOKED by ", ..revoked("the key in the text", "-s ca -h -n web1.ex.org", "", "# x\n{other} x\n \t{ed} a comment\n") },
    Case { says: ":1 (its authority)", ..revoked("the authority in the text", "-s ca -h -n web1.ex.org", "", "{ca}\n") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("plain key in the text", PLAIN, "", "{ed}") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("another key, plain one known", PLAIN, "", "{ca}\n") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("a certificate of the key in the text", PLAIN, "", "{ed_cert}\n") },
    Case { ..revoked("the authority's certificate in the text", "-s ca -h -n web1.ex.org", "", "{ca_cert}\n") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("key without a final newline and CRLF", PLAIN, "", "{other}\r\n{ed}\r") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("short RSA key in the text", PLAIN, "", "{rsa768}\n{other}\n") },
    Case { known: "web1.ex.org {ed}\n", config: "RevokedHostKeys none\n", ..revoked("none", PLAIN, "", "{ed}\n") },
    Case { known: "web1.ex.org {ed}\n", config: "RevokedHostKeys {file revoked}\nStrictHostKeyChecking no\n", ..revoked("unchecked, key in the text", PLAIN, "", "{ed}\n") },
    Case { known: "", config: "RevokedHostKeys {file revoked}\nStrictHostKeyChecking accept-new\n", ..revoked("accept-new, key in the text", PLAIN, "", "{ed}\n") },
    Case { key: "rsa", known: "web1.ex.org {rsa}\n", ..revoked("RSA key in the text", PLAIN, "", "{rsa}\n") },
    // Key revocation lists.
    revoked("empty list", "-s ca -h -n web1.ex.org", "-k", ""),
    Case { says: "(the key)", ..revoked("key in a list", "-s ca -h -n web1.ex.org", "-k", "key: {ed}\n") },
    revoked("another key in a list", "-s ca -h -n web1.ex.org", "-k", "key: {other}\n"),
    Case { says: "(the key of its authority)", ..revoked("authority in a list", "-s ca -h -n web1.ex.org", "-k", "key: {ca}\n") },
    Case { says: "(the key's hash)", ..revoked("SHA-256 in a list", "-s ca -h -n web1.ex.org", "-k", "sha256: {ed}\n") },
    revoked("SHA-1 in a list", "-s ca -h -n web1.ex.org", "-k", "sha1: {ed}\n"),
    revoked("hash of another", "-s ca -h -n web1.ex.org", "-k", "sha1: {other}\nsha256: {other}\n"),
    revoked("fingerprint in a list", "-s ca -h -n web1.ex.org", "-k", "hash: {print ed}\n"),
    revoked("SHA-256 of the authority", "-s ca -h -n web1.ex.org", "-k", "sha256: {ca}\n"),
    Case { key: "rsa", known: "web1.ex.org {rsa}\n", ..revoked("RSA key in a list", PLAIN, "-k", "key: {rsa}\n") },
    Case { known: "web1.ex.org {ed}\n", ..revoked("plain key in a list", PLAIN, "-k", "sha256: {ed}\n") },
    Case { says: "(the serial number of its certificate)", ..revoked("serial number", "-s ca -h -n web1.ex.org -z 7", "-k -s ca.pub", "serial: 7\n") },
    revoked("another serial number", "-s ca -h -n web1.ex.org -z 8", "-k -s ca.pub", "serial: 7\n"),
    revoked("serial number of another authority", "-s ca -h -n web1.ex.org -z 7", "-k -s other.pub", "serial: 7\n"),
    revoked("serial number 0", "-s ca -h -n web1.ex.org", "-k -s ca.pub", "serial: 1-100\n"),
    revoked("range", "-s ca -h -n web1.ex.org -z 5000000", "-k -s ca.pub", "serial: 100-9000000\n"),
    revoked("first of a range", "-s ca -h -n web1.ex.org -z 100", "-k -s ca.pub", "serial: 100-9000000\n"),
    revoked("last of a range", "-s ca -h -n web1.ex.org -z 9000000", "-k -s ca.pub", "serial: 100-9000000\n"),
    revoked("before a range", "-s ca -h -n web1.ex.org -z 99", "-k -s ca.pub", "serial: 100-9000000\n"),
    revoked("after a range", "-s ca -h -n web1.ex.org -z 9000001", "-k -s ca.pub", "serial: 100-9000000\n"),
    revoked("bitmap", "-s ca -h -n web1.ex.org -z 1014", "-k -s ca.pub", "serial: 1000\nserial: 1002\nserial: 1005\nserial: 1007\nserial: 1009\nserial: 1011\nserial: 1014\nserial: 1017\nserial: 1019\nserial: 1021\n"),
    revoked("not in the bitmap", "-s ca -h -n web1.ex.org -z 1015", "-k -s ca.pub", "serial: 1000\nserial: 1002\nserial: 1005\nserial: 1007\nserial: 1009\nserial: 1011\nserial: 1014\nserial: 1017\nserial: 1019\nserial: 1021\n"),
    revoked("first of a bitmap", "-s ca -h -n web1.ex.org -z 1000", "-k -s ca.pub", "serial: 1000\nserial: 1002\nserial: 1005\nserial: 1007\nserial: 1009\nserial: 1011\nserial: 1014\nserial: 1017\nserial: 1019\nserial: 1021\n"),
    revoked("last of a bitmap", "-s ca -h -n web1.ex.org -z 1021", "-k -s ca.pub", "serial: 1000\nserial: 1002\nserial: 1005\nserial: 1007\nserial: 1009\nserial: 1011\nserial: 1014\nserial: 1017\nserial: 1019\nserial: 1021\n"),
    revoked("largest serial number in a list", "-s ca -h -n web1.ex.org -z 18446744073709551615", "-k -s ca.pub", "serial: 18446744073709551610-18446744073709551615\n"),
    Case { says: "(the ID of its certificate)", ..revoked("key ID", "-s ca -h -n web1.ex.org -I rack7", "-k -s ca.pub", "id: rack7\n") },
    revoked("another key ID", "-s ca -h -n web1.ex.org -I rack8", "-k -s ca.pub", "id: rack7\n"),
    revoked("key ID of any authority", "-s ca -h -n web1.ex.org -I rack7", "-k -s none", "id: rack7\n"),
    revoked("serial number of any authority", "-s ca -h -n web1.ex.org -z 3", "-k -s none", "serial: 3\n"),
    Case { known: "@cert-authority *.ex.org {other}\nweb1.ex.org {ed}\n", ..revoked("certificate in a list, plain key known", "-s ca -h -n web1.ex.org -z 7", "-k -s ca.pub", "serial: 7\n") },
];

#[test]
fn the_same_verdict_as_ssh() {
    let lab = Lab::new();
    all_hold(CASES, 4, |case| lab.compare(case).err());
}

/// Every broken byte of a list, and every length of it: `ssh` refuses the host, pssh the run. What neither refuses has to lead
/// to the same verdict.
#[test]
fn broken_lists_are_refused_before_connecting() {
    let lab = Lab::new();
    let known = format!("web1.ex.org {}\n", lab.keys["ed"]);
    for (name, text) in [
        ("missing", None),
        ("a directory", None),
        ("nonsense", Some(&b"nonsense\n"[..])),
        ("a broken key", Some(b"ssh-ed25519 AAAA\n")),
        ("an unknown type", Some(b"ssh-ed448 AAAACXNzaC1lZDQ0OA==\n")),
        ("options", Some(b"no-pty ssh-ed25519 AAAA\n")),
        ("only the magic number", Some(b"SSHKRL\n\0")),
        ("another version", Some(b"SSHKRL\n\0\0\0\0\x02")),
    ] {
        let dir = lab.case_dir(&format!("broken {name}"));
        match text {
            Some(text) => fs::write(dir.join("revoked"), text).expect("a file"),
            None if name == "missing" => {}
            None => fs::create_dir(dir.join("revoked")).expect("a directory"),
        }
        let case = Case { certify: PLAIN, config: REVOKED, ..case("broken") };
        fs::write(dir.join("known"), &known).expect("known_hosts");
        let ssh = lab.ssh(&case, &dir, &dir.join("known"));
        assert!(ssh.starts_with("refused"), "{name}: ssh says {ssh}");
        let run = lab.pssh(&case, &dir, &dir.join("known"));
        let path = dir.join("revoked");
        run.exits(2).stderr_has(&format!("RevokedHostKeys {}: ", path.display())).stderr_has("config:");
    }
    let list = lab.revoke(
        &lab.case_dir("list"),
        "-k -s ca.pub",
        "serial: 5\nserial: 100-9000000\nid: x\nkey: {other}\nsha1: {other}\nsha256: {other}\n",
    );
    let list = fs::read(list).expect("a list");
    let dir = lab.case_dir("short");
    fs::write(dir.join("known"), &known).expect("known_hosts");
    let case = Case { certify: PLAIN, config: REVOKED, ..case("short") };
    for length in (9..list.len()).step_by(7) {
        fs::write(dir.join("revoked"), &list[..length]).expect("a list");
        let ssh = lab.ssh(&case, &dir, &dir.join("known"));
        let run = lab.pssh(&case, &dir, &dir.join("known"));
        run.check(
            run.status.code() == Some(if ssh.starts_with("refused") { 2 } else { 4 }),
            &format!("{length}: {ssh}"),
        );
    }
}

/// The key exchange proves that the server holds the certified key: with another signature there is no session, whatever the
/// certificate says.
#[test]
fn the_certified_key_has_to_sign() {
    let lab = Lab::new();
    for key in ["ed", "p256", "p384", "p521", "rsa"] {
        for tamper in [false, true] {
            let dir = lab.case_dir(&format!("{key} {tamper}"));
            let case = Case { key, host: "127.0.0.1", config: "HostKeyAlias web1.ex.org\n", ..case("signature") };
            let known = dir.join("known");
            fs::write(&known, lab.fill("@cert-authority * {ca}\n", &dir)).expect("known_hosts");
            let config = fs::read_to_string(lab.config(&case, &dir, &known)).expect("ssh_config");
            let direct: String = config
                .lines()
                .filter(|line| !line.starts_with("ProxyCommand"))
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(dir.join("config"), direct).expect("ssh_config");
            let port = relay(lab.sshd.clone(), dir.join("sshd_config"), tamper);
            let run = lab.env.bare_pssh().args(["-v", "--num-retries", "1", "-F"]).arg(dir.join("config"));
            let run = run.hosts([format!("127.0.0.1:{port}")]).arg("true").run();
            let (_, outcome) = run.outcomes().pop().expect("an outcome");
            let words = if tamper { "ssh: key exchange: " } else { "auth: " };
            run.check(outcome.starts_with(words), &format!("{key}: {words}"));
            run.check(run.stderr_text().contains("is of an authority known from") != tamper, key);
        }
    }
}

/// One line for the authority instead of one for every host, jump hosts among them.
#[test]
fn one_authority_for_jump_hosts_and_hosts() {
    let env = Env::new();
    ssh_keygen(&env.path("ca"), &["-t", "ed25519"]);
    let host_key = env.path("host");
    ssh_keygen(&host_key, &["-t", "ecdsa"]);
    let names = "127.0.1.1,127.0.1.2,127.0.1.3";
    keygen(&env.path(""), &["-s", "ca", "-h", "-I", "all", "-n", names, "host.pub"], "the certificate");
    let certificate = env.path("host-cert.pub");
    let config = format!("HostKey {}\nHostCertificate {}\n", host_key.display(), certificate.display());
    let sshd =
        Sshd::start(&env, Setup { host_keys: &[], config: &config, trusted: false, hosts: 4, ..Setup::default() });
    env.trust(&format!("@cert-authority 127.0.1.* {}\n", public(&env.path("ca.pub"))));
    let hosts = sshd.hosts();
    let run = env.pssh().hosts(&hosts[1..]).args(["-v", "-J", &hosts[0], "echo", "in"]).run();
    run.exits(4).stderr_has("pssh: 3 hosts: 2 ok, 1 hostkey");
    run.stderr_has("is not in known_hosts; it offers ecdsa-sha2-nistp256 SHA256:");
    run.stderr_has(
        "its certificate does not count: it is not valid for this name, but for 127.0.1.1, 127.0.1.2, 127.0.1.3",
    );
    // A jump host whose certificate does not count lets nobody through.
    let run = env.pssh().hosts(&hosts[..3]).args(["-J", &hosts[3], "echo", "in"]).run();
    run.exits(4).stderr_has("its certificate does not count").stdout_is("");
    let run = env.pssh().hosts(&hosts[..3]).args(["-O", "CASignatureAlgorithms=rsa-sha2-512", "true"]).run();
    run.exits(4).stderr_has("it is signed with ssh-ed25519, which CASignatureAlgorithms does not allow");
}

/// A port whose connections lead to `sshd -i`. The last byte of the server's signature in the key exchange is changed if
/// `tamper` says so.
fn relay(sshd: PathBuf, config: PathBuf, tamper: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("a connection");
        let mut command = Command::new(sshd);
        command.arg("-i").arg("-f").arg(config).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sshd");
        let (mut stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut from_client = client.try_clone().expect("a descriptor");
        thread::spawn(move || pass_on(&mut from_client, &mut stdin));
        // Either side may go first.
        let _ = forward(&mut BufReader::new(stdout), client, tamper);
        child.wait().expect("sshd ends")
    });
    port
}

/// Forwards the server's side: its banner, packets up to the reply of the key exchange, and the rest as it comes.
fn forward(server: &mut impl BufRead, mut client: TcpStream, tamper: bool) -> std::io::Result<()> {
    const KEX_ECDH_REPLY: u8 = 31;
    let mut banner = Vec::new();
    server.read_until(b'\n', &mut banner)?;
    client.write_all(&banner)?;
    loop {
        let mut length = [0; 4];
        server.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        server.read_exact(&mut packet)?;
        let is_reply = packet[1] == KEX_ECDH_REPLY;
        if is_reply && tamper {
            let last = packet.len() - 1 - usize::from(packet[0]);
            packet[last] ^= 1;
        }
        client.write_all(&[&length[..], &packet].concat())?;
        if is_reply {
            break;
        }
    }
    pass_on(server, &mut client)
}

/// Passes on what comes, at once: std's own copy leaves that to the kernel, which waits for more.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

/// Keys, certificates and what else is shared by the cases.
struct Lab {
    env: Env,
    /// `keytype base64` by the name used in texts.
    keys: HashMap<String, String>,
    sshd: PathBuf,
}

impl Lab {
    fn new() -> Lab {
        let env = Env::without_key();
        let mut keys = HashMap::new();
        let kinds = [
            ("ed", "-t ed25519"),
            ("p256", "-t ecdsa -b 256"),
            ("p384", "-t ecdsa -b 384"),
            ("p521", "-t ecdsa -b 521"),
            ("rsa", "-t rsa -b 2048"),
            ("ca", "-t ed25519"),
            ("other", "-t ed25519"),
        ];
        for (name, kind) in kinds {
            keygen(&env.path(""), &[&["-N", "", "-C", "", "-f", name], &words(kind)[..]].concat(), name);
            keys.insert(name.to_owned(), public(&env.path(&format!("{name}.pub"))));
        }
        for (name, authority) in [("ed", "other"), ("ca", "other")] {
            let args = ["-s", authority, "-h", "-I", "x", &format!("{name}.pub")];
            keygen(&env.path(""), &args, name);
            keys.insert(format!("{name}_cert"), public(&env.path(&format!("{name}-cert.pub"))));
        }
        // Of 768 bits, which nobody makes any more.
        let rsa768 = "AAAAB3NzaC1yc2EAAAADAQABAAAAYQ".to_owned() + &"E".repeat(127) + "E";
        keys.insert("rsa768".to_owned(), format!("ssh-rsa {rsa768}"));
        Lab { env, keys, sshd: sshd::program() }
    }

    fn case_dir(&self, name: &str) -> PathBuf {
        let dir = self.env.path(&name.replace(|char: char| !char.is_ascii_alphanumeric(), "_"));
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("{name}: {error}"));
        dir
    }

    fn fill(&self, text: &str, dir: &Path) -> String {
        let mut text = text.to_owned();
        for (name, key) in &self.keys {
            text = text.replace(&format!("{{{name}}}"), key);
        }
        while let Some((before, rest)) = text.split_once('{') {
            let (what, after) = rest.split_once('}').expect("closing brace");
            let (kind, of) = what.split_once(' ').expect("a name of a key, or a kind and something");
            let value = match kind {
                "file" => dir.join(of).display().to_string(),
                "hash" => {
                    let path = dir.join("hash");
                    fs::write(&path, format!("{of} {}\n", self.keys["ed"])).expect("known_hosts");
                    keygen(dir, &["-H", "-f", "hash"], of);
                    fs::read_to_string(&path).expect("a hashed file").split(' ').next().expect("a name").to_owned()
                }
                "print" => {
                    let path = self.env.path(&format!("{of}.pub"));
                    let listed = keygen(dir, &["-l", "-f", &path.display().to_string()], of);
                    listed.split(' ').nth(1).expect("a fingerprint").to_owned()
                }
                _ => panic!("{what}"),
            };
            text = format!("{before}{value}{after}");
        }
        text
    }

    /// Makes `revoked`.
    fn revoke(&self, dir: &Path, args: &str, input: &str) -> PathBuf {
        let path = dir.join("revoked");
        let input = self.fill(input, dir);
        if args.is_empty() {
            fs::write(&path, input).expect("a text");
            return path;
        }
        fs::write(dir.join("input"), input).expect("a text");
        let path_of = |word: &str| self.env.path(word).display().to_string();
        let args: Vec<String> = words(args)
            .iter()
            .map(|word| if word.ends_with(".pub") { path_of(word) } else { (*word).to_owned() })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        keygen(dir, &[&args[..], &["-f", "revoked", "input"]].concat(), "list");
        path
    }

    /// Writes ssh_config; it leads to the server.
    fn config(&self, case: &Case, dir: &Path, known: &Path) -> PathBuf {
        let server = dir.join("sshd_config");
        let own = self.env.path(case.key);
        let mut text = format!("HostKey {}\nUsePAM no\nLogLevel QUIET\nPidFile none\n", own.display());
        if !case.certify.is_empty() {
            let certified = dir.join("host-cert.pub");
            if !certified.exists() {
                fs::copy(own.with_extension("pub"), dir.join("host.pub")).expect("a key");
                let id = if case.certify.contains("-I") { &[][..] } else { &["-I", "id"] };
                let args = words(case.certify);
                let authority = args.iter().position(|word| *word == "-s").map(|place| place + 1);
                let authority_path = self.env.path(args[authority.expect("an authority")]).display().to_string();
                let mut args = [&args[..], id, &["host.pub"]].concat();
                args[authority.expect("an authority")] = &authority_path;
                keygen(dir, &args, case.name);
            }
            text += &format!("HostCertificate {}\n", certified.display());
        }
        fs::write(&server, text).expect("sshd_config");
        let text = format!(
            "{}ProxyCommand {} -i -f {}\nUser nobody\nPreferredAuthentications none\nUpdateHostKeys no\nBatchMode yes\n\
             StrictHostKeyChecking yes\nKexAlgorithms curve25519-sha256\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\n",
            self.fill(case.config, dir),
            self.sshd.display(),
            server.display(),
            known.display()
        );
        let path = dir.join("config");
        fs::write(&path, text).expect("ssh_config");
        path
    }

    /// What ssh makes of it: `authority known:1`, `key known:2`, `added`, `unchecked`, or `refused` and why.
    fn ssh(&self, case: &Case, dir: &Path, known: &Path) -> String {
        let mut command = Command::new("ssh");
        command.arg("-v").arg("-F").arg(self.config(case, dir, known)).args([
            "-p",
            &case.port.to_string(),
            "--",
            case.host,
        ]);
        let output = command.arg("true").env("LC_ALL", "C").stdin(Stdio::null()).output();
        let output = output.expect("ssh of OpenSSH is needed for this test");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !text.contains("Permission denied (") {
            assert!(
                text.contains("Host key verification failed") || text.contains("Bad server host key"),
                "{}: {text}",
                case.name
            );
            return format!("refused\n{text}");
        }
        let found = |line: &str| {
            let (what, place) = line.strip_prefix("debug1: Found ")?.split_once(" in ")?;
            let what = if what == "CA key" { "authority" } else { "key" };
            Some(format!("{what} {}", relative(place, known)))
        };
        if text.contains("Permanently added") {
            return "added".to_owned();
        }
        text.lines().filter_map(found).next_back().unwrap_or_else(|| "unchecked".to_owned())
    }

    fn pssh(&self, case: &Case, dir: &Path, known: &Path) -> Run {
        let config = self.config(case, dir, known);
        let host = match (case.port, case.host.contains(':')) {
            (22, _) => case.host.to_owned(),
            (port, false) => format!("{}:{port}", case.host),
            (port, true) => format!("[{}]:{port}", case.host),
        };
        self.env.bare_pssh().arg("-v").arg("-F").arg(config).hosts([host]).arg("true").run()
    }

    fn compare(&self, case: &Case) -> Result<(), String> {
        let dir = self.case_dir(case.name);
        if case.config.contains("RevokedHostKeys") {
            self.revoke(&dir, case.revoke.0, case.revoke.1);
        }
        let text = self.fill(case.known, &dir);
        let files = [dir.join("theirs"), dir.join("ours")];
        files.iter().for_each(|path| fs::write(path, &text).expect("known_hosts"));
        let ssh = self.ssh(case, &dir, &files[0]);
        let run = self.pssh(case, &dir, &files[1]);
        let text = run.stderr_text();
        let place = |intro: &str| {
            let place = text.split(intro).nth(1)?.lines().next()?;
            Some(relative(place, &files[1]))
        };
        let (_, outcome) = run.outcomes().pop().ok_or_else(|| format!("{}: {}", case.name, run.context()))?;
        let ours = if !outcome.starts_with("auth: ") {
            "refused".to_owned()
        } else if let Some(place) = place("is of an authority known from ") {
            format!("authority {place}")
        } else if text.contains(" is new, added to ") {
            "added".to_owned()
        } else {
            place(" is known from ").map_or_else(|| "unchecked".to_owned(), |place| format!("key {place}"))
        };
        let expected = if case.ours.is_empty() { ssh.as_str() } else { case.ours };
        let [theirs, own] = files.map(|path| fs::read_to_string(path).expect("known_hosts"));
        if expected.split(['\n', ':']).next() != ours.split(':').next() || !expected.starts_with(&ours) {
            Err(format!("{}: ssh says {ssh:?}, pssh {ours:?}: {text}", case.name))
        } else if !text.contains(case.says) {
            Err(format!("{}: pssh does not say {:?}: {text}", case.name, case.says))
        } else if theirs != own && case.ours.is_empty() {
            Err(format!("{}: ssh has written {theirs:?}, pssh {own:?}", case.name))
        } else {
            Ok(())
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn relative(place: &str, known: &Path) -> String {
    place.trim_end().replace(&known.display().to_string(), "known")
}

/// Runs ssh-keygen in a directory; gives its output.
fn keygen(dir: &Path, args: &[&str], of: &str) -> String {
    let output = Command::new("ssh-keygen").arg("-q").args(args).current_dir(dir).output();
    let output = output.expect("ssh-keygen is needed for this test");
    assert!(output.status.success(), "{of}: {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn public(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("public key");
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
