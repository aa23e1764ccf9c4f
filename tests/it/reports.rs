//! How a run is shown: folded, not at all, as files; each of the same run with every outcome that one run can have.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, Config, Server, Step, refused_address};
use crate::sshd::{Setup, Sshd};

/// The run: sixteen hosts, their outcomes known.
pub(crate) struct Fleet {
    pub(crate) env: Env,
    pub(crate) server: Server,
    stranger: Server,
    refused: SocketAddr,
}

fn script(stdout: &str, stderr: &str, end: Vec<Step>) -> Behaviour {
    let output = vec![Step::Stdout(stdout.into()), Step::Stderr(stderr.into())];
    Behaviour::Script([output, end].concat())
}

impl Fleet {
    pub(crate) fn new() -> Fleet {
        let env = Env::new();
        let config = Config { authorised: env.public_lines(), users: Some(vec!["me".to_owned()]), ..Config::default() };
        let killed = Step::ExitSignal { name: "KILL".to_owned(), core_dumped: false, message: String::new() };
        let config = config
            .on("do same", Behaviour::answer("one\ntwo\nthree\n", "careful\n", 0))
            .on("do other", Behaviour::answer("one\n2\nthree\nfour", "careful\n", 0))
            .on("do fail", Behaviour::answer("", "no such thing\nnowhere", 3))
            .on("do kill", script("half", "", vec![Step::Eof, killed, Step::Close]))
            .on("do hang", script("waiting\n", "", vec![]))
            .on("do refuse", Behaviour::Script(vec![Step::RejectExec]))
            .on("do drop", script("\u{1b}[31mred\n", "", vec![Step::Eof, Step::Close]));
        let server = Server::start(config);
        env.trust(&server.known_hosts());
        let stranger = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
        let refused = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
        let (port, refusing) = (server.port(), refused.port());
        let list = format!(
            "127.0.0.1:{port} alias=web01 do=same\n\
             127.0.0.1:{port} alias=web02 do=same arg.note='a b'\n\
             127.0.0.1:{port} alias=web03 do=same\n\
             127.0.0.1:{port} alias=web04 do=other\n\
             127.0.0.1:{port} me alias=web05 do=fail timeout=1m # with a comment\n\
             127.0.0.1:{port} alias=web06 do=fail identity=.ssh/id_ed25519\n\
             127.0.0.1:{port} alias=db1 do=kill\n\
             127.0.0.1:{port} alias=db2 do=hang timeout=1\n\
             127.0.0.1:{port} alias=db3 do=drop\n\
             127.0.0.51:{refusing} alias=gone1 do=same\n\
             127.0.0.52:{refusing} alias=gone2 do=same\n\
             127.0.0.1:{} alias=new do=same\n\
             127.0.0.1:{port} alias=appliance do=refuse\n\
             127.0.0.1:{port} nobody alias=closed do=same\n\
             inside alias=behind proxy=127.0.0.51:{refusing} do=same\n\
             nowhere.invalid alias=unknown do=same\n",
            stranger.port()
        );
        env.file("hosts", list);
        Fleet { env, server, stranger, refused }
    }

    fn pssh(&self) -> Pssh {
        let list = self.env.path("hosts");
        self.env.pssh().args(["-l", "me", "--num-retries", "1", "--connect-timeout", "30"]).arg("-h").arg(list)
    }

    /// The run with these options.
    pub(crate) fn run(&self, options: &[&str]) -> Run {
        self.pssh().args(options).args(["do", "%(do)s"]).run()
    }

    /// What differs from run to run in the same words.
    pub(crate) fn mask(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8(text.to_vec()).expect("UTF-8");
        let ports = [self.server.port(), self.stranger.port(), self.refused.port()];
        for (port, name) in ports.iter().zip(["PORT", "STRANGER", "REFUSED"]) {
            text = text.replace(&port.to_string(), name);
        }
        text = text.replace(&self.env.path("").display().to_string(), "HOME/");
        let lines = text.split_inclusive('\n').map(|line| {
            // What a resolver says is its own business.
            let start =
                ["dns: nowhere.invalid: ", "dns: "].into_iter().find_map(|word| Some(line.find(word)? + word.len()));
            let start = start.filter(|_| !line.contains("is it ") && line.contains("dns: "));
            match start.filter(|start| line[*start..].contains(' ')) {
                Some(start) => {
                    let end = line[start..].find(": unknown").map_or("\n", |place| &line[start + place..]);
                    format!("{}REASON{end}", &line[..start])
                }
                None => line.to_owned(),
            }
        });
        let text: String = lines.collect();
        // A fingerprint.
        let mut words = Vec::new();
        for word in text.split(' ') {
            words.push(match word.find("SHA256:") {
                Some(at) => format!("{}SHA256:KEY{}", &word[..at], &word[(at + 50).min(word.len())..]),
                None => word.to_owned(),
            });
        }
        words.join(" ")
    }
}

/// The blocks of the report, from heading to heading.
const GATHERED: &str = "\
---------------
web[01-03] (3): exit 0
---------------
one
two
three
stderr: careful
---------------
web04: exit 0
---------------
one
2
three
four
stderr: careful
---------------
web[05-06] (2): exit 3
---------------
stderr: no such thing
stderr: nowhere
---------------
gone[1-2] (2): connect: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
---------------
db1: signal KILL
---------------
half
---------------
db2: timeout command: not finished within 1 s
  hint: the command was asked to stop, but it may still be running there
---------------
waiting
---------------
db3: lost: the channel was closed without an exit status
  hint: the command may still be running there, or may have ended
---------------
\u{1b}[31mred
---------------
new: hostkey: [127.0.0.1]:STRANGER is not in known_hosts; it offers ssh-ed25519 SHA256:KEY
  hint: compare the fingerprint, then: ssh-keyscan -p STRANGER 127.0.0.1 >> 'HOME/.ssh/known_hosts' (or --host-key-check accept-new)
---------------
appliance: ssh: starting the command: the server refuses to run it
---------------
closed: auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
  hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
---------------
behind: proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
---------------
unknown: dns: nowhere.invalid: REASON
  hint: check the spelling (HOME/hosts:16:1), or whether the resolver knows the name
";
const TALLY: &str = "\
pssh: 16 hosts: 4 ok, 2 exit, 1 signal, 1 timeout, 1 dns, 2 connect, 1 proxy, 1 hostkey, 1 auth, 1 ssh, 1 lost
";
/// Those that have failed, by reason.
const RECAP: &str = "  2 exit 3: web[05-06]
  2 connect: Connection refused: gone[1-2]
  1 signal KILL: db1
  1 timeout command: not finished within 1 s, and may still be running: db2
  1 lost: the channel was closed without an exit status: db3
  1 hostkey: not in known_hosts: new
  1 ssh: starting the command: the server refuses to run it: appliance
  1 auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey: closed
  1 proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused: behind
  1 dns: REASON: unknown
";
/// What --diff shows in the blocks of those that have run, after their headings.
const DIFFERENCES: [(&str, &str); 5] = [
    ("web04", "@@ -1,4 +1,5 @@\n one\n-two\n+2\n three\n+four\n stderr: careful\n"),
    ("web[05-06]", "@@ -1,4 +1,2 @@\n-one\n-two\n-three\n-stderr: careful\n+stderr: no such thing\n+stderr: nowhere\n"),
    ("db1", "@@ -1,4 +1 @@\n-one\n-two\n-three\n-stderr: careful\n+half\n"),
    ("db2", "@@ -1,4 +1 @@\n-one\n-two\n-three\n-stderr: careful\n+waiting\n"),
    ("db3", "@@ -1,4 +1 @@\n-one\n-two\n-three\n-stderr: careful\n+\u{1b}[31mred\n"),
];

#[track_caller]
pub(crate) fn same(found: &str, expected: &str, run: &Run) {
    let difference = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    run.check(found == expected, &format!("the first difference: {difference:#?}\n--- masked:\n{found}"));
}

#[test]
fn the_same_output_and_outcome_is_shown_once() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--format", "gather"]);
    run.exits(3);
    same(&fleet.mask(&run.stdout), GATHERED, &run);
    same(&fleet.mask(&run.stderr), &format!("{TALLY}{RECAP}"), &run);
}

#[test]
fn others_are_shown_as_they_differ_from_the_largest_group() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--diff"]);
    run.exits(3);
    let shown = fleet.mask(&run.stdout);
    let headings = |text: &str| -> Vec<String> {
        let lines: Vec<&str> = text.lines().collect();
        let rules = lines
            .windows(2)
            .filter(|pair| pair[0] == "---------------" && pair[1].contains(": ") && !pair[1].starts_with("stderr: "));
        rules.map(|pair| pair[1].to_owned()).collect()
    };
    run.check(headings(&shown) == headings(GATHERED), "the same headings");
    for (names, difference) in DIFFERENCES {
        let expected = format!("---------------\n--- web[01-03]\n+++ {names}\n{difference}");
        run.check(shown.contains(&expected), &format!("how {names} differs:\n{expected}\n--- masked:\n{shown}"));
    }
    run.check(shown.matches("\n@@ ").count() == DIFFERENCES.len(), "nothing of those that never ran");
}

/// What is said of each host, sorted: lines that follow each other stay together.
fn sorted(text: &str) -> Vec<&str> {
    let mut blocks: Vec<&str> =
        text.split("\npssh: ").map(|block| block.trim_start_matches("pssh: ").trim_end()).collect();
    blocks.sort_unstable();
    blocks
}

const QUIET: &str = "\
pssh: web05: exit 3
web05: no such thing
web05: nowhere
pssh: web06: exit 3
web06: no such thing
web06: nowhere
pssh: db1: signal KILL
db1: half
pssh: db2: timeout command: not finished within 1 s
  hint: the command was asked to stop, but it may still be running there
db2: waiting
pssh: db3: lost: the channel was closed without an exit status
  hint: the command may still be running there, or may have ended
db3: \\u{1b}[31mred
pssh: gone1: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: gone2: connect: 127.0.0.52 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: new: hostkey: [127.0.0.1]:STRANGER is not in known_hosts; it offers ssh-ed25519 SHA256:KEY
  hint: compare the fingerprint, then: ssh-keyscan -p STRANGER 127.0.0.1 >> 'HOME/.ssh/known_hosts' (or --host-key-check accept-new)
pssh: appliance: ssh: starting the command: the server refuses to run it
pssh: closed: auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
  hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
pssh: behind: proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: unknown: dns: nowhere.invalid: REASON
  hint: check the spelling (HOME/hosts:16:1), or whether the resolver knows the name
";

#[test]
fn quiet_speaks_of_failures_only() {
    let fleet = Fleet::new();
    let run = fleet.run(&["-q"]);
    run.exits(3).stdout_is("");
    let said = fleet.mask(&run.stderr);
    let ending = format!("{TALLY}{RECAP}");
    let said = said.strip_suffix(&ending).unwrap_or_else(|| panic!("the recap comes last\n{}", run.context()));
    assert_eq!(sorted(said), sorted(QUIET), "{}", run.context());

    let list = fleet.env.file("well", format!("127.0.0.1:{}\nme@127.0.0.1:{0}\n", fleet.server.port()));
    let run = fleet.env.pssh().args(["-l", "me", "-q", "-h"]).arg(list).args(["--", "do same"]).run();
    run.exits(0).stdout_is("").check(run.stderr.is_empty(), "nothing when all is well");
}

#[test]
fn quiet_shows_the_last_lines_only() {
    let (env, sshd) = one_sshd();
    let run = env.pssh().hosts(sshd.hosts()).args(["-q", "--", "seq 100; exit 4"]).run();
    let label = sshd.label();
    let lines: String = (86..=100).map(|number| format!("{label}: {number}\n")).collect();
    run.exits(5);
    same(&run.stderr_text(), &format!("pssh: {label}: exit 4\n{label}: ... (85 lines before)\n{lines}"), &run);
}

pub(crate) fn one_sshd() -> (Env, Sshd) {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    (env, sshd)
}

#[test]
fn many_failures_are_told_by_reason() {
    let fleet = Fleet::new();
    for args in [&[][..], &["-i"], &["--format=status"], &["--format=status", "--no-headers"]] {
        let run = fleet.run(args);
        run.exits(3);
        let said = fleet.mask(&run.stderr);
        run.check(said.ends_with(&format!("{TALLY}{RECAP}")), &format!("the reasons at the end\n--- masked:\n{said}"));
    }
}

#[test]
fn times_are_told_by_part() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--times", "--format", "gather"]);
    let said = run.stderr_text();
    let rows = [("waiting", 15), ("connect", 15), ("handshake", 12), ("auth", 11), ("command", 10), ("total", 15)];
    for (name, hosts) in rows {
        let row = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        let cells: Vec<&str> = row.split_whitespace().collect();
        run.check(cells.len() == 5 && cells[1] == hosts.to_string(), &format!("the row of {name}, not {row:?}"));
        let times: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().expect("seconds")).collect();
        run.check(times.is_sorted() && times[0] >= 0.0, &format!("p50, p95 and max of {name}"));
        run.check(name != "command" || times[2] >= 1.0, "the one that hung");
    }
    run.check(!said.contains("retries"), "nothing was tried again");
    let slowest = said.lines().skip_while(|line| !line.starts_with("pssh: slowest ")).nth(1).unwrap_or_default();
    run.check(slowest.starts_with("  db2 ") && slowest.ends_with(" command"), "the slowest host comes first");
}

// Files.

/// Everything with the form of a time, or of seconds, in words that are the same in every run.
pub(crate) fn mask_times(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..]
            .find(|c: char| !c.is_ascii_digit() && !"T:.-Z".contains(c))
            .map_or(rest.len(), |end| start + end);
        let word = &rest[start..end];
        masked.push_str(&rest[..start]);
        let form: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let decimals = word.split_once('.').is_some_and(|(_, decimals)| [3, 6].contains(&decimals.len()));
        masked.push_str(match form.as_str() {
            form if form.starts_with("0000-00-00T00:00:00") => "TIME",
            form if decimals && form.chars().all(|c| c == '0' || c == '.') && form.matches('.').count() == 1 => "N",
            _ => word,
        });
        rest = &rest[end..];
    }
    masked + rest
}

#[test]
fn junit_has_a_case_for_each_host() {
    let fleet = Fleet::new();
    let path = fleet.env.path("junit.xml");
    let run = fleet.pssh().arg("--junit").arg(&path).args(["do", "%(do)s"]).run();
    run.exits(3);
    let xml = mask_times(&fleet.mask(&fs::read(&path).expect("the report")));
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="pssh" tests="16" failures="3" errors="9" skipped="0" time="N">
  <testsuite name="pssh" tests="16" failures="3" errors="9" skipped="0" time="N" timestamp="TIME">
    <testcase classname="pssh" name="web01" time="N"/>
    <testcase classname="pssh" name="web02" time="N"/>
    <testcase classname="pssh" name="web03" time="N"/>
    <testcase classname="pssh" name="web04" time="N"/>
    <testcase classname="pssh" name="web05" time="N">
      <failure type="exit" message="exit 3">exit 3</failure>
      <system-out>no such thing
nowhere
</system-out>
    </testcase>
"#;
    run.check(xml.starts_with(expected), &format!("the beginning\n--- masked:\n{xml}"));
    let lost = r#"    <testcase classname="pssh" name="db3" time="N">
      <error type="lost" message="lost: the channel was closed without an exit status">lost: the channel was closed without an exit status
hint: the command may still be running there, or may have ended</error>
      <system-out>\u{1b}[31mred
</system-out>
    </testcase>
"#;
    run.check(
        xml.contains(lost) && xml.contains("127.0.0.1 &gt;&gt; "),
        &format!("what is escaped\n--- masked:\n{xml}"),
    );
    run.check(xml.ends_with("    </testcase>\n  </testsuite>\n</testsuites>\n"), "the end");
    run.check(xml.matches("<testcase ").count() == 16, "a case for each host");
    let mode = fs::metadata(&path).expect("the report").permissions().mode() & 0o777;
    run.check(mode & 0o600 == 0o600 && mode & 0o111 == 0, &format!("the mode of an ordinary file, not {mode:o}"));
}

#[test]
fn those_that_failed_can_be_run_again() {
    let fleet = Fleet::new();
    let real = fleet.env.file("real", "old\n");
    let path = fleet.env.path("failed");
    symlink(&real, &path).expect("a link");
    let run = fleet.pssh().arg("--failed-to").arg(&path).args(["do", "%(do)s"]).run();
    run.exits(3);
    let text = fleet.mask(&fs::read(&real).expect("where the link leads to"));
    let expected = "\
me@127.0.0.1:PORT alias=web05 arg.do=fail timeout=1m
127.0.0.1:PORT alias=web06 arg.do=fail identity=HOME/.ssh/id_ed25519
127.0.0.1:PORT alias=db1 arg.do=kill
127.0.0.1:PORT alias=db2 arg.do=hang timeout=1
127.0.0.1:PORT alias=db3 arg.do=drop
127.0.0.51:REFUSED alias=gone1 arg.do=same
127.0.0.52:REFUSED alias=gone2 arg.do=same
127.0.0.1:STRANGER alias=new arg.do=same
127.0.0.1:PORT alias=appliance arg.do=refuse
nobody@127.0.0.1:PORT alias=closed arg.do=same
inside alias=behind proxy=127.0.0.51:REFUSED arg.do=same
nowhere.invalid alias=unknown arg.do=same
";
    same(&text, expected, &run);
    // The same command line, and the same file for those that fail again.
    let again = |command: &str| {
        let pssh = fleet.env.pssh().args(["-l", "me", "--num-retries", "1", "-h"]).arg(&path);
        pssh.arg("--failed-to").arg(&path).args(["--", command]).run()
    };
    again("do same").stderr_has("pssh: 12 hosts: 6 ok, ");
    let left: Vec<String> = fs::read_to_string(&path).expect("the file").lines().map(str::to_owned).collect();
    run.check(
        left.len() == 6 && left[0].contains("gone1"),
        &format!("those that cannot be reached are left: {left:?}"),
    );
    let links = fs::symlink_metadata(&path).expect("the link").file_type().is_symlink();
    run.check(links, "the link is still there");

    let well = fleet.env.file("well", format!("127.0.0.1:{}\n", fleet.server.port()));
    let run =
        fleet.env.pssh().args(["-l", "me", "-h"]).arg(well).arg("--failed-to").arg(&path).args(["--", "do same"]).run();
    run.exits(0).check(fs::read(&path).expect("the file").is_empty(), "empty if none failed");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_connects() {
    let fleet = Fleet::new();
    for (option, path) in [("--junit", "/no-such-directory/x.xml"), ("--failed-to", "/tmp")] {
        let run = fleet.run(&[option, path]);
        run.exits(1).stdout_is("").stderr_has(&format!("pssh: {option} {path}: cannot write: "));
        run.check(fleet.server.connections() == 0, "nothing connects");
    }
    let list = fleet.env.file("well", format!("127.0.0.1:{}\n", fleet.server.port()));
    let run = fleet.env.pssh().args(["-l", "me", "--junit", "/dev/full", "-h"]).arg(list).args(["--", "do same"]).run();
    run.exits(1).ends("127.0.0.1", "ok (exit 0)");
    run.stderr_has("pssh: --junit /dev/full: cannot write: No space left on device\n");
}

#[test]
fn files_are_written_after_an_interrupt_and_for_a_reader_that_goes_away() {
    let (env, sshd) = one_sshd();
    let host = sshd.hosts().remove(0);
    let (junit, failed) = (env.path("junit.xml"), env.path("failed"));
    let pssh = || env.pssh().hosts([&host]).arg("--junit").arg(&junit).arg("--failed-to").arg(&failed);
    let check = |run: &Run| {
        let xml = fs::read_to_string(&junit).expect("the report");
        run.check(xml.contains("<error type=\"cancelled\"") && xml.ends_with("</testsuites>\n"), &xml);
        run.check(fs::read_to_string(&failed).expect("the file") == format!("{host}\n"), "the host is to be run again");
        let left = fs::read_dir(env.path("")).expect("the home").filter_map(Result::ok);
        let left: Vec<_> =
            left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
        run.check(left.is_empty(), &format!("nothing is left behind: {left:?}"));
        fs::remove_file(&junit).expect("the report");
    };
    let mut running = pssh().args(["--", "echo begun; exec sleep 978"]).start();
    running.wait_for("begun");
    running.signal(Signal::INT);
    let run = running.finish();
    run.dies_by(Signal::INT);
    check(&run);

    let mut running = pssh().args(["--", "while echo on; do sleep 0.1; done"]).hold_stdout().start();
    thread::sleep(Duration::from_millis(500));
    drop(running.take_stdout());
    let run = running.finish();
    run.dies_by(Signal::PIPE).check(run.stderr.is_empty(), "nobody wants to know");
    check(&run);
}

// The exit status.

#[test]
fn hosts_that_should_be_the_same_and_are_not_are_a_failure() {
    let fleet = Fleet::new();
    let list = |commands: &[&str]| {
        let line = |(number, command): (usize, &&str)| {
            format!("127.0.0.1:{} alias=w{number} do={command}\n", fleet.server.port())
        };
        fleet.env.file("list", commands.iter().enumerate().map(line).collect::<String>())
    };
    let run = |commands: &[&str], options: &[&str]| {
        let pssh = fleet.env.pssh().args(["-l", "me", "-h"]).arg(list(commands));
        pssh.args(options).args(["do", "%(do)s"]).run()
    };
    run(&["same", "same", "same"], &["--expect-same"]).exits(0).stderr_lacks("differ");
    for format in ["lines", "gather", "json"] {
        let run = run(&["same", "other", "same"], &["--format", format, "--expect-same"]);
        run.exits(5).stderr_has("pssh: the hosts differ: 2 groups, 1 of 3 hosts are not in the largest\n");
    }
    run(&["same", "other"], &[]).exits(0);
    run(&["fail", "fail"], &["--expect-same"]).exits(5).stderr_lacks("differ");
    run(&["same", "kill"], &["--expect-same"]).exits(3).stderr_has("the hosts differ: 2 groups, ");

    run(&["same", "fail", "same"], &["--max-status"]).exits(3);
    run(&["same", "other"], &["--max-status"]).exits(0);
    run(&["fail", "kill"], &["--max-status"]).exits(255);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let env = Env::new();
    for (options, complaint) in [
        (&["--format", "lines", "--diff"][..], "--diff needs --format gather, not lines"),
        (&["--format", "json", "--ci-groups", "auto"], "--ci-groups needs --format gather or inline, not json"),
        (&["--json", "--diff"], "cannot be used with"),
        (&["-q", "--json"], "cannot be used with"),
        (&["--format", "xml"], "[possible values: lines, inline, status, gather, json, none]"),
    ] {
        let run = env.pssh().hosts(["127.0.0.1:1"]).args(options).args(["--", "x"]).run();
        run.exits(2).stderr_has(complaint);
    }
}

// CI, and much output.

#[test]
fn a_host_gives_a_ci_system_no_commands() {
    let (env, sshd) = one_sshd();
    let line = "printf '::error::x\\n::endgroup::\\n\\033[0Ksection_end:1:pssh_1_1\\r\\033[0Kx'";
    let pssh = || env.pssh().hosts(sshd.hosts());
    let run = pssh().args(["--ci-groups", "github", "--", line]).run();
    run.exits(0);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let token = lines[1].strip_prefix("::stop-commands::").unwrap_or_default().to_owned();
    run.check(lines[0] == format!("::group::{}: exit 0", sshd.label()) && token.len() == 32, "a group and a token");
    let end = [format!("::{token}::"), "::endgroup::".to_owned()];
    run.check(
        lines[lines.len() - 2..] == end && text.matches(&token).count() == 2,
        "the token ends it, and then the group",
    );
    run.check(lines.contains(&": :error::x"), "what the host printed is there");

    let run = pssh().args(["--ci-groups", "auto", "--", line]).variable("GITLAB_CI", "true").run();
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    run.exits(0).check(text.starts_with("\u{1b}[0Ksection_start:"), "a section");
    let markers = text.matches("\r\u{1b}[0K").count();
    run.check(markers == 2 && text.contains("section_end :1:pssh_1_1\n"), "only ours are markers");
    let run = pssh().args(["--ci-groups", "auto", "--", line]).run();
    run.check(run.stdout.starts_with(b"---------------\n"), "outside of CI there are no groups");
}

#[test]
fn what_failed_is_an_error_of_the_job_and_is_not_folded() {
    let (env, sshd) = one_sshd();
    let pssh = || env.pssh().hosts(sshd.hosts());
    for format in ["inline", "gather"] {
        let pssh = || pssh().args(["--format", format, "--ci-groups", "github"]);
        let run = pssh().args(["--", "echo 100%; exit 3"]).run();
        let text = run.stdout_text();
        run.exits(5).check(!text.contains("::group::") && text.contains("100%\n"), "it is not folded");
        run.check(text.ends_with(&format!("::error title={}::exit 3\n", sshd.label())), "an error");
        // A name of ours and words of a host are neither an end of a property nor of the command.
        let list = env.file("named", format!("{} alias=a%0A::b,c\n", sshd.hosts()[0]));
        let run = env.pssh().arg("-h").arg(&list).args(["--format", format, "--ci-groups", "github", "exit 4"]).run();
        run.exits(5).check(run.stdout_text().contains("::error title=a%250A%3A%3Ab%2Cc::exit 4\n"), "it is escaped");
    }
}

#[test]
fn the_summary_of_a_ci_job_names_what_failed() {
    let fleet = Fleet::new();
    let path = fleet.env.file("summary.md", "before\n");
    let run = fleet.pssh().arg(format!("--ci-summary={}", path.display())).args(["do", "%(do)s"]).run();
    run.exits(3);
    let text = fleet.mask(&fs::read(&path).expect("the summary"));
    run.check(text.starts_with("before\n\n### pssh: 4 of 16 hosts ok in "), "it is added to what is there");
    run.check(text.contains("| 2 | <code>exit 3</code> | <code>web&#91;05-06&#93;</code> |\n"), &text);
    let details =
        "<details><summary><code>web05</code>: <code>exit 3</code></summary>\n\n<pre>no such thing\nnowhere\n</pre>";
    run.check(text.contains(details), &text);
    run.check(text.matches("<details>").count() == 12, "every host that failed");
    run.check(!text.contains('\u{1b}') && text.contains("&#92;u&#123;1b&#125;"), "control characters are shown");

    // Without a name it is the file of the step.
    let (env, sshd) = one_sshd();
    let pssh = || env.pssh().hosts(sshd.hosts()).arg("--ci-summary");
    let step = env.path("step");
    pssh().arg("true").variable("GITHUB_STEP_SUMMARY", &step).run().exits(0);
    let text = fs::read_to_string(&step).expect("the summary");
    assert!(text.starts_with("\n### pssh: 1 of 1 hosts ok in ") && text.lines().count() == 3, "{text}");
    pssh().arg("true").run().exits(2).stderr_has("GITHUB_STEP_SUMMARY is not set; name a file: --ci-summary=FILE");
    let refused = |file: &str| env.pssh().hosts(["127.0.0.1:1"]).arg(format!("--ci-summary={file}")).arg("true").run();
    refused("/tmp").exits(1).stderr_has("--ci-summary /tmp: cannot write: Is a directory");
    refused("/no/such/x").exits(1).stderr_has("--ci-summary /no/such/x: cannot write: No such file");
    let run = refused("/dev/full");
    run.exits(1).stderr_has("pssh: --ci-summary /dev/full: cannot write: No space left on device\n");
}

#[test]
fn much_output_is_kept_once_and_not_in_memory() {
    /// A whole number of lines, of 80 bytes each.
    const BYTES: u64 = 80 * 300_000;
    let env = Env::new();
    let behaviour = Behaviour::Lines { bytes: BYTES };
    let server = Server::start(Config { authorised: env.public_lines(), behaviour, ..Config::default() });
    env.trust(&server.known_hosts());
    let line = |number: usize| format!("127.0.0.1:{} alias=n{number}\n", server.port());
    let list = env.file("hosts", (1..=6).map(line).collect::<String>());
    let run = env.pssh().limit(120).args(["--format", "gather", "-h"]).arg(list).args(["--", "x"]).run();
    run.exits(0);
    let heading = b"---------------\nn[1-6] (6): exit 0\n---------------\n";
    run.check(run.stdout.starts_with(heading), "one group");
    run.check(run.stdout.len() as u64 == heading.len() as u64 + BYTES, "all of it, once");
    run.check(run.peak_kib < 96 << 10, "memory for the budget, not for the output");
}

#[test]
fn output_that_cannot_be_kept_is_a_failure_and_the_rest_is_shown() {
    let (env, sshd) = one_sshd();
    let line = "echo first; head -c 3000000 /dev/zero";
    let pssh = env.pssh().hosts(sshd.hosts()).args(["--format", "gather", "--", line]);
    let run = pssh.variable("TMPDIR", "/no-such-directory").run();
    let label = sshd.label();
    run.exits(1)
        .stderr_has(&format!("pssh: {label}: part of the output could not be stored: No such file or directory"));
    let heading = format!("---------------\n{label}: exit 0\n---------------\nfirst\n\0\0");
    run.check(run.stdout.starts_with(heading.as_bytes()) && run.stdout.len() > 500_000, "what was kept");
    run.check(
        run.stdout.ends_with(b"\n... (the rest is lost: No such file or directory)\n"),
        "and that there was more",
    );
}
