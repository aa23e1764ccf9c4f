//! How many hosts the process can handle at once: the limit on open files, raised as far as allowed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of everything else: standard streams, the cancel, signals, lookups, known_hosts.
const FILES_BESIDES: u64 = 64;
/// Descriptors that a host may use temporarily beyond those: connections to a forwarded agent. Without them a host only
/// loses its agent, so they do not make pools smaller.
const FILES_SPARE: u64 = 32;
/// How many descriptors a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    per_host: u64,
    besides: u64,
}

impl Need {
    /// For each host, and for all together in addition to standard streams, the cancel, signals, lookups and
    /// known_hosts.
    pub fn new(per_host: u64, besides: u64) -> Need {
        Need { per_host, besides: besides.saturating_add(FILES_BESIDES) }
    }

    /// Returns how many descriptors this many hosts need at once, with everything else.
    pub fn files(self, hosts: usize) -> u64 {
        (hosts as u64).saturating_mul(self.per_host).saturating_add(self.besides)
    }

    /// The same, and what the output holds.
    pub fn and(self, held: Held) -> Need {
        Need { per_host: self.per_host + held.per_host, besides: self.besides.saturating_add(held.besides) }
    }
}

/// Descriptors that the output uses.
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

/// The effect of the limit on open files on a pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    /// How many hosts can run at once, at most as many as requested.
    pub hosts: usize,
    /// The hard limit on open files, if it is too low for the requested pool.
    pub too_low: Option<u64>,
}

/// Raises the soft limit on open files (RLIMIT_NOFILE) to what `hosts` hosts need, as far as the hard limit allows.
pub fn make_room(hosts: usize, need: Need) -> Room {
    let needed = need.files(hosts);
    let limit = getrlimit(Resource::Nofile);
    // None means no limit.
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let wanted = needed.saturating_add((hosts as u64).saturating_mul(FILES_SPARE));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted.min(hard)), maximum: limit.maximum };
        // Raising within the hard limit is always allowed; if it fails, the current limit decides.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    room_within(hosts, current, need)
}

/// Raises the soft limit further for `more` connections besides the `hosts` that run; returns how many of them it allows.
pub fn room_besides(hosts: usize, need: Need, more: usize) -> usize {
    let held = Need { per_host: need.per_host, besides: need.files(hosts) };
    make_room(more, held).hosts
}

pub(crate) fn room_within(hosts: usize, files: u64, need: Need) -> Room {
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
        let need = Need::new(2, 0);
        assert_eq!(room_within(10, 1024, need), Room { hosts: 10, too_low: None });
        assert_eq!(room_within(1000, 1024, need), Room { hosts: 480, too_low: Some(1024) });
        let files = need.and(Held { per_host: 1, besides: 60 }.and(Held { per_host: 1, besides: 0 }));
        assert_eq!(room_within(1000, 1024, files), Room { hosts: 225, too_low: Some(1024) });
        assert_eq!(room_within(10, 20, need), Room { hosts: 0, too_low: Some(20) });
        assert_eq!(room_within(10, u64::MAX, need), Room { hosts: 10, too_low: None });
    }
}
