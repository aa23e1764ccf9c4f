//! One jump host: its connections, and the queue of forward requests.
//!
//! There is one connection at first. Sessions put a [`ForwardRequest`] into the queue; the connections, each with a
//! thread of its own (see `pump`), take them from there. More connections are made only while requests wait, since
//! libssh2 opens channels one at a time. A failed login fails all waiting requests, and for a short time all later
//! ones.

mod login;

use self::login::Login;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::connection::{Connection, Plan, Through, Way, failed_hop};
use super::proxy_command::ProxyCommand;
use crate::events::event::{HostStage, Notice, Outcome, Phase};
use crate::events::host_error::{HostError, ProxyError};
use crate::events::remedy::Remedy;
use crate::hosts::proxy::Proxy;
use crate::hosts::write_entry;
use crate::ssh::destination::Destination;
use crate::ssh::keepalive::Keepalive;
use crate::ssh::session::Session;
use crate::ssh::watch::{CARRIER_TICK, Carrier, Watch};
use crate::system::lock::lock;
use crate::system::poll::catching_up;
use crate::system::resolver::{self, LookupError};
use crate::text::message::reason;

/// Stack size in bytes of a thread that serves a connection, as of a worker.
const STACK: usize = 512 * 1024;
/// How long a failed login also fails hosts that have not seen one fail yet.
const FAILURE_HOLDS: Duration = Duration::from_secs(10);
/// How long to wait after an additional connection could not be made.
const GROWTH_REST: Duration = Duration::from_secs(30);
/// More connections are made if the last waiting request would wait longer than this, or if every open under way has
/// taken longer. Also the interval of that check.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an open may take while others wait and no connection is free. It doubles each time the host has yielded.
/// Enough for a lost packet or two (RFC 6298: 1 s, then 2 s).
const SLICE: Duration = Duration::from_secs(2);
/// A login gives up this much earlier than the host for which it was started, so that the host can report why.
const HEAD_START: Duration = Duration::from_millis(50);

/// How many notes are kept for the next host to report.
const MOST_NOTES: usize = 1000;

/// A host that forwards connections to others.
pub struct JumpHost {
    /// The host itself, as it was read last.
    host: Mutex<Arc<Destination>>,
    /// The jump host before it, if any.
    before: Option<Arc<JumpHost>>,
    plan: Arc<Plan>,
    state: Mutex<JumpHostState>,
    /// A connection has ended, or could not be made.
    left: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct JumpHostState {
    /// In the order of service.
    waiting: VecDeque<ForwardRequest>,
    live: Vec<Slot>,
    /// Logins under way.
    connecting: usize,
    failure: Option<Failure>,
    /// How long the last login took.
    login: Duration,
    /// How long an open takes; zero before the first.
    open: Duration,
    /// The earliest time for another connection.
    growth: Option<Instant>,
    log: Vec<String>,
    /// Notices for the user, although the host is reached.
    notices: Vec<Notice>,
}

/// A connection, as the queue sees it.
struct Slot {
    connection: Arc<Connection>,
    /// Since when it has an open under way.
    opening: Option<Instant>,
    /// How many opens were answered.
    opened: usize,
}

/// A login failed.
struct Failure {
    error: ProxyError,
    at: Instant,
    /// How many have failed in a row.
    count: u32,
}

/// The proxy of a connection.
enum Underlay {
    Network,
    Command(ProxyCommand),
    Hop(Through),
}

/// A request for a connection to a host.
pub struct ForwardRequest {
    /// Its name, which the jump host resolves.
    pub name: String,
    /// Its port.
    pub port: u16,
    slice: Duration,
    answer: Sender<Answer>,
    wanted: Weak<()>,
}

type Answer = Result<(OwnedFd, Arc<Connection>), Failed>;

/// Why a request failed.
pub enum Failed {
    /// The jump host could not connect to the target.
    Unreachable(String),
    /// The jump host is unusable.
    Proxy(ProxyError),
    /// The local side failed.
    Local(String),
}

impl ForwardRequest {
    /// Answers it. The session that asked may be gone.
    pub fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }

    /// Whether a session still waits for the answer.
    pub fn is_wanted(&self) -> bool {
        self.wanted.strong_count() > 0
    }
}

impl JumpHost {
    /// Creates the jump host `host`, reached through the one `before`, without a connection yet.
    pub fn new(host: Arc<Destination>, before: Option<Arc<JumpHost>>, plan: &Arc<Plan>) -> JumpHost {
        let (state, left) = (Mutex::default(), Condvar::new());
        JumpHost { host: Mutex::new(host), before, plan: Arc::clone(plan), state, left, closed: AtomicBool::new(false) }
    }

    /// Returns the host itself.
    pub fn host(&self) -> Arc<Destination> {
        Arc::clone(&lock(&self.host))
    }

    /// Lets further logins use what was read about it since.
    pub fn set_host(&self, host: Arc<Destination>) {
        *lock(&self.host) = host;
    }

    /// Returns how to detect that it has vanished.
    pub fn keepalive(&self) -> Keepalive {
        self.host().keepalive
    }

    /// Connects to `target` through this host, for attempt number `attempt` at it. Waits for a login if there is no
    /// connection yet, and for its turn.
    ///
    /// # Errors
    /// The outcome of the job: the login failed, this host could not connect, or the job ended first.
    pub fn connect(
        self: &Arc<Self>,
        target: &Destination,
        attempt: u32,
        watch: &mut Watch<'_>,
    ) -> Result<Way, Outcome> {
        watch.expect(Phase::Connect, "no connection through the proxy");
        watch.check()?;
        let (answer, answered) = bounded(1);
        let wanted = Arc::new(());
        {
            let mut state = lock(&self.state);
            if let Some(error) = state.remembered(attempt) {
                return Err(self.failed(target, Failed::Proxy(error)));
            }
            state.waiting.push_back(ForwardRequest {
                name: target.name.clone(),
                port: target.port,
                slice: SLICE,
                answer,
                wanted: Arc::downgrade(&wanted),
            });
            if state.live.is_empty() && state.connecting == 0 {
                self.begin(&mut state, watch.deadline().saturating_duration_since(Instant::now()));
            }
            state.live.iter().filter(|slot| slot.opening.is_none()).for_each(|slot| slot.connection.wake());
        }
        let answer = self.await_answer(&answered, watch);
        drop(wanted);
        match answer? {
            Ok((socket, connection)) => {
                watch.carried_by(Arc::clone(&connection) as Arc<dyn Carrier>);
                Ok(Way { socket, through: Through { connection, hop: self.to_string() } })
            }
            Err(failed) => {
                watch.check()?;
                Err(self.failed(target, failed))
            }
        }
    }

    fn await_answer(&self, answered: &Receiver<Answer>, watch: &Watch<'_>) -> Result<Answer, Outcome> {
        let mut select = Select::new();
        let answer = select.recv(answered);
        select.recv(watch.cancel().channel());
        let late = loop {
            watch.begin();
            match select.select_deadline(watch.deadline()) {
                Ok(operation) if operation.index() == answer => {
                    return Ok(operation.recv(answered).unwrap_or(Err(Failed::Proxy(ProxyError::Ended(None)))));
                }
                Ok(operation) => {
                    let _ = operation.recv(watch.cancel().channel());
                    return Err(Outcome::cancelled(watch.cancel(), HostStage::Connecting));
                }
                Err(_) => {
                    if let Some(answer) = self.await_late_answer(answered, watch) {
                        watch.go_on();
                        return Ok(answer);
                    }
                }
            }
            // After a stop there is more time, also for the threads that bring the answer.
            if let Err(late) = watch.check() {
                break late;
            }
        };
        // With a connection the target does not answer, without one this host does not.
        if !lock(&self.state).live.is_empty() || matches!(late, Outcome::Cancelled { .. }) {
            return Err(late);
        }
        Err(HostError::Proxy { hop: self.to_string(), cause: ProxyError::Late(watch.limit()) }.into())
    }

    /// Takes the answer, if it came in time but was seen late, by us or by the threads that bring it.
    fn await_late_answer(&self, answered: &Receiver<Answer>, watch: &Watch<'_>) -> Option<Answer> {
        let seen = Instant::now();
        let limit = catching_up(watch.deadline(), seen);
        loop {
            let has_looked = {
                let state = lock(&self.state);
                let handed_on = |slot: &Slot| slot.connection.handed_on_until() >= seen;
                state.connecting == 0 && state.live.iter().all(handed_on)
            };
            let wait = if has_looked { Duration::ZERO } else { CARRIER_TICK };
            if let Ok(answer) = answered.recv_timeout(wait) {
                return Some(answer);
            }
            if has_looked || seen.elapsed() >= limit || watch.cancel().is_triggered() {
                return None;
            }
        }
    }

    /// Returns the outcome of a host that could not be reached through this one.
    fn failed(&self, target: &Destination, failed: Failed) -> Outcome {
        let hop = self.to_string();
        match failed {
            Failed::Unreachable(reason) => {
                HostError::Behind { hop, target: format!("{} port {}", target.name, target.port), reason }.into()
            }
            Failed::Proxy(cause) => failed_hop(hop, cause).into(),
            Failed::Local(detail) => HostError::Local { doing: "creating a socket pair", detail, hint: None }.into(),
        }
    }

    /// See [`JumpHosts::forget_failures`](super::chain::JumpHosts::forget_failures).
    pub fn forget_failure(&self) {
        lock(&self.state).failure = None;
    }

    /// Returns the notes of this host and those before it, once.
    pub fn take_notes(&self) -> Vec<String> {
        let mut notes = self.before.as_ref().map_or_else(Vec::new, |before| before.take_notes());
        notes.append(&mut lock(&self.state).log);
        notes
    }

    /// Returns the notices for the user of this host and those before it, once.
    pub fn take_notices(&self) -> Vec<Notice> {
        let mut notices = self.before.as_ref().map_or_else(Vec::new, |before| before.take_notices());
        notices.append(&mut lock(&self.state).notices);
        notices
    }

    fn note(&self, text: &str) {
        let log = &mut lock(&self.state).log;
        // A command may print endlessly while no host takes its lines.
        if log.len() < MOST_NOTES {
            log.push(format!("proxy {self}: {text}"));
        }
    }

    // Methods for the connections.

    /// Whether the run needs no connection any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether any request waits.
    pub fn has_waiting(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// Takes the next request, for `connection` to serve.
    pub fn next(self: &Arc<Self>, connection: &Connection) -> Option<ForwardRequest> {
        let mut state = lock(&self.state);
        state.waiting.retain(ForwardRequest::is_wanted);
        let request = state.waiting.pop_front();
        if let Some(slot) = state.slot(connection) {
            slot.opening = request.as_ref().map(|_| Instant::now());
        }
        self.grow(&mut state);
        request
    }

    /// Notes that `connection` has its maximum of channels, and will serve no request for a while.
    pub fn full(self: &Arc<Self>, connection: &Connection) {
        let mut state = lock(&self.state);
        if !state.waiting.is_empty()
            && let Some(slot) = state.slot(connection)
        {
            slot.opening.get_or_insert_with(Instant::now);
            self.grow(&mut state);
        }
    }

    /// Notes that the open of `connection` has ended; after which time, unless it was given up.
    pub fn opened(&self, connection: &Connection, time: Option<Duration>) {
        let mut state = lock(&self.state);
        if let Some(slot) = state.slot(connection) {
            slot.opening = None;
            slot.opened += usize::from(time.is_some());
        }
        if let Some(time) = time {
            // Recent ones count most.
            state.open = if state.open.is_zero() { time } else { (state.open * 3 + time) / 4 };
        }
    }

    /// Whether an open for `request` of that age must yield to others: they wait, and no connection is free or
    /// possible.
    pub fn must_give_way(self: &Arc<Self>, request: &ForwardRequest, age: Duration) -> bool {
        let mut state = lock(&self.state);
        self.grow(&mut state);
        age >= request.slice
            && state.waiting.iter().any(ForwardRequest::is_wanted)
            && state.connecting == 0
            && state.live.iter().all(|slot| slot.opening.is_some())
            && !self.can_grow(&state)
    }

    /// Returns a request whose connection has ended to the queue.
    pub fn again(&self, request: ForwardRequest) {
        lock(&self.state).waiting.push_front(request);
    }

    /// Returns a request that yields to the others to the queue.
    pub fn again_later(&self, mut request: ForwardRequest) {
        request.slice = request.slice.saturating_mul(2);
        lock(&self.state).waiting.push_back(request);
    }

    fn can_grow(&self, state: &JumpHostState) -> bool {
        state.live.len() + state.connecting < self.plan.connections
            && state.growth.is_none_or(|growth| growth <= Instant::now() + PATIENCE)
    }

    /// Makes more connections if the existing ones do not suffice: as many as can log in before the others have served
    /// all requests, or one more if all others are stuck.
    fn grow(self: &Arc<Self>, state: &mut JumpHostState) {
        let now = Instant::now();
        let all = state.live.len() + state.connecting;
        if state.waiting.is_empty()
            || state.live.is_empty()
            || all >= self.plan.connections
            || state.growth.is_some_and(|growth| now < growth)
        {
            return;
        }
        let stuck = |slot: &Slot| slot.opening.is_some_and(|since| now.saturating_duration_since(since) > PATIENCE);
        let work = state.open.saturating_mul(u32::try_from(state.waiting.len()).unwrap_or(u32::MAX));
        let wanted = if state.live.iter().all(stuck) {
            all + 1
        } else if work / u32::try_from(all).unwrap_or(u32::MAX) > PATIENCE {
            (work.as_secs_f64() / state.login.max(Duration::from_millis(1)).as_secs_f64()) as usize
        } else {
            return;
        };
        for _ in all..wanted.min(self.plan.connections) {
            self.begin(state, self.host().connect_timeout);
        }
        state.growth = Some(now + PATIENCE);
    }

    // Connections come and go.

    /// Starts a thread that logs in, which may take `time` from when it really runs, and then serves requests.
    fn begin(self: &Arc<Self>, state: &mut JumpHostState, time: Duration) {
        state.connecting += 1;
        let host = Arc::clone(self);
        let begun = thread::Builder::new()
            .name("pssh-proxy".to_owned())
            .stack_size(STACK)
            .spawn(move || Login { host, connection: None, settled: false }.run(time));
        if let Err(error) = begun {
            let hint = Some(Remedy::MoreThreads);
            let outcome = HostError::Local { doing: "starting a thread", detail: reason(&error), hint };
            self.login_failed(state, outcome.into());
        }
    }

    /// Connects and authenticates, as to any host. Returns also its proxy.
    fn log_in(self: &Arc<Self>, watch: &mut Watch<'_>) -> Result<(Session, Underlay), Outcome> {
        let host = &*self.host();
        let mut note = |text: &dyn Fn() -> String| self.note(&text());
        if let (None, Some(Proxy::Command(template))) = (&self.before, &host.proxy) {
            let text = template.fill(&host.name, host.port, &host.user);
            let told = Arc::downgrade(self);
            let tell = move |text: &str| {
                if let Some(host) = told.upgrade() {
                    host.note(text);
                }
            };
            let (mut command, socket) = ProxyCommand::start(&text, Some(Box::new(tell)))?;
            note(&|| format!("connected by {text}"));
            let made = Session::over(socket, host, watch, &mut note);
            return match made {
                Ok(session) => {
                    command.set_used();
                    Ok((session, Underlay::Command(command)))
                }
                Err(outcome) => Err(command.explain(outcome)),
            };
        }
        let Some(before) = &self.before else {
            let addresses = resolver::lookup_within(&host.name, watch.deadline(), watch.cancel());
            watch.check()?;
            let addresses = addresses.map_err(|LookupError { reason, is_final }| HostError::Dns {
                name: host.name.clone(),
                reason,
                is_final,
                origin: None,
            })?;
            return Session::connect(host, &addresses, watch, &mut note).map(|session| (session, Underlay::Network));
        };
        let attempt = 1 + lock(&self.state).failure.as_ref().map_or(0, |failure| failure.count);
        let Way { socket, through } = before.connect(host, attempt, watch)?;
        let made = Session::over(Arc::new(socket), host, watch, &mut note);
        match made {
            Ok(session) => Ok((session, Underlay::Hop(through))),
            Err(outcome) => Err(through.explain(outcome)),
        }
    }

    fn login_failed(&self, state: &mut JumpHostState, outcome: Outcome) {
        state.connecting -= 1;
        self.left.notify_all();
        if !state.live.is_empty() || state.connecting > 0 {
            // There is another one, which must do for a while.
            state.growth = Some(Instant::now() + GROWTH_REST);
            state.log.push(format!("proxy {self}: no additional connection: {outcome}"));
            return;
        }
        state.fail(ProxyError::login(outcome));
    }

    /// Handles the end of a connection. Waiting requests get another, unless this one was unusable.
    fn leave(self: &Arc<Self>, connection: &Connection) {
        let mut state = lock(&self.state);
        let place = state.live.iter().position(|slot| std::ptr::eq(&*slot.connection, connection));
        let opened = place.map_or(0, |place| state.live.swap_remove(place).opened);
        if state.live.is_empty() && state.connecting == 0 && !state.waiting.is_empty() && !self.is_closed() {
            if let Some(cause) = connection.cause() {
                state.fail(cause);
            } else if opened == 0 {
                state.fail_all(&ProxyError::Ended(connection.goodbye()));
            } else {
                self.begin(&mut state, self.host().connect_timeout);
            }
        }
        self.left.notify_all();
    }

    /// Whether a command makes the connections, which must not be left running.
    fn has_command(&self) -> bool {
        self.before.is_none() && matches!(self.host().proxy, Some(Proxy::Command(_)))
    }

    /// Ends all connections, and waits for that until the deadline.
    pub fn close(&self, until: Instant) {
        self.closed.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        state.live.iter().for_each(|slot| slot.connection.wake());
        while !state.live.is_empty() || state.connecting > 0 && self.has_command() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Display for JumpHost {
    /// Formats `host[:port]`, with the port if it is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        let (name, port) = host.shown();
        write_entry(f, None, name, port)
    }
}

impl JumpHostState {
    /// Returns the failure for an attempt of that number, if no new login is made for it.
    fn remembered(&self, attempt: u32) -> Option<ProxyError> {
        let failure = self.failure.as_ref().filter(|_| self.live.is_empty() && self.connecting == 0)?;
        (failure.count >= attempt && failure.at.elapsed() < FAILURE_HOLDS).then(|| failure.error.clone())
    }

    fn slot(&mut self, connection: &Connection) -> Option<&mut Slot> {
        self.live.iter_mut().find(|slot| std::ptr::eq(&*slot.connection, connection))
    }

    /// A login is useless for a while.
    fn fail(&mut self, error: ProxyError) {
        let count = 1 + self.failure.as_ref().map_or(0, |failure| failure.count);
        self.fail_all(&error);
        self.failure = Some(Failure { error, at: Instant::now(), count });
    }

    fn fail_all(&mut self, error: &ProxyError) {
        self.waiting.drain(..).for_each(|request| request.answer(Err(Failed::Proxy(error.clone()))));
    }
}
