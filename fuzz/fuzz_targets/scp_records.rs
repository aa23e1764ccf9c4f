//! See `pssh::fuzzing::scp_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::scp_records(bytes);
});
