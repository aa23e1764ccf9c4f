//! The types of values: how each is parsed from the arguments of its keyword, and how `ssh -G` prints it.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use super::expand;
use super::line::{Words, Wrong};

/// A value of a keyword.
pub(super) trait Value: Sized {
    /// Parses the arguments; `None` if they set nothing, like `ConnectTimeout none`.
    fn read(words: &mut Words<'_>) -> Result<Option<Self>, Wrong>;

    /// Formats it as `ssh -G` does; `None` if that prints nothing.
    fn show(&self) -> Option<String>;
}

impl<T: Value> Value for Option<T> {
    fn read(words: &mut Words<'_>) -> Result<Option<Option<T>>, Wrong> {
        Ok(T::read(words)?.map(Some))
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Value::show)
    }
}

/// A word as written.
impl Value for String {
    fn read(words: &mut Words<'_>) -> Result<Option<String>, Wrong> {
        words.required().map(Some)
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for bool {
    fn read(words: &mut Words<'_>) -> Result<Option<bool>, Wrong> {
        let word = words.required()?;
        flag(&word).map(Some).ok_or_else(|| words.unexpected(&word, "yes or no"))
    }

    fn show(&self) -> Option<String> {
        Some(if *self { "yes" } else { "no" }.to_owned())
    }
}

/// `yes`, `true`, `no` or `false`, in any case.
pub(super) fn flag(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

/// A port number, or the name of a service.
impl Value for u16 {
    fn read(words: &mut Words<'_>) -> Result<Option<u16>, Wrong> {
        let word = words.required()?;
        port(&word).map(Some).ok_or_else(|| words.unexpected(&word, "a port (1-65535, or a service's name)"))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A port from 1 on (`a2port` in misc.c).
pub(super) fn port(word: &str) -> Option<u16> {
    let number = match number(word) {
        Some(number) => u16::try_from(number).ok(),
        None => service(word),
    };
    number.filter(|port| *port != 0)
}

/// The TCP port of a service in services(5).
fn service(name: &str) -> Option<u16> {
    static SERVICES: OnceLock<HashMap<String, u16>> = OnceLock::new();
    let services = SERVICES.get_or_init(|| {
        let mut ports = HashMap::from([("ssh".to_owned(), 22)]);
        for line in fs::read_to_string("/etc/services").unwrap_or_default().lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let name = words.next();
            let Some(port) = words.next().and_then(|port| port.strip_suffix("/tcp")?.parse().ok()) else { continue };
            for name in name.into_iter().chain(words) {
                ports.entry(name.to_owned()).or_insert(port);
            }
        }
        ports
    });
    services.get(name).copied()
}

/// A decimal number as strtoll(3) reads it, with nothing after it.
fn number(word: &str) -> Option<i64> {
    let (number, rest) = leading_number(word)?;
    rest.is_empty().then_some(number)
}

/// The number at the start, which may have blanks and a sign before it, and what follows it.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n', '\x0b', '\x0c']);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let rest = digits.trim_start_matches(|char: char| char.is_ascii_digit());
    Some((text[..text.len() - rest.len()].parse().ok()?, rest))
}

impl Value for u32 {
    fn read(words: &mut Words<'_>) -> Result<Option<u32>, Wrong> {
        let word = words.required()?;
        let number = number(&word).and_then(|number| i32::try_from(number).ok()?.try_into().ok());
        number.map(Some).ok_or_else(|| words.unexpected(&word, "a number from 0 to 2147483647"))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A time in sshd_config(5)'s TIME FORMATS; `none` sets nothing, so that a later line can.
impl Value for Duration {
    fn read(words: &mut Words<'_>) -> Result<Option<Duration>, Wrong> {
        let word = words.required()?;
        if word == "none" {
            return Ok(None);
        }
        time(&word).map(Some).ok_or_else(|| words.unexpected(&word, "a time (such as 90, 1m30s, none)"))
    }

    fn show(&self) -> Option<String> {
        Some(self.as_secs().to_string())
    }
}

/// `convtime` in misc.c.
fn time(text: &str) -> Option<Duration> {
    let mut total: i32 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
        let unit = match after.bytes().next() {
            None | Some(b's' | b'S') => 1,
            Some(b'm' | b'M') => 60,
            Some(b'h' | b'H') => 3600,
            Some(b'd' | b'D') => 86_400,
            Some(b'w' | b'W') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after.get(1..).unwrap_or_default();
    }
    let seconds = u64::try_from(total).ok()?;
    (!text.is_empty()).then_some(Duration::from_secs(seconds))
}

/// Time limit for connecting; `ssh -G` has a word for "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(
    /// Zero, like `None`, leaves it to the system.
    pub Option<Duration>,
);

impl Value for Timeout {
    fn read(words: &mut Words<'_>) -> Result<Option<Timeout>, Wrong> {
        Ok(Duration::read(words)?.map(|time| Timeout(Some(time))))
    }

    fn show(&self) -> Option<String> {
        self.0.map_or(Some("none".to_owned()), |time| time.show())
    }
}

/// File names; empty if the keyword has `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files(
    /// In the order as written.
    pub Vec<String>,
);

/// OpenSSH's SSH_MAX_HOSTS_FILES.
const MOST_FILES: usize = 32;

impl Files {
    pub(super) fn of(names: &[&str]) -> Files {
        Files(names.iter().map(|&name| name.to_owned()).collect())
    }
}

impl Value for Files {
    fn read(words: &mut Words<'_>) -> Result<Option<Files>, Wrong> {
        let mut names = Vec::new();
        while let Some(name) = words.next() {
            if name.is_empty() {
                return Err(words.wrong("a file name is empty".to_owned()));
            } else if name.eq_ignore_ascii_case("none") {
                let alone = names.is_empty() && words.left() == 0;
                return if alone {
                    Ok(Some(Files(names)))
                } else {
                    Err(words.wrong("none must be the only value".to_owned()))
                };
            }
            names.push(name);
        }
        if names.len() > MOST_FILES {
            return Err(words.wrong(format!("more than {MOST_FILES} files")));
        }
        Ok(if names.is_empty() { None } else { Some(Files(names)) })
    }

    fn show(&self) -> Option<String> {
        Some(if self.0.is_empty() { "none".to_owned() } else { self.0.join(" ") })
    }
}

/// A socket's path, or `$NAME`, or a keyword such as `none`. ssh requires its variables to exist wherever the line is,
/// even for other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket(
    /// As written; with tokens, `${NAME}` and `~` expanded once it is resolved.
    pub String,
);

impl Value for Socket {
    fn read(words: &mut Words<'_>) -> Result<Option<Socket>, Wrong> {
        let word = words.required()?;
        Socket::check(word, words).map(Some)
    }

    fn show(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

impl Socket {
    pub(super) fn check(word: String, words: &Words<'_>) -> Result<Socket, Wrong> {
        expand::variables(&word, words.local).map_err(|reason| words.wrong(reason))?;
        let legacy = word.strip_prefix('$').filter(|name| !name.starts_with('{'));
        let good =
            |name: &str| !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        if legacy.is_some_and(|name| !good(name)) {
            return Err(words.unexpected(&word, "the name of a variable"));
        }
        Ok(Socket(word))
    }
}

/// Everything after a keyword, or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(
    /// As written.
    pub String,
);

impl CommandLine {
    pub(super) fn is_none(&self) -> bool {
        self.0.eq_ignore_ascii_case("none")
    }
}

impl Value for CommandLine {
    fn read(words: &mut Words<'_>) -> Result<Option<CommandLine>, Wrong> {
        Ok(Some(CommandLine(words.rest().to_owned())))
    }

    fn show(&self) -> Option<String> {
        (!self.is_none()).then(|| self.0.clone())
    }
}

/// An enumeration by its words; `ssh -G` prints the first of each.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident, $expected:literal, {
        $($(#[$doc:meta])* $variant:ident = $shown:literal $(| $other:literal)*;)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl Value for $name {
            fn read(words: &mut Words<'_>) -> Result<Option<$name>, Wrong> {
                let word = words.required()?;
                let words_of = [$(($name::$variant, [$shown $(, $other)*].as_slice()),)*];
                let of = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(&word));
                let found = words_of.into_iter().find(|(_, names)| of(names)).map(|(value, _)| value);
                found.map(Some).ok_or_else(|| words.unexpected(&word, $expected))
            }

            fn show(&self) -> Option<String> {
                Some(match self { $($name::$variant => $shown,)* }.to_owned())
            }
        }
    };
}

choice! {
    /// What to do with a host key that is not in known_hosts.
    StrictHostKeyChecking, "yes, no, ask, accept-new or off", {
        /// Refuse it, and changed ones.
        Yes = "true" | "yes";
        /// Add it, and continue with a changed one.
        No = "false" | "no" | "off";
        /// Ask the user.
        Ask = "ask";
        /// Add it; refuse changed ones.
        AcceptNew = "accept-new";
    }
}

choice! {
    /// Compression; unlike other such keywords it doesn't accept `true` and `false`.
    Compression, "yes or no", {
        /// With zlib, once authenticated.
        Yes = "yes";
        /// Off.
        No = "no";
    }
}

choice! {
    /// The allowed address families.
    AddressFamily, "any, inet or inet6", {
        /// IPv4 and IPv6.
        Any = "any";
        /// IPv4 only.
        Inet = "inet";
        /// IPv6 only.
        Inet6 = "inet6";
    }
}

choice! {
    /// Public key authentication.
    PubkeyAuthentication, "yes, no, unbound or host-bound", {
        /// On, bound to the host key if the server supports that.
        Yes = "true" | "yes";
        /// Off.
        No = "false" | "no";
        /// On, without the extension that binds it to a host.
        Unbound = "unbound";
        /// On, with that extension.
        HostBound = "host-bound";
    }
}

choice! {
    /// Whether to request a remote terminal.
    RequestTty, "yes, no, force or auto", {
        /// If there is a local one.
        Yes = "true" | "yes";
        /// Never.
        No = "false" | "no";
        /// Always.
        Force = "force";
        /// For interactive sessions.
        Auto = "auto";
    }
}

choice! {
    /// Whether names are completed by looking them up.
    CanonicalizeHostname, "yes, no or always", {
        /// No.
        No = "false" | "no";
        /// Yes, for direct connections.
        Yes = "true" | "yes";
        /// Yes, even for connections through a proxy.
        Always = "always";
    }
}

choice! {
    /// ssh's verbosity.
    LogLevel, "QUIET, FATAL, ERROR, INFO, VERBOSE or DEBUG1 to DEBUG3", {
        /// Quiet.
        Quiet = "QUIET" | "silent";
        /// Fatal errors.
        Fatal = "FATAL";
        /// Errors.
        Error = "ERROR";
        /// The default.
        Info = "INFO";
        /// Verbose.
        Verbose = "VERBOSE";
        /// `ssh -v`.
        Debug1 = "DEBUG" | "DEBUG1";
        /// `ssh -vv`.
        Debug2 = "DEBUG2";
        /// `ssh -vvv`.
        Debug3 = "DEBUG3";
    }
}

impl LogLevel {
    /// Whether it is more than the default.
    pub fn is_verbose(self) -> bool {
        matches!(self, LogLevel::Verbose | LogLevel::Debug1 | LogLevel::Debug2 | LogLevel::Debug3)
    }
}
