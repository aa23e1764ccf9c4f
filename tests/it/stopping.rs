//! Remote commands that pssh stops: nothing of them is left, whether they are root's or an ordinary user's. sshd passes signals
//! on to the latter only, so that these tests need root to tell the two apart.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::getuid;
use rustix::process::Signal;

use crate::bin::{Env, Pssh, Run};
use crate::sshd::{Ordinary, Setup, Sshd, current_user};

/// Seconds within which pssh ends after it has told commands to stop that comply, with time for a machine that is busy.
const PROMPT: u64 = 4;

/// Hosts on which one of both kinds of users logs in.
struct Fleet {
    sshd: Sshd,
    user: Option<Arc<Ordinary>>,
    env: Env,
}

impl Fleet {
    /// Where the tests are not run by root there is only one kind.
    fn of_both(hosts: usize, config: &str) -> Vec<Fleet> {
        let users = if getuid().is_root() { vec![None, Some(Ordinary::user())] } else { vec![None] };
        let fleet = |user| {
            let env = Env::new();
            Fleet { sshd: Sshd::start(&env, Setup { hosts, config, ..Setup::default() }), user, env }
        };
        users.into_iter().map(fleet).collect()
    }

    fn of_root(hosts: usize, config: &str) -> Fleet {
        Fleet::of_both(hosts, config).remove(0)
    }

    fn name(&self) -> String {
        self.user.as_ref().map_or_else(current_user, |user| user.name().to_owned())
    }

    fn pssh(&self) -> Pssh {
        let hosts = self.sshd.hosts();
        let size = hosts.len().to_string();
        self.env.pssh().hosts(hosts).args(["-p", &size, "-l", &self.name()])
    }

    /// Fails unless all remote processes are gone a second after pssh.
    #[track_caller]
    fn is_empty(&self, run: &Run) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.sshd.processes().is_empty() {
            run.check(Instant::now() < deadline, &format!("left of {}: {:?}", self.name(), self.sshd.processes()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_timeout_leaves_nothing_on_twenty_hosts() {
    for fleet in Fleet::of_both(20, "") {
        let run = fleet.pssh().args(["-t", "2", "--", "echo begun; sleep 300"]).run();
        fleet.is_empty(&run);
        run.exits(3).within(2 + PROMPT);
        for label in fleet.sshd.labels() {
            run.ends(&label, "timeout command: not finished within 2 s");
            run.check(run.stdout_of(&label) == b"begun\n", "its output so far");
        }
        run.stderr_has("hint: the command was asked to stop").stderr_lacks("may still be running");
        // The same hint is said with the first three of them, and once for the others.
        run.stderr_has("pssh: hint for 17 more hosts: the command was asked to stop");
    }
}

#[test]
fn silence_leaves_nothing() {
    for fleet in Fleet::of_both(2, "") {
        let run = fleet.pssh().args(["--channel-timeout", "1", "--", "echo begun; sleep 300; echo"]).run();
        fleet.is_empty(&run);
        run.exits(3).within(1 + PROMPT).ends(&fleet.sshd.label(), "timeout silence");
    }
}

#[test]
fn a_signal_leaves_nothing_on_twenty_hosts() {
    for signal in [Signal::INT, Signal::TERM] {
        for fleet in Fleet::of_both(20, "") {
            let running = fleet.pssh().args(["--", "echo begun; sleep 977; echo not reached"]).start();
            fleet.sshd.wait_for_processes("sleep 977", 40);
            let since = Instant::now();
            running.signal(signal);
            let run = running.finish();
            let took = since.elapsed();
            fleet.is_empty(&run);
            run.dies_by(signal).check(took < Duration::from_secs(PROMPT), &format!("promptly, not after {took:?}"));
            run.stderr_has("pssh: 20 hosts: 20 cancelled\n  20 cancelled: stopped while running: 127.0.1.[1-20]\n");
            for label in fleet.sshd.labels() {
                run.check(run.stdout_of(&label) == b"begun\n" && run.hint(&label).is_none(), "its output, no warning");
            }
        }
    }
}

#[test]
fn what_ignores_it_is_killed() {
    for fleet in Fleet::of_both(3, "") {
        let line = "trap '' TERM HUP INT; echo begun; while :; do sleep 0.1; done";
        let run = fleet.pssh().args(["-t", "1", "--", line]).run();
        fleet.is_empty(&run);
        run.exits(3).within(1 + 2 + PROMPT).ends(&fleet.sshd.label(), "timeout command");
        run.check(run.hint(&fleet.sshd.label()).is_some_and(|hint| !hint.contains("may still")), "it was stopped");
    }
}

#[test]
fn what_needs_a_moment_to_clean_up_has_it() {
    for fleet in Fleet::of_both(2, "") {
        let line = "trap 'sleep 1; echo cleaned up; exit' TERM; echo begun; while :; do sleep 0.1; done";
        let run = fleet.pssh().args(["-t", "1", "--", line]).run();
        fleet.is_empty(&run);
        run.exits(3);
        let stdout = run.stdout_of(&fleet.sshd.label());
        run.check(stdout == b"begun\ncleaned up\n", "what it says last");
    }
}

#[test]
fn jobs_in_groups_of_their_own_go_too() {
    let fleet = Fleet::of_root(2, "");
    for line in [
        "set -m; sleep 300 & sleep 300 & echo begun; wait",
        "(sleep 300 & sleep 300) | cat",
        "exec bash -c 'set -m; (set -m; sleep 300 & wait) & wait'",
        // Its name must not be taken for numbers.
        "cp $(command -v sleep) \"$HOME/s) 1 1 1 (\"; \"$HOME/s) 1 1 1 (\" 300; echo",
    ] {
        let run = fleet.pssh().args(["-t", "1", "--", line]).run();
        fleet.is_empty(&run);
        run.exits(3).ends(&fleet.sshd.label(), "timeout command");
    }
}

#[test]
fn daemons_and_other_connections_are_left_alone() {
    let fleet = Fleet::of_root(1, "");
    let other = fleet.pssh().args(["--", "exec sleep 299"]).start();
    fleet.sshd.wait_for_processes("sleep 299", 1);
    // A daemon has a parent of its own, and a session of its own.
    let line = "(setsid sleep 298 >/dev/null 2>&1 </dev/null &) ; sleep 300; echo";
    let run = fleet.pssh().args(["-t", "1", "--", line]).run();
    run.exits(3);
    fleet.sshd.wait_for_processes("sleep 300", 0);
    fleet.sshd.wait_for_processes("sleep 298", 1);
    fleet.sshd.wait_for_processes("sleep 299", 1);
    drop(other);
}

#[test]
fn a_terminal_hangs_up() {
    for fleet in Fleet::of_both(2, "") {
        let run = fleet.pssh().args(["--pty", "-t", "1", "--", "echo begun; sleep 300; echo"]).run();
        fleet.is_empty(&run);
        run.exits(3).ends(&fleet.sshd.label(), "timeout command");
        run.check(run.stdout_of(&fleet.sshd.label()).starts_with(b"begun\r\n"), "its output so far");
    }
}

#[test]
fn where_no_second_channel_is_allowed_the_report_says_so() {
    let fleet = Fleet::of_root(1, "MaxSessions 1");
    let line = "sleep 300; echo";
    let run = fleet.pssh().args(["-t", "1", "--", line]).run();
    run.exits(3).within(1 + 3 + PROMPT).ends(&fleet.sshd.label(), "timeout command: not finished within 1 s");
    if getuid().is_root() {
        run.hints(&fleet.sshd.label(), "it may still be running there");
        fleet.sshd.wait_for_processes("sleep 300", 2);
    }
}

#[test]
fn a_fixed_command_is_not_run_once_more() {
    for user in if getuid().is_root() { vec![None, Some(Ordinary::user())] } else { vec![None] } {
        let env = Env::without_key();
        let key = crate::embedded::Key::generate(crate::embedded::KeyKind::Ed25519);
        key.write(&env.ssh_dir(), "id_ed25519");
        let counter = env.path("counter");
        fs::write(&counter, "").expect("a file");
        fs::set_permissions(&counter, fs::Permissions::from_mode(0o666)).expect("a mode");
        fs::set_permissions(env.path(""), fs::Permissions::from_mode(0o711)).expect("a mode");
        let fixed = format!("echo run >>{}; sleep 300; echo", counter.display());
        let authorized = vec![format!("command=\"{fixed}\" {}", key.public_line())];
        let sshd = Sshd::start(&env, Setup { authorized, ..Setup::default() });
        let name = user.as_ref().map_or_else(current_user, |user| user.name().to_owned());
        let run = env.pssh().hosts(sshd.hosts()).args(["-l", &name, "-t", "1", "--", "uptime"]).run();
        run.exits(3).hints(&sshd.label(), "it may still be running there");
        let runs = fs::read_to_string(&counter).expect("a file");
        run.check(runs == "run\n", &format!("once, not {runs:?}"));
    }
}
