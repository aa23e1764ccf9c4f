//! See `pssh::fuzzing::uploads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::uploads(bytes);
});
