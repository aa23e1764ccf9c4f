//! Names of files and directories for hosts. They are unique and cannot leave their directory.

use std::collections::{HashMap, HashSet};

use crate::hosts::HostSpec;

/// Returns a file name for each host: `[user@]host[:port]`, without the user if it is `user`, that of `-l`.
pub fn of_hosts<'a>(hosts: impl Iterator<Item = &'a HostSpec>, user: Option<&str>) -> Vec<String> {
    unique(hosts.map(|host| safe(&pretty(host, user))).collect())
}

/// Returns a directory name for each host: `host[:port]`.
pub fn directories<'a>(hosts: impl Iterator<Item = &'a HostSpec>) -> Vec<String> {
    unique(hosts.map(|host| safe(&pretty(host, host.user.as_deref()))).collect())
}

/// Makes names unique. A host whose name is in the list keeps it; others get a number.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let is_first: Vec<bool> = names.iter().map(|name| taken.insert(name.clone())).collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut unique = |(name, is_first): (String, bool)| {
        if is_first {
            return name;
        }
        let count = counts.entry(name.clone()).or_default();
        loop {
            *count += 1;
            let numbered = format!("{name}.{count}");
            if taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    };
    names.into_iter().zip(is_first).map(&mut unique).collect()
}

/// Formats `[user@]host[:port]` as pssh does.
pub fn pretty(host: &HostSpec, user: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(own) = host.user.as_deref().filter(|own| Some(*own) != user) {
        text = format!("{own}@");
    }
    if host.name.contains(':') {
        text.push_str(&format!("[{}]", host.name));
    } else {
        text.push_str(&host.name);
    }
    if let Some(port) = host.port {
        text.push_str(&format!(":{port}"));
    }
    text
}

/// Returns a name that cannot leave its directory, whatever host lists contain.
fn safe(name: &str) -> String {
    let name: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if name.is_empty() || name.chars().all(|c| c == '.') { name.replace('.', "_") + "_" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::gather;

    fn names_of(list: &str, user: Option<&str>) -> Vec<String> {
        let hosts = gather(&[], &[list.to_owned()]).expect("hosts");
        of_hosts(hosts.iter(), user)
    }

    #[test]
    fn names_are_those_of_pssh() {
        assert_eq!(names_of("n1 root@n1 n1:22 me@n1:2222", Some("root")), ["n1", "n1.1", "n1:22", "me@n1:2222"]);
        assert_eq!(names_of("root@n1 ::1 [::1]:22", None), ["root@n1", "[::1]", "[::1]:22"]);
        assert_eq!(names_of("a b a a b", None), ["a", "b", "a.1", "a.2", "b.1"]);
    }

    #[test]
    fn directories_have_no_users() {
        let hosts = gather(&[], &["root@n1 me@n1 n1:22 ::1 [::1]:22".to_owned()]).expect("hosts");
        assert_eq!(directories(hosts.iter()), ["n1", "n1.1", "n1:22", "[::1]", "[::1]:22"]);
    }

    #[test]
    fn no_two_hosts_share_a_file() {
        assert_eq!(names_of("a a a.1 a", None), ["a", "a.2", "a.1", "a.3"]);
        assert_eq!(names_of("a.1 a a a.1", None), ["a.1", "a", "a.2", "a.1.1"]);
        assert_eq!(names_of("d/u@h d_u@h", None), ["d_u@h", "d_u@h.1"]);
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for (name, expected) in [
            ("..", "___"),
            (".", "__"),
            ("", "_"),
            ("../../etc/passwd@h", ".._.._etc_passwd@h"),
            ("/etc/x", "_etc_x"),
            ("a\0b\n", "a_b_"),
            ("..x", "..x"),
        ] {
            assert_eq!(safe(name), expected);
        }
    }
}
