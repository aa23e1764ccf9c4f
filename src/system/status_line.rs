//! The status line: the last line of the terminal during a run. One per process, since questions to the user
//! ([`Terminal`](super::terminal::Terminal)) use the same place from other threads.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use super::lock::lock;
use crate::system::sink;

/// Clears the line and what follows it (CR, and ED of ECMA-48). A line that became longer than a shrunk terminal may
/// continue in the next.
const CLEAR: &[u8] = b"\r\x1b[J";
/// The place of the cursor: the start. A terminal keeps that in place when it re-wraps longer lines.
const RETURN: &[u8] = b"\r";
/// The columns and rows of a terminal of unknown size, and of anything else.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// How long a cancelled question may take to end.
const PARTING: Duration = Duration::from_millis(100);

/// The state of the terminal.
struct Line {
    /// Whether there is a status line now.
    is_shown: bool,
    /// How many questions are being asked.
    held: usize,
}

static LINE: Mutex<Line> = Mutex::new(Line { is_shown: false, held: 0 });

/// Shows `text`, which is sanitized and fits into a line, instead of the previous one. The cursor must be at the start
/// of a line or after a status line. Does nothing during a question, or while another program has the terminal.
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
        // A run in the background, or behind a pager, has left it behind for good.
        if std::mem::take(&mut self.is_shown) && is_ours() {
            put(CLEAR);
        }
    }
}

/// Whether it is there.
pub(crate) fn is_shown() -> bool {
    lock(&LINE).is_shown
}

/// Hides the status line as long as it lives.
pub struct Hold(());

/// Removes the status line to ask the user something.
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

/// Waits a moment for a question to the user to end, which the end of the run ends: output meanwhile would follow it on
/// its line.
pub(crate) fn await_question() {
    let until = Instant::now() + PARTING;
    while lock(&LINE).held > 0 && Instant::now() < until {
        thread::sleep(PARTING / 20);
    }
}

/// Removes the status line before the program ends at once; skips that if it is being written just now, since that may
/// block: the user may have stopped the terminal.
pub fn leave() {
    if let Ok(mut line) = LINE.try_lock() {
        line.clear();
        // Nothing is shown again.
        line.held += 1;
    }
}

/// Returns the columns for a status line: one less than the terminal has, so that the cursor stays in it.
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

/// Whether standard error is ours alone: not a terminal on which the user works while we are in the background, nor one
/// of a pager that shows our output. Such programs read keys one by one; our line would overwrite their screen.
fn is_ours() -> bool {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        // There is no foreground process group.
        return true;
    }
    let reads_lines = || tcgetattr(&stderr).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON));
    tcgetpgrp(&stderr).is_ok_and(|group| group == getpgrp()) && reads_lines()
}

/// With standard error closed there is no output.
fn put(bytes: &[u8]) {
    let _ = sink::write_to(std::io::stderr(), bytes);
}
