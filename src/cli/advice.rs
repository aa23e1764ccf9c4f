//! Advice for errors before the first connection. The errors state facts; this module adds the options that help, since the layers below
//! know no options.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;

use crate::command::host_args::{HostArgsError, Problems};
use crate::command::{CommandError, MAX_COMMAND};
use crate::hosts::host_config::HostConfigError;
use crate::hosts::{Advice, HostsError, OtherFormat, Problem, check_group, parse_entry};
use crate::plan::error::Unprepared;
use crate::plan::exec_request::{CompleteError, RequestError};
use crate::plan::job::CommandsError;
use crate::ssh_config::ConfigError;
use crate::system::password_source::{SecretError, Source};
use crate::text::message::reason;

/// Adds advice to the error, if there is any.
pub fn advised(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let mut error = error.into();
    if let Some(HostsError::Bad(bad)) = error.downcast_mut::<HostsError>() {
        for entry in bad {
            entry.problem = in_words(&entry.problem).into();
        }
        return error;
    }
    let text = None
        .or_else(|| error.downcast_ref().and_then(hosts))
        .or_else(|| error.downcast_ref().and_then(host_config))
        .or_else(|| error.downcast_ref().and_then(commands))
        .or_else(|| error.downcast_ref().and_then(unprepared));
    text.map_or(error, |text| anyhow!(text))
}

fn hosts(error: &HostsError) -> Option<String> {
    match error {
        HostsError::Read { path, error: reason } if reason.kind() == ErrorKind::NotFound => {
            Some(if starts(path, b"-") {
                format!("{error}; for help use --help")
            } else if starts(path, b"^") {
                format!("{error}; -h takes the file name without ^")
            } else {
                format!("{error}; to name hosts use -H")
            })
        }
        HostsError::NotAFile(hosts) => Some(format!("-h {error}; to name hosts use {} {hosts}", option_for(hosts))),
        HostsError::NoneLeft { glob: Some(glob), .. } if is_like_group(glob) => {
            Some(format!("{error}; for a group use -w @{glob}"))
        }
        _ => None,
    }
}

/// Returns the option that takes these hosts as they are written.
pub fn option_for(hosts: &str) -> &'static str {
    if parse_entry(hosts).is_ok() { "-H" } else { "-w" }
}

/// Returns whether the pattern of -g looks like the name of a group, as in pdsh and clush.
pub fn is_like_group(glob: &str) -> bool {
    check_group(glob).is_ok()
}

fn starts(path: &Path, with: &[u8]) -> bool {
    path.as_os_str().as_bytes().starts_with(with)
}

/// Describes a bad entry of a list of hosts, with advice.
fn in_words(problem: &Problem) -> String {
    match problem.advice.as_deref() {
        None => problem.to_string(),
        Some(Advice::ListWithCommas) => format!("{problem}; -w takes a list with commas"),
        Some(Advice::ChooseByPattern) => format!("{problem}; --only and --exclude take patterns"),
        Some(Advice::PatternChooses) => format!("{problem}; use it with --only, --exclude, ! or &"),
        Some(Advice::LeaveOutOfRun) => format!("{problem}; --exclude leaves hosts out of the whole run"),
        Some(Advice::StandardInput) => format!("{problem}; -h - reads hosts from standard input"),
        Some(Advice::NameFile(file)) => format!("{problem}; for the hosts of a file use -h {file}"),
        Some(Advice::Convert { format, recipe }) => {
            let problem = match format {
                OtherFormat::SshConfig => {
                    let name = format.name();
                    problem.to_string().replacen(name, &format!("{name}, which -F takes"), 1)
                }
                _ => problem.to_string(),
            };
            let what = match format {
                OtherFormat::AnsibleInventory => "its hosts",
                OtherFormat::Yaml => "the hosts of an Ansible inventory",
                OtherFormat::Json => "the strings of a list",
                OtherFormat::KnownHosts => "the names that are not hashed",
                OtherFormat::SshConfig => "its names",
                OtherFormat::Table(_) => "its hosts (--host-args takes the other columns)",
            };
            format!("{problem}; for {what} use {recipe} | pssh -h - ...")
        }
    }
}

fn host_config(error: &HostConfigError) -> Option<String> {
    match error {
        HostConfigError::Read { .. } | HostConfigError::Text(_) => Some(format!("--host-config {error}")),
        HostConfigError::Bad(_) => None,
    }
}

fn commands(error: &CommandsError) -> Option<String> {
    match error {
        CommandsError::All(error) => command(error),
        CommandsError::Check(error) => {
            Some(format!("--check: {}", command(error).unwrap_or_else(|| error.to_string())))
        }
        CommandsError::Arguments(error) => arguments(error),
    }
}

fn command(error: &CommandError) -> Option<String> {
    match error {
        CommandError::NoProgram => Some(format!("{error}; with --no-shell it names the program")),
        CommandError::QuotedWithoutShell => Some(
            "%q does not work with --no-shell and --script, which pass every value as it is: use %s; in shell text, use an \
             argument: --no-shell -- sh -c 'echo \"$1\"' sh %s"
                .to_owned(),
        ),
        _ => None,
    }
}

fn arguments(error: &HostArgsError) -> Option<String> {
    match error {
        HostArgsError::Read { path, .. } if path.as_os_str().as_bytes().contains(&b'=') => {
            Some(format!("{error} (for a value for one host use --host-arg)"))
        }
        HostArgsError::Commands(errors) => {
            let text = |(host, error): &(String, CommandError)| {
                format!("{host}: {}", command(error).unwrap_or_else(|| error.to_string()))
            };
            Some(Problems(&errors.iter().map(text).collect::<Vec<_>>()).to_string())
        }
        HostArgsError::Read { .. } | HostArgsError::Bad(_) => None,
    }
}

fn unprepared(error: &Unprepared) -> Option<String> {
    match error {
        Unprepared::Libssh2(text) => {
            Some(format!("{text}; build pssh with its own libssh2, without the feature system-libssh2"))
        }
        Unprepared::Config(ConfigError::Unreadable { path, error }) => {
            Some(format!("{}: cannot read the file of -F: {}", path.display(), reason(error)))
        }
        Unprepared::KnownHosts { is_directory: true, .. } => Some(format!("{error}; name a file with --known-hosts")),
        Unprepared::KnownHosts { is_directory: false, .. } => {
            Some(format!("{error}; make the file readable, or name others with --known-hosts"))
        }
        Unprepared::Unconfirmed => Some(format!("--confirm: {error}; without --confirm the batches run unasked")),
        Unprepared::Password(error) => password(error),
        Unprepared::Command(error) => arguments(error),
        Unprepared::Length(CompleteError { host, error }) => {
            let text = match error {
                RequestError::InputTaken { what, length } => format!(
                    "{what} has {length} bytes: beyond {MAX_COMMAND} bytes it is sent over standard input, which -I also uses"
                ),
                RequestError::ReadsInput(what) => format!(
                    "{what} runs from standard input, since its interpreter cannot read it otherwise, but -I uses that"
                ),
                RequestError::TooLong { .. } => return None,
            };
            Some(host.as_ref().map_or_else(|| text.clone(), |host| format!("{host}: {text}")))
        }
        _ => None,
    }
}

/// Describes a password that cannot be read, with the option of its source. A command line is not secret: all users can see it.
fn password(error: &SecretError) -> Option<String> {
    let option = match error.from.as_ref()? {
        Source::Ask => "-A".to_owned(),
        Source::File(path) => format!("--password-file {}", path.display()),
        Source::SudoFile(path) => format!("--sudo-password-file {}", path.display()),
        Source::Descriptor(number) => format!("--password-fd {number}"),
        Source::Command(_) => "--password-command".to_owned(),
        Source::Given(_) => return None,
    };
    let advice = match error.lacks_terminal() {
        true => "; use --password-file, --password-fd or --password-command instead",
        false => "",
    };
    Some(format!("{option}: {}{advice}", error.problem()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::command::{CommandLine, Shell, Wrapping};
    use crate::hosts::{Groups, Lists};

    fn words(nodes: &str) -> String {
        let nodes = [nodes.to_owned()];
        let lists = Lists { nodes: &nodes, ..Lists::default() };
        let error = lists.read(&mut Groups::default()).expect_err("no list");
        let told = advised(error).to_string();
        told.split_once(": ").expect("a place").1.to_owned()
    }

    #[test]
    fn lists_that_are_wrong_name_the_option_that_is_meant() {
        for (nodes, text) in [
            (
                "!a",
                "\"!a\": there are no hosts before the ! to leave some out; --exclude leaves hosts out of the whole run",
            ),
            ("^hosts", "\"^hosts\": there are no hosts before the ^; for the hosts of a file use -h hosts"),
            ("w*", "\"w*\": a pattern names no hosts, it chooses among them; use it with --only, --exclude, ! or &"),
            ("a,b:x", "\"b:x\": the port \"x\" is not a number from 1 to 65535"),
        ] {
            assert_eq!(words(nodes), text);
        }
    }

    #[test]
    fn lists_of_other_programs_name_what_takes_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("list");
        let told = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            let files = [path.clone()];
            let lists = Lists { files: &files, ..Lists::default() };
            let told = advised(lists.read(&mut Groups::default()).expect_err("no hosts file")).to_string();
            let told = told.replace(&path.display().to_string(), "FILE");
            told.split_once(": this looks like ").expect(&told).1.to_owned()
        };
        const NOT: &str = "not like a hosts file with [user@]host[:port] on each line;";
        assert_eq!(
            told("---\nall:\n"),
            format!(
                "YAML, {NOT} for the hosts of an Ansible inventory use ansible all -i FILE --list-hosts | tail -n +2 | pssh -h - ..."
            )
        );
        assert_eq!(
            told("[\"a\"]"),
            format!("JSON, {NOT} for the strings of a list use jq -r '.[]' FILE | pssh -h - ...")
        );
        assert_eq!(
            told("host,version\na,1\n"),
            format!(
                "a table with a header, {NOT} for its hosts (--host-args takes the other columns) use \
                 tail -n +2 FILE | cut -d, -f1 | pssh -h - ..."
            )
        );
        let config = told("Host a\n  HostName b\n");
        assert!(
            config.starts_with(&format!("an ssh_config file, which -F takes, {NOT} for its names use awk ")),
            "{config}"
        );
        assert!(config.ends_with(" FILE | pssh -h - ..."), "{config}");
    }

    #[test]
    fn commands_that_cannot_be_sent_name_the_options_that_are_meant() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let none = || Wrapping { shell: Shell::None };
        let quoted = CommandLine::with_places(&words(&["echo", "%q"]), none()).map(|_| ()).expect_err("no shell");
        let told = advised(CommandsError::All(quoted)).to_string();
        assert!(told.starts_with("%q does not work with --no-shell and --script, which pass every value"), "{told}");
        let empty = crate::command::literal(&words(&["", "x"]), &none()).expect_err("no program");
        let text = "the command's first word is empty; with --no-shell it names the program";
        let host = HostArgsError::Commands(vec![("web1".to_owned(), empty)]);
        assert_eq!(advised(CommandsError::Arguments(host)).to_string(), format!("web1: {text}"));
    }
}
