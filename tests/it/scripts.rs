//! Local scripts (`--script`), and commands that are too long for a line.

use std::fmt::Write;

use crate::bin::{Env, Pssh};
use crate::sshd::{self, Sshd};

/// Bytes of the longest command that goes in one line.
const LINE: usize = 34_000;

struct Fleet {
    env: Env,
    sshd: Sshd,
}

impl Fleet {
    fn new(hosts: usize) -> Fleet {
        let (env, sshd) = sshd::hosts(hosts);
        Fleet { env, sshd }
    }

    fn pssh(&self) -> Pssh {
        self.env.pssh().hosts(self.sshd.hosts())
    }

    /// A run of `command` on hosts that all have to say `text` and end in success.
    #[track_caller]
    fn says(&self, run: Pssh, text: &str) {
        let run = run.run();
        run.exits(0);
        for label in self.sshd.labels() {
            run.check(run.stdout_of(&label) == text.as_bytes(), &format!("expected {text:?} of {label}"));
        }
    }
}

/// A comment of `length` bytes, in many lines.
fn padding(length: usize) -> String {
    let mut text = String::with_capacity(length + 80);
    let mut number = 0;
    while text.len() < length {
        let _ = writeln!(text, "# {number} it's \"filled\" with `what` $would (hurt");
        number += 1;
    }
    text
}

#[test]
fn a_script_runs_with_its_arguments_and_standard_input() {
    let fleet = Fleet::new(2);
    let shell = fleet.env.file("job's.sh", "#!/bin/bash\nset -eu\necho \"$0|$1|$2|$#\"\ncat\n");
    let perl = fleet
        .env
        .file("job.pl", "#!/usr/bin/perl -w\nprint join('|', @ARGV), \"\\n\", <STDIN>, <DATA>;\n__END__\nend\n");
    let plain = fleet.env.file("plain", "cat; exit 0; never");
    let with = |script, args: &[&str]| fleet.pssh().arg("-I").arg("--script").arg(script).arg("--").args(args);
    let args = ["a b", "it's $HOME `id` \\"];
    fleet.says(with(&shell, &args).stdin("in\n"), "job's.sh|a b|it's $HOME `id` \\|2\nin\n");
    fleet.says(with(&perl, &args).stdin("in\n"), "a b|it's $HOME `id` \\\nin\nend\n");
    fleet.says(with(&plain, &[]).stdin("in\n"), "in\n");
    fleet.says(fleet.pssh().arg("--script").arg(&shell).args(["x", "-y"]), "job's.sh|x|-y|2\n");
    fleet.says(fleet.pssh().args(["--script", "-", "x"]).stdin("echo \"$0 $1\"; cat"), "script x\n");
}

#[test]
fn a_script_that_is_too_long_for_a_line_comes_over_standard_input() {
    let fleet = Fleet::new(2);
    let end = "echo \"${0##*/}|$1\"\ncat\ncat <<END\nhere\nEND\n";
    let shell = fleet.env.file("long.sh", format!("#!/bin/bash\n{}{end}", padding(3 << 20)));
    let perl = "print \"@ARGV\\n\", <STDIN>;\n__END__\n";
    let perl = fleet.env.file("long.pl", format!("#!/usr/bin/perl\n{}{perl}{}", padding(LINE), padding(LINE)));
    fleet.says(fleet.pssh().arg("--script").arg(&shell).arg("x y"), "long.sh|x y\nhere\n");
    fleet.says(fleet.pssh().arg("--script").arg(&perl).arg("x y"), "x y\n");
    for script in [&shell, &perl] {
        let run = fleet.pssh().arg("-I").arg("--script").arg(script).run();
        run.exits(2).stderr_has("is sent over standard input, which -I also uses").stderr_has("--script ");
    }
    assert_eq!(fleet.sshd.connections(), 4, "nothing more was connected to");
}

/// csh closes the descriptor by which other interpreters get the script, and seeks back in it for each turn of a loop.
#[test]
fn scripts_of_csh_and_tcsh_run_whole() {
    let fleet = Fleet::new(1);
    let text = "set i = 0\nwhile ($i < 3)\n  @ i++\n  echo \"$i $1 it's\"\nend\ngoto done\necho never\ndone:\necho $#argv\ncat\n";
    for (shell, file) in [("/bin/csh -f", "x.csh"), ("/bin/bsd-csh", "it's.csh"), ("/usr/bin/env tcsh", "x.tcsh")] {
        let short = fleet.env.file(file, format!("#!{shell}\n{text}exit 4\n"));
        let run = fleet.pssh().arg("-I").arg("--script").arg(&short).args(["a b", "/dev/fd/3"]).stdin("in\n").run();
        run.exits(5).ends(&fleet.sshd.label(), "exit 4");
        let said = "1 a b it's\n2 a b it's\n3 a b it's\n2\n";
        run.check(run.stdout_of(&fleet.sshd.label()) == format!("{said}in\n").as_bytes(), shell);
        let long = fleet.env.file(file, format!("#!{shell}\n{}{text}exit 4\n", padding(LINE).replace('!', "")));
        let run = fleet.pssh().arg("--script").arg(&long).args(["a b", "/dev/fd/3"]).run();
        run.exits(5).ends(&fleet.sshd.label(), "exit 4");
        run.check(run.stdout_of(&fleet.sshd.label()) == said.as_bytes(), shell);
    }
}

#[test]
fn an_exit_status_is_the_scripts() {
    let fleet = Fleet::new(1);
    for text in ["exit 9\n", "#!/usr/bin/perl\nexit 9\n", &format!("{}exit 9\n", padding(LINE))] {
        let script = fleet.env.file("status", text);
        fleet.pssh().arg("--script").arg(script).run().exits(5).ends(&fleet.sshd.label(), "exit 9");
    }
    let script = fleet.env.file("missing", "#!/no/such/program\n");
    fleet.pssh().arg("--script").arg(script).run().exits(5).ends(&fleet.sshd.label(), "exit 127");
}

#[test]
fn a_script_that_cannot_be_run_stops_everything() {
    let fleet = Fleet::new(1);
    let refused = |args: &[&str], status, words: &str| {
        fleet.pssh().args(args).stdin("id").run().exits(status).stderr_has(words);
    };
    fleet.env.file("binary", "a\0b");
    fleet.env.file("windows", "#!/bin/sh\r\nid\r\n");
    fleet.env.file("huge", "#".repeat((16 << 20) + 1));
    refused(&["--script", "nowhere"], 1, "--script nowhere: No such file or directory");
    refused(&["--script", "."], 1, "--script .: Is a directory");
    refused(&["--script", "binary"], 2, "--script binary: it has a NUL byte (byte 1)");
    refused(&["--script", "windows"], 2, "carriage return");
    refused(&["--script", "huge"], 2, "more than 16777216 bytes");
    refused(&["--script", "-", "-I"], 2, "--script - and -I both read standard input");
    refused(&["--script", "-", "-h", "-"], 2, "-h - and --script - both read standard input");
    assert_eq!(fleet.sshd.connections(), 0);
}

#[test]
fn a_command_of_any_length_is_run() {
    let fleet = Fleet::new(1);
    let words = |length: usize| "x".repeat(length - "echo ".len());
    for length in [LINE, LINE + 1] {
        let words = words(length);
        fleet.says(fleet.pssh().arg("--").arg(format!("echo {words}")), &format!("{words}\n"));
    }
    // One argument can have 128 KiB, on our side as well: so it comes in many.
    let end = "| wc -c; cat; echo \"$0\"; exit 6";
    let many = fleet.pssh().arg("echo").args(vec!["y".repeat(99_999); 10]).arg(end).run();
    many.exits(5).ends(&fleet.sshd.label(), "exit 6");
    let said = many.stdout_of(&fleet.sshd.label());
    let by_login_shell = said == b"1000000\nbash\n" || said == b"1000000\nsh\n";
    many.check(by_login_shell, "all of it, by the login shell, whose input is at its end");
    let run = fleet.pssh().args(["-I", "--"]).arg(format!("echo {}", words(LINE + 1))).run();
    run.exits(2).stderr_has("the command has 34001 bytes: beyond 34000 bytes it is sent over standard input");
}

#[test]
fn a_long_command_runs_as_a_short_one() {
    let fleet = Fleet::new(1);
    let command = "f() { local x=1; return 3; }\ncat; echo \"$0\" \"$#\"; false; echo $?; f; echo \"$?\"\ntrap 'echo bye' EXIT\nexit 4\n";
    let short = fleet.pssh().arg("--").arg(command).run();
    let long = fleet.pssh().arg("--").arg(padding(LINE) + command).run();
    short.exits(5).ends(&fleet.sshd.label(), "exit 4");
    long.exits(5).ends(&fleet.sshd.label(), "exit 4");
    long.check(long.stdout == short.stdout, &short.context());
}
