//! `--failed-to`: the hosts that have failed, as a hosts file.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report_file::ReportFile;
use crate::events::event::{Class, Event, EventKind, Stream, Tally};
use crate::hosts::{self, Origin};
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::files::bounded;
use crate::text::sanitize::sanitize;

/// The hosts that failed as a hosts file, each as it was given, in the order of the list.
///
/// Written over a hosts file of the run, it keeps that file's comments and blank lines, and the lines of hosts that had no part in the run.
pub struct FailedTo {
    file: ReportFile,
    jobs: Arc<[Job]>,
    failed: Vec<bool>,
    own: Option<Own>,
}

/// The hosts file that is written over.
struct Own {
    /// Its names on the command line.
    names: Vec<PathBuf>,
    text: Vec<u8>,
}

impl Own {
    /// The file at `path`, if it is one of `lists`.
    fn find(path: &Path, lists: &[PathBuf]) -> io::Result<Option<Own>> {
        let about = |path: &Path| {
            let found = if path == Path::new("-") { fs::metadata("/dev/stdin") } else { fs::metadata(path) };
            found.ok().filter(fs::Metadata::is_file).map(|about| (about.dev(), about.ino()))
        };
        let Some(identity) = about(path) else { return Ok(None) };
        let names: Vec<PathBuf> = lists.iter().filter(|list| about(list) == Some(identity)).cloned().collect();
        if names.is_empty() {
            return Ok(None);
        }
        Ok(Some(Own { names, text: bounded::read(path, bounded::LIST)? }))
    }

    /// Whether a line of it stands for several hosts.
    fn has_many_in_a_line(&self) -> bool {
        hosts::lines(&self.text).any(|(line, _)| {
            let entry = line.trim_ascii().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            let is_address = entry.starts_with(b"[") && entry.contains(&b':');
            entry.starts_with(b"@") || !entry.starts_with(b"#") && entry.contains(&b'[') && !is_address
        })
    }

    /// The line of the file that a host is from.
    fn line_of(&self, origin: &Origin) -> Option<usize> {
        match origin {
            Origin::File { file, line, .. } if self.names.iter().any(|name| **name == **file) => Some(*line),
            _ => None,
        }
    }
}

impl FailedTo {
    /// A report on `jobs`, whose hosts files are `lists`; `is_chosen` if only some of the hosts in these are run on.
    ///
    /// # Errors
    /// The hosts file that is to be written over cannot be read, or hosts would be lost that are not run on.
    pub fn new(file: ReportFile, lists: &[PathBuf], is_chosen: bool, jobs: &Arc<[Job]>) -> io::Result<FailedTo> {
        let own = Own::find(file.path(), lists)?;
        if is_chosen && own.as_ref().is_some_and(Own::has_many_in_a_line) {
            return Err(io::Error::other(
                "it is a hosts file of this run with groups or ranges, and the hosts of these that --only, --exclude and \
                 --host-glob leave out would be lost: name another file",
            ));
        }
        // A host of which nothing was heard has not done it.
        Ok(FailedTo { file, jobs: Arc::clone(jobs), failed: vec![true; jobs.len()], own })
    }

    /// The new text of the file, and whether it has any host.
    fn text(&self) -> (Vec<u8>, bool) {
        let (mut text, mut has_hosts) = (Vec::new(), false);
        let mut put = |text: &mut Vec<u8>, line: &[u8], is_host: bool| {
            text.extend_from_slice(line);
            has_hosts |= is_host;
        };
        let mut of_line: HashMap<usize, Vec<&Job>> = HashMap::new();
        let mut others: Vec<&Job> = Vec::new();
        for job in self.jobs.iter() {
            match self.own.as_ref().and_then(|own| own.line_of(&job.spec.origin)) {
                Some(line) => of_line.entry(line).or_default().push(job),
                None => others.push(job),
            }
        }
        let line_of = |job: &Job| (job.spec.line() + "\n").into_bytes();
        let has_failed = |job: &&Job| self.failed[job.number];
        if let Some(own) = &self.own {
            // Counted as they were when the hosts were read.
            for (number, (line, end)) in (1..).zip(hosts::lines(&own.text)) {
                if line.is_empty() && end.is_empty() {
                    break;
                }
                let whole = [line, if end.is_empty() { b"\n" } else { end }].concat();
                match (of_line.get(&number), line.trim_ascii().first()) {
                    (None, None | Some(b'#')) => put(&mut text, &whole, false),
                    // The hosts of a group are told one by one below.
                    (None, Some(b'@')) => {}
                    // It had no part in the run, by --only and the like.
                    (None, Some(_)) => put(&mut text, &whole, true),
                    (Some(jobs), _) if jobs.iter().all(has_failed) => put(&mut text, &whole, true),
                    (Some(jobs), _) => {
                        let failed = jobs.iter().filter(|job| has_failed(job));
                        failed.for_each(|job| put(&mut text, &line_of(job), true));
                    }
                }
            }
        }
        others.iter().filter(|job| has_failed(job)).for_each(|job| put(&mut text, &line_of(job), true));
        (text, has_hosts)
    }
}

impl Report for FailedTo {
    fn event(&mut self, job: &Job, event: &Event, _: &mut Output) {
        if let EventKind::Finished { outcome, .. } = &event.kind {
            self.failed[job.number] = outcome.class() != Class::Ok;
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        let (text, has_hosts) = self.text();
        self.file.write(&text, output);
        if self.own.is_some() && !has_hosts {
            let path = self.file.path().display().to_string();
            let told = format!("--failed-to {path}: no host has failed: the list has no hosts any more");
            // Writing to memory never fails.
            let name = output.program.name();
            let _ = writeln!(output.buffer(Stream::Stderr), "{name}: {}", sanitize(&told));
        }
    }
}
