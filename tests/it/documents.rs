//! The documents: every command block of the README and the guides is run, every link leads somewhere, and the book can be built.
//!
//! CONTRIBUTING.md, "Documents", describes what a code block may say about itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod compare;
mod lab;
pub(crate) mod markdown;
mod session;
mod stand_ins;

use lab::Lab;
use pssh::internal::Program;

use crate::bin::Env;
use markdown::{Block, anchors, blocks, indented_blocks, links};

/// The documents whose commands are run.
const RUN: [&str; 10] = [
    "README.md",
    "docs/guide.md",
    "docs/copying.md",
    "docs/migrating.md",
    "docs/recipes.md",
    "docs/cheatsheet.md",
    "docs/config.md",
    "docs/journal.md",
    "docs/rolling.md",
    "docs/scale.md",
];
/// Languages of blocks that hold no commands.
const NOT_RUN: [&str; 10] = ["text", "toml", "yaml", "json", "csv", "rust", "ssh-config", "crontab", "python", "ini"];
/// What a block may say about itself.
const ATTRIBUTES: [&str; 4] = ["status", "file", "needs", "with"];
/// At most so many blocks of all documents are only checked with `--dry-run`.
const MOST_NEEDS: usize = 8;
/// At most so many blocks run with a stand-in for a program of somebody else's.
const MOST_WITH: usize = 11;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a document from its beginning to its end. With `PSSH_DOCUMENTS=write`, it then shows what was printed, for a person to read.
#[track_caller]
fn runs(path: &str) {
    let lab = Lab::new();
    if path == "README.md" {
        lab.write("hosts.txt", "web1\nweb2\nweb4\ndb2\n");
    }
    let mut problems = String::new();
    let (mut count, mut corrected) = (0, Vec::new());
    for block in blocks(&read(path)) {
        count += usize::from(block.has_commands());
        if let Some(problem) = session::problem(&block, &lab) {
            let _ = writeln!(problems, "{path}:{}:\n{}", block.line, problem.text);
            corrected.extend(problem.corrected.map(|text| (block.line, block.text.lines().count(), text)));
        }
    }
    if std::env::var_os("PSSH_DOCUMENTS").is_some_and(|value| value == "write") {
        write(path, &corrected);
    }
    assert!(count > 0, "{path} has no command");
    assert!(problems.is_empty(), "\n{problems}");
}

/// Writes other texts into the blocks: the line of the opening fence, the number of lines, the text.
fn write(path: &str, blocks: &[(usize, usize, String)]) {
    let text = read(path);
    let mut lines: Vec<&str> = text.lines().collect();
    for (line, count, text) in blocks.iter().rev() {
        lines.splice(*line..line + count, text.lines());
    }
    fs::write(repository(path), lines.join("\n") + "\n").expect("the document can be written");
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    runs("README.md");
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    runs("docs/guide.md");
}

#[test]
fn the_commands_about_copying_do_what_they_say() {
    runs("docs/copying.md");
}

#[test]
fn the_commands_for_users_of_other_tools_do_what_they_say() {
    runs("docs/migrating.md");
}

#[test]
fn the_recipes_do_what_they_say() {
    runs("docs/recipes.md");
}

#[test]
fn the_commands_of_the_cheat_sheet_can_be_run() {
    runs("docs/cheatsheet.md");
}

#[test]
fn the_commands_about_the_configuration_file_do_what_they_say() {
    runs("docs/config.md");
}

#[test]
fn the_commands_about_journals_rolling_runs_and_fleets_do_what_they_say() {
    for path in ["docs/journal.md", "docs/rolling.md", "docs/scale.md"] {
        runs(path);
    }
}

#[test]
fn every_code_block_says_what_it_is() {
    let (mut problems, mut needs, mut with) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for path in RUN {
        let text = read(path);
        problems.extend(indented_blocks(&text).iter().map(|line| format!("{path}:{line}: a block without a language")));
        for block in blocks(&text) {
            let at = format!("{path}:{}", block.line);
            if !block.has_commands() && !NOT_RUN.contains(&block.language.as_str()) {
                problems.push(format!("{at}: {:?} is not a language of these documents", block.language));
            }
            if !block.has_commands() && block.language == "text" && block.text.lines().any(is_command) {
                problems.push(format!("{at}: a command that no test runs"));
            }
            for (name, value) in block.attributes() {
                let fits = ATTRIBUTES.contains(&name) && !value.is_empty() && (name == "file" || block.has_commands());
                if !fits {
                    problems.push(format!("{at}: {name}={value} means nothing here"));
                }
            }
            needs.extend(block.attribute("needs").map(|what| format!("{at}: {what}")));
            if !block.has_commands() && !block.commands().is_empty() {
                needs.insert(format!("{at}: {}", block.language));
            }
            with.extend(block.attribute("with").map(|what| format!("{at}: {what}")));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(needs.len() <= MOST_NEEDS, "checked only with --dry-run: {needs:#?}");
    assert!(with.len() <= MOST_WITH, "run with stand-ins: {with:#?}");
}

/// Whether a line of a text is a command all the same.
fn is_command(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("$ ");
    ["pssh ", "pscp ", "pslurp ", "prsync ", "pnuke "].iter().any(|program| line.starts_with(program))
}

#[test]
fn every_option_is_in_the_guide_or_the_page_about_copying() {
    let pages = read("docs/guide.md") + &read("docs/copying.md");
    let option = regex_lite::Regex::new(r"(?:(-\w), )?(--[a-z][a-z-]+)").expect("a pattern");
    let env = Env::new();
    let (mut missing, mut count) = (BTreeSet::new(), 0);
    for program in Program::ALL {
        let help = env.bare(program).arg("--help").run().stdout_text();
        // The left column, or a line of nothing but options.
        let columns = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let columns = columns.filter_map(|line| line.split("  ").next());
        for found in columns.flat_map(|column| option.captures_iter(column)) {
            count += 1;
            // Not followed by more of a name.
            let is_told = |name: &str| {
                pages.split(name).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
            };
            let names = [found.get(1), found.get(2)];
            let is_told = names.into_iter().flatten().any(|name| is_told(name.as_str()));
            if !is_told && !["--help", "--version"].contains(&&found[2]) {
                missing.insert(found[2].to_owned());
            }
        }
    }
    assert!(count > 200, "{count} options");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readme_is_short_and_names_the_demo_and_the_tests() {
    let text = read("README.md");
    assert!(text.lines().count() < 250, "{} lines", text.lines().count());
    assert!(text.len() < 10 * 1024, "{} bytes", text.len());
    let commands: String =
        blocks(&text).iter().filter(|block| block.has_commands()).map(|block| block.text.as_str()).collect();
    let is_demo = |line: &str| line.starts_with("cargo run ") && line.ends_with("--example demo");
    assert!(commands.lines().any(is_demo), "{commands}");
    assert!(commands.lines().any(|line| line == "tests/run"), "{commands}");
}

/// As a terminal or a printer shows it: the lines of the file are those of the rendered page, but for the fences.
#[test]
fn the_cheat_sheet_fits_on_one_screen() {
    let text = read("docs/cheatsheet.md");
    assert!(text.lines().count() <= 50, "{} lines", text.lines().count());
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "wider than 100 columns: {wide:#?}");
}

#[test]
fn rust_code_is_that_of_the_library_s_own_documentation() {
    let source = read("src/lib.rs");
    for path in RUN {
        for block in blocks(&read(path)).iter().filter(|block| block.language == "rust") {
            for line in block.text.lines() {
                assert!(source.contains(&format!("//! {line}\n")), "{path}:{}: {line}", block.line);
            }
        }
    }
}

/// All Markdown files of the repository.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "docs", "docs/upstream", "benches", "examples", "packaging", "fuzz", "tests"] {
        let Ok(entries) = fs::read_dir(repository(directory)) else { continue };
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        let names = names.filter(|name| name.ends_with(".md"));
        found.extend(names.map(|name| if directory.is_empty() { name } else { format!("{directory}/{name}") }));
    }
    found.sort();
    found
}

#[test]
fn every_link_leads_somewhere() {
    let (mut problems, mut count) = (Vec::new(), 0);
    for path in documents() {
        for (line, link) in links(&read(&path)) {
            count += 1;
            if ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
                continue;
            }
            if let Err(problem) = leads(&path, &link) {
                problems.push(format!("{path}:{line}: {link}: {problem}"));
            }
        }
    }
    assert!(count > 50, "{count} links");
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Whether a link of a document leads to a file, and to a heading in it.
fn leads(document: &str, link: &str) -> Result<(), &'static str> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = match file {
        "" => repository(document),
        _ => repository(document).parent().expect("a directory").join(file),
    };
    if !target.exists() {
        return Err("no such file");
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let text = fs::read_to_string(&target).map_err(|_| "not a text")?;
    if anchors(&text).iter().any(|known| known == anchor) { Ok(()) } else { Err("no such heading") }
}

#[test]
fn every_page_is_in_the_book() {
    let listed: BTreeSet<String> = links(&read("docs/SUMMARY.md")).into_iter().map(|(_, link)| link).collect();
    let pages = documents().into_iter().filter_map(|path| path.strip_prefix("docs/").map(str::to_owned));
    let missing: Vec<String> = pages.filter(|page| page != "SUMMARY.md" && !listed.contains(page)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
}

/// Without mdBook there is nothing to build, and the test says so; `tests/run` names what it needs.
#[test]
fn the_book_is_built_and_its_links_lead_somewhere() {
    let version = Command::new("mdbook").arg("--version").stdin(Stdio::null()).output();
    let Ok(version) = version else {
        // Past libtest, which would keep the words of a test that passes.
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED: the book was not built, since mdbook is not installed (cargo install mdbook)"
        );
        return;
    };
    assert!(version.status.success(), "mdbook does not run: {version:?}");
    let book = tempfile::tempdir().expect("a directory");
    let built = Command::new("mdbook")
        .arg("build")
        .arg("--dest-dir")
        .arg(book.path())
        .arg(repository(""))
        .output()
        .expect("mdbook");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success() && !said.contains("ERROR") && !said.contains("WARN"), "{said}");
    let pages: Vec<PathBuf> =
        fs::read_dir(book.path()).expect("the book").map(|entry| entry.expect("an entry").path()).collect();
    let pages: Vec<&PathBuf> = pages.iter().filter(|page| page.extension().is_some_and(|end| end == "html")).collect();
    assert!(pages.len() >= 15, "{pages:?}");
    let link = regex_lite::Regex::new(r#"(?:href|src|srcset)="([^"]+)""#).expect("a pattern");
    let (mut problems, mut count) = (Vec::new(), 0);
    for page in pages.iter().filter(|page| !page.ends_with("print.html") && !page.ends_with("404.html")) {
        let text = fs::read_to_string(page).expect("a page");
        let main = text.split("<main>").nth(1).and_then(|text| text.split("</main>").next()).unwrap_or_default();
        for found in link.captures_iter(main) {
            let (file, anchor) = found[1].split_once('#').unwrap_or((&found[1], ""));
            if file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let target = if file.is_empty() { (*page).clone() } else { book.path().join(file) };
            let is_there = target.is_file()
                && (anchor.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| text.contains(&format!("id=\"{anchor}\""))));
            if !is_there {
                problems.push(format!("{}: {}", page.file_name().unwrap_or_default().display(), &found[1]));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 50, "{count} links");
}

#[test]
fn what_is_shown_is_compared_with_what_is_printed() {
    let fits = |shown: &str, printed: &str| compare::difference(shown, printed).is_none();
    assert!(fits("web1: a\nweb2: b\n", "web2: b\nweb1: a\n"), "hosts come in any order");
    assert!(!fits("web1: a\nweb1: b\n", "web1: b\nweb1: a\n"), "the lines of a host have one order");
    assert!(
        !fits("web1: a\n", "web1: a\nweb2: b\n") && !fits("web1: a\nweb2: b\n", "web1: a\n"),
        "no line is more or less"
    );
    assert!(!fits("web1: a\n", "web1: a\nweb1: a\n"), "nor twice");
    assert!(
        fits("web1: a\n...\n", "web1: a\nweb2: b\n") && !fits("web1: a\n...\n", "web2: b\n"),
        "a gap is some lines"
    );
    assert!(
        fits("done in 1.20 s\n", "done in 13 ms\n") && !fits("done in 1.20 s\n", "done in a while\n"),
        "times differ"
    );
    assert!(fits("[1] 16:32:33 [SUCCESS] web1\n", "[7] 01:02:03 [SUCCESS] web1\n"), "so do those of status lines");
    assert!(!fits("[1] 16:32:33 [SUCCESS] web1\n", "[1] 16:32:33 [FAILURE] web1\n"), "but not how a host ended");
    let hint = "pssh: a: connect\n  hint: x\npssh: b: ok\n";
    assert!(fits(hint, "pssh: b: ok\npssh: a: connect\n  hint: x\n"), "a hint goes with its host");
    assert!(!fits(hint, "pssh: a: connect\npssh: b: ok\n  hint: x\n"), "and with no other");
}

#[test]
fn a_block_that_lies_is_found() {
    let lab = Lab::new();
    let lies = [
        ("```console\n$ pssh -H web1 hostname\nweb1: web2\npssh: web1: ok (exit 0)\n```", "+ web1: web1"),
        ("```console\n$ pssh -q -H web1 'exit 3'\n...\n```", "exit status 5, not 0"),
        ("```console\n$ pssh -q -H web1 hostname\n$ echo $?\n5\n```", "- 5"),
        ("```sh\npssh -q -H web1 false\ntrue\n```", "exit status 5, not 0"),
        ("```sh needs=cargo\ncargo build\npssh --no-such-option -H web1 hostname\n```", "exit status 2, not 0"),
        ("```toml\n[defaults]\nnum_retries = 3\n```", "exit status 2, not 0"),
        ("```sh\nno-such-program\n```", "exit status 127, not 0"),
        ("```crontab\n0 3 * * *  pssh --no-such-option -H web1 ./backup\n```", "exit status 2, not 0"),
        ("```yaml\nscript:\n  - pssh --no-such-option -H web1 ./backup\n```", "exit status 2, not 0"),
    ];
    for (text, told) in lies {
        let blocks: Vec<Block> = blocks(text);
        let problem = session::problem(&blocks[0], &lab).unwrap_or_else(|| panic!("believed: {text}")).text;
        assert!(problem.contains(told), "{told:?} is not in {problem}");
    }
    let truth = "```console status=5\n$ pssh -H web1 'cat /etc/hostname; exit 3'\nweb1: host\npssh: web1: exit 3\n```";
    let blocks = blocks(truth);
    assert_eq!(session::problem(&blocks[0], &lab).map(|problem| problem.text), None);
}
