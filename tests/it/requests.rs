//! What commands get in addition to their words: variables, and a terminal.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Event, Server, Step};
use crate::pty::Pty;
use crate::raw::{CHANNEL_FAILURE, Raw, Script, Wire};
use crate::sshd::{Setup, Sshd};

/// Accepts some variables; sshd's default is none.
const ACCEPT: &str = "AcceptEnv A B LC_* PSSH_*";

fn sshd(env: &Env, hosts: usize) -> Sshd {
    Sshd::start(env, Setup { hosts, config: ACCEPT, ..Setup::default() })
}

fn embedded(env: &Env) -> Server {
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    server
}

#[track_caller]
fn says(run: &Run, label: &str, text: &str) {
    let stdout = String::from_utf8_lossy(&run.stdout_of(label)).into_owned();
    run.exits(0).check(stdout == text, &format!("expected {text:?}, not {stdout:?}"));
}

// Variables.

#[test]
fn variables_of_the_command_line() {
    let env = Env::new();
    let sshd = sshd(&env, 1);
    let show = "printf '<%s>' \"$A\" \"$B\"; echo";
    let run = |args: &[&str]| env.pssh().variable("B", "from here").hosts(sshd.hosts()).args(args).arg(show).run();
    says(&run(&[]), &sshd.label(), "<><>\n");
    says(&run(&["--env", "A=1 2='3'"]), &sshd.label(), "<1 2='3'><>\n");
    says(&run(&["--env", "A=x", "--env", "B"]), &sshd.label(), "<x><from here>\n");
    says(&run(&["--env=A=", "--env=B=-b"]), &sshd.label(), "<><-b>\n");
    for bad in ["", "=x", "NOT_SET"] {
        let run = run(&["--env", bad]);
        run.exits(2)
            .stderr_has(&format!("--env {}", if bad == "NOT_SET" { bad.to_owned() } else { format!("{bad:?}") }));
    }
}

#[test]
fn variables_of_ssh_config() {
    let env = Env::new();
    let sshd = sshd(&env, 1);
    let show = "printf '<%s>' \"$A\" \"$B\" \"$LC_X\"; echo";
    let run = |config: &str, args: &[&str]| {
        // The machine's own ssh_config, which sends some of them, has no say.
        let file = env.file("its_config", config);
        let pssh = env.pssh().arg("-F").arg(file).variable("A", "ours").variable("B", "ours").variable("LC_X", "ours");
        pssh.hosts(sshd.hosts()).args(args).arg(show).run()
    };
    says(&run("", &[]), &sshd.label(), "<><><>\n");
    says(&run("SendEnv A LC_*\n", &[]), &sshd.label(), "<ours><><ours>\n");
    says(&run("SendEnv A B\nSendEnv -B\n", &[]), &sshd.label(), "<ours><><>\n");
    says(&run("SetEnv A=set \"B=1 2\"\nSendEnv A\n", &[]), &sshd.label(), "<set><1 2><>\n");
    says(&run("SetEnv A=set\n", &["--env", "A=option"]), &sshd.label(), "<option><><>\n");
    says(&run("", &["-O", "SendEnv=B", "-O", "SetEnv=A=x"]), &sshd.label(), "<x><ours><>\n");
}

#[test]
fn a_host_learns_which_it_is_where_somebody_asks() {
    let env = Env::new();
    let sshd = sshd(&env, 3);
    let show = "echo \"<$PSSH_NODENUM/$PSSH_NUMNODES/$PSSH_HOST>\"";
    let run = |args: &[&str]| env.pssh().hosts(sshd.hosts()).args(args).arg(show).run();
    for label in sshd.labels() {
        says(&run(&[]), &label, "<//>\n");
    }
    let all = ["--env", "PSSH_NODENUM", "--env", "PSSH_NUMNODES", "--env", "PSSH_HOST"];
    for args in [&["-O", "SendEnv=PSSH_*"][..], &all] {
        let run = run(args);
        for (place, label) in sshd.labels().iter().enumerate() {
            says(&run, label, &format!("<{place}/3/{label}>\n"));
        }
    }
    says(&run(&["--env", "PSSH_HOST=x"]), &sshd.label(), "<//x>\n");
}

#[test]
fn a_refused_variable_is_noted_by_its_name_alone() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["--env", "SECRET=do not tell"]);
    let told = "the server does not set SECRET (see its AcceptEnv): it refuses";
    // A user who names it learns it without -v, too.
    for args in [&["echo", "in"][..], &["-v", "echo", "in"], &["-i", "echo", "in"], &["--json", "echo", "in"]] {
        let run = pssh().args(args).run();
        run.exits(0).stderr_has(told).stderr_lacks("do not tell");
    }
    let words = told;
    pssh().args(["-q", "true"]).run().exits(0).stderr_lacks("SECRET");
    let run = pssh().args(["--json", "true"]).run();
    let told = format!("\"warning\":\"{told}\"");
    let is_told = |line: &str| line.contains("\"event\":\"end\"") && line.contains(&told);
    run.exits(0).check(run.stdout_text().lines().any(is_told), "in JSON, too");
    // What ssh_config sends to all hosts, most of which refuse it, is not told.
    let by_config = || env.pssh().hosts(sshd.hosts()).args(["-O", "SetEnv=\"SECRET=do not tell\""]);
    by_config().args(["echo", "in"]).run().exits(0).stderr_lacks("SECRET");
    by_config().args(["-v", "echo", "in"]).run().exits(0).stderr_has(words).stderr_lacks("do not tell");
    // Longer than any packet.
    let long = format!("LONG={}", "x".repeat(60_000));
    let run = env.pssh().hosts(sshd.hosts()).args(["--env", &long, "echo", "in"]).run();
    says(&run, &sshd.label(), "in\n");
    run.stderr_has("the server does not set LONG (see its AcceptEnv): ");
}

#[test]
fn no_round_trip_is_spent_on_what_nobody_wants() {
    let env = Env::new();
    let server = embedded(&env);
    env.pssh().variable("LC_ALL", "C").variable("TERM", "xterm").hosts([server.addr()]).arg("true").run().exits(0);
    let asked = |event: &Event| matches!(event, Event::Env { .. } | Event::Pty { .. } | Event::AgentForwarding);
    assert!(!server.logged().iter().any(|record| asked(&record.event)), "{:?}", server.logged());
}

#[test]
fn explain_tells_where_they_come_from() {
    let env = Env::new();
    let run = env.pssh().hosts(["h"]).args(["--forward-agent", "--pty", "--env", "A=1", "--explain"]).run();
    run.exits(0);
    let stdout = String::from_utf8_lossy(&run.stdout).into_owned();
    for line in ["forwardagent yes\t# --forward-agent", "requesttty force\t# --pty", "setenv A=***\t# --env"] {
        run.check(stdout.lines().any(|other| other == line), line);
    }
}

// Terminals.

#[test]
fn a_terminal_only_where_it_is_asked_for() {
    let env = Env::new();
    let sshd = sshd(&env, 1);
    let show = "if [ -t 1 ]; then echo terminal; else echo none; fi; echo err >&2";
    let run = |args: &[&str]| env.pssh().hosts(sshd.hosts()).args(args).args(["--", show]).run();
    // With one, stderr comes with stdout, and lines end as terminals want it.
    for args in [&["--pty"][..], &["--tty"], &["-O", "RequestTTY=force"], &["--pty", "-O", "RequestTTY=no"]] {
        let run = run(args);
        run.exits(0).check(run.stdout_of(&sshd.label()) == b"terminal\r\nerr\r\n", &format!("a terminal: {args:?}"));
        run.check(run.stderr_of(&sshd.label()).is_empty(), "no stderr of its own");
    }
    for args in [&[][..], &["-O", "RequestTTY=auto"], &["-O", "RequestTTY=no"], &["-O", "RequestTTY=yes"]] {
        let run = run(args);
        says(&run, &sshd.label(), "none\n");
        run.check(run.stderr_of(&sshd.label()) == b"err\n", "stderr");
    }
    run(&["-v", "-O", "RequestTTY=yes"]).stderr_has("no pty is requested");
}

#[test]
fn the_terminal_is_like_ours() {
    let env = Env::new();
    let server = embedded(&env);
    let asked = |run: &dyn Fn() -> Run| {
        let before = server.logged().len();
        run().exits(0);
        let records = server.logged().split_off(before);
        records.into_iter().find_map(|record| match record.event {
            Event::Pty { term, columns, rows } => Some((term, columns, rows)),
            _ => None,
        })
    };
    let pssh = |args: &[&str]| env.pssh().hosts([server.addr()]).args(["--pty"]).args(args).arg("true");
    let term = |term: &str, columns, rows| Some((term.to_owned(), columns, rows));
    assert_eq!(asked(&|| pssh(&[]).run()), term("", 80, 24));
    assert_eq!(asked(&|| pssh(&[]).variable("TERM", "vt220").run()), term("vt220", 80, 24));
    let set = ["-O", "SetEnv=TERM=dumb"];
    assert_eq!(asked(&|| pssh(&set).variable("TERM", "vt220").run()), term("dumb", 80, 24));
    let pty = Pty::new();
    pty.resize(132, 50);
    assert_eq!(asked(&|| pty.control(pssh(&[])).run()), term("", 132, 50));
}

#[test]
fn requests_of_every_kind_and_their_answers_belong_together() {
    let env = Env::new();
    // The first and the last variable are refused, those between are not, and there is no terminal.
    let sshd = Sshd::start(&env, Setup { config: "PermitTTY no\nAcceptEnv A B", ..Setup::default() });
    let wanted = ["--env", "X=1", "--env", "A=1", "--env", "B=2", "--env", "Y=1"];
    let run = |args: &[&str]| {
        let pssh = env.pssh().hosts(sshd.hosts()).args(["-v", "--pty"]).args(args);
        pssh.args(["--", "echo \"$A$B$X$Y\"; exit 3"]).run()
    };
    let refused = |run: &Run, name: &str| run.stderr_text().contains(&format!("does not set {name} "));
    for (args, last) in [(&wanted[..], "Y"), (&wanted[..6], "X")] {
        let run = run(args);
        run.exits(5).check(run.stdout_of(&sshd.label()) == b"12\n", "the variables");
        run.stderr_has("gives the command no terminal: it refuses");
        run.check(refused(&run, "X") && refused(&run, last), "X and Y are refused");
        run.check(!refused(&run, "A") && !refused(&run, "B"), "A and B are not");
    }
    // A command that the server does not run at all, after a terminal and a variable that it grants.
    let behaviour = Behaviour::Script(vec![Step::RejectExec]);
    let server = Server::start(Config { behaviour, authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    let run = env.pssh().hosts([server.addr()]).args(["-v", "--pty", "--env", "A=1", "x"]).run();
    run.exits(4).ends("127.0.0.1", "ssh: starting the command: ").stderr_lacks("it refuses");
}

/// How often the server has waited for the client between its login and its command.
fn round_trips(server: &Server) -> usize {
    let records = server.logged();
    let place =
        |wanted: fn(&Event) -> bool| records.iter().position(|record| wanted(&record.event)).expect("it is in the log");
    let login = place(|event| matches!(event, Event::LoggedIn { .. }));
    let command = place(|event| matches!(event, Event::Exec { .. }));
    records[login..=command].windows(2).filter(|pair| pair[1].at - pair[0].at >= ONE_WAY).count()
}

#[test]
fn what_is_asked_for_costs_no_round_trip() {
    let env = Env::new();
    let agent = Agent::start(&env);
    // As Debian's ssh_config has it.
    let config = env.file("debian", "SendEnv LANG LC_*\nHashKnownHosts yes\nGSSAPIAuthentication yes\n");
    let names = ["LANG", "LC_ALL", "LC_CTYPE", "LC_TIME", "LC_NAME", "LC_PAPER", "LC_NUMERIC", "LC_MONETARY", "LC_X"];
    let named = ["--env", "A=1", "--env", "B=2", "-v"];
    let everything = ["--pty", "--forward-agent", "--env", "A=1", "--env", "B=2"];
    let run = |args: &[&str], variables: &[&str], answers_requests: bool| {
        let authorised = env.public_lines();
        let server = Server::start(Config { authorised, answers_requests, ..Config::default() });
        let port = far_away(server.addr());
        env.trust(&server.known_hosts().replace(&server.port().to_string(), &port.to_string()));
        let mut pssh = env.pssh().arg("-F").arg(&config).variable("SSH_AUTH_SOCK", &agent.socket);
        for name in variables {
            pssh = pssh.variable(name, "C.UTF-8");
        }
        let run = pssh.hosts([format!("127.0.0.1:{port}")]).args(args).args(["--", "echo $LC_X"]).run();
        let asked = server.logged().iter().filter(|record| matches!(record.event, Event::Env { .. })).count();
        run.exits(0).check(
            run.stdout_of("127.0.0.1") == if variables.is_empty() { "\n" } else { "C.UTF-8\n" }.as_bytes(),
            "its output",
        );
        (round_trips(&server), asked)
    };
    // One opens the channel, one starts the command.
    assert_eq!(run(&[], &[], true), (2, 0));
    assert_eq!(run(&[], &names, true), (2, 9));
    assert_eq!(run(&[], &names, false), (2, 9));
    assert_eq!(run(&named, &names, true), (2, 11));
    assert_eq!(run(&named, &names, false), (2, 11));
    assert_eq!(run(&everything, &names, true), (2, 11));
    assert_eq!(run(&everything, &names, false), (2, 11));
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let env = Env::new();
    let authorised = env.public_lines();
    let behaviour = Behaviour::Run;
    let server = Server::start(
        Config { authorised, answers_requests: false, behaviour, ..Config::default() }
            .on("refuse", Behaviour::Script(vec![Step::Eof, Step::Close])),
    );
    env.trust(&server.known_hosts());
    let run = |args: &[&str], command: &str| {
        env.pssh().hosts([server.addr()]).args(["--env", "A=1", "--env", "B=2"]).args(args).args(["--", command]).run()
    };
    for args in [&[][..], &["-v"], &["--pty"], &["-v", "--pty"]] {
        // Nothing is heard of the last before it ends.
        for (command, stdout, code) in
            [("echo $A$B; exit 3", "12\n", 3), ("exit 4", "", 4), ("sleep 2.5; exit 5", "", 5)]
        {
            let run = run(args, command);
            run.exits(5).within(30).ends("127.0.0.1", &format!("exit {code}"));
            run.check(run.stdout_of("127.0.0.1") == stdout.as_bytes(), "its output");
            run.stderr_lacks("it refuses");
        }
    }
    run(&["-v"], "true").stderr_has("the server does not set A (see its AcceptEnv), or does not say so");
    let input =
        env.pssh().hosts([server.addr()]).args(["--env", "A=1", "-I", "--", "cat; echo $A"]).stdin("in\n").run();
    input.exits(0).check(input.stdout_of("127.0.0.1") == b"in\n1\n", "its input");
    run(&[], "refuse").ends("127.0.0.1", "lost: ");
}

#[test]
fn a_server_that_is_slow_to_start_commands_is_understood() {
    let env = Env::new();
    // The variables are answered at once, the command long after.
    let delay = Duration::from_millis(1800);
    let config = Config { authorised: env.public_lines(), delay, ..Config::default() };
    let server = Server::start(config.on("refused", Behaviour::Script(vec![Step::RejectExec])));
    env.trust(&server.known_hosts());
    let run = |command: &str| env.pssh().hosts([server.addr()]).args(["--env", "A=1", "--", command]).run();
    says(&run("echo $A"), "127.0.0.1", "1\n");
    run("refused").exits(4).within(40).ends("127.0.0.1", "ssh: starting the command: the server refuses to run it");
}

#[test]
fn a_refusal_is_understood_although_other_requests_are_not_answered() {
    /// What has answered the first variable, refuses the command late, and leaves the channel open.
    fn refuse_late(wire: &mut Wire, channel: u32) -> io::Result<()> {
        thread::sleep(Duration::from_secs(2));
        wire.send(&[&[CHANNEL_FAILURE][..], &channel.to_be_bytes()].concat())
    }
    let env = Env::new();
    let behaviour = Behaviour::Script(vec![Step::RejectExec, Step::Sleep(Duration::from_secs(60))]);
    let authorised = env.public_lines();
    let server = Server::start(Config { authorised, answers_requests: false, behaviour, ..Config::default() });
    let raw = Raw::start(Script { command: Some(refuse_late), ..Script::default() });
    env.trust(&[server.known_hosts(), raw.known_hosts_line()].concat());
    for (host, variables) in [(server.addr(), 1), (server.addr(), 2), (raw.address, 2)] {
        let named = ["--env", "A=1", "--env", "B=2"];
        let run = env.pssh().hosts([host]).args(&named[..2 * variables]).args(["--", "x"]).run();
        run.exits(4).within(30).ends("127.0.0.1", "ssh: starting the command: the server refuses to run it");
    }
}

#[test]
fn long_values_arrive_everywhere() {
    let env = Env::new();
    let sshd = sshd(&env, 3);
    let bastion = Server::start(Config {
        addresses: vec!["127.0.0.9".parse().expect("an address")],
        authorised: env.public_lines(),
        ..Config::default()
    });
    env.trust(&bastion.known_hosts());
    let jump = format!("127.0.0.9:{}", bastion.port());
    let value = "v".repeat(30_000);
    for args in [&[][..], &["-J", &jump]] {
        let pssh = env.pssh().variable("A", &value).hosts(sshd.hosts()).args(args).args(["-O", "SendEnv=A"]);
        let run = pssh.args(["--", "printf %s \"$A\" | wc -c"]).run();
        sshd.labels().iter().for_each(|label| says(&run, label, "30000\n"));
    }
}

#[test]
fn copies_send_none() {
    let env = Env::new();
    let server = embedded(&env);
    let file = env.file("file", "contents");
    let copy = env.path("copy");
    let pscp = env.run_of(Program::Pscp).variable("A", "1").hosts([server.addr()]).args(["-O", "SendEnv=A"]);
    pscp.arg(&file).arg(&copy).run().exits(0);
    assert!(!server.logged().iter().any(|record| matches!(record.event, Event::Env { .. })), "{:?}", server.logged());
}

/// How long everything takes each way.
const ONE_WAY: Duration = Duration::from_millis(100);

/// A port from which one connection leads to `target`, by a long way.
fn far_away(target: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        let (near, _) = listener.accept().expect("a connection");
        let far = TcpStream::connect(target).expect("the server");
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        for (mut from, mut to) in [(clone(&near), clone(&far)), (far, near)] {
            let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    let _ = sender.send((Instant::now() + ONE_WAY, buffer[..count].to_vec()));
                }
            });
            thread::spawn(move || {
                for (due, bytes) in receiver {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let _ = to.write_all(&bytes);
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_server_that_gives_no_terminal_runs_the_command_without() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: "PermitTTY no", ..Setup::default() });
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "--pty", "echo", "in"]).run();
    says(&run, &sshd.label(), "in\n");
    run.stderr_has("the server gives the command no terminal: it refuses");
}
