//! The user's agent for commands on a host: each channel that the server opens to it is connected to the agent's socket
//! by a connection of its own, which is bound to the session first. Nothing here blocks: an agent that is slow, or
//! waits for its owner's consent, delays only the program that asked it.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::PollFlags;

use super::relay::{self, Dead, Line, READ_SIZE, UNSENT};
use crate::ssh::ffi::{Channel, Link};
use crate::ssh::keys::agent::{self, BUSY_PAUSE, SUCCESS};
use crate::ssh::keys::session_binding::{Binding, Purpose};
use crate::ssh::wire::put_string;

/// Most channels to the agent at once; further ones are refused. A command that logs in to many hosts in parallel needs
/// one per login under way. One poll can wait for at most 63 descriptors.
const CHANNELS: usize = 32;

/// The forwarded agent of one session.
pub struct ForwardedAgent {
    socket: PathBuf,
    /// The first message to the agent on each connection.
    introduction: Introduction,
    lines: Vec<Line>,
    /// Channels that wait because the agent was too busy to accept a connection, and the time of the next attempt.
    knocking: Vec<Channel>,
    knock_at: Instant,
    buffer: Vec<u8>,
    refusal: Refusal,
}

/// Whether the agent refused to bind a connection to the session.
#[derive(PartialEq, Eq)]
enum Refusal {
    None,
    New,
    Told,
}

/// The messages that bind a connection, each with its length.
///
/// An agent answers a refused binding like an unknown request. Older versions of OpenSSH's agent forget that they
/// refused one, and take the connection for that of a local user, who may use constrained keys. So a substitute follows
/// a refused binding, for which the agent gives all keys except those. The substitute also serves if the server has
/// hidden its signature.
struct Introduction {
    binding: Vec<u8>,
    otherwise: Option<Vec<u8>>,
}

impl Introduction {
    /// Returns `None` if keys cannot be limited to their hosts.
    fn of(binding: Option<&Binding>) -> Option<Introduction> {
        let message = |binding: &Binding| {
            let mut framed = Vec::new();
            put_string(&mut framed, &binding.message(Purpose::Forwarding));
            framed
        };
        let stand_in = message(Binding::stand_in()?);
        Some(match binding {
            Some(binding) => Introduction { binding: message(binding), otherwise: Some(stand_in) },
            None => Introduction { binding: stand_in, otherwise: None },
        })
    }
}

impl ForwardedAgent {
    /// Allows the server to open channels to the agent at `socket` from now on, for the session of `binding`. `None` if
    /// the agent could give away more than its owner allows.
    pub fn admit(socket: PathBuf, binding: Option<&Binding>, link: &Link) -> Option<ForwardedAgent> {
        let introduction = Introduction::of(binding)?;
        link.set_agent_room(CHANNELS);
        let (lines, knocking, buffer) = (Vec::new(), Vec::new(), Vec::new());
        let (knock_at, refusal) = (Instant::now(), Refusal::None);
        Some(ForwardedAgent { socket, introduction, lines, knocking, knock_at, buffer, refusal })
    }

    /// Connects channels that the server opened, and moves data both ways; returns whether more may be ready.
    pub fn relay(&mut self, link: &Link) -> bool {
        while let Some(channel) = link.take_agent_channel() {
            self.knocking.push(channel);
        }
        if self.knocking.is_empty() && self.lines.is_empty() {
            return false;
        }
        self.knock();
        self.buffer.resize(READ_SIZE, 0);
        let more = relay::relay(&mut self.lines, link, &mut self.buffer).unwrap_or_else(|Dead| {
            // The command's own channel reports how the connection ended.
            self.lines.clear();
            false
        });
        link.set_agent_room(CHANNELS.saturating_sub(self.lines.len() + self.knocking.len()));
        if self.refusal == Refusal::None && self.lines.iter().any(Line::disagrees) {
            self.refusal = Refusal::New;
        }
        more
    }

    /// Returns once, in words, that the agent refused to bind a connection to the session.
    pub fn take_refusal(&mut self) -> Option<String> {
        if self.refusal != Refusal::New {
            return None;
        }
        self.refusal = Refusal::Told;
        Some(format!("the agent {} does not bind its connections to the session", self.socket.display()))
    }

    fn knock(&mut self) {
        let now = Instant::now();
        while self.knock_at <= now
            && let Some(channel) = self.knocking.pop()
        {
            match agent::knock(&self.socket) {
                Ok(Some(connection)) => {
                    let Introduction { binding, otherwise } = &self.introduction;
                    let line = Line::new(channel, Some(connection));
                    self.lines.push(line.introduced(binding.clone(), SUCCESS, otherwise.clone()));
                }
                Ok(None) => {
                    self.knocking.push(channel);
                    self.knock_at = now + BUSY_PAUSE;
                }
                // The agent has ended: close the channel.
                Err(_) => self.lines.push(Line::new(channel, None)),
            }
        }
    }

    /// Adds what to wait for, and the places of the relay lines. `unsent` bytes wait for the session's socket.
    pub fn awaits(&self, unsent: usize) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        let interest = move |line: &Line| line.interest(unsent <= UNSENT);
        // A descriptor that we do not wait for cannot wake us when it closes.
        self.lines.iter().enumerate().filter_map(move |(place, line)| {
            let flags = interest(line);
            line.socket().filter(|_| !flags.is_empty()).map(|socket| (place, socket, flags))
        })
    }

    /// Marks the descriptor of the line at `place` as ready.
    pub fn wake(&mut self, place: usize) {
        self.lines[place].wake(PollFlags::IN, true);
    }

    /// Returns when there is work even if nothing arrives.
    pub fn next_due(&self) -> Option<Instant> {
        (!self.knocking.is_empty()).then_some(self.knock_at)
    }
}
