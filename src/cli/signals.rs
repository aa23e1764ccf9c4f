//! Signals: the first one stops the run in good order, the second one ends the program at once.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::ssh::ffi::is_ignored;
use crate::system::cancel::{Cancel, Reason};
use crate::system::status_line;

/// Lets SIGINT, SIGTERM and SIGHUP trigger `cancel`. One that the program was started with ignored stays so: nohup(1), or a
/// background job of a shell without job control.
///
/// # Errors
/// The handlers or their thread cannot be set up.
pub fn install(cancel: &Cancel) -> io::Result<()> {
    let wanted: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
    let mut signals = Signals::new(wanted)?;
    let cancel = cancel.clone();
    thread::Builder::new().name("pssh-signals".to_owned()).stack_size(128 * 1024).spawn(move || {
        for signal in signals.forever() {
            if !cancel.trigger(Reason::Signal(signal)) {
                status_line::leave();
                die_by(signal);
            }
        }
    })?;
    Ok(())
}

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail instead of ending the program by SIGXFSZ: it is an error
/// of that file's host alone.
///
/// A handler, and not `SIG_IGN`, which programs that we start would inherit.
///
/// # Errors
/// The handler cannot be set up.
pub fn outlive_large_files() -> io::Result<()> {
    if !is_ignored(SIGXFSZ) {
        // What the write says is enough: nobody asks the flag.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    }
    Ok(())
}

/// Ends the program by `signal`, as if it had never been caught: the shell that started us sees what happened.
pub fn die_by(signal: i32) {
    // It fails only for signals that do not exist.
    let _ = emulate_default_handler(signal);
}
