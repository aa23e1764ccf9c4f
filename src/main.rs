//! pssh(1): runs a command on many hosts.

use std::process::ExitCode;

use pssh::program::{self, Program};

fn main() -> ExitCode {
    program::main(Program::Pssh)
}
