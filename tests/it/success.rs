//! `--success`: which ends of a command count as success, everywhere alike.

use std::fs;

use pssh::internal::Program;

use crate::bin::{Env, Pssh};
use crate::sshd::{Setup, Sshd, hosts};

/// Ends on each of four hosts in another way: exit status 0 and 2, a signal, a lost connection.
const FOUR_ENDS: &str = "case $SSH_CONNECTION in \
     *' 127.0.1.1 '*) echo out; exit 0;; *' 127.0.1.2 '*) echo out; exit 2;; \
     *' 127.0.1.3 '*) kill -TERM $$;; *) kill -9 $PPID;; esac";

struct Four {
    env: Env,
    sshd: Sshd,
}

impl Four {
    fn new() -> Four {
        let (env, sshd) = hosts(4);
        Four { env, sshd }
    }

    fn pssh(&self, args: &[&str]) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts()).args(args)
    }
}

#[test]
fn the_list_is_exactly_the_set_of_successes() {
    let four = Four::new();
    for (list, status, tally) in [
        ("0", 3, "4 hosts: 1 ok, 1 exit, 1 signal, 1 lost"),
        ("0,2", 3, "4 hosts: 2 ok, 1 signal, 1 lost"),
        ("0,2,signal", 4, "4 hosts: 3 ok, 1 lost"),
        ("0,2,lost,signal", 0, "4 hosts: 4 ok"),
        ("lost, 2 ,signal", 5, "4 hosts: 3 ok, 1 exit"),
        ("7", 3, "4 hosts: 2 exit, 1 signal, 1 lost"),
    ] {
        let run = four.pssh(&["--success", list, "--", FOUR_ENDS]).run();
        run.exits(status).stderr_has(&format!("pssh: {tally}\n"));
        // What happened is told as it was, but for a 0 that is a failure.
        run.ends("127.0.1.2", "exit 2").ends("127.0.1.3", "signal TERM").ends("127.0.1.4", "lost: ");
        run.ends("127.0.1.1", if list.contains('0') { "ok (exit 0)" } else { "exit 0" });
        let hint = (!list.contains('0')).then_some("0 is not in the list of --success, which replaces its default, 0");
        run.check(run.hint("127.0.1.1").as_deref() == hint, "the hint of a refused 0");
        run.check(run.hint("127.0.1.4").is_none() || !list.contains("lost"), "a host that succeeded gets no hint");
    }
}

#[test]
fn formats_and_reports_follow() {
    let four = Four::new();
    let accepted = ["--success", "0,2,lost", "--failed-to", "failed", "--junit", "junit.xml"];
    let run = four.pssh(&accepted).args(["-i", "--", FOUR_ENDS]).run();
    run.exits(3);
    let text = run.stdout_text();
    run.check(text.contains("[SUCCESS] 127.0.1.1") && text.contains("[SUCCESS] 127.0.1.2"), "both are successes");
    let line = |host: &str| text.lines().find(|line| line.contains(host)).unwrap_or_default().to_owned();
    run.check(line("127.0.1.2").ends_with(" Exited with error code 2"), "its status is told");
    run.check(
        line("127.0.1.4").contains("[SUCCESS]") && line("127.0.1.4").contains(" lost: "),
        "so is a lost connection",
    );
    run.check(line("127.0.1.3").ends_with(" Killed by signal 15"), "a signal is not in the list");
    let failed = fs::read_to_string(four.env.path("failed")).expect("the list of failed hosts");
    assert_eq!(failed, format!("{}\n", four.sshd.hosts()[2]));
    let junit = fs::read_to_string(four.env.path("junit.xml")).expect("the report");
    assert!(junit.contains("tests=\"4\" failures=\"1\" errors=\"0\""), "{junit}");

    let json = four.pssh(&["--success", "2,signal", "--json", "--", FOUR_ENDS]).run();
    json.exits(4);
    for (host, expected) in [
        ("127.0.1.1", "\"outcome\":\"exit\",\"success\":false,\"exit_status\":0,\"signal\":null"),
        ("127.0.1.2", "\"outcome\":\"exit\",\"success\":true,\"exit_status\":2,\"signal\":null"),
        ("127.0.1.3", "\"outcome\":\"signal\",\"success\":true,\"exit_status\":null,\"signal\":\"TERM\""),
        ("127.0.1.4", "\"outcome\":\"lost\",\"success\":false,\"exit_status\":null,\"signal\":null"),
    ] {
        let text = json.stdout_text();
        let is_end = |line: &&str| line.contains("\"event\":\"end\"") && line.contains(&format!("\"host\":\"{host}\""));
        let line = text.lines().find(is_end).expect("an end");
        assert!(line.contains(expected), "{line}");
    }
    json.check(json.stdout_text().contains("\"outcomes\":{\"ok\":2,\"exit\":1,\"lost\":1}"), "the tally");

    // An accepted 2 is not the same as 0.
    let gathered = four.pssh(&["--success", "0,2,lost,signal", "--format", "gather", "--", FOUR_ENDS]).run();
    gathered.exits(0);
    for heading in ["127.0.1.1: exit 0\n", "127.0.1.2: exit 2 (a success)\n", "127.0.1.3: signal TERM\n"] {
        gathered.check(gathered.stdout_text().contains(heading), heading);
    }
    let quiet = four.pssh(&["--success", "0,2,lost,signal", "-q", "--", FOUR_ENDS]).run();
    quiet.exits(0).check(quiet.stderr.is_empty(), "nothing has failed");
}

#[test]
fn the_largest_status_leaves_accepted_ends_out() {
    let four = Four::new();
    let largest = |list: &str, command: &str| {
        let run = four.pssh(&["--max-status", "--success", list, "--", command]).run();
        run.status.code().unwrap_or(-1)
    };
    let statuses = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 9;; *' 127.0.1.2 '*) exit 4;; esac";
    assert_eq!(largest("0", statuses), 9);
    assert_eq!(largest("0,9", statuses), 4);
    assert_eq!(largest("0,4,9", statuses), 0);
    // A failure with 0 must not look like a success.
    assert_eq!(largest("4,9", statuses), 255);
    assert_eq!(largest("lost", "kill -9 $PPID"), 0);
    assert_eq!(largest("0", "kill -9 $PPID"), 255);
}

#[test]
fn a_success_is_no_failure_for_budgets_either() {
    let (env, sshd) = hosts(6);
    let pssh = |list: &str| {
        env.pssh().hosts(sshd.hosts()).args(["-p", "1", "--stop-on-errors=2", "--success", list, "--", "exit 2"])
    };
    pssh("0,2").run().exits(0).stderr_has("pssh: 6 hosts: 6 ok\n");
    pssh("0").run().exits(3).stderr_has("2 exit").stderr_has("4 cancelled");
    pssh("2,3").run().exits(0);
    let run =
        env.pssh().hosts(sshd.hosts()).args(["-p", "1", "--stop-on-errors=2", "--success", "1", "--", "true"]).run();
    run.exits(3).stderr_has("pssh: 6 hosts: 2 exit, 4 cancelled\n");
}

#[test]
fn what_was_not_reached_or_was_stopped_is_never_a_success() {
    let (env, sshd) = hosts(1);
    let pssh = || env.pssh().args(["--success", "0,1,255,lost,signal", "--num-retries", "1"]);
    pssh().hosts(["127.0.0.1:1"]).arg("true").run().exits(4).stderr_has("connect: ");
    let run = pssh().hosts(sshd.hosts()).args(["-t", "1", "--", "sleep 60"]).run();
    run.exits(3).ends(&sshd.label(), "timeout command");
    let refused = pssh().hosts(sshd.hosts()).args(["-l", "no-such-user", "--", "true"]).run();
    refused.exits(4).ends(&sshd.label(), "auth: ");
}

#[test]
fn copies_take_what_makes_sense_for_them() {
    let env = Env::new();
    let file = env.file("file", "x");
    let copy = |program: Program, list: &str| {
        let words: &[&str] = if program == Program::Pslurp { &["/x", "y"] } else { &["file", "/x"] };
        let run = env
            .run_of(program)
            .hosts(["127.0.0.1:1"])
            .args(["--num-retries", "1", "--success", list])
            .args(words)
            .run();
        assert!(file.exists());
        run
    };
    for program in [Program::Pscp, Program::Pslurp, Program::Prsync] {
        copy(program, "0,lost").exits(2).stderr_has("--success lost: a copy that was cut off is not complete");
        copy(program, "0,signal").exits(2).stderr_has("--success signal: a copy that was cut off is not complete");
        copy(program, "0").exits(4);
    }
    let told = "a copy succeeds if all files are copied, and has no exit status; only 0 is allowed";
    copy(Program::Pscp, "0,1").exits(2).stderr_has(&format!("--success: with pscp, {told}"));
    copy(Program::Pslurp, "1").exits(2).stderr_has(&format!("--success: with pslurp, {told}"));
    copy(Program::Prsync, "0,24").exits(4);
}

#[test]
fn the_status_of_rsync_and_pkill_counts_too() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    // rsync ends with 23 if a source is missing on the host.
    let prsync = |list: &str| {
        let run = env.run_of(Program::Prsync).hosts(sshd.hosts()).args(["--success", list, "--download"]);
        run.arg(env.path("no-such-file")).arg("here").run()
    };
    let label = sshd.label();
    prsync("0").exits(4).check(prsync("0").stdout_text().contains("[FAILURE]"), "a failure by default");
    let run = prsync("0,23");
    run.exits(0).check(run.stdout_text().contains(&format!("[SUCCESS] {label}")), "a success");
    let pnuke = |list: &str| {
        env.run_of(Program::Pnuke).hosts(sshd.hosts()).args(["--success", list, "no-such-process-x"]).run()
    };
    pnuke("0").exits(5);
    pnuke("0,1").exits(0);
}

#[test]
fn bad_lists_are_refused_with_what_would_be_right() {
    let env = Env::new();
    let pssh = |list: &str| env.pssh().hosts(["127.0.0.1:1"]).args(["--success", list, "true"]).run();
    for (list, told) in [
        ("", "expected exit statuses, lost and signal, separated by commas, such as 0,2 or 0-3,lost"),
        ("ok", "ok is exit status 0: write 0"),
        ("256x", "\"256x\" is not an exit status; expected exit statuses, lost and signal"),
        ("-1", "\"-1\" is not an exit status"),
        ("0,,2", "such as 0,2 or 0-3,lost"),
        ("timeout", "timeout is never a success, as the host was not reached, timed out or was stopped"),
        ("0,connect", "connect is never a success"),
        ("4294967296", "\"4294967296\": an exit status is from 0 to 255"),
    ] {
        pssh(list).exits(2).stderr_has(told);
    }
    env.pssh()
        .hosts(["127.0.0.1:1"])
        .args(["--ping", "--success", "0"])
        .run()
        .exits(2)
        .stderr_has("cannot be used with");
}
