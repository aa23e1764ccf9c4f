//! The memory of libssh2 for a session, counted by allocator callbacks, and the session identifier in it.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;
use std::sync::OnceLock;

use libssh2_sys as raw;

use super::state::LinkState;

/// Bytes that libssh2 may hold for a session in addition to the windows of its channels. It needs about 200 KB during a
/// key exchange; the rest is for unknown messages, which it keeps.
const MOST_BYTES: usize = 8 << 20;
/// Bytes for each byte of a window: a packet that was filled to a half, or grown by what belongs to it.
const PER_WINDOW_BYTE: usize = 2;
/// Blocks that libssh2 may keep, of which a packet takes two. It looks through all packets for each that it wants: with many of them
/// it would do nothing else.
const MOST_BLOCKS: usize = 16 << 10;
/// Bytes of a window for which one block more may be kept.
const BYTES_PER_BLOCK: usize = 512;

/// The memory of libssh2 for one session and its limit. Exceeding it does not fail an allocation, since not every part
/// of libssh2 handles that well: reading stops instead.
pub struct Memory {
    bytes: Cell<usize>,
    blocks: Cell<usize>,
    most_bytes: Cell<usize>,
    most_blocks: Cell<usize>,
    /// The first bytes of the block freed last, while that is recorded.
    freed: Cell<Option<Beginning>>,
    identifier: Identifier,
}

/// The session identifier (RFC 4253 section 7.2), which libssh2 does not expose: agents bind their connections to it.
///
/// libssh2 asks for a block of the length of the hash, copies the hash into it, and notes both in its session. So every block of such
/// a length is looked for among what the session has noted when libssh2 next calls the allocator. Nothing relies on that it is the
/// right one: an agent checks the server's signature of it, and refuses another.
#[derive(Default)]
struct Identifier {
    found: RefCell<Option<Vec<u8>>>,
    /// The block that was given out last and its length, if it may be the one.
    candidate: Cell<Option<(NonNull<u8>, usize)>>,
}

/// The lengths of the hashes of key exchanges: SHA-1, SHA-256, SHA-384 and SHA-512.
const HASHES: [usize; 4] = [20, 32, 48, 64];
/// How many pointers behind the abstract slot the session notes it: it comes after 20 of them in libssh2 1.11.2_DEV.
const REACH: usize = 32;

impl Identifier {
    /// Notes that libssh2 has got `block`.
    fn gave(&self, block: NonNull<u8>, length: usize) {
        if HASHES.contains(&length) && self.found.borrow().is_none() {
            self.candidate.set(Some((block, length)));
        }
    }

    /// Looks whether the last block is the one.
    ///
    /// # Safety
    /// The session is live and locked, and the candidate was not freed.
    unsafe fn look(&self, session: NonNull<raw::LIBSSH2_SESSION>) {
        let Some((block, length)) = self.candidate.take() else { return };
        let mut key_length = 0;
        // SAFETY: the session is live, far larger than what is read of it, and was cleared when it was made. The key is not read. A block
        // that the session has noted together with its length was filled before that.
        unsafe {
            let slot = raw::libssh2_session_abstract(session.as_ptr()).cast::<*mut u8>();
            let is_noted = |place: &usize| {
                slot.add(*place).read() == block.as_ptr() && slot.add(place + 1).cast::<u32>().read() as usize == length
            };
            // The host key is noted in the same way.
            let key = raw::libssh2_session_hostkey(session.as_ptr(), &mut key_length, &mut 0);
            if (1..REACH).any(|place| is_noted(&place)) && key != block.as_ptr().cast() {
                *self.found.borrow_mut() = Some(slice::from_raw_parts(block.as_ptr(), length).to_vec());
            }
        }
    }
}

/// The first bytes of a block, which may be uninitialised.
type Beginning = [MaybeUninit<u8>; BEGINNING];

/// Bytes that are noted of a freed block: those of SSH_MSG_CHANNEL_OPEN_CONFIRMATION up to its second number. malloc(3) gives no
/// fewer.
const BEGINNING: usize = 9;

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            bytes: Cell::new(0),
            blocks: Cell::new(0),
            most_bytes: Cell::new(MOST_BYTES),
            most_blocks: Cell::new(MOST_BLOCKS),
            freed: Cell::new(None),
            identifier: Identifier::default(),
        }
    }
}

impl Memory {
    /// Adds a channel with this window.
    pub fn grant(&self, window: u64) {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        self.most_bytes.set(self.most_bytes.get().saturating_add(window.saturating_mul(PER_WINDOW_BYTE)));
        self.most_blocks.set(self.most_blocks.get().saturating_add(window / BYTES_PER_BLOCK));
    }

    /// Removes a channel with this window.
    pub fn release(&self, window: u64) {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        self.most_bytes
            .set(self.most_bytes.get().saturating_sub(window.saturating_mul(PER_WINDOW_BYTE)).max(MOST_BYTES));
        self.most_blocks.set(self.most_blocks.get().saturating_sub(window / BYTES_PER_BLOCK).max(MOST_BLOCKS));
    }

    /// Whether it exceeds the limit.
    pub fn is_full(&self) -> bool {
        self.bytes.get() > self.most_bytes.get() || self.blocks.get() > self.most_blocks.get()
    }

    /// Starts to record how freed blocks begin.
    pub fn note_freed(&self) {
        self.freed.set(Some([MaybeUninit::new(0); BEGINNING]));
    }

    /// Stops recording.
    pub fn forget_freed(&self) {
        self.freed.set(None);
    }

    /// Returns the first bytes of the block freed last since recording started; zeros if none was.
    ///
    /// # Safety
    /// The first bytes of that block were written to.
    pub unsafe fn last_freed(&self) -> Option<[u8; BEGINNING]> {
        // SAFETY: as the caller promises.
        self.freed.get().map(|beginning| beginning.map(|byte| unsafe { byte.assume_init() }))
    }

    /// Returns the session identifier, once there is one.
    ///
    /// # Safety
    /// The session, whose memory this is, is live and locked.
    pub unsafe fn session_identifier(&self, session: NonNull<raw::LIBSSH2_SESSION>) -> Option<Vec<u8>> {
        // SAFETY: as the caller promises; a freed block stops being a candidate.
        unsafe { self.identifier.look(session) };
        self.identifier.found.borrow().clone()
    }

    fn add(&self, block: *mut c_void) {
        self.bytes.set(self.bytes.get() + size(block));
        self.blocks.set(self.blocks.get() + 1);
    }

    fn resize(&self, before: usize, block: *mut c_void) {
        self.bytes.set(self.bytes.get().saturating_sub(before) + size(block));
        self.blocks.set(self.blocks.get() + usize::from(before == 0));
    }

    /// What libssh2 had before it was counted goes, too.
    fn remove(&self, block: *mut c_void) {
        self.bytes.set(self.bytes.get().saturating_sub(size(block)));
        self.blocks.set(self.blocks.get().saturating_sub(1));
    }
}

/// Bytes of a block of malloc(3).
fn size(block: *mut c_void) -> usize {
    // SAFETY: only called with what malloc(3) has returned and was not freed.
    unsafe { libc::malloc_usable_size(block) }
}

/// Where libssh2's session keeps its allocator: how many pointers behind its abstract slot, which libssh2_session_abstract() gives.
#[derive(Clone, Copy)]
struct Places {
    allocate: usize,
    reallocate: usize,
    free: usize,
}

/// The places do not change while a process runs.
static PLACES: OnceLock<Option<Places>> = OnceLock::new();

/// Counts what libssh2 keeps for `session`, whose abstract slot holds the state of its link, from now on.
///
/// The allocator can only be given to libssh2 when it makes the session, and ssh2 0.9.6 has no way to do so. So a session that is made
/// with ours, once, shows where the session keeps it. If it is not found there (another libssh2), nothing is counted.
///
/// # Safety
/// The session is live and locked.
pub unsafe fn count(session: *mut raw::LIBSSH2_SESSION) {
    let Some(places) = PLACES.get_or_init(find_places) else { return };
    // SAFETY: the session is live, and all sessions of a process are of the same type: at these places it has pointers to functions
    // of the types of these, as `find_places` has seen. They take and give blocks of malloc(3), as those before did.
    unsafe {
        let slot: *mut *mut c_void = raw::libssh2_session_abstract(session);
        *slot.add(places.allocate) = allocate as *mut c_void;
        *slot.add(places.reallocate) = reallocate as *mut c_void;
        *slot.add(places.free) = free as *mut c_void;
    }
}

fn find_places() -> Option<Places> {
    /// How far behind the slot they are looked for. libssh2's session has over 80 KB.
    const REACH: usize = 16;
    // SAFETY: the callbacks have the types that libssh2.h gives for them, and work without a state. The session is freed once. The
    // slot is at the beginning of the session, which is far larger than what is read, and was cleared when it was made.
    unsafe {
        let session = raw::libssh2_session_init_ex(Some(allocate), Some(free), Some(reallocate), std::ptr::null_mut());
        if session.is_null() {
            return None;
        }
        let slot = raw::libssh2_session_abstract(session);
        let find = |function: *mut c_void| (1..REACH).find(|place| *slot.add(*place) == function);
        let places = match (find(allocate as *mut c_void), find(reallocate as *mut c_void), find(free as *mut c_void)) {
            (Some(allocate), Some(reallocate), Some(free)) => Some(Places { allocate, reallocate, free }),
            _ => None,
        };
        raw::libssh2_session_free(session);
        places
    }
}

extern "C" fn allocate(length: usize, context: *mut *mut c_void) -> *mut c_void {
    // SAFETY: libssh2 passes the address of the session's abstract slot. malloc(3) may be called with any length.
    unsafe {
        let state = LinkState::of(context);
        if let Some(state) = state {
            state.memory.identifier.look(state.session);
        }
        let block = libc::malloc(length);
        if let (Some(state), Some(given)) = (state, NonNull::new(block)) {
            state.memory.add(block);
            state.memory.identifier.gave(given.cast(), length);
            clear(state, block, 0);
        }
        block
    }
}

extern "C" fn reallocate(block: *mut c_void, length: usize, context: *mut *mut c_void) -> *mut c_void {
    // SAFETY: as above; libssh2 passes a block that it had of this allocator, or of malloc(3) itself, and does not use it any more
    // if there is a new one.
    unsafe {
        let state = LinkState::of(context);
        if let Some(state) = state {
            state.memory.identifier.look(state.session);
        }
        let before = if block.is_null() { 0 } else { size(block) };
        let moved = libc::realloc(block, length);
        if let (Some(state), false) = (state, moved.is_null()) {
            state.memory.resize(before, moved);
            clear(state, moved, before);
        }
        moved
    }
}

/// Clears a block from its byte `start` on, before the login: `free` may look at all of it then.
///
/// # Safety
/// The block is one of malloc(3).
unsafe fn clear(state: &LinkState, block: *mut c_void, start: usize) {
    let end = size(block);
    if !state.logged_in.get() && start < end {
        // SAFETY: as the caller promises; that many bytes may be written to.
        unsafe { block.cast::<u8>().add(start).write_bytes(0, end - start) };
    }
}

extern "C" fn free(block: *mut c_void, context: *mut *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: as above; the block is not used any more.
    unsafe {
        if let Some(state) = LinkState::of(context) {
            state.memory.identifier.look(state.session);
            state.memory.remove(block);
            if !state.logged_in.get() {
                // Of a session that has not logged in all blocks were cleared, so that there is something everywhere.
                state.login.see(slice::from_raw_parts(block.cast::<u8>(), size(block)));
            }
            if state.memory.freed.get().is_some() && size(block) >= BEGINNING {
                state.memory.freed.set(Some(block.cast::<Beginning>().read_unaligned()));
            }
        }
        libc::free(block);
    }
}
