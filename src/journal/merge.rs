//! Several journals as one: the shares of one list, or runs on the same list one after another.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file;
use super::file::JournalError;
use super::fingerprint::Difference;
use super::history::{History, HostState};
use super::recall::recall;
use super::record::{Host, Run};
use crate::events::event::Event;
use crate::system::clock::Clock;

/// Why journals are not the whole of a run.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them cannot be read.
    #[error(transparent)]
    File(#[from] JournalError),
    /// No run has begun in it.
    #[error("{}: no run has begun in this journal", .0.display())]
    Empty(PathBuf),
    /// The runs are not about the same.
    #[error("{}: not the same run as in {}: {difference}", .path.display(), .first.display())]
    Other {
        /// The journal.
        path: PathBuf,
        /// The one before it.
        first: PathBuf,
        /// What differs.
        difference: Difference,
    },
    /// The journals have shares of different sizes, or only some have a share.
    #[error("{}: it has {shard}, but {} has {other}", .path.display(), .first.display())]
    Mixed {
        /// The journal.
        path: PathBuf,
        /// What it has.
        shard: String,
        /// The first one.
        first: PathBuf,
        /// What that has.
        other: String,
    },
    /// Two journals have the same share.
    #[error("{}: shard {shard} is also in {}", .path.display(), .first.display())]
    Doubled {
        /// The journal.
        path: PathBuf,
        /// The share.
        shard: String,
        /// The other journal.
        first: PathBuf,
    },
    /// Nobody has these shares.
    #[error("{} missing", named(.0))]
    Missing(Vec<String>),
    /// A share is not `K/N`.
    #[error("{}: the shard {shard:?} is not K/N", .path.display())]
    Shard {
        /// The journal.
        path: PathBuf,
        /// The share.
        shard: String,
    },
    /// The run ended before its list was written.
    #[error("{}: the list has {hosts} hosts, but the journals name only {named}: a run ended before it began", .path.display())]
    Incomplete {
        /// The first journal.
        path: PathBuf,
        /// How many hosts the list has.
        hosts: usize,
        /// How many of them the journals name.
        named: usize,
    },
}

/// The whole of a run.
#[derive(Debug)]
pub struct Merged {
    journals: Vec<(PathBuf, File, History)>,
    /// The hosts, in the order of the list.
    pub hosts: Vec<Host>,
    /// The journal that has the last word about a host, by index.
    last: BTreeMap<usize, usize>,
}

/// Shares of the longest list.
const MOST_SHARES: usize = 1_000_000;
/// How many missing shares a message names.
const NAMED: usize = 10;

/// Names shares: `shard 2/4 is`, `shards 2/4, 4/4 are`, or with `and 90 more`.
fn named(shares: &[String]) -> String {
    match shares {
        [one] => format!("shard {one} is"),
        few if few.len() <= NAMED => format!("shards {} are", few.join(", ")),
        many => format!("shards {} and {} more are", many[..NAMED].join(", "), many.len() - NAMED),
    }
}

/// Reads `2/4`, or what follows the kind of a share: `hash:2/4`.
fn shard(text: &str) -> Option<(usize, usize)> {
    let (share, all) = text.rsplit(':').next()?.split_once('/')?;
    let (share, all) = (share.parse().ok()?, all.parse().ok()?);
    (all <= MOST_SHARES && (1..=all).contains(&share)).then_some((share, all))
}

impl Merged {
    /// Reads journals. Of several that know of a host, the one with the latest run counts.
    ///
    /// # Errors
    /// One cannot be read, or they are not the whole of one run.
    pub fn read(paths: &[PathBuf]) -> Result<Merged, MergeError> {
        let mut journals = Vec::new();
        for path in paths {
            let (file, history) = file::look(path)?;
            journals.push((path.clone(), file, history));
        }
        Merged::of(journals)
    }

    fn of(journals: Vec<(PathBuf, File, History)>) -> Result<Merged, MergeError> {
        let mut runs: Vec<(&Path, &Run)> = Vec::new();
        for (path, _, history) in &journals {
            // The first one: those that continue it may do something else on some hosts.
            runs.push((path, history.runs.first().ok_or_else(|| MergeError::Empty(path.clone()))?));
        }
        check_same(&runs)?;
        check_shards(&runs)?;
        let mut hosts = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (number, (_, _, history)) in journals.iter().enumerate() {
            hosts.extend(history.hosts.iter().map(|(index, host)| (*index, host.clone())));
            for (index, state) in &history.states {
                let time = history.runs.get(state.run).map(|run| run.time);
                let latest = last.entry(*index).or_insert((time, number));
                *latest = (*latest).max((time, number));
            }
        }
        let expected = runs.first().map_or(0, |(_, run)| run.of.hosts);
        if hosts.len() != expected {
            let path = runs.first().map(|(path, _)| path.to_path_buf()).unwrap_or_default();
            return Err(MergeError::Incomplete { path, hosts: expected, named: hosts.len() });
        }
        let last = last.into_iter().map(|(index, (_, number))| (index, number)).collect();
        Ok(Merged { hosts: hosts.into_values().collect(), last, journals })
    }

    /// Returns all runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.journals.iter().flat_map(|(_, _, history)| &history.runs)
    }

    /// Returns when the first run began and when the last record was written, since 1970.
    pub fn times(&self) -> (Duration, Duration) {
        let first = self.runs().map(|run| run.time).min().unwrap_or_default();
        (first, self.journals.iter().map(|(_, _, history)| history.latest).max().unwrap_or_default())
    }

    /// Returns the last lines that were not written to their end, each with its journal.
    pub fn torn(&self) -> impl Iterator<Item = (&Path, super::history::Torn)> {
        self.journals.iter().filter_map(|(path, _, history)| Some((path.as_path(), history.torn?)))
    }

    /// Returns what is known of a host: nothing if it was not started.
    pub fn state(&self, index: usize) -> Option<&HostState> {
        self.journals[*self.last.get(&index)?].2.states.get(&index)
    }

    /// Passes on what happened to the hosts. The number of a host's job is its index.
    ///
    /// # Errors
    /// A file cannot be read again.
    pub fn recall(&self, clock: &Clock, mut emit: impl FnMut(Event)) -> io::Result<()> {
        for (number, (path, file, history)) in self.journals.iter().enumerate() {
            let job = |index| (self.last.get(&index) == Some(&number)).then_some(index);
            recall((file, history), clock, job, &mut emit).map_err(|error| {
                io::Error::other(format!("{}: {}", path.display(), crate::text::message::reason(&error)))
            })?;
        }
        Ok(())
    }
}

/// Checks that all runs are about the same: with shares of the list, their values are those of the share's hosts.
fn check_same(runs: &[(&Path, &Run)]) -> Result<(), MergeError> {
    let mut pairs = runs.iter().skip(1);
    pairs.try_for_each(|(path, run)| {
        let (first, of) = (runs[0].0, &runs[0].1.of);
        let mut compared = run.of.clone();
        compared.shard.clone_from(&of.shard);
        if of.shard.is_some() {
            compared.arguments.clone_from(&of.arguments);
        }
        let other = |difference| MergeError::Other { path: path.to_path_buf(), first: first.to_owned(), difference };
        compared.check(of).map_err(other)
    })
}

/// Checks that every share is there once.
fn check_shards(runs: &[(&Path, &Run)]) -> Result<(), MergeError> {
    let shown = |shard: &Option<String>| {
        shard.as_ref().map_or_else(|| "all of the list".to_owned(), |shard| format!("shard {shard}"))
    };
    let mut seen: BTreeMap<usize, &Path> = BTreeMap::new();
    let mut of: Option<usize> = None;
    for (path, run) in runs {
        let (first, first_shard) = (runs[0].0, &runs[0].1.of.shard);
        let mixed = || MergeError::Mixed {
            path: path.to_path_buf(),
            shard: shown(&run.of.shard),
            first: first.to_owned(),
            other: shown(first_shard),
        };
        let Some(text) = &run.of.shard else {
            if first_shard.is_some() {
                return Err(mixed());
            }
            continue;
        };
        let wrong = || MergeError::Shard { path: path.to_path_buf(), shard: text.clone() };
        let (share, all) = shard(text).ok_or_else(wrong)?;
        let kind = |shard: &str| shard.split_once(':').map(|(kind, _)| kind.to_owned());
        let is_same_kind = first_shard.as_deref().map(kind) == Some(kind(text));
        if !is_same_kind || *of.get_or_insert(all) != all {
            return Err(mixed());
        }
        if let Some(first) = seen.insert(share, path) {
            let (path, first) = (path.to_path_buf(), first.to_owned());
            return Err(MergeError::Doubled { path, shard: text.clone(), first });
        }
    }
    let all = of.unwrap_or_default();
    let missing: Vec<String> =
        (1..=all).filter(|share| !seen.contains_key(share)).map(|share| format!("{share}/{all}")).collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::Missing(missing)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::record::Record;
    use super::super::record::testing::{end, host, lines, run, sent};
    use super::*;
    use crate::events::event::EventKind;

    fn journal(name: &str, text: &[u8]) -> (PathBuf, File, History) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        let history = History::read(&file, Path::new(name)).expect("a journal");
        (PathBuf::from(name), file, history)
    }

    /// A share of four hosts: those of `indices`, each of which has ended with its index.
    fn share(shard: Option<&str>, indices: &[usize], change: impl Fn(&mut Run)) -> Vec<u8> {
        let mut run = run("a", None, 4);
        run.of.shard = shard.map(str::to_owned);
        change(&mut run);
        let mut text = lines(&[Record::Run(run)]);
        for index in indices {
            text.extend(lines(&[host(*index), sent(*index)]));
            text.extend(end(*index, "exit", Some(*index as u32 + 1), (true, false)));
        }
        text
    }

    fn same(_: &mut Run) {}

    fn problem(journals: Vec<(PathBuf, File, History)>) -> String {
        Merged::of(journals).expect_err("not whole").to_string()
    }

    #[test]
    fn shards_are_one_run_in_any_order() {
        let [one, two] = [share(Some("1/2"), &[0, 2], same), share(Some("2/2"), &[1, 3], same)];
        let merged = Merged::of(vec![journal("J.2", &two), journal("J.1", &one)]).expect("whole");
        assert_eq!(merged.hosts.iter().map(|host| &*host.label).collect::<Vec<_>>(), ["web0", "web1", "web2", "web3"]);
        let mut ends = Vec::new();
        let ended = |event: Event| {
            if let EventKind::Finished { outcome, .. } = event.kind {
                ends.push((event.job, outcome.exit_status()));
            }
        };
        merged.recall(&Clock::now(), ended).expect("read again");
        ends.sort_unstable();
        assert_eq!(ends, (0..4).map(|index| (index, Some(index as u32 + 1))).collect::<Vec<_>>());
    }

    #[test]
    fn a_shard_that_is_missing_doubled_or_of_another_run_is_named() {
        let of = |name: &str, shard: &str, indices: &[usize]| journal(name, &share(Some(shard), indices, same));
        assert_eq!(problem(vec![of("J.1", "1/4", &[0]), of("J.3", "3/4", &[2])]), "shards 2/4, 4/4 are missing");
        assert_eq!(problem(vec![of("J.2", "hash:2/2", &[1])]), "shard 1/2 is missing");
        let doubled = problem(vec![of("J.1", "1/2", &[0]), of("again", "1/2", &[0])]);
        assert_eq!(doubled, "again: shard 1/2 is also in J.1");
        let mixed = problem(vec![of("J.1", "1/2", &[0]), of("J.2", "2/3", &[1])]);
        assert_eq!(mixed, "J.2: it has shard 2/3, but J.1 has shard 1/2");
        let mixed = problem(vec![of("J.1", "1/2", &[0]), of("J.2", "hash:2/2", &[1])]);
        assert_eq!(mixed, "J.2: it has shard hash:2/2, but J.1 has shard 1/2");
        let many = problem(vec![of("J.1", "1/100", &[0])]);
        assert!(many.ends_with(" 11/100 and 89 more are missing"), "{many}");
        let whole = journal("whole", &share(None, &[0, 1, 2, 3], same));
        assert_eq!(
            problem(vec![of("J.1", "1/2", &[0]), whole]),
            "whole: it has all of the list, but J.1 has shard 1/2"
        );
        let whole = journal("whole", &share(None, &[0, 1, 2, 3], same));
        assert_eq!(
            problem(vec![whole, of("J.1", "1/2", &[0])]),
            "J.1: it has shard 1/2, but whole has all of the list"
        );
        for bad in ["", "1", "0/2", "3/2", "a/b", "1/2/3", "1/18446744073709551615"] {
            assert_eq!(problem(vec![of("J", bad, &[0])]), format!("J: the shard {bad:?} is not K/N"));
        }
        let other = |change: fn(&mut Run)| {
            problem(vec![of("J.1", "1/2", &[0, 2]), journal("J.2", &share(Some("2/2"), &[1, 3], change))])
        };
        let start = "J.2: not the same run as in J.1: ";
        assert_eq!(other(|run| run.of.command.clear()), format!("{start}the command differs"));
        assert_eq!(
            other(|run| run.of.list.clear()),
            format!("{start}the list of hosts differs: other hosts, or another order")
        );
        assert_eq!(other(|run| run.of.program.clear()), format!("{start}that run was by pssh, not by "));
        assert_eq!(problem(vec![journal("J", b"")]), "J: no run has begun in this journal");
        assert_eq!(
            problem(vec![journal("J", &share(None, &[0, 1], same))]),
            "J: the list has 4 hosts, but the journals name only 2: a run ended before it began"
        );
    }

    #[test]
    fn the_latest_run_has_the_last_word_in_any_order() {
        let of = |name: &str, seconds: u64, status: u32| {
            let later = |run: &mut Run| run.time += Duration::from_secs(seconds);
            let mut text = share(None, &[0, 1, 2, 3], later);
            let mut again = run("b", Some("a"), 4);
            later(&mut again);
            text.extend(lines(&[Record::Run(again), sent(0)]));
            text.extend(end(0, "exit", Some(status), (true, false)));
            journal(name, &text)
        };
        for names in [["A", "B"], ["B", "A"]] {
            let journals = names.map(|name| if name == "A" { of("A", 0, 50) } else { of("B", 100, 60) });
            let merged = Merged::of(journals.into()).expect("whole");
            let mut ends = Vec::new();
            let note = |event: Event| {
                if let EventKind::Finished { outcome, .. } = event.kind {
                    ends.push((event.job, outcome.exit_status()));
                }
            };
            merged.recall(&Clock::now(), note).expect("read again");
            assert!(ends.contains(&(0, Some(60))) && ends.len() == 4, "{ends:?}");
        }
    }

    #[test]
    fn the_last_journal_has_the_last_word() {
        let first = journal("A", &share(None, &[0, 1, 2, 3], same));
        let mut text = lines(&[Record::Run(run("b", None, 4)), host(0), host(1), host(2), host(3), sent(2)]);
        text.extend(end(2, "ok", Some(0), (true, false)));
        let merged = Merged::of(vec![first, journal("B", &text)]).expect("whole");
        let ok = |index| merged.state(index).and_then(|state| state.end).map(|end| end.is_success);
        assert_eq!([0, 1, 2, 3].map(ok), [Some(false), Some(false), Some(true), Some(false)]);
    }
}
