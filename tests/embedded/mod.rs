//! An SSH server inside the test process: real key exchange, real authentication, and then either real `sh -c` children or
//! exactly the misbehaviour that a test asks for.
//!
//! Everything listens on 127.0.0.0/8 only, since any client that can log in may run commands as the user who runs the tests.
//! The API is synchronous: a [`Server`] owns a tokio runtime on threads of its own. Dropping it closes the listeners and
//! the connections and kills the process groups of the commands that it started.
//!
//! ```ignore
//! let user = Key::generate(KeyKind::Ed25519);
//! let server = Server::start(Config { authorised: vec![user.public_line()], ..Config::default() });
//! let identity = user.write(dir.path(), "id");
//! std::fs::write(&known_hosts, server.known_hosts_line("127.0.0.1"))?;
//! ```
#![allow(dead_code, reason = "compiled into several targets, none of which uses the whole of it")]

mod channel;
mod config;
mod exec;
mod fault;
mod handler;
mod key;
mod log;
mod process;
mod relay;
mod script;
mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::PublicKey;
use russh::server;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};

#[allow(unused_imports, reason = "not every target names all of them")]
pub(crate) use self::{
    config::{Config, Prompt},
    fault::Fault,
    key::{Key, KeyKind},
    log::{Event, Record},
    process::{raise_files, wait_or_kill},
    script::{Behaviour, Step},
    wire::End,
};
#[allow(unused_imports, reason = "not every target names it")]
pub(crate) use russh::ChannelOpenFailure;

/// How many times a port that is free on the first address but taken on another is given up for a new one.
const PORT_ATTEMPTS: usize = 20;

/// What the tasks of one server share.
struct Shared {
    config: Config,
    transport: Arc<server::Config>,
    authorised: Vec<PublicKey>,
    log: log::Log,
    children: process::Children,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

/// A running server.
pub(crate) struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    /// Taken by `drop`.
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts to listen; panics where it cannot, since a test cannot go on without its server.
    pub(crate) fn start(config: Config) -> Self {
        match Self::try_start(config) {
            Ok(server) => server,
            Err(error) => panic!("the embedded SSH server does not start: {error}"),
        }
    }

    /// Starts to listen. Addresses other than 127.0.0.1 need configuration on some systems, for example macOS.
    pub(crate) fn try_start(mut config: Config) -> io::Result<Self> {
        if let Some(address) = config.addresses.iter().find(|address| !address.is_loopback()) {
            return Err(io::Error::other(format!("{address} is not a loopback address")));
        }
        if config.host_keys.is_empty() {
            config.host_keys.push(Key::generate(KeyKind::Ed25519));
        }
        let authorised = config.authorised.iter().map(|line| PublicKey::from_openssh(line));
        let authorised = authorised.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.threads)
            .thread_name("embedded-ssh")
            .enable_all()
            .build()?;
        let listeners = {
            let _context = runtime.enter();
            if config.is_one_listener {
                vec![listen_on_device(config.port)?]
            } else {
                listen(&config.addresses, config.port)?
            }
        };
        let port = listeners[0].local_addr()?.port();
        let addresses = config.addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
        let shared = Arc::new(Shared {
            transport: Arc::new(config.transport()),
            authorised,
            config,
            log: log::Log::default(),
            children: process::Children::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        for listener in listeners {
            runtime.spawn(accept(listener, Arc::clone(&shared)));
        }
        Ok(Self { shared, addresses, runtime: Some(runtime) })
    }

    /// The first address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The port, which all addresses share.
    pub(crate) fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The line of a known_hosts file that makes clients trust the first host key under the name `host`.
    pub(crate) fn known_hosts_line(&self, host: &str) -> String {
        self.shared.config.host_keys[0].known_hosts_line(host, self.port())
    }

    /// One line per address for all host keys, each line ended by a newline.
    pub(crate) fn known_hosts(&self) -> String {
        let keys = &self.shared.config.host_keys;
        let lines = self.addresses.iter().flat_map(|address| {
            let host = address.ip().to_string();
            keys.iter().map(move |key| key.known_hosts_line(&host, address.port()) + "\n")
        });
        lines.collect()
    }

    /// TCP connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// TCP connections open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Process groups of commands that are alive now.
    pub(crate) fn running(&self) -> usize {
        self.shared.children.alive()
    }

    /// Commands of exec requests, in the order of their arrival.
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = self.logged().into_iter().filter_map(|record| match record.event {
            Event::Exec { command } => Some(command),
            _ => None,
        });
        commands.collect()
    }

    /// Judged attempts to log in: keys refused at the offer, signatures, passwords and answers, but not `none`.
    pub(crate) fn auth_attempts(&self) -> usize {
        let judged = |record: &Record| matches!(record.event, Event::Auth { method, .. } if method != "none");
        self.logged().iter().filter(|record| judged(record)).count()
    }

    /// Everything that clients did so far.
    pub(crate) fn logged(&self) -> Vec<Record> {
        self.shared.log.records()
    }

    /// Waits until `condition` holds, because the server hears of a disconnect later than the client's exit. False when
    /// `limit` passed first.
    pub(crate) fn wait_until(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !condition(self) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.children.kill_all();
        // The tasks that reap the children are still alive here, so that no zombie outlives the server.
        self.wait_until(Duration::from_secs(2), |server| server.shared.children.all_leaders_exited());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// An address of the given interface on which nothing listens: a connection to it is refused.
pub(crate) fn refused_address(ip: IpAddr) -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((ip, 0))?.local_addr()
}

/// Binds every address to one port.
fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut attempt = 1;
    loop {
        match listen_on(addresses, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempt < PORT_ATTEMPTS => {
                attempt += 1
            }
            result => return result,
        }
    }
}

fn listen_on(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(address, port))?;
        // std's backlog of 128 makes the kernel drop SYNs, and clients wait for a second, when hundreds connect at once.
        let listener = socket.listen(4096)?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Binds a port of the loopback device, whatever the address.
#[cfg(target_os = "linux")]
fn listen_on_device(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind_device(Some(b"lo"))?;
    socket.bind(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(4096)
}

#[cfg(not(target_os = "linux"))]
fn listen_on_device(_port: u16) -> io::Result<TcpListener> {
    Err(io::Error::other("one listener for all addresses works on Linux only"))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, Arc::clone(&shared)));
            }
            // Out of file descriptors, most likely: others will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
    shared.open.fetch_add(1, Ordering::SeqCst);
    shared.log.add(number, Event::Connected { peer });
    match shared.config.fault_of(number).filter(|fault| !fault.needs_ssh()) {
        Some(fault) => fault::suffer(fault, &stream).await,
        None => handler::serve(stream, peer, number, &shared).await,
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

/// A poisoned lock only means that another test thread panicked: the data are still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
