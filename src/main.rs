//! pssh(1): runs a command on many hosts.

use std::process::ExitCode;

use pssh::plan::program::Program;

fn main() -> ExitCode {
    pssh::cli::process::main(Program::Pssh)
}
