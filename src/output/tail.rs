//! The last lines of a job, for reports that show only failures.

use std::collections::VecDeque;

use crate::events::event::Stream;

/// Bytes of a line that are kept; the rest is cut off.
const LINE: usize = 1024;

/// The last lines of a job, of both streams in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    lines: VecDeque<(Stream, Vec<u8>)>,
    /// The unfinished lines: stdout, stderr.
    pending: [Vec<u8>; 2],
    /// Lines dropped before the kept ones.
    dropped: u64,
}

impl Tail {
    /// Adds output and keeps the last `most` lines.
    pub fn add(&mut self, stream: Stream, bytes: &[u8], most: usize) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let pending = &mut self.pending[stream as usize];
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            pending.extend_from_slice(&text[..text.len().min(LINE - pending.len())]);
            if text.len() < line.len() {
                let whole = std::mem::take(pending);
                self.push(stream, whole, most);
            }
        }
    }

    fn push(&mut self, stream: Stream, line: Vec<u8>, most: usize) {
        self.lines.push_back((stream, line));
        if self.lines.len() > most {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    /// Returns the lines, at the end of the output, and how many were dropped before them.
    pub fn finish(mut self, most: usize) -> (Vec<(Stream, Vec<u8>)>, u64) {
        for (stream, pending) in [Stream::Stdout, Stream::Stderr].into_iter().zip(std::mem::take(&mut self.pending)) {
            if !pending.is_empty() {
                self.push(stream, pending, most);
            }
        }
        (self.lines.into(), self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_the_others_counted() {
        let mut tail = Tail::default();
        tail.add(Stream::Stdout, b"1\n2\n3", 3);
        tail.add(Stream::Stderr, b"E\n", 3);
        tail.add(Stream::Stdout, b"3\n\n4", 3);
        let (lines, dropped) = tail.finish(3);
        assert_eq!(lines, [&b"33"[..], b"", b"4"].map(|line| (Stream::Stdout, line.to_vec())));
        assert_eq!(dropped, 3);
        let mut long = Tail::default();
        (0..3000).for_each(|_| long.add(Stream::Stderr, b"xy", 2));
        assert_eq!(long.finish(2).0, [(Stream::Stderr, b"xy".repeat(LINE / 2))]);
    }
}
