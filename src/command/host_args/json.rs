//! Rows of per-host arguments in JSON: one array of rows, or one row after the other (JSON Lines). Numbers keep the text that
//! they have in the file: 1.10 stays 1.10.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Given, MOST_VALUES, TOO_MANY, place};

/// Stops after this many bad values.
const MOST_WRONG: usize = 100;

/// A row, and the line where it begins, from 1.
pub type Row = (usize, Given);

/// The place, `line` or `line:column`, and the problem.
pub type Wrong = (String, String);

/// Reads all rows. With `lines` every value at the top is a row; otherwise a single array is an array of rows.
pub fn rows(text: &[u8], lines: bool) -> (Vec<Row>, Vec<Wrong>) {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    match values(text, lines) {
        Err(problem) => wrong.push(problem),
        Ok(values) => {
            for (line, value) in values {
                match row(value) {
                    Ok(given) => rows.push((line, given)),
                    Err((value, problem)) => wrong.push((place(text, offset(text, value)), problem)),
                }
                if wrong.len() == MOST_WRONG {
                    break;
                }
            }
        }
    }
    (rows, wrong)
}

/// Returns the value of each row, with its line.
fn values(text: &[u8], lines: bool) -> Result<Vec<(usize, &RawValue)>, Wrong> {
    let text = std::str::from_utf8(text)
        .map_err(|error| (place(text, error.valid_up_to()), "not UTF-8 text, which JSON requires".to_owned()))?;
    let syntax = |error: serde_json::Error| {
        let said = error.to_string();
        // serde_json ends its messages with the place.
        let said = said.split(" at line ").next().unwrap_or_default();
        (format!("{}:{}", error.line(), error.column()), format!("not JSON: {said}"))
    };
    let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut values: Vec<&RawValue> = Vec::new();
    for value in stream {
        let value = value.map_err(syntax)?;
        if values.len() == MOST_VALUES {
            return Err((place(text.as_bytes(), offset(text.as_bytes(), value)), TOO_MANY.to_owned()));
        }
        values.push(value);
    }
    if !lines
        && let [only] = values[..]
        && only.get().starts_with('[')
    {
        let start = |error: serde_json::Error| (place(text.as_bytes(), offset(text.as_bytes(), only)), plain(&error));
        values = array(only).map_err(start)?;
    }
    // In one pass, since the values are in order.
    let (mut line, mut at) = (1, 0);
    let mut line_of_value = |value: &RawValue| {
        let offset = offset(text.as_bytes(), value);
        line += line_of(&text.as_bytes()[at..offset]) - 1;
        at = offset;
        line
    };
    Ok(values.into_iter().map(|value| (line_of_value(value), value)).collect())
}

/// Returns the number of the line after `before`.
fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Returns the place of a value in its text.
fn offset(text: &[u8], value: &RawValue) -> usize {
    (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

/// Returns serde_json's message without the place at its end.
fn plain(error: &serde_json::Error) -> String {
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// Returns the values of a row, or the invalid value and its problem.
fn row(value: &RawValue) -> Result<Given, (&RawValue, String)> {
    let wrong = |error: serde_json::Error| (value, plain(&error));
    match value.get().as_bytes().first() {
        Some(b'[') => {
            let values: Result<Vec<_>, _> = array(value).map_err(wrong)?.into_iter().map(scalar).collect();
            values.map(Given::InOrder)
        }
        Some(b'{') => {
            let mut from = serde_json::Deserializer::from_str(value.get());
            let fields = from.deserialize_map(Fields).map_err(wrong)?;
            let mut named = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                let value = scalar(value).map_err(|(value, problem)| (value, format!("{name:?}: {problem}")))?;
                named.push((name.into(), value));
            }
            Ok(Given::Named(named))
        }
        _ => scalar(value).map(|value| Given::InOrder(vec![value])),
    }
}

/// Returns the bytes of a string, a number or a boolean for a command.
fn scalar(value: &RawValue) -> Result<Vec<u8>, (&RawValue, String)> {
    let text = value.get();
    let wrong = |problem: &str| (value, problem.to_owned());
    match text.as_bytes().first() {
        Some(b'"') => {
            // It may be a secret, so it is not shown.
            let string: String = serde_json::from_str(text).map_err(|_| wrong("the string is not Unicode text"))?;
            Ok(string.into_bytes())
        }
        Some(b'[' | b'{') => Err(wrong("an array or object cannot be a value")),
        Some(b'n') => Err(wrong("null is not a value; write \"\" for an empty one")),
        _ => Ok(text.as_bytes().to_owned()),
    }
}

/// The fields of an object in order; a duplicate name is an error.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        let mut known = HashSet::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if fields.len() == MOST_VALUES {
                return Err(serde::de::Error::custom(TOO_MANY));
            }
            if !known.insert(name.clone()) {
                return Err(serde::de::Error::custom(format_args!("{name:?} appears twice")));
            }
            fields.push((name, value));
        }
        Ok(fields)
    }
}

/// Returns the values of an array.
fn array(value: &RawValue) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::Deserializer::from_str(value.get()).deserialize_seq(Values)
}

/// Returns the values of an array, unless there are too many.
struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element::<&RawValue>()? {
            if all.len() == MOST_VALUES {
                return Err(serde::de::Error::custom(TOO_MANY));
            }
            all.push(value);
        }
        Ok(all)
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
        assert_eq!(one("[\n null]"), "2:2: null is not a value; write \"\" for an empty one");
        assert_eq!(one("[\"a\",\n[[1]]]"), "2:2: an array or object cannot be a value");
        assert_eq!(one("{\"a\":{}}"), "1:6: \"a\": an array or object cannot be a value");
        assert_eq!(one("{\"a\":1,\n\"a\":2}"), "1:1: \"a\" appears twice");
        assert!(one("[\"a\",\n b]").starts_with("2:2: not JSON: expected value"), "{}", one("[\"a\",\n b]"));
        assert!(one("[\"a\"").starts_with("1:4: not JSON: EOF"));
        assert_eq!(one("[\"\\ud800\"]"), "1:2: the string is not Unicode text");
        assert_eq!(rows(b"[\n\"\xff\"]", false).1[0].0, "2:2");
        assert_eq!(wrong("[null,\n1,\nnull]").count(), 2);
    }
}
