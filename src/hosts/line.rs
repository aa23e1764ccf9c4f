//! A line of a hosts file: fields, quotes and comments, options and arguments.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use super::Origin;
use super::options::{self, HostOptions, Refused, Value, ValuePlace};

/// The fields of a line after the entry.
#[derive(Default)]
pub struct Said<'a> {
    /// The second field, if it is a user: its name, the field, and its place.
    pub user: Option<(String, &'a str, Origin)>,
    /// The keys that are options.
    pub options: HostOptions,
    /// The others, in their order.
    pub arguments: Vec<(String, String)>,
    /// Those of them without `arg.`, with their places: one that the command does not use is a mistake.
    pub loose: Vec<(String, Origin)>,
    /// The names of the arguments.
    names: HashSet<String>,
}

/// Marks a key as an argument for the command.
pub const ARGUMENT: &str = "arg.";

impl Said<'_> {
    /// Adds `key=value`: an option, or else an argument for the command.
    ///
    /// # Errors
    /// The part to show, and what is wrong.
    pub fn take(&mut self, key: &str, value: &str, place: &ValuePlace<'_>) -> Result<(), (String, String)> {
        let name = match key.strip_prefix(ARGUMENT) {
            Some(name) => name,
            None => match self.options.set(key, &Value::Text(value), place) {
                Ok(()) => return Ok(()),
                Err(Refused::Wrong(problem)) => {
                    let shown = if options::is_password(key) { key.to_owned() } else { format!("{key}={value}") };
                    return Err((shown, problem));
                }
                Err(Refused::Unknown(Some(known))) => {
                    let problem =
                        format!("did you mean {known}? For an argument of the command, write {ARGUMENT}{key}");
                    return Err((key.to_owned(), problem));
                }
                Err(Refused::Unknown(None)) => {
                    self.loose.push((key.to_owned(), place.origin.clone()));
                    key
                }
            },
        };
        if name.is_empty() {
            return Err((key.to_owned(), format!("expected the name of an argument after {ARGUMENT}")));
        }
        if !self.names.insert(name.to_owned()) {
            return Err((name.to_owned(), "it is given twice".to_owned()));
        }
        self.arguments.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// A field of a line.
pub struct Field<'a> {
    /// The whole field as written.
    pub text: &'a str,
    /// Key and value, if it has the form `key=value`; without the quotes around the value.
    pub value: Option<(&'a str, Cow<'a, str>)>,
}

/// Splits a line at its blanks, up to a `#` that begins a comment. As in pssh, that may be anywhere in the entry and
/// the user; a value is not cut short by one.
///
/// A value may be quoted: in single quotes everything is literal, in double ones `\"` and `\\` stand for the
/// character after the backslash.
///
/// # Errors
/// The field, and what is wrong with it.
pub fn split(line: &str) -> Result<Vec<Field<'_>>, (&str, &'static str)> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(fields);
        }
        let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
        let Some(key) = key_of(&rest[..end]).filter(|_| !fields.is_empty()) else {
            let comment = rest[..end].find('#');
            fields.push(Field { text: &rest[..comment.unwrap_or(end)], value: None });
            rest = if comment.is_some() { "" } else { &rest[end..] };
            continue;
        };
        let written = &rest[key.len() + 1..];
        let (value, length) = match written.chars().next() {
            Some(quote @ ('"' | '\'')) => unquote(written, quote).ok_or((rest, "the closing quote is missing"))?,
            _ => {
                let plain = &rest[key.len() + 1..end];
                if plain.contains('#') {
                    return Err((&rest[..end], "quote a value that contains #, or put a blank before a comment"));
                }
                (Cow::Borrowed(plain), plain.len())
            }
        };
        let end = key.len() + 1 + length;
        if rest[end..].starts_with(|c: char| !c.is_whitespace() && c != '#') {
            return Err((rest, "expected a blank after the closing quote"));
        }
        fields.push(Field { text: &rest[..end], value: Some((key, value)) });
        rest = &rest[end..];
    }
}

/// The keys that move into the entry.
const OF_THE_ENTRY: [&str; 2] = ["user", "port"];

/// Adds `key=value` to `text`, so that it means the same in a hosts file elsewhere: paths do not start from the directory of
/// this one, and an argument is one for every command.
pub fn write(key: &str, value: &str, directory: &Path, text: &mut String) {
    if OF_THE_ENTRY.contains(&key) {
        return;
    }
    let path = std::path::absolute(directory.join(value)).ok();
    let path = path.as_ref().and_then(|path| path.to_str()).filter(|_| options::is_path(key, value));
    let value = path.unwrap_or(value);
    if options::KEYS.contains(&key) || key.starts_with(ARGUMENT) {
        put(key, value, text);
    } else {
        put(&format!("{ARGUMENT}{key}"), value, text);
    }
}

/// Adds `key=value` to `text` unchanged.
pub fn put(key: &str, value: &str, text: &mut String) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(key);
    text.push('=');
    if !value.contains(|c: char| c.is_whitespace() || "\"'#".contains(c)) {
        return text.push_str(value);
    }
    text.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// Returns the key of `key=value`.
fn key_of(field: &str) -> Option<&str> {
    let key = field.split_once('=')?.0;
    let good = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    (key.starts_with(|c: char| c.is_alphabetic() || c == '_') && key.chars().all(good)).then_some(key)
}

/// Returns the quoted value that `text` begins with, and its length in the text; `None` if the quotes are not closed.
fn unquote(text: &str, quote: char) -> Option<(Cow<'_, str>, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((Cow::Owned(value), at + 1)),
            '\\' if quote == '"' => {
                let escaped = chars.next_if(|(_, next)| matches!(next, '"' | '\\'));
                value.push(escaped.map_or('\\', |(_, next)| next));
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::hosts::hosts_file::{Basis, Found};
    use crate::hosts::{Bad, Groups, HostSpec};

    /// Returns the hosts of a text, and its problems, a line each.
    fn file(text: &str) -> (Vec<HostSpec>, Vec<String>) {
        let mut groups = Groups::default();
        let mut found = Found::new(&mut groups);
        found.add_file(Path::new("d/h"), Basis::of(Path::new("d/h")), text.as_bytes());
        let bad = found.bad.iter().map(|bad| Bad(std::slice::from_ref(bad)).to_string()).collect();
        (found.hosts, bad)
    }

    #[test]
    fn lines_have_options_and_arguments() {
        let (hosts, bad) = file(
            "web1 deploy port=2222 timeout=1m rack=r1 note=\"a 'b' \\\"c\\\" # d\" # e\n\
             web2 password-file='my pass' arg.port=x empty= q='\\'\nweb3",
        );
        assert_eq!(bad, [] as [String; 0]);
        assert_eq!(hosts[0].to_string(), "deploy@web1:2222");
        let given = hosts[0].options.timeout.as_ref().expect("a timeout");
        assert_eq!((given.value.as_secs(), given.origin.to_string().as_str()), (60, "d/h:1:23"));
        let arguments = |place: usize| -> Vec<(&str, &str)> {
            hosts[place].arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
        };
        assert_eq!(arguments(0), [("rack", "r1"), ("note", "a 'b' \"c\" # d")]);
        assert_eq!(arguments(1), [("port", "x"), ("empty", ""), ("q", "\\")]);
        assert_eq!(hosts[1].options.password_file.as_ref().expect("a file").value, Path::new("d/my pass"));
        assert!(hosts[2].options.is_empty() && hosts[2].arguments.is_empty());
    }

    #[test]
    fn a_host_is_written_so_that_a_line_elsewhere_says_the_same() {
        let text = "web1 deploy port=2222 timeout=1m note=\"a 'b' \\\"c\\\" # d\" identity=k identity=~/l q='\\x y' b=\\ e=\n\
                    [::1]:22 arg.port=x password-file=/p agent=s user=me\nweb2\nweb3:22 user=\"a #b\" c=d";
        let (hosts, bad) = file(text);
        assert_eq!(bad, [] as [String; 0]);
        let lines: Vec<String> = hosts.iter().map(HostSpec::line).collect();
        let here = std::env::current_dir().expect("a directory");
        let here = here.to_str().expect("text");
        assert_eq!(
            lines,
            [
                format!(
                    r##"deploy@web1:2222 timeout=1m arg.note="a 'b' \"c\" # d" identity={here}/d/k identity=~/l arg.q="\\x y" arg.b=\ arg.e="##
                ),
                format!("me@[::1]:22 arg.port=x password-file=/p agent={here}/d/s"),
                "web2".to_owned(),
                "web3:22 user=\"a #b\" arg.c=d".to_owned(),
            ]
        );
        let (again, bad) = file(&lines.join("\n"));
        assert_eq!(bad, [] as [String; 0]);
        for (host, again) in hosts.iter().zip(&again) {
            assert_eq!((&again.user, &again.name, again.port), (&host.user, &host.name, host.port));
            assert_eq!((&again.arguments, again.line()), (&host.arguments, host.line()));
        }
    }

    #[test]
    fn comments_are_cut_off_where_pssh_does_and_values_never() {
        let (hosts, bad) = file("web1#x\nweb2 me#x y z\n#web3\n web4 a=\"#\"#x\nweb5 a=b #c=d");
        assert_eq!(bad, [] as [String; 0]);
        let names: Vec<String> = hosts.iter().map(HostSpec::to_string).collect();
        assert_eq!(names, ["web1", "me@web2", "web4", "web5"]);
        assert_eq!(hosts[2].arguments[..], [("a".to_owned(), "#".to_owned())]);
        let (_, bad) = file("web1 url=http://x/#part");
        assert!(bad[0].starts_with("d/h:1:6: \"url\": quote a value that contains #"), "{bad:?}");
    }

    #[test]
    fn every_slip_in_a_line_has_its_place() {
        for (line, expected) in [
            ("a prot=22", "d/h:1:3: \"prot\": did you mean port? For an argument of the command, write arg.prot"),
            ("a Port=22", "d/h:1:3: \"Port\": did you mean port?"),
            ("a port=x", "d/h:1:3: \"port=x\": the port \"x\" is not a number"),
            ("a b c=1 d", "d/h:1:9: \"d\": expected [user@]host[:port] [user] [key=value]..."),
            ("a c=1 c=2", "d/h:1:7: \"c\": it is given twice"),
            ("a timeout=1 timeout=2", "d/h:1:13: \"timeout=2\": it is given twice"),
            ("a:1 port=2", "d/h:1:5: \"port\": the port is given twice"),
            ("x@a user=y", "d/h:1:5: \"user\": the user is given twice"),
            ("a x user=y", "d/h:1:5: \"user\": the user is given twice"),
            ("x@a y", "d/h:1:5: \"y\": the user is given twice"),
            ("a proxy=b proxy-command=c", "d/h:1:11: \"proxy-command=c\": only one"),
            ("a k=\"b", "d/h:1:3: \"k\": the closing quote is missing"),
            ("a k='b'c", "d/h:1:3: \"k\": expected a blank after the closing quote"),
            ("a arg.=c", "d/h:1:3: \"arg.\": expected the name"),
            ("a é=1 b=\"", "d/h:1:7: \"b\": the closing quote is missing"),
        ] {
            let (hosts, bad) = file(line);
            assert!(hosts.is_empty() && bad.len() == 1 && bad[0].starts_with(expected), "{line}: {bad:?} {hosts:?}");
        }
        for secret in ["a password=hunter2", "a pasword=\"hunter2", "a passwd=hunter2 x", "a pass-phrase=hunter2"] {
            let (hosts, bad) = file(secret);
            assert!(hosts.is_empty() && !bad.is_empty() && !bad.concat().contains("hunter2"), "{bad:?}");
        }
        let long = format!("a password=hunter2{}", " x".repeat(50_000));
        let (hosts, bad) = file(&long);
        assert!(hosts.is_empty() && bad.len() == 1 && !bad[0].contains("hunter2"), "{bad:?}");
        let (_, bad) = file("a prot=1 timeout=x\n-x port=y\nb");
        assert_eq!(bad.len(), 4, "all at once: {bad:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_taken_or_refused(line in "[a-c=é\"'\\\\# .@:]{0,40}") {
            let (hosts, bad) = file(&line);
            proptest::prop_assert!(hosts.len() <= 1 && (hosts.is_empty() || bad.is_empty()), "{:?}", bad);
        }
    }
}
