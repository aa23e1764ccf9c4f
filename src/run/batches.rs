//! The batches of a rolling run: which hosts may start, and what happens between two batches.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::queue::Channels;
use crate::events::batch::{Batch, BatchNews};
use crate::events::event::{Event, EventKind};
use crate::events::tally::Tally;
use crate::hosts::nodeset::fold;
use crate::plan::job::Job;
use crate::plan::rolling::{Confirm, Rolling};
use crate::system::cancel::Reason;
use crate::system::poll::Patience;
use crate::system::terminal::{AskError, Terminal, is_in_background};
use crate::text::message::hosts;

/// Longer lists of hosts are left out of the question.
const LONGEST_NAMES: usize = 120;

/// The batches of a run.
pub(super) struct Batches {
    jobs: Arc<[Job]>,
    /// The number of the job at each place of the starting order.
    order: Vec<usize>,
    /// The places of each batch.
    places: Vec<Range<usize>>,
    /// The place of the current one, if the run is divided at all.
    current: usize,
    is_divided: bool,
    turn: Turn,
    pause: Duration,
    confirm: Option<Confirm>,
    terminal: Option<Arc<Terminal>>,
}

/// What the run does now.
enum Turn {
    /// No batch has begun.
    First,
    /// The current batch runs.
    Running,
    /// It has ended, and the output shows its last outcomes.
    Showing(Receiver<Tally>),
    /// The pause before the current batch.
    Pausing(Instant, Option<Tally>),
    /// The user may have to confirm the current batch; with the tally of the one before.
    Asking(Option<Tally>),
    /// All have ended.
    Over,
}

/// What the queue does next.
pub(super) enum Next {
    /// It admits hosts up to the end of the batch.
    Admit,
    /// It waits for the output, or the end of a pause.
    Wait,
    /// It ends all other hosts, for this reason.
    Stop(Reason),
    /// All batches have ended.
    Over,
}

/// Why a question has no answer.
enum Unanswered {
    /// The run has ended, or its time.
    Interrupted,
    /// The program is in the background of the terminal.
    Background,
    /// The terminal is gone.
    Gone,
}

/// How soon to look again whether the program is in the foreground.
const BACKGROUND_PAUSE: Duration = Duration::from_secs(1);

impl Batches {
    /// Divides the jobs that have not `ended` before the run.
    pub(super) fn new(
        jobs: &Arc<[Job]>,
        ended: &[bool],
        rolling: &Rolling,
        terminal: Option<Arc<Terminal>>,
    ) -> Batches {
        let mut order = rolling.order.of(jobs.len());
        order.retain(|job| ended.get(*job) != Some(&true));
        Batches {
            jobs: Arc::clone(jobs),
            places: rolling.batches.of(order.len()),
            order,
            current: 0,
            is_divided: !rolling.batches.is_empty(),
            turn: Turn::First,
            pause: rolling.pause,
            confirm: rolling.confirm,
            terminal,
        }
    }

    /// Returns how many jobs there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the number of the job at a place of the starting order.
    pub(super) fn job(&self, place: usize) -> usize {
        self.order[place]
    }

    /// Returns the end of the places that may be admitted.
    pub(super) fn end(&self) -> usize {
        let places = &self.places[self.current];
        if matches!(self.turn, Turn::Running) { places.end } else { places.start }
    }

    /// Returns when the pause is over, if there is one.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.turn {
            Turn::Pausing(until, _) => Some(until),
            _ => None,
        }
    }

    /// The channel that wakes when the output has shown a batch.
    pub(super) fn shown(&self) -> Option<&Receiver<Tally>> {
        match &self.turn {
            Turn::Showing(shown) => Some(shown),
            _ => None,
        }
    }

    /// Goes on to the next batch after the output has shown the current one and counted its outcomes.
    pub(super) fn take_shown(&mut self, tally: Option<Tally>, channels: &Channels<'_>) {
        if self.current + 1 == self.places.len() {
            self.turn = Turn::Over;
            return;
        }
        self.current += 1;
        let until = Instant::now().checked_add(self.pause).filter(|_| !self.pause.is_zero());
        if let Some(until) = until {
            self.tell(BatchNews::Paused { until, next: self.batch() }, channels);
        }
        self.turn = match until {
            Some(until) => Turn::Pausing(until, tally),
            None => Turn::Asking(tally),
        };
    }

    /// Goes on when no host of the current batch waits or runs. `is_stopped` says whether nothing more is started, `patience` limits a
    /// question.
    pub(super) fn advance(&mut self, is_stopped: bool, channels: &Channels<'_>, patience: Patience<'_>) -> Next {
        match &mut self.turn {
            Turn::First => self.begin(channels),
            Turn::Running if self.is_divided => {
                let (tally, shown) = bounded(1);
                self.tell(BatchNews::Ended { batch: self.batch(), tally }, channels);
                self.turn = if is_stopped { Turn::Over } else { Turn::Showing(shown) };
                if is_stopped { Next::Over } else { Next::Wait }
            }
            Turn::Running | Turn::Over => Next::Over,
            _ if is_stopped => Next::Over,
            Turn::Showing(_) => Next::Wait,
            Turn::Pausing(until, _) if Instant::now() < *until => Next::Wait,
            Turn::Pausing(_, tally) | Turn::Asking(tally) => {
                let tally = tally.take();
                match self.is_confirmed(tally.as_ref(), patience) {
                    Ok(true) => self.begin(channels),
                    Ok(false) => Next::Stop(Reason::Declined),
                    Err(Unanswered::Gone) => Next::Stop(Reason::TerminalGone),
                    Err(Unanswered::Interrupted) => {
                        self.turn = Turn::Asking(tally);
                        Next::Wait
                    }
                    Err(Unanswered::Background) => {
                        self.turn = Turn::Pausing(Instant::now() + BACKGROUND_PAUSE, tally);
                        Next::Wait
                    }
                }
            }
        }
    }

    fn begin(&mut self, channels: &Channels<'_>) -> Next {
        self.turn = Turn::Running;
        if self.is_divided {
            self.tell(BatchNews::Started { batch: self.batch() }, channels);
        }
        Next::Admit
    }

    fn batch(&self) -> Batch {
        let places = self.places[self.current].clone();
        Batch { number: self.current + 1, of: self.places.len(), jobs: self.order[places].into() }
    }

    fn tell(&self, news: BatchNews, channels: &Channels<'_>) {
        if let Some(first) = self.order.get(self.places[self.current].start) {
            let _ = channels.events.send(Event::now(*first, EventKind::Batch(news)));
        }
    }

    /// Asks the user whether to start the current batch, if it is to be confirmed. Without an answer, it is declined.
    fn is_confirmed(&mut self, ended: Option<&Tally>, patience: Patience<'_>) -> Result<bool, Unanswered> {
        let is_asked = match self.confirm {
            Some(Confirm::First) => self.current == 1,
            Some(Confirm::Each) => true,
            None => false,
        };
        let (true, Some(terminal)) = (is_asked, &self.terminal) else { return Ok(true) };
        let mut question = self.question(ended);
        loop {
            let answer = match terminal.confirm(&question, patience) {
                Ok(answer) => answer,
                Err(AskError::Cancelled | AskError::TooLate) => return Err(Unanswered::Interrupted),
                // Ctrl-D.
                Err(AskError::Nothing) => return Ok(false),
                Err(_) if is_in_background() => return Err(Unanswered::Background),
                Err(_) => return Err(Unanswered::Gone),
            };
            match answer.expose().to_ascii_lowercase().trim_ascii() {
                b"y" | b"yes" => return Ok(true),
                b"n" | b"no" => return Ok(false),
                b"a" | b"all" => {
                    self.confirm = None;
                    return Ok(true);
                }
                _ => question = "Answer y for this batch, a for all batches, or n to stop: ".to_owned(),
            }
        }
    }

    /// Returns the question about the current batch, after the one with this tally.
    fn question(&self, ended: Option<&Tally>) -> String {
        let Batch { number, of, jobs } = self.batch();
        let names = fold(jobs.iter().map(|job| self.jobs[*job].label.as_str()));
        let names = if names.len() > LONGEST_NAMES { String::new() } else { format!(": {names}") };
        let before = ended.map_or_else(String::new, |tally| format!("Batch {}: {tally}. ", number - 1));
        format!("{before}Start batch {number} of {of}, {}{names}? [y/n/a] ", hosts(jobs.len()))
    }
}
