//! pslurp(1): copies files from many hosts. Starts the `pssh` beside it.

mod launcher;

use std::process::ExitCode;

fn main() -> ExitCode {
    launcher::launch("pslurp")
}
