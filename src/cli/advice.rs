//! What would help against an error before the first connection: the errors say the fact, and here it gets the options that help,
//! which nothing below knows.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::anyhow;

use crate::command::host_args::{HostArgsError, Problems};
use crate::command::{CommandError, MAX_COMMAND};
use crate::hosts::host_config::HostConfigError;
use crate::hosts::{Advice, HostsError, OtherFormat, Problem};
use crate::plan::error::Unprepared;
use crate::plan::exec_request::{CompleteError, RequestError};
use crate::plan::job::CommandsError;
use crate::ssh_config::ConfigError;
use crate::system::password_source::{SecretError, Source};
use crate::text::message::reason;

/// The error, with what would help if that is known.
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
            Some(match starts(path, b"-") {
                true => format!("{error}; help is --help"),
                false => format!("{error}; hosts themselves are named with -H"),
            })
        }
        _ => None,
    }
}

fn starts(path: &Path, with: &[u8]) -> bool {
    path.as_os_str().as_bytes().starts_with(with)
}

/// What is wrong with an entry of a list of hosts.
fn in_words(problem: &Problem) -> String {
    match &problem.advice {
        None => problem.to_string(),
        Some(Advice::ListWithCommas) => format!("{problem}; -w takes a list with commas"),
        Some(Advice::ChooseByPattern) => format!("{problem}; --only and --exclude take patterns"),
        Some(Advice::PatternChooses) => format!("{problem}: --only, --exclude, ! and & take it"),
        Some(Advice::LeaveOutOfRun) => format!("{problem}; --exclude leaves hosts out of the whole run"),
        Some(Advice::NameFile) => format!("{problem}; a file with hosts is named with -h"),
        Some(Advice::Convert { format, recipe }) => {
            let (problem, takes) = match format {
                OtherFormat::AnsibleInventory => (problem.to_string(), "takes its hosts"),
                OtherFormat::Yaml => (format!("{problem}; of an inventory of Ansible"), "takes the hosts"),
                OtherFormat::Json => (problem.to_string(), "takes the strings of a list"),
                OtherFormat::KnownHosts => (problem.to_string(), "takes the names that are not hashed"),
                OtherFormat::SshConfig => {
                    let name = format.name();
                    (problem.replacen(name, &format!("{name}, which is given with -F"), 1), "takes the names of it")
                }
                OtherFormat::Table(_) => (problem.to_string(), "takes its hosts, and --host-args its other columns"),
            };
            let separator = if *format == OtherFormat::Yaml { "" } else { ";" };
            format!("{problem}{separator} {recipe} | pssh -h - ... {takes}")
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
        CommandsError::Arguments(error) => arguments(error),
    }
}

fn command(error: &CommandError) -> Option<String> {
    match error {
        CommandError::NoProgram => Some(format!("{error}; with --no-shell it names the program")),
        CommandError::QuotedWithoutShell => Some(
            "%q has no use with --no-shell or --script, where every value reaches the program as it is: write %s; what is a \
             shell's text takes it as an argument: --no-shell -- sh -c 'echo \"$1\"' sh %s"
                .to_owned(),
        ),
        _ => None,
    }
}

fn arguments(error: &HostArgsError) -> Option<String> {
    match error {
        HostArgsError::Read { path, .. } if path.as_os_str().as_bytes().contains(&b'=') => {
            Some(format!("{error} (a value for one host is given with --host-arg)"))
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
        Unprepared::Config(ConfigError::Unreadable { path, error }) => {
            Some(format!("{}: cannot read the file of -F: {}", path.display(), reason(error)))
        }
        Unprepared::KnownHosts { is_directory: true, .. } => Some(format!("{error}; name a file with --known-hosts")),
        Unprepared::KnownHosts { is_directory: false, .. } => {
            Some(format!("{error}; make the file readable, or name others with --known-hosts"))
        }
        Unprepared::Password(error) => password(error),
        Unprepared::Command(error) => arguments(error),
        Unprepared::Length(CompleteError { host, error }) => {
            let text = match error {
                RequestError::InputTaken { what, length } => format!(
                    "{what} has {length} bytes: what does not fit into {MAX_COMMAND} is sent over standard input, which -I takes"
                ),
                RequestError::ReadsInput(what) => format!(
                    "{what} is run from standard input, as its interpreter cannot read it otherwise, and -I takes that"
                ),
                RequestError::TooLong { .. } => return None,
            };
            Some(host.as_ref().map_or_else(|| text.clone(), |host| format!("{host}: {text}")))
        }
        _ => None,
    }
}

/// A password that cannot be had, with the option that says where it comes from. What a command line says is no secret: everybody can
/// see it.
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
