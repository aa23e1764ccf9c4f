use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use super::*;
use crate::copy::sftp::packets::{OPEN_CREATE, OPEN_EXCLUSIVE, Status};
use crate::plan::program::Program;

// Requests by number (section 3 of the draft).
const OPEN: u8 = 3;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const FSETSTAT: u8 = 10;
const REMOVE: u8 = 13;
const RENAME: u8 = 18;
/// What no server knows under the names that these requests have where the extension's stands.
const EXTENDED: u8 = 200;

/// Splits sent data into packets.
fn packets(bytes: &mut [u8], mut each: impl FnMut(&mut [u8])) {
    let mut rest = bytes;
    while rest.len() > 4 {
        let length = 4 + u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (packet, after) = rest.split_at_mut(length);
        each(packet);
        rest = after;
    }
}

/// Returns the flags of an OPEN.
fn flags(packet: &[u8]) -> u32 {
    let path = u32::from_be_bytes(packet[9..13].try_into().unwrap()) as usize;
    u32::from_be_bytes(packet[13 + path..17 + path].try_into().unwrap())
}

/// OpenSSH's server without extensions and some requests: it answers that it does not know them.
fn lacking(pair: &Pair, requests: &'static [u8], says_failure: bool) -> Server {
    let mut server = pair.server();
    server.tamper = Box::new(move |bytes| {
        packets(bytes, |packet| {
            if requests.contains(&packet[4]) && (packet[4] != OPEN || flags(packet) & OPEN_EXCLUSIVE != 0) {
                if [FSTAT, FSETSTAT].contains(&packet[4]) {
                    // A handle is not text, unlike the name of an extension.
                    packet[13..17].copy_from_slice(b"none");
                }
                packet[4] = EXTENDED;
            }
        });
    });
    server.rewrite = Box::new(move |packet| {
        if packet[4] == 2 {
            *packet = vec![0, 0, 0, 5, 2, 0, 0, 0, 3];
        }
        // No reason is given.
        if says_failure && packet[4] == 101 && packet[9..13] != Status::OK.to_be_bytes() {
            packet[9..13].copy_from_slice(&Status::FAILURE.to_be_bytes());
        }
    });
    server
}

#[test]
fn servers_that_lack_what_others_have() {
    let cases: [&[u8]; 6] = [&[], &[LSTAT], &[FSTAT], &[FSETSTAT], &[OPEN], &[OPEN, LSTAT, FSTAT, FSETSTAT]];
    for requests in cases {
        for says_failure in [false, true] {
            for options in
                [recursive(), Options { preserve: true, ..recursive() }, Options { inplace: true, ..recursive() }]
            {
                let case = format!("{requests:?} {says_failure} {options:?}");
                let pair = Pair::new();
                for name in ["t/new", "t/old", "t/linked", "t/sub/deep"] {
                    pair.write(name.as_bytes(), noise(100_000));
                }
                fs::set_permissions(pair.here.join("t/new"), Permissions::from_mode(0o640)).unwrap();
                fs::create_dir_all(pair.there.join("x/t")).unwrap();
                fs::write(pair.there.join("x/t/old"), "old").unwrap();
                fs::set_permissions(pair.there.join("x/t/old"), Permissions::from_mode(0o604)).unwrap();
                fs::write(pair.there.join("real"), "old").unwrap();
                symlink("../../real", pair.there.join("x/t/linked")).unwrap();
                let outcome = lacking(&pair, requests, says_failure).talk(&mut pair.uploading(&["t"], "x", options));
                assert!(matches!(outcome, Outcome::Exited(0)), "{case}: {outcome:?}");
                for name in ["x/t/new", "x/t/old", "real", "x/t/sub/deep"] {
                    assert!(pair.read(name) == noise(100_000), "{case}: {name}");
                }
                assert_eq!(names(&pair.there.join("x/t")), ["linked", "new", "old", "sub"], "{case}");
                assert!(pair.there.join("x/t/linked").is_symlink(), "{case}: it is written through");
                assert_eq!(mode(&pair.there.join("x/t/new")), 0o640, "{case}");
                let kept = if options.preserve { 0o644 } else { 0o604 };
                assert_eq!(mode(&pair.there.join("x/t/old")), kept, "{case}");
                // To a missing target, with missing parents.
                let outcome = lacking(&pair, requests, says_failure).talk(&mut pair.uploading(&["t"], "y/z", options));
                assert!(matches!(outcome, Outcome::Exited(0)), "{case}: {outcome:?}");
                assert!(pair.read("y/z/sub/deep") == noise(100_000), "{case}");
            }
        }
    }
}

#[test]
fn a_name_that_others_can_foresee_is_only_taken_where_nothing_is() {
    // --resume: another user may have created a link there, and this server cannot guarantee that the file is new.
    for says_failure in [false, true] {
        let pair = Pair::new();
        pair.write(b"a", noise(1_000));
        let options = Options { resume: true, ..plain() };
        let mut server = lacking(&pair, &[OPEN], says_failure);
        let opened = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut tamper) = (Arc::clone(&opened), std::mem::replace(&mut server.tamper, Box::new(|_| {})));
        server.tamper = Box::new(move |bytes| {
            packets(bytes, |packet| {
                if packet[4] == OPEN {
                    let length = u32::from_be_bytes(packet[9..13].try_into().unwrap()) as usize;
                    seen.lock().unwrap().push((packet[13..13 + length].to_vec(), flags(packet) & OPEN_EXCLUSIVE != 0));
                }
            });
            tamper(bytes);
        });
        assert_ok(&server.talk(&mut pair.uploading(&["a"], "", options)));
        assert!(pair.read("a") == noise(1_000));
        assert_eq!(pair.names(), ["a"]);
        let opened = opened.lock().unwrap();
        let [(foreseen, true), (written, false)] = &opened[..] else { panic!("{opened:?}") };
        assert_ne!(foreseen, written, "nobody can foresee the name that is opened whatever is there");
    }
}

#[test]
fn packets_that_are_cut_at_32_kib() {
    let pair = Pair::new();
    pair.write(b"a", noise(1_000_000));
    let mut server = pair.server();
    server.rewrite = Box::new(|packet| {
        let longest = 32 * 1024 - 13;
        if packet[4] == 103 && packet.len() - 13 > longest {
            packet.truncate(13 + longest);
            packet[..4].copy_from_slice(&(9 + longest as u32).to_be_bytes());
            packet[9..13].copy_from_slice(&(longest as u32).to_be_bytes());
        }
    });
    assert_ok(&server.talk(&mut pair.uploading(&["a"], "", Options { checksum: true, ..plain() })));
    assert!(pair.read("a") == noise(1_000_000));
}

#[test]
fn what_can_neither_take_its_place_nor_be_removed_is_named() {
    for (requests, left) in [(&[RENAME][..], false), (&[RENAME, REMOVE], true)] {
        for is_there in [false, true] {
            let pair = Pair::new();
            pair.write(b"a", "new");
            if is_there {
                fs::write(pair.there.join("a"), "old").unwrap();
            }
            let outcome = lacking(&pair, requests, false).talk(&mut pair.uploading(&["a"], "", plain()));
            assert_eq!(
                outcome.hint(Program::Pscp).as_deref(),
                Some("--inplace writes into the file itself, without a rename")
            );
            let rest = pair.names().into_iter().find(|name| name.starts_with(".a.pssh-"));
            assert_eq!(rest.is_some(), left);
            let rest = rest.map_or(String::new(), |rest| format!("; {rest} is left there"));
            let told = format!("a: the new file cannot take its place: Operation not supported{rest}");
            assert_eq!(failure(outcome), (told, 0));
        }
    }
}

#[test]
fn a_file_that_may_be_written_and_not_made_is_written_in_place() {
    // As in a sticky directory with protected_regular of Linux.
    let pair = Pair::new();
    pair.write(b"a", "new");
    fs::write(pair.there.join("a"), "old and long").unwrap();
    let mut server = pair.server();
    server.tamper = Box::new(|bytes| {
        packets(bytes, |packet| {
            if packet[4] == OPEN && flags(packet) & OPEN_CREATE != 0 {
                packet[4] = EXTENDED;
            }
        });
    });
    server.rewrite = Box::new(|packet| {
        if packet[4] == 101 && packet[9..13] == Status::UNSUPPORTED.to_be_bytes() {
            packet[9..13].copy_from_slice(&Status::PERMISSION_DENIED.to_be_bytes());
        }
    });
    assert_ok(&server.talk(&mut pair.uploading(&["a"], "", Options { inplace: true, ..plain() })));
    assert_eq!(pair.read("a"), b"new");
}
