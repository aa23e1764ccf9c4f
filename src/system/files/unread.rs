//! Distinguishes a file that cannot be read from one with wrong contents.

/// An error before the first connection. It decides the exit status: wrong usage, or an unreadable file.
pub trait BeforeStart: std::error::Error + Send + Sync + 'static {
    /// Whether a file cannot be read, or another system error occurred: the user's input is not wrong.
    fn is_unread(&self) -> bool;
}

/// Whether a file could not be read; one that is too large has the wrong kind of contents.
pub fn is_unread(error: &std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::FileTooLarge
}
