//! When the system has nothing left for us: descriptors, threads, memory, room on the disk, a terminal. What is missing is said, with
//! the limit where there is one, the exit status is right, and what was received is kept.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, getuid};

use crate::bin::{Env, Pssh};
use crate::embedded::{Behaviour, Config, Event, Fault, Server, Step};
use crate::outcomes::full_listener;
use crate::sshd::{Fleet, hosts};

// Limits.

#[test]
fn a_limit_on_open_files_makes_the_pool_smaller_and_loses_no_host() {
    // 77 files are enough for a few hosts at once: all are run, in turns.
    let fleet = Fleet::new(20);
    let run = fleet.pssh().args(["-p", "20", "--", "echo x"]).shell("ulimit -n 76; exec \"$@\"").run();
    run.exits(0).stderr_has("pssh: 20 hosts: 20 ok\n");
    run.stderr_has("pssh: only 76 files may be open (ulimit -Hn), which is enough for 6 hosts at once; 20 need 104\n");
    for label in fleet.sshd.labels() {
        run.check(run.stdout_of(&label) == b"x\n", &label);
    }
}

#[test]
fn descriptors_that_run_out_meanwhile_are_the_failure_of_some_hosts_alone() {
    // The limit is lowered under a running run: what needs a descriptor then must do without.
    let fleet = Fleet::new(12);
    let mut running = fleet.pssh().args(["-p", "4", "--num-retries", "1", "--", "echo x; sleep 1"]).start();
    running.wait_for("x\n");
    let limit = ["--pid", &running.id().to_string(), "--nofile=8:8"].map(str::to_owned);
    assert!(Command::new("prlimit").args(limit).status().expect("prlimit of util-linux").success());
    let run = running.finish();
    run.exits(1).check(run.outcomes().len() == 12, "every host has its outcome");
    let (ok, local): (Vec<_>, Vec<_>) = run.outcomes().into_iter().partition(|(_, outcome)| outcome == "ok (exit 0)");
    run.check(ok.len() >= 4 && !local.is_empty(), "those that had begun have ended");
    run.check(local.iter().all(|(_, outcome)| outcome.contains("Too many open files")), "why the others have not");
    for (label, _) in ok {
        run.check(run.stdout_of(&label) == b"x\n", "its output");
    }
}

/// The number of a user who runs nothing else: the system counts the threads of each user.
const LONELY: u32 = 65_531;

#[test]
fn a_limit_on_threads_makes_the_pool_smaller_and_is_said_once() {
    assert!(getuid().is_root(), "only root can become another user");
    let env = Env::new();
    let addresses: Vec<_> = (1..=20).map(|last| format!("127.0.9.{last}").parse().expect("an address")).collect();
    let server = Server::start(Config { addresses, authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    // Everything there becomes that user's, who has no other home.
    let own = Command::new("chown").args(["-R", &LONELY.to_string()]).arg(env.path("")).status().expect("chown");
    assert!(own.success());
    let bin = env.path("pssh-of-all");
    fs::copy(crate::bin::path_of(pssh::internal::Program::Pssh), &bin).expect("a copy that everybody can reach");
    let port = server.port();
    let run = |limit: u32, args: &[&str]| {
        let user = format!("--reuid={LONELY} --regid={LONELY} --clear-groups");
        let script = format!("shift; exec setpriv {user} prlimit --nproc={limit}:{limit} {} \"$@\"", bin.display());
        let hosts = (1..=20).map(|last| format!("127.0.9.{last}:{port}"));
        env.pssh().hosts(hosts).args(["-l", "me", "-p", "20"]).args(args).args(["--", "echo x"]).shell(&script).run()
    };
    run(100, &[]).exits(0).stderr_lacks("threads");
    for limit in [16, 9, 6] {
        let few = run(limit, &[]);
        few.exits(0).stderr_has("pssh: 20 hosts: 20 ok\n").stderr_has("more threads can be started (ulimit -u, ");
        few.check(few.stderr_text().matches("threads").count() == 1, "it is said once");
        few.check(few.stdout_text().matches(": x\n").count() == 20, "the output of all hosts");
    }
    // Behind jump hosts, each of which takes a thread of its own.
    let jump = |last: u32| Config {
        addresses: vec![format!("127.0.10.{last}").parse().expect("an address")],
        authorised: env.public_lines(),
        ..Config::default()
    };
    let jumps = [1, 2].map(|last| Server::start(jump(last)));
    let mut known = fs::read_to_string(env.known_hosts()).expect("known hosts");
    known.extend(jumps.iter().map(|jump| jump.known_hosts()));
    fs::write(env.known_hosts(), known).expect("known hosts");
    let [one, two] = jumps.each_ref().map(|jump| format!("me@{}", jump.addr()));
    let both = format!("{one},{two}");
    for (limit, hosts, at_once) in
        [(12, &one, "5 hosts"), (6, &one, "1 host"), (5, &one, "1 host"), (7, &both, "1 host")]
    {
        let few = run(limit, &["-J", hosts]);
        few.exits(0).stderr_has("pssh: 20 hosts: 20 ok\n").stderr_has(&format!("enough for {at_once} at once, not 20"));
        few.check(few.stderr_text().matches("threads").count() == 1, "it is said once");
    }
    // With less there is none for the jump host: every host says why, once.
    let none = run(4, &["-J", &one, "--num-retries", "1"]);
    none.exits(4).check(none.outcomes().len() == 20, "every host has its outcome");
    none.ends("127.0.9.1", "proxy: 127.0.10.1").stderr_has("starting a thread: Resource temporarily unavailable\n");
    none.hints("127.0.9.1", "the limit of threads and processes (ulimit -u, pids.max of the cgroup)");
    // With none at all there is no run.
    let before = server.connections();
    run(2, &[]).exits(1).stderr_has("Resource temporarily unavailable");
    assert_eq!(server.connections(), before);
}

#[test]
fn memory_for_threads_that_runs_out_makes_the_pool_smaller() {
    let fleet = Fleet::new(1);
    let names = vec![fleet.sshd.hosts()[0].clone(); 400];
    let run = fleet.env.pssh().hosts(names).args(["-p", "400", "--", "echo x"]);
    let run = run.shell("ulimit -v 200000; exec \"$@\"").run();
    // A thread that was started may need memory just when the last of it has gone to others. Then the run is aborted, with the
    // words of whoever has asked for it: the allocator or the C library.
    if run.status.signal() == Some(Signal::ABORT.as_raw()) {
        run.check(!run.stderr.is_empty(), "why it was aborted");
    } else {
        run.stderr_has("more threads can be started").check(run.outcomes().len() == 400, "every host has its outcome");
    }
}

#[test]
fn memory_that_runs_out_is_never_taken_for_success() {
    let fleet = Fleet::new(2);
    // Below 30 MB there is no room for the program itself, and the kernel ends it before it starts.
    for limit in [30_000, 40_000, 60_000, 90_000, 120_000] {
        let pssh = fleet.pssh().args(["-p", "2", "--", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo well"]);
        let run = pssh.shell(&format!("ulimit -v {limit}; exec \"$@\"")).run();
        if run.status.success() {
            for label in fleet.sshd.labels() {
                run.ends(&label, "ok").check(run.stdout_of(&label).ends_with(b"well\n"), "all of its output");
            }
        } else {
            run.check(!run.stderr.is_empty(), &format!("what was wrong with {limit} KiB"));
        }
    }
}

// A disk.

/// A file system of one megabyte. Only root can make one: elsewhere there is nothing to try.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Small> {
        if !getuid().is_root() {
            return None;
        }
        fs::create_dir(path).expect("a directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(path).status();
        assert!(mount.expect("mount").success());
        Some(Small(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_below_outdir_keeps_what_fitted_and_fails_its_host() {
    let (env, sshd) = hosts(2);
    let Some(small) = Small::mount(&env.path("small")) else { return };
    let labels = sshd.labels();
    let command = format!("case $SSH_CONNECTION in *' {} '*) yes | head -c 3000000;; *) echo x;; esac", labels[0]);
    let run = env.pssh().hosts(sshd.hosts()).args(["-p", "1", "-o", "small", "--", &command]).count().run();
    run.exits(1).ends(&labels[0], "local: writing its output: small/");
    run.check(run.outcome(&labels[0]).ends_with("No space left on device"), "why").hints(&labels[0], "(exit 0)");
    // It goes on being shown, and the text in the file has no gap.
    run.check(run.stdout_counts.get(&labels[0]).is_some_and(|count| count.lines == 1_500_000), "all of it is shown");
    let file = fs::read(small.0.join(&sshd.hosts()[0])).expect("its file");
    run.check(file.len() > 500_000 && file.chunks(2).all(|line| line == b"y\n" || line == b"y"), "what fitted");
    run.check(run.outcome(&labels[1]).starts_with("local: ") || run.outcome(&labels[1]) == "ok (exit 0)", "the other");
}

// A terminal.

#[test]
fn without_a_terminal_a_question_fails_at_once() {
    let (env, sshd) = hosts(1);
    let run = env.pssh().hosts(sshd.hosts()).args(["-A", "--", "echo x"]).shell("exec setsid -w \"$@\"").run();
    run.exits(2).within(20).stderr_has("pssh: -A: there is no terminal to ask on; use --password-file");
    assert_eq!(sshd.connections(), 0);
    let lonely = Env::without_key();
    let server = Server::start(Config { password: Some("x".to_owned()), ..Config::default() });
    lonely.trust(&server.known_hosts());
    let run = lonely.pssh().hosts([server.addr()]).arg("x").shell("exec setsid -w \"$@\"").run();
    run.exits(4).within(20).ends("127.0.0.1", "auth: ").hints("127.0.0.1", "-A asks for a password");
    // A host key is never asked about.
    let stranger = Server::start(Config::default());
    let run = env.pssh().hosts([stranger.addr()]).arg("x").shell("exec setsid -w \"$@\"").run();
    run.exits(4).within(20).ends("127.0.0.1", "hostkey: ");
}

// A clock.

#[test]
fn deadlines_do_not_follow_the_wall_clock() {
    // All waits go by std's Instant, which is monotonic (clock_gettime(2)). The wall clock is for what is shown or recorded, and for the dates of
    // certificates; another use would be a mistake.
    let allowed = ["src/system/clock.rs", "src/journal/record.rs", "src/ssh/host_keys/certificate.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut directories, mut files) = (vec![root.join("src")], 0);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below it").display().to_string();
            let text = fs::read_to_string(&path).unwrap_or_default();
            files += 1;
            let reads = ["SystemTime::now", "UtcDateTime::now", "DateTime::now"].iter().any(|call| text.contains(call));
            assert!(
                !reads || name.contains("tests") || allowed.contains(&name.as_str()),
                "{name} reads the wall clock"
            );
        }
    }
    assert!(files > 100, "the sources are there");
}

// Signals.

#[test]
fn each_signal_ends_each_phase_with_an_outcome_for_every_host() {
    let phases = [
        ("connect", None),
        ("banner", Some(Fault::SilentBanner)),
        ("key exchange", Some(Fault::BannerThenSilence)),
        ("login", Some(Fault::StallAuth)),
        ("channel", Some(Fault::StallChannelOpen)),
        ("command", None),
    ];
    for (phase, fault) in phases {
        for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
            let env = Env::new();
            let steps = vec![Step::Stdout(b"begun\n".to_vec()), Step::WaitForEof, Step::Sleep(Duration::from_secs(99))];
            let behaviour = Behaviour::Script(steps);
            let authorised = env.public_lines();
            let server = Server::start(Config { authorised, fault: fault.clone(), behaviour, ..Config::default() });
            env.trust(&server.known_hosts());
            let mute = full_listener();
            let address = if phase == "connect" { mute.address } else { server.addr() };
            let running = env.pssh().hosts([address, address, address]).args(["-p", "2", "x"]).start();
            let reached = server.wait_until(Duration::from_secs(20), |server| match phase {
                "connect" => true,
                "command" => server.commands().len() == 2,
                "channel" => server.logged().iter().filter(|record| record.event == Event::ChannelOpen).count() == 2,
                _ => server.connections() == 2,
            });
            assert!(reached, "{phase}");
            std::thread::sleep(Duration::from_millis(if phase == "connect" { 300 } else { 50 }));
            running.signal(signal);
            let run = running.finish();
            run.dies_by(signal).within(30).check(run.outcomes().len() == 3, &format!("{phase}: three outcomes"));
            let cancelled = run.outcomes().iter().all(|(_, outcome)| outcome.starts_with("cancelled: "));
            run.check(cancelled, phase).stderr_has("pssh: 3 hosts: 3 cancelled\n");
            if phase == "command" {
                run.check(run.stdout_text().matches("begun\n").count() == 2, "what was received");
            }
        }
    }
}

#[test]
fn quit_ends_it_at_once_and_pipe_does_nothing() {
    let fleet = Fleet::new(2);
    let start = |pssh: Pssh| {
        let running = pssh.args(["--", "echo begun; sleep 2; echo done"]).start();
        fleet.sshd.wait_for_processes("sleep 2", 4);
        running
    };
    let running = start(fleet.pssh());
    running.signal(Signal::PIPE);
    let run = running.finish();
    run.exits(0).check(run.stdout_text().matches("done\n").count() == 2, "it went on");
    let running = start(fleet.pssh());
    running.signal(Signal::QUIT);
    let run = running.finish();
    run.dies_by(Signal::QUIT).within(20).check(run.stdout_text().contains("begun\n"), "what was received");
}
