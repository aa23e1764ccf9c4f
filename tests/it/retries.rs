//! Hosts that are tried again: which failures are worth it, how often, and that nothing runs twice.

use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use crate::bin::{Env, Pssh};
use crate::embedded::{Behaviour, Config, End, Fault, Server, Step, refused_address};
use crate::sshd::{Setup, Sshd};

const HOST: &str = "127.0.0.1";

fn server(env: &Env, config: Config) -> Server {
    let server = Server::start(Config { authorised: env.public_lines(), ..config });
    env.trust(&server.known_hosts());
    server
}

/// A run with three attempts and short pauses.
fn pssh(env: &Env) -> Pssh {
    env.pssh().args(["--num-retries", "3", "--retry-delay", "0.2"])
}

#[test]
fn the_attempt_that_succeeds_counts() {
    for fault in [Fault::CloseAtOnce, Fault::ResetAtOnce, Fault::SilentBanner, Fault::StallAuth] {
        let env = Env::new();
        let server =
            server(&env, Config { fault: Some(fault.clone()), faulty_connections: Some(2), ..Config::default() });
        let run = pssh(&env).hosts([server.addr()]).args(["--connect-timeout", "4", "--", "echo in"]).run();
        run.exits(0).stdout_is(&format!("{HOST}: in\n")).ends(HOST, "ok (exit 0) (attempt 3)");
        run.check(server.connections() == 3, &format!("{fault:?}: two failures and a success"));
    }
}

#[test]
fn the_last_failure_is_the_outcome() {
    let env = Env::new();
    let refused = refused_address(HOST.parse().expect("an address")).expect("a free port");
    let run = pssh(&env).hosts([refused]).args(["-v", "true"]).run();
    run.exits(4).ends(HOST, "connect: ");
    run.check(run.outcome(HOST).ends_with("Connection refused (attempt 3)"), "after three attempts");
    run.stderr_has("attempt 1 failed: connect: ").stderr_has("attempt 2 failed: connect: ");
    run.check(run.time >= Duration::from_millis(320), "two pauses of 0.2 s, less a fifth");
}

#[test]
fn what_would_go_the_same_way_is_not_repeated() {
    let env = Env::new();
    let server = server(&env, Config::default());
    let stranger = Env::new();
    stranger.trust(&server.known_hosts());
    let run = pssh(&stranger).hosts([server.addr()]).arg("true").run();
    run.exits(4).ends(HOST, "auth: ");
    run.check(server.connections() == 1, "a refused key stays refused");
    let run = pssh(&env).hosts([server.addr()]).args(["--known-hosts", "/dev/null", "true"]).run();
    run.exits(4).ends(HOST, "hostkey: ");
    run.check(server.connections() == 2, "an unknown host key stays unknown");
}

#[test]
fn a_command_is_never_sent_twice() {
    let endings = [
        vec![Step::NeverAnswer],
        vec![Step::NeverAnswer, Step::DropConnection(End::Fin)],
        vec![Step::RejectExec],
        vec![Step::Close],
        vec![Step::Stdout(b"x".to_vec()), Step::DropConnection(End::Reset)],
        vec![Step::ExitStatus(255), Step::Eof, Step::Close],
    ];
    for steps in endings {
        let env = Env::new();
        let behaviour = Behaviour::Script(steps.clone());
        let server = server(&env, Config { behaviour, ..Config::default() });
        let run = pssh(&env).hosts([server.addr()]).args(["--connect-timeout", "2", "the command"]).run();
        run.check(!run.status.success(), "no success");
        run.check(server.commands() == ["the command"], &format!("{steps:?}: sent once, not {:?}", server.commands()));
        run.check(server.connections() == 1, &format!("{steps:?}: one connection"));
    }
}

#[test]
fn a_host_that_pauses_holds_nobody_up() {
    let env = Env::new();
    let sick: IpAddr = HOST.parse().expect("an address");
    let refused = refused_address(sick).expect("a free port");
    let sshd = Sshd::start(&env, Setup { hosts: 3, ..Setup::default() });
    let hosts = [vec![refused.to_string()], sshd.hosts()].concat();
    // Its pause is longer than the others take, though only one may run at once.
    let run = env.pssh().args(["-p", "1", "--num-retries", "2", "--retry-delay", "5"]).hosts(hosts).arg("true").run();
    run.exits(4);
    let order: Vec<String> = run.outcomes().into_iter().map(|(label, _)| label).collect();
    let expected = [sshd.labels(), vec![HOST.to_owned()]].concat();
    run.check(order == expected, "the others go first");
}

#[test]
fn a_signal_ends_a_pause() {
    let env = Env::new();
    let refused = refused_address(HOST.parse().expect("an address")).expect("a free port");
    let mut running = env.pssh().args(["-v", "--retry-delay", "300"]).hosts([refused]).arg("true").start();
    running.wait_for("attempt 1 failed");
    running.signal(rustix::process::Signal::INT);
    let run = running.finish();
    run.dies_by(rustix::process::Signal::INT).ends(HOST, "connect: ");
    run.check(run.outcomes().len() == 1, "one outcome");
}

#[test]
fn a_busy_sshd_is_asked_again() {
    // Two connections that never log in are all that this server wants to have of them.
    let env = Env::new();
    let setup = Setup { config: "MaxStartups 2:100:2\nLoginGraceTime 3\n", ..Setup::default() };
    let sshd = Sshd::daemon(&env, setup);
    let held: Vec<TcpStream> = (0..2).map(|_| connect_and_wait(&sshd)).collect();
    let run = env.pssh().args(["--num-retries", "1"]).hosts(sshd.hosts()).arg("true").run();
    run.exits(4).ends(&sshd.label(), "ssh: ").hints(&sshd.label(), "MaxStartups");
    // Its patience with the two ends after three seconds.
    let run = env.pssh().args(["-v", "--retry-delay", "2"]).hosts(sshd.hosts()).arg("true").run();
    run.exits(0).ends(&sshd.label(), "ok (exit 0) (attempt ").stderr_has("attempt 1 failed: ssh: ");
    drop(held);
}

/// A connection whose banner has come, so that the server counts it.
fn connect_and_wait(sshd: &Sshd) -> TcpStream {
    use std::io::Read;
    let mut stream = TcpStream::connect(sshd.hosts()[0].as_str()).expect("a connection");
    let mut banner = [0; 8];
    stream.read_exact(&mut banner).expect("a banner");
    stream
}
