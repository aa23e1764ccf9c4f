//! The values that are known of every host, whatever else is given for it: `%(host)q`, `%(user)q`, `%(port)s`, `%(index)s`.

use std::borrow::Cow;

use super::Arguments;
use crate::command::CommandLine;
use crate::command::template::Values;

/// The name of the column whose value says which host a row is for.
pub(super) const HOST: &str = "host";
/// The names that every host has a value for.
pub const BUILT_IN: [&str; 4] = [HOST, "user", "port", "index"];

/// A place of a command that nothing fills, where no other values are given.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfilled {
    /// It has no name.
    Nameless,
    /// It is for another value.
    Unknown(String),
}

/// The places of a command that nothing fills if it is given no other values.
pub fn unfilled(command: &CommandLine) -> Vec<Unfilled> {
    let nameless = (command.places() > 0).then_some(Unfilled::Nameless);
    let unknown = command.names().filter(|name| !BUILT_IN.contains(name));
    nameless.into_iter().chain(unknown.map(|name| Unfilled::Unknown(name.to_owned()))).collect()
}

/// The values for one host: its arguments, and what is known of every host.
pub struct ForHost<'a> {
    /// Its arguments.
    pub arguments: &'a Arguments,
    /// Its name in the list.
    pub host: &'a str,
    /// The login name.
    pub user: &'a str,
    /// The port.
    pub port: u16,
    /// Its place in the list, from 0, as PSSH_NODENUM of pssh.
    pub index: usize,
}

impl Values for ForHost<'_> {
    fn place(&self, place: usize) -> Option<&[u8]> {
        self.arguments.in_order.get(place).map(Vec::as_slice)
    }

    fn named(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if let Some((_, value)) = self.arguments.named.iter().find(|(known, _)| **known == *name) {
            return Some(Cow::Borrowed(value));
        }
        match name {
            HOST => Some(Cow::Borrowed(self.host.as_bytes())),
            "user" => Some(Cow::Borrowed(self.user.as_bytes())),
            "port" => Some(Cow::Owned(self.port.to_string().into_bytes())),
            "index" => Some(Cow::Owned(self.index.to_string().into_bytes())),
            _ => None,
        }
    }
}
