//! Times of each job's events, and the durations of its phases.

use std::time::{Duration, Instant};

use crate::events::event::{Event, EventKind, Milestones};

/// Times of a job's events so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    /// A worker took it.
    pub started: Option<Instant>,
    /// The last attempt to connect, and when that ended.
    pub attempt: Option<(Milestones, Instant)>,
    /// Authentication succeeded.
    pub connected: Option<Instant>,
    /// The command printed something.
    pub first_output: Option<Instant>,
    /// It was over.
    pub ended: Option<Instant>,
}

/// Durations of a job's phases; `None` for those that it did not reach. A failed phase counts up to the failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From the beginning of the run until a worker took the job.
    pub waiting: Option<Duration>,
    /// From there until the last attempt began: the failed attempts, and the pauses after them.
    pub retries: Option<Duration>,
    /// Until there was a connection, by TCP or through a proxy.
    pub connect: Option<Duration>,
    /// Banner, key exchange and host key.
    pub handshake: Option<Duration>,
    /// User authentication.
    pub auth: Option<Duration>,
    /// From the request to run the command, or to copy files, until the end.
    pub command: Option<Duration>,
    /// From the moment when a worker took the job until the end.
    pub total: Option<Duration>,
}

impl Phases {
    /// Returns the phases with their names, in order, without the total.
    pub fn parts(&self) -> [(&'static str, Option<Duration>); 6] {
        [
            ("waiting", self.waiting),
            ("retries", self.retries),
            ("connect", self.connect),
            ("handshake", self.handshake),
            ("auth", self.auth),
            ("command", self.command),
        ]
    }
}

impl Timeline {
    /// Records an event of the job.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Started => self.started = Some(event.at),
            EventKind::Attempted(milestones) => self.attempt = Some((**milestones, event.at)),
            EventKind::Connected => self.connected = Some(event.at),
            EventKind::Output { .. } => self.first_output = self.first_output.or(Some(event.at)),
            EventKind::Finished { .. } => self.ended = Some(event.at),
            _ => {}
        }
    }

    /// Returns the durations, in a run that began at `start`.
    pub fn phases(&self, start: Instant) -> Phases {
        let between = |from: Instant, to: Instant| Some(to.saturating_duration_since(from));
        let Some(started) = self.started else { return Phases::default() };
        let mut phases = Phases {
            waiting: between(start, started),
            total: self.ended.and_then(|ended| between(started, ended)),
            ..Phases::default()
        };
        if let Some((Milestones { begun, reached, secured, .. }, given_up)) = self.attempt {
            phases.retries = between(started, begun);
            phases.connect = between(begun, reached.unwrap_or(given_up));
            phases.handshake = reached.and_then(|reached| between(reached, secured.unwrap_or(given_up)));
            phases.auth = secured.and_then(|secured| between(secured, given_up));
        }
        if let (Some(connected), Some(ended)) = (self.connected, self.ended) {
            phases.command = between(connected, ended);
        }
        phases
    }
}
