//! `--host-config`: options of hosts in a TOML file, in a table for each name, range of names or pattern.
//!
//! ```toml
//! [host."web[1-3]"]
//! user = "deploy"
//! connect-timeout = "30s"
//! ```
//!
//! Names are compared with the names in the list of hosts, as the user wrote them. If several tables match a host,
//! the first one that has a key wins, as in ssh_config(5); the host's own entry beats
//! all of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::nodeset::Names;
use super::options::{self, Distrust, HostOptions, Refused, ValuePlace};
use super::toml_file::{self, TomlFile, in_order};
use crate::hosts::{self, Bad, BadEntry, HostSpec, Origin};
use crate::system::files::bounded;
use crate::system::files::trusted_file::{self, Contents, Untrusted};
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::text::message::reason;
use crate::text::wildcard::matches_pattern;

/// The table of tables.
const HOST: &str = "host";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostConfigError {
    /// It cannot be read.
    #[error("{}: {}", .path.display(), reason(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is not text.
    #[error("{}: not UTF-8 text", .0.display())]
    Text(PathBuf),
    /// All problems in it, so that they can be fixed at once.
    #[error("{}", Bad(.0))]
    Bad(Vec<BadEntry>),
}

impl BeforeStart for HostConfigError {
    fn is_unread(&self) -> bool {
        matches!(self, HostConfigError::Read { error, .. } if is_unread(error))
    }
}

/// The tables of all files, in order of precedence.
#[derive(Debug, Default)]
pub struct HostConfig {
    tables: Vec<Table>,
}

/// The options for the hosts of one name.
#[derive(Debug)]
struct Table {
    /// As written.
    written: String,
    names: Names,
    options: Arc<HostOptions>,
    origin: Origin,
}

impl Table {
    /// How many names it has, and how many of them are patterns.
    fn size(&self) -> (u64, u64) {
        let count = self.names.count();
        (count, if self.written.contains(['*', '?']) { count } else { 0 })
    }
}

impl HostConfig {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or something in one of them is wrong.
    pub fn load(files: &[PathBuf]) -> Result<HostConfig, HostConfigError> {
        let (mut config, mut bad) = (HostConfig::default(), Vec::new());
        for path in files {
            let unread = |error| HostConfigError::Read { path: path.clone(), error };
            let Contents { bytes, untrusted } = trusted_file::read(path, bounded::TOML).map_err(unread)?;
            let text = String::from_utf8(bytes).map_err(|_| HostConfigError::Text(path.clone()))?;
            let reader = HostConfigReader { untrusted, ..HostConfigReader::new(path, &text) };
            reader.read(&mut config.tables, &mut bad);
        }
        if bad.is_empty() { Ok(config) } else { Err(HostConfigError::Bad(bad)) }
    }

    /// Parses the text of one file.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_text(path: &Path, text: &str) -> Result<HostConfig, HostConfigError> {
        let (mut config, mut bad) = (HostConfig::default(), Vec::new());
        HostConfigReader::new(path, text).read(&mut config.tables, &mut bad);
        if bad.is_empty() { Ok(config) } else { Err(HostConfigError::Bad(bad)) }
    }

    /// Returns the aliases that the tables give to hosts.
    pub fn aliases(&self) -> Aliases<'_> {
        let mut aliases = Aliases::default();
        for (number, table) in self.tables.iter().enumerate() {
            let Some(alias) = table.options.alias.as_ref().map(|alias| alias.value.as_str()) else { continue };
            for name in table.names.iter() {
                if name.contains(['*', '?']) {
                    aliases.of_pattern.push((name, (number, alias)));
                } else {
                    aliases.of_name.entry(name).or_insert((number, alias));
                }
            }
        }
        aliases
    }

    /// Adds the options of the tables to each host. Returns notes for `-v`: the tables that match none
    /// of the hosts.
    pub fn apply(&self, hosts: &mut [HostSpec]) -> Vec<String> {
        if self.tables.is_empty() {
            return Vec::new();
        }
        let mut of_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for host in hosts.iter() {
            of_name.entry(&host.name).or_default();
        }
        let mut notes = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            let mut is_used = false;
            let mut take = |found: &mut Vec<usize>| {
                is_used = true;
                if found.last() != Some(&number) {
                    found.push(number);
                }
            };
            for name in table.names.iter() {
                if name.contains(['*', '?']) {
                    let matching = of_name.iter_mut().filter(|(host, _)| matches_pattern(host, &name));
                    matching.for_each(|(_, found)| take(found));
                } else if let Some(found) = of_name.get_mut(name.as_str()) {
                    take(found);
                }
            }
            if !is_used {
                notes.push(format!("{}: host {:?} is not in the list", table.origin, table.written));
            }
        }
        // Hosts with the same tables share one copy.
        let of_name: HashMap<String, Vec<usize>> = of_name
            .into_iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(name, found)| (name.to_owned(), found))
            .collect();
        let mut merged: HashMap<&[usize], Arc<HostOptions>> = HashMap::new();
        for host in hosts {
            let Some(tables) = of_name.get(&host.name) else { continue };
            if host.options.is_empty() {
                let same = merged.entry(tables).or_insert_with(|| match tables[..] {
                    [only] => Arc::clone(&self.tables[only].options),
                    _ => Arc::new(self.merge(HostOptions::default(), tables)),
                });
                host.options = Arc::clone(same);
            } else {
                host.options = Arc::new(self.merge(HostOptions::clone(&host.options), tables));
            }
        }
        notes
    }

    fn merge(&self, mut options: HostOptions, tables: &[usize]) -> HostOptions {
        tables.iter().for_each(|number| options.fill(&self.tables[*number].options));
        options
    }
}

/// Aliases of hosts: those in the tables of files, each with the number of its table, and those of the hosts' own lines.
#[derive(Default)]
pub struct Aliases<'a> {
    of_name: HashMap<String, (usize, &'a str)>,
    of_pattern: Vec<(String, (usize, &'a str))>,
}

impl Aliases<'_> {
    /// Returns the alias of a host: of its own line, or else of the first table that matches it.
    pub fn of<'h>(&'h self, host: &'h HostSpec) -> Option<&'h str> {
        if let Some(own) = &host.options.alias {
            return Some(&own.value);
        }
        let named = self.of_name.get(&host.name);
        let matching = self.of_pattern.iter().find(|(pattern, _)| matches_pattern(&host.name, pattern));
        let first = named.into_iter().chain(matching.map(|(_, table)| table)).min_by_key(|(number, _)| *number);
        first.map(|(_, alias)| *alias)
    }
}

/// Reads one file.
struct HostConfigReader<'a> {
    file: TomlFile<'a>,
    directory: &'a Path,
    /// Why some keys are not allowed in it, if they are not.
    untrusted: Option<Untrusted>,
}

impl<'a> HostConfigReader<'a> {
    fn new(path: &'a Path, text: &'a str) -> HostConfigReader<'a> {
        HostConfigReader { file: TomlFile::new(path, text), directory: hosts::directory_of(path), untrusted: None }
    }

    fn read(&self, tables: &mut Vec<Table>, bad: &mut Vec<BadEntry>) {
        let document = match self.file.parse() {
            Ok(document) => document,
            Err(mut errors) => return bad.append(&mut errors),
        };
        let (mut names, mut patterns) = (0, 0);
        for (key, value) in in_order(&document) {
            let hosts = match (key.get_ref().as_ref(), value.get_ref()) {
                (HOST, DeValue::Table(hosts)) => hosts,
                (HOST, _) => {
                    bad.push(self.file.bad(key, "expected tables, such as [host.\"web1\"]"));
                    continue;
                }
                _ => {
                    bad.push(self.file.bad(key, "expected tables of hosts alone, such as [host.\"web1\"]"));
                    continue;
                }
            };
            for (name, table) in in_order(hosts) {
                let before = tables.len();
                self.host(name, table.get_ref(), tables, bad);
                for (more, wild) in tables[before..].iter().map(Table::size) {
                    (names, patterns) = (names + more, patterns + wild);
                }
                if names > MOST_OF_FILE || patterns > MOST_PATTERNS_OF_FILE {
                    let problem =
                        format!("more than {MOST_OF_FILE} names or {MOST_PATTERNS_OF_FILE} patterns in the file");
                    return bad.push(self.file.bad(name, &problem));
                }
            }
        }
    }

    /// Reads the table of a name.
    fn host(
        &self,
        name: &Spanned<Cow<'_, str>>,
        table: &DeValue<'_>,
        tables: &mut Vec<Table>,
        bad: &mut Vec<BadEntry>,
    ) {
        let DeValue::Table(keys) = table else {
            return bad.push(self.file.bad(name, "expected a table, such as [host.\"web1\"]"));
        };
        let names = match check_names(name.get_ref()) {
            Ok(names) => Some(names),
            Err(problem) => {
                bad.push(self.file.bad(name, &problem));
                None
            }
        };
        let mut options = HostOptions::default();
        for (key, value) in in_order(keys) {
            let place = ValuePlace {
                origin: self.file.origin(key.span().start),
                directory: self.directory,
                untrusted: self.untrusted.as_ref().map(Distrust::File),
            };
            let is_set = options.set(key.get_ref(), &toml_file::value(value.get_ref()), &place);
            bad.push(match (is_set, value.get_ref()) {
                (Ok(()), _) => continue,
                (Err(Refused::Unknown(_)), DeValue::Table(_)) => {
                    let (host, key) = (name.get_ref(), key.get_ref());
                    self.file.bad(name, &format!("a name with a dot in it needs quotes: [host.\"{host}.{key}\"]"))
                }
                (Err(Refused::Unknown(_)), _) => self.file.bad(key, &options::unknown_key(key.get_ref())),
                (Err(Refused::Wrong(problem)), _) => BadEntry {
                    origin: self.file.origin(value.span().start),
                    text: key.get_ref().to_string(),
                    problem: problem.into(),
                },
            });
        }
        if let Some(names) = names {
            let written = name.get_ref().to_string();
            tables.push(Table {
                written,
                names,
                options: Arc::new(options),
                origin: self.file.origin(name.span().start),
            });
        }
    }
}

/// The most patterns of a table: each is compared with every host of the list.
const MOST_PATTERNS: u64 = 1000;
/// The most names and patterns of all tables of a file, since looking up each takes time.
const MOST_OF_FILE: u64 = 2_000_000;
const MOST_PATTERNS_OF_FILE: u64 = 10_000;

/// Returns the names of a table.
fn check_names(text: &str) -> Result<Names, String> {
    let names = Names::parse(text).map_err(|error| error.problem)?;
    let one = names.iter().next().unwrap_or_default();
    if text.contains(['*', '?']) && names.count() > MOST_PATTERNS {
        return Err(format!("more than {MOST_PATTERNS} patterns"));
    }
    if text.contains('@') {
        return Err("expected a host name alone; a table applies to all users of a host".to_owned());
    }
    if text.contains(':') && !hosts::is_ipv6(&one) {
        return Err("expected a host name alone, without a port and without brackets around an address".to_owned());
    }
    // Wildcards are not part of a name.
    hosts::check_name(&one.replace(['*', '?'], "x"))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HostConfig, Vec<String>> {
        let (mut config, mut bad) = (HostConfig::default(), Vec::new());
        HostConfigReader::new(Path::new("d/h.toml"), text).read(&mut config.tables, &mut bad);
        if bad.is_empty() {
            Ok(config)
        } else {
            Err(bad.iter().map(|bad| Bad(std::slice::from_ref(bad)).to_string()).collect())
        }
    }

    fn applied(text: &str, list: &str) -> (Vec<HostSpec>, Vec<String>) {
        let mut hosts = hosts::gather(&[], &[list.to_owned()]).expect("good hosts");
        let notes = read(text).unwrap_or_else(|bad| panic!("{bad:?}")).apply(&mut hosts);
        (hosts, notes)
    }

    fn users(text: &str, list: &str) -> Vec<String> {
        let user = |host: &HostSpec| host.options.user.as_ref().map_or("-", |given| &given.value).to_owned();
        applied(text, list).0.iter().map(user).collect()
    }

    #[test]
    fn names_ranges_and_patterns_are_found_in_the_list() {
        let text = "[host.web1]\nuser='a'\n[host.'web[2-3]']\nuser='b'\n[host.'*.example.com']\nuser='c'\n\
                    [host.'db[01-02].*']\nuser='d'\n[host.'::1']\nuser='e'";
        let list = "web1 root@web2:22 web3 web4 x.example.com db01.x db1.x ::1 WEB1";
        assert_eq!(users(text, list), ["a", "b", "b", "-", "c", "d", "-", "e", "-"]);
    }

    #[test]
    fn each_key_counts_from_the_first_table_that_has_it() {
        let text =
            "[host.'z*']\nport=1\n[host.zed]\nport=2\nuser='z'\nnum-retries=0x10\n[host.'*']\nuser='all'\ntimeout=1.5";
        let (hosts, notes) = applied(text, "zed any");
        let options = |place: usize| &*hosts[place].options;
        let port = options(0).port.as_ref().expect("a port");
        assert_eq!((port.value, port.origin.to_string().as_str()), (1, "d/h.toml:2:1"));
        assert_eq!(options(0).user.as_ref().map(|given| given.value.as_str()), Some("z"));
        assert_eq!(options(0).num_retries.as_ref().map(|given| given.value), Some(16));
        assert_eq!(options(1).user.as_ref().map(|given| given.value.as_str()), Some("all"));
        assert_eq!(options(1).timeout.as_ref().map(|given| given.value.as_secs_f64()), Some(1.5));
        assert!(options(1).port.is_none() && notes.is_empty());
    }

    #[test]
    fn hosts_of_the_same_tables_share_a_copy_and_unused_tables_are_noted() {
        let (hosts, notes) = applied("[host.'n[1-9]']\nuser='a'\n[host.'*']\nport=7\n[host.x]", "n1 n2 n9 m");
        assert!(Arc::ptr_eq(&hosts[0].options, &hosts[2].options));
        assert!(hosts[3].options.user.is_none());
        assert_eq!(notes, ["d/h.toml:5:7: host \"x\" is not in the list"]);
    }

    #[test]
    fn every_slip_has_its_place() {
        for (text, expected) in [
            ("[host.a]\nprot = 1", "d/h.toml:2:1: \"prot\": there is no such key; did you mean port?"),
            (
                "[host.a]\nnum_retries = 1",
                "d/h.toml:2:1: \"num_retries\": there is no such key; did you mean num-retries?",
            ),
            ("[host.a]\n  port = true", "d/h.toml:2:10: \"port\": expected a number from 1 to 65535, not true"),
            ("[host.a]\nuser = 5", "d/h.toml:2:8: \"user\": expected a login name, not the number 5"),
            ("[host.a]\nport = 70000", "d/h.toml:2:8: \"port\": the port \"70000\" is not a number from 1 to 65535"),
            ("[host.é]", "d/h.toml:1:7: \"[host.é]\": "),
            (
                "[host.a.example.com]\nuser='x'",
                "d/h.toml:1:7: \"a\": a name with a dot in it needs quotes: [host.\"a.example\"]",
            ),
            ("[host.'a:22']", "d/h.toml:1:7: \"a:22\": expected a host name alone, without a port"),
            ("[host.'r@a']", "d/h.toml:1:7: \"r@a\": expected a host name alone"),
            ("[host.'n[1-999999999999]']", "d/h.toml:1:7: \"n[1-999999999999]\": more than 1000000 names"),
            ("[host.'n[1-9999]*']", "d/h.toml:1:7: \"n[1-9999]*\": more than 1000 patterns"),
            ("[host.'a b']", "d/h.toml:1:7: \"a b\": a host name cannot contain ' '"),
            ("[hosts.a]", "d/h.toml:1:2: \"hosts\": expected tables of hosts alone"),
            ("host = 1", "d/h.toml:1:1: \"host\": expected tables"),
            ("host.a = 1", "d/h.toml:1:6: \"a\": expected a table"),
            ("[host.a]\nport = 1\nport = 2", "d/h.toml:3:1: \"port\": duplicate key"),
            ("[host.a]\nport = ", "d/h.toml:2:8: \"port\": "),
        ] {
            let bad = read(text).expect_err(text);
            assert!(bad.len() == 1 && bad[0].starts_with(expected), "{text}: {bad:?}");
        }
        let bad = read("[host.a]\nport=0\nuser='-x'\n[host.'b[']\ntimeout='x'").expect_err("four slips");
        assert_eq!(bad.len(), 4, "{bad:?}");
    }

    #[test]
    fn no_password_is_repeated() {
        for text in ["[host.a]\npassword = 'hunter2'", "[host.a]\npassword = 'hunter2", "[host.a]\npassword = hunter2"]
        {
            let bad = read(text).expect_err(text);
            assert!(!bad.join(" ").contains("hunter2"), "{bad:?}");
        }
    }

    #[test]
    fn ten_thousand_hosts_and_a_thousand_tables_take_no_time() {
        let tables: String =
            (0..1000).map(|n| format!("[host.'n[{}-{}]']\nport={}\n", n * 10, n * 10 + 9, n + 1)).collect();
        let list: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
        let mut hosts = hosts::gather(&[], &[list.join(" ")]).expect("good hosts");
        let config = read(&tables).unwrap_or_else(|bad| panic!("{bad:?}"));
        let begun = std::time::Instant::now();
        assert!(config.apply(&mut hosts).is_empty());
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(hosts[9999].options.port.as_ref().map(|given| given.value), Some(1000));
    }
}
