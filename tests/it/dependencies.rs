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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["metadata", "--locked", "--format-version", "1", "--all-features"];
    let output = Command::new(cargo).args(args).current_dir(root).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
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
