//! Which ends of a command count as success (`--success`).

use crate::events::event::{Class, Outcome};
use crate::events::host_error::HostError;

/// The ends of a command that count as success: exactly these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// The exit statuses.
    pub statuses: Vec<u32>,
    /// Whether a connection that was lost while the command ran counts, as after a reboot.
    pub lost: bool,
    /// Whether a command that a signal killed counts.
    pub signal: bool,
}

impl Default for Success {
    /// Only exit status 0.
    fn default() -> Success {
        Success { statuses: vec![0], lost: false, signal: false }
    }
}

/// What a list of successes looks like.
const EXPECTED: &str = "expected exit statuses, lost and signal, separated by commas, such as 0,2 or 0-3,lost";
/// The largest exit status (wait(2)).
const LARGEST: u32 = 255;

/// Reads an exit status of a list, where `element` has it.
fn status(text: &str, element: &str) -> Result<u32, String> {
    let other = || format!("{element:?} is not an exit status; {EXPECTED}");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(other());
    }
    text.parse()
        .ok()
        .filter(|status| *status <= LARGEST)
        .ok_or(format!("{element:?}: an exit status is from 0 to {LARGEST}"))
}

impl Success {
    /// Reads `0,2-4,lost`: exit statuses and ranges of them, `lost` and `signal`.
    ///
    /// # Errors
    /// An element is neither; with what is allowed.
    pub fn parse(text: &str) -> Result<Success, String> {
        let mut success = Success { statuses: Vec::new(), lost: false, signal: false };
        for element in text.split(',').map(str::trim) {
            match element {
                "lost" => success.lost = true,
                "signal" => success.signal = true,
                "" => return Err(EXPECTED.to_owned()),
                "ok" => return Err("ok is exit status 0: write 0".to_owned()),
                "exit" => return Err("exit needs its statuses: write them as numbers, such as 0,2".to_owned()),
                "timeout" | "cancelled" | "check" | "copy" | "local" | "dns" | "connect" | "proxy" | "hostkey"
                | "auth" | "ssh" => {
                    return Err(format!(
                        "{element} is never a success, as the host was not reached, timed out or was stopped; {EXPECTED}"
                    ));
                }
                range => {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let (first, last) = (status(first.trim(), range)?, status(last.trim(), range)?);
                    if first > last {
                        return Err(format!("{range:?}: a range goes up: {last}-{first}"));
                    }
                    let is_new = |status: &u32| !success.statuses.contains(status);
                    let more: Vec<u32> = (first..=last).filter(is_new).collect();
                    success.statuses.extend(more);
                }
            }
        }
        Ok(success)
    }

    /// Decides whether `outcome` of a host whose command was sent is a success. It is wrapped if that is not the usual verdict.
    pub(crate) fn judge(&self, outcome: Outcome) -> Outcome {
        let is_success = match &outcome {
            Outcome::Exited(status) => self.statuses.contains(status),
            Outcome::Signaled { .. } => self.signal,
            Outcome::Failed(error) => self.lost && matches!(**error, HostError::Lost { .. }),
            // Nothing was to run, or pssh stopped the command: it may still run.
            _ => return outcome,
        };
        if is_success == (outcome.class() == Class::Ok) {
            return outcome;
        }
        Outcome::Judged { is_success, outcome: Box::new(outcome) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::event::{HostStage, Phase};

    fn success(text: &str) -> Success {
        Success::parse(text).expect("a good list")
    }

    #[test]
    fn lists_have_statuses_and_two_words() {
        assert_eq!(success("0"), Success::default());
        assert_eq!(success(" 0, 2 ,2,lost"), Success { statuses: vec![0, 2], lost: true, signal: false });
        assert_eq!(success("0-3,2,255,9-9,signal").statuses, [0, 1, 2, 3, 255, 9]);
        for (bad, told) in [
            ("", "such as 0,2 or 0-3,lost"),
            ("0,", "such as 0,2 or 0-3,lost"),
            ("ok", "write 0"),
            ("exit", "as numbers"),
            ("256x", "\"256x\" is not an exit status"),
            ("-1", "is not an exit status"),
            ("3-1", "\"3-1\": a range goes up: 1-3"),
            ("0-", "\"0-\" is not an exit status"),
            ("0-1-2", "is not an exit status"),
            ("0,300", "\"300\": an exit status is from 0 to 255"),
            ("0-256", "\"0-256\": an exit status is from 0 to 255"),
            ("timeout", "is never a success"),
            ("0,auth", "auth is never a success"),
            ("4294967296", "from 0 to 255"),
        ] {
            let problem = Success::parse(bad).expect_err(bad);
            assert!(problem.contains(told), "{bad}: {problem}");
        }
    }

    #[test]
    fn the_list_is_exactly_the_set_of_successes() {
        let lost = || Outcome::from(HostError::Lost { detail: "gone".to_owned(), hint: None });
        let killed = || Outcome::Signaled { name: "KILL".to_owned() };
        let class = |list: &str, outcome| success(list).judge(outcome).class();
        use Outcome::Exited;
        assert_eq!((class("0,2", Exited(0)), class("0,2", Exited(2))), (Class::Ok, Class::Ok));
        assert_eq!((class("2", Exited(0)), class("2", Exited(3))), (Class::Exit, Class::Exit));
        assert_eq!((class("lost", lost()), class("lost", killed())), (Class::Ok, Class::Signal));
        assert_eq!((class("signal", lost()), class("signal", killed())), (Class::Lost, Class::Ok));
        let told = |list: &str, outcome| {
            let judged = success(list).judge(outcome);
            (judged.to_string(), judged.brief(), judged.reason(), judged.word())
        };
        let exit = |text: &str| [(); 3].map(|()| text.to_owned());
        let [shown, brief, reason] = exit("exit 2 (a success)");
        assert_eq!(told("2", Exited(2)), (shown, brief, reason, "exit"));
        let [shown, brief, reason] = exit("exit 0");
        assert_eq!(told("2", Exited(0)), (shown, brief, reason, "exit"));
        let text = || "lost: gone".to_owned();
        assert_eq!(told("lost", lost()), (format!("{} (a success)", text()), text(), "gone".to_owned(), "lost"));
        assert_eq!(success("2").judge(Exited(2)).exit_status(), Some(2));
        assert_eq!(success("signal").judge(killed()).signal(), Some("KILL"));
    }

    #[test]
    fn what_pssh_stopped_and_what_it_did_not_reach_is_never_a_success() {
        let all = success("0,1,255,lost,signal");
        let late = || Outcome::TimedOut { phase: Phase::Command, limit: Duration::ZERO, missing: "" };
        for outcome in [
            late(),
            Outcome::Unstopped(Box::new(late())),
            Outcome::Unstopped(Box::new(Outcome::Exited(0))),
            Outcome::Cancelled { stage: HostStage::Running, why: None },
            HostError::Connect { tried: Vec::new() }.into(),
            HostError::Dropped { doing: "", detail: String::new(), banner_seen: true }.into(),
            HostError::Local { doing: "", detail: String::new(), hint: None }.into(),
        ] {
            let before = outcome.to_string();
            let judged = all.judge(outcome);
            assert!(!matches!(judged, Outcome::Judged { .. }), "{before}");
        }
        assert_eq!(
            all.judge(Outcome::Reached { connected: Duration::ZERO, logged_in: Duration::ZERO }).class(),
            Class::Ok
        );
    }
}
