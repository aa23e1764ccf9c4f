//! The runner of jobs: what they share, and one attempt at one of them.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::command;
use crate::command::input::Inputs;
use crate::command::sudo::{Form, Tokens};
use crate::copy::rsync::{self, Rsync};
use crate::events::event::{Event, EventKind, HostStage, Outcome};
use crate::events::host_error::HostError;
use crate::events::interruption::Stages;
use crate::hosts::proxy::Proxy;
use crate::plan::destinations::Destinations;
use crate::plan::error::Unprepared;
use crate::plan::exec_request::{self, Terms};
use crate::plan::explain::Explained;
use crate::plan::job::Job;
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::run::attempt::Attempt;
use crate::run::pool::AttemptResult;
use crate::run::queue::{Route, Task};
use crate::run::transfer::Copy;
use crate::ssh::destination::Destination;
use crate::ssh::host_keys::known_hosts_command;
use crate::ssh::proxy::chain::{JumpHosts, Plan, Through, Way};
use crate::ssh::proxy::proxy_command::{News, ProxyCommand};
use crate::ssh::session::Session;
use crate::ssh::sudo::password::SudoPassword;
use crate::ssh::watch::Watch;
use crate::system::cancel::Cancel;
use crate::system::open_files::Held;
use crate::system::password_source::Source;
use crate::system::terminal::Terminal;

/// Runs jobs, and holds what they share.
pub struct Runner {
    pub(super) settings: Arc<Settings>,
    pub(super) destinations: Arc<Destinations>,
    /// The host of each job, by its number.
    hosts: Vec<Destination>,
    jump_hosts: JumpHosts,
    prepared: PreparedWork,
    pub(super) sudo_password: Arc<SudoPassword>,
    /// How far each host is.
    stages: Stages,
}

/// What is done on a session.
enum PreparedWork {
    /// The job's command is run.
    Command {
        /// What the commands read.
        inputs: Inputs,
        /// What they are, below sudo.
        form: Form,
    },
    /// Files are copied.
    Copy(Copy),
    /// rsync copies them.
    Rsync(Rsync),
}

/// What a session's connection goes through, and lives no longer than: dropped after the session.
enum Path {
    Direct,
    Through(Through),
    Command(ProxyCommand),
}

impl Path {
    /// A failure in the light of what became of the path.
    fn explain(&mut self, outcome: Outcome) -> Outcome {
        match self {
            Path::Direct => outcome,
            Path::Through(through) => through.explain(outcome),
            Path::Command(command) => command.explain(outcome),
        }
    }
}

impl Runner {
    /// Gets the password, reads ssh_config, known_hosts and the keys, and completes every job's host: whatever can be wrong
    /// is found, and whatever a user has to be asked for all hosts is asked, before the first connection. Gives each job its
    /// work.
    ///
    /// # Errors
    /// There is no password where one is wanted, ssh_config is wrong, a private key that the user named cannot be used, or a
    /// command cannot be sent.
    pub fn new(settings: Settings, jobs: &mut [Job], work: Work, cancel: &Cancel) -> Result<Runner, Unprepared> {
        let settings = Arc::new(settings);
        let terminal = Arc::new(if settings.may_ask { Terminal::new()? } else { Terminal::mute()? });
        let read = |source: &Option<Source>| {
            let source = source.as_ref().filter(|_| settings.logs_in);
            source.map(|source| source.read(&terminal, cancel)).transpose()
        };
        let (password, sudo_password) = (read(&settings.password)?, read(&settings.sudo_password)?);
        let sudo_password = SudoPassword::new(sudo_password, Arc::clone(&terminal));
        let destinations = Destinations::new(Arc::clone(&settings), password.map(Arc::new), terminal, cancel)?;
        let hosts = destinations.hosts(jobs.iter().map(|job| &job.spec))?;
        for (job, host) in jobs.iter_mut().zip(&hosts) {
            job.address.clone_from(&host.name);
            job.user.clone_from(&host.user);
            job.port = host.port;
            job.proxy.clone_from(&host.proxy);
            job.attempts = host.attempts;
            job.retry_delay = host.retry_delay;
            job.is_verbose = settings.verbose || host.is_verbose;
            if let Some(Proxy::Jump(hops)) = &host.proxy {
                hops.iter().try_for_each(|hop| destinations.hop(hop).map(drop))?;
            }
        }
        let prepared = match work {
            Work::Commands { commands, inputs } => {
                commands.hand_out(jobs)?;
                let input_taken = !matches!(inputs, Inputs::Nothing);
                exec_request::complete(jobs, commands.script(), Terms { sudo: settings.sudo.as_ref(), input_taken })?;
                let form = if commands.script().is_some() { Form::Program } else { Form::Text };
                PreparedWork::Command { inputs, form }
            }
            Work::Upload(upload) => PreparedWork::Copy(Copy::Upload(upload)),
            Work::Download { download, directories } => PreparedWork::Copy(Copy::Download { download, directories }),
            Work::Rsync(rsync) => PreparedWork::Rsync(rsync),
        };
        let destinations = Arc::new(destinations);
        let jump_hosts = JumpHosts::new(Plan {
            host_of: {
                let destinations = Arc::clone(&destinations);
                Box::new(move |hop| destinations.hop(hop).map_err(|error| error.to_string()))
            },
            connections: settings.proxy_connections,
            window: settings.window(),
            cancel: cancel.clone(),
        });
        let stages = Stages::new(hosts.len());
        Ok(Runner { settings, destinations, hosts, jump_hosts, prepared, sudo_password, stages })
    }

    /// The jobs with what would be sent for their commands, or with what would be copied. What is random in it is zeros here. What sudo
    /// and scripts need around them is there with `-v`: others want to see who runs what.
    pub fn as_sent(&self, jobs: &[Job]) -> Vec<Job> {
        let sent = |job: &Job| match (&self.prepared, &self.settings.sudo) {
            (PreparedWork::Copy(copy), _) => copy.describe(job).into_bytes().into(),
            (PreparedWork::Rsync(rsync), _) => command::shown(&rsync.command_line(job.number, &job.spec)).into(),
            (PreparedWork::Command { .. }, Some(sudo)) if !job.is_verbose => {
                let what = job.shown.as_ref().unwrap_or(&job.command);
                [&sudo.plain(), &b" "[..], what].concat().into()
            }
            (PreparedWork::Command { form, .. }, Some(sudo)) => {
                sudo.wrap(&job.command, *form, &Tokens::sample()).into()
            }
            (PreparedWork::Command { .. }, None) => Arc::clone(&job.command),
        };
        jobs.iter().map(|job| Job { command: sent(job), ..job.clone() }).collect()
    }

    /// The descriptors that the work itself takes.
    pub fn held(&self) -> Held {
        let work = match &self.prepared {
            PreparedWork::Command { .. } => Held::default(),
            PreparedWork::Copy(copy) => copy.held(),
            PreparedWork::Rsync(_) => Held { per_host: rsync::FILES_PER_JOB, besides: 0 },
        };
        let runs_command = self.hosts.iter().any(|host| host.credentials.known_hosts_command.is_some());
        work.and(if runs_command { known_hosts_command::HELD } else { Held::default() })
    }

    /// The threads and processes that the work of a host takes besides its worker and a proxy command.
    pub fn programs(&self) -> usize {
        let runs_command = self.hosts.iter().any(|host| host.credentials.known_hosts_command.is_some());
        let work = if matches!(self.prepared, PreparedWork::Rsync(_)) { rsync::THREADS_PER_JOB } else { 0 };
        work + usize::from(runs_command)
    }

    /// Every effective setting of a job's host in the keywords of `ssh -G`, each with its origin.
    ///
    /// # Errors
    /// ssh_config is wrong about it.
    pub fn explain(&self, job: &Job) -> Result<Vec<Explained>, Unprepared> {
        self.destinations.explain(&job.spec)
    }

    /// The longest time that any host has for connecting; looking up its name may take as long.
    pub fn longest_connect(&self) -> Duration {
        self.hosts.iter().map(|host| host.connect_timeout).max().unwrap_or_default()
    }

    /// Ends what jobs have shared, once all have ended.
    pub fn close(&self) {
        self.sudo_password.close();
        self.jump_hosts.close();
    }

    /// What of the inputs could not be used, a line each, for `-v`.
    pub fn notes(&self) -> Vec<String> {
        self.destinations.notes()
    }

    /// How far each host is, by the number of its job.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Makes one attempt at a job.
    pub fn run(&self, job: &Job, task: &Task, events: &Sender<Event>, cancel: &Cancel) -> AttemptResult {
        self.stages.set(job.number, HostStage::Connecting);
        let result = self.attempt(job, task, events, cancel);
        match &result {
            AttemptResult::Ended(outcome) => self.stages.end(job.number, matches!(outcome, Outcome::Unstopped(_))),
            AttemptResult::NotSent(_) => self.stages.set(job.number, HostStage::Waiting),
        }
        result
    }

    fn attempt(&self, job: &Job, task: &Task, events: &Sender<Event>, cancel: &Cancel) -> AttemptResult {
        let send = |kind| {
            let _ = events.send(Event::now(job.number, kind));
        };
        let mut note = |text: &dyn Fn() -> String| {
            if job.is_verbose {
                send(EventKind::Note(text()));
            }
        };
        let host = &self.hosts[job.number];
        let mut watch = Watch::new(cancel, host.connect_timeout);
        let (mut path, connected) = self.connect(job, task, host, events, &mut watch, &mut note);
        send(EventKind::Attempted(Box::new(*watch.milestones())));
        watch.take_warnings().into_iter().for_each(|text| send(EventKind::Warning(text)));
        let mut session = match connected {
            Ok(session) => session,
            Err(outcome) => return AttemptResult::NotSent(path.explain(outcome)),
        };
        self.stages.set(job.number, HostStage::Running);
        send(EventKind::Connected);
        let attempt = Attempt { runner: self, job, host, events };
        let outcome = match &self.prepared {
            PreparedWork::Command { inputs, form } => {
                attempt.command(&mut session, inputs, *form, &mut watch, &mut note)
            }
            PreparedWork::Copy(copy) => attempt.copy(&mut session, copy, &mut watch, &mut note),
            PreparedWork::Rsync(rsync) => Ok(attempt.rsync(&mut session, rsync, &mut watch, &mut note)),
        };
        session.disconnect();
        let replaced = session.replaced_key(host);
        drop(session);
        match (outcome, replaced) {
            (Ok(_), Some(replaced)) => AttemptResult::Ended(replaced),
            (Err(_), Some(replaced)) => AttemptResult::NotSent(replaced),
            (Ok(outcome), None) if outcome.is_dropped() => AttemptResult::NotSent(path.explain(outcome)),
            (Ok(outcome), None) => AttemptResult::Ended(path.explain(outcome)),
            (Err(outcome), None) => AttemptResult::NotSent(outcome),
        }
    }

    /// An authenticated session with `host`, by whatever path, and that path, also where there is no session.
    fn connect(
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
                jump_host.take_warnings().into_iter().for_each(|text| watch.warn(text));
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
