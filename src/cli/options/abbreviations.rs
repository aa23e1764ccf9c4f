//! Abbreviations of pssh's long options. Python's optparse accepts any unique prefix; there are more options here, so the prefixes that
//! were unique there are hidden aliases.

use clap::Command;

use crate::plan::program::Program;

/// The long options that pssh 2.3.6 has in all of its programs.
const COMMON: [&str; 16] = [
    "hosts",
    "host",
    "user",
    "par",
    "outdir",
    "errdir",
    "fileappend",
    "timeout",
    "option",
    "verbose",
    "askpass",
    "extra-args",
    "extra-arg",
    "host-glob",
    "help",
    "version",
];

/// Returns the long options of one program only.
fn own(program: Program) -> &'static [&'static str] {
    match program {
        Program::Pssh => &["inline", "inline-stdout", "send-input", "print", "no-headers"],
        Program::Pscp => &["recursive", "download"],
        Program::Pslurp => &["recursive", "localdir"],
        Program::Prsync => &["recursive", "archive", "compress", "ssh-args", "download", "inline"],
        Program::Pnuke => &[],
    }
}

/// Adds the abbreviations of pssh's `program` to the options of `command`.
pub fn add(command: Command, program: Program) -> Command {
    let all: Vec<&'static str> = COMMON.iter().chain(own(program)).copied().collect();
    let names: Vec<String> = command
        .get_arguments()
        .flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default())
        .map(str::to_owned)
        .collect();
    command.mut_args(|arg| {
        // pssh's manual page calls it so; the program does not.
        let arg = if arg.get_long() == Some("option") { arg.alias("options") } else { arg };
        let Some(name) = all.iter().copied().find(|name| arg.get_long() == Some(*name)) else { return arg };
        let beginnings = (1..name.len()).map(|end| &name[..end]);
        let is_free = |beginning: &&str| !names.iter().any(|other| other == beginning);
        let is_unique = |beginning: &&str| all.iter().filter(|other| other.starts_with(beginning)).count() == 1;
        arg.aliases(beginnings.filter(is_unique).filter(is_free))
    })
}

/// Returns the full option for the abbreviation `name`, with dashes.
pub fn full(command: &Command, name: &str) -> Option<String> {
    let name = name.strip_prefix("--")?;
    let is_it = |arg: &&clap::Arg| arg.get_aliases().is_some_and(|aliases| aliases.contains(&name));
    let arg = command.get_arguments().find(is_it)?;
    arg.get_long().map(|long| format!("--{long}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::{Opts, parse};

    fn read(program: Program, option: &str) -> Opts {
        let line = [program.name(), "-o", "out", option, "a", "b"];
        parse(program, line).unwrap_or_else(|error| panic!("{option}: {error}"))
    }

    /// Those of 2.3.4 are compared with pssh itself, by the tests that have it.
    #[test]
    fn options_of_later_versions_have_abbreviations_too() {
        for program in Program::ALL {
            assert!(read(program, "--f").show.fileappend, "{program:?}");
        }
        assert!(read(Program::Pssh, "--n").show.no_headers);
        assert!(read(Program::Pscp, "--d").download && read(Program::Prsync, "--d").download);
        assert!(read(Program::Prsync, "--i").streams.inline);
    }

    #[test]
    fn an_option_has_the_name_of_the_manual_page_too() {
        assert_eq!(read(Program::Pssh, "--options=Port=1").connection.option, ["Port=1"]);
    }

    #[test]
    fn what_two_options_begin_with_is_none_of_them() {
        for option in ["--h", "--inl", "--e", "--host-", "--extra-arg"] {
            let is_taken = parse(Program::Pssh, ["pssh", option, "x", "y"]).is_ok();
            assert_eq!(is_taken, option == "--host-", "{option}");
        }
    }
}
