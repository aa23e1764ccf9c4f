//! The runner: the shared state of jobs, and one attempt at a job.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::command;
use crate::command::host_args::HostArgsError;
use crate::command::input::Inputs;
use crate::command::sudo::{Form, Sudo, Tokens};
use crate::copy::rsync;
use crate::events::event::{Class, Event, EventKind, HostStage, Milestones, Outcome};
use crate::events::host_error::HostError;
use crate::events::interruption::Stages;
use crate::hosts::HostSpec;
use crate::hosts::proxy::Proxy;
use crate::plan::check::{Check, CheckTimes};
use crate::plan::error::Unprepared;
use crate::plan::exec_request::{self, ExecRequest, Terms};
use crate::plan::explain::Explained;
use crate::plan::job::{self, Job, Reached};
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::check::Checking;
use crate::run::gate::Gate;
use crate::run::pool::AttemptResult;
use crate::run::prepared::{Prepared, Renewal, reach_all, secret};
use crate::run::queue::{Route, Task};
use crate::run::session_work::SessionWork;
use crate::run::sessions::{FREEING, OPENING, RunJumpHosts, Sessions, Turn, is_stale, refusal};
use crate::ssh::destination::Destination;
use crate::ssh::host_keys::known_hosts_command;
use crate::ssh::proxy::chain::JumpHosts;
use crate::ssh::proxy::connection::{Plan, Through, Way};
use crate::ssh::proxy::proxy_command::{News, ProxyCommand};
use crate::ssh::session::Session;
use crate::ssh::sudo::password::SudoPassword;
use crate::ssh::watch::{Carrier, Notes, Watch};
use crate::system::cancel::Cancel;
use crate::system::open_files::Held;
use crate::system::poll::{CENTURY, Patience};
use crate::system::terminal::Terminal;

/// Runs jobs, and holds their shared state.
pub struct Runner {
    pub(super) settings: Arc<Settings>,
    prepared: Arc<Prepared>,
    /// What is read for a login, if `prepared` is an earlier run's.
    renewal: Option<Renewal>,
    jump_hosts: RunJumpHosts,
    /// Sessions that stay after the run.
    sessions: Option<Arc<Sessions>>,
    work: Work,
    check: Option<CheckTimes>,
    pub(super) sudo_password: Arc<SudoPassword>,
    /// How far each host is.
    stages: Stages,
    terminal: Arc<Terminal>,
}

/// The path of a session's connection: dropped after the session.
pub(super) enum Path {
    Direct,
    Through(Through),
    Command(ProxyCommand),
}

/// A connection to a host.
pub(super) struct Line {
    /// The session, until it has ended.
    pub session: Option<Session>,
    /// Its path.
    pub path: Path,
}

impl Line {
    /// Returns the outcome of `host` if it has shown another key than the checked one.
    fn replaced_key(&self, host: &Destination) -> Option<Outcome> {
        self.session.as_ref().and_then(|session| session.replaced_key(host))
    }

    /// Ends the session; returns the outcome of `host` if it has shown another key than the checked one.
    pub fn close(&mut self, host: &Destination) -> Option<Outcome> {
        let session = self.session.take()?;
        session.disconnect();
        session.replaced_key(host)
    }
}

impl Path {
    /// Returns what passes on the host's data to us, if it is not the network alone.
    pub(super) fn carrier(&self) -> Option<Arc<dyn Carrier>> {
        match self {
            Path::Through(through) => Some(Arc::clone(&through.connection) as Arc<dyn Carrier>),
            Path::Direct | Path::Command(_) => None,
        }
    }

    /// Drops what belongs to the run that has made the path.
    pub(super) fn forget_run(&self) {
        if let Path::Command(command) = self {
            command.hush();
        }
    }

    /// Refines a failure by the state of the path.
    pub(super) fn explain(&mut self, outcome: Outcome) -> Outcome {
        match self {
            Path::Direct => outcome,
            Path::Through(through) => through.explain(outcome),
            Path::Command(command) => command.explain(outcome),
        }
    }
}

impl Runner {
    /// Gets the password, reads ssh_config, known_hosts and the keys, and creates the jobs of `specs`: checks everything
    /// and asks the user everything that applies to all hosts before the first connection.
    ///
    /// # Errors
    /// A required password is missing, ssh_config is wrong, a private key that the user named cannot be used, or a
    /// command cannot be sent.
    pub fn new(
        settings: Settings,
        specs: Vec<HostSpec>,
        work: Work,
        check: Option<Check>,
        sessions: Option<Arc<Sessions>>,
        cancel: &Cancel,
    ) -> Result<(Runner, Arc<[Job]>), Unprepared> {
        let settings = Arc::new(settings);
        let terminal = Arc::new(if settings.may_ask { Terminal::new()? } else { Terminal::mute()? });
        if settings.rolling.confirm.is_some() && settings.logs_in && !terminal.is_at_hand() {
            return Err(Unprepared::Unconfirmed);
        }
        let kept = sessions.as_ref().and_then(|sessions| sessions.prepared(settings.command_timeout));
        let password = match &kept {
            Some(kept) => kept.password.clone(),
            None => Prepared::password(&settings, &terminal, cancel)?,
        };
        let own = secret(settings.sudo_password.as_ref(), &settings, &terminal, cancel)?;
        let sudo_password = SudoPassword::new(own, password.clone(), Arc::clone(&terminal));
        let is_new = kept.is_none();
        let prepared = match kept {
            Some(kept) => kept,
            None => Arc::new(Prepared::read(&settings, &specs, password, &terminal, cancel)?),
        };
        let reached = if settings.logs_in { prepared.reach()? } else { reach_all(&prepared.destinations, &specs)? };
        if let Some(sessions) = sessions.as_ref().filter(|_| is_new) {
            sessions.set_prepared(&prepared);
        }
        let requests = match &work {
            Work::Commands { commands, inputs } => {
                let known = specs.iter().zip(&reached).map(|(spec, host)| (spec, &*host.user, host.port));
                let lines = commands.lines(known)?;
                let input_taken = !matches!(inputs, Inputs::Nothing);
                let terms = Terms { sudo: settings.sudo.as_ref(), input_taken, what: "the command" };
                exec_request::requests(&specs, &lines, commands.script(), terms)?
            }
            Work::Ping | Work::Copy(_) | Work::Rsync(_) => Vec::new(),
        };
        let checks = check.as_ref().map(|check| checks(check, settings.sudo.as_ref(), &specs, &reached)).transpose()?;
        let jobs = job::make(specs, reached, requests, checks);
        let jump_hosts = |cancel: &Cancel| {
            let plan =
                Plan { connections: settings.proxy_connections, window: settings.window(), cancel: cancel.clone() };
            JumpHosts::new(plan, prepared.host_of())
        };
        let jump_hosts = match &sessions {
            Some(sessions) => sessions.jump_hosts(jump_hosts),
            None => RunJumpHosts::own(jump_hosts(cancel)),
        };
        if is_new {
            jump_hosts.renew(prepared.host_of());
        }
        let renewal = (!is_new).then(|| Renewal::of(&jobs));
        let stages = Stages::new(jobs.len());
        let check = check.map(|check| check.times);
        let runner =
            Runner { settings, prepared, renewal, jump_hosts, sessions, work, check, sudo_password, stages, terminal };
        Ok((runner, jobs))
    }

    /// Returns what would be sent for the command of `job`, or copied, with zeros for random parts. The wrappers of sudo and
    /// scripts are included with `-v` only.
    pub fn as_sent(&self, job: &Job) -> Arc<[u8]> {
        match (&self.work, &self.settings.sudo) {
            (Work::Ping, _) => Arc::from(*b"(log in, run nothing)"),
            (Work::Copy(copy), _) => copy.describe(job.number).into_bytes().into(),
            (Work::Rsync(rsync), _) => command::shown(&rsync.command_line(job.number, &job.spec)).into(),
            (Work::Commands { .. }, Some(sudo)) if !job.is_verbose => {
                let what = job.request.shown.as_ref().unwrap_or(&job.request.line);
                [&sudo.plain(), &b" "[..], what].concat().into()
            }
            (Work::Commands { commands, .. }, Some(sudo)) => {
                sudo.wrap(&job.request.line, commands.form(), &Tokens::sample()).into()
            }
            (Work::Commands { .. }, None) => Arc::clone(&job.request.line),
        }
    }

    /// Returns what would be sent for the check of `job`, if there is one, as in [`Runner::as_sent`].
    pub fn check_as_sent(&self, job: &Job) -> Option<Arc<[u8]>> {
        let line = &job.check.as_ref()?.line;
        Some(match &self.settings.sudo {
            None => Arc::clone(line),
            Some(sudo) if !job.is_verbose => [&sudo.plain(), &b" "[..], line].concat().into(),
            Some(sudo) => sudo.wrap(line, Form::Text, &Tokens::sample()).into(),
        })
    }

    /// Returns the sessions that stay after the run, if any do.
    pub(super) fn sessions(&self) -> Option<&Sessions> {
        self.sessions.as_deref()
    }

    /// Whether commands are run, rather than files copied.
    pub(super) fn runs_commands(&self) -> bool {
        matches!(self.work, Work::Commands { .. })
    }

    /// Returns the file descriptors that the work itself needs.
    pub fn held(&self) -> Held {
        let work = match &self.work {
            Work::Commands { .. } | Work::Ping => Held::default(),
            Work::Copy(copy) => copy.held(),
            Work::Rsync(_) => Held { per_host: rsync::FILES_PER_JOB, besides: 0 },
        };
        let runs_command = self.prepared.hosts.iter().any(|host| host.credentials.known_hosts_command.is_some());
        work.and(if runs_command { known_hosts_command::HELD } else { Held::default() })
    }

    /// Returns the threads and processes that the work of a host needs, without its worker and a proxy command.
    pub fn programs(&self) -> usize {
        let runs_command = self.prepared.hosts.iter().any(|host| host.credentials.known_hosts_command.is_some());
        let work = if matches!(self.work, Work::Rsync(_)) { rsync::THREADS_PER_JOB } else { 0 };
        work + usize::from(runs_command)
    }

    /// Returns every effective setting of a job's host in the keywords of `ssh -G`, each with its origin.
    ///
    /// # Errors
    /// ssh_config is wrong about it.
    pub fn explain(&self, job: &Job) -> Result<Vec<Explained>, Unprepared> {
        self.prepared.destinations.explain(&job.spec)
    }

    /// Returns the longest connect timeout of any host; looking up its name may take as long.
    pub fn longest_connect(&self) -> Duration {
        self.prepared.hosts.iter().map(|host| host.connect_timeout).max().unwrap_or_default()
    }

    /// Closes what jobs share, after all have ended.
    pub fn close(&self) {
        self.sudo_password.close();
        self.jump_hosts.close();
    }

    /// Returns the inputs that could not be used, a line each, for `-v`.
    pub fn notes(&self) -> Vec<String> {
        self.prepared.destinations.notes()
    }

    /// Returns the terminal on which the user is asked.
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }

    /// Returns how far each host is, by the number of its job.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Makes one attempt at a job.
    pub fn run(&self, job: &Job, task: &mut Task, events: &Sender<Event>, gate: &Gate) -> AttemptResult {
        self.stages.set(job.number, HostStage::Connecting);
        let result = self.attempt(job, task, events, gate);
        match &result {
            AttemptResult::Ended(outcome) => self.stages.end(job.number, matches!(outcome, Outcome::Unstopped(_))),
            AttemptResult::NotSent(_) => self.stages.set(job.number, HostStage::Waiting),
        }
        result
    }

    fn attempt(&self, job: &Job, task: &mut Task, events: &Sender<Event>, gate: &Gate) -> AttemptResult {
        let send = |kind| {
            let _ = events.send(Event::now(job.number, kind));
        };
        let mut note = |text: &dyn Fn() -> String| {
            if job.is_verbose {
                send(EventKind::Note(text()));
            }
        };
        let mut host = &self.prepared.hosts[job.number];
        let mut turn =
            match self.sessions.as_deref().map(|sessions| sessions.turn(job.number, &gate.cancel)).transpose() {
                Ok(turn) => turn,
                Err(outcome) => return AttemptResult::NotSent(outcome),
            };
        let (has_begun, login) = (Cell::new(false), Cell::new(task.login.take()));
        let (attempt, until) = (task.attempt, Cell::new(Instant::now() + host.connect_timeout.min(CENTURY)));
        let may_start = || {
            gate.pass(job, attempt, until.get(), host.connect_timeout)?;
            has_begun.set(true);
            drop(login.take());
            Ok(())
        };
        // A check, and the next job on the host, go on with a session whose command has ended by itself.
        let may_go_on = self.check.is_some() || turn.is_some();
        let work = SessionWork { runner: self, job, host, events, may_start: &may_start, goes_on: may_go_on };
        let kept = turn.as_mut().and_then(Turn::take);
        let mut address = None;
        let reused = kept.and_then(|line| self.reuse(&work, line, &has_begun, &gate.cancel, &mut note));
        let (mut line, outcome) = match reused {
            Some(done) => done,
            None => {
                host = match self.host_for_login(job, &gate.cancel) {
                    Ok(host) => host,
                    Err(outcome) => return AttemptResult::NotSent(outcome),
                };
                let work = SessionWork { host, ..work };
                let mut watch = Watch::new(&gate.cancel, host.connect_timeout);
                let (mut path, connected) = self.connect(job, task, host, events, &mut watch, &mut note);
                drop(login.take());
                send(EventKind::Attempted(Box::new(*watch.milestones())));
                watch.take_notices().into_iter().for_each(|notice| send(EventKind::Warning(notice)));
                let mut session = match connected {
                    Ok(session) => session,
                    Err(outcome) => return AttemptResult::NotSent(path.explain(outcome)),
                };
                self.stages.set(job.number, HostStage::Running);
                send(EventKind::Connected);
                address = watch.milestones().address;
                until.set(watch.deadline());
                let outcome = self.work_on(&work, &mut session, &mut watch, &mut note);
                (Line { session: Some(session), path }, outcome)
            }
        };
        let goes_on = may_go_on && matches!(outcome, Ok(Outcome::Exited(_) | Outcome::Signaled { .. }));
        let replaced = if goes_on { line.replaced_key(host) } else { line.close(host) };
        let outcome = match (outcome, replaced) {
            (Ok(_), Some(replaced)) => return AttemptResult::Ended(replaced),
            (Err(_), Some(replaced)) => return AttemptResult::NotSent(replaced),
            (Ok(outcome), None) if outcome.is_dropped() => return AttemptResult::NotSent(line.path.explain(outcome)),
            (Ok(outcome), None) => {
                let lost = (outcome.class() == Class::Lost).then(|| outcome.to_string());
                let explained = line.path.explain(outcome);
                // The end of a jump host says nothing about the host.
                if lost.is_some_and(|told| told != explained.to_string()) {
                    explained
                } else {
                    self.settings.success.judge(explained)
                }
            }
            (Err(outcome), None) => return AttemptResult::NotSent(outcome),
        };
        // A name may have several addresses, and a check is about the machine that the command ran on.
        if let (Route::Direct(addresses), Some(address)) = (&mut task.route, address) {
            *addresses = vec![address];
        }
        AttemptResult::Ended(match (self.check, &job.check) {
            (Some(times), Some(request)) if outcome.class() == Class::Ok => {
                Checking { work: &work, task, request, times, cancel: &gate.cancel }.run(line, outcome, &mut note)
            }
            _ => match turn.filter(|_| goes_on) {
                Some(turn) => {
                    turn.keep(line);
                    outcome
                }
                None => line.close(host).unwrap_or(outcome),
            },
        })
    }

    /// Returns the host of a job that must log in.
    ///
    /// # Errors
    /// The outcome of the job: what an earlier run has read must be read anew, and cannot be.
    fn host_for_login(&self, job: &Job, cancel: &Cancel) -> Result<&Destination, Outcome> {
        let (Some(renewal), Some(sessions)) = (&self.renewal, &self.sessions) else {
            return Ok(&self.prepared.hosts[job.number]);
        };
        let read = || {
            let prepared = renewal.read(&self.settings, &self.terminal, cancel)?;
            self.jump_hosts.renew(prepared.host_of());
            sessions.set_prepared(&prepared);
            Ok(prepared)
        };
        renewal.host(&self.prepared, job.number, read)
    }

    /// Does the work on the session that an earlier job has left. Returns `None` if that cannot be used any more and nothing was sent on
    /// it, so that a new connection is safe.
    fn reuse(
        &self,
        work: &SessionWork<'_>,
        mut line: Line,
        has_begun: &Cell<bool>,
        cancel: &Cancel,
        note: &mut Notes<'_>,
    ) -> Option<(Line, Result<Outcome, Outcome>)> {
        let send = |kind| drop(work.events.send(Event::now(work.job.number, kind)));
        self.stages.set(work.job.number, HostStage::Running);
        let mut pauses = FREEING.iter();
        loop {
            let mut watch = Watch::new(cancel, OPENING.min(work.host.connect_timeout));
            line.path.carrier().into_iter().for_each(|carrier| watch.carried_by(carrier));
            let session = line.session.as_mut()?;
            let begun = *watch.milestones();
            let may_start = || {
                let is_first = !has_begun.get();
                (work.may_start)()?;
                if is_first {
                    send(EventKind::Attempted(Box::new(begun)));
                    send(EventKind::Connected);
                }
                Ok(())
            };
            let again = SessionWork { may_start: &may_start, ..*work };
            let outcome = self.work_on(&again, session, &mut watch, note);
            let (Ok(ended) | Err(ended)) = &outcome;
            if has_begun.get() || !is_stale(ended) || line.replaced_key(work.host).is_some() {
                return Some((line, outcome));
            }
            match pauses.next().filter(|_| refusal(ended) == Some(false)) {
                Some(pause) => drop(Patience::of(cancel, *pause).wait(&[])),
                None => {
                    note(&|| format!("the kept connection cannot be used: {ended}"));
                    self.stages.set(work.job.number, HostStage::Connecting);
                    line.close(work.host);
                    return None;
                }
            }
        }
    }

    /// Does the work of a job on its session.
    ///
    /// # Errors
    /// The outcome, if nothing was sent.
    fn work_on(
        &self,
        work: &SessionWork<'_>,
        session: &mut Session,
        watch: &mut Watch<'_>,
        note: &mut Notes<'_>,
    ) -> Result<Outcome, Outcome> {
        match &self.work {
            Work::Commands { commands, inputs } => work.command(session, inputs, commands.form(), watch, note),
            Work::Ping => Ok(reached(watch.milestones())),
            Work::Copy(copy) => work.copy(session, copy, watch, note),
            Work::Rsync(rsync) => Ok(work.rsync(session, rsync, watch, note)),
        }
    }

    /// Opens an authenticated session with `host`; also returns its path, even without a session.
    pub(super) fn connect(
        &self,
        job: &Job,
        task: &Task,
        host: &Destination,
        events: &Sender<Event>,
        watch: &mut Watch<'_>,
        note: &mut dyn FnMut(&dyn Fn() -> String),
    ) -> (Path, Result<Session, Outcome>) {
        match (&host.proxy, &task.route) {
            (Some(Proxy::Jump(hops)), _) => {
                let jump_host = match self.jump_hosts.reach(hops) {
                    Ok(jump_host) => jump_host,
                    Err(outcome) => return (Path::Direct, Err(outcome)),
                };
                let way = jump_host.connect(host, task.attempt, watch);
                jump_host.take_notes().iter().for_each(|text| note(&|| text.clone()));
                jump_host.take_notices().into_iter().for_each(|notice| watch.tell(notice));
                match way {
                    Ok(Way { socket, through }) => {
                        note(&|| format!("connected through {jump_host}"));
                        let made = Session::over(Arc::new(socket), host, watch, note);
                        (Path::Through(through), made)
                    }
                    Err(outcome) => (Path::Direct, Err(outcome)),
                }
            }
            (Some(Proxy::Command(template)), _) => {
                let text = template.fill(&host.name, host.port, &host.user);
                let (number, events) = (job.number, events.clone());
                let tell = move |text: &str| {
                    let _ = events.send(Event::now(number, EventKind::Note(text.to_owned())));
                };
                let news = job.is_verbose.then(|| Box::new(tell) as News);
                match ProxyCommand::start(&text, news) {
                    Ok((command, socket)) => {
                        note(&|| format!("connected by {text}"));
                        let made = Session::over(socket, host, watch, note);
                        if made.is_ok() {
                            command.set_used();
                        }
                        (Path::Command(command), made)
                    }
                    Err(outcome) => (Path::Direct, Err(outcome)),
                }
            }
            (None, Route::Direct(addresses)) => (Path::Direct, Session::connect(host, addresses, watch, note)),
            (None, Route::Proxied | Route::Unresolved) => {
                (Path::Direct, Err(HostError::Connect { tried: Vec::new() }.into()))
            }
        }
    }
}

/// Returns the check of each host as it is sent.
fn checks(
    check: &Check,
    sudo: Option<&Sudo>,
    specs: &[HostSpec],
    hosts: &[Reached],
) -> Result<Vec<ExecRequest>, Unprepared> {
    let known = specs.iter().zip(hosts).map(|(spec, host)| (spec, &*host.user, host.port));
    let lines = check.commands.lines(known).map_err(|error| match error {
        HostArgsError::Commands(problems) => HostArgsError::Commands(
            problems.into_iter().map(|(host, error)| (format!("{host}, the check"), error)).collect(),
        ),
        error => error,
    })?;
    Ok(exec_request::requests(specs, &lines, None, Terms { sudo, input_taken: false, what: "the check" })?)
}

/// Returns the outcome of a host with login only.
fn reached(milestones: &Milestones) -> Outcome {
    let since = |at: Instant| at.saturating_duration_since(milestones.begun);
    let logged_in = since(Instant::now());
    Outcome::Reached { connected: milestones.reached.map_or(logged_in, since), logged_in }
}
