//! What agents are told in which order, and agents that do not answer as OpenSSH's does.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::agent_binding::Lab;
use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Server, Step};
use crate::fake_agent::{Bind, Binding, FakeAgent, Message};
use crate::sshd::{Setup, Sshd};

/// What `-v` says of an agent that does not know how.
const UNBOUND: &str = "does not bind its connections to the session";

struct World {
    env: Env,
    agent: FakeAgent,
    sshd: Sshd,
}

impl World {
    fn new(binding: Binding) -> World {
        let env = Env::without_key();
        let agent = FakeAgent::start(&env.path("agent"), binding);
        let sshd = Sshd::start(&env, Setup { authorized: vec![agent.public.clone()], ..Setup::default() });
        World { env, agent, sshd }
    }

    fn run(&self, args: &[&str]) -> Run {
        let pssh = self.env.pssh().hosts(self.sshd.hosts()).variable("SSH_AUTH_SOCK", &self.agent.socket);
        pssh.args(["--num-retries", "1"]).args(args).run()
    }

    /// The blob of the host's key.
    fn host_key(&self) -> Vec<u8> {
        let line = self.sshd.public_key(0);
        STANDARD.decode(line.split(' ').nth(1).expect("TYPE BASE64")).expect("base64")
    }

    /// Fails unless a connection was bound to the session of the host: gives its identifier.
    #[track_caller]
    fn is_of_host<'a>(&self, bind: &'a Bind, is_forwarding: bool) -> &'a [u8] {
        assert!(bind.is_signed && bind.is_forwarding == is_forwarding && bind.host_key == self.host_key(), "{bind:?}");
        &bind.session
    }

    /// Fails unless a connection was bound to a session that does not exist.
    #[track_caller]
    fn is_stand_in(&self, bind: &Bind, is_forwarding: bool) {
        assert!(bind.is_signed && bind.is_forwarding == is_forwarding && bind.host_key != self.host_key(), "{bind:?}");
    }
}

#[test]
fn a_login_takes_one_connection_that_is_bound_before_it_signs() {
    let world = World::new(Binding::Agrees);
    world.run(&["-v", "true"]).exits(0).stderr_lacks(UNBOUND);
    let heard = world.agent.heard();
    let [listing, login] = &heard[..] else { panic!("{heard:?}") };
    // Once per run it is found out which keys are for certain hosts.
    let [Message::List, Message::Bind(stand_in), Message::List] = &listing[..] else { panic!("{listing:?}") };
    world.is_stand_in(stand_in, false);
    let [Message::Bind(bind), Message::Sign(data)] = &login[..] else { panic!("{login:?}") };
    let session = world.is_of_host(bind, false);
    assert_eq!(data[4..4 + session.len()], *session, "the session that the login is for");
}

#[test]
fn each_channel_is_bound_before_anything_else_is_said() {
    let world = World::new(Binding::Agrees);
    let run = world.run(&["-v", "--forward-agent", "--", "ssh-add -l; ssh-add -l"]);
    run.exits(0).stderr_lacks(UNBOUND);
    let heard = world.agent.heard();
    assert_eq!(heard.len(), 4, "{heard:?}");
    let session = world.is_of_host(heard[1][0].bind(), false);
    for channel in &heard[2..] {
        assert_eq!(world.is_of_host(channel[0].bind(), true), session);
        assert!(channel[1..].contains(&Message::List) && !channel[1..].iter().any(|it| matches!(it, Message::Bind(_))));
    }
}

/// A server that opens channels without end of its own, and says nothing on them.
#[test]
fn a_server_that_opens_channels_of_itself() {
    let env = Env::new();
    let agent = FakeAgent::start(&env.path("agent"), Binding::Agrees);
    let steps = vec![Step::OpenAgent, Step::OpenAgent, Step::Eof, Step::ExitStatus(0), Step::Close];
    let behaviour = Behaviour::Script(steps);
    let server = Server::start(Config { behaviour, authorised: env.public_lines(), ..Config::default() });
    env.trust(&server.known_hosts());
    let key = env.ssh_dir().join("id_ed25519");
    let pssh = env.pssh().variable("SSH_AUTH_SOCK", &agent.socket).hosts([server.addr()]).arg("--identity").arg(key);
    let run = pssh.args(["--forward-agent", "x"]).run();
    run.exits(0).check(run.stdout_of("127.0.0.1") == b"opened\nopened\n", "two channels");
    for connection in &agent.heard()[1..] {
        let [Message::Bind(bind)] = &connection[..] else { panic!("{connection:?}") };
        assert!(bind.is_forwarding && bind.is_signed, "{bind:?}");
    }
}

#[test]
fn an_agent_that_does_not_know_how() {
    let world = World::new(Binding::Refuses);
    world.run(&["true"]).exits(0).stderr_lacks(UNBOUND);
    let run = world.run(&["-v", "true"]);
    run.exits(0).check(run.stderr_text().matches(UNBOUND).count() == 1, "told once");
    let before = world.agent.heard().len();
    let run = world.run(&["-v", "--forward-agent", "--", "ssh-add -L && ssh-add -L"]);
    run.exits(0);
    let keys = run.stdout_text();
    run.check(keys.matches(&world.agent.public).count() == 2, "the key, two times");
    run.check(run.stderr_text().matches(UNBOUND).count() == 2, "told once of the login, and once of the forwarding");
    // What an agent refuses because of what it is told, and not because it is told anything, it answers in the same way. Older agents of
    // OpenSSH take the connection for one of a local user then.
    for channel in &world.agent.heard()[before + 2..] {
        world.is_of_host(channel[0].bind(), true);
        world.is_stand_in(channel[1].bind(), true);
        assert!(channel[2..].contains(&Message::List), "{channel:?}");
    }
}

#[test]
fn an_agent_that_hangs_up_or_talks_nonsense() {
    [Binding::HangsUp, Binding::Babbles].into_iter().for_each(breaks);
}

fn breaks(binding: Binding) {
    let world = World::new(binding);
    world.run(&["true"]).exits(0);
    let run = world.run(&["--forward-agent", "--", "ssh-add -l 2>/dev/null || echo none"]);
    run.exits(0).within(20);
    run.check(run.stdout_of(&world.sshd.label()) == b"none\n", "the command is told that there is no agent");
}

#[test]
fn an_agent_that_falls_silent_at_a_login() {
    // The listing has seconds, and then no more bindings are tried.
    let world = World::new(Binding::FallsSilentAfter(0));
    world.run(&["true"]).exits(0).within(20);
    let world = World::new(Binding::FallsSilentAfter(1));
    let run = world.run(&["--connect-timeout", "2", "true"]);
    run.exits(3).within(15).ends(&world.sshd.label(), "timeout auth");
    let pssh = world.env.pssh().hosts(world.sshd.hosts()).variable("SSH_AUTH_SOCK", &world.agent.socket);
    let mut running = pssh.args(["-v", "true"]).start();
    running.wait_for("host key");
    running.signal(Signal::INT);
    running.finish().dies_by(Signal::INT).within(15);
}

#[test]
fn an_agent_that_falls_silent_as_a_command_asks() {
    let world = World::new(Binding::FallsSilentAfter(2));
    let run = world.run(&["-t", "3", "--forward-agent", "--", "ssh-add -l"]);
    run.exits(3).within(20).ends(&world.sshd.label(), "timeout command");
    // It takes as long as it takes, and no other host waits for it.
    let world = World::new(Binding::FallsSilentAfter(2));
    let run = world.run(&["--forward-agent", "--", "ssh-add -l >/dev/null 2>&1 & seq 100000 | tail -n 1; kill $!"]);
    run.exits(0).within(20);
    run.check(run.stdout_of(&world.sshd.label()) == b"100000\n", "all output");
}

/// Whoever does not wait for the agent any more makes room for others, although it has not been told anything yet.
#[test]
fn channels_that_are_closed_before_the_agent_has_answered() {
    let world = World::new(Binding::FallsSilentAfter(2));
    let line = "for i in $(seq 50); do timeout 0.2 ssh-add -l >/dev/null 2>&1; done; echo done";
    let run = world.run(&["--forward-agent", "--", line]);
    run.exits(0).check(run.stdout_of(&world.sshd.label()) == b"done\n", "to the end");
    // On a slow machine some are over before they have asked.
    assert!(world.agent.heard().len() > 2 + 32, "more than may be open at once");
}

/// Lines before a server's identification are allowed (RFC 4253 section 4.2). With more than anybody keeps of them the signature is not
/// found: the connection is bound to a session that does not exist, and no key for certain hosts goes anywhere.
#[test]
fn a_server_that_hides_its_signature() {
    let lab = Lab::of(Env::new(), Setup::default);
    let hidden = hiding(format!("127.0.1.1:{}", lab.hosts[0].port()).parse().expect("an address"));
    lab.env.trust(&format!("[127.0.0.1]:{} {}\n", hidden.port(), lab.hosts[0].public_key(0)));
    let key = lab.env.ssh_dir().join("id_ed25519");
    let pssh = || lab.env.pssh().variable("SSH_AUTH_SOCK", &lab.agent.socket).hosts([hidden]).arg("--forward-agent");
    let onward = |permitted: bool| {
        let run = pssh().arg("--identity").arg(&key).args(["--", &lab.onward(1, "echo in")]).run();
        run.exits(if permitted { 0 } else { 5 });
    };
    lab.allow(&["one", "two", "one>two"]);
    onward(false);
    let run = pssh().args(["-O", "IdentityFile=none", "--", "true"]).run();
    run.exits(4).check(run.outcome("127.0.0.1").contains("the agent does not allow"), "nor for a login");
    lab.allow(&[]);
    onward(true);
}

/// A way to `server` that begins with many lines.
fn hiding(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let carry = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // Every error is the end of the connection.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        })
    };
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (Ok(server), Ok(again)) = (TcpStream::connect(server), client.try_clone()) else { continue };
            let Ok(back) = server.try_clone() else { continue };
            thread::spawn(move || {
                if client.write_all(&b"This is a line of a long greeting.\r\n".repeat(2000)).is_ok() {
                    carry(server, client);
                    carry(again, back);
                }
            });
        }
    });
    address
}
