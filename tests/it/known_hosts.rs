//! The verdicts on host keys, compared with those of the system's `ssh` on the same known_hosts files.
//!
//! `ssh` talks to `sshd -i` through a ProxyCommand, so that any host name and port reach the server without a socket. It
//! never logs in: the host key is judged first, and `-v` says how.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pssh::internal::{KnownHosts, Remembered, Verdict, fingerprint, key_type};
use tempfile::TempDir;

use crate::bin::all_hold;
use crate::sshd;

/// A known_hosts file and a connection. In the text, `{ed}` stands for the server's Ed25519 key with its type, `{ed64}`
/// for its base64 alone, likewise `ec` and `rsa`; `{other}` and `{other_rsa}` are keys of nobody, `{cert}` and `{ed_cert}`
/// certificates of them; `{hash NAME}` is a hashed name. Characters up to U+00FF stand for bytes.
struct Case {
    name: &'static str,
    user: &'static str,
    global: &'static str,
    host: &'static str,
    port: u16,
    keys: Keys,
    /// What pssh says instead, and why; empty if it says the same.
    ours: &'static str,
}

/// The host keys of the server.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Ed25519,
    All,
}

const fn case(name: &'static str, user: &'static str, host: &'static str, port: u16) -> Case {
    Case { name, user, global: "", host, port, keys: Keys::Ed25519, ours: "" }
}

const fn global(name: &'static str, user: &'static str, global: &'static str) -> Case {
    Case { global, ..case(name, user, "web1.ex.org", 22) }
}

const fn all_keys(name: &'static str, user: &'static str, port: u16) -> Case {
    Case { keys: Keys::All, ..case(name, user, "web1.ex.org", port) }
}

const fn differs(case: Case, ours: &'static str) -> Case {
    Case { ours, ..case }
}

#[rustfmt::skip]
static CASES: &[Case] = &[
    // Names.
    case("plain", "web1.ex.org {ed}\n", "web1.ex.org", 22),
    case("empty file", "", "web1.ex.org", 22),
    case("another host", "web2.ex.org {ed}\n", "web1.ex.org", 22),
    case("changed", "web1.ex.org {other}\n", "web1.ex.org", 22),
    case("changed to another type", "web1.ex.org {other_rsa}\n", "web1.ex.org", 22),
    case("own key after a changed one", "web1.ex.org {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("own key before a changed one", "web1.ex.org {ed}\nweb1.ex.org {other}\n", "web1.ex.org", 22),
    case("two changed", "web1.ex.org {other}\n# x\nweb1.ex.org {other_rsa}\n", "web1.ex.org", 22),
    case("comma list", "a,web1.ex.org,10.0.0.1 {ed}\n", "web1.ex.org", 22),
    case("comma list with empty parts", ",a,,web1.ex.org, {ed}\n", "web1.ex.org", 22),
    case("upper case in the file", "WEB1.Ex.ORG {ed}\n", "web1.ex.org", 22),
    case("upper case on the command line", "web1.ex.org {ed}\n", "WEB1.ex.Org", 22),
    case("upper case, hashed", "{hash web1.ex.org} {ed}\n", "WEB1.ex.Org", 22),
    case("upper case in a pattern", "*.EX.org {ed}\n", "web1.ex.org", 22),
    case("prefix only", "web1 {ed}\n", "web1.ex.org", 22),
    case("trailing dot", "web1.ex.org {ed}\n", "web1.ex.org.", 22),
    case("IPv4", "10.1.2.3 {ed}\n", "10.1.2.3", 22),
    case("IPv6", "2001:db8::1 {ed}\n", "2001:db8::1", 22),
    case("IPv6 written long by the user", "2001:db8::1 {ed}\n", "2001:0DB8:0:0::0001", 22),
    case("IPv6 written long in the file", "2001:0db8:0:0::0001 {ed}\n", "2001:db8::1", 22),
    case("IPv6 with port", "[2001:db8::1]:2222 {ed}\n", "2001:db8::1", 2222),
    case("IPv6, hashed, with port", "{hash [2001:db8::1]:2222} {ed}\n", "2001:DB8::1", 2222),
    case("IPv6 mapped", "::ffff:10.0.0.1 {ed}\n", "::FFFF:a00:1", 22),
    case("IPv6 with zone", "fe80::1%lo {ed}\n", "fe80::0001%lo", 22),
    // Ports.
    case("port", "[web1.ex.org]:2222 {ed}\n", "web1.ex.org", 2222),
    case("port, changed", "[web1.ex.org]:2222 {other}\n", "web1.ex.org", 2222),
    case("another port", "[web1.ex.org]:2223 {ed}\n", "web1.ex.org", 2222),
    case("a port's key on port 22", "[web1.ex.org]:2222 {ed}\n", "web1.ex.org", 22),
    case("bracketed port 22", "[web1.ex.org]:22 {ed}\n", "web1.ex.org", 22),
    case("port-less line on another port", "web1.ex.org {ed}\n", "web1.ex.org", 2222),
    case("port-less line with another key", "web1.ex.org {other}\n", "web1.ex.org", 2222),
    case("changed for the port, known without", "[web1.ex.org]:2222 {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 2222),
    case("hashed with port", "{hash [web1.ex.org]:2222} {ed}\n", "web1.ex.org", 2222),
    case("hashed port-less line on another port", "{hash web1.ex.org} {ed}\n", "web1.ex.org", 2222),
    case("pattern with port", "[*.ex.org]:2222 {ed}\n", "web1.ex.org", 2222),
    case("pattern for any port", "[web1.ex.org]:* {ed}\n", "web1.ex.org", 2222),
    case("pattern without port matches brackets", "*web1* {other}\n", "web1.ex.org", 2222),
    case("port-less pattern", "*.ex.org {ed}\n", "web1.ex.org", 2222),
    // Patterns.
    case("star", "*.ex.org {ed}\n", "web1.ex.org", 22),
    case("star in the middle", "w*1.*.org {ed}\n", "web1.ex.org", 22),
    case("star needs backtracking", "*e*x.o*g {ed}\n", "web1.ex.org", 22),
    case("stars", "*** {ed}\n", "web1.ex.org", 22),
    case("star of nothing", "web1*.ex.org* {ed}\n", "web1.ex.org", 22),
    case("star doesn't reach the end", "*.ex {ed}\n", "web1.ex.org", 22),
    case("question mark", "web?.ex.org {ed}\n", "web1.ex.org", 22),
    case("question mark of nothing", "web1?.ex.org {ed}\n", "web1.ex.org", 22),
    case("star, changed", "* {other}\n", "web1.ex.org", 22),
    case("star of another key, then the host", "* {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated", "*.ex.org,!web1.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated first", "!web1.ex.org,*.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated for another", "*.ex.org,!web2.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated alone", "!web2.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated pattern", "web1.ex.org,!*.org {ed}\n", "web1.ex.org", 22),
    case("negated, upper case", "*,!WEB1.ex.org {ed}\n", "web1.ex.org", 22),
    case("negated in one line, known in the next", "!web1.ex.org,* {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("square brackets are no set", "web[12].ex.org {ed}\n", "web1.ex.org", 22),
    // Hashed names.
    case("hashed", "{hash web1.ex.org} {ed}\n", "web1.ex.org", 22),
    case("hashed, another host", "{hash web2.ex.org} {ed}\n", "web1.ex.org", 22),
    case("hashed, changed", "{hash web1.ex.org} {other}\n", "web1.ex.org", 22),
    case("hashed in a list", "{hash web1.ex.org},web1.ex.org {ed}\n", "web1.ex.org", 22),
    case("hashed after a name", "web1.ex.org,{hash web2.ex.org} {ed}\n", "web1.ex.org", 22),
    case("hashed, short salt", "|1|AAAA|{hash web1.ex.org} {ed}\n", "web1.ex.org", 22),
    case("hashed, unknown magic", "|2{hash web1.ex.org} {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    // Markers.
    case("revoked", "@revoked web1.ex.org {ed}\n", "web1.ex.org", 22),
    case("revoked after known", "web1.ex.org {ed}\n@revoked * {ed}\n", "web1.ex.org", 22),
    case("revoked before known", "@revoked * {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("revoked for another host", "@revoked web2.ex.org {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("another key revoked", "@revoked * {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("only another key revoked", "@revoked * {other}\n", "web1.ex.org", 22),
    case("revoked and changed", "@revoked * {ed}\nweb1.ex.org {other}\n", "web1.ex.org", 22),
    case("revoked, hashed", "@revoked {hash web1.ex.org} {ed}\n", "web1.ex.org", 22),
    case("revoked without port", "@revoked web1.ex.org {ed}\n", "web1.ex.org", 2222),
    case("revoked without port, known with", "@revoked web1.ex.org {ed}\n[web1.ex.org]:2222 {ed}\n", "web1.ex.org", 2222),
    case("revoked by star, known with port", "@revoked * {ed}\n[web1.ex.org]:2222 {ed}\n", "web1.ex.org", 2222),
    case("revoked as a certificate's key", "@revoked * {ed_cert}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("revoked, tabs only", "@revoked\tweb1.ex.org\t{ed_tab}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    differs(case("revoked, tab, then spaces", "@revoked\tweb1.ex.org {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
        "revoked: OpenSSH ends the marker at the first space and takes the line for malformed"),
    case("revoked, two spaces", "  @revoked  web1.ex.org {ed}\n", "web1.ex.org", 22),
    case("authority doesn't vouch for a plain key", "@cert-authority * {ed}\n", "web1.ex.org", 22),
    case("authority and known", "@cert-authority * {other}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("unknown marker", "@Revoked * {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("two markers", "@revoked @cert-authority * {ed}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("marker alone", "@revoked\n@ \nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    // Layout.
    case("no final newline", "web1.ex.org {ed}", "web1.ex.org", 22),
    case("CRLF", "# x\r\n\r\nweb1.ex.org {ed}\r\n", "web1.ex.org", 22),
    case("CRLF with comment", "web1.ex.org {ed} me\r\n", "web1.ex.org", 22),
    case("tabs", "web1.ex.org\tssh-ed25519\t{ed64}\tcomment\n", "web1.ex.org", 22),
    case("leading blanks", " \t web1.ex.org  {ed}  \n", "web1.ex.org", 22),
    case("comments and empty lines", "# web1.ex.org {other}\n\n   # x\n \t\nweb1.ex.org {ed} # x\n", "web1.ex.org", 22),
    case("bytes that aren't UTF-8", "\u{ff}\u{fe} {other}\nweb1.ex.org {ed} caf\u{e9}\u{ff}\n", "web1.ex.org", 22),
    case("NUL in a comment", "web1.ex.org {ed} a\0b\nweb1.ex.org {other}\n", "web1.ex.org", 22),
    case("options field", "web1.ex.org no-pty {ed}\n", "web1.ex.org", 22),
    // Bad lines.
    case("garbage around", "x\nweb1.ex.org\nweb1.ex.org ssh-ed25519\nweb1.ex.org {ed}\n???\n", "web1.ex.org", 22),
    case("unknown type", "web1.ex.org ssh-ed448 AAAACXNzaC1lZDQ0OA==\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("only an unknown type", "web1.ex.org ssh-ed448 AAAACXNzaC1lZDQ0OA==\n", "web1.ex.org", 22),
    case("SSH 1", "web1.ex.org 1024 35 1234567890123456789\n", "web1.ex.org", 22),
    case("type differs from the key's", "web1.ex.org ssh-rsa {ed64}\n", "web1.ex.org", 22),
    case("type differs, known below", "web1.ex.org ssh-rsa {ed64}\nweb1.ex.org {ed}\n", "web1.ex.org", 22),
    case("upper case type", "web1.ex.org SSH-ED25519 {ed64}\n", "web1.ex.org", 22),
    case("bad base64", "web1.ex.org ssh-ed25519 AAAA!AAA\n", "web1.ex.org", 22),
    case("unpadded base64", "web1.ex.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA\n", "web1.ex.org", 22),
    case("truncated key", "web1.ex.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA\n", "web1.ex.org", 22),
    case("bytes after the key", "web1.ex.org ssh-ed25519 {ed64}AAAA\n", "web1.ex.org", 22),
    case("ECDSA point off the curve", "web1.ex.org {ec_off}\n", "web1.ex.org", 22),
    case("ECDSA of another curve's name", "web1.ex.org ecdsa-sha2-nistp384 {ec64}\n", "web1.ex.org", 22),
    case("small RSA key", "web1.ex.org {rsa768}\n", "web1.ex.org", 22),
    case("P-521 key", "web1.ex.org {p521}\n", "web1.ex.org", 22),
    case("certificate", "web1.ex.org {cert}\n", "web1.ex.org", 22),
    case("the key's own certificate", "web1.ex.org {ed_cert}\n", "web1.ex.org", 22),
    case("certificate's type on a plain key", "web1.ex.org ssh-ed25519-cert-v01@openssh.com {ed64}\n", "web1.ex.org", 22),
    // Several files.
    global("known globally", "", "web1.ex.org {ed}\n"),
    global("changed in the user's, known globally", "web1.ex.org {other}\n", "web1.ex.org {ed}\n"),
    global("known in the user's, changed globally", "web1.ex.org {ed}\n", "web1.ex.org {other}\n"),
    global("changed in both", "web1.ex.org {other}\n", "\nweb1.ex.org {other_rsa}\n"),
    global("known in the user's, revoked globally", "web1.ex.org {ed}\n", "@revoked * {ed}\n"),
    // Which key the host is asked for.
    all_keys("all keys, none known", "", 22),
    all_keys("all keys, RSA known", "web1.ex.org {rsa}\n", 22),
    all_keys("all keys, RSA known under its signature's name", "web1.ex.org rsa-sha2-512 {rsa64}\n", 22),
    all_keys("all keys, ECDSA and RSA known", "web1.ex.org {rsa}\nweb1.ex.org {ec}\n", 22),
    all_keys("all keys, RSA known, Ed25519 changed", "web1.ex.org {rsa}\nweb1.ex.org {other}\n", 22),
    all_keys("all keys, RSA known, Ed25519 revoked", "web1.ex.org {rsa}\nweb1.ex.org {ed}\n@revoked * {ed}\n", 22),
    all_keys("all keys, RSA known, ECDSA malformed", "web1.ex.org {rsa}\nweb1.ex.org {ec_off}\n", 22),
    all_keys("all keys, RSA known by pattern", "*.ex.org {rsa}\n", 22),
    all_keys("all keys, RSA known, hashed, with port", "{hash [web1.ex.org]:2222} {rsa}\n", 2222),
    all_keys("all keys, RSA known, Ed25519 without port", "[web1.ex.org]:2222 {rsa}\nweb1.ex.org {ed}\n", 2222),
    all_keys("all keys, RSA is only an authority's", "@cert-authority * {rsa}\nweb1.ex.org {other}\n", 22),
    all_keys("all keys, a certificate's line", "web1.ex.org {cert}\nweb1.ex.org {rsa}\n", 22),
    differs(all_keys("all keys, RSA known without port", "web1.ex.org {rsa}\n", 2222),
        "known user:1, asking for another key: OpenSSH chooses it only by lines with the port"),
];

#[test]
fn same_verdict_as_ssh() {
    let lab = Lab::new();
    all_hold(CASES, 8, |case| {
        let (ssh, ours) = lab.compare(case);
        let expected = if case.ours.is_empty() { ssh.as_str() } else { case.ours };
        (!expected.starts_with(&ours)).then(|| format!("{}: ssh says {ssh:?}, pssh says {ours:?}", case.name))
    });
}

#[test]
fn remembers_as_ssh_does() {
    let lab = Lab::new();
    let hosts =
        [("web1.ex.org", 22), ("WEB1.Ex.org", 2222), ("10.1.2.3", 22), ("2001:DB8::0001", 22), ("2001:db8::1", 2222)];
    for (number, (host, port)) in hosts.into_iter().enumerate() {
        for text in ["", "# a comment\n", "web2.ex.org {other}\n"] {
            let (theirs, _) = lab.files(&format!("theirs{number}"), text, "");
            let (ours, global) = lab.files(&format!("ours{number}"), text, "");
            lab.ssh(&theirs, &global, host, port, Keys::Ed25519, "accept-new");
            let known_hosts = KnownHosts::load(slice::from_ref(&ours), &[]);
            let added = known_hosts.remember(host, port, &lab.blob("ed")).expect("remember");
            assert!(matches!(added, Remembered::Added(_)), "{added:?}");
            let read = |path| fs::read_to_string(path).expect("known_hosts");
            assert_eq!(read(&ours), read(&theirs), "{host} {port}");
        }
        let (path, global) = lab.files(&format!("hashed{number}"), "web2.ex.org {other}", "");
        let known_hosts = KnownHosts::load(slice::from_ref(&path), &[]).hash_names(true);
        known_hosts.remember(host, port, &lab.blob("ed")).expect("remember");
        let stderr = lab.ssh(&path, &global, host, port, Keys::Ed25519, "yes");
        assert_eq!(lab.verdict(&stderr, &path, &global), "known user:2", "{host} {port}");
    }
}

/// Keys and servers for `ssh` to meet.
struct Lab {
    dir: TempDir,
    /// `keytype base64` by the name used in templates.
    keys: HashMap<&'static str, String>,
    sshd: PathBuf,
}

impl Lab {
    fn new() -> Lab {
        let dir = TempDir::new().expect("temporary directory");
        let mut keys = HashMap::new();
        let kinds: [(&str, &[&str]); 7] = [
            ("ed", &["ed25519"]),
            ("ec", &["ecdsa", "-b", "256"]),
            ("rsa", &["rsa", "-b", "2048"]),
            ("other", &["ed25519"]),
            ("other_rsa", &["rsa", "-b", "2048"]),
            ("p521", &["ecdsa", "-b", "521"]),
            ("ca", &["ed25519"]),
        ];
        let public = |path: &Path| {
            let text = fs::read_to_string(path).expect("public key");
            text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        for (name, kind) in kinds {
            let path = dir.path().join(name);
            run(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "", "-t"]).args(kind).arg("-f").arg(&path));
            keys.insert(name, public(&path.with_extension("pub")));
        }
        for (name, certificate) in [("ed", "ed_cert"), ("other", "cert")] {
            let sign = ["-q", "-h", "-I", "id", "-n", "web1.ex.org", "-s"];
            let path = dir.path().join(name);
            run(Command::new("ssh-keygen").args(sign).arg(dir.path().join("ca")).arg(path.with_extension("pub")));
            keys.insert(certificate, public(&dir.path().join(format!("{name}-cert.pub"))));
        }
        for (config, names) in [("sshd_Ed25519", &["ed"][..]), ("sshd_All", &["rsa", "ec", "ed"])] {
            let host_keys = names.iter().map(|name| format!("HostKey {}\n", dir.path().join(name).display()));
            let text = format!("{}UsePAM no\nLogLevel QUIET\nPidFile none\n", host_keys.collect::<String>());
            fs::write(dir.path().join(config), text).expect("sshd_config");
        }
        keys.insert("ed_tab", keys["ed"].replace(' ', "\t"));
        // The last byte of the point is part of its y coordinate.
        let mut off_curve = decode(&keys["ec"]);
        *off_curve.last_mut().expect("key") ^= 1;
        keys.insert("ec_off", format!("ecdsa-sha2-nistp256 {}", STANDARD.encode(off_curve)));
        let modulus = [vec![0, 0xc1], vec![7; 95]].concat();
        let strings =
            [&b"ssh-rsa"[..], &[1, 0, 1], &modulus].map(|it| [&(it.len() as u32).to_be_bytes()[..], it].concat());
        keys.insert("rsa768", format!("ssh-rsa {}", STANDARD.encode(strings.concat())));
        Lab { dir, keys, sshd: sshd::program() }
    }

    fn blob(&self, name: &str) -> Vec<u8> {
        decode(&self.keys[name])
    }

    /// Writes the known_hosts files of a case: the user's and the global one.
    fn files(&self, name: &str, user: &str, global: &str) -> (PathBuf, PathBuf) {
        let write = |label: &str, template: &str| {
            let mut text = template.to_owned();
            for (key, value) in &self.keys {
                let (_, base64) = value.split_once([' ', '\t']).expect("key");
                text = text.replace(&format!("{{{key}}}"), value).replace(&format!("{{{key}64}}"), base64);
            }
            while let Some((before, rest)) = text.split_once("{hash ") {
                let (host, after) = rest.split_once('}').expect("closing brace");
                text = format!("{before}{}{after}", self.hashed(name, host));
            }
            let path = self.dir.path().join(format!("{}.{label}", file_name(name)));
            let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(char).expect("byte")).collect();
            fs::write(&path, bytes).expect("known_hosts");
            path
        };
        (write("user", user), write("global", global))
    }

    /// A name as `ssh-keygen -H` hashes it.
    fn hashed(&self, case: &str, host: &str) -> String {
        let path = self.dir.path().join(format!("{}.hash", file_name(case)));
        fs::write(&path, format!("{host} {}\n", self.keys["ed"])).expect("known_hosts");
        run(Command::new("ssh-keygen").arg("-H").arg("-f").arg(&path));
        let text = fs::read_to_string(&path).expect("hashed known_hosts");
        text.split(' ').next().expect("name").to_owned()
    }

    /// Runs `ssh -v` until it asks for a login; returns what it says.
    fn ssh(&self, user: &Path, global: &Path, host: &str, port: u16, keys: Keys, strict: &str) -> String {
        let config = match keys {
            Keys::Ed25519 => "sshd_Ed25519",
            Keys::All => "sshd_All",
        };
        let config = self.dir.path().join(config);
        let output = Command::new("ssh")
            .args(["-v", "-F", "none", "-l", "nobody", "-p", &port.to_string()])
            .args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=none", "-o", "UpdateHostKeys=no"])
            .args(["-o", &format!("StrictHostKeyChecking={strict}")])
            .args(["-o", &format!("UserKnownHostsFile={}", user.display())])
            .args(["-o", &format!("GlobalKnownHostsFile={}", global.display())])
            .args(["-o", &format!("ProxyCommand={} -i -f {}", self.sshd.display(), config.display())])
            .args(["--", host, "true"])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("ssh of OpenSSH is needed for this test");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The verdict of `ssh` in words: `known user:3`, `changed global:1`, `revoked` or `unknown`.
    fn verdict(&self, stderr: &str, user: &Path, global: &Path) -> String {
        let place = |intro: &str| {
            let line = stderr.lines().find(|line| line.contains(intro)).expect("a line with the place");
            relative(line.split(" in ").nth(1).expect("place"), user, global)
        };
        if stderr.contains("REVOKED HOST KEY DETECTED") {
            "revoked".to_owned()
        } else if stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            format!("changed {}", place("Offending "))
        } else if stderr.contains("is known and matches the") {
            format!("known {}", place("Found key in "))
        } else if stderr.contains("host key is known for") {
            "unknown".to_owned()
        } else {
            panic!("ssh came to no verdict:\n{stderr}")
        }
    }

    /// The verdicts of `ssh` and of pssh, each on the key that it would ask the server for.
    fn compare(&self, case: &Case) -> (String, String) {
        let (user, global) = self.files(case.name, case.user, case.global);
        let stderr = self.ssh(&user, &global, case.host, case.port, case.keys, "yes");
        let ssh = self.verdict(&stderr, &user, &global);

        // In the order in which OpenSSH prefers them.
        let offered = match case.keys {
            Keys::Ed25519 => vec![self.blob("ed")],
            Keys::All => vec![self.blob("ed"), self.blob("ec"), self.blob("rsa")],
        };
        let entries = KnownHosts::load(slice::from_ref(&user), slice::from_ref(&global)).lookup(case.host, case.port);
        let types = entries.key_types();
        let preferred = offered.iter().find(|blob| key_type(blob).is_some_and(|it| types.contains(&it)));
        let blob = preferred.unwrap_or(&offered[0]);
        let mut ours = match entries.check(blob) {
            Verdict::Known(place) => format!("known {}", relative(&place.to_string(), &user, &global)),
            Verdict::Unknown => "unknown".to_owned(),
            Verdict::Changed(places) => {
                let last = places.last().expect("place").to_string();
                format!("changed {}", relative(&last, &user, &global))
            }
            Verdict::Revoked(_) => "revoked".to_owned(),
        };
        if !stderr.contains(&fingerprint(blob)) {
            ours += ", asking for another key";
        }
        (ssh, ours)
    }
}

/// Without the quotes and blanks that `ssh -o` would make something of.
fn file_name(case: &str) -> String {
    case.replace(|char: char| !char.is_ascii_alphanumeric(), "_")
}

fn relative(place: &str, user: &Path, global: &Path) -> String {
    let replace = |text: String, path: &Path, label| text.replace(&path.display().to_string(), label);
    replace(replace(place.trim_end().to_owned(), user, "user"), global, "global")
}

fn run(command: &mut Command) {
    let output = command.output().expect("OpenSSH is needed for this test");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn decode(key: &str) -> Vec<u8> {
    STANDARD.decode(key.split(' ').nth(1).expect("key")).expect("base64")
}
