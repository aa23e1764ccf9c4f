//! Stopping a remote command: a request to its server, where that does nothing a second channel, and an end to patience.
//!
//! A "signal" request (RFC 4254 section 6.9) reaches the process group of an ordinary user's command. OpenSSH's sshd refuses it
//! for root ("session signalling requires privilege separation"); there, a second command on the same connection looks for
//! the processes of the first. It finds them by their common parent, the server's process for this connection, and touches
//! none whose environment does not name this very connection.

use std::time::{Duration, Instant};

use super::ffi::{self, Channel};
use super::session::Session;
use crate::event::Outcome;

/// How long a command that was told to stop by a request may take before it is told by a second channel, too.
const REQUEST_GRACE: Duration = Duration::from_millis(300);
/// How long a command that was told to stop (TERM) may take in all before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the server may take to report the end of a killed command before the channel is closed anyway.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// The receive window of the second channel, in bytes: nothing is printed there.
const WINDOW: u32 = 4096;
/// The servers that have a process for each connection, which is the parent of its commands; by the start of their banners.
/// With others the second channel might find somebody else's commands, or cannot find any.
const PROCESS_PER_CONNECTION: [&str; 2] = ["SSH-2.0-OpenSSH_", "SSH-2.0-dropbear"];

/// The second channel's command, in which `SIGNAL` stands for TERM or KILL. It runs by any login shell, be it csh or fish:
/// between its single quotes are no others, no backslashes, no exclamation marks and no line ends.
///
/// Its targets are the processes with the same parent as its own that are of the same connection, with all in their sessions and
/// all that descend from them. Where there is no /proc, they are the process groups that a parent with a server's name has
/// started. A parent that has gone meanwhile (process 1 then) has no children of ours.
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
    "[ $q = $PPID ] && [ $p = $g ] && case $p in $$) ;; *) kill -SIGNAL -- -$g;; esac; done;; esac; fi'"
);

/// The command is being stopped by us: why, and how far that has come.
pub struct Stopping {
    outcome: Outcome,
    stage: Stage,
    /// When the next stage comes.
    next: Instant,
    /// When the command was told first.
    since: Instant,
    /// A signal request that libssh2 has not got rid of yet.
    request: Option<&'static str>,
    /// Whether a second channel may be of use.
    may_reach: bool,
    second: Option<Second>,
}

/// What was done last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It was told to stop by a request.
    Requested,
    /// It was told to by a second channel, if there may be one.
    Told,
    /// It was killed in both ways.
    Killed,
    /// Nothing more can be done.
    Over,
}

/// The second channel on its way.
struct Second {
    signal: &'static str,
    channel: Option<Channel>,
    /// Nothing more is to be done for it: its command runs, or cannot.
    settled: bool,
}

impl Stopping {
    /// Begins to stop the command of `login` on `session`, which will have ended in `outcome`.
    pub fn begin(outcome: Outcome, session: &Session, login: &str) -> Stopping {
        let since = Instant::now();
        Stopping {
            outcome,
            stage: Stage::Requested,
            next: since + REQUEST_GRACE,
            since,
            request: Some("TERM"),
            may_reach: may_reach(session, login),
            second: None,
        }
    }

    /// Does what is due, without waiting; says whether patience is at its end.
    pub fn step(&mut self, session: &Session, channel: &Channel) -> bool {
        if Instant::now() >= self.next {
            match self.stage {
                Stage::Requested => {
                    (self.stage, self.next) = (Stage::Told, self.since + TERM_GRACE);
                    self.reach("TERM");
                }
                Stage::Told => {
                    (self.stage, self.next) = (Stage::Killed, self.since + TERM_GRACE + KILL_GRACE);
                    self.request = Some("KILL");
                    self.reach("KILL");
                }
                Stage::Killed | Stage::Over => self.stage = Stage::Over,
            }
        }
        if let Some(name) = self.request {
            let blocked = matches!(channel.signal(name), Err(error) if ffi::would_block(&error));
            self.request = blocked.then_some(name);
        }
        if let Some(second) = &mut self.second {
            second.step(session);
        }
        self.stage == Stage::Over
    }

    /// Has the second channel send `signal`.
    fn reach(&mut self, signal: &'static str) {
        match &mut self.second {
            _ if !self.may_reach => {}
            // libssh2 opens one channel at a time: what is being opened serves as well.
            Some(second) if second.channel.is_none() && !second.settled => second.signal = signal,
            // The first is closed before, where a server allows only two.
            second => *second = Some(Second { signal, channel: None, settled: false }),
        }
    }

    /// When the next stage comes.
    pub fn next_due(&self) -> Instant {
        self.next
    }

    /// Whether [`Stopping::step`] is to be called again soon, with nothing to wait for.
    pub fn is_pending(&self) -> bool {
        self.request.is_some() || self.second.as_ref().is_some_and(|second| !second.settled)
    }

    /// The outcome of the job: the reason for which the command was stopped, and whether it has really `ended`.
    pub fn outcome(self, ended: bool) -> Outcome {
        if ended { self.outcome } else { Outcome::Unstopped(Box::new(self.outcome)) }
    }
}

impl Second {
    /// Opens the channel and starts its command. Where the server does not allow it, there is no other way.
    fn step(&mut self, session: &Session) {
        if self.settled {
            return;
        }
        let result = match &self.channel {
            None => Channel::open(session.ssh(), WINDOW).map(|channel| self.channel = Some(channel)),
            Some(channel) => {
                let script = SCRIPT.replace("SIGNAL", self.signal);
                channel.exec(script.as_bytes()).map(|()| self.settled = true)
            }
        };
        if result.is_err_and(|error| !ffi::would_block(&error)) {
            self.settled = true;
        }
    }
}

/// Whether a second channel can find the processes of the first, and does no harm.
///
/// Where the administrator has fixed the command of all channels (ForceCommand, `command=` of authorized_keys), that would run
/// once more. OpenSSH refuses requests there, too, so of ordinary users, whom it refuses nothing else, none gets a second channel.
/// For root this is known if the server tells of a key's options.
fn may_reach(session: &Session, login: &str) -> bool {
    let banner = session.banner().unwrap_or_default();
    let [openssh, dropbear] = PROCESS_PER_CONNECTION.map(|server| banner.starts_with(server));
    (openssh && login == "root" || dropbear) && !session.has_forced_command()
}
