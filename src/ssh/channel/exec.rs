//! One command on one session: a single poll loop over output, deadline and cancel, to one truthful outcome.

mod ending;
mod output;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::PollFlags;

use self::output::Drained;
use super::agent_forward::ForwardedAgent;
use super::dialogue::Dialogue;
use super::stdin::{Broken, StdinSender};
use super::stop::Stopping;
use crate::events::event::{Event, EventKind, HostStage, Outcome, Phase, Stream};
use crate::events::host_error::HostError;
use crate::ssh::channel::requests::{Requests, Start, Unanswered};
use crate::ssh::ffi::{self, Channel};
use crate::ssh::keepalive::{Keepalive, Pulse};
use crate::ssh::session::{Session, Stop, dropped};
use crate::ssh::sudo::conversation::{Conversation, Step};
use crate::ssh::sudo::stop::SudoStop;
use crate::ssh::watch::{CARRIER_TICK, Carrier, Watch, arrived_until};
use crate::system::cancel::Cancel;
use crate::system::poll::{catching_up, poll_with};
use crate::system::redact::Filter;

/// Bytes of a read as long as there is no more at once. Most commands say a line or two, and with thousands of hosts it counts
/// what is held for each.
const SMALL_READ: usize = 2 * 1024;
/// How soon to look again when the socket alone would not tell that there is something to do.
const BLIND_PAUSE: Duration = Duration::from_millis(10);
/// How long a dialogue may take to leave the host tidy when the job is stopped, from the last answer that it has got.
const PARTING: Duration = Duration::from_secs(1);
/// How long it may take in all: what was under way goes before, which is up to 4 MiB, and the link may be slow.
const LONGEST_PARTING: Duration = Duration::from_secs(10);
/// How long a program may go on once its dialogue is done.
const AFTER_DONE: Duration = Duration::from_secs(3);
/// How often it is told how far a dialogue is.
const PROGRESS: Duration = Duration::from_millis(250);
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
    note: &mut dyn FnMut(&dyn Fn() -> String),
) -> Outcome {
    let ChannelIo { mut stdin, dialogue, sudo } = io;
    watch.expect(Phase::Open, "no session channel");
    let channel = match session.driver().drive(watch, |ssh| Channel::open(ssh, command.window)) {
        Ok(channel) => channel,
        Err(stop) => return not_started(session, stop, "opening a channel"),
    };
    // From here on the command may be running: whatever happens is no longer "could not connect".
    watch.expect(Phase::Open, "no answer to the exec request");
    let made = match command.requests.make(session, &channel, command.start, watch, command.is_verbose, note) {
        Ok(made) => made,
        Err(Stop::Ssh(_)) if session.is_dead() => {
            let detail = session.end(&format!("the connection ended while {} was being started", command.task));
            return HostError::Lost { detail, hint: None }.into();
        }
        // What came instead of an answer says nothing: the command may have been started.
        Err(Stop::Ssh(error)) if !ffi::is_answer(&error) => {
            let _ = channel.close();
            let why = session.link().explain(&error);
            let detail = format!("the connection failed while {} was being started: {why}", command.task);
            return HostError::Lost { detail, hint: None }.into();
        }
        Err(Stop::Job(outcome)) => {
            // It may have been started all the same. Nothing of this waits.
            let _ = channel.signal("TERM");
            let _ = channel.close();
            return Outcome::Unstopped(Box::new(outcome));
        }
        Err(stop) => {
            let _ = channel.close();
            return not_started(session, stop, STARTING);
        }
    };
    for text in made.missing {
        let _ = events.send(Event::now(command.job, EventKind::Warning(text)));
    }
    if sudo.is_some() {
        stdin.hold();
    }
    Running {
        session,
        channel,
        command,
        stdin,
        // Inside of an Option, no other lifetime is found by itself.
        dialogue: dialogue.map(|dialogue| dialogue as &mut dyn Dialogue),
        answer_by: (watch.deadline(), watch.limit()),
        complaints: Filter::default(),
        last_words: 0,
        told_progress: Instant::now(),
        agent: made.agent,
        unanswered: made.unanswered,
        sudo,
        sudo_stop: None,
        asked: None,
        events,
        cancel: watch.cancel(),
        deadline: command.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        last_output: Instant::now(),
        pulse: Pulse::new(command.keepalive),
        undelivered: None,
        done: None,
        parting: None,
        stopping: None,
        carrier: watch.carrier().cloned(),
        late: None,
        buffer: vec![0; SMALL_READ],
    }
    .run()
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
    stdin: StdinSender,
    /// Whom the program speaks with instead of our user.
    dialogue: Option<&'a mut dyn Dialogue>,
    /// When the program must have answered at last, and how long it had.
    answer_by: (Instant, Duration),
    /// What the program it speaks with says on standard error, without passwords.
    complaints: Filter,
    /// Bytes that were heard after that was over.
    last_words: usize,
    /// When it was last told how far that is.
    told_progress: Instant,
    agent: Option<ForwardedAgent>,
    unanswered: Unanswered,
    /// The conversation with sudo, until the command has begun.
    sudo: Option<Conversation>,
    /// How a command that sudo has begun is stopped.
    sudo_stop: Option<SudoStop>,
    /// Since when our user is being asked for sudo's password. The command's time does not run then.
    asked: Option<Instant>,
    events: &'a Sender<Event>,
    cancel: &'a Cancel,
    deadline: Option<Instant>,
    last_output: Instant,
    pulse: Pulse,
    /// Output that the full event channel has not taken yet. As long as there is any, nothing is read: a slow reader of
    /// our output slows the remote command instead of filling memory.
    undelivered: Option<Event>,
    /// Since when the dialogue is done.
    done: Option<Instant>,
    /// The dialogue is leaving the host tidy: why, and since when.
    parting: Option<(Outcome, Instant)>,
    stopping: Option<Stopping>,
    /// What hands on to us what the host sends.
    carrier: Option<Arc<dyn Carrier>>,
    /// Something is due, and what has come by now is to be read first.
    late: Option<Late>,
    buffer: Vec<u8>,
}

/// What is read before something that is due is held to have come.
struct Late {
    /// When it was seen.
    since: Instant,
    /// Until when what has come is in our socket, as of the beginning of this round.
    arrived: Instant,
    /// Whether all that had come by then was read.
    is_read: bool,
    /// Bytes received when it has been read in any case, by whatever comes behind it.
    most: u64,
}

impl Running<'_> {
    fn run(mut self) -> Outcome {
        loop {
            self.stop_if_due();
            let is_due = self.next_stage_is_due();
            if self.stopping.as_mut().is_some_and(|stopping| stopping.step(self.session, &self.channel, is_due)) {
                return self.finish(None);
            }
            self.flush();
            if !self.deliver() {
                continue;
            }
            self.speak_with_sudo();
            let more = self.send_input();
            let was_dead = self.session.is_dead();
            let drained = self.drain();
            let received = self.received();
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
            if let Some(outcome) = outcome.or_else(|| self.pulse.check(self.session, self.carrier.as_deref())) {
                return self.finish(Some(outcome));
            }
            self.note_all_read();
            // Looking for output may have brought word that the server takes more input, and looking for the end something
            // for the agent: nothing would wake us for it.
            if !more && !self.takes_input() && self.received() == received {
                self.wait();
            }
        }
    }

    /// Tells now and then how far the dialogue is. Where nobody has the time to hear it, it is not told.
    fn tell_progress(&mut self) {
        if let Some(dialogue) = &self.dialogue
            && self.told_progress.elapsed() >= PROGRESS
            && let Some(progress) = dialogue.progress()
        {
            self.told_progress = Instant::now();
            let _ = self.events.try_send(Event::now(self.command.job, EventKind::Copied(progress)));
        }
    }

    /// Does what sudo wants, as long as the command has not begun.
    fn speak_with_sudo(&mut self) {
        let Some(sudo) = &mut self.sudo else { return };
        let step = sudo.next();
        match (sudo.awaits().is_some(), self.asked) {
            (true, None) => self.asked = Some(Instant::now()),
            (false, Some(since)) => {
                self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(since.elapsed()));
                self.answer_by.0 += since.elapsed();
                self.last_output = Instant::now();
                self.asked = None;
            }
            _ => {}
        }
        match step {
            Step::Listen => {}
            Step::Tell(password) => self.stdin.answer(&password),
            Step::Begin(way) => {
                let has_terminal = self.command.requests.terminal.is_some();
                self.sudo_stop = way.map(|way| if has_terminal { way.with_terminal() } else { way });
                self.hand_on_sudos_rest();
                self.sudo = None;
                self.stdin.release();
            }
            Step::End(error) => self.stop(error.into()),
        }
    }

    /// Hands on what was kept back in case sudo was about to ask, or a password about to be repeated.
    fn hand_on_rest(&mut self) {
        self.hand_on_sudos_rest();
        let rest = self.complaints.rest();
        if let Some(event) = self.overhear(rest) {
            let _ = self.events.send(event);
        }
    }

    /// Hands on what was kept back in case sudo was about to ask.
    fn hand_on_sudos_rest(&mut self) {
        while let Some((stream, bytes)) = self.sudo.as_mut().and_then(Conversation::rest) {
            if let Some(event) = self.hand_on(stream, bytes) {
                let _ = self.events.send(event);
            }
        }
    }

    /// Sends what the socket and the server take of the command's input; says whether they may take more at once.
    fn send_input(&mut self) -> bool {
        self.flush();
        if self.unsent() > UNSENT {
            return false;
        }
        let before = self.stdin.bytes();
        let sent =
            self.stdin.send(&self.channel, self.dialogue.as_deref_mut().map(|dialogue| dialogue as &mut dyn Dialogue));
        if self.dialogue.is_some() && self.stdin.bytes() > before {
            // A program that only takes is not silent.
            self.last_output = Instant::now();
        }
        match sent {
            Ok(more) => {
                self.flush();
                more && self.unsent() == 0
            }
            Err(Broken(detail)) => {
                let hint = Some("the command was told to stop, since it has not got all of its input".to_owned());
                self.stop(HostError::Local { doing: "reading standard input", detail, hint }.into());
                false
            }
        }
    }

    /// Whether input can be sent now.
    fn takes_input(&self) -> bool {
        self.stopping.is_none() && self.stdin.has_more() && self.unsent() == 0 && self.channel.write_window() > 0
    }

    /// Hands the socket what it would not take before.
    fn flush(&self) {
        self.session.link().flush(self.session.socket());
    }

    /// Bytes that the socket has not taken yet.
    fn unsent(&self) -> usize {
        self.session.link().unsent_bytes()
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

    /// How many bytes have been taken off the socket so far, for whichever channel.
    fn received(&self) -> u64 {
        self.session.link().received_bytes()
    }

    /// Begins to stop the command where it is time to.
    fn stop_if_due(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(until) = self.parting_ends() {
            if self.has_come(until)
                && let Some((outcome, _)) = self.parting.take()
            {
                self.begin_to_stop(outcome);
            }
            return;
        }
        if self.cancel.is_triggered() && self.cancel.lapsed().is_none() {
            return self.stop(Outcome::cancelled(self.cancel, HostStage::Running));
        }
        if let Some((due, outcome)) = self.over() {
            if self.has_come(due) {
                self.stop(outcome);
            }
            return;
        }
        self.late = None;
        if self.asked.is_none() && self.dialogue.as_ref().is_some_and(|dialogue| dialogue.is_abandoned()) {
            let detail = "nobody takes what it says any more".to_owned();
            self.begin_to_stop(HostError::Local { doing: "speaking with the host", detail, hint: None }.into());
        }
    }

    /// The limit of time that is over, if one is: since when, and the outcome.
    fn over(&self) -> Option<(Instant, Outcome)> {
        if let Some(lapsed) = self.cancel.lapsed() {
            return Some((lapsed, Outcome::cancelled(self.cancel, HostStage::Running)));
        }
        if self.asked.is_some() {
            return None;
        }
        let is_spoken = self.dialogue.is_some();
        let answer = self.answer_due().map(|by| {
            let missing = "no answer from the program there";
            (by, Phase::Open, self.answer_by.1, missing)
        });
        let phase = if is_spoken { Phase::Transfer } else { Phase::Command };
        let whole = self.deadline.map(|due| (due, phase, self.command.timeout.unwrap_or_default(), "not finished"));
        let missing = if is_spoken { "nothing was heard" } else { "no output" };
        let silence =
            self.silence_due().map(|due| (due, Phase::Silence, self.command.silence.unwrap_or_default(), missing));
        let limits = [answer, whole, silence].into_iter().flatten();
        let now = limits.clone().next().map(|_| Instant::now())?;
        let (due, phase, limit, missing) = { limits }.find(|(due, ..)| now >= *due)?;
        Some((due, Outcome::TimedOut { phase, limit, missing }))
    }

    /// When the output has been silent for too long.
    fn silence_due(&self) -> Option<Instant> {
        let due = self.command.silence.and_then(|limit| self.last_output.checked_add(limit));
        due.filter(|_| self.undelivered.is_none())
    }

    /// Whether the command is to be told to stop in the next way.
    fn next_stage_is_due(&mut self) -> bool {
        let Some(due) = self.stopping.as_ref().map(Stopping::next_due) else { return false };
        self.has_come(due)
    }

    /// Whether `due` has come, and all that had come before that was seen is read: what arrives in time counts, however late we look.
    /// What cannot be read for the moment, or comes without end, keeps it from having come only for as long as we are late.
    fn has_come(&mut self, due: Instant) -> bool {
        let now = Instant::now();
        if now < due {
            self.late = None;
            return false;
        }
        if self.late.is_none() {
            let there = rustix::io::ioctl_fionread(self.session.socket()).unwrap_or_default();
            let most = self.received().saturating_add(there).saturating_add(u64::from(self.command.window));
            self.late = Some(Late { since: now, arrived: now, is_read: false, most });
        }
        let received = self.received();
        let Some(late) = &mut self.late else { return false };
        if late.is_read || received > late.most || now >= late.since + catching_up(due, late.since) {
            self.late = None;
            return true;
        }
        late.arrived = arrived_until(self.carrier.as_deref());
        false
    }

    /// Notes that a round has found nothing more to read.
    fn note_all_read(&mut self) {
        if let Some(late) = &mut self.late {
            late.is_read = late.arrived >= late.since && self.dialogue.as_ref().is_none_or(|dialogue| dialogue.hears());
        }
    }

    /// Stops the job, with `outcome` as the reason. A dialogue that is held is ended first.
    fn stop(&mut self, outcome: Outcome) {
        match &mut self.dialogue {
            Some(dialogue) if self.sudo.is_none() && dialogue.has_begun() => {
                dialogue.abort();
                self.parting = Some((outcome, Instant::now()));
            }
            _ => self.begin_to_stop(outcome),
        }
    }

    /// Tells the command to stop, with `outcome` as the reason.
    fn begin_to_stop(&mut self, outcome: Outcome) {
        let (login, sudo) = (self.command.login, self.sudo_stop.take());
        self.stopping = Some(Stopping::begin(outcome, self.session, login, sudo));
        if let Some(sudo) = &mut self.sudo {
            sudo.give_up();
        }
        self.stdin.give_up();
    }

    /// Whether the cancel is news. Once it has begun to stop the job, it would only make this spin.
    fn waits_for_cancel(&self) -> bool {
        self.stopping.is_none() && self.parting.is_none() && !self.cancel.is_triggered()
    }

    /// When the dialogue has had its time to leave the host tidy.
    fn parting_ends(&self) -> Option<Instant> {
        let (_, since) = self.parting.as_ref()?;
        Some((self.last_output.max(*since) + PARTING).min(*since + LONGEST_PARTING))
    }

    /// When a program that has not answered yet has had its time.
    fn answer_due(&self) -> Option<Instant> {
        let dialogue = self.dialogue.as_ref()?;
        (!dialogue.has_begun() && !self.stdin.is_over()).then_some(self.answer_by.0)
    }

    /// When there is something to do even if nothing comes.
    fn next_due(&self) -> Option<Instant> {
        if self.late.is_some() {
            // It has come, and what is still to be read before may not wake us.
            return Some(Instant::now() + CARRIER_TICK);
        }
        let knock = self.agent.as_ref().and_then(ForwardedAgent::next_due);
        if let Some(stopping) = &self.stopping {
            let pause = stopping.is_pending().then(|| Instant::now() + BLIND_PAUSE);
            return [Some(stopping.next_due()), pause, knock].into_iter().flatten().min();
        }
        let done = self.done.map(|since| since + AFTER_DONE);
        if let Some(until) = self.parting_ends() {
            return [Some(until), done, knock].into_iter().flatten().min();
        }
        if self.asked.is_some() {
            return [self.pulse.due(self.session), knock].into_iter().flatten().min();
        }
        let refusal = self.unanswered.due();
        [self.deadline, self.silence_due(), self.answer_due(), refusal, done, self.pulse.due(self.session), knock]
            .into_iter()
            .flatten()
            .min()
    }

    /// Waits until the socket has something, or the next thing is due.
    fn wait(&mut self) {
        let mut flags = self.session.directions() | PollFlags::IN;
        if self.unsent() > 0 {
            flags |= PollFlags::OUT;
        }
        let blind = self.channel.queued() > 0 || self.stdin.is_blocked();
        let pause = blind.then(|| Instant::now() + BLIND_PAUSE);
        let until = [self.next_due(), pause].into_iter().flatten().min();
        let cancel = self.waits_for_cancel().then_some(self.cancel);
        let socket = [(self.session.socket(), flags)];
        let input = self.stdin.awaits().map(|input| (input, PollFlags::IN));
        let answer = self.sudo.as_ref().and_then(Conversation::awaits).map(|answer| (answer, PollFlags::IN));
        let spoken = self.dialogue.iter().flat_map(|dialogue| dialogue.awaits()).flatten();
        let mut fds: Vec<_> = socket.into_iter().chain(input).chain(answer).chain(spoken).collect();
        let (first, mut lines) = (fds.len(), Vec::new());
        for (line, socket, flags) in self.agent.iter().flat_map(|agent| agent.awaits(self.unsent())) {
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
