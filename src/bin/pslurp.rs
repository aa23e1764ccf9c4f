//! pslurp(1): copies files from many hosts.

use std::process::ExitCode;

use pssh::program::{self, Program};

fn main() -> ExitCode {
    program::main(Program::Pslurp)
}
