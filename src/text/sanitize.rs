//! Sanitizes foreign text in messages.

use std::borrow::Cow;

/// Replaces control characters by visible escapes, so that a host name, a server's banner or an error text can neither
/// move the cursor of a terminal nor fake a line of its own. The output of remote commands is not changed.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Whether a character affects a terminal, or disguises a text: those without width or that look like a blank
/// (Default_Ignorable_Code_Point of Unicode), those that change the direction of what follows (Bidi_Control), and line
/// breaks.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns a character as it appears in quotes.
pub fn escaped(c: char) -> Cow<'static, str> {
    match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        c if is_harmful(c) => c.escape_default().collect::<String>().into(),
        c => c.to_string().into(),
    }
}

/// Returns the terminal columns of a sanitized text: wide characters take two.
pub fn columns(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// Returns the blanks that pad `text` to this many columns.
pub fn filling(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text)))
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(sanitize("plain ünïcode"), "plain ünïcode");
        assert_eq!(sanitize("a\x1b[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\\nc");
        assert_eq!(sanitize("\u{202e}evil"), "\\u{202e}evil");
    }

    #[test]
    fn what_cannot_be_seen_becomes_visible() {
        for c in
            ['\u{61c}', '\u{200b}', '\u{200d}', '\u{2060}', '\u{2069}', '\u{feff}', '\u{fe0f}', '\u{e0041}', '\u{2028}']
        {
            assert_eq!(sanitize(&format!("a{c}b")), format!("a\\u{{{:x}}}b", c as u32));
        }
        // Letters with marks, and writing from right to left, are text.
        for text in ["e\u{301}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "\u{644}", "\u{1f600}"] {
            assert_eq!(sanitize(text), text);
        }
    }
}
