//! Tables with another separator than expected: as CSV, each row of them is a single field.

use std::path::Path;

use super::csv::Record;
use crate::command::as_typed;
use crate::text::message::excerpt;

/// Other possible separators.
const OTHERS: [(u8, &str); 4] = [(b';', "\";\""), (b'\t', "tabs"), (b'|', "\"|\""), (b',', "commas")];

/// Returns advice for rows of a single field each, if the same character seems to separate fields in all of them.
pub(super) fn advice(path: &Path, records: &[Record], delimiter: u8) -> Option<String> {
    let first = records.first()?.fields.first()?;
    let count = |field: &[u8], separator: u8| field.iter().filter(|byte| **byte == separator).count();
    let is_it = |separator: u8| {
        let most = count(first, separator);
        let is_alike = |record: &Record| matches!(&*record.fields, [field] if count(field, separator) == most);
        separator != delimiter && most > 0 && records.iter().all(is_alike)
    };
    let (separator, shown) = OTHERS.into_iter().find(|(separator, _)| is_it(*separator))?;
    let (expected, name) = match delimiter {
        b'\t' => ("tabs, as in all files with the ending .tsv", ".csv"),
        _ => ("commas", ".tsv"),
    };
    let is_file = path != Path::new("-");
    let file = as_typed(&[path.as_os_str().to_owned()]);
    let is_free = !records.iter().any(|record| record.fields.iter().any(|field| field.contains(&delimiter)));
    let way = match separator {
        b'\t' | b',' if is_file => format!("give it the ending {name}"),
        _ if is_free && is_file => format!("tr '{}' '{}' <{file} converts it", escaped(separator), escaped(delimiter)),
        _ if is_free => format!("tr '{}' '{}' converts it", escaped(separator), escaped(delimiter)),
        _ => "export it again with these".to_owned(),
    };
    let row = excerpt(&String::from_utf8_lossy(first)).into_owned();
    Some(format!(
        "{}: the fields seem to be separated by {shown}, so {row:?} is a single field; expected {expected}: {way}",
        path.display()
    ))
}

/// Returns a character in the syntax of tr(1).
fn escaped(separator: u8) -> String {
    char::from(separator).escape_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::host_args::csv;

    fn advice_on(name: &str, text: &str, delimiter: u8) -> Option<String> {
        let records = csv::records(text.as_bytes(), delimiter).expect("good rows");
        advice(Path::new(name), &records, delimiter)
    }

    #[test]
    fn other_separators_are_named_with_what_would_work() {
        let advised = |name, text, delimiter| advice_on(name, text, delimiter).expect("advice");
        assert_eq!(
            advised("v w.csv", "host;v\nweb1;3\n", b','),
            "v w.csv: the fields seem to be separated by \";\", so \"host;v\" is a single field; expected commas: tr ';' ',' <'v w.csv' converts it"
        );
        assert!(
            advised("v.csv", "host\tv\nweb1\t3\n", b',')
                .ends_with("is a single field; expected commas: give it the ending .tsv")
        );
        assert!(advised("-", "a\tb\n", b',').ends_with("expected commas: tr '\\t' ',' converts it"));
        assert!(advised("v.tsv", "a,b\nc,d\n", b'\t').ends_with("give it the ending .csv"));
        assert!(advised("v.csv", "a|\"b\"\nc|d\n", b',').contains("separated by \"|\", so"));
        assert!(advised("v.csv", "\"a;x,y\"\n\"b;z\"\n", b',').ends_with("export it again with these"));
        for text in ["a\nb\n", "a;b\nc\n", "a,b;c\nd,e;f\n", "", "a;b\nc;d;e\n"] {
            assert_eq!(advice_on("v.csv", text, b','), None, "{text:?}");
        }
    }
}
