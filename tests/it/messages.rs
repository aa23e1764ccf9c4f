//! The messages that a new user sees, word for word: what failed, the value, where it is, and what helps.
//!
//! The texts are whole: nothing else may be on standard error. Only what differs from run to run is a word in braces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::bin::{Env, Pssh, ssh_keygen};
use crate::embedded::{Key, KeyKind, refused_address};
use crate::outcomes::full_listener;
use crate::sshd::{Setup, Sshd};

/// Fails unless pssh exits with `code` and has said exactly `text`. Of `masks`, each value stands as its name in the text; paths
/// in the home start with `{HOME}`, and fingerprints are `{FINGERPRINT}`.
#[track_caller]
fn says(env: &Env, pssh: Pssh, code: i32, masks: &[(&str, &str)], text: &str) {
    let run = pssh.run();
    run.exits(code);
    let home = env.path("").display().to_string();
    let mut said = run.stderr_text().replace(home.trim_end_matches('/'), "{HOME}");
    for (value, name) in masks {
        said = said.replace(value, name);
    }
    let said = fingerprints_masked(&said);
    assert_eq!(said, text, "{}", run.context());
}

fn fingerprints_masked(text: &str) -> String {
    let mut pieces = text.split("SHA256:");
    let first = pieces.next().unwrap_or_default().to_owned();
    let is_digit = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    pieces.fold(first, |text, piece| text + "{FINGERPRINT}" + piece.trim_start_matches(is_digit))
}

/// Fails unless the command line is refused with this text before anything connects.
#[track_caller]
fn refused(env: &Env, args: &[&str], text: &str) {
    says(env, env.pssh().args(args), 2, &[], text);
}

/// A home with an encrypted key, one that others can read, and files that are not lists of hosts.
fn lab() -> Env {
    let env = Env::new();
    ssh_keygen(&env.path("key"), &["-t", "ed25519"]);
    ssh_keygen(&env.path("locked"), &["-t", "ed25519", "-N", "opens it"]);
    fs::copy(env.path("key"), env.path("open")).expect("a copy");
    fs::set_permissions(env.path("open"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::set_permissions(env.path("key.pub"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::create_dir(env.path("dir")).expect("a directory");
    env.file("empty", "");
    env
}

// The words of ssh and of pssh 2.3 that mean something else here, or nothing.

#[test]
fn hosts_where_they_do_not_belong() {
    let env = lab();
    for (args, text) in [
        (
            &["-H", "web1,web2", "x"][..],
            "pssh: -H: \"web1,web2\": hosts are separated by blanks, not commas; -w takes a list with commas\n",
        ),
        (&["-w", "web1 web2", "x"], "pssh: -w:5: \"web1 web2\": hosts are separated by commas here, not blanks\n"),
        (&["uptime"], "pssh: there are no hosts: name them with -H 'HOST HOST', -w LIST or -h FILE\n"),
        (&["web1", "uptime"], "pssh: there are no hosts; did you mean: pssh -F none -H web1 uptime\n"),
        (&["user@web1", "uptime"], "pssh: there are no hosts; did you mean: pssh -F none -H user@web1 uptime\n"),
        (&["user@web1"], "pssh: there are no hosts; did you mean: pssh -F none -H user@web1 COMMAND\n"),
        (&["-H", "web1"], "pssh: there is no command to run (--help shows how)\n"),
        (&["-H", "web1:ssh", "x"], "pssh: -H: \"web1:ssh\": the port \"ssh\" is not a number from 1 to 65535\n"),
    ] {
        refused(&env, args, text);
    }
}

#[test]
fn letters_of_ssh_that_take_a_value_here() {
    let env = lab();
    for (args, text) in [
        (
            &["-h"][..],
            "pssh: error: a value is required for '--hosts <FILE>' but none was supplied\n\n  \
             tip: -h takes a hosts file; for help use --help\n\nFor more information, try '--help'.\n",
        ),
        (
            &["-t", "-H", "a", "x"],
            "pssh: error: a value is required for '--timeout <TIME>' but none was supplied\n\n  \
             tip: -t takes a time, such as 90 or 1m30s; for a terminal use pssh --pty\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["-t", "web1", "top"],
            "pssh: error: invalid value 'web1' for '--timeout <TIME>': \"web1\" is not a time; expected seconds (90, 0.5) or units \
             (1m30s, 2h)\n\n  tip: -t takes a time, such as 90 or 1m30s; for a terminal use pssh --pty\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["-p", "web1", "x"],
            "pssh: error: invalid value 'web1' for '--par <N>': expected a whole number, such as 32\n\n  \
             tip: -p takes the number of hosts at once; put the port after its host: -H web1:2222\n\n\
             For more information, try '--help'.\n",
        ),
        (
            &["-o", "Port=22", "-H", "a", "x"],
            "pssh: -o Port=22: -o names a directory for output; did you mean -O 'Port=22'? (-o ./Port=22 is the \
             directory)\n",
        ),
        (
            &["-i", "key", "-H", "a", "x"],
            "pssh: -i shows the output of each host in one piece; did you mean --identity key?\n",
        ),
        (
            &["-e", "-H", "a", "x"],
            "pssh: error: a value is required for '--errdir <DIR>' but none was supplied\n\n\
             For more information, try '--help'.\n",
        ),
        (&["-P"], "pssh: there is no command to run (--help shows how)\n"),
    ] {
        refused(&env, args, text);
    }
}

#[test]
fn options_that_there_are_not() {
    let env = lab();
    for (option, tip) in [
        ("--password", "all users can see a command line; -A asks for the password, --password-file FILE reads it"),
        ("--timeuot", "a similar argument exists: '--timeout'"),
        ("--identty", "a similar argument exists: '--identity'"),
        ("--host-key-chek", "a similar argument exists: '--host-key-check'"),
        ("--frmat", "a similar argument exists: '--format'"),
    ] {
        let text = format!(
            "pssh: error: unexpected argument '{option}' found\n\n  tip: {tip}\n\n\
             Usage: pssh [OPTIONS] COMMAND...\n\nFor more information, try '--help'.\n"
        );
        refused(&env, &[option, "3", "-H", "a", "x"], &text);
    }
    let text = "pssh: error: unexpected argument '--bogus' found\n\nUsage: pssh [OPTIONS] COMMAND...\n\n\
                For more information, try '--help'.\n";
    refused(&env, &["--bogus", "-H", "a", "x"], text);
}

#[test]
fn options_of_ssh_that_there_are_not() {
    let env = lab();
    for (option, words, text) in [
        ("-x", "-L 80:a:80", "-x \"-L\": ssh's -L: port forwarding is not supported; use ssh, one host at a time"),
        ("-x", "-Cf", "-x \"-Cf\": ssh's -f: a run stays in the foreground; for the background use the shell's &"),
        (
            "-x",
            "-O StrictHostKeyChecking=no",
            "-x \"-O\": use -O directly, not as an option of ssh: -O StrictHostKeyChecking=...",
        ),
        (
            "-x",
            "-o StrictHostKeyChecking no",
            "-x \"no\": not an ssh option; did you mean -O StrictHostKeyChecking=no?",
        ),
        (
            "-X",
            "sudo",
            "-X \"sudo\": not an ssh option; to exclude hosts use --exclude; name hosts with -H and -h, and put \
             the command after all options",
        ),
        ("-X", "-z", "-X \"-z\": ssh has no option -z"),
        ("-x", "-p", "-x \"-p\": -p needs a value"),
        ("-x", "'", "-x \"'\": a quote is not closed"),
    ] {
        refused(&env, &[option, words, "-H", "a", "x"], &format!("pssh: error: {text}\n"));
    }
    // What is in an option is checked with those of -O.
    refused(&env, &["-x", "-c bogus", "-H", "a", "x"], "pssh: -x -c bogus: ciphers: \"bogus\" is not a known cipher\n");
}

#[test]
fn values_that_there_are_not() {
    let env = lab();
    let modes = |value: &str, tip: &str| {
        format!(
            "pssh: error: invalid value '{value}' for '--host-key-check <MODE>'\n  \
             [possible values: strict, accept-new, off]\n{tip}\nFor more information, try '--help'.\n"
        )
    };
    let of_ssh = "\n  tip: for ssh's yes and ask use strict, for its no use off\n";
    for value in ["yes", "ask", "no"] {
        refused(&env, &["--host-key-check", value, "-H", "a", "x"], &modes(value, of_ssh));
    }
    let similar = "\n  tip: a similar value exists: 'accept-new'\n";
    refused(&env, &["--host-key-check", "accept", "-H", "a", "x"], &modes("accept", similar));
    refused(&env, &["--host-key-check", "maybe", "-H", "a", "x"], &modes("maybe", ""));
    let run = env.pssh().args(["--format", "inlin", "-H", "a", "x"]).run();
    let said = run.exits(2).stderr_text();
    let start = "pssh: error: invalid value 'inlin' for '--format <FORMAT>'\n  [possible values: lines, inline, ";
    let end = "]\n\n  tip: a similar value exists: 'inline'\n\nFor more information, try '--help'.\n";
    run.check(said.starts_with(start) && said.ends_with(end) && said.lines().count() == 6, "the values and a tip");
}

#[test]
fn options_for_ssh() {
    let env = lab();
    for (option, problem) in [
        ("Prot=22", "\"prot\" is not a keyword of ssh_config(5); did you mean port?"),
        ("Prot", "\"prot\" is not a keyword of ssh_config(5); did you mean port?"),
        (
            "PasswordAuthenticaton=no",
            "\"passwordauthenticaton\" is not a keyword of ssh_config(5); did you mean passwordauthentication?",
        ),
        ("check", "\"check\" is not a keyword of ssh_config(5)"),
        ("Port", "port: its argument is missing"),
        ("Port=abc", "port: \"abc\" is not a port (1-65535, or a service's name)"),
    ] {
        refused(&env, &["-O", option, "-H", "a", "x"], &format!("pssh: -O {option}: {problem}\n"));
    }
    // The other files are read only without -F.
    let missing = env.bare_pssh().args(["-F", "missing", "-H", "a", "x"]);
    says(&env, missing, 1, &[], "pssh: missing: cannot read the file of -F: No such file or directory\n");
}

#[test]
fn a_line_of_ssh_config_that_only_ssh_understands() {
    let env = Env::new();
    fs::write(env.ssh_dir().join("config"), "Host *\n  Compression yes\nMatch exec \"true\"\n  User x\n")
        .expect("a file");
    let pssh = env.pssh().variable("PATH", env.path("")).args(["-H", "127.0.0.1:1", "x"]);
    let text = "pssh: {HOME}/.ssh/config:3: Match exec can only be evaluated by ssh: ssh can't be run: No such file or \
                directory; install it, or remove the line\n";
    says(&env, pssh, 2, &[], text);
}

#[test]
fn a_port_as_the_number_of_hosts() {
    let env = lab();
    let note = "pssh: -p 2222 runs 2222 hosts at once; put a port after its host: -H web1:2222\n";
    let pssh = |args: &[&str]| env.pssh().args(args).args(["--dry-run", "x"]);
    says(&env, pssh(&["-p", "2222", "-H", "web1 web2"]), 0, &[], note);
    for args in [
        &["-p", "22", "-H", "web1"][..],
        &["-p", "2222", "-H", "web1:2222"],
        &["-p", "2222", "-w", "web[1-200]"],
        &["-p", "1000", "-H", "web1"],
    ] {
        says(&env, pssh(args), 0, &[], "");
    }
    says(&env, env.pssh().variable("PSSH_PAR", "2222").args(["--dry-run", "-H", "a", "x"]), 0, &[], "");
}

// Files that are not what they should be.

#[test]
fn private_keys_that_cannot_be_used() {
    let env = lab();
    for (file, problem) in [
        (
            "key.pub",
            "this is a public key, and no agent holds the private one: load it (ssh-add), or name its file, usually \
             the same without .pub",
        ),
        ("missing", "cannot read the private key: No such file or directory"),
        ("dir", "cannot read the private key: Is a directory"),
        ("open", "permissions 0644 are too open; only its owner may read a private key (chmod 600)"),
        (
            "locked",
            "the key is encrypted, and there is no terminal to ask on; load it into an agent first (ssh-add locked)",
        ),
    ] {
        let status = if problem.starts_with("cannot read") { 1 } else { 2 };
        let pssh = env.pssh().args(["--identity", file, "-H", "a", "x"]);
        says(&env, pssh, status, &[], &format!("pssh: {file}: {problem}\n"));
    }
}

#[test]
fn a_password_that_nobody_can_be_asked_for() {
    let text = "pssh: -A: there is no terminal to ask on; use --password-file, --password-fd or --password-command \
                instead\n";
    refused(&lab(), &["-A", "-H", "a", "x"], text);
}

#[test]
fn hosts_files_that_are_none() {
    let env = lab();
    let pssh = |args: &[&str]| env.pssh().args(args).arg("x");
    for (code, args, text) in [
        (1, &["-h", "dir"][..], "pssh: dir: cannot read the hosts file: Is a directory\n"),
        (
            1,
            &["-h", "web1"],
            "pssh: web1: cannot read the hosts file: No such file or directory; to name hosts use -H\n",
        ),
        (
            1,
            &["-h", "--help"],
            "pssh: --help: cannot read the hosts file: No such file or directory; for help use --help\n",
        ),
        (2, &["-h", "empty"], "pssh: the list of hosts is empty: no hosts in empty\n"),
        (2, &["-h", "empty", "-h", "-"], "pssh: the list of hosts is empty: no hosts in empty, -\n"),
        (2, &["-H", " "], "pssh: the list of hosts is empty\n"),
    ] {
        says(&env, pssh(args), code, &[], text);
    }
    env.file("crlf", "web1\r\n\r\n# a comment\r\nweb2 deploy\r\n");
    let run = pssh(&["-h", "crlf", "--dry-run"]).run();
    run.exits(0).stdout_is("web1: x\nweb2: x\n").check(run.stderr.is_empty(), "line ends of Windows are fine");
    env.file("bad", "web1\nweb2 prot=22\nweb3;reboot\n");
    let text = "pssh: bad:2:6: \"prot\": did you mean port? For an argument of the command, write arg.prot\n\
                pssh: bad:3:1: \"web3;reboot\": a host name cannot contain ';'\n";
    says(&env, pssh(&["-h", "bad"]), 2, &[], text);
}

#[test]
fn too_few_open_files_for_a_single_host() {
    let env = lab();
    let pssh = env.pssh().args(["-H", "127.0.0.1:1", "x"]).shell("ulimit -n 40; exec \"$@\"");
    says(&env, pssh, 1, &[], "pssh: only 40 files may be open, too few for a single host; ulimit -n 66 is enough\n");
}

// Hosts that are not reached.

/// A run with one attempt.
fn once(env: &Env) -> Pssh {
    env.pssh().args(["--num-retries", "1"])
}

#[test]
fn a_name_that_is_not_found() {
    let env = Env::new();
    // What glibc says where there is a name server, and where there is none.
    let reasons = [("Name or service not known", "{REASON}"), ("Temporary failure in name resolution", "{REASON}")];
    env.file("hosts.txt", "# the office\n  no-such-host.invalid deploy\n");
    let text = |place: &str| {
        format!(
            "pssh: no-such-host.invalid: dns: no-such-host.invalid: {{REASON}}\n  \
             hint: check the spelling ({place}), or whether the resolver knows the name\n"
        )
    };
    says(&env, once(&env).args(["-h", "hosts.txt", "x"]), 4, &reasons, &text("hosts.txt:2:3"));
    says(&env, once(&env).args(["-H", "no-such-host.invalid", "x"]), 4, &reasons, &text("-H"));
    says(&env, once(&env).args(["-w", "no-such-host.invalid", "x"]), 4, &reasons, &text("-w:1"));
    let renamed = once(&env).args(["-O", "HostName=%h.invalid", "-H", "no-such-host", "x"]);
    let text = text("-H, with HostName in ssh_config").replacen("no-such-host.invalid", "no-such-host", 1);
    says(&env, renamed, 4, &reasons, &text);
}

#[test]
fn a_port_where_nobody_listens() {
    let env = Env::new();
    let address = refused_address("127.0.0.1".parse().expect("an address")).expect("a free port");
    let text = "pssh: 127.0.0.1: connect: 127.0.0.1 port {PORT}: Connection refused\n  \
                hint: is sshd running there, on that port, and not behind a firewall?\n";
    let port = address.port().to_string();
    says(&env, once(&env).hosts([address]).arg("x"), 4, &[(&port, "{PORT}")], text);
}

#[test]
fn an_address_that_does_not_answer() {
    let env = Env::new();
    let listener = full_listener();
    let text = "pssh: 127.0.0.1: timeout connect: no TCP connection within 1 s\n  \
                hint: is the host up, and does a firewall block the port? A slow host or link may need a longer --connect-timeout\n";
    says(&env, once(&env).hosts([listener.address]).args(["--connect-timeout", "1", "x"]), 3, &[], text);
}

// Hosts that are not believed, or do not believe us.

#[test]
fn a_host_key_that_is_not_known() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { trusted: false, ..Setup::default() });
    let port = sshd.port().to_string();
    let masks = [(port.as_str(), "{PORT}")];
    let text = |file: &str| {
        format!(
            "pssh: 127.0.1.1: hostkey: [127.0.1.1]:{{PORT}} is not in known_hosts; it offers ssh-ed25519 \
             {{FINGERPRINT}}\n  hint: compare the fingerprint, then: ssh-keyscan -p {{PORT}} 127.0.1.1 >> '{file}' \
             (or --host-key-check accept-new)\n"
        )
    };
    let pssh = || env.pssh().hosts(sshd.hosts());
    says(&env, pssh().arg("x"), 4, &masks, &text("{HOME}/.ssh/known_hosts"));
    says(&env, pssh().args(["--known-hosts", "missing", "x"]), 4, &masks, &text("missing"));
    // What ssh-keyscan finds there would stand under another name.
    let text = "pssh: 127.0.1.1: hostkey: web1 is not in known_hosts; it offers ssh-ed25519 {FINGERPRINT}\n  \
                hint: compare the fingerprint, then: --host-key-check accept-new adds the key to \
                {HOME}/.ssh/known_hosts\n";
    says(&env, pssh().args(["-O", "HostKeyAlias=web1", "x"]), 4, &masks, text);
    let text = "pssh: 127.0.1.1: hostkey: [127.0.1.1]:{PORT} is not in known_hosts; it offers ssh-ed25519 \
                {FINGERPRINT}\n  hint: compare the fingerprint, and name a file with the key: --known-hosts FILE\n";
    says(&env, pssh().args(["-O", "UserKnownHostsFile=none", "x"]), 4, &masks, text);
    assert!(!env.known_hosts().exists(), "nothing is remembered");
}

#[test]
fn a_host_key_that_is_not_known_behind_a_jump_host() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, trusted: false, ..Setup::default() });
    let port = sshd.port().to_string();
    let hosts = sshd.hosts();
    env.trust(&format!("[127.0.1.1]:{port} {}\n", sshd.public_key(0)));
    // ssh-keyscan does not get there.
    let text = "pssh: 127.0.1.2: hostkey: [127.0.1.2]:{PORT} is not in known_hosts; it offers ssh-ed25519 \
                {FINGERPRINT}\n  hint: compare the fingerprint, then: --host-key-check accept-new adds the key to \
                {HOME}/.ssh/known_hosts\n";
    let pssh = env.pssh().hosts(&hosts[1..]).args(["-J", &hosts[0], "x"]);
    says(&env, pssh, 4, &[(&port, "{PORT}")], text);
}

#[test]
fn a_host_key_that_has_changed_or_is_revoked() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, trusted: false, ..Setup::default() });
    let port = sshd.port().to_string();
    let other = Key::generate(KeyKind::Ed25519).public_line();
    let hosts = sshd.hosts();
    let key = sshd.public_key(0);
    env.trust(&format!("# mine\n[127.0.1.1]:{port} {other}\n@revoked [127.0.1.2]:{port} {key}\n"));
    let masks = [(port.as_str(), "{PORT}")];
    let text = "pssh: 127.0.1.1: hostkey: the key of [127.0.1.1]:{PORT} has CHANGED: it offers ssh-ed25519 \
                {FINGERPRINT}, but {HOME}/.ssh/known_hosts:2 has another key\n  hint: if the host was really \
                re-installed: ssh-keygen -R '[127.0.1.1]:{PORT}' -f '{HOME}/.ssh/known_hosts', then accept the new \
                key\n";
    says(&env, env.pssh().hosts(&hosts[..1]).arg("x"), 4, &masks, text);
    let text = "pssh: 127.0.1.2: hostkey: the key of [127.0.1.2]:{PORT}, ssh-ed25519 {FINGERPRINT}, is REVOKED by \
                {HOME}/.ssh/known_hosts:3\n";
    says(&env, env.pssh().hosts(&hosts[1..]).arg("x"), 4, &masks, text);
}

#[test]
fn no_way_to_log_in_is_left() {
    let env = Env::without_key();
    let sshd = Sshd::start(&env, Setup::default());
    let pssh = || env.pssh().hosts(sshd.hosts()).args(["-l", "root"]);
    let text = "pssh: 127.0.1.1: auth: root: no identity to offer; the server offers publickey\n  \
                hint: no key to offer: name one with --identity FILE, or load one with ssh-add\n";
    says(&env, pssh().arg("x"), 4, &[], text);
    ssh_keygen(&env.path("key"), &["-t", "ed25519"]);
    let text = "pssh: 127.0.1.1: auth: root: refused after trying ssh-ed25519 key; the server offers publickey\n  \
                hint: is the key in that user's authorized_keys? Name another with --identity FILE, the user with -l\n";
    says(&env, pssh().args(["--identity", "key", "x"]), 4, &[], text);
    ssh_keygen(Path::new(&env.ssh_dir().join("id_ed25519")), &["-t", "ed25519", "-N", "opens it"]);
    let text = "pssh: 127.0.1.1: auth: root: no identity to offer; the server offers publickey; \
                {HOME}/.ssh/id_ed25519: the key is encrypted, and there is no terminal to ask on; load it into an agent \
                first (ssh-add {HOME}/.ssh/id_ed25519)\n  \
                hint: without a terminal, use an agent that holds the key, or --password-file FILE with its passphrase\n";
    says(&env, pssh().arg("x"), 4, &[], text);
}
