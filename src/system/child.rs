//! Local child processes, which end with their owners.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::poll::Patience;

/// How long the command may take to end after SIGTERM, before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// The interval of checks meanwhile.
pub const TICK: Duration = Duration::from_millis(2);
/// The interval of checks whether a helper has ended, after the end of its output.
const HELPER_TICK: Duration = Duration::from_millis(5);

/// A running command in a process group of its own. Dropping it ends its process group and waits for it.
pub struct ProcessGroup {
    child: Child,
    /// Its exit, once it was waited for.
    status: Option<ExitStatus>,
}

impl ProcessGroup {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn spawn(command: &mut Command) -> io::Result<ProcessGroup> {
        // Ctrl-C at the terminal must reach only pssh: the sessions end in order.
        Ok(ProcessGroup { child: command.process_group(0).spawn()?, status: None })
    }

    /// Returns its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the command has ended. It is not reaped yet, so that its process ID stays its own.
    pub fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.status.is_some() || !matches!(waitid(WaitId::Pid(self.id()), options), Ok(None))
    }

    /// Waits until the command ends by itself, at most until `deadline`; returns whether it did.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        while !self.has_exited() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }

    /// Ends the whole process group. Returns how the command ended, if the system knows.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.terminate();
            self.wait_until(Instant::now() + TERM_GRACE);
            self.kill();
        }
        self.status
    }

    /// Signals the process group to end. This fails if none of it is left.
    pub fn terminate(&self) {
        let _ = kill_process_group(self.id(), Signal::TERM);
    }

    /// Kills the whole process group, and waits for the command; until then its ID cannot name another group.
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.id(), Signal::KILL);
        self.status = self.child.wait().ok();
    }

    /// Returns how the command ended, once it was waited for.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Returns the command's process ID, which is also its group's.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// A running program in our process group, so that the terminal's signals reach it as well. Dropping it kills it.
pub struct Helper(Child);

impl Helper {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn spawn(command: &mut Command) -> io::Result<Helper> {
        command.spawn().map(Helper)
    }

    /// Takes its standard output, if that is a pipe and was not taken yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// See [`Patience::check`], or a system error.
    pub fn wait(&mut self, patience: Patience<'_>) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            patience.check()?;
            thread::sleep(HELPER_TICK);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Neither has an effect if it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
