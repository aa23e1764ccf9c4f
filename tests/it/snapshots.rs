//! The formats that show hosts one by one, each of the same run with every outcome; `reports` has the others.

use crate::reports::{Fleet, same};

/// `-i --sort`: whole.
const INLINE: &str = "\
pssh: web01: ok (exit 0)
one
two
three
Stderr: careful
pssh: web02: ok (exit 0)
one
two
three
Stderr: careful
pssh: web03: ok (exit 0)
one
two
three
Stderr: careful
pssh: web04: ok (exit 0)
one
2
three
four
Stderr: careful
pssh: web05: exit 3
Stderr: no such thing
nowhere
pssh: web06: exit 3
Stderr: no such thing
nowhere
pssh: db1: signal KILL
half
pssh: db2: timeout command: not finished within 1 s
  hint: the command was told to stop, and has not: it may still be running there
waiting
pssh: db3: lost: the channel was closed without an exit status
  hint: the command may still be running there, or may have ended
\u{1b}[31mred
pssh: gone1: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: gone2: connect: 127.0.0.52 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: new: hostkey: [127.0.0.1]:STRANGER is not in known_hosts; it offers ssh-ed25519 SHA256:KEY
  hint: compare the fingerprint, then: ssh-keyscan -p STRANGER 127.0.0.1 >> 'HOME/.ssh/known_hosts' (or --host-key-check accept-new)
pssh: appliance: ssh: starting the command: Unable to complete request for channel-process-startup
pssh: closed: auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
  hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
pssh: behind: proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: unknown: dns: nowhere.invalid: REASON
  hint: check the spelling (HOME/hosts:16:1), or whether the resolver knows the name
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
/// `status`: standard error, by host; the same lines end each host in `lines`.
const STATUS: &str = "\
pssh: appliance: ssh: starting the command: Unable to complete request for channel-process-startup
pssh: behind: proxy: 127.0.0.51:REFUSED: connect: 127.0.0.51 port REFUSED: Connection refused
  hint: is sshd running there, on that port, and not behind a firewall?
pssh: closed: auth: nobody: refused after trying ssh-ed25519 HOME/.ssh/id_ed25519; the server offers publickey
  hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l
pssh: db1: signal KILL
pssh: db2: timeout command: not finished within 1 s
  hint: the command was told to stop, and has not: it may still be running there
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

#[test]
fn inline_shows_each_host_in_one_piece() {
    let fleet = Fleet::new();
    let run = fleet.run(&["-i", "--sort"]);
    run.exits(3);
    same(&fleet.mask(&run.stdout), INLINE, &run);
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
    same(&by_host(own), STATUS, &run);
}

/// Whether a line of standard error is a host's.
fn is_remote(line: &str) -> bool {
    !line.starts_with("pssh: ") && !line.starts_with("  ")
}

#[test]
fn status_shows_how_each_host_ended() {
    let fleet = Fleet::new();
    let run = fleet.run(&["--format", "status"]);
    run.exits(3).stdout_is("");
    let own = fleet.mask(&run.stderr);
    let own = own.split_once("pssh: 16 hosts").map_or(own.as_str(), |(own, _)| own);
    same(&by_host(own), STATUS, &run);
}
