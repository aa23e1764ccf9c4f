//! ssh_config(5): the user's and the system's settings for a host, as OpenSSH's client interprets them.
//!
//! Files are read once, by [`Config::load`]; [`Config::resolve`] then answers for any number of hosts without touching a
//! file. The semantics are those of readconf.c, misc.c and `main` in ssh.c of OpenSSH 9.2: command line first, then the
//! user's file, then the system's; of two values for a keyword the first wins, but IdentityFile, CertificateFile and SendEnv
//! add up; a `Match final` makes ssh go through all of it twice.
//!
//! A condition is evaluated exactly or not at all. What only ssh can evaluate (`Match exec`, CanonicalizeHostname,
//! ...), or what its versions do differently, goes to `ssh -G` for the hosts that it affects; without an ssh that is an
//! error.
//!
//! Intended differences from OpenSSH 9.2:
//! - Names of hosts and users that a shell could misunderstand are refused, as since 9.6.
//! - Keywords that came later are known. Those without effect are checked for the form of their arguments alone.
//! - `ProxyJump none` leaves room for a ProxyCommand, as since 10.3; a blank in a ProxyJump is an error.
//! - Of a Match line, what follows a backslash or a single quote is not looked at for mistakes: 9.2 and 10 read it differently.
//! - A group may write to a file if the user is its only member, as in Debian's ssh.

mod algorithms;
mod command;
mod expand;
mod fallback;
mod files;
mod keywords;
mod line;
mod names;
mod parse;
mod pattern;
pub(crate) mod proxy_jump;
mod resolve;
mod resolved;
mod settings;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use self::proxy_jump::Hop;
use crate::system::files::unread::{BeforeStart, is_unread};
pub use algorithms::{Algorithms, KeyTypes, NoAlgorithm};
#[cfg(test)]
pub use algorithms::{Ciphers, KeyExchanges, Macs};
pub use command::{CommandTemplate, LateTokens};
pub use names::host_names;
pub use resolved::{Agent, ForwardedAgent, IdentityFile, Proxy, Resolved};
use rustix::io::Errno;
pub use settings::{Setting, Settings};
pub use values::{
    AddressFamily, Compression, Files as FileList, PubkeyAuthentication, RequestTty, StrictHostKeyChecking,
};

use fallback::Baseline;
use keywords::{Action, Reading};
use line::{Sort, Wrong};
use parse::{File, Loader, Rules};
use pattern::PatternList;

/// A lookup by name.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Facts about this machine and its user.
#[derive(Clone)]
pub struct Local {
    /// The user's name in the password database.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The home directory in the password database. ssh heeds `HOME` for Include only.
    pub home: String,
    /// The result of gethostname(2).
    pub host_name: String,
    /// The environment.
    pub variable: Lookup,
    /// The home directories of other users.
    pub home_of: Lookup,
}

/// Which files of ssh_config(5) to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// The user's, then the system's. Either may be missing.
    Usual {
        /// Usually `~/.ssh/config`.
        user: PathBuf,
        /// Usually `/etc/ssh/ssh_config`.
        system: PathBuf,
    },
    /// A single one, which must exist (`ssh -F FILE`).
    Only(PathBuf),
    /// None at all (`ssh -F none`).
    None,
}

impl Files {
    /// Returns the files that ssh reads, given the user's home directory and the argument of `-F`, if there is one.
    pub fn of(home: &str, argument: Option<&OsStr>) -> Files {
        match argument {
            Some(none) if none.eq_ignore_ascii_case("none") => Files::None,
            Some(file) => Files::Only(file.into()),
            None => Files::Usual { user: Path::new(home).join(".ssh/config"), system: "/etc/ssh/ssh_config".into() },
        }
    }
}

/// The sources of the configuration.
#[derive(Clone)]
pub struct Sources {
    /// The files.
    pub files: Files,
    /// This machine and its user.
    pub local: Local,
    /// The program for what only ssh can evaluate, usually `ssh`.
    pub ssh: PathBuf,
}

/// Whether a name matches a component of an Include's pattern; an error if it is not a pattern.
#[cfg(any(test, fuzzing))]
pub(crate) fn include_matches(name: &[u8], pattern: &[u8]) -> Result<bool, &'static str> {
    files::is_match(name, pattern)
}

/// Whether ssh_config(5) has such a keyword, also one without effect here.
pub fn is_keyword(word: &str) -> bool {
    keywords::all().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The origin of a value or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A default.
    Default,
    /// The entry of the host in the list.
    HostEntry,
    /// An option, as the user knows it.
    Option(Arc<str>),
    /// A line of a file.
    Line {
        /// The file.
        file: Arc<Path>,
        /// Counted from 1; 0 is the file as a whole.
        line: u32,
    },
    /// `ssh -G`, and why it was needed.
    Ssh(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::HostEntry => write!(f, "host entry"),
            Origin::Option(option) => write!(f, "{option}"),
            Origin::Line { file, line: 0 } => write!(f, "{}", file.display()),
            Origin::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Origin::Ssh(reason) => write!(f, "ssh -G, needed for {reason}"),
        }
    }
}

/// A note for `-v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its place.
    pub origin: Origin,
    /// Its text.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

impl BeforeStart for ConfigError {
    fn is_unread(&self) -> bool {
        match self {
            ConfigError::File { is_unread, .. } => *is_unread,
            ConfigError::Unreadable { error, .. } => is_unread(error),
            _ => false,
        }
    }
}

/// Why a configuration, or its settings for a host, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A line or an option is wrong.
    #[error("{}: {reason}", ConfigPlace(.origin, *.column))]
    Line {
        /// Which one.
        origin: Origin,
        /// Counted in bytes from 1, where it is known.
        column: Option<usize>,
        /// What is wrong with it.
        reason: String,
    },
    /// A file can't be used.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
        /// Whether it cannot be read.
        is_unread: bool,
    },
    /// The only file ([`Files::Only`]) can't be read.
    #[error("{}: cannot read the file: {}", .path.display(), crate::text::message::reason(.error))]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Only ssh can evaluate the line, and it doesn't.
    #[error("{origin}: {construct} can only be evaluated by ssh: {reason}")]
    Ssh {
        /// The line.
        origin: Origin,
        /// The construct on it.
        construct: &'static str,
        /// The reason.
        reason: String,
    },
    /// A name that a shell, or ssh itself, could misinterpret.
    #[error("{name:?} can't be the name of a {what}")]
    Name {
        /// The name.
        name: String,
        /// Host or user.
        what: &'static str,
    },
    /// The host is its own jump host.
    #[error("{origin}: {host} is its own jump host")]
    Loop {
        /// The ProxyJump.
        origin: Origin,
        /// The host.
        host: String,
    },
}

impl ConfigError {
    fn at(origin: &Origin, wrong: Wrong) -> ConfigError {
        let column = matches!(origin, Origin::Line { .. }).then_some(wrong.column + 1);
        ConfigError::Line { origin: origin.clone(), column, reason: wrong.reason }
    }

    fn about(origin: &Origin, reason: String) -> ConfigError {
        ConfigError::Line { origin: origin.clone(), column: None, reason }
    }
}

struct ConfigPlace<'a>(&'a Origin, Option<usize>);

impl fmt::Display for ConfigPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.1.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// A parsed option of the command line, `Keyword=value` as after `ssh -o`.
#[derive(Debug, Clone)]
pub struct CommandLineOption {
    text: String,
    reading: Reading,
    origin: Origin,
}

impl CommandLineOption {
    /// Why it has no effect, for `-v`.
    pub fn note(&self) -> Option<Note> {
        self.reading.note.as_ref().map(|text| Note { origin: self.origin.clone(), text: text.clone() })
    }
}

/// A host to resolve.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    /// The host as typed.
    pub host: &'a str,
    /// The login name that comes with the host, before all options.
    pub user: Option<String>,
    /// The port that comes with the host, before all options.
    pub port: Option<u16>,
    /// Options, which come before the files; the first of two wins.
    pub options: &'a [CommandLineOption],
}

/// The settings for a host that are known without asking ssh.
pub enum Answer {
    /// All of it.
    Known(Box<Resolved>),
    /// Only ssh can tell.
    Open(Question),
}

/// What to ask ssh for.
pub struct Question {
    origin: Origin,
    construct: &'static str,
}

/// The configuration of a run.
pub struct Config {
    sources: Sources,
    files: Vec<(File, bool)>,
    notes: Vec<Note>,
    wants_final: bool,
    /// The output of `ssh -G` without any configuration.
    baseline: OnceLock<Baseline>,
}

impl Config {
    /// Reads the files and everything that they include.
    ///
    /// # Errors
    /// A line is wrong, whichever host it is for; a file could have been written by others; the file of `-F` can't be read.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        let mut loader = Loader::new(&sources.local);
        let mut files = Vec::new();
        let rules = |user, guarded| Rules { user, guarded, depth: 0 };
        let unreadable = |path: &Path, error| ConfigError::Unreadable { path: path.into(), error };
        match &sources.files {
            Files::Usual { user, system } => {
                for (path, rules) in [(user, rules(true, true)), (system, rules(false, false))] {
                    match loader.file(path, rules) {
                        Ok(file) => files.push((file?, rules.user)),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        // ssh reports nothing either.
                        Err(error) => loader.notes.push(Note {
                            origin: Origin::Line { file: path.as_path().into(), line: 0 },
                            text: format!("passed over: {}", crate::text::message::reason(&error)),
                        }),
                    }
                }
            }
            // An included or default file then has no lines, as in ssh; but this one was named.
            Files::Only(path) if path.is_dir() => return Err(unreadable(path, Errno::ISDIR.into())),
            Files::Only(path) => {
                let file = loader.file(path, rules(true, false)).map_err(|error| unreadable(path, error))?;
                files.push((file?, true));
            }
            Files::None => {}
        }
        let Loader { notes, wants_final, .. } = loader;
        Ok(Config { sources: sources.clone(), files, notes, wants_final, baseline: OnceLock::new() })
    }

    /// Parses the text of a user's file, which must include no other.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_text(text: &[u8], path: &Path, local: Local) -> Result<Config, ConfigError> {
        let mut loader = Loader::new(&local);
        let file = loader.parse(text, &path.into(), Rules { user: true, guarded: true, depth: 0 })?;
        let Loader { notes, wants_final, .. } = loader;
        let sources = Sources { files: Files::None, local: local.clone(), ssh: PathBuf::new() };
        Ok(Config { sources, files: vec![(file, true)], notes, wants_final, baseline: OnceLock::new() })
    }

    /// Returns the notes for `-v`: lines without effect.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Parses options of the command line, each with the words that name it in messages.
    ///
    /// # Errors
    /// An option is wrong.
    pub fn options(&self, options: &[(String, String)]) -> Result<Vec<CommandLineOption>, ConfigError> {
        let mut read = Vec::new();
        let mut ignored: Option<PatternList> = None;
        for (text, name) in options {
            let origin = Origin::Option(name.as_str().into());
            let reading = self.option(text).map_err(|wrong| ConfigError::at(&origin, wrong))?;
            for action in &reading.actions {
                match action {
                    Action::Set(settings::Assignment::ignore_unknown(Some(list))) => {
                        ignored.get_or_insert_with(|| PatternList::new(list, true));
                    }
                    Action::Unknown(keyword) if !ignored.as_ref().is_some_and(|list| list.matches(keyword)) => {
                        return Err(resolve::unknown(keyword, &origin));
                    }
                    _ => {}
                }
            }
            read.push(CommandLineOption { text: text.clone(), reading, origin });
        }
        Ok(read)
    }

    fn option(&self, text: &str) -> Result<Reading, Wrong> {
        let wrong = |reason: &str| Wrong { column: 0, reason: reason.to_owned() };
        match line::sort(text)? {
            Sort::Blank | Sort::Unclosed => Err(wrong("it is not Keyword=value")),
            Sort::Statement(statement) => match statement.keyword.as_str() {
                "host" | "match" | "include" => Err(wrong("Host, Match and Include can't be options")),
                _ => keywords::read(&statement, &self.sources.local),
            },
        }
    }

    /// Returns the settings for a host, with `ssh -G` if only ssh can tell.
    ///
    /// # Errors
    /// A keyword is unknown, tokens can't be expanded, or only ssh could tell and doesn't.
    pub fn resolve(&self, query: &Query<'_>) -> Result<Resolved, ConfigError> {
        match self.look_up(query)? {
            Answer::Known(resolved) => Ok(*resolved),
            Answer::Open(question) => self.ask_ssh(query, &question),
        }
    }

    /// The same without asking ssh, which is slow.
    ///
    /// # Errors
    /// A keyword is unknown, or tokens can't be expanded.
    pub fn look_up(&self, query: &Query<'_>) -> Result<Answer, ConfigError> {
        resolve::resolve(self, query)
    }

    /// Returns ssh's settings for a host. May be called from several threads at once.
    ///
    /// # Errors
    /// It doesn't answer, or not in a known form.
    pub fn ask_ssh(&self, query: &Query<'_>, question: &Question) -> Result<Resolved, ConfigError> {
        resolve::ask(self, query, question)
    }
}
