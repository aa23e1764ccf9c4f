//! Servers that lack features of OpenSSH's, and files whose size is wrong.

use super::real::noise;
use super::*;
use crate::copy::sftp::testing;

const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const EXTENDED: u8 = 200;

/// OpenSSH's server without some requests, and with at most 32 KiB per packet.
fn lacking(sides: &Sides, requests: &'static [u8]) -> testing::Server {
    let mut server = testing::Server::start(&sides.remote(""));
    server.tamper = Box::new(move |bytes| {
        let mut at = 0;
        while at < bytes.len() {
            let length = 4 + u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
            if requests.contains(&bytes[at + 4]) {
                if bytes[at + 4] == FSTAT {
                    // A handle is not text, unlike the name of an extension.
                    bytes[at + 13..at + 17].copy_from_slice(b"none");
                }
                bytes[at + 4] = EXTENDED;
            }
            at += length;
        }
    });
    server.rewrite = Box::new(|packet| {
        if packet[4] == 2 {
            *packet = vec![0, 0, 0, 5, 2, 0, 0, 0, 3];
        }
        let longest = 32 * 1024 - 13;
        if packet[4] == 103 && packet.len() - 13 > longest {
            packet.truncate(13 + longest);
            packet[..4].copy_from_slice(&(9 + longest as u32).to_be_bytes());
            packet[9..13].copy_from_slice(&(longest as u32).to_be_bytes());
        }
    });
    server
}

#[test]
fn servers_that_lack_what_others_have() {
    for requests in [&[][..], &[LSTAT], &[FSTAT], &[LSTAT, FSTAT]] {
        for options in [recursive(), Options { checksum: true, ..preserving() }] {
            let sides = Sides::new();
            let sizes = [0, 1, 32 << 10, 100_000, 1_000_000];
            for size in sizes {
                sides.write(&format!("t/{size}/in"), noise(size));
            }
            sides.write("a[1]", "x");
            for (remote, below) in [("t", "t/"), ("t/*/in", ""), ("t/1*", ""), ("a[1]", "")] {
                let mut downloading = sides.downloading(&[remote], Some("got/"), options);
                let outcome = lacking(&sides, requests).talk(&mut downloading);
                if remote == "t/*/in" {
                    assert_eq!(failure(outcome).matches("same name").count(), 1, "{requests:?}");
                    continue;
                }
                assert_eq!(failure(outcome), "Exited(0)", "{requests:?} {remote}");
                for size in sizes.into_iter().filter(|_| remote == "t") {
                    let path = sides.local(&format!("got/{below}{size}/in"));
                    assert!(fs::read(path).expect("it") == noise(size), "{requests:?} {size}");
                }
            }
            assert_eq!(fs::read(sides.local("got/a[1]")).expect("the literal"), b"x");
        }
    }
}

#[test]
fn files_that_are_shorter_than_they_say() {
    // One reports 0, the other a page; a server need not have FSTAT.
    for requests in [&[][..], &[FSTAT]] {
        for options in [recursive(), Options { checksum: true, ..recursive() }, Options { resume: true, ..recursive() }]
        {
            let sides = Sides::new();
            for path in ["/sys/devices/system/cpu/online", "/proc/version"] {
                let content = fs::read(path).expect("Linux");
                assert_ne!(fs::metadata(path).expect("it").len(), content.len() as u64);
                let mut downloading = sides.downloading(&[path], None, options);
                assert_eq!(
                    failure(lacking(&sides, requests).talk(&mut downloading)),
                    "Exited(0)",
                    "{path} {options:?}"
                );
                let name = Path::new(path).file_name().expect("a name").to_str().expect("text");
                assert_eq!(fs::read(sides.local(name)).expect("the copy"), content);
            }
        }
    }
}
