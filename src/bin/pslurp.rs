//! pslurp(1): copies files from many hosts.

use std::process::ExitCode;

use pssh::internal::Program;

fn main() -> ExitCode {
    pssh::internal::main(Program::Pslurp)
}
