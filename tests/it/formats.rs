//! How output is shown: the formats, prefixes, and the files of `-o` and `-e`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::bin::{Env, Run, without_times};
use crate::sshd::{Fleet, Sshd, current_user, hosts};

/// A shell line that sets `n` to the last number of the host's address: 1 for the first.
const NUMBER: &str = "set -- $SSH_CONNECTION; n=${3##*.}; ";

/// Runs a shell line on all hosts.
#[track_caller]
fn run(env: &Env, sshd: &Sshd, args: &[&str], line: &str) -> Run {
    env.pssh().hosts(sshd.hosts()).args(args).args(["--", &format!("{NUMBER}{line}")]).run()
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string().expect("text");
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The line of a host that is well, as the `number`th.
fn well(number: usize, host: &str) -> String {
    format!("[{number}] TIME [SUCCESS] {host}\n")
}

/// The line of a host that failed.
fn failed(number: usize, host: &str, reason: &str) -> String {
    format!("[{number}] TIME [FAILURE] {host} {reason}\n")
}

// Lines.

#[test]
fn lines_start_as_the_template_says() {
    let (env, sshd) = hosts(1);
    let (label, port) = (sshd.label(), sshd.port());
    let line = "echo a; echo b >&2";
    let lines = |args: &[&str]| run(&env, &sshd, args, line);
    lines(&["--no-prefix"]).exits(0).stdout_is("a\n").stderr_has("b\npssh: 127.0.1.1: ok (exit 0)\n");
    let template = "{index}/{host}:{port} {{{label}}} | ";
    let start = format!("0/{label}:{port} {{{label}}} | ");
    lines(&["--prefix", template]).exits(0).stdout_is(&format!("{start}a\n")).stderr_has(&format!("{start}b\n"));
    lines(&["-l", "nobody-here", "--prefix", "{user}"]).exits(4);
    for format in [&["--format=lines"][..], &["-P", "--format=lines"]] {
        let run = lines(format);
        run.exits(0).stdout_is(&format!("{label}: a\n")).ends(&label, "ok (exit 0)");
    }
    for format in [&["-P"][..], &["--print"], &["-i", "-P"]] {
        let run = lines(format);
        run.exits(0).stdout_with_times_is(&format!("{label}: a\n{}", well(1, &sshd.hosts()[0])));
        run.check(run.stderr_text() == format!("{label}: b\n"), "nothing else");
    }
    let wrong = lines(&["--prefix", "{hots}"]);
    wrong.exits(2).stderr_has("unknown field {hots}; did you mean host?");
    lines(&["-i", "--align"]).exits(2).stderr_has("--align needs --format lines, not inline");
    lines(&["--sort"]).exits(2).stderr_has("--sort needs --format inline, not lines");
    assert_eq!(sshd.connections(), 8, "what is wrong connects to nothing");
}

#[test]
fn prefixes_can_be_aligned() {
    let (env, sshd) = hosts(11);
    let run = run(&env, &sshd, &["--align"], "echo x");
    run.exits(0);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    run.check(text.contains("127.0.1.1:  x\n") && text.contains("127.0.1.11: x\n"), "the same column");
}

// Inline.

#[test]
fn inline_shows_each_host_in_one_piece() {
    let (env, sshd) = hosts(2);
    // The second host ends while the first is between its lines.
    let line = "[ $n = 1 ] || { sleep 0.5; echo two; exit 3; }; echo a; echo err >&2; sleep 1.5; printf b";
    let (hosts, reason) = (sshd.hosts(), "Exited with error code 3");
    let (first, second) = (failed(1, &hosts[1], reason), well(2, &hosts[0]));
    for (args, stderr) in [
        (&["-i"][..], "Stderr: err\n"),
        (&["--format", "inline"], "Stderr: err\n"),
        (&["-P", "--inline"], "Stderr: err\n"),
        (&["--inline-stdout"], ""),
        (&["-i", "--inline-stdout"], "Stderr: err\n"),
    ] {
        let run = run(&env, &sshd, args, line);
        run.exits(5).stdout_with_times_is(&format!("{first}two\n{second}a\nb\n{stderr}"));
        run.check(run.stderr_text() == "pssh: 2 hosts: 1 ok, 1 exit\n", "the tally alone");
    }
}

#[test]
fn inline_keeps_every_byte_of_much_output() {
    let (env, sshd) = hosts(2);
    // More than fits into memory, in both streams, and bytes that are not text.
    let line = r"seq $n 400000; printf '\000\033[2J\377\r'; seq 300000 >&2";
    let run = run(&env, &sshd, &["-i", "--sort"], line);
    run.exits(0);
    let lines = |from: usize, to: usize| -> String { (from..=to).map(|number| format!("{number}\n")).collect() };
    let block = |number| {
        let (head, err) = (format!("[SUCCESS] {}\n", sshd.hosts()[number - 1]), lines(1, 300_000));
        [head.as_bytes(), lines(number, 400_000).as_bytes(), b"\0\x1b[2J\xff\r\nStderr: ", err.as_bytes()].concat()
    };
    // Without `[1] 16:32:33 ` before each block.
    let (start, blocks) = ("[1] 16:32:33 ".len(), [block(1), block(2)]);
    let second = run.stdout.len() - blocks[1].len();
    assert!(run.stdout[start..second - start] == blocks[0] && run.stdout[second..] == blocks[1], "every byte");
}

#[test]
fn output_that_cannot_be_kept_is_the_failure_of_its_host_alone() {
    let (env, sshd) = hosts(2);
    let missing = env.path("missing");
    let pssh = env.pssh().hosts(sshd.hosts()).variable("TMPDIR", &missing).args(["-i", "--sort", "--"]);
    let run = pssh.arg(format!("{NUMBER}[ $n = 2 ] || seq 400000; echo end; exit 3")).run();
    run.exits(1).stderr_has("pssh: 2 hosts: 1 exit, 1 local\n");
    let text = without_times(&String::from_utf8_lossy(&run.stdout));
    let hint = format!("free some space in {}; the command itself: exit 3", missing.display());
    run.stderr_has(&format!("pssh: 127.0.1.1: hint: {hint}\n"));
    let reason = "local: keeping its output in a temporary file: No such file or directory";
    let is_first = |number: usize| {
        let first = failed(number, &sshd.hosts()[0], reason);
        let second = failed(3 - number, &sshd.hosts()[1], "Exited with error code 3");
        text.starts_with(&format!("{first}1\n2\n")) && text.ends_with(&format!("\n{second}end\n"))
    };
    run.check(is_first(1) || is_first(2), "what there is, with the numbers of the hosts as they ended");
}

#[test]
fn inline_can_have_the_order_of_the_list() {
    let (env, sshd) = hosts(5);
    let run = run(&env, &sshd, &["-i", "--sort", "-p1"], "echo $n");
    let blocks: String = sshd.hosts().iter().zip(1..).map(|(host, n)| format!("{}{n}\n", well(n, host))).collect();
    run.exits(0).stdout_with_times_is(&blocks);
    // The numbers are those of the hosts as they end.
    let run = self::run(&env, &sshd, &["-i", "--sort"], "sleep $((5 - n)); echo $n");
    let blocks: String = sshd.hosts().iter().zip(1..).map(|(host, n)| format!("{}{n}\n", well(6 - n, host))).collect();
    run.exits(0).stdout_with_times_is(&blocks);
}

#[test]
fn the_environment_has_pssh_s_choices() {
    let (env, sshd) = hosts(1);
    let pssh = || env.pssh().hosts(sshd.hosts()).variable("PSSH_INLINE", "1");
    let head = well(1, &sshd.hosts()[0]);
    pssh().args(["echo", "x"]).run().exits(0).stdout_with_times_is(&format!("{head}x\n"));
    let lines = format!("127.0.1.1: x\n{head}");
    pssh().args(["-P", "echo", "x"]).run().exits(0).stdout_with_times_is(&lines);
    pssh().variable("PSSH_PRINT", "1").args(["echo", "x"]).run().exits(0).stdout_with_times_is(&lines);
    let run = pssh().variable("PSSH_INLINE", "0").variable("PSSH_OUTDIR", "out").args(["echo", "x"]).run();
    run.exits(0).stdout_is("127.0.1.1: x\n");
    assert_eq!(read(env.path("out").join(&sshd.hosts()[0])), b"x\n");
}

// pssh's lines.

#[test]
fn hosts_are_called_as_pssh_calls_them_and_the_time_is_local() {
    let (env, sshd) = hosts(1);
    let host = sshd.hosts()[0].clone();
    let user = current_user();
    let list = env.file("list", format!("{host}\n{user}@{host}\n{host} alias=web1\n"));
    let pssh = |args: &[&str]| env.pssh().arg("-h").arg(&list).args(["-p1", "--format=status"]).args(args);
    let lines = [well(1, &host), well(2, &format!("{user}@{host}")), well(3, "web1")].concat();
    pssh(&["true"]).run().exits(0).stdout_with_times_is(&lines);
    let lines = [well(1, &host), well(2, &host), well(3, "web1")].concat();
    pssh(&["-l", &user, "true"]).run().exits(0).stdout_with_times_is(&lines);
    // 11 hours and 47 minutes apart.
    let minute = |zone: &str| {
        let run = pssh(&["true"]).variable("TZ", zone).run();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let time: Vec<u32> = text[4..12].split(':').map(|part| part.parse().expect("a number")).collect();
        time[0] * 60 + time[1]
    };
    let apart = (minute("A-6:47") + 24 * 60 - minute("B5")) % (24 * 60);
    assert!((707..=708).contains(&apart), "{apart} minutes");
}

#[test]
fn reasons_are_pssh_s_where_it_has_them_and_hints_are_on_standard_error() {
    let (env, sshd) = hosts(5);
    let gone = crate::embedded::refused_address("127.0.0.1".parse().expect("an address")).expect("a port");
    let line = "case $n in 1) exit 255;; 2) kill -TERM $$;; 3) echo a; exec sleep 977;; 4) exec sleep 978;; esac";
    let hosts = sshd.hosts();
    let list: String = hosts
        .iter()
        .enumerate()
        .map(|(place, host)| match place {
            2 => format!("{host} timeout=1\n"),
            3 => format!("{host} channel-timeout=2\n"),
            _ => format!("{host}\n"),
        })
        .collect();
    let list = env.file("list", format!("{list}{gone}\n"));
    let pssh = env.pssh().arg("-h").arg(list).args(["--num-retries=1", "-p1"]);
    let run = pssh.args(["--inline", "--", &format!("{NUMBER}{line}")]).run();
    let lines = [
        failed(1, &hosts[0], "Exited with error code 255"),
        failed(2, &hosts[1], "Killed by signal 15"),
        failed(3, &hosts[2], "Timed out"),
        "a\n".to_owned(),
        failed(4, &hosts[3], "Timed out, no output within 2 s"),
        well(5, &hosts[4]),
        failed(6, &gone.to_string(), &format!("connect: 127.0.0.1 port {}: Connection refused", gone.port())),
    ];
    run.exits(3).stdout_with_times_is(&lines.concat());
    let text = run.stderr_text();
    let (hints, rest) =
        text.split_once("pssh: 6 hosts: 1 ok, 1 exit, 1 signal, 2 timeout, 1 connect\n").unwrap_or_default();
    let expected = "\
        pssh: 127.0.1.3: hint: the command was asked to stop; -t 0 removes the time limit\n\
        pssh: 127.0.1.4: hint: the command was asked to stop; a longer --channel-timeout allows longer silences\n\
        pssh: 127.0.0.1: hint: is sshd running there, on that port, and not behind a firewall?\n";
    run.check(hints == expected, "whose hints they are");
    run.check(rest.is_empty(), "six hosts are seen one by one");
}

#[test]
fn hosts_that_ran_are_interrupted_and_those_that_waited_cancelled() {
    let fleet = Fleet::new(2);
    let running = fleet.pssh().args(["-p1", "-i", "--", "echo begun; exec sleep 977"]).start();
    fleet.sshd.wait_for_processes("sleep 977", 1);
    running.signal(Signal::INT);
    let run = running.finish();
    let hosts = fleet.sshd.hosts();
    run.dies_by(Signal::INT);
    let shown = without_times(&String::from_utf8_lossy(&run.stdout));
    let lines = |first, second| {
        let ran = format!("{}begun\n", failed(first, &hosts[0], "Interrupted"));
        let waited = failed(second, &hosts[1], "Cancelled");
        if first == 1 { ran + &waited } else { waited + &ran }
    };
    run.check(shown == lines(1, 2) || shown == lines(2, 1), "pssh's words");
    let said = "pssh: stopping 1 host; press Ctrl-C again to abandon it\npssh: 2 hosts: 2 cancelled\n";
    run.check(run.stderr_text() == said, "what Ctrl-C does, and the tally");
}

#[test]
fn without_headers_there_is_nothing_of_ours_on_standard_output() {
    let (env, sshd) = hosts(2);
    let line = r"printf '%s\0\r' $n; echo e >&2; exit $((3 * (n - 1)))";
    let run = |args: &[&str]| self::run(&env, &sshd, &[&["--no-headers", "-p1"], args].concat(), line);
    let failure = "pssh: 127.0.1.2: exit 3\n";
    let tally = "pssh: 2 hosts: 1 ok, 1 exit\n";
    // Byte for byte: what ends without a newline goes on.
    for (args, stdout) in [(&["-i"][..], "1\0\re\n2\0\re\n"), (&["--inline-stdout"], "1\0\r2\0\r")] {
        let run = run(args);
        run.exits(5).stdout_is(stdout);
        run.check(run.stderr_text() == format!("{failure}{tally}"), "failures alone");
    }
    for args in [&["-P"][..], &[]] {
        let run = run(args);
        run.exits(5).stdout_is("127.0.1.1: 1\0\r\n127.0.1.2: 2\0\r\n");
        let errors = [1, 2].map(|n| format!("127.0.1.{n}: e\n"));
        run.check(run.stderr_text() == [&*errors[0], &*errors[1], failure, tally].concat(), "failures alone");
    }
    let run = run(&["--format=status"]);
    run.exits(5).stdout_is("");
    run.check(run.stderr_text() == format!("{failure}{tally}"), "failures alone");
}

// Less.

#[test]
fn status_shows_no_output_and_none_shows_nothing() {
    let (env, sshd) = hosts(2);
    let line = "echo x; echo y >&2; exit $((n - 1))";
    let status = run(&env, &sshd, &["--format", "status"], line);
    let hosts = sshd.hosts();
    let lines = [
        [well(1, &hosts[0]), failed(2, &hosts[1], "Exited with error code 1")].concat(),
        [failed(1, &hosts[1], "Exited with error code 1"), well(2, &hosts[0])].concat(),
    ];
    let shown = without_times(&String::from_utf8_lossy(&status.stdout));
    status.exits(5).check(lines.contains(&shown), "a line for each");
    status.check(status.stderr_text() == "pssh: 2 hosts: 1 ok, 1 exit\n", "the tally alone");
    let none = run(&env, &sshd, &["--format", "none"], line);
    none.exits(5).stdout_is("");
    none.check(none.stderr.is_empty(), "nothing at all");
    let none = env.pssh().hosts(["a:x"]).args(["--format=none", "true"]).run();
    none.exits(2).stderr_has("pssh: ");
}

// Files.

#[test]
fn each_host_has_its_files() {
    let (env, sshd) = hosts(3);
    let (out, err) = (env.path("a/b/out"), env.path("err"));
    let args = ["-o", "a/b/out", "-e", "err", "--encoding", "latin1"];
    let shown = run(&env, &sshd, &args, r"[ $n = 3 ] || { printf '\351\000'; seq $n; echo e >&2; }; exit $((n - 1))");
    shown.exits(5).stderr_has("127.0.1.2: e\n");
    shown.check(shown.stdout_of("127.0.1.1") == "é\u{0}1\n".as_bytes(), "lines as without files, decoded");
    let hosts = sshd.hosts();
    assert_eq!(read(out.join(&hosts[0])), b"\xe9\x001\n", "the bytes as they came");
    assert_eq!(read(out.join(&hosts[1])), b"\xe9\x001\n2\n");
    assert_eq!(read(err.join(&hosts[1])), b"e\n");
    assert_eq!(read(out.join(&hosts[2])), b"", "a host that ran has a file");
    assert_eq!((names(&out).len(), names(&err).len()), (3, 3));
    // Files are replaced, or added to.
    run(&env, &sshd, &["-o", "a/b/out", "-i"], "echo $n").exits(0);
    assert_eq!(read(out.join(&hosts[1])), b"2\n");
    run(&env, &sshd, &["-o", "a/b/out", "--fileappend", "--format=none"], "echo again").exits(0);
    assert_eq!(read(out.join(&hosts[1])), b"2\nagain\n");
    assert_eq!(read(err.join(&hosts[1])), b"e\n", "nothing is written where nothing was asked for");
    let alone = env.pssh().hosts(sshd.hosts()).args(["--fileappend", "true"]).run();
    alone.exits(2).stderr_has("--fileappend needs --outdir or --errdir");
}

#[test]
fn both_streams_can_go_into_one_file() {
    let (env, sshd) = hosts(1);
    let line = "echo 1; sleep 0.3; echo 2 >&2; sleep 0.3; echo 3";
    run(&env, &sshd, &["-o", "d", "-e", "d", "--format=status"], line).exits(0);
    assert_eq!(read(env.path("d").join(&sshd.hosts()[0])), b"1\n2\n3\n");
}

#[test]
fn hosts_that_are_listed_again_have_numbers_and_those_not_reached_no_file() {
    let (env, sshd) = hosts(1);
    let host = sshd.hosts()[0].clone();
    let gone = crate::embedded::refused_address("127.0.0.1".parse().expect("an address")).expect("a port");
    let list = [host.clone(), gone.to_string(), host.clone(), host.clone()];
    let pssh = env.pssh().hosts(list).args(["--num-retries", "1", "-o", "d", "--host-arg"]);
    let run = pssh.arg(format!("{gone}=x")).args(["--dry-run", "echo", "%s"]).run();
    run.check(!env.path("d").exists(), "a dry run makes nothing");
    let list = [host.clone(), gone.to_string(), host.clone(), host.clone()];
    let run = env.pssh().hosts(list).args(["--num-retries", "1", "-o", "d", "echo", "x"]).run();
    run.exits(4);
    assert_eq!(names(&env.path("d")), [host.clone(), format!("{host}.1"), format!("{host}.2")]);
}

#[test]
fn files_that_cannot_be_written_are_failures_of_their_hosts_alone() {
    let (env, sshd) = hosts(4);
    let hosts = sshd.hosts();
    let directory = env.path("d");
    fs::create_dir_all(directory.join(&hosts[0])).expect("a directory in the way");
    symlink("/dev/full", directory.join(&hosts[1])).expect("a disk that is full");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.join(&hosts[2]),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO that nobody reads");
    let run = run(&env, &sshd, &["-o", "d"], "echo $n; exit 3");
    run.exits(1).within(20);
    let file = |place: usize| format!("d/{}", hosts[place]);
    run.ends("127.0.1.1", &format!("local: writing its output: {}: Is a directory", file(0)));
    run.ends("127.0.1.2", &format!("local: writing its output: {}: No space left on device", file(1)));
    run.hints("127.0.1.2", "its output is incomplete; the command itself: exit 3");
    run.ends("127.0.1.3", &format!("local: writing its output: {}: No such device", file(2)));
    run.ends("127.0.1.4", "exit 3");
    run.stderr_has("pssh: 4 hosts: 1 exit, 3 local\n");
    run.check(run.stdout_of("127.0.1.2") == b"2\n", "what is shown is not touched by it");
    assert_eq!(read(directory.join(&hosts[3])), b"4\n");
}

#[test]
fn a_directory_that_cannot_be_used_is_told_before_anything_runs() {
    let (env, sshd) = hosts(1);
    let file: PathBuf = env.file("plain", "x");
    let run = run(&env, &sshd, &["-e", "plain/d"], "true");
    run.exits(1).stderr_has("pssh: --errdir plain/d: cannot be created: Not a directory\n");
    assert_eq!((sshd.connections(), read(file)), (0, b"x".to_vec()));
}

#[test]
fn more_hosts_than_files_may_be_open() {
    let (env, sshd) = hosts(60);
    let pssh = env.pssh().hosts(sshd.hosts()).args(["-p", "4", "-o", "d", "-e", "e", "--", "echo x; echo y >&2"]);
    let run = pssh.shell("ulimit -n 90; exec \"$@\"").run();
    run.exits(0).stderr_has("60 hosts: 60 ok").stderr_lacks("files may be open");
    assert_eq!((names(&env.path("d")).len(), names(&env.path("e")).len()), (60, 60));
}

#[test]
fn the_options_of_ssh_are_told_from_ours() {
    let env = Env::new();
    let run = env.pssh().hosts(["a"]).args(["-o", "Compression=yes", "true"]).run();
    run.exits(2).stderr_has("did you mean -O 'Compression=yes'?");
    let key = env.ssh_dir().join("id_ed25519");
    let run = env.pssh().hosts(["a"]).arg("-i").arg(&key).arg("true").run();
    run.exits(2).stderr_has(&format!("did you mean --identity {}?", key.display()));
}

#[test]
fn gathered_blocks_tell_good_from_bad_by_colour() {
    let (env, sshd) = hosts(3);
    let line = "echo same; [ $n = 2 ] && echo more && exit 3; exit 0";
    let run = run(&env, &sshd, &["--format", "gather", "--diff", "--color", "always"], line);
    let rule = "---------------";
    run.exits(5).stdout_is(&format!(
        "{rule}\n\x1b[32m127.0.1.[1,3] (2): exit 0\x1b[39m\n{rule}\nsame\n\
         {rule}\n\x1b[31m127.0.1.2: exit 3\x1b[39m\n{rule}\n\
         \x1b[31m--- 127.0.1.[1,3]\x1b[39m\n\x1b[32m+++ 127.0.1.2\x1b[39m\n@@ -1 +1,2 @@\n same\n\x1b[32m+more\x1b[39m\n"
    ));
}

#[test]
fn each_host_is_a_group_in_the_log_of_a_ci_system() {
    let (env, sshd) = hosts(2);
    let line = "[ $n = 2 ] && exit 3; echo '::error::x'; echo y >&2";
    let run = run(&env, &sshd, &["-i", "-p1", "--ci-groups", "github"], line);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let token = text.lines().find_map(|line| line.strip_prefix("::stop-commands::")).unwrap_or_default();
    run.check(token.len() >= 32, "a token that nobody guesses");
    run.exits(5).stdout_with_times_is(&format!(
        "{}::group::127.0.1.1\n::stop-commands::{token}\n: :error::x\nStderr: y\n::{token}::\n::endgroup::\n\
         {}::error title=127.0.1.2::exit 3\n",
        well(1, &sshd.hosts()[0]),
        failed(2, &sshd.hosts()[1], "Exited with error code 3"),
    ));
}

#[test]
fn output_that_cannot_be_kept_counts_as_a_failure_of_its_host() {
    let (env, sshd) = hosts(3);
    let missing = env.path("missing");
    let pssh = env.pssh().hosts(sshd.hosts()).variable("TMPDIR", &missing);
    let run =
        pssh.args(["-i", "-p", "1", "--stop-on-errors", "--"]).arg(format!("{NUMBER}seq 400000; sleep 0.5")).run();
    run.exits(1).stderr_has("pssh: 3 hosts: ").stderr_has("1 local");
    let text = without_times(&String::from_utf8_lossy(&run.stdout));
    let last = format!("[FAILURE] {} Cancelled, since a host has failed\n", sshd.hosts()[2]);
    run.check(text.contains(&last), "the last is not run");
}
