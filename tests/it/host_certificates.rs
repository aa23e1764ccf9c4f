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
use crate::host_certificate_cases::{CASES, Case, PLAIN, REVOKED, case};
use crate::sshd::{self, Setup, Sshd};

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
        let status = if text.is_some() { 2 } else { 1 };
        run.exits(status).stderr_has(&format!("RevokedHostKeys {}: ", path.display())).stderr_has("config:");
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
            run.check(run.stderr_text().contains("is signed by a CA known from") != tamper, key);
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
        "its certificate is not accepted: it is not valid for this name, only for 127.0.1.1, 127.0.1.2, 127.0.1.3",
    );
    // A jump host with an invalid certificate lets no host through.
    let run = env.pssh().hosts(&hosts[..3]).args(["-J", &hosts[3], "echo", "in"]).run();
    run.exits(4).stderr_has("its certificate is not accepted").stdout_is("");
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
        // Of 768 bits, which is obsolete.
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
        // A variable, whose braces are its own.
        text.replace("$<PATH>", "${PATH}")
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
                ["Host key verification failed", "Bad server host key", "KnownHostsCommand failed"]
                    .iter()
                    .any(|words| text.contains(words)),
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
        let log = "for word in \"$@\"; do printf '%s\\n' \"$word\" >> {file asked}; done\n";
        fs::write(dir.join("script"), self.fill(&format!("{log}{}\n", case.script), &dir)).expect("a script");
        if case.config.contains("RevokedHostKeys") {
            self.revoke(&dir, case.revoke.0, case.revoke.1);
        }
        let text = self.fill(case.known, &dir);
        let files = [dir.join("theirs"), dir.join("ours")];
        files.iter().for_each(|path| fs::write(path, &text).expect("known_hosts"));
        let asked = || {
            let log = fs::read_to_string(dir.join("asked")).unwrap_or_default();
            let _ = fs::remove_file(dir.join("asked"));
            log
        };
        let ssh = self.ssh(case, &dir, &files[0]);
        let their_questions = asked();
        let run = self.pssh(case, &dir, &files[1]);
        let (our_questions, text) = (asked(), run.stderr_text());
        let place = |intro: &str| {
            let place = text.split(intro).nth(1)?.lines().next()?;
            Some(relative(place, &files[1]))
        };
        let (_, outcome) = run.outcomes().pop().ok_or_else(|| format!("{}: {}", case.name, run.context()))?;
        let ours = if !outcome.starts_with("auth: ") {
            "refused".to_owned()
        } else if let Some(place) = place("is signed by a CA known from ") {
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
        } else if their_questions != our_questions {
            Err(format!("{}: ssh asks the command {their_questions:?}, pssh {our_questions:?}", case.name))
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
