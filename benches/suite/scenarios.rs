//! What is measured: all scenarios in one table.

use crate::tools::{Show, Tool};

/// What the hosts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A line that names the host.
    Name,
    /// The same after so many seconds.
    Hold { seconds: u64 },
    /// So many bytes of lines of 80.
    Lines { bytes: u64 },
    /// Nothing: the tool says its version, and connects to nobody.
    Version,
}

impl Work {
    /// For the command line of the server.
    pub(crate) fn to_numbers(self) -> (u64, u64) {
        match self {
            Work::Name => (0, 0),
            Work::Hold { seconds } => (1, seconds),
            Work::Lines { bytes } => (2, bytes),
            Work::Version => (3, 0),
        }
    }

    pub(crate) fn from_numbers(kind: u64, number: u64) -> Option<Work> {
        match kind {
            0 => Some(Work::Name),
            1 => Some(Work::Hold { seconds: number }),
            2 => Some(Work::Lines { bytes: number }),
            3 => Some(Work::Version),
            _ => None,
        }
    }
}

/// How the hosts are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Over loopback.
    Near,
    /// Over a link with a round trip of [`ROUND_TRIP`].
    Far,
    /// Through a jump host on loopback.
    Bastion,
    /// Through a jump host at the other end of the link; the hosts are beside it.
    FarBastion,
}

impl Route {
    /// Whether it leads over the link.
    pub(crate) fn is_far(self) -> bool {
        matches!(self, Route::Far | Route::FarBastion)
    }
}

/// The round trip of the link, in milliseconds.
pub(crate) const ROUND_TRIP: u64 = 40;

/// What is unlike the other scenarios when a host is logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// A key in a file, hosts that are known, curve25519.
    Usual,
    /// The key is with an agent, and nowhere else.
    Agent,
    /// No host is known, and all are accepted.
    FirstContact,
    /// The hosts offer mlkem768x25519-sha256 before curve25519, as OpenSSH 10 does.
    PostQuantum,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The letter of the scenario, and what tells it from others of that letter.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    /// Hosts in all, and at once at most.
    pub(crate) hosts: usize,
    pub(crate) parallel: usize,
    pub(crate) work: Work,
    pub(crate) route: Route,
    pub(crate) login: Login,
    /// How often each tool runs.
    pub(crate) rounds: usize,
    /// Who runs, and how it shows the output. Ratios are to the first.
    pub(crate) contest: &'static [(Tool, Show)],
}

impl Case {
    /// A small version, which shows whether everything works, and nothing else.
    pub(crate) fn quick(self) -> Case {
        let hosts = if self.hosts > 10 { (self.hosts / 50).clamp(10, 50) } else { self.hosts };
        let work = match self.work {
            Work::Hold { .. } => Work::Hold { seconds: 1 },
            Work::Lines { .. } => Work::Lines { bytes: 800_000 },
            work => work,
        };
        Case { hosts, work, rounds: 1, ..self }
    }
}

/// Everybody, with lines as they come.
const ALL: &[(Tool, Show)] = &[
    (Tool::This, Show::Lines),
    (Tool::Pssh, Show::Inline),
    (Tool::Pdsh, Show::Lines),
    (Tool::Clush, Show::Lines),
    (Tool::ParallelSsh, Show::Lines),
    (Tool::Bssh, Show::Inline),
    (Tool::Xargs, Show::Lines),
];

/// Everybody in every format that they have.
const FORMATS: &[(Tool, Show)] = &[
    (Tool::This, Show::Lines),
    (Tool::This, Show::Inline),
    (Tool::This, Show::Gather),
    (Tool::This, Show::Json),
    (Tool::This, Show::Files),
    (Tool::Pssh, Show::Lines),
    (Tool::Pssh, Show::Inline),
    (Tool::Pssh, Show::Files),
    (Tool::Pdsh, Show::Lines),
    (Tool::Pdsh, Show::Gather),
    (Tool::Clush, Show::Lines),
    (Tool::Clush, Show::Gather),
    (Tool::ParallelSsh, Show::Lines),
    (Tool::Bssh, Show::Inline),
    (Tool::Xargs, Show::Lines),
];

/// Without a journal, and with one.
const JOURNAL: &[(Tool, Show)] =
    &[(Tool::This, Show::Lines), (Tool::This, Show::Journal), (Tool::This, Show::SlowJournal)];

/// Everybody, and ssh itself: there is one host only.
const SINGLE: &[(Tool, Show)] = &[
    (Tool::This, Show::Lines),
    (Tool::Ssh, Show::Lines),
    (Tool::Pssh, Show::Inline),
    (Tool::Pdsh, Show::Lines),
    (Tool::Clush, Show::Lines),
    (Tool::ParallelSsh, Show::Lines),
    (Tool::Bssh, Show::Inline),
];

/// Who can write a file for each host.
const TO_FILES: &[(Tool, Show)] = &[(Tool::This, Show::Files), (Tool::Pssh, Show::Files), (Tool::Clush, Show::Files)];

/// Everybody who looks host keys up in known_hosts, and adds them. The Python library cannot.
const TRUSTING: &[(Tool, Show)] = &[
    (Tool::This, Show::Lines),
    (Tool::Pssh, Show::Inline),
    (Tool::Pdsh, Show::Lines),
    (Tool::Clush, Show::Lines),
    (Tool::Bssh, Show::Inline),
    (Tool::Xargs, Show::Lines),
];

/// Those that do 10,000 hosts in less than a few minutes: not those that start an ssh for each.
const MANY: &[(Tool, Show)] =
    &[(Tool::This, Show::Lines), (Tool::ParallelSsh, Show::Lines), (Tool::Bssh, Show::Inline)];

/// What printing costs: the same bytes are decrypted and thrown away.
const PRINTED: &[(Tool, Show)] = &[(Tool::This, Show::Lines), (Tool::This, Show::Silence)];

/// This pssh alone: what it takes, not how it compares.
const ALONE: &[(Tool, Show)] = &[(Tool::This, Show::Lines)];

const BYTES: u64 = 50_000_000;
const BASE: Case = Case {
    key: "",
    title: "",
    hosts: 1000,
    parallel: 64,
    work: Work::Name,
    route: Route::Near,
    login: Login::Usual,
    rounds: 5,
    contest: ALL,
};

/// The scenario of the library's sessions, which has no tools.
pub(crate) const SESSIONS: Case =
    Case { key: "j", title: "Ten commands on 200 hosts with one library client", hosts: 200, contest: &[], ..BASE };

/// All scenarios of tools.
pub(crate) const CASES: &[Case] = &[
    Case { key: "a", title: "1,000 hosts say one line, 64 at once", ..BASE },
    Case {
        key: "b",
        title: "8 hosts say 50 MB each, in lines of 80 bytes, at once",
        hosts: 8,
        parallel: 8,
        work: Work::Lines { bytes: BYTES },
        rounds: 3,
        contest: FORMATS,
        ..BASE
    },
    Case {
        key: "c",
        title: "500 connections are held for 10 s, all at once",
        hosts: 500,
        parallel: 500,
        work: Work::Hold { seconds: 10 },
        rounds: 3,
        ..BASE
    },
    Case {
        key: "d",
        title: "200 hosts behind a round trip of 40 ms, all at once",
        hosts: 200,
        parallel: 200,
        route: Route::Far,
        ..BASE
    },
    Case { key: "d-near", title: "One host", hosts: 1, parallel: 1, rounds: 9, contest: SINGLE, ..BASE },
    Case {
        key: "d-far",
        title: "One host behind a round trip of 40 ms",
        hosts: 1,
        parallel: 1,
        route: Route::Far,
        rounds: 9,
        contest: SINGLE,
        ..BASE
    },
    Case { key: "e-100", title: "100 hosts, 64 at once", hosts: 100, rounds: 7, ..BASE },
    Case { key: "e-1000", title: "1,000 hosts, 64 at once", rounds: 3, ..BASE },
    Case { key: "e-5000", title: "5,000 hosts, 64 at once", hosts: 5000, rounds: 3, ..BASE },
    Case { key: "i-1000", title: "1,000 hosts, 100 at once", parallel: 100, contest: ALONE, ..BASE },
    Case {
        key: "i-10000",
        title: "10,000 hosts, 100 at once",
        hosts: 10_000,
        parallel: 100,
        rounds: 3,
        contest: ALONE,
        ..BASE
    },
    Case {
        key: "i-100000",
        title: "100,000 hosts, 100 at once",
        hosts: 100_000,
        parallel: 100,
        rounds: 1,
        contest: ALONE,
        ..BASE
    },
    Case { key: "f-direct", title: "50 hosts, directly, all at once", hosts: 50, parallel: 50, ..BASE },
    Case {
        key: "f-bastion",
        title: "50 hosts behind one jump host, all at once",
        hosts: 50,
        parallel: 50,
        route: Route::Bastion,
        ..BASE
    },
    Case {
        key: "f-far-direct",
        title: "50 hosts behind a round trip of 40 ms, directly, all at once",
        hosts: 50,
        parallel: 50,
        route: Route::Far,
        ..BASE
    },
    Case {
        key: "f-far-bastion",
        title: "50 hosts behind one jump host behind a round trip of 40 ms, all at once",
        hosts: 50,
        parallel: 50,
        route: Route::FarBastion,
        ..BASE
    },
    Case {
        key: "g-version",
        title: "Start-up: the tool says its version",
        hosts: 0,
        parallel: 1,
        work: Work::Version,
        rounds: 25,
        contest: SINGLE,
        ..BASE
    },
    Case { key: "g-one", title: "One host says one line", hosts: 1, parallel: 1, rounds: 15, contest: SINGLE, ..BASE },
    Case {
        key: "h",
        title: "1,000 hosts say one line, 64 at once, and are recorded",
        rounds: 7,
        contest: JOURNAL,
        ..BASE
    },
    Case { key: "k-64", title: "1,000 hosts say one line, 64 at once", contest: ALONE, ..BASE },
    Case { key: "k-1000", title: "1,000 hosts say one line, all at once", parallel: 1000, contest: ALONE, ..BASE },
    Case {
        key: "l",
        title: "10,000 hosts say one line, 256 at once",
        hosts: 10_000,
        parallel: 256,
        rounds: 3,
        contest: MANY,
        ..BASE
    },
    Case { key: "m-file", title: "200 hosts, 64 at once, the key in a file", hosts: 200, ..BASE },
    Case {
        key: "m-agent",
        title: "200 hosts, 64 at once, the key with an agent",
        hosts: 200,
        login: Login::Agent,
        ..BASE
    },
    Case { key: "n", title: "1,000 hosts say one line, 64 at once, each into a file", contest: TO_FILES, ..BASE },
    Case {
        key: "o",
        title: "200 hosts, 64 at once, for the first time: known_hosts is empty, and all keys are accepted",
        hosts: 200,
        login: Login::FirstContact,
        contest: TRUSTING,
        ..BASE
    },
    Case {
        key: "p",
        title: "1,000 hosts, 64 at once, with mlkem768x25519 offered before curve25519",
        login: Login::PostQuantum,
        rounds: 3,
        ..BASE
    },
    Case {
        key: "q",
        title: "8 hosts say 50 MB each, in lines of 80 bytes: printed and not printed",
        hosts: 8,
        parallel: 8,
        work: Work::Lines { bytes: BYTES },
        contest: PRINTED,
        ..BASE
    },
];
