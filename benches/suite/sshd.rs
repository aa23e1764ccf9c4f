//! Real hosts, for what the SSH server of the tests does not do: an sshd for each address, and what is copied to one of them goes
//! into a directory of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::delay;
use crate::embedded::{Key, KeyKind};
use crate::scenarios::ROUND_TRIP;

/// How long an sshd may take to listen.
const START: Duration = Duration::from_secs(20);

/// The hosts. Dropping them ends them.
pub(crate) struct Sshds {
    children: Vec<Child>,
    pub(crate) hosts: usize,
    pub(crate) hosts_file: PathBuf,
    pub(crate) ssh_config: PathBuf,
    /// Where every host has its own directory.
    pub(crate) shared: PathBuf,
    root: PathBuf,
    /// What joins them with the other end of the link.
    _link: Option<tokio::runtime::Runtime>,
}

/// The address of a real host.
pub(crate) fn address(host: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 20, 1, u8::try_from(100 + host).unwrap_or(u8::MAX)))
}

impl Sshds {
    /// Starts `hosts` of them with their files in `root`, behind the link if `is_far`.
    pub(crate) fn start(hosts: usize, is_far: bool, root: &Path) -> Result<Sshds> {
        ensure!(rustix::process::getuid().is_root(), "only root can give each of several hosts its own directory");
        let sshd = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].map(Path::new);
        let sshd = sshd.into_iter().find(|path| path.is_file()).context("there is no sshd")?;
        let server = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
        let server = server.into_iter().find(|path| Path::new(path).is_file()).context("there is no sftp-server")?;
        fs::create_dir_all("/run/sshd").context("cannot make sshd's directory")?;
        let (user, host_key) = (Key::generate(KeyKind::Ed25519), Key::generate(KeyKind::Ed25519));
        user.write(root, "key");
        host_key.write(root, "host_key");
        let path = |name: &str| root.join(name);
        let write =
            |name: &str, text: &str| fs::write(path(name), text).with_context(|| format!("cannot write {name}"));
        write("authorized_keys", &(user.public_line() + "\n"))?;
        let at = |name: &str| path(name).display().to_string();
        write(
            "sshd_config",
            &format!(
                "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nUseDNS no\nPidFile none\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nMaxStartups 1000\n\
                 Subsystem sftp {server}\nCiphers +aes128-ctr,aes256-ctr\n",
                at("host_key"),
                at("authorized_keys")
            ),
        )?;
        let shared = path("shared");
        fs::create_dir_all(&shared)?;
        let port = free_port(hosts)?;
        let mut sshds = Sshds {
            children: Vec::new(),
            hosts,
            hosts_file: path("hosts"),
            ssh_config: path("ssh_config"),
            shared: shared.clone(),
            root: root.to_owned(),
            _link: None,
        };
        for host in 0..hosts {
            fs::create_dir_all(sshds.directory(host))?;
            // The same path leads into another directory on each host.
            let line = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;
            let mut command = Command::new("unshare");
            command.args(["-m", "--propagation", "private", "sh", "-c", line, "sh"]);
            command.arg(sshds.directory(host)).arg(&shared).arg(sshd).args(["-D", "-f", &at("sshd_config"), "-o"]);
            command.arg(format!("ListenAddress {}:{port}", address(host))).arg("-E").arg(path("log"));
            command.stdin(Stdio::null()).stdout(Stdio::null());
            sshds.children.push(command.spawn().context("cannot start sshd")?);
        }
        let begun = Instant::now();
        for host in 0..hosts {
            while TcpStream::connect((address(host), port)).is_err() {
                let log = || fs::read_to_string(path("log")).unwrap_or_default();
                ensure!(begun.elapsed() < START, "sshd does not listen: {}", log());
                thread::sleep(Duration::from_millis(10));
            }
        }
        let mut client_port = port;
        if is_far {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let context = runtime.enter();
            let addresses: Vec<IpAddr> = (0..hosts).map(address).collect();
            client_port = delay::listen(&addresses, port, Duration::from_millis(ROUND_TRIP) / 2)?;
            drop(context);
            sshds._link = Some(runtime);
        }
        let key = host_key.public_line();
        let lines = |line: &dyn Fn(IpAddr) -> String| (0..hosts).map(|host| line(address(host))).collect::<String>();
        write("known_hosts", &lines(&|host| format!("[{host}]:{client_port} {key}\n")))?;
        write("hosts", &lines(&|host| format!("{host}\n")))?;
        write(
            "ssh_config",
            &format!(
                "Host *\n  User root\n  Port {client_port}\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
                 UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  \
                 PreferredAuthentications publickey\n  BatchMode yes\n  Compression no\n",
                at("key"),
                at("known_hosts")
            ),
        )?;
        Ok(sshds)
    }

    /// What a host shows as the shared directory.
    pub(crate) fn directory(&self, host: usize) -> PathBuf {
        self.root.join(format!("host-{host}"))
    }

    /// Deletes what was copied to the hosts.
    pub(crate) fn clear(&self) -> Result<()> {
        for host in 0..self.hosts {
            for entry in fs::read_dir(self.directory(host))? {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// A port that is free on all addresses.
fn free_port(hosts: usize) -> Result<u16> {
    for _ in 0..20 {
        let first = TcpListener::bind((address(0), 0))?;
        let port = first.local_addr()?.port();
        if (1..hosts).all(|host| TcpListener::bind((address(host), port)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no port is free on all addresses")
}

impl Drop for Sshds {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            let _ = child.wait();
        }
    }
}
