//! pssh's environment variables for options and lists of hosts (`PSSH_HOSTS`, ...). `settings` reads those for single settings.

use std::path::PathBuf;

use super::given::Given;
use super::options::{self, Opts};
use crate::plan::program::Program;
use crate::plan::settings::{Environment, SshOption};

/// Sets options from the environment. Empty variables are ignored; 0, no, false and off turn a switch off. Returns messages for the user.
///
/// # Errors
/// A variable is not UTF-8 text.
pub fn fill(opts: &mut Opts, environment: &Environment<'_>) -> Result<Vec<&'static str>, String> {
    let path = |name: &str| (environment.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let is_on = |name: &str| environment.parsed(name, options::truthy).map(|on| on.unwrap_or(false));
    let mut told = Vec::new();
    if let Some(file) = path("PSSH_HOSTS") {
        // Before the files of -h, as in pssh.
        opts.hosts.hosts.insert(0, file);
        told.push("PSSH_HOSTS is deprecated; use an alias instead: alias pssh_abc='pssh -h /path/to/hosts_abc'");
    }
    // One option: after the flags of ssh and before those of -O.
    if let Some(text) = environment.parsed("PSSH_OPTIONS", |text| Ok(text.to_owned()))? {
        opts.ssh_args.flags.push(SshOption { text, name: "PSSH_OPTIONS".to_owned() });
    }
    if opts.other.verbose == 0 && is_on("PSSH_VERBOSE")? {
        opts.other.verbose = 1;
    }
    let mut given = Vec::new();
    let mut switch = |option: &mut bool, name: &str, variable: &str| -> Result<(), String> {
        if !*option && is_on(variable)? {
            *option = true;
            given.push(of_variable(name, "yes".to_owned(), variable));
        }
        Ok(())
    };
    match opts.program {
        Program::Pssh | Program::Pnuke => {}
        Program::Pscp | Program::Pslurp => switch(&mut opts.copy.recursive, "recursive", "PSSH_RECURSIVE")?,
        Program::Prsync => {
            switch(&mut opts.rsync.recursive, "recursive", "PSSH_RECURSIVE")?;
            switch(&mut opts.rsync.archive, "archive", "PSSH_ARCHIVE")?;
            switch(&mut opts.rsync.compress, "compress", "PSSH_COMPRESS")?;
        }
    }
    if opts.program == Program::Pslurp && opts.localdir.is_none() {
        opts.localdir = path("PSSH_LOCALDIR");
        let value = opts.localdir.as_ref().map(|directory| directory.display().to_string());
        given.extend(value.map(|value| of_variable("localdir", value, "PSSH_LOCALDIR")));
    }
    opts.given.extend(given);
    Ok(told)
}

fn of_variable(name: &str, value: String, variable: &str) -> Given {
    Given { name: name.to_owned(), value, origin: variable.to_owned(), is_about_work: false }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::*;

    fn filled(program: Program, args: &[&str], variables: &[(&str, &str)]) -> (Opts, usize) {
        let mut opts = options::parse(program, args).expect("a good command line");
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let environment = Environment { variable: &variable, login: None, home: None };
        let told = fill(&mut opts, &environment).expect("good variables");
        (opts, told.len())
    }

    #[test]
    fn hosts_and_options_come_before_those_of_the_command_line() {
        let variables = [("PSSH_HOSTS", "a"), ("PSSH_OPTIONS", "Port 1"), ("PSSH_VERBOSE", "yes")];
        let (opts, told) = filled(Program::Pssh, &["pssh", "-h", "b", "x"], &variables[1..]);
        assert_eq!((opts.hosts.hosts.as_slice(), told), ([PathBuf::from("b")].as_slice(), 0));
        let (opts, told) = filled(Program::Pssh, &["pssh", "-h", "b", "-O", "Port=2", "-x-C", "x"], &variables);
        assert_eq!((opts.hosts.hosts.as_slice(), told), (["a", "b"].map(PathBuf::from).as_slice(), 1));
        let flags: Vec<&str> = opts.ssh_args.flags.iter().map(|option| option.text.as_str()).collect();
        assert_eq!((flags.as_slice(), opts.other.verbose), (["Compression=yes", "Port 1"].as_slice(), 1));
    }

    #[test]
    fn switches_are_off_with_0_and_empty() {
        for (value, expected) in [("1", true), ("x", true), ("0", false), ("no", false), ("", false)] {
            let variables = ["PSSH_RECURSIVE", "PSSH_ARCHIVE", "PSSH_COMPRESS", "PSSH_VERBOSE"].map(|it| (it, value));
            let (opts, _) = filled(Program::Prsync, &["prsync", "a", "b"], &variables);
            let said = (opts.rsync.recursive, opts.rsync.archive, opts.rsync.compress, opts.other.verbose == 1);
            assert_eq!(said, (expected, expected, expected, expected), "{value:?}");
            assert_eq!(filled(Program::Pscp, &["pscp", "a", "b"], &variables).0.copy.recursive, expected);
        }
    }

    #[test]
    fn a_directory_of_the_command_line_beats_the_variable() {
        let variables = [("PSSH_LOCALDIR", "there")];
        let of = |args: &[&str]| filled(Program::Pslurp, &[&["pslurp"], args].concat(), &variables).0.localdir;
        assert_eq!(of(&["a", "b"]).as_deref(), Some(Path::new("there")));
        assert_eq!(of(&["-L", "here", "a", "b"]).as_deref(), Some(Path::new("here")));
        assert_eq!(filled(Program::Pscp, &["pscp", "a", "b"], &variables).0.localdir, None);
    }
}
