//! What came out: medians, ratios, tables for people and JSON for programs.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::meter::Measured;
use crate::scenarios::{Case, Work};
use crate::server::Counts;
use crate::tools::{Show, Tool};

/// The runs of one command line.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) all: Vec<Measured>,
    /// Why there are no numbers.
    pub(crate) problem: Option<String>,
}

impl Runs {
    /// Adds a run, and tells what it was.
    pub(crate) fn add(&mut self, name: &str, run: Result<Measured>) {
        match run {
            Ok(measured) => {
                eprintln!("suite: {name}: {:.3} s, {:.3} s of CPU", measured.wall, measured.cpu());
                self.all.push(measured);
            }
            Err(problem) => {
                eprintln!("suite: {name}: {problem:#}");
                self.problem = Some(format!("{problem:#}"));
            }
        }
    }

    pub(crate) fn median(&self, value: impl Fn(&Measured) -> f64) -> Option<f64> {
        if self.problem.is_some() { None } else { median(self.all.iter().map(value).collect()) }
    }

    /// Seconds from start to end.
    pub(crate) fn wall(&self) -> Option<f64> {
        self.median(|run| run.wall)
    }

    /// Seconds of processor time.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.median(Measured::cpu)
    }

    /// A row of a table that says why there are no numbers, if there are none.
    pub(crate) fn problem_row(&self, name: &str) -> Option<String> {
        let problem: String = self.problem.as_ref()?.replace(['|', '\n'], " ").chars().take(200).collect();
        Some(format!("| {name} | not measured: {problem} | | | | | |"))
    }

    /// All of them, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let run = |run: &Measured| {
            json!({"wall": run.wall, "first": run.first, "user": run.user, "system": run.system, "memory": run.memory,
                "looks": run.looks, "largest": run.largest, "processes": run.processes,
                "descriptors": run.descriptors, "printed": run.printed})
        };
        self.all.iter().map(run).collect()
    }
}

/// The two cells of a table for a value and its ratio to that of the first row.
pub(crate) fn cells(value: Option<f64>, base: Option<f64>, factor: f64, unit: &str) -> String {
    let shown = value.map(|value| quantity(value * factor, unit));
    let ratio = value.zip(base).map(|(value, base)| figures(value / base));
    format!("{} | {}", shown.as_deref().unwrap_or("-"), ratio.as_deref().unwrap_or("-"))
}

/// One tool in one scenario.
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    pub(crate) show: Show,
    /// What was run.
    pub(crate) command_line: String,
    pub(crate) runs: Runs,
    /// What the hosts saw of the last run.
    pub(crate) counts: Counts,
}

impl Entry {
    /// Seconds from start to end.
    pub(crate) fn wall(&self) -> Option<f64> {
        self.runs.wall()
    }

    /// Seconds of processor time.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.runs.cpu()
    }

    /// Seconds to the first byte of output.
    pub(crate) fn first(&self) -> Option<f64> {
        self.runs.median(|run| run.first)
    }

    /// Bytes, where a run took long enough to look at least five times.
    pub(crate) fn memory(&self) -> Option<f64> {
        let is_seen = self.runs.all.iter().all(|run| run.looks >= 5);
        self.runs.median(|run| run.memory as f64).filter(|_| is_seen)
    }
}

/// The median; of an even number, the lower one of the middle, so that it is a value that occurred.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// One scenario.
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) entries: Vec<Entry>,
    /// The real round trip of the link in seconds, where there is one.
    pub(crate) round_trip: Option<f64>,
}

impl Outcome {
    pub(crate) fn entry(&self, tool: Tool, show: Show) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tool == tool && entry.show == show)
    }

    /// The entry of a tool, whatever it shows.
    pub(crate) fn of(&self, tool: Tool) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tool == tool)
    }

    /// As a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let Case { key, title, hosts, work, .. } = self.case;
        let rounds = self.entries.iter().map(|entry| entry.runs.all.len()).max().unwrap_or(0);
        let is_per_host = hosts > 1 && !matches!(work, Work::Lines { .. });
        let mut text = format!("**({key})** {title}; median of {rounds}");
        if let Some(round_trip) = self.round_trip {
            let _ = write!(text, "; the round trip is really {:.1} ms", round_trip * 1e3);
        }
        let per = if is_per_host { "CPU per host" } else { "CPU" };
        let _ = write!(text, "\n\n| | {per} | ratio | wall | ratio | memory | ratio |\n");
        text.push_str("| --- | --: | --: | --: | --: | --: | --: |\n");
        let has_formats = self.entries.iter().filter(|entry| entry.tool == Tool::This).count() > 1;
        let base = self.entries.first();
        for entry in &self.entries {
            let name = entry.tool.name();
            let name = if has_formats { format!("{name}, {}", entry.show.word()) } else { name.to_owned() };
            if let Some(row) = entry.runs.problem_row(&name) {
                let _ = writeln!(text, "{row}");
                continue;
            }
            let parts = if is_per_host { hosts as f64 } else { 1.0 };
            let cells = |value: fn(&Entry) -> Option<f64>, factor: f64, unit: &str| {
                cells(value(entry), base.and_then(value), factor, unit)
            };
            let cpu = cells(Entry::cpu, 1e3 / parts, "ms");
            let wall = cells(Entry::wall, 1e3, "ms");
            let _ = writeln!(text, "| {name} | {cpu} | {wall} | {} |", cells(Entry::memory, 1e-6, "MB"));
        }
        if let [entry] = &self.entries[..] {
            let most = |value: fn(&Measured) -> u64| entry.runs.all.iter().map(value).max().unwrap_or(0);
            let _ = writeln!(text, "\nAt most {} open file descriptors.", most(|run| run.descriptors));
        }
        text
    }

    /// All of it, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let entry = |entry: &Entry| {
            json!({"tool": entry.tool.word(), "format": entry.show.word(), "command": entry.command_line,
                "problem": entry.runs.problem, "wall": entry.wall(), "cpu": entry.cpu(), "first": entry.first(),
                "memory": entry.memory(), "logins": entry.counts.logins, "connections": entry.counts.connections,
                "jump_host_logins": entry.counts.bastion_logins, "runs": entry.runs.to_json()})
        };
        json!({"scenario": self.case.key, "title": self.case.title, "hosts": self.case.hosts,
            "at_once": self.case.parallel, "round_trip": self.round_trip,
            "tools": self.entries.iter().map(entry).collect::<Vec<_>>()})
    }
}

/// A value with its unit; from 10 seconds on in seconds.
fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ms" if value >= 1e4 => format!("{} s", figures(value / 1e3)),
        _ => format!("{} {unit}", figures(value)),
    }
}

/// Three figures, or all of those before the point.
pub(crate) fn figures(value: f64) -> String {
    match value {
        0.0..9.995 => format!("{value:.2}"),
        0.0..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
