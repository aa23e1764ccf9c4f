//! RevokedHostKeys of ssh_config(5): files of revoked host keys, as `sshkey_check_revoked` in authfile.c reads them.
//!
//! Either text, a public key on each line, or a key revocation list (PROTOCOL.krl of OpenSSH, made by `ssh-keygen -k`).
//! A list that OpenSSH 9.2 cannot read is refused, and so are signatures in it, which OpenSSH has given up since.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openssl::sha::{sha1, sha256};

use super::certificate::Certificate;
use super::known_hosts::{Key, TOO_SHORT};
use crate::ssh::wire::WireReader;
use crate::system::files::bounded;
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::system::lock::lock;
use crate::text::message::reason;

/// The magic number of a key revocation list, and its only version.
const MAGIC: &[u8] = b"SSHKRL\n\0";
const VERSION: u32 = 1;
/// The largest accepted file in bytes (SSHBUF_SIZE_MAX of OpenSSH).
const LARGEST: u64 = 0x0800_0000;
/// The largest accepted bitmap in bytes (SSHBUF_MAX_BIGNUM of OpenSSH).
const LARGEST_BITMAP: usize = 16384 / 8;

/// Why a file of revoked keys cannot be used. ssh then refuses every host.
#[derive(Debug, thiserror::Error)]
pub enum RevokedKeysError {
    /// It cannot be read.
    #[error("{}", reason(.0))]
    Read(#[from] io::Error),
    /// A line of text is not a key.
    #[error("line {0}: {1}")]
    Line(usize, &'static str),
    /// A malformed or unsupported key revocation list.
    #[error("key revocation list: {0}")]
    List(&'static str),
    /// It is too large.
    #[error("more than {LARGEST} bytes")]
    TooLarge,
}

impl BeforeStart for RevokedKeysError {
    fn is_unread(&self) -> bool {
        matches!(self, RevokedKeysError::Read(error) if is_unread(error))
    }
}

/// The files of a run, each read once.
#[derive(Default)]
pub struct Files(Mutex<HashMap<PathBuf, Arc<RevokedKeys>>>);

impl Files {
    /// Returns the keys of the file at `path`.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub fn load(&self, path: &Path) -> Result<Arc<RevokedKeys>, RevokedKeysError> {
        if let Some(keys) = lock(&self.0).get(path) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(RevokedKeys::read(path)?);
        lock(&self.0).insert(path.to_owned(), Arc::clone(&keys));
        Ok(keys)
    }
}

/// The revoked keys of one file.
#[derive(Debug)]
pub struct RevokedKeys {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// Key blobs, with their lines.
    Text(HashMap<Vec<u8>, usize>),
    List(List),
}

/// A key revocation list.
#[derive(Debug, Default)]
struct List {
    keys: HashSet<Vec<u8>>,
    sha1: HashSet<Vec<u8>>,
    sha256: HashSet<Vec<u8>>,
    certificates: Vec<OfAuthority>,
}

/// The revoked certificates of one authority.
#[derive(Debug, Default)]
struct OfAuthority {
    /// The authority's key; `None` for any.
    authority: Option<Vec<u8>>,
    /// Ranges of serial numbers.
    serials: Vec<(u64, u64)>,
    ids: HashSet<Vec<u8>>,
}

impl RevokedKeys {
    fn read(path: &Path) -> Result<RevokedKeys, RevokedKeysError> {
        let bytes = bounded::read(path, LARGEST).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => RevokedKeysError::TooLarge,
            _ => error.into(),
        })?;
        RevokedKeys::parse(path, &bytes)
    }

    /// Parses the bytes of a file.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<RevokedKeys, RevokedKeysError> {
        let contents = match bytes.strip_prefix(MAGIC) {
            Some(rest) => Contents::List(List::parse(rest).map_err(RevokedKeysError::List)?),
            None => Contents::Text(lines(bytes)?),
        };
        Ok(RevokedKeys { path: path.to_owned(), contents })
    }

    /// Returns what revokes `key`, the plain key of `certificate` if it has one: the certificate, the key or the
    /// authority.
    pub fn revoking(&self, key: &Key, certificate: Option<&Certificate>) -> Option<String> {
        let path = self.path.display();
        let authority = certificate.map(|certificate| &certificate.authority.blob);
        match &self.contents {
            Contents::Text(lines) => {
                let own = lines.get(&key.blob).map(|line| format!("{path}:{line}"));
                let of_authority = || Some(format!("{path}:{} (its CA)", lines.get(authority?)?));
                own.or_else(of_authority)
            }
            Contents::List(list) => {
                let how = list.key(&key.blob).or_else(|| list.certificate(certificate?));
                let how = how.or_else(|| list.key(authority?).map(|_| "its CA key"));
                how.map(|how| format!("{path} ({how})"))
            }
        }
    }
}

/// Parses the keys of a text, one per line; blank lines and comments are skipped.
fn lines(text: &[u8]) -> Result<HashMap<Vec<u8>, usize>, RevokedKeysError> {
    let mut keys = HashMap::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match line[blanks..].first() {
            None | Some(b'#' | 0) => continue,
            Some(_) => {}
        }
        match Key::from_line(&line[blanks..]) {
            Ok(key) => drop(keys.entry(key.blob).or_insert(number)),
            Err(TOO_SHORT) => {}
            Err(problem) => return Err(RevokedKeysError::Line(number, problem)),
        }
    }
    Ok(keys)
}

const SHORT: &str = "it is truncated";

impl List {
    /// Parses what follows the magic number.
    fn parse(bytes: &[u8]) -> Result<List, &'static str> {
        let mut reader = WireReader(bytes);
        if reader.u32().ok_or(SHORT)? != VERSION {
            return Err("its version is unknown");
        }
        let _version_date_flags = (reader.u64(), reader.u64(), reader.u64().ok_or(SHORT)?);
        let (_reserved, _comment) = (reader.string().ok_or(SHORT)?, reader.string().ok_or(SHORT)?);
        let mut list = List::default();
        while !reader.0.is_empty() {
            let (kind, section) = (reader.byte().ok_or(SHORT)?, reader.string().ok_or(SHORT)?);
            match kind {
                1 => list.certificates.push(OfAuthority::parse(section)?),
                2 => list.keys.extend(strings(section, None)?),
                3 => list.sha1.extend(strings(section, Some(20))?),
                4 => return Err("it is signed, which is not supported"),
                5 => list.sha256.extend(strings(section, Some(32))?),
                _ => return Err("it has a section of unknown type"),
            }
        }
        Ok(list)
    }

    /// Returns how a key is revoked, if it is.
    fn key(&self, blob: &[u8]) -> Option<&'static str> {
        if self.sha1.contains(&sha1(blob)[..]) || self.sha256.contains(&sha256(blob)[..]) {
            Some("the key's hash")
        } else {
            self.keys.contains(blob).then_some("the key")
        }
    }

    /// Returns how a certificate is revoked, if it is.
    fn certificate(&self, certificate: &Certificate) -> Option<&'static str> {
        let authority = &certificate.authority.blob;
        let concerned = |of: &&OfAuthority| of.authority.as_ref().is_none_or(|it| it == authority);
        self.certificates.iter().filter(concerned).find_map(|of| of.revoking(certificate))
    }
}

impl OfAuthority {
    fn parse(section: &[u8]) -> Result<OfAuthority, &'static str> {
        let mut reader = WireReader(section);
        let (authority, _reserved) = (reader.string().ok_or(SHORT)?, reader.string().ok_or(SHORT)?);
        let mut of = OfAuthority::default();
        if !authority.is_empty() {
            of.authority = Some(Key::parse(authority).map_err(|_| "a CA key is malformed")?.blob);
        }
        while !reader.0.is_empty() {
            let (kind, section) = (reader.byte().ok_or(SHORT)?, reader.string().ok_or(SHORT)?);
            let mut numbers = WireReader(section);
            match kind {
                0x20 => {
                    while !numbers.0.is_empty() {
                        let serial = numbers.u64().ok_or(SHORT)?;
                        of.add(serial, serial)?;
                    }
                }
                0x21 => of.add(numbers.u64().ok_or(SHORT)?, numbers.u64().ok_or(SHORT)?)?,
                0x22 => of.add_bitmap(numbers.u64().ok_or(SHORT)?, numbers.string().ok_or(SHORT)?)?,
                0x23 => {
                    of.ids.extend(strings(section, None)?);
                    numbers.0 = &[];
                }
                _ => return Err("it revokes certificates in an unknown way"),
            }
            if !numbers.0.is_empty() {
                return Err("extra bytes follow the serial numbers");
            }
        }
        Ok(of)
    }

    fn add(&mut self, first: u64, last: u64) -> Result<(), &'static str> {
        if first == 0 || first > last {
            return Err("a range of serial numbers is invalid");
        }
        self.serials.push((first, last));
        Ok(())
    }

    /// Adds the serial numbers of the set bits; the last bit of the bitmap is that of `offset`.
    fn add_bitmap(&mut self, offset: u64, bitmap: &[u8]) -> Result<(), &'static str> {
        if bitmap.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err("a bitmap is negative");
        }
        let start = bitmap.iter().position(|byte| *byte != 0).unwrap_or(bitmap.len());
        if bitmap.len() - start > LARGEST_BITMAP {
            return Err("a bitmap is too large");
        }
        for (place, byte) in (0..).zip(bitmap[start..].iter().rev()) {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let serial = offset.checked_add(8 * place + bit).ok_or("a bitmap exceeds the serial numbers")?;
                self.add(serial, serial)?;
            }
        }
        Ok(())
    }

    fn revoking(&self, certificate: &Certificate) -> Option<&'static str> {
        // 0 means that the authority does not number its certificates.
        let serial = certificate.serial;
        let has = |&(first, last): &(u64, u64)| serial != 0 && (first..=last).contains(&serial);
        if self.ids.contains(&certificate.id) {
            Some("the ID of its certificate")
        } else {
            self.serials.iter().any(has).then_some("the serial number of its certificate")
        }
    }
}

/// Reads the strings of a section, each of `length` if given.
fn strings(section: &[u8], length: Option<usize>) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut reader = WireReader(section);
    let mut found = Vec::new();
    while !reader.0.is_empty() {
        let string = reader.string().ok_or(SHORT)?;
        if length.is_some_and(|length| string.len() != length) {
            return Err("a hash has the wrong length");
        }
        found.push(string.to_vec());
    }
    Ok(found)
}
