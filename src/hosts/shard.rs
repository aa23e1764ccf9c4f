//! Shares of a list of hosts, for runs on several machines: `3/8`, or the share that the task of an engine such as Slurm has.

use std::ffi::OsString;
use std::fmt;

use super::HostSpec;
use super::nodeset::MOST_NAMES;

/// How hosts are dealt out, before the [`Share`] itself: `hash:3/8`.
const BY_NAME: &str = "hash:";

/// A share as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// As written.
    text: String,
    share: Share,
    is_by_name: bool,
}

/// Which of how many shares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Share {
    /// The number, from 1, and how many there are.
    Fixed(u64, u64),
    /// That of the task of an engine, which knows how many there are, or is told.
    Task(Engine, Option<u64>),
}

/// What runs a task for each share, and says in variables which task this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Slurm,
    Kubernetes,
    AwsBatch,
    GitLab,
    Nomad,
}

impl Engine {
    const ALL: [Engine; 5] = [Engine::Slurm, Engine::Kubernetes, Engine::AwsBatch, Engine::GitLab, Engine::Nomad];

    /// Returns its name as written.
    fn name(self) -> &'static str {
        match self {
            Engine::Slurm => "slurm",
            Engine::Kubernetes => "k8s",
            Engine::AwsBatch => "aws",
            Engine::GitLab => "gitlab",
            Engine::Nomad => "nomad",
        }
    }

    /// Whether it does not tell how many tasks there are.
    fn needs_count(self) -> bool {
        matches!(self, Engine::Kubernetes | Engine::Nomad)
    }

    /// Returns its name, with the number that it needs.
    fn form(self) -> String {
        if self.needs_count() { format!("{}/N", self.name()) } else { self.name().to_owned() }
    }

    /// What sets its variables.
    fn task(self) -> &'static str {
        match self {
            Engine::Slurm => "a task of a Slurm array (sbatch --array=0-7)",
            Engine::Kubernetes => "a pod of an Indexed Job (completionMode: Indexed)",
            Engine::AwsBatch => "a child of an AWS Batch array job",
            Engine::GitLab => "a GitLab job with parallel: N",
            Engine::Nomad => "an allocation of a Nomad job",
        }
    }
}

impl Shard {
    /// Returns the words that it reads as they are: the engines that know how many shares there are.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Engine::ALL.into_iter().filter(|engine| !engine.needs_count()).map(Engine::name)
    }

    /// Reads `3/8`, `slurm`, `k8s/8`, `aws`, `gitlab` or `nomad/8`, perhaps after `hash:`.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn parse(text: &str) -> Result<Shard, String> {
        let (is_by_name, share) = match text.strip_prefix(BY_NAME) {
            Some(share) => (true, share),
            None => (false, text),
        };
        let (first, count) = match share.split_once('/') {
            Some((first, count)) => (first, Some(number_of_shares(count)?)),
            None => (share, None),
        };
        let engine = Engine::ALL.into_iter().find(|engine| engine.name() == first);
        let share = match (engine, count) {
            (Some(engine), Some(_)) if !engine.needs_count() => {
                return Err(format!("{first} knows how many shares there are: expected {first} alone"));
            }
            (Some(engine), None) if engine.needs_count() => {
                return Err(format!("{first} does not tell how many shares there are: expected {first}/N"));
            }
            (Some(engine), count) => Share::Task(engine, count),
            (None, Some(count)) => match whole_number(first) {
                Some(number) if (1..=count).contains(&number) => Share::Fixed(number, count),
                Some(_) => return Err(format!("expected a share from 1 to {count} before the /")),
                None => return Err(expected()),
            },
            (None, None) => return Err(expected()),
        };
        Ok(Shard { text: text.to_owned(), share, is_by_name })
    }

    /// Determines the share; the variables of an engine come from `variable`.
    ///
    /// # Errors
    /// A variable is missing, or has a value that makes no sense.
    pub fn resolve(&self, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<ResolvedShard, String> {
        let (number, count) = match self.share {
            Share::Fixed(number, count) => (number - 1, count),
            Share::Task(engine, count) => {
                task(engine, count, variable).map_err(|problem| format!("{self}: {problem}"))?
            }
        };
        Ok(ResolvedShard { number, count, is_by_name: self.is_by_name })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ResolvedShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", if self.is_by_name { BY_NAME } else { "" }, self.number + 1, self.count)
    }
}

fn expected() -> String {
    let engines = Engine::ALL.map(Engine::form);
    format!("expected K/N, such as 3/8, {}, or one of them after hash:", engines.join(", "))
}

/// Reads a number of shares.
fn number_of_shares(text: &str) -> Result<u64, String> {
    whole_number(text)
        .filter(|count| (1..=MOST_NAMES).contains(count))
        .ok_or_else(|| format!("expected a number of shares from 1 to {MOST_NAMES} after the /"))
}

fn whole_number(text: &str) -> Option<u64> {
    // Not +3, which parse takes too.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Returns the number of the share of a task, from 0, and how many shares there are.
fn task(engine: Engine, count: Option<u64>, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<(u64, u64), String> {
    let number = |variable_name: &str| {
        let missing = || format!("{variable_name} is not set: this is not {}", engine.task());
        let value = variable(variable_name).ok_or_else(missing)?;
        let text = value.to_str().unwrap_or_default();
        whole_number(text).ok_or_else(|| format!("{variable_name}={value:?} is not a whole number"))
    };
    // A number from `first` on, and how many there are.
    let in_range = |variable_name: &str, first: u64, count: u64| {
        let value = number(variable_name)?;
        let place = value.checked_sub(first).filter(|place| *place < count);
        place.ok_or_else(|| {
            format!("{variable_name}={value} is out of range: expected {first} to {}", first + count - 1)
        })
    };
    let counted = |variable_name: &str| {
        let value = number(variable_name)?;
        let count = Some(value).filter(|count| (1..=MOST_NAMES).contains(count));
        count.ok_or_else(|| format!("{variable_name}={value} is out of range: expected 1 to {MOST_NAMES}"))
    };
    match engine {
        Engine::Slurm => {
            let count = counted("SLURM_ARRAY_TASK_COUNT")?;
            let (first, last) = (number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_MAX")?);
            let step = number("SLURM_ARRAY_TASK_STEP")?;
            let id = number("SLURM_ARRAY_TASK_ID")?;
            if !(first..=last).contains(&id) {
                return Err(format!("SLURM_ARRAY_TASK_ID={id} is out of range: expected {first} to {last}"));
            }
            let distance = id - first;
            if step == 0 || (last - first) / step + 1 != count || distance % step != 0 {
                return Err(format!(
                    "the tasks of the array are not evenly spaced: SLURM_ARRAY_TASK_ID={id} of {count} tasks from \
                     {first} to {last} in steps of {step}; submit it with a range, such as 0-7 or 0-14:2"
                ));
            }
            Ok((distance / step, count))
        }
        Engine::Kubernetes => indexed("JOB_COMPLETION_INDEX", count, &in_range),
        Engine::Nomad => indexed("NOMAD_ALLOC_INDEX", count, &in_range),
        Engine::AwsBatch => {
            let count = counted("AWS_BATCH_JOB_ARRAY_SIZE")?;
            Ok((in_range("AWS_BATCH_JOB_ARRAY_INDEX", 0, count)?, count))
        }
        Engine::GitLab => {
            let count = counted("CI_NODE_TOTAL")?;
            Ok((in_range("CI_NODE_INDEX", 1, count)?, count))
        }
    }
}

/// Returns the share of a task that counts from 0.
fn indexed(
    variable: &str,
    count: Option<u64>,
    in_range: &dyn Fn(&str, u64, u64) -> Result<u64, String>,
) -> Result<(u64, u64), String> {
    let count = count.unwrap_or(1);
    Ok((in_range(variable, 0, count)?, count))
}

/// A share of every list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedShard {
    /// From 0.
    number: u64,
    count: u64,
    is_by_name: bool,
}

impl ResolvedShard {
    /// Whether the host at a place of the list is in the share.
    pub fn has(&self, place: usize, host: &HostSpec) -> bool {
        let value = if self.is_by_name { hash(&host.name) } else { place as u64 };
        value % self.count == self.number
    }
}

/// Returns the hash of a host name, the same on all machines and in all versions: the 64-bit FNV-1a hash of its bytes in ASCII lower
/// case, whose halves are combined by exclusive or, since its low bits alone are not distributed well.
fn hash(name: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mixed =
        name.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME));
    (mixed >> 32) ^ (mixed & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::hosts::gather;

    fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<(u64, u64), String> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let shard = Shard::parse(text)?.resolve(&|name| variables.get(name).map(OsString::from))?;
        Ok((shard.number, shard.count))
    }

    fn slurm(id: &str, min: &str, max: &str, step: &str, count: &str) -> Result<(u64, u64), String> {
        let names = ["ID", "MIN", "MAX", "STEP", "COUNT"].map(|name| format!("SLURM_ARRAY_TASK_{name}"));
        let values = [id, min, max, step, count];
        let set: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(values).filter(|(_, it)| *it != "-").collect();
        resolve("slurm", &set)
    }

    #[test]
    fn shares_are_numbers_or_tasks() {
        assert_eq!(resolve("1/1", &[]), Ok((0, 1)));
        assert_eq!(resolve("3/8", &[]), Ok((2, 8)));
        assert_eq!(resolve("hash:1000000/1000000", &[]), Ok((999_999, 1_000_000)));
        assert_eq!(slurm("0", "0", "7", "1", "8"), Ok((0, 8)));
        assert_eq!(slurm("7", "1", "13", "2", "7"), Ok((3, 7)));
        assert_eq!(slurm("13", "1", "14", "2", "7"), Ok((6, 7)), "14 is not a task");
        assert_eq!(resolve("k8s/4", &[("JOB_COMPLETION_INDEX", "3")]), Ok((3, 4)));
        assert_eq!(resolve("nomad/4", &[("NOMAD_ALLOC_INDEX", "0")]), Ok((0, 4)));
        let aws = [("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "3")];
        assert_eq!(resolve("aws", &aws), Ok((2, 3)));
        assert_eq!(resolve("gitlab", &[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "3")]), Ok((0, 3)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_variable_and_value() {
        for (text, words) in [
            ("", "expected K/N, such as 3/8, slurm, k8s/N, aws, gitlab, nomad/N, or one of them after hash:"),
            ("3", "expected K/N"),
            ("x/8", "expected K/N"),
            ("/8", "expected K/N"),
            ("-1/8", "expected K/N"),
            ("+1/8", "expected K/N"),
            ("1/+8", "expected a number of shares from 1 to 1000000 after the /"),
            ("1/x", "expected a number of shares"),
            ("1/", "expected a number of shares"),
            ("1/0", "expected a number of shares"),
            ("1/1000001", "expected a number of shares"),
            ("0/8", "expected a share from 1 to 8 before the /"),
            ("9/8", "expected a share from 1 to 8 before the /"),
            ("99999999999999999999/8", "expected K/N"),
            ("1/2/3", "expected a number of shares"),
            ("slurm/4", "slurm knows how many shares there are: expected slurm alone"),
            ("k8s", "k8s does not tell how many shares there are: expected k8s/N"),
            ("nomad", "nomad does not tell how many shares there are: expected nomad/N"),
            ("Slurm", "expected K/N"),
            ("hash:", "expected K/N"),
            ("hash:hash:1/2", "expected K/N"),
        ] {
            let problem = Shard::parse(text).expect_err(text);
            assert!(problem.starts_with(words), "{text}: {problem}");
        }
        let told = |found: Result<(u64, u64), String>| found.expect_err("a problem");
        assert_eq!(
            told(slurm("-", "0", "7", "1", "8")),
            "slurm: SLURM_ARRAY_TASK_ID is not set: this is not a task of a Slurm array (sbatch --array=0-7)"
        );
        for missing in 1..5 {
            let mut values = ["3", "0", "7", "1", "8"];
            values[missing] = "-";
            let [id, min, max, step, count] = values;
            assert!(told(slurm(id, min, max, step, count)).contains(" is not set: "), "{values:?}");
        }
        assert_eq!(told(slurm("x", "0", "7", "1", "8")), "slurm: SLURM_ARRAY_TASK_ID=\"x\" is not a whole number");
        assert_eq!(told(slurm("", "0", "7", "1", "8")), "slurm: SLURM_ARRAY_TASK_ID=\"\" is not a whole number");
        assert_eq!(
            told(slurm("8", "0", "7", "1", "8")),
            "slurm: SLURM_ARRAY_TASK_ID=8 is out of range: expected 0 to 7"
        );
        assert_eq!(
            told(slurm("3", "0", "7", "1", "0")),
            "slurm: SLURM_ARRAY_TASK_COUNT=0 is out of range: expected 1 to 1000000"
        );
        // sbatch --array=1,5,9
        for (id, step) in [("5", "1"), ("5", "0"), ("6", "4")] {
            assert_eq!(
                told(slurm(id, "1", "9", step, "3")),
                format!(
                    "slurm: the tasks of the array are not evenly spaced: SLURM_ARRAY_TASK_ID={id} of 3 tasks from 1 to 9 in \
                     steps of {step}; submit it with a range, such as 0-7 or 0-14:2"
                )
            );
        }
        assert_eq!(
            told(resolve("k8s/4", &[("JOB_COMPLETION_INDEX", "4")])),
            "k8s/4: JOB_COMPLETION_INDEX=4 is out of range: expected 0 to 3"
        );
        let gitlab = |index, total| told(resolve("gitlab", &[("CI_NODE_INDEX", index), ("CI_NODE_TOTAL", total)]));
        assert_eq!(gitlab("0", "3"), "gitlab: CI_NODE_INDEX=0 is out of range: expected 1 to 3");
        assert_eq!(gitlab("1", "-3"), "gitlab: CI_NODE_TOTAL=\"-3\" is not a whole number");
        assert_eq!(
            told(resolve("aws", &[("AWS_BATCH_JOB_ARRAY_INDEX", "1")])),
            "aws: AWS_BATCH_JOB_ARRAY_SIZE is not set: this is not a child of an AWS Batch array job"
        );
    }

    /// Computed with another implementation of FNV-1a. Machines with other versions must agree on them.
    #[test]
    fn the_hash_never_changes() {
        for (name, expected) in [
            ("", 1339080641),
            ("a", 694300864),
            ("foobar", 1923950233),
            ("web1.example.com", 3271005052),
            ("10.0.0.1", 1738021072),
            ("2001:db8::1", 3946008343),
        ] {
            assert_eq!(hash(name), expected, "{name}");
        }
        assert_eq!(hash("WEB1.Example.COM"), hash("web1.example.com"));
        // Shares are of similar size, whatever the names have in common.
        for (name, count) in [("web", 2), ("10.0.0.", 7), ("node", 16), ("r1n", 64)] {
            let mut sizes = vec![0_usize; count];
            (0..count * 1000).for_each(|n| sizes[hash(&format!("{name}{n}")) as usize % count] += 1);
            assert!(sizes.iter().all(|size| (800..1200).contains(size)), "{name}: {sizes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_host_is_in_exactly_one_share(size in 0_usize..200, count in 1_u64..20, is_by_name in any::<bool>()) {
            let hosts = match size {
                0 => Vec::new(),
                size => gather(&[], &[format!("n[1-{size}] n1 N2")]).expect("hosts"),
            };
            let mut sizes = Vec::new();
            let mut places: Vec<usize> = Vec::new();
            for number in 0..count {
                let shard = ResolvedShard { number, count, is_by_name };
                let share: Vec<usize> = (0..hosts.len()).filter(|place| shard.has(*place, &hosts[*place])).collect();
                sizes.push(share.len());
                places.extend(share);
            }
            places.sort_unstable();
            prop_assert!(places.iter().copied().eq(0..hosts.len()));
            if !is_by_name {
                prop_assert!(sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) <= 1, "{:?}", sizes);
            }
        }
    }
}
