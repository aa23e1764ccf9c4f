//! Licences, sources and versions of all dependencies against deny.toml, as `cargo deny check licenses bans sources` has it: that takes
//! longer to build than everything else together. It knows more than this does, advisories above all: `.ci/dependencies` runs it where
//! it is installed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `[licenses] allow` of deny.toml has.
fn allowed(deny: &str) -> HashSet<String> {
    let table = toml::de::DeTable::parse(deny).expect("deny.toml is TOML");
    let list = table.get_ref().get("licenses").and_then(|table| table.get_ref().get("allow")).expect("an allow list");
    let list = list.get_ref().as_array().expect("a list");
    list.iter().filter_map(|name| name.get_ref().as_str()).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be satisfied by allowed licences alone. `/` is an old form of OR.
fn is_satisfied(expression: &str, allowed: &HashSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let satisfied = either(&mut words, allowed);
    assert!(words.next().is_none(), "{expression}: this is no SPDX expression");
    satisfied
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allowed: &HashSet<String>) -> bool {
    let mut satisfied = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        // Not lazily: the words have to be taken.
        let other = both(words, allowed);
        satisfied |= other;
    }
    satisfied
}

fn both(words: &mut Words<'_>, allowed: &HashSet<String>) -> bool {
    let mut satisfied = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        let other = one(words, allowed);
        satisfied &= other;
    }
    satisfied
}

fn one(words: &mut Words<'_>, allowed: &HashSet<String>) -> bool {
    let word = words.next().expect("a licence");
    if word == "(" {
        let satisfied = either(words, allowed);
        assert_eq!(words.next(), Some(")"), "a parenthesis is closed");
        return satisfied;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => allowed.contains(&format!("{word} WITH {}", words.next().expect("an exception"))),
        None => allowed.contains(word),
    }
}

#[test]
fn expressions_of_licences() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for (expression, holds) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("GPL-3.0 OR MIT AND BSD", false),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("MIT WITH LLVM-exception", false),
    ] {
        assert_eq!(is_satisfied(expression, &allowed), holds, "{expression}");
    }
}

#[test]
fn licences_sources_and_versions_are_as_deny_toml_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let deny = fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
    let allowed = allowed(&deny);
    // The lines that this test stands for: it must not go on as if nothing had happened when they change.
    for line in ["wildcards = \"deny\"", "unknown-registry = \"deny\"", "unknown-git = \"deny\""] {
        assert!(deny.lines().any(|other| other == line), "deny.toml has no {line:?}");
    }
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "all of them");
    let mut problems = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str();
        let name = format!("{} {}", text("name").unwrap_or_default(), text("version").unwrap_or_default());
        match text("license") {
            Some(licence) if is_satisfied(licence, &allowed) => {}
            licence => problems.push(format!("{name}: the licence {licence:?} is not allowed")),
        }
        match text("source") {
            Some(source) if source.starts_with("registry+") && source.ends_with("/rust-lang/crates.io-index") => {}
            None if text("name") == Some("pssh") => {}
            source => problems.push(format!("{name}: it comes from {source:?}")),
        }
        let ours = package["dependencies"].as_array().filter(|_| text("name") == Some("pssh"));
        let any = |dependency: &&Value| dependency["req"] == "*";
        problems.extend(ours.into_iter().flatten().filter(any).map(|dependency| format!("any {}", dependency["name"])));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What `cargo metadata` says.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["metadata", "--locked", "--format-version", "1", "--all-features"];
    let output = Command::new(cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The number of a version: `1.89` is 1.89.0.
fn version(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.split('.').map(|number| number.parse().expect("a number")).collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn every_dependency_builds_with_the_oldest_rust_that_we_name() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let own = packages.iter().find(|package| package["name"] == "pssh").expect("ours");
    let ours = version(own["rust_version"].as_str().expect("a version"));
    let newer = packages.iter().filter(|package| package["rust_version"].as_str().is_some_and(|it| version(it) > ours));
    let newer: Vec<String> = newer.map(|package| format!("{} {}", package["name"], package["rust_version"])).collect();
    assert!(newer.is_empty(), "rust-version is {ours:?}, but these need more: {newer:?}");
}

#[test]
fn pre_releases_are_pinned() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let own = packages.iter().find(|package| package["name"] == "pssh").expect("ours");
    let mut pinned = 0;
    for dependency in own["dependencies"].as_array().expect("dependencies") {
        let wanted = dependency["req"].as_str().expect("a requirement");
        if wanted.contains('-') {
            // Cargo takes a newer pre-release for ^1.0.0-rc.1, whatever that needs.
            assert!(wanted.starts_with('='), "{}: {wanted}: a pre-release has to be pinned with =", dependency["name"]);
            pinned += 1;
        }
    }
    assert_eq!(pinned, 1, "ssh-key");
}

#[test]
fn every_dependency_has_a_reason() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let (mut is_list, mut before, mut without, mut seen) = (false, "", Vec::new(), 0);
    for line in text.lines() {
        if line.starts_with('[') {
            is_list = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if is_list && line.contains(" = ") && !line.starts_with('#') {
            seen += 1;
            if !before.starts_with("# ") {
                without.push(line.to_owned());
            }
        }
        before = line;
    }
    assert!(without.is_empty() && seen > 20, "{without:#?}");
}
