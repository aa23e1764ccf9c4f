//! What Python makes of the command line, compared with ours: optparse's abbreviations, and `shlex.split`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use clap::ArgMatches;
use clap::parser::ValueSource;
use pssh::internal::{Program, shell_words};

use super::debians;

/// Runs a script by the Python that runs Debian's pssh; gives its lines.
fn python(script: &str, words: &[&str]) -> Vec<String> {
    let output = Command::new("/usr/bin/python3").arg("-c").arg(script).args(words).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Prints each beginning of a long option that optparse takes, the option, and whether it has a value.
const ABBREVIATIONS: &str = "
import sys, importlib.util
from importlib.machinery import SourceFileLoader
sys.argv = sys.argv[1:]
sys.dont_write_bytecode = True
loader = SourceFileLoader('program', sys.argv[0])
program = importlib.util.module_from_spec(importlib.util.spec_from_loader('program', loader))
loader.exec_module(program)
parser = program.option_parser()
for name, option in sorted(parser._long_opt.items()):
    for end in range(3, len(name) + 1):
        try:
            full = parser._match_long_opt(name[:end])
        except Exception:
            continue
        print(name[:end], full, int(option.takes_value()))
";

/// The options that were given.
fn given(matches: &ArgMatches) -> String {
    let is_given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(is_given).map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_abbreviation_that_pssh_takes_means_the_same_here() {
    let (mut problems, mut count) = (Vec::new(), 0);
    for program in Program::ALL {
        for line in python(ABBREVIATIONS, &[debians(program)]) {
            let [short, full, takes_value] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
            count += 1;
            let parse = |name: &str| {
                let word = if takes_value == "1" { format!("{name}=1") } else { name.to_owned() };
                let matches = program.command().try_get_matches_from([program.name(), &word, "a"]);
                matches.as_ref().map(given).map_err(|error| error.kind())
            };
            let (ours, expected) = (parse(short), parse(full));
            let is_question = full == "--help" || full == "--version";
            if ours != expected || ours.is_err() != is_question {
                problems.push(format!("{} {short}: {ours:?}, not {full}: {expected:?}", program.name()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 250, "only {count} abbreviations were tried");
}

/// Prints the words of each argument as numbers, or that there are none.
const WORDS: &str = "
import shlex, sys
for text in sys.argv[1:]:
    try:
        print(*[list(word.encode()) for word in shlex.split(text)])
    except ValueError:
        print('error')
";

#[test]
fn words_are_split_as_by_python() {
    const PIECES: [&str; 11] = ["a", " ", "'", "\"", "\\", "\n", "#", "\t", "é", "$b", "-o "];
    let mut texts: Vec<String> = Vec::new();
    let mut number = 1_u64;
    for _ in 0..3000 {
        let mut text = String::new();
        for _ in 0..2 + number % 9 {
            // A linear congruential generator (Knuth's).
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 1;
            text += PIECES[(number >> 20) as usize % PIECES.len()];
        }
        texts.push(text);
    }
    let arguments: Vec<&str> = texts.iter().map(String::as_str).collect();
    let lines = python(WORDS, &arguments);
    assert_eq!(lines.len(), texts.len());
    let shown = |words: Vec<OsString>| {
        let bytes = words.iter().map(|word| format!("{:?}", word.as_bytes()));
        bytes.collect::<Vec<_>>().join(" ")
    };
    let mut good = 0;
    for (text, theirs) in texts.iter().zip(&lines) {
        let ours = shell_words(OsStr::new(text)).map_or_else(|_| "error".to_owned(), shown);
        good += usize::from(ours != "error");
        assert_eq!(&ours, theirs, "{text:?}");
    }
    assert!(good > 500, "{good} of {} texts can be split", texts.len());
}
