//! A number of hosts, or a part of all hosts: the sizes of batches, and the failures that stop a run.

/// A number of hosts of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// This many, at least 1.
    Hosts(usize),
    /// This percentage of all hosts, above 0 and at most 100.
    Percent(f64),
}

/// What a portion looks like.
pub const EXPECTED: &str = "expected a number of hosts, such as 3, or a percentage, such as 10%";

impl Portion {
    /// Reads `3` or `10%`. `zero` is what 0 would mean, for the message.
    ///
    /// # Errors
    /// Neither, or 0 hosts; with the expected form.
    pub(crate) fn parse(text: &str, zero: &str) -> Result<Portion, String> {
        let expected = || EXPECTED.to_owned();
        if let Some(number) = text.strip_suffix('%') {
            return match number.parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Portion::Percent(percent)),
                Ok(_) => Err("expected a percentage above 0 and at most 100".to_owned()),
                Err(_) => Err(expected()),
            };
        }
        match text.parse::<usize>() {
            Ok(0) => Err(zero.to_owned()),
            Ok(count) => Ok(Portion::Hosts(count)),
            Err(_) => Err(expected()),
        }
    }

    /// Returns the number of hosts out of `all`: a percentage is rounded up to a whole host.
    pub(crate) fn hosts(self, all: usize) -> usize {
        match self {
            Portion::Hosts(count) => count,
            Portion::Percent(percent) => {
                // 8.8 % of 375 are 33, but as a sum of powers of two a little more.
                const ROUNDING: f64 = 1e-9;
                let exact = all as f64 * percent / 100.0;
                ((exact - ROUNDING * exact.max(1.0)).ceil() as usize).clamp(1, all.max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_percentages() {
        let parse = |text: &str| Portion::parse(text, "0 is too few");
        assert_eq!(parse("3"), Ok(Portion::Hosts(3)));
        assert_eq!(parse("2.5%"), Ok(Portion::Percent(2.5)));
        assert_eq!(parse("0"), Err("0 is too few".to_owned()));
        for bad in ["", "-1", "x", "%", "0%", "101%", "NaN%", "inf%", "1 2"] {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
        let hosts = |text: &str, all| parse(text).expect("a portion").hosts(all);
        assert_eq!((hosts("10%", 100), hosts("10%", 101), hosts("10%", 1), hosts("100%", 7)), (10, 11, 1, 7));
        assert_eq!(hosts("5", 2), 5);
        assert_eq!((hosts("8.8%", 375), hosts("64.4%", 250), hosts("0.001%", 100_000)), (33, 161, 1));
        for all in 1..2000_usize {
            for tenths in 1..=1000_usize {
                let exact = (all * tenths).div_ceil(1000).max(1);
                assert_eq!(Portion::Percent(tenths as f64 / 10.0).hosts(all), exact, "{tenths} tenths of {all}");
            }
        }
    }
}
