//! The grammar of host lists: items between operators, like ClusterShell's nodeset.
//!
//! ```text
//! list  = item { operator item }          read from left to right; no operator binds more tightly than another
//! item  = hosts | @group | pattern
//! operator = "," and | "!" without | "&" only those that are also in | "^" those in one of both, but not in both
//! pattern = name with * or ? in it | /regular expression/
//! ```

use regex_lite::{Regex, RegexBuilder};

use super::{Names, NamesError};
use crate::hosts::problem::{Advice, Problem};
use crate::text::message::excerpt;
use crate::text::wildcard::matches_pattern;

/// The effect of an item on the hosts before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `,` adds its hosts.
    And,
    /// `!` removes its hosts.
    Without,
    /// `&` keeps only its hosts.
    Common,
    /// `^` adds those of its hosts that are not there, and removes the others.
    Either,
}

/// The content of an item.
#[derive(Debug)]
pub enum Item {
    /// `[user@]host[:port]` with or without ranges.
    Hosts,
    /// A group, without the `@`.
    Group,
    /// Names that match.
    Pattern(Pattern),
}

/// An item of a list.
#[derive(Debug)]
pub struct Term<'a> {
    /// Its operator; [`Operator::And`] for the first one.
    pub operator: Operator,
    /// Its content.
    pub item: Item,
    /// As written.
    pub text: &'a str,
    /// Its position, in characters of the list from 0.
    pub column: usize,
}

/// A pattern for names.
#[derive(Debug)]
pub enum Pattern {
    /// Names that match one of these: `*` is any text, `?` any character.
    Wildcards(Vec<String>),
    /// Names that contain a match.
    Regex(Regex),
}

/// The most texts with wildcards that a range may expand to: each is compared with every host.
const MOST_PATTERNS: u64 = 1000;

/// Bytes of the longest regular expression, and of its compiled form: matching takes memory for each of its groups at
/// each of its states.
const LONGEST_REGEX: usize = 2000;
const LARGEST_REGEX: usize = 64 << 10;
const MOST_GROUPS: usize = 100;

/// What is expected if an item is missing.
const EXPECTED: &str = "a host, a range such as web[1-9], an @group or a pattern";

/// Parses a list.
///
/// # Errors
/// A missing item, or an invalid pattern.
pub fn parse(text: &str) -> Result<Vec<Term<'_>>, NamesError> {
    let wrong = |at: usize, problem: Problem| NamesError { column: text[..at].chars().count(), problem };
    let mut terms = Vec::new();
    let (mut operator, mut at) = (None, 0);
    let (mut counted, mut column) = (0, 0);
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let length = item_length(&text[at..]).map_err(|problem| wrong(at, problem.into()))?;
        let item = text[at..at + length].trim_end();
        if item.is_empty() {
            return Err(wrong(at, missing(&text[at..], operator)));
        }
        if item == "-" {
            return Err(wrong(at, Problem::with("not a host", Advice::StandardInput)));
        }
        if let Some(blank) = item.find(char::is_whitespace).filter(|_| !item.starts_with('/')) {
            return Err(wrong(at + blank, "hosts are separated by commas here, not blanks".into()));
        }
        column += text[counted..at].chars().count();
        counted = at;
        terms.push(Term {
            operator: operator.map_or(Operator::And, |(operator, _)| operator),
            item: Item::parse(item).map_err(|error| NamesError { column: column + error.column, ..error })?,
            text: item,
            column,
        });
        at += length;
        operator = text[at..].chars().next().and_then(Operator::of);
        match operator {
            None => return Ok(terms),
            Some(_) => at += 1,
        }
    }
}

/// Returns what is missing between an operator, if there is one, and the rest of the list.
fn missing(rest: &str, operator: Option<(Operator, char)>) -> Problem {
    match (operator, rest.chars().next()) {
        (None, None) => format!("the list is empty; expected {EXPECTED}").into(),
        (None, Some('!')) => Problem::with("there are no hosts before the ! to leave some out", Advice::LeaveOutOfRun),
        (None, Some('^')) => {
            let file = rest[1..].split([',', ' ']).next().filter(|file| !file.is_empty()).unwrap_or("FILE");
            Problem::with("there are no hosts before the ^", Advice::NameFile(excerpt(file).into_owned()))
        }
        (Some(_), Some('^')) => Problem::with("a ^ follows hosts", Advice::NameFile("FILE".to_owned())),
        (None, Some(next)) => format!("expected {EXPECTED} before the {next}").into(),
        (Some((_, operator)), _) => format!("expected {EXPECTED} after the {operator}").into(),
    }
}

/// Returns the length of the first item, up to the next operator.
fn item_length(text: &str) -> Result<usize, String> {
    if let Some(regex) = text.strip_prefix('/') {
        let mut escaped = false;
        let end = regex.find(|c: char| {
            let ends = c == '/' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = 1 + end.ok_or("the regular expression has no closing /")? + 1;
        let blanks = text[end..].len() - text[end..].trim_start().len();
        let rest = &text[end + blanks..];
        if !rest.is_empty() && !rest.starts_with(|c| Operator::of(c).is_some()) {
            return Err(format!(
                "expected the end or one of , ! & ^ after the regular expression, not {:?}",
                excerpt(rest)
            ));
        }
        return Ok(end + blanks);
    }
    let mut in_brackets = false;
    let end = text.find(|c: char| {
        in_brackets = c == '[' || in_brackets && c != ']';
        !in_brackets && Operator::of(c).is_some()
    });
    Ok(end.unwrap_or(text.len()))
}

impl Operator {
    fn of(c: char) -> Option<(Operator, char)> {
        let operator = match c {
            ',' => Operator::And,
            '!' => Operator::Without,
            '&' => Operator::Common,
            '^' => Operator::Either,
            _ => return None,
        };
        Some((operator, c))
    }
}

impl Item {
    fn parse(text: &str) -> Result<Item, NamesError> {
        if text.starts_with('@') {
            return Ok(Item::Group);
        }
        if let Some(regex) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
            let wrong = |problem: String| NamesError { column: 0, problem: problem.into() };
            if regex.is_empty() {
                return Err(wrong("the regular expression is empty and would match every name".to_owned()));
            }
            if regex.len() > LONGEST_REGEX || regex.matches('(').count() > MOST_GROUPS {
                let problem =
                    format!("the regular expression has more than {LONGEST_REGEX} bytes or {MOST_GROUPS} parentheses");
                return Err(wrong(problem));
            }
            // Regular expressions read \/ as / too.
            let regex = RegexBuilder::new(regex).size_limit(LARGEST_REGEX).build();
            let regex = regex.map_err(|error| wrong(format!("invalid regular expression: {error}")))?;
            return Ok(Item::Pattern(Pattern::Regex(regex)));
        }
        if !text.contains(['*', '?']) {
            return Ok(Item::Hosts);
        }
        if let Some(at) = text.find(['@', ':']) {
            let problem = "a pattern matches host names only, without user and port".into();
            return Err(NamesError { column: text[..at].chars().count(), problem });
        }
        let names = Names::parse(text)?;
        if names.count() > MOST_PATTERNS {
            return Err(NamesError { column: 0, problem: format!("more than {MOST_PATTERNS} patterns").into() });
        }
        Ok(Item::Pattern(Pattern::Wildcards(names.iter().collect())))
    }
}

impl Pattern {
    /// Returns its number of texts with wildcards or regular expressions.
    pub fn count(&self) -> usize {
        match self {
            Pattern::Wildcards(patterns) => patterns.len(),
            Pattern::Regex(_) => 1,
        }
    }

    /// Whether a host of this name matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Wildcards(patterns) => patterns.iter().any(|pattern| matches_pattern(name, pattern)),
            Pattern::Regex(regex) => regex.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let terms = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let show = |term: &Term<'_>| {
            let kind = match term.item {
                Item::Hosts => "hosts",
                Item::Group => "group",
                Item::Pattern(_) => "pattern",
            };
            format!("{}:{:?} {kind} {}", term.column, term.operator, term.text)
        };
        terms.iter().map(show).collect()
    }

    #[test]
    fn lists_are_items_between_operators() {
        assert_eq!(shown("web[1,3-5]-[a,b],db1"), ["0:And hosts web[1,3-5]-[a,b]", "17:And hosts db1"]);
        assert_eq!(
            shown(" é1 ! root@[::1]:22&@web ^ /a[,!]|\\/x/ , w*"),
            [
                "1:And hosts é1",
                "6:Without hosts root@[::1]:22",
                "20:Common group @web",
                "27:Either pattern /a[,!]|\\/x/",
                "41:And pattern w*",
            ]
        );
        assert_eq!(shown("/x{1,2} y/"), ["0:And pattern /x{1,2} y/"]);
    }

    #[test]
    fn slips_have_their_place() {
        for (text, column, words) in [
            ("", 0, "the list is empty"),
            ("  ", 2, "the list is empty"),
            ("a,", 2, "after the ,"),
            (",a", 0, "before the ,"),
            ("é,,b", 2, "after the ,"),
            ("a!&b", 2, "after the !"),
            ("!a", 0, "before the ! to leave some out"),
            ("^hosts", 0, "before the ^"),
            ("a b", 1, "separated by commas here"),
            ("a, b c", 4, "separated by commas here"),
            ("/x", 0, "has no closing /"),
            ("a,/x\\/", 2, "has no closing /"),
            ("/x/y", 0, "after the regular expression, not \"y\""),
            ("a,//", 2, "is empty"),
            ("/(/", 0, "invalid regular expression"),
            ("a,root@w*", 6, "host names only"),
            ("a,é*[1", 4, "unmatched ["),
            ("w[1-1001]*", 0, "more than 1000 patterns"),
        ] {
            let error = parse(text).map(|_| ()).expect_err(text);
            assert!(error.column == column && error.problem.contains(words), "{text}: {error:?}");
        }
    }

    #[test]
    fn slips_that_are_known_are_told_apart() {
        for (text, advice) in
            [("!a", Some(Advice::LeaveOutOfRun)), ("^a", Some(Advice::NameFile("a".to_owned()))), (",a", None)]
        {
            let error = parse(text).map(|_| ()).expect_err(text);
            assert_eq!(error.problem.advice.as_deref(), advice.as_ref(), "{text}");
        }
    }

    #[test]
    fn patterns_match_names() {
        let matches = |pattern: &str, name: &str| match &parse(pattern).expect("a pattern")[0].item {
            Item::Pattern(pattern) => pattern.matches(name),
            item => panic!("{item:?}"),
        };
        for (pattern, name) in
            [("web*", "web1"), ("*", "a"), ("w?b[1-2]*", "wub2x"), ("/^db\\d+$/", "db12"), ("/b/", "abc")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("web*", "aweb1"), ("w?b[1-2]*", "web3"), ("/^db\\d+$/", "db12x"), ("/a\\/b/", "ab")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_list_is_taken_or_refused(text in "[a0\\[\\],!&^/@* \\\\-]{0,16}") {
            if let Ok(terms) = parse(&text) {
                proptest::prop_assert!(terms.iter().all(|term| !term.text.is_empty()));
            }
        }
    }
}
