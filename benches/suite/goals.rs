//! What this pssh wants to be, as ratios to the others in the same run.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::results::{Entry, Outcome, figures};
use crate::tools::{Show, Tool};
use crate::trials::{Row, Trial};

/// A goal, and what came of it.
pub(crate) struct Goal {
    letter: &'static str,
    words: &'static str,
    /// What was measured; `None` where something for it is missing.
    value: Option<f64>,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(&self) -> Option<bool> {
        self.value.map(|value| match self.limit {
            Limit::AtMost(limit) => value <= limit,
            Limit::Below(limit) => value < limit,
            Limit::AtLeast(limit) => value >= limit,
        })
    }
}

/// All goals, as far as their scenarios were run.
pub(crate) fn judge(outcomes: &[Outcome], trials: &[Trial]) -> Vec<Goal> {
    let case = |key: &str| outcomes.iter().find(|outcome| outcome.case.key == key);
    let entry = |key: &str, tool, show| case(key).and_then(|case| case.entry(tool, show));
    let of = |key: &str, tool| case(key).and_then(|case| case.of(tool));
    let ratio = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one / other);
    let cpu = |entry: Option<&Entry>| entry.and_then(Entry::cpu);
    let wall = |entry: Option<&Entry>| entry.and_then(Entry::wall);
    let megabytes = |entry: Option<&Entry>| entry.and_then(Entry::memory).map(|bytes| bytes / 1e6);
    let formatted = |tool, show| wall(entry("b", tool, show));
    let ours = |show| formatted(Tool::This, show);
    let per_host = |key: &str| case(key).and_then(|case| Some(cpu(case.of(Tool::This))? / case.case.hosts as f64));
    let bastions = case("f-bastion").and_then(|case| case.of(Tool::This)).filter(|entry| entry.runs.problem.is_none());
    let printed = |value: fn(Option<&Entry>) -> Option<f64>| {
        ratio(value(entry("q", Tool::This, Show::Lines)), value(entry("q", Tool::This, Show::Silence)))
    };
    // Who takes long over loopback too, waits for something else meanwhile, and so hides round trips.
    let is_comparable = |tool: Tool| {
        let near = of("d-near", tool).and_then(Entry::first);
        let round_trip = case("d-far").and_then(|far| far.round_trip);
        near.zip(round_trip).is_some_and(|(near, round_trip)| near < 5.0 * round_trip)
    };
    // Who prints something of its own first has no round trips before it, and a login takes some.
    let rivals =
        trips(outcomes).into_iter().filter(|(tool, trips)| *tool != Tool::This && *trips > 2.0 && is_comparable(*tool));
    let rival = rivals.map(|(_, trips)| trips);
    let rival = rival.min_by(f64::total_cmp);
    let own_trips = trips(outcomes).into_iter().find(|(tool, _)| *tool == Tool::This).map(|(_, trips)| trips);

    use Limit::{AtLeast, AtMost, Below};
    let goal = |letter, words, value, limit| Goal { letter, words, value, limit };
    let a = |tool| ratio(cpu(of("a", Tool::This)), cpu(of("a", tool)));
    let mut goals = vec![
        goal("a", "CPU per host, to the Python pssh's", a(Tool::Pssh), AtMost(0.1)),
        goal("a", "CPU per host, to the library parallel-ssh's", a(Tool::ParallelSsh), AtMost(1.0 / 3.0)),
        goal("a", "CPU per host, to bssh's", a(Tool::Bssh), Below(1.0)),
        goal(
            "b",
            "pdsh's time, to that of lines",
            ratio(formatted(Tool::Pdsh, Show::Lines), ours(Show::Lines)),
            AtLeast(5.0),
        ),
        goal(
            "b",
            "the Python pssh's time with -P, to that of lines",
            ratio(formatted(Tool::Pssh, Show::Lines), ours(Show::Lines)),
            AtLeast(30.0),
        ),
        goal(
            "b",
            "the Python pssh's time with -i, to that of inline",
            ratio(formatted(Tool::Pssh, Show::Inline), ours(Show::Inline)),
            AtLeast(30.0),
        ),
        goal("b", "memory of lines, in MB", megabytes(entry("b", Tool::This, Show::Lines)), AtMost(40.0)),
        goal(
            "b",
            "the time of gather, to pdsh's",
            ratio(ours(Show::Gather), formatted(Tool::Pdsh, Show::Lines)),
            AtMost(1.0),
        ),
        goal(
            "b",
            "the time of json, to pdsh's",
            ratio(ours(Show::Json), formatted(Tool::Pdsh, Show::Lines)),
            AtMost(1.0),
        ),
        goal(
            "c",
            "memory, to bssh's",
            ratio(megabytes(of("c", Tool::This)), megabytes(of("c", Tool::Bssh))),
            AtMost(1.0),
        ),
        goal(
            "h",
            "CPU per host with a journal, to that without",
            ratio(cpu(entry("h", Tool::This, Show::Journal)), cpu(entry("h", Tool::This, Show::Lines))),
            AtMost(1.05),
        ),
        goal(
            "h",
            "time with a journal, to that without",
            ratio(wall(entry("h", Tool::This, Show::Journal)), wall(entry("h", Tool::This, Show::Lines))),
            AtMost(1.05),
        ),
        goal(
            "h",
            "time with a journal on a disk of 10 ms per sync, to that without",
            ratio(wall(entry("h", Tool::This, Show::SlowJournal)), wall(entry("h", Tool::This, Show::Lines))),
            AtMost(1.2),
        ),
        // Half a round trip is what the measurement can tell.
        goal(
            "d",
            "round trips to the first byte, more than the fewest of the others",
            own_trips.zip(rival).map(|(own, rival)| own - rival),
            AtMost(0.5),
        ),
        goal(
            "d",
            "time, to the Python pssh's",
            ratio(wall(of("d", Tool::This)), wall(of("d", Tool::Pssh))),
            AtMost(0.5),
        ),
        goal("d", "CPU, to bssh's", ratio(cpu(of("d", Tool::This)), cpu(of("d", Tool::Bssh))), Below(1.0)),
        goal("e", "CPU per host of 5,000, to that of 100", ratio(per_host("e-5000"), per_host("e-100")), AtMost(1.2)),
        goal("f", "logins on the jump host", bastions.map(|entry| entry.counts.bastion_logins as f64), AtMost(1.0)),
        goal(
            "f",
            "time behind it, to direct",
            ratio(wall(of("f-bastion", Tool::This)), wall(of("f-direct", Tool::This))),
            AtMost(1.5),
        ),
        goal(
            "g",
            "time of --version, to that of ssh -V",
            ratio(wall(of("g-version", Tool::This)), wall(of("g-version", Tool::Ssh))),
            AtMost(1.0),
        ),
        goal("g", "time of --version, in ms", wall(of("g-version", Tool::This)).map(|time| time * 1e3), Below(2.0)),
        goal(
            "k",
            "CPU per host of 1,000 at once, to that of 64 at once",
            ratio(per_host("k-1000"), per_host("k-64")),
            AtMost(1.15),
        ),
        goal("q", "CPU of lines, to that of printing nothing", printed(cpu), AtMost(1.3)),
        goal("q", "time of lines, to that of printing nothing", printed(wall), AtMost(1.3)),
    ];
    goals.extend(trials.iter().flat_map(judge_trial));
    goals
}

/// The goals of a scenario with command lines of its own.
fn judge_trial(trial: &Trial) -> Vec<Goal> {
    use Limit::{AtLeast, Below};
    let goal = |words, value, limit| Goal { letter: trial.key, words, value, limit };
    let wall = |name: &str| trial.row(name).and_then(Row::wall);
    let ratio = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one / other);
    let ours = |name: &str, value: fn(&Row) -> Option<f64>| trial.row(name).and_then(value);
    match trial.key.split('-').next() {
        Some("r") => vec![
            goal("ssh's time, to that of lines", ratio(wall("ssh"), wall("**this pssh**, lines")), AtLeast(0.9)),
            goal(
                "ssh's time, to that of lines, without AES instructions",
                ratio(wall("ssh, without AES instructions"), wall("**this pssh**, lines, without AES instructions")),
                AtLeast(0.9),
            ),
        ],
        Some("s") if trial.key == "s-plan" => {
            vec![goal("time, in ms", wall("**this pssh** --dry-run").map(|time| time * 1e3), Below(5.0))]
        }
        Some("s") => {
            let memory = ours("**this pssh** --list", Row::memory).map(|bytes| bytes / 1e6);
            vec![
                goal("time of --list, in s", wall("**this pssh** --list"), Below(0.5)),
                goal("memory of --list, in MB", memory, Below(150.0)),
                goal("time of --dry-run, in s", wall("**this pssh** --dry-run"), Below(0.5)),
            ]
        }
        _ => {
            let best = |value: fn(&Row) -> Option<f64>| {
                trial.rows.iter().filter(|row| !row.is_ours).filter_map(value).min_by(f64::total_cmp)
            };
            let to_best = |value: fn(&Row) -> Option<f64>| ratio(ours("**this pscp**", value), best(value));
            vec![
                goal("time of pscp, to the best of the others", to_best(Row::wall), Below(1.0)),
                goal("CPU of pscp, to the best of the others", to_best(Row::cpu), Below(1.0)),
            ]
        }
    }
}

/// Round trips to the first byte of output: how much later it comes over the link. Without that of TCP's handshake, which the link does
/// not delay.
pub(crate) fn trips(outcomes: &[Outcome]) -> Vec<(Tool, f64)> {
    let case = |key: &str| outcomes.iter().find(|outcome| outcome.case.key == key);
    let (Some(near), Some(far)) = (case("d-near"), case("d-far")) else { return Vec::new() };
    let trips = |entry: &Entry| {
        let later = entry.first()? - near.of(entry.tool)?.first()?;
        Some((entry.tool, later / far.round_trip?))
    };
    far.entries.iter().filter_map(trips).collect()
}

/// As a table in Markdown.
pub(crate) fn trips_table(trips: &[(Tool, f64)]) -> String {
    let mut text =
        String::from("Round trips to the first byte, without TCP's own\n\n| | round trips |\n| --- | --: |\n");
    for (tool, trips) in trips {
        let _ = writeln!(text, "| {} | {} |", tool.name(), figures(*trips));
    }
    text
}

/// As a table in Markdown.
pub(crate) fn table(goals: &[Goal]) -> String {
    let mut text = String::from("| | goal | wanted | is | |\n| --- | --- | --: | --: | --- |\n");
    for goal in goals.iter().filter(|goal| goal.value.is_some()) {
        let wanted = match goal.limit {
            Limit::AtMost(limit) => format!("at most {}", figures(limit)),
            Limit::Below(limit) => format!("below {}", figures(limit)),
            Limit::AtLeast(limit) => format!("at least {}", figures(limit)),
        };
        let value = goal.value.map(figures).unwrap_or_default();
        let met = if goal.is_met() == Some(true) { "met" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {wanted} | {value} | {met} |", goal.letter, goal.words);
    }
    text
}

/// All of it, for programs.
pub(crate) fn to_json(goals: &[Goal], trips: &[(Tool, f64)]) -> (Value, Value) {
    let goals = goals
        .iter()
        .map(|goal| json!({"scenario": goal.letter, "goal": goal.words, "value": goal.value, "met": goal.is_met()}));
    let trips = trips.iter().map(|(tool, trips)| json!({"tool": tool.word(), "round_trips": trips}));
    (goals.collect(), trips.collect())
}
