//! An agent that holds the one key, for as long as its hosts are up.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);

/// A running ssh-agent. Dropping it ends it.
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Agent {
    /// Starts one whose socket is in `directory`, and gives it the key.
    pub(crate) fn start(directory: &Path, key: &Path) -> Result<Agent> {
        let socket = directory.join("agent");
        let mut command = Command::new("ssh-agent");
        // -D: no process that outlives it.
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Agent { child: command.spawn().context("cannot start ssh-agent")?, socket };
        let begun = Instant::now();
        while !agent.socket.exists() {
            ensure!(begun.elapsed() < START, "ssh-agent does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        let output = Command::new("ssh-add").arg(key).env("SSH_AUTH_SOCK", &agent.socket).stdin(Stdio::null()).output();
        let output = output.context("cannot run ssh-add")?;
        ensure!(output.status.success(), "ssh-add: {}", String::from_utf8_lossy(&output.stderr));
        Ok(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
