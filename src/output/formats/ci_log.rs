//! The log of a CI system: keeps hosts' text from being read as commands.
//!
//! The runners of these systems look for commands in all that a job prints. A command could hide a secret of its choice from the log,
//! set an output of the job, or fake an error or a folded section. Hosts' text can appear as a line of
//! its own, after a prefix, in an error or in a note. So it is escaped in one place, where everything is written:
//!
//! * `##[NAME]` anywhere in a line (GitHub's old form, in which its log also marks errors and groups) becomes `## [NAME]`.
//! * `::NAME ...::` at the start of a line (GitHub's new form) becomes `: :NAME ...::`. Within a line, where no runner looks for it
//!   today, it becomes `:: NAME ...::`, unless it follows a letter or digit, as in `fe80::a` and `std::vec`.
//! * `section_start:` and `section_end:` (GitLab) get a blank before the colon.
//!
//! In JSON the same characters are written as `\u` escapes instead, which keeps its values.
//!
//! Characters without a width, control characters and control sequences do not count (`ci_paths`). The blank is
//! there whichever of them a reader removes.

use std::borrow::Cow;

use super::ci_groups::{CiGroups, System};
use super::ci_paths::{Paths, Places};

/// The CI log that standard output or error goes to, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CiLog {
    is_github: bool,
    is_gitlab: bool,
    /// Standard output is JSON.
    is_json: bool,
}

impl CiLog {
    /// Returns the log named by the environment, or `wanted` by the user. `variable` says whether an environment variable is
    /// set to true.
    pub fn new(wanted: Option<CiGroups>, is_json: bool, variable: &dyn Fn(&str) -> bool) -> CiLog {
        let is_in = |system: System| variable(system.variable()) || wanted.and_then(CiGroups::system) == Some(system);
        CiLog { is_github: is_in(System::Github), is_gitlab: is_in(System::Gitlab), is_json }
    }

    /// Returns the log named by the environment, for text.
    pub fn of_process() -> CiLog {
        CiLog::new(None, false, &|name| std::env::var_os(name).is_some_and(|value| value == "true"))
    }

    /// The same for text.
    pub fn of_text(self) -> CiLog {
        CiLog { is_json: false, ..self }
    }

    /// Whether there is one.
    pub fn is_there(self) -> bool {
        self.is_github || self.is_gitlab
    }

    /// Returns a whole text without commands.
    pub fn harmless(self, text: &[u8]) -> Cow<'_, [u8]> {
        if !self.is_there() {
            return Cow::Borrowed(text);
        }
        let mut harmless = Vec::with_capacity(text.len());
        self.append(text, &mut [&mut LogState::default()], &mut harmless);
        Cow::Owned(harmless)
    }

    /// Appends what follows in streams that are in these states to `harmless`.
    pub fn append(self, bytes: &[u8], states: &mut [&mut LogState], harmless: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            let plain = rest.iter().position(|byte| !self.is_plain(*byte)).unwrap_or(rest.len());
            if plain > 0 && states.iter().all(|state| state.is_plain(self)) {
                harmless.extend_from_slice(&rest[..plain]);
                states.iter_mut().for_each(|state| state.pass(rest[plain - 1], self));
                rest = &rest[plain..];
                continue;
            }
            rest = after;
            if self.is_json && states.iter().any(|state| state.is_command(*byte, self)) {
                put(format!("\\u{byte:04x}").as_bytes(), states, self, harmless);
                continue;
            }
            // A second one only if the first may be taken for a part of a control sequence.
            while states.iter().any(|state| state.is_command(*byte, self)) {
                put(b" ", states, self, harmless);
            }
            put(&[*byte], states, self, harmless);
        }
    }

    /// Whether a byte within text neither begins nor continues a command.
    fn is_plain(self, byte: u8) -> bool {
        matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b':') && !(self.is_gitlab && byte == b's')
    }
}

/// Appends text, changed so that no state finds a command in it.
fn put(bytes: &[u8], states: &mut [&mut LogState], log: CiLog, harmless: &mut Vec<u8>) {
    harmless.extend_from_slice(bytes);
    for byte in bytes {
        states.iter_mut().for_each(|state| state.pass(*byte, log));
    }
}

/// The state of a stream: which commands may have begun in it. Cuts in the stream do not matter.
#[derive(Clone, Debug)]
pub struct LogState {
    github: Paths,
    gitlab: Paths,
}

impl Default for LogState {
    fn default() -> LogState {
        LogState { github: Paths::at(github::START), gitlab: Paths::at(gitlab::START) }
    }
}

impl LogState {
    /// Returns the state after text that is not scanned.
    pub fn after(ours: &[u8]) -> LogState {
        let github = if ours.ends_with(b"\n") { github::START } else { github::OTHER };
        LogState { github: Paths::at(github), ..LogState::default() }
    }

    /// Whether neither a command nor a control sequence has begun.
    fn is_plain(&self, log: CiLog) -> bool {
        let is_within = |paths: Paths| [github::WORD, github::OTHER].into_iter().any(|place| paths == Paths::at(place));
        (!log.is_github || is_within(self.github)) && (!log.is_gitlab || self.gitlab == Paths::at(gitlab::START))
    }

    /// Whether a command would be complete, or begun, with this byte.
    fn is_command(&self, byte: u8, log: CiLog) -> bool {
        (log.is_github && github::is_command(self.github.text(), byte))
            || (log.is_gitlab && gitlab::is_command(self.gitlab.text(), byte))
    }

    fn pass(&mut self, byte: u8, log: CiLog) {
        if log.is_github {
            self.github.pass(byte, github::START, |places, byte| github::advance(places, byte, log.is_json));
        }
        if log.is_gitlab {
            self.gitlab.pass(byte, gitlab::START, gitlab::advance);
        }
    }
}

/// The commands of GitHub's runner.
mod github {
    use super::Places;

    /// Nothing but blanks since the line began, which the runner trims.
    pub const START: Places = 1;
    /// After a letter or digit.
    pub const WORD: Places = 1 << 1;
    /// After any other character.
    pub const OTHER: Places = 1 << 2;
    /// After one `#`, or two and more.
    const HASH: Places = 1 << 3;
    const HASHES: Places = 1 << 4;
    /// After a colon at the start of a line.
    const LEADING_COLON: Places = 1 << 5;
    /// After a colon within a line that does not follow a letter or digit, or two and more.
    const COLON: Places = 1 << 6;
    const COLONS: Places = 1 << 7;

    /// Whether a command would be complete, or begun, with this byte.
    pub fn is_command(places: Places, byte: u8) -> bool {
        let dangerous = match byte {
            b'[' => HASHES,
            b':' => LEADING_COLON,
            byte if byte.is_ascii_alphabetic() => COLONS,
            _ => 0,
        };
        places & dangerous != 0
    }

    /// Returns the places after a printable ASCII character.
    pub fn advance(places: Places, byte: u8, is_json: bool) -> Places {
        let from = |before: Places, after: Places| if places & before == 0 { 0 } else { after };
        match byte {
            b' ' => (places & START) | from(!START, OTHER),
            b'#' => from(HASH | HASHES, HASHES) | from(!(HASH | HASHES), HASH),
            b':' => {
                from(START, LEADING_COLON)
                    | from(WORD, OTHER)
                    | from(OTHER | HASH | HASHES, COLON)
                    | from(LEADING_COLON | COLON | COLONS, COLONS)
            }
            // In JSON it costs nothing to be wrong.
            byte if !is_json && (byte.is_ascii_alphanumeric() || byte == b'_') => from(!0, WORD),
            _ => from(!0, OTHER),
        }
    }
}

/// The markers of GitLab's sections.
mod gitlab {
    use super::Places;

    /// What precedes the colon of the markers, and the bit of the first place in it.
    const WORDS: [(&[u8], u32); 2] = [(b"section_start", 0), (b"section_end", 16)];
    /// A marker may begin anywhere.
    pub const START: Places = 1 << WORDS[0].1 | 1 << WORDS[1].1;

    /// Whether a marker would be complete with this byte.
    pub fn is_command(places: Places, byte: u8) -> bool {
        byte == b':' && WORDS.iter().any(|(word, first)| places >> first >> word.len() & 1 == 1)
    }

    /// Returns the places after a printable ASCII character.
    pub fn advance(places: Places, byte: u8) -> Places {
        let goes_on = |word: &[u8], first: u32| {
            let matching = word.iter().enumerate().filter(|(_, letter)| **letter == byte);
            matching.fold(0, |places, (place, _)| places | 1 << place << first)
        };
        let matching = WORDS.iter().fold(0, |places, (word, first)| places | goes_on(word, *first));
        (places & matching) << 1 | START
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::sanitize::is_harmful;

    fn log(name: &'static str, is_json: bool) -> CiLog {
        CiLog::new(None, is_json, &move |variable| variable == name)
    }

    /// Returns what is written of `text`, and checks that it is the same however it is cut.
    fn written(log: CiLog, text: &str) -> String {
        let whole = String::from_utf8(log.harmless(text.as_bytes()).into_owned()).expect("text");
        for cut in 0..=text.len() {
            let (mut state, mut harmless) = (LogState::default(), Vec::new());
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                log.append(piece, &mut [&mut state], &mut harmless);
            }
            assert_eq!(String::from_utf8_lossy(&harmless), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn github_finds_no_command() {
        for (text, expected) in [
            ("##[add-mask]x", "## [add-mask]x"),
            ("web1: ##[set-output name=a]b ##[error]\n", "web1: ## [set-output name=a]b ## [error]\n"),
            ("####[x]#[", "#### [x]#["),
            ("#\u{200b}#\u{0}[group]", "#\u{200b}#\u{0} [group]"),
            ("::error::x", ": :error::x"),
            (" \t\u{a0}\u{feff}::error file=a::x\n", " \t\u{a0}\u{feff}: :error file=a::x\n"),
            (":\u{200d}:error::", ":\u{200d} :error::"),
            (":::error::x", ": :: error::x"),
            ("10%\r::stop-commands::x", "10%\r: :stop-commands::x"),
            ("web1: ::error::x", "web1: :: error::x"),
            ("web1 ::: set", "web1 ::: set"),
            ("web1: \":::set-env name=x::y\"", "web1: \"::: set-env name=x::y\""),
            ("\x1b[31m::error::x", "\x1b[31m: :error::x"),
            ("\x1b[31mweb1: \x1b[39m::error::x", "\x1b[31mweb1: \x1b[39m:: error::x"),
        ] {
            assert_eq!(written(log("GITHUB_ACTIONS", false), text), expected);
        }
        for harmless in [
            "fe80::a [::1]:22 x ::1\n",
            "std::vec::Vec a::b\n",
            "# # [x] ## [y] #[z] ## h\n",
            "a: b, c:d:e\n",
            "##\n[x]:\n:x",
            "## \x1b[1mx",
        ] {
            assert_eq!(written(log("GITHUB_ACTIONS", false), harmless), harmless);
        }
    }

    #[test]
    fn gitlab_finds_no_marker() {
        for (text, expected) in [
            ("\x1b[0Ksection_end:1:x\r\x1b[0K", "\x1b[0Ksection_end :1:x\r\x1b[0K"),
            ("web1: section_section_start:1:x[collapsed=true]\r", "web1: section_section_start :1:x[collapsed=true]\r"),
            ("section_stop:1 section_end ::x ##[x]", "section_stop:1 section_end ::x ##[x]"),
        ] {
            assert_eq!(written(log("GITLAB_CI", false), text), expected);
        }
    }

    /// Returns a text without what a reader of a log may remove.
    type LineReader = fn(&str) -> String;

    /// Removes characters without width, and those that do not belong to a line.
    fn without_widthless(text: &str) -> String {
        text.chars().filter(|c| !is_harmful(*c) && *c != char::REPLACEMENT_CHARACTER).collect()
    }

    /// Removes sequences that begin with ESC, or with an 8-bit control character; `length` finds their length.
    fn without(text: &str, length: impl Fn(char, &[char]) -> Option<usize>) -> String {
        let chars: Vec<char> = text.chars().collect();
        let (mut kept, mut at) = (String::new(), 0);
        while at < chars.len() {
            let (introducer, skipped) = match (chars[at], chars.get(at + 1)) {
                ('\x1b', Some(second)) => (Some(*second), 2),
                (c @ '\u{80}'..='\u{9f}', _) => (char::from_u32(c as u32 - 0x40), 1),
                _ => (None, 0),
            };
            match introducer.and_then(|introducer| length(introducer, &chars[at + skipped..])) {
                Some(length) => at += skipped + length,
                None => {
                    kept.push(chars[at]);
                    at += 1;
                }
            }
        }
        without_widthless(&kept)
    }

    /// Returns the length of `ESC [ ...` after these two: parameters, with control characters among them, and a final character.
    fn control(introducer: char, rest: &[char]) -> Option<usize> {
        let is_inner = |c: &char| matches!(c, ' '..='?') || (c.is_control() && *c != '\x1b');
        let end = rest.iter().position(|c| !is_inner(c)).filter(|_| introducer == '[')?;
        matches!(rest[end], '@'..='~').then_some(end + 1)
    }

    /// The same of any sequence of ECMA-48, and of strings up to their terminator.
    fn sequence(introducer: char, rest: &[char]) -> Option<usize> {
        match introducer {
            '[' => control(introducer, rest),
            ']' | 'P' | 'X' | '^' | '_' => {
                let end = rest.iter().position(|c| matches!(c, '\x07' | '\u{9c}' | '\x1b'))?;
                Some(end + if rest[end] == '\x1b' { 2.min(rest.len() - end) } else { 1 })
            }
            // Another ESC does not end it, but begins another one.
            ' '..='/' => {
                let end = rest.iter().position(|c| !matches!(c, ' '..='/')).filter(|end| rest[*end] != '\x1b')?;
                Some(end + 1)
            }
            _ => Some(0),
        }
    }

    fn colour(introducer: char, rest: &[char]) -> Option<usize> {
        let end = rest.iter().position(|c| !matches!(c, '0'..='9' | ';')).filter(|_| introducer == '[')?;
        rest[end].is_ascii_alphabetic().then_some(end + 1)
    }

    const READERS: [LineReader; 6] = [
        |text| text.to_owned(),
        without_widthless,
        |text| without(text, control),
        |text| without(text, sequence),
        |text| without(text, colour),
        |text| without(text, |_, _| Some(0)),
    ];

    /// Pieces of commands, and of text between them.
    const PIECES: [&[u8]; 33] = [
        b"#",
        b"#",
        b"[",
        b"[",
        b":",
        b":",
        b"##[",
        b"::",
        b"section_",
        b"start",
        b"end",
        b"\x1b",
        b"\x1b[",
        b"\x1b]",
        b"\x1b(",
        b"\x1b\\",
        b"\x07",
        b"\x9b",
        "\u{9b}".as_bytes(),
        "\u{9d}".as_bytes(),
        "\u{9c}".as_bytes(),
        b"\0",
        "\u{200b}".as_bytes(),
        "\u{2028}".as_bytes(),
        "\u{a0}".as_bytes(),
        "\u{e9}".as_bytes(),
        b"\r",
        b"\n",
        b" ",
        b"m",
        b"0",
        b";",
        b"?",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        #[test]
        fn no_way_to_read_it_finds_a_command(
            pieces in prop::collection::vec((prop::sample::select(&PIECES[..]), any::<bool>()), 0..14),
            name in prop::sample::select(&["GITHUB_ACTIONS", "GITLAB_CI"][..]),
        ) {
            let log = CiLog::new(None, false, &|variable| variable == name);
            let (mut state, mut shown, mut chunk) = (LogState::default(), Vec::new(), Vec::new());
            for (piece, is_end) in &pieces {
                chunk.extend_from_slice(piece);
                if *is_end {
                    log.append(&std::mem::take(&mut chunk), &mut [&mut state], &mut shown);
                }
            }
            log.append(&chunk, &mut [&mut state], &mut shown);
            let latin: String = shown.iter().map(|byte| char::from(*byte)).collect();
            for text in [String::from_utf8_lossy(&shown).into_owned(), latin] {
                let lines = text.split('\n').flat_map(|line| std::iter::once(line).chain(line.split('\r')));
                for (line, reader) in lines.flat_map(|line| READERS.iter().map(move |reader| (line, reader))) {
                    let read = reader(line);
                    let is_command = match name {
                        "GITHUB_ACTIONS" => read.contains("##[") || read.trim_start().starts_with("::"),
                        _ => read.contains("section_start:") || read.contains("section_end:"),
                    };
                    prop_assert!(!is_command, "{line:?} reads {read:?}");
                }
            }
        }
    }

    #[test]
    fn control_sequences_hide_no_command() {
        for (text, expected) in [
            ("\x1b[##[add-mask]x", "\x1b[## [add-mask]x"),
            ("\x1b[0;##[error]y", "\x1b[0;## [error]y"),
            ("\x1b[?##[group]g", "\x1b[?## [group]g"),
            ("\x1b]##[error]x", "\x1b]## [error]x"),
            ("#\x1b#[add-mask]x", "#\x1b# [add-mask]x"),
            ("##\x1b[error]x", "##\x1b  [error]x"),
            ("#\x1b[m#\x1b[1m[error]m", "#\x1b[m#\x1b  [1m[error]m"),
            ("##\x1b]0;t\x07[error]", "##\x1b]0;t\x07 [error]"),
            (":\x1b:error::x", ":\x1b  :error::x"),
            ("\x1b]0;t\x07::error::x", "\x1b]0;t\x07: :error::x"),
            ("x\u{2028}::error::x", "x\u{2028}: :error::x"),
        ] {
            assert_eq!(written(log("GITHUB_ACTIONS", false), text), expected);
        }
        for (text, expected) in [
            ("section_\x1b[mstart:1:x\r\x1b[0K", "section_\x1b[mstart :1:x\r\x1b[0K"),
            ("section\0_end\u{200b}:1:x\r\x1b[0K", "section\0_end\u{200b} :1:x\r\x1b[0K"),
        ] {
            assert_eq!(written(log("GITLAB_CI", false), text), expected);
        }
        // A coloured prompt is not a command.
        let prompt = "\x1b[1m#\x1b[0m \x1b[1;32m##\x1b[0m [x] \u{e9}: a::b\n";
        assert_eq!(written(log("GITHUB_ACTIONS", false), "\x1b[1m#\x1b[0m a::b [x]\n"), "\x1b[1m#\x1b[0m a::b [x]\n");
        assert_eq!(written(log("GITLAB_CI", false), prompt), prompt);
    }

    #[test]
    fn json_keeps_its_values() {
        for (name, value) in [
            ("GITHUB_ACTIONS", "##[add-mask]x ::error::y \u{e9}::warning::z\n::notice::"),
            ("GITLAB_CI", "\x1b[0Ksection_start:1:x\r\x1b[0K"),
        ] {
            let line = format!("{{\"text\":{}}}\n", serde_json::to_string(value).expect("JSON"));
            let written = written(log(name, true), &line);
            let commands = match name {
                "GITHUB_ACTIONS" => ["##[", " ::e", "\u{e9}::w", "\\n::n"],
                _ => ["section_start:"; 4],
            };
            for command in commands {
                assert!(line.contains(command) && !written.contains(command), "{written}");
            }
            let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
            assert_eq!(read["text"], value);
        }
    }

    #[test]
    fn outside_of_ci_nothing_is_changed() {
        let text = "##[error]::error::section_end:1";
        assert_eq!(written(log("CI", false), text), text);
        let wanted = CiLog::new(Some(CiGroups::Gitlab), false, &|_| false);
        assert_eq!(written(wanted, text), "##[error]::error::section_end :1");
        assert!(!CiLog::new(Some(CiGroups::Auto), false, &|_| false).is_there());
    }

    #[test]
    fn two_streams_may_end_up_in_one_log() {
        let log = log("GITHUB_ACTIONS", false);
        let (mut stdout, mut stderr, mut both) = (LogState::default(), LogState::default(), LogState::default());
        let mut shown = Vec::new();
        log.append(b"x ##", &mut [&mut stdout, &mut both], &mut shown);
        log.append(b"[error] ##", &mut [&mut stderr, &mut both], &mut shown);
        log.append(b"\n", &mut [&mut stderr, &mut both], &mut shown);
        log.append(b"[error]", &mut [&mut stdout, &mut both], &mut shown);
        assert_eq!(String::from_utf8_lossy(&shown), "x ## [error] ##\n [error]");
    }
}
