//! Authentication: which identities there are, read once per run, and the order in which a host is offered them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent::{Agent, AgentKey, Patience};
use super::ffi::{self, PublicKeyAnswer};
use super::keys::{self, KeyError, KeyFile, Loaded};
use super::session::{Driver, Stop, dropped};
use super::wait::Watch;
use super::wire::key_type;
use crate::cancel::Cancel;
use crate::error::{HostError, reason};
use crate::event::Outcome;

/// The key files that are tried when none is named, under `~/.ssh`. ssh(1) has the same, in another order; ed25519 is
/// first here since it is what ssh-keygen has made by default since OpenSSH 9.5. The `_sk` kinds need an agent.
const DEFAULT_IDENTITIES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// How long an agent may take to list its keys.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Something to authenticate with.
struct Identity {
    public_key: Vec<u8>,
    /// How messages call it: the file, or the agent's comment.
    name: String,
    secret: Secret,
}

enum Secret {
    File(KeyFile),
    Agent(Arc<Agent>),
}

/// All identities of a run, in the order in which hosts are offered them, and what could not be used.
pub struct Identities {
    list: Vec<Identity>,
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

/// Where identities come from.
pub struct Sources<'a> {
    /// The agent to ask, if any.
    pub agent: Option<&'a Path>,
    /// Private key files that the user named.
    pub files: &'a [PathBuf],
    /// The directory of the default identities, usually `~/.ssh`, if they are to be tried.
    pub default_dir: Option<&'a Path>,
}

impl Identities {
    /// Lists the agent's keys and reads the key files.
    ///
    /// The order: the files that the user named (by way of the agent, if it holds the key), the agent's other keys, then
    /// the default files. ssh(1) offers an agent's keys before a file named with `-i`, and with many keys in the agent the
    /// server gives up before it is that file's turn.
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
            let loaded = keys::load(path).map_err(|error| unusable(path, &error.to_string()))?;
            let public_key = match &loaded {
                Loaded::Key(key) => Some(&key.public_key),
                Loaded::Encrypted { public_key } => public_key.as_ref(),
            };
            let place = held.iter().position(|key| Some(&key.public_key) == public_key);
            let identity = match (place, loaded, &agent) {
                (Some(place), _, Some(agent)) => Identity {
                    public_key: held.remove(place).public_key,
                    name: path.display().to_string(),
                    secret: Secret::Agent(Arc::clone(agent)),
                },
                (_, Loaded::Key(key), _) => Identity::from_file(path, key),
                (_, Loaded::Encrypted { .. }, _) => {
                    return Err(unusable(path, "the key is encrypted; load it into an agent first (ssh-add)"));
                }
            };
            found.add(identity);
        }
        if let Some(agent) = &agent {
            for AgentKey { public_key, comment } in held {
                found.add(Identity { public_key, name: comment, secret: Secret::Agent(Arc::clone(agent)) });
            }
        }
        if let Some(dir) = sources.default_dir {
            DEFAULT_IDENTITIES.iter().for_each(|name| found.add_default(&dir.join(name)));
        }
        Ok(found)
    }

    /// What could not be used, and why, a line each.
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }

    fn list_agent(&mut self, agent: Agent, cancel: &Cancel) -> (Option<Arc<Agent>>, Vec<AgentKey>) {
        match agent.list(Patience { cancel, until: Instant::now() + LIST_TIMEOUT }) {
            Ok(keys) => (Some(Arc::new(agent)), keys),
            Err(error) => {
                self.unusable.push(format!("agent {}: {}", agent.path().display(), reason(&error)));
                (None, Vec::new())
            }
        }
    }

    fn add_default(&mut self, path: &Path) {
        match keys::load(path) {
            Ok(Loaded::Key(key)) => self.add(Identity::from_file(path, key)),
            Ok(Loaded::Encrypted { public_key: Some(public_key) }) if self.holds(&public_key) => {}
            Ok(Loaded::Encrypted { .. }) => {
                self.unusable.push(format!("{}: encrypted, and no agent holds it", path.display()));
            }
            Err(KeyError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.unusable.push(format!("{}: {error}", path.display())),
        }
    }

    fn add(&mut self, identity: Identity) {
        if !self.holds(&identity.public_key) {
            self.list.push(identity);
        }
    }

    fn holds(&self, public_key: &[u8]) -> bool {
        self.list.iter().any(|identity| identity.public_key == public_key)
    }
}

fn unusable(path: &Path, reason: &str) -> IdentityError {
    IdentityError { path: path.to_owned(), reason: reason.to_owned() }
}

impl Identity {
    fn from_file(path: &Path, key: KeyFile) -> Identity {
        Identity { public_key: key.public_key.clone(), name: path.display().to_string(), secret: Secret::File(key) }
    }

    /// The identity in a message: `ssh-ed25519 alice@laptop (agent)`.
    fn describe(&self) -> String {
        let kind = key_type(&self.public_key).unwrap_or("unknown type");
        match self.secret {
            Secret::File(_) => format!("{kind} {}", self.name),
            Secret::Agent(_) => format!("{kind} {} (agent)", self.name),
        }
    }
}

/// An identity that signs for one job: it waits no longer than the job does.
struct Signing<'a> {
    identity: &'a Identity,
    patience: Patience<'a>,
}

impl ffi::Signer for Signing<'_> {
    fn public_key(&self) -> &[u8] {
        &self.identity.public_key
    }

    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        match &self.identity.secret {
            Secret::File(key) => key.sign(algorithm, data),
            Secret::Agent(agent) => {
                agent.sign(&self.identity.public_key, algorithm, data, self.patience).map_err(|error| reason(&error))
            }
        }
    }
}

/// Authenticates `user` on the session of `driver`; gives the identity that was accepted, in words.
///
/// The list of methods that the server offers is asked for only when everything has failed: it would cost every other host
/// a round trip.
///
/// # Errors
/// The outcome of the job: authentication failed, or the job was over before.
pub fn authenticate(
    driver: &mut Driver<'_>,
    user: &str,
    identities: &Identities,
    watch: &Watch<'_>,
) -> Result<String, Outcome> {
    let patience = Patience { cancel: watch.cancel(), until: watch.deadline() };
    let mut tried = Vec::new();
    let mut details = identities.unusable.clone();
    for identity in &identities.list {
        let signing = Signing { identity, patience };
        match driver.drive(watch, |session| ffi::authenticate_public_key(session, user, &signing)) {
            Ok(PublicKeyAnswer::Accepted) => return Ok(identity.describe()),
            Ok(PublicKeyAnswer::Refused) => tried.push(identity.describe()),
            Ok(PublicKeyAnswer::NotSigned(reason)) => {
                watch.check()?;
                details.push(format!("{} could not sign: {reason}", identity.describe()));
            }
            Err(Stop::Job(outcome)) => return Err(outcome),
            // Servers hang up after MaxAuthTries refused keys.
            Err(Stop::Ssh(error)) if !tried.is_empty() => {
                tried.push(identity.describe());
                details.push(format!("then the server ended it: {}", error.message()));
                return Err(refused(user, tried, Vec::new(), details));
            }
            Err(Stop::Ssh(error)) => return Err(ended(&error)),
        }
    }
    let offered = driver.drive(watch, |session| session.auth_methods(user).map(str::to_owned));
    // The list is asked for by trying the method "none", which a server may accept (RFC 4252 section 5.2).
    if driver.session().authenticated() {
        return Ok("no authentication (method none)".to_owned());
    }
    match offered {
        Ok(offered) => {
            let offered = offered.split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect();
            Err(refused(user, tried, offered, details))
        }
        Err(Stop::Job(outcome)) => Err(outcome),
        Err(Stop::Ssh(error)) if tried.is_empty() => Err(ended(&error)),
        Err(Stop::Ssh(_)) => Err(refused(user, tried, Vec::new(), details)),
    }
}

fn refused(user: &str, tried: Vec<String>, offered: Vec<String>, details: Vec<String>) -> Outcome {
    let detail = (!details.is_empty()).then(|| details.join("; "));
    HostError::Auth { user: user.to_owned(), tried, offered, detail }.into()
}

fn ended(error: &ssh2::Error) -> Outcome {
    dropped("authentication", error, true).into()
}
