//! pssh's line for each host, when it ends, on standard output:
//!
//! ```text
//! [1] 16:32:33 [SUCCESS] web1
//! [2] 16:32:34 [FAILURE] web2 Exited with error code 3
//! ```
//!
//! The number counts hosts as they end, from 1; the time is local; the host is `[user@]host[:port]`, the user only if it is not that
//! of `-l`. Outcomes that pssh has are in its words, byte for byte, since scripts look for them. Other details
//! go to standard error.

use std::io::Write;

use super::outcomes::write_outcome;
use crate::events::event::{Class, Event, EventKind, HostStage, Outcome, Phase, Stream};
use crate::events::recorded::Recorded;
use crate::events::tally::Tally;
use crate::hosts::file_names::pretty;
use crate::output::hints::Hints;
use crate::output::multiplexer::Report;
use crate::output::reports::summary::is_for_recap;
use crate::output::style::{Colour, Face, Style};
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::clock::WallClock;
use crate::text::sanitize::sanitize;

/// Signals with a name in SSH (RFC 4254 section 6.10), and others that servers name, by their numbers on Linux (signal(7)).
const SIGNALS: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Writes pssh's lines.
#[derive(Debug)]
pub struct StatusLines {
    /// Whether there are lines; without them failures are reported on standard error.
    has_lines: bool,
    /// The login name that lines leave out.
    user: Option<String>,
    /// How many hosts the run has, if there are no lines.
    hosts: usize,
    /// How many hosts have ended.
    count: usize,
    clock: WallClock,
    stdout: Face,
    stderr: Face,
    hints: Hints,
}

impl StatusLines {
    /// Creates lines for the hosts of a run. `user` is the login name of hosts whose entry has none, if the user gave one.
    pub fn new(user: Option<&str>, style: &Style) -> StatusLines {
        StatusLines {
            has_lines: true,
            user: user.map(str::to_owned),
            hosts: 0,
            count: 0,
            clock: WallClock::of_process(),
            stdout: style.of(Stream::Stdout),
            stderr: style.of(Stream::Stderr),
            hints: Hints::new(style.program),
        }
    }

    /// Creates a report without lines (`--no-headers`): failures go to standard error.
    pub fn without_lines(hosts: usize, style: &Style) -> StatusLines {
        StatusLines { has_lines: false, hosts, ..StatusLines::new(None, style) }
    }

    /// Whether there are lines.
    pub fn has_lines(&self) -> bool {
        self.has_lines
    }

    /// Returns the line of a host that ends now, for standard output, with its newline; empty without lines.
    pub fn head(&mut self, job: &Job, outcome: &Outcome, attempts: u32) -> String {
        if !self.has_lines {
            return String::new();
        }
        self.count += 1;
        let face = self.stdout;
        let number = face.tint(Colour::Cyan, &format!("[{}]", face.bold(&self.count.to_string())));
        let alias = job.spec.options.alias.as_ref().map(|alias| alias.value.clone());
        let host = alias.unwrap_or_else(|| pretty(&job.spec, self.user.as_deref()));
        let (time, host) = (self.clock.now(), sanitize(&host));
        if outcome.class() == Class::Ok {
            let success = face.tint(Colour::Green, &format!("[{}]", face.bold("SUCCESS")));
            let accepted = match outcome {
                Outcome::Judged { .. } => format!(" {}", sanitize(&reason(outcome, attempts))),
                _ => String::new(),
            };
            return format!("{number} {time} {success} {host}{accepted}\n");
        }
        let failure = face.tint(Colour::Red, &format!("[{}]", face.bold("FAILURE")));
        let reason = face.tint(Colour::Red, &face.bold(&sanitize(&reason(outcome, attempts))));
        format!("{number} {time} {failure} {host} {reason}\n")
    }

    /// Returns the other details of a host that ended, for standard error.
    pub fn tail(&mut self, job: &Job, outcome: &Outcome, attempts: u32) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.has_lines {
            if outcome.class() != Class::Ok && !is_for_recap(outcome, self.hosts) {
                write_outcome(job, outcome, attempts, self.stderr, &mut self.hints, &mut text);
            }
        } else if let Some(hint) = self.hints.due(job, outcome) {
            // On a terminal the reason is already shown above. Writing to memory never fails.
            let _ =
                writeln!(text, "{}: {}: hint: {}", self.hints.program.name(), sanitize(&job.label), sanitize(&hint));
        }
        text
    }

    /// Prints the hints that apply to more hosts.
    pub fn rest(&mut self, output: &mut Output) {
        self.hints.rest(output);
    }

    /// Returns `Stderr: `, or nothing without lines.
    pub fn stderr_label(&self) -> String {
        if self.has_lines { self.stdout.tint(Colour::Red, "Stderr: ") } else { String::new() }
    }
}

/// Returns why a host failed.
fn reason(outcome: &Outcome, attempts: u32) -> String {
    let tried = if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
    match outcome {
        Outcome::Exited(status) => format!("Exited with error code {status}"),
        Outcome::Signaled { name } => {
            let number = SIGNALS.iter().find(|(known, _)| known == name);
            number
                .map_or_else(|| format!("Killed by signal {name}"), |(_, number)| format!("Killed by signal {number}"))
        }
        Outcome::TimedOut { phase: Phase::Command | Phase::Transfer, .. } => "Timed out".to_owned(),
        // pssh has one limit, that of -t. For others the words go on as its own do: "Timed out, Killed by signal 9".
        Outcome::TimedOut { limit, missing, .. } => {
            format!("Timed out, {missing} within {} s{tried}", limit.as_secs_f64())
        }
        Outcome::Cancelled { stage, why } => {
            let word = if *stage == HostStage::Waiting { "Cancelled" } else { "Interrupted" };
            format!("{word}{}", why.map(|why| why.to_string()).unwrap_or_default())
        }
        Outcome::Reached { .. } => outcome.to_string(),
        Outcome::Unstopped(outcome) | Outcome::Judged { outcome, .. } => reason(outcome, attempts),
        Outcome::Recorded(recorded) => recorded_reason(recorded, &tried),
        Outcome::Failed(_) | Outcome::CheckFailed(_) => format!("{outcome}{tried}"),
    }
}

/// Returns the same for a host that ended in an earlier run, of which only the words are known.
fn recorded_reason(recorded: &Recorded, tried: &str) -> String {
    let rest = recorded.message.split_once(": ").map_or("", |(_, rest)| rest);
    let stopped = |start: &str| rest.strip_prefix(start);
    match (recorded.class, recorded.phase) {
        (Class::Timeout, Some(Phase::Command | Phase::Transfer)) => "Timed out".to_owned(),
        (Class::Timeout, _) => format!("Timed out, {rest}{tried}"),
        (Class::Cancelled, _) => match (stopped("never started"), stopped("stopped while connecting")) {
            (Some(why), _) => format!("Cancelled{why}"),
            (_, Some(why)) => format!("Interrupted{why}"),
            _ => format!("Interrupted{}", stopped("stopped while running").unwrap_or_default()),
        },
        _ => format!("{recorded}{tried}"),
    }
}

impl Report for StatusLines {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        if let EventKind::Finished { outcome, attempts } = &event.kind {
            let head = self.head(job, outcome, *attempts);
            output.buffer(Stream::Stdout).extend_from_slice(head.as_bytes());
            let tail = self.tail(job, outcome, *attempts);
            if !tail.is_empty() {
                // Standard output is written first.
                output.buffer(Stream::Stderr).extend_from_slice(&tail);
            }
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        self.rest(output);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::host_error::HostError;
    use crate::system::cancel;

    /// Returns the line of one host for `outcome`, without number and time.
    fn line(lines: &mut StatusLines, host: &str, outcome: Outcome, attempts: u32) -> String {
        let job = &crate::plan::job::of_list(host)[0];
        let line = lines.head(job, &outcome, attempts);
        let (number, rest) = line.split_once(' ').expect("a number");
        assert_eq!(number, format!("[{}]", lines.count));
        let (time, rest) = rest.split_once(' ').expect("a time");
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "00:00:00");
        rest.strip_suffix('\n').expect("a line").to_owned()
    }

    fn timeout(phase: Phase, missing: &'static str) -> Outcome {
        Outcome::TimedOut { phase, limit: Duration::from_millis(1500), missing }
    }

    #[test]
    fn hosts_are_called_as_pssh_calls_them() {
        let mut lines = StatusLines::new(Some("root"), &Style::default());
        for (host, name) in [
            ("web1", "web1"),
            ("root@web1", "web1"),
            ("me@web1:2222", "me@web1:2222"),
            ("::1", "[::1]"),
            ("root@[fe80::1]:22", "[fe80::1]:22"),
        ] {
            assert_eq!(line(&mut lines, host, Outcome::Exited(0), 2), format!("[SUCCESS] {name}"));
        }
        assert_eq!(lines.count, 5);
        let mut lines = StatusLines::new(None, &Style::default());
        assert_eq!(line(&mut lines, "root@web1", Outcome::Exited(0), 1), "[SUCCESS] root@web1");
    }

    #[test]
    fn reasons_that_pssh_has_are_in_its_words() {
        let signal = |name: &str| Outcome::Signaled { name: name.to_owned() };
        let cancelled = |stage, why| Outcome::Cancelled { stage, why };
        let unstopped = Outcome::Unstopped(Box::new(timeout(Phase::Command, "not finished")));
        let cannot =
            HostError::Local { doing: "writing its output", detail: "no\u{1b}[2J\nroom".to_owned(), hint: None };
        for (outcome, reason) in [
            (Outcome::Exited(3), "Exited with error code 3"),
            (Outcome::Exited(4_000_000_000), "Exited with error code 4000000000"),
            (signal("KILL"), "Killed by signal 9"),
            (signal("SEGV"), "Killed by signal 11"),
            (signal("USR1"), "Killed by signal 10"),
            (signal("x\u{7}@y"), "Killed by signal x\\u{7}@y"),
            (timeout(Phase::Command, "not finished"), "Timed out"),
            (timeout(Phase::Transfer, "not finished"), "Timed out"),
            (unstopped, "Timed out"),
            (cancelled(HostStage::Running, Some(cancel::Reason::Signal(2))), "Interrupted"),
            (cancelled(HostStage::Waiting, Some(cancel::Reason::Signal(15))), "Cancelled"),
            (cancelled(HostStage::Waiting, None), "Cancelled"),
            // pssh does not know these.
            (timeout(Phase::Connect, "no SSH banner"), "Timed out, no SSH banner within 1.5 s (attempt 2)"),
            (
                cancelled(HostStage::Waiting, Some(cancel::Reason::TooManyFailed(1))),
                "Cancelled, since a host has failed",
            ),
            (
                cancelled(HostStage::Running, Some(cancel::Reason::TooLong(Duration::from_secs(9)))),
                "Interrupted, since the run has taken 9 s",
            ),
            (cannot.into(), "local: writing its output: no\\u{1b}[2J\\nroom (attempt 2)"),
        ] {
            let line = line(&mut StatusLines::new(None, &Style::default()), "web1", outcome, 2);
            assert_eq!(line, format!("[FAILURE] web1 {reason}"));
        }
    }

    #[test]
    fn standard_error_has_the_hint_or_without_lines_the_failure() {
        let job = &crate::plan::job::of_list("me@web1:22")[0];
        let late = || timeout(Phase::Silence, "no output");
        let tail =
            |lines: &mut StatusLines, outcome: &Outcome| String::from_utf8(lines.tail(job, outcome, 1)).expect("text");
        let hint = "the command was asked to stop; a longer --channel-timeout allows longer silences\n";
        let mut lines = StatusLines::new(None, &Style::default());
        assert_eq!(tail(&mut lines, &Outcome::Exited(0)), "");
        assert_eq!(tail(&mut lines, &Outcome::Exited(3)), "");
        assert_eq!(tail(&mut lines, &late()), format!("pssh: web1: hint: {hint}"));
        let mut lines = StatusLines::without_lines(1, &Style::default());
        assert_eq!(tail(&mut lines, &Outcome::Exited(0)), "");
        assert_eq!(tail(&mut lines, &Outcome::Exited(3)), "pssh: web1: exit 3\n");
        let text = format!("pssh: web1: timeout silence: no output within 1.5 s\n  hint: {hint}");
        assert_eq!(tail(&mut lines, &late()), text);
        assert_eq!((lines.head(job, &late(), 1), lines.stderr_label()), (String::new(), String::new()));
    }
}
