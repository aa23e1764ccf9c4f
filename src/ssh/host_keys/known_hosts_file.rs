//! The files and their lines: reading, finding the lines of a name, appending.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Seek, SeekFrom, Write};
use std::iter;
use std::mem;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::Sha1;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::known_hosts::{KeyLine, Note};
use crate::ssh::keys::public_key::{Key, Kind};
use crate::system::files::bounded;
use crate::system::files::trusted_path;
use crate::text::wildcard::matches_any;

/// A line with a name of this length or more matches no host in OpenSSH (the buffer of `match_pattern_list`).
const NAME_LIMIT: usize = 1023;

/// How long to wait for another process's lock on the file: appending works without it, only with the risk that both
/// processes add the same host, so a lock held for long must not stop a run.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    None,
    Revoked,
    Authority,
}

/// A line with a key of a known type, for the hosts that it is about.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) file: Arc<Path>,
    pub(crate) number: u64,
    pub(crate) marker: Marker,
    pub(crate) kind: &'static Kind,
    key: Result<Key, &'static str>,
}

impl Line {
    pub(crate) fn key(&self) -> Result<&Key, &'static str> {
        self.key.as_ref().map_err(|reason| *reason)
    }

    pub(crate) fn blob(&self) -> &[u8] {
        self.key().map_or(&[], |key| &key.blob)
    }

    /// Whether this is the line's key; a malformed key equals none.
    pub(crate) fn is(&self, blob: &[u8]) -> bool {
        !blob.is_empty() && self.blob() == blob
    }

    pub(crate) fn place(&self) -> KeyLine {
        KeyLine { file: self.file.clone(), line: self.number, key_type: self.kind.plain }
    }
}

/// A hashed name: `|1|salt|HMAC-SHA1 of the name`, both in base64.
struct HashedName {
    salted: Salted,
    hash: [u8; 20],
    line: usize,
}

/// What was read from a file at once.
struct Text {
    file: Arc<Path>,
    /// The number of its first line.
    first_number: u64,
    bytes: Vec<u8>,
}

/// Where a part of a [`Text`] is.
#[derive(Clone, Copy)]
struct Part {
    text: u32,
    start: u32,
    length: u32,
}

/// A line as the index knows it. A [`Line`] is made of it when a host first needs it: most runs need few of the lines.
struct Row {
    base64: Part,
    number: u64,
    marker: Marker,
    kind: &'static Kind,
    line: OnceLock<Arc<Line>>,
}

/// A name of a line, without patterns.
struct Name {
    name: Part,
    row: u32,
    /// The last one before it with the same hash, as its number plus one; 0 if there is none.
    previous: u32,
}

/// All lines of all files in order, with an index by host, which is made when a host is first looked up.
#[derive(Default)]
pub(crate) struct Table {
    texts: Vec<Text>,
    /// How many of the texts are in the index.
    indexed: usize,
    rows: Vec<Row>,
    names: Vec<Name>,
    /// The last of `names` with a hash, as its number plus one. The hash is of the name in lower case.
    exact: HashMap<u64, u32>,
    hasher: RandomState,
    /// Lists of names with wildcards or negation, in lower case.
    patterns: Vec<(Box<[u8]>, usize)>,
    hashed: Vec<HashedName>,
    /// Whether a line has a marker and so may concern certificates.
    pub(crate) certifies: bool,
    notes: Vec<Note>,
}

impl Table {
    /// Reads what was added to a file since the last read; all of it, if it was replaced since.
    pub(crate) fn read_on(&mut self, file: &Arc<Path>, opened: &mut File, seen: &mut Seen) -> io::Result<()> {
        let metadata = opened.metadata()?;
        let id = Some((metadata.dev(), metadata.ino()));
        if !metadata.is_file() && seen.id.is_some() {
            // Reading from a pipe again might never end.
            return Ok(());
        }
        if seen.id != id || metadata.len() < seen.bytes {
            *seen = Seen { id, ..Seen::default() };
        }
        if metadata.is_file() {
            opened.seek(SeekFrom::Start(seen.bytes))?;
        }
        let text = bounded::read_rest(opened, bounded::LIST)?;
        let first_number = seen.lines + 1;
        seen.count(&text);
        self.add(file, first_number, text);
        Ok(())
    }

    /// Adds a text, whose first line has the number `first_number`, without looking into it.
    pub(crate) fn add(&mut self, file: &Arc<Path>, first_number: u64, bytes: Vec<u8>) {
        self.texts.push(Text { file: file.clone(), first_number, bytes });
    }

    /// Whether all that was read is in the index. [`matching`](Table::matching) needs that.
    pub(crate) fn is_indexed(&self) -> bool {
        self.indexed == self.texts.len()
    }

    /// Puts what was read into the index.
    pub(crate) fn index(&mut self) {
        for at in self.indexed..self.texts.len() {
            // Lines refer to their text by its place, so the index can grow while it is read from here.
            let bytes = mem::take(&mut self.texts[at].bytes);
            // A line of an ed25519 key has 80 bytes beside its names.
            self.rows.reserve(bytes.len() / 120);
            self.names.reserve(bytes.len() / 120);
            self.exact.reserve(bytes.len() / 120);
            for (number, line) in (self.texts[at].first_number..).zip(bytes.split(|byte| *byte == b'\n')) {
                if let Err(reason) = self.read_line(at, number, &bytes, line) {
                    let file = self.texts[at].file.clone();
                    self.notes.push(Note { file, line: Some(number), reason: reason.to_owned() });
                }
            }
            self.texts[at].bytes = bytes;
        }
        self.indexed = self.texts.len();
    }

    fn read_line(&mut self, text: usize, number: u64, bytes: &[u8], line: &[u8]) -> Result<(), &'static str> {
        let part = |part: &[u8]| {
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            Part { text: text as u32, start: start as u32, length: part.len() as u32 }
        };
        // A NUL byte ends a line for OpenSSH, and a CR is a blank at the end of one.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut rest = skip_blanks(line.trim_ascii_end());
        if rest.is_empty() || rest[0] == b'#' {
            return Ok(());
        }
        let mut marker = Marker::None;
        if rest[0] == b'@' {
            marker = match field(&mut rest) {
                b"@revoked" => Marker::Revoked,
                b"@cert-authority" => Marker::Authority,
                _ => return Err("unknown marker"),
            };
            if rest.first() == Some(&b'@') {
                return Err("two markers");
            }
        }
        let names = field(&mut rest);
        let kind = field(&mut rest);
        let base64 = field(&mut rest);
        if base64.is_empty() {
            return Err("no key");
        }
        let kind = Kind::named(kind).ok_or("unknown key type")?;

        let row = self.rows.len();
        if names.starts_with(b"|") {
            let (salt, hash) = parse_hashed(names).ok_or("malformed hashed name")?;
            self.hashed.push(HashedName { salted: Salted::new(&salt), hash, line: row });
        } else {
            let each = || names.split(|byte| *byte == b',');
            if each().any(|name| name.strip_prefix(b"!").unwrap_or(name).len() >= NAME_LIMIT) {
                return Err("name too long");
            }
            if names.iter().any(|byte| b"*?!".contains(byte)) {
                self.patterns.push((names.to_ascii_lowercase().into(), row));
            } else {
                for name in each() {
                    let hash = self.hash(name);
                    self.names.push(Name { name: part(name), row: row as u32, previous: 0 });
                    let number = self.names.len();
                    let previous = self.exact.insert(hash, number as u32).unwrap_or_default();
                    self.names[number - 1].previous = previous;
                }
            }
        }
        self.certifies |= marker != Marker::None;
        self.rows.push(Row { base64: part(base64), number, marker, kind, line: OnceLock::new() });
        Ok(())
    }

    /// The hash of a name in lower case; the name is shorter than [`NAME_LIMIT`].
    fn hash(&self, name: &[u8]) -> u64 {
        let mut lower = [0; NAME_LIMIT];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.hasher.hash_one(&*lower)
    }

    fn bytes(&self, part: Part) -> &[u8] {
        let start = part.start as usize;
        &self.texts[part.text as usize].bytes[start..start + part.length as usize]
    }

    fn line(&self, row: usize) -> &Arc<Line> {
        let Row { base64, number, marker, kind, line } = &self.rows[row];
        line.get_or_init(|| {
            let file = self.texts[base64.text as usize].file.clone();
            let key = Key::from_text(kind, self.bytes(*base64));
            Arc::new(Line { file, number: *number, marker: *marker, kind, key })
        })
    }

    /// How many lines the index has.
    pub(crate) fn lines(&self) -> usize {
        self.rows.len()
    }

    /// Returns the lines about a name from index `since` on, in order, without those with a malformed key.
    pub(crate) fn matching(&self, name: &str, since: usize) -> Vec<Arc<Line>> {
        let name = name.as_bytes();
        let patterns = &self.patterns[self.patterns.partition_point(|(_, line)| *line < since)..];
        let hashed = &self.hashed[self.hashed.partition_point(|it| it.line < since)..];
        let mut found: Vec<usize> = self.named(name).collect();
        found.extend(patterns.iter().filter(|(list, _)| matches_list(name, list)).map(|(_, line)| line));
        found.extend(hashed.iter().filter(|it| it.salted.hash(name) == it.hash).map(|it| it.line));
        found.retain(|line| *line >= since);
        found.sort_unstable();
        found.dedup();
        found.iter().map(|line| self.line(*line)).filter(|line| line.key().is_ok()).cloned().collect()
    }

    /// The rows with a name that needs no pattern matching, the last one first.
    fn named(&self, name: &[u8]) -> impl Iterator<Item = usize> {
        let last = (name.len() < NAME_LIMIT).then(|| self.exact.get(&self.hash(name)).copied()).flatten();
        let entry = |number: u32| self.names.get((number as usize).wrapping_sub(1));
        iter::successors(entry(last.unwrap_or_default()), move |it| entry(it.previous))
            .filter(move |it| self.bytes(it.name).eq_ignore_ascii_case(name))
            .map(|it| it.row as usize)
    }

    /// What could not be used. A malformed key is found only when its host is looked up.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let bad_keys = self.rows.iter().filter_map(|row| {
            let line = row.line.get()?;
            let reason = line.key().err()?.to_owned();
            Some(Note { file: line.file.clone(), line: Some(line.number), reason })
        });
        self.notes.iter().cloned().chain(bad_keys).collect()
    }
}

/// How far a file was read, to continue after others added lines to it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Device and inode; `None` if there was no file.
    id: Option<(u64, u64)>,
    bytes: u64,
    /// Complete lines only.
    lines: u64,
    in_line: bool,
    /// The time spent waiting for the lock since it was last got.
    waited: Duration,
}

impl Seen {
    /// Opens the file for appending and locks it. A new one is private to the user, as is its directory if that is new.
    pub(crate) fn open(&mut self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = || trusted_path::open(CWD, path, flags, Mode::RUSR | Mode::WUSR);
        let file = match (open(), path.parent()) {
            (Err(err), Some(parent)) if err.kind() == io::ErrorKind::NotFound => {
                match DirBuilder::new().mode(0o700).create(parent) {
                    Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
                    _ => open()?,
                }
            }
            (opened, _) => opened?,
        };
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if self.waited < LOCK_PATIENCE => {
                    thread::sleep(LOCK_INTERVAL);
                    self.waited += LOCK_INTERVAL;
                }
                Err(_) => break,
                Ok(()) => {
                    self.waited = Duration::ZERO;
                    break;
                }
            }
        }
        Ok(file)
    }

    fn count(&mut self, text: &[u8]) {
        self.bytes += text.len() as u64;
        self.lines += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.in_line = text.last().map_or(self.in_line, |last| *last != b'\n');
    }

    /// Appends a line in one write, after a newline if the last line lacks it; returns the line's number.
    pub(crate) fn append(&mut self, opened: &mut File, line: &[u8]) -> io::Result<u64> {
        let text = [if self.in_line { &b"\n"[..] } else { b"" }, line].concat();
        let written = opened.write(&text)?;
        self.count(&text[..written]);
        if written < text.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(self.lines) }
    }
}

/// Hashes a name with a new salt.
pub(crate) fn hashed(name: &str) -> io::Result<String> {
    let mut salt = [0; 20];
    openssl::rand::rand_bytes(&mut salt)?;
    let hash = Salted::new(&salt).hash(name.as_bytes());
    Ok(format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

fn parse_hashed(name: &[u8]) -> Option<([u8; 20], [u8; 20])> {
    let (salt, hash) = std::str::from_utf8(name).ok()?.strip_prefix("|1|")?.split_once('|')?;
    let decode = |text| STANDARD.decode(text).ok()?.try_into().ok();
    Some((decode(salt)?, decode(hash)?))
}

/// HMAC-SHA1 (RFC 2104) with the salt as its key, over OpenSSL's plain SHA-1: its HMAC interface costs several times as
/// much for so short a text, and this runs for each hashed line and host. Both hashes have taken in the salt already.
struct Salted {
    inner: Sha1,
    outer: Sha1,
}

impl Salted {
    fn new(salt: &[u8; 20]) -> Salted {
        let start = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
            let mut sha = Sha1::new();
            sha.update(&block);
            sha
        };
        Salted { inner: start(0x36), outer: start(0x5c) }
    }

    fn hash(&self, text: &[u8]) -> [u8; 20] {
        let (mut inner, mut outer) = (self.inner.clone(), self.outer.clone());
        inner.update(text);
        outer.update(&inner.finish());
        outer.finish()
    }
}

/// Whether one of the comma-separated patterns matches, and none of the negated ones.
fn matches_list(name: &[u8], list: &[u8]) -> bool {
    let items = list.split(|byte| *byte == b',');
    matches_any(name, items.map(|item| item.strip_prefix(b"!").map_or((false, item), |pattern| (true, pattern))))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// Splits the text up to the next blank, and the blanks after it, off the front of `rest`.
fn field<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    let (field, after) = rest.split_at(end);
    *rest = skip_blanks(after);
    field
}
