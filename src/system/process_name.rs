//! The name of the process in lists of processes.

#[cfg(target_os = "linux")]
use std::ffi::CString;
use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::path::Path;

/// Gives the process the name of the program `argv0`, for `ps`, `pgrep` and `killall`; threads that start later inherit it. Linux names a
/// process by its file, which is `pssh` where a launcher has started it. Other systems are left alone.
#[cfg(target_os = "linux")]
pub fn set(argv0: &OsStr) {
    let name = Path::new(argv0).file_name().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // A list with another name in it is no reason not to run.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Nothing to do.
#[cfg(not(target_os = "linux"))]
pub fn set(_argv0: &OsStr) {}
