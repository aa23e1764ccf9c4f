//! Streams that nobody reads: extended data of any type (RFC 4254 section 5.2), and data of no bytes. Whoever sends them and however
//! many, they are dropped, and hold nothing up.

use std::fs;
use std::io;

use nix::unistd::getuid;
use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::Env;
use crate::embedded::{Behaviour, Config, Server, Step};
use crate::raw::{CHANNEL_DATA, CHANNEL_EXTENDED_DATA, Raw, Script, Wire, string};

/// Several times the window that a server has.
const NOISE: u64 = 5 << 20;

fn serve(env: &Env, address: &str, config: Config) -> Server {
    let addresses = vec![address.parse().expect("an address")];
    let server = Server::start(Config { addresses, authorised: env.public_lines(), ..config });
    env.trust(&server.known_hosts());
    server
}

/// A command with so much output that all of its noise comes in the middle.
const LONG: &str = "yes | head -c 3000000; echo err >&2; exit 3";

fn long_output() -> Vec<u8> {
    b"y\n".repeat(1_500_000)
}

#[test]
fn a_command_ends_and_its_output_is_whole() {
    let env = Env::new();
    let server = serve(&env, "127.0.0.1", Config { noise: [NOISE; 3], ..Config::default() });
    let run = env.pssh().hosts([server.addr()]).args(["-t", "60", "--", LONG]).run();
    run.exits(5).ends("127.0.0.1", "exit 3");
    let stdout = run.stdout_of("127.0.0.1");
    run.check(stdout == long_output(), &format!("the whole output, not {} bytes", stdout.len()));
    run.check(run.stderr_of("127.0.0.1") == b"err\n", "its stderr");
}

#[test]
fn a_command_behind_sudo_ends() {
    if !getuid().is_root() {
        // Others would be asked for a password.
        return;
    }
    let env = Env::new();
    let server = serve(&env, "127.0.0.1", Config { noise: [NOISE; 3], ..Config::default() });
    let run = env.pssh().hosts([server.addr()]).args(["-t", "60", "--sudo", "--", "cat; id -un"]).run();
    run.exits(0).check(run.stdout_of("127.0.0.1") == b"root\n", "its output");
}

#[test]
fn copies_come_to_their_end() {
    let env = Env::new();
    // What comes after the last word of a dialogue is bounded.
    let server = serve(&env, "127.0.0.1", Config { noise: [NOISE, NOISE, 500_000], ..Config::default() });
    let bytes = vec![b'y'; 3_000_000];
    let (file, there) = (env.path("file"), env.path("there"));
    fs::write(&file, &bytes).expect("a file");
    let pscp = env.run_of(Program::Pscp).hosts([server.addr()]).args(["-t", "60"]).arg(&file).arg(&there);
    pscp.run().exits(0);
    assert!(fs::read(&there).expect("the copy") == bytes, "what pscp has copied");
    let fetched = env.path("fetched");
    let pslurp = env.run_of(Program::Pslurp).hosts([server.addr()]).args(["-t", "60"]);
    pslurp.arg("-L").arg(&fetched).arg(&there).arg("it").run().exits(0);
    let copy = fs::read(fetched.join(format!("127.0.0.1:{}", server.port())).join("it")).expect("the copy");
    assert!(copy == bytes, "what pslurp has copied");
}

#[test]
fn a_tunnel_is_not_held_up() {
    let env = Env::new();
    let bastion = serve(&env, "127.0.0.2", Config { noise: [NOISE; 3], ..Config::default() });
    let server = serve(&env, "127.0.0.1", Config::default());
    let jump = format!("127.0.0.2:{}", bastion.port());
    let run = env.pssh().hosts([server.addr()]).args(["-t", "60", "-J", &jump, "--", LONG]).run();
    run.exits(5).ends("127.0.0.1", "exit 3");
    run.check(run.stdout_of("127.0.0.1") == long_output(), "the whole output");
}

#[test]
fn a_channel_to_the_agent_is_not_held_up() {
    let env = Env::new();
    let agent = Agent::start(&env);
    let steps = vec![Step::NoisyAgent(NOISE), Step::Eof, Step::ExitStatus(0), Step::Close];
    let server = serve(&env, "127.0.0.1", Config { behaviour: Behaviour::Script(steps), ..Config::default() });
    let pssh = env.pssh().variable("SSH_AUTH_SOCK", &agent.socket).hosts([server.addr()]);
    let run = pssh.args(["-t", "60", "--forward-agent", "x"]).run();
    run.exits(0).check(run.stdout_of("127.0.0.1") == b"taken\n", "all of it was taken");
}

#[test]
fn data_of_no_bytes_holds_no_end_up() {
    fn command(wire: &mut Wire, channel: u32) -> io::Result<()> {
        for code in [1_u32, 2, 0, u32::MAX] {
            let head = [&[CHANNEL_EXTENDED_DATA][..], &channel.to_be_bytes(), &code.to_be_bytes()].concat();
            wire.send(&[head, string(b"")].concat())?;
        }
        wire.send(&[&[CHANNEL_DATA][..], &channel.to_be_bytes(), &string(b"")].concat())?;
        wire.data(channel, b"out\n")?;
        wire.send(&[&[CHANNEL_DATA][..], &channel.to_be_bytes(), &string(b"")].concat())?;
        for code in [2_u32, 1] {
            let head = [&[CHANNEL_EXTENDED_DATA][..], &channel.to_be_bytes(), &code.to_be_bytes()].concat();
            wire.send(&[head, string(b"")].concat())?;
        }
        // Without the close that would end it, too.
        wire.status(channel, 0)
    }
    let env = Env::new();
    let raw = Raw::start(Script { command: Some(command), ..Script::default() });
    env.trust(&raw.known_hosts_line());
    let run = env.pssh().hosts([raw.address]).args(["-t", "20", "x"]).run();
    run.exits(0).check(run.stdout_of("127.0.0.1") == b"out\n", "its output");
}
