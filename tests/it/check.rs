//! `--check`: what is repeated on a host after its command until it passes, also across a reboot.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;
use rustix::process::Signal;
use serde_json::Value;

use crate::bin::{Env, Pssh, Run, Running};
use crate::embedded::{Behaviour, Config, Event, Server};
use crate::passwords::secret_file;
use crate::schema::Schema;
use crate::sshd::{Setup, Sshd, hosts};
use crate::sudo;

/// Seconds that are longer than anything takes but a hang.
const SOON: u64 = 30;
/// A pause that takes a test no time.
const FAST: [&str; 2] = ["--check-interval", "0.2"];

struct Lab {
    env: Env,
    sshd: Sshd,
}

impl Lab {
    fn new(count: usize) -> Lab {
        let (env, sshd) = hosts(count);
        Lab { env, sshd }
    }

    fn pssh(&self, args: &[&str]) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts()).args(args)
    }

    /// A file that the commands see.
    fn file(&self, name: &str) -> String {
        self.env.path(name).display().to_string()
    }

    fn label(&self) -> String {
        self.sshd.label()
    }

    /// A check that counts its tries in a file, and passes at the fourth.
    fn fourth(&self) -> String {
        let counter = self.file("counter");
        format!(
            "n=$(cat {counter} 2>/dev/null); echo $n >> {counter}.log; n=$((n+1)); echo $n > {counter}; echo \"try $n\"; test $n -ge 4"
        )
    }
}

/// The `end` events, each as the schema says.
fn ends(run: &Run) -> Vec<Value> {
    let text = run.stdout_text();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let schema = Schema::events();
    let events: Vec<Value> = events.inspect(|event| schema.check(event)).collect();
    events.into_iter().filter(|event| event["event"] == "end").collect()
}

/// Waits for a file that a command makes.
fn wait_for_file(path: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !PathBuf::from(path).exists() {
        assert!(Instant::now() < deadline, "{path} was never made");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits a little longer than it takes until a run notices something.
fn settle() {
    thread::sleep(Duration::from_millis(500));
}

#[test]
fn it_is_repeated_on_the_same_connection_until_it_passes() {
    let lab = Lab::new(1);
    let run = lab.pssh(&["-v", "--check", &lab.fourth()]).args(FAST).args(["--", "echo once"]).run();
    run.exits(0).ends(&lab.label(), "ok (exit 0)");
    run.check(run.stdout_of(&lab.label()) == b"once\n", "only the command's own output");
    run.stderr_has("check, try 3: exit 1: \"try 3\"").stderr_has("check, try 4: exit 0: \"try 4\"");
    assert_eq!(lab.sshd.connections(), 1, "{}", lab.sshd.log());
    fs::remove_file(lab.file("counter")).expect("the counter");
    let json = lab.pssh(&["--json", "--check", &lab.fourth()]).args(FAST).args(["--", "true"]).run();
    json.exits(0);
    let check = &ends(&json)[0]["check"];
    assert_eq!((&check["tries"], &check["passed"], &check["output"]), (&4.into(), &true.into(), &"try 4".into()));
}

#[test]
fn a_command_that_fails_is_not_checked() {
    let lab = Lab::new(1);
    let check = format!("touch {}", lab.file("checked"));
    lab.pssh(&["--check", &check, "--", "exit 3"]).run().exits(5).ends(&lab.label(), "exit 3");
    lab.pssh(&["--check", &check, "--success", "0,2", "--", "exit 3"]).run().exits(5);
    assert!(!PathBuf::from(lab.file("checked")).exists());
    // What counts as success is.
    lab.pssh(&["--check", &check, "--success", "0,3", "--", "exit 3"]).run().exits(0).ends(&lab.label(), "exit 3");
    assert!(PathBuf::from(lab.file("checked")).exists());
}

#[test]
fn its_time_is_over_at_last() {
    let lab = Lab::new(2);
    let check = "echo; echo 'still starting'; echo; exit 3";
    let limited = ["--check", check, "--check-timeout", "1.5", "--check-interval", "0.4"];
    let reports = ["--failed-to", "failed", "--junit", "junit.xml"];
    let run = lab.pssh(&limited).args(reports).args(["--", "echo up"]).run();
    run.exits(5).within(SOON).stderr_has("pssh: 2 hosts: 2 check\n");
    for label in lab.sshd.labels() {
        run.ends(&label, "check: not passed within 1.5 s, ").stderr_has(" tries: exit 3: \"still starting\"\n");
    }
    run.hints(&lab.label(), "the command succeeded; a longer --check-timeout gives the check more time");
    run.check(run.time >= Duration::from_secs(1), "it was repeated");
    let failed = fs::read_to_string(lab.env.path("failed")).expect("the list");
    assert_eq!(failed.lines().count(), 2);
    let junit = fs::read_to_string(lab.env.path("junit.xml")).expect("the report");
    assert!(junit.contains("failures=\"2\" errors=\"0\"") && junit.contains("<failure type=\"check\""), "{junit}");
    let json = lab.pssh(&limited).args(["--json", "--", "true"]).run();
    let end = &ends(&json)[0];
    assert_eq!((&end["outcome"], &end["success"], &end["exit_status"]), (&"check".into(), &false.into(), &0.into()));
    let check = &end["check"];
    assert_eq!(
        (&check["passed"], &check["exit_status"], &check["message"]),
        (&false.into(), &3.into(), &"exit 3".into())
    );
    assert!(check["tries"].as_u64() >= Some(2), "{check}");
    // A failed check counts for budgets.
    let stopped = lab.pssh(&limited).args(["-p1", "--stop-on-errors=1", "--", "true"]).run();
    stopped.exits(3).stderr_has("1 check").stderr_has("1 cancelled");
}

#[test]
fn a_last_try_without_time_does_not_hide_the_one_before() {
    let lab = Lab::new(1);
    let check = "echo 'not yet'; sleep 0.3; exit 1";
    let slow = ["--check", check, "--check-timeout", "2.2", "--check-interval", "0.1"];
    for _ in 0..3 {
        let run = lab.pssh(&slow).args(["--", "true"]).run();
        run.exits(5).ends(&lab.label(), "check: not passed within 2.2 s, ").stderr_has(" tries: exit 1: \"not yet\"\n");
    }
}

#[test]
fn one_that_hangs_is_stopped_at_its_end() {
    let lab = Lab::new(1);
    let run = lab.pssh(&["--check", "echo waiting; sleep 961", "--check-timeout", "2", "--", "true"]).run();
    run.exits(5).within(SOON);
    run.ends(&lab.label(), "check: not passed within 2 s, 1 try: the last one had not ended: \"waiting\"");
    lab.sshd.wait_for_processes("sleep 961", 0);
}

/// Starts a run whose command says that it has begun, and waits for that.
fn begun(lab: &Lab, args: &[&str]) -> Running {
    begun_before(lab, &[], args)
}

/// The same, with other hosts after that one.
fn begun_before(lab: &Lab, others: &[&str], args: &[&str]) -> Running {
    let begun = lab.file("begun");
    let command = format!("touch {begun}; sleep 60");
    let running = lab.pssh(args).hosts(others).args(FAST).args(["--", &command]).limit(60).start();
    wait_for_file(&begun);
    settle();
    running
}

#[test]
fn a_host_that_comes_back_is_checked_over_a_new_connection() {
    let mut lab = Lab::new(1);
    // It passes only after the reboot.
    let check = format!("test -e {}", lab.file("rebooted"));
    let running = begun(&lab, &["-v", "--success", "0,lost", "--check", &check]);
    lab.sshd.go_down();
    thread::sleep(Duration::from_secs(1));
    lab.env.file("rebooted", "");
    lab.sshd.come_back();
    let run = running.finish();
    run.exits(0).within(SOON).ends(&lab.label(), "lost: ");
    run.stderr_has("check, try 1: connect: ").stderr_has("Connection refused");
    assert_eq!(lab.sshd.connections(), 2);
}

#[test]
fn a_reboot_that_begins_after_the_command_has_ended() {
    let mut lab = Lab::new(1);
    let (check, asked) =
        (format!("touch {0}; test -e {1}", lab.file("asked"), lab.file("rebooted")), lab.file("asked"));
    let running = lab.pssh(&["-v", "--check", &check]).args(FAST).args(["--", "true"]).start();
    wait_for_file(&asked);
    settle();
    lab.sshd.go_down();
    settle();
    lab.env.file("rebooted", "");
    lab.sshd.come_back();
    let run = running.finish();
    run.exits(0).within(SOON).ends(&lab.label(), "ok (exit 0)").stderr_has("check, try 1: exit 1");
    assert_eq!(lab.sshd.connections(), 2);
}

#[test]
fn a_host_that_never_comes_back() {
    let mut lab = Lab::new(1);
    let running = begun(&lab, &["--success", "0,lost", "--check", "true", "--check-timeout", "2"]);
    lab.sshd.go_down();
    let run = running.finish();
    run.exits(5).within(SOON).ends(&lab.label(), "check: not passed within 2 s, ");
    run.stderr_has(" tries: connect: 127.0.1.1 port ").stderr_has("Connection refused");
}

#[test]
fn a_host_that_comes_back_with_another_key_is_refused_at_once() {
    let mut lab = Lab::new(1);
    let check = format!("touch {}", lab.file("checked"));
    let running = begun(&lab, &["--success", "0,lost", "--check", &check, "--check-timeout", "5m"]);
    lab.sshd.go_down();
    lab.sshd.change_host_key();
    lab.sshd.come_back();
    let run = running.finish();
    run.exits(5).within(SOON).stderr_has("has CHANGED");
    run.ends(&lab.label(), "check: not repeated after ").stderr_has(": hostkey: the key of [127.0.1.1]:");
    assert!(!PathBuf::from(lab.file("checked")).exists());
    assert_eq!(lab.sshd.connections(), 2);
}

/// The connection stays open, and nobody answers any more, as after a power cut.
#[test]
fn a_host_that_vanishes_is_given_up_within_seconds() {
    let lab = Lab::new(1);
    let (marks, quick) = (["first", "second"].map(|name| lab.file(name)), ["-v", "--check-timeout", "5m"]);
    // In the check's run, and between two tries.
    for (check, told) in [
        (
            format!("test -e {0} && exit 0; touch {0}; kill -STOP $PPID; sleep 90", marks[0]),
            "check, try 1: lost: no sign of life from the host for 9 s",
        ),
        (
            format!(
                "test -e {0} && exit 0; touch {0}; p=$PPID; (sleep 0.3; kill -STOP $p) >/dev/null 2>&1 & exit 1",
                marks[1]
            ),
            "check, try 2: timeout connect: no session channel within 10 s",
        ),
    ] {
        let pssh = lab.pssh(&quick).args(["--check-interval", "1", "--check", &check, "--", "true"]);
        let run = pssh.run();
        run.exits(0).within(25).ends(&lab.label(), "ok (exit 0)").stderr_has(told);
    }
}

#[test]
fn a_slow_check_is_not_taken_for_a_vanished_host() {
    let lab = Lab::new(1);
    let run = lab.pssh(&["-v", "--check", "sleep 13", "--", "true"]).run();
    run.exits(0).stderr_has("check, try 1: exit 0");
    assert_eq!(lab.sshd.connections(), 1);
}

#[test]
fn a_signal_ends_it_at_once() {
    let lab = Lab::new(1);
    let cancelled = |running: Running| {
        running.signal(Signal::INT);
        let run = running.finish();
        run.dies_by(Signal::INT)
            .within(10)
            .ends(&lab.label(), "cancelled: stopped while checking, after the command had succeeded");
        run.stderr_has("pssh: stopping 1 host; press Ctrl-C again to abandon it");
    };
    // While it runs.
    let running = lab.pssh(&["--check", "sleep 962; true", "--", "true"]).start();
    lab.sshd.wait_for_processes("sleep 962", 2);
    cancelled(running);
    lab.sshd.wait_for_processes("sleep 962", 0);
    // In the pause.
    let asked = lab.file("asked");
    let check = format!("touch {asked}; exit 1");
    let pause = ["--check", &check, "--check-interval", "5m", "--check-timeout", "1h"];
    let running = lab.pssh(&pause).args(["--", "true"]).start();
    wait_for_file(&asked);
    settle();
    cancelled(running);
    // The time of the whole run.
    let run = lab.pssh(&pause).args(["--total-timeout", "1", "--", "true"]).run();
    run.exits(3).within(10).ends(
        &lab.label(),
        "cancelled: stopped while checking, after the command had succeeded, since the run has taken 1 s",
    );
}

#[test]
fn a_signal_ends_a_new_connection_too() {
    let mut lab = Lab::new(1);
    let running = begun(&lab, &["--success", "lost", "--check", "true", "--check-timeout", "5m"]);
    lab.sshd.go_down();
    // Somebody takes the connection, and says nothing.
    let silent = std::net::TcpListener::bind((lab.label().as_str(), lab.sshd.port())).expect("the port is free");
    let (stream, _) = silent.accept().expect("a connection");
    settle();
    running.signal(Signal::INT);
    let run = running.finish();
    drop(stream);
    run.dies_by(Signal::INT)
        .within(SOON)
        .ends(&lab.label(), "cancelled: stopped while checking, after the command had succeeded");
}

#[test]
fn a_refused_password_is_not_repeated() {
    const PASSWORD: &str = "s3cret words";
    let env = Env::without_key();
    let config = |password: &str, port| Config {
        password: Some(password.to_owned()),
        behaviour: Behaviour::answer("", "", 0),
        port,
        ..Config::default()
    };
    let key = crate::embedded::Key::generate(crate::embedded::KeyKind::Ed25519);
    let with_key = |config: Config| Config { host_keys: vec![key.clone()], ..config };
    let server = Server::start(with_key(Config { ..config(PASSWORD, 0) }.on("check", Behaviour::answer("", "", 1))));
    env.trust(&server.known_hosts());
    let (address, port) = (server.addr(), server.port());
    let file = secret_file(&env, "password", PASSWORD);
    let pssh = env.pssh().hosts([address]).arg("--password-file").arg(file);
    let running = pssh.args(["--check", "check", "--check-timeout", "5m"]).args(FAST).args(["--", "true"]).start();
    assert!(server.wait_until(Duration::from_secs(20), |server| server.commands().len() >= 2), "a try");
    // Another password is right now.
    drop(server);
    let server = Server::start(with_key(config("another", port)));
    let run = running.finish();
    run.exits(5).within(SOON).ends("127.0.0.1", "check: not repeated after ").stderr_has(": auth: ");
    run.hints("127.0.0.1", "the command succeeded; a password that may have been refused is not sent again");
    let refused = |event: &Event| matches!(event, Event::Auth { method, .. } if *method == "password");
    let count = server.logged().iter().filter(|record| refused(&record.event)).count();
    assert_eq!(count, 1, "the password was sent once");
}

#[test]
fn values_for_each_host_fill_it_in_too() {
    let lab = Lab::new(2);
    let values = lab.env.file("values.csv", "a b\n'c'\n");
    let values = values.display().to_string();
    let args = ["--host-args", &values, "--check", "test %q = \"$(cat \"FILE.$PSSH\")\""];
    let file = lab.file("value");
    let check = args[3].replace("FILE.$PSSH", &format!("{file}.${{SSH_CONNECTION#* * }}"));
    let command = format!("printf %%s %q > \"{file}.${{SSH_CONNECTION#* * }}\"");
    let run = lab.pssh(&["--host-args", &values, "--check-timeout", "3", "--check", &check, "--", &command]).run();
    run.exits(0);
    let dry = lab.pssh(&["--template", "--check", "test %(index)s = 1", "--dry-run", "--", "echo %(host)q"]).run();
    let expected = "127.0.1.1: echo '127.0.1.1'\n127.0.1.1: check: test 0 = 1\n\
         127.0.1.2: echo '127.0.1.2'\n127.0.1.2: check: test 1 = 1\n";
    dry.exits(0).stdout_is(expected);
    // Without values a percent sign is one, and values in the hosts file are for those that use them.
    let list = lab.env.file("list", format!("{} arg.rack='r 1'\n", lab.sshd.hosts()[0]));
    let of_list = |check: &str, command: &str| {
        let pssh = lab.env.pssh().arg("-h").arg(&list).args(["--check", check, "--dry-run", "--", command]);
        pssh.run().stdout_text()
    };
    assert_eq!(of_list("x %(rack)q", "date +%s"), "127.0.1.1: date +%s\n127.0.1.1: check: x 'r 1'\n");
    assert_eq!(of_list("date +%s", "x %(rack)q"), "127.0.1.1: x 'r 1'\n127.0.1.1: check: date +%s\n");
    // The shell of the command reads it.
    let shell =
        lab.pssh(&["--shell", "bash -c", "--check", "[[ -n $BASH_VERSION ]]", "--check-timeout", "3", "true"]).run();
    shell.exits(0);
}

#[test]
fn sudo_runs_it_too() {
    let Some(fleet) = sudo::Fleet::new(1) else { return };
    let run = fleet.pssh().args(["--sudo", "--check", "test $(id -u) = 0; echo \"as $(id -un)\"; false"]);
    let run = run.args(["--check-timeout", "1.5"]).args(FAST).args(["--", "id -un"]).run();
    run.exits(5).stderr_has("tries: exit 1: \"as root\"");
    run.check(run.stdout_of("127.0.1.1") == b"root\n", "the command's output");
    let passes = fleet.pssh().args(["--sudo", "--check", "test $(id -u) = 0", "--", "true"]).run();
    passes.exits(0);
}

#[test]
fn copies_are_checked_too() {
    let lab = Lab::new(1);
    lab.env.file("file", "new");
    let (target, host) = (lab.file("target"), lab.sshd.hosts()[0].clone());
    let of = |program: Program, check: &str| {
        lab.env.run_of(program).hosts([&host]).args(["--check", check, "--check-timeout", "1.5"]).args(FAST)
    };
    let copied = format!("test \"$(cat {target})\" = new");
    of(Program::Pscp, &copied).args(["file", &target]).run().exits(0);
    let failed = of(Program::Pscp, "echo no; exit 1").args(["file", &target]).run();
    failed.exits(4).check(failed.stdout_text().contains(" check: not passed within 1.5 s"), "the reason");
    // The file has been copied all the same.
    lab.env.file("list", format!("{host}\n{host}\n"));
    let twice = of(Program::Pscp, "exit 1").args(["-h", "list", "file", &target]).run();
    twice.exits(4).stderr_has("pscp: transferred 9 B to 3 hosts in ").stderr_has("pscp: 3 hosts: 3 check\n");
    of(Program::Pslurp, &copied).args([&target, "here"]).run().exits(0);
    of(Program::Prsync, &copied).args(["file", &target]).run().exits(0);
    of(Program::Prsync, "exit 1").args(["file", &target]).run().exits(4);
    let dry = of(Program::Pscp, "x  y").args(["--dry-run", "file", &target]).run();
    dry.exits(0).check(dry.stdout_text().ends_with("127.0.1.1: check: x  y\n"), "the check is shown");
    let nuke = of(Program::Pnuke, "true").args(["--success", "1", "no-such-process-x"]).run();
    nuke.exits(0);
}

#[test]
fn one_channel_at_a_time_is_enough() {
    const HOSTS: usize = 10;
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: HOSTS, config: "MaxSessions 1\n", ..Setup::default() });
    let counter = env.path("counter").display().to_string();
    let check = format!("set -- $SSH_CONNECTION; echo x >> {counter}.$3; test $(wc -l < {counter}.$3) -ge 4");
    let pssh = env.pssh().hosts(sshd.hosts()).args(["--check-interval", "0.01", "--check", &check]);
    pssh.args(["--", "true"]).run().exits(0);
    assert_eq!(sshd.connections(), HOSTS);
}

#[test]
fn a_password_in_its_output_is_not_told() {
    const PASSWORD: &str = "s3cret words";
    let env = Env::without_key();
    let says = Behaviour::answer(&format!("it is {PASSWORD}\n"), "", 1);
    let config = Config { password: Some(PASSWORD.to_owned()), ..Config::default() };
    let server = Server::start(config.on("check", says).on("true", Behaviour::answer("", "", 0)));
    env.trust(&server.known_hosts());
    let file = secret_file(&env, "password", PASSWORD);
    for args in [&["-v"][..], &["--json"], &["--junit", "/dev/stdout"]] {
        let pssh = env.pssh().hosts([server.addr()]).arg("--password-file").arg(&file).args(args);
        let run = pssh.args(["--check", "check", "--check-timeout", "0.5"]).args(FAST).args(["--", "true"]).run();
        run.exits(5);
        let all = run.stdout_text() + &run.stderr_text();
        run.check(!all.contains(PASSWORD) && all.contains("it is ***"), "the password is hidden");
    }
}

#[test]
fn a_host_behind_a_jump_host_is_checked_too() {
    let mut lab = Lab::new(1);
    let jump = Sshd::start(&lab.env, Setup::default());
    let check = format!("test -e {}", lab.file("rebooted"));
    let running = begun(&lab, &["-J", &jump.hosts()[0], "--success", "0,lost", "--check", &check]);
    lab.sshd.go_down();
    settle();
    lab.env.file("rebooted", "");
    lab.sshd.come_back();
    let run = running.finish();
    run.exits(0).within(SOON).ends(&lab.label(), "lost: ");
    assert_eq!((jump.connections(), lab.sshd.connections()), (1, 2));
}

#[test]
fn bad_values_are_refused_before_anything_connects() {
    let lab = Lab::new(1);
    for (args, told) in [
        (&["--check", ""][..], "the check is empty: is a variable in it not set?"),
        (&["--check", " "], "the check is empty: is a variable in it not set?"),
        (&["--check", "x", "--check-timeout", "0"], "0 leaves no time for a try; a check needs a limit, such as 5m"),
        (&["--check", "x", "--check-interval", "0"], "0 would repeat the check without a pause"),
        (&["--check", "x", "--check-timeout", "soon"], "\"soon\" is not a time"),
        (&["--check-timeout", "5m"], "required arguments were not provided:\n  --check <CMD>"),
        (&["--check-interval", "5"], "required arguments were not provided:\n  --check <CMD>"),
        (
            &["--check", "x", "--check-timeout", "5", "--check-interval", "9"],
            "--check-interval 9: the check would be tried only once within --check-timeout 5",
        ),
        (&["--check", "x", "--check-interval", "2m"], "tried only once within --check-timeout 60"),
        (&["--template", "--check", "%z"], "--check: \"%z\" in the command is not supported"),
        (&["--template", "--check", "%(hots)q"], "no value is named \"hots\"; did you mean host?"),
        (&["--template", "--check", "'%(host)q'"], "--check: %q inside quotes would end them"),
        (&["--host-arg", "127.0.1.1=", "--check", "%s"], "the check: the command is empty"),
        (&["--host-arg", "127.0.1.1=a", "--check", "%q %q"], "expected 2 positional values, found 1"),
    ] {
        lab.pssh(args).arg("true").run().exits(2).stderr_has(told);
    }
    lab.pssh(&["--ping", "--check", "x"]).run().exits(2).stderr_has("cannot be used with '--check <CMD>'");
    assert_eq!(lab.sshd.connections(), 0);
}

/// The canary has run its command: it is a failure, not a host that was not reached.
#[test]
fn a_host_with_another_key_stops_the_run_as_a_failure() {
    let mut lab = Lab::new(1);
    let limits = ["--batch", "1", "--stop-on-errors=1", "--stop-on-unreached", "9"];
    let args = [&limits[..], &["--success", "0,lost", "--check", "true", "--check-timeout", "5m"]].concat();
    let running = begun_before(&lab, &["127.0.0.1:1"], &args);
    lab.sshd.go_down();
    lab.sshd.change_host_key();
    lab.sshd.come_back();
    let run = running.finish();
    run.exits(3).within(SOON).stderr_has("cancelled: never started, since a host has failed");
}
