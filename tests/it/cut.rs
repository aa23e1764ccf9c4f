//! Connections that end before anybody is logged in: closed or reset at any byte, directly, behind a jump host and a proxy command,
//! and the connection of the jump host itself. That is what is told, and that is what is tried again.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::bin::{Env, Pssh, Run};
use crate::raw::{Raw, Script};
use crate::sshd::{Setup, Sshd};

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// The name in known_hosts of the server behind all cuts.
const ALIAS: [&str; 2] = ["-O", "HostKeyAlias=server"];
/// How many hosts there are in a run: each takes a few descriptors of the test.
const BATCH: usize = 100;

/// An address that passes connections on to a server, and cuts each after so many bytes from there.
struct Cutter {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Cutter {
    /// The `number`th of a run.
    fn start(number: usize, target: SocketAddr, bytes: usize, end: End) -> Cutter {
        let place = Ipv4Addr::new(127, 3, (number / 250) as u8, (1 + number % 250) as u8);
        let listener = TcpListener::bind((place, 0)).expect("an address");
        let (address, taken) = (listener.local_addr().expect("a name"), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&taken);
        // They end with the test process.
        let accept = move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                small_thread(move || cut(client, target, bytes, end));
            }
        };
        small_thread(accept);
        Cutter { address, taken }
    }

    fn label(&self) -> String {
        self.address.ip().to_string()
    }
}

fn small_thread(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(128 << 10).spawn(work).expect("a thread");
}

fn cut(mut client: TcpStream, target: SocketAddr, mut left: usize, end: End) {
    let Ok(mut server) = TcpStream::connect(target) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { return };
    let upward = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 4096];
    while left > 0 {
        let most = left.min(buffer.len());
        match server.read(&mut buffer[..most]) {
            Ok(count @ 1..) if client.write_all(&buffer[..count]).is_ok() => left -= count,
            _ => break,
        }
    }
    match end {
        End::Closed => {
            let _ = client.shutdown(Shutdown::Write);
            // What the client has sent must not turn it into a reset.
            let _ = upward.join();
        }
        End::Reset => {
            // A reset takes along what the client has not read yet.
            thread::sleep(Duration::from_millis(20));
            set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket");
            let _ = (client.shutdown(Shutdown::Read), upward.join());
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Runs `pssh` on a host for each number of bytes; gives each with the label of its host.
fn runs<'a>(
    counts: &'a [usize],
    end: End,
    target: SocketAddr,
    pssh: impl Fn(&[Cutter]) -> Pssh + 'a,
) -> impl Iterator<Item = (Run, Vec<(usize, Cutter)>)> + 'a {
    counts.chunks(BATCH).map(move |counts| {
        let cutters: Vec<Cutter> =
            counts.iter().enumerate().map(|(place, bytes)| Cutter::start(place, target, *bytes, end)).collect();
        let run = pssh(&cutters).args(["-p", "25", "--connect-timeout", "50", "--", "true"]).run();
        run.check(run.outcomes().len() == cutters.len(), "one outcome for each host");
        (run, counts.iter().copied().zip(cutters).collect())
    })
}

/// Most bytes that a server sends before it is asked to log a user in.
fn opening_of(env: &Env, target: SocketAddr) -> usize {
    // Behind it comes the answer to the login, which is no smaller than 16 bytes.
    let works = |bytes: usize| {
        let cutter = Cutter::start(0, target, bytes, End::Closed);
        let run = env.pssh().hosts([cutter.address]).args(ALIAS).args(["--num-retries", "1", "--", "true"]).run();
        !run.outcome(&cutter.label()).starts_with("ssh: handshake")
            && !run.outcome(&cutter.label()).starts_with("ssh: key")
    };
    let (mut low, mut high) = (0, 8192);
    while low < high {
        let middle = usize::midpoint(low, high);
        if works(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

fn before(how: &str) -> String {
    format!("ssh: handshake: {how} before its SSH banner")
}

fn amid(how: &str) -> [String; 2] {
    ["key exchange", "authentication"].map(|doing| format!("ssh: {doing}: {how}"))
}

/// Returns the report of a connection that was cut there.
fn fits(outcome: &str, bytes: usize, banner: usize, end: End) -> bool {
    let how = match end {
        End::Closed => "the server closed the connection",
        End::Reset => "the server reset the connection",
    };
    let before = before(how);
    let amid = amid(how);
    let early = outcome == before || end == End::Reset && outcome.starts_with("connect: ");
    if bytes < banner { early } else { amid.iter().any(|amid| outcome == amid) || end == End::Reset && early }
}

fn trusting(host_key: &str) -> Env {
    let env = Env::new();
    env.trust(&format!("server {host_key}\n"));
    env
}

fn raw() -> (Env, Raw, usize) {
    let raw = Raw::start(Script { command: Some(|wire, channel| wire.end(channel, 0)), ..Script::default() });
    let line = raw.known_hosts_line();
    let env = trusting(line.trim().split_once(' ').expect("a name and a key").1);
    let opening = opening_of(&env, raw.address);
    assert!((300..2000).contains(&opening), "{opening} bytes");
    (env, raw, opening)
}

/// Bytes of the test server's banner.
const BANNER: usize = "SSH-2.0-raw_1.0\r\n".len();

#[test]
fn at_any_byte() {
    let (env, raw, opening) = raw();
    let counts: Vec<usize> = (0..opening).collect();
    for end in [End::Closed, End::Reset] {
        let pssh = |cutters: &[Cutter]| {
            env.pssh().hosts(cutters.iter().map(|cutter| cutter.address)).args(ALIAS).args(["--num-retries", "1"])
        };
        for (run, cutters) in runs(&counts, end, raw.address, pssh) {
            run.exits(4);
            for (bytes, cutter) in cutters {
                let outcome = run.outcome(&cutter.label());
                run.check(fits(&outcome, bytes, BANNER, end), &format!("{end:?} after {bytes} bytes: {outcome}"));
            }
        }
    }
}

#[test]
fn at_any_byte_behind_a_jump_host() {
    let (env, raw, opening) = raw();
    let bastion = Sshd::start(&env, Setup::default());
    // The jump host passes an end on, be it a reset or not: SSH channels have but one.
    const ENDED: &str = "the server ended the connection";
    let counts: Vec<usize> = (0..opening).collect();
    let pssh = |cutters: &[Cutter]| {
        let jump = format!("{}:{}", bastion.label(), bastion.port());
        let hosts = cutters.iter().map(|cutter| cutter.address);
        let config = format!("Host 127.3.*\nHostKeyAlias server\nProxyJump {jump}\nHost *\n");
        let config = env.file("ssh_config", config);
        env.bare_pssh().arg("-F").arg(config).hosts(hosts).args(["--num-retries", "1"])
    };
    let some: Vec<usize> = (0..opening).step_by(25).collect();
    for (end, counts) in [(End::Closed, &counts), (End::Reset, &some)] {
        for (run, cutters) in runs(counts, end, raw.address, pssh) {
            run.exits(4);
            for (bytes, cutter) in cutters {
                let outcome = run.outcome(&cutter.label());
                // Bytes that are on their way when a connection is reset are lost with it.
                let fits = bytes >= BANNER && amid(ENDED).contains(&outcome)
                    || (bytes < BANNER || end == End::Reset) && outcome == before(ENDED);
                run.check(fits, &format!("{end:?} after {bytes} bytes: {outcome}"));
            }
        }
    }
    assert!(bastion.connections() < 100, "the jump host's own connections live on");
}

#[test]
fn a_jump_host_whose_connection_is_cut_at_any_byte() {
    let env = Env::new();
    let (bastion, host) =
        (Sshd::start(&env, Setup::default()), Sshd::start(&env, Setup { hosts: 1, ..Setup::default() }));
    env.trust(&format!("server {}\n", bastion.public_key(0)));
    let target: SocketAddr = bastion.hosts()[0].parse().expect("an address");
    // Up to the login on the host behind, and beyond.
    let counts: Vec<usize> = (0..110).map(|step| step * 41).collect();
    for end in [End::Closed, End::Reset] {
        let pssh = |cutters: &[Cutter]| {
            // One entry for each jump host, all of them the same host.
            let blocks = cutters.iter().enumerate().map(|(place, cutter)| {
                format!(
                    "Host h{place}\nHostName {}\nPort {}\nProxyJump {}\n",
                    host.label(),
                    host.port(),
                    cutter.address
                )
            });
            let aliased = "Host 127.3.*\nHostKeyAlias server\n";
            let config = env.file("ssh_config", blocks.collect::<String>() + aliased);
            let hosts = (0..cutters.len()).map(|place| format!("h{place}"));
            env.bare_pssh().arg("-F").arg(config).hosts(hosts).args(["--num-retries", "1"])
        };
        let mut ended = 0;
        for (run, cutters) in runs(&counts, end, target, pssh) {
            for (place, (bytes, cutter)) in cutters.iter().enumerate() {
                let outcome = run.outcome(&format!("h{place}"));
                let is_hop = outcome.starts_with(&format!("proxy: {}", cutter.address.ip()));
                // Later the command runs.
                let is_late = outcome.starts_with("lost: ") || outcome == "ok (exit 0)";
                let fits = is_hop || is_late && *bytes > 2000;
                run.check(fits, &format!("{end:?} after {bytes} bytes: {outcome}"));
                ended += usize::from(is_hop);
            }
        }
        assert!(ended > 60, "{ended} have met the cut");
    }
}

#[test]
fn a_real_sshd_is_tried_again() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    env.trust(&format!("server {}\n", sshd.public_key(0)));
    let target: SocketAddr = sshd.hosts()[0].parse().expect("an address");
    let opening = opening_of(&env, target);
    let banner = sshd_banner(target);
    let counts: Vec<usize> = (0..opening).step_by(37).chain([banner - 1, banner, banner + 1, opening - 1]).collect();
    for end in [End::Closed, End::Reset] {
        let pssh = |cutters: &[Cutter]| {
            let options = ["--num-retries", "2", "--retry-delay", "0.2"];
            env.pssh().hosts(cutters.iter().map(|cutter| cutter.address)).args(ALIAS).args(options)
        };
        for (run, cutters) in runs(&counts, end, target, pssh) {
            run.exits(4);
            for (bytes, cutter) in cutters {
                let outcome = run.outcome(&cutter.label());
                let (words, attempts) = outcome.rsplit_once(" (attempt ").unwrap_or((&outcome, "1)"));
                run.check(fits(words, bytes, banner, end), &format!("{end:?} after {bytes} bytes: {outcome}"));
                // One that has not said a word may be busy, and is asked more often.
                let expected = if words.contains("banner") { "6)" } else { "2)" };
                run.check(attempts == expected, &format!("{end:?} after {bytes} bytes: {outcome}"));
                let taken = cutter.taken.load(Ordering::SeqCst);
                run.check(format!("{taken})") == expected, &format!("{taken} connections: {outcome}"));
            }
        }
    }
}

fn sshd_banner(target: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(target).expect("a connection");
    let (mut length, mut byte) = (0, [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("a banner");
        length += 1;
    }
    length
}

#[test]
fn a_proxy_command_that_ends() {
    let (env, raw, opening) = raw();
    // It ends with the connection, whichever side has closed it.
    let command = "bash -c 'exec 3<>/dev/tcp/%h/%p 4<&0; cat <&4 >&3 & cat <&3; kill $!; exit 7'";
    let counts: Vec<usize> = (0..opening).step_by(9).collect();
    let pssh = |cutters: &[Cutter]| {
        let hosts = cutters.iter().map(|cutter| cutter.address);
        env.pssh().hosts(hosts).args(ALIAS).args(["--num-retries", "1", "--proxy-command", command])
    };
    for (run, cutters) in runs(&counts, End::Closed, raw.address, pssh) {
        run.exits(4);
        for (bytes, cutter) in cutters {
            let outcome = run.outcome(&cutter.label());
            let fits = outcome.starts_with("proxy: bash -c ") && outcome.contains("the command exited with 7");
            run.check(fits, &format!("after {bytes} bytes: {outcome}"));
        }
    }
}

/// A jump host that dies after it has let us try a key on the host behind: no answer of that host to the key.
#[test]
fn a_jump_host_that_goes_during_a_login_behind_it() {
    use crate::raw::{USERAUTH_FAILURE, string};
    // It refuses a key, and falls silent then.
    fn at_login(wire: &mut crate::raw::Wire) -> std::io::Result<()> {
        wire.send(&[vec![USERAUTH_FAILURE], string(b"publickey"), vec![0]].concat())?;
        thread::sleep(Duration::from_secs(20));
        Err(std::io::ErrorKind::TimedOut.into())
    }
    let raw = Raw::start(Script { at_login: Some(at_login), ..Script::default() });
    let env = Env::new();
    env.trust(&raw.known_hosts_line());
    // Another key, which is tried after the refusal.
    let other = env.path("other");
    crate::bin::ssh_keygen(&other, &["-t", "ed25519", "-N", ""]);
    let addresses: Vec<IpAddr> = vec!["127.0.0.2".parse().expect("an address")];
    let bastion = crate::embedded::Server::start(crate::embedded::Config {
        addresses,
        authorised: env.public_lines(),
        ..Default::default()
    });
    env.trust(&bastion.known_hosts());
    let jump = bastion.addr().to_string();
    let pssh = env.pssh().hosts([raw.address]).arg("--identity").arg(env.ssh_dir().join("id_ed25519"));
    let pssh = pssh.arg("--identity").arg(&other);
    let running = pssh.args(["-J", &jump, "--num-retries", "1", "true"]).start();
    while raw.count(crate::raw::USERAUTH_REQUEST) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    // It has asked for more by now.
    thread::sleep(Duration::from_millis(500));
    drop(bastion);
    running.finish().exits(4).ends("127.0.0.1", "proxy: 127.0.0.2").within(15);
}
