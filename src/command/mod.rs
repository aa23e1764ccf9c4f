//! From the words of the command line to the bytes sent to a host: quoting and wrapping, the same for all hosts or
//! with each host's own values.
//!
//! The order is fixed: placeholders are filled in first, then the words are quoted, then wrapped, and the length is
//! checked at the end.

pub mod host_args;
pub mod input;
pub(crate) mod quote_scanner;
pub mod script;
pub mod sudo;
pub mod template;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use self::template::{Scanner, Template, TemplateError, ValueError, Values};

/// The longest command that can be sent in one line. libssh2 puts the request into one packet of at most 35,000 bytes (RFC 4253 section
/// 6.1), less its other fields.
pub const MAX_COMMAND: usize = 34_000;

/// Why a command is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It contains a NUL byte, which no shell accepts.
    #[error("the command contains a NUL byte")]
    Nul,
    /// It is longer than any request can be.
    #[error("the command has {0} bytes; at most {LONGEST} can be sent (put a longer script into a file on the hosts)")]
    TooLong(usize),
    /// It has nothing that a shell could run.
    #[error("the command is empty: is a variable or a value in it not set?")]
    Empty,
    /// Without a shell, the first word must be a program.
    #[error("the command's first word is empty")]
    NoProgram,
    /// An invalid placeholder.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A value would be quoted, but no shell runs the command.
    #[error("%q quotes for a shell, but no shell runs this command: write %s")]
    QuotedWithoutShell,
    /// A value's quotes would end those around it.
    #[error(
        "%q inside quotes would end them; put it outside, as in 'before '%q' after'; pass it to an inner shell as an \
         argument: sh -c 'echo \"$1\"' sh %q"
    )]
    QuotedInside,
    /// A value is missing or invalid.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// What reads the command on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// The user's login shell: the words are joined by blanks, as in ssh and pssh.
    #[default]
    Login,
    /// Another shell and its options, such as `bash -c`: it gets the joined words as one argument.
    Named(Vec<u8>),
    /// No shell: each word is an argument of the program that the first one names. The login shell still starts it, but has
    /// nothing in it to expand or split.
    None,
    /// A script's interpreter: the words are the script's arguments, unchanged.
    Script,
}

impl Shell {
    /// Whether each word is one argument.
    fn is_none(&self) -> bool {
        matches!(self, Shell::None | Shell::Script)
    }

    /// Reads a shell and its options, such as `bash -c`.
    ///
    /// # Errors
    /// It cannot start a command line, or is a shell that would read the command as a file name.
    pub fn named(text: &OsStr) -> Result<Shell, String> {
        let bytes = text.as_bytes().trim_ascii();
        if bytes.is_empty() {
            return Err("it is empty; expected a shell and its option, such as 'bash -c'".to_owned());
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err("it contains a control character".to_owned());
        }
        let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if SHELLS.iter().any(|shell| shell.as_bytes() == name) {
            let text = String::from_utf8_lossy(bytes);
            return Err(format!("it would take the command for a file; write '{text} -c'"));
        }
        Ok(Shell::Named(bytes.to_owned()))
    }
}

/// Shells that read their first argument as a script's file name.
const SHELLS: [&str; 10] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"];

/// How the words of a command become the text for the login shell, layer by layer, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// What reads the command.
    pub shell: Shell,
}

impl Wrapping {
    /// Returns the text for the login shell. Each shell that reads a newline within quotes needs its own guard: the login shell may be
    /// bash where `--shell` names csh, or the other way round.
    fn wrap(&self, words: &[Vec<u8>], has_quoted_newline: bool) -> Vec<u8> {
        let text = || {
            let text = words.join(&b' ');
            if has_quoted_newline { guarded(text) } else { text }
        };
        match &self.shell {
            Shell::Login => text(),
            Shell::Named(shell) => {
                let mut line = shell.clone();
                line.push(b' ');
                quote(&text(), &mut line);
                guarded(line)
            }
            Shell::None => guarded(quote_all(words)),
            Shell::Script => quote_all(words),
        }
    }
}

/// A command with placeholders for each host's values.
#[derive(Clone, Debug)]
pub struct CommandLine {
    words: Vec<Template>,
    /// The number of its positional values.
    places: usize,
    wrapping: Wrapping,
}

impl CommandLine {
    /// Parses the words as templates with placeholders for each host's values.
    ///
    /// # Errors
    /// An invalid placeholder.
    pub fn with_places(words: &[OsString], wrapping: Wrapping) -> Result<CommandLine, CommandError> {
        let mut places = 0;
        let words: Result<Vec<_>, _> = words.iter().map(|word| Template::parse(word.as_bytes(), &mut places)).collect();
        let words = words?;
        if wrapping.shell.is_none() && words.iter().any(Template::quotes) {
            return Err(CommandError::QuotedWithoutShell);
        }
        let mut scanner = Scanner::default();
        for word in &words {
            if !word.is_safe(&mut scanner) {
                return Err(CommandError::QuotedInside);
            }
            // The blank between words.
            scanner.read(b" ");
        }
        Ok(CommandLine { words, places, wrapping })
    }

    /// Returns the number of its positional values.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Returns a command that needs what this one and `other` need: each takes its positional values from the first one on.
    pub fn and(&self, other: &CommandLine) -> CommandLine {
        let words = self.words.iter().chain(&other.words).cloned().collect();
        CommandLine { words, places: self.places.max(other.places), wrapping: self.wrapping.clone() }
    }

    /// Whether it has only named placeholders, and at least one.
    pub fn is_by_name(&self) -> bool {
        self.places == 0 && self.names().next().is_some()
    }

    /// Returns the names that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.words.iter().flat_map(Template::names)
    }

    /// Returns all problems of a host's values, except the number of positional ones.
    pub fn check(&self, values: &dyn Values) -> Vec<ValueError> {
        let wrong = self.words.iter().flat_map(|word| word.check(values));
        wrong.filter(|error| !matches!(error, ValueError::Place(_))).collect()
    }

    /// Returns the bytes to send to the host with these values.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn for_host(&self, values: &dyn Values) -> Result<Vec<u8>, CommandError> {
        let words: Result<Vec<_>, _> = self.words.iter().map(|word| word.fill(values)).collect();
        let has_quoted_newline = self.words.iter().any(|word| word.quotes_newline(values));
        finish(&words?, &self.wrapping, has_quoted_newline)
    }
}

/// Returns the bytes to send to all hosts: the literal words, without placeholders.
///
/// # Errors
/// It cannot be sent.
pub fn literal(words: &[OsString], wrapping: &Wrapping) -> Result<Vec<u8>, CommandError> {
    let words: Vec<_> = words.iter().map(|word| word.as_bytes().to_owned()).collect();
    finish(&words, wrapping, false)
}

/// Quotes, wraps and checks.
fn finish(words: &[Vec<u8>], wrapping: &Wrapping, has_quoted_newline: bool) -> Result<Vec<u8>, CommandError> {
    if wrapping.shell == Shell::None && words.first().is_some_and(Vec::is_empty) {
        return Err(CommandError::NoProgram);
    }
    let is_blank = !words.is_empty() && words.iter().all(|word| word.trim_ascii().is_empty());
    if is_blank && !wrapping.shell.is_none() {
        return Err(CommandError::Empty);
    }
    checked(wrapping.wrap(words, has_quoted_newline))
}

/// Checks that bytes can be sent.
///
/// # Errors
/// They cannot be sent.
pub fn checked(bytes: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    if bytes.contains(&0) {
        return Err(CommandError::Nul);
    }
    if bytes.len() > LONGEST {
        return Err(CommandError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The line before one with newlines within quotes. csh and tcsh end a quoted word at its newline and would run the rest of it
/// line by line: they end here instead. Inside double quotes they remove the backslash before an exclamation mark, and keep both of two
/// backslashes; all other shells do neither. Each test alone misses a tcsh with `histchars` or `backslash_quote`. It reads no
/// variable: an unset one ends a shell with `set -u`.
const GUARD: &str = concat!(
    r#"test "\!" != \! && test "\\" = \\ || exec sh -c 'echo ""#,
    "pssh: the shell here ends quoted words at newlines, as csh and tcsh do: nothing was run ",
    r#"(a script can be sent on standard input instead)" >&2; exit 126'"#,
    "\n"
);

/// The start of the guard's message, and its exit status.
pub const GUARD_SAYS: (&str, u32) = ("pssh: the shell here ends quoted words at newlines", 126);

/// Prefixes a line, whose newlines are all within quotes, with a guard that keeps csh and tcsh from running parts of it.
pub fn guarded(line: Vec<u8>) -> Vec<u8> {
    if line.contains(&b'\n') { [GUARD.as_bytes(), &line].concat() } else { line }
}

/// Appends `word` to `line` so that a shell reads it as one word of exactly these bytes.
///
/// Everything is in single quotes, except what is special there in some shell: `'` in all, `\` in fish, `!` in csh and tcsh. These
/// are outside, each after a backslash, where all shells agree. Not solvable: csh and tcsh accept no newline inside
/// of a word; see [`guarded`]. Words that need no quotes get them too: unquoted they could be an alias, a keyword or an assignment.
pub fn quote(word: &[u8], line: &mut Vec<u8>) {
    if word.is_empty() {
        line.extend_from_slice(b"''");
    }
    let mut inside = false;
    for byte in word {
        let special = matches!(byte, b'\'' | b'\\' | b'!');
        if inside == special {
            line.push(b'\'');
            inside = !inside;
        }
        if special {
            line.push(b'\\');
        }
        line.push(*byte);
    }
    if inside {
        line.push(b'\'');
    }
}

/// Appends a blank and `word`, quoted.
pub fn add_word(line: &mut Vec<u8>, word: &[u8]) {
    line.push(b' ');
    quote(word, line);
}

/// Formats the words of a command line as typed in a shell, for display.
pub fn shown(words: &[OsString]) -> Vec<u8> {
    quote_all(&words.iter().map(|word| word.as_bytes().to_owned()).collect::<Vec<_>>())
}

/// The same with quotes only where needed.
pub fn as_typed(words: &[OsString]) -> String {
    let is_plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-.:/@=,+".contains(c));
    let typed = |word: &OsString| match word.to_str() {
        Some(text) if is_plain(text) => text.to_owned(),
        _ => String::from_utf8_lossy(&shown(std::slice::from_ref(word))).into_owned(),
    };
    words.iter().map(typed).collect::<Vec<_>>().join(" ")
}

fn quote_all(words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            line.push(b' ');
        }
        quote(word, &mut line);
    }
    line
}

/// Bytes of the longest command or script: longer than any real one. Measured shells take a second and up
/// to 280 MB for one of this length.
pub const LONGEST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;
    use std::cell::RefCell;
    use std::io::{Read, Write};
    use std::os::unix::ffi::OsStringExt;
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    use proptest::prelude::*;

    struct One(Vec<u8>);

    impl Values for One {
        fn place(&self, place: usize) -> Option<&[u8]> {
            (place == 0).then_some(&self.0)
        }

        fn named(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            (name == "v").then_some(Cow::Borrowed(&self.0))
        }
    }

    fn words(words: &[&[u8]]) -> Vec<OsString> {
        words.iter().map(|word| OsString::from_vec(word.to_vec())).collect()
    }

    fn shell(shell: Shell) -> Wrapping {
        Wrapping { shell }
    }

    fn sent(given: &[&[u8]], wrapping: Wrapping) -> Result<Vec<u8>, CommandError> {
        literal(&words(given), &wrapping)
    }

    #[test]
    fn words_are_joined_like_ssh_does() {
        let sent = |text: &[&[u8]]| sent(text, Wrapping::default());
        assert_eq!(sent(&[b"sh", b"-c", b"echo a  b"]).as_deref(), Ok(&b"sh -c echo a  b"[..]));
        assert_eq!(sent(&[b"date", b"+%s 100%% %(x)s"]).as_deref(), Ok(&b"date +%s 100%% %(x)s"[..]));
        assert_eq!(sent(&[&vec![b'x'; LONGEST + 1]]), Err(CommandError::TooLong(LONGEST + 1)));
        assert!(sent(&[&vec![b'x'; LONGEST]]).is_ok());
    }

    #[test]
    fn what_is_sent_to_another_shell_and_to_none() {
        let bash = || Shell::named(OsStr::new(" bash -c ")).map(shell).expect("a shell");
        assert_eq!(sent(&[b"echo", b"a  b; it's"], bash()).as_deref(), Ok(&br"bash -c 'echo a  b; it'\''s'"[..]));
        assert_eq!(sent(&[b"ls", b"", b"*", b"a b"], shell(Shell::None)).as_deref(), Ok(&b"'ls' '' '*' 'a b'"[..]));
        assert_eq!(sent(&[b"", b"a"], shell(Shell::None)), Err(CommandError::NoProgram));
        assert_eq!(sent(&[b"", b"a"], shell(Shell::Script)).as_deref(), Ok(&b"'' 'a'"[..]));
        assert_eq!(sent(&[], shell(Shell::Script)).as_deref(), Ok(&b""[..]));
        // Wrappers count.
        assert!(matches!(sent(&[&vec![b'x'; LONGEST - 10]], bash()), Ok(all) if all.len() == LONGEST));
        assert_eq!(sent(&[&vec![b'x'; LONGEST - 9]], bash()), Err(CommandError::TooLong(LONGEST + 1)));
    }

    #[test]
    fn what_special_characters_look_like() {
        for (word, expected) in [
            ("", "''"),
            ("plain", "'plain'"),
            ("it's", r"'it'\''s'"),
            (r"a\b", r"'a'\\'b'"),
            ("!", r"\!"),
            (r"\'!", r"\\\'\!"),
            ("a\nb", "'a\nb'"),
        ] {
            let mut line = Vec::new();
            quote(word.as_bytes(), &mut line);
            assert_eq!(String::from_utf8_lossy(&line), expected);
        }
    }

    #[test]
    fn values_are_filled_in_before_anything_is_quoted() {
        let filled = |given: &[&[u8]], wrapping: Wrapping| {
            let line = CommandLine::with_places(&words(given), wrapping).expect("a command");
            String::from_utf8_lossy(&line.for_host(&One(b"a'b".to_vec())).expect("values")).into_owned()
        };
        assert_eq!(filled(&[b"echo %q"], Wrapping::default()), r"echo 'a'\''b'");
        assert_eq!(filled(&[b"echo %q"], shell(Shell::Named(b"sh -c".to_vec()))), r"sh -c 'echo '\''a'\'\\\'\''b'\'");
        assert_eq!(filled(&[b"echo", b"x%sy"], shell(Shell::None)), r"'echo' 'xa'\''by'");
        let refused = CommandLine::with_places(&words(&[b"echo", b"%(v)q"]), shell(Shell::None));
        assert_eq!(refused.expect_err("no shell").to_string().get(..26), Some("%q quotes for a shell, but"));
    }

    #[test]
    fn a_quoted_value_does_not_stand_inside_quotes() {
        let refused = |given: &[&[u8]]| CommandLine::with_places(&words(given), Wrapping::default()).err();
        for given in [&[&b"sh -c 'echo %q'"[..]][..], &[b"echo", b"\"a", b"%(v)q\""], &[b"echo `ls %q`"]] {
            assert_eq!(refused(given), Some(CommandError::QuotedInside));
        }
        for given in [&[&b"echo 'a '%q' b' \"%s\""[..]][..], &[b"echo", b"'a'", b"\"$(ls %(v)q)\""]] {
            assert_eq!(refused(given), None);
        }
    }

    #[test]
    fn a_shell_that_would_look_for_a_file() {
        for slip in ["bash", "/bin/sh", " zsh ", "", "  ", "bash\n-c"] {
            assert!(Shell::named(OsStr::new(slip)).is_err(), "{slip:?}");
        }
        for good in ["bash -c", "/bin/sh -ec", "python3 -c", "nice -n 5 sh -c", "wrapper"] {
            assert_eq!(Shell::named(OsStr::new(good)), Ok(Shell::Named(good.as_bytes().to_vec())));
        }
    }

    /// A shell that evaluates one text after the other and prints the results: thousands of cases with one process.
    struct Evaluator {
        child: Child,
        texts: ChildStdin,
        results: ChildStdout,
    }

    /// Reads texts, each as octal escapes on a line; the NUL after each result tells where it ends.
    const LOOP: &str = r#"while IFS= read -r text; do
    text=$(printf "$text.")
    eval "${text%.}"
    printf '\000'
done"#;

    impl Evaluator {
        fn start(shell: &str) -> Option<Evaluator> {
            let mut command = Command::new(shell);
            command.args(["-c", LOOP]).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().ok()?;
            let (texts, results) = (child.stdin.take()?, child.stdout.take()?);
            Some(Evaluator { child, texts, results })
        }

        fn evaluate(&mut self, text: &[u8]) -> Vec<u8> {
            let escaped: String = text.iter().map(|byte| format!("\\{byte:03o}")).collect();
            self.texts.write_all((escaped + "\n").as_bytes()).expect("the shell reads");
            let mut result = Vec::new();
            let mut byte = [0];
            loop {
                self.results.read_exact(&mut byte).expect("the shell answers");
                if byte == [0] {
                    return result;
                }
                result.push(byte[0]);
            }
        }
    }

    impl Drop for Evaluator {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Returns the POSIX shells of this machine; sh is on all.
    fn evaluators() -> RefCell<Vec<Evaluator>> {
        let found: Vec<_> = ["sh", "bash", "dash"].into_iter().filter_map(Evaluator::start).collect();
        assert!(!found.is_empty(), "no sh on this machine");
        RefCell::new(found)
    }

    /// Texts with more shell syntax than random ones.
    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            prop::sample::select(&b"'\"\\!$`*?[]{}()<>|&;#~=%^ \t\n\r-x"[..]).boxed(),
            (1..=u8::MAX).boxed()
        ];
        prop::collection::vec(byte, 0..24)
    }

    /// Each argument in brackets, by the shell's own printf.
    const SHOW: &[u8] = b"printf '[%%s]'";

    fn shown(arguments: &[Vec<u8>]) -> Vec<u8> {
        arguments.iter().flat_map(|argument| [b"[", &argument[..], b"]"].concat()).collect()
    }

    #[test]
    fn any_argument_reaches_the_program_as_it_is() {
        let evaluators = evaluators();
        let runs = ProptestConfig::with_cases(3000);
        proptest!(runs, |(arguments in prop::collection::vec(nasty(), 1..4))| {
            let mut given: Vec<&[u8]> = vec![b"printf", b"[%s]"];
            given.extend(arguments.iter().map(Vec::as_slice));
            let line = sent(&given, shell(Shell::None)).expect("short");
            for evaluator in evaluators.borrow_mut().iter_mut() {
                prop_assert_eq!(evaluator.evaluate(&line), shown(&arguments));
            }
        });
    }

    #[test]
    fn any_value_is_one_word() {
        let evaluators = evaluators();
        let runs = ProptestConfig::with_cases(3000);
        proptest!(runs, |(value in nasty())| {
            let template = words(&[SHOW, b"%q", b"'x'%(v)qy"]);
            let line = CommandLine::with_places(&template, Wrapping::default()).expect("a command");
            let line = line.for_host(&One(value.clone())).expect("a value");
            let expected = shown(&[value.clone(), [b"x", &value[..], b"y"].concat()]);
            for evaluator in evaluators.borrow_mut().iter_mut() {
                prop_assert_eq!(evaluator.evaluate(&line), expected.clone());
            }
        });
    }

    #[test]
    fn any_text_reaches_another_shell_as_it_is() {
        // A function replaces the shell: starting thousands of real ones would take minutes.
        const DEFINED: &[u8] = b"shell() { [ $# = 2 ] && [ \"$1\" = -c ] && printf '%s' \"$2\"; }; shell -c";
        let evaluators = evaluators();
        let runs = ProptestConfig::with_cases(3000);
        proptest!(runs, |(text in nasty())| {
            prop_assume!(!text.trim_ascii().is_empty());
            let line = sent(&[&text], shell(Shell::Named(DEFINED.to_vec()))).expect("short");
            for evaluator in evaluators.borrow_mut().iter_mut() {
                prop_assert_eq!(evaluator.evaluate(&line), text.clone());
            }
        });
    }

    #[test]
    fn values_pass_through_both_shells() {
        let runs = ProptestConfig::with_cases(60);
        let evaluators = evaluators();
        proptest!(runs, |(value in nasty(), inner in prop::sample::select(&["sh -c", "/bin/sh -ec"][..]))| {
            let template = words(&[SHOW, b"%q"]);
            let wrapping = shell(Shell::Named(inner.as_bytes().to_vec()));
            let line = CommandLine::with_places(&template, wrapping).expect("a command");
            let line = line.for_host(&One(value.clone())).expect("a value");
            for evaluator in evaluators.borrow_mut().iter_mut() {
                prop_assert_eq!(evaluator.evaluate(&line), shown(std::slice::from_ref(&value)));
            }
        });
    }
}
