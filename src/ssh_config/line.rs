//! A line of a configuration file: its keyword, its words, and the tokens of a Match line.

use std::borrow::Cow;

use super::{Local, keywords, resolve};

/// White space between a keyword and its arguments, as in ssh.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// What is wrong with a line, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Counted in bytes from 0.
    pub(super) column: usize,
    pub(super) reason: String,
}

/// Splits a line into tokens at blanks, one `=` and double quotes (`strdelim` in misc.c).
pub(super) struct Scanner<'a> {
    rest: Option<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { rest: Some(text) }
    }

    /// Returns the next token; `None` at the end, and where a quote isn't closed.
    pub(super) fn token(&mut self) -> Option<Cow<'a, str>> {
        let text = self.rest.take()?;
        let Some(end) = text.find([' ', '\t', '\r', '\n', '"', '=']) else { return Some(text.into()) };
        let (token, delimiter, after) = (&text[..end], text.as_bytes()[end], &text[end + 1..]);
        if delimiter == b'"' {
            let (quoted, after) = after.split_once('"')?;
            self.rest = Some(after.trim_start_matches(BLANKS));
            return Some(if token.is_empty() { quoted.into() } else { format!("{token}{quoted}").into() });
        }
        let after = after.trim_start_matches(BLANKS);
        self.rest = Some(match after.strip_prefix('=') {
            Some(value) if delimiter != b'=' => value.trim_start_matches(BLANKS),
            _ => after,
        });
        Some(token.into())
    }

    /// Returns the rest, if any.
    pub(super) fn rest(&self) -> Option<&'a str> {
        self.rest.filter(|rest| !rest.is_empty())
    }
}

/// A line with a keyword.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// In lower case.
    pub(super) keyword: String,
    /// Everything after the keyword and its `=`.
    pub(super) rest: &'a str,
    /// Where `rest` starts.
    pub(super) column: usize,
}

/// The kind of a line.
#[derive(Debug)]
pub(super) enum Sort<'a> {
    /// Empty, or a comment.
    Blank,
    /// A quote before the end of the keyword isn't closed: ssh skips the line silently.
    Unclosed,
    Statement(Statement<'a>),
}

/// Splits a line as `process_config_line_depth` in readconf.c does.
pub(super) fn sort(line: &str) -> Result<Sort<'_>, Wrong> {
    let line = without_trailing_blanks(line);
    let mut scanner = Scanner::new(line);
    let Some(mut keyword) = scanner.token() else { return Ok(Sort::Unclosed) };
    if keyword.is_empty() {
        match scanner.token() {
            Some(token) => keyword = token,
            None if line.contains('"') => return Ok(Sort::Unclosed),
            None => return Ok(Sort::Blank),
        }
    }
    if keyword.is_empty() || keyword.starts_with('#') {
        return Ok(Sort::Blank);
    }
    let keyword = keyword.to_ascii_lowercase();
    match scanner.rest().map(|rest| rest.trim_start_matches(BLANKS)) {
        None | Some("") if keywords::all().all(|known| known != keyword) => {
            Err(Wrong { column: 0, reason: resolve::no_keyword(&keyword) })
        }
        None | Some("") => Err(Wrong { column: line.len(), reason: format!("{keyword}: its argument is missing") }),
        Some(rest) => Ok(Sort::Statement(Statement { keyword, rest, column: line.len() - rest.len() })),
    }
}

/// ssh never removes the first character of a line, so that a lone form feed is a bad keyword.
fn without_trailing_blanks(line: &str) -> &str {
    let first = line.chars().next().map_or(0, char::len_utf8);
    let kept = line[first..].trim_end_matches([' ', '\t', '\r', '\n', '\x0c']).len();
    &line[..first + kept]
}

/// Whether a `#` at the start of a word ends the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    Skipped,
    None,
}

/// Splits at blanks, with quotes of both kinds and backslashes (`argv_split` in misc.c). Returns also where each word
/// starts; `None` if a quote isn't closed.
pub(super) fn split(text: &str, comments: Comments) -> Option<Vec<(usize, String)>> {
    let mut words = Vec::new();
    let mut start = 0;
    while let Some(first) = text.as_bytes().get(start) {
        let rest = &text[start..];
        let length = match first {
            b' ' | b'\t' => 1,
            b'#' if comments == Comments::Skipped => break,
            _ => {
                let end = rest.find([' ', '\t', '"', '\'', '\\']).unwrap_or(rest.len());
                let (word, length) = match rest.as_bytes().get(end) {
                    None | Some(b' ' | b'\t') => (rest[..end].to_owned(), end),
                    _ => quoted(rest)?,
                };
                words.push((start, word));
                length
            }
        };
        start += length;
    }
    Some(words)
}

/// The first word of a text, with quotes or backslashes in it, and the length of what it was made of.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match (char, quote) {
            ('\\', _) => {
                let escapable = |next| matches!(next, '\'' | '"' | '\\') || (next == ' ' && quote.is_none());
                word.push(chars.next_if(|&(_, next)| escapable(next)).map_or('\\', |(_, next)| next));
            }
            (' ' | '\t', None) => return Some((word, at)),
            ('"' | '\'', None) => quote = Some(char),
            (_, Some(open)) if char == open => quote = None,
            _ => word.push(char),
        }
    }
    quote.is_none().then_some((word, text.len()))
}

/// The arguments of a keyword.
pub(super) struct Words<'a> {
    words: std::vec::IntoIter<(usize, String)>,
    left: usize,
    rest: &'a str,
    /// The start of the last word, in bytes from 0.
    column: usize,
    pub(super) local: &'a Local,
    /// Whether the words are ssh's own output: it may know more names of algorithms.
    pub(super) shown: bool,
}

impl<'a> Words<'a> {
    pub(super) fn new(statement: &Statement<'a>, local: &'a Local) -> Result<Words<'a>, Wrong> {
        let wrong =
            || Wrong { column: statement.column, reason: format!("{}: a quote isn't closed", statement.keyword) };
        let mut words = split(statement.rest, Comments::Skipped).ok_or_else(wrong)?;
        words.iter_mut().for_each(|(start, _)| *start += statement.column);
        let (left, column) = (words.len(), statement.column);
        Ok(Words { left, words: words.into_iter(), rest: statement.rest, column, local, shown: false })
    }

    /// Returns one word, as `ssh -G` prints it.
    pub(super) fn shown(word: &'a str, local: &'a Local) -> Words<'a> {
        Words { words: vec![(0, word.to_owned())].into_iter(), left: 1, rest: word, column: 0, local, shown: true }
    }

    /// Returns everything after the keyword, unsplit and with comments, for commands; then nothing is left.
    pub(super) fn rest(&mut self) -> &'a str {
        self.left = 0;
        self.rest.trim_start_matches([' ', '\t', '\r', '\n', '='])
    }

    /// Returns a required, non-empty word.
    pub(super) fn required(&mut self) -> Result<String, Wrong> {
        self.next().filter(|word| !word.is_empty()).ok_or_else(|| self.wrong("its argument is missing".to_owned()))
    }

    /// Returns how many words are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Returns an error at the last word.
    pub(super) fn wrong(&self, reason: String) -> Wrong {
        Wrong { column: self.column, reason }
    }

    /// Returns the error for a `word` that isn't `expected`.
    pub(super) fn unexpected(&self, word: &str, expected: &str) -> Wrong {
        self.wrong(format!("{word:?} is not {expected}"))
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.left == 0 {
            return None;
        }
        let (column, word) = self.words.next()?;
        (self.left, self.column) = (self.left - 1, column);
        Some(word)
    }
}
