//! A run from the parsed command line to the exit status. Reads as the table of contents of the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::error::ErrorKind;

use crate::cancel::{Cancel, Reason};
use crate::cli::Opts;
use crate::error::reason;
use crate::hosts::{self, HostSpec, HostsError};
use crate::jobs::{self, Job};
use crate::limits::{self, Need};
use crate::output::{self, Broken, Lines};
use crate::pool::Plan;
use crate::request::{self, Terms};
use crate::script::Script;
use crate::settings::{Environment, Settings};
use crate::ssh::{Runner, Unprepared};
use crate::{exit, pool, signals};

/// How the program is to end.
#[derive(Debug)]
pub enum Ending {
    /// With this exit status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

/// Why a run could not be made, or not be brought to its end; with the exit status for it.
#[derive(Debug)]
pub struct Fatal {
    /// The exit status: usage or our own failure.
    pub status: u8,
    /// What to tell the user.
    pub error: anyhow::Error,
}

/// The input is wrong; nothing was connected to.
fn usage(error: impl Into<anyhow::Error>) -> Fatal {
    Fatal { status: exit::USAGE, error: error.into() }
}

/// Our side failed.
fn failure(error: impl Into<anyhow::Error>) -> Fatal {
    Fatal { status: exit::FAILURE, error: error.into() }
}

/// Runs what the command line asks for.
///
/// # Errors
/// Whatever is wrong before the first connection, or with our own output after it.
pub fn run(opts: &Opts) -> Result<Ending, Fatal> {
    let mut settings =
        Settings::resolve(opts, &Environment::of_process()).map_err(|problem| usage(anyhow!(problem)))?;
    if opts.command.is_empty() && opts.script.is_none() && !opts.explain {
        return Err(usage(anyhow!("there is no command to run (--help shows how)")));
    }
    if settings.send_input && opts.hosts.iter().any(|path| path == Path::new("-")) {
        return Err(usage(anyhow!("-h - and -I both read standard input")));
    }
    let script = script(opts)?;
    let command = jobs::command(&opts.command).map_err(usage)?;
    let mut jobs = jobs::make(hosts(opts)?, &command);
    let script = script.as_ref().map(|script| (script, &opts.command[..]));
    let terms = Terms { sudo: settings.sudo.as_ref(), input_taken: settings.send_input };
    request::complete(&mut jobs, script, terms).map_err(usage)?;

    let cancel = Cancel::new().context("cannot make a pipe").map_err(failure)?;
    signals::install(&cancel).context("cannot handle signals").map_err(failure)?;
    let pool_size = settings.pool_size.min(jobs.len());
    settings.pool_size = pool_size;
    let (verbose, retry, connections) = (settings.verbose, settings.retry, settings.proxy_connections);
    let (total_limit, stop_on_errors) = (settings.total_timeout, settings.stop_on_errors);
    let runner = match (Runner::new(settings, &mut jobs, &cancel), cancel.reason()) {
        // Ctrl-C at a question.
        (Err(_), Some(Reason::Signal(signal))) => return Ok(Ending::Signal(signal)),
        (Err(error @ (Unprepared::System(_) | Unprepared::Input(_))), _) => return Err(failure(error)),
        (runner, _) => Arc::new(runner.map_err(usage)?),
    };
    if opts.explain {
        return explain(&runner, &jobs);
    }
    let need = Need::of(jobs.iter().map(|job| job.proxy.as_ref()), connections);
    let stop_after = stop_on_errors.map(|tolerance| tolerance.hosts(jobs.len()));
    let plan = Plan {
        size: make_room(pool_size, need)?,
        lookup_limit: runner.longest_connect(),
        retry,
        total_limit,
        stop_after,
    };
    let jobs: Arc<[Job]> = jobs.into();
    if verbose {
        runner.notes().iter().for_each(|note| output::complain(note));
    }

    let (stop, worker) = (cancel.clone(), Arc::clone(&runner));
    let work = move |job: &Job, task: &_, events: &_| worker.run(job, task, events, &stop);
    let events =
        pool::start(Arc::clone(&jobs), plan, &cancel, work).context("cannot start the threads").map_err(failure)?;
    let mut report = Lines::new(jobs.len(), verbose);
    let summary = output::multiplex(&jobs, &events, &mut report, &cancel);
    runner.close();

    match (summary.broken, cancel.reason()) {
        (Some(Broken::Failed(error)), _) => {
            Err(failure(anyhow!("cannot write to standard output: {}", reason(&error))))
        }
        // As any filter of a pipeline whose reader has seen enough.
        (Some(Broken::Closed), _) => Ok(Ending::Signal(signal_hook::consts::SIGPIPE)),
        (None, Some(Reason::Signal(signal))) => Ok(Ending::Signal(signal)),
        (None, _) => Ok(Ending::Status(exit::of_tally(&summary.tally))),
    }
}

/// Prints where every setting of every host comes from: a block per host, `keyword value`, a tab, and the origin.
fn explain(runner: &Runner, jobs: &[Job]) -> Result<Ending, Fatal> {
    let mut text = String::new();
    for job in jobs {
        let lines = runner.explain(job).map_err(usage)?;
        for (keyword, value, origin) in lines {
            let line = format!("{keyword} {value}\t# {origin}");
            text.push_str(&output::sanitize_line(&line));
        }
        text.push('\n');
    }
    match output::raw_stdout(&text) {
        Ok(()) => Ok(Ending::Status(exit::OK)),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(Ending::Signal(signal_hook::consts::SIGPIPE))
        }
        Err(error) => Err(failure(anyhow!("cannot write to standard output: {}", reason(&error)))),
    }
}

/// How many hosts can run at once, at most `pool_size`; tells the user if that is less.
fn make_room(pool_size: usize, need: Need) -> Result<usize, Fatal> {
    let room = limits::make_room(pool_size, need);
    let Some(files) = room.too_low else { return Ok(room.hosts) };
    if room.hosts == 0 {
        return Err(failure(anyhow!("only {files} files may be open, too few for a single host (ulimit -n)")));
    }
    output::complain(&format!(
        "only {files} files may be open (ulimit -Hn), which is enough for {} hosts at once, not {pool_size}",
        room.hosts
    ));
    Ok(room.hosts)
}

/// The script of the run, if there is one, or what is wrong with it.
fn script(opts: &Opts) -> Result<Option<Script>, Fatal> {
    let Some(path) = &opts.script else { return Ok(None) };
    let is_input = |path: &PathBuf| path == Path::new("-");
    if is_input(path) && opts.send_input {
        return Err(usage(anyhow!("--script - and -I both read standard input")));
    }
    if is_input(path) && opts.hosts.iter().any(is_input) {
        return Err(usage(anyhow!("--script - and -h - both read standard input")));
    }
    let script = Script::read(path);
    script.map(Some).map_err(|error| if error.is_unread() { failure(error) } else { usage(error) })
}

/// The hosts of the run, or what is wrong with them.
fn hosts(opts: &Opts) -> Result<Vec<HostSpec>, Fatal> {
    let hosts = hosts::gather(&opts.hosts, &opts.host).map_err(|error| match error {
        HostsError::Read { .. } => failure(error),
        HostsError::Bad(_) => usage(error),
    })?;
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    if !opts.hosts.is_empty() || !opts.host.is_empty() {
        return Err(usage(anyhow!("the list of hosts is empty")));
    }
    let first = opts.command.first().and_then(|word| word.to_str()).unwrap_or_default();
    let problem = if first.contains('@') && opts.command.len() > 1 {
        anyhow!("there are no hosts; did you mean: pssh -H {first} ...?")
    } else {
        anyhow!("there are no hosts: name them with -H 'HOST HOST' or -h FILE")
    };
    Err(usage(problem))
}

/// Whether a refused command line was only a question, such as `--help`.
pub fn is_question(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}
