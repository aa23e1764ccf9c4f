//! What is read, asked and decided about the hosts before the first connection, and again if a login follows that nobody expected.

use std::collections::HashSet;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::hosts::HostSpec;
use crate::hosts::proxy::Proxy;
use crate::plan::destinations::Destinations;
use crate::plan::error::Unprepared;
use crate::plan::job::{Job, Reached};
use crate::plan::settings::Settings;
use crate::ssh::destination::Destination;
use crate::ssh::proxy::chain::HostOf;
use crate::system::cancel::Cancel;
use crate::system::files::bounded;
use crate::system::password_source::{Secret, Source};
use crate::system::terminal::Terminal;

/// How many hosts are looked up in ssh_config in less time than it takes to start threads for it, or nearly so.
const FOR_ONE_THREAD: usize = 20_000;

/// What is read, asked and decided about the hosts before the first connection.
pub(super) struct Prepared {
    pub(super) destinations: Arc<Destinations>,
    /// The host of each job, by its number; none if no job is run.
    pub(super) hosts: Vec<Destination>,
    pub(super) password: Option<Arc<Secret>>,
    /// The setting of a single command on which it depends.
    command_timeout: Option<Duration>,
}

impl Prepared {
    /// Gets the password for the hosts.
    ///
    /// # Errors
    /// There is none, although there should be.
    pub fn password(
        settings: &Settings,
        terminal: &Terminal,
        cancel: &Cancel,
    ) -> Result<Option<Arc<Secret>>, Unprepared> {
        Ok(secret(settings.password.as_ref(), settings, terminal, cancel)?.map(Arc::new))
    }

    /// Reads ssh_config, known_hosts and the keys for the hosts of `specs`, which may get `password`.
    ///
    /// # Errors
    /// See `Runner::new`.
    pub fn read(
        settings: &Arc<Settings>,
        specs: &[HostSpec],
        password: Option<Arc<Secret>>,
        terminal: &Arc<Terminal>,
        cancel: &Cancel,
    ) -> Result<Prepared, Unprepared> {
        let destinations = Destinations::new(Arc::clone(settings), password.clone(), Arc::clone(terminal), cancel)?;
        // What only prints needs no destinations, of which each is large.
        let hosts = if settings.logs_in { destinations.hosts(specs)? } else { Vec::new() };
        let (destinations, command_timeout) = (Arc::new(destinations), settings.command_timeout);
        Ok(Prepared { destinations, hosts, password, command_timeout })
    }

    /// Checks the jump hosts of all hosts, and returns what their jobs need of them.
    ///
    /// # Errors
    /// A jump host is wrong.
    pub fn reach(&self) -> Result<Vec<Reached>, Unprepared> {
        let mut users = HashSet::new();
        self.hosts.iter().map(|host| reach(&self.destinations, host, &mut users)).collect()
    }

    /// Whether another command of the same client, with this time limit, can use it.
    pub fn fits(&self, command_timeout: Option<Duration>) -> bool {
        self.command_timeout == command_timeout
    }

    /// Returns what resolves jump hosts.
    pub fn host_of(&self) -> HostOf {
        let destinations = Arc::clone(&self.destinations);
        Box::new(move |hop| destinations.hop(hop).map_err(|error| error.to_string()))
    }
}

/// Gets a password from its source, if the run logs in and there is one.
///
/// # Errors
/// There is none, although there should be.
pub(super) fn secret(
    source: Option<&Source>,
    settings: &Settings,
    terminal: &Terminal,
    cancel: &Cancel,
) -> Result<Option<Secret>, Unprepared> {
    let source = source.filter(|_| settings.logs_in);
    Ok(source.map(|source| source.read(terminal, cancel)).transpose()?)
}

/// What is prepared anew in a run that has begun with what an earlier one has prepared, since all hosts had a session, as soon as one of
/// these turns out to have ended: a one-time password must not be sent twice.
pub(super) struct Renewal {
    jobs: Arc<[Job]>,
    /// What was prepared, or why it cannot be.
    prepared: OnceLock<Result<Arc<Prepared>, String>>,
}

impl Renewal {
    /// Nothing is read yet for the hosts of `jobs`.
    pub fn of(jobs: &Arc<[Job]>) -> Renewal {
        Renewal { jobs: Arc::clone(jobs), prepared: OnceLock::new() }
    }

    /// Reads and asks everything.
    ///
    /// # Errors
    /// See `Runner::new`.
    pub fn read(
        &self,
        settings: &Arc<Settings>,
        terminal: &Arc<Terminal>,
        cancel: &Cancel,
    ) -> Result<Arc<Prepared>, Unprepared> {
        bounded::under(cancel, || {
            let password = Prepared::password(settings, terminal, cancel)?;
            let specs: Vec<HostSpec> = self.jobs.iter().map(|job| job.spec.clone()).collect();
            let prepared = Prepared::read(settings, &specs, password, terminal, cancel)?;
            prepared.reach()?;
            Ok(Arc::new(prepared))
        })
    }

    /// Returns a host of what `read` returns, which is called once.
    ///
    /// # Errors
    /// The outcome of the host: there is nothing, or it is elsewhere now than in `earlier`, from which its address is.
    pub fn host(
        &self,
        earlier: &Prepared,
        number: usize,
        read: impl FnOnce() -> Result<Arc<Prepared>, Unprepared>,
    ) -> Result<&Destination, Outcome> {
        let failed = |detail: String| HostError::Local { doing: "preparing a new login", detail, hint: None };
        let prepared = self.prepared.get_or_init(|| read().map_err(|error| error.to_string()));
        let prepared = prepared.as_ref().map_err(|error| failed(error.clone()))?;
        let (host, before) = (&prepared.hosts[number], &earlier.hosts[number]);
        let place = |host: &Destination| (host.name.clone(), host.port, host.proxy.clone());
        if place(host) != place(before) {
            return Err(
                failed("ssh_config has another place for the host than before the last command".to_owned()).into()
            );
        }
        Ok(host)
    }
}

/// Checks the jump hosts of a host, and returns what its job needs of it.
fn reach(
    destinations: &Destinations,
    host: &Destination,
    users: &mut HashSet<Arc<str>>,
) -> Result<Reached, Unprepared> {
    if let Some(Proxy::Jump(hops)) = &host.proxy {
        hops.iter().try_for_each(|hop| destinations.hop(hop).map(drop))?;
    }
    Ok(Reached::of(host, users))
}

/// Does so for all hosts of a list, on several threads if it is long. Nothing is asked meanwhile.
pub(super) fn reach_all(destinations: &Destinations, specs: &[HostSpec]) -> Result<Vec<Reached>, Unprepared> {
    let reach_some = |specs: &[HostSpec]| {
        let mut users = HashSet::new();
        destinations.map(specs, |host| reach(destinations, &host, &mut users))
    };
    if specs.len() <= FOR_ONE_THREAD {
        return reach_some(specs);
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let parts: Vec<_> = thread::scope(|scope| {
        let reach_some = |part| bounded::under(&destinations.cancel, || reach_some(part));
        let parts = specs.chunks(specs.len().div_ceil(threads));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || reach_some(part))).collect();
        parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut reached = Vec::with_capacity(specs.len());
    for part in parts {
        reached.append(&mut part?);
    }
    Ok(reached)
}
