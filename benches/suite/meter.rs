//! Runs one tool below a process of its own, which stands in for the system's init: whatever the tool leaves behind is still waited
//! for and counted.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::check::{self, Expected, Layout};

/// The argument that makes this program the meter.
pub(crate) const ARGUMENT: &str = "--be-the-meter";
/// How often the memory is looked at, at most.
const INTERVAL: Duration = Duration::from_millis(15);
/// For so many times as long as looking took of a processor there is a pause, so that it does not change what it measures.
const REST: u32 = 20;
/// How long what a tool leaves behind may live.
const AFTERLIFE: Duration = Duration::from_secs(5);
/// Bytes of standard error that are kept, for messages.
const KEPT: usize = 2000;

/// One run of a tool.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// All that is in its environment.
    pub(crate) environment: BTreeMap<&'static str, String>,
    pub(crate) layout: Layout,
    /// A directory with a file for each host, where the output goes there.
    pub(crate) files: Option<PathBuf>,
    /// Whether these have the one line that names the host, and not many lines.
    pub(crate) is_short: bool,
}

impl Invocation {
    /// As it could be typed.
    pub(crate) fn command_line(&self) -> String {
        let quoted = |word: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,%^@{}".contains(&byte);
            if !word.is_empty() && word.bytes().all(is_plain) { word.to_owned() } else { format!("'{word}'") }
        };
        let is_usual = |name: &str| matches!(name, "PATH" | "HOME" | "LANG" | "TMPDIR") || name.starts_with("LC_");
        let own = |(name, _): &(&&str, &String)| !is_usual(name);
        let environment = self.environment.iter().filter(own).map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = self.arguments.iter().map(|word| quoted(word));
        let words = environment.chain([self.program.display().to_string()]).chain(words);
        words.collect::<Vec<_>>().join(" ")
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// From the start of the tool to its end, in seconds.
    pub(crate) wall: f64,
    /// To the first byte of its output, in seconds.
    pub(crate) first: f64,
    /// User and system time of all its processes, in seconds.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// The most that all of them together held at once, in bytes: proportional set sizes, so that shared pages count once.
    pub(crate) memory: u64,
    /// How often that was looked at.
    pub(crate) looks: u64,
    /// The most resident memory that a single one of them ever held, in bytes.
    pub(crate) largest: u64,
    /// Processes at once.
    pub(crate) processes: u64,
    /// Open file descriptors of all processes at once.
    pub(crate) descriptors: u64,
    /// Bytes that it printed.
    pub(crate) printed: u64,
}

impl Measured {
    /// User and system time together, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Runs `invocation` below a meter.
///
/// # Errors
/// It failed, took longer than `limit`, or did not print all that `hosts` hosts have said, `lines` lines each.
pub(crate) fn measure(invocation: &Invocation, hosts: usize, lines: usize, limit: Duration) -> Result<Measured> {
    let spec = json!({
        "program": invocation.program.to_str().context("a program whose name is no text")?,
        "arguments": invocation.arguments,
        "environment": invocation.environment,
        "layout": invocation.layout.word(),
        "hosts": hosts,
        "lines": lines,
        "is_short": invocation.is_short,
        "files": invocation.files.as_deref().and_then(Path::to_str),
        "limit": limit.as_secs(),
    });
    let program = std::env::current_exe().context("cannot find out what this program is")?;
    let mut meter = Command::new(program).arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = meter.stdin.take().context("the meter has no input")?;
    stdin.write_all(spec.to_string().as_bytes())?;
    drop(stdin);
    let output = meter.wait_with_output()?;
    ensure!(output.status.success(), "the meter failed: {}", output.status);
    let result: Value = serde_json::from_slice(&output.stdout).context("the meter says nothing")?;
    if let Some(problem) = result["problem"].as_str() {
        bail!("{problem}");
    }
    let seconds = |name: &str| result[name].as_f64().with_context(|| format!("the meter says {result}"));
    let number = |name: &str| result[name].as_u64().with_context(|| format!("the meter says {result}"));
    Ok(Measured {
        wall: seconds("wall")?,
        first: seconds("first")?,
        user: seconds("user")?,
        system: seconds("system")?,
        memory: number("memory")?,
        looks: number("looks")?,
        largest: number("largest")?,
        processes: number("processes")?,
        descriptors: number("descriptors")?,
        printed: number("printed")?,
    })
}

/// The meter itself: what to run comes as JSON on standard input, what it took goes to standard output.
pub(crate) fn main() -> Result<()> {
    let spec: Value = serde_json::from_reader(std::io::stdin()).context("the meter has nothing to do")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("the meter wants a text");
    let number = |name: &str| spec[name].as_u64().with_context(|| format!("the meter wants {name}"));
    let layout = Layout::from_word(&text(&spec["layout"])?).context("the meter does not know the layout")?;
    let (hosts, lines) = (usize::try_from(number("hosts")?)?, usize::try_from(number("lines")?)?);
    let limit = Duration::from_secs(number("limit")?);
    let arguments = spec["arguments"].as_array().context("the meter wants arguments")?;
    let environment = spec["environment"].as_object().context("the meter wants an environment")?;

    set_child_subreaper(Some(getpid())).context("cannot adopt what a tool leaves behind")?;
    let mut command = Command::new(text(&spec["program"])?);
    command.args(arguments.iter().map(text).collect::<Result<Vec<_>>>()?).env_clear();
    for (name, value) in environment {
        command.env(name, text(value)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let stdout = child.stdout.take().context("no pipe")?;
    let stderr = child.stderr.take().context("no pipe")?;
    let main = Pid::from_child(&child);

    let ended = &Mutex::new(None);
    let (over, is_over) = mpsc::channel::<()>();
    let (seen, tail, watched, status) = thread::scope(|scope| {
        let seen = scope.spawn(|| check::read(stdout, Expected { layout, hosts, lines }));
        let tail = scope.spawn(|| tail_of(stderr));
        let watched = scope.spawn(move || watch(started, limit, ended, is_over));
        let status = reap(main, ended);
        drop(over);
        (seen.join(), tail.join(), watched.join(), status)
    });
    let broken = "a thread of the meter has failed";
    let (Ok(seen), Ok(tail), Ok(watched)) = (seen, tail, watched) else { bail!(broken) };
    let (status, at) = status?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask what the tool has used")?;

    let is_short = spec["is_short"] == json!(true);
    let wrong_files = || {
        let files = spec["files"].as_str()?;
        wrong_files(Path::new(files), hosts, (!is_short).then_some(lines)).err().map(|problem| format!("{problem:#}"))
    };
    let problem = watched.problem.or(match status {
        0 => seen.problem.or_else(wrong_files),
        status => Some(format!("it ended with {status}")),
    });
    let problem = problem.map(|problem| format!("{problem}; it says: {}", tail.trim()));
    let result = json!({
        "wall": at.duration_since(started).as_secs_f64(),
        "first": seen.first.map_or(Duration::ZERO, |first| first.duration_since(started)).as_secs_f64(),
        "user": seconds(usage.user_time()),
        "system": seconds(usage.system_time()),
        "memory": watched.memory,
        "looks": watched.looks,
        "largest": u64::try_from(usage.max_rss()).unwrap_or_default() * 1024,
        "processes": watched.processes,
        "descriptors": watched.descriptors,
        "printed": seen.bytes,
        "problem": problem,
    });
    writeln!(std::io::stdout(), "{result}").context("nobody listens to the meter")
}

fn seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e6
}

/// Waits for the tool and for everything that it leaves behind. The exit status of the tool, and when it ended.
fn reap(main: Pid, ended: &Mutex<Option<Instant>>) -> Result<(i32, Instant)> {
    let mut result = None;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                let now = Instant::now();
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                result = Some((status.exit_status().or(signal).unwrap_or(-1), now));
                *ended.lock().map_err(|_| anyhow::anyhow!("the meter's lock is broken"))? = Some(now);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return result.context("the tool has vanished"),
            Err(error) => return Err(error).context("cannot wait for the tool"),
        }
    }
}

/// The last of what a tool says on standard error.
fn tail_of(mut stderr: impl Read) -> String {
    let mut tail = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..length]);
        tail.drain(..tail.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&tail).into_owned()
}

/// The files must be there, each with all lines, or with the one that names the host.
fn wrong_files(directory: &Path, hosts: usize, lines: Option<usize>) -> Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("there is no {}", directory.display()))? {
        let entry = entry?;
        if let Some(lines) = lines {
            let (length, wanted) = (entry.metadata()?.len(), (lines * check::LINE) as u64);
            ensure!(length == wanted, "{} has {length} bytes, not {wanted}", entry.path().display());
        } else {
            let text = fs::read(entry.path())?;
            let is_own = text.starts_with(entry.file_name().as_encoded_bytes()) && text.ends_with(b"\n");
            let is_one = text.iter().filter(|byte| **byte == b'\n').count() == 1;
            ensure!(is_own && is_one, "{} is not what the host has said", entry.path().display());
        }
        count += 1;
    }
    ensure!(count == hosts, "there are {count} files, not {hosts}");
    Ok(())
}

#[derive(Default)]
struct Watched {
    memory: u64,
    looks: u64,
    processes: u64,
    descriptors: u64,
    problem: Option<String>,
}

/// Looks at all processes of the tool until they are gone, and ends them when they take too long.
fn watch(started: Instant, limit: Duration, ended: &Mutex<Option<Instant>>, is_over: mpsc::Receiver<()>) -> Watched {
    let mut watched = Watched::default();
    let mut pause = INTERVAL;
    while let Err(RecvTimeoutError::Timeout) = is_over.recv_timeout(pause) {
        let begun = used();
        let processes = descendants(getpid());
        let memory = processes.iter().filter_map(|pid| memory_of(*pid)).sum();
        watched.memory = watched.memory.max(memory);
        watched.processes = watched.processes.max(processes.len() as u64);
        let descriptors = processes.iter().filter_map(|pid| descriptors_of(*pid)).sum();
        watched.descriptors = watched.descriptors.max(descriptors);
        watched.looks += 1;

        let over = ended.lock().is_ok_and(|ended| ended.is_some_and(|ended| ended.elapsed() > AFTERLIFE));
        if over || started.elapsed() > limit {
            let words =
                if over { "it leaves processes behind".to_owned() } else { format!("not done after {limit:?}") };
            watched.problem.get_or_insert(words);
            // They are ours: nobody else can have waited for them.
            processes.iter().filter_map(|pid| kill_process(*pid, Signal::KILL).err()).for_each(drop);
        }
        pause = INTERVAL.max(used().saturating_sub(begun) * REST);
    }
    watched
}

/// The processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// All processes below `root`, at this moment.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |name: &OsStr| name.to_str().and_then(|name| name.parse::<i32>().ok());
    for pid in entries.filter_map(|entry| number(&entry.file_name())) {
        // Some are gone by now.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // The name before it may have any character.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut queue = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = queue.pop() {
        for &child in children.get(&pid).into_iter().flatten() {
            found.extend(Pid::from_raw(child));
            queue.push(child);
        }
    }
    found
}

/// How many file descriptors are open.
fn descriptors_of(pid: Pid) -> Option<u64> {
    let files = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).ok()?;
    Some(files.count() as u64)
}

/// The proportional set size, in bytes.
fn memory_of(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
