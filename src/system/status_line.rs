//! The status line: the last line of the terminal while a run goes on. One for the process, since questions to the user
//! ([`Terminal`](super::terminal::Terminal)) need the same place and are asked by other threads.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use super::lock::lock;
use crate::system::sink;

/// Clears the line and what follows it (CR, and ED of ECMA-48). A line that has become longer than the terminal, whose window has
/// shrunk, may go on in the next.
const CLEAR: &[u8] = b"\r\x1b[J";
/// Where the cursor stays: at the beginning. It is what a terminal keeps in its place when it breaks longer lines anew.
const RETURN: &[u8] = b"\r";
/// The columns and rows of a terminal that does not know, and of what is none.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// How long a question may take to end that is not wanted any more.
const PARTING: Duration = Duration::from_millis(100);

/// What the terminal shows.
struct Line {
    /// Whether there is a status line now.
    is_shown: bool,
    /// How many questions are asked just now.
    held: usize,
}

static LINE: Mutex<Line> = Mutex::new(Line { is_shown: false, held: 0 });

/// Shows `text`, which is harmless and fits into a line, in place of what was shown. The cursor must be at the beginning of a line
/// or behind a status line. Not while somebody is asked, nor while another program has the terminal.
pub(crate) fn show(text: &str) {
    let mut line = lock(&LINE);
    if line.held > 0 || !is_ours() {
        return;
    }
    let start = if line.is_shown { CLEAR } else { b"" };
    put(&[start, text.as_bytes(), RETURN].concat());
    line.is_shown = true;
}

/// Makes room for output.
pub(crate) fn clear() {
    lock(&LINE).clear();
}

impl Line {
    fn clear(&mut self) {
        // A run that was sent to the background, or has a pager in front of it, has left it behind for good.
        if std::mem::take(&mut self.is_shown) && is_ours() {
            put(CLEAR);
        }
    }
}

/// Whether it is there.
pub(crate) fn is_shown() -> bool {
    lock(&LINE).is_shown
}

/// Keeps the status line away as long as it lives.
pub struct Hold(());

/// Takes the status line away, to ask the user something.
pub fn hold() -> Hold {
    let mut line = lock(&LINE);
    line.held += 1;
    line.clear();
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&LINE).held -= 1;
    }
}

/// Waits a moment for a question to the user to end, which the run's end ends: what is said meanwhile would stand behind it.
pub(crate) fn await_question() {
    let until = Instant::now() + PARTING;
    while lock(&LINE).held > 0 && Instant::now() < until {
        thread::sleep(PARTING / 20);
    }
}

/// Takes the status line away before the program ends at once; does without where it is being written just now, since that may
/// never end: the user may have stopped the terminal.
pub fn leave() {
    if let Ok(mut line) = LINE.try_lock() {
        line.clear();
        // Nothing is shown again.
        line.held += 1;
    }
}

/// How many columns a status line may have: one less than the terminal has, so that the cursor stays in it.
pub(crate) fn width() -> u16 {
    size().map(|size| size.ws_col).filter(|columns| *columns > 1).unwrap_or(COLUMNS) - 1
}

/// The columns and rows of the terminal.
pub(crate) fn screen() -> (usize, usize) {
    let known = size().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or((COLUMNS.into(), ROWS.into()), |size| (size.ws_col.into(), size.ws_row.into()))
}

fn size() -> Option<rustix::termios::Winsize> {
    let stderr = std::io::stderr();
    if stderr.is_terminal() { rustix::termios::tcgetwinsize(&stderr).ok() } else { None }
}

/// Whether standard error is ours alone: not a terminal whose user has us in the background and types something else there, nor one
/// that a pager has which shows our output. Such programs read keys one by one; what we draw would overwrite their screen.
fn is_ours() -> bool {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        // It has no foreground.
        return true;
    }
    let reads_lines = || tcgetattr(&stderr).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON));
    tcgetpgrp(&stderr).is_ok_and(|group| group == getpgrp()) && reads_lines()
}

/// With standard error closed there is nobody to tell.
fn put(bytes: &[u8]) {
    let _ = sink::write_to(std::io::stderr(), bytes);
}
