//! Options of other tools, and their equivalents here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::cli::ssh_args::{self, Tool};
use crate::plan::program::Program;

/// The form of the value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Any value, or none.
    Any,
    /// A number or a time.
    Number,
    /// An IP address.
    Address,
    /// A forwarding of ssh: `[address:]port[:host:port]`.
    Forwarding,
    /// A list of ciphers or MACs.
    Algorithms,
    /// A path.
    Path,
}

impl Value {
    fn fits(self, value: &str) -> bool {
        match self {
            Value::Any => true,
            Value::Number => value.starts_with(|c: char| c.is_ascii_digit()) && !value.contains([':', '.', '/']),
            Value::Address => value.parse::<std::net::IpAddr>().is_ok(),
            Value::Forwarding => {
                let ports = value.split(':').filter(|part| part.parse::<u16>().is_ok()).count();
                ports > 0 && value.split(':').count() <= 4 || value.starts_with('/') && value.contains(':')
            }
            Value::Algorithms => {
                value.split(',').all(|name| name.contains(['-', '@'])) && value.contains(|c: char| c.is_ascii_digit())
            }
            Value::Path => value.contains('/'),
        }
    }
}

/// An option of another tool. The first entry with a matching value counts.
struct Slip {
    /// Its names there.
    names: &'static [&'static str],
    value: Value,
    /// The programs with this tip.
    programs: &'static [Program],
    /// The equivalent here. VALUE is replaced by the value of the option.
    tip: &'static str,
}

const ALL: &[Program] = &Program::ALL;
const PSSH: &[Program] = &[Program::Pssh];
const COMMANDS: &[Program] = &[Program::Pssh, Program::Pnuke];
const COPIES: &[Program] = &[Program::Pscp, Program::Pslurp];
const FILES: &[Program] = &[Program::Pscp, Program::Pslurp, Program::Prsync];
const BUT_RSYNC: &[Program] = &[Program::Pssh, Program::Pnuke, Program::Pscp, Program::Pslurp];

const fn slip(names: &'static [&'static str], value: Value, programs: &'static [Program], tip: &'static str) -> Slip {
    Slip { names, value, programs, tip }
}

const FORWARDING: &str = "port forwarding is not supported; use ssh, one host at a time";

/// Options of pdsh, clush and ansible, and options of ssh and scp with another meaning there. [`ssh_args`] knows all others of ssh and
/// scp.
const SLIPS: &[Slip] = &[
    slip(&["-f", "--fanout", "--forks", "--jobs"], Value::Number, ALL, "-p VALUE runs VALUE hosts at once"),
    slip(&["-b"], Value::Address, BUT_RSYNC, "-O BindAddress=VALUE connects from that address"),
    slip(&["-b", "-B", "--dshbak", "--regroup"], Value::Any, COMMANDS, "--format gather shows equal output once"),
    slip(&["-b"], Value::Any, FILES, "--format gather shows hosts with the same outcome together"),
    slip(&["-u", "--command_timeout"], Value::Number, ALL, "-t VALUE sets a time limit of VALUE seconds"),
    slip(&["-u"], Value::Any, ALL, "-t TIME sets a time limit"),
    slip(&["--connect_timeout"], Value::Any, ALL, "--connect-timeout VALUE limits each attempt to connect"),
    slip(&["-S"], Value::Path, COMMANDS, "connections are not shared with ssh (ControlMaster)"),
    slip(&["-S"], Value::Any, COMMANDS, "--max-status exits with the largest exit status of all hosts"),
    slip(
        &["-S"],
        Value::Any,
        COPIES,
        "the exit status tells whether a host failed; --max-status exits with the largest",
    ),
    slip(&["--maxrc"], Value::Any, ALL, "--max-status exits with the largest exit status of all hosts"),
    slip(&["-L", "-R", "-D", "-W"], Value::Forwarding, ALL, FORWARDING),
    slip(&["-L"], Value::Any, PSSH, "-i --sort shows output in the order of the hosts"),
    slip(&["-L", "--localdir"], Value::Any, &[Program::Pscp], "pscp --download takes DIR as its last argument"),
    slip(&["-R"], Value::Any, BUT_RSYNC, "SSH is the only transport"),
    slip(
        &["-a", "--all"],
        Value::Any,
        COMMANDS,
        "-h FILE runs on all hosts of a file, -w @all on the group all of config.toml",
    ),
    slip(
        &["-a"],
        Value::Any,
        COPIES,
        "-r --preserve copies directories with modes and times; for all hosts of a file use -h FILE, for the group all -w @all",
    ),
    slip(
        &["--all"],
        Value::Any,
        FILES,
        "-h FILE copies to all hosts of a file, -w @all to the group all of config.toml",
    ),
    slip(&["-n", "--nostdin"], Value::Any, PSSH, "standard input is read only with -I"),
    slip(&["-n", "--nostdin"], Value::Any, &[Program::Pnuke], "standard input is not read"),
    slip(&["-n", "--nostdin"], Value::Any, FILES, "standard input is not read; --dry-run shows what would be done"),
    slip(&["-N"], Value::Any, PSSH, "--no-prefix shows output without host names; --ping only logs in"),
    slip(&["-N"], Value::Any, ALL, "--no-headers leaves out the status line of each host"),
    slip(&["--nolabel"], Value::Any, PSSH, "--no-prefix shows output without host names"),
    slip(&["-m"], Value::Algorithms, BUT_RSYNC, "-O MACs=VALUE chooses MACs"),
    slip(&["-m", "--mode"], Value::Any, COMMANDS, "--sudo runs the command as root, --run-as USER as another user"),
    slip(&["-m", "--mode", "--become"], Value::Any, COPIES, "--sudo reads and writes files as root"),
    slip(&["--become"], Value::Any, COMMANDS, "--sudo runs the command as root, --run-as USER as another user"),
    slip(&["-c"], Value::Algorithms, BUT_RSYNC, "-O Ciphers=VALUE chooses ciphers"),
    slip(&["-c", "--copy"], Value::Any, COMMANDS, "pscp copies files to hosts"),
    slip(&["--rcopy"], Value::Any, ALL, "pslurp copies files from hosts, each into a directory of its own"),
    slip(&["-d", "--debug"], Value::Any, BUT_RSYNC, "-v prints what is done for each host"),
    slip(&["-k"], Value::Any, COMMANDS, "--stop-on-errors stops the run once a host has failed"),
    slip(&["-r"], Value::Any, COMMANDS, "pscp -r copies directories; --format gather shows equal output once"),
    slip(&["-P", "--port", "--ssh-port"], Value::Any, ALL, "put the port after its host: -H web1:2222"),
    slip(&["-z"], Value::Any, BUT_RSYNC, "-C compresses what is sent and received"),
    slip(&["-i", "--private-key", "--identity-file"], Value::Any, ALL, "for a private key use --identity KEY"),
    slip(&["--group"], Value::Any, ALL, "-w @VALUE selects the hosts of a group"),
    slip(&["--hostfile", "--machinefile", "--inventory"], Value::Any, ALL, "-h VALUE reads hosts from a file"),
    slip(&["--limit"], Value::Any, ALL, "--only VALUE selects some of the hosts"),
    slip(&["--serial", "--batch-size"], Value::Any, ALL, "--batch VALUE runs the hosts in batches of this size"),
    slip(
        &["--canary", "--rolling"],
        Value::Any,
        ALL,
        "--batch 1,10%,50% runs on one host first, then in growing batches",
    ),
    slip(
        &["--max-fail-percentage"],
        Value::Number,
        ALL,
        "--stop-on-errors=VALUE% stops the run once that part of the hosts has failed",
    ),
    slip(
        &["--max-failures"],
        Value::Number,
        ALL,
        "--stop-on-errors=VALUE stops the run once that many hosts have failed",
    ),
    slip(
        &["--max-fail-percentage", "--max-failures", "--fail-fast"],
        Value::Any,
        ALL,
        "--stop-on-errors, or --stop-on-errors=N%, stops the run once hosts have failed",
    ),
    slip(
        &["--throttle"],
        Value::Number,
        ALL,
        "-p VALUE runs VALUE hosts at once; --rate VALUE/s starts as many in a second",
    ),
    slip(&["--throttle"], Value::Any, ALL, "-p N runs N hosts at once; --rate N/s starts as many in a second"),
    slip(
        &["--connect-rate"],
        Value::Any,
        ALL,
        "--rate N/s starts N hosts in a second; --connect-par N logs in to N at once",
    ),
    slip(&["--delay", "--sleep", "--wait"], Value::Number, ALL, "--pause VALUE waits between two batches of --batch"),
    slip(&["--delay", "--sleep", "--wait"], Value::Any, ALL, "--pause TIME waits between two batches of --batch"),
    slip(&["--step"], Value::Any, ALL, "--confirm=each, with --batch 1, asks before each host"),
    slip(&["--until", "--health-check"], Value::Any, ALL, "--check CMD repeats CMD on each host until it exits with 0"),
    slip(
        &["--retries"],
        Value::Any,
        ALL,
        "--num-retries N is for connections; --check CMD repeats CMD for up to --check-timeout",
    ),
    slip(&["--list-hosts"], Value::Any, ALL, "--list prints the hosts"),
    slip(&["--shuffle", "--random"], Value::Any, ALL, "--order shuffle starts the hosts in a random order"),
    slip(&["--ok-exit"], Value::Any, ALL, "--success 0,N also counts exit status N as success"),
    slip(&["--dest"], Value::Any, FILES, "the last argument is the target"),
    slip(
        &["--password"],
        Value::Any,
        ALL,
        "all users can see a command line; -A asks for the password, --password-file FILE reads it",
    ),
];

/// Returns the tip for an unknown `option`. Its value comes from the command line.
pub(super) fn advice(program: Program, option: &str, arguments: &[OsString]) -> Option<String> {
    let value = value_of(option, arguments).unwrap_or_default();
    let is_it =
        |slip: &&Slip| slip.names.contains(&option) && slip.programs.contains(&program) && slip.value.fits(&value);
    let tip = SLIPS.iter().find(is_it).map(|slip| {
        let shown = if value.is_empty() { "VALUE" } else { &value };
        slip.tip.replace("VALUE", shown)
    });
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1).map(|letter| letter.as_bytes()[0]);
    let of_ssh = || match program {
        Program::Pssh | Program::Pnuke => ssh_args::advice(Tool::Ssh, letter?),
        Program::Pscp | Program::Pslurp => ssh_args::advice(Tool::Scp, letter?),
        Program::Prsync => None,
    };
    tip.or_else(of_ssh)
}

/// Returns the value of an option: the rest of its word, or the next word.
fn value_of(option: &str, arguments: &[OsString]) -> Option<String> {
    let is_long = option.starts_with("--");
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(rest) = word.as_bytes().strip_prefix(option.as_bytes()) else { continue };
        let value = match rest {
            [] => words.next()?.as_bytes(),
            [b'=', value @ ..] => value,
            _ if is_long => continue,
            value => value,
        };
        return String::from_utf8(value.to_vec()).ok();
    }
    None
}
