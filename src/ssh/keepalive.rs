//! Finding out a peer that has vanished. Silence alone is no sign of it: a command may say nothing for hours, and many appliances
//! answer no keepalive at all.
//!
//! * ServerAliveInterval of ssh_config(5), where it is set, counts as for ssh(1): so many questions without an answer end the session.
//! * By default a question is asked after a few seconds of silence. A peer that answers it is asked again as long as it is silent, and has
//!   vanished once it stops answering. A peer that does not answer is not asked again, and not judged by that.
//! * TCP itself asks an idle peer (TCPKeepAlive, with the times of [`TCP`]). What is on its way to a peer keeps TCP from asking, so
//!   after a long silence the age of the last acknowledgement decides. A host behind a jump host has no TCP connection with us.

use std::time::{Duration, Instant};

use super::session::Session;
use crate::error::HostError;
use crate::event::Outcome;

/// How a peer that has vanished is found out.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After this time without anything from the peer it is asked for a sign of life; zero is never.
    pub interval: Duration,
    /// How many questions in a row may stay without an answer.
    pub count: u32,
    /// Whether the user has set the interval, so that questions count against a peer that has never answered one.
    pub is_configured: bool,
    /// Whether TCP is asked, too (TCPKeepAlive).
    pub tcp: bool,
}

/// The times of TCP's own questions (tcp(7)): a vanished peer is found out two minutes after it was last heard of.
pub struct TcpTimes {
    /// How long a connection is idle before the first.
    pub idle: Duration,
    /// The time between two.
    pub interval: Duration,
    /// How many stay without an answer before the connection has ended.
    pub count: u32,
}

/// See [`TcpTimes`].
pub const TCP: TcpTimes = TcpTimes { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };
/// How long no packet of TCP may have come from a peer, if it is asked as [`TCP`] says.
const VANISHED: Duration = Duration::from_secs(120);
/// How soon TCP is looked at again after that.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// After this silence a peer is asked the first time, to learn whether it answers.
const FIRST: Duration = Duration::from_secs(5);

/// The questions so far.
pub struct Pulse {
    keepalive: Keepalive,
    /// When the peer was last heard, or somebody came to depend on it.
    since: Instant,
    /// How many questions were due since then.
    asked: u32,
    /// How often TCP was looked at since then.
    looked: u32,
    /// Whether a question was ever asked.
    has_asked: bool,
    /// Whether one was ever answered.
    answers: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Ask the peer for a sign of life.
    Ask,
    /// Look when TCP last heard of the peer.
    Look,
    /// The peer has vanished, and was silent for so long.
    Vanished(Duration),
}

impl Pulse {
    /// No question yet.
    pub fn new(keepalive: Keepalive) -> Pulse {
        Pulse { keepalive, since: Instant::now(), asked: 0, looked: 0, has_asked: false, answers: false }
    }

    /// Nobody has depended on the peer until now.
    pub fn rest(&mut self) {
        (self.since, self.asked, self.looked) = (Instant::now(), 0, 0);
    }

    /// How long the peer of `session` has been silent, if it has vanished; asks it for a sign of life where it is time to.
    pub fn vanished(&mut self, session: &Session) -> Option<Duration> {
        let heard = session.last_heard();
        // libssh2 keeps the answers for ever if nobody takes them.
        if heard > self.since && self.has_asked && session.link().take_answers() {
            self.answers = true;
        }
        match self.step(Instant::now(), heard) {
            Step::Nothing => None,
            Step::Vanished(silent) => Some(silent),
            Step::Look => session.tcp_silence().filter(|silent| *silent >= VANISHED),
            Step::Ask => {
                // A peer that takes no more data need not be asked: what is on its way to it asks already.
                if session.takes_data() {
                    session.ask_alive();
                    self.has_asked = true;
                }
                None
            }
        }
    }

    /// The same as the outcome of a job.
    pub fn check(&mut self, session: &Session) -> Option<Outcome> {
        let silent = self.vanished(session)?;
        let detail = format!("no sign of life from the host for {} s", silent.as_secs());
        Some(HostError::Lost { detail, hint: None }.into())
    }

    /// When there is something to do next, unless the peer says something before.
    pub fn due(&self, session: &Session) -> Option<Instant> {
        let since = session.last_heard().max(self.since);
        let is_news = since > self.since;
        let (asked, looked) = if is_news { (0, 0) } else { (self.asked, self.looked) };
        let due = [self.ask_after(asked), self.look_after(looked), self.end_after()].into_iter().flatten().min()?;
        since.checked_add(due)
    }

    fn step(&mut self, now: Instant, heard: Instant) -> Step {
        if heard > self.since {
            (self.since, self.asked, self.looked) = (heard, 0, 0);
        }
        let silent = now.saturating_duration_since(self.since);
        let is_due = |after: Option<Duration>| after.is_some_and(|after| silent >= after);
        if is_due(self.end_after()) {
            return Step::Vanished(silent);
        }
        if is_due(self.ask_after(self.asked)) {
            self.asked += 1;
            return Step::Ask;
        }
        if is_due(self.look_after(self.looked)) {
            self.looked += 1;
            return Step::Look;
        }
        Step::Nothing
    }

    /// The silence after which the peer is asked, if it was asked so many times before.
    fn ask_after(&self, asked: u32) -> Option<Duration> {
        let Keepalive { interval, is_configured, .. } = self.keepalive;
        match (is_configured || self.answers, self.has_asked) {
            _ if interval.is_zero() => None,
            (true, _) => Some(interval.saturating_mul(asked + 1)),
            // A peer that took no data could not be asked before.
            (false, false) => Some(FIRST + LOOK_AGAIN.saturating_mul(asked)),
            (false, true) => None,
        }
    }

    /// The silence after which the peer has vanished. As ssh: after `count` questions without an answer, the next one would be too many.
    fn end_after(&self) -> Option<Duration> {
        let Keepalive { interval, count, is_configured, .. } = self.keepalive;
        let counts = (is_configured || self.answers) && !interval.is_zero();
        counts.then(|| interval.saturating_mul(count.saturating_add(1)))
    }

    /// The silence after which TCP is looked at, if it was so many times before.
    fn look_after(&self, looked: u32) -> Option<Duration> {
        self.keepalive.tcp.then(|| VANISHED + LOOK_AGAIN.saturating_mul(looked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Keepalive =
        Keepalive { interval: Duration::from_secs(30), count: 3, is_configured: false, tcp: true };

    /// What is done in so many seconds in which the peer says nothing, and when, in seconds.
    fn silence(pulse: &mut Pulse, seconds: u64) -> Vec<(u64, Step)> {
        let start = pulse.since;
        let mut steps = Vec::new();
        for second in 0..=seconds {
            let step = pulse.step(start + Duration::from_secs(second), start);
            match step {
                Step::Nothing => continue,
                Step::Ask => pulse.has_asked = true,
                _ => {}
            }
            let is_over = matches!(step, Step::Vanished(_));
            steps.push((second, step));
            if is_over {
                break;
            }
        }
        steps
    }

    #[test]
    fn a_peer_that_answers_nothing_is_asked_once_and_not_judged_by_it() {
        let steps = silence(&mut Pulse::new(DEFAULT), 600);
        assert_eq!(steps[0], (5, Step::Ask));
        assert_eq!(steps[1], (120, Step::Look));
        assert!(steps[1..].iter().all(|(_, step)| *step == Step::Look), "{steps:?}");
        let steps = silence(&mut Pulse::new(Keepalive { tcp: false, ..DEFAULT }), 600);
        assert_eq!(steps, [(5, Step::Ask)]);
    }

    #[test]
    fn a_peer_that_has_answered_before_has_vanished_when_it_does_not_any_more() {
        let mut pulse = Pulse::new(DEFAULT);
        (pulse.has_asked, pulse.answers) = (true, true);
        let steps = silence(&mut pulse, 600);
        let expected = [(30, Step::Ask), (60, Step::Ask), (90, Step::Ask), (120, Step::Vanished(VANISHED))];
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_is_configured_counts_from_the_beginning() {
        let configured = Keepalive { interval: Duration::from_secs(2), count: 2, is_configured: true, tcp: true };
        let steps = silence(&mut Pulse::new(configured), 600);
        assert_eq!(steps, [(2, Step::Ask), (4, Step::Ask), (6, Step::Vanished(Duration::from_secs(6)))]);
        let never = Keepalive { interval: Duration::ZERO, is_configured: true, ..DEFAULT };
        assert_eq!(silence(&mut Pulse::new(never), 130), [(120, Step::Look)]);
    }

    #[test]
    fn whatever_is_heard_begins_anew() {
        let mut pulse = Pulse::new(DEFAULT);
        (pulse.has_asked, pulse.answers) = (true, true);
        let start = pulse.since;
        assert_eq!(pulse.step(start + Duration::from_secs(119), start), Step::Ask);
        let heard = start + Duration::from_secs(119);
        assert_eq!(pulse.step(start + Duration::from_secs(148), heard), Step::Nothing);
        assert_eq!(pulse.step(start + Duration::from_secs(149), heard), Step::Ask);
    }
}
