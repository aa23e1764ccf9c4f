//! The same command line for the programs of Debian's package pssh and for ours, over a table: what comes to standard output, the
//! files that are made here and on the hosts, and the exit status have to be the same. Where ours differ on purpose, the row says
//! so with one of a few named reasons, each of which is in docs/migrating.md; that the difference is really there is checked too.
//!
//! Both get the same home, `ssh_config` and hosts. ssh finds its files through the password database, so that the ssh and the scp
//! of theirs are told by `-F`. The hosts are n1 to n3, all of them this machine; nobody listens at `dead`.
//!
//! A new row is a line in `cases.rs`: a command line as one would type it, what it needs, and how it may differ. `PSSH_DROP_IN=WORDS`
//! tries only those that have these words. In words, files
//! and variables, `@PORT@` is the port of the hosts, `@ME@` the user, `@REMOTE@` a directory on the hosts of the row's own,
//! `@HERE@` the one in which it is run, `@HOME@` the home, and `@VICTIM@` the name of a process.

/// The table.
mod cases;
/// What optparse makes of abbreviations, and Python of words and patterns, compared with ours.
mod python;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use pssh::internal::{Program, shell_words};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::bin::{Env, all_hold, path_of};
use crate::sshd::{Setup, Sshd, current_user};

/// How long a run may take: far more than any needs.
const LIMIT: Duration = Duration::from_secs(60);
/// The time of all files that a row begins with, in seconds since 1970.
const OLD: i64 = 1_000_000_000;
/// By then the first command of a run has begun.
const UNDER_WAY: Duration = Duration::from_secs(4);
/// Rows that are tried at once.
const WORKERS: usize = 4;

/// Why ours differs from theirs, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    LinesByDefault,
    EveryLinePrefixed,
    BlocksEndWithNewline,
    FileForEveryHost,
    EmptyListIsError,
    BadInputIsError,
    RangesAndGroups,
    Ipv6WithoutBrackets,
    StatusOf255,
    RefusedForSsh,
    SwitchedOffBy0,
    EntryBeatsOptions,
    NodeVariablesOnRequest,
    TerminalOnRequest,
    FailuresInWords,
    NothingSaidBySsh,
    SourcesCheckedFirst,
    DirectoriesOfPslurp,
    DirectoriesMade,
    DeathBySignal,
    PasswordOnTerminal,
}

impl Difference {
    const ALL: [Difference; 21] = [
        Difference::LinesByDefault,
        Difference::EveryLinePrefixed,
        Difference::BlocksEndWithNewline,
        Difference::FileForEveryHost,
        Difference::EmptyListIsError,
        Difference::BadInputIsError,
        Difference::RangesAndGroups,
        Difference::Ipv6WithoutBrackets,
        Difference::StatusOf255,
        Difference::RefusedForSsh,
        Difference::SwitchedOffBy0,
        Difference::EntryBeatsOptions,
        Difference::NodeVariablesOnRequest,
        Difference::TerminalOnRequest,
        Difference::FailuresInWords,
        Difference::NothingSaidBySsh,
        Difference::SourcesCheckedFirst,
        Difference::DirectoriesOfPslurp,
        Difference::DirectoriesMade,
        Difference::DeathBySignal,
        Difference::PasswordOnTerminal,
    ];

    /// The words of docs/migrating.md that tell of it, in "Different from pssh".
    fn told(self) -> &'static str {
        match self {
            Difference::LinesByDefault => "pssh prints output in whole prefixed lines without any option",
            Difference::EveryLinePrefixed => "`-P` puts the host before every line",
            Difference::BlocksEndWithNewline => "`-i` starts each block and its `Stderr: ` on a new line",
            Difference::FileForEveryHost => "`-o` makes a file for every host that ran, empty if it printed nothing",
            Difference::EmptyListIsError => "An empty list of hosts",
            Difference::BadInputIsError => "an invalid number and an unbalanced quote are errors",
            Difference::RangesAndGroups => "`[1-3]` and `@x` in lists of hosts are ranges and groups",
            Difference::Ipv6WithoutBrackets => "IPv6 addresses need brackets only before a port",
            Difference::StatusOf255 => "A remote exit status 255 counts as 5",
            Difference::RefusedForSsh => "`-x` and `-X` accept the options of ssh and scp that apply here",
            Difference::SwitchedOffBy0 => "`PSSH_INLINE=0` and similar values turn the option off",
            Difference::EntryBeatsOptions => "The user and the port of an entry, and `-l`, override `-O` and `-x`",
            Difference::NodeVariablesOnRequest => "pssh sends `PSSH_NODENUM`, `PSSH_NUMNODES` and `PSSH_HOST` only if",
            Difference::TerminalOnRequest => "`RequestTTY=force` gives commands a terminal",
            Difference::FailuresInWords => "says why the host was not reached instead of `Exited with error code 255`",
            Difference::NothingSaidBySsh => "ssh's own messages on standard error",
            Difference::DirectoriesOfPslurp => "pslurp's directory is `HOST`, or `HOST:PORT` if you gave a port",
            Difference::DirectoriesMade => "pscp creates missing directories of the target path",
            Difference::DeathBySignal => "After Ctrl-C the program dies by that signal",
            Difference::PasswordOnTerminal => "`-A` asks only on the terminal",
            Difference::SourcesCheckedFirst => "Local files are also checked before the first connection",
        }
    }
}

/// A row of the table.
struct Row {
    /// The command line, the program's name first.
    line: &'static str,
    files: Vec<(&'static str, &'static str)>,
    /// Of files that have another mode than usual.
    modes: Vec<(&'static str, u32)>,
    variables: Vec<(&'static str, &'static str)>,
    input: &'static str,
    /// Whether hosts end in any order.
    any_order: bool,
    /// Whether the times of files are compared too.
    times: bool,
    /// Whether Ctrl-C is pressed once all is under way.
    interrupted: bool,
    difference: Option<Difference>,
    /// What ours is where it differs.
    ours: Changed,
}

/// What is different in ours, in all of the difference.
#[derive(Default)]
struct Changed {
    stdout: Option<&'static str>,
    exit: Option<i32>,
    /// Files that only ours makes, with their contents.
    more: Vec<(&'static str, &'static str)>,
    /// Files and directories that only theirs makes.
    fewer: Vec<&'static str>,
}

fn row(line: &'static str) -> Row {
    Row {
        line,
        files: Vec::new(),
        modes: Vec::new(),
        variables: Vec::new(),
        input: "",
        any_order: false,
        times: false,
        interrupted: false,
        difference: None,
        ours: Changed::default(),
    }
}

impl Row {
    /// A file in the directory in which it is run, or in `@REMOTE@/`; a name that ends with `/` is a directory, and a text that begins
    /// with `-> ` is where a link leads.
    fn file(mut self, name: &'static str, text: &'static str) -> Row {
        self.files.push((name, text));
        self
    }

    fn mode(mut self, name: &'static str, mode: u32) -> Row {
        self.modes.push((name, mode));
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Row {
        self.variables.push((name, value));
        self
    }

    fn input(self, input: &'static str) -> Row {
        Row { input, ..self }
    }

    fn any_order(self) -> Row {
        Row { any_order: true, ..self }
    }

    fn times(self) -> Row {
        Row { times: true, ..self }
    }

    fn interrupted(self) -> Row {
        Row { interrupted: true, ..self }
    }

    fn differs(self, difference: Difference) -> Row {
        Row { difference: Some(difference), ..self }
    }

    /// What ours prints instead.
    fn stdout(mut self, text: &'static str) -> Row {
        self.ours.stdout = Some(text);
        self
    }

    /// How ours exits instead.
    fn exit(mut self, status: i32) -> Row {
        self.ours.exit = Some(status);
        self
    }

    /// What ours says of a host that was not reached.
    fn failure(self, text: &'static str) -> Row {
        self.differs(Difference::FailuresInWords).stdout(text)
    }

    /// A file that only ours makes.
    fn more(mut self, name: &'static str, text: &'static str) -> Row {
        self.ours.more.push((name, text));
        self
    }

    /// A file or a directory that only theirs makes.
    fn fewer(mut self, name: &'static str) -> Row {
        self.ours.fewer.push(name);
        self
    }

    fn program(&self) -> Program {
        let name = self.line.split(' ').next().unwrap_or_default();
        let program = Program::ALL.into_iter().find(|program| program.name() == name);
        program.unwrap_or_else(|| panic!("{}: no program", self.line))
    }
}

/// Whose program is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Theirs,
    Ours,
}

/// Debian's name of a program.
fn debians(program: Program) -> &'static str {
    match program {
        Program::Pssh => "/usr/bin/parallel-ssh",
        Program::Pscp => "/usr/bin/parallel-scp",
        Program::Pslurp => "/usr/bin/parallel-slurp",
        Program::Prsync => "/usr/bin/parallel-rsync",
        Program::Pnuke => "/usr/bin/parallel-nuke",
    }
}

/// The hosts and the home of all rows.
struct World {
    sshd: Sshd,
    env: Env,
}

/// What a run has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Result {
    stdout: String,
    exit: i32,
    /// What there is in the two directories afterwards.
    files: BTreeMap<String, String>,
    /// Whether the process named `@VICTIM@` has been killed, if there was one.
    killed: Option<bool>,
}

impl World {
    fn new() -> World {
        for program in Program::ALL {
            let path = debians(program);
            assert!(Path::new(path).exists(), "{path} is missing; install pssh: apt-get install pssh rsync");
        }
        let env = Env::new();
        let sshd = Sshd::start(
            &env,
            Setup { hosts: 3, config: "AcceptEnv PSSH_* LC_*\nSubsystem sftp internal-sftp", ..Setup::default() },
        );
        let dir = env.ssh_dir();
        let (dir, port, me) = (dir.display(), sshd.port(), current_user());
        let mut config = String::new();
        for (number, address) in sshd.labels().iter().enumerate() {
            let _ = writeln!(config, "Host n{}\n HostName {address}", number + 1);
        }
        let _ = write!(
            config,
            "Host dead\n HostName {}\n Port 1\nHost *\n Port {port}\n User {me}\n IdentityFile {dir}/id_ed25519\n \
             IdentitiesOnly yes\n IdentityAgent none\n UserKnownHostsFile {dir}/known_hosts\n GlobalKnownHostsFile /dev/null\n \
             StrictHostKeyChecking yes\n ConnectionAttempts 1\n",
            sshd.label()
        );
        env.file(".ssh/config", config);
        fs::create_dir(env.path("bin")).expect("a directory");
        for tool in ["ssh", "scp"] {
            let script = format!("#!/bin/sh\nexec /usr/bin/{tool} -F {dir}/config \"$@\"\n");
            let path = env.file(&format!("bin/{tool}"), script);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        World { sshd, env }
    }

    fn run(&self, row: &Row, side: Side) -> Result {
        let (here, remote) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
        let name = format!("v{}{}", self.sshd.port(), if side == Side::Ours { 'o' } else { 't' });
        let mut victim = row.line.contains("@VICTIM@").then(|| Victim::start(&name));
        let fill = |text: &str| {
            text.replace("@PORT@", &self.sshd.port().to_string())
                .replace("@ME@", &current_user())
                .replace("@VICTIM@", &name)
                .replace("@HOME@", self.env.path("").to_str().expect("text").trim_end_matches('/'))
                .replace("@REMOTE@", remote.path().to_str().expect("text"))
                .replace("@HERE@", here.path().to_str().expect("text"))
        };
        let place = |name: &str| here.path().join(fill(name));
        for (name, text) in &row.files {
            let path = place(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().expect("a directory") })
                .expect("a directory");
            if let Some(target) = text.strip_prefix("-> ") {
                symlink(target, &path).expect("a link");
            } else if !name.ends_with('/') {
                fs::write(&path, fill(text)).expect("a file");
            }
        }
        for (name, mode) in &row.modes {
            fs::set_permissions(place(name), fs::Permissions::from_mode(*mode)).expect("a mode");
        }
        age(here.path());
        age(remote.path());
        let words = shell_words(OsStr::new(row.line)).expect("words");
        let words = words.iter().skip(1).map(|word| fill(word.to_str().expect("text")));
        let program = match side {
            Side::Theirs => debians(row.program()),
            Side::Ours => path_of(row.program()),
        };
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        // A session of its own: there is no terminal for questions.
        let mut command = Command::new("/usr/bin/setsid");
        command.arg(program).args(words).current_dir(here.path()).env_clear().env("HOME", self.env.path(""));
        match side {
            Side::Theirs => command.env("PATH", format!("{}:/usr/bin:/bin", self.env.path("bin").display())),
            Side::Ours => command.env("PATH", path),
        };
        command.envs(row.variables.iter().map(|(name, value)| (name, fill(value))));
        let (stdout, exit) = finish(command, row.input, row.interrupted);
        let mut found = BTreeMap::new();
        tree(here.path(), "", row.times, &mut found);
        tree(remote.path(), "@REMOTE@/", row.times, &mut found);
        let unfill = |text: String| {
            text.replace(remote.path().to_str().expect("text"), "@REMOTE@")
                .replace(self.env.path("").to_str().expect("text").trim_end_matches('/'), "@HOME@")
                .replace(&self.sshd.port().to_string(), "@PORT@")
                .replace(here.path().to_str().expect("text"), "@HERE@")
        };
        let files = found.into_iter().map(|(name, text)| (unfill(name), unfill(text))).collect();
        let killed = victim.as_mut().map(Victim::is_killed);
        Result { stdout: masked(&unfill(stdout), row.any_order), exit, files, killed }
    }

    /// What is wrong with a row.
    fn check(&self, row: &Row) -> Option<String> {
        let (theirs, ours) = (self.run(row, Side::Theirs), self.run(row, Side::Ours));
        let mut expected = theirs.clone();
        let mut problems = String::new();
        if let Some(text) = row.ours.stdout {
            expected.stdout = masked(&text.replace("@ME@", &current_user()), row.any_order);
        }
        expected.exit = row.ours.exit.unwrap_or(expected.exit);
        for (name, text) in &row.ours.more {
            let text = if name.ends_with('/') { "drwxr-xr-x".to_owned() } else { format!("-rw-r--r-- {text}") };
            if expected.files.insert((*name).to_owned(), text).is_some() {
                let _ = writeln!(problems, "both make {name}");
            }
        }
        for name in &row.ours.fewer {
            if expected.files.remove(*name).is_none() {
                let _ = writeln!(problems, "theirs does not make {name}");
            }
        }
        let is_declared = row.difference.is_some();
        if is_declared && expected == theirs {
            let _ = writeln!(problems, "the difference {:?} is not there", row.difference);
        } else if !is_declared && expected != theirs {
            let _ = writeln!(problems, "a difference without a name");
        }
        if row.ours.stdout.is_some() && expected.stdout == theirs.stdout {
            let _ = writeln!(problems, "both print the same");
        }
        if row.ours.exit.is_some() && expected.exit == theirs.exit {
            let _ = writeln!(problems, "both exit with {}", theirs.exit);
        }
        if ours != expected {
            let _ = writeln!(problems, "theirs: {theirs:#?}\nours: {ours:#?}");
        }
        (!problems.is_empty()).then(|| format!("{}\n{problems}", row.line))
    }
}

/// A process with a name that no other has, for pnuke.
struct Victim {
    child: Child,
    _dir: TempDir,
}

impl Victim {
    fn start(name: &str) -> Victim {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join(name);
        fs::copy("/usr/bin/sleep", &path).expect("a program");
        // Another thread's child may hold it open for a moment, for writing.
        let child = loop {
            if let Ok(child) = Command::new(&path).arg("120").spawn() {
                break child;
            }
            thread::sleep(Duration::from_millis(5));
        };
        Victim { child, _dir: dir }
    }

    /// A signal that was sent takes effect a little later on a busy machine.
    fn is_killed(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => return status.signal() == Some(9),
                None if Instant::now() > end => return false,
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It fails if the process has been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs to the end, with its output and exit status; a signal is negative.
fn finish(mut command: Command, input: &'static str, interrupted: bool) -> (String, i32) {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program can be run");
    let pid = Pid::from_child(&child);
    if let Some(mut stdin) = child.stdin.take() {
        // A run that reads nothing of it closes the pipe.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let start = Instant::now();
    let mut interrupt = interrupted.then_some(start + UNDER_WAY);
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if interrupt.is_some_and(|at| Instant::now() > at) {
            interrupt = None;
            // It fails if the run has just ended, which shows in its output.
            let _ = kill_process(pid, Signal::INT);
        }
        if start.elapsed() > LIMIT {
            let _ = kill_process_group(pid, Signal::KILL);
            panic!("{command:?} does not end; it has said {:?}", stderr.join());
        }
        thread::sleep(Duration::from_millis(5));
    };
    let exit = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
    (stdout.join().expect("a reader"), exit)
}

/// Output without what differs from run to run: the time in pssh's status lines and, where hosts end in any order, the order.
fn masked(text: &str, any_order: bool) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.splitn(3, ' ').collect();
        let is_counter = words[0].strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        let is_number = is_counter.is_some_and(|word| word.parse::<u32>().is_ok());
        if let (true, Some(time)) = (is_number, words.get(1))
            && time.len() == 8
            && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
        {
            words[1] = "TIME";
            if any_order {
                words[0] = "[N]";
            }
        }
        // Which of the two pssh says is a race.
        let line = words.join(" ").replace("Timed out, Killed by signal 9", "Timed out");
        // Hosts have other keys each time.
        match line.find("SHA256:") {
            Some(place) => format!("{}SHA256:KEY\n", &line[..place]),
            None => line,
        }
    };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(line).collect();
    if any_order {
        lines.sort();
    }
    lines.concat()
}

/// Gives all that is in a directory a time long ago.
fn age(dir: &Path) {
    let old = fs::FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(OLD as u64));
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            age(&path);
        }
        fs::File::open(&path).and_then(|file| file.set_times(old)).expect("a time");
    }
}

/// What is in a directory: modes and contents, and where links lead.
fn tree(dir: &Path, name: &str, times: bool, found: &mut BTreeMap<String, String>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("a directory").map(|it| it.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = format!("{name}{}", path.file_name().expect("a name").to_string_lossy());
        let about = fs::symlink_metadata(&path).expect("metadata");
        let time = match about.mtime() {
            _ if !times => String::new(),
            time if time == OLD => " old".to_owned(),
            _ => " new".to_owned(),
        };
        if about.is_dir() {
            found.insert(format!("{name}/"), format!("{}{time}", mode(about.mode(), 'd')));
            tree(&path, &format!("{name}/"), times, found);
        } else if about.is_symlink() {
            found.insert(name, fs::read_link(&path).expect("a link").to_string_lossy().into_owned());
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
            found.insert(name, format!("{}{time} {text}", mode(about.mode(), '-')));
        }
    }
}

/// In the format of `ls -l`.
fn mode(mode: u32, kind: char) -> String {
    let bit = |place: u32, letter: char| if mode >> place & 1 == 1 { letter } else { '-' };
    let bits = (0..9).map(|place| bit(8 - place, ['r', 'w', 'x'][place as usize % 3]));
    std::iter::once(kind).chain(bits).collect()
}

#[test]
fn the_same_command_lines_do_the_same() {
    let world = World::new();
    let mut rows = cases::rows();
    if let Ok(words) = std::env::var("PSSH_DROP_IN") {
        rows.retain(|row| row.line.contains(&words));
    }
    all_hold(&rows, WORKERS, |row| world.check(row));
}

#[test]
fn every_difference_is_documented_and_has_a_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating.md");
    let page = fs::read_to_string(page).expect("docs/migrating.md");
    let told = page.split("\n## ").find(|section| section.starts_with("Different from pssh")).expect("the section");
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = cases::rows();
    for difference in Difference::ALL {
        assert!(told.contains(difference.told()), "docs/migrating.md does not tell: {}", difference.told());
        assert!(rows.iter().any(|row| row.difference == Some(difference)), "{difference:?} has no row");
    }
    assert!(rows.len() >= 60, "{} rows", rows.len());
}

#[test]
fn the_protocol_that_scp_is_told_is_the_only_one() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { config: crate::pscp::NO_SFTP, ..Setup::default() });
    let source = env.file("a", "text");
    let target = env.path("b");
    let run = |words: &[&str]| {
        let pscp = env.run_of(Program::Pscp).hosts(sshd.hosts()).arg("-v").args(words);
        let run = pscp.arg(&source).arg(&target).run();
        let is_there = fs::remove_file(&target).is_ok();
        (run, is_there)
    };
    let (both, is_there) = run(&[]);
    both.exits(0).stderr_has("trying scp").check(is_there, "it is copied");
    let (scp, is_there) = run(&["-x", "-O"]);
    scp.exits(0).stderr_lacks("trying scp").check(is_there, "it is copied");
    let (sftp, is_there) = run(&["-X", "-s"]);
    sftp.exits(4).stderr_lacks("trying scp").check(!is_there, "there is no SFTP server");
}
