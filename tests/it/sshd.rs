//! A real sshd on any number of loopback addresses: a loop in this process accepts the connections and starts `sshd -i` for
//! each, so that one configuration and one set of keys serve hundreds of "hosts". sshd itself can listen on 16 at most.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::{User, getuid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bin::{Env, INSTALL, Pssh, ssh_keygen, tool};
use crate::embedded::{Key, KeyKind};

/// Connections that may wait to be accepted: as many as any test has hosts.
const BACKLOG: i32 = 1024;
/// How many times a port that another process has taken is replaced by a new one.
const ATTEMPTS: usize = 20;
/// How long an sshd whose client has gone may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Marks the environment of every command that a server of this process has started.
const MARK: &str = "PSSH_TEST_SERVER";

/// A key of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKey {
    Ed25519,
    Ecdsa,
    Rsa,
}

/// What a server is asked to be. The default is one host with an Ed25519 key for the user who runs the tests.
pub(crate) struct Setup<'a> {
    /// How many addresses it has: 127.0.1.1 and the following.
    pub(crate) hosts: usize,
    pub(crate) host_keys: &'a [HostKey],
    /// Whether the home's known_hosts gets a line for each address and key.
    pub(crate) trusted: bool,
    /// Lines of authorized_keys besides the home's own key.
    pub(crate) authorized: Vec<String>,
    /// More lines of sshd_config(5).
    pub(crate) config: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { hosts: 1, host_keys: &[HostKey::Ed25519], trusted: true, authorized: Vec::new(), config: "" }
    }
}

/// A running server. Dropping it ends its sessions and the commands that they have left behind.
pub(crate) struct Sshd {
    dir: TempDir,
    addresses: Vec<Ipv4Addr>,
    port: u16,
    host_keys: Vec<PathBuf>,
    mark: String,
    shared: Arc<Shared>,
    /// Dropped to end the loop.
    stop: Option<OwnedFd>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    children: Mutex<Vec<Child>>,
    accepted: AtomicUsize,
}

impl Sshd {
    /// A server that lets the key of `env` in.
    pub(crate) fn start(env: &Env, setup: Setup<'_>) -> Sshd {
        let trusted = setup.trusted;
        let mut server = Sshd::prepare(env, setup);
        let (listeners, port) = listen(&server.addresses);
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (shared, dir) = (Arc::clone(&server.shared), server.dir.path().to_owned());
        server.accepting = Some(thread::spawn(move || accept(&listeners, &stopped, &dir, &shared)));
        server.stop = Some(stop);
        server.port = port;
        if trusted {
            env.trust(&server.known_hosts());
        }
        server
    }

    /// The same as one sshd that listens by itself, for what it does only then, such as MaxStartups.
    pub(crate) fn daemon(env: &Env, setup: Setup<'_>) -> Sshd {
        let mut server = Sshd::prepare(env, setup);
        for _ in 0..ATTEMPTS {
            // Free at this moment; if another process takes it, sshd ends with an error.
            server.port = listen(&server.addresses).1;
            let mut command = Command::new(program());
            command.arg("-D").arg("-f").arg(server.dir.path().join("sshd_config"));
            command.arg("-E").arg(server.dir.path().join("log")).env_clear();
            for host in server.hosts() {
                command.arg("-o").arg(format!("ListenAddress {host}"));
            }
            let mut child = command.spawn().expect("sshd can be started");
            while let Ok(None) = child.try_wait() {
                if server.log().contains("Server listening on ") {
                    lock(&server.shared.children).push(child);
                    env.trust(&server.known_hosts());
                    return server;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("sshd does not listen:\n{}", server.log());
    }

    /// Everything but the listening.
    fn prepare(env: &Env, setup: Setup<'_>) -> Sshd {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("{MARK}={}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let sshd = program();
        let dir = TempDir::new().expect("a temporary directory");
        // authorized_keys is read as the user who logs in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let host_keys: Vec<PathBuf> = setup.host_keys.iter().map(|kind| host_key(dir.path(), *kind)).collect();
        let authorized = [env.public_lines(), setup.authorized].concat().join("\n") + "\n";
        let authorized_keys = dir.path().join("authorized_keys");
        fs::write(&authorized_keys, authorized).expect("authorized_keys");
        fs::set_permissions(&authorized_keys, fs::Permissions::from_mode(0o644)).expect("a mode");
        let mut config = format!(
            "AuthorizedKeysFile {}\nPermitRootLogin yes\nStrictModes no\nUsePAM no\nUseDNS no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nLogLevel VERBOSE\nSetEnv {mark} HOME={}\n",
            authorized_keys.display(),
            // Whatever the user's shell reads at its start is kept out, with the time it takes.
            dir.path().display()
        );
        for path in &host_keys {
            config += &format!("HostKey {}\n", path.display());
        }
        if !setup.config.contains("Subsystem ") {
            config += &format!("Subsystem sftp {}\n", sftp_server().display());
        }
        // The first value of most keywords counts.
        let config = format!("{}\n{config}", setup.config);
        fs::write(dir.path().join("sshd_config"), config).expect("sshd_config");
        check_config(&sshd, &dir.path().join("sshd_config"));

        Sshd {
            dir,
            addresses: addresses(setup.hosts),
            port: 0,
            host_keys,
            mark,
            shared: Arc::default(),
            stop: None,
            accepting: None,
        }
    }

    /// Goes down as for a reboot: refuses connections, and ends all sessions.
    pub(crate) fn go_down(&mut self) {
        self.stop = None;
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        lock(&self.shared.children).drain(..).for_each(|mut child| end(&mut child));
    }

    /// Comes back on the same port.
    pub(crate) fn come_back(&mut self) {
        let deadline = Instant::now() + GRACE;
        let again = |address: &Ipv4Addr| loop {
            match bind(SocketAddrV4::new(*address, self.port)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                bound => break bound.expect("the port is still free"),
            }
        };
        let listeners: Vec<TcpListener> = self.addresses.iter().map(again).collect();
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (shared, dir) = (Arc::clone(&self.shared), self.dir.path().to_owned());
        self.accepting = Some(thread::spawn(move || accept(&listeners, &stopped, &dir, &shared)));
        self.stop = Some(stop);
    }

    /// Replaces its first key, which is an Ed25519 key, for later connections.
    pub(crate) fn change_host_key(&self) {
        fs::remove_file(&self.host_keys[0]).expect("the key");
        host_key(self.dir.path(), HostKey::Ed25519);
    }

    /// The port of all addresses.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the addresses as in labels.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.addresses.iter().map(Ipv4Addr::to_string).collect()
    }

    /// The addresses as they are given to pssh.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("{address}:{}", self.port)).collect()
    }

    /// The first address as a label.
    pub(crate) fn label(&self) -> String {
        self.addresses[0].to_string()
    }

    /// Lines of known_hosts for all addresses and keys.
    pub(crate) fn known_hosts(&self) -> String {
        let keys: Vec<String> = self.host_keys.iter().map(|path| crate::bin::public_line(path)).collect();
        let lines = self.addresses.iter().flat_map(|address| {
            let name = format!("[{address}]:{}", self.port);
            keys.iter().map(move |key| format!("{name} {key}\n"))
        });
        lines.collect()
    }

    /// `TYPE BASE64` of a host key, in the order of the setup.
    pub(crate) fn public_key(&self, place: usize) -> String {
        crate::bin::public_line(&self.host_keys[place])
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The command lines of the remote processes that are alive, wherever they have been put.
    pub(crate) fn processes(&self) -> Vec<String> {
        marked(&self.mark).into_iter().map(|(_, command)| command).collect()
    }

    /// Waits until `count` remote processes have `words` in their command lines.
    #[track_caller]
    pub(crate) fn wait_for_processes(&self, words: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let processes = self.processes();
            let found = processes.iter().filter(|command| command.contains(words)).count();
            if found == count {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "expected {count} remote processes with {words:?} and found {processes:?}; the server says:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let mut children = lock(&self.shared.children);
        for child in children.iter_mut() {
            end(child);
        }
        for (pid, _) in marked(&self.mark) {
            // It fails if the command has just ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Ends one sshd: it hangs up its session. One whose client has gone ends by itself.
fn end(child: &mut Child) {
    let signal = |child: &Child, signal| {
        let _ = kill_process(Pid::from_child(child), signal);
    };
    let deadline = Instant::now() + GRACE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() > deadline {
            signal(child, Signal::KILL);
            let _ = child.wait();
            return;
        }
        signal(child, Signal::TERM);
        thread::sleep(Duration::from_millis(5));
    }
}

fn accept(listeners: &[TcpListener], stopped: &OwnedFd, dir: &Path, shared: &Shared) {
    let sshd = program();
    let mut polled: Vec<PollFd<'_>> = listeners.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
    polled.push(PollFd::new(stopped, PollFlags::IN));
    loop {
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => panic!("poll: {error}"),
            Ok(_) => {}
        }
        if polled.last().is_some_and(|stop| !stop.revents().is_empty()) {
            return;
        }
        for (listener, _) in listeners.iter().zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()) {
            while let Ok((stream, _)) = listener.accept() {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let child = serve(stream, &sshd, dir).expect("sshd can be started");
                lock(&shared.children).push(child);
            }
        }
        let mut children = lock(&shared.children);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn serve(stream: TcpStream, sshd: &Path, dir: &Path) -> std::io::Result<Child> {
    let output = fcntl_dupfd_cloexec(stream.as_fd(), 3)?;
    Command::new(sshd)
        .arg("-i")
        .arg("-f")
        .arg(dir.join("sshd_config"))
        .arg("-E")
        .arg(dir.join("log"))
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(output))
        .stderr(Stdio::null())
        .spawn()
}

/// The program, and what it needs where it runs as root.
pub(crate) fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    let found = dirs.map(|dir| dir.join("sshd")).find(|path| path.is_file());
    let Some(found) = found else {
        panic!("sshd is not installed, and these tests need it; {INSTALL}");
    };
    if getuid().is_root() {
        fs::create_dir_all("/run/sshd").expect("sshd's directory for privilege separation");
    }
    // It starts itself anew by its full name.
    fs::canonicalize(&found).unwrap_or(found)
}

/// The SFTP server that came with it, wherever the distribution has it.
pub(crate) fn sftp_server() -> PathBuf {
    let directories = ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec/ssh", "/usr/libexec"];
    let found =
        directories.iter().map(|directory| Path::new(directory).join("sftp-server")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("sftp-server is not installed, and these tests need it; {INSTALL}"))
}

/// Fails with sshd's own words if it does not take the configuration.
fn check_config(sshd: &Path, config: &Path) {
    let output = Command::new(sshd).arg("-t").arg("-f").arg(config).output().expect("sshd -t");
    assert!(
        output.status.success(),
        "sshd refuses its configuration (OpenSSH 9.2 or newer is needed): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn host_key(dir: &Path, kind: HostKey) -> PathBuf {
    let name = format!("host_{kind:?}");
    match kind {
        HostKey::Ed25519 => Key::generate(KeyKind::Ed25519).write(dir, &name),
        HostKey::Ecdsa => Key::generate(KeyKind::EcdsaP256).write(dir, &name),
        HostKey::Rsa => {
            let path = dir.join(name);
            ssh_keygen(&path, &["-t", "rsa", "-b", "2048"]);
            path
        }
    }
}

/// A poisoned lock only means that a test has failed: what it guards is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 127.0.1.1 and the following.
pub(crate) fn addresses(count: usize) -> Vec<Ipv4Addr> {
    let address = |number: usize| {
        let (third, fourth) = (1 + number / 250, 1 + number % 250);
        Ipv4Addr::new(127, 0, u8::try_from(third).expect("fewer hosts"), u8::try_from(fourth).expect("at most 250"))
    };
    (0..count).map(address).collect()
}

/// Listens on all addresses, on one port that is free on all of them.
fn listen(addresses: &[Ipv4Addr]) -> (Vec<TcpListener>, u16) {
    for _ in 0..ATTEMPTS {
        let mut port = 0;
        let bound: Result<Vec<TcpListener>, std::io::Error> = addresses
            .iter()
            .map(|address| {
                let listener = bind(SocketAddrV4::new(*address, port))?;
                port = listener.local_addr()?.port();
                Ok(listener)
            })
            .collect();
        match bound {
            Ok(listeners) => return (listeners, port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("cannot listen on 127.0.0.0/8: {error}"),
        }
    }
    panic!("no port is free on all {} addresses", addresses.len())
}

/// As std does it, with a longer backlog: the kernel makes clients wait for a second when it is full.
fn bind(address: SocketAddrV4) -> std::io::Result<TcpListener> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The processes whose environment has `mark`, with their command lines.
pub(crate) fn marked(mark: &str) -> Vec<(Pid, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        panic!("/proc is needed to see which remote commands are left");
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes end while they are looked at, and others' are not ours to see.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push((pid, command.trim_end().to_owned()));
        }
    }
    found
}

/// Who an ordinary user is: the one who runs the tests, or, for root, one that is made for them.
pub(crate) struct Ordinary {
    name: String,
    made: bool,
}

impl Ordinary {
    /// A user to whom sshd passes signals on: it does so for none of root's commands.
    pub(crate) fn user() -> Arc<Ordinary> {
        static SHARED: Mutex<Weak<Ordinary>> = Mutex::new(Weak::new());
        let mut shared = lock(&SHARED);
        if let Some(user) = shared.upgrade() {
            return user;
        }
        let user = Arc::new(Ordinary::find_or_make());
        *shared = Arc::downgrade(&user);
        user
    }

    fn find_or_make() -> Ordinary {
        if !getuid().is_root() {
            return Ordinary { name: current_user(), made: false };
        }
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pssh-test-{}-{number}", std::process::id());
        // A password of * keeps passwords out, but not keys: sshd refuses locked accounts.
        let args = ["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", "*"];
        let args: Vec<&OsStr> = args.into_iter().chain([name.as_str()]).map(OsStr::new).collect();
        tool("useradd", &args);
        Ordinary { name, made: true }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        if self.made {
            // -f, as the last processes of the user may still be on their way out. There is nobody to tell if it fails.
            let _ = Command::new("userdel").arg("-f").arg(&self.name).output();
        }
    }
}

/// A home, and so many hosts of one sshd that let its key in.
pub(crate) fn hosts(count: usize) -> (Env, Sshd) {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: count, ..Setup::default() });
    (env, sshd)
}

/// Hosts of one sshd, and an ordinary user there, to whose commands it passes signals on.
pub(crate) struct Fleet {
    pub(crate) sshd: Sshd,
    // After the server, whose sessions are this user's.
    pub(crate) user: Arc<Ordinary>,
    pub(crate) env: Env,
}

impl Fleet {
    pub(crate) fn new(hosts: usize) -> Fleet {
        let env = Env::new();
        let setup = Setup { hosts, ..Setup::default() };
        Fleet { sshd: Sshd::start(&env, setup), user: Ordinary::user(), env }
    }

    /// A run as the user on all hosts.
    pub(crate) fn pssh(&self) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts()).args(["-l", self.user.name()])
    }
}

/// The name of the user who runs the tests.
pub(crate) fn current_user() -> String {
    let user = User::from_uid(getuid()).ok().flatten();
    user.expect("the user who runs the tests has a name").name
}
