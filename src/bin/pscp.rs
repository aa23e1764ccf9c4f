//! pscp(1): copies files to many hosts.

use std::process::ExitCode;

use pssh::program::{self, Program};

fn main() -> ExitCode {
    program::main(Program::Pscp)
}
