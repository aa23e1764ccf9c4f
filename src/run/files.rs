//! How many descriptors the hosts of a run need.

use std::collections::HashSet;

use crate::hosts::proxy::{Hop, Proxy};
use crate::system::open_files::Need;

/// Descriptors of one running host: its connection, and one to the agent while it signs.
const FILES_DIRECT: u64 = 2;

/// The same behind a jump host, where the connection is a pair of sockets.
const FILES_JUMP: u64 = 3;

/// The same where a command makes the connection: besides its end of the connection, while it starts, its standard error.
const FILES_COMMAND: u64 = 4;

/// Descriptors of one connection to a jump host: a pair of sockets, and a pair to wake the thread that serves it.
const FILES_PER_CONNECTION: u64 = 4;

/// What hosts with these proxies need, with up to `connections` connections to each jump host.
pub(super) fn need<'a>(proxies: impl Iterator<Item = Option<&'a Proxy>>, connections: usize) -> Need {
    let mut per_host = FILES_DIRECT;
    let mut chains: HashSet<&[Hop]> = HashSet::new();
    for proxy in proxies {
        match proxy {
            None => {}
            Some(Proxy::Command(_)) => per_host = per_host.max(FILES_COMMAND),
            Some(Proxy::Jump(hops)) => {
                per_host = per_host.max(FILES_JUMP);
                // Chains that begin alike share connections.
                chains.extend((1..=hops.len()).map(|length| &hops[..length]));
            }
        }
    }
    let connections = chains.len().saturating_mul(connections) as u64;
    Need::new(per_host, connections.saturating_mul(FILES_PER_CONNECTION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::open_files::{Room, room_within};

    #[test]
    fn hosts_behind_a_proxy_need_more() {
        let jump = Proxy::jump("a,b").expect("hops");
        let jumps = need([jump.as_ref(), None, jump.as_ref()].into_iter(), 8);
        assert_eq!(room_within(1000, 1024, jumps), Room { hosts: 298, too_low: Some(1024) });
        let command = Proxy::command("x").expect("a command");
        assert_eq!(
            room_within(1000, 1024, need([command.as_ref()].into_iter(), 8)),
            Room { hosts: 240, too_low: Some(1024) }
        );
    }
}
