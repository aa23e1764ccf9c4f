//! The functions of libssh2 that libssh2-sys does not declare. In the libssh2 that it bundles they are linked like all others. The libssh2
//! of a system (feature `system-libssh2`) may lack them: they are looked up in it, and without one of them nothing is connected to.

use std::ffi::{c_char, c_int, c_long, c_uchar, c_void};

use libssh2_sys as raw;

use super::blocks::{CryptMethod, MacMethod};
use super::{GenericCallback, SignCallback};

macro_rules! functions {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        #[cfg(not(feature = "system-libssh2"))]
        unsafe extern "C" {
            $($(#[$attribute])* pub(super) fn $name($($argument: $kind),*) $(-> $result)?;)*
        }

        $(
            $(#[$attribute])*
            #[cfg(feature = "system-libssh2")]
            pub(super) unsafe fn $name($($argument: $kind),*) $(-> $result)? {
                type Function = unsafe extern "C" fn($($kind),*) $(-> $result)?;
                static PLACE: system::Place = system::Place::new();
                let address = PLACE.of(concat!(stringify!($name), "\0"));
                // SAFETY: the address is that of libssh2's function of this name, which has this type. What it needs, the caller promises.
                unsafe { std::mem::transmute::<*mut c_void, Function>(address)($($argument),*) }
            }
        )*

        /// Their names, each ended by a NUL.
        #[cfg(feature = "system-libssh2")]
        const NAMES: &[&str] = &[$(concat!(stringify!($name), "\0")),*];
    };
}

functions! {
    /// The reader of packets (transport.h of the bundled libssh2; not in its interface): takes one packet, or goes on with a key
    /// exchange. Gives the type of the packet, or an error.
    fn ssh2_transport_read(session: *mut raw::LIBSSH2_SESSION) -> c_int;
    /// Sends a packet with this payload, in two pieces (transport.h of the bundled libssh2; not in its interface). Both are copied
    /// before the call returns.
    fn ssh2_transport_send(
        session: *mut raw::LIBSSH2_SESSION,
        data: *const c_uchar,
        data_len: usize,
        data2: *const c_uchar,
        data2_len: usize,
    ) -> c_int;
    /// Takes the first packet of this type that has `matched`, unless it is null, at `offset` (packet.h of the bundled libssh2; not in its
    /// interface). 0 if there is one; its payload is the caller's to free then. Reads nothing.
    fn ssh2_packet_ask(
        session: *mut raw::LIBSSH2_SESSION,
        kind: c_uchar,
        data: *mut *mut c_uchar,
        data_len: *mut usize,
        offset: c_int,
        matched: *const c_uchar,
        matched_len: usize,
    ) -> c_int;
    /// Bytes that the first packet of a stream still has to give out, 0 if there is none (channel.h of the bundled libssh2; not in its
    /// interface). Reads nothing.
    fn ssh2_channel_packet_data_len(channel: *mut raw::LIBSSH2_CHANNEL, stream: c_int) -> usize;
    /// Whether a stream (0), or any (1), may have data (libssh2.h).
    fn libssh2_poll_channel_read(channel: *mut raw::LIBSSH2_CHANNEL, extended: c_int) -> c_int;
    /// Replaces a callback (libssh2.h, from 1.11.1 on).
    fn libssh2_session_callback_set2(
        session: *mut raw::LIBSSH2_SESSION,
        kind: c_int,
        callback: Option<GenericCallback>,
    ) -> Option<GenericCallback>;
    /// Whether the server has sent an exit status (libssh2.h, in no release up to 1.11.1).
    fn libssh2_channel_has_exit_status(channel: *mut raw::LIBSSH2_CHANNEL) -> c_int;
    /// Sends a signal to the command (libssh2.h, from 1.11.0 on).
    fn libssh2_channel_signal_ex(channel: *mut raw::LIBSSH2_CHANNEL, name: *const c_char, len: usize) -> c_int;
    /// How long opening a channel may take (libssh2.h, from 1.11.0 on).
    fn libssh2_session_set_read_timeout(session: *mut raw::LIBSSH2_SESSION, seconds: c_long);
    /// The text that the server shows before the login (libssh2.h, from 1.11.0 on).
    fn libssh2_userauth_banner(session: *mut raw::LIBSSH2_SESSION, banner: *mut *mut c_char) -> c_int;
    /// Logs in with a key that a callback signs with (libssh2.h).
    fn libssh2_userauth_publickey(
        session: *mut raw::LIBSSH2_SESSION,
        username: *const c_char,
        key: *const c_uchar,
        key_len: usize,
        sign: SignCallback,
        context: *mut *mut c_void,
    ) -> c_int;
    /// The table of ciphers, which a null pointer ends (libssh2_priv.h of the bundled libssh2; not in its interface).
    fn ssh2_crypt_methods() -> *mut *const CryptMethod;
    /// The table of message authentication codes (mac.h; not in the interface either).
    fn ssh2_mac_methods() -> *mut *const MacMethod;
}

/// Why the libssh2 of this system cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the libssh2 of this system, version {version}: {problem}")]
pub struct Unusable {
    version: String,
    problem: String,
}

/// Whether libssh2 cannot be used. The bundled one always can.
#[cfg(not(feature = "system-libssh2"))]
pub fn unusable() -> Option<Unusable> {
    None
}

/// Whether libssh2 cannot be used.
#[cfg(feature = "system-libssh2")]
pub fn unusable() -> Option<Unusable> {
    system::unusable()
}

#[cfg(feature = "system-libssh2")]
mod system {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::{NAMES, Unusable};

    /// Without it the status of a command that was cut off is 0.
    const EXIT_STATUS: &str = "libssh2_channel_has_exit_status\0";
    /// The version whose tables and internal functions are as `blocks` and this file declare them.
    const KNOWN: &str = "1.11.2_DEV";

    unsafe extern "C" {
        /// libssh2's version, if it is at least `required` (libssh2.h).
        fn libssh2_version(required: c_int) -> *const c_char;
    }

    /// Where a function is, once it has been looked up.
    pub(super) struct Place(AtomicPtr<c_void>);

    impl Place {
        pub(super) const fn new() -> Place {
            Place(AtomicPtr::new(ptr::null_mut()))
        }

        /// The address of a function, whose name ends with a NUL.
        pub(super) fn of(&self, name: &str) -> *mut c_void {
            let mut address = self.0.load(Ordering::Relaxed);
            if address.is_null() {
                address = find(name);
                self.0.store(address, Ordering::Relaxed);
            }
            assert!(!address.is_null(), "a run starts only if libssh2 has {name}");
            address
        }
    }

    fn find(name: &str) -> *mut c_void {
        let name = CStr::from_bytes_with_nul(name.as_bytes()).expect("it ends with a NUL");
        // SAFETY: the name is a string of C. The handle means all libraries that are loaded, and libssh2 stays among them.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    }

    pub(super) fn unusable() -> Option<Unusable> {
        // SAFETY: it returns libssh2's own string, which lives as long as the process; 0 is any version.
        let version = unsafe { CStr::from_ptr(libssh2_version(0)) }.to_string_lossy().into_owned();
        // The gravest first.
        let missing = [EXIT_STATUS].iter().chain(NAMES).find(|name| find(name).is_null());
        let problem = match missing.map(|name| name.trim_end_matches('\0')) {
            Some(name) if EXIT_STATUS.starts_with(name) => {
                format!("it has no {name}, so that a command that was cut off would look like one that succeeded")
            }
            Some(name) => format!("it has no {name}, or does not export it"),
            None if version != KNOWN => format!("pssh knows the internals of {KNOWN} only"),
            None => return None,
        };
        Some(Unusable { version, problem })
    }
}
