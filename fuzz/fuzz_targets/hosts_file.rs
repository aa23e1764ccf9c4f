//! See `pssh::fuzzing::hosts_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::hosts_file(bytes);
});
