//! The unencrypted start of a server's data, which libssh2 does not pass on: its algorithms, for messages, and its
//! signature of the key exchange, for agents.

use super::wire::WireReader;

/// The number of SSH_MSG_KEXINIT (RFC 4253 section 12).
const KEXINIT: u8 = 20;
/// How many name lists it contains.
const LISTS: usize = 10;
/// The number of SSH_MSG_NEWKEYS: encrypted data follows.
const NEWKEYS: u8 = 21;
/// The numbers of SSH_MSG_KEXDH_REPLY and SSH_MSG_KEX_ECDH_REPLY (RFC 5656 section 7.1), and of SSH_MSG_KEX_DH_GEX_REPLY (RFC 4419
/// section 5).
const REPLIES: [u8; 2] = [31, 33];

/// Returns the name lists of a server's SSH_MSG_KEXINIT (RFC 4253 section 7.1) in its first data.
pub fn proposal(opening: &[u8]) -> Option<[Vec<&str>; LISTS]> {
    let mut packets = Packets::of(opening)?;
    let (_, mut reader) = packets.find(|(kind, _)| *kind == KEXINIT)?;
    let (_cookie, lists) = reader.0.split_at_checked(16)?;
    reader.0 = lists;
    let mut lists: [Vec<&str>; LISTS] = Default::default();
    for list in &mut lists {
        let names = str::from_utf8(reader.string()?).ok()?;
        list.extend(names.split(',').filter(|name| !name.is_empty() && !is_marker(name)));
    }
    Some(lists)
}

/// Returns the server's signature of the key exchange in its first data, made with `host_key` (RFC 4253 section 8).
/// libssh2 has verified the one it read; the caller must check that this is the same.
pub fn signature<'a>(opening: &'a [u8], host_key: &[u8]) -> Option<&'a [u8]> {
    let replies = Packets::of(opening)?.take_while(|(kind, _)| *kind != NEWKEYS);
    replies.filter(|(kind, _)| REPLIES.contains(kind)).find_map(|(_, mut reply)| {
        let (key, _public_value, signature) = (reply.string()?, reply.string()?, reply.string()?);
        (key == host_key).then_some(signature)
    })
}

/// Returns the packets after a server's identification: their numbers and contents.
struct Packets<'a>(WireReader<'a>);

impl<'a> Packets<'a> {
    fn of(opening: &'a [u8]) -> Option<Packets<'a>> {
        let mut rest = opening;
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if line.starts_with(b"SSH-") {
                return Some(Packets(WireReader(rest)));
            }
        }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = (u8, WireReader<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut packet = WireReader(self.0.string()?);
        let _padding = packet.byte()?;
        Some((packet.byte()?, packet))
    }
}

/// Whether a name in the list of key exchange methods announces an extension instead (RFC 8308 section 2.1 and strict
/// key exchange of OpenSSH's PROTOCOL).
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

    #[test]
    fn the_signature_of_the_exchange() {
        let reply = |kind, strings: &[&[u8]]| {
            let mut payload = vec![4, kind];
            strings.iter().for_each(|string| put_string(&mut payload, string));
            let mut packet = Vec::new();
            put_string(&mut packet, &payload);
            packet
        };
        let after = |packets: &[Vec<u8>]| [b"SSH-2.0-x\r\n".to_vec(), packets.concat()].concat();
        let good = reply(31, &[b"key", b"value", b"signature"]);
        assert_eq!(signature(&after(std::slice::from_ref(&good)), b"key"), Some(&b"signature"[..]));
        // In a group exchange, the group has the number of other methods' replies.
        let exchange = after(&[reply(31, &[b"prime", b"generator"]), reply(33, &[b"key", b"value", b"of gex"])]);
        assert_eq!(signature(&exchange, b"key"), Some(&b"of gex"[..]));
        let others = [
            after(&[reply(31, &[b"another key", b"value", b"signature"])]),
            after(&[reply(32, &[b"key", b"value", b"signature"])]),
            after(&[reply(NEWKEYS, &[]), good.clone()]),
            after(&[good[..good.len() - 1].to_vec()]),
            good.clone(),
        ];
        for (place, opening) in others.iter().enumerate() {
            assert_eq!(signature(opening, b"key"), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let opening = [b"SSH-2.0-x\n", &bytes[..]].concat();
            let _ = (proposal(&opening), signature(&opening, b"key"));
            let _ = (proposal(&bytes), signature(&bytes, b"key"));
        }
    }
}
