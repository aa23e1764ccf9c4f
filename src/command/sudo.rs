//! Commands as another user: the line that runs a command with sudo(8) and reports when it begins.
//!
//! ```text
//! exec sudo -S -p PROMPT [-u USER] -- sh -c 'print START and the process number; exec "$@"' sh ... "$SHELL" -c COMMAND
//! ```
//!
//! The prompt and the start token are random and differ for every job, so that no output of the host can be mistaken for
//! them. Neither appears literally in the line: a login shell that shows what it runs (`set -x`) does not trigger a password. The `exec` avoids a shell between sudo and the server, which would
//! turn the signal that kills a command into an exit status.

use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;

use crate::command::{add_word, guarded};

/// Runs as the other user before the command: prints the start token with its process number and its session, then execs the command.
/// The session is 0 if it is shared. It is the command's own if sudo has created a pty (`use_pty`), or if the server creates
/// one for each command, like sshd(8): then its leader is sudo. The name of a process, which may contain anything, ends at
/// the last bracket of its line. Without SHELL in the environment the command runs in sh.
const START_SCRIPT: &str = concat!(
    "'s=0; [ -r /proc/$$/stat ] && read -r x </proc/$$/stat && x=${x##*) } && x=${x#* * * } && ",
    "case ${x%% *} in $$|$PPID) s=${x%% *};; esac; ",
    "printf \"%s%s %s;\" \"$1\" \"$2\" \"$$ $s\" >&2; unset s x; shift 2; ",
    "[ -n \"$1\" ] || { shift; set -- sh \"$@\"; }; exec \"$@\"'"
);
/// Sends SIGNAL to PROCESS and to all processes of SESSION. It continues after pssh has gone, once the first of them has
/// ended.
const SIGNAL_SCRIPT: &str = concat!(
    "'trap \"\" HUP TERM; exec </dev/null >/dev/null 2>&1; k=PROCESS; [ SESSION = 0 ] || for d in /proc/[0-9]*; do ",
    "read -r x <$d/stat || continue; set -- ${x##*) }; [ $4 = SESSION ] && k=\"$k ${d#/proc/}\"; done; ",
    "kill -s SIGNAL $k'"
);
/// The start of each token, which shows its origin if it ever leaks.
const MARK: &str = "pssh-";

/// Settings for commands with sudo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sudo {
    /// The user, by name or as `#` and a number; sudo's default (root) if `None`.
    pub user: Option<String>,
}

/// The form of a command for sudo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text for the login user's shell, as without sudo: the other user's may be nologin(8).
    Text,
    /// A program and its arguments, already quoted for the login shell. No other shell is needed.
    Program,
}

/// The target of signals for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its first process.
    pub process: u32,
    /// The session of that process, if only the command has it; otherwise 0.
    pub session: u32,
}

impl Target {
    /// Parses the text after the start token: ` PROCESS SESSION;`. `None` if it is something else.
    pub fn parse(tail: &[u8]) -> Option<Target> {
        let numbers = std::str::from_utf8(tail).ok()?.strip_prefix(' ')?.strip_suffix(';')?;
        let (process, session) = numbers.split_once(' ')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        let (process, session) = (number(process)?, number(session)?);
        // 0 and 1 are never a command.
        (process > 1 && session != 1).then_some(Target { process, session })
    }
}

/// The tokens that mark sudo's prompt and the start of the command.
pub struct Tokens {
    prompt: [String; 2],
    start: [String; 2],
}

impl Tokens {
    /// Creates random tokens.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Tokens, ErrorStack> {
        let mut bytes = [0; 32];
        rand_bytes(&mut bytes)?;
        Ok(Tokens::of(bytes))
    }

    /// Returns fixed tokens of the same length, to show what is sent.
    pub fn sample() -> Tokens {
        Tokens::of([0; 32])
    }

    fn of(bytes: [u8; 32]) -> Tokens {
        let digits = bytes.map(|byte| format!("{byte:02x}")).concat();
        let part = |place: usize| &digits[16 * place..16 * (place + 1)];
        let two = |place| [MARK.to_owned() + part(place), part(place + 1).to_owned()];
        Tokens { prompt: two(0), start: two(2) }
    }

    /// Returns the prompt as sudo prints it.
    pub fn prompt(&self) -> Vec<u8> {
        self.prompt.join("%").into_bytes()
    }

    /// Returns the text that is printed when the command begins. [`Target`] follows it.
    pub fn start(&self) -> Vec<u8> {
        self.start.concat().into_bytes()
    }
}

impl Sudo {
    /// Returns the line for the login shell that runs `command` with sudo. `command` is the line without sudo.
    pub(crate) fn wrap(&self, command: &[u8], form: Form, tokens: &Tokens) -> Vec<u8> {
        let mut line = self.opening(tokens, START_SCRIPT.as_bytes());
        for word in &tokens.start {
            add_word(&mut line, word.as_bytes());
        }
        match form {
            Form::Text => {
                line.extend_from_slice(b" \"$SHELL\" -c");
                add_word(&mut line, command);
            }
            Form::Program => {
                line.push(b' ');
                line.extend_from_slice(command);
            }
        }
        guarded(line)
    }

    /// Returns the wrapper in sudo(8)'s message about a refused command, which the user does not know; with the path of sh that sudo found.
    pub(crate) fn wrappers(tokens: &Tokens) -> Vec<Vec<u8>> {
        let script = START_SCRIPT.trim_matches('\'');
        let wrapper = format!("-c {script} sh {} {} ", tokens.start[0], tokens.start[1]);
        ["/usr/bin/sh ", "/bin/sh ", ""].map(|path| format!("{path}{wrapper}").into_bytes()).into()
    }

    /// Returns `sudo [-u USER]`, as the user would write it.
    pub(crate) fn plain(&self) -> Vec<u8> {
        let mut line = b"sudo".to_vec();
        if let Some(user) = &self.user {
            line.extend_from_slice(b" -u");
            add_word(&mut line, user.as_bytes());
        }
        line
    }

    /// Returns the bytes of that line, the same for all tokens.
    pub(crate) fn length(&self, command: &[u8], form: Form) -> usize {
        self.wrap(command, form, &Tokens::sample()).len()
    }

    /// Returns the line that sends `signal` to a command and its children. It reads only sudo's password, and sudo asks
    /// without a prompt.
    pub(crate) fn signal_line(&self, target: Target, signal: &str) -> Vec<u8> {
        let script = SIGNAL_SCRIPT.replace("PROCESS", &target.process.to_string());
        let script = script.replace("SESSION", &target.session.to_string()).replace("SIGNAL", signal);
        let mut line = b"exec sudo -S -p ''".to_vec();
        self.finish(&mut line, script.as_bytes());
        line
    }

    /// Returns `sudo ... -- sh -c SCRIPT sh`.
    fn opening(&self, tokens: &Tokens, script: &[u8]) -> Vec<u8> {
        let mut line = b"exec sudo -S -p".to_vec();
        // sudo prints %% as % (sudo(8), -p).
        add_word(&mut line, tokens.prompt.join("%%").as_bytes());
        self.finish(&mut line, script);
        line
    }

    fn finish(&self, line: &mut Vec<u8>, script: &[u8]) {
        if let Some(user) = &self.user {
            line.extend_from_slice(b" -u");
            add_word(line, user.as_bytes());
        }
        line.extend_from_slice(b" -- sh -c ");
        line.extend_from_slice(script);
        line.extend_from_slice(b" sh");
    }
}

/// Checks the name of the user to run commands as.
///
/// # Errors
/// Not a user name.
pub fn check_user(name: &str) -> Result<(), &'static str> {
    let number = name.strip_prefix('#');
    if number.is_some_and(|number| number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("expected digits after the #, such as #1000");
    }
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.starts_with('-') {
        return Err("a user name cannot begin with -");
    }
    if name.contains(|letter: char| letter.is_control() || letter.is_whitespace()) {
        return Err("a user name cannot contain blanks or control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// Creates a directory with a fake sudo that asks nothing and changes no user.
    fn stand_in() -> TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("sudo");
        // The command gets a parent, as with sudo.
        let text = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done; shift; \"$@\"; exit $?\n";
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
        dir
    }

    fn with_stand_in(program: &str, dir: &TempDir) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("a path"));
        command.env("PATH", path).env("SHELL", "/bin/sh").stdin(Stdio::null());
        command
    }

    /// Runs a wrapped command with `login`, and returns its output.
    fn run(login: &str, command: &[u8], form: Form) -> Option<(Vec<u8>, Vec<u8>, Tokens)> {
        let dir = stand_in();
        let tokens = Tokens::random().expect("random numbers");
        let line = Sudo { user: Some("o'neil".to_owned()) }.wrap(command, form, &tokens);
        let mut child = with_stand_in(login, &dir);
        child.arg("-c").arg(OsStr::from_bytes(&line));
        let output = child.output().ok()?;
        Some((output.stdout, output.stderr, tokens))
    }

    fn prints(login: &str, command: &[u8], form: Form, expected: &[u8]) {
        let Some((stdout, stderr, tokens)) = run(login, command, form) else { return };
        assert_eq!(stdout, expected, "{login} {}", String::from_utf8_lossy(&stderr));
        assert!(stderr.starts_with(&tokens.start()), "{}", String::from_utf8_lossy(&stderr));
    }

    #[test]
    fn the_command_is_run_as_without_sudo() {
        for login in ["sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish"] {
            prints(login, br#"printf %s "$0:it's" 'a\b!' `echo c`; exit 3"#, Form::Text, br"/bin/sh:it'sa\b!c");
            prints(login, b"bash -c 'echo $0; echo two'", Form::Text, b"bash\ntwo\n");
            prints(login, b"printf '%s|' 'a b' c", Form::Program, b"a b|c|");
        }
    }

    #[test]
    fn without_a_shell_of_the_users_it_is_sh() {
        let dir = stand_in();
        let line = Sudo { user: None }.wrap(b"echo $0", Form::Text, &Tokens::sample());
        let output = with_stand_in("sh", &dir).env_remove("SHELL").arg("-c").arg(OsStr::from_bytes(&line)).output();
        assert_eq!(output.expect("sh").stdout, b"sh\n");
    }

    #[test]
    fn tokens_are_new_and_do_not_stand_in_the_line() {
        let (one, other) = (Tokens::random().expect("tokens"), Tokens::random().expect("tokens"));
        assert!(one.prompt() != other.prompt() && one.start() != other.start() && one.prompt() != one.start());
        let line = Sudo { user: None }.wrap(b"id", Form::Text, &one);
        for token in [one.prompt(), one.start()] {
            assert!(token.len() > 32 && !line.windows(token.len()).any(|part| part == token));
        }
    }

    #[test]
    fn signals_reach_what_the_command_has_started() {
        // It begins in its own session, like a server's, and leaves a child behind.
        for (login, command) in [("sh", "sleep 60 & sleep 60"), ("bash", "set -m; sleep 60 & wait")] {
            let dir = stand_in();
            let tokens = Tokens::random().expect("random numbers");
            let sudo = Sudo { user: None };
            let mut program = b"bash -c".to_vec();
            add_word(&mut program, command.as_bytes());
            let line = sudo.wrap(&program, Form::Program, &tokens);
            let mut child = with_stand_in("setsid", &dir);
            child.args([login, "-c"]).arg(OsStr::from_bytes(&line)).stderr(Stdio::piped());
            let mut child = child.spawn().expect("setsid of util-linux");
            let mut stderr = child.stderr.take().expect("a pipe");
            let mut said = Vec::new();
            let target = loop {
                let mut byte = [0];
                stderr.read_exact(&mut byte).expect("the beginning");
                said.push(byte[0]);
                if let Some(target) = said.strip_prefix(&tokens.start()[..]).and_then(Target::parse) {
                    break target;
                }
            };
            assert_eq!(target.session, child.id(), "{}", String::from_utf8_lossy(&said));
            thread::sleep(Duration::from_millis(100));
            let line = sudo.signal_line(target, "TERM");
            with_stand_in("sh", &dir).arg("-c").arg(OsStr::from_bytes(&line)).status().expect("sh");
            // The stream ends once no process is left.
            stderr.read_to_end(&mut said).expect("its end");
            assert!(!child.wait().expect("its end").success());
        }
    }

    #[test]
    fn a_session_that_is_not_the_commands_alone_is_none() {
        let (_, stderr, tokens) = run("sh", b"true", Form::Text).expect("sh");
        let target = Target::parse(&stderr[tokens.start().len()..]).expect("a target");
        assert!(target.process > 1 && target.session == 0, "{target:?}");
        for bad in [" 12;", " 1 0;", " 12 1;", "12 0;", " 12 0", " x 0;", " +2 0;", " 12  0;", " 99999999999 0;"] {
            assert_eq!(Target::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn names_of_users_are_checked() {
        for good in ["root", "#1000", "o'neil", "svc$", "DOM\\me"] {
            assert_eq!(check_user(good), Ok(()), "{good}");
        }
        for bad in ["", "-u", "#", "#x", "a b", "a\nb"] {
            assert!(check_user(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn every_command_arrives_as_it_is(text in "['\"\\\\!$` \n~*#;|a-c\u{e9}]{0,20}", login in 0..3_usize) {
            let mut command = b"printf %s".to_vec();
            add_word(&mut command, text.as_bytes());
            prints(["sh", "bash", "dash"][login], &command, Form::Text, text.as_bytes());
        }
    }
}
