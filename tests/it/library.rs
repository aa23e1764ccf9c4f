//! The library's surface: events as they happen, copies, the one error, and the list of what is public.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pssh::{Class, Client, Error, Happening, Outcome, Run, Settings, Source, Stream, WantedVariable};

use crate::bin::Env;
use crate::client::{class, text};
use crate::sshd::{Fleet, Sshd, hosts};

const SOON: Option<Duration> = Some(Duration::from_secs(30));

fn client(env: &Env, sshd: &Sshd) -> Client {
    let settings = Fleet::settings_of(env).identity(env.ssh_dir().join("id_ed25519"));
    Client::new(sshd.hosts(), settings).expect("hosts")
}

#[track_caller]
fn all_ok(run: &Run) {
    let tally = run.join(SOON).expect("it ends");
    let outcomes: Vec<_> = run.hosts().iter().map(|host| host.outcome().map(Outcome::to_string)).collect();
    assert_eq!(tally.count(Class::Ok), run.hosts().len(), "{outcomes:?}");
}

/// The words of a host's events, with its output joined.
fn words(run: &Run, number: usize) -> String {
    let (mut words, mut last) = (String::new(), None);
    for event in run.events().filter(|event| event.host.number() == number) {
        match event.what {
            Happening::Output { stream, bytes } => {
                if last.replace(stream) != Some(stream) {
                    words += if stream == Stream::Stdout { "out:" } else { "err:" };
                }
                words += String::from_utf8_lossy(&bytes).trim();
                words.push(' ');
            }
            Happening::Started => words += "started ",
            Happening::Connected => words += "connected ",
            Happening::Ended => words += "ended",
            what => drop(write!(words, "{what:?} ")),
        }
    }
    words
}

#[test]
fn events_come_in_order_and_once() {
    let (env, sshd) = hosts(2);
    let client = client(&env, &sshd);
    // The second time on the same sessions, the third time after the end.
    for wait in [false, false, true] {
        let run = client.run_command("echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c; exit 3").expect("it starts");
        if wait {
            run.join(SOON).expect("it ends");
        }
        let words = words(&run, 1);
        let streamed = words.replace("out:a\nc err:b ", "out:a err:b out:c ");
        assert_eq!(streamed, "started connected out:a err:b out:c ended");
        assert!(run.finished() && run.events().next().is_none());
        assert!(run.hosts().iter().all(|host| text(host.stdout()).is_empty()), "events have returned it");
    }
    assert_eq!(sshd.connections(), 2);
}

#[test]
fn much_output_is_complete_in_events() {
    const LINES: usize = 300_000;
    let (env, sshd) = hosts(1);
    let run = client(&env, &sshd).run_command(format!("seq 1 {LINES}")).expect("it starts");
    let mut bytes = Vec::new();
    for event in run.events() {
        if let Happening::Output { bytes: more, .. } = event.what {
            assert!(more.len() <= 64 << 10);
            bytes.extend(more);
        }
    }
    let lines = String::from_utf8(bytes).expect("text");
    assert!(lines.lines().zip(1..).all(|(line, number)| line == number.to_string()));
    assert_eq!(lines.lines().count(), LINES);
}

#[test]
fn waiting_for_an_event_has_an_end() {
    let (env, sshd) = hosts(1);
    let run = client(&env, &sshd).run_command("echo in; sleep 2").expect("it starts");
    let mut events = run.events();
    let is_output = |what: &Happening| matches!(what, Happening::Output { .. });
    assert!(events.by_ref().any(|event| is_output(&event.what)));
    let begun = Instant::now();
    assert!(events.next_within(Duration::from_millis(100)).is_none());
    assert!(begun.elapsed() < Duration::from_millis(1500) && !run.finished());
    assert!(events.any(|event| matches!(event.what, Happening::Ended)));
}

#[test]
fn failures_have_hints_without_options() {
    let (env, _sshd) = hosts(1);
    let mut settings = Fleet::settings_of(&env).retry(1, Duration::ZERO).connect_timeout(Duration::from_secs(5));
    settings.known_hosts = Vec::new();
    let run = Client::new(["127.0.0.1:1"], settings).expect("hosts").run_command("true").expect("it starts");
    run.join(SOON).expect("it ends");
    let host = &run.hosts()[0];
    assert_eq!(class(host), Some(Class::Connect));
    assert!(host.hint().is_some_and(|hint| hint.contains("sshd") && !hint.contains(" -")), "{:?}", host.hint());
}

#[test]
fn impossible_settings_are_refused_by_name_before_the_first_connection() {
    let (env, sshd) = hosts(1);
    let said = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Fleet::settings_of(&env);
        change(&mut settings);
        let client = Client::new(sshd.hosts(), settings).expect("hosts");
        client.run_command("true").err().map(|error| error.to_string()).unwrap_or_default()
    };
    let variable = |name: &str| WantedVariable { name: name.to_owned(), value: Some("1".into()) };
    assert_eq!(said(&|settings| settings.user = Some(String::new())), "setting user \"\": it is empty");
    assert_eq!(
        said(&|settings| settings.user = Some("-l".to_owned())),
        "setting user \"-l\": a user name cannot start with - or @"
    );
    assert_eq!(said(&|settings| *settings = settings.clone().password("")), "setting password: it is empty");
    assert_eq!(
        said(&|settings| (settings.ipv4_only, settings.ipv6_only) = (true, true)),
        "setting ipv4_only and setting ipv6_only: no address is both"
    );
    for (name, problem) in [
        ("A=B", "the name of a variable cannot have a ="),
        ("A B", "the name of a variable cannot have blanks"),
        ("", "the name of a variable is missing"),
    ] {
        let expected = format!("setting variables {name:?}: {problem}");
        assert_eq!(said(&|settings| settings.variables = vec![variable(name)]), expected);
    }
    assert_eq!(
        said(&|settings| settings.password = Some(Source::Ask)),
        "Source::Ask: with the setting may_ask off, nobody is asked"
    );
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn directories_that_are_not_there_are_created_by_a_copy() {
    let (env, sshd) = hosts(1);
    let local = env.file("local", "text");
    let remote = env.path("none").join("further").join("file");
    all_ok(&client(&env, &sshd).copy_file(&local, &remote).expect("it starts"));
    assert_eq!(fs::read(&remote).expect("a file"), b"text");
}

#[test]
fn files_are_copied_both_ways_on_the_same_sessions() {
    let (env, sshd) = hosts(2);
    let client = client(&env, &sshd);
    all_ok(&client.run_command("true").expect("it starts"));
    // Both hosts have the same disk.
    let remotes = ["one", "two"].map(|name| env.path(name));
    let contents = vec![b'x'; 3 << 20];
    let local = env.file("local", &contents);
    let run = client.upload(&local, "").remotes(&remotes).checksum().run().expect("it starts");
    let mut last = BTreeMap::new();
    for event in run.events() {
        if let Happening::Copied(progress) = event.what {
            last.insert(event.host.number(), progress);
        }
    }
    all_ok(&run);
    assert!(last.len() == 2 && last.values().all(|progress| progress.done == 3 << 20 && progress.total == 3 << 20));
    assert!(remotes.iter().all(|path| fs::read(path).is_ok_and(|bytes| bytes == contents)));

    // Each host its own file.
    let locals = ["a", "b"].map(|name| env.file(name, name));
    all_ok(&client.upload("", "").locals(&locals).remotes(&remotes).run().expect("it starts"));
    assert_eq!(remotes.each_ref().map(|path| fs::read(path).expect("a file")), [b"a", b"b"]);

    // Below a directory for each host, or into one of its own.
    let into = env.path("into");
    let run = client.copy_remote_file(&remotes[0], &into).expect("it starts");
    all_ok(&run);
    for host in &run {
        let directory = host.directory().expect("a directory");
        assert!(directory.starts_with(&into) && directory != into);
        assert_eq!(fs::read(directory.join("one")).expect("a file"), b"a");
    }
    let own = ["x", "y"].map(|name| env.path(name));
    all_ok(&client.download("", "").locals(&own).remotes(&remotes).run().expect("it starts"));
    assert_eq!([own[0].join("one"), own[1].join("two")].map(|path| fs::read(path).expect("a file")), [b"a", b"b"]);

    // Commands and copies take turns on the same two sessions.
    all_ok(&client.run_command("true").expect("it starts"));
    assert_eq!(sshd.connections(), 2);
}

#[test]
fn directories_are_copied_whole() {
    let (env, sshd) = hosts(1);
    let client = client(&env, &sshd);
    fs::create_dir_all(env.path("tree/inner")).expect("a directory");
    let file = env.file("tree/inner/file", "text");
    all_ok(&client.copy_file(env.path("tree"), env.path("copied")).expect("it starts"));
    assert_eq!(fs::read(env.path("copied/inner/file")).expect("a file"), b"text");
    let back = client.copy_remote_file(env.path("copied"), env.path("back")).expect("it starts");
    all_ok(&back);
    let directory = back.hosts()[0].directory().expect("a directory").to_owned();
    assert_eq!(fs::read(directory.join("copied/inner/file")).expect("a file"), b"text");
    // What the host refuses is the outcome of that host.
    let refused = client.copy_file(&file, "/proc/no/such/place").expect("it starts");
    assert_eq!(refused.join(SOON).expect("it ends").count(Class::Copy), 1);
    assert!(refused.hosts()[0].exception().is_some());
}

#[test]
fn copies_that_cannot_work_are_refused_before_anything_connects() {
    let (env, sshd) = hosts(2);
    let client = client(&env, &sshd);
    let file = env.file("file", "text");
    let problem = |result: Result<Run, Error>| result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(problem(client.copy_file(env.path("missing"), "/tmp/x")).contains("missing"));
    assert!(problem(client.copy_file(&file, "")).contains("is empty"));
    assert!(problem(client.copy_file("", "/tmp/x")).contains("is empty"));
    assert!(problem(client.copy_file(&file, "/tmp/a\0b")).contains("NUL"));
    let fetched = |locals: [&str; 2]| client.download("/etc/hostname", "").locals(locals).run();
    assert!(problem(fetched(["same", "same"])).contains("overwrite each other"));
    let few = client.upload(&file, "/tmp/x").remotes(["/tmp/one"]).run();
    assert_eq!(problem(few), "1 names for 2 hosts");
    assert!(problem(client.upload(env.path("."), "/tmp/x").run()).contains("directory"));
    let sudo = client.upload(&file, "/tmp/x").sudo(Some("a b")).run();
    assert!(problem(sudo).contains("\"a b\""));
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn one_error_is_enough() {
    fn with_anyhow() -> anyhow::Result<()> {
        drop(Client::new(["web1,web2"], Settings::for_library()?)?);
        Ok(())
    }
    fn alone() -> Result<(), Error> {
        let settings = Settings::for_library()?.jump_host("a b")?;
        Client::new(["web1"], settings)?.run_command("true")?.join(None)?;
        Ok(())
    }
    assert!(with_anyhow().is_err_and(|error| error.to_string().contains("separated by blanks")));
    assert!(alone().is_err_and(|error| error.to_string().contains("jump host \"a b\"")));
}

#[test]
fn a_library_build_has_no_command_line() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--no-default-features"])
        .args(["--features", "vendored", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"ssh2"), "{tree}");
    for program in ["clap", "clap_mangen", "indicatif", "anyhow", "encoding_rs", "similar", "console"] {
        assert!(!names.contains(&program), "{program} in {tree}");
    }
}

#[test]
fn every_parameter_of_the_reference_client_has_an_example() {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs"));
    let page = read(&docs.join("library.md"));
    let rows: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("| ParallelSSHClient")).skip(2).collect();
    let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 35, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells[2].starts_with('['), "no example: {row}");
        for link in cells[2].split(", ") {
            let (name, path) = link.strip_prefix('[').and_then(|link| link.split_once("](")).expect(row);
            let text = read(&docs.join(path.trim_end_matches(')')));
            let Some(item) = name.strip_prefix('`').map(|name| name.trim_end_matches('`')) else { continue };
            // The example is in the comment above the item.
            let item = item.rsplit("::").next().unwrap_or_default();
            let starts = ["pub fn ", "pub struct ", "impl "].map(|start| format!("{start}{item}"));
            let is_item = |line: &&str| starts.iter().any(|start| line.trim_start().starts_with(start));
            let lines: Vec<&str> = text.lines().collect();
            let has_example = lines.iter().enumerate().filter(|(_, line)| is_item(line)).any(|(place, _)| {
                let comment = lines[..place].iter().rev().map(|line| line.trim_start());
                comment
                    .take_while(|line| line.starts_with("//") || line.starts_with("#["))
                    .any(|line| line == "/// ```")
            });
            assert!(has_example, "{name} in {path} has no example");
        }
    }
}

/// The file with the list of everything public.
const API: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/public-api.txt");
/// Writes it anew if set.
const REFRESH: &str = "PSSH_REFRESH";

/// The names that `lib.rs` exports, each with the module from which it comes.
fn exported(lib: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for item in lib.split("pub use crate::").skip(1) {
        let item = item.split(';').next().unwrap_or_default().replace('\n', " ");
        let (module, list) = item.rsplit_once("::{").unwrap_or_else(|| item.rsplit_once("::").unwrap_or((&item, "")));
        for name in list.trim_end_matches('}').split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = name.split(" as ").next().unwrap_or_default();
            names.push((module.replace("::", "/"), name.to_owned()));
        }
    }
    names
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else {
            found.push(entry);
        }
    }
}

/// The public lines of the block of a type: fields, variants, functions. rustfmt puts each where this expects it.
fn public_lines(block: &[&str], is_enum: bool, is_trait_impl: bool) -> Vec<String> {
    let (mut lines, mut is_hidden, mut open) = (Vec::new(), false, None::<String>);
    for line in &block[1..] {
        let code = line.trim();
        if code == "#[doc(hidden)]" {
            is_hidden = true;
        } else if let Some(signature) = &mut open {
            *signature += if code.starts_with(')') || signature.ends_with('(') { "" } else { " " };
            *signature += code;
        } else if is_trait_impl || code.starts_with("//") || code.starts_with("#[") || code.is_empty() {
            continue;
        } else if is_enum || line.starts_with("    pub ") && !code.starts_with("pub(") {
            open = Some(code.to_owned());
        }
        if let Some(signature) = &open {
            let is_function = signature.starts_with("pub fn") || signature.starts_with("pub const fn");
            let is_over =
                if is_function { signature.ends_with('{') } else { signature.ends_with([',', ';', '{', '}']) };
            if is_over {
                if !is_hidden {
                    lines.push(signature.trim_end_matches([' ', '{', ',']).replace(",)", ")"));
                }
                (open, is_hidden) = (None, false);
            }
        }
    }
    lines
}

/// Everything public, as rustfmt writes it.
fn api() -> String {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let names = exported(&fs::read_to_string(source.join("lib.rs")).expect("lib.rs"));
    let mut files = Vec::new();
    sources(source, &mut files);
    files.sort();
    let mut items: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(source).expect("below").with_extension("");
        let path = path.to_string_lossy().trim_end_matches("/mod").to_owned();
        let text = fs::read_to_string(&file).expect("a source");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let is_type = ["pub struct ", "pub enum "].iter().any(|start| line.starts_with(start));
            if !is_type && !line.starts_with("impl") && !line.starts_with("pub fn ") {
                continue;
            }
            let subject = line.rsplit(" for ").next().unwrap_or_default();
            let subject = subject.trim_start_matches("pub struct ").trim_start_matches("pub enum ");
            let subject = match subject.strip_prefix("impl") {
                Some(rest) if rest.starts_with('<') => rest.split_once("> ").unwrap_or_default().1,
                Some(rest) => rest,
                None => subject.trim_start_matches("pub fn "),
            };
            let subject = subject.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| !word.is_empty());
            let Some((_, name)) = names.iter().find(|(module, name)| {
                subject == Some(name) && (path == *module || path.starts_with(&format!("{module}/")))
            }) else {
                continue;
            };
            let end = if line.ends_with(';') { Some(0) } else { lines[place..].iter().position(|line| *line == "}") };
            let block = &lines[place..place + end.unwrap_or_default().max(1)];
            let is_trait_impl = line.contains(" for ");
            let list = items.entry(name).or_default();
            if !line.starts_with("impl") || is_trait_impl {
                list.push(line.trim_end_matches([' ', '{']).to_owned());
            }
            if !line.ends_with(';') {
                let inner = public_lines(block, line.starts_with("pub enum"), is_trait_impl);
                list.extend(inner.into_iter().map(|line| format!("    {line}")));
            }
        }
    }
    let mut text = String::new();
    for (name, mut lines) in items {
        lines.sort_by_key(|line| (line.starts_with("impl"), line.starts_with("    pub fn"), !line.starts_with("pub")));
        let _ = writeln!(text, "{name}\n  {}\n", lines.join("\n  "));
    }
    text
}

/// Types of the standard library in the public interface.
#[rustfmt::skip]
const STANDARD: &[&str] = &[
    "Arc", "AsRef", "Box", "Duration", "Instant", "Into", "IntoIterator", "Item", "Iterator", "OsStr", "OsString", "Option", "Path",
    "PathBuf", "Result", "Self", "String", "Vec",
];

#[test]
fn nothing_public_takes_or_returns_what_a_program_cannot_name() {
    let api = api();
    let names: BTreeSet<&str> = api.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).collect();
    let unknown: Vec<String> = api
        .lines()
        .filter(|line| line.trim_start().starts_with("pub ") && !line.ends_with(");"))
        .map(|line| line.split(" = ").next().unwrap_or(line))
        .flat_map(|line| {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            // Constants and type parameters have only capitals.
            let is_type = |word: &&str| {
                word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_lowercase())
            };
            words
                .filter(is_type)
                .filter(|word| !names.contains(word) && !STANDARD.contains(word))
                .map(move |word| format!("{word} in {line}"))
        })
        .collect();
    assert!(unknown.is_empty(), "not exported by lib.rs: {unknown:#?}");
}

#[test]
fn the_list_of_everything_public_is_fresh() {
    let api = api();
    for line in
        ["pub fn run_command(&self", "pub enum Error", "pub fn events(&self)", "pub idle_timeout: Option<Duration>"]
    {
        assert!(api.contains(line), "{line:?} is missing in\n{api}");
    }
    if std::env::var_os(REFRESH).is_some() {
        fs::write(API, &api).expect("the list");
    }
    let committed = fs::read_to_string(API).unwrap_or_default();
    let news: Vec<&str> = api.lines().filter(|line| !committed.lines().any(|other| other == *line)).collect();
    let gone: Vec<&str> = committed.lines().filter(|line| !api.lines().any(|other| other == *line)).collect();
    assert!(
        api == committed,
        "the public interface has changed: if that is meant, run this test with {REFRESH}=1, and say so in CHANGELOG.md\nnew: {news:#?}\ngone: {gone:#?}"
    );
}

/// The page about the library names only what a program can use.
#[test]
fn what_the_page_about_the_library_names_is_public() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/library.md")).expect("the page");
    let api = api();
    let name = regex_lite::Regex::new(r"`([A-Z][A-Za-z]+)::([A-Za-z_]+)`").expect("a pattern");
    let (mut count, mut missing) = (0, Vec::new());
    for found in name.captures_iter(&page) {
        let (whole, kind, member) = (&found[0], &found[1], &found[2]);
        let block = api.split("\n\n").find(|block| block.trim_start().lines().next() == Some(kind)).unwrap_or_default();
        let mut words = block.lines().skip(1).flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        count += 1;
        if !words.any(|word| word == member) {
            missing.push(whole.to_owned());
        }
    }
    assert!(count > 30, "{count} names");
    assert!(missing.is_empty(), "not public: {missing:?}");
}
