//! pnuke(1): kills processes on many hosts.

use std::process::ExitCode;

use pssh::plan::program::Program;

fn main() -> ExitCode {
    pssh::cli::process::main(Program::Pnuke)
}
