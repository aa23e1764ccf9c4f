//! All lists of hosts that a run is given, made into one.

use std::path::PathBuf;

use super::nodes::Filter;
use super::{Found, Groups, HostSpec, HostsError, Origin, directory_of, read};

/// Where the hosts of a run come from, and which of them are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// Hosts files.
    pub files: &'a [PathBuf],
    /// `-H` strings.
    pub strings: &'a [String],
    /// `-w` lists.
    pub nodes: &'a [String],
    /// If there are any: the lists of which a host must be in one.
    pub only: &'a [String],
    /// The lists in which no host may be.
    pub exclude: &'a [String],
}

impl Lists<'_> {
    /// Reads all hosts of a run: first the files in the order given, then the strings, as pssh does. Duplicates are kept.
    /// Then come the hosts of the `-w` lists that are not there yet. Also gives what has to be told about them.
    ///
    /// # Errors
    /// A file cannot be read, any entry is not a host, the command for a group fails, or no host is left.
    pub fn read(&self, groups: &mut Groups) -> Result<(Vec<HostSpec>, Vec<String>), HostsError> {
        let mut found = Found::new(groups);
        for path in self.files {
            let text = read(path).map_err(|error| HostsError::Read { path: path.clone(), error })?;
            found.add_file(path, directory_of(path), &text);
        }
        for entry in self.strings.iter().flat_map(|string| string.split_whitespace()) {
            found.add(entry, Origin::CommandLine);
        }
        found.add_lists(self.nodes.iter().map(|list| (list.as_str(), Origin::List { option: "-w", column: 1 })));
        let mut only = found.filter("--only", self.only);
        let mut exclude = found.filter("--exclude", self.exclude);
        let Found { mut hosts, bad, failed, .. } = found;
        match failed {
            Some(error) => return Err(error),
            None if !bad.is_empty() => return Err(HostsError::Bad(bad)),
            None => {}
        }
        let all = hosts.len();
        hosts.retain(|host| {
            let is_meant = only.as_mut().is_none_or(|only| only.has(host));
            let is_excluded = exclude.as_mut().is_some_and(|exclude| exclude.has(host));
            is_meant && !is_excluded
        });
        if hosts.is_empty() && all > 0 {
            return Err(HostsError::NoneLeft(all));
        }
        let warnings = [&only, &exclude].into_iter().flatten().flat_map(Filter::warnings).collect();
        Ok((hosts, warnings))
    }
}
