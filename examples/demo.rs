//! Shows pssh at work without any setup: six SSH servers in this process, on loopback and with throw-away keys, and a seventh
//! host that is down.
//!
//! ```text
//! cargo run --release --example demo
//! cargo run --release --example demo -- COMMAND...     runs another command on them
//! cargo run --release --example demo -- --hold         keeps them up, for command lines of your own
//! ```
//!
//! The commands are really run, by `sh` as the user who started the demo; the servers let nobody in but the holder of a key
//! that was made for this run.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demo talks to the user, and the library's output layer is not its business"
)]

#[path = "../tests/embedded/mod.rs"]
mod embedded;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use embedded::{Config, Key, KeyKind, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Name of a host, its script `health`. The pauses let the hosts' lines interleave as those of real hosts do.
const HOSTS: [(&str, &str); 6] = [
    ("web1", "echo 'nginx: active'; sleep 0.2; echo 'requests/s: 412'"),
    ("web2", "echo 'nginx: active'; sleep 0.3; echo 'requests/s: 397'"),
    ("web3", "echo 'nginx: active'; sleep 0.1; echo 'certificate ends in 6 days' >&2"),
    ("db1", "echo 'postgres: primary'; sleep 0.2; echo 'connections: 57'"),
    ("db2", "echo 'postgres: standby'; sleep 0.4; echo 'replication stopped' >&2; exit 2"),
    ("cache", "echo 'redis: active'; sleep 0.1; echo 'memory: 38 %'"),
];

/// What pssh runs unless the user names something else.
const COMMAND: &str = "./health";

/// pssh's exit status when a host could not be reached, whatever the others' commands said.
const UNREACHABLE: i32 = 4;

const USAGE: &str = "\
Usage: demo [--hold] [COMMAND...]

Runs pssh with COMMAND on six SSH hosts that live in this process, and on one that is down.

  --hold    then keeps the hosts up until Enter or Ctrl-C, for command lines of your own
  --help    shows this help
";

fn main() -> ExitCode {
    match run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::read(std::env::args_os().skip(1))?;
    if options.help {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    // Ctrl-C ends pssh by itself. This process has to live on in order to clean up.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    let pssh = build_pssh()?;
    let fleet = Fleet::start()?;
    let arguments = fleet.arguments(&options.command);

    println!("Six SSH hosts on loopback, each with a script ./health of its own, and one host that is down:\n");
    for (name, address) in fleet.names() {
        println!("  {address:<18} {name}");
    }
    println!("\nThis is run now:\n\n{}\n", command_line(&pssh, &arguments));
    let status = Command::new(&pssh).args(&arguments).status();
    let status = status.with_context(|| format!("cannot run {}", pssh.display()))?;
    let verdict = if options.command.is_empty() && status.signal().is_none() {
        judge(status)
    } else {
        println!("\npssh: {status}");
        passed_through(status)
    };
    if options.hold && status.signal().is_none() {
        hold(signals);
    }
    Ok(verdict)
}

#[derive(Default)]
struct Options {
    hold: bool,
    help: bool,
    command: Vec<OsString>,
}

impl Options {
    /// Like pssh's own options, these end at the first word of the command.
    fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(option) = arguments.next_if(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
            match option.to_str() {
                Some("--hold") => options.hold = true,
                Some("--help" | "-h") => options.help = true,
                Some("--") => break,
                _ => bail!("unknown option {}\n\n{USAGE}", option.display()),
            }
        }
        options.command = arguments.collect();
        Ok(options)
    }
}

/// The hosts and the files that a client needs.
struct Fleet {
    servers: Vec<Server>,
    down: SocketAddr,
    /// Deleted when the fleet goes, after the servers whose home directories are in it.
    directory: tempfile::TempDir,
}

impl Fleet {
    fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pssh-demo-").tempdir();
        let directory = directory.context("cannot make a temporary directory")?;
        let user = Key::generate(KeyKind::Ed25519);
        user.write(directory.path(), "key");
        let mut servers = Vec::with_capacity(HOSTS.len());
        for (number, (name, script)) in (2..).zip(HOSTS) {
            let home = home(directory.path(), name, script)?;
            servers.push(host(number, name, home, &user)?);
        }
        let down = embedded::refused_address(loopback(8));
        let down = down.or_else(|_| embedded::refused_address(loopback(1)));
        let down = down.context("cannot find a free port on 127.0.0.1")?;

        let fleet = Self { servers, down, directory };
        let hosts = fleet.names().map(|(_, address)| format!("{address}\n"));
        fleet.write("hosts", &hosts.collect::<String>())?;
        let keys = fleet.servers.iter().map(Server::known_hosts);
        fleet.write("known_hosts", &keys.collect::<String>())?;
        Ok(fleet)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All hosts with their addresses, the one that is down last.
    fn names(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let up = HOSTS.iter().zip(&self.servers);
        let up = up.map(|((name, _), server)| (*name, server.addr()));
        up.chain([("down", self.down)])
    }

    fn arguments(&self, command: &[OsString]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-h".into(), self.path("hosts").into()];
        arguments.extend(["--identity".into(), self.path("key").into()]);
        arguments.extend(["--known-hosts".into(), self.path("known_hosts").into()]);
        // The user's own ssh_config and agent are not the demo's business.
        let alone = ["-F", "none", "--no-agent", "-l", "demo", "--connect-timeout", "5", "--num-retries", "1"];
        arguments.extend(alone.map(OsString::from));
        if command.is_empty() {
            arguments.push(COMMAND.into());
        } else {
            // A first word that looks like an option is not pssh's.
            arguments.push("--".into());
            arguments.extend_from_slice(command);
        }
        arguments
    }
}

/// The home directory of a host: all that tells it from the others, besides its environment.
fn home(directory: &Path, name: &str, script: &str) -> Result<PathBuf> {
    let home = directory.join(name);
    let health = home.join("health");
    let written = fs::create_dir(&home)
        .and_then(|()| fs::write(&health, format!("#!/bin/sh\n{script}\n")))
        .and_then(|()| fs::set_permissions(&health, fs::Permissions::from_mode(0o700)));
    written.with_context(|| format!("cannot write {}", health.display()))?;
    Ok(home)
}

/// Listens on 127.0.0.`number`, or on 127.0.0.1 where the system has no such address, as macOS.
fn host(number: u8, name: &str, home: PathBuf, user: &Key) -> Result<Server> {
    let config = |address| Config {
        addresses: vec![address],
        authorised: vec![user.public_line()],
        env: vec![("DEMO_NAME".to_owned(), name.to_owned())],
        home: Some(home.clone()),
        threads: 1,
        ..Config::default()
    };
    Server::try_start(config(loopback(number)))
        .or_else(|_| Server::try_start(config(loopback(1))))
        .with_context(|| format!("cannot start the SSH server of {name}"))
}

fn loopback(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))
}

/// Builds pssh as this demo was built, and returns its path. `cargo run --example` builds no binaries.
fn build_pssh() -> Result<PathBuf> {
    let demo = std::env::current_exe().context("cannot find out where the demo was built")?;
    let profile = demo.parent().and_then(Path::parent);
    let profile = profile.with_context(|| format!("{} is not in a directory of cargo", demo.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", "pssh", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    build.args(same_target(profile)?);
    if !cfg!(feature = "vendored") {
        build.arg("--no-default-features");
    }
    let status = build.status().with_context(|| format!("cannot run {build:?}"))?;
    let pssh = profile.join("pssh");
    if !status.success() {
        bail!("pssh does not build: {build:?} ended with {status}");
    }
    if !pssh.is_file() {
        bail!("{build:?} was to write {}, and did not", pssh.display());
    }
    Ok(pssh)
}

/// Cargo's options that lead to `profile`, which is TARGET/PROFILE or TARGET/TRIPLE/PROFILE.
fn same_target(profile: &Path) -> Result<Vec<OsString>> {
    let not_cargo = || format!("{} is not in a target directory of cargo", profile.display());
    let name = profile.file_name().with_context(not_cargo)?;
    let parent = profile.parent().with_context(not_cargo)?;
    let mut options: Vec<OsString> = match name.to_str() {
        Some("debug") => Vec::new(),
        _ => vec!["--profile".into(), name.to_owned()],
    };
    // Cargo marks its target directory, and nothing below it, with this file.
    let root = profile.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    let root = root.unwrap_or(parent);
    options.extend(["--target-dir".into(), root.into()]);
    if let Some(triple) = parent.file_name().filter(|_| root != parent) {
        options.extend(["--target".into(), triple.to_owned()]);
    }
    Ok(options)
}

/// One line that a shell understands.
fn command_line(program: &Path, arguments: &[OsString]) -> String {
    let words = [program.as_os_str()].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Says whether the default command went as it has to.
fn judge(status: ExitStatus) -> ExitCode {
    if status.code() == Some(UNREACHABLE) {
        println!("\npssh: {status}, as it has to be: db2's command failed, and one host is down, which counts more.");
        return ExitCode::SUCCESS;
    }
    println!("\npssh: {status}, but a host is down, so exit status {UNREACHABLE} was expected.");
    ExitCode::FAILURE
}

/// pssh's exit status as a shell would have it.
fn passed_through(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Keeps the hosts up until Enter or a signal.
fn hold(mut signals: Signals) {
    println!("\nThe hosts stay up: paste the line above into another terminal. Enter or Ctrl-C ends them.");
    let (sender, end) = mpsc::channel();
    let enter = sender.clone();
    thread::spawn(move || {
        let read = io::stdin().lock().read_line(&mut String::new());
        // Without a terminal, for example in the background, the end of input is no wish of the user.
        if io::stdin().is_terminal() || read.is_ok_and(|length| length > 0) {
            // Nobody listens any more if a signal came first.
            let _ = enter.send(());
        }
    });
    thread::spawn(move || {
        signals.forever().next();
        let _ = sender.send(());
    });
    // It fails only if both threads are gone, and then nothing is left to wait for.
    let _ = end.recv();
}
