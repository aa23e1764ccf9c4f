//! What is waited for, and whether it is seen: names that are not found, other attempts, copies.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pssh::internal::Program;
use rustix::process::Signal;

use crate::bin::{Env, Pssh};
use crate::embedded::refused_address;
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd, sftp_server};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

// Names.

/// A name server on an address of its own, which needs root: it knows no name that begins with `gone`, cannot say anything for a while
/// about those that begin with `later`, and has 127.0.1.1 for those.
struct Names {
    address: Ipv4Addr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long it cannot say anything, from its first question on.
const SILENCE: Duration = Duration::from_millis(700);

impl Names {
    fn start() -> Names {
        let [.., third, fourth] = std::process::id().to_be_bytes();
        let (address, udp) = (0..=u8::MAX)
            .map(|number| Ipv4Addr::new(127, 54, third ^ number, fourth.clamp(1, 254)))
            .find_map(|address| Some((address, UdpSocket::bind((address, 53)).ok()?)))
            .expect("an address for a name server");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || serve(&udp, &over)
        });
        Names { address, over, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(udp: &UdpSocket, over: &AtomicBool) {
    let (mut buffer, mut first) = ([0; 512], None);
    while !over.load(Ordering::SeqCst) {
        let Ok((length, client)) = udp.recv_from(&mut buffer) else { continue };
        answer(udp, client, &buffer[..length], &mut first);
    }
}

/// RFC 1035 section 4.1: a header of 12 bytes, the question, and perhaps a record that points back to the name in it.
fn answer(udp: &UdpSocket, client: SocketAddr, query: &[u8], first: &mut Option<Instant>) {
    let mut end = 12;
    while let Some(length @ 1..) = query.get(end) {
        end += 1 + usize::from(*length);
    }
    let is_ipv4 = query.get(end + 1..end + 3) == Some(&[0, 1]);
    let is_later = query.get(13..18) == Some(b"later");
    let is_silent = first.get_or_insert_with(Instant::now).elapsed() < SILENCE;
    let (code, records) = match (is_later, is_silent) {
        (false, _) => (3, 0),
        (true, true) => (2, 0),
        (true, false) => (0, u8::from(is_ipv4)),
    };
    let mut reply = query[..end + 5].to_vec();
    reply[2..12].copy_from_slice(&[0x84, code, 0, 1, 0, records, 0, 0, 0, 0]);
    if records > 0 {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 1, 1]);
    }
    let _ = udp.send_to(&reply, client);
}

/// The run with this resolv.conf(5), which only it and what it starts see.
fn resolving(env: &Env, run: Pssh, text: &str) -> Pssh {
    let file = env.file("resolv.conf", text);
    let script = "exec unshare -m sh -c 'mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"'";
    run.shell(&format!("{script} '{}' \"$@\"", file.display()))
}

#[test]
fn a_name_that_does_not_exist_is_final_and_a_resolver_without_an_answer_is_asked_again() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let names = Names::start();
    let resolv = format!("nameserver {}\noptions timeout:1 attempts:1\n", names.address);
    let host = format!("later.waiting.test:{}", sshd.port());
    let pssh = |host: &str| env.pssh().hosts([host]).args(["--retry-delay=0.5", "--host-key-check=accept-new", "true"]);

    let gone = resolving(&env, pssh("gone.waiting.test"), &resolv).run();
    gone.exits(4).check(gone.time < Duration::from_secs(4), "at once");
    gone.check(gone.outcome("gone.waiting.test") == "dns: gone.waiting.test: Name or service not known", "one attempt");

    let later = resolving(&env, pssh(&host), &resolv).run();
    later.exits(0).check(later.outcome("later.waiting.test").starts_with("ok (exit 0) (attempt "), "asked again");

    // No host exists there.
    drop(names);
    let args = ["--num-retries=2", "--retry-delay=0.2", "true"];
    let nobody = resolving(&env, env.pssh().hosts(["later.waiting.test"]).args(args), &resolv).run();
    let text = "dns: later.waiting.test: Temporary failure in name resolution (attempt 2)";
    nobody.exits(4).check(nobody.outcome("later.waiting.test") == text, "asked again, and given up");
}

#[test]
fn a_wait_for_the_resolver_is_seen() {
    let env = Env::new();
    let pty = Pty::new();
    pty.resize(80, 24);
    let args = ["--num-retries=2", "--retry-delay=4", "--color=never", "true"];
    let pssh = env.pssh().hosts(["later.waiting.test"]).args(args).variable("TERM", "xterm");
    let file = env.file("resolv.conf", "nameserver 127.54.0.1\noptions timeout:1 attempts:1\n");
    // In the terminal's own session as well.
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
    let wrapped = env.file("wrapped", format!("{script}\n"));
    let running = pty.show_by(pssh, &format!("unshare -m sh {}", wrapped.display())).start();
    pty.wait_for("1 retrying: Temporary failure in name resolution", 1);
    pty.type_in("\x03");
    running.finish().exits(128 + Signal::INT.as_raw());
}

// Attempts.

#[test]
fn hosts_that_are_tried_again_are_counted_with_the_reason_and_the_time() {
    for (before, after) in [(SIZES[0], SIZES[1]), (SIZES[1], SIZES[0])] {
        let env = Env::new();
        let hosts = ["127.0.0.51", "127.0.0.52"]
            .map(|address| refused_address(address.parse().expect("an address")).expect("a free port"));
        let pty = Pty::new();
        pty.resize(before.0, before.1);
        let args = ["--color=never", "--num-retries=2", "--retry-delay=8", "true"];
        let running = pty.show(env.pssh().hosts(hosts).args(args).variable("TERM", "xterm")).start();
        let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
        let is_told = |text: &str| last(text).contains(" 0/2 2 retrying: Connection refused, next in ");
        pty.wait_for_screen(before.0, before.1, is_told);
        pty.resize(after.0, after.1);
        // The longest wait is named.
        let is_named = |text: &str| {
            let line = last(text);
            is_told(text) && (after.0 == 80 || line.contains("slowest 127.0.0.5") && line.contains(" s, retrying)"))
        };
        let text = pty.wait_for_screen(after.0, after.1, is_named);
        assert!(last(&text).len() < usize::from(after.0), "{text}");
        running.finish().exits(4);
        assert!(!pty.screen(after.0, after.1).contents().contains("retrying"), "nothing is left of it");
    }
}

#[test]
fn a_host_that_is_connected_to_is_not_told_to_run() {
    let env = Env::new();
    let silent = std::net::TcpListener::bind("127.0.0.2:0").expect("an address");
    let pty = Pty::new();
    pty.resize(200, 50);
    let pssh = env.pssh().hosts([silent.local_addr().expect("a name")]).variable("TERM", "xterm");
    let running = pty.show(pssh.args(["--color=never", "true"])).start();
    pty.wait_for("0/1 1 connecting, 0:00", 1);
    pty.wait_for("0/1 1 connecting, 0:03, slowest 127.0.0.2 (3 s, connecting)", 1);
    pty.type_in("\x03");
    running.finish().exits(128 + Signal::INT.as_raw());
    assert!(pty.screen(200, 50).contents().contains("cancelled: stopped while connecting"));
}

// Copies.

/// What the SFTP server hears comes slowly for about two seconds.
const SLOW_SFTP: &str = "{ for n in $(seq 40); do dd bs=65536 count=1 status=none; sleep 0.05; done; cat; } | exec ";

fn slow(env: &Env, hosts: usize, rest: &str) -> Sshd {
    let script = SLOW_SFTP.replace("cat;", rest);
    let slow = env.file("slow", format!("{script}{}\n", sftp_server().display()));
    let config = format!("Subsystem sftp /bin/sh {}", slow.display());
    Sshd::start(env, Setup { hosts, config: &config, ..Setup::default() })
}

#[test]
fn a_copy_ends_with_its_amount_time_and_rate() {
    const SIZE: usize = 8_000_000;
    let env = Env::new();
    let sshd = slow(&env, 3, "cat;");
    env.file("big", vec![b'x'; SIZE]);
    // All of them write to the same disk.
    let target = env.path("there");
    let pscp = |hosts: usize, args: &[&str]| {
        env.run_of(Program::Pscp).hosts(&sshd.hosts()[..hosts]).args(args).arg("big").arg(&target)
    };
    let run = pscp(3, &[]).run();
    run.exits(0).stderr_has("pscp: 3 hosts: 3 ok\npscp: transferred 24.0 MB to 3 hosts in ").stderr_has(" MB/s)\n");
    pscp(1, &[]).run().exits(0).stderr_lacks("transferred");
    pscp(3, &["-q"]).run().exits(0).stderr_lacks("transferred");

    for (columns, rows) in SIZES {
        let pty = Pty::new();
        pty.resize(columns, rows);
        let running = pty.show(pscp(1, &["--color=never"]).variable("TERM", "xterm")).start();
        let seen = |text: &str| {
            let last = text.lines().last().unwrap_or_default();
            last.contains(" MB of 8.0 MB, ") && last.contains("MB/s, 0:0") && last.contains(" left")
        };
        pty.wait_for_screen(columns, rows, seen);
        running.finish().exits(0);
        let text = pty.screen(columns, rows).contents();
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("pscp: transferred 8.0 MB to 1 host in ") && last.ends_with("MB/s)"), "{text}");
    }

    let logs = env.path("logs");
    let pslurp = env.run_of(Program::Pslurp).hosts(sshd.hosts()).arg("-L").arg(&logs).arg(&target).arg("big").run();
    pslurp.exits(0).stderr_has("pslurp: transferred 24.0 MB from 3 hosts in ");
    let prsync = env.run_of(Program::Prsync).hosts(&sshd.hosts()[..2]).arg("big").arg(env.path("synced")).run();
    prsync.exits(0).stderr_has("prsync: transferred ").stderr_has(" to 2 hosts in ");
}

#[test]
fn what_resume_keeps_after_ctrl_c_is_told() {
    let env = Env::new();
    // It stands still after the first 2.6 MB.
    let sshd = slow(&env, 2, "sleep 60;");
    env.file("big", vec![b'x'; 8_000_000]);
    let target = env.path("there");
    let pscp = |args: &[&str]| {
        let pscp = env.run_of(Program::Pscp).hosts(&sshd.hosts()[..1]).args(["--progress=always"]).args(args);
        let mut running = pscp.arg("big").arg(&target).start();
        running.wait_for(", 0 B/s, ");
        running.signal(Signal::INT);
        let run = running.finish();
        run.dies_by(Signal::INT);
        run
    };
    pscp(&["--resume"])
        .stderr_has("pscp: --resume kept ")
        .stderr_has(" MB of 8.0 MB for 1 host: the same command goes on from there\n");
    pscp(&[]).stderr_lacks("kept");
}
