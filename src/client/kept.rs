//! One stream of the output of a host, kept until it is read.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::system::files::spill::Spill;
use crate::system::lock::lock;

/// Bytes read at once.
pub(super) const PIECE: usize = 64 << 10;

/// One stream of a host's output.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) state: Mutex<KeptState>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct KeptState {
    pub(super) bytes: Spill,
    pub(super) is_ended: bool,
    pub(super) is_discarded: bool,
    /// How many threads wait for more: without one, nothing is woken, which is a system call.
    readers: usize,
    /// The error that ended the stream early.
    pub(super) problem: Option<io::Error>,
}

impl Kept {
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        if !state.is_discarded && state.problem.is_none() {
            state.problem = state.bytes.push(bytes).err();
            self.wake(&state);
        }
    }

    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.is_ended = true;
        self.wake(&state);
    }

    fn wake(&self, state: &KeptState) {
        if state.readers > 0 {
            self.changed.notify_all();
        }
    }

    pub(super) fn discard(&self) {
        let mut state = lock(&self.state);
        state.is_discarded = true;
        state.bytes.clear();
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.bytes.is_empty() || state.problem.is_some()
    }

    /// Takes the next piece without waiting; empty if there is none, or if it cannot be read, which [`Kept::read`] then reports.
    pub(super) fn pop(&self) -> Vec<u8> {
        let mut state = lock(&self.state);
        let mut buffer = vec![0; PIECE];
        match state.bytes.pop(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                buffer.shrink_to_fit();
            }
            Err(error) => {
                buffer.clear();
                state.problem = Some(error);
            }
        }
        buffer
    }

    /// Waits for the next piece and appends it to `buffer`. Returns false at the end.
    pub(super) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let nothing = |state: &mut KeptState| state.bytes.is_empty() && !state.is_ended && state.problem.is_none();
        let mut state = lock(&self.state);
        state.readers += 1;
        state = self.changed.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        state.readers -= 1;
        if state.bytes.is_empty() {
            // Reported once; the next call returns the end.
            return state.problem.take().map_or(Ok(false), |problem| {
                state.is_discarded = true;
                Err(problem)
            });
        }
        let length = buffer.len();
        buffer.resize(length + PIECE, 0);
        let count = state.bytes.pop(&mut buffer[length..]);
        buffer.truncate(length + *count.as_ref().unwrap_or(&0));
        count.map(|count| count > 0)
    }
}
