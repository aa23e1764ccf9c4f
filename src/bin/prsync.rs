//! prsync(1): has rsync copy files to many hosts. Starts the `pssh` beside it.

mod launcher;

use std::process::ExitCode;

fn main() -> ExitCode {
    launcher::launch("prsync")
}
