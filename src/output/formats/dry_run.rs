//! `--dry-run`: each host with its command, exactly as it would be sent.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::hosts::nodeset::fold;
use crate::plan::failure_limit::{Limits, StopMode};
use crate::plan::job::Job;
use crate::plan::rolling::{Confirm, Order, Rolling};
use crate::text::duration::seconds;
use crate::text::message::hosts;
use crate::text::sanitize::{is_harmful, sanitize};

/// Begins a command that is shown with escapes.
const ESCAPED: &str = "$'";

/// Returns a line for each job, in the order in which they start: `label: command`, with the command from `as_sent`; and a line
/// `label: check: command` if there is one in `check`. A line before each batch is that of the run, and the first ones tell the order if it is
/// not that of the list, and when the run stops, waits or asks. Jobs that have `ended` before are left out.
pub fn commands(
    jobs: &[Job],
    ended: &[bool],
    (rolling, limits): (&Rolling, Limits),
    as_sent: impl Fn(&Job) -> Arc<[u8]>,
    check: impl Fn(&Job) -> Option<Arc<[u8]>>,
) -> String {
    let mut text = String::new();
    if rolling.order != Order::List {
        let _ = writeln!(text, "# order {}", rolling.order);
    }
    let terms = terms(rolling, limits);
    if !terms.is_empty() {
        let _ = writeln!(text, "# {}", terms.join("; "));
    }
    let mut order = rolling.order.of(jobs.len());
    order.retain(|job| ended.get(*job) != Some(&true));
    let batches = rolling.batches.of(order.len());
    for (number, places) in batches.iter().enumerate() {
        if !rolling.batches.is_empty() {
            let names = fold(order[places.clone()].iter().map(|job| jobs[*job].label.as_str()));
            let (number, of, count) = (number + 1, batches.len(), hosts(places.len()));
            let _ = writeln!(text, "# batch {number} of {of}: {count}: {}", sanitize(&names));
        }
        for job in order[places.clone()].iter().map(|job| &jobs[*job]) {
            show_job(job, &as_sent(job), check(job).as_deref(), &mut text);
        }
    }
    text
}

/// Returns when the run stops, waits or asks.
fn terms(rolling: &Rolling, Limits { errors, unreached, mode }: Limits) -> Vec<String> {
    let has = |count: usize| if count == 1 { "has" } else { "have" };
    let was = |count: usize| if count == 1 { "was" } else { "were" };
    let mut terms = Vec::new();
    let running = match mode {
        StopMode::Now => "running hosts are stopped",
        StopMode::Wait => "running hosts end",
    };
    match errors {
        Some(count) => terms.push(format!("stops once {} {} failed ({running})", hosts(count), has(count))),
        None if !rolling.batches.is_empty() => terms.push("goes on when hosts fail".to_owned()),
        None => {}
    }
    match unreached {
        Some(usize::MAX) => terms.push("goes on when hosts are not reached".to_owned()),
        Some(count) => terms.push(format!("stops once {} {} not reached ({running})", hosts(count), was(count))),
        None => {}
    }
    if !rolling.pause.is_zero() {
        terms.push(format!("pauses {} s between batches", seconds(&rolling.pause)));
    }
    match rolling.confirm {
        Some(Confirm::First) => terms.push("asks before the second batch".to_owned()),
        Some(Confirm::Each) => terms.push("asks before each batch after the first".to_owned()),
        None => {}
    }
    if let Some(count) = rolling.connect_par {
        terms.push(format!("logs in to at most {} at once", hosts(count)));
    }
    if let Some(rate) = rolling.rate {
        terms.push(format!("starts at most {rate}"));
    }
    terms
}

/// Appends the lines of a job: its command, and its check, if there is one.
fn show_job(job: &Job, command: &[u8], check: Option<&[u8]>, text: &mut String) {
    let label = sanitize(&job.label);
    let _ = write!(text, "{label}: ");
    show(command, text);
    if let Some(input) = &job.request.input {
        let _ = write!(text, "  # and {} bytes over standard input", input.len());
    }
    text.push('\n');
    if let Some(check) = check {
        let _ = write!(text, "{label}: check: ");
        show(check, text);
        text.push('\n');
    }
}

/// Appends a command unchanged if it is one line of text; else in the form `$'...'`, which bash, zsh and POSIX.1-2024 read as
/// exactly its bytes. A command that starts like that form is shown in it too, so that no two commands look the same.
fn show(command: &[u8], text: &mut String) {
    if let Ok(plain) = std::str::from_utf8(command)
        && !plain.contains(is_harmful)
        && !plain.starts_with(ESCAPED)
    {
        return text.push_str(plain);
    }
    text.push_str(ESCAPED);
    for chunk in command.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\'' => text.push_str("\\'"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if is_harmful(c) => escape(c.encode_utf8(&mut [0; 4]).as_bytes(), text),
                c => text.push(c),
            }
        }
        escape(chunk.invalid(), text);
    }
    text.push('\'');
}

/// Three octal digits each, so that a digit after them is not read as part of them.
fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        let _ = write!(text, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    fn shown(command: &[u8]) -> String {
        let mut text = String::new();
        show(command, &mut text);
        text
    }

    #[test]
    fn what_is_not_plain_is_escaped() {
        for (command, expected) in [
            (&b"echo 'a  b' \\n \xc3\xa9"[..], "echo 'a  b' \\n é"),
            (b"a\nb\tc", r"$'a\nb\tc'"),
            (b"it's\r\\n", r"$'it\'s\r\\n'"),
            (b"\x1b[2J7\x7f\xff", r"$'\033[2J7\177\377'"),
            ("\u{202e}x".as_bytes(), r"$'\342\200\256x'"),
            (br"$'a\nb'", r"$'$\'a\\nb\''"),
            (b"", ""),
        ] {
            assert_eq!(shown(command), expected);
        }
    }
}
