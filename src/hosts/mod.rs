//! The hosts of a run, as the user wrote them: strings, hosts files in pssh's grammar with options and arguments for
//! each host, and lists; ranges and groups in all of them; checked before anything connects.

mod entry;
pub mod file_names;
mod groups;
pub mod host_config;
mod hosts_file;
mod inventory;
mod likeness;
mod line;
mod lists;
pub mod nodeset;
pub mod options;
mod origin;
mod other_formats;
mod problem;
pub mod proxy;
pub(crate) mod selection;
mod shard;
pub mod toml_file;
mod written;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::options::{HostOptions, Refused, Value, ValuePlace};
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::text::message::reason;
use crate::text::suggest::did_you_mean;
pub use entry::{Parts, check_login, check_name, is_ipv6, parse_entry, parse_port};
pub use groups::{Definitions, Groups, check_group, check_reference, check_source};
#[cfg(any(test, fuzzing))]
pub(crate) use hosts_file::of_text;
pub use hosts_file::{directory_of, lines, read};
pub use inventory::{Source, check_command};
pub use likeness::{Likeness, differ_in_digits, likeness, share_a_domain};
use line::ARGUMENT;
pub use lists::{ListNames, Lists};
pub use origin::{Bad, BadEntry, Origin};
pub use other_formats::{HOST_COLUMNS, OtherFormat};
pub use problem::{Advice, Problem};
pub use shard::{ResolvedShard, Shard};
pub use written::folded;

/// The place of a host in the list of all hosts, of which a run may have only a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPlace {
    /// Its number, from 0.
    pub index: u32,
    /// How many hosts the list has.
    pub count: u32,
    /// Whether another entry of the list has its name with another user or port.
    pub shares_name: bool,
}

impl ListPlace {
    /// Sets the places of all hosts of a list.
    pub(crate) fn set(hosts: &mut [HostSpec]) {
        // No list is that long.
        let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        for (index, host) in (0..count).zip(hosts.iter_mut()) {
            host.place = ListPlace { index, count, shares_name: false };
        }
        // Most lists have names only.
        if hosts.iter().all(|host| host.user.is_none() && host.port.is_none()) {
            return;
        }
        let mut first_of_name: HashMap<&str, &HostSpec> = HashMap::with_capacity(hosts.len());
        let mut shared: HashSet<String> = HashSet::new();
        for host in hosts.iter() {
            let first = first_of_name.entry(&host.name).or_insert(host);
            if (&first.user, first.port) != (&host.user, host.port) && !shared.contains(&host.name) {
                shared.insert(host.name.clone());
            }
        }
        if !shared.is_empty() {
            hosts.iter_mut().for_each(|host| host.place.shares_name = shared.contains(&host.name));
        }
    }
}

/// One host as the user wrote it: `[user@]host[:port]`, and what else is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// The login name, if the entry has one.
    pub user: Option<String>,
    /// Host name or address, without brackets.
    pub name: String,
    /// The port, if the entry has one.
    pub port: Option<u16>,
    /// Where the entry stands.
    pub origin: Origin,
    /// Its place in the list.
    pub place: ListPlace,
    /// The host's own options: from its line, then from a TOML file. Hosts with the same options share
    /// one copy.
    pub options: Arc<HostOptions>,
    /// Arguments for the command in its line: name and value, in order.
    pub arguments: Arc<[(String, String)]>,
    /// The names among these without `arg.`, with their places.
    loose: Arc<[(String, Origin)]>,
    /// All `key=value` of its line that are not in the entry, written so that they mean the same in any file.
    written: Arc<str>,
}

impl HostSpec {
    /// Creates a host without options.
    pub(crate) fn new((user, name, port): Parts, origin: Origin) -> HostSpec {
        HostSpec {
            user,
            name,
            port,
            origin,
            place: ListPlace::default(),
            options: HostOptions::nothing(),
            arguments: Arc::default(),
            loose: Arc::default(),
            written: Arc::default(),
        }
    }

    /// Gives the host a label, as `alias=` in its line does.
    ///
    /// # Errors
    /// It is not a label.
    pub fn with_alias(mut self, alias: &str) -> Result<HostSpec, String> {
        let mut options = HostOptions::clone(&self.options);
        let place = ValuePlace { origin: self.origin.clone(), directory: Path::new(""), untrusted: None };
        match options.set("alias", &Value::Text(alias), &place) {
            Ok(()) => {}
            Err(Refused::Wrong(problem)) => return Err(problem),
            Err(Refused::Unknown(_)) => return Err(format!("{alias:?} is not a label")),
        }
        let mut written = self.written.to_string();
        line::put("alias", alias, &mut written);
        (self.options, self.written) = (Arc::new(options), written.into());
        Ok(self)
    }

    /// Adds options from elsewhere; its own win.
    fn say(
        &mut self,
        options: &Arc<HostOptions>,
        arguments: &Arc<[(String, String)]>,
        loose: &Arc<[(String, Origin)]>,
    ) {
        if self.loose.is_empty() {
            self.loose = Arc::clone(loose);
        } else if !loose.is_empty() {
            self.loose = self.loose.iter().chain(&**loose).cloned().collect();
        }
        if self.options.is_empty() && !options.is_empty() {
            self.options = Arc::clone(options);
        } else if !options.is_empty() {
            let mut own = HostOptions::clone(&self.options);
            own.fill(options);
            self.options = Arc::new(own);
        }
        if self.arguments.is_empty() {
            self.arguments = Arc::clone(arguments);
        } else if !arguments.is_empty() {
            let is_new = |name: &str| self.arguments.iter().all(|(own, _)| own != name);
            let more = arguments.iter().filter(|(name, _)| is_new(name));
            self.arguments = self.arguments.iter().chain(more).cloned().collect();
        }
    }
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_entry(f, self.user.as_deref(), &self.name, self.port)
    }
}

/// Writes `[user@]host[:port]`, with brackets around an IPv6 address before a port.
pub fn write_entry(f: &mut fmt::Formatter<'_>, user: Option<&str>, name: &str, port: Option<u16>) -> fmt::Result {
    if let Some(user) = user {
        write!(f, "{user}@")?;
    }
    match port {
        Some(port) if name.contains(':') => write!(f, "[{name}]:{port}"),
        Some(port) => write!(f, "{name}:{port}"),
        None => f.write_str(name),
    }
}

/// What is wrong with the lists of hosts.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// A hosts file cannot be read.
    #[error("{}: cannot read the hosts file: {}", .path.display(), reason(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The command for a group failed: which one, and why.
    #[error("{0}")]
    Group(String),
    /// The file does not exist, and its name looks like hosts.
    #[error("{0}: there is no such file")]
    NotAFile(String),
    /// There were hosts, but the filters leave none.
    #[error("the list of hosts is empty: {by} none of {count}")]
    NoneLeft {
        /// The filter.
        by: String,
        /// How many there were.
        count: usize,
        /// The pattern for hosts of files, if that is the filter.
        glob: Option<String>,
    },
    /// All invalid entries, so that they can be fixed at once.
    #[error("{}", Bad(.0))]
    Bad(Vec<BadEntry>),
}

impl BeforeStart for HostsError {
    fn is_unread(&self) -> bool {
        match self {
            HostsError::Read { error, .. } => is_unread(error),
            HostsError::Group(_) => true,
            HostsError::NotAFile(_) | HostsError::NoneLeft { .. } | HostsError::Bad(_) => false,
        }
    }
}

/// Reads the hosts of files and strings, without groups. A line of a file may have options after its host, which hold for this entry
/// alone: what `host_config` is to the reference client, which has one for all entries of the same name.
///
/// ```
/// use pssh::{Client, Settings, gather};
///
/// # let directory = tempfile::tempdir()?;
/// let file = directory.path().join("hosts");
/// std::fs::write(&file, "web1 user=deploy port=2222\nweb2 identity=/etc/deploy/id_web2 timeout=5m\n")?;
/// let hosts = gather(&[file], &["web3".to_owned()])?;
/// let client = Client::of(hosts, Settings::for_library()?)?;
/// assert_eq!((client.hosts().len(), client.hosts()[0].port), (3, Some(2222)));
/// assert!(client.hosts()[1].options.timeout.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A file cannot be read, or any entry is not a host.
pub fn gather(files: &[PathBuf], strings: &[String]) -> Result<Vec<HostSpec>, HostsError> {
    let lists = Lists { files, strings, ..Lists::default() };
    lists.read(&mut Groups::default()).map(|(hosts, _)| hosts)
}

/// Checks the `key=value` of hosts that are not options: the command must use each (`used` has its names),
/// or `arg.` must precede it. Otherwise it may be a misspelled option.
///
/// # Errors
/// The keys, each at its first place.
pub fn check_keys(hosts: &[HostSpec], used: &HashSet<String>) -> Result<(), HostsError> {
    let mut seen = HashSet::new();
    let mut bad = Vec::new();
    for (name, origin) in hosts.iter().flat_map(|host| &*host.loose) {
        if !used.contains(name) && seen.insert(name) {
            let hint = did_you_mean(name, used.iter().map(String::as_str));
            let problem = format!(
                "not an option, and the command does not use it as %({name})s{hint}; if other commands do, write \
                 {ARGUMENT}{name}=..."
            );
            bad.push(BadEntry { origin: origin.clone(), text: name.clone(), problem: problem.into() });
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(HostsError::Bad(bad)) }
}

#[cfg(test)]
mod tests {
    use super::entry::parse;
    use super::*;

    #[test]
    fn files_come_before_strings_and_duplicates_stay() {
        let hosts = gather(&[], &["b a".to_owned(), "a".to_owned()]).expect("good hosts");
        assert_eq!(hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["b", "a", "a"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_parses_back(entry in "\\PC{0,24}") {
            if let Ok(parts) = parse(&entry) {
                let spec = HostSpec::new(parts, Origin::Text("hosts"));
                let again = parse(&spec.to_string()).expect("printed form parses");
                proptest::prop_assert_eq!((spec.user, spec.name, spec.port), again);
            }
        }
    }
}
