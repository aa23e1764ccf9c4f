//! See `pssh::fuzzing::host_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::host_key(bytes);
});
