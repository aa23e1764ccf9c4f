//! Rolling runs: batches, failure budgets, pauses, questions, orders, and how fast hosts start.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use pssh::internal::Program;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, Config, Event, Server, Step, refused_address};
use crate::pty::Pty;
use crate::schema::Schema;
use crate::sshd::{Fleet, Setup, Sshd};

const COLUMNS: u16 = 100;
const ROWS: u16 = 30;
const WHY: &str = "cancelled: never started, since a host has failed";

/// A server that answers every command with status 0, but for those that `config` knows.
fn server(env: &Env, config: Config) -> Server {
    let server = Server::start(Config {
        authorised: env.public_lines(),
        only_curve25519: true,
        behaviour: Behaviour::Cheap { stdout: Vec::new(), status: 0 },
        ..config
    });
    env.trust(&server.known_hosts());
    server
}

/// A run of `count` times the same host, whose command has the index of the host in it.
fn indexed(env: &Env, server: &Server, count: usize, args: &[&str]) -> Pssh {
    env.pssh()
        .hosts(vec![server.addr(); count])
        .args(["--template", "--num-retries", "1"])
        .args(args)
        .arg("run %(index)s")
}

/// Such a server whose commands with these indices end with a failure.
fn failing(env: &Env, indices: impl IntoIterator<Item = usize>) -> Server {
    let config = indices
        .into_iter()
        .fold(Config::default(), |config, index| config.on(&format!("run {index}"), Behaviour::answer("", "", 1)));
    server(env, config)
}

fn events(run: &Run) -> Vec<Value> {
    let events: Vec<Value> = run.stdout_text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    events.iter().for_each(|event| Schema::events().check(event));
    events
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

// Batches and budgets.

#[test]
fn a_canary_that_fails_leaves_the_others_alone() {
    let fleet = Fleet::new(40);
    let run = fleet.pssh().args(["-p", "40", "--batch", "1,100%", "--", "exit 7"]).run();
    run.exits(3).ends(&fleet.sshd.labels()[0], "exit 7");
    run.stderr_has(&format!("  39 {WHY}: 127.0.1.[2-40]\n"));
    run.stderr_has("pssh: batch 1 of 2: 1 host: 127.0.1.1\n").stderr_has("pssh: stopped after batch 1 of 2\n");
    run.stderr_lacks("batch 2 of 2:");
    run.check(fleet.sshd.connections() == 1, "no other was connected to");
}

#[test]
fn batches_follow_each_other() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let run = indexed(&env, &server, 40, &["-p", "40", "--batch", "1,10%,50%", "--json"]).run();
    run.exits(0);
    let events = events(&run);
    let sizes: Vec<_> = of(&events, "batch_start").iter().map(|event| event["hosts"].as_u64()).collect();
    run.check(sizes == [Some(1), Some(4), Some(20), Some(15)], &format!("{sizes:?}"));
    let mut open: Vec<u64> = Vec::new();
    for event in &events {
        match event["event"].as_str().expect("an event") {
            "batch_start" => {
                run.check(open.is_empty(), "the one before is over");
                open.extend(event["indices"].as_array().expect("indices").iter().filter_map(Value::as_u64));
            }
            "start" => {
                run.check(open.contains(&event["index"].as_u64().expect("a number")), "it is its turn");
            }
            "end" => open.retain(|index| Some(*index) != event["index"].as_u64()),
            "batch_end" => {
                run.check(open.is_empty() && event["outcomes"]["ok"] == event["hosts"], "all have ended");
            }
            _ => {}
        }
    }
}

#[test]
fn all_programs_go_by_batches() {
    let (env, sshd) = crate::sshd::hosts(3);
    let file = env.file("file", "contents");
    let target = "/dev/null/x".to_owned();
    let file = file.display().to_string();
    for (program, words) in [
        (Program::Pscp, vec![&*file, &target]),
        (Program::Pslurp, vec!["/no/such/file", "x"]),
        (Program::Prsync, vec![&*file, &target]),
        (Program::Pnuke, vec!["no-process-has-this-name"]),
    ] {
        let run = env.run_of(program).hosts(sshd.hosts()).args(["--batch", "1"]).args(words).run();
        let text = format!("{}{}", run.stdout_text(), run.stderr_text());
        run.check(text.contains("batch 1 of 3: 1 host: 127.0.1.1\n"), "the batch is told");
        run.check(text.contains("3 hosts: ") && text.contains("2 cancelled"), "the others are left alone");
    }
}

#[test]
fn a_budget_of_a_tenth_ends_a_run_of_two_hundred() {
    // Half of them fail, and what fails takes as long as what does not.
    let env = Env::new();
    let slow = |status| {
        Behaviour::Script(vec![
            Step::Sleep(Duration::from_millis(30)),
            Step::Eof,
            Step::ExitStatus(status),
            Step::Close,
        ])
    };
    let config = (0..200)
        .fold(Config::default(), |config, index| config.on(&format!("run {index}"), slow(u32::from(index % 2 == 0))));
    let server = server(&env, config);
    for (options, status) in [
        (&["--stop-on-errors=10%:wait"][..], "exit 1"),
        (&["--batch", "100%", "--stop-on-errors=10%"], "exit 1"),
        (&["--batch", "25%", "--stop-on-errors=20"], "exit 1"),
    ] {
        let before = server.commands().len();
        let run = indexed(&env, &server, 200, &[&["-p", "8", "--json"], options].concat()).run();
        run.exits(3);
        let events = events(&run);
        let ends = of(&events, "end");
        run.check(ends.len() == 200, "each host once");
        let failed: Vec<_> = ends.iter().filter(|end| end["message"] == status).collect();
        // Those beside the twentieth may fail as well.
        run.check((20..28).contains(&failed.len()), &format!("{} failed", failed.len()));
        let last = failed[19]["ended"].as_str().expect("a time");
        let late = of(&events, "start").iter().filter(|start| start["time"].as_str().expect("a time") > last).count();
        run.check(late == 0, &format!("{late} hosts were started after the twentieth failure"));
        let stopped = ends.iter().filter(|end| end["message"].as_str().expect("text").contains("while running"));
        run.check(stopped.count() == 0, "none is killed");
        let (sent, ended) =
            (server.commands().len() - before, |outcome| ends.iter().filter(|end| end["outcome"] == outcome).count());
        run.check(sent == ended("ok") + ended("exit"), "what was sent has ended by itself");
        run.check(of(&events, "batch_start").len() == of(&events, "batch_end").len(), "each batch that began ended");
    }
}

#[test]
fn now_stops_what_runs() {
    let fleet = Fleet::new(6);
    let line = "case $SSH_CONNECTION in *' 127.0.1.2 '*) sleep 1; exit 7;; esac; sleep 973";
    let run = fleet.pssh().args(["--batch", "3", "--stop-on-errors=1:now", "--", line]).run();
    run.exits(3).within(20);
    let labels = fleet.sshd.labels();
    run.ends(&labels[1], "exit 7");
    for place in [0, 2] {
        run.ends(&labels[place], "cancelled: stopped while running, since a host has failed");
    }
    for label in &labels[3..] {
        run.ends(label, WHY);
    }
    fleet.sshd.wait_for_processes("sleep 973", 0);
}

#[test]
fn a_host_that_is_being_connected_to_gets_no_command() {
    let fleet = Fleet::new(2);
    let file = fleet.env.file("file", "contents").display().to_string();
    let slow = "exec 3<>/dev/tcp/%h/%p; sleep 1.5; cat <&3 & exec cat >&3";
    let hosts = fleet.sshd.hosts();
    let list = fleet.env.file("hosts", format!("{}\n{} proxy-command=\"bash -c '{slow}'\"\n", hosts[0], hosts[1]));
    for (program, words) in [
        (Program::Pssh, vec!["false"]),
        (Program::Pscp, vec![&*file, "/dev/null/x"]),
        (Program::Pslurp, vec!["/no/such/file", "x"]),
        (Program::Prsync, vec![&*file, "/dev/null/x"]),
        (Program::Pnuke, vec!["no-process-has-this-name"]),
    ] {
        let run = fleet
            .env
            .run_of(program)
            .arg("-h")
            .arg(&list)
            .args(["--stop-on-errors=1:wait", "--json"])
            .args(words)
            .run();
        run.exits(3);
        let events = events(&run);
        let message = of(&events, "end").iter().find(|end| end["index"] == 1).map(|end| end["message"].clone());
        let expected = "cancelled: stopped while connecting, since a host has failed";
        run.check(message == Some(expected.into()), &format!("{message:?}"));
    }
}

#[test]
fn failures_can_be_let_pass() {
    let env = Env::new();
    let server = failing(&env, [0, 3]);
    let run = indexed(&env, &server, 6, &["--batch", "2", "--stop-on-errors=none"]).run();
    run.exits(5).stderr_has("6 hosts: 4 ok, 2 exit\n").stderr_lacks("stopped after");
}

#[test]
fn hosts_that_are_not_reached_can_have_a_budget_of_their_own() {
    let fleet = Fleet::new(4);
    let dead = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let hosts = || [dead.to_string(), dead.to_string()].into_iter().chain(fleet.sshd.hosts());
    let run = |args: &[&str], line: &str| {
        fleet.env.pssh().hosts(hosts()).args(["-p1", "--num-retries=1"]).args(args).args(["--", line]).run()
    };
    run(&["--stop-on-unreached=3", "--stop-on-errors=1"], "true").exits(4).stderr_has("6 hosts: 4 ok, 2 connect\n");
    run(&["--stop-on-unreached=none", "--stop-on-errors=1"], "true").exits(4).stderr_has("6 hosts: 4 ok, 2 connect\n");
    let stopped = run(&["--stop-on-unreached=2"], "true");
    stopped.exits(3).ends(&fleet.sshd.labels()[0], "cancelled: never started, since 2 hosts were not reached");
    let failed = run(&["--stop-on-unreached=3", "--stop-on-errors=1"], "false");
    failed.exits(3).stderr_has("6 hosts: 1 exit, 3 cancelled, 2 connect\n");
    let rolling = run(&["--batch=1", "--stop-on-unreached=50%"], "true");
    rolling.exits(4).stderr_has("6 hosts: 4 ok, 2 connect\n");
}

#[test]
fn a_host_that_waits_for_another_attempt_belongs_to_its_batch() {
    let env = Env::new();
    let dead = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let server = server(&env, Config::default());
    let hosts = [dead.to_string(), server.addr().to_string()];
    let args = ["--batch=1", "--stop-on-errors=none", "--num-retries=2", "--retry-delay=1", "--json", "x"];
    let run = env.pssh().hosts(hosts).args(args).run();
    run.exits(4);
    let names: Vec<_> = events(&run).iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect();
    let expected = "run_start batch_start start end batch_end batch_start start end batch_end run_end";
    run.check(names.join(" ") == expected, &names.join(" "));
}

#[test]
fn what_could_not_be_stored_counts_before_the_next_batch() {
    let env = Env::new();
    let server = server(&env, Config::default().on("run 0", Behaviour::answer("text\n", "", 0)));
    // A directory in place of the file.
    let out = env.path("out");
    std::fs::create_dir_all(out.join(server.addr().to_string())).expect("a directory");
    let run = indexed(&env, &server, 3, &["--batch", "1", "-o", &out.display().to_string()]).run();
    run.stderr_has("stopped after batch 1 of 3").check(server.commands() == ["run 0"], "no other has run it");
}

// Between two batches.

#[test]
fn a_pause_lies_between_batches() {
    let fleet = Fleet::new(3);
    let begun = Instant::now();
    fleet.pssh().args(["--batch", "1", "--pause", "0.7s", "--", "true"]).run().exits(0);
    assert!(begun.elapsed() >= Duration::from_millis(1400), "two pauses");
}

#[test]
fn the_end_of_a_run_says_why_nothing_more_was_started() {
    let fleet = Fleet::new(3);
    for (args, line, expected) in [
        (&[][..], "true", Value::Null),
        (&["--stop-on-errors=3"], "exit 1", Value::Null),
        (&["--batch", "1"], "exit 1", "a host has failed".into()),
        (&["-p", "1", "--stop-on-errors=2:wait"], "exit 1", "2 hosts have failed".into()),
        (&["--total-timeout", "1.5"], "sleep 9", "the run has taken 1.5 s".into()),
    ] {
        let run = fleet.pssh().args(["--json", "--journal", "J"]).args(args).args(["--", line]).run();
        let stopped = |run: &Run| of(&events(run), "run_end")[0]["stopped"].clone();
        run.check(stopped(&run) == expected, &format!("{args:?}: {expected}"));
        let replay = fleet.env.pssh().args(["--json", "--replay", "J"]).run();
        replay.check(stopped(&replay) == expected, &format!("a replay of {args:?}: {expected}"));
        std::fs::remove_file(fleet.env.path("J")).expect("the journal");
    }
}

#[test]
fn a_pause_ends_with_the_run() {
    let fleet = Fleet::new(3);
    let mut running = fleet.pssh().args(["--json", "--batch", "1", "--pause", "1h", "--", "true"]).start();
    running.wait_for("\"event\":\"batch_pause\"");
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT).within(10);
    let events = events(&run);
    let ends = of(&events, "end");
    let outcomes: Vec<_> = ends.iter().filter_map(|end| end["outcome"].as_str()).collect();
    run.check(outcomes == ["ok", "cancelled", "cancelled"], &format!("{outcomes:?}"));
    run.check(of(&events, "run_end")[0]["stopped"] == "INT", "the signal");
    let limit = ["--batch", "1", "--pause", "1h", "--total-timeout", "1.5s", "--", "true"];
    let late = fleet.pssh().args(limit).run();
    late.exits(3).within(10).ends(&fleet.sshd.labels()[1], "cancelled: never started, since the run has taken 1.5 s");
}

struct Lab {
    env: Env,
    sshd: Sshd,
    pty: Pty,
}

impl Lab {
    fn new(hosts: usize) -> Lab {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts, ..Setup::default() });
        let pty = Pty::new();
        pty.resize(COLUMNS, ROWS);
        Lab { env, sshd, pty }
    }

    fn pssh(&self, args: &[&str]) -> Pssh {
        let run = self.env.pssh().hosts(self.sshd.hosts()).args(args).args(["--", "true"]);
        self.pty.show(run.variable("TERM", "xterm"))
    }
}

#[test]
fn a_batch_starts_once_it_is_confirmed() {
    const SECOND: &str = "Batch 1: 1 host: 1 ok. Start batch 2 of 3, 1 host: 127.0.1.2? [y/n/a] ";
    const THIRD: &str = "Batch 2: 1 host: 1 ok. Start batch 3 of 3, 1 host: 127.0.1.3? [y/n/a] ";
    for (confirm, answers, tally) in [
        ("--confirm", &[(SECOND, "y\n")][..], "3 hosts: 3 ok"),
        ("--confirm=first", &[(SECOND, "what\n"), ("Answer y", "YES\n")], "3 hosts: 3 ok"),
        ("--confirm=each", &[(SECOND, "y\n"), (THIRD, "y\n")], "3 hosts: 3 ok"),
        ("--confirm=each", &[(SECOND, "a\n")], "3 hosts: 3 ok"),
        ("--confirm=each", &[(SECOND, "y\n"), (THIRD, "n\n")], "3 hosts: 2 ok, 1 cancelled"),
        ("--confirm", &[(SECOND, "\x04")], "3 hosts: 1 ok, 2 cancelled"),
    ] {
        let lab = Lab::new(3);
        let running = lab.pssh(&["--batch", "1", confirm]).start();
        for (question, answer) in answers {
            lab.pty.wait_for(question.trim_end(), 1);
            lab.pty.type_in(answer);
        }
        let run = running.finish();
        run.exits(if tally.contains("cancelled") { 3 } else { 0 });
        let shown = lab.pty.shown();
        run.check(shown.contains(tally), &shown);
        run.check(!tally.contains("cancelled") || shown.contains("never started, since a batch was declined"), &shown);
    }
}

#[test]
fn a_question_ends_with_the_run() {
    let lab = Lab::new(2);
    let running = lab.pssh(&["--batch", "1", "--confirm"]).start();
    lab.pty.wait_for("[y/n/a]", 1);
    lab.pty.type_in("\x03");
    running.finish().exits(130).within(10);
    assert!(lab.pty.shown().contains("1 ok, 1 cancelled"), "{}", lab.pty.shown());
    let run = lab.pssh(&["--batch", "1", "--confirm", "--total-timeout", "2s"]).run();
    run.exits(3).within(10);
    let shown = lab.pty.shown();
    run.check(shown.contains("since the run has taken 2 s"), &shown);
}

#[test]
fn batches_cannot_be_confirmed_without_a_terminal() {
    let fleet = Fleet::new(2);
    let run = fleet.pssh().args(["--batch", "1", "--confirm", "--", "true"]).run();
    run.exits(2).stderr_has("--confirm: there is no terminal").check(fleet.sshd.connections() == 0, "none is reached");
    fleet.pssh().args(["--batch", "1", "--confirm", "--dry-run", "--", "true"]).run().exits(0);
}

#[test]
fn the_status_line_counts_batches() {
    let lab = Lab::new(3);
    let args = ["--batch", "1", "--pause", "2s", "--progress=always"];
    let running = lab.pssh(&args).start();
    let seen = |wanted: &str| lab.pty.wait_for_screen(COLUMNS, ROWS, |screen| screen.contains(wanted));
    seen("batch 2/3 \u{b7} 1/3 hosts, next batch in 0:0");
    seen("batch 3/3 \u{b7} 2/3 hosts, next batch in 0:0");
    running.finish().exits(0);
}

// Order and pace.

#[test]
fn one_seed_gives_one_order() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let order = |order: &str| {
        let before = server.commands().len();
        let run = indexed(&env, &server, 30, &["-p", "1", "--order", order]).run();
        run.exits(0);
        (server.commands()[before..].to_vec(), run.stderr_text())
    };
    let lines =
        |indices: &mut dyn Iterator<Item = usize>| indices.map(|index| format!("run {index}")).collect::<Vec<_>>();
    assert_eq!(order("list").0, lines(&mut (0..30)));
    assert_eq!(order("reverse").0, lines(&mut (0..30).rev()));
    let (first, told) = order("shuffle");
    let seed = told.lines().find_map(|line| line.strip_prefix("pssh: order ")).expect("it is told");
    let seed = seed.split(';').next().expect("a seed");
    assert!(seed.starts_with("shuffle:"), "{told}");
    assert_eq!(order(seed).0, first);
    assert_ne!(order("shuffle:1").0, order("shuffle:2").0);
    let mut sorted = first;
    sorted.sort_by_key(|line| line[4..].parse::<usize>().expect("an index"));
    assert_eq!(sorted, lines(&mut (0..30)), "each once");
    // Reports keep the order of the list.
    let junit = env.path("junit.xml");
    let args = ["--order", "reverse", "--batch", "10", "--junit", &junit.display().to_string()];
    indexed(&env, &server, 30, &args).run().exits(0);
    let xml = std::fs::read_to_string(junit).expect("a report");
    let batches: Vec<&str> = xml.split("name=\"batch\" value=\"").skip(1).map(|rest| &rest[..1]).collect();
    assert_eq!(batches.concat(), "3".repeat(10) + &"2".repeat(10) + &"1".repeat(10));
}

#[test]
fn a_dry_run_shows_the_batches() {
    let env = Env::new();
    let run = env.pssh().hosts(["a", "b", "c"]).args(["--dry-run", "--batch=1,2", "--order=reverse", "x"]).run();
    run.exits(0).stdout_is(
        "# order reverse\n# stops once 1 host has failed (running hosts end)\n# batch 1 of 2: 1 host: c\nc: x\n\
         # batch 2 of 2: 2 hosts: a,b\nb: x\na: x\n",
    );
    env.pssh().hosts(["a", "b"]).args(["--dry-run", "x"]).run().exits(0).stdout_is("a: x\nb: x\n");
    for (args, terms) in [
        (
            &["--batch=1,2", "--pause=5m", "--confirm=each"][..],
            "stops once 1 host has failed (running hosts end); pauses 300 s between batches; asks before each batch after the first",
        ),
        (
            &["--batch=9", "--stop-on-errors=none", "--stop-on-unreached=none", "--confirm"],
            "goes on when hosts fail; goes on when hosts are not reached; asks before the second batch",
        ),
        (&["--stop-on-errors=20%"], "stops once 2 hosts have failed (running hosts are stopped)"),
        (&["--stop-on-unreached=1"], "stops once 1 host was not reached (running hosts are stopped)"),
        (&["--rate=30", "--connect-par=1"], "logs in to at most 1 host at once; starts at most 30/s"),
    ] {
        let run = env.pssh().args(["-w", "web[1-10]", "--dry-run"]).args(args).arg("x").run();
        run.exits(0).check(run.stdout_text().starts_with(&format!("# {terms}\n")), &format!("{args:?}: {terms}"));
    }
}

#[test]
fn options_behind_the_command_are_its_words() {
    let (env, sshd) = crate::sshd::hosts(1);
    let told = |words: &[&str]| {
        let run = env.pssh().hosts(sshd.hosts()).args(words).run();
        run.exits(0);
        run.stderr_text().lines().find(|line| line.contains("belongs to the command")).map(str::to_owned)
    };
    for option in ["--dry-run", "--confirm", "--list", "--explain"] {
        let expected =
            format!("pssh: {option} after the command belongs to the command; for pssh put it before the command");
        assert_eq!(told(&["true", option]), Some(expected));
    }
    let first = "pssh: --confirm after the command belongs to the command; for pssh put it before the command";
    assert_eq!(told(&["true", "--confirm", "--dry-run"]).as_deref(), Some(first));
    for words in
        [&["--", "true", "--dry-run"][..], &["true", "--dry-run", "x"], &["true", "--dry"], &["true --dry-run"]]
    {
        assert_eq!(told(words), None, "{words:?}");
    }
}

/// The most connections at one time that were accepted, not logged in and not closed, and the times of all connections.
fn logins(server: &Server) -> (usize, Vec<Instant>) {
    let (mut open, mut most, mut starts) = (HashSet::new(), 0, Vec::new());
    for record in server.logged() {
        match record.event {
            Event::Connected { .. } => {
                open.insert(record.connection);
                most = most.max(open.len());
                starts.push(record.at);
            }
            Event::LoggedIn { .. } | Event::Disconnect | Event::Lost => drop(open.remove(&record.connection)),
            _ => {}
        }
    }
    (most, starts)
}

#[test]
fn logins_and_starts_have_bounds_of_their_own() {
    const HOSTS: usize = 300;
    let env = Env::new();
    let slow = || Config { delay: Duration::from_millis(3), ..Config::default() };
    let server = server(&env, slow());
    indexed(&env, &server, HOSTS, &["-p", "60", "--connect-par", "4"]).run().exits(0);
    let (most, starts) = logins(&server);
    assert_eq!(starts.len(), HOSTS);
    assert!((2..=4).contains(&most), "{most} logins at once");
    drop(server);

    let server = self::server(&env, slow());
    indexed(&env, &server, HOSTS, &["-p", "60", "--rate", "150/s"]).run().exits(0);
    let (_, starts) = logins(&server);
    let in_a_second =
        |from: Instant| starts.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(at)).count();
    let most = starts.iter().map(|from| in_a_second(*from)).max().expect("starts");
    // What starts evenly arrives with the jitter of a busy machine.
    assert!(most <= 160, "{most} starts in a second");
    assert!(starts[HOSTS - 1] - starts[0] >= Duration::from_millis(1900), "as slowly as was asked for");
}

#[test]
fn another_attempt_is_a_start() {
    let env = Env::new();
    let dead = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let args = ["--rate", "2/s", "--num-retries", "2", "--retry-delay", "0.1", "--", "true"];
    let begun = Instant::now();
    env.pssh().hosts([dead, dead]).args(args).run().exits(4);
    assert!(begun.elapsed() >= Duration::from_millis(1500), "four starts, half a second apart");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let env = Env::new();
    for (args, words) in [
        (&["--batch=0"][..], "a batch has at least one host"),
        (&["--batch=1,,2"], "size \"\": expected a number of hosts, such as 3, or a percentage"),
        (&["--batch=120%"], "at most 100"),
        (&["--pause=1m"], "--pause is for the time between two batches; give their sizes with --batch"),
        (&["--confirm"], "--confirm is for the time between two batches; give their sizes with --batch"),
        (&["--batch=1", "--confirm=always"], "[possible values: first, each]"),
        (&["--batch=1", "--shard=1/2"], "--batch with --shard: each share would have batches"),
        (&["--batch=1", "--pause=soon"], "--pause"),
        (&["--batch=1", "--confirm", "each"], "the value of --confirm follows =: --confirm=each"),
        (&["--stop-on-errors", "none"], "the value of --stop-on-errors follows ="),
        (&["--stop-on-errors", "2:wait"], "the value of --stop-on-errors follows ="),
        (&["--check", "--"], "a check begins with the name of a program; to see what would be done use --dry-run"),
        (&["--order=random"], "expected list, reverse, shuffle or shuffle:SEED"),
        (&["--order=shuffle:x"], "such as shuffle:42"),
        (&["--connect-par=0"], "at least one login"),
        (&["--connect-par=few"], "such as 4"),
        (&["--rate=5/x"], "such as 10/s, 0.5/s or 30/m"),
        (&["--batch", "-1"], "invalid value '-1' for '--batch <SIZES>': size \"-1\": expected a number of hosts"),
        (&["--batch=1", "--pause", "-1"], "invalid value '-1' for '--pause <TIME>'"),
        (&["--rate", "-1"], "invalid value '-1' for '--rate <N/s>'"),
        (&["--connect-par", "-2"], "invalid value '-2' for '--connect-par <N>'"),
        (&["--check", "true", "--check-timeout", "-1"], "invalid value '-1' for '--check-timeout <TIME>'"),
        (&["-t", "-1"], "invalid value '-1' for '--timeout <TIME>'"),
        (&["--stop-on-unreached", "-1"], "such as 10%, or none"),
        (&["--stop-on-unreached", "never"], "such as 10%, or none"),
        (&["--stop-on-errors=never"], "such as 10%; N:wait or N:now; or none"),
        (&["--stop-on-errors=:wait"], "such as 10%; N:wait or N:now; or none"),
        (&["--stop-on-errors", "5%"], "the value of --stop-on-errors follows =: --stop-on-errors=5%"),
        (&["--stop-on-errors", "none"], "the value of --stop-on-errors follows =: --stop-on-errors=none"),
        (&["--stop-on-errors", "2:wait"], "the value of --stop-on-errors follows =: --stop-on-errors=2:wait"),
        (&["--success", "0,300"], "\"300\": an exit status is from 0 to 255"),
        (&["--success", "0-x"], "\"0-x\" is not an exit status"),
        (&["--rate=0/s"], "expected a rate from"),
        (&["--stop-on-unreached=0"], "1 stops it at the first host that is not reached"),
        (&["--stop-on-errors=2:later"], "expected now, which also stops running hosts, or wait"),
        (&["--stop-on-errors=none:wait"], "none never stops"),
    ] {
        let run = env.pssh().args(["-H", "a"]).args(args).arg("true").run();
        run.exits(2).stderr_has(words).stderr_lacks("obsolete");
    }
    for (program, what) in [(Program::Pssh, "the command"), (Program::Pnuke, "PATTERN")] {
        let run = env.run_of(program).args(["-H", "a", "--check", "svc up"]).run();
        run.exits(2).stderr_has(&format!("--check took svc up; {what} is missing"));
    }
}

/// A check that needs a new connection for each try.
#[test]
fn logins_of_a_check_are_bounded_too() {
    let env = Env::new();
    let cut = Behaviour::Script(vec![Step::DropConnection(crate::embedded::End::Fin)]);
    let server = server(&env, Config { delay: Duration::from_millis(3), ..Config::default() }.on("look", cut));
    let args =
        ["--check", "look", "--check-interval", "0.01", "--check-timeout", "2", "--connect-par", "2", "-p", "20"];
    let run = indexed(&env, &server, 20, &args).run();
    run.exits(5).stderr_has("20 hosts: 20 check\n");
    let (most, starts) = logins(&server);
    // The server hears of a closed connection late. Without a bound, all twenty log in at once.
    assert!(starts.len() > 40 && most < 8, "{} logins, {most} at once", starts.len());
}

#[test]
fn a_stop_within_a_batch_is_told_with_what_is_left_of_it() {
    let env = Env::new();
    let server = failing(&env, [2]);
    let run = indexed(&env, &server, 9, &["-p", "1", "--batch", "2,5"]).run();
    run.exits(3).stderr_has("pssh: stopped in batch 2 of 3: 4 of its 5 hosts did not run\n");
    // From cron, nothing but failures is said.
    let quiet = indexed(&env, &server, 2, &["-q", "--batch", "1", "--order", "shuffle"]).run();
    quiet.exits(0).check(quiet.stderr_text().is_empty(), "nothing has failed");
}

/// A program that answers questions for passwords is no terminal.
#[test]
fn an_askpass_program_confirms_nothing() {
    let fleet = Fleet::new(2);
    let askpass = fleet.env.file("askpass", "#!/bin/sh\necho y\n");
    std::fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a program");
    let run = fleet.pssh().args(["--batch", "1", "--confirm", "--", "true"]).variable("SSH_ASKPASS", &askpass);
    let run = run.variable("DISPLAY", ":0").variable("SSH_ASKPASS_REQUIRE", "force").run();
    run.exits(2).stderr_has("--confirm: there is no terminal");
}

#[test]
fn a_signal_does_not_abandon_a_run_that_stops_by_itself() {
    let env = Env::new();
    let frozen = Behaviour::Script(vec![Step::Stdout(b"begun\n".to_vec()), Step::Freeze]);
    let slow =
        Behaviour::Script(vec![Step::Sleep(Duration::from_millis(700)), Step::Eof, Step::ExitStatus(1), Step::Close]);
    let server = server(&env, Config::default().on("run 0", slow).on("run 1", frozen));
    let mut running = indexed(&env, &server, 2, &["--json", "--stop-on-errors=1:now"]).start();
    running.wait_for("\"message\":\"exit 1\"");
    running.signal(Signal::INT);
    let run = running.finish();
    let events = events(&run);
    run.check(of(&events, "end").len() == 2 && of(&events, "run_end").len() == 1, "both are reported");
}
