//! The check after a command: repeated until it passes, on the connection of the command, or on a new one once that has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::pace::Closed;
use super::queue::Task;
use super::runner::{Line, Path};
use super::session_work::SessionWork;
use super::sessions::{FREEING, OPENING, refusal};
use crate::events::check::{CheckFailure, CheckReport, GivenUp};
use crate::events::event::{Event, EventKind, HostStage, Notice, Outcome, Phase, Stream};
use crate::events::host_error::{HostError, ProxyError};
use crate::events::remedy::Remedy;
use crate::plan::check::CheckTimes;
use crate::plan::exec_request::ExecRequest;
use crate::ssh::watch::{Notes, Watch};
use crate::system::cancel::Cancel;
use crate::system::poll::{CENTURY, Patience};
use crate::system::redact::Filter;

/// Bytes that are kept of a try's output, and lines of them.
const KEPT: usize = 1024;
const KEPT_LINES: usize = 5;
/// A try that the time limit leaves less time than this is too short to tell.
const SHORT: Duration = Duration::from_secs(1);
/// How long before the end the last try begins, beyond twice the time of the one before.
const LAST_TRY: Duration = Duration::from_millis(500);
/// What did not end in time.
const NOT_ENDED: &str = "the last one had not ended";

/// The check of one host.
pub(super) struct Checking<'a> {
    /// The job on its host.
    pub work: &'a SessionWork<'a>,
    /// The way to the host.
    pub task: &'a Task,
    /// What is sent.
    pub request: &'a ExecRequest,
    /// For how long, and how often.
    pub times: CheckTimes,
    /// Ends it at once.
    pub cancel: &'a Cancel,
}

/// What the end of a try means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It has passed.
    Passed,
    /// Another try may pass.
    Again,
    /// Its time was over before it ended.
    Late,
    /// A password may have been refused: a repetition may lock the account.
    Final,
    /// The host has another key.
    OtherKey,
    /// The try's outcome is that of the host.
    Ended,
}

impl Checking<'_> {
    /// Repeats the check until it passes, and returns the outcome of the host, whose command ended with `command`. `line` is its
    /// connection.
    pub fn run(&self, mut line: Line, command: Outcome, note: &mut Notes<'_>) -> Outcome {
        self.send(EventKind::Checking);
        let deadline = Instant::now() + self.times.timeout.min(CENTURY);
        let (mut report, mut told) = (CheckReport::default(), Vec::new());
        let outcome = self.repeat(&mut line, &mut report, deadline, &mut told, note);
        // A key that was replaced meanwhile.
        let replaced = line.close(self.work.host);
        self.send(EventKind::Checked(Box::new(report.clone())));
        let failed = |given_up, command| {
            Outcome::CheckFailed(Box::new(CheckFailure { report, limit: self.times.timeout, given_up, command }))
        };
        match outcome {
            _ if let Some(replaced) = replaced => replaced,
            (Verdict::Passed, _) => command,
            (Verdict::Ended, outcome) => outcome,
            (Verdict::Final, _) => failed(Some(GivenUp::Secret), command),
            (Verdict::OtherKey, _) => failed(Some(GivenUp::HostKey), command),
            (Verdict::Again | Verdict::Late, Outcome::Unstopped(_)) => {
                Outcome::Unstopped(Box::new(failed(None, command)))
            }
            (Verdict::Again | Verdict::Late, _) => failed(None, command),
        }
    }

    fn send(&self, kind: EventKind) {
        let _ = self.work.events.send(Event::now(self.work.job.number, kind));
    }

    /// Returns the last try's verdict and outcome. `told` has the notices that the user has seen.
    fn repeat(
        &self,
        line: &mut Line,
        report: &mut CheckReport,
        deadline: Instant,
        told: &mut Vec<Notice>,
        note: &mut Notes<'_>,
    ) -> (Verdict, Outcome) {
        loop {
            let mut output = LastOutput::default();
            let begun = Instant::now();
            let had = deadline.saturating_duration_since(begun);
            let outcome = self.try_once(line, deadline, &mut output, told, note);
            let outcome = if self.cancel.is_triggered() { self.cancelled(outcome) } else { outcome };
            let verdict = verdict(&outcome);
            report.tries += 1;
            report.is_passed = verdict == Verdict::Passed;
            // A try that had no time says less than the one before.
            let is_cut = Instant::now() >= deadline && had < self.times.interval.max(SHORT);
            if report.tries == 1 || !is_cut || !matches!(verdict, Verdict::Late | Verdict::Again) {
                (report.exit_status, report.signal) = (outcome.exit_status(), outcome.signal().map(str::to_owned));
                report.output = output.lines();
                (report.message, report.brief) = match (verdict, &outcome) {
                    (Verdict::Late, _) => (NOT_ENDED.to_owned(), NOT_ENDED.to_owned()),
                    (_, Outcome::Exited(status)) => (format!("exit {status}"), format!("exit {status}")),
                    (_, outcome) => (outcome.to_string(), outcome.brief()),
                };
            }
            let (tries, last) = (report.tries, &*report);
            note(&|| match is_cut {
                true => format!("check, try {tries}: its time is over"),
                false => format!("check, try {tries}: {}", last.last()),
            });
            if verdict != Verdict::Again {
                return (verdict, outcome);
            }
            let now = Instant::now();
            let mut next = now + self.times.interval.min(CENTURY);
            if next >= deadline {
                // The last try begins as late as it can end in time.
                let needs = (now - begun) * 2 + LAST_TRY;
                match deadline.checked_sub(needs).filter(|last| *last > now) {
                    Some(last) => next = last,
                    None => return (verdict, outcome),
                }
            }
            let _ = Patience { cancel: self.cancel, until: next }.wait(&[]);
            if self.cancel.is_triggered() {
                return (Verdict::Ended, Outcome::cancelled(self.cancel, HostStage::Checking));
            }
        }
    }

    /// Returns the outcome of a try that the end of the run has cut off, unless it ended by itself.
    fn cancelled(&self, outcome: Outcome) -> Outcome {
        let cancelled = || Outcome::cancelled(self.cancel, HostStage::Checking);
        match outcome {
            Outcome::Unstopped(_) => Outcome::Unstopped(Box::new(cancelled())),
            Outcome::Exited(0) => outcome,
            _ => cancelled(),
        }
    }

    /// Runs the check once, on `line` if that is alive.
    fn try_once(
        &self,
        line: &mut Line,
        deadline: Instant,
        output: &mut LastOutput,
        told: &mut Vec<Notice>,
        note: &mut Notes<'_>,
    ) -> Outcome {
        let host = self.work.host;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut pauses = FREEING.iter();
        while line.session.is_some() {
            let mut watch = Watch::new(self.cancel, OPENING.min(left()));
            line.path.carrier().into_iter().for_each(|carrier| watch.carried_by(carrier));
            let outcome = self.run_once(line, left(), output, &mut watch);
            let Some(is_dropped) = refusal(&outcome) else { return outcome };
            match pauses.next().filter(|_| !is_dropped) {
                Some(pause) => {
                    let _ = Patience::of(self.cancel, *pause).wait(&[]);
                }
                None => {
                    note(&|| format!("check: the connection cannot be used: {outcome}"));
                    break;
                }
            }
        }
        // The last connection ends before the next one begins, with its proxy command.
        if let Some(replaced) = line.close(host) {
            return replaced;
        }
        line.path = Path::Direct;
        let slot = match self.task.gate.as_ref().map(|gate| gate.pass(self.cancel, deadline)) {
            Some(Err(Closed)) if self.cancel.is_triggered() => {
                return Outcome::cancelled(self.cancel, HostStage::Checking);
            }
            Some(Err(Closed)) => {
                let (phase, limit) = (Phase::Connect, self.times.timeout);
                return Outcome::TimedOut { phase, limit, missing: "no turn to log in" };
            }
            Some(Ok(slot)) => slot,
            None => None,
        };
        let mut watch = Watch::new(self.cancel, host.connect_timeout.min(left()));
        let (mut way, connected) =
            self.work.runner.connect(self.work.job, self.task, host, self.work.events, &mut watch, note);
        drop(slot);
        for notice in watch.take_notices() {
            if !told.contains(&notice) {
                self.send(EventKind::Warning(notice.clone()));
                told.push(notice);
            }
        }
        match connected {
            Ok(connected) => {
                (line.session, line.path) = (Some(connected), way);
                self.run_once(line, left(), output, &mut watch)
            }
            Err(outcome) => way.explain(outcome),
        }
    }

    /// Runs the check on the session of `line`, which ends it unless it can take another one.
    fn run_once(&self, line: &mut Line, left: Duration, output: &mut LastOutput, watch: &mut Watch<'_>) -> Outcome {
        let Some(session) = &mut line.session else {
            return Outcome::cancelled(self.cancel, HostStage::Checking);
        };
        let listener = Box::new(|stream: Stream, bytes: Vec<u8>| output.add(stream, bytes));
        let outcome = self.work.check(session, self.request, left, listener, watch);
        let outcome = outcome.unwrap_or_else(|outcome| outcome);
        let goes_on =
            matches!(outcome, Outcome::Exited(_) | Outcome::Signaled { .. }) || refusal(&outcome) == Some(false);
        if goes_on && !session.is_dead() {
            return outcome;
        }
        line.close(self.work.host).unwrap_or_else(|| line.path.explain(outcome))
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Exited(0) => Verdict::Passed,
        Outcome::TimedOut { phase: Phase::Command, .. } => Verdict::Late,
        Outcome::TimedOut { phase: Phase::Secret, .. } => Verdict::Final,
        Outcome::Cancelled { .. } => Verdict::Ended,
        Outcome::Unstopped(outcome) => verdict(outcome),
        Outcome::Failed(error) => match &**error {
            HostError::HostKey(_) => Verdict::OtherKey,
            HostError::Local { .. } => Verdict::Ended,
            HostError::Auth(error) if error.told_secret => Verdict::Final,
            HostError::Sudo { hint: Some(Remedy::SudoNotBegun { was_told: false }), .. } => Verdict::Again,
            HostError::Sudo { .. } => Verdict::Final,
            HostError::Proxy { cause: ProxyError::Login(outcome), .. } => verdict(outcome),
            _ => Verdict::Again,
        },
        _ => Verdict::Again,
    }
}

/// The last output of a try, of both streams, without passwords.
#[derive(Default)]
struct LastOutput {
    /// stdout, stderr.
    filters: [Filter; 2],
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl LastOutput {
    fn add(&mut self, stream: Stream, bytes: Vec<u8>) {
        let bytes = self.filters[stream as usize].pass(bytes);
        self.keep(&bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (self.bytes.len() + last.len()).saturating_sub(KEPT);
        self.bytes.drain(..excess);
        self.bytes.extend(last);
        self.is_cut |= excess > 0 || last.len() < bytes.len();
    }

    /// Returns the last lines.
    fn lines(mut self) -> String {
        for filter in &mut std::mem::take(&mut self.filters) {
            let rest = filter.rest();
            self.keep(&rest);
        }
        let text = String::from_utf8_lossy(self.bytes.make_contiguous()).into_owned();
        let text = text.trim_end();
        // The first line may lack its beginning.
        let whole = text.split_once('\n').filter(|_| self.is_cut).map_or(text, |(_, whole)| whole);
        let lines: Vec<&str> = whole.lines().collect();
        lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::host_error::LoginError;
    use std::sync::Arc;

    #[test]
    fn the_last_lines_are_kept() {
        let mut output = LastOutput::default();
        for line in 0..2000 {
            output.add(Stream::Stdout, format!("line {line}\n").into_bytes());
        }
        output.add(Stream::Stderr, b"\xff\n\n".to_vec());
        assert_eq!(output.lines(), "line 1996\nline 1997\nline 1998\nline 1999\n\u{fffd}");
        let mut output = LastOutput::default();
        output.add(Stream::Stdout, vec![b'x'; 1 << 20]);
        assert_eq!(output.lines().len(), KEPT);
        assert_eq!(LastOutput::default().lines(), "");
    }

    #[test]
    fn what_may_lock_an_account_is_not_repeated() {
        let auth = |told_secret| -> Outcome {
            HostError::Auth(Box::new(LoginError { told_secret, ..LoginError::default() })).into()
        };
        let proxy = |outcome| -> Outcome {
            HostError::Proxy { hop: String::new(), cause: ProxyError::Login(Arc::new(outcome)) }.into()
        };
        let late = |phase| Outcome::TimedOut { phase, limit: Duration::ZERO, missing: "" };
        let sudo = |hint| -> Outcome { HostError::Sudo { detail: String::new(), hint }.into() };
        assert_eq!(verdict(&auth(false)), Verdict::Again);
        assert_eq!(verdict(&auth(true)), Verdict::Final);
        assert_eq!(verdict(&proxy(auth(true))), Verdict::Final);
        assert_eq!(verdict(&late(Phase::Secret)), Verdict::Final);
        assert_eq!(verdict(&late(Phase::Auth)), Verdict::Again);
        assert_eq!(verdict(&sudo(Some(Remedy::SudoNotBegun { was_told: true }))), Verdict::Final);
        assert_eq!(verdict(&sudo(Some(Remedy::SudoNotBegun { was_told: false }))), Verdict::Again);
        assert_eq!(verdict(&sudo(None)), Verdict::Final);
        assert_eq!(verdict(&Outcome::Unstopped(Box::new(late(Phase::Command)))), Verdict::Late);
        assert_eq!(verdict(&HostError::Connect { tried: Vec::new() }.into()), Verdict::Again);
    }
}
