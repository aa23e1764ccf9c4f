//! What clients did, for assertions.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// One event of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Counted from 0 in the order of acceptance.
    pub(crate) connection: usize,
    pub(crate) at: Instant,
    pub(crate) event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connected {
        peer: SocketAddr,
    },
    /// A key offer is logged only if it is refused: an accepted one is no attempt yet.
    Auth {
        user: String,
        method: &'static str,
        accepted: bool,
    },
    LoggedIn {
        user: String,
    },
    ChannelOpen,
    DirectTcpip {
        host: String,
        port: u32,
    },
    Env {
        name: String,
        value: String,
    },
    Pty {
        term: String,
        columns: u32,
        rows: u32,
    },
    WindowChange {
        columns: u32,
        rows: u32,
    },
    AgentForwarding,
    Shell,
    Subsystem {
        name: String,
    },
    Exec {
        command: String,
    },
    /// A signal request, with the name as sent: `TERM`, not `SIGTERM`.
    Signal {
        name: String,
    },
    /// The end of the client's standard input, and how much came before it.
    StdinEof {
        bytes: u64,
    },
    /// The client closed a channel before the server did.
    ChannelClose,
    /// The client, or a step of a script, said SSH_MSG_DISCONNECT.
    Disconnect,
    /// The connection ended without SSH_MSG_DISCONNECT.
    Lost,
}

#[derive(Default)]
pub(super) struct Log(Mutex<Vec<Record>>);

impl Log {
    pub(super) fn add(&self, connection: usize, event: Event) {
        let record = Record { connection, at: Instant::now(), event };
        lock(&self.0).push(record);
    }

    pub(super) fn records(&self) -> Vec<Record> {
        lock(&self.0).clone()
    }
}
