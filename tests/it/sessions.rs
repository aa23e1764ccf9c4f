//! Sessions that stay between the commands of a client, against a real sshd.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pssh::{Class, Client, ConfigFiles, Proxy, Run, Settings, Source, Via};

use crate::bin::Env;
use crate::client::{class, text};
use crate::embedded::{Behaviour, Config, Server, Step};
use crate::sshd::{Fleet, Setup, Sshd};

/// Longer than anything takes but a hang.
const SOON: Option<Duration> = Some(Duration::from_secs(30));
/// Set for a test that runs alone in a process of its own.
const ALONE: &str = "PSSH_TEST_ALONE";

/// A server, and a client for all its hosts.
struct Site {
    env: Env,
    sshd: Sshd,
}

impl Site {
    fn new(hosts: usize, config: &str) -> Site {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts, config, ..Setup::default() });
        Site { env, sshd }
    }

    fn settings(&self) -> Settings {
        let mut settings = Fleet::settings_of(&self.env);
        settings.identities = vec![self.env.ssh_dir().join("id_ed25519")];
        settings.retry.attempts = 1;
        settings
    }

    fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    fn client_with(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = self.settings();
        change(&mut settings);
        Client::new(self.sshd.hosts(), settings).expect("hosts")
    }

    /// The lines that commands have appended to a file.
    fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.env.path(name)).unwrap_or_default().lines().count()
    }

    /// Waits until a command runs on so many hosts.
    fn wait_for(&self, command: &str, hosts: usize) {
        let count = || self.sshd.processes().iter().filter(|process| process.contains(command)).count();
        wait_until(command, || count() >= hosts);
    }

    /// Waits until so many clients have said goodbye.
    #[track_caller]
    fn wait_for_goodbyes(&self, count: usize) {
        let said = || self.sshd.log().matches("Received disconnect").count();
        let deadline = Instant::now() + Duration::from_secs(20);
        while said() != count {
            assert!(Instant::now() < deadline, "{} of {count} goodbyes:\n{}", said(), self.sshd.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn path(&self, name: &str) -> String {
        self.env.path(name).display().to_string()
    }
}

#[track_caller]
fn all_ok(run: &Run) {
    let tally = run.join(SOON).expect("it ends");
    let outcomes: Vec<_> = run.hosts().iter().map(|host| format!("{:?}", host.outcome())).collect();
    assert_eq!(tally.count(Class::Ok), run.hosts().len(), "{outcomes:?}");
}

/// Runs a command, which succeeds on all hosts.
#[track_caller]
fn run(client: &Client, command: &str) {
    all_ok(&client.run_command(command).expect("it starts"));
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ten_commands_on_five_hosts_are_five_logins() {
    let site = Site::new(5, "");
    let client = site.client();
    let mut connections = Vec::new();
    for number in 0..10 {
        let run = client.run_command(format!("echo {number} $SSH_CONNECTION")).expect("it starts");
        all_ok(&run);
        let lines: Vec<String> = run.hosts().iter().flat_map(|host| text(host.stdout())).collect();
        assert!(lines.iter().all(|line| line.starts_with(&format!("{number} "))), "{lines:?}");
        connections.push(lines.iter().map(|line| line[2..].to_owned()).collect::<Vec<_>>());
    }
    assert!(connections.iter().all(|lines| *lines == connections[0]), "{connections:?}");
    assert_eq!(site.sshd.connections(), 5);
    // However a command ends: the session stays.
    for command in ["exit 3", "kill -9 $$", "echo >&2"] {
        client.run_command(command).expect("it starts").join(SOON).expect("it ends");
    }
    assert_eq!(site.sshd.connections(), 5);
    // A clone has the same sessions, another client has not.
    run(&client.clone(), "true");
    assert_eq!(site.sshd.connections(), 5);
    run(&site.client(), "true");
    assert_eq!(site.sshd.connections(), 10);
}

#[test]
fn settings_of_a_command_hold_for_it_alone() {
    let site = Site::new(1, "");
    let client = site.client();
    run(&client, "true");
    let late = client.command("sleep 978").timeout(Duration::from_millis(500)).run().expect("it starts");
    assert_eq!(late.join(SOON).expect("it ends").count(Class::Timeout), 1);
    let mut writer = None;
    let cat = client.command("cat").with_stdin().run().expect("it starts");
    for host in &cat {
        writer = host.stdin();
    }
    std::io::Write::write_all(&mut writer.take().expect("a writer"), b"in\n").expect("somebody reads");
    all_ok(&cat);
    assert_eq!(text(cat.hosts()[0].stdout()), ["in"]);
    run(&client, "sleep 1");
    // A command that was stopped takes its session along.
    assert_eq!(site.sshd.connections(), 2);
}

#[test]
fn a_server_that_comes_back_is_logged_in_to_once_more() {
    let mut site = Site::new(2, "");
    let client = site.client();
    run(&client, "true");
    site.sshd.go_down();
    site.sshd.come_back();
    let file = site.path("out");
    run(&client, &format!("echo >>{file}"));
    assert_eq!((site.sshd.connections(), site.lines("out")), (4, 2));
}

#[test]
fn a_session_that_ended_between_two_commands_is_replaced() {
    let site = Site::new(1, "");
    let client = site.client();
    let file = site.path("out");
    // Noticed before the next command, and by it.
    for (wait, connections) in [(2500, 2), (100, 3), (100, 4)] {
        let ended = site.path("ended");
        run(&client, &format!("(exec >/dev/null 2>&1 </dev/null; sleep 0.5; kill -9 $PPID; echo >{ended}) & true"));
        wait_until("the session is killed", || site.lines("ended") == 1);
        thread::sleep(Duration::from_millis(wait));
        run(&client, &format!("rm {ended}; echo >>{file}"));
        assert_eq!(site.sshd.connections(), connections);
    }
    assert_eq!(site.lines("out"), 3);
}

#[test]
fn a_session_that_ends_during_a_command_is_lost_and_nothing_is_repeated() {
    let site = Site::new(1, "");
    let client = site.client_with(|settings| settings.retry.attempts = 3);
    run(&client, "true");
    let file = site.path("out");
    let lost = client.run_command(format!("echo >>{file}; kill -9 $PPID; sleep 1")).expect("it starts");
    lost.join(SOON).expect("it ends");
    assert_eq!(class(&lost.hosts()[0]), Some(Class::Lost));
    assert_eq!((site.lines("out"), site.sshd.connections()), (1, 1));
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 2);
}

/// A server with a script for each of these commands, which runs all others, and a client for it.
fn scripted(scripts: &[(&str, &[Step])], change: impl FnOnce(&mut Settings)) -> (Env, Server, Client) {
    let env = Env::new();
    let config = Config { authorised: env.public_lines(), ..Config::default() };
    let on = |config: Config, (command, steps): &(&str, &[Step])| config.on(command, Behaviour::Script(steps.to_vec()));
    let server = Server::start(scripts.iter().fold(config, on));
    env.trust(&server.known_hosts());
    let mut settings = Fleet::settings_of(&env);
    settings.identities = vec![env.ssh_dir().join("id_ed25519")];
    settings.retry.attempts = 3;
    change(&mut settings);
    let client = Client::new([server.addr().to_string()], settings).expect("a host");
    (env, server, client)
}

#[test]
fn a_command_that_the_server_refuses_is_asked_for_once() {
    let (_env, server, client) = scripted(&[("do refuse", &[Step::RejectExec])], |_| {});
    run(&client, "true");
    let refused = client.run_command("do refuse").expect("it starts");
    refused.join(SOON).expect("it ends");
    assert_eq!(class(&refused.hosts()[0]), Some(Class::Ssh));
    assert_eq!((server.commands(), server.connections()), (vec!["true".to_owned(), "do refuse".to_owned()], 1));
}

#[test]
fn a_kept_connection_that_has_fallen_silent_is_replaced() {
    let end = [Step::Eof, Step::ExitStatus(0), Step::Freeze];
    let second = Duration::from_secs(1);
    let (_env, server, client) = scripted(&[("do freeze", &end)], |settings| settings.connect_timeout = Some(second));
    run(&client, "do freeze");
    // The server falls silent after it has sent the end.
    thread::sleep(second);
    let begun = Instant::now();
    run(&client, "true");
    assert!(begun.elapsed() >= second, "it had its time: {:?}", begun.elapsed());
    assert_eq!((server.commands(), server.connections()), (vec!["do freeze".to_owned(), "true".to_owned()], 2));
}

#[test]
fn files_are_read_again_once_a_login_is_needed() {
    let site = Site::new(2, "");
    let config = site.env.path("config");
    let write = |text: &str| fs::write(&config, text).expect("a file");
    write("");
    let client = site.client_with(|settings| {
        settings.config_files = ConfigFiles::of("", Some(config.as_os_str()));
    });
    run(&client, "true");
    // Nothing is read while all hosts are connected.
    write("Port none");
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 2);
    let timed = client.command("true").timeout(Duration::from_secs(20)).run();
    let error = timed.err().expect("another time limit is prepared anew").to_string();
    assert!(error.contains("config:1"), "{error}");
    client.close();
    let error = client.run_command("true").err().expect("a login is needed").to_string();
    assert!(error.contains("config:1"), "{error}");
    write("");
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 4);
}

/// The session of the last command ends in a way that is noticed only when the next command is to be sent: the run has begun with what
/// an earlier one has read.
#[test]
fn a_password_is_asked_for_anew_when_a_session_turns_out_to_have_ended() {
    let env = Env::new();
    let end = vec![Step::Eof, Step::ExitStatus(0), Step::Freeze];
    let config = Config { password: Some("one-time".to_owned()), authorised: Vec::new(), ..Config::default() };
    let server = Server::start(config.on("do freeze", Behaviour::Script(end)));
    env.trust(&server.known_hosts());
    let mut settings = Fleet::settings_of(&env).connect_timeout(Duration::from_secs(1));
    let asked = env.path("asked");
    settings.password = Some(Source::Command(format!("echo >> {}; echo one-time", asked.display()).into()));
    let times = || fs::read_to_string(&asked).unwrap_or_default().lines().count();
    let client = Client::new([server.addr().to_string(), server.addr().to_string()], settings).expect("hosts");
    run(&client, "true");
    run(&client, "do freeze");
    assert_eq!((times(), server.connections()), (1, 2), "once for all hosts");
    thread::sleep(Duration::from_secs(1));
    run(&client, "true");
    assert_eq!((times(), server.connections()), (2, 4));
    // The new sessions and the next run share that.
    run(&client, "true");
    assert_eq!((times(), server.connections()), (2, 4));
}

#[test]
fn a_server_with_a_new_key_is_checked_against_the_file_of_now() {
    let mut site = Site::new(2, "");
    let client = site.client();
    run(&client, "true");
    site.sshd.go_down();
    site.sshd.change_host_key();
    site.sshd.come_back();
    fs::write(site.env.known_hosts(), site.sshd.known_hosts()).expect("a file");
    // Mostly before anything has noticed the end of the sessions.
    run(&client, "true");
}

#[test]
fn a_jump_host_that_comes_back_is_logged_in_to_with_what_was_read_last() {
    let mut site = Site::new(1, "");
    let target = Sshd::start(&site.env, Setup { hosts: 2, ..Setup::default() });
    let mut settings = site.settings();
    settings.proxy = Some(Via(Proxy::jump(&site.sshd.hosts()[0]).expect("a jump host")));
    let client = Client::new(target.hosts(), settings).expect("hosts");
    for _ in 0..2 {
        run(&client, "true");
        site.sshd.go_down();
        site.sshd.change_host_key();
        site.sshd.come_back();
        fs::write(site.env.known_hosts(), site.sshd.known_hosts() + &target.known_hosts()).expect("a file");
    }
    run(&client, "true");
}

#[test]
fn threads_stay_for_the_next_command() {
    if !alone("sessions::threads_stay_for_the_next_command") {
        return;
    }
    let site = Site::new(4, "");
    let client = site.client();
    let workers = || -> BTreeSet<PathBuf> {
        let tasks = fs::read_dir("/proc/self/task").expect("a list").flatten().map(|task| task.path());
        let is_worker =
            |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "pssh-worker\n");
        tasks.filter(is_worker).collect()
    };
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        run(&client, "true");
        seen.extend(workers());
    }
    // A command that begins in the very moment when the one before ends may not get its threads.
    assert!(seen.len() <= 12, "{} threads for 10 commands on 4 hosts", seen.len());
    // Two commands at once do not wait for each other's.
    let held = client.run_command("sleep 3").expect("it starts");
    site.wait_for("sleep 3", 4);
    let other = client.run_command("true").expect("it starts");
    wait_until("threads of both", || workers().len() >= 8);
    all_ok(&held);
    all_ok(&other);
    drop(client);
    wait_until("the threads end", || workers().is_empty());
}

#[test]
fn commands_of_two_threads_take_turns_on_a_host() {
    let site = Site::new(3, "");
    let client = site.client();
    let lock = site.path("lock");
    let command =
        format!("d={lock}-${{SSH_CONNECTION##*.}}; d=${{d%% *}}; mkdir \"$d\" || exit 9; sleep 0.1; rmdir \"$d\"");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..5).for_each(|_| run(&client, &command)));
        }
    });
    assert_eq!(site.sshd.connections(), 3);
}

#[test]
fn waiting_for_a_turn_ends_with_the_run() {
    let site = Site::new(1, "");
    let client = site.client();
    let first = client.run_command("sleep 4").expect("it starts");
    site.wait_for("sleep 4", 1);
    let file = site.path("out");
    let second = client.run_command(format!("echo >>{file}")).expect("it starts");
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    second.cancel();
    assert_eq!(second.join(SOON).expect("it ends").count(Class::Cancelled), 1);
    assert!(begun.elapsed() < Duration::from_secs(2) && !first.finished(), "{:?}", begun.elapsed());
    all_ok(&first);
    run(&client, "true");
    assert_eq!((site.sshd.connections(), site.lines("out")), (1, 0));
    // The time of a whole run counts while it waits.
    let client = site.client_with(|settings| settings.total_timeout = Some(Duration::from_secs(1)));
    let first = client.run_command("sleep 5").expect("it starts");
    site.wait_for("sleep 5", 1);
    let second = client.run_command(format!("echo >>{file}")).expect("it starts");
    for run in [first, second] {
        assert_eq!(run.join(SOON).expect("it ends").count(Class::Cancelled), 1);
    }
    assert_eq!(site.lines("out"), 0);
}

#[test]
fn one_channel_at_a_time_is_enough() {
    let site = Site::new(2, "MaxSessions 1");
    let client = site.client();
    (0..5).for_each(|_| run(&client, "echo in"));
    assert_eq!(site.sshd.connections(), 2);
}

#[test]
fn an_idle_server_gets_answers_and_new_keys() {
    let site = Site::new(2, "ClientAliveInterval 1\nClientAliveCountMax 2\nRekeyLimit 1G 1s");
    let client = site.client();
    run(&client, "true");
    thread::sleep(Duration::from_secs(6));
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 2);
}

#[test]
fn jump_hosts_stay_as_well() {
    let site = Site::new(3, "");
    let hosts = site.sshd.hosts();
    let mut settings = site.settings();
    settings.proxy = Some(Via(Proxy::jump(&hosts[0]).expect("a jump host")));
    settings.idle_timeout = Some(Duration::from_secs(2));
    let client = Client::new(hosts[1..].to_vec(), settings).expect("hosts");
    for _ in 0..3 {
        run(&client, "true");
    }
    assert_eq!(site.sshd.connections(), 3, "one jump host and two hosts");
    site.wait_for_goodbyes(3);
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 6);
    drop(client);
    site.wait_for_goodbyes(6);
}

#[test]
fn unused_sessions_end_after_their_time() {
    let site = Site::new(2, "");
    let client = site.client_with(|settings| settings.idle_timeout = Some(Duration::from_secs(1)));
    run(&client, "true");
    run(&client, "sleep 3");
    assert_eq!(site.sshd.connections(), 2, "the time of a command does not count");
    site.wait_for_goodbyes(2);
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 4);
    // Without a limit, and without any time.
    let client = site.client_with(|settings| settings.idle_timeout = None);
    run(&client, "true");
    thread::sleep(Duration::from_secs(3));
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 6);
    let client = site.client_with(|settings| settings.idle_timeout = Some(Duration::ZERO));
    run(&client, "true");
    run(&client, "true");
    assert_eq!(site.sshd.connections(), 10);
}

#[test]
fn no_more_sessions_are_kept_than_the_user_wants() {
    let site = Site::new(3, "");
    // One host after the other, so that each takes the place of the one before.
    for (kept, connections) in [(None, 3), (Some(3), 3), (Some(1), 6), (Some(0), 6)] {
        let client = site.client_with(|settings| (settings.kept_sessions, settings.pool_size) = (kept, 1));
        let before = site.sshd.connections();
        run(&client, "true");
        run(&client, "true");
        assert_eq!(site.sshd.connections() - before, connections, "{kept:?}");
    }
}

/// Runs the test of this name alone in a process of its own, where it finds [`ALONE`] set; returns whether this is that process.
#[track_caller]
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(["--exact", test, "--nocapture"]).env(ALONE, "1").output();
    let output = output.expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("a list").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("pssh-")).collect()
}

fn sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").expect("a list").flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter(|to| to.to_string_lossy().contains("socket"))
        .count()
}

#[test]
fn nothing_is_left_of_a_client_that_is_closed_or_dropped() {
    if !alone("sessions::nothing_is_left_of_a_client_that_is_closed_or_dropped") {
        return;
    }
    let site = Site::new(4, "");
    let before = sockets();
    let is_gone = || sockets() == before && threads().iter().all(|name| name != "pssh-sessions");
    let client = site.client();
    run(&client, "true");
    assert_eq!(sockets(), before + 4);
    assert!(threads().contains(&"pssh-sessions".to_owned()), "{:?}", threads());
    client.close();
    assert!(is_gone(), "at once: {:?}, {}", threads(), sockets() - before);
    run(&client, "true");
    drop(client);
    assert!(is_gone(), "at once: {:?}, {}", threads(), sockets() - before);
    assert_eq!(site.sshd.connections(), 8);

    // While a command runs: it goes on, and nothing stays after it.
    let client = site.client();
    run(&client, "true");
    let last = client.run_command("sleep 1; echo end").expect("it starts");
    site.wait_for("sleep 1", 4);
    drop(client);
    all_ok(&last);
    assert_eq!(text(last.hosts()[0].stdout()), ["end"]);
    drop(last);
    wait_until("nothing is left", is_gone);
    let client = site.client();
    let last = client.run_command("sleep 1").expect("it starts");
    site.wait_for("sleep 1", 4);
    client.close();
    all_ok(&last);
    drop(last);
    wait_until("nothing is left", is_gone);
    site.wait_for_goodbyes(16);
}

#[test]
fn an_unused_session_takes_little_memory() {
    if !alone("sessions::an_unused_session_takes_little_memory") {
        return;
    }
    const HOSTS: usize = 60;
    let site = Site::new(HOSTS, "");
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
    };
    // What the first run needs anyway.
    let first = site.client();
    run(&first, "true");
    first.close();
    let before = resident();
    let clients: Vec<Client> = (0..3).map(|_| site.client()).collect();
    clients.iter().for_each(|client| run(client, "true"));
    let each = resident().saturating_sub(before) / (3 * HOSTS);
    assert!(each > 0 && each < 130, "{each} KiB per session");
    let before = resident();
    for _ in 0..100 {
        run(&clients[0], "true");
    }
    let each = resident().saturating_sub(before) / HOSTS;
    assert!(each < 30, "{each} KiB per host after 100 commands");
}
