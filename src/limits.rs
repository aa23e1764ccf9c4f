//! How many hosts the process can hold at once: the limit on open files, raised as far as allowed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of one running host: its connection, and one to the agent while it signs.
const FILES_PER_HOST: u64 = 2;
/// Descriptors of everything else: standard streams, the cancel, signals, lookups, known_hosts.
const FILES_BESIDES: u64 = 64;

/// What the limit on open files means for a pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Room {
    /// How many hosts can run at once, at most as many as were asked for.
    pub hosts: usize,
    /// The hard limit on open files, where it is too low for the pool that was asked for.
    pub too_low: Option<u64>,
}

/// Raises the soft limit on open files (RLIMIT_NOFILE) to what `hosts` hosts need, as far as the hard limit allows.
pub fn make_room(hosts: usize) -> Room {
    let needed = hosts as u64 * FILES_PER_HOST + FILES_BESIDES;
    let limit = getrlimit(Resource::Nofile);
    // None stands for no limit.
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed.min(hard)), maximum: limit.maximum };
        // Raising within the hard limit is always allowed; if not, what is left decides.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    room_within(hosts, current)
}

fn room_within(hosts: usize, files: u64) -> Room {
    let held = usize::try_from(files.saturating_sub(FILES_BESIDES) / FILES_PER_HOST).unwrap_or(usize::MAX);
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
        assert_eq!(room_within(10, 1024), Room { hosts: 10, too_low: None });
        assert_eq!(room_within(1000, 1024), Room { hosts: 480, too_low: Some(1024) });
        assert_eq!(room_within(10, 20), Room { hosts: 0, too_low: Some(20) });
        assert_eq!(room_within(10, u64::MAX), Room { hosts: 10, too_low: None });
    }
}
