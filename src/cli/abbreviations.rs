//! The abbreviations of pssh's long options. Python's optparse takes any beginning of an option that no other has; here there are
//! more options, so that those beginnings are kept as names that the help does not show.

use clap::Command;

use crate::program::Program;

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

/// Those that only one program has.
fn own(program: Program) -> &'static [&'static str] {
    match program {
        Program::Pssh => &["inline", "inline-stdout", "send-input", "print", "no-headers"],
        Program::Pscp => &["recursive", "download"],
        Program::Pslurp => &["recursive", "localdir"],
        Program::Prsync => &["recursive", "archive", "compress", "ssh-args", "download", "inline"],
        Program::Pnuke => &[],
    }
}

/// Gives the options of `command` the beginnings that pssh's `program` takes for them.
pub fn add(command: Command, program: Program) -> Command {
    let all: Vec<&'static str> = COMMON.iter().chain(own(program)).copied().collect();
    let names: Vec<String> = command
        .get_arguments()
        .flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default())
        .map(str::to_owned)
        .collect();
    command.mut_args(|arg| {
        // pssh's manual page calls it so, other than the program.
        let arg = if arg.get_long() == Some("option") { arg.alias("options") } else { arg };
        let Some(name) = all.iter().copied().find(|name| arg.get_long() == Some(*name)) else { return arg };
        let beginnings = (1..name.len()).map(|end| &name[..end]);
        let is_free = |beginning: &&str| !names.iter().any(|other| other == beginning);
        let is_unique = |beginning: &&str| all.iter().filter(|other| other.starts_with(beginning)).count() == 1;
        arg.aliases(beginnings.filter(is_unique).filter(is_free))
    })
}

/// The name in the help of the option that is called `name`, with its dashes.
pub fn full(command: &Command, name: &str) -> Option<String> {
    let name = name.strip_prefix("--")?;
    let is_it = |arg: &&clap::Arg| arg.get_aliases().is_some_and(|aliases| aliases.contains(&name));
    let arg = command.get_arguments().find(is_it)?;
    arg.get_long().map(|long| format!("--{long}"))
}
