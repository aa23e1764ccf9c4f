//! The library's client, against a real sshd.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pssh::{AgentChoice, Arguments, Class, Client, Host, Outcome, Portion, Run, Secret, Settings, Shell, Source};

use crate::bin::{Env, ssh_keygen};
use crate::embedded::refused_address;
use crate::sshd::{Fleet, Setup, Sshd};

/// Longer than anything takes but a hang.
const SOON: Option<Duration> = Some(Duration::from_secs(20));

impl Fleet {
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Fleet::settings_of(&self.env);
        settings.user = Some(self.user.name().to_owned());
        settings.identities = vec![self.env.ssh_dir().join("id_ed25519")];
        settings
    }

    pub(crate) fn settings_of(env: &Env) -> Settings {
        let mut settings = Settings::for_library().expect("settings");
        settings.known_hosts = vec![env.known_hosts()];
        settings.agent = AgentChoice::Nobody;
        settings.config_files = pssh::internal::Files::of("", Some("none".as_ref()));
        settings
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.sshd.hosts(), self.settings()).expect("hosts")
    }

    fn run(&self, command: &str) -> Run {
        self.client().run_command(command).expect("it starts")
    }
}

pub(crate) fn text(lines: impl Iterator<Item = std::io::Result<Vec<u8>>>) -> Vec<String> {
    lines.map(|line| String::from_utf8(line.expect("a line")).expect("text")).collect()
}

pub(crate) fn class(host: &Host) -> Option<Class> {
    host.outcome().map(Outcome::class)
}

#[test]
fn every_entry_is_a_host_of_its_own_in_the_order_of_the_list() {
    let fleet = Fleet::new(2);
    let [one, two] = <[String; 2]>::try_from(fleet.sshd.hosts()).expect("two hosts");
    let client = Client::new([format!("{two} {one}"), two.clone()], fleet.settings()).expect("hosts");
    let line = "echo \"  out $SSH_CONNECTION\"; echo err >&2; case $SSH_CONNECTION in *' 127.0.1.2 '*) exit 3;; esac";
    let run = client.run_command(line).expect("it starts");
    let tally = run.join(SOON).expect("it ends");
    assert_eq!((tally.count(Class::Exit), tally.count(Class::Ok), tally.total()), (2, 1, 3));
    let expected = [("127.0.1.2", 3), ("127.0.1.1", 0), ("127.0.1.2", 3)];
    for (place, (host, (address, status))) in run.hosts().iter().zip(expected).enumerate() {
        assert_eq!((host.number(), host.spec().name.as_str(), host.exit_code()), (place, address, Some(status)));
        assert!(host.exception().is_none());
        assert_eq!(host.command(), line.as_bytes());
        let stdout = text(host.stdout());
        assert!(stdout.len() == 1 && stdout[0].starts_with("  out "), "{stdout:?}");
        assert!(stdout[0].contains(&format!(" {address} ")), "{stdout:?}");
        assert_eq!(text(host.stderr()), ["err"]);
        // What was read is not there again.
        assert_eq!(text(host.stdout()), [] as [&str; 0]);
    }
}

#[test]
fn lines_are_there_as_they_come() {
    let fleet = Fleet::new(1);
    let run = fleet.run("echo first; sleep 2; printf 'second\\n\\nlast'");
    let host = &run.hosts()[0];
    let mut lines = host.stdout();
    assert_eq!(lines.next().expect("a line").expect("readable"), b"first");
    assert!(!run.finished() && host.exit_code().is_none(), "it still runs");
    assert_eq!(text(lines), ["second", "", "last"]);
    run.join(SOON).expect("it ends");
    assert!(run.finished() && host.exit_code() == Some(0));
}

#[test]
fn output_that_nobody_reads_holds_nothing_up() {
    const LINES: usize = 400_000;
    let fleet = Fleet::new(2);
    // 24 MB a host: far more than windows and memory hold.
    let text = "a line of output that somebody may want to read some time";
    let run = fleet.run(&format!("yes '{text}' | head -n {LINES}"));
    assert_eq!(run.join(Some(Duration::from_secs(60))).expect("it ends").count(Class::Ok), 2);
    let [one, two] = run.hosts() else { panic!("two hosts") };
    assert!(one.stdout().all(|line| line.expect("a line") == text.as_bytes()));
    assert_eq!(two.stdout().count(), LINES);
    let run = fleet.run(&format!("yes | head -n {LINES}"));
    run.join_discarding_output(SOON).expect("it ends");
    assert_eq!(run.hosts()[0].stdout().count(), 0);
}

#[test]
fn standard_input_is_written_by_the_program() {
    let fleet = Fleet::new(3);
    let run = fleet.client().command("while read -r line; do echo \"got $line\"; done; echo end").with_stdin().run();
    let run = run.expect("it starts");
    for (host, number) in run.hosts().iter().zip(1..) {
        let mut stdin = host.stdin().expect("the first time");
        assert!(host.stdin().is_none(), "there is only one");
        let mut stdout = host.stdout();
        for turn in 0..3 {
            writeln!(stdin, "{number}.{turn}").expect("somebody reads");
            assert_eq!(stdout.next().expect("a line").expect("readable"), format!("got {number}.{turn}").as_bytes());
        }
        drop(stdin);
        assert_eq!(text(stdout), ["end"]);
    }
    run.join(SOON).expect("it ends");

    let run = fleet.client().command("exit 2").with_stdin().run().expect("it starts");
    let mut stdin = run.hosts()[0].stdin().expect("the first time");
    run.join(SOON).expect("it ends");
    assert_eq!(stdin.write_all(b"x").expect_err("nobody reads").kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_host_that_fails_says_why_and_the_others_go_on() {
    let fleet = Fleet::new(2);
    let dead = refused_address("127.0.0.1".parse().expect("an address")).expect("an address that refuses");
    let mut settings = fleet.settings();
    settings.retry.attempts = 1;
    let hosts = [dead.to_string()].into_iter().chain(fleet.sshd.hosts());
    let client = Client::new(hosts, settings).expect("hosts");
    let run = client.command("case $SSH_CONNECTION in *' 127.0.1.1 '*) kill -9 $$;; esac").with_stdin().run();
    let run = run.expect("it starts");
    // Written to a host that is never reached: it must not wait for ever.
    let written = run.hosts()[0].stdin().expect("the first time").write_all(&vec![0; 5 << 20]);
    assert_eq!(written.expect_err("nobody reads").kind(), ErrorKind::BrokenPipe);
    run.hosts().iter().for_each(|host| drop(host.stdin()));
    run.join(SOON).expect("it ends");
    let [refused, killed, well] = run.hosts() else { panic!("three hosts") };
    assert_eq!((class(refused), refused.exit_code()), (Some(Class::Connect), None));
    assert_eq!(refused.exception().map(Outcome::class), Some(Class::Connect));
    assert_eq!((class(killed), killed.exit_code()), (Some(Class::Signal), None));
    assert!(killed.exception().is_none());
    assert_eq!((class(well), well.exit_code()), (Some(Class::Ok), Some(0)));
    assert_eq!(run.first_exception().map(|(host, _)| host.number()), Some(0));
}

#[test]
fn waiting_has_an_end_and_the_run_goes_on() {
    let fleet = Fleet::new(2);
    let run = fleet.run("case $SSH_CONNECTION in *' 127.0.1.2 '*) sleep 3;; esac");
    let first = &run.hosts()[0];
    while !first.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let late = run.join(Some(Duration::from_millis(100))).expect_err("one sleeps");
    assert_eq!((late.finished, late.unfinished), (vec![0], vec![1]));
    assert_eq!(run.join(SOON).expect("it ends").count(Class::Ok), 2);
}

#[test]
fn a_run_that_is_cancelled_or_dropped_leaves_nothing_behind() {
    let fleet = Fleet::new(3);
    let mut settings = fleet.settings();
    settings.pool_size = 2;
    let client = Client::new(fleet.sshd.hosts(), settings).expect("hosts");
    let run = client.run_command("echo begun; sleep 973").expect("it starts");
    // Each by its shell and itself.
    fleet.sshd.wait_for_processes("sleep 973", 4);
    run.cancel();
    assert_eq!(run.join(SOON).expect("it ends").count(Class::Cancelled), 3);
    assert_eq!(text(run.hosts()[0].stdout()), ["begun"]);
    fleet.sshd.wait_for_processes("", 0);

    let run = client.run_command("sleep 974").expect("it starts");
    fleet.sshd.wait_for_processes("sleep 974", 4);
    let start = Instant::now();
    drop(run);
    assert!(start.elapsed() < Duration::from_secs(10));
    fleet.sshd.wait_for_processes("", 0);
}

#[test]
fn errors_stop_a_run_where_that_is_asked_for() {
    let fleet = Fleet::new(3);
    let mut settings = fleet.settings();
    settings.pool_size = 1;
    let client = Client::new(fleet.sshd.hosts(), settings).expect("hosts");
    let line = "case $SSH_CONNECTION in *' 127.0.1.1 '*) exit 9;; esac";
    let run = client.command(line).stop_on_errors(Portion::Hosts(1)).run().expect("it starts");
    let tally = run.join(SOON).expect("it ends");
    assert_eq!((tally.count(Class::Exit), tally.count(Class::Cancelled)), (1, 2));
    let tally = client.run_command(line).expect("it starts").join(SOON).expect("it ends");
    assert_eq!((tally.count(Class::Exit), tally.count(Class::Ok)), (1, 2));
    let late = client.command("sleep 975").timeout(Duration::from_secs(1)).run().expect("it starts");
    assert_eq!(late.join(SOON).expect("it ends").count(Class::Timeout), 3);
}

#[test]
fn each_host_has_values_of_its_own() {
    let fleet = Fleet::new(2);
    let client = fleet.client();
    let values = ["it's", "$HOME"].map(|value| Arguments::in_order([value]));
    let run = client.command("echo 100%% %q %(index)s").host_args(values.clone()).run().expect("it starts");
    run.join(SOON).expect("it ends");
    assert_eq!(text(run.hosts()[0].stdout()), ["100% it's 0"]);
    assert_eq!(text(run.hosts()[1].stdout()), ["100% $HOME 1"]);
    assert!(run.hosts()[0].command().starts_with(b"echo 100% "));
    let named = [1, 2].map(|number| Arguments::named([("n", number.to_string())]));
    let run = client.command("echo $0 $((%(n)d + 1))").host_args(named).shell(Shell::Named(b"sh -c".to_vec())).run();
    let run = run.expect("it starts");
    run.join(SOON).expect("it ends");
    assert_eq!(text(run.hosts()[1].stdout()), ["sh 3"]);
    // Without values nothing is filled in.
    let run = client.run_command("echo %s").expect("it starts");
    assert_eq!(text(run.hosts()[0].stdout()), ["%s"]);
    let refused =
        |command: &str, arguments: Vec<Arguments>| client.command(command).host_args(arguments).run().is_err();
    assert!(refused("echo %q", values[..1].to_vec()), "too few rows");
    assert!(refused("echo", values.to_vec()), "too many values");
    assert!(refused("echo %(m)s", values.to_vec()), "an unknown name");
}

#[test]
fn a_password_is_given_by_the_program() {
    let env = Env::without_key();
    let key = env.path("key");
    let line = ssh_keygen(&key, &["-t", "ed25519", "-N", "secret"]);
    let sshd = Sshd::start(&env, Setup { authorized: vec![line], ..Setup::default() });
    let mut settings = Fleet::settings_of(&env);
    settings.identities = vec![key];
    let run = |settings: &Settings| {
        let client = Client::new(sshd.hosts(), settings.clone()).expect("hosts");
        client.run_command("echo in").map(|run| text(run.hosts()[0].stdout()))
    };
    // No question is asked, with or without a terminal.
    assert!(run(&settings).is_err_and(|error| error.to_string().contains("encrypted")));
    settings.password = Some(Source::Given(Arc::new(Secret::new(b"secret"))));
    for _ in 0..2 {
        assert_eq!(run(&settings).expect("it starts"), ["in"]);
    }
}

#[test]
fn what_cannot_be_run_is_refused_at_once() {
    let fleet = Fleet::new(1);
    let refused = |command: Vec<u8>| fleet.client().run_command(command).err().map(|error| error.to_string());
    assert!(refused(b"a\0b".to_vec()).is_some_and(|error| error.contains("NUL")));
    assert!(Client::new([""; 0], fleet.settings()).is_err());
    assert!(Client::new(["-oProxyCommand=x"], fleet.settings()).is_err());
    let mut settings = fleet.settings();
    settings.identities = vec!["/does/not/exist".into()];
    let client = Client::new(fleet.sshd.hosts(), settings).expect("hosts");
    assert!(client.run_command("true").is_err_and(|error| error.to_string().contains("/does/not/exist")));
    assert_eq!(fleet.sshd.connections(), 0);
}
