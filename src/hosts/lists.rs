//! Merges all host lists of a run.

use std::io;
use std::path::{Path, PathBuf};

use super::host_config::HostConfig;
use super::hosts_file::{Basis, Found};
use super::options::Distrust;
use super::selection::Filter;
use super::{Groups, HostSpec, HostsError, Likeness, ListPlace, Origin, likeness, read};
use crate::text::fnmatch::fnmatch;

/// The sources of a run's hosts, and the filters on them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// Hosts files.
    pub files: &'a [PathBuf],
    /// The pattern that the name or alias of each host in files must match, if any.
    pub glob: Option<&'a str>,
    /// Strings with hosts between blanks.
    pub strings: &'a [String],
    /// Lists with ranges, groups and operators.
    pub nodes: &'a [String],
    /// Lists of which a host must be in one, if any.
    pub only: &'a [String],
    /// The lists in which no host may be.
    pub exclude: &'a [String],
    /// The options of hosts in TOML files, which may give aliases to them. The glob and the two filters match aliases too.
    pub host_config: Option<&'a HostConfig>,
    /// Their names in messages.
    pub names: ListNames,
}

/// The names of the lists in messages, as the caller knows them.
#[derive(Clone, Copy, Debug)]
pub struct ListNames {
    /// See [`Lists::glob`].
    pub glob: &'static str,
    /// See [`Lists::strings`].
    pub strings: &'static str,
    /// See [`Lists::nodes`].
    pub nodes: &'static str,
    /// See [`Lists::only`].
    pub only: &'static str,
    /// See [`Lists::exclude`].
    pub exclude: &'static str,
}

impl Default for ListNames {
    fn default() -> Self {
        ListNames { glob: "the glob", strings: "hosts", nodes: "nodes", only: "only", exclude: "exclude" }
    }
}

impl Lists<'_> {
    /// Reads all hosts of a run: first the files in the order given, then the strings, as pssh does. Duplicates are kept.
    /// Then come the hosts of the other lists that are not there yet. Also returns warnings about them.
    ///
    /// # Errors
    /// A file cannot be read, any entry is not a host, the command for a group fails, or no host is left.
    pub fn read(&self, groups: &mut Groups) -> Result<(Vec<HostSpec>, Vec<String>), HostsError> {
        let (names, mut found) = (self.names, Found::new(groups));
        for path in self.files {
            let contents = read(path).map_err(|error| unread(path, error))?;
            let basis = Basis { untrusted: contents.untrusted.as_ref().map(Distrust::File), ..Basis::of(path) };
            found.add_file(path, basis, &contents.bytes);
        }
        let in_files = found.hosts.len();
        let aliases = self.host_config.map(HostConfig::aliases).unwrap_or_default();
        if let Some(pattern) = self.glob {
            let matches = |name: &str| fnmatch(name, pattern);
            found.hosts.retain(|host| matches(&host.name) || aliases.of(host).is_some_and(matches));
        }
        for entry in self.strings.iter().flat_map(|string| string.split_whitespace()) {
            found.add(entry, Origin::Text(names.strings));
        }
        found.add_lists(self.nodes.iter().map(|list| (list.as_str(), Origin::List { name: names.nodes, column: 1 })));
        let users = found.doubtful_users();
        let mut only = found.filter(names.only, self.only);
        let mut exclude = found.filter(names.exclude, self.exclude);
        let Found { mut hosts, bad, failed, .. } = found;
        match failed {
            Some(error) => return Err(error),
            None if !bad.is_empty() => return Err(HostsError::Bad(bad)),
            None => {}
        }
        let all = hosts.len();
        hosts.retain(|host| {
            let alias = aliases.of(host);
            let is_meant = only.as_mut().is_none_or(|only| only.has(host, alias));
            let is_excluded = exclude.as_mut().is_some_and(|exclude| exclude.has(host, alias));
            is_meant && !is_excluded
        });
        if hosts.is_empty() && all > 0 {
            let by = format!("{} and {} leave", names.only, names.exclude);
            return Err(HostsError::NoneLeft { by, count: all, glob: None });
        } else if hosts.is_empty() && in_files > 0 {
            let by = format!("{} leaves", names.glob);
            return Err(HostsError::NoneLeft { by, count: in_files, glob: self.glob.map(str::to_owned) });
        }
        ListPlace::set(&mut hosts);
        let mut warnings = users;
        let unused = [&only, &exclude].into_iter().flatten().flat_map(Filter::warnings);
        warnings.extend(unused);
        Ok((hosts, warnings))
    }
}

/// Why a hosts file cannot be read.
fn unread(path: &Path, error: io::Error) -> HostsError {
    match path.to_str() {
        Some(text) if error.kind() == io::ErrorKind::NotFound && likeness(text) == Likeness::Hosts => {
            HostsError::NotAFile(text.to_owned())
        }
        _ => HostsError::Read { path: path.to_owned(), error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Definitions;

    fn groups(text: &[(&str, &str)]) -> Groups {
        let list =
            |(name, list): &(&str, &str)| ((*name).to_owned(), vec![((*list).to_owned(), Origin::Text("hosts"))]);
        Groups::new(Definitions { groups: text.iter().map(list).collect(), ..Definitions::default() })
    }

    fn read(nodes: &str, groups: &mut Groups) -> Result<Vec<String>, String> {
        let nodes = [nodes.to_owned()];
        let lists = Lists { nodes: &nodes, ..Lists::default() };
        let hosts = lists.read(groups).map_err(|error| error.to_string())?.0;
        Ok(hosts.iter().map(HostSpec::to_string).collect())
    }

    #[test]
    fn users_and_ports_count_where_they_are_given() {
        let list = |text: &str| read(text, &mut Groups::default()).expect("a list");
        assert_eq!(list("root@n[1-2],n1,n1:22!n1:22"), ["root@n1", "root@n2", "n1"]);
        assert_eq!(list("root@n[1-2],n1!root@n1"), ["root@n2", "n1"]);
        assert_eq!(list("root@n[1-3]:22&n[2-3]"), ["root@n2:22", "root@n3:22"]);
        assert_eq!(list("root@n[1-3]^root@n[2-4],n3"), ["root@n1", "root@n4", "n3"]);
        assert_eq!(list("root@n1,n[2-4]^n1:22"), ["root@n1", "n2", "n3", "n4", "n1:22"]);
    }

    #[test]
    fn a_glob_is_for_the_hosts_of_files_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hosts");
        std::fs::write(&path, "root@web1:22\nweb[2-3]\ndb1 web9\n[::1]:22\n").expect("a file");
        let (files, strings) = ([path], ["db7".to_owned()]);
        let read = |glob, strings| {
            let lists = Lists { files: &files, strings, glob: Some(glob), ..Lists::default() };
            let hosts = lists.read(&mut Groups::default()).map_err(|error| error.to_string())?.0;
            Ok::<_, String>(hosts.iter().map(HostSpec::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read("web[!2]", &strings).expect("hosts"), "root@web1:22 web3 db7");
        assert_eq!(read("::*", &[]).expect("hosts"), "[::1]:22");
        assert_eq!(read("x*", &strings).expect("hosts"), "db7");
        assert_eq!(read("x*", &[]), Err("the list of hosts is empty: the glob leaves none of 5".to_owned()));
    }

    #[test]
    fn groups_that_double_one_another_are_no_trap() {
        let names: Vec<(String, String)> =
            (1..60).map(|n| (format!("g{n}"), format!("@g{0},@g{0},n{n}", n - 1))).collect();
        let mut all: Vec<(&str, &str)> = names.iter().map(|(name, list)| (name.as_str(), list.as_str())).collect();
        all.push(("g0", "n0"));
        assert_eq!(read("@g59", &mut groups(&all)).expect("a list").len(), 60);
        let error = read("@a", &mut groups(&[("a", "@b,x[1-600000]"), ("b", "y[1-600000]")])).expect_err("too many");
        assert!(error.contains("more than 1000000 hosts"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_lists_are_taken_or_refused(nodes in "[an1@:\\[\\],!&^*/ -]{0,12}", only in "[an1@*/\\[\\],]{0,6}") {
            let (nodes, only) = ([nodes], [only]);
            let lists = Lists { nodes: &nodes, strings: &nodes, only: &only, ..Lists::default() };
            if let Ok((hosts, _)) = lists.read(&mut groups(&[("a", "n[1-2],@n"), ("n", "a!@1"), ("1", "/x/")])) {
                proptest::prop_assert!(hosts.iter().all(|host| crate::hosts::parse_entry(&host.to_string()).is_ok()));
            }
        }
    }
}
