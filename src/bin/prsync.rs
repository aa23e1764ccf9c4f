//! prsync(1): has rsync copy files to many hosts.

use std::process::ExitCode;

use pssh::plan::program::Program;

fn main() -> ExitCode {
    pssh::cli::process::main(Program::Prsync)
}
