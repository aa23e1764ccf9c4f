//! The manual page and the completions: fresh, and of use.

use std::fs;
use std::path::Path;

use pssh::cli::generate::Artefact;
use pssh::plan::program::Program;

use crate::bin::Env;

fn of_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn what_is_in_the_repository_is_what_the_programs_generate() {
    let env = Env::new();
    for program in Program::ALL {
        for (word, artefact) in ["man", "bash", "zsh", "fish"].into_iter().zip(Artefact::ALL) {
            let run = env.bare(program).args(["--generate", word]).run();
            run.exits(0);
            let (name, path) = (program.name(), artefact.path(program));
            let kept = fs::read(of_repository(&path)).unwrap_or_default();
            assert!(run.stdout == kept, "{path} is stale: cargo run --bin {name} -- --generate {word} > {path}");
        }
    }
    let run = env.pssh().args(["--generate", "poem"]).run();
    run.exits(2).stderr_has("[possible values: man, bash, zsh, fish]");
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
