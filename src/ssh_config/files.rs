//! The files that an Include matches.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::text::wildcard::matches_with;

/// The most files that a pattern may match, or directories on the way to them.
const MOST_FOUND: usize = 10_000;

/// Returns the files that match a pattern of glob(3), in order. Unreadable directories have no files, as there.
///
/// # Errors
/// The pattern uses an unsupported feature.
pub(super) fn glob(pattern: &str) -> Result<Vec<PathBuf>, &'static str> {
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let part = parse(part.as_bytes())?;
        found = match literal(&part) {
            Some(name) => found.iter().map(|dir| dir.join(OsStr::from_bytes(&name))).collect(),
            None => found.iter().flat_map(|dir| entries(dir, &part)).take(MOST_FOUND + 1).collect(),
        };
        if found.len() > MOST_FOUND {
            return Err("the pattern matches more than 10000 files");
        }
    }
    // glob(3) finds dangling links too.
    found.retain(|path| fs::symlink_metadata(path).is_ok());
    found.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    Ok(found)
}

/// The entries of a directory that match.
fn entries(dir: &Path, pattern: &[Token]) -> Vec<PathBuf> {
    let hidden = matches!(pattern.first(), Some(Token::Byte(b'.')));
    let place = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let names = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let good = |name: &[u8]| (hidden || !name.starts_with(b".")) && matches(name, pattern);
    names.filter(|name| good(name.as_bytes())).map(|name| dir.join(name)).collect()
}

/// A part of a pattern.
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[a-z]`, `[!a-z]`
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(own) => *own == byte,
            Token::One => true,
            Token::Any => false,
            Token::Set { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&byte)) != *negated
            }
        }
    }
}

fn parse(pattern: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let [byte, after @ ..] = rest {
        rest = after;
        tokens.push(match byte {
            b'*' => Token::Any,
            b'?' => Token::One,
            b'[' => match set(after)? {
                Some((set, after)) => {
                    rest = after;
                    set
                }
                None => Token::Byte(b'['),
            },
            b'\\' => match after {
                [escaped, after @ ..] => {
                    rest = after;
                    Token::Byte(*escaped)
                }
                [] => Token::Byte(b'\\'),
            },
            byte => Token::Byte(*byte),
        });
    }
    Ok(tokens)
}

/// A set and what follows it; `None` if it isn't closed, which makes the bracket an ordinary character.
fn set(text: &[u8]) -> Result<Option<(Token, &[u8])>, &'static str> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (first, after) = match rest {
            [] => return Ok(None),
            [b']', after @ ..] if !ranges.is_empty() => return Ok(Some((Token::Set { negated, ranges }, after))),
            [b'[', b':' | b'.' | b'=', ..] => return Err("a class of characters ([:name:]) is not supported"),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => (*byte, after),
        };
        let (last, after) = match after {
            [b'-', b'\\', last, after @ ..] => (*last, after),
            [b'-', last, after @ ..] if *last != b']' => (*last, after),
            _ => (first, after),
        };
        ranges.push((first, last));
        rest = after;
    }
}

/// The text of a pattern without wildcards.
fn literal(pattern: &[Token]) -> Option<Vec<u8>> {
    pattern.iter().map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None }).collect()
}

/// Whether a component of a pattern matches a name.
#[cfg(any(test, fuzzing))]
pub(super) fn is_match(name: &[u8], pattern: &[u8]) -> Result<bool, &'static str> {
    parse(pattern).map(|pattern| matches(name, &pattern))
}

/// Whether a pattern matches a name.
fn matches(name: &[u8], pattern: &[Token]) -> bool {
    matches_with(name, pattern, |token| matches!(token, Token::Any), |token, byte| token.takes(*byte))
}
