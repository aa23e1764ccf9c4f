//! What a message quotes of a text of the user, and of the system.

use std::borrow::Cow;

/// Characters of a text of the user's that a message shows.
const SHOWN: usize = 120;

/// A text as messages show it: its beginning, where it is long.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// What the system said, without the number that std adds.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text,
    }
}
