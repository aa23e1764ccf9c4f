//! The soak: thousands of hosts, run after run, with random faults, by the real binary and by the library in one process.
//!
//! ```text
//! cargo run --release --example soak                           3,000 hosts, 5 % of them with faults, for four minutes
//! cargo run --release --example soak -- hosts=500 seconds=60   others; also percent, seed, pool
//! ```
//!
//! It fails if in any run a host has not exactly one outcome, or another one than its fault makes, or has not printed what it
//! has to; or if descriptors, threads or memory of the process with the library grow after its first three runs.
//! `docs/faults.md` has what a run said. The hosts are servers in a process of their own, on 127.3.0.0/16 and 127.4.0.0/16.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the user")]

mod fleet;
#[path = "../tests/soak/mod.rs"]
mod soak;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use fleet::{build_pssh, embedded};
use soak::Options;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if soak::role()? {
        return Ok(());
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::parse(&words.join(" "))?;
    let pssh = build_pssh()?;
    let program = std::env::current_exe().context("cannot find out what this program is")?;
    println!("soak: {options}");
    soak::soak(&options, &pssh, &|| Command::new(&program), &mut |line| println!("{line}"))?;
    println!("soak: every host was accounted for in every run, and nothing grew");
    Ok(())
}
