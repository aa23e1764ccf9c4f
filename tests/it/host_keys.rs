//! Host keys through the binary: what is accepted in which mode, what is remembered, and that nothing is sent before.

use std::fs;
use std::net::IpAddr;

use crate::bin::{Env, public_line, ssh_keygen, tool};
use crate::embedded::{Behaviour, Config, Event, Key, KeyKind, Server};
use crate::sshd::{HostKey, Setup, Sshd, addresses};

fn server(env: &Env, config: Config) -> Server {
    Server::start(Config { authorised: env.public_lines(), ..config })
}

/// The line of known_hosts for another key of the server.
fn other_key(server: &Server) -> String {
    Key::generate(KeyKind::Ed25519).known_hosts_line("127.0.0.1", server.port()) + "\n"
}

fn known_hosts(env: &Env) -> String {
    fs::read_to_string(env.known_hosts()).unwrap_or_default()
}

#[test]
fn nothing_is_said_to_a_server_whose_key_is_not_accepted() {
    for mode in ["strict", "accept-new", "off"] {
        let env = Env::new();
        let server = server(&env, Config::default());
        // Unknown, changed and revoked, as far as the mode refuses them.
        let revoked = format!("@revoked * {}", server.known_hosts_line("x").split_once(' ').expect("a line").1) + "\n";
        let mut refused = vec![revoked];
        if mode != "off" {
            refused.push(other_key(&server));
        }
        if mode == "strict" {
            refused.push(String::new());
        }
        for lines in &refused {
            let file = env.file("known", lines);
            let run = env.pssh().hosts([server.addr()]).args(["--host-key-check", mode, "--known-hosts"]).arg(&file);
            let run = run.args(["echo", "in"]).run();
            run.exits(4).ends("127.0.0.1", "hostkey: ").stdout_is("");
            run.check(fs::read_to_string(&file).expect("known_hosts") == *lines, "nothing is remembered");
        }
        assert_eq!(server.connections(), refused.len());
        assert_eq!(server.auth_attempts(), 0, "{mode}");
        let talked = server
            .logged()
            .into_iter()
            .filter(|record| !matches!(record.event, Event::Connected { .. } | Event::Disconnect | Event::Lost));
        let talked: Vec<Event> = talked.map(|record| record.event).collect();
        assert!(talked.is_empty(), "{mode}: {talked:?}");
    }
}

#[test]
fn accept_new_remembers_what_strict_then_finds() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let pssh = || env.pssh().hosts([server.addr()]);
    // Neither the file nor its directory is there.
    fs::rename(env.ssh_dir().join("id_ed25519"), env.path("key")).expect("the key");
    fs::remove_dir_all(env.ssh_dir()).expect(".ssh");
    let run = pssh().args(["--host-key-check", "accept-new", "--identity"]).arg(env.path("key")).arg("true").run();
    run.exits(0);
    assert_eq!(known_hosts(&env), server.known_hosts());
    pssh().arg("--identity").arg(env.path("key")).arg("true").run().exits(0);
    let run = pssh().args(["--host-key-check=accept-new", "--identity"]).arg(env.path("key")).arg("true").run();
    run.exits(0);
    assert_eq!(known_hosts(&env), server.known_hosts(), "not a second time");
}

#[test]
fn accept_new_refuses_a_changed_key() {
    let env = Env::new();
    let server = server(&env, Config::default());
    env.trust(&other_key(&server));
    let run = env.pssh().hosts([server.addr()]).args(["--host-key-check", "accept-new", "true"]).run();
    run.exits(4).ends("127.0.0.1", "hostkey: ");
    run.check(run.outcome("127.0.0.1").contains("CHANGED"), "changed");
}

#[test]
fn accept_new_of_a_hundred_hosts_at_once() {
    let env = Env::new();
    let addresses: Vec<IpAddr> = addresses(100).into_iter().map(IpAddr::V4).collect();
    let server = server(
        &env,
        Config {
            addresses: addresses.clone(),
            behaviour: Behaviour::Cheap { stdout: Vec::new(), status: 0 },
            ..Config::default()
        },
    );
    // A file whose last line has no newline.
    env.trust("# mine");
    let pssh = || {
        let hosts = addresses.iter().map(|address| format!("{address}:{}", server.port()));
        env.pssh().hosts(hosts).args(["-p", "100"])
    };
    let run = pssh().args(["--host-key-check", "accept-new", "true"]).run();
    run.exits(0).stderr_has("pssh: 100 hosts: 100 ok\n");
    let text = known_hosts(&env);
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.remove(0), "# mine");
    lines.sort_unstable();
    let expected = server.known_hosts();
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "one whole line for each");
    pssh().arg("true").run().exits(0);
}

#[test]
fn accept_new_goes_on_where_nothing_can_be_remembered() {
    let env = Env::new();
    let server = server(&env, Config::default());
    // A directory that cannot be: even root cannot write there.
    let impossible = env.file("plain", "").join("known_hosts");
    let run = env.pssh().hosts([server.addr()]).args(["-v", "--host-key-check", "accept-new", "--known-hosts"]);
    let run = run.arg(&impossible).arg("true").run();
    run.exits(0).stderr_has("is new; ");
}

#[test]
fn keys_that_are_not_remembered_are_told_once() {
    let env = Env::new();
    let setup = Setup { hosts: 5, trusted: false, ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    let impossible = env.file("plain", "").join("known_hosts");
    let pssh = |hosts: &[String]| {
        let run = env.pssh().hosts(hosts).args(["--host-key-check", "accept-new", "--known-hosts"]).arg(&impossible);
        run.args(["-p", "1"])
    };
    let text = format!(
        "failed to add the host key to {}: Not a directory; the next run does not know it",
        impossible.display()
    );
    let run = pssh(&sshd.hosts()).arg("true").run();
    run.exits(0).stderr_has(&format!("pssh: 127.0.1.1, 127.0.1.2, 127.0.1.3 and 2 more: {text}\n"));
    run.check(run.stderr_text().matches("failed to add").count() == 1, "once");
    // A jump host's key is accepted in the same way.
    let run = pssh(&sshd.hosts()[1..2]).args(["-J", &sshd.hosts()[0], "true"]).run();
    run.exits(0).stderr_has(&format!("pssh: 127.0.1.2: proxy {}: {text}\n", sshd.hosts()[0]));
    // Where it can be remembered, nothing is said.
    let run = env.pssh().hosts(sshd.hosts()).args(["--host-key-check", "accept-new", "true"]).run();
    run.exits(0).stderr_lacks("failed to add");
}

#[test]
fn off_adds_keys_that_are_new_as_ssh_does() {
    let addresses = ["127.0.1.1", "127.0.1.2"];
    for (option, hashed) in [("HashKnownHosts=no", false), ("HashKnownHosts=yes", true)] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts: 2, trusted: false, ..Setup::default() });
        let port = sshd.port().to_string();
        let (ours, theirs) = (env.path("ours"), env.file("theirs", ""));
        let pssh = || env.pssh().hosts(sshd.hosts()).args(["-p", "1", "-O", option, "--known-hosts"]).arg(&ours);
        let run = pssh().args(["--host-key-check", "off", "true"]).run();
        run.exits(0).stderr_has(&format!("pssh: 2 new host keys added to {} without a check\n", ours.display()));
        for address in addresses {
            let ssh = std::process::Command::new("ssh")
                .args(["-F", "none", "-p", &port, "-oStrictHostKeyChecking=no", "-oBatchMode=yes", "-o", option])
                .arg(format!("-oUserKnownHostsFile={}", theirs.display()))
                .arg("-i")
                .arg(env.ssh_dir().join("id_ed25519"))
                .args([address, "true"])
                .output();
            let ssh = ssh.expect("ssh of OpenSSH is needed for this test");
            assert!(ssh.status.success(), "{}", String::from_utf8_lossy(&ssh.stderr));
        }
        let text = |file: &std::path::Path| fs::read_to_string(file).expect("known_hosts");
        // The salts of hashed names differ.
        let keys = |file: &std::path::Path| {
            let mut keys: Vec<String> = text(file)
                .lines()
                .map(|line| if hashed { line.split_once(' ').expect("a key").1.to_owned() } else { line.to_owned() })
                .collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys(&ours), keys(&theirs), "{option}");
        assert_eq!(text(&ours).lines().filter(|line| line.starts_with("|1|")).count(), if hashed { 2 } else { 0 });
        // They are known from now on, and nothing is said of them again.
        pssh().args(["--host-key-check", "strict", "true"]).run().exits(0);
        let run = pssh().args(["-O", "StrictHostKeyChecking=no", "true"]).run();
        run.exits(0).stderr_lacks("new host key");
        assert_eq!(text(&ours).lines().count(), 2);
    }
}

#[test]
fn off_says_what_was_added_also_for_a_jump_host() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, trusted: false, ..Setup::default() });
    let hosts = sshd.hosts();
    let run = env.pssh().hosts(&hosts[1..]).args(["--host-key-check", "off", "-J", &hosts[0], "true"]).run();
    let known = env.known_hosts();
    run.exits(0).stderr_has(&format!("pssh: 2 new host keys added to {} without a check\n", known.display()));
    assert_eq!(known_hosts(&env).lines().count(), 2);
    fs::write(&known, "").expect("known_hosts");
    let json =
        env.pssh().hosts(&hosts[1..]).args(["--host-key-check", "accept-new", "-J", &hosts[0], "--json", "true"]).run();
    let told =
        format!("\"warning\":\"new host key added to {}; new host key added to {}\"", known.display(), known.display());
    json.exits(0).check(json.stdout_text().contains(&told), &told);
    // /dev/null is not written about, and no file is no reason against a host.
    let other = Env::new();
    let sshd = Sshd::start(&other, Setup { trusted: false, ..Setup::default() });
    for none in ["/dev/null", "none"] {
        let run = other.pssh().hosts(sshd.hosts()).args(["--known-hosts", none, "--host-key-check=off", "true"]).run();
        run.exits(0).stderr_lacks("is new");
    }
    // A file that cannot be written is reported.
    let impossible = other.file("plain", "").join("known_hosts");
    let run =
        other.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(&impossible).args(["--host-key-check=off", "true"]);
    run.run().exits(0).stderr_has("failed to add the host key to ");
}

#[test]
fn off_leaves_known_hosts_as_it_is_where_a_key_has_changed() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let lines = other_key(&server);
    env.trust(&lines);
    let run = env.pssh().hosts([server.addr()]).args(["-v", "--host-key-check", "off", "true"]).run();
    run.exits(0).stderr_has("has CHANGED and is NOT checked").stderr_lacks("is new");
    let run = env.pssh().hosts([server.addr()]).args(["--host-key-check", "off", "true"]).run();
    run.exits(0).stderr_has("127.0.0.1: the host key has CHANGED and is not checked").stderr_lacks("is new");
    assert_eq!(known_hosts(&env), lines);
}

#[test]
fn without_a_file_no_new_key_is_accepted() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { trusted: false, ..Setup::default() });
    for none in [&["--known-hosts", "none"][..], &["-O", "UserKnownHostsFile=none"]] {
        let run = env.pssh().hosts(sshd.hosts()).args(none).args(["--host-key-check", "accept-new", "true"]).run();
        run.exits(4).ends(&sshd.label(), "hostkey: ").hints(&sshd.label(), "--known-hosts FILE");
        // As ssh.
        let port = sshd.port().to_string();
        let args = ["-F", "none", "-p", &port, "-oUserKnownHostsFile=none", "-oStrictHostKeyChecking=accept-new"];
        let ssh = std::process::Command::new("ssh").args(args).args(["-oBatchMode=yes", "127.0.1.1", "true"]).output();
        assert_eq!(ssh.expect("ssh of OpenSSH is needed for this test").status.code(), Some(255));
    }
    assert!(!env.path("none").exists());
}

#[test]
fn a_known_key_of_another_type_is_named() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    for (name, kind) in [("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "ssh-rsa")] {
        ssh_keygen(&env.path(name), &["-t", name]);
        let line = format!("[127.0.1.1]:{} {}\n", sshd.port(), public_line(&env.path(name)));
        let file = env.file("known", line);
        let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(&file).arg("true").run();
        run.exits(4).ends(&sshd.label(), "hostkey: the key of ");
        let known = format!("known:1 has a key of another type, {kind}");
        run.check(run.outcome(&sshd.label()).ends_with(&known), &known);
    }
}

#[test]
fn forms_of_names() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 1, trusted: false, ..Setup::default() });
    let (key, port) = (sshd.public_key(0), sshd.port());
    let hashed = env.file("hashed", format!("[127.0.1.1]:{port} {key}\n"));
    tool("ssh-keygen", &["-q".as_ref(), "-H".as_ref(), "-f".as_ref(), hashed.as_os_str()]);
    let hashed = fs::read_to_string(hashed).expect("a hashed file");
    assert!(hashed.starts_with("|1|"), "{hashed}");
    let accepted = [
        hashed,
        format!("[127.0.1.1]:{port} {key}\n"),
        format!("[127.0.1.*]:{port} {key}\n"),
        format!("web1,[127.0.?.1]:*,web2 {key} a comment\r\n"),
        format!("127.0.1.1 {key}\n"),
        format!("what is this?\n\n# a comment\n[127.0.1.1]:{port} ssh-ed25519 AAAA!\n[127.0.1.1]:{port} {key}"),
    ];
    for lines in &accepted {
        let file = env.file("known", lines);
        let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(file).arg("true").run();
        run.check(run.status.success(), &format!("accepted by {lines:?}"));
    }
    let refused = [
        (format!("[127.0.1.1]:{} {key}\n", port ^ 1), "is not in known_hosts"),
        (format!("*,![127.0.1.*]:{port},!127.0.1.1 {key}\n"), "is not in known_hosts"),
        (format!("[127.0.1.1]:{port} {key}\n@revoked * {key}\n"), "REVOKED"),
        (format!("@revoked [127.0.1.1]:{port} {key}\n[127.0.1.1]:{port} {key}\n"), "REVOKED"),
        (format!("@cert-authority * {key}\n"), "is not in known_hosts"),
    ];
    for (lines, words) in &refused {
        let file = env.file("known", lines);
        let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(file).arg("true").run();
        run.exits(4).ends(&sshd.label(), "hostkey: ");
        run.check(run.outcome(&sshd.label()).contains(words), &format!("{words:?} by {lines:?}"));
    }
}

#[test]
fn several_files_are_looked_through() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, trusted: false, ..Setup::default() });
    let text = sshd.known_hosts();
    let (first, second) = text.split_once('\n').expect("two lines");
    let files = [env.file("one", first), env.file("two", second)];
    let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(&files[0]).arg("--known-hosts").arg(&files[1]);
    run.arg("true").run().exits(0);
    let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(&files[1]).arg("true").run();
    run.exits(4).ends(&sshd.labels()[0], "hostkey: ").ends(&sshd.labels()[1], "ok");
}

#[test]
fn the_known_key_of_a_server_with_several_is_asked_for() {
    let env = Env::new();
    let kinds = [HostKey::Ed25519, HostKey::Ecdsa, HostKey::Rsa];
    let sshd = Sshd::start(&env, Setup { host_keys: &kinds, trusted: false, ..Setup::default() });
    for (place, kind) in ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"].into_iter().enumerate() {
        let file = env.file("known", format!("[127.0.1.1]:{} {}\n", sshd.port(), sshd.public_key(place)));
        let run = env.pssh().hosts(sshd.hosts()).arg("-v").arg("--known-hosts").arg(file).arg("true").run();
        run.exits(0).stderr_has(&format!("host key {kind} SHA256:")).stderr_has("is known from");
    }
    // Another RSA key is known: the server proves to have that type, and it is not the known one.
    ssh_keygen(&env.path("other"), &["-t", "rsa", "-b", "2048"]);
    let other = public_line(&env.path("other"));
    let file = env.file("known", format!("[127.0.1.1]:{} {other}\n", sshd.port()));
    let run = env.pssh().hosts(sshd.hosts()).arg("--known-hosts").arg(file).arg("true").run();
    run.exits(4).check(run.outcome(&sshd.label()).contains("CHANGED: it offers ssh-rsa"), "changed");
}

#[test]
fn a_server_with_a_host_certificate_shows_its_plain_key() {
    let env = Env::new();
    // The certificate must exist before the server starts; its key is known only then.
    ssh_keygen(&env.path("ca"), &["-t", "ed25519"]);
    let host_key = env.path("certified");
    ssh_keygen(&host_key, &["-t", "ed25519"]);
    let args = ["-q", "-h", "-I", "id", "-n", "127.0.1.1", "-s"].map(std::ffi::OsStr::new);
    let (ca, public) = (env.path("ca"), env.path("certified.pub"));
    tool("ssh-keygen", &[&args[..], &[ca.as_os_str(), public.as_os_str()]].concat());
    let config =
        format!("HostKey {}\nHostCertificate {}\n", host_key.display(), env.path("certified-cert.pub").display());
    let setup = Setup { host_keys: &[], config: &config, trusted: false, ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    env.trust(&format!("[127.0.1.1]:{} {}\n", sshd.port(), public_line(&host_key)));
    env.pssh().hosts(sshd.hosts()).arg("true").run().exits(0);
}
