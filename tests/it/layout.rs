//! How our tables, blocks and the status line are laid out: in columns, in whole words, whatever the window and the names are.

use std::num::NonZero;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use crate::bin::{Env, Pssh};
use crate::embedded::refused_address;
use crate::pty::Pty;
use crate::sshd::{Setup, Sshd};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];
const RULE: &str = "---------------";

/// A home, and hosts of which each has a name of its own.
fn named(labels: &[&str]) -> (Env, Sshd, String) {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: labels.len(), ..Setup::default() });
    let lines: Vec<String> =
        sshd.hosts().iter().zip(labels).map(|(host, label)| format!("{host} alias={label}\n")).collect();
    let list = env.file("hosts", lines.concat()).display().to_string();
    (env, sshd, list)
}

/// The columns in which the words of a line end.
fn ends(line: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    for (place, c) in line.char_indices() {
        let after = place + c.len_utf8();
        if !c.is_whitespace() && line[after..].chars().next().is_none_or(char::is_whitespace) {
            ends.push(line[..after].width());
        }
    }
    ends
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    let size = |count| NonZero::new(count).expect("a screen has a size");
    vt100::Parser::new(size(rows), size(columns), 0)
}

#[test]
fn the_table_of_times_has_columns_with_any_names_in_any_window() {
    let long = "a-host-with-a-name-that-has-more-characters-than-the-table-has-room-for.example.com";
    let (env, _sshd, list) = named(&["a", "\u{6771}\u{4eac}-web", "db-primary.eu-west.example.com", long]);
    for (columns, rows) in SIZES {
        let pty = Pty::new();
        pty.resize(columns, rows);
        let run = env.pssh().arg("-h").arg(&list).args(["--times", "--progress=never", "--color=never", "true"]);
        pty.show(run.variable("TERM", "xterm")).run().exits(0);
        let text = pty.shown().replace("\r\n", "\n");
        let (_, table) = text.split_once("pssh: seconds").expect("a table");
        let table = format!("pssh: seconds{table}");
        let lines: Vec<&str> = table.lines().collect();
        let second = lines.iter().position(|line| line.starts_with("pssh: slowest")).expect("another table");
        let numbers = &ends(lines[0])[2..];
        assert_eq!(numbers.len(), 4, "{table}");
        for line in &lines[1..second] {
            assert_eq!(ends(line)[1..], *numbers, "{line:?} in\n{table}");
        }
        let titles = ends(lines[second]);
        let named: Vec<&&str> = lines[second + 1..].iter().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(named.len(), 4, "{table}");
        for line in named.iter().filter(|line| !line.contains(long)) {
            // The label may have any number of words.
            assert_eq!(ends(line)[1..3], titles[2..4], "{line:?} in\n{table}");
            assert!(line.width() < 80, "{line:?}");
        }
        assert!(named.iter().any(|line| line.contains(long)), "nothing of it is cut: {table}");
    }
}

#[test]
fn aligned_prefixes_have_room_for_wide_names() {
    let (env, _sshd, list) = named(&["a", "\u{6771}\u{4eac}-web", "db-primary"]);
    let run = env.pssh().arg("-h").arg(&list).args(["--align", "echo text"]).run();
    let starts: Vec<usize> =
        run.stdout_text().lines().map(|line| line.split("text").next().unwrap_or_default().width()).collect();
    run.exits(0).check(starts == ["db-primary: ".len(); 3], &format!("{starts:?}"));
}

/// Prints `other` on the last of three hosts, and nothing on the others.
const FEW_WORDS: &str = "case $SSH_CONNECTION in *' 127.0.1.3 '*) echo other; exit 3;; esac";

#[test]
fn an_empty_block_has_one_rule_and_headings_are_coloured_as_a_whole() {
    for (columns, rows) in SIZES {
        let (env, sshd) = crate::sshd::hosts(3);
        let pty = Pty::new();
        pty.resize(columns, rows);
        let pssh = env.pssh().hosts(sshd.hosts()).args(["--format=gather", "--progress=never", FEW_WORDS]);
        pty.show(pssh.variable("TERM", "xterm")).run().exits(5);
        let screen = pty.screen(columns, rows);
        let expected = format!(
            "{RULE}\n127.0.1.[1-2] (2): exit 0\n{RULE}\n127.0.1.3: exit 3\n{RULE}\nother\npssh: 3 hosts: 2 ok, 1 exit"
        );
        assert_eq!(screen.contents().trim_end(), expected);
        let colours = |row: u16, width: u16| {
            (0..width).map(|column| screen.cell(row, column).expect("a cell").fgcolor()).collect::<Vec<_>>()
        };
        let (green, red) = (vt100::Color::Idx(2), vt100::Color::Idx(1));
        assert!(colours(1, 25).iter().all(|colour| *colour == green), "{:?}", colours(1, 25));
        assert!(colours(3, 17).iter().all(|colour| *colour == red), "{:?}", colours(3, 17));
        assert_eq!(screen.cell(5, 0).expect("a cell").fgcolor(), vt100::Color::Default);
    }
    // Lines that differ, and those that say how hosts have ended.
    let (env, sshd) = crate::sshd::hosts(3);
    let pty = Pty::new();
    pty.resize(80, 24);
    let line = "case $SSH_CONNECTION in *' 127.0.1.3 '*) echo new line;; *) echo old line;; esac";
    let args = ["--format=gather", "--diff", "--progress=never", line];
    pty.show(env.pssh().hosts(sshd.hosts()).args(args).variable("TERM", "xterm")).run().exits(0);
    let shown = pty.shown();
    assert!(shown.contains("\x1b[31m-old line\x1b[39m"), "{shown:?}");
    assert!(shown.contains("\x1b[32m+new line\x1b[39m"), "{shown:?}");
    let pty = Pty::new();
    pty.resize(80, 24);
    let pssh = env.pssh().hosts(&sshd.hosts()[..1]).args(["--progress=never", "exit 3"]).variable("TERM", "xterm");
    pty.show(pssh).run().exits(5);
    let shown = pty.shown();
    assert!(shown.contains("\x1b[31mpssh: 127.0.1.1: exit 3\x1b[39m"), "{shown:?}");
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn the_status_line_has_whole_words_and_counts_hosts_that_wait() {
    let long = "a-host-with-a-name-that-is-rather-long.example.com";
    let (env, _sshd, list) = named(&[long, "\u{6771}\u{4eac}", "c"]);
    let refusing = refused_address("127.0.0.51".parse().expect("an address")).expect("a free port");
    let start = |pty: &Pty| {
        let pssh = env.pssh().arg("-h").arg(&list).hosts([refusing]).variable("TERM", "xterm");
        pty.show(pssh.args(["--color=never", "--num-retries", "2", "--retry-delay", "6", "sleep 5"])).start()
    };
    for (columns, rows) in SIZES {
        let pty = Pty::new();
        pty.resize(columns, rows);
        let running = start(&pty);
        let waits = |text: &str| last(text).contains("0/4 3 running, 1 retrying: Connection refused, next in ");
        pty.wait_for_screen(columns, rows, waits);
        // Which of them comes first is chance, and whether its name has room.
        let slowest = [long, "\u{6771}\u{4eac}", "c"].map(|label| format!("{label} (3 s)"));
        let retrying = "127.0.0.51 (3 s, retrying)";
        let seen = |text: &str| {
            let line = last(text);
            let named = slowest.iter().map(String::as_str).chain([retrying]).filter(|name| line.contains(name)).count();
            line.contains(", 0:03") && if columns == 80 { named < 3 } else { named == 3 }
        };
        let text = pty.wait_for_screen(columns, rows, seen);
        let line = last(&text);
        let is_whole = line.ends_with("0:03")
            || line.ends_with(retrying)
            || slowest.iter().any(|name| line.ends_with(name.as_str()));
        assert!(line.width() < usize::from(columns) && is_whole, "{text}");
        running.finish().exits(4);
        let text = pty.screen(columns, rows).contents();
        assert!(!text.contains("running,"), "{text}");
    }
}

/// What a terminal that breaks its lines anew shows of `before` when it has `columns` columns from now on: its cursor stays at the
/// character where it was, as that of VTE, kitty, alacritty and tmux does.
fn broken_anew(before: &[u8], old: (u16, u16), columns: u16) -> vt100::Parser {
    let mut wide = parser(old.0, old.1);
    wide.process(before);
    let (row, column) = wide.screen().cursor_position();
    let mut narrow = parser(columns, old.1);
    let rows: Vec<String> = wide.screen().rows(0, old.0).take(usize::from(row) + 1).collect();
    let mut place = 0;
    for (number, text) in rows.iter().enumerate() {
        let text = text.trim_end();
        place = narrow.screen().cursor_position().0;
        narrow.process(text.as_bytes());
        if number < usize::from(row) {
            narrow.process(b"\r\n");
        }
    }
    let (row, column) = (place + column / columns, column % columns);
    narrow.process(format!("\x1b[{};{}H", row + 1, column + 1).as_bytes());
    narrow
}

#[test]
fn a_window_that_shrinks_leaves_no_stale_line() {
    for (columns, rows) in SIZES {
        let (env, _sshd, list) = named(&["web-one.example.com", "web-two.example.com", "web-three.example.com"]);
        let pty = Pty::new();
        pty.resize(columns, rows);
        let pssh: Pssh = env.pssh().arg("-h").arg(&list).variable("TERM", "xterm");
        let running = pty.show(pssh.args(["--color=never", "echo first; sleep 7; echo last"])).start();
        let slow = |text: &str| last(text).contains("0/3 3 running, 0:04, slowest web-");
        pty.wait_for_screen(columns, rows, slow);
        let before = pty.shown();
        assert!(last(&pty.screen(columns, rows).contents()).width() > 45, "more than the new window has");
        pty.resize(45, rows);
        std::thread::sleep(Duration::from_millis(1200));
        let after = pty.shown();
        assert!(after.len() > before.len(), "it was drawn again");
        let mut narrow = broken_anew(before.as_bytes(), (columns, rows), 45);
        narrow.process(&after.as_bytes()[before.len()..]);
        let text = narrow.screen().contents();
        assert_eq!(text.matches("running").count(), 1, "{text}");
        assert_eq!(text.matches("first").count(), 3, "nothing that hosts have printed is lost: {text}");
        assert!(last(&text).width() < 45, "{text}");
        running.finish().exits(0);
        narrow.process(&pty.shown().as_bytes()[after.len()..]);
        let text = narrow.screen().contents();
        assert!(!text.contains("running") && text.trim_end().ends_with("pssh: 3 hosts: 3 ok"), "{text}");
    }
}

#[test]
fn a_wait_for_a_fifo_is_told_on_a_terminal() {
    let env = Env::new();
    let pipe = env.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
    let pty = Pty::new();
    pty.resize(80, 24);
    let running = pty.show(env.pssh().arg("-h").arg(&pipe).arg("true")).start();
    pty.wait_for(&format!("pssh: waiting for {}: no process has written to it yet", pipe.display()), 1);
    pty.type_in("\x03");
    running.finish().exits(130).within(10);
    // Elsewhere it is never read.
    let script = format!("(sleep 3; echo 127.0.0.1:1 > {}) & exec \"$@\"", pipe.display());
    let run = env.pssh().arg("-h").arg(&pipe).args(["--num-retries", "1", "true"]).shell(&script).run();
    run.exits(4).stderr_lacks("waiting for");
}
