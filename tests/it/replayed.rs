//! `--replay`: runs that are shown again from their journals, and the shares of one list that are shown as one run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use pssh::internal::Program;
use serde_json::Value;

use crate::bin::{Env, Run, path_of, without_times};
use crate::journal::records;
use crate::reports::Fleet;
use crate::schema::Schema;
use crate::sshd;

/// The last event of each host, by its label, without what a replay cannot know.
fn ends(run: &Run) -> BTreeMap<String, Value> {
    let mut ends = BTreeMap::new();
    for line in run.stdout_text().lines() {
        let mut event: Value = serde_json::from_str(line).expect("JSON");
        if event["event"] != "end" {
            continue;
        }
        Schema::events().check(&event);
        for seconds in event["seconds"].as_object_mut().expect("an object").values_mut() {
            // Sums of times that were rounded to microseconds.
            *seconds = seconds.as_f64().map_or(Value::Null, |time| ((time * 10_000.0).round() as u64).into());
        }
        run.check(ends.insert(event["label"].to_string(), event).is_none(), "one end each");
    }
    ends
}

#[test]
fn a_replay_tells_every_field_of_every_outcome() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--json", "--journal", "J", "--journal-output"]);
    run.exits(3);
    let replay = fleet.env.pssh().args(["--replay", "J", "--json"]).run();
    replay.exits(3);
    let (expected, told) = (ends(&run), ends(&replay));
    assert!(expected.len() >= 12, "hosts of every kind");
    for (label, end) in &expected {
        let same = end.as_object().expect("fields").iter().filter(|(name, value)| {
            let other = &told[label][*name];
            let is_close = |name: &str| {
                let of = |end: &Value| end["seconds"][name].as_u64();
                of(end).zip(of(&told[label])).is_none_or(|(one, other)| one.abs_diff(other) <= 1)
            };
            *value == other
                || name.as_str() == "seconds"
                    && value.as_object().is_some_and(|all| all.keys().all(|name| is_close(name)))
        });
        assert_eq!(same.count(), end.as_object().expect("fields").len(), "{end}\nis not\n{}", told[label]);
    }
    // What they printed.
    let output = |run: &Run| {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for line in run.stdout_text().lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            if event["event"] == "output" {
                let text = event["text"].as_str().or(event["base64"].as_str()).expect("bytes");
                texts.entry(format!("{} {}", event["label"], event["stream"])).or_default().push_str(text);
            }
        }
        texts
    };
    assert_eq!(output(&replay), output(&run));
}

#[test]
fn numbers_and_names_of_a_changed_journal_are_harmless() {
    let (env, sshd) = sshd::hosts(1);
    env.pssh().hosts(sshd.hosts()).args(["--journal", "J", "true"]).run().exits(0);
    let text = fs::read_to_string(env.path("J")).expect("the journal");
    let change = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        env.file("J", &changed);
        env.pssh().args(["--replay", "J", "--times"]).run()
    };
    for huge in ["1.8446744073709551e19", "1e19", "1e300", "-1"] {
        let run = change("\"seconds\":{", &format!("\"seconds\":{{\"retries\":{huge},\"more\":0,"));
        run.exits(0).stderr_has("127.0.1.1: ok (exit 0)\n").stderr_lacks("fault in pssh");
    }
    let run = change("\"label\":\"", "\"label\":\"\\u001b[31mred\\u0007");
    run.exits(2).stderr_has("J:2: the field \"label\" of the record \"host\" is missing or wrong\n");
    let run = change("\"shard\":null", "\"shard\":\"1/18446744073709551615\"");
    run.exits(1).stderr_has("the shard \"1/18446744073709551615\" is not K/N");
    let run = change("\"shard\":null", "\"shard\":\"1/1000000\"");
    run.exits(1)
        .check(run.stderr_text().len() < 400, "not all of them")
        .stderr_has("11/1000000 and 999989 more are missing\n");
}

#[test]
fn a_replay_needs_no_login_name() {
    let (env, sshd) = sshd::hosts(1);
    env.pssh().hosts(sshd.hosts()).args(["--journal", "J", "true"]).run().exits(0);
    // A user of a container, without an entry in the password database.
    const USER: u32 = 54_321;
    // A copy that the user may run.
    crate::bin::tool("cp", &[path_of(Program::Pssh).as_ref(), env.path("own-pssh").as_os_str()]);
    fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o755)).expect("a directory for all");
    std::os::unix::fs::chown(env.path("J"), Some(USER), None).expect("root");
    let user = USER.to_string();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "./own-pssh", "--replay", "J"])
        .current_dir(env.path(""))
        .env_clear()
        .output()
        .expect("setpriv");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert_eq!((output.status.code(), &*stdout), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("pssh: 127.0.1.1: ok (exit 0)\n"), "{stderr}");
}

#[test]
fn ends_that_count_as_success_and_checks_are_told_again() {
    let (env, sshd) = sshd::hosts(3);
    let of = |host: &str, command: &str| format!("case $SSH_CONNECTION in *' 127.0.1.{host} '*) {command};; esac");
    let command = [of("1", "exit 3"), of("2", "exit 0"), of("3", "exit 7")].join("; ");
    let check = of("1", "echo late; exit 1");
    let args = ["--success", "3,7", "--check", &check, "--check-timeout", "1", "--check-interval", "0.3"];
    let run = env.pssh().hosts(sshd.hosts()).args(args).args(["--journal", "J", "--json", "--", &command]).run();
    let replay = env.pssh().args(["--replay", "J", "--json"]).run();
    run.check(!run.status.success(), "a check fails, and exit status 0 is none of the successes");
    replay.exits(run.status.code().expect("a status"));
    let without_times = |run: &Run| {
        let mut ends = ends(run);
        ends.values_mut().for_each(|end| drop(end.as_object_mut().expect("fields").remove("seconds")));
        ends
    };
    assert_eq!(without_times(&replay), without_times(&run));
    // What counts as a success is not run again.
    let again = env.pssh().hosts(sshd.hosts()).args(args).args([
        "--journal",
        "J",
        "--rerun",
        "failed",
        "--dry-run",
        "--",
        "true",
    ]);
    let again = again.run();
    let shown = again.stdout_text();
    let hosts: Vec<&str> = shown.lines().filter_map(|line| line.strip_suffix(": true")).collect();
    again.exits(0).check(hosts == ["127.0.1.1", "127.0.1.2"], "these two");
}

#[test]
fn all_formats_and_reports_show_what_the_run_showed() {
    let fleet = Fleet::new();
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for format in
        [&["--format", "lines"][..], &["-i", "--sort"], &["--format", "status"], &["--format", "gather"], &["-q"]]
    {
        let files = ["--junit", "junit", "--failed-to", "failed", "--ci-summary=summary"];
        let run = fleet.run(&[format, &["--journal", "J", "--journal-output"], &files].concat());
        let read = |name: &str| {
            let text = fs::read_to_string(fleet.env.path(name)).expect(name);
            fs::remove_file(fleet.env.path(name)).expect(name);
            text
        };
        let before = [read("failed"), read("junit"), read("summary")];
        fs::copy(fleet.env.path("J"), fleet.env.path("J.copy")).expect("a copy");
        let replay = fleet.env.pssh().args(["--replay", "J"]).args(format).args(files).run();
        replay.exits(run.status.code().expect("a status"));
        let shown = |run: &Run| sorted(without_times(&run.stdout_text()));
        replay.check(shown(&replay) == shown(&run), &format!("the same as\n{}", run.stdout_text()));
        // The recap and the outcomes. What is only known while hosts are read is not in a journal: the options of their lines.
        replay.check(
            sorted(replay.stderr_text()) == sorted(run.stderr_text()),
            &format!("the same as\n{}", run.stderr_text()),
        );
        let after = [read("failed"), read("junit"), read("summary")];
        let names = |text: &str| {
            sorted(text.lines().map(|line| line.split(' ').next().unwrap_or(line).to_owned() + "\n").collect())
        };
        assert_eq!(names(&after[0]), names(&before[0]), "--failed-to");
        // But for how long the whole took: to the last record, or to the report.
        let cases = |text: &str| {
            text.lines().filter(|line| !line.contains("<testsuite")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(cases(&after[1]), cases(&before[1]), "--junit");
        let summary =
            |text: &str| text.lines().filter(|line| !line.contains(" s")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(summary(&after[2]), summary(&before[2]), "--ci-summary");
        assert_eq!(
            fs::read(fleet.env.path("J")).expect("J"),
            fs::read(fleet.env.path("J.copy")).expect("a copy"),
            "nothing is written"
        );
    }
    let times = fleet.env.pssh().args(["--replay", "J", "--times", "--max-status"]).run();
    times.exits(255).stderr_has("pssh: slowest");
}

#[test]
fn formats_that_show_output_need_it_and_another_program_is_named() {
    let (env, sshd) = sshd::hosts(1);
    env.pssh().hosts(sshd.hosts()).args(["--journal", "J", "echo", "x"]).run().exits(0);
    for (args, words) in [
        (&["--format", "gather"][..], "--format gather needs what hosts printed, but the run of "),
        (&["-o", "out"], "--outdir and --errdir need what hosts printed, but the run of "),
        (&["--expect-same"], "--expect-same needs what hosts printed, but the run of "),
    ] {
        let run = env.pssh().args(["--replay", "J"]).args(args).run();
        run.exits(2).stderr_has(words).stderr_has(" was recorded without --journal-output\n");
    }
    let run = env.run_of(Program::Pscp).args(["--replay", "J"]).run();
    run.exits(2).stderr_has(" was by pssh, not by pscp: use pssh --replay\n");
    env.pssh()
        .args(["--replay", "none"])
        .run()
        .exits(1)
        .stderr_has("pssh: --replay none: cannot read the journal: No such file");
    env.file("empty", "");
    env.pssh()
        .args(["--replay", "empty"])
        .run()
        .exits(1)
        .stderr_has("pssh: --replay empty: no run has begun in this journal\n");
    // A host that was not started when the run was killed.
    let text: String =
        fs::read_to_string(env.path("J")).expect("J").lines().take(2).map(|line| format!("{line}\n")).collect();
    env.file("begun", &text);
    let run = env.pssh().args(["--replay", "begun"]).run();
    run.exits(3).ends(&sshd.label(), "cancelled: never started");
    // Killed before its list was written.
    env.file("cut", text.lines().next().expect("a run").to_owned() + "\n");
    let run = env.pssh().args(["--replay", "cut"]).run();
    run.exits(1).stderr_has("cut: the list has 1 hosts, but the journals name only 0: a run ended before it began");
}

/// Divides the journal `J` into those of `all` shares, as runs with a share of the list write them.
fn divide(env: &Env, all: usize) {
    let text = fs::read_to_string(env.path("J")).expect("J");
    let share_of = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        record["index"].as_u64().map(|index| index as usize % all)
    };
    for share in 0..all {
        let own = text.lines().filter(|line| share_of(line).is_none_or(|of| of == share));
        let shard = format!("\"shard\":\"{}/{all}\"", share + 1);
        let text: String = own.map(|line| line.replace("\"shard\":null", &shard) + "\n").collect();
        env.file(&format!("J.{}", share + 1), text);
    }
}

#[test]
fn shards_are_shown_as_one_run_and_none_may_be_missing() {
    let (env, sshd) = sshd::hosts(6);
    let command = "echo $SSH_CONNECTION | cut -d' ' -f3; case $SSH_CONNECTION in *' 127.0.1.'[25]' '*) exit 1;; esac";
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--journal", "J", "--journal-output", "--format", "gather", "--", command])
        .run();
    run.exits(5);
    divide(&env, 3);
    let replay = |files: &[&str]| env.pssh().arg("--replay").args(files).args(["--format", "gather"]).run();
    for files in [["J.1", "J.2", "J.3"], ["J.3", "J.1", "J.2"]] {
        let whole = replay(&files);
        whole.exits(5).stderr_has("pssh: 6 hosts: 4 ok, 2 exit\n").stdout_is(&run.stdout_text());
    }
    replay(&["J.1", "J.3"]).exits(1).stderr_has("pssh: --replay: shard 2/3 is missing\n");
    replay(&["J.2"]).exits(1).stderr_has("pssh: --replay: shards 1/3, 3/3 are missing\n");
    replay(&["J.1", "J.2", "J.1", "J.3"]).exits(1).stderr_has("pssh: --replay J.1: shard 1/3 is also in J.1\n");
    replay(&["J.1", "J.2", "J"])
        .exits(1)
        .stderr_has("pssh: --replay J: it has all of the list, but J.1 has shard 1/3\n");
    env.pssh().hosts(sshd.hosts()).args(["--journal", "K", "true"]).run().exits(0);
    fs::copy(env.path("K"), env.path("J")).expect("another run");
    let other = records(&env, "J").remove(0)["command"].to_string();
    let first = records(&env, "J.1").remove(0)["command"].to_string();
    let text = fs::read_to_string(env.path("J.3")).expect("J.3").replace(&first, &other);
    env.file("other", text);
    replay(&["J.1", "J.2", "other"])
        .exits(1)
        .stderr_has("pssh: --replay other: not the same run as in J.1: the command differs\n");
}
