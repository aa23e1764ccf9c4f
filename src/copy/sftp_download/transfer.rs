//! One file of a download: which data was requested and received, and where it is kept until it is complete.

use std::collections::{BTreeMap, VecDeque};

use crate::copy::download_root::{Below, DownloadRoot, PlaceError, local_mode};
use crate::copy::downloaded_file::DownloadedFile;
use crate::copy::sftp::packets::Attributes;
use crate::copy::{Options, kept_as};

/// Bytes of one READ: all servers return this much, and libssh2 makes packets of about this size.
pub(super) const READ: u32 = 32 * 1024;
/// Bytes of one READ of a file of unknown size, where the next READ must wait for the reply.
const READ_UNKNOWN: u32 = 128 * 1024;
/// Bytes of a file that is written in one go once it is complete. Larger ones stay open.
const SMALL: u64 = 256 * 1024;
/// The mode of a file for which the server sends none.
const USUAL_MODE: u32 = 0o666;

/// The largest file that may end before its size and still be complete: files of sysfs report a page.
const PAGE: u64 = 64 * 1024;

const SHORTER: &str = "it shrank while it was read";
pub(super) const DIFFERENT: &str = "the local copy differs from the file on the host (read a second time)";

/// The reason why a file is not copied.
#[derive(Debug)]
pub(super) enum Failure {
    /// The reason in words.
    Remote(String),
    /// The remote file changed: its partial data is useless.
    Changed(&'static str),
    /// It cannot be put in its place.
    Local(PlaceError),
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Failure {
        Failure::Local(error)
    }
}

#[derive(Debug, Default)]
enum Size {
    /// The server has not sent it yet.
    #[default]
    Untold,
    Known(u64),
    /// The server sends none, as for files of /proc: read up to the end.
    Unknown,
}

/// Whether a file ended before its size, and how far that is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Early {
    #[default]
    No,
    /// Other READs are pending.
    Seen,
    /// Its size must be requested again.
    ToAsk,
    Asked,
}

#[derive(Debug, Default)]
enum Sink {
    /// Undecided, or no room for another open file.
    #[default]
    Undecided,
    Memory(Vec<u8>),
    File(DownloadedFile),
}

/// The file.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// The number of its directory.
    pub(super) parent: u64,
    /// Its remote path.
    pub(super) remote: Vec<u8>,
    /// Its share of the total in bytes.
    pub(super) counted: u64,
    local: Below,
    options: Options,
    handle: Option<Vec<u8>>,
    attributes: Attributes,
    size: Size,
    /// The first READ was answered. Until then it is the only one.
    begun: bool,
    /// The end was reached.
    ended: bool,
    early: Early,
    /// End of the requested range.
    asked_to: u64,
    /// READs without an answer, and their bytes.
    asked: usize,
    asked_bytes: usize,
    /// Gaps left by short READs.
    again: VecDeque<(u64, u32)>,
    /// Received data behind a gap, by offset.
    pieces: BTreeMap<u64, Vec<u8>>,
    pieces_bytes: usize,
    /// Bytes in the sink, or read again if `verifying`.
    written: u64,
    sink: Sink,
    /// All is written, and is now compared with the remote file.
    verifying: bool,
}

impl Transfer {
    pub(super) fn new(
        parent: u64,
        remote: Vec<u8>,
        local: Below,
        attributes: Attributes,
        counted: u64,
        options: Options,
    ) -> Transfer {
        Transfer { parent, remote, counted, local, options, attributes, ..Transfer::default() }
    }

    /// Returns the bytes of memory that it takes, including pending requests.
    pub(super) fn held(&self) -> usize {
        let memory = if let Sink::Memory(bytes) = &self.sink { bytes.len() } else { 0 };
        self.asked_bytes + self.pieces_bytes + memory
    }

    /// Returns the bytes that were requested and have not come.
    pub(super) fn expected(&self) -> usize {
        self.asked_bytes
    }

    /// Returns the bytes that were received and stored.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it holds an open local file.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.sink, Sink::File(_))
    }

    pub(super) fn handle(&self) -> Option<&[u8]> {
        self.handle.as_deref()
    }

    /// Continues with the opened remote file. Returns the length of the first READ, at its beginning.
    pub(super) fn opened(&mut self, handle: Vec<u8>) -> u32 {
        self.handle = Some(handle);
        // The size from the list: a file that has grown since costs one more READ.
        let length = match self.attributes.size {
            Some(size) => u32::try_from(size).map_or(READ, |size| if size == 0 { READ } else { size.min(READ) }),
            None => READ,
        };
        self.count_asked(length);
        length
    }

    /// Takes the attributes. Returns the size, if there is one.
    pub(super) fn sized(&mut self, attributes: Attributes) -> Result<Option<u64>, Failure> {
        if attributes.mode.is_some() && !attributes.is_file() {
            return Err(Failure::Remote("not a regular file".to_owned()));
        }
        self.attributes = attributes;
        match attributes.size {
            Some(size) if size > 0 => {
                if self.ended && size > PAGE {
                    return Err(Failure::Changed(SHORTER));
                }
                self.size = Size::Known(size);
                if std::mem::take(&mut self.ended) {
                    self.early = Early::ToAsk;
                }
                // The READ may have come back first.
                if let Some(mut first) = self.take_piece(0) {
                    first.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                    self.asked_to = first.len() as u64;
                    self.put_piece(0, first);
                }
                Ok(Some(size))
            }
            _ => {
                self.size = Size::Unknown;
                Ok(None)
            }
        }
    }

    /// Uses the attributes from before it was opened, for a server without FSTAT.
    pub(super) fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// Whether to request its size again, since it ended early.
    pub(super) fn asks_again(&mut self) -> bool {
        let asks = self.early == Early::ToAsk;
        if asks {
            self.early = Early::Asked;
        }
        asks
    }

    /// Takes the attributes requested again, or their absence. An unchanged size is one that the host makes up; then
    /// the end is where reading ended.
    pub(super) fn sized_again(&mut self, attributes: Option<Attributes>) -> Result<(), Failure> {
        let key = |attributes: Attributes| (attributes.size, attributes.times.map(|(_, modified)| modified));
        let is_same = attributes.is_none_or(|now| key(now) == key(self.attributes));
        if !is_same || !self.is_contiguous() {
            return Err(Failure::Changed(SHORTER));
        }
        (self.size, self.ended, self.early) = (Size::Unknown, true, Early::No);
        Ok(())
    }

    /// Whether the waiting data follows the written data without a gap.
    fn is_contiguous(&self) -> bool {
        let mut end = self.written;
        self.pieces.iter().all(|(start, piece)| {
            let follows = *start == end;
            end += piece.len() as u64;
            follows
        })
    }

    /// Returns the next range to request, if any: offset and length.
    pub(super) fn next_read(&mut self) -> Option<(u64, u32)> {
        self.handle.as_ref()?;
        if let Some((offset, length)) = self.again.pop_front() {
            self.count_asked(length);
            return Some((offset, length));
        }
        let length = match self.size {
            Size::Untold => return None,
            _ if !self.begun || self.early != Early::No => return None,
            Size::Known(_) if matches!(self.sink, Sink::Undecided) => return None,
            Size::Known(size) => {
                let left = size.saturating_sub(self.asked_to);
                u32::try_from(left).map_or(READ, |left| left.min(READ))
            }
            Size::Unknown if self.ended || self.asked > 0 || self.wants_file() => return None,
            Size::Unknown => READ_UNKNOWN,
        };
        if length == 0 {
            return None;
        }
        let offset = self.asked_to;
        self.asked_to = offset.saturating_add(u64::from(length));
        self.count_asked(length);
        Some((offset, length))
    }

    fn count_asked(&mut self, length: u32) {
        self.asked += 1;
        self.asked_bytes += length as usize;
    }

    /// Takes the result of a READ: data or the end of the file.
    pub(super) fn heard(&mut self, offset: u64, length: u32, data: Option<Vec<u8>>) -> Result<(), Failure> {
        self.asked = self.asked.saturating_sub(1);
        self.asked_bytes = self.asked_bytes.saturating_sub(length as usize);
        let is_first = !self.begun;
        self.begun = true;
        let Some(mut data) = data else {
            return match self.size {
                Size::Known(size) if size > PAGE || self.verifying => Err(Failure::Changed(SHORTER)),
                Size::Known(_) => {
                    self.ended_early();
                    Ok(())
                }
                _ => {
                    self.ended = true;
                    Ok(())
                }
            };
        };
        let end = offset + data.len() as u64;
        if is_first || matches!(self.size, Size::Unknown) {
            // This READ is the only one.
            self.asked_to = end;
        } else if data.len() < length as usize {
            self.again.push_back((end, length - data.len() as u32));
        }
        if let Size::Known(size) = self.size {
            // It has grown since: the copy ends at the size it had when it was opened.
            data.truncate(usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX));
            self.asked_to = self.asked_to.min(size);
        }
        if self.verifying {
            return self.compare(offset, &data);
        }
        self.put_piece(offset, data);
        if self.early == Early::Seen {
            self.ended_early();
        }
        Ok(())
    }

    /// Handles an end before the size.
    fn ended_early(&mut self) {
        if matches!(self.early, Early::No | Early::Seen) {
            self.early = if self.asked == 0 && self.again.is_empty() { Early::ToAsk } else { Early::Seen };
        }
    }

    fn compare(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let Sink::File(file) = &self.sink else { return Ok(()) };
        let mut written = vec![0; data.len()];
        file.read(offset, &mut written)?;
        if written != data {
            return Err(Failure::Changed(DIFFERENT));
        }
        self.written += data.len() as u64;
        Ok(())
    }

    fn put_piece(&mut self, offset: u64, piece: Vec<u8>) {
        self.pieces_bytes += piece.len();
        // Data that arrives byte by byte is merged into one piece: each piece costs more than its bytes. Whole READs
        // are not moved again.
        match self.pieces.range_mut(..offset).next_back() {
            Some((start, before))
                if start + before.len() as u64 == offset && before.len() + piece.len() <= READ as usize =>
            {
                before.extend_from_slice(&piece);
            }
            _ => drop(self.pieces.insert(offset, piece)),
        }
    }

    /// Returns how many pieces wait behind a gap.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pieces.len()
    }

    fn take_piece(&mut self, offset: u64) -> Option<Vec<u8>> {
        let piece = self.pieces.remove(&offset)?;
        self.pieces_bytes -= piece.len();
        Some(piece)
    }

    /// Whether it needs an open local file and has none.
    pub(super) fn wants_file(&self) -> bool {
        match (&self.size, &self.sink) {
            (_, Sink::File(_)) | (Size::Untold, _) => false,
            (Size::Known(size), _) => *size > SMALL || self.options.checksum,
            (Size::Unknown, Sink::Memory(bytes)) => bytes.len() as u64 > SMALL || self.ended && self.options.checksum,
            (Size::Unknown, Sink::Undecided) => false,
        }
    }

    /// Stores received data; `may_open`: another local file may be open. Returns the number of bytes.
    pub(super) fn settle(&mut self, place: &mut DownloadRoot, may_open: bool) -> Result<u64, Failure> {
        if self.verifying {
            return Ok(0);
        }
        let before = self.written;
        // The next offset is only known after the first READ.
        if self.wants_file() && self.begun && may_open {
            self.open(place)?;
        }
        if matches!(self.sink, Sink::Undecided) && !self.wants_file() && !matches!(self.size, Size::Untold) {
            self.sink = Sink::Memory(Vec::new());
        }
        while !matches!(self.sink, Sink::Undecided)
            && let Some(piece) = self.take_piece(self.written)
        {
            let length = piece.len() as u64;
            match &mut self.sink {
                Sink::File(file) => file.write(self.written, &piece)?,
                Sink::Memory(bytes) if bytes.is_empty() => *bytes = piece,
                Sink::Memory(bytes) => bytes.extend_from_slice(&piece),
                Sink::Undecided => {}
            }
            self.written += length;
        }
        Ok(self.written - before)
    }

    /// Opens the local file and writes the data in memory to it.
    fn open(&mut self, place: &mut DownloadRoot) -> Result<(), Failure> {
        let tag = match (&self.size, self.attributes.times) {
            // Another version of the file does not continue a partial one.
            (Size::Known(size), Some((_, modified))) if self.options.resume => Some(format!("{size:x}-{modified:x}")),
            _ => None,
        };
        let file = match &tag {
            Some(tag) => place.resume(&self.local, tag)?,
            None => place.create(&self.local)?,
        };
        if let Sink::Memory(bytes) = &self.sink {
            file.write(0, bytes)?;
        }
        if let (Size::Known(size), true) = (&self.size, file.length() > 0) {
            self.go_on(*size, &file)?;
        }
        self.sink = Sink::File(file);
        Ok(())
    }

    /// Continues after the data of an earlier copy.
    fn go_on(&mut self, size: u64, file: &DownloadedFile) -> Result<(), PlaceError> {
        if file.length() > size {
            return file.truncate(0);
        }
        self.written = file.length();
        let first = self.take_piece(0).unwrap_or_default();
        match usize::try_from(self.written).ok().and_then(|written| first.get(written..)) {
            Some(rest) if !rest.is_empty() => self.put_piece(self.written, rest.to_vec()),
            _ => self.asked_to = self.asked_to.max(self.written),
        }
        Ok(())
    }

    /// Puts it in its place if it is complete and, if requested, compared; returns whether it is in place.
    pub(super) fn finish(&mut self, place: &mut DownloadRoot) -> Result<bool, Failure> {
        let all = match self.size {
            Size::Known(size) => self.written == size,
            Size::Unknown => self.ended && self.pieces.is_empty(),
            Size::Untold => false,
        };
        if !all || self.asked > 0 || !self.again.is_empty() {
            return Ok(false);
        }
        if self.options.checksum && !self.verifying {
            if !self.is_open() {
                return Ok(false);
            }
            (self.verifying, self.size) = (true, Size::Known(self.written));
            if self.written > 0 {
                (self.written, self.asked_to) = (0, 0);
                return Ok(false);
            }
        }
        let mode = local_mode(self.attributes.mode.unwrap_or(USUAL_MODE), self.options.preserve);
        let times = self.attributes.times.filter(|_| self.options.preserve);
        let file = match std::mem::replace(&mut self.sink, Sink::Undecided) {
            Sink::File(file) => file,
            Sink::Memory(bytes) => {
                let file = place.create(&self.local)?;
                file.write(0, &bytes)?;
                file
            }
            Sink::Undecided => place.create(&self.local)?,
        };
        file.finish(self.written, mode, times)?;
        Ok(true)
    }

    /// Returns the local path of the partial file, if it is kept for resuming.
    pub(super) fn kept(&self) -> Option<String> {
        if let Sink::File(file) = &self.sink { file.kept() } else { None }
    }

    /// Gives up. The partial file is removed, or kept for resuming and named in the failure. Returns its remote path.
    pub(super) fn give_up(self, failure: &mut Failure) -> Vec<u8> {
        let kept = self.kept();
        match (failure, self.sink) {
            (Failure::Changed(_), Sink::File(file)) => file.discard(),
            (Failure::Remote(reason), _) => reason.push_str(&kept.as_deref().map_or_else(String::new, kept_as)),
            _ => {}
        }
        self.remote
    }
}
