//! See `pssh::fuzzing::sftp_download`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pssh::fuzzing::sftp_download(bytes);
});
