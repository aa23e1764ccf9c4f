//! Stopping a command that sudo runs. It belongs to another user, mostly root. A signal that the server sends for the login user
//! reaches sudo alone (its real user is still that one); sudo passes a TERM on to one process, and a KILL to none. So a second command
//! on the same connection sends them to all, by sudo again.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::command::sudo::{Sudo, Target};
use crate::ssh::channel::requests::NO_MODES;
use crate::ssh::ffi::{self, Channel};
use crate::ssh::session::Session;
use crate::system::password_source::Secret;

/// The receive window of the second channel, in bytes: next to nothing is printed there.
const WINDOW: u32 = 4096;

/// A way to a command that sudo runs.
pub struct SudoStop {
    sudo: Sudo,
    target: Target,
    /// The password, if sudo wanted it.
    password: Option<Arc<Secret>>,
    /// Whether sudo gets a terminal, since it may want one (`requiretty`).
    with_terminal: bool,
    second: Option<Second>,
}

/// The second channel on its way.
struct Second {
    signal: &'static str,
    channel: Option<Channel>,
    stage: Stage,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Terminal,
    Start,
    /// sudo is told the password, unasked: what would read it otherwise reads nothing.
    Answer,
    End,
    /// Nothing more.
    Settled,
}

impl SudoStop {
    /// The way to the command at `target`, which `sudo` has begun with `password`.
    pub fn new(sudo: Sudo, target: Target, password: Option<Arc<Secret>>) -> SudoStop {
        SudoStop { sudo, target, password, with_terminal: false, second: None }
    }

    /// The same for a command that has a terminal.
    pub fn with_terminal(self) -> SudoStop {
        SudoStop { with_terminal: true, ..self }
    }

    /// Begins to send the command `signal`.
    pub fn send(&mut self, signal: &'static str) {
        match &mut self.second {
            // libssh2 opens one channel at a time: what is being opened serves as well.
            Some(second) if second.stage == Stage::Open => second.signal = signal,
            // The one before is closed first, where a server allows only two.
            second => *second = Some(Second { signal, channel: None, stage: Stage::Open }),
        }
    }

    /// Goes on with it, without waiting. Gives the signal if there is no second channel to be had for it.
    pub fn step(&mut self, session: &Session) -> Option<&'static str> {
        let second = self.second.as_mut()?;
        while second.stage != Stage::Settled {
            let done = match (&second.channel, second.stage) {
                (Some(channel), Stage::Terminal) => {
                    channel.request_pty(b"dumb", NO_MODES, (80, 24)).map(|()| Stage::Start)
                }
                (Some(channel), Stage::Start) => {
                    let line = self.sudo.signal_line(self.target, second.signal);
                    let next = if self.password.is_some() { Stage::Answer } else { Stage::End };
                    channel.exec(&line).map(|()| next)
                }
                (Some(channel), Stage::Answer) => {
                    let password = self.password.as_ref().map(|password| password.expose()).unwrap_or_default();
                    let mut line = Zeroizing::new(Vec::with_capacity(password.len() + 1));
                    line.extend_from_slice(password);
                    line.push(b'\n');
                    // The server opens the window when the command runs.
                    if channel.write_window() < line.len() {
                        return None;
                    }
                    channel.write(&line).map(|_| Stage::End)
                }
                (Some(channel), Stage::End) => channel.send_eof().map(|()| Stage::Settled),
                _ => Channel::open(session.ssh(), WINDOW).map(|channel| {
                    second.channel = Some(channel);
                    if self.with_terminal { Stage::Terminal } else { Stage::Start }
                }),
            };
            match done {
                Ok(stage) => second.stage = stage,
                Err(error) if ffi::would_block(&error) => return None,
                Err(_) => {
                    second.stage = Stage::Settled;
                    return Some(second.signal);
                }
            }
        }
        None
    }

    /// Whether [`SudoStop::step`] is to be called again soon, with nothing to wait for.
    pub fn is_pending(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.stage != Stage::Settled)
    }
}
