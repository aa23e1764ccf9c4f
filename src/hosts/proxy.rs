//! Proxies: jump hosts, or a command that makes the connection. Parsing only; checked
//! before anything connects.

use std::fmt;
use std::sync::Arc;

use crate::hosts;

/// A proxy to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Through these hosts (ProxyJump), each reached through the one before; never empty.
    Jump(Arc<[Hop]>),
    /// Over standard input and output of this command (ProxyCommand).
    Command(Arc<Template>),
}

/// A jump host as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The login name, if one is given.
    pub user: Option<String>,
    /// Host name or address, without brackets.
    pub name: String,
    /// The port, if one is given.
    pub port: Option<u16>,
}

/// Disables proxies, in ssh_config(5) and here.
const NONE: &str = "none";

impl Proxy {
    /// Parses `[user@]host[:port][,...]`. `None` for `none`.
    ///
    /// # Errors
    /// A hop is not a host; the message says which and what was expected.
    pub fn jump(text: &str) -> Result<Option<Proxy>, String> {
        if text.trim().eq_ignore_ascii_case(NONE) {
            return Ok(None);
        }
        let hops: Result<Arc<[Hop]>, String> = text.split(',').map(|entry| Hop::parse(entry.trim())).collect();
        hops.map(|hops| Some(Proxy::Jump(hops)))
    }

    /// Parses a command in which `%h`, `%p` and `%r` stand for host, port and user, and `%%` for a percent sign. `None` for
    /// `none`.
    ///
    /// # Errors
    /// Empty, or another `%`.
    pub fn command(text: &str) -> Result<Option<Proxy>, String> {
        if text.trim().eq_ignore_ascii_case(NONE) {
            return Ok(None);
        }
        Template::parse(text).map(|template| Some(Proxy::Command(Arc::new(template))))
    }
}

impl Proxy {
    /// Creates a command without placeholders.
    pub(crate) fn literal_command(text: &str) -> Proxy {
        Proxy::Command(Arc::new(Template(vec![Piece::Text(text.to_owned())])))
    }
}

impl Hop {
    /// Parses `[user@]host[:port]`, also after `ssh://`, like ssh.
    fn parse(entry: &str) -> Result<Hop, String> {
        if entry.is_empty() {
            return Err("expected [user@]host[:port][,...], or none".to_owned());
        }
        let bare = entry.strip_prefix("ssh://").unwrap_or(entry);
        let (user, name, port) = hosts::parse_entry(bare).map_err(|problem| format!("{entry:?}: {problem}"))?;
        Ok(Hop { user, name, port })
    }
}

/// A command for the local shell with placeholders for host, port and user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Host,
    Port,
    User,
}

impl Template {
    fn parse(text: &str) -> Result<Template, String> {
        if text.trim().is_empty() {
            return Err("the command is empty; none disables it".to_owned());
        }
        if text.contains('\0') {
            return Err("the command contains a NUL byte".to_owned());
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some('%')) => {
                    plain.push('%');
                    continue;
                }
                ('%', Some('h' | 'n')) => Piece::Host,
                ('%', Some('p')) => Piece::Port,
                ('%', Some('r')) => Piece::User,
                ('%', Some(other)) => return Err(format!("unknown %{other}; expected %h, %p, %r or %%")),
                ('%', None) => return Err("incomplete % at the end; write %% for a literal %".to_owned()),
                (c, _) => {
                    plain.push(c);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template(pieces))
    }

    /// Returns the command for one host. Names are checked: none contains shell syntax.
    pub fn fill(&self, host: &str, port: u16, user: &str) -> String {
        let mut command = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => command.push_str(text),
                Piece::Host => command.push_str(host),
                Piece::Port => command.push_str(&port.to_string()),
                Piece::User => command.push_str(user),
            }
        }
        command
    }
}

impl fmt::Display for Proxy {
    /// Writes it as in ssh_config(5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proxy::Jump(hops) => {
                let hops: Vec<String> = hops.iter().map(Hop::to_string).collect();
                f.write_str(&hops.join(","))
            }
            Proxy::Command(template) => template.0.iter().try_for_each(|piece| match piece {
                Piece::Text(text) => f.write_str(&text.replace('%', "%%")),
                Piece::Host => f.write_str("%h"),
                Piece::Port => f.write_str("%p"),
                Piece::User => f.write_str("%r"),
            }),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hosts::write_entry(f, self.user.as_deref(), &self.name, self.port)
    }
}

/// A decision about proxies: this one, or with `None` no proxy, whatever ssh_config says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via(pub Option<Proxy>);

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(text: &str) -> Vec<String> {
        match Proxy::jump(text) {
            Ok(Some(Proxy::Jump(hops))) => hops.iter().map(Hop::to_string).collect(),
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn jumps_are_lists_of_hosts() {
        assert_eq!(hops("bastion"), ["bastion"]);
        assert_eq!(hops("me@a:2222, [::1]:22,b"), ["me@a:2222", "[::1]:22", "b"]);
        assert_eq!(hops("ssh://me@a:22"), ["me@a:22"]);
        assert_eq!(Proxy::jump("none"), Ok(None));
        for bad in ["", ",", "a,", "a b", "-oX", "a:0", "u@,b", "a/b"] {
            assert!(Proxy::jump(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn commands_have_places_for_host_port_and_user() {
        let fill = |text: &str| match Proxy::command(text) {
            Ok(Some(Proxy::Command(template))) => template.fill("web1", 22, "me"),
            other => panic!("{text:?} is {other:?}"),
        };
        assert_eq!(fill("nc %h %p"), "nc web1 22");
        assert_eq!(fill("x %r@%h:%p%%h %n"), "x me@web1:22%h web1");
        assert_eq!(Proxy::command(" None "), Ok(None));
        for bad in ["", "  ", "nc %h %", "nc %x", "a\0b"] {
            assert!(Proxy::command(bad).is_err(), "{bad:?} was taken");
        }
    }
}
