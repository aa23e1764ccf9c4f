//! The tools, and how each is told to do the same: log in with one key from a file, without agent, forwarding or compression, check the
//! host key against known_hosts, read no configuration of the machine.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::check::Layout;
use crate::meter::Invocation;
use crate::scenarios::{Case, Login, Work};
use crate::site::{Site, USER};

/// Starts the library up, too, which is what a program that uses it has to do.
const PARALLEL_SSH_VERSION: &str =
    "import pssh.clients; from importlib.metadata import version; print('parallel-ssh', version('parallel-ssh'))";

/// What the Python library's script calls an agent, in the place of a key file.
const AGENT: &str = "agent";

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// The pssh of this repository.
    This,
    /// The pssh of Debian.
    Pssh,
    Pdsh,
    /// clush of ClusterShell.
    Clush,
    /// The Python library.
    ParallelSsh,
    Bssh,
    /// `xargs -P` with ssh.
    Xargs,
    /// One ssh, for one host.
    Ssh,
}

/// How output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Show {
    /// Lines as they come, each with its host.
    Lines,
    /// Host by host, each in one piece.
    Inline,
    /// The same output once, for all hosts that have it.
    Gather,
    /// JSON Lines.
    Json,
    /// A file for each host.
    Files,
    /// Nothing of what the hosts say.
    Silence,
    /// Lines as they come, of a run that is recorded.
    Journal,
    /// The same on a disk that takes 10 ms for each sync.
    SlowJournal,
}

impl Show {
    /// What it is called in tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Show::Lines => "lines",
            Show::Inline => "inline",
            Show::Gather => "gather",
            Show::Json => "json",
            Show::Files => "files",
            Show::Silence => "none",
            Show::Journal => "journal",
            Show::SlowJournal => "slow-journal",
        }
    }
}

impl Tool {
    pub(crate) const ALL: [Tool; 8] =
        [Tool::This, Tool::Pssh, Tool::Pdsh, Tool::Clush, Tool::ParallelSsh, Tool::Bssh, Tool::Xargs, Tool::Ssh];

    /// What it is called in options and JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Tool::This => "this",
            Tool::Pssh => "pssh",
            Tool::Pdsh => "pdsh",
            Tool::Clush => "clush",
            Tool::ParallelSsh => "parallel-ssh",
            Tool::Bssh => "bssh",
            Tool::Xargs => "xargs",
            Tool::Ssh => "ssh",
        }
    }

    /// What it is called in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::This => "**this pssh**",
            Tool::Pssh => "pssh (Python)",
            Tool::Pdsh => "pdsh",
            Tool::Clush => "clush",
            Tool::ParallelSsh => "parallel-ssh (library)",
            Tool::Bssh => "bssh",
            Tool::Xargs => "xargs -P ssh",
            Tool::Ssh => "ssh",
        }
    }

    /// Arguments that make it say its version.
    fn version_arguments(self) -> &'static [&'static str] {
        match self {
            Tool::This | Tool::Pssh | Tool::Clush | Tool::Bssh | Tool::Xargs => &["--version"],
            Tool::Pdsh | Tool::Ssh => &["-V"],
            Tool::ParallelSsh => &["-c", PARALLEL_SSH_VERSION],
        }
    }
}

/// Where the tools are, if anybody says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) this: Option<PathBuf>,
    pub(crate) pssh: Option<PathBuf>,
    pub(crate) python: Option<PathBuf>,
    pub(crate) bssh: Option<PathBuf>,
}

/// A tool that is there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) tool: Tool,
    pub(crate) program: PathBuf,
    /// The first line that it says about its version.
    pub(crate) version: String,
    /// ssh, which most of them run.
    ssh: PathBuf,
}

impl Found {
    /// Looks for `tool`.
    ///
    /// # Errors
    /// It is not there, or does not even say its version.
    pub(crate) fn find(tool: Tool, places: &Places) -> Result<Found> {
        let ssh = search("ssh").context("there is no ssh")?;
        let program = match tool {
            Tool::This => places.this.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_pssh").into()),
            Tool::Pssh => match &places.pssh {
                Some(path) => path.clone(),
                // Debian's name for it. A `pssh` in PATH may be this one.
                None => search("parallel-ssh").context("there is no parallel-ssh, Debian's name for pssh")?,
            },
            Tool::ParallelSsh => match &places.python {
                Some(path) => path.clone(),
                None => search("python3").context("there is no python3")?,
            },
            Tool::Bssh => match &places.bssh {
                Some(path) => path.clone(),
                None => search("bssh").context("there is no bssh in PATH")?,
            },
            Tool::Pdsh | Tool::Clush | Tool::Xargs => {
                search(tool.word()).with_context(|| format!("there is no {}", tool.word()))?
            }
            Tool::Ssh => ssh.clone(),
        };
        let mut command = Command::new(&program);
        command.args(tool.version_arguments()).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("{} does not run", program.display()))?;
        let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let text = String::from_utf8_lossy(text);
        if !output.status.success() {
            let last = text.lines().last().unwrap_or("nothing");
            anyhow::bail!("{} says {last:?}", program.display());
        }
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Found { tool, program, version, ssh })
    }

    /// How it is run for a scenario.
    pub(crate) fn invocation(&self, show: Show, case: &Case, site: &Site) -> Result<Invocation> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let (hosts, config) = (text(&site.hosts_file)?, text(&site.ssh_config)?);
        let parallel = case.parallel.to_string();
        let is_flood = matches!(case.work, Work::Lines { .. });
        let mut invocation = Invocation {
            program: self.program.clone(),
            arguments: Vec::new(),
            environment: environment(site)?,
            layout: match show {
                _ if case.work == Work::Version => Layout::Anything,
                Show::Lines if is_flood => Layout::Prefixed,
                Show::Lines | Show::Journal | Show::SlowJournal => Layout::Named,
                Show::Inline if is_flood => Layout::Blocks,
                Show::Inline => Layout::Bare,
                Show::Gather => Layout::Gathered,
                Show::Json => Layout::Json,
                // It prints what it writes into files, too.
                Show::Files if self.tool == Tool::Clush => Layout::Anything,
                Show::Files | Show::Silence => Layout::Nothing,
            },
            files: (show == Show::Files).then(|| site.output_directory.clone()),
            is_short: !is_flood,
        };
        if show == Show::SlowJournal {
            invocation.environment.insert("LD_PRELOAD", text(&site.slow_disk()?)?);
        }
        if case.work == Work::Version {
            let arguments = if self.tool == Tool::Xargs { &[] } else { self.tool.version_arguments() };
            invocation.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
            return Ok(invocation);
        }
        let command = "uptime";
        let mut add = |words: &[&str]| invocation.arguments.extend(words.iter().map(|word| (*word).to_owned()));
        match self.tool {
            Tool::This => {
                add(&["-F", &config, "-h", &hosts, "-p", &parallel]);
                match show {
                    Show::Lines => {}
                    Show::Journal | Show::SlowJournal => add(&["--journal", &text(&site.journal)?]),
                    Show::Files => add(&["--format", "none", "-o", &text(&site.output_directory)?]),
                    show => add(&["--format", show.word()]),
                }
                add(&[command]);
            }
            Tool::Pssh => {
                // Its timeout of a minute would count against slow tools.
                add(&["-h", &hosts, "-p", &parallel, "-t", "0", "-x", &format!("-F {config}")]);
                match show {
                    Show::Files => add(&["-o", &text(&site.output_directory)?]),
                    Show::Lines => add(&["-P"]),
                    _ => add(&["-i"]),
                }
                add(&[command]);
            }
            Tool::Pdsh => {
                let ssh = format!("-F {config}");
                if show == Show::Gather {
                    let line = r#"pdsh -R ssh -f "$1" -w "^$2" "$3" | dshbak -c"#;
                    add(&["-c", line, "sh", &parallel, &hosts, command]);
                    invocation.program = "/bin/sh".into();
                } else {
                    add(&["-R", "ssh", "-f", &parallel, "-w", &format!("^{hosts}"), command]);
                }
                invocation.environment.insert("PDSH_SSH_ARGS_APPEND", ssh);
            }
            Tool::Clush => {
                let conf = text(&site.empty_file)?;
                let ssh = format!("-F {config}");
                add(&["--conf", &conf, "--groupsconf", &conf, "-n", "--color", "never", "-S"]);
                add(&["-f", &parallel, "-t", "0", "-o", &ssh, "--hostfile", &hosts]);
                match show {
                    Show::Gather => add(&["-b"]),
                    Show::Files => add(&["--outdir", &text(&site.output_directory)?]),
                    _ => {}
                }
                add(&[command]);
            }
            Tool::ParallelSsh => {
                let script = text(&site.parallel_ssh_script)?;
                let key = if case.login == Login::Agent { AGENT.to_owned() } else { text(&site.key)? };
                add(&[&script, &hosts, USER, &site.port_of_hosts(case.route).to_string(), &key, &parallel]);
                if let Some(port) = site.port_of_bastion(case.route) {
                    add(&[&site.bastion_address(), &port.to_string()]);
                }
                add(&[command]);
            }
            Tool::Bssh => {
                // Its known_hosts is the one in the home directory, and it knows no file of hosts, whatever its help says. Its timeout
                // of five minutes would count against slow tools.
                let (key, port) = (text(&site.key)?, site.port_of_hosts(case.route).to_string());
                add(&["-F", &config, "-H", &site.host_list(), "-l", USER, "-p", &port, "-T", "-x"]);
                if case.login == Login::Agent {
                    add(&["-A"])
                } else {
                    add(&["-i", &key])
                }
                let check = if case.login == Login::FirstContact { "accept-new" } else { "yes" };
                add(&["--strict-host-key-checking", check, "--timeout", "0", "--parallel", &parallel]);
                if let Some(port) = site.port_of_bastion(case.route) {
                    add(&["-J", &format!("{USER}@{}:{port}", site.bastion_address())]);
                }
                add(&[command]);
            }
            Tool::Xargs => {
                let ssh = text(&self.ssh)?;
                add(&["-a", &hosts, "-P", &parallel, "-I", "{}"]);
                if is_flood {
                    // sed without -u would cut lines in the middle, and mix them.
                    let line = r#""$1" -n -F "$2" "$3" "$4" | sed -u "s/^/$3: /""#;
                    add(&["sh", "-c", line, "sh", &ssh, &config, "{}", command]);
                } else {
                    // The line names its host by itself.
                    add(&[&ssh, "-n", "-F", &config, "{}", command]);
                    invocation.layout = Layout::Bare;
                }
            }
            Tool::Ssh => {
                add(&["-n", "-F", &config, &crate::server::address(0).to_string(), command]);
                invocation.layout = Layout::Bare;
            }
        }
        match self.tool {
            Tool::Pssh if is_flood && show == Show::Lines => invocation.layout = Layout::Chunks,
            Tool::Bssh if is_flood => invocation.layout = Layout::Indented,
            _ => {}
        }
        Ok(invocation)
    }
}

/// The parts of a locale that a desktop's session sets one by one.
const LOCALE: [&str; 10] = [
    "LANG",
    "LC_ADDRESS",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// The same for every tool, and nothing of the user's but a locale: no agent, no display, no configuration.
fn environment(site: &Site) -> Result<BTreeMap<&'static str, String>> {
    let home = site.home.to_str().context("a path that is no text")?;
    let mut environment = BTreeMap::from(LOCALE.map(|name| (name, "C.UTF-8".to_owned())));
    environment.insert("HOME", home.to_owned());
    if let Some(socket) = site.agent_socket() {
        environment.insert("SSH_AUTH_SOCK", socket.to_str().context("a path that is no text")?.to_owned());
    }
    for name in ["PATH", "TMPDIR"] {
        environment.extend(env::var(name).ok().map(|value| (name, value)));
    }
    Ok(environment)
}

/// Where a program is, by PATH.
pub(crate) fn search(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).map(|directory| directory.join(name));
    files.find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}
