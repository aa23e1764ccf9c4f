//! Shows pssh at work without any setup: six SSH servers in this process, on loopback and with throw-away keys, and a seventh
//! host that is down.
//!
//! ```text
//! cargo run --example demo
//! cargo run --example demo -- COMMAND...     runs another command on them
//! cargo run --example demo -- --hold         keeps them up, for command lines of your own
//! ```
//!
//! The commands are really run, by `sh` as the user who started the demo; the servers accept only the holder of a key
//! that was made for this run.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demo talks to the user, and the library's output layer is not its business"
)]

mod fleet;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use fleet::{Fleet, HOSTS, build_pssh};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What pssh runs unless the user names something else.
const COMMAND: &str = "./health";

/// pssh's exit status when a host could not be reached, whatever the others' commands said.
const UNREACHABLE: i32 = 4;

const USAGE: &str = "\
Usage: demo [--hold] [COMMAND...]

Runs pssh with COMMAND on six SSH hosts that live in this process, and on one that is down.

  --hold    then keeps the hosts up until Enter or Ctrl-C, for command lines of your own
  --help    shows this help
";

fn main() -> ExitCode {
    match run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let options = Options::read(std::env::args_os().skip(1))?;
    if options.help {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    // Ctrl-C ends pssh by itself. This process has to live on in order to clean up.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    let pssh = build_pssh()?;
    let fleet = Fleet::start("health", HOSTS.map(|(name, lines)| (name, fleet::script(lines))))?;
    let hosts = names(&fleet).map(|(_, address)| format!("{address}\n"));
    fleet.write("hosts", &hosts.collect::<String>())?;
    let arguments = arguments(&fleet, &options.command);

    println!("Six SSH hosts on loopback, each with a script ./health of its own, and one host that is down:\n");
    for (name, address) in names(&fleet) {
        println!("  {address:<18} {name}");
    }
    println!("\nThis is run now:\n\n{}\n", command_line(&pssh, &arguments));
    let status = Command::new(&pssh).args(&arguments).status();
    let status = status.with_context(|| format!("cannot run {}", pssh.display()))?;
    let verdict = if options.command.is_empty() && status.signal().is_none() {
        judge(status)
    } else {
        println!("\npssh: {status}");
        passed_through(status)
    };
    if options.hold && status.signal().is_none() {
        hold(signals);
    }
    Ok(verdict)
}

#[derive(Default)]
struct Options {
    hold: bool,
    help: bool,
    command: Vec<OsString>,
}

impl Options {
    /// Like pssh's own options, these end at the first word of the command.
    fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(option) = arguments.next_if(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
            match option.to_str() {
                Some("--hold") => options.hold = true,
                Some("--help" | "-h") => options.help = true,
                Some("--") => break,
                _ => bail!("unknown option {}\n\n{USAGE}", option.display()),
            }
        }
        options.command = arguments.collect();
        Ok(options)
    }
}

/// All hosts with their addresses, the one that is down last.
fn names(fleet: &Fleet) -> impl Iterator<Item = (&str, SocketAddr)> {
    fleet.up().chain([("down", fleet.down())])
}

fn arguments(fleet: &Fleet, command: &[OsString]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-h".into(), fleet.path("hosts").into()];
    arguments.extend(["--identity".into(), fleet.path("key").into()]);
    arguments.extend(["--known-hosts".into(), fleet.path("known_hosts").into()]);
    // The user's own ssh_config and agent are not the demo's business.
    let alone = ["-F", "none", "--no-agent", "-l", "demo", "--connect-timeout", "5", "--num-retries", "1"];
    arguments.extend(alone.map(OsString::from));
    if command.is_empty() {
        arguments.push(COMMAND.into());
    } else {
        // A first word that looks like an option is not pssh's.
        arguments.push("--".into());
        arguments.extend_from_slice(command);
    }
    arguments
}

/// One line that a shell understands.
fn command_line(program: &Path, arguments: &[OsString]) -> String {
    let words = [program.as_os_str()].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Says whether the default command went as it has to.
fn judge(status: ExitStatus) -> ExitCode {
    if status.code() == Some(UNREACHABLE) {
        println!("\npssh: {status}, as it has to be: db2's command failed, and one host is down, which counts more.");
        return ExitCode::SUCCESS;
    }
    println!("\npssh: {status}, but a host is down, so exit status {UNREACHABLE} was expected.");
    ExitCode::FAILURE
}

/// pssh's exit status as a shell would have it.
fn passed_through(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Keeps the hosts up until Enter or a signal.
fn hold(mut signals: Signals) {
    println!("\nThe hosts stay up: paste the line above into another terminal. Enter or Ctrl-C ends them.");
    let (sender, end) = mpsc::channel();
    let enter = sender.clone();
    thread::spawn(move || {
        let read = io::stdin().lock().read_line(&mut String::new());
        // Without a terminal, for example in the background, the end of input does not mean that the user wants to stop.
        if io::stdin().is_terminal() || read.is_ok_and(|length| length > 0) {
            // The receiver is gone if a signal came first.
            let _ = enter.send(());
        }
    });
    thread::spawn(move || {
        signals.forever().next();
        let _ = sender.send(());
    });
    // It fails only if both threads are gone, and then nothing is left to wait for.
    let _ = end.recv();
}
