//! pslurp(1): copies files from many hosts.

use std::process::ExitCode;

use pssh::plan::program::Program;

fn main() -> ExitCode {
    pssh::cli::process::main(Program::Pslurp)
}
