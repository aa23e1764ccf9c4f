//! File descriptors and threads that the hosts of a run need.

use std::collections::HashSet;

use crate::hosts::proxy::{Hop, Proxy};
use crate::system::open_files::Need;

/// Descriptors of one running host: its connection, and one to the agent while it signs.
const FILES_DIRECT: u64 = 2;

/// The same behind a jump host, where the connection is a pair of sockets.
const FILES_JUMP: u64 = 3;

/// The same with a proxy command: also its standard error while it starts.
const FILES_COMMAND: u64 = 4;

/// Descriptors of one connection to a jump host: a pair of sockets, and a pair to wake the thread that serves it.
const FILES_PER_CONNECTION: u64 = 4;

/// Returns the needs of hosts with these proxies, with up to `connections` connections to each jump host.
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

/// Threads of a proxy command, as the system counts them: its process, and the thread that reads from it.
const THREADS_COMMAND: usize = 2;

/// Threads and processes that a run needs: the system counts both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// For each running host: its worker, its local programs and their readers.
    pub per_host: usize,
    /// For all together: the queue, a lookup, and one for each jump host.
    pub besides: usize,
}

impl Threads {
    /// Returns the needs of hosts with these proxies. `programs` counts the local programs of each host, without its proxy command.
    pub fn of<'a>(proxies: impl Iterator<Item = Option<&'a Proxy>>, programs: usize) -> Threads {
        let (mut commands, mut chains) = (0, HashSet::<&[Hop]>::new());
        for proxy in proxies.flatten() {
            match proxy {
                Proxy::Command(_) => commands = THREADS_COMMAND,
                Proxy::Jump(hops) => chains.extend((1..=hops.len()).map(|length| &hops[..length])),
            }
        }
        Threads { per_host: 1 + programs + commands, besides: 2 + chains.len() }
    }

    /// Returns how many hosts can run at once with that many threads: at least one, which fails with a message if these are too
    /// few. Leaves some for short-lived needs, such as more connections to a jump host.
    pub fn hosts(self, threads: usize) -> usize {
        (threads / 2).min(threads.saturating_sub(self.besides) / self.per_host).max(1)
    }
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

    #[test]
    fn threads_are_left_for_what_serves_the_hosts() {
        let direct = Threads::of([None].into_iter(), 0);
        assert_eq!([2, 3, 4, 7, 100].map(|threads| direct.hosts(threads)), [1, 1, 2, 3, 50]);
        let jump = Proxy::jump("a,b").expect("hops");
        let behind = Threads::of([jump.as_ref(), None, jump.as_ref()].into_iter(), 0);
        assert_eq!([1, 4, 5, 7, 100].map(|threads| behind.hosts(threads)), [1, 1, 1, 3, 50]);
        let command = Proxy::command("x").expect("a command");
        let rsync = Threads::of([command.as_ref()].into_iter(), 4);
        assert_eq!([2, 9, 16, 100].map(|threads| rsync.hosts(threads)), [1, 1, 2, 14]);
    }
}
