//! Words that look like hosts in other places.

use super::hosts_file::is_entry;
use super::nodeset::list::{self, Item, Term};
use super::{check_reference, is_ipv6, parse_entry};

/// What a word looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// It can only be hosts: a list, a range, a group, an address, or a name with a user or a port.
    Hosts,
    /// It may be the name of a host, or something else.
    Name,
    /// Not a host name.
    Other,
}

/// Classifies a word: `web[1-3]`, `web1,web2`, `root@web1`, `web1:22`, `10.0.0.1` and `@web` like hosts, `web1` like a name.
pub fn likeness(word: &str) -> Likeness {
    if is_assignment(word) {
        return Likeness::Other;
    }
    let Ok((user, name, port)) = parse_entry(word) else {
        return if is_list(word) { Likeness::Hosts } else { Likeness::Other };
    };
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok() || is_ipv6(&name);
    if user.is_some() || port.is_some() || is_address || word.contains('[') {
        Likeness::Hosts
    } else if name.starts_with(|c: char| c.is_alphanumeric()) && name.chars().all(is_of_name) {
        Likeness::Name
    } else {
        Likeness::Other
    }
}

/// Whether a shell takes it for `NAME=value`, such as `http_proxy=proxy:3128` before a command.
fn is_assignment(word: &str) -> bool {
    let is_of_variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_of_variable)
    })
}

/// Whether two names are in the same domain, such as web1.example.com and db1.example.com.
pub fn share_a_domain(one: &str, other: &str) -> bool {
    let domain = domain_of(one);
    one != other && domain.as_ref().is_some_and(|domain| domain.contains('.')) && domain == domain_of(other)
}

fn domain_of(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, domain)| domain.to_ascii_lowercase())
}

/// Whether two names differ only in their digits, such as web1 and web12.
pub fn differ_in_digits(one: &str, other: &str) -> bool {
    let has_digit = |name: &str| name.contains(|c: char| c.is_ascii_digit());
    one != other && has_digit(one) && has_digit(other) && letters(one).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().filter(|byte| !byte.is_ascii_digit())
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "-_.".contains(c)
}

/// Whether it is a list like those of `-w`, with more than a name.
fn is_list(word: &str) -> bool {
    // `[` is a command, and a range follows a name.
    if !word.contains([',', '[', '@']) || word.starts_with('[') || word.contains('=') {
        return false;
    }
    let is_good = |term: &Term<'_>| match term.item {
        Item::Hosts => is_entry(term.text) && term.text.starts_with(|c: char| c.is_alphanumeric()),
        Item::Group => term.text.strip_prefix('@').is_some_and(|name| check_reference(name).is_ok()),
        Item::Pattern(_) => false,
    };
    list::parse(word).is_ok_and(|terms| terms.iter().all(is_good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_look_like_hosts_or_not() {
        for word in [
            "web[1-3]",
            "web1,web2",
            "root@web1",
            "web1:22",
            "10.0.0.1",
            "::1",
            "[::1]:22",
            "@web",
            "@web!web1",
            "@ec2:web",
            "@ec2:*!web1",
            "u@web[1-3]:22",
            "web[1-2],db[01-03]",
            "ssh://web1:22",
        ] {
            assert_eq!(likeness(word), Likeness::Hosts, "{word}");
        }
        for word in ["web1", "web1.example.com", "uptime", "python3.11", "git"] {
            assert_eq!(likeness(word), Likeness::Name, "{word}");
        }
        for word in [
            "", "[", "[[", "[ -f x ]", "./x", "/bin/ls", "~/x", "A=1", "a[1]=2", "{a,b}", "$x", "(ls)", "!", ":",
            "ls;", "ls|wc", "@", "web*", "/x/", "x,", ",x", "web[1-3", "-x", "_x", ".", "...", "1>x", "echo a,b",
            "a&b c",
        ] {
            assert_eq!(likeness(word), Likeness::Other, "{word}");
        }
    }
}
