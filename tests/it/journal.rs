//! `--journal`: what is recorded, and when; where a journal cannot be kept; `--resume` and `--rerun`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use pssh::internal::Program;
use rustix::process::Signal;
use serde_json::Value;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, Config, Server};
use crate::schema::Schema;
use crate::sshd::{self, Sshd};

/// Hosts of a server in this process, which counts what they are told to run.
pub(crate) struct Herd {
    pub(crate) env: Env,
    pub(crate) server: Server,
    hosts: Vec<String>,
}

impl Herd {
    /// So many hosts, whose commands end after a while.
    pub(crate) fn new(hosts: u8, after: Duration) -> Herd {
        Herd::with(hosts, after, |config| config)
    }

    /// The same with another configuration of their server.
    pub(crate) fn with(hosts: u8, after: Duration, change: impl FnOnce(Config) -> Config) -> Herd {
        let env = Env::new();
        let addresses: Vec<IpAddr> = (1..=hosts).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 5, last))).collect();
        let server = Server::start(change(Config {
            addresses: addresses.clone(),
            authorised: env.public_lines(),
            only_curve25519: true,
            behaviour: Behaviour::Name { after },
            ..Config::default()
        }));
        env.trust(&server.known_hosts());
        let hosts = addresses.iter().map(|address| format!("{address}:{}", server.port())).collect();
        Herd { env, server, hosts }
    }

    /// A run of `word` on all hosts that is recorded in `journal`; each host's command has its name.
    pub(crate) fn run(&self, journal: &str, word: &str, args: &[&str]) -> Pssh {
        let list = self.env.file("hosts", self.hosts.join("\n") + "\n");
        let pssh = self.env.pssh().arg("-h").arg(list).args(["--journal", journal]).args(args);
        pssh.args(["--template", "--", word, "%(host)s"])
    }

    /// How often the servers were told to run `word` on each host.
    pub(crate) fn counts(&self, word: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let commands = self.server.commands();
        let own = commands.iter().filter_map(|command| command.strip_prefix(word)?.strip_prefix(' '));
        own.for_each(|host| *counts.entry(host.to_owned()).or_default() += 1);
        counts
    }
}

/// The records of a journal, each as the schema says.
#[track_caller]
pub(crate) fn records(env: &Env, journal: &str) -> Vec<Value> {
    let schema = Schema::journal();
    let text = fs::read_to_string(env.path(journal)).expect("the journal is there");
    assert!(text.ends_with('\n'), "whole lines");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    records.iter().for_each(|record| schema.check(record));
    records
}

/// Those of one kind.
pub(crate) fn of_kind<'r>(records: &'r [Value], event: &str) -> Vec<&'r Value> {
    records.iter().filter(|record| record["event"] == event).collect()
}

fn indices(records: &[&Value]) -> Vec<u64> {
    let mut all: Vec<u64> = records.iter().map(|record| record["index"].as_u64().expect("an index")).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_journal_has_what_was_sent_and_how_hosts_ended_and_no_secret() {
    let (env, sshd) = sshd::hosts(3);
    let hosts = [&sshd.hosts()[..], &["127.0.0.1:1".to_owned()]].concat();
    let line = "echo out; echo err >&2; printf '\\377'; : geheim-1; exit 3";
    let run = env.pssh().hosts(&hosts).args(["--num-retries", "1", "--journal", "J", "--env", "TOKEN=geheim-2"]);
    run.variable("PSSH_TEST", "geheim-3").args(["--", line]).run().exits(4);
    let all = records(&env, "J");
    assert_eq!(fs::metadata(env.path("J")).expect("a file").permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(env.path("J")).expect("text");
    assert!(!text.contains("geheim") && !text.contains("exit 3;"), "neither the command nor a value: {text}");
    assert_eq!(of_kind(&all, "run").len(), 1);
    assert_eq!((&all[0]["event"], &all[0]["hosts"], &all[0]["parent"]), (&"run".into(), &4.into(), &Value::Null));
    assert_eq!(indices(&of_kind(&all, "host")), [0, 1, 2, 3]);
    assert_eq!(indices(&of_kind(&all, "sent")), [0, 1, 2], "nothing is sent to a host that is not reached");
    assert_eq!(indices(&of_kind(&all, "end")), [0, 1, 2, 3]);
    assert!(of_kind(&all, "output").is_empty());
    for end in of_kind(&all, "end") {
        let is_reached = end["index"] != 3;
        assert_eq!((&end["sent"], &end["unreached"]), (&is_reached.into(), &(!is_reached).into()), "{end}");
        assert_eq!(end["outcome"], if is_reached { "exit" } else { "connect" });
        let place =
            |event: &str| all.iter().position(|record| record["event"] == event && record["index"] == end["index"]);
        assert!(!is_reached || place("sent") < place("end"), "in this order");
    }
    // With what they print, byte for byte.
    env.pssh().hosts(&sshd.hosts()[..1]).args(["--journal", "K", "--journal-output", "--", line]).run().exits(5);
    let all = records(&env, "K");
    let of = |stream: &str| {
        let printed = of_kind(&all, "output").into_iter().filter(|output| output["stream"] == stream);
        printed.map(|output| output["text"].as_str().map_or("/w==".to_owned(), str::to_owned)).collect::<String>()
    };
    assert!(["out\n/w==", "/w=="].contains(&&*of("stdout")) && of("stderr") == "err\n", "{all:?}");
}

#[test]
fn the_end_of_a_host_is_that_of_the_events() {
    let (journal, events) = (Schema::journal(), Schema::events());
    let names = |schema: &Schema, event| {
        let fields = schema.fields(event).as_object().expect("fields");
        fields.keys().cloned().collect::<Vec<_>>()
    };
    let more = ["brief", "sent", "unreached"];
    let own: Vec<String> = names(&journal, "end").into_iter().filter(|name| !more.contains(&&**name)).collect();
    assert_eq!(own, names(&events, "end"));
    for name in own.iter().filter(|name| *name != "host" && *name != "event") {
        assert_eq!(journal.fields("end")[name], events.fields("end")[name], "{name}");
    }
}

#[test]
fn copies_and_rsync_and_pnuke_are_recorded_before_anything_is_written_there() {
    let (env, sshd) = sshd::hosts(2);
    env.file("motd", "hello\n");
    let target = env.path("there");
    fs::create_dir(&target).expect("a directory");
    let there = target.join("motd").display().to_string();
    for (program, words) in [
        (Program::Pscp, vec!["motd", &there]),
        (Program::Pslurp, vec!["-L", "got", &there, "motd"]),
        (Program::Prsync, vec!["motd", &there]),
        (Program::Pnuke, vec!["no-such-process-at-all"]),
    ] {
        let journal = program.name();
        let run = env.run_of(program).hosts(&sshd.hosts()[..1]).args(["--journal", journal]).args(&words).run();
        run.exits(if program == Program::Pnuke { 5 } else { 0 });
        let all = records(&env, journal);
        let events: Vec<&str> = all.iter().filter_map(|record| record["event"].as_str()).collect();
        run.check(events == ["run", "host", "sent", "end"], &format!("one of each: {events:?}"));
        run.check(all[0]["program"] == program.name(), "the program");
        // The same again does nothing.
        let again = env.run_of(program).hosts(&sshd.hosts()[..1]).args(["--journal", journal, "--resume"]);
        let again = again.args(&words).run();
        again.exits(if program == Program::Pnuke { 5 } else { 0 }).stderr_has("1 host has ended, 0 run now");
        run.check(records(&env, journal).len() == all.len(), "nothing is added");
        let other = env.run_of(program).hosts(&sshd.hosts()[1..]).args(["--journal", journal, "--resume"]).args(&words);
        other.run().exits(2).stderr_has("the list of hosts differs: other hosts, or another order");
    }
    let connections = sshd.connections();
    let run = env.pssh().hosts(&sshd.hosts()[..1]).args(["--ping", "--journal", "ping"]).run();
    run.exits(0).check(of_kind(&records(&env, "ping"), "sent").is_empty(), "nothing is sent");
    let run = env.pssh().hosts(&sshd.hosts()[..1]).args(["--ping", "--journal", "ping", "--resume"]).run();
    run.exits(0).check(sshd.connections() == connections + 1, "and its end is known");
}

#[test]
fn a_second_run_on_the_same_journal_is_refused_by_the_pid_of_the_first() {
    let herd = Herd::new(2, Duration::from_secs(20));
    let first = herd.run("J", "first", &[]).start();
    let started = herd.server.wait_until(Duration::from_secs(20), |server| server.commands().len() == 2);
    assert!(started, "both hosts run");
    let (pid, began) = (first.id(), records(&herd.env, "J")[0]["time"].as_str().expect("a time")[..19].to_owned());
    for args in [&[][..], &["--resume"], &["--rerun", "failed"]] {
        let second = herd.run("J", "second", args).run();
        second.exits(1).stderr_has(&format!(
            "pssh: --journal J: another run writes to it now (pid {pid}, since {began}Z); wait for it, or name another file\n"
        ));
    }
    let replay = herd.env.pssh().args(["--replay", "J"]).run();
    replay
        .exits(1)
        .stderr_has(&format!("pssh: --replay J: another run writes to it now (pid {pid}, since {began}Z)\n"));
    first.signal(Signal::KILL);
    assert!(!first.finish().status.success());
    assert!(herd.counts("second").is_empty());
    // The lock has gone with it.
    let resumed = herd.run("J", "first", &["--resume"]).run();
    resumed.exits(4).stderr_has("0 hosts have ended, 2 are lost, 0 run now\n");
    resumed.ends("127.0.5.1", &format!("lost: sent by the run of {began}Z, no end known"));
    resumed.hints("127.0.5.1", "find out on the host how it ended; --rerun lost runs it again");
    assert_eq!(herd.counts("first").len(), 2, "and nothing was sent again");
}

#[test]
fn where_a_journal_cannot_be_kept_nothing_is_connected_to() {
    let (env, sshd) = sshd::hosts(1);
    let refused = |journal: &str, status: i32, words: &str| {
        let run = env.pssh().hosts(sshd.hosts()).args(["--journal", journal, "true"]).run();
        run.exits(status).stderr_has(&format!("pssh: --journal {words}\n"));
    };
    let device = "this is a device; a journal is a regular file; name a file on a disk";
    refused("/dev/null", 2, &format!("/dev/null: {device}"));
    refused("/dev/full", 2, &format!("/dev/full: {device}"));
    refused(".", 2, ".: this is a directory; a journal is a regular file; name a file on a disk");
    crate::bin::tool("mkfifo", &[env.path("fifo").as_os_str()]);
    refused("fifo", 2, "fifo: this is a pipe; a journal is a regular file; name a file on a disk");
    env.file("list", "127.0.0.1\n");
    refused("list", 2, "list: not a journal; name another file: a run is only added to a journal");
    assert_eq!(fs::read_to_string(env.path("list")).expect("a file"), "127.0.0.1\n", "it stays");
    refused(
        "no/J",
        1,
        "no/J: cannot open the journal: No such file or directory; name a file in a directory that can be written",
    );
    env.file("open", "");
    fs::set_permissions(env.path("open"), fs::Permissions::from_mode(0o622)).expect("a mode");
    refused("open", 2, "open: bad owner or permissions: mode 0622 lets others write it (chmod go-w)");
    symlink(env.path("list"), env.path("link")).expect("a link");
    std::os::unix::fs::lchown(env.path("link"), Some(65_534), None).expect("another owner");
    let run = env.pssh().hosts(sshd.hosts()).args(["--journal", "link", "true"]).run();
    run.exits(1).stderr_has("is a symbolic link of another user (nobody, uid 65534), which is not followed");
    // Root may write everywhere, but not to a file system that is mounted read-only.
    let run = env.pssh().hosts(sshd.hosts()).args(["--journal", "/proc/sys/J", "true"]).run();
    run.exits(1).stderr_has("; name a file in a directory that can be written\n");
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let env = Env::new();
    for (args, words) in [
        (&["--resume", "true"][..], "--journal <FILE>"),
        (&["--journal-output", "true"], "--journal <FILE>"),
        (&["--rerun", "failed", "true"], "--journal <FILE>"),
        (&["--journal", "J", "--resume", "--rerun", "ok", "true"], "cannot be used with"),
        (&["--journal", "J", "--rerun", "faild", "true"], "\"faild\" is not a way to end; did you mean failed?"),
        (&["--journal", "J", "--rerun", "", "true"], "\"\" is not a way to end; expected unreached, failed, exit,"),
        (&["--journal", "J", "--rerun", "ok", "true"], "--rerun: there is no journal J"),
        (&["--journal", "J", "--replay", "K"], "cannot be used with"),
        (&["--replay"], "a value is required"),
        (&["--dry-run", "--replay", "K"], "cannot be used with"),
    ] {
        let run = env.pssh().hosts(["127.0.0.1:1"]).args(args).run();
        run.exits(2).stderr_has(words);
    }
    assert!(!env.path("J").exists(), "none is made");
    env.file("J", "");
    let run = env.pssh().hosts(["127.0.0.1:1"]).args(["--journal", "J", "--rerun", "ok", "true"]).run();
    run.exits(2).stderr_has("--rerun: no run has begun in J\n");
    let run = env.pssh().hosts(["127.0.0.1:1"]).args(["--replay", "K"]).run();
    run.exits(2).stderr_has("--replay takes no hosts: it shows those in the journal");
    let run = env.pssh().args(["--replay", "K", "--", "true"]).run();
    run.exits(2).stderr_has("--replay takes no command: it shows what has been run");
}

/// A journal of three hosts of which one was not reached, one failed and one ended well.
fn three(env: &Env, sshd: &Sshd) -> Vec<String> {
    let hosts = [&sshd.hosts()[..], &["127.0.0.1:1".to_owned()]].concat();
    run(env, &hosts, &[], COMMAND).exits(4);
    hosts
}

/// Fails on the first host.
const COMMAND: &str = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 1;; esac";

fn run(env: &Env, hosts: &[String], args: &[&str], command: &str) -> Run {
    let pssh = env.pssh().hosts(hosts).args(["--num-retries", "1", "--journal", "J"]).args(args);
    pssh.args(["--", command]).run()
}

#[test]
fn another_list_command_or_value_is_not_the_same_run() {
    let (env, sshd) = sshd::hosts(2);
    let hosts = three(&env, &sshd);
    let connections = sshd.connections();
    let before = fs::read(env.path("J")).expect("the journal");
    let refused = |hosts: &[String], args: &[&str], command: &str, words: &str| {
        let told = run(&env, hosts, args, command);
        told.exits(2).stderr_has(&format!(": {words}\n")).stderr_has("not the same as the run of ");
    };
    refused(&hosts[..2], &["--resume"], COMMAND, "the list of hosts differs: it has 2 hosts, that run had 3");
    let mut turned = hosts.clone();
    turned.reverse();
    refused(&turned, &["--resume"], COMMAND, "the list of hosts differs: other hosts, or another order");
    refused(&hosts, &["--resume"], "true", "the command differs");
    refused(&hosts, &["--resume", "--sudo"], COMMAND, "the command differs");
    refused(&hosts, &["--resume", "--env", "A=1"], COMMAND, "the command differs");
    refused(&turned, &["--rerun", "failed"], "true", "the list of hosts differs: other hosts, or another order");
    let pnuke = env.run_of(Program::Pnuke).hosts(&hosts).args(["--journal", "J", "--resume", COMMAND]).run();
    pnuke.exits(2).stderr_has("that run was by pssh, not by pnuke\n");
    assert_eq!((fs::read(env.path("J")).expect("it"), sshd.connections()), (before, connections), "nothing happened");
    // Values for hosts.
    let of = |value: &str, resume: &[&str]| {
        let pssh = env.pssh().hosts(&hosts[..1]).args(["--journal", "K"]).args(resume);
        pssh.args(["--host-arg", &format!("{}={value}", hosts[0]), "--", "echo %q"]).run()
    };
    of("1", &[]).exits(0);
    of("2", &["--resume"]).exits(2).stderr_has(": the values for hosts differ\n");
    of("1", &["--resume"]).exits(0).stderr_has("1 host has ended, 0 run now");
    // What says how to run may differ.
    run(&env, &hosts, &["--resume", "-p", "1", "-t", "50", "--json"], COMMAND).exits(4);
}

#[test]
fn a_line_that_is_wrong_is_an_error_with_its_number_and_another_version_is_named() {
    let (env, sshd) = sshd::hosts(2);
    let hosts = three(&env, &sshd);
    let text = fs::read_to_string(env.path("J")).expect("the journal");
    let line = text.lines().nth(4).expect("a line");
    for (changed, words) in [
        (text.replacen(line, "garbage", 1), "J:5: not a record of a journal\n"),
        (text.replacen("\"index\":0", "\"index\":9", 1), "J:2: the list has 3 hosts, so there is no index 9\n"),
        (text.replacen("\"version\":1", "\"version\":2", 1), "J:1: the journal is of version 2, "),
    ] {
        env.file("J", &changed);
        run(&env, &hosts, &["--resume"], COMMAND).exits(2).stderr_has(&format!("pssh: {words}"));
        env.pssh().args(["--replay", "J"]).run().exits(2).stderr_has(&format!("pssh: {words}"));
        assert_eq!(fs::read_to_string(env.path("J")).expect("it"), changed, "it stays as it is");
    }
    // A last line that was not written to its end is no error: the end of that host is not known.
    env.file("J", &text[..text.len() - 10]);
    let told = format!("J:{}: the last line was not written to its end", text.lines().count());
    env.pssh().args(["--replay", "J"]).run().stderr_has(&format!("pssh: {told}, and is left out\n"));
    let resumed = run(&env, &hosts, &["--resume"], COMMAND);
    resumed.stderr_has("2 hosts have ended, ");
    let text = fs::read_to_string(env.path("J")).expect("the journal");
    let is_lost = resumed.stderr_text().contains("1 is lost");
    // Only the host that was not reached runs again; otherwise nothing is left to do, and the file stays.
    assert!(is_lost || resumed.stderr_text().contains(&told) && text.ends_with('\n'), "{}", resumed.context());
}

#[test]
fn hosts_run_again_by_how_they_ended() {
    let (env, sshd) = sshd::hosts(2);
    let hosts = three(&env, &sshd);
    for (set, told, count) in [
        ("unreached", "2 hosts have ended, 1 runs now", 0),
        ("exit", "2 hosts have ended, 1 runs now", 1),
        ("failed,ok", "0 hosts have ended, 3 run now", 2),
    ] {
        let connections = sshd.connections();
        let again = run(&env, &hosts, &["--rerun", set, "--json"], COMMAND);
        again.exits(4).stderr_has(told).check(sshd.connections() == connections + count, "these and no others");
        let ends = again.stdout_text().lines().filter(|line| line.contains("\"event\":\"end\"")).count();
        again.check(ends == 3, "the report is about all");
    }
    // Another command; all but the host that is not there end well now.
    let again = run(&env, &hosts, &["--rerun", "exit"], "echo other");
    again
        .exits(4)
        .stderr_has("pssh: 3 hosts: 2 ok, 1 connect\n")
        .check(again.stdout_text() == "127.0.1.1: other\n", "once");
    let parents: Vec<Value> = of_kind(&records(&env, "J"), "run").iter().map(|run| run["parent"].clone()).collect();
    assert!(parents[0].is_null() && parents[1..].iter().all(Value::is_string) && parents.len() == 5);
    let none = run(&env, &hosts, &["--rerun", "lost"], "echo other");
    none.exits(4).stderr_has("3 hosts have ended, 0 run now").stderr_has("pssh: 3 hosts: 2 ok, 1 connect\n");
    // What would run, without a run.
    let dry = run(&env, &hosts, &["--rerun", "unreached", "--dry-run"], "echo other");
    dry.exits(0).stdout_is("127.0.0.1: echo other\n");
}

#[test]
fn nothing_left_to_do_needs_no_password_and_no_terminal() {
    let (env, sshd) = sshd::hosts(1);
    let resumed = |args: &[&str]| run(&env, &sshd.hosts(), args, "true");
    resumed(&["--resume"]).exits(0).stderr_has("pssh: --resume: no run has begun in J, so that a new one begins\n");
    let connections = sshd.connections();
    resumed(&["--resume", "-A", "--password-file", "no-such-file"]).exits(2);
    resumed(&["--resume", "--password-file", "no-such-file"]).exits(0).within(5);
    resumed(&["--resume", "-A"]).exits(0).stderr_has("pssh: 127.0.1.1: ok (exit 0)\n");
    assert_eq!(sshd.connections(), connections);
}

#[test]
fn what_a_signal_stopped_before_it_was_sent_is_resumed() {
    let slow = || Behaviour::Name { after: Duration::from_secs(30) };
    let herd = Herd::with(6, Duration::ZERO, |config| config.on("run 127.0.5.1", slow()).on("run 127.0.5.2", slow()));
    let first = herd.run("J", "run", &["-p", "2"]).start();
    assert!(herd.server.wait_until(Duration::from_secs(20), |server| server.commands().len() == 2));
    first.signal(Signal::TERM);
    first.finish().dies_by(Signal::TERM);
    let all = records(&herd.env, "J");
    assert_eq!((of_kind(&all, "sent").len(), of_kind(&all, "end").len()), (2, 6));
    let resumed = herd.run("J", "run", &["--resume"]).run();
    resumed.exits(3).stderr_has("2 hosts have ended, 4 run now").stderr_has("pssh: 6 hosts: 4 ok, 2 cancelled\n");
    assert!(herd.counts("run").len() == 6 && herd.counts("run").values().all(|count| *count == 1));
}

#[test]
fn files_of_hosts_that_have_ended_stay() {
    let (env, sshd) = sshd::hosts(2);
    let go = |args: &[&str]| run(&env, &sshd.hosts(), args, "echo \"$SSH_CONNECTION\" | cut -d' ' -f3; test -e go");
    let printed = |name: &str| fs::read_to_string(env.path("out").join(name)).unwrap_or_default();
    let files: Vec<String> = sshd.hosts();
    for args in [&["-o", "out"][..], &["-o", "out", "--journal-output"]] {
        go(args).exits(5);
        for name in &files {
            assert_eq!(printed(name), format!("{}\n", &name[..9]));
        }
        go(&[args, &["--resume"]].concat()).exits(5);
        for name in &files {
            assert_eq!(printed(name), format!("{}\n", &name[..9]), "not emptied, not doubled");
        }
    }
    let path: PathBuf = env.path("out");
    fs::remove_dir_all(&path).expect("removed");
    let replay = env.pssh().args(["--replay", "J", "-o", "out"]).run();
    replay.exits(5).check(printed(&files[0]) == "127.0.1.1\n", "a replay writes them again");
}

#[test]
fn a_disk_that_is_full_starts_no_more_hosts() {
    let herd = Herd::new(40, Duration::from_millis(20));
    // Room for the list and a few hosts; blocks have 512 bytes.
    let run = herd.run("J", "run", &["-p", "2"]).shell("ulimit -f 32; exec \"$@\"").run();
    let told = "pssh: --journal J: cannot write the journal: File too large; since then no more hosts were started\n";
    run.exits(1).stderr_has(told).check(run.stderr_text().matches("File too large").count() >= 1, "told");
    run.check(run.stderr_text().matches("cannot write the journal").count() == 1, "once");
    run.check(
        run.stderr_text().contains("cancelled: never started, since the journal cannot be written"),
        "the reason",
    );
    let ran = herd.counts("run").len();
    run.check((1..40).contains(&ran), &format!("{ran} hosts ran"));
    // Whatever ran has its record, and the journal is whole.
    let sent = of_kind(&records(&herd.env, "J"), "sent").len();
    run.check(sent >= ran, &format!("{sent} were sent"));
    let resumed = herd.run("J", "run", &["--resume", "--json"]).run();
    resumed.check(herd.counts("run").values().all(|count| *count == 1), "nothing ran twice");
    let missing = 40 - herd.counts("run").len();
    resumed.check(missing <= sent - ran, "and the others ran");
    // No room for the beginning of a run.
    let none = herd.run("K", "other", &[]).shell("ulimit -f 1; exec \"$@\"").run();
    none.exits(1).stderr_has("pssh: --journal K: cannot write the journal: File too large\n");
    assert!(herd.counts("other").is_empty());
}

#[test]
fn many_hosts_share_one_wait_for_a_slow_disk() {
    const HOSTS: u8 = 120;
    let herd = Herd::new(HOSTS, Duration::ZERO);
    let (log, journal) = (herd.env.path("calls"), herd.env.path("J"));
    // Each sync takes 50 ms longer than it does.
    let script = format!(
        "exec strace -f -qq -o '{}' -P '{}' -e trace=fdatasync -e inject=fdatasync:delay_enter=50000 \"$@\"",
        log.display(),
        journal.display()
    );
    let run = herd.run("J", "run", &["-p", "60"]).shell(&script).run();
    run.exits(0).check(herd.counts("run").len() == usize::from(HOSTS), "all run");
    let syncs = fs::read_to_string(log).expect("the calls").matches("fdatasync(").count();
    run.check((3..usize::from(HOSTS) / 2).contains(&syncs), &format!("{syncs} syncs"));
}
