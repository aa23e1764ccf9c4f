//! Times on the command line, in the format of sshd_config(5), "TIME FORMATS".

use std::time::Duration;

/// Parses `90`, `90s`, `1m30s`, `0.5` or `2h`: numbers with a unit, seconds without one.
///
/// # Errors
/// What was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a time; expected seconds (90, 0.5) or units (1m30s, 2h)");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(expected());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| expected())?;
        let after = &rest[digits..];
        let (unit, length) = match after.as_bytes().first() {
            None | Some(b's' | b'S') => (1.0, 1),
            Some(b'm' | b'M') => (60.0, 1),
            Some(b'h' | b'H') => (3600.0, 1),
            Some(b'd' | b'D') => (86_400.0, 1),
            Some(b'w' | b'W') => (604_800.0, 1),
            Some(_) => return Err(expected()),
        };
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| expected())?;
        total = total.checked_add(part).ok_or_else(expected)?;
        rest = after.get(length..).unwrap_or_default();
    }
    Ok(total)
}

/// Formats a time in seconds, as ssh_config(5) has it: exactly, and as short as possible.
pub fn seconds(time: &Duration) -> String {
    // A floating-point number shows 3.563 s as 3.5629999999999997.
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, seconds};

    #[test]
    fn seconds_are_exact() {
        for (milliseconds, shown) in [(0, "0"), (3563, "3.563"), (90_000, "90"), (100, "0.1"), (10, "0.01")] {
            assert_eq!(seconds(&Duration::from_millis(milliseconds)), shown);
        }
        assert_eq!(seconds(&Duration::from_nanos(1)), "0.000000001");
    }

    #[test]
    fn understands_seconds_and_units() {
        let seconds = |text: &str| parse(text).map(|time| time.as_secs_f64()).ok();
        assert_eq!(seconds("90"), Some(90.0));
        assert_eq!(seconds("0"), Some(0.0));
        assert_eq!(seconds("0.5"), Some(0.5));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("1h30"), Some(3630.0));
        assert_eq!(seconds("1W2d"), Some(777_600.0));
        for bad in ["", " ", "x", "-1", "1x", "m", "1..2", ".", "1e9", "nan", "inf", "99999999999999999999999w", "1m é"]
        {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }
}
