//! What a run knows of its user's keys. Hosts may differ in the keys that they are offered; each agent is listed, each file
//! read and each passphrase asked for only once.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::agent::{Agent, AgentKey};
use super::keys::{self, Certificate, Encrypted, KeyError, KeyFile, Loaded};
use super::tunnel::lock;
use super::wait::Patience;
use crate::cancel::Cancel;
use crate::error::reason;
use crate::secret::Secret;
use crate::terminal::{AskError, Terminal};

/// How long an agent may take to list its keys.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a passphrase is asked for, as by ssh(1) (NumberOfPasswordPrompts).
const PASSPHRASE_TRIES: usize = 3;

/// An agent and the keys that it holds.
pub struct Listing {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its keys, in its order.
    pub keys: Vec<AgentKey>,
}

/// Why an encrypted key stays closed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Locked {
    /// Whoever was asked did not know, or nobody could be asked; in words.
    #[error("{0}")]
    Unopened(String),
    /// The run was cancelled at the question.
    #[error("cancelled")]
    Cancelled,
}

/// Everything that was read, listed and opened.
#[derive(Default)]
pub struct Keyring {
    agents: Once<PathBuf, Result<Listing, String>>,
    files: Once<PathBuf, Result<Loaded, KeyError>>,
    certificates: Once<PathBuf, Result<Option<Certificate>, String>>,
    /// Keys that the password of the run was tried on.
    by_password: Once<PathBuf, Result<Arc<KeyFile>, KeyError>>,
    /// Keys whose passphrase was asked for.
    by_passphrase: Once<PathBuf, Result<Arc<KeyFile>, Locked>>,
}

/// Values that are found out once.
struct Once<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone, V> Once<K, V> {
    fn get(&self, key: &K, find_out: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = lock(&self.0).get(key) {
            return Arc::clone(value);
        }
        // Not under the lock: it may take as long as a person.
        let value = Arc::new(find_out());
        lock(&self.0).insert(key.clone(), Arc::clone(&value));
        value
    }

    fn known(&self, key: &K) -> Option<Arc<V>> {
        lock(&self.0).get(key).cloned()
    }
}

impl Keyring {
    /// The agent at `path` and its keys, or why they cannot be had.
    pub fn agent(&self, path: &Path, cancel: &Cancel) -> Arc<Result<Listing, String>> {
        self.agents.get(&path.to_owned(), || {
            let agent = Agent::new(path);
            match agent.list(Patience::of(cancel, LIST_TIMEOUT)) {
                Ok(keys) => Ok(Listing { agent: Arc::new(agent), keys }),
                Err(error) => Err(format!("agent {}: {}", path.display(), reason(&error))),
            }
        })
    }

    /// What the private key file at `path` holds.
    pub fn file(&self, path: &Path) -> Arc<Result<Loaded, KeyError>> {
        self.files.get(&path.to_owned(), || keys::load(path))
    }

    /// The user certificate at `path`, if there is such a file.
    pub fn certificate(&self, path: &Path) -> Arc<Result<Option<Certificate>, String>> {
        self.certificates.get(&path.to_owned(), || keys::certificate(path))
    }

    /// Opens the encrypted key of the file at `path`: with the password of the run, as pssh does, or else with what the user
    /// enters, if `ask` is the terminal and not why nobody is to be asked. With `may_skip` an empty answer passes it over.
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
        let path = path.to_owned();
        // Whoever asked for it before knows it now.
        if let Some(Ok(opened)) = self.by_passphrase.known(&path).as_deref() {
            return Ok(Arc::clone(opened));
        }
        if let Some(password) = password {
            match &*self.by_password.get(&path, || key.decrypt(password).map(Arc::new)) {
                Ok(opened) => return Ok(Arc::clone(opened)),
                Err(KeyError::Passphrase) => {}
                Err(error) => return Err(Locked::Unopened(error.to_string())),
            }
        }
        let other = if password.is_some() { ", with another passphrase" } else { "" };
        let unasked = |why: &dyn std::fmt::Display| {
            Locked::Unopened(format!("the key is encrypted{other}, and {why}; load it into an agent first (ssh-add)"))
        };
        let terminal = ask.map_err(|why| unasked(&why))?;
        let asked = self.by_passphrase.get(&path, || ask_for(&path, key, terminal, may_skip, cancel, &unasked));
        (*asked).clone()
    }
}

fn ask_for(
    path: &Path,
    key: &Encrypted,
    terminal: &Terminal,
    may_skip: bool,
    cancel: &Cancel,
    unasked: &dyn Fn(&dyn std::fmt::Display) -> Locked,
) -> Result<Arc<KeyFile>, Locked> {
    let prompt = format!("Passphrase for key {}: ", path.display());
    for attempt in 0..PASSPHRASE_TRIES {
        let wrong = if attempt == 0 { "" } else { "That is not it. " };
        let passphrase = terminal.ask(&format!("{wrong}{prompt}"), false, Patience::endless(cancel));
        let passphrase = passphrase.map_err(|error| match error {
            AskError::NoTerminal => unasked(&error),
            AskError::Cancelled => Locked::Cancelled,
            error => Locked::Unopened(format!("the key is encrypted, and {error}")),
        })?;
        if may_skip && passphrase.expose().is_empty() {
            return Err(Locked::Unopened("the key is encrypted, and no passphrase was entered".to_owned()));
        }
        match key.decrypt(&passphrase) {
            Err(KeyError::Passphrase) => {}
            decrypted => return decrypted.map(Arc::new).map_err(|error| Locked::Unopened(error.to_string())),
        }
    }
    Err(Locked::Unopened(format!("the passphrase was wrong {PASSPHRASE_TRIES} times")))
}
