//! The hosts of the matrix: each cell's own, healthy ones beside them, and what has become of them in a run.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::getuid;
use pssh::internal::Program;
use serde_json::Value;

use super::cells::{ALIVE, COMMAND, CONNECT, Cell, Fault, HOP_ALIVE, Made, Phase, all};
use super::names::{DOMAIN, Names};
use super::packets::BEGUN;
use super::proxy::{JumpHosts, Point, Signs, Strike, waits};
use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, ChannelOpenFailure, Config, Key, KeyKind, Server, Step, refused_address};
use crate::sshd::{Setup, Sshd, sftp_server};

/// The healthy hosts of every run.
pub(super) const WELL: [&str; 2] = ["well-1", "well-2"];
/// What pssh exits with, in the runs that there are.
pub(super) const STATUSES: [i32; 3] = [0, 3, 4];
/// The file that is copied, and what it replaces.
const TARGET: &str = "target";
const OLD: &[u8] = b"old\n";
/// Bytes of the new one: the copy is struck in its middle.
const NEW: usize = 400_000;

/// Where the proxies before hosts and before jump hosts listen.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const HOP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The proxy passes everything on.
const NEVER: Strike = Strike { at: Point::Sent(usize::MAX), fault: Fault::Stall };

/// A host of the list.
pub(super) struct Host {
    pub(super) label: String,
    /// Nothing for a healthy host.
    pub(super) cell: Option<Cell>,
    line: String,
    /// Where its copy goes.
    directory: PathBuf,
}

/// The healthy host for copies in the run with this exit status.
fn copied_well(label: &str, status: i32) -> String {
    format!("{label}-copy-{status}")
}

/// Everything that a run needs.
pub(super) struct World {
    pub(super) env: Env,
    pub(super) hosts: Vec<Host>,
    /// The healthy hosts, and what is behind the proxies and the jump hosts.
    pub(super) sshd: Sshd,
    /// For copies: one each, since each has a directory of its own.
    copied_to: Vec<Sshd>,
    names: Option<Names>,
    // Kept for their listeners.
    proxies: JumpHosts,
    servers: Vec<Server>,
}

impl World {
    pub(super) fn new() -> World {
        let env = Env::new();
        fs::create_dir(env.path("signs")).expect("a directory");
        // For jump hosts, too. The packets of this cipher can be counted without the keys.
        let ((interval, count), (of_hop, count_of_hop)) = (ALIVE, HOP_ALIVE);
        let config = format!(
            "Ciphers aes256-gcm@openssh.com\n\
             Host {HOP}\nServerAliveInterval {of_hop}\nServerAliveCountMax {count_of_hop}\n\
             Host *\nServerAliveInterval {interval}\nServerAliveCountMax {count}\n"
        );
        env.file(".ssh/config", config);
        env.file("source", (0..NEW).map(|number| (number % 251) as u8).collect::<Vec<u8>>());
        let sshd = Sshd::start(&env, Setup { hosts: 2, ..Setup::default() });
        // Only root may be a name server.
        let names = getuid().is_root().then(|| Names::start(Ipv4Addr::new(127, 0, 1, 1)));
        names.iter().for_each(|names| drop(env.file("resolv.conf", names.resolv_conf())));
        let mut world = World {
            env,
            hosts: Vec::new(),
            sshd,
            copied_to: Vec::new(),
            names,
            proxies: JumpHosts::new(),
            servers: Vec::new(),
        };
        for cell in all() {
            if cell.made == Made::Name && world.names.is_none() {
                continue;
            }
            let host = world.host(cell);
            world.hosts.push(host);
        }
        for (place, label) in WELL.into_iter().enumerate() {
            let line = format!("{} alias={label} arg.cell={label}", world.sshd.hosts()[place]);
            Signs::of(&world.env.path("signs"), label).let_go();
            let directory = world.env.path(label);
            world.hosts.push(Host { label: label.to_owned(), cell: None, line, directory });
            // The same for pscp, whose paths begin in the directory of its SFTP server.
            for status in STATUSES {
                let label = copied_well(label, status);
                let directory = world.env.path(&label);
                world.directory_for_copies(&directory);
                let line = format!("{} alias={label}", world.sftp(&directory, ""));
                world.hosts.push(Host { label, cell: None, line, directory });
            }
        }
        world
    }

    /// Makes the host of a cell.
    fn host(&mut self, cell: Cell) -> Host {
        let label = cell.label();
        let signs = Signs::of(&self.env.path("signs"), &label);
        let directory = self.env.path(&label);
        let backend: SocketAddr = self.sshd.hosts()[0].parse().expect("an address");
        let mut options = String::new();
        let entry = match cell.made {
            Made::Name => {
                let name = format!("{label}.{DOMAIN}");
                let port = self.sshd.port();
                self.env.trust(&format!("[{name}]:{port} {}\n", self.sshd.public_key(0)));
                format!("{name}:{port}")
            }
            Made::Nobody => refused_address(Ipv4Addr::LOCALHOST.into()).expect("a free port").to_string(),
            Made::OtherKey => {
                let address = self.through(HOST, backend, NEVER, &signs);
                self.trust(address, &Key::generate(KeyKind::Ed25519).public_line());
                address.to_string()
            }
            Made::OtherUser => format!("nobody-of-that-name@{backend}"),
            Made::Endless => {
                options = format!(" timeout={COMMAND}");
                backend.to_string()
            }
            Made::NoChannel => {
                let reject_channel_open = Some(ChannelOpenFailure::AdministrativelyProhibited);
                self.serve(Config { reject_channel_open, ..Config::default() }).to_string()
            }
            Made::NoCommand => self.script(vec![Step::RejectExec]).to_string(),
            Made::Channels => {
                let fault = Some(crate::embedded::Fault::FloodOfChannels);
                self.serve(Config { fault, ..Config::default() }).to_string()
            }
            Made::ClosedOutput => self.script(vec![Step::Stdout(begun().into_bytes()), Step::Close]).to_string(),
            Made::NoStatus => self.script(vec![Step::Stdout(begun().into_bytes()), Step::Eof, Step::Close]).to_string(),
            Made::ReadOnly => {
                self.directory_for_copies(&directory);
                self.sftp(&directory, "-R")
            }
            Made::NoForwarding => {
                let hop = self.serve(Config { allow_forwarding: false, ..Config::default() });
                options = format!(" proxy={hop}");
                backend.to_string()
            }
            Made::Proxy(strike) if cell.phase == Phase::Hop => {
                let hop = self.through(HOP, backend, strike, &signs);
                self.trust(hop, &self.sshd.public_key(0));
                options = format!(" proxy={hop}");
                self.sshd.hosts()[1].clone()
            }
            Made::Proxy(strike) if cell.phase == Phase::Sftp => {
                self.directory_for_copies(&directory);
                let target = self.sftp(&directory, "").parse().expect("an address");
                let key = self.copied_to.last().map(|sshd| sshd.public_key(0)).expect("it was just made");
                let address = self.through(HOST, target, strike, &signs);
                self.trust(address, &key);
                address.to_string()
            }
            Made::Proxy(strike) => {
                let address = self.through(HOST, backend, strike, &signs);
                self.trust(address, &self.sshd.public_key(0));
                address.to_string()
            }
        };
        if !matches!(cell.made, Made::Proxy(strike) if waits(strike.at)) {
            signs.let_go();
        }
        let line = if cell.phase == Phase::Sftp {
            format!("{entry} alias={label}{options}")
        } else {
            format!("{entry} alias={label}{options} arg.cell={label}")
        };
        Host { label, cell: Some(cell), line, directory }
    }

    fn through(&self, at: Ipv4Addr, target: SocketAddr, strike: Strike, signs: &Signs) -> SocketAddr {
        self.proxies.start(at, target, strike, signs.clone())
    }

    /// Makes `key` the known one of a proxy.
    fn trust(&self, address: SocketAddr, key: &str) {
        self.env.trust(&format!("[{}]:{} {key}\n", address.ip(), address.port()));
    }

    fn serve(&mut self, config: Config) -> SocketAddr {
        let authorised = self.env.public_lines();
        let server = Server::start(Config { threads: 1, authorised, ..config });
        self.env.trust(&server.known_hosts());
        let address = server.addr();
        self.servers.push(server);
        address
    }

    fn script(&mut self, steps: Vec<Step>) -> SocketAddr {
        self.serve(Config { behaviour: Behaviour::Script(steps), ..Config::default() })
    }

    /// A sshd whose SFTP server begins in `directory`; gives its address.
    fn sftp(&mut self, directory: &std::path::Path, options: &str) -> String {
        let config = format!("Subsystem sftp {} {options} -d {}", sftp_server().display(), directory.display());
        let sshd = Sshd::start(&self.env, Setup { config: &config, ..Setup::default() });
        let host = sshd.hosts()[0].clone();
        self.copied_to.push(sshd);
        host
    }

    fn directory_for_copies(&self, directory: &std::path::Path) {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join(TARGET), OLD).expect("a file");
    }

    /// The hosts of one run: the healthy ones, and those cells that make pssh exit with `status`; for copies or for commands.
    pub(super) fn group(&self, status: i32, copies: bool) -> Vec<&Host> {
        let belongs = |host: &&Host| match &host.cell {
            Some(cell) => cell.status() == status && (cell.phase == Phase::Sftp) == copies,
            None if copies => WELL.iter().any(|label| host.label == copied_well(label, status)),
            None => WELL.contains(&host.label.as_str()),
        };
        self.hosts.iter().filter(belongs).collect()
    }

    /// Writes a hosts file.
    pub(super) fn list(&self, name: &str, hosts: &[&Host]) -> PathBuf {
        let lines: String = hosts.iter().map(|host| host.line.clone() + "\n").collect();
        self.env.file(name, lines)
    }

    /// The command: it says where it is, waits until it may go on, and is long over before a test is.
    pub(super) fn command(&self) -> String {
        format!(
            "d='{}' c=%(cell)s; echo {BEGUN}; : > \"$d/$c.here\"; i=0; \
             until [ -e \"$d/$c.go\" ] || [ $i = 400 ]; do sleep 0.1; i=$((i + 1)); done; \
             case $c in output-flood) while :; do yes flood | head -c 300000; sleep 0.1; done;; output-*) echo end;; esac",
            self.env.path("signs").display()
        )
    }

    /// A run on `hosts`, in which the name server is the only one.
    pub(super) fn run(&self, name: &str, hosts: &[&Host], copies: bool, mark: &str) -> Pssh {
        let list = self.list(&format!("{name}.hosts"), hosts);
        let connect = CONNECT.to_string();
        let program = if copies { Program::Pscp } else { Program::Pssh };
        let pssh = self.env.run_of(program).arg("-h").arg(list);
        let pssh = pssh.args(["--json", "--num-retries", "1", "-p", "200", "--connect-timeout", &connect]);
        let pssh = pssh.variable(MARK, mark).limit(90);
        let pssh =
            if copies { pssh.arg(self.env.path("source")).arg(TARGET) } else { pssh.args(["--", &self.command()]) };
        match &self.names {
            None => pssh,
            Some(_) => {
                let file = self.env.path("resolv.conf");
                // Only this process and what it starts see the file there.
                let script = "exec unshare -m sh -c 'mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"' ";
                pssh.shell(&format!("{script} '{}' \"$@\"", file.display()))
            }
        }
    }

    /// Fails unless the target of a copy is what the outcome says: the new file, or the old one as it was.
    pub(super) fn check_copy(&self, host: &Host, end: &End, run: &Run) {
        let found = fs::read(host.directory.join(TARGET)).expect("the target of a copy");
        let is_new = found.len() == NEW && found.iter().enumerate().all(|(place, byte)| *byte == (place % 251) as u8);
        let fits = if end.outcome == "ok" { is_new } else { found == OLD };
        run.check(fits, &format!("{}: {} bytes in place", host.label, found.len()));
        fs::write(host.directory.join(TARGET), OLD).expect("a file");
    }

    /// Lets every command that still waits go, and waits until none is left.
    pub(super) fn leave(&self) {
        self.hosts.iter().for_each(|host| Signs::of(&self.env.path("signs"), &host.label).let_go());
        self.sshd.wait_for_processes("", 0);
    }
}

/// The name of a variable that every process of a run here has.
pub(super) const MARK: &str = "PSSH_TEST_FAULTS";

/// The first line of a command.
fn begun() -> String {
    format!("{BEGUN}\n")
}

/// How a host has ended, by the JSON of the run.
#[derive(Debug)]
pub(super) struct End {
    /// The word, with the phase where there is one.
    pub(super) outcome: String,
    pub(super) message: String,
    /// From the moment when a worker took it; where none has, since there is no address, from the start of the run.
    pub(super) time: Duration,
    pub(super) stdout: String,
    /// Whether it is said that the command may still be running.
    pub(super) may_run: bool,
}

/// Returns the end of every host, by its label. Fails unless exactly `hosts` have one.
#[track_caller]
pub(super) fn ends(run: &Run, hosts: &[&Host]) -> BTreeMap<String, End> {
    let (mut ends, mut printed): (BTreeMap<String, End>, BTreeMap<String, String>) = Default::default();
    let mut begun = None;
    for line in run.stdout_text().lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let time_of_day = seconds_of_day(&text("time"));
        let since = time_of_day - *begun.get_or_insert(time_of_day);
        match event["event"].as_str() {
            Some("output") if event["stream"] == "stdout" => {
                printed.entry(text("label")).or_default().push_str(&text("text"));
            }
            Some("end") => {
                let outcome = format!("{} {}", text("outcome"), text("phase")).trim_end().to_owned();
                // Midnight may have been meanwhile.
                let seconds = event["seconds"]["total"].as_f64().unwrap_or(since.rem_euclid(86_400.0));
                // What looking the name up has taken counts too, where that is what there is to see.
                let is_named = text("label").starts_with("resolve-");
                let time = Duration::from_secs_f64(if is_named { seconds.max(since) } else { seconds });
                let may_run = event["may_still_run"] == true || text("hint").contains("may still be running");
                let end = End { outcome, message: text("message"), time, stdout: String::new(), may_run };
                let before = ends.insert(text("label"), end);
                run.check(before.is_none(), &format!("{} has ended twice", text("label")));
            }
            _ => {}
        }
    }
    for (label, text) in printed {
        ends.get_mut(&label).expect("who prints ends").stdout = text;
    }
    let expected: Vec<String> = hosts.iter().map(|host| host.label.clone()).collect();
    let mut sorted = expected.clone();
    sorted.sort();
    run.check(ends.keys().eq(sorted.iter()), &format!("one end for each of {expected:?}"));
    ends
}

/// `2026-11-24T14:01:35.278697Z` without the day, in seconds.
fn seconds_of_day(time: &str) -> f64 {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock.trim_end_matches('Z'));
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or_default())
}

/// What is wrong with the end of a host.
pub(super) fn problem(host: &Host, end: &End) -> Option<String> {
    let Some(cell) = &host.cell else {
        let fits = end.outcome == "ok" && (end.stdout == begun() || !WELL.contains(&host.label.as_str()));
        return (!fits).then(|| format!("a healthy host: {end:?}"));
    };
    if !cell.ends.contains(&end.outcome.as_str()) {
        return Some(format!("{} instead of {}: {}", end.outcome, cell.ends.join(" or "), end.message));
    }
    // From the exec request on nobody here knows, unless the server says so, or that the command has been stopped.
    let is_known = cell.phase < Phase::Exec || matches!(cell.made, Made::NoCommand | Made::Endless);
    let unknown = !is_known && !matches!(cell.phase, Phase::Sftp | Phase::Hop);
    if unknown && end.outcome != "ok" && !end.may_run {
        return Some(format!("it is not said that the command may still be running: {}", end.message));
    }
    let (least, most) = cell.by.bounds();
    // The clocks of the kernel and of JSON are rounded.
    let early = end.time + Duration::from_millis(50) < Duration::from_secs(least);
    if early || end.time > Duration::from_secs(most) {
        return Some(format!("{:?} instead of {least} to {most} s: {}", end.time, end.message));
    }
    let began = matches!(cell.phase, Phase::Output | Phase::ExitStatus | Phase::Close);
    let expected = match (cell.phase, end.outcome.as_str()) {
        (Phase::Output, "ok") => begun() + "end\n",
        (Phase::Sftp, _) => String::new(),
        (_, "ok") => begun(),
        _ if began => begun(),
        _ => String::new(),
    };
    let printed = if cell.made == Made::Endless { end.stdout.starts_with(&expected) } else { end.stdout == expected };
    (!printed).then(|| format!("it printed {:?}, and then {:.2?}: {}", end.stdout, end.time, end.message))
}
