//! prsync(1): has rsync copy files to many hosts.

use std::process::ExitCode;

use pssh::internal::Program;

fn main() -> ExitCode {
    pssh::internal::main(Program::Prsync)
}
