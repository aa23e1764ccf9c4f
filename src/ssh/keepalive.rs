//! Detects a peer that has vanished. Silence alone does not prove it: a command may print nothing for hours, and many
//! appliances answer no keepalive.
//!
//! * ServerAliveInterval of ssh_config(5), if set, works as in ssh(1): this many unanswered keepalives end the session.
//! * By default a keepalive is sent after a few seconds of silence. A peer that answers gets more while it is silent,
//!   and has vanished once it stops answering. A peer that does not answer gets no more, and is not judged by that.
//! * TCP itself probes an idle peer (TCPKeepAlive, with the times of [`TCP`]). Unacknowledged data stops these probes,
//!   so after a long silence the age of the last acknowledgement decides. A host behind a jump host has no TCP connection
//!   with us.

use std::time::{Duration, Instant};

use super::session::Session;
use super::watch::{CARRIER_TICK, Carrier, arrived_until};
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::system::poll::catching_up;

/// How to detect a peer that has vanished.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// The silence before a keepalive; zero disables it.
    pub interval: Duration,
    /// Most unanswered keepalives in a row.
    pub count: u32,
    /// Whether the user set the interval, so that keepalives count against a peer that has never answered one.
    pub is_configured: bool,
    /// Whether TCP probes, too (TCPKeepAlive).
    pub tcp: bool,
    /// The silence before the first keepalive, which shows whether the peer answers.
    pub first: Duration,
}

impl Keepalive {
    /// Detects within about ten seconds that a peer that answers keepalives has vanished. It is asked at once, so that it is known to
    /// answer. A user who has turned keepalives off gets none.
    pub fn quick(self) -> Keepalive {
        let is_off = self.interval.is_zero();
        let interval = if is_off { Duration::ZERO } else { self.interval.min(QUICK) };
        Keepalive { interval, count: self.count.min(QUICK_COUNT), first: Duration::ZERO, ..self }
    }
}

/// The times of TCP's probes (tcp(7)): a vanished peer is detected two minutes after its last packet.
pub struct TcpTimes {
    /// Idle time before the first.
    pub idle: Duration,
    /// The interval.
    pub interval: Duration,
    /// Unanswered probes before the connection has ended.
    pub count: u32,
}

/// See [`TcpTimes`].
pub const TCP: TcpTimes = TcpTimes { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };
/// The silence of TCP that proves a vanished peer, with the probes of [`TCP`].
const VANISHED: Duration = Duration::from_secs(120);
/// The interval of checking TCP after that.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The usual silence before the first keepalive.
pub const FIRST: Duration = Duration::from_secs(5);
/// See [`Keepalive::quick`].
const QUICK: Duration = Duration::from_secs(3);
const QUICK_COUNT: u32 = 2;

/// The keepalives of a session.
pub struct Pulse {
    keepalive: Keepalive,
    /// When the peer was last heard, or a job started to depend on it.
    since: Instant,
    /// How many keepalives were due since then.
    asked: u32,
    /// When the last of them was due.
    asked_at: Option<Instant>,
    /// Since when the peer seems to have vanished, while received data may still be on its way to us.
    doubt: Option<Instant>,
    /// How often TCP was checked since then.
    looked: u32,
    /// Whether a keepalive was ever sent.
    has_asked: bool,
    /// Whether one was ever answered.
    answers: bool,
}

/// The next action.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Send a keepalive.
    Ask,
    /// Check when TCP last heard the peer.
    Look,
    /// The peer has vanished, after this silence.
    Vanished(Duration),
}

impl Pulse {
    /// Starts without a keepalive.
    pub fn new(keepalive: Keepalive) -> Pulse {
        Pulse {
            keepalive,
            since: Instant::now(),
            asked: 0,
            asked_at: None,
            doubt: None,
            looked: 0,
            has_asked: false,
            answers: false,
        }
    }

    /// Restarts the silence: until now no job depended on the peer.
    pub fn rest(&mut self) {
        self.hear(Instant::now());
    }

    fn hear(&mut self, heard: Instant) {
        (self.since, self.asked, self.looked) = (heard, 0, 0);
        (self.asked_at, self.doubt) = (None, None);
    }

    /// Returns how long the peer of `session` has been silent, if it has vanished; sends a keepalive when it is time
    /// to. Call it when all received data is read, as far as the `carrier`, if there is one, has passed it on.
    pub fn vanished(&mut self, session: &Session, carrier: Option<&dyn Carrier>) -> Option<Duration> {
        let heard = session.last_heard();
        // libssh2 would keep the answers forever.
        if heard > self.since && self.has_asked && session.link().take_answers() {
            self.answers = true;
        }
        match self.step(Instant::now(), heard) {
            Step::Nothing => None,
            Step::Vanished(silent) => self.has_no_doubt(carrier).then_some(silent),
            Step::Look => session.tcp_silence().filter(|silent| *silent >= VANISHED),
            Step::Ask => {
                // A peer that accepts no more data needs no keepalive: the data in flight serves as one.
                if session.takes_data() {
                    session.ask_alive();
                    self.has_asked = true;
                }
                None
            }
        }
    }

    /// Whether no received data can still be on its way to us. The first check says no: a process that was stopped may
    /// have read last before that.
    fn has_no_doubt(&mut self, carrier: Option<&dyn Carrier>) -> bool {
        let now = Instant::now();
        let Some(since) = self.doubt else {
            self.doubt = Some(now);
            return false;
        };
        let due = self.base() + self.keepalive.interval;
        now > since && arrived_until(carrier) > since || now.duration_since(since) >= catching_up(due, since)
    }

    /// Returns the outcome of a job with this peer.
    pub fn check(&mut self, session: &Session, carrier: Option<&dyn Carrier>) -> Option<Outcome> {
        let silent = self.vanished(session, carrier)?;
        let detail = format!("no sign of life from the host for {} s", silent.as_secs());
        Some(HostError::Lost { detail, hint: None }.into())
    }

    /// Returns the next due time if the peer stays silent.
    pub fn due(&self, session: &Session) -> Option<Instant> {
        let heard = session.last_heard();
        if heard > self.since {
            let news = Pulse { since: heard, asked: 0, asked_at: None, doubt: None, looked: 0, ..*self };
            return news.next_due();
        }
        if let Some(since) = self.doubt {
            return Some(Instant::now().max(since) + CARRIER_TICK);
        }
        self.next_due()
    }

    fn next_due(&self) -> Option<Instant> {
        let next = self.next_interval();
        let asks = if self.counts() { next } else { self.first_due() };
        let looks = self.look_after(self.looked).and_then(|after| self.since.checked_add(after));
        asks.into_iter().chain(looks).min()
    }

    fn step(&mut self, now: Instant, heard: Instant) -> Step {
        if heard > self.since {
            self.hear(heard);
        }
        let is_due = |due: Option<Instant>| due.is_some_and(|due| now >= due);
        let silent = now.saturating_duration_since(self.since);
        if self.counts() {
            if is_due(self.next_interval()) && self.asked >= self.keepalive.count {
                return Step::Vanished(silent);
            }
            if is_due(self.next_interval()) {
                return self.ask(now);
            }
        } else if is_due(self.first_due()) {
            return self.ask(now);
        }
        if self.look_after(self.looked).is_some_and(|after| silent >= after) {
            self.looked += 1;
            return Step::Look;
        }
        Step::Nothing
    }

    fn ask(&mut self, now: Instant) -> Step {
        (self.asked, self.asked_at) = (self.asked + 1, Some(now));
        Step::Ask
    }

    /// Whether unanswered keepalives count against the peer. As in ssh: after `count` of them, the next one would be
    /// too many.
    fn counts(&self) -> bool {
        let Keepalive { interval, is_configured, .. } = self.keepalive;
        (is_configured || self.answers) && !interval.is_zero()
    }

    /// Returns the start of the next interval. Each keepalive has an interval for its answer, even if it was sent late:
    /// a pause of ours is not silence of the peer.
    fn base(&self) -> Instant {
        self.asked_at.unwrap_or(self.since)
    }

    /// Returns when the next keepalive is due if they count, or the peer has vanished.
    fn next_interval(&self) -> Option<Instant> {
        self.base().checked_add(self.keepalive.interval)
    }

    /// Returns when to send a keepalive to a peer that may not answer.
    fn first_due(&self) -> Option<Instant> {
        let Keepalive { interval, is_configured, first, .. } = self.keepalive;
        // A peer that accepted no data could not be sent one before.
        let is_unknown = !interval.is_zero() && !is_configured && !self.answers && !self.has_asked;
        is_unknown.then(|| self.since + first + LOOK_AGAIN.saturating_mul(self.asked))
    }

    /// Returns the silence before checking TCP, after this many checks.
    fn look_after(&self, looked: u32) -> Option<Duration> {
        self.keepalive.tcp.then(|| VANISHED + LOOK_AGAIN.saturating_mul(looked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Keepalive =
        Keepalive { interval: Duration::from_secs(30), count: 3, is_configured: false, tcp: true, first: FIRST };

    /// Lists the actions in this many seconds of silence, with their times in seconds.
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
        let configured = Keepalive { interval: Duration::from_secs(2), count: 2, is_configured: true, ..DEFAULT };
        let steps = silence(&mut Pulse::new(configured), 600);
        assert_eq!(steps, [(2, Step::Ask), (4, Step::Ask), (6, Step::Vanished(Duration::from_secs(6)))]);
        let never = Keepalive { interval: Duration::ZERO, is_configured: true, ..DEFAULT };
        assert_eq!(silence(&mut Pulse::new(never), 130), [(120, Step::Look)]);
    }

    #[test]
    fn a_quick_one_asks_at_once_and_gives_up_within_ten_seconds() {
        let mut pulse = Pulse::new(DEFAULT.quick());
        assert_eq!(silence(&mut pulse, 60), [(0, Step::Ask)], "a peer that answers nothing is not judged by it");
        let mut pulse = Pulse::new(DEFAULT.quick());
        (pulse.has_asked, pulse.answers) = (true, true);
        let expected = [(3, Step::Ask), (6, Step::Ask), (9, Step::Vanished(Duration::from_secs(9)))];
        assert_eq!(silence(&mut pulse, 60), expected);
        let never = Keepalive { interval: Duration::ZERO, is_configured: true, ..DEFAULT }.quick();
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
