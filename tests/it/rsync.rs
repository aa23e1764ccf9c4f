//! The real rsync on both sides, joined by the library as a session would join them, but without SSH between.

mod host;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use pssh::internal::{Cancel, Direction, Event, EventKind, Rsync, Stream, Transfer, Watch};
use pssh::{HostSpec, HostStage, Outcome, Phase};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::host::{Behaviour, Seen};

/// How long something that has to happen soon may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// One job, and everything that was seen of it.
struct Run {
    outcome: Outcome,
    /// Standard output and error of the local rsync.
    printed: [String; 2],
    /// What became of each call of the remote shell.
    calls: Vec<Seen>,
    /// The directory of the socket, if rsync was seen running.
    private: Option<PathBuf>,
    /// How long it took.
    took: Duration,
}

impl Run {
    #[track_caller]
    fn exits(&self, status: u32) -> &Run {
        let fits = matches!(self.outcome, Outcome::Exited(own) if own == status);
        assert!(fits, "expected exit {status}:\n{}", self.all());
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Run {
        assert!(self.printed[1].contains(text), "expected {text:?}:\n{}", self.all());
        self
    }

    fn all(&self) -> String {
        format!(
            "{:?}\nstdout: {}\nstderr: {}\ncalls: {:#?}",
            self.outcome, self.printed[0], self.printed[1], self.calls
        )
    }
}

/// A directory for a test, and the job's settings.
struct Place {
    dir: TempDir,
    cancel: Cancel,
    limit: Duration,
    behaviour: Behaviour,
    transfer: Transfer,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: TempDir::new().expect("a temporary directory"),
            cancel: Cancel::new().expect("a pipe"),
            limit: Duration::from_secs(120),
            behaviour: Behaviour::default(),
            transfer: Transfer { archive: true, ..Transfer::default() },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, contents).expect("a file");
        path
    }

    /// A program that is taken for rsync: `sh`, with the remote shell for rsync as `$2`.
    fn fake(&self, script: &str) -> PathBuf {
        let path = self.file("fake rsync", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the mode");
        path
    }

    fn uploads(mut self, sources: &[&str], target: &str) -> Place {
        let sources = sources.iter().map(|name| self.dir.path().join(name).into_os_string()).collect();
        self.transfer.direction = Direction::Upload { sources, target: self.path(target).into() };
        self
    }

    fn downloads(mut self, remote: &str, directory: &str) -> Place {
        let directories = vec![self.path(directory)];
        self.transfer.direction = Direction::Download { remote: self.path(remote).into(), directories };
        self
    }

    fn extra(mut self, words: &[&str]) -> Place {
        self.transfer.extra = words.iter().map(Into::into).collect();
        self
    }

    fn with(mut self, behaviour: Behaviour) -> Place {
        self.behaviour = behaviour;
        self
    }

    fn rsync(&self) -> Rsync {
        let found = Command::new("sh").args(["-c", "command -v rsync"]).output().expect("sh").stdout;
        assert!(!found.is_empty(), "rsync is not installed");
        let program = PathBuf::from(std::ffi::OsStr::from_bytes(found.trim_ascii_end()));
        Rsync::new(program, self.ourselves(), self.transfer.clone())
    }

    /// pssh under a name that needs quoting.
    fn ourselves(&self) -> PathBuf {
        let link = self.path("it's \"ps sh\"");
        if !link.is_symlink() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pssh"), &link).expect("a link");
        }
        link
    }

    fn run(&self) -> Run {
        self.run_with(&self.rsync())
    }

    fn run_fake(&self, script: &str) -> Run {
        self.run_with(&Rsync::new(self.fake(script), self.ourselves(), self.transfer.clone()))
    }

    fn run_with(&self, rsync: &Rsync) -> Run {
        let (events, received) = bounded(128);
        let reader = thread::spawn(move || printed(&received));
        let mut watch = Watch::new(&self.cancel, self.limit);
        watch.expect(Phase::Transfer, "not finished");
        let begun = Instant::now();
        let started = rsync.start(0, &host(), &events).expect("rsync");
        drop(events);
        let private = Mutex::new(None);
        let mut calls = Vec::new();
        let outcome = started.run(&watch, |command, dialogue| {
            *private.lock().expect("no panic") = self.socket_directory();
            let (outcome, seen) = self.behaviour.converse(command, dialogue, &self.cancel);
            calls.push(seen);
            outcome
        });
        let took = begun.elapsed();
        let private = private.into_inner().expect("no panic");
        // The events end only with the reader of what rsync prints.
        Run { outcome, printed: reader.join().expect("the reader"), calls, private, took }
    }

    /// The local rsync and its like: processes whose command line names this place, but for what the host has started.
    fn processes(&self) -> Vec<(i32, String)> {
        let wanted = self.dir.path().to_str().expect("text").to_owned();
        let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
            let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (line.contains(&wanted) && id != std::process::id() as i32).then_some((id, line))
        });
        all.collect()
    }

    fn socket_directory(&self) -> Option<PathBuf> {
        let processes = self.processes();
        let (_, socket) = processes.iter().find_map(|(_, line)| line.split_once("--remote-shell "))?;
        Some(Path::new(socket.split(' ').next()?).parent()?.to_owned())
    }

    /// Nothing may be left, whatever the outcome.
    #[track_caller]
    fn is_tidy(&self, run: &Run) {
        if let Some(private) = &run.private {
            assert!(!private.exists(), "{} is left", private.display());
        }
        // Killed processes of the host may be a moment away from being gone.
        let deadline = Instant::now() + SOON;
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "left: {:#?}", self.processes());
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn is_same(&self, one: &str, other: &str) {
        let diff = Command::new("diff").arg("-r").arg(self.path(one)).arg(self.path(other)).output().expect("diff");
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    }

    /// A tree with what makes copying hard.
    fn tree(&self, name: &str) {
        let odd: [&[u8]; 8] = [
            b"plain",
            b"with blank",
            b"line\nbreak",
            b"-dash",
            b"quo'te\"s",
            b"$HOME `id` \\ *",
            b"\xff\xfe",
            b"sub/deep/x:y",
        ];
        for (number, file) in odd.into_iter().enumerate() {
            let path = self.path(name).join(std::ffi::OsStr::from_bytes(file));
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, vec![b'a' + number as u8; number * 10_000]).expect("a file");
        }
        for number in 0..300 {
            self.file(&format!("{name}/many/{number}"), number.to_string());
        }
        fs::create_dir(self.path(name).join("empty")).expect("a directory");
    }
}

/// Bytes that do not compress and differ everywhere.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn host() -> HostSpec {
    let mut hosts = pssh::gather(&[], &["joe@web1:2222".to_owned()]).expect("a host");
    let mut host = hosts.swap_remove(0);
    // As in a list of seven.
    host.place.count = 7;
    host
}

fn printed(events: &Receiver<Event>) -> [String; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for event in events {
        assert_eq!(event.job, 0);
        if let EventKind::Output { stream, bytes } = event.kind {
            all[usize::from(stream == Stream::Stderr)].extend(bytes);
        }
    }
    all.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

// rsync on both sides.

#[test]
fn trees_go_up_and_come_down() {
    let up = Place::new().uploads(&["tree"], "there/");
    up.tree("tree");
    fs::create_dir(up.path("there")).expect("a directory");
    let run = up.run();
    run.exits(0);
    up.is_same("tree", "there/tree");
    up.is_tidy(&run);
    assert!(run.private.is_some(), "the directory of the socket was not seen");
    assert_eq!(run.calls.len(), 1);
    assert!(run.calls[0].command.starts_with("rsync --server "), "{}", run.calls[0].command);

    let down = Place::new().downloads("tree/", "here/web1");
    down.tree("tree");
    let run = down.run();
    run.exits(0);
    down.is_same("tree", "here/web1");
    down.is_tidy(&run);
    // Once more: what is there already stays.
    down.run().exits(0);
}

#[test]
fn odd_names_on_the_command_line() {
    let up = Place::new().uploads(&["od d'\"$(id)", "plain"], "the re'\"`id` $HOME/");
    up.file("od d'\"$(id)", "one");
    up.file("plain", "two");
    fs::create_dir(up.path("the re'\"`id` $HOME")).expect("a directory");
    up.run().exits(0);
    up.is_same("od d'\"$(id)", "the re'\"`id` $HOME/od d'\"$(id)");
    up.is_same("plain", "the re'\"`id` $HOME/plain");
}

#[test]
fn a_large_file_goes_both_ways() {
    let up = Place::new().uploads(&["large"], "copy");
    up.file("large", noise(64 << 20));
    up.run().exits(0);
    up.is_same("large", "copy");

    let down = Place::new().downloads("large", "here");
    down.file("large", noise(64 << 20));
    down.run().exits(0);
    down.is_same("large", "here/large");
}

#[test]
fn what_is_gone_here_is_deleted_there() {
    let place = Place::new().uploads(&["tree/"], "there").extra(&["--delete", "--info=del"]);
    place.file("tree/kept", "x");
    place.file("there/gone", "y");
    let run = place.run();
    run.exits(0);
    assert!(run.printed[0].contains("deleting gone"), "{}", run.all());
    place.is_same("tree", "there");
}

#[test]
fn a_host_that_takes_nothing_while_it_speaks() {
    // A tree that differs everywhere makes both sides speak much at the same time.
    let place = Place::new().uploads(&["tree/"], "there").extra(&["--checksum", "--no-whole-file", "--block-size=700"]);
    place.tree("tree");
    place.tree("there");
    place.file("tree/large", noise(16 << 20));
    let mut other = noise(16 << 20);
    other.iter_mut().step_by(5000).for_each(|byte| *byte ^= 1);
    place.file("there/large", other);
    let place = place.with(Behaviour { takes_turns: true, ..Behaviour::default() });
    place.run().exits(0);
    place.is_same("tree", "there");
}

#[test]
fn no_rsync_there() {
    let place = Place::new().uploads(&["a"], "b").extra(&["--rsync-path=/no/such/rsync"]);
    place.file("a", "x");
    let run = place.run();
    run.exits(127);
    assert!(run.calls[0].complaints.contains("/no/such/rsync"), "{}", run.all());
    assert_eq!(pssh::internal::meaning_of_rsync(127), Some("rsync was not found on the host"));
    place.is_tidy(&run);
}

#[test]
fn the_rsync_there_dies() {
    for direction in [Direction::default(), Direction::Download { remote: "".into(), directories: Vec::new() }] {
        let place = Place::new().with(Behaviour { dies_after: Some(2 << 20), ..Behaviour::default() });
        let place = match direction {
            Direction::Upload { .. } => place.uploads(&["large"], "copy"),
            Direction::Download { .. } => place.downloads("large", "here"),
        };
        place.file("large", noise(16 << 20));
        let run = place.run();
        assert!(matches!(&run.outcome, Outcome::Signaled { name } if name == "9"), "{}", run.all());
        assert!(!place.path("copy").exists() && !place.path("here/large").exists(), "half a file is in place");
        place.is_tidy(&run);
    }
}

#[test]
fn a_missing_source_and_a_wrong_option() {
    let place = Place::new().uploads(&["missing"], "copy");
    place.run().exits(23).says("No such file or directory");
    let place = Place::new().uploads(&["missing"], "copy").extra(&["--no-such-option"]);
    let run = place.run();
    run.exits(1).says("--no-such-option");
    assert!(run.calls.is_empty());
    place.is_tidy(&run);
}

#[test]
fn another_remote_shell_among_the_words_wins() {
    let place = Place::new().uploads(&["a"], "b").extra(&["-e", "sh -c 'echo nobody asked >&2; exit 99'"]);
    place.file("a", "x");
    let run = place.run();
    assert!(matches!(run.outcome, Outcome::Exited(1..)), "{}", run.all());
    run.says("nobody asked");
    assert!(run.calls.is_empty(), "{}", run.all());
}

#[test]
fn cancelled_in_the_middle() {
    for down in [false, true] {
        let place = Place::new().with(Behaviour { cancels_after: Some(2 << 20), ..Behaviour::default() });
        let place = if down { place.downloads("large", "here") } else { place.uploads(&["large"], "copy") };
        place.file("large", noise(16 << 20));
        let run = place.run();
        assert!(matches!(run.outcome, Outcome::Cancelled { stage: HostStage::Running, .. }), "{}", run.all());
        assert_eq!(run.printed[1], "", "that it was told to stop is no news");
        assert!(run.private.is_some(), "the directory of the socket was not seen");
        place.is_tidy(&run);
        let left: Vec<_> =
            fs::read_dir(place.path("here")).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty() && !place.path("copy").exists(), "left: {left:?}");
    }
}

#[test]
fn a_lost_connection_is_what_counts() {
    let place = Place::new().with(Behaviour { lost_after: Some(2 << 20), ..Behaviour::default() });
    let place = place.downloads("large", "here").extra(&["--partial"]);
    place.file("large", noise(16 << 20));
    let run = place.run();
    assert_eq!(run.outcome.to_string(), "lost: cut by the test");
    assert!(place.path("here/large").exists(), "--partial keeps what has arrived");
    place.is_tidy(&run);
}

#[test]
fn a_local_rsync_that_is_killed() {
    let place = Place::new().downloads("large", "here");
    let place = place.with(Behaviour { pause: Duration::from_millis(2), ..Behaviour::default() });
    place.file("large", noise(16 << 20));
    let private = Arc::new(AtomicBool::new(false));
    let run = thread::scope(|scope| {
        let done = Arc::clone(&private);
        let run = scope.spawn(|| place.run());
        while !done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            let has_begun =
                place.path("here").exists() && fs::read_dir(place.path("here")).into_iter().flatten().count() > 0;
            // The first of them that names the remote shell is the one that we started.
            let local =
                place.processes().into_iter().find(|(_, line)| line.contains(" -e ") && !line.contains("--server"));
            if let Some((id, _)) = local.filter(|_| has_begun) {
                kill_process(Pid::from_raw(id).expect("a process"), Signal::KILL).expect("it is running");
                done.store(true, Ordering::Relaxed);
            }
            assert!(!run.is_finished() || done.load(Ordering::Relaxed), "it ended before it could be killed");
        }
        run.join().expect("the job")
    });
    assert!(matches!(&run.outcome, Outcome::Signaled { name } if name == "KILL"), "{}", run.all());
    assert!(!place.path("here/large").exists(), "half a file is in place");
    place.is_tidy(&run);
}

// What is only taken for rsync.

/// Starts the remote shell as rsync would.
const CALL: &str =
    "call() { eval \"$shell\" -l joe web1 '\"$@\"'; }; shell=$(printf %s \"$2\" | sed \"s/''/'\\\\\\\\\\\\''/g\")";

#[test]
fn both_sides_may_be_slow() {
    // More than any pipe holds goes to the host and back, first with a reader here that does not begin, then with a slow host.
    let script = format!("{CALL}; head -c 8388608 /dev/zero | call cat | (sleep 1; wc -c)");
    for pause in [Duration::ZERO, Duration::from_millis(1)] {
        let place = Place::new().with(Behaviour { pause, ..Behaviour::default() });
        let run = place.run_fake(&script);
        run.exits(0);
        assert_eq!(run.printed[0].trim(), "8388608", "{}", run.all());
        place.is_tidy(&run);
    }
}

#[test]
fn the_remote_shell_has_the_exit_status_of_the_command() {
    for (command, status) in [("exit 0", "0\n"), ("kill -9 $$", "255\n"), ("exit  77", "77\n")] {
        let place = Place::new();
        let run = place.run_fake(&format!("{CALL}; call '{command}'; echo $?; exit 3"));
        assert_eq!(run.printed, [status.to_owned(), String::new()], "{}", run.all());
        // An rsync that fails after its host was killed is not what has failed.
        let is_killed = matches!(run.outcome, Outcome::Signaled { .. });
        assert!(is_killed == (status == "255\n") && (is_killed || matches!(run.outcome, Outcome::Exited(3))));
        assert_eq!(run.calls[0].command, command);
        place.is_tidy(&run);
    }
}

#[test]
fn only_the_rsync_of_the_job_is_served_and_once() {
    // A second remote shell finds no listener.
    let place = Place::new();
    let run = place.run_fake(&format!("{CALL}; call 'exit 0'; call 'echo second'; echo $?; exit 4"));
    run.exits(4).says("cannot reach the run");
    assert_eq!((run.printed[0].as_str(), run.calls.len()), ("255\n", 1), "{}", run.all());
    place.is_tidy(&run);
    // Another program of the same user that has read where the socket is from the list of processes. Here init has become its parent.
    let place = Place::new();
    let stranger = "(setsid sh -c 'sleep 0.3; eval \"$0 web1 id\"; echo $? >stranger' \"$shell\" &)";
    let script = format!("cd {0}; {CALL}; {stranger}; sleep 1; call 'exit 0'; echo $?", place.dir.path().display());
    let run = place.run_fake(&script);
    run.exits(0);
    assert_eq!((run.printed[0].as_str(), run.calls.len()), ("0\n", 1), "{}", run.all());
    assert_eq!(fs::read_to_string(place.path("stranger")).expect("its status"), "255\n");
    place.is_tidy(&run);
}

#[test]
fn what_the_remote_shell_does_not_know_is_refused() {
    let place = Place::new();
    let run = place.run_fake(&format!("{CALL}; eval \"$shell\" -p 22 web1 id; echo $?; eval \"$shell\" web1; echo $?"));
    run.exits(0).says("unexpected -p").says("the command is missing");
    assert_eq!(run.printed[0], "255\n255\n");
    assert!(run.calls.is_empty());
}

#[test]
fn a_command_that_is_too_long_for_a_channel() {
    let place = Place::new();
    let run = place.run_fake(&format!("{CALL}; call \"$(head -c 40000 /dev/zero | tr '\\0' x)\"; sleep 60"));
    let told = run.outcome.to_string();
    assert!(told.starts_with("local: accepting rsync's connection: its remote command has 40000 bytes"), "{told}");
    assert!(run.took < SOON, "{:?}", run.took);
    place.is_tidy(&run);
}

#[test]
fn nothing_of_ours_is_inherited_but_what_pssh_tells() {
    let place = Place::new();
    let run = place.run_fake("env | grep ^PSSH_ | sort; ls /proc/self/fd; cat");
    run.exits(0);
    let (variables, descriptors) = run.printed[0].split_once("\n0\n").expect("both");
    assert_eq!(variables, "PSSH_HOST=web1\nPSSH_NODENUM=0\nPSSH_NUMNODES=7");
    for descriptor in descriptors.lines() {
        // The last one is the directory that ls reads. Others are there only if this process has them from its own parent.
        let fits = ["1", "2", "3"].contains(&descriptor) || is_inherited(descriptor);
        assert!(fits, "{descriptor} is open in {}", run.all());
    }
}

#[test]
fn a_deadline_ends_all_that_rsync_has_started() {
    let mut place = Place::new();
    place.limit = Duration::from_millis(500);
    let script = "trap '' TERM; sleep 61 & echo $!; sleep 62 & echo $!; wait";
    let run = place.run_fake(script);
    assert_eq!(run.outcome.to_string(), "timeout transfer: not finished within 0.5 s");
    assert!(run.took < SOON, "{:?}", run.took);
    let ids: Vec<i32> = run.printed[0].lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(ids.len(), 2, "{}", run.all());
    assert_gone(&ids);
    place.is_tidy(&run);
}

#[test]
fn the_host_is_not_waited_for_once_rsync_is_gone() {
    // It takes no more, as one whose disk is full.
    let place = Place::new();
    let run = place.run_fake(&format!("{CALL}; call yes | head -c 100000 | wc -c; exit 11"));
    run.exits(11);
    assert_eq!(run.printed[0].trim(), "100000");
    assert!(run.calls[0].bytes < 16 << 20 && run.took < SOON, "{}", run.all());
    place.is_tidy(&run);

    // It dies while the host neither says nor takes anything.
    let place = Place::new();
    let run = place.run_fake(&format!("{CALL}; (eval \"exec $shell web1 'sleep 64'\") & sleep 0.5; kill -9 $$"));
    assert!(matches!(&run.outcome, Outcome::Signaled { name } if name == "KILL"), "{}", run.all());
    assert!(run.calls.len() == 1 && run.took < SOON, "{}", run.all());
    place.is_tidy(&run);
}

#[test]
fn what_rsync_leaves_running_is_ended_with_it() {
    let place = Place::new();
    let run = place.run_fake("sleep 63 & echo $!; exit 5");
    run.exits(5);
    assert!(run.took < SOON, "{:?}", run.took);
    assert_gone(&[run.printed[0].trim().parse().expect("a number")]);
}

#[test]
fn a_process_that_has_left_the_group_does_not_hold_up_the_job() {
    let place = Place::new();
    let run = place.run_fake("setsid sleep 20 & echo $!; exit 0");
    run.exits(0);
    assert!(run.took < Duration::from_secs(15), "{:?}", run.took);
    let id = run.printed[0].trim().parse().ok().and_then(Pid::from_raw).expect("a number");
    // It may be setsid's own number, or that of what it has started; either way it is not ours to leave.
    let _ = kill_process(id, Signal::KILL);
}

#[test]
fn much_output_arrives_whole_and_in_order() {
    let place = Place::new();
    let run = place.run_fake("seq 1 200000; seq 1 50000 >&2; printf end");
    run.exits(0);
    let numbers = |last: u32| (1..=last).map(|number| format!("{number}\n")).collect::<String>();
    assert!(run.printed[0] == numbers(200_000) + "end", "{} bytes", run.printed[0].len());
    assert!(run.printed[1] == numbers(50_000), "{} bytes", run.printed[1].len());
}

#[test]
fn fifty_at_once() {
    let places: Vec<Place> = (0..50).map(|_| Place::new().uploads(&["tree/"], "there")).collect();
    places.iter().for_each(|place| drop(place.file("tree/file", noise(200_000))));
    thread::scope(|scope| {
        for place in &places {
            scope.spawn(|| place.run().exits(0).calls.len());
        }
    });
    places.iter().for_each(|place| place.is_same("tree", "there"));
}

/// Whether a descriptor of this process is given to whatever it starts.
fn is_inherited(descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
    flags.and_then(|flags| u32::from_str_radix(flags, 8).ok()).is_some_and(|flags| flags & 0o2_000_000 == 0)
}

fn assert_gone(ids: &[i32]) {
    let deadline = Instant::now() + SOON;
    // An orphan that has ended may not have been reaped by init yet.
    let runs = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    };
    while ids.iter().any(runs) {
        assert!(Instant::now() < deadline, "some of {ids:?} are left");
        thread::sleep(Duration::from_millis(20));
    }
}
