//! Sessions that stay connected between the runs of a client. Each entry of its list has one place for a session; a run takes it for
//! the time of a job, so that jobs on one host run one after the other. A thread looks after unused sessions, as long as there are any:
//! it answers what their servers ask, and closes them when they have been unused for too long.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::prepared::Prepared;
use super::runner::{Line, Path};
use super::workers::Workers;
use crate::events::event::{HostStage, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::plan::settings::Settings;
use crate::ssh::proxy::chain::JumpHosts;
use crate::ssh::session::Session;
use crate::system::cancel::{Cancel, Reason};
use crate::system::lock::lock;

/// How long a kept connection may take to open a channel; then it is replaced. Its host may have vanished without a word.
pub(super) const OPENING: Duration = Duration::from_secs(10);
/// How long a server with one channel at a time (MaxSessions of sshd_config(5)) may take to free the last one.
pub(super) const FREEING: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(500)];
/// How often unused sessions are looked at. A server that asks for a sign of life (ClientAliveInterval) may want it within a second.
const TICK: Duration = Duration::from_secs(1);
/// Stack size in bytes of the thread that looks after unused sessions.
const STACK: usize = 256 * 1024;

/// The kept sessions of a client.
pub struct Sessions {
    shared: Arc<Shared>,
    /// Ends logins to jump hosts, which outlive the run that has begun them.
    cancel: Cancel,
}

struct Shared {
    places: Box<[OnceLock<Place>]>,
    /// How long a session may be unused; `None` for no limit.
    idle_timeout: Option<Duration>,
    /// How many unused sessions there may be.
    most: usize,
    state: Mutex<State>,
    /// The thread must look now.
    changed: Condvar,
}

/// The place of one entry of the list. Its channel holds one message, with the session if there is one, while no job has it.
struct Place {
    give: Sender<Option<Line>>,
    take: Receiver<Option<Line>>,
}

#[derive(Default)]
struct State {
    /// The places with an unused session, and since when.
    idle: BTreeMap<usize, Instant>,
    /// How many unused sessions the limit on open files allows; `None` before it is known.
    room: Option<usize>,
    /// A session is kept only if this has not changed since it was taken.
    generation: u64,
    /// Nothing is kept any more.
    is_retired: bool,
    /// What the last run that read the files has decided.
    prepared: Option<Arc<Prepared>>,
    workers: Arc<Workers>,
    jump_hosts: Option<Arc<JumpHosts>>,
    /// How many runs use them.
    users: usize,
    /// When the last run ended.
    released: Option<Instant>,
    keeper: Option<JoinHandle<()>>,
    /// Whether the thread runs.
    is_kept: bool,
    /// How many wait for the thread to end; until then it must.
    closing: usize,
}

/// A job's turn on its host. No other job runs there meanwhile.
pub(super) struct Turn<'a> {
    sessions: &'a Sessions,
    place: usize,
    generation: u64,
    line: Option<Line>,
    is_over: bool,
}

/// The jump hosts of a run: its own, or those of the client.
pub(super) struct RunJumpHosts {
    hosts: Arc<JumpHosts>,
    sessions: Option<Arc<Sessions>>,
}

impl Sessions {
    /// Keeps none yet, for a list of `hosts` entries. Returns `None` if the settings keep none.
    ///
    /// # Errors
    /// No pipe can be made.
    pub fn new(hosts: usize, settings: &Settings) -> std::io::Result<Option<Arc<Sessions>>> {
        let most = settings.kept_sessions.unwrap_or(usize::MAX);
        if most == 0 || settings.idle_timeout == Some(Duration::ZERO) {
            return Ok(None);
        }
        let shared = Shared {
            places: (0..hosts).map(|_| OnceLock::new()).collect(),
            idle_timeout: settings.idle_timeout,
            most,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Ok(Some(Arc::new(Sessions { shared: Arc::new(shared), cancel: Cancel::new()? })))
    }

    /// Waits until no other job runs on the host at `place`.
    ///
    /// # Errors
    /// The outcome of the job: the run was cancelled before.
    pub(super) fn turn(&self, place: usize, cancel: &Cancel) -> Result<Turn<'_>, Outcome> {
        let stopped = || Outcome::cancelled(cancel, HostStage::Connecting);
        let generation = lock(&self.shared.state).generation;
        let line = match self.shared.place(place).take.try_recv() {
            Ok(line) => line,
            Err(_) => select! {
                recv(self.shared.place(place).take) -> line => line.map_err(|_| stopped())?,
                recv(cancel.channel()) -> _ => return Err(stopped()),
            },
        };
        lock(&self.shared.state).idle.remove(&place);
        Ok(Turn { sessions: self, place, generation, line, is_over: false })
    }

    /// Returns the client's jump hosts, made by `make` for the first run behind any.
    pub(super) fn jump_hosts(self: &Arc<Self>, make: impl FnOnce(&Cancel) -> JumpHosts) -> RunJumpHosts {
        let mut state = lock(&self.shared.state);
        let hosts = Arc::clone(state.jump_hosts.get_or_insert_with(|| Arc::new(make(&self.cancel))));
        // A failure is remembered for the hosts of one run.
        hosts.forget_failures();
        state.users += 1;
        RunJumpHosts { hosts, sessions: Some(Arc::clone(self)) }
    }

    /// Returns what an earlier run with this time limit for the command has prepared, as long as every host has a session: nothing is
    /// read or asked for logins that are not needed. A session that turns out to have ended is replaced as it was prepared.
    pub(super) fn prepared(&self, command_timeout: Option<Duration>) -> Option<Arc<Prepared>> {
        let state = lock(&self.shared.state);
        let has_all = state.idle.len() == self.shared.places.len();
        state.prepared.clone().filter(|prepared| has_all && prepared.fits(command_timeout))
    }

    /// Keeps what a run has prepared for the next ones.
    pub(super) fn set_prepared(&self, prepared: &Arc<Prepared>) {
        lock(&self.shared.state).prepared = Some(Arc::clone(prepared));
    }

    /// Returns the threads that run jobs.
    pub(super) fn workers(&self) -> Arc<Workers> {
        Arc::clone(&lock(&self.shared.state).workers)
    }

    /// Limits the number of unused sessions, since so many files may be open.
    pub(super) fn set_room(&self, room: usize) {
        lock(&self.shared.state).room = Some(room);
    }

    /// A run has ended.
    fn release(&self) {
        let mut state = lock(&self.shared.state);
        state.users -= 1;
        state.released = Some(Instant::now());
        let unused = if state.is_retired { state.unused_jump_hosts() } else { None };
        if state.jump_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()) {
            self.look_after(&mut state);
        }
        drop(state);
        drop(unused);
    }

    /// Closes all unused sessions, and joins the thread. Sessions in use are closed once their job has ended.
    pub fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.generation += 1;
        let places: Vec<usize> = std::mem::take(&mut state.idle).into_keys().collect();
        let lines: Vec<Line> = places.into_iter().filter_map(|place| self.shared.empty(place)).collect();
        let (jump_hosts, prepared) = (state.unused_jump_hosts(), state.prepared.take());
        let workers = std::mem::take(&mut state.workers);
        state.closing += 1;
        let keeper = state.keeper.take();
        self.shared.changed.notify_all();
        drop(state);
        if let Some(keeper) = keeper {
            let _ = keeper.join();
        }
        lines.into_iter().for_each(hang_up);
        drop((jump_hosts, prepared, workers));
        let mut state = lock(&self.shared.state);
        state.closing -= 1;
        // A run may have left a session meanwhile.
        if !state.idle.is_empty() || state.has_jump_hosts() {
            self.look_after(&mut state);
        }
    }

    /// Closes like [`Sessions::close`], and keeps nothing any more: the client is gone.
    pub fn retire(&self) {
        lock(&self.shared.state).is_retired = true;
        self.close();
    }

    /// Starts the thread unless it runs; returns whether there is one.
    fn look_after(&self, state: &mut MutexGuard<'_, State>) -> bool {
        if state.is_kept {
            return true;
        }
        // It has left the loop.
        if let Some(keeper) = state.keeper.take() {
            let _ = keeper.join();
        }
        let shared = Arc::clone(&self.shared);
        let keeper = thread::Builder::new().name("pssh-sessions".to_owned()).stack_size(STACK);
        state.keeper = keeper.spawn(move || shared.look_after()).ok();
        state.is_kept = state.keeper.is_some();
        state.is_kept
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.cancel.trigger(Reason::Program);
        self.retire();
    }
}

impl State {
    /// Whether there are jump hosts that no run uses.
    fn has_jump_hosts(&self) -> bool {
        self.users == 0 && self.jump_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())
    }

    /// Takes the jump hosts, if no run uses them.
    fn unused_jump_hosts(&mut self) -> Option<Arc<JumpHosts>> {
        if self.users == 0 { self.jump_hosts.take() } else { None }
    }
}

impl Shared {
    fn place(&self, place: usize) -> &Place {
        self.places[place].get_or_init(|| {
            let (give, take) = bounded(1);
            let _ = give.send(None);
            Place { give, take }
        })
    }

    /// Takes the unused session of a place out of it.
    fn empty(&self, place: usize) -> Option<Line> {
        let line = self.place(place).take.try_recv().ok()?;
        let _ = self.place(place).give.send(None);
        line
    }

    /// Looks after unused sessions until there are none. Runs on a thread of its own.
    fn look_after(&self) {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            let is_over = |since: Instant| self.end(since).is_some_and(|end| now >= end);
            let over: Vec<usize> =
                state.idle.iter().filter(|(_, since)| is_over(**since)).map(|(place, _)| *place).collect();
            state.idle.retain(|_, since| !is_over(*since));
            let lines: Vec<Line> = over.into_iter().filter_map(|place| self.empty(place)).collect();
            let mut jump_hosts = None;
            if state.idle.is_empty() && state.released.is_some_and(is_over) {
                jump_hosts = state.unused_jump_hosts();
            }
            let idle: Vec<(usize, Instant)> = state.idle.iter().map(|(place, since)| (*place, *since)).collect();
            if state.closing > 0 || idle.is_empty() && !state.has_jump_hosts() {
                state.is_kept = false;
                drop(state);
                lines.into_iter().for_each(hang_up);
                return;
            }
            drop(state);
            lines.into_iter().for_each(hang_up);
            drop(jump_hosts);
            idle.iter().for_each(|(place, since)| self.serve(*place, *since));

            state = lock(&self.state);
            let ends = state.idle.values().chain(&state.released).filter_map(|since| self.end(*since));
            let wait = ends.map(|end| end.saturating_duration_since(now)).filter(|wait| !wait.is_zero()).min();
            let wait = wait.map_or(TICK, |wait| wait.min(TICK));
            if state.closing == 0 {
                state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Returns when a session that is unused `since` then is closed.
    fn end(&self, since: Instant) -> Option<Instant> {
        since.checked_add(self.idle_timeout?)
    }

    /// Answers what the server of an unused session asks, and closes one that has ended.
    fn serve(&self, place: usize, since: Instant) {
        // A job has it.
        let Ok(line) = self.place(place).take.try_recv() else { return };
        let alive = line.filter(|line| line.session.as_ref().is_some_and(Session::attend));
        let mut state = lock(&self.state);
        // Unless it was to be closed meanwhile.
        let is_kept = state.idle.get(&place) == Some(&since);
        let (line, ended) = if is_kept { (alive, None) } else { (None, alive) };
        if line.is_none() && is_kept {
            state.idle.remove(&place);
        }
        let _ = self.place(place).give.send(line);
        drop(state);
        ended.into_iter().for_each(hang_up);
    }
}

impl Turn<'_> {
    /// Takes the session that the last job has left.
    pub(super) fn take(&mut self) -> Option<Line> {
        let line = self.line.take()?;
        let alive = line.session.as_ref().is_some_and(|session| !session.is_dead());
        line.session.as_ref().filter(|_| alive)?.renew();
        Some(line)
    }

    /// Leaves the session of a job that has ended to the next one, or closes it.
    pub(super) fn keep(mut self, line: Line) {
        let shared = &self.sessions.shared;
        let mut excess = Vec::new();
        if line.session.as_ref().is_some_and(|session| session.unsent() == 0 && !session.is_dead()) {
            line.path.forget_run();
            line.session.iter().for_each(Session::rest);
            let mut state = lock(&shared.state);
            let most = shared.most.min(state.room.unwrap_or(usize::MAX));
            let is_wanted = !state.is_retired && state.generation == self.generation && most > 0;
            if is_wanted && self.sessions.look_after(&mut state) {
                // The longest unused first.
                while state.idle.len() >= most
                    && let Some(place) = state.idle.iter().min_by_key(|(_, since)| **since).map(|(place, _)| *place)
                {
                    state.idle.remove(&place);
                    excess.extend(shared.empty(place));
                }
                state.idle.insert(self.place, Instant::now());
                let _ = shared.place(self.place).give.send(Some(line));
                self.is_over = true;
                drop(state);
                excess.into_iter().for_each(hang_up);
                return;
            }
        }
        hang_up(line);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.line.take().into_iter().for_each(hang_up);
            let _ = self.sessions.shared.place(self.place).give.send(None);
        }
    }
}

impl RunJumpHosts {
    /// Those of a run without sessions that stay.
    pub(super) fn own(hosts: JumpHosts) -> RunJumpHosts {
        RunJumpHosts { hosts: Arc::new(hosts), sessions: None }
    }

    /// Ends the connections, unless they stay.
    pub(super) fn close(&self) {
        if self.sessions.is_none() {
            self.hosts.close();
        }
    }
}

impl Deref for RunJumpHosts {
    type Target = JumpHosts;

    fn deref(&self) -> &JumpHosts {
        &self.hosts
    }
}

impl Drop for RunJumpHosts {
    fn drop(&mut self) {
        if let Some(sessions) = &self.sessions {
            sessions.release();
        }
    }
}

/// Ends a session that no job needs any more.
fn hang_up(mut line: Line) {
    if let Some(session) = line.session.take() {
        session.disconnect();
    }
    // The session goes before its path.
    line.path = Path::Direct;
}

/// Returns whether a connection on which nothing was started has ended, or `None` if something may have started.
pub(super) fn refusal(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Failed(error) => match **error {
            HostError::Ssh { .. } => Some(false),
            HostError::Dropped { .. } => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a kept connection that ended like this before anything was sent on it is replaced by a new one.
pub(super) fn is_stale(outcome: &Outcome) -> bool {
    refusal(outcome).is_some() || matches!(outcome, Outcome::TimedOut { phase: Phase::Open, .. })
}
