//! Which host has which fault in which run, and what has to become of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The most hosts that have an address of their own.
const MOST_HOSTS: usize = 10_000;
/// Seconds after which a host that stalls is given up.
const STALL_LIMIT: u64 = 1;

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Hosts in every run.
    pub(crate) hosts: usize,
    /// For how long there are runs, half of the time of the binary and half of the library.
    pub(crate) seconds: u64,
    /// Which part of the hosts has a fault, in percent.
    pub(crate) percent: f64,
    /// What the faults depend on.
    pub(crate) seed: u64,
    /// How many hosts run at once.
    pub(crate) pool: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { hosts: 3000, seconds: 240, percent: 5.0, seed: 1, pool: 500 }
    }
}

impl Options {
    /// Reads `key=value` words, separated by blanks.
    ///
    /// # Errors
    /// A word is none of them, or there are too many hosts.
    pub(crate) fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').with_context(|| format!("{word:?}: expected KEY=VALUE"))?;
            let wrong = || format!("{word:?}: no number that fits");
            match key {
                "hosts" => options.hosts = value.parse().with_context(wrong)?,
                "seconds" => options.seconds = value.parse().with_context(wrong)?,
                "percent" => options.percent = value.parse().with_context(wrong)?,
                "seed" => options.seed = value.parse().with_context(wrong)?,
                "pool" => options.pool = value.parse().with_context(wrong)?,
                _ => anyhow::bail!("{key:?}: expected hosts, seconds, percent, seed or pool"),
            }
        }
        ensure!((1..=MOST_HOSTS).contains(&options.hosts), "there are addresses for 1 to {MOST_HOSTS} hosts");
        ensure!((0.0..=100.0).contains(&options.percent), "{} is no percentage", options.percent);
        ensure!(options.pool > 0, "nobody would run");
        Ok(options)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { hosts, seconds, percent, seed, pool } = self;
        write!(f, "hosts={hosts} seconds={seconds} percent={percent} seed={seed} pool={pool}")
    }
}

/// The address of a healthy host.
pub(super) fn address(host: usize) -> Ipv4Addr {
    let place = |number: usize| u8::try_from(100 + number % 100).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 3, place(host / 100), place(host))
}

/// What can be wrong with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Nobody listens.
    Refuse,
    /// The connection is reset when the key exchange begins.
    Reset,
    /// Nothing comes after the identification string.
    Stall,
    /// The connection is closed in the middle of a line of the output.
    Cut,
    /// It has another key than the known one.
    OtherKey,
    /// It does not let the user in.
    NoLogin,
    /// It closes the channel without an exit status.
    NoStatus,
}

impl Fault {
    pub(super) const ALL: [Fault; 7] =
        [Fault::Refuse, Fault::Reset, Fault::Stall, Fault::Cut, Fault::OtherKey, Fault::NoLogin, Fault::NoStatus];

    /// The address of the hosts with this fault.
    pub(super) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 4, 0, 1 + self as u8)
    }

    /// The word of the outcome, and what comes on standard output.
    fn end(self) -> (&'static str, &'static str) {
        match self {
            Fault::Refuse => ("connect", ""),
            Fault::Reset => ("ssh", ""),
            Fault::Stall => ("timeout", ""),
            Fault::Cut => ("lost", PRINTED),
            Fault::OtherKey => ("hostkey", ""),
            Fault::NoLogin => ("auth", ""),
            Fault::NoStatus => ("lost", PRINTED),
        }
    }
}

/// What faulty hosts print that print something. Without a newline.
pub(super) const PRINTED: &str = "half of a li";

/// Where the servers listen: the healthy ones, and those of each fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) well: u16,
    pub(super) faulty: [u16; Fault::ALL.len()],
}

impl Ports {
    pub(super) fn of(told: &Value) -> Option<Ports> {
        let ports: Vec<u16> = serde_json::from_value(told["ports"].clone()).ok()?;
        let (well, faulty) = ports.split_first()?;
        Some(Ports { well: *well, faulty: faulty.try_into().ok()? })
    }

    pub(super) fn list(&self) -> Vec<u16> {
        [&[self.well][..], &self.faulty].concat()
    }
}

/// One run: the fault of each host.
pub(super) struct Plan {
    faults: Vec<Option<Fault>>,
}

impl Plan {
    /// The plan of run number `run`, always the same one.
    pub(super) fn new(options: &Options, run: usize) -> Plan {
        let mut state = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ run as u64;
        let mut random = || {
            // splitmix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut number = state;
            number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            number ^ (number >> 31)
        };
        let mut fault = || {
            let is_faulty = (random() % 100_000) as f64 <= options.percent * 1000.0;
            is_faulty.then(|| Fault::ALL[(random() % Fault::ALL.len() as u64) as usize])
        };
        Plan { faults: (0..options.hosts).map(|_| fault()).collect() }
    }

    pub(super) fn hosts(&self) -> usize {
        self.faults.len()
    }

    /// The hosts file.
    pub(super) fn list(&self, ports: Ports) -> String {
        let line = |(number, fault): (usize, &Option<Fault>)| match fault {
            None => format!("{}:{} alias=h{number}\n", address(number), ports.well),
            Some(fault) => {
                let limits = match fault {
                    Fault::Stall => format!(" connect-timeout={STALL_LIMIT} num-retries=1"),
                    _ => String::new(),
                };
                format!("{}:{} alias=h{number}{limits}\n", fault.address(), ports.faulty[*fault as usize])
            }
        };
        self.faults.iter().enumerate().map(line).collect()
    }

    /// What the exit status of the whole run has to be.
    pub(super) fn status(&self) -> i32 {
        match self.faults.iter().flatten().map(|fault| fault.end().0).max_by_key(|word| *word == "timeout") {
            None => 0,
            Some("timeout") => 3,
            Some(_) => 4,
        }
    }

    /// Fails if this is not how host `number` has to end.
    pub(super) fn check(&self, number: usize, outcome: &str, stdout: &str) -> Result<()> {
        let fault = self.faults[number];
        let well = format!("{} up 12 days, load average: 0.08, 0.03, 0.01\n", address(number));
        let (expected, printed) = match fault {
            None => ("ok", well.as_str()),
            Some(fault) => fault.end(),
        };
        // Lines that the library gives have no newline.
        let fits = outcome == expected && stdout.trim_end_matches('\n') == printed.trim_end_matches('\n');
        ensure!(fits, "host {number} with {fault:?} ended in {outcome} instead of {expected}, and printed {stdout:?}");
        Ok(())
    }

    /// `3000 hosts in 7.1 s, all as they should: 2850 ok, 22 Refuse, ...`
    pub(super) fn summary(&self, seconds: f64) -> String {
        let mut counts: BTreeMap<Option<Fault>, usize> = BTreeMap::new();
        self.faults.iter().for_each(|fault| *counts.entry(*fault).or_default() += 1);
        let counts = counts.iter().map(|(fault, count)| match fault {
            None => format!("{count} well"),
            Some(fault) => format!("{count} {fault:?}"),
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        format!("{} hosts in {seconds:.1} s, all as they should: {counts}", self.hosts())
    }
}
