//! The values that are known of every host, whatever else is given for it: `%(host)q`, `%(user)q`, `%(port)s`, `%(index)s`.

use std::borrow::Cow;

use super::{Arguments, HostArgsError};
use crate::command::CommandLine;
use crate::command::template::Values;
use crate::text::message::excerpt;
use crate::text::suggest::did_you_mean;

/// The name of the column whose value says which host a row is for.
pub(super) const HOST: &str = "host";
/// The names that every host has a value for.
pub(super) const BUILT_IN: [&str; 4] = [HOST, "user", "port", "index"];

/// Checks a command that is given no other values (`--template`).
///
/// # Errors
/// It has a place without a name, or one for another value.
pub fn check_built_in(command: &CommandLine) -> Result<(), HostArgsError> {
    let known = BUILT_IN.map(|name| format!("%({name})s")).join(", ");
    let mut problems = Vec::new();
    if command.places() > 0 {
        problems.push(format!("--template: %s, %q and %d need a name here: {known}; %% is a percent sign"));
    }
    for name in command.names().filter(|name| !BUILT_IN.contains(name)) {
        let tip = did_you_mean(name, BUILT_IN);
        let name = excerpt(name);
        problems.push(format!(
            "--template: there is no value named {name:?}{tip}; there are {known}, and --host-arg HOST:{name}=VALUE gives others"
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(HostArgsError::Bad(problems)) }
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
