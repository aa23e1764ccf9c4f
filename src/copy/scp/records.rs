//! The parser for records of the SCP protocol.

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An error; after a fatal one nothing follows.
    Message {
        /// The peer's end.
        fatal: bool,
        /// The message.
        text: &'a [u8],
    },
    /// Times of the next record, in seconds since 1970.
    Times {
        /// Modification time.
        modified: u32,
        /// Access time.
        accessed: u32,
    },
    /// The end of a directory.
    End,
    /// A file or directory.
    Entry {
        /// Whether it is a directory.
        is_directory: bool,
        /// Its mode, including setuid and the like.
        mode: u32,
        /// Size of a file in bytes.
        size: u64,
        /// Its name, as sent.
        name: &'a [u8],
    },
}

/// Parses a line without its newline.
///
/// # Errors
/// It is not a record; the reason in words.
pub fn read(line: &[u8]) -> Result<Record<'_>, &'static str> {
    let Some((kind, rest)) = line.split_first() else { return Err("the host sends an empty record") };
    match kind {
        1 | 2 => Ok(Record::Message { fatal: *kind == 2, text: rest }),
        b'T' => read_times(rest).ok_or("the host sends invalid times"),
        b'E' if rest.is_empty() => Ok(Record::End),
        b'C' | b'D' => read_entry(*kind == b'D', rest),
        _ => Err("the host does not speak scp's protocol"),
    }
}

/// `1700000000 0 1700000000 0`; the zeros are microseconds.
fn read_times(text: &[u8]) -> Option<Record<'static>> {
    let mut fields = text.split(|byte| *byte == b' ');
    let mut next = || fields.next().and_then(number);
    let (modified, _, accessed, _) = (next()?, next()?, next()?, next()?);
    let seconds = |time: u64| u32::try_from(time).unwrap_or(u32::MAX);
    let times = Record::Times { modified: seconds(modified), accessed: seconds(accessed) };
    fields.next().is_none().then_some(times)
}

/// `0644 5 motd`.
fn read_entry(is_directory: bool, text: &[u8]) -> Result<Record<'_>, &'static str> {
    let mut fields = text.splitn(3, |byte| *byte == b' ');
    let (mode, size, name) = (fields.next(), fields.next(), fields.next());
    let octal =
        mode.filter(|mode| matches!(mode.len(), 1..=6) && mode.iter().all(|digit| matches!(digit, b'0'..=b'7')));
    let Some(mode) = octal.map(|mode| mode.iter().fold(0, |value, digit| value * 8 + u32::from(digit - b'0'))) else {
        return Err("the host sends an invalid mode");
    };
    // No file system allows more, and it could overflow sums.
    let Some(size) = size.and_then(number).filter(|size| *size <= i64::MAX as u64) else {
        return Err("the host sends an invalid size");
    };
    let Some(name) = name else { return Err("the host sends a file without a name") };
    Ok(Record::Entry { is_directory, mode: mode & 0o7777, size, name })
}

/// Parses digits only.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let entry = Record::Entry { is_directory: false, mode: 0o644, size: 5, name: b"a b " };
        assert_eq!(read(b"C0644 5 a b "), Ok(entry));
        let root = Record::Entry { is_directory: true, mode: 0o4755, size: 0, name: b"" };
        assert_eq!(read(b"D4755 0 "), Ok(root));
        assert_eq!(read(b"T1 0 99999999999 0"), Ok(Record::Times { modified: 1, accessed: u32::MAX }));
        assert_eq!(read(b"E"), Ok(Record::End));
        assert_eq!(read(b"\x01scp: x"), Ok(Record::Message { fatal: false, text: b"scp: x" }));
        assert_eq!(read(b"\x02"), Ok(Record::Message { fatal: true, text: b"" }));
        let bad: [&[u8]; 18] = [
            b"",
            b"X",
            b"E ",
            b"C",
            b"C0644",
            b"C0644 5",
            b"C0644  5 a",
            b"C0648 5 a",
            b"C 5 a",
            b"C-644 5 a",
            b"C0644 -5 a",
            b"C0644 +5 a",
            b"C0644 9223372036854775808 a",
            b"C0644 99999999999999999999999 a",
            b"T1 0 1",
            b"T1 0 1 0 ",
            b"T-1 0 1 0",
            b"D00000000755 0 a",
        ];
        for line in bad {
            assert!(read(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
    }
}
