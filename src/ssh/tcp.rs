//! Connecting to a host's addresses: all of them, under one deadline.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::destination::Destination;
use super::keepalive::TCP;
use super::watch::Watch;
use crate::events::event::Outcome;
use crate::events::host_error::{FROM_ADDRESS, HostError};
use crate::events::remedy::Remedy;
use crate::ssh_config::AddressFamily as Family;
use crate::system::poll::MAX_FDS;
use crate::text::message::reason;

/// How long an address may stay silent before the next one is tried in parallel (the Connection Attempt Delay of RFC
/// 8305 section 5). Longer than the 250 ms there: a second connection counts against the server's MaxStartups.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_secs(1);

/// Returns the address with another port; the zone stays.
pub fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

struct Attempt {
    address: SocketAddr,
    socket: OwnedFd,
}

/// Connects to the first of `addresses` that answers. After a refusal the next is tried at once, after a second of
/// silence in parallel.
///
/// # Errors
/// The outcome of the job: every address failed, or the job ended first.
pub fn connect_any(
    addresses: &[SocketAddr],
    host: &Destination,
    watch: &Watch<'_>,
) -> Result<(OwnedFd, SocketAddr), Outcome> {
    let (wanted, family): (fn(&SocketAddr) -> bool, _) = match host.family {
        Family::Any => (|_| true, "usable"),
        Family::Inet => (SocketAddr::is_ipv4, "IPv4"),
        Family::Inet6 => (SocketAddr::is_ipv6, "IPv6"),
    };
    let usable: Vec<&SocketAddr> = addresses.iter().filter(|address| wanted(address)).take(MAX_FDS).collect();
    if usable.is_empty() && host.family != Family::Any {
        let reason = format!("it has no {family} address");
        // The resolver also leaves out the addresses of a family whose lookup failed.
        return Err(HostError::Dns { name: host.name.clone(), reason, is_final: false, origin: None }.into());
    }
    let mut waiting = usable.into_iter().map(|address| at_port(*address, host.port));
    let mut pending: Vec<Attempt> = Vec::new();
    let mut failed: Vec<(SocketAddr, String)> = Vec::new();
    let mut next_at = Instant::now();
    loop {
        if pending.is_empty() || Instant::now() >= next_at {
            let next = waiting.next().map(|address| (address, begin(address, host)));
            match next {
                None if pending.is_empty() => return Err(HostError::Connect { tried: failed }.into()),
                None => {}
                Some((address, Ok(Begun::Connected(socket)))) => return Ok((socket, address)),
                Some((address, Ok(Begun::Pending(socket)))) => {
                    pending.push(Attempt { address, socket });
                    next_at = Instant::now() + NEXT_ADDRESS_AFTER;
                }
                Some((_, Err(error))) if is_local(error) => return Err(local(error)),
                Some((address, Err(error))) => {
                    let own = host.bind.filter(|_| is_of_own_address(error));
                    let from = own.map(|own| format!("{FROM_ADDRESS}{}: ", own.ip())).unwrap_or_default();
                    failed.push((address, from + &reason(&error.into())));
                    continue;
                }
            }
        }
        let fds: Vec<_> = pending.iter().map(|attempt| (attempt.socket.as_fd(), PollFlags::OUT)).collect();
        let until = (waiting.len() > 0).then_some(next_at);
        let ready = watch.wait(&fds, until)?;
        for place in (0..pending.len()).rev().filter(|place| ready.has(*place)) {
            let attempt = pending.swap_remove(place);
            match sockopt::socket_error(&attempt.socket).and_then(|result| result) {
                Ok(()) => return Ok((attempt.socket, attempt.address)),
                Err(error) => failed.push((attempt.address, reason(&error.into()))),
            }
        }
    }
}

enum Begun {
    Connected(OwnedFd),
    Pending(OwnedFd),
}

fn begin(address: SocketAddr, host: &Destination) -> Result<Begun, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // Without it each small packet of the login waits for the acknowledgement of the one before: 180 ms over a 100 ms
    // path.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, host.keepalive.tcp)?;
    if host.keepalive.tcp {
        // The system's defaults are hours. Where it refuses these, its defaults stay.
        let _ = sockopt::set_tcp_keepidle(&socket, TCP.idle);
        let _ = sockopt::set_tcp_keepintvl(&socket, TCP.interval);
        let _ = sockopt::set_tcp_keepcnt(&socket, TCP.count);
    }
    if let Some(own) = host.bind {
        bind(&socket, &own)?;
    }
    match connect(&socket, &address) {
        Ok(()) => Ok(Begun::Connected(socket)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Begun::Pending(socket)),
        Err(error) => Err(error),
    }
}

/// Whether the local address, set by BindAddress, may be the reason: of another family, or of a network without a route
/// to the host.
fn is_of_own_address(error: Errno) -> bool {
    [Errno::INVAL, Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NODEV, Errno::NETUNREACH].contains(&error)
}

/// Whether a local limit is the reason, rather than an unreachable host.
fn is_local(error: Errno) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&error)
}

fn local(error: Errno) -> Outcome {
    let hint = matches!(error, Errno::MFILE | Errno::NFILE).then_some(Remedy::MoreOpenFiles);
    HostError::Local { doing: "creating a socket", detail: reason(&error.into()), hint }.into()
}
