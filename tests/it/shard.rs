//! `--shard`: a share of the list, for runs on several machines.

use std::collections::BTreeSet;
use std::fs;

use pssh::internal::Program;
use serde_json::Value;

use crate::bin::{Env, Pssh, Run};
use crate::sshd::{Setup, Sshd, hosts};

fn list(env: &Env, shard: &str, args: &[&str]) -> Vec<String> {
    let run = env.bare_pssh().args(["--list", "--shard", shard]).args(args).run();
    run.exits(0);
    run.stdout_text().lines().map(str::to_owned).collect()
}

/// The shares of a list, each with the places that its commands are told.
fn dry(env: &Env, shard: &str, args: &[&str]) -> Run {
    let run = env.pssh().args(["--dry-run", "--shard", shard]).args(args).run();
    run.exits(0);
    run
}

#[test]
fn shares_take_turns_in_the_final_list_and_keep_its_numbers_and_rows() {
    let env = Env::without_key();
    let file = env.file("hosts", "a[1-3]\nx1\nb1 u2\n").display().to_string();
    let choice = ["-h", &file, "-H", "a1 c1", "-w", "d[1-2],a2", "--exclude", "x*"];
    // What is excluded has no place.
    let whole: Vec<String> = list(&env, "1/1", &choice);
    assert_eq!(whole.join(" "), "a1 a2 a3 u2@b1 a1 c1 d1 d2");
    for (shard, expected) in [("1/3", "a1 u2@b1 d1"), ("2/3", "a2 a1 d2"), ("3/3", "a3 c1")] {
        assert_eq!(list(&env, shard, &choice).join(" "), expected);
    }
    // Every program has shares.
    for program in Program::ALL {
        let run = env.bare(program).args(["--list", "--shard", "2/3"]).args(choice).run();
        run.exits(0).stdout_is("a2\na1\nd2\n");
    }
    // The index and the rows are those of the whole list.
    let rows: String = (0..8).map(|row| format!("row{row}\n")).collect();
    let rows = env.file("rows.csv", rows).display().to_string();
    let args = [&choice[..], &["--host-args", &rows, "echo %s %(index)s"]].concat();
    dry(&env, "2/3", &args).stdout_is("a2: echo row1 1\na1: echo row4 4\nd2: echo row7 7\n");
    dry(&env, "3/3", &args).stdout_is("a3: echo row2 2\nc1: echo row5 5\n");
    let args =
        [&choice[..], &["--host-arg", "d2=last", "--host-arg", "a1=first", "--shard", "2/8", "echo %s"]].concat();
    let run = env.pssh().arg("--dry-run").args(args).run();
    run.exits(2).stderr_has("a2: expected 1 positional value, found 0");
    // A row that is missing is so for every share.
    let short = env.file("short.csv", "r\n".repeat(7)).display().to_string();
    let run =
        env.pssh().args(["--dry-run", "--shard", "1/3"]).args(choice).args(["--host-args", &short, "echo %s"]).run();
    run.exits(2).stderr_has("7 rows for 8 hosts; the first without one is d2");
    // So are fields that make a command a template.
    let file = env.file("fields", "a\nb rack=3\n").display().to_string();
    let run = env.pssh().args(["--dry-run", "--shard", "1/2", "-h", &file, "echo %(rack)s"]).run();
    run.exits(2).stderr_has("there is no value named \"rack\"");
    // A label is the same in every share.
    let run = dry(&env, "1/2", &["-H", "n1:22 n1:23", "true"]);
    run.stdout_is("n1:22: true\n");
}

#[test]
fn hosts_are_told_their_place_in_the_whole_list_wherever_it_shows() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 5, config: "AcceptEnv PSSH_*\n", ..Setup::default() });
    let all = sshd.hosts();
    // The second one twice.
    let list = [&all[..], &all[1..2]].concat();
    let command = "echo $PSSH_NODENUM/$PSSH_NUMNODES";
    let run = |shard: &str, args: &[&str]| {
        let run =
            env.pssh().hosts(&list).args(["--shard", shard, "-O", "SendEnv=PSSH_*"]).args(args).arg(command).run();
        run.exits(0);
        run
    };
    let labels = sshd.labels();
    let first = run("1/2", &["--prefix", "{index} "]);
    assert_eq!(first.stdout_text().lines().collect::<BTreeSet<_>>(), BTreeSet::from(["0 0/6", "2 2/6", "4 4/6"]));
    let second = run("2/2", &["--json"]);
    let events: Vec<Value> =
        second.stdout_text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&events[0]["event"], &events[0]["hosts"]), (&"run_start".into(), &3.into()));
    let ends: BTreeSet<(u64, String)> = events
        .iter()
        .filter(|event| event["event"] == "end")
        .map(|event| (event["index"].as_u64().expect("an index"), event["label"].as_str().expect("a label").to_owned()))
        .collect();
    let expected = [(1, &labels[1]), (3, &labels[3]), (5, &labels[1])].map(|(index, label)| (index, label.clone()));
    assert_eq!(ends, BTreeSet::from(expected));
    // Two shares write into the same directory, and no file of a host is that of another.
    for shard in ["1/2", "2/2"] {
        run(shard, &["-o", "out"]);
    }
    let files: BTreeSet<String> = fs::read_dir(env.path("out"))
        .expect("the directory")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let mut expected: BTreeSet<String> = all.iter().cloned().collect();
    expected.insert(format!("{}.1", all[1]));
    assert_eq!(files, expected);
    assert_eq!(fs::read_to_string(env.path("out").join(format!("{}.1", all[1]))).expect("a file"), "5/6\n");
    // The same for directories of downloads.
    env.file("got", "x");
    let got = env.path("got").display().to_string();
    for shard in ["1/2", "2/2"] {
        let run = env.run_of(Program::Pslurp).hosts(&list).args(["--shard", shard, "-L", "down", &got, "got"]).run();
        run.exits(0);
    }
    let count = fs::read_dir(env.path("down")).expect("the directory").count();
    assert_eq!(count, 6, "a directory for each host of the list");
    assert!(env.path("down").join(format!("{}.1", all[1])).join("got").exists());
}

#[test]
fn shares_by_name_agree_on_lists_that_differ() {
    let env = Env::without_key();
    let shares = |hosts: &str, count: usize| -> Vec<BTreeSet<String>> {
        (1..=count).map(|k| list(&env, &format!("hash:{k}/{count}"), &["-H", hosts]).into_iter().collect()).collect()
    };
    let whole = shares("n[1-40] N1 me@n1:22", 4);
    assert_eq!(whole.iter().map(BTreeSet::len).sum::<usize>(), 42, "each host is in one share: {whole:?}");
    assert!(whole.iter().all(|share| share.len() > 3), "{whole:?}");
    // Another machine knows others, in another order.
    for (ours, theirs) in whole.iter().zip(shares("x[1-3] n[30-40] n[1-29]", 4)) {
        let both = |name: &&String| !name.starts_with('x') && name.starts_with('n');
        let ours: BTreeSet<&String> = ours.iter().filter(both).collect();
        assert_eq!(theirs.iter().filter(both).collect::<BTreeSet<_>>(), ours);
    }
    // Entries of a host are together, whatever their user, port and case.
    assert_eq!(
        whole.iter().filter(|share| ["n1", "N1", "me@n1:22"].iter().any(|name| share.contains(*name))).count(),
        1
    );
    // These never change: other versions must agree.
    assert_eq!(list(&env, "hash:1/4", &["-w", "n[1-8],web1.example.com,10.0.0.1"]).join(" "), FIRST_OF_FOUR);
}

const FIRST_OF_FOUR: &str = "n4 n8 web1.example.com 10.0.0.1";

fn with(mut run: Pssh, variables: &[(&str, &str)]) -> Pssh {
    for (name, value) in variables {
        run = run.variable(name, value);
    }
    run
}

const SLURM: [(&str, &str); 5] = [
    ("SLURM_ARRAY_TASK_ID", "12"),
    ("SLURM_ARRAY_TASK_MIN", "10"),
    ("SLURM_ARRAY_TASK_MAX", "14"),
    ("SLURM_ARRAY_TASK_STEP", "2"),
    ("SLURM_ARRAY_TASK_COUNT", "3"),
];

#[test]
fn tasks_of_engines_have_their_shares() {
    let env = Env::without_key();
    for (shard, variables, expected) in [
        ("slurm", &SLURM[..], "b e"),
        ("k8s/3", &[("JOB_COMPLETION_INDEX", "2")], "c f"),
        ("aws", &[("AWS_BATCH_JOB_ARRAY_INDEX", "0"), ("AWS_BATCH_JOB_ARRAY_SIZE", "3")], "a d"),
        ("gitlab", &[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "3")], "a d"),
        ("nomad/2", &[("NOMAD_ALLOC_INDEX", "1")], "b d f"),
    ] {
        let run = with(env.bare_pssh().args(["--list", "-H", "a b c d e f", "--shard", shard]), variables).run();
        run.exits(0).stdout_is(&expected.split(' ').map(|host| format!("{host}\n")).collect::<String>());
    }
}

#[test]
fn what_is_wrong_with_a_share_is_told_before_anything_connects() {
    let (env, sshd) = hosts(1);
    let pssh = |shard: &str| env.pssh().hosts(sshd.hosts()).args(["--shard", shard, "true"]);
    for (shard, words) in [
        ("0/3", "expected a share from 1 to 3 before the /"),
        ("4/3", "expected a share from 1 to 3 before the /"),
        ("1/0", "expected a number of shares from 1 to 1000000 after the /"),
        ("1", "expected K/N, such as 3/8, slurm, k8s/N, aws, gitlab, nomad/N, or one of them after hash:"),
        ("", "expected K/N"),
        ("k8s", "k8s does not tell how many shares there are: expected k8s/N"),
        ("slurm/3", "slurm knows how many shares there are: expected slurm alone"),
        ("jenkins", "expected K/N"),
    ] {
        pssh(shard).run().exits(2).stdout_is("").stderr_has("for '--shard <SHARE>': ").stderr_has(words);
    }
    // A shard is never guessed, whatever engine there seems to be.
    let changed =
        |name: &str, value: &'static str| SLURM.map(|(key, old)| (key, if key == name { value } else { old }));
    for (shard, variables, words) in [
        ("slurm", &[][..], "--shard slurm: SLURM_ARRAY_TASK_COUNT is not set: this is not a task of a Slurm array"),
        (
            "slurm",
            &changed("SLURM_ARRAY_TASK_ID", "x"),
            "--shard slurm: SLURM_ARRAY_TASK_ID=\"x\" is not a whole number\n",
        ),
        (
            "slurm",
            &changed("SLURM_ARRAY_TASK_ID", "16"),
            "--shard slurm: SLURM_ARRAY_TASK_ID=16 is out of range: expected 10 to 14\n",
        ),
        (
            "slurm",
            &changed("SLURM_ARRAY_TASK_ID", "13"),
            "--shard slurm: the tasks of the array are not evenly spaced: SLURM_ARRAY_TASK_ID=13 of 3 tasks",
        ),
        (
            "k8s/3",
            &[("JOB_COMPLETION_INDEX", "3")],
            "--shard k8s: JOB_COMPLETION_INDEX=3 is out of range: expected 0 to 2\n",
        ),
        ("nomad/3", &[], "--shard nomad: NOMAD_ALLOC_INDEX is not set: this is not an allocation of a Nomad job\n"),
        (
            "gitlab",
            &[("CI_NODE_TOTAL", "3")],
            "--shard gitlab: CI_NODE_INDEX is not set: this is not a GitLab job with",
        ),
        (
            "aws",
            &[("AWS_BATCH_JOB_ARRAY_SIZE", "0")],
            "AWS_BATCH_JOB_ARRAY_SIZE=0 is out of range: expected 1 to 1000000\n",
        ),
    ] {
        with(pssh(shard), variables).run().exits(2).stdout_is("").stderr_has("pssh: --shard ").stderr_has(words);
    }
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn a_share_without_hosts_is_a_success_that_says_so() {
    let (env, sshd) = hosts(1);
    let told = "pssh: --shard 2/2: this share has no hosts\n";
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["--shard", "2/2"]);
    // -A would ask on a terminal.
    let run = pssh().args(["-A", "--failed-to", "failed", "--junit", "report", "true"]).run();
    run.exits(0).stdout_is("").check(run.stderr_text() == told, "one line");
    assert_eq!(fs::read_to_string(env.path("failed")).expect("the file"), "");
    assert!(fs::read_to_string(env.path("report")).expect("the file").contains("tests=\"0\""));
    let run = pssh().args(["-q", "true"]).run();
    run.exits(0).stdout_is("").check(run.stderr.is_empty(), "quiet");
    let run = pssh().args(["--json", "true"]).run();
    run.exits(0).stderr_has(told);
    let events: Vec<Value> = run.stdout_text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["run_start", "run_end"]);
    for format in ["lines", "inline", "gather", "status", "none"] {
        pssh().args(["--format", format, "--times", "--stop-on-errors=10%", "true"]).run().exits(0);
    }
    for args in [&["--list"][..], &["--list=folded"], &["--dry-run", "true"], &["--explain"]] {
        pssh().args(args).run().exits(0).stdout_is("");
    }
    for program in [Program::Pscp, Program::Pslurp, Program::Prsync, Program::Pnuke] {
        let words: &[&str] = if program == Program::Pnuke { &["x"] } else { &["/etc/hostname", "there"] };
        let run = env.run_of(program).hosts(sshd.hosts()).args(["--shard", "2/2"]).args(words).run();
        run.exits(0).stderr_has("--shard 2/2: this share has no hosts\n");
    }
    // A list without hosts is a mistake in any share.
    env.pssh()
        .args(["-h", "/dev/null", "--shard", "2/2", "true"])
        .run()
        .exits(2)
        .stderr_has("the list of hosts is empty");
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn a_run_is_bounded_but_lists_of_a_million_hosts_have_shares() {
    let env = Env::without_key();
    let told = "pssh: the run has 100001 hosts, but a run has at most 100000; --shard 1/2 runs the first of 2 shares\n";
    let run = env.pssh().args(["-w", "n[1-100001]", "true"]).run();
    run.exits(2).stdout_is("").stderr_has(told);
    let run = env.pssh().args(["-w", "n[1-250000]", "--shard", "1/2", "true"]).run();
    run.exits(2).stderr_has("pssh: the run has 125000 hosts, but a run has at most 100000; --shard 1/2 ");
    let run = env.pssh().args(["-w", "n[1-100001]", "--dry-run", "true"]).run();
    // Several threads look up so many hosts.
    let expected: String = (1..=100_001).map(|n| format!("n{n}: true\n")).collect();
    run.exits(0).check(run.stdout_text() == expected, "only printed, in the order of the list");
    let file = env.file("hosts", (0..1_000_000).map(|n| format!("node{n}.dc1.example.com\n")).collect::<String>());
    let file = file.display().to_string();
    let run =
        env.bare_pssh().args(["--list", "--shard", "8/100000", "-h", &file, "--exclude", "node0.*"]).limit(300).run();
    run.exits(0);
    let expected: String = (0..10).map(|n| format!("node{}.dc1.example.com\n", n * 100_000 + 8)).collect();
    run.stdout_is(&expected);
    let run = dry(&env, "200000/200000", &["-w", "n[1-200000]", "--template", "echo %(index)s"]);
    run.stdout_is("n200000: echo 199999\n");
    let run = env.pssh().args(["--list", "-w", "n[1-1000000],x"]).limit(300).run();
    run.exits(2).stderr_has("pssh: -w:14: \"x\": more than 1000000 hosts\n");
}
