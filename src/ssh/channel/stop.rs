//! Stops a remote command: by a signal request, then by a second channel if that has no effect, within a time limit.
//!
//! A "signal" request (RFC 4254 section 6.9) reaches the process group of an ordinary user's command. OpenSSH's sshd refuses it
//! for root ("session signalling requires privilege separation"); there, a second command on the same connection looks for
//! the processes of the first. It finds them by their common parent, the server's process for this connection, and touches
//! none whose environment does not name this very connection. dropbear passes a signal to the login shell alone, whose
//! children would then have no parent to be found by: there the second command comes first.

use std::time::{Duration, Instant};

use ssh2::Error;

use super::requests::NO_MODES;
use crate::events::event::Outcome;
use crate::ssh::ffi::{self, Channel};
use crate::ssh::session::Session;
use crate::ssh::sudo::stop::SudoStop;

/// How long a command may take after the signal request before the second channel signals it, too.
const REQUEST_GRACE: Duration = Duration::from_millis(300);
/// How long a command may take in total after TERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the server may take to report the end of a killed command before the channel is closed.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// The receive window of the second channel, in bytes: its program prints next to nothing.
const WINDOW: u32 = 4096;
/// The second channel's command, in which `SIGNAL` stands for TERM or KILL. It runs by any login shell, be it csh or fish:
/// its single-quoted text contains no other single quotes, backslashes, exclamation marks or newlines.
///
/// Its targets are the processes with the same parent as its own that are of the same connection, with all in their sessions and
/// all that descend from them. Where there is no /proc, they are the process groups that a parent with a server's name has
/// started. A parent that has gone meanwhile (process 1 then) does not count.
const SCRIPT: &str = concat!(
    "exec sh -c 'exec >/dev/null 2>&1 </dev/null; [ $PPID -gt 1 ] && [ -n \"$SSH_CONNECTION\" ] || exit 0; ",
    "if [ -r /proc/$$/stat ]; then l=; t=\" \"; ",
    // Each process as PID:PARENT:SESSION. The name, which may contain anything, ends at the last bracket.
    "for d in /proc/[0-9]*; do read -r x <$d/stat || continue; set -- ${x##*) }; l=\"$l ${d#/proc/}:$2:$4\"; done; ",
    "for e in $l; do p=${e%%:*}; r=${e#*:}; case $p:${r%%:*} in $$:*) ;; *:$PPID) ",
    "grep -qF \"SSH_CONNECTION=$SSH_CONNECTION\" /proc/$p/environ && t=\"$t$p \";; esac; done; ",
    // Until no more are found.
    "n=; until [ \"$t\" = \"$n\" ]; do n=$t; for e in $l; do p=${e%%:*}; r=${e#*:}; ",
    "case $t in *\" $p \"*) continue;; esac; ",
    "case $t in *\" ${r%%:*} \"*|*\" ${r#*:} \"*) t=\"$t$p \";; esac; done; done; ",
    "kill -SIGNAL $t; else ",
    "case $(ps -o comm= -p $PPID) in *sshd*|*dropbear*) ps -A -o pid= -o ppid= -o pgid= | while read -r p q g; do ",
    "[ $q = $PPID ] && [ $p = $g ] && case $p in $$) ;; *) kill -SIGNAL -$g;; esac; done;; esac; fi'"
);

/// A command that is being stopped: why, and in which stage.
pub struct Stopping {
    outcome: Outcome,
    stage: Stage,
    /// When the next stage starts.
    next: Instant,
    /// When the command was first told to stop.
    since: Instant,
    /// A signal request that libssh2 has not sent yet.
    request: Option<&'static str>,
    reach: Reach,
    second: Option<Second>,
    /// How the second channel reaches a command that runs under sudo.
    sudo: Option<SudoStop>,
}

/// Whether a second channel can find the processes of the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// No: it would find none, or those of other users, or do harm.
    No,
    /// Yes, if the signal request had no effect.
    Second,
    /// Yes, without a signal request before it.
    First,
}

/// The last action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The signal request was sent.
    Requested,
    /// The second channel sent TERM, if it may be used.
    Told,
    /// Killed by both means.
    Killed,
    /// Nothing more can be done.
    Over,
}

/// The second channel.
struct Second {
    signal: &'static str,
    channel: Option<Channel>,
    next: SecondStep,
}

/// Its next action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecondStep {
    Open,
    Terminal,
    Start,
    /// Send sudo the password.
    Answer,
    End,
    /// None: its command runs, or cannot.
    Settled,
}

impl Stopping {
    /// Starts to stop the command of `login` on `session`, for a job that ends as `outcome`. `sudo` reaches one that
    /// runs under sudo.
    pub fn begin(outcome: Outcome, session: &Session, login: &str, sudo: Option<SudoStop>) -> Stopping {
        let since = Instant::now();
        let sudo = sudo.filter(|_| !session.has_forced_command());
        let reach = if sudo.is_some() { Reach::First } else { Reach::of(session, login) };
        let (request, next) = if reach == Reach::First { (None, since) } else { (Some("TERM"), since + REQUEST_GRACE) };
        Stopping { outcome, stage: Stage::Requested, next, since, request, reach, second: None, sudo }
    }

    /// Continues without waiting, and starts the next stage if that `is_due`; returns whether the last time limit has
    /// expired.
    pub fn step(&mut self, session: &Session, channel: &Channel, is_due: bool) -> bool {
        if is_due {
            // A stage that starts late has its full time.
            let now = Instant::now();
            match self.stage {
                Stage::Requested => {
                    let left = TERM_GRACE.saturating_sub(self.next.saturating_duration_since(self.since));
                    (self.stage, self.next) = (Stage::Told, now + left);
                    self.reach("TERM");
                }
                Stage::Told => {
                    (self.stage, self.next) = (Stage::Killed, now + KILL_GRACE);
                    if self.reach != Reach::First {
                        self.request = Some("KILL");
                    }
                    self.reach("KILL");
                }
                Stage::Killed | Stage::Over => self.stage = Stage::Over,
            }
        }
        if let Some(name) = self.request {
            let blocked = matches!(channel.signal(name), Err(error) if ffi::would_block(&error));
            self.request = blocked.then_some(name);
        }
        if let Some(second) = &mut self.second
            && !second.go_on(session, self.sudo.as_ref())
        {
            // There is no other means.
            self.request = Some(second.signal);
        }
        self.stage == Stage::Over
    }

    /// Sends `signal` by the second channel.
    fn reach(&mut self, signal: &'static str) {
        match &mut self.second {
            _ if self.reach == Reach::No => {}
            // libssh2 opens one channel at a time: one that is being opened will do.
            Some(second) if second.next == SecondStep::Open => second.signal = signal,
            // Close the previous one first, as some servers allow only two.
            second => *second = Some(Second { signal, channel: None, next: SecondStep::Open }),
        }
    }

    /// Returns when the next stage starts.
    pub fn next_due(&self) -> Instant {
        self.next
    }

    /// Whether to call [`Stopping::step`] again soon, with nothing to wait for.
    pub fn is_pending(&self) -> bool {
        self.request.is_some() || self.second.as_ref().is_some_and(|second| second.next != SecondStep::Settled)
    }

    /// Returns the outcome of the job: the reason for the stop, and whether the command `ended`.
    pub fn outcome(self, ended: bool) -> Outcome {
        if ended { self.outcome } else { Outcome::Unstopped(Box::new(self.outcome)) }
    }
}

impl Second {
    /// Continues without waiting, by `sudo` if the command runs under it; false if the server does not allow it.
    fn go_on(&mut self, session: &Session, sudo: Option<&SudoStop>) -> bool {
        while self.next != SecondStep::Settled {
            match self.step(session, sudo) {
                // It has to wait.
                Ok(next) if next == self.next => return true,
                Ok(next) => self.next = next,
                Err(error) if ffi::would_block(&error) => return true,
                Err(_) => {
                    self.next = SecondStep::Settled;
                    return false;
                }
            }
        }
        true
    }

    /// Does the next action; returns the one after it.
    fn step(&mut self, session: &Session, sudo: Option<&SudoStop>) -> Result<SecondStep, Error> {
        let answer = || sudo.and_then(SudoStop::answer);
        let Some(channel) = &self.channel else {
            self.channel = Some(Channel::open(session.ssh(), WINDOW)?);
            let has_terminal = sudo.is_some_and(|sudo| sudo.has_terminal);
            return Ok(if has_terminal { SecondStep::Terminal } else { SecondStep::Start });
        };
        match (self.next, sudo) {
            (SecondStep::Terminal, _) => {
                channel.request_pty(b"dumb", NO_MODES, (80, 24))?;
                Ok(SecondStep::Start)
            }
            (SecondStep::Start, None) => {
                channel.exec(SCRIPT.replace("SIGNAL", self.signal).as_bytes())?;
                Ok(SecondStep::Settled)
            }
            (SecondStep::Start, Some(sudo)) => {
                channel.exec(&sudo.signal_line(self.signal))?;
                Ok(if answer().is_some() { SecondStep::Answer } else { SecondStep::End })
            }
            (SecondStep::Answer, _) => {
                let line = answer().unwrap_or_default();
                // The server opens the window when the command runs.
                if channel.write_window() < line.len() {
                    return Ok(SecondStep::Answer);
                }
                channel.write(&line)?;
                Ok(SecondStep::End)
            }
            _ => {
                channel.send_eof()?;
                Ok(SecondStep::Settled)
            }
        }
    }
}

impl Reach {
    /// By the server and the login name. OpenSSH and dropbear have a process for each connection, which is the parent of its
    /// commands; with other servers the second channel might find another user's, or none.
    ///
    /// Where the administrator has fixed the command of all channels (ForceCommand, `command=` of authorized_keys), that would
    /// run once more. OpenSSH refuses requests there, too; it refuses ordinary users nothing else, so that they never need a
    /// second channel. For root this is known where the server tells of a key's options.
    fn of(session: &Session, login: &str) -> Reach {
        let banner = session.banner().unwrap_or_default();
        if session.has_forced_command() {
            Reach::No
        } else if banner.starts_with("SSH-2.0-dropbear") {
            Reach::First
        } else if banner.starts_with("SSH-2.0-OpenSSH_") && login == "root" {
            Reach::Second
        } else {
            Reach::No
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs the second channel's command by `shell`, beside processes whose parent is the same. Gives what their parent says.
    fn beside(shell: &str, others: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", &format!("{others} \"$0\" -c \"$1\"; wait $!; echo $?"), shell])
            .arg(SCRIPT.replace("SIGNAL", "TERM"))
            .env("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .expect("sh");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    fn the_second_command_runs_in_every_login_shell() {
        // sh is everywhere; of the others, those that are installed.
        let shells = ["sh", "/bin/bash", "/bin/dash", "/bin/zsh", "/bin/mksh", "/bin/csh", "/usr/bin/fish"];
        for shell in shells.into_iter().filter(|shell| *shell == "sh" || Path::new(shell).exists()) {
            assert_eq!(beside(shell, "sleep 30 &"), "143\n", "{shell}");
        }
        assert!(!SCRIPT[SCRIPT.find('\'').expect("a quote") + 1..SCRIPT.len() - 1].contains(['\'', '!', '\\', '\n']));
    }

    #[test]
    fn where_there_is_no_proc_the_servers_groups_are_found_by_ps() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let run = |name: &str| {
            // Job control gives each a group of its own, as sshd does.
            let parent = dir.path().join(name);
            std::os::unix::fs::symlink("/bin/bash", &parent).expect("a link");
            let output = Command::new(parent)
                .args(["-c", "set -m; sleep 2 & first=$!; sh -c \"$0\" & wait $!; wait $first; echo $?"])
                .arg(SCRIPT.replace("SIGNAL", "TERM").replace("/proc/$$/stat", "/nowhere"))
                .env("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
                .expect("bash");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(run("sshd"), "143\n");
        assert_eq!(run("something-else"), "0\n");
    }

    #[test]
    fn processes_of_another_connection_are_left_alone() {
        assert_eq!(beside("sh", "SSH_CONNECTION='127.0.0.1 2 127.0.0.1 22' sleep 1 &"), "0\n");
        assert_eq!(beside("sh", "env -u SSH_CONNECTION sleep 1 &"), "0\n");
    }
}
