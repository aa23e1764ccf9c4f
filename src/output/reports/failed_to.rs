//! `--failed-to`: the hosts that have failed, as a hosts file.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report_file::ReportFile;
use crate::events::event::{Class, Event, EventKind, Stream};
use crate::events::tally::Tally;
use crate::hosts::{self, Origin};
use crate::output::multiplexer::Report;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::system::files::bounded;
use crate::text::message::reason;
use crate::text::sanitize::sanitize;

/// The hosts that failed as a hosts file, each as it was given, in the order of the list.
///
/// If it replaces a hosts file of the run, it keeps that file's comments and blank lines, and the lines of hosts outside the run:
/// also lines added to it meanwhile.
pub struct FailedTo {
    file: ReportFile,
    jobs: Arc<[Job]>,
    failed: Vec<bool>,
    own: Option<Own>,
}

/// The hosts file that is replaced.
struct Own {
    /// Its names on the command line.
    names: Vec<PathBuf>,
    text: Vec<u8>,
}

impl Own {
    /// Returns the file at `path` if it is one of `lists`.
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

    /// Whether one of its lines names several hosts.
    fn has_many_in_a_line(&self) -> bool {
        hosts::lines(&self.text).any(|(line, _)| {
            let entry = line.trim_ascii().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
            let is_address = entry.starts_with(b"[") && entry.contains(&b':');
            entry.starts_with(b"@") || !entry.starts_with(b"#") && entry.contains(&b'[') && !is_address
        })
    }

    /// Returns the file's text now, or its old text if it is gone.
    fn text_now(&self, path: &Path) -> io::Result<Vec<u8>> {
        match fs::metadata(path) {
            Ok(about) if about.is_file() => bounded::read(path, bounded::LIST),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(self.text.clone()),
        }
    }

    /// Returns the numbers that lines of `now` had when the hosts were read, matched by text, since the file may have been edited.
    fn numbers<'a>(&self, now: &'a [u8]) -> Vec<(Option<usize>, &'a [u8], &'a [u8])> {
        let mut before: HashMap<&[u8], VecDeque<usize>> = HashMap::new();
        for (number, (line, _)) in (1..).zip(hosts::lines(&self.text)) {
            before.entry(line).or_default().push_back(number);
        }
        let mut number = |line| before.get_mut(line).and_then(VecDeque::pop_front);
        let lines = hosts::lines(now).take_while(|(line, end)| !line.is_empty() || !end.is_empty());
        lines.map(|(line, end)| (number(line), line, end)).collect()
    }

    /// Returns the line of the file that a host is from.
    fn line_of(&self, origin: &Origin) -> Option<usize> {
        match origin {
            Origin::File { file, line, .. } if self.names.iter().any(|name| **name == **file) => Some(*line),
            _ => None,
        }
    }
}

impl FailedTo {
    /// Creates a report on `jobs` from the hosts files `lists`; `is_chosen` if the run has only some of their hosts.
    ///
    /// # Errors
    /// The hosts file to replace cannot be read, or hosts outside the run would be lost.
    pub fn new(file: ReportFile, lists: &[PathBuf], is_chosen: bool, jobs: &Arc<[Job]>) -> io::Result<FailedTo> {
        let own = Own::find(file.path(), lists)?;
        if is_chosen && own.as_ref().is_some_and(Own::has_many_in_a_line) {
            return Err(io::Error::other(
                "this hosts file of the run has groups or ranges; rewriting it would lose the hosts that --only, \
                 --exclude, --host-glob and --shard leave out: name another file",
            ));
        }
        // A host without an outcome counts as failed.
        Ok(FailedTo { file, jobs: Arc::clone(jobs), failed: vec![true; jobs.len()], own })
    }

    /// Returns the new text of the file, and whether it has any host. `now` is the text of the hosts file to replace.
    fn text(&self, now: &[u8]) -> (Vec<u8>, bool) {
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
        // The origin of each host: a host in several lists appears once, a host twice in one list appears twice.
        let mut told: HashMap<String, Option<Arc<Path>>> = HashMap::new();
        let mut is_first = |job: &Job| {
            let source = match &job.spec.origin {
                Origin::File { file, .. } => Some(Arc::clone(file)),
                Origin::Text(_) | Origin::List { .. } | Origin::Output { .. } => None,
            };
            *told.entry(job.spec.line()).or_insert_with(|| source.clone()) == source
        };
        if let Some(own) = &self.own {
            for (number, line, end) in own.numbers(now) {
                let whole = [line, if end.is_empty() { b"\n" } else { end }].concat();
                let jobs = number.and_then(|number| of_line.get(&number));
                for job in jobs.into_iter().flatten().filter(|job| has_failed(job)) {
                    is_first(job);
                }
                match (jobs, line.trim_ascii().first()) {
                    (None, None | Some(b'#')) => put(&mut text, &whole, false),
                    // The hosts of a group are listed one by one below.
                    (None, Some(b'@')) if number.is_some() => {}
                    // Excluded from the run, for example by --only.
                    (None, Some(_)) => put(&mut text, &whole, true),
                    (Some(jobs), _) if jobs.iter().all(has_failed) => put(&mut text, &whole, true),
                    (Some(jobs), _) => {
                        let failed = jobs.iter().filter(|job| has_failed(job));
                        failed.for_each(|job| put(&mut text, &line_of(job), true));
                    }
                }
            }
        }
        let others = others.iter().filter(|job| has_failed(job) && is_first(job));
        others.for_each(|job| put(&mut text, &line_of(job), true));
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
        let now = match self.own.as_ref().map(|own| own.text_now(self.file.path())).transpose() {
            Ok(now) => now.unwrap_or_default(),
            Err(error) => {
                // Keep lines added meanwhile.
                let path = self.file.path().display();
                return output.fault(format!("--failed-to {path}: cannot read it again: {}", reason(&error)));
            }
        };
        let (text, has_hosts) = self.text(&now);
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
