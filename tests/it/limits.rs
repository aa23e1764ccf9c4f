//! Runs that are stopped by themselves: after a time (`--total-timeout`), or once hosts have failed (`--stop-on-errors`).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::bin::{Env, Pssh};
use crate::embedded::refused_address;
use crate::sshd::Fleet;

/// Seconds that are longer than stopping takes.
const SOON: u64 = 20;
const NEVER: &str = "cancelled: never started";
const STOPPED: &str = "cancelled: stopped while running";

impl Fleet {
    fn limited(&self, options: &[&str], command: &str) -> Pssh {
        self.pssh().args(options).args(["--", command])
    }
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_reported() {
    let fleet = Fleet::new(4);
    let line = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 0;; esac; echo begun; sleep 971";
    let run = fleet.limited(&["-p", "2", "--total-timeout", "1.5"], line).run();
    run.exits(3).within(SOON);
    let why = ", since the run has taken 1.5 s";
    let labels = fleet.sshd.labels();
    run.ends(&labels[0], "ok");
    for label in &labels[1..3] {
        run.ends(label, &format!("{STOPPED}{why}"));
        run.check(run.stdout_of(label) == b"begun\n", "its output so far");
    }
    run.ends(&labels[3], &format!("{NEVER}{why}"));
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn a_run_within_its_time_is_left_alone() {
    let fleet = Fleet::new(2);
    fleet.limited(&["--total-timeout", "5m"], "true").run().exits(0);
    fleet.limited(&["--total-timeout", "0"], "true").run().exits(0);
}

#[test]
fn hosts_that_wait_for_another_attempt_are_stopped_too() {
    let env = Env::new();
    let host = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let run = env.pssh().hosts([host]).args(["--total-timeout", "1", "--", "true"]).run();
    // The result of the attempt says more than that there is no other.
    run.exits(4).within(4).ends(&host.ip().to_string(), "connect");
}

/// However much of the time for connecting is left.
#[test]
fn hosts_that_are_being_connected_to_are_stopped_too() {
    let env = Env::new();
    // Connections wait to be accepted, or a banner is all that comes.
    let silent = TcpListener::bind("127.0.0.2:0").expect("an address");
    let banner = TcpListener::bind("127.0.0.3:0").expect("an address");
    let hosts = [&silent, &banner].map(|listener| listener.local_addr().expect("a name"));
    let held = thread::spawn(move || {
        let (mut client, _) = banner.accept().expect("a client");
        client.write_all(b"SSH-2.0-slow\r\n").expect("written");
        // Until the client goes away.
        let _ = client.read_to_end(&mut Vec::new());
    });
    let run = env.pssh().hosts(hosts).args(["--total-timeout", "1", "--connect-timeout", "30", "--", "true"]).run();
    run.exits(3).within(5);
    for host in hosts {
        run.ends(&host.ip().to_string(), "cancelled: stopped while connecting, since the run has taken 1 s");
    }
    held.join().expect("the client has gone");
}

#[test]
fn the_first_failure_stops_everything() {
    let fleet = Fleet::new(5);
    let line = "case $SSH_CONNECTION in *' 127.0.1.2 '*) sleep 1; exit 7;; esac; echo begun; sleep 972";
    let run = fleet.limited(&["-p", "3", "--stop-on-errors"], line).run();
    run.exits(3).within(SOON);
    let labels = fleet.sshd.labels();
    run.ends(&labels[1], "exit 7");
    let why = ", since a host has failed";
    for place in [0, 2] {
        run.ends(&labels[place], &format!("{STOPPED}{why}"));
        run.check(run.stdout_of(&labels[place]) == b"begun\n", "its output so far");
    }
    for label in &labels[3..] {
        run.ends(label, &format!("{NEVER}{why}"));
    }
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn as_many_failures_as_are_said_are_tolerated() {
    let fleet = Fleet::new(6);
    let line = "case $SSH_CONNECTION in *' 127.0.1.'[24]' '*) exit 1;; esac";
    for option in ["--stop-on-errors=2", "--stop-on-errors=33%"] {
        let run = fleet.limited(&["-p", "1", option], line).run();
        run.exits(3);
        for (place, label) in fleet.sshd.labels().iter().enumerate() {
            let expected = match place {
                0 | 2 => "ok",
                1 | 3 => "exit 1",
                _ => "cancelled: never started, since 2 hosts have failed",
            };
            run.ends(label, expected);
        }
    }
    fleet.limited(&["-p", "1", "--stop-on-errors=3"], line).run().exits(5).stderr_has("6 hosts: 4 ok, 2 exit\n");
}

#[test]
fn a_host_that_is_not_reached_is_a_failure() {
    let fleet = Fleet::new(2);
    let dead = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let pssh = fleet.env.pssh().hosts([dead.to_string()].into_iter().chain(fleet.sshd.hosts()));
    let run = pssh.args(["-p", "1", "--num-retries", "1", "--stop-on-errors", "--", "true"]).run();
    run.exits(3).ends(&dead.ip().to_string(), "connect");
    for label in fleet.sshd.labels() {
        run.ends(&label, NEVER);
    }
    run.check(fleet.sshd.connections() == 0, "nobody else was connected to");
}

#[test]
fn what_is_no_number_of_hosts_is_refused() {
    let env = Env::new();
    for bad in ["0", "many", "0%", "200%"] {
        let run = env.pssh().args(["-H", "a", &format!("--stop-on-errors={bad}"), "true"]).run();
        run.exits(2).stderr_has("--stop-on-errors");
    }
    env.pssh().args(["-H", "a", "--total-timeout", "soon", "true"]).run().exits(2).stderr_has("--total-timeout");
}
