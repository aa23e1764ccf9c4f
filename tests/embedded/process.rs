//! The process groups of commands, and a server in a process of its own.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use russh::Sig;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit, test_kill_process_group,
};
use tokio::process::{Child, Command};

use super::{Config, lock};

/// Waits until a child has ended that does so when its standard input is closed, such as a process with a server in it. One that does not
/// is killed after a while.
pub(crate) fn wait_or_kill(child: &mut std::process::Child) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            // It is our own child, and not yet reaped.
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Thousands of listeners and connections need as many files as may be open at all.
pub(crate) fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    // Raising within the hard limit is always allowed; if not, binding tells.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The names of RFC 4254, section 6.10.
const SIGNALS: [(Signal, &str, Sig); 12] = [
    (Signal::ABORT, "ABRT", Sig::ABRT),
    (Signal::ALARM, "ALRM", Sig::ALRM),
    (Signal::FPE, "FPE", Sig::FPE),
    (Signal::HUP, "HUP", Sig::HUP),
    (Signal::ILL, "ILL", Sig::ILL),
    (Signal::INT, "INT", Sig::INT),
    (Signal::KILL, "KILL", Sig::KILL),
    (Signal::PIPE, "PIPE", Sig::PIPE),
    (Signal::QUIT, "QUIT", Sig::QUIT),
    (Signal::SEGV, "SEGV", Sig::SEGV),
    (Signal::TERM, "TERM", Sig::TERM),
    (Signal::USR1, "USR1", Sig::USR1),
];

/// A signal by its name on the wire. USR2 is no name of the RFC, but OpenSSH's clients send it.
pub(super) fn signal_named(name: &str) -> Option<Signal> {
    if name == "USR2" {
        return Some(Signal::USR2);
    }
    let named = SIGNALS.iter().find(|(_, known, _)| *known == name);
    named.map(|(signal, ..)| *signal)
}

/// The name on the wire of a signal that killed a command, as sshd gives it.
pub(super) fn sig_from_raw(raw: i32) -> Sig {
    let known = SIGNALS.iter().find(|(signal, ..)| signal.as_raw() == raw);
    known.map_or_else(|| Sig::Custom("SIG@openssh.com".to_owned()), |(.., sig)| sig.clone())
}

/// The name in a signal request.
pub(super) fn sig_name(sig: &Sig) -> String {
    match sig {
        Sig::Custom(name) => name.clone(),
        // The variants are called like the signals.
        standard => format!("{standard:?}"),
    }
}

/// Groups that may still have members, and whether their first process still has to be reaped.
#[derive(Default)]
pub(super) struct Children(Mutex<HashMap<Pid, bool>>);

impl Children {
    fn add(&self, group: Pid) {
        lock(&self.0).insert(group, true);
    }

    /// Called when the group's first process was reaped. Its background processes keep the group alive.
    pub(super) fn leader_exited(&self, group: Pid) {
        lock(&self.0).insert(group, false);
    }

    /// Background processes that ended count until init has reaped them.
    pub(super) fn alive(&self) -> usize {
        let mut groups = lock(&self.0);
        groups.retain(|group, leader| *leader || test_kill_process_group(*group).is_ok());
        groups.len()
    }

    pub(super) fn all_leaders_exited(&self) -> bool {
        lock(&self.0).values().all(|leader| !leader)
    }

    pub(super) fn signal(&self, group: Pid, signal: Signal) {
        if lock(&self.0).contains_key(&group) {
            // An error means that the group has just ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    pub(super) fn kill_all(&self) {
        self.alive();
        for group in lock(&self.0).keys() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }
}

/// Who runs a command, and from where.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Starts `sh -c COMMAND` as the leader of a process group, with the small environment that sshd gives to commands.
pub(super) fn spawn(
    command: &str,
    login: &Login<'_>,
    requested_env: &[(String, String)],
    config: &Config,
    children: &Children,
) -> io::Result<(Child, Pid)> {
    let home = config.home.clone().or_else(|| std::env::var_os("HOME").map(PathBuf::from));
    let home = home.unwrap_or_else(|| PathBuf::from("/"));
    let (peer, local) = (login.peer, login.local);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env_clear()
        .env("PATH", path)
        .env("HOME", &home)
        .env("SHELL", "/bin/sh")
        .env("USER", login.user)
        .env("LOGNAME", login.user)
        .env("SSH_CONNECTION", connection(peer, local))
        .envs(config.env.iter().cloned())
        .envs(requested_env.iter().cloned())
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = id.and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a child without an id"))?;
    children.add(group);
    Ok((child, group))
}

fn connection(peer: SocketAddr, local: SocketAddr) -> String {
    format!("{} {} {} {}", peer.ip(), peer.port(), local.ip(), local.port())
}
