//! Runs a program on a terminal, and keeps its screen.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Parser, Screen};

/// Columns of the terminal: the picture of as many fits into the page of a README as it is, and a long status line into them.
const COLUMNS: u16 = 88;
/// Rows of it: more than any run fills.
const ROWS: u16 = 50;
/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How often the screen is checked.
const TICK: Duration = Duration::from_millis(5);
/// How often a frame is kept.
const FRAME: Duration = Duration::from_millis(100);

/// The result of a run.
pub(crate) struct Shown {
    /// The screen at its end, or at the moment that was waited for.
    pub(crate) screen: Screen,
    /// What the screen showed and from when on, counted from the start of the program.
    pub(crate) frames: Vec<(Duration, Screen)>,
    pub(crate) status: ExitStatus,
}

/// Ends a program that is still running when it is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It fails only if the program has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` on a new terminal that shows `before` already. The screen is kept as it is when it first has `moment` on it, or at
/// the end.
pub(crate) fn run(command: &Command, before: &str, moment: Option<&str>, stop: &AtomicBool) -> Result<Shown> {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("cannot open a pty")?;
    grantpt(&screen).and_then(|()| unlockpt(&screen)).context("cannot unlock the pty")?;
    let name = ptsname(&screen, Vec::new()).context("cannot tell the name of the pty")?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let line = rustix::fs::open(&name, flags, Mode::empty()).with_context(|| format!("cannot open {name:?}"))?;
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&line, size).context("cannot set the size of the pty")?;

    let size = |count| NonZero::new(count).context("a terminal has a size");
    let mut parser = Parser::new(size(ROWS)?, size(COLUMNS)?, 1);
    parser.process(before.as_bytes());
    let parser = Arc::new(Mutex::new(parser));
    let mut child = start(command, line)?;
    let reader = thread::spawn({
        let (mut screen, parser) = (File::from(screen), Arc::clone(&parser));
        move || {
            let mut buffer = [0; 4096];
            // Ends, or fails, once the other side is closed.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                parser.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..count]);
            }
        }
    });
    let now = || parser.lock().unwrap_or_else(PoisonError::into_inner).screen().clone();

    let begin = Instant::now();
    let deadline = begin + LIMIT;
    let mut kept = None;
    let mut frames = vec![(Duration::ZERO, now())];
    let status = loop {
        let status = child.0.try_wait().context("cannot wait for the program")?;
        if let Some(moment) = moment.filter(|_| kept.is_none()) {
            kept = Some(now()).filter(|screen| screen.contents().contains(moment));
        }
        let at = begin.elapsed();
        if frames.last().is_some_and(|(last, _)| at >= *last + FRAME) {
            frames.push((at, now()));
        }
        match status {
            Some(status) => break status,
            None if stop.load(Ordering::Relaxed) => bail!("interrupted"),
            None if Instant::now() > deadline => bail!("not done in {LIMIT:?}:\n{}", now().contents()),
            None => thread::sleep(TICK),
        }
    };
    // The program's was the last other side, so everything that it wrote is read.
    if reader.join().is_err() {
        bail!("the terminal emulator failed");
    }
    frames.push((begin.elapsed(), now()));
    let screen = match (kept, moment) {
        (Some(screen), _) => screen,
        (None, None) => now(),
        (None, Some(moment)) => bail!("{moment:?} was never shown; at the end:\n{}", now().contents()),
    };
    if screen.scrollback_len() > 0 {
        bail!("more than {ROWS} rows:\n{}", screen.contents());
    }
    Ok(Shown { screen, frames, status })
}

/// Starts a program with `line` as its controlling terminal.
fn start(command: &Command, line: OwnedFd) -> Result<Ended> {
    let mut session = Command::new("setsid");
    session.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
    session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        session.current_dir(directory);
    }
    let copy = || line.try_clone().context("cannot copy a descriptor");
    session.stdin(copy()?).stdout(copy()?).stderr(copy()?);
    session.spawn().map(Ended).context("cannot run setsid (of util-linux)")
}
