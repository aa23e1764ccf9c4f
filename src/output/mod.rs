//! All output: one writer on the main thread, and the reports that turn events into text.

pub(crate) mod formats;
pub(crate) mod reports;

mod advice;
pub(crate) mod control_sequences;
mod hints;
pub(crate) mod multiplexer;
mod prefix;
pub(crate) mod settings;
mod store;
mod style;
mod tail;
mod transcode;
mod writer;

pub use self::formats::ci_groups::CiGroups;
pub use self::formats::ci_log::CiLog;
pub use self::formats::dry_run::commands;
pub use self::multiplexer::{Report, Summary, multiplex, sentence};
pub use self::reports::copy_total::CopySettings;
pub use self::reports::host_files::Directories;
pub use self::settings::{Endings, Format, OutputSettings};
pub use prefix::Template;
pub use style::{Style, StyleOptions, When};
pub use transcode::encoding;
pub use writer::Broken;

use std::path::PathBuf;
use std::sync::Arc;

use self::formats::ci_groups::Groups;
use self::formats::gather::{Gather, Shape};
use self::formats::inline::Inline;
use self::formats::json::Json;
use self::formats::lines::Lines;
use self::formats::outcomes::Outcomes;
use self::formats::pssh_status::StatusLines;
use self::formats::quiet::Quiet;
use self::multiplexer::Reports;
use self::prefix::Prefixes;
use self::reports::batches::Batches;
use self::reports::ci_summary::CiSummary;
use self::reports::copy_total::CopyTotal;
use self::reports::failed_to::FailedTo;
use self::reports::host_files::{DirectoryError, Files};
use self::reports::journal::Journal;
use self::reports::junit::Junit;
use self::reports::progress::Progress;
use self::reports::reasons::Reasons;
use self::reports::report_file::{FileError, ReportFile, Untouched};
use self::reports::summary::{FailureReport, NotStarted, Times};
use self::reports::without::Without;
use self::transcode::Transcoded;
use crate::events::event::Stream;
use crate::hosts::file_names;
use crate::journal::writer::Writer;
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::system::clock::Clock;

/// Why the reports cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// A directory for the files of hosts cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A report's file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The host lists of a run.
pub struct Lists<'a> {
    /// Their files.
    pub files: &'a [PathBuf],
    /// Whether some of their hosts were excluded.
    pub are_chosen: bool,
    /// The names of the hosts' files, if the run has a share of a list: no two hosts of the list have the same.
    pub file_names: Option<Vec<String>>,
}

/// How a run begins.
pub struct Beginning<'a> {
    /// The login name of hosts whose entry has none, if the user gave one.
    pub user: Option<&'a str>,
    /// The clock that began with it.
    pub clock: Clock,
    /// The jobs that have ended before, by number; empty if there are none.
    pub known: Arc<[bool]>,
    /// Whether what they printed is known.
    pub is_output_known: bool,
    /// The journals of the run, or those that are shown.
    pub journals: &'a [PathBuf],
}

/// Creates the reports that `settings` asks for, on `jobs` from `lists`. Reports that write files come last, after everything else is
/// printed.
///
/// # Errors
/// A file or directory cannot be used.
pub fn reports(
    settings: &OutputSettings,
    lists: Lists<'_>,
    jobs: &Arc<[Job]>,
    beginning: &Beginning<'_>,
) -> Result<Box<dyn Report>, ReportsError> {
    let clock = beginning.clock;
    let journals = Untouched::of(beginning.journals);
    let files =
        [("--failed-to", &settings.failed_to), ("--junit", &settings.junit), ("--ci-summary", &settings.ci_summary)];
    for (option, path) in files {
        path.iter().try_for_each(|path| journals.check(option, path))?;
    }
    let mut reports: Vec<Box<dyn Report>> = Vec::new();
    if !settings.is_quiet {
        reports.push(Box::new(self::reports::warnings::Warnings::default()));
    }
    add_format(&mut reports, settings, jobs, beginning);
    if settings.has_times {
        reports.push(Box::new(Times::new(jobs, clock.start)));
    }
    if let Some(path) = &settings.failed_to {
        let file = ReportFile::prepare("--failed-to", path)?;
        let failed_to = FailedTo::new(file, lists.files, lists.are_chosen, jobs);
        reports.push(Box::new(failed_to.map_err(|error| FileError::new("--failed-to", path, error))?));
    }
    if let Some(path) = &settings.junit {
        reports.push(Box::new(Junit::new(ReportFile::prepare("--junit", path)?, jobs, clock)));
    }
    if let Some(path) = &settings.ci_summary {
        let file = ReportFile::prepare_to_append("--ci-summary", path)?;
        reports.push(Box::new(CiSummary::new(file, jobs, clock)));
    }
    if let Some(encoding) = settings.encoding {
        reports = vec![Box::new(Transcoded::new(Reports(reports), encoding, jobs.len()))];
    }
    // Files get the bytes unchanged.
    if !settings.directories.is_empty() {
        let of_run = || file_names::of_hosts(jobs.iter().map(|job| &job.spec), beginning.user);
        let names = lists.file_names.unwrap_or_else(of_run);
        for (option, directory) in ["--outdir", "--errdir"].into_iter().zip(&settings.directories.of) {
            let Some(directory) = directory.as_ref().filter(|_| !beginning.journals.is_empty()) else { continue };
            names.iter().try_for_each(|name| journals.check(option, &directory.join(name)))?;
        }
        let files = Box::new(Files::new(settings.directories.clone(), names)?);
        // What is appended is there already.
        let is_rewritten = beginning.is_output_known && !settings.directories.append;
        reports.push(beginning.without_known(files, is_rewritten));
    }
    if settings.style.has_progress {
        reports.push(Box::new(Progress::new(jobs.len())));
    }
    Ok(Box::new(Reports(reports)))
}

/// Records in a journal what `report` shows, and before that: how jobs end that are not `known`, and with `has_output` what they print.
pub fn recorded(
    report: Box<dyn Report>,
    writer: Writer,
    (jobs, known): (usize, Arc<[bool]>),
    has_output: bool,
    clock: Clock,
) -> Box<dyn Report> {
    Box::new(Reports(vec![Box::new(Journal::new(writer, jobs, known, has_output, clock)), report]))
}

impl Beginning<'_> {
    /// Returns a report of output, without the hosts that ended before the run unless `is_known` says that their output is known.
    fn without_known(&self, report: Box<dyn Report>, is_known: bool) -> Box<dyn Report> {
        if is_known || self.known.is_empty() {
            return report;
        }
        Box::new(Without { report, jobs: Arc::clone(&self.known) })
    }
}

/// Adds the reports that make up the format.
fn add_format(
    reports: &mut Vec<Box<dyn Report>>,
    settings: &OutputSettings,
    jobs: &Arc<[Job]>,
    beginning: &Beginning<'_>,
) {
    let (user, clock) = (beginning.user, beginning.clock);
    let style = &settings.style;
    let variable = |name: &str| std::env::var_os(name).is_some_and(|value| value == "true");
    let groups = settings.ci.and_then(|system| Groups::new(system, variable));
    let lines = match settings.endings {
        Endings::Failures => StatusLines::without_lines(jobs.len(), style),
        Endings::Headers | Endings::Own => StatusLines::new(user, style),
    };
    let tells_failures = matches!(settings.format, Format::Lines | Format::Inline | Format::Status | Format::Gather);
    if tells_failures && !settings.is_quiet {
        reports.push(Box::new(Batches::new(jobs)));
    }
    // Other formats show each host, whatever its outcome.
    let folds = match settings.format {
        Format::Lines => settings.endings != Endings::Headers,
        Format::Inline => settings.endings == Endings::Failures,
        Format::None => settings.is_quiet,
        Format::Status | Format::Json | Format::Gather => false,
    };
    if folds {
        reports.push(Box::new(NotStarted::new(jobs.len(), style.of(Stream::Stderr))));
    }
    match settings.format {
        Format::Lines => {
            let prefixes = Prefixes::new(&settings.prefix, settings.is_aligned, jobs, style);
            reports.push(Box::new(Lines::new(jobs.len(), prefixes, *style)));
            if settings.endings == Endings::Own {
                reports.push(Box::new(Outcomes::new(jobs.len(), style)));
            } else {
                reports
                    .extend([Box::new(lines) as Box<dyn Report>, Box::new(Outcomes::without_lines(jobs.len(), style))]);
            }
        }
        Format::Inline => {
            let inline = Inline::new(settings.has_stderr, settings.is_sorted, lines, style);
            reports.push(Box::new(inline.in_groups(groups)));
            reports.push(Box::new(Outcomes::without_lines(jobs.len(), style)));
        }
        Format::Status => {
            reports.extend([Box::new(lines) as Box<dyn Report>, Box::new(Outcomes::without_lines(jobs.len(), style))]);
            if settings.program == Program::Prsync {
                reports.push(Box::new(Reasons::new(jobs.len())));
            }
        }
        Format::Json => reports.push(Box::new(Json::new(jobs, settings.order, clock))),
        Format::None if settings.is_quiet => reports.push(Box::new(Quiet::new(jobs.len(), style))),
        Format::Gather | Format::None => {}
    }
    if settings.format == Format::Gather || settings.expect_same {
        let shape = Shape {
            is_shown: settings.format == Format::Gather,
            face: style.of(Stream::Stdout),
            diff: settings.diff,
            expect_same: settings.expect_same,
            ci: groups,
        };
        let gather = Box::new(Gather::new(jobs, shape));
        reports.push(beginning.without_known(gather, beginning.is_output_known));
    }
    if settings.format == Format::Gather {
        reports.push(Box::new(Outcomes::without_lines(jobs.len(), style)));
    }
    if tells_failures || settings.format == Format::None && settings.is_quiet {
        reports.push(Box::new(FailureReport::new(jobs, folds)));
    }
    if let Some(copies) = settings.copies.filter(|_| tells_failures) {
        let hosts = jobs.len() - beginning.known.iter().filter(|known| **known).count();
        let total = CopyTotal::new(copies, (jobs.len(), hosts), style.of(Stream::Stderr).is_terminal);
        reports.push(beginning.without_known(Box::new(total), false));
    }
}
