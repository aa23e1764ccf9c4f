//! Passwords and passphrases: a type that never prints them, and their sources.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use regex_lite::{Regex, RegexBuilder};
use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zeroize::{Zeroize, Zeroizing};

use super::cancel::Cancel;
use super::child::Helper;
use super::poll::Patience;
use super::terminal::{AskError, Terminal};
use crate::system::descriptors;
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::system::redact;
use crate::text::message::reason;

/// Most bytes of a secret: far beyond any password, so that a wrong file is noticed.
const LONGEST: usize = 4096;
/// Time limit for a password from a descriptor or a command: a password manager may ask its owner first.
const SOURCE_LIMIT: Duration = Duration::from_secs(120);
/// The prompt of [`Source::Ask`]. The password goes to every host that asks for one, and to encrypted keys.
const PROMPT: &str = "Password for all hosts: ";

/// Protects the memory of this process from now on: it contains keys and passwords. A crash leaves no core dump,
/// neither in a file nor with a program that the kernel would pass it to, and no other process of the user can read the
/// memory (ptrace(2)).
///
/// The programs call this when they start; a program that uses the library decides for itself. Child processes inherit
/// only the soft limit on core dumps (RLIMIT_CORE), which they may raise again.
pub fn keep_out_of_dumps() {
    // Neither fails for a process that restricts itself.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A password, a passphrase or another secret answer. Its memory is zeroed when the last of its duplicates is dropped;
/// the copy that libssh2 makes to encrypt it lives as long as one request.
#[derive(PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Creates a secret of these bytes, which the caller zeroes.
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(Arc::new(Zeroizing::new(bytes.to_vec())))
    }

    /// Returns the same one in the same memory, for an answer that is given away.
    pub(crate) fn duplicate(&self) -> Secret {
        Secret(Arc::clone(&self.0))
    }

    /// Whether it has a duplicate.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Checks that it is one line without a byte that ends it early: a terminal takes CR for the end of a line, a C
    /// string ends at NUL.
    ///
    /// # Errors
    /// The bad byte, and its place.
    pub(crate) fn check(&self) -> Result<(), Unfit> {
        let unfit = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        match self.0.iter().position(unfit) {
            Some(place) => Err(Unfit { byte: self.0[place], place: place + 1 }),
            None => Ok(()),
        }
    }

    /// Returns the bytes. The caller must pass them only to a server or a key.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A byte that a password cannot contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the password has a {} as byte {place}, which cannot be sent; one line break, LF or CR LF, may follow it",
    match .byte { b'\r' => "carriage return (CR)", 0 => "NUL", _ => "line feed (LF)" }
)]
pub struct Unfit {
    byte: u8,
    /// Its place, from 1.
    place: usize,
}

/// Questions of servers that the password answers, in addition to the known ones.
#[derive(Clone, Debug)]
pub struct PromptPattern(Regex);

impl PromptPattern {
    /// Parses a regular expression that ignores case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<PromptPattern, String> {
        if text.is_empty() {
            return Err("it is empty, and would match every question".to_owned());
        }
        let regex = RegexBuilder::new(text).case_insensitive(true).build().map_err(|error| error.to_string())?;
        Ok(PromptPattern(regex))
    }

    /// Whether the password answers this question.
    pub fn fits(&self, question: &str) -> bool {
        self.0.is_match(question)
    }
}

/// The source of a run's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user, on the terminal.
    Ask,
    /// The one line of a file that only its owner can read, or of a pipe.
    File(PathBuf),
    /// The same, for sudo's password in messages.
    SudoFile(PathBuf),
    /// The one line that an open file descriptor has, which the process inherited. The limit is 120 s.
    Descriptor(u32),
    /// The one line that a command prints, which the local shell runs. The limit is 120 s.
    Command(OsString),
    /// This one. [`Settings::password`](crate::Settings::password) makes it.
    Given(Arc<Secret>),
}

impl fmt::Display for Source {
    /// Its name in messages, unless the caller has another one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Ask => f.write_str("the terminal"),
            Source::File(path) => write!(f, "password file {}", path.display()),
            Source::SudoFile(path) => write!(f, "password file {} for sudo", path.display()),
            Source::Descriptor(number) => write!(f, "file descriptor {number}"),
            Source::Command(_) => f.write_str("the password command"),
            Source::Given(_) => f.write_str("the password"),
        }
    }
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct SecretError {
    /// Its source, unless the caller has named that.
    pub from: Option<Source>,
    name: String,
    problem: Problem,
}

impl SecretError {
    /// Returns the problem without the name of the source.
    pub fn problem(&self) -> String {
        self.problem.to_string()
    }

    /// Whether the problem is a missing terminal.
    pub fn lacks_terminal(&self) -> bool {
        matches!(self.problem, Problem::NoTerminal)
    }
}

impl BeforeStart for SecretError {
    fn is_unread(&self) -> bool {
        matches!(&self.problem, Problem::Read(error) if is_unread(error))
    }
}

/// A problem with a source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("there is no terminal to ask on")]
    NoTerminal,
    #[error("{0}")]
    Ask(AskError),
    #[error("{}", reason(.0))]
    Read(#[from] io::Error),
    #[error("permissions {0:04o} are too open; only its owner may read a password (chmod 600)")]
    TooOpen(u32),
    #[error("the password is empty")]
    Empty,
    #[error("it has more than one line")]
    Lines,
    #[error("{0}")]
    Unfit(#[from] Unfit),
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    #[error("the command ended with {0}")]
    Status(ExitStatus),
}

impl From<Errno> for Problem {
    fn from(error: Errno) -> Self {
        Problem::Read(error.into())
    }
}

impl Source {
    /// Reads the password.
    ///
    /// # Errors
    /// There is none, or others may know it.
    pub(crate) fn read(&self, terminal: &Terminal, cancel: &Cancel) -> Result<Secret, SecretError> {
        let named = |error| SecretError { from: Some(self.clone()), ..error };
        self.read_as(self.to_string(), terminal, cancel).map_err(named)
    }

    /// Reads the password; messages call the source `name`.
    ///
    /// # Errors
    /// See [`Source::read`].
    pub(crate) fn read_as(&self, name: String, terminal: &Terminal, cancel: &Cancel) -> Result<Secret, SecretError> {
        let found = match self {
            Source::Ask => ask(terminal, cancel),
            Source::File(path) | Source::SudoFile(path) => read_file(path, cancel).and_then(checked),
            Source::Descriptor(number) => read_descriptor(*number, cancel).and_then(checked),
            Source::Command(command) => read_command(command, cancel).and_then(checked),
            Source::Given(secret) => Ok(secret.duplicate()),
        };
        let found = found.and_then(|secret| secret.check().map(|()| secret).map_err(Problem::from));
        if let Ok(secret) = &found {
            redact::remember(secret);
        }
        found.map_err(|problem| SecretError { from: None, name, problem })
    }
}

fn ask(terminal: &Terminal, cancel: &Cancel) -> Result<Secret, Problem> {
    let password = terminal.ask(PROMPT, false, Patience::endless(cancel)).map_err(|error| match error {
        AskError::NoTerminal => Problem::NoTerminal,
        error => Problem::Ask(error),
    })?;
    if password.expose().is_empty() { Err(Problem::Empty) } else { Ok(password) }
}

/// Returns the password in the data, without one line break of Unix or Windows after it.
fn checked(bytes: Zeroizing<Vec<u8>>) -> Result<Secret, Problem> {
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line)).unwrap_or(&bytes);
    if line.is_empty() {
        return Err(Problem::Empty);
    }
    // Password managers keep notes below the password.
    if line.contains(&b'\n') { Err(Problem::Lines) } else { Ok(Secret::new(line)) }
}

fn read_file(path: &Path, cancel: &Cancel) -> Result<Zeroizing<Vec<u8>>, Problem> {
    descriptors::check_path(path)?;
    // Non-blocking, as opening a named pipe would otherwise wait for a writer and ignore Ctrl-C.
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let mode = rustix::fs::fstat(&file)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Directory {
        return Err(Errno::ISDIR.into());
    }
    if mode & 0o044 != 0 {
        return Err(Problem::TooOpen(mode & 0o7777));
    }
    read_all(&file, Patience::of(cancel, SOURCE_LIMIT))
}

fn read_descriptor(number: u32, cancel: &Cancel) -> Result<Zeroizing<Vec<u8>>, Problem> {
    descriptors::check(number)?;
    let file = rustix::fs::open(
        format!("/dev/fd/{number}"),
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    );
    read_all(&file?, Patience::of(cancel, SOURCE_LIMIT))
}

fn read_command(command: &OsString, cancel: &Cancel) -> Result<Zeroizing<Vec<u8>>, Problem> {
    output_of(Command::new("sh").arg("-c").arg(command), Patience::of(cancel, SOURCE_LIMIT))
}

/// Returns the output of a program that knows a secret, or asks for one.
///
/// # Errors
/// It cannot be run, fails, prints too much, or the time is over.
pub(crate) fn output_of(command: &mut Command, patience: Patience<'_>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    // Standard error stays the user's: a password manager prints its prompts there.
    let mut child = Helper::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = child.stdout().ok_or(Errno::PIPE)?;
    let bytes = read_all(&output, patience)?;
    drop(output);
    let status = child.wait(patience)?;
    if status.success() { Ok(bytes) } else { Err(Problem::Status(status)) }
}

/// Reads to the end.
fn read_all(file: &impl AsFd, patience: Patience<'_>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    // Never grows: a moving vector would leave a copy behind. One byte more than allowed, and the newline.
    let mut buffer = Zeroizing::new(vec![0; LONGEST + 3]);
    let mut length = 0;
    loop {
        patience.wait(&[(file.as_fd(), PollFlags::IN)])?;
        match rustix::io::read(file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        }
        if length == buffer.len() {
            return Err(Problem::TooLong);
        }
    }
    buffer[length..].zeroize();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let secret = checked(Zeroizing::new(bytes.to_vec())).map_err(|problem| problem.to_string())?;
        Ok(secret.expose().to_vec())
    }

    #[test]
    fn one_newline_at_the_end_is_no_part_of_a_password() {
        assert_eq!(text(b"pass"), Ok(b"pass".to_vec()));
        assert_eq!(text(b" pass \n"), Ok(b" pass ".to_vec()));
        assert_eq!(text(b"pass\r\n"), Ok(b"pass".to_vec()));
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert!(text(empty).is_err());
        }
        assert!(text(b"pass\n\n").is_err());
        assert!(text(b"pass\nurl: example\n").is_err());
    }

    #[test]
    fn bytes_that_end_a_password_early_are_refused_with_their_place() {
        let unfit = |bytes: &[u8]| Secret::new(bytes).check().map_err(|error| error.to_string());
        assert_eq!(unfit(b"\x01\x1b \xff\t"), Ok(()));
        for (bytes, words) in [
            (&b"pass\r"[..], "a carriage return (CR) as byte 5, "),
            (b"pa\0ss", "a NUL as byte 3, "),
            (b"\r\0", "a carriage return (CR) as byte 1, "),
        ] {
            let error = unfit(bytes).expect_err("unfit");
            assert!(error.starts_with(&format!("the password has {words}which cannot be sent; ")), "{error}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new(b"hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        let error = SecretError {
            from: None,
            name: Source::Command("echo hunter2".into()).to_string(),
            problem: Problem::Empty,
        };
        assert!(!error.to_string().contains("hunter2"));
    }
}
