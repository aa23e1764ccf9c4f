//! A terminal for a run: what it shows, and what is typed on it.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::bin::Pssh;

/// How long the terminal may take to show what is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(5);

/// A terminal that controls one run.
pub(crate) struct Pty {
    keyboard: File,
    /// Keeps the terminal in being before and after the run.
    line: OwnedFd,
    path: PathBuf,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    pub(crate) fn new() -> Pty {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&keyboard).expect("a pty of our own");
        unlockpt(&keyboard).expect("a pty that can be opened");
        let path = PathBuf::from(ptsname(&keyboard, Vec::new()).expect("its name").into_string().expect("UTF-8"));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(&path, flags, Mode::empty()).expect("its other end");
        let keyboard = File::from(keyboard);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, text) = (keyboard.try_clone().expect("a descriptor"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error once the other end is closed.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Pty { keyboard, line, path, shown }
    }

    /// The run with this as its controlling terminal. Its status is a shell's: 130 for death by SIGINT.
    pub(crate) fn control(&self, run: Pssh) -> Pssh {
        run.shell(&format!("setsid --ctty \"$@\" <{}; exit $?", self.path.display()))
    }

    /// The same, with its standard output and error there too, as a user has it.
    pub(crate) fn show(&self, run: Pssh) -> Pssh {
        let path = self.path.display();
        run.shell(&format!("setsid --ctty \"$@\" <{path} >{path} 2>{path}; exit $?"))
    }

    /// The same, started by another program that is on the terminal too.
    pub(crate) fn show_by(&self, run: Pssh, program: &str) -> Pssh {
        let path = self.path.display();
        run.shell(&format!("setsid --ctty {program} \"$@\" <{path} >{path} 2>{path}; exit $?"))
    }

    /// The same, with its standard error alone there.
    pub(crate) fn show_errors(&self, run: Pssh) -> Pssh {
        let path = self.path.display();
        run.shell(&format!("setsid --ctty \"$@\" <{path} 2>{path}; exit $?"))
    }

    /// The same as [`Pty::show`], as a background job of a shell with job control.
    pub(crate) fn show_background(&self, run: Pssh) -> Pssh {
        let path = self.path.display();
        let job = "set -m; \"$@\" & wait $!";
        run.shell(&format!("setsid --ctty sh -c '{job}' sh \"$@\" <{path} >{path} 2>{path}; exit $?"))
    }

    /// A shell there instead of the run, with the run's home and environment.
    pub(crate) fn show_shell(&self, run: Pssh, shell: &str) -> Pssh {
        let path = self.path.display();
        run.shell(&format!("setsid --ctty {shell} <{path} >{path} 2>{path}; exit $?"))
    }

    /// Everything that the terminal has shown.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        // The kernel passes on what was written a little later, and the thread reads it later still: until nothing has come for a
        // while, it is not all.
        let settled = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        for _ in 0..100 {
            match poll(&mut [PollFd::new(&self.keyboard, PollFlags::IN)], Some(&settled)) {
                Ok(1..) => thread::sleep(TICK),
                Ok(0) | Err(_) => break,
            }
        }
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a terminal with so many columns and rows would look like now.
    pub(crate) fn screen(&self, columns: u16, rows: u16) -> vt100::Screen {
        let size = |count| NonZero::new(count).expect("a screen has a size");
        let mut terminal = vt100::Parser::new(size(rows), size(columns), 0);
        terminal.process(&self.bytes());
        terminal.screen().clone()
    }

    /// Waits until such a terminal would look as `wanted` says.
    #[track_caller]
    pub(crate) fn wait_for_screen(&self, columns: u16, rows: u16, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = self.screen(columns, rows).contents();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "the screen is not as expected:\n{text}\n{:?}", self.shown());
            thread::sleep(TICK);
        }
    }

    /// Waits until the terminal has shown `text` `count` times.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, count: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.shown().matches(text).count() < count {
            assert!(Instant::now() < deadline, "{text:?} was not shown {count} times: {:?}", self.shown());
            thread::sleep(TICK);
        }
    }

    /// Types `text`, with a newline at its end where it needs one.
    pub(crate) fn type_in(&self, text: &str) {
        rustix::io::write(&self.keyboard, text.as_bytes()).expect("the terminal takes it");
    }

    /// Gives it so many columns and rows.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.line, size).expect("its size");
    }

    /// Has it hand on what is typed key by key, as a pager does, or line by line.
    pub(crate) fn read_keys(&self, by_key: bool) {
        let mut modes = tcgetattr(&self.line).expect("its modes");
        modes.local_modes.set(LocalModes::ICANON, !by_key);
        tcsetattr(&self.line, OptionalActions::Now, &modes).expect("other modes");
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.line).expect("its modes").local_modes.contains(LocalModes::ECHO)
    }
}
