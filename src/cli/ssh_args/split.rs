//! Splits text into words, in the two ways of pssh's programs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits a text like Python's `shlex.split`, as pssh does. Unlike in a shell, `#` starts no comment, a backslash in double quotes is
/// literal except before `"` and `\`, and a backslash before a newline does not remove it.
///
/// # Errors
/// A quote is not closed, or a backslash is the last character.
pub fn shell_words(text: &OsStr) -> Result<Vec<OsString>, &'static str> {
    let mut words = Vec::new();
    // None between words: empty quotes are a word.
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(UNCLOSED)? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(UNCLOSED)? {
                        b'"' => break,
                        b'\\' => match bytes.next().ok_or(UNESCAPED)? {
                            byte @ (b'"' | b'\\') => word.push(byte),
                            byte => word.extend([b'\\', byte]),
                        },
                        byte => word.push(byte),
                    }
                }
            }
            b'\\' => word.get_or_insert_default().push(bytes.next().ok_or(UNESCAPED)?),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

/// Splits a text like rsync's `-e`, to which prsync adds `--ssh-args`: at blanks outside of quotes. Within quotes, a doubled quote is one
/// quote, and a backslash is an ordinary character.
///
/// # Errors
/// A quote is not closed.
pub fn rsync_words(text: &OsStr) -> Result<Vec<OsString>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b' ', None) => words.extend(word.take()),
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (byte, Some(open)) if byte == open => match bytes.next_if_eq(&open) {
                Some(byte) => word.get_or_insert_default().push(byte),
                None => quote = None,
            },
            (byte, _) => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        return Err(UNCLOSED);
    }
    words.extend(word);
    Ok(words.into_iter().map(OsString::from_vec).collect())
}

const UNCLOSED: &str = "a quote is not closed";
const UNESCAPED: &str = "the text ends with a backslash";
