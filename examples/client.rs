//! An example of the library: runs a command on some hosts, and sends each its number on standard input.
//!
//! ```text
//! cargo run --example client -- 'web1 root@web2:2222' 'read number; echo "I am $number"; uptime'
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the user")]

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use pssh::{Client, Settings, exit_status};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (hosts, command) = (arguments.next(), arguments.next());
    let (Some(hosts), Some(command)) = (hosts, command) else {
        eprintln!("Usage: client 'HOST HOST...' COMMAND");
        return Ok(exit_status::USAGE.into());
    };
    let mut settings = Settings::for_library()?;
    settings.connect_timeout = Some(Duration::from_secs(10));
    let client = Client::new([hosts], settings)?;
    let run = client.command(command).with_stdin().timeout(Duration::from_secs(60)).run()?;
    for host in &run {
        // The writer is dropped at once, which is the end of the input. A host that is not reached takes none.
        let mut stdin = host.stdin().context("it is there once")?;
        let _ = writeln!(stdin, "{}", host.number());
    }
    for host in &run {
        for line in host.stdout() {
            println!("{}: {}", host.label(), String::from_utf8_lossy(&line?));
        }
        for line in host.stderr() {
            eprintln!("{}: {}", host.label(), String::from_utf8_lossy(&line?));
        }
        if let Some(outcome) = host.outcome() {
            eprintln!("{}: {outcome}", host.label());
        }
    }
    Ok(exit_status::of_tally(&run.join(None)?).into())
}
