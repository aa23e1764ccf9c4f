//! Whether what a tool has printed is all that the hosts have said: a run that lost something is no measurement.

use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use crate::server::{address, host_of};

/// Lines after which the hosts' lines repeat (`Behaviour::Lines` of the tests' server).
const PERIOD: usize = 400;
/// Bytes of each of them, with its newline.
pub(crate) const LINE: usize = 80;

/// How a tool shows what the hosts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One line of each host, with its address before it and a colon.
    Named,
    /// The same, with nothing before it; lines without an address are the tool's own.
    Bare,
    /// Many lines, each after the address of its host and a colon.
    Prefixed,
    /// The same without the colons' promise: a prefix before each read, in the middle of lines. Only lengths can be checked.
    Chunks,
    /// Many lines, host after host; lines that are no host's are the tool's own.
    Blocks,
    /// The same, each line of a host after two blanks and broken where the tool likes.
    Indented,
    /// The same lines of all hosts once.
    Gathered,
    /// This pssh's JSON Lines.
    Json,
    /// Nothing of the hosts.
    Nothing,
    /// Whatever it likes.
    Anything,
}

impl Layout {
    const ALL: [(&'static str, Layout); 10] = [
        ("named", Layout::Named),
        ("bare", Layout::Bare),
        ("prefixed", Layout::Prefixed),
        ("chunks", Layout::Chunks),
        ("blocks", Layout::Blocks),
        ("indented", Layout::Indented),
        ("gathered", Layout::Gathered),
        ("json", Layout::Json),
        ("nothing", Layout::Nothing),
        ("anything", Layout::Anything),
    ];

    pub(crate) fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, layout)| *layout == self).map_or("", |(word, _)| word)
    }

    pub(crate) fn from_word(word: &str) -> Option<Layout> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, layout)| *layout)
    }
}

/// What was read.
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    /// When the first of them came.
    pub(crate) first: Option<Instant>,
    /// What is wrong with them.
    pub(crate) problem: Option<String>,
}

/// What the hosts say, all together.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) layout: Layout,
    pub(crate) hosts: usize,
    /// Lines of each host, where they say many.
    pub(crate) lines: usize,
}

/// Reads all that a tool prints, and compares it with what is expected. Reading goes on after the first problem: a tool must not
/// wait for us.
pub(crate) fn read(pipe: impl Read, expected: Expected) -> Seen {
    let mut reader = BufReader::with_capacity(256 * 1024, pipe);
    let mut checker = Checker::new(expected);
    let mut seen = Seen { bytes: 0, first: None, problem: None };
    let mut line = Vec::new();
    loop {
        if seen.first.is_none() && reader.fill_buf().is_ok_and(|buffer| !buffer.is_empty()) {
            seen.first = Some(Instant::now());
        }
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(length) => seen.bytes += length as u64,
            Err(error) => {
                seen.problem = Some(format!("its output cannot be read: {error}"));
                break;
            }
        }
        if seen.problem.is_none() {
            let problem = checker.line(&line).err();
            let shown = || String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
            seen.problem = problem.map(|problem| format!("{problem}: {:?}", shown()));
        }
    }
    seen.problem = seen.problem.or_else(|| checker.finish().err());
    seen
}

struct Checker {
    expected: Expected,
    /// The hosts' lines, one after the other, until they repeat.
    pattern: Vec<u8>,
    /// The bytes of a line there.
    unit: usize,
    /// How far each host is, in bytes. Where hosts come one after the other, only the first is used.
    places: Vec<usize>,
    blocks: usize,
    /// Bytes of hosts and prefixes, where they can only be counted.
    others: usize,
    prefixes: usize,
}

impl Checker {
    fn new(expected: Expected) -> Checker {
        // JSON has two characters for the end of a line.
        let end = if expected.layout == Layout::Json { "\\n" } else { "\n" };
        let pattern: Vec<u8> = (0..PERIOD).flat_map(|number| format!("{number:<79}{end}").into_bytes()).collect();
        let (unit, places) = (pattern.len() / PERIOD, vec![0; expected.hosts]);
        Checker { expected, pattern, unit, places, blocks: 0, others: 0, prefixes: 0 }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        match self.expected.layout {
            Layout::Named => {
                let (host, rest) = self.prefixed(line)?;
                if self.named(rest)? == Some(host) { Ok(()) } else { Err("a line of another host than it says") }
            }
            Layout::Bare => self.named(line).map(|_| ()),
            Layout::Prefixed => {
                let (host, rest) = self.prefixed(line)?;
                self.advance(host, rest)
            }
            // How a host ended.
            Layout::Chunks if line.starts_with(b"[") => Ok(()),
            Layout::Chunks => {
                let colons = line.iter().filter(|byte| **byte == b':').count();
                self.prefixes += colons;
                self.others += line.iter().filter(|byte| **byte != b'\n').count();
                Ok(())
            }
            Layout::Blocks | Layout::Gathered => self.block(line),
            Layout::Indented => self.piece(line.strip_prefix(b"  ").unwrap_or_default()),
            Layout::Json => self.json(line),
            Layout::Nothing => match host_of_line(line) {
                Some(_) => Err("a line of a host, where none is wanted"),
                None => Ok(()),
            },
            Layout::Anything => Ok(()),
        }
    }

    /// The host that a line says it is from, and the rest of it.
    fn prefixed<'a>(&self, line: &'a [u8]) -> Result<(usize, &'a [u8]), &'static str> {
        let parts =
            line.split_at_checked(13).and_then(|(name, rest)| Some((host_of(name)?, rest.strip_prefix(b": ")?)));
        parts.filter(|(host, _)| *host < self.expected.hosts).ok_or("a line without the address of a host before it")
    }

    /// Counts the one line of a host, if it is one.
    fn named(&mut self, line: &[u8]) -> Result<Option<usize>, &'static str> {
        let Some(host) = host_of_line(line) else { return Ok(None) };
        let place = self.places.get_mut(host).ok_or("a host that there is not")?;
        *place += 1;
        if *place == 1 { Ok(Some(host)) } else { Err("a host for the second time") }
    }

    /// The next bytes of a host.
    fn advance(&mut self, host: usize, mut bytes: &[u8]) -> Result<(), &'static str> {
        let place = self.places.get_mut(host).ok_or("a host that there is not")?;
        while !bytes.is_empty() {
            let wanted = &self.pattern[*place % self.pattern.len()..];
            let length = wanted.len().min(bytes.len());
            if wanted[..length] != bytes[..length] {
                return Err("not what the host has said at this place");
            }
            *place += length;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    /// A line of the block of a host, or one of the tool's own between two of them.
    fn block(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let place = self.places[0];
        if place == 0 && line != &self.pattern[..self.unit] {
            return Ok(());
        }
        self.advance(0, line)?;
        if self.places[0] == self.unit * self.expected.lines {
            self.places[0] = 0;
            self.blocks += 1;
        }
        Ok(())
    }

    /// A line or a piece of one, of the block of a host, or one of the tool's own between two of them.
    fn piece(&mut self, piece: &[u8]) -> Result<(), &'static str> {
        /// No tool breaks lines of 80 before this.
        const SHORTEST: usize = 40;
        let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
        if self.places[0] == 0 && (piece.len() < SHORTEST || !self.pattern.starts_with(piece)) {
            return Ok(());
        }
        let is_whole = self.places[0] % self.unit + piece.len() == self.unit - 1;
        self.advance(0, piece)?;
        if is_whole { self.block(b"\n") } else { Ok(()) }
    }

    /// An event of ours: what hosts have said is in the text of some of them.
    fn json(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let after = |name: &[u8]| {
            let start = line.windows(name.len()).position(|window| window == name);
            start.map(|start| &line[start + name.len()..])
        };
        if !line.starts_with(b"{\"event\":\"output\"") {
            return if line.starts_with(b"{\"event\":") { Ok(()) } else { Err("no event") };
        }
        let (Some(index), Some(text)) = (after(b"\"index\":"), after(b"\"text\":\"")) else {
            return Err("output without a host or a text");
        };
        let index: Vec<u8> = index.iter().copied().take_while(u8::is_ascii_digit).collect();
        let index = std::str::from_utf8(&index).ok().and_then(|index| index.parse().ok()).ok_or("a strange index")?;
        self.advance(index, text.strip_suffix(b"\"}\n").ok_or("a text that does not end the event")?)
    }

    fn finish(&self) -> Result<(), String> {
        let Expected { layout, hosts, lines } = self.expected;
        let (wanted, all) = match layout {
            Layout::Named | Layout::Bare => (1, "the one line of each host"),
            Layout::Prefixed | Layout::Json => (self.unit * lines, "all lines of each host"),
            Layout::Blocks | Layout::Indented | Layout::Gathered => {
                let blocks = if layout == Layout::Gathered { 1 } else { hosts };
                let whole = self.blocks == blocks && self.places[0] == 0;
                return if whole { Ok(()) } else { Err(format!("{} whole blocks, not {blocks}", self.blocks)) };
            }
            Layout::Chunks => {
                // An address and `: `.
                let said = self.others.saturating_sub(self.prefixes * 15);
                let wanted = hosts * lines * (LINE - 1);
                return if said == wanted { Ok(()) } else { Err(format!("{said} bytes of hosts, not {wanted}")) };
            }
            Layout::Nothing | Layout::Anything => return Ok(()),
        };
        let short = self.places.iter().filter(|place| **place != wanted).count();
        if short == 0 { Ok(()) } else { Err(format!("it did not print {all}: {short} of {hosts} are not complete")) }
    }
}

/// The host of the one line that `Behaviour::Name` of the tests' server says.
fn host_of_line(line: &[u8]) -> Option<usize> {
    // A tool that puts no host before a line may move it to the right.
    let (name, rest) = line.trim_ascii_start().split_at_checked(13)?;
    host_of(name).filter(|_| rest.starts_with(b" up 12 days, load average: "))
}

/// Tries the check itself, on output that is complete and on output that is not: one that passes everything would be worse than none.
///
/// # Errors
/// It passes what it should not, or the other way round.
pub(crate) fn try_itself() -> Result<(), String> {
    let name = |host: usize| format!("{} up 12 days, load average: 0.08, 0.03, 0.01\n", address(host));
    let line = |number: usize| format!("{number:<79}\n");
    let prefixed = |host: usize, number: usize| format!("{}: {}", address(host), line(number));
    let json = |host: usize, number: usize| {
        format!("{{\"event\":\"output\",\"index\":{host},\"text\":\"{number:<79}\\n\"}}\n")
    };
    let block = || (0..2).map(line).collect::<String>();
    // Two hosts, two lines of each where they say many.
    let broken = || block().replace("0 ", "  0 ").replace("1 ", "  1 ").replace("   \n", "\n     \n");
    let cases: [(Layout, String, bool); 23] = [
        (Layout::Named, format!("{0}: {1}{2}: {3}", address(1), name(1), address(0), name(0)), true),
        (Layout::Named, format!("{0}: {1}{0}: {1}", address(1), name(1)), false),
        (Layout::Named, format!("{}: {}", address(1), name(0)), false),
        (Layout::Bare, format!("[1] a host\n{}[2] another\n{}", name(1), name(0)), true),
        (Layout::Bare, name(0), false),
        (Layout::Prefixed, [prefixed(0, 0), prefixed(1, 0), prefixed(1, 1), prefixed(0, 1)].concat(), true),
        (Layout::Prefixed, [prefixed(0, 0), prefixed(1, 0), prefixed(1, 1)].concat(), false),
        (Layout::Prefixed, [prefixed(0, 1), prefixed(0, 0), prefixed(1, 0), prefixed(1, 1)].concat(), false),
        (Layout::Prefixed, [line(0), prefixed(1, 0), prefixed(1, 1), prefixed(0, 1)].concat(), false),
        (Layout::Chunks, format!("{0}: {2}{1}: {2}", address(0), address(1), block()), true),
        (Layout::Chunks, format!("{}: {}", address(0), block()), false),
        (Layout::Blocks, format!("one\n{}two\n{}three\n", block(), block()), true),
        (Layout::Blocks, format!("one\n{}two\n{}", block(), line(0)), false),
        (Layout::Blocks, format!("one\n{}two\n{}", line(0), block()), false),
        (
            Layout::Indented,
            format!("one\n{0}two\n{0}three\n", block().replace("0 ", "  0 ").replace("1 ", "  1 ")),
            true,
        ),
        (Layout::Indented, format!("one\n{}", block().replace("0 ", "  0 ").replace("1 ", "  1 ")), false),
        (Layout::Indented, format!("one\n{0}two\n{0}three\n", broken()), true),
        (Layout::Indented, format!("one\n{0}two\n{0}three\n", broken().replacen("     \n", "    \n", 1)), false),
        (Layout::Gathered, format!("both\n{}", block()), true),
        (Layout::Gathered, block() + &block(), false),
        (
            Layout::Json,
            [json(0, 0), json(1, 0), "{\"event\":\"end\"}\n".to_owned(), json(0, 1), json(1, 1)].concat(),
            true,
        ),
        (Layout::Json, [json(0, 0), json(1, 0), json(0, 1)].concat(), false),
        (Layout::Nothing, name(0), false),
    ];
    for (layout, output, is_whole) in cases {
        let seen = read(output.as_bytes(), Expected { layout, hosts: 2, lines: 2 });
        if seen.problem.is_none() != is_whole {
            return Err(format!("the check of {layout:?} says {:?} of {output:?}", seen.problem));
        }
    }
    Ok(())
}
