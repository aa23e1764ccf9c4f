//! pssh's `-x` and `-X`: arguments for ssh, scp or rsync, in the order of the command line.

use std::ffi::{OsStr, OsString};
use std::mem;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::ssh_args::Word;
use crate::cli::ssh_args::split::shell_words;

/// The words of all `-x` and `-X`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraOpts {
    /// In the order of the command line.
    pub words: Vec<Word>,
}

/// The ids, which are also the long names.
const ARGS: &str = "extra-args";
const ARG: &str = "extra-arg";

impl Args for ExtraOpts {
    fn augment_args(command: Command) -> Command {
        let option = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .value_parser(OsStringValueParser::new())
                .help_heading("Connection")
        };
        command
            .arg(
                option(ARGS)
                    .short('x')
                    .value_name("ARGS")
                    .help("Set ssh's own options, such as '-p 2222 -tt'")
                    .long_help(
                        "Set ssh's own options, such as '-p 2222 -tt'\n\nQuotes work as in a shell. May be repeated.",
                    ),
            )
            .arg(
                option(ARG)
                    .short('X')
                    .value_name("ARG")
                    .help("Add one word to ssh's options, as it is")
                    .long_help("Add one word to ssh's options, as it is\n\nMay be repeated."),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ExtraOpts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| -> Vec<(usize, OsString)> {
            let values = matches.get_many::<OsString>(name).into_iter().flatten().cloned();
            matches.indices_of(name).into_iter().flatten().zip(values).collect()
        };
        let mut groups: Vec<(usize, Vec<Word>)> = Vec::new();
        for (place, value) in given(ARGS) {
            groups.push((place, split("-x", &value)?));
        }
        groups.extend(given(ARG).into_iter().map(|(place, text)| (place, vec![Word { text, option: "-X" }])));
        groups.sort_by_key(|(place, _)| *place);
        Ok(ExtraOpts { words: groups.into_iter().flat_map(|(_, words)| words).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let more = Self::from_arg_matches(matches)?;
        self.words.extend(mem::take(&mut { more }.words));
        Ok(())
    }
}

/// Splits a value of `option` into words.
fn split(option: &'static str, value: &OsStr) -> Result<Vec<Word>, clap::Error> {
    let words = shell_words(value).map_err(|problem| {
        clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{option} {value:?}: {problem}\n"))
    })?;
    Ok(words.into_iter().map(|text| Word { text, option }).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::ExtraOpts;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        extra: ExtraOpts,
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    }

    fn words(line: &[&str]) -> Result<Vec<String>, String> {
        let program = Program::try_parse_from([&["pssh"], line].concat()).map_err(|error| error.to_string())?;
        assert_eq!(program.command, ["true"]);
        let word = |word: &super::Word| format!("{}{}", word.option, word.text.display());
        Ok(program.extra.words.iter().map(word).collect())
    }

    #[test]
    fn words_stand_in_the_order_of_the_command_line() {
        let line = ["-X", "-p", "-x", "2222 -tt", "-X-o", "--extra-arg", "User a b", "--extra-args=-C '-q'", "true"];
        assert_eq!(words(&line).expect("words"), ["-X-p", "-x2222", "-x-tt", "-X-o", "-XUser a b", "-x-C", "-x-q"]);
        assert_eq!(words(&["-x", "", "true"]).expect("none"), [] as [&str; 0]);
        assert_eq!(words(&["-X", "", "-x", "-x", "true"]).expect("two"), ["-X", "-x-x"]);
        let error = words(&["-x", "-o 'a", "true"]).expect_err("no end");
        assert!(error.contains("-x \"-o 'a\": a quote is not closed"), "{error}");
    }
}
