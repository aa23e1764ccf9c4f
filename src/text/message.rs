//! Quotations of user input and system errors in messages, and numbers of hosts in words.

use std::borrow::Cow;

/// Most characters of a user's text in a message.
const SHOWN: usize = 120;

/// Returns a text for a message: the start, if it is long.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Returns a number of hosts in words.
pub fn hosts(count: usize) -> String {
    format!("{count} host{}", if count == 1 { "" } else { "s" })
}

/// Returns the system's error, without the number that std adds.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text,
    }
}
