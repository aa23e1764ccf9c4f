//! What a run prints and how it ends: prefixes, streams, bytes, exit codes and exit status.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::bin::{Count, Env, Run};
use crate::embedded::{Config, Server};
use crate::sshd::{Setup, Sshd, hosts};

/// Runs a shell line on `count` hosts of one sshd.
#[track_caller]
fn run(count: usize, line: &str) -> (Vec<String>, Run) {
    let (env, sshd) = hosts(count);
    let run = env.pssh().hosts(sshd.hosts()).args(["--", line]).run();
    (sshd.labels(), run)
}

#[test]
fn each_stream_goes_to_its_own_and_each_host_has_a_code() {
    let (labels, run) = run(3, "echo out; echo err >&2");
    run.exits(0);
    for label in &labels {
        run.check(run.stdout_of(label) == b"out\n", "stdout");
        run.check(run.stderr_of(label) == b"err\n", "stderr");
        run.ends(label, "ok (exit 0)");
    }
    run.check(run.stdout.len() == 3 * "127.0.1.1: out\n".len(), "nothing else on stdout");
    run.stderr_has("pssh: 3 hosts: 3 ok\n");
}

#[test]
fn one_host_needs_no_summary() {
    let (labels, run) = run(1, "echo only");
    run.exits(0).stdout_is(&format!("{}: only\n", labels[0]));
    run.check(run.stderr_text() == format!("pssh: {}: ok (exit 0)\n", labels[0]), "one line and no more");
}

#[test]
fn exit_codes_are_reported_and_decide() {
    let (labels, run) = run(3, "case $SSH_CONNECTION in *' 127.0.1.2 '*) exit 3;; *' 127.0.1.3 '*) exit 255;; esac");
    run.exits(5).stdout_is("");
    run.ends(&labels[0], "ok (exit 0)");
    run.check(run.outcome(&labels[1]) == "exit 3", "the code of a failure");
    run.check(run.outcome(&labels[2]) == "exit 255", "a remote 255 is an exit code like others");
    run.stderr_has("pssh: 3 hosts: 1 ok, 2 exit\n");
}

#[test]
fn a_command_that_does_not_exist_is_an_exit_code() {
    let (labels, run) = run(1, "no-such-command-of-pssh-tests");
    run.exits(5).ends(&labels[0], "exit 127");
    run.check(!run.stderr_of(&labels[0]).is_empty(), "what the remote shell says");
}

#[test]
fn words_are_joined_and_read_by_the_remote_shell() {
    let (env, sshd) = hosts(1);
    let run = env.pssh().hosts(sshd.hosts()).args(["echo", "a  b", "-p", "'c  d'", "$HOME$(echo x)"]).run();
    let said = String::from_utf8_lossy(&run.stdout_of(&sshd.label())).into_owned();
    run.exits(0);
    run.check(said.starts_with("a b -p c  d /") && said.ends_with("x\n"), "as the remote shell reads it");
}

#[test]
fn bytes_are_not_text() {
    let (labels, run) = run(1, r"printf '\000\377\376\r\t\033[1m\n\n\200\n'");
    run.exits(0);
    let said = [&b"\0\xff\xfe\r\t\x1b[1m\n"[..], b"\n", b"\x80\n"].concat();
    run.check(run.stdout_of(&labels[0]) == said, "bytes as they came");
    run.check(run.stdout.iter().filter(|byte| **byte == b'\n').count() == 3, "an empty line has a prefix too");
}

#[test]
fn a_command_may_have_bytes_that_are_not_utf8() {
    let (env, sshd) = hosts(1);
    let word = OsStr::from_bytes(b"caf\xe9");
    let run = env.pssh().hosts(sshd.hosts()).arg("echo").arg(word).run();
    run.exits(0).check(run.stdout_of(&sshd.label()) == b"caf\xe9\n", "the byte arrives");
}

#[test]
fn a_last_line_without_newline_is_completed() {
    let (labels, run) = run(2, "printf 'no newline'; printf 'nor here' >&2");
    run.exits(0);
    for label in &labels {
        run.check(run.stdout_of(label) == b"no newline\n", "stdout");
        run.check(run.stderr_of(label) == b"nor here\n", "stderr");
    }
}

#[test]
fn no_output_is_no_line() {
    let (labels, run) = run(2, "true");
    run.exits(0).stdout_is("");
    run.check(run.outcomes().len() == labels.len(), "nothing but the outcomes");
}

#[test]
fn lines_of_many_hosts_are_never_mixed() {
    // In pieces of odd sizes, so that lines are cut everywhere.
    let (labels, run) = run(8, "seq 30000 | dd bs=977 2>/dev/null");
    run.exits(0);
    let expected: Vec<u8> = (1..=30_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    for label in &labels {
        run.check(run.stdout_of(label) == expected, &format!("every line of {label}, in order"));
    }
    let lines = run.stdout.iter().filter(|byte| **byte == b'\n').count();
    run.check(lines == 8 * 30_000, "and no other line");
}

#[test]
fn the_order_within_a_stream_and_of_streams_apart_in_time_is_kept() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    // Both streams into one file, as a terminal has them.
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--", "echo 1; sleep 0.3; echo 2 >&2; sleep 0.3; echo 3; sleep 0.3; echo 4 >&2"])
        .shell("exec \"$@\" 2>&1")
        .run();
    let label = sshd.label();
    run.exits(0);
    run.stdout_is(&format!("{label}: 1\n{label}: 2\n{label}: 3\n{label}: 4\npssh: {label}: ok (exit 0)\n"));
}

#[test]
fn the_remote_command_gets_an_end_of_input() {
    let (labels, run) = run(2, "cat; wc -c; read line || echo end");
    run.exits(0);
    for label in &labels {
        let said = String::from_utf8_lossy(&run.stdout_of(label)).into_owned();
        run.check(said.trim_start().starts_with("0\n") && said.ends_with("end\n"), "input is at its end");
    }
}

#[test]
fn output_in_another_encoding_is_shown_as_utf8() {
    let (env, sshd) = hosts(2);
    let line = "printf 'caf\\351\\n'; printf 'na\\357ve' >&2";
    let run = env.pssh().hosts(sshd.hosts()).args(["--encoding", "latin-1", "--", line]).run();
    run.exits(0);
    for label in sshd.labels() {
        run.check(run.stdout_of(&label) == "caf\u{e9}\n".as_bytes(), "stdout as UTF-8");
        run.check(run.stderr_of(&label).starts_with("na\u{ef}ve\n".as_bytes()), "stderr as UTF-8");
    }
    // Without it, bytes are bytes.
    let run = env.pssh().hosts(sshd.hosts()).args(["--", line]).run();
    run.check(run.stdout_of(&sshd.label()) == b"caf\xe9\n", "stdout as it came");
    env.pssh().args(["-H", "a", "--encoding", "klingon", "true"]).run().exits(2).stderr_has("try latin1");
}

#[test]
fn our_own_standard_input_is_left_alone() {
    let (env, sshd) = hosts(1);
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--", "cat; echo remote"])
        .stdin("one\ntwo\nthree\n")
        .shell("while read -r line; do echo \"loop $line\"; \"$@\" 2>/dev/null || exit; done")
        .run();
    let label = sshd.label();
    let turn = |word: &str| format!("loop {word}\n{label}: remote\n");
    run.exits(0).stdout_is(&[turn("one"), turn("two"), turn("three")].concat());
}

#[test]
fn a_background_process_that_holds_the_output_is_waited_for() {
    let (labels, run) = run(1, "(sleep 1; echo late) & echo early; exit 6");
    run.exits(5).ends(&labels[0], "exit 6");
    run.check(run.stdout_of(&labels[0]) == b"early\nlate\n", "what it says later belongs to the output");
}

#[test]
fn a_background_process_that_let_go_of_the_output_is_not_waited_for() {
    let (labels, run) = run(1, "sleep 300 >/dev/null 2>&1 </dev/null & echo started");
    run.exits(0).within(30).ends(&labels[0], "ok");
    run.check(run.stdout_of(&labels[0]) == b"started\n", "stdout");
}

#[test]
fn floods_of_eight_hosts_at_once_arrive_whole_in_little_memory() {
    const EACH: usize = 50_000_000;
    let (env, sshd) = hosts(8);
    let run = env
        .pssh()
        .hosts(sshd.hosts())
        .args(["--", &format!("head -c {EACH} /dev/zero >&2; head -c {EACH} /dev/zero")])
        .count()
        .limit(240)
        .run();
    run.exits(0);
    for label in sshd.labels() {
        run.ends(&label, "ok");
        for (stream, counts) in [("stdout", &run.stdout_counts), ("stderr", &run.stderr_counts)] {
            let count = counts.get(&label).copied().unwrap_or_default();
            let what = format!("all of {stream} of {label}, not {count:?}");
            run.check(count.bytes == EACH && count.not_nul == 0, &what);
        }
    }
    run.check(run.stdout_counts.len() == 8 && run.stderr_counts.len() == 8, "nothing of anybody else");
    run.check(run.peak_kib > 0 && run.peak_kib < 60 * 1024, "less than 60 MiB");
}

#[test]
fn endless_lines_are_cut_without_losing_a_byte() {
    const LENGTH: usize = 5_000_000;
    let (env, sshd) = hosts(2);
    let line = format!("head -c {LENGTH} /dev/zero | tr '\\0' x; echo; echo short");
    let run = env.pssh().hosts(sshd.hosts()).args(["--", &line]).count().run();
    run.exits(0);
    for label in sshd.labels() {
        let Count { lines, bytes, not_nul, longest } = run.stdout_counts.get(&label).copied().unwrap_or_default();
        let whole = LENGTH + "short".len();
        run.check(bytes == whole && not_nul == whole, &format!("{bytes} bytes of {whole}"));
        run.check(longest <= (512 << 10) + (32 << 10), &format!("a line of {longest} bytes is held in memory"));
        run.check((11..=13).contains(&lines), &format!("{lines} lines"));
    }
}

#[test]
fn at_most_the_pool_size_runs_at_once() {
    let (env, sshd) = hosts(9);
    let run = env.pssh().hosts(sshd.hosts()).args(["-p", "3", "--", "date +%s%N; sleep 0.3; date +%s%N"]).run();
    run.exits(0);
    let mut moments = Vec::new();
    for label in sshd.labels() {
        let said = String::from_utf8_lossy(&run.stdout_of(&label)).into_owned();
        let times: Vec<u128> = said.lines().map(|line| line.parse().expect("nanoseconds")).collect();
        run.check(times.len() == 2, "two times of each host");
        moments.extend([(times[0], 1), (times[1], -1)]);
    }
    moments.sort_unstable();
    let mut running = 0;
    let most = moments.iter().map(|(_, step)| {
        running += step;
        running
    });
    let most = most.max().expect("moments");
    run.check(most <= 3, &format!("{most} ran at once"));
}

#[test]
fn hosts_are_started_in_the_order_of_the_list() {
    let (env, sshd) = hosts(12);
    let mut hosts = sshd.hosts();
    hosts.reverse();
    let mut labels = sshd.labels();
    labels.reverse();
    let run = env.pssh().hosts(hosts).args(["-p", "1", "true"]).run();
    run.exits(0);
    let order: Vec<String> = run.outcomes().into_iter().map(|(label, _)| label).collect();
    run.check(order == labels, "one after the other");
}

#[test]
fn a_host_that_is_listed_twice_runs_twice() {
    let (env, sshd) = hosts(1);
    let host = sshd.hosts()[0].clone();
    let run = env.pssh().hosts([&host, &host]).args(["echo", "here"]).run();
    run.exits(0).stderr_has("pssh: 2 hosts: 2 ok\n");
    run.check(run.stdout_of(&sshd.label()) == b"here\nhere\n", "both");
    run.check(run.outcomes().len() == 2, "two outcomes");
}

#[test]
fn hosts_that_differ_by_user_or_port_only_are_told_apart() {
    let env = Env::new();
    let server = |_| {
        let authorised = env.public_lines();
        Server::start(Config { authorised, ..Config::default() })
    };
    let servers = [0, 1].map(server);
    servers.iter().for_each(|server| env.trust(&server.known_hosts()));
    let hosts = servers.iter().map(|server| format!("deploy@{}", server.addr()));
    let hosts: Vec<String> = hosts.collect();
    let run = env.pssh().hosts(&hosts).args(["--", "echo $USER"]).run();
    run.exits(0);
    for host in &hosts {
        run.check(run.stdout_of(host) == b"deploy\n", "the whole entry is the label");
        run.ends(host, "ok");
    }
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    // Other addresses of "localhost" than 127.0.0.1 have no listener.
    let env = Env::new();
    let server = Server::start(Config { authorised: env.public_lines(), ..Config::default() });
    env.trust(&(server.known_hosts_line("localhost") + "\n"));
    let run = env.pssh().hosts([format!("localhost:{}", server.port())]).args(["echo", "found"]).run();
    run.exits(0).stdout_is("localhost: found\n");
}

#[test]
fn verbose_tells_what_was_done() {
    let (env, sshd) = hosts(1);
    let run = env.pssh().hosts(sshd.hosts()).args(["-v", "true"]).run();
    run.exits(0);
    for words in
        ["connected to 127.0.1.1:", "server says \"SSH-2.0-OpenSSH", "host key ssh-ed25519 SHA256:", "authenticated as"]
    {
        run.stderr_has(words);
    }
}
