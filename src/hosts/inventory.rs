//! Sources of hosts: commands of the user's config.toml that print the hosts of a group, `@ec2:web`, and the names of all groups.
//! `group-command` is the source without a name.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::groups::{ALL, check_group};
use super::hosts_file::{Basis, Found, lines};
use super::options::Distrust;
use super::{HostsError, Origin};
use crate::system::cancel::Cancel;
use crate::system::child::Helper;
use crate::system::files::bounded;
use crate::system::poll::Patience;
use crate::text::message::reason;
use crate::text::suggest::suggest;

/// Time limit for a command, which reads a file or asks an inventory while nothing is shown.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the longest list that a command may print.
const LONGEST_OUTPUT: usize = bounded::LIST as usize;
/// The most groups of a source: each is one more command.
const MOST_GROUPS: usize = 10_000;
/// The placeholder for the group's name in the command.
const NAME: &str = "%g";

/// A source of hosts.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The command that prints the hosts of a group, with its place.
    pub command: Option<(String, Origin)>,
    /// The command that prints the names of all groups, with its place.
    pub list: Option<(String, Origin)>,
    /// Whether its output may set every option of a host.
    pub is_trusted: bool,
}

/// A source with its name, which is empty for the one of `group-command`.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) source: Source,
    /// The file that defines it, if its path is known.
    pub(super) file: Option<PathBuf>,
}

impl Named {
    /// As messages call it.
    fn title(&self) -> String {
        if self.name.is_empty() { "group-command".to_owned() } else { format!("source {}", self.name) }
    }

    /// A key of the source in the file.
    fn key(&self, key: &str) -> String {
        match (self.name.is_empty(), key) {
            (true, _) => format!("group-{key}"),
            (false, _) => key.to_owned(),
        }
    }

    /// Where its keys are.
    fn table(&self) -> String {
        let table = if self.name.is_empty() { String::new() } else { format!(" under [sources.{}]", self.name) };
        let file = self.file.as_ref().map_or_else(String::new, |file| format!(" in {}", file.display()));
        table + &file
    }

    /// Why one of its commands failed.
    fn failed(&self, key: &str, place: &Origin, problem: &str) -> String {
        let of = if self.name.is_empty() { String::new() } else { format!(" of {}", self.title()) };
        format!("the {}{of} at {place} failed: {problem}", self.key(key))
    }

    /// Returns the text that names a group of it.
    pub(super) fn reference(&self, group: &str) -> String {
        if self.name.is_empty() { format!("@{group}") } else { format!("@{}:{group}", self.name) }
    }
}

/// Checks a command for a group, apart from shell syntax.
///
/// # Errors
/// It lacks the placeholder for the name.
pub fn check_command(command: &str) -> Result<(), String> {
    if has_name(command) {
        Ok(())
    } else {
        Err(format!("expected a command with {NAME} where the group's name belongs"))
    }
}

/// Whether a command has the placeholder for the name of a group.
fn has_name(command: &str) -> bool {
    command.replace("%%", "").contains(NAME)
}

impl Source {
    /// Whether it has no groups: its command prints one list of hosts.
    pub fn is_single(&self) -> bool {
        self.command.as_ref().is_some_and(|(command, _)| !has_name(command))
    }
}

impl Found<'_> {
    /// Adds the hosts of a group of a source. `origin` is where the group is named.
    pub(super) fn add_group_of(&mut self, named: &Named, group: &str, origin: &Origin) {
        if named.source.is_single() {
            let problem = format!(
                "{} has no groups, as its command has no {NAME}; {} names all its hosts",
                named.title(),
                named.reference(ALL)
            );
            return self.reject(&named.reference(group), origin.clone(), &problem);
        }
        let of = format!("{}, group {group}", named.title());
        self.add_printed(named, group, &of, origin);
    }

    /// Adds the hosts that the command of a source prints for a group, or for all hosts if the source has no groups. Messages call it `of`.
    fn add_printed(&mut self, named: &Named, group: &str, of: &str, origin: &Origin) {
        let Some((command, place)) = &named.source.command else { return };
        match output(&fill_in(command, group), COMMAND_LIMIT) {
            Ok(text) => {
                let remedy = format!("{} = true{} allows it", named.key("trusted"), named.table());
                let untrusted = if named.source.is_trusted { None } else { Some(Distrust::Output(&remedy)) };
                let basis = Basis { untrusted, ..Basis::of(named.file.as_deref().unwrap_or(Path::new(""))) };
                let before = self.hosts.len();
                self.add_output(&of.into(), basis, &text);
                // A program prints all that it knows of a host, whatever this command needs.
                self.hosts[before..].iter_mut().for_each(|host| host.loose = Arc::default());
            }
            Err(problem) => {
                let failed = named.failed("command", place, &problem) + &self.meant(named, group);
                self.fail(&named.reference(group), origin, &failed);
            }
        }
    }

    /// Returns which group the name of one that its source could not print may mean, as the end of a sentence.
    fn meant(&self, named: &Named, group: &str) -> String {
        let definitions = &self.groups.definitions;
        if named.name.is_empty() {
            let own = definitions.groups.keys().map(String::as_str);
            if let Some(known) = suggest(group, own) {
                return format!("; did you mean @{known} of [groups]?");
            }
            if definitions.sources.contains_key(group) {
                return format!("; {}", groups_of(group));
            }
        }
        // The names are worth a command only now.
        let listed = named.source.list.as_ref().and_then(|(list, _)| output(list, COMMAND_LIMIT).ok());
        let listed = listed.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let names = || listed.lines().map(str::trim).filter(|name| check_group(name).is_ok());
        let known = if names().any(|name| name == group) { None } else { suggest(group, names()) };
        known.map_or_else(String::new, |known| format!("; did you mean {}?", named.reference(known)))
    }

    /// Adds the hosts of all groups of a source, each host once.
    pub(super) fn add_all_of(&mut self, named: &Named, shown: &str, origin: &Origin) {
        if named.source.is_single() {
            return self.add_printed(named, ALL, &named.title(), origin);
        }
        let Some((command, place)) = &named.source.list else {
            let (title, key) = (named.title(), named.key("list"));
            let table = named.table();
            let problem = format!(
                "{title} does not say which groups it has; add {key} = \"COMMAND\"{table}, a command that prints their names"
            );
            return self.reject(shown, origin.clone(), &problem);
        };
        let text = match output(command, COMMAND_LIMIT) {
            Ok(text) => text,
            Err(problem) => return self.fail(shown, origin, &named.failed("list", place, &problem)),
        };
        let of: Arc<str> = format!("{}, {}", named.title(), named.key("list")).into();
        let mut groups: Vec<(String, Origin)> = Vec::new();
        for (number, (line, _)) in lines(&text).enumerate() {
            let line = String::from_utf8_lossy(line);
            let name = line.trim();
            if name.is_empty() || name.starts_with('#') {
                continue;
            }
            let place = Origin::Output { of: Arc::clone(&of), line: number + 1, column: 1 };
            if let Err(problem) = check_group(name) {
                self.reject(name, place, &problem);
            } else if groups.len() == MOST_GROUPS {
                self.reject(name, place, &format!("more than {MOST_GROUPS} groups"));
            } else {
                groups.push((named.reference(name), place));
                continue;
            }
            if self.has_enough_bad() || groups.len() == MOST_GROUPS {
                return;
            }
        }
        self.add_lists(groups.iter().map(|(group, place)| (group.as_str(), place.clone())));
    }

    /// Records that a command failed, which makes the rest useless.
    fn fail(&mut self, shown: &str, origin: &Origin, problem: &str) {
        self.failed.get_or_insert_with(|| HostsError::Group(format!("{origin}: {shown:?}: {problem}")));
    }
}

/// Tells how the groups of a source are named.
pub(super) fn groups_of(source: &str) -> String {
    format!("{source} is a source: @{source}:GROUP names a group of it, @{source}:{ALL} all its hosts")
}

/// Returns the command for a group. The name needs no quotes: [`check_group`] rejects shell syntax.
fn fill_in(command: &str, name: &str) -> String {
    let parts: Vec<String> = command.split("%%").map(|part| part.replace(NAME, name)).collect();
    parts.join("%")
}

/// Returns the output of a command within `limit`. It inherits standard error for its messages.
fn output(command: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| reason(&error);
    // Signals end the process: no handler is installed yet.
    let cancel = Cancel::new().map_err(failed)?;
    let patience = Patience::of(&cancel, limit);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Helper::spawn(&mut shell).map_err(failed)?;
    let pipe = child.stdout().ok_or("it has no output")?;
    let late = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => format!("it did not end within {limit:?}"),
        _ => failed(error),
    };
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        patience.wait(&[(pipe.as_fd(), PollFlags::IN)]).map_err(late)?;
        match rustix::io::read(&pipe, &mut buffer) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(failed(error.into())),
        }
        if text.len() > LONGEST_OUTPUT {
            return Err(format!("it prints more than {} MiB", LONGEST_OUTPUT >> 20));
        }
    }
    drop(pipe);
    let status = child.wait(patience).map_err(late)?;
    if status.success() { Ok(text) } else { Err(format!("it ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_print_lists_or_fail() {
        let output = |command: &str| output(command, Duration::from_millis(300));
        assert_eq!(output("echo a; echo b"), Ok(b"a\nb\n".to_vec()));
        assert_eq!(output("echo a; exit 3"), Err("it ended with exit status: 3".to_owned()));
        let late = Err("it did not end within 300ms".to_owned());
        assert_eq!(output("exec sleep 60"), late);
        assert_eq!(output("exec sleep 60 >&-"), late);
        let endless = super::output("exec yes", COMMAND_LIMIT);
        assert_eq!(endless, Err("it prints more than 64 MiB".to_owned()));
    }

    #[test]
    fn the_name_has_its_place_in_the_command() {
        assert_eq!(fill_in("cat %g.txt %%g %g", "web"), "cat web.txt %g web");
        assert!(check_command("cat %%g").is_err() && check_command("cat %%%g").is_ok());
    }
}
