//! Throw-away SSH hosts for the examples: servers in this process, on loopback and with keys of this run, and one host that is
//! down. And the binary that is run on them.
//!
//! Commands are really run, by `sh` as the user who started the example; the servers accept only the holder of a key that was
//! made for this run.

#![allow(dead_code, reason = "compiled into several examples, none of which uses the whole of it")]

#[path = "../../tests/embedded/mod.rs"]
pub(crate) mod embedded;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use embedded::{Config, Key, KeyKind, Server};

/// Name of a host, what its script `health` does. The pauses let the hosts' lines interleave as those of real hosts do.
pub(crate) const HOSTS: [(&str, &str); 6] = [
    ("web1", "echo 'nginx: active'; sleep 0.2; echo 'requests/s: 412'"),
    ("web2", "echo 'nginx: active'; sleep 0.3; echo 'requests/s: 397'"),
    ("web3", "echo 'nginx: active'; sleep 0.1; echo 'certificate ends in 6 days' >&2"),
    ("db1", "echo 'postgres: primary'; sleep 0.2; echo 'connections: 57'"),
    ("db2", "echo 'postgres: standby'; sleep 0.4; echo 'replication stopped' >&2; exit 2"),
    ("cache", "echo 'redis: active'; sleep 0.1; echo 'memory: 38 %'"),
];

/// The last number in the address of the host that is down; those of the others count from 2.
const DOWN: u8 = 100;
/// The port on which it does not listen, where that one is free: the same in every run.
const CLOSED_PORT: u16 = 2222;

/// The hosts and the files that a client needs.
pub(crate) struct Fleet {
    names: Vec<String>,
    servers: Vec<Server>,
    down: SocketAddr,
    /// Deleted when the fleet goes, after the servers whose home directories are in it.
    directory: tempfile::TempDir,
}

impl Fleet {
    /// A host for each name and text; the text is that of `file` in its home directory. In the fleet's own directory are the
    /// user's `key` and `known_hosts`.
    pub(crate) fn start<N: Into<String>>(file: &str, hosts: impl IntoIterator<Item = (N, String)>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pssh-example-").tempdir();
        let directory = directory.context("cannot make a temporary directory")?;
        let user = Key::generate(KeyKind::Ed25519);
        user.write(directory.path(), "key");
        let (mut names, mut servers) = (Vec::new(), Vec::new());
        for (number, (name, text)) in (2..DOWN).zip(hosts) {
            let name = name.into();
            let home = home(directory.path(), &name, file, &text)?;
            servers.push(host(number, &name, home, &user)?);
            names.push(name);
        }
        let down = closed(loopback(DOWN)).or_else(|_| closed(loopback(1)));
        let down = down.context("cannot find a free port on 127.0.0.1")?;

        let fleet = Self { names, servers, down, directory };
        let keys = fleet.servers.iter().map(Server::known_hosts);
        fleet.write("known_hosts", &keys.collect::<String>())?;
        Ok(fleet)
    }

    /// Writes a file into the fleet's directory, which the user alone may read, whatever the umask: clients are particular.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The fleet's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where a file of the fleet's directory is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The hosts that are up, with their addresses.
    pub(crate) fn up(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let addresses = self.servers.iter().map(Server::addr);
        self.names.iter().map(String::as_str).zip(addresses)
    }

    /// The address of the host that is down.
    pub(crate) fn down(&self) -> SocketAddr {
        self.down
    }
}

/// A script with these lines, for `sh`.
pub(crate) fn script(lines: &str) -> String {
    format!("#!/bin/sh\n{lines}\n")
}

/// The home directory of a host, which alone distinguishes it from the others, apart from its environment.
fn home(directory: &Path, name: &str, file: &str, text: &str) -> Result<PathBuf> {
    let home = directory.join(name);
    let file = home.join(file);
    let written = fs::create_dir(&home)
        .and_then(|()| fs::write(&file, text))
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o700)));
    written.with_context(|| format!("cannot write {}", file.display()))?;
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

/// An address without a listener.
fn closed(ip: IpAddr) -> io::Result<SocketAddr> {
    // A listener there, or on all addresses, would prevent this.
    let usual = TcpListener::bind((ip, CLOSED_PORT)).and_then(|listener| listener.local_addr());
    usual.or_else(|_| embedded::refused_address(ip))
}

/// Builds pssh as this example was built, and returns its path. `cargo run --example` builds no binaries.
pub(crate) fn build_pssh() -> Result<PathBuf> {
    let example = std::env::current_exe().context("cannot find out where this example was built")?;
    let profile = example.parent().and_then(Path::parent);
    let profile = profile.with_context(|| format!("{} is not in a directory of cargo", example.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", "pssh"]);
    // Together with an example, the program gets the dependencies that the example has: alone, it would need some of them with other
    // features, and so the library once more.
    build.arg("--example").arg(example.file_stem().unwrap_or_default());
    build.arg("--manifest-path");
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    build.args(same_target(profile)?);
    if !cfg!(feature = "vendored") {
        build.args(["--no-default-features", "--features", "cli"]);
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
