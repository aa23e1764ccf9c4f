//! Built-in values of every host: `%(host)q`, `%(user)q`, `%(port)s`, `%(index)s`.

use std::borrow::Cow;

use super::Arguments;
use crate::command::CommandLine;
use crate::command::template::Values;

/// The name of the column with the host of a row.
pub(super) const HOST: &str = "host";
/// The names of the built-in values.
pub const BUILT_IN: [&str; 4] = [HOST, "user", "port", "index"];

/// A placeholder without a built-in value.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfilled {
    /// It has no name.
    Nameless,
    /// It names another value.
    Unknown(String),
}

/// Returns the placeholders of a command without built-in values.
pub fn unfilled(command: &CommandLine) -> Vec<Unfilled> {
    let nameless = (command.places() > 0).then_some(Unfilled::Nameless);
    let unknown = command.names().filter(|name| !BUILT_IN.contains(name));
    nameless.into_iter().chain(unknown.map(|name| Unfilled::Unknown(name.to_owned()))).collect()
}

/// The values for one host: its arguments, and the built-in ones.
pub struct ForHost<'a> {
    /// Its arguments.
    pub arguments: &'a Arguments,
    /// Its name in the list.
    pub host: &'a str,
    /// The login name.
    pub user: &'a str,
    /// The port.
    pub port: u16,
    /// Its place in the list, from 0, like PSSH_NODENUM of pssh.
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
