//! The hosts: the SSH server of the tests, in a process of its own, so that what it costs is nobody's in the results.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::delay;
use crate::embedded::{self, Behaviour, Config, Event, Key, KeyKind, Server, Step};
use crate::scenarios::{Login, Work};

/// The argument that makes this program the server.
pub(crate) const ARGUMENT: &str = "--be-the-server";
/// The most hosts that have an address of their own.
pub(crate) const MOST_HOSTS: usize = 100_000;
/// Where the jump host listens.
const BASTION: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 99, 1));
/// How long the last connections of a run may take to be closed.
const SETTLING: Duration = Duration::from_secs(5);

/// The address of a host. All have 13 characters: some tools break lines, and then only lengths can be checked.
pub(crate) fn address(host: usize) -> IpAddr {
    let place = |number: usize| u8::try_from(100 + number % 100).unwrap_or(u8::MAX);
    // From 127.1 to 127.9, and then 127.0.
    let first = u8::try_from((1 + host / 10_000) % 10).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(127, first, place(host / 100), place(host)))
}

/// The host whose address this is.
pub(crate) fn host_of(address: &[u8]) -> Option<usize> {
    let rest = address.strip_prefix(b"127.")?;
    let digit =
        |place: usize| rest.get(place).filter(|byte| byte.is_ascii_digit()).map(|byte| usize::from(byte - b'0'));
    let is_ours = rest.len() == 9 && rest[1..3] == *b".1" && rest[5..7] == *b".1";
    let numbers =
        || Some((digit(3)? * 1000 + digit(4)? * 100 + digit(7)? * 10 + digit(8)?) + (digit(0)? + 9) % 10 * 10_000);
    if is_ours { numbers() } else { None }
}

/// What the hosts are to be.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) hosts: usize,
    pub(crate) work: Work,
    pub(crate) login: Login,
    /// Of the link, one way.
    pub(crate) delay: Duration,
}

/// What clients did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// TCP connections to hosts.
    pub(crate) connections: u64,
    /// Logins on hosts.
    pub(crate) logins: u64,
    /// Commands.
    pub(crate) commands: u64,
    /// Logins on the jump host.
    pub(crate) bastion_logins: u64,
}

impl Counts {
    /// What has come since `before`.
    pub(crate) fn since(self, before: Counts) -> Counts {
        Counts {
            connections: self.connections - before.connections,
            logins: self.logins - before.logins,
            commands: self.commands - before.commands,
            bastion_logins: self.bastion_logins - before.bastion_logins,
        }
    }
}

/// The server's process, seen from the benchmark. Dropping it ends it.
pub(crate) struct Hosts {
    child: Child,
    /// Closed by `drop`, which is how the server learns that it is over.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where the hosts listen.
    pub(crate) port: u16,
    /// Where the other end of the link listens, under the same addresses.
    pub(crate) far_port: u16,
    pub(crate) bastion: IpAddr,
    pub(crate) bastion_port: u16,
    /// The jump host behind the link.
    pub(crate) far_bastion_port: u16,
}

impl Hosts {
    /// Starts the server, which writes the user's `key` and the hosts' `known_hosts` into `directory`.
    pub(crate) fn start(wanted: Wanted, directory: &Path) -> Result<Hosts> {
        let program = std::env::current_exe().context("cannot find out what this program is")?;
        let (kind, number) = wanted.work.to_numbers();
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(directory).args([kind, number, wanted.hosts as u64].map(|number| number.to_string()));
        command.arg(wanted.delay.as_micros().to_string());
        command.arg(u64::from(wanted.login == Login::PostQuantum).to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("the server has no output")?;
        let mut hosts = Hosts {
            child,
            requests,
            answers: BufReader::new(answers),
            port: 0,
            far_port: 0,
            bastion: BASTION,
            bastion_port: 0,
            far_bastion_port: 0,
        };
        let ready = hosts.answer()?;
        let port = |name: &str| {
            let port = ready[name].as_u64().and_then(|port| u16::try_from(port).ok());
            port.with_context(|| format!("the server says {ready}"))
        };
        (hosts.port, hosts.far_port) = (port("port")?, port("far_port")?);
        (hosts.bastion_port, hosts.far_bastion_port) = (port("bastion_port")?, port("far_bastion_port")?);
        Ok(hosts)
    }

    /// What clients did so far, once the last of them is gone.
    pub(crate) fn counts(&mut self) -> Result<Counts> {
        let requests = self.requests.as_mut().context("the server is over")?;
        requests.write_all(b"\n").context("the server is gone")?;
        let answer = self.answer()?;
        let number = |name: &str| answer[name].as_u64().with_context(|| format!("the server says {answer}"));
        Ok(Counts {
            connections: number("connections")?,
            logins: number("logins")?,
            commands: number("commands")?,
            bastion_logins: number("bastion_logins")?,
        })
    }

    /// The round trip of the link: twice the time that the server's banner takes, which nobody has to ask for.
    pub(crate) fn round_trip(&self) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..15 {
            let stream = TcpStream::connect((address(0), self.far_port)).context("the link is down")?;
            let connected = Instant::now();
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let length = stream.peek(&mut [0]).context("no banner came over the link")?;
            ensure!(length == 1, "no banner came over the link");
            times.push(connected.elapsed() * 2);
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).context("the server is gone")?;
        ensure!(length > 0, "the server has ended: {:?}", self.child.wait());
        serde_json::from_str(&line).with_context(|| format!("the server says {line:?}"))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.requests = None;
        embedded::wait_or_kill(&mut self.child);
    }
}

/// The server itself, until its standard input ends.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let [directory, numbers @ ..] = arguments else { bail!("the server wants a directory") };
    let numbers = numbers.iter().map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?;
    let &[kind, number, hosts, delay, offers_all] = numbers.as_slice() else { bail!("the server wants five numbers") };
    let work = Work::from_numbers(kind, number).context("the server does not know that work")?;
    let hosts = usize::try_from(hosts)?;
    ensure!(hosts <= MOST_HOSTS, "there are addresses for {MOST_HOSTS} hosts only");
    embedded::raise_files();

    let directory = Path::new(directory);
    let user = Key::generate(KeyKind::Ed25519);
    user.write(directory, "key");
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let authorised = vec![user.public_line()];
    let server = Server::try_start(Config {
        addresses: (0..hosts).map(address).collect(),
        authorised: authorised.clone(),
        behaviour: behaviour(work),
        threads,
        only_curve25519: offers_all == 0,
        is_one_listener: true,
        allow_forwarding: false,
        ..Config::default()
    });
    let server = server.context("the hosts do not start")?;
    let bastion = Server::try_start(Config {
        addresses: vec![BASTION],
        authorised,
        behaviour: Behaviour::Script(vec![Step::RejectExec]),
        threads,
        only_curve25519: true,
        ..Config::default()
    });
    let bastion = bastion.context("the jump host does not start")?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let context = runtime.enter();
    let one_way = Duration::from_micros(delay);
    let addresses: Vec<IpAddr> = (0..hosts).map(address).collect();
    let (far_port, far_bastion_port) = if one_way > Duration::ZERO {
        (delay::listen(&addresses, server.port(), one_way)?, delay::listen(&[BASTION], bastion.port(), one_way)?)
    } else {
        (server.port(), bastion.port())
    };
    drop(context);

    let mut known = server.known_hosts() + &bastion.known_hosts();
    if one_way > Duration::ZERO {
        // The keys are the same at the other end of the link.
        known = known.replace(&format!("]:{} ", server.port()), &format!("]:{far_port} "))
            + &known.replace(&format!("]:{} ", bastion.port()), &format!("]:{far_bastion_port} "));
    }
    std::fs::write(directory.join("known_hosts"), known).context("cannot write known_hosts")?;

    let ports = json!({"port": server.port(), "far_port": far_port, "bastion_port": bastion.port(),
        "far_bastion_port": far_bastion_port});
    say(&ports)?;
    for line in std::io::stdin().lines() {
        line.context("cannot read what is asked")?;
        server.wait_until(SETTLING, |server| server.open_connections() == 0);
        bastion.wait_until(SETTLING, |server| server.open_connections() == 0);
        let count = |server: &Server, wanted: fn(&Event) -> bool| {
            server.logged().iter().filter(|record| wanted(&record.event)).count()
        };
        let is_login = |event: &Event| matches!(event, Event::LoggedIn { .. });
        say(&json!({"connections": server.connections(), "logins": count(&server, is_login),
            "commands": count(&server, |event| matches!(event, Event::Exec { .. })),
            "bastion_logins": count(&bastion, is_login)}))?;
    }
    Ok(())
}

fn behaviour(work: Work) -> Behaviour {
    match work {
        Work::Name | Work::Version => Behaviour::Name { after: Duration::ZERO },
        Work::Hold { seconds } => Behaviour::Name { after: Duration::from_secs(seconds) },
        Work::Lines { bytes } => Behaviour::Lines { bytes },
    }
}

fn say(answer: &Value) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{answer}").and_then(|()| stdout.flush()).context("nobody listens to the server")
}
