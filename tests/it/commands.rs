//! How the command is run: by the login shell, by another one, by none; and `--dry-run`, which only shows it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::bin::Env;
use crate::embedded::{Behaviour, Config, Server};
use crate::sshd::{Setup, Sshd};

/// Whatever a shell on the way would act on, split, or take for its own.
const NASTY: [&str; 16] = [
    "",
    " two  blanks ",
    "it's",
    "\"quoted\" 'twice'",
    r"back\slash \\ \' \n end\",
    "$HOME ${PATH} $(id) `id`",
    "* ? [a-z] {a,b} ~",
    "!! !$ a!b ^x^y",
    ";&|<>()#",
    "a\nb\n\nc\n",
    "\ttab\r",
    "-n",
    "VAR=x",
    "%s %% %(host)s",
    "ünïcode \u{202e}",
    "if",
];

fn server() -> (Env, Sshd) {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup::default());
    (env, sshd)
}

/// What the remote side prints for these arguments, each in brackets, as pssh passes on lines.
fn shown(arguments: &[&[u8]]) -> Vec<u8> {
    let mut text: Vec<u8> = arguments.iter().flat_map(|argument| [b"[", *argument, b"]"].concat()).collect();
    text.push(b'\n');
    text
}

#[test]
fn without_a_shell_every_word_reaches_the_program_as_it_is() {
    let (env, sshd) = server();
    let mut words: Vec<&[u8]> = NASTY.iter().map(|word| word.as_bytes()).collect();
    words.push(b"\xff\x01\x1b bytes");
    let args = words.iter().map(|word| OsStr::from_bytes(word));
    let run = env.pssh().hosts(sshd.hosts()).args(["--no-shell", "printf", "[%s]"]).args(args).run();
    run.exits(0).check(run.stdout_of(&sshd.label()) == shown(&words), "every argument as it is");
}

#[test]
fn another_shell_gets_the_text_as_it_is() {
    let (env, sshd) = server();
    let pssh = || env.pssh().hosts(sshd.hosts());
    for nasty in NASTY.into_iter().filter(|nasty| !nasty.is_empty()) {
        // The shell named here prints the text that it is to run.
        let run = pssh().args(["--shell", "printf [%s]", "--", nasty]).run();
        run.exits(0).check(run.stdout_of(&sshd.label()) == shown(&[nasty.as_bytes()]), nasty);
    }
    let run = pssh().args(["--shell", "sh -ec", "--", "echo 'a  b' \"$0\" $((6 * 7)); false; echo not here"]).run();
    run.exits(5).stdout_is(&format!("{}: a  b sh 42\n", sshd.label()));
}

#[test]
fn shells_that_cannot_be() {
    let (env, sshd) = server();
    let pssh = || env.pssh().hosts(sshd.hosts());
    for (args, words) in [
        (&["--shell", "bash", "true"][..], "write 'bash -c'"),
        (&["--shell", "", "true"], "expected a shell and its option"),
        (&["--shell", "sh -c", "--no-shell", "true"], "cannot be used with"),
        (&["--no-shell", "", "x"], "the command's first word is empty"),
    ] {
        pssh().args(args).run().exits(2).stdout_is("").stderr_has(words);
    }
    let run = pssh().args(["-I", "--no-shell", &"!".repeat(17_001)]).run();
    run.exits(2).stderr_has(
        "the command has 34002 bytes: beyond 34000 bytes it is sent over standard input, which -I also uses",
    );
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn a_dry_run_shows_what_would_be_sent_and_does_nothing() {
    let env = Env::new();
    let sshd = Sshd::start(&env, Setup { hosts: 2, ..Setup::default() });
    let pssh = || env.pssh().hosts(sshd.hosts()).arg("--dry-run");
    let labels = sshd.labels();
    let both = |command: &str| labels.iter().map(|label| format!("{label}: {command}\n")).collect::<String>();
    for (args, expected) in [
        (&["--", "echo 'a  b'", "%s"][..], "echo 'a  b' %s"),
        (&["--shell", "bash -c", "--", "echo it's"], r"bash -c 'echo it'\''s'"),
        (&["--no-shell", "ls", "a b"], "'ls' 'a b'"),
        (&["--", "echo a\necho \u{1b}b"], r"$'echo a\necho \033b'"),
    ] {
        pssh().args(args).run().exits(0).stdout_is(&both(expected));
    }
    // No question is asked, and no secret is read.
    let run = pssh().args(["-A", "--agent", "/nowhere", "--identity", "/nowhere", "uptime"]).run();
    run.exits(0).stdout_is(&both("uptime")).check(run.stderr.is_empty(), "nothing is amiss");
    // What would be refused is.
    pssh().arg("-h").arg("missing").arg("true").run().exits(1);
    pssh().run().exits(2).stderr_has("there is no command to run");
    assert_eq!(sshd.connections(), 0);
}

#[test]
fn what_a_dry_run_shows_is_what_arrives() {
    let env = Env::new();
    let behaviour = Behaviour::Cheap { stdout: Vec::new(), status: 0 };
    let server = Server::start(Config { authorised: env.public_lines(), behaviour, ..Config::default() });
    env.trust(&server.known_hosts());
    let host = server.addr().to_string();
    let label = server.addr().ip().to_string();
    let mut shown = Vec::new();
    for way in [&["--"][..], &["--shell", "bash -c", "--"], &["--no-shell", "--"]] {
        for word in NASTY.iter().filter(|word| !word.is_empty()).chain(&["$'x'"]) {
            let pssh = || env.pssh().hosts([&host]);
            let dry = pssh().arg("--dry-run").args(way).arg(word).run();
            dry.exits(0);
            let text = String::from_utf8_lossy(&dry.stdout).into_owned();
            let line = text.strip_prefix(&format!("{label}: ")).and_then(|text| text.strip_suffix('\n'));
            shown.push(plain(line.expect("one line")));
            pssh().args(way).arg(word).run().exits(0);
        }
    }
    assert_eq!(server.commands(), shown);
}

/// The command that is shown as `text`: as it is, or in `$'...'`.
fn plain(text: &str) -> String {
    let Some(escaped) = text.strip_prefix("$'").and_then(|text| text.strip_suffix('\'')) else {
        return text.to_owned();
    };
    let (mut bytes, mut rest) = (Vec::new(), escaped.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match (first, after.first()) {
            (b'\\', Some(b'0'..=b'7')) => {
                let (digits, after) = after.split_at(3);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).expect("digits"), 8).expect("a byte")
            }
            (b'\\', Some(letter)) => {
                rest = &after[1..];
                match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                }
            }
            (other, _) => *other,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).expect("text")
}

/// A user's own files may make the shell exit at an unset variable; the guard for csh must survive that.
#[test]
fn a_login_shell_that_wants_all_variables_set_runs_words_with_newlines() {
    let (env, sshd) = server();
    let value = format!("{}=a\nb", sshd.hosts()[0]);
    for shell in ["bash -uec", "dash -uec", "zsh -uec", "ksh -uec", "mksh -uec", "fish -c"] {
        // The inner shell has the option, and the guard of its own.
        let run =
            env.pssh().hosts(sshd.hosts()).args(["--shell", shell, "--host-arg", &value, "printf '[%%s]' %q"]).run();
        run.exits(0).check(run.stdout_of(&sshd.label()) == b"[a\nb]\n", shell);
    }
    let run =
        env.pssh().hosts(sshd.hosts()).args(["--shell", "csh -c", "--host-arg", &value, "printf '[%%s]' %q"]).run();
    run.exits(5).ends(&sshd.label(), "exit 126").stderr_has("the shell here ends quoted words at newlines");
}
