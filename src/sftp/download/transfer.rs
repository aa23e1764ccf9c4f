//! One file on its way from the host: what is asked for, what has come, and where it is kept until all of it is there.

use std::collections::{BTreeMap, VecDeque};

use super::super::wire::Attributes;
use crate::copy::Options;
use crate::copy::place::{Below, Place, PlaceError, Temporary, local_mode};

/// Bytes of one READ: all servers give so many at once, and libssh2 makes packets of about this size.
pub(super) const READ: u32 = 32 * 1024;
/// Bytes of one READ of a file of which nobody knows the size, where the next can only be asked for after it.
const READ_UNKNOWN: u32 = 128 * 1024;
/// Bytes of a file that is written at once, when all of it is there. Larger ones are open all the time.
const SMALL: u64 = 256 * 1024;
/// The mode of a file of which the server does not tell it.
const USUAL_MODE: u32 = 0o666;

const SHORTER: &str = "it got shorter while it was read";
pub(super) const DIFFERENT: &str = "what was written here is not what the host has, now that it was read again";

/// Why a file does not come along.
#[derive(Debug)]
pub(super) enum Failure {
    /// In words.
    Remote(String),
    /// It is not the file any more that it was: nothing can go on with what has come of it.
    Changed(&'static str),
    /// It cannot be put in its place.
    Local(PlaceError),
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Failure {
        Failure::Local(error)
    }
}

#[derive(Debug)]
enum Size {
    /// The server has not said it yet.
    Untold,
    Known(u64),
    /// It says none, as for files of /proc: all up to the end.
    Unknown,
}

#[derive(Debug)]
enum Sink {
    /// There is no decision yet, or no room for another open file.
    Undecided,
    Memory(Vec<u8>),
    File(Temporary),
}

/// The file.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The directory that it is in, by number.
    pub(super) parent: u64,
    /// Its path on the host.
    pub(super) remote: Vec<u8>,
    /// Bytes that the total counts for it.
    pub(super) counted: u64,
    local: Below,
    options: Options,
    handle: Option<Vec<u8>>,
    attributes: Attributes,
    size: Size,
    /// The first READ was answered. Until then it is the only one.
    begun: bool,
    /// There is no more to read.
    ended: bool,
    /// So far it was asked for.
    asked_to: u64,
    /// READs without an answer, and their bytes.
    asked: usize,
    asked_bytes: usize,
    /// What READs that came back short have left out.
    again: VecDeque<(u64, u32)>,
    /// What has come before what is in front of it, by offset.
    pieces: BTreeMap<u64, Vec<u8>>,
    pieces_bytes: usize,
    /// So much is in the sink, or has been read again if `verifying`.
    written: u64,
    sink: Sink,
    /// All has been written, and is now compared with what the host has.
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
        Transfer {
            parent,
            remote,
            counted,
            local,
            options,
            handle: None,
            attributes,
            size: Size::Untold,
            begun: false,
            ended: false,
            asked_to: 0,
            asked: 0,
            asked_bytes: 0,
            again: VecDeque::new(),
            pieces: BTreeMap::new(),
            pieces_bytes: 0,
            written: 0,
            sink: Sink::Undecided,
            verifying: false,
        }
    }

    /// Bytes of memory that it takes now, or will when all answers come.
    pub(super) fn held(&self) -> usize {
        let memory = if let Sink::Memory(bytes) = &self.sink { bytes.len() } else { 0 };
        self.asked_bytes + self.pieces_bytes + memory
    }

    /// Bytes that were asked for and have not come.
    pub(super) fn expected(&self) -> usize {
        self.asked_bytes
    }

    /// Bytes that have come and been put where they are kept.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it holds an open file here.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.sink, Sink::File(_))
    }

    pub(super) fn handle(&self) -> Option<&[u8]> {
        self.handle.as_deref()
    }

    /// The server has opened it. Gives the length of the first READ, from its beginning.
    pub(super) fn opened(&mut self, handle: Vec<u8>) -> u32 {
        self.handle = Some(handle);
        // As much as it had when it was listed: a file that has become longer meanwhile costs one more READ.
        let length = match self.attributes.size {
            Some(size) => u32::try_from(size).map_or(READ, |size| if size == 0 { READ } else { size.min(READ) }),
            None => READ,
        };
        self.count_asked(length);
        length
    }

    /// The server has said what it is. Gives its size, if it has one.
    pub(super) fn sized(&mut self, attributes: Attributes) -> Result<Option<u64>, Failure> {
        if attributes.mode.is_some() && !attributes.is_file() {
            return Err(Failure::Remote("not a regular file".to_owned()));
        }
        self.attributes = attributes;
        match attributes.size {
            Some(size) if size > 0 => {
                if self.ended {
                    return Err(Failure::Changed(SHORTER));
                }
                self.size = Size::Known(size);
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

    /// What to ask for next, if anything: from where, and how much.
    pub(super) fn next_read(&mut self) -> Option<(u64, u32)> {
        self.handle.as_ref()?;
        if let Some((offset, length)) = self.again.pop_front() {
            self.count_asked(length);
            return Some((offset, length));
        }
        let length = match self.size {
            Size::Untold => return None,
            _ if !self.begun => return None,
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

    /// A READ has ended, with bytes or with the end of the file.
    pub(super) fn heard(&mut self, offset: u64, length: u32, data: Option<Vec<u8>>) -> Result<(), Failure> {
        self.asked = self.asked.saturating_sub(1);
        self.asked_bytes = self.asked_bytes.saturating_sub(length as usize);
        let is_first = !self.begun;
        self.begun = true;
        let Some(mut data) = data else {
            if matches!(self.size, Size::Known(_)) {
                return Err(Failure::Changed(SHORTER));
            }
            self.ended = true;
            return Ok(());
        };
        let end = offset + data.len() as u64;
        if is_first || matches!(self.size, Size::Unknown) {
            // It is the only one.
            self.asked_to = end;
        } else if data.len() < length as usize {
            self.again.push_back((end, length - data.len() as u32));
        }
        if let Size::Known(size) = self.size {
            // It has grown since: the copy ends where it ended when it was opened.
            data.truncate(usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX));
            self.asked_to = self.asked_to.min(size);
        }
        if self.verifying {
            return self.compare(offset, &data);
        }
        self.put_piece(offset, data);
        Ok(())
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
        // What one READ after the other gives byte by byte becomes one piece: each costs more than its bytes. Whole READs are
        // not moved again.
        match self.pieces.range_mut(..offset).next_back() {
            Some((start, before))
                if start + before.len() as u64 == offset && before.len() + piece.len() <= READ as usize =>
            {
                before.extend_from_slice(&piece);
            }
            _ => drop(self.pieces.insert(offset, piece)),
        }
    }

    /// How many pieces wait for what is in front of them.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pieces.len()
    }

    fn take_piece(&mut self, offset: u64) -> Option<Vec<u8>> {
        let piece = self.pieces.remove(&offset)?;
        self.pieces_bytes -= piece.len();
        Some(piece)
    }

    /// Whether it needs an open file here, and has none.
    pub(super) fn wants_file(&self) -> bool {
        match (&self.size, &self.sink) {
            (_, Sink::File(_)) | (Size::Untold, _) => false,
            (Size::Known(size), _) => *size > SMALL || self.options.checksum,
            (Size::Unknown, Sink::Memory(bytes)) => bytes.len() as u64 > SMALL || self.ended && self.options.checksum,
            (Size::Unknown, Sink::Undecided) => false,
        }
    }

    /// Moves what has come to where it is kept; `may_open` is whether another file may be open here. Gives how many bytes that were.
    pub(super) fn settle(&mut self, place: &mut Place, may_open: bool) -> Result<u64, Failure> {
        if self.verifying {
            return Ok(0);
        }
        let before = self.written;
        // Where to go on asking is only known after the first READ.
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

    /// Opens the file here, and puts into it what is in memory.
    fn open(&mut self, place: &mut Place) -> Result<(), Failure> {
        let tag = match (&self.size, self.attributes.times) {
            // Another version of the file does not go on with what is left of this one.
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

    /// Goes on after what is in a file of an earlier copy.
    fn go_on(&mut self, size: u64, file: &Temporary) -> Result<(), PlaceError> {
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

    /// Puts it in its place, if all of it is there and, where that is wanted, has been compared; says whether it is in place.
    pub(super) fn finish(&mut self, place: &mut Place) -> Result<bool, Failure> {
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

    /// It failed. What is here of it goes, unless another try can go on with it. Gives its path on the host.
    pub(super) fn give_up(self, failure: &Failure) -> Vec<u8> {
        if let (Sink::File(file), Failure::Changed(_)) = (self.sink, failure) {
            file.discard();
        }
        self.remote
    }
}
