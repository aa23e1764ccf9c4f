//! `--replay`: shows the runs in journals, and connects to nothing.

use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::{Context, anyhow};
use crossbeam_channel::{Receiver, bounded};

use super::options::Opts;
use super::start::{CLOSED_STDOUT, Ending, Fatal, Heard, STDOUT, failure, show, usage};
use super::words;
use super::{journal, notices};
use crate::events::event::{Event, EventKind, HostStage, Outcome};
use crate::hosts::{HostSpec, Origin, parse_entry};
use crate::journal::merge::{MergeError, Merged};
use crate::journal::record::Host;
use crate::output::{Beginning, Format, OutputSettings};
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::run::earlier::Recall;
use crate::ssh::was_closed_at_start;
use crate::system::clock::Clock;
use crate::text::message::reason;

/// How many events may wait for the output.
const EVENTS: usize = 128;

/// Passes on recorded events from a thread.
///
/// # Errors
/// There is no thread.
pub fn events(recall: Recall) -> Result<Receiver<Event>, Fatal> {
    let (events, received) = bounded(EVENTS);
    let thread = thread::Builder::new().name("pssh-recall".to_owned());
    let started = thread.spawn(move || recall(&mut |event| drop(events.send(event))));
    started.context("cannot start a thread").map_err(failure)?;
    Ok(received)
}

/// Shows the runs in journals.
///
/// # Errors
/// They cannot be read, or are not the whole of one run.
pub fn run(opts: &Opts, settings: &OutputSettings, heard: &Heard) -> Result<Ending, Fatal> {
    if !opts.words.is_empty() {
        return Err(usage(anyhow!("--replay takes no command: it shows what has been run")));
    }
    if !words::names_no_hosts(opts) {
        return Err(usage(anyhow!("--replay takes no hosts: it shows those in the journal")));
    }
    if was_closed_at_start(STDOUT) && settings.format != Format::None {
        return Err(failure(anyhow!(CLOSED_STDOUT)));
    }
    let merged = Merged::read(&opts.reports.journal.replay).map_err(refused)?;
    check(opts, settings, &merged)?;
    for (path, torn) in merged.torn() {
        let text =
            format!("{}:{}: the last line was not written to its end, and is left out", path.display(), torn.line);
        notices::complain(opts.program, &text);
    }
    let jobs = jobs(&merged)?;
    let (start, end) = merged.times();
    let clock = Clock::of_past(start, end);
    let broken: Arc<OnceLock<String>> = Arc::default();
    let (stashed, hosts) = (Arc::clone(&broken), jobs.len());
    let recall: Recall = Box::new(move |emit| {
        if let Err(error) = merged.recall(&clock, &mut *emit) {
            let _ = stashed.set(reason(&error));
        }
        for job in (0..hosts).filter(|index| merged.state(*index).is_none()) {
            let outcome = Outcome::Cancelled { stage: HostStage::Waiting, why: None };
            emit(Event { job, at: clock.instant(end), kind: EventKind::Finished { outcome, attempts: 0 } });
        }
    });
    let beginning = Beginning { user: None, clock, known: Arc::default(), is_output_known: true };
    let fault = || broken.get().map(|why| format!("--replay {why}"));
    show(opts, settings, &jobs, (&beginning, None), (&events(recall)?, &fault), heard)
}

fn refused(error: MergeError) -> Fatal {
    match error {
        MergeError::File(error) => journal::refused("--replay", error),
        error @ MergeError::Missing(_) => failure(anyhow!("--replay: {error}")),
        error => failure(anyhow!("--replay {error}")),
    }
}

/// Refuses what the journals do not have.
fn check(opts: &Opts, settings: &OutputSettings, merged: &Merged) -> Result<(), Fatal> {
    let program = opts.program.name();
    if let Some(run) = merged.runs().find(|run| run.of.program != program) {
        let by = Program::ALL.into_iter().map(Program::name).find(|name| *name == run.of.program);
        let hint = by.map(|by| format!(": use {by} --replay")).unwrap_or_default();
        return Err(usage(anyhow!(
            "--replay: the run of {} was by {}, not by {program}{hint}",
            run.began(),
            run.of.program
        )));
    }
    let needs = if !settings.directories.is_empty() {
        "--outdir and --errdir need"
    } else if settings.format == Format::Gather {
        "--format gather needs"
    } else if settings.expect_same {
        "--expect-same needs"
    } else {
        return Ok(());
    };
    match merged.runs().find(|run| !run.has_output) {
        Some(run) => Err(usage(anyhow!(
            "{needs} what hosts printed, but the run of {} was recorded without --journal-output",
            run.began()
        ))),
        None => Ok(()),
    }
}

/// Returns the jobs of the hosts.
fn jobs(merged: &Merged) -> Result<Arc<[Job]>, Fatal> {
    let job = |host: &Host| {
        let bad = |problem| usage(anyhow!("--replay: the host with the index {}: {problem}", host.index));
        let spec = HostSpec::new(parse_entry(&host.entry).map_err(bad)?, Origin::Text("--replay"));
        let mut spec = match &host.alias {
            Some(alias) => spec.with_alias(alias).map_err(bad)?,
            None => spec,
        };
        let number = |count: usize| u32::try_from(count).map_err(|error| bad(error.to_string()));
        spec.place.index = number(host.index)?;
        spec.place.count = number(merged.hosts.len())?;
        Ok(Job::recorded(host.index, spec, host.label.clone(), host.user.as_str().into(), host.port))
    };
    merged.hosts.iter().map(job).collect()
}
