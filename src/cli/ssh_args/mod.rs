//! ssh's own options (`-x`, `-X`, and `-S` of prsync). No ssh runs, so they are translated to options of ssh_config(5), or refused by name
//! with the reason. None is silently ignored.

mod letters;
pub mod split;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::copy::Protocol;
use crate::hosts;
use crate::plan::settings::{SshArgs, SshOption};
use crate::ssh_config::is_keyword;
use letters::{Meaning, meaning};

/// The tool of the options; the letters of the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// ssh(1), for commands.
    Ssh,
    /// scp(1), for files.
    Scp,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Ssh => "ssh",
            Tool::Scp => "scp",
        }
    }
}

/// A word for ssh, and the option that it comes from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: OsString,
    /// `-x`, `-X` or `-S`.
    pub option: &'static str,
}

/// The reason why an option of ssh is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} {word:?}: {problem}")]
pub struct SshArgsError {
    /// `-x`, `-X` or `-S`.
    pub option: &'static str,
    /// The wrong word.
    pub word: OsString,
    /// The problem, and what to use instead.
    pub problem: String,
}

/// Reads the words for `tool`, in the order of the command line. `follows` names the words after all options in messages.
///
/// # Errors
/// A word is not an option, or the option is unknown or not supported.
pub fn understand(tool: Tool, follows: &'static str, words: &[Word]) -> Result<SshArgs, SshArgsError> {
    let mut reader = SshArgsReader { tool, follows, said: SshArgs::default(), terminal: None, last: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bytes = word.text.as_bytes();
        if bytes == b"--" {
            return match words.next() {
                None => Ok(reader.finish()),
                Some(word) => Err(reader.no_option(word)),
            };
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            return Err(reader.no_option(word));
        }
        // Like getopt(3): letters in one word, of which the first with a value takes the rest of it, or else the next word.
        let mut letters = bytes[1..].iter().enumerate();
        while let Some((place, letter)) = letters.next() {
            let Some(meaning) = meaning(tool, *letter) else { return Err(reader.unknown(word, *letter)) };
            if !meaning.takes_value() {
                reader.take(word, *letter, meaning, OsStr::new(""))?;
                continue;
            }
            let rest = &bytes[place + 2..];
            let value = match rest {
                [] => words.next().map(|word| word.text.as_os_str()),
                rest => Some(OsStr::from_bytes(rest)),
            };
            // A refused option needs no value.
            let value = match (value, meaning) {
                (Some(value), _) => value,
                (None, Meaning::Refused { .. }) => OsStr::new(""),
                (None, _) => return Err(wrong(word, format!("-{} needs a value", char::from(*letter)))),
            };
            reader.take(word, *letter, meaning, value)?;
            letters = [].iter().enumerate();
        }
    }
    Ok(reader.finish())
}

/// Returns the tip for a letter of `tool` that was given directly; `None` if the tool has no such letter.
pub fn advice(tool: Tool, letter: u8) -> Option<String> {
    let (name, shown) = (tool.name(), char::from(letter));
    let meaning = meaning(tool, letter)?;
    Some(match meaning {
        Meaning::Refused { reason, .. } | Meaning::OnlyNone(reason) => reason.to_owned(),
        Meaning::Nothing | Meaning::NothingOf => format!("{name}'s -{shown} has no effect here"),
        _ if meaning.takes_value() => format!("for an option of {name} use -x: -x '-{shown} VALUE'"),
        _ => format!("for an option of {name} use -x: -x -{shown}"),
    })
}

fn wrong(word: &Word, problem: String) -> SshArgsError {
    SshArgsError { option: word.option, word: word.text.clone(), problem }
}

struct SshArgsReader {
    tool: Tool,
    /// The name of the words after all options.
    follows: &'static str,
    said: SshArgs,
    terminal: Option<Terminal>,
    /// The last option of `-o`; the next word may belong to it.
    last: Option<String>,
}

/// The result of `-t` and `-T`, with the words of the last one.
struct Terminal {
    value: &'static str,
    name: String,
}

impl SshArgsReader {
    fn take(&mut self, word: &Word, letter: u8, meaning: Meaning, value: &OsStr) -> Result<(), SshArgsError> {
        let shown = format!("-{}", char::from(letter));
        if let Meaning::Refused { reason, .. } = meaning {
            let problem = format!("{}'s {shown}: {reason}", self.tool.name());
            return Err(wrong(word, own_option(letter, value).unwrap_or(problem)));
        }
        if let Meaning::OnlyNone(reason) = meaning {
            return match value.eq_ignore_ascii_case("none") {
                true => Ok(()),
                false => Err(wrong(word, format!("{}'s {shown}: {reason}", self.tool.name()))),
            };
        }
        if let Meaning::ConfigFile = meaning {
            self.said.config_file = Some(value.to_owned());
            return Ok(());
        }
        let Some(value) = value.to_str() else { return Err(wrong(word, format!("{value:?} is not UTF-8 text"))) };
        let name = if value.is_empty() { shown } else { format!("{shown} {value}") };
        let name = format!("{} {name}", word.option);
        let said = &mut self.said;
        match meaning {
            Meaning::Nothing | Meaning::NothingOf | Meaning::ConfigFile => {}
            Meaning::Refused { .. } | Meaning::OnlyNone(_) => {}
            Meaning::Flag(text) => put(&mut said.flags, SshOption { text: text.to_owned(), name }),
            Meaning::Last(keyword) => put(&mut said.flags, SshOption { text: with_value(keyword, value), name }),
            Meaning::User => {
                hosts::check_login(value).map_err(|problem| wrong(word, format!("{value:?}: {problem}")))?;
                said.options.push(SshOption { text: with_value("User", value), name });
            }
            Meaning::First(keyword) => said.options.push(SshOption { text: with_value(keyword, value), name }),
            Meaning::Batch => said.options.push(SshOption { text: "BatchMode=yes".to_owned(), name }),
            // The last one counts for scp.
            Meaning::Port => {
                said.options.retain(|option| !option.name.starts_with(&format!("{} -P ", word.option)));
                said.options.push(SshOption { text: with_value("Port", value), name });
            }
            Meaning::Option => {
                self.last = Some(value.to_owned());
                said.options.push(SshOption { text: value.to_owned(), name });
            }
            Meaning::Jump if said.options.iter().any(|it| it.text.starts_with("ProxyJump=")) => {
                return Err(wrong(word, "-J is given twice; separate jump hosts with commas".to_owned()));
            }
            Meaning::Jump => said.options.push(SshOption { text: format!("ProxyJump={value}"), name }),
            Meaning::Verbose => {
                let level = said.flags.iter().find_map(|option| option.text.strip_prefix("LogLevel=DEBUG"));
                let level = level.and_then(|level| level.parse::<u32>().ok()).unwrap_or(0);
                put(&mut said.flags, SshOption { text: format!("LogLevel=DEBUG{}", (level + 1).min(3)), name });
            }
            Meaning::Terminal => {
                let value = match self.terminal.as_ref().map(|terminal| terminal.value) {
                    Some("yes" | "force") => "force",
                    _ => "yes",
                };
                self.terminal = Some(Terminal { value, name });
            }
            Meaning::NoTerminal => self.terminal = Some(Terminal { value: "no", name }),
            Meaning::Recursive => said.recursive = true,
            Meaning::Preserve => said.preserve = true,
            Meaning::Protocol(protocol) => said.protocol = Some(protocol),
        }
        Ok(())
    }

    fn finish(self) -> SshArgs {
        let mut said = self.said;
        if let Some(Terminal { value, name }) = self.terminal {
            said.flags.push(SshOption { text: format!("RequestTTY={value}"), name });
        }
        said
    }

    /// Refuses a word that ssh takes as a host or the command, and scp as a file.
    fn no_option(&self, word: &Word) -> SshArgsError {
        let tool = self.tool.name();
        let problem = match &self.last {
            // -x '-o StrictHostKeyChecking no'
            Some(option) if !option.contains(['=', ' ']) && is_keyword(option) => {
                let value = word.text.to_string_lossy();
                format!("not an {tool} option; did you mean -O {option}={value}?")
            }
            _ => format!(
                "not an {tool} option; to exclude hosts use --exclude; name hosts with -H and -h, and put the {} \
                 after all options",
                self.follows
            ),
        };
        wrong(word, problem)
    }

    fn unknown(&self, word: &Word, letter: u8) -> SshArgsError {
        let tool = self.tool.name();
        let problem = match letter {
            b'-' => format!("{tool} has no long options"),
            letter => format!("{tool} has no option -{}", char::from(letter).escape_default()),
        };
        wrong(word, problem)
    }
}

/// Describes pssh's own `-O` among the words for ssh, as its manual page once showed it; ssh takes it as a command to its master.
fn own_option(letter: u8, value: &OsStr) -> Option<String> {
    let value = value.to_str().filter(|_| letter == b'O')?;
    let keyword = value.split(['=', ' ']).next().filter(|keyword| is_keyword(keyword))?;
    let problem = format!("use -O directly, not as an option of ssh: -O {keyword}=...");
    Some(problem)
}

/// Adds an option and removes earlier ones for the same keyword.
fn put(options: &mut Vec<SshOption>, option: SshOption) {
    let keyword = |option: &SshOption| option.text.split('=').next().map(str::to_owned);
    options.retain(|other| keyword(other) != keyword(&option));
    options.push(option);
}

/// Makes `Keyword=value`, with the value quoted as one word.
fn with_value(keyword: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "@%+-_./:,~^*".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return format!("{keyword}={value}");
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{keyword}=\"{escaped}\"")
}
