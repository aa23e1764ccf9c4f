//! The manual page and the completions: fresh, and of use.

use std::fs;
use std::path::Path;

use pssh::internal::{Artefact, Program};

use crate::bin::Env;
use crate::documents::markdown::blocks;

fn of_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn what_is_in_the_repository_is_what_the_programs_generate() {
    let env = Env::new();
    for program in Program::ALL {
        for (word, artefact) in ["man", "config-man", "bash", "zsh", "fish"].into_iter().zip(Artefact::ALL) {
            let run = env.bare(program).args(["--generate", word]).run();
            run.exits(0);
            let (name, path) = (program.name(), artefact.path(program));
            let kept = fs::read(of_repository(&path)).unwrap_or_default();
            assert!(run.stdout == kept, "{path} is stale: cargo run --bin {name} -- --generate {word} > {path}");
        }
    }
    let run = env.pssh().args(["--generate", "poem"]).run();
    run.exits(2).stderr_has("[possible values: man, config-man, bash, zsh, fish]");
    assert_eq!(Artefact::Man.path(Program::Pslurp), "man/pslurp.1");
}

#[test]
fn the_manual_tells_of_every_option_and_outcome() {
    let page = fs::read_to_string(of_repository("man/pssh.1")).expect("the manual page");
    let page = page.replace('\\', "");
    for words in ["--host-config", "--run-as", "EXIT STATUS", "OUTCOMES", "hostkey", "PSSH_PAR", "EXAMPLES"] {
        assert!(page.contains(words), "{words} is missing");
    }
}

#[test]
fn the_page_of_the_configuration_file_has_every_key_and_good_examples() {
    let page = fs::read_to_string(of_repository("docs/config.md")).expect("the page");
    let manual = fs::read_to_string(of_repository("man/pssh-config.5")).expect("the manual page").replace('\\', "");
    let env = Env::new();
    fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    env.file(".config/pssh/config.toml", "[defaults]\nno-such-key = 1\n");
    let run = env.bare(Program::Pssh).args(["-H", "x", "--dry-run", "true"]).run();
    run.exits(2).stderr_has("no-such-key");
    let told = run.stderr_text();
    let keys = told.split("expected ").nth(1).expect("the keys").trim().split(", ");
    let mut count = 0;
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "{key} is missing in docs/config.md");
        assert!(manual.contains(&format!("fB{key}fR = ")), "{key} is missing in the manual page");
        count += 1;
    }
    assert!(count > 10, "{told}");
    // The last one shows a mistake.
    let good = page.split("\n## Mistakes").next().unwrap_or_default();
    let examples = blocks(good).into_iter().filter(|block| block.language == "toml").map(|block| block.text);
    let examples: Vec<String> = examples.collect();
    assert!(examples.len() >= 3);
    for example in &examples {
        env.file(".config/pssh/config.toml", example);
        env.bare(Program::Pssh).args(["-H", "x", "--dry-run", "true"]).run().exits(0);
    }
    // As the page says of the first one.
    env.file(".config/pssh/config.toml", &examples[0]);
    let run = env.bare(Program::Pssh).args(["-w", "@all", "--dry-run", "true"]).run();
    run.exits(0);
    assert_eq!(run.stdout_text().lines().count(), 22);
}

#[test]
fn the_help_of_every_program_fits_three_screens() {
    const SCREENS: usize = 3;
    let env = Env::new();
    for program in Program::ALL {
        let run = env.bare(program).variable("COLUMNS", "80").arg("--help").run();
        run.exits(0);
        let (name, help) = (program.name(), run.stdout_text());
        assert!(help.contains("--connect-timeout <TIME>  Give up connecting"), "{name} --help:\n{help}");
        let count = help.lines().count();
        assert!(count <= SCREENS * 50, "{name} --help has {count} lines:\n{help}");
        if let Some(wide) = help.lines().find(|line| line.chars().count() > 80) {
            panic!("{name} --help has a line of {} columns: {wide}", wide.chars().count());
        }
    }
}

/// What `--help` leaves out for its length.
#[test]
fn the_manual_has_what_the_help_has_no_room_for() {
    for program in Program::ALL {
        let name = program.name();
        let page = fs::read_to_string(of_repository(&format!("man/{name}.1"))).expect("the manual page");
        let page = page.replace('\\', "");
        for words in ["May be repeated.", "0 means no limit.", "[user@]host[:port] [user] [key=value]", "%h, %p and %r"]
        {
            assert!(page.contains(words), "{words} is missing in {name}(1)");
        }
    }
    let page = fs::read_to_string(of_repository("man/pssh.1")).expect("the manual page").replace('\\', "");
    for words in
        ["VALUES FOR EACH HOST", "JSON Lines of values", "AcceptEnv", "put no quotes around it", "Without them, % is"]
    {
        assert!(page.contains(words), "{words} is missing");
    }
}

#[test]
fn every_manual_page_names_the_documents_where_the_packages_install_them() {
    let stage = fs::read_to_string(of_repository("packaging/stage")).expect("the script");
    assert!(stage.contains("install -m 644 docs/*.md \"$share/doc/pssh-rs/docs/\""), "{stage}");
    let pages = Program::ALL.map(|program| Artefact::Man.path(program));
    for path in pages.into_iter().chain(["man/pssh-config.5".to_owned()]) {
        let page = fs::read_to_string(of_repository(&path)).expect("the manual page").replace('\\', "");
        let documents = page.split("/usr/share/doc/pssh-rs/docs").nth(1).unwrap_or_else(|| panic!("{path} names none"));
        let named: Vec<&str> = documents
            .split([' ', ',', '\n', '/', '.'])
            .zip(documents.split([' ', ',', '\n', '/', '.']).skip(1))
            .filter(|(_, end)| *end == "md")
            .map(|(name, _)| name)
            .collect();
        assert!(!named.is_empty(), "{path}: {documents}");
        for name in named {
            assert!(of_repository(&format!("docs/{name}.md")).exists(), "{path} names {name}.md");
        }
    }
}

#[test]
fn the_manual_and_the_guide_tell_that_max_status_may_be_two() {
    for program in Program::ALL {
        let path = Artefact::Man.path(program);
        let page = fs::read_to_string(of_repository(&path)).expect("the manual page").replace('\\', "");
        let status = page.split(".SH EXIT STATUS").nth(1).or_else(|| page.split(".SH \"EXIT STATUS\"").nth(1));
        let status =
            status.and_then(|text| text.split(".SH").next()).unwrap_or_else(|| panic!("{path}: no EXIT STATUS"));
        assert!(status.contains("With --max-status, a host may have ended with 2, too"), "{path}: {status}");
    }
    let guide = fs::read_to_string(of_repository("docs/guide.md")).expect("the guide");
    assert!(guide.contains("With `--max-status`, the status is the largest of the hosts, which may be 1 or 2, too."));
}
