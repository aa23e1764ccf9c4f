//! Checks that libssh2-sys links the libssh2 that the features ask for: they cannot tell it, only the environment can.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_set = |name: &str| env::var_os(name).is_some();
    // libssh2-sys says where it has built its own.
    let is_bundled = is_set("DEP_SSH2_ROOT");
    if is_set("CARGO_FEATURE_SYSTEM_LIBSSH2") {
        if is_set("CARGO_FEATURE_VENDORED") {
            println!(
                "cargo::error=the features system-libssh2 and vendored exclude each other, since the libssh2 of the system brings its own \
                 OpenSSL: add --no-default-features --features cli"
            );
        }
        if is_bundled {
            println!(
                "cargo::error=the feature system-libssh2 needs LIBSSH2_SYS_USE_PKG_CONFIG=1 in the environment, and a libssh2 that \
                 pkg-config finds (libssh2-1-dev, libssh2-devel)"
            );
        }
    } else if !is_bundled {
        println!(
            "cargo::error=LIBSSH2_SYS_USE_PKG_CONFIG is set: to use the libssh2 of the system, add --no-default-features --features \
             cli,system-libssh2"
        );
    }
}
