//! Two hundred hosts in one run: none is lost from the report, and sick ones do not take healthy ones along.

use std::fs;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Config, Fault, Key, KeyKind, Server, refused_address};
use crate::sshd::{Setup, Sshd};

const HOSTS: usize = 200;

fn fleet(env: &Env) -> Sshd {
    let setup = Setup { hosts: HOSTS, ..Setup::default() };
    Sshd::start(env, setup)
}

/// A run on a list of hosts in a file.
fn on(env: &Env, hosts: &[String]) -> Pssh {
    let list = env.file("hosts.txt", hosts.join("\n") + "\n");
    env.pssh().limit(180).arg("-h").arg(list)
}

/// Returns the outcomes that are not ok. Fails unless exactly `labels` have one outcome each.
#[track_caller]
fn failures(run: &Run, labels: &[String]) -> Vec<(String, String)> {
    let mut outcomes = run.outcomes();
    outcomes.sort();
    let mut reported: Vec<&String> = outcomes.iter().map(|(label, _)| label).collect();
    let mut expected: Vec<&String> = labels.iter().collect();
    expected.sort();
    reported.sort();
    run.check(reported == expected, "one outcome for each host of the list");
    outcomes.retain(|(label, outcome)| {
        let healthy = outcome == "ok (exit 0)";
        let printed = run.stdout_of(label);
        run.check(printed == if healthy { &b"up\n"[..] } else { b"" }, &format!("the output of {label}"));
        !healthy
    });
    outcomes
}

#[test]
fn two_hundred_hosts_have_two_hundred_outcomes() {
    let env = Env::new();
    let sshd = fleet(&env);
    let run = on(&env, &sshd.hosts()).args(["-p", "32", "--", "echo up"]).run();
    run.exits(0).stderr_has("pssh: 200 hosts: 200 ok\n");
    let failures = failures(&run, &sshd.labels());
    run.check(failures.is_empty(), "all are ok");
    run.check(sshd.connections() == HOSTS, "one connection each");
}

#[test]
fn all_two_hundred_at_once() {
    let env = Env::new();
    let sshd = fleet(&env);
    let run = on(&env, &sshd.hosts()).args(["-p", "200", "--", "echo up"]).run();
    run.exits(0).stderr_has("pssh: 200 hosts: 200 ok\n");
    let failures = failures(&run, &sshd.labels());
    run.check(failures.is_empty(), "all are ok");
}

#[test]
fn four_sick_hosts_fail_and_no_other() {
    let env = Env::new();
    let sshd = fleet(&env);
    let (mut hosts, mut labels) = (sshd.hosts(), sshd.labels());
    let mut replace = |place: usize, label: &str, host: String| {
        label.clone_into(&mut labels[place]);
        hosts[place] = host;
    };

    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    replace(17, "127.0.0.51", refusing.to_string());
    let silent = Server::start(Config {
        addresses: vec!["127.0.0.52".parse().expect("an address")],
        fault: Some(Fault::SilentBanner),
        ..Config::default()
    });
    replace(61, "127.0.0.52", silent.addr().to_string());
    let stranger = labels[199].clone();
    hosts[199] = format!("nobody-of-that-name@{stranger}:{}", sshd.port());
    let changed = labels[120].clone();
    let name = format!("[{changed}]:{} ", sshd.port());
    let known = fs::read_to_string(env.known_hosts()).expect("known_hosts");
    let other = Key::generate(KeyKind::Ed25519).known_hosts_line(&changed, sshd.port());
    let lines = known.lines().map(|line| if line.starts_with(&name) { &other } else { line });
    fs::write(env.known_hosts(), lines.map(|line| format!("{line}\n")).collect::<String>()).expect("known_hosts");

    let run =
        on(&env, &hosts).args(["-p", "32", "--num-retries", "1", "--connect-timeout", "20", "--", "echo up"]).run();
    run.exits(3);
    let expected = [
        ("127.0.0.51", "connect: 127.0.0.51 port "),
        ("127.0.0.52", "timeout connect: no SSH banner within 20 s"),
        (&changed, "hostkey: "),
        (&stranger, "auth: nobody-of-that-name: "),
    ];
    let check = |run: &Run, expected: &[(&str, &str)], failures: &[(String, String)]| {
        run.check(failures.len() == expected.len(), &format!("exactly the sick ones fail, not {failures:?}"));
        for (label, outcome) in expected {
            run.ends(label, outcome);
        }
    };
    check(&run, &expected, &failures(&run, &labels));
    run.stderr_has("pssh: 200 hosts: 196 ok, 1 timeout, 1 connect, 1 hostkey, 1 auth\n");

    // Without the silent one.
    let without = |list: &[String]| [&list[..61], &list[62..]].concat();
    let run = on(&env, &without(&hosts)).args(["-p", "32", "--num-retries", "1", "--", "echo up"]).run();
    run.exits(4);
    let expected = [expected[0], expected[2], expected[3]];
    check(&run, &expected, &failures(&run, &without(&labels)));
    run.stderr_has("pssh: 199 hosts: 196 ok, 1 connect, 1 hostkey, 1 auth\n");
}
