//! Hosts behind something: jump hosts of every health, and commands that make the connection.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;

use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Event, Fault, Key, KeyKind, Server, refused_address};
use crate::sshd::{Setup, Sshd, addresses};

/// An embedded server on addresses that the tests' sshd does not use, known to the home.
fn serve(env: &Env, address: &str, config: Config) -> Server {
    let server = stranger(env, address, config);
    env.trust(&server.known_hosts());
    server
}

/// The same, not known to the home.
fn stranger(env: &Env, address: &str, config: Config) -> Server {
    let addresses = vec![address.parse().expect("an address")];
    Server::start(Config { addresses, authorised: env.public_lines(), ..config })
}

/// Many hosts that answer without a process.
fn cheap_fleet(env: &Env, hosts: usize) -> Server {
    let addresses = addresses(hosts).into_iter().map(IpAddr::V4).collect();
    let behaviour = Behaviour::Cheap { stdout: b"up\n".to_vec(), status: 0 };
    let server = Server::start(Config { addresses, behaviour, authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    server
}

fn hosts_of(server: &Server, hosts: usize) -> Vec<String> {
    addresses(hosts).iter().map(|address| format!("{address}:{}", server.port())).collect()
}

#[track_caller]
fn all_ok(run: &Run, hosts: usize) {
    run.exits(0);
    run.check(run.outcomes().len() == hosts, "one outcome for each host");
    run.check(run.outcomes().iter().all(|(_, outcome)| outcome == "ok (exit 0)"), "all are ok");
}

/// All outcomes, of which there must be `hosts`, start with `words`.
#[track_caller]
fn all_end(run: &Run, hosts: usize, words: &str) {
    run.check(run.outcomes().len() == hosts, "one outcome for each host");
    run.check(run.outcomes().iter().all(|(_, outcome)| outcome.starts_with(words)), &format!("all end in {words:?}"));
}

#[test]
fn fifty_hosts_share_one_connection() {
    let env = Env::new();
    let bastion = Sshd::start(&env, Setup { config: "MaxSessions 1", ..Setup::default() });
    let sshd = Sshd::start(&env, Setup { hosts: 50, ..Setup::default() });
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["-J", &bastion.hosts()[0], "--proxy-connections", "1", "-p", "50", "--", "echo $SSH_CONNECTION"])
        .run();
    all_ok(&run, 50);
    run.check(bastion.connections() == 1, "one connection to the bastion");
    run.check(sshd.connections() == 50, "one connection to each host");
    for label in sshd.labels() {
        run.check(run.stdout_of(&label).len() > 10, &format!("the output of {label}"));
    }
    // The goodbye, not a broken connection.
    run.check(bastion.log().contains("Received disconnect from"), &bastion.log());
}

#[test]
fn a_jump_can_be_written_in_two_ways_or_switched_off() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let host = serve(&env, "127.0.0.3", Config::default());
    let port = bastion.port().to_string();
    let run = |args: &[&str]| env.pssh().hosts([host.addr()]).args(args).args(["echo up"]).run();
    all_ok(&run(&["--proxy-host", "127.0.0.2", "--proxy-port", &port]), 1);
    assert_eq!(bastion.connections(), 1);
    all_ok(&run(&["-J", &format!("127.0.0.2:{port}")]), 1);
    assert_eq!(bastion.connections(), 2);
    all_ok(&run(&["-J", "none"]), 1);
    assert_eq!(bastion.connections(), 2);
    let verbose = run(&["-v", "-J", &format!("127.0.0.2:{port}")]);
    verbose.stderr_has(&format!("proxy 127.0.0.2:{port}: authenticated as "));
    verbose.stderr_has(&format!("connected through 127.0.0.2:{port}"));
    for bad in [&["-J", "a b"][..], &["-J", "a,"], &["-J", "a", "--proxy-host", "b"], &["--proxy-port", "22"]] {
        run(bad).exits(2);
    }
}

#[test]
fn a_key_for_the_jump_host_is_shown_to_nobody_else() {
    let env = Env::new();
    let special = Key::generate(KeyKind::Ed25519);
    let file = special.write(&env.ssh_dir(), "special");
    let bastion = Server::start(Config {
        addresses: vec!["127.0.0.2".parse().expect("an address")],
        authorised: vec![special.public_line()],
        max_auth_tries: 1,
        ..Config::default()
    });
    env.trust(&bastion.known_hosts());
    let host = serve(&env, "127.0.0.3", Config { max_auth_tries: 1, ..Config::default() });
    let port = bastion.port().to_string();
    let run = env
        .pssh()
        .hosts([host.addr()])
        .args(["--proxy-host", "127.0.0.2", "--proxy-port", &port, "--proxy-identity"])
        .arg(file)
        .arg("echo up")
        .run();
    all_ok(&run, 1);
    assert_eq!(bastion.auth_attempts(), 1, "it is tried first");
    assert_eq!(host.auth_attempts(), 1);
}

#[test]
fn the_proxy_looks_names_up() {
    let env = Env::new();
    let inside_names = [("web.inside.invalid".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST))].into();
    let bastion = serve(&env, "127.0.0.2", Config { inside_names, ..Config::default() });
    let host = serve(&env, "127.0.0.1", Config::default());
    env.trust(&(host.known_hosts_line("web.inside.invalid") + "\n"));
    let target = format!("web.inside.invalid:{}", host.port());
    let run = env.pssh().hosts([&target]).args(["-J", &bastion.addr().to_string(), "echo up"]).run();
    all_ok(&run, 1);
    let asked = Event::DirectTcpip { host: "web.inside.invalid".to_owned(), port: host.port().into() };
    assert!(bastion.logged().iter().any(|record| record.event == asked));

    // A name that a real bastion does not know.
    let sshd = Sshd::start(&env, Setup::default());
    let run =
        env.pssh().hosts(["no.such.host.invalid"]).args(["-J", &sshd.hosts()[0], "--num-retries", "1", "x"]).run();
    run.exits(4).ends("no.such.host.invalid", "connect: no.such.host.invalid port 22: ");
}

#[test]
fn a_host_that_refuses_fails_alone() {
    let env = Env::new();
    let bastion = Sshd::start(&env, Setup::default());
    let sshd = Sshd::start(&env, Setup { hosts: 3, ..Setup::default() });
    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    let hosts = [sshd.hosts(), vec![refusing.to_string()]].concat();
    let run = env.pssh().hosts(hosts).args(["-J", &bastion.hosts()[0], "--num-retries", "1", "echo up"]).run();
    run.exits(4).ends("127.0.0.51", &format!("connect: 127.0.0.51 port {}: connect failed", refusing.port()));
    run.stderr_has("pssh: 4 hosts: 3 ok, 1 connect\n").hints("127.0.0.51", "can it reach the host");
}

#[test]
fn a_bastion_that_does_not_forward_says_so() {
    let env = Env::new();
    let bastion = Sshd::start(&env, Setup { config: "AllowTcpForwarding no", ..Setup::default() });
    let run = env.pssh().hosts(["127.0.0.3"]).args(["-J", &bastion.hosts()[0], "echo up"]).run();
    run.exits(4).ends("127.0.0.3", &format!("proxy: {}: it refuses to forward", bastion.hosts()[0]));
    run.hints("127.0.0.3", "AllowTcpForwarding").within(10);
}

#[test]
fn hosts_behind_a_dead_bastion_share_its_failure() {
    let env = Env::new();
    let hosts: Vec<String> = addresses(60).iter().map(Ipv4Addr::to_string).collect();
    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    let run = env
        .pssh()
        .hosts(&hosts)
        .args(["-J", &refusing.to_string(), "--num-retries", "2", "--retry-delay", "1", "echo up"])
        .run();
    run.exits(4).within(10);
    all_end(&run, 60, &format!("proxy: {refusing}: connect: 127.0.0.51 port "));

    // One that takes connections and says nothing: its silence is waited for once per attempt, not once per ten hosts.
    let silent = serve(&env, "127.0.0.52", Config { fault: Some(Fault::SilentBanner), ..Config::default() });
    let options = ["--connect-timeout", "2", "--num-retries", "2", "--retry-delay", "1", "echo up"];
    let run = env.pssh().hosts(&hosts).args(["-J", &silent.addr().to_string()]).args(options).run();
    run.exits(4).within(12);
    all_end(&run, 60, &format!("proxy: {}: timeout connect: no SSH banner within 2 s", silent.addr()));
    run.check(silent.connections() <= 3, &format!("{} logins", silent.connections()));
}

#[test]
fn a_bastion_is_checked_and_logged_in_to_like_a_host() {
    let env = Env::new();
    let host = serve(&env, "127.0.0.3", Config::default());
    let unknown = stranger(&env, "127.0.0.2", Config::default());
    let run =
        |bastion: &Server| env.pssh().hosts([host.addr()]).args(["-J", &bastion.addr().to_string(), "echo up"]).run();
    let prefix = |bastion: &Server| format!("proxy: {}: ", bastion.addr());
    let refused = run(&unknown);
    refused.exits(4).ends("127.0.0.3", &(prefix(&unknown) + "hostkey: ")).hints("127.0.0.3", "ssh-keyscan");
    assert_eq!(unknown.auth_attempts(), 0, "nothing is shown to a stranger");

    let changed = stranger(&env, "127.0.0.4", Config::default());
    env.trust(&(Key::generate(KeyKind::Ed25519).known_hosts_line("127.0.0.4", changed.port()) + "\n"));
    run(&changed).ends("127.0.0.3", &(prefix(&changed) + "hostkey: ")).stderr_has("CHANGED");

    let closed =
        Server::start(Config { addresses: vec!["127.0.0.5".parse().expect("an address")], ..Config::default() });
    env.trust(&closed.known_hosts());
    run(&closed).ends("127.0.0.3", &(prefix(&closed) + "auth: "));
    assert_eq!(host.connections(), 0);
}

#[test]
fn fifty_megabytes_through_two_hops_stay_as_they_are() {
    let env = Env::new();
    let first = Sshd::start(&env, Setup::default());
    let second = Sshd::start(&env, Setup { config: "RekeyLimit 8M", ..Setup::default() });
    let sshd = Sshd::start(&env, Setup::default());
    let mut lines = Vec::with_capacity(50 << 20);
    let mut number = 88_172_645_463_325_252_u64;
    while lines.len() < 50 << 20 {
        for _ in 0..4 {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            write!(lines, "{number:016x}").expect("memory");
        }
        lines.push(b'\n');
    }
    let file = env.file("lines", &lines);
    let chain = format!("{},{}", first.hosts()[0], second.hosts()[0]);
    let command = format!("cat '{}'", file.display());
    let mut run = env.pssh().hosts(sshd.hosts()).args(["-J", &chain, "--", &command]).limit(120).run();
    let printed = run.stdout_of(&sshd.label());
    run.stdout.clear();
    all_ok(&run, 1);
    run.check(printed == lines, "all bytes are there, in their order");
    run.check((first.connections(), second.connections()) == (1, 1), "one connection to each");
}

/// What waits for the socket of a jump host never gets empty where more comes than it takes.
#[test]
fn much_input_through_a_jump_host_takes_little_memory() {
    let env = Env::new();
    let bastion = Sshd::start(&env, Setup::default());
    let host = serve(&env, "127.0.0.3", Config::default());
    let jump = &bastion.hosts()[0];
    let run = env.pssh().hosts([host.addr()]).args(["-J", jump, "-I", "--", "wc -c"]).stdin(vec![7; 150 << 20]);
    let run = run.limit(120).run();
    run.exits(0).check(run.stdout_of("127.0.0.3") == b"157286400\n", "all of it");
    run.check(run.peak_kib > 0 && run.peak_kib < 60 * 1024, "memory is bounded");
}

#[test]
fn chains_that_begin_alike_fail_where_they_fail() {
    let env = Env::new();
    let first = serve(&env, "127.0.0.2", Config::default());
    let host = serve(&env, "127.0.0.3", Config::default());
    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    let run =
        |chain: String| env.pssh().hosts([host.addr()]).args(["-J", &chain, "--num-retries", "1", "echo up"]).run();
    let behind = run(format!("{},{refusing}", first.addr()));
    behind.ends("127.0.0.3", &format!("proxy: {refusing}: connect: 127.0.0.51 port "));
    let before = run(format!("{refusing},{}", first.addr()));
    before.ends("127.0.0.3", &format!("proxy: {refusing}: connect: 127.0.0.51 port "));
}

#[test]
fn a_bastion_that_dies_half_way_loses_no_host_from_the_report() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let addresses: Vec<IpAddr> = addresses(30).into_iter().map(IpAddr::V4).collect();
    let fleet = Server::start(Config { addresses, authorised: env.public_lines(), ..Config::default() });
    env.trust(&fleet.known_hosts());
    let options = ["-p", "12", "--num-retries", "2", "--retry-delay", "0.5", "--", "echo up; exec sleep 60"];
    let mut run =
        env.pssh().hosts(hosts_of(&fleet, 30)).args(["-J", &bastion.addr().to_string()]).args(options).start();
    assert!(fleet.wait_until(Duration::from_secs(30), |fleet| fleet.commands().len() >= 12));
    assert!(run.is_running());
    drop(bastion);
    let run = run.finish();
    run.exits(4).within(40);
    run.check(run.outcomes().len() == 30, "one outcome for each host");
    let count = |word: &str| run.outcomes().iter().filter(|(_, outcome)| outcome.starts_with(word)).count();
    run.check(count("lost: ") >= 12 && count("lost: ") + count("proxy: ") == 30, "those that ran are lost");
}

#[test]
fn a_connection_that_dies_is_made_anew() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let relay = Relay::start("127.0.0.4", bastion.addr(), Duration::ZERO);
    relay.trust(&env, &bastion);
    let addresses: Vec<IpAddr> = addresses(3).into_iter().map(IpAddr::V4).collect();
    let fleet = Server::start(Config { addresses, authorised: env.public_lines(), ..Config::default() });
    env.trust(&fleet.known_hosts());
    let command = format!("if mkdir '{}'; then exec sleep 60; fi; echo up", env.path("first").display());
    let options = ["-J", &relay.address.to_string(), "-p", "1", "--", &command];
    let mut run = env.pssh().hosts(hosts_of(&fleet, 3)).args(options).start();
    assert!(fleet.wait_until(Duration::from_secs(20), |fleet| fleet.running() == 1));
    assert!(run.is_running());
    relay.cut();
    let run = run.finish();
    run.exits(4)
        .ends("127.0.1.1", "lost: ")
        .stderr_has("3 hosts: 2 ok, 1 lost\n")
        .stderr_has("the connection to the proxy");
    run.check(bastion.connections() == 2, "one connection before, one after");
}

/// An address that takes no connection and refuses none: its queue of connections is full.
struct BlackHole {
    address: SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _clients: Vec<TcpStream>,
}

impl BlackHole {
    fn new(address: &str) -> BlackHole {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let address: SocketAddr = format!("{address}:0").parse().expect("an address");
        rustix::net::bind(&listener, &address).expect("an address");
        rustix::net::listen(&listener, 0).expect("a socket that listens");
        let address: SocketAddr = rustix::net::getsockname(&listener).expect("a name").try_into().expect("an address");
        let mut clients = Vec::new();
        while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            clients.push(client);
            assert!(clients.len() < 10, "the queue is never full");
        }
        BlackHole { address, _listener: listener, _clients: clients }
    }
}

#[test]
fn hosts_that_do_not_answer_do_not_hold_up_the_others() {
    let env = Env::new();
    let bastion = Sshd::start(&env, Setup::default());
    let fleet = cheap_fleet(&env, 20);
    let holes: Vec<BlackHole> = ["127.0.0.61", "127.0.0.62"].map(BlackHole::new).into();
    let hosts: Vec<String> = holes.iter().map(|hole| hole.address.to_string()).chain(hosts_of(&fleet, 20)).collect();
    for connections in ["1", "8"] {
        let options =
            ["--proxy-connections", connections, "-p", "22", "--connect-timeout", "8", "--num-retries", "1", "-v", "x"];
        let run = env.pssh().hosts(&hosts).args(["-J", &bastion.hosts()[0]]).args(options).run();
        run.exits(3).within(20).stderr_has("pssh: 22 hosts: 20 ok, 2 timeout\n");
        run.ends("127.0.0.61", "timeout connect: no connection through the proxy within 8 s");
    }
}

/// Passes connections on, each byte a while later, both ways.
struct Relay {
    address: SocketAddr,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(address: &str, target: SocketAddr, delay: Duration) -> Relay {
        let listener = TcpListener::bind((address, 0)).expect("an address");
        let relay = Relay { address: listener.local_addr().expect("a name"), clients: Arc::default() };
        let clients = Arc::clone(&relay.clients);
        // The threads end with their connections, the listener with the test process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let _ = to.set_nodelay(true);
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let (sender, receiver) = channel();
                    thread::spawn(move || receive(from, &sender));
                    thread::spawn(move || send_late(&receiver, to, delay));
                }
                clients.lock().expect("whole").push(client);
            }
        });
        relay
    }

    /// Makes the home know `server` under the relay's address.
    fn trust(&self, env: &Env, server: &Server) {
        let line = server.known_hosts_line("relay");
        let key = line.split_once(' ').expect("a name and a key").1;
        env.trust(&format!("[{}]:{} {key}\n", self.address.ip(), self.address.port()));
    }

    /// Cuts all connections that there are.
    fn cut(&self) {
        for client in self.clients.lock().expect("whole").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn receive(mut from: TcpStream, to: &std::sync::mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.send((Instant::now(), buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn send_late(from: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, delay: Duration) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while let Some((at, bytes)) = waiting.pop_front().or_else(|| from.recv().ok()) {
        waiting.extend(from.try_iter());
        thread::sleep((at + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_hundred_hosts_over_a_slow_link() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let fleet = cheap_fleet(&env, 100);
    let relay = Relay::start("127.0.0.4", bastion.addr(), Duration::from_millis(50));
    relay.trust(&env, &bastion);
    let options = ["-J", &relay.address.to_string(), "-p", "100", "--", "echo up"];
    let run = env.pssh().hosts(hosts_of(&fleet, 100)).args(options).run();
    all_ok(&run, 100);
    run.within(6).check((2..=8).contains(&bastion.connections()), "more connections are made while hosts wait");

    // Few hosts do not justify more connections.
    let before = bastion.connections();
    let run = env.pssh().hosts(hosts_of(&fleet, 5)).args(options).run();
    all_ok(&run, 5);
    run.check(bastion.connections() == before + 1, "one connection is enough");
}

#[test]
fn three_hundred_hosts_behind_one_bastion() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let fleet = cheap_fleet(&env, 300);
    let options = ["-J", &bastion.addr().to_string(), "-p", "300", "--", "echo up"];
    let run = env.pssh().hosts(hosts_of(&fleet, 300)).args(options).run();
    all_ok(&run, 300);
    run.check(run.peak_kib < 80 * 1024, "160 KiB each, and what there is without any, are enough");
}

#[test]
fn stopping_a_run_stops_what_runs_behind_a_bastion() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config::default());
    let host = serve(&env, "127.0.0.3", Config::default());
    let options = ["-J", &bastion.addr().to_string(), "echo up; exec sleep 60"];
    let mut run = env.pssh().hosts([host.addr()]).args(options).start();
    run.wait_for("up\n");
    run.signal(Signal::INT);
    run.finish().dies_by(Signal::INT).ends("127.0.0.3", "cancelled").within(25);
    assert!(host.wait_until(Duration::from_secs(5), |host| host.running() == 0), "the command has been stopped");

    let silent = serve(&env, "127.0.0.4", Config { fault: Some(Fault::SilentBanner), ..Config::default() });
    let hosts = addresses(20);
    let mut run = env.pssh().hosts(hosts).args(["-J", &silent.addr().to_string(), "echo up"]).start();
    assert!(silent.wait_until(Duration::from_secs(20), |silent| silent.connections() == 1));
    // The others of the ten wait for the same connection.
    std::thread::sleep(Duration::from_secs(1));
    assert!(run.is_running());
    run.signal(Signal::INT);
    let run = run.finish();
    run.dies_by(Signal::INT).within(25);
    run.stderr_has(
        "pssh: 20 hosts: 20 cancelled\n  10 cancelled: stopped while connecting: 127.0.1.[1-10]\n  \
         10 cancelled: never started: 127.0.1.[11-20]\n",
    );
}

/// The name of a variable that all processes of a run have.
const MARK: &str = "PSSH_TEST_PROXY_COMMAND";

/// The command lines of the processes that have `mark`.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        // Processes end while they are looked at, and others' are not ours to see.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            found.push(
                String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).unwrap_or_default()).into_owned(),
            );
        }
    }
    found
}

/// Connects by bash alone.
const BASH: &str = "bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3'";

#[test]
fn a_command_can_make_the_connection() {
    let env = Env::new();
    let fleet = cheap_fleet(&env, 10);
    let run =
        env.pssh().hosts(hosts_of(&fleet, 10)).variable(MARK, "makes").args(["--proxy-command", BASH, "echo up"]).run();
    all_ok(&run, 10);
    run.check(fleet.connections() == 10, "one connection each");
    assert_eq!(marked("makes"), Vec::<String>::new(), "nothing is left of the commands");
}

#[test]
fn a_command_that_fails_is_quoted() {
    let env = Env::new();
    let run = |command: &str| {
        let options = ["--proxy-command", command, "--num-retries", "1", "--connect-timeout", "2", "-v", "echo up"];
        env.pssh().hosts(["me@web1:2200"]).variable(MARK, "fails").args(options).run()
    };
    let failed = run("sh -c 'echo cannot reach %r at %h %p 100%% >&2; exit 3'");
    failed.exits(4).ends("web1", "proxy: sh -c 'echo cannot reach me at web1 2200 100%");
    failed.stderr_has("the command exited with 3: cannot reach me at web1 2200 100%");
    failed.stderr_has("proxy command: cannot reach me");
    run("/no/such/program").ends("web1", "proxy: /no/such/program: the command exited with 127: ");

    // One that says nothing, in a way that is hard to stop.
    let silent = run("sh -c \"trap '' TERM; sleep 100 & sleep 100\"");
    silent.exits(3).ends("web1", "timeout connect: no SSH banner within 2 s").within(10);
    assert_eq!(marked("fails"), Vec::<String>::new(), "nothing is left of the commands");
    let nothing = env.pssh().hosts(["web1"]).args(["--proxy-command", "nc %h %x", "echo up"]).run();
    nothing.exits(2).stderr_has("unknown %x");
}

#[test]
fn a_command_that_floods_is_told_in_words() {
    let env = Env::new();
    let run = |command: &str, verbose: &[&str]| {
        let options = ["--proxy-command", command, "--num-retries", "1", "--connect-timeout", "20", "echo up"];
        env.pssh().hosts(["web1"]).variable(MARK, "floods").args(verbose).args(options).run()
    };
    for verbose in [&[][..], &["-v"]] {
        for command in ["yes", "cat /dev/zero", "sh -c 'yes no | tr -d \\\\012'"] {
            let flood = run(command, verbose);
            flood.exits(4).within(15).check(flood.peak_kib < 60_000, "little memory");
            flood.ends("web1", "proxy: ").stderr_has("its output is not SSH");
            flood.check(flood.stderr.len() < 20_000, "few words");
        }
        // On standard error.
        for command in ["sh -c 'yes complaint >&2'", "sh -c 'exec cat /dev/zero >&2'"] {
            let options = ["--proxy-command", command, "--num-retries", "1", "--connect-timeout", "3", "echo up"];
            let flood = env.pssh().hosts(["web1"]).variable(MARK, "floods").args(verbose).args(options).run();
            flood.exits(4).within(15).check(flood.peak_kib < 60_000, "little memory");
            flood.ends("web1", "proxy: ").stderr_has("it keeps writing to standard error and does not connect: ");
            flood.check(flood.stderr.len() < 500_000, "few words");
        }
    }
    assert_eq!(marked("floods"), Vec::<String>::new(), "nothing is left of the commands");
}
