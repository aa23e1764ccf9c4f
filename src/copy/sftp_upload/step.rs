//! What the host can be asked in an upload.

use crate::copy::sftp::packets::{Attributes, Status};

/// What was asked about the target.
#[derive(Debug)]
pub enum TargetStep {
    /// What `~` is.
    Expand,
    /// What the target is.
    Target,
    /// What a directory is that the target is in.
    Parent(Vec<u8>),
    /// To make a directory.
    Make(Vec<u8>),
    /// What is in the way of a directory.
    Again(Vec<u8>, Status),
}

/// What was asked about the directory of an entry.
#[derive(Debug)]
pub enum DirectoryStep {
    /// To make it.
    Make,
    /// What is in its way.
    Check(Status),
    /// Its mode, as the umask there has made it.
    Mode,
    /// To set its mode and times.
    Finish,
}

/// What was asked about a file.
#[derive(Debug)]
pub enum FileStep {
    /// What is there already.
    Look,
    /// Where the link leads that is there.
    Resolve,
    /// The same of whatever is there, where the server does not say whether it is a link.
    ResolveUnseen,
    /// What is there at its end: for servers that do not answer the first question.
    LookThrough,
    /// What is where it leads.
    LookBehind,
    /// How much of an earlier attempt is there.
    LookRest,
    /// To make a file beside it.
    MakeProbe,
    /// Whose that is, and so whose files of ours are.
    LookProbe,
    /// To close it, or to remove it; the reply does not matter.
    EndProbe,
    /// The directory of what is left of an earlier attempt, to read what it is called besides.
    OpenParent,
    /// The same, by this handle.
    ListParent(Vec<u8>),
    /// To remove what is left of an earlier attempt, since it cannot be continued.
    ClearRest,
    /// What the file is that was opened to be continued.
    LookOpened,
    /// To open what is written.
    Open,
    /// To write so many bytes.
    Write(u32),
    /// To read back.
    Read {
        /// From where.
        offset: u64,
        /// How many bytes.
        length: u32,
    },
    /// To set something that the server may refuse.
    Wish,
    /// To set the mode, which the server may refuse.
    Mode(Attributes),
    /// To set mode and times.
    Preserve(Attributes),
    /// The same by the name of the file, where the server cannot do it by its handle.
    PreserveByName,
    /// How large it has become.
    Size,
    /// The same by its name.
    SizeByName,
    /// To close it.
    Close,
    /// To put it in its place.
    Rename,
    /// To remove what is in the way of that.
    Clear,
    /// To put it in its place, which is free now.
    RenameAgain,
    /// How much room there is; this much is needed.
    Room(u64),
    /// To remove what was written; the reply does not matter.
    Tidy,
}
