//! The formats that show hosts one by one, each of the same run with every outcome; `reports` has the others.

use crate::bin::{Run, without_times};
use crate::reports::{Fleet, same};

/// `-i --sort`: standard output, whole but for numbers and times.
const INLINE: &str = "\
[N] TIME [SUCCESS] web01
one
two
three
Stderr: careful
[N] TIME [SUCCESS] web02
one
two
three
Stderr: careful
[N] TIME [SUCCESS] web03
one
two
three
Stderr: careful
[N] TIME [SUCCESS] web04
one
2
three
four
Stderr: careful
[N] TIME [FAILURE] web05 Exited with error code 3
Stderr: no such thing
nowhere
[N] TIME [FAILURE] web06 Exited with error code 3
Stderr: no such thing
nowhere
[N] TIME [FAILURE] db1 Killed by signal 9
half
[N] TIME [FAILURE] db2 Timed out
waiting
[N] TIME [FAILURE] db3 lost: the channel was closed without an exit status
\u{1b}[31mred
[N] TIME [FAILURE] gone1 connect: 127.0.0.51 port REFUSED: Connection refused
[N] TIME [FAILURE] gone2 connect: 127.0.0.52 port REFUSED: Connection refused
[N] TIME [FAILURE] new hostkey: [127.0.0.1]:STRANGER is not in known_hosts; it offers ssh-ed25519 SHA256:KEY
[N] TIME [FAILURE] appliance ssh: starting the command: the server refuses to run it
[N] TIME [FAILURE] closed auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
[N] TIME [FAILURE] behind proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
[N] TIME [FAILURE] unknown dns: nowhere.invalid: REASON
";
/// The same: standard error, up to the tally.
const HINTS: &str = "\
pssh: db2: hint: the command was asked to stop, but it may still be running there
pssh: db3: hint: the command may still be running there, or may have ended
pssh: gone1: hint: is sshd running there, on that port, and not behind a firewall?
pssh: gone2: hint: is sshd running there, on that port, and not behind a firewall?
pssh: new: hint: compare the fingerprint, then: ssh-keyscan -p STRANGER 127.0.0.1 >> 'HOME/.ssh/known_hosts' (or --host-key-check accept-new)
pssh: closed: hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
pssh: behind: hint: is sshd running there, on that port, and not behind a firewall?
pssh: unknown: hint: check the spelling (HOME/hosts:16:1), or whether the resolver knows the name
";
/// `lines`: standard output, by host; what one host says keeps its order.
const LINES: &str = "\
db1: half
db2: waiting
db3: \u{1b}[31mred
web01: one
web01: two
web01: three
web02: one
web02: two
web02: three
web03: one
web03: two
web03: three
web04: one
web04: 2
web04: three
web04: four
";
/// `lines`: how each host ended, on standard error, by host.
const OUTCOMES: &str = "\
pssh: appliance: ssh: starting the command: the server refuses to run it
pssh: behind: proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: closed: auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
  hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
pssh: db1: signal KILL
pssh: db2: timeout command: not finished within 1 s
  hint: the command was asked to stop, but it may still be running there
pssh: db3: lost: the channel was closed without an exit status
  hint: the command may still be running there, or may have ended
pssh: gone1: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: gone2: connect: 127.0.0.52 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: new: hostkey: [127.0.0.1]:STRANGER is not in known_hosts; it offers ssh-ed25519 SHA256:KEY
  hint: compare the fingerprint, then: ssh-keyscan -p STRANGER 127.0.0.1 >> 'HOME/.ssh/known_hosts' (or --host-key-check accept-new)
pssh: unknown: dns: nowhere.invalid: REASON
  hint: check the spelling (HOME/hosts:16:1), or whether the resolver knows the name
pssh: web01: ok (exit 0)
pssh: web02: ok (exit 0)
pssh: web03: ok (exit 0)
pssh: web04: ok (exit 0)
pssh: web05: exit 3
pssh: web06: exit 3
";

/// The lines ordered by what they start with, so that those of one host keep their order. A hint stays with its line.
fn by_host(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        match blocks.last_mut() {
            Some(block) if line.starts_with("  ") => block.push_str(line),
            _ => blocks.push(line.to_owned()),
        }
    }
    let host = |block: &String| {
        let bare = block.strip_prefix("pssh: ").unwrap_or(block);
        bare.split(": ").next().unwrap_or_default().to_owned()
    };
    blocks.sort_by_key(host);
    blocks.concat()
}

/// Standard output with pssh's lines, without their numbers and times.
fn headed(fleet: &Fleet, run: &Run) -> String {
    let text = without_times(&fleet.mask(&run.stdout));
    let line = |line: &str| match line.split_once("] TIME [") {
        Some((_, rest)) => format!("[N] TIME [{rest}"),
        None => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// The numbers of pssh's lines.
fn numbers(run: &Run) -> Vec<usize> {
    let text = without_times(&String::from_utf8_lossy(&run.stdout));
    let heads = text.lines().filter_map(|line| line.split_once("] TIME ["));
    heads.map(|(number, _)| number[1..].parse().expect("a number")).collect()
}

/// Standard error up to the tally.
fn before_tally(fleet: &Fleet, run: &Run) -> String {
    let text = fleet.mask(&run.stderr);
    let (before, _) = text.split_once("pssh: 16 hosts: ").expect("a tally");
    before.to_owned()
}

#[test]
fn inline_shows_each_host_in_one_piece() {
    let fleet = Fleet::new();
    let run = fleet.run(&["-i", "--sort"]);
    run.exits(3);
    same(&headed(&fleet, &run), INLINE, &run);
    same(&before_tally(&fleet, &run), HINTS, &run);
    let mut numbers = numbers(&run);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
}

#[test]
fn lines_start_with_their_host() {
    let fleet = Fleet::new();
    let run = fleet.run(&[]);
    run.exits(3);
    same(&by_host(&fleet.mask(&run.stdout)), LINES, &run);
    let remote: String = fleet.mask(&run.stderr).split_inclusive('\n').filter(|line| is_remote(line)).collect();
    let careful: String = (1..=4).map(|n| format!("web0{n}: careful\n")).collect();
    let failed: String = (5..=6).map(|n| format!("web0{n}: no such thing\nweb0{n}: nowhere\n")).collect();
    same(&by_host(&remote), &format!("{careful}{failed}"), &run);
    let own: String = fleet.mask(&run.stderr).split_inclusive('\n').filter(|line| !is_remote(line)).collect();
    let own = own.split_once("pssh: 16 hosts").map_or(own.as_str(), |(own, _)| own);
    same(&by_host(own), OUTCOMES, &run);
}

/// Whether a line of standard error is a host's.
fn is_remote(line: &str) -> bool {
    !line.starts_with("pssh: ") && !line.starts_with("  ")
}

/// The lines of `text` in order, those in `keep` alone.
fn sorted(text: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').filter(|line| keep(line)).collect();
    lines.sort_unstable();
    lines.concat()
}

#[test]
fn status_shows_how_each_host_ended() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--format", "status"]);
    run.exits(3);
    let is_head = |line: &str| line.starts_with("[N] ");
    same(&sorted(&headed(&fleet, &run), |_| true), &sorted(INLINE, is_head), &run);
    same(&sorted(&before_tally(&fleet, &run), |_| true), &sorted(HINTS, |_| true), &run);
    assert_eq!(numbers(&run), (1..=16).collect::<Vec<_>>());
}

#[test]
fn lines_as_pssh_has_them_end_each_host_with_its_line() {
    let fleet = Fleet::new();
    let run = fleet.run(&["-P"]);
    run.exits(3);
    let (is_head, is_line) = (|line: &str| line.starts_with("[N] "), |line: &str| !line.starts_with("[N] "));
    let shown = headed(&fleet, &run);
    same(&sorted(&shown, is_head), &sorted(INLINE, is_head), &run);
    same(&by_host(&shown.split_inclusive('\n').filter(|line| is_line(line)).collect::<String>()), LINES, &run);
    for (host, last) in [("web04", "web04: four\n"), ("db3", "db3: \u{1b}[31mred\n")] {
        let (before, _) = shown.split_once(&format!("] {host}")).expect("its line");
        run.check(before.contains(last), "what a host prints stands before its line");
    }
    assert_eq!(numbers(&run), (1..=16).collect::<Vec<_>>());
    let own: String = before_tally(&fleet, &run).split_inclusive('\n').filter(|line| !is_remote(line)).collect();
    same(&sorted(&own, |_| true), &sorted(HINTS, |_| true), &run);
}
