//! Local programs, which end with what they were started for.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::poll::Patience;

/// How long the command may take to end after SIGTERM, before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile.
pub const TICK: Duration = Duration::from_millis(2);
/// How often it is looked whether a helper has ended, once it prints nothing any more.
const HELPER_TICK: Duration = Duration::from_millis(5);

/// A running command in a process group of its own. Dropping it ends its process group and waits for it.
pub struct ProcessGroup {
    child: Child,
    /// How it ended, once it has been waited for.
    status: Option<ExitStatus>,
}

impl ProcessGroup {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn spawn(command: &mut Command) -> io::Result<ProcessGroup> {
        // A Ctrl-C at the terminal is ours: the sessions end in order.
        Ok(ProcessGroup { child: command.process_group(0).spawn()?, status: None })
    }

    /// Its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the command has ended. It stays to be waited for, so that its number stands for no other process.
    pub fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.status.is_some() || !matches!(waitid(WaitId::Pid(self.id()), options), Ok(None))
    }

    /// Waits until the command has ended by itself, at the latest until `deadline`; says whether it has.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        while !self.has_exited() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }

    /// Ends whatever is left of the process group. Gives how the command ended, where the system says so.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.terminate();
            self.wait_until(Instant::now() + TERM_GRACE);
            self.kill();
        }
        self.status
    }

    /// Tells the process group to end. This fails if nothing is left of it.
    pub fn terminate(&self) {
        let _ = kill_process_group(self.id(), Signal::TERM);
    }

    /// Kills whatever is left of the process group, and waits for the command; until then its number stands for no other group.
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.id(), Signal::KILL);
        self.status = self.child.wait().ok();
    }

    /// How the command ended, once it has been waited for.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// The number of the command, which is that of its group too.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// A running program that stays in our process group, so that the terminal's signals reach it as well. Dropping it kills it.
pub struct Helper(Child);

impl Helper {
    /// Starts `command`.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn spawn(command: &mut Command) -> io::Result<Helper> {
        command.spawn().map(Helper)
    }

    /// What it prints, if that is a pipe that nobody has taken yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// As of [`Patience::check`], or what the system says.
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
        // Both do nothing if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
