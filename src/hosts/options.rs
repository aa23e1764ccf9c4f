//! Options of a single host, in a hosts file or in a `--host-config` file: one table of keys and one parser for
//! both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::proxy::{Proxy, Via};
use crate::hosts::{self, Origin};
use crate::system::files::trusted_file::Untrusted;
use crate::text::duration;
use crate::text::suggest::did_you_mean;

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub origin: Origin,
}

/// An optional value. Boxed: a host has few of the many options, and there may be ten thousand hosts.
pub type Maybe<T> = Option<Box<Given<T>>>;

/// The agent of a host's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentUse {
    /// The one at this socket.
    Socket(PathBuf),
    /// None.
    Nobody,
    /// The default one, whatever is set elsewhere.
    Usual,
}

macro_rules! options {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// The settings of one host, from its line in a hosts file: `host_config` of the reference client. All of it is optional; what is set
        /// beats [`Settings`](crate::Settings).
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct HostOptions { $($(#[$doc])* pub $field: Maybe<$type>,)* }

        impl HostOptions {
            /// Creates empty options.
            pub const NONE: &HostOptions = &HostOptions { $($field: None,)* };

            /// Adds options from `others` that are not set here.
            pub fn fill(&mut self, others: &HostOptions) {
                $(if self.$field.is_none() { self.$field.clone_from(&others.$field); })*
            }

            /// Whether no option is set.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$field.is_none())*
            }
        }
    };
}

options! {
    /// The login name.
    user: String,
    /// The port.
    port: u16,
    /// The address to connect to instead of the name, with `%h` for the name: HostName of ssh_config(5).
    address: String,
    /// The label of the host in reports, in place of its name.
    alias: String,
    /// Private key files.
    identities: Vec<PathBuf>,
    /// The file with the password to log in with.
    password_file: PathBuf,
    /// The proxy.
    proxy: Via,
    /// See [`Settings::connect_timeout`](crate::Settings::connect_timeout).
    connect_timeout: Duration,
    /// Time limit for the command; zero disables it.
    timeout: Duration,
    /// How long the command may be silent; zero disables the limit.
    channel_timeout: Duration,
    /// Connection attempts, including the first.
    num_retries: u32,
    /// The pause between two attempts.
    retry_delay: Duration,
    /// What to do with unknown host keys.
    host_key_check: HostKeyCheck,
    /// The known_hosts files.
    known_hosts: Vec<PathBuf>,
    /// The agent that holds the keys.
    agent: AgentUse,
}

/// The keys, as written.
pub const KEYS: [&str; 17] = [
    "user",
    "port",
    "address",
    "alias",
    "identity",
    "password-file",
    "proxy",
    "proxy-command",
    "connect-timeout",
    "timeout",
    "channel-timeout",
    "num-retries",
    "retry-delay",
    "host-key-check",
    "known-hosts",
    "agent",
    "no-agent",
];

/// Names of these in other programs.
const OTHER_NAMES: [(&str, &str); 14] = [
    ("hostname", "address"),
    ("host", "address"),
    ("label", "alias"),
    ("name", "alias"),
    ("username", "user"),
    ("login", "user"),
    ("private-key", "identity"),
    ("pkey", "identity"),
    ("key", "identity"),
    ("identity-file", "identity"),
    ("jump", "proxy"),
    ("proxy-jump", "proxy"),
    ("proxy-host", "proxy"),
    ("read-timeout", "channel-timeout"),
];

/// Not keys, since secrets do not belong in a shared file, but known so that they are not read as something else.
const PASSWORDS: [&str; 3] = ["password", "passwd", "passphrase"];

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A string; in a hosts file every value is one.
    Text(&'a str),
    /// A number, in decimal digits.
    Number(String),
    /// True or false.
    Flag(bool),
    /// Several values.
    List(Vec<Value<'a>>),
    /// A type that no key accepts, in words.
    Other(&'static str),
}

impl Value<'_> {
    /// Returns the value in words, for messages about its type.
    fn describe(&self) -> String {
        match self {
            Value::Text(text) => format!("the string {text:?}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Other(what) => (*what).to_owned(),
        }
    }

    fn text(&self, expected: &str) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(format!("expected {expected}, not {}", other.describe())),
        }
    }

    /// Returns a string or a number as text.
    fn digits(&self, expected: &str) -> Result<&str, String> {
        match self {
            Value::Number(number) => Ok(number),
            other => other.text(expected),
        }
    }

    fn time(&self) -> Result<Duration, String> {
        let expected = "a time in seconds or with units, such as 90 or \"1m30s\"";
        duration::parse(self.digits(expected)?)
    }
}

/// Why the place of options may not set all of them.
#[derive(Clone, Copy, Debug)]
pub enum Distrust<'a> {
    /// Others could have written the file.
    File(&'a Untrusted),
    /// A command of the user has printed it, from what others may have written. With what would allow it.
    Output(&'a str),
}

/// The place of options.
pub struct ValuePlace<'a> {
    /// The key's own place.
    pub origin: Origin,
    /// The base of relative paths: the directory of the file.
    pub directory: &'a Path,
    /// Why the place may not run local programs or weaken host key checking, if it may not.
    pub untrusted: Option<Distrust<'a>>,
}

impl ValuePlace<'_> {
    /// Refuses options that run local programs or weaken host key checking, unless only the user can write the file.
    fn may(&self, doing: &str) -> Result<(), String> {
        match self.untrusted {
            Some(Distrust::File(untrusted)) => Err(format!("the file may not {doing}: {untrusted}")),
            Some(Distrust::Output(remedy)) => Err(format!("the output of a source may not {doing}; {remedy}")),
            None => Ok(()),
        }
    }

    /// Refuses options that name local files to a program that prints what others have written. A list of a team may.
    fn may_name_files(&self, doing: &str) -> Result<(), String> {
        match self.untrusted {
            Some(Distrust::Output(_)) => self.may(doing),
            Some(Distrust::File(_)) | None => Ok(()),
        }
    }

    /// Returns a path relative to the file; leaves a `~` to code that knows the home directory.
    fn path(&self, value: &Value<'_>) -> Result<PathBuf, String> {
        let text = value.text("the name of a file")?;
        if text.is_empty() || text.contains('\0') {
            return Err(format!("{text:?} is not a file name"));
        }
        Ok(if text.starts_with('~') { text.into() } else { self.directory.join(text) })
    }

    /// The same, or `none` unchanged.
    fn paths_or_none(&self, value: &Value<'_>) -> Result<Vec<PathBuf>, String> {
        match value.text("") {
            Ok(text) if text == "none" => Ok(vec![text.into()]),
            _ => self.paths(value),
        }
    }

    fn paths(&self, value: &Value<'_>) -> Result<Vec<PathBuf>, String> {
        match value {
            Value::List(values) if !values.is_empty() => values.iter().map(|value| self.path(value)).collect(),
            Value::List(_) => Err("the list is empty".to_owned()),
            value => self.path(value).map(|path| vec![path]),
        }
    }
}

/// Why an option was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown key. With the key that was probably meant.
    Unknown(Option<&'static str>),
    /// What is wrong with it.
    Wrong(String),
}

impl From<String> for Refused {
    fn from(problem: String) -> Refused {
        Refused::Wrong(problem)
    }
}

impl HostOptions {
    /// Returns empty options, in one copy for all hosts without options.
    pub(crate) fn nothing() -> Arc<HostOptions> {
        static NOTHING: LazyLock<Arc<HostOptions>> = LazyLock::new(Arc::default);
        Arc::clone(&NOTHING)
    }

    /// Sets one option.
    ///
    /// # Errors
    /// The key is unknown or a duplicate, or the value is invalid.
    pub(crate) fn set(&mut self, key: &str, value: &Value<'_>, place: &ValuePlace<'_>) -> Result<(), Refused> {
        let origin = &place.origin;
        match key {
            "user" => put(&mut self.user, user(value)?, origin)?,
            "port" => put(&mut self.port, hosts::parse_port(value.digits("a number from 1 to 65535")?)?, origin)?,
            "address" => put(&mut self.address, address(value)?, origin)?,
            "alias" => put(&mut self.alias, alias(value)?, origin)?,
            "identity" => {
                place.may_name_files("choose a private key")?;
                add(&mut self.identities, place.paths(value)?, origin);
            }
            "known-hosts" => {
                place.may("choose the known host keys")?;
                add(&mut self.known_hosts, place.paths_or_none(value)?, origin);
            }
            "password-file" => {
                // The owner of the list may have listed a host of theirs.
                place.may("choose a password file")?;
                put(&mut self.password_file, place.path(value)?, origin)?;
            }
            "proxy" => put_via(&mut self.proxy, Proxy::jump(value.text("jump hosts, or \"none\"")?)?, origin)?,
            "proxy-command" => {
                let command = Proxy::command(value.text("a command, or \"none\"")?)?;
                if command.is_some() {
                    place.may("run a command here")?;
                }
                put_via(&mut self.proxy, command, origin)?;
            }
            "connect-timeout" => {
                let time = value.time()?;
                if time.is_zero() {
                    return Err("it cannot be 0: a host that never answers would never be reported".to_owned().into());
                }
                put(&mut self.connect_timeout, time, origin)?;
            }
            "timeout" => put(&mut self.timeout, value.time()?, origin)?,
            "channel-timeout" => put(&mut self.channel_timeout, value.time()?, origin)?,
            "num-retries" => put(&mut self.num_retries, attempts(value)?, origin)?,
            "retry-delay" => put(&mut self.retry_delay, value.time()?, origin)?,
            "host-key-check" => {
                let check = host_key_check(value)?;
                if check != HostKeyCheck::Strict {
                    place.may("weaken the check of host keys")?;
                }
                put(&mut self.host_key_check, check, origin)?;
            }
            "agent" => {
                place.may_name_files("choose an agent")?;
                put_agent(&mut self.agent, AgentUse::Socket(place.path(value)?), origin)?;
            }
            "no-agent" => {
                let agent = if flag(value)? { AgentUse::Nobody } else { AgentUse::Usual };
                put_agent(&mut self.agent, agent, origin)?;
            }
            _ if is_password(key) => {
                let problem = "passwords are not allowed here, where others may read them; use password-file with a file \
                               that only its owner can read";
                return Err(problem.to_owned().into());
            }
            _ => return Err(Refused::Unknown(crate::text::suggest::suggest(key, KEYS))),
        }
        Ok(())
    }
}

/// Returns the problem of an unknown key.
pub fn unknown_key(key: &str) -> String {
    let word = key.to_lowercase().replace('_', "-");
    let hint = match OTHER_NAMES.iter().find(|(other, _)| *other == word) {
        Some((_, key)) => format!("; did you mean {key}?"),
        None => did_you_mean(key, KEYS),
    };
    if hint.is_empty() {
        format!("there is no such key; expected {}", KEYS.join(", "))
    } else {
        format!("there is no such key{hint}")
    }
}

/// Whether a value in a hosts file is a path relative to the directory of the file.
pub fn is_path(key: &str, value: &str) -> bool {
    ["identity", "known-hosts", "password-file", "agent"].contains(&key) && !value.starts_with('~')
}

/// Whether the key, perhaps misspelled, is meant for a password, whose value must not be shown.
pub fn is_password(key: &str) -> bool {
    let key = key.to_lowercase();
    PASSWORDS.iter().any(|known| strsim::osa_distance(&key, known) <= 1)
}

fn put<T>(slot: &mut Maybe<T>, value: T, origin: &Origin) -> Result<(), String> {
    if slot.is_some() {
        return Err("it is given twice".to_owned());
    }
    *slot = Some(Box::new(Given { value, origin: origin.clone() }));
    Ok(())
}

fn put_via(slot: &mut Maybe<Via>, proxy: Option<Proxy>, origin: &Origin) -> Result<(), String> {
    put(slot, Via(proxy), origin).map_err(|_| "only one proxy or proxy-command can be given".to_owned())
}

fn put_agent(slot: &mut Maybe<AgentUse>, agent: AgentUse, origin: &Origin) -> Result<(), String> {
    put(slot, agent, origin).map_err(|_| "only one agent or no-agent can be given".to_owned())
}

/// In a hosts file a key with several values is written several times.
fn add(slot: &mut Maybe<Vec<PathBuf>>, mut paths: Vec<PathBuf>, origin: &Origin) {
    match slot {
        Some(given) => given.value.append(&mut paths),
        None => *slot = Some(Box::new(Given { value: paths, origin: origin.clone() })),
    }
}

fn user(value: &Value<'_>) -> Result<String, String> {
    let name = value.text("a login name")?;
    hosts::check_login(name)?;
    Ok(name.to_owned())
}

/// Parses an address in the form of HostName: `%h` is the name in the list, `%%` a percent sign.
fn address(value: &Value<'_>) -> Result<String, String> {
    let text = value.text("a host name or address")?;
    let filled = text.replace("%%", "").replace("%h", "h");
    if filled.contains('%') {
        return Err(format!("{text:?}: expected only %h (the name in the list) and %%"));
    }
    if text.contains(':') && !hosts::is_ipv6(&text.replace("%%", "%")) {
        return Err(format!("{text:?}: expected a host name or address alone; set the port with the key port"));
    }
    hosts::check_name(if filled.is_empty() { text } else { &filled })?;
    Ok(text.to_owned())
}

/// Parses a label, which begins lines and appears in file names.
fn alias(value: &Value<'_>) -> Result<String, String> {
    let text = value.text("a label")?;
    let bad = |c: char| c.is_control() || c == '/';
    if text.trim().is_empty() || text.trim() != text || text.starts_with(['-', '.']) || text.contains(bad) {
        return Err(format!(
            "{text:?} is not a label: it cannot begin or end with a blank, begin with - or ., or contain /"
        ));
    }
    Ok(text.to_owned())
}

fn attempts(value: &Value<'_>) -> Result<u32, String> {
    const EXPECTED: &str = "a whole number from 1 to 1000";
    let text = value.digits(EXPECTED)?;
    let number = text.parse::<u32>().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| format!("expected {EXPECTED}, not {text}"))
}

fn host_key_check(value: &Value<'_>) -> Result<HostKeyCheck, String> {
    const EXPECTED: &str = "strict, accept-new or off";
    let text = value.text(EXPECTED)?;
    match text {
        "strict" => Ok(HostKeyCheck::Strict),
        "accept-new" => Ok(HostKeyCheck::AcceptNew),
        "off" => Ok(HostKeyCheck::Off),
        _ => Err(format!("expected {EXPECTED}, not {text:?}")),
    }
}

fn flag(value: &Value<'_>) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        Value::Text("true" | "yes" | "1") => Ok(true),
        Value::Text("false" | "no" | "0") => Ok(false),
        other => Err(format!("expected true or false, not {}", other.describe())),
    }
}

/// What to do with a host key that is not in known_hosts (`StrictHostKeyChecking` yes, accept-new and no). A revoked key
/// is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum HostKeyCheck {
    /// Refuse unknown and changed keys.
    #[default]
    Strict,
    /// Add unknown keys; refuse changed ones.
    AcceptNew,
    /// Accept any key: a man in the middle can read and change everything.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> ValuePlace<'static> {
        ValuePlace { origin: Origin::Text("hosts"), directory: Path::new("/etc/fleet"), untrusted: None }
    }

    fn set(key: &str, value: &Value<'_>) -> Result<HostOptions, Refused> {
        let mut options = HostOptions::default();
        options.set(key, value, &place()).map(|()| options)
    }

    fn text(key: &str, value: &str) -> HostOptions {
        set(key, &Value::Text(value)).unwrap_or_else(|refused| panic!("{key}={value}: {refused:?}"))
    }

    fn value<T>(given: Maybe<T>) -> T {
        given.expect("a value").value
    }

    #[test]
    fn every_key_of_the_table_is_taken_and_says_what_it_expects() {
        for key in KEYS {
            match set(key, &Value::Other("a date")) {
                Err(Refused::Wrong(problem)) => assert!(problem.starts_with("expected "), "{key}: {problem}"),
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn values_are_read_from_texts_and_from_numbers() {
        assert_eq!(value(text("port", "2222").port), 2222);
        assert_eq!(value(set("port", &Value::Number("22".to_owned())).expect("a port").port), 22);
        assert_eq!(value(text("timeout", "1m30s").timeout), Duration::from_secs(90));
        assert_eq!(value(text("connect-timeout", "0.5").connect_timeout), Duration::from_millis(500));
        assert_eq!(value(text("host-key-check", "accept-new").host_key_check), HostKeyCheck::AcceptNew);
        assert_eq!(value(text("proxy", "none").proxy), Via(None));
        assert_eq!(value(text("no-agent", "true").agent), AgentUse::Nobody);
        assert_eq!(value(text("address", "%h.example").address), "%h.example");
        assert_eq!(value(text("address", "fe80::1%%eth0").address), "fe80::1%%eth0");
        let list = Value::List(vec![Value::Text("a"), Value::Text("~/b"), Value::Text("/c")]);
        let paths = ["/etc/fleet/a", "~/b", "/c"].map(PathBuf::from).to_vec();
        assert_eq!(value(set("identity", &list).expect("paths").identities), paths);
    }

    #[test]
    fn bad_values_are_refused() {
        for (key, bad) in [
            ("user", "-x"),
            ("user", ""),
            ("port", "0"),
            ("port", "ssh"),
            ("address", "-oX"),
            ("address", "a b"),
            ("address", "web1:22"),
            ("address", "fe80::1%eth0"),
            ("alias", ""),
            ("alias", "../x"),
            ("alias", "a\nb"),
            ("identity", ""),
            ("proxy", "a,"),
            ("proxy-command", "nc %x"),
            ("connect-timeout", "0"),
            ("timeout", "soon"),
            ("num-retries", "0"),
            ("num-retries", "-1"),
            ("host-key-check", "no"),
            ("no-agent", "maybe"),
        ] {
            assert!(matches!(set(key, &Value::Text(bad)), Err(Refused::Wrong(_))), "{key}={bad:?} was taken");
        }
        assert_eq!(set("prot", &Value::Text("1")), Err(Refused::Unknown(Some("port"))));
        assert_eq!(set("rack", &Value::Text("1")), Err(Refused::Unknown(None)));
    }

    #[test]
    fn a_password_is_refused_under_every_name_and_not_repeated() {
        for key in ["password", "Password", "pasword", "passwd", "passphrase"] {
            match set(key, &Value::Text("hunter2")) {
                Err(Refused::Wrong(problem)) => {
                    assert!(problem.contains("password-file") && !problem.contains("hunter2"), "{problem}")
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_first_who_says_something_counts() {
        let mut options = text("user", "a");
        let mut others = text("user", "b");
        others.set("port", &Value::Text("7"), &place()).expect("a port");
        options.fill(&others);
        assert_eq!((value(options.user.clone()), value(options.port.clone())), ("a".to_owned(), 7));
        let twice = options.set("user", &Value::Text("c"), &place());
        assert_eq!(twice, Err(Refused::Wrong("it is given twice".to_owned())));
        assert!(options.set("identity", &Value::Text("x"), &place()).is_ok());
        assert!(options.set("identity", &Value::Text("y"), &place()).is_ok());
        assert_eq!(value(options.identities).len(), 2);
        let unknown = unknown_key("private_key");
        assert!(unknown.ends_with("did you mean identity?"), "{unknown}");
        assert!(unknown_key("colour").contains("expected user, port"));
    }
}
