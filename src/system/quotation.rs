//! Quotes foreign text in messages: sanitized, without passwords, and cut.

use crate::system::redact;
use crate::text::sanitize::escaped;

/// Quotes the start of a server's text, at most `most` characters, so that it cannot be mistaken for pssh's words.
///
/// A password in it is replaced before it could be cut in two.
pub fn quoted(text: &str, most: usize) -> String {
    let text = redact::redacted(text);
    let mut quoted = String::from("\"");
    let mut count = 0;
    for c in text.chars() {
        let escaped = escaped(c);
        count += escaped.chars().count();
        if count > most {
            return quoted + "\"...";
        }
        quoted.push_str(&escaped);
    }
    quoted.push('"');
    quoted
}

/// Most characters of a server's text in a message.
const SAID: usize = 200;

/// Most bytes of it that are read.
const LOOKED_AT: usize = 8 << 10;

/// The longest reason of operating systems in characters (strerror(3)), with room to spare.
const LONGEST_REASON: usize = 60;

/// Quotes a server's text in one line, cut.
pub fn said(text: &str) -> String {
    quoted(&text.split_whitespace().collect::<Vec<_>>().join(" "), SAID)
}

/// The same for bytes that may not be UTF-8.
pub fn said_bytes(bytes: &[u8]) -> String {
    said(&String::from_utf8_lossy(&redact::beginning(bytes, LOOKED_AT)))
}

/// Formats a server's reason: unquoted if it looks like a system's error, otherwise by [`said`].
pub fn said_reason(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'/' | b'-' | b'\'');
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= LONGEST_REASON && bytes.iter().all(is_plain) => text.to_owned(),
        _ => said_bytes(bytes),
    }
}

/// Formats the start of a server's list of names, at most `most` characters, quoted if it contains anything but the
/// names of RFC 4250 section 4.6.1.
pub fn said_names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut list = String::new();
    for name in names {
        list += if list.is_empty() { "" } else { "," };
        list += name.as_ref();
        if list.len() > LOOKED_AT {
            break;
        }
    }
    // As it was sent: one of our passwords may contain commas.
    let list = redact::redacted(&list).replace(',', ", ");
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | '/' | ',' | ' ');
    let has_blanks = names.iter().any(|name| name.as_ref().contains(' '));
    if !list.chars().all(is_name) || has_blanks {
        return quoted(&list, most);
    }
    if list.chars().count() <= most {
        return list;
    }
    // Whole names, except one that is too long by itself.
    let fitting = list.match_indices(", ").map(|(end, _)| end).take_while(|end| *end <= most).last();
    match fitting {
        Some(end) => {
            let more = names.len() - list[..end].split(", ").count();
            format!("{} and {more} more", &list[..end])
        }
        None => cut(list, most),
    }
}

/// Returns the start of a server's name, at most `most` characters.
pub fn cut(mut text: String, most: usize) -> String {
    redact::redact(&mut text);
    match text.char_indices().nth(most) {
        Some((end, _)) => text[..end].to_owned() + "...",
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{SAID, cut, quoted, said, said_bytes, said_names, said_reason};

    #[test]
    fn what_a_server_says_is_one_line_cut_and_quoted() {
        assert_eq!(said("  Go\r\n\taway "), "\"Go away\"");
        assert_eq!(said("\x1b[2J\u{202e}\"x\""), "\"\\u{1b}[2J\\u{202e}\\\"x\\\"\"");
        assert_eq!(said(&"é".repeat(201)), format!("\"{}\"...", "é".repeat(200)));
        assert_eq!(said_bytes(b"a\xffb"), "\"a\u{fffd}b\"");
        assert_eq!(said_bytes(&b"x".repeat(1 << 20)).len(), SAID + "\"\"...".len());
    }

    #[test]
    fn reasons_of_systems_need_no_quotes() {
        for reason in ["Permission denied", "Input/output error", "Invalid cross-device link", "Can't write"] {
            assert_eq!(said_reason(reason.as_bytes()), reason);
        }
        for other in ["ok (exit 0)", "a\nb", "disk full: 1 %", "\u{e9}", &"x".repeat(61)] {
            assert_eq!(said_reason(other.as_bytes()), said(other));
        }
    }

    #[test]
    fn names_in_lists_are_names() {
        assert_eq!(said_names(&["publickey", "gssapi-with-mic", "x@y.z"], 200), "publickey, gssapi-with-mic, x@y.z");
        assert_eq!(said_names(&["publickey ok", "x"], 200), "\"publickey ok, x\"");
        assert_eq!(said_names(&["a\npssh: other: ok"], 200), "\"a\\npssh: other: ok\"");
        assert_eq!(said_names(&["x".repeat(30_000)], 200), format!("{}...", "x".repeat(200)));
        assert_eq!(said_names(&vec!["##[x]"; 9000], 200).chars().count(), "\"\"...".len() + 200);
        assert_eq!(said_names::<&str>(&[], 200), "nothing");
    }

    #[test]
    fn quotes_hold_and_have_an_end() {
        assert_eq!(quoted("Code: ", 200), "\"Code: \"");
        assert_eq!(quoted("a\" b\\\" \u{202e}\n", 200), "\"a\\\" b\\\\\\\" \\u{202e}\\n\"");
        assert_eq!(quoted(&"x".repeat(201), 200), format!("\"{}\"...", "x".repeat(200)));
        assert_eq!(quoted(&"x".repeat(200), 200), format!("\"{}\"", "x".repeat(200)));
        assert_eq!(quoted(&"\u{1b}".repeat(99), 12), "\"\\u{1b}\\u{1b}\"...", "no escape is cut in two");
        assert_eq!(
            (cut("KILL".to_owned(), 4), cut("\u{e9}KILL".to_owned(), 2)),
            ("KILL".to_owned(), "\u{e9}K...".to_owned())
        );
    }
}
