//! Output of hosts, stored until it is shown: small texts in memory, the rest in one unnamed temporary
//! file for all hosts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of one text to keep in memory.
const MEMORY_EACH: usize = 1 << 20;
/// Bytes of all texts to keep in memory. Beyond that, data goes to the file.
const MEMORY: usize = 16 << 20;
/// Bytes of a block of the file, and of a read. A block that is not full takes room in the file's length, not on the disk.
const BLOCK: usize = 64 << 10;

/// Room for texts.
#[derive(Debug, Default)]
pub struct Store {
    /// Bytes in memory, of all texts.
    memory: usize,
    file: Option<File>,
    /// Free blocks of the file.
    free: Vec<u32>,
    blocks: u32,
}

/// A text in a [`Store`]. Dropping it without [`Store::forget`] wastes its space.
#[derive(Debug, Default)]
pub struct Text {
    memory: Vec<u8>,
    /// Its blocks, if it is in the file; `memory` is empty then.
    blocks: Vec<u32>,
    length: u64,
}

impl Text {
    /// Bytes of it.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Store {
    /// Appends to a text.
    ///
    /// # Errors
    /// The temporary file cannot be created or is full; some of `bytes` may be in the text then, and earlier bytes are.
    pub fn append(&mut self, text: &mut Text, bytes: &[u8]) -> io::Result<()> {
        let fits = text.memory.len() + bytes.len() <= MEMORY_EACH && self.memory + bytes.len() <= MEMORY;
        if text.blocks.is_empty() && fits {
            text.memory.extend_from_slice(bytes);
            text.length += bytes.len() as u64;
            self.memory += bytes.len();
            return Ok(());
        }
        if !text.memory.is_empty() {
            let mut moved = Text::default();
            if let Err(error) = self.write(&mut moved, &text.memory) {
                self.forget(moved);
                return Err(error);
            }
            self.forget(std::mem::replace(text, moved));
        }
        self.write(text, bytes)
    }

    fn write(&mut self, text: &mut Text, mut bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        while !bytes.is_empty() {
            let used = (text.length % BLOCK as u64) as usize;
            // After a failed write the block exists already.
            if text.blocks.len() as u64 * BLOCK as u64 == text.length {
                text.blocks.push(self.free.pop().unwrap_or_else(|| {
                    self.blocks += 1;
                    self.blocks - 1
                }));
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - used));
            let block = text.blocks.last().copied().unwrap_or_default();
            file.write_all_at(now, u64::from(block) * BLOCK as u64 + used as u64)?;
            text.length += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Passes a text to `sink`, piece by piece.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn read(&self, text: &Text, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        text.memory.chunks(BLOCK).for_each(&mut sink);
        let Some(file) = self.file.as_ref().filter(|_| !text.blocks.is_empty()) else { return Ok(()) };
        let (mut buffer, mut left) = (vec![0; BLOCK], text.length);
        for block in &text.blocks {
            let piece = &mut buffer[..usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)];
            file.read_exact_at(piece, u64::from(*block) * BLOCK as u64)?;
            sink(piece);
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Frees the space of a text.
    pub fn forget(&mut self, text: Text) {
        self.memory -= text.memory.len();
        self.free.extend(text.blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(store: &Store, text: &Text) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.read(text, |piece| bytes.extend_from_slice(piece)).expect("readable");
        bytes
    }

    #[test]
    fn long_texts_and_too_many_texts_go_to_the_file_and_come_back() {
        let mut store = Store::default();
        let mut long = (Text::default(), Vec::new());
        let mut short: Vec<(Text, Vec<u8>)> = (0..60).map(|_| Default::default()).collect();
        for round in 0..90_usize {
            let piece: Vec<u8> = (0..round * 499).map(|n| (n ^ round) as u8).collect();
            store.append(&mut long.0, &piece).expect("room");
            long.1.extend(&piece);
            for (number, (text, bytes)) in short.iter_mut().enumerate().filter(|_| round % 5 == 0) {
                let piece: Vec<u8> = piece.iter().map(|byte| byte ^ number as u8).collect();
                store.append(text, &piece).expect("room");
                bytes.extend(piece);
            }
        }
        assert!(!long.0.blocks.is_empty() && long.0.memory.is_empty(), "more than one text may have in memory");
        assert!(short.iter().any(|(text, _)| text.blocks.is_empty()) && store.memory <= MEMORY);
        assert!(short.iter().any(|(text, _)| !text.blocks.is_empty()), "more than all may have in memory");
        for (text, bytes) in short.iter().chain([&long]) {
            assert!(text.len() == bytes.len() as u64 && all(&store, text) == *bytes);
        }
        let blocks = store.blocks;
        store.forget(long.0);
        let mut next = Text::default();
        store.append(&mut next, &long.1).expect("room");
        assert!(all(&store, &next) == long.1 && store.blocks == blocks, "room is used again");
        short.into_iter().for_each(|(text, _)| store.forget(text));
        assert_eq!(store.memory, 0);
    }
}
