//! Killing processes: what is killed, and that "nothing to kill" differs from a failure.

use std::process::{Child, Command, Stdio};

use pssh::internal::Program;

use crate::sshd::hosts;

/// A process with a unique command line, and a pattern for it. It is always ended.
struct Victim(Child, String);

impl Victim {
    fn new(number: u32) -> Victim {
        let time = format!("{}.{}", 3_000_000 + number, std::process::id());
        let child = Command::new("sleep").arg(&time).stdin(Stdio::null()).spawn().expect("sleep");
        // As pkill sees it; the shell that runs pkill has the pattern in its own command line, but not at the beginning.
        Victim(child, format!("-f '^sleep {time}$'"))
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_matches_is_killed_and_the_rest_lives() {
    let (env, sshd) = hosts(1);
    let (mut victim, mut other) = (Victim::new(1), Victim::new(2));
    let run = env.run_of(Program::Pnuke).hosts(sshd.hosts()).args(["--", &victim.1]).run();
    run.exits(0);
    run.check(run.stdout_text().contains("[SUCCESS] 127.0.1.1"), "pssh's line");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while victim.is_alive() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.check(!victim.is_alive() && other.is_alive(), "one is killed, the other is not");
}

#[test]
fn nothing_to_kill_is_told_from_a_pattern_that_is_none() {
    let (env, sshd) = hosts(1);
    let run = env.run_of(Program::Pnuke).hosts(sshd.hosts()).arg("no-such-process-at-all").run();
    run.exits(5).stderr_has("hint: no process matched");
    run.check(run.stdout_text().ends_with(" Exited with error code 1\n"), "pssh's words");
    let run = env.run_of(Program::Pnuke).hosts(sshd.hosts()).args(["--", "--no-such-option x"]).run();
    run.exits(5).stderr_has("hint: pkill does not understand the pattern");
}

#[test]
fn one_pattern_is_needed_and_no_more() {
    let (env, sshd) = hosts(1);
    env.run_of(Program::Pnuke).hosts(sshd.hosts()).run().exits(2).stderr_has("pnuke: PATTERN is missing");
    let run = env.run_of(Program::Pnuke).hosts(sshd.hosts()).args(["a", "b"]).run();
    run.exits(2).stderr_has("more than one pattern");
    assert_eq!(sshd.connections(), 0);
}
