//! pscp(1): copies files to many hosts.

use std::process::ExitCode;

use pssh::plan::program::Program;

fn main() -> ExitCode {
    pssh::cli::process::main(Program::Pscp)
}
