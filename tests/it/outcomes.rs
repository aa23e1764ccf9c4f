//! Every way in which a host can end: by a real sshd where it can be made to, else by a server with a fault. A healthy host
//! beside the sick one is never touched by it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, ChannelOpenFailure, Config, End, Event, Fault, Server, Step, refused_address};
use crate::sshd::{Setup, Sshd};

/// The host that is made to fail.
const SICK: &str = "127.0.0.1";
/// The one beside it.
const WELL: &str = "127.0.0.2";
/// Seconds that are longer than anything takes but a hang.
const SOON: u64 = 20;

/// A run that tries each host once: what repeating does is shown elsewhere.
fn once(env: &Env) -> Pssh {
    env.pssh().args(["--num-retries", "1"])
}

/// A home, a server with a fault and a healthy one.
struct Ward {
    env: Env,
    sick: Server,
    well: Server,
}

impl Ward {
    fn new(sick: Config) -> Ward {
        let env = Env::new();
        let serve = |address: &str, config: Config| {
            let server = Server::start(Config {
                addresses: vec![address.parse().expect("an address")],
                authorised: env.public_lines(),
                ..config
            });
            env.trust(&server.known_hosts());
            server
        };
        Ward { sick: serve(SICK, sick), well: serve(WELL, Config::default()), env }
    }

    fn with_fault(fault: Fault) -> Ward {
        Ward::new(Config { fault: Some(fault), ..Config::default() })
    }

    fn with_script(steps: Vec<Step>) -> Ward {
        Ward::new(Config { behaviour: Behaviour::Script(steps), ..Config::default() })
    }

    fn pssh(&self) -> Pssh {
        once(&self.env).hosts([self.sick.addr(), self.well.addr()])
    }

    /// Runs with these options; the healthy host must not notice anything.
    #[track_caller]
    fn run(&self, options: &[&str]) -> Run {
        let run = self.pssh().args(options).args(["--", "echo well"]).run();
        run.ends(WELL, "ok (exit 0)");
        run.check(run.stdout_of(WELL) == b"well\n", "the output of the healthy host");
        run.stderr_has("pssh: 2 hosts: ");
        run
    }
}

fn stdout(text: &str) -> Step {
    Step::Stdout(text.into())
}

/// Longer than the server needs to put its output on the wire.
const SETTLED: Step = Step::Sleep(Duration::from_secs(1));

// A command that ended.

#[test]
fn killed_by_a_signal() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    for (command, outcome) in [
        ("kill -9 $$", "signal KILL"),
        ("echo x; kill -TERM $$", "signal TERM"),
        ("exec sh -c 'kill -USR1 $$'", "signal USR1"),
    ] {
        let run = env.pssh().hosts(sshd.hosts()).args(["--", command]).run();
        run.exits(3).check(run.outcome(&sshd.label()) == outcome, outcome);
    }
}

#[test]
fn exit_signal_with_a_name_of_the_servers_choice() {
    let ward = Ward::with_script(vec![
        stdout("before\n"),
        Step::ExitSignal {
            name: "ODD@example.org".to_owned(),
            core_dumped: true,
            message: "what the server says of it".to_owned(),
        },
        Step::Eof,
        Step::Close,
    ]);
    let run = ward.run(&[]);
    run.exits(3).ends(SICK, "signal ODD@example.org");
    run.check(run.stdout_of(SICK) == b"before\n", "output before the end");
}

#[test]
fn a_hostile_signal_name_cannot_write_to_the_terminal() {
    let ward = Ward::with_script(vec![
        Step::ExitSignal {
            name: format!("X\u{1b}[2J\npssh: \u{61c}127.0.0.1: ok (exit 0){}", "x".repeat(20_000)),
            core_dumped: false,
            message: String::new(),
        },
        Step::Eof,
        Step::Close,
    ]);
    let run = ward.run(&[]);
    run.exits(3).ends(SICK, "signal \"X\\u{1b}[2J\\npssh: \\u{61c}127.0.0.1: ok (\"...");
    run.check(!run.stderr.contains(&0x1b) && !run.stderr_text().contains('\u{61c}'), "nothing that is not seen");
    run.check(run.stderr.len() < 1000, "the name is cut");
}

#[test]
fn end_of_output_before_the_exit_status() {
    let ward = Ward::with_script(vec![
        stdout("all"),
        Step::Eof,
        Step::Sleep(Duration::from_millis(300)),
        Step::ExitStatus(5),
        Step::Close,
    ]);
    let run = ward.run(&[]);
    run.exits(5).ends(SICK, "exit 5");
    run.check(run.stdout_of(SICK) == b"all\n", "output");
}

#[test]
fn exit_status_before_the_output() {
    let ward = Ward::with_script(vec![
        Step::ExitStatus(0),
        Step::Sleep(Duration::from_millis(300)),
        stdout("late\n"),
        Step::Stderr(b"later\n".to_vec()),
        Step::Eof,
        Step::Close,
    ]);
    let run = ward.run(&[]);
    run.exits(0).ends(SICK, "ok (exit 0)");
    run.check(run.stdout_of(SICK) == b"late\n" && run.stderr_of(SICK) == b"later\n", "output after the status");
}

#[test]
fn exit_status_and_then_a_channel_that_is_never_closed() {
    let ward = Ward::with_script(vec![stdout("done\n"), Step::ExitStatus(7), Step::Eof]);
    let run = ward.run(&[]);
    run.exits(5).within(SOON).ends(SICK, "exit 7");
}

#[test]
fn exit_status_and_then_a_lost_connection() {
    // The status was received: how the command ended is known.
    let ward =
        Ward::with_script(vec![stdout("done\n"), Step::ExitStatus(0), SETTLED, Step::DropConnection(End::Reset)]);
    let run = ward.run(&[]);
    run.exits(0).ends(SICK, "ok (exit 0)");
    run.check(run.stdout_of(SICK) == b"done\n", "output");
}

#[test]
fn an_exit_status_beyond_a_byte() {
    let ward = Ward::with_script(vec![Step::ExitStatus(0xc000_0005), Step::Eof, Step::Close]);
    ward.run(&[]).exits(5).ends(SICK, "exit 3221225477");
}

// A command that was lost.

#[test]
fn closed_without_a_status_by_sshd() {
    let env = Env::new();
    let config = "ChannelTimeout session:*=1s\n";
    let sshd = Sshd::start(&env, Setup { config, ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).args(["--", "echo begun; sleep 300"]).run();
    run.exits(4).within(SOON).ends(&sshd.label(), "lost: ");
    run.check(run.stdout_of(&sshd.label()) == b"begun\n", "output before the loss");
}

#[test]
fn closed_without_a_status() {
    let ward = Ward::with_script(vec![stdout("half"), Step::Eof, Step::Close]);
    let run = ward.run(&[]);
    run.exits(4).ends(SICK, "lost: the channel was closed without an exit status");
    run.hints(SICK, "may still be running");
    run.check(run.stdout_of(SICK) == b"half\n", "output before the loss");
}

#[test]
fn closed_at_once_without_anything() {
    let ward = Ward::with_script(vec![Step::Close]);
    ward.run(&[]).exits(4).ends(SICK, "lost: ").stdout_is(&format!("{WELL}: well\n"));
}

#[test]
fn cut_in_the_middle_of_a_line() {
    for end in [End::Fin, End::Reset] {
        let ward = Ward::with_script(vec![stdout("half a li"), SETTLED, Step::DropConnection(end)]);
        let run = ward.run(&[]);
        run.exits(4).ends(SICK, "lost: ");
        run.check(run.stdout_of(SICK) == b"half a li\n", &format!("{end:?}: output before the loss"));
    }
}

#[test]
fn disconnected_by_the_server() {
    let ward = Ward::with_script(vec![stdout("a\n"), SETTLED, Step::Disconnect("going down".to_owned())]);
    let run = ward.run(&[]);
    run.exits(4).within(SOON).ends(SICK, "lost: ");
    run.check(run.stdout_of(SICK) == b"a\n", "output before the loss");
}

#[test]
fn a_goodbye_right_after_the_end_takes_no_output_along() {
    // All in one burst. libssh2 alone gives out nothing of what came before the goodbye if it meets both at once.
    let steps = [
        stdout("all of it\n"),
        Step::Stderr(b"and this\n".to_vec()),
        Step::Eof,
        Step::ExitStatus(0),
        Step::Close,
        Step::Disconnect("going down".to_owned()),
    ];
    let ward = Ward::with_script(steps.to_vec());
    for _ in 0..20 {
        let run = ward.run(&[]);
        run.exits(0).ends(SICK, "ok");
        run.check(run.stdout_of(SICK) == b"all of it\n" && run.stderr_of(SICK) == b"and this\n", "all of the output");
    }
}

#[test]
fn the_sshd_of_a_session_dies() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    // Written long before the end; the parent of the shell is the session's sshd.
    let line = "seq 3000; sleep 1; kill -9 $PPID; sleep 300";
    let run = env.pssh().hosts(sshd.hosts()).args(["--", line]).run();
    run.exits(4).within(SOON).ends(&sshd.label(), "lost: ");
    let expected: String = (1..=3000).map(|number| format!("{number}\n")).collect();
    run.check(run.stdout_of(&sshd.label()) == expected.as_bytes(), "all that was received");
}

/// What [`Step::FloodStdout`] sends.
fn flood(bytes: usize) -> Vec<u8> {
    let lines = (0..400).flat_map(|number| format!("{number:<79}\n").into_bytes());
    let lines: Vec<u8> = lines.collect();
    lines.into_iter().cycle().take(bytes).collect()
}

#[test]
fn nothing_that_was_received_is_lost_with_the_connection() {
    const BYTES: usize = 1_000_000;
    for end in [End::Fin, End::Reset] {
        let ward = Ward::with_script(vec![Step::FloodStdout(BYTES as u64), SETTLED, Step::DropConnection(end)]);
        let run = ward.run(&[]);
        run.exits(4).ends(SICK, "lost: ");
        run.check(run.stdout_of(SICK) == flood(BYTES), &format!("{end:?}: all {BYTES} bytes"));
    }
}

#[test]
fn nothing_is_lost_with_the_connection_while_the_reader_of_our_output_sleeps() {
    // More than all of our buffers hold: when the connection ends, a part of it is still in the socket.
    const BYTES: usize = 5_200_000;
    let ward = Ward::with_script(vec![Step::FloodStdout(BYTES as u64), SETTLED, Step::DropConnection(End::Fin)]);
    let mut running = ward.env.pssh().hosts([ward.sick.addr()]).args(["true"]).hold_stdout().start();
    let mut stdout = running.take_stdout();
    let reader = thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).expect("a pipe");
        bytes
    });
    let run = running.finish();
    let printed = reader.join().expect("a reader");
    run.exits(4).ends(SICK, "lost: ");
    let lines = flood(BYTES);
    let expected: Vec<u8> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| [format!("{SICK}: ").as_bytes(), line].concat())
        .collect();
    run.check(printed == expected, &format!("{} bytes printed of {}", printed.len(), expected.len()));
}

// A host whose command was never begun.

#[test]
fn a_wrong_user() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, ..Setup::default() });
    let hosts = sshd.hosts();
    let run = env.pssh().hosts([format!("nobody-of-that-name@{}", hosts[0]), hosts[1].clone()]).args(["true"]).run();
    run.exits(4).ends(&sshd.labels()[0], "auth: nobody-of-that-name: refused after trying ssh-ed25519 ");
    run.hints(&sshd.labels()[0], "authorized_keys").ends(&sshd.labels()[1], "ok");
}

#[test]
fn nobody_listens() {
    let ward = Ward::new(Config::default());
    let refused = refused_address(SICK.parse().expect("an address")).expect("a free port");
    let run = once(&ward.env).hosts([refused, ward.well.addr()]).args(["--", "echo well"]).run();
    let connect = format!("connect: {SICK} port {}: Connection refused", refused.port());
    run.exits(4).within(SOON).ends(SICK, &connect).hints(SICK, "sshd").ends(WELL, "ok");
    run.stderr_lacks("os error");
}

#[test]
fn a_name_that_does_not_exist() {
    let ward = Ward::new(Config::default());
    let hosts = ["no-such-host.invalid".to_owned(), ward.well.addr().to_string()];
    let run = once(&ward.env).hosts(hosts).args(["--connect-timeout", "20", "--", "echo well"]).run();
    run.exits(4).ends("no-such-host.invalid", "dns: no-such-host.invalid: ").ends(WELL, "ok");
    run.hints("no-such-host.invalid", "spelling");
}

#[test]
fn host_keys_that_are_unknown_changed_or_revoked() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 4, trusted: false, ..Setup::default() });
    let labels = sshd.labels();
    let name = |place: usize| format!("[{}]:{}", labels[place], sshd.port());
    let key = sshd.public_key(0);
    let other = crate::embedded::Key::generate(crate::embedded::KeyKind::Ed25519).public_line();
    env.trust(&format!("{} {other}\n@revoked {} {key}\n{} {key}\n", name(1), name(2), name(3)));
    let run = env.pssh().hosts(sshd.hosts()).args(["echo", "in"]).run();
    run.exits(4);
    let unknown = format!("hostkey: {} is not in known_hosts; it offers ssh-ed25519 SHA256:", name(0));
    run.ends(&labels[0], &unknown).hints(&labels[0], "ssh-keyscan");
    run.ends(&labels[1], &format!("hostkey: the key of {} has CHANGED", name(1)));
    run.check(run.outcome(&labels[1]).contains("known_hosts:1 "), "the line of the known key");
    run.hints(&labels[1], "ssh-keygen -R");
    run.ends(&labels[2], &format!("hostkey: the key of {}", name(2)));
    run.check(run.outcome(&labels[2]).contains("REVOKED"), "revoked");
    run.check(run.hint(&labels[2]).is_none(), "nothing makes it easy to go on");
    run.ends(&labels[3], "ok").stdout_is(&format!("{}: in\n", labels[3]));
}

#[test]
fn closed_before_the_banner() {
    let ward = Ward::with_fault(Fault::CloseAtOnce);
    ward.run(&[]).exits(4).within(SOON).ends(SICK, "ssh: ").hints(SICK, "MaxStartups");
    // A reset can come before pssh has looked whether it is connected.
    let ward = Ward::with_fault(Fault::ResetAtOnce);
    let run = ward.run(&[]);
    let outcome = run.exits(4).within(SOON).outcome(SICK);
    run.check(outcome.starts_with("ssh: ") || outcome.contains("Connection reset"), "told as it is");
}

#[test]
fn reset_after_the_banner() {
    let ward = Ward::with_fault(Fault::ResetAfterBanner);
    ward.run(&[]).exits(4).within(SOON).ends(SICK, "ssh: ");
}

#[test]
fn a_refused_channel() {
    let ward = Ward::new(Config {
        reject_channel_open: Some(ChannelOpenFailure::AdministrativelyProhibited),
        ..Config::default()
    });
    ward.run(&[]).exits(4).within(SOON).ends(SICK, "ssh: opening a channel: ");
}

#[test]
fn a_refused_command() {
    let ward = Ward::with_script(vec![Step::RejectExec]);
    ward.run(&[]).exits(4).within(SOON).ends(SICK, "ssh: starting the command: ");
}

#[test]
fn a_command_that_is_cut_off_before_the_server_agrees_to_it() {
    // It may be running: never "ssh", which says that it is not.
    let ward = Ward::with_script(vec![Step::NeverAnswer, Step::DropConnection(End::Fin)]);
    ward.run(&[]).exits(4).within(SOON).ends(SICK, "lost: ");
}

// Deadlines.

/// Runs with a connect timeout of two seconds and expects it to strike.
#[track_caller]
fn strikes(ward: &Ward, outcome: &str) -> Run {
    let run = ward.run(&["--connect-timeout", "2"]);
    run.exits(3).within(SOON).ends(SICK, outcome).hints(SICK, "--connect-timeout");
    run.check(run.time >= Duration::from_secs(2), "not before its time");
    run
}

#[test]
fn no_banner() {
    strikes(&Ward::with_fault(Fault::SilentBanner), "timeout connect: no SSH banner within 2 s");
}

#[test]
fn garbage_instead_of_a_banner() {
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let noise: Vec<u8> = (0..100_000_u32).map(|number| ((number * 7919) >> 3) as u8).collect();
    for garbage in [http, noise] {
        let ward = Ward::with_fault(Fault::Garbage(garbage));
        let run = ward.run(&["--connect-timeout", "2"]);
        run.within(SOON);
        let outcome = run.outcome(SICK);
        let fits = outcome.starts_with("ssh: ") && run.status.code() == Some(4)
            || outcome.starts_with("timeout connect: ") && run.status.code() == Some(3);
        run.check(fits, "not an SSH server");
    }
}

#[test]
fn lines_without_end_before_the_banner() {
    strikes(&Ward::with_fault(Fault::EndlessPreBanner), "timeout connect: no SSH banner within 2 s");
}

#[test]
fn a_banner_and_nothing_after_it() {
    strikes(&Ward::with_fault(Fault::BannerThenSilence), "timeout connect: no SSH handshake within 2 s");
}

#[test]
fn authentication_that_is_never_answered() {
    strikes(&Ward::with_fault(Fault::StallAuth), "timeout auth: not authenticated within 2 s");
}

#[test]
fn a_channel_that_is_never_opened() {
    let run = strikes(&Ward::with_fault(Fault::StallChannelOpen), "timeout connect: no session channel within 2 s");
    run.hints(SICK, "the login succeeded");
}

#[test]
fn a_command_that_is_never_answered() {
    let ward = Ward::with_script(vec![Step::NeverAnswer]);
    let run = ward.run(&["--connect-timeout", "2"]);
    run.exits(3).within(SOON).ends(SICK, "timeout connect: no answer to the exec request within 2 s");
    // The request may have arrived.
    run.hints(SICK, "may still be running");
}

#[test]
fn an_address_that_does_not_answer_at_all() {
    // A listener whose queue is full lets further connections wait, as a firewall does that drops them.
    let listener = full_listener();
    let ward = Ward::new(Config::default());
    let hosts = [listener.address, ward.well.addr()];
    let run = once(&ward.env).hosts(hosts).args(["--connect-timeout", "2", "--", "echo well"]).run();
    run.exits(3).within(SOON).ends(SICK, "timeout connect: no TCP connection within 2 s").ends(WELL, "ok");
}

/// A listener whose queue is full.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _held: (rustix::fd::OwnedFd, Vec<std::net::TcpStream>),
}

pub(crate) fn full_listener() -> FullListener {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listen(&socket, 0).expect("a listener");
    let address = TcpListener::from(socket.try_clone().expect("a descriptor")).local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    FullListener { address, _held: (socket, waiting) }
}

#[test]
fn a_command_that_takes_too_long() {
    let ward = Ward::new(Config::default().on("echo well", Behaviour::Run));
    let run = once(&ward.env).hosts([ward.sick.addr()]).args(["-t", "1", "--", "echo begun; sleep 300"]).run();
    run.exits(3).within(SOON).ends(SICK, "timeout command: not finished within 1 s").hints(SICK, "-t 0");
    run.check(run.stdout_of(SICK) == b"begun\n", "output before the end");
    let ended = ward.sick.wait_until(Duration::from_secs(10), |server| server.running() == 0);
    run.check(ended, "the remote command was told to stop");
    let signals = signals(&ward.sick);
    run.check(signals == ["TERM"], &format!("signals: {signals:?}"));
}

/// The signal requests that a server got.
fn signals(server: &Server) -> Vec<String> {
    let events = server.logged().into_iter().filter_map(|record| match record.event {
        Event::Signal { name } => Some(name),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_command_that_takes_too_long_and_ignores_the_first_signal() {
    let ward = Ward::new(Config::default());
    // The shell stays, since a trap for its child would be inherited as ignored only by `''`.
    let line = "trap '' TERM; echo begun; while :; do sleep 1; done";
    let run = once(&ward.env).hosts([ward.sick.addr()]).args(["-t", "1", "--", line]).run();
    run.exits(3).within(SOON).ends(SICK, "timeout command: not finished within 1 s");
    let ended = ward.sick.wait_until(Duration::from_secs(10), |server| server.running() == 0);
    run.check(ended, "it is gone");
    let signals = signals(&ward.sick);
    run.check(signals == ["TERM", "KILL"], &format!("signals: {signals:?}"));
}

#[test]
fn a_command_that_takes_too_long_and_says_goodbye() {
    // What it does after the signal is its business; its last words are part of the output.
    let ward = Ward::new(Config::default());
    let line = "trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 0.1; done";
    let run = once(&ward.env).hosts([ward.sick.addr()]).args(["-t", "1", "--", line]).run();
    run.exits(3).ends(SICK, "timeout command: not finished within 1 s");
    run.check(run.stdout_of(SICK) == b"begun\nbye\n", "its last words");
}

#[test]
fn a_server_that_freezes_while_the_command_runs() {
    let ward = Ward::with_script(vec![stdout("frozen in mid-"), SETTLED, Step::Freeze]);
    let run = ward.run(&["-t", "3"]);
    run.exits(3).within(SOON).ends(SICK, "timeout command: not finished within 3 s");
    run.check(run.stdout_of(SICK) == b"frozen in mid-\n", "output before the end");
}

#[test]
fn output_without_end_does_not_keep_a_deadline_from_passing() {
    let ward = Ward::new(Config::default());
    // Long lines: what is on its way at the end has to be counted too, and that takes a test longer than pssh.
    let line = format!("yes {}", "x".repeat(500));
    let run = once(&ward.env).hosts([ward.sick.addr()]).args(["-t", "1", "--", &line]).count().run();
    run.exits(3).within(SOON).ends(SICK, "timeout command: not finished within 1 s");
    let ended = ward.sick.wait_until(Duration::from_secs(10), |server| server.running() == 0);
    run.check(ended, "the remote command was told to stop");
}

#[test]
fn a_server_that_speaks_after_a_while_is_in_time() {
    // Slow in everything, but still faster than the deadline.
    let ward = Ward::new(Config { delay: Duration::from_millis(200), ..Config::default() });
    ward.run(&["--connect-timeout", "30"]).exits(0).ends(SICK, "ok");
}

// What decides when hosts end differently.

#[test]
fn the_gravest_outcome_is_the_exit_status() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 3, ..Setup::default() });
    let refused = refused_address(SICK.parse().expect("an address")).expect("a free port");
    let line = "case $SSH_CONNECTION in *' 127.0.1.2 '*) exit 3;; *' 127.0.1.3 '*) kill -9 $$;; esac";
    let run = |hosts: &[String]| once(&env).hosts(hosts).args(["--", line]).run();
    let hosts = sshd.hosts();
    let (ok, exit, signal, connect) = (hosts[0].clone(), hosts[1].clone(), hosts[2].clone(), refused.to_string());
    run(std::slice::from_ref(&ok)).exits(0);
    run(&[ok.clone(), exit.clone()]).exits(5);
    run(&[connect.clone(), exit.clone(), ok.clone()]).exits(4);
    run(&[signal, ok, exit, connect]).exits(3).stderr_has("pssh: 4 hosts: 1 ok, 1 exit, 1 signal, 1 connect\n");
}

#[test]
fn an_http_server_that_waits_for_a_request() {
    // It never speaks first, and closes on what it takes for a bad request.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html></html>\r\n");
    });
    let run = once(&Env::new()).hosts([address]).args(["--connect-timeout", "10", "true"]).run();
    // The first line says what it is; of the others the last is as good as none.
    run.exits(4).within(SOON).ends(SICK, "ssh: handshake: the server says \"HTTP/1.1 400 Bad Request\"");
    server.join().expect("the server");
}
