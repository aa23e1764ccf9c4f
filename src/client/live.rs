//! What happens on the hosts of a run, as it happens.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::host::Host;
use crate::events::event::{Progress, Stream};
use crate::system::lock::lock;

/// Something that has happened on a host. Events of one host are in the order in which they happened.
#[derive(Debug)]
pub struct RunEvent {
    /// The host.
    pub host: Host,
    /// When it happened.
    pub at: Instant,
    /// What.
    pub what: Happening,
}

/// What can happen on a host.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening {
    /// The first attempt to connect begins.
    Started,
    /// An attempt has failed, and the next one follows.
    Retrying {
        /// Why it failed.
        reason: String,
        /// When the next one begins.
        until: Instant,
    },
    /// The login succeeded, or the session of the last command is used.
    Connected,
    /// Bytes of the command's output as they came, at most 64 KiB.
    Output {
        /// Which of its two streams.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// How far a copy has come, now and then.
    Copied(Progress),
    /// A warning, although the host was reached.
    Warning(String),
    /// The host has ended: the last event of every host, exactly once. [`Host::outcome`] tells how.
    Ended,
}

/// The events of a run that were not returned yet. Output is in the host's streams, and here at most once for each.
pub(super) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<(usize, Instant, Entry)>,
    /// For each host: whether stdout, stderr and progress wait.
    pending: Vec<[bool; 3]>,
    progress: Vec<Progress>,
    is_closed: bool,
    /// How many threads wait for an event: without one, nothing is woken, which is a system call.
    readers: usize,
}

enum Entry {
    Happened(Happening),
    Output(Stream),
    Progress,
}

/// The place of progress in [`State::pending`].
const PROGRESS: usize = 2;

impl Log {
    pub(super) fn new(hosts: usize) -> Log {
        let state = State {
            waiting: VecDeque::new(),
            pending: vec![[false; 3]; hosts],
            progress: vec![Progress::default(); hosts],
            is_closed: false,
            readers: 0,
        };
        Log { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn add(&self, job: usize, what: Happening) {
        let mut state = lock(&self.state);
        state.waiting.push_back((job, Instant::now(), Entry::Happened(what)));
        self.wake(&state);
    }

    pub(super) fn output(&self, job: usize, stream: Stream) {
        self.add_once(job, stream as usize, || Entry::Output(stream));
    }

    pub(super) fn progress(&self, job: usize, progress: Progress) {
        lock(&self.state).progress[job] = progress;
        self.add_once(job, PROGRESS, || Entry::Progress);
    }

    fn add_once(&self, job: usize, place: usize, entry: impl FnOnce() -> Entry) {
        let mut state = lock(&self.state);
        if !std::mem::replace(&mut state.pending[job][place], true) {
            state.waiting.push_back((job, Instant::now(), entry()));
            self.wake(&state);
        }
    }

    /// All hosts have ended.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if state.readers > 0 {
            self.changed.notify_all();
        }
    }
}

/// The events of a run ([`Run::events`](crate::Run::events)).
pub struct Events<'a> {
    log: &'a Log,
    hosts: &'a [Host],
}

impl<'a> Events<'a> {
    pub(super) fn new(log: &'a Log, hosts: &'a [Host]) -> Events<'a> {
        Events { log, hosts }
    }

    /// Returns the next event, and waits for it at most so long. `None` is the end only if the run
    /// [has finished](crate::Run::finished).
    pub fn next_within(&mut self, time: Duration) -> Option<RunEvent> {
        self.next_until(Instant::now().checked_add(time))
    }

    /// Returns the next event before `end`, if there is one.
    fn next_until(&mut self, end: Option<Instant>) -> Option<RunEvent> {
        loop {
            let mut state = lock(&self.log.state);
            while state.waiting.is_empty() && !state.is_closed {
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                state.readers += 1;
                state = match left {
                    Some(left) => self.log.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                    None => self.log.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
                state.readers -= 1;
                if left == Some(Duration::ZERO) && state.waiting.is_empty() && !state.is_closed {
                    return None;
                }
            }
            let (job, at, entry) = state.waiting.pop_front()?;
            let host = &self.hosts[job];
            let what = match entry {
                Entry::Happened(what) => what,
                Entry::Progress => {
                    state.pending[job][PROGRESS] = false;
                    Happening::Copied(state.progress[job])
                }
                Entry::Output(stream) => {
                    // The rest of the stream comes before what follows it.
                    let kept = &host.inner.streams[stream as usize];
                    let bytes = kept.pop();
                    match kept.is_empty() {
                        true => state.pending[job][stream as usize] = false,
                        false => state.waiting.push_front((job, at, Entry::Output(stream))),
                    }
                    if bytes.is_empty() {
                        continue;
                    }
                    Happening::Output { stream, bytes }
                }
            };
            return Some(RunEvent { host: host.clone(), at, what });
        }
    }
}

impl Iterator for Events<'_> {
    type Item = RunEvent;

    fn next(&mut self) -> Option<RunEvent> {
        self.next_until(None)
    }
}

impl FusedIterator for Events<'_> {}
