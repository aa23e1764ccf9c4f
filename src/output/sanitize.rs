//! Making foreign text harmless inside our own messages.

use std::borrow::Cow;

/// Replaces control characters by visible escapes, so that a host name, a server's banner or an error text can neither move
/// the cursor of a terminal nor fake a line of its own. The bytes of remote commands do not pass through here.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    // Unicode's direction overrides can make a line read as another.
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
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
}
