//! Per-host arguments: what is put into the command for each host. Rows of a file (`--host-args`), single values
//! (`--host-arg`), and the fields of the hosts file; all checked before the first connection.

mod csv;
mod json;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command::CommandLine;
use crate::error::reason;
use crate::hosts::{HostSpec, Origin};
use crate::template::{ValueError, Values};

/// The name of the column whose value says which host a row is for.
const HOST: &str = "host";
/// The names that every host has a value for.
const BUILT_IN: [&str; 4] = [HOST, "user", "port", "index"];

/// A value and its name.
type Named = (Arc<str>, Vec<u8>);

/// The values of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    InOrder(Vec<Vec<u8>>),
    Named(Vec<Named>),
}

/// Where values for a host come from, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing was given for it.
    #[default]
    Nowhere,
    /// `--host-arg`.
    Option,
    Row {
        file: Arc<Path>,
        line: usize,
    },
    /// The host's own entry.
    Entry(Origin),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Nowhere => f.write_str("host arguments"),
            Place::Option => f.write_str("--host-arg"),
            Place::Row { file, line } => write!(f, "{}:{line}", file.display()),
            Place::Entry(origin) => origin.fmt(f),
        }
    }
}

/// The arguments of one host.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    place: Place,
    in_order: Vec<Vec<u8>>,
    /// The first of a name counts.
    named: Vec<Named>,
}

/// What is wrong with the arguments.
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
    /// Rows and values that are not as they have to be; all of them, so that they can be mended at once.
    #[error("{}", Problems(.0))]
    Bad(Vec<String>),
}

/// At most this many problems are listed: the first ones tell what kind of mistake it is.
const PROBLEMS_SHOWN: usize = 10;

struct Problems<'a>(&'a [String]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..self.0.len().min(PROBLEMS_SHOWN)].join("\n"))?;
        match self.0.len().saturating_sub(PROBLEMS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more like these"),
        }
    }
}

/// The rows of a file.
#[derive(Debug)]
struct Rows {
    file: Arc<Path>,
    rows: Vec<Row>,
    /// Whether it could have a header that was taken for data.
    headless: bool,
}

#[derive(Debug)]
struct Row {
    line: usize,
    given: Given,
}

/// The fields of the host's entry in the hosts file that are no settings.
pub fn named_arguments(_host: &HostSpec) -> &[(String, String)] {
    &[]
}

/// Whether the fields of the hosts file make the command one with places: a host has some, and the command uses a name. So a
/// `date +%s` stays what it is, whatever the hosts file knows about the hosts.
pub fn are_used(hosts: &[HostSpec], words: &[OsString]) -> bool {
    let uses_name = |word: &OsString| word.as_bytes().windows(2).any(|pair| pair == b"%(");
    words.iter().any(uses_name) && hosts.iter().any(|host| !named_arguments(host).is_empty())
}

/// Gives each host its arguments and checks that they are what `command` needs: those of the rows of `file`, those of
/// `options` (`HOST=VALUE`, `HOST:NAME=VALUE`), those of the hosts file. Of two with the same name, the later `--host-arg`
/// beats the earlier, which beats the row, which beats the hosts file.
///
/// # Errors
/// The file cannot be read, or anything in it or about it is wrong.
pub fn gather(
    file: Option<&Path>,
    options: &[OsString],
    hosts: &[HostSpec],
    command: &CommandLine,
) -> Result<Vec<Arguments>, HostArgsError> {
    let mut arguments: Vec<Arguments> = hosts.iter().map(of_entry).collect();
    let mut problems = Vec::new();
    if let Some(path) = file {
        let text = read(path).map_err(|error| HostArgsError::Read { path: path.to_owned(), error })?;
        match Rows::parse(path, &text, command.is_by_name()) {
            Ok(rows) => rows.hand_out(hosts, &mut arguments, &mut problems),
            Err(wrong) => problems = wrong,
        }
    }
    let by_name = Directory::new(hosts);
    let mut singles: Vec<Vec<Vec<u8>>> = vec![Vec::new(); if options.is_empty() { 0 } else { hosts.len() }];
    for option in options {
        if let Err(problem) = single(option.as_bytes(), &by_name, &mut arguments, &mut singles) {
            problems.push(format!("--host-arg {}: {problem}", quoted(option.as_bytes())));
        }
    }
    for (of_host, values) in arguments.iter_mut().zip(singles) {
        if !values.is_empty() {
            of_host.in_order = values;
            of_host.place = Place::Option;
        }
    }
    if problems.is_empty() {
        for (number, (host, of_host)) in hosts.iter().zip(&arguments).enumerate() {
            of_host.check(number, host, command, &mut problems);
        }
    }
    if problems.is_empty() { Ok(arguments) } else { Err(HostArgsError::Bad(problems)) }
}

/// What the host's own entry says.
fn of_entry(host: &HostSpec) -> Arguments {
    let fields = named_arguments(host).iter();
    let named: Vec<Named> = fields.map(|(name, value)| (name.as_str().into(), value.clone().into_bytes())).collect();
    let place = if named.is_empty() { Place::Nowhere } else { Place::Entry(host.origin.clone()) };
    Arguments { place, named, in_order: Vec::new() }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

/// The places of hosts in the list, by name and by whole entry.
struct Directory<'a>(HashMap<Cow<'a, str>, Vec<usize>>);

impl<'a> Directory<'a> {
    fn new(hosts: &'a [HostSpec]) -> Directory<'a> {
        let mut places: HashMap<Cow<'a, str>, Vec<usize>> = HashMap::with_capacity(hosts.len());
        for (number, host) in hosts.iter().enumerate() {
            places.entry(Cow::Borrowed(&host.name)).or_default().push(number);
            if host.user.is_some() || host.port.is_some() {
                places.entry(Cow::Owned(host.to_string())).or_default().push(number);
            }
        }
        Directory(places)
    }

    fn places(&self, entry: &[u8]) -> Option<&[usize]> {
        std::str::from_utf8(entry).ok().and_then(|entry| self.0.get(entry)).map(Vec::as_slice)
    }
}

/// Reads a `--host-arg`. What stands before the first `=` is a host of the run, or one followed by `:` and a name.
fn single(
    option: &[u8],
    hosts: &Directory<'_>,
    arguments: &mut [Arguments],
    singles: &mut [Vec<Vec<u8>>],
) -> Result<(), String> {
    let Some(equals) = option.iter().position(|byte| *byte == b'=') else {
        return Err("expected HOST=VALUE or HOST:NAME=VALUE".to_owned());
    };
    let (target, value) = (&option[..equals], &option[equals + 1..]);
    if let Some(places) = hosts.places(target) {
        places.iter().for_each(|place| singles[*place].push(value.to_owned()));
        return Ok(());
    }
    let colon = target.iter().rposition(|byte| *byte == b':');
    if let Some(colon) = colon
        && let Some(places) = hosts.places(&target[..colon])
    {
        let name = std::str::from_utf8(&target[colon + 1..]).ok().filter(|name| !name.is_empty());
        let name: Arc<str> = name.ok_or("the name is missing, or not UTF-8 text")?.into();
        for place in places {
            let of_host = &mut arguments[*place];
            of_host.named.insert(0, (Arc::clone(&name), value.to_owned()));
            if of_host.place == Place::Nowhere {
                of_host.place = Place::Option;
            }
        }
        return Ok(());
    }
    Err(format!("there is no host {} in this run", quoted(target)))
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Separated(u8),
    Json,
    JsonLines,
}

impl Format {
    /// By the name of the file, else by how it begins.
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
    /// Reads a file. Of CSV the first line is a header if the values are used `by_name`, and data otherwise.
    fn parse(path: &Path, text: &[u8], by_name: bool) -> Result<Rows, Vec<String>> {
        let file: Arc<Path> = path.into();
        // A byte order mark is no part of the first value.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let at = |place: &dyn fmt::Display, problem: &str| format!("{}:{place}: {problem}", file.display());
        let (rows, mut problems, headless) = match Format::of(path, text) {
            Format::Separated(delimiter) => match csv::records(text, delimiter) {
                Err((line, problem)) => (Vec::new(), vec![at(&line, problem)], false),
                Ok(records) if by_name => {
                    let (rows, problems) = under_header(records);
                    (rows, problems.iter().map(|(line, problem)| at(line, problem)).collect(), false)
                }
                Ok(records) => {
                    let row = |record: csv::Record| Row { line: record.line, given: Given::InOrder(record.fields) };
                    (records.into_iter().map(row).collect(), Vec::new(), true)
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
                problems.push(at(&row.line, "a value contains a NUL byte, which no command can have"));
            }
        }
        if problems.is_empty() { Ok(Rows { file, rows, headless }) } else { Err(problems) }
    }

    /// Gives each host its row: the one that names it, if rows name hosts, else the one in the same place.
    fn hand_out(self, hosts: &[HostSpec], arguments: &mut [Arguments], problems: &mut Vec<String>) {
        if self.rows.iter().any(|row| row.given.host().is_some()) {
            return self.hand_out_by_name(hosts, arguments, problems);
        }
        let (file, count) = (self.file.display(), self.rows.len());
        // Hosts first: what it says about a host helps most.
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

    fn hand_out_by_name(self, hosts: &[HostSpec], arguments: &mut [Arguments], problems: &mut Vec<String>) {
        let mut by_name: HashMap<Vec<u8>, &Row> = HashMap::with_capacity(self.rows.len());
        let file = self.file.display();
        for row in &self.rows {
            let Some(host) = row.given.host() else {
                problems.push(format!("{file}:{}: the row has no \"{HOST}\", which others have", row.line));
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
                None => problems.push(format!("{file}: no row has {host} as its \"{HOST}\" ({})", host.origin)),
            }
        }
    }
}

/// Rows whose fields are named by the first one.
fn under_header(records: Vec<csv::Record>) -> (Vec<Row>, Vec<(usize, String)>) {
    let mut records = records.into_iter();
    let Some(header) = records.next() else {
        return (Vec::new(), vec![(1, "the header with the names of the columns is missing".to_owned())]);
    };
    let (mut names, mut problems): (Vec<Arc<str>>, Vec<_>) = (Vec::new(), Vec::new());
    for name in &header.fields {
        let text = String::from_utf8_lossy(name);
        if !text.is_empty() && names.iter().any(|known| **known == *text) {
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

    /// The host that the row is for, if it says so.
    fn host(&self) -> Option<&[u8]> {
        match self {
            Given::InOrder(_) => None,
            Given::Named(named) => named.iter().find(|(name, _)| &**name == HOST).map(|(_, host)| host.as_slice()),
        }
    }
}

impl Arguments {
    fn take(&mut self, row: Row, file: &Arc<Path>) {
        self.place = Place::Row { file: Arc::clone(file), line: row.line };
        match row.given {
            Given::InOrder(values) => self.in_order = values,
            Given::Named(mut named) => {
                // It says whose row it is; the host's name stays what the list has.
                named.retain(|(name, _)| &**name != HOST);
                named.append(&mut self.named);
                self.named = named;
            }
        }
    }

    /// Adds what is wrong with them for a host that has no login name and port yet.
    fn check(&self, number: usize, host: &HostSpec, command: &CommandLine, problems: &mut Vec<String>) {
        let (given, needed) = (self.in_order.len(), command.places());
        if given != needed {
            problems.push(format!("{}: {host}: {}", self.place, miscounted(given, needed, self)));
        }
        // A number: good in any place.
        let values = ForHost { arguments: self, host: &host.name, user: "0", port: 0, index: number };
        for error in command.check(&values) {
            let hint = if let ValueError::Name(_) = error { self.known() } else { String::new() };
            problems.push(format!("{}: {host}: {error}{hint}", self.place));
        }
    }

    /// The names that there are, for a message about one that there is not.
    fn known(&self) -> String {
        let mut names: Vec<&str> = self.named.iter().map(|(name, _)| &**name).filter(|name| !name.is_empty()).collect();
        names.extend(BUILT_IN);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        format!("; there are {}", names.join(", "))
    }
}

fn miscounted(given: usize, needed: usize, arguments: &Arguments) -> String {
    let values = |count| if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
    let has_names = !arguments.named.is_empty();
    match (given, needed) {
        (0, needed) if has_names => {
            let needed = values(needed);
            format!("the command takes {needed} in order (%s, %q, %d), and there are only named ones (as in %(name)q)")
        }
        (given, 0) => format!("there is {} in order, and the command uses none (%s, %q, %d)", values(given)),
        (given, needed) => format!("expected {} in order (%s, %q, %d) and found {given}", values(needed)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Wrapping;
    use crate::hosts::gather as hosts;

    /// What three hosts get of the rows in `text` for a command, or what is wrong.
    fn filled(name: &str, text: &[u8], options: &[&str], command: &str) -> Result<Vec<String>, String> {
        let hosts = hosts(&[], &["web1 root@web2:2222 ::1".to_owned()]).expect("good hosts");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(if name.is_empty() { "unused" } else { name });
        std::fs::write(&path, text).expect("a file");
        let line =
            CommandLine::with_places(&[command.into()], Wrapping::default()).map_err(|error| error.to_string())?;
        let options: Vec<OsString> = options.iter().map(OsString::from).collect();
        let file = (!name.is_empty()).then_some(path.as_path());
        let arguments = gather(file, &options, &hosts, &line)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))?;
        let fill = |(index, (host, arguments)): (usize, (&HostSpec, &Arguments))| {
            let values = ForHost { arguments, host: &host.name, user: "me", port: 22, index };
            String::from_utf8_lossy(&line.for_host(&values).expect("checked")).into_owned()
        };
        Ok(hosts.iter().zip(&arguments).enumerate().map(fill).collect())
    }

    #[track_caller]
    fn fills(name: &str, text: &str, options: &[&str], command: &str, expected: [&str; 3]) {
        let got = filled(name, text.as_bytes(), options, command);
        assert_eq!(got.as_deref(), Ok(&expected.map(str::to_owned)[..]), "{name} {text:?}");
    }

    #[test]
    fn rows_in_the_order_of_the_hosts() {
        fills("a.csv", "a,1\n\"b,c\",2\n\n,3\r\n", &[], "x %q %d", ["x 'a' 1", "x 'b,c' 2", "x '' 3"]);
        fills("a.tsv", "a\tb\nc d\te\nf\tg\n", &[], "%s-%s", ["a-b", "c d-e", "f-g"]);
        fills("rows", "\u{feff}a\nb\nc", &[], "%s", ["a", "b", "c"]);
        fills("rows", " \n[\"a\", 2.50,\n true]", &[], "%s%%", ["a%", "2.50%", "true%"]);
        fills("rows", "[\"a\",1]\n[\"b\",2]\n[\"c\",3]\n", &[], "%s=%s", ["a=1", "b=2", "c=3"]);
        fills("a.jsonl", "1\n\"x\"\n[\"y\"]\n", &[], "%s", ["1", "x", "y"]);
        fills("rows", "{\"v\":1}\n{\"v\":2,\"more\":0}\n{\"v\":3}", &[], "%(v)s", ["1", "2", "3"]);
    }

    #[test]
    fn the_command_says_whether_csv_has_a_header() {
        let text = "v,w\n1,2\n3,4\n5,6\n";
        fills("a.csv", text, &[], "%(w)s%(v)s", ["21", "43", "65"]);
        fills("a.csv", "v\n1\n2", &[], "%(host)s %s", ["web1 v", "web2 1", "::1 2"]);
        let problem = filled("a.csv", text.as_bytes(), &[], "%s %s").expect_err("4 rows");
        assert!(problem.starts_with("FILE:4: no host is left for this row; 4 rows for 3"), "{problem}");
        assert!(problem.contains("header only if"), "{problem}");
    }

    #[test]
    fn rows_that_name_their_hosts() {
        let text = "v,host\n1,::1\n2,other\n3,web2\n4,web1\n";
        fills("a.csv", text, &[], "%(host)s=%(v)s", ["web1=4", "web2=3", "::1=1"]);
        let text = "[{\"host\":\"web1\",\"v\":1},{\"host\":\"root@web2:2222\",\"v\":2},{\"host\":\"web2\",\"v\":0},\n{\"host\":\"::1\",\"v\":3}]";
        fills("a.json", text, &[], "%(v)s", ["1", "2", "3"]);
        let problem = filled("a.csv", b"host,v\nweb1,1\nweb1,2\nweb2,3\n", &[], "%(v)s").expect_err("two and none");
        assert_eq!(
            problem,
            "FILE:3: a second row for \"web1\", after line 2\nFILE: no row has ::1 as its \"host\" (-H)"
        );
        let problem = filled("rows", b"{\"host\":\"web1\"}\n{\"v\":1}", &[], "%(v)s").expect_err("no host");
        assert!(problem.starts_with("FILE:2: the row has no \"host\", which others have"), "{problem}");
    }

    #[test]
    fn single_values() {
        let all = ["web1=a=b", "web1=c", "root@web2:2222=d", "web2=", "::1=e", "::1=f"];
        fills("", "", &all, "%s+%s", ["a=b+c", "d+", "e+f"]);
        fills("", "", &["web1:v=a", "web2:v=b", "::1:v=c", "::1:v=d"], "%(v)s", ["a", "b", "d"]);
        // One host of a file's rows.
        fills("a.csv", "1\n2\n3\n", &["web2=x"], "%s", ["1", "x", "3"]);
        fills("a.csv", "v\n1\n2\n3\n", &["::1:v=x"], "%(v)s", ["1", "2", "x"]);
        // What is known of all hosts, unless a host has its own.
        fills(
            "",
            "",
            &["web1:port=80"],
            "%(user)s@%(host)s:%(port)s %(index)d",
            ["me@web1:80 0", "me@web2:22 1", "me@::1:22 2"],
        );
        for (option, problem) in [
            ("web1", "--host-arg \"web1\": expected HOST=VALUE or HOST:NAME=VALUE"),
            ("web9=x", "--host-arg \"web9=x\": there is no host \"web9\" in this run"),
            ("web9:v=x", "--host-arg \"web9:v=x\": there is no host \"web9:v\" in this run"),
            ("web1:=x", "--host-arg \"web1:=x\": the name is missing, or not UTF-8 text"),
        ] {
            assert_eq!(filled("", b"", &[option], "x").expect_err("bad"), problem);
        }
    }

    #[test]
    fn too_few_and_too_many_and_unknown_are_all_named() {
        let wrong = |name: &str, text: &str, command: &str| {
            let problem = filled(name, text.as_bytes(), &[], command).expect_err("wrong");
            problem.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(wrong("a.csv", "a\nb\n", "%s"), ["FILE: 2 rows for 3 hosts; the first without one is ::1 (-H)"]);
        assert_eq!(wrong("a.csv", "", "%s"), ["FILE: 0 rows for 3 hosts; the first without one is web1 (-H)"]);
        assert_eq!(
            wrong("a.csv", "a,b\nc,d\ne\n", "%s"),
            [
                "FILE:1: web1: expected 1 value in order (%s, %q, %d) and found 2",
                "FILE:2: root@web2:2222: expected 1 value in order (%s, %q, %d) and found 2",
            ]
        );
        assert_eq!(
            wrong("a.csv", "a\nb\nc\n", "uptime")[2],
            "FILE:3: ::1: there is 1 value in order, and the command uses none (%s, %q, %d)"
        );
        assert_eq!(
            wrong("a.json", "[{\"a\":1},{\"b\":1},{\"a\":1}]", "%(a)s %(c)s"),
            [
                "FILE:1: web1: there is no value named \"c\"; there are a, host, user, port, index",
                "FILE:1: root@web2:2222: there is no value named \"a\"; there are b, host, user, port, index",
                "FILE:1: root@web2:2222: there is no value named \"c\"; there are b, host, user, port, index",
                "FILE:1: ::1: there is no value named \"c\"; there are a, host, user, port, index",
            ]
        );
        assert_eq!(
            wrong("a.csv", "1\nx\n3\n", "%d"),
            ["FILE:2: root@web2:2222: \"x\" is not a whole number, as %d needs it"]
        );
        assert!(wrong("a.json", "[{},{},{}]", "%s")[0].starts_with("FILE:1: web1: expected 1 value in order"));
        let problem = filled("", b"", &["web1=a"], "%s").expect_err("others have none");
        assert!(problem.starts_with("host arguments: root@web2:2222: expected 1 value in order"), "{problem}");
    }

    #[test]
    fn files_that_are_wrong() {
        let wrong = |name: &str, text: &[u8], command: &str| filled(name, text, &[], command).expect_err("wrong");
        assert_eq!(wrong("a.csv", b"a\n\"b\nc\n", "%s"), "FILE:2: the quote that opens a field is never closed");
        assert_eq!(
            wrong("a.csv", b"a\nb\0\nc\n", "%s"),
            "FILE:2: a value contains a NUL byte, which no command can have"
        );
        assert_eq!(wrong("a.csv", b"a,a\n1,2\n", "%(a)s"), "FILE:1: two columns have the name \"a\"");
        assert_eq!(wrong("a.csv", b"a,b\n1\n", "%(a)s"), "FILE:2: expected 2 fields, as the header has, and found 1");
        assert_eq!(wrong("a.csv", b"", "%(a)s"), "FILE:1: the header with the names of the columns is missing");
        assert!(wrong("a.json", b"{", "%s").starts_with("FILE:1:1: it is not JSON: EOF while parsing"));
        let many = "null\n".repeat(50);
        assert!(wrong("a.jsonl", many.as_bytes(), "%s").ends_with("\n... and 40 more like these"));
    }
}
