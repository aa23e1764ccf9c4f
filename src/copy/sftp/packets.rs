//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), and of OpenSSH's extensions to it (its file PROTOCOL,
//! section 4). Names are bytes: their encoding is unspecified.

use crate::ssh::wire::{WireReader, put_string};
use crate::system::quotation::said_reason;

/// The protocol version. All servers know it, and OpenSSH's knows no other.
pub const VERSION: u32 = 3;
/// The longest handle of a server in bytes (section 6.3 of the draft).
pub const MAX_HANDLE: usize = 256;
/// The longest path accepted from a server in bytes: twice Linux's limit.
const MAX_PATH: usize = 8192;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;

/// Type of the reply to INIT.
pub(super) const REPLY_VERSION: u8 = 2;
const REPLY_STATUS: u8 = 101;
const REPLY_HANDLE: u8 = 102;
const REPLY_DATA: u8 = 103;
const REPLY_NAME: u8 = 104;
const REPLY_ATTRS: u8 = 105;
const REPLY_EXTENDED: u8 = 201;

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_MODE: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_EXTENDED: u32 = 0x8000_0000;

/// The part of a mode with the file type, as in POSIX.
const FORMAT: u32 = 0o170_000;

/// Open for reading.
pub const OPEN_READ: u32 = 1;
/// Open for writing.
pub const OPEN_WRITE: u32 = 2;
/// Append, whatever offset a WRITE has.
pub const OPEN_APPEND: u32 = 4;
/// Create it if it is missing.
pub const OPEN_CREATE: u32 = 8;
/// Truncate it.
pub const OPEN_TRUNCATE: u32 = 0x10;
/// Fail if it exists.
pub const OPEN_EXCLUSIVE: u32 = 0x20;

/// Attributes of a file, known or to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Size in bytes.
    pub size: Option<u64>,
    /// User and group ID.
    pub owner: Option<(u32, u32)>,
    /// Permissions and type, as in st_mode.
    pub mode: Option<u32>,
    /// Access and modification times, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// Returns attributes with only a mode.
    pub fn of_mode(mode: u32) -> Attributes {
        Attributes { mode: Some(mode), ..Attributes::default() }
    }

    /// Whether it is known to be a directory.
    pub fn is_directory(&self) -> bool {
        self.is(0o040_000)
    }

    /// Whether it is known to be a regular file.
    pub fn is_file(&self) -> bool {
        self.is(0o100_000)
    }

    /// Whether it is known to be a symbolic link.
    pub fn is_link(&self) -> bool {
        self.is(0o120_000)
    }

    /// Whether it is known to be a block device.
    pub fn is_block_device(&self) -> bool {
        self.is(0o060_000)
    }

    fn is(&self, format: u32) -> bool {
        self.mode.is_some_and(|mode| mode & FORMAT == format)
    }

    /// Reads them from the front of a packet.
    pub fn read(reader: &mut WireReader<'_>) -> Option<Attributes> {
        let flags = reader.u32()?;
        let mut attributes = Attributes::default();
        if flags & HAS_SIZE != 0 {
            attributes.size = Some(reader.u64()?);
        }
        if flags & HAS_OWNER != 0 {
            attributes.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & HAS_MODE != 0 {
            attributes.mode = Some(reader.u32()?);
        }
        if flags & HAS_TIMES != 0 {
            attributes.times = Some((reader.u32()?, reader.u32()?));
        }
        if flags & HAS_EXTENDED != 0 {
            // The count is untrusted: the end of the packet ends the loop.
            for _ in 0..reader.u32()? {
                reader.string()?;
                reader.string()?;
            }
        }
        Some(attributes)
    }

    /// Appends them to a packet.
    pub fn put(&self, out: &mut Vec<u8>) {
        let flag = |is_there: bool, flag: u32| if is_there { flag } else { 0 };
        let flags = flag(self.size.is_some(), HAS_SIZE)
            | flag(self.owner.is_some(), HAS_OWNER)
            | flag(self.mode.is_some(), HAS_MODE)
            | flag(self.times.is_some(), HAS_TIMES);
        put_u32(out, flags);
        if let Some(size) = self.size {
            out.extend_from_slice(&size.to_be_bytes());
        }
        if let Some((user, group)) = self.owner {
            put_u32(out, user);
            put_u32(out, group);
        }
        if let Some(mode) = self.mode {
            put_u32(out, mode);
        }
        if let Some((accessed, modified)) = self.times {
            put_u32(out, accessed);
            put_u32(out, modified);
        }
    }
}

/// A request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a file: [`Reply::Handle`].
    Open {
        /// Its path.
        path: &'a [u8],
        /// `OPEN_READ` and its like.
        flags: u32,
        /// Attributes of a new file; the server's umask applies.
        attributes: Attributes,
    },
    /// Closes a file or directory: a status.
    Close(&'a [u8]),
    /// Reads from a file: [`Reply::Data`], not empty, or the status end of file.
    Read {
        /// The handle.
        handle: &'a [u8],
        /// The offset.
        offset: u64,
        /// The most bytes to read.
        length: u32,
    },
    /// Asks about a path, not following a link: [`Reply::Attributes`].
    Lstat(&'a [u8]),
    /// Asks about a path, following links: [`Reply::Attributes`].
    Stat(&'a [u8]),
    /// Asks about an open file: [`Reply::Attributes`].
    Fstat(&'a [u8]),
    /// Changes attributes at a path: a status.
    Setstat(&'a [u8], Attributes),
    /// Changes attributes of an open file: a status.
    Fsetstat(&'a [u8], Attributes),
    /// Opens a directory: [`Reply::Handle`].
    Opendir(&'a [u8]),
    /// Reads some entries of a directory: [`Reply::Names`], or the status end of file.
    Readdir(&'a [u8]),
    /// Removes a file: a status.
    Remove(&'a [u8]),
    /// Creates a directory: a status.
    Mkdir(&'a [u8], Attributes),
    /// The absolute path without links: [`Reply::Path`].
    Realpath(&'a [u8]),
    /// Renames; fails if the target exists: a status.
    Rename {
        /// The old path.
        from: &'a [u8],
        /// The new path.
        to: &'a [u8],
    },
    /// The same, like rename(2): replaces an existing target.
    PosixRename {
        /// The old path.
        from: &'a [u8],
        /// The new path.
        to: &'a [u8],
    },
    /// Asks about the file system that a path is on: [`Reply::Space`].
    Statvfs(&'a [u8]),
    /// The same as `Realpath`, but `~` and `~user` are home directories: [`Reply::Path`].
    ExpandPath(&'a [u8]),
    /// Asks for the server's limits: [`Reply::Limits`].
    Limits,
}

/// The expected reply to a request, other than a failure status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Status,
    Handle,
    /// At most this many bytes.
    Data(u32),
    Names,
    Path,
    Attributes,
    Space,
    Limits,
}

impl Request<'_> {
    pub(super) fn expected(&self) -> Expected {
        match self {
            Request::Open { .. } | Request::Opendir(_) => Expected::Handle,
            Request::Read { length, .. } => Expected::Data(*length),
            Request::Lstat(_) | Request::Stat(_) | Request::Fstat(_) => Expected::Attributes,
            Request::Readdir(_) => Expected::Names,
            Request::Realpath(_) | Request::ExpandPath(_) => Expected::Path,
            Request::Statvfs(_) => Expected::Space,
            Request::Limits => Expected::Limits,
            Request::Close(_)
            | Request::Setstat(..)
            | Request::Fsetstat(..)
            | Request::Remove(_)
            | Request::Mkdir(..)
            | Request::Rename { .. }
            | Request::PosixRename { .. } => Expected::Status,
        }
    }

    /// Appends the packet of this request.
    pub fn put(&self, id: u32, out: &mut Vec<u8>) {
        match *self {
            Request::Open { path, flags, attributes } => packet(out, OPEN, id, |out| {
                put_string(out, path);
                put_u32(out, flags);
                attributes.put(out);
            }),
            Request::Read { handle, offset, length } => packet(out, READ, id, |out| {
                put_string(out, handle);
                out.extend_from_slice(&offset.to_be_bytes());
                put_u32(out, length);
            }),
            Request::Close(handle) => packet(out, CLOSE, id, |out| put_string(out, handle)),
            Request::Lstat(path) => packet(out, LSTAT, id, |out| put_string(out, path)),
            Request::Stat(path) => packet(out, STAT, id, |out| put_string(out, path)),
            Request::Fstat(handle) => packet(out, FSTAT, id, |out| put_string(out, handle)),
            Request::Setstat(path, attributes) => put_changing(out, SETSTAT, id, path, &attributes),
            Request::Fsetstat(handle, attributes) => put_changing(out, FSETSTAT, id, handle, &attributes),
            Request::Mkdir(path, attributes) => put_changing(out, MKDIR, id, path, &attributes),
            Request::Opendir(path) => packet(out, OPENDIR, id, |out| put_string(out, path)),
            Request::Readdir(handle) => packet(out, READDIR, id, |out| put_string(out, handle)),
            Request::Remove(path) => packet(out, REMOVE, id, |out| put_string(out, path)),
            Request::Realpath(path) => packet(out, REALPATH, id, |out| put_string(out, path)),
            Request::Rename { from, to } => packet(out, RENAME, id, |out| {
                put_string(out, from);
                put_string(out, to);
            }),
            Request::PosixRename { from, to } => put_extended(out, id, Extension::PosixRename, &[from, to]),
            Request::Statvfs(path) => put_extended(out, id, Extension::Statvfs, &[path]),
            Request::ExpandPath(path) => put_extended(out, id, Extension::ExpandPath, &[path]),
            Request::Limits => put_extended(out, id, Extension::Limits, &[]),
        }
    }
}

/// Appends the packet that starts the protocol.
pub fn put_init(out: &mut Vec<u8>) {
    put_u32(out, 5);
    out.push(INIT);
    put_u32(out, VERSION);
}

/// Appends the packet that writes the `length` bytes that `data` appends.
///
/// # Errors
/// Those of `data`; then `out` is unchanged.
pub fn put_write<E>(
    out: &mut Vec<u8>,
    id: u32,
    handle: &[u8],
    offset: u64,
    length: u32,
    data: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    let mut written = Ok(());
    packet(out, WRITE, id, |out| {
        put_string(out, handle);
        out.extend_from_slice(&offset.to_be_bytes());
        put_u32(out, length);
        let before = out.len();
        written = data(out);
        debug_assert!(written.is_err() || out.len() - before == length as usize);
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_changing(out: &mut Vec<u8>, kind: u8, id: u32, name: &[u8], attributes: &Attributes) {
    packet(out, kind, id, |out| {
        put_string(out, name);
        attributes.put(out);
    });
}

fn put_extended(out: &mut Vec<u8>, id: u32, extension: Extension, strings: &[&[u8]]) {
    packet(out, EXTENDED, id, |out| {
        put_string(out, extension.name());
        for string in strings {
            put_string(out, string);
        }
    });
}

/// Appends a packet with its length before it.
fn packet(out: &mut Vec<u8>, kind: u8, id: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    put_u32(out, id);
    body(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Extensions of OpenSSH's server that are used if the server has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// [`Request::PosixRename`].
    PosixRename,
    /// [`Request::Statvfs`].
    Statvfs,
    /// [`Request::ExpandPath`].
    ExpandPath,
    /// [`Request::Limits`].
    Limits,
}

impl Extension {
    pub(super) const ALL: [Extension; 4] =
        [Extension::PosixRename, Extension::Statvfs, Extension::ExpandPath, Extension::Limits];

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Extension::PosixRename => b"posix-rename@openssh.com",
            Extension::Statvfs => b"statvfs@openssh.com",
            Extension::ExpandPath => b"expand-path@openssh.com",
            Extension::Limits => b"limits@openssh.com",
        }
    }

    /// Returns the supported version of the extension.
    pub(super) fn version(self) -> &'static [u8] {
        match self {
            Extension::Statvfs => b"2",
            _ => b"1",
        }
    }
}

/// The status of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// One of the constants here, or another number.
    pub code: u32,
    /// The server's message; not all servers send one.
    pub message: Vec<u8>,
}

impl Status {
    /// Success.
    pub const OK: u32 = 0;
    /// End of file.
    pub const EOF: u32 = 1;
    /// A component of the path does not exist.
    pub const NO_SUCH_FILE: u32 = 2;
    /// The user lacks permission.
    pub const PERMISSION_DENIED: u32 = 3;
    /// Any other failure, such as a full disk, or an existing file.
    pub const FAILURE: u32 = 4;
    /// The server does not know this request.
    pub const UNSUPPORTED: u32 = 8;

    /// Whether nothing may exist there: not every server says so of a missing file.
    pub fn may_be_missing(&self) -> bool {
        [Self::NO_SUCH_FILE, Self::FAILURE, Self::UNSUPPORTED].contains(&self.code)
    }

    /// Returns the reason of a failure, in the words of the remote system. May quote the server.
    pub fn reason(&self) -> String {
        match self.code {
            Self::OK => "done".to_owned(),
            Self::EOF => "end of file".to_owned(),
            Self::NO_SUCH_FILE => "No such file or directory".to_owned(),
            Self::PERMISSION_DENIED => "Permission denied".to_owned(),
            Self::UNSUPPORTED => "Operation not supported".to_owned(),
            code => match self.message.as_slice() {
                // OpenSSH's server sends only this for most failures.
                b"Failure" | b"" => match code {
                    Self::FAILURE => "the SFTP server says \"Failure\" and no more".to_owned(),
                    5 => "Bad message".to_owned(),
                    code => format!("SFTP error {code}"),
                },
                message => said_reason(message),
            },
        }
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its name as sent by the server: any bytes.
    pub name: Vec<u8>,
    /// Its attributes, not following a link.
    pub attributes: Attributes,
    /// The number of hard links, if the server tells: attributes lack it, but not the line in the format of `ls -l`.
    pub links: Option<u64>,
}

/// Free space on a file system, as in statvfs(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes available to an ordinary user.
    pub bytes: u64,
    /// Files available to an ordinary user.
    pub files: u64,
}

/// The server's limits, 0 where it gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet.
    pub packet: u64,
    /// Bytes of one READ.
    pub read: u64,
    /// Bytes of one WRITE.
    pub write: u64,
    /// Open files and directories.
    pub handles: u64,
}

/// A reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status; a failure if another reply was expected.
    Status(Status),
    /// The handle of an open file or directory.
    Handle(Vec<u8>),
    /// Data of a file: at least one byte, and at most the requested number.
    Data(Vec<u8>),
    /// Entries of a directory, in any order.
    Names(Vec<Name>),
    /// A path.
    Path(Vec<u8>),
    /// Attributes of a file.
    Attributes(Attributes),
    /// Space on a file system.
    Space(Space),
    /// The server's limits.
    Limits(Limits),
}

impl Reply {
    /// Returns the reason of a failure in words.
    pub fn reason(&self) -> String {
        match self {
            Reply::Status(status) => status.reason(),
            _ => "the host sent an unexpected answer".to_owned(),
        }
    }

    /// Parses the reply of type `kind` to a request that expects `expected`, after its id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(kind: u8, body: &[u8], expected: Expected) -> Result<Reply, &'static str> {
        let reader = &mut WireReader(body);
        let reply = match (kind, expected) {
            (REPLY_STATUS, _) => {
                let code = reader.u32().ok_or("a status without a code")?;
                // Old servers send no message.
                let message = reader.string().unwrap_or_default().to_vec();
                if code == Status::OK && expected != Expected::Status {
                    return Err("success without the requested data");
                }
                return Ok(Reply::Status(Status { code, message }));
            }
            (REPLY_HANDLE, Expected::Handle) => {
                let handle = reader.string();
                if handle.is_some_and(|handle| handle.len() > MAX_HANDLE) {
                    return Err("a handle that is too long");
                }
                handle.map(|handle| Reply::Handle(handle.to_vec()))
            }
            (REPLY_DATA, Expected::Data(length)) => match reader.string() {
                Some(b"") => return Err("empty data"),
                Some(data) if data.len() > length as usize => return Err("more data than requested"),
                data => data.map(|data| Reply::Data(data.to_vec())),
            },
            (REPLY_NAME, Expected::Names) => read_names(reader).map(Reply::Names),
            (REPLY_NAME, Expected::Path) => match read_names(reader) {
                Some(names) if names.iter().any(|name| name.name.len() > MAX_PATH) => {
                    return Err("a path that is too long");
                }
                Some(mut names) if names.len() == 1 && !names[0].name.is_empty() => {
                    names.pop().map(|name| Reply::Path(name.name))
                }
                Some(_) => return Err("not exactly one path"),
                None => None,
            },
            (REPLY_ATTRS, Expected::Attributes) => Attributes::read(reader).map(Reply::Attributes),
            (REPLY_EXTENDED, Expected::Space) => read_space(reader).map(Reply::Space),
            (REPLY_EXTENDED, Expected::Limits) => read_limits(reader).map(Reply::Limits),
            _ => return Err("a reply of the wrong type"),
        };
        reply.ok_or("a truncated reply")
    }
}

fn read_names(reader: &mut WireReader<'_>) -> Option<Vec<Name>> {
    // The count is untrusted: nothing is reserved for it.
    let mut names = Vec::new();
    for _ in 0..reader.u32()? {
        let name = reader.string()?.to_vec();
        let links = read_links(reader.string()?);
        names.push(Name { name, attributes: Attributes::read(reader)?, links });
    }
    Some(names)
}

/// Returns the number of links in a line like that of `ls -l` (section 7 of the draft): `-rwxr-xr-x   1 mjos     staff
/// ...`.
fn read_links(line: &[u8]) -> Option<u64> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    fields.next().filter(|mode| (10..=11).contains(&mode.len()) && b"-dlbcps".contains(&mode[0]))?;
    std::str::from_utf8(fields.next()?).ok()?.parse().ok()
}

fn read_space(reader: &mut WireReader<'_>) -> Option<Space> {
    let mut next = || reader.u64();
    let (_block, fragment) = (next()?, next()?);
    let (_blocks, _free, available) = (next()?, next()?, next()?);
    let (total, _free_files, files) = (next()?, next()?, next()?);
    // Some file systems, such as btrfs, do not count files.
    let files = if total == 0 { u64::MAX } else { files };
    Some(Space { bytes: available.saturating_mul(fragment), files })
}

fn read_limits(reader: &mut WireReader<'_>) -> Option<Limits> {
    let mut next = || reader.u64();
    Some(Limits { packet: next()?, read: next()?, write: next()?, handles: next()? })
}
