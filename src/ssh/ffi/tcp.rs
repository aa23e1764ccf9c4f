//! Facts about a TCP connection that rustix does not expose.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Returns how long ago the last packet came from the peer, even only an acknowledgement (`tcpi_last_ack_recv` of
/// tcp(7)). `None` for anything but a TCP connection.
#[cfg(target_os = "linux")]
pub fn tcp_silence(socket: BorrowedFd<'_>) -> Option<Duration> {
    use std::os::fd::AsRawFd;

    // SAFETY: all-zero bytes are a valid value of this structure of numbers. The system writes at most `length` bytes into it, and
    // all of it is what it was or what the system wrote.
    let info = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = std::mem::size_of_val(&info) as libc::socklen_t;
        let value = (&raw mut info).cast();
        if libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, value, &mut length) != 0 {
            return None;
        }
        info
    };
    Some(Duration::from_millis(u64::from(info.tcpi_last_ack_recv)))
}

/// Elsewhere only TCP's own probes count.
#[cfg(not(target_os = "linux"))]
pub fn tcp_silence(_socket: BorrowedFd<'_>) -> Option<Duration> {
    None
}
