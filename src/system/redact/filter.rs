//! Replaces passwords in data that comes in pieces, before any code cuts it: half a password is still one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::{ANY, MASK, SECRETS, SHORTEST, forms, replaced};
use crate::system::lock::lock;

/// Bytes of a line to wait for if a password is so short that it is only replaced as a whole line.
const LINE: usize = 1024;
/// Bytes of one read.
const READ_SIZE: usize = 8 << 10;

/// A stream without passwords. A possible start of one is held back until it is decided.
#[derive(Default)]
pub struct Filter {
    held: Zeroizing<Vec<u8>>,
    /// Bytes at the start of the held data that belong to a password whose mask was already returned.
    covered: usize,
}

/// What follows the available bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// More of them.
    More,
    /// Nothing.
    Nothing,
    /// Something invisible, since the text is cut here.
    Cut,
}

impl Filter {
    /// Takes a piece, and returns the bytes that are not part of a password.
    pub fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.held.is_empty() && !ANY.load(Ordering::Acquire) {
            return bytes;
        }
        self.held.extend(Zeroizing::new(bytes).iter());
        self.scan(Then::More)
    }

    /// Returns the held bytes of a stream that has ended.
    pub fn rest(&mut self) -> Vec<u8> {
        if self.held.is_empty() { Vec::new() } else { self.scan(Then::Nothing) }
    }

    /// Returns the held bytes of a stream that is not read further.
    pub fn cut(&mut self) -> Vec<u8> {
        if self.held.is_empty() { Vec::new() } else { self.scan(Then::Cut) }
    }

    fn scan(&mut self, then: Then) -> Vec<u8> {
        let forms = Forms::new();
        let bytes = std::mem::take(&mut self.held);
        let begun = forms.begun_at(&bytes);
        let end = match then {
            // A short one may be the whole line that has started.
            Then::More if !forms.short.is_empty() => {
                let line = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                if bytes.len() - line > LINE { begun } else { begun.min(line) }
            }
            Then::More => begun,
            Then::Nothing | Then::Cut => bytes.len(),
        };
        let mut out = Vec::with_capacity(end);
        let mut covered_to = std::mem::take(&mut self.covered);
        for at in 0..end {
            if let Some(length) = forms.longest_at(&bytes[at..]) {
                if at >= covered_to {
                    out.extend_from_slice(MASK.as_bytes());
                }
                covered_to = covered_to.max(at + length);
            }
            let is_beginning = then == Then::Cut && at >= begun && bytes.len() - begun >= SHORTEST;
            if is_beginning && at == begun && at >= covered_to {
                out.extend_from_slice(MASK.as_bytes());
            }
            if at >= covered_to && !is_beginning {
                out.push(bytes[at]);
            }
        }
        self.covered = covered_to.saturating_sub(end);
        self.held.extend_from_slice(&bytes[end..]);
        forms.without_short(out)
    }
}

/// All forms of the passwords.
struct Forms {
    /// By their first byte, the longest first.
    long: HashMap<u8, Vec<Zeroizing<String>>>,
    /// Those that are replaced only as a whole line.
    short: Vec<Zeroizing<String>>,
}

impl Forms {
    fn new() -> Forms {
        let mut all = Forms { long: HashMap::new(), short: Vec::new() };
        for form in lock(&SECRETS).iter().flat_map(forms) {
            match form.as_bytes()[0] {
                _ if form.len() < SHORTEST => all.short.push(form),
                first => all.long.entry(first).or_default().push(form),
            }
        }
        all.long.values_mut().for_each(|forms| forms.sort_by_key(|form| std::cmp::Reverse(form.len())));
        all
    }

    fn that_begin_with(&self, byte: u8) -> impl Iterator<Item = &[u8]> {
        self.long.get(&byte).into_iter().flatten().map(|form| form.as_bytes())
    }

    /// Returns the length of the longest one at the start of `bytes`.
    fn longest_at(&self, bytes: &[u8]) -> Option<usize> {
        self.that_begin_with(bytes[0]).find(|form| bytes.starts_with(form)).map(<[u8]>::len)
    }

    /// Returns the start of the last bytes if they may be the start of one.
    fn begun_at(&self, bytes: &[u8]) -> usize {
        let longest = self.long.values().filter_map(|forms| forms.first()).map(|form| form.len()).max();
        let from = bytes.len().saturating_sub(longest.unwrap_or(1) - 1);
        let is_begun =
            |rest: &[u8]| self.that_begin_with(rest[0]).any(|form| form.len() > rest.len() && form.starts_with(rest));
        (from..bytes.len()).find(|at| is_begun(&bytes[*at..])).unwrap_or(bytes.len())
    }

    /// Returns whole lines, without those passwords that are replaced only as a whole line.
    fn without_short(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.short.is_empty() {
            return bytes;
        }
        let mut out = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let replaced = std::str::from_utf8(line).ok().and_then(|line| {
                let text = line.trim_end_matches(['\r', '\n']);
                let replaced = |text: &str| self.short.iter().find_map(|form| replaced(text, form));
                replaced(text).map(|replaced| replaced + &line[text.len()..])
            });
            out.extend_from_slice(replaced.as_deref().map_or(line, str::as_bytes));
        }
        out
    }
}

/// A reader of another reader's data, without passwords.
pub struct Filtered<R> {
    inner: R,
    filter: Filter,
    /// The filter's output, and how much of that was read.
    ready: (Vec<u8>, usize),
    is_over: bool,
}

impl<R: Read> Filtered<R> {
    /// Reads all of `inner`.
    pub fn new(inner: R) -> Filtered<R> {
        Filtered { inner, filter: Filter::default(), ready: (Vec::new(), 0), is_over: false }
    }
}

impl<R: Read> Read for Filtered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.1 == self.ready.0.len() && !self.is_over {
            let mut piece = vec![0; READ_SIZE];
            let given = match self.inner.read(&mut piece) {
                Ok(0) => {
                    self.is_over = true;
                    self.filter.rest()
                }
                Ok(count) => {
                    piece.truncate(count);
                    self.filter.pass(piece)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.ready = (given, 0);
        }
        let (ready, read) = (&self.ready.0[self.ready.1..], &mut self.ready.1);
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        *read += count;
        Ok(count)
    }
}

/// Returns a whole text, which may not be UTF-8, without passwords.
pub fn redacted_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !ANY.load(Ordering::Acquire) {
        return Cow::Borrowed(bytes);
    }
    let mut filter = Filter { held: Zeroizing::new(bytes.to_vec()), covered: 0 };
    Cow::Owned(filter.scan(Then::Nothing))
}

/// Returns the first `most` bytes of a text without passwords, even one cut in two.
pub fn beginning(bytes: &[u8], most: usize) -> Cow<'_, [u8]> {
    match redacted_bytes(bytes) {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..bytes.len().min(most)]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(most);
            Cow::Owned(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::password_source::Secret;
    use crate::system::redact::remember;

    /// Filters `text` in pieces of `size` bytes.
    fn passed(text: &str, size: usize) -> String {
        let mut filter = Filter::default();
        let mut out: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| filter.pass(piece.to_vec())).collect();
        out.extend(filter.rest());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_password_in_pieces_is_replaced() {
        let secrets =
            ["filtered-7 \"x", "filtered-7 \"x-and-more", "-and-mouse"].map(|text| Secret::new(text.as_bytes()));
        secrets.iter().for_each(remember);
        let cases = [
            ("a filtered-7 \"x b", "a *** b"),
            ("filtered-7 \"x-and-more", "***"),
            ("filtered-7 \"x-and-mo", "***-and-mo"),
            // One starts within the other.
            ("filtered-7 \"x-and-mouse.", "******."),
            ("as quoted: filtered-7 \\\"x.\n", "as quoted: ***.\n"),
            ("filtered-7 filtered-7 \"xfiltered-7 \"x", "filtered-7 ******"),
            ("nothing of it, filtered", "nothing of it, filtered"),
        ];
        for (text, expected) in cases {
            for size in 1..=text.len() {
                assert_eq!(passed(text, size), expected, "in pieces of {size}");
            }
            assert_eq!(redacted_bytes(text.as_bytes()), expected.as_bytes());
            let mut filtered = String::new();
            Filtered::new(text.as_bytes()).read_to_string(&mut filtered).expect("text");
            assert_eq!(filtered, expected);
        }
        drop(secrets);
    }

    #[test]
    fn passwords_that_overlap_are_replaced_as_one() {
        let secret = Secret::new(b"ovov-ovov-ov");
        remember(&secret);
        for size in 1..20 {
            assert_eq!(passed("x ovov-ovov-ovov-ovov-ov y", size), "x *** y", "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_cut_off_within_a_password_is_not_half_of_it() {
        let secret = Secret::new(b"cut-off-password");
        remember(&secret);
        for (text, expected) in [("say cut-off-pass", "say ***"), ("say cut", "say cut"), ("say", "say")] {
            let mut filter = Filter::default();
            let mut out = filter.pass(text.as_bytes().to_vec());
            out.extend(filter.cut());
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        assert_eq!(&*beginning(b"12cut-off-password", 6), b"12***");
        assert_eq!(&*beginning(b"12345678", 6), b"123456");
    }

    #[test]
    fn a_short_one_is_replaced_where_it_is_all_of_a_line_or_quotation() {
        let secret = Secret::new(b"qzx");
        remember(&secret);
        for size in 1..30 {
            assert_eq!(passed("qzx\r\na qzx b\n'qzx'\nqzx", size), "***\r\na qzx b\n'***'\n***", "in pieces of {size}");
        }
    }
}
