//! Keeps passwords out of messages: a server, its sudo or a local program that got one may repeat it in a text that a
//! message quotes.
//!
//! Every password is remembered when it is read or entered, and replaced in every foreign text before that becomes part
//! of a message: where texts are quoted ([`super::quotation::quoted`]), where they are split or cut ([`Filter`],
//! [`beginning`]: before that, since half a password is still one), and once more in the quotations of every outcome,
//! note and warning ([`crate::events::event::Event::now`]) and of messages about the run as a whole. pssh's own words
//! are not changed, and neither is the output of commands.

mod filter;

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::lock::lock;
use super::password_source::Secret;
use crate::text::sanitize::escaped;

pub use filter::{Filter, Filtered, beginning, redacted_bytes};

/// The replacement of a password.
pub const MASK: &str = "***";
/// The shortest password that is replaced wherever it is found. A shorter one is part of ordinary words: it is replaced
/// only as a whole quotation or bracket, or as the whole text.
pub const SHORTEST: usize = 4;

/// The passwords, the longest first: one may be part of another.
static SECRETS: Mutex<Vec<Secret>> = Mutex::new(Vec::new());
/// Whether there are any.
static ANY: AtomicBool = AtomicBool::new(false);

/// Replaces `secret` in texts from now on, until its other owners have dropped it and [`forget`] is called.
pub fn remember(secret: &Secret) {
    if secret.expose().is_empty() {
        return;
    }
    let mut secrets = lock(&SECRETS);
    if !secrets.contains(secret) {
        let place = secrets.partition_point(|other| other.expose().len() > secret.expose().len());
        secrets.insert(place, secret.duplicate());
    }
    ANY.store(true, Ordering::Release);
}

/// Forgets the passwords without another owner: their run is over.
pub fn forget() {
    let mut secrets = lock(&SECRETS);
    secrets.retain(Secret::is_shared);
    ANY.store(!secrets.is_empty(), Ordering::Release);
}

/// Returns the text without passwords, neither plain nor as a message would quote them.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !ANY.load(Ordering::Acquire) {
        return Cow::Borrowed(text);
    }
    let mut text = Cow::Borrowed(text);
    for secret in lock(&SECRETS).iter() {
        for form in forms(secret) {
            if let Some(replaced) = replaced(&text, &form) {
                text = Cow::Owned(replaced);
            }
        }
    }
    text
}

/// Replaces passwords in place where a message quotes foreign text within double quotes. pssh's own words stay: a
/// password may be one of them, and the mask would reveal which.
pub fn redact_quotations(text: &mut String) {
    if !ANY.load(Ordering::Acquire) {
        return;
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, quotation)) = rest.split_once('"') {
        let mut is_escaped = false;
        let end = quotation.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let (inside, after) = end.map_or((quotation, None), |end| (&quotation[..end], Some(&quotation[end + 1..])));
        result.push_str(before);
        // With its quotes, since a short password is only replaced as a whole quotation.
        let closing = if after.is_some() { "\"" } else { "" };
        result.push_str(&redacted(&format!("\"{inside}{closing}")));
        rest = after.unwrap_or_default();
    }
    result.push_str(rest);
    *text = result;
}

/// Replaces passwords in place.
pub fn redact(text: &mut String) {
    if let Cow::Owned(replaced) = redacted(text) {
        *text = replaced;
    }
}

/// Returns the forms in which a text may contain the password.
fn forms(secret: &Secret) -> Vec<Zeroizing<String>> {
    let plain = Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned());
    let quoted = Zeroizing::new(plain.chars().map(|c| escaped(c).into_owned()).collect::<String>());
    // A text of several lines is printed in one.
    let joined = |text: &str| Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut forms = vec![joined(&plain), joined(&quoted), plain, quoted];
    forms.retain(|form| !form.is_empty());
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

/// Returns the text with the mask instead of `form`, if it contains that.
fn replaced(text: &str, form: &str) -> Option<String> {
    if form.len() >= SHORTEST {
        return text.contains(form).then(|| text.replace(form, MASK));
    }
    let mut replaced = String::new();
    let mut from = 0;
    for (at, _) in text.match_indices(form) {
        let (before, after) = (&text[..at], &text[at + form.len()..]);
        if is_alone(before, after) {
            replaced.push_str(&text[from..at]);
            replaced.push_str(MASK);
            from = at + form.len();
        }
    }
    (from > 0).then(|| replaced + &text[from..])
}

/// Whether the text between `before` and `after` is a whole quotation, or the whole text.
fn is_alone(before: &str, after: &str) -> bool {
    const PAIRS: [(char, char); 10] = [
        ('"', '"'),
        ('\'', '\''),
        ('`', '\''),
        ('`', '`'),
        ('\u{2018}', '\u{2019}'),
        ('\u{201c}', '\u{201d}'),
        ('(', ')'),
        ('[', ']'),
        ('<', '>'),
        ('{', '}'),
    ];
    match (before.trim_end().chars().next_back(), after.trim_start().chars().next()) {
        (None, None) => true,
        (Some(open), Some(close)) => PAIRS.contains(&(open, close)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(text: &str, password: &str) -> String {
        let secret = Secret::new(password.as_bytes());
        let mut text = text.to_owned();
        for form in forms(&secret) {
            text = replaced(&text, &form).unwrap_or(text);
        }
        text
    }

    #[test]
    fn a_password_is_replaced_wherever_it_stands() {
        assert_eq!(replace("bad password hunter2, hunter22", "hunter2"), "bad password ***, ***2");
        assert_eq!(replace("sent: \"a \\\"b\\\\ c\"", "a \"b\\ c"), "sent: \"***\"");
        assert_eq!(replace("one two", "one \t two"), "***");
        assert_eq!(replace("\\u{1b}[x1", "\x1b[x1"), "***");
        assert_eq!(replace("nothing of it", "hunter2"), "nothing of it");
    }

    #[test]
    fn a_short_one_only_where_it_is_all_of_a_quotation() {
        assert_eq!(
            replace("no route to host \"no\" ('no') [no] no", "no"),
            "no route to host \"***\" ('***') [***] no"
        );
        assert_eq!(replace("x", "x"), "***");
        assert_eq!(replace("\" ab \"", "ab"), "\" *** \"");
        assert_eq!(replace("(ab", "ab"), "(ab");
    }

    #[test]
    fn our_own_words_stay() {
        let password = Secret::new(b"wrong-word");
        remember(&password);
        let mut text =
            "wrong-word: the server says \"a wrong-word \\\" wrong-word\", wrong-word and \"wrong-word".to_owned();
        redact_quotations(&mut text);
        assert_eq!(text, "wrong-word: the server says \"a *** \\\" ***\", wrong-word and \"***");
    }

    #[test]
    fn what_is_remembered_is_kept_as_long_as_it_is_used() {
        let password = Secret::new(b"remembered-71");
        remember(&password);
        remember(&Secret::new(b"remembered-71-and-more"));
        assert_eq!(redacted("x remembered-71-and-more remembered-71 y"), "x *** *** y");
        forget();
        assert_eq!(redacted("remembered-71-and-more"), "***-and-more", "the longer one was nobody else's");
        drop(password);
        forget();
        assert_eq!(redacted("remembered-71"), "remembered-71");
    }
}
