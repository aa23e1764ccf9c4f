//! Absurd input: endless files, ranges of a million million hosts, files that include one another, files of another
//! kind.
//! Each is refused before anything connects, in little time and memory, with the place and what is wrong.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::bin::{Env, Pssh, Run};
use crate::embedded::{Behaviour, Config, Server};

/// Seconds that are longer than any refusal takes, on a slow machine too.
const SOON: u64 = 90;
/// KiB of memory that no refusal needs: a list is read up to 64 MiB, and TOML costs eighty times its 4 MiB at worst.
const MEMORY: u64 = 500 << 10;
/// The same as a limit of the shell, so that more is an error and not the end of the machine.
const LIMITED: &str = "ulimit -v 4000000; exec \"$@\"";

struct Lab {
    env: Env,
    server: Server,
}

impl Lab {
    fn new() -> Lab {
        let env = Env::new();
        let behaviour = Behaviour::Cheap { stdout: Vec::new(), status: 0 };
        let server = Server::start(Config { authorised: env.public_lines(), behaviour, ..Config::default() });
        env.trust(&server.known_hosts());
        Lab { env, server }
    }

    /// A run on a host that is there, under a limit of memory.
    fn pssh(&self) -> Pssh {
        self.env.pssh().hosts([self.server.addr()]).shell(LIMITED).limit(SOON)
    }

    /// Fails unless it is refused as bad usage with these words, soon, in little memory, and before anything connects.
    #[track_caller]
    fn refused(&self, pssh: Pssh, words: &str) -> Run {
        let run = pssh.run();
        run.exits(2).stdout_is("").within(SOON).stderr_has(words);
        run.check(run.stderr.len() < 16 << 10, "a message that can be read");
        run.check(run.peak_kib < MEMORY, "no more memory than 500 MiB");
        run.check(self.server.connections() == 0, "nothing was connected to");
        run
    }
}

#[test]
fn ranges_of_more_hosts_than_there_are() {
    let lab = Lab::new();
    let padding = format!("n[{}1-{}3]", "0".repeat(30_000), "0".repeat(30_000));
    let nested = "[0-9]".repeat(10_000);
    let long = "x".repeat(10_000);
    for (range, column, words) in [
        ("n[1-1000000000000]", 1, "more than 1000000 names"),
        ("n[1-1000000][1-1000000][1-1000000][1-1000000]", 1, "more than 1000000 names"),
        ("n[1-99999999999999999999]", 3, "99999999999999999999 is too large"),
        ("n[0-18446744073709551615]", 1, "more than 1000000 names"),
        ("n[1-9/0]", 3, "the step cannot be 0"),
        ("n[[1-2]]", 2, "unmatched ["),
        ("n[9-1]", 3, "9 comes after 1"),
        (&padding, 1, "a host name cannot be longer than 1024 bytes"),
        (&nested, 1, "more than 1000000 names"),
        (&long, 1, "a host name cannot be longer than 1024 bytes"),
    ] {
        let file = lab.env.file("ranges", format!("good\n{range}\n"));
        let place = |place: &str, at: usize| format!("pssh: {place}:{at}: \"");
        lab.refused(lab.pssh().arg("-h").arg(&file).arg("true"), &place(&format!("{}:2", file.display()), column))
            .stderr_has(words);
        for option in ["-w", "--only", "--exclude"] {
            lab.refused(lab.pssh().args([option, range, "true"]), &place(option, column)).stderr_has(words);
        }
        lab.refused(lab.pssh().args(["-H", range, "true"]), "pssh: -H: \"").stderr_has(words);
    }
    // Lists that would take for ever to work out.
    let list = |item: &str, times: usize| format!("n[1-100000]{}", item.repeat(times));
    lab.refused(lab.pssh().args(["-w", &list("!a", 40_000), "true"]), "too many hosts up to here for ! & ^");
    let patterns = "*a*,".repeat(30_000) + "x";
    lab.refused(lab.pssh().args(["--only", &patterns, "true"]), "more than 10000 patterns");
    let groups = format!("/{}/", "(a*)*".repeat(20_000));
    lab.refused(lab.pssh().args(["--exclude", &groups, "true"]), "--exclude:1: \"/(a*)*");
}

#[test]
fn files_that_never_end() {
    let lab = Lab::new();
    let list = "it has more than 64 MiB, the limit for such a file";
    let (toml, config) = ("it has more than 4 MiB", "it has more than 16 MiB");
    for (args, words) in [
        (&["-h", "/dev/zero", "true"][..], format!("pssh: /dev/zero: cannot read the hosts file: {list}")),
        (&["--host-args", "/dev/zero", "echo %q"], format!("/dev/zero: cannot read the host arguments: {list}")),
        (&["--host-config", "/dev/zero", "true"], format!("--host-config /dev/zero: {toml}")),
        (&["-F", "/dev/zero", "true"], format!("/dev/zero: {config}")),
        (&["--known-hosts", "/dev/zero", "true"], format!("/dev/zero: {list}")),
        (&["--identity", "/dev/zero", "true"], "/dev/zero: cannot read the private key: it has more than 1 MiB".into()),
        (&["--script", "/dev/zero"], "--script /dev/zero: more than 16777216 bytes".into()),
        (&["-O", "RevokedHostKeys /dev/zero", "true"], "/dev/zero: more than 134217728 bytes".into()),
    ] {
        lab.refused(lab.pssh().args(args), &words);
    }
    // A password is not waited for either.
    let endless = format!("yes | tr -d '\\n' | {{ {LIMITED}; }}");
    let fed = |args: &[&str]| lab.pssh().args(args).shell(&endless);
    lab.refused(fed(&["-h", "-", "true"]), &format!("pssh: -: cannot read the hosts file: {list}"));
    lab.refused(fed(&["--host-args", "-", "echo %q"]), &format!("pssh: -: cannot read the host arguments: {list}"));
    lab.refused(fed(&["--password-fd", "0", "true"]), "it has more than 4096 bytes");
    // A file of a terabyte, with a line of a gigabyte in it.
    let sparse = lab.env.file("sparse", "web1\n");
    let grow = |length: u64| File::options().write(true).open(&sparse).and_then(|file| file.set_len(length));
    for (length, words) in [(1 << 40, list), (50 << 20, "sparse:2:1: ")] {
        grow(length).expect("a sparse file");
        lab.refused(lab.pssh().arg("-h").arg(&sparse).arg("true"), words);
    }
}

#[test]
fn the_users_own_files_may_be_endless_too() {
    let lab = Lab::new();
    let ssh = lab.env.ssh_dir();
    // Without -F none, which all other tests have.
    let pssh = || lab.env.bare_pssh().hosts([lab.server.addr()]).shell(LIMITED).limit(SOON).arg("true");
    fs::create_dir_all(lab.env.path(".config/pssh")).expect("a directory");
    let mode_of_zero = "bad owner or permissions: mode 0666 lets others write it";
    for (path, words) in [
        (lab.env.path(".config/pssh/config.toml"), mode_of_zero),
        (ssh.join("config"), mode_of_zero),
        (lab.env.known_hosts(), "known_hosts: it has more than 64 MiB"),
    ] {
        let saved = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        symlink("/dev/zero", &path).expect("a link");
        lab.refused(pssh(), words);
        fs::remove_file(&path).expect("a link");
        // As large, but with a good owner and mode.
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        lab.refused(pssh(), " MiB, the limit for such a file");
        fs::remove_file(&path).expect("a file");
        if let Some(saved) = saved {
            fs::write(path, saved).expect("a file");
        }
    }
}

#[test]
fn input_for_commands_may_be_endless() {
    let lab = Lab::new();
    let run = lab.pssh().args(["-I", "true"]).shell("ulimit -v 4000000; exec \"$@\" < /dev/zero").run();
    run.exits(0).within(SOON);
    run.check(run.peak_kib < 100 << 10, "what nobody reads is not kept");
}

#[test]
fn configurations_that_include_themselves() {
    let lab = Lab::new();
    let path = |name: &str| lab.env.path(name).display().to_string();
    let include = |name: &str, included: &str| {
        lab.env.file(name, format!("Include {}\n", path(included)));
        path(name)
    };
    let config = |file: &str| {
        let pssh = lab.env.bare_pssh().hosts([lab.server.addr()]).shell(LIMITED).limit(SOON);
        pssh.args(["-F", file, "true"])
    };
    let itself = include("itself", "itself");
    lab.refused(config(&itself), &format!("{itself}:1:1: include: {itself} is more than 16 files deep"));
    let (one, _) = (include("one", "other"), include("other", "one"));
    lab.refused(config(&one), "is more than 16 files deep");
    // Ten times ten times ten ...
    for level in 1..15 {
        let line = format!("Include {}\n", path(&format!("bomb{}", level + 1)));
        lab.env.file(&format!("bomb{level}"), line.repeat(10));
    }
    lab.env.file("bomb15", "Port 22\n");
    lab.refused(config(&path("bomb1")), "bomb15: with this line, Include matches more than 10000 files");
    // Few files, but many bytes.
    let last = lab.env.file("large", "# a comment\n".repeat(500_000));
    let twice = format!("Include {}\n", last.display()).repeat(20);
    let large = lab.env.file("twice", twice);
    lab.refused(
        config(&large.display().to_string()),
        "large: with this line, the included files have more than 16 MiB",
    );
    // A pattern that once took 2^n steps for a name of n characters.
    lab.env.file(&format!("{}.conf", "a".repeat(200)), "Port 22\n");
    let stars = lab.env.file("stars", format!("Include {}/{}b\n", path(""), "*a".repeat(40)));
    let run = config(&stars.display().to_string()).run();
    run.exits(0).within(SOON);
}

#[test]
fn chains_of_a_thousand_jump_hosts() {
    let lab = Lab::new();
    let hops: Vec<String> = (1..=1000).map(|number| format!("h{number}")).collect();
    let words = "1000 jump hosts, but at most 16 are allowed";
    lab.refused(lab.pssh().args(["-J", &hops.join(","), "true"]), words);
    let config = lab.env.file("jumps", format!("Host *\nProxyJump {}\n", hops.join(",")));
    let pssh = || lab.env.bare_pssh().hosts([lab.server.addr()]).shell(LIMITED).limit(SOON);
    lab.refused(pssh().arg("-F").arg(&config).arg("true"), words);
    // Each is reached through another one, for ever.
    let mut text = String::from("Host 127.*\nProxyJump h1\n");
    for number in 1..=1000 {
        let _ = write!(text, "Host h{number}\nProxyJump h{}\n", number % 1000 + 1);
    }
    let config = lab.env.file("circle", text);
    lab.refused(pssh().arg("-F").arg(&config).arg("true"), ": more than 16 jump hosts");
}

#[test]
fn values_nested_a_million_deep_and_wide() {
    let lab = Lab::new();
    let million = 1_000_000;
    let open = "[".repeat(million);
    for (name, text, words) in [
        ("open.json", open.clone(), "open.json:1:1000000: not JSON"),
        ("deep.json", open.clone() + &"]".repeat(million), "deep.json:1:3: an array or object cannot be a value"),
        ("object.json", "{\"a\":".repeat(million), "object.json:1:5000000: not JSON"),
        ("wide.json", format!("[{}1]", "1,".repeat(5 * million)), "wide.json:1:1: more than 3,000,000"),
        ("wide.csv", ",\n".repeat(5 * million), "wide.csv:1500001:1: more than 3,000,000"),
        ("null.jsonl", "null\n".repeat(million), "null.jsonl:1:1: null is not a value"),
    ] {
        let file = lab.env.file(name, text);
        lab.refused(lab.pssh().arg("--host-args").arg(&file).arg("echo %q"), words);
    }
    for (name, text, words) in [
        ("open.toml", format!("a = {open}"), "open.toml:1:"),
        ("dots.toml", "a.".repeat(million), "dots.toml:1:"),
        ("tables.toml", "[host.\"n[1-99999]\"]\n".repeat(50_000), "tables.toml:2:7: \""),
        (
            "names.toml",
            (1..1000).map(|number| format!("[host.\"n[{number}-99999]\"]\n")).collect(),
            "names.toml:21:7: \"n[21-99999]\": more than 2000000 names or 10000 patterns",
        ),
    ] {
        let file = lab.env.file(name, text);
        lab.refused(lab.pssh().arg("--host-config").arg(&file).arg("true"), words);
    }
}

#[test]
fn files_of_another_kind() {
    let lab = Lab::new();
    let utf16: Vec<u8> = "\u{feff}web1\nweb2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16_without_mark: Vec<u8> = "web1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let many: Vec<u8> = "-x\n".repeat(5_000_000).into_bytes();
    for (name, bytes, words) in [
        (
            "utf16",
            utf16,
            "utf16:1:1: \"\u{fffd}\u{fffd}w\\0e\\0b\\01\\0\": not UTF-8 text, but UTF-16: convert it with iconv",
        ),
        ("utf16le", utf16_without_mark, "utf16le:1:1: \"w\\0e\\0b\\01\\0\": a host name cannot contain '\\0'"),
        ("nul", b"web1\nweb\x002\n".to_vec(), "nul:2:1: \"web\\02\": a host name cannot contain '\\0'"),
        ("latin", b"web1\n  caf\xe9 x\n".to_vec(), "latin:2:6: "),
        (
            "marks",
            "web1\n\u{feff}web2\n".as_bytes().to_vec(),
            "marks:2:1: \"\\u{feff}web2\": a host name cannot contain '\\u{feff}'",
        ),
        ("names", format!("{}\n", "y".repeat(10_000)).into_bytes(), "names:1:1: \"yyyy"),
        ("users", format!("{}@web1\n", "y".repeat(10_000)).into_bytes(), "users:1:1: \"yyyy"),
        (
            "line",
            format!("web1 a={}\n", "y".repeat(100_000)).into_bytes(),
            "line:1:1: \"web1 a\": the line has more than 65536 bytes",
        ),
        ("many", many, "... and many more: this is not a hosts file"),
        ("hosts", b"n[1-1000000]\nx\n".to_vec(), "hosts:2:1: \"x\": more than 1000000 hosts"),
    ] {
        let file = lab.env.file(name, bytes);
        lab.refused(lab.pssh().arg("-h").arg(&file).arg("true"), words);
    }
    // What is good stays good.
    let address = lab.server.addr();
    let good = lab.env.file("good", format!("\u{feff}{address}\r\n# \u{feff}\r\n"));
    lab.env.pssh().arg("-h").arg(&good).arg("true").run().exits(0);
    let config = lab.env.file("zero", b"Host a\0b\n  Port 22\n");
    let pssh = lab.env.bare_pssh().hosts([address]).arg("-F").arg(&config).arg("true");
    pssh.run().exits(2).stderr_has(&format!("{}:1:7: a zero byte outside of a comment", config.display()));
}

/// Makes a pipe with a name.
fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success(), "mkfifo {}", path.display());
}

#[test]
fn directories_and_pipes_in_place_of_files() {
    let lab = Lab::new();
    let directory = lab.env.path("directory");
    fs::create_dir(&directory).expect("a directory");
    for (option, status) in [("-h", 1), ("--host-args", 1), ("--host-config", 1), ("--identity", 1), ("--script", 1)] {
        let pssh = lab.pssh().arg(option).arg(&directory);
        let run = if option == "--script" { pssh } else { pssh.arg("echo %q") }.run();
        run.exits(status).stderr_has("Is a directory").within(SOON);
    }
    // A pipe is as good as a file once somebody writes to it, and until then it is waited for, as by cat.
    let pipe = lab.env.path("pipe");
    fifo(&pipe);
    let address = lab.server.addr().to_string();
    let writer = {
        let (pipe, address) = (pipe.clone(), address.clone());
        std::thread::spawn(move || {
            let mut file = OpenOptions::new().write(true).open(pipe).expect("a reader");
            std::io::Write::write_all(&mut file, address.as_bytes()).expect("a reader");
        })
    };
    lab.env.pssh().arg("-h").arg(&pipe).arg("true").run().exits(0);
    writer.join().expect("it was read");
}

#[test]
fn one_signal_ends_every_wait_for_a_pipe_that_nobody_writes_to() {
    let lab = Lab::new();
    fifo(&lab.env.path("pipe"));
    // A private key is only for its owner.
    fs::set_permissions(lab.env.path("pipe"), fs::Permissions::from_mode(0o600)).expect("a mode");
    lab.env.file("including", format!("Include {}\n", lab.env.path("pipe").display()));
    let revoked = format!("RevokedHostKeys={}", lab.env.path("pipe").display());
    let certificate = format!("CertificateFile={}", lab.env.path("pipe").display());
    let global = format!("GlobalKnownHostsFile={}", lab.env.path("pipe").display());
    let waiting = [
        &["-h", "pipe"][..],
        &["-H", "a", "--host-config", "pipe"],
        &["-H", "a", "--host-args", "pipe"],
        &["-H", "a", "--script", "pipe"],
        &["-H", "a", "-F", "pipe"],
        &["-H", "a", "-F", "including"],
        &["-H", "a", "--known-hosts", "pipe"],
        &["-H", "a", "-O", &global],
        &["-H", "a", "-O", &revoked],
        &["-H", "a", "--identity", "pipe"],
        &["-H", "a", "-O", &certificate],
        &["-H", "a", "--password-file", "pipe"],
    ];
    for (number, args) in waiting.into_iter().enumerate() {
        let command = if args.contains(&"--script") { &[][..] } else { &["true"] };
        let running = lab.env.bare_pssh().args(args).args(command).start();
        std::thread::sleep(std::time::Duration::from_millis(700));
        let signal = [Signal::INT, Signal::TERM][number % 2];
        running.signal(signal);
        running.finish().within(SOON).dies_by(signal);
    }
}

#[test]
fn process_substitutions_and_standard_input_are_files() {
    let lab = Lab::new();
    let (address, known) = (lab.server.addr(), lab.env.known_hosts());
    let script = format!(
        "exec bash -c 'exec \"$0\" -h <(echo {address}) -F <(echo User me) --known-hosts <(cat {}) \
         -O RevokedHostKeys=<(:) --host-config <(:) \"$@\"' \"$@\"",
        known.display()
    );
    lab.env.bare_pssh().arg("true").shell(&script).run().exits(0).ends("127.0.0.1", "ok");
    let run = lab.env.pssh().args(["-h", "/dev/stdin", "true"]).stdin(format!("{address}\n")).run();
    run.exits(0).ends("127.0.0.1", "ok");
}

#[test]
fn a_time_zone_that_is_no_file_is_utc() {
    let lab = Lab::new();
    let pipe = lab.env.path("pipe");
    fifo(&pipe);
    for zone in [format!(":{}", pipe.display()), pipe.display().to_string(), ":/dev/zero".to_owned()] {
        // -P has the time of day in its lines.
        let run = lab.pssh().arg("-P").variable("TZ", &zone).arg("true").run();
        run.exits(0).within(SOON).check(run.stdout_text().contains("[SUCCESS]"), "a line with the time");
    }
}

#[test]
fn a_hundred_thousand_hosts_are_a_list() {
    let lab = Lab::new();
    let file = lab.env.file("hosts", (0..100_000).map(|number| format!("n{number}\n")).collect::<String>());
    let run = lab.env.pssh().arg("-h").arg(&file).args(["--dry-run", "true"]).limit(120).run();
    run.exits(0).check(run.stdout.iter().filter(|byte| **byte == b'\n').count() == 100_000, "a line for each");
    run.check(run.peak_kib < 300 << 10, "no more memory than 3 KiB for each");
}
