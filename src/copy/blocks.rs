//! Blocks of local files, each read once and shared by all hosts that receive it, within a memory budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use crate::system::lock::lock;

/// Bytes of a block: many packets, so that the disk is read rarely.
pub const BLOCK: usize = 256 * 1024;
/// Bytes that all blocks of a run may take. Hosts that receive the same file at about the same pace share far less.
pub const BUDGET: usize = 64 * 1024 * 1024;
/// Approximate overhead of a block in bytes; it matters for many small files.
const OVERHEAD: usize = 256;

/// Key of a block: a file, and the number of the block in it.
type Key = (usize, u64);
/// A block once it is read. Other hosts that need it meanwhile wait.
type Slot = OnceLock<Result<Box<[u8]>, String>>;

/// The blocks in memory. The least recently used ones make room for others, and are read again when needed.
#[derive(Debug)]
pub struct Blocks {
    budget: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    slots: HashMap<Key, Entry>,
    /// The same, by last use.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    used: u64,
    bytes: usize,
}

impl Blocks {
    /// Creates an empty cache; its blocks may take `budget` bytes together.
    pub fn new(budget: usize) -> Blocks {
        Blocks { budget, held: Mutex::default() }
    }

    /// Calls `take` with block `number` of `file`, of `length` bytes. `read` reads the block if it is not in memory. No
    /// lock is held during either, but other threads that need the same block wait for `read`.
    ///
    /// # Errors
    /// Those of `read`; the next thread that needs the block tries again.
    pub fn with(
        &self,
        (file, number): (usize, u64),
        length: usize,
        read: impl FnOnce() -> Result<Vec<u8>, String>,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), String> {
        let slot = lock(&self.held).slot((file, number), length + OVERHEAD, self.budget);
        match slot.get_or_init(|| read().map(Vec::into_boxed_slice)) {
            Ok(block) => {
                take(block);
                Ok(())
            }
            Err(error) => {
                lock(&self.held).forget((file, number), &slot);
                Err(error.clone())
            }
        }
    }
}

impl Held {
    fn slot(&mut self, key: Key, bytes: usize, budget: usize) -> Arc<Slot> {
        self.clock += 1;
        let used = self.clock;
        if let Some(entry) = self.slots.get_mut(&key) {
            self.order.remove(&entry.used);
            self.order.insert(used, key);
            entry.used = used;
            return entry.slot.clone();
        }
        while self.bytes + bytes > budget {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.bytes -= self.slots.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
        let slot = Arc::new(Slot::new());
        self.slots.insert(key, Entry { slot: slot.clone(), used, bytes });
        self.order.insert(used, key);
        self.bytes += bytes;
        slot
    }

    fn forget(&mut self, key: Key, slot: &Arc<Slot>) {
        // Another thread may have removed it already, and a third started again.
        if self.slots.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.slot, slot))
            && let Some(entry) = self.slots.remove(&key)
        {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

/// Limits how many threads enter at once.
#[derive(Debug)]
pub struct Gate {
    free: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    /// Creates a gate for `count` threads.
    pub fn new(count: usize) -> Gate {
        Gate { free: Mutex::new(count), left: Condvar::new() }
    }

    /// Waits until there is room; the place is taken until the pass is dropped.
    pub fn enter(&self) -> Pass<'_> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self.left.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Pass(self)
    }
}

/// A place behind a gate.
#[derive(Debug)]
pub struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn get(blocks: &Blocks, key: Key, length: usize, reads: &AtomicUsize) {
        let content = vec![key.1 as u8; length];
        let read = || {
            reads.fetch_add(1, Ordering::Relaxed);
            Ok(content.clone())
        };
        let mut seen = Vec::new();
        assert_eq!(blocks.with(key, length, read, |block| seen.extend_from_slice(block)), Ok(()));
        assert_eq!(seen, content);
    }

    #[test]
    fn a_block_is_read_once_for_all() {
        let (blocks, reads) = (Blocks::new(BUDGET), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in 0..20 {
                        get(&blocks, (3, number), 1_000, &reads);
                    }
                });
            }
        });
        assert_eq!(reads.into_inner(), 20);
    }

    #[test]
    fn the_least_recently_used_ones_go_first_and_the_budget_holds() {
        let (blocks, reads) = (Blocks::new(3 * (1_000 + OVERHEAD)), AtomicUsize::new(0));
        for number in [0, 1, 2, 0, 3] {
            get(&blocks, (0, number), 1_000, &reads);
            assert!(lock(&blocks.held).bytes <= blocks.budget);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 4);
        // 1 is the least recently used.
        get(&blocks, (0, 0), 1_000, &reads);
        get(&blocks, (0, 2), 1_000, &reads);
        assert_eq!(reads.load(Ordering::Relaxed), 4);
        get(&blocks, (0, 1), 1_000, &reads);
        assert_eq!(reads.load(Ordering::Relaxed), 5);
        let held = lock(&blocks.held);
        assert_eq!((held.slots.len(), held.order.len(), held.bytes), (3, 3, 3 * (1_000 + OVERHEAD)));
    }

    #[test]
    fn a_failure_is_not_kept() {
        let (blocks, reads) = (Blocks::new(BUDGET), AtomicUsize::new(0));
        let failed = blocks.with((0, 0), 5, || Err("no".to_owned()), |_| panic!("there is nothing to take"));
        assert_eq!(failed, Err("no".to_owned()));
        assert_eq!(lock(&blocks.held).bytes, 0);
        get(&blocks, (0, 0), 5, &reads);
    }

    #[test]
    fn a_gate_lets_so_many_in_at_once() {
        let (gate, inside, most) = (Gate::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let _pass = gate.enter();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!((most.into_inner(), *lock(&gate.free)), (2, 2));
    }
}
