//! Which folders of the library import which: a folder imports only those that stand before it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The folders, the lowest first. Those of one line do not import each other.
const LAYERS: [&[&str]; 10] = [
    &["text"],
    &["system"],
    &["events", "hosts", "ssh_config"],
    &["command", "journal"],
    &["ssh"],
    &["copy"],
    &["plan"],
    &["run", "output"],
    &["cli", "client"],
    &["bin", "fuzzing", "lib", "main"],
];
/// What is above and yet not to be imported: the library's client prints nothing.
const NEVER: [(&str, &str); 1] = [("client", "output")];

/// What must be written with unsafe code, and so stands where that has its place. It imports nothing, and may be imported by all.
const LEAF: &str = "ssh/ffi/at_start";

/// Imports that still run upward: the file, and what it imports. A line goes with every cure.
const OWED: &[(&str, &str)] = &[
];

/// The folder of a module, such as `ssh_config/line`.
fn folder(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

fn layer(folder: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&folder)).unwrap_or_default()
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
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let path = if base.is_empty() { rest[..end].to_owned() } else { format!("{base}/{}", &rest[..end]) };
    match rest[end..].strip_prefix("::") {
        Some(further) => collect(further, &path, found),
        None => {
            found.insert(path);
            rest[end..].strip_prefix(" as ").map_or(&rest[end..], |alias| {
                &alias[alias.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(alias.len())..]
            })
        }
    }
}

#[test]
fn no_folder_imports_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut directories, mut upward, mut files) = (vec![root.clone()], BTreeSet::new(), 0);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&root).expect("below it").display().to_string();
            if path.is_dir() {
                directories.push(path);
            } else if !name.contains("tests") && name.ends_with(".rs") {
                files += 1;
                let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
                let own = folder(module);
                for path in imports(&code(&fs::read_to_string(root.join(&name)).expect("a file")), module) {
                    if path.starts_with(LEAF) {
                        continue;
                    }
                    let other = folder(&path);
                    if own != other && (layer(own) <= layer(other) || NEVER.contains(&(own, other))) {
                        upward.insert((name.clone(), other.to_owned()));
                    }
                }
            }
        }
    }
    assert!(files > 150, "the sources are there");
    let owed: BTreeSet<_> = OWED.iter().map(|(file, path)| ((*file).to_owned(), (*path).to_owned())).collect();
    let new: Vec<_> = upward.difference(&owed).collect();
    assert!(new.is_empty(), "imported from above: {new:#?}");
    let paid: Vec<_> = owed.difference(&upward).collect();
    assert!(paid.is_empty(), "no longer owed: {paid:#?}");
}
