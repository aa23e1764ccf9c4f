//! Our agent, as the commands on a host may ask it: each channel that the server opens to it is joined to a connection of its
//! own to the agent's socket, which is bound to the session first. Nothing of this waits: an agent that is slow, or waits for its
//! owner's consent, holds up nobody but who asked it.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::PollFlags;

use super::relay::{self, Dead, Line, READ_SIZE, UNSENT};
use crate::ssh::ffi::{Channel, Link};
use crate::ssh::keys::agent::{self, BUSY_PAUSE, SUCCESS};
use crate::ssh::keys::session_binding::{Binding, Purpose};
use crate::ssh::wire::put_string;

/// Channels to the agent at once; the server is refused more. A command that logs in to many hosts in parallel needs one for
/// each login under way. One wait can hold no more than 63 descriptors.
const CHANNELS: usize = 32;

/// The agent of one session's host.
pub struct ForwardedAgent {
    socket: PathBuf,
    /// What the agent is told first on each connection.
    introduction: Introduction,
    lines: Vec<Line>,
    /// Channels for which the agent was too busy to take a connection, and when it is asked again.
    knocking: Vec<Channel>,
    knock_at: Instant,
    buffer: Vec<u8>,
    refusal: Refusal,
}

/// Whether the agent has refused to bind a connection to the session.
#[derive(PartialEq, Eq)]
enum Refusal {
    None,
    New,
    Told,
}

/// The messages that bind a connection, each with its length.
///
/// An agent answers a binding that it refuses like a request that it does not know. Older versions of OpenSSH's agent forget that they have
/// refused one, and take the connection for that of a local user, who may use constrained keys. So a refused binding is followed by the
/// stand-in, to which the agent gives all keys but those. The stand-in also serves where the server has hidden its signature.
struct Introduction {
    binding: Vec<u8>,
    otherwise: Option<Vec<u8>>,
}

impl Introduction {
    /// Nothing where there is no way to keep keys to their hosts.
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
    /// Lets the server open channels to the agent at `socket` from now on, for the session of `binding`. Nothing where the agent could
    /// not be kept from giving away more than its owner wants.
    pub fn admit(socket: PathBuf, binding: Option<&Binding>, link: &Link) -> Option<ForwardedAgent> {
        let introduction = Introduction::of(binding)?;
        link.set_agent_room(CHANNELS);
        let (lines, knocking, buffer) = (Vec::new(), Vec::new(), Vec::new());
        let (knock_at, refusal) = (Instant::now(), Refusal::None);
        Some(ForwardedAgent { socket, introduction, lines, knocking, knock_at, buffer, refusal })
    }

    /// Connects channels that the server has opened, and moves data both ways; says whether there may be more to move.
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
            // The command's own channel tells how the connection ended.
            self.lines.clear();
            false
        });
        link.set_agent_room(CHANNELS.saturating_sub(self.lines.len() + self.knocking.len()));
        if self.refusal == Refusal::None && self.lines.iter().any(Line::disagrees) {
            self.refusal = Refusal::New;
        }
        more
    }

    /// Says in words, once, that the agent has refused to bind a connection to the session.
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
                // The agent has ended: whoever asks for it finds the channel closed.
                Err(_) => self.lines.push(Line::new(channel, None)),
            }
        }
    }

    /// What to wait for, with the places of the lines. `unsent` bytes wait for the session's socket.
    pub fn awaits(&self, unsent: usize) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        let interest = move |line: &Line| line.interest(unsent <= UNSENT);
        // Whose descriptor is not waited for cannot wake us by having been closed.
        self.lines.iter().enumerate().filter_map(move |(place, line)| {
            let flags = interest(line);
            line.socket().filter(|_| !flags.is_empty()).map(|socket| (place, socket, flags))
        })
    }

    /// Notes that the descriptor of the line at `place` is ready.
    pub fn wake(&mut self, place: usize) {
        self.lines[place].wake(PollFlags::IN, true);
    }

    /// When there is something to do even if nothing comes.
    pub fn next_due(&self) -> Option<Instant> {
        (!self.knocking.is_empty()).then_some(self.knock_at)
    }
}
