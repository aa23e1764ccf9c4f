//! See `pssh::fuzzing::template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::template(bytes);
});
