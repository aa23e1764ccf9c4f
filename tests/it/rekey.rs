//! Servers that exchange keys again and again, while output, input, copies, agent channels and the tunnels of a jump host go on. libssh2
//! crashes there if it is not kept from it (docs/upstream/libssh2-rekey.md). `tests/rekey` does the same with larger files, many times.

use std::fs;
use std::path::PathBuf;

use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, Config, Server};
use crate::sshd::{Setup, Sshd};

/// Bytes of a transfer.
const SIZE: usize = 3 << 20;
/// So often keys are exchanged: small, so that few bytes see many exchanges.
const OFTEN: &str = "RekeyLimit 48K\nLogLevel DEBUG\nMaxSessions 100";
/// Exchanges that must at least be seen in a transfer. Input sees fewer: what is on its way when an exchange begins is still taken.
const MANY: usize = 4;

/// A host that exchanges keys again and again, and a file to move.
struct World {
    sshd: Sshd,
    file: PathBuf,
    bytes: Vec<u8>,
    env: Env,
}

impl World {
    fn new(config: &str, size: usize) -> World {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts: 3, config, ..Setup::default() });
        let bytes = noise(size);
        World { file: env.file("file", &bytes), sshd, bytes, env }
    }

    fn run_of(&self, program: Program) -> Pssh {
        self.env.run_of(program).hosts(&self.sshd.hosts()[..1]).args(["--num-retries", "1"]).limit(120)
    }

    /// A run whose output goes into files.
    fn pssh(&self) -> Pssh {
        self.run_of(Program::Pssh).args(["--format", "none", "-o", "out", "-e", "err"])
    }

    /// How often keys were exchanged again.
    fn exchanges(&self) -> usize {
        exchanges(&self.sshd)
    }

    /// The run was well, what arrived is what was sent, and keys were exchanged meanwhile.
    #[track_caller]
    fn arrived(&self, run: &Run, at: PathBuf) {
        run.exits(0);
        let got = fs::read(&at).unwrap_or_default();
        run.check(got == self.bytes, &format!("{}: {} of {} bytes", at.display(), got.len(), self.bytes.len()));
        let exchanges = self.exchanges();
        run.check(exchanges >= MANY, &format!("{exchanges} exchanges"));
    }

    fn output(&self, stream: &str) -> PathBuf {
        let host = self.sshd.hosts().remove(0);
        self.env.path(stream).join(host)
    }
}

/// How often a server has put new keys in place of others.
fn exchanges(sshd: &Sshd) -> usize {
    sshd.log().matches("ssh_set_newkeys: rekeying out").count()
}

/// Bytes that cannot be compressed, the same in every run.
fn noise(size: usize) -> Vec<u8> {
    let mut number = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        bytes.extend(number.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[test]
fn output() {
    let world = World::new(OFTEN, SIZE);
    let file = world.file.display();
    let command = format!("cat '{file}' & cat '{file}' >&2; wait");
    let run = world.pssh().args(["--", &command]).run();
    world.arrived(&run, world.output("out"));
    world.arrived(&run, world.output("err"));
}

#[test]
fn input() {
    let world = World::new(OFTEN, SIZE);
    let got = world.env.path("got");
    let command = format!("cat >'{}'", got.display());
    let run = world.pssh().args(["-I", "--", &command]).stdin(world.bytes.clone()).run();
    world.arrived(&run, got);
}

#[test]
fn both_ways_at_once() {
    let world = World::new(OFTEN, SIZE);
    let run = world.pssh().args(["-I", "--", "cat"]).stdin(world.bytes.clone()).run();
    world.arrived(&run, world.output("out"));
}

#[test]
fn compressed() {
    let world = World::new(OFTEN, SIZE);
    let run = world.pssh().args(["-C", "-I", "--", "cat"]).stdin(world.bytes.clone()).run();
    world.arrived(&run, world.output("out"));
    run.check(world.sshd.log().contains("compression: zlib@openssh.com"), "it is compressed");
}

#[test]
fn copies_by_sftp_and_scp() {
    for old in [&[][..], &["-X", "-O"]] {
        let world = World::new(OFTEN, SIZE);
        let got = world.env.path("got");
        let run = world.run_of(Program::Pscp).args(old).arg(&world.file).arg(&got).run();
        world.arrived(&run, got);
        let there = exchanges(&world.sshd);
        let run = world.run_of(Program::Pslurp).args(old).args(["-L", "back"]).arg(&world.file).arg("file").run();
        let host = world.sshd.hosts().remove(0);
        world.arrived(&run, world.env.path("back").join(host).join("file"));
        run.check(exchanges(&world.sshd) >= there + MANY, "exchanges on the way back");
    }
}

#[test]
fn rsync() {
    let world = World::new(OFTEN, SIZE);
    let got = world.env.path("got");
    let run = world.run_of(Program::Prsync).arg(&world.file).arg(&got).run();
    world.arrived(&run, got);
}

#[test]
fn agent_channels_during_output() {
    let world = World::new(OFTEN, SIZE);
    let agent = Agent::start(&world.env);
    agent.add(&world.env, &world.env.ssh_dir().join("id_ed25519"));
    let file = world.file.display();
    let command = format!("cat '{file}' & for i in 1 2 3 4 5 6 7 8 9 10; do ssh-add -l >&2; done; wait");
    let run = world.pssh().arg("--agent").arg(&agent.socket).args(["--forward-agent", "--", &command]).run();
    world.arrived(&run, world.output("out"));
    let answers = fs::read_to_string(world.output("err")).unwrap_or_default();
    run.check(answers.lines().filter(|line| line.contains("ED25519")).count() == 10, &answers);
}

#[test]
fn behind_a_jump_host_that_does_it_too() {
    let world = World::new(OFTEN, SIZE / 6);
    let bastion = Sshd::start(&world.env, Setup { config: OFTEN, ..Setup::default() });
    let jump = ["-J", &bastion.hosts()[0], "--proxy-connections", "1"];
    // Several hosts share the connection, and one of them is slow.
    let slow = world.sshd.label();
    let file = world.file.display();
    let command = format!("case $SSH_CONNECTION in *' {slow} '*) sleep 0.5;; esac; cat '{file}' >&2; cat");
    let run = world.env.pssh().hosts(world.sshd.hosts()).args([
        "--num-retries",
        "1",
        "--format",
        "none",
        "-o",
        "out",
        "-e",
        "err",
    ]);
    let run = run.args(jump).args(["-I", "--", &command]).stdin(world.bytes.clone()).limit(120).run();
    run.exits(0);
    for directory in ["out", "err"] {
        let files: Vec<_> = fs::read_dir(world.env.path(directory)).expect("a directory").flatten().collect();
        for file in &files {
            let got = fs::read(file.path()).unwrap_or_default();
            run.check(got == world.bytes, &format!("{:?}: {} bytes", file.path(), got.len()));
        }
        run.check(files.len() == 3, &format!("{} files", files.len()));
    }
    let (jumped, direct) = (exchanges(&bastion), world.exchanges());
    run.check(jumped >= MANY && direct >= MANY, &format!("{jumped} and {direct} exchanges"));
    let got = world.env.path("got");
    let run = world.run_of(Program::Pscp).args(jump).arg(&world.file).arg(&got).run();
    world.arrived(&run, got);
}

#[test]
fn in_the_middle_of_short_commands() {
    // Every packet begins an exchange: opening a channel, a variable, a terminal, the exit status, whatever it is.
    let world = World::new("RekeyLimit 1K\nLogLevel DEBUG\nAcceptEnv *", 100);
    let hosts = vec![world.sshd.hosts().remove(0); 20];
    for (options, command, status) in [
        (&["--env", "A=1", "--env", "B=2"][..], "echo $A$B; exit 3", 5),
        (&["--pty"], "seq 300; exit 3", 5),
        (&[], "seq 300; kill -TERM $$", 3),
        (&["-t", "1"], "seq 300; exec sleep 977", 3),
    ] {
        let run = world.env.pssh().hosts(&hosts).args(["--num-retries", "1", "-p", "20"]).args(options);
        let run = run.args(["--", command]).run();
        run.exits(status);
        let outcome = run.outcomes().remove(0).1;
        run.check(run.outcomes().iter().all(|(_, other)| *other == outcome), "all end alike");
        let begun = if command.starts_with("seq") { 300 } else { 1 };
        let printed = run.stdout_of(&world.sshd.label());
        let lines = printed.iter().filter(|byte| **byte == b'\n').count();
        run.check(lines == 20 * begun, &format!("{lines} lines"));
    }
    world.sshd.wait_for_processes("sleep 977", 0);
    assert!(world.exchanges() >= MANY);
}

/// All that this build has, since each is set up anew in every exchange; but for group18, which is group16 with a larger number.
#[test]
fn with_every_key_exchange_cipher_and_mac() {
    const KEY_EXCHANGES: &str = "curve25519-sha256 curve25519-sha256@libssh.org ecdh-sha2-nistp256 ecdh-sha2-nistp384 \
        ecdh-sha2-nistp521 diffie-hellman-group-exchange-sha256 diffie-hellman-group14-sha256 \
        diffie-hellman-group16-sha512";
    const CIPHERS: &str = "chacha20-poly1305@openssh.com aes128-gcm@openssh.com aes256-gcm@openssh.com aes128-ctr \
        aes192-ctr aes256-ctr";
    const MACS: &str = "hmac-sha2-256 hmac-sha2-512 hmac-sha2-256-etm@openssh.com hmac-sha2-512-etm@openssh.com";
    let methods = [("KexAlgorithms", KEY_EXCHANGES), ("Ciphers", CIPHERS), ("MACs", MACS)];
    let all = methods.map(|(keyword, names)| format!("{keyword} {}", names.replace(' ', ","))).join("\n");
    let world = World::new(&format!("RekeyLimit 256K\nLogLevel DEBUG\n{all}"), 600_000);
    for (keyword, name) in
        methods.into_iter().flat_map(|(keyword, names)| names.split(' ').map(move |it| (keyword, it)))
    {
        let before = world.exchanges();
        let cipher = if keyword == "MACs" { &["-O", "Ciphers=aes128-ctr"][..] } else { &[] };
        let run = world.pssh().args(["-O", &format!("{keyword}={name}")]).args(cipher);
        let run = run.args(["--", &format!("cat '{}'", world.file.display())]).run();
        run.exits(0).check(fs::read(world.output("out")).is_ok_and(|got| got == world.bytes), name);
        run.check(world.exchanges() > before, &format!("{name}: exchanges"));
    }
}

#[test]
fn with_a_post_quantum_key_exchange() {
    let env = Env::new();
    let server = Server::start(Config {
        authorised: env.public_lines(),
        rekey_after: Some(64 << 10),
        behaviour: Behaviour::Lines { bytes: 2 << 20 },
        ..Config::default()
    });
    env.trust(&server.known_hosts());
    let run = env.pssh().hosts([server.addr()]).args(["-O", "KexAlgorithms=mlkem768x25519-sha256"]);
    let run = run.args(["--num-retries", "1", "--", "x"]).run();
    let printed = run.stdout_of("127.0.0.1");
    let lines = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    run.exits(0).check(lines == (2_usize << 20).div_ceil(80), &format!("{lines} lines"));
}
