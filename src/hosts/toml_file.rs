//! TOML files with the place of every mistake.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::options::Value;
use crate::hosts::{BadEntry, Origin};

/// The most errors to report: the parser finds one in every other byte of a file that is not TOML.
const MOST_ERRORS: usize = 100;

/// The text of a file.
pub struct TomlFile<'a> {
    file: Arc<Path>,
    text: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
}

impl<'a> TomlFile<'a> {
    /// Creates a file at `path` with `text`.
    pub fn new(path: &Path, text: &'a str) -> TomlFile<'a> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(newlines).collect();
        TomlFile { file: Arc::from(path), text, lines }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// All syntax errors.
    pub fn parse(&self) -> Result<DeTable<'a>, Vec<BadEntry>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Ok(document.into_inner());
        }
        // The rest of such a file may not mean what was intended.
        let bad = errors.iter().take(MOST_ERRORS).map(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            // The value in a line may be a secret.
            let shown = self.text[line..].lines().next().unwrap_or_default();
            let shown = shown.split('=').next().unwrap_or_default().trim_end().to_owned();
            BadEntry { origin: self.origin(start), text: shown, problem: error.message().replace('\n', "; ").into() }
        });
        Err(bad.collect())
    }

    /// Returns the problem of a key.
    pub fn bad(&self, key: &Spanned<Cow<'_, str>>, problem: &str) -> BadEntry {
        BadEntry { origin: self.origin(key.span().start), text: key.get_ref().to_string(), problem: problem.into() }
    }

    /// Returns the place of a byte of the text.
    pub fn origin(&self, byte: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= byte);
        let before = self.text.get(self.lines[line - 1]..byte).unwrap_or_default();
        Origin::File { file: Arc::clone(&self.file), line, column: before.chars().count() + 1 }
    }
}

/// Converts a value for host options.
pub fn value<'v>(written: &'v DeValue<'_>) -> Value<'v> {
    match written {
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(number) => Value::Number(decimal(number)),
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(values) => Value::List(values.iter().map(|written| value(written.get_ref())).collect()),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// A key and its value, both with their places.
pub type Entry<'t, 'i> = (&'t Spanned<Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// Returns the entries of a table in the order of the file.
pub fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry<'t, 'i>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Returns a whole number in decimal digits; one that is too large as written.
fn decimal(number: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.to_string(), |value| value.to_string())
}
