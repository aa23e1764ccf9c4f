//! Scenarios whose rows are command lines of their own, and not the same command by every tool: what is measured is as for the others.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::meter::{self, Invocation, Measured};
use crate::results::{Runs, cells};

/// One command line.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) invocation: Invocation,
    pub(crate) runs: Runs,
    /// Whether it is this pssh's, whose failure is a failure of the benchmark.
    pub(crate) is_ours: bool,
}

impl Row {
    pub(crate) fn new(name: &str, is_ours: bool, invocation: Invocation) -> Row {
        Row { name: name.to_owned(), invocation, runs: Runs::default(), is_ours }
    }

    pub(crate) fn wall(&self) -> Option<f64> {
        self.runs.wall()
    }

    pub(crate) fn cpu(&self) -> Option<f64> {
        self.runs.cpu()
    }

    /// Bytes, where a run took long enough to look at least five times; else what its largest process held.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.runs.median(|run| (if run.looks >= 5 { run.memory } else { run.largest }) as f64)
    }
}

/// One scenario, measured. Ratios are to the first row.
pub(crate) struct Trial {
    pub(crate) key: &'static str,
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
}

/// Measures all rows, in an order that changes from round to round. `before` makes room for a run, `after` finds what is wrong with it.
pub(crate) fn measure(
    trial: &mut Trial,
    rounds: usize,
    limit: Duration,
    verbose: bool,
    before: impl Fn() -> Result<()>,
    after: impl Fn(&Row, &Measured) -> Result<()>,
) -> Result<()> {
    let count = trial.rows.len();
    for round in 0..rounds {
        for turn in 0..count {
            let row = &mut trial.rows[(turn + round) % count];
            if row.runs.problem.is_some() {
                continue;
            }
            if verbose {
                eprintln!("suite: {}", row.invocation.command_line());
            }
            before()?;
            let measured = meter::measure(&row.invocation, 1, 1, limit);
            let name = format!("{} {}/{rounds} {}", trial.key, round + 1, row.name);
            let run = measured.and_then(|measured| after(row, &measured).map(|()| measured));
            row.runs.add(&name, run);
        }
    }
    before()
}

impl Trial {
    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Whether this pssh failed.
    pub(crate) fn is_failure(&self) -> bool {
        self.rows.iter().any(|row| row.is_ours && row.runs.problem.is_some())
    }

    /// As a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let rounds = self.rows.iter().map(|row| row.runs.all.len()).max().unwrap_or(0);
        let mut text = format!("**({})** {}; median of {rounds}\n\n", self.key, self.title);
        text.push_str(
            "| | CPU | ratio | wall | ratio | memory | ratio |\n| --- | --: | --: | --: | --: | --: | --: |\n",
        );
        for row in &self.rows {
            if let Some(row) = row.runs.problem_row(&row.name) {
                let _ = writeln!(text, "{row}");
                continue;
            }
            let cells = |value: fn(&Row) -> Option<f64>, factor: f64, unit: &str| {
                cells(value(row), self.rows.first().and_then(value), factor, unit)
            };
            let (cpu, wall) = (cells(Row::cpu, 1e3, "ms"), cells(Row::wall, 1e3, "ms"));
            let _ = writeln!(text, "| {} | {cpu} | {wall} | {} |", row.name, cells(Row::memory, 1e-6, "MB"));
        }
        text
    }

    /// All of it, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({"name": row.name, "command": row.invocation.command_line(), "problem": row.runs.problem, "wall": row.wall(),
                "cpu": row.cpu(), "memory": row.memory(), "runs": row.runs.to_json()})
        };
        json!({"scenario": self.key, "title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}
