//! Which folders of the library import which: a folder imports only those that stand below it (`docs/architecture.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pssh::internal::Program;

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
    sources().into_iter().map(|(module, text)| (module, code(&text))).collect()
}

/// The same with the whole text of their files.
fn sources() -> Vec<(String, String)> {
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
                modules.push((name.trim_end_matches(".rs").trim_end_matches("/mod").to_owned(), text));
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

/// Folders in which a message may name an option: the command line's own, and output, which says what would help.
const KNOW_OPTIONS: [&str; 6] = ["cli", "output", "bin", "main", "fuzzing", "lib"];
/// Modules that make command lines for other programs, or programs for a shell: their letters are not ours.
const OF_OTHER_PROGRAMS: [&str; 10] = [
    "command/script",
    "command/sudo",
    "copy/rsync/command_line",
    "copy/rsync/process",
    "copy/rsync/remote_shell",
    "copy/scp/paths",
    "copy/scp/script",
    "copy/scp/upload",
    "ssh/channel/stop",
    "ssh_config/fallback",
];
/// What else is said of options of other programs, or to a shell.
const OTHER_OPTIONS: [(&str, &str); 25] = [
    ("command", "sh -c 'echo "),
    ("command", "'bash -c'"),
    ("command", "'{text} -c'"),
    ("copy/rsync", "no data within rsync's --timeout"),
    ("copy/sftp/testing", "-d"),
    ("copy/sftp/testing", "-u"),
    ("hosts/inventory", "-c"),
    ("hosts/hosts_file", "iconv -f UTF-16 -t UTF-8"),
    ("hosts/other_formats", "ansible all -i {name}"),
    ("hosts/other_formats", "tail -n"),
    ("hosts/other_formats", "jq -r"),
    ("hosts/other_formats", "cut -d"),
    ("hosts/other_formats", "-f{column}"),
    ("hosts/other_formats", "tr -d"),
    ("run/engine", "ulimit -n"),
    ("run/engine", "ulimit -u"),
    ("run/transfer", "sh -c 'for p in "),
    ("run/transfer", "[ -x $p/sftp-server ]"),
    ("ssh/keys/private_key", "ssh-keygen -i -f FILE"),
    ("ssh/keys/private_key", "puttygen FILE -O private-openssh -o NEWFILE"),
    ("ssh/login/auth", "ssh-add -h"),
    ("ssh/proxy/proxy_command", "-c"),
    ("ssh_config", "ssh -G"),
    ("ssh_config/resolve", "ssh -G"),
    ("system/password_source", "-c"),
];

/// Returns the string literals of a Rust source, without the tests at its end.
fn literals(text: &str) -> Vec<String> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let (mut rest, mut found) = (&text[..end], Vec::new());
    while let Some(c) = rest.chars().next() {
        let after_word = |word: &str| rest.strip_prefix(word);
        let raw =
            after_word("br").or_else(|| after_word("r")).filter(|after| after.trim_start_matches('#').starts_with('"'));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(after) = raw {
            let hashes = after.len() - after.trim_start_matches('#').len();
            let inside = &after[hashes + 1..];
            let length = inside.find(&format!("\"{}", &after[..hashes])).expect("a raw string ends");
            found.push(inside[..length].to_owned());
            rest.len() - inside.len() + length + 1 + hashes
        } else if c == '"' {
            let inside = &rest[1..];
            let mut is_escaped = false;
            let length = inside.find(|c| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            let length = length.expect("a string ends");
            found.push(inside[..length].to_owned());
            length + 2
        } else if c == '\'' {
            // A character, or a lifetime.
            let escape = usize::from(rest[1..].starts_with('\\'));
            let character = rest[1 + escape..].chars().next().map_or(1, |c| 1 + escape + c.len_utf8());
            if rest[character..].starts_with('\'') { character + 1 } else { 1 }
        } else {
            // A word whole: an r at its end begins no raw string.
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').filter(|end| *end > 0).unwrap_or(c.len_utf8())
        };
        rest = &rest[skipped..];
    }
    found
}

/// The options of all programs, as they are written, with their other names.
fn options() -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for program in Program::ALL {
        for arg in program.command().get_arguments() {
            let names = arg.get_long_and_visible_aliases().unwrap_or_default();
            options.extend(names.into_iter().map(|name| format!("--{name}")));
            options.extend(arg.get_short_and_visible_aliases().unwrap_or_default().iter().map(|c| format!("-{c}")));
        }
    }
    options
}

/// The first of `options` that a literal names.
fn named(literal: &str, options: &BTreeSet<String>) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let words = literal.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches('-'));
    words.filter(|word| word.starts_with('-')).find(|word| options.contains(*word)).map(str::to_owned)
}

#[test]
fn nothing_below_the_output_names_an_option() {
    let (options, mut naming) = (options(), Vec::new());
    assert!(options.contains("--host-key-check") && options.contains("-A") && options.len() > 100, "{options:?}");
    let letters: BTreeSet<String> = options.iter().filter(|option| option.len() == 2).cloned().collect();
    let long: BTreeSet<String> = options.difference(&letters).cloned().collect();
    let mut unused: Vec<(&str, &str)> = OTHER_OPTIONS.to_vec();
    for (module, text) in sources() {
        if KNOW_OPTIONS.contains(&folder(&module)) {
            continue;
        }
        let options = if OF_OTHER_PROGRAMS.contains(&&*module) { &long } else { &options };
        for literal in literals(&text) {
            let mut rest = literal.clone();
            for (_, phrase) in
                OTHER_OPTIONS.iter().filter(|(place, phrase)| *place == module && literal.contains(phrase))
            {
                rest = rest.replace(phrase, "");
                unused.retain(|other| *other != (module.as_str(), *phrase));
            }
            naming.extend(named(&rest, options).map(|option| format!("{module}: {option} in {literal:?}")));
        }
    }
    assert!(naming.is_empty(), "these name options of the command line: {naming:#?}");
    assert_eq!(unused, [], "nobody says these any more");
}

#[test]
fn options_are_found_in_literals_alone() {
    let code = "// \"--pty\"\nfn x<'a>() { y('\"', \"a --pty\", r#\"-A \"b\"#, b\"\\\"--sudo\"); }\n#[cfg(test)]\nmod tests {\"-l\"}";
    let found = literals(code);
    assert_eq!(found, ["a --pty", "-A \"b", "\\\"--sudo"]);
    let options = options();
    let all: Vec<Option<String>> = found.iter().map(|literal| named(literal, &options)).collect();
    assert_eq!(all, [Some("--pty".to_owned()), Some("-A".to_owned()), Some("--sudo".to_owned())]);
    for other in ["--ptys", "a-A", "--no-such", "x--pty", "- A", "--"] {
        assert_eq!(named(other, &options), None, "{other}");
    }
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
