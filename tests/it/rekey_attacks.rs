//! Servers that exchange keys again to do harm: with packets cut at any byte, with another host key, without an end. Each of their hosts
//! has one outcome, and the good host beside them does not notice.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pssh::internal::Program;
use rustix::process::Signal;

use crate::bin::{Env, Run};
use crate::embedded::{Config, Server};
use crate::hostile::{BAD, beside_a_good_one};
use crate::raw::{
    CHANNEL_DATA, CHANNEL_OPEN, CIPHER, CODE, HostKey, KEX_INIT, KEXINIT, NEWKEYS, Raw, Script, Tunnel, Wire,
};
use crate::sshd::hosts;

/// Bytes of the packet behind the beginning of an exchange that come along with it: every number up to this.
const CUTS: usize = 100;
/// Data that a client which has only checked the first key must not accept.
const STOLEN: &[u8] = b"stolen\n";

// Packets cut at any byte.

/// Connects to one server once for every cut, beside a good host; all must end as `outcome` says.
#[track_caller]
fn cut_everywhere(script: Script, outcome: &str) -> (Run, Raw) {
    let env = Env::new();
    let raw = Raw::start(script);
    env.trust(&raw.known_hosts_line());
    let good = Server::start(Config {
        addresses: vec!["127.0.0.2".parse().expect("an address")],
        authorised: env.public_lines(),
        ..Config::default()
    });
    env.trust(&good.known_hosts());
    let mut hosts = vec![raw.address.to_string(); CUTS + 1];
    hosts.push(good.addr().to_string());
    let run = env.pssh().hosts(hosts).args(["--num-retries", "1", "-p", "25", "--connect-timeout", "60"]);
    let run = run.args(["--", "echo well"]).limit(120).run();
    let outcomes = run.outcomes();
    run.check(outcomes.len() == CUTS + 2, "one outcome for each host");
    for (label, ended) in &outcomes {
        let expected = if label == BAD { outcome } else { "ok (exit 0)" };
        run.check(ended.starts_with(expected), &format!("{label}: {ended}"));
    }
    run.check(run.stdout_of("127.0.0.2") == b"well\n", "the output of the good host");
    run.check(raw.connections() == CUTS + 1, "one connection for each cut");
    (run, raw)
}

fn say_well(wire: &mut Wire, channel: u32) -> io::Result<()> {
    wire.data(channel, b"well\n")?;
    wire.end(channel, 0)
}

/// An exchange with the same key, the next packet cut where the number of the connection says.
fn exchange(wire: &mut Wire) -> io::Result<()> {
    let key = wire.key.clone();
    wire.exchange_again(&key, wire.number)
}

#[track_caller]
fn all_were_exchanged((run, raw): (Run, Raw)) {
    run.exits(0);
    let printed = run.stdout_of(BAD);
    run.check(printed == b"well\n".repeat(CUTS + 1), "the output of all");
    run.check(raw.count(KEXINIT) == CUTS + 1 && raw.count(NEWKEYS) == CUTS + 1, "all have exchanged keys again");
}

#[test]
fn cut_before_the_login() {
    // In answer to the first packet after the first key exchange: the host key is not checked yet.
    all_were_exchanged(cut_everywhere(
        Script { before_login: Some(exchange), command: Some(say_well), ..Script::default() },
        "ok (exit 0)",
    ));
}

#[test]
fn cut_during_the_login() {
    all_were_exchanged(cut_everywhere(
        Script { at_login: Some(exchange), command: Some(say_well), ..Script::default() },
        "ok (exit 0)",
    ));
}

#[test]
fn cut_after_the_login() {
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"we")?;
        exchange(wire)?;
        wire.data(channel, b"ll\n")?;
        wire.end(channel, 0)
    }
    all_were_exchanged(cut_everywhere(Script { command: Some(command), ..Script::default() }, "ok (exit 0)"));
}

#[test]
fn a_connection_that_ends_in_the_middle_of_one() {
    /// The beginning, part of what follows, and the end.
    fn stop(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        wire.begin_exchange("curve25519-sha256", wire.number)?;
        wire.stream.shutdown(std::net::Shutdown::Both)
    }
    let (run, _) = cut_everywhere(Script { command: Some(stop), ..Script::default() }, "lost: ");
    run.exits(4).check(run.stdout_of(BAD) == b"before\n".repeat(CUTS + 1), "what came before");
}

#[test]
fn a_second_beginning_within_the_first_exchange() {
    let script = |strict| Script { begins_twice: true, strict, command: Some(say_well), ..Script::default() };
    // Nobody answers the second one. As the server says nothing about it, that is its own affair.
    beside_a_good_one(script(false), &[]).ends(BAD, "ok (exit 0)");
    beside_a_good_one(script(true), &[]).exits(4).ends(BAD, "ssh: key exchange: ");
}

#[test]
fn begun_twice_at_once() {
    fn twice(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.begin_exchange("curve25519-sha256,none@example.org", 0)?;
        let key = wire.key.clone();
        // The client answers the first one only, so that the two sides sign different things.
        wire.exchange_again(&key, 0)?;
        wire.data(channel, STOLEN)?;
        wire.end(channel, 0)
    }
    let run = beside_a_good_one(Script { command: Some(twice), ..Script::default() }, &["-t", "20"]);
    run.exits(4).ends(BAD, "lost: ").within(20);
    run.check(!run.stdout_counts.contains_key(BAD), "nothing of it is taken");
}

#[test]
fn without_a_common_method() {
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        none(wire)
    }
    fn none(wire: &mut Wire) -> io::Result<()> {
        wire.begin_exchange("none@example.org", 0)
    }
    let run = beside_a_good_one(Script { command: Some(command), ..Script::default() }, &["-t", "20"]);
    run.exits(4).ends(BAD, "lost: ").within(15);
    run.check(run.outcome(BAD).contains("key re-exchange failed"), "the reason");
    run.check(run.stdout_counts.get(BAD).is_some_and(|count| count.bytes == 6), "what came before");
    for script in
        [Script { before_login: Some(none), ..Script::default() }, Script { at_login: Some(none), ..Script::default() }]
    {
        beside_a_good_one(script, &["--connect-timeout", "20"]).exits(4).ends(BAD, "ssh: ").within(15);
    }
}

/// Methods of a second exchange that are not those of the first. libssh2 would use them with the keys of the first.
const OTHER_METHODS: [[&str; 6]; 8] = [
    ["aes256-ctr", "aes256-ctr", CODE, CODE, "none", "none"],
    ["aes128-gcm@openssh.com", CIPHER, CODE, CODE, "none", "none"],
    [CIPHER, "aes256-gcm@openssh.com", CODE, CODE, "none", "none"],
    ["chacha20-poly1305@openssh.com", "chacha20-poly1305@openssh.com", CODE, CODE, "none", "none"],
    [CIPHER, CIPHER, "hmac-sha2-512", "hmac-sha2-512", "none", "none"],
    [CIPHER, CIPHER, CODE, "hmac-sha2-256-etm@openssh.com", "none", "none"],
    [CIPHER, CIPHER, CODE, CODE, "zlib@openssh.com", "zlib@openssh.com"],
    // It fails as a whole, and the goodbye must not be sent with the cipher that it had agreed on by then.
    ["chacha20-poly1305@openssh.com", "aes256-ctr", "none@example.org", CODE, "none", "none"],
];

#[test]
fn other_ciphers_codes_and_compressions_than_before() {
    fn change(wire: &mut Wire) -> io::Result<()> {
        wire.begin_exchange_of(&OTHER_METHODS[wire.number])?;
        // Whatever the client says to it, up to the end of the connection.
        while wire.receive().is_ok() {}
        Ok(())
    }
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        change(wire)
    }
    let attacks = [
        (Script { before_login: Some(change), ..Script::default() }, "ssh: key exchange: "),
        (Script { at_login: Some(change), ..Script::default() }, "ssh: authentication: "),
        (Script { command: Some(command), ..Script::default() }, "lost: "),
    ];
    for (script, outcome) in attacks {
        let env = Env::new();
        let raw = Raw::start(script);
        env.trust(&raw.known_hosts_line());
        let pssh = env.pssh().hosts(vec![raw.address.to_string(); OTHER_METHODS.len()]);
        let run = pssh.args(["-C", "--num-retries", "1", "-p", "1", "-t", "20", "--connect-timeout", "20", "x"]).run();
        run.exits(4).within(15);
        let outcomes = run.outcomes();
        run.check(outcomes.len() == OTHER_METHODS.len(), "one outcome for each host");
        for (_, ended) in outcomes {
            let holds = ended.starts_with(outcome) && ended.contains("key re-exchange failed");
            run.check(holds, &format!("{outcome}: {ended}"));
        }
        run.check(raw.count(KEX_INIT) == 0, "nothing of an exchange by other methods");
    }
}

// Servers that begin and fall silent.

fn fall_silent(wire: &mut Wire) -> io::Result<()> {
    wire.begin_exchange("curve25519-sha256", 30)?;
    // Whatever the client says to it.
    while wire.receive().is_ok() {}
    Ok(())
}

#[test]
fn an_exchange_without_an_end_is_within_the_deadlines() {
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        fall_silent(wire)
    }
    for (script, options, outcome) in [
        (
            Script { before_login: Some(fall_silent), ..Script::default() },
            ["--connect-timeout", "2"],
            "timeout connect",
        ),
        (Script { at_login: Some(fall_silent), ..Script::default() }, ["--connect-timeout", "1"], "timeout auth"),
        (Script { command: Some(command), ..Script::default() }, ["-t", "1"], "timeout command"),
        (Script { command: Some(command), ..Script::default() }, ["-O", "ServerAliveInterval=1"], "lost: "),
    ] {
        beside_a_good_one(script, &options).ends(BAD, outcome).within(25);
    }
}

#[test]
fn an_exchange_without_an_end_is_ended_by_a_signal() {
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        fall_silent(wire)
    }
    for script in [
        Script { at_login: Some(fall_silent), ..Script::default() },
        Script { command: Some(command), ..Script::default() },
    ] {
        let env = Env::new();
        let raw = Raw::start(script);
        env.trust(&raw.known_hosts_line());
        let running = env.pssh().hosts([raw.address]).args(["--", "x"]).start();
        let begun = Instant::now();
        while raw.count(KEXINIT) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the client has not answered");
            std::thread::sleep(Duration::from_millis(10));
        }
        running.signal(Signal::INT);
        running.finish().dies_by(Signal::INT).ends(BAD, "cancelled").within(25);
    }
}

// Another host key.

/// Proves another key, and sends output and a good end under the keys that come of it.
fn replace_key(wire: &mut Wire) -> io::Result<()> {
    wire.impose_keys(&HostKey::generate())
}

fn steal(wire: &mut Wire, channel: u32) -> io::Result<()> {
    replace_key(wire)?;
    wire.data(channel, STOLEN)?;
    wire.end(channel, 0)
}

/// The run has refused the host, and has sent it nothing under the new keys.
#[track_caller]
fn refused(run: &Run, raw: &Raw) {
    // On stdout of pscp.
    let outcomes = run.stdout_text() + &run.stderr_text();
    run.check(outcomes.matches(" hostkey: ").count() == 1, "the outcome");
    run.check(outcomes.contains("in a key re-exchange"), "it says when");
    run.check(raw.count(KEXINIT) == 1 && raw.count(NEWKEYS) == 0, "the new keys are not used");
    let stolen = String::from_utf8_lossy(STOLEN);
    run.check(!run.stdout_text().contains(&*stolen), "nothing that came under the new keys is taken");
}

fn attack(script: Script, program: Program, args: &[&str]) -> (Run, Raw) {
    let env = Env::new();
    let raw = Raw::start(script);
    env.trust(&raw.known_hosts_line());
    env.file("file", vec![b'x'; 8 << 20]);
    let run = env.run_of(program).hosts([raw.address]).args(args).limit(60).run();
    run.exits(4);
    (run, raw)
}

#[test]
fn another_host_key_during_the_login() {
    let script = Script { at_login: Some(replace_key), command: Some(say_well), ..Script::default() };
    let (run, raw) = attack(script, Program::Pssh, &["x"]);
    refused(&run, &raw);
    assert_eq!(raw.connections(), 1, "that is no reason to try again");
}

#[test]
fn another_host_key_before_the_first_was_checked() {
    // The last shown key is the checked one.
    let script = Script { before_login: Some(replace_key), command: Some(say_well), ..Script::default() };
    let (run, _) = attack(script, Program::Pssh, &["x"]);
    run.check(run.outcome(BAD).contains("CHANGED"), "the key of the second exchange is the one that is checked");
}

#[test]
fn another_host_key_after_the_login() {
    fn at_once(wire: &mut Wire, channel: u32) -> io::Result<()> {
        steal(wire, channel)
    }
    fn amid_output(wire: &mut Wire, channel: u32) -> io::Result<()> {
        (0..20).try_for_each(|_| wire.data(channel, &[&[b'x'; 30_000][..], b"\n"].concat()))?;
        steal(wire, channel)
    }
    fn after_the_status(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        wire.exit_status(channel, 0)?;
        steal(wire, channel)
    }
    for (act, bytes) in [(at_once as fn(&mut Wire, u32) -> _, 0), (amid_output, 20 * 30_001), (after_the_status, 7)] {
        let script = Script { command: Some(act), ..Script::default() };
        let (run, raw) = attack(script, Program::Pssh, &["--", "x"]);
        refused(&run, &raw);
        run.check(run.stdout_of(BAD).len() == bytes, "what came before is there");
    }
}

#[test]
fn a_refused_exchange_leaves_nothing_in_memory() {
    // libssh2 frees no session in which a packet waits to be sent.
    let env = Env::new();
    let raw = Raw::start(Script { command: Some(steal), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let valgrind = "exec valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite \"$@\"";
    let run =
        env.pssh().hosts([raw.address]).args(["--connect-timeout", "60", "--", "x"]).shell(valgrind).limit(120).run();
    run.exits(4);
    refused(&run, &raw);
}

#[test]
fn another_host_key_during_a_copy() {
    fn sftp(wire: &mut Wire, channel: u32) -> io::Result<()> {
        // In the middle of the first answer.
        wire.expect(CHANNEL_DATA)?;
        wire.data(channel, &[0, 0])?;
        steal(wire, channel)
    }
    fn scp(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.expect(CHANNEL_DATA)?;
        wire.data(channel, b"C0644 1000000 there\n")?;
        wire.expect(CHANNEL_DATA)?;
        (0..20).try_for_each(|_| wire.data(channel, &[b'x'; 30_000]))?;
        steal(wire, channel)
    }
    let sftp_there = (sftp as fn(&mut Wire, u32) -> _, Program::Pscp, &["file", "there"][..]);
    let scp_back = (scp as fn(&mut Wire, u32) -> _, Program::Pslurp, &["-X", "-O", "-L", "back", "there", "there"][..]);
    for (act, program, args) in [sftp_there, scp_back] {
        let script = Script { command: Some(act), ..Script::default() };
        let (run, raw) = attack(script, program, args);
        refused(&run, &raw);
    }
}

// A jump host with another key.

/// Carries bytes both ways until so many have come from the host behind, or it has gone.
fn carry(wire: &mut Wire, channel: u32, host: &mut TcpStream, most: usize) -> io::Result<()> {
    const TURN: Duration = Duration::from_millis(5);
    host.set_read_timeout(Some(TURN))?;
    let (mut buffer, mut count) = ([0; 16 << 10], 0);
    while count < most {
        match host.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                wire.data(channel, &buffer[..length])?;
                count += length;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        wire.pass_input(host, TURN)?;
    }
    Ok(())
}

#[test]
fn another_key_of_a_jump_host() {
    fn at_once(wire: &mut Wire, channel: u32, _: TcpStream) -> io::Result<()> {
        steal(wire, channel)
    }
    fn amid_output(wire: &mut Wire, channel: u32, mut host: TcpStream) -> io::Result<()> {
        carry(wire, channel, &mut host, 300_000)?;
        steal(wire, channel)
    }
    for (tunnel, limit) in [(at_once as Tunnel, 0), (amid_output, 400_000)] {
        let (env, sshd) = hosts(2);
        let raw = Raw::start(Script { tunnel: Some(tunnel), ..Script::default() });
        env.trust(&raw.known_hosts_line());
        // The second one waits for its turn.
        let run = env.pssh().hosts(sshd.hosts()).args(["-J", &raw.address.to_string(), "--proxy-connections", "1"]);
        let run = run.args(["--num-retries", "3", "--retry-delay", "0", "--", "yes"]).limit(60).run();
        run.exits(4).check(run.outcomes().len() == 2, "one outcome for each host");
        for label in sshd.labels() {
            let outcome = run.outcome(&label);
            let expected = format!("proxy: {}: hostkey: ", raw.address);
            run.check(outcome.starts_with(&expected) && outcome.contains("in a key re-exchange"), &outcome);
            run.check(run.stdout_of(&label).len() <= limit, "no more than came before");
        }
        run.check(raw.count(KEXINIT) == 1 && raw.count(NEWKEYS) == 0, "the new keys are not used");
        run.check(raw.count(CHANNEL_OPEN) >= 1 && raw.connections() == 1, "nobody tries it again");
    }
}

#[test]
fn a_jump_host_that_falls_silent_in_an_exchange() {
    fn tunnel(wire: &mut Wire, channel: u32, mut host: TcpStream) -> io::Result<()> {
        carry(wire, channel, &mut host, 300_000)?;
        fall_silent(wire)
    }
    let (env, sshd) = hosts(2);
    let raw = Raw::start(Script { tunnel: Some(tunnel), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let run = env.pssh().hosts(sshd.hosts()).args(["-J", &raw.address.to_string(), "--proxy-connections", "1"]);
    let run = run.args(["--num-retries", "1", "-t", "3", "--connect-timeout", "4", "--", "yes"]).limit(60).run();
    run.within(30).check(run.outcomes().len() == 2, "one outcome for each host");
    let outcomes: Vec<String> = sshd.labels().iter().map(|label| run.outcome(label)).collect();
    run.check(outcomes.iter().any(|outcome| outcome.starts_with("timeout command")), &format!("{outcomes:?}"));
    run.check(outcomes.iter().all(|outcome| outcome.starts_with("timeout ")), &format!("{outcomes:?}"));
}
