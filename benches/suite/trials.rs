//! Scenarios whose rows are command lines of their own, and not the same command by every tool: what is measured is as for the others.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::meter::{self, Invocation, Measured};
use crate::results::{figures, median};

/// One command line.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) invocation: Invocation,
    pub(crate) runs: Vec<Measured>,
    /// Why there are no numbers.
    pub(crate) problem: Option<String>,
    /// Whether it is this pssh's, whose failure is a failure of the benchmark.
    pub(crate) is_ours: bool,
}

impl Row {
    pub(crate) fn new(name: &str, is_ours: bool, invocation: Invocation) -> Row {
        Row { name: name.to_owned(), invocation, runs: Vec::new(), problem: None, is_ours }
    }

    pub(crate) fn median(&self, value: impl Fn(&Measured) -> f64) -> Option<f64> {
        if self.problem.is_some() { None } else { median(self.runs.iter().map(value).collect()) }
    }

    pub(crate) fn wall(&self) -> Option<f64> {
        self.median(|run| run.wall)
    }

    pub(crate) fn cpu(&self) -> Option<f64> {
        self.median(Measured::cpu)
    }

    /// Bytes, where a run took long enough to look at least five times; else what its largest process held.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.median(|run| (if run.looks >= 5 { run.memory } else { run.largest }) as f64)
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
            if row.problem.is_some() {
                continue;
            }
            if verbose {
                eprintln!("suite: {}", row.invocation.command_line());
            }
            before()?;
            let measured = meter::measure(&row.invocation, 1, 1, limit);
            let name = format!("{} {}/{rounds} {}", trial.key, round + 1, row.name);
            match measured.and_then(|measured| after(row, &measured).map(|()| measured)) {
                Ok(measured) => {
                    eprintln!("suite: {name}: {:.3} s, {:.3} s of CPU", measured.wall, measured.cpu());
                    row.runs.push(measured);
                }
                Err(problem) => {
                    eprintln!("suite: {name}: {problem:#}");
                    row.problem = Some(format!("{problem:#}"));
                }
            }
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
        self.rows.iter().any(|row| row.is_ours && row.problem.is_some())
    }

    /// As a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let rounds = self.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
        let mut text = format!("**({})** {}; median of {rounds}\n\n", self.key, self.title);
        text.push_str(
            "| | CPU | ratio | wall | ratio | memory | ratio |\n| --- | --: | --: | --: | --: | --: | --: |\n",
        );
        for row in &self.rows {
            if let Some(problem) = &row.problem {
                let problem: String = problem.replace(['|', '\n'], " ").chars().take(200).collect();
                let _ = writeln!(text, "| {} | not measured: {problem} | | | | | |", row.name);
                continue;
            }
            let cells = |value: fn(&Row) -> Option<f64>, factor: f64, unit: &str| {
                let shown = value(row).map(|value| format!("{} {unit}", figures(value * factor)));
                let ratio =
                    value(row).zip(self.rows.first().and_then(value)).map(|(value, base)| figures(value / base));
                format!("{} | {}", shown.as_deref().unwrap_or("-"), ratio.as_deref().unwrap_or("-"))
            };
            let (cpu, wall) = (cells(Row::cpu, 1e3, "ms"), cells(Row::wall, 1e3, "ms"));
            let _ = writeln!(text, "| {} | {cpu} | {wall} | {} |", row.name, cells(Row::memory, 1e-6, "MB"));
        }
        text
    }

    /// All of it, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let run = |run: &Measured| {
            json!({"wall": run.wall, "user": run.user, "system": run.system, "memory": run.memory, "looks": run.looks,
                "largest": run.largest, "processes": run.processes, "printed": run.printed})
        };
        let row = |row: &Row| {
            json!({"name": row.name, "command": row.invocation.command_line(), "problem": row.problem, "wall": row.wall(),
                "cpu": row.cpu(), "memory": row.memory(), "runs": row.runs.iter().map(run).collect::<Vec<_>>()})
        };
        json!({"scenario": self.key, "title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}
