//! What is said about single hosts, in `--host-config` and in the lines of hosts files: it is what happens, for these hosts
//! and for no others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bin::{Env, Run, public_line, ssh_keygen};
use crate::embedded::{Config, Event, Fault, Server, refused_address};
use crate::sshd::{Setup, Sshd, current_user};

/// An embedded server on an address that the tests' sshd does not use, known to the home.
fn trusted(env: &Env, address: &str, config: Config) -> Server {
    let server = stranger(address, config);
    env.trust(&server.known_hosts());
    server
}

fn stranger(address: &str, config: Config) -> Server {
    let addresses = vec![address.parse().expect("an address")];
    Server::start(Config { addresses, ..config })
}

/// A file that only its owner can read.
fn secret_file(env: &Env, name: &str, contents: &str) -> PathBuf {
    let path = env.file(name, contents);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

/// The users and methods that a server has judged, in order.
fn judged(server: &Server) -> Vec<String> {
    let auth = |event: &Event| match event {
        Event::Auth { user, method, .. } if *method != "none" => Some(format!("{user} {method}")),
        _ => None,
    };
    server.logged().iter().filter_map(|record| auth(&record.event)).collect()
}

/// Runs with this host-config.
#[track_caller]
fn run(env: &Env, config: &str, hosts: &[&str], args: &[&str]) -> Run {
    let file = env.file("hosts.toml", config);
    env.pssh().hosts(hosts).arg("--host-config").arg(file).args(args).run()
}

#[test]
fn a_fleet_is_described_by_names_ranges_and_patterns() {
    let env = Env::without_key();
    fs::create_dir(env.path("fleet")).expect("a directory");
    let key = env.path("fleet/key");
    ssh_keygen(&key, &["-t", "ed25519", "-N", ""]);
    let setup = Setup { hosts: 3, trusted: false, authorized: vec![public_line(&key)], ..Setup::default() };
    let sshd = Sshd::start(&env, setup);
    env.file("fleet/kh", sshd.known_hosts());
    let labels = sshd.labels();
    let config = format!(
        "[host.web1]\naddress = '{}'\n[host.'web[02-03]']\naddress = '{}'\nalias = 'second'\n\
         [host.web03]\naddress = 'overridden.invalid'\n[host.'*.internal']\naddress = '{}'\n\
         [host.'w*']\nport = {port}\n[host.'*']\nport = {port}\nidentity = ['key']\nknown-hosts = 'kh'\nuser = '{}'\n",
        labels[0],
        labels[1],
        labels[2],
        current_user(),
        port = sshd.port(),
    );
    // Relative paths start where the file is, not where pssh is run.
    let file = env.file("fleet/hosts.toml", config);
    let run = env
        .pssh()
        .hosts(["web1", "web02", "db.internal"])
        .arg("--host-config")
        .arg(&file)
        .args(["echo ${SSH_CONNECTION% *}"])
        .run();
    run.exits(0);
    for (label, address) in ["web1", "second", "db.internal"].into_iter().zip(&labels) {
        let said = String::from_utf8(run.stdout_of(label)).expect("text");
        run.check(said.trim_end().ends_with(address.as_str()), &format!("{label} is {address}, not {said}"));
    }
    assert_eq!(sshd.connections(), 3);
}

#[test]
fn the_entry_beats_the_table_beats_the_command_line() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let (label, port) = (sshd.label(), sshd.port());
    let config = format!("[host.'{label}']\nuser = 'of-table'\nport = {port}\n[host.'*']\nuser = 'of-last-table'\n");
    let outcome = |hosts: &str, args: &[&str]| {
        let args = [args, &["--num-retries", "1", "true"]].concat();
        run(&env, &config, &[hosts], &args).outcomes().pop().expect("an outcome").1
    };
    assert!(outcome(&label, &["-l", "of-option"]).starts_with("auth: of-table:"));
    assert!(outcome(&label, &["-O", "User=of-option", "-O", "Port=1"]).starts_with("auth: of-table:"));
    assert!(outcome(&format!("of-entry@{label}"), &[]).starts_with("auth: of-entry:"));
    assert_eq!(outcome(&format!("{}@{label}", current_user()), &[]), "ok (exit 0)");
    assert!(outcome(&format!("{label}:1"), &[]).starts_with("connect: "));
    // The same in a line of a hosts file.
    let hosts = env.file("hosts", format!("{label} user=of-line\n{label} {}\n", current_user()));
    let file = env.file("hosts.toml", &config);
    let run = env.pssh().arg("-h").arg(hosts).arg("--host-config").arg(file).args(["-l", "nobody", "true"]).run();
    run.exits(4).ends(&format!("of-line@{label}"), "auth: of-line:");
    run.ends(&format!("{}@{label}", current_user()), "ok (exit 0)");
}

#[test]
fn slips_are_refused_all_at_once_before_anything_connects() {
    let env = Env::new();
    let server = trusted(&env, "127.0.0.2", Config { authorised: env.public_lines(), ..Config::default() });
    let file =
        env.file("hosts.toml", "[host.a]\nprot = 22\nport = 'x'\npassword = 'hunter2'\n[hots.b]\n[host.'n[1-']\n");
    let pssh = || env.pssh().hosts([server.addr()]);
    let refused = pssh().arg("--host-config").arg(&file).arg("true").run();
    refused.exits(2).stderr_lacks("hunter2");
    for told in [
        ":2:1: \"prot\": there is no such key; did you mean port?",
        ":3:8: \"port\": the port \"x\" is not a number",
        ":4:12: \"password\": passwords are not allowed here",
        "password-file",
        ":5:2: \"hots\": expected tables of hosts",
        ":6:7: \"n[1-\": unmatched [",
    ] {
        refused.stderr_has(told);
    }
    let missing = pssh().args(["--host-config", "none-there.toml", "true"]).run();
    missing.exits(1).stderr_has("--host-config none-there.toml: No such file or directory");
    let host = format!("[host.'{}']\n", server.addr().ip());
    for (line, told) in [
        ("identity = 'no-key'", ":2:1: identity "),
        ("password-file = 'no-file'", ":2:1: password-file "),
        ("alias = 'other'\n[host.other]", ":2:1: the alias \"other\" of "),
    ] {
        let status = if line.starts_with("alias") { 2 } else { 1 };
        let file = env.file("hosts.toml", host.clone() + line);
        let run = pssh().args(["-H", "other"]).arg("--host-config").arg(file).arg("true").run();
        run.exits(status).stderr_has(told);
    }
    let open = env.file("open", "hunter2");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).expect("a mode");
    let file = env.file("hosts.toml", host + "password-file = 'open'");
    let run = pssh().arg("--host-config").arg(file).arg("true").run();
    run.exits(2).stderr_has("too open").stderr_lacks("hunter2");
    let hosts = env.file("hosts", "a prot=22\nb password=hunter2\nc timeout=soon x=1\nd x=\"1\n");
    let run = env.pssh().arg("-h").arg(hosts).arg("true").run();
    run.exits(2).stderr_has(":1:3: \"prot\": did you mean port? For an argument of the command, write arg.prot");
    run.stderr_has(":2:3: ").stderr_has(":3:3: \"timeout=soon\"").stderr_has(":4:3: ").stderr_lacks("hunter2");
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_table_that_is_about_nobody_is_noted() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let config = "[host.'web[1-3]']\nuser = 'x'\n";
    let quiet = run(&env, config, &[&sshd.hosts()[0]], &["true"]);
    quiet.exits(0).stderr_lacks("web[1-3]");
    run(&env, config, &[&sshd.hosts()[0]], &["-v", "true"])
        .exits(0)
        .stderr_has("hosts.toml:1:7: host \"web[1-3]\" is not in the list");
}

#[test]
fn each_host_is_told_its_own_password_and_no_other() {
    let env = Env::without_key();
    let server = |address: &str, password: &str| {
        trusted(&env, address, Config { password: Some(password.to_owned()), ..Config::default() })
    };
    let (a, b, c) = (server("127.0.0.2", "secret a"), server("127.0.0.3", "secret b"), server("127.0.0.4", "all"));
    secret_file(&env, "a.pw", "secret a\n");
    secret_file(&env, "b.pw", "secret b\n");
    let all = secret_file(&env, "all.pw", "all\n");
    let config = "[host.'127.0.0.2']\npassword-file = 'a.pw'\n[host.'127.0.0.3']\npassword-file = 'b.pw'\n";
    let hosts = [&a, &b, &c].map(|server| server.addr().to_string());
    let hosts = hosts.each_ref().map(String::as_str);
    let password = ["-l", "me", "--password-file", all.to_str().expect("a path"), "-v", "true"];
    let run = run(&env, config, &hosts, &password);
    run.exits(0).stderr_lacks("secret");
    for server in [&a, &b, &c] {
        assert_eq!(judged(server), ["me password"]);
    }
}

#[test]
fn the_same_host_twice_is_two_jobs_with_nothing_in_common() {
    let env = Env::without_key();
    let server = |user: &str, password: &str| {
        let users = Some(vec![user.to_owned()]);
        trusted(&env, "127.0.0.2", Config { users, password: Some(password.to_owned()), ..Config::default() })
    };
    let (a, b) = (server("ann", "secret a"), server("bob", "secret b"));
    secret_file(&env, "a pw", "secret a\n");
    secret_file(&env, "b.pw", "secret b\n");
    let lines = format!(
        "127.0.0.2 user=ann port={} password-file='a pw' alias=first\n127.0.0.2 bob port={} password-file=b.pw # other\n",
        a.port(),
        b.port()
    );
    let hosts = env.file("hosts", lines);
    let run = env.pssh().arg("-h").arg(hosts).args(["echo up"]).run();
    run.exits(0).ends("first", "ok").ends(&format!("bob@127.0.0.2:{}", b.port()), "ok");
    assert_eq!((judged(&a), judged(&b)), (vec!["ann password".to_owned()], vec!["bob password".to_owned()]));
}

#[test]
fn a_jump_host_is_told_its_own_password_and_the_host_behind_its_own() {
    let env = Env::without_key();
    let server = |address: &str, password: &str| {
        trusted(&env, address, Config { password: Some(password.to_owned()), ..Config::default() })
    };
    let (bastion, host) = (server("127.0.0.2", "secret b"), server("127.0.0.3", "secret h"));
    let of_bastion = secret_file(&env, "bastion.pw", "secret b\n");
    let of_host = secret_file(&env, "host.pw", "secret h\n");
    let port = bastion.port().to_string();
    let jump = ["-l", "me", "--proxy-host", "127.0.0.2", "--proxy-user", "hop", "--proxy-port", &port];
    let pssh = || env.pssh().hosts([host.addr()]).args(jump);
    let own = |file: &Path| env.file("hosts.toml", format!("[host.'*']\npassword-file = '{}'\n", file.display()));
    let both = pssh().arg("--proxy-password-file").arg(&of_bastion);
    both.arg("--host-config").arg(own(&of_host)).arg("true").run().exits(0);
    assert_eq!(judged(&bastion), ["hop password"]);
    assert_eq!(judged(&host), ["me password"]);
    // Then the password of the run is for the host.
    let run = pssh().arg("--proxy-password-file").arg(&of_bastion).arg("--password-file").arg(&of_host);
    run.arg("true").run().exits(0);
    assert_eq!((judged(&bastion).len(), judged(&host).len()), (2, 2));
    // A host's own password is nothing for a jump host, whatever it is called in the tables.
    let run = pssh().arg("--host-config").arg(own(&of_bastion)).arg("true").run();
    run.exits(4).ends("127.0.0.3", &format!("proxy: 127.0.0.2:{port}: auth: hop: "));
    assert_eq!((judged(&bastion).len(), judged(&host).len()), (2, 2));
    let run = env.pssh().hosts(["x"]).args(["--proxy-password-file", "f", "true"]).run();
    run.exits(2).stderr_has("--proxy-host");
}

#[test]
fn hosts_with_different_proxies_fail_by_their_own_alone() {
    let env = Env::new();
    let authorised = || Config { authorised: env.public_lines(), ..Config::default() };
    let inside = Sshd::start(&env, Setup { hosts: 6, ..Setup::default() });
    let first = Sshd::start(&env, Setup { hosts: 1, ..Setup::default() });
    let second = trusted(&env, "127.0.0.2", authorised());
    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    let labels = inside.labels();
    let table = |place: usize, proxy: &str| format!("[host.'{}']\n{proxy}\n", labels[place]);
    let config = [
        table(0, &format!("proxy = '{}'", first.hosts()[0])),
        table(1, &format!("proxy = '{}'", second.addr())),
        table(2, &format!("proxy = '{refusing}'")),
        table(3, "proxy-command = \"bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'\""),
        table(4, "proxy = 'none'"),
    ]
    .concat();
    let jump = format!("{},{}", first.hosts()[0], second.addr());
    let hosts = inside.hosts();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let run = run(&env, &config, &hosts, &["-v", "-J", &jump, "--num-retries", "1", "echo up"]);
    run.exits(4).stderr_has("pssh: 6 hosts: 5 ok, 1 proxy\n");
    run.ends(&labels[2], &format!("proxy: {refusing}: connect: 127.0.0.51 port "));
    let told = run.stderr_text();
    for (place, way) in [
        (0, format!("connected through {}", first.hosts()[0])),
        (1, format!("connected through {}", second.addr())),
        (3, "connected by bash -c".to_owned()),
        (4, format!("connected to {}", inside.hosts()[4])),
        (5, format!("connected through {}", second.addr())),
    ] {
        let begins = format!("pssh: {}: [", labels[place]);
        run.check(told.lines().any(|line| line.starts_with(&begins) && line.contains(&format!("] {way}"))), &way);
    }
    assert_eq!(inside.connections(), 5);
    assert_eq!(second.connections(), 2, "one directly, and one through the other for the last host");
}

#[test]
fn times_and_attempts_are_each_hosts_own() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 3, ..Setup::default() });
    let labels = sshd.labels();
    let config = format!(
        "[host.'{}']\ntimeout = 1\n[host.'{}']\nchannel-timeout = '1s'\n[host.'{}']\ntimeout = 0\n",
        labels[0], labels[1], labels[2]
    );
    let hosts = sshd.hosts();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let timed = run(&env, &config, &hosts, &["-t", "4", "sleep 6; echo up"]);
    timed.exits(3).ends(&labels[0], "timeout command").ends(&labels[1], "timeout silence").ends(&labels[2], "ok");

    let silent = |address: &str| {
        let fault = Some(Fault::SilentBanner);
        trusted(&env, address, Config { fault, authorised: env.public_lines(), ..Config::default() })
    };
    let (once, twice) = (silent("127.0.0.2"), silent("127.0.0.3"));
    let config = "[host.'127.0.0.2']\nnum-retries = 1\nconnect-timeout = 0.5\n\
                  [host.'127.0.0.3']\nnum-retries = 2\nretry-delay = '0.1'\nconnect-timeout = '1s'\n";
    let hosts = [once.addr().to_string(), twice.addr().to_string()];
    let run = run(&env, config, &hosts.each_ref().map(String::as_str), &["--retry-delay", "30", "true"]);
    run.exits(3).within(10).ends("127.0.0.2", "timeout connect: no SSH banner within 0.5 s");
    run.ends("127.0.0.3", "timeout connect: no SSH banner within 1 s");
    assert_eq!((once.connections(), twice.connections()), (1, 2));
}

#[test]
fn host_keys_are_judged_for_each_host_as_is_said_of_it() {
    let env = Env::new();
    let authorised = || Config { authorised: env.public_lines(), ..Config::default() };
    let servers = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(|address| stranger(address, authorised()));
    let known = env.file("kh", servers[1].known_hosts());
    let config = format!(
        "[host.'127.0.0.2']\nhost-key-check = 'off'\n[host.'127.0.0.3']\nknown-hosts = '{}'\n",
        known.display()
    );
    let hosts = servers.each_ref().map(|server| server.addr().to_string());
    let run = run(&env, &config, &hosts.each_ref().map(String::as_str), &["true"]);
    run.exits(4).stderr_has("pssh: 127.0.0.2: ok (exit 0)").stderr_has("pssh: new host key of 127.0.0.2 added to ");
    run.ends("127.0.0.3", "ok").ends("127.0.0.4", "hostkey: ");
}

#[test]
fn a_host_without_an_agent_is_shown_no_key_of_it() {
    let env = Env::new();
    let authorised = || Config { authorised: env.public_lines(), ..Config::default() };
    let (with, without) = (trusted(&env, "127.0.0.2", authorised()), trusted(&env, "127.0.0.3", authorised()));
    let socket = env.path("no-agent-there");
    let config = "[host.'127.0.0.3']\nno-agent = true\n";
    let file = env.file("hosts.toml", config);
    let run = env
        .pssh()
        .hosts([with.addr(), without.addr()])
        .variable("SSH_AUTH_SOCK", &socket)
        .arg("--host-config")
        .arg(&file)
        .args(["-v", "true"])
        .run();
    // The agent is asked, for the one host alone: that it is not there is told once.
    run.exits(0).stderr_has(&format!("agent {}: ", socket.display()));
    let only = env.pssh().hosts([without.addr()]).variable("SSH_AUTH_SOCK", &socket).arg("--host-config").arg(&file);
    only.args(["-v", "true"]).run().exits(0).stderr_lacks("no-agent-there");
    // And the other way round.
    let file = env.file("hosts.toml", "[host.'*']\nno-agent = false\n");
    let all = env.pssh().hosts([with.addr()]).variable("SSH_AUTH_SOCK", &socket).arg("--host-config").arg(&file);
    all.args(["--no-agent", "-v", "true"]).run().exits(0).stderr_has("no-agent-there");
}

#[test]
fn explain_names_the_place_of_everything_that_is_said() {
    let env = Env::new();
    fs::write(env.ssh_dir().join("config"), "Host edge\n ProxyJump outer\nHost outer\n ProxyCommand nc %h %p\n")
        .expect("ssh_config");
    let toml = env.file(
        "hosts.toml",
        "[host.web]\naddress = '%h.internal'\nport = 2222\nconnect-timeout = 7\nproxy = 'me@edge'\nalias = 'w'\n\
         timeout = '1m'\nidentity = 'k'\nhost-key-check = 'accept-new'\nnum-retries = 4\nno-agent = true\n",
    );
    ssh_keygen(&env.path("k"), &["-t", "ed25519", "-N", ""]);
    let hosts = env.file("hosts", "web user=ann\ndb bob\n");
    let run = env.pssh().arg("-h").arg(&hosts).arg("--host-config").arg(&toml).args(["--explain", "-l", "x"]).run();
    run.exits(0);
    let told = String::from_utf8(run.stdout.clone()).expect("text");
    let (toml, hosts, config) = (toml.display(), hosts.display(), env.ssh_dir().join("config"));
    for line in [
        format!("host web\t# {hosts}:1:1"),
        format!("user ann\t# {hosts}:1:1"),
        format!("hostname web.internal\t# {toml}:2:1: address"),
        format!("port 2222\t# {toml}:3:1"),
        format!("connecttimeout 7\t# {toml}:4:1"),
        format!("proxyjump outer,me@edge\t# {toml}:5:1, and before that {}:2", config.display()),
        format!("proxycommand nc outer 22\t# of the jump host outer, {}:4", config.display()),
        format!("alias w\t# {toml}:6:1"),
        format!("timeout 60\t# {toml}:7:1"),
        format!("identityfile {}\t# {toml}:8:1", env.path("k").display()),
        format!("stricthostkeychecking accept-new\t# {toml}:9:1"),
        format!("connectionattempts 4\t# {toml}:10:1"),
        format!("identityagent none\t# {toml}:11:1"),
        format!("user bob\t# {hosts}:2:1"),
    ] {
        run.check(told.lines().any(|own| own == line), &format!("{line}\nis not in\n{told}"));
    }
}

#[test]
fn hosts_that_only_ssh_can_tell_about_are_looked_up_several_at_once() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 24, ..Setup::default() });
    let kept = env.path("kept");
    let config = format!("Match exec \"echo %h >> {}; sleep 0.5\"\n Port {}\n", kept.display(), sshd.port());
    let config = env.file("config", config);
    let hosts = sshd.labels();
    let pssh = || env.bare_pssh().arg("-F").arg(&config).hosts(&hosts).args(["-p", "24", "echo up"]);
    let run = pssh().run();
    // One after the other they take 12 s.
    run.exits(0).within(11).check(run.outcomes().len() == 24, "all of them");
    let asked = fs::read_to_string(kept).expect("what was asked");
    assert_eq!(asked.lines().count(), 24, "each once: {asked}");
    // Where it is some of the hosts, each still is itself.
    let port = sshd.port();
    let some = format!("Match originalhost {},{} exec true\n Port {port}\nHost *\n Port {port}\n", hosts[1], hosts[4]);
    let some = env.file("some", some);
    let mixed = env.bare_pssh().arg("-F").arg(some).hosts(&hosts[..6]).args(["echo ${SSH_CONNECTION% *}"]).run();
    mixed.exits(0);
    for label in &hosts[..6] {
        let said = String::from_utf8(mixed.stdout_of(label)).expect("text");
        mixed.check(said.trim_end().ends_with(&format!(" {label}")), &format!("{label} is {said}"));
    }
    // A Ctrl-C is heard meanwhile.
    let mut run = pssh().start();
    std::thread::sleep(Duration::from_millis(300));
    assert!(run.is_running());
    run.signal(rustix::process::Signal::INT);
    run.finish().dies_by(rustix::process::Signal::INT).within(3);
}
