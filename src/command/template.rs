//! Words of a command with placeholders for per-host values, in the notation of Python's `%` operator (printf-style String
//! Formatting in its library reference), like the reference client's `host_args`. Parsed once, filled in per host.
//!
//! Of Python's conversions `%s`, `%d` and `%i` exist, and `%%` for a percent sign; `%q` is an addition: the value as one word of a
//! shell. Each may have a name, as in `%(name)q`. All others are errors, so that no command has another meaning
//! than in Python.

use std::borrow::Cow;

pub use super::quote_scanner::Scanner;

use crate::command::quote;
use crate::text::message::excerpt;

/// A word of the command with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Value(Source, Form),
}

/// The reference to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The positional value with this index, from 0.
    Place(usize),
    Name(String),
}

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `%s`: unchanged.
    Plain,
    /// `%q`: quoted for a shell.
    Quoted,
    /// `%d`, `%i`: unchanged, if it is a whole number.
    Integer,
}

/// An invalid `%`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} in the command {problem}; placeholders are %s, %q and %d, also with a name as in %(name)q; write %% for a \
     literal %"
)]
pub struct TemplateError {
    text: String,
    problem: &'static str,
}

/// Why a placeholder cannot be filled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not enough positional values.
    #[error("no value for placeholder {0}")]
    Place(usize),
    /// No value with this name.
    #[error("there is no value named {0:?}")]
    Name(String),
    /// It is not a number.
    #[error("{0:?} is not a whole number, which %d requires")]
    Integer(String),
}

/// The values for one host.
pub trait Values {
    /// Returns the positional value with this index, from 0.
    fn place(&self, place: usize) -> Option<&[u8]>;
    /// Returns the value with this name.
    fn named(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

impl Template {
    /// Parses a word. `place` is the index of the next positional value, which continues from one word to the next.
    ///
    /// # Errors
    /// An invalid `%`.
    pub fn parse(text: &[u8], place: &mut usize) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
            plain.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(b"%%") {
                plain.push(b'%');
                rest = after;
                continue;
            }
            let (name, form, after) = conversion(rest)?;
            rest = after;
            let source = match name {
                Some(name) => Source::Name(name),
                None => {
                    *place += 1;
                    Source::Place(*place - 1)
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Value(source, form));
        }
        plain.extend_from_slice(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template(pieces))
    }

    /// Returns the names that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(Source::Name(name), _) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it quotes a value for a shell.
    pub fn quotes(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Value(_, Form::Quoted)))
    }

    /// Whether it quotes a value with a newline for a shell.
    pub fn quotes_newline(&self, values: &dyn Values) -> bool {
        let mut quoted = self.0.iter().filter(|piece| matches!(piece, Piece::Value(_, Form::Quoted)));
        quoted.any(|piece| {
            let mut word = Vec::new();
            piece.fill(values, &mut word).is_ok() && word.contains(&b'\n')
        })
    }

    /// Whether all its values quoted for a shell stay single words. `scanner` continues from one word to the next.
    pub fn is_safe(&self, scanner: &mut Scanner) -> bool {
        let mut safe = true;
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => scanner.read(text),
                Piece::Value(_, form) => {
                    safe &= *form != Form::Quoted || scanner.is_safe();
                    scanner.pass();
                }
            }
        }
        safe
    }

    /// Returns all problems of the values for it.
    pub fn check(&self, values: &dyn Values) -> Vec<ValueError> {
        let wrong = |piece: &Piece| piece.fill(values, &mut Vec::new()).err();
        self.0.iter().filter_map(wrong).collect()
    }

    /// Returns the word with its values filled in.
    ///
    /// # Errors
    /// A value is missing or invalid.
    pub fn fill(&self, values: &dyn Values) -> Result<Vec<u8>, ValueError> {
        let mut word = Vec::new();
        self.0.iter().try_for_each(|piece| piece.fill(values, &mut word))?;
        Ok(word)
    }
}

impl Piece {
    fn fill(&self, values: &dyn Values, word: &mut Vec<u8>) -> Result<(), ValueError> {
        let (source, form) = match self {
            Piece::Text(text) => {
                word.extend_from_slice(text);
                return Ok(());
            }
            Piece::Value(source, form) => (source, form),
        };
        let value = match source {
            Source::Place(place) => values.place(*place).map(Cow::Borrowed).ok_or(ValueError::Place(place + 1))?,
            Source::Name(name) => values.named(name).ok_or_else(|| ValueError::Name(excerpt(name).into_owned()))?,
        };
        match form {
            Form::Plain => word.extend_from_slice(&value),
            Form::Quoted => quote(&value, word),
            Form::Integer if is_integer(&value) => word.extend_from_slice(&value),
            Form::Integer => return Err(ValueError::Integer(excerpt(&String::from_utf8_lossy(&value)).into_owned())),
        }
        Ok(())
    }
}

fn is_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").or_else(|| value.strip_prefix(b"+")).unwrap_or(value);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Parses the conversion at the start of `text`: its name, its form, and the rest.
fn conversion(text: &[u8]) -> Result<(Option<String>, Form, &[u8]), TemplateError> {
    let fail = |length: usize, problem| {
        let text = String::from_utf8_lossy(&text[..length.min(text.len())]).into_owned();
        TemplateError { text, problem }
    };
    let mut at = 1;
    let mut name = None;
    if text.get(at) == Some(&b'(') {
        let Some(end) = closing(&text[at..]) else { return Err(fail(text.len(), "lacks a )")) };
        let inner = std::str::from_utf8(&text[at + 1..at + end]);
        name = Some(inner.map_err(|_| fail(at + end + 1, "has a name that is not UTF-8 text"))?.to_owned());
        at += end + 1;
    }
    let form = match text.get(at) {
        Some(b's') => Form::Plain,
        Some(b'q') => Form::Quoted,
        Some(b'd' | b'i') => Form::Integer,
        None => return Err(fail(at, "is incomplete")),
        Some(_) => {
            // Flags, width, precision and length of Python's conversions, to show all of it.
            let more = text[at..].iter().take_while(|byte| b"#0123456789-+ .*hlL".contains(byte)).count();
            let end = at + more;
            // One character, which may be several bytes.
            let tail = text.get(end + 1..).unwrap_or_default();
            let last = if text.get(end).is_some_and(|byte| *byte >= 0xc0) {
                tail.iter().take_while(|byte| (0x80..0xc0).contains(*byte)).count()
            } else {
                0
            };
            return Err(fail(end + 1 + last, "is not supported"));
        }
    };
    Ok((name, form, &text[at + 1..]))
}

/// Returns the index of the `)` that closes the `(` at the start; a name may contain pairs, as in Python.
fn closing(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    text.iter().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(&'static [&'static str], &'static [(&'static str, &'static str)]);

    impl Values for Given {
        fn place(&self, place: usize) -> Option<&[u8]> {
            self.0.get(place).map(|value| value.as_bytes())
        }

        fn named(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            self.1.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(value.as_bytes()))
        }
    }

    fn fill(text: &[u8], given: &Given) -> Result<Vec<u8>, String> {
        let template = Template::parse(text, &mut 0).map_err(|error| error.to_string())?;
        template.fill(given).map_err(|error| error.to_string())
    }

    /// The right column is Python 3.11's result of `left % values`.
    #[test]
    fn what_python_makes_of_it() {
        let in_order = Given(&["a", "b c", "3"], &[]);
        for (text, expected) in [
            ("%s-%s-%s", "a-b c-3"),
            ("x%sy%%s%sz%d", "xay%sb cz3"),
            ("%%%s%%%s%%%i%%", "%a%b c%3%"),
            ("%s%s%s", "ab c3"),
            ("%s%%(name)s%s %s", "a%(name)sb c 3"),
            ("100%% %s %s %s\n", "100% a b c 3\n"),
            ("ü%sé%s€%d", "üaéb c€3"),
        ] {
            assert_eq!(fill(text.as_bytes(), &in_order).as_deref(), Ok(expected.as_bytes()), "{text}");
        }
        let named = Given(&[], &[("a", "1"), ("b", "x y"), ("a(b)c", "nested"), ("", "empty"), ("s s", "blank")]);
        for (text, expected) in [
            ("%(a)s%(b)s%(a)d", "1x y1"),
            ("%(a(b)c)s", "nested"),
            ("%()s", "empty"),
            ("%(s s)s%%", "blank%"),
            ("no places", "no places"),
            ("%%(a)s", "%(a)s"),
        ] {
            assert_eq!(fill(text.as_bytes(), &named).as_deref(), Ok(expected.as_bytes()), "{text}");
        }
    }

    #[test]
    fn values_are_never_read_as_places() {
        let tricky = Given(&["%s", "%(x)s%%"], &[]);
        assert_eq!(fill(b"%s %s", &tricky).as_deref(), Ok(&b"%s %(x)s%%"[..]));
    }

    #[test]
    fn quoted_values_and_bytes() {
        let given = Given(&["it's; rm -rf /"], &[("empty", "")]);
        let expected = [&br"echo 'it'\''s; rm -rf /' "[..], b"\xff ''"].concat();
        assert_eq!(fill(b"echo %q \xff %(empty)q", &given), Ok(expected));
    }

    #[test]
    fn all_else_is_refused_by_its_text() {
        let text_of = |text: &[u8]| match Template::parse(text, &mut 0) {
            Err(TemplateError { text, problem }) => format!("{text} {problem}"),
            Ok(template) => panic!("taken for {template:?}"),
        };
        for (text, expected) in [
            ("date +%F %s", "%F is not supported"),
            ("%5s", "%5s is not supported"),
            ("%-10.3s", "%-10.3s is not supported"),
            ("%(a)r", "%(a)r is not supported"),
            ("%x", "%x is not supported"),
            ("%(a)%", "%(a)% is not supported"),
            ("%ü", "%ü is not supported"),
            ("50% ", "%  is not supported"),
            ("50%", "% is incomplete"),
            ("%(a)", "%(a) is incomplete"),
            ("%(a b", "%(a b lacks a )"),
        ] {
            assert_eq!(text_of(text.as_bytes()).trim_end(), expected, "{text}");
        }
        assert!(text_of(b"%(\xff)s").ends_with("not UTF-8 text"));
        assert!(text_of(b"%\xff\xfe").contains("is not supported"));
    }

    #[test]
    fn places_go_on_from_word_to_word() {
        let mut place = 0;
        let words = ["%s%s", "%(n)s", "%q"].map(|word| Template::parse(word.as_bytes(), &mut place));
        assert_eq!(place, 3);
        let last = words[2].as_ref().expect("good").fill(&Given(&["a", "b", "c d"], &[]));
        assert_eq!(last.as_deref(), Ok(&b"'c d'"[..]));
    }

    #[test]
    fn every_wrong_value_is_told() {
        let template = Template::parse(b"%s %(a)d %(b)s %(c)s %s", &mut 0).expect("a template");
        let wrong: Vec<String> =
            template.check(&Given(&["1"], &[("a", "3.7"), ("c", "")])).iter().map(ValueError::to_string).collect();
        assert_eq!(
            wrong,
            [
                "\"3.7\" is not a whole number, which %d requires",
                "there is no value named \"b\"",
                "no value for placeholder 2"
            ]
        );
        for (value, good) in [("5", true), ("-5", true), ("+07", true), ("", false), ("-", false), ("1e3", false)] {
            assert_eq!(is_integer(value.as_bytes()), good, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn doubled_percent_signs_stand_for_the_text(text in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let doubled: Vec<u8> =
                text.iter().flat_map(|byte| if *byte == b'%' { vec![b'%'; 2] } else { vec![*byte] }).collect();
            proptest::prop_assert_eq!(fill(&doubled, &Given(&[], &[])), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[%()a-s0-9 .*ü]{0,16}") {
            let _ = Template::parse(text.as_bytes(), &mut 0);
        }
    }
}
