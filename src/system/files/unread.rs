//! What tells a file that cannot be read from one that says something wrong.

/// What is wrong before the first connection. It decides the exit status: the usage is wrong, or a file cannot be read.
pub trait BeforeStart: std::error::Error + Send + Sync + 'static {
    /// Whether a file cannot be read, or the system refuses something else: what the user has written is not what is wrong.
    fn is_unread(&self) -> bool;
}

/// Whether a file could not be read; one that is too large is not of its kind.
pub fn is_unread(error: &std::io::Error) -> bool {
    error.kind() != std::io::ErrorKind::FileTooLarge
}
