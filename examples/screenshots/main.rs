//! The pictures of the README and the guide, each from a real run, for dark and for light pages: pssh on a terminal, and throw-away SSH hosts as those of the demo.
//!
//! ```text
//! cargo run --example screenshots
//! ```
//!
//! It writes `docs/pictures/NAME-dark.svg` and `NAME-light.svg`. The order of lines of different hosts may be another each time; nothing else is. What the user's own
//! files and variables say does not count.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the user")]

#[path = "../fleet/mod.rs"]
mod fleet;
mod svg;
mod terminal;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Fleet, HOSTS, build_pssh, script};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The index of the host that is down.
const DOWN: (usize, &str) = (3, "web4");

/// A picture to be taken.
struct Scene {
    /// The beginning of the names of its files.
    name: &'static str,
    title: &'static str,
    /// The command line: what is shown, and what is run. Its words are parted by blanks, also where they are in quotes.
    line: &'static str,
    /// What has to be on the screen when it is taken, while the run goes on; without that it is taken at the end.
    moment: Option<&'static str>,
    /// The exit status that belongs to it.
    status: i32,
}

const HEALTH: [Scene; 2] = [
    Scene {
        name: "lines",
        title: "pssh shows the lines of all hosts as they come, and one outcome for every host",
        line: "pssh -h hosts.txt ./health",
        moment: None,
        status: 4,
    },
    Scene {
        name: "inline",
        title: "pssh -i shows the output of each host in one piece, below pssh's own line for it",
        line: "pssh -h hosts.txt -i ./health",
        moment: None,
        status: 4,
    },
];

/// Three nodes take long, the second and the third of which have to wait for their turn first.
const PROGRESS: Scene = Scene {
    name: "progress",
    title: "The status line of pssh while a run goes on: how many hosts are done, which are slow",
    line: "pssh -w 'node[01-12]' -p 6 ./upgrade",
    moment: Some("9/12 3 running, 1 failed, 0:04, slowest node03 (4 s), node08 (3 s)"),
    status: 5,
};

const GATHER: Scene = Scene {
    name: "gather",
    title: "pssh --format gather --diff shows hosts with the same output together, and how the others differ",
    line: "pssh -w 'web[01-12]' --format gather --diff cat nginx.conf",
    moment: None,
    status: 0,
};

/// A film: one host is down, which is tried again, another fails, and the end names both.
const DEPLOY: Scene = Scene {
    name: "run",
    title: "A run of pssh on twelve hosts: one is down and is tried again, one fails, and the end names both",
    line: "pssh -w 'web[01-12]' -p 6 --num-retries 3 --retry-delay 2 ./deploy",
    moment: None,
    status: 4,
};
/// The host of it that is down: its place and its name.
const DEPLOY_DOWN: (usize, &str) = (3, "web04");
/// How long the end of a film is shown.
const REST: Duration = Duration::from_secs(6);

/// The `nginx.conf` of all hosts but one.
const CONFIGURATION: &str = "\
worker_processes  auto;
events {
    worker_connections  4096;
}
http {
    keepalive_timeout  65;
    server_tokens      off;
}
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("screenshots: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // pssh has a terminal of its own, so Ctrl-C reaches this process alone, which has to clean up.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let pssh = build_pssh()?;
    let take = |scene: &Scene, fleet: &Fleet| {
        take(scene, fleet, &pssh, &stop).with_context(|| format!("{}: {}", scene.name, scene.line))
    };

    let fleet = Fleet::start("health", HOSTS.map(|(name, lines)| (name, script(lines))))?;
    let mut hosts: Vec<(&str, SocketAddr)> = fleet.up().collect();
    hosts.insert(DOWN.0, (DOWN.1, fleet.down()));
    configure(&fleet, &hosts)?;
    for scene in &HEALTH {
        take(scene, &fleet)?;
    }
    let nodes = (1..=12).map(|number| (format!("node{number:02}"), script(&upgrade(number))));
    let fleet = Fleet::start("upgrade", nodes)?;
    configure(&fleet, &fleet.up().collect::<Vec<_>>())?;
    take(&PROGRESS, &fleet)?;
    let webs = (1..=12).map(|number| (format!("web{number:02}"), configuration(number)));
    let fleet = Fleet::start("nginx.conf", webs)?;
    configure(&fleet, &fleet.up().collect::<Vec<_>>())?;
    take(&GATHER, &fleet)?;
    let webs = (1..=12).filter(|number| *number != DEPLOY_DOWN.0 + 1);
    let fleet = Fleet::start("deploy", webs.map(|number| (format!("web{number:02}"), script(&deploy(number)))))?;
    let mut hosts: Vec<(&str, SocketAddr)> = fleet.up().collect();
    hosts.insert(DEPLOY_DOWN.0, (DEPLOY_DOWN.1, fleet.down()));
    configure(&fleet, &hosts)?;
    take(&DEPLOY, &fleet)
}

/// What the script `deploy` of a host does.
fn deploy(number: usize) -> String {
    let pause = format!("sleep 1.{:02}", 8 * number);
    match number {
        7 => format!("{pause}; echo 'migration 41: column exists' >&2; exit 1"),
        _ => format!("{pause}; echo 'version 2.4.1 is live'"),
    }
}

/// The text of `nginx.conf` on a host.
fn configuration(number: usize) -> String {
    match number {
        7 => CONFIGURATION.replace("4096", "512"),
        _ => CONFIGURATION.to_owned(),
    }
}

/// What the script `upgrade` of a node does. The pauses let the nodes take turns in the order of their numbers.
fn upgrade(number: usize) -> String {
    let pause = format!("sleep 0.{}", 80 + 3 * ((number - 1) % 6));
    match number {
        3 | 8 | 12 => "sleep 6".to_owned(),
        7 => format!("{pause}; echo 'no space left on /boot' >&2; exit 1"),
        _ => format!("{pause}; echo '{} packages upgraded'", 20 + number * 5 % 7),
    }
}

/// Makes a home directory of the fleet's: its ssh_config knows the hosts, and `hosts.txt` lists them.
fn configure(fleet: &Fleet, hosts: &[(&str, SocketAddr)]) -> Result<()> {
    let names: String = hosts.iter().map(|(name, _)| format!("{name}\n")).collect();
    fleet.write("hosts.txt", &names)?;
    let block = |(name, address): &(&str, SocketAddr)| {
        format!("Host {name}\n  HostName {}\n  Port {}\n", address.ip(), address.port())
    };
    let mut config: String = hosts.iter().map(block).collect();
    config.push_str("Host *\n  User demo\n  ConnectionAttempts 1\n  IdentityAgent none\n");
    for (keyword, file) in [("IdentityFile", "key"), ("UserKnownHostsFile", "known_hosts")] {
        config.push_str(&format!("  {keyword} \"{}\"\n", fleet.path(file).display()));
    }
    let directory = fleet.path(".ssh");
    fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fleet.write(".ssh/config", &config)
}

/// Runs a command line, and writes the picture of what is seen then.
fn take(scene: &Scene, fleet: &Fleet, pssh: &Path, stop: &AtomicBool) -> Result<()> {
    let home = fleet.directory();
    let mut command = Command::new(pssh);
    let words = scene.line.split(' ').map(|word| word.trim_matches('\''));
    command.args(words.skip(1)).current_dir(home);
    command.env("HOME", home).env("TERM", "xterm-256color");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let before = format!("$ {}\r\n", scene.line);
    let shown = terminal::run(&command, &before, scene.moment, stop)?;

    let text = shown.screen.contents();
    if shown.status.code() != Some(scene.status) {
        bail!("{}, instead of exit status {}:\n{text}", shown.status, scene.status);
    }
    if home.to_str().is_none_or(|home| text.contains(home)) {
        bail!("a path of this machine is on the screen:\n{text}");
    }
    for theme in [svg::DARK, svg::LIGHT] {
        let name = format!("docs/pictures/{}-{}.svg", scene.name, theme.name);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        let picture = match scene.name == DEPLOY.name {
            true => svg::film(&shown.frames, REST, &theme, scene.title),
            false => svg::picture(&shown.screen, &theme, scene.title),
        };
        fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{name}: {}", scene.line);
    }
    Ok(())
}
