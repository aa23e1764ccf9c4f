//! The keys of a run: gathered once, before the first connection, in the order in which hosts are offered them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::agent::{Agent, AgentKey};
use super::ffi;
use super::keys::{self, Encrypted, KeyError, KeyFile, Loaded};
use super::known_hosts::key_type;
use super::tunnel::lock;
use super::wait::Patience;
use crate::cancel::Cancel;
use crate::error::reason;
use crate::secret::Secret;
use crate::terminal::{AskError, Terminal};

/// The key files that are tried when none is named, under `~/.ssh`. ssh(1) has the same, in another order; ed25519 is
/// first here since it is what ssh-keygen has made by default since OpenSSH 9.5. The `_sk` kinds need an agent.
const DEFAULT_IDENTITIES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// How long an agent may take to list its keys.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a passphrase is asked for, as by ssh(1) (NumberOfPasswordPrompts).
const PASSPHRASE_TRIES: usize = 3;

/// Something to authenticate with.
pub struct Identity {
    /// What the server is offered: a public key blob, or that of a certificate.
    public_key: Vec<u8>,
    /// How messages call it: the file, or the agent's comment.
    name: String,
    signer: Signer,
}

/// Who signs.
#[derive(Clone)]
enum Signer {
    File(Arc<KeyFile>),
    Agent {
        agent: Arc<Agent>,
        /// What the agent calls the key: the plain one, where we have found a certificate of it.
        key: Vec<u8>,
    },
}

/// All identities of a run, and what could not be used.
#[derive(Default)]
pub struct Identities {
    list: Vec<Arc<Identity>>,
    /// Why some could not be used, for `-v` and for the message when authentication fails.
    unusable: Vec<String>,
}

/// A private key named by the user cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct IdentityError {
    /// The file.
    pub path: PathBuf,
    /// Why, and what would help.
    pub reason: String,
}

/// The encrypted keys that have been opened in this run. Hosts may differ in the keys that they are offered; each key is
/// asked for, and its deliberate slowness is paid, only once.
#[derive(Default)]
pub struct Keyring(Mutex<HashMap<PathBuf, Arc<KeyFile>>>);

impl Keyring {
    /// The key of the file at `path`, opened by `open` if it has not been yet.
    fn key<E>(&self, path: &Path, open: impl FnOnce() -> Result<KeyFile, E>) -> Result<Arc<KeyFile>, E> {
        if let Some(key) = lock(&self.0).get(path) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(open()?);
        lock(&self.0).insert(path.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}

/// Where identities come from.
pub struct Sources<'a> {
    /// The agent to ask, if any.
    pub agent: Option<&'a Path>,
    /// Private key files that the user named; each has to be usable.
    pub files: &'a [PathBuf],
    /// Private key files that ssh_config has (IdentityFile). One that cannot be used is passed over.
    pub configured: &'a [PathBuf],
    /// The directory of the default identities, usually `~/.ssh`, where they are to be tried.
    pub default_dir: Option<&'a Path>,
    /// Whether the agent's keys are used only for files among the others (IdentitiesOnly).
    pub only: bool,
    /// The encrypted keys that are open.
    pub keyring: &'a Keyring,
    /// What may open encrypted keys.
    pub password: Option<&'a Secret>,
    /// Where the passphrases of the named ones are asked for.
    pub terminal: &'a Terminal,
}

impl Identities {
    /// Lists the agent's keys and reads the key files.
    ///
    /// The order: the files that the user named (by way of the agent, if it holds the key), the agent's other keys, then
    /// the default files; before each file its certificate. ssh(1) offers an agent's keys before a file named with `-i`,
    /// and with many keys in the agent the server gives up before it is that file's turn.
    ///
    /// # Errors
    /// A file that the user named cannot be used.
    pub fn gather(sources: &Sources<'_>, cancel: &Cancel) -> Result<Identities, IdentityError> {
        let mut found = Identities { list: Vec::new(), unusable: Vec::new() };
        let (agent, mut held) = match sources.agent {
            Some(path) => found.list_agent(Agent::new(path), cancel),
            None => (None, Vec::new()),
        };
        for path in sources.files {
            let fail = |reason: String| IdentityError { path: path.clone(), reason };
            let loaded = keys::load(path).map_err(|error| fail(error.to_string()))?;
            let place = held.iter().position(|key| Some(&key.public_key) == loaded.public_key());
            match (place, loaded, &agent) {
                (Some(place), _, Some(agent)) => {
                    let key = held.remove(place).public_key;
                    found.add_file(path, key.clone(), &Signer::Agent { agent: Arc::clone(agent), key });
                }
                (_, Loaded::Key(key), _) => found.add_key(path, Arc::new(key)),
                (_, Loaded::Encrypted(key), _) => {
                    let opened = sources.keyring.key(path, || sources.unlock(path, &key, cancel));
                    found.add_key(path, opened.map_err(fail)?);
                }
            }
        }
        if let Some(agent) = &agent {
            held = found.add_held(sources.configured, agent, held);
        }
        if let Some(agent) = &agent
            && !sources.only
        {
            for AgentKey { public_key, comment } in held {
                let signer = Signer::Agent { agent: Arc::clone(agent), key: public_key.clone() };
                found.add(Identity { public_key, name: comment, signer });
            }
        }
        sources.configured.iter().for_each(|path| found.add_default(path, sources));
        if let Some(dir) = sources.default_dir {
            DEFAULT_IDENTITIES.iter().for_each(|name| found.add_default(&dir.join(name), sources));
        }
        Ok(found)
    }

    /// The identities in the order in which they are offered.
    pub fn list(&self) -> &[Arc<Identity>] {
        &self.list
    }

    /// What could not be used, and why, a line each.
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }

    /// Adds those of the files whose key the agent holds; gives the agent's other keys.
    fn add_held(&mut self, files: &[PathBuf], agent: &Arc<Agent>, mut held: Vec<AgentKey>) -> Vec<AgentKey> {
        for path in files {
            let Ok(loaded) = keys::load(path) else { continue };
            let Some(place) = held.iter().position(|key| Some(&key.public_key) == loaded.public_key()) else {
                continue;
            };
            let key = held.remove(place).public_key;
            self.add_file(path, key.clone(), &Signer::Agent { agent: Arc::clone(agent), key });
        }
        held
    }

    fn list_agent(&mut self, agent: Agent, cancel: &Cancel) -> (Option<Arc<Agent>>, Vec<AgentKey>) {
        match agent.list(Patience::of(cancel, LIST_TIMEOUT)) {
            Ok(keys) => (Some(Arc::new(agent)), keys),
            Err(error) => {
                self.unusable.push(format!("agent {}: {}", agent.path().display(), reason(&error)));
                (None, Vec::new())
            }
        }
    }

    fn add_default(&mut self, path: &Path, sources: &Sources<'_>) {
        let problem = match keys::load(path) {
            Ok(Loaded::Key(key)) => return self.add_key(path, Arc::new(key)),
            Ok(loaded @ Loaded::Encrypted(_)) if loaded.public_key().is_some_and(|key| self.holds(key)) => return,
            Ok(Loaded::Encrypted(key)) => {
                match sources.password.map(|password| sources.keyring.key(path, || key.decrypt(password))) {
                    Some(Ok(key)) => return self.add_key(path, key),
                    Some(Err(KeyError::Passphrase)) => {
                        "encrypted with another passphrase, and no agent holds it".to_owned()
                    }
                    Some(Err(error)) => error.to_string(),
                    None => "encrypted, and no agent holds it".to_owned(),
                }
            }
            Err(KeyError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => error.to_string(),
        };
        self.unusable.push(format!("{}: {problem}", path.display()));
    }

    fn add_key(&mut self, path: &Path, key: Arc<KeyFile>) {
        self.add_file(path, key.public_key.clone(), &Signer::File(key));
    }

    /// Adds the key of a file, and before it the certificate beside the file.
    fn add_file(&mut self, path: &Path, public_key: Vec<u8>, signer: &Signer) {
        match keys::certificate(path, &public_key) {
            Ok(None) => {}
            Ok(Some(certificate)) => {
                let name = certificate.path.display().to_string();
                self.add(Identity { public_key: certificate.blob, name, signer: signer.clone() });
            }
            Err(problem) => self.unusable.push(problem),
        }
        self.add(Identity { public_key, name: path.display().to_string(), signer: signer.clone() });
    }

    fn add(&mut self, identity: Identity) {
        if !self.holds(&identity.public_key) {
            self.list.push(Arc::new(identity));
        }
    }

    fn holds(&self, public_key: &[u8]) -> bool {
        self.list.iter().any(|identity| identity.public_key == public_key)
    }
}

impl Sources<'_> {
    /// Decrypts a key that the user named: with the password of the run, as pssh does, or else with what the user enters.
    fn unlock(&self, path: &Path, key: &Encrypted, cancel: &Cancel) -> Result<KeyFile, String> {
        match self.password.map(|password| key.decrypt(password)) {
            None | Some(Err(KeyError::Passphrase)) => {}
            Some(decrypted) => return decrypted.map_err(|error| error.to_string()),
        }
        let prompt = format!("Passphrase for key {}: ", path.display());
        for attempt in 0..PASSPHRASE_TRIES {
            let wrong = if attempt == 0 { "" } else { "That is not it. " };
            let passphrase = self.terminal.ask(&format!("{wrong}{prompt}"), false, Patience::endless(cancel));
            let passphrase = passphrase.map_err(|error| match error {
                AskError::NoTerminal => {
                    let other = if self.password.is_some() { ", with another passphrase" } else { "" };
                    format!("the key is encrypted{other}, and {error}; load it into an agent first (ssh-add)")
                }
                error => format!("the key is encrypted, and {error}"),
            })?;
            match key.decrypt(&passphrase) {
                Err(KeyError::Passphrase) => {}
                decrypted => return decrypted.map_err(|error| error.to_string()),
            }
        }
        Err(format!("the passphrase was wrong {PASSPHRASE_TRIES} times"))
    }
}

impl Identity {
    /// The identity in a message: `ssh-ed25519 alice@laptop (agent)`.
    pub fn describe(&self) -> String {
        let kind = key_type(&self.public_key).unwrap_or("unknown type");
        match self.signer {
            Signer::File(_) => format!("{kind} {}", self.name),
            Signer::Agent { .. } => format!("{kind} {} (agent)", self.name),
        }
    }

    /// The identity as one that signs for a single job.
    pub fn signing<'a>(&'a self, patience: Patience<'a>) -> Signing<'a> {
        Signing { identity: self, patience }
    }
}

/// An identity that signs for one job: it waits no longer than the job does.
pub struct Signing<'a> {
    identity: &'a Identity,
    patience: Patience<'a>,
}

impl ffi::Signer for Signing<'_> {
    fn public_key(&self) -> &[u8] {
        &self.identity.public_key
    }

    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        match &self.identity.signer {
            Signer::File(key) => key.sign(algorithm, data),
            Signer::Agent { agent, key } => {
                agent.sign(key, algorithm, data, self.patience).map_err(|error| reason(&error))
            }
        }
    }
}
