//! Entries of a list, `[user@]host[:port]`: parsing, and invalid names of hosts and users.

use std::net::Ipv6Addr;

use super::problem::{Advice, Problem};
use crate::text::message::excerpt;

/// User, name and port of an entry.
pub type Parts = (Option<String>, String, Option<u16>);

/// Parses a `[user@]host[:port]` from outside of host lists, such as a jump host.
///
/// # Errors
/// What is wrong with it, and what was expected.
pub fn parse_entry(entry: &str) -> Result<Parts, String> {
    Ok(parse(entry)?)
}

/// Whether it is `ssh://[user@]host[:port]`, as in ssh(1), or the same with `sftp://`.
pub(super) fn is_url(entry: &str) -> bool {
    url(entry).is_some()
}

fn url(entry: &str) -> Option<&str> {
    let (scheme, rest) = entry.split_once("://")?;
    ["ssh", "sftp"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

/// Parses `[user[;parameter=value]@]host[:port][/]`, which follows the scheme of a URL; in the user `%40` is an @.
fn parse_url(rest: &str) -> Result<Parts, Problem> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err("expected ssh://[user@]host[:port], without a path".into());
    }
    let Some((user, place)) = rest.rsplit_once('@') else { return parse(rest) };
    let user = user.split(';').next().unwrap_or_default();
    let user = decoded(user).ok_or("expected two hexadecimal digits after the % in the user of the URL")?;
    let user = String::from_utf8(user).map_err(|_| "the user of the URL, decoded, is not UTF-8 text")?;
    check_user(&user)?;
    let (_, name, port) = parse(place)?;
    Ok((Some(user), name, port))
}

/// Decodes each `%XX` of a text.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    Some(bytes)
}

/// Parses `[user@]host[:port]`, or the same after `ssh://`. IPv6 addresses may be bare or, needed before a port, in
/// brackets.
pub(super) fn parse(entry: &str) -> Result<Parts, Problem> {
    if let Some(rest) = url(entry) {
        return parse_url(rest);
    }
    // The last @, as in ssh: a user may be "name@domain".
    let (user, place) = match entry.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, entry),
    };
    if let Some(user) = user {
        check_user(user)?;
    }
    let (name, port) = split_port(place)?;
    check_name(name)?;
    Ok((user.map(str::to_owned), name.to_owned(), port.map(parse_port).transpose()?))
}

fn split_port(place: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (name, rest) = bracketed.split_once(']').ok_or("the closing ] is missing")?;
        if name.contains(':') && !is_ipv6(name) {
            return Err(format!("expected an IPv6 address between the brackets, not {:?}", excerpt(name)));
        }
        return match rest {
            "" => Ok((name, None)),
            rest => match rest.strip_prefix(':') {
                Some(port) => Ok((name, Some(port))),
                None => Err(format!("expected :port after the ], not {:?}", excerpt(rest))),
            },
        };
    }
    match place.split_once(':') {
        None => Ok((place, None)),
        Some((name, port)) if !port.contains(':') => Ok((name, Some(port))),
        Some(_) if is_ipv6(place) => Ok((place, None)),
        Some(_) => Err(match port_behind_zone(place) {
            Some((address, port)) => format!("a port needs brackets around the IPv6 address: [{address}]:{port}"),
            None => "more than one colon, but not an IPv6 address; with a port write [address]:port".to_owned(),
        }),
    }
}

/// Whether it is an IPv6 address, with or without a zone.
pub fn is_ipv6(name: &str) -> bool {
    // The resolver checks a zone such as %eth0, but no interface has a colon in its name.
    let (address, zone) = name.split_once('%').unwrap_or((name, ""));
    address.parse::<Ipv6Addr>().is_ok() && !zone.contains(':')
}

/// Returns the address with its zone, and the port that seems to follow it.
fn port_behind_zone(place: &str) -> Option<(&str, &str)> {
    let (address, port) = place.rsplit_once(':')?;
    (address.contains('%') && is_ipv6(address)).then_some((address, port))
}

/// Reads a port.
///
/// # Errors
/// Not a port.
pub fn parse_port(port: &str) -> Result<u16, String> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(format!("the port {:?} is not a number from 1 to 65535", excerpt(port))),
    }
}

/// Bytes of the longest host name, NI_MAXHOST of netdb.h less its terminating NUL; also the limit of user names.
const MAX_NAME: usize = 1025 - 1;

/// Checks a host name, like ssh(1): no options, control characters, or shell syntax.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err("the host name is missing".into());
    }
    if name.starts_with('-') {
        return Err("a host name cannot start with -".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a host name cannot be longer than {MAX_NAME} bytes").into());
    }
    match name.chars().find(|c| c.is_control() || c.is_whitespace() || "'`\"$\\;&<>|(){},/[]*?#\u{feff}".contains(*c)) {
        Some(',') => Err(Problem::with("hosts are separated by blanks, not commas", Advice::ListWithCommas)),
        Some(bad @ ('*' | '?')) => {
            Err(Problem::with(format!("a host name cannot contain {bad:?}"), Advice::ChooseByPattern))
        }
        Some(bad) => Err(format!("a host name cannot contain {bad:?}").into()),
        None => Ok(()),
    }
}

/// Checks a user name, like ssh(1) on its command line.
pub(super) fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() {
        Err("the user before the @ is missing")
    } else if user.starts_with(['-', '@']) {
        Err("a user name cannot start with - or @")
    } else if user.len() > MAX_NAME {
        Err("the user name is too long")
    } else if user.ends_with('\\') || user.chars().any(|c| c.is_control() || "'`\";&<>|(){}\u{feff}".contains(c)) {
        Err("the user name contains an invalid character")
    } else {
        Ok(())
    }
}

/// Checks a user name from outside of host entries, such as `-l`.
///
/// # Errors
/// What is wrong with it.
pub fn check_login(user: &str) -> Result<(), &'static str> {
    check_user(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(entry: &str) -> Option<(Option<String>, String, Option<u16>)> {
        parse(entry).ok()
    }

    fn expect(user: Option<&str>, name: &str, port: Option<u16>) -> Option<Parts> {
        Some((user.map(str::to_owned), name.to_owned(), port))
    }

    #[test]
    fn takes_entries_apart() {
        assert_eq!(parts("web1"), expect(None, "web1", None));
        assert_eq!(parts("root@web2:2222"), expect(Some("root"), "web2", Some(2222)));
        assert_eq!(parts("a@ad.example@web1"), expect(Some("a@ad.example"), "web1", None));
        assert_eq!(parts("::1"), expect(None, "::1", None));
        assert_eq!(parts("[::1]"), expect(None, "::1", None));
        assert_eq!(parts("u@[fe80::1%eth0]:22"), expect(Some("u"), "fe80::1%eth0", Some(22)));
        assert_eq!(parts("fe80::1%eth0"), expect(None, "fe80::1%eth0", None));
        assert_eq!(parts("[web1]:2200"), expect(None, "web1", Some(2200)));
        assert_eq!(parts("ssh://web1"), expect(None, "web1", None));
        assert_eq!(parts("ssh://a%40ad;x=y@web1:22/"), expect(Some("a@ad"), "web1", Some(22)));
        assert_eq!(parts("SFTP://me@[::1]:22"), expect(Some("me"), "::1", Some(22)));
    }

    #[test]
    fn refuses_what_is_no_host() {
        for entry in [
            "",
            "@",
            "@web1",
            "root@",
            ":22",
            "web1:",
            "web1:0",
            "web1:65536",
            "web1:ssh",
            "web1:+22",
            "a:b:c",
            "[::1",
            "[::1]22",
            "[]:22",
            "[::eth0]",
            "[a:22]:22",
            "fe80::1%eth0:22",
            "[fe80::1%eth0:22]",
            "-oProxyCommand=x",
            "u@-x",
            "-l@web1",
            "web1,web2",
            "a/b",
            "a;b",
            "a\u{7}b",
            "$(x)",
            "web[1-3]",
            "web*",
            // A byte order mark, as between concatenated files.
            "\u{feff}web1",
            "\u{feff}me@web1",
            // In a hosts file it begins a comment.
            "web#1",
            "@@web1",
            "99999999999999999999:22:22",
            "ssh://",
            "ssh://web1/etc",
            "ssh://a%4@web1",
            "ssh://%2doX@web1",
            "ssh://-oX@web1",
            "ssh://ssh://web1",
            "http://web1",
        ] {
            assert!(parse(entry).is_err(), "{entry:?} was taken for {:?}", parse(entry));
        }
    }
}
