//! Runs that are stopped and continued, as by Ctrl-Z and fg: whatever has come meanwhile counts, however late we look.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use pssh::internal::Program;
use rustix::process::Signal;

use crate::bin::{Env, Pssh, Running};
use crate::embedded::{Config, Server};
use crate::raw::{Raw, Script, USERAUTH_REQUEST, Wire};
use crate::sshd::{Setup, Sshd};

/// The host's address.
const HOST: &str = "127.0.1.1";

/// A way to a host.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Behind(usize),
    Command,
}

const WAYS: [Way; 4] = [Way::Direct, Way::Behind(1), Way::Behind(2), Way::Command];

/// Connects by bash alone, and ends with the connection. A program in the background has another input.
const BASH: &str = "bash -c 'exec 3<>/dev/tcp/%h/%p 4<&0; cat <&4 >&3 & cat <&3; kill $!'";

/// A home, a host, and jump hosts.
struct World {
    env: Env,
    sshd: Sshd,
    jumps: Vec<Server>,
}

impl World {
    fn new() -> World {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup::default());
        let jumps = ["127.0.0.11", "127.0.0.12"].map(|address| {
            let addresses = vec![address.parse().expect("an address")];
            let server = Server::start(Config { addresses, authorised: env.public_lines(), ..Config::default() });
            env.trust(&server.known_hosts());
            server
        });
        World { env, sshd, jumps: jumps.into() }
    }

    fn run_of(&self, program: Program, way: Way) -> Pssh {
        let run = self.env.run_of(program).hosts(self.sshd.hosts()).args(["--num-retries", "1"]);
        match way {
            Way::Direct => run,
            Way::Behind(count) => {
                let jumps: Vec<String> = self.jumps[..count].iter().map(|jump| jump.addr().to_string()).collect();
                run.args(["-J", &jumps.join(",")])
            }
            Way::Command => run.args(["--proxy-command", BASH]),
        }
    }

    /// Starts a run that makes the file `begun` there, and stops it for so long from then on.
    #[track_caller]
    fn stop(&self, run: Pssh, begun: &str, time: Duration) -> Running {
        let begun = self.env.path(begun);
        let _ = fs::remove_file(&begun);
        let mut running = run.start();
        while !begun.exists() {
            assert!(running.is_running(), "it ended before: {}", running.finish().context());
            thread::sleep(Duration::from_millis(5));
        }
        // The server's consent may come after the command's first deed.
        thread::sleep(Duration::from_millis(300));
        stop(&running, time);
        running
    }

    /// A command that says that it has begun, and then does `rest`.
    fn command(&self, rest: &str) -> String {
        format!("touch '{}'; {rest}", self.env.path("begun").display())
    }
}

/// Stops a run for so long.
fn stop(running: &Running, time: Duration) {
    running.signal(Signal::STOP);
    thread::sleep(time);
    running.signal(Signal::CONT);
}

#[test]
fn a_command_that_has_ended_in_time_counts() {
    let world = World::new();
    let command = world.command("sleep 1; yes | head -c 100000; echo done >&2; exit 3");
    for way in WAYS {
        let limits = [["-t", "2"], ["--channel-timeout", "2"], ["--total-timeout", "2"]];
        for limit in limits {
            let run = world.run_of(Program::Pssh, way).args(limit).args(["--", &command]);
            let run = world.stop(run, "begun", Duration::from_secs(4)).finish();
            run.exits(5).ends(HOST, "exit 3");
            run.check(run.stdout_of(HOST).len() == 100_000, &format!("{way:?}: all of its output"));
            run.check(run.stderr_of(HOST) == b"done\n", &format!("{way:?}: its stderr"));
        }
    }
}

#[test]
fn a_command_that_has_not_ended_has_run_out_of_time() {
    let world = World::new();
    let command = world.command("echo on; exec sleep 60");
    for way in WAYS {
        let run = world.run_of(Program::Pssh, way).args(["-t", "2", "--", &command]);
        let run = world.stop(run, "begun", Duration::from_secs(4)).finish();
        run.exits(3).ends(HOST, "timeout command: not finished within 2 s").within(12);
        run.check(run.stdout_of(HOST) == b"on\n", "its output so far");
        // It had all of its time to end, and did.
        run.stderr_lacks("may still be running");
        world.sshd.wait_for_processes("sleep 60", 0);
    }
}

#[test]
fn a_flood_does_not_keep_a_deadline_from_passing() {
    let world = World::new();
    let command = world.command(&format!("yes {}", "x".repeat(500)));
    for way in [Way::Direct, Way::Behind(1)] {
        let run = world.run_of(Program::Pssh, way).args(["-t", "2", "--", &command]).count();
        let run = world.stop(run, "begun", Duration::from_secs(4)).finish();
        run.exits(3).ends(HOST, "timeout command: not finished within 2 s").within(20);
    }
}

#[test]
fn output_that_goes_on_is_no_silence() {
    let world = World::new();
    let command = world.command("for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.5; done");
    for way in WAYS {
        let run = world.run_of(Program::Pssh, way).args(["--channel-timeout", "2", "--", &command]);
        let run = world.stop(run, "begun", Duration::from_secs(3)).finish();
        run.exits(0).ends(HOST, "ok (exit 0)");
        run.check(run.stdout_of(HOST) == b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", &format!("{way:?}"));
    }
}

#[test]
fn a_live_host_is_not_taken_for_vanished() {
    let world = World::new();
    let command = world.command("sleep 7; echo end");
    for way in WAYS {
        let options = ["-O", "ServerAliveInterval=1", "-O", "ServerAliveCountMax=2", "--", &command];
        let running = world.stop(
            world.run_of(Program::Pssh, way).args(options),
            "begun",
            // Longer than all questions together.
            Duration::from_secs(5),
        );
        // And once more, while the answer to a question is awaited.
        thread::sleep(Duration::from_millis(1050));
        stop(&running, Duration::from_secs(4));
        let run = running.finish();
        run.exits(0).ends(HOST, "ok (exit 0)");
        run.check(run.stdout_of(HOST) == b"end\n", &format!("{way:?}"));
    }
}

#[test]
fn copies_go_on() {
    let world = World::new();
    let bytes: Vec<u8> = (0..60_000_000_u32).map(|number| (number ^ number >> 9) as u8).collect();
    let (file, there) = (world.env.path("file"), world.env.path("there"));
    fs::write(&file, &bytes).expect("a file");
    for way in [Way::Direct, Way::Behind(1)] {
        for (program, options) in [
            (Program::Pscp, &[][..]),
            (Program::Pscp, &["-x", "-O"]),
            (Program::Prsync, &["-x", "--bwlimit=20000 --inplace"]),
        ] {
            fs::create_dir_all(&there).expect("a directory");
            let copy = there.join("file");
            let options = [options, &["--channel-timeout", "2", "-O", "ServerAliveInterval=1"]].concat();
            let running = world.run_of(program, way).args(options).arg(&file).arg(&copy).start();
            let size = || {
                let entries = fs::read_dir(&there).expect("a directory").flatten();
                entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).max().unwrap_or(0)
            };
            while size() < 1_000_000 {
                thread::sleep(Duration::from_millis(1));
            }
            stop(&running, Duration::from_secs(5));
            let run = running.finish();
            run.exits(0);
            run.check(fs::read(&copy).is_ok_and(|copy| copy == bytes), &format!("{way:?}: the copy is whole"));
            fs::remove_dir_all(&there).expect("a directory");
        }
    }
}

#[test]
fn an_answer_to_the_login_that_has_come_in_time_counts() {
    fn slowly(wire: &mut Wire) -> io::Result<()> {
        thread::sleep(Duration::from_secs(1));
        wire.send(&[crate::raw::IGNORE, 0, 0, 0, 0])
    }
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"in\n")?;
        wire.end(channel, 0)
    }
    let env = Env::new();
    let jump = Server::start(Config {
        addresses: vec!["127.0.0.11".parse().expect("an address")],
        authorised: env.public_lines(),
        ..Config::default()
    });
    env.trust(&jump.known_hosts());
    let jump = jump.addr().to_string();
    for way in [&[][..], &["-J", &jump], &["--proxy-command", BASH]] {
        let raw = Raw::start(Script { at_login: Some(slowly), command: Some(command), ..Script::default() });
        env.trust(&raw.known_hosts_line());
        let run = env.pssh().hosts([raw.address]).args(["--connect-timeout", "3", "--num-retries", "1"]).args(way);
        let running = run.args(["--", "true"]).start();
        while raw.count(USERAUTH_REQUEST) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        stop(&running, Duration::from_secs(5));
        let run = running.finish();
        run.exits(0).ends("127.0.0.1", "ok (exit 0)").stdout_is("127.0.0.1: in\n");
    }
}

/// Milliseconds between the moments at which runs are stopped.
const MOMENT: u64 = 15;

/// How runs end that are stopped for 4 s, each at another moment of its login, with less time than that for it.
#[track_caller]
fn logins_go_on(way: Way, moments: u32, run: impl Fn(u32) -> Pssh + Sync) {
    thread::scope(|scope| {
        let all: Vec<_> = (0..moments)
            .map(|number| {
                let run = &run;
                scope.spawn(move || {
                    let running = run(number).start();
                    thread::sleep(Duration::from_millis(u64::from(number) * MOMENT));
                    stop(&running, Duration::from_secs(4));
                    (number, running.finish())
                })
            })
            .collect();
        for run in all {
            let (number, run) = run.join().expect("a run");
            run.check(run.status.success(), &format!("{way:?}, stopped after {} ms", u64::from(number) * MOMENT));
        }
    });
}

#[test]
fn a_login_goes_on() {
    let world = World::new();
    for way in WAYS {
        logins_go_on(way, 16, |_| world.run_of(Program::Pssh, way).args(["--connect-timeout", "2", "--", "true"]));
    }
}

#[test]
fn the_logins_of_many_hosts_behind_one_jump_host_go_on() {
    let world = World::new();
    let hosts = vec![world.sshd.hosts()[0].clone(); 7];
    for way in [Way::Behind(1), Way::Behind(2)] {
        // Not all at once: each host costs the machine a login.
        logins_go_on(way, 3, |_| {
            world.run_of(Program::Pssh, way).hosts(&hosts).args(["-p", "8", "--connect-timeout", "3", "--", "true"])
        });
    }
}

#[test]
fn a_copy_whose_login_was_stopped_goes_on() {
    let world = World::new();
    let file = world.env.file("file", "x");
    for way in [Way::Behind(1), Way::Behind(2)] {
        let programs = [Program::Pscp, Program::Prsync];
        logins_go_on(way, 12, |number| {
            let there = world.env.path(&format!("there{number}"));
            let run = world.run_of(programs[number as usize % 2], way).args(["--connect-timeout", "2"]);
            run.arg(&file).arg(there)
        });
    }
}

#[test]
fn a_host_that_does_not_answer_has_run_out_of_time_after_a_stop_too() {
    let world = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = silent.local_addr().expect("a name");
    for way in [Way::Direct, Way::Behind(1)] {
        let run = world.run_of(Program::Pssh, way).args(["--connect-timeout", "2", "--host-key-check", "off"]);
        let running = run.hosts([address]).args(["--", "true"]).start();
        thread::sleep(Duration::from_millis(700));
        stop(&running, Duration::from_secs(4));
        let run = running.finish();
        run.exits(3).ends("127.0.0.1", "timeout connect: no SSH banner within 2 s").within(9);
    }
}

#[test]
fn what_is_told_to_stop_has_its_time_for_that() {
    let world = World::new();
    let kept = world.env.path("kept");
    let clean = format!("trap 'sleep 1; echo clean > \"{}\"; exit 0' TERM", kept.display());
    let command = world.command(&format!("{clean}; while :; do sleep 0.1; done"));
    for way in [Way::Direct, Way::Behind(1)] {
        let _ = fs::remove_file(&kept);
        let running = world.stop(world.run_of(Program::Pssh, way).args(["--", &command]), "begun", Duration::ZERO);
        running.signal(Signal::INT);
        // Stopped between the first and the second way to tell it, for longer than what it is given to end in.
        thread::sleep(Duration::from_millis(200));
        stop(&running, Duration::from_secs(5));
        let run = running.finish();
        run.dies_by(Signal::INT).ends(HOST, "cancelled").stderr_lacks("may still be running");
        run.check(fs::read_to_string(&kept).is_ok_and(|text| text == "clean\n"), "it has cleaned up");
    }
}
