//! Standard input for all hosts (`-I`).

use std::fmt::Write;
use std::fs::{self, File};
use std::time::Duration;

use crate::bin::{Env, Pssh, Run};
use crate::sshd::{self, Sshd};

/// Seconds that are longer than anything takes but a hang.
const SOON: u64 = 20;

struct Fleet {
    env: Env,
    sshd: Sshd,
}

impl Fleet {
    fn new(hosts: usize) -> Fleet {
        let (env, sshd) = sshd::hosts(hosts);
        Fleet { env, sshd }
    }

    fn pssh(&self, command: &str) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts()).args(["-I", "--", command])
    }
}

/// Lines that differ from each other, `bytes` of them, about.
fn lines(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 100);
    let mut number = 0_u64;
    while text.len() < bytes {
        let _ = writeln!(text, "{number} {}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        number += 1;
    }
    text
}

/// What `sha256sum` says of `text` on this machine.
fn checksum(env: &Env, text: &str) -> String {
    let file = env.file("sum", text);
    let output = std::process::Command::new("sha256sum").stdin(File::open(file).expect("a file")).output();
    String::from_utf8(output.expect("sha256sum").stdout).expect("text")
}

fn all_said(run: &Run, sshd: &Sshd, text: &str) {
    for label in sshd.labels() {
        let said = run.stdout_of(&label);
        run.check(said == text.as_bytes(), &format!("expected {text:?} of {label}"));
    }
}

#[test]
fn every_host_gets_all_of_it_and_then_its_end() {
    let fleet = Fleet::new(3);
    for text in ["", "one\ntwo", "\n"] {
        let run = fleet.pssh("wc -c; read line || echo end").stdin(text).run();
        run.exits(0);
        all_said(&run, &fleet.sshd, &format!("{}\nend\n", text.len()));
    }
}

#[test]
fn many_megabytes_arrive_whole_from_a_pipe_and_from_a_file() {
    const EACH: usize = 24 << 20;
    let fleet = Fleet::new(8);
    let text = lines(EACH);
    let sum = checksum(&fleet.env, &text);
    let pssh = || fleet.pssh("sha256sum").limit(120);
    let (pipe, file) = (pssh().stdin(text.clone()).run(), pssh().shell("exec \"$@\" < sum").run());
    for run in [pipe, file] {
        run.exits(0);
        all_said(&run, &fleet.sshd, &sum);
        run.check(run.peak_kib < 60 << 10, "no more memory than 60 MiB");
    }
}

#[test]
fn what_goes_in_comes_out_of_cat() {
    const EACH: usize = 6 << 20;
    let fleet = Fleet::new(2);
    let text = lines(EACH);
    let run = fleet.pssh("cat").stdin(text.clone()).limit(120).run();
    run.exits(0);
    all_said(&run, &fleet.sshd, &text);
}

#[test]
fn input_is_passed_on_as_it_comes() {
    let fleet = Fleet::new(2);
    // The second line comes only once both hosts have answered to the first.
    let script =
        "{ echo one; until [ \"$(grep -c one answers)\" = 2 ]; do sleep 0.05; done; echo two; } | \"$@\" > answers";
    let run = fleet.pssh("cat").shell(script).limit(SOON).run();
    run.exits(0);
    let answers = fs::read_to_string(fleet.env.path("answers")).expect("answers");
    run.check(answers.lines().filter(|line| line.ends_with(": two")).count() == 2, "both got the second line");
}

#[test]
fn a_host_that_does_not_read_holds_nobody_up() {
    let fleet = Fleet::new(3);
    // More than fits into the channel's window.
    let text = lines(12 << 20);
    let lazy = "case $SSH_CONNECTION in *' 127.0.1.2 '*) until [ -e go ]; do sleep 0.05; done;; esac; wc -c";
    let go = fleet.env.path("go").display().to_string();
    let mut running = fleet.pssh(&lazy.replace("-e go", &format!("-e {go}"))).stdin(text.clone()).start();
    running.wait_for("pssh: 127.0.1.1: ok");
    running.wait_for("pssh: 127.0.1.3: ok");
    fleet.env.file("go", "");
    let run = running.finish();
    run.exits(0);
    all_said(&run, &fleet.sshd, &format!("{}\n", text.len()));
}

#[test]
fn hosts_that_come_later_get_it_from_the_beginning() {
    let fleet = Fleet::new(4);
    let text = lines(3 << 20);
    let pssh = fleet.env.pssh().hosts(fleet.sshd.hosts()).args(["-p", "1", "--send-input", "--", "wc -c"]);
    let run = pssh.stdin(text.clone()).run();
    run.exits(0);
    all_said(&run, &fleet.sshd, &format!("{}\n", text.len()));
}

#[test]
fn a_command_may_end_without_reading() {
    let fleet = Fleet::new(2);
    let run = fleet.pssh("echo done; exit 4").stdin(lines(8 << 20)).run();
    run.exits(5).within(SOON);
    all_said(&run, &fleet.sshd, "done\n");
}

#[test]
fn endless_input_ends_with_the_commands() {
    let fleet = Fleet::new(2);
    let run = fleet.pssh("head -c 6").shell("yes | \"$@\"").limit(SOON).run();
    run.exits(0);
    all_said(&run, &fleet.sshd, "y\ny\ny\n");
}

#[test]
fn a_command_that_does_not_read_is_stopped_in_time() {
    let fleet = Fleet::new(2);
    let pssh = fleet.env.pssh().hosts(fleet.sshd.hosts()).args(["-I", "-t", "1", "--", "echo begun; sleep 976"]);
    let run = pssh.stdin(lines(8 << 20)).run();
    run.exits(3).within(SOON);
    for label in fleet.sshd.labels() {
        run.ends(&label, "timeout command");
    }
    all_said(&run, &fleet.sshd, "begun\n");
}

#[test]
fn input_that_cannot_be_kept_is_no_end_of_input() {
    let fleet = Fleet::new(1);
    // A limit of 1 MiB on the size of files stands for a full disk.
    let script = "trap '' XFSZ; ulimit -f 2048; cat big | \"$@\"";
    fleet.env.file("big", lines(6 << 20));
    let run = fleet.pssh("cat >/dev/null; echo took it for all").shell(script).limit(SOON).run();
    run.exits(1);
    let label = fleet.sshd.label();
    run.ends(&label, "local: reading standard input: it cannot be stored in a temporary file: ");
    run.hints(&label, "did not get all of its input");
    run.check(run.stdout_of(&label).is_empty(), "the command was not told that this was all");
}

#[test]
fn standard_input_is_read_for_one_purpose() {
    let fleet = Fleet::new(1);
    let run = fleet.env.pssh().args(["-h", "-", "-I", "--", "cat"]).stdin(fleet.sshd.hosts()[0].clone()).run();
    run.exits(2).stderr_has("-h - and -I both read standard input");
    // Whatever it is called, and whatever it is.
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/dev//fd/./0"] {
        let pssh = || fleet.env.pssh().args(["-h", name, "-I", "--", "cat"]);
        let words = format!("-h {name} and -I both read standard input");
        pssh().stdin(fleet.sshd.hosts()[0].clone()).run().exits(2).stderr_has(&words);
        fleet.env.file("list", &fleet.sshd.hosts()[0]);
        pssh().shell("exec \"$@\" <list").run().exits(2).stderr_has(&words);
    }
    for (args, words) in [
        (&["-h", "/dev/stdin", "--script", "-"][..], "-h /dev/stdin and --script - both read standard input"),
        (&["-h", "-", "--password-file", "/dev/stdin", "x"], "-h - and --password-file /dev/stdin both read"),
        (
            &["-h", "/dev/fd/0", "--sudo", "--sudo-password-file", "/dev/stdin", "x"],
            "-h /dev/fd/0 and --sudo-password-file",
        ),
        (&["-h", "-", "--host-config", "/proc/self/fd/0", "x"], "-h - and --host-config /proc/self/fd/0 both read"),
    ] {
        fleet.env.pssh().args(args).stdin("x").run().exits(2).stderr_has(words);
    }
    // The same pipe by the number of a duplicate; another one is another.
    let pssh = || fleet.env.pssh().args(["-h", "/dev/fd/5", "-I", "--", "cat"]).stdin("from stdin\n");
    pssh().shell("exec 5<&0; exec \"$@\"").run().exits(2).stderr_has("-h /dev/fd/5 and -I both read standard input");
    let run = pssh().shell("exec 5<list; exec \"$@\"").run();
    run.exits(0).check(run.stdout_text().contains("from stdin"), "the list is elsewhere");
    let run = fleet.pssh("cat").shell("exec \"$@\" 0>somewhere").run();
    run.exits(1).stderr_has("--send-input: standard input: it is not open for reading");
}

#[test]
fn a_slow_writer_is_waited_for() {
    let fleet = Fleet::new(2);
    let run = fleet.pssh("cat").shell("{ sleep 1; echo late; } | \"$@\"").run();
    run.exits(0).check(run.time >= Duration::from_secs(1), "it waited");
    all_said(&run, &fleet.sshd, "late\n");
}
