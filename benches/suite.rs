//! Measures this pssh beside its peers, against the SSH server of the tests, and prints ratios.
//!
//! ```text
//! cargo bench --bench suite                     everything: the best part of an hour
//! cargo bench --bench suite -- a c              two scenarios
//! cargo bench --bench suite -- --quick          a small version of everything, to see that it works
//! cargo bench --bench suite -- --help
//! ```
//!
//! `benches/README.md` tells what is measured, and what is not.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks to the user")]

#[path = "suite/agent.rs"]
mod agent;
#[path = "suite/check.rs"]
mod check;
#[path = "suite/contests.rs"]
mod contests;
#[path = "suite/delay.rs"]
mod delay;
#[path = "../tests/embedded/mod.rs"]
mod embedded;
#[path = "suite/goals.rs"]
mod goals;
#[path = "suite/machine.rs"]
mod machine;
#[path = "suite/meter.rs"]
mod meter;
#[path = "suite/results.rs"]
mod results;
#[path = "suite/scenarios.rs"]
mod scenarios;
#[path = "suite/server.rs"]
mod server;
#[path = "suite/sessions.rs"]
mod sessions;
#[path = "suite/site.rs"]
mod site;
#[path = "suite/sshd.rs"]
mod sshd;
#[path = "suite/tools.rs"]
mod tools;
#[path = "suite/trials.rs"]
mod trials;
#[path = "suite/trust.rs"]
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::json;

use crate::machine::Machine;
use crate::meter::Invocation;
use crate::results::{Entry, Outcome, Runs};
use crate::scenarios::{CASES, Case, SESSIONS, Work};
use crate::server::Counts;
use crate::site::Site;
use crate::tools::{Found, Places, Show, Tool};
use crate::trials::Trial;

/// Measures this pssh beside its peers.
#[derive(Debug, Parser)]
#[command(name = "suite")]
struct Options {
    /// Scenarios, by letter or by name, such as `a` or `e-5000` [default: all]
    scenarios: Vec<String>,
    /// A small version of everything, once, to see that it works
    #[arg(long)]
    quick: bool,
    /// How often each tool runs, instead of the scenario's own number
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only these tools: this, pssh, pdsh, clush, parallel-ssh, bssh, xargs, ssh
    #[arg(long, value_name = "TOOL,...", value_delimiter = ',')]
    tools: Vec<String>,
    /// Another binary than the one that cargo has just built
    #[arg(long, value_name = "FILE")]
    this: Option<PathBuf>,
    /// The Python pssh [default: parallel-ssh in PATH, Debian's name for it]
    #[arg(long, value_name = "FILE")]
    pssh: Option<PathBuf>,
    /// A Python that has the library parallel-ssh, such as that of a venv [default: python3 in PATH]
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// bssh [default: in PATH]
    #[arg(long, value_name = "FILE")]
    bssh: Option<PathBuf>,
    /// Where all numbers go
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/suite.json"))]
    json: PathBuf,
    /// How long one run may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    limit: u64,
    /// Measure nothing: show the command lines of a scenario, and keep its hosts up until Enter, for a profiler
    #[arg(long)]
    hold: bool,
    /// Show the command lines that are run
    #[arg(short, long)]
    verbose: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.first().map(String::as_str) {
        Some(server::ARGUMENT) => server::main(&arguments[1..]).map(|()| true),
        Some(meter::ARGUMENT) => meter::main().map(|()| true),
        _ => run(Options::parse()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for. False if this pssh failed anywhere.
fn run(mut options: Options) -> Result<bool> {
    if !options.bench {
        // `cargo test --all-targets` runs it too, and wants to know only whether it works.
        options.quick = true;
        options.tools = vec![Tool::This.word().to_owned()];
    }
    check::try_itself().map_err(anyhow::Error::msg)?;
    trust::try_itself()?;
    embedded::raise_files();
    let cases = cases(&options)?;
    let tools = find(&options)?;
    let machine = Machine::here();
    println!("{}\n", machine.line());
    if options.quick {
        println!(
            "This is the **small version**: fewer hosts and bytes than the titles say. Its numbers mean nothing.\n"
        );
    }
    if machine.load > 0.5 * machine.cores as f64 && !options.quick {
        println!("The machine was **not idle**: load {:.1} at the start.\n", machine.load);
    }
    for found in tools.values() {
        println!("- {}: {}", found.tool.name(), found.version);
    }
    println!();

    if options.hold {
        cases.iter().try_for_each(|case| hold(case, &tools))?;
        return Ok(true);
    }
    let (mut outcomes, mut kept) = (Vec::new(), None);
    for case in &cases {
        let outcome = measure(case, &tools, &options).with_context(|| format!("scenario {}", case.key))?;
        println!("{}", outcome.table());
        outcomes.push(outcome);
        save(&options, &machine, &tools, &outcomes, kept.as_ref(), &[])?;
    }
    if is_wanted(SESSIONS.key, &options) {
        let case = prepared(&SESSIONS, &options);
        let measured = sessions::measure(&case, Duration::from_secs(options.limit));
        let measured = kept.insert(measured.with_context(|| format!("scenario {}", case.key))?);
        println!("{}", measured.table());
        save(&options, &machine, &tools, &outcomes, kept.as_ref(), &[])?;
    }
    let mut trials = Vec::new();
    let this = tools.get(&Tool::This).filter(|_| options.bench);
    let wanted = contests::KEYS.iter().filter(|key| is_wanted(key, &options));
    for (key, this) in wanted.filter_map(|key| Some((key, this?))) {
        let way = contests::Way {
            this: &this.program,
            is_quick: options.quick,
            rounds: options.rounds,
            limit: Duration::from_secs(options.limit),
            verbose: options.verbose,
            only_ours: tools.len() == 1,
        };
        let trial = contests::run(key, &way).with_context(|| format!("scenario {key}"))?;
        println!("{}", trial.table());
        trials.push(trial);
        save(&options, &machine, &tools, &outcomes, kept.as_ref(), &trials)?;
    }
    let trips = goals::trips(&outcomes);
    if !trips.is_empty() {
        println!("{}", goals::trips_table(&trips));
    }
    if !options.quick {
        println!("{}", goals::table(&goals::judge(&outcomes, &trials)));
    }
    eprintln!("suite: all numbers are in {}", options.json.display());
    let ours = outcomes.iter().flat_map(|outcome| &outcome.entries).filter(|entry| entry.tool == Tool::This);
    Ok(ours.filter(|entry| entry.runs.problem.is_some()).count() == 0 && !trials.iter().any(Trial::is_failure))
}

/// The scenarios that are asked for.
fn cases(options: &Options) -> Result<Vec<Case>> {
    let all = || CASES.iter().chain([&SESSIONS]).map(|case| case.key).chain(contests::KEYS);
    for name in &options.scenarios {
        ensure!(
            all().any(|key| is(key, name)),
            "there is no scenario {name:?}; there are {}",
            all().collect::<Vec<_>>().join(" ")
        );
    }
    Ok(CASES.iter().filter(|case| is_wanted(case.key, options)).map(|case| prepared(case, options)).collect())
}

/// Whether a scenario has this name, or this letter.
fn is(key: &str, name: &str) -> bool {
    key == name || key.split('-').next() == Some(name)
}

fn is_wanted(key: &str, options: &Options) -> bool {
    options.scenarios.is_empty() || options.scenarios.iter().any(|name| is(key, name))
}

/// A scenario in the size that is asked for.
fn prepared(case: &Case, options: &Options) -> Case {
    let case = if options.quick { case.quick() } else { *case };
    Case { rounds: options.rounds.unwrap_or(case.rounds).max(1), ..case }
}

/// The tools that are there; tells which are not.
fn find(options: &Options) -> Result<BTreeMap<Tool, Found>> {
    let places = Places {
        this: options.this.clone(),
        pssh: options.pssh.clone(),
        python: options.python.clone(),
        bssh: options.bssh.clone(),
    };
    for name in &options.tools {
        ensure!(Tool::ALL.iter().any(|tool| tool.word() == name), "there is no tool {name:?}");
    }
    let mut tools = BTreeMap::new();
    for tool in Tool::ALL {
        if !options.tools.is_empty() && !options.tools.iter().any(|name| name == tool.word()) {
            continue;
        }
        match Found::find(tool, &places) {
            Ok(found) => drop(tools.insert(tool, found)),
            Err(problem) if tool == Tool::This => return Err(problem),
            Err(problem) => println!("{} is not measured: {problem:#}\n", tool.name()),
        }
    }
    if tools.is_empty() {
        bail!("there is nothing to measure");
    }
    Ok(tools)
}

/// One scenario: round after round, and in each every tool once.
fn measure(case: &Case, tools: &BTreeMap<Tool, Found>, options: &Options) -> Result<Outcome> {
    let mut site = Site::start(case)?;
    let round_trip = if case.route.is_far() { Some(site.round_trip()?.as_secs_f64()) } else { None };
    let mut entries = Vec::new();
    for (tool, show, invocation) in invocations(case, tools, &site)? {
        let command_line = invocation.command_line();
        if options.verbose {
            eprintln!("suite: {command_line}");
        }
        let (runs, counts) = (Runs::default(), Counts::default());
        entries.push((Entry { tool, show, command_line, runs, counts }, invocation));
    }
    let lines = match case.work {
        Work::Lines { bytes } => usize::try_from(bytes)? / check::LINE,
        Work::Name | Work::Hold { .. } | Work::Version => 1,
    };
    for round in 0..case.rounds {
        // Nobody is always the first, or always behind the same.
        let count = entries.len();
        for turn in 0..count {
            let (entry, invocation) = &mut entries[(turn + round) % count];
            if entry.runs.problem.is_some() {
                continue;
            }
            site.clear_output()?;
            let before = site.counts()?;
            let measured = meter::measure(invocation, case.hosts, lines, Duration::from_secs(options.limit));
            entry.counts = site.counts()?.since(before);
            let name =
                format!("{} {}/{} {} {}", case.key, round + 1, case.rounds, entry.tool.word(), entry.show.word());
            let complete = |measured| complete(measured, entry, case).and_then(|done| site.check_left().map(|()| done));
            let run = measured.and_then(complete);
            entry.runs.add(&name, run);
        }
    }
    site.clear_output()?;
    Ok(Outcome { case: *case, entries: entries.into_iter().map(|(entry, _)| entry).collect(), round_trip })
}

/// What each tool that is there runs in a scenario.
fn invocations(case: &Case, tools: &BTreeMap<Tool, Found>, site: &Site) -> Result<Vec<(Tool, Show, Invocation)>> {
    let contest = case.contest.iter().filter_map(|(tool, show)| Some((tools.get(tool)?, *show)));
    contest.map(|(found, show)| Ok((found.tool, show, found.invocation(show, case, site)?))).collect()
}

/// Keeps the hosts of a scenario up, for command lines of the user's own.
fn hold(case: &Case, tools: &BTreeMap<Tool, Found>) -> Result<()> {
    let site = Site::start(case)?;
    println!("**({})** {}\n", case.key, case.title);
    for (_, _, invocation) in invocations(case, tools, &site)? {
        println!("    {}", invocation.command_line());
    }
    println!("\nThe hosts are up until Enter.");
    std::io::stdin().read_line(&mut String::new()).context("cannot wait for Enter")?;
    Ok(())
}

/// Whether the hosts have seen what they should: each host's command once.
fn complete(measured: meter::Measured, entry: &Entry, case: &Case) -> Result<meter::Measured> {
    let hosts = case.hosts as u64;
    let seen = entry.counts;
    ensure!(seen.commands == hosts, "the hosts were asked for {} commands, not {hosts}", seen.commands);
    Ok(measured)
}

/// Writes all numbers so far, so that a run that is cut short is not lost.
fn save(
    options: &Options,
    machine: &Machine,
    tools: &BTreeMap<Tool, Found>,
    outcomes: &[Outcome],
    kept: Option<&sessions::Measured>,
    trials: &[Trial],
) -> Result<()> {
    let trips = goals::trips(outcomes);
    let (goals, trips) = goals::to_json(&goals::judge(outcomes, trials), &trips);
    let tools = tools
        .values()
        .map(|found| json!({"tool": found.tool.word(), "program": found.program.to_str(), "version": found.version}));
    let json = json!({
        "machine": machine.line(),
        "load": machine.load,
        "quick": options.quick,
        "tools": tools.collect::<Vec<_>>(),
        "scenarios": outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        "command_lines": trials.iter().map(Trial::to_json).collect::<Vec<_>>(),
        "sessions": kept.map(sessions::Measured::to_json),
        "round_trips": trips,
        "goals": goals,
    });
    let text = format!("{json:#}\n");
    std::fs::write(&options.json, text).with_context(|| format!("cannot write {}", options.json.display()))
}
