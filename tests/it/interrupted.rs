//! Ctrl-C and other signals, as the user is told of them: the first one how many hosts are stopped, the second one where the command may
//! still run.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::bin::{Env, Pssh, Run, Running};
use crate::embedded::{Behaviour, Config, Fault, Server, Step};
use crate::pty::Pty;
use crate::schema::Schema;
use crate::sshd::Fleet;

/// A server whose commands begin and then answer nothing any more, or that has another fault, on so many addresses.
fn server(env: &Env, addresses: u8, fault: Option<Fault>) -> Server {
    let steps = vec![Step::Stdout(b"begun\n".to_vec()), Step::Freeze];
    let server = Server::start(Config {
        addresses: (1..=addresses).map(|number| [127, 0, 4, number].into()).collect(),
        authorised: env.public_lines(),
        behaviour: Behaviour::Script(steps),
        fault,
        ..Config::default()
    });
    env.trust(&server.known_hosts());
    server
}

/// A run on three hosts that do not stop, and one that was never reached.
fn begun(env: &Env, server: &Server, args: &[&str]) -> Running {
    let hosts = (1..=4).map(|number| format!("127.0.4.{number}:{}", server.port()));
    let running = env.pssh().hosts(hosts).args(["-p3"]).args(args).arg("x").start();
    assert!(server.wait_until(Duration::from_secs(20), |server| server.commands().len() == 3), "three commands run");
    running
}

/// Waits until the run has said so, and a little longer: two signals in one moment would be one.
fn said(running: &mut Running, text: &str) {
    running.wait_for(text);
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn the_first_signal_is_told_with_what_the_next_one_does() {
    for (signal, line) in [
        (Signal::INT, "pssh: stopping 3 hosts; press Ctrl-C again to abandon them\n"),
        (Signal::TERM, "pssh: stopping 3 hosts (SIGTERM); another signal abandons them\n"),
        (Signal::HUP, "pssh: stopping 3 hosts (SIGHUP); another signal abandons them\n"),
    ] {
        let fleet = Fleet::new(4);
        for args in [&[][..], &["-q"], &["-i"], &["--format=none"]] {
            let running = fleet.pssh().args(["-p3"]).args(args).args(["--", "sleep 977"]).start();
            fleet.sshd.wait_for_processes("sleep 977", 6);
            running.signal(signal);
            let run = running.finish();
            run.dies_by(signal).check(run.stderr_text().starts_with(line), &format!("{args:?}: {line:?} comes first"));
            run.check(run.stderr_text().matches("stopping").count() == 1, "once");
        }
    }
}

#[test]
fn the_second_signal_names_the_hosts_where_the_command_may_run() {
    let env = Env::new();
    for args in [&[][..], &["-q"], &["--format=status"]] {
        let server = server(&env, 4, None);
        let mut running = begun(&env, &server, args);
        running.signal(Signal::INT);
        said(&mut running, "press Ctrl-C again to abandon them");
        running.signal(Signal::INT);
        let run = running.finish();
        let line = "pssh: abandoned 3 hosts; the command may still be running on 127.0.4.[1-3]\n";
        run.dies_by(Signal::INT).check(run.stderr_text().ends_with(line), &format!("{args:?}: the last line"));
    }
}

#[test]
fn a_host_that_is_connected_to_runs_nothing() {
    let env = Env::new();
    for fault in [Fault::SilentBanner, Fault::StallAuth, Fault::StallChannelOpen] {
        let server = server(&env, 1, Some(fault.clone()));
        let pssh = || env.pssh().hosts([format!("127.0.4.1:{}", server.port())]).args(["--", "x"]);
        let running = pssh().start();
        let connected =
            |count: usize| server.wait_until(Duration::from_secs(20), |server| server.connections() == count);
        assert!(connected(1), "{fault:?}: no connection");
        running.signal(Signal::INT);
        let run = running.finish();
        run.dies_by(Signal::INT).ends("127.0.4.1", "cancelled: stopped while connecting");
        run.stderr_has("pssh: stopping 1 host; press Ctrl-C again to abandon it\n");
    }
}

/// The events of a run, each as the schema says, and the last one.
fn events(run: &Run) -> Vec<Value> {
    let events: Vec<Value> =
        run.stdout_text().lines().map(|line| serde_json::from_str(line).expect("whole lines of JSON")).collect();
    events.iter().for_each(|event| Schema::events().check(event));
    events
}

#[test]
fn programs_are_told_too() {
    let env = Env::new();
    let server = server(&env, 4, None);
    let mut running = begun(&env, &server, &["--json"]);
    running.signal(Signal::INT);
    said(&mut running, "\"event\":\"stopping\"");
    running.signal(Signal::TERM);
    let run = running.finish();
    run.dies_by(Signal::TERM).stderr_has("may still be running on 127.0.4.[1-3]");
    let events = events(&run);
    let of = |name: &str| events.iter().find(|event| event["event"] == name).cloned().unwrap_or_default();
    run.check(of("stopping")["signal"] == "INT" && of("stopping")["hosts"] == 3, "the first signal");
    let last = &events[events.len() - 1];
    run.check(last["event"] == "abandoned" && last["signal"] == "TERM" && last["hosts"] == 3, "the second one");
    let named: Vec<_> = last["may_still_run"].as_array().expect("a list").iter().map(|host| &host["label"]).collect();
    run.check(named == ["127.0.4.1", "127.0.4.2", "127.0.4.3"], &format!("{last}"));
    run.check(last["may_still_run"][2]["index"] == 2, "which of them");

    let fleet = Fleet::new(2);
    let running = fleet.pssh().args(["--json", "--", "sleep 977"]).start();
    fleet.sshd.wait_for_processes("sleep 977", 4);
    running.signal(Signal::TERM);
    let run = running.finish();
    run.dies_by(Signal::TERM);
    let events = self::events(&run);
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    run.check(names == ["run_start", "start", "start", "stopping", "end", "end", "run_end"], &format!("{names:?}"));
}

#[test]
fn a_reader_that_sleeps_keeps_nobody_from_being_told() {
    let fleet = Fleet::new(2);
    let mut running = fleet.pssh().args(["--", "exec yes"]).hold_stdout().start();
    let stdout = running.take_stdout();
    fleet.sshd.wait_for_processes("yes", 2);
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::INT);
    // The output itself would say it once it has given the reader up, after two seconds.
    std::thread::sleep(Duration::from_millis(700));
    running.signal(Signal::INT);
    let run = running.finish();
    drop(stdout);
    let said = run.stderr_text();
    run.dies_by(Signal::INT).check(said.matches("pssh: stopping 2 hosts; press Ctrl-C").count() == 1, "once");
}

#[test]
fn nothing_is_started_after_the_first_signal() {
    // Hosts that have logged in wait to tell it while the reader of the output sleeps.
    let env = Env::new();
    let config = Config {
        addresses: (1..=20).map(|number| [127, 0, 5, number].into()).collect(),
        authorised: env.public_lines(),
        behaviour: Behaviour::Lines { bytes: 1 << 30 },
        ..Config::default()
    };
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    let hosts: Vec<String> = (1..=20).map(|number| format!("127.0.5.{number}:{}", server.port())).collect();
    let mut running = env.pssh().hosts(&hosts).args(["-p", "20", "--", "x"]).hold_stdout().start();
    let stdout = running.take_stdout();
    std::thread::sleep(Duration::from_secs(3));
    let at = std::time::Instant::now();
    running.signal(Signal::INT);
    let run = running.finish();
    drop(stdout);
    run.dies_by(Signal::INT);
    let is_exec = |event: &crate::embedded::Event| matches!(event, crate::embedded::Event::Exec { .. });
    let log = server.logged();
    let late =
        log.iter().filter(|record| is_exec(&record.event) && record.at > at + Duration::from_millis(300)).count();
    let all = log.iter().filter(|record| is_exec(&record.event)).count();
    run.check(late == 0 && all > 0, &format!("{late} of {all} commands were started after the signal"));
}

#[test]
fn nothing_is_said_where_nothing_is_stopped() {
    let env = Env::new();
    let refused = crate::embedded::refused_address([127, 0, 0, 1].into()).expect("a free port");
    let mut running = env.pssh().args(["-v", "--retry-delay", "300"]).hosts([refused]).arg("true").start();
    running.wait_for("attempt 1 failed");
    running.signal(Signal::INT);
    running.finish().dies_by(Signal::INT).stderr_lacks("stopping");
}

// On a terminal.

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

#[test]
fn ctrl_c_talks_on_a_terminal_whatever_its_size() {
    for (before, after) in [(SIZES[0], SIZES[1]), (SIZES[1], SIZES[0])] {
        let env = Env::new();
        let server = server(&env, 3, None);
        let hosts = (1..=3).map(|number| format!("127.0.4.{number}:{}", server.port()));
        let pty = Pty::new();
        pty.resize(before.0, before.1);
        let pssh: Pssh = env.pssh().hosts(hosts).variable("TERM", "xterm").args(["--color=never", "x"]);
        let running = pty.show(pssh).start();
        pty.wait_for("0/3 3 running", 1);
        pty.resize(after.0, after.1);
        pty.type_in("\x03");
        let stopping = "pssh: stopping 3 hosts; press Ctrl-C again to abandon them";
        let is_told = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines.contains(&stopping) && lines.last().is_some_and(|last| last.contains("0/3 3 stopping, 0:0"))
        };
        pty.wait_for_screen(after.0, after.1, is_told);
        pty.type_in("\x03");
        running.finish().exits(128 + Signal::INT.as_raw());
        let text = pty.screen(after.0, after.1).contents();
        let last = "pssh: abandoned 3 hosts; the command may still be running on 127.0.4.[1-3]";
        assert!(text.trim_end().ends_with(last) && !text.contains("stopping,"), "{text}");
    }
}
