//! pnuke(1): kills processes on many hosts. Starts the `pssh` beside it.

mod launcher;

use std::process::ExitCode;

fn main() -> ExitCode {
    launcher::launch("pnuke")
}
