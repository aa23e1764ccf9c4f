//! Output on a terminal, as its user sees it: colours, the status line, and what remote bytes may not do.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::bin::{Env, Pssh};
use crate::embedded::{Config, Prompt, Server};
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

struct Lab {
    env: Env,
    sshd: Sshd,
    pty: Pty,
}

impl Lab {
    fn new(hosts: usize) -> Lab {
        let env = Env::new();
        let sshd = Sshd::start(&env, Setup { hosts, ..Setup::default() });
        let pty = Pty::new();
        pty.resize(COLUMNS, ROWS);
        Lab { env, sshd, pty }
    }

    fn pssh(&self, args: &[&str], line: &str) -> Pssh {
        let pssh = self.env.pssh().hosts(self.sshd.hosts()).variable("TERM", "xterm-256color");
        pssh.args(args).args(["--", line])
    }

    /// What the screen shows.
    fn screen(&self) -> String {
        self.pty.screen(COLUMNS, ROWS).contents()
    }
}

// Colours and control sequences.

#[test]
fn each_host_has_a_colour_and_what_it_colours_ends_with_its_line() {
    let lab = Lab::new(2);
    let line = r"printf '\033[1;31mred\nplain\n'; sleep 0.3; echo err >&2";
    lab.pty.show(lab.pssh(&["--progress=never", "-p1"], line)).run().exits(0);
    let screen = lab.pty.screen(COLUMNS, ROWS);
    let rows = "127.0.1.1: red\n127.0.1.1: plain\n127.0.1.1: ! err\npssh: 127.0.1.1: ok (exit 0)\n";
    let text = screen.contents();
    assert!(text.starts_with(rows), "{text}");
    let colour = |row: u16, column: u16| screen.cell(row, column).expect("a cell").fgcolor();
    let label = colour(0, 0);
    assert!(matches!(label, vt100::Color::Idx(_)), "{label:?}");
    assert_eq!([colour(1, 0), colour(2, 0), colour(1, 11)], [label, label, vt100::Color::Default]);
    assert_ne!(colour(4, 0), label, "another host has another colour");
    let red = screen.cell(0, 12).expect("a cell");
    assert!(red.bold() && red.fgcolor() == vt100::Color::Idx(1));
    assert!(screen.cell(3, 18).expect("a cell").dim(), "what is well is dim");
    assert_eq!([colour(2, 0), colour(2, 11)], [label, vt100::Color::Idx(1)], "standard error has a mark");
}

#[test]
fn colours_can_be_turned_off_and_on() {
    let quiet = |args: &[&str], variable: (&str, &str)| {
        let lab = Lab::new(1);
        let run = lab.pssh(&[&["--progress=never"], args].concat(), "echo x").variable(variable.0, variable.1);
        lab.pty.show(run).run().exits(0);
        lab.pty.shown()
    };
    let plain = "127.0.1.1: x\r\npssh: 127.0.1.1: ok (exit 0)\r\n";
    assert_eq!(quiet(&[], ("NO_COLOR", "1")), plain);
    assert_eq!(quiet(&["--color=never"], ("CLICOLOR_FORCE", "1")), plain);
    assert_eq!(quiet(&[], ("TERM", "dumb")), plain);
    assert!(quiet(&["--color", "always"], ("NO_COLOR", "1")).starts_with("\x1b["));
    let lab = Lab::new(1);
    lab.pssh(&[], "echo x").run().exits(0).stdout_is("127.0.1.1: x\n");
    let forced = lab.pssh(&[], "echo x").variable("CLICOLOR_FORCE", "1").run();
    forced.check(forced.stdout.starts_with(b"\x1b["), "colour in a pipe");
}

#[test]
fn hosts_cannot_steer_the_terminal() {
    let lab = Lab::new(1);
    let evil =
        r"printf '\033[2J\033[Hgone \033]0;t\007 \302\2332J \2331A\n10%%\r20%%\n\tx\177\r\n'; printf '\033[3Ax' >&2";
    let args = ["--color=never", "--progress=never"];
    lab.pty.show(lab.pssh(&args, evil)).run().exits(0);
    let shown = "127.0.1.1: ^[[2J^[[Hgone ^[]0;t^G M-^[2J M-^[1A\n127.0.1.1: 10%^M20%\n127.0.1.1:      x^?\n";
    let screen = lab.screen();
    assert!(screen.contains(shown), "{screen}\n{:?}", lab.pty.shown());
    assert!(screen.contains("127.0.1.1: ! ^[[3Ax"), "standard error is guarded too: {screen}");
    assert!(!lab.pty.shown().contains('\x1b'), "{:?}", lab.pty.shown());
    // In one piece.
    let inline = Lab::new(1);
    inline.pty.show(inline.pssh(&[&args[..], &["-i"]].concat(), evil)).run().exits(0);
    let shown = "^[[2J^[[Hgone ^[]0;t^G M-^[2J M-^[1A\n10%^M20%\n        x^?\nStderr: ^[[3Ax";
    assert!(inline.screen().contains(shown), "{}", inline.screen());
    // As asked for.
    for args in [&["--raw"][..], &["--raw", "-i"]] {
        let raw = Lab::new(1);
        raw.pty.show(raw.pssh(args, evil)).run().exits(0);
        assert!(raw.pty.shown().contains("\x1b[2J\x1b[Hgone \x1b]0;t\x07 "), "{:?}", raw.pty.shown());
    }
}

/// What a terminal gets for `-i` of a host that prints x, and y on standard error, with `TIME` in place of the time and without
/// carriage returns; and the host.
fn shown_inline(args: &[&str]) -> (String, String) {
    let line = "echo x; echo y >&2";
    let lab = Lab::new(1);
    lab.pty.show(lab.pssh(&[&["--progress=never", "-i"], args].concat(), line)).run().exits(0);
    lab.pty.wait_for("y\r\n", 1);
    let shown = lab.pty.shown().replace("\r\n", "\n");
    let time = shown.find(':').expect("a time") - 2;
    let (start, rest) = shown.split_at(time);
    let (time, rest) = rest.split_at("16:32:33".len());
    assert!(time.split(':').all(|part| part.parse::<u8>().is_ok_and(|number| number < 60)), "{shown:?}");
    (format!("{start}TIME{rest}"), lab.sshd.hosts()[0].clone())
}

#[test]
fn pssh_s_lines_have_its_colours() {
    let (shown, host) = shown_inline(&[]);
    let number = "\x1b[36m\x1b[49m[\x1b[1m1\x1b[22m]\x1b[39m\x1b[49m";
    let success = "\x1b[32m\x1b[49m[\x1b[1mSUCCESS\x1b[22m]\x1b[39m\x1b[49m";
    let label = "\x1b[31m\x1b[49mStderr: \x1b[39m\x1b[49m";
    assert_eq!(shown, format!("{number} TIME {success} {host}\nx\n{label}y\n"));
    let (shown, host) = shown_inline(&["--color=never"]);
    assert_eq!(shown, format!("[1] TIME [SUCCESS] {host}\nx\nStderr: y\n"));

    let lab = Lab::new(1);
    let run = lab.pssh(&["--color=always", "-P", "--prefix="], "exit 3").run();
    let failure = "\x1b[31m\x1b[49m[\x1b[1mFAILURE\x1b[22m]\x1b[39m\x1b[49m";
    let reason = "\x1b[31m\x1b[49m\x1b[1mExited with error code 3\x1b[22m\x1b[39m\x1b[49m";
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let (start, end) = (format!("{number} "), format!(" {failure} {} {reason}\n", lab.sshd.hosts()[0]));
    run.exits(5).check(text.starts_with(&start) && text.ends_with(&end), "the colours of pssh in a pipe");
}

#[test]
fn a_hint_says_whose_it_is_and_stands_below_its_host_s_block() {
    let lab = Lab::new(1);
    let args = ["--color=never", "--progress=never", "-i", "-t1"];
    lab.pty.show(lab.pssh(&args, "printf x; exec sleep 977")).run().exits(3);
    let screen = lab.pty.wait_for_screen(COLUMNS, ROWS, |text| text.contains("-t 0 removes the time limit"));
    let (_, end) = screen.split_once(" [FAILURE] ").expect("a line");
    let hint = "pssh: 127.0.1.1: hint: the command was asked to stop; -t 0 removes the time limit";
    assert_eq!(end.trim_end(), format!("{} Timed out\nx\n{hint}", lab.sshd.hosts()[0]), "{screen}");
}

// The status line.

#[test]
fn the_status_line_is_the_last_line_and_leaves_nothing_behind() {
    let lab = Lab::new(3);
    // Lines while it is shown, some of them not whole for a while.
    let line = "for n in 1 2 3 4 5 6; do printf part; sleep 0.3; echo $n; done; [ $PPID ] && exit 3";
    let running = lab.pty.show(lab.pssh(&["--color=never", "-p", "2"], line)).start();
    let bar = |text: &str| text.lines().last().is_some_and(|last| last.contains("0/3 2 running, 0:0"));
    lab.pty.wait_for_screen(COLUMNS, ROWS, bar);
    let text = lab.pty.wait_for_screen(COLUMNS, ROWS, |text| text.contains("1/3 ") || text.contains("2/3 "));
    for line in text.lines().filter(|line| line.contains("part")) {
        assert!(line.starts_with("127.0.1.") && line.len() == "127.0.1.1: part1".len(), "{text}");
    }
    let last = |text: &str| text.lines().last().is_some_and(|last| last.contains("2/3 1 running, 2 failed, 0:0"));
    lab.pty.wait_for_screen(COLUMNS, ROWS, last);
    running.finish().exits(5);
    let text = lab.screen();
    assert!(text.ends_with("pssh: 3 hosts: 3 exit") && !text.contains("running"), "{text}");
    assert_eq!(text.matches("part").count(), 18, "{text}");
}

#[test]
fn the_slowest_hosts_are_named_and_the_line_fits_where_it_is() {
    let lab = Lab::new(3);
    let running = lab.pty.show(lab.pssh(&[], "sleep 8")).start();
    let slow = |text: &str| text.contains("0/3 3 running, 0:03, slowest 127.0.1.") && text.contains(" (3 s), 127.0.1.");
    lab.pty.wait_for_screen(COLUMNS, ROWS, slow);
    // The screen becomes smaller.
    lab.pty.resize(40, ROWS);
    let shorter = |text: &str| {
        let is_whole = |last: &str| last.len() < 40 && last[..last.len() - 1].ends_with("0/3 3 running, 0:0");
        text.lines().last().is_some_and(is_whole)
    };
    let text = lab.pty.wait_for_screen(COLUMNS, ROWS, shorter);
    assert!(text.lines().last().is_some_and(|last| last.len() <= 39), "{text}");
    running.finish().exits(0);
    assert!(!lab.screen().contains("running"), "{}", lab.screen());
}

#[test]
fn there_is_no_status_line_where_nobody_watches() {
    let shown = |args: &[&str], variable: (&str, &str)| {
        let lab = Lab::new(1);
        lab.pty.show(lab.pssh(args, "sleep 1.2").variable(variable.0, variable.1)).run().exits(0);
        lab.pty.shown()
    };
    assert!(shown(&[], ("X", "")).contains("0/1 1 running"));
    assert!(shown(&["--progress=always"], ("CI", "1")).contains("0/1 1 running"));
    for (args, variable) in [(&[][..], ("CI", "true")), (&[], ("TERM", "dumb")), (&["--progress", "never"], ("X", ""))]
    {
        assert!(!shown(args, variable).contains("running"), "{args:?} {variable:?}");
    }
    let lab = Lab::new(1);
    lab.pssh(&[], "sleep 1.2").run().exits(0).stderr_lacks("running");
    lab.pssh(&["--progress=always"], "sleep 1.2").run().exits(0).stderr_has("0/1 1 running");
    // Output elsewhere is not disturbed by a status line on the terminal.
    let run = lab.pssh(&[], "echo a; sleep 2.5; echo b");
    let run = lab.pty.show_errors(run).run();
    run.exits(0).stdout_is("127.0.1.1: a\n127.0.1.1: b\n");
    assert!(lab.pty.shown().contains("0/1 1 running"));
}

#[test]
fn a_run_in_the_background_leaves_the_line_to_whoever_types_there() {
    let lab = Lab::new(1);
    let run = lab.pssh(&["--color=never"], "sleep 1.5; echo x");
    lab.pty.show_background(run).run().exits(0);
    assert_eq!(lab.pty.shown(), "127.0.1.1: x\r\npssh: 127.0.1.1: ok (exit 0)\r\n");
}

#[test]
fn ctrl_c_leaves_a_clean_screen() {
    let lab = Lab::new(3);
    let running = lab.pty.show(lab.pssh(&["-p", "2", "--color=never"], "sleep 977")).start();
    lab.pty.wait_for_screen(COLUMNS, ROWS, |text| text.contains("0/3 2 running"));
    lab.pty.type_in("\x03");
    running.finish().exits(128 + Signal::INT.as_raw());
    let text = lab.screen();
    assert!(text.ends_with("pssh: 3 hosts: 3 cancelled") && !text.contains("running,"), "{text}");
    assert!(lab.sshd.processes().iter().all(|process| !process.contains("sleep 977")));
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_a_clean_screen() {
    let lab = Lab::new(1);
    // A command that does not stop.
    let line = "trap '' TERM; for n in 1 2 3 4 5 6 7 8 9; do sleep 1; done";
    let running = lab.pty.show(lab.pssh(&["--color=never"], line)).start();
    lab.pty.wait_for_screen(COLUMNS, ROWS, |text| text.contains("0/1 1 running"));
    lab.pty.type_in("\x03");
    thread::sleep(Duration::from_millis(500));
    lab.pty.type_in("\x03");
    running.finish().exits(128 + Signal::INT.as_raw()).within(20);
    assert!(!lab.screen().contains("running,"), "{}", lab.screen());
}

#[test]
fn a_question_is_not_drawn_over() {
    let env = Env::without_key();
    let question = || Prompt { text: "Code: ".to_owned(), echo: false, answer: "123456".to_owned() };
    let servers = [(), ()].map(|()| {
        let config = Config { keyboard_interactive: vec![vec![question()]], ..Config::default() };
        let server = Server::start(config);
        env.trust(&server.known_hosts());
        server
    });
    let pty = Pty::new();
    pty.resize(COLUMNS, ROWS);
    let pssh = env.pssh().hosts(servers.iter().map(Server::addr)).variable("TERM", "xterm");
    let running = pty.show(pssh.args(["--color=never", "-l", "me", "sleep", "4"])).start();
    for count in 1..=2 {
        pty.wait_for("\"Code:\" ", count);
        thread::sleep(Duration::from_millis(1200));
        let text = pty.screen(COLUMNS, ROWS).contents();
        assert!(text.trim_end().ends_with("\"Code:\"") && !text.contains("running"), "{text}");
        pty.type_in("123456\n");
    }
    pty.wait_for("0/2 2 running", 1);
    running.finish().exits(0);
    let text = pty.screen(COLUMNS, ROWS).contents();
    assert!(text.matches("\"Code:\" ").count() == 2 && text.ends_with("pssh: 2 hosts: 2 ok"), "{text}");
}

#[test]
fn groups_of_a_ci_system_do_nothing_to_the_terminal() {
    let line = r"printf '\033[2J\033]0;title\007 %s\n' $SSH_CONNECTION; printf '\033[2Jerr' >&2";
    for system in ["github", "gitlab"] {
        for format in [&["--format=gather"][..], &["--format=gather", "--diff"], &["-i"]] {
            let lab = Lab::new(2);
            let args = [&["--progress=never", "--color=never", "--ci-groups", system][..], format].concat();
            lab.pty.show(lab.pssh(&args, line)).run().exits(0);
            let shown = lab.pty.shown();
            assert!(!shown.contains("\x1b[2J") && !shown.contains("\x1b]"), "{args:?}: {shown:?}");
            assert!(shown.contains("^[[2J^[]0;title^G 127.0.1.1"), "{args:?}: {shown:?}");
            assert!(shown.contains("^[[2Jerr"), "{args:?}: {shown:?}");
            assert!(shown.contains("::group::") || shown.contains("\x1b[0Ksection_start:"), "{args:?}: {shown:?}");
        }
    }
}

#[test]
fn a_gathered_block_does_nothing_to_the_terminal() {
    let lab = Lab::new(2);
    let line = r"printf '\033[31mred\n\033[2J\033]0;title\007after\n'; printf '\033[H' >&2";
    lab.pty.show(lab.pssh(&["--progress=never", "--format=gather"], line)).run().exits(0);
    let screen = lab.pty.screen(COLUMNS, ROWS);
    let rule = "---------------\n";
    let expected = format!(
        "{rule}127.0.1.[1-2] (2): exit 0\n{rule}red\n^[[2J^[]0;title^Gafter\nstderr: ^[[H\npssh: 2 hosts: 2 ok"
    );
    assert_eq!(screen.contents().trim_end(), expected);
    assert_eq!(screen.cell(3, 0).expect("a cell").fgcolor(), vt100::Color::Idx(1), "colour is passed on");
    assert_eq!(screen.cell(4, 0).expect("a cell").fgcolor(), vt100::Color::Default, "and ends with its line");
}
