//! One command on one session: a single poll loop over output, deadline and cancel, to exactly one outcome.

mod ending;
mod late;
mod limits;
mod output;
mod spoken;

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::PollFlags;

use self::late::Lateness;
use self::spoken::Spoken;
use super::agent_forward::ForwardedAgent;
use super::dialogue::Dialogue;
use super::stdin::{Broken, StdinSender};
use super::stop::Stopping;
use crate::events::event::{Event, EventKind, HostStage, Notice, Outcome, Phase, Stream};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::channel::requests::{Made, Program, Requests, Start, Unanswered};
use crate::ssh::ffi::{self, Channel};
use crate::ssh::keepalive::{Keepalive, Pulse};
use crate::ssh::session::{Session, Stop, dropped};
use crate::ssh::sudo::conversation::{Conversation, Step};
use crate::ssh::sudo::stop::SudoStop;
use crate::ssh::watch::{Notes, Watch};
use crate::system::cancel::Cancel;
use crate::system::poll::poll_with;

/// Read size while little data arrives. Most commands print a line or two, and with thousands of hosts the buffer of
/// each counts.
const SMALL_READ: usize = 2 * 1024;
/// How soon to check again when the socket alone would not tell that there is work.
const BLIND_PAUSE: Duration = Duration::from_millis(10);
/// Bytes that may wait for the socket before no more input is sent.
const UNSENT: usize = 64 * 1024;
/// The failed action if the server does not run the command.
const STARTING: &str = "starting the command";
/// Both streams with their numbers in libssh2. stderr first, as its lines explain the output.
const STREAMS: [(Stream, i32); 2] = [(Stream::Stderr, 1), (Stream::Stdout, 0)];

/// A command and its limits.
pub struct Command<'a> {
    /// The number of the job, for its events.
    pub job: usize,
    /// The subject of a sentence about it: `the command`.
    pub task: &'static str,
    /// The program to start on the channel.
    pub start: Start<'a>,
    /// Called just before the request is sent. An error is the outcome, and nothing is sent.
    pub may_start: &'a dyn Fn() -> Result<(), Outcome>,
    /// The channel requests before it.
    pub requests: &'a Requests,
    /// The login name.
    pub login: &'a str,
    /// Its time limit; `None` for no limit.
    pub timeout: Option<Duration>,
    /// The longest silence of its output; `None` for no limit.
    pub silence: Option<Duration>,
    /// Whether refused requests are reported.
    pub is_verbose: bool,
    /// How to detect a peer that has vanished.
    pub keepalive: Keepalive,
    /// Bytes that the server may send beyond those we have read.
    pub window: u32,
    /// Whether the session is used further. If not, the end of the channel goes out with that of the session, which must follow.
    pub goes_on: bool,
}

/// stdin, protocol driver and sudo of a command.
pub struct ChannelIo<'a> {
    /// Its input.
    pub stdin: StdinSender,
    /// The protocol driver that reads its standard output instead of the user, and writes its input.
    pub dialogue: Option<&'a mut dyn Dialogue>,
    /// The sudo that starts it, which comes first.
    pub sudo: Option<Conversation>,
    /// Gets its output and error output instead of the user.
    pub listener: Option<Listener<'a>>,
}

/// Takes output of a command.
pub type Listener<'l> = Box<dyn FnMut(Stream, Vec<u8>) + 'l>;

/// Runs `command` on `session`, sends its input, reports its output as events, and returns how it ended. `watch` limits
/// the channel open, the requests and the answer to the exec request; the command itself is limited by its own timeout
/// and the cancel. Notes for `-v` go to `note`.
pub fn run(
    session: &mut Session,
    command: &Command<'_>,
    io: ChannelIo<'_>,
    events: &Sender<Event>,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Outcome {
    let ChannelIo { mut stdin, dialogue, sudo, listener } = io;
    if sudo.is_some() {
        stdin.hold();
    }
    let (channel, made) = match start(session, command, &mut stdin, watch, note) {
        Ok(started) => started,
        Err(outcome) => return outcome,
    };
    // A listener's command comes after another, for which they were told.
    for text in made.missing.into_iter().filter(|_| listener.is_none()) {
        let _ = events.send(Event::now(command.job, EventKind::Warning(Notice::Missing(text))));
    }
    Running {
        session,
        channel,
        command,
        state: State::Running,
        stdin,
        spoken: dialogue.map(|dialogue| Spoken::new(dialogue, watch)),
        agent: made.agent,
        unanswered: made.unanswered,
        sudo,
        sudo_stop: None,
        listener,
        events,
        cancel: watch.cancel(),
        deadline: command.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        last_output: Instant::now(),
        pulse: Pulse::new(command.keepalive),
        undelivered: None,
        late: Lateness::new(watch.carrier().cloned(), command.window),
        buffer: vec![0; SMALL_READ],
    }
    .run()
}

/// Opens a channel and has the server start `command` on it.
fn start(
    session: &mut Session,
    command: &Command<'_>,
    stdin: &mut StdinSender,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<(Channel, Made), Outcome> {
    watch.expect(Phase::Open, "no session channel");
    command.requests.tell_notes(note);
    let opened = session.driver().drive(watch, |ssh| Channel::open(ssh, command.window));
    let channel = opened.map_err(|stop| not_started(session, stop, "opening a channel"))?;
    // The output may have held this up for long. Once the run is stopped, nothing is started any more.
    let permission = match watch.cancel().is_triggered() {
        true => Err(Outcome::cancelled(watch.cancel(), HostStage::Connecting)),
        false => (command.may_start)(),
    };
    if let Err(outcome) = permission {
        let _ = channel.close();
        return Err(outcome);
    }
    // From here on the command may run: a failure no longer means "could not connect".
    watch.expect(Phase::Open, "no answer to the exec request");
    let program = Program { start: command.start, input: stdin, is_verbose: command.is_verbose };
    let stop = match command.requests.make(session, &channel, program, watch, note) {
        Ok(made) => return Ok((channel, made)),
        Err(stop) => stop,
    };
    let detail = match stop {
        Stop::Ssh(_) if session.is_dead() => {
            session.end(&format!("the connection ended while starting {}", command.task))
        }
        // Anything else than an answer leaves open whether the command started.
        Stop::Ssh(error) if !ffi::is_answer(&error) => {
            let _ = channel.close();
            let why = session.link().explain(&error);
            format!("the connection failed while starting {}: {why}", command.task)
        }
        Stop::Job(outcome) => {
            // It may still have started. Nothing here waits.
            let _ = channel.signal("TERM");
            let _ = channel.close();
            let outcome = match outcome {
                Outcome::Cancelled { why, .. } => Outcome::Cancelled { stage: HostStage::Running, why },
                outcome => outcome,
            };
            return Err(Outcome::Unstopped(Box::new(outcome)));
        }
        stop => {
            let _ = channel.close();
            return Err(not_started(session, stop, STARTING));
        }
    };
    Err(HostError::Lost { detail, hint: None }.into())
}

/// Returns the outcome of a job whose command the server refused to run.
fn not_started(session: &Session, stop: Stop, doing: &'static str) -> Outcome {
    match stop {
        Stop::Job(outcome) => outcome,
        Stop::Ssh(error) if ffi::is_answer(&error) => {
            HostError::Ssh { doing, detail: session.link().explain(&error), hint: None }.into()
        }
        Stop::Ssh(error) => dropped(doing, &error, true, session.link()).into(),
    }
}

/// A running command: the server accepted its request.
struct Running<'a> {
    session: &'a mut Session,
    channel: Channel,
    command: &'a Command<'a>,
    state: State,
    stdin: StdinSender,
    /// The protocol driver instead of the user.
    spoken: Option<Spoken<'a>>,
    agent: Option<ForwardedAgent>,
    unanswered: Unanswered,
    /// The dialogue with sudo, until the command has started.
    sudo: Option<Conversation>,
    /// How to stop a command that sudo started.
    sudo_stop: Option<SudoStop>,
    listener: Option<Listener<'a>>,
    events: &'a Sender<Event>,
    cancel: &'a Cancel,
    deadline: Option<Instant>,
    last_output: Instant,
    pulse: Pulse,
    /// Output that the full event channel has not accepted yet. Until it does, nothing is read: a slow reader of our
    /// output slows the remote command instead of filling memory.
    undelivered: Option<Event>,
    late: Lateness,
    buffer: Vec<u8>,
}

/// The state of a command. It can end in any of these.
enum State {
    /// It runs within its time limits, or sudo is about to start it.
    Running,
    /// Since then the user is being asked for sudo's password. Time limits pause.
    Asking(Instant),
    /// The job is being stopped, since then; its dialogue cleans up on the host before the command is told to stop.
    Parting { reason: Outcome, since: Instant },
    /// The command is being stopped, by one means after the other.
    Stopping(Stopping),
}

/// The result of one round over both streams.
#[derive(PartialEq, Eq)]
enum Drained {
    /// Data was read; there may be more.
    Some,
    /// Both streams are empty now.
    Nothing,
    /// The transport failed.
    Failed(String),
}

impl Running<'_> {
    fn run(mut self) -> Outcome {
        loop {
            if self.advance() {
                return self.finish(None);
            }
            self.session.flush();
            if !self.deliver() {
                continue;
            }
            self.speak_with_sudo();
            let more = self.send_input();
            let was_dead = self.session.is_dead();
            let drained = self.drain();
            let received = self.session.received();
            let relayed = self.relay();
            self.tell_progress();
            if drained == Drained::Some {
                self.unanswered.forget();
            }
            // A connection that ended in this round may have left data for a stream that was read before.
            if self.undelivered.is_some() || drained == Drained::Some || relayed || was_dead != self.session.is_dead() {
                continue;
            }
            if self.session.link().is_full() && self.channel.queued() == 0 {
                self.session.link().give_up_memory();
            }
            let outcome = self.refused().or_else(|| self.ending(&drained)).or_else(|| self.after_done());
            if let Some(outcome) = outcome.or_else(|| self.pulse.check(self.session, self.late.carrier())) {
                return self.finish(Some(outcome));
            }
            self.late.note_all_read(self.spoken.as_ref().is_none_or(|spoken| spoken.dialogue.hears()));
            // Reading output may have brought a window adjustment for input, and checking for the end may have brought
            // data for the agent: the socket would not wake us for either.
            if !more && !self.takes_input() && self.session.received() == received {
                self.wait();
            }
        }
    }

    /// Goes on to the next state when it is time; returns whether nothing more can be done about the command.
    fn advance(&mut self) -> bool {
        match &self.state {
            State::Running | State::Asking(_) => self.stop_if_over(),
            State::Parting { since, .. } => {
                let until = self.parting_ends(*since);
                if self.late.has_come(until, self.session)
                    && let State::Parting { reason, .. } = std::mem::replace(&mut self.state, State::Running)
                {
                    self.begin_to_stop(reason);
                }
            }
            State::Stopping(_) => {}
        }
        let State::Stopping(stopping) = &mut self.state else { return false };
        let is_due = self.late.has_come(stopping.next_due(), self.session);
        stopping.step(self.session, &self.channel, is_due)
    }

    /// Stops the job on a cancel, an expired time limit, or a missing local reader.
    fn stop_if_over(&mut self) {
        if self.cancel.is_triggered() && self.cancel.lapsed().is_none() {
            return self.stop(Outcome::cancelled(self.cancel, HostStage::Running));
        }
        if let Some((due, reason)) = self.over() {
            if self.late.has_come(due, self.session) {
                self.stop(reason);
            }
            return;
        }
        self.late.forget();
        let is_abandoned = self.spoken.as_ref().is_some_and(|spoken| spoken.dialogue.is_abandoned());
        if is_abandoned && matches!(self.state, State::Running) {
            let detail = "the local reader has gone".to_owned();
            self.begin_to_stop(HostError::Local { doing: "exchanging data with the host", detail, hint: None }.into());
        }
    }

    /// Stops the job for this reason. A dialogue is ended first.
    fn stop(&mut self, reason: Outcome) {
        match &mut self.spoken {
            Some(spoken) if self.sudo.is_none() && spoken.dialogue.has_begun() => {
                spoken.dialogue.abort();
                self.state = State::Parting { reason, since: Instant::now() };
            }
            _ => self.begin_to_stop(reason),
        }
    }

    /// Tells the command to stop, for this reason.
    fn begin_to_stop(&mut self, reason: Outcome) {
        let (login, sudo) = (self.command.login, self.sudo_stop.take());
        self.state = State::Stopping(Stopping::begin(reason, self.session, login, sudo));
        if let Some(sudo) = &mut self.sudo {
            sudo.give_up();
        }
        self.stdin.give_up();
    }

    /// Handles sudo until the command has started.
    fn speak_with_sudo(&mut self) {
        let Some(sudo) = &mut self.sudo else { return };
        let step = sudo.next();
        match (sudo.awaits().is_some(), &self.state) {
            (true, State::Running) => self.state = State::Asking(Instant::now()),
            (false, State::Asking(since)) => {
                self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(since.elapsed()));
                if let Some(spoken) = &mut self.spoken {
                    spoken.answer_by += since.elapsed();
                }
                self.last_output = Instant::now();
                self.state = State::Running;
            }
            _ => {}
        }
        match step {
            Step::Listen => {}
            Step::Tell(password) => self.stdin.answer(&password),
            Step::Begin(way) => {
                let has_terminal = self.command.requests.terminal.is_some();
                self.sudo_stop = way.map(|way| way.with_terminal(has_terminal));
                self.hand_on_sudos_rest();
                self.sudo = None;
                self.stdin.release();
            }
            Step::End(error) => self.stop(error.into()),
        }
    }

    /// Sends as much input as the socket and the server accept; returns whether they accept more now.
    fn send_input(&mut self) -> bool {
        self.session.flush();
        if self.session.unsent() > UNSENT {
            return false;
        }
        let before = self.stdin.bytes();
        let dialogue = self.spoken.as_mut().map(|spoken| &mut *spoken.dialogue as &mut dyn Dialogue);
        let sent = self.stdin.send(&self.channel, dialogue);
        if self.spoken.is_some() && self.stdin.bytes() > before {
            // A program that only reads is not silent.
            self.last_output = Instant::now();
        }
        match sent {
            Ok(more) => {
                self.session.flush();
                more && self.session.unsent() == 0
            }
            Err(Broken(detail)) => {
                let hint = Some(Remedy::InputIncomplete);
                self.stop(HostError::Local { doing: "reading standard input", detail, hint }.into());
                false
            }
        }
    }

    /// Whether input can be sent now.
    fn takes_input(&self) -> bool {
        !matches!(self.state, State::Stopping(_))
            && self.stdin.has_more()
            && self.session.unsent() == 0
            && self.channel.write_window() > 0
    }

    /// Moves data between the command and the agent; returns whether more may be ready.
    fn relay(&mut self) -> bool {
        let (Some(agent), link) = (&mut self.agent, self.session.link()) else { return false };
        let more = agent.relay(link);
        link.flush(self.session.socket());
        if self.command.is_verbose
            && let Some(text) = agent.take_refusal()
        {
            let _ = self.events.try_send(Event::now(self.command.job, EventKind::Note(text)));
        }
        more
    }

    /// Waits for the socket, or the next due time.
    fn wait(&mut self) {
        let mut flags = self.session.directions() | PollFlags::IN;
        if self.session.unsent() > 0 {
            flags |= PollFlags::OUT;
        }
        let blind = self.channel.queued() > 0 || self.stdin.is_blocked();
        let pause = blind.then(|| Instant::now() + BLIND_PAUSE);
        let at_once = self.session.link().has_data_ahead().then(Instant::now);
        let until = [self.next_due(), pause, at_once].into_iter().flatten().min();
        let cancel = self.waits_for_cancel().then_some(self.cancel);
        let socket = [(self.session.socket(), flags)];
        let input = self.stdin.awaits().map(|input| (input, PollFlags::IN));
        let answer = self.sudo.as_ref().and_then(Conversation::awaits).map(|answer| (answer, PollFlags::IN));
        let spoken = self.spoken.iter().flat_map(|spoken| spoken.dialogue.awaits()).flatten();
        let mut fds: Vec<_> = socket.into_iter().chain(input).chain(answer).chain(spoken).collect();
        let (first, mut lines) = (fds.len(), Vec::new());
        for (line, socket, flags) in self.agent.iter().flat_map(|agent| agent.awaits(self.session.unsent())) {
            fds.push((socket, flags));
            lines.push(line);
        }
        let Ok(ready) = poll_with(cancel, &fds, until) else {
            // The kernel is out of memory: try again a little later rather than give up a running command.
            std::thread::sleep(BLIND_PAUSE);
            return;
        };
        if let Some(agent) = &mut self.agent {
            let awake = lines.into_iter().enumerate().filter(|(place, _)| ready.has(first + place));
            awake.for_each(|(_, line)| agent.wake(line));
        }
    }
}
