//! Completions for bash, zsh and fish, generated from the definitions of the command line. All three complete the same values; names of
//! hosts come from the program itself (`--generate hosts`).

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, ValueHint};

use crate::hosts::Shard;
use crate::journal::rerun::Set;
use crate::plan::program::Program;
use crate::plan::rolling::Order;

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash(1), from 3.2 on.
    Bash,
    /// zsh(1).
    Zsh,
    /// fish(1).
    Fish,
}

/// The kind of an option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// Not completed.
    Other,
    /// Names of hosts, separated by one of these characters.
    Hosts(&'static str),
    File,
    Directory,
    User,
    Command,
    /// One of these words.
    Words(Vec<String>),
}

/// An option.
struct Opt {
    letter: Option<char>,
    /// The long name, then its aliases; without dashes.
    longs: Vec<String>,
    help: String,
    /// `None` for a switch.
    value: Option<Value>,
    value_name: String,
    /// Whether the value is optional and follows `=`.
    is_attached: bool,
    is_repeated: bool,
    /// The options that exclude it, with dashes.
    excluded_by: Vec<String>,
}

/// The kind of the words after the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// A command and its arguments.
    Command,
    Files,
    /// Not completed.
    Other,
}

impl Words {
    fn of(program: Program) -> Words {
        match program {
            Program::Pssh => Words::Command,
            Program::Pscp | Program::Prsync => Words::Files,
            Program::Pslurp | Program::Pnuke => Words::Other,
        }
    }
}

/// Returns the separators between hosts in an option's value.
fn separators(long: &str) -> Option<&'static str> {
    Some(match long {
        "host" => " ",
        "nodes" | "only" | "exclude" => ",!&^",
        "jump" => ",",
        "proxy-host" => "",
        _ => return None,
    })
}

/// Returns the fixed words among the values of an option that reads others as well, such as numbers.
fn words(long: &str) -> Vec<String> {
    let words: Vec<&str> = match long {
        "order" => Order::WORDS.to_vec(),
        "rerun" => Set::words().collect(),
        "shard" => Shard::words().collect(),
        "stop-on-errors" | "stop-on-unreached" => vec!["none"],
        // The list is complete: without 0, exit status 0 is a failure.
        "success" => vec!["0,lost", "0,signal", "0,lost,signal"],
        _ => Vec::new(),
    };
    words.into_iter().map(str::to_owned).collect()
}

/// Returns all fixed words that an option reads.
fn all_words(arg: &Arg) -> Vec<String> {
    let possible = arg.get_possible_values();
    let possible = possible.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name().to_owned());
    possible.chain(arg.get_long().map(words).unwrap_or_default()).collect()
}

impl Opt {
    fn of(command: &Command, arg: &Arg) -> Opt {
        let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
        let words = all_words(arg);
        let value = || match arg.get_value_hint() {
            _ if arg.get_long().and_then(separators).is_some() => {
                Value::Hosts(arg.get_long().and_then(separators).unwrap_or_default())
            }
            _ if !words.is_empty() => Value::Words(words),
            ValueHint::FilePath | ValueHint::AnyPath => Value::File,
            ValueHint::DirPath => Value::Directory,
            ValueHint::Username => Value::User,
            ValueHint::CommandName | ValueHint::CommandString | ValueHint::CommandWithArguments => Value::Command,
            _ => Value::Other,
        };
        let names = arg.get_value_names().unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Opt {
            letter: arg.get_short(),
            longs: longs.into_iter().map(str::to_owned).collect(),
            // Completions show the first clause only.
            help: help.split(';').next().unwrap_or_default().trim().to_owned(),
            value: arg.get_action().takes_values().then(value),
            value_name: names.first().map(ToString::to_string).unwrap_or_default(),
            is_attached: arg.is_require_equals_set(),
            is_repeated: matches!(arg.get_action(), ArgAction::Append | ArgAction::Count),
            excluded_by: command.get_arg_conflicts_with(arg).into_iter().flat_map(spellings).collect(),
        }
    }

    /// Returns all its names, with dashes.
    fn names(&self) -> impl Iterator<Item = String> + '_ {
        let letter = self.letter.iter().map(|letter| format!("-{letter}"));
        letter.chain(self.longs.iter().map(|long| format!("--{long}")))
    }

    /// Returns whether the next word is its value.
    fn takes_word(&self) -> bool {
        self.value.is_some() && !self.is_attached
    }
}

fn spellings(arg: &Arg) -> Vec<String> {
    let letter = arg.get_short().map(|letter| format!("-{letter}"));
    letter.into_iter().chain(arg.get_long().map(|long| format!("--{long}"))).collect()
}

/// Generates the completions of `program` for a shell.
pub fn generate(shell: Shell, program: Program) -> String {
    let mut command = program.command();
    command.build();
    let options = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let options: Vec<Opt> = options.map(|arg| Opt::of(&command, arg)).collect();
    match shell {
        Shell::Bash => bash(program, &options),
        Shell::Zsh => zsh(program, &options),
        Shell::Fish => fish(program, &options),
    }
}

/// Returns the letters of options with a value.
fn letters_with_value(options: &[Opt]) -> String {
    options.iter().filter(|option| option.takes_word()).filter_map(|option| option.letter).collect()
}

/// Returns the long options with a value.
fn longs_with_value(options: &[Opt]) -> Vec<String> {
    let longs = options.iter().filter(|option| option.takes_word()).flat_map(|option| &option.longs);
    longs.map(|long| format!("--{long}")).collect()
}

const BASH: &str = include_str!("completion.bash");

fn bash(program: Program, options: &[Opt]) -> String {
    let mut values = String::new();
    for option in options {
        let action = match &option.value {
            None | Some(Value::Other) => continue,
            Some(Value::Hosts(separators)) => format!("_{{{{NAME}}}}_hosts \"$1\" '{separators}'"),
            Some(Value::File) => "_{{NAME}}_files".to_owned(),
            Some(Value::Directory) => "_{{NAME}}_files -d".to_owned(),
            Some(Value::User) => "_{{NAME}}_words \"$(compgen -u -- \"$value\")\"".to_owned(),
            Some(Value::Command) => "_{{NAME}}_words \"$(compgen -c -- \"$value\")\"".to_owned(),
            Some(Value::Words(words)) => format!("_{{{{NAME}}}}_words $'{}'", words.join("\\n")),
        };
        let names: Vec<String> = option.names().collect();
        let _ = writeln!(values, "        {}) {action} ;;", names.join(" | "));
    }
    let words = match Words::of(program) {
        Words::Command => {
            "if [[ $end ]]; then _{{NAME}}_files; else _{{NAME}}_words \"$(compgen -c -- \"$value\")\"; fi"
        }
        Words::Files => "_{{NAME}}_files",
        Words::Other => ":",
    };
    let names: Vec<String> = options.iter().flat_map(Opt::names).collect();
    BASH.replace("{{OPTIONS}}", &names.join(" "))
        .replace("{{LETTERS}}", &letters_with_value(options))
        .replace("{{LONGS}}", &longs_with_value(options).join(" "))
        .replace("        {{VALUES}}\n", &values)
        .replace("{{WORDS}}", words)
        .replace("{{DEBIAN}}", program.debian_name())
        .replace("{{NAME}}", program.name())
}

const ZSH: &str = include_str!("completion.zsh");

fn zsh(program: Program, options: &[Opt]) -> String {
    let mut specs = String::new();
    for option in options {
        let excluded: Vec<String> = if option.is_repeated {
            option.excluded_by.clone()
        } else {
            option.names().chain(option.excluded_by.iter().cloned()).collect()
        };
        let before = if option.is_repeated { "*".to_owned() } else { format!("({})", excluded.join(" ")) };
        let before =
            if option.is_repeated && !excluded.is_empty() { format!("({})*", excluded.join(" ")) } else { before };
        let action = match &option.value {
            None => String::new(),
            Some(value) => {
                let action = match value {
                    Value::Other => " ".to_owned(),
                    Value::Hosts(separators) => format!("_{}_hosts \"{separators}\"", program.name()),
                    Value::File => "_files".to_owned(),
                    Value::Directory => "_path_files -/".to_owned(),
                    Value::User => "_users".to_owned(),
                    Value::Command => "_command_names -e".to_owned(),
                    Value::Words(words) => format!("({})", words.join(" ")),
                };
                let optional = if option.is_attached { "::" } else { ":" };
                format!("{optional}{}:{action}", option.value_name)
            }
        };
        let help = escaped(&option.help, "\\[]:", "'\\''");
        for name in option.names() {
            let sign = match (option.value.is_some(), name.starts_with("--")) {
                (false, _) => "",
                (true, true) if option.is_attached => "=-",
                (true, true) => "=",
                (true, false) => "+",
            };
            let action = action.replace('\'', "'\\''");
            let _ = writeln!(specs, "        '{before}{name}{sign}[{help}]{action}' \\");
        }
    }
    let words = match Words::of(program) {
        Words::Command => "'1:command:_command_names -e' \\\n        '*::argument:_normal'",
        Words::Files => "'*:path:_files'",
        Words::Other => "'*: : '",
    };
    ZSH.replace("        {{SPECS}}\n", &specs)
        .replace("{{WORDS}}", words)
        .replace("{{DEBIAN}}", program.debian_name())
        .replace("{{NAME}}", program.name())
}

const FISH: &str = include_str!("completion.fish");

fn fish(program: Program, options: &[Opt]) -> String {
    let name = program.name();
    let mut text = FISH
        .replace("{{LETTERS}}", &letters_with_value(options))
        .replace("{{LONGS}}", &longs_with_value(options).join(" "))
        .replace("{{NAME}}", name);
    let condition = format!("-n __{name}_at_options");
    for option in options {
        let mut line = format!("complete -c {name} {condition}");
        option.letter.iter().for_each(|letter| line.push_str(&format!(" -s {letter}")));
        option.longs.iter().for_each(|long| line.push_str(&format!(" -l {long}")));
        let _ = write!(line, " -d '{}'", escaped(&option.help, "\\'", "\\'"));
        match &option.value {
            None => {}
            // The value follows `=`, never as the next word: without -r or -x, fish offers it only there.
            Some(Value::Words(words)) if option.is_attached => {
                let _ = write!(line, " -f -a '{}'", words.join(" "));
            }
            Some(_) if option.is_attached => {}
            Some(Value::Other) => line.push_str(" -x"),
            Some(Value::Hosts(separators)) => {
                let _ = write!(line, " -x -a \"(__{name}_hosts '{separators}')\"");
            }
            Some(Value::File) => line.push_str(" -r -F"),
            Some(Value::Directory) => line.push_str(" -x -a '(__fish_complete_directories)'"),
            Some(Value::User) => line.push_str(" -x -a '(__fish_complete_users)'"),
            Some(Value::Command) => line.push_str(" -x -a '(__fish_complete_command)'"),
            Some(Value::Words(words)) => {
                let _ = write!(line, " -x -a '{}'", words.join(" "));
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    match Words::of(program) {
        Words::Command => {
            let _ = writeln!(text, "complete -c {name} -n __{name}_at_command -f -a '(__fish_complete_command)'");
            let _ = writeln!(text, "complete -c {name} -n 'not __{name}_at_options' -F");
        }
        Words::Files => {}
        Words::Other => {
            let _ = writeln!(text, "complete -c {name} -f");
        }
    }
    let _ = writeln!(text, "complete -c {} -w {name}", program.debian_name());
    text
}

/// Escapes these characters with a backslash, and replaces apostrophes.
fn escaped(text: &str, special: &str, apostrophe: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' => escaped.push_str(apostrophe),
            c if special.contains(c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of each option that has some.
    fn with_words(program: Program) -> Vec<(String, Vec<String>)> {
        let mut command = program.command();
        command.build();
        let options = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
        let options = options.filter(|arg| arg.get_action().takes_values());
        let named = options.filter_map(|arg| Some((arg.get_long()?.to_owned(), all_words(arg))));
        named.filter(|(_, words)| !words.is_empty()).collect()
    }

    #[test]
    fn all_shells_offer_all_fixed_words() {
        for program in Program::ALL {
            let options = with_words(program);
            assert!(options.len() >= 10, "{}: {options:?}", program.name());
            let [bash, zsh, fish] = [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| generate(shell, program));
            for (long, words) in options {
                let line = |text: &str, starts: &dyn Fn(&str) -> bool, end: String| {
                    let found = text.lines().any(|line| starts(line) && line.contains(&end));
                    assert!(found, "{} --{long}: no line with {end:?} in\n{text}", program.name());
                };
                let is_bash = |line: &str| {
                    line.split(')').next().unwrap_or("").split(" | ").any(|name| name.trim() == format!("--{long}"))
                };
                line(&bash, &is_bash, format!("_words $'{}' ;;", words.join("\\n")));
                let is_zsh =
                    |line: &str| line.contains(&format!("--{long}=[")) || line.contains(&format!("--{long}=-["));
                line(&zsh, &is_zsh, format!(":({})'", words.join(" ")));
                let is_fish = |line: &str| line.contains(&format!(" -l {long} "));
                line(&fish, &is_fish, format!(" -a '{}'", words.join(" ")));
            }
        }
    }

    /// Whether the parser of an option refuses a value.
    fn refuses(program: Program, long: &str, value: &str) -> bool {
        let arguments = [program.name(), "-H", "x", &format!("--{long}={value}"), "a", "b", "c"];
        let read = program.command().try_get_matches_from(arguments);
        read.err().is_some_and(|error| error.kind() == clap::error::ErrorKind::ValueValidation)
    }

    /// An option that reads a word of its help, and not any word, has fixed words.
    #[test]
    fn no_option_with_fixed_words_is_left_out() {
        let mut missing = Vec::new();
        for program in Program::ALL {
            let mut command = program.command();
            command.build();
            for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
                let Some(long) = arg.get_long().filter(|long| refuses(program, long, "zqjx")) else { continue };
                let help = format!(
                    "{} {}",
                    arg.get_help().into_iter().next().cloned().unwrap_or_default(),
                    arg.get_long_help().cloned().unwrap_or_default()
                );
                let offered = words(long);
                let read = help.split(|c: char| !c.is_ascii_lowercase()).filter(|word| word.len() > 2);
                let read = read.filter(|word| !offered.iter().any(|offer| offer.split(',').any(|part| part == *word)));
                let has_own = !arg.get_possible_values().is_empty();
                missing.extend(
                    read.filter(|word| !has_own && !refuses(program, long, word))
                        .map(|word| format!("--{long}={word}")),
                );
            }
        }
        missing.sort();
        missing.dedup();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_words_are_those_that_the_programs_read() {
        for program in Program::ALL {
            let mut command = program.command();
            command.build();
            let longs: Vec<String> =
                command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
            for (long, word) in longs.iter().flat_map(|long| words(long).into_iter().map(move |word| (long, word))) {
                assert!(!refuses(program, long, &word), "{} refuses --{long}={word}", program.name());
            }
        }
    }
}
