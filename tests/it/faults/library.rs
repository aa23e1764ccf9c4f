//! The same faults on the library's client, to see what is left of them in a process that goes on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pssh::{AgentChoice, Arguments, Class, Client, RetryPolicy, Settings};

use super::cells::Phase;
use super::world::{Host, WELL, World};

/// The test that is the process of the client, and the environment variable with its directory.
const PROCESS: &str = "faults::library::a_client_in_a_process_of_its_own";
const DIRECTORY: &str = "PSSH_TEST_FAULTS_DIRECTORY";
/// How long connecting may take here: only what is left is looked at.
const CONNECT: Duration = Duration::from_secs(4);
/// How long the last threads of a run may take to go.
const SETTLING: Duration = Duration::from_secs(5);

#[test]
fn no_descriptor_and_no_thread_is_left_of_any_fault() {
    let world = World::new();
    // A pending lookup has a thread that is not waited for, as long as the system's resolver takes.
    let wanted = |host: &&Host| match host.cell {
        Some(cell) => !matches!(cell.phase, Phase::Resolve | Phase::Sftp),
        None => WELL.contains(&host.label.as_str()),
    };
    let hosts: Vec<&Host> = world.hosts.iter().filter(wanted).collect();
    world.list("library.hosts", &hosts);
    world.env.file("command", world.command());
    world.env.file("config", "Ciphers aes256-gcm@openssh.com\nServerAliveInterval 1\nServerAliveCountMax 1\n");
    let mut process = Command::new(std::env::current_exe().expect("this program"));
    process.args(["--ignored", "--exact", PROCESS, "--nocapture"]).env(DIRECTORY, world.env.path(""));
    let output = process.output().expect("this program can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let is_well = output.status.success() && said.contains("1 passed");
    assert!(is_well, "{said}{}", String::from_utf8_lossy(&output.stderr));
    world.leave();
}

#[test]
#[ignore = "another test starts it in a process of its own"]
fn a_client_in_a_process_of_its_own() {
    let directory = std::env::var_os(DIRECTORY).expect("the other test starts it");
    let directory = Path::new(&directory);
    let file = |name: &str| directory.join(name);
    let mut settings = Settings::for_library().expect("settings");
    settings.known_hosts = vec![file(".ssh/known_hosts")];
    settings.identities = vec![file(".ssh/id_ed25519")];
    settings.agent = AgentChoice::Nobody;
    settings.config_files = pssh::internal::Files::of("", Some(file("config").as_os_str()));
    settings.connect_timeout = Some(CONNECT);
    settings.retry = RetryPolicy { attempts: 1, delay: Duration::ZERO };
    settings.attempts_given = true;
    settings.pool_size = 200;
    let command = fs::read(file("command")).expect("the command");
    let hosts = pssh::gather(&[file("library.hosts")], &[]).expect("hosts");
    let cells = |host: &pssh::HostSpec| Arguments::named(host.arguments.iter().cloned());
    let before = held();
    for round in 0..2 {
        let client = Client::of(hosts.clone(), settings.clone()).expect("hosts");
        let run = client.command(command.clone()).host_args(hosts.iter().map(cells)).run().expect("it starts");
        let tally = run.join(Some(Duration::from_secs(60))).expect("it ends");
        assert_eq!(tally.total(), hosts.len(), "every host has an outcome: {tally}");
        let found = [Class::Ok, Class::Timeout, Class::Connect, Class::Proxy, Class::HostKey, Class::Auth, Class::Lost];
        assert!(found.into_iter().all(|class| tally.count(class) > 0), "all sorts of outcomes: {tally}");
        drop(run);
        drop(client);
        let until = Instant::now() + SETTLING;
        while held() != before && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(held(), before, "descriptors and threads after round {round}: {tally}\n{:?}", names());
    }
}

/// How many descriptors and threads this process has.
fn held() -> (usize, usize) {
    let count = |directory: &str| fs::read_dir(directory).expect("proc(5)").count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// What they are.
fn names() -> Vec<String> {
    let read = |directory: &str| fs::read_dir(directory).expect("proc(5)").flatten().map(|entry| entry.path());
    let files = read("/proc/self/fd").filter_map(|path| fs::read_link(path).ok());
    let threads = read("/proc/self/task").filter_map(|path| fs::read_to_string(path.join("comm")).ok());
    files.map(|file| file.display().to_string()).chain(threads.map(|name| name.trim().to_owned())).collect()
}
