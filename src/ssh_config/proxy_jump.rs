//! ProxyJump: `[user@]host[:port]` and `ssh://[user@]host[:port]`, and lists of them.

use std::fmt;

use super::values;

/// A jump host in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The login name, if the list has one.
    pub user: Option<String>,
    /// The host: a name for ssh_config, or an address without brackets.
    pub host: String,
    /// The port, if the list has one.
    pub port: Option<u16>,
}

/// Formats it as `ssh -G` does.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let number = self.host.contains(':') || self.host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let (open, close) = if number { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Returns the hops of a list, the nearest first.
pub(super) fn hops(list: &str) -> Result<Vec<Hop>, String> {
    let good =
        |text| hop(text).ok_or_else(|| format!("{text:?} is not [user@]host[:port] or ssh://[user@]host[:port]"));
    list.split(',').map(good).collect()
}

/// `parse_ssh_uri` and `parse_user_host_port` in misc.c.
fn hop(text: &str) -> Option<Hop> {
    match text.strip_prefix("ssh://") {
        Some(uri) => {
            let (user, place) = match uri.split_once('@') {
                Some((user, place)) => (Some(user), place),
                None => (None, uri),
            };
            let user = user.map(|user| decoded(user.split(';').next().unwrap_or_default()));
            // A slash at the end is allowed, but no path.
            let (host, port) = host_and_port(place.strip_suffix('/').unwrap_or(place))?;
            let user = user.map_or(Some(None), |user| user.filter(|user| !user.is_empty()).map(Some))?;
            Some(Hop { user, host: domain(&host)?, port })
        }
        None => {
            let (user, place) = match text.rsplit_once('@') {
                Some(("", _)) => return None,
                Some((user, place)) => (Some(user.to_owned()), place),
                None => (None, text),
            };
            let (host, port) = host_and_port(place)?;
            Some(Hop { user, host, port })
        }
    }
}

/// Parses `host`, `host:port`, `[host]` or `[host]:port`, without a slash.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find([':', '/']).unwrap_or(text.len()) };
    let (host, after) = text.split_at(end);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = match after.strip_prefix(':') {
        None if !after.is_empty() => return None,
        None | Some("") => None,
        Some(port) => Some(values::port(port)?),
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// `valid_domain` in misc.c, which also removes a dot at the end.
fn domain(name: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid =
        name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(good) && !name.contains("..");
    valid.then(|| name.strip_suffix('.').unwrap_or(name).to_owned())
}

/// Decodes a user's name in a URI: `+` is a blank, `%2B` a plus.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok().filter(|byte| *byte != 0)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
