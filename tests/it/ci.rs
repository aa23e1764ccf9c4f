//! The log of a CI system: nothing that a host says in it is a command of the system, whatever the format.

use std::fs;
use std::time::Duration;

use pssh::internal::Program;
use serde_json::Value;

use crate::bin::{Env, Run};
use crate::embedded::{Behaviour, Config, Server, Step};
use crate::sshd::hosts;

/// The commands of GitHub's runner, old and new.
const NAMES: [&str; 16] = [
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "notice",
    "remove-matcher",
    "save-state",
    "section",
    "set-env",
    "set-output",
    "stop-commands",
    "warning",
];
const GITHUB: (&str, &str) = ("GITHUB_ACTIONS", "true");
const GITLAB: (&str, &str) = ("GITLAB_CI", "true");

/// The commands that GitHub's runner finds in a log: the old form anywhere in a line, the new one at its start. It ends lines at
/// carriage returns too.
fn commands(log: &[u8]) -> Vec<String> {
    let log = String::from_utf8_lossy(log);
    let named = |text: &str| {
        let name = text.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        NAMES.contains(&name.as_str()).then_some(name)
    };
    let in_line = |line: &str| {
        let new = line.trim_start().strip_prefix("::").and_then(|rest| named(rest.split_once("::")?.0));
        new.or_else(|| named(line.split_once("##[")?.1.split_once(']')?.0))
    };
    log.split(['\n', '\r']).filter_map(in_line).collect()
}

/// The markers that GitLab finds in a log.
fn markers(log: &[u8]) -> usize {
    let log = String::from_utf8_lossy(log);
    let is_marker = |rest: &str| rest.split_once("\r\u{1b}[0K").is_some_and(|(marker, _)| !marker.contains('\n'));
    ["section_start:", "section_end:"]
        .iter()
        .map(|word| log.match_indices(word).filter(|(at, word)| is_marker(&log[at + word.len()..])).count())
        .sum()
}

/// What a host says: every form of a command, on either stream, in pieces.
fn said() -> Vec<Step> {
    let text = "##[add-mask]a\nx ##[set-output name=a]b\n::error::c\n  ::set-env name=d::e\n10%\r::warning::f\r##[group]g\n\
                a\u{a0}\n\u{a0}::notice::h\n\u{1b}[0Ksection_end:1:x\r\u{1b}[0K\nsection_start:1:x[collapsed=true]\r\u{1b}[0K\n##";
    let mut steps = Vec::new();
    // Pieces that end within the commands.
    for piece in text.as_bytes().chunks(5) {
        steps.push(Step::Stdout(piece.to_vec()));
    }
    steps.push(Step::Sleep(Duration::from_millis(300)));
    steps.push(Step::Stdout(b"[add-mask]i\n:".to_vec()));
    steps.push(Step::Sleep(Duration::from_millis(300)));
    steps.push(Step::Stdout(b":error::j".to_vec()));
    steps.push(Step::Stderr(text.as_bytes().to_vec()));
    steps.push(Step::Stderr(b"[error]k\n::error::l".to_vec()));
    steps.extend([Step::ExitStatus(3), Step::Eof, Step::Close]);
    steps
}

fn serve(env: &Env, steps: Vec<Step>) -> Server {
    let behaviour = Behaviour::Script(steps);
    let server = Server::start(Config { authorised: env.public_lines(), behaviour, ..Config::default() });
    env.trust(&server.known_hosts());
    server
}

#[test]
fn no_format_lets_a_host_give_commands() {
    let env = Env::new();
    let server = serve(&env, said());
    let formats = [
        &["--format", "lines"][..],
        &["--no-prefix"],
        &["--prefix", ""],
        &["--prefix", " \u{a0}"],
        &["--prefix", "{host}:"],
        &["-P"],
        &["-i"],
        &["-i", "--no-headers"],
        &["--format", "gather"],
        &["-q"],
        &["--format", "none", "--junit", "/dev/stderr"],
        &["--color", "always"],
        &["--encoding", "latin1", "--no-prefix"],
        &["-v", "--no-prefix"],
    ];
    let mut all = 0;
    for format in formats {
        for joined in ["exec \"$@\"", "exec \"$@\" 2>&1"] {
            let run = |(name, value): (&str, &str)| {
                let pssh = env.pssh().hosts([server.addr()]).args(format).variable(name, value);
                pssh.args(["--", "x"]).shell(joined).run()
            };
            for system in [GITHUB, GITLAB] {
                let run = run(system);
                run.exits(5);
                for log in [&run.stdout, &run.stderr] {
                    run.check(system == GITLAB || commands(log).is_empty(), &format!("{:?}", commands(log)));
                    run.check(system == GITHUB || markers(log) == 0, "no markers");
                    // The old form is what the log itself is formatted by, also in lines that are no command.
                    run.check(
                        system == GITLAB || !String::from_utf8_lossy(log).contains("##["),
                        "nor what looks like one",
                    );
                }
            }
            // Outside of CI they are what they were.
            let run = run(("CI", "true"));
            all += commands(&run.stdout).len() + commands(&run.stderr).len();
        }
    }
    assert!(all > 100, "without the log they are found: {all}");
}

/// A log without its control characters, or without ESC and the character after it, which is all that some readers know of control
/// sequences; what they know of others is in the unit tests of the library.
fn readings(log: &[u8]) -> [Vec<u8>; 3] {
    let without = |also_next: bool| {
        let mut bytes = log.iter().copied();
        let mut kept = Vec::new();
        while let Some(byte) = bytes.next() {
            match byte {
                0x1b if also_next => drop(bytes.next()),
                b'\n' => kept.push(byte),
                _ if byte.is_ascii_control() => {}
                _ => kept.push(byte),
            }
        }
        kept
    };
    [log.to_vec(), without(false), without(true)]
}

#[test]
fn control_sequences_hide_no_command() {
    let text = "\x1b[##[add-mask]hunter2\n\x1b[0;##[error]y\n\x1b[?##[group]g\n\x1b]##[error]x\n#\x1b#[add-mask]x\n\
                ##\x1b[error]x\n:\x1b:error::x\n\x1b[::error::z\n#\x1b[m#[error]m\n#\0#\x07[group]y\n\
                \x1b[0Ksec\x1b[mtion_start:1:x\r\x1b[0K\nsection_\0end:1:x\r\x1b[0K\n";
    let env = Env::new();
    // Pieces that end within the sequences, too.
    let mut steps: Vec<Step> = text.as_bytes().chunks(7).map(|piece| Step::Stdout(piece.to_vec())).collect();
    steps.extend([Step::ExitStatus(0), Step::Eof, Step::Close]);
    let server = serve(&env, steps);
    for format in [&["-i"][..], &["-P"], &["--format", "gather"], &["--no-prefix"], &["--json"], &["--prefix", ""]] {
        for (system, value) in [GITHUB, GITLAB] {
            let pssh = env.pssh().hosts([server.addr()]).args(format).variable(system, value);
            let run = pssh.args(["--", "x"]).run();
            run.exits(0);
            for log in readings(&run.stdout) {
                let shown = String::from_utf8_lossy(&log);
                let is_read = match system {
                    "GITHUB_ACTIONS" => !commands(&log).is_empty() || shown.contains("##["),
                    _ => ["section_start:", "section_end:"].iter().any(|marker| shown.contains(marker)),
                };
                run.check(!is_read, &format!("{system} {format:?}: {shown:?}"));
            }
        }
    }
}

#[test]
fn groups_are_the_only_commands() {
    let env = Env::new();
    let well =
        said().into_iter().map(|step| if matches!(step, Step::ExitStatus(_)) { Step::ExitStatus(0) } else { step });
    // Only what went well is folded; what failed is an error besides.
    for (steps, status, expected, sections) in [
        (well.collect(), 0, &["group", "stop-commands", "endgroup"][..], 2),
        (said(), 5, &["stop-commands", "error"], 0),
    ] {
        let server = serve(&env, steps);
        for format in ["inline", "gather"] {
            let pssh = || env.pssh().hosts([server.addr()]).args(["--format", format]);
            let run = pssh().args(["--ci-groups", "github", "--", "x"]).run();
            run.exits(status);
            assert_eq!(commands(&run.stdout), expected, "{}", run.stdout_text());
            let run = pssh().args(["--ci-groups", "gitlab", "--", "x"]).run();
            run.exits(status).check(markers(&run.stdout) == sections, "a start and an end");
            // Both systems at once: groups are of the first.
            let run = pssh().args(["--ci-groups", "auto", "--", "x"]).variable(GITHUB.0, GITHUB.1);
            let run = run.variable(GITLAB.0, "true").run();
            run.exits(status).check(markers(&run.stdout) == 0, "nothing for the other system");
            assert_eq!(commands(&run.stdout), expected);
        }
    }
}

#[test]
fn what_a_server_says_of_itself_is_no_command() {
    let text = "::error::a ##[error]b \u{1b}[0Ksection_end:1:x\r\u{1b}[0K";
    let env = Env::new();
    let signal = |name: &str| Step::ExitSignal { name: name.to_owned(), core_dumped: false, message: text.to_owned() };
    let scripts = [
        vec![signal("##[error]b"), Step::Eof, Step::Close],
        vec![signal("\n::error::b"), Step::Eof, Step::Close],
        vec![Step::Disconnect(text.to_owned())],
    ];
    for steps in scripts {
        let server = serve(&env, steps);
        for format in [&[][..], &["-i"], &["-q"], &["--format", "gather", "--ci-groups", "auto"], &["-v"]] {
            for system in [GITHUB, GITLAB] {
                let pssh = env.pssh().hosts([server.addr()]).args(["--num-retries", "1"]).args(format);
                let run = pssh.args(["--", "x"]).variable(system.0, system.1).run();
                let ours = format.contains(&"--ci-groups");
                for log in [&run.stdout, &run.stderr] {
                    let found = commands(log);
                    let is_expected = found.is_empty() || ours && found == ["stop-commands", "error"];
                    run.check(system == GITLAB || is_expected, &format!("{found:?}"));
                    run.check(markers(log) == 0, "markers");
                }
            }
        }
    }
    // A banner, and names of files.
    let config = Config { authorised: Vec::new(), banner: Some(format!("{text}\n{text}\n")), ..Config::default() };
    let server = Server::start(config);
    env.trust(&server.known_hosts());
    let run = env.pssh().hosts([server.addr()]).args(["-v", "x"]).variable(GITHUB.0, GITHUB.1).run();
    run.exits(4).check(commands(&run.stderr).is_empty(), "the banner");
    let (env, sshd) = hosts(1);
    for name in ["::error::a", "##[error]b"] {
        fs::create_dir_all(env.path("tree").join(name)).expect("a directory");
    }
    let pslurp = env.run_of(Program::Pslurp).hosts(sshd.hosts()).arg(env.path("tree/*"));
    let run = pslurp.arg("x").variable(GITHUB.0, GITHUB.1).run();
    run.exits(5)
        .check(run.stdout_text().contains("## [error]b") || run.stdout_text().contains(":error:"), "it is told");
    run.check(commands(&run.stdout).is_empty() && commands(&run.stderr).is_empty(), "the names");
}

#[test]
fn values_and_files_have_what_the_host_said() {
    let env = Env::new();
    let server = serve(&env, said());
    let text = |run: &Run| -> String {
        let lines = run.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(|line| serde_json::from_slice::<Value>(line).expect("JSON"));
        let texts = events
            .filter(|event| event["stream"] == "stdout")
            .map(|event| event["text"].as_str().expect("text").to_owned());
        texts.collect()
    };
    let pssh = |system: (&str, &str)| env.pssh().hosts([server.addr()]).variable(system.0, system.1);
    for system in [GITHUB, GITLAB] {
        let run = pssh(system).args(["--json", "-o", "out", "--", "x"]).run();
        let (shown, words) =
            (run.stdout_text(), if system == GITHUB { ["##[", "\"::e"] } else { ["section_start:", "section_end:"] });
        run.exits(5).check(!words.iter().any(|word| shown.contains(word)), "nothing that looks like a command");
        let exact =
            fs::read(env.path("out/127.0.0.1")).or_else(|_| fs::read(env.path("out").join(server.addr().to_string())));
        let exact = String::from_utf8(exact.expect("its output")).expect("text");
        assert!(
            exact.starts_with("##[add-mask]a\n") && exact.contains("::error::c") && exact.contains("section_end:1:x\r")
        );
        assert_eq!(text(&run), exact);
        // --raw is exact, too.
        let raw = pssh(system).args(["--raw", "-i", "--no-headers", "--", "x"]).run();
        raw.exits(5).check(raw.stdout_text().starts_with(&exact), "as it came");
    }
}
