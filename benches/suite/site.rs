//! The hosts of one scenario and the files that a client needs for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::scenarios::{Case, Login, ROUND_TRIP, Route};
use crate::server::{self, Counts, Hosts, Wanted};
use crate::trust;

/// Who logs in.
pub(crate) const USER: &str = "bench";
/// What the jump host is called in ssh_config.
const BASTION_NAME: &str = "bastion";

/// The hosts and their files, which are deleted in the end.
pub(crate) struct Site {
    hosts: Hosts,
    count: usize,
    pub(crate) hosts_file: PathBuf,
    pub(crate) ssh_config: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) known_hosts: PathBuf,
    pub(crate) empty_file: PathBuf,
    pub(crate) parallel_ssh_script: PathBuf,
    /// Where files for hosts go; it is not there before a run.
    pub(crate) output_directory: PathBuf,
    /// What a run that is recorded writes.
    pub(crate) journal: PathBuf,
    /// The user's home directory, as far as the environment says.
    pub(crate) home: PathBuf,
    login: Login,
    agent: Option<Agent>,
    directory: tempfile::TempDir,
}

impl Site {
    /// Starts the hosts of a scenario.
    pub(crate) fn start(case: &Case) -> Result<Site> {
        let directory = tempfile::Builder::new().prefix("pssh-bench-").tempdir().context("no temporary directory")?;
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            fs::write(path(name), text).with_context(|| format!("cannot write {}", path(name).display()))
        };
        let delay = if case.route.is_far() { Duration::from_millis(ROUND_TRIP) / 2 } else { Duration::ZERO };
        // One that says its version has no hosts, but files all the same.
        let count = case.hosts.max(1);
        let hosts = Hosts::start(Wanted { hosts: count, work: case.work, login: case.login, delay }, directory.path())?;

        let names: String = (0..count).map(|host| format!("{}\n", server::address(host))).collect();
        write("hosts", &names)?;
        write("empty", "")?;
        write("parallel_ssh.py", include_str!("parallel_ssh.py"))?;
        // One tool looks for known_hosts nowhere else.
        fs::create_dir_all(path("home/.ssh")).context("cannot make a home directory")?;
        fs::copy(path("known_hosts"), path("home/.ssh/known_hosts")).context("cannot copy known_hosts")?;
        let agent = (case.login == Login::Agent).then(|| Agent::start(directory.path(), &path("key"))).transpose()?;
        // Those that get their known_hosts by an option and those that look into the home directory use the same.
        let known_hosts = if case.login == Login::FirstContact { "home/.ssh/known_hosts" } else { "known_hosts" };
        let site = Site {
            hosts,
            count,
            hosts_file: path("hosts"),
            ssh_config: path("ssh_config"),
            key: path("key"),
            known_hosts: path(known_hosts),
            empty_file: path("empty"),
            parallel_ssh_script: path("parallel_ssh.py"),
            output_directory: path("output"),
            journal: path("journal"),
            home: path("home"),
            login: case.login,
            agent,
            directory,
        };
        fs::write(&site.ssh_config, site.config(case.route)).context("cannot write ssh_config")?;
        Ok(site)
    }

    /// The one configuration of all tools that read it. SendEnv, HashKnownHosts and GSSAPIAuthentication are as in Debian's
    /// /etc/ssh/ssh_config.
    fn config(&self, route: Route) -> String {
        let mut text = String::new();
        if let Some(port) = self.port_of_bastion(route) {
            text += &format!("Host {BASTION_NAME}\n  HostName {}\n  Port {port}\n", self.hosts.bastion);
            text += &format!("Host 127.1.1*\n  ProxyJump {BASTION_NAME}\n");
        }
        let port = self.port_of_hosts(route);
        let known_hosts = self.known_hosts.display();
        let (key, agent) = match &self.agent {
            Some(agent) => ("none".into(), agent.socket.display().to_string()),
            None => (self.key.display().to_string(), "none".into()),
        };
        let only = if self.agent.is_some() { "no" } else { "yes" };
        let check = if self.login == Login::FirstContact { "accept-new" } else { "yes" };
        text + &format!(
            "Host *
  User {USER}
  Port {port}
  IdentityFile {key}
  IdentitiesOnly {only}
  IdentityAgent {agent}
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile none
  StrictHostKeyChecking {check}
  PreferredAuthentications publickey
  SendEnv LANG LC_*
  HashKnownHosts yes
  GSSAPIAuthentication yes
  BatchMode yes
  ForwardX11 no
  ForwardAgent no
  Compression no
"
        )
    }

    /// The port on which hosts are reached.
    pub(crate) fn port_of_hosts(&self, route: Route) -> u16 {
        match route {
            Route::Far => self.hosts.far_port,
            Route::Near | Route::Bastion | Route::FarBastion => self.hosts.port,
        }
    }

    /// The port on which the jump host is reached, where there is one.
    pub(crate) fn port_of_bastion(&self, route: Route) -> Option<u16> {
        match route {
            Route::Bastion => Some(self.hosts.bastion_port),
            Route::FarBastion => Some(self.hosts.far_bastion_port),
            Route::Near | Route::Far => None,
        }
    }

    pub(crate) fn bastion_address(&self) -> String {
        self.hosts.bastion.to_string()
    }

    /// All hosts, joined by commas.
    pub(crate) fn host_list(&self) -> String {
        let hosts = (0..self.count).map(|host| server::address(host).to_string());
        hosts.collect::<Vec<_>>().join(",")
    }

    /// What clients did so far.
    pub(crate) fn counts(&mut self) -> Result<Counts> {
        self.hosts.counts()
    }

    /// The real round trip of the link.
    pub(crate) fn round_trip(&self) -> Result<Duration> {
        self.hosts.round_trip()
    }

    /// A library that makes syncs of the tool that loads it slow.
    pub(crate) fn slow_disk(&self) -> Result<PathBuf> {
        let path = |name: &str| self.directory.path().join(name);
        fs::write(path("slow_disk.c"), include_str!("slow_disk.c")).context("cannot write slow_disk.c")?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(path("slow_disk.so")).arg(path("slow_disk.c"));
        let status = compiler.status().context("cannot run the C compiler cc")?;
        ensure!(status.success(), "the C compiler failed: {status}");
        Ok(path("slow_disk.so"))
    }

    /// Where the agent listens, if there is one.
    pub(crate) fn agent_socket(&self) -> Option<&Path> {
        self.agent.as_ref().map(|agent| agent.socket.as_path())
    }

    /// Whether a run has left behind what it should: after a first contact, every host is known.
    pub(crate) fn check_left(&self) -> Result<()> {
        if self.login != Login::FirstContact {
            return Ok(());
        }
        let text = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let all = text(&self.directory.path().join("known_hosts"))?;
        trust::check(&all, &text(&self.known_hosts)?, self.port_of_hosts(Route::Near), self.count)
    }

    /// Makes room for what the next run leaves behind.
    pub(crate) fn clear_output(&self) -> Result<()> {
        if self.login == Login::FirstContact {
            fs::write(&self.known_hosts, "").context("cannot empty known_hosts")?;
        }
        let _ = fs::remove_file(&self.journal);
        match fs::remove_dir_all(&self.output_directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.output_directory.display()))
            }
            _ => Ok(()),
        }
    }
}
