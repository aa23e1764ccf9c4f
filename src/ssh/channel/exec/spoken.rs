//! The dialogue with a program.

use std::time::{Duration, Instant};

use crate::events::event::{Progress, Stream};
use crate::ssh::channel::dialogue::Dialogue;
use crate::ssh::watch::Watch;
use crate::system::redact::Filter;

/// How long a program may go on once its dialogue is done.
pub(super) const AFTER_DONE: Duration = Duration::from_secs(3);
/// Bytes that a program may still send after its dialogue is over; a hostile one would never stop.
const LAST_WORDS: usize = 1 << 20;
/// The interval of progress reports.
const PROGRESS: Duration = Duration::from_millis(250);

/// A dialogue with a program, whose output does not go to the user.
pub(super) struct Spoken<'a> {
    pub(super) dialogue: &'a mut dyn Dialogue,
    /// The deadline for the program's first answer, and the time it had.
    pub(super) answer_by: Instant,
    pub(super) answer_within: Duration,
    /// The program's standard error, without passwords.
    complaints: Filter,
    /// Bytes received after it was over.
    last_words: usize,
    /// The last progress report.
    told_progress: Instant,
    /// Since when it is over.
    pub(super) done: Option<Instant>,
}

impl<'a> Spoken<'a> {
    /// Starts one; the program has the rest of the time of `watch` to answer.
    pub(super) fn new(dialogue: &'a mut dyn Dialogue, watch: &Watch<'_>) -> Spoken<'a> {
        Spoken {
            dialogue,
            answer_by: watch.deadline(),
            answer_within: watch.limit(),
            complaints: Filter::default(),
            last_words: 0,
            told_progress: Instant::now(),
            done: None,
        }
    }

    /// Takes output of the program; returns what the user sees of it, as standard error.
    pub(super) fn hear(&mut self, stream: Stream, bytes: Vec<u8>) -> Vec<u8> {
        match stream {
            _ if bytes.is_empty() => bytes,
            Stream::Stdout => {
                self.dialogue.hear(&bytes);
                Vec::new()
            }
            Stream::Stderr => {
                let bytes = self.complaints.pass(bytes);
                self.overhear(bytes)
            }
        }
    }

    /// Returns the held-back standard error.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let bytes = self.complaints.rest();
        self.overhear(bytes)
    }

    fn overhear(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if !bytes.is_empty() {
            self.dialogue.overhear(&bytes);
        }
        bytes
    }

    /// Counts bytes that the program sends after the dialogue is over; returns whether they are still few enough.
    pub(super) fn may_say(&mut self, count: usize) -> bool {
        self.last_words += count;
        self.last_words <= LAST_WORDS
    }

    /// Returns the progress, at intervals.
    pub(super) fn progress(&mut self) -> Option<Progress> {
        if self.told_progress.elapsed() < PROGRESS {
            return None;
        }
        let progress = self.dialogue.progress()?;
        self.told_progress = Instant::now();
        Some(progress)
    }
}
