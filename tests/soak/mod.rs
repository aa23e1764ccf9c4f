//! The soak: thousands of hosts, run after run, with faults that differ each time. Every host is accounted for in every run, and
//! what a process holds does not grow.
//!
//! It takes three processes: the servers, the real binary run after run, and one process that runs the library's client run
//! after run, since only there something could grow. The same program is all of them but the binary; [`role`] tells it which.
//!
//! Whoever includes this has `embedded` beside it.

mod binary;
mod library;
mod plan;
mod server;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::embedded;

pub(crate) use plan::Options;

/// The environment variable with the role of a process, and those with its directory and its options.
const ROLE: &str = "PSSH_SOAK_ROLE";
const DIRECTORY: &str = "PSSH_SOAK_DIRECTORY";
const OPTIONS: &str = "PSSH_SOAK_OPTIONS";
/// What the lines begin with that the processes tell each other: a test harness says things too.
const MARK: &str = "soak: ";
/// Runs at least, however little time there is: of the binary, and of the library, of which the first ones warm it up.
const FEWEST: (usize, usize) = (2, 4);

/// Soaks. `again` starts this program anew, so that it calls [`role`]; `say` gets a line for each run.
///
/// # Errors
/// A host had not exactly one outcome, or another one than its fault makes, or something grew, or the machine is too small.
pub(crate) fn soak(
    options: &Options,
    pssh: &Path,
    again: &dyn Fn() -> Command,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    embedded::raise_files();
    let directory = tempfile::Builder::new().prefix("pssh-soak-").tempdir().context("no temporary directory")?;
    let start = |name: &str| Role::start(again(), name, directory.path(), options);
    let mut servers = start("server")?;
    let ports = servers.hear()?.context("the servers have ended")?;
    let ports = plan::Ports::of(&ports).context("the servers do not say where they are")?;
    let begun = Instant::now();
    let half = Duration::from_secs(options.seconds) / 2;

    let mut run = 0;
    while run < FEWEST.0 || begun.elapsed() < half {
        let plan = plan::Plan::new(options, run);
        let summary = binary::run(pssh, directory.path(), options, &plan, ports)
            .with_context(|| format!("run {run} of the binary, seed {}", options.seed))?;
        say(&format!("binary, run {run}: {summary}"));
        run += 1;
    }

    let mut client = start("client")?;
    client.tell(&serde_json::json!({"ports": ports.list(), "first": run}))?;
    let mut first: Option<Held> = None;
    let begun = Instant::now();
    let mut count = 0;
    while let Some(told) = client.hear()? {
        if let Some(problem) = told["problem"].as_str() {
            bail!("run {run} of the library, seed {}: {problem}", options.seed);
        }
        let held = Held::of(&told).context("the client does not say what it holds")?;
        say(&format!("library, run {run}: {}; after it: {held}", told["summary"].as_str().unwrap_or_default()));
        count += 1;
        run += 1;
        // The most that the first runs have made is what all need; memory goes up and down with the order of the hosts.
        first = match first.take() {
            Some(first) if count > WARM_UP => {
                held.check(&first).with_context(|| format!("after {count} runs of the library"))?;
                Some(first)
            }
            Some(first) => Some(first.most(held)),
            None => Some(held),
        };
        let is_over = count >= FEWEST.1 && begun.elapsed() >= half;
        client.tell(&serde_json::json!({"go_on": !is_over}))?;
        if is_over {
            break;
        }
    }
    ensure!(count >= FEWEST.1, "the client has ended after {count} runs");
    Ok(())
}

/// So many runs of the library have made what later ones need as well.
const WARM_UP: usize = 3;

/// What a process holds.
struct Held {
    /// Resident memory.
    kib: u64,
    files: u64,
    threads: u64,
}

impl Held {
    fn of(told: &Value) -> Option<Held> {
        let number = |name: &str| told[name].as_u64();
        Some(Held { kib: number("kib")?, files: number("files")?, threads: number("threads")? })
    }

    /// The larger of each.
    fn most(self, other: Held) -> Held {
        Held {
            kib: self.kib.max(other.kib),
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
        }
    }

    /// Fails if this is more than after the first runs: of descriptors and threads a single one, of memory a quarter and 4 MiB,
    /// by which what the allocator keeps differs from run to run.
    fn check(&self, first: &Held) -> Result<()> {
        ensure!(self.files <= first.files, "descriptors grow: {self}, and at first {first}");
        ensure!(self.threads <= first.threads, "threads grow: {self}, and at first {first}");
        ensure!(self.kib <= first.kib + first.kib / 4 + 4096, "memory grows: {self}, and at first {first}");
        Ok(())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { kib, files, threads } = self;
        write!(f, "{:.1} MiB, {files} descriptors, {threads} threads", *kib as f64 / 1024.0)
    }
}

/// Does what this process was started for, if it was started by [`soak`]; says whether.
///
/// # Errors
/// What is wrong.
pub(crate) fn role() -> Result<bool> {
    let Ok(role) = std::env::var(ROLE) else { return Ok(false) };
    embedded::raise_files();
    let directory = std::env::var(DIRECTORY).context("no directory")?;
    let options = Options::parse(&std::env::var(OPTIONS).context("no options")?)?;
    match role.as_str() {
        "server" => server::main(Path::new(&directory), &options)?,
        "client" => library::main(Path::new(&directory), &options)?,
        other => bail!("{other:?} is no role"),
    }
    Ok(true)
}

/// A process with a role. Dropping it ends it.
struct Role {
    name: String,
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Role {
    fn start(mut command: Command, name: &str, directory: &Path, options: &Options) -> Result<Role> {
        command.env(ROLE, name).env(DIRECTORY, directory).env(OPTIONS, options.to_string());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start the {name}"))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let from = BufReader::new(from.context("it has no output")?);
        Ok(Role { name: name.to_owned(), child, to, from })
    }

    fn tell(&mut self, what: &Value) -> Result<()> {
        let to = self.to.as_mut().with_context(|| format!("the {} is over", self.name))?;
        writeln!(to, "{what}").with_context(|| format!("the {} is gone", self.name))
    }

    /// The next thing that it says; nothing at its end.
    fn hear(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        while self.from.read_line(&mut line).with_context(|| format!("the {} is gone", self.name))? > 0 {
            if let Some((_, text)) = line.split_once(MARK) {
                return serde_json::from_str(text)
                    .map(Some)
                    .with_context(|| format!("the {} says {line:?}", self.name));
            }
            line.clear();
        }
        Ok(None)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.to = None;
        embedded::wait_or_kill(&mut self.child);
    }
}

/// Says something to the process that has started this one.
fn say(what: &Value) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{MARK}{what}").and_then(|()| stdout.flush()).context("nobody listens")
}
