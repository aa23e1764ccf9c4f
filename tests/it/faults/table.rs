//! `docs/faults.md`: the matrix as a table, from the cells, and from what a run has measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::cells::{ALIVE, COMMAND, CONNECT, Cell, Fault, Phase, all, cell, how};
use super::world::End;

/// Where the table is.
const FILE: &str = "docs/faults.md";
/// The environment variable that has it written.
const WRITE: &str = "PSSH_WRITE_FAULTS";
/// Where what stands here for the soak test begins.
const REST: &str = "\n## Soak\n";

/// Writes the table if that is asked for; else fails unless the one in the repository has the same cells. What was measured
/// differs from run to run, and is not compared.
#[track_caller]
pub(super) fn check(found: &BTreeMap<String, End>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os(WRITE).is_some() {
        let rest = kept.split_once(REST).map(|(_, rest)| format!("{REST}{rest}")).unwrap_or_default();
        fs::write(&path, text(Some(found)) + &rest).expect("the table can be written");
        return;
    }
    let kept = kept.split_once(REST).map_or(&*kept, |(table, _)| table);
    let stale = text(None) != without_measures(kept);
    assert!(!stale, "{FILE} is stale: {WRITE}=1 tests/run --test it -- faults::");
}

/// The last column of every row that has one, replaced by nothing.
fn without_measures(text: &str) -> String {
    let lines = text.lines().map(|line| match line.rsplit_once(" | ") {
        Some((row, last)) if last.trim_end_matches(" s |").parse::<f64>().is_ok() => format!("{row} |  |\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn text(found: Option<&BTreeMap<String, End>>) -> String {
    let mut text = format!(
        "# Faults and outcomes\n\n\
         `tests/it/faults.rs` generates this page. It causes each fault with the real binary, on a separate host next to healthy ones,\n\
         and checks the outcome, its time limit, the output, that each host of the list has exactly one outcome, the exit status,\n\
         that the healthy hosts are `ok`, and that no local process is left. `PSSH_WRITE_FAULTS=1` rewrites the page.\n\n\
         The limits in these tests: {CONNECT} s for connecting (`--connect-timeout`), {} s without a sign of life (ServerAliveInterval {},\n\
         ServerAliveCountMax {}), {COMMAND} s for a command that never ends (`-t`), one attempt (`--num-retries 1`). The defaults are\n\
         120 s, 120 s, none, and three.\n\n\
         pssh exits with 0 if all hosts are `ok`, with 3 if one is `timeout`, else with 4. From the exec request on, every outcome except\n\
         `ok` says that the command may still be running or may have ended, unless the server refused it or pssh saw it stop.\n\n",
        ALIVE.0 * (ALIVE.1 + 1),
        ALIVE.0,
        ALIVE.1,
    );
    grid(&mut text);
    let _ = write!(
        text,
        "\n## How each fault is caused, and the time until the outcome\n\n| phase | fault | what happens | outcome | ended by | measured |\n\
         | --- | --- | --- | --- | --- | ---: |\n"
    );
    for cell in all() {
        let measured = found.and_then(|found| found.get(&cell.label()));
        let measured = measured.map(|end| format!("{:.1} s", end.time.as_secs_f64())).unwrap_or_default();
        let (phase, fault) = (cell.phase.word(), cell.fault.word());
        let _ = writeln!(
            text,
            "| {phase} | {fault} | {} | {} | {} | {measured} |",
            how(&cell),
            outcome(&cell),
            cell.by.words()
        );
    }
    text += "\nCombinations that do not exist:\n\n";
    for phase in Phase::ALL {
        for fault in Fault::ALL {
            if let Err(why) = cell(phase, fault) {
                let _ = writeln!(text, "- {} and {}: {why}.", phase.word(), fault.word());
            }
        }
    }
    text
}

/// Phases down, faults across.
fn grid(text: &mut String) {
    let faults = Fault::ALL.map(Fault::word).join(" | ");
    let _ = writeln!(text, "| | {faults} |\n|{}", " --- |".repeat(Fault::ALL.len() + 1));
    for phase in Phase::ALL {
        let outcomes = Fault::ALL.map(|fault| cell(phase, fault).map_or("-".to_owned(), |cell| outcome(&cell)));
        let _ = writeln!(text, "| **{}** | {} |", phase.word(), outcomes.join(" | "));
    }
}

fn outcome(cell: &Cell) -> String {
    cell.ends.iter().map(|outcome| format!("`{outcome}`")).collect::<Vec<_>>().join(" or ")
}
