//! Hints: what they say of several hosts, and of jump hosts.

use std::fs;

use crate::bin::Env;
use crate::embedded::{Config, Server};
use crate::sshd::{Setup, Sshd};

#[test]
fn a_hint_for_several_hosts_is_true_of_all_of_them() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 6, trusted: false, ..Setup::default() });
    let known = env.known_hosts().display().to_string();
    let port = sshd.port();
    let shared = format!(
        "pssh --ping --host-key-check accept-new with the same hosts adds all their keys to '{known}'; to compare the fingerprints \
         first: ssh-keyscan -p {port} HOST... > keys; ssh-keygen -lf keys; cat keys >> '{known}'"
    );
    let run = env.pssh().hosts(sshd.hosts()).arg("true").run();
    run.exits(4);
    for label in sshd.labels() {
        let own = format!("hint: compare the fingerprint, then: ssh-keyscan -p {port} {label} >>");
        let hint = run.stderr_text().lines().filter(|line| line.contains(&own)).count();
        let is_one_of_the_others = run.stderr_text().lines().any(|line| line.starts_with("pssh: hint for"));
        run.check(hint <= 1 && is_one_of_the_others, "with its own host, or with none");
    }
    run.check(run.stderr_text().matches("then: ssh-keyscan").count() == 3, "the first three have their own");
    run.stderr_has(&format!("pssh: hint for 3 more hosts: {shared}"));
    // In one block.
    let gathered = env.pssh().hosts(sshd.hosts()).args(["--format=gather", "true"]).run();
    gathered.exits(4).check(gathered.stdout_text().contains(&format!("  hint: {shared}")), &shared);
    gathered.check(!gathered.stdout_text().contains("ssh-keyscan -p {port} 127"), "no single one");
    // One alone is named.
    let one = env.pssh().hosts(&sshd.hosts()[..1]).args(["--format=gather", "true"]).run();
    one.exits(4).check(one.stdout_text().contains(&format!("ssh-keyscan -p {port} 127.0.1.1 >>")), "its name");

    // Keys that have changed, and names that are not there.
    let other = crate::embedded::Key::generate(crate::embedded::KeyKind::Ed25519).public_line();
    for label in sshd.labels() {
        env.trust(&format!("[{label}]:{port} {other}\n"));
    }
    let changed = env.pssh().hosts(sshd.hosts()).arg("true").run();
    changed
        .exits(4)
        .stderr_has(&format!("if the hosts were really re-installed, for each HOST: ssh-keygen -R HOST -f '{known}'"));
    let hosts = env.file("hosts", "a.invalid\nb.invalid\nc.invalid\nd.invalid\ne.invalid\n");
    let names = env.pssh().arg("-h").arg(hosts).args(["--num-retries", "1", "true"]).run();
    names.exits(4).stderr_has("hint for 2 more hosts: check the spelling, or whether the resolver knows the names: ");
}

#[test]
fn a_jump_host_has_the_name_that_the_user_has_given_it() {
    let env = Env::new();
    let address = vec!["127.0.0.2".parse().expect("an address")];
    let server = Server::start(Config { addresses: address, ..Config::default() });
    let port = server.port();
    let config = format!("Host edge\n HostName 127.0.0.2\n Port {port}\n User hop\nHost inner\n ProxyJump edge\n");
    fs::write(env.ssh_dir().join("config"), config).expect("a file");
    env.trust(&server.known_hosts());
    for (args, shown) in [
        (&["-H", "127.0.0.9", "-J", "edge"][..], "edge"),
        (&["-H", "127.0.0.9", "-J", "me@edge"], "edge"),
        (&["-H", "127.0.0.9", "--proxy-host", "edge"], "edge"),
        (&["-H", "inner"], "edge"),
    ] {
        let run = env.pssh().args(args).args(["--num-retries", "1", "true"]).run();
        let host = args[1];
        run.exits(4).ends(host, &format!("proxy: {shown}: auth: "));
        run.hints(host, &format!("the user with -J USER@{shown}")).stderr_lacks(" -l").stderr_lacks("127.0.0.2");
    }
    let direct = format!("me@127.0.0.2:{port}");
    let run = env.pssh().args(["-H", "127.0.0.9", "-J", &direct, "--num-retries", "1", "true"]).run();
    run.exits(4).ends("127.0.0.9", &format!("proxy: 127.0.0.2:{port}: auth: me: "));
    run.hints("127.0.0.9", &format!("-J USER@127.0.0.2:{port}"));
    // A host of the list that is the same has its own hint.
    let run = env.pssh().args(["-H", "edge", "true"]).run();
    run.exits(4).hints("edge", "the user with -l");
}
