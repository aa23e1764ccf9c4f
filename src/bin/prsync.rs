//! prsync(1): has rsync copy files to many hosts.

use std::process::ExitCode;

use pssh::program::{self, Program};

fn main() -> ExitCode {
    program::main(Program::Prsync)
}
