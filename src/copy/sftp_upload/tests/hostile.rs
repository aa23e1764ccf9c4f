use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::copy::sftp::packets::Status;
use crate::ssh::wire::{WireReader, put_string};

/// Most pending requests: a window of the smallest WRITEs, and the requests of all files and directories.
const MOST_PENDING: usize = 6_000;

fn options() -> impl Strategy<Value = Options> {
    any::<[bool; 4]>().prop_map(|[preserve, checksum, resume, inplace]| Options {
        recursive: true,
        preserve,
        checksum,
        resume,
        inplace,
    })
}

fn tree() -> Pair {
    let pair = Pair::new();
    for (name, size) in [("t/a", 10), ("t/b", 0), ("t/c/d", 70_000), ("t/c/e", 40_000), ("t/f", 1)] {
        pair.write(name.as_bytes(), noise(size));
    }
    pair
}

/// The server's state of an opened file.
#[derive(Default)]
struct Written {
    path: Vec<u8>,
    /// A request for it was refused, or answered with another size.
    is_refused: bool,
    is_measured: bool,
    is_closed: bool,
}

/// A server that answers every request in the right form, but with random contents; it checks that the requests make
/// sense.
struct Liar {
    /// The source of its decisions.
    dice: std::iter::Cycle<std::vec::IntoIter<u8>>,
    incoming: Vec<u8>,
    files: HashMap<Vec<u8>, Written>,
    /// Files that it confirmed as renamed.
    renamed: usize,
    has_extensions: bool,
    inplace: bool,
    /// One request in this many is refused, and one size in this many is wrong; 0 disables it.
    refusals: usize,
    handles: u32,
}

impl Liar {
    fn new(dice: Vec<u8>, has_extensions: bool, inplace: bool, refusals: usize) -> Liar {
        Liar {
            dice: dice.into_iter().cycle(),
            incoming: Vec::new(),
            files: HashMap::new(),
            renamed: 0,
            has_extensions,
            inplace,
            refusals,
            handles: 0,
        }
    }

    /// Returns a number below `end`.
    fn roll(&mut self, end: usize) -> usize {
        usize::from(self.dice.next().unwrap()) % end
    }

    /// Decides whether to fail now.
    fn is_bad(&mut self) -> bool {
        self.refusals > 0 && self.roll(self.refusals) == 0
    }

    /// Returns the replies to the requests in `bytes`, sometimes in another order.
    fn answer(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.incoming.extend_from_slice(bytes);
        let mut replies = Vec::new();
        while let Some((length, rest)) = self.incoming.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if rest.len() < length {
                break;
            }
            let packet: Vec<u8> = self.incoming.drain(..4 + length).skip(4).collect();
            let reply = self.reply(&packet);
            let place = replies.len() - self.roll(4).min(replies.len());
            replies.insert(place, reply);
        }
        replies
    }

    fn reply(&mut self, packet: &[u8]) -> Vec<u8> {
        let (kind, mut body) = (packet[0], WireReader(&packet[1..]));
        let mut out = vec![0; 4];
        if kind == 1 {
            out.extend([2, 0, 0, 0, 3]);
            if self.has_extensions {
                for (name, version) in [
                    (&b"posix-rename@openssh.com"[..], &b"1"[..]),
                    (b"statvfs@openssh.com", b"2"),
                    (b"limits@openssh.com", b"1"),
                    (b"expand-path@openssh.com", b"1"),
                ] {
                    put_string(&mut out, name);
                    put_string(&mut out, version);
                }
            }
            return finished(out);
        }
        let id = body.u32().unwrap();
        let subject = body.string().unwrap();
        let is_refused = self.is_bad();
        let (kind, subject) = if kind == 200 {
            (200, [subject, body.string().unwrap_or_default()].concat())
        } else {
            (kind, subject.to_vec())
        };
        let code = if is_refused { [2, 3, 4, 8, 77][self.roll(5)] } else { Status::OK };
        let mut reply = match kind {
            _ if is_refused => vec![],
            // OPEN
            3 => {
                assert!(self.inplace || is_temporary(&subject), "{}", shown(&subject));
                self.handles += 1;
                let handle = self.handles.to_be_bytes().to_vec();
                self.files.insert(handle.clone(), Written { path: subject.clone(), ..Written::default() });
                let mut reply = vec![102];
                put_string(&mut reply, &handle);
                reply
            }
            // READ
            5 => {
                let (_offset, length) = (body.u64().unwrap(), body.u32().unwrap());
                let length = if self.roll(3) == 0 { length.div_ceil(2) } else { length };
                let mut reply = vec![103];
                put_string(&mut reply, &vec![9; length as usize]);
                reply
            }
            // LSTAT, FSTAT, STAT
            7 | 8 | 17 => {
                let formats = [0o100_644, 0o100_644, 0o040_755, 0o120_777];
                let format = match (self.refusals, kind) {
                    // What lets the upload succeed.
                    (0, 17) => 0o040_755,
                    (0, _) => 0o100_644,
                    _ => formats[self.roll(4)],
                };
                // By path if the handle was refused.
                let by_name = |(_, file): &(&Vec<u8>, &Written)| kind == 17 && file.path == subject;
                let handle = self.files.iter().find(by_name).map_or(subject.clone(), |(handle, _)| handle.clone());
                let right = self.files.get(&handle).map(|file| size_of(&file.path));
                let size = right.filter(|_| !self.is_bad()).unwrap_or([0, 10, 70_000, 40_000][self.roll(4)]);
                let mut reply = vec![105, 0, 0, 0, 7];
                reply.extend(u64::to_be_bytes(size));
                reply.extend([0; 8]);
                reply.extend(u32::to_be_bytes(format));
                if let Some(file) = self.files.get_mut(&handle) {
                    file.is_measured = file.is_measured || size == size_of(&file.path);
                }
                reply
            }
            // REALPATH, and the same as an extension
            16 => named(&[b"/elsewhere/", &subject[..]].concat()),
            200 if subject.starts_with(b"expand-path@openssh.com") => named(b"/home/u"),
            200 if subject.starts_with(b"statvfs@openssh.com") || subject.starts_with(b"limits@openssh.com") => {
                let mut reply = vec![201];
                reply.extend((0..11).flat_map(|_| (self.roll(3) as u64 * 40_000).to_be_bytes()));
                reply
            }
            _ => vec![],
        };
        if reply.is_empty() {
            reply = [&[101][..], &u32::to_be_bytes(code)].concat();
        }
        match kind {
            // WRITE
            6 if is_refused => self.files.get_mut(&subject).unwrap().is_refused = true,
            // CLOSE
            4 => self.files.get_mut(&subject).unwrap().is_closed = !is_refused,
            // REMOVE
            13 => assert!(!self.has_extensions || self.inplace || is_temporary(&subject)),
            _ => {}
        }
        let posix = b"posix-rename@openssh.com";
        if kind == 18 || kind == 200 && subject.starts_with(posix) {
            let from = if kind == 18 { &subject[..] } else { &subject[posix.len()..] };
            // Only confirmed complete files are renamed.
            let complete =
                |file: &&Written| file.path == from && !file.is_refused && file.is_closed && file.is_measured;
            assert!(self.files.values().any(|file| complete(&file)), "{}", shown(from));
            self.renamed += usize::from(!is_refused);
        }
        out.push(reply[0]);
        out.extend(id.to_be_bytes());
        out.extend(&reply[1..]);
        finished(out)
    }
}

fn is_temporary(path: &[u8]) -> bool {
    shown(path).contains(".pssh-")
}

/// Returns the size of the source that belongs to a path; all have different names.
fn size_of(path: &[u8]) -> u64 {
    let name = shown(path);
    let name = name.rsplit('/').next().unwrap();
    match name.strip_prefix('.').map_or(name, |name| name.split(".pssh-").next().unwrap()) {
        "a" => 10,
        "b" => 0,
        "d" => 70_000,
        "e" => 40_000,
        "f" => 1,
        other => panic!("{other}"),
    }
}

fn named(name: &[u8]) -> Vec<u8> {
    let mut reply = vec![104, 0, 0, 0, 1];
    put_string(&mut reply, name);
    put_string(&mut reply, b"");
    reply.extend([0; 4]);
    reply
}

fn finished(mut packet: Vec<u8>) -> Vec<u8> {
    let length = (packet.len() - 4) as u32;
    packet[..4].copy_from_slice(&length.to_be_bytes());
    packet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_server_that_lies_in_the_right_form_gets_us_to_an_end(
        dice in prop::collection::vec(any::<u8>(), 50..400),
        options in options(),
        target in prop::sample::select(vec!["", "x/y/z", "~/x", "~u", "/"]),
        has_extensions: bool,
        refusals in prop::sample::select(vec![0, 12, 60]),
        abort_after in prop::option::of(0..60usize),
    ) {
        let pair = tree();
        let mut uploading = pair.uploading(&["t"], target, options);
        let mut server = Liar::new(dice, has_extensions, options.inplace, refusals);
        let (mut replies, mut heard) = (std::collections::VecDeque::new(), 0);
        loop {
            let mut out = Vec::new();
            let said = uploading.say(&mut out);
            prop_assert!(uploading.shared.client.pending() <= MOST_PENDING);
            replies.extend(server.answer(&out));
            if said == Say::Over {
                break;
            }
            if said == Say::Listening {
                // Every request has its reply: otherwise the dialogue would listen forever.
                let reply: Vec<u8> = replies.pop_front().expect("nothing more will come");
                uploading.hear(&reply);
                heard += 1;
                prop_assert!(heard < 20_000);
                if abort_after == Some(heard) {
                    uploading.abort();
                }
            }
        }
        let is_done = matches!(uploading.phase, Phase::Done) && uploading.shared.failures.count() == 0;
        let has_failed = uploading.shared.failures.count();
        match uploading.conclude(Outcome::Exited(0)) {
            Outcome::Exited(0) => {
                prop_assert!(is_done);
                if !options.inplace {
                    prop_assert_eq!(server.renamed, 5);
                }
            }
            Outcome::Failed(error) => {
                let is_copy = matches!(*error, HostError::Copy { others, .. } if others < 7);
                prop_assert!(!is_done && is_copy, "{error} {has_failed}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whatever_bytes_come_there_is_no_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        begins_well: bool,
    ) {
        let pair = tree();
        let mut uploading = pair.uploading(&["t"], "x", recursive());
        let mut out = Vec::new();
        if begins_well {
            uploading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
        }
        for piece in pieces {
            while uploading.say(&mut out) == Say::Said {}
            uploading.hear(&piece);
            uploading.overhear(&piece);
            let _ = (uploading.progress(), uploading.hears(), uploading.awaits());
        }
        uploading.abort();
        let outcome = uploading.conclude(Outcome::Exited(0));
        prop_assert!(matches!(outcome, Outcome::Failed(_)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A real server with some replies changed in transit.
    #[test]
    fn damaged_replies_get_us_to_an_end(
        damage in prop::collection::vec((0..60usize, any::<prop::sample::Index>(), any::<u8>()), 1..4),
        options in options(),
    ) {
        let pair = tree();
        let mut server = pair.server();
        let mut number = 0;
        server.rewrite = Box::new(move |packet| {
            for (at, place, value) in &damage {
                if *at == number {
                    // The length stays: otherwise we would wait for data that the server never sends, as with any
                    // silent server.
                    let place = 4 + place.index(packet.len() - 4);
                    packet[place] = *value;
                }
            }
            number += 1;
        });
        let mut uploading = pair.uploading(&["t"], "", options);
        let outcome = server.talk(&mut uploading);
        prop_assert!(matches!(outcome, Outcome::Exited(0) | Outcome::Failed(_)), "{:?}", outcome);
        prop_assert!(uploading.shared.client.pending() <= MOST_PENDING);
        // Whatever the server claimed: a file with its final name is complete.
        for (name, size) in [("t/a", 10), ("t/b", 0), ("t/c/d", 70_000), ("t/c/e", 40_000), ("t/f", 1)] {
            if let Ok(content) = fs::read(pair.there.join(name)) {
                prop_assert!(options.inplace || content == noise(size), "{}", name);
            }
        }
    }
}
