//! Which host keys are known: OpenSSH's known_hosts files, with OpenSSH's verdict.
//!
//! The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; what it leaves open follows the source of the `ssh`
//! client (hostfile.c, match.c, sshkey.c and `check_host_key` in sshconnect.c). libssh2's own reader is not used: it
//! ignores `@revoked`, knows no wildcards, and rejects a whole file for one bad line.
//!
//! Names are compared as the caller gives them (`HostName` after expansion): in lower case, IPv6 addresses in their
//! shortest form, `[name]:port` unless the port is 22. For a `HostKeyAlias` pass port 22, since OpenSSH adds no port to it.
//!
//! Four things are stricter than OpenSSH 9.2. A marker may be followed by a tab even if the line has spaces further on,
//! where OpenSSH silently skips the line, be it `@revoked`. A key revoked under the name without port is refused
//! with `accept-new` too, where OpenSSH prints its warning and then adds the key. An authority revoked under the name
//! without port is refused there too, where OpenSSH goes on with the plain key. And a file that cannot be read is an
//! error, where OpenSSH passes over it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use rustix::fs::{FlockOperation, flock};

use super::known_hosts_file::{Line, Marker, Seen, Table, hashed};
pub use crate::ssh::keys::public_key::{Key, TOO_SHORT, fingerprint, key_type};

use crate::system::files::bounded;
use crate::system::lock::lock;
use crate::text::message::reason;

/// What the known_hosts files say about a key that a host presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key is the host's.
    Known(KeyLine),
    /// No key is known for the host.
    Unknown,
    /// Other keys are known for the host, of whatever type, and this isn't one of them. In file order, never empty;
    /// OpenSSH's message names the last.
    Changed(Vec<KeyLine>),
    /// The key is marked `@revoked`, whatever other lines say.
    Revoked(KeyLine),
}

/// The line that led to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// The file, as it was given to [`KnownHosts::load`].
    pub file: Arc<Path>,
    /// Counted from 1; 0 for a key that was accepted in this run but could not be written.
    pub line: u64,
    /// The type of the key on that line, such as `ssh-ed25519`.
    pub key_type: &'static str,
}

impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A file or a line that could not be used. Like OpenSSH, report a line only with `-v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file, as it was given to [`KnownHosts::load`].
    pub file: Arc<Path>,
    /// The line, counted from 1; `None` if the file cannot be read.
    pub line: Option<u64>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// The result of [`KnownHosts::remember`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// The key was added.
    Added(KeyLine),
    /// Another job or process added a key of the host first; this is the verdict now.
    Already(Verdict),
}

/// Why a key was not written.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// There is no user file. OpenSSH then refuses the host.
    #[error("there is no known_hosts file to add the key to")]
    NoFile,
    /// The name would mean something else in the file. OpenSSH then refuses the host.
    #[error("the name {0:?} can't be written to a known_hosts file")]
    Name(String),
    /// The host presented something that isn't a key.
    #[error("the host key is malformed: {0}")]
    Key(&'static str),
    /// The file can't be written. OpenSSH warns and goes on; the key holds for the rest of the run.
    #[error("failed to add the host key to {}: {}", .path.display(), reason(.source))]
    Write {
        /// The user's known_hosts file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The known_hosts files of a run, shared by all its jobs.
pub struct KnownHosts {
    /// Where new keys go.
    user_file: Option<Arc<Path>>,
    hash_names: bool,
    refused: Option<Note>,
    table: RwLock<Table>,
    /// How far the user's file was read. The lock also makes "look, then append" one step.
    seen: Mutex<Seen>,
}

impl fmt::Debug for KnownHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownHosts").field("user_file", &self.user_file).finish_non_exhaustive()
    }
}

impl KnownHosts {
    /// Reads the files of `UserKnownHostsFile`, then those of `GlobalKnownHostsFile`. A missing file is an empty one; one that
    /// cannot be read is [`refused`](KnownHosts::refused).
    pub fn load(user: &[PathBuf], global: &[PathBuf]) -> KnownHosts {
        let mut table = Table::default();
        let (mut first_seen, mut refused) = (None, None);
        for path in user.iter().chain(global) {
            let file: Arc<Path> = Arc::from(path.as_path());
            let mut seen = Seen::default();
            let read = bounded::open(path).and_then(|mut opened| table.read_on(&file, &mut opened, &mut seen));
            match read {
                // Below what is not a directory there is no file either.
                Err(err) if !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    refused.get_or_insert(Note { file, line: None, reason: reason(&err) });
                }
                _ => {}
            }
            first_seen.get_or_insert(seen);
        }
        KnownHosts {
            user_file: user.first().map(|path| Arc::from(path.as_path())),
            hash_names: false,
            refused,
            table: RwLock::new(table),
            seen: Mutex::new(first_seen.unwrap_or_default()),
        }
    }

    /// Parses the lines of a text, which messages call `path`.
    pub(crate) fn of_text(path: &Path, text: &[u8]) -> KnownHosts {
        let known = KnownHosts::load(&[], &[]);
        known.table.write().unwrap_or_else(PoisonError::into_inner).add(&path.into(), 1, text.to_owned());
        known
    }

    /// Whether [`remember`](KnownHosts::remember) writes names hashed (`HashKnownHosts`); it doesn't by default.
    pub fn hash_names(self, hash_names: bool) -> KnownHosts {
        KnownHosts { hash_names, ..self }
    }

    /// Returns the first file that exists and cannot be read, if any. ssh skips it, but it may revoke keys, so that
    /// connecting is not safe.
    pub fn refused(&self) -> Option<&Note> {
        self.refused.as_ref()
    }

    /// Returns the file for new keys, if there is one.
    pub fn user_file(&self) -> Option<&Path> {
        self.user_file.as_deref()
    }

    /// Returns what could not be used. Lines with a malformed key are found only when their host is looked up.
    pub fn notes(&self) -> Vec<Note> {
        self.table().notes()
    }

    /// The table with its index made: a run that connects to no host needs none.
    fn table(&self) -> RwLockReadGuard<'_, Table> {
        loop {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            if table.is_indexed() {
                return table;
            }
            drop(table);
            self.table.write().unwrap_or_else(PoisonError::into_inner).index();
        }
    }

    /// Returns all lines about a host.
    pub fn lookup(&self, host: &str, port: u16) -> Entries {
        self.lookup_since(0, host, port).0
    }

    /// Returns the lines about a host from number `since` of the table on, and the current number of lines.
    fn lookup_since(&self, since: usize, host: &str, port: u16) -> (Entries, usize) {
        let table = self.table();
        let (name, portless) = names(host, port);
        let named = table.matching(&name, since);
        let lacks = |marker| !named.iter().any(|line| line.marker == marker);
        let fall_back = lacks(Marker::None) || table.certifies && lacks(Marker::Authority);
        let portless = portless.filter(|_| fall_back).map(|name| table.matching(&name, since)).unwrap_or_default();
        (Entries { named, portless }, table.lines())
    }

    /// [`Entries::check`] for one host.
    pub fn check(&self, host: &str, port: u16, key_blob: &[u8]) -> Verdict {
        self.lookup(host, port).check(key_blob)
    }

    /// [`Entries::key_types`] for one host.
    pub fn key_types(&self, host: &str, port: u16) -> Vec<&'static str> {
        self.lookup(host, port).key_types()
    }

    /// Adds the key of an unknown host to the user's first file (`StrictHostKeyChecking accept-new`).
    ///
    /// Of several jobs that do this for one host at once the first wins; the others learn that, and whether their key
    /// is the same. A key that can't be written still counts for the rest of the run.
    ///
    /// # Errors
    /// There is no such file, the key or the name cannot be recorded, or the file cannot be written.
    pub fn remember(&self, host: &str, port: u16, key_blob: &[u8]) -> Result<Remembered, RememberError> {
        let file = self.user_file.as_ref().ok_or(RememberError::NoFile)?;
        let key = Key::parse(key_blob).map_err(RememberError::Key)?;
        let (name, _) = names(host, port);
        if !recordable(&name) {
            return Err(RememberError::Name(name));
        }
        // Search all lines without the lock, since that takes a while if many are hashed, then the new ones under it.
        let (entries, searched) = self.lookup_since(0, host, port);
        match entries.check(key_blob) {
            Verdict::Unknown => {}
            verdict => return Ok(Remembered::Already(verdict)),
        }
        let mut seen = lock(&self.seen);
        let mut opened = seen.open(file);
        // A FIFO that is also open for writing never ends.
        if let Ok(opened) = &mut opened
            && opened.metadata().is_ok_and(|about| about.is_file())
        {
            // Append even if reading what other processes added fails.
            let _ = self.table.write().unwrap_or_else(PoisonError::into_inner).read_on(file, opened, &mut seen);
        }
        match self.lookup_since(searched, host, port).0.check(key_blob) {
            Verdict::Unknown => {}
            verdict => return Ok(Remembered::Already(verdict)),
        }

        let failed = |source| RememberError::Write { path: file.to_path_buf(), source };
        let name = if self.hash_names { hashed(&name).map_err(failed)? } else { name };
        let text = format!("{name} {}\n", key.to_text());
        let added = opened.and_then(|mut opened| seen.append(&mut opened, text.as_bytes()).map(|line| (opened, line)));
        let line = added.as_ref().map_or(0, |(_, line)| *line);
        self.table.write().unwrap_or_else(PoisonError::into_inner).add(file, line, text.into_bytes());
        let (opened, _) = added.map_err(failed)?;

        // An error of the unlock does not matter: closing unlocks too.
        let _ = flock(&opened, FlockOperation::Unlock);
        // The sync is outside of the lock, where the system can combine those of many jobs.
        drop(seen);
        match opened.sync_all() {
            // A pipe or /dev/null.
            Err(err) if err.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced.map_err(failed)?,
        }
        Ok(Remembered::Added(KeyLine { file: file.clone(), line, key_type: key.kind.plain }))
    }
}

/// The lines about one host, from one look at the files.
#[derive(Debug, Clone)]
pub struct Entries {
    named: Vec<Arc<Line>>,
    /// The lines for the name without port. Empty on port 22, and where it can't matter.
    portless: Vec<Arc<Line>>,
}

impl Entries {
    /// Returns the verdict on a key, or on the plain key of a certificate.
    ///
    /// On a port other than 22 the lines for the name without port count when there are none for `[name]:port`, but
    /// only to know or to revoke the key: another key there doesn't mean that the host's has changed.
    pub fn check(&self, key_blob: &[u8]) -> Verdict {
        self.judge(Marker::None, key_blob, &[])
    }

    /// Returns the verdict on the authority (`@cert-authority`) that signed a host's certificate. The caller checks its
    /// principals, dates and signature; if this isn't `Known`, OpenSSH tries [`check`](Entries::check) next, unless it
    /// is `Revoked`, which it also is if `key_blob`, the certificate or its plain key, is.
    pub fn check_authority(&self, authority_blob: &[u8], key_blob: &[u8]) -> Verdict {
        self.judge(Marker::Authority, authority_blob, key_blob)
    }

    /// Adds the lines of `others`, for the name with its port, after these.
    pub fn and(mut self, others: Entries) -> Entries {
        self.named.extend(others.named);
        self
    }

    /// Whether a certificate can make the host known.
    pub fn has_authorities(&self) -> bool {
        self.has(Marker::Authority)
    }

    /// Whether a line revokes a key. The key may be that of a certificate's authority, which is known only from the
    /// certificate.
    pub fn has_revocations(&self) -> bool {
        self.has(Marker::Revoked)
    }

    fn has(&self, marker: Marker) -> bool {
        self.named.iter().chain(&self.portless).any(|line| line.marker == marker)
    }

    /// The types of the known keys (`ssh-rsa` for RSA keys, whatever the signature), in file order, to ask the host for
    /// these first. A type is left out if the first key of it is revoked. (`order_hostkeyalgs` of OpenSSH; unlike there,
    /// the lines for the name without port count if there are no others, as they do in the check that follows.)
    pub fn key_types(&self) -> Vec<&'static str> {
        let is_key = |line: &&Arc<Line>| line.marker == Marker::None && !line.kind.certificate;
        let lines = if self.named.iter().any(|line| is_key(&line)) { &self.named } else { &self.portless };
        let mut firsts: Vec<&Arc<Line>> = Vec::new();
        for line in lines.iter().filter(is_key) {
            if firsts.iter().all(|first| first.kind.plain != line.kind.plain) {
                firsts.push(line);
            }
        }
        firsts.retain(|first| revoking(lines, first.blob()).is_none());
        firsts.iter().map(|first| first.kind.plain).collect()
    }

    fn judge(&self, wanted: Marker, key_blob: &[u8], also_not_revoked: &[u8]) -> Verdict {
        let [key, other] = [key_blob, also_not_revoked].map(|blob| Key::parse(blob).map_or(vec![], |key| key.blob));
        let judge = |lines: &[Arc<Line>]| {
            if let Some(line) = revoking(lines, &key).or_else(|| revoking(lines, &other)) {
                return Verdict::Revoked(line.place());
            }
            let candidates: Vec<_> = lines.iter().filter(|line| line.marker == wanted).collect();
            let usable = |line: &Line| wanted == Marker::Authority || !line.kind.certificate;
            match candidates.iter().find(|line| line.is(&key) && usable(line)) {
                Some(line) => Verdict::Known(line.place()),
                None if candidates.is_empty() => Verdict::Unknown,
                None => Verdict::Changed(candidates.iter().map(|line| line.place()).collect()),
            }
        };
        match judge(&self.named) {
            Verdict::Unknown => match judge(&self.portless) {
                Verdict::Changed(_) => Verdict::Unknown,
                verdict => verdict,
            },
            verdict => verdict,
        }
    }
}

fn revoking<'a>(lines: &'a [Arc<Line>], blob: &[u8]) -> Option<&'a Arc<Line>> {
    lines.iter().find(|line| line.marker == Marker::Revoked && line.is(blob))
}

/// The name under which a host is looked up, and the one without port to fall back on.
fn names(host: &str, port: u16) -> (String, Option<String>) {
    let (address, zone) = host.find('%').map_or((host, ""), |at| host.split_at(at));
    let host = match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("{address}{zone}"),
        Err(_) => host.to_ascii_lowercase(),
    };
    if port == 22 { (host, None) } else { (format!("[{host}]:{port}"), Some(host)) }
}

/// Whether a name is literal in a known_hosts file: without the characters that OpenSSH refuses to write, and those
/// that would split the name. A bracketed name has a port.
fn recordable(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:")).map_or(name, |(inner, _)| inner);
    let forbidden = |char: char| char.is_ascii_control() || " ,!@?*#[]|'\"\\".contains(char);
    !inner.is_empty() && !inner.contains(forbidden)
}
