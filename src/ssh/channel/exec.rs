//! One command on one session: a single poll loop over output, deadline and cancel, to one truthful outcome.

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
use crate::ssh::channel::requests::{Made, Requests, Start, Unanswered};
use crate::ssh::ffi::{self, Channel};
use crate::ssh::keepalive::{Keepalive, Pulse};
use crate::ssh::session::{Session, Stop, dropped};
use crate::ssh::sudo::conversation::{Conversation, Step};
use crate::ssh::sudo::stop::SudoStop;
use crate::ssh::watch::{Notes, Watch};
use crate::system::cancel::Cancel;
use crate::system::poll::poll_with;

/// Bytes of a read as long as there is no more at once. Most commands say a line or two, and with thousands of hosts it counts
/// what is held for each.
const SMALL_READ: usize = 2 * 1024;
/// How soon to look again when the socket alone would not tell that there is something to do.
const BLIND_PAUSE: Duration = Duration::from_millis(10);
/// Bytes that may wait for the socket before no more input is sent.
const UNSENT: usize = 64 * 1024;
/// What it is that fails where the server does not run the command.
const STARTING: &str = "starting the command";
/// Both streams with their numbers in libssh2. stderr first, as its lines explain what follows.
const STREAMS: [(Stream, i32); 2] = [(Stream::Stderr, 1), (Stream::Stdout, 0)];

/// What to run, and within which bounds.
pub struct Command<'a> {
    /// Number of the job, for its events.
    pub job: usize,
    /// What it does, as the subject of a sentence: `the command`.
    pub task: &'static str,
    /// What the channel is for.
    pub start: Start<'a>,
    /// What the server is asked for before.
    pub requests: &'a Requests,
    /// The login name.
    pub login: &'a str,
    /// How long it may run; `None` is as long as it likes.
    pub timeout: Option<Duration>,
    /// How long its output may be silent; `None` is as long as it likes.
    pub silence: Option<Duration>,
    /// Whether what the server refuses is told.
    pub is_verbose: bool,
    /// How a peer that has vanished is found out.
    pub keepalive: Keepalive,
    /// Bytes that the server may send beyond what we have read.
    pub window: u32,
}

/// Who speaks with a command.
pub struct ChannelIo<'a> {
    /// What it reads.
    pub stdin: StdinSender,
    /// Who hears its standard output instead of our user. Its input is what this says.
    pub dialogue: Option<&'a mut dyn Dialogue>,
    /// The sudo that it has to get past, which is spoken with first.
    pub sudo: Option<Conversation>,
}

/// Runs `command` on `session`, sends it its input and its output as events, and says how it ended. `watch` bounds the opening of
/// the channel, what is asked of the server before, and its consent to the command; the command itself is bounded by its own
/// timeout and the cancel. What is worth knowing goes to `note`.
pub fn run(
    session: &mut Session,
    command: &Command<'_>,
    io: ChannelIo<'_>,
    events: &Sender<Event>,
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Outcome {
    let (channel, made) = match start(session, command, watch, note) {
        Ok(started) => started,
        Err(outcome) => return outcome,
    };
    for text in made.missing {
        let _ = events.send(Event::now(command.job, EventKind::Warning(Notice::Missing(text))));
    }
    let ChannelIo { mut stdin, dialogue, sudo } = io;
    if sudo.is_some() {
        stdin.hold();
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
    watch: &mut Watch<'_>,
    note: &mut Notes<'_>,
) -> Result<(Channel, Made), Outcome> {
    watch.expect(Phase::Open, "no session channel");
    let opened = session.driver().drive(watch, |ssh| Channel::open(ssh, command.window));
    let channel = opened.map_err(|stop| not_started(session, stop, "opening a channel"))?;
    // From here on the command may be running: whatever happens is no longer "could not connect".
    watch.expect(Phase::Open, "no answer to the exec request");
    let stop = match command.requests.make(session, &channel, command.start, watch, command.is_verbose, note) {
        Ok(made) => return Ok((channel, made)),
        Err(stop) => stop,
    };
    let detail = match stop {
        Stop::Ssh(_) if session.is_dead() => {
            session.end(&format!("the connection ended while starting {}", command.task))
        }
        // What came instead of an answer says nothing: the command may have been started.
        Stop::Ssh(error) if !ffi::is_answer(&error) => {
            let _ = channel.close();
            let why = session.link().explain(&error);
            format!("the connection failed while starting {}: {why}", command.task)
        }
        Stop::Job(outcome) => {
            // It may have been started all the same. Nothing of this waits.
            let _ = channel.signal("TERM");
            let _ = channel.close();
            return Err(Outcome::Unstopped(Box::new(outcome)));
        }
        stop => {
            let _ = channel.close();
            return Err(not_started(session, stop, STARTING));
        }
    };
    Err(HostError::Lost { detail, hint: None }.into())
}

/// The outcome of a job whose command the server has not agreed to run.
fn not_started(session: &Session, stop: Stop, doing: &'static str) -> Outcome {
    match stop {
        Stop::Job(outcome) => outcome,
        Stop::Ssh(error) if ffi::is_answer(&error) => {
            HostError::Ssh { doing, detail: session.link().explain(&error), hint: None }.into()
        }
        Stop::Ssh(error) => dropped(doing, &error, true, session.link()).into(),
    }
}

/// A command that the server has agreed to run.
struct Running<'a> {
    session: &'a mut Session,
    channel: Channel,
    command: &'a Command<'a>,
    state: State,
    stdin: StdinSender,
    /// Whom the program speaks with instead of our user.
    spoken: Option<Spoken<'a>>,
    agent: Option<ForwardedAgent>,
    unanswered: Unanswered,
    /// The conversation with sudo, until the command has begun.
    sudo: Option<Conversation>,
    /// How a command that sudo has begun is stopped.
    sudo_stop: Option<SudoStop>,
    events: &'a Sender<Event>,
    cancel: &'a Cancel,
    deadline: Option<Instant>,
    last_output: Instant,
    pulse: Pulse,
    /// Output that the full event channel has not taken yet. As long as there is any, nothing is read: a slow reader of
    /// our output slows the remote command instead of filling memory.
    undelivered: Option<Event>,
    late: Lateness,
    buffer: Vec<u8>,
}

/// How far a command has come. It ends from any of these states.
enum State {
    /// It runs within its limits of time, or sudo is about to begin it.
    Running,
    /// Since then our user is being asked for sudo's password. No limit of time counts meanwhile.
    Asking(Instant),
    /// The job is stopped, since then, and its dialogue leaves the host tidy before the command is told to stop.
    Parting { reason: Outcome, since: Instant },
    /// The command is told to stop, in one way after the other.
    Stopping(Stopping),
}

/// What one round over both streams came to.
#[derive(PartialEq, Eq)]
enum Drained {
    /// Something was read; there may be more.
    Some,
    /// Both streams have nothing now.
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
            // A connection that has ended in this round may have left something for a stream that was looked at before.
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
            // Looking for output may have brought word that the server takes more input, and looking for the end something
            // for the agent: nothing would wake us for it.
            if !more && !self.takes_input() && self.session.received() == received {
                self.wait();
            }
        }
    }

    /// Goes on to the next state where it is time to; says whether nothing more can be done about the command.
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

    /// Stops the job where it is cancelled, a limit of time is over, or nobody here needs it any more.
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

    /// Stops the job for this reason. A dialogue that is held is ended first.
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

    /// Does what sudo wants, as long as the command has not begun.
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

    /// Sends what the socket and the server take of the command's input; says whether they may take more at once.
    fn send_input(&mut self) -> bool {
        self.session.flush();
        if self.session.unsent() > UNSENT {
            return false;
        }
        let before = self.stdin.bytes();
        let dialogue = self.spoken.as_mut().map(|spoken| &mut *spoken.dialogue as &mut dyn Dialogue);
        let sent = self.stdin.send(&self.channel, dialogue);
        if self.spoken.is_some() && self.stdin.bytes() > before {
            // A program that only takes is not silent.
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

    /// Moves what the command and our agent have to say to each other; says whether there may be more.
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

    /// Waits until the socket has something, or the next thing is due.
    fn wait(&mut self) {
        let mut flags = self.session.directions() | PollFlags::IN;
        if self.session.unsent() > 0 {
            flags |= PollFlags::OUT;
        }
        let blind = self.channel.queued() > 0 || self.stdin.is_blocked();
        let pause = blind.then(|| Instant::now() + BLIND_PAUSE);
        let until = [self.next_due(), pause].into_iter().flatten().min();
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
            // Out of kernel memory: better to look again a little later than to give up a command that runs.
            std::thread::sleep(BLIND_PAUSE);
            return;
        };
        if let Some(agent) = &mut self.agent {
            let awake = lines.into_iter().enumerate().filter(|(place, _)| ready.has(first + place));
            awake.for_each(|(_, line)| agent.wake(line));
        }
    }
}
