//! `--ping`: hosts are connected to and logged in on, and nothing is run; also how the keys of many new hosts are taken in.

use std::fs;

use crate::bin::Env;
use crate::embedded::{Behaviour, Config, Event, Server};
use crate::sshd::{Setup, Sshd};

#[test]
fn it_logs_in_and_runs_nothing() {
    let env = Env::new();
    let config =
        Config { authorised: env.public_lines(), behaviour: Behaviour::answer("x", "", 3), ..Config::default() };
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    let addresses = [server.addr().to_string(), "127.0.0.1:1".to_owned()];
    let pssh = || env.pssh().hosts(&addresses).args(["--num-retries", "1", "--ping"]);
    let run = pssh().run();
    run.exits(4).stdout_is("").stderr_has("ok (connected after 0.").stderr_has(" s, logged in after 0.");
    run.stderr_has("pssh: 2 hosts: 1 ok, 1 connect\n");
    let asked = |event: &Event| matches!(event, Event::Exec { .. });
    assert!(!server.logged().iter().any(|record| asked(&record.event)), "nothing is run");
    let json = pssh().arg("--json").run();
    json.exits(4).check(
        json.stdout_text().contains("\"outcome\":\"ok\",\"success\":true,\"exit_status\":null"),
        "no exit status",
    );
    let status = pssh().args(["--format", "status"]).run();
    status.exits(4).check(status.stdout_text().contains("[SUCCESS] "), "pssh's line");
    let gathered = pssh().args(["--format", "gather"]).run();
    gathered.exits(4).check(gathered.stdout_text().contains(": ok\n"), "hosts that answer are one block");
}

#[test]
fn it_takes_no_command() {
    let env = Env::new();
    let pssh = || env.pssh().hosts(["127.0.0.1:1"]).arg("--ping");
    pssh().arg("uptime").run().exits(2).stderr_has("--ping takes no command: it only logs in");
    for other in [
        &["--script", "/dev/null"][..],
        &["-I"],
        &["--host-arg", "a=b"],
        &["--env", "A=b"],
        &["--pty"],
        &["--sudo"],
        &["--template"],
    ] {
        pssh().args(other).run().exits(2).stderr_has("cannot be used with");
    }
    let run = pssh().arg("--dry-run").run();
    run.exits(0).stdout_is("127.0.0.1: (log in, run nothing)\n");
}

#[test]
fn the_keys_of_new_hosts_are_taken_in_by_one_command() {
    const HOSTS: usize = 20;
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: HOSTS, trusted: false, ..Setup::default() });
    let pssh = |args: &[&str]| env.pssh().hosts(sshd.hosts()).args(args).run();
    let known = env.known_hosts();
    let refused = pssh(&["true"]);
    refused
        .exits(4)
        .stderr_has("hint for 17 more hosts: pssh --ping --host-key-check accept-new with the same hosts adds");
    let added = pssh(&["--ping", "--host-key-check", "accept-new"]);
    added.exits(0).stderr_has(&format!("pssh: {HOSTS} new host keys added to {}\n", known.display()));
    assert_eq!(fs::read_to_string(&known).expect("known_hosts").lines().count(), HOSTS);
    let again = pssh(&["--ping", "--host-key-check", "accept-new"]);
    again.exits(0).stderr_lacks("new host key");
    pssh(&["true"]).exits(0);
    // One alone is named; cron hears nothing.
    fs::write(&known, "").expect("known_hosts");
    let one = |args: &[&str]| env.pssh().hosts(&sshd.hosts()[..1]).args(args).run();
    let told = format!("pssh: new host key of 127.0.1.1 added to {}\n", known.display());
    one(&["--host-key-check", "accept-new", "true"]).exits(0).stderr_has(&told);
    fs::write(&known, "").expect("known_hosts");
    let quiet = one(&["-q", "--host-key-check", "accept-new", "true"]);
    quiet.exits(0).check(quiet.stderr.is_empty(), "nothing is said");
}
