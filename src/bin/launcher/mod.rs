//! Replaces the process by the `pssh` in the same directory, which does the work of all five programs under the name that it is called
//! by. So only one program links the library: five take several times longer to build.

// This has to be known before Rust's runtime opens /dev/null for closed streams. The file stands where unsafe code has its place.
#[expect(unsafe_code, reason = "the file belongs to src/ssh/ffi, the one folder for it")]
#[allow(dead_code, reason = "the rest of it is for pssh")]
#[path = "../../ssh/ffi/at_start.rs"]
mod at_start;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::{stderr, stdin, stdout};

/// The exit status if pssh itself fails, as everywhere.
const FAILURE: u8 = 1;

/// Runs pssh as `name`, with all arguments; returns only if that fails.
pub fn launch(name: &str) -> ExitCode {
    let (pssh, problem) = match own_file() {
        Ok(own) => {
            let pssh = own.with_file_name("pssh");
            let problem = if is_same(&own, &pssh) {
                "it is this launcher, not pssh".to_owned()
            } else if is_script(&pssh) {
                "it is a script, not the pssh of this suite".to_owned()
            } else {
                reason(&exec(name, &pssh))
            };
            (pssh, problem)
        }
        Err(error) => (PathBuf::from("pssh"), format!("cannot find the directory of {name}: {}", reason(&error))),
    };
    // A closed standard error has no reader.
    let _ = writeln!(
        io::stderr(),
        "{name}: cannot run {}: {problem}\n  hint: {name} starts the pssh in its own directory; install both there, or make {name} a \
         symbolic link to pssh",
        pssh.display()
    );
    ExitCode::from(FAILURE)
}

/// The file of this process. Symbolic links to it may be anywhere, and `argv[0]` is what the caller wants it to be.
fn own_file() -> io::Result<PathBuf> {
    match std::env::current_exe() {
        // Linux names the file itself; other systems may name a link to it.
        Ok(file) => Ok(file.canonicalize().unwrap_or(file)),
        Err(error) => without_proc().ok_or(error),
    }
}

/// The same where /proc is not mounted: what execve(2) was called with.
#[cfg(target_os = "linux")]
fn without_proc() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    let file = std::ffi::OsStr::from_bytes(rustix::param::linux_execfn().to_bytes());
    Path::new(file).canonicalize().ok()
}

#[cfg(not(target_os = "linux"))]
fn without_proc() -> Option<PathBuf> {
    None
}

/// Whether both are the same file: it would start itself without end.
fn is_same(own: &Path, pssh: &Path) -> bool {
    let identity = |file: &Path| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(pssh).is_some_and(|pssh| identity(own) == Some(pssh))
}

/// Whether a file is a script, as the original pssh is: that would run the names of files to copy as a command on all hosts. A script that
/// starts the right pssh would lose the name.
fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    // Whatever cannot be read: exec says why.
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

/// Replaces this process; gives the error if that fails.
fn exec(name: &str, pssh: &Path) -> io::Error {
    for (number, stream) in [stdin(), stdout(), stderr()].into_iter().enumerate() {
        if u8::try_from(number).is_ok_and(at_start::was_closed_at_start) {
            // pssh must find it closed, too: it has a message about output that nobody can get.
            let _ = fcntl_setfd(stream, FdFlags::CLOEXEC);
        }
    }
    Command::new(pssh).arg0(name).args(std::env::args_os().skip(1)).exec()
}

/// What the system says, without the number that Rust adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
