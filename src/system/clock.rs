//! Times for programs: RFC 3339, in UTC. They come from a monotonic clock, so that they never run backwards within a run.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tz::{TimeZone, TimeZoneSettings};

use crate::system::files::bounded;

/// Maps the monotonic clock to the calendar: the same for all clocks of a process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the run began.
    pub start: Instant,
    /// When it ended, if it is not the run of this process.
    pub end: Option<Instant>,
    /// A moment, and the same since 1970 (time(2)).
    anchor: (Instant, Duration),
}

impl Clock {
    /// Starts a clock for a run.
    pub fn now() -> Clock {
        static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();
        let epoch = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let anchor = *ANCHOR.get_or_init(|| (Instant::now(), epoch()));
        Clock { start: Instant::now(), end: None, anchor }
    }

    /// Returns the clock of a run that is over, of times since 1970.
    pub fn of_past(start: Duration, end: Duration) -> Clock {
        let now = Clock::now();
        Clock { start: now.instant(start), end: Some(now.instant(end)), ..now }
    }

    /// Returns the moment that many seconds after 1970; the start of the run if the clock cannot go there.
    pub fn instant(&self, since_epoch: Duration) -> Instant {
        let (anchor, epoch) = self.anchor;
        let moment = match since_epoch.checked_sub(epoch) {
            Some(later) => anchor.checked_add(later),
            None => anchor.checked_sub(epoch - since_epoch),
        };
        moment.unwrap_or(self.start)
    }

    /// Returns how long the run has taken.
    pub fn elapsed(&self) -> Duration {
        self.end.unwrap_or_else(Instant::now).saturating_duration_since(self.start)
    }

    /// Returns the seconds since 1970.
    pub fn unix(&self, at: Instant) -> u64 {
        self.since_epoch(at).as_secs()
    }

    /// Returns the time since 1970.
    pub fn since_epoch(&self, at: Instant) -> Duration {
        let (anchor, epoch) = self.anchor;
        match at.checked_duration_since(anchor) {
            Some(later) => epoch + later,
            None => epoch.saturating_sub(anchor - at),
        }
    }

    /// Formats a time: `2026-11-23T16:20:46.123456Z`.
    pub fn rfc3339(&self, at: Instant) -> String {
        rfc3339(self.since_epoch(at))
    }
}

/// Formats a time since 1970: `2026-11-23T16:20:46.123456Z`.
pub fn rfc3339(since: Duration) -> String {
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads such a time back.
pub fn parse_rfc3339(text: &str) -> Option<Duration> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let bytes = text.as_bytes();
    let has = |place: usize, byte: u8| bytes.get(place) == Some(&byte);
    let is_formed = [4, 7].iter().all(|place| has(*place, b'-'))
        && [13, 16].iter().all(|place| has(*place, b':'))
        && has(10, b'T')
        && has(19, b'.')
        && has(26, b'Z')
        && bytes.len() == 27;
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second, micros) = (number(11..13)?, number(14..16)?, number(17..19)?, number(20..26)?);
    let is_possible = is_formed && year >= 1970 && hour < 24 && minute < 60 && second < 60;
    let days = (is_possible && (1..=12).contains(&month)).then(|| days(year, month, day))?;
    // A day that the month does not have would be one of the next month.
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    (date(days) == (year, month, day)).then(|| Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// The time of day in the user's time zone.
#[derive(Clone, Debug)]
pub struct WallClock(TimeZone);

impl WallClock {
    /// Uses the zone that `TZ` names, else the machine's (tzset(3)); UTC if neither can be read, like libc.
    pub fn of_process() -> WallClock {
        WallClock::of_zone(std::env::var("TZ").ok().as_deref())
    }

    fn of_zone(name: Option<&str>) -> WallClock {
        // The crate's reader would wait for a FIFO forever, and read a device without end.
        let zones = TimeZoneSettings::new(TimeZoneSettings::DEFAULT_DIRECTORIES, |path| {
            Ok(bounded::read_regular(Path::new(path), bounded::TIME_ZONE)?)
        });
        let zone = match name {
            Some("") => Ok(TimeZone::utc()),
            Some(name) => zones.parse_posix_tz(name),
            None => zones.parse_local(),
        };
        WallClock(zone.unwrap_or_else(|_| TimeZone::utc()))
    }

    /// Returns the time now: `16:32:33`.
    pub fn now(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.time(i64::try_from(now.as_secs()).unwrap_or_default())
    }

    fn time(&self, since_epoch: i64) -> String {
        let offset = self.0.find_local_time_type(since_epoch).map_or(0, |local| local.ut_offset());
        let second = (since_epoch + i64::from(offset)).rem_euclid(86_400);
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }
}

/// Returns the date that many days after 1970-01-01, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// Returns how many days after 1970-01-01 a date is, in the Gregorian calendar (C. Hinnant, "days_from_civil").
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March end with the leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    // Up to 1970-03-01, and the 59 days before it.
    (before + (153 * month + 2) / 5 + day).saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (364, (1970, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_780, (2026, 11, 23)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
            assert_eq!(super::days(expected.0, expected.1, expected.2), days, "{expected:?}");
        }
    }

    #[test]
    fn a_moment_has_six_digits_of_a_second() {
        let start = Instant::now();
        let clock = Clock { start, end: None, anchor: (start, Duration::new(1_795_451_999, 5_000)) };
        assert_eq!(clock.rfc3339(clock.start), "2026-11-23T16:39:59.000005Z");
        assert_eq!(clock.rfc3339(clock.start + Duration::from_millis(1500)), "2026-11-23T16:40:00.500005Z");
        for text in ["2026-11-23T16:40:00.500005Z", "2024-02-29T00:00:00.000001Z", "1970-01-01T00:00:00.000000Z"] {
            let time = parse_rfc3339(text).expect("a time");
            assert_eq!((rfc3339(time), clock.rfc3339(clock.instant(time))), (text.to_owned(), text.to_owned()));
        }
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23T16:40:00Z",
            "2026-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-01T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "1969-12-31T23:59:59.000000Z",
            "+026-01-01T00:00:00.000000Z",
            "2026-01-01T00:00:00.00000éZ",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_wall_clock_has_the_time_zone() {
        // 2026-07-01 and 2026-12-01, at noon in UTC.
        let (summer, winter) = (1_782_907_200, 1_796_126_400);
        let time = |zone, at| WallClock::of_zone(Some(zone)).time(at);
        assert_eq!(time("UTC0", summer), "12:00:00");
        assert_eq!(time("IST-5:30", summer + 59), "17:30:59");
        assert_eq!(time("NST+12", winter), "00:00:00");
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!((time(berlin, summer).as_str(), time(berlin, winter).as_str()), ("14:00:00", "13:00:00"));
        for unknown in ["", "No/Such_Place", ":/dev/null"] {
            assert_eq!(time(unknown, winter - 1), "11:59:59", "{unknown:?}");
        }
    }
}
