//! The same readers in the unit tests: the seeds of the fuzzer, edits of them, texts made of their words, and bytes of any kind.
//! `PROPTEST_CASES=100000` tries more.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;

/// How often each reader is tried in each of the three ways, unless the variable says otherwise.
const CASES: u32 = 300;
/// Longer than any reader takes, even in a debug build on a busy machine, unless it hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// The seeds of a reader.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a seed").path();
            (path.display().to_string(), std::fs::read(&path).expect("a seed"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// The allowed starts of a message: places in a file of this name, or one of these words. `None` without a file.
fn places(name: &str) -> Option<(&'static str, bool, &'static [&'static str])> {
    // The name, whether there is always a column, and what else a line may begin with.
    Some(match name {
        "hosts_file" => ("/d/hosts", true, &["... and "]),
        "config_toml" => ("config.toml", true, &["... and "]),
        "host_config" => ("hosts.toml", true, &["... and "]),
        "ssh_config" => ("config", true, &[]),
        "known_hosts" => ("known_hosts", false, &[]),
        // A missing row has no line.
        "host_args" => (
            "rows",
            false,
            &[
                "... and ",
                "--host-arg",
                "host arguments: ",
                "rows: ",
                "rows.csv: ",
                "rows.tsv: ",
                "rows.json: ",
                "rows.jsonl: ",
            ],
        ),
        _ => return None,
    })
}

/// Whether a message names its place: `FILE:LINE:COLUMN: `.
fn names_place(name: &str, message: &str) -> bool {
    let Some((file, has_column, others)) = places(name) else { return !message.is_empty() };
    message.lines().all(|line| {
        if others.iter().any(|other| line.starts_with(other)) {
            return true;
        }
        let Some(rest) = line.strip_prefix(file) else { return false };
        let mut numbers = rest.trim_start_matches(".csv").trim_start_matches(".tsv");
        numbers = numbers.trim_start_matches(".jsonl").trim_start_matches(".json");
        let mut count = 0;
        while let Some(after) = numbers.strip_prefix(':') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                break;
            }
            (numbers, count) = (&after[digits..], count + 1);
        }
        numbers.starts_with(": ") && (count == 2 || count == 1 && !has_column)
    })
}

/// Formats a reader's input as text.
#[derive(Clone)]
struct Input(Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Runs a reader, and checks its result and its time.
fn try_one(name: &str, read: Target, input: &[u8]) -> Result<(), TestCaseError> {
    let begun = Instant::now();
    let verdict = catch_unwind(AssertUnwindSafe(|| read(input)));
    let took = begun.elapsed();
    let verdict = verdict.map_err(|_| TestCaseError::fail("it panics"))?;
    prop_assert!(took < LONGEST, "it took {took:?}");
    if let Err(message) = verdict {
        prop_assert!(names_place(name, &message), "the place is missing: {message}");
        // Words of the command line may be quoted whole.
        let most = if places(name).is_some() { 16 << 10 } else { (16 << 10) + 8 * input.len() };
        prop_assert!(message.len() < most, "a message of {} bytes", message.len());
    }
    Ok(())
}

/// A change of a text: a removed part, and what replaces it.
type Edit = (prop::sample::Index, usize, Vec<u8>);

/// Typical hostile insertions.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"",
        b"\n",
        b"\0",
        b"\r\n",
        b"\"",
        b"'",
        b"\\",
        b"[",
        b"]",
        b"{",
        b"=",
        b",",
        b":",
        b"@",
        b"#",
        b"%",
        b"*",
        b"/",
        b"-",
        b"!",
        b"[1-1000000000000]",
        b"[1-99999999999999999999]",
        b"[1-3/0]",
        b"[000000000000000000001-2]",
        b"18446744073709551615",
        b"4294967295",
        b"-1",
        b"1e999",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xc2\x9b",
        b"\xf0\x9f\x92\xa9",
        b"\xe2\x80\xae",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\x80\0\0\0",
        b"${X}",
        b"%h",
        b"%(a)q",
        b"\x1b[2J",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    prop_oneof![
        3 => prop::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => (prop::sample::select(words), 1_usize..300).prop_map(|(word, times)| word.repeat(times)),
    ]
}

/// Returns a text with the edits applied, one after the other.
fn edited(mut text: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for (at, length, with) in edits {
        let at = at.index(text.len() + 1);
        let end = (at + length).min(text.len());
        text.splice(at..end, with.iter().copied());
    }
    text
}

/// Returns the words of the seeds, and the text between them.
fn words_of(seeds: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut words = BTreeSet::new();
    for (_, seed) in seeds {
        for line in seed.split_inclusive(|byte| *byte == b'\n') {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
            words.extend(line.chunk_by(|one, other| is_word(one) == is_word(other)).map(<[u8]>::to_vec));
            words.insert(line.to_vec());
        }
    }
    words.into_iter().filter(|word| word.len() < 2000).collect()
}

/// Tries a reader in all ways.
fn attack(name: &str) {
    let (_, read) = *TARGETS.iter().find(|(known, _)| *known == name).expect("a reader");
    let seeds = seeds(name);
    for (path, seed) in &seeds {
        try_one(name, read, seed).unwrap_or_else(|error| panic!("{path}: {error}"));
        // Cut off at every place, or at many of them.
        for end in (0..seed.len()).step_by(1 + seed.len() / 500) {
            try_one(name, read, &seed[..end]).unwrap_or_else(|error| panic!("{path}, {end} bytes of it: {error}"));
        }
    }
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(CASES);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let texts: Vec<Vec<u8>> = seeds.iter().map(|(_, seed)| seed.clone()).filter(|seed| seed.len() < 10_000).collect();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, nasty()), 1..6);
    let from_seeds = (prop::sample::select(texts), edits).prop_map(|(seed, edits)| Input(edited(seed, &edits)));
    let word = prop_oneof![4 => prop::sample::select(words_of(&seeds)), 1 => nasty()];
    let from_words = prop::collection::vec(word, 0..24).prop_map(|words| Input(words.concat()));
    let from_bytes = prop::collection::vec(any::<u8>(), 0..200).prop_map(Input);
    // The same cases each time, so that unrelated changes do not fail; more cases use other seeds.
    let runner = || match asked {
        Some(_) => TestRunner::new(config.clone()),
        None => TestRunner::new_with_rng(config.clone(), TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    for result in [
        runner().run(&from_seeds, |input| try_one(name, read, &input.0)),
        runner().run(&from_words, |input| try_one(name, read, &input.0)),
        runner().run(&from_bytes, |input| try_one(name, read, &input.0)),
    ] {
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_reader_has_seeds_and_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |directory: &str| -> BTreeSet<String> {
        let entries =
            std::fs::read_dir(root.join(directory)).expect("a directory").map(|entry| entry.expect("an entry"));
        entries.map(|entry| entry.path().file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    };
    let all: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("seeds"), all);
    assert_eq!(names("fuzz_targets"), all);
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    for name in all {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
        assert!(seeds(&name).len() > 1, "{name} has more than one seed");
    }
}

/// The seeds that were recorded from OpenSSH's server are whole copies: edits of them reach far.
#[test]
fn a_recorded_conversation_is_a_copy() {
    let verdicts = |name: &str, read: Target| -> Vec<Verdict> {
        let recorded = seeds(name).into_iter().filter(|(path, _)| path.contains("/real"));
        recorded.map(|(_, seed)| read(&seed)).collect()
    };
    assert_eq!(verdicts("uploads", crate::fuzzing::uploads), [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(verdicts("sftp_download", crate::fuzzing::sftp_download), [Ok(()), Ok(()), Ok(()), Ok(())]);
}

macro_rules! attacks {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            attack(stringify!($name));
        }
    )*};
}

attacks! {
    hosts_file nodes words ssh_config ssh_options include_pattern known_hosts host_args config_toml host_config template keys
    host_key sftp_replies scp_records terminal sftp_download scp_download uploads
}
