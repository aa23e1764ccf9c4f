//! The completions in the shells that they are for: bash and zsh on a terminal, fish by its own `complete -C`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pssh::internal::Program;

use crate::bin::{Env, Pssh, path_of};
use crate::pty::Pty;

/// A home that knows some hosts, and has a file and a directory.
fn home() -> Env {
    let env = Env::new();
    fs::write(env.ssh_dir().join("config"), "Host alpha1 *.alpha\n  User x\nInclude more/*\nMatch all\n")
        .expect("a file");
    fs::create_dir(env.ssh_dir().join("more")).expect("a directory");
    env.file(
        ".ssh/more/one",
        "Host=\"bravo1\" !negated1 evil1;id $(evil1) 'evil1 x'\nInclude more/one\nNonsense here\n",
    );
    env.trust("charlie1,192.0.2.3 ssh-ed25519 AAAA\n[delta1]:2222 ssh-ed25519 AAAA\n|1|hashed1=|x= ssh-ed25519 AAAA\n");
    env.trust(
        "@cert-authority marked1 ssh-ed25519 AAAA\n# comment1 x\n*.wild1 ssh-ed25519 AAAA\nalpha1 ssh-ed25519 AAAA\n",
    );
    fs::create_dir_all(env.path(".config/pssh")).expect("a directory");
    // No command of the user is run for a completion.
    let ran = env.path("ran").display().to_string();
    env.file(
        ".config/pssh/config.toml",
        format!(
            "group-command = 'touch {ran}; sleep 60; echo %g'\ngroup-list = 'touch {ran}'\n[groups]\ngolf = 'web[1-9]'\n\
             hotel = '@golf'\n[sources.india]\ncommand = 'touch {ran}; sleep 60; echo %g'\nlist = 'touch {ran}; sleep 60'\n"
        ),
    );
    env.file("zzfile", "");
    fs::create_dir(env.path("yydir")).expect("a directory");
    env
}

/// What `--generate hosts` prints of the home, without what the machine itself knows.
const KNOWN: &str = "192.0.2.3\n@golf\n@hotel\n@india:\nalpha1\nbravo1\ncharlie1\ndelta1:2222\n";

fn of_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The programs where a shell finds them, before all others.
fn with_path(run: Pssh) -> Pssh {
    let programs = Path::new(path_of(Program::Pssh)).parent().expect("a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    run.variable("PATH", format!("{programs}:{path}"))
}

/// A line as it is typed before TAB, and its last word then.
const COMPLETED: &[(&str, &str)] = &[
    ("pssh -H al", "alpha1"),
    ("pssh -w alpha1,br", "alpha1,bravo1"),
    ("pssh --only cha", "charlie1"),
    ("pssh --exclude=cha", "--exclude=charlie1"),
    ("pssh --nodes=alpha1,cha", "--nodes=alpha1,charlie1"),
    ("pssh -p 3 -w @go", "@golf"),
    ("pssh -w alpha1,@ho", "alpha1,@hotel"),
    ("pssh -w @in", "@india:"),
    ("pssh -w alpha1,@in", "alpha1,@india:"),
    ("pssh -w @india:x", "@india:x"),
    ("pssh -J me@al", "me@alpha1"),
    ("pssh -J me@alpha1:22,br", "me@alpha1:22,bravo1"),
    ("pssh --proxy-host br", "bravo1"),
    ("pssh -H 'alpha1 br", "alpha1 bravo1"),
    ("pssh -H del", "delta1:2222"),
    ("pssh -H delta1:2", "delta1:2222"),
    ("pslurp -H br", "bravo1"),
    ("prsync --jump br", "bravo1"),
    ("pnuke --exclude br", "bravo1"),
    // Neither patterns nor what is hashed, marked or a comment.
    ("pssh -H negat", "negat"),
    ("pssh -H hash", "hash"),
    ("pssh -H mark", "mark"),
    ("pssh -H comm", "comm"),
    ("pssh -H wil", "wil"),
    // Nor what a shell would act on.
    ("pssh -H evi", "evi"),
    // Values.
    ("pssh --host-key-check acc", "accept-new"),
    ("pssh --format=ga", "--format=gather"),
    ("pssh --color al", "always"),
    ("pssh --stop-on-unreached n", "none"),
    ("pssh -l roo", "root"),
    ("pssh --order sh", "shuffle"),
    ("pssh --order=re", "--order=reverse"),
    ("pssh --rerun unr", "unreached"),
    ("pssh --shard sl", "slurm"),
    ("pssh --shard zz", "zz"),
    ("pssh --stop-on-errors=no", "--stop-on-errors=none"),
    ("pssh --stop-on-errors=zz", "--stop-on-errors=zz"),
    ("pssh --confirm=ea", "--confirm=each"),
    ("pssh --list=fo", "--list=folded"),
    ("pssh --success 0,lost,", "0,lost,signal"),
    ("pscp --order li", "list"),
    // Options, up to the command.
    ("pssh --dry", "--dry-run"),
    ("pssh -H alpha1 --dry", "--dry-run"),
    ("pssh -H alpha1 ls --dry", "--dry"),
    // Files where a file is meant, and nowhere else.
    ("pssh -h zz", "zzfile"),
    ("pssh --script zz", "zzfile"),
    ("pssh --host-args zz", "zzfile"),
    ("pssh -o yy", "yydir/"),
    ("pssh -o zz", "zz"),
    ("pssh -p zz", "zz"),
    ("pssh -H zz", "zz"),
    ("pssh -t zz", "zz"),
    ("pssh --env zz", "zz"),
    ("pssh -H alpha1 zqjx", "zqjx"),
    ("pssh -H alpha1 ls zz", "zzfile"),
    ("pssh -H alpha1 unam", "uname"),
    ("pscp -H alpha1 zz", "zzfile"),
    ("prsync -H alpha1 -r yy", "yydir/"),
    ("pslurp -H alpha1 zz", "zz"),
    ("pnuke -H alpha1 zz", "zz"),
];

/// Completes all lines in a shell on a terminal: TAB, then the line becomes the arguments of a command that prints them.
fn complete_on_a_terminal(shell: &str, prepare: &str) {
    let env = home();
    let pty = Pty::new();
    pty.resize(200, 50);
    let run = with_path(env.bare_pssh()).variable("TERM", "xterm").variable("PS1", "ready> ");
    let running = pty.show_shell(run, shell).limit(300).start();
    // The mark is not in what is typed.
    pty.type_in(&format!(
        "{prepare}\nshow() {{ printf '[%s:' $#; printf '<%s>' \"${{@: -1}}\"; echo ']'; }}; echo 'pre''pared'\n"
    ));
    pty.wait_for("prepared\r\n", 1);
    for (number, (line, word)) in COMPLETED.iter().enumerate() {
        let before = pty.shown().len();
        pty.type_in(&format!("{line}\t"));
        pty.type_in("\x01show \n");
        pty.wait_for("]\r\n", number + 1);
        let shown = pty.shown()[before..].to_owned();
        let got = shown.rsplit_once(":<").and_then(|(_, rest)| rest.split_once(">]")).map(|(got, _)| got.to_owned());
        assert_eq!(got.as_deref(), Some(*word), "{shell}: {line}: {shown:?}");
    }
    pty.type_in("exit\n");
    running.finish();
}

#[test]
fn bash_completes() {
    let sources = Program::ALL.map(|program| of_repository(&format!("completions/{}.bash", program.name())));
    let sources = sources.map(|path| format!("source {}", path.display())).join("; ");
    complete_on_a_terminal(
        "bash --norc --noprofile -i",
        &format!("set +o history; bind 'set bell-style none'; {sources}"),
    );
}

#[test]
fn zsh_completes() {
    let directory = of_repository("completions");
    // Found as a package puts them, by compinit.
    let prepare = format!(
        "unsetopt beep auto_remove_slash; bindkey -e; fpath=({} $fpath); autoload -U compinit; compinit -u -d ~/dump",
        directory.display()
    );
    complete_on_a_terminal("zsh -f -i", &prepare);
}

#[test]
fn fish_completes() {
    let env = home();
    let scripts = Program::ALL.map(|program| of_repository(&format!("completions/{}.fish", program.name())));
    let sources = scripts.map(|path| format!("source {}", path.display())).join("; ");
    let lines: Vec<String> = COMPLETED.iter().map(|(line, _)| format!("\"{line}\"")).collect();
    let script = format!("{sources}; for line in {}; echo \"= $line\"; complete -C \"$line\"; end", lines.join(" "));
    let programs = Path::new(path_of(Program::Pssh)).parent().expect("a directory");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &script]).env("HOME", env.path("")).env("PATH", path);
    fish.env_remove("XDG_CONFIG_HOME").current_dir(env.path(""));
    let output = fish.output().expect("fish is installed by tests/run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut answers = text.split("= ").skip(1);
    for (line, word) in COMPLETED {
        let answer = answers.next().expect("an answer");
        let mut candidates = answer.lines().skip(1).map(|line| line.split('\t').next().unwrap_or_default());
        let typed = line.rsplit(' ').next().unwrap_or_default();
        let is_completed = !line.ends_with(word);
        let all: Vec<&str> = candidates.by_ref().collect();
        if is_completed {
            assert_eq!(all, [*word], "fish: {line}");
        } else {
            // fish also offers what merely has these letters somewhere, such as a command of this machine.
            let all: Vec<&str> = all.into_iter().filter(|candidate| candidate.starts_with(typed)).collect();
            assert_eq!(all, [] as [&str; 0], "fish: {line}");
        }
    }
}

#[test]
fn the_hosts_of_completions_are_printed_at_once_and_without_complaints() {
    let env = home();
    let of_machine = |text: &str| text.lines().filter(|line| !KNOWN.contains(line)).count();
    let run = env.bare_pssh().args(["--generate", "hosts"]).run();
    run.exits(0).stderr_lacks("pssh").within(2);
    assert!(!env.path("ran").exists(), "no command of the user runs");
    let text = run.stdout_text();
    let known: String = text.lines().filter(|line| KNOWN.contains(line)).map(|line| format!("{line}\n")).collect();
    assert_eq!(known, KNOWN, "{text}");
    let others = of_machine(&text);
    // Thousands, and each once.
    let many: String = (0..5000).map(|n| format!("host{n},192.0.2.{} ssh-ed25519 AAAA\n", n % 250)).collect();
    env.trust(&many);
    let run = env.bare(Program::Pscp).args(["--generate", "hosts"]).run();
    run.exits(0).within(5);
    assert_eq!(run.stdout_text().lines().count(), KNOWN.lines().count() + others + 5000 + 249);
    // Wrong files are left out.
    for (file, text) in
        [(".config/pssh/config.toml", "[groups\n"), (".ssh/config", "Host \"unclosed\nHost\nHost ok1\n\0\n")]
    {
        env.file(file, text);
    }
    let run = env.bare_pssh().args(["--generate", "hosts"]).run();
    run.exits(0).check(run.stderr_text().is_empty(), "no complaints");
    assert!(run.stdout_text().contains("ok1\n") && !run.stdout_text().contains('@'), "{}", run.stdout_text());
    let run = env.bare_pssh().variable("HOME", "/nonexistent").args(["--generate", "hosts"]).run();
    run.exits(0).check(run.stderr_text().is_empty(), "no complaints");
    // Not for users.
    let run = env.pssh().arg("--help").run();
    run.exits(0).check(!run.stdout_text().contains("fish, hosts"), "hidden");
}
