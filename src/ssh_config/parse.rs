//! Parses files to blocks of lines, with all includes.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files;
use super::keywords::{self, Action};
use super::line::{self, Scanner, Sort, Statement, Words, Wrong};
use super::pattern::{HostPatterns, PatternList};
use super::{ConfigError, Local, Note, Origin};
use crate::system::files::bounded;
use crate::system::files::trusted_file;
use crate::system::files::unread::is_unread;

/// OpenSSH's READCONF_MAX_DEPTH.
const MAX_DEPTH: usize = 16;
/// The most files of one configuration.
const MOST_FILES: usize = 10_000;

/// A file: the part before its first Host or Match, then a block for each of them.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) blocks: Vec<Block>,
}

/// Lines under one condition.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) condition: Condition,
    pub(super) lines: Vec<Line>,
    /// Whether some of the lines count even if the condition doesn't hold: unknown keywords.
    pub(super) always: bool,
    pub(super) origin: Origin,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) action: LineAction,
    pub(super) origin: Origin,
}

#[derive(Debug)]
pub(super) enum LineAction {
    Plain(Action),
    Include(Vec<File>),
    /// Only ssh knows the effect of the line.
    Foreign(&'static str),
    /// Its values contain bytes that are not UTF-8: an error where it applies.
    NotText {
        /// The first of them, in bytes from 0.
        column: usize,
    },
}

impl File {
    /// Adds the effect of a line to the last block.
    fn add(&mut self, action: LineAction, origin: &Origin) {
        let Some(block) = self.blocks.last_mut() else { return };
        block.always |= match &action {
            LineAction::Plain(action) => matches!(action, Action::Unknown(_)),
            LineAction::Include(files) => files.iter().flat_map(|file| &file.blocks).any(|block| block.always),
            LineAction::Foreign(_) | LineAction::NotText { .. } => false,
        };
        block.lines.push(Line { action, origin: origin.clone() });
    }
}

/// When a block applies.
#[derive(Debug)]
pub(super) enum Condition {
    /// When the including line applies.
    Inherited,
    Host(HostPatterns),
    /// All of them.
    Match(Vec<Criterion>),
}

#[derive(Debug)]
pub(super) struct Criterion {
    pub(super) negated: bool,
    pub(super) test: Test,
}

#[derive(Debug)]
pub(super) enum Test {
    All,
    /// `final`, and `canonical`, which is the same thing.
    Final,
    Host(PatternList),
    OriginalHost(PatternList),
    User(PatternList),
    LocalUser(PatternList),
    /// Only ssh can tell; this is its name.
    Foreign(&'static str),
    /// Even `ssh -G` can't tell, as it doesn't know the command.
    Unknowable(&'static str),
}

/// The rules for a file.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Whether it is the user's: its includes are then relative to `~/.ssh`.
    pub(super) user: bool,
    /// Whether owner and mode matter.
    pub(super) guarded: bool,
    /// Its depth of inclusion.
    pub(super) depth: usize,
}

/// Reads files, and collects what concerns all of them.
pub(super) struct Loader<'a> {
    pub(super) local: &'a Local,
    pub(super) notes: Vec<Note>,
    /// Whether any Match line says `final`: ssh then goes through all files twice.
    pub(super) wants_final: bool,
    /// How many files were read, and their bytes: files that include one another several times multiply.
    files: usize,
    bytes: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(local: &'a Local) -> Loader<'a> {
        Loader { local, notes: Vec::new(), wants_final: false, files: 0, bytes: 0 }
    }
}

impl Loader<'_> {
    /// Reads a file; the outer error is that it can't be opened.
    pub(super) fn file(&mut self, path: &Path, rules: Rules) -> io::Result<Result<File, ConfigError>> {
        let file = bounded::open(path)?;
        let about = file.metadata()?;
        if rules.guarded
            && let Err(untrusted) = trusted_file::check_open(&file, &about, self.local.uid)
        {
            let (path, reason) = (path.to_owned(), untrusted.to_string());
            return Ok(Err(ConfigError::File { path, reason, is_unread: false }));
        }
        let unusable = |reason| Ok(Err(ConfigError::File { path: path.to_owned(), reason, is_unread: false }));
        self.files += 1;
        if self.files > MOST_FILES {
            return unusable(format!("with this line, Include matches more than {MOST_FILES} files"));
        }
        let text = match bounded::read_rest(&file, bounded::SSH_CONFIG) {
            // To ssh, a directory is a file without lines.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Vec::new(),
            Err(error) => {
                let (path, reason) = (path.to_owned(), crate::text::message::reason(&error));
                return Ok(Err(ConfigError::File { path, reason, is_unread: is_unread(&error) }));
            }
            Ok(text) => text,
        };
        self.bytes += text.len() as u64;
        if self.bytes > bounded::SSH_CONFIG {
            let most = bounded::SSH_CONFIG >> 20;
            return unusable(format!("with this line, the included files have more than {most} MiB"));
        }
        Ok(self.parse(&text, &path.into(), rules))
    }

    /// Parses the text of a file.
    pub(super) fn parse(&mut self, text: &[u8], path: &Arc<Path>, rules: Rules) -> Result<File, ConfigError> {
        let start = Origin::Line { file: path.clone(), line: 0 };
        let mut file = File { blocks: vec![Block::new(Condition::Inherited, start)] };
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let origin = Origin::Line { file: path.clone(), line: number };
            self.line(line, &origin, &mut file, rules)?;
        }
        Ok(file)
    }

    fn line(&mut self, line: &[u8], origin: &Origin, file: &mut File, rules: Rules) -> Result<(), ConfigError> {
        if line.trim_ascii_start().first() == Some(&b'#') {
            return Ok(());
        }
        let at = |wrong: Wrong| ConfigError::at(origin, wrong);
        let text = text(line).map_err(at)?;
        let statement = match line::sort(&text.words).map_err(at)? {
            Sort::Blank => return Ok(()),
            Sort::Unclosed => {
                self.note(origin, "a quote isn't closed: ssh ignores this line".to_owned());
                return Ok(());
            }
            Sort::Statement(statement) => statement,
        };
        let condition = match statement.keyword.as_str() {
            "match" | "include" if text.bad.is_some() => return Err(at(not_text(text.bad.unwrap_or_default()))),
            // No valid host name matches patterns with such bytes.
            "host" => Condition::Host(host(&statement, self.local).map_err(at)?),
            "match" => Condition::Match(self.criteria(&statement).map_err(at)?),
            keyword if text.bad.is_some() && keywords::all().any(|known| known == keyword) => {
                let column = text.bad.unwrap_or_default();
                file.add(LineAction::NotText { column }, origin);
                return Ok(());
            }
            _ => return self.plain(&statement, origin, file, rules),
        };
        file.blocks.push(Block::new(condition, origin.clone()));
        Ok(())
    }

    fn plain(
        &mut self,
        statement: &Statement<'_>,
        origin: &Origin,
        file: &mut File,
        rules: Rules,
    ) -> Result<(), ConfigError> {
        let actions = if statement.keyword == "include" {
            self.include(statement, origin, rules)?
        } else {
            let reading = keywords::read(statement, self.local).map_err(|wrong| ConfigError::at(origin, wrong))?;
            if let Some(note) = reading.note {
                self.note(origin, note);
            }
            reading.actions.into_iter().map(LineAction::Plain).collect()
        };
        actions.into_iter().for_each(|action| file.add(action, origin));
        Ok(())
    }

    fn note(&mut self, origin: &Origin, text: String) {
        self.notes.push(Note { origin: origin.clone(), text });
    }

    /// Reads the files of an Include, here and now.
    fn include(
        &mut self,
        statement: &Statement<'_>,
        origin: &Origin,
        rules: Rules,
    ) -> Result<Vec<LineAction>, ConfigError> {
        let at = |wrong: Wrong| ConfigError::at(origin, wrong);
        let mut words = Words::new(statement, self.local).map_err(at)?;
        let mut actions = Vec::new();
        while let Some(word) = words.next() {
            let wrong = |reason: &str| at(words.wrong(format!("include: {reason}")));
            if word.is_empty() {
                return Err(wrong("its argument is missing"));
            } else if word.contains('%') || word.contains("${") {
                // OpenSSH 10 expands these, 9.2 takes them for part of the name.
                actions.push(LineAction::Foreign("Include with tokens or variables"));
                continue;
            }
            let pattern = self.anchored(&word, rules).map_err(wrong)?;
            let mut files = Vec::new();
            for path in files::glob(&pattern).map_err(wrong)? {
                files.extend(self.included(&path, origin, rules)?);
            }
            if !files.is_empty() {
                actions.push(LineAction::Include(files));
            }
        }
        Ok(actions)
    }

    /// Returns an absolute path. Relative ones are in `~/.ssh` or `/etc/ssh`; `~` is as in glob(3): `$HOME` comes
    /// first.
    pub(super) fn anchored(&self, path: &str, rules: Rules) -> Result<String, &'static str> {
        if path.starts_with('~') && !rules.user {
            return Err("a system-wide file can't include a path in ~");
        }
        let path = match rules.user {
            _ if path.starts_with(['/', '~']) => path.to_owned(),
            true => format!("~/.ssh/{path}"),
            false => format!("/etc/ssh/{path}"),
        };
        let Some(after) = path.strip_prefix('~') else { return Ok(path) };
        let (user, rest) = after.find('/').map_or((after, ""), |slash| after.split_at(slash));
        let home = match user {
            "" => (self.local.variable)("HOME").filter(|home| !home.is_empty()).or(Some(self.local.home.clone())),
            _ => (self.local.home_of)(user),
        };
        Ok(home.map_or(path.clone(), |home| format!("{}{rest}", escaped(&home))))
    }

    fn included(&mut self, path: &Path, origin: &Origin, rules: Rules) -> Result<Option<File>, ConfigError> {
        let wrong = |reason| ConfigError::at(origin, Wrong { column: 0, reason });
        if rules.depth >= MAX_DEPTH {
            return Err(wrong(format!("include: {} is more than {MAX_DEPTH} files deep", path.display())));
        }
        match self.file(path, Rules { guarded: true, depth: rules.depth + 1, ..rules }) {
            Ok(file) => file.map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(format!("include: {}: {}", path.display(), crate::text::message::reason(&error)))),
        }
    }

    /// The criteria of a Match line (`match_cfg_line` in readconf.c).
    fn criteria(&mut self, statement: &Statement<'_>) -> Result<Vec<Criterion>, Wrong> {
        // Quotes must be closed here as on any line.
        Words::new(statement, self.local)?;
        let wrong = |reason: String| Wrong { column: statement.column, reason: format!("match: {reason}") };
        let (text, ambiguous) = unambiguous(statement.rest);
        let mut scanner = Scanner::new(text);
        let mut criteria: Vec<Criterion> = Vec::new();
        while let Some(token) = scanner.token().filter(|token| !token.is_empty()) {
            if token.starts_with('#') {
                return some(criteria).map_err(wrong);
            }
            let (negated, name) = token.strip_prefix('!').map_or((false, &*token), |name| (true, name));
            let name = name.to_ascii_lowercase();
            let test = match name.as_str() {
                "all" if criteria.len() > 1 || argument(&mut scanner).is_some() => {
                    return Err(wrong("all must be alone".to_owned()));
                }
                "all" => Test::All,
                "canonical" | "final" => Test::Final,
                _ => match argument(&mut scanner) {
                    Some(argument) => {
                        test(&name, &argument).ok_or_else(|| wrong(format!("{name:?} is not a criterion")))?
                    }
                    None if ambiguous => break,
                    None => return Err(wrong(format!("{name} needs an argument"))),
                },
            };
            self.wants_final |= name == "final";
            criteria.push(Criterion { negated, test });
            if name == "all" {
                return Ok(criteria);
            }
        }
        if ambiguous {
            criteria.push(Criterion { negated: false, test: Test::Foreign("Match with ' or \\") });
        } else if scanner.rest().is_some() {
            return Err(wrong("an argument is empty".to_owned()));
        }
        some(criteria).map_err(wrong)
    }
}

/// Returns the argument of a criterion.
fn argument(scanner: &mut Scanner<'_>) -> Option<String> {
    let argument = scanner.token().filter(|argument| !argument.is_empty() && !argument.starts_with('#'));
    argument.map(|argument| argument.into_owned())
}

fn some(criteria: Vec<Criterion>) -> Result<Vec<Criterion>, String> {
    if criteria.is_empty() { Err("it has no criterion".to_owned()) } else { Ok(criteria) }
}

/// Returns the part of a Match line that all versions of ssh parse alike, and whether there is more: up to OpenSSH 9 a
/// backslash and a single quote are ordinary characters, since 10 they are special as in other lines.
fn unambiguous(text: &str) -> (&str, bool) {
    let mut quoted = false;
    for (at, char) in text.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '#' if !quoted && (at == 0 || text[..at].ends_with([' ', '\t'])) => break,
            '\\' | '\'' if char == '\\' || !quoted => {
                let start_of_token = text[..at].rfind([' ', '\t', '=']).map_or(0, |blank| blank + 1);
                return (&text[..start_of_token], true);
            }
            _ => {}
        }
    }
    (text, false)
}

fn test(name: &str, argument: &str) -> Option<Test> {
    Some(match name {
        "host" => Test::Host(PatternList::new(argument, true)),
        "originalhost" => Test::OriginalHost(PatternList::new(argument, true)),
        "user" => Test::User(PatternList::new(argument, false)),
        "localuser" => Test::LocalUser(PatternList::new(argument, false)),
        "exec" => Test::Foreign("Match exec"),
        "localnetwork" => Test::Foreign("Match localnetwork"),
        "tagged" => Test::Foreign("Match tagged"),
        "version" => Test::Foreign("Match version"),
        "command" => Test::Unknowable("Match command"),
        "sessiontype" => Test::Unknowable("Match sessiontype"),
        _ => return None,
    })
}

impl Block {
    fn new(condition: Condition, origin: Origin) -> Block {
        Block { condition, lines: Vec::new(), always: false, origin }
    }
}

fn host(statement: &Statement<'_>, local: &Local) -> Result<HostPatterns, Wrong> {
    let words: Vec<String> = Words::new(statement, local)?.collect();
    if words.iter().any(String::is_empty) {
        return Err(Wrong { column: statement.column, reason: "host: a pattern is empty".to_owned() });
    }
    Ok(HostPatterns::new(words.into_iter()))
}

/// Decodes the text of a line.
struct Text<'a> {
    /// With a replacement character for each byte that is not UTF-8.
    words: Cow<'a, str>,
    /// The first of those, in bytes from 0.
    bad: Option<usize>,
}

/// C ends a line at a NUL byte; here that is an error rather than a guess.
fn text(line: &[u8]) -> Result<Text<'_>, Wrong> {
    if let Some(column) = line.iter().position(|byte| *byte == 0) {
        return Err(Wrong { column, reason: "a zero byte outside of a comment".to_owned() });
    }
    let bad = str::from_utf8(line).err().map(|error| error.valid_up_to());
    Ok(Text { words: String::from_utf8_lossy(line), bad })
}

/// Returns the error for a line with invalid text at this column.
pub(super) fn not_text(column: usize) -> Wrong {
    Wrong { column, reason: "text that isn't UTF-8 outside of a comment".to_owned() }
}

/// Returns a pattern that matches only this path.
fn escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for char in path.chars() {
        if matches!(char, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}
