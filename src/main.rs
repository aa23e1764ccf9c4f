//! pssh(1): runs a command on many hosts.

use std::process::ExitCode;

use pssh::internal::Program;

fn main() -> ExitCode {
    pssh::internal::main(Program::Pssh)
}
