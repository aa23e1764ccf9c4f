//! Agent forwarding: commands on the hosts use the agent, if and only if the user wants them to.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::auth::Agent;
use crate::bin::{Env, Pssh, Run, ssh_keygen};
use crate::embedded::{Behaviour, Config, Event, Key, KeyKind, Server, Step};
use crate::sshd::{Setup, Sshd, current_user};

/// What shows whether there is an agent.
const WHICH: &str = "echo \"${SSH_AUTH_SOCK:-none}\"";

/// A home with an agent that has one key, which is not the home's own.
struct Home {
    env: Env,
    agent: Agent,
    /// TYPE BASE64 of the key.
    public: String,
}

impl Home {
    fn new() -> Home {
        let env = Env::new();
        let key = env.path("agents_key");
        let public = ssh_keygen(&key, &["-t", "ed25519"]);
        let agent = Agent::start(&env);
        agent.add(&env, &key);
        Home { env, agent, public }
    }

    fn pssh(&self) -> Pssh {
        self.env.pssh().variable("SSH_AUTH_SOCK", &self.agent.socket)
    }

    fn config(&self, text: &str) {
        std::fs::write(self.env.ssh_dir().join("config"), text).expect("ssh_config");
    }
}

/// An agent that takes connections and never answers. Gives how many it has taken.
fn mute_agent(socket: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            kept.push(connection);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    taken
}

#[track_caller]
fn has_none(run: &Run, label: &str) {
    run.exits(0).check(run.stdout_of(label) == b"none\n", "no agent on the host");
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup::default());
    let run = |args: &[&str]| home.pssh().hosts(sshd.hosts()).args(args).arg(WHICH).run();
    has_none(&run(&[]), &sshd.label());
    has_none(&run(&["-O", "ForwardAgent=no"]), &sshd.label());
    for args in [&["--forward-agent"][..], &["-O", "ForwardAgent=yes"], &["--forward-agent", "-O", "ForwardAgent=no"]] {
        let run = run(args);
        run.exits(0).check(run.stdout_of(&sshd.label()) != b"none\n", "an agent on the host");
    }
}

#[test]
fn the_hosts_see_the_keys_of_the_agent() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup { hosts: 3, ..Setup::default() });
    let run = home.pssh().hosts(sshd.hosts()).args(["--forward-agent", "--", "ssh-add -L"]).run();
    run.exits(0);
    for label in sshd.labels() {
        let keys = String::from_utf8_lossy(&run.stdout_of(&label)).into_owned();
        run.check(keys.starts_with(&home.public) && keys.lines().count() == 1, &format!("the one key on {label}"));
    }
}

#[test]
fn a_host_logs_in_to_another_by_the_agent() {
    let home = Home::new();
    let inner =
        Sshd::start(&home.env, Setup { trusted: false, authorized: vec![home.public.clone()], ..Setup::default() });
    let outer = Sshd::start(&home.env, Setup { hosts: 2, ..Setup::default() });
    let port = inner.port();
    let onward = format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
         -o IdentityFile=none -p {port} {}@{} ",
        current_user(),
        inner.label()
    );
    let run = home.pssh().hosts(outer.hosts()).args(["--forward-agent", "--"]).arg(format!("{onward} echo in")).run();
    run.exits(0);
    for label in outer.labels() {
        run.check(run.stdout_of(&label) == b"in\n", "the onward login");
    }
    // And from there on.
    let nested = format!("{onward} -A \"ssh-add -L\"");
    let run = home.pssh().hosts(outer.hosts()).args(["--forward-agent", "--"]).arg(nested).run();
    run.exits(0).check(run.stdout_of(&outer.label()).starts_with(home.public.as_bytes()), "the key, two hosts away");
}

#[test]
fn twenty_at_once() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup { hosts: 2, ..Setup::default() });
    let line = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ssh-add -L & done; wait; exit 5";
    let run = home.pssh().hosts(sshd.hosts()).args(["--forward-agent", "--", line]).run();
    run.exits(5);
    for label in sshd.labels() {
        let keys = String::from_utf8_lossy(&run.stdout_of(&label)).into_owned();
        let whole = keys.lines().filter(|line| line.starts_with(&home.public)).count();
        run.check(whole == 20 && keys.lines().count() == 20, &format!("twenty answers on {label}, not {whole}"));
    }
}

#[test]
fn many_one_after_the_other() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup::default());
    let line = "for i in $(seq 100); do ssh-add -l >/dev/null || exit 1; done; echo done";
    let run = home.pssh().hosts(sshd.hosts()).args(["--forward-agent", "--", line]).run();
    run.exits(0).check(run.stdout_of(&sshd.label()) == b"done\n", "a hundred answers");
}

#[test]
fn a_command_that_has_closed_its_output_is_still_served() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup::default());
    let line = "exec >/dev/null 2>&1; for i in $(seq 20); do ssh-add -l || exit 1; done; exit 4";
    let run = home.pssh().hosts(sshd.hosts()).args(["--forward-agent", "-t", "20", "--", line]).run();
    run.exits(5).within(15).ends(&sshd.label(), "exit 4");
}

#[test]
fn a_mute_agent_holds_up_nobody_else_and_is_not_asked_without_end() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    let socket = env.path("mute");
    let taken = mute_agent(&socket);
    // More than there may be at once; those beyond are refused while the others still wait.
    let line = "for i in $(seq 40); do ssh-add -l >/dev/null 2>&1 & done; sleep 1; seq 200000; jobs -r | wc -l; kill $(jobs -p)";
    let run = env.pssh().hosts(sshd.hosts()).args(["-t", "40", "-O"]).arg(format!("ForwardAgent={}", socket.display()));
    let run = run.args(["--", &format!("exec bash -c '{line}'")]).run();
    run.exits(0).within(30);
    let stdout = String::from_utf8_lossy(&run.stdout_of(&sshd.label())).into_owned();
    let mut lines = stdout.lines().skip(199_999);
    run.check(lines.next() == Some("200000") && lines.next() == Some("32"), "all output, and 32 that wait");
    // One connection has found out whether there is an agent at all.
    assert_eq!(taken.load(Ordering::SeqCst), 1 + 32);
}

#[test]
fn an_agent_that_ends_meanwhile() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup::default());
    let Home { env, agent, .. } = home;
    let line =
        "ssh-add -l >/dev/null && echo there; while ssh-add -l >/dev/null 2>&1; do sleep 0.05; done; echo gone; exit 3";
    let pssh = env.pssh().variable("SSH_AUTH_SOCK", &agent.socket).hosts(sshd.hosts());
    let mut running = pssh.args(["--forward-agent", "--", line]).start();
    running.wait_for("there");
    drop(agent);
    let run = running.finish();
    run.exits(5).check(run.stdout_of(&sshd.label()).ends_with(b"gone\n"), "it is told so");
}

#[test]
fn which_agent_it_is() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup::default());
    let other = Env::new();
    let key = other.path("other");
    let public = ssh_keygen(&key, &["-t", "ecdsa"]);
    let second = Agent::start(&other);
    second.add(&other, &key);
    let path = second.socket.display();
    let shows = |config: &str, args: &[&str], key: &str| {
        home.config(config);
        let run = home.pssh().variable("OTHER", &second.socket).hosts(sshd.hosts()).args(args).arg("ssh-add -L").run();
        run.exits(0).check(run.stdout_of(&sshd.label()).starts_with(key.as_bytes()), &format!("{config:?} {args:?}"));
    };
    shows("ForwardAgent yes\n", &[], &home.public);
    shows(&format!("ForwardAgent {path}\n"), &[], &public);
    shows("ForwardAgent $OTHER\n", &[], &public);
    // A path wins over the agent that is asked for keys.
    shows(&format!("ForwardAgent {path}\n"), &["--forward-agent"], &public);
    shows(&format!("IdentityAgent {path}\n"), &["--forward-agent"], &public);
    shows("", &["--forward-agent", "--agent", &path.to_string()], &public);
}

#[test]
fn what_cannot_be_forwarded_is_only_noted() {
    let home = Home::new();
    let refusing = Sshd::start(&home.env, Setup { config: "AllowAgentForwarding no", ..Setup::default() });
    let run = home.pssh().hosts(refusing.hosts()).args(["-v", "--forward-agent", WHICH]).run();
    has_none(&run, &refusing.label());
    run.stderr_has("the server does not accept the agent: it refuses");

    let sshd = Sshd::start(&home.env, Setup::default());
    let label = sshd.label();
    let run = home.env.pssh().hosts(sshd.hosts()).args(["-v", "--forward-agent", WHICH]).run();
    has_none(&run, &label);
    run.stderr_has("the agent is not forwarded: no agent is available");
    let run = home.env.pssh().hosts(sshd.hosts()).args(["-v", "-O", "ForwardAgent=/nowhere/agent", WHICH]).run();
    has_none(&run, &label);
    run.stderr_has("the agent is not forwarded: /nowhere/agent: No such file or directory");
    let run = home.pssh().hosts(sshd.hosts()).args(["-v", "-O", "ForwardAgent=$NOT_SET", WHICH]).run();
    has_none(&run, &label);
    // No question may be asked.
    for forward in ["yes", &home.agent.socket.display().to_string()] {
        let option = format!("ForwardAgent={forward}");
        let run = home.pssh().hosts(sshd.hosts()).args(["-v", "--no-agent", "-O", &option, WHICH]).run();
        has_none(&run, &label);
    }
    home.pssh().hosts(sshd.hosts()).args(["--no-agent", "--forward-agent", WHICH]).run().exits(2);
}

#[test]
fn a_host_whose_key_has_changed_does_not_get_it() {
    let home = Home::new();
    let sshd = Sshd::start(&home.env, Setup { trusted: false, ..Setup::default() });
    let other = Key::generate(KeyKind::Ed25519).known_hosts_line(&sshd.label(), sshd.port()) + "\n";
    home.env.trust(&other);
    let run = home.pssh().hosts(sshd.hosts());
    let run = run.args(["-v", "--host-key-check", "off", "--forward-agent", WHICH]).run();
    has_none(&run, &sshd.label());
    run.stderr_has("the agent is NOT forwarded, since the host key has changed");
}

#[test]
fn a_jump_host_does_not_get_it() {
    let home = Home::new();
    let addresses = vec!["127.0.0.2".parse().expect("an address")];
    let bastion = Server::start(Config { addresses, authorised: home.env.public_lines(), ..Config::default() });
    home.env.trust(&bastion.known_hosts());
    let sshd = Sshd::start(&home.env, Setup::default());
    let jump = format!("127.0.0.2:{}", bastion.port());
    let run = home.pssh().hosts(sshd.hosts()).args(["--forward-agent", "-J", &jump, "--", "ssh-add -L"]).run();
    run.exits(0)
        .check(run.stdout_of(&sshd.label()).starts_with(home.public.as_bytes()), "the key behind the jump host");
    let asked = bastion.logged().iter().any(|record| record.event == Event::AgentForwarding);
    assert!(!asked, "the jump host was offered the agent");
}

#[test]
fn a_server_that_takes_it_unasked_is_refused() {
    let home = Home::new();
    let steps = vec![Step::OpenAgent, Step::Eof, Step::ExitStatus(0), Step::Close];
    let server = |allow_agent_forwarding| {
        let behaviour = Behaviour::Script(steps.clone());
        let authorised = home.env.public_lines();
        let server = Server::start(Config { behaviour, authorised, allow_agent_forwarding, ..Config::default() });
        home.env.trust(&server.known_hosts());
        server
    };
    for (allowed, args, word) in [
        (true, &["-v"][..], "refused\n"),
        (true, &["-v", "--forward-agent"], "opened\n"),
        // One that does not want it when it is asked does not get it later.
        (false, &["-v", "--forward-agent"], "refused\n"),
    ] {
        let server = server(allowed);
        let run = home.pssh().hosts([server.addr()]).args(args).arg("x").run();
        run.exits(0).check(run.stdout_of("127.0.0.1") == word.as_bytes(), &format!("{args:?}: {word}"));
    }
}
