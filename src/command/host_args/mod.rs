//! Per-host arguments: values for the command's placeholders. Rows of a file, single values, and the fields of the hosts file; all checked before the first connection.

mod built_in;
mod columns;
mod csv;
mod json;
mod separators;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::template::ValueError;
use crate::command::{CommandError, CommandLine};
use crate::hosts::{self, HostSpec, Origin};
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::text::message::{excerpt, reason};
use crate::text::suggest::did_you_mean;

use built_in::HOST;
pub use built_in::{BUILT_IN, ForHost, Unfilled, unfilled};

/// A value and its name.
type Named = (Arc<str>, Vec<u8>);

/// The values of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    InOrder(Vec<Vec<u8>>),
    Named(Vec<Named>),
}

/// The source of a host's values, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ArgumentSource {
    /// No values.
    #[default]
    Nowhere,
    /// A single value, by its name in messages.
    Single(&'static str),
    Row {
        file: Arc<Path>,
        line: usize,
    },
    /// The host's own entry.
    Entry(Origin),
}

impl fmt::Display for ArgumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentSource::Nowhere => f.write_str("host arguments"),
            ArgumentSource::Single(name) => f.write_str(name),
            ArgumentSource::Row { file, line } => write!(f, "{}:{line}", file.display()),
            ArgumentSource::Entry(origin) => origin.fmt(f),
        }
    }
}

/// The arguments of one host.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    place: ArgumentSource,
    in_order: Vec<Vec<u8>>,
    /// The first one of a name wins.
    named: Vec<Named>,
}

/// Why the arguments are refused.
#[derive(Debug, thiserror::Error)]
pub enum HostArgsError {
    /// The file cannot be read.
    #[error("{}: cannot read the host arguments: {}", .path.display(), reason(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// All invalid rows and values, so that they can be fixed at once.
    #[error("{}", Problems(.0))]
    Bad(Vec<String>),
    /// Filled-in commands that cannot be sent, each with its host.
    #[error("{}", Problems(&.0.iter().map(|(host, error)| format!("{host}: {error}")).collect::<Vec<_>>()))]
    Commands(Vec<(String, CommandError)>),
}

impl BeforeStart for HostArgsError {
    fn is_unread(&self) -> bool {
        matches!(self, HostArgsError::Read { error, .. } if is_unread(error))
    }
}

/// The names of arguments in messages, as the caller knows them.
#[derive(Clone, Copy, Debug)]
pub struct ArgumentNames {
    /// A single value of a host.
    pub single: &'static str,
    /// The option that names the column with the hosts.
    pub column: &'static str,
}

/// The most problems to list: the first ones show what kind of mistake it is.
const PROBLEMS_SHOWN: usize = 10;

/// Problems in a message.
pub struct Problems<'a>(pub &'a [String]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(PROBLEMS_SHOWN)].join("\n"))?;
        match self.0.len().saturating_sub(PROBLEMS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more like these"),
        }
    }
}

/// The most values of a file: each costs memory, even an empty one.
const MOST_VALUES: usize = 3_000_000;
/// The problem if there are more.
const TOO_MANY: &str = "more than 3,000,000 values";

/// Returns line and column of a byte of the text, both from 1 and the column in characters.
fn place(text: &[u8], offset: usize) -> String {
    let before = &text[..offset];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("{line}:{}", String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

/// The rows of a file.
#[derive(Debug)]
struct Rows {
    file: Arc<Path>,
    rows: Vec<Row>,
    /// Whether its first line may be a header that was read as data.
    headless: bool,
    /// Advice if anything is wrong with them.
    advice: Option<String>,
}

#[derive(Debug)]
struct Row {
    line: usize,
    given: Given,
}

/// Returns the fields of the host's entry in the hosts file that are not settings.
pub fn named_arguments(host: &HostSpec) -> &[(String, String)] {
    &host.arguments
}

/// Whether the fields of the hosts file make the command a template: a host has some, and the command uses a name. So a
/// `date +%s` stays literal, whatever fields the hosts file has.
pub fn are_used(hosts: &[HostSpec], words: &[OsString]) -> bool {
    let uses_name = |word: &OsString| word.as_bytes().windows(2).any(|pair| pair == b"%(");
    words.iter().any(uses_name) && hosts.iter().any(|host| !named_arguments(host).is_empty())
}

/// Collects the arguments of each host and checks that they are what `command` needs: those of the rows of `file`, those of
/// `options` (`HOST=VALUE`, `HOST:NAME=VALUE`), those of the hosts file. Of two with the same name, the later option
/// beats the earlier, which beats the row, which beats the hosts file.
///
/// # Errors
/// The file cannot be read, or has problems.
pub fn gather(
    file: Option<&Path>,
    column: Option<&str>,
    options: &[OsString],
    hosts: &[HostSpec],
    command: &CommandLine,
    names: ArgumentNames,
) -> Result<Vec<Arguments>, HostArgsError> {
    // Anyone may be able to write it: values go into commands for the hosts, and change nothing locally.
    let read = |path: &Path| hosts::read(path).map_err(|error| HostArgsError::Read { path: path.to_owned(), error });
    let text = file.map(|path| read(path).map(|contents| (path, contents.bytes))).transpose()?;
    of_texts(text.as_ref().map(|(path, text)| (*path, &**text)), column, options, hosts, command, names)
}

/// The same, of a file that has been read.
pub(crate) fn of_texts(
    file: Option<(&Path, &[u8])>,
    column: Option<&str>,
    options: &[OsString],
    hosts: &[HostSpec],
    command: &CommandLine,
    names: ArgumentNames,
) -> Result<Vec<Arguments>, HostArgsError> {
    let of_entry = |host: &HostSpec| Arguments::of_entry(named_arguments(host), &host.origin);
    let mut arguments: Vec<Arguments> = hosts.iter().map(of_entry).collect();
    let mut problems = Vec::new();
    let mut advice = None;
    if let Some((path, text)) = file {
        match Rows::parse(path, text, command.is_by_name()) {
            Ok(mut rows) => {
                advice = rows.advice.take();
                rows.hand_out((column, names.column), hosts, command, &mut arguments, &mut problems);
            }
            Err(wrong) => problems = wrong,
        }
    }
    let by_name = Directory::new(hosts);
    let mut singles: Vec<Vec<Vec<u8>>> = vec![Vec::new(); if options.is_empty() { 0 } else { hosts.len() }];
    for option in options {
        if let Err(problem) = single((names.single, option.as_bytes()), &by_name, command, &mut arguments, &mut singles)
        {
            // Only the part before the =, since the value may be a secret.
            let target = option.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            problems.push(format!("{} {}: {problem}", names.single, quoted(target)));
        }
    }
    for (of_host, values) in arguments.iter_mut().zip(singles) {
        if !values.is_empty() {
            of_host.in_order = values;
            of_host.place = ArgumentSource::Single(names.single);
        }
    }
    let checked =
        if problems.is_empty() { check(&arguments, hosts, command) } else { Err(HostArgsError::Bad(problems)) };
    checked.map(|()| arguments).map_err(|error| match error {
        // Advice about all rows comes first.
        HostArgsError::Bad(problems) => HostArgsError::Bad(advice.into_iter().chain(problems).collect()),
        error => error,
    })
}

/// Checks that `arguments`, in list order, are what `command` needs on each host.
///
/// # Errors
/// Too few or too many rows or values, an unknown name, or a value that must be a number.
pub fn check(arguments: &[Arguments], hosts: &[HostSpec], command: &CommandLine) -> Result<(), HostArgsError> {
    let mut problems = Vec::new();
    if arguments.len() == hosts.len() {
        for (number, (host, of_host)) in hosts.iter().zip(arguments).enumerate() {
            of_host.check(number, host, command, &mut problems);
        }
    } else {
        problems.push(format!("arguments for {} hosts, but {} hosts in the run", arguments.len(), hosts.len()));
    }
    if problems.is_empty() { Ok(()) } else { Err(HostArgsError::Bad(problems)) }
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", excerpt(&String::from_utf8_lossy(bytes)))
}

/// The places of hosts in the list, by name and by whole entry.
struct Directory<'a> {
    hosts: &'a [HostSpec],
    places: HashMap<Cow<'a, str>, Vec<usize>>,
}

impl<'a> Directory<'a> {
    fn new(hosts: &'a [HostSpec]) -> Directory<'a> {
        let mut places: HashMap<Cow<'a, str>, Vec<usize>> = HashMap::with_capacity(hosts.len());
        for (number, host) in hosts.iter().enumerate() {
            places.entry(Cow::Borrowed(&host.name)).or_default().push(number);
            if host.user.is_some() || host.port.is_some() {
                places.entry(Cow::Owned(host.to_string())).or_default().push(number);
            }
        }
        Directory { hosts, places }
    }

    fn places(&self, entry: &[u8]) -> Option<&[usize]> {
        std::str::from_utf8(entry).ok().and_then(|entry| self.places.get(entry)).map(Vec::as_slice)
    }

    /// Returns those of an entry in another form than shown, such as `ssh://me@web1` or `[::1]`.
    fn places_of_other_form(&self, entry: &[u8]) -> Option<Vec<usize>> {
        let (user, name, port) = hosts::parse_entry(std::str::from_utf8(entry).ok()?).ok()?;
        let places = self.places.get(&*name)?.iter().copied();
        let is_meant = |place: &usize| {
            let host = &self.hosts[*place];
            (user.is_none() || host.user == user) && (port.is_none() || host.port == port)
        };
        let places: Vec<usize> = places.filter(is_meant).collect();
        (!places.is_empty()).then_some(places)
    }
}

/// Parses a single value, which messages call `source`. Before the first `=` is a host of the run, or one followed by `:` and a name.
fn single(
    (source, option): (&'static str, &[u8]),
    hosts: &Directory<'_>,
    command: &CommandLine,
    arguments: &mut [Arguments],
    singles: &mut [Vec<Vec<u8>>],
) -> Result<(), String> {
    let Some(equals) = option.iter().position(|byte| *byte == b'=') else {
        return Err("expected HOST=VALUE or HOST:NAME=VALUE".to_owned());
    };
    let (target, value) = (&option[..equals], &option[equals + 1..]);
    let parts = target.iter().rposition(|byte| *byte == b':').map(|colon| (&target[..colon], &target[colon + 1..]));
    let shown = |target: &[u8]| hosts.places(target).map(<[usize]>::to_vec);
    let named = |find: &dyn Fn(&[u8]) -> Option<Vec<usize>>| {
        let (host, name) = parts?;
        Some((find(host)?, Some(name)))
    };
    let other = |target: &[u8]| hosts.places_of_other_form(target);
    let found = shown(target).map(|places| (places, None));
    let found = found.or_else(|| named(&shown)).or_else(|| Some((other(target)?, None))).or_else(|| named(&other));
    match found.ok_or("no such host in this run")? {
        (places, None) => places.into_iter().for_each(|place| singles[place].push(value.to_owned())),
        (places, Some(name)) => {
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
            let name: Arc<str> = name.ok_or("the name is missing, or not UTF-8 text")?.into();
            if !command.names().any(|used| used == &*name) {
                let hint = did_you_mean(&name, command.names());
                return Err(format!("the command does not use it as %({name})s{hint}"));
            }
            for place in places {
                let of_host = &mut arguments[place];
                of_host.named.insert(0, (Arc::clone(&name), value.to_owned()));
                if of_host.place == ArgumentSource::Nowhere {
                    of_host.place = ArgumentSource::Single(source);
                }
            }
        }
    }
    Ok(())
}

/// The format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Separated(u8),
    Json,
    JsonLines,
}

impl Format {
    /// Detects the format by the name of the file, else by its first byte.
    fn of(path: &Path, text: &[u8]) -> Format {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.as_bytes() {
            b"json" => Format::Json,
            b"jsonl" | b"ndjson" => Format::JsonLines,
            b"csv" => Format::Separated(b','),
            b"tsv" => Format::Separated(b'\t'),
            _ => match text.trim_ascii_start().first() {
                Some(b'[' | b'{') => Format::Json,
                _ => Format::Separated(b','),
            },
        }
    }
}

impl Rows {
    /// Parses a file. The first line of CSV is a header if values are used `by_name`, and data otherwise.
    fn parse(path: &Path, text: &[u8], by_name: bool) -> Result<Rows, Vec<String>> {
        let file: Arc<Path> = path.into();
        // A byte order mark is not part of the first value.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let at = |place: &dyn fmt::Display, problem: &str| format!("{}:{place}: {problem}", file.display());
        let mut advice = None;
        let (rows, mut problems, headless) = match Format::of(path, text) {
            Format::Separated(delimiter) => match csv::records(text, delimiter) {
                Err((offset, problem)) => (Vec::new(), vec![at(&place(text, offset), problem)], false),
                Ok(records) => {
                    advice = separators::advice(path, &records, delimiter);
                    let row = |record: csv::Record| Row { line: record.line, given: Given::InOrder(record.fields) };
                    if by_name {
                        let (rows, problems) = under_header(records);
                        (rows, problems.iter().map(|(line, problem)| at(line, problem)).collect(), false)
                    } else {
                        (records.into_iter().map(row).collect(), Vec::new(), true)
                    }
                }
            },
            format => {
                let (rows, problems) = json::rows(text, format == Format::JsonLines);
                let rows = rows.into_iter().map(|(line, given)| Row { line, given }).collect();
                (rows, problems.iter().map(|(place, problem)| at(place, problem)).collect(), false)
            }
        };
        for row in &rows {
            if row.given.values().any(|value| value.contains(&0)) {
                problems.push(at(&row.line, "a value contains a NUL byte, which a command cannot contain"));
            }
        }
        if problems.is_empty() { Ok(Rows { file, rows, headless, advice }) } else { Err(problems) }
    }

    /// Assigns each host its row: the one that names it, if rows name hosts, else the one in the same place.
    fn hand_out(
        self,
        (column, column_option): (Option<&str>, &str),
        hosts: &[HostSpec],
        command: &CommandLine,
        arguments: &mut [Arguments],
        problems: &mut Vec<String>,
    ) {
        let name = column.unwrap_or(HOST);
        if self.rows.iter().any(|row| row.given.named(name).is_some()) {
            return self.hand_out_by_name(name, hosts, arguments, problems);
        }
        if column.is_some() {
            return problems
                .push(format!("{}: no row has the column {name:?} of {column_option}", self.file.display()));
        }
        let is_used = |name: &str| command.names().any(|used| used == name);
        if let Some(problem) = columns::wrong_order(&self.rows, hosts, column_option, is_used) {
            return problems.push(format!("{}: {problem}", self.file.display()));
        }
        let (file, count) = (self.file.display(), self.rows.len());
        // Hosts first: a message about a host helps most.
        if let Some(host) = hosts.get(count) {
            let rows = if count == 1 { "1 row" } else { &*format!("{count} rows") };
            let many = hosts.len();
            let problem = format!("{file}: {rows} for {many} hosts; the first without one is {host} ({})", host.origin);
            return problems.push(problem);
        }
        if let Some(row) = self.rows.get(hosts.len()) {
            let header = if self.headless && count == hosts.len() + 1 {
                " (the first line is a header only if the command uses names alone, as in %(name)q)"
            } else {
                ""
            };
            let hosts = hosts.len();
            return problems
                .push(format!("{file}:{}: no host is left for this row; {count} rows for {hosts}{header}", row.line));
        }
        for (row, of_host) in self.rows.into_iter().zip(arguments) {
            of_host.take(row, &self.file);
        }
    }

    fn hand_out_by_name(
        self,
        column: &str,
        hosts: &[HostSpec],
        arguments: &mut [Arguments],
        problems: &mut Vec<String>,
    ) {
        let mut by_name: HashMap<Vec<u8>, &Row> = HashMap::with_capacity(self.rows.len());
        let file = self.file.display();
        for row in &self.rows {
            let Some(host) = row.given.named(column) else {
                problems.push(format!("{file}:{}: the row has no {column:?}, which others have", row.line));
                continue;
            };
            if let Some(first) = by_name.insert(host.to_owned(), row) {
                let host = quoted(host);
                problems.push(format!("{file}:{}: a second row for {host}, after line {}", row.line, first.line));
            }
        }
        for (host, of_host) in hosts.iter().zip(arguments) {
            let row = by_name.get(host.to_string().as_bytes()).or_else(|| by_name.get(host.name.as_bytes()));
            match row {
                Some(row) => of_host.take(Row { line: row.line, given: row.given.clone() }, &self.file),
                None => problems.push(format!("{file}: no row has {host} as its {column:?} ({})", host.origin)),
            }
        }
    }
}

/// Returns rows whose fields are named by the first one.
fn under_header(records: Vec<csv::Record>) -> (Vec<Row>, Vec<(usize, String)>) {
    let mut records = records.into_iter();
    let Some(header) = records.next() else {
        return (Vec::new(), vec![(1, "the header with the names of the columns is missing".to_owned())]);
    };
    let (mut names, mut problems): (Vec<Arc<str>>, Vec<_>) = (Vec::new(), Vec::new());
    let mut known = HashSet::new();
    for name in &header.fields {
        let text = String::from_utf8_lossy(name);
        if !text.is_empty() && !known.insert(text.clone()) {
            problems.push((header.line, format!("two columns have the name {text:?}")));
        }
        names.push(text.into());
    }
    let mut rows = Vec::with_capacity(records.len());
    for csv::Record { line, fields } in records {
        if fields.len() == names.len() {
            let named = names.iter().cloned().zip(fields).collect();
            rows.push(Row { line, given: Given::Named(named) });
        } else {
            let (found, needed) = (fields.len(), names.len());
            problems.push((line, format!("expected {needed} fields, as the header has, and found {found}")));
        }
    }
    (rows, problems)
}

impl Given {
    fn values(&self) -> Box<dyn Iterator<Item = &Vec<u8>> + '_> {
        match self {
            Given::InOrder(values) => Box::new(values.iter()),
            Given::Named(named) => Box::new(named.iter().map(|(_, value)| value)),
        }
    }

    /// Returns the value of a column.
    fn named(&self, column: &str) -> Option<&[u8]> {
        match self {
            Given::InOrder(_) => None,
            Given::Named(named) => named.iter().find(|(name, _)| &**name == column).map(|(_, value)| value.as_slice()),
        }
    }
}

impl Arguments {
    /// Creates values for positional placeholders, such as `%q`, in order.
    pub fn in_order<V: Into<Vec<u8>>>(values: impl IntoIterator<Item = V>) -> Arguments {
        Arguments { in_order: values.into_iter().map(Into::into).collect(), ..Arguments::default() }
    }

    /// Creates values for named placeholders, such as `%(name)q`.
    pub fn named<N: Into<Arc<str>>, V: Into<Vec<u8>>>(values: impl IntoIterator<Item = (N, V)>) -> Arguments {
        let named = values.into_iter().map(|(name, value)| (name.into(), value.into()));
        Arguments { named: named.collect(), ..Arguments::default() }
    }

    /// Creates the arguments of the host's own entry.
    fn of_entry(fields: &[(String, String)], origin: &Origin) -> Arguments {
        let named = |(name, value): &(String, String)| (name.as_str().into(), value.clone().into_bytes());
        let named: Vec<Named> = fields.iter().map(named).collect();
        let place = if named.is_empty() { ArgumentSource::Nowhere } else { ArgumentSource::Entry(origin.clone()) };
        Arguments { place, named, in_order: Vec::new() }
    }

    /// Adds the values of its row, which beat those of its entry.
    fn take(&mut self, row: Row, file: &Arc<Path>) {
        self.place = ArgumentSource::Row { file: Arc::clone(file), line: row.line };
        match row.given {
            Given::InOrder(values) => self.in_order = values,
            Given::Named(mut named) => {
                // It only matches the row; the host's name stays that of the list.
                named.retain(|(name, _)| &**name != HOST);
                named.append(&mut self.named);
                self.named = named;
            }
        }
    }

    /// Adds their problems, for a host without login name and port yet.
    fn check(&self, number: usize, host: &HostSpec, command: &CommandLine, problems: &mut Vec<String>) {
        let (given, needed) = (self.in_order.len(), command.places());
        if given != needed {
            problems.push(format!("{}: {host}: {}", self.place, miscounted(given, needed, self)));
        }
        // A number is valid for any placeholder.
        let values = ForHost { arguments: self, host: &host.name, user: "0", port: 0, index: number };
        for error in command.check(&values) {
            let hint = if let ValueError::Name(_) = error { self.known() } else { String::new() };
            problems.push(format!("{}: {host}: {error}{hint}", self.place));
        }
    }

    /// Returns the known names, for a message about an unknown one.
    fn known(&self) -> String {
        let mut names: Vec<&str> = self.named.iter().map(|(name, _)| &**name).filter(|name| !name.is_empty()).collect();
        names.extend(BUILT_IN);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        format!("; known names: {} (write %% for a literal %)", excerpt(&names.join(", ")))
    }
}

fn miscounted(given: usize, needed: usize, arguments: &Arguments) -> String {
    let values =
        |count| if count == 1 { "1 positional value".to_owned() } else { format!("{count} positional values") };
    let has_names = !arguments.named.is_empty();
    match (given, needed) {
        (0, needed) if has_names => {
            let needed = values(needed);
            format!("the command needs {needed} (%s, %q, %d), but only named ones are given (use %(name)q)")
        }
        (given, 0) => format!("found {}, but the command uses none (%s, %q, %d)", values(given)),
        (given, needed) => format!("expected {}, found {given} (write %% for a literal %)", values(needed)),
    }
}
