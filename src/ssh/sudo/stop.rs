//! Stopping a command that sudo runs. It belongs to another user, mostly root. A signal that the server sends for the login user
//! reaches sudo alone (its real user is still that one); sudo passes a TERM on to one process, and a KILL to none. So a second command
//! on the same connection sends them to all, by sudo again.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::command::sudo::{Sudo, Target};
use crate::system::password_source::Secret;

/// A way to signal a command that runs under sudo.
pub struct SudoStop {
    sudo: Sudo,
    target: Target,
    /// The password, if sudo needed it.
    password: Option<Arc<Secret>>,
    /// Whether sudo gets a terminal, since it may require one (`requiretty`).
    pub has_terminal: bool,
}

impl SudoStop {
    /// Creates one for the command at `target`, which `sudo` started with `password`.
    pub fn new(sudo: Sudo, target: Target, password: Option<Arc<Secret>>) -> SudoStop {
        SudoStop { sudo, target, password, has_terminal: false }
    }

    /// The same for a command that may have a terminal.
    pub fn with_terminal(self, has_terminal: bool) -> SudoStop {
        SudoStop { has_terminal, ..self }
    }

    /// Returns the command that sends the other one `signal`.
    pub fn signal_line(&self, signal: &str) -> Vec<u8> {
        self.sudo.signal_line(self.target, signal)
    }

    /// Returns sudo's input, if it needed the password before; it is sent without a prompt, and a sudo that does not
    /// ask leaves it unread.
    pub fn answer(&self) -> Option<Zeroizing<Vec<u8>>> {
        let password = self.password.as_ref()?.expose();
        let mut line = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        line.extend_from_slice(password);
        line.push(b'\n');
        Some(line)
    }
}
