//! The keys offered to a host: gathered once, before the first connection, in the order of the offers.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agent::{Agent, AgentKey, Bound};
use super::algorithms::{CERTIFICATE, PubkeyAlgorithms};
use super::keyring::{Keyring, Locked};
use super::private_key::{self, Encrypted, KeyError, KeyFile, Loaded};
use super::session_binding::Binding;
use crate::ssh::ffi;
use crate::ssh::host_keys::known_hosts::{Key, key_type};
use crate::system::cancel::Cancel;
use crate::system::files::unread::BeforeStart;
use crate::system::password_source::Secret;
use crate::system::poll::Patience;
use crate::system::terminal::Terminal;
use crate::text::message::reason;

/// The key files tried by default, under `~/.ssh`. ssh(1) has the same in another order; ed25519 is first here since
/// ssh-keygen makes it by default since OpenSSH 9.5. The `_sk` kinds need an agent.
pub const DEFAULT_IDENTITIES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The other defaults of ssh(1), for which only an agent can sign.
pub const AGENT_IDENTITIES: [&str; 3] = ["id_ecdsa_sk", "id_ed25519_sk", "id_dsa"];

/// A key to authenticate with.
pub struct Identity {
    /// The public key blob offered to the server, or that of a certificate.
    public_key: Vec<u8>,
    /// Its name in messages: the file, or the agent's comment.
    name: String,
    signer: Signer,
    /// Its signature algorithms.
    algorithms: Arc<PubkeyAlgorithms>,
}

/// The signer of an identity.
#[derive(Clone)]
enum Signer {
    File(Arc<KeyFile>),
    Agent {
        agent: Arc<Agent>,
        /// The agent's key: the plain one, if we found a certificate of it.
        key: Vec<u8>,
        /// Whether the agent limits it to some hosts.
        is_restricted: bool,
        /// The signer for the other hosts, if we have the key, too.
        file: Option<Arc<KeyFile>>,
    },
}

impl Signer {
    /// Whether it signs for the plain key of this blob.
    fn is_of(&self, plain: &[u8]) -> bool {
        match self {
            Signer::File(key) => key.public_key == plain,
            Signer::Agent { key, .. } => key == plain || Key::parse(key).is_ok_and(|key| key.blob == plain),
        }
    }
}

/// All identities for a host, and the unusable ones.
#[derive(Default)]
pub struct Identities {
    list: Vec<Arc<Identity>>,
    /// Why some are unusable, for `-v` and for the message when authentication fails.
    unusable: Vec<String>,
    /// Whether PubkeyAcceptedAlgorithms is why the list is empty.
    are_disallowed: bool,
}

/// A private key named by the user is unusable.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct IdentityError {
    /// The file.
    pub path: PathBuf,
    /// The reason and the remedy.
    pub reason: String,
    /// Whether the file cannot be read.
    pub is_unread: bool,
}

impl BeforeStart for IdentityError {
    fn is_unread(&self) -> bool {
        self.is_unread
    }
}

/// The sources of identities.
pub struct Sources<'a> {
    /// The agent, if any.
    pub agent: Option<&'a Path>,
    /// Private key files that the user named; each must be usable.
    pub files: &'a [PathBuf],
    /// Private key files of ssh_config (IdentityFile). An unusable one is skipped.
    pub configured: &'a [PathBuf],
    /// Certificates of ssh_config (CertificateFile). An unusable one is skipped.
    pub certificates: &'a [PathBuf],
    /// The directory of the default identities, usually `~/.ssh`, if they are tried.
    pub default_dir: Option<&'a Path>,
    /// Whether only those keys of the agent are used that are among the other files (IdentitiesOnly).
    pub only: bool,
    /// The allowed algorithms (PubkeyAcceptedAlgorithms).
    pub algorithms: Arc<PubkeyAlgorithms>,
    /// The keys read so far.
    pub keyring: &'a Keyring,
    /// The password that may open encrypted keys.
    pub password: Option<&'a Secret>,
    /// Whether there is a password to log in with.
    pub has_password: bool,
    /// The terminal for passphrase questions, or why there are none.
    pub ask: Result<&'a Terminal, &'a str>,
    /// Ends every wait.
    pub cancel: &'a Cancel,
}

impl Identities {
    /// Lists the agent's keys and reads the files.
    ///
    /// The order: the certificates that ssh_config names; the files that the user named (by way of the agent, if it holds the
    /// key); those that ssh_config names and the agent holds; the default ones that it holds; the agent's other keys; the other files
    /// that ssh_config names; the other default files. Before each file comes its certificate, unless ssh_config names certificates. ssh(1) offers an
    /// agent's keys before a file named with `-i`, and with many keys in the agent the server gives up before it is that
    /// file's turn.
    ///
    /// Passphrases are asked for files that the user or ssh_config names, unless the agent holds the key; for a default
    /// file only if there is nothing else to log in with.
    ///
    /// # Errors
    /// A file that the user named cannot be used, or the run was cancelled at a question.
    pub fn gather(sources: &Sources<'_>) -> Result<Identities, IdentityError> {
        let mut found = Gathering { sources, list: Vec::new(), unusable: Vec::new() };
        let listing = sources.agent.map(|path| sources.keyring.agent(path, sources.cancel));
        let (agent, mut held) = match listing.as_deref() {
            Some(Ok(listing)) => (Some(&listing.agent), listing.keys.clone()),
            Some(Err(problem)) => {
                found.unusable.push(problem.clone());
                (None, Vec::new())
            }
            None => (None, Vec::new()),
        };
        sources.files.iter().try_for_each(|path| found.add_named(path, agent, &mut held))?;
        let default = |names: &[&str]| -> Vec<PathBuf> {
            sources.default_dir.iter().flat_map(|dir| names.iter().map(|name| dir.join(name))).collect()
        };
        let defaults = default(&DEFAULT_IDENTITIES);
        if let Some(agent) = agent {
            sources.configured.iter().for_each(|path| found.add_held(path, agent, &mut held));
            let others = default(&AGENT_IDENTITIES);
            defaults.iter().chain(&others).for_each(|path| found.add_held(path, agent, &mut held));
            if !sources.only {
                for AgentKey { public_key, comment, is_restricted } in held.drain(..) {
                    let (agent, key) = (Arc::clone(agent), public_key.clone());
                    let signer = Signer::Agent { agent, key, is_restricted, file: None };
                    found.add(public_key, comment, signer);
                }
            }
        }
        for path in sources.configured {
            found.add_unnamed(path, sources.ask)?;
        }
        let silence = Err("no agent holds it");
        let (closed, open): (Vec<_>, Vec<_>) = defaults.iter().partition(|path| found.is_closed(path));
        open.iter().try_for_each(|path| found.add_unnamed(path, silence))?;
        for path in closed {
            // The host may accept a password.
            let is_last_resort = !sources.has_password && !found.has_any();
            found.add_unnamed(path, if is_last_resort { sources.ask } else { silence })?;
        }
        Ok(found.finish())
    }

    /// Returns the identities in the order of the offers.
    pub fn list(&self) -> &[Arc<Identity>] {
        &self.list
    }

    /// Whether PubkeyAcceptedAlgorithms allows none of the existing identities.
    pub fn are_disallowed(&self) -> bool {
        self.are_disallowed
    }

    /// Returns what is unusable, and why, a line each.
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }
}

/// The identities found so far, including those that may only be offered as certificates.
struct Gathering<'a> {
    sources: &'a Sources<'a>,
    list: Vec<Identity>,
    unusable: Vec<String>,
}

impl Gathering<'_> {
    /// Adds a file that the user named.
    fn add_named(
        &mut self,
        path: &Path,
        agent: Option<&Arc<Agent>>,
        held: &mut Vec<AgentKey>,
    ) -> Result<(), IdentityError> {
        let fail = |reason: String, is_unread| IdentityError { path: path.to_owned(), reason, is_unread };
        let loaded = self.sources.keyring.file(path);
        let loaded = (*loaded).as_ref().map_err(|error| fail(error.to_string(), error.is_unread()))?;
        if self.add_by_agent(path, loaded, agent, held) {
            return Ok(());
        }
        let key = match loaded {
            Loaded::Key(key) => Arc::clone(key),
            Loaded::Encrypted(key) => {
                self.open(path, key, self.sources.ask, false).map_err(|locked| fail(locked.to_string(), false))?
            }
            Loaded::Public(half) => {
                // So far, only the agent can be unusable.
                let reasons: Vec<String> =
                    std::iter::once(half.problem.to_string()).chain(self.unusable.clone()).collect();
                return Err(fail(reasons.join("; "), half.problem.is_unread()));
            }
        };
        self.add_key(path, key);
        Ok(())
    }

    /// Adds a file whose key the agent holds.
    fn add_held(&mut self, path: &Path, agent: &Arc<Agent>, held: &mut Vec<AgentKey>) {
        if held.is_empty() {
            return;
        }
        if let Ok(loaded) = &*self.sources.keyring.file(path) {
            self.add_by_agent(path, loaded, Some(agent), held);
        }
    }

    /// Adds a file through the agent, if that holds its key.
    fn add_by_agent(
        &mut self,
        path: &Path,
        loaded: &Loaded,
        agent: Option<&Arc<Agent>>,
        held: &mut Vec<AgentKey>,
    ) -> bool {
        let certificate = match loaded {
            Loaded::Public(half) => half.certificate.as_ref(),
            _ => None,
        };
        let file = if let Loaded::Key(key) = loaded { Some(Arc::clone(key)) } else { None };
        let Some(agent) = agent else { return false };
        let position = |blob: Option<&Vec<u8>>| held.iter().position(|key| Some(&key.public_key) == blob);
        let plain = position(loaded.public_key());
        let Some(place) = plain.or_else(|| position(certificate.map(|certificate| &certificate.blob))) else {
            return false;
        };
        let AgentKey { public_key: key, is_restricted, .. } = held.remove(place);
        let signer = Signer::Agent { agent: Arc::clone(agent), key: key.clone(), is_restricted, file };
        if let Some(certificate) = certificate {
            self.add(certificate.blob.clone(), path.display().to_string(), signer.clone());
            if plain.is_none() {
                return true;
            }
        }
        self.add_file(path, key, &signer);
        true
    }

    /// Whether a file holds an encrypted key.
    fn is_closed(&self, path: &Path) -> bool {
        matches!(&*self.sources.keyring.file(path), Ok(Loaded::Encrypted(_)))
    }

    /// Adds a file that the user did not name; if it is unusable, it is skipped. Its passphrase is asked for, unless a
    /// reason against that is given.
    fn add_unnamed(&mut self, path: &Path, ask: Result<&Terminal, &str>) -> Result<(), IdentityError> {
        let loaded = self.sources.keyring.file(path);
        let is_of_no_use = |key: &Vec<u8>| !self.sources.algorithms.take_any(key);
        let problem = match &*loaded {
            Ok(Loaded::Key(key)) => {
                self.add_key(path, Arc::clone(key));
                return Ok(());
            }
            Ok(loaded) if loaded.public_key().is_some_and(|key| self.holds(key)) => return Ok(()),
            Ok(loaded) if loaded.public_key().is_some_and(is_of_no_use) => {
                "PubkeyAcceptedAlgorithms does not allow it".to_owned()
            }
            Ok(Loaded::Encrypted(key)) => match self.open(path, key, ask, true) {
                Ok(key) => {
                    self.add_key(path, key);
                    return Ok(());
                }
                Err(Locked::Cancelled) => {
                    let reason = Locked::Cancelled.to_string();
                    return Err(IdentityError { path: path.to_owned(), reason, is_unread: false });
                }
                Err(Locked::Unopened(problem)) => problem,
            },
            Ok(Loaded::Public(half)) => match &half.problem {
                KeyError::Read(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                problem => problem.to_string(),
            },
            Err(KeyError::Read(error)) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => error.to_string(),
        };
        self.unusable.push(format!("{}: {problem}", path.display()));
        Ok(())
    }

    fn open(
        &self,
        path: &Path,
        key: &Encrypted,
        ask: Result<&Terminal, &str>,
        may_skip: bool,
    ) -> Result<Arc<KeyFile>, Locked> {
        self.sources.keyring.open(path, key, self.sources.password, ask, may_skip, self.sources.cancel)
    }

    fn add_key(&mut self, path: &Path, key: Arc<KeyFile>) {
        self.add_file(path, key.public_key.clone(), &Signer::File(key));
    }

    /// Adds the key of a file, and before it its certificates.
    fn add_file(&mut self, path: &Path, public_key: Vec<u8>, signer: &Signer) {
        // As in ssh, named certificates exclude all others.
        if self.sources.certificates.is_empty() {
            let beside = private_key::certificate_path(path);
            let read = self.sources.keyring.certificate(&beside);
            let problem = match &*read {
                Ok(None) => None,
                Ok(Some(certificate)) if certificate.certified == public_key => {
                    self.add(certificate.blob.clone(), beside.display().to_string(), signer.clone());
                    None
                }
                Ok(Some(_)) => Some("a certificate for another key"),
                Err(problem) => Some(problem.as_str()),
            };
            self.unusable.extend(problem.map(|problem| format!("{}: {problem}", beside.display())));
        }
        // A certificate may also replace the public half.
        if let Some(certificate) = &*self.sources.keyring.certificate_in_public_half(path)
            && certificate.certified == public_key
        {
            let name = private_key::public_path(path).display().to_string();
            self.add(certificate.blob.clone(), name, signer.clone());
        }
        self.add(public_key, path.display().to_string(), signer.clone());
    }

    fn add(&mut self, public_key: Vec<u8>, name: String, signer: Signer) {
        if !self.holds(&public_key) {
            let algorithms = Arc::clone(&self.sources.algorithms);
            self.list.push(Identity { public_key, name, signer, algorithms });
        }
    }

    fn holds(&self, public_key: &[u8]) -> bool {
        self.list.iter().any(|identity| identity.public_key == public_key)
    }

    /// Whether there is anything to offer.
    fn has_any(&self) -> bool {
        self.list.iter().any(|identity| self.sources.algorithms.take_any(&identity.public_key))
    }

    /// Returns the identity of the certificate at `path`, which replaces the agent's identity for it.
    fn certified(&mut self, path: &Path) -> Result<Identity, String> {
        let read = self.sources.keyring.certificate(path);
        let certificate = read.as_ref().as_ref()?.as_ref().ok_or("there is no such file")?;
        let own = self.list.iter().position(|identity| identity.public_key == certificate.blob);
        let own = own.map(|place| self.list.remove(place).signer);
        let of_key = || self.list.iter().find(|identity| identity.signer.is_of(&certificate.certified));
        let signer = own.or_else(|| of_key().map(|identity| identity.signer.clone()));
        Ok(Identity {
            public_key: certificate.blob.clone(),
            name: path.display().to_string(),
            signer: signer.ok_or("there is no private key for this certificate")?,
            algorithms: Arc::clone(&self.sources.algorithms),
        })
    }

    /// Puts the named certificates first, and removes what may not be offered.
    fn finish(mut self) -> Identities {
        let mut first = Vec::new();
        for path in self.sources.certificates {
            match self.certified(path) {
                Ok(identity) => first.push(identity),
                Err(problem) => self.unusable.push(format!("{}: {problem}", path.display())),
            }
        }
        first.append(&mut self.list);
        let (list, refused): (Vec<_>, Vec<_>) =
            first.into_iter().partition(|identity| self.sources.algorithms.take(&identity.public_key));
        let mut unusable = self.unusable;
        let complain =
            |identity: &Identity| format!("{}: PubkeyAcceptedAlgorithms does not allow it", identity.describe());
        unusable.extend(refused.iter().map(complain));
        let are_disallowed = list.is_empty() && !refused.is_empty();
        Identities { list: list.into_iter().map(Arc::new).collect(), unusable, are_disallowed }
    }
}

impl Identity {
    /// Formats the identity for a message: `ssh-ed25519 alice@laptop (agent)`.
    pub fn describe(&self) -> String {
        let kind = key_type(&self.public_key).unwrap_or("unknown type");
        match self.signer {
            Signer::File(_) => format!("{kind} {}", self.name),
            Signer::Agent { .. } => format!("{kind} {} (agent)", self.name),
        }
    }

    /// The same if offered with `algorithm`, which differs from the type of an RSA key.
    pub fn describe_offered(&self, algorithm: Option<&str>) -> String {
        let plain = algorithm.map(|name| name.strip_suffix(CERTIFICATE).unwrap_or(name));
        match plain.filter(|_| self.signature_preference().is_some()) {
            Some(name) => format!("{} (signature {name})", self.describe()),
            None => self.describe(),
        }
    }

    /// Returns its algorithms if it is an RSA key, as libssh2 expects them.
    pub fn signature_preference(&self) -> Option<String> {
        self.algorithms.preference(&self.public_key)
    }

    /// The agent that has it, if that lets it be used for some hosts only.
    pub fn restricting_agent(&self) -> Option<&Agent> {
        match &self.signer {
            Signer::Agent { agent, is_restricted: true, .. } => Some(agent),
            _ => None,
        }
    }

    /// Returns the identity as a signer for the session of `binding`. `None` if the agent does not allow that: it is
    /// not among the `permitted` keys, if these are known.
    pub fn signing<'a>(
        &'a self,
        binding: Option<&'a Binding>,
        permitted: Option<&[AgentKey]>,
        patience: Patience<'a>,
    ) -> Option<Signing<'a>> {
        let by = match &self.signer {
            Signer::File(key) => By::File(key),
            Signer::Agent { key, is_restricted: true, file, .. }
                if permitted.is_some_and(|keys| !keys.iter().any(|held| held.public_key == *key)) =>
            {
                By::File(file.as_ref()?)
            }
            Signer::Agent { agent, key, .. } => By::Agent { agent, key, binding },
        };
        Some(Signing { identity: self, by, patience, was_unbound: Cell::new(false), refused: RefCell::default() })
    }
}

/// An identity that signs for one session, and waits no longer than its job.
pub struct Signing<'a> {
    identity: &'a Identity,
    by: By<'a>,
    patience: Patience<'a>,
    was_unbound: Cell<bool>,
    /// The algorithm with which the agent did not sign, although it allows the key for this host.
    refused: RefCell<Option<String>>,
}

enum By<'a> {
    File(&'a KeyFile),
    Agent { agent: &'a Agent, key: &'a [u8], binding: Option<&'a Binding> },
}

impl Signing<'_> {
    /// Whether an agent signed without having learned for what.
    pub fn was_unbound(&self) -> bool {
        self.was_unbound.get()
    }

    /// Returns the whole signed login request as `user` that names the server's key, if an agent refused to sign one
    /// without: it may sign this one.
    pub fn host_bound_request(&self, user: &str) -> Option<Vec<u8>> {
        let By::Agent { agent, key, binding } = self.by else { return None };
        let algorithm = self.refused.take()?;
        let login = binding?.login(user, &self.identity.public_key, &algorithm)?;
        let signed = agent.sign(key, &algorithm, &login.data, binding, self.patience).ok()?;
        Some(login.message(&signed.answer))
    }
}

impl ffi::Signer for Signing<'_> {
    fn public_key(&self) -> &[u8] {
        &self.identity.public_key
    }

    fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        // If a server does not list its algorithms, libssh2 offers it RSA with SHA-1.
        if !self.identity.algorithms.allow(algorithm) {
            return Err(format!("PubkeyAcceptedAlgorithms does not allow {algorithm}"));
        }
        match self.by {
            By::File(key) => key.sign(algorithm, data),
            By::Agent { agent, key, binding } => {
                let signed = agent.sign(key, algorithm, data, binding, self.patience);
                if signed.is_err() && self.identity.restricting_agent().is_some() {
                    *self.refused.borrow_mut() = Some(algorithm.to_owned());
                }
                let Bound { answer, is_bound } = signed.map_err(|error| reason(&error))?;
                self.was_unbound.set(!is_bound);
                Ok(answer)
            }
        }
    }
}
