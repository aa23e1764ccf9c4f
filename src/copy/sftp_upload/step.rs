//! The requests of an upload, by purpose.

use crate::copy::sftp::packets::{Attributes, Status};

/// A request about the target.
#[derive(Debug)]
pub enum TargetStep {
    /// Resolve `~`.
    Expand,
    /// Stat the target.
    Target,
    /// Stat a parent of the target.
    Parent(Vec<u8>),
    /// Create a directory.
    Make(Vec<u8>),
    /// Stat what exists instead of a directory.
    Again(Vec<u8>, Status),
}

/// A request about the directory of an entry.
#[derive(Debug)]
pub enum DirectoryStep {
    /// Create it.
    Make,
    /// Stat what exists instead.
    Check(Status),
    /// Get its mode after the remote umask.
    Mode,
    /// Set its mode and times.
    Finish,
}

/// A request about a file.
#[derive(Debug)]
pub enum FileStep {
    /// Stat the existing file.
    Look,
    /// Resolve the existing link.
    Resolve,
    /// The same for anything that exists, if the server does not tell whether it is a link.
    ResolveUnseen,
    /// Stat the target with links followed: for servers that do not answer the first request.
    LookThrough,
    /// Stat the link's target.
    LookBehind,
    /// Stat the partial file of an earlier attempt.
    LookRest,
    /// Create a probe file next to it.
    MakeProbe,
    /// Get the probe file's owner, which is that of our files.
    LookProbe,
    /// Close or remove it; the reply does not matter.
    EndProbe,
    /// Open the directory of the partial file, to find its other names.
    OpenParent,
    /// The same, by this handle.
    ListParent(Vec<u8>),
    /// Remove the partial file, since it cannot be continued.
    ClearRest,
    /// Stat the file that was opened to be continued.
    LookOpened,
    /// Open the file to write.
    Open,
    /// Write this many bytes.
    Write(u32),
    /// Read data back.
    Read {
        /// The offset.
        offset: u64,
        /// The length.
        length: u32,
    },
    /// Set something that the server may refuse.
    Wish,
    /// Set the mode, which the server may refuse.
    Mode(Attributes),
    /// Set mode and times.
    Preserve(Attributes),
    /// The same by path, where the server cannot do it by handle.
    PreserveByName,
    /// Get its size.
    Size,
    /// The same by path.
    SizeByName,
    /// Close it.
    Close,
    /// Rename it into its place.
    Rename,
    /// Remove the file that blocks the rename.
    Clear,
    /// Rename it again, now that nothing blocks it.
    RenameAgain,
    /// Get the free space; this much is needed.
    Room(u64),
    /// Remove the written data; the reply does not matter.
    Tidy,
}
