//! The command lines of the five programs: pssh's letters with pssh's meaning, and long names for all other options. Definitions and
//! texts only.

mod abbreviations;
mod check;
mod command;
mod connection;
mod copy;
mod extra;
mod hosts;
mod journal;
mod other;
mod output;
mod programs;
mod reports;
mod rolling;
mod slips;

pub use self::connection::ConnectionOpts;
pub use check::CheckOpts;
pub use command::{CommandOpts, SudoOpts};
pub use copy::{CopyOpts, RsyncOpts};
pub use extra::ExtraOpts;
pub use hosts::{HostOpts, RunOpts, pool_size};
pub use journal::{JournalOpts, ResumeOpt};
pub use other::{ListFormat, OtherOpts};
pub use output::{ShowOpts, StreamOpts};
pub use reports::ReportOpts;
pub use rolling::RollingOpts;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::given::Given;
use super::ssh_args::split::rsync_words;
use super::ssh_args::{self, Tool, Word};
use crate::plan::program::Program;
use crate::plan::settings::SshArgs;
use crate::text::suggest::suggest;

/// A parsed command line. Options that a program lacks have their defaults.
#[derive(Debug, Default)]
pub struct Opts {
    /// The program.
    pub program: Program,
    /// The hosts.
    pub hosts: HostOpts,
    /// Limits of the run.
    pub running: RunOpts,
    /// Options of rolling runs.
    pub rolling: RollingOpts,
    /// Options that decide whether a host has succeeded.
    pub check: CheckOpts,
    /// Options of sudo.
    pub sudo: SudoOpts,
    /// Options of the command.
    pub command: CommandOpts,
    /// Options of copies.
    pub copy: CopyOpts,
    /// Whether files are copied from the hosts instead of to them.
    pub download: bool,
    /// The local directory of pslurp.
    pub localdir: Option<PathBuf>,
    /// Options of rsync.
    pub rsync: RsyncOpts,
    /// Options of connections and logins.
    pub connection: ConnectionOpts,
    /// ssh's own options.
    pub ssh_args: SshArgs,
    /// Output options of all programs.
    pub show: ShowOpts,
    /// Options for the output of commands.
    pub streams: StreamOpts,
    /// Options of reports.
    pub reports: ReportOpts,
    /// Whether to continue the run in the journal.
    pub resume: bool,
    /// Options of the program itself.
    pub other: OtherOpts,
    /// The options that change what happens to a host, as `--explain` shows them.
    pub given: Vec<Given>,
    /// The words after the options: the command, the paths or the pattern.
    pub words: Vec<OsString>,
    /// The arguments before the words, as given.
    pub before: Vec<OsString>,
    /// Whether `--` before the words marks them as neither options nor hosts.
    pub are_marked: bool,
}

/// Reads the command line of `program`, its name first.
///
/// # Errors
/// The command line is wrong, or asks for the help or the version. The error has a tip, if there is one.
pub fn parse<I, T>(program: Program, arguments: I) -> Result<Opts, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let opts = program.parse(arguments.clone());
    let opts = opts.map(|opts| {
        let before = arguments.get(1..arguments.len() - opts.words.len()).unwrap_or_default().to_vec();
        Opts { are_marked: before.last().is_some_and(|word| word == "--"), before, ..opts }
    });
    let opts = opts.and_then(check_last);
    opts.and_then(with_ssh_args).map(with_shell).map_err(|mut error| {
        // Suggests whole options, not abbreviations.
        if let Some(ContextValue::String(name)) = error.get(ContextKind::SuggestedArg)
            && let Some(full) = abbreviations::full(&program.command(), name)
        {
            error.insert(ContextKind::SuggestedArg, ContextValue::String(full));
        }
        // clap's own tip, to put the option after a --, would make it the command.
        error.remove(ContextKind::Suggested);
        let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let value = error.get(ContextKind::InvalidValue).map(ToString::to_string).unwrap_or_default();
        // clap's suggestions can differ too much.
        if let Some(ContextValue::String(name)) = error.get(ContextKind::SuggestedArg)
            && suggest(argument.trim_start_matches('-'), [name.trim_start_matches('-')]).is_none()
        {
            error.remove(ContextKind::SuggestedArg);
        }
        let is_similar = error.get(ContextKind::SuggestedArg).is_some();
        let unknown = error.kind() == ErrorKind::UnknownArgument;
        let elsewhere = || slips::advice(program, argument.split([' ', '=']).next()?, &arguments);
        let tip = if unknown { elsewhere() } else { tip(error.kind(), &argument, &value).map(str::to_owned) };
        let of_rsync = (program == Program::Prsync && unknown && !is_similar)
            .then(|| format!("for an option of rsync use -X: -X {argument}"));
        let tips: Vec<String> = tip.into_iter().chain(of_rsync).collect();
        if !tips.is_empty() {
            if error.kind() == ErrorKind::UnknownArgument {
                error.remove(ContextKind::SuggestedArg);
            }
            let tip = StyledStr::from(tips.join("; "));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
        error
    })
}

/// Refuses an option after the paths of a copy: it would become the target, and the target a source.
fn check_last(opts: Opts) -> Result<Opts, clap::Error> {
    let copies = matches!(opts.program, Program::Pscp | Program::Pslurp | Program::Prsync);
    let Some(last) = opts.words.last().filter(|_| copies && opts.words.len() > 1 && !opts.are_marked) else {
        return Ok(opts);
    };
    let text = last.display().to_string();
    if text.len() < 2 || !text.starts_with('-') {
        return Ok(opts);
    }
    let problem =
        format!("{text}: options come before the paths; for a path use ./{text} or put -- before the paths\n");
    Err(clap::Error::raw(ErrorKind::ValueValidation, problem))
}

/// Reads ssh's own options from `-x` and `-X`, or for prsync from `-S`.
fn with_ssh_args(mut opts: Opts) -> Result<Opts, clap::Error> {
    let wrong = |problem: String| clap::Error::raw(ErrorKind::ValueValidation, problem + "\n");
    let extra = &opts.connection.extra.words;
    let said = match (opts.program, opts.rsync.ssh_args.last()) {
        (Program::Pssh, _) => ssh_args::understand(Tool::Ssh, "command", extra),
        (Program::Pnuke, _) => ssh_args::understand(Tool::Ssh, "pattern", extra),
        (Program::Pscp | Program::Pslurp, _) => ssh_args::understand(Tool::Scp, "files", extra),
        (Program::Prsync, None) => return Ok(opts),
        (Program::Prsync, Some(text)) => {
            let words = rsync_words(text).map_err(|problem| wrong(format!("-S {text:?}: {problem}")))?;
            let words: Vec<Word> = words.into_iter().map(|text| Word { text, option: "-S" }).collect();
            ssh_args::understand(Tool::Ssh, "files", &words)
        }
    };
    opts.ssh_args = said.map_err(|error| wrong(error.to_string()))?;
    opts.copy.recursive |= opts.ssh_args.recursive;
    opts.copy.preserve |= opts.ssh_args.preserve;
    Ok(opts)
}

/// Without a command, `-I` sends commands to the login shell, as in pssh and ssh. That shell replaces itself with another login shell.
fn with_shell(mut opts: Opts) -> Opts {
    let CommandOpts { send_input, script, no_shell, .. } = &opts.command;
    if opts.program == Program::Pssh && opts.words.is_empty() && *send_input && script.is_none() && !no_shell {
        opts.words.push("exec \"$SHELL\" -l".into());
    }
    opts
}

/// Returns a tip for an option that was confused with one of ssh, pssh 2.3 or another tool.
fn tip(kind: ErrorKind, argument: &str, value: &str) -> Option<&'static str> {
    let option = argument.split(' ').next().unwrap_or_default();
    match (kind, option) {
        (ErrorKind::InvalidValue, "--hosts") => Some("-h takes a hosts file; for help use --help"),
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, "--timeout") => {
            Some("-t takes a time, such as 90 or 1m30s; for a terminal use pssh --pty")
        }
        (ErrorKind::ValueValidation, "--par") => {
            Some("-p takes the number of hosts at once; put the port after its host: -H web1:2222")
        }
        (ErrorKind::InvalidValue, "--host-key-check") if ["yes", "ask", "no"].contains(&value) => {
            Some("for ssh's yes and ask use strict, for its no use off")
        }
        (ErrorKind::InvalidValue, "--outdir") => {
            Some("-o takes a directory for output; for an ssh option use -O KEYWORD=VALUE")
        }
        _ => None,
    }
}

/// Reads a variable of a switch: on, unless it is 0, no, false or off.
///
/// # Errors
/// Never.
pub fn truthy(text: &str) -> Result<bool, String> {
    Ok(!["0", "no", "false", "off"].iter().any(|no| text.trim().eq_ignore_ascii_case(no)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_definitions_are_consistent() {
        Program::ALL.into_iter().for_each(|program| program.command().debug_assert());
    }

    #[test]
    fn slips_get_a_tip_that_fits() {
        let complaint = |words: &[&str]| parse(Program::Pssh, words).expect_err("a slip").to_string();
        assert!(complaint(&["pssh", "-h"]).contains("for help use --help"));
        let bogus = complaint(&["pssh", "--host-key-chek", "off", "x"]);
        assert!(bogus.contains("'--host-key-check'") && !bogus.contains("-- --"), "{bogus}");
        let short = complaint(&["pssh", "--usr", "me", "x"]);
        assert!(short.contains("'--user'"), "{short}");
    }

    #[test]
    fn a_password_has_one_source() {
        let sources: [&[&str]; 4] =
            [&["-A"], &["--password-file", "f"], &["--password-fd", "3"], &["--password-command", "c"]];
        for (place, first) in sources.iter().enumerate() {
            assert!(parse(Program::Pssh, [&["pssh"], *first, &["x"]].concat()).is_ok());
            for second in &sources[place + 1..] {
                assert!(
                    parse(Program::Pssh, [&["pssh"], *first, *second, &["x"]].concat()).is_err(),
                    "{first:?} {second:?}"
                );
            }
        }
    }

    #[test]
    fn options_end_at_the_first_word_of_the_command() {
        let opts = parse(Program::Pssh, ["pssh", "-Ha b", "-p32", "--time=1m", "ls", "-l", "-p", "--", "x"]);
        let opts = opts.expect("a good command line");
        assert_eq!(opts.hosts.host, ["a b"]);
        assert_eq!(opts.running.par, Some(32));
        assert_eq!(opts.running.timeout, Some(Duration::from_secs(60)));
        assert_eq!(opts.words, ["ls", "-l", "-p", "--", "x"]);
        let opts =
            parse(Program::Pssh, ["pssh", "-H", "a", "--", "-weird"]).expect("a command that looks like an option");
        assert_eq!(opts.words, ["-weird"]);
        assert!(parse(Program::Pssh, ["pssh", "--bogus", "-H", "a", "uptime"]).is_err());
        assert!(parse(Program::Pssh, ["pssh", "-H", "a", "-p", "0", "uptime"]).is_err());
        let last = parse(Program::Pssh, ["pssh", "-p", "1", "-p", "2", "x"]).expect("the last one counts");
        assert_eq!(last.running.par, Some(2));
    }
}
