//! The log of a CI system: what hosts say in it is no command of the system.
//!
//! The runners of these systems look for commands in all that a job prints. A command could hide a secret of its choice from the log,
//! set an output of the job, or fake an error or a folded section. It makes no difference where a host's words stand: as a line of
//! their own, behind a prefix, in an error text or in a note. So they are changed in one place, where everything is written:
//!
//! * `##[NAME]` anywhere in a line (GitHub's old form, in which its log also marks errors and groups) becomes `## [NAME]`.
//! * `::NAME ...::` at the start of a line (GitHub's new form) becomes `: :NAME ...::`. Within a line, where no runner looks for it
//!   today, it becomes `:: NAME ...::`, unless it follows a letter or digit, as in `fe80::a` and `std::vec`.
//! * `section_start:` and `section_end:` (GitLab) get a blank before the colon.
//!
//! In JSON the same characters are written as `\u` escapes instead: its values stay what they are.
//!
//! What stands between the characters of a command, but has no width or is no text, does not count: .NET, in which GitHub's runner is
//! written, compares without it.

use std::borrow::Cow;

use super::ci::{CiGroups, System};

/// What precedes the colon of GitLab's markers.
const SECTIONS: [&[u8]; 2] = [b"section_start", b"section_end"];
/// Bytes of the longest of them.
const LONGEST: usize = 13;

/// Whether our output is in the log of a CI system, and of which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CiLog {
    is_github: bool,
    is_gitlab: bool,
    /// Standard output is JSON.
    is_json: bool,
}

impl CiLog {
    /// The log that the run is in by the environment, or as `wanted` by the user. `variable` says whether an environment variable is
    /// set to true.
    pub fn new(wanted: Option<CiGroups>, is_json: bool, variable: &dyn Fn(&str) -> bool) -> CiLog {
        let is_in = |system: System| variable(system.variable()) || wanted.and_then(CiGroups::system) == Some(system);
        CiLog { is_github: is_in(System::Github), is_gitlab: is_in(System::Gitlab), is_json }
    }

    /// The log by the environment of the process alone, for text.
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

    /// A whole text without commands.
    pub fn harmless(self, text: &[u8]) -> Cow<'_, [u8]> {
        if !self.is_there() {
            return Cow::Borrowed(text);
        }
        let mut harmless = Vec::with_capacity(text.len());
        self.append(text, &mut [&mut State::default()], &mut harmless);
        Cow::Owned(harmless)
    }

    /// Appends what follows in streams that are in these states to `harmless`.
    pub fn append(self, bytes: &[u8], states: &mut [&mut State], harmless: &mut Vec<u8>) {
        for byte in bytes {
            // All of the states have to see it.
            let is_command = states.iter_mut().map(|state| state.take(*byte, self)).filter(|found| *found).count() > 0;
            match is_command {
                false => harmless.push(*byte),
                true if self.is_json => harmless.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                true => harmless.extend_from_slice(&[b' ', *byte]),
            }
        }
    }
}

/// What a stream has had, as far as a command may have been begun in it. It does not matter how it is cut.
#[derive(Clone, Debug)]
pub struct State {
    /// Nothing but blanks since the line began.
    is_at_start: bool,
    /// The last character that counts.
    last: u8,
    begun: Begun,
    escape: Escape,
    /// The last bytes, the newest at the end.
    tail: [u8; LONGEST],
}

/// The beginning of a command of GitHub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Nothing,
    /// One `#`, or two and more.
    Hash,
    Hashes,
    /// One colon, or two and more, and whether they would be a command with any name behind them: at the start of a line.
    Colon(bool),
    /// Two colons or more behind a character that is no letter or digit.
    Colons,
}

/// A control sequence, such as a colour: `ESC [ ... m`. A prefix may end in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Within,
}

impl Default for State {
    fn default() -> State {
        State { is_at_start: true, last: 0, begun: Begun::Nothing, escape: Escape::No, tail: [0; LONGEST] }
    }
}

impl State {
    /// The state after something of ours that is not looked at.
    pub fn after(ours: &[u8]) -> State {
        State { is_at_start: ours.ends_with(b"\n"), ..State::default() }
    }

    /// Whether a command would be complete, or begun, with this byte.
    fn take(&mut self, byte: u8, log: CiLog) -> bool {
        let github = log.is_github && self.take_github(byte, log.is_json);
        let gitlab = log.is_gitlab && byte == b':' && SECTIONS.iter().any(|name| self.tail.ends_with(name));
        if log.is_gitlab {
            self.tail.rotate_left(1);
            self.tail[LONGEST - 1] = byte;
        }
        github || gitlab
    }

    fn take_github(&mut self, byte: u8, is_json: bool) -> bool {
        self.escape = match (self.escape, byte) {
            (_, b'\x1b') => Escape::Begun,
            (Escape::Begun, b'[') => Escape::Within,
            (Escape::Within, b' '..=b'?') => Escape::Within,
            (Escape::Within, b'@'..=b'~') => {
                self.escape = Escape::No;
                return false;
            }
            _ => Escape::No,
        };
        if self.escape != Escape::No {
            self.begun = Begun::Nothing;
            return false;
        }
        let begun = std::mem::replace(&mut self.begun, Begun::Nothing);
        let mut is_command = false;
        match byte {
            b'\n' | b'\r' => *self = State { tail: self.tail, ..State::default() },
            // The runner trims blanks.
            b' ' => self.last = byte,
            b'!'..=b'~' => {
                // In JSON it costs nothing to be wrong.
                let is_after_word = !is_json && (self.last.is_ascii_alphanumeric() || self.last == b'_');
                (self.begun, is_command) = match (byte, begun) {
                    (b'#', Begun::Hash | Begun::Hashes) => (Begun::Hashes, false),
                    (b'#', _) => (Begun::Hash, false),
                    (b'[', Begun::Hashes) => (Begun::Nothing, true),
                    // What is written is `: :`.
                    (b':', Begun::Colon(true)) => (Begun::Colon(true), true),
                    (b':', Begun::Colon(false) | Begun::Colons) => (Begun::Colons, false),
                    (b':', _) if is_after_word => (Begun::Nothing, false),
                    (b':', _) => (Begun::Colon(self.is_at_start), false),
                    (_, Begun::Colons) => (Begun::Nothing, byte.is_ascii_alphabetic()),
                    _ => (Begun::Nothing, false),
                };
                (self.is_at_start, self.last) = (false, byte);
            }
            // No text, or of no width for all that is known here.
            _ => self.begun = begun,
        }
        is_command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &'static str, is_json: bool) -> CiLog {
        CiLog::new(None, is_json, &move |variable| variable == name)
    }

    /// What is written of `text`, which has to be the same however it is cut.
    fn written(log: CiLog, text: &str) -> String {
        let whole = String::from_utf8(log.harmless(text.as_bytes()).into_owned()).expect("text");
        for cut in 0..=text.len() {
            let (mut state, mut harmless) = (State::default(), Vec::new());
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
            (":::error::x", ": : :error::x"),
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
        let (mut stdout, mut stderr, mut both) = (State::default(), State::default(), State::default());
        let mut shown = Vec::new();
        log.append(b"x ##", &mut [&mut stdout, &mut both], &mut shown);
        log.append(b"[error] ##", &mut [&mut stderr, &mut both], &mut shown);
        log.append(b"\n", &mut [&mut stderr, &mut both], &mut shown);
        log.append(b"[error]", &mut [&mut stdout, &mut both], &mut shown);
        assert_eq!(String::from_utf8_lossy(&shown), "x ## [error] ##\n [error]");
    }
}
