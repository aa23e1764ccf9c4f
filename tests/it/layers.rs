//! Which folders of the library import which: a folder imports only those that stand below it (`docs/architecture.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The folders, the lowest first. Those of one line do not import each other.
const LAYERS: [&[&str]; 10] = [
    &["text"],
    &["system"],
    &["events", "hosts", "ssh_config"],
    &["command"],
    &["ssh"],
    &["copy"],
    &["plan"],
    &["run", "output"],
    &["cli", "client"],
    &["bin", "fuzzing", "internal", "lib", "main"],
];
/// What is above and yet not to be imported: the library's client prints nothing.
const NEVER: [(&str, &str); 1] = [("client", "output")];
/// What must be written with unsafe code, and so stands where that has its place. It imports nothing, and all may import it.
const LEAF: &str = "ssh/ffi/at_start";

/// The folder of a module, such as `ssh_config` of `ssh_config/line`.
fn folder(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

fn layer(folder: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&folder));
    layer.unwrap_or_else(|| panic!("src/{folder} is in no layer"))
}

/// The code of a file without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules that `text`, which is `module`, names by `crate::` and `super::`, also in braces and in the middle of a line.
fn imports(text: &str, module: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, word) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let before = text[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut rest = &text[start..];
        let mut base: Vec<&str> = if word == "crate::" { Vec::new() } else { module.split('/').collect() };
        while let Some(further) = rest.strip_prefix("super::") {
            base.pop();
            rest = further;
        }
        collect(rest.strip_prefix("crate::").unwrap_or(rest), &base.join("/"), &mut found);
    }
    found
}

/// Takes a path, or the paths in braces, apart: `cancel::{Cancel, Reason}`.
fn collect<'t>(mut rest: &'t str, base: &str, found: &mut BTreeSet<String>) -> &'t str {
    rest = rest.trim_start();
    if let Some(mut inner) = rest.strip_prefix('{') {
        while !inner.trim_start().starts_with('}') {
            inner = collect(inner, base, found).trim_start().trim_start_matches(',');
        }
        return &inner.trim_start()[1..];
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let path = if base.is_empty() { rest[..end].to_owned() } else { format!("{base}/{}", &rest[..end]) };
    match rest[end..].strip_prefix("::") {
        Some(further) => collect(further, &path, found),
        None => {
            found.insert(path);
            let alias = rest[end..].strip_prefix(" as ");
            alias.map_or(&rest[end..], |alias| &alias[alias.find(|c| !is_part(c)).unwrap_or(alias.len())..])
        }
    }
}

/// The modules of `src` but those of tests, with their code.
fn modules() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut directories, mut modules) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&root).expect("below it").display().to_string();
            if path.is_dir() {
                directories.push(path);
            } else if !name.contains("tests") && name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a file");
                modules.push((name.trim_end_matches(".rs").trim_end_matches("/mod").to_owned(), code(&text)));
            }
        }
    }
    modules
}

#[test]
fn no_folder_imports_one_above_it() {
    let modules = modules();
    assert!(modules.len() > 150, "the sources are there");
    let mut upward = BTreeSet::new();
    for (module, code) in &modules {
        let (own, found) = (folder(module), imports(code, module));
        assert!(module != LEAF || found.is_empty(), "{LEAF} imports {found:?}");
        for path in found.iter().filter(|path| !path.starts_with(LEAF)) {
            let other = folder(path);
            if own != other && (layer(own) <= layer(other) || NEVER.contains(&(own, other))) {
                upward.insert((module.as_str(), path.clone()));
            }
        }
    }
    assert!(upward.is_empty(), "imported from above: {upward:#?}");
}

#[test]
fn only_the_command_line_knows_its_options() {
    let known = |module: &str| folder(module) == "cli" || module.starts_with("fuzzing");
    let modules = modules();
    let named = modules.iter().filter(|(module, code)| !known(module) && code.contains("Opts"));
    assert_eq!(named.map(|(module, _)| module).collect::<Vec<_>>(), [] as [&String; 0], "these name Opts");
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let code = code(
        "use crate::a::{b, c::{D, e as f}};\n// crate::no\nfn x() { crate::g::h(); super::i::J }\nuse super::super::k;",
    );
    let found = imports(&code, "m/n/o");
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a/b", "a/c/D", "a/c/e", "g/h", "m/k", "m/n/i/J"]
    );
}
