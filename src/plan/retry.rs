//! Which failures are retried, and after which pause. Nothing is retried once the command may have been sent.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::events::event::{Outcome, Phase};
use crate::events::host_error::{HostError, ProxyError};

/// How failed connection attempts are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1; by default 3. The reference client's `num_retries` counts the same way.
    pub attempts: u32,
    /// The pause before the next attempt; by default 5 s (`retry_delay`, which the reference client ignores).
    pub delay: Duration,
}

/// The kind of a failure, for retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Another attempt may succeed.
    Transient,
    /// The server accepted the connection and dropped it before its banner: it is busy (MaxStartups of sshd_config(5)). It is
    /// retried more often, and sooner, since it is up.
    Busy,
    /// Another attempt would fail the same way, or might run the command twice.
    Final,
}

/// Factor for the attempts at a busy server.
const BUSY_FACTOR: u32 = 3;
/// Divides the first pause for a busy server, which doubles from there.
const BUSY_START: u32 = 8;
/// Varies a pause by up to this fraction either way, so that hosts that failed together do not retry together.
const JITTER: f64 = 0.2;

impl RetryPolicy {
    /// Returns the pause before the next attempt, after attempt number `attempt` (from 1) ended with `outcome`; `None` if that was
    /// the last. Only for attempts that ended before the command was sent.
    pub(crate) fn pause(&self, outcome: &Outcome, attempt: u32) -> Option<Duration> {
        let (attempts, pause) = match kind(outcome) {
            Kind::Final => return None,
            Kind::Transient => (self.attempts, self.delay),
            Kind::Busy if self.attempts == 1 => return None,
            Kind::Busy => {
                let doubled = 1 << attempt.saturating_sub(1).min(16);
                let pause = (self.delay / BUSY_START).saturating_mul(doubled);
                (self.attempts.saturating_mul(BUSY_FACTOR), pause.min(self.delay))
            }
        };
        (attempt < attempts).then(|| pause.mul_f64(1.0 + JITTER * random()))
    }
}

fn kind(outcome: &Outcome) -> Kind {
    match outcome {
        Outcome::TimedOut { phase: Phase::Connect | Phase::KnownHostsCommand | Phase::Open | Phase::Auth, .. } => {
            Kind::Transient
        }
        Outcome::Failed(error) => match &**error {
            HostError::Dns { is_final: true, .. } => Kind::Final,
            HostError::Dns { .. } | HostError::Connect { .. } | HostError::Behind { .. } => Kind::Transient,
            HostError::Proxy { cause, .. } => match cause {
                ProxyError::Login(outcome) => kind(outcome),
                ProxyError::Forbidden(_) => Kind::Final,
                ProxyError::Late(_) | ProxyError::Full(_) | ProxyError::Ended(_) | ProxyError::Command(_) => {
                    Kind::Transient
                }
            },
            HostError::Dropped { banner_seen: false, .. } => Kind::Busy,
            HostError::Dropped { banner_seen: true, .. } => Kind::Transient,
            _ => Kind::Final,
        },
        _ => Kind::Final,
    }
}

/// Returns a number from -1 to 1, as random as hash maps need.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 11;
    bits as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::HostStage;

    fn dropped(banner_seen: bool) -> Outcome {
        HostError::Dropped { doing: "handshake", detail: String::new(), banner_seen }.into()
    }

    #[test]
    fn attempts_are_counted_in_all() {
        let policy = RetryPolicy { attempts: 3, delay: Duration::from_secs(5) };
        let refused: Outcome = HostError::Connect { tried: Vec::new() }.into();
        for attempt in [1, 2] {
            let pause = policy.pause(&refused, attempt).expect("another attempt");
            assert!((4.0..=6.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
        assert_eq!(policy.pause(&refused, 3), None);
        assert_eq!(RetryPolicy { attempts: 1, ..policy }.pause(&refused, 1), None);
    }

    #[test]
    fn a_busy_server_is_asked_sooner_and_more_often() {
        let policy = RetryPolicy { attempts: 3, delay: Duration::from_secs(8) };
        assert!(policy.pause(&dropped(false), 1).expect("another attempt") < Duration::from_secs(2));
        assert!(policy.pause(&dropped(false), 8).is_some());
        assert_eq!(policy.pause(&dropped(false), 9), None);
        assert_eq!(policy.pause(&dropped(true), 3), None);
        assert_eq!(RetryPolicy { attempts: 1, ..policy }.pause(&dropped(false), 1), None);
    }

    #[test]
    fn a_proxy_is_retried_as_a_host_would_be() {
        let policy = RetryPolicy { attempts: 3, delay: Duration::from_secs(5) };
        let proxy = |cause| Outcome::from(HostError::Proxy { hop: String::new(), cause });
        let login = |outcome| proxy(ProxyError::Login(std::sync::Arc::new(outcome)));
        assert!(policy.pause(&login(dropped(true)), 1).is_some());
        assert!(policy.pause(&login(dropped(false)), 8).is_some());
        assert!(policy.pause(&proxy(ProxyError::Ended(None)), 1).is_some());
        let refused = HostError::Auth(Box::default());
        assert_eq!(policy.pause(&login(refused.into()), 1), None);
        assert_eq!(policy.pause(&proxy(ProxyError::Forbidden(String::new())), 1), None);
    }

    #[test]
    fn what_is_certain_is_final() {
        let policy = RetryPolicy { attempts: 3, delay: Duration::from_secs(5) };
        let refused = HostError::Auth(Box::default());
        let lost = HostError::Lost { detail: String::new(), hint: None };
        let late = Outcome::TimedOut { phase: Phase::Command, limit: Duration::ZERO, missing: "" };
        for outcome in [
            refused.into(),
            lost.into(),
            late,
            Outcome::Exited(1),
            Outcome::Cancelled { stage: HostStage::Running, why: None },
        ] {
            assert_eq!(policy.pause(&outcome, 1), None, "{outcome}");
        }
    }
}
