//! Guards against packets that are not a whole number of blocks (RFC 4253 section 6 forbids them), which abort libssh2.
//!
//! For ciphers with a separate MAC (CTR and CBC), libssh2 asserts that decrypted data is a whole number of blocks, in
//! release builds too: one packet of a server, before its host key is checked, or one bit flipped in transit, aborted
//! the process and with it the run of every host. So its ciphers and MACs get a check before that assertion, once,
//! before the first session: libssh2 finds them in writable tables.

use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_uint, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use libssh2_sys as raw;

use super::beyond::{ssh2_crypt_methods, ssh2_mac_methods};

/// `FIRST_BLOCK` of libssh2_priv.h: the block that begins with the length of the packet.
const FIRST_BLOCK: c_int = 1;
/// Block size of AES, the only cipher concerned.
const BLOCK: usize = 16;
/// More codes than libssh2 has that are made of what is encrypted.
const MOST_CODES: usize = 4;

type Crypt = unsafe extern "C" fn(
    session: *mut raw::LIBSSH2_SESSION,
    seqno: c_uint,
    block: *mut c_uchar,
    block_len: usize,
    context: *mut *mut c_void,
    firstlast: c_int,
) -> c_int;
type Hash = unsafe extern "C" fn(
    session: *mut raw::LIBSSH2_SESSION,
    code: *mut c_uchar,
    seqno: u32,
    packet: *const c_uchar,
    packet_len: usize,
    more: *const c_uchar,
    more_len: usize,
    context: *mut *mut c_void,
) -> c_int;
/// Of a type that does not matter here.
type Function = Option<unsafe extern "C" fn()>;

/// `struct crypt_method` of libssh2_priv.h.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct CryptMethod {
    name: *const c_char,
    pem_annotation: *const c_char,
    blocksize: c_int,
    iv_len: c_int,
    secret_len: c_int,
    auth_len: c_int,
    flags: c_long,
    init: Function,
    get_len: Function,
    crypt: Option<Crypt>,
    dtor: Function,
    algorithm: Function,
}

/// `struct mac_method` of mac.h.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct MacMethod {
    name: *const c_char,
    mac_len: c_int,
    key_len: c_int,
    init: Function,
    hash: Option<Hash>,
    dtor: Function,
    etm: c_int,
}

/// What libssh2 decrypts with.
static CRYPT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// What libssh2 makes codes of encrypted packets with.
static HASHES: [AtomicPtr<c_void>; MOST_CODES] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST_CODES];

/// Installs the checks. Call it before the first session.
pub(super) fn check() {
    static ONCE: Once = Once::new();
    // SAFETY: the tables are libssh2's, in memory that can be written; they and what is in them live as long as the process, as do the
    // copies. Every use of them comes after the first call of this, which `Once` puts in order: libssh2 reads them in key exchanges.
    ONCE.call_once(|| unsafe {
        check_ciphers(ssh2_crypt_methods());
        check_codes(ssh2_mac_methods());
    });
}

/// # Safety
/// `place` is the beginning of libssh2's table of ciphers, which no other code uses now.
unsafe fn check_ciphers(mut place: *mut *const CryptMethod) {
    // SAFETY: a null pointer ends the table. The others point to methods of this layout.
    while let Some(method) = unsafe { (*place).as_ref() } {
        // Those with flags have a code of their own and bring their packets in whole.
        if let Some(crypt) = method.crypt.filter(|_| method.flags == 0) {
            let address = crypt as *mut c_void;
            // All have the same.
            if CRYPT.load(Ordering::Acquire).is_null() {
                CRYPT.store(address, Ordering::Release);
            }
            if ptr::eq(CRYPT.load(Ordering::Acquire), address) {
                let copy = Box::leak(Box::new(CryptMethod { crypt: Some(crypt_in_blocks), ..*method }));
                // SAFETY: as above; the place can be written.
                unsafe { *place = copy };
            }
        }
        // SAFETY: it was not the end.
        place = unsafe { place.add(1) };
    }
}

/// # Safety
/// `place` is the beginning of libssh2's table of codes, which no other code uses now.
unsafe fn check_codes(mut place: *mut *const MacMethod) {
    const CHECKED: [Hash; MOST_CODES] =
        [hash_in_blocks::<0>, hash_in_blocks::<1>, hash_in_blocks::<2>, hash_in_blocks::<3>];
    let mut free = HASHES.iter().zip(CHECKED);
    // SAFETY: as in `check_ciphers`.
    while let Some(method) = unsafe { (*place).as_ref() } {
        if let Some(hash) = method.hash.filter(|_| method.etm != 0)
            && let Some((original, checked)) = free.next()
        {
            original.store(hash as *mut c_void, Ordering::Release);
            let copy = Box::leak(Box::new(MacMethod { hash: Some(checked), ..*method }));
            // SAFETY: as in `check_ciphers`.
            unsafe { *place = copy };
        }
        // SAFETY: it was not the end.
        place = unsafe { place.add(1) };
    }
}

/// libssh2's decryption, which fails if the first block of a received packet gives a length that is not a whole number of blocks.
unsafe extern "C" fn crypt_in_blocks(
    session: *mut raw::LIBSSH2_SESSION,
    seqno: c_uint,
    block: *mut c_uchar,
    block_len: usize,
    context: *mut *mut c_void,
    firstlast: c_int,
) -> c_int {
    /// The beginning of `struct crypt_ctx` of crypt.c.
    #[repr(C)]
    struct Context {
        encrypt: c_int,
    }
    let original = CRYPT.load(Ordering::Acquire);
    // SAFETY: what is there is a function of this type, stored before this one could be called. The arguments are libssh2's own.
    let result = unsafe {
        let original: Crypt = transmute::<*mut c_void, Crypt>(original);
        original(session, seqno, block, block_len, context, firstlast)
    };
    if result != 0 || firstlast & FIRST_BLOCK == 0 || block_len < BLOCK {
        return result;
    }
    // SAFETY: the context is the one with which libssh2 has just been called, and `block_len` bytes are at `block`.
    let (is_sent, length) = unsafe {
        let length = block.cast::<[c_uchar; 4]>().read_unaligned();
        ((*(*context).cast::<Context>()).encrypt != 0, u32::from_be_bytes(length))
    };
    let is_whole = (u64::from(length) + 4).is_multiple_of(block_len as u64);
    // Where the code is made of what is encrypted, the block begins with something else: `hash_in_blocks` has seen the length.
    if is_sent || is_whole || is_of_encrypted(session) { 0 } else { -1 }
}

/// Whether the code of what is received is made of what is encrypted, its length being in the clear.
fn is_of_encrypted(session: *mut raw::LIBSSH2_SESSION) -> bool {
    // SAFETY: libssh2 is called with this session now. The name is libssh2's own, or null.
    unsafe {
        let name = raw::libssh2_session_methods(session, raw::LIBSSH2_METHOD_MAC_SC as c_int);
        !name.is_null() && CStr::from_ptr(name).to_bytes().ends_with(b"-etm@openssh.com")
    }
}

/// libssh2's function for the `N`th code, which returns a wrong code for data that is not a whole number of blocks after its length.
unsafe extern "C" fn hash_in_blocks<const N: usize>(
    session: *mut raw::LIBSSH2_SESSION,
    code: *mut c_uchar,
    seqno: u32,
    packet: *const c_uchar,
    packet_len: usize,
    more: *const c_uchar,
    more_len: usize,
    context: *mut *mut c_void,
) -> c_int {
    let original = HASHES[N].load(Ordering::Acquire);
    // SAFETY: as in `crypt_in_blocks`; there are as many bytes at `code` as the code has, at least one.
    unsafe {
        let original: Hash = transmute::<*mut c_void, Hash>(original);
        let result = original(session, code, seqno, packet, packet_len, more, more_len, context);
        if packet_len < 4 || !(packet_len - 4).is_multiple_of(BLOCK) {
            *code ^= 0xff;
        }
        result
    }
}
