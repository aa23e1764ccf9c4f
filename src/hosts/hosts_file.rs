//! Reads hosts files, and lists of hosts in strings: lines to hosts or problems.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{self, Parts, check_user, parse};
use super::groups::Groups;
use super::line::{self, Field, Said, split};
use super::nodeset::{MOST_NAMES, Names, NamesError};
use super::options::{Distrust, ValuePlace};
use super::origin::{BadEntry, MOST_BAD_ENTRIES, Origin};
use super::other_formats::OtherFormat;
use super::problem::Problem;
use super::{HostSpec, HostsError, Likeness, differ_in_digits, likeness, share_a_domain};
use crate::system::files::bounded;
use crate::system::files::trusted_file::{self, Contents};
use crate::text::message::excerpt;

/// The grammar of a line.
const LINE: &str = "[user@]host[:port] [user] [key=value]...";

/// Bytes of an unreadable line to keep for the message.
const LINE_SHOWN: usize = 1000;

/// Bytes of the longest line of a hosts file: a host with some arguments has a hundred.
const LONGEST_LINE: usize = 64 << 10;

/// Returns the hosts of the text of a hosts file, without groups.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_text(path: &Path, text: &[u8]) -> Result<Vec<HostSpec>, HostsError> {
    let mut groups = Groups::default();
    let mut found = Found::new(&mut groups);
    found.add_file(path, Basis::of(path), text);
    if found.bad.is_empty() { Ok(found.hosts) } else { Err(HostsError::Bad(found.bad)) }
}

/// Returns the base of relative paths in a file: its directory. For standard input and other pipes, such as `<(COMMAND)`, it is
/// the working directory.
pub fn directory_of(file: &Path) -> &Path {
    let is_pipe = file == Path::new("-") || file.starts_with("/dev") || file.starts_with("/proc");
    file.parent().filter(|_| !is_pipe).unwrap_or(Path::new(""))
}

/// Reads a whole file; `-` is standard input.
///
/// # Errors
/// The system's error, or that it is longer than any list.
pub fn read(path: &Path) -> std::io::Result<Contents> {
    trusted_file::read(path, bounded::LIST)
}

/// A user after a host, in the second field of a line.
struct SecondField {
    origin: Origin,
    /// The host before it.
    host: String,
    /// Whether the two differ only in their digits, like web1 and web2.
    is_alike: bool,
}

/// How many users that may be hosts to report.
const DOUBTFUL_USERS: usize = 3;

/// The context for the lines of a file.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a> {
    /// The base of relative paths.
    pub(super) directory: &'a Path,
    /// Why some keys are not allowed in the text, if they are not.
    pub(super) untrusted: Option<Distrust<'a>>,
}

impl Basis<'_> {
    /// Creates the context of a trusted file.
    pub(super) fn of(path: &Path) -> Basis<'_> {
        Basis { directory: directory_of(path), untrusted: None }
    }
}

pub(super) struct Found<'g> {
    pub(super) hosts: Vec<HostSpec>,
    pub(super) bad: Vec<BadEntry>,
    /// An error that makes the rest useless.
    pub(super) failed: Option<HostsError>,
    /// Whether there are too many hosts, which ends the reading.
    pub(super) is_full: bool,
    /// The second fields of lines, which are users, each at its first place.
    users: HashMap<String, SecondField>,
    pub(super) groups: &'g mut Groups,
}

impl Found<'_> {
    /// Creates an empty value.
    pub(super) fn new(groups: &mut Groups) -> Found<'_> {
        Found { hosts: Vec::new(), bad: Vec::new(), failed: None, is_full: false, users: HashMap::new(), groups }
    }

    /// Adds the hosts of a file.
    pub(super) fn add_file(&mut self, path: &Path, basis: Basis<'_>, text: &[u8]) {
        let file: Arc<Path> = Arc::from(path);
        let place = |line, column| Origin::File { file: Arc::clone(&file), line, column };
        self.add_text(basis, text, place, |format, number| format.problem(path, number));
    }

    /// Adds the hosts that a command has printed; `of` says which one.
    pub(super) fn add_output(&mut self, of: &Arc<str>, basis: Basis<'_>, text: &[u8]) {
        let place = |line, column| Origin::Output { of: Arc::clone(of), line, column };
        self.add_text(basis, text, place, |format, _| format.printed());
    }

    /// Adds the hosts of a text in the format of hosts files, or the problem of a text in another format.
    fn add_text(
        &mut self,
        basis: Basis<'_>,
        text: &[u8],
        place: impl Fn(usize, usize) -> Origin,
        other: impl Fn(OtherFormat, usize) -> Problem,
    ) {
        // A byte order mark is not part of the first host's name.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        if let Some((number, line, format)) = OtherFormat::of(lines(text).map(|(line, _)| line)) {
            // The value may be a secret.
            let shown = line.split('=').next().unwrap_or_default();
            return self.refuse(shown, place(number + 1, 1), other(format, number));
        }
        for (number, (line, _)) in lines(text).enumerate() {
            let at = |column| place(number + 1, column);
            // The value may be a secret.
            let key = line.split(|byte| *byte == b'=').next().unwrap_or_default();
            let start = || String::from_utf8_lossy(&key[..key.len().min(LINE_SHOWN)]).into_owned();
            if line.len() > LONGEST_LINE {
                let problem = format!("the line has more than {LONGEST_LINE} bytes; expected one host on each");
                self.bad.push(BadEntry { origin: at(1), text: start(), problem: problem.into() });
            } else {
                match std::str::from_utf8(line) {
                    Ok(line) => self.add_line(line, basis, at),
                    Err(_) if only_comments_are_unreadable(line) => {
                        self.add_line(&String::from_utf8_lossy(line), basis, at);
                    }
                    Err(error) => {
                        let before = String::from_utf8_lossy(&line[..error.valid_up_to()]);
                        let origin = at(before.chars().count() + 1);
                        self.bad.push(BadEntry { origin, text: start(), problem: not_utf8(text).into() });
                    }
                }
            }
            if self.has_enough_bad() || self.is_full {
                return;
            }
        }
    }

    /// Adds a line of a hosts file: `[user@]host[:port] [user] [key=value]...`, with a comment from `#` on.
    fn add_line(&mut self, line: &str, basis: Basis<'_>, at: impl Fn(usize) -> Origin) {
        let Basis { directory, untrusted } = basis;
        // Fields are parsed in order, so that a line counts once.
        let counted = Cell::new((0, 0));
        let column = |field: &str| {
            let (mut at, mut characters) = counted.get();
            let start = field.as_ptr() as usize - line.as_ptr() as usize;
            if start < at {
                (at, characters) = (0, 0);
            }
            characters += line[at..start].chars().count();
            counted.set((start, characters));
            characters + 1
        };
        let fields = match split(line) {
            Ok(fields) => fields,
            Err((field, problem)) => {
                // The value may be a secret.
                let shown = field.split_once('=').map_or(field, |(key, _)| key);
                return self.reject(shown, at(column(field)), problem);
            }
        };
        let mut fields = fields.into_iter().peekable();
        let Some(Field { text: entry, .. }) = fields.next() else { return };
        let complaints = self.bad.len();
        let before = self.hosts.len();
        self.add(entry, at(column(entry)));
        let mut said = Said::default();
        if let Some(Field { text: user, .. }) = fields.next_if(|field| field.value.is_none()) {
            match check_user(user) {
                Ok(()) if user.starts_with('=') => {
                    self.reject("=", at(column(user)), "expected key=value, without a blank before the =");
                }
                // A user name may be user@domain.
                Ok(()) if !user.contains('@') && likeness(user) == Likeness::Hosts => {
                    let problem = format!("not a user: expected {LINE}, one host per line");
                    self.reject(user, at(column(user)), &problem);
                }
                Ok(()) => said.user = Some((user.to_owned(), user, at(column(user)))),
                Err(problem) => self.reject(user, at(column(user)), problem),
            }
        }
        let mut written = String::new();
        for Field { text, value } in fields {
            let origin = at(column(text));
            match value {
                None => self.reject(text, origin, &format!("expected {LINE}, one host per line")),
                Some((key, value)) => {
                    let place = ValuePlace { origin, directory, untrusted };
                    line::write(key, &value, directory, &mut written);
                    if let Err((shown, problem)) = said.take(key, &value, &place) {
                        self.reject(&shown, place.origin, &problem);
                    }
                }
            }
        }
        if untrusted.is_some() && entry.starts_with('@') && (said.user.is_some() || !said.options.is_empty()) {
            let problem = "these hosts may have options of their own, such as a password file, and this list is not trusted to change any: \
                           name the group without options";
            self.reject(entry, at(column(entry)), problem);
        }
        self.complete(before, said, &written);
        if self.bad.len() > complaints {
            self.hosts.truncate(before);
        }
    }

    /// Adds the options `said` in a line to its hosts, which start at `before`. `written` keeps them for other files.
    fn complete(&mut self, before: usize, said: Said<'_>, written: &str) {
        // The keys user and port belong to the entry.
        let Said { user, mut options, arguments, loose, .. } = said;
        let option = options.user.take().map(|given| (given.value, "user", given.origin));
        let port = options.port.take();
        if let Some((name, _, origin)) = &user {
            self.note_user(name, before, origin);
        }
        let added = self.hosts.get_mut(before..).unwrap_or_default();
        let has_user = added.iter().any(|spec| spec.user.is_some());
        let has_port = added.iter().any(|spec| spec.port.is_some());
        let (options, arguments) = (Arc::new(options), Arc::<[(String, String)]>::from(arguments));
        let loose: Arc<[(String, Origin)]> = loose.into();
        let written: Arc<str> = written.into();
        for spec in added.iter_mut() {
            if let Some((name, ..)) = user.as_ref().or(option.as_ref()) {
                spec.user = Some(name.clone());
            }
            spec.port = spec.port.or(port.as_ref().map(|given| given.value));
            spec.say(&options, &arguments, &loose);
            if spec.written.is_empty() {
                spec.written = Arc::clone(&written);
            } else if !written.is_empty() {
                spec.written = format!("{} {written}", spec.written).into();
            }
        }
        if !added.is_empty() {
            let second = if has_user { user.as_ref().or(option.as_ref()) } else { user.as_ref().and(option.as_ref()) };
            if let Some((field, origin)) = second.map(|(_, field, origin)| ((*field).to_owned(), origin.clone())) {
                self.reject(&field, origin, "the user is given twice, before the @ and after the host");
            }
            if let Some(given) = port.filter(|_| has_port) {
                self.reject("port", given.origin, "the port is given twice, after the colon and as a key");
            }
        }
    }

    /// Records the user of the hosts from `first` on, in case it was meant as a host.
    fn note_user(&mut self, name: &str, first: usize, origin: &Origin) {
        if self.users.contains_key(name) {
            return;
        }
        let Some(host) = self.hosts.get(first).map(|host| host.name.clone()) else { return };
        let is_alike = differ_in_digits(&host, name) || share_a_domain(&host, name);
        self.users.insert(name.to_owned(), SecondField { origin: origin.clone(), host, is_alike });
    }

    /// Returns warnings about users that were probably meant as hosts: `web1 web2`. pssh reads them as users, so they stay users.
    pub(super) fn doubtful_users(&self) -> Vec<String> {
        if self.users.is_empty() {
            return Vec::new();
        }
        let listed: HashSet<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        let mut doubtful: Vec<(&String, &SecondField, &str)> = Vec::new();
        for (name, field) in &self.users {
            let place = name.rsplit('@').next().unwrap_or(name);
            if place != field.host && listed.contains(place) {
                doubtful.push((name, field, "is also a host of the list"));
            } else if field.is_alike {
                doubtful.push((name, field, "looks like another host"));
            }
        }
        doubtful.sort_by_key(|(_, field, _)| field.origin.place());
        let told = doubtful.iter().take(DOUBTFUL_USERS).map(|(name, SecondField { origin, host, .. }, why)| {
            format!(
                "{origin}: {name:?} is read as the user on {host}, but {why}; a line has one host: host[:port] [user]"
            )
        });
        let more = doubtful.len().saturating_sub(DOUBTFUL_USERS);
        told.chain((more > 0).then(|| format!("... and {more} more users like these"))).collect()
    }

    /// Adds the hosts of `[user@]host[:port]`, which may contain ranges, or of an `@group`.
    pub(super) fn add(&mut self, entry: &str, origin: Origin) {
        if let Some(group) = entry.strip_prefix('@') {
            let Some(hosts) = self.group(group, &origin) else { return };
            if self.has_room(hosts.len() as u64, entry, &origin) {
                self.hosts.extend(hosts.iter().cloned());
            }
            return;
        }
        match Expanded::parse(entry) {
            Ok(Expanded::One(parts)) => {
                if self.has_room(1, entry, &origin) {
                    self.hosts.push(HostSpec::new(parts, origin));
                }
            }
            Ok(Expanded::Many(prefix, names)) => {
                if !self.has_room(names.count(), entry, &origin) {
                    return;
                }
                for name in names.iter() {
                    match parse(&format!("{prefix}{name}")) {
                        Ok(parts) => self.hosts.push(HostSpec::new(parts, origin.clone())),
                        Err(problem) => return self.refuse(entry, origin, problem.of(&excerpt(&name))),
                    }
                }
            }
            Err(NamesError { column, problem }) => {
                let problem = self.as_source(entry, problem);
                self.refuse(entry, origin.after(column), problem);
            }
        }
    }

    /// Adds to the problem of an entry that it may mean a group of a source.
    fn as_source(&self, entry: &str, problem: Problem) -> Problem {
        match entry.split_once(':') {
            Some((source, _)) if self.groups.definitions.sources.contains_key(source) => {
                problem.and(&format!("; did you mean @{entry}?"))
            }
            _ => problem,
        }
    }

    /// Whether there are so many bad entries that more say nothing new.
    pub(super) fn has_enough_bad(&self) -> bool {
        self.bad.len() >= MOST_BAD_ENTRIES
    }

    /// Whether that many more hosts fit.
    fn has_room(&mut self, more: u64, entry: &str, origin: &Origin) -> bool {
        let fits = (self.hosts.len() as u64).saturating_add(more) <= MOST_NAMES;
        if !fits {
            self.too_many(entry, origin);
        }
        fits
    }

    pub(super) fn too_many(&mut self, entry: &str, origin: &Origin) {
        self.is_full = true;
        self.reject(entry, origin.clone(), &format!("more than {MOST_NAMES} hosts"));
    }

    pub(super) fn reject(&mut self, text: &str, origin: Origin, problem: &str) {
        self.refuse(text, origin, problem.into());
    }

    /// The same with advice.
    pub(super) fn refuse(&mut self, text: &str, origin: Origin, problem: Problem) {
        self.bad.push(BadEntry { origin, text: text.to_owned(), problem });
    }
}

/// Splits the text of a hosts file into lines, each with its ending: LF, CRLF, CR, or nothing at the end of the text.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return rest.take().map(|line| (line, &[][..]));
        };
        let (line, after) = text.split_at(end);
        let length = if after.starts_with(b"\r\n") { 2 } else { 1 };
        let (end, after) = after.split_at(length);
        rest = Some(after);
        Some((line, end))
    })
}

/// Whether a line is invalid UTF-8 only in its comment, which is ignored.
fn only_comments_are_unreadable(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    split(&line).is_ok_and(|fields| fields.iter().all(|field| !field.text.contains('\u{fffd}')))
}

/// Returns the problem of a line that is not UTF-8, given the whole text.
fn not_utf8(text: &[u8]) -> &'static str {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "not UTF-8 text, but UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
        _ => "not UTF-8 text",
    }
}

/// The hosts of an entry.
enum Expanded<'a> {
    /// A single host.
    One(Parts),
    /// The prefix of all names, and the names.
    Many(&'a str, Names),
}

impl Expanded<'_> {
    fn parse(entry: &str) -> Result<Expanded<'_>, NamesError> {
        if entry::is_url(entry) {
            return parse(entry).map(Expanded::One).map_err(|problem| NamesError { column: 0, problem });
        }
        let place = entry.rfind('@').map_or(0, |at| at + 1);
        let (prefix, names) = entry.split_at(place);
        if !names.contains(['[', ']']) || has_address(names) {
            return parse(entry).map(Expanded::One).map_err(|problem| NamesError { column: 0, problem });
        }
        let names = Names::parse(names);
        let names = names.map_err(|error| NamesError { column: error.column + prefix.chars().count(), ..error })?;
        Ok(Expanded::Many(prefix, names))
    }
}

/// Whether it is `[user@]host[:port]`, with or without ranges.
pub(super) fn is_entry(text: &str) -> bool {
    match Expanded::parse(text) {
        Ok(Expanded::One(_)) => true,
        Ok(Expanded::Many(prefix, names)) => names.iter().take(1).all(|name| parse(&format!("{prefix}{name}")).is_ok()),
        Err(_) => false,
    }
}

/// Whether the brackets are those of `[address]` or `[address]:port`. They may hold a name too, but `[1-3]` is a range.
fn has_address(place: &str) -> bool {
    let Some((inside, rest)) = place.strip_prefix('[').and_then(|place| place.split_once(']')) else { return false };
    let is_name = || !inside.contains(',') && inside.contains(char::is_alphabetic);
    !rest.contains(['[', ']']) && (inside.contains(':') || is_name() && (rest.is_empty() || rest.starts_with(':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_comments_users_and_exact_complaints() {
        let mut groups = Groups::default();
        let mut found = Found::new(&mut groups);
        let text =
            b"\xef\xbb\xbfweb1 deploy # the first\r\n\n# none\n  root@web2:2222\nweb3 a b\nx@web4 y\nw\xff\nweb5";
        found.add_file(Path::new("hosts.txt"), Basis::of(Path::new("hosts.txt")), text);
        let hosts: Vec<String> = found.hosts.iter().map(HostSpec::to_string).collect();
        assert_eq!(hosts, ["deploy@web1", "root@web2:2222", "web5"]);
        assert_eq!(found.hosts[1].origin.to_string(), "hosts.txt:4:3");
        let bad: Vec<String> = found.bad.iter().map(|bad| bad.origin.to_string()).collect();
        assert_eq!(bad, ["hosts.txt:5:8", "hosts.txt:6:8", "hosts.txt:7:2"]);
    }
}
