//! See `pssh::fuzzing::known_hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::known_hosts(bytes);
});
