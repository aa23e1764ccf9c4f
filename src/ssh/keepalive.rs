//! Finding out a peer that has vanished: it is asked for a sign of life when it has been silent for a while.

use std::time::{Duration, Instant};

use super::session::Session;
use crate::error::HostError;
use crate::event::Outcome;

/// How a peer that has vanished is found out (ServerAliveInterval and ServerAliveCountMax of ssh_config(5)).
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After this time without anything from the peer it is asked for a sign of life; zero is never.
    pub interval: Duration,
    /// How many questions in a row may stay without an answer.
    pub count: u32,
}

/// The questions so far.
pub struct Pulse {
    keepalive: Keepalive,
    /// How many in a row have had no answer yet.
    asked: u32,
}

impl Pulse {
    /// None yet.
    pub fn new(keepalive: Keepalive) -> Pulse {
        Pulse { keepalive, asked: 0 }
    }

    /// The outcome, if the peer has not given a sign of life for too long; asks for one where it is time to.
    pub fn check(&mut self, session: &Session) -> Option<Outcome> {
        let Keepalive { interval, count } = self.keepalive;
        let heard = session.last_heard();
        let silent = heard.elapsed();
        if interval.is_zero() || silent < interval {
            self.asked = 0;
            return None;
        }
        // As ssh: after `count` questions without an answer, the next one would be too many.
        if silent >= interval.saturating_mul(count.saturating_add(1)) {
            let detail = format!("no sign of life from the host for {} s", silent.as_secs());
            return Some(HostError::Lost { detail }.into());
        }
        if silent >= interval.saturating_mul(self.asked + 1) {
            self.asked += 1;
            // A peer that takes no more data need not be asked: what is on its way to it asks already.
            if session.takes_data() {
                session.ask_alive();
            }
        }
        None
    }

    /// When the next question is due, or the peer counts as vanished.
    pub fn due(&self, session: &Session) -> Option<Instant> {
        let Keepalive { interval, .. } = self.keepalive;
        if interval.is_zero() {
            return None;
        }
        session.last_heard().checked_add(interval.saturating_mul(self.asked + 1))
    }
}
