//! The machinery between jobs and events, the same for the command line and for [`Client`](crate::client::Client): hosts are
//! resolved, resources are reserved, workers run them.

use std::io;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::earlier::Earlier;
use super::gate::Gate;
use super::pool::{self, Plan};
use super::room::{self, Threads};
use super::runner::Runner;
use super::sessions::Sessions;
use crate::events::event::Event;
use crate::hosts::HostSpec;
use crate::journal::writer::Writer;
use crate::plan::check::Check;
use crate::plan::error::Unprepared;
use crate::plan::failure_limit::FailureCount;
use crate::plan::job::{Job, MOST_HOSTS};
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::ssh;
use crate::system::cancel::{Cancel, Reason};
use crate::system::files::bounded;
use crate::system::open_files::{self, Held};
use crate::system::redact;
use crate::text::message::hosts;

/// Jobs that are ready to run.
pub struct Engine {
    runner: Arc<Runner>,
    jobs: Arc<[Job]>,
    settings: Settings,
    cancel: Cancel,
}

/// Why workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A list is longer than a run may be.
    #[error("the run has {0} hosts, but a run has at most {MOST_HOSTS}")]
    Hosts(usize),
    /// The limit on open files is too low.
    #[error("only {allowed} files may be open, too few for a single host; ulimit -n {needed} is enough")]
    Files {
        /// How many files may be open.
        allowed: u64,
        /// How many one host needs.
        needed: u64,
    },
    /// The system refuses to start threads.
    #[error("cannot start the threads: {}", crate::text::message::reason(.0))]
    Threads(#[from] io::Error),
}

/// A running run.
pub struct Started {
    /// Events, until every job has ended.
    pub events: Receiver<Event>,
    /// The failure count, for hosts whose output could not be stored.
    pub failures: Arc<FailureCount>,
    /// Notes for the user.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates the jobs of `specs`: checks everything and asks the user everything that applies to all hosts before
    /// the first connection. `cancel` stops all of it. `sessions` stay connected after the run.
    ///
    /// # Errors
    /// See `Runner::new`.
    pub fn new(
        mut settings: Settings,
        specs: Vec<HostSpec>,
        work: Work,
        check: Option<Check>,
        sessions: Option<Arc<Sessions>>,
        cancel: &Cancel,
    ) -> Result<Engine, Unprepared> {
        if let Some(unusable) = ssh::unusable() {
            return Err(Unprepared::Libssh2(unusable.to_string()));
        }
        settings.check()?;
        settings.pool_size = settings.pool_size.min(specs.len()).max(1);
        let (runner, jobs) =
            bounded::under(cancel, || Runner::new(settings.clone(), specs, work, check, sessions, cancel))?;
        let runner = Arc::new(runner);
        Ok(Engine { runner, jobs, settings, cancel: cancel.clone() })
    }

    /// Returns the jobs, in list order.
    pub fn jobs(&self) -> &Arc<[Job]> {
        &self.jobs
    }

    /// Returns the runner.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Starts all jobs but those that ended `earlier`. Their output holds file descriptors too; what is sent is recorded in `journal`.
    ///
    /// # Errors
    /// Too many hosts, not enough file descriptors for a single host, or no threads.
    pub fn start(&self, held: Held, earlier: Earlier, journal: Option<Writer>) -> Result<Started, StartError> {
        if self.jobs.len() > MOST_HOSTS {
            return Err(StartError::Hosts(self.jobs.len()));
        }
        let settings = &self.settings;
        let need = room::need(self.jobs.iter().map(|job| job.proxy.as_ref()), settings.proxy_connections);
        let need = need.and(held).and(self.runner.held());
        let room = open_files::make_room(settings.pool_size, need);
        let mut warnings = Vec::new();
        match room.too_low {
            Some(allowed) if room.hosts == 0 => {
                return Err(StartError::Files { allowed, needed: need.files(1) });
            }
            Some(allowed) => warnings.push(format!(
                "only {allowed} files may be open (ulimit -Hn), which is enough for {} at once; {} need {}",
                hosts(room.hosts),
                settings.pool_size,
                need.files(settings.pool_size)
            )),
            None => {}
        }
        if let Some(sessions) = self.runner.sessions() {
            sessions.set_room(open_files::room_besides(room.hosts, need, self.jobs.len()));
        }
        let plan = Plan {
            size: room.hosts,
            threads: Threads::of(self.jobs.iter().map(|job| job.proxy.as_ref()), self.runner.programs()),
            lookup_limit: self.runner.longest_connect(),
            retry: settings.retry,
            total_limit: settings.total_timeout,
            rolling: settings.rolling.clone(),
            terminal: Some(Arc::clone(self.runner.terminal())),
            workers: self.runner.sessions().map(Sessions::workers),
        };
        let failures = Arc::new(FailureCount::new(settings.limits(self.jobs.len()), &self.cancel));
        if let Some(journal) = &journal {
            // Those that run may end; no other is started.
            let failures = Arc::clone(&failures);
            journal.on_failure(move || failures.halt(Reason::JournalFailed));
        }
        let gate = Gate { failures: Arc::clone(&failures), journal, cancel: self.cancel.clone() };
        let worker = Arc::clone(&self.runner);
        let work = move |job: &Job, task: &mut _, events: &_| worker.run(job, task, events, &gate);
        let size = plan.size;
        let working = pool::start(Arc::clone(&self.jobs), plan, earlier, (&failures, &self.cancel), work)?;
        if let Some(threads) = working.most_threads {
            warnings.push(format!(
                "only {threads} more threads can be started (ulimit -u, pids.max of the cgroup), which is enough for {} at once, not {}",
                hosts(working.workers),
                size
            ));
        }
        Ok(Started { events: working.events, failures, warnings })
    }

    /// Closes what the jobs share, after all have ended.
    pub fn close(&self) {
        self.runner.close();
        redact::forget();
    }
}
