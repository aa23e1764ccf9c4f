//! What is only known when the process starts.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether the program was started with `signal` ignored, as by nohup(1) with SIGHUP: then it must stay ignored.
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: sigaction with a null new action only fills `old`, for which all-zero bytes are a valid value.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

/// The standard streams that were closed when the process started, a bit for each number. Rust's runtime opens
/// /dev/null for them before `main`; from then on they look like a /dev/null of the user's choice.
static CLOSED_AT_START: AtomicU8 = AtomicU8::new(0);

/// Whether standard input (0), output (1) or error (2) was closed when the process started. Output to it is lost
/// without an error.
pub fn was_closed_at_start(stream: u8) -> bool {
    stream < 3 && CLOSED_AT_START.load(Ordering::Relaxed) & (1 << stream) != 0
}

/// Whether the descriptor was open when the process started, and still is. exec(2) closes every descriptor of our own
/// (O_CLOEXEC) and none that it passes on.
pub fn was_inherited(number: u32) -> bool {
    let Ok(descriptor) = c_int::try_from(number) else { return false };
    // SAFETY: F_GETFD reads and writes none of our memory; a number without an open descriptor is only an error.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
    flags != -1 && flags & libc::FD_CLOEXEC == 0 && !u8::try_from(number).is_ok_and(was_closed_at_start)
}

// SAFETY: the section has the addresses of functions that the loader calls before `main`, with C's calling convention. This one
// needs nothing of Rust's runtime, which is not there yet: it calls fcntl(2), stores a number, and cannot panic.
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[used]
static AT_START: extern "C" fn() = note_closed_streams;

extern "C" fn note_closed_streams() {
    for stream in 0..3 {
        // SAFETY: F_GETFD reads and writes none of our memory; a number without an open descriptor is only an error.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            CLOSED_AT_START.fetch_or(1 << stream, Ordering::Relaxed);
        }
    }
}
