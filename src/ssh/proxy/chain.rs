//! Jump hosts: connections to them that all hosts behind them share.
//!
//! A jump host is a host like any other: the same connect, host-key check and authentication. There is one [`JumpHost`]
//! for every distinct chain of hops, reached through the one before it. Sessions behind it run over a socket whose
//! other end its thread connects to a channel, and do not know the difference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::connection::Plan;
use super::jump_host::JumpHost;
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::hosts::proxy::Hop;
use crate::ssh::destination::Destination;
use crate::system::lock::lock;

/// How long connections may take to disconnect at the end of the run.
const GOODBYE: Duration = Duration::from_secs(1);

/// Returns the host of a hop, or what is wrong with it.
pub type HostOf = Box<dyn Fn(&Hop) -> Result<Arc<Destination>, String> + Send + Sync>;

/// All jump hosts of a run, or of a client.
pub struct JumpHosts {
    plan: Arc<Plan>,
    host_of: Mutex<HostOf>,
    hosts: Mutex<HashMap<Vec<Hop>, Arc<JumpHost>>>,
}

impl JumpHosts {
    /// Starts without any; `host_of` resolves hops.
    pub fn new(plan: Plan, host_of: HostOf) -> JumpHosts {
        JumpHosts { plan: Arc::new(plan), host_of: Mutex::new(host_of), hosts: Mutex::default() }
    }

    /// Lets further logins use what `host_of` returns. Connections stay.
    pub fn renew(&self, host_of: HostOf) {
        for (chain, jump_host) in &*lock(&self.hosts) {
            // One that is named no longer is not logged in to.
            if let Some(Ok(host)) = chain.last().map(&host_of) {
                jump_host.set_host(host);
            }
        }
        *lock(&self.host_of) = host_of;
    }

    /// Returns the last host of a chain of `hops`. Chains with the same first hops share those connections.
    ///
    /// # Errors
    /// The outcome of the job: ssh_config is wrong about a hop.
    pub fn reach(&self, hops: &[Hop]) -> Result<Arc<JumpHost>, Outcome> {
        let failed = |detail: String| HostError::Local { doing: "resolving the jump host", detail, hint: None };
        let mut known = lock(&self.hosts);
        let mut last = None;
        for length in 1..=hops.len() {
            let chain = &hops[..length];
            let jump_host = match known.get(chain) {
                Some(jump_host) => Arc::clone(jump_host),
                None => {
                    let host = lock(&self.host_of)(&hops[length - 1]).map_err(failed)?;
                    let jump_host = Arc::new(JumpHost::new(host, last, &self.plan));
                    known.insert(chain.to_vec(), Arc::clone(&jump_host));
                    jump_host
                }
            };
            last = Some(jump_host);
        }
        last.ok_or_else(|| failed("no jump host is named".to_owned()).into())
    }

    /// Whether no jump host was needed so far.
    pub fn is_empty(&self) -> bool {
        lock(&self.hosts).is_empty()
    }

    /// Lets the next job log in again where the last login has just failed.
    pub fn forget_failures(&self) {
        lock(&self.hosts).values().for_each(|host| host.forget_failure());
    }

    /// Ends all connections: no job needs them any more. Waits a moment for them to disconnect.
    pub fn close(&self) {
        let mut hosts: Vec<(usize, Arc<JumpHost>)> = Vec::new();
        hosts.extend(lock(&self.hosts).iter().map(|(chain, host)| (chain.len(), Arc::clone(host))));
        // The last of a chain first: its disconnect message goes through the others.
        hosts.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        let until = Instant::now() + GOODBYE;
        hosts.iter().for_each(|(_, host)| host.close(until));
    }
}

impl Drop for JumpHosts {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::cli::options;
    use crate::hosts::{HostSpec, Origin};
    use crate::plan::destinations::Destinations;
    use crate::plan::settings::{Environment, Settings};
    use crate::ssh::embedded::{Config, Event, Key, KeyKind, Server};
    use crate::ssh::watch::Watch;
    use crate::system::cancel::Cancel;
    use crate::system::terminal::Terminal;

    const MIB: usize = 1 << 20;

    /// A jump host in this process, and the login to it.
    struct Bastion {
        server: Server,
        /// The address to connect to instead, and whether it forwards data.
        address: SocketAddr,
        frozen: Arc<AtomicBool>,
        jump_hosts: JumpHosts,
        destinations: Arc<Destinations>,
        cancel: Cancel,
        _dir: TempDir,
    }

    impl Bastion {
        fn new() -> Bastion {
            let dir = TempDir::new().expect("a directory");
            let key = Key::generate(KeyKind::Ed25519);
            let file = key.write(dir.path(), "id");
            let server = Server::start(Config { authorised: vec![key.public_line()], ..Config::default() });
            let known_hosts = dir.path().join("known_hosts");
            let (target, frozen) = (server.addr(), Arc::new(AtomicBool::new(false)));
            let state = Arc::clone(&frozen);
            let address = serve(move |client| {
                let server = TcpStream::connect(target).expect("the server");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let frozen = Arc::clone(&state);
                    thread::spawn(move || pass_on(from, to, &frozen));
                }
            });
            let line = server.known_hosts_line("relay");
            let key = line.split_once(' ').expect("a name and a key").1;
            std::fs::write(&known_hosts, format!("[{}]:{} {key}\n", address.ip(), address.port())).expect("a file");
            let cancel = Cancel::new().expect("a pipe");
            let config = dir.path().join("config");
            std::fs::write(&config, "ServerAliveInterval 2\nServerAliveCountMax 2\n").expect("a file");
            let words = ["pssh", "--no-agent", "--identity"].map(OsString::from).into_iter();
            let words =
                words.chain([file.into(), "--known-hosts".into(), known_hosts.into(), "-F".into(), config.into()]);
            let opts = options::parse(crate::plan::program::Program::Pssh, words.collect::<Vec<_>>())
                .expect("a good command line");
            let environment = Environment { variable: &|_| None, login: Some("me".to_owned()), home: None };
            let settings = Settings::resolve(&opts, &environment, &HashMap::new()).expect("good settings");
            let terminal = Terminal::new().expect("a pipe");
            let destinations = Destinations::new(Arc::new(settings), None, Arc::new(terminal), &cancel);
            let destinations = Arc::new(destinations.unwrap_or_else(|error| panic!("{error}")));
            let plan = Plan { connections: 1, window: 256 << 10, cancel: cancel.clone() };
            let known = Arc::clone(&destinations);
            let jump_hosts =
                JumpHosts::new(plan, Box::new(move |hop| known.hop(hop).map_err(|error| error.to_string())));
            Bastion { server, address, frozen, jump_hosts, destinations, cancel, _dir: dir }
        }

        /// Opens a blocking socket to `target` through the jump host.
        fn connect(&self, target: SocketAddr) -> UnixStream {
            let address = self.address;
            let hop = Hop { user: None, name: address.ip().to_string(), port: Some(address.port()) };
            let name = target.ip().to_string();
            let spec = HostSpec::new((None, name, Some(target.port())), Origin::Text("hosts"));
            let hosts = self.destinations.hosts(std::slice::from_ref(&spec)).unwrap_or_else(|error| panic!("{error}"));
            let host = &hosts[0];
            let mut watch = Watch::new(&self.cancel, Duration::from_secs(10));
            let jump_host = self.jump_hosts.reach(&[hop]).unwrap_or_else(|outcome| panic!("{outcome}"));
            let way = jump_host.connect(host, 1, &mut watch);
            let stream = UnixStream::from(way.unwrap_or_else(|outcome| panic!("{outcome}")).socket);
            stream.set_nonblocking(false).expect("a socket");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
            stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a socket");
            stream
        }
    }

    fn pass_on(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
        to.set_nodelay(true).expect("a socket");
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            while frozen.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Starts a TCP server that handles every connection like this.
    fn serve(with: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("a name");
        let with = Arc::new(with);
        // It ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let with = Arc::clone(&with);
                thread::spawn(move || with(stream));
            }
        });
        address
    }

    /// Returns byte `number` of a sequence that differs at all nearby offsets.
    fn pattern(number: usize) -> u8 {
        (number ^ (number >> 8) ^ (number >> 16)) as u8
    }

    fn patterned(length: usize) -> Vec<u8> {
        (0..length).map(pattern).collect()
    }

    /// Sends `length` bytes.
    fn source(length: usize) -> SocketAddr {
        serve(move |mut stream| drop(stream.write_all(&patterned(length))))
    }

    fn read_all(mut stream: UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the rest");
        bytes
    }

    #[test]
    fn a_slow_reader_holds_up_nobody_else() {
        let bastion = Bastion::new();
        let slow = bastion.connect(source(16 * MIB));
        // Long enough to fill its windows and buffers.
        thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        assert!(read_all(bastion.connect(source(16 * MIB))) == patterned(16 * MIB));
        for _ in 0..20 {
            assert_eq!(read_all(bastion.connect(source(10))), patterned(10));
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(read_all(slow) == patterned(16 * MIB), "and loses nothing itself");
        assert_eq!(bastion.server.connections(), 1);
    }

    #[test]
    fn a_session_that_goes_in_the_middle_harms_nobody_else() {
        let bastion = Bastion::new();
        let deaf = serve(|stream| {
            thread::sleep(Duration::from_secs(30));
            drop(stream);
        });
        let echo = serve(|mut stream| {
            let mut reader = stream.try_clone().expect("a socket");
            drop(std::io::copy(&mut reader, &mut stream));
        });
        for _ in 0..5 {
            let mut gone = bastion.connect(deaf);
            gone.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
            // Enough to have data in flight on every part of the way.
            for _ in 0..100 {
                let _ = gone.write(&[0; 64 * 1024]);
            }
            drop(gone);
        }
        let mut stream = bastion.connect(echo);
        let mut writer = stream.try_clone().expect("a socket");
        let writing = thread::spawn(move || writer.write_all(&patterned(5 * MIB)));
        let mut echoed = vec![0; 5 * MIB];
        stream.read_exact(&mut echoed).expect("all of it");
        assert!(echoed == patterned(5 * MIB));
        writing.join().expect("the thread").expect("all sent");
        assert_eq!(bastion.server.connections(), 1);
    }

    #[test]
    fn a_jump_host_that_falls_silent_is_given_up() {
        let bastion = Bastion::new();
        let quiet = serve(|stream| {
            thread::sleep(Duration::from_secs(60));
            drop(stream);
        });
        let stream = bastion.connect(quiet);
        stream.set_read_timeout(Some(Duration::from_secs(6))).expect("a socket");
        let mut byte = [0];
        // A signal of another test interrupts a read with a timeout.
        let mut read = || loop {
            match (&stream).read(&mut byte).map_err(|error| error.kind()) {
                Err(std::io::ErrorKind::Interrupted) => {}
                other => return other,
            }
        };
        let asleep = Err(std::io::ErrorKind::WouldBlock);
        assert_eq!(read(), asleep, "it answers, so that silence of the host is nothing");
        bastion.frozen.store(true, Ordering::SeqCst);
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        assert_eq!(read(), Ok(0), "its end");
    }

    #[test]
    fn nothing_is_left_when_all_is_over() {
        let bastion = Bastion::new();
        for _ in 0..50 {
            assert_eq!(read_all(bastion.connect(source(1000))), patterned(1000));
        }
        bastion.jump_hosts.close();
        assert!(bastion.server.wait_until(Duration::from_secs(5), |server| server.open_connections() == 0));
        let goodbye = |server: &Server| server.logged().iter().any(|record| record.event == Event::Disconnect);
        assert!(bastion.server.wait_until(Duration::from_secs(5), goodbye), "it says goodbye");
    }
}
