//! Groups of hosts, `@web`: from the user's config.toml, or from the output of its command.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::hosts_file::{Basis, Found};
use super::{HostSpec, HostsError, Origin};
use crate::system::cancel::Cancel;
use crate::system::child::Helper;
use crate::system::poll::Patience;
use crate::text::message::reason;
use crate::text::suggest::did_you_mean;

/// Time limit for the command of a group, which reads a file or asks an inventory while nothing is shown.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the longest list that a command may print: ten times the longest run.
const LONGEST_OUTPUT: usize = 16 << 20;
/// The placeholder for the group's name in the command.
const NAME: &str = "%g";

/// The groups in the user's config.toml.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// The file, which may not exist; `None` if its path is unknown.
    pub file: Option<PathBuf>,
    /// The lists of each group, in the grammar of `-w`, with their places.
    pub groups: BTreeMap<String, Vec<(String, Origin)>>,
    /// The command that prints the hosts of other groups, with its place.
    pub command: Option<(String, Origin)>,
}

/// The groups of a run. Each is looked up once.
#[derive(Debug, Default)]
pub struct Groups {
    definitions: Definitions,
    /// `None` for one with a reported problem.
    known: HashMap<String, Option<Arc<[HostSpec]>>>,
    /// The groups being looked up, each for the one before it.
    open: Vec<String>,
}

impl Groups {
    /// Creates groups without looking any up.
    pub fn new(definitions: Definitions) -> Groups {
        Groups { definitions, ..Groups::default() }
    }
}

/// Checks the name of a group, which becomes part of a command and of file names.
///
/// # Errors
/// What is wrong with it.
pub fn check_group(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if name.is_empty() {
        Err("the name of the group is missing after the @".to_owned())
    } else if name.starts_with(['-', '.']) {
        Err("the name of a group starts with a letter, a digit or _".to_owned())
    } else {
        match name.chars().find(|c| !good(*c)) {
            Some(bad) => Err(format!("the name of a group has letters, digits, _ . and - only, not {bad:?}")),
            None => Ok(()),
        }
    }
}

/// Checks a group command, apart from shell syntax.
///
/// # Errors
/// It lacks the placeholder for the name.
pub fn check_command(command: &str) -> Result<(), String> {
    let names = |command: &str| command.replace("%%", "").contains(NAME);
    if names(command) { Ok(()) } else { Err(format!("expected a command with {NAME} where the group's name belongs")) }
}

impl Found<'_> {
    /// Returns the hosts of a group; empty if there is a problem with it. `origin` is where it is named.
    pub(super) fn group(&mut self, name: &str, origin: &Origin) -> Option<Arc<[HostSpec]>> {
        if let Some(known) = self.groups.known.get(name) {
            return known.clone();
        }
        let mut complain = |problem: &str| self.reject(&format!("@{name}"), origin.clone(), problem);
        if let Err(problem) = check_group(name) {
            complain(&problem);
            return None;
        }
        if let Some(first) = self.groups.open.iter().position(|open| open == name) {
            let chain = self.groups.open[first..].iter().map(|open| format!("@{open} has ")).collect::<String>();
            self.reject(&format!("@{name}"), origin.clone(), &format!("the group contains itself: {chain}@{name}"));
            return None;
        }
        self.groups.open.push(name.to_owned());
        let complaints = self.bad.len();
        let before = std::mem::take(&mut self.hosts);
        self.look_up(name, origin);
        let found = std::mem::replace(&mut self.hosts, before);
        self.groups.open.pop();
        let is_good = self.bad.len() == complaints && self.failed.is_none();
        let found = is_good.then(|| Arc::from(found));
        self.groups.known.insert(name.to_owned(), found.clone());
        found
    }

    /// Adds the hosts of a group.
    fn look_up(&mut self, name: &str, origin: &Origin) {
        if let Some(lists) = self.groups.definitions.groups.get(name).cloned() {
            self.add_lists(lists.iter().map(|(list, place)| (list.as_str(), place.clone())));
        } else if let Some((command, place)) = self.groups.definitions.command.clone() {
            match output(&fill_in(&command, name), COMMAND_LIMIT) {
                Ok(text) => {
                    let directory = self.groups.definitions.file.clone().unwrap_or_default();
                    let before = self.hosts.len();
                    let basis = Basis::of(&directory);
                    self.add_file(Path::new(&format!("group-command for @{name}")), basis, &text);
                    // A program prints all that it knows of a host, whatever this command needs.
                    self.hosts[before..].iter_mut().for_each(|host| host.loose = Arc::default());
                }
                Err(problem) => {
                    let named = format!("{origin}: \"@{name}\": the group-command of {place} failed: {problem}");
                    self.failed.get_or_insert(HostsError::Group(named));
                }
            }
        } else {
            let definitions = &self.groups.definitions;
            let known = did_you_mean(name, definitions.groups.keys().map(String::as_str));
            let file = definitions.file.as_deref();
            let place = file.map_or_else(String::new, |file| format!(" in [groups] of {}", file.display()));
            let problem = format!("no such group{place}{known}; for a host, the user before the @ is missing");
            self.reject(&format!("@{name}"), origin.clone(), &problem);
        }
    }
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
        assert_eq!(endless, Err("it prints more than 16 MiB".to_owned()));
    }

    #[test]
    fn the_name_has_its_place_in_the_command() {
        assert_eq!(fill_in("cat %g.txt %%g %g", "web"), "cat web.txt %g web");
        assert!(check_command("cat %%g").is_err() && check_command("cat %%%g").is_ok());
        for bad in ["", "a b", "a/b", "..", "-x", "a;b", "a$b", "a:b", "a*"] {
            assert!(check_group(bad).is_err(), "{bad}");
        }
        for good in ["web", "Web_1.x-y", "1", "é"] {
            assert!(check_group(good).is_ok(), "{good}");
        }
    }
}
