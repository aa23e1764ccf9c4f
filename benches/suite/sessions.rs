//! What further commands on the sessions of one library client cost, beside the first one.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pssh::{AgentChoice, Class, Client, ConfigFiles, Settings};
use rustix::time::Timespec;
use serde_json::{Value, json};

use crate::scenarios::{Case, Work};
use crate::site::{Site, USER};

/// Commands of the longer of the two runs that are compared.
const COMMANDS: usize = 10;
/// How much they may cost, if one command costs 1.
const GOAL: f64 = 1.3;

/// Seconds of one client, from its first connection to its end.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// The medians of all rounds.
pub(crate) struct Measured {
    hosts: usize,
    one: Cost,
    ten: Cost,
}

/// Compares one command on all hosts with ten. The client is in this process, the hosts are not.
pub(crate) fn measure(case: &Case, limit: Duration) -> Result<Measured> {
    ensure!(case.work == Work::Name, "the hosts say one line");
    let mut site = Site::start(case)?;
    let (mut one, mut ten) = (Vec::new(), Vec::new());
    for round in 0..case.rounds {
        for (commands, costs) in [(1, &mut one), (COMMANDS, &mut ten)] {
            let before = site.counts()?;
            let cost = run(&site, case, commands, limit)?;
            let seen = site.counts()?.since(before);
            let expected = (case.hosts * commands) as u64;
            ensure!(seen.commands == expected, "the hosts were asked for {} commands, not {expected}", seen.commands);
            ensure!(seen.logins == case.hosts as u64, "{} logins on {} hosts", seen.logins, case.hosts);
            let Cost { wall, cpu } = cost;
            let (key, round, rounds) = (case.key, round + 1, case.rounds);
            eprintln!("suite: {key} {round}/{rounds}: {commands} commands: {wall:.3} s, {cpu:.3} s of CPU");
            costs.push(cost);
        }
    }
    Ok(Measured { hosts: case.hosts, one: median(&one)?, ten: median(&ten)? })
}

fn run(site: &Site, case: &Case, commands: usize, limit: Duration) -> Result<Cost> {
    let mut settings = Settings::for_library()?;
    settings.user = Some(USER.to_owned());
    settings.identities = vec![site.key.clone()];
    settings.known_hosts = vec![site.known_hosts.clone()];
    settings.agent = AgentChoice::Nobody;
    settings.config_files = ConfigFiles::of("", Some("none".as_ref()));
    settings.pool_size = case.parallel;
    let port = site.port_of_hosts(case.route);
    let hosts = site.host_list().replace(',', " ");
    let hosts = hosts.split(' ').map(|host| format!("{host}:{port}"));
    let (begun, cpu) = (Instant::now(), seconds_of_cpu());
    let client = Client::new(hosts, settings)?;
    for _ in 0..commands {
        let tally = client.run_command("true")?.join(Some(limit))?;
        ensure!(tally.count(Class::Ok) == case.hosts, "{tally}");
    }
    drop(client);
    Ok(Cost { wall: begun.elapsed().as_secs_f64(), cpu: seconds_of_cpu() - cpu })
}

/// User and system time of this process so far.
fn seconds_of_cpu() -> f64 {
    let Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

fn median(costs: &[Cost]) -> Result<Cost> {
    let of = |field: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().context("nothing was measured")
    };
    Ok(Cost { wall: of(|cost| cost.wall)?, cpu: of(|cost| cost.cpu)? })
}

impl Measured {
    fn ratios(&self) -> (f64, f64) {
        (self.ten.wall / self.one.wall, self.ten.cpu / self.one.cpu)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("**(j)** {COMMANDS} commands on {} hosts with one library client\n\n", self.hosts);
        let (wall, cpu) = self.ratios();
        text += "| | wall | CPU |\n| --- | ---: | ---: |\n";
        for (name, cost) in [("one command", self.one), ("ten commands", self.ten)] {
            let _ = writeln!(text, "| {name} | {:.3} s | {:.3} s |", cost.wall, cost.cpu);
        }
        let further = (self.ten.cpu - self.one.cpu) / ((COMMANDS - 1) * self.hosts) as f64 * 1e6;
        let first = self.one.cpu / self.hosts as f64 * 1e6;
        let _ = writeln!(text, "| each further command, per host | | {further:.0} us |");
        let _ = writeln!(text, "| the first command with its login, per host | | {first:.0} us |");
        let met = |ratio: f64| if ratio <= GOAL { "" } else { " (missed)" };
        let _ = writeln!(text, "| ratio; goal: at most {GOAL} | {wall:.2}{} | {cpu:.2}{} |", met(wall), met(cpu));
        text
    }

    pub(crate) fn to_json(&self) -> Value {
        let cost = |cost: Cost| json!({"wall": cost.wall, "cpu": cost.cpu});
        json!({"hosts": self.hosts, "one": cost(self.one), "ten": cost(self.ten), "goal": GOAL})
    }
}
