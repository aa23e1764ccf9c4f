//! Rolling runs: the batches, what happens between them, the order of hosts, and how fast they start.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use super::portion::Portion;

/// How a run goes over its hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rolling {
    /// The sizes of successive batches, of which the last repeats; empty for a single batch.
    pub batches: BatchSizes,
    /// The pause between two batches.
    pub pause: Duration,
    /// Which batches the user confirms.
    pub confirm: Option<Confirm>,
    /// The order in which hosts start.
    pub order: Order,
    /// How many logins may be under way at once.
    pub connect_par: Option<usize>,
    /// How many hosts may start in a time.
    pub rate: Option<Rate>,
}

/// The sizes of successive batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchSizes(pub Vec<Portion>);

impl BatchSizes {
    /// Reads `1,10%,50%`.
    ///
    /// # Errors
    /// A size is wrong; names it.
    pub fn parse(text: &str) -> Result<BatchSizes, String> {
        let zero = "a batch has at least one host";
        let size = |size: &str| Portion::parse(size, zero).map_err(|problem| format!("size {size:?}: {problem}"));
        text.split(',').map(|part| size(part.trim())).collect::<Result<_, _>>().map(BatchSizes)
    }

    /// Whether there is a single batch.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Divides `all` places into batches. There is at least one, even if it is empty.
    pub fn of(&self, all: usize) -> Vec<Range<usize>> {
        let mut sizes = self.0.iter().map(|size| size.hosts(all));
        let (mut ranges, mut start, mut size) = (Vec::new(), 0_usize, all);
        loop {
            size = sizes.next().unwrap_or(size);
            let end = start.saturating_add(size).min(all);
            ranges.push(start..end);
            if end == all {
                return ranges;
            }
            start = end;
        }
    }
}

/// Which batches the user confirms before they start. The first batch always starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The second one.
    First,
    /// All of them.
    Each,
}

/// The order in which hosts start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// That of the list.
    #[default]
    List,
    /// From the end of the list.
    Reverse,
    /// A random one, which depends on this seed and the number of hosts only.
    Shuffle(u64),
}

impl Order {
    /// The words that it reads as they are.
    pub const WORDS: [&str; 3] = ["list", "reverse", "shuffle"];

    /// Reads `list`, `reverse`, `shuffle` or `shuffle:SEED`. Without a seed, it takes a random one.
    ///
    /// # Errors
    /// None of these.
    pub fn parse(text: &str) -> Result<Order, String> {
        match text.split_once(':') {
            None if text == "list" => Ok(Order::List),
            None if text == "reverse" => Ok(Order::Reverse),
            // Six digits are easily typed again.
            None if text == "shuffle" => Ok(Order::Shuffle(RandomState::new().hash_one(0) % 1_000_000)),
            Some(("shuffle", seed)) => match seed.parse() {
                Ok(seed) => Ok(Order::Shuffle(seed)),
                Err(_) => Err(format!("seed {seed:?}: expected a whole number, such as shuffle:42")),
            },
            _ => Err("expected list, reverse, shuffle or shuffle:SEED".to_owned()),
        }
    }

    /// Returns the number of the job at each place.
    pub fn of(self, all: usize) -> Vec<usize> {
        match self {
            Order::List => (0..all).collect(),
            Order::Reverse => (0..all).rev().collect(),
            Order::Shuffle(seed) => {
                let (mut jobs, mut random): (Vec<usize>, _) = ((0..all).collect(), SplitMix(seed));
                for last in (1..all).rev() {
                    jobs.swap(last, random.below(last + 1));
                }
                jobs
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::List => f.write_str("list"),
            Order::Reverse => f.write_str("reverse"),
            Order::Shuffle(seed) => write!(f, "shuffle:{seed}"),
        }
    }
}

/// The generator SplitMix64 (Steele, Lea, Flood 2014). A seed has to give the same order with every version of pssh, which no crate
/// promises.
struct SplitMix(u64);

impl SplitMix {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // The bias is below the number of hosts in 2^64.
        ((u128::from(bits) * bound as u128) >> 64) as usize
    }
}

/// How many hosts may start in a time: the time from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Duration);

impl Rate {
    /// Reads `10/s`, `0.5/s` or `30/m`; `10` is `10/s`.
    ///
    /// # Errors
    /// The text is not a rate, or the rate is out of range.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let expected = "expected a number of hosts per time, such as 10/s, 0.5/s or 30/m";
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(expected.to_owned()),
        };
        let number: f64 = number.trim().parse().map_err(|_| expected)?;
        let rate = number / seconds;
        // From a host a day to one a microsecond.
        if !(1.0 / 86_400.0..=1_000_000.0).contains(&rate) {
            return Err("expected a rate from 0.05/h to 1000000/s".to_owned());
        }
        Ok(Rate(Duration::from_secs_f64(1.0 / rate)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, minute) = (1.0 / self.0.as_secs_f64(), 60.0 / self.0.as_secs_f64());
        // To a thousandth: the time between two starts is in whole nanoseconds.
        let round = |rate: f64| (rate * 1000.0).round() / 1000.0;
        if second < 0.1 { write!(f, "{}/m", round(minute)) } else { write!(f, "{}/s", round(second)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(sizes: &str, all: usize) -> Vec<usize> {
        BatchSizes::parse(sizes).expect("sizes").of(all).into_iter().map(|range| range.len()).collect()
    }

    #[test]
    fn the_last_size_repeats_until_all_have_started() {
        assert_eq!(batches("1", 3), [1, 1, 1]);
        assert_eq!(batches("1,10%,50%", 40), [1, 4, 20, 15]);
        assert_eq!(batches("10%", 25), [3, 3, 3, 3, 3, 3, 3, 3, 1]);
        assert_eq!(batches("1%", 7), [1; 7], "at least one host");
        assert_eq!(batches("5, 100%", 8), [5, 3]);
        assert_eq!(batches("50", 8), [8]);
        assert_eq!(batches("1,2,3,4", 3), [1, 2]);
        for all in [0, 9] {
            assert_eq!(BatchSizes::default().of(all).first(), Some(&(0..all)), "a single batch");
            assert_eq!(BatchSizes::default().of(all).len(), 1);
        }
        for bad in ["", "0", "1,", ",1", "1,,2", "1;2", "x", "1,0%", "-1", "101%"] {
            let problem = BatchSizes::parse(bad).expect_err(bad);
            assert!(problem.starts_with("size \""), "{problem}");
        }
    }

    #[test]
    fn orders_are_permutations_and_a_seed_is_repeated() {
        for order in [Order::List, Order::Reverse, Order::Shuffle(0), Order::Shuffle(u64::MAX)] {
            for all in [0, 1, 2, 97] {
                let mut jobs = order.of(all);
                jobs.sort_unstable();
                assert_eq!(jobs, (0..all).collect::<Vec<_>>(), "{order}");
            }
            assert_eq!(Order::parse(&order.to_string()), Ok(order));
        }
        assert_eq!(Order::Reverse.of(3), [2, 1, 0]);
        // For good: users repeat a run by its seed.
        assert_eq!(Order::Shuffle(42).of(10), [8, 3, 6, 5, 4, 0, 9, 2, 1, 7]);
        assert_ne!(Order::Shuffle(1).of(50), Order::Shuffle(2).of(50));
        let firsts: std::collections::HashSet<usize> = (0..200).map(|seed| Order::Shuffle(seed).of(10)[0]).collect();
        assert_eq!(firsts.len(), 10, "every host can be the first");
        assert!(matches!(Order::parse("shuffle"), Ok(Order::Shuffle(_))));
        for bad in ["", "random", "shuffle:", "shuffle:x", "shuffle:-1", "list:1", "reverse:2", "Reverse"] {
            assert!(Order::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_the_time_between_two_starts() {
        let time = |text| Rate::parse(text).map(|rate| rate.0);
        assert_eq!(time("10/s"), Ok(Duration::from_millis(100)));
        assert_eq!(time("0.5/s"), Ok(Duration::from_secs(2)));
        assert_eq!(time("30/m"), Ok(Duration::from_secs(2)));
        assert_eq!(time("60/h"), Ok(Duration::from_secs(60)));
        assert_eq!((time("5"), time("0.5")), (time("5/s"), time("0.5/s")));
        for (text, shown) in [("10/s", "10/s"), ("0.5/s", "0.5/s"), ("30/m", "0.5/s"), ("1/m", "1/m"), ("3/s", "3/s")] {
            assert_eq!(Rate::parse(text).map(|rate| rate.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", "0", "-1", "/s", "10/", "10/d", "x/s", "0/s", "-1/s", "NaN/s", "inf/s", "1e99/s", "1/s/s"] {
            assert!(time(bad).is_err(), "{bad} was taken");
        }
    }
}
