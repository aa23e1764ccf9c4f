//! See `pssh::fuzzing::include_pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::include_pattern(bytes);
});
