//! CSV as in RFC 4180, of any bytes. Strict where a mistake would silently become part of a value: an opened quote that is
//! never closed, or text after a closing one. (The csv crate accepts both.)

use super::{MOST_VALUES, TOO_MANY};

/// One record that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The line where it begins, from 1.
    pub line: usize,
    /// Its fields, of which there is at least one.
    pub fields: Vec<Vec<u8>>,
}

/// The problem, and its offset in bytes from 0.
pub type Wrong = (usize, &'static str);

/// Splits `text`. Lines end in LF or CR LF; empty ones are skipped.
///
/// # Errors
/// An invalid quoted field; the text after it cannot be read.
pub fn records(text: &[u8], delimiter: u8) -> Result<Vec<Record>, Wrong> {
    let mut records = Vec::new();
    let mut rest = text;
    let (mut line, mut values) = (1, 0);
    let at = |rest: &[u8]| text.len() - rest.len();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = after;
            line += 1;
            continue;
        }
        let mut record = Record { line, fields: Vec::new() };
        loop {
            values += 1;
            if values > MOST_VALUES {
                return Err((at(rest), TOO_MANY));
            }
            let (field, after) = match rest.strip_prefix(b"\"") {
                Some(quoted) => quoted_field(quoted, &mut line).map_err(|problem| (at(rest), problem))?,
                None => plain_field(rest, delimiter),
            };
            record.fields.push(field);
            let Some(next) = after.strip_prefix(&[delimiter]) else {
                let end = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n"));
                rest = match (end, after) {
                    (Some(after), _) => after,
                    (None, [] | b"\r") => &[],
                    (None, _) => return Err((at(after), "text after the closing quote of a field")),
                };
                break;
            };
            rest = next;
        }
        line += 1;
        records.push(record);
    }
    Ok(records)
}

/// Returns a field without quotes, and the rest.
fn plain_field(text: &[u8], delimiter: u8) -> (Vec<u8>, &[u8]) {
    let end = text.iter().position(|byte| *byte == delimiter || *byte == b'\n').unwrap_or(text.len());
    // The CR before an LF belongs to the end of the line, as does one at the very end.
    let end = match text.get(end) {
        None | Some(b'\n') if text[..end].ends_with(b"\r") => end - 1,
        _ => end,
    };
    (text[..end].to_owned(), &text[end..])
}

/// Returns a field whose opening quote was read, and the rest. Two quotes mean one.
fn quoted_field<'a>(text: &'a [u8], line: &mut usize) -> Result<(Vec<u8>, &'a [u8]), &'static str> {
    let mut field = Vec::new();
    let mut rest = text;
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'"') else {
            return Err("the quote that opens a field is never closed");
        };
        *line += rest[..end].iter().filter(|byte| **byte == b'\n').count();
        field.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                field.push(b'"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        let text_of = |field: Vec<u8>| String::from_utf8(field).expect("text");
        let records = records(text.as_bytes(), b',').expect("good");
        records.into_iter().map(|record| (record.line, record.fields.into_iter().map(text_of).collect())).collect()
    }

    #[test]
    fn records_and_their_lines() {
        let fields = |fields: &[&str]| fields.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (text, expected) in [
            ("", vec![]),
            ("a", vec![(1, fields(&["a"]))]),
            ("a,b\r\nc,d\r\n", vec![(1, fields(&["a", "b"])), (2, fields(&["c", "d"]))]),
            ("\n\na,\n\n,b", vec![(3, fields(&["a", ""])), (5, fields(&["", "b"]))]),
            ("\"\"\n \n", vec![(1, fields(&[""])), (2, fields(&[" "]))]),
            ("\"a,\"\"b\"\"\nc\",d\ne", vec![(1, fields(&["a,\"b\"\nc", "d"])), (3, fields(&["e"]))]),
            ("5\" disk,a\"\"b\n", vec![(1, fields(&["5\" disk", "a\"\"b"]))]),
            ("a\rb\r", vec![(1, fields(&["a\rb"]))]),
            ("\"a\"\r\n\"b\"\r", vec![(1, fields(&["a"])), (2, fields(&["b"]))]),
            (",\n", vec![(1, fields(&["", ""]))]),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(records(b"a\t\"b\tc\"\n", b'\t').expect("good")[0].fields, [&b"a"[..], b"b\tc"]);
    }

    #[test]
    fn quotes_that_go_wrong() {
        let wrong = |text: &str| records(text.as_bytes(), b',').expect_err("wrong");
        assert_eq!(wrong("a\nb,\"c\nd\n"), (4, "the quote that opens a field is never closed"));
        assert_eq!(wrong("a\n\"b\nc\"d\n").0, 7);
        assert_eq!(wrong(&",\n".repeat(MOST_VALUES)), (MOST_VALUES, TOO_MANY));
        assert_eq!(wrong("\"a\" ,b").1, "text after the closing quote of a field");
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_comes_back(
            rows in proptest::collection::vec(proptest::collection::vec("[a,\"\r\n\t é]{0,6}", 1..4), 0..5),
        ) {
            let field = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
            let lines = rows.iter().map(|row| row.iter().map(field).collect::<Vec<_>>().join(",") + "\r\n");
            let back: Vec<Vec<String>> =
                read(&lines.collect::<String>()).into_iter().map(|(_, fields)| fields).collect();
            proptest::prop_assert_eq!(back, rows);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[a,\"\r\n]{0,20}") {
            let _ = records(text.as_bytes(), b',');
        }
    }
}
