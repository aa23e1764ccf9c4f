//! How many hosts the process can hold at once: the limit on open files, raised as far as allowed.

use std::collections::HashSet;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proxy::{Hop, Proxy};

/// Descriptors of one running host: its connection, and one to the agent while it signs.
const FILES_DIRECT: u64 = 2;
/// The same behind a jump host, where the connection is a pair of sockets.
const FILES_JUMP: u64 = 3;
/// The same where a command makes the connection: besides its end of the connection, while it starts, its standard error.
const FILES_COMMAND: u64 = 4;
/// Descriptors of everything else: standard streams, the cancel, signals, lookups, known_hosts.
const FILES_BESIDES: u64 = 64;
/// Descriptors that a host may take for a while beyond those: connections to a forwarded agent. They cost a host its agent where
/// there are none left, so that they do not make pools smaller.
const FILES_SPARE: u64 = 32;
/// Descriptors of one connection to a jump host: a pair of sockets, and a pair to wake the thread that serves it.
const FILES_PER_CONNECTION: u64 = 4;

/// How many descriptors a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    per_host: u64,
    besides: u64,
}

impl Need {
    /// What hosts with these proxies need, with up to `connections` connections to each jump host.
    pub fn of<'a>(proxies: impl Iterator<Item = Option<&'a Proxy>>, connections: usize) -> Need {
        let mut need = Need { per_host: FILES_DIRECT, besides: FILES_BESIDES };
        let mut chains: HashSet<&[Hop]> = HashSet::new();
        for proxy in proxies {
            match proxy {
                None => {}
                Some(Proxy::Command(_)) => need.per_host = need.per_host.max(FILES_COMMAND),
                Some(Proxy::Jump(hops)) => {
                    need.per_host = need.per_host.max(FILES_JUMP);
                    // Chains that begin alike share connections.
                    chains.extend((1..=hops.len()).map(|length| &hops[..length]));
                }
            }
        }
        let connections = chains.len().saturating_mul(connections) as u64;
        need.besides = need.besides.saturating_add(connections.saturating_mul(FILES_PER_CONNECTION));
        need
    }

    /// How many descriptors so many hosts need at once, with everything else.
    pub fn files(self, hosts: usize) -> u64 {
        (hosts as u64).saturating_mul(self.per_host).saturating_add(self.besides)
    }

    /// The same, and what the output holds.
    pub fn and(self, held: Held) -> Need {
        Need { per_host: self.per_host + held.per_host, besides: self.besides.saturating_add(held.besides) }
    }
}

/// Descriptors that what is done with the output holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// For each host that runs.
    pub per_host: u64,
    /// For all together.
    pub besides: u64,
}

impl Held {
    /// Both together.
    pub fn and(self, other: Held) -> Held {
        Held { per_host: self.per_host + other.per_host, besides: self.besides + other.besides }
    }
}

/// What the limit on open files means for a pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    /// How many hosts can run at once, at most as many as were asked for.
    pub hosts: usize,
    /// The hard limit on open files, where it is too low for the pool that was asked for.
    pub too_low: Option<u64>,
}

/// Raises the soft limit on open files (RLIMIT_NOFILE) to what `hosts` hosts need, as far as the hard limit allows.
pub fn make_room(hosts: usize, need: Need) -> Room {
    let needed = need.files(hosts);
    let limit = getrlimit(Resource::Nofile);
    // None stands for no limit.
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let wanted = needed.saturating_add((hosts as u64).saturating_mul(FILES_SPARE));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted.min(hard)), maximum: limit.maximum };
        // Raising within the hard limit is always allowed; if not, what is left decides.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    room_within(hosts, current, need)
}

fn room_within(hosts: usize, files: u64, need: Need) -> Room {
    let held = usize::try_from(files.saturating_sub(need.besides) / need.per_host).unwrap_or(usize::MAX);
    if held >= hosts {
        return Room { hosts, too_low: None };
    }
    Room { hosts: held, too_low: Some(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_holds_fewer_hosts_and_never_a_negative_number() {
        let need = Need::of([None].into_iter(), 8);
        assert_eq!(room_within(10, 1024, need), Room { hosts: 10, too_low: None });
        assert_eq!(room_within(1000, 1024, need), Room { hosts: 480, too_low: Some(1024) });
        let files = need.and(Held { per_host: 1, besides: 60 }.and(Held { per_host: 1, besides: 0 }));
        assert_eq!(room_within(1000, 1024, files), Room { hosts: 225, too_low: Some(1024) });
        assert_eq!(room_within(10, 20, need), Room { hosts: 0, too_low: Some(20) });
        assert_eq!(room_within(10, u64::MAX, need), Room { hosts: 10, too_low: None });
    }

    #[test]
    fn hosts_behind_a_proxy_need_more() {
        let jump = Proxy::jump("a,b").expect("hops");
        let need = Need::of([jump.as_ref(), None, jump.as_ref()].into_iter(), 8);
        assert_eq!(room_within(1000, 1024, need), Room { hosts: 298, too_low: Some(1024) });
        let command = Proxy::command("x").expect("a command");
        assert_eq!(
            room_within(1000, 1024, Need::of([command.as_ref()].into_iter(), 8)),
            Room { hosts: 240, too_low: Some(1024) }
        );
    }
}
