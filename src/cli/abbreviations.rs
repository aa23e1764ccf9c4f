//! The abbreviations of pssh's long options. Python's optparse takes any beginning of an option that no other has; here there are
//! more options, so that those beginnings are kept as names that the help does not show.

use clap::Command;

/// The long options that pssh 2.3 has in all of its programs.
const COMMON: [&str; 17] = [
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
    // Of 2.3.5 and later, for pscp and prsync; no beginning of another.
    "download",
];

/// Gives the options of `command` the beginnings that pssh takes for them, where it has the long options `own` besides those
/// of all of its programs.
pub fn add(command: Command, own: &[&'static str]) -> Command {
    let all: Vec<&'static str> = COMMON.iter().chain(own).copied().collect();
    let names: Vec<String> = command
        .get_arguments()
        .flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default())
        .map(str::to_owned)
        .collect();
    command.mut_args(|arg| {
        let Some(name) = all.iter().copied().find(|name| arg.get_long() == Some(*name)) else { return arg };
        let beginnings = (1..name.len()).map(|end| &name[..end]);
        let is_free = |beginning: &&str| !names.iter().any(|other| other == beginning);
        let is_unique = |beginning: &&str| all.iter().filter(|other| other.starts_with(beginning)).count() == 1;
        arg.aliases(beginnings.filter(is_unique).filter(is_free))
    })
}
