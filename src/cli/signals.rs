//! Signals: the first one stops the run in order, the second one ends the program at once. Both are announced.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::notices;
use crate::events::interruption::{Effect, Interruption, Stages, Teller};
use crate::output::{self, CiLog};
use crate::plan::job::Job;
use crate::plan::program::Program;
use crate::ssh::ffi::is_ignored;
use crate::system::cancel::{Cancel, Reason};
use crate::system::status_line;

/// Stack size of the signal thread, in bytes.
const STACK: usize = 256 * 1024;

/// The run that signals stop, once it has begun.
#[derive(Clone, Debug)]
pub struct Interruptible {
    program: Program,
    run: Arc<OnceLock<(Stages, Arc<[Job]>)>>,
}

impl Interruptible {
    /// No run yet: signals before a run are not announced.
    pub fn new(program: Program) -> Interruptible {
        Interruptible { program, run: Arc::default() }
    }

    /// Sets the run of these jobs.
    pub fn begin(&self, stages: &Stages, jobs: &Arc<[Job]>) {
        let _ = self.run.set((stages.clone(), Arc::clone(jobs)));
    }

    /// Has the output announce what `signal` does, unless no host has started.
    fn tell(&self, teller: &Teller, signal: i32, is_first: bool) -> Option<Arc<Interruption>> {
        let (stages, _) = self.run.get()?;
        let hosts = stages.count_started();
        let effect = if is_first { Effect::Stop } else { Effect::Abandon { may_run: stages.may_run() } };
        (hosts > 0).then(|| teller.tell(signal, hosts, effect))
    }

    /// Announces the signal here if the output is blocked.
    fn ensure(&self, teller: &Teller, interruption: &Interruption) {
        if let Some((_, jobs)) = self.run.get().filter(|_| teller.is_untold(interruption)) {
            status_line::leave();
            let line = output::sentence(interruption, jobs, self.program);
            notices::raw_stderr(&String::from_utf8_lossy(&CiLog::of_process().harmless(line.as_bytes())));
        }
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP trigger `cancel`, and announces the effect. A signal that was ignored at the start stays ignored:
/// nohup(1), or a background job of a shell without job control.
///
/// # Errors
/// The handlers or their thread cannot be set up.
pub fn install(cancel: &Cancel, run: &Interruptible, teller: Teller) -> io::Result<()> {
    let wanted: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
    let mut signals = Signals::new(wanted)?;
    let (cancel, run) = (cancel.clone(), run.clone());
    thread::Builder::new().name("pssh-signals".to_owned()).stack_size(STACK).spawn(move || {
        let mut is_first = true;
        for signal in signals.forever() {
            // Announced before any host stops. A run that stops by itself already is not yet abandoned.
            let interruption = run.tell(&teller, signal, is_first);
            cancel.trigger(Reason::Signal(signal));
            interruption.iter().for_each(|interruption| run.ensure(&teller, interruption));
            if !is_first {
                status_line::leave();
                die_by(signal);
            }
            is_first = false;
        }
    })?;
    Ok(())
}

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail instead of ending the program by SIGXFSZ: it is an error
/// of that file's host alone.
///
/// This is a handler, not `SIG_IGN`, which child processes would inherit.
///
/// # Errors
/// The handler cannot be set up.
pub fn outlive_large_files() -> io::Result<()> {
    if !is_ignored(SIGXFSZ) {
        // The failed write reports it; the flag is not read.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    }
    Ok(())
}

/// The process that the kernel protects from signals without a handler, its own included: that of a container with pssh alone.
const INIT: u32 = 1;

/// Ends the program by `signal`, as if it had not been caught, so that the parent shell sees it. Where no signal can end it, it exits with
/// the status that a shell would show.
pub fn die_by(signal: i32) {
    if std::process::id() == INIT {
        signal_hook::low_level::exit(128 + signal);
    }
    // It fails only for signals that do not exist.
    let _ = emulate_default_handler(signal);
}
