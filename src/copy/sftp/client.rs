//! The client side of SFTP as a state machine: it encodes requests and decodes replies. It does no input or output.

use std::collections::HashMap;
use std::mem;

use super::packets::{self, Expected, Extension, REPLY_VERSION, Reply, Request};
use crate::events::host_error::HostError;
use crate::events::remedy::Remedy;
use crate::ssh::wire::WireReader;
use crate::system::quotation::said;
use crate::system::redact;

/// The longest accepted packet in bytes: OpenSSH sends up to 256 KiB, and asks others to accept no more.
const MAX_PACKET: usize = 256 * 1024 + 1024;
/// Bytes quoted of a text that came instead of a packet.
const QUOTED: usize = 80;

/// The server violated the SFTP protocol. Nothing after that is reliable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ProtocolError {
    /// What it did; may quote the server.
    pub detail: String,
    /// The remedy, if known.
    pub hint: Option<Remedy>,
}

impl From<ProtocolError> for HostError {
    fn from(error: ProtocolError) -> HostError {
        HostError::Ssh { doing: "SFTP", detail: error.detail, hint: error.hint }
    }
}

/// A connection to an SFTP server. Every request has a tag of the caller, which comes back with its reply. Replies may
/// come in any order; requests for the same file take effect as if in the order in which they were made (section 6.1 of
/// the draft).
#[derive(Debug)]
pub struct Client<T> {
    /// Data to send.
    outgoing: Vec<u8>,
    /// Received data, not decoded from `read` on.
    incoming: Vec<u8>,
    read: usize,
    /// Requests without a reply, by id.
    pending: HashMap<u32, (Expected, T)>,
    next_id: u32,
    /// The server's extensions, once it sent its version.
    extensions: Option<Vec<Extension>>,
    /// The server's violation.
    error: Option<ProtocolError>,
}

impl<T> Default for Client<T> {
    fn default() -> Self {
        Client::new()
    }
}

impl<T> Client<T> {
    /// Starts a connection. Requests may be made once [`Client::is_ready`].
    pub fn new() -> Client<T> {
        let mut outgoing = Vec::new();
        packets::put_init(&mut outgoing);
        Client {
            outgoing,
            incoming: Vec::new(),
            read: 0,
            pending: HashMap::new(),
            next_id: 0,
            extensions: None,
            error: None,
        }
    }

    /// Whether the server answered as an SFTP server: requests may be made, and its extensions are known.
    pub fn is_ready(&self) -> bool {
        self.extensions.is_some()
    }

    /// Whether the server answered, even with something other than SFTP.
    pub fn has_answered(&self) -> bool {
        self.extensions.is_some() || self.error.is_some()
    }

    /// Whether the server has an extension, in the supported version.
    pub fn supports(&self, extension: Extension) -> bool {
        self.extensions.as_ref().is_some_and(|extensions| extensions.contains(&extension))
    }

    /// Returns how many requests have no reply yet.
    #[cfg(test)]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many bytes wait to be sent.
    pub fn unsaid(&self) -> usize {
        self.outgoing.len()
    }

    /// Makes a request.
    pub fn request(&mut self, request: &Request<'_>, tag: T) {
        let id = self.new_id();
        request.put(id, &mut self.outgoing);
        self.pending.insert(id, (request.expected(), tag));
    }

    /// Makes a request to write the `length` bytes that `data` appends to a file; its reply is a status.
    ///
    /// # Errors
    /// Those of `data`; then no request is made.
    pub fn write<E>(
        &mut self,
        handle: &[u8],
        offset: u64,
        length: u32,
        tag: T,
        data: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let id = self.new_id();
        packets::put_write(&mut self.outgoing, id, handle, offset, length, data)?;
        self.pending.insert(id, (Expected::Status, tag));
        Ok(())
    }

    /// Moves the data to send to the end of `out`; returns whether there was any.
    pub fn say(&mut self, out: &mut Vec<u8>) -> bool {
        if self.outgoing.is_empty() {
            return false;
        }
        if out.is_empty() {
            mem::swap(out, &mut self.outgoing);
        } else {
            out.append(&mut self.outgoing);
        }
        true
    }

    /// Takes data of the server, in any pieces. [`Client::next_reply`] must take its replies before more data is given.
    pub fn hear(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        if self.read == self.incoming.len() {
            self.incoming.clear();
        } else {
            self.incoming.drain(..self.read);
        }
        self.read = 0;
        self.incoming.extend_from_slice(bytes);
    }

    /// Returns the next reply and the tag of its request; `None` until it is complete.
    ///
    /// # Errors
    /// The server violated the protocol. All further calls return the same.
    pub fn next_reply(&mut self) -> Result<Option<(T, Reply)>, ProtocolError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let next = self.take_next();
        if let Err(error) = &next {
            self.error = Some(error.clone());
            self.incoming = Vec::new();
            self.read = 0;
        }
        next
    }

    fn take_next(&mut self) -> Result<Option<(T, Reply)>, ProtocolError> {
        loop {
            let rest = &self.incoming[self.read..];
            let Some((length, body)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_PACKET {
                return Err(self.too_long(length));
            }
            if body.len() < length {
                return Ok(None);
            }
            let (Some((kind, body)), is_ready) = (body[..length].split_first(), self.extensions.is_some()) else {
                return Err(broken("an empty packet"));
            };
            self.read += 4 + length;
            if !is_ready {
                let extensions = read_version(*kind, body)?;
                self.extensions = Some(extensions);
                continue;
            }
            let Some((id, body)) = body.split_first_chunk::<4>() else {
                return Err(broken("a packet without an id"));
            };
            let Some((expected, tag)) = self.pending.remove(&u32::from_be_bytes(*id)) else {
                return Err(broken("a reply without a request"));
            };
            return Ok(Some((tag, Reply::read(*kind, body, expected).map_err(broken)?)));
        }
    }

    /// Explains a length that no packet has. Printable text, read as a length, is far too long.
    fn too_long(&self, length: usize) -> ProtocolError {
        if self.extensions.is_some() {
            return broken(&format!("a packet of {length} bytes, which is too long"));
        }
        let text = &self.incoming[self.read..];
        let text = redact::beginning(text, QUOTED);
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        ProtocolError { detail: format!("the host sent text instead: {}", said(line)), hint: Some(Remedy::SilentShell) }
    }

    fn new_id(&mut self) -> u32 {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if !self.pending.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}

fn broken(what: &str) -> ProtocolError {
    ProtocolError { detail: format!("the server broke the protocol: {what}"), hint: None }
}

/// Reads the first packet of a server; returns which of the known extensions it has.
fn read_version(kind: u8, body: &[u8]) -> Result<Vec<Extension>, ProtocolError> {
    if kind != REPLY_VERSION {
        return Err(broken("its first packet has no version"));
    }
    let mut reader = WireReader(body);
    match reader.u32() {
        Some(packets::VERSION) => {}
        Some(version) => {
            let detail = format!("the server speaks version {version}, not {}", packets::VERSION);
            return Err(ProtocolError { detail, hint: None });
        }
        None => return Err(broken("its first packet has no version")),
    }
    let mut extensions = Vec::new();
    while !reader.0.is_empty() {
        let (Some(name), Some(version)) = (reader.string(), reader.string()) else {
            return Err(broken("a truncated extension"));
        };
        let known = Extension::ALL.into_iter().find(|known| known.name() == name && known.version() == version);
        extensions.extend(known.filter(|known| !extensions.contains(known)));
    }
    Ok(extensions)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails there says where")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::copy::sftp::packets::{Attributes, Name, Status};

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = ((body.len() + 1) as u32).to_be_bytes().to_vec();
        out.push(kind);
        out.extend_from_slice(body);
        out
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 1][..], &string(name), &string(b""), &[0; 4]].concat()
    }

    fn version(extensions: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 3];
        for (name, version) in extensions {
            body.extend(string(name));
            body.extend(string(version));
        }
        packet(2, &body)
    }

    fn ready() -> Client<u32> {
        let mut client = Client::new();
        client.hear(&version(&[]));
        assert_eq!(client.next_reply(), Ok(None));
        assert!(client.is_ready());
        client
    }

    /// Decodes `reply` to `request`, with the request's id written into it.
    fn answer(request: &Request<'_>, kind: u8, body: &[u8]) -> Result<Option<(u32, Reply)>, ProtocolError> {
        let mut client = ready();
        client.request(request, 7);
        client.hear(&packet(kind, &[&[0, 0, 0, 1], body].concat()));
        client.next_reply()
    }

    #[test]
    fn the_conversation_begins_with_init() {
        let (mut client, mut out) = (Client::<()>::new(), Vec::new());
        assert!(client.say(&mut out));
        assert_eq!(out, [0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert!(!client.say(&mut out) && !client.is_ready());
    }

    #[test]
    fn extensions_count_in_the_version_that_is_known() {
        let mut client = Client::<()>::new();
        client.hear(&version(&[
            (b"posix-rename@openssh.com", b"1"),
            (b"statvfs@openssh.com", b"2"),
            (b"expand-path@openssh.com", b"2"),
            (b"newline@vandyke.com", b"\n"),
        ]));
        assert_eq!(client.next_reply(), Ok(None));
        assert!(client.supports(Extension::PosixRename) && client.supports(Extension::Statvfs));
        assert!(!client.supports(Extension::ExpandPath) && !client.supports(Extension::Limits));
    }

    #[test]
    fn other_versions_and_other_packets_are_no_beginning() {
        for (packet, what) in [
            (packet(2, &[0, 0, 0, 2]), "speaks version 2"),
            (packet(2, &[0, 0, 0, 6]), "speaks version 6"),
            (packet(2, &[0, 0]), "has no version"),
            (packet(101, &[0; 12]), "has no version"),
            (packet(2, &[0, 0, 0, 3, 0, 0, 0, 9, b'x']), "a truncated extension"),
            (vec![0, 0, 0, 0], "an empty packet"),
        ] {
            let mut client = Client::<()>::new();
            client.hear(&packet);
            let error = client.next_reply().unwrap_err();
            assert!(error.detail.contains(what), "{error}");
            assert!(!client.is_ready());
            // The error persists.
            client.hear(&version(&[]));
            assert_eq!(client.next_reply(), Err(error));
        }
    }

    #[test]
    fn text_instead_of_packets_is_quoted_and_explained() {
        let mut client = Client::<()>::new();
        client.hear(b"\nWel");
        client.hear(b"come to db1!\r\nToday is a good day.\n");
        let error = client.next_reply().unwrap_err();
        assert_eq!(error.detail, "the host sent text instead: \"Welcome to db1!\"");
        assert_eq!(error.hint, Some(Remedy::SilentShell));
        assert!(matches!(HostError::from(error), HostError::Ssh { doing: "SFTP", hint: Some(_), .. }));
    }

    #[test]
    fn replies_come_in_any_order_and_cut_anywhere() {
        let mut client = ready();
        for tag in 0..3 {
            client.request(&Request::Lstat(b"/"), 10 + tag);
        }
        let mut bytes = Vec::new();
        for id in [2u8, 3, 1] {
            bytes.extend(packet(
                101,
                &[&[0, 0, 0, id, 0, 0, 0, 2][..], &string(b"No such file"), &string(b"")].concat(),
            ));
        }
        let mut tags = Vec::new();
        for byte in bytes {
            client.hear(&[byte]);
            while let Some((tag, reply)) = client.next_reply().unwrap() {
                assert_eq!(reply, Reply::Status(Status { code: 2, message: b"No such file".to_vec() }));
                tags.push(tag);
            }
        }
        assert_eq!(tags, [11, 12, 10]);
        assert_eq!(client.pending(), 0);
    }

    #[test]
    fn replies_belong_to_their_requests() {
        let names =
            [&[0, 0, 0, 1][..], &string(b"a\nb/\xff"), &string(b"-rw"), &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]].concat();
        let name = Name {
            name: b"a\nb/\xff".to_vec(),
            attributes: Attributes { size: Some(9), ..Attributes::default() },
            links: None,
        };
        assert_eq!(answer(&Request::Readdir(b"h"), 104, &names), Ok(Some((7, Reply::Names(vec![name])))));
        assert_eq!(answer(&Request::Realpath(b"."), 104, &names), Ok(Some((7, Reply::Path(b"a\nb/\xff".to_vec())))));
        let read = Request::Read { handle: b"h", offset: 0, length: 3 };
        assert_eq!(answer(&read, 103, &string(b"abc")), Ok(Some((7, Reply::Data(b"abc".to_vec())))));
        let space = Request::Statvfs(b"/");
        let numbers: Vec<u8> = (1..=11u64).flat_map(u64::to_be_bytes).collect();
        let expected = Reply::Space(packets::Space { bytes: 2 * 5, files: 8 });
        assert_eq!(answer(&space, 201, &numbers), Ok(Some((7, expected))));
        // Old servers send no message.
        let plain = Reply::Status(Status { code: 4, message: Vec::new() });
        assert_eq!(answer(&Request::Remove(b"x"), 101, &[0, 0, 0, 4]), Ok(Some((7, plain))));
    }

    #[test]
    fn wrong_replies_are_errors() {
        let read = Request::Read { handle: b"h", offset: 0, length: 3 };
        for (request, kind, body, what) in [
            (read, 103, string(b"abcd"), "more data than requested"),
            (read, 103, string(b""), "empty data"),
            (read, 102, string(b"h"), "a reply of the wrong type"),
            (read, 101, vec![0, 0, 0, 0], "success without the requested data"),
            (read, 101, vec![0, 0], "a status without a code"),
            (Request::Opendir(b"/"), 102, string(&[b'h'; 257]), "a handle that is too long"),
            (Request::Opendir(b"/"), 102, vec![0, 0, 0, 9, b'h'], "a truncated reply"),
            (Request::Readdir(b"h"), 104, vec![0xff; 4], "a truncated reply"),
            (Request::Realpath(b"."), 104, vec![0; 4], "not exactly one path"),
            (Request::Realpath(b"."), 104, named(&[b'x'; 8193]), "a path that is too long"),
            (Request::Lstat(b"/"), 105, vec![0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "a truncated reply"),
            (Request::Close(b"h"), 102, string(b"h"), "a reply of the wrong type"),
            (Request::Limits, 201, vec![0; 31], "a truncated reply"),
        ] {
            let error = answer(&request, kind, &body).unwrap_err();
            assert!(error.detail.contains(what), "{error}");
        }
    }

    #[test]
    fn replies_to_nothing_and_endless_packets_are_errors() {
        let status = packet(101, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let mut client = ready();
        client.hear(&status);
        assert!(client.next_reply().unwrap_err().detail.contains("a reply without a request"));

        let mut client = ready();
        client.request(&Request::Remove(b"x"), 1);
        client.hear(&[&status[..], &status].concat());
        assert!(matches!(client.next_reply(), Ok(Some(_))));
        assert!(client.next_reply().unwrap_err().detail.contains("a reply without a request"));

        let mut client = ready();
        client.hear(&(MAX_PACKET as u32 + 1).to_be_bytes());
        assert!(client.next_reply().unwrap_err().detail.contains("too long"));
        // Later data is not kept.
        for _ in 0..100 {
            client.hear(&[0; 32 * 1024]);
        }
        assert_eq!(client.incoming.len(), 0);
    }

    #[test]
    fn a_write_that_cannot_be_read_was_never_asked_for() {
        let mut client = ready();
        client.say(&mut Vec::new());
        assert_eq!(
            client.write(b"h", 5, 3, 1, |out| {
                out.push(b'a');
                Err("gone")
            }),
            Err("gone")
        );
        assert_eq!((client.unsaid(), client.pending()), (0, 0));
        assert_eq!(
            client.write(b"h", 5, 3, 1, |out| {
                out.extend(b"abc");
                Ok::<_, ()>(())
            }),
            Ok(())
        );
        let mut out = Vec::new();
        client.say(&mut out);
        let body = [&[0, 0, 0, 2][..], &string(b"h"), &5u64.to_be_bytes(), &string(b"abc")].concat();
        assert_eq!(out, packet(6, &body));
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_makes_it_panic(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32),
            is_ready: bool,
        ) {
            let mut client = if is_ready { ready() } else { Client::new() };
            for (tag, piece) in (0..).zip(pieces) {
                if client.is_ready() {
                    client.request(&Request::Readdir(b"h"), tag);
                    client.request(&Request::Realpath(b"."), tag);
                }
                client.hear(&piece);
                while let Ok(Some(_)) = client.next_reply() {}
                prop_assert!(client.incoming.len() <= MAX_PACKET + 64);
            }
        }

        #[test]
        fn a_reply_may_have_any_body(
            kind in prop::sample::select(vec![101u8, 102, 103, 104, 105, 201]),
            body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..200),
        ) {
            for request in [
                Request::Opendir(b"/"), Request::Readdir(b"h"), Request::Lstat(b"/"), Request::Realpath(b"."),
                Request::Read { handle: b"h", offset: 0, length: 10 }, Request::Statvfs(b"/"), Request::Limits,
            ] {
                let _ = answer(&request, kind, &body);
            }
        }
    }
}
