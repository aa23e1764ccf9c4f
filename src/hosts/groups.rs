//! Groups of hosts behind an `@`: those in the user's config.toml, `@web`, those of its sources, `@ec2:web`, and all of them, `@*`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::hosts_file::Found;
use super::inventory::{Named, Source, groups_of};
use super::{HostSpec, Origin};
use crate::text::suggest::did_you_mean;

/// Stands for all groups.
pub(super) const ALL: &str = "*";

/// The groups in the user's config.toml.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    /// The file, which may not exist; `None` if its path is unknown.
    pub file: Option<PathBuf>,
    /// The lists of each group, in the grammar of `-w`, with their places.
    pub groups: BTreeMap<String, Vec<(String, Origin)>>,
    /// The source of other groups, which has no name.
    pub unnamed: Source,
    /// The other sources, by name.
    pub sources: BTreeMap<String, Source>,
}

/// The groups of a run. Each is looked up once.
#[derive(Debug, Default)]
pub struct Groups {
    pub(super) definitions: Definitions,
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

    /// Returns a source; the empty name is that of the unnamed one.
    fn source(&self, name: &str) -> Option<Named> {
        let definitions = &self.definitions;
        let source = match name {
            "" => Some(&definitions.unnamed).filter(|source| source.command.is_some()),
            name => definitions.sources.get(name),
        };
        source.map(|source| Named { name: name.to_owned(), source: source.clone(), file: definitions.file.clone() })
    }
}

/// What follows an `@`.
#[derive(Clone, Copy)]
enum Reference<'a> {
    /// `web`
    Group(&'a str),
    /// `*`
    All,
    /// `ec2:web`
    OfSource(&'a str, &'a str),
    /// `ec2:*`
    AllOfSource(&'a str),
}

impl Reference<'_> {
    fn parse(text: &str) -> Result<Reference<'_>, String> {
        let (source, group) = match text.split_once(':') {
            Some((source, group)) => (Some(source), group),
            None => (None, text),
        };
        match source {
            Some("") => return Err("the name of the source is missing after the @".to_owned()),
            Some(source) => check_source(source)?,
            None => {}
        }
        match (source, group) {
            (None, "") => Err("the name of the group is missing after the @".to_owned()),
            (Some(_), "") => Err("the name of the group is missing after the :".to_owned()),
            (None, ALL) => Ok(Reference::All),
            (Some(source), ALL) => Ok(Reference::AllOfSource(source)),
            (None, group) => check_group(group).map(|()| Reference::Group(group)),
            (Some(source), group) => check_group(group).map(|()| Reference::OfSource(source, group)),
        }
    }
}

/// Checks what follows an `@`: a group, a group of a source, or a `*` in place of a group.
///
/// # Errors
/// What is wrong with it.
pub fn check_reference(text: &str) -> Result<(), String> {
    Reference::parse(text).map(drop)
}

/// How deep groups may be nested: more than lists need, and far from the end of the stack.
const DEEPEST: usize = 64;

/// Checks the name of a group, which becomes part of a command and of file names.
///
/// # Errors
/// What is wrong with it.
pub fn check_group(name: &str) -> Result<(), String> {
    check_name("group", name)
}

/// Checks the name of a source.
///
/// # Errors
/// What is wrong with it.
pub fn check_source(name: &str) -> Result<(), String> {
    check_name("source", name)
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if name.is_empty() {
        Err(format!("the name of the {what} is missing"))
    } else if name.starts_with(['-', '.']) {
        Err(format!("the name of a {what} starts with a letter, a digit or _"))
    } else {
        match name.chars().find(|c| !good(*c)) {
            Some(bad) => Err(format!("the name of a {what} has letters, digits, _ . and - only, not {bad:?}")),
            None => Ok(()),
        }
    }
}

impl Found<'_> {
    /// Returns the hosts of a group; empty if there is a problem with it. `origin` is where it is named.
    pub(super) fn group(&mut self, name: &str, origin: &Origin) -> Option<Arc<[HostSpec]>> {
        if let Some(known) = self.groups.known.get(name) {
            return known.clone();
        }
        // No other command is run once one has failed.
        if self.failed.is_some() {
            return None;
        }
        let reference = match Reference::parse(name) {
            Ok(reference) => reference,
            Err(problem) => {
                self.reject(&format!("@{name}"), origin.clone(), &problem);
                return None;
            }
        };
        if let Some(first) = self.groups.open.iter().position(|open| open == name) {
            let chain = self.groups.open[first..].iter().map(|open| format!("@{open} has ")).collect::<String>();
            self.reject(&format!("@{name}"), origin.clone(), &format!("the group contains itself: {chain}@{name}"));
            return None;
        }
        if self.groups.open.len() >= DEEPEST {
            let problem = format!("groups are nested in more than {DEEPEST} others");
            self.reject(&format!("@{name}"), origin.clone(), &problem);
            return None;
        }
        self.groups.open.push(name.to_owned());
        let complaints = self.bad.len();
        let before = std::mem::take(&mut self.hosts);
        self.look_up(reference, origin);
        let found = std::mem::replace(&mut self.hosts, before);
        self.groups.open.pop();
        let is_good = self.bad.len() == complaints && self.failed.is_none();
        let found = is_good.then(|| Arc::from(found));
        self.groups.known.insert(name.to_owned(), found.clone());
        found
    }

    /// Adds the hosts of a group.
    fn look_up(&mut self, reference: Reference<'_>, origin: &Origin) {
        match reference {
            Reference::Group(name) => {
                if let Some(lists) = self.groups.definitions.groups.get(name).cloned() {
                    self.add_lists(lists.iter().map(|(list, place)| (list.as_str(), place.clone())));
                } else if let Some(source) = self.groups.source(name).filter(|named| named.source.is_single()) {
                    self.add_all_of(&source, &format!("@{name}"), origin);
                } else if let Some(source) = self.groups.source("") {
                    self.add_group_of(&source, name, origin);
                } else {
                    self.unknown_group(name, origin);
                }
            }
            Reference::All => {
                let names: Vec<String> = self.groups.definitions.groups.keys().map(|name| format!("@{name}")).collect();
                let source = self.groups.source("");
                if names.is_empty() && source.is_none() {
                    let problem = format!("there are no groups{}", self.place_of("groups"));
                    return self.reject("@*", origin.clone(), &problem);
                }
                self.add_lists(names.iter().map(|name| (name.as_str(), origin.clone())));
                if let Some(source) = source {
                    self.add_all_of(&source, "@*", origin);
                }
            }
            Reference::OfSource(name, group) => match self.groups.source(name) {
                Some(source) => self.add_group_of(&source, group, origin),
                None => self.unknown_source(name, group, origin),
            },
            Reference::AllOfSource(name) => match self.groups.source(name) {
                Some(source) => self.add_all_of(&source, &source.reference(ALL), origin),
                None => self.unknown_source(name, ALL, origin),
            },
        }
    }

    /// Returns where a table of the configuration file is.
    fn place_of(&self, table: &str) -> String {
        let file = self.groups.definitions.file.as_deref();
        file.map_or_else(String::new, |file| format!(" in [{table}] of {}", file.display()))
    }

    fn unknown_group(&mut self, name: &str, origin: &Origin) {
        if self.groups.definitions.sources.contains_key(name) {
            return self.reject(&format!("@{name}"), origin.clone(), &groups_of(name));
        }
        let known = did_you_mean(name, self.groups.definitions.groups.keys().map(String::as_str));
        let place = self.place_of("groups");
        let problem = format!("no such group{place}{known}; for a host, the user before the @ is missing");
        self.reject(&format!("@{name}"), origin.clone(), &problem);
    }

    fn unknown_source(&mut self, name: &str, group: &str, origin: &Origin) {
        let known = did_you_mean(name, self.groups.definitions.sources.keys().map(String::as_str));
        let place = self.place_of("sources");
        let problem = format!("no such source{place}{known}; for a host, the user before the @ is missing");
        self.reject(&format!("@{name}:{group}"), origin.clone(), &problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_syntax_of_shells_and_lists() {
        for bad in ["", "a b", "a/b", "..", "-x", "a;b", "a$b", "a:b", "a*"] {
            assert!(check_group(bad).is_err() && check_source(bad).is_err(), "{bad}");
        }
        for good in ["web", "Web_1.x-y", "1", "é"] {
            assert!(check_group(good).is_ok() && check_reference(&format!("{good}:{good}")).is_ok(), "{good}");
        }
        for good in ["*", "a", "a:*", "a:b"] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
        for bad in ["", ":", "a:", ":a", "*:a", "a:b:c", "a:b*", "**", "a:*:b", "a:22x/"] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
    }
}
