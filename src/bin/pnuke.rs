//! pnuke(1): kills processes on many hosts.

use std::process::ExitCode;

use pssh::program::{self, Program};

fn main() -> ExitCode {
    program::main(Program::Pnuke)
}
