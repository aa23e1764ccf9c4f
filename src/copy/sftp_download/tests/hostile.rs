use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::ssh::wire::{WireReader, put_string};

pub(super) const DIRECTORY: u32 = 0o040_755;
pub(super) const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const FIFO: u32 = 0o010_644;

/// The content of a request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) kind: u8,
    pub(super) id: u32,
    /// The path or handle.
    pub(super) text: Vec<u8>,
    pub(super) offset: u64,
    pub(super) length: u32,
}

const OPEN: u8 = 3;
const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
const FSTAT: u8 = 8;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
const REALPATH: u8 = 16;
const STAT: u8 = 17;

pub(super) fn asked(said: &[u8]) -> Vec<Asked> {
    let (mut all, mut rest) = (Vec::new(), WireReader(said));
    while let Some(packet) = rest.string() {
        let mut reader = WireReader(packet);
        let (kind, id) = (reader.byte().expect("kind"), reader.u32().expect("id"));
        let text = reader.string().unwrap_or_default().to_vec();
        let (offset, length) = if kind == READ { (reader.u64(), reader.u32()) } else { (None, None) };
        all.push(Asked { kind, id, text, offset: offset.unwrap_or(0), length: length.unwrap_or(0) });
    }
    all
}

fn packet(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, &[&[kind], &id.to_be_bytes()[..], body].concat());
    out
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, bytes);
    out
}

pub(super) fn status(id: u32, code: u32) -> Vec<u8> {
    packet(101, id, &[&code.to_be_bytes()[..], &string(b""), &string(b"")].concat())
}

pub(super) fn data(id: u32, bytes: &[u8]) -> Vec<u8> {
    packet(103, id, &string(bytes))
}

fn attributes(mode: u32, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    Attributes { size: Some(size), mode: Some(mode), times: Some((1, 2)), ..Attributes::default() }.put(&mut out);
    out
}

fn names<'a>(id: u32, entries: impl IntoIterator<Item = (&'a [u8], u32, u64)>) -> Vec<u8> {
    let (mut body, mut count) = (vec![0; 4], 0_u32);
    for (name, mode, size) in entries {
        body.extend(string(name));
        body.extend(string(b""));
        body.extend(attributes(mode, size));
        count += 1;
    }
    body[..4].copy_from_slice(&count.to_be_bytes());
    packet(104, id, &body)
}

/// Names and modes.
type List = Vec<(Vec<u8>, u32)>;

/// A server with these files, by path. Other paths do not exist.
#[derive(Clone, Default)]
pub(super) struct Played {
    pub(super) files: HashMap<Vec<u8>, Vec<u8>>,
    /// Directories; each list of entries is one answer.
    pub(super) directories: HashMap<Vec<u8>, Vec<List>>,
    lists: HashMap<Vec<u8>, usize>,
}

impl Played {
    /// Creates one with the directory `tree` and these entries in it.
    pub(super) fn with_entries(entries: &[(&[u8], u32)]) -> Played {
        let mut played = Played::default();
        played
            .directories
            .insert(b"tree".to_vec(), vec![entries.iter().map(|(name, mode)| (name.to_vec(), *mode)).collect()]);
        for (name, mode) in entries {
            let path = [b"tree/", *name].concat();
            match *mode {
                DIRECTORY => drop(played.directories.insert(path, vec![vec![(b"inner".to_vec(), FILE)]])),
                _ => drop(played.files.insert(path, name.to_vec())),
            }
            played.files.insert([b"tree/", *name, b"/inner"].concat(), b"inner".to_vec());
        }
        played
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Vec<u8> {
        let (id, text) = (asked.id, &asked.text);
        let file = self.files.get(text);
        match asked.kind {
            1 => packet(2, 3, &[]),
            OPEN if file.is_some() => packet(102, id, &string(text)),
            OPENDIR if self.directories.contains_key(text) => packet(102, id, &string(text)),
            CLOSE => status(id, 0),
            READ => match file.and_then(|file| file.get(usize::try_from(asked.offset).expect("small")..)) {
                None | Some([]) => status(id, 1),
                Some(rest) => data(id, &rest[..rest.len().min(asked.length as usize)]),
            },
            READDIR => {
                let list = self.lists.entry(text.clone()).or_default();
                *list += 1;
                match self.directories.get(text).and_then(|lists| lists.get(*list - 1)) {
                    None => status(id, 1),
                    Some(entries) => names(
                        id,
                        entries.iter().map(|(name, mode)| {
                            let path = [text.as_slice(), b"/", name].concat();
                            (name.as_slice(), *mode, self.files.get(&path).map_or(0, Vec::len) as u64)
                        }),
                    ),
                }
            }
            REALPATH => names(id, [([b"/home/user/", text.as_slice()].concat().as_slice(), 0, 0)]),
            _ if self.directories.contains_key(text) => packet(105, id, &attributes(DIRECTORY, 4096)),
            _ => match file {
                Some(file) => packet(105, id, &attributes(FILE, file.len() as u64)),
                None => status(id, 2),
            },
        }
    }
}

/// Lets the server answer until the dialogue is silent, or for this many rounds; returns what happened to `tree`, and
/// the outcome.
fn play(sides: &Sides, rounds: usize, answer: impl FnMut(&Asked) -> Vec<u8>) -> (Downloading, bool) {
    play_options(sides, rounds, recursive(), answer)
}

fn play_options(
    sides: &Sides,
    rounds: usize,
    options: Options,
    answer: impl FnMut(&Asked) -> Vec<u8>,
) -> (Downloading, bool) {
    let mut downloading = sides.downloading(&["tree"], None, options);
    let over = play_on(&mut downloading, rounds, answer);
    (downloading, over)
}

/// The same with any download; returns whether it is over.
pub(super) fn play_on(downloading: &mut Downloading, rounds: usize, mut answer: impl FnMut(&Asked) -> Vec<u8>) -> bool {
    for _ in 0..rounds {
        let (bytes, last) = said(downloading);
        if last == Say::Over {
            return true;
        }
        let requests = if bytes.starts_with(&[0, 0, 0, 5, 1]) {
            vec![Asked { kind: 1, id: 0, text: Vec::new(), offset: 0, length: 0 }]
        } else {
            asked(&bytes)
        };
        let mut replies: Vec<u8> = requests.iter().flat_map(&mut answer).collect();
        if requests.iter().any(|request| request.kind == 1) {
            replies = vec![0, 0, 0, 5, 2, 0, 0, 0, 3];
        }
        for piece in replies.chunks(30_000) {
            downloading.hear(piece);
            assert!(downloading.held() <= WINDOW + FILES * transfer::READ as usize, "{}", downloading.held());
        }
        if requests.is_empty() {
            return false;
        }
    }
    false
}

fn outcome(sides: &Sides, answer: impl FnMut(&Asked) -> Vec<u8>) -> String {
    let (mut downloading, over) = play(sides, 100_000, answer);
    assert!(over, "it does not end");
    failure(downloading.conclude(Outcome::Exited(0)))
}

#[test]
fn a_played_server_is_one() {
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"a", FILE), (b"b", DIRECTORY), (b"c", FILE)]);
    assert_eq!(outcome(&sides, |asked| played.answer(asked)), "Exited(0)");
    let expected =
        [("tree", "directory"), ("tree/a", "a"), ("tree/b", "directory"), ("tree/b/inner", "inner"), ("tree/c", "c")];
    assert_eq!(sides.arrived(), files(&expected));
}

#[test]
fn names_that_lead_elsewhere_are_refused_and_told() {
    let sides = Sides::new();
    let bad: [&[u8]; 9] = [b"../x", b"..", b".", b"/etc/x", b"a/b", b"a\0b", b"", b"/", &[b'x'; 256]];
    for mode in [FILE, DIRECTORY, LINK] {
        let entries: Vec<(&[u8], u32)> = bad.iter().map(|name| (*name, mode)).chain([(&b"good"[..], FILE)]).collect();
        let mut played = Played::with_entries(&entries);
        let outcome = outcome(&sides, |asked| played.answer(asked));
        assert_eq!(outcome, "tree/../x: refused: a name with a slash (and 6 others)");
        assert_eq!(sides.arrived(), files(&[("tree", "directory"), ("tree/good", "good")]));
        assert_eq!(tree(sides.directory.path()).len(), 4, "nothing is outside");
    }
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    for (first, second) in [(FILE, FILE), (FILE, DIRECTORY), (DIRECTORY, FILE), (DIRECTORY, DIRECTORY), (LINK, FILE)] {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"x", first)]);
        // In the same answer, or in the next one.
        for apart in [false, true] {
            let (one, two) = ((b"x".to_vec(), first), (b"x".to_vec(), second));
            let lists = if apart { vec![vec![one], vec![two]] } else { vec![vec![one, two]] };
            played.directories.insert(b"tree".to_vec(), lists);
            played.lists.clear();
            let outcome = outcome(&sides, |asked| played.answer(asked));
            assert_eq!(outcome, "tree/x: refused: something with the same name was already copied");
            assert_eq!(sides.local("tree/x").is_dir(), first == DIRECTORY);
        }
    }
}

#[test]
fn what_breaks_the_protocol_ends_it() {
    let break_it = |what: fn(&Asked, Vec<u8>) -> Vec<u8>| {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE), (b"b", DIRECTORY)]);
        let outcome = outcome(&sides, |asked| {
            let honest = played.answer(asked);
            what(asked, honest)
        });
        assert!(sides.arrived().iter().all(|(path, _)| !path.contains(".pssh-")), "{outcome}");
        outcome
            .strip_prefix("Ssh: SFTP: the server broke the protocol: ")
            .unwrap_or_else(|| panic!("{outcome}"))
            .to_owned()
    };
    let longer = break_it(|asked, honest| if asked.kind == READ { data(asked.id, &[0; 40_000]) } else { honest });
    assert_eq!(longer, "more data than requested");
    let twice = break_it(|asked, honest| if asked.kind == READ { [honest.clone(), honest].concat() } else { honest });
    assert_eq!(twice, "a reply without a request");
    let closed = break_it(|asked, honest| if asked.kind == CLOSE { data(asked.id, b"late") } else { honest });
    assert_eq!(closed, "a reply of the wrong type");
    let fine = break_it(|asked, honest| if asked.kind == OPEN { status(asked.id, 0) } else { honest });
    assert_eq!(fine, "success without the requested data");
    for (kind, what) in
        [(STAT, "names"), (OPENDIR, "attributes"), (READDIR, "a handle"), (FSTAT, "data"), (REALPATH, "data")]
    {
        let wrong: fn(&Asked) -> Vec<u8> = match what {
            "names" => |asked| names(asked.id, []),
            "attributes" => |asked| packet(105, asked.id, &attributes(FILE, 0)),
            "a handle" => |asked| packet(102, asked.id, &string(b"h")),
            _ => |asked| data(asked.id, b"x"),
        };
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE)]);
        let outcome = outcome(&sides, |asked| if asked.kind == kind { wrong(asked) } else { played.answer(asked) });
        assert!(outcome.ends_with("a reply of the wrong type"), "{kind}: {outcome}");
    }
}

#[test]
fn kinds_that_change() {
    // A file when it was listed, but not once it is open.
    for mode in [DIRECTORY, FIFO, LINK] {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE)]);
        let outcome = outcome(&sides, |asked| match asked.kind {
            FSTAT => packet(105, asked.id, &attributes(mode, 5)),
            _ => played.answer(asked),
        });
        assert_eq!(outcome, "tree/a: not a regular file");
        assert_eq!(sides.arrived(), files(&[("tree", "directory")]));
    }
    // A link to a link, and a directory that cannot be opened.
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"a", LINK), (b"b", DIRECTORY)]);
    let outcome = outcome(&sides, |asked| match asked.kind {
        STAT if asked.text == b"tree/a" => packet(105, asked.id, &attributes(LINK, 5)),
        OPENDIR if asked.text == b"tree/b" => status(asked.id, 4),
        _ => played.answer(asked),
    });
    assert!(outcome.ends_with("(and another one)"), "{outcome}");
    assert_eq!(sides.arrived(), files(&[("tree", "directory")]));
}

#[test]
fn lists_that_do_not_end() {
    let sides = Sides::new();
    let mut played = Played::with_entries(&[]);
    let nothing = outcome(&sides, |asked| match asked.kind {
        READDIR => names(asked.id, []),
        _ => played.answer(asked),
    });
    assert_eq!(nothing, "tree: the host sends an endless list of it");

    // Duplicate names, invalid names, and ever new names of what is not copied; the memory for names is limited.
    let mut next = 0_u32;
    for (make, expected) in [
        ((|_| b".".to_vec()) as fn(u32) -> Vec<u8>, "tree: the host sends an endless list of it"),
        (|_| Vec::new(), "tree/: refused: an empty name (and 65536 others)"),
        (|_| b"x".to_vec(), "tree/x: not a regular file (and 65536 others)"),
        (
            |next| next.to_be_bytes().iter().map(|byte| byte | 0x80).chain(next.to_string().into_bytes()).collect(),
            "tree/",
        ),
    ] {
        let mut played = Played::with_entries(&[]);
        let mut most = 0;
        let (mut downloading, over) = play(&sides, 100_000, |asked| match asked.kind {
            READDIR => {
                let entries: Vec<Vec<u8>> = (0..4_096).map(|number| make(next + number)).collect();
                next = next.wrapping_add(4_096) & 0x7fff_ffff;
                most += 4_096;
                names(asked.id, entries.iter().map(|name| (name.as_slice(), FIFO, 0)))
            }
            _ => played.answer(asked),
        });
        assert!(over && most <= (1 << 16) + 3 * 4_096, "{most}");
        let outcome = failure(downloading.conclude(Outcome::Exited(0)));
        assert!(outcome.starts_with(expected), "{outcome}");
    }
}

#[test]
fn trees_that_do_not_end() {
    // Nested directories: there is a limit.
    let sides = Sides::new();
    type Lists = HashMap<Vec<u8>, usize>;
    let mut lists = Lists::new();
    let endless = |lists: &mut Lists, asked: &Asked, entries: &[(&[u8], u32)], most: usize| match asked.kind {
        OPENDIR => packet(
            102,
            asked.id,
            &string(
                &(asked.text.len() as u64)
                    .to_be_bytes()
                    .iter()
                    .chain(&asked.id.to_be_bytes())
                    .copied()
                    .collect::<Vec<_>>(),
            ),
        ),
        READDIR => {
            let list = lists.entry(asked.text.clone()).or_default();
            *list += 1;
            if *list > most {
                return status(asked.id, 1);
            }
            names(asked.id, entries.iter().map(|(name, mode)| (*name, *mode, 0)))
        }
        REALPATH => names(asked.id, [(asked.text.as_slice(), 0, 0)]),
        STAT => packet(105, asked.id, &attributes(DIRECTORY, 0)),
        CLOSE => status(asked.id, 0),
        _ => status(asked.id, 3),
    };
    let deep = outcome(&sides, |asked| endless(&mut lists, asked, &[(b"d", DIRECTORY)], 1));
    assert!(deep.ends_with("/d: more than 64 nested directories"), "{deep}");

    // Two in each: 64 levels are practically endless, but there is a limit on directories.
    let (sides, mut lists) = (Sides::new(), Lists::new());
    let (mut downloading, over) =
        play(&sides, 100_000, |asked| endless(&mut lists, asked, &[(b"1", DIRECTORY), (b"2", DIRECTORY)], 1));
    assert!(over);
    let outcome = failure(downloading.conclude(Outcome::Exited(0)));
    assert!(outcome.contains("more than 64 nested directories (and "), "{outcome}");
    assert!(sides.arrived().len() <= 8192, "{}", sides.arrived().len());

    // Wide as well: it takes no more memory however long it lasts.
    let (sides, mut lists) = (Sides::new(), Lists::new());
    let broad: Vec<Vec<u8>> = (0..3_000_u32).map(|number| number.to_string().into_bytes()).collect();
    let broad: Vec<(&[u8], u32)> = broad
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_slice(), if number % 2 == 0 { DIRECTORY } else { FILE }))
        .collect();
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    assert_eq!(said(&mut downloading).0, [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    downloading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
    let (mut most_waiting, mut most_open) = (0, 0);
    for _ in 0..600 {
        let (bytes, last) = said(&mut downloading);
        assert_eq!(last, Say::Listening);
        for request in asked(&bytes) {
            downloading.hear(&endless(&mut lists, &request, &broad, 3));
        }
        let (waiting, open) = downloading.directories.load();
        (most_waiting, most_open) = (most_waiting.max(waiting), most_open.max(open));
    }
    assert!(most_waiting > 20_000 && most_open > 10, "{most_waiting} {most_open}");
    assert!(most_waiting < 20_000 + 64 * 3_000 + 64 * 6_000, "{most_waiting}");
    assert!(most_open <= 64 + 64, "{most_open}");
    downloading.abort();
    assert_eq!(said(&mut downloading).1, Say::Over);
}

#[test]
fn sizes_that_are_lies() {
    for (size, content, expected, arrived) in [
        (u64::MAX, 100, "tree/a: it shrank while it was read", None),
        (1 << 40, 100_000, "tree/a: it shrank while it was read", None),
        // As one of sysfs: its size is requested twice and stays the same.
        (101, 100, "Exited(0)", Some(100)),
        (65_537, 100, "tree/a: it shrank while it was read", None),
        (99, 100, "Exited(0)", Some(99)),
        (0, 100, "Exited(0)", Some(100)),
        (0, 1_000_000, "Exited(0)", Some(1_000_000)),
        (1, 1_000_000, "Exited(0)", Some(1)),
    ] {
        for options in [recursive(), Options { resume: true, ..recursive() }] {
            let sides = Sides::new();
            let mut played = Played::with_entries(&[(b"a", FILE)]);
            played.files.insert(b"tree/a".to_vec(), vec![7; content]);
            let (mut downloading, over) = play_options(&sides, 10_000, options, |asked| match asked.kind {
                FSTAT => packet(105, asked.id, &attributes(FILE, size)),
                _ => played.answer(asked),
            });
            assert!(over);
            assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), expected);
            let length = fs::metadata(sides.local("tree/a")).ok().map(|metadata| metadata.len());
            assert_eq!((length, sides.arrived().len()), (arrived, 1 + usize::from(arrived.is_some())), "{size}");
        }
    }
}

#[test]
fn a_small_file_that_is_cut_while_it_is_read_is_not_whole() {
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"a", FILE)]);
    played.files.insert(b"tree/a".to_vec(), vec![7; 100]);
    let mut sizes = [4096, 100].into_iter();
    let (mut downloading, over) = play(&sides, 10_000, |asked| match asked.kind {
        FSTAT => packet(105, asked.id, &attributes(FILE, sizes.next().expect("two"))),
        _ => played.answer(asked),
    });
    assert!(over);
    assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "tree/a: it shrank while it was read");
    assert_eq!(sides.arrived().len(), 1);
}

#[test]
fn a_file_that_never_ends() {
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"a", FILE)]);
    let mut sent = 0;
    let (mut downloading, over) = play(&sides, 200, |asked| match asked.kind {
        FSTAT => packet(105, asked.id, &attributes(FILE, 0)),
        READ => {
            sent += u64::from(asked.length);
            data(asked.id, &vec![1; asked.length as usize])
        }
        _ => played.answer(asked),
    });
    // On the disk, not in memory.
    assert!(!over && sent > 20 << 20 && downloading.held() < 1 << 20, "{sent}");
    assert_eq!(downloading.progress, Progress { done: sent, total: sent });
    downloading.abort();
    assert_eq!(sides.arrived(), files(&[("tree", "directory")]));
}

#[test]
fn text_instead_of_a_server_and_a_server_that_ends() {
    let sides = Sides::new();
    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let _ = said(&mut downloading);
    downloading.hear(b"Welcome to db1!\n");
    assert!(downloading.has_begun(), "scp would meet the same");
    assert_eq!(said(&mut downloading), (Vec::new(), Say::Over));
    assert_eq!(
        failure(downloading.conclude(Outcome::Exited(0))),
        "Ssh: SFTP: the host sent text instead: \"Welcome to db1!\""
    );

    let mut downloading = sides.downloading(&["tree"], None, recursive());
    let _ = said(&mut downloading);
    downloading.overhear(b"sh: sftp-server: not found\n");
    let error = failure(downloading.conclude(Outcome::Exited(127)));
    let expected = "SFTP: the server ended before it answered (exit status 127: \"sh: sftp-server: not found\")";
    assert_eq!(error, expected);
    assert!(!downloading.has_begun());

    let (mut downloading, over) = play(&sides, 3, |asked| Played::with_entries(&[(b"a", FILE)]).answer(asked));
    assert!(!over && downloading.has_begun());
    let error = failure(downloading.conclude(Outcome::Signaled { name: "KILL".to_owned() }));
    assert_eq!(error, "tree: it was not copied before the SFTP server ended (signal KILL)");

    let (mut downloading, _) = play(&sides, 7, |asked| match asked.kind {
        READ if asked.text == b"tree/b" => data(asked.id, &[1]),
        FSTAT if asked.text == b"tree/b" => packet(105, asked.id, &attributes(FILE, 9)),
        _ => Played::with_entries(&[(b"a", FILE), (b"b", FILE)]).answer(asked),
    });
    let lost = HostError::Lost { detail: "the connection ended".to_owned(), hint: None };
    let error = failure(downloading.conclude(lost.into()));
    assert_eq!(error, "Lost: the connection ended; 1 file was copied");
}

#[test]
fn patterns_among_bad_names() {
    let sides = Sides::new();
    let mut played = Played::with_entries(&[(b"..", FILE), (b"../x", FILE), (b"a\0", FILE), (b"good", FILE)]);
    let mut downloading = sides.downloading(&["tree/*", "endless/*"], None, recursive());
    assert_eq!(said(&mut downloading).0, [0, 0, 0, 5, 1, 0, 0, 0, 3]);
    downloading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
    played.directories.insert(b"endless/".to_vec(), Vec::new());
    let lists = played.directories[&b"tree"[..]].clone();
    played.directories.insert(b"tree/".to_vec(), lists);
    loop {
        let (bytes, last) = said(&mut downloading);
        for request in asked(&bytes) {
            let endless = request.kind == READDIR && request.text == b"endless/";
            let reply = if endless { names(request.id, []) } else { played.answer(&request) };
            downloading.hear(&reply);
        }
        if last == Say::Over {
            break;
        }
        assert!(!bytes.is_empty());
    }
    let error = failure(downloading.conclude(Outcome::Exited(0)));
    assert_eq!(error, "endless/*: the host sends an endless list of a directory");
    assert_eq!(sides.arrived(), files(&[("good", "good")]));
}

/// A change to the replies in transit.
#[derive(Clone, Debug)]
enum Mutation {
    Nothing,
    /// One byte is replaced.
    Byte(usize, u8),
    Drop,
    Twice,
    /// The replies are cut, and the rest never comes.
    Cut(usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let mutation = prop_oneof![
        12 => Just(Mutation::Nothing),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        1 => Just(Mutation::Drop),
        1 => Just(Mutation::Twice),
        1 => any::<usize>().prop_map(Mutation::Cut),
    ];
    prop::collection::vec(mutation, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any replies, in pieces: no panic, no endless dialogue, and no change outside of the target.
    #[test]
    fn random_bytes(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20), version: bool) {
        let sides = Sides::new();
        let before = tree(&sides.remote(""));
        let mut downloading = sides.downloading(&["tree", "*/x"], Some("t"), recursive());
        if version {
            downloading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
        }
        for piece in pieces {
            let _ = said(&mut downloading);
            downloading.hear(&piece);
        }
        let _ = said(&mut downloading);
        prop_assert!(failure(downloading.conclude(Outcome::Exited(1))) != "Exited(0)");
        prop_assert_eq!(tree(&sides.remote("")), before);
        prop_assert_eq!(fs::read_dir(sides.directory.path()).expect("directory").count(), 2);
    }

    /// Damaged replies. A file reported as copied has the bytes that were sent.
    #[test]
    fn damaged_replies(mutations in mutations(), checksum: bool) {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE), (b"b", DIRECTORY), (b"c", LINK), (b"d", FILE)]);
        played.files.insert(b"tree/d".to_vec(), vec![3; 300_000]);
        let mut mutations = VecDeque::from(mutations);
        let mut harmless = true;
        let options = Options { checksum, ..recursive() };
        let (mut downloading, over) = play_options(&sides, 2_000, options, |asked| {
            let mut reply = played.answer(asked);
            match mutations.pop_front().unwrap_or(Mutation::Nothing) {
                Mutation::Nothing => return reply,
                Mutation::Byte(at, byte) => {
                    let at = at % reply.len();
                    reply[at] = byte;
                }
                Mutation::Drop => reply.clear(),
                Mutation::Twice => reply = [reply.clone(), reply].concat(),
                Mutation::Cut(at) => reply.truncate(at % reply.len()),
            }
            harmless = false;
            reply
        });
        let outcome = failure(downloading.conclude(Outcome::Exited(0)));
        prop_assert!(over || outcome != "Exited(0)", "{}", outcome);
        prop_assert!(!harmless || outcome == "Exited(0)", "{}", outcome);
        drop(downloading);
        prop_assert!(sides.arrived().iter().all(|(path, _)| !path.contains(".pssh-")));
        prop_assert_eq!(fs::read_dir(sides.directory.path()).expect("directory").count(), 2);
        prop_assert_eq!(tree(&sides.remote("")).len(), 0);
    }

    /// Replies in any order, and truncated at any point.
    #[test]
    fn any_order(seed: u64, short in 1..40_000_u32, checksum: bool) {
        let sides = Sides::new();
        let mut played = Played::with_entries(&[(b"a", FILE), (b"b", DIRECTORY), (b"d", FILE), (b"e", FILE)]);
        let large: Vec<u8> = (0..400_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        played.files.insert(b"tree/d".to_vec(), large.clone());
        played.files.insert(b"tree/e".to_vec(), large[..100_000].to_vec());
        let short = short.max(200);
        let mut downloading = sides.downloading(&["tree"], None, Options { checksum, ..recursive() });
        let _ = said(&mut downloading);
        downloading.hear(&[0, 0, 0, 5, 2, 0, 0, 0, 3]);
        let (mut replies, mut state) = (Vec::new(), seed | 1);
        loop {
            let (bytes, last) = said(&mut downloading);
            if last == Say::Over {
                break;
            }
            for mut request in asked(&bytes) {
                request.length = request.length.min(short);
                replies.push(played.answer(&request));
            }
            prop_assert!(!replies.is_empty());
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let next = replies.swap_remove((state % replies.len() as u64) as usize);
            downloading.hear(&next);
        }
        prop_assert_eq!(failure(downloading.conclude(Outcome::Exited(0))), "Exited(0)");
        prop_assert!(fs::read(sides.local("tree/d")).expect("file") == large);
        prop_assert!(fs::read(sides.local("tree/e")).expect("file") == large[..100_000]);
        prop_assert_eq!(sides.arrived().len(), 6);
    }
}
