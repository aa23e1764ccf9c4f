//! Runs the code blocks of a document, in their order, in the lab.

use std::fmt::Write as _;

use super::compare::{as_shown, difference};
use super::lab::Lab;
use super::markdown::Block;

/// Comes before the exit status of each command in what a session prints: no program prints it.
const MARK: char = '\u{1e}';

/// A command of a session, and what is shown of it.
struct Step {
    command: String,
    shown: String,
}

/// The commands of a `console` block: `$ command`, in which lines after the first begin with `> `, and what it prints.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), shown: String::new() });
            continue;
        }
        let Some(step) = steps.last_mut() else { panic!("a session begins with a command: {text}") };
        match line.strip_prefix("> ").filter(|_| step.shown.is_empty()) {
            Some(more) => {
                step.command.push('\n');
                step.command.push_str(more);
            }
            None => {
                step.shown.push_str(line);
                step.shown.push('\n');
            }
        }
    }
    steps
}

/// The exit status that the block says its last command has.
fn last_status(block: &Block) -> i32 {
    block.attribute("status").map_or(0, |status| status.parse().expect("status= is a number"))
}

/// What is wrong with a block.
pub(crate) struct Problem {
    pub(crate) text: String,
    /// The block with what was printed, where only that differs.
    pub(crate) corrected: Option<String>,
}

/// Runs a block; says what is wrong with it.
pub(crate) fn problem(block: &Block, lab: &Lab) -> Option<Problem> {
    if let Some(name) = block.attribute("file") {
        lab.write(name, &block.text);
        return None;
    }
    match block.language.as_str() {
        "console" => session(block, lab),
        "sh" => script(block, &block.text, lab).map(|text| Problem { text, corrected: None }),
        // A configuration file, with which the programs have to start.
        "toml" => {
            lab.write("alone/pssh/config.toml", &block.text);
            let commands = "XDG_CONFIG_HOME=~/alone pssh -H web1 true";
            script(block, commands, lab).map(|text| Problem { text, corrected: None })
        }
        _ => {
            let commands = block.commands().join("\n");
            (!commands.is_empty())
                .then(|| script(block, &commands, lab))
                .flatten()
                .map(|text| Problem { text, corrected: None })
        }
    }
}

fn session(block: &Block, lab: &Lab) -> Option<Problem> {
    let steps = steps(&block.text);
    let mut text = String::new();
    for step in &steps {
        let _ = writeln!(
            text,
            "{}\n__status=$?; printf '{MARK}%s\\n' \"$__status\"; (exit \"$__status\")",
            lab.command(&step.command)
        );
    }
    let printed = lab.run(block, &text);
    let mut rest = printed.as_str();
    let (mut problem, mut corrected, mut can_be_corrected) = (String::new(), String::new(), true);
    for (number, step) in steps.iter().enumerate() {
        let Some((output, after)) = rest.split_once(MARK) else {
            let _ = writeln!(problem, "$ {}\nnever ended:\n{rest}", step.command);
            can_be_corrected = false;
            break;
        };
        let (status, after) = after.split_once('\n').unwrap_or((after, ""));
        rest = after;
        let next = steps.get(number + 1);
        let is_said = next.is_some_and(|next| next.command == "echo $?");
        let expected = if next.is_none() { last_status(block) } else { 0 };
        if !is_said && status != expected.to_string() {
            let _ = writeln!(problem, "$ {}\nexit status {status}, not {expected}:\n{output}", step.command);
            can_be_corrected = false;
        }
        let _ = writeln!(corrected, "$ {}", step.command.replace('\n', "\n> "));
        if block.attribute("needs").is_none()
            && let Some(difference) = difference(&lab.command(&step.shown), output)
        {
            let _ = writeln!(problem, "$ {}\n{difference}", step.command);
            corrected.push_str(&as_shown(output));
        } else {
            corrected.push_str(&step.shown);
        }
    }
    (!problem.is_empty()).then(|| Problem { text: problem, corrected: can_be_corrected.then_some(corrected) })
}

fn script(block: &Block, commands: &str, lab: &Lab) -> Option<String> {
    let printed = lab.run(
        block,
        &format!("set -e -o pipefail\ntrap 'printf \"{MARK}%s\\n\" \"$?\"' EXIT\n{}", lab.command(commands)),
    );
    let (output, status) = printed.rsplit_once(MARK).unwrap_or((&printed, "never ended"));
    let expected = last_status(block);
    let status = status.trim_end();
    (status != expected.to_string()).then(|| format!("{commands}\nexit status {status}, not {expected}:\n{output}"))
}
