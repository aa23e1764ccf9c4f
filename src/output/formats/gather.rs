//! `--format gather`: shows the same output of many hosts once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssl::sha::Sha256;
use similar::TextDiff;

use super::ci_groups::Groups;
use crate::events::event::{Class, Event, EventKind, Outcome, Stream};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::output::control_sequences::Guard;
use crate::output::multiplexer::Report;
use crate::output::store::{Store, Text};
use crate::output::style::Face;
use crate::output::writer::Output;
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::text::message::reason;
use crate::text::sanitize::sanitize;

/// The rule above and below the heading of a block, as in clush and dshbak.
const RULE: &str = "---------------";
/// The prefix of each line of standard error in a block.
const STDERR: &[u8] = b"stderr: ";
/// Bytes of the longest output to compare line by line.
const LONGEST_DIFF: u64 = 1 << 20;
/// Time limit for all comparisons. After that, differences are shown as a whole rather than line by line.
const DIFF_TIME: Duration = Duration::from_secs(10);

/// Settings for the blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Whether they are shown; otherwise they are only counted.
    pub is_shown: bool,
    /// How standard output is written.
    pub face: Face,
    /// The outputs of all groups but the first are shown as a unified diff against the first.
    pub diff: bool,
    /// Hosts that are not all in one group are a failure.
    pub expect_same: bool,
    /// Each block is a group in the log of a CI system.
    pub ci: Option<Groups>,
}

/// A block on standard output for each group of hosts with the same standard output, the same standard error and the same
/// outcome, when all have ended:
///
/// ```text
/// ---------------
/// web[01-20,22] (21): exit 0
/// ---------------
/// what they have printed on standard output
/// stderr: what they have printed on standard error, each line marked
/// ```
///
/// * A block without output has no rule below its heading: that of the next block follows.
/// * The heading has the number of hosts if it is more than one. After a failure a line `  hint: ` may follow within the
///   heading.
/// * Groups of hosts that succeeded come first, and larger ones before smaller ones; those of the same size are in the
///   order of the list of hosts.
/// * How the two streams were mixed in time differs from host to host, so standard error comes after standard output. A
///   last line without a newline gets one.
/// * Failures are the same if they differ only in the host's name, addresses and key.
/// * pssh's own lines, such as the tally, go to standard error.
pub struct Gather {
    shape: Shape,
    jobs: Arc<[Job]>,
    store: Store,
    /// The output of running jobs: stdout, stderr.
    printed: Vec<Option<Box<[Printed; 2]>>>,
    groups: Vec<Group>,
    by_content: HashMap<[u8; 32], usize>,
}

/// The output on a stream so far.
#[derive(Default)]
struct Printed {
    hash: Sha256,
    text: Text,
    /// Why part of it could not be stored.
    cut: Option<String>,
}

/// Hosts with the same output and outcome.
struct Group {
    /// Numbers of the jobs, in the order in which they ended.
    jobs: Vec<usize>,
    class: Class,
    /// The outcome, in words that apply to all of them.
    outcome: String,
    hint: Option<String>,
    printed: [Printed; 2],
}

impl Group {
    /// Whether the command printed something or ended.
    fn has_run(&self) -> bool {
        let has_ended = matches!(self.class, Class::Ok | Class::Exit | Class::Signal | Class::Check);
        has_ended || self.printed.iter().any(|printed| !printed.text.is_empty())
    }
}

/// The base of comparisons: the names of its hosts, and their output unless that is too long.
type Base = (String, Option<Vec<u8>>);

impl Gather {
    /// Creates a report on `jobs`.
    pub fn new(jobs: &Arc<[Job]>, shape: Shape) -> Gather {
        let mut printed = Vec::new();
        printed.resize_with(jobs.len(), || None);
        let (jobs, store) = (Arc::clone(jobs), Store::default());
        Gather { shape, jobs, store, printed, groups: Vec::new(), by_content: HashMap::new() }
    }

    fn output(&mut self, job: &Job, stream: Stream, bytes: &[u8]) {
        let printed = &mut self.printed[job.number].get_or_insert_default()[stream as usize];
        printed.hash.update(bytes);
        if printed.cut.is_none() && self.shape.is_shown {
            let kept = self.store.append(&mut printed.text, bytes);
            printed.cut = kept.err().map(|error| reason(&error));
        }
    }

    fn outcome(&mut self, job: &Job, outcome: &Outcome, program: Program) {
        let printed = *self.printed[job.number].take().unwrap_or_default();
        let brief = match outcome.class() {
            Class::Ok if outcome.exit_status() == Some(0) => "exit 0".to_owned(),
            _ => outcome.brief(),
        };
        let mut content = Sha256::new();
        printed.iter().for_each(|printed| content.update(&printed.hash.clone().finish()));
        content.update(brief.as_bytes());
        let full = if outcome.class() == Class::Ok { brief.clone() } else { outcome.to_string() };
        let next = self.groups.len();
        let number = *self.by_content.entry(content.finish()).or_insert(next);
        if number == next {
            let (class, hint) = (outcome.class(), outcome.hint(program));
            return self.groups.push(Group { jobs: vec![job.number], class, outcome: full, hint, printed });
        }
        let group = &mut self.groups[number];
        group.jobs.push(job.number);
        if group.outcome != full {
            group.outcome = brief;
        }
        group.hint = outcome.shared_hint(program);
        for (kept, printed) in group.printed.iter_mut().zip(printed) {
            // A complete output represents them all.
            let (better, worse) =
                if kept.cut.is_some() { (printed, std::mem::take(kept)) } else { (std::mem::take(kept), printed) };
            *kept = better;
            self.store.forget(worse.text);
        }
    }

    fn block(&mut self, group: &Group, base: Option<&Base>, until: Instant, output: &mut Output) {
        let names = self.names(group);
        let count = if group.jobs.len() > 1 { format!(" ({})", group.jobs.len()) } else { String::new() };
        let heading = format!("{names}{count}: {}", sanitize(&group.outcome));
        let mut ci = self.shape.ci.take();
        let mut opened = ci.as_mut().map(|ci| ci.begin(&heading, group.class == Class::Ok, output));
        let mut guard = Guard::new(self.shape.face.is_guarded);
        let mut put = |bytes: &[u8]| match (&ci, &mut opened) {
            (Some(ci), Some(opened)) => ci.show(opened, bytes, output.buffer(Stream::Stdout)),
            _ => output.buffer(Stream::Stdout).extend_from_slice(bytes),
        };
        let mut show = |bytes: &[u8]| guard.pass(bytes, &mut put);
        let hint = group.hint.as_deref().map(|hint| format!("  hint: {}\n", sanitize(hint))).unwrap_or_default();
        // A block without anything below its heading needs no rule there: that of the next block follows.
        let is_empty = group.printed.iter().all(|printed| printed.text.is_empty() && printed.cut.is_none());
        let has_body = !is_empty || base.is_some() && group.has_run();
        let rule = if has_body { format!("{RULE}\n") } else { String::new() };
        let line = self.shape.face.paint(group.class == Class::Ok, &heading);
        show(format!("{RULE}\n{line}\n{hint}{rule}").as_bytes());
        match base {
            // Nothing is missing from a command that never ran.
            Some(_) if !group.has_run() => {}
            Some(base) => self.difference(group, &names, base, until, &mut show),
            None => self.body(group, &mut show),
        }
        guard.finish(&mut put);
        if let (Some(ci), Some(opened)) = (&ci, &opened) {
            ci.end(opened, output);
            for job in group.jobs.iter().filter(|_| group.class != Class::Ok) {
                ci.failed(&self.jobs[*job].label, &group.outcome, output);
            }
        }
        self.shape.ci = ci;
        if let Some(problem) = group.printed.iter().find_map(|printed| printed.cut.as_deref()) {
            output.fault(format!("{names}: part of the output could not be stored: {problem}"));
        }
    }

    fn names(&self, group: &Group) -> String {
        let labels = group.jobs.iter().map(|number| self.jobs[*number].label.as_str());
        sanitize(&fold(labels)).into_owned()
    }

    /// Returns the output of a group, in whole lines.
    fn body(&self, group: &Group, show: &mut dyn FnMut(&[u8])) {
        for (place, printed) in group.printed.iter().enumerate() {
            let mark = if place == Stream::Stderr as usize { STDERR } else { b"" };
            let mut is_at_start = true;
            let read = self.store.read(&printed.text, |piece| {
                if mark.is_empty() {
                    show(piece);
                } else {
                    for line in piece.split_inclusive(|byte| *byte == b'\n') {
                        if is_at_start {
                            show(mark);
                        }
                        show(line);
                        is_at_start = line.ends_with(b"\n");
                    }
                }
                is_at_start = piece.ends_with(b"\n");
            });
            if !is_at_start {
                show(b"\n");
            }
            if let Some(problem) = read.err().map(|error| reason(&error)).or_else(|| printed.cut.clone()) {
                show(format!("... (the rest is lost: {problem})\n").as_bytes());
            }
        }
    }

    /// Returns the output of a group, unless it is too long to compare.
    fn whole_body(&self, group: &Group) -> Option<Vec<u8>> {
        let length: u64 = group.printed.iter().map(|printed| printed.text.len()).sum();
        let mut body = Vec::new();
        (length <= LONGEST_DIFF).then(|| {
            self.body(group, &mut |bytes| body.extend_from_slice(bytes));
            body
        })
    }

    /// Returns how the output of a group differs from that of the base.
    fn difference(&self, group: &Group, names: &str, base: &Base, until: Instant, show: &mut dyn FnMut(&[u8])) {
        let (base, base_body) = base;
        let (Some(base_body), Some(body)) = (base_body, self.whole_body(group)) else {
            return show(format!("(not compared with {base}: more than {} MiB)\n", LONGEST_DIFF >> 20).as_bytes());
        };
        if body == *base_body {
            return show(format!("(the same lines as {base})\n").as_bytes());
        }
        let diff = TextDiff::configure().deadline(until).diff_lines(base_body.as_slice(), body.as_slice());
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = diff.unified_diff().header(base, names).to_writer(&mut text);
        if !self.shape.face.has_colour {
            return show(&text);
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match line.first() {
                Some(sign @ (b'+' | b'-')) => {
                    let (begin, end) = self.shape.face.paints(*sign == b'+');
                    let text = line.strip_suffix(b"\n").unwrap_or(line);
                    show(&[begin.as_bytes(), text, end.as_bytes(), &line[text.len()..]].concat());
                }
                _ => show(line),
            }
        }
    }
}

impl Report for Gather {
    fn event(&mut self, job: &Job, event: &Event, output: &mut Output) {
        match &event.kind {
            EventKind::Output { stream, bytes } => self.output(job, *stream, bytes),
            EventKind::Finished { outcome, .. } => self.outcome(job, outcome, output.program),
            _ => {}
        }
    }

    fn finish(&mut self, _: &Tally, output: &mut Output) {
        let mut groups = std::mem::take(&mut self.groups);
        groups.iter_mut().for_each(|group| group.jobs.sort_unstable());
        groups.sort_by_key(|group| (group.class != Class::Ok, std::cmp::Reverse(group.jobs.len()), group.jobs[0]));
        let mut base = None;
        let (until, is_shown) = (Instant::now() + DIFF_TIME, self.shape.is_shown);
        for group in groups.iter().filter(|_| is_shown) {
            self.block(group, base.as_ref(), until, output);
            if self.shape.diff && base.is_none() {
                base = Some((self.names(group), self.whole_body(group)));
            }
        }
        if self.shape.expect_same && groups.len() > 1 {
            let (total, largest) = (self.jobs.len(), groups.iter().map(|group| group.jobs.len()).max().unwrap_or(0));
            let line = format!(
                "{}: the hosts differ: {} groups, {} of {total} hosts are not in the largest\n",
                output.program.name(),
                groups.len(),
                total - largest
            );
            output.buffer(Stream::Stderr).extend_from_slice(line.as_bytes());
            output.differ();
        }
    }
}
