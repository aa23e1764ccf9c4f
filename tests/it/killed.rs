//! Runs with a journal that are killed at any moment, and at each write: a run that continues them sends no command twice, and reports every
//! host.
//!
//! `PSSH_TEST_KILLS=200` kills runs of 100 hosts that often; without it, there are fewer hosts, and as many kills as fit into a few
//! seconds.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::bin::Run;
use crate::journal::{Herd, of_kind, records};

/// How long kills at random moments go on, unless their number is given.
const TIME: Duration = Duration::from_secs(8);
/// Kills at random moments even on a slow machine.
const FEWEST: usize = 5;

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// How each host ended in the report, by its label. Fails unless each has one end.
#[track_caller]
fn ends(run: &Run, hosts: usize) -> BTreeMap<String, String> {
    let mut ends = BTreeMap::new();
    for line in run.stdout_text().lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        if event["event"] == "end" {
            let text = |name: &str| event[name].as_str().expect("text").to_owned();
            run.check(ends.insert(text("label"), text("outcome")).is_none(), "one end each");
        }
    }
    run.check(ends.len() == hosts, &format!("{} of {hosts} hosts are reported", ends.len()));
    ends
}

/// Continues the run of `word` in the journal `word`, and checks what became of all hosts. `what` says how it was killed.
#[track_caller]
fn resume(herd: &Herd, word: &str, hosts: usize, what: &str) {
    let run = herd.run(word, word, &["--resume", "--json", "-p", "16"]).limit(120).run();
    let ends = ends(&run, hosts);
    let counts = herd.counts(word);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    run.check(twice.is_empty(), &format!("{what}: no command runs twice, but {twice:?}"));
    let all = records(&herd.env, word);
    for (label, outcome) in &ends {
        let ran = counts.get(label).copied().unwrap_or_default();
        run.check(
            ["ok", "lost"].contains(&&**outcome),
            &format!("{what}: {label} ends well or is lost, not {outcome}"),
        );
        // A lost one may have run, or may not.
        run.check(ran == 1 || outcome == "lost", &format!("{what}: {label} ran"));
    }
    let lost = ends.values().filter(|outcome| *outcome == "lost").count();
    let of = |event: &str| {
        of_kind(&all, event).iter().map(|record| record["index"].as_u64()).collect::<std::collections::BTreeSet<_>>()
    };
    let unknown = of("sent").difference(&of("end")).count();
    run.check(unknown == lost, &format!("{what}: lost is what was sent and has no end: {unknown}, not {lost}"));
    run.exits(if lost > 0 { 4 } else { 0 });
    // The same once more has nothing to do; nor has a replay, which tells the same.
    let again = herd.run(word, word, &["--resume", "--json"]).run();
    again.check(self::ends(&again, hosts) == ends, &format!("{what}: the same again"));
    let replay = herd.env.pssh().args(["--replay", word, "--json"]).run();
    replay.check(self::ends(&replay, hosts) == ends, &format!("{what}: the same in a replay"));
    run.check(herd.counts(word) == counts, &format!("{what}: nothing more is sent"));
}

#[test]
fn no_command_runs_twice_whenever_the_run_is_killed() {
    let kills: Option<usize> = std::env::var("PSSH_TEST_KILLS").ok().map(|number| number.parse().expect("a number"));
    let hosts: u8 = if kills.is_some() { 100 } else { 40 };
    let seed = std::env::var("PSSH_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed"));
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs());
    let mut random = Random(seed);
    let herd = Herd::new(hosts, Duration::from_millis(15));
    // How long a run takes.
    let begun = Instant::now();
    herd.run("whole", "whole", &["-p", "8"]).run().exits(0);
    let whole = begun.elapsed().as_micros() as u64;
    let (begun, mut count, mut cut) = (Instant::now(), 0, 0);
    while kills.map_or(count < FEWEST || begun.elapsed() < TIME, |kills| count < kills) {
        let (word, after) = (format!("run{count}"), Duration::from_micros(random.below(whole)));
        let what = format!("PSSH_TEST_SEED={seed}, kill number {count}, after {after:?}");
        let run = herd.run(&word, &word, &["-p", "8"]).start();
        thread::sleep(after);
        run.signal(Signal::KILL);
        run.finish();
        cut += usize::from((1..usize::from(hosts)).contains(&herd.counts(&word).len()));
        resume(&herd, &word, hosts.into(), &what);
        fs::remove_file(herd.env.path(&word)).expect("its journal");
        count += 1;
    }
    assert!(cut > 0, "of {count} kills some were in the middle of the run");
}

#[test]
fn no_command_runs_twice_where_the_run_is_killed_at_each_write_and_sync() {
    let hosts = 4;
    let herd = Herd::new(hosts, Duration::from_millis(2));
    // The calls that change the journal: each of them in its turn does not come to pass, and is the last of the process.
    for call in ["write", "fdatasync", "fsync"] {
        let mut reached = 0;
        for number in 1..40 {
            let word = format!("{call}{number}");
            let path = herd.env.path(&word);
            // Only calls on this file count, or on the directory of a new one.
            let traced = if call == "fsync" { herd.env.path("") } else { path.clone() };
            let script = format!(
                "exec strace -f -qq -o /dev/null -P '{}' -e trace={call} -e inject={call}:signal=KILL:when={number} \"$@\"",
                traced.display().to_string().trim_end_matches('/'),
            );
            let run = herd.run(&word, &word, &["-p", "2"]).shell(&script).run();
            if run.status.success() {
                break;
            }
            reached = number;
            resume(&herd, &word, hosts.into(), &format!("killed at {call} number {number}"));
        }
        // At least the beginning, and one for what is sent.
        let fewest = if call == "fsync" { 1 } else { 2 };
        assert!((fewest..39).contains(&reached), "{reached} times {call}");
    }
}
