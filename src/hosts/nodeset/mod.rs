//! Many host names in one text: `web[01-20,30]-[a,b]`. Numbers are as in ClusterShell's nodeset (1.10); words
//! between brackets are an extension, and names stay in the order in which they are written.
//!
//! A text is parsed once into [`Names`], which counts its names without creating them: a mistake such as `n[1-999999999999]` is
//! an error, not an allocation.

mod fold;
pub mod list;

pub use fold::{fold, fold_to_items};

use super::problem::Problem;
use crate::text::message::excerpt;

/// The most names of one text, and the most hosts of a list: ten times as many as a run has, since a run may be a share of a list.
pub const MOST_NAMES: u64 = 1_000_000;

/// A text for one or more names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    parts: Vec<Part>,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The items between brackets, each with the number of words before it, and the number of all words.
    Choice(Vec<(u64, Item)>, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// `first-last/step`, with leading zeros up to `width` digits.
    Numbers {
        first: u64,
        last: u64,
        step: u64,
        width: usize,
    },
    Word(String),
}

/// A syntax error in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesError {
    /// The position, in characters of the text from 0.
    pub column: usize,
    /// The problem, and what was expected.
    pub problem: Problem,
}

impl Names {
    /// Parses a text. Text outside of brackets is literal.
    ///
    /// # Errors
    /// An unmatched bracket, something between brackets that is not a list of numbers, ranges and words, or more
    /// than [`MOST_NAMES`] names.
    pub fn parse(text: &str) -> Result<Names, NamesError> {
        let wrong =
            |at: usize, problem: String| NamesError { column: text[..at].chars().count(), problem: problem.into() };
        let (mut parts, mut count) = (Vec::new(), 1_u64);
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let plain = rest.find(['[', ']']).unwrap_or(rest.len());
            if plain > 0 {
                parts.push(Part::Text(rest[..plain].to_owned()));
                at += plain;
                continue;
            }
            let inside = rest.strip_prefix('[').ok_or_else(|| wrong(at, "unmatched ]".to_owned()))?;
            let end = inside.find(['[', ']']).filter(|end| inside[*end..].starts_with(']'));
            let inside = &inside[..end.ok_or_else(|| wrong(at, "unmatched [".to_owned()))?];
            at += 1;
            let (mut items, mut words) = (Vec::new(), 0_u64);
            for item in inside.split(',') {
                let parsed = Item::parse(item).map_err(|problem| wrong(at, problem))?;
                let before = words;
                words = words.saturating_add(parsed.count());
                items.push((before, parsed));
                at += item.len() + 1;
            }
            count = count.saturating_mul(words);
            parts.push(Part::Choice(items, words));
        }
        if count > MOST_NAMES {
            return Err(wrong(0, format!("more than {MOST_NAMES} names")));
        }
        Ok(Names { parts, count })
    }

    /// Returns the number of names, including duplicates.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the names; those that differ in the last bracket are next to each other.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count).map(|number| self.nth(number))
    }

    fn nth(&self, number: u64) -> String {
        let mut name = String::new();
        // The number of names for each choice in the current bracket.
        let mut each = self.count;
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Choice(items, words) => {
                    each /= words;
                    push_nth(&mut name, items, number / each % words);
                }
            }
        }
        name
    }
}

fn push_nth(name: &mut String, items: &[(u64, Item)], number: u64) {
    let after = items.partition_point(|(before, _)| *before <= number);
    match after.checked_sub(1).map(|place| &items[place]) {
        Some((before, Item::Numbers { first, step, width, .. })) => {
            let digits = (first + (number - before) * step).to_string();
            // Not by the width of a format, which has a limit.
            name.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
            name.push_str(&digits);
        }
        Some((_, Item::Word(word))) => name.push_str(word),
        None => {}
    }
}

impl Item {
    fn parse(text: &str) -> Result<Item, String> {
        let expected = || {
            format!(
                "{:?} is not a number, range (1-10, 01-10, 1-10/2) or word; items are separated by commas",
                excerpt(text)
            )
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (range, step) = match text.split_once('/') {
            Some((range, step)) if is_number(step) => (range, number(step)?),
            Some(_) => return Err(expected()),
            None => (text, 1),
        };
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        if is_number(from) && is_number(to) {
            let (first, last) = (number(from)?, number(to)?);
            // As in ClusterShell: leading zeros set the number of digits, so both ends must have the same.
            let width = if has_zeros(from) { from.len() } else { 0 };
            if (has_zeros(from) || has_zeros(to)) && from.len() != to.len() {
                return Err(format!("{} and {} do not have the same number of digits", excerpt(from), excerpt(to)));
            }
            if first > last {
                return Err(format!("{} comes after {}", excerpt(from), excerpt(to)));
            }
            if step == 0 {
                return Err("the step cannot be 0".to_owned());
            }
            return Ok(Item::Numbers { first, last, step, width });
        }
        let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_.*?".contains(c));
        if text.is_empty() || !is_word(text) {
            return Err(expected());
        }
        Ok(Item::Word(text.to_owned()))
    }

    fn count(&self) -> u64 {
        match self {
            Item::Numbers { first, last, step, .. } => ((last - first) / step).saturating_add(1),
            Item::Word(_) => 1,
        }
    }
}

fn number(digits: &str) -> Result<u64, String> {
    digits.parse().map_err(|_| format!("{} is too large", excerpt(digits)))
}

fn has_zeros(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let names = Names::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.problem));
        let all: Vec<String> = names.iter().collect();
        assert_eq!(all.len() as u64, names.count());
        all
    }

    #[test]
    fn brackets_stand_for_numbers_and_words() {
        assert_eq!(names("web1"), ["web1"]);
        assert_eq!(names("web[1-3]"), ["web1", "web2", "web3"]);
        assert_eq!(names("web[1-3,07-08,7]x"), ["web1x", "web2x", "web3x", "web07x", "web08x", "web7x"]);
        assert_eq!(names("n[98-101]"), ["n98", "n99", "n100", "n101"]);
        assert_eq!(names("n[098-101]"), ["n098", "n099", "n100", "n101"]);
        assert_eq!(names("n[08-11]"), ["n08", "n09", "n10", "n11"]);
        assert_eq!(names("n[001-100/33]"), ["n001", "n034", "n067", "n100"]);
        assert_eq!(names("n[1-10/4,0]"), ["n1", "n5", "n9", "n0"]);
        assert_eq!(names("r[1-2]n[1-2]-[a,b]").len(), 8);
        assert_eq!(names("r[1-2]n[3-4]"), ["r1n3", "r1n4", "r2n3", "r2n4"]);
        assert_eq!(names("[a,b]"), ["a", "b"]);
        assert_eq!(names(""), [""]);
        assert_eq!(names("n[1-1000000]").len(), 1_000_000);
    }

    #[test]
    fn padding_has_no_limit_of_its_own() {
        let zeros = "0".repeat(70_000);
        let made = names(&format!("n[{zeros}1-{zeros}3]"));
        assert_eq!(made.iter().map(String::len).collect::<Vec<_>>(), [70_002; 3]);
        assert_eq!(fold(made.iter().map(String::as_str)), format!("n[{zeros}1-{zeros}3]"));
        // As many items as names: each is found without looking at those before it.
        let items: Vec<String> = (0..100_000).map(|number| (number * 2).to_string()).collect();
        let begun = std::time::Instant::now();
        assert_eq!(names(&format!("n[{}]", items.join(","))).last().map(String::as_str), Some("n199998"));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn slips_are_told_and_nothing_huge_is_made() {
        for (text, column, words) in [
            ("web[1-3", 3, "unmatched ["),
            ("web1-3]", 6, "unmatched ]"),
            ("w[1[2]]", 1, "unmatched ["),
            ("é[]", 2, "is not a number"),
            ("w[1,,2]", 4, "is not a number"),
            ("w[1, 2]", 4, "is not a number"),
            ("w[3-1]", 2, "3 comes after 1"),
            ("w[1-010]", 2, "number of digits"),
            ("w[001-01]", 2, "number of digits"),
            ("w[01-100]", 2, "number of digits"),
            ("w[00-3]", 2, "number of digits"),
            ("w[1-9/0]", 2, "step cannot be 0"),
            ("w[1-9/]", 2, "is not a number"),
            ("w[a-c]", 2, "is not a number"),
            ("w[-3]", 2, "is not a number"),
            ("w[1-99999999999999999999]", 2, "too large"),
            ("w[1-1000001]", 0, "more than 100000"),
            ("w[1-1000000000000]", 0, "more than 100000"),
            ("w[0-18446744073709551615]", 0, "more than 100000"),
            ("w[1-1000000][1-1000000][1-1000000][1-1000000]", 0, "more than 100000"),
        ] {
            let error = Names::parse(text).expect_err(text);
            assert!(error.column == column && error.problem.contains(words), "{text}: {error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[a0-9\\[\\],/-]{0,20}") {
            if let Ok(names) = Names::parse(&text) {
                proptest::prop_assert_eq!(names.iter().take(1000).count() as u64, names.count().min(1000));
            }
        }
    }
}
