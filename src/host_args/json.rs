//! Rows of per-host arguments in JSON: one array of rows, or one row after the other (JSON Lines). Numbers keep the text that
//! they have there: 1.10 stays 1.10.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Given;

/// A row, and the line where it begins, from 1.
pub type Row = (usize, Given);

/// What is wrong: the place, `line` or `line:column`, and the problem.
pub type Wrong = (String, String);

/// Reads all rows. `lines` says that every value at the top is a row; otherwise a single array is an array of rows.
pub fn rows(text: &[u8], lines: bool) -> (Vec<Row>, Vec<Wrong>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    match values(text, lines) {
        Err(problem) => wrong.push(problem),
        Ok(values) => {
            for (line, value) in values {
                match row(value) {
                    Ok(given) => rows.push((line, given)),
                    Err(problem) => wrong.push((line.to_string(), problem)),
                }
            }
        }
    }
    (rows, wrong)
}

/// The value of each row, with its line.
fn values(text: &[u8], lines: bool) -> Result<Vec<(usize, &RawValue)>, Wrong> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        (line_of(before).to_string(), "it is not UTF-8 text, as JSON has to be".to_owned())
    })?;
    let syntax = |error: serde_json::Error| {
        let said = error.to_string();
        // serde_json ends its messages with the place.
        let said = said.split(" at line ").next().unwrap_or_default();
        (format!("{}:{}", error.line(), error.column()), format!("it is not JSON: {said}"))
    };
    let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut values: Vec<&RawValue> = stream.collect::<Result<_, _>>().map_err(syntax)?;
    if !lines
        && let [only] = values[..]
        && only.get().starts_with('[')
    {
        values = serde_json::from_str(only.get()).map_err(syntax)?;
    }
    // In one go through the text: the values stand in order.
    let (mut line, mut at) = (1, 0);
    let mut place = |value: &RawValue| {
        let offset = value.get().as_ptr() as usize - text.as_ptr() as usize;
        line += line_of(&text.as_bytes()[at..offset]) - 1;
        at = offset;
        line
    };
    Ok(values.into_iter().map(|value| (place(value), value)).collect())
}

/// The number of the line that follows `before`.
fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn row(value: &RawValue) -> Result<Given, String> {
    let plain = |error: serde_json::Error| error.to_string().split(" at line ").next().unwrap_or_default().to_owned();
    match value.get().as_bytes().first() {
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(plain)?;
            let values: Result<Vec<_>, String> = values.into_iter().map(scalar).collect();
            values.map(Given::InOrder)
        }
        Some(b'{') => {
            let mut from = serde_json::Deserializer::from_str(value.get());
            let fields = from.deserialize_map(Fields).map_err(plain)?;
            let named = |(name, value): (String, &RawValue)| {
                let value = scalar(value).map_err(|problem| format!("{name:?}: {problem}"))?;
                Ok((name.into(), value))
            };
            let fields: Result<Vec<_>, String> = fields.into_iter().map(named).collect();
            fields.map(Given::Named)
        }
        _ => scalar(value).map(|value| Given::InOrder(vec![value])),
    }
}

/// The bytes that stand for a string, a number or a truth value in a command.
fn scalar(value: &RawValue) -> Result<Vec<u8>, String> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let string: String = serde_json::from_str(text).map_err(|_| format!("{text} is not Unicode text"))?;
            Ok(string.into_bytes())
        }
        Some(b'[' | b'{') => Err("an array or object cannot be a value".to_owned()),
        Some(b'n') => Err("null is no value; write \"\" for an empty one".to_owned()),
        _ => Ok(text.as_bytes().to_owned()),
    }
}

/// The fields of an object in their order; a name that stands twice is a mistake.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom(format_args!("{name:?} is there twice")));
            }
            fields.push((name, value));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(values: &[&str]) -> Given {
        Given::InOrder(values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn named(fields: &[(&str, &str)]) -> Given {
        Given::Named(fields.iter().map(|(name, value)| ((*name).into(), value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn rows_and_their_lines() {
        for (text, lines, expected) in [
            ("[]", false, vec![]),
            ("", true, vec![]),
            (
                "[\n \"a\",\n\n 1.10, true,[\"b c\",-2e3]\n,{\"x\":\"\\u00e9\"}]\n",
                false,
                vec![
                    (2, in_order(&["a"])),
                    (4, in_order(&["1.10"])),
                    (4, in_order(&["true"])),
                    (4, in_order(&["b c", "-2e3"])),
                    (5, named(&[("x", "é")])),
                ],
            ),
            ("{\"a\":1,\"b\":\"\"}\n\n{}\n", true, vec![(1, named(&[("a", "1"), ("b", "")])), (3, named(&[]))]),
            ("[\"a\",\"b\"]\n", false, vec![(1, in_order(&["a"])), (1, in_order(&["b"]))]),
            ("[\"a\",\"b\"]\n", true, vec![(1, in_order(&["a", "b"]))]),
            (
                "[\"a\"]\n[12345678901234567890123]",
                false,
                vec![(1, in_order(&["a"])), (2, in_order(&["12345678901234567890123"]))],
            ),
        ] {
            assert_eq!(rows(text.as_bytes(), lines), (expected, vec![]), "{text}");
        }
    }

    #[test]
    fn what_is_no_value() {
        let wrong = |text: &str| rows(text.as_bytes(), false).1.into_iter().map(|(at, said)| format!("{at}: {said}"));
        let one = |text: &str| wrong(text).next().expect("something is wrong");
        assert_eq!(one("[\n null]"), "2: null is no value; write \"\" for an empty one");
        assert_eq!(one("[\"a\",\n[[1]]]"), "2: an array or object cannot be a value");
        assert_eq!(one("{\"a\":{}}"), "1: \"a\": an array or object cannot be a value");
        assert_eq!(one("{\"a\":1,\n\"a\":2}"), "1: \"a\" is there twice");
        assert!(one("[\"a\",\n b]").starts_with("2:2: it is not JSON: expected value"), "{}", one("[\"a\",\n b]"));
        assert!(one("[\"a\"").starts_with("1:4: it is not JSON: EOF"));
        assert_eq!(one("[\"\\ud800\"]"), "1: \"\\ud800\" is not Unicode text");
        assert_eq!(rows(b"[\n\"\xff\"]", false).1[0].0, "2");
        assert_eq!(wrong("[null,\n1,\nnull]").count(), 2);
    }
}
