//! What a host costs, in numbers that do not depend on the machine's speed: instructions, allocations, system calls, messages. A
//! change that makes one of them grow by a quarter is to be noticed here, not by a user with 5,000 hosts. valgrind counts; the
//! difference between two runs is what the hosts in between have cost. How long that takes is measured in `benches`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::{env, fs};

use pssh::{Class, Client};

use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Event, Server};
use crate::sshd::{Fleet, Setup, Sshd};

/// Hosts of the two runs that are compared.
const FEW: u8 = 4;
const MANY: u8 = 12;
/// How many commands a process of [`a_further_command_on_a_session_that_stays`] runs.
const COMMANDS: &str = "PSSH_TEST_COMMANDS";

/// Hosts that say a line, with the one key exchange that does not depend on the versions of the libraries.
fn server(env: &Env) -> Server {
    let server = Server::start(Config {
        addresses: (1..=MANY).map(|number| IpAddr::V4(Ipv4Addr::new(127, 0, 3, number))).collect(),
        authorised: env.public_lines(),
        only_curve25519: true,
        behaviour: Behaviour::Cheap { stdout: b"up 12 days\n".to_vec(), status: 0 },
        ..Config::default()
    });
    env.trust(&server.known_hosts());
    server
}

/// A run on the first `count` hosts, one after the other, by valgrind with `options`; and what valgrind says about it.
fn counted(env: &Env, server: &Server, count: u8, options: &str) -> (Run, String) {
    counted_with(env, server, count, options, &[])
}

/// The same, with these variables, which are sent to the hosts.
fn counted_with(env: &Env, server: &Server, count: u8, options: &str, variables: &[&str]) -> (Run, String) {
    let report = env.path("valgrind.txt");
    let hosts = (1..=count).map(|number| format!("127.0.3.{number}:{}", server.port()));
    let script = format!("exec valgrind {options} --log-file={} \"$@\"", report.display());
    let mut pssh = env.pssh().hosts(hosts).args(["-O", "SendEnv=LANG LC_*", "-p", "1", "uptime"]);
    for name in variables {
        pssh = pssh.variable(name, "C.UTF-8");
    }
    let run = pssh.shell(&script).limit(240).run();
    run.exits(0).stderr_has(&format!("pssh: {count} hosts: {count} ok\n"));
    (run, fs::read_to_string(report).expect("valgrind's report"))
}

/// The number behind `words` in a report.
fn number(report: &str, words: &str) -> u64 {
    let (_, rest) = report.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {report}"));
    let digits = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',');
    digits.filter(|c| *c != ',').collect::<String>().parse().expect("a number")
}

/// What one of the hosts between the two runs has cost.
fn per_host(few: u64, many: u64) -> u64 {
    many.saturating_sub(few) / u64::from(MANY - FEW)
}

/// Fails unless `is` lies at most a quarter above `expected`.
#[track_caller]
fn at_most(run: &Run, what: &str, is: u64, expected: u64) {
    run.check(is > 0 && is <= expected + expected / 4, &format!("{what}: {is} per host instead of {expected}"));
}

#[test]
fn instructions() {
    let env = Env::new();
    let server = server(&env);
    let options = format!("--tool=callgrind --callgrind-out-file={}", env.path("callgrind.out").display());
    let (_, few) = counted(&env, &server, FEW, &options);
    let (run, many) = counted(&env, &server, MANY, &options);
    let instructions = |report: &str| number(report, "Collected :");
    // Without optimisation, as tests are built; most of it is the cryptography of the key exchange and the login.
    at_most(&run, "instructions", per_host(instructions(&few), instructions(&many)), 4_700_000);
}

#[test]
fn allocations_system_calls_and_messages() {
    let env = Env::new();
    let server = server(&env);
    let options = "--tool=memcheck --leak-check=no --undef-value-errors=no --trace-syscalls=yes";
    let (_, few) = counted(&env, &server, FEW, options);
    let (run, many) = counted(&env, &server, MANY, options);
    let usage = |report: &str, words: &str| {
        let (_, usage) = report.split_once("total heap usage:").expect("valgrind's count of allocations");
        number(usage, words)
    };
    at_most(&run, "allocations", per_host(usage(&few, ""), usage(&many, "")), 310);
    at_most(&run, "bytes allocated", per_host(usage(&few, "frees,"), usage(&many, "frees,")), 110_000);

    let (few, many) = (calls(&few), calls(&many));

    let per_host = |names: &[&str]| {
        let count = |calls: &BTreeMap<String, u64>| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
        count(&many).saturating_sub(count(&few)) as f64 / f64::from(MANY - FEW)
    };
    // Whatever is in files was read before the first host.
    let files = per_host(&["openat", "open", "read", "newfstatat", "statx", "stat", "lstat", "lseek", "access"]);
    run.check(files == 0.0, &format!("{files} system calls about files per host"));
    let connections = per_host(&["socket"]);
    run.check(connections == 1.0, &format!("{connections} sockets per host"));
    // Identification, KEXINIT, key exchange, NEWKEYS with the request for the service, the question about the key, the signature,
    // opening the channel, the command with the end of its input, and the channel's close with SSH_MSG_DISCONNECT.
    let messages = per_host(&["sendto"]);
    run.check(messages == 9.0, &format!("{messages} messages per host"));
    // The identification is not read byte by byte, and no read looks for an answer right after a question.
    let reads = per_host(&["recvfrom"]);
    run.check(reads <= 14.0, &format!("{reads} reads per host"));
    let waits = per_host(&["ppoll", "poll"]);
    run.check(waits <= 10.0, &format!("{waits} waits per host"));
}

#[test]
fn ten_variables_go_along_with_the_command() {
    let env = Env::new();
    let server = server(&env);
    let options = "--tool=none --trace-syscalls=yes";
    let names = ["LANG", "LC_1", "LC_2", "LC_3", "LC_4", "LC_5", "LC_6", "LC_7", "LC_8", "LC_9"];
    let (_, few) = counted_with(&env, &server, FEW, options, &names);
    let (run, many) = counted_with(&env, &server, MANY, options, &names);
    let asked = server.logged().iter().filter(|record| matches!(record.event, Event::Env { .. })).count();
    run.check(asked == names.len() * usize::from(FEW + MANY), &format!("{asked} variables"));
    let sent = |report: &str| calls(report).get("sendto").copied().unwrap_or_default();
    let messages = per_host(sent(&few), sent(&many));
    run.check(messages == 9, &format!("{messages} messages per host"));
}

#[test]
fn a_further_command_on_a_session_that_stays() {
    if let Ok(commands) = env::var(COMMANDS) {
        return run_on_one_session(commands.parse().expect("a number"));
    }
    let directory = Env::new();
    let report = |commands: u8| {
        let report = directory.path("valgrind.txt");
        let output = Command::new("valgrind")
            .args(["--tool=none", "--trace-syscalls=yes"])
            .arg(format!("--log-file={}", report.display()))
            .arg(env::current_exe().expect("this program"))
            .args(["--exact", "cost::a_further_command_on_a_session_that_stays", "--nocapture"])
            .env(COMMANDS, commands.to_string())
            .output()
            .expect("valgrind can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        calls(&fs::read_to_string(report).expect("valgrind's report"))
    };
    let (few, many) = (report(FEW), report(MANY));
    let per_command = |names: &[&str]| {
        let count = |calls: &BTreeMap<String, u64>| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>();
        count(&many).saturating_sub(count(&few)) as f64 / f64::from(MANY - FEW)
    };
    // Opening the channel, the command with the end of its input, and the channel's close.
    assert_eq!(per_command(&["sendto"]), 3.0, "messages per command");
    assert_eq!(per_command(&["socket"]), 0.0, "sockets per command");
    let (reads, waits) = (per_command(&["recvfrom"]), per_command(&["ppoll", "poll"]));
    assert!(reads <= 8.0, "{reads} reads per command");
    assert!(waits <= 8.0, "{waits} waits per command");
}

/// Runs so many commands one after the other on one host, which is logged in to once.
fn run_on_one_session(commands: u8) {
    let directory = Env::new();
    let sshd = Sshd::start(&directory, Setup::default());
    let mut settings = Fleet::settings_of(&directory);
    settings.identities = vec![directory.ssh_dir().join("id_ed25519")];
    let client = Client::new(sshd.hosts(), settings).expect("hosts");
    for _ in 0..commands {
        let tally = client.run_command("true").expect("it starts").join(None).expect("no limit");
        assert_eq!(tally.count(Class::Ok), 1);
    }
    assert_eq!(sshd.connections(), 1);
}

#[test]
fn long_files_that_hardly_matter_are_not_taken_apart() {
    let env = Env::new();
    let count = |options: &[&str]| {
        let report = env.path("valgrind.txt");
        let script = format!("exec valgrind --log-file={} \"$@\"", report.display());
        let run = env.pssh().hosts(["web1"]).args(options).args(["--dry-run", "true"]).shell(&script).limit(240).run();
        run.exits(0);
        (number(&fs::read_to_string(report).expect("valgrind's report"), "total heap usage:"), run)
    };
    let known_hosts: String = (0..10_000)
        .map(|number| format!("web{number},10.0.0.{number} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043}\n"))
        .collect();
    let known_hosts = env.file("many_known_hosts", &known_hosts);
    let many = format!("UserKnownHostsFile={}", known_hosts.display());
    let (plain, _) = count(&[]);
    let (with_keys, run) = count(&["-O", &many]);
    // A line takes five allocations once it is in a table for look-ups, which a run without a connection does not need.
    run.check(
        with_keys < plain + 100,
        &format!("{with_keys} allocations with 10,000 known host keys, {plain} without"),
    );

    let blocks: String =
        (0..1_000).map(|n| format!("Host db{n} db{n}.*\n HostName 10.0.0.1\n User admin\n Port {n}\n\n")).collect();
    let config = env.file("long_config", blocks.replace("Port 0\n", "Port 1\n"));
    let (with_blocks, run) = count(&["-F", config.to_str().expect("UTF-8")]);
    let each = with_blocks.saturating_sub(plain) / 1_000;
    run.check(each <= 19, &format!("{each} allocations for a block of ssh_config with three settings"));
}

/// How often each system call was made.
fn calls(report: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in report.lines() {
        let name = line.split_once(") sys_").and_then(|(_, rest)| rest.split_once(' '));
        if let Some((name, _)) = name.filter(|_| line.contains("SYSCALL[")) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}
