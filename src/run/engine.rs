//! The machinery between jobs and events, the same for the command line and for [`Client`](crate::client::Client): hosts are
//! resolved, resources are reserved, workers run them.

use std::io;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::pool::{self, Plan};
use super::room::{self, Threads};
use super::runner::Runner;
use crate::events::event::Event;
use crate::hosts::HostSpec;
use crate::plan::error::Unprepared;
use crate::plan::failure_limit::{FailureCount, Limits};
use crate::plan::job::Job;
use crate::plan::portion::Portion;
use crate::plan::settings::Settings;
use crate::plan::work::Work;
use crate::ssh;
use crate::system::cancel::Cancel;
use crate::system::files::bounded;
use crate::system::open_files::{self, Held};
use crate::system::redact;

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

/// Returns a number of hosts in words.
fn hosts(count: usize) -> String {
    format!("{count} host{}", if count == 1 { "" } else { "s" })
}

impl Engine {
    /// Creates the jobs of `specs`: checks everything and asks the user everything that applies to all hosts before
    /// the first connection. `cancel` stops all of it.
    ///
    /// # Errors
    /// See `Runner::new`.
    pub fn new(
        mut settings: Settings,
        specs: Vec<HostSpec>,
        work: Work,
        cancel: &Cancel,
    ) -> Result<Engine, Unprepared> {
        if let Some(unusable) = ssh::unusable() {
            return Err(Unprepared::Libssh2(unusable.to_string()));
        }
        settings.pool_size = settings.pool_size.min(specs.len()).max(1);
        let (runner, jobs) = bounded::under(cancel, || Runner::new(settings.clone(), specs, work, cancel))?;
        let runner = Arc::new(runner);
        Ok(Engine { runner, jobs: jobs.into(), settings, cancel: cancel.clone() })
    }

    /// Returns the jobs, in list order.
    pub fn jobs(&self) -> &Arc<[Job]> {
        &self.jobs
    }

    /// Returns the runner.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Starts all jobs. Their output holds file descriptors too.
    ///
    /// # Errors
    /// Not enough file descriptors for a single host, or no threads.
    pub fn start(&self, held: Held) -> Result<Started, StartError> {
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
        let plan = Plan {
            size: room.hosts,
            threads: Threads::of(self.jobs.iter().map(|job| job.proxy.as_ref()), self.runner.programs()),
            lookup_limit: self.runner.longest_connect(),
            retry: settings.retry,
            total_limit: settings.total_timeout,
            rolling: settings.rolling.clone(),
            terminal: Some(Arc::clone(self.runner.terminal())),
        };
        let hosts_of = |limit: Option<Portion>| limit.map(|limit| limit.hosts(self.jobs.len()));
        let limits = Limits {
            errors: hosts_of(settings.stop_on_errors),
            unreached: hosts_of(settings.stop_on_unreached),
            mode: settings.stop_mode,
        };
        let failures = Arc::new(FailureCount::new(limits, &self.cancel));
        let (stop, counted, worker) = (self.cancel.clone(), Arc::clone(&failures), Arc::clone(&self.runner));
        let work = move |job: &Job, task: &mut _, events: &_| worker.run(job, task, events, &counted, &stop);
        let size = plan.size;
        let working = pool::start(Arc::clone(&self.jobs), plan, &failures, &self.cancel, work)?;
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
