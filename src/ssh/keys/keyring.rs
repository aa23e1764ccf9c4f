//! The user's keys in a run. Hosts may be offered different keys; each agent is listed, each file read and each
//! passphrase asked for only once.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::agent::{Agent, AgentKey};
use super::private_key::{self, Certificate, Encrypted, KeyError, KeyFile, Loaded};
use crate::system::cancel::Cancel;
use crate::system::lock::lock;
use crate::system::password_source::Secret;
use crate::system::poll::Patience;
use crate::system::terminal::{AskError, Terminal};
use crate::text::message::reason;

/// How long an agent may take to list its keys.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a passphrase is asked for, as in ssh(1) (NumberOfPasswordPrompts).
const PASSPHRASE_TRIES: usize = 3;

/// The start of the reason why an encrypted key stays locked.
pub const ENCRYPTED: &str = "the key is encrypted";

/// An agent and the keys that it holds.
pub struct Listing {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its keys, in its order.
    pub keys: Vec<AgentKey>,
}

/// Why an encrypted key stays locked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Locked {
    /// The question was not answered, or could not be asked; in words.
    #[error("{0}")]
    Unopened(String),
    /// The run was cancelled at the question.
    #[error("cancelled")]
    Cancelled,
}

/// All keys that were read, listed and decrypted.
#[derive(Default)]
pub struct Keyring {
    agents: Once<Result<Listing, String>>,
    files: Once<Result<Loaded, KeyError>>,
    certificates: Once<Result<Option<Certificate>, String>>,
    public_halves: Once<Option<Certificate>>,
    /// Decrypted keys.
    opened: Mutex<HashMap<PathBuf, Arc<KeyFile>>>,
    /// Passwords that did not open a key: the key derivation makes each attempt slow.
    wrong: Mutex<HashMap<PathBuf, Vec<Secret>>>,
    /// Keys whose passphrase was not given.
    locked: Mutex<HashMap<PathBuf, Locked>>,
}

/// A cache by path.
struct Once<V>(Mutex<HashMap<PathBuf, Arc<V>>>);

impl<V> Default for Once<V> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<V> Once<V> {
    fn get(&self, path: &Path, find_out: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = lock(&self.0).get(path) {
            return Arc::clone(value);
        }
        // Not under the lock: it may wait for the user.
        let value = Arc::new(find_out());
        lock(&self.0).insert(path.to_owned(), Arc::clone(&value));
        value
    }
}

impl Keyring {
    /// Returns the agent at `path` and its keys, or why they are unavailable.
    pub fn agent(&self, path: &Path, cancel: &Cancel) -> Arc<Result<Listing, String>> {
        self.agents.get(path, || {
            let agent = Agent::new(path);
            match agent.list(Patience::of(cancel, LIST_TIMEOUT)) {
                Ok(keys) => Ok(Listing { agent: Arc::new(agent), keys }),
                Err(error) => Err(format!("agent {}: {}", path.display(), reason(&error))),
            }
        })
    }

    /// Returns the contents of the private key file at `path`.
    pub fn file(&self, path: &Path) -> Arc<Result<Loaded, KeyError>> {
        self.files.get(path, || private_key::load(path))
    }

    /// Returns the user certificate at `path`, if the file exists.
    pub fn certificate(&self, path: &Path) -> Arc<Result<Option<Certificate>, String>> {
        self.certificates.get(path, || private_key::certificate(path))
    }

    /// Returns the user certificate that replaces the public half of the key at `path`, if there is one.
    pub fn certificate_in_public_half(&self, path: &Path) -> Arc<Option<Certificate>> {
        self.public_halves.get(path, || private_key::certificate_in_public_half(path))
    }

    /// Decrypts the key of the file at `path`: with the password, as pssh does, or else with what the user enters, if
    /// `ask` is the terminal and not the reason against asking. With `may_skip` an empty answer skips it.
    ///
    /// # Errors
    /// See [`Locked`].
    pub fn open(
        &self,
        path: &Path,
        key: &Encrypted,
        password: Option<&Secret>,
        ask: Result<&Terminal, &str>,
        may_skip: bool,
        cancel: &Cancel,
    ) -> Result<Arc<KeyFile>, Locked> {
        if let Some(opened) = lock(&self.opened).get(path) {
            return Ok(Arc::clone(opened));
        }
        if let Some(password) = password
            && let Some(opened) = self.try_password(path, key, password)?
        {
            return Ok(self.keep(path, opened));
        }
        let other = if password.is_some() { ", with another passphrase" } else { "" };
        let unasked = |why: &dyn Display| {
            Locked::Unopened(format!(
                "{ENCRYPTED}{other}, and {why}; load it into an agent first (ssh-add {})",
                path.display()
            ))
        };
        let terminal = ask.map_err(|why| unasked(&why))?;
        if let Some(locked) = lock(&self.locked).get(path) {
            return Err(locked.clone());
        }
        match ask_for(path, key, terminal, may_skip, cancel, &unasked) {
            Ok(opened) => Ok(self.keep(path, opened)),
            Err(locked) => {
                lock(&self.locked).insert(path.to_owned(), locked.clone());
                Err(locked)
            }
        }
    }

    fn keep(&self, path: &Path, opened: KeyFile) -> Arc<KeyFile> {
        let opened = Arc::new(opened);
        lock(&self.opened).insert(path.to_owned(), Arc::clone(&opened));
        opened
    }

    /// Decrypts the key if this is its password.
    fn try_password(&self, path: &Path, key: &Encrypted, password: &Secret) -> Result<Option<KeyFile>, Locked> {
        let is_same = |other: &Secret| other.expose() == password.expose();
        if lock(&self.wrong).get(path).is_some_and(|wrong| wrong.iter().any(is_same)) {
            return Ok(None);
        }
        match key.decrypt(password) {
            Ok(opened) => Ok(Some(opened)),
            Err(KeyError::Passphrase) => {
                lock(&self.wrong).entry(path.to_owned()).or_default().push(password.duplicate());
                Ok(None)
            }
            Err(error) => Err(Locked::Unopened(error.to_string())),
        }
    }
}

/// The prompt after a wrong answer; the line above it names the key.
const AGAIN: &str = "Wrong passphrase. Try again: ";

fn ask_for(
    path: &Path,
    key: &Encrypted,
    terminal: &Terminal,
    may_skip: bool,
    cancel: &Cancel,
    unasked: &dyn Fn(&dyn Display) -> Locked,
) -> Result<KeyFile, Locked> {
    let prompt = format!("Passphrase for key {}: ", path.display());
    for attempt in 0..PASSPHRASE_TRIES {
        let question = if attempt == 0 { &prompt } else { AGAIN };
        let passphrase = terminal.ask(question, false, Patience::endless(cancel));
        let passphrase = passphrase.map_err(|error| match error {
            AskError::NoTerminal => unasked(&error),
            AskError::Cancelled => Locked::Cancelled,
            error => Locked::Unopened(format!("{ENCRYPTED}, and {error}")),
        })?;
        if may_skip && passphrase.expose().is_empty() {
            return Err(Locked::Unopened(format!("{ENCRYPTED}, and no passphrase was entered")));
        }
        match key.decrypt(&passphrase) {
            Err(KeyError::Passphrase) => {}
            decrypted => return decrypted.map_err(|error| Locked::Unopened(error.to_string())),
        }
    }
    Err(Locked::Unopened(format!("the passphrase was wrong {PASSPHRASE_TRIES} times")))
}
