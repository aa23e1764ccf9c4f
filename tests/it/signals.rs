//! Being stopped: by a signal, by a reader that goes away or sleeps, by a disk that is full. Every host is reported, and no
//! remote command is left behind.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::bin::Env;
use crate::embedded::{Behaviour, Config, Event, Fault, Server, Step};
use crate::sshd::{Fleet, Setup, Sshd};

/// Seconds that are longer than stopping takes, with the time that a remote command has to comply.
const SOON: u64 = 20;

fn server(env: &Env, config: Config) -> Server {
    let server = Server::start(Config { authorised: env.public_lines(), ..config });
    env.trust(&server.known_hosts());
    server
}

// Signals.

#[test]
fn a_signal_stops_what_runs_and_starts_nothing_more() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let fleet = Fleet::new(7);
        let line = "echo begun; sleep 977; echo not reached";
        let running = fleet.pssh().args(["-p", "3", "--", line]).start();
        fleet.sshd.wait_for_processes("sleep 977", 6);
        running.signal(signal);
        let run = running.finish();
        run.dies_by(signal).within(SOON);
        let labels = fleet.sshd.labels();
        for label in &labels[..3] {
            run.check(run.outcome(label) == "cancelled: stopped while running", "one that ran");
            run.check(run.stdout_of(label) == b"begun\n", "its output");
        }
        for label in &labels[3..] {
            run.check(run.outcome(label) == "cancelled: never started", "one that waited");
        }
        run.stderr_has("pssh: 7 hosts: 7 cancelled\n");
        run.check(fleet.sshd.connections() == 3, "no connection more");
        fleet.sshd.wait_for_processes("", 0);
    }
}

#[test]
fn hosts_that_have_ended_keep_their_outcomes() {
    let fleet = Fleet::new(3);
    let line = "case $SSH_CONNECTION in *' 127.0.1.2 '*) exit 3;; *' 127.0.1.3 '*) exec sleep 977;; esac";
    let mut running = fleet.pssh().args(["--", line]).start();
    running.wait_for("127.0.1.1: ok");
    running.wait_for("127.0.1.2: exit 3");
    fleet.sshd.wait_for_processes("sleep 977", 1);
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT).ends("127.0.1.1", "ok").ends("127.0.1.2", "exit 3").ends("127.0.1.3", "cancelled");
    run.stderr_has("pssh: 3 hosts: 1 ok, 1 exit, 1 cancelled\n");
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn a_command_that_ignores_being_stopped_is_killed() {
    let fleet = Fleet::new(2);
    let line = "trap '' TERM INT HUP; echo begun; while :; do sleep 0.2; done";
    let running = fleet.pssh().args(["--", line]).start();
    fleet.sshd.wait_for_processes("trap", 2);
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT).within(SOON).stderr_has("pssh: 2 hosts: 2 cancelled\n");
    fleet.sshd.wait_for_processes("", 0);
}

/// A server that stops to react when the command has begun: pssh waits for it as long as its patience lasts.
fn frozen(env: &Env) -> Server {
    let steps = vec![Step::Stdout(b"begun\n".to_vec()), Step::Freeze];
    server(env, Config { behaviour: Behaviour::Script(steps), ..Config::default() })
}

#[test]
fn a_server_that_is_frozen_cannot_hold_up_the_end() {
    let env = Env::new();
    let server = frozen(&env);
    let mut running = env.pssh().hosts([server.addr()]).arg("x").start();
    running.wait_for("begun");
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT).within(SOON).ends("127.0.0.1", "cancelled: stopped while running");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let env = Env::new();
    let server = frozen(&env);
    let mut running = env.pssh().hosts([server.addr()]).arg("x").start();
    running.wait_for("begun");
    running.signal(Signal::INT);
    // Two signals in one moment would be one.
    thread::sleep(Duration::from_millis(500));
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT).stderr_lacks("cancelled");
}

#[test]
fn a_second_signal_may_be_another_one() {
    let env = Env::new();
    let server = frozen(&env);
    let mut running = env.pssh().hosts([server.addr()]).arg("x").start();
    running.wait_for("begun");
    running.signal(Signal::INT);
    thread::sleep(Duration::from_millis(500));
    running.signal(Signal::TERM);
    running.finish().dies_by(Signal::TERM).stderr_lacks("cancelled");
}

#[test]
fn the_first_process_of_a_container_exits_with_the_status_of_the_signal() {
    assert!(nix::unistd::getuid().is_root(), "only root can make a PID namespace");
    for (signals, status, reported) in
        [(&[Signal::TERM][..], 143, true), (&[Signal::INT], 130, true), (&[Signal::TERM, Signal::INT], 130, false)]
    {
        let env = Env::new();
        let server = frozen(&env);
        let namespace = "exec unshare --pid --fork --kill-child \"$@\"";
        let mut running = env.pssh().hosts([server.addr()]).arg("x").shell(namespace).start();
        running.wait_for("begun");
        let children = format!("/proc/{0}/task/{0}/children", running.id());
        let children = fs::read_to_string(children).expect("the children of unshare");
        let pssh = Pid::from_raw(children.trim().parse().expect("one process")).expect("a process");
        for signal in signals {
            kill_process(pssh, *signal).expect("pssh is there");
            thread::sleep(Duration::from_millis(500));
        }
        let run = running.finish();
        run.exits(status).check(run.outcomes().is_empty() != reported, "every host is reported, unless abandoned");
    }
}

#[test]
fn hosts_that_do_not_answer_are_given_up_at_once() {
    for fault in [
        Fault::SilentBanner,
        Fault::BannerThenSilence,
        Fault::EndlessPreBanner,
        Fault::StallAuth,
        Fault::StallChannelOpen,
    ] {
        let env = Env::new();
        let server = server(&env, Config { fault: Some(fault.clone()), ..Config::default() });
        let running = env.pssh().hosts([server.addr(), server.addr()]).args(["-p", "1", "x"]).start();
        let reached = server.wait_until(Duration::from_secs(20), |server| match fault {
            Fault::StallChannelOpen => server.logged().iter().any(|record| record.event == Event::ChannelOpen),
            _ => server.connections() > 0,
        });
        assert!(reached, "{fault:?}: no connection");
        running.signal(Signal::INT);
        let run = running.finish();
        run.dies_by(Signal::INT).within(SOON);
        let outcomes: Vec<String> = run.outcomes().into_iter().map(|(_, outcome)| outcome).collect();
        // The one that waited can be reported first.
        let expected = ["cancelled: never started", "cancelled: stopped while connecting"];
        let fits = expected.iter().all(|words| outcomes.iter().any(|outcome| outcome == words));
        run.check(fits && outcomes.len() == 2, &format!("{fault:?}: {outcomes:?}"));
    }
}

#[test]
fn ignored_signals_stay_ignored() {
    // As under nohup(1), or in the background of a shell without job control.
    for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT)] {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup::default());
        let script = format!("trap '' {name}; exec \"$@\"");
        let mut running =
            env.pssh().hosts(sshd.hosts()).args(["--", "echo begun; sleep 2; echo done"]).shell(&script).start();
        running.wait_for("begun");
        running.signal(signal);
        let run = running.finish();
        run.exits(0).stdout_is("127.0.1.1: begun\n127.0.1.1: done\n");
    }
}

// Readers.

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let endless = "exec yes";
    // The second line is what finds the reader gone; the command itself would not notice.
    let quiet = "echo 1; sleep 1; echo 2; exec sleep 977";
    for line in [endless, quiet] {
        let fleet = Fleet::new(3);
        let run = fleet.pssh().args(["--", line]).shell("{ \"$@\"; echo \"status $?\" >&2; } | head -1").run();
        run.exits(0).within(SOON);
        run.check(run.stdout.starts_with(b"127.0.1.") && run.stdout.ends_with(b"\n"), "a line");
        run.check(run.stdout.iter().filter(|byte| **byte == b'\n').count() == 1, "one line");
        run.check(run.stderr == b"status 141\n", "death by SIGPIPE and not a word");
        fleet.sshd.wait_for_processes("", 0);
    }
}

#[test]
fn a_reader_that_never_reads_anything() {
    let fleet = Fleet::new(2);
    let run = fleet.pssh().args(["--", "exec yes"]).shell("{ \"$@\"; echo \"status $?\" >&2; } | true").run();
    run.exits(0).within(SOON).check(run.stderr == b"status 141\n", "death by SIGPIPE and not a word");
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn a_disk_that_is_full_is_our_failure() {
    let fleet = Fleet::new(2);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let run = fleet.pssh().args(["--", "echo x; exec sleep 977"]).stdout_to(full).run();
    run.exits(1).within(SOON).stderr_has("pssh: cannot write to standard output: No space left on device\n");
    run.stderr_has("pssh: 2 hosts: 2 cancelled\n").stderr_lacks("os error");
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn a_disk_that_is_full_at_the_very_end() {
    let fleet = Fleet::new(1);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let run = fleet.pssh().args(["--", "printf 'no newline'"]).stdout_to(full).run();
    run.exits(1).stderr_has("pssh: cannot write to standard output: No space left on device\n");
}

#[test]
fn closed_standard_output_is_nobody_elses() {
    // Otherwise a socket would get the number 1, and the output of one host would go to another.
    let fleet = Fleet::new(4);
    let run = fleet.pssh().args(["--format", "none", "--", "echo out; echo err >&2"]).close_stdout().run();
    run.exits(0).stdout_is("").check(run.stderr.is_empty(), "not a word");
}

#[test]
fn output_that_would_be_lost_is_refused_before_anything_connects() {
    let fleet = Fleet::new(2);
    let closed = "pssh: standard output is closed, so all output would be lost; to discard it use > /dev/null\n";
    for args in [
        &["--", "echo out"][..],
        &["-i", "--", "echo out"],
        &["--format", "gather", "--", "echo out"],
        &["--json", "--", "echo out"],
        &["--dry-run", "--", "echo out"],
        &["--explain"],
    ] {
        let run = fleet.pssh().args(args).close_stdout().run();
        run.exits(1).check(run.stderr_text() == closed, &format!("{args:?}"));
    }
    fleet.pssh().arg("--help").close_stdout().run().exits(1).stderr_has(closed.trim_end());
    let run = fleet.pssh().args(["-I", "cat"]).shell("exec \"$@\" <&-").run();
    run.exits(1).check(run.stderr_text() == "pssh: -I: standard input is closed\n", "no empty input instead");
    assert_eq!(fleet.sshd.connections(), 0);
    // A /dev/null that the user has chosen is fine, however it was opened.
    let run = fleet.pssh().args(["--", "echo out"]).shell("exec \"$@\" 1<>/dev/null").run();
    run.exits(0).stderr_has("pssh: 2 hosts: 2 ok\n");
    // Standard error may be closed: the exit status tells.
    let run = fleet.pssh().args(["--", "echo out; exit 3"]).shell("exec \"$@\" 2>&-").run();
    run.exits(5).check(run.stdout_of(&fleet.sshd.label()) == b"out\n", "the output");
}

#[test]
fn all_standard_streams_closed() {
    let fleet = Fleet::new(2);
    let run = fleet
        .pssh()
        .args(["--format", "none", "--", "echo out; echo err >&2; exit 3"])
        .shell("\"$@\" <&- >&- 2>&-; echo \"status $?\"")
        .run();
    run.exits(0).stdout_is("status 5\n");
}

#[test]
fn a_slow_reader_slows_the_hosts_and_loses_nothing() {
    const LINES: usize = 2_000_000;
    let fleet = Fleet::new(6);
    let mut running = fleet.pssh().args(["--", &format!("seq {LINES}")]).hold_stdout().limit(180).start();
    let stdout = running.take_stdout();
    // Long enough for everything to pile up that can.
    thread::sleep(Duration::from_secs(4));
    let asleep = running.peak_kib();
    assert!(running.is_running(), "it ended although nobody has read its output");
    let reader = thread::spawn(move || {
        let mut next = [1_usize; 6];
        for line in BufReader::with_capacity(1 << 18, stdout).lines() {
            let line = line.expect("text");
            let (label, number) = line.split_once(": ").expect("a prefix");
            let host: usize = label.strip_prefix("127.0.1.").expect("a host").parse().expect("a number");
            assert_eq!(number, next[host - 1].to_string(), "{label}");
            next[host - 1] += 1;
        }
        next
    });
    let run = running.finish();
    let next = reader.join().expect("every line of every host, in order");
    run.exits(0).check(next == [LINES + 1; 6], &format!("all lines, not {next:?}"));
    run.check(asleep < 60 * 1024 && run.peak_kib < 60 * 1024, &format!("little memory, not {asleep} KiB"));
}

#[test]
fn a_reader_that_sleeps_cannot_keep_it_from_being_stopped() {
    let fleet = Fleet::new(3);
    let mut running = fleet.pssh().args(["--", "exec yes"]).hold_stdout().start();
    let mut stdout = running.take_stdout();
    fleet.sshd.wait_for_processes("yes", 3);
    thread::sleep(Duration::from_secs(1));
    running.signal(Signal::INT);
    // The commands are stopped although nothing can be printed; the second signal needs no reader either.
    fleet.sshd.wait_for_processes("", 0);
    running.signal(Signal::INT);
    running.finish().dies_by(Signal::INT).within(SOON);
    let mut bytes = Vec::new();
    stdout.read_to_end(&mut bytes).expect("a pipe");
    assert!(bytes.starts_with(b"127.0.1."), "what was printed before");
}

#[test]
fn a_reader_that_never_wakes_cannot_hold_up_the_end() {
    let fleet = Fleet::new(3);
    for stop in [Some(Signal::INT), Some(Signal::TERM), None] {
        let limit: &[&str] = if stop.is_none() { &["--total-timeout", "3"] } else { &[] };
        let mut running = fleet.pssh().args(limit).args(["--", "exec yes"]).hold_stdout().start();
        let _asleep = running.take_stdout();
        fleet.sshd.wait_for_processes("yes", 3);
        thread::sleep(Duration::from_secs(1));
        stop.into_iter().for_each(|signal| running.signal(signal));
        let run = running.finish();
        match stop {
            Some(signal) => run.dies_by(signal),
            None => run.exits(1),
        };
        run.within(SOON).stderr_has("pssh: 3 hosts: 3 cancelled\n");
        run.stderr_has("cannot write to standard output: its reader does not read\n");
        fleet.sshd.wait_for_processes("", 0);
    }
}

#[test]
fn a_reader_that_wakes_after_the_signal_gets_the_report() {
    let fleet = Fleet::new(3);
    let mut running = fleet.pssh().args(["--", "exec yes"]).hold_stdout().start();
    let mut stdout = running.take_stdout();
    fleet.sshd.wait_for_processes("yes", 3);
    thread::sleep(Duration::from_secs(1));
    running.signal(Signal::INT);
    thread::sleep(Duration::from_millis(500));
    let reader = thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    let run = running.finish();
    reader.join().expect("a reader").expect("a pipe");
    run.dies_by(Signal::INT).stderr_has("pssh: 3 hosts: 3 cancelled\n");
}

#[test]
fn nobody_is_left_connected() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let hosts: Vec<SocketAddr> = vec![server.addr(); 5];
    let mut running = env.pssh().hosts(&hosts).args(["-p", "5", "--", "echo begun; sleep 977"]).start();
    running.wait_for("begun");
    let all = server.wait_until(Duration::from_secs(20), |server| server.running() == 5);
    assert!(all, "five commands run on {}", Ipv4Addr::LOCALHOST);
    running.signal(Signal::TERM);
    running.finish().dies_by(Signal::TERM);
    let gone =
        server.wait_until(Duration::from_secs(10), |server| server.running() == 0 && server.open_connections() == 0);
    assert!(gone, "{} commands and {} connections are left", server.running(), server.open_connections());
    let goodbyes = server.logged().into_iter().filter(|record| record.event == Event::Disconnect).count();
    assert_eq!(goodbyes, 5, "each connection was ended in good order");
}
