//! Runs the real binary: in a private home and environment, under a time limit, with everything that it said at hand.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::{Display, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pssh::internal::Program;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::embedded::{Key, KeyKind};

/// How long a run may take unless its test says otherwise. Far more than any needs: a hang fails its test, it never
/// hangs the whole.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a run is looked at while it is waited for.
const TICK: Duration = Duration::from_millis(5);
/// Bytes of each stream that a failed test shows: its beginning and its end.
const SHOWN: usize = 4000;

/// A user's home with `.ssh` in it, and room for other files. Removed at the end of the test.
pub(crate) struct Env {
    dir: TempDir,
    /// The default identity in `.ssh`, unless the home was made without one.
    key: Option<Key>,
}

impl Env {
    /// A home with an Ed25519 key where pssh finds it by itself.
    pub(crate) fn new() -> Env {
        let mut env = Env::without_key();
        let key = Key::generate(KeyKind::Ed25519);
        key.write(&env.ssh_dir(), "id_ed25519");
        env.key = Some(key);
        env
    }

    /// A home without any key.
    pub(crate) fn without_key() -> Env {
        let env = Env { dir: TempDir::new().expect("a temporary directory"), key: None };
        fs::create_dir(env.ssh_dir()).expect(".ssh");
        fs::set_permissions(env.ssh_dir(), fs::Permissions::from_mode(0o700)).expect("the mode of .ssh");
        env
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ssh_dir(&self) -> PathBuf {
        self.path(".ssh")
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.ssh_dir().join("known_hosts")
    }

    /// Lines of an authorized_keys file for the keys of this home: the default one, if there is one.
    pub(crate) fn public_lines(&self) -> Vec<String> {
        self.key.iter().map(Key::public_line).collect()
    }

    /// Adds lines to known_hosts, each ended by a newline.
    pub(crate) fn trust(&self, lines: &str) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(self.known_hosts());
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("known_hosts can be written");
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).expect("a file in a temporary directory");
        path
    }

    /// A run of pssh in this home. Unless the home has an ssh_config of its own, there is none: the machine's is not the
    /// tests' business.
    pub(crate) fn pssh(&self) -> Pssh {
        let pssh = Pssh::new(self);
        if self.ssh_dir().join("config").exists() { pssh } else { pssh.args(["-F", "none"]) }
    }

    /// A run of pssh without any argument.
    pub(crate) fn bare_pssh(&self) -> Pssh {
        Pssh::new(self)
    }

    /// A run of one of the programs, see [`Env::pssh`].
    pub(crate) fn run_of(&self, program: Program) -> Pssh {
        self.pssh().of(program)
    }

    /// The same without any argument.
    pub(crate) fn bare(&self, program: Program) -> Pssh {
        Pssh::new(self).of(program)
    }
}

/// Where the program is.
pub(crate) fn path_of(program: Program) -> &'static str {
    match program {
        Program::Pssh => env!("CARGO_BIN_EXE_pssh"),
        Program::Pscp => env!("CARGO_BIN_EXE_pscp"),
        Program::Pslurp => env!("CARGO_BIN_EXE_pslurp"),
        Program::Prsync => env!("CARGO_BIN_EXE_prsync"),
        Program::Pnuke => env!("CARGO_BIN_EXE_pnuke"),
    }
}

/// What a run's standard input is.
enum Input {
    Nothing,
    Bytes(Vec<u8>),
}

/// What becomes of a run's standard output.
enum Sink {
    /// Kept whole.
    Collect,
    /// Only counted, per host: for more output than should be kept.
    Count,
    /// Left unread, for the test to read.
    Hold,
    /// Into a file of the test's choice.
    File(File),
    /// Not open at all.
    Closed,
}

/// A command line of pssh in the making.
pub(crate) struct Pssh {
    program: Program,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: PathBuf,
    input: Input,
    sink: Sink,
    count_stderr: bool,
    limit: Duration,
    shell: Option<String>,
}

impl Pssh {
    fn new(env: &Env) -> Pssh {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        Pssh {
            program: Program::Pssh,
            args: Vec::new(),
            variables: vec![("HOME".into(), env.dir.path().into()), ("PATH".into(), path)],
            directory: env.dir.path().to_owned(),
            input: Input::Nothing,
            sink: Sink::Collect,
            count_stderr: false,
            limit: LIMIT,
            shell: None,
        }
    }

    /// Makes it a run of another program.
    fn of(self, program: Program) -> Pssh {
        Pssh { program, ..self }
    }

    /// Adds `-H` with these hosts.
    pub(crate) fn hosts(self, hosts: impl IntoIterator<Item = impl Display>) -> Pssh {
        let hosts: Vec<String> = hosts.into_iter().map(|host| host.to_string()).collect();
        self.args(["-H", &hosts.join(" ")])
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Pssh {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Pssh {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable to the few that there are.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Pssh {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Standard input; without this it is empty.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Pssh {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// A longer or shorter time limit.
    pub(crate) fn limit(mut self, seconds: u64) -> Pssh {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs `script` by `sh`, where `"$@"` is pssh with its arguments.
    pub(crate) fn shell(mut self, script: &str) -> Pssh {
        self.shell = Some(script.to_owned());
        self
    }

    /// Counts the output of both streams instead of keeping it.
    pub(crate) fn count(mut self) -> Pssh {
        self.sink = Sink::Count;
        self.count_stderr = true;
        self
    }

    /// Leaves standard output for [`Running::take_stdout`].
    pub(crate) fn hold_stdout(mut self) -> Pssh {
        self.sink = Sink::Hold;
        self
    }

    pub(crate) fn stdout_to(mut self, file: File) -> Pssh {
        self.sink = Sink::File(file);
        self
    }

    pub(crate) fn close_stdout(mut self) -> Pssh {
        self.sink = Sink::Closed;
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub(crate) fn run(self) -> Run {
        self.start().finish()
    }

    pub(crate) fn start(mut self) -> Running {
        if matches!(self.sink, Sink::Closed) {
            let script = self.shell.take().unwrap_or_else(|| "exec \"$@\"".to_owned());
            self.shell = Some(format!("exec >&-; {script}"));
        }
        let program = OsString::from(path_of(self.program));
        let mut command = match &self.shell {
            None => Command::new(&program),
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script, "sh"]).arg(&program);
                command
            }
        };
        let mut shown = String::from(self.program.name());
        for arg in &self.args {
            let _ = write!(shown, " {arg:?}");
        }
        if let Some(script) = &self.shell {
            let _ = write!(shown, "\n(by sh: {script})");
        }
        let (sink_stdout, file) = match self.sink {
            Sink::File(file) => (None, Some(file)),
            Sink::Closed => (None, None),
            sink => (Some(sink), None),
        };
        command
            .args(&self.args)
            .env_clear()
            .envs(self.variables)
            .current_dir(&self.directory)
            .stdin(match self.input {
                Input::Nothing => Stdio::null(),
                Input::Bytes(_) => Stdio::piped(),
            })
            .stdout(match (file, &sink_stdout) {
                (Some(file), _) => Stdio::from(file),
                (None, Some(_)) => Stdio::piped(),
                (None, None) => Stdio::null(),
            })
            .stderr(Stdio::piped())
            // A group of its own: a run that hangs is killed with whatever the shell has started.
            .process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary can be run");
        if let (Input::Bytes(bytes), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A run that reads nothing of it closes the pipe.
            thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let stderr = child.stderr.take().expect("a pipe");
        let (mut stdout, mut held) = (Stream::default(), None);
        match (sink_stdout, child.stdout.take()) {
            (Some(Sink::Hold), pipe) => held = pipe,
            (Some(Sink::Count), Some(pipe)) => stdout = Stream::count(pipe),
            (Some(_), Some(pipe)) => stdout = Stream::collect(pipe),
            _ => {}
        }
        Running {
            shown,
            pid: Pid::from_child(&child),
            child,
            stdout,
            stderr: if self.count_stderr { Stream::count(stderr) } else { Stream::collect(stderr) },
            held,
            started,
            limit: self.limit,
            peak_kib: 0,
            cpu: Duration::ZERO,
        }
    }
}

/// What has been read of one stream so far.
#[derive(Default)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    counts: Arc<Mutex<Counts>>,
    /// Disconnected when the stream has ended.
    ended: Option<Receiver<()>>,
}

/// Lines per label: what precedes the first `: ` of a line.
pub(crate) type Counts = BTreeMap<String, Count>;

/// What was counted of the lines of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) lines: usize,
    /// Bytes after the label, without newlines.
    pub(crate) bytes: usize,
    /// Of them those that are not NUL.
    pub(crate) not_nul: usize,
    /// The same limit for the longest line, in bytes.
    pub(crate) longest: usize,
}

impl Stream {
    fn collect(mut pipe: impl Read + Send + 'static) -> Stream {
        let mut stream = Stream::default();
        let bytes = Arc::clone(&stream.bytes);
        stream.read_with(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend_from_slice(&buffer[..count]);
            }
        });
        stream
    }

    fn count(pipe: impl Read + Send + 'static) -> Stream {
        let mut stream = Stream::default();
        let (bytes, counts) = (Arc::clone(&stream.bytes), Arc::clone(&stream.counts));
        stream.read_with(move || {
            let mut reader = BufReader::with_capacity(256 * 1024, pipe);
            let mut line = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                if line.starts_with(b"pssh: ") || line.starts_with(b"  hint: ") {
                    let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    bytes.extend_from_slice(&line);
                } else {
                    count_line(&line, &mut counts.lock().unwrap_or_else(PoisonError::into_inner));
                }
                line.clear();
            }
        });
        stream
    }

    fn read_with(&mut self, read: impl FnOnce() + Send + 'static) {
        let (ended, receiver) = channel();
        self.ended = Some(receiver);
        thread::spawn(move || {
            read();
            drop(ended);
        });
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the stream; false if `deadline` comes first.
    fn wait(&self, deadline: Instant) -> bool {
        let Some(ended) = &self.ended else { return true };
        let left = deadline.saturating_duration_since(Instant::now());
        !matches!(ended.recv_timeout(left), Err(std::sync::mpsc::RecvTimeoutError::Timeout))
    }
}

fn count_line(line: &[u8], counts: &mut Counts) {
    static NULS: [u8; 64 * 1024] = [0; 64 * 1024];
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let end = line.windows(2).take(100).position(|pair| pair == b": ");
    let label = String::from_utf8_lossy(&line[..end.unwrap_or(0)]).into_owned();
    let text = &line[end.map_or(0, |end| end + 2)..];
    let count = counts.entry(label).or_default();
    count.lines += 1;
    count.bytes += text.len();
    count.longest = count.longest.max(text.len());
    // Compared piece by piece: byte by byte would take a minute where hundreds of megabytes come without optimisation.
    for piece in text.chunks(NULS.len()) {
        if *piece != NULS[..piece.len()] {
            count.not_nul += piece.iter().filter(|byte| **byte != 0).count();
        }
    }
}

/// A run that has not ended yet. Dropping it kills it.
pub(crate) struct Running {
    shown: String,
    child: Child,
    pid: Pid,
    stdout: Stream,
    stderr: Stream,
    held: Option<ChildStdout>,
    started: Instant,
    limit: Duration,
    peak_kib: u64,
    cpu: Duration,
}

impl Running {
    /// Sends a signal to pssh; to the shell, where it was run by one without `exec`.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the run is still there");
    }

    /// Standard output, if it was held.
    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.held.take().expect("standard output was held")
    }

    /// The most memory that was resident so far.
    pub(crate) fn peak_kib(&mut self) -> u64 {
        self.peak_kib = self.peak_kib.max(peak_kib(self.pid).unwrap_or(0));
        self.peak_kib
    }

    /// Its process id; that of the shell, where it was run by one without `exec`.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// Waits until standard output and error together contain `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let contains = |stream: &Stream| String::from_utf8_lossy(&stream.bytes()).contains(text);
        while !contains(&self.stdout) && !contains(&self.stderr) {
            let ended = !self.is_running() && self.stdout.wait(Instant::now()) && self.stderr.wait(Instant::now());
            if (ended && !contains(&self.stdout) && !contains(&self.stderr)) || self.started.elapsed() > self.limit {
                let what = format!("{text:?} was never said");
                self.fail(&what);
            }
            thread::sleep(TICK);
        }
    }

    #[track_caller]
    fn fail(&mut self, what: &str) -> ! {
        let status = self.kill();
        let run = self.result(status);
        panic!("{what}\n{}", run.context())
    }

    fn kill(&mut self) -> ExitStatus {
        // It fails if the run has just ended.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.child.wait().expect("the child is ours")
    }

    fn result(&self, status: ExitStatus) -> Run {
        let counts = |stream: &Stream| stream.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Run {
            shown: self.shown.clone(),
            status,
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
            stdout_counts: counts(&self.stdout),
            stderr_counts: counts(&self.stderr),
            time: self.started.elapsed(),
            peak_kib: self.peak_kib,
            cpu: self.cpu,
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Run {
        let status = loop {
            self.peak_kib();
            self.cpu = self.cpu.max(cpu(self.pid).unwrap_or_default());
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status;
            }
            if self.started.elapsed() > self.limit {
                let what = format!("it did not end within {:?}", self.limit);
                self.fail(&what);
            }
            thread::sleep(TICK);
        };
        let time = self.started.elapsed();
        let deadline = Instant::now() + LIMIT;
        if !self.stdout.wait(deadline) || !self.stderr.wait(deadline) {
            self.fail("it ended, but something that it started holds its output open");
        }
        Run { time, ..self.result(status) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// Tries all `cases`, `workers` at a time; fails with every problem that `check` finds.
#[track_caller]
pub(crate) fn all_hold<C: Sync>(cases: &[C], workers: usize, check: impl Fn(&C) -> Option<String> + Sync) {
    let next = AtomicUsize::new(0);
    let failures = thread::scope(|scope| {
        let worker = || {
            let mut failures = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                failures.extend(check(case));
            }
            failures
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("worker")).collect::<Vec<_>>()
    });
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// VmHWM of proc(5). Nothing once the process has ended.
fn peak_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The CPU time that a process has taken so far, of the user and of the system (proc_pid_stat(5)).
fn cpu(pid: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, which may have anything in it, is in brackets; utime and stime are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = ticks.next()?? + ticks.next()??;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// A run that has ended.
pub(crate) struct Run {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// Where the streams were counted, only pssh's own lines.
    pub(crate) stderr: Vec<u8>,
    pub(crate) stdout_counts: Counts,
    pub(crate) stderr_counts: Counts,
    pub(crate) time: Duration,
    /// The most memory that was resident.
    pub(crate) peak_kib: u64,
    /// CPU time that it had taken when it was last looked at, shortly before its end.
    pub(crate) cpu: Duration,
}

impl Run {
    /// All that a failed test has to show.
    pub(crate) fn context(&self) -> String {
        format!(
            "--- {}\n--- {} after {:.2?}, at most {} KiB\n--- stdout:\n{}\n--- stderr:\n{}\n---",
            self.shown,
            self.status,
            self.time,
            self.peak_kib,
            excerpt(&self.stdout),
            excerpt(&self.stderr)
        )
    }

    #[track_caller]
    pub(crate) fn check(&self, holds: bool, what: &str) -> &Run {
        assert!(holds, "{what}\n{}", self.context());
        self
    }

    /// Fails unless pssh exited with `code`.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Run {
        self.check(self.status.code() == Some(code), &format!("expected exit status {code}"))
    }

    /// Fails unless pssh died by `signal`.
    #[track_caller]
    pub(crate) fn dies_by(&self, signal: Signal) -> &Run {
        let died = self.status.signal() == Some(signal.as_raw());
        self.check(died, &format!("expected death by {signal:?}"))
    }

    #[track_caller]
    pub(crate) fn within(&self, seconds: u64) -> &Run {
        let limit = Duration::from_secs(seconds);
        self.check(self.time <= limit, &format!("expected within {limit:?}"))
    }

    #[track_caller]
    pub(crate) fn stdout_is(&self, text: &str) -> &Run {
        self.check(self.stdout == text.as_bytes(), &format!("expected stdout {text:?}"))
    }

    /// Fails unless standard output is `text`, in which the time of pssh's lines is `TIME`.
    #[track_caller]
    pub(crate) fn stdout_with_times_is(&self, text: &str) -> &Run {
        let masked = without_times(&String::from_utf8_lossy(&self.stdout));
        self.check(masked == text, &format!("expected stdout {text:?}, not {masked:?}"))
    }

    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Run {
        self.check(self.stderr_text().contains(text), &format!("expected in stderr: {text}"))
    }

    #[track_caller]
    pub(crate) fn stderr_lacks(&self, text: &str) -> &Run {
        self.check(!self.stderr_text().contains(text), &format!("not expected in stderr: {text}"))
    }

    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// What `label` printed to standard output, without the prefixes.
    pub(crate) fn stdout_of(&self, label: &str) -> Vec<u8> {
        lines_of(&self.stdout, label)
    }

    pub(crate) fn stderr_of(&self, label: &str) -> Vec<u8> {
        lines_of(&self.stderr, label)
    }

    /// The outcomes in the order of the report, as `(label, outcome)`.
    pub(crate) fn outcomes(&self) -> Vec<(String, String)> {
        let text = self.stderr_text();
        let own = text.lines().filter_map(|line| line.strip_prefix("pssh: "));
        let pairs = own.filter_map(|line| line.split_once(": "));
        pairs
            // Not the notes of -v and not the tally.
            .filter(|(label, outcome)| !outcome.starts_with('[') && !label.ends_with("hosts"))
            .map(|(label, outcome)| (label.to_owned(), outcome.to_owned()))
            .collect()
    }

    /// The one outcome of `label`.
    #[track_caller]
    pub(crate) fn outcome(&self, label: &str) -> String {
        let outcomes = self.outcomes();
        let mut found = outcomes.iter().filter(|(of, _)| of == label);
        match (found.next(), found.next(), &self.recapped(label)[..]) {
            (Some((_, outcome)), None, _) => outcome.clone(),
            // Hosts that were never started may have no line of their own.
            (None, None, [outcome]) => outcome.clone(),
            _ => panic!("expected exactly one outcome of {label}\n{}", self.context()),
        }
    }

    /// The outcomes in the recap whose hosts include `label`: `  3 exit 1: web[1-3]`.
    fn recapped(&self, label: &str) -> Vec<String> {
        let text = self.stderr_text();
        let rows = text.lines().filter_map(|line| line.strip_prefix("  ")?.trim_start().split_once(' '));
        let rows =
            rows.filter(|(count, _)| count.parse::<usize>().is_ok()).filter_map(|(_, row)| row.rsplit_once(": "));
        rows.filter(|(_, names)| unfolded(names).iter().any(|name| name == label))
            .map(|(outcome, _)| outcome.to_owned())
            .collect()
    }

    /// Fails unless the one outcome of `label` starts with `words`.
    #[track_caller]
    pub(crate) fn ends(&self, label: &str, words: &str) -> &Run {
        let outcome = self.outcome(label);
        self.check(outcome.starts_with(words), &format!("expected {label} to end in {words:?}, not {outcome:?}"))
    }

    /// The hint below the outcome of `label`.
    pub(crate) fn hint(&self, label: &str) -> Option<String> {
        let text = self.stderr_text();
        let start = format!("pssh: {label}: ");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&start));
        lines.nth(1)?.strip_prefix("  hint: ").map(str::to_owned)
    }

    /// Fails unless the hint below the outcome of `label` contains `words`.
    #[track_caller]
    pub(crate) fn hints(&self, label: &str, words: &str) -> &Run {
        let hint = self.hint(label);
        let fits = hint.as_deref().is_some_and(|hint| hint.contains(words));
        self.check(fits, &format!("expected a hint for {label} with {words:?}, not {hint:?}"))
    }
}

/// `text` with `TIME` in place of the time in each line of pssh's, `[1] 16:32:33 [SUCCESS] web1`.
pub(crate) fn without_times(text: &str) -> String {
    let masked = text.split_inclusive('\n').map(|line| {
        let time = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let Some((number, rest)) = time.filter(|(number, _)| number.parse::<usize>().is_ok()) else {
            return line.to_owned();
        };
        let (time, rest) = rest.split_at_checked("16:32:33".len()).unwrap_or((rest, ""));
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        if form == "00:00:00" { format!("[{number}] TIME{rest}") } else { line.to_owned() }
    });
    masked.collect()
}

/// The names that pssh has folded: `a,b[1-3,7]`, with a range in brackets at the end at most.
fn unfolded(names: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let end = rest.find([',', '[']).unwrap_or(rest.len());
        let (start, after) = rest.split_at(end);
        let (ranges, after) = match after.strip_prefix('[').and_then(|ranges| ranges.split_once(']')) {
            Some((ranges, after)) => (Some(ranges), after),
            None => (None, after),
        };
        match ranges {
            None => all.push(start.to_owned()),
            Some(ranges) => {
                for range in ranges.split(',') {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let numbers = first.parse::<u32>().ok().zip(last.parse::<u32>().ok());
                    all.extend(numbers.into_iter().flat_map(|(a, b)| a..=b).map(|number| format!("{start}{number}")));
                }
            }
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    all
}

fn lines_of(text: &[u8], label: &str) -> Vec<u8> {
    let prefix = format!("{label}: ");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_prefix(prefix.as_bytes())).flatten().copied().collect()
}

fn excerpt(bytes: &[u8]) -> String {
    if bytes.len() <= 2 * SHOWN {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    format!(
        "{}\n[... {} bytes ...]\n{}",
        String::from_utf8_lossy(&bytes[..SHOWN]),
        bytes.len() - 2 * SHOWN,
        String::from_utf8_lossy(&bytes[bytes.len() - SHOWN..])
    )
}

/// Runs one of OpenSSH's tools to its end; gives its standard output.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&OsStr]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; {INSTALL}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What to do where OpenSSH is missing.
pub(crate) const INSTALL: &str = "install openssh-server: apt-get install openssh-server";

/// Makes a key with ssh-keygen; `args` are its type and what else is special.
pub(crate) fn ssh_keygen(path: &Path, args: &[&str]) -> String {
    let mut all: Vec<&OsStr> = ["-q", "-C", "", "-f"].map(OsStr::new).to_vec();
    all.push(path.as_os_str());
    if !args.contains(&"-N") {
        all.extend(["-N", ""].map(OsStr::new));
    }
    all.extend(args.iter().map(OsStr::new));
    tool("ssh-keygen", &all);
    public_line(path)
}

/// `TYPE BASE64` of the public key beside `path`.
pub(crate) fn public_line(path: &Path) -> String {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let text = fs::read_to_string(&name).expect("a public key");
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
