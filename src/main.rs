//! pssh(1), and the other programs of the suite: the name that it is called by decides.

use std::process::ExitCode;

fn main() -> ExitCode {
    pssh::internal::main()
}
