//! What depends on the terminal, once per run: colour, the status line, and whether remote control sequences are escaped. Never
//! the content.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use super::formats::ci_groups::CiGroups;
use super::formats::ci_log::CiLog;
use crate::events::event::Stream;
use crate::plan::program::Program;

/// When to use a feature of terminals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal that supports it.
    #[default]
    Auto,
    /// On any output.
    Always,
    /// On no output.
    Never,
}

/// How one of the two local streams is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Face {
    /// Whether it is a terminal.
    pub is_terminal: bool,
    /// Whether pssh colours its own text in it.
    pub has_colour: bool,
    /// Whether remote control sequences are made visible in it.
    pub is_guarded: bool,
}

/// The colour of success and of added lines (SGR).
const GREEN: &str = "\x1b[32m";
/// The colour of failure and of removed lines.
const RED: &str = "\x1b[31m";
/// Dim, and normal intensity again.
const DIM: &str = "\x1b[2m";
const NORMAL: &str = "\x1b[22m";
/// The default colour again.
const PLAIN: &str = "\x1b[39m";

/// The colours of pssh's own lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For what counts.
    Cyan = 36,
    /// For success.
    Green = 32,
    /// For failure, and standard error.
    Red = 31,
}

impl Face {
    /// Returns `text` as pssh colours it, on the default background, where colours are on. The same bytes as pssh writes.
    pub fn tint(self, colour: Colour, text: &str) -> String {
        if !self.has_colour {
            return text.to_owned();
        }
        format!("\x1b[{}m\x1b[49m{text}\x1b[39m\x1b[49m", colour as u8)
    }

    /// Returns `text` in bold, where colours are on.
    pub fn bold(self, text: &str) -> String {
        if self.has_colour { format!("\x1b[1m{text}\x1b[22m") } else { text.to_owned() }
    }

    /// Returns the sequences before and after text in the colour of success or failure, where colours are on.
    pub fn paints(self, is_good: bool) -> (&'static str, &'static str) {
        match (self.has_colour, is_good) {
            (false, _) => ("", ""),
            (true, true) => (GREEN, PLAIN),
            (true, false) => (RED, PLAIN),
        }
    }

    /// Returns a line about a host, already sanitized: in the colour of failure, or dim for success where failures should be
    /// seen first.
    pub fn outcome(self, is_well: bool, text: &str) -> String {
        match is_well && self.has_colour {
            true => format!("{DIM}{text}{NORMAL}"),
            false => self.paint(is_well, text),
        }
    }

    /// Returns `text`, already sanitized, in the colour of success or failure, where colours are on.
    pub fn paint(self, is_good: bool, text: &str) -> String {
        let (begin, end) = self.paints(is_good);
        format!("{begin}{text}{end}")
    }
}

/// How both streams are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The program whose name pssh's own lines begin with.
    pub program: Program,
    /// Standard output and standard error, by the number of the [`Stream`].
    pub(super) faces: [Face; 2],
    /// Whether a status line is shown on standard error.
    pub has_progress: bool,
    /// The log of the CI system that both go to.
    pub log: CiLog,
}

/// The options for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StyleOptions {
    /// `--color`.
    pub color: When,
    /// `--progress`.
    pub progress: When,
    /// `--raw`: control sequences reach the terminal, and commands the log of a CI system.
    pub raw: bool,
    /// `--ci-groups`.
    pub ci: Option<CiGroups>,
    /// Whether standard output is JSON.
    pub is_json: bool,
}

impl Style {
    /// Determines the style of the process's standard output and error.
    pub fn of_process(program: Program, options: StyleOptions, variable: &dyn Fn(&str) -> Option<OsString>) -> Style {
        let terminals = [io::stdout().is_terminal(), io::stderr().is_terminal()];
        Style { program, ..Style::decide(options, variable, terminals) }
    }

    /// The option beats `NO_COLOR` (no-color.org: set and not empty), which beats `CLICOLOR_FORCE`, which beats `CLICOLOR=0`, which
    /// beats the terminal (bixense.com/clicolors). A terminal without a name (`TERM`) or a dumb one gets no colour.
    fn decide(options: StyleOptions, variable: &dyn Fn(&str) -> Option<OsString>, terminals: [bool; 2]) -> Style {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_able = set("TERM").is_some_and(|name| name != "dumb");
        let has_colour = |is_terminal: bool| match options.color {
            When::Always => true,
            When::Never => false,
            When::Auto if set("NO_COLOR").is_some() => false,
            When::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            When::Auto => is_terminal && is_able && set("CLICOLOR").is_none_or(|value| value != "0"),
        };
        let face = |is_terminal| Face {
            is_terminal,
            has_colour: has_colour(is_terminal),
            is_guarded: is_terminal && !options.raw,
        };
        let has_progress = match options.progress {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                terminals[Stream::Stderr as usize] && is_able && set("CI").is_none_or(|value| value == "false")
            }
        };
        let is_true = |name: &str| set(name).is_some_and(|value| value == "true");
        let log = if options.raw { CiLog::default() } else { CiLog::new(options.ci, options.is_json, &is_true) };
        Style { program: Program::default(), faces: terminals.map(face), has_progress, log }
    }

    /// Returns how one of the two streams is written.
    pub fn of(&self, stream: Stream) -> Face {
        self.faces[stream as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether standard output has colour and standard error progress.
    fn decide(options: StyleOptions, variables: &[(&str, &str)], terminal: bool) -> (bool, bool) {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let style = Style::decide(options, &variable, [terminal; 2]);
        (style.of(Stream::Stdout).has_colour, style.has_progress)
    }

    #[test]
    fn the_option_beats_the_environment_beats_the_terminal() {
        let auto = StyleOptions::default();
        let xterm = ("TERM", "xterm");
        assert_eq!(decide(auto, &[xterm], true), (true, true));
        assert_eq!(decide(auto, &[xterm], false), (false, false));
        assert_eq!(decide(auto, &[], true), (false, false));
        assert_eq!(decide(auto, &[("TERM", "dumb")], true), (false, false));
        assert_eq!(decide(auto, &[xterm, ("CI", "true")], true), (true, false));
        assert_eq!(decide(auto, &[xterm, ("CI", "false")], true), (true, true));
        assert_eq!(decide(auto, &[xterm, ("CLICOLOR", "0")], true), (false, true));
        assert_eq!(decide(auto, &[("CLICOLOR_FORCE", "1")], false), (true, false));
        assert_eq!(decide(auto, &[("CLICOLOR_FORCE", "0")], false), (false, false));
        assert_eq!(decide(auto, &[xterm, ("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true), (false, true));
        assert_eq!(decide(auto, &[xterm, ("NO_COLOR", "")], true), (true, true));
        let always = StyleOptions { color: When::Always, progress: When::Always, ..StyleOptions::default() };
        assert_eq!(decide(always, &[("NO_COLOR", "1"), ("CI", "1")], false), (true, true));
        let never = StyleOptions { color: When::Never, progress: When::Never, ..StyleOptions::default() };
        assert_eq!(decide(never, &[xterm, ("CLICOLOR_FORCE", "1")], true), (false, false));
    }

    #[test]
    fn only_a_terminal_is_guarded() {
        let variable = |_: &str| None;
        let style = |raw| Style::decide(StyleOptions { raw, ..StyleOptions::default() }, &variable, [true, false]);
        assert!(style(false).of(Stream::Stdout).is_guarded && !style(false).of(Stream::Stderr).is_guarded);
        assert!(!style(true).of(Stream::Stdout).is_guarded);
    }
}
