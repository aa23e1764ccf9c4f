//! What a server says before anything is encrypted, read for the sake of messages: libssh2 tells nobody what a server has offered.

use super::wire::Reader;

/// The number of SSH_MSG_KEXINIT (RFC 4253 section 12).
const KEXINIT: u8 = 20;
/// How many lists of names are in it.
const LISTS: usize = 10;

/// The lists of names of a server's SSH_MSG_KEXINIT (RFC 4253 section 7.1) in what it has sent first: lines up to its identification,
/// then packets.
pub fn proposal(opening: &[u8]) -> Option<[Vec<&str>; LISTS]> {
    let mut rest = opening;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    let mut packets = Reader(rest);
    let mut reader = loop {
        let mut packet = Reader(packets.string()?);
        let _padding = packet.byte()?;
        if packet.byte()? == KEXINIT {
            break packet;
        }
    };
    let (_cookie, lists) = reader.0.split_at_checked(16)?;
    reader.0 = lists;
    let mut lists: [Vec<&str>; LISTS] = Default::default();
    for list in &mut lists {
        let names = str::from_utf8(reader.string()?).ok()?;
        list.extend(names.split(',').filter(|name| !name.is_empty() && !is_marker(name)));
    }
    Some(lists)
}

/// Whether a name among the key exchanges is no method of one, but says what else the server can (RFC 8308 section 2.1 and strict key
/// exchange of OpenSSH's PROTOCOL).
fn is_marker(name: &str) -> bool {
    name.starts_with("ext-info-") || name.starts_with("kex-strict-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::wire::put_string;
    use proptest::prelude::*;

    fn opening(lists: &[&str]) -> Vec<u8> {
        let mut payload = vec![6, KEXINIT];
        payload.extend([7; 16]);
        lists.iter().for_each(|list| put_string(&mut payload, list.as_bytes()));
        let mut bytes = b"hello\r\nSSH-2.0-x\r\n".to_vec();
        put_string(&mut bytes, &[4, 2, 0, 0, 0, 0]);
        put_string(&mut bytes, &payload);
        bytes
    }

    #[test]
    fn what_a_server_offers() {
        let lists = ["a,ext-info-s,b,kex-strict-s-v00@openssh.com", "c", "d", "", "e", "f", "none", "none", "", ""];
        let bytes = opening(&lists);
        let found = proposal(&bytes).expect("a proposal");
        assert_eq!(found[0], ["a", "b"]);
        assert_eq!(found[1], ["c"]);
        assert!(found[3].is_empty());
        assert_eq!(found[5], ["f"]);
        for end in 0..bytes.len() {
            assert_eq!(proposal(&bytes[..end]), None, "{end} of {} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = proposal(&[b"SSH-2.0-x\n", &bytes[..]].concat());
            let _ = proposal(&bytes);
        }
    }
}
