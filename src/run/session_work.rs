//! A job on its authenticated session: its command, or the program that copies its files.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::runner::Runner;
use crate::command::input::{InputReader, Inputs};
use crate::command::sudo::{Form, Tokens};
use crate::copy::rsync::Rsync;
use crate::events::event::{Event, Outcome, Phase};
use crate::events::host_error::HostError;
use crate::plan::exec_request::ExecRequest;
use crate::plan::job::Job;
use crate::ssh::channel::dialogue::Dialogue;
use crate::ssh::channel::exec::{self, ChannelIo, Command, Listener};
use crate::ssh::channel::requests::{Requests, Start};
use crate::ssh::channel::stdin::StdinSender;
use crate::ssh::destination::Destination;
use crate::ssh::session::Session;
use crate::ssh::sudo::conversation::Conversation;
use crate::ssh::watch::Watch;

/// A dialogue's window as a multiple of a command's: its data is read at once, while a command's output may wait
/// for local output. With 4 MiB, a round trip of 40 ms does not limit a copy below 100 MB/s.
const WINDOWS: u32 = 2;

/// A job on a session.
pub struct SessionWork<'a> {
    /// What all jobs share.
    pub runner: &'a Runner,
    /// The job.
    pub job: &'a Job,
    /// Its host.
    pub host: &'a Destination,
    /// Where events go.
    pub events: &'a Sender<Event>,
    /// See [`Command::may_start`].
    pub may_start: &'a dyn Fn() -> Result<(), Outcome>,
    /// See [`Command::goes_on`].
    pub goes_on: bool,
}

impl SessionWork<'_> {
    /// Runs the job's command, which reads `inputs`, and passes its output on.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    pub fn command(
        &self,
        session: &mut Session,
        inputs: &Inputs,
        form: Form,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Outcome, Outcome> {
        let tokens = self.tokens()?;
        let line = self.line(&self.job.request.line, form, tokens.as_ref());
        let input = self.job.request.input.clone().map(InputReader::of);
        let stdin = StdinSender::new(input.or_else(|| inputs.reader(self.job.number)));
        let task = self.runner.settings.program.task();
        let sudo = self.conversation(session, tokens.as_ref(), task);
        let command = self.bounds(Start::Command(&line), &self.host.requests);
        let io = ChannelIo { stdin, dialogue: None, sudo, listener: None };
        Ok(exec::run(session, &command, io, self.events, watch, note))
    }

    /// Runs the check after the job's command once, for at most `limit`, and passes its output to `listener`.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    pub fn check(
        &self,
        session: &mut Session,
        request: &ExecRequest,
        limit: Duration,
        listener: Listener<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome, Outcome> {
        const TASK: &str = "the check";
        let tokens = self.tokens()?;
        let line = self.line(&request.line, Form::Text, tokens.as_ref());
        let sudo = self.conversation(session, tokens.as_ref(), TASK);
        let nothing = Requests::default();
        let requests = if self.runner.runs_commands() { &self.host.requests } else { &nothing };
        let command = Command {
            task: TASK,
            // The host has its command already.
            may_start: &|| Ok(()),
            timeout: Some(limit),
            silence: None,
            // What the host refuses was said for the command.
            is_verbose: false,
            keepalive: self.host.keepalive.quick(),
            ..self.bounds(Start::Command(&line), requests)
        };
        let stdin = StdinSender::new(request.input.clone().map(InputReader::of));
        let io = ChannelIo { stdin, dialogue: None, sudo, listener: Some(listener) };
        Ok(exec::run(session, &command, io, self.events, watch, &mut |_| {}))
    }

    /// Runs `dialogue` with the program of `start`, as the other user if there is one. Makes no channel requests for commands;
    /// the dialogue reports how it ended.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    pub fn converse(
        &self,
        session: &mut Session,
        start: Start<'_>,
        dialogue: &mut dyn Dialogue,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Result<Outcome, Outcome> {
        let tokens = self.tokens()?;
        let line;
        let (start, sudo) = match start {
            Start::Command(program) => {
                line = self.line(program, Form::Program, tokens.as_ref());
                let task = self.runner.settings.program.task();
                (Start::Command(&line), self.conversation(session, tokens.as_ref(), task))
            }
            subsystem @ Start::Subsystem(_) => (subsystem, None),
        };
        let nothing = Requests::default();
        let mut command = self.bounds(start, &nothing);
        command.window = command.window.saturating_mul(WINDOWS);
        let io = ChannelIo { stdin: StdinSender::spoken(), dialogue: Some(dialogue), sudo, listener: None };
        Ok(exec::run(session, &command, io, self.events, watch, note))
    }

    /// Copies with the local rsync, whose remote command runs on the session.
    pub fn rsync(
        &self,
        session: &mut Session,
        rsync: &Rsync,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> Outcome {
        let started = match rsync.start(self.job.number, &self.job.spec, self.events) {
            Ok(started) => started,
            Err(outcome) => return outcome,
        };
        let mut whole = match self.host.command_timeout {
            Some(limit) => Watch::new(watch.cancel(), limit),
            None => Watch::endless(watch.cancel()),
        };
        whole.expect(Phase::Transfer, "not finished");
        started.run(&whole, |command, dialogue| {
            note(&|| format!("rsync runs {} there", String::from_utf8_lossy(command)));
            let outcome = self.converse(session, Start::Command(command), &mut *dialogue, watch, note);
            self.tell_end(&*dialogue);
            dialogue.conclude(outcome.unwrap_or_else(|outcome| outcome))
        })
    }

    /// Whether it runs as another user, with sudo.
    pub fn is_other_user(&self) -> bool {
        self.runner.settings.sudo.is_some()
    }

    /// Returns the tokens of a conversation with sudo, if sudo is used.
    fn tokens(&self) -> Result<Option<Tokens>, Outcome> {
        self.runner.settings.sudo.as_ref().map(|_| Tokens::random()).transpose().map_err(|error| {
            HostError::Local { doing: "generating random numbers", detail: error.to_string(), hint: None }.into()
        })
    }

    /// Returns the line for the login shell that runs `command`.
    fn line<'c>(&self, command: &'c [u8], form: Form, tokens: Option<&Tokens>) -> Cow<'c, [u8]> {
        match (&self.runner.settings.sudo, tokens) {
            (Some(sudo), Some(tokens)) => sudo.wrap(command, form, tokens).into(),
            _ => command.into(),
        }
    }

    fn conversation(&self, session: &Session, tokens: Option<&Tokens>, task: &'static str) -> Option<Conversation> {
        let sudo = self.runner.settings.sudo.as_ref()?;
        let may_ask = self.host.credentials.terminal.is_there();
        let password = Arc::clone(&self.runner.sudo_password);
        Some(Conversation::new(task, sudo.clone(), tokens?, password, session.trust(), may_ask))
    }

    fn bounds<'a>(&'a self, start: Start<'a>, requests: &'a Requests) -> Command<'a> {
        Command {
            task: self.runner.settings.program.task(),
            job: self.job.number,
            start,
            may_start: self.may_start,
            requests,
            login: &self.host.user,
            timeout: self.host.command_timeout,
            silence: self.host.silence_timeout,
            is_verbose: self.job.is_verbose,
            keepalive: self.host.keepalive,
            window: self.runner.settings.window(),
            goes_on: self.goes_on,
        }
    }
}
