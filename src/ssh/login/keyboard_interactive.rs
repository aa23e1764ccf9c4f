//! Keyboard-interactive authentication (RFC 4256): what the server asks, and who answers.
//!
//! A password that the run has answers the server's question for a password. Everything else, such as a one-time code, is
//! asked on the terminal, one host at a time.

use std::os::fd::BorrowedFd;

use rustix::net::{Shutdown, shutdown};

use crate::events::event::Outcome;
use crate::ssh::destination::Host;
use crate::ssh::ffi::{Answerer, Question};
use crate::ssh::watch::Watch;
use crate::system::password_source::Secret;
use crate::system::quotation::quoted;
use crate::system::terminal::{AskError, Terminal};

/// Characters of a question, and of what is said before it, that are shown.
const LONGEST: usize = 200;

/// What helps where there is no password.
const PASSWORD: &str = "-A asks for a password, --password-file reads one";
/// What helps where something else is to be typed, such as a code.
const TYPE: &str = "the answer has to be typed at a terminal, or into the program of SSH_ASKPASS";
/// What helps where the password has to be changed.
pub const CHANGE: &str = "log in once with ssh and change the password";

/// The conversation with one host.
pub struct Conversation<'a> {
    host: &'a Host,
    /// The password, until the server has been told it.
    password: Option<&'a Secret>,
    terminal: &'a Terminal,
    watch: &'a Watch<'a>,
    socket: BorrowedFd<'a>,
    /// What the server has said since the last question, without asking anything.
    said: String,
    /// Whether the server has been told the password.
    pub told_password: bool,
    /// Why there was no answer, in which case the connection has been ended: libssh2 would otherwise send an empty one,
    /// which counts as a failed attempt.
    pub stop: Option<Silence>,
}

/// Why a question was not answered.
#[derive(Debug)]
pub enum Silence {
    /// The job is over.
    Job(Outcome),
    /// Nobody has the answer.
    NoAnswer {
        /// In words, what is asked, and why there is no answer.
        problem: String,
        /// What would help.
        advice: &'static str,
    },
}

impl<'a> Conversation<'a> {
    /// A conversation that has not begun.
    pub fn new(
        host: &'a Host,
        password: Option<&'a Secret>,
        terminal: &'a Terminal,
        watch: &'a Watch<'a>,
        socket: BorrowedFd<'a>,
    ) -> Self {
        Conversation { host, password, terminal, watch, socket, said: String::new(), told_password: false, stop: None }
    }

    /// Answers one question; `introduction` is what the server says before it.
    fn answer_one(&mut self, introduction: &str, question: &Question, is_alone: bool) -> Result<Secret, Silence> {
        let text = self.without_names(&question.text);
        let asks_password = asks_for_password(&text, question.echo);
        let may_ask_password = asks_password || is_alone && !question.echo && may_be_password(&text);
        let is_meant = self.host.credentials.password_prompt.as_ref().is_some_and(|prompt| prompt.fits(&question.text));
        if (may_ask_password || is_meant)
            && let Some(password) = self.password.take()
        {
            self.told_password = true;
            return Ok(password.duplicate());
        }
        let asks_another = asks_for_another(&text, question.echo);
        let text = quoted(question.text.trim(), LONGEST);
        if asks_password && !self.told_password {
            let problem = format!("it asks {text}, and there is no password for it");
            return Err(Silence::NoAnswer { problem, advice: PASSWORD });
        }
        let introduction = if introduction.is_empty() { String::new() } else { quoted(introduction, LONGEST) + " " };
        // The server's words stand in quotes behind the host's name: they are no question of ours, nor of another host.
        let prompt = format!("({}) {introduction}{text} ", self.host);
        self.terminal.ask(&prompt, question.echo, self.watch.patience()).map_err(|error| {
            // The watch knows how to say it.
            if let (AskError::Cancelled | AskError::TooLate, Err(outcome)) = (&error, self.watch.check()) {
                return Silence::Job(outcome);
            }
            // Once the password was told, the next one is another: it has to be changed.
            let advice = if self.told_password && asks_another { CHANGE } else { TYPE };
            Silence::NoAnswer { problem: format!("it asks {text}, and {error}"), advice }
        })
    }

    fn fall_silent(&mut self, silence: Silence) -> Vec<Secret> {
        self.stop = Some(silence);
        // What libssh2 goes on to send does not reach anybody.
        let _ = shutdown(self.socket, Shutdown::Both);
        Vec::new()
    }

    fn answer_all(&mut self, introduction: &str, questions: &[Question]) -> Result<Vec<Secret>, Silence> {
        // A server that asks on and on would otherwise never let libssh2 return.
        self.watch.check().map_err(Silence::Job)?;
        let introductions = std::iter::once(introduction).chain(std::iter::repeat(""));
        let is_alone = questions.len() == 1;
        let mut answer = |(introduction, question)| self.answer_one(introduction, question, is_alone);
        introductions.zip(questions).map(&mut answer).collect()
    }

    /// A question without the names in it, which may look like words of it: `root@one's password:`.
    fn without_names(&self, text: &str) -> String {
        let text = text.to_lowercase();
        let host = self.host.name.to_lowercase();
        let short = host.split('.').next().unwrap_or_default().to_owned();
        let names = [&host, &short, &self.host.user].map(|name| name.to_lowercase());
        let is_name = |word: &str| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).trim_end_matches("'s");
            word.contains('@') || names.iter().any(|name| !name.is_empty() && bare == *name)
        };
        text.split_whitespace().filter(|word| !is_name(word)).collect::<Vec<_>>().join(" ")
    }
}

impl Answerer for Conversation<'_> {
    fn answer(&mut self, name: &str, instruction: &str, questions: &[Question]) -> Vec<Secret> {
        let words = introduction(name, instruction);
        // What does not fit is cut anyway.
        if self.said.chars().count() < LONGEST && !words.is_empty() {
            let separator = if self.said.is_empty() { "" } else { " | " };
            self.said.push_str(separator);
            self.said.push_str(&words);
        }
        if questions.is_empty() {
            // It is said with the question that follows. If none follows, it is in the message.
            return match self.watch.check() {
                Ok(()) => Vec::new(),
                Err(outcome) => self.fall_silent(Silence::Job(outcome)),
            };
        }
        let said = std::mem::take(&mut self.said);
        match self.answer_all(&said, questions) {
            Ok(answers) => answers,
            Err(silence) => self.fall_silent(silence),
        }
    }
}

/// What the server says before its questions: name and instruction may hold what the user has to know, such as a
/// challenge. In one line, since line breaks are among what is made harmless.
fn introduction(name: &str, instruction: &str) -> String {
    let lines = name.lines().chain(instruction.lines()).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

/// Whether the password of the run is the answer: the answer is not to be seen, and the text asks for a password, as in
/// `Password:` or `Password for root@db1:`, but for none that is used once or is to replace it, as in `One-time password:`
/// or `New password:`.
fn asks_for_password(text: &str, echo: bool) -> bool {
    words_before_password(text, echo).is_some_and(|words| !has_any(&words, ONCE) && !has_any(&words, CHANGED))
}

/// Whether a question that comes after the password is about a change of it: `Current password:`, `New password:`.
fn asks_for_another(text: &str, echo: bool) -> bool {
    words_before_password(text, echo).is_some_and(|words| !has_any(&words, ONCE))
}

/// Whether the password may be the answer to a single question, in whatever language: nothing in it speaks of a code.
fn may_be_password(text: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    !words.is_empty()
        && !has_any(&words, ONCE)
        && !has_any(&words, CHANGED)
        && !CODES.iter().any(|code| text.contains(code))
}

/// They speak of a password that is used once.
const ONCE: &[&str] = &["one", "onetime", "otp", "totp", "pin"];
/// Likewise of one that is to be set.
const CHANGED: &[&str] = &["new", "next", "retype", "repeat", "confirm"];
/// What is in the questions for codes, in most languages.
const CODES: &[&str] = &[
    "code",
    "kode",
    "kod",
    "codigo",
    "c\u{f3}digo",
    "token",
    "verif",
    "challenge",
    "factor",
    "duo",
    "\u{43a}\u{43e}\u{434}",
];

fn has_any(words: &[&str], others: &[&str]) -> bool {
    words.iter().any(|word| others.contains(word))
}

/// The words before `password` in a question whose answer is not to be seen.
fn words_before_password(text: &str, echo: bool) -> Option<Vec<&str>> {
    let place = text.rfind("password").filter(|_| !echo)?;
    Some(text[..place].split(|c: char| !c.is_alphanumeric()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_a_code() {
        for text in ["password: ", "password:", "password for root@newyork:", "ldap password: "] {
            assert!(asks_for_password(text, false), "{text}");
            assert!(!asks_for_password(text, true), "{text}");
        }
        let codes = [
            "verification code: ",
            "one-time password (oath) for `root': ",
            "new password: ",
            "retype new password: ",
            "enter otp password:",
            "passcode or option (1-3): ",
            "",
        ];
        for text in codes {
            assert!(!asks_for_password(text, false), "{text}");
            assert!(!may_be_password(text), "{text}");
        }
        for text in [
            "passwort: ",
            "mot de passe : ",
            "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}: ",
            "\u{5bc6}\u{7801}\u{ff1a}",
            "contrase\u{f1}a:",
        ] {
            assert!(!asks_for_password(text, false), "{text}");
            assert!(may_be_password(text), "{text}");
        }
        for text in ["best\u{e4}tigungscode:", "code de v\u{e9}rification :", "token_response:", "duo: "] {
            assert!(!may_be_password(text), "{text}");
        }
    }

    #[test]
    fn an_instruction_comes_before_the_first_question() {
        assert_eq!(introduction("Duo", "challenge 42\r\n\nnow\n"), "Duo | challenge 42 | now");
        assert_eq!(introduction("", " \n"), "");
    }
}
