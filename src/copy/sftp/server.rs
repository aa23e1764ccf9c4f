//! How the server program ended, and what that means for a copy.

use super::client::ProtocolError;
use crate::events::event::Outcome;
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::system::quotation::said;

/// The end of the server program's standard error.
#[derive(Debug)]
pub struct Complaint {
    most: usize,
    end: Vec<u8>,
}

impl Complaint {
    /// Creates one that keeps at most this many bytes.
    pub fn new(most: usize) -> Complaint {
        Complaint { most, end: Vec::new() }
    }

    /// Appends output.
    pub fn overhear(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(&bytes[bytes.len().saturating_sub(self.most)..]);
        let surplus = self.end.len().saturating_sub(self.most);
        self.end.drain(..surplus);
    }

    /// Describes how the program ended, with its last line.
    pub fn beside(&self, how: &str) -> String {
        let text = String::from_utf8_lossy(&self.end);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map_or_else(|| how.to_owned(), |line| format!("{how}: {}", said(line)))
    }
}

/// How an unfinished dialogue with a server ended.
pub enum Broken {
    /// The server program ended too early, in this way.
    Early(String),
    /// The connection was lost, with this detail.
    Lost(String),
    /// Another way, which does not concern the copy.
    Otherwise(Outcome),
}

impl Broken {
    /// Decides it from the outcome of the `channel` and a protocol violation of the server.
    pub fn of(error: Option<ProtocolError>, channel: Outcome) -> Broken {
        match (error, channel) {
            (Some(error), Outcome::Exited(_) | Outcome::Signaled { .. }) => Broken::error(error),
            (None, Outcome::Exited(status)) => Broken::Early(format!("exit status {status}")),
            (None, Outcome::Signaled { name }) => Broken::Early(format!("signal {name}")),
            (error, Outcome::Failed(failure)) => match (error, *failure) {
                (Some(error), HostError::Lost { .. }) => Broken::error(error),
                (None, HostError::Lost { detail, .. }) => Broken::Lost(detail),
                (_, other) => Broken::Otherwise(other.into()),
            },
            (_, other) => Broken::Otherwise(other),
        }
    }

    fn error(error: ProtocolError) -> Broken {
        Broken::Otherwise(HostError::from(error).into())
    }
}

/// Returns the error for a server program that ended before it sent its version.
pub fn never_began(how: &str) -> HostError {
    let reason = format!("the server ended before it answered ({how})");
    HostError::Copy { path: "SFTP".to_owned(), reason, others: 0, hint: Some(Remedy::IsSftpThere) }
}
