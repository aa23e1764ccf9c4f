//! Hosts that mean harm: whatever one of them sends, memory stays bounded, it has one outcome, and the other hosts of the run do not
//! notice. What they print to a terminal is in `terminals`, files with names that lead elsewhere are in `copy::sftp_download::tests::hostile`
//! and `scp::tests::hostile` of the library, and through the binary at the end of this file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::Duration;

use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::{Env, Run};
use crate::embedded::{Config, Server};
use crate::pscp::contents;
use crate::raw::{
    CHANNEL_CLOSE, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_EXTENDED_DATA, CHANNEL_OPEN, CHANNEL_REQUEST, CHANNEL_SUCCESS,
    CHANNEL_WINDOW_ADJUST, DEBUG, GLOBAL_REQUEST, HostKey, IGNORE, Raw, Script, Tunnel, USERAUTH_BANNER, Wire, string,
};
use crate::sshd::{Setup, Sshd, hosts};

/// The most memory that a run may take that has a handful of hosts, whatever they send: KiB.
const BOUND: u64 = 60 * 1024;
/// Bytes of what is sent without an end: several times the bound.
const FLOOD: usize = 256 << 20;
/// Of packets that are many times as expensive to a debug build as output.
const SMALL_FLOOD: usize = 64 << 20;

/// Runs a command on a hostile host and on a good one; the good one must succeed, and memory stay bounded.
#[track_caller]
pub(crate) fn beside_a_good_one(script: Script, options: &[&str]) -> Run {
    let env = Env::new();
    let raw = Raw::start(script);
    env.trust(&raw.known_hosts_line());
    let good = Server::start(Config {
        addresses: vec!["127.0.0.2".parse().expect("an address")],
        authorised: env.public_lines(),
        ..Config::default()
    });
    env.trust(&good.known_hosts());
    let hosts = [raw.address.to_string(), good.addr().to_string()];
    let pssh = env.pssh().hosts(hosts).args(["--num-retries", "1"]).args(options);
    let run = pssh.args(["--", "echo well"]).count().limit(120).run();
    run.ends("127.0.0.2", "ok (exit 0)");
    let well = run.stdout_counts.get("127.0.0.2").is_some_and(|count| (count.lines, count.bytes) == (1, 4));
    run.check(well, "the output of the good host");
    run.check(run.peak_kib > 0 && run.peak_kib < BOUND, "memory is bounded");
    run
}

/// Answers to what a host asks for without reading any: a session that forwards the agent has granted windows for many megabytes.
#[test]
fn questions_without_end_of_a_host_that_reads_no_answers() {
    fn begin(wire: &mut Wire, channel: u32) -> io::Result<()> {
        // The first request was that for the agent.
        wire.expect(CHANNEL_REQUEST)?;
        wire.about(CHANNEL_SUCCESS, channel)?;
        wire.data(channel, b"before\n")
    }
    fn agents(wire: &mut Wire, channel: u32) -> io::Result<()> {
        begin(wire, channel)?;
        opens(wire, b"auth-agent@openssh.com")
    }
    fn ports(wire: &mut Wire, channel: u32) -> io::Result<()> {
        begin(wire, channel)?;
        // One with an address, as libssh2 wants to see it.
        let address = [string(b"h"), vec![0; 4], string(b"h"), vec![0; 4]].concat();
        let numbers = [9, 1 << 20, 1 << 15_u32].map(u32::to_be_bytes).concat();
        chat(wire, &[vec![CHANNEL_OPEN], string(b"forwarded-tcpip"), numbers, address].concat())
    }
    fn questions(wire: &mut Wire, channel: u32) -> io::Result<()> {
        // The agent's channels first, whose windows count for what may come.
        begin(wire, channel)?;
        let numbers = [9, 1 << 20, 1 << 15_u32].map(u32::to_be_bytes).concat();
        let open = [vec![CHANNEL_OPEN], string(b"auth-agent@openssh.com"), numbers].concat();
        (0..8).try_for_each(|_| wire.send(&open))?;
        chat(wire, &[vec![GLOBAL_REQUEST], string(b"x"), vec![1]].concat())
    }
    fn requests(wire: &mut Wire, channel: u32) -> io::Result<()> {
        begin(wire, channel)?;
        let numbers = [9, 1 << 20, 1 << 15_u32].map(u32::to_be_bytes).concat();
        let open = [vec![CHANNEL_OPEN], string(b"auth-agent@openssh.com"), numbers].concat();
        (0..8).try_for_each(|_| wire.send(&open))?;
        let request = [channel.to_be_bytes().to_vec(), string(b"x"), vec![1]].concat();
        chat(wire, &[vec![CHANNEL_REQUEST], request].concat())
    }
    let env = Env::new();
    let agent = Agent::start(&env);
    for act in [agents as fn(&mut Wire, u32) -> _, ports, questions, requests] {
        let socket = format!("--agent={}", agent.socket.display());
        let run = beside_a_good_one(command(act), &["--forward-agent", &socket]);
        run.exits(4).within(60);
        run.ends(BAD, "lost: pssh ended the connection: the host keeps asking for answers and does not read them");
        let came = run.stdout_counts.get(BAD).is_some_and(|count| (count.lines, count.bytes) == (1, 6));
        run.check(came, "what came before is there");
    }
}

/// Asks for channels of this kind.
fn opens(wire: &mut Wire, kind: &[u8]) -> io::Result<()> {
    let numbers = [9, 1 << 20, 1 << 15_u32].map(u32::to_be_bytes).concat();
    chat(wire, &[vec![CHANNEL_OPEN], string(kind), numbers].concat())
}

/// The same of a jump host, on whose channels far more may come.
#[test]
fn questions_without_end_of_a_jump_host_that_reads_no_answers() {
    fn opens_agents(wire: &mut Wire, _: u32, _: TcpStream) -> io::Result<()> {
        opens(wire, b"auth-agent@openssh.com")
    }
    fn asks(wire: &mut Wire, _: u32, _: TcpStream) -> io::Result<()> {
        chat(wire, &[vec![GLOBAL_REQUEST], string(b"x"), vec![1]].concat())
    }
    for tunnel in [opens_agents as Tunnel, asks] {
        let env = Env::new();
        let raw = Raw::start(Script { tunnel: Some(tunnel), ..Script::default() });
        env.trust(&raw.known_hosts_line());
        let serve = |address: &str| {
            let addresses = vec![address.parse().expect("an address")];
            let server = Server::start(Config { addresses, authorised: env.public_lines(), ..Config::default() });
            env.trust(&server.known_hosts());
            server
        };
        let (behind, good) = (serve("127.0.0.3"), serve("127.0.0.2"));
        let hosts = env.file("hosts", format!("{} proxy={}\n{}\n", behind.addr(), raw.address, good.addr()));
        let run = env.pssh().arg("-h").arg(hosts).args(["--num-retries", "1", "--", "echo well"]).limit(120).run();
        run.exits(4).within(60).ends("127.0.0.2", "ok (exit 0)");
        let words = "the connection to it ended: the host keeps asking for answers and does not read them";
        run.ends("127.0.0.3", "proxy: 127.0.0.1").stderr_has(words);
        run.check(run.peak_kib > 0 && run.peak_kib < BOUND, "memory is bounded");
    }
}

pub(crate) const BAD: &str = "127.0.0.1";

fn command(command: fn(&mut Wire, u32) -> io::Result<()>) -> Script {
    Script { command: Some(command), ..Script::default() }
}

// Before SSH.

/// A server that identifies itself like this, in pieces; gives what pssh says, and what it has sent.
fn identified<P: AsRef<[u8]> + Sync>(pieces: &[P]) -> (Run, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let env = Env::new();
    thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            for piece in pieces {
                stream.write_all(piece.as_ref()).expect("pssh listens");
                thread::sleep(Duration::from_millis(100));
            }
            let mut heard = Vec::new();
            // It may have closed before it has read everything.
            let _ = stream.read_to_end(&mut heard);
            String::from_utf8_lossy(&heard).into_owned()
        });
        let run = env.pssh().hosts([address]).args(["--connect-timeout", "10", "--num-retries", "1", "true"]).run();
        (run, heard.join().expect("heard"))
    })
}

#[test]
fn a_server_of_another_version_of_the_protocol_is_told_nothing() {
    for version in ["SSH-1.5-Cisco-1.25", "SSH-1.0-x", "SSH-1.9-x", "SSH-3.0-x", "SSH-what"] {
        for before in ["", "Welcome\r\nSSH\r\n"] {
            let (run, heard) = identified(&[&format!("{before}{version}\r\n")]);
            run.exits(4).within(8).stderr_has("hint: version 1 is broken");
            let detail =
                format!("ssh: handshake: the server says {version:?}, which is not version 2 of the SSH protocol");
            run.ends("127.0.0.1", &detail);
            // Nothing, or our identification where the server's is late.
            run.check(heard.lines().count() <= 1 && (heard.is_empty() || heard.starts_with("SSH-2.0-")), &heard);
            run.check(!heard.contains("curve25519"), "no key exchange");
        }
    }
    // One in pieces may find more, and is refused as well.
    let (run, _) = identified(&["SSH-", "1.5-", "x\r\n"]);
    run.exits(4).within(8).ends("127.0.0.1", "ssh: handshake: the server says \"SSH-1.5-x\", which is not version 2");
    // Neither is one that is not UTF-8, nor one without an end: its words are cut.
    for pieces in [&[&b"SSH-1.5-old\xff\r\n"[..]][..], &[b"SSH-1.", b"5-old\xff\r\n"]] {
        let (run, _) = identified(pieces);
        let detail = "ssh: handshake: the server says \"SSH-1.5-old\u{fffd}\", which is not version 2";
        run.exits(4).within(8).ends("127.0.0.1", detail);
    }
    for before in ["SSH-1.5-", "HTTP/1.1 400 ", "Exceeded MaxStartups "] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let words = format!("{before}{}\r\n", "x".repeat(3000));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(words.as_bytes()).expect("pssh listens");
            stream.shutdown(Shutdown::Write).expect("connected");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let run = Env::new().pssh().hosts([address]).args(["--num-retries", "1", "true"]).run();
        server.join().expect("a server");
        let cut = format!("ssh: handshake: the server says \"{before}{}\"...", "x".repeat(200 - before.len()));
        run.exits(4).ends("127.0.0.1", &cut);
        let longest = run.stderr_text().lines().map(str::len).max().unwrap_or_default();
        run.check(longest < 320, &format!("{longest} bytes in a line"));
    }
    // Old and new at once.
    let (run, heard) = identified(&["SSH-1.99-x\r\n"]);
    run.stderr_lacks("version 2").check(heard.contains("curve25519"), "a key exchange");
}

#[test]
fn megabytes_before_the_identification_string() {
    fn lines(stream: &mut TcpStream) -> io::Result<()> {
        repeat(stream, &[&[b'x'; 200][..], b"\r\n"].concat().repeat(300))
    }
    fn line(stream: &mut TcpStream) -> io::Result<()> {
        repeat(stream, &vec![b'x'; 64 << 10])
    }
    fn nuls(stream: &mut TcpStream) -> io::Result<()> {
        repeat(stream, &vec![0; 64 << 10])
    }
    let much = "ssh: handshake: the host sent more than 1 MiB before the login";
    // A NUL byte cannot be in a line of it.
    let other = "ssh: handshake: the server sends something other than an SSH banner";
    for (first, outcome) in [(lines as fn(&mut TcpStream) -> _, much), (line, much), (nuls, other)] {
        let run = beside_a_good_one(Script { first: Some(first), ..Script::default() }, &[]);
        run.exits(4).ends(BAD, outcome).within(30);
    }
}

/// Sends a piece until it is [`FLOOD`] bytes, or the client has had enough.
fn repeat(stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
    (0..FLOOD / piece.len()).try_for_each(|_| stream.write_all(piece))
}

#[test]
fn packets_of_impossible_lengths_in_the_key_exchange() {
    fn huge(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&u32::MAX.to_be_bytes())?;
        repeat(stream, &vec![20; 64 << 10])
    }
    fn large(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&(1_u32 << 20).to_be_bytes())?;
        repeat(stream, &vec![20; 64 << 10])
    }
    fn empty(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&[0; 4096])
    }
    fn noise(stream: &mut TcpStream) -> io::Result<()> {
        repeat(stream, &(1_u8..=255).cycle().take(1 << 16).collect::<Vec<u8>>())
    }
    for act in [huge, large, empty, noise] {
        let run = beside_a_good_one(Script { instead_of_kex: Some(act), ..Script::default() }, &[]);
        run.exits(4).ends(BAD, "ssh: key exchange: ").within(30);
    }
}

// Before the login.

#[test]
fn megabytes_of_banners_and_chatter_before_the_login() {
    fn banners(wire: &mut Wire) -> io::Result<()> {
        chat(wire, &[vec![USERAUTH_BANNER], string(&[b'x'; 30_000]), string(b"")].concat())
    }
    fn ignored(wire: &mut Wire) -> io::Result<()> {
        chat(wire, &[vec![IGNORE], string(&[b'x'; 30_000])].concat())
    }
    fn debug(wire: &mut Wire) -> io::Result<()> {
        chat(wire, &[vec![DEBUG, 1], string(&[b'x'; 30_000]), string(b"")].concat())
    }
    fn unknown(wire: &mut Wire) -> io::Result<()> {
        chat(wire, &[vec![UNKNOWN], vec![b'x'; 30_000]].concat())
    }
    fn channels(wire: &mut Wire) -> io::Result<()> {
        chat(wire, &[vec![CHANNEL_DATA], vec![0; 4], string(&[b'x'; 30_000])].concat())
    }
    for act in [banners, ignored, debug, unknown, channels] {
        let run = beside_a_good_one(Script { before_login: Some(act), ..Script::default() }, &["-v"]);
        run.exits(4).within(30);
        let outcome = run.outcome(BAD);
        run.check(outcome.contains("more than 1 MiB before the login"), "why it was given up");
    }
}

/// libssh2 ends the process at such a packet unless something is done about it. A server can send one before its host key is checked,
/// and a machine in between can make one of any by changing a bit of its length.
#[test]
fn packets_that_are_no_whole_number_of_blocks() {
    /// A packet that says it has `length` bytes behind these words, and some bytes of another one.
    fn odd(wire: &mut Wire, length: u32) -> io::Result<()> {
        wire.send_packet(&[&length.to_be_bytes()[..], &vec![4; length as usize]].concat())?;
        wire.send(&[vec![IGNORE], string(&[b'x'; 100])].concat())
    }
    fn before(wire: &mut Wire) -> io::Result<()> {
        odd(wire, 33)
    }
    fn short(wire: &mut Wire) -> io::Result<()> {
        odd(wire, 13)
    }
    fn in_command(wire: &mut Wire, _: u32) -> io::Result<()> {
        odd(wire, 33)
    }
    for script in [
        Script { before_login: Some(before), ..Script::default() },
        Script { before_login: Some(before), encrypts_then_macs: true, ..Script::default() },
        Script { before_login: Some(short), ..Script::default() },
        Script { before_login: Some(short), encrypts_then_macs: true, ..Script::default() },
        Script { at_login: Some(before), ..Script::default() },
        Script { at_open: Some(before), ..Script::default() },
        command(in_command),
    ] {
        let run = beside_a_good_one(script, &[]);
        run.exits(4).within(30);
    }
    let at_open = Script { at_open: Some(before), ..Script::default() };
    // Up to there everything is right, with the other code too.
    let run = beside_a_good_one(at_open.clone(), &[]);
    run.check(run.outcome(BAD).contains("a packet was changed in transit: "), "it says what was wrong");
    let run = beside_a_good_one(command(in_command), &[]);
    run.check(run.outcome(BAD).contains("a packet was changed in transit: "), "while a command runs, too");
    let run = beside_a_good_one(Script { encrypts_then_macs: true, ..at_open }, &[]);
    run.check(run.outcome(BAD).contains("a packet was changed in transit: "), "it says what was wrong");
}

/// A message number without a meaning (RFC 4250 section 4.1.3 leaves it to local extensions).
const UNKNOWN: u8 = 200;

/// Sends a packet until it is [`SMALL_FLOOD`] bytes, or the client has had enough.
fn chat(wire: &mut Wire, packet: &[u8]) -> io::Result<()> {
    (0..SMALL_FLOOD / packet.len()).try_for_each(|_| wire.send(packet))
}

// While the command runs.

#[test]
fn chatter_without_end_while_the_command_runs() {
    fn ignored(wire: &mut Wire, _: u32) -> io::Result<()> {
        chat(wire, &[vec![IGNORE], string(&[b'x'; 30_000])].concat())
    }
    fn unknown(wire: &mut Wire, _: u32) -> io::Result<()> {
        chat(wire, &[vec![UNKNOWN], vec![b'x'; 30_000]].concat())
    }
    fn questions(wire: &mut Wire, _: u32) -> io::Result<()> {
        // Nothing of the answers is read.
        chat(wire, &[vec![GLOBAL_REQUEST], string(b"keepalive@openssh.com"), vec![1]].concat())
    }
    fn channels(wire: &mut Wire, _: u32) -> io::Result<()> {
        let numbers = [9, 1 << 20, 1 << 15_u32].map(u32::to_be_bytes).concat();
        chat(wire, &[vec![CHANNEL_OPEN], string(b"auth-agent@openssh.com"), numbers].concat())
    }
    fn others(wire: &mut Wire, channel: u32) -> io::Result<()> {
        chat(wire, &[vec![CHANNEL_DATA], (channel + 77).to_be_bytes().to_vec(), string(&[b'x'; 30_000])].concat())
    }
    fn late(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        wire.about(CHANNEL_EOF, channel)?;
        chat(wire, &[vec![UNKNOWN], vec![b'x'; 30_000]].concat())
    }
    let unasked = "sending unrequested data";
    let unread = "asking for answers and does not read them";
    for (act, what) in [
        (ignored as fn(&mut Wire, u32) -> _, unasked),
        (unknown, unasked),
        (questions, unread),
        (channels, unread),
        (others, unasked),
        (late, unasked),
    ] {
        let run = beside_a_good_one(command(act), &[]);
        run.exits(4).within(30);
        // Whichever comes first, where what nobody asked for is a question.
        let outcome = run.outcome(BAD);
        let is_told = outcome.ends_with(what) || what == unread && outcome.ends_with(unasked);
        run.check(is_told && outcome.starts_with("lost: pssh ended the connection: the host keeps "), what);
    }
}

/// With compression a few bytes on the wire are many in memory: 39,000 messages of 40 KB, the most that libssh2 takes, are 10 MB there
/// and 1.6 GB here.
#[test]
fn unknown_messages_that_are_large_only_when_inflated() {
    fn act(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        (0..39_000).try_for_each(|_| wire.send_repeated(UNKNOWN_LOW, 40_000))?;
        wire.end(channel, 0)
    }
    /// A byte that the test's compression can repeat.
    const UNKNOWN_LOW: u8 = 127;
    let run = beside_a_good_one(Script { compresses: true, ..command(act) }, &["-C"]);
    run.exits(4).within(30);
    run.ends(BAD, "lost: pssh ended the connection: the host keeps sending unrequested data");
    let came = run.stdout_counts.get(BAD).is_some_and(|count| (count.lines, count.bytes) == (1, 6));
    run.check(came, "what came before is there");
}

/// libssh2 keeps what it does not wait for, and looks through all of it for everything that it waits for.
#[test]
fn answers_that_nobody_waits_for_cost_little_time() {
    fn act(wire: &mut Wire, channel: u32) -> io::Result<()> {
        (0..300_000).try_for_each(|_| wire.about(CHANNEL_SUCCESS, channel))?;
        wire.end(channel, 0)
    }
    let run = beside_a_good_one(command(act), &[]);
    run.exits(4).within(30);
    run.check(run.cpu < Duration::from_secs(1), "it costs under a second of CPU time");
    run.ends(BAD, "lost: pssh ended the connection: the host keeps sending unrequested data");
}

#[test]
fn more_output_than_the_window_allows() {
    fn beyond(wire: &mut Wire, channel: u32) -> io::Result<()> {
        chat(wire, &[vec![CHANNEL_DATA], channel.to_be_bytes().to_vec(), string(&[b'x'; 30_000])].concat())?;
        wire.end(channel, 0)
    }
    fn huge(wire: &mut Wire, channel: u32) -> io::Result<()> {
        // It says that there are 4 GiB in the packet.
        wire.send(&[&[CHANNEL_DATA][..], &channel.to_be_bytes(), &u32::MAX.to_be_bytes(), &[b'x'; 100]].concat())?;
        wire.end(channel, 0)
    }
    fn odd_stream(wire: &mut Wire, channel: u32) -> io::Result<()> {
        let head = [vec![CHANNEL_EXTENDED_DATA], channel.to_be_bytes().to_vec(), 7_u32.to_be_bytes().to_vec()].concat();
        chat(wire, &[head, string(&[b'x'; 30_000])].concat())?;
        wire.end(channel, 0)
    }
    fn tiny(wire: &mut Wire, channel: u32) -> io::Result<()> {
        let packet = [vec![CHANNEL_DATA], channel.to_be_bytes().to_vec(), string(b"x")].concat();
        (0..200_000).try_for_each(|_| wire.send(&packet))?;
        wire.end(channel, 0)
    }
    fn empty(wire: &mut Wire, channel: u32) -> io::Result<()> {
        let packet = [vec![CHANNEL_DATA], channel.to_be_bytes().to_vec(), string(b"")].concat();
        (0..200_000).try_for_each(|_| wire.send(&packet))?;
        wire.end(channel, 0)
    }
    for (act, outcome, bytes) in [
        // What is beyond the window is not taken.
        (beyond as fn(&mut Wire, u32) -> _, "ok (exit 0)", 1..=SMALL_FLOOD),
        (huge, "ok (exit 0)", 100..=100),
        // A third stream has no reader: its data is dropped.
        (odd_stream, "ok (exit 0)", 0..=0),
        (tiny, "ok (exit 0)", 200_000..=200_000),
        (empty, "ok (exit 0)", 0..=0),
    ] {
        // Long enough for a busy machine.
        let run = beside_a_good_one(command(act), &["-t", "90"]);
        run.ends(BAD, outcome).within(90);
        let printed = run.stdout_counts.get(BAD).map_or(0, |count| count.bytes);
        run.check(bytes.contains(&printed), &format!("{printed} bytes of output"));
    }
}

#[test]
fn messages_that_make_no_sense() {
    fn windows(wire: &mut Wire, channel: u32) -> io::Result<()> {
        let most = [channel, u32::MAX].map(u32::to_be_bytes).concat();
        (0..1000).try_for_each(|_| wire.send(&[&[CHANNEL_WINDOW_ADJUST][..], &most].concat()))?;
        wire.end(channel, 0)
    }
    fn closed(wire: &mut Wire, channel: u32) -> io::Result<()> {
        wire.data(channel, b"before\n")?;
        wire.end(channel, 3)?;
        wire.about(CHANNEL_CLOSE, channel)?;
        wire.data(channel, b"after\n")?;
        wire.end(channel, 0)
    }
    fn cut(wire: &mut Wire, channel: u32) -> io::Result<()> {
        // A status without its number, a signal whose name is longer than the packet, and messages without anything.
        let channel = channel.to_be_bytes();
        wire.send(&[&[CHANNEL_REQUEST][..], &channel, &string(b"exit-status"), &[0]].concat())?;
        wire.send(&[&[CHANNEL_REQUEST][..], &channel, &string(b"exit-signal"), &[0], &[0xff; 4]].concat())?;
        for kind in [CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_EOF, CHANNEL_REQUEST, CHANNEL_OPEN, GLOBAL_REQUEST] {
            wire.send(&[kind])?;
            wire.send(&[kind, 0])?;
        }
        wire.stream.shutdown(Shutdown::Write)
    }
    fn packet(wire: &mut Wire, _: u32) -> io::Result<()> {
        let mut packet = u32::MAX.to_be_bytes().to_vec();
        packet.extend([4; 60]);
        wire.send_packet(&packet)
    }
    fn padding(wire: &mut Wire, _: u32) -> io::Result<()> {
        // More padding than packet.
        let packet = [&12_u32.to_be_bytes()[..], &[255], &[0; 11]].concat();
        wire.send_packet(&packet)
    }
    for (act, outcome) in [
        (windows as fn(&mut Wire, u32) -> _, "lost: "),
        (cut, "lost: "),
        (packet, "lost: "),
        (padding, "lost: "),
        // The host's own word is all there is on how its command has ended; one of its two counts.
        (closed, ""),
    ] {
        let run = beside_a_good_one(command(act), &["-t", "20"]);
        run.ends(BAD, outcome).within(30);
    }
}

// Host keys.

fn cut(wire: &mut Wire) -> io::Result<()> {
    wire.stream.shutdown(Shutdown::Both)
}

#[test]
fn another_key_at_the_second_attempt() {
    // The key is new, so that it is remembered; then the server drops the connection, and shows another key at the next one.
    let env = Env::new();
    let keys = vec![HostKey::generate(), HostKey::generate()];
    let raw = Raw::start(Script { keys, at_login: Some(cut), ..Script::default() });
    let run = || {
        let args = ["--host-key-check", "accept-new", "--num-retries", "2", "--retry-delay", "0", "x"];
        env.pssh().hosts([raw.address]).args(args).run()
    };
    let known = || fs::read_to_string(env.known_hosts()).unwrap_or_default();
    for connections in [2, 3, 4] {
        let run = run();
        run.exits(4).ends(BAD, "hostkey: ").check(run.outcome(BAD).contains("CHANGED"), "the second is refused");
        assert_eq!(known(), raw.known_hosts_line(), "the first key is remembered, and no other");
        assert_eq!(raw.connections(), connections, "a key that has changed is no reason to try again");
    }
}

#[test]
fn a_key_that_was_never_proven_is_not_remembered() {
    // Two keys at two attempts of one run, neither of which comes as far as being checked.
    let env = Env::new();
    let keys = vec![HostKey::generate(), HostKey::generate()];
    let raw = Raw::start(Script { keys, before_login: Some(cut), ..Script::default() });
    let args = ["--host-key-check", "accept-new", "--num-retries", "2", "--retry-delay", "0", "x"];
    env.pssh().hosts([raw.address]).args(args).run().exits(4).ends(BAD, "ssh: key exchange: ");
    assert_eq!(raw.connections(), 2);
    assert!(!env.known_hosts().exists());
}

// Output.

/// Bytes that a host prints in one line, far more than a run may hold in memory.
const LINE: usize = 100_000_000;

#[test]
fn a_line_without_an_end_in_every_format() {
    let (env, sshd) = hosts(2);
    let command =
        format!("case $SSH_CONNECTION in *' 127.0.1.1 '*) head -c {LINE} /dev/zero | tr '\\0' x;; *) echo well;; esac");
    for args in [
        &["--format", "lines"][..],
        &["--format", "inline"],
        &["--format", "gather"],
        &["--format", "json"],
        &["--format", "none", "-o", "out"],
        &["--quiet"],
    ] {
        let path = env.path("stdout");
        let run = env.pssh().hosts(sshd.hosts()).args(args).args(["--", &command]);
        let run = run.stdout_to(File::create(&path).expect("a file")).limit(120).run();
        run.exits(0).check(run.peak_kib > 0 && run.peak_kib < BOUND, &format!("memory is bounded: {args:?}"));
        let mut printed = fs::read(&path).expect("a file");
        for host in sshd.hosts().iter().filter(|_| args.contains(&"-o")) {
            printed.extend(fs::read(env.path("out").join(host)).expect("its file"));
        }
        if args == ["--quiet"] {
            run.check(printed.is_empty(), "all is well");
            continue;
        }
        let (count, rest) = without_x(&printed);
        let text = String::from_utf8_lossy(&rest);
        // JSON has words of its own with an x in them.
        let holds = (LINE..LINE + LINE / 1000).contains(&count) && text.matches("well").count() == 1;
        run.check(holds, &format!("{args:?}: {count} of {LINE} bytes"));
    }
}

/// How many of the bytes are an x, and the others. By pieces: one by one they would take seconds without optimisation.
fn without_x(bytes: &[u8]) -> (usize, Vec<u8>) {
    const PIECE: [u8; 4096] = [b'x'; 4096];
    let mut rest = Vec::new();
    for piece in bytes.chunks(PIECE.len()) {
        if *piece != PIECE[..piece.len()] {
            rest.extend(piece.iter().filter(|byte| **byte != b'x'));
        }
    }
    (bytes.len() - rest.len(), rest)
}

// Names.

#[test]
fn names_that_lead_elsewhere_are_no_files_of_ours() {
    // A host that has no SFTP and says over the old protocol what it likes, whatever it was asked for.
    for records in [
        "C0644 5 ../evil\\nhello\\0",
        "C0644 5 /tmp/evil\\nhello\\0",
        "D0755 0 ..\\nC0644 5 evil\\nhello\\0E\\n",
        "D0755 0 x/../..\\nC0644 5 evil\\nhello\\0E\\n",
        "C0644 5 .\\nhello\\0",
        "C0644 5 \\nhello\\0",
    ] {
        let env = Env::new();
        let config = format!("ForceCommand printf '{records}'; cat >/dev/null\n");
        let sshd = Sshd::start(&env, Setup { config: &config, ..Setup::default() });
        fs::create_dir(env.path("here")).expect("a directory");
        let before = contents(&env.path(""));
        let run = env
            .run_of(Program::Pslurp)
            .hosts(sshd.hosts())
            .args(["-X", "-O", "-r", "-L", "here"])
            .args(["/etc/motd", "motd"])
            .run();
        run.exits(5).check(run.stdout_text().contains("[FAILURE]"), records);
        let is_inside = |name: &OsStr| name.as_bytes().starts_with(b"here");
        let outside: Vec<_> = contents(&env.path("")).into_iter().filter(|(name, ..)| !is_inside(name)).collect();
        let before: Vec<_> = before.into_iter().filter(|(name, ..)| !is_inside(name)).collect();
        assert_eq!(outside, before, "{records}: nothing outside of the directory of the host");
        let inside = contents(&env.path("here"));
        run.check(!inside.iter().any(|(_, _, bytes)| bytes == b"hello"), &format!("{records}: {inside:?}"));
    }
}
