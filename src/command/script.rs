//! Local scripts, run on the hosts without leaving a file there.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LONGEST;
use crate::command::{add_word, quote};
use crate::system::files::bounded;
use crate::system::files::unread::{BeforeStart, is_unread};
use crate::text::message::reason;

/// Shells that accept a script as one word after `-c`, followed by its name and its arguments.
const SHELLS: [&[u8]; 9] = [b"sh", b"bash", b"dash", b"ash", b"ksh", b"ksh93", b"mksh", b"rbash", b"zsh"];
/// Interpreters that open the file that `/dev/fd/3` links to, which a pipe lacks. They read standard input.
const STANDARD_INPUT: [&[u8]; 2] = [b"node", b"nodejs"];
/// The interpreter of a script without a #! line.
const DEFAULT: &[u8] = b"sh";
/// The script within the line for any other interpreter: it comes through a pipe, which leaves standard input to the script. Arguments:
/// the script, the interpreter, its arguments.
const BY_PIPE: &[u8] = br#"'s=$1; shift; { printf %s "$s" | "$@" 3<&0 <&4 4<&-; } 4<&0'"#;
/// The script on standard input for any other interpreter. The script finds standard input at its end.
const FROM_INPUT: &[u8] = br#"'cat | "$@" 3<&0 </dev/null'"#;
/// csh and tcsh close all descriptors except the first three, and BSD's csh misreads unseekable files. They get a file, whose name
/// is removed before they begin if /proc has another one for it, and otherwise after they end.
macro_rules! by_file {
    ($script:literal, $run:literal) => {
        concat!(
            "'",
            $script,
            "f=$(mktemp) || exit 126; trap \"rm -f \\\"\\$f\\\"\" 0; trap \"exit 126\" 1 2 13 15; ",
            "printf \"%s\\n\" \"$s\" >\"$f\" || exit 126; ",
            "exec 5<\"$f\"; if [ -r /proc/$$/fd/5 ]; then rm -f \"$f\"; f=/proc/$$/fd/5; fi; ",
            "d=; for a do shift; case $d$a in /dev/fd/3) d=x; a=$f;; esac; set -- \"$@\" \"$a\"; done; ",
            $run,
            "; exit $?'"
        )
        .as_bytes()
    };
}
/// Those interpreters.
const BY_FILE_ONLY: [&[u8]; 3] = [b"csh", b"bsd-csh", b"tcsh"];
/// Like [`BY_PIPE`], with a file.
const BY_FILE: &[u8] = by_file!("s=$1; shift; ", "\"$@\"");
/// Like [`FROM_INPUT`], with a file.
const FILE_FROM_INPUT: &[u8] = by_file!("s=$(cat); ", "\"$@\" </dev/null");
/// Its path for the interpreter, in both cases. Linux, macOS, OpenBSD and NetBSD have it; FreeBSD if fdescfs(5) is mounted.
const PIPE: &[u8] = b"/dev/fd/3";
/// The script on standard input for a shell. Programs that it runs find standard input at its end.
const EVAL_INPUT: &[u8] = br#"'eval "$(cat)"'"#;

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its name in messages, before its path.
    name: &'static str,
    path: PathBuf,
    text: Arc<[u8]>,
    interpreter: Vec<u8>,
    /// The rest of the first line: one argument, whatever it contains (execve(2)).
    argument: Option<Vec<u8>>,
}

/// Why a script cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("{name} {}: {problem}", .path.display())]
pub struct ScriptError {
    name: &'static str,
    path: PathBuf,
    problem: Problem,
}

impl BeforeStart for ScriptError {
    fn is_unread(&self) -> bool {
        matches!(&self.problem, Problem::Read(error) if is_unread(error))
    }
}

/// The problem of a script.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{}", reason(.0))]
    Read(#[from] io::Error),
    #[error("it is empty: nothing would be run")]
    Empty,
    #[error("it has a NUL byte (byte {0}) and is not a script")]
    Nul(usize),
    #[error("more than {LONGEST} bytes are too many; put it into a file on the hosts")]
    TooLong,
    #[error("line 1: the #! line ends with a carriage return; scripts need Unix line endings")]
    CarriageReturn,
    #[error("line 1: it begins with a byte order mark, which hides the #! line")]
    ByteOrderMark,
    #[error("line 1: #! without an interpreter")]
    NoInterpreter,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.path.display())
    }
}

impl Script {
    /// Returns the path of the script and its arguments, which are quoted already.
    pub fn shown(&self, arguments: &[u8]) -> Vec<u8> {
        let mut line = self.name.as_bytes().to_vec();
        add_word(&mut line, self.path.as_os_str().as_bytes());
        add_arguments(&mut line, arguments);
        line
    }

    /// Reads a script, which messages call `name` and its path; `-` is standard input.
    ///
    /// # Errors
    /// It cannot be read or run.
    pub fn read(name: &'static str, path: &Path) -> Result<Script, ScriptError> {
        let failed = |problem| ScriptError { name, path: path.to_owned(), problem };
        let text = if path == Path::new("-") {
            read_all(io::stdin().lock())
        } else {
            bounded::read(path, LONGEST as u64).map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => Problem::TooLong,
                _ => error.into(),
            })
        };
        Script::of(name, path, text.map_err(failed)?).map_err(failed)
    }

    fn of(name: &'static str, path: &Path, text: Vec<u8>) -> Result<Script, Problem> {
        if let Some(place) = text.iter().position(|byte| *byte == 0) {
            return Err(Problem::Nul(place));
        }
        if text.starts_with(b"\xef\xbb\xbf") {
            return Err(Problem::ByteOrderMark);
        }
        if text.trim_ascii().is_empty() {
            return Err(Problem::Empty);
        }
        let (interpreter, argument) = interpreter(&text)?;
        Ok(Script { name, path: path.to_owned(), text: text.into(), interpreter, argument })
    }

    /// Returns the script itself.
    pub fn text(&self) -> Arc<[u8]> {
        Arc::clone(&self.text)
    }

    /// Returns the command line that contains the script and its quoted `arguments`; `None` if its interpreter needs standard input.
    pub fn within(&self, arguments: &[u8]) -> Option<Vec<u8>> {
        if self.text.len() > LONGEST || self.needs_input() {
            return None;
        }
        let mut line = if self.is_for_shell() {
            let mut line = self.interpreter();
            line.extend_from_slice(b" -c");
            add_word(&mut line, &self.text);
            add_word(&mut line, self.name());
            line
        } else {
            self.by_sh(if self.needs_file() { BY_FILE } else { BY_PIPE }, Some(&self.text))
        };
        add_arguments(&mut line, arguments);
        Some(line)
    }

    /// Returns the command line for a script that comes over standard input.
    pub fn over_input(&self, arguments: &[u8]) -> Vec<u8> {
        let mut line = if self.is_for_shell() {
            let mut line = self.interpreter();
            line.extend_from_slice(b" -c ");
            line.extend_from_slice(EVAL_INPUT);
            add_word(&mut line, self.name());
            line
        } else if self.needs_input() {
            let mut line = self.interpreter();
            add_word(&mut line, b"-");
            line
        } else {
            self.by_sh(if self.needs_file() { FILE_FROM_INPUT } else { FROM_INPUT }, None)
        };
        add_arguments(&mut line, arguments);
        line
    }

    /// Returns `sh -c FORM NAME [TEXT] INTERPRETER [ARGUMENT] /dev/fd/3`.
    fn by_sh(&self, form: &[u8], text: Option<&[u8]>) -> Vec<u8> {
        let mut line = b"sh -c ".to_vec();
        line.extend_from_slice(form);
        add_word(&mut line, self.name());
        if let Some(text) = text {
            add_word(&mut line, text);
        }
        line.push(b' ');
        line.extend(self.interpreter());
        add_word(&mut line, PIPE);
        line
    }

    fn interpreter(&self) -> Vec<u8> {
        let mut line = Vec::new();
        quote(&self.interpreter, &mut line);
        if let Some(argument) = &self.argument {
            add_word(&mut line, argument);
        }
        line
    }

    /// Returns the name of the script in its own messages.
    fn name(&self) -> &[u8] {
        let name = self.path.file_name().map_or(&b"script"[..], OsStrExt::as_bytes);
        if name == b"-" { b"script" } else { name }
    }

    /// Returns the program that reads the script: that of the #! line, or the one that env(1) starts.
    fn program(&self) -> &[u8] {
        match &self.argument {
            Some(argument) if base(&self.interpreter) == b"env" => base(argument),
            _ => base(&self.interpreter),
        }
    }

    fn is_for_shell(&self) -> bool {
        // An argument goes before the -c, so it must be an option.
        let option = |argument: &Vec<u8>| argument.len() > 1 && argument[0] == b'-' && argument != b"--";
        let fits = base(&self.interpreter) == b"env" || self.argument.as_ref().is_none_or(option);
        fits && SHELLS.contains(&self.program())
    }

    fn needs_file(&self) -> bool {
        BY_FILE_ONLY.contains(&self.program())
    }

    fn needs_input(&self) -> bool {
        STANDARD_INPUT.contains(&self.program())
    }
}

fn add_arguments(line: &mut Vec<u8>, arguments: &[u8]) {
    if !arguments.is_empty() {
        line.push(b' ');
        line.extend_from_slice(arguments);
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Returns the interpreter of the first line, and its argument, as execve(2) splits them.
fn interpreter(text: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), Problem> {
    let Some(line) = text.strip_prefix(b"#!") else { return Ok((DEFAULT.to_owned(), None)) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(Problem::CarriageReturn);
    }
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    if interpreter.is_empty() {
        return Err(Problem::NoInterpreter);
    }
    let argument = argument.trim_ascii();
    Ok((interpreter.to_owned(), (!argument.is_empty()).then(|| argument.to_owned())))
}

fn read_all(file: impl Read) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut text)?;
    if text.len() > LONGEST { Err(Problem::TooLong) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn script(text: &str) -> Script {
        Script::of("script", Path::new("/some where/it's.sh"), text.as_bytes().to_vec()).expect("a script")
    }

    fn words(words: &[&str]) -> Vec<u8> {
        let mut line = Vec::new();
        words.iter().for_each(|word| add_word(&mut line, word.as_bytes()));
        line
    }

    /// Returns the output of `login` for `line`, with `input` on its standard input.
    fn run(login: &str, line: &[u8], input: &[u8]) -> String {
        let mut command = Command::new(login);
        command.arg("-c").arg(OsStr::from_bytes(line)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        // The script may not read its input.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        String::from_utf8(child.wait_with_output().expect("its output").stdout).expect("text")
    }

    /// Runs a script both ways, with its own input on standard input if that is free.
    fn both(text: &str, arguments: &[&str], within: &str, from_input: &str) {
        let (script, arguments) = (script(text), words(arguments));
        for login in ["sh", "bash", "dash"] {
            let line = script.within(&arguments).expect("a line");
            assert_eq!(run(login, &line, b"input\n"), within, "{login}: {text}");
            assert_eq!(run(login, &script.over_input(&arguments), &script.text()), from_input, "{login}: {text}");
        }
    }

    #[test]
    fn shell_scripts_get_their_name_their_arguments_and_standard_input() {
        let text = "printf '%s|' \"$0\" \"$@\"\nread line || line=none\necho \"$line\"\n";
        let arguments = ["a b", "it's", "$HOME `x` \\ !", ""];
        let said = "it's.sh|a b|it's|$HOME `x` \\ !||";
        for first in ["", "#!/bin/sh\n", "#! /bin/bash -u\n", "#!/usr/bin/env bash\n"] {
            both(&format!("{first}{text}"), &arguments, &format!("{said}input\n"), &format!("{said}none\n"));
        }
    }

    #[test]
    fn other_interpreters_do_too() {
        let text = "$line = <STDIN> // \"none\\n\"; print join('|', @ARGV), \"|$line\", <DATA>;\n__DATA__\ntail\n";
        for first in ["#!/usr/bin/perl\n", "#!/usr/bin/perl -w\n", "#!/usr/bin/env perl\n"] {
            both(&format!("{first}{text}"), &["a b", "it's"], "a b|it's|input\ntail\n", "a b|it's|none\ntail\n");
        }
        both("#!/usr/bin/env -S bash -u\necho $1; cat\n", &["x"], "x\ninput\n", "x\n");
    }

    #[test]
    fn an_interpreter_may_need_standard_input() {
        let script = script("#!/usr/bin/env node\nconsole.log(1)\n");
        assert_eq!(script.within(&[]), None);
        assert_eq!(script.over_input(&words(&["a b"])), b"'/usr/bin/env' 'node' '-'  'a b'");
    }

    #[test]
    fn the_exit_status_is_the_scripts() {
        for first in ["", "#!/usr/bin/perl\n"] {
            let script = script(&format!("{first}exit 7;\n"));
            for line in [script.within(&[]).expect("a line"), script.over_input(&[])] {
                let mut command = Command::new("sh");
                command.arg("-c").arg(OsStr::from_bytes(&line)).stdin(Stdio::piped());
                let mut child = command.spawn().expect("a shell");
                let _ = child.stdin.take().expect("a pipe").write_all(&script.text());
                assert_eq!(child.wait().expect("its end").code(), Some(7));
            }
        }
    }

    #[test]
    fn what_is_no_script_is_refused() {
        let problem =
            |text: &[u8]| Script::of("script", Path::new("x"), text.to_vec()).expect_err("no script").to_string();
        assert!(problem(b"#!/bin/sh\na\0b").contains("byte 11"));
        assert!(problem(b"#!/bin/sh\r\nid\r\n").contains("carriage return"));
        assert!(problem(b"\xef\xbb\xbf#!/bin/sh\n").contains("byte order mark"));
        assert!(problem(b"#! \n").contains("without an interpreter"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_text_arrives_as_it_is(text in "['\"\\\\!$` \n%~*#;|a-c\u{e9}]{0,40}", argument in "['\"\\\\!$` \n%*a]{0,9}") {
            let arguments = words(&[&argument]);
            // What cat(1) as the interpreter prints is the script.
            let cat = script(&format!("#!/bin/cat\n{text}"));
            let line = cat.within(&[]).expect("a line");
            prop_assert_eq!(run("sh", &line, b""), format!("#!/bin/cat\n{text}"));
            let quoted = String::from_utf8(words(&[&text])).expect("text");
            let echo = script(&format!("printf '%s|' \"$1\"{quoted}"));
            for line in [echo.within(&arguments).expect("a line"), echo.over_input(&arguments)] {
                prop_assert_eq!(run("dash", &line, &echo.text()), format!("{argument}|{text}|"));
            }
        }
    }
}
