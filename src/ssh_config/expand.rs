//! Tokens, variables and home directories in values (ssh_config(5), "TOKENS" and "ENVIRONMENT VARIABLES").

use std::borrow::Cow;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use openssl::sha::sha1;

use super::Local;
use super::values::AddressFamily;
use crate::system::resolver;

/// The values of the tokens.
pub(super) struct Tokens<'a> {
    pub(super) local: &'a Local,
    /// `%n`: as typed.
    pub(super) name: &'a str,
    /// `%h`: the host to connect to.
    pub(super) host: &'a str,
    /// `%k`: the name of its key.
    pub(super) key_alias: &'a str,
    /// `%p`.
    pub(super) port: u16,
    /// `%r`: on the remote side.
    pub(super) user: &'a str,
}

impl Tokens<'_> {
    /// Expands `~`, tokens and variables, as in file names.
    pub(super) fn path(&self, text: &str) -> Result<String, String> {
        let path = home(text, self.local)?;
        if is_plain(&path) {
            return Ok(path);
        }
        replace(&path, Some(&|token| self.any(token)), Some(self.local))
    }

    /// Expands only the tokens of ProxyCommand and ProxyJump.
    pub(super) fn proxy(&self, text: &str) -> Result<String, String> {
        let token = |token| if "hknpr".contains(token) { self.any(token) } else { None };
        replace(text, Some(&token), None)
    }

    /// Expands tokens and variables, except the `late` tokens, whose values are not known yet.
    pub(super) fn with_late(&self, text: &str, late: &[char]) -> Result<Vec<Part>, String> {
        let token = |token| match late.contains(&token) {
            true => Some(Part::Late(token)),
            false => self.any(token).map(Part::Text),
        };
        parts(text, Some(&token), Some(self.local))
    }

    fn any(&self, token: char) -> Option<String> {
        let short_name = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        Some(match token {
            'C' => self.connection(),
            'L' => short_name(&self.local.host_name),
            'd' => self.local.home.clone(),
            'h' => self.host.to_owned(),
            'i' => self.local.uid.to_string(),
            'k' => self.key_alias.to_owned(),
            'l' => self.local.host_name.clone(),
            'n' => self.name.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.local.user.clone(),
            _ => return None,
        })
    }

    /// The hash of `%l%h%p%r` (`ssh_connection_hash` in readconf.c).
    fn connection(&self) -> String {
        let text = format!("{}{}{}{}", self.local.host_name, self.host, self.port, self.user);
        sha1(text.as_bytes()).iter().fold(String::with_capacity(40), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// HostName has only `%h`: the name as typed.
pub(super) fn host_name(text: &str, name: &str) -> Result<String, String> {
    replace(text, Some(&|token| (token == 'h').then(|| name.to_owned())), None)
}

/// Expands only `${NAME}`.
pub(super) fn variables(text: &str, local: &Local) -> Result<String, String> {
    replace(text, None, Some(local))
}

/// A part of an expanded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A token whose value comes later.
    Late(char),
}

type Token<'a, T> = &'a dyn Fn(char) -> Option<T>;

/// Whether there is nothing to expand, as in most of the many values of a host.
fn is_plain(text: &str) -> bool {
    !text.contains(['%', '$'])
}

fn replace(text: &str, token: Option<Token<'_, String>>, variables: Option<&Local>) -> Result<String, String> {
    if is_plain(text) {
        return Ok(text.to_owned());
    }
    let as_part = |char| token.and_then(|token| token(char)).map(Part::Text);
    let parts = parts(text, token.is_some().then_some(&as_part as Token<'_, Part>), variables)?;
    let texts = parts.into_iter().map(|part| match part {
        Part::Text(text) => text,
        Part::Late(token) => format!("%{token}"),
    });
    Ok(texts.collect())
}

/// `vdollar_percent_expand` in misc.c.
fn parts(text: &str, token: Option<Token<'_, Part>>, variables: Option<&Local>) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['%', '$']) {
        parts.push(Part::Text(rest[..start].to_owned()));
        rest = &rest[start..];
        let taken = if let Some((local, after)) = variables.zip(rest.strip_prefix("${")) {
            let Some((name, _)) = after.split_once('}') else { return Err(format!("{text:?} lacks a }}")) };
            let value = (local.variable)(name).filter(|_| !name.is_empty());
            parts.push(Part::Text(value.ok_or_else(|| format!("the variable {name:?} is not set"))?));
            name.len() + 3
        } else if let Some((token, after)) = token.zip(rest.strip_prefix('%')) {
            let Some(char) = after.chars().next() else { return Err(format!("{text:?} ends in a single %")) };
            let value = if char == '%' { Some(Part::Text("%".to_owned())) } else { token(char) };
            parts.push(value.ok_or_else(|| format!("%{char} is not a token here"))?);
            1 + char.len_utf8()
        } else {
            parts.push(Part::Text(rest[..1].to_owned()));
            1
        };
        rest = &rest[taken..];
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// `~` and `~user` at the start (`tilde_expand` in misc.c). The home directory is that of the password database.
pub(super) fn home(text: &str, local: &Local) -> Result<String, String> {
    let Some(after) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
    let (user, path) = after.split_once('/').unwrap_or((after, ""));
    let home = match user {
        "" => Cow::Borrowed(&local.home),
        _ => Cow::Owned((local.home_of)(user).ok_or_else(|| format!("there is no user {user:?}"))?),
    };
    let (slash, path) = (if home.ends_with('/') { "" } else { "/" }, path.trim_start_matches('/'));
    Ok([home.as_str(), slash, path].concat())
}

/// Returns the host to connect to: a name in lower case, an address in its canonical form (`main` in ssh.c).
pub(super) fn canonical_host(host: &str, family: AddressFamily) -> String {
    let address = address(host, family);
    match address {
        Some(address) if address.eq_ignore_ascii_case(host) => host.to_owned(),
        Some(address) => address,
        None if looks_like_address(host) => host.to_owned(),
        None => host.to_ascii_lowercase(),
    }
}

fn looks_like_address(host: &str) -> bool {
    host.contains(['%', ':']) || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Returns the address as getnameinfo(3) prints it, if `host` is one for getaddrinfo(3).
fn address(host: &str, family: AddressFamily) -> Option<String> {
    let (text, zone) = host.find('%').map_or((host, ""), |at| host.split_at(at));
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        // Its name, where the number is that of an interface for this link alone.
        let is_of_link = address.is_unicast_link_local() || address.segments()[0] == 0xff02;
        let number = zone.strip_prefix('%').and_then(|zone| zone.parse().ok()).filter(|_| is_of_link);
        let name = number.and_then(resolver::interface).map(|name| format!("%{name}"));
        let zone = name.as_deref().unwrap_or(zone);
        return (family != AddressFamily::Inet).then(|| format!("{}{zone}", shown(&address)));
    }
    let address = ipv4(host)?;
    (family != AddressFamily::Inet6).then(|| address.to_string())
}

/// glibc writes the last four bytes of `::/96` as IPv4; std does not.
fn shown(address: &Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [[a, b], [c, d]] = [high, low].map(u16::to_be_bytes);
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

/// One to four numbers, decimal, octal or hexadecimal; the last fills what is left (inet_aton(3)).
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text
        .split('.')
        .map(|part| {
            let hexadecimal = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
            let (digits, radix) = match (hexadecimal, part.strip_prefix('0')) {
                (Some(digits), _) => (digits, 16),
                (None, Some("")) | (None, None) => (part, 10),
                (None, Some(digits)) => (digits, 8),
            };
            let plain = digits.chars().all(|char| char.is_digit(radix));
            plain.then(|| u32::from_str_radix(digits, radix).ok())?
        })
        .collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    let bytes: Vec<u8> = first.iter().map(|number| u8::try_from(*number).ok()).collect::<Option<_>>()?;
    let left = 4usize.checked_sub(bytes.len()).filter(|left| *left > 0)?;
    let limit = 1u64 << (8 * left);
    let mut address = last.to_be_bytes();
    address[..bytes.len()].copy_from_slice(&bytes);
    (u64::from(*last) < limit).then(|| address.into())
}
