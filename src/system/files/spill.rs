//! A queue of bytes: in memory while they are few, beyond that in an unnamed temporary file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are kept in memory, per queue.
pub const MEMORY: usize = 1 << 20;

/// A first in, first out queue of bytes. Never full, until the disk is.
#[derive(Debug, Default)]
pub struct Spill {
    /// The first bytes.
    memory: VecDeque<u8>,
    /// The later bytes, from `read` to `written`.
    file: Option<File>,
    read: u64,
    written: u64,
}

impl Spill {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.read == self.written
    }

    /// How many bytes are in memory.
    pub fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The temporary file cannot be created or is full; then nothing of `bytes` is in the queue.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push_within(MEMORY, bytes)
    }

    /// The same with another memory limit, for owners of many queues.
    ///
    /// # Errors
    /// See [`Spill::push`].
    pub fn push_within(&mut self, memory: usize, bytes: &[u8]) -> io::Result<()> {
        if self.read == self.written && self.memory.len() + bytes.len() <= memory {
            self.memory.extend(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Removes bytes from the front, up to the size of `buffer`; returns how many, 0 if there are none.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn pop(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.memory.is_empty() {
            return io::Read::read(&mut self.memory, buffer);
        }
        let Some(file) = self.file.as_ref().filter(|_| self.read < self.written) else { return Ok(0) };
        let left = usize::try_from(self.written - self.read).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = file.read_at(&mut buffer[..most], self.read)?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the temporary file has become shorter"));
        }
        self.read += count as u64;
        if self.read == self.written {
            // A reader that keeps up uses no disk.
            (self.file, self.read, self.written) = (None, 0, 0);
        }
        Ok(count)
    }

    /// Clears the queue.
    pub fn clear(&mut self) {
        *self = Spill::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let mut spill = Spill::default();
        let mut buffer = vec![0; 70_001];
        let (mut pushed, mut popped): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for round in 0..200_u32 {
            let piece: Vec<u8> = (0..round * 499).map(|n| (n ^ round) as u8).collect();
            spill.push(&piece).expect("room");
            pushed.extend(&piece);
            assert!(round != 99 || spill.file.is_some(), "too much for memory");
            // Slower than the input for a while, then faster.
            for _ in 0..if round < 100 { 0 } else { 3 } {
                let count = spill.pop(&mut buffer).expect("readable");
                popped.extend(&buffer[..count]);
            }
        }
        while !spill.is_empty() {
            let count = spill.pop(&mut buffer).expect("readable");
            popped.extend(&buffer[..count]);
        }
        assert!(pushed == popped);
        assert!(spill.file.is_none());
        assert_eq!(spill.pop(&mut buffer).expect("nothing"), 0);
    }
}
