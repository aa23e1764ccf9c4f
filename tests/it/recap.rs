//! The end of a run: what has failed, by reason and with folded names, wherever it would be overlooked.

use rustix::process::Signal;

use crate::bin::{Env, Pssh, Run};
use crate::pty::Pty;
use crate::sshd::{Fleet, Setup, Sshd};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];
/// Hosts that are more than are seen one by one.
const MANY: usize = 12;
/// Fails on three of the hosts, in two ways.
const LINE: &str = "case $SSH_CONNECTION in *' 127.0.1.'[49]' '*) exit 3;; *' 127.0.1.2 '*) exit 1;; esac";
const RECAP: &str = "  2 exit 3: 127.0.1.[4,9]\n  1 exit 1: 127.0.1.2\n";

fn lab(hosts: usize) -> (Env, Sshd) {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts, ..Setup::default() });
    (env, sshd)
}

#[test]
fn a_run_of_more_than_ten_hosts_ends_with_what_failed() {
    let (env, sshd) = lab(MANY);
    let run = |args: &[&str], hosts: usize, line: &str| {
        env.pssh().hosts(&sshd.hosts()[..hosts]).args(args).args(["--", line]).run()
    };
    let formats = [&[][..], &["-i"], &["-P"], &["--no-headers"], &["--format=status"], &["--format=gather"], &["-q"]];
    for args in formats {
        let failed = run(args, MANY, LINE);
        let ending = format!("pssh: {MANY} hosts: 9 ok, 3 exit\n{RECAP}");
        failed.exits(5).check(failed.stderr_text().ends_with(&ending), &format!("{args:?}: the recap comes last"));
    }
    let well = run(&[], MANY, "true");
    well.exits(0)
        .check(well.stderr_text().ends_with(&format!("pssh: {MANY} hosts: {MANY} ok\n")), "nothing has failed");
    run(&["-q"], MANY, "true").exits(0).check(true, "nothing has failed").stderr_lacks("pssh");
    let few = run(&[], 10, LINE);
    few.exits(5).check(few.stderr_text().ends_with("pssh: 10 hosts: 7 ok, 3 exit\n"), "all of it is on the screen");
    run(&["--json"], MANY, LINE).exits(5).stderr_lacks("exit 3");
}

#[test]
fn so_does_one_with_more_output_than_a_screen_shows() {
    let (env, sshd) = lab(2);
    let line = |lines: usize| format!("seq {lines}; [ $PPID ] && exit 3");
    let recap = "pssh: 2 hosts: 2 exit\n  2 exit 3: 127.0.1.[1-2]\n";
    // Without a terminal a screen has 24 rows.
    for (args, lines, is_long) in [(&[][..], 12, true), (&[], 3, false), (&["-q"], 12, true), (&["-i"], 12, true)] {
        let run = env.pssh().hosts(sshd.hosts()).args(args).args(["--", &line(lines)]).run();
        run.exits(5).check(run.stderr_text().ends_with(recap) == is_long, &format!("{args:?}, {lines} lines"));
    }
    let alone = env.pssh().hosts(&sshd.hosts()[..1]).args(["--", &line(50)]).run();
    alone.exits(5).check(alone.stderr_text() == "pssh: 127.0.1.1: exit 3\n", "one host needs no list");
    for (columns, rows) in SIZES {
        let pty = Pty::new();
        pty.resize(columns, rows);
        let run = env.pssh().hosts(sshd.hosts()).args(["--color=never", "--", &line(14)]).variable("TERM", "xterm");
        pty.show(run).run().exits(5);
        let text = pty.screen(columns, rows).contents();
        assert_eq!(text.trim_end().ends_with(recap.trim_end()), rows == 24, "{columns}x{rows}: {text}");
    }
}

const HOSTS: usize = 2000;

/// A run on two thousand hosts, of which three have begun when Ctrl-C comes.
fn interrupted(fleet: &Fleet, args: &[&str]) -> Run {
    let mut list = fleet.sshd.hosts();
    list.extend((4..=HOSTS).map(|number| format!("127.9.{}.{}", number / 250, number % 250 + 1)));
    let list = fleet.env.file("list", list.join("\n"));
    let pssh = fleet.env.pssh().arg("-h").arg(list).args(["-l", fleet.user.name(), "-p3"]);
    let running = pssh.args(args).args(["--", "sleep 977"]).start();
    fleet.sshd.wait_for_processes("sleep 977", 6);
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT);
    run
}

#[test]
fn ctrl_c_on_two_thousand_hosts_is_a_recap_and_not_two_thousand_lines() {
    let fleet = Fleet::new(3);
    let names = "127.9.[1-7].[1-250],127.9.0.[5-250],127.9.8.1";
    let recap = format!(
        "pssh: 2000 hosts: 2000 cancelled\n  1997 cancelled: never started: {names}\n     \
         3 cancelled: stopped while running: 127.0.1.[1-3]\n"
    );
    for args in [&[][..], &["--no-headers"], &["-q"]] {
        let run = interrupted(&fleet, args);
        let said = run.stderr_text();
        run.check(said.ends_with(&recap), &format!("{args:?}: the recap\n{recap}"));
        run.check(said.lines().count() == 4, &format!("{args:?}: not a line for each host"));
    }
    // Where every host has an outcome of its own, it still has.
    let junit = fleet.env.path("junit.xml");
    let run = interrupted(&fleet, &["--format=status", "--junit", &junit.display().to_string()]);
    let lines = run.stdout_text();
    run.check(lines.matches(" [FAILURE] ").count() == HOSTS && lines.lines().count() == HOSTS, "a line each");
    run.check(run.stderr_text().ends_with(&recap), "the recap");
    let junit = std::fs::read_to_string(junit).expect("a report");
    run.check(junit.matches("<testcase ").count() == HOSTS, "a case each");
    let run = interrupted(&fleet, &["--json"]);
    run.check(run.stdout_text().matches("\"outcome\":\"cancelled\"").count() == HOSTS, "an event each");
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn the_recap_is_the_last_thing_on_a_screen_that_changes_its_size() {
    for (before, after) in [(SIZES[0], SIZES[1]), (SIZES[1], SIZES[0])] {
        let (env, sshd) = lab(MANY);
        let pty = Pty::new();
        pty.resize(before.0, before.1);
        let line = format!("echo out; echo err >&2; sleep 2; {LINE}");
        let pssh: Pssh = env.pssh().hosts(sshd.hosts()).args(["-p12", "--color=never"]).variable("TERM", "xterm");
        let running = pty.show(pssh.args(["--", &line])).start();
        pty.wait_for(&format!("0/{MANY} {MANY} running"), 1);
        pty.resize(after.0, after.1);
        running.finish().exits(5);
        let text = pty.screen(after.0, after.1).contents();
        let ending = format!("pssh: {MANY} hosts: 9 ok, 3 exit\n{RECAP}");
        assert!(text.trim_end().ends_with(ending.trim_end()), "{text}");
        assert!(!text.contains("running"), "{text}");
        let shown = pty.shown();
        assert!(shown.contains("127.0.1.7: out\r\n") && shown.contains("127.0.1.7: ! err\r\n"), "{shown:?}");
    }
}

#[test]
fn quiet_tells_the_streams_apart_on_a_terminal_and_nowhere_else() {
    let (env, sshd) = lab(1);
    let pssh = || {
        let pssh = env.pssh().hosts(sshd.hosts()).variable("TERM", "xterm");
        pssh.args(["-q", "--", "echo out; sleep 0.3; echo err >&2; exit 3"])
    };
    pssh().run().exits(5).stderr_has("127.0.1.1: out\n127.0.1.1: err\n");
    let pty = Pty::new();
    pty.resize(80, 24);
    pty.show(pssh()).run().exits(5);
    let screen = pty.screen(80, 24);
    assert_eq!(screen.contents().trim_end(), "pssh: 127.0.1.1: exit 3\n127.0.1.1: out\n127.0.1.1: ! err");
    assert_eq!(screen.cell(2, 11).expect("a cell").fgcolor(), vt100::Color::Idx(1));
}

#[test]
fn lines_without_a_prefix_stay_as_they_are() {
    let (env, sshd) = lab(1);
    let pty = Pty::new();
    pty.resize(80, 24);
    let args = ["--no-prefix", "--color=never", "--progress=never", "echo err >&2"];
    pty.show(env.pssh().hosts(sshd.hosts()).variable("TERM", "xterm").args(args)).run().exits(0);
    assert_eq!(pty.screen(80, 24).contents(), "err\npssh: 127.0.1.1: ok (exit 0)");
}

#[test]
fn a_pager_is_not_drawn_over() {
    let (env, sshd) = lab(1);
    let pty = Pty::new();
    pty.resize(80, 24);
    // As less has the terminal: key by key.
    pty.read_keys(true);
    let pssh = env.pssh().hosts(sshd.hosts()).args(["--color=never", "sleep 3"]).variable("TERM", "xterm");
    let running = pty.show_errors(pssh).start();
    std::thread::sleep(std::time::Duration::from_millis(1800));
    assert_eq!(pty.shown(), "", "nothing is drawn, nor cleared");
    // The user has left it.
    pty.read_keys(false);
    pty.wait_for("0/1 1 running", 1);
    running.finish().exits(0);
    assert_eq!(pty.screen(80, 24).contents(), "pssh: 127.0.1.1: ok (exit 0)");
}

#[test]
fn what_a_program_in_between_shows_is_not_drawn_over() {
    let (env, sshd) = lab(1);
    let pty = Pty::new();
    pty.resize(80, 24);
    // As with `| tee log`: what was just printed may be shown on the terminal a moment later.
    let line = "i=0; while [ $i -lt 20 ]; do echo x; sleep 0.1; i=$((i + 1)); done; sleep 4";
    let pssh = env.pssh().hosts(sshd.hosts()).args(["--color=never", line]).variable("TERM", "xterm");
    let running = pty.show_errors(pssh).start();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(pty.shown(), "", "nothing is drawn between lines");
    pty.wait_for("0/1 1 running", 1);
    running.finish().exits(0);
    assert_eq!(pty.screen(80, 24).contents(), "pssh: 127.0.1.1: ok (exit 0)");
}

#[test]
fn no_headers_may_stand_in_the_file() {
    let (env, sshd) = lab(1);
    std::fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    let run = |text: &str| {
        env.file(".config/pssh/config.toml", text);
        env.pssh().hosts(sshd.hosts()).args(["-i", "echo out; echo err >&2"]).run()
    };
    run("[defaults]\nno-headers = true\n").exits(0).stdout_is("out\nerr\n");
    let usual = run("[defaults]\nno-headers = false\n");
    usual.exits(0).check(usual.stdout_text().contains("[SUCCESS]"), "pssh's line");
    run("[defaults]\nno-headers = 'x'\n")
        .exits(2)
        .stderr_has("config.toml:2:14: \"no-headers\": expected true or false");
    assert_eq!(sshd.connections(), 2);
}

#[test]
fn hosts_that_were_never_started_are_named_together() {
    let fleet = Fleet::new(6);
    let run = |limit: &str, args: &[&str]| {
        let line = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 7;; *' 127.0.1.4 '*) exit 8;; esac";
        fleet.pssh().args(["-p", "1", limit]).args(args).args(["--", line]).run()
    };
    // Three of six: failures come first, though they are fewer.
    let together = "pssh: 6 hosts: 1 exit, 5 cancelled\n  1 exit 7: 127.0.1.1\n  5 cancelled: never started, since a host has failed: 127.0.1.[2-6]\n";
    for args in [&[][..], &["--no-headers"], &["-q"], &["-i", "--no-headers"]] {
        let run = run("--stop-on-errors=1", args);
        run.exits(3).check(run.stderr_text().ends_with(together), &format!("{args:?}: {together}"));
        run.check(run.stderr_text().matches("never started").count() == 1, "no line each");
    }
    // Two have a line each, before the tally.
    let each: String = (5..7)
        .map(|host| format!("pssh: 127.0.1.{host}: cancelled: never started, since 2 hosts have failed\n"))
        .collect();
    let each = each + "pssh: 6 hosts: 2 ok, 2 exit, 2 cancelled\n";
    for args in [&[][..], &["--no-headers"], &["-q"]] {
        let run = run("--stop-on-errors=2", args);
        run.exits(3).check(run.stderr_text().ends_with(&each), &format!("{args:?}: {each}"));
    }
    // Where every host has a line on standard output, there is no recap.
    let shown = run("--stop-on-errors=1", &["-P"]);
    shown.exits(3).stderr_lacks("never started");
    shown.check(shown.stdout_text().matches(" [FAILURE] ").count() == 6, "a line each");
    // They were skipped, and neither failed nor have an error.
    let run = run("--stop-on-errors=1", &["--batch", "2", "--junit", "junit.xml"]);
    let xml = std::fs::read_to_string(fleet.env.path("junit.xml")).expect("the report");
    let counts = "<testsuites name=\"pssh\" tests=\"6\" failures=\"1\" errors=\"0\" skipped=\"5\" time=";
    let case = "<testcase classname=\"pssh\" name=\"127.0.1.6\" time=\"0.000\">\n      \
                <skipped message=\"cancelled: never started, since a host has failed\"/>\n    </testcase>\n";
    run.check(xml.contains(counts) && xml.contains(case) && xml.matches("<skipped ").count() == 5, &xml);
}
