//! The last lines of failed hosts, for reports at the end of the run.

use std::io;

use crate::events::event::{Class, Event, EventKind, Outcome};
use crate::output::formats::quiet::SHOWN_LINES;
use crate::output::store::{Store, Text};
use crate::output::tail::Tail;
use crate::plan::job::Job;

/// The last [`SHOWN_LINES`] of each host, kept after its end if it failed.
pub struct LastLines {
    tails: Vec<Tail>,
    kept: Vec<Text>,
    store: Store,
}

impl LastLines {
    /// Creates an empty store for `jobs` jobs.
    pub fn new(jobs: usize) -> LastLines {
        let (mut tails, mut kept) = (Vec::new(), Vec::new());
        tails.resize_with(jobs, Tail::default);
        kept.resize_with(jobs, Text::default);
        LastLines { tails, kept, store: Store::default() }
    }

    /// Adds output of a host.
    pub fn event(&mut self, job: &Job, event: &Event) {
        if let EventKind::Output { stream, bytes } = &event.kind {
            self.tails[job.number].add(*stream, bytes, SHOWN_LINES);
        }
    }

    /// Keeps the lines of a host that has ended with `outcome`.
    ///
    /// # Errors
    /// They cannot be stored.
    pub fn end(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()> {
        let (lines, dropped) = std::mem::take(&mut self.tails[job.number]).finish(SHOWN_LINES);
        if outcome.class() == Class::Ok {
            return Ok(());
        }
        let mut text = if dropped > 0 { format!("... ({dropped} lines before)\n").into_bytes() } else { Vec::new() };
        for (_, line) in lines {
            text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(&line));
            text.push(b'\n');
        }
        self.store.append(&mut self.kept[job.number], &text)
    }

    /// Returns the lines of a host that ended; empty if it printed nothing.
    ///
    /// # Errors
    /// They cannot be read back.
    pub fn of(&self, job: &Job) -> io::Result<String> {
        let mut text = Vec::new();
        self.store.read(&self.kept[job.number], |piece| text.extend_from_slice(piece))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
