//! The user's configuration file, `$XDG_CONFIG_HOME/pssh/config.toml`: groups of hosts, and defaults of options.
//!
//! ```toml
//! group-command = "cat /etc/hosts.d/%g"
//! [groups]
//! web = "web[01-20]"
//! all = ["@web!web07", "root@db1:2222"]
//! [sources.ec2]
//! command = "ec2-hosts %g"
//! list = "ec2-hosts --groups"
//! [defaults]
//! par = 32
//! connect-timeout = "30s"
//! ```
//!
//! The command line and `PSSH_*` override it, and it overrides ssh_config(5).

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{self, Opts};
use crate::hosts::options::Value;
use crate::hosts::toml_file::{self, TomlFile, in_order};
use crate::hosts::{self, Bad, BadEntry, Definitions, Origin, Source};
use crate::plan::program::Program;
use crate::plan::settings::Environment;
use crate::system::files::bounded;
use crate::system::files::trusted_file;
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::text::message::reason;
use crate::text::suggest::did_you_mean;

/// The top-level keys of the file.
const TABLES: [&str; 6] = ["group-command", "group-list", "group-trusted", "groups", "sources", "defaults"];
/// The keys of a source.
const OF_SOURCE: [&str; 3] = ["command", "list", "trusted"];

/// The options that may have a default: they say how to run. All others say what one run is about.
pub(super) const DEFAULTS: [&str; 17] = [
    "par",
    "user",
    "timeout",
    "channel-timeout",
    "total-timeout",
    "connect-timeout",
    "connect-par",
    "rate",
    "num-retries",
    "retry-delay",
    "host-key-check",
    "proxy-connections",
    "encoding",
    "format",
    "forward-agent",
    "no-headers",
    "pty",
];
/// The options without a value.
const FLAGS: [&str; 3] = ["forward-agent", "no-headers", "pty"];

/// The reason why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserConfigError {
    /// The file cannot be read.
    #[error("{}: {}", .path.display(), reason(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is not trusted, or is not text.
    #[error("{}: {problem}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// All mistakes in the file.
    #[error("{}", Bad(.0))]
    Bad(Vec<BadEntry>),
}

impl BeforeStart for UserConfigError {
    fn is_unread(&self) -> bool {
        matches!(self, UserConfigError::Read { error, .. } if is_unread(error))
    }
}

/// The contents of the file.
#[derive(Debug)]
pub struct UserConfig {
    /// The groups of hosts.
    pub groups: Definitions,
    /// The defaults, as a command line.
    defaults: Opts,
    /// The place of each default in the file.
    places: Vec<(String, Origin)>,
}

impl UserConfig {
    /// Reads the file, if it exists.
    ///
    /// # Errors
    /// The file cannot be read, others can write to it, or it has mistakes.
    pub fn load(environment: &Environment<'_>) -> Result<UserConfig, UserConfigError> {
        let path = path(environment);
        let text = match &path {
            Some(path) => read(path)?,
            None => String::new(),
        };
        let file = path.as_deref().unwrap_or(Path::new(""));
        let mut config = parse(file, &text).map_err(UserConfigError::Bad)?;
        config.groups.file = path;
        Ok(config)
    }

    /// Sets options that neither the command line nor a variable sets. Returns their names, as `--name`, and places in the file.
    pub fn fill(&self, opts: &mut Opts, environment: &Environment<'_>) -> HashMap<String, Origin> {
        let is_set = |name: &str| (environment.variable)(name).is_some_and(|value| !value.is_empty());
        let defaults = &self.defaults;
        let mut filled = HashMap::new();
        let mut tell = |name: &str| {
            let place = self.places.iter().find(|(key, _)| key == name);
            filled.extend(place.map(|(_, origin)| (format!("--{name}"), origin.clone())));
        };
        macro_rules! fill {
            ($($group:ident $field:ident $name:literal $($variable:literal)?,)*) => {
                $(if opts.$group.$field.is_none() && defaults.$group.$field.is_some() $(&& !is_set($variable))? {
                    opts.$group.$field.clone_from(&defaults.$group.$field);
                    tell($name);
                })*
            };
        }
        fill! {
            running par "par" "PSSH_PAR",
            hosts user "user" "PSSH_USER",
            running timeout "timeout" "PSSH_TIMEOUT",
            running channel_timeout "channel-timeout",
            running total_timeout "total-timeout",
            connection connect_timeout "connect-timeout",
            rolling connect_par "connect-par",
            rolling rate "rate",
            connection num_retries "num-retries",
            connection retry_delay "retry-delay",
            connection host_key_check "host-key-check",
            connection proxy_connections "proxy-connections",
            streams encoding "encoding",
        }
        opts.show.usual_format = defaults.show.format;
        opts.show.no_headers |= defaults.show.no_headers;
        // --no-agent also turns off forwarding.
        if !opts.command.forward_agent && defaults.command.forward_agent && !opts.connection.no_agent {
            opts.command.forward_agent = true;
            tell("forward-agent");
        }
        if !opts.command.pty && defaults.command.pty {
            opts.command.pty = true;
            tell("pty");
        }
        filled
    }
}

/// Returns the path of the file. A relative path in the variable is ignored, see the XDG Base Directory Specification.
fn path(environment: &Environment<'_>) -> Option<PathBuf> {
    let directory = (environment.variable)("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = directory.or_else(|| Some(environment.home.as_ref()?.join(".config")));
    directory.map(|directory| directory.join("pssh/config.toml"))
}

/// Reads the text of the file; it is empty if the file does not exist.
fn read(path: &Path) -> Result<String, UserConfigError> {
    let unread = |error| UserConfigError::Read { path: path.to_owned(), error };
    let unfit = |problem| UserConfigError::Unfit { path: path.to_owned(), problem };
    let missing = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let file = match trusted_file::open(path) {
        // The file can name commands and turn off host key checking.
        Ok((_, Some(untrusted))) => return Err(unfit(untrusted.to_string())),
        Ok((file, None)) => file,
        Err(error) if missing(&error) => return Ok(String::new()),
        Err(error) => return Err(unread(error)),
    };
    let text = bounded::read_open(file, bounded::TOML).map_err(unread)?;
    String::from_utf8(text).map_err(|_| unfit("not UTF-8 text".to_owned()))
}

/// Reads the text of the file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<UserConfig, Vec<BadEntry>> {
    let file = TomlFile::new(path, text);
    let document = file.parse()?;
    let mut reader = UserConfigReader {
        file: &file,
        groups: Definitions::default(),
        arguments: Vec::new(),
        places: Vec::new(),
        bad: Vec::new(),
    };
    for (key, value) in in_order(&document) {
        let table = |expected: &str| match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(file.bad(key, expected)),
        };
        let read = match key.get_ref().as_ref() {
            "group-command" => set_source(&file, &mut reader.groups.unnamed, "command", key, value),
            "group-list" => set_source(&file, &mut reader.groups.unnamed, "list", key, value),
            "group-trusted" => set_source(&file, &mut reader.groups.unnamed, "trusted", key, value),
            "groups" => table("expected a table, [groups]").map(|table| reader.groups(table)),
            "sources" => table("expected tables, such as [sources.ec2]").map(|table| reader.sources(table)),
            "defaults" => table("expected a table, [defaults]").map(|table| reader.defaults(table)),
            other if DEFAULTS.contains(&other) => Err(file.bad(key, "this key belongs under [defaults]")),
            other => Err(file.bad(key, &unknown(other, &TABLES))),
        };
        reader.bad.extend(read.err());
    }
    if reader.groups.unnamed.command.is_none()
        && let Some((key, _)) =
            in_order(&document).into_iter().find(|(key, _)| TABLES[1..3].contains(&key.get_ref().as_ref()))
    {
        reader.bad.push(file.bad(key, "it needs group-command"));
    }
    let defaults = options::parse(Program::Pssh, [String::from("pssh")].into_iter().chain(reader.arguments));
    match defaults {
        Ok(defaults) if reader.bad.is_empty() => {
            Ok(UserConfig { groups: reader.groups, defaults, places: reader.places })
        }
        // Each argument was good alone, and no two of them exclude each other.
        Err(error) if reader.bad.is_empty() => Err(vec![BadEntry {
            origin: file.origin(0),
            text: "defaults".to_owned(),
            problem: error.to_string().into(),
        }]),
        _ => Err(reader.bad),
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let tip = did_you_mean(key, known.iter().copied());
    if tip.is_empty() {
        format!("there is no such key; expected {}", known.join(", "))
    } else {
        format!("there is no such key{tip}")
    }
}

type Key<'i> = Spanned<Cow<'i, str>>;

/// Sets one of the keys [`OF_SOURCE`] of a source.
fn set_source(
    file: &TomlFile<'_>,
    source: &mut Source,
    what: &str,
    key: &Key<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), BadEntry> {
    let is_unnamed = key.get_ref().as_ref() != what;
    let place = file.origin(key.span().start);
    match (what, value.get_ref()) {
        ("trusted", DeValue::Boolean(is_trusted)) => source.is_trusted = *is_trusted,
        ("trusted", _) => return Err(file.bad(key, "expected true or false")),
        ("list", DeValue::String(command)) if !command.trim().is_empty() => {
            source.list = Some((command.to_string(), place));
        }
        ("command", DeValue::String(command)) if !command.trim().is_empty() => {
            // A source without groups has no place for their names.
            if is_unnamed {
                hosts::check_command(command).map_err(|problem| file.bad(key, &problem))?;
            }
            source.command = Some((command.to_string(), place));
        }
        _ => return Err(file.bad(key, "expected a command")),
    }
    Ok(())
}

/// The state of reading the file.
struct UserConfigReader<'f> {
    file: &'f TomlFile<'f>,
    groups: Definitions,
    /// The defaults, as arguments of a command line.
    arguments: Vec<String>,
    places: Vec<(String, Origin)>,
    bad: Vec<BadEntry>,
}

impl UserConfigReader<'_> {
    fn sources(&mut self, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            if let Err(problem) = hosts::check_source(name.get_ref()) {
                self.bad.push(self.file.bad(name, &problem));
            }
            let DeValue::Table(keys) = value.get_ref() else {
                self.bad.push(self.file.bad(name, "expected a table, such as [sources.ec2]"));
                continue;
            };
            let (mut source, complaints) = (Source::default(), self.bad.len());
            let section = format!("in [sources.{}]", name.get_ref());
            for (key, value) in in_order(keys) {
                let set = match key.get_ref().as_ref() {
                    known if OF_SOURCE.contains(&known) => set_source(self.file, &mut source, known, key, value),
                    other => Err(self.file.bad(key, &unknown(other, &OF_SOURCE))),
                };
                self.bad.extend(set.err().map(|bad| BadEntry { problem: bad.problem.of(&section), ..bad }));
            }
            if let (true, Some(_), Some((command, origin))) = (source.is_single(), &source.list, &source.command) {
                let problem = hosts::check_command(command).err().unwrap_or_default();
                let problem = format!("{section}: {problem}, as list names groups");
                self.bad.push(BadEntry { origin: origin.clone(), text: "command".to_owned(), problem: problem.into() });
            }
            if source.command.is_none() && self.bad.len() == complaints {
                self.bad.push(self.file.bad(name, "the source has no command, which prints the hosts of a group"));
            }
            self.groups.sources.insert(name.get_ref().to_string(), source);
        }
    }

    fn groups(&mut self, table: &DeTable<'_>) {
        for (key, value) in in_order(table) {
            if let Err(problem) = hosts::check_group(key.get_ref()) {
                self.bad.push(self.file.bad(key, &problem));
            }
            let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
                DeValue::Array(values) => values.iter().collect(),
                _ => vec![value],
            };
            let mut lists = Vec::with_capacity(values.len());
            for value in values {
                match value.get_ref() {
                    DeValue::String(list) => lists.push((list.to_string(), self.inside(value))),
                    _ => {
                        let problem = "expected a list in the format of -w, such as \"web[1-9],db1\", or several such in brackets";
                        self.bad.push(self.file.bad(key, problem));
                    }
                }
            }
            self.groups.groups.insert(key.get_ref().to_string(), lists);
        }
    }

    /// Returns the place of a string, after its quote.
    fn inside(&self, value: &Spanned<DeValue<'_>>) -> Origin {
        self.file.origin(value.span().start + 1)
    }

    fn defaults(&mut self, table: &DeTable<'_>) {
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            if !DEFAULTS.contains(&name) {
                self.bad.push(self.file.bad(key, &unknown(name, &DEFAULTS)));
                continue;
            }
            let origin = self.file.origin(value.span().start);
            match argument(name, &toml_file::value(value.get_ref())) {
                Ok(argument) => {
                    self.arguments.extend(argument);
                    self.places.push((name.to_owned(), origin));
                }
                Err(problem) => self.bad.push(BadEntry { origin, text: name.to_owned(), problem: problem.into() }),
            }
        }
    }
}

/// Converts a key to an argument of a command line and checks it; `None` if it is false.
fn argument(key: &str, value: &Value<'_>) -> Result<Option<String>, String> {
    let argument = match value {
        Value::Flag(flag) if FLAGS.contains(&key) => return Ok(flag.then(|| format!("--{key}"))),
        _ if FLAGS.contains(&key) => return Err("expected true or false".to_owned()),
        Value::Text(text) => format!("--{key}={text}"),
        Value::Number(number) => format!("--{key}={number}"),
        _ => return Err("expected a string or a number".to_owned()),
    };
    let opts = options::parse(Program::Pssh, ["pssh", &argument]).map_err(|error| wrong_value(&error))?;
    match opts.hosts.user.as_deref().map(hosts::check_login) {
        Some(Err(problem)) => Err(problem.to_owned()),
        _ => Ok(Some(argument)),
    }
}

/// Returns clap's complaint about a value, without its text about command lines.
fn wrong_value(error: &clap::Error) -> String {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(problem), _) => problem.to_string(),
        (None, Some(ContextValue::Strings(good))) => format!("expected one of {}", good.join(", ")),
        _ => "the value is missing or invalid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;
    use crate::hosts::options::HostKeyCheck;

    /// The options of a command line with this file and these variables, and what the file has given.
    fn filled(text: &str, args: &[&str], variables: &[(&str, &str)]) -> (Opts, Vec<String>) {
        let config = parse(Path::new("c.toml"), text).unwrap_or_else(|bad| panic!("{}", Bad(&bad)));
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let environment = Environment { variable: &variable, login: None, home: None };
        let mut opts = options::parse(Program::Pssh, [&["pssh"], args].concat()).expect("a good command line");
        let given = config.fill(&mut opts, &environment);
        let mut given: Vec<String> = given.iter().map(|(name, origin)| format!("{name} {origin}")).collect();
        given.sort();
        (opts, given)
    }

    const ALL: &str = "[defaults]\npar = 0x20\nuser = 'ops'\ntimeout = '1m'\nconnect-timeout = 2.5\nnum-retries = 7\n\
                       host-key-check = 'accept-new'\npty = true\nforward-agent = false\n";

    #[test]
    fn the_file_comes_after_the_command_line_and_the_environment() {
        let (opts, given) = filled(ALL, &["-p3", "--num-retries", "2"], &[("PSSH_USER", "me"), ("PSSH_PAR", "")]);
        assert_eq!((opts.running.par, opts.hosts.user, opts.connection.num_retries), (Some(3), None, Some(2)));
        assert_eq!(opts.connection.connect_timeout, Some(Duration::from_millis(2500)));
        assert_eq!(opts.running.timeout, Some(Duration::from_secs(60)));
        assert!(
            opts.command.pty
                && !opts.command.forward_agent
                && opts.connection.host_key_check == Some(HostKeyCheck::AcceptNew)
        );
        assert_eq!(
            given,
            [
                "--connect-timeout c.toml:5:19",
                "--host-key-check c.toml:7:18",
                "--pty c.toml:8:7",
                "--timeout c.toml:4:11"
            ]
        );
        let (opts, _) = filled(ALL, &[], &[("PSSH_PAR", ""), ("PSSH_TIMEOUT", "9")]);
        assert_eq!((opts.running.par, opts.hosts.user.as_deref(), opts.running.timeout), (Some(32), Some("ops"), None));
        assert!(!filled("[defaults]\nforward-agent = true", &["--no-agent"], &[]).0.command.forward_agent);
        assert!(filled("", &[], &[]).1.is_empty());
    }

    #[test]
    fn every_slip_has_its_place() {
        for (text, expected) in [
            ("[default]", "c.toml:1:2: \"default\": there is no such key; did you mean defaults?"),
            (
                "hosts = 1",
                "c.toml:1:1: \"hosts\": there is no such key; expected group-command, group-list, group-trusted, groups, \
                 sources, defaults",
            ),
            ("group-list = 'x'", "c.toml:1:1: \"group-list\": it needs group-command"),
            ("group-trusted = true", "c.toml:1:1: \"group-trusted\": it needs group-command"),
            ("group-command = 'x %g'\ngroup-trusted = 1", "c.toml:2:1: \"group-trusted\": expected true or false"),
            ("group-command = 'x %g'\ngroup-list = ' '", "c.toml:2:1: \"group-list\": expected a command"),
            ("sources = 1", "c.toml:1:1: \"sources\": expected tables, such as [sources.ec2]"),
            ("[sources]\nec2 = 'x %g'", "c.toml:2:1: \"ec2\": expected a table, such as [sources.ec2]"),
            ("[sources.ec2]\nlist = 'x'", "c.toml:1:10: \"ec2\": the source has no command"),
            (
                "[sources.ec2]\nlist = 'y'\ncommand = 'x %%g'",
                "c.toml:3:1: \"command\": in [sources.ec2]: expected a command with %g where the group's name belongs, as list",
            ),
            ("[sources.ec2]\ncommand = 1", "c.toml:2:1: \"command\": in [sources.ec2]: expected a command"),
            ("[sources.ec2]\ncommand = ' '", "c.toml:2:1: \"command\": in [sources.ec2]: expected a command"),
            (
                "[sources.ec2]\ncommand = 'x'\ntrusted = 1",
                "c.toml:3:1: \"trusted\": in [sources.ec2]: expected true or",
            ),
            (
                "[sources.ec2]\ncommand = 'x %g'\nhosts = 'x'",
                "c.toml:3:1: \"hosts\": in [sources.ec2]: there is no such key; expected command, list, trusted",
            ),
            (
                "[sources.ec2]\ncommand = 'x %g'\nlists = 'x'",
                "c.toml:3:1: \"lists\": in [sources.ec2]: there is no such key; did you mean list?",
            ),
            ("[sources.'a:b']\ncommand = 'x %g'", "c.toml:1:10: \"a:b\": the name of a source has letters"),
            ("par = 5", "c.toml:1:1: \"par\": this key belongs under [defaults]"),
            ("groups = 1", "c.toml:1:1: \"groups\": expected a table, [groups]"),
            ("[groups]\nweb = ['a', 1]", "c.toml:2:1: \"web\": expected a list in the format of -w"),
            ("[groups]\n'a b' = 'a'", "c.toml:2:1: \"a b\": the name of a group has letters"),
            ("[groups]\n'../x' = 'a'", "c.toml:2:1: \"../x\": the name of a group starts with"),
            ("group-command = 'cat hosts'", "c.toml:1:1: \"group-command\": expected a command with %g"),
            ("group-command = ['cat']", "c.toml:1:1: \"group-command\": expected a command"),
            ("[defaults]\npar = 0", "c.toml:2:7: \"par\": at least one host must run at a time"),
            ("[defaults]\ntimeout = 'x'", "c.toml:2:11: \"timeout\": \"x\" is not a time"),
            ("[defaults]\nnum_retries = 1", "c.toml:2:1: \"num_retries\": there is no such key; did you mean num-"),
            (
                "[defaults]\nhost-key-check = 'no'",
                "c.toml:2:18: \"host-key-check\": expected one of strict, accept-new",
            ),
            ("[defaults]\nuser = '-x'", "c.toml:2:8: \"user\": a user name cannot start with -"),
            ("[defaults]\npty = 1", "c.toml:2:7: \"pty\": expected true or false"),
            ("[defaults]\npar = true", "c.toml:2:7: \"par\": expected a string or a number"),
            ("[defaults]\nhost = 'a'", "c.toml:2:1: \"host\": there is no such key"),
            ("[groups", "c.toml:1:8: \"[groups\": "),
        ] {
            let bad = parse(Path::new("c.toml"), text).map(|_| ()).expect_err(text);
            assert!(bad.len() == 1 && Bad(&bad).to_string().starts_with(expected), "{text}: {}", Bad(&bad));
        }
    }

    #[test]
    fn the_place_is_that_of_the_specification() {
        let found = |xdg: &str, home: Option<&str>| {
            let variable = |name: &str| (name == "XDG_CONFIG_HOME" && !xdg.is_empty()).then(|| OsString::from(xdg));
            path(&Environment { variable: &variable, login: None, home: home.map(PathBuf::from) })
        };
        assert_eq!(found("", Some("/home/me")), Some("/home/me/.config/pssh/config.toml".into()));
        assert_eq!(found("/etc/x", Some("/home/me")), Some("/etc/x/pssh/config.toml".into()));
        assert_eq!(found("x", Some("/home/me")), Some("/home/me/.config/pssh/config.toml".into()));
        assert_eq!(found("", None), None);
    }
}
