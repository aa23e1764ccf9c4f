//! Agents that are told which session a connection is for (`session-bind@openssh.com`), so that they keep a key to the hosts that its
//! owner has allowed: `ssh-add -h`. The system's `ssh` says what is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pssh::internal::Program;

use crate::auth::Agent;
use crate::bin::{Env, Pssh, Run, all_hold, path_of, ssh_keygen};
use crate::embedded::{Config, Server};
use crate::passwords::{Account, PASSWORD, secret_file};
use crate::sshd::{HostKey, Setup, Sshd, current_user};

/// The options of every ssh.
const PLAIN: [&str; 6] = ["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"];

/// Hosts that let the agent's key in, and the names that its constraints call them.
pub(crate) struct Lab {
    pub(crate) env: Env,
    pub(crate) agent: Agent,
    key: PathBuf,
    /// `one`, `two` and `three`.
    pub(crate) hosts: Vec<Sshd>,
    /// The known_hosts of `ssh-add -H`.
    names: PathBuf,
}

impl Lab {
    /// A lab whose user can log in to `one` only by the agent.
    fn new() -> Lab {
        Lab::of(Env::without_key(), Setup::default)
    }

    pub(crate) fn of<'a>(env: Env, setup: impl Fn() -> Setup<'a>) -> Lab {
        let key = env.path("agents_key");
        let public = ssh_keygen(&key, &["-t", "ed25519"]);
        let agent = Agent::start(&env);
        let start = |_| {
            let mut setup = setup();
            setup.authorized.push(public.clone());
            Sshd::start(&env, setup)
        };
        let hosts: Vec<Sshd> = (0..3).map(start).collect();
        let lines = ["one", "two", "three"].iter().zip(&hosts).flat_map(|(name, host)| {
            let lines = host.known_hosts();
            let keys: Vec<String> =
                lines.lines().map(|line| format!("{name} {}\n", line.split_once(' ').expect("a key").1)).collect();
            keys
        });
        let names = env.file("names", lines.collect::<String>());
        Lab { agent, key, hosts, names, env }
    }

    fn ssh_add(&self, args: &[&str]) {
        let mut command = Command::new("ssh-add");
        command.arg("-q").args(args).env("SSH_AUTH_SOCK", &self.agent.socket).stdin(Stdio::null());
        let output = command.output().expect("ssh-add");
        assert!(output.status.success(), "ssh-add {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Has the agent hold a key with these constraints.
    fn add(&self, key: &Path, constraints: &[&str]) {
        let (key, names) = (key.display().to_string(), self.names.display().to_string());
        let constraints = constraints.iter().flat_map(|constraint| ["-h", constraint]);
        let args: Vec<&str> = ["-H", &names].into_iter().chain(constraints).chain([key.as_str()]).collect();
        self.ssh_add(&args);
    }

    /// Has the agent hold this key alone, with these constraints.
    fn allow_key(&self, key: &Path, constraints: &[&str]) {
        self.ssh_add(&["-D"]);
        self.add(key, constraints);
    }

    /// The same with the lab's key.
    pub(crate) fn allow(&self, constraints: &[&str]) {
        self.allow_key(&self.key, constraints);
    }

    /// The onward login at host `number` and what runs there, as a line for the shell of another host.
    pub(crate) fn onward(&self, number: usize, command: &str) -> String {
        let host = &self.hosts[number];
        let (port, user, label) = (host.port(), current_user(), host.label());
        format!(
            "ssh -A {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentityFile=none -p {port} {user}@{label} \"{command}\"",
            PLAIN.join(" ")
        )
    }

    fn pssh_of(&self, program: Program) -> Pssh {
        self.env.run_of(program).variable("SSH_AUTH_SOCK", &self.agent.socket).args(["--num-retries", "1"])
    }

    fn pssh(&self, number: usize) -> Pssh {
        self.pssh_of(Program::Pssh).hosts(self.hosts[number].hosts())
    }

    /// What ssh comes to on the same way.
    fn ssh(&self, way: &Way) -> bool {
        let host = &self.hosts[way.host()];
        let mut command = Command::new("ssh");
        command.args(PLAIN).arg("-o").arg(format!("UserKnownHostsFile={}", self.env.known_hosts().display()));
        if way.through.is_some() {
            // ssh gives its jump hosts the options of its configuration alone.
            let config = self.env.file(
                &format!("config_of_{}_hosts", way.hosts.len()),
                format!(
                    "BatchMode yes\nLogLevel ERROR\nUserKnownHostsFile {}\nIdentityFile none\n",
                    self.env.known_hosts().display()
                ),
            );
            command.arg("-F").arg(config);
        }
        if let Some(jump) = way.through {
            command.args(["-J", &self.hosts[jump].hosts()[0]]);
        }
        let command = command.args(["-A", "-o", "IdentityFile=none", "-p", &host.port().to_string(), &host.label()]);
        let command = command.arg(way.command(self)).env("SSH_AUTH_SOCK", &self.agent.socket).stdin(Stdio::null());
        let output = command.output().expect("ssh of OpenSSH is needed for this test");
        output.status.success() && output.stdout == b"in\n"
    }

    fn run(&self, way: &Way) -> Run {
        let mut pssh = self.pssh(way.host()).arg("--forward-agent");
        if let Some(jump) = way.through {
            pssh = pssh.args(["-J", &self.hosts[jump].hosts()[0]]);
        }
        pssh.args(["--", &way.command(self)]).run()
    }

    /// Why the ways that lead to where they should are not `right`, for ssh or for pssh.
    fn compare(&self, constraints: &[&str], right: &[&str]) {
        self.compare_on(&WAYS, constraints, right);
    }

    fn compare_on(&self, ways: &[Way], constraints: &[&str], right: &[&str]) {
        self.allow(constraints);
        all_hold(ways, 2, |way| {
            let (ssh, run) = (self.ssh(way), self.run(way));
            let label = self.hosts[way.host()].label();
            let pssh = run.status.success() && run.stdout_of(&label) == b"in\n";
            let expected = right.contains(&way.name);
            (ssh != expected || pssh != expected).then(|| {
                format!("{constraints:?}, {}: {expected} expected, ssh says {ssh}\n{}", way.name, run.context())
            })
        });
    }
}

/// A way to a host.
struct Way {
    name: &'static str,
    /// Each forwards the agent to the next.
    hosts: &'static [usize],
    /// The jump host in front of them.
    through: Option<usize>,
}

const WAYS: [Way; 6] = [
    Way { name: "one", hosts: &[0], through: None },
    Way { name: "two", hosts: &[1], through: None },
    Way { name: "one>two", hosts: &[0, 1], through: None },
    Way { name: "one>two>three", hosts: &[0, 1, 2], through: None },
    Way { name: "-J one two", hosts: &[1], through: Some(0) },
    Way { name: "-J one two>three", hosts: &[1, 2], through: Some(0) },
];

impl Way {
    fn host(&self) -> usize {
        self.hosts[0]
    }

    fn command(&self, lab: &Lab) -> String {
        match self.hosts {
            [_] => "echo in".to_owned(),
            [_, second] => lab.onward(*second, "echo in"),
            [_, second, third] => {
                lab.onward(*second, &lab.onward(*third, "echo in").replace('\\', "\\\\").replace('"', "\\\""))
            }
            _ => unreachable!("three hosts at most"),
        }
    }
}

#[test]
fn a_key_without_constraints_goes_everywhere() {
    Lab::new().compare(&[], &["one", "two", "one>two", "one>two>three", "-J one two", "-J one two>three"]);
}

#[test]
fn a_key_for_a_host_opens_it_alone() {
    let lab = Lab::new();
    lab.compare(&["one"], &["one"]);
    // To both, but from here alone.
    lab.compare(&["one", "two"], &["one", "two", "-J one two"]);
}

#[test]
fn a_key_for_a_way_goes_that_way() {
    let lab = Lab::new();
    lab.compare(&["one", "one>two"], &["one", "one>two"]);
    lab.compare(&["one", "one>two", "two>three"], &["one", "one>two", "one>two>three"]);
    lab.compare(&["one", "two", "two>three"], &["one", "two", "-J one two", "-J one two>three"]);
}

#[test]
fn a_key_for_a_user() {
    let lab = Lab::new();
    let me = format!("{}@one", current_user());
    lab.compare(&[&me], &["one"]);
    lab.compare(&["somebody@one"], &[]);
}

/// As ssh, pssh does not offer such a key: with a few of them the server would give up before it is the right one's turn.
#[test]
fn keys_for_other_hosts_are_not_offered() {
    let lab = Lab::of(Env::without_key(), || Setup { config: "MaxAuthTries 2", ..Setup::default() });
    for number in 0..4 {
        let key = lab.env.path(&format!("other{number}"));
        ssh_keygen(&key, &["-t", "ed25519"]);
        lab.add(&key, &["three"]);
    }
    lab.add(&lab.key, &["two"]);
    let run = lab.pssh(1).args(["-v", "echo", "in"]).run();
    run.exits(0).check(run.stdout_of(&lab.hosts[1].label()) == b"in\n", "let in");
    run.stderr_has("the agent does not allow ssh-ed25519").stderr_has("for this host (ssh-add -h)");
    let run = lab.pssh(0).args(["echo", "in"]).run();
    run.exits(4).ends(&lab.hosts[0].label(), "auth: ");
    run.check(run.outcome(&lab.hosts[0].label()).contains("the agent does not allow"), "says why");
}

/// The agent does not sign with it; its file does, which needs no agent.
#[test]
fn a_file_that_the_agent_holds_for_other_hosts_signs_by_itself() {
    let lab = Lab::new();
    lab.allow(&["two"]);
    let run = lab.pssh(0).arg("--identity").arg(&lab.key).args(["echo", "in"]).run();
    run.exits(0).check(run.stdout_of(&lab.hosts[0].label()) == b"in\n", "let in");
}

/// The identifier of the session and the signature are found, whatever the exchange: each has its own messages and lengths.
#[test]
fn every_key_exchange_and_type_of_host_key() {
    let methods = [
        "curve25519-sha256",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512",
    ];
    let keys = [HostKey::Ed25519, HostKey::Ecdsa, HostKey::Rsa];
    let lab = Lab::of(Env::without_key(), || Setup { host_keys: &keys, ..Setup::default() });
    lab.allow(&["one", "one>two"]);
    let algorithms = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"];
    let cases: Vec<(&str, &str)> = methods
        .iter()
        .map(|method| (*method, algorithms[0]))
        .chain(algorithms.iter().map(|algorithm| (methods[0], *algorithm)))
        .collect();
    all_hold(&cases, 2, |(method, algorithm)| {
        let options = [format!("KexAlgorithms={method}"), format!("HostKeyAlgorithms={algorithm}")];
        let pssh = lab.pssh(0).args(options.iter().flat_map(|option| ["-O", option])).arg("--forward-agent");
        let run = pssh.args(["--", &lab.onward(1, "echo in")]).run();
        let is_in = run.status.success() && run.stdout_of(&lab.hosts[0].label()) == b"in\n";
        (!is_in).then(|| format!("{method} {algorithm}\n{}", run.context()))
    });
}

/// A constraint may name an authority (`@cert-authority`). As by ssh, the agent is shown the certificate and not the key in it.
#[test]
fn host_certificates() {
    let env = Env::without_key();
    let authority = ssh_keygen(&env.path("ca"), &["-t", "ed25519"]);
    let host_key = env.path("host");
    let plain = ssh_keygen(&host_key, &["-t", "ecdsa"]);
    let certify = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(env.path("ca"))
        .args(["-h", "-I", "id", "-n", "one,127.0.1.1"])
        .arg(env.path("host.pub"))
        .status();
    assert!(certify.expect("ssh-keygen").success());
    env.trust(&format!("@cert-authority * {authority}\n"));
    let config = format!("HostKey {0}\nHostCertificate {0}-cert.pub", host_key.display());
    let lab = Lab::of(env, || Setup { trusted: false, host_keys: &[], config: &config, ..Setup::default() });
    let ways = &WAYS[..1];
    fs::write(&lab.names, format!("@cert-authority one {authority}\n@cert-authority two {authority}\nthree {plain}\n"))
        .expect("a file");
    lab.compare_on(ways, &["one"], &["one"]);
    // The certificate is not for that name.
    lab.compare_on(ways, &["two"], &[]);
    lab.compare_on(ways, &["three"], &[]);
}

/// A binding is about the first exchange of a session, whatever comes after it.
#[test]
fn after_key_re_exchanges() {
    let lab = Lab::of(Env::without_key(), || Setup { config: "RekeyLimit 48K", ..Setup::default() });
    lab.allow(&["one", "one>two"]);
    for (onward, permitted) in [(1, true), (2, false)] {
        let command = format!("head -c 400000 /dev/zero | tr '\\0' x; echo; {}", lab.onward(onward, "echo in"));
        let run = lab.pssh(0).args(["--forward-agent", "--", &command]).run();
        run.exits(if permitted { 0 } else { 5 });
        let is_in = run.stdout_of(&lab.hosts[0].label()).ends_with(b"x\nin\n");
        run.check(is_in == permitted, &format!("host {onward}"));
    }
}

/// A session that never needed the agent forwards it just as bound.
#[test]
fn after_a_login_by_password_or_key_file() {
    let lab = Lab::of(Env::new(), || Setup { config: "PasswordAuthentication yes", ..Setup::default() });
    lab.allow(&["one", "one>two"]);
    let label = lab.hosts[0].label();
    let shows = |login: &dyn Fn() -> Pssh, how: &str| {
        for (onward, permitted) in [(1, true), (2, false)] {
            let run = login().args(["-v", "--forward-agent", "--", &lab.onward(onward, "echo in")]).run();
            run.exits(if permitted { 0 } else { 5 }).stderr_has(how);
            run.check((run.stdout_of(&label) == b"in\n") == permitted, &format!("{how}, host {onward}"));
        }
    };
    let key = lab.env.ssh_dir().join("id_ed25519");
    shows(&|| lab.pssh(0).arg("--identity").arg(&key), &format!("with ssh-ed25519 {}\n", key.display()));
    let Some(account) = Account::make() else { return };
    let file = secret_file(&lab.env, "password", PASSWORD);
    let by_password = || {
        let pssh = lab.pssh(0).args(["-l", &account.name, "-O", "PreferredAuthentications=password"]);
        pssh.arg("--password-file").arg(&file)
    };
    shows(&by_password, "with a password\n");
}

/// There agents want a login that names the host's key (publickey-hostbound-v00@openssh.com) for constrained keys. libssh2 has none.
#[test]
fn pssh_on_a_host_that_the_agent_was_forwarded_to() {
    let env = Env::without_key();
    let keys = [("ed25519", "256"), ("ecdsa", "384"), ("rsa", "2048")].map(|(kind, bits)| {
        let path = env.path(kind);
        (ssh_keygen(&path, &["-t", kind, "-b", bits]), path)
    });
    let authorized = keys.each_ref().map(|(public, _)| public.clone());
    let lab = Lab::of(env, || Setup { authorized: authorized.to_vec(), ..Setup::default() });
    // One that does not know the method.
    let other = Server::start(Config { authorised: authorized.to_vec(), ..Config::default() });
    lab.env.trust(&other.known_hosts());
    let lines = fs::read_to_string(&lab.names).expect("names");
    let key = other.known_hosts().split_once(' ').expect("a key").1.to_owned();
    fs::write(&lab.names, format!("{lines}other {key}")).expect("a file");
    let run = |key: &Path, constraints: &[&str], host: &str| {
        lab.allow_key(key, constraints);
        let (program, known) = (path_of(Program::Pssh), lab.env.known_hosts());
        let onward = format!(
            "{program} -F none --num-retries 1 --known-hosts {} -H {}@{host} -- echo in 2>&1",
            known.display(),
            current_user()
        );
        lab.pssh(0).args(["--forward-agent", "--", &onward]).run()
    };
    let two = &lab.hosts[1].hosts()[0];
    for (_, key) in &keys {
        for (constraints, status, words) in
            [(&[][..], 0, ": in\n"), (&["one", "one>two"], 0, ": in\n"), (&["one", "two"], 5, "no identity to offer")]
        {
            let run = run(key, constraints, two);
            run.exits(status).check(run.stdout_text().contains(words), &format!("{constraints:?}: {words}"));
        }
    }
    let refused = run(&keys[0].1, &["one", "one>other"], &other.addr().to_string());
    refused.exits(5).check(refused.stdout_text().contains("refused after trying ssh-ed25519"), "refused by the server");
    let let_in = run(&keys[0].1, &[], &other.addr().to_string());
    let_in.exits(0);
}

/// Every channel has a connection of its own to the agent, and each is bound.
#[test]
fn each_of_many_channels() {
    let lab = Lab::new();
    lab.allow(&["one", "one>two"]);
    let list = "ssh-add -l | wc -l";
    let again = format!("{list}; {list}; ({list}) & ({list}) & wait; {}", lab.onward(2, "echo in"));
    let run = lab.pssh(0).args(["--forward-agent", "--", &again]).run();
    run.exits(5).check(run.stdout_of(&lab.hosts[0].label()) == b"1\n1\n1\n1\n", "one key, four times");
    // It is listed for no host that it cannot go on to.
    lab.allow(&["one"]);
    let run = lab.pssh(0).args(["--forward-agent", "--", "ssh-add -l"]).run();
    run.exits(5).check(run.stdout_of(&lab.hosts[0].label()) == b"The agent has no identities.\n", "no key");
}

/// The other programs log in by the same agent.
#[test]
fn copies_and_the_other_programs() {
    let lab = Lab::new();
    lab.allow(&["one"]);
    let file = lab.env.file("file", "contents\n");
    let target = lab.env.path("copied");
    for (program, words) in [
        (Program::Pscp, vec![file.display().to_string(), target.display().to_string()]),
        (Program::Prsync, vec![file.display().to_string(), target.display().to_string()]),
        (Program::Pslurp, vec!["-L".into(), "slurped".into(), file.display().to_string(), "file".into()]),
        (Program::Pnuke, vec!["no-such-program-of-this-test".into()]),
    ] {
        for (number, permitted) in [(0, true), (1, false)] {
            let _ = fs::remove_file(&target);
            let run = lab.pssh_of(program).hosts(lab.hosts[number].hosts()).args(&words).run();
            run.check((run.status.code() == Some(4)) != permitted, &format!("{program:?} on host {number}"));
        }
    }
}
