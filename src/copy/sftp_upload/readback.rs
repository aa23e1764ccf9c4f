//! Reads uploaded data back to compare it.

use std::collections::BTreeMap;

use openssl::sha::Sha256;

/// Bytes of one READ: every server returns this much.
const PIECE: u64 = 32 * 1024;

/// The content of one file from the server, in pieces that may come in any order and shorter than requested.
pub struct ReadBack {
    size: u64,
    /// Bytes requested from the start.
    asked: u64,
    /// Bytes hashed into `sha` from the start.
    hashed: u64,
    sha: Sha256,
    /// Data behind a gap, by offset.
    early: BTreeMap<u64, Vec<u8>>,
    /// Ranges to request again after short replies.
    again: Vec<(u64, u32)>,
}

impl std::fmt::Debug for ReadBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes read back", self.hashed, self.size)
    }
}

impl ReadBack {
    /// Starts reading a file of `size` bytes.
    pub fn new(size: u64) -> ReadBack {
        ReadBack { size, asked: 0, hashed: 0, sha: Sha256::new(), early: BTreeMap::new(), again: Vec::new() }
    }

    /// Returns the next range to request, offset and length, and how many of its bytes were never requested before: at
    /// most `room`.
    pub fn next(&mut self, room: u64) -> Option<(u64, u32, u64)> {
        if let Some((offset, length)) = self.again.pop() {
            return Some((offset, length, 0));
        }
        let length = (self.size - self.asked).min(PIECE);
        if length == 0 || length > room {
            return None;
        }
        self.asked += length;
        Some((self.asked - length, length as u32, length))
    }

    /// Takes the data for `length` bytes at `offset`; returns how many bytes are finished.
    pub fn take(&mut self, offset: u64, length: u32, data: Vec<u8>) -> u64 {
        let missing = length - data.len() as u32;
        if missing > 0 {
            self.again.push((offset + data.len() as u64, missing));
        }
        // Data that comes byte by byte is kept in one piece: the server cannot create many pieces.
        match self.early.range_mut(..offset).next_back() {
            Some((start, piece)) if start + piece.len() as u64 == offset => piece.extend_from_slice(&data),
            _ => {
                self.early.insert(offset, data);
            }
        }
        let before = self.hashed;
        while let Some(data) = self.early.remove(&self.hashed) {
            self.sha.update(&data);
            self.hashed += data.len() as u64;
        }
        self.hashed - before
    }

    /// Returns the bytes that were requested and are not finished.
    pub fn outstanding(&self) -> u64 {
        self.asked - self.hashed
    }

    /// Whether all was read.
    pub fn is_complete(&self) -> bool {
        self.hashed == self.size
    }

    /// Returns the SHA-256 of the data.
    pub fn finish(self) -> [u8; 32] {
        self.sha.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_server_that_gives_single_bytes_does_not_fill_memory() {
        let size = 20 * PIECE;
        let mut readback = ReadBack::new(size);
        let first = readback.next(size).expect("nothing was asked for yet");
        let mut asked = Vec::new();
        for round in 0..2_000 {
            while let Some((offset, length, _)) = readback.next(size - readback.outstanding()) {
                asked.push((offset, length));
            }
            // All but the first get an answer of one byte each.
            for (offset, length) in asked.drain(..) {
                assert_eq!(readback.take(offset, length, vec![1]), 0);
            }
            assert!(readback.early.len() < 20 && readback.again.len() < 20, "{round}");
        }
        assert_eq!(readback.take(first.0, first.1, vec![1; first.1 as usize]), PIECE + 2_000);
    }

    proptest! {
        #[test]
        fn pieces_may_be_short_and_in_any_order(
            size in 0..200_000usize,
            order in prop::collection::vec((any::<prop::sample::Index>(), 1..40_000usize), 64),
        ) {
            let content: Vec<u8> = (0..size).map(|number| (number / 3) as u8).collect();
            let mut readback = ReadBack::new(size as u64);
            let (mut asked, mut order, mut room) = (Vec::new(), order.into_iter().cycle(), 100_000);
            while !readback.is_complete() {
                while let Some((offset, length, new)) = readback.next(room) {
                    room -= new;
                    asked.push((offset, length));
                }
                prop_assert!(!asked.is_empty() && readback.outstanding() == 100_000 - room);
                let (which, most) = order.next().expect("it has no end");
                let (offset, length) = asked.remove(which.index(asked.len()));
                let got = most.min(length as usize);
                room += readback.take(offset, length, content[offset as usize..][..got].to_vec());
            }
            prop_assert!(asked.is_empty() && room == 100_000 && readback.early.is_empty());
            prop_assert_eq!(readback.finish(), openssl::sha::sha256(&content));
        }
    }
}
