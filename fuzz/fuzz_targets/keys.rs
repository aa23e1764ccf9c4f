//! See `pssh::fuzzing::keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::keys(bytes);
});
