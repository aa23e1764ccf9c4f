//! pnuke(1): kills processes on many hosts.

use std::process::ExitCode;

use pssh::internal::Program;

fn main() -> ExitCode {
    pssh::internal::main(Program::Pnuke)
}
