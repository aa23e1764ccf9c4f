//! Hosts as text that a hosts file, or a list of hosts, reads back.

use std::collections::{BTreeMap, HashSet};

use super::entry::is_url;
use super::nodeset::fold_to_items;
use super::nodeset::list::{self, Item};
use super::{HostSpec, line, parse_entry};

impl HostSpec {
    /// Formats the host as a line of a hosts file with the same meaning.
    pub fn line(&self) -> String {
        let mut line = self.entry_line();
        if !self.written.is_empty() {
            line.push(' ');
            line.push_str(&self.written);
        }
        line
    }

    /// The same without its options.
    pub fn entry_line(&self) -> String {
        let entry = self.to_string();
        // A user name may contain characters that would end the entry, or begin a URL.
        let ends_entry = |c: char| c.is_whitespace() || c == '#';
        match &self.user {
            Some(user) if user.contains(ends_entry) || is_url(&entry) => {
                let mut line = self.place();
                line::put("user", user, &mut line);
                line
            }
            _ => entry,
        }
    }

    /// Returns `host[:port]`.
    fn place(&self) -> String {
        HostSpec { user: None, ..self.clone() }.to_string()
    }
}

/// Writes hosts as one list, each host once, such as `db1,root@web[1-20]:2222`.
///
/// # Errors
/// A host that a list cannot name, since its user or name has characters of the list's own syntax.
pub fn folded(hosts: &[HostSpec]) -> Result<String, &HostSpec> {
    let mut of_user: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
    let mut known: HashSet<&str> = HashSet::new();
    for host in hosts {
        let user = host.user.as_deref();
        let places = of_user.entry(user).or_default();
        let is_new = places.is_empty();
        if is_new && user.is_some_and(|user| !is_item(user, "a")) {
            return Err(host);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
        if !host.name.chars().all(is_plain) && known.insert(&host.name) && !is_item("", &host.name) {
            return Err(host);
        }
        places.push(host.place());
    }
    let mut items = Vec::new();
    for (user, places) in of_user {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        // Numbers of users are not ranges in a list.
        items.extend(fold_to_items(places.iter().map(String::as_str)).into_iter().map(|item| user.clone() + &item));
    }
    Ok(items.join(","))
}

/// Whether a list reads `[user@]name` as just this host, also before other items.
fn is_item(user: &str, name: &str) -> bool {
    let expected = (Some(user.to_owned()).filter(|user| !user.is_empty()), name.to_owned(), None);
    let entry = if user.is_empty() { name.to_owned() } else { format!("{user}@{name}") };
    let is_host = |term: &list::Term<'_>, text: &str| term.text == text && matches!(term.item, Item::Hosts);
    let list = format!("{entry},b");
    match list::parse(&list).as_deref() {
        Ok([first, second]) => {
            is_host(first, &entry) && is_host(second, "b") && parse_entry(&entry).is_ok_and(|parts| parts == expected)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::hosts::hosts_file::of_text;
    use crate::hosts::{Groups, Lists, Origin, Parts};

    fn parts(hosts: &[HostSpec]) -> Vec<Parts> {
        hosts.iter().map(|host| (host.user.clone(), host.name.clone(), host.port)).collect()
    }

    fn read_list(list: &str) -> Vec<Parts> {
        let nodes = [list.to_owned()];
        let lists = Lists { nodes: &nodes, ..Lists::default() };
        let read = lists.read(&mut Groups::default());
        parts(&read.unwrap_or_else(|error| panic!("{list}: {error}")).0)
    }

    fn hosts(entries: &[&str]) -> Vec<HostSpec> {
        let parse = |entry: &&str| HostSpec::new(parse_entry(entry).expect("a host"), Origin::Text("hosts"));
        entries.iter().map(parse).collect()
    }

    #[test]
    fn hosts_fold_by_user_and_port() {
        for (entries, expected) in [
            (&["web2", "web1", "web2"][..], "web[1-2]"),
            (&["u1@web1", "u2@web1", "u1@web2:22", "u1@web3:22"], "u1@web1,u1@web[2-3]:22,u2@web1"),
            (&["[::1]:22", "::1", "::2", "me@[::1]:22"], "::[1-2],[::1]:22,me@[::1]:22"),
            (&["web1:22", "web1:23", "web2:22", "web2:23"], "web[1-2]:[22-23]"),
        ] {
            let folded = folded(&hosts(entries)).expect("a list");
            assert_eq!(folded, expected);
            let set = |parts: Vec<Parts>| parts.into_iter().collect::<BTreeSet<_>>();
            assert_eq!(set(read_list(&folded)), set(parts(&hosts(entries))));
        }
        for bad in ["a!b", "a^b", "a,b@web1", "/x/@web1", "u[@web1", "a b@web1", "u*@web1", "ssh://x%3A%2F%2Fy@web1"] {
            let hosts = hosts(&["web1", bad]);
            let told = folded(&hosts).map_err(HostSpec::to_string);
            // A user such as x://y is no URL.
            if bad.starts_with("ssh") {
                assert_eq!(told.as_deref(), Ok("web1,x://y@web1"));
            } else {
                assert_eq!(told, Err(hosts[1].to_string()), "{bad}");
            }
        }
        let hosts = hosts(&["ssh://ssh%3A%2F%2Fy@web1"]);
        assert!(folded(&hosts).is_err());
        assert_eq!(hosts[0].entry_line(), "web1 user=ssh://y");
    }

    proptest! {
        #[test]
        fn hosts_are_read_back(entries in prop::collection::vec("([a-u0-9]{0,2}[\\[\\]!,/*^ #:.=@]?[a-u0-9]?@)?[a-u]{0,2}[0-9]{1,2}[!.-]?[0-9]{0,2}(:2[0-9])?", 1..20)) {
            let specs: Vec<HostSpec> = entries
                .iter()
                .filter_map(|entry| Some(HostSpec::new(parse_entry(entry).ok()?, Origin::Text("hosts"))))
                .collect();
            let text: String = specs.iter().map(|host| host.entry_line() + "\n").collect();
            let read = of_text(Path::new("hosts"), text.as_bytes());
            let read = read.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            prop_assert_eq!(parts(&read), parts(&specs), "{}", &text);
            if let Ok(list) = folded(&specs)
                && !list.is_empty()
            {
                let read: BTreeSet<Parts> = read_list(&list).into_iter().collect();
                prop_assert_eq!(read, parts(&specs).into_iter().collect::<BTreeSet<_>>(), "{}", &list);
            }
        }
    }
}
